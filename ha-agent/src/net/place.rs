//! Where the kernel program is attached for an interface that the configuration names, and why there.
//!
//! It belongs where frames can still be read as they were sent:
//!
//! | The interface | Attached to |
//! |---|---|
//! | a network card, a veth | itself |
//! | a bond, a bridge, a team, a macvlan | itself, in the generic path |
//! | a VLAN, or a VLAN within a VLAN, of a card | that card, where frames carry their tags |
//! | a VLAN of anything else | itself, in the generic path: what carries it takes the tags off |
//!
//! A bond runs a program in the drivers of its slaves, each by itself: there every frame of a group comes once a
//! slave, our own come back, and none names the bond. In the generic path it comes once.
//!
//! A card that takes the tags off in hardware hides them from the program. Then they must be left on
//! ([`strips_vlan_tags`](crate::sys::ethtool::strips_vlan_tags) tells, [`Stripped`] says how), or the
//! program goes to the VLAN interface itself. A veth says that it takes them off; whether it does, its other end
//! decides, so there the VLAN interface itself is the right place, too.

use std::fmt;

use super::link::{Interface, Interfaces, Kind, Tag};

/// Where the program is attached for one interface of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where to attach.
    pub at: Spot,
    /// Where else to attach, if what is at the first spot takes the tags off. Only for VLANs.
    pub instead: Option<Spot>,
    reason: Reason,
}

/// An interface to attach to, and what the frames look like there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Name of the interface.
    pub interface: String,
    /// Its index.
    pub index: u32,
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
        Kind::Bond => Ok(untagged(named, Stage::Generic, Reason::NoDriver { what: "a bond" })),
        Kind::Team => Ok(untagged(named, Stage::Generic, Reason::NoDriver { what: "a team" })),
        Kind::Bridge => Ok(untagged(named, Stage::Generic, Reason::NoDriver { what: "a bridge" })),
        Kind::Macvlan { .. } => Ok(untagged(named, Stage::Generic, Reason::NoDriver { what: "a macvlan" })),
        Kind::Vlan { .. } => vlan(interfaces, named),
    }
}

impl Place {
    /// Whether the interface at the first spot takes the tags off before the program sees them, by what
    /// [`strips_vlan_tags`](crate::sys::ethtool::strips_vlan_tags) says of it. Only for VLANs.
    #[must_use]
    pub fn stripped(&self, strips: impl FnOnce(&str) -> bool) -> Option<Stripped> {
        let tagged = self.instead.is_some() && strips(&self.at.interface);
        tagged.then(|| Stripped { interface: self.at.interface.clone() })
    }
}

fn untagged(named: &Interface, stage: Stage, reason: Reason) -> Place {
    Place { at: spot(named, stage), instead: None, reason }
}

fn vlan(interfaces: &Interfaces, named: &Interface) -> Result<Place, PlaceError> {
    let tags = Tags::of(interfaces, named)?;
    let itself = spot(named, Stage::Generic);
    let (name, text) = (named.name.clone(), tags.to_string());
    let Some(bottom) = tags.bottom else {
        return Ok(Place { at: itself, instead: None, reason: Reason::Elsewhere { name } });
    };
    let parent = bottom.name.clone();
    let at = |stage| Spot { outer_vlan: tags.outer, vlan: tags.inner, ..spot(bottom, stage) };
    let place = match bottom.kind {
        Kind::Plain => Place {
            at: at(Stage::Any),
            instead: Some(itself),
            reason: Reason::Vlan { name, tags: text, parent },
        },
        // A VLAN is never at the bottom.
        Kind::Bond | Kind::Team | Kind::Bridge | Kind::Macvlan { .. } | Kind::Vlan { .. } => {
            Place { at: itself, instead: None, reason: Reason::Untagged { name, tags: text, parent } }
        }
    };
    Ok(place)
}

fn spot(interface: &Interface, stage: Stage) -> Spot {
    Spot { interface: interface.name.clone(), index: interface.index, outer_vlan: 0, vlan: 0, stage }
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
