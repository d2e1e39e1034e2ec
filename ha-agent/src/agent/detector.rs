//! The fast thread: reads what the kernel saw, lets the core decide, sends advertisements. Nothing else.
//!
//! It waits for the ring, for the timer and for inputs; whichever woke it, it drains the ring before any
//! deadline is judged, so that no advertisement that had arrived by then can be overlooked. Nothing here
//! waits for anybody: orders go into unbounded queues (the core bounds their number), sending never blocks,
//! and whoever wants to know something asks by a message.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;

use ha_common::abi::{Advert, WatchKey};
use ha_common::auth::Mac;
use ha_common::reason::{Counters, Reason};
use ha_common::wire::{carp, ethernet};
use tokio::sync::{mpsc, oneshot};

use crate::core::{self, Command, Event, Instant, Link, Priority, State, Vhost};
use crate::dataplane::Events;
use crate::exec::Order;
use crate::net::advertise::{Advertiser, Frames};
use crate::sys::clock;
use crate::sys::packet_socket::PacketSocket;
use crate::sys::readable::readable;
use crate::sys::timer::Timer;

/// What others tell the detector.
#[derive(Debug)]
pub enum Input {
    /// A virtual host's interface is there: receive and send on it. `Link::Up` follows.
    Attach {
        /// Index of the virtual host in the configuration.
        vhost: usize,
        /// Which records are its own.
        key: WatchKey,
        /// What it sends through.
        socket: PacketSocket,
        /// Hardware address of the interface.
        hardware: ethernet::Mac,
    },
    /// The state of a virtual host's interface.
    Link {
        /// Index of the virtual host in the configuration.
        vhost: usize,
        /// Up or down.
        link: Link,
    },
    /// An order to take a virtual host's addresses off was carried out.
    Dropped {
        /// Index of the virtual host in the configuration.
        vhost: usize,
        /// Whether they are off now.
        well: bool,
    },
    /// Leave all virtual hosts in order, then end.
    Leave,
    /// Somebody wants to know.
    Snapshot(oneshot::Sender<Snapshot>),
}

/// What the detector knows of all virtual hosts, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Instant,
    /// One a virtual host.
    pub vhosts: Vec<VhostSnapshot>,
}

/// What the detector knows of one virtual host.
#[derive(Clone, Copy, Debug)]
pub struct VhostSnapshot {
    /// Its state.
    pub state: State,
    /// Who was heard last.
    pub peer: Option<Peer>,
    /// Advertisements that left.
    pub sent: u64,
    /// Advertisements that could not be sent.
    pub send_errors: u64,
    /// What was refused here rather than in the kernel.
    pub refused: Counters,
}

/// Another node.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub source: Ipv4Addr,
    /// The priority that it advertises.
    pub priority: Priority,
    /// When its last advertisement arrived.
    pub heard: Instant,
}

/// A virtual host's part that does not depend on the interface.
#[derive(Debug)]
pub struct VhostSetup {
    /// Priority, pace, preemption.
    pub settings: core::Settings,
    /// Virtual host, 1 to 255.
    pub vhid: u8,
    /// Authenticates its advertisements.
    pub mac: Mac,
    /// A random number to count from.
    pub counter: u64,
    /// Where its orders go.
    pub orders: mpsc::UnboundedSender<Order>,
}

/// Starts the thread. It ends when every virtual host has left: then the receiver receives. If it fails, the
/// receiver's sender is gone.
///
/// # Errors
///
/// If the thread can't be started.
pub fn start(
    vhosts: Vec<VhostSetup>,
    events: Events,
    inputs: mpsc::UnboundedReceiver<Input>,
) -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name("ha-detector".to_owned()).spawn(move || {
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .and_then(|runtime| runtime.block_on(Detector::new(vhosts).run(events, inputs)));
        match result {
            // The receiver is gone only if the agent ended without waiting.
            Ok(()) => drop(ended.send(())),
            Err(error) => tracing::error!(%error, "the detector failed"),
        }
    })?;
    Ok(end)
}

struct Detector {
    hosts: Vec<Host>,
    by_key: HashMap<WatchKey, usize>,
}

