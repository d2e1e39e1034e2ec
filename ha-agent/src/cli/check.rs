//! `ha-agent check`: the configuration, this machine, and what is heard on its networks. Changes nothing.
//!
//! ```text
//! config      what is configured
//! kernel      what the kernel and the file system give
//! interfaces  what is known of each interface
//! addresses   where the virtual addresses are, and who would answer for them
//! segment     what is heard on each interface for a moment
//! machine     what makes the detector late
//! pair        the peer link, and the witness
//! charge      pools, mounts and services
//! ```

mod addresses;
mod charge;
mod config;
mod finding;
mod interfaces;
mod kernel;
mod machine;
mod pair;
mod segment;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exit::Exit;
use super::{ConfigArg, ControlArg, PinsArg, say};
use crate::agent::hosts;
use crate::config::{Config, VhostConfig};
use crate::net::link::{Interface, Interfaces};
use crate::sys::{capabilities, claim};

pub use self::finding::{Code, Finding, Level};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    control: ControlArg,
    #[command(flatten)]
    pins: PinsArg,
    /// Where strict mode keeps what it has heard.
    #[arg(long, default_value = "/var/lib/ha-agent", value_name = "DIR")]
    state: PathBuf,
    /// Do not listen on the interfaces, which takes a few seconds, and ask nobody for virtual addresses.
    #[arg(long)]
    no_listen: bool,
    /// Print each finding as a JSON object on a line of its own.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let mut told = Told { json: args.json, worst: (Level::Ok, Exit::Ok) };
    check(args, &mut told);
    told.worst.1
}

/// Where findings go.
struct Told {
    json: bool,
    /// The first of the worst ones.
    worst: (Level, Exit),
}

impl Told {
    fn tell(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            if self.json {
                // A finding has a form in JSON.
                say(serde_json::to_string(&finding).unwrap_or_default());
            } else {
                say(&finding);
            }
            if finding.level > self.worst.0 {
                self.worst = (finding.level, finding.exit);
            }
        }
    }
}

fn check(args: &Args, told: &mut Told) {
    let config = match crate::config::load(&args.config.config) {
        Ok(config) => config,
        Err(error) => {
            let finding = Finding::told(Code::Configuration, "configuration", &error).ending(error.exit());
            return told.tell([finding]);
        }
    };
    told.tell(config::check(&config, &args.config.config));
    let (runtime, interfaces) = match super::machine::interfaces() {
        Ok(found) => found,
        Err(error) => {
            return told.tell([Finding::told(Code::System, "machine", &error).ending(error.exit())]);
        }
    };
    let scene = Scene { config: &config, interfaces: &interfaces };
    for name in scene.names() {
        told.tell(interfaces::check(scene, name));
    }
    told.tell(machine::check(Path::new("/sys"), Path::new("/proc"), &config, slack(&config)));
    if let Some(missing) = capabilities::missing(!config.charge.is_empty()) {
        let sentence = format!("no right to run: {missing} missing");
        return told.tell([Finding::new(Code::Rights, "rights", sentence)
            .remedied("run as root")
            .ending(Exit::NoPermission)]);
    }
    told.tell(kernel::check(&config));
    told.tell(kernel::check_files(&args.control.control, &args.pins.pins, &args.state));
    told.tell(addresses::check(scene));
    told.tell(pair::check(scene, &runtime));
    told.tell(charge::check(scene));
    if !args.no_listen {
        told.tell(runtime.block_on(segment::check(scene)));
    }
}

/// What is looked at.
#[derive(Clone, Copy)]
struct Scene<'a> {
    config: &'a Config,
    interfaces: &'a Interfaces,
}

impl<'a> Scene<'a> {
    /// The names of the interfaces that are configured.
    fn names(self) -> BTreeSet<&'a str> {
        self.config.vhosts.iter().map(|vhost| vhost.interface.as_str()).collect()
    }

    /// Those that are there and are Ethernet, each once.
    fn there(self) -> Vec<&'a Interface> {
        let found = self.names().into_iter().filter_map(|name| self.interfaces.get(name));
        let mut found: Vec<&Interface> = found.filter(|interface| interface.hardware != [0; 6]).collect();
        found.sort_by_key(|interface| interface.index);
        found.dedup_by_key(|interface| interface.index);
        found
    }

    /// The virtual hosts on an interface, by whichever of its names.
    fn on(self, interface: &Interface) -> impl Iterator<Item = &'a VhostConfig> {
        let index = interface.index;
        let is_on = move |vhost: &&VhostConfig| {
            self.interfaces.get(&vhost.interface).is_some_and(|found| found.index == index)
        };
        self.config.vhosts.iter().filter(is_on)
    }

    /// The agent that serves this node now, if one does.
    fn agent(self) -> Option<claim::Process> {
        self.there().iter().find_map(|interface| claim::holder(interface.index))
    }
}

/// What the detector may lose to the machine without anybody's noticing: a twentieth of its shortest interval.
fn slack(config: &Config) -> Duration {
    let interval = |vhost| hosts::settings(vhost).advertisement_interval();
    config.vhosts.iter().map(interval).min().unwrap_or(Duration::MAX) / 20
}
