//! What `check` finds: each has a name, a sentence, and a remedy.

use std::fmt;

use serde::Serialize;

use crate::cli::exit::Exit;

/// Defines [`Code`], each with its level, what it means, and what to do about it.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $level:ident, $means:literal, $remedy:literal;)+) => {
        /// What can be found that is not as it should be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $means] $variant,)+
        }

        impl Code {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// How bad it is.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level,)+ }
            }

            /// What it means.
            #[must_use]
            pub const fn means(self) -> &'static str {
                match self { $(Self::$variant => $means,)+ }
            }

            /// What to do about it. A finding says it with the names that are in capitals here, or more exactly.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }
        }
    };
}

codes! {
    Configuration, "configuration", Error,
        "the configuration, or a file that it names, is wrong or can't be read",
        "as it is said there, with file and line";
    Doubtful, "doubtful", Warning,
        "the configuration works, but is probably not meant so, or others may read the passphrase",
        "as it is said there, with file and line";
    Rights, "rights", Error,
        "this user may not do what the agent has to do; nothing else is checked",
        "run as root, or grant the capabilities that are named";
    Kernel, "kernel", Error,
        "the kernel gives no BPF, or not what the agent needs of it",
        "run Linux 5.15 or later with BPF, as root";
    ProgramRefused, "program_refused", Warning,
        "the kernel refuses the program: with `receive = \"auto\"` advertisements are received by a packet socket",
        "report what `ha-agent bpf verify` says, or boot another kernel";
    NoReceiver, "no_receiver", Error,
        "advertisements can't be received in the way that `receive` asks for",
        "set receive = \"auto\"";
    ForeignProgram, "foreign_program", Warning,
        "somebody else's XDP program is on the interface, and the agent has to receive behind it",
        "`ip link set dev INTERFACE xdp off`, if it is not needed";
    NoInterface, "no_interface", Error,
        "an interface of the configuration is not there",
        "name another in the configuration; `ip link` lists those that exist";
    NoEthernet, "no_ethernet", Error,
        "an interface has no Ethernet address",
        "choose an Ethernet interface in the configuration";
    WrongPlace, "wrong_place", Error,
        "an interface is nothing that the program can be attached to",
        "name the interface that has the addresses";
    InterfaceDown, "interface_down", Warning,
        "an interface is set down",
        "`ip link set INTERFACE up`";
    NoCarrier, "no_carrier", Warning,
        "an interface has no carrier",
        "plug the cable in, and look at the switch's port";
    NoMulticast, "no_multicast", Warning,
        "an interface is not for multicast, by which advertisements are sent",
        "`ip link set INTERFACE multicast on`, or set unicast in the configuration";
    NoIpv6Source, "no_ipv6_source", Warning,
        "an interface has no usable link-local IPv6 address to advertise from",
        "`ip link set INTERFACE addrgenmode eui64`, and sysctl net.ipv6.conf.INTERFACE.disable_ipv6=0";
    TagsTakenOff, "tags_taken_off", Warning,
        "a card takes VLAN tags off before the program sees them",
        "`ethtool -K INTERFACE rxvlan off`";
    SameVhid, "same_vhid", Warning,
        "an interface and a VLAN on it have the same vhid, and can't be told apart",
        "use another vhid on one of them";
    HeldBack, "held_back", Warning,
        "a card holds received frames back",
        "`ethtool -C INTERFACE adaptive-rx off rx-usecs 0`";
    ElsewhereNetwork, "network_elsewhere", Warning,
        "a virtual address lies in no network of its interface: clients may not find it, nor answers their way",
        "give the interface an address in that network, or correct the virtual address";
    AddressHere, "address_here", Warning,
        "a virtual address is on this node, though no agent runs here: two nodes may have it",
        "`ip address del ADDRESS dev INTERFACE`; if a killed agent left it, start it again";
    AddressInUse, "address_in_use", Error,
        "another node answers for a virtual address, and advertises nothing",
        "find the node that has the hardware address, or choose another virtual address";
    ReversePath, "reverse_path", Warning,
        "two interfaces are in the network of a virtual address, and the reverse-path filter is strict: what comes in by the other is dropped",
        "sysctl net.ipv4.conf.INTERFACE.rp_filter=2, and net.ipv4.conf.all.rp_filter=2 or 0";
    ArpFlux, "arp_flux", Warning,
        "two interfaces are in the network of a virtual address, and both answer for it with their own hardware address",
        "sysctl net.ipv4.conf.INTERFACE.arp_ignore=1";
    ArpAnnounce, "arp_announce", Warning,
        "two interfaces are in the network of a virtual address, and what asks by the other one in its name moves it there for all who hear that",
        "sysctl net.ipv4.conf.INTERFACE.arp_announce=2";
    ArpSilent, "arp_silent", Warning,
        "an interface answers no ARP, so nobody finds the virtual addresses",
        "sysctl net.ipv4.conf.INTERFACE.arp_ignore=1, and look at net.ipv4.conf.all.arp_ignore";
    WrongKey, "wrong_key", Error,
        "somebody advertises one of our virtual hosts with another passphrase, or another list of addresses: both nodes would be master",
        "write the same passphrase and the same addresses on both nodes; `ha-agent sniff` shows whose digest is right";
    OtherAddresses, "other_addresses", Error,
        "somebody advertises one of our virtual hosts with our passphrase, and another list of addresses",
        "write the same addresses on both nodes";
    TwoMasters, "two_masters", Error,
        "more than one node advertises the same vhid",
        "use a vhid that is nobody else's; of one pair, look at the connection between its nodes";
    Stranger, "stranger", Warning,
        "somebody who is not in `peers` or `unicast` advertises one of our virtual hosts",
        "add it to the list, or give it another vhid";
    VrrpVhid, "vrrp_vhid", Warning,
        "a VRRP router has the number of one of our virtual hosts: the two have the same virtual hardware address",
        "use another vhid";
    OtherMode, "other_mode", Error,
        "one node is in strict mode and the other one is not: what is sent is refused",
        "set the same mode in [auth] on both nodes";
    ClockDifference, "clock_difference", Error,
        "the clocks of the nodes differ by more than strict mode allows: what the other one sends is refused",
        "synchronise both with the same source (chrony), or raise clock_difference in [auth]";
    ClockDrift, "clock_drift", Warning,
        "the clocks of the nodes differ by more than half of what strict mode allows",
        "synchronise both with the same source (chrony)";
    EqualPriority, "equal_priority", Warning,
        "the other node has the same priority",
        "give one of the nodes another advskew, such as 100";
    OtherPace, "other_pace", Warning,
        "the other node advertises at another pace than this one would",
        "write the same interval, and the same advbase, on both nodes";
    NoRealtime, "no_realtime", Warning,
        "the system grants no real-time priority, no locked memory, or no wakeful processors",
        "grant CAP_SYS_NICE and CAP_IPC_LOCK, or raise LimitRTPRIO= and LimitMEMLOCK=";
    Throttled, "throttled", Warning,
        "the kernel leaves no time to real-time threads",
        "`sysctl kernel.sched_rt_runtime_us=950000`";
    DeepSleep, "deep_sleep", Warning,
        "idle processors take long to wake up",
        "set cpu_dma_latency in [realtime]";
    SlowProcessors, "slow_processors", Warning,
        "processors raise their frequency only after a while",
        "`cpupower frequency-set -g performance`";
    SlowClock, "slow_clock", Warning,
        "reading the time takes long",
        "see in `dmesg` why the processor's own counter was given up";
    NotSynchronised, "not_synchronised", Warning,
        "in strict mode: the clock of this node is not synchronised",
        "install chrony, or start systemd-timesyncd";
    NoBpffs, "no_bpffs", Warning,
        "nothing of the program outlives the agent, so another node takes over while it is restarted",
        "mount a bpffs: `mount -t bpf bpf /sys/fs/bpf`";
    NoSocket, "no_socket", Error,
        "the control socket can't be made",
        "name a path in a directory that can be written with --control";
    NoState, "no_state", Warning,
        "what strict mode has heard, and what the pair has agreed on, can't be kept",
        "name a directory that can be written with --state";
    PeerFiles, "peer_files", Error,
        "the keys of the peer link can't be used",
        "as it is said there; else pair anew with `ha-agent pair init` and `pair join`";
    NotPaired, "not_paired", Warning,
        "this node and its peer are not introduced to each other yet",
        "`ha-agent pair init` on one node, and `ha-agent pair join` on the other one";
    ListenElsewhere, "listen_elsewhere", Warning,
        "an address of `listen` is not on this node",
        "correct listen in [peer]";
    PortTaken, "port_taken", Error,
        "another program listens where the peer link is to",
        "end it (`ss -tlnp` shows it), or choose another port in listen, and in the peer's connect";
    OtherMtu, "other_mtu", Warning,
        "the peer's interface takes shorter packets than this node's: full ones are lost on their way there",
        "set the same MTU on both nodes: `ip link set INTERFACE mtu BYTES`";
    SmallMtu, "small_mtu", Warning,
        "an interface takes packets that are too short for IPv6, which needs 1280 bytes: the kernel has no IPv6 there",
        "`ip link set INTERFACE mtu 1500`";
    PeerUnreachable, "peer_unreachable", Warning,
        "the peer's agent does not answer where `connect` says",
        "start the agent there; look at addresses, firewall and cable";
    WitnessFiles, "witness_files", Error,
        "the files for the witness can't be used",
        "as it is said there";
    WitnessUnreachable, "witness_unreachable", Warning,
        "the witness does not answer",
        "look at its address in [witness], and at the way to it";
    MissingTool, "missing_tool", Error,
        "a program that is needed to take over is not installed",
        "install it";
    MissingDisk, "missing_disk", Error,
        "a disk of a pool or a mount is not there",
        "look at the disk and its cables, and at its name in the configuration";
    NoReservation, "no_reservation", Error,
        "a disk can't be reserved, which the fence needs",
        "use a disk that can, or another level in [fence]";
    Charge, "charge", Error,
        "something else could not be taken over",
        "as it is said there";
    DoubtfulCharge, "doubtful_charge", Warning,
        "something could be taken over, but not as well as it should be",
        "as it is said there";
    NotHeard, "not_heard", Warning,
        "nothing could be heard on an interface",
        "look at the interface; `ha-agent sniff --interface INTERFACE` tells more";
    System, "system", Error,
        "the system does not tell what is asked of it",
        "as it is said there";
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well as it should.
    Warning,
    /// It does not work.
    Error,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is; `None` if it is as it should be.
    #[serde(serialize_with = "by_name")]
    pub code: Option<Code>,
    /// What is spoken of: `interface eth0`, `virtual host data`, `machine`, …
    pub about: String,
    /// What is the case.
    pub sentence: String,
    /// What to do about it, where it is not as it should be.
    pub remedy: Option<String>,
    /// The exit code that an error is worth.
    #[serde(skip)]
    pub exit: Exit,
}

