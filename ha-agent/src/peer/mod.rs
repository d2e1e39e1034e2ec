//! The peer link: what two agents know of each other beyond CARP, over TCP and TLS 1.3, both sides authenticated.
//!
//! A pair is introduced once, by a code that is valid for minutes. From then on each node accepts the other's
//! certificate, byte by byte, and nothing else. Nothing that decides a failover waits for the link.
//!
//! ```text
//! payload      what the link carries without looking into it
//! link         connections, heartbeats, what was heard
//! codec        messages in frames
//! └─ message   what two agents say to each other
//! pairing      introduces two nodes to each other
//! └─ ceremony  the same with sockets and files
//! tls          the handshake: the pinned certificates, and no others
//! └─ store     the files: this node's key and certificate, and the certificate of the other one
//!    └─ identity   what is in them
//! ```

pub mod codec;
pub mod identity;
pub mod link;
pub mod message;
pub mod pairing;
pub mod payload;
pub mod store;
pub mod tls;

/// Where the files of the peer link are unless the configuration says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/ha-agent/peer";
