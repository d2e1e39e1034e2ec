//! What is configured.

use std::path::Path;

use super::finding::{Code, Finding};
use crate::agent::hosts;
use crate::config::{Config, Mode, PaceConfig, VhostConfig};
use crate::core::Priority;

/// That it is correct, what is doubtful all the same, and what follows from it.
pub(super) fn check(config: &Config, path: &Path) -> Vec<Finding> {
    let mut findings =
        vec![Finding::good(CONFIGURATION, format!("{}: correct, node {}", path.display(), config.node))];
    findings
        .extend(config.warnings.iter().map(|warning| Finding::told(Code::Doubtful, CONFIGURATION, warning)));
    if let Some(shared) = &config.shared {
        let sentence = format!("shared with the peer: version {} by {}", shared.version, shared.by);
        findings.push(Finding::good(CONFIGURATION, sentence));
    }
    findings.push(Finding::good("authentication", describe_auth(config)));
    findings.extend(config.vhosts.iter().map(describe));
    findings
}

fn describe_auth(config: &Config) -> String {
    let keys = match config.auth.passphrases.len() {
        1 => "one passphrase".to_owned(),
        count => format!("{count} passphrases, of which the first signs"),
    };
    let fast = config.vhosts.iter().any(|vhost| matches!(vhost.pace, PaceConfig::Fast { .. }));
    match config.auth.mode {
        Mode::Strict => {
            let difference = config.auth.clock_difference;
            format!("strict mode, {keys}; clocks may differ by {difference:?}")
        }
        Mode::Compat if fast => format!(
            "compat mode, {keys}: whoever records an advertisement can repeat it; between ha-agents, mode = \"strict\" refuses \
             that"
        ),
        Mode::Compat => format!("compat mode, {keys}"),
    }
}

fn describe(vhost: &VhostConfig) -> Finding {
    let pace = hosts::pace(vhost.pace);
    let priority = Priority { advbase: vhost.advbase, advskew: vhost.advskew };
    let addresses: Vec<String> = vhost.addresses.iter().map(ToString::to_string).collect();
    let sentence = format!(
        "vhid {} on {}, {}: advertises every {} ms, takes over after {} ms of silence",
        vhost.vhid,
        vhost.interface,
        addresses.join(" "),
        pace.advertisement_interval(priority).as_secs_f64() * 1e3,
        pace.master_down_time(priority).as_secs_f64() * 1e3,
    );
    Finding::good(format!("virtual host {}", vhost.name), sentence)
}

const CONFIGURATION: &str = "configuration";
