//! How a virtual host speaks: the next advertisement of a fast master lies ready, for itself and for the
//! [understudy](crate::agent::understudy).

use std::rc::Rc;
use std::time::Duration;

use ha_common::auth::Mac;

use crate::agent::understudy::{Part, Taken, Understudy};
use crate::core::{Advertisement, Instant, Sources};
use crate::net::advertise::{Advertiser, Prepared, Sent};
use crate::sys::clock;

/// Sends one virtual host's advertisements.
#[derive(Debug)]
pub(super) struct Voice {
    advertiser: Option<Advertiser>,
    /// Whoever helps out, and who we are to it.
    understudy: Option<(Rc<Understudy>, usize)>,
    /// What was taken back from it: in time, or sent.
    taken: Taken,
    /// How many the understudy has sent.
    covered: u64,
}

/// An advertisement that has left, or should have.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) sent: Sent,
    /// When.
    pub(super) left: Instant,
    /// Whether the understudy has sent it.
    pub(super) covered: bool,
}

impl Voice {
    /// There is nothing to send through yet.
    pub(super) fn new(understudy: Option<(Rc<Understudy>, usize)>) -> Self {
        if let Some((understudy, vhost)) = &understudy {
            understudy.seat(*vhost);
        }
        Self { advertiser: None, understudy, taken: Taken::Nothing, covered: 0 }
    }

    /// How many advertisements the understudy has sent, as far as that was looked at.
    pub(super) fn covered(&self) -> u64 {
        self.covered
    }

    /// Sends through another from now on. Returns the old one.
    pub(super) fn replace(&mut self, advertiser: Advertiser) -> Option<Advertiser> {
        self.interrupt();
        self.advertiser.replace(advertiser)
    }

    /// Says nothing any more. Returns what it was sent through.
    pub(super) fn end(&mut self) -> Option<Advertiser> {
        self.interrupt();
        self.advertiser.take()
    }

    /// Signs with another key.
    pub(super) fn set_mac(&mut self, mac: Mac) {
        self.interrupt();
        if let Some(advertiser) = &mut self.advertiser {
            advertiser.set_mac(mac);
        }
    }

    /// Speaks from other addresses.
    pub(super) fn set_sources(&mut self, sources: Sources) {
        self.interrupt();
        if let Some(advertiser) = &mut self.advertiser {
            advertiser.set_sources(sources);
        }
    }

    /// Something has happened: what lies ready may no longer be true.
    pub(super) fn interrupt(&mut self) {
        self.take_back();
        match &mut self.taken {
            Taken::Unsent(_) => self.taken = Taken::Nothing,
            Taken::Sent { spare, .. } => *spare = None,
            Taken::Nothing | Taken::Leaving => {}
        }
    }

    fn take_back(&mut self) {
        if let Some((understudy, vhost)) = &self.understudy {
            match understudy.take(*vhost) {
                Taken::Nothing => {}
                taken @ (Taken::Unsent(_) | Taken::Leaving) => self.taken = taken,
                taken @ Taken::Sent { times, .. } => {
                    self.covered += times;
                    self.taken = taken;
                }
            }
        }
    }

    /// Says something; what was due at `due` only if that was not said already. `None` if there is nothing to send
    /// through. `next_counter` is asked for the counters of a moment.
    pub(super) fn say(
        &mut self,
        advertisement: Advertisement,
        due: Option<Instant>,
        next_counter: &mut dyn FnMut(Instant) -> u64,
    ) -> Option<Spoken> {
        self.take_back();
        let prepared = match std::mem::replace(&mut self.taken, Taken::Nothing) {
            Taken::Unsent(part) if Some(part.due) == due && part.advertisement == advertisement => {
                let Part { due, interval, advertisement, prepared, spare } = *part;
                // Before anything else: this processor may stand still while it sends.
                if let Some(prepared) = spare {
                    self.give(Part { due: due + interval, interval, advertisement, prepared, spare: None });
                }
                prepared
            }
            // Where the next one is due as well, this one is said again in its place, unless that was just said, too.
            Taken::Sent { due: its, next, left, advertisement: said, sent, spare, times: _ }
                if due.is_some_and(|due| covers(due, its, left, next)) && said == advertisement =>
            {
                if let Some(spare) = spare {
                    self.give(*spare);
                }
                return Some(Spoken { sent, left, covered: true });
            }
            // One that is just leaving may not leave after all: one too many is better than one too few.
            Taken::Nothing | Taken::Unsent(_) | Taken::Leaving | Taken::Sent { .. } => {
                self.prepare(advertisement, clock::now(), next_counter)?
            }
        };
        let sent = prepared.send();
        Some(Spoken { sent, left: clock::now(), covered: false })
    }

    /// Lays ready what is to be said at `due`, and an interval later where a node may be so quiet, if somebody would help
    /// out with it.
    pub(super) fn prepare_next(
        &mut self,
        advertisement: Advertisement,
        due: Instant,
        interval: Duration,
        twice: bool,
        next_counter: &mut dyn FnMut(Instant) -> u64,
    ) {
        if self.understudy.is_none() || interval > FAST {
            return;
        }
        self.take_back();
        let prepared = match std::mem::replace(&mut self.taken, Taken::Nothing) {
            Taken::Unsent(part) if part.due == due && part.advertisement == advertisement => {
                Some(part.prepared)
            }
            // Said already, while this processor stood still.
            taken @ Taken::Sent { due: its, .. } if its == due => {
                self.taken = taken;
                return;
            }
            Taken::Nothing | Taken::Unsent(_) | Taken::Leaving | Taken::Sent { .. } => {
                self.prepare(advertisement, due, next_counter)
            }
        };
        if let Some(prepared) = prepared {
            let spare = if twice { self.prepare(advertisement, due + interval, next_counter) } else { None };
            self.give(Part { due, interval, advertisement, prepared, spare });
        }
    }

    fn give(&self, part: Part) {
        if let Some((understudy, vhost)) = &self.understudy {
            understudy.give(*vhost, part);
        }
    }

    fn prepare(
        &self,
        advertisement: Advertisement,
        at: Instant,
        next_counter: &mut dyn FnMut(Instant) -> u64,
    ) -> Option<Prepared> {
        Some(self.advertiser.as_ref()?.prepare(advertisement, &mut || next_counter(at)))
    }
}

/// Whether one that was due at `its`, before `next`, and has left, is enough for what is due at `due`.
fn covers(due: Instant, its: Instant, left: Instant, next: Instant) -> bool {
    let (now, interval) = (clock::now(), next.saturating_since(its));
    (its == due && now < next) || (due <= its && now.saturating_since(left) < interval / 2)
}

/// Whoever advertises more seldom is not late because a processor stands still. Nor does a time that is signed so
/// long before it has come look wrong to anybody.
const FAST: Duration = Duration::from_millis(100);
