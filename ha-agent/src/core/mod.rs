//! The protocol core: what a virtual host decides, and nothing else.
//!
//! Pure: no I/O, no clock, no tasks. Facts come in with their time, commands come out:
//!
//! ```text
//!   Event + now ──▶ Vhost::handle ──▶ next_command()   what to do
//!                                 └─▶ poll_timeout()   when to call again
//! ```
//!
//! Start with [`vhost`], where the state machine is; [`election`] says who is better, [`pace`] how long to
//! wait, `patience` from when. Beside it, and as pure: [`demotion`], why this host would rather not be master;
//! [`fresh`], the clock in our frames of strict mode; [`suspicion`], what looks like an attack where nothing can
//! be refused.
//!
//! What two nodes that know each other decide together: [`liveness`], whether the peer is alive;
//! [`group`], which interfaces stand for one another; [`role`], what a node is to its clients; [`same_state`],
//! who yields when both serve; [`reasons`], what stands in the way of an action; [`pair`], when the role moves, and how the two
//! agree on it; [`plan`], what is done then, in which order; [`shared`], whose configuration follows whose.

mod announcements;
pub mod command;
pub mod demotion;
pub mod election;
pub mod family;
pub mod fresh;
pub mod group;
pub mod liveness;
pub mod pace;
pub mod pair;
mod patience;
pub mod plan;
pub mod reasons;
pub mod role;
pub mod same_state;
pub mod shared;
pub mod suspicion;
pub mod time;
pub mod timers;
pub mod vhost;

pub use command::{
    Advert, Advertisement, Cause, Command, Event, Link, LinkDown, Silence, Stall, State, Transition,
};
pub use demotion::Demotions;
pub use election::{Contender, Priority, Verdict};
pub use family::{Families, Family, FamilyRule, Sources};
pub use fresh::SenderClock;
pub use pace::Pace;
pub use suspicion::{Heard, Suspicion, Suspicions};
pub use time::Instant;
pub use timers::{Timer, TimerTable};
pub use vhost::{Settings, Vhost};
