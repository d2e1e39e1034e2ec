//! A new configuration while the agent runs: virtual hosts go, change and come, and the others notice nothing.
//!
//! | what | when |
//! |---|---|
//! | an interface that is used for the first time is attached | before anything else: it may not be possible |
//! | virtual hosts that are no more | first of all: what they had may be another's from now on |
//! | addresses that are no more | before others are put on, which may have been another virtual host's |
//! | whom the kernel program hears, and then how this node signs | so that nobody goes unheard |
//! | new virtual hosts | last, as if the agent had just started |

use std::collections::BTreeSet;

use ha_common::abi::{MAX_GUARDED, MAX_LISTED};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Follower, Member};
use crate::agent::detector::groups::Groups;
use crate::agent::detector::{Input, VhostSnapshot};
use crate::agent::follow_error::FollowError;
use crate::agent::{PATIENCE, ending, hosts};
use crate::config::{Auth, Change, Config, Reload, VhostConfig};
use crate::exec::Order;
use crate::net::link::Interfaces;
use crate::net::place;

impl Follower {
    /// Attaches the program to interfaces that are used for the first time, and finds out whether there is room for all.
    ///
    /// # Errors
    ///
    /// Why the new configuration can't be applied. Then nothing has changed.
    pub(in crate::agent) fn make_ready(
        &mut self,
        reload: &Reload,
        interfaces: &Interfaces,
    ) -> Result<(), FollowError> {
        let config = &reload.config;
        require_room(config, interfaces)?;
        let added: Vec<_> = added(reload).collect();
        let names: BTreeSet<_> = added.iter().map(|vhost| vhost.interface.as_str()).collect();
        let mut taken_up = Vec::new();
        for name in names {
            if self.followed.get(name).is_some_and(Option::is_some) {
                continue;
            }
            taken_up.push(name);
            if let Err(error) = self.take_up(name, &added, interfaces) {
                for name in taken_up {
                    self.give_up(name);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Goes over to the new configuration, which was [made ready](Self::make_ready) for. Returns what is wrong, in sentences: it
    /// will be tried again.
    pub(in crate::agent) async fn reload(&mut self, reload: &Reload, interfaces: &Interfaces) -> Vec<String> {
        let config = &reload.config;
        let mut errors = self.remove(&reload.changes).await;
        self.change(reload, &mut errors);
        for vhost in added(reload) {
            errors.extend(self.add(vhost, &config.auth).err());
        }
        let names: BTreeSet<_> = added(reload).map(|vhost| vhost.interface.clone()).collect();
        for name in names {
            match timeout(PATIENCE, self.follow(&name, interfaces)).await {
                Ok(followed) => errors.extend(followed.err().map(|error| error.to_string())),
                Err(_) => {
                    errors.push(format!("interface {name} is not ready yet: the kernel does not answer"));
                }
            }
        }
        // Only now: until a virtual host knows its link, it looks as if it had none.
        self.tell_detector(Input::Groups(Groups::new(&config.vhosts)));
        let unused: Vec<_> = self.followed.keys().filter(|name| self.on(name).is_empty()).cloned().collect();
        for name in unused {
            self.give_up(&name);
        }
        errors
    }

    /// Signs as it is time to: see [`Rules`](super::Rules).
    pub(in crate::agent) fn switch(&mut self) {
        match self.rules.switch() {
            Ok(vhosts) => vhosts.into_iter().for_each(|vhost| self.sign(vhost)),
            Err(error) => tracing::error!(%error, "the kernel program was not told the keys"),
        }
    }

    /// Attaches to an interface for virtual hosts that are about to come.
    fn take_up(
        &mut self,
        name: &str,
        added: &[&VhostConfig],
        interfaces: &Interfaces,
    ) -> Result<(), FollowError> {
        let interface = interfaces.get(name).ok_or_else(|| FollowError::NoInterface(name.to_owned()))?;
        let place = place::place(interfaces, &interface.name)?;
        self.begin(name, interface, &place, added, interfaces)
    }

    /// Detaches from an interface; where virtual hosts are left, it is waited for.
    fn give_up(&mut self, name: &str) {
        self.forget(name);
        if self.on(name).is_empty() {
            self.followed.remove(name);
        }
    }

    /// Lets virtual hosts leave in order, all at once, and forgets them.
    async fn remove(&mut self, changes: &[Change]) -> Vec<String> {
        let mut leaving = Vec::new();
        for change in changes {
            if let Change::Removed { index, vhost } = change {
                let (done, left) = oneshot::channel();
                self.tell_detector(Input::Remove { vhost: *index, done });
                leaving.push((*index, vhost, left));
            }
        }
        let mut errors = Vec::new();
        for (vhost, name, left) in leaving {
            match timeout(PATIENCE, left).await {
                Ok(Ok(last)) => self.forget_vhost(vhost, &last).await,
                Ok(Err(_)) | Err(_) => {
                    errors.push(format!("virtual host '{name}' does not leave; `ha-agent restart`"));
                }
            }
        }
        errors
    }

    async fn forget_vhost(&mut self, vhost: usize, last: &VhostSnapshot) {
        self.rules.remove(vhost);
        self.reception.mind().end(vhost, &last.given);
        for followed in self.followed.values_mut().flatten() {
            followed.links.retain(|(told, _)| *told != vhost);
        }
        let Some(orders) = self.vhosts.get(&vhost).map(|member| member.orders.clone()) else { return };
        let (reply, target) = oneshot::channel();
        orders.give(Order::End(reply));
        // Behind all orders before: then nobody uses its interface any more.
        drop(timeout(PATIENCE, target).await);
        let macvlan = self.vhosts.remove(&vhost).and_then(|member| member.macvlan);
        ending::remove(macvlan).await;
    }

    /// Goes over to the new configuration of those that stay.
    fn change(&mut self, reload: &Reload, errors: &mut Vec<String>) {
        let config = &reload.config;
        let mut changed = Vec::new();
        for new in &config.vhosts {
            let Some(Member { config: old, orders, .. }) = self.vhosts.get(&new.index) else { continue };
            if old.addresses != new.addresses {
                let stay = new.addresses.iter().filter(|net| old.addresses.contains(net)).copied();
                orders.give(Order::Readdress(stay.collect()));
                changed.push(new);
            }
        }
        self.virtual_addresses =
            config.vhosts.iter().flat_map(|vhost| &vhost.addresses).map(ipnet::IpNet::addr).collect();
        // First everybody is heard who may sign from now on, then we sign otherwise ourselves.
        let told = self.rules.guard(config).and_then(|()| self.rules.reload(config));
        errors.extend(told.err().map(|error| error.to_string()));
        for new in &config.vhosts {
            if let Some(member) = self.vhosts.get_mut(&new.index) {
                member.config = new.clone();
                self.sign(new.index);
            }
        }
        self.tell_detector(Input::Mode(config.auth.mode));
        for new in changed {
            // Now nobody has any that another one had.
            if let Some(member) = self.vhosts.get(&new.index) {
                member.orders.give(Order::Readdress(new.addresses.clone()));
            }
            errors.extend(self.join_again(&new.interface).err().map(|error| error.to_string()));
        }
    }

    fn add(&mut self, config: &VhostConfig, auth: &Auth) -> Result<(), String> {
        let vhost = config.index;
        self.rules.add(config).map_err(|error| error.to_string())?;
        let (setup, member) =
            self.reception.receive(config, auth, None).map_err(|error| error.to_string())?;
        self.vhosts.insert(vhost, member);
        self.tell_detector(Input::Add(Box::new(setup)));
        let name = &config.interface;
        let followed = self.followed.entry(name.clone()).or_default();
        let Some(spot) = followed.as_ref().map(|followed| followed.spot.clone()) else { return Ok(()) };
        let keys = self.rules.watch(vhost, &spot).map_err(|error| error.to_string())?;
        self.tell_detector(Input::Watch { vhost, keys });
        self.join_again(name).map_err(|error| error.to_string())
    }

    /// Is in the groups that the virtual hosts on an interface need now; and never in fewer meanwhile.
    fn join_again(&mut self, name: &str) -> Result<(), FollowError> {
        let Some(Some(followed)) = self.followed.get(name) else { return Ok(()) };
        let membership = self.join(name, followed.index, &[])?;
        if let Some(Some(followed)) = self.followed.get_mut(name) {
            followed.membership = membership;
        }
        Ok(())
    }

    fn sign(&self, vhost: usize) {
        if let Some(mac) = self.rules.signer(vhost) {
            self.tell_detector(Input::Sign { vhost, mac });
        }
    }

    fn tell_detector(&self, input: Input) {
        // It is gone only while the agent ends.
        let _ = self.detector.send(input);
    }
}

fn added(reload: &Reload) -> impl Iterator<Item = &VhostConfig> {
    let is_added = |vhost: &&VhostConfig| {
        reload
            .changes
            .iter()
            .any(|change| matches!(change, Change::Added { index, .. } if *index == vhost.index))
    };
    reload.config.vhosts.iter().filter(is_added)
}

/// The lists of the kernel program have an end.
fn require_room(config: &Config, interfaces: &Interfaces) -> Result<(), FollowError> {
    let own =
        |vhost: &VhostConfig| interfaces.get(&vhost.interface).map_or(0, |interface| interface.ips().count());
    let listed: usize = config.vhosts.iter().map(|vhost| hosts::heard(vhost).len() + own(vhost)).sum();
    let guarded: usize = config.vhosts.iter().map(|vhost| vhost.addresses.len()).sum();
    if listed > MAX_LISTED || guarded > MAX_GUARDED {
        return Err(FollowError::NoRoom { listed, guarded });
    }
    Ok(())
}
