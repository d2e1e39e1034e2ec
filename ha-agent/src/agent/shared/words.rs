//! What the two nodes say to each other about it, over the link.

use serde::{Deserialize, Serialize};

use super::Effect;
use crate::config::shared::Shared;

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

/// What the calls are about.
pub(in crate::agent) const TOPIC: &str = "shared configuration";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::shared::TEXT_LIMIT;
    use crate::peer::codec::PAYLOAD_LIMIT;
    use crate::peer::payload::{decode, encode};

    fn shared(text: String) -> Shared {
        Shared { replaces: Some("x".repeat(64)), ..Shared::first("n".repeat(64), text) }
    }

    #[test]
    fn the_largest_document_goes_into_one_message() {
        let shared = shared("\"".repeat(TEXT_LIMIT));
        for words in [Ask::Propose { shared: shared.clone(), at_restart: true }, Ask::Take { shared }] {
            let payload = encode(&words).expect("can be written");
            assert!(payload.len() + TOPIC.len() <= PAYLOAD_LIMIT, "{}", payload.len());
            assert_eq!(decode::<Ask>(&payload).expect("can be read"), words);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused_in_one_line(payload in prop::collection::vec(any::<u8>(), 0..200), cut: usize) {
            let whole = encode(&Ask::Take { shared: shared("x = 1\n".to_owned()) }).expect("can be written");
            for payload in [&payload, &whole[..cut % whole.len()]] {
                if let Err(error) = decode::<Ask>(payload) {
                    prop_assert!(!error.to_string().contains(char::is_control), "{error:?}");
                }
            }
        }
    }
}
