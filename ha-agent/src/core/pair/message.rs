//! What the two nodes say to each other.
//!
//! Every message tells the sender's whole [`State`], so that it does not matter which of them gets lost; in a switchover
//! it carries a [`Word`] beside. Words are repeated until the other's state or word answers them, and each belongs to one
//! request, so one that comes twice or too late does nothing.
//!
//! Neighbouring versions understand each other: fields may be added, and are absent from an older sender (hence
//! `default`); values of the small enums may be added, and are read as `Other` by an older receiver. Both need a format
//! that names its fields.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::time::maybe_nanos;
use super::generation::{Generation, Node};
use super::report::{Refusal, Why};

/// What goes over the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// How the sender is.
    pub state: State,
    /// What it has to say in a switchover.
    #[serde(default)]
    pub word: Option<Word>,
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// Counts the starts of the sender's agent: it grows with each.
    pub start: u64,
    /// Counts its messages since.
    pub number: Sequence,
    /// Which boot of its machine this is; 0 where that is not known.
    #[serde(default)]
    pub boot: u64,
    /// What it does.
    pub role: Role,
    /// The switchover that it is busy with.
    #[serde(default)]
    pub request: Option<Request>,
    /// The generation that it has stored.
    pub generation: Generation,
    /// Whether it could serve: nothing blocks it, and a virtual host has link.
    #[serde(default)]
    pub fit: bool,
    /// Whether an operator holds it: nothing is to fail over to it by itself.
    #[serde(default)]
    pub held: bool,
    /// What the operator wants of the pair.
    #[serde(default)]
    pub shared: Shared,
}

/// The place of a message among those of one start.
///
/// It says in which order messages left, and nothing about how their sender is: hence it adds nothing to a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Hash for Sequence {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What a node does, as the other needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It does not serve.
    Standby,
    /// It has just started, finds itself serving, and asks whether it still may.
    Resuming,
    /// It means to serve, and makes sure that it may.
    Claiming,
    /// It takes over.
    Taking,
    /// It serves.
    Active,
    /// It stops serving.
    Releasing,
    /// What a newer version does: to be left alone.
    #[serde(other)]
    Other,
}

impl Role {
    /// Whether it serves, or begins to.
    #[must_use]
    pub fn leads(self) -> bool {
        match self {
            Self::Taking | Self::Active => true,
            Self::Standby | Self::Resuming | Self::Claiming | Self::Releasing | Self::Other => false,
        }
    }
}

/// One switchover, by who thought of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The node.
    pub node: Node,
    /// The start of its agent.
    pub start: u64,
    /// Counts within it.
    pub number: u32,
}

/// What an operator wants of the pair. Both nodes store it; the newest wins, whichever node it was said to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Shared {
    /// Counts the changes.
    pub version: u64,
    /// Whose change it was: decides between two of one version.
    pub by: Node,
    /// Nothing fails over by itself.
    pub disabled: bool,
    /// Where the active role belongs, if both could have it.
    pub preferred: Option<Node>,
}

/// A word in a switchover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Word {
    /// Which switchover.
    pub request: Request,
    /// The generation that the taker would be active in.
    pub generation: Generation,
    /// What is said about it.
    pub saying: Saying,
}

/// What is said in a switchover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Saying {
    /// To the active node: hand over to me; my operator wants it.
    Ask {
        /// Also if I am not fit.
        #[serde(default)]
        forced: bool,
        /// End hard if the release takes longer than this.
        #[serde(default, with = "maybe_nanos")]
        force_after: Option<Duration>,
    },
    /// To the standby: would you take over, soon?
    Prepare {
        /// Also if you are not fit.
        #[serde(default)]
        forced: bool,
    },
    /// To the active node: I would, and keep myself ready.
    Ready,
    /// I won't.
    Refuse(Refusal),
    /// To the standby: nothing serves here any more; it is yours.
    Commit,
    /// I serve.
    Taken,
    /// I do not take it, and never will under this request; take it back.
    Back(Why),
    /// I keep it.
    Abort(Why),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message() -> Message {
        let generation = Generation::new(5).expect("small");
        let request = Request { node: Node::A, start: 3, number: 1 };
        Message {
            state: State {
                start: 3,
                number: Sequence(9),
                boot: 7,
                role: Role::Active,
                request: Some(request),
                generation,
                fit: true,
                held: false,
                shared: Shared::default(),
            },
            word: Some(Word { request, generation, saying: Saying::Refuse(Refusal::NotFit) }),
        }
    }

    #[test]
    fn it_comes_back_as_it_was() -> serde_json::Result<()> {
        let text = serde_json::to_string(&message())?;
        assert_eq!(serde_json::from_str::<Message>(&text)?, message());
        Ok(())
    }

    #[test]
    fn an_older_senders_fields_are_absent_and_a_newer_ones_are_skipped() -> serde_json::Result<()> {
        let text =
            json!({"state": {"start": 1, "number": 2, "role": "standby", "generation": 4, "mood": "good"}});
        let Message { state, word } = serde_json::from_value(text)?;
        assert_eq!((state.role, state.fit, state.request, word), (Role::Standby, false, None, None));
        Ok(())
    }

    #[test]
    fn a_newer_senders_values_are_read_as_other() -> serde_json::Result<()> {
        assert_eq!(serde_json::from_value::<Role>(json!("contemplating"))?, Role::Other);
        assert_eq!(serde_json::from_value::<Why>(json!("full_moon"))?, Why::Other);
        assert_eq!(serde_json::from_value::<Refusal>(json!("full_moon"))?, Refusal::Other);
        // What is not understood at all is refused by its name.
        let error = serde_json::from_value::<Saying>(json!("sing")).expect_err("unknown");
        assert!(error.to_string().contains("sing"), "{error}");
        Ok(())
    }

    #[test]
    fn no_number_is_beyond_counting() {
        assert!(serde_json::from_value::<Generation>(json!(u64::MAX)).is_err());
    }
}