struct Host {
    setup: VhostSetup,
    machine: Vhost,
    key: Option<WatchKey>,
    advertiser: Option<Advertiser>,
    /// When the last advertisement left; `None` if it could not be sent.
    advertised: Option<Instant>,
    /// Orders to drop the addresses that are not carried out yet.
    drops: usize,
    snapshot: VhostSnapshot,
}

impl Detector {
    fn new(vhosts: Vec<VhostSetup>) -> Self {
        Self { hosts: vhosts.into_iter().map(Host::new).collect(), by_key: HashMap::new() }
    }

    async fn run(mut self, events: Events, mut inputs: mpsc::UnboundedReceiver<Input>) -> io::Result<()> {
        let mut events = readable(events)?;
        let mut timer = Timer::new()?;
        let mut emptied = true;
        while !self.hosts.iter().all(|host| host.machine.has_left()) {
            let mut input = None;
            if emptied {
                tokio::select! {
                    guard = events.readable_mut() => guard?.clear_ready(),
                    expired = timer.expired() => expired?,
                    received = inputs.recv() => match received {
                        Some(received) => input = Some(received),
                        None => return Err(io::Error::other("the agent ended without leaving")),
                    },
                }
            } else {
                // The kernel announces nothing in a ring that was not emptied: look again at once.
                input = inputs.try_recv().ok();
            }
            // Taken before the ring is drained: what is judged against it has been read.
            let now = clock::now();
            emptied = self.drain(&mut events.get_mut().0, now);
            if let Some(input) = input {
                self.input(now, input);
            }
            self.judge(now);
            timer.set(self.hosts.iter().filter_map(Host::next_deadline).min())?;
        }
        Ok(())
    }

    /// Reads records until the ring is empty, or one is newer than `now`: so that deadlines are judged however
    /// fast records come. Returns whether the ring is empty.
    fn drain(&mut self, events: &mut Events, now: Instant) -> bool {
        while let Some(record) = events.next() {
            match record {
                Ok(advert) => {
                    self.advert(now, &advert);
                    if Instant::from_nanos(advert.stamp_ns) > now {
                        return false;
                    }
                }
                Err(error) => tracing::error!("the kernel program pushed {error}"),
            }
        }
        true
    }

    fn advert(&mut self, now: Instant, advert: &Advert) {
        // A record of an interface that went away in the meantime belongs to nobody.
        if let Some(host) = self.by_key.get(&advert.watch).and_then(|&vhost| self.hosts.get_mut(vhost)) {
            host.advert(now, advert);
        }
    }

    fn input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Attach { vhost, key, socket, hardware } => {
                if let Some(host) = self.hosts.get_mut(vhost) {
                    if let Some(old) = host.key.replace(key) {
                        self.by_key.remove(&old);
                    }
                    host.attach(socket, hardware);
                    self.by_key.insert(key, vhost);
                }
            }
            Input::Link { vhost, link } => {
                if let Some(host) = self.hosts.get_mut(vhost) {
                    host.link(now, link);
                }
            }
            Input::Dropped { vhost, well } => {
                if let Some(host) = self.hosts.get_mut(vhost) {
                    host.dropped(now, well);
                }
            }
            Input::Leave => self.hosts.iter_mut().for_each(|host| host.handle(now, Event::Leave)),
            Input::Snapshot(reply) => {
                let vhosts = self.hosts.iter().map(Host::snapshot).collect();
                // Who asked may have gone.
                let _ = reply.send(Snapshot { at: now, vhosts });
            }
        }
    }

    /// Lets every deadline happen that has come by `now`.
    fn judge(&mut self, now: Instant) {
        for host in &mut self.hosts {
            while let Some((deadline, timer)) = host.machine.poll_timeout()
                && deadline <= now
            {
                host.handle(now, Event::Deadline(timer));
            }
        }
    }
}

impl Host {
    fn new(setup: VhostSetup) -> Self {
        let machine = Vhost::new(setup.settings);
        let snapshot = VhostSnapshot {
            state: machine.state(),
            peer: None,
            sent: 0,
            send_errors: 0,
            refused: Counters::default(),
        };
        Self { setup, machine, key: None, advertiser: None, advertised: None, drops: 0, snapshot }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.machine.poll_timeout().map(|(deadline, _)| deadline)
    }

