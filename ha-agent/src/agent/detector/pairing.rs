//! What the pair machine has to do with the virtual hosts.

use super::Detector;
use super::gate::Gate;
use super::host::Host;
use super::partner::{self, HostOrder, Partner};
use crate::core::pair::Stance;
use crate::core::{Event, Instant};

impl Detector {
    /// Serves nothing until the pair machine says so.
    pub(super) fn shut(&mut self) {
        self.set_gate(Gate::Closed);
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
        self.hosts.iter_mut().for_each(|host| host.set_gate(gate));
    }

    pub(super) fn set_stance(&mut self, now: Instant, stance: Stance) {
        self.stance = stance;
        self.each_host(now, |host| host.handle(now, Event::Stance(stance)));
    }

    /// Whether any of the hosts has its addresses, or is about to go on with them.
    pub(super) fn may_serve(&self, now: Instant) -> bool {
        let has = |host: &Host| host.addresses().are_present() || host.addresses().are_opening();
        self.hosts.iter().any(|host| has(host) || host.machine.resumes(now))
    }

    /// From here on, one of two.
    pub(super) fn begin_pair(&mut self, now: Instant, begin: &partner::Begin) {
        let Some(outputs) = self.outputs.clone().filter(|_| self.partner.is_none()) else { return };
        let present = self.may_serve(now);
        self.partner = Some(Partner::new(now, begin, self.groups.clone(), present, outputs));
        if !present {
            self.shut();
        }
        // Who serves leads until it is known who is to.
        if !present && !begin.holding {
            self.set_stance(now, Stance::Follow);
        }
    }

    /// Lets the pair machine see what became of it all, and the hosts do what it wants; which it sees, too.
    pub(super) fn judge_pair(&mut self, now: Instant) {
        for _ in 0..ROUNDS {
            let Some(partner) = &mut self.partner else { return };
            let orders = partner.round(now, &self.hosts);
            if orders.is_empty() {
                return;
            }
            for order in orders {
                match order {
                    HostOrder::Gate(gate) => {
                        self.set_gate(gate);
                        self.stirred = true;
                    }
                    HostOrder::Stance(stance) => self.set_stance(now, stance),
                }
            }
        }
    }
}

/// One round of the pair machine leads to another, but not to many.
const ROUNDS: u32 = 4;
