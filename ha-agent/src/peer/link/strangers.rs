//! Connections that have not shown yet who they are: few at a time, and few words about them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::Instant;

/// Counts them.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Where the peer is: strangers from elsewhere do not take its place.
    known: Vec<IpAddr>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    total: usize,
    each: HashMap<IpAddr, usize>,
    /// Turned away since the last word about them.
    refused: u64,
    spoken: Option<Instant>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Arc<Strangers>,
    source: IpAddr,
    counts: bool,
}

impl Strangers {
    pub(super) fn new(known: Vec<IpAddr>) -> Arc<Self> {
        Arc::new(Self { known, state: Mutex::default() })
    }

    /// A place for a connection; `None` if there is none left.
    pub(super) fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let source = source.to_canonical();
        let counts = !self.known.contains(&source);
        let source = if counts { network(source) } else { source };
        let mut state = self.lock();
        let from_there = state.each.get(&source).copied().unwrap_or(0);
        if from_there >= EACH || (counts && state.total >= TOTAL) {
            return None;
        }
        state.each.insert(source, from_there + 1);
        state.total += usize::from(counts);
        Some(Place { strangers: Arc::clone(self), source, counts })
    }

    /// Notes that a connection was turned away. Returns how many were since the last word, if it is time for one.
    pub(super) fn refuse(&self, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        state.refused += 1;
        if state.spoken.is_some_and(|spoken| now.saturating_since(spoken) < SILENCE) {
            return None;
        }
        state.spoken = Some(now);
        Some(std::mem::take(&mut state.refused))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.strangers.lock();
        state.total -= usize::from(self.counts);
        match state.each.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(state.each.remove(&self.source)),
        }
    }
}

/// Whose addresses a stranger may have any number of.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(source) => Ipv6Addr::from_bits(source.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// At a time, from everywhere but where the peer is.
const TOTAL: usize = 32;
/// At a time, from one address; in IPv6, from one /64.
const EACH: usize = 4;
/// Between two words about them.
const SILENCE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_few_and_come_back() {
        let strangers = Strangers::new(vec![ip("10.0.0.2")]);
        let mut places = Vec::new();
        for source in 0..100 {
            for _ in 0..10 {
                places.extend(strangers.admit(ip(&format!("10.1.0.{source}"))));
            }
        }
        assert_eq!(places.len(), TOTAL);
        // The peer has places of its own, also as IPv4 in IPv6.
        let own: Vec<_> = (0..10).filter_map(|_| strangers.admit(ip("::ffff:10.0.0.2"))).collect();
        assert_eq!(own.len(), EACH);
        assert!(strangers.admit(ip("10.0.0.2")).is_none());
        drop(own);
        assert!(strangers.admit(ip("10.0.0.2")).is_some());
        places.clear();
        assert!(strangers.lock().each.is_empty());
        assert_eq!(strangers.lock().total, 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let strangers = Strangers::new(Vec::new());
        let places: Vec<_> =
            (0..10).filter_map(|host| strangers.admit(ip(&format!("2001:db8::{host}")))).collect();
        assert_eq!(places.len(), EACH);
        assert!(strangers.admit(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn few_words_are_lost_about_them() {
        let strangers = Strangers::new(Vec::new());
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        assert_eq!(strangers.refuse(at(1)), Some(1));
        for _ in 0..10_000 {
            assert_eq!(strangers.refuse(at(2)), None);
        }
        assert_eq!(strangers.refuse(at(61)), Some(10_001));
    }
}
