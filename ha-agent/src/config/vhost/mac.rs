//! The MAC addresses that a virtual host uses.

use std::time::Duration;

use toml::Spanned;

use super::super::error::ConfigError;
use super::super::table::Table;
use super::super::{MacChoice, VhostConfig, schema};
use super::Vhosts;

impl Vhosts<'_> {
    /// `mac` and `advertise_from` of a virtual host, of which the lists and `announce_every` are known.
    ///
    /// All four pairs have a use. `advertise_from = "virtual"` without the virtual MAC is what ucarp does, and what a
    /// filter expects that knows CARP by its source (CARP specification §1.1, §6). The other way round suits a
    /// hypervisor that lets nothing but its own MAC advertise (§9.1, point 1).
    pub(super) fn macs(
        &mut self,
        table: &Table<'_>,
        vhost: &VhostConfig,
    ) -> Result<(MacChoice, MacChoice), ConfigError> {
        let mac = table.choice::<MacChoice>(&schema::MAC)?;
        let advertise_from = table.choice::<MacChoice>(&schema::ADVERTISE_FROM)?;
        let (at, mac) = mac.map_or_else(Default::default, |mac| (mac.span().start, mac.into_inner()));
        let advertise_from = advertise_from.map_or(mac, Spanned::into_inner);

        let everybody_sees = advertise_from == MacChoice::Virtual && vhost.unicast.is_empty();
        let announced = vhost.announce_every.is_some_and(|period| period < SWITCH_AGEING);
        if mac == MacChoice::Virtual && !everybody_sees && !announced {
            let why = if vhost.unicast.is_empty() { "advertise_from \"interface\"" } else { "unicast" };
            self.warn(
                at,
                format_args!(
                    "mac \"virtual\" with {why}: switches that see no advertisement from the virtual MAC may \
                     forget it and flood its traffic; add announce_every = \"60s\", or write mac = \"interface\""
                ),
            );
        }
        Ok((mac, advertise_from))
    }
}

/// After which most switches forget a MAC address that they do not see (IEEE 802.1D's default).
const SWITCH_AGEING: Duration = Duration::from_mins(5);
