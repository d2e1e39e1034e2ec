//! `ha-agent check`

mod machine;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::exit::Exit;
use super::{ConfigArg, fail, say};
use crate::agent::{AgentError, FollowError, hosts};
use crate::config::{self, Config, Mode, PaceConfig, Receive, Url, VhostConfig, WitnessConfig, WitnessKind};
use crate::core::{Priority, Sources};
use crate::dataplane::{AttachError, Dataplane, Mode as Receiver, Owner};
use crate::net::link::{Interface, Interfaces, Kind, Monitor};
use crate::net::place::{self, Place};
use crate::sys::{capabilities, claim, ethtool};
use crate::witness::{Keeper, Terms};

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
    if let Some(shared) = &config.shared {
        say(format_args!("shared with the peer: version {} by {}", shared.version, shared.by));
    }
    say(describe_auth(&config));
    for vhost in &config.vhosts {
        say(describe(vhost));
    }
    if let (Some(witness), Some(peer)) = (&config.witness, &config.peer) {
        match Keeper::new(witness, Terms::new(witness, peer)) {
            Ok(_) => say(describe_witness(witness)),
            Err(error) => return fail(&error, error.exit()),
        }
    }
    let interfaces = match interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return fail(&error, error.exit()),
    };
    let mut worst = Exit::Ok;
    let names: BTreeSet<_> = config.vhosts.iter().map(|vhost| &vhost.interface).collect();
    for name in names {
        match check_interface(&config, &interfaces, name) {
            Ok(sentences) => {
                for sentence in sentences {
                    say(format_args!("interface {name}: {sentence}"));
                }
            }
            Err(error) => worst = fail(&error, error.exit()),
        }
    }
    for sentence in machine::rights(&config.realtime) {
        say(format_args!("real time: {sentence}"));
    }
    for sentence in machine::set_up(Path::new("/sys"), Path::new("/proc"), &config.realtime, slack(&config)) {
        say(format_args!("machine: {sentence}"));
    }
    if let Some(missing) = capabilities::missing(!config.charge.is_empty()) {
        return fail(&format!("no right to run: {missing} missing; run as root"), Exit::NoPermission);
    }
    match Dataplane::load() {
        Ok(mut loaded) => {
            say("kernel: takes the BPF program");
            let tcx = config.vhosts.iter().any(|vhost| vhost.receive == Receive::Tcx);
            if let Some(Err(error)) = tcx.then(|| loaded.dataplane.program_tc()) {
                worst = fail(&error, error.exit());
            }
        }
        Err(error) => worst = fail(&error, error.exit()),
    }
    worst
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
            format!("authentication: strict mode, {keys}; clocks may differ by {difference:?}")
        }
        Mode::Compat if fast => format!(
            "authentication: compat mode, {keys}: whoever records an advertisement can repeat it; between \
             ha-agents, mode = \"strict\" refuses that"
        ),
        Mode::Compat => format!("authentication: compat mode, {keys}"),
    }
}

fn describe_witness(witness: &WitnessConfig) -> String {
    let lease = witness.lease;
    match &witness.kind {
        WitnessKind::Etcd { urls, .. } => {
            let urls = urls.iter().map(Url::to_string).collect::<Vec<_>>().join(", ");
            format!("witness: a lease of {lease:?} in etcd at {urls}")
        }
        WitnessKind::Gateway(address) => format!(
            "witness: gateway {address}, for {lease:?} after each answer: where both nodes reach it and not each other, both \
             become active"
        ),
    }
}

