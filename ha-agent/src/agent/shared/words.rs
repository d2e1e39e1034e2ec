//! What the two nodes say to each other about it, over the link.

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Effect;
use crate::config::quote::OneLine;
use crate::config::shared::Shared;
use crate::peer::codec::DEPTH_LIMIT;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// For its document.
    Fetch,
    /// Whether it would take this one. Nothing is changed.
    Propose {
        /// Its text, its version, and what the asking node knew when it made it.
        shared: Shared,
        /// Whether it may need a restart.
        at_restart: bool,
    },
    /// To take this one, which the asking node has stored.
    Take {
        /// As it was stored.
        shared: Shared,
    },
}

/// What is answered; a refusal is the link's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// To [`Ask::Fetch`].
    Document {
        /// The name of the node that has it.
        node: String,
        /// The document.
        shared: Shared,
    },
    /// To the others: what it does to the node, or has done.
    Effect(Effect),
}

/// With named fields, so that an older or newer agent skips what it does not know.
pub(super) fn encode(words: &impl Serialize) -> Result<Bytes, String> {
    let mut payload = BytesMut::with_capacity(512).writer();
    let mut serializer = rmp_serde::Serializer::new(&mut payload).with_struct_map();
    words.serialize(&mut serializer).map_err(|error| error.to_string())?;
    Ok(payload.into_inner().freeze())
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    let mut deserializer = rmp_serde::Deserializer::new(payload);
    deserializer.set_max_depth(DEPTH_LIMIT);
    // What the reader says may quote the peer: it is cut.
    let cut = |text: String| OneLine(&text).to_string().chars().take(200).collect::<String>();
    T::deserialize(&mut deserializer).map_err(|error| {
        format!("it is not understood: {}; update the older one of the two agents", cut(error.to_string()))
    })
}

/// What the calls are about.
pub(in crate::agent) const TOPIC: &str = "shared configuration";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::shared::TEXT_LIMIT;
    use crate::peer::codec::PAYLOAD_LIMIT;

    fn shared(text: String) -> Shared {
        Shared { replaces: Some("x".repeat(64)), ..Shared::first("n".repeat(64), text) }
    }

    #[test]
    fn the_largest_document_goes_into_one_message() {
        let shared = shared("\"".repeat(TEXT_LIMIT));
        for words in [Ask::Propose { shared: shared.clone(), at_restart: true }, Ask::Take { shared }] {
            let payload = encode(&words).expect("can be written");
            assert!(payload.len() + TOPIC.len() <= PAYLOAD_LIMIT, "{}", payload.len());
            assert_eq!(decode(&payload), Ok(words));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused_in_one_line(payload in prop::collection::vec(any::<u8>(), 0..200), cut: usize) {
            let whole = encode(&Ask::Take { shared: shared("x = 1\n".to_owned()) }).expect("can be written");
            for payload in [&payload, &whole[..cut % whole.len()]] {
                if let Err(error) = decode::<Ask>(payload) {
                    prop_assert!(!error.contains(char::is_control), "{error:?}");
                }
            }
        }
    }
}
