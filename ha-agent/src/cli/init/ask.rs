//! What is wanted: as the options say, as it is answered, or as it is usual.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::super::say;
use super::look::Looked;
use super::{Args, InitError};
use crate::config::answer;
use crate::config::quote::OneLine;

/// All that the configuration says.
pub(super) struct Asked {
    pub(super) node: String,
    pub(super) interface: String,
    pub(super) vhid: u8,
    pub(super) addresses: Vec<IpNet>,
    pub(super) advskew: u8,
    pub(super) passphrase_file: PathBuf,
    /// `None`: the classic pace.
    pub(super) interval: Option<String>,
    /// This node's address and the peer's.
    pub(super) peer: Option<(IpAddr, IpAddr)>,
    pub(super) other_node: String,
    pub(super) other_interface: String,
}

impl Asked {
    /// # Errors
    ///
    /// If something is not said that can't be chosen, and nobody is there to be asked.
    pub(super) fn of(args: &Args, looked: &Looked, questions: &mut Questions) -> Result<Self, InitError> {
        let node = questions.ask(
            "the name of this node",
            "--node",
            args.node.clone(),
            Some(&host_name()),
            answer::node,
        );
        let vhid = questions.ask(
            "the vhid, 1 to 255, that no other pair has there",
            "--vhid",
            args.vhid,
            looked.free_vhid().map(|vhid| vhid.to_string()).as_deref(),
            vhid,
        );
        let addresses = questions.ask(
            "the virtual addresses, such as 10.77.0.100/24",
            "--address",
            Some(args.addresses.clone()).filter(|said| !said.is_empty()),
            None,
            addresses,
        );
        let interval = questions.ask(
            "the time between two advertisements, or classic if the other node is no ha-agent",
            "--interval",
            args.interval.clone(),
            Some(INTERVAL),
            |text| if text == CLASSIC { Ok(text.to_owned()) } else { answer::interval(text) },
        );
        let own = |peer: IpAddr| looked.address_toward(peer);
        let peer = args.peer.map(|peer| (own(peer).unwrap_or(UNSPECIFIED), peer));
        if let Some((UNSPECIFIED, peer)) = peer {
            questions.missing.push(format!("--interface (with an address in the network of {peer})"));
        }
        let missing = std::mem::take(&mut questions.missing);
        let (Some(node), Some(vhid), Some(addresses), Some(interval), []) =
            (node, vhid, addresses, interval, missing.as_slice())
        else {
            return Err(InitError::Missing(missing));
        };
        Ok(Self {
            other_node: args.other_node.clone().unwrap_or_else(|| other_name(&node)),
            node,
            interface: looked.interface.clone(),
            vhid,
            addresses,
            advskew: args.advskew,
            passphrase_file: args.passphrase_file.clone(),
            interval: (interval != CLASSIC).then_some(interval),
            peer,
            other_interface: args.other_interface.clone().unwrap_or_else(|| looked.interface.clone()),
        })
    }
}

/// Asks on a terminal; elsewhere, notes what nobody has said.
pub(super) struct Questions {
    asks: bool,
    pub(super) missing: Vec<String>,
}

impl Questions {
    pub(super) fn new(yes: bool) -> Self {
        let asks = !yes && io::stdin().is_terminal() && io::stdout().is_terminal();
        Self { asks, missing: Vec::new() }
    }

    /// What the option said; else what is answered, again as long as `read` refuses that; else the usual. `None` if it is missing.
    pub(super) fn ask<T>(
        &mut self,
        question: &str,
        option: &str,
        said: Option<T>,
        usual: Option<&str>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if said.is_some() {
            return said;
        }
        let mut usual = usual;
        while self.asks {
            let Some(answered) = put(question, usual) else {
                // Whoever goes away in the middle wants nothing of it.
                (self.asks, usual) = (false, None);
                break;
            };
            let text = if answered.is_empty() { usual } else { Some(answered.as_str()) };
            match text.map_or_else(|| Err("there is no usual one".to_owned()), &read) {
                Ok(value) => return Some(value),
                Err(mistake) => say(format_args!("  {mistake}")),
            }
        }
        let value = usual.and_then(|usual| read(usual).ok());
        if value.is_none() {
            self.missing.push(option.to_owned());
        }
        value
    }
}