fn describe(vhost: &VhostConfig) -> String {
    let pace = hosts::pace(vhost.pace);
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

/// What is to be said of an interface, one sentence a line.
fn check_interface(config: &Config, interfaces: &Interfaces, name: &str) -> Result<Vec<String>, FollowError> {
    let interface = interfaces.get(name).ok_or_else(|| FollowError::NoInterface(name.to_owned()))?;
    if interface.hardware == [0; 6] {
        return Err(FollowError::NoEthernet(name.to_owned()));
    }
    let place = place::place(interfaces, name)?;
    let strips = |interface: &str| ethtool::strips_vlan_tags(interface).unwrap_or(false);
    let stripped = place.stripped(strips);
    let spot = place.instead.as_ref().filter(|_| stripped.is_some()).unwrap_or(&place.at);
    let occupant = interfaces.by_index(spot.index).and_then(|interface| interface.program);
    if let Some(process) = claim::holder(spot.index) {
        return Ok(vec![format!("served by a running agent: {process}")]);
    }
    let mut there = config.vhosts.iter().filter(|vhost| vhost.interface == name);
    let receive = there.next().map(|vhost| vhost.receive).unwrap_or_default();
    let mut sentences =
        vec![describe_link(config, interfaces, interface), describe_place(&place, stripped.is_some())];
    if let Some(owner) = occupant.map(Owner::of) {
        if owner.is_agent() {
            return Ok(vec![format!("served by an agent, or left by one: {owner}")]);
        }
        if Receiver::allowed(receive, spot.stage).iter().all(|mode| mode.is_xdp()) {
            return Err(AttachError::Foreign { interface: spot.interface.clone(), owner: Some(owner) }.into());
        }
        if receive == Receive::Auto {
            sentences
                .push(format!("warning: another XDP program is there, {owner}: receives by tcx, behind it"));
        }
    }
    let card = card(interfaces, interface);
    sentences.push(machine::describe_coalescing(&card.name, ethtool::coalescing(&card.name), slack(config)));
    sentences.extend(stripped.map(|stripped| stripped.to_string()));
    sentences.extend(mixed_up(config, interfaces, interface, strips));
    Ok(sentences)
}

fn describe_link(config: &Config, interfaces: &Interfaces, interface: &Interface) -> String {
    let link = match (interface.up, interface.running) {
        (false, _) => "set down",
        (true, false) => "up, without carrier",
        (true, true) => "up",
    };
    let virtual_addresses: BTreeSet<_> =
        config.vhosts.iter().flat_map(|vhost| &vhost.addresses).map(ipnet::IpNet::addr).collect();
    let on_it = config.vhosts.iter().filter(|vhost| is_on(interfaces, vhost, interface));
    let (mut v4, mut v6, mut sources) = (false, false, Sources::UNSPECIFIED);
    for vhost in on_it {
        let families = hosts::families(vhost);
        (v4, v6) = (v4 | families.v4, v6 | families.v6);
        sources = interface.sources(&virtual_addresses, &vhost.unicast);
    }
    let from: Vec<_> = [(v4, IpAddr::from(sources.v4)), (v6, IpAddr::from(sources.v6))]
        .into_iter()
        .filter(|(used, _)| *used)
        .map(|(_, source)| match source {
            IpAddr::V6(none) if none.is_unspecified() => "no IPv6 address: it needs one".to_owned(),
            source => source.to_string(),
        })
        .collect();
    format!("{link}, advertises from {}", from.join(" and "))
}

fn describe_place(place: &Place, stripped: bool) -> String {
    match &place.instead {
        Some(instead) if stripped => {
            format!("attaches to {} itself, in the generic path, because {}", instead.interface, TAGS_OFF)
        }
        Some(_) | None => place.to_string(),
    }
}

/// An interface that takes tags off, and whose VLANs have a virtual host of the same number: their frames would
/// be taken for its own.
fn mixed_up(
    config: &Config,
    interfaces: &Interfaces,
    interface: &Interface,
    strips: impl Fn(&str) -> bool,
) -> Option<String> {
    let hides = match interface.kind {
        Kind::Plain => strips(&interface.name),
        Kind::Bond | Kind::Team | Kind::Bridge => true,
        Kind::Vlan { .. } | Kind::Macvlan { .. } => false,
    };
    let lies_on_it = |name: &str| {
        let kind = interfaces.get(name).map(|interface| interface.kind);
        matches!(kind, Some(Kind::Vlan { parent, .. }) if parent == Some(interface.index))
    };
    let own = || config.vhosts.iter().filter(|vhost| is_on(interfaces, vhost, interface));
    let others = config.vhosts.iter().filter(|vhost| lies_on_it(&vhost.interface));
    let twin = others.into_iter().find(|other| own().any(|vhost| vhost.vhid == other.vhid))?;
    hides.then(|| {
        format!(
            "warning: vhid {} is also used on {}, and {} takes VLAN tags off before frames are read: they can't be \
             told apart; use another vhid",
            twin.vhid, twin.interface, interface.name
        )
    })
}

/// The interface under VLANs and macvlans: they hold nothing back themselves.
fn card<'a>(interfaces: &'a Interfaces, interface: &'a Interface) -> &'a Interface {
    let parent = match interface.kind {
        Kind::Vlan { parent, .. } | Kind::Macvlan { parent } => parent,
        Kind::Plain | Kind::Bond | Kind::Team | Kind::Bridge => None,
    };
    // Each was made before what lies on it, so this ends.
    parent.and_then(|parent| interfaces.by_index(parent)).map_or(interface, |parent| card(interfaces, parent))
}

/// What the detector may lose to the machine without anybody's noticing: a twentieth of its shortest interval.
fn slack(config: &Config) -> Duration {
    let interval = |vhost| hosts::settings(vhost).advertisement_interval();
    config.vhosts.iter().map(interval).min().unwrap_or(Duration::MAX) / 20
}

/// By whichever of its names.
fn is_on(interfaces: &Interfaces, vhost: &VhostConfig, interface: &Interface) -> bool {
    interfaces.get(&vhost.interface).is_some_and(|found| found.index == interface.index)
}

fn interfaces() -> Result<Interfaces, AgentError> {
    let failed = |what| move |cause| AgentError::Os { what, cause };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed("a runtime"))?.block_on(async {
        let monitor = Monitor::open().map_err(failed("a netlink socket"))?;
        monitor.interfaces().await.map_err(AgentError::Netlink)
    })
}

const TAGS_OFF: &str = "the interface under it takes the tags off";
