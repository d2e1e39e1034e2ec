//! Where the kernel program is attached for an interface that the configuration names, and why there.
//!
//! It belongs where frames can still be read as they were sent:
//!
//! | The interface | Attached to | Frames name |
//! |---|---|---|
//! | a network card, a veth | itself | itself |
//! | a bond | itself: in the driver, the program runs on each slave, else on the bond | the slave, or the bond |
//! | a bridge, a team, a macvlan | itself, in the generic path: no driver is there | itself |
//! | a VLAN, or a VLAN within a VLAN, of a card or a bond | that card or bond, where frames carry their tags | as above |
//! | a VLAN of anything else | itself, in the generic path: what carries it takes the tags off | itself |
//!
//! A card that takes the tags off in hardware hides them from the program. Then they must be left on
//! ([`strips_vlan_tags`](crate::sys::ethtool::strips_vlan_tags) tells, [`Stripped`] says how), or the
//! program goes to the VLAN interface itself.

use std::fmt;

use super::link::{Interface, Interfaces, Kind, Tag};

/// Where the program is attached for one interface of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where to attach.
    pub at: Spot,
    /// Where else to attach, if what is at the first spot takes the tags off, or has no driver that takes the
    /// program where it must. Only for VLANs.
    pub instead: Option<Spot>,
    /// The interfaces whose hardware could take the tags off before the program sees them. Only for VLANs.
    pub tagged_by: Vec<String>,
    reason: Reason,
}

/// An interface to attach to, and what the frames look like there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// The indexes that frames may name as the interface on which they arrived: its own first.
    pub carriers: Vec<u32>,
    /// The outer of two tags, else 0.
    pub outer_vlan: u16,
    /// The only or inner tag, or 0.
    pub vlan: u16,
    /// How to attach.
    pub stage: Stage,
}

/// Where on its way a frame meets the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the driver, or else in the generic path.
    Any,
    /// In the driver only: in the generic path the frames have lost their tags.
    Driver,
    /// In the generic path: there is no driver.
    Generic,
}

/// Why an interface can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It is not there.
    #[error("interface {0} does not exist; `ip link` lists those that do")]
    NoInterface(String),
    /// Its frames go to another one.
    #[error("interface {port} is a part of {controller}, which takes its frames; configure {controller}")]
    Port {
        /// The interface.
        port: String,
        /// The bond, bridge or team.
        controller: String,
    },
    /// More tags than are understood.
    #[error(
        "interface {0} is a VLAN in a VLAN in a VLAN: two tags are understood, not three; \
         configure an interface with fewer"
    )]
    ThreeTags(String),
    /// An 802.1ad tag behind another one.
    #[error(
        "interface {0} has an 802.1ad tag within another tag, which only an 802.1Q tag may be; \
         make it again with `protocol 802.1Q`"
    )]
    InnerDot1Ad(String),
    /// VLAN 0.
    #[error("interface {0} is VLAN 0, which means no VLAN; configure the interface that it lies on")]
    VlanZero(String),
}

