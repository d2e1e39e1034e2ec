//! The virtual hosts that there are: they come and go while the others run.

use std::time::Duration;

use tokio::sync::oneshot;

use super::host::Host;
use super::{Detector, Note, VhostSetup, VhostSnapshot};
use crate::core::pair::Stance;
use crate::core::{Event, Instant, demotion};

/// All virtual hosts, by their index.
#[derive(Debug, Default)]
pub(super) struct Roster(Vec<Option<Host>>);

/// One that is about to leave, and who waits for it.
#[derive(Debug)]
pub(super) struct Removal {
    vhost: usize,
    done: oneshot::Sender<VhostSnapshot>,
}

impl Roster {
    /// One of them.
    pub(super) fn get(&self, vhost: usize) -> Option<&Host> {
        self.0.get(vhost)?.as_ref()
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, vhost: usize) -> Option<&mut Host> {
        self.0.get_mut(vhost)?.as_mut()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Host> {
        self.0.iter().flatten()
    }

    /// The same, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Host> {
        self.0.iter_mut().flatten()
    }

    /// Their indexes, and some at which there is none.
    pub(super) fn indexes(&self) -> std::ops::Range<usize> {
        0..self.0.len()
    }

    /// Puts one in its place.
    pub(super) fn insert(&mut self, vhost: usize, host: Host) {
        if vhost >= self.0.len() {
            self.0.resize_with(vhost + 1, || None);
        }
        if let Some(place) = self.0.get_mut(vhost) {
            *place = Some(host);
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, vhost: usize) -> Option<Host> {
        self.0.get_mut(vhost)?.take()
    }
}

impl Detector {
    /// One more virtual host, which is as it would be had it been there from the start.
    pub(super) fn add(&mut self, now: Instant, setup: VhostSetup) {
        let (vhost, name) = (setup.index, setup.name.clone());
        let (kernel, recorder) = (self.kernel.clone(), self.recorder.clone());
        let understudy = self.understudy.clone().map(|understudy| (understudy, vhost));
        let host = Host::new(setup, self.mode, kernel, recorder, understudy, self.notes.clone());
        self.hosts.insert(vhost, host);
        let (gate, stance, level) = (self.gate, self.stance, self.demotions.level());
        self.host(now, vhost, |host| {
            host.set_gate(gate);
            if stance != Stance::Lead {
                host.handle(now, Event::Stance(stance));
            }
            if level > 0 {
                host.demote(now, level);
            }
        });
        self.note(Note::Begun { vhost, name });
        self.reckon();
    }

    /// One virtual host leaves in order; then there is none, and whoever waits for that is told how it was.
    pub(super) fn remove(&mut self, now: Instant, vhost: usize, done: oneshot::Sender<VhostSnapshot>) {
        self.host(now, vhost, |host| host.handle(now, Event::Leave));
        self.removals.push(Removal { vhost, done });
    }

    /// Takes out those that have left. Before anybody sees that they don't run.
    pub(super) fn take_out(&mut self, now: Instant) {
        let has_left =
            |removal: &mut Removal| self.hosts.get(removal.vhost).is_none_or(|host| host.machine.has_left());
        for Removal { vhost, done } in self.removals.extract_if(.., has_left).collect::<Vec<_>>() {
            self.watch(now, vhost, Vec::new());
            self.agenda.set(vhost, None);
            let Some(mut host) = self.hosts.remove(vhost) else { continue };
            host.end();
            let interface = host.interface();
            if !self.hosts.iter().any(|other| other.interface() == interface) {
                // How it was with its interface is over.
                self.sending.forget(interface);
                self.demote(now, demotion::Cause::SendErrors(interface.to_owned()), false);
                self.demote(now, demotion::Cause::LinkDown(interface.to_owned()), false);
            }
            self.stirred = true;
            self.note(Note::Ended { vhost });
            self.reckon();
            // Who asked may have given up.
            let _ = done.send(host.snapshot());
        }
    }

    /// Reckons anew what follows from all of them.
    pub(super) fn reckon(&mut self) {
        let settings = || self.hosts.iter().map(|host| host.machine.settings());
        let interval = settings().map(|settings| settings.advertisement_interval()).min();
        let dead = settings().map(|settings| settings.pace.dead_time(settings.priority)).min();
        self.timing.interval = interval.unwrap_or(Duration::MAX);
        if let (Some(vouching), Some(dead)) = (&mut self.vouching, dead) {
            // As long as nobody can have taken over, and as long again for somebody to do so.
            vouching.outlast(dead * 2);
        }
    }
}
