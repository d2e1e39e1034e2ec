//! Where virtual hosts come in, when the agent starts and later.

use std::io;

use super::AgentError;
use super::detector::VhostSetup;
use super::hosts;
use super::interfaces::Member;
use super::memory::Mind;
use crate::config::{Auth, VhostConfig};
use crate::core::Instant;
use crate::exec::Desk;

/// Gives each what it needs.
#[derive(Debug)]
pub(super) struct Reception {
    desk: Desk,
    mind: Mind,
}

impl Reception {
    /// `desk` is the executor's, `mind` what is known of earlier lives.
    pub(super) fn new(desk: Desk, mind: Mind) -> Self {
        Self { desk, mind }
    }

    /// One more, for the detector and for whoever follows the interfaces. `resumes` says when an agent before this one
    /// advertised it last, if it was master and did not leave.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub(super) fn receive(
        &self,
        config: &VhostConfig,
        auth: &Auth,
        resumes: Option<Instant>,
    ) -> Result<(VhostSetup, Member), AgentError> {
        let random = random()?;
        let orders = self.desk.begin(config.index, config.name.clone());
        let setup = VhostSetup {
            index: config.index,
            name: config.name.clone(),
            settings: hosts::settings(config),
            interface: config.interface.clone(),
            vhid: config.vhid,
            mac: hosts::signer(config.vhid, &config.addresses, auth),
            random,
            stored_ms: self.mind.begin(config),
            resumes,
            orders: orders.clone(),
        };
        let (config, resumes) = (config.clone(), resumes.is_some());
        Ok((setup, Member { config, orders, macvlan: None, resumes, equipped: None }))
    }

    /// What is known of earlier lives.
    pub(super) fn mind(&self) -> &Mind {
        &self.mind
    }
}

/// A counter to begin with in compat mode. With the highest bit set: read as a time of strict mode, it lies past
/// 2042, so that nothing that is recorded now can be taken for one made just now then.
fn random() -> Result<u64, AgentError> {
    getrandom::u64()
        .map(|random| random | 1 << 63)
        .map_err(|error| AgentError::Os { what: "random numbers", cause: io::Error::other(error) })
}
