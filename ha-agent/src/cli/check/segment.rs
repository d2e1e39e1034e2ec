//! What is heard on each interface for a moment, and what that says of the other nodes.

mod ask;
mod listen;
mod others;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use ha_common::reason::Reason;

use self::listen::Heard;
use self::others::signed_for;
use super::Scene;
use super::finding::{Code, Finding};
use crate::agent::hosts;
use crate::cli::exit::Exit;
use crate::config::{Mode, VhostConfig};
use crate::core::Priority;
use crate::net::link::Interface;
use crate::sniff::{Sighting, Verdict};

/// Listens on all interfaces at once.
pub(super) async fn check(scene: Scene<'_>) -> Vec<Finding> {
    let up = scene.there().into_iter().filter(|interface| interface.up && interface.running);
    let heard = join_all(up.map(|interface| async move {
        match listen::listen(scene, interface).await {
            Ok(heard) => judge(scene, interface, &heard),
            Err(error) => {
                let about = format!("interface {}", interface.name);
                let sentence = format!("nothing can be heard there: {error}");
                vec![Finding::new(Code::NotHeard, about, sentence).naming("INTERFACE", &interface.name)]
            }
        }
    }));
    heard.await.into_iter().flatten().collect()
}

fn judge(scene: Scene<'_>, interface: &Interface, heard: &Heard) -> Vec<Finding> {
    scene.on(interface).flat_map(|vhost| judge_host(scene, interface, vhost, heard)).collect()
}

fn judge_host(scene: Scene<'_>, interface: &Interface, vhost: &VhostConfig, heard: &Heard) -> Vec<Finding> {
    let about = format!("virtual host {}", vhost.name);
    let host = Host { scene, vhost, about: &about };
    let speakers = speakers(scene, vhost, heard);
    let mut findings: Vec<Finding> =
        speakers.iter().filter(|speaker| !speaker.is_own).flat_map(|speaker| host.judge(speaker)).collect();
    findings.extend(host.masters(&speakers));
    findings.extend(host.routers(heard));
    findings.extend(host.holders(interface, heard));
    let others: Vec<_> = speakers.iter().filter(|speaker| !speaker.is_own).collect();
    if findings.is_empty() {
        let lasted = heard.lasted.as_secs_f64();
        let from: Vec<_> = others.iter().map(|speaker| speaker.source.to_string()).collect();
        findings.push(Finding::good(
            about,
            match from.as_slice() {
                [] => format!("nobody else was heard in {lasted:.1} s"),
                from => format!("all is well with what {} advertised in {lasted:.1} s", from.join(" and ")),
            },
        ));
    }
    findings
}

/// Whoever advertised a virtual host, in the order in which they were heard.
struct Speaker<'a> {
    source: IpAddr,
    /// Whether it is this node.
    is_own: bool,
    said: Vec<&'a Sighting>,
}

fn speakers<'a>(scene: Scene<'_>, vhost: &VhostConfig, heard: &'a Heard) -> Vec<Speaker<'a>> {
    let mut speakers: BTreeMap<IpAddr, Speaker<'a>> = BTreeMap::new();
    let for_us = |seen: &&Sighting| seen.vhid == Some(vhost.vhid) && seen.vlan == 0 && seen.carp.is_some();
    for seen in heard.sightings.iter().filter(for_us) {
        let source = seen.source;
        let is_ours = || scene.interfaces.iter().any(|interface| interface.ips().any(|ip| ip == source));
        let is_own = seen.outgoing || (!source.is_unspecified() && is_ours());
        speakers
            .entry(source)
            .or_insert_with(|| Speaker { source, is_own, said: Vec::new() })
            .said
            .push(seen);
    }
    speakers.into_values().collect()
}

impl Speaker<'_> {
    /// What it said but goodbyes.
    fn lasting(&self) -> impl Iterator<Item = &Sighting> {
        self.said.iter().copied().filter(|seen| seen.carp.is_some_and(|carp| !carp.bow_out))
    }

    /// When it was first and last heard, if it was more than once.
    fn span(&self) -> Option<(u64, u64)> {
        let mut times = self.lasting().filter_map(|seen| seen.at_ns);
        let first = times.next()?;
        times.last().map(|last| (first, last))
    }

    /// The median of its intervals, of three at least.
    fn pace(&self) -> Option<Duration> {
        let mut between: Vec<u64> = self.lasting().filter_map(|seen| seen.since_last_ns).collect();
        between.sort_unstable();
        (between.len() >= 3)
            .then(|| between.get(between.len() / 2).copied().map(Duration::from_nanos))
            .flatten()
    }
}

/// A virtual host that is judged.
#[derive(Clone, Copy)]
struct Host<'a> {
    scene: Scene<'a>,
    vhost: &'a VhostConfig,
    about: &'a str,
}

