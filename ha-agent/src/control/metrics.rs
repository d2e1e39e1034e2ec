//! The status as metrics, for monitoring systems.

mod pair;
mod text;

#[cfg(test)]
pub(crate) mod tests;

use jiff::Timestamp;

pub use self::text::Format;

use self::text::{Kind, Labels, Text};
use super::status::{
    DetectorStatus, HistogramStatus, PeerConditionStatus, PeerLinkStatus, PeerStatus, Status, VhostStatus,
};
use crate::core::State;
use crate::core::role::Role;
use crate::peer::link::status::Condition;

/// The status as metrics, in the format that the reader wants.
#[must_use]
pub fn text(status: &Status, format: Format) -> String {
    let mut text = Text::default();
    node(&mut text, status);
    pair::pair(&mut text, status);
    detector(&mut text, &status.detector);
    vhosts(&mut text, &status.vhosts);
    frames(&mut text, status);
    peers(&mut text, &status.vhosts);
    if let Some(link) = &status.peer_link {
        peer_link(&mut text, link);
    }
    text.finish(format)
}

fn node(text: &mut Text, status: &Status) {
    let labels = vec![("node", status.node.clone()), ("version", status.version.clone())];
    text.family(Kind::Info, "ha_agent", "The agent that runs.", [(labels, 1.0)]);
    let roles = Role::ALL.map(|role| (vec![("role", role.to_string())], f64::from(role == status.role)));
    text.family(Kind::Gauge, "ha_agent_role", "1 for the role that the node has, 0 for the others.", roles);
    let help = "1 if an operator holds it.";
    text.single(Kind::Gauge, "ha_agent_maintenance", help, status.maintenance);
    let reasons = status.reasons.iter().map(|reason| {
        (vec![("reason", reason.name.clone()), ("severity", reason.severity.to_string())], 1.0)
    });
    text.family(Kind::Gauge, "ha_agent_reason", "What stands in the way of an action.", reasons);
    let help = "How much this node would rather not be master, as advertised; 0 is not at all.";
    text.single(Kind::Gauge, "ha_agent_demotion_level", help, status.demotion.level);
    let causes = status.demotion.causes.iter().map(|cause| {
        let detail = cause.detail.clone().unwrap_or_default();
        (vec![("cause", cause.name.clone()), ("interface", detail)], 1.0)
    });
    text.family(Kind::Gauge, "ha_agent_demotion_cause", "Why it would rather not be master.", causes);
}

fn detector(text: &mut Text, detector: &DetectorStatus) {
    let DetectorStatus { realtime, lateness, jitter, lease, cpu_s, .. } = detector;
    let help = "The real-time priority of the thread that watches and advertises; 0 for none.";
    text.single(Kind::Gauge, "ha_agent_realtime_priority", help, realtime.priority.unwrap_or(0));
    let help = "1 if the agent's memory is locked.";
    text.single(Kind::Gauge, "ha_agent_memory_locked", help, realtime.memory_locked);
    let help = "Processor time of the thread that watches and advertises.";
    text.single(Kind::Counter, "ha_agent_detector_cpu_seconds", help, *cpu_s);
    let help = "For how long the first thing had waited that the detector ran for, a deadline or a record.";
    histogram(text, "ha_agent_detector_lateness_seconds", help, &lateness.histogram);
    let help = "How often the detector ran later than an interval of the fastest virtual host.";
    text.single(Kind::Counter, "ha_agent_detector_late", help, count(lateness.late));
    let help = "Records that were read then, before any deadline was judged.";
    text.single(Kind::Counter, "ha_agent_detector_late_records", help, count(lateness.late_records));
    let help = "How long after their time had come advertisements left.";
    histogram(text, "ha_agent_advertisement_jitter_seconds", help, &jitter.histogram);
    let help = "Advertisements that left when the next one was due already.";
    text.single(Kind::Counter, "ha_agent_missed_advertisements", help, count(jitter.missed));
    let help = "Advertisements that the understudy sent, because the detector was late.";
    text.single(Kind::Counter, "ha_agent_covered_advertisements", help, count(jitter.covered));
    let help = "How often this node went quiet, because the detector did not run.";
    text.single(Kind::Counter, "ha_agent_lease_lapses", help, count(lease.lapses));
    let help = "Frames to virtual addresses, and requests for them, that were dropped while nobody vouched for this node.";
    text.single(Kind::Counter, "ha_agent_silenced_frames", help, count(lease.silenced));
}

