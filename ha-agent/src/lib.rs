//! ha-agent: a failover agent for pairs of Linux controllers, with its detector in the kernel.
//!
//! Three layers, one direction: the kernel observes ([`dataplane`]), the core decides ([`core`]), the
//! executor acts ([`exec`]). A reader starts in [`core`].

pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod dataplane;
pub mod exec;
pub mod fence;
pub mod journal;
pub mod net;
pub mod peer;
pub mod resource;
pub mod service;
pub mod sniff;
pub mod storage;
pub mod sys;
pub mod update;
pub mod witness;
