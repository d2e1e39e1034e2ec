//! A network that was parted and is whole again: each side had its master, and both counted on from the same.

use super::*;

/// How a node counts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// From the highest counter.
    Ours,
    /// From the one heard last: FreeBSD, and `ucarp`, which reads it so much later (ms).
    Adopts { late: u64 },
}

/// A node, and what it would tell its operator.
struct Node {
    source: IpAddr,
    priority: (u8, u8),
    interval: u64,
    style: Style,
    counter: u64,
    /// When it advertises next, if it is master.
    next: Option<u64>,
    /// What it has not read yet, and when it will.
    unread: Vec<(u64, (u8, u8), u64)>,
    observer: Observer,
}

impl Node {
    fn new(source: IpAddr, priority: (u8, u8), interval: u64, style: Style) -> Self {
        let (counter, next) = (7000, None);
        Self {
            source,
            priority,
            interval,
            style,
            counter,
            next,
            unread: vec![],
            observer: Observer::default(),
        }
    }

    fn send(&mut self, now: u64) -> u64 {
        self.observer.now = now;
        self.counter += 1;
        self.observer.sent(self.priority, self.counter);
        self.next = Some(now + self.interval);
        self.counter
    }

    fn receive(&mut self, now: u64, source: IpAddr, priority: (u8, u8), counter: u64) -> Vec<&'static str> {
        self.observer.now = now;
        let late = match self.style {
            Style::Ours => 0,
            Style::Adopts { late } => late,
        };
        self.unread.push((now + late, priority, counter));
        // What others than ours tell, nobody reads.
        if self.style == Style::Ours { self.observer.hear(source, priority, counter) } else { vec![] }
    }

    fn read(&mut self, now: u64) {
        for (at, priority, counter) in std::mem::take(&mut self.unread) {
            if at > now {
                self.unread.push((at, priority, counter));
                continue;
            }
            let ahead = counter > self.counter;
            if ahead || self.style != Style::Ours {
                self.counter = counter;
            }
            if priority < self.priority {
                self.next = None;
            }
        }
    }
}

/// Two nodes, of which the first was master, are parted for so many ms, and whole again; the second took over
/// meanwhile. The third only listens, to the first's side. Returns what any of them tells.
fn heal(mut nodes: [Node; 2], parted: u64, phase: u64) -> Vec<String> {
    let (start, mut witness, mut told) = (20 * nodes[0].interval, Observer::default(), Vec::new());
    nodes[0].next = Some(0);
    let takeover = start + 3 * nodes[1].interval + phase;
    let end = start + parted;
    for now in 0..end + 20_000 {
        let whole = now < start || now >= end;
        if now == takeover {
            nodes[1].next = Some(now);
        }
        for from in [0, 1] {
            for node in &mut nodes {
                node.read(now);
            }
            if nodes[from].next != Some(now) {
                continue;
            }
            let (source, priority, counter) =
                (nodes[from].source, nodes[from].priority, nodes[from].send(now));
            let mut hear = |who: &str, names: Vec<&'static str>| {
                told.extend(names.iter().map(|name| format!("{who} at {now}: {source} {counter} {name}")));
            };
            if whole {
                hear("peer", nodes[1 - from].receive(now, source, priority, counter));
            }
            if whole || from == 0 {
                witness.now = now;
                hear("witness", witness.hear(source, priority, counter));
            }
        }
    }
    let masters = nodes.iter().filter(|node| node.next.is_some()).count();
    assert_eq!(masters, 1, "the clash is over");
    told
}

#[test]
fn two_masters_after_a_healed_partition_are_normal() {
    let (freebsd, ucarp) = (Style::Adopts { late: 0 }, Style::Adopts { late: 1000 });
    // (our interval; how the other counts, and its interval); a worse one is never faster.
    let table = [
        (10, Style::Ours, 10),
        (1000, Style::Ours, 1000),
        (1000, Style::Ours, 1390),
        (1000, freebsd, 1000),
        (1000, ucarp, 1000),
        (10, freebsd, 1000),
        (10, ucarp, 1000),
    ];
    for (interval, style, other) in table {
        for (ours, theirs) in [((1, 0), (1, 100)), ((1, 100), (1, 0))] {
            if interval < other && style == Style::Ours && theirs < ours {
                continue;
            }
            for first in [0, 1] {
                for (parted, phase) in
                    [(5000, 0), (10_000, 1), (30_000, 3), (30_000, 7), (100_001, SPEAKS_FIRST)]
                {
                    // A better one that was never heard, and speaks before it reads, is obeyed at once. If slow, it hears nothing of
                    // what the faster one counted, and goes through all of it: no different from a recording.
                    let before_it_reads = phase == SPEAKS_FIRST || style == ucarp;
                    if interval < other && theirs < ours && first == 0 && before_it_reads {
                        continue;
                    }
                    let mut nodes =
                        [Node::new(a(), ours, interval, Style::Ours), Node::new(b(), theirs, other, style)];
                    nodes.rotate_left(first);
                    let told = heal(nodes, parted, phase);
                    assert!(
                        told.is_empty(),
                        "{interval} {style:?} {other} {ours:?} first {first} {parted}+{phase}: {told:?}"
                    );
                }
            }
        }
    }
}

/// Ms between the ticks of the first one and of the second, which is first to speak after the heal, at 10 ms.
const SPEAKS_FIRST: u64 = 9;
