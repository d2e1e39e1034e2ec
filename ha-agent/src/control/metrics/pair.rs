//! The pair: both nodes, what stands in the way, what is in charge, the witness.

use super::count;
use super::text::{Kind, Text};
use crate::control::status::{ChargeStatus, PairStatus, SharedStatus, Status, WitnessStatus};
use crate::core::pair::{Liveness, Phase};
use crate::core::reasons::Action;
use crate::core::role::Role;

pub(super) fn pair(text: &mut Text, status: &Status) {
    blocked(text, status);
    if let Some(peer) = &status.peer {
        let labels = vec![("node", peer.node.clone()), ("version", peer.version.clone())];
        text.family(
            Kind::Info,
            "ha_agent_peer",
            "The agent of the other node, as it told last.",
            [(labels, 1.0)],
        );
        let roles = Role::ALL.map(|role| (vec![("role", role.to_string())], f64::from(role == peer.role)));
        let help = "1 for the role that the other node told last, 0 for the others.";
        text.family(Kind::Gauge, "ha_agent_peer_role", help, roles);
        let help = "How long ago the other node told something.";
        text.single(Kind::Gauge, "ha_agent_peer_told_age_seconds", help, peer.age_ms / 1e3);
    }
    if let Some(pair) = &status.pair {
        standing(text, pair);
    }
    if let Some(charge) = &status.charge {
        in_charge(text, charge);
    }
    if let Some(witness) = &status.witness {
        self::witness(text, witness);
    }
    if let Some(SharedStatus { version, agreed, .. }) = &status.shared {
        let help = "The version of the configuration that this node shares with the other one.";
        text.single(Kind::Gauge, "ha_agent_shared_version", help, count(*version));
        let help = "The last version of it that both agreed on; 0 is none yet.";
        text.single(Kind::Gauge, "ha_agent_shared_agreed_version", help, count(*agreed));
    }
}

fn blocked(text: &mut Text, status: &Status) {
    let samples = Action::ALL.map(|action| {
        let is = status.reasons.iter().any(|reason| reason.blocks.contains(&action));
        (vec![("action", action.name().to_owned())], f64::from(is))
    });
    text.family(Kind::Gauge, "ha_agent_blocked", "1 if a reason stands in the way of the action.", samples);
}

fn standing(text: &mut Text, pair: &PairStatus) {
    let phases =
        Phase::NAMES.map(|phase| (vec![("phase", phase.to_owned())], f64::from(phase == pair.phase)));
    text.family(Kind::Gauge, "ha_agent_pair_phase", "1 for what this node does in its pair.", phases);
    let verdicts = Liveness::ALL
        .map(|verdict| (vec![("verdict", verdict.to_string())], f64::from(verdict == pair.verdict)));
    let help = "1 for the verdict on the other node, from the link and the virtual hosts.";
    text.family(Kind::Gauge, "ha_agent_peer_verdict", help, verdicts);
    let help =
        "The generation that this node serves in, or last did: each takeover and switchover counts it up.";
    text.single(Kind::Gauge, "ha_agent_generation", help, count(pair.generation.number()));
    let help = "1 if the virtual hosts may have their addresses.";
    text.single(Kind::Gauge, "ha_agent_serving", help, pair.serving);
    let help = "1 if an operator has disabled failover in the pair.";
    text.single(Kind::Gauge, "ha_agent_failover_disabled", help, pair.disabled);
}

fn in_charge(text: &mut Text, charge: &ChargeStatus) {
    let parts = charge.parts.iter();
    let parts = parts.map(|part| (vec![("part", part.name.clone())], f64::from(part.bad)));
    let help = "1 if something keeps it from being served: a pool, file system or service.";
    text.family(Kind::Gauge, "ha_agent_part_bad", help, parts);
    let steps = charge.last_takeover.iter().map(|step| {
        let labels = vec![("step", step.name.clone()), ("phase", step.phase.to_string())];
        (labels, step.took_ms / 1e3)
    });
    let help = "How long each step of the last takeover took.";
    text.family(Kind::Gauge, "ha_agent_takeover_step_seconds", help, steps);
}

fn witness(text: &mut Text, witness: &WitnessStatus) {
    let help = "1 if the witness answers.";
    text.single(Kind::Gauge, "ha_agent_witness_up", help, witness.error.is_none());
    let help = "For how long this node may rest on what the witness said; 0 if it may not.";
    let vouches = witness.vouches_ms.unwrap_or_default() / 1e3;
    text.single(Kind::Gauge, "ha_agent_witness_vouches_seconds", help, vouches);
}
