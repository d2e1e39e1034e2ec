//! The failover groups of a node: whether it can serve each of them.

use std::collections::BTreeMap;

use crate::config::VhostConfig;
use crate::core::State;
use crate::core::group::{Group, Importance, Links, Member};
use crate::core::liveness::Carp;

/// The groups of all virtual hosts. Made once: the fast thread only fills in the links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    groups: Vec<Group>,
    /// Where each virtual host is, by its index: which group, which member.
    places: BTreeMap<usize, (usize, usize)>,
}

impl Groups {
    /// Those of a configuration.
    #[must_use]
    pub fn new(vhosts: &[VhostConfig]) -> Self {
        let mut all = Self::default();
        for vhost in vhosts {
            let name = vhost.group();
            let at = all.groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
                all.groups.push(Group { name: name.to_owned(), members: Vec::new() });
                all.groups.len() - 1
            });
            let importance = if vhost.critical { Importance::Critical } else { Importance::Other };
            let interface = vhost.interface.clone();
            if let Some(group) = all.groups.get_mut(at) {
                all.places.insert(vhost.index, (at, group.members.len()));
                group.members.push(Member { interface, importance, carp: Carp::LinkDown });
            }
        }
        all
    }

    /// Takes in how virtual hosts are, by index.
    pub fn see(&mut self, states: impl Iterator<Item = (usize, State)>) {
        for (vhost, state) in states {
            let Some((group, member)) = self.places.get(&vhost) else { continue };
            let member = self.groups.get_mut(*group).and_then(|group| group.members.get_mut(*member));
            if let Some(member) = member {
                member.carp = if state == State::Init { Carp::LinkDown } else { Carp::NeverHeard };
            }
        }
    }

    /// Whether this node can serve them all: each has a link, at least.
    #[must_use]
    pub fn can_be_served(&self) -> bool {
        self.groups.iter().all(|group| group.links() != Links::Gone)
    }

    /// The links of each, by name.
    #[must_use]
    pub fn links(&self) -> BTreeMap<String, Links> {
        self.groups.iter().map(|group| (group.name.clone(), group.links())).collect()
    }
}