    fn snapshot(&self) -> VhostSnapshot {
        VhostSnapshot { state: self.machine.state(), ..self.snapshot }
    }

    fn attach(&mut self, socket: PacketSocket, hardware: ethernet::Mac) {
        let frames = Frames {
            hardware,
            source: self.advertiser.as_ref().map_or(Ipv4Addr::UNSPECIFIED, Advertiser::source),
            group: carp::GROUP.into(),
            vhid: self.setup.vhid,
            mac: self.setup.mac,
            counter: self.advertiser.as_ref().map_or(self.setup.counter, Advertiser::counter),
        };
        self.advertiser = Some(Advertiser::new(socket, frames, self.setup.settings.priority));
    }

    fn link(&mut self, now: Instant, link: Link) {
        if let (Link::Up { source }, Some(advertiser)) = (link, &mut self.advertiser) {
            advertiser.set_source(source);
        }
        self.handle(now, Event::Link(link));
    }

    fn advert(&mut self, now: Instant, advert: &Advert) {
        let header = carp::Header(&advert.carp);
        let IpAddr::V4(source) = advert.source() else { return };
        let own = self.advertiser.as_ref().map(Advertiser::source);
        if own == Some(source) && !source.is_unspecified() {
            self.snapshot.refused.count(Reason::Looped);
            return;
        }
        let priority = Priority { advbase: header.advbase(), advskew: header.advskew() };
        let stamp = Instant::from_nanos(advert.stamp_ns);
        self.snapshot.peer = Some(Peer { source, priority, heard: stamp });
        self.handle(now, Event::Advert(core::Advert { stamp, source, priority, demote: header.demote() }));
    }

    fn dropped(&mut self, now: Instant, well: bool) {
        self.drops = self.drops.saturating_sub(1);
        if well && self.drops == 0 {
            self.handle(now, Event::Released);
        }
    }

    /// Gives the core an event, and carries out or passes on what it answers.
    fn handle(&mut self, now: Instant, event: Event) {
        self.machine.handle(now, event);
        while let Some(command) = self.machine.next_command() {
            let order = match command {
                Command::Advertise(priority) => {
                    self.advertise(priority);
                    continue;
                }
                Command::TakeAddresses => Order::Take,
                Command::DropAddresses => {
                    self.drops += 1;
                    Order::Drop
                }
                Command::Announce => Order::Announce,
                Command::Notify(transition) => {
                    let advertised = self.advertised.filter(|_| transition.to == State::Master);
                    Order::Record { transition, advertised }
                }
            };
            // It is gone only while the agent ends.
            let _ = self.setup.orders.send(order);
        }
    }

    fn advertise(&mut self, priority: Priority) {
        // Whatever left before is no witness for this one.
        self.advertised = None;
        let Some(advertiser) = &mut self.advertiser else { return };
        match advertiser.send(priority) {
            Ok(()) => {
                self.snapshot.sent += 1;
                self.advertised = Some(clock::now());
            }
            // Counted and shown; the next one is due in an interval.
            Err(error) => {
                self.snapshot.send_errors += 1;
                tracing::debug!(vhid = self.setup.vhid, %error, "an advertisement could not be sent");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_common::auth::{Message, key};

    #[test]
    fn an_advertisement_that_did_not_leave_has_no_time() {
        let (orders, _queue) = mpsc::unbounded_channel();
        let priority = Priority { advbase: 1, advskew: 0 };
        let message = Message { vhid: 10, ipv4: &[], ipv6: &[], link_local: true, lladdr: None };
        let mut host = Host::new(VhostSetup {
            settings: core::Settings { priority, pace: core::Pace::Classic, preempt: false },
            vhid: 10,
            mac: Mac::new(&key(b"secret"), &message),
            counter: 0,
            orders,
        });
        // From an earlier life as master; now there is nothing to send through.
        host.advertised = Some(Instant::from_nanos(7));
        host.advertise(priority);
        assert_eq!(host.advertised, None);
    }
}
