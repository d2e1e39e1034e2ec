//! Who is in the lab: the guests, their networks, their disks.

use std::fmt::{self, Display, Formatter};

/// A guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// It has the disks, and serves them to both nodes.
    Target,
    /// One node.
    A,
    /// The other.
    B,
    /// What the nodes serve.
    Client,
}

/// One of the two that have the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    /// [`Who::A`].
    A,
    /// [`Who::B`].
    B,
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Net {
    /// 10.77.0.0/24, of both nodes (1 and 2) and the client (10): their `eth0`.
    Service,
    /// 10.99.0.0/24, of the nodes alone (1 and 2): their `eth1`.
    Interlink,
}

/// A disk, in the order in which the target has them and the nodes see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Disk {
    /// One half of a mirror.
    Data0,
    /// The other half.
    Data1,
    /// For a log device.
    Log,
    /// For a cache device.
    Cache,
    /// For what a story likes.
    Spare,
}

impl Who {
    /// All, in the order in which they are started.
    pub(super) const ALL: [Self; 4] = [Self::Target, Self::Client, Self::A, Self::B];

    /// Its name, which is its host name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::A => "a",
            Self::B => "b",
            Self::Client => "client",
        }
    }

    /// Where it is on its networks: the last part of its address.
    pub(super) const fn host(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
            Self::Client => 10,
            Self::Target => 20,
        }
    }

    /// Its networks, in the order of its cards.
    pub(super) const fn nets(self) -> &'static [Net] {
        match self {
            Self::A | Self::B => &[Net::Service, Net::Interlink],
            Self::Client => &[Net::Service],
            Self::Target => &[],
        }
    }
}

impl Node {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::A, Self::B];

    /// The guest that it is.
    pub(super) const fn who(self) -> Who {
        match self {
            Self::A => Who::A,
            Self::B => Who::B,
        }
    }

    /// The other one.
    pub(super) const fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// What it is called as an initiator.
    pub(super) fn initiator(self) -> String {
        format!("iqn.2026-11.test.lab:{}", self.who())
    }
}

impl Net {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Service, Self::Interlink];

    const fn number(self) -> u8 {
        match self {
            Self::Service => 77,
            Self::Interlink => 99,
        }
    }

    /// The address of `who` in it.
    pub(super) fn address(self, who: Who) -> String {
        format!("10.{}.0.{}", self.number(), who.host())
    }

    /// The hardware address of its card there.
    pub(super) fn mac(self, who: Who) -> String {
        format!("52:54:00:{:02x}:00:{:02x}", self.number(), who.host())
    }
}

impl Disk {
    /// All, in their order.
    pub(super) const ALL: [Self; 5] = [Self::Data0, Self::Data1, Self::Log, Self::Cache, Self::Spare];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Data0 => "data0",
            Self::Data1 => "data1",
            Self::Log => "log",
            Self::Cache => "cache",
            Self::Spare => "spare",
        }
    }

    /// Bytes. The cache is just large enough for ZFS to find what was in it after an import (1 GiB of it).
    pub(super) const fn size(self) -> u64 {
        let mebibytes = match self {
            Self::Data0 | Self::Data1 | Self::Spare => 512,
            Self::Log => 256,
            Self::Cache => 1152,
        };
        mebibytes << 20
    }

    /// Its number at the target.
    pub(super) const fn lun(self) -> u8 {
        match self {
            Self::Data0 => 0,
            Self::Data1 => 1,
            Self::Log => 2,
            Self::Cache => 3,
            Self::Spare => 4,
        }
    }

    /// Its serial number: hexadecimal digits, for the target makes the disk's world-wide name of them.
    pub(super) fn serial(self) -> String {
        format!("1ab00000000{:02x}", self.lun())
    }

    /// By which the target knows a node's path to it, beside the node's name.
    pub(super) const fn isid(self) -> [u8; 6] {
        [0x80, 0, 0, 0, 0, self.lun()]
    }

    /// Where the nodes have it. Parts of it have `-part1` and so on after it.
    pub(super) fn device(self) -> String {
        // LIO's vendor number, then the digits of the serial number.
        format!("/dev/disk/by-id/wwn-0x6001405{:0<25}", self.serial())
    }
}

impl Display for Who {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.who().fmt(f)
    }
}

impl Display for Net {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Interlink => "interlink",
        })
    }
}

impl Display for Disk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
