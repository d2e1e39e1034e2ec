//! `ha-agent check`

use std::collections::BTreeSet;

use super::exit::Exit;
use super::{ConfigArg, fail, say};
use crate::agent::AgentError;
use crate::agent::interfaces::FollowError;
use crate::config::{self, Config, VhostConfig};
use crate::core::{Pace, Priority};
use crate::dataplane::{AttachError, Dataplane, Owner};
use crate::net::link::{Interfaces, Monitor};
use crate::sys::capabilities;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(args: &Args) -> Exit {
    let config = match config::load(&args.config.config) {
        Ok(config) => config,
        Err(error) => return fail(&error, error.exit()),
    };
    say(format_args!("{}: correct, node {}", args.config.config.display(), config.node));
    for warning in &config.warnings {
        say(format_args!("warning: {warning}"));
    }
    for vhost in &config.vhosts {
        say(describe(vhost));
    }
    let machine = match interfaces() {
        Ok(machine) => machine,
        Err(error) => return fail(&error, error.exit()),
    };
    let mut worst = Exit::Ok;
    for (interface, result) in check_interfaces(&config, &machine) {
        match result {
            Ok(sentence) => say(format_args!("interface {interface}: {sentence}")),
            Err((error, exit)) => worst = fail(&error, exit),
        }
    }
    if let Some(missing) = capabilities::missing() {
        return fail(&format!("no right to run: {missing} missing; run as root"), Exit::NoPermission);
    }
    match Dataplane::load() {
        Ok(_) => say("kernel: takes the BPF program"),
        Err(error) => worst = fail(&error, error.exit()),
    }
    worst
}

fn describe(vhost: &VhostConfig) -> String {
    let pace = Pace::from(vhost.pace);
    let priority = Priority { advbase: vhost.advbase, advskew: vhost.advskew };
    let addresses: Vec<String> = vhost.addresses.iter().map(ToString::to_string).collect();
    format!(
        "virtual host {}: vhid {} on {}, {}: advertises every {} ms, takes over after {} ms of silence",
        vhost.name,
        vhost.vhid,
        vhost.interface,
        addresses.join(" "),
        pace.advertisement_interval(priority).as_secs_f64() * 1e3,
        pace.master_down_time(priority).as_secs_f64() * 1e3,
    )
}

type Finding = (String, Result<String, (String, Exit)>);

fn check_interfaces(config: &Config, machine: &Interfaces) -> Vec<Finding> {
    let virtual_addresses: BTreeSet<_> =
        config.vhosts.iter().flat_map(VhostConfig::ipv4).map(|network| network.addr()).collect();
    let names: BTreeSet<_> = config.vhosts.iter().map(|vhost| vhost.interface.clone()).collect();
    let finding = |name: String| {
        let Some(interface) = machine.get(&name) else {
            let error = FollowError::NoInterface(name.clone());
            return (name, Err((error.to_string(), error.exit())));
        };
        if interface.hardware == [0; 6] {
            let error = FollowError::NoEthernet(name.clone());
            return (name, Err((error.to_string(), error.exit())));
        }
        let owner = interface.program.map(Owner::of);
        let result = match owner {
            Some(owner) if owner.is_agent() => Ok(format!("served by a running agent: {owner}")),
            Some(owner) => {
                let error = AttachError::Foreign { interface: name.clone(), owner: Some(owner) };
                Err((error.to_string(), error.exit()))
            }
            None => {
                let link = match (interface.up, interface.running) {
                    (false, _) => "set down",
                    (true, false) => "up, without carrier",
                    (true, true) => "up",
                };
                Ok(format!("{link}, advertises from {}", interface.source(&virtual_addresses)))
            }
        };
        (name, result)
    };
    names.into_iter().map(finding).collect()
}

fn interfaces() -> Result<Interfaces, AgentError> {
    let failed = |what| move |cause| AgentError::Os { what, cause };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed("a runtime"))?.block_on(async {
        let monitor = Monitor::open().map_err(failed("a netlink socket"))?;
        monitor.interfaces().await.map_err(AgentError::Netlink)
    })
}
