//! What becomes of a virtual host's addresses: where this node is one of a pair, a master has them only while the gate is
//! open.

use crate::core::Command;
use crate::exec::{Order, Orders};

/// Whether a master's addresses are let on: one node of a pair serves only while it is the active one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
    /// They are.
    #[default]
    Open,
    /// They are not, and those that were are taken off.
    Closed,
}

/// The addresses of one virtual host.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not one state")]
pub(super) struct Addresses {
    gate: Gate,
    /// The machine wants them there.
    wanted: bool,
    /// Orders to drop them that are not carried out yet.
    drops: usize,
    /// Whether an order to drop, since the core was last told, found some.
    held: bool,
    /// The gate was closed, and that is not carried out yet.
    closing: bool,
    /// They were ordered, and that is not carried out yet.
    opening: bool,
    present: bool,
    /// It is known whether they are there: an earlier agent may have left them.
    known: bool,
}

impl Addresses {
    /// What the machine orders about them, as far as the gate lets it: `None` if nothing is to be done.
    pub(super) fn order(&mut self, command: Command) -> Option<Order> {
        match (command, self.gate) {
            (Command::TakeAddresses, gate) => {
                self.wanted = true;
                (gate == Gate::Open).then(|| self.take())
            }
            // Also what was there before this agent.
            (Command::DropAddresses, _) => {
                self.wanted = false;
                Some(self.drop())
            }
            (Command::Announce, Gate::Open) => Some(Order::Announce),
            (
                Command::Announce | Command::Advertise(_) | Command::Stalled { .. } | Command::Notify(_),
                Gate::Open | Gate::Closed,
            ) => None,
        }
    }

    /// Opens it or closes it; what follows is ordered.
    pub(super) fn set_gate(&mut self, gate: Gate, orders: &Orders) {
        let before = std::mem::replace(&mut self.gate, gate);
        match gate {
            Gate::Open if before == Gate::Closed && self.wanted => {
                orders.give(self.take());
                orders.give(Order::Announce);
            }
            Gate::Open => {}
            Gate::Closed => {
                self.closing = true;
                orders.give(self.drop());
            }
        }
    }

    /// They were ordered, and are there, or not.
    pub(super) fn took(&mut self, well: bool) {
        (self.opening, self.present, self.known) = (false, well, true);
    }

    /// An order to drop them was carried out. Returns whether any had been there, if no other such order is left.
    pub(super) fn dropped(&mut self, well: bool, held: bool) -> Option<bool> {
        self.drops = self.drops.saturating_sub(1);
        self.held |= held;
        let all = well && self.drops == 0;
        if all {
            (self.closing, self.present, self.known) = (false, false, true);
        }
        all.then(|| std::mem::take(&mut self.held))
    }

    /// The gate was closed, and they may be there still.
    pub(super) fn are_closing(&self) -> bool {
        self.closing
    }

    /// They were ordered, and may not be there yet.
    pub(super) fn are_opening(&self) -> bool {
        self.opening
    }

    /// Whether they are there.
    pub(super) fn are_present(&self) -> bool {
        self.present
    }

    /// Whether they may be there: they are, or will be, or an earlier agent may have left them.
    pub(super) fn may_be_present(&self) -> bool {
        self.present || self.opening || !self.known
    }

    /// Whether it is known if they are there.
    pub(super) fn are_known(&self) -> bool {
        self.known
    }

    /// Whether the machine wants them there.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted
    }

    fn take(&mut self) -> Order {
        self.opening = true;
        Order::Take
    }

    fn drop(&mut self) -> Order {
        self.drops += 1;
        self.opening = false;
        Order::Drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_closed_gate_only_drops_are_carried_out() {
        let (mut orders, queue) = crate::exec::queue(1);
        let orders = orders.remove(0);
        let mut addresses = Addresses::default();
        addresses.set_gate(Gate::Closed, &orders);
        assert!(addresses.are_closing());
        assert_eq!(addresses.dropped(true, false), Some(false));
        assert!(!addresses.are_closing());
        assert!(
            addresses.order(Command::TakeAddresses).is_none() && addresses.order(Command::Announce).is_none()
        );
        assert!(addresses.are_wanted() && !addresses.are_opening());
        addresses.set_gate(Gate::Open, &orders);
        assert!(addresses.are_opening());
        addresses.took(true);
        assert!(addresses.are_present() && !addresses.are_opening());
        // A drop that failed is told again once it is done.
        addresses.set_gate(Gate::Closed, &orders);
        assert_eq!((addresses.dropped(false, true), addresses.are_closing()), (None, true));
        assert_eq!((addresses.dropped(true, false), addresses.are_closing()), (Some(true), false));
        assert!(!addresses.are_present());
        let given: Vec<Order> = queue.try_iter().map(|(_, order)| order).collect();
        assert!(matches!(given[..], [Order::Drop, Order::Take, Order::Announce, Order::Drop]), "{given:?}");
    }
}
