//! That the screen answers what is asked first.

use anstream::adapter::strip_str;

use super::*;
use crate::cli::sample::{anywhere, blocked, standby, takeover};
use crate::journal::history::History;

fn plain(status: &Status, last: Option<&Failover>) -> String {
    anywhere(&strip_str(&text(status, last, 80)).to_string())
}

#[test]
fn it_tells_who_is_active_whether_the_other_would_take_over_and_what_happened() {
    let last = History::of(takeover()).pop();
    let text = plain(&standby(), last.as_ref());
    let expected = [
        "node b  BACKUP  ha-agent 1.2.3, up for 13 min",
        "active    a, the other node",
        "failover  ready: this node takes over if the active one fails",
        "last      2026-01-01 00:00:00.000  takeover  a -> b  nobody for 43.0 ms",
        "the master was silent for 33.9 ms",
        "last heard  ░ deadline 33.0 ms  ▒ advertised 2.00 ms",
        "data      eth0 vhid 10  10.77.0.100/24  BACKUP for 13 min  10.77.0.1 heard 4 ms ago",
    ];
    let mut rest = text.as_str();
    for line in expected {
        rest = rest
            .split_once(line)
            .unwrap_or_else(|| panic!("{line:?} is not, or not in its order, in\n{text}"))
            .1;
    }
}

#[test]
fn what_stands_in_the_way_is_told_with_its_remedy_and_fits_the_terminal() {
    let text = plain(&blocked(), None);
    assert!(text.contains("failover  NOT READY: NO_LINK\n"), "{text}");
    for words in ["critical  NO_LINK: no critical interface", "`ip link`", "warning   REM_MAINTENANCE"] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn what_the_other_told_before_this_node_took_over_does_not_count() {
    let mut status = standby();
    status.role = Role::Master;
    let peer = status.peer.as_mut().expect("a peer");
    (peer.role, peer.age_ms) = (Role::Master, 500.0);
    let vhost = status.vhosts.first_mut().expect("a virtual host");
    (vhost.state, vhost.since_s) = ("MASTER".to_owned(), 0.4);
    assert_eq!(active(&status), (true, "b, this node".to_owned()));
    status.vhosts[0].since_s = 0.6;
    assert_eq!(active(&status), (false, "BOTH NODES: b and a".to_owned()));
}

#[test]
fn the_active_one_says_whether_the_other_is_ready() {
    let mut status = standby();
    status.role = Role::Master;
    let peer = status.peer.as_mut().expect("a peer");
    let table = [
        (Role::Backup, true, Ready::Yes, "ready: a stands by"),
        (Role::Error, true, Ready::No, "NOT READY: a is ERROR"),
        (Role::Master, false, Ready::No, "NOT READY: a is MASTER"),
    ];
    peer.role = Role::Backup;
    for (role, well, expected, sentence) in table {
        status.peer.as_mut().expect("a peer").role = role;
        assert_eq!(ready(&status), (expected, sentence.to_owned()));
        assert_eq!(active(&status).0, well, "{role}");
    }
    status.peer.as_mut().expect("a peer").age_ms = 9000.0;
    assert_eq!((active(&status).0, ready(&status).1.as_str()), (true, "NOT READY: the peer tells nothing"));
    status.peer = None;
    assert_eq!(ready(&status).1, "NOT READY: the peer tells nothing");
    status.pair = None;
    assert_eq!(ready(&status), (Ready::Nearly, "no other node is known to stand by".to_owned()));
    status.reasons = blocked().reasons;
    assert_eq!(ready(&status), (Ready::No, "NOT READY: REM_MAINTENANCE".to_owned()));
}

#[test]
fn words_are_kept_whole() {
    assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    assert_eq!(wrap("incomprehensible", 7), ["incomprehensible"]);
    assert_eq!(wrap("", 7), [""]);
}