impl Finding {
    /// Something that is as it should be.
    #[must_use]
    pub fn good(about: impl Into<String>, sentence: impl Into<String>) -> Self {
        let (about, sentence) = (about.into(), sentence.into());
        Self { level: Level::Ok, code: None, about, sentence, remedy: None, exit: Exit::Ok }
    }

    /// Something that is not; its remedy is the usual one.
    #[must_use]
    pub fn new(code: Code, about: impl Into<String>, sentence: impl Into<String>) -> Self {
        let exit = match code.level() {
            Level::Ok => Exit::Ok,
            Level::Warning => Exit::Warning,
            Level::Error => Exit::Unavailable,
        };
        Self {
            level: code.level(),
            code: Some(code),
            about: about.into(),
            sentence: sentence.into(),
            remedy: Some(code.remedy().to_owned()),
            exit,
        }
    }

    /// Something that is not, in a sentence that ends with its remedy, as all errors have it.
    #[must_use]
    pub fn told(code: Code, about: impl Into<String>, error: &impl fmt::Display) -> Self {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((sentence, remedy)) => Self::new(code, about, sentence).remedied(remedy),
            None => Self::new(code, about, text),
        }
    }

    /// The same with a name in the remedy.
    #[must_use]
    pub fn naming(mut self, what: &str, name: &str) -> Self {
        self.remedy = self.remedy.map(|remedy| remedy.replace(what, name));
        self
    }

    /// The same with another remedy.
    #[must_use]
    pub fn remedied(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The same with another exit code, where it is an error.
    #[must_use]
    pub fn ending(mut self, exit: Exit) -> Self {
        if self.level == Level::Error {
            self.exit = exit;
        }
        self
    }
}

/// For people, on one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9}{}: {}", self.level.to_string(), self.about, self.sentence)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde gives it so")]
fn by_name<S: serde::Serializer>(code: &Option<Code>, serializer: S) -> Result<S::Ok, S::Error> {
    code.map(Code::name).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_its_own_name_and_a_remedy() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(!code.remedy().is_empty() && code.level() > Level::Ok, "{code:?}");
        }
    }

    #[test]
    fn a_sentence_and_its_remedy_are_told_apart_and_put_together_again() {
        let finding = Finding::told(Code::System, "it", &"this is so; do that; or that").ending(Exit::Os);
        assert_eq!(
            (finding.sentence.as_str(), finding.remedy.as_deref()),
            ("this is so", Some("do that; or that"))
        );
        assert_eq!(finding.to_string(), "error    it: this is so; do that; or that");
        assert_eq!(finding.exit, Exit::Os);
        assert_eq!(Finding::good("it", "is well").to_string(), "ok       it: is well");
    }
}
