//! How far the orders of one virtual host are carried out.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant as Moment};

use ipnet::IpNet;
use tokio::sync::mpsc;

use super::{Order, Report, Target, Wanted};
use crate::agent::detector::Input;
use crate::core::{Instant, State, Transition};
use crate::journal::Entry;
use crate::net::address::{AddressError, Taken};
use crate::net::macvlan::MacvlanError;
use crate::net::netlink::Netlink;
use crate::sys::clock;

/// One virtual host.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not one state")]
pub(super) struct Host {
    vhost: usize,
    /// What is still to come.
    ordered: Wanted,
    detector: mpsc::UnboundedSender<Input>,
    reports: mpsc::UnboundedSender<Report>,
    target: Option<Target>,
    /// Whether the last order was to take the addresses, not to drop them.
    wanted: bool,
    /// Whether it is open what becomes of addresses that were [left](Target::left).
    undecided: bool,
    /// Those that were put on.
    up: Vec<IpAddr>,
    /// They were taken, and nobody has looked after the neighbours yet.
    arrived: bool,
    /// Some were there, of which the detector was not told yet.
    held: bool,
    /// Since when all of them are there.
    address_up: Option<Instant>,
    announced: Option<Instant>,
    link_down: bool,
    /// An order to drop failed, and the detector waits for it.
    drop_owed: bool,
    /// When the last step, which failed, is to be tried again.
    again: Option<Moment>,
    /// What went wrong last, until it is right again.
    fault: Option<String>,
}

/// Why a step was not carried out.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Macvlan(#[from] MacvlanError),
    #[error("the addresses could not be announced: {0}")]
    Announce(#[source] io::Error),
}

impl Host {
    pub(super) fn new(
        vhost: usize,
        ordered: Wanted,
        detector: mpsc::UnboundedSender<Input>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        Self {
            vhost,
            ordered,
            detector,
            reports,
            target: None,
            wanted: false,
            undecided: false,
            up: Vec::new(),
            arrived: false,
            held: false,
            address_up: None,
            announced: None,
            link_down: false,
            drop_owed: false,
            again: None,
            fault: None,
        }
    }

    /// What orders acted on.
    pub(super) fn into_target(self) -> Option<Target> {
        self.target
    }

    /// When to call [`finish`](Self::finish), if no order comes before.
    pub(super) fn again(&self) -> Option<Moment> {
        self.again
    }

    /// The interfaces on which addresses were taken since this was last asked.
    pub(super) fn take_arrivals(&mut self) -> impl Iterator<Item = u32> + use<> {
        let arrived = std::mem::take(&mut self.arrived);
        let target = self.target.as_ref().filter(|_| arrived);
        let on = target.map(|target| [target.addresses.ifindex(), target.announcer.ifindex()]);
        on.into_iter().flatten()
    }

    pub(super) fn carry_out(&mut self, order: Order, netlink: &mut Netlink) {
        match order {
            Order::Readdress(addresses) => self.readdress(addresses, netlink),
            Order::Use(new) => {
                self.undecided = new.left;
                if let Some(old) = self.target.replace(new) {
                    self.tell(Report::Discarded(Box::new(old)));
                }
                self.up.clear();
                self.address_up = None;
                // Another interface, or another hardware address: everybody must learn that.
                if self.wanted {
                    self.take(netlink);
                    self.announce();
                }
            }
            Order::Take => {
                (self.wanted, self.undecided, self.drop_owed) = (true, false, false);
                (self.address_up, self.announced, self.arrived) = (None, None, true);
                self.take(netlink);
                let well = self.address_up.is_some();
                // It is gone only while the agent ends.
                let _ = self.detector.send(Input::Took { vhost: self.vhost, well });
            }
            Order::Drop => {
                (self.wanted, self.undecided) = (false, false);
                let well = self.drop_addresses(netlink);
                self.drop_owed = !well;
                self.tell_dropped(well);
            }
            Order::Announce if self.wanted => {
                // An address that is not there is not announced; it is tried again instead.
                if self.address_up.is_none() {
                    self.take(netlink);
                }
                self.announce();
            }
            // Dropped in the meantime; or for whoever has all virtual hosts.
            Order::Announce | Order::Begin { .. } | Order::End(_) => {}
            Order::Keep { present, up } => {
                self.link_down = !up;
                self.undecided &= up;
                self.keep(&present, netlink);
            }
            Order::Discard(advertiser) => self.tell(Report::Discarded(Box::new(advertiser))),
            Order::Record { transition, advertised } => {
                self.record(transition, advertised);
                // As master, whether they are to be on is another order.
                if self.undecided && transition.to != State::Master {
                    self.undecided = false;
                    self.drop_again(netlink);
                }
            }
        }
    }

    /// Tries again what failed.
    pub(super) fn finish(&mut self, netlink: &mut Netlink) {
        self.again = None;
        if !self.wanted {
            self.drop_again(netlink);
        } else if !self.link_down && self.take(netlink) > 0 {
            self.announce();
        }
    }

