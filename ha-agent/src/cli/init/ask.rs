//! What is wanted: as the options say, as it is answered, or as it is usual.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use super::look::Looked;
use super::{Args, InitError};

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
        let node = questions.text("the name of this node", args.node.clone(), Some(host_name()), "--node");
        let vhid = questions.number(
            "the vhid, 1 to 255, that no other pair has there",
            args.vhid,
            looked.free_vhid(),
            "--vhid",
        );
        let addresses = if args.addresses.is_empty() {
            let answer =
                questions.text("the virtual addresses, such as 10.77.0.100/24", None, None, "--address");
            let words = answer.split([' ', ',']).filter(|word| !word.is_empty());
            words.filter_map(|word| questions.parsed(word, "--address")).collect()
        } else {
            args.addresses.clone()
        };
        let interval = questions.text(
            "the time between two advertisements, or classic if the other node is no ha-agent",
            args.interval.clone(),
            Some(INTERVAL.to_owned()),
            "--interval",
        );
        let other_node = args.other_node.clone().unwrap_or_else(|| other_name(&node));
        let own = |peer: IpAddr| looked.address_toward(peer);
        let peer = args.peer.map(|peer| (own(peer).unwrap_or(UNSPECIFIED), peer));
        if let Some((UNSPECIFIED, peer)) = peer {
            questions.missing.push(format!("--interface (with an address in the network of {peer})"));
        }
        if !questions.missing.is_empty() {
            return Err(InitError::Missing(std::mem::take(&mut questions.missing)));
        }
        Ok(Self {
            node,
            interface: looked.interface.clone(),
            vhid,
            addresses,
            advskew: args.advskew,
            passphrase_file: args.passphrase_file.clone(),
            interval: (interval != CLASSIC).then_some(interval),
            peer,
            other_node,
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

    /// A text, from the option, from the answer, or the usual one.
    pub(super) fn text(
        &mut self,
        question: &str,
        said: Option<String>,
        usual: Option<String>,
        option: &str,
    ) -> String {
        if let Some(said) = said {
            return said;
        }
        let answer = if self.asks { answer(question, usual.as_deref()) } else { None };
        answer.or(usual).unwrap_or_else(|| {
            self.missing.push(option.to_owned());
            String::new()
        })
    }

    /// A number, in the same way.
    pub(super) fn number(&mut self, question: &str, said: Option<u8>, usual: Option<u8>, option: &str) -> u8 {
        let [said, usual] = [said, usual].map(|number| number.map(|number| number.to_string()));
        let text = self.text(question, said, usual, option);
        if text.is_empty() { 0 } else { self.parsed(&text, option).unwrap_or_default() }
    }

    pub(super) fn parsed<T: FromStr>(&mut self, text: &str, option: &str) -> Option<T> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.missing.push(format!("{option} ({text} is none)"));
        }
        parsed
    }
}

/// `None` for an empty one.
fn answer(question: &str, usual: Option<&str>) -> Option<String> {
    let mut out = io::stdout().lock();
    let usual = usual.map(|usual| format!(" [{usual}]")).unwrap_or_default();
    // Where nobody sees it, there is no answer either.
    let _ = write!(out, "{question}{usual}: ").and_then(|()| out.flush());
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).ok()?;
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
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
        assert_eq!(questions.number("?", None, Some(7), "--vhid"), 7);
        assert_eq!(questions.number("?", Some(9), Some(7), "--vhid"), 9);
        assert_eq!(questions.number("?", None, None, "--vhid"), 0);
        assert_eq!(questions.parsed::<IpNet>("10.0.0.1/99", "--address"), None);
        assert_eq!(questions.missing, ["--vhid", "--address (10.0.0.1/99 is none)"]);
    }
}