fn vhid(text: &str) -> Result<u8, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("'{}' is no vhid; use a number from 1 to 255", OneLine(text)))
}

fn addresses(text: &str) -> Result<Vec<IpNet>, String> {
    let words: Vec<_> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [] => Err("there is no address in it".to_owned()),
        words => words.iter().copied().map(answer::virtual_address).collect(),
    }
}

/// Puts a question; `None` if nobody is there any more.
fn put(question: &str, usual: Option<&str>) -> Option<String> {
    let mut out = io::stdout().lock();
    let usual = usual.map(|usual| format!(" [{usual}]")).unwrap_or_default();
    // Where nobody sees it, there is no answer either.
    let _ = write!(out, "{question}{usual}: ").and_then(|()| out.flush());
    let mut line = String::new();
    let length = io::stdin().lock().read_line(&mut line).ok()?;
    (length > 0).then(|| line.trim().to_owned())
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "node-a".to_owned() } else { name.to_owned() }
}

/// The usual counterpart of a name: `b` for `a`, 2 for 1.
fn other_name(node: &str) -> String {
    let last = node.chars().last();
    let other = match last {
        Some('a') => "b",
        Some('b') => "a",
        Some('A') => "B",
        Some('B') => "A",
        Some('1') => "2",
        Some('2') => "1",
        Some(_) | None => return format!("{node}-other"),
    };
    let stem: String = node.chars().take(node.chars().count().saturating_sub(1)).collect();
    // A word that ends so by chance.
    if stem.is_empty() || !stem.ends_with(char::is_alphanumeric) || other.parse::<u8>().is_ok() {
        format!("{stem}{other}")
    } else {
        format!("{node}-other")
    }
}

const INTERVAL: &str = "10ms";
const CLASSIC: &str = "classic";
const UNSPECIFIED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_one_has_another_name() {
        for (node, other) in [
            ("controller-a", "controller-b"),
            ("controller-b", "controller-a"),
            ("a", "b"),
            ("node1", "node2"),
            ("ctl-2", "ctl-1"),
            ("alpha", "alpha-other"),
            ("storage", "storage-other"),
        ] {
            assert_eq!(other_name(node), other);
        }
    }

    #[test]
    fn what_nobody_says_is_missing_by_its_option() {
        let mut questions = Questions { asks: false, missing: Vec::new() };
        assert_eq!(questions.ask("?", "--vhid", None, Some("7"), vhid), Some(7));
        assert_eq!(questions.ask("?", "--vhid", Some(9), Some("7"), vhid), Some(9));
        assert_eq!(questions.ask("?", "--vhid", None, None, vhid), None);
        assert_eq!(questions.ask("?", "--node", None, Some("a host"), answer::node), None);
        assert_eq!(questions.missing, ["--vhid", "--node"]);
    }

    #[test]
    fn an_answer_is_judged_as_the_file_is() {
        for wrong in ["", "0", "256", "-1", "ten", "1\u{1b}"] {
            let mistake = vhid(wrong).expect_err(wrong);
            assert!(mistake.contains("1 to 255") && !mistake.contains('\u{1b}'), "{mistake}");
        }
        assert_eq!(addresses("10.0.0.1/24, fd00::1/64").map(|all| all.len()), Ok(2));
        for wrong in [",", "10.0.0.1/99", "10.0.0.1/24 nonsense", "224.0.0.1/24"] {
            assert!(addresses(wrong).is_err(), "{wrong}");
        }
        assert!(answer::interval("7parsecs").is_err() && answer::interval("10ms").is_ok());
        assert!(answer::node("a b").is_err() && answer::node("controller-a").is_ok());
    }
}
