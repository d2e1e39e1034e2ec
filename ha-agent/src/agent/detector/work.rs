//! How far an order of the pair machine is carried out: the addresses by the hosts, all else by the conductor.
//!
//! ```text
//!   take:     conductor ──Prepared──▶ addresses ──▶ taken, and the conductor does the rest
//!   release:  addresses ──▶ conductor ──Released──▶ released
//! ```

use crate::core::pair::{Generation, Report};
use crate::exec::conductor::{self, From};

/// The order, and where it is.
#[derive(Debug)]
pub(super) struct Work {
    /// Whether there is a conductor: without one, the addresses are all.
    conducted: bool,
    order: Option<Order>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    kind: Kind,
    term: Generation,
    at: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Take,
    Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Addresses,
    Conductor,
}

/// How the addresses are, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not one state")]
pub(super) struct Addresses {
    /// An order to take them off is not carried out yet.
    pub(super) closing: bool,
    /// An order to put them on is not carried out yet.
    pub(super) opening: bool,
    /// Some are there.
    pub(super) present: bool,
    /// Some should be.
    pub(super) wanted: bool,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The addresses may come.
    Open,
    /// The conductor has something to do.
    Conduct(conductor::Order),
    /// The machine is to be told.
    Report(Report),
}

impl Work {
    pub(super) fn new(conducted: bool) -> Self {
        Self { conducted, order: None }
    }

    /// Takes over.
    pub(super) fn take(&mut self, term: Generation, from: From) -> Next {
        let (at, next) = if self.conducted {
            (Place::Conductor, Next::Conduct(conductor::Order::Take(term, from)))
        } else {
            (Place::Addresses, Next::Open)
        };
        self.order = Some(Order { kind: Kind::Take, term, at });
        next
    }

    /// Releases. The addresses are taken off.
    pub(super) fn release(&mut self, term: Generation) {
        self.order = Some(Order { kind: Kind::Release, term, at: Place::Addresses });
    }

    /// The addresses are so.
    pub(super) fn see(&mut self, addresses: Addresses) -> Option<Next> {
        let Order { kind, term, at: Place::Addresses } = self.order? else { return None };
        match kind {
            Kind::Release if addresses.closing => None,
            Kind::Release if self.conducted => {
                self.order = Some(Order { kind, term, at: Place::Conductor });
                Some(Next::Conduct(conductor::Order::Release(term)))
            }
            Kind::Release => Some(self.end(Report::Released(term))),
            Kind::Take if addresses.opening => None,
            // A part of the service is better than none.
            Kind::Take if addresses.present => Some(self.end(Report::Taken(term))),
            Kind::Take if addresses.wanted => Some(self.end(Report::TakeFailed(term))),
            Kind::Take => None,
        }
    }

    /// The conductor says this. What it says of an older order is not heard.
    pub(super) fn hear(&mut self, report: conductor::Report) -> Option<Next> {
        use conductor::Report as Said;
        let order = self.order;
        let is_about =
            |kind: Kind, of: Generation| order.is_some_and(|order| (order.kind, order.term) == (kind, of));
        match report {
            Said::Prepared(term) if is_about(Kind::Take, term) => {
                self.order = Some(Order { kind: Kind::Take, term, at: Place::Addresses });
                Some(Next::Open)
            }
            Said::TakeFailed(term) if is_about(Kind::Take, term) => Some(self.end(Report::TakeFailed(term))),
            Said::Released(term) if is_about(Kind::Release, term) => Some(self.end(Report::Released(term))),
            Said::ReleaseFailed(term) if is_about(Kind::Release, term) => Some(self.end(Report::ReleaseFailed(term))),
            Said::Lost(term) => Some(Next::Report(Report::Lost(term))),
            Said::Prepared(_)
            | Said::TakeFailed(_)
            | Said::Released(_)
            | Said::ReleaseFailed(_)
            // Others see to these.
            | Said::SelfFence(_)
            | Said::Condition(_) => None,
        }
    }

    fn end(&mut self, report: Report) -> Next {
        self.order = None;
        Next::Report(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Addresses = Addresses { closing: false, opening: false, present: false, wanted: true };
    const THERE: Addresses = Addresses { present: true, ..NONE };

    fn term(number: u64) -> Generation {
        Generation::new(number).expect("small")
    }

    #[test]
    fn without_a_conductor_the_addresses_are_all() {
        let mut work = Work::new(false);
        assert_eq!(work.take(term(3), From::Dead), Next::Open);
        assert_eq!(work.see(Addresses { opening: true, ..NONE }), None);
        assert_eq!(work.see(THERE), Some(Next::Report(Report::Taken(term(3)))));
        assert_eq!(work.see(THERE), None);
        work.release(term(3));
        assert_eq!(work.see(Addresses { closing: true, ..THERE }), None);
        assert_eq!(work.see(NONE), Some(Next::Report(Report::Released(term(3)))));
        work.take(term(5), From::Dead);
        assert_eq!(work.see(Addresses { wanted: false, ..NONE }), None);
        assert_eq!(work.see(NONE), Some(Next::Report(Report::TakeFailed(term(5)))));
    }

    #[test]
    fn the_addresses_come_last_and_go_first() {
        use conductor::{Order as Do, Report as Said};
        let mut work = Work::new(true);
        assert_eq!(work.take(term(3), From::Dead), Next::Conduct(Do::Take(term(3), From::Dead)));
        // Those that are left from before say nothing about this order.
        assert_eq!(work.see(THERE), None);
        assert_eq!(work.hear(Said::Prepared(term(2))), None);
        assert_eq!(work.hear(Said::Prepared(term(3))), Some(Next::Open));
        assert_eq!(work.see(THERE), Some(Next::Report(Report::Taken(term(3)))));
        work.release(term(3));
        assert_eq!(work.hear(Said::Released(term(2))), None);
        assert_eq!(work.see(NONE), Some(Next::Conduct(Do::Release(term(3)))));
        assert_eq!(work.see(NONE), None);
        assert_eq!(
            work.hear(Said::ReleaseFailed(term(3))),
            Some(Next::Report(Report::ReleaseFailed(term(3))))
        );
    }

    #[test]
    fn a_release_overtakes_a_take() {
        use conductor::{Order as Do, Report as Said};
        let mut work = Work::new(true);
        work.take(term(3), From::Dead);
        work.release(term(3));
        assert_eq!(work.hear(Said::Prepared(term(3))), None);
        assert_eq!(work.hear(Said::TakeFailed(term(3))), None);
        assert_eq!(work.see(NONE), Some(Next::Conduct(Do::Release(term(3)))));
        assert_eq!(work.hear(Said::Lost(term(3))), Some(Next::Report(Report::Lost(term(3)))));
        assert_eq!(work.hear(Said::Released(term(3))), Some(Next::Report(Report::Released(term(3)))));
    }
}
