//! The faults.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use ha_agent::cli::check::Code;
use lab::{Agent, AgentConfig, Keepalived, KeepalivedConfig, foreign};
use nix::errno::Errno;
use nix::libc::SYS_bpf;

use crate::seccomp::refuse;
use crate::stage::Stage;
use crate::tools::{advertise, link, mount, mounted, peer, second_interface, sysctl, vhost, words, worse};

/// One of them.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// As what it is found.
    pub(crate) code: Code,
    /// What the remedy says.
    pub(crate) remedy: &'static [&'static str],
    /// What else may be found, because it follows.
    pub(crate) also: &'static [Code],
    pub(crate) plant: fn(&mut Stage) -> Result<()>,
}

const fn fault(
    name: &'static str,
    code: Code,
    remedy: &'static [&'static str],
    plant: fn(&mut Stage) -> Result<()>,
) -> Fault {
    Fault { name, code, remedy, also: &[], plant }
}

/// The same, from which something else follows.
const fn and(fault: Fault, also: &'static [Code]) -> Fault {
    Fault { also, ..fault }
}

pub(crate) const FAULTS: &[Fault] = &[
    fault("a passphrase that is too long", Code::Configuration, &["shorten it"], |stage| {
        stage.config.passphrases = vec!["x".repeat(20)];
        Ok(())
    }),
    fault("no passphrase file", Code::Configuration, &["make one with", "umask 077"], |stage| {
        stage.spoil = |directory| Ok(fs::remove_file(directory.join("carp.key"))?);
        Ok(())
    }),
    fault("a passphrase that others may read", Code::Doubtful, &["chmod 600"], |stage| {
        stage.spoil =
            |directory| Ok(fs::set_permissions(directory.join("carp.key"), Permissions::from_mode(0o644))?);
        Ok(())
    }),
    fault("an address of two virtual hosts", Code::Configuration, &[], |stage| {
        stage.config.more = vhost("other", "eth0", 11, "10.77.0.100/24");
        Ok(())
    }),
    fault("no interface", Code::NoInterface, &["ip link"], |stage| {
        stage.config.interface = "eth7".into();
        Ok(())
    }),
    fault("an interface that is no Ethernet", Code::NoEthernet, &["choose another"], |stage| {
        stage.config.interface = "lo".into();
        Ok(())
    }),
    fault("a port of a bridge", Code::WrongPlace, &["br9"], |stage| {
        stage.a.netns.ip("link add br9 type bridge")?;
        stage.a.netns.ip("link set eth0 master br9")
    }),
    fault("an interface that is down", Code::InterfaceDown, &["`ip link set eth0 up`"], |stage| {
        stage.a.netns.ip("link set eth0 down")
    }),
    fault("a cable that is pulled", Code::NoCarrier, &["plug the cable in"], |stage| stage.lan.cut(&stage.a)),
    fault("no multicast", Code::NoMulticast, &["ip link set eth0 multicast on"], |stage| {
        stage.a.netns.ip("link set eth0 multicast off")
    }),
    fault("no IPv6 address to send from", Code::NoIpv6Source, &["addrgenmode"], |stage| {
        stage.config.addresses = vec!["2001:db8:77::100/64".to_owned()];
        stage.a.netns.ip("-6 addr flush dev eth0 scope link")
    }),
    and(
        fault("packets too short for IPv6", Code::SmallMtu, &["ip link set eth0 mtu"], |stage| {
            stage.config.addresses = vec!["2001:db8:77::100/64".to_owned()];
            stage.a.netns.ip("link set eth0 mtu 1200")
        }),
        // Its other IPv6 addresses went as well.
        &[Code::ElsewhereNetwork],
    ),
    fault("a card that takes tags off", Code::TagsTakenOff, &["ethtool -K eth0 rxvlan off"], |stage| {
        stage.a.netns.ip("link add link eth0 name eth0.5 type vlan id 5")?;
        stage.a.netns.ip("link set eth0.5 up")?;
        stage.a.netns.ip("addr add 10.77.5.1/24 dev eth0.5")?;
        stage.config.interface = "eth0.5".into();
        stage.config.addresses = vec!["10.77.5.100/24".to_owned()];
        Ok(())
    }),
    and(
        fault("the same vhid on a VLAN", Code::SameVhid, &["another vhid"], |stage| {
            stage.a.netns.ip("link add link eth0 name eth0.5 type vlan id 5")?;
            stage.a.netns.ip("link set eth0.5 up")?;
            stage.a.netns.ip("addr add 10.77.5.1/24 dev eth0.5")?;
            stage.config.more = vhost("tagged", "eth0.5", 10, "10.77.5.100/24");
            Ok(())
        }),
        &[Code::TagsTakenOff],
    ),
    fault("somebody else's program", Code::ForeignProgram, &["ip link set dev eth0 xdp off"], |stage| {
        foreign::attach(&stage.a)
    }),
    fault("somebody else's program in the only way", Code::NoReceiver, &["receive = \"auto\""], |stage| {
        stage.config.receive = Some("native".to_owned());
        foreign::attach(&stage.a)
    }),
    fault(
        "an address of another network",
        Code::ElsewhereNetwork,
        &["give the interface an address"],
        |stage| {
            stage.config.addresses = vec!["192.0.2.100/24".to_owned()];
            Ok(())
        },
    ),
    fault(
        "an address that is configured here",
        Code::AddressHere,
        &["`ip address del 10.77.0.100/24 dev eth0`"],
        |stage| stage.a.netns.ip("addr add 10.77.0.100/24 dev eth0"),
    ),
    fault("an address that another node has", Code::AddressInUse, &["find the node"], |stage| {
        stage.listens = true;
        stage.b.netns.ip("addr add 10.77.0.100/24 dev eth0")
    }),
    fault("an IPv6 address that another node has", Code::AddressInUse, &["find the node"], |stage| {
        stage.listens = true;
        stage.config.addresses = vec!["2001:db8:77::100/64".to_owned()];
        stage.b.netns.ip("addr add 2001:db8:77::100/64 dev eth0 nodad")
    }),
    and(
        fault(
            "a strict reverse-path filter",
            Code::ReversePath,
            &["net.ipv4.conf.eth0.rp_filter=2"],
            |stage| {
                second_interface(stage)?;
                sysctl(stage, "eth0", "rp_filter", "1")
            },
        ),
        &[Code::ArpFlux],
    ),
    and(
        fault("two interfaces that answer", Code::ArpFlux, &["net.ipv4.conf.eth1.arp_ignore=1"], |stage| {
            second_interface(stage)?;
            sysctl(stage, "eth1", "arp_ignore", "0")
        }),
        &[Code::ReversePath],
    ),
    fault(
        "an interface that asks in the name of another one",
        Code::ArpAnnounce,
        &["net.ipv4.conf.eth1.arp_announce=2"],
        |stage| {
            second_interface(stage)?;
            sysctl(stage, "eth1", "arp_ignore", "1")?;
            sysctl(stage, "eth1", "arp_announce", "1")
        },
    ),
    fault(
        "an interface that answers no ARP",
        Code::ArpSilent,
        &["net.ipv4.conf.eth0.arp_ignore=1"],
        |stage| sysctl(stage, "eth0", "arp_ignore", "8"),
    ),
    fault("another passphrase", Code::WrongKey, &["same passphrase", "ha-agent sniff"], |stage| {
        peer(stage, &AgentConfig { passphrases: vec!["another".to_owned()], ..worse() })
    }),
    fault(
        "another list of addresses",
        Code::OtherAddresses,
        &["the same addresses on both nodes"],
        |stage| {
            stage.config.addresses.push("10.77.0.101/24".to_owned());
            peer(stage, &worse())
        },
    ),
    and(
        fault("two masters of one vhid", Code::TwoMasters, &["nobody else's"], |stage| {
            peer(stage, &worse())?;
            let c = stage.lan.node("c", std::net::Ipv4Addr::new(10, 77, 0, 4))?;
            let other = AgentConfig { passphrases: vec!["another".to_owned()], ..worse() };
            let agent = Agent::start(&c, &other)?;
            agent.wait_for_state(0, "MASTER")?;
            stage.kept.push(Box::new((agent, c)));
            Ok(())
        }),
        &[Code::WrongKey],
    ),
    fault("a stranger", Code::Stranger, &["add it to the list"], |stage| {
        stage.config.peers = vec![std::net::IpAddr::from([10, 77, 0, 9])];
        peer(stage, &worse())
    }),
    fault("a VRRP router with our number", Code::VrrpVhid, &["another vhid"], |stage| {
        stage.listens = true;
        let config = KeepalivedConfig {
            address: std::net::Ipv4Addr::new(10, 77, 0, 200),
            interval: 20,
            ..KeepalivedConfig::default()
        };
        let router = Keepalived::start(&stage.b, &config)?;
        router.wait_for_state(0, "MASTER")?;
        stage.kept.push(Box::new(router));
        Ok(())
    }),
    fault("a peer in strict mode", Code::OtherMode, &["same mode in [auth]"], |stage| {
        peer(stage, &AgentConfig { mode: Some("strict".to_owned()), ..worse() })
    }),
    fault("a peer that is not in strict mode", Code::OtherMode, &["same mode in [auth]"], |stage| {
        stage.config.mode = Some("strict".to_owned());
        peer(stage, &worse())
    }),
    fault("a clock that is wrong", Code::ClockDifference, &["chrony"], |stage| {
        stage.config.mode = Some("strict".to_owned());
        advertise(stage, -7000)
    }),
    fault("a clock that goes wrong", Code::ClockDrift, &["chrony"], |stage| {
        stage.config.mode = Some("strict".to_owned());
        advertise(stage, 1500)
    }),
    fault("the same priority", Code::EqualPriority, &["another advskew"], |stage| {
        peer(stage, &AgentConfig::default())
    }),
    fault("another pace", Code::OtherPace, &["same interval"], |stage| {
        peer(stage, &AgentConfig { interval: Some("100ms".to_owned()), ..worse() })
    }),
    and(
        fault("no rights", Code::Rights, &["run as root"], |stage| {
            stage.wrapper =
                words("setpriv --reuid=65534 --clear-groups --inh-caps=-all --bounding-set=-all --");
            stage.spoil = |directory| {
                for file in ["carp.key", "ha-agent.toml"] {
                    std::os::unix::fs::chown(directory.join(file), Some(65534), None)?;
                }
                Ok(())
            };
            Ok(())
        }),
        &[Code::NoRealtime],
    ),
    fault("no real-time priority", Code::NoRealtime, &["CAP_SYS_NICE"], |stage| {
        stage.wrapper = words("setpriv --inh-caps=-sys_nice --bounding-set=-sys_nice --");
        Ok(())
    }),
    fault(
        "no time for real-time threads",
        Code::Throttled,
        &["sysctl kernel.sched_rt_runtime_us"],
        |stage| {
            stage.config.more = "[realtime]\npriority = \"off\"\n".into();
            mounted(stage, "0\n", "/proc/sys/kernel/sched_rt_runtime_us")
        },
    ),
    fault("a slow clock", Code::SlowClock, &["dmesg"], |stage| {
        mounted(stage, "hpet\n", "/sys/devices/system/clocksource/clocksource0/current_clocksource")
    }),
    fault("a kernel without BPF", Code::Kernel, &["Linux 5.15"], |stage| {
        stage.prepare = || refuse(SYS_bpf, Vec::new(), Errno::ENOSYS);
        Ok(())
    }),
    fault("no bpffs", Code::NoBpffs, &["mount -t bpf bpf /sys/fs/bpf"], |stage| {
        let pins = stage.directory.path().join("pins").display().to_string();
        stage.arguments = vec!["--pins".to_owned(), pins];
        Ok(())
    }),
    fault("a place where no socket can be made", Code::NoSocket, &["--control"], |stage| {
        let file = stage.file("file", "")?;
        stage.arguments = vec!["--control".to_owned(), file.join("control.sock").display().to_string()];
        Ok(())
    }),
    fault("a file where the socket is to be", Code::NoSocket, &["remove it"], |stage| {
        let file = stage.file("file", "")?;
        stage.arguments = vec!["--control".to_owned(), file.display().to_string()];
        Ok(())
    }),
    fault("a place where nothing can be kept", Code::NoState, &["--state"], |stage| {
        let file = stage.file("file", "")?;
        stage.arguments = vec!["--state".to_owned(), file.join("state").display().to_string()];
        Ok(())
    }),
    and(
        fault("a pair that is not introduced", Code::NotPaired, &["pair init", "pair join"], |stage| {
            link(stage, "10.77.0.1:7780");
            Ok(())
        }),
        &[Code::PeerUnreachable],
    ),
    and(
        fault("a damaged key of the peer link", Code::PeerFiles, &["pair anew"], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.spoil = |directory| {
                let (peer, file) = (directory.join("peer"), directory.join("peer/node.pem"));
                fs::create_dir(&peer)?;
                fs::set_permissions(&peer, Permissions::from_mode(0o700))?;
                fs::write(&file, "nothing")?;
                Ok(fs::set_permissions(&file, Permissions::from_mode(0o600))?)
            };
            Ok(())
        }),
        &[Code::PeerUnreachable],
    ),
    and(
        fault(
            "an address to listen on that is elsewhere",
            Code::ListenElsewhere,
            &["listen in [peer]"],
            |stage| {
                link(stage, "10.77.9.9:7780");
                Ok(())
            },
        ),
        &[Code::NotPaired, Code::PeerUnreachable],
    ),
    and(
        fault("a port that is taken", Code::PortTaken, &["ss -tlnp"], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.kept.push(Box::new(stage.a.netns.run(|| TcpListener::bind("10.77.0.1:7780"))??));
            Ok(())
        }),
        &[Code::NotPaired, Code::PeerUnreachable],
    ),
    and(
        fault("a peer that is not there", Code::PeerUnreachable, &["start the agent there"], |stage| {
            link(stage, "10.77.0.1:7780");
            Ok(())
        }),
        &[Code::NotPaired],
    ),
    and(
        fault("a peer that takes shorter packets", Code::OtherMtu, &["ip link set eth0 mtu 1500"], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.b.netns.ip("link set eth0 mtu 1400")?;
            stage.kept.push(Box::new(stage.b.netns.run(|| TcpListener::bind("10.77.0.2:7780"))??));
            Ok(())
        }),
        &[Code::NotPaired],
    ),
    and(
        fault("a witness that does not answer", Code::WitnessUnreachable, &["[witness]"], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.config.witness = Some("etcd = [\"http://10.77.0.2:2379\"]\n".to_owned());
            Ok(())
        }),
        &[Code::NotPaired, Code::PeerUnreachable],
    ),
    and(
        fault("a gateway that does not answer", Code::WitnessUnreachable, &["[witness]"], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.config.witness = Some("gateway = \"10.77.0.250\"\n".to_owned());
            Ok(())
        }),
        &[Code::NotPaired, Code::PeerUnreachable],
    ),
    and(
        fault("a missing certificate of the witness", Code::WitnessFiles, &[], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.config.witness =
                Some("etcd = [\"https://10.77.0.2:2379\"]\nca_file = \"none.pem\"\n".to_owned());
            Ok(())
        }),
        &[Code::NotPaired, Code::PeerUnreachable],
    ),
    and(
        fault("a program that is not installed", Code::MissingTool, &["install it"], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.config.more =
                "[[service]]\nname = \"web\"\nstart = [\"/no/such/program\"]\nstop = [\"true\"]\n\
                                 check = [\"true\"]\n"
                    .into();
            Ok(())
        }),
        &[Code::NotPaired, Code::PeerUnreachable],
    ),
    and(
        fault("a disk that is not there", Code::MissingDisk, &["check the disk"], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.config.more = mount("/dev/disk/by-id/none", "/dev/disk/by-id/none");
            Ok(())
        }),
        &[Code::NotPaired, Code::PeerUnreachable, Code::Charge, Code::DoubtfulCharge, Code::NoReservation],
    ),
    and(
        fault("a disk that can't be reserved", Code::NoReservation, &[], |stage| {
            link(stage, "10.77.0.1:7780");
            stage.config.more = mount("/dev/null", "/dev/null");
            Ok(())
        }),
        &[Code::NotPaired, Code::PeerUnreachable, Code::Charge, Code::DoubtfulCharge, Code::MissingDisk],
    ),
];