    fn readdress(&mut self, addresses: Vec<IpNet>, netlink: &mut Netlink) {
        let Some(target) = &mut self.target else { return };
        target.announcer.readdress(addresses.iter().map(IpNet::addr));
        let dropped = target.addresses.readdress(addresses).drop(netlink);
        if self.wanted {
            let before = std::mem::take(&mut self.up);
            // All of them: with the first of a subnet, the kernel may have taken off the others.
            self.take(netlink);
            let all = std::mem::take(&mut self.up);
            self.up = all.iter().filter(|ip| !before.contains(ip)).copied().collect();
            self.announce();
            self.up = all;
        }
        if let Err(error) = dropped {
            self.show(Some(error.into()));
        }
    }

    fn keep(&mut self, present: &[IpAddr], netlink: &mut Netlink) {
        let Some(addresses) = self.target.as_ref().map(|target| &target.addresses) else { return };
        if self.wanted && !addresses.all_in(present) && !self.link_down {
            let added = self.take(netlink);
            // None, if what we were told was older than the address.
            if added > 0 {
                self.announce();
                self.tell(Report::PutBack { vhost: self.vhost, added });
            }
        } else if !self.wanted && !self.undecided && addresses.any_in(present) {
            self.drop_again(netlink);
        }
    }

    /// Returns how many addresses were not there before.
    fn take(&mut self, netlink: &mut Netlink) -> usize {
        let Some(target) = &self.target else { return 0 };
        let raised = target.macvlan.as_ref().map_or(Ok(()), |macvlan| macvlan.raise(netlink));
        let (taken, result) = match raised {
            Ok(()) => {
                let mut taken = target.addresses.take(netlink);
                let error = taken.error.take();
                (taken, error.map_or(Ok(()), |error| Err(error.into())))
            }
            Err(error) => (Taken::default(), Err(error.into())),
        };
        self.up = taken.up;
        let well = result.is_ok();
        self.address_up = self.address_up.filter(|_| well).or_else(|| well.then(clock::now));
        self.judge(result);
        taken.added
    }

    /// Announces what is there. Not if it is about to go: what is said late would only mislead the neighbours.
    fn announce(&mut self) {
        if !self.ordered.get() {
            return;
        }
        let Some(target) = self.target.as_ref().filter(|_| !self.up.is_empty()) else { return };
        let announced = target.announcer.announce_those(&self.up);
        let well = announced.is_ok();
        if well && self.announced.is_none() {
            let announced = clock::now();
            self.announced = Some(announced);
            if let Some(address_up) = self.address_up {
                self.tell(Report::Up { vhost: self.vhost, address_up, announced });
            }
        }
        // What failed before is still to be seen.
        if !(well && self.again.is_some()) {
            self.show(announced.map_err(StepError::Announce).err());
        }
    }

    fn drop_addresses(&mut self, netlink: &mut Netlink) -> bool {
        // Some go by themselves when their interface is set down.
        self.held |= !std::mem::take(&mut self.up).is_empty();
        self.address_up = None;
        let Some(target) = &self.target else { return true };
        // First of all: what is down answers nothing.
        let lowered = target.macvlan.as_ref().map_or(Ok(()), |macvlan| macvlan.lower(netlink));
        let dropped = target.addresses.drop(netlink);
        self.held |= matches!(dropped, Ok(true));
        self.judge(lowered.map_err(StepError::from).and(dropped.map(drop).map_err(StepError::from)))
    }

    fn drop_again(&mut self, netlink: &mut Netlink) {
        let well = self.drop_addresses(netlink);
        if well && std::mem::take(&mut self.drop_owed) {
            self.tell_dropped(true);
        }
    }

    /// Has a step that failed tried again, and shows why. Returns whether it went well.
    fn judge(&mut self, result: Result<(), StepError>) -> bool {
        let well = result.is_ok();
        self.again = (!well).then(|| Moment::now() + RETRY);
        self.show(result.err());
        well
    }

    /// Once, however often it is tried again.
    fn show(&mut self, error: Option<StepError>) {
        let fault = error.map(|error| error.to_string());
        if self.fault != fault {
            self.fault.clone_from(&fault);
            self.tell(Report::Fault { vhost: self.vhost, fault });
        }
    }

    fn record(&self, transition: Transition, advertised: Option<Instant>) {
        let mastered = transition.to == State::Master;
        self.tell(Report::Changed(Entry {
            vhost: self.vhost,
            transition,
            advertised,
            address_up: self.address_up.filter(|_| mastered),
            announced: self.announced.filter(|_| mastered),
        }));
    }

    fn tell_dropped(&mut self, well: bool) {
        let held = std::mem::take(&mut self.held);
        // It is gone only while the agent ends.
        let _ = self.detector.send(Input::Dropped { vhost: self.vhost, well, held });
    }

    fn tell(&self, report: Report) {
        // They are read until the agent has ended.
        let _ = self.reports.send(report);
    }
}

/// When a step that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
