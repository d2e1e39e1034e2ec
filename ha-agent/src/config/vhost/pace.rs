//! How often a virtual host advertises.

use std::time::Duration;

use toml::Spanned;

use super::super::error::ConfigError;
use super::super::mistake::Mistake;
use super::super::table::Table;
use super::super::{Mode, PaceConfig, VhostConfig, schema, value};
use super::Vhosts;

impl Vhosts<'_> {
    /// The pace of a virtual host, of which the priority and the addresses are known.
    pub(super) fn pace(&mut self, table: &Table<'_>, vhost: &VhostConfig) -> Result<PaceConfig, ConfigError> {
        let detect = table.number(&schema::DETECT, "detect", 1..=u8::MAX)?;
        let Some(interval) = table.duration(&schema::INTERVAL, &value::INTERVAL)? else {
            return match detect {
                None => Ok(PaceConfig::Classic),
                Some(detect) => Err(self.document.error(detect.span().start, Mistake::DetectAlone)),
            };
        };
        let (at, interval) = (interval.span().start, interval.into_inner());
        let both_families = vhost.ipv4().next().is_some() && vhost.ipv6().next().is_some();
        if self.mode == Mode::Strict && both_families && interval < SHORTEST_STRICT_PAIR {
            return Err(self.document.error(at, Mistake::IntervalStrict(interval)));
        }
        let classic = classic_interval(vhost.advbase, vhost.advskew);
        // Others wait for 3 × their own advbase; with 0 only OpenBSD would be listening (CARP specification §5.2).
        if vhost.advbase > 0 && interval > classic {
            self.warn(
                at,
                format_args!(
                    "interval {interval:?} is longer than the {classic:?} of advbase and advskew; other CARP \
                     implementations may take this node for dead, so make interval shorter or advbase larger"
                ),
            );
        }
        if let Some(detect) = detect.as_ref().filter(|detect| *detect.get_ref() == 1) {
            let warning = "detect 1 takes over after a single lost or late advertisement; 2 or more is safer";
            self.warn(detect.span().start, warning);
        }
        Ok(PaceConfig::Fast { interval, detect: detect.map_or(DEFAULT_DETECT, Spanned::into_inner) })
    }
}

/// What advbase and advskew say (CARP specification §2).
fn classic_interval(advbase: u8, advskew: u8) -> Duration {
    Duration::from_secs(advbase.into()) + Duration::from_secs(advskew.into()) / 256
}

/// In strict mode every advertisement takes a millisecond of the counter, and two families take two.
const SHORTEST_STRICT_PAIR: Duration = Duration::from_millis(2);

const DEFAULT_DETECT: u8 = 3;
