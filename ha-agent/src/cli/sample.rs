//! States to look at.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::control::metrics::tests::status;
use crate::control::status::{Change, ChargeStatus, Status};
use crate::core::pair::Generation;
use crate::core::pair::report::Claim;
use crate::journal::events::{Event, What};

/// `b` stands by for `a`, and all is well.
pub(crate) fn standby() -> Status {
    let mut status = serde_json::to_value(status()).expect("it has a form");
    let pair = json!({
        "side": "b", "phase": "standby", "generation": 4, "serving": false, "held": false, "disabled": false,
        "preferred": null, "wait": "peer_active", "waits_because": "the peer is active", "verdict": "alive",
        "peer": "active", "last": null, "last_sentence": null,
    });
    let told = json!({
        "node": "a", "version": "1.2.3", "role": "MASTER", "maintenance": false, "interfaces": { "eth0": true },
        "uptime_s": 86_400.0, "age_ms": 120.0,
    });
    let arrivals: Vec<f64> =
        (0..64).map(|n| if n == 60 { 22.0 } else { 10.0 + f64::from(n % 3) / 10.0 }).collect();
    let vhost = json!({
        "name": "data", "state": "BACKUP", "since_s": 754.0, "advskew": 100, "master_down_ms": 33.9, "fault": null,
        "peer": {
            "address": "10.77.0.1", "advbase": 1, "advskew": 0, "demote": 0, "passphrase": 1,
            "clock_difference_ms": 0, "last_heard": "2026-01-01T00:00:02Z", "age_ms": 4.0,
        },
        "arrivals_ms": arrivals, "least_margin_ms": 11.9, "sent": 12, "accepted": 123_456,
    });
    patch(
        &mut status,
        json!({
            "node": "b", "role": "BACKUP", "reasons": [], "pair": pair, "peer": told, "uptime_s": 754.0,
            "peer_link": { "peer": { "name": "a", "id": "0", "agent": null } },
        }),
    );
    let first = status.pointer_mut("/vhosts/0").expect("a virtual host");
    patch(first, vhost);
    serde_json::from_value(status).expect("a status")
}

/// The same, but nothing could be taken over.
pub(crate) fn blocked() -> Status {
    let mut status = standby();
    let reasons = json!([
        {
            "name": "NO_LINK", "severity": "critical",
            "sentence": "NO_LINK: no critical interface has a link (eth0); look at the cable, the switch and `ip link`",
            "blocks": ["automatic_failover", "switchover_here"],
        },
        {
            "name": "REM_MAINTENANCE", "severity": "warning",
            "sentence": "REM_MAINTENANCE: on the peer: an operator holds this node; end it with `ha-agent resume`",
            "blocks": ["switchover_away"],
        },
    ]);
    status.reasons = serde_json::from_value(reasons).expect("reasons");
    for vhost in &mut status.vhosts {
        (vhost.state, vhost.peer, vhost.arrivals_ms, vhost.least_margin_ms) =
            ("INIT".to_owned(), None, Vec::new(), None);
    }
    status
}

/// Storage that is being taken over.
pub(crate) fn taking() -> ChargeStatus {
    let part = |name: &str, phase: &str, step: &str, step_ms: Option<f64>| {
        json!({
            "name": name, "phase": phase, "step": step, "step_ms": step_ms, "remarks": [], "faults": [], "bad": false,
        })
    };
    let parts = [
        part("watchdog", "watchdog", "skipped", None),
        part("fence tank", "fence", "done", Some(212.5)),
        part("pool tank", "import", "running", Some(1834.0)),
        part("service nfs", "services", "waiting", None),
    ];
    let charge = json!({ "doing": "taking", "parts": parts, "last_takeover": [] });
    serde_json::from_value(charge).expect("a charge")
}

/// What tells of a takeover by `b`.
pub(crate) fn takeover() -> Vec<Event> {
    let ms = |ms: u64| 1_000_000_000 + ms * 1_000_000;
    let change = json!({
        "from": "BACKUP", "to": "MASTER", "cause": "silence", "sentence": "the master was silent for 33.9 ms",
        "at": MOMENT, "at_ns": ms(134), "last_heard_ns": ms(100), "deadline_ns": ms(133),
        "advertised_ns": ms(135), "address_up_ns": null, "announced_ns": null,
    });
    let change: Change = serde_json::from_value(change).expect("a change");
    let generation = Generation::new(5).expect("a small one");
    let claim = Claim::PeerDead;
    let told = [
        (0, Some("b"), What::AgentStarted { version: "1.2.3".to_owned(), pid: 1 }),
        (1, Some("a"), What::PeerLinkUp { via: "10.0.0.1:7780".to_owned() }),
        (134, Some("data"), What::StateChanged { change: Box::new(change) }),
        (140, None, What::TakeoverBegan { generation, claim }),
        (143, Some("data"), What::AddressesUp { address_up_ns: ms(142), announced_ns: ms(143) }),
        (144, None, What::Serving { generation, stored: true }),
    ];
    let told = told.into_iter().zip(1..);
    told.map(|((after, about, what), number)| event(number, ms(after), about, what)).collect()
}

/// An event.
pub(crate) fn event(number: u64, at_ns: u64, about: Option<&str>, what: What) -> Event {
    Event {
        number,
        at: MOMENT.parse::<Timestamp>().expect("a moment"),
        at_ns,
        severity: what.severity(),
        about: about.map(str::to_owned),
        sentence: what.to_string(),
        what,
    }
}

/// The text without what depends on where it is looked at.
pub(crate) fn anywhere(text: &str) -> String {
    ["2026-01-01T00:00:02Z", MOMENT].iter().fold(text.to_owned(), |text, moment| {
        let moment = moment.parse::<Timestamp>().expect("a moment");
        let text = text.replace(&super::paint::time(moment).to_string(), "2026-01-01 00:00:00.000");
        text.replace(&super::paint::clock(moment).to_string(), "00:00:00")
    })
}

fn patch(value: &mut Value, with: Value) {
    match (value, with) {
        (Value::Object(value), Value::Object(with)) => {
            for (key, with) in with {
                patch(value.entry(key).or_insert(Value::Null), with);
            }
        }
        (value, with) => *value = with,
    }
}

const MOMENT: &str = "2026-01-01T00:00:01Z";