fn vhosts(text: &mut Text, vhosts: &[VhostStatus]) {
    let states = vhosts.iter().flat_map(|vhost| {
        [State::Init, State::Backup, State::Master].map(|state| {
            let state = state.to_string();
            let is = f64::from(state == vhost.state);
            (with(vhost, [("state", state)]), is)
        })
    });
    let help = "1 for the state that the virtual host is in, 0 for the others.";
    text.family(Kind::Gauge, "ha_agent_state", help, states);
    let mut each = |kind, name: &'static str, help: &'static str, value: fn(&VhostStatus) -> f64| {
        let samples = vhosts.iter().map(|vhost| (with(vhost, []), value(vhost)));
        text.family(kind, name, help, samples);
    };
    let help = "Since when it is in that state.";
    each(Kind::Gauge, "ha_agent_state_since_timestamp_seconds", help, |vhost| seconds(vhost.since));
    let help = "1 if something goes wrong at the moment.";
    each(Kind::Gauge, "ha_agent_fault", help, |vhost| f64::from(vhost.fault.is_some()));
    let help = "From one advertisement to the next.";
    each(Kind::Gauge, "ha_agent_interval_seconds", help, |vhost| vhost.interval_ms / 1e3);
    let help = "From the last advertisement heard to the takeover.";
    each(Kind::Gauge, "ha_agent_master_down_seconds", help, |vhost| vhost.master_down_ms / 1e3);
    let help = "Advertisements sent.";
    each(Kind::Counter, "ha_agent_sent_advertisements", help, |vhost| count(vhost.sent));
    let help = "Advertisements that could not be sent.";
    each(Kind::Counter, "ha_agent_send_errors", help, |vhost| count(vhost.send_errors));
    let help = "Authentic advertisements of other nodes.";
    each(Kind::Counter, "ha_agent_accepted_advertisements", help, |vhost| count(vhost.accepted));
    let help = "How often this node slept longer than its peers wait.";
    each(Kind::Counter, "ha_agent_stalls", help, |vhost| count(vhost.stalls));
    let help = "How often the kernel's timer fired so late that it was not believed.";
    each(Kind::Counter, "ha_agent_late_timers", help, |vhost| count(vhost.late_timers));
}

fn frames(text: &mut Text, status: &Status) {
    let refused = status.vhosts.iter().flat_map(|vhost| {
        let sample =
            |(reason, number): (&String, &u64)| (with(vhost, [("reason", reason.clone())]), count(*number));
        vhost.refused.iter().map(sample)
    });
    let help = "Frames for the virtual host that were refused, by reason.";
    text.family(Kind::Counter, "ha_agent_refused_frames", help, refused);
    let others = status.other_frames.iter();
    let others = others.map(|(reason, number)| (vec![("reason", reason.clone())], count(*number)));
    let help = "Frames on protocol 112 for none of the virtual hosts, by reason.";
    text.family(Kind::Counter, "ha_agent_other_frames", help, others);
    let suspicions = status.vhosts.iter().flat_map(|vhost| {
        vhost.suspicions.iter().map(|suspicion| {
            let labels = [("suspicion", suspicion.name.clone()), ("source", suspicion.source.to_string())];
            (with(vhost, labels), count(suspicion.count))
        })
    });
    text.family(Kind::Counter, "ha_agent_suspicions", "What looks like an attack.", suspicions);
}

fn peers(text: &mut Text, vhosts: &[VhostStatus]) {
    let mut each = |name: &'static str, help: &'static str, value: fn(&PeerStatus) -> Option<f64>| {
        let samples = vhosts.iter().flat_map(|vhost| {
            let sample = move |peer: &PeerStatus| {
                Some((with(vhost, [("address", peer.address.to_string())]), value(peer)?))
            };
            vhost.peers.iter().filter_map(sample)
        });
        text.family(Kind::Gauge, name, help, samples);
    };
    let help = "When the other node was heard last.";
    each("ha_agent_peer_last_heard_timestamp_seconds", help, |peer| Some(seconds(peer.last_heard)));
    let help = "How far the other node's clock is ahead of ours; in strict mode.";
    each("ha_agent_peer_clock_difference_seconds", help, |peer| {
        #[expect(clippy::cast_precision_loss, reason = "no more digits are known")]
        peer.clock_difference_ms.map(|difference| difference as f64 / 1e3)
    });
}

fn peer_link(text: &mut Text, link: &PeerLinkStatus) {
    let states = Condition::NAMES.map(|state| {
        let is = f64::from(state == link.condition.state);
        (vec![("state", state.to_owned())], is)
    });
    let help = "1 for the state that the link to the peer's agent is in, 0 for the others.";
    text.family(Kind::Gauge, "ha_agent_peer_link_state", help, states);
    let mut each =
        |name: &'static str, help: &'static str, value: fn(&PeerConditionStatus) -> Option<f64>| {
            let samples = link.paths.iter().filter_map(|path| {
                Some((vec![("address", path.address.to_string())], value(&path.condition)?))
            });
            text.family(Kind::Gauge, name, help, samples);
        };
    let help = "1 if the peer answers on this path.";
    each("ha_agent_peer_path_up", help, |path| Some(f64::from(path.via.is_some())));
    let help = "From the last heartbeat on this path to its answer.";
    each("ha_agent_peer_path_round_trip_seconds", help, |path| path.round_trip_ms.map(|ms| ms / 1e3));
    let help = "How long ago the peer was heard on this path.";
    each("ha_agent_peer_path_age_seconds", help, |path| path.age_ms.map(|ms| ms / 1e3));
}

fn histogram(text: &mut Text, name: &'static str, help: &'static str, histogram: &HistogramStatus) {
    let ranges = histogram.buckets.iter().map(|bucket| {
        // Whole microseconds: no digit comes from the way through milliseconds.
        (bucket.le_ms.map(|ms| (ms * 1e3).round() / 1e6), bucket.count)
    });
    text.histogram(name, help, ranges, histogram.sum_ms / 1e3);
}

/// A virtual host's labels, and more.
fn with<const N: usize>(vhost: &VhostStatus, more: [(&'static str, String); N]) -> Labels {
    let mut labels = vec![("vhost", vhost.name.clone()), ("interface", vhost.interface.clone())];
    labels.extend(more);
    labels
}

/// Since 1970.
fn seconds(moment: Timestamp) -> f64 {
    moment.as_duration().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "the formats know no other numbers")]
fn count(number: u64) -> f64 {
    number as f64
}
