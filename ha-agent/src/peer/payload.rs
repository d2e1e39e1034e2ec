//! What the link carries without looking into it: values in `MessagePack` with named fields, so that those that only a newer
//! version knows are skipped.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::DEPTH_LIMIT;
use crate::config::quote::OneLine;

/// Why a value could not be written or read. Displayed, it is one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}; update the older one of the two agents")]
pub struct PayloadError(String);

/// For the link.
///
/// # Errors
///
/// None that is known: all that the agents say can be written.
pub fn encode(value: &impl Serialize) -> Result<Bytes, PayloadError> {
    let mut payload = BytesMut::with_capacity(1024).writer();
    let mut serializer = rmp_serde::Serializer::new(&mut payload).with_struct_map();
    value.serialize(&mut serializer).map_err(PayloadError::new)?;
    Ok(payload.into_inner().freeze())
}

/// What the peer said.
///
/// # Errors
///
/// If it is anything else.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, PayloadError> {
    let mut deserializer = rmp_serde::Deserializer::new(payload);
    deserializer.set_max_depth(DEPTH_LIMIT);
    T::deserialize(&mut deserializer).map_err(PayloadError::new)
}

impl PayloadError {
    /// What the reader says may quote the peer: it is cut.
    fn new(cause: impl std::fmt::Display) -> Self {
        Self(OneLine(&cause.to_string()).to_string().chars().take(200).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::core::group::Links;
    use crate::core::liveness::{Carp, Evidence, PeerLink};
    use crate::core::reasons::{Heartbeat, Interface, NodeFacts, Storage, VirtualHost};
    use crate::core::role::Role;
    use crate::core::same_state::{Claim, Reservation};
    use crate::core::shared::{Standing, Told};
    use crate::core::{Contender, Priority};

    fn facts(name: &str, flags: u8) -> NodeFacts {
        let flag = |bit: u8| flags & (1 << bit) != 0;
        let contender = Contender {
            demote: flags,
            priority: Priority { advbase: 1, advskew: flags },
            source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let mut evidence = Evidence { peer_link: PeerLink::Answering, ..Evidence::default() };
        evidence.carp.insert(name.to_owned(), Carp::Heard);
        NodeFacts {
            version: "0.1.0".to_owned(),
            uptime_ms: flag(2).then_some(u64::from(flags)),
            role: if flag(0) { Role::Master } else { Role::Backup },
            carp_role: flag(1).then_some(Role::Electing),
            claim: Claim { node: name.to_owned(), reservation: Reservation::NoDisks, contender },
            maintenance: flag(1),
            enabled: flag(2),
            ready: flag(3),
            ongoing: flag(4),
            held: flag(5),
            unstored: flag(6).then(|| name.to_owned()),
            vhosts: vec![VirtualHost { vhid: flags, addresses: BTreeSet::from([name.to_owned()]) }],
            interfaces: BTreeMap::from([(name.to_owned(), Interface { critical: flag(6), link: flag(7) })]),
            groups: BTreeMap::from([(name.to_owned(), if flag(6) { Links::Gone } else { Links::Reduced })]),
            heartbeat: Heartbeat::Up,
            storage: flag(6).then(Storage::default),
            faults: vec![name.to_owned()],
            evidence,
            shared: flag(1).then(|| told(name)),
        }
    }

    fn told(name: &str) -> Told {
        let digest = name.to_owned();
        let standing = Standing { layout: 1, version: 2, agreed: 1, digest, replaces: None };
        Told { standing, waits: Some(name.to_owned()), trouble: None }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "\\PC{0,20}", flags: u8) {
            let facts = facts(&name, flags);
            prop_assert_eq!(decode::<NodeFacts>(&encode(&facts).unwrap()).unwrap(), facts);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..400), cut: usize) {
            let _ = decode::<NodeFacts>(&payload);
            let whole = encode(&facts("b", payload.first().copied().unwrap_or_default())).unwrap();
            prop_assert!(decode::<NodeFacts>(&whole[..cut % whole.len()]).is_err());
        }
    }
}
