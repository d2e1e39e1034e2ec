use super::*;
use crate::core::{Families, Pace, Settings};
use ha_common::auth::{Message, key};

#[test]
fn an_advertisement_that_did_not_leave_has_no_time() {
    let (mut orders, _queue) = crate::exec::queue(1);
    let (notes, _notes) = mpsc::unbounded_channel();
    let priority = Priority { advbase: 1, advskew: 0 };
    let message = Message { vhid: 10, ipv4: &[], ipv6: &[], link_local: true, lladdr: None };
    let settings = Settings {
        priority,
        pace: Pace::Classic,
        preempt: false,
        families: Families::only(Family::V4),
        announce_every: None,
    };
    let setup = VhostSetup {
        index: 0,
        name: "data".to_owned(),
        settings,
        interface: "eth0".to_owned(),
        vhid: 10,
        mac: Mac::new(&key(b"secret"), &message),
        random: 0,
        stored_ms: None,
        resumes: None,
        orders: orders.remove(0),
    };
    let mut host = Host::new(setup, Mode::Compat, None, None, None, notes);
    // From an earlier life as master; now there is nothing to send through.
    host.advertised = Some(Instant::from_nanos(7));
    host.advertise(Advertisement { priority, demote: 0 }, None);
    assert_eq!(host.advertised, None);
}
