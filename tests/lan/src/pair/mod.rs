//! Two virtual nodes that know each other: the pair machine, and around it what it lives with.
//!
//! Each [`node`] has the real pair machine and the real virtual host, a disk, an executor that takes time, fails and hangs,
//! and an agent that can be stopped, killed and started again. Between the two is the [`wire`]: the peer link and the CARP
//! network, which can be cut apart from each other. [`world`] holds it together. [`schedule`] does something to a switchover
//! at each of its steps, [`properties`] says what must hold all the same, [`bounds`] for how long at most it may not.

pub mod bounds;
pub mod node;
pub mod properties;
pub mod schedule;
pub mod wire;
pub mod world;