impl Host<'_> {
    fn find(self, code: Code, sentence: String) -> Finding {
        Finding::new(code, self.about, sentence).ending(Exit::Config)
    }

    /// One other node.
    fn judge(self, speaker: &Speaker<'_>) -> Vec<Finding> {
        let Some(last) = speaker.said.last() else { return Vec::new() };
        let source = speaker.source;
        let heard = hosts::heard(self.vhost);
        if !heard.is_empty() && !heard.contains(&source) {
            let sentence = format!(
                "{source} advertises vhid {}, and is not in the list of those that may",
                self.vhost.vhid
            );
            return vec![self.find(Code::Stranger, sentence)];
        }
        match (last.authentic, last.reason) {
            (Some(false), _) => vec![self.badly_signed(last)],
            (_, Some(Reason::Rewritten)) => {
                vec![self.find(Code::OtherMode, format!("{source} is not in strict mode, and this node is"))]
            }
            (_, Some(Reason::Stale)) => vec![self.apart(Code::ClockDifference, last)],
            _ if last.verdict == Verdict::Accepted => self.compare(speaker, last),
            _ => Vec::new(),
        }
    }

    fn badly_signed(self, seen: &Sighting) -> Finding {
        let source = seen.source;
        match signed_for(self.scene, self.vhost, seen) {
            Some(list) => {
                let list: Vec<_> = list.iter().map(IpAddr::to_string).collect();
                let list = if list.is_empty() { "no address at all".to_owned() } else { list.join(" ") };
                self.find(
                    Code::OtherAddresses,
                    format!("{source} advertises vhid {} with our passphrase for another list of addresses: {list}", self.vhost.vhid),
                )
            }
            None => self.find(
                Code::WrongKey,
                format!(
                    "{source} advertises vhid {} with a wrong digest: its passphrase or its list of addresses differs from ours",
                    self.vhost.vhid
                ),
            ),
        }
    }

    /// One whose digest is right.
    fn compare(self, speaker: &Speaker<'_>, last: &Sighting) -> Vec<Finding> {
        let (source, mut findings) = (speaker.source, Vec::new());
        let Some(carp) = last.carp else { return findings };
        match (self.scene.config.auth.mode, carp.strict) {
            (Mode::Compat, Some(_)) => {
                findings.push(
                    self.find(Code::OtherMode, format!("{source} is in strict mode, and this node is not")),
                );
            }
            (Mode::Strict, Some(strict)) => {
                let allowed = self.scene.config.auth.clock_difference.as_millis() / 2;
                if strict.ahead_ms.is_some_and(|ms| u128::from(ms.unsigned_abs()) > allowed) {
                    findings.push(self.apart(Code::ClockDrift, last));
                }
            }
            (Mode::Strict | Mode::Compat, None) => {}
        }
        let Some(lasting) = speaker.lasting().last().and_then(|seen| seen.carp) else { return findings };
        if (lasting.advbase, lasting.advskew) == (self.vhost.advbase, self.vhost.advskew) {
            let sentence = format!(
                "{source} has the same priority, advbase {} and advskew {}",
                lasting.advbase, lasting.advskew
            );
            findings.push(self.find(Code::EqualPriority, sentence));
        }
        let theirs = Priority { advbase: lasting.advbase, advskew: lasting.advskew };
        let expected = hosts::pace(self.vhost.pace).advertisement_interval(theirs);
        if let Some(pace) = speaker.pace().filter(|pace| *pace > expected * 3 / 2 || *pace < expected * 2 / 3)
        {
            let sentence = format!(
                "{source} advertises every {:.1} ms, and by this configuration it would every {:.1} ms",
                pace.as_secs_f64() * 1e3,
                expected.as_secs_f64() * 1e3
            );
            findings.push(self.find(Code::OtherPace, sentence));
        }
        findings
    }

    fn apart(self, code: Code, seen: &Sighting) -> Finding {
        let ahead =
            seen.carp.and_then(|carp| carp.strict).and_then(|strict| strict.ahead_ms).unwrap_or_default();
        let which = if ahead < 0 { "behind" } else { "ahead of" };
        let allowed = self.scene.config.auth.clock_difference;
        let sentence = format!(
            "the clock of {} is {} ms {which} ours, and {allowed:?} are allowed",
            seen.source,
            ahead.unsigned_abs()
        );
        self.find(code, sentence)
    }

    /// More than one that advertise at the same time.
    fn masters(self, speakers: &[Speaker<'_>]) -> Option<Finding> {
        let spans: Vec<_> = speakers.iter().filter_map(|speaker| Some((speaker, speaker.span()?))).collect();
        let at_once = |a: (u64, u64), b: (u64, u64)| a.0 < b.1 && b.0 < a.1;
        let pair = spans.iter().enumerate().find_map(|(index, (one, a))| {
            let same = |other: &Speaker<'_>| {
                other.source.is_ipv4() == one.source.is_ipv4() && !(other.is_own && one.is_own)
            };
            let (other, _) =
                spans.get(index + 1..)?.iter().find(|(other, b)| same(other) && at_once(*a, *b))?;
            Some((one.source, other.source))
        });
        let (one, other) = pair?;
        Some(self.find(
            Code::TwoMasters,
            format!("{one} and {other} advertise vhid {} at the same time", self.vhost.vhid),
        ))
    }

    fn routers(self, heard: &Heard) -> Option<Finding> {
        let router = heard
            .sightings
            .iter()
            .find(|seen| seen.vrrp.is_some_and(|vrrp| vrrp.router == self.vhost.vhid))?;
        Some(self.find(
            Code::VrrpVhid,
            format!("{} is a VRRP router with the number {}", router.source, self.vhost.vhid),
        ))
    }

    /// Who answers for our addresses without being heard as a master.
    fn holders(self, interface: &Interface, heard: &Heard) -> Vec<Finding> {
        let addresses = self.vhost.addresses.iter().map(ipnet::IpNet::addr);
        addresses
            .filter_map(|address| {
                let hardware = heard.holders.get(&address)?;
                let hardware: Vec<_> = hardware.iter().map(|byte| format!("{byte:02x}")).collect();
                let sentence = format!(
                    "{} on {} answers for {address}, and nobody advertises it",
                    hardware.join(":"),
                    interface.name
                );
                Some(self.find(Code::AddressInUse, sentence))
            })
            .collect()
    }
}
