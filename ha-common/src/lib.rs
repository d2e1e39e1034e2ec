//! What ha-agent's kernel program and user space share: wire formats, the decoder, authentication, the
//! reasons for which a frame is refused, and the layout of maps and records.
//!
//! Everything here is `no_std`, allocates nothing and cannot panic, whatever the input: the same source is
//! compiled for the BPF target, where the verifier has to agree.

#![no_std]
#![expect(clippy::inline_always, reason = "the kernel program is one function: its verifier judges no calls")]

pub mod abi;
pub mod auth;
pub mod decode;
pub mod echo;
pub mod fresh;
pub mod guard;
pub mod judge;
pub mod reason;
pub mod wire;

#[cfg(test)]
extern crate std;
