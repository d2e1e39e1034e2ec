//! A LAN of virtual nodes with one virtual clock: the protocol core, and around it what it lives with.
//!
//! Nothing here does I/O or asks for the time, so a run is the same each time, and an hour takes a second. Each node has
//! the three layers of a real one: [`kernel`] stamps frames, runs the timers and fills the ring; [`agent`] reads it,
//! late at times, and carries out what the core decides; the core itself is the real one. Between them is the
//! [`network`]; [`lan`] holds it all together. [`schedule`] makes a mess at random, [`properties`] says what must hold
//! all the same, [`bounds`] for how long at most it may not; [`matrix`] measures. [`pair`] is the same for two nodes that know each other.

// One line, because the test of the properties builds all this around a core of its own, with a fault in it.
pub use ha_agent::core;

pub mod agent;
pub mod bounds;
pub mod kernel;
pub mod lan;
pub mod matrix;
pub mod network;
pub mod node;
pub mod pair;
pub mod properties;
#[path = "../../src/random.rs"]
pub mod random;
pub mod schedule;