/// The tags never reach the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{interface} takes VLAN tags off before the program sees them; \
     switch that off with `ethtool -K {interface} rxvlan off`"
)]
pub struct Stripped {
    /// The interface whose hardware does it.
    pub interface: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Itself,
    Bond { slaves: Vec<String> },
    NoDriver { what: &'static str },
    Vlan { name: String, tags: String, parent: String },
    Untagged { name: String, tags: String, parent: String },
    Elsewhere { name: String },
}

/// Finds the place for an interface by its name or alternative name.
///
/// # Errors
///
/// See [`PlaceError`].
pub fn place(interfaces: &Interfaces, name: &str) -> Result<Place, PlaceError> {
    let named = interfaces.get(name).ok_or_else(|| PlaceError::NoInterface(name.to_owned()))?;
    if let Some(controller) = named.controller.and_then(|index| interfaces.by_index(index)) {
        match controller.kind {
            Kind::Bond | Kind::Team | Kind::Bridge => {
                let (port, controller) = (named.name.clone(), controller.name.clone());
                return Err(PlaceError::Port { port, controller });
            }
            // A VRF, which leaves the frames to its members.
            Kind::Plain | Kind::Vlan { .. } | Kind::Macvlan { .. } => {}
        }
    }
    match named.kind {
        Kind::Plain => Ok(untagged(named, Stage::Any, Reason::Itself)),
        Kind::Bond => Ok(bond(interfaces, named)),
        Kind::Team => Ok(untagged(named, Stage::Generic, Reason::NoDriver { what: "a team" })),
        Kind::Bridge => Ok(untagged(named, Stage::Generic, Reason::NoDriver { what: "a bridge" })),
        Kind::Macvlan { .. } => Ok(untagged(named, Stage::Generic, Reason::NoDriver { what: "a macvlan" })),
        Kind::Vlan { .. } => vlan(interfaces, named),
    }
}

impl Place {
    /// The first interface that takes the tags off before the program sees them, if one does, by what
    /// [`strips_vlan_tags`](crate::sys::ethtool::strips_vlan_tags) says of each.
    #[must_use]
    pub fn stripped(&self, mut strips: impl FnMut(&str) -> bool) -> Option<Stripped> {
        let interface = self.tagged_by.iter().find(|interface| strips(interface))?.clone();
        Some(Stripped { interface })
    }
}

fn untagged(named: &Interface, stage: Stage, reason: Reason) -> Place {
    Place { at: spot(named, stage), instead: None, tagged_by: Vec::new(), reason }
}

fn bond(interfaces: &Interfaces, bond: &Interface) -> Place {
    let slaves = interfaces.ports_of(bond.index).map(|slave| slave.name.clone()).collect();
    let mut place = untagged(bond, Stage::Any, Reason::Bond { slaves });
    place.at.carriers.extend(slaves_of(interfaces, bond));
    place
}

fn vlan(interfaces: &Interfaces, named: &Interface) -> Result<Place, PlaceError> {
    let tags = Tags::of(interfaces, named)?;
    let itself = spot(named, Stage::Generic);
    let (name, text) = (named.name.clone(), tags.to_string());
    let Some(bottom) = tags.bottom else {
        return Ok(Place {
            at: itself,
            instead: None,
            tagged_by: Vec::new(),
            reason: Reason::Elsewhere { name },
        });
    };
    let parent = bottom.name.clone();
    let at = |stage| Spot { outer_vlan: tags.outer, vlan: tags.inner, ..spot(bottom, stage) };
    let place = match bottom.kind {
        Kind::Plain => Place {
            at: at(Stage::Any),
            instead: Some(itself),
            tagged_by: vec![parent.clone()],
            reason: Reason::Vlan { name, tags: text, parent },
        },
        Kind::Bond => {
            let mut at = at(Stage::Driver);
            at.carriers.extend(slaves_of(interfaces, bottom));
            let slaves = interfaces.ports_of(bottom.index);
            Place {
                at,
                instead: Some(itself),
                tagged_by: slaves.map(|slave| slave.name.clone()).collect(),
                reason: Reason::Vlan { name, tags: text, parent },
            }
        }
        // A VLAN is never at the bottom.
        Kind::Team | Kind::Bridge | Kind::Macvlan { .. } | Kind::Vlan { .. } => Place {
            at: itself,
            instead: None,
            tagged_by: Vec::new(),
            reason: Reason::Untagged { name, tags: text, parent },
        },
    };
    Ok(place)
}

fn spot(interface: &Interface, stage: Stage) -> Spot {
    Spot {
        interface: interface.name.clone(),
        index: interface.index,
        carriers: vec![interface.index],
        outer_vlan: 0,
        vlan: 0,
        stage,
    }
}

fn slaves_of(interfaces: &Interfaces, bond: &Interface) -> impl Iterator<Item = u32> {
    interfaces.ports_of(bond.index).map(|slave| slave.index)
}

/// The tags of a VLAN interface's frames, and what carries them.
struct Tags<'a> {
    outer: u16,
    inner: u16,
    /// `None` if it is in another network namespace.
    bottom: Option<&'a Interface>,
}

impl<'a> Tags<'a> {
    /// Goes down from a VLAN interface.
    fn of(interfaces: &'a Interfaces, named: &Interface) -> Result<Self, PlaceError> {
        let find = |parent: Option<u32>| parent.and_then(|index| interfaces.by_index(index));
        let Kind::Vlan { parent, id: inner, tag: inner_tag } = named.kind else {
            return Ok(Self { outer: 0, inner: 0, bottom: None });
        };
        let parent = find(parent);
        let Some((Kind::Vlan { parent: bottom, id: outer, .. }, _)) = parent.map(|p| (p.kind, p)) else {
            if inner == 0 {
                return Err(PlaceError::VlanZero(named.name.clone()));
            }
            return Ok(Self { outer: 0, inner, bottom: parent });
        };
        if inner == 0 || outer == 0 {
            return Err(PlaceError::VlanZero(named.name.clone()));
        }
        if inner_tag == Tag::Dot1Ad {
            return Err(PlaceError::InnerDot1Ad(named.name.clone()));
        }
        let bottom = find(bottom);
        if bottom.is_some_and(|bottom| matches!(bottom.kind, Kind::Vlan { .. })) {
            return Err(PlaceError::ThreeTags(named.name.clone()));
        }
        Ok(Self { outer, inner, bottom })
    }
}

impl fmt::Display for Tags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outer {
            0 => write!(f, "VLAN {}", self.inner),
            outer => write!(f, "VLAN {} within VLAN {outer}", self.inner),
        }
    }
}

/// Where the program is attached and why, as `check` says it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = &self.at.interface;
        match &self.reason {
            Reason::Itself => write!(f, "attaches to {at} itself"),
            Reason::Bond { slaves } if slaves.is_empty() => {
                write!(f, "{at} is a bond, without slaves yet: attaches to {at} itself")
            }
            Reason::Bond { slaves } => write!(
                f,
                "{at} is a bond of {}: attaches to {at}; in the driver, the program runs on its slaves",
                slaves.join(" and ")
            ),
            Reason::NoDriver { what } => {
                write!(f, "{at} is {what}: attaches to {at} itself, in the generic path")
            }
            Reason::Vlan { name, tags, parent } => {
                write!(
                    f,
                    "{name} is {tags} of {parent}: attaches to {at}, where frames still carry their tags"
                )
            }
            Reason::Untagged { name, tags, parent } => write!(
                f,
                "{name} is {tags} of {parent}, which takes the tags off: attaches to {at} itself, in the \
                 generic path"
            ),
            Reason::Elsewhere { name } => write!(
                f,
                "{name} is a VLAN of an interface in another network namespace: attaches to {at} itself, in \
                 the generic path"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
