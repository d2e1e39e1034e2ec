//! Services that a package would start when it is installed, though we only want its programs.

use std::{path::Path, process::Command};

use crate::process::succeeds;

/// Keeps the services of some packages from being started, until dropped; and from then on they are disabled.
pub(crate) struct Held(Vec<&'static str>);

impl Held {
    /// Holds those of `packages`, which are about to be installed.
    pub(crate) fn of(packages: &[&str]) -> Self {
        let services = STARTED.iter().filter(|(package, _)| packages.contains(package));
        let held = Self(services.map(|&(_, service)| service).collect());
        // Gone with the next start of the system, whatever becomes of us.
        if Path::new("/run/systemd/system").is_dir() {
            held.each(&["mask", "--runtime"]);
        }
        held
    }

    fn each(&self, verb: &[&str]) {
        for service in &self.0 {
            // Without systemd there is nothing to hold.
            let _ = succeeds(Command::new("systemctl").args(verb).arg(service));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.each(&["unmask", "--runtime"]);
        self.each(&["disable"]);
    }
}

/// Packages whose service needs no configuration to start.
const STARTED: [(&str, &str); 4] = [
    ("frr", "frr.service"),
    ("etcd-server", "etcd.service"),
    ("tgt", "tgt.service"),
    ("nginx-light", "nginx.service"),
];
