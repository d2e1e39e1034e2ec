//! What a node takes over and releases: reservations, pools, file systems, services.
//!
//! Each is a [`Resource`], which knows how to be taken, how to be released, and whether it is here. In what order, and what
//! becomes of a failure, is the plan's; when, is the executor's.
//!
//! All of it blocks: the executor calls it on threads that may. Each call has its limits, [`Within`] which it is to end: a
//! deadline, and a sign to stop. What does not keep them is named, and nobody waits for it.

mod command;
mod failure;
mod within;

use std::fmt;

pub use self::command::{CommandError, Invocation, Output, Run, System};
pub use self::failure::{Cause, Failure};
pub use self::within::{Stop, Within};

/// Something that one node of the pair has at a time.
pub trait Resource: fmt::Debug + Send + Sync {
    /// What an operator calls it, in a few words: `pool tank`.
    fn name(&self) -> &str;

    /// Takes it over. If it is here already, that is success. If it fails, what it has done so far may stand:
    /// [`release`](Self::release) is called then.
    ///
    /// # Errors
    ///
    /// Why it is not here.
    fn take(&self, within: &Within) -> Result<Taken, Failure>;

    /// Releases it, and verifies that it is not here any more: success says that this node won't write to it. If it is not
    /// here, that is success.
    ///
    /// # Errors
    ///
    /// Why it may be here still.
    fn release(&self, within: &Within) -> Result<(), Failure>;

    /// Whether this node has it, or a part of it.
    ///
    /// # Errors
    ///
    /// If that can't be found out.
    fn is_here(&self, within: &Within) -> Result<bool, Failure>;

    /// Whether all is well with it where it is taken.
    ///
    /// # Errors
    ///
    /// What is not.
    fn check(&self, within: &Within) -> Result<(), Failure> {
        if self.is_here(within)? { Ok(()) } else { Err(Failure::gone(self.name())) }
    }

    /// What would stand in the way of taking it now, without touching it: asked again and again on the node that stands by,
    /// while the other one serves it.
    fn examine(&self, within: &Within) -> Vec<Finding>;
}

/// How a resource was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What an operator should know of it though it is taken: in sentences.
    pub remarks: Vec<String>,
}

/// What was found out about a resource that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This is as it should be: in a few words.
    Good(String),
    /// It could be taken, but not as well as it should be.
    Weak(Failure),
    /// It could not be taken.
    Bad(Failure),
}
