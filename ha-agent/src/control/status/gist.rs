//! What of a status is news.

use super::{ChargeStatus, PeerFactsStatus, PeerLinkStatus, Status, VhostStatus, WitnessStatus};

impl Status {
    /// Whether it says something that the `other` did not: more than that counters, ages and measured times went on.
    #[must_use]
    pub fn is_news_after(&self, other: &Self) -> bool {
        node(self) != node(other)
            || self.peer.as_ref().map(peer) != other.peer.as_ref().map(peer)
            || self.charge.as_ref().map(charge) != other.charge.as_ref().map(charge)
            || self.witness.as_ref().map(witness) != other.witness.as_ref().map(witness)
            || self.peer_link.as_ref().map(peer_link) != other.peer_link.as_ref().map(peer_link)
            || !self.vhosts.iter().map(vhost).eq(other.vhosts.iter().map(vhost))
    }
}

fn node(status: &Status) -> impl PartialEq + '_ {
    let Status { node, role, maintenance, reasons, pair, shared, demotion, .. } = status;
    // Their sentences may tell for how long something has been so.
    let reasons: Vec<_> = reasons.iter().map(|reason| (&reason.name, &reason.blocks)).collect();
    (node, role, maintenance, reasons, pair, shared, demotion)
}

fn peer(peer: &PeerFactsStatus) -> impl PartialEq + '_ {
    let PeerFactsStatus { node, version, role, maintenance, interfaces, uptime_s: _, age_ms: _ } = peer;
    (node, version, role, maintenance, interfaces)
}

fn charge(charge: &ChargeStatus) -> impl PartialEq + '_ {
    let ChargeStatus { doing, parts, last_takeover } = charge;
    let parts: Vec<_> =
        parts.iter().map(|part| (&part.name, &part.step, &part.remarks, &part.faults, part.bad)).collect();
    (doing, parts, last_takeover)
}

fn witness(witness: &WitnessStatus) -> impl PartialEq + '_ {
    let WitnessStatus { kind, via, age_ms: _, holder, vouches_ms, error } = witness;
    (kind, via, holder, vouches_ms.is_some(), error)
}

fn peer_link(link: &PeerLinkStatus) -> impl PartialEq + '_ {
    let PeerLinkStatus { condition, peer, rotating, paths } = link;
    let paths: Vec<_> = paths.iter().map(|path| (path.address, &path.condition.state)).collect();
    (&condition.state, condition.via, peer, rotating, paths)
}

fn vhost(vhost: &VhostStatus) -> impl PartialEq + '_ {
    let VhostStatus { name, receive, addresses, state, last_change, peers, watch, fault, .. } = vhost;
    // In which order they were heard last is not told.
    let mut peers: Vec<_> = peers.iter().map(|peer| (peer.address, peer.advskew, peer.demote)).collect();
    peers.sort_unstable();
    // By the monotonic clock: the time of day is reckoned anew each time.
    let change = last_change.as_ref().map(|change| (change.at_ns, change.advertised_ns, change.announced_ns));
    (name, receive, addresses, state, change, peers, watch, fault)
}

#[cfg(test)]
mod tests {
    use crate::control::metrics::tests::status;

    #[test]
    fn what_only_goes_on_is_no_news() {
        let before = status();
        let mut after = before.clone();
        after.as_of_monotonic_ns += 1;
        after.detector.sent += 1;
        for vhost in &mut after.vhosts {
            vhost.sent += 1;
            vhost.since_s += 1.0;
        }
        assert!(!after.is_news_after(&before));
        after.vhosts[0].state = "INIT".to_owned();
        assert!(after.is_news_after(&before));
    }
}
