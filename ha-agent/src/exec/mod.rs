//! The one executor: carries out what the core orders, on a thread of its own. It has no opinion.
//!
//! Orders are carried out one after the other, those of a virtual host in their order. Nearly all of the time goes
//! into requests that change addresses, of which the kernel takes one at a time: more threads would wait for each
//! other there. But for the kernel this thread waits for nobody: what it has to tell, others write down.

pub mod conductor;
mod host;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Instant as Moment;
use std::{io, thread};

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use self::host::Host;
use crate::agent::detector::Input;
use crate::core::{Instant, Transition};
use crate::journal::Entry;
use crate::net::address::Addresses;
use crate::net::advertise::Advertiser;
use crate::net::announce::Announcer;
use crate::net::macvlan::Macvlan;
use crate::net::neighbour;
use crate::net::netlink::Netlink;
use crate::sys::realtime;

/// Something to be done for one virtual host.
#[derive(Debug)]
pub enum Order {
    /// Here is a virtual host, of which there was nothing before.
    Begin {
        /// Its name.
        name: String,
        /// What was ordered of it.
        shared: Wanted,
    },
    /// There is no such virtual host any more. Answers with what its orders acted on.
    End(oneshot::Sender<Option<Target>>),
    /// Act on this interface from now on.
    Use(Target),
    /// Act on these addresses from now on, on the same interface: the others are taken off. Where they are to be on, those that
    /// were not are put on and announced.
    Readdress(Vec<IpNet>),
    /// Put the addresses on.
    Take,
    /// Take the addresses off, and report it to the detector.
    Drop,
    /// Announce the addresses, unless an order to drop them has been given since.
    Announce,
    /// See that what is on the interface is as ordered: put on again what somebody took off, and take off what is
    /// there though it should not be.
    Keep {
        /// The addresses that are there now.
        present: Arc<[IpAddr]>,
        /// Whether its link is up. If not, nothing is put on: the order to drop is about to come.
        up: bool,
    },
    /// Close this, which the fast thread uses no longer: the kernel takes its time for that.
    Discard(Advertiser),
    /// Write a transition into the journal, once all orders before it are carried out.
    Record {
        /// The transition.
        transition: Transition,
        /// When the advertisement that went with it had left.
        advertised: Option<Instant>,
    },
}

/// What orders act on.
#[derive(Debug)]
pub struct Target {
    /// The addresses on their interface.
    pub addresses: Addresses,
    /// What announces them there.
    pub announcer: Announcer,
    /// The interface with the virtual hardware address, if the addresses live on one.
    pub macvlan: Option<Arc<Macvlan>>,
    /// An agent before this one has left the addresses here, and it is not decided yet whether this one goes on with them:
    /// until then they stay.
    pub left: bool,
}

/// What the executor tells others, to be written down: it does not write logs itself.
#[derive(Debug)]
pub enum Report {
    /// There is a new virtual host.
    Begun {
        /// Its index.
        vhost: usize,
        /// Its name.
        name: String,
    },
    /// There is no such virtual host any more.
    Ended {
        /// Its index.
        vhost: usize,
    },
    /// A virtual host changed its state, and everything that follows from it is done.
    Changed(Entry),
    /// Addresses that were taken are up, and announced for the first time.
    Up {
        /// Of which virtual host.
        vhost: usize,
        /// Since when.
        address_up: Instant,
        /// When they were announced.
        announced: Instant,
    },
    /// Addresses of ours were gone, and are there again.
    PutBack {
        /// Of which virtual host.
        vhost: usize,
        /// How many.
        added: usize,
    },
    /// Something goes wrong, or does so no more.
    Fault {
        /// With which virtual host.
        vhost: usize,
        /// In one sentence.
        fault: Option<String>,
    },
    /// This is used no longer. To close it, the kernel takes longer than an order may wait.
    Discarded(Box<dyn Any + Send>),
}

/// Where the orders of one virtual host go.
#[derive(Clone, Debug)]
pub struct Orders {
    vhost: usize,
    queue: Sender<(usize, Order)>,
    wanted: Wanted,
}

/// Where virtual hosts come to their orders.
#[derive(Clone, Debug)]
pub struct Desk(Sender<(usize, Order)>);

/// Whether the last order given about the addresses, be it carried out or not, was to take them.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<AtomicBool>);

