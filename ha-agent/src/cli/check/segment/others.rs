//! For which list of addresses somebody else has signed.

use std::net::IpAddr;

use crate::cli::check::Scene;
use crate::config::VhostConfig;
use crate::sniff::Sighting;
use crate::sniff::keys::is_made_for;

/// The list, if it was signed with one of our passphrases and is among those that come about by mistake: one address is missing,
/// one is too many that another virtual host has, only one is there, or those of one family, or none.
pub(super) fn signed_for(scene: Scene<'_>, vhost: &VhostConfig, seen: &Sighting) -> Option<Vec<IpAddr>> {
    let carp = seen.carp?;
    let ours: Vec<IpAddr> = vhost.addresses.iter().map(ipnet::IpNet::addr).collect();
    let without = |at: usize| {
        let rest = ours.iter().enumerate().filter(move |(index, _)| *index != at);
        rest.map(|(_, address)| *address).collect::<Vec<_>>()
    };
    let with = |more: IpAddr| ours.iter().copied().chain([more]).collect::<Vec<_>>();
    let all_others = scene.config.vhosts.iter().flat_map(|vhost| &vhost.addresses).map(ipnet::IpNet::addr);
    let family =
        |v4: bool| ours.iter().copied().filter(|address| address.is_ipv4() == v4).collect::<Vec<_>>();
    let mut lists: Vec<Vec<IpAddr>> = vec![family(true), family(false), Vec::new()];
    lists.extend((0..ours.len()).map(without));
    lists.extend(ours.iter().map(|address| vec![*address]));
    lists.extend(all_others.filter(|address| !ours.contains(address)).map(with));
    lists.into_iter().find(|list| is_made_for(scene.config, vhost.vhid, list, carp.counter, &carp.digest))
}