impl Orders {
    /// Gives an order. Never waits.
    pub fn give(&self, order: Order) {
        match order {
            Order::Take => self.wanted.set(true),
            Order::Drop => self.wanted.set(false),
            Order::Begin { .. }
            | Order::End(_)
            | Order::Use(_)
            | Order::Readdress(_)
            | Order::Announce
            | Order::Keep { .. }
            | Order::Discard(_)
            | Order::Record { .. } => {}
        }
        // The executor is gone only while the agent ends.
        let _ = self.queue.send((self.vhost, order));
    }
}

impl Desk {
    /// Where the orders of one more virtual host go, at an index that no other has.
    #[must_use]
    pub fn begin(&self, vhost: usize, name: String) -> Orders {
        let orders = Orders { vhost, queue: self.0.clone(), wanted: Wanted::default() };
        orders.give(Order::Begin { name, shared: orders.wanted.clone() });
        orders
    }
}

impl Wanted {
    fn set(&self, wanted: bool) {
        self.0.store(wanted, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Starts the thread, with a real-time priority of 1 to 99 if it gets one, and returns where virtual hosts come to their
/// orders. It ends, and closes `reports`, when that and the last of these are dropped and everything is carried out.
///
/// # Errors
///
/// If the thread can't be started, or has no way to the kernel.
pub fn start(
    priority: Option<u8>,
    detector: &mpsc::UnboundedSender<Input>,
    reports: mpsc::UnboundedSender<Report>,
) -> io::Result<Desk> {
    let netlink = Netlink::open()?;
    let (queue, orders) = channel();
    let hosts = Hosts { all: BTreeMap::new(), detector: detector.clone(), reports };
    thread::Builder::new().name("ha-executor".to_owned()).spawn(move || {
        realtime::touch_stack();
        // What is refused here is refused to the fast thread, too, which says so.
        let _ = priority.map(realtime::set_priority);
        hosts.run(netlink, &orders);
    })?;
    Ok(Desk(queue))
}

/// Where the orders of so many virtual hosts go, and where they come from.
#[cfg(test)]
pub(crate) fn queue(vhosts: usize) -> (Vec<Orders>, Receiver<(usize, Order)>) {
    let (queue, orders) = channel();
    let orders_of = |vhost| Orders { vhost, queue: queue.clone(), wanted: Wanted::default() };
    ((0..vhosts).map(orders_of).collect(), orders)
}

/// All virtual hosts, by their index.
struct Hosts {
    // Before the reports: they end when everything is dropped that orders acted on.
    all: BTreeMap<usize, Host>,
    detector: mpsc::UnboundedSender<Input>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Hosts {
    fn run(mut self, mut netlink: Netlink, orders: &Receiver<(usize, Order)>) {
        loop {
            let received = match orders.try_recv() {
                Ok(order) => Ok(order),
                Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {
                    self.greet_neighbours(&mut netlink);
                    let again = self.all.values().filter_map(Host::again).min();
                    match again {
                        Some(again) => orders.recv_timeout(again.saturating_duration_since(Moment::now())),
                        None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    }
                }
            };
            match received {
                Ok((vhost, order)) => self.carry_out(vhost, order, &mut netlink),
                Err(RecvTimeoutError::Timeout) => {
                    let now = Moment::now();
                    let is_due = |host: &&mut Host| host.again().is_some_and(|again| again <= now);
                    for host in self.all.values_mut().filter(is_due) {
                        host.finish(&mut netlink);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn carry_out(&mut self, vhost: usize, order: Order, netlink: &mut Netlink) {
        match order {
            Order::Begin { name, shared } => {
                let host = Host::new(vhost, shared, self.detector.clone(), self.reports.clone());
                self.all.insert(vhost, host);
                self.tell(Report::Begun { vhost, name });
            }
            Order::End(reply) => {
                let target = self.all.remove(&vhost).and_then(Host::into_target);
                // Who waits for it may have given up: then it is closed here.
                drop(reply.send(target));
                self.tell(Report::Ended { vhost });
            }
            order => {
                if let Some(host) = self.all.get_mut(&vhost) {
                    host.carry_out(order, netlink);
                }
            }
        }
    }

    /// Where addresses have just come, clients are about to be answered. Once for all of an interface, when nothing else
    /// is left to be done.
    fn greet_neighbours(&mut self, netlink: &mut Netlink) {
        let interfaces: BTreeSet<u32> = self.all.values_mut().flat_map(Host::take_arrivals).collect();
        for ifindex in interfaces {
            // If it fails, some of them wait for a second, as they would have without.
            let _ = neighbour::forget_unanswered(netlink, ifindex);
        }
    }

    fn tell(&self, report: Report) {
        // They are read until the agent has ended.
        let _ = self.reports.send(report);
    }
}
