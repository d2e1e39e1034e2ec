//! Calls to resources, on threads that may block: one at a time to each.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::Part;
use crate::resource::{Cause, Failure, Finding, Resource, Within};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Take,
    Release,
    /// Take it anew.
    Revive,
    /// Is all well with it?
    Check,
    /// Could it be taken?
    Examine,
}

/// How a call ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Of which plan it was.
    pub(super) epoch: u64,
    pub(super) part: usize,
    pub(super) call: Call,
    /// What was found.
    pub(super) found: Found,
}

/// What a call says.
#[derive(Debug)]
pub(super) enum Found {
    /// It is done; with remarks.
    Well(Vec<String>),
    /// It could be done, but for these.
    Weak(Vec<Failure>),
    /// It is not done, or could not be.
    Bad(Vec<Failure>),
}

/// Where calls are made.
#[derive(Debug)]
pub(super) struct Calls {
    lanes: Vec<Arc<Mutex<()>>>,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Calls {
    pub(super) fn new(parts: usize) -> (Self, mpsc::UnboundedReceiver<Ended>) {
        let (ended, queue) = mpsc::unbounded_channel();
        (Self { lanes: (0..parts).map(|_| Arc::default()).collect(), ended }, queue)
    }

    /// Calls as soon as no other call is made to this part.
    pub(super) fn make(&self, epoch: u64, index: usize, part: &Part, call: Call, within: Within) {
        let Some(lane) = self.lanes.get(index).cloned() else { return };
        let (resource, ended) = (Arc::clone(&part.resource), self.ended.clone());
        tokio::spawn(async move {
            let turn = lane.lock_owned().await;
            let called = tokio::task::spawn_blocking(move || {
                let found = make(&*resource, call, &within);
                drop(turn);
                found
            });
            let mistake = |error: tokio::task::JoinError| {
                let remedy = "this is a mistake of ha-agent's: please report it";
                Found::Bad(vec![Failure::new(Cause::Other, format!("a call broke down: {error}"), remedy)])
            };
            let found = called.await.unwrap_or_else(mistake);
            // Nobody may be left to hear it.
            let _ = ended.send(Ended { epoch, part: index, call, found });
        });
    }

    /// Whether a call is being made to this part.
    pub(super) fn is_busy(&self, index: usize) -> bool {
        self.lanes.get(index).is_some_and(|lane| lane.try_lock().is_err())
    }
}

fn make(resource: &dyn Resource, call: Call, within: &Within) -> Found {
    if let Err(failure) = within.go_on(resource.name()) {
        return Found::Bad(vec![failure]);
    }
    let done = |result: Result<(), Failure>| match result {
        Ok(()) => Found::Well(Vec::new()),
        Err(failure) => Found::Bad(vec![failure]),
    };
    match call {
        Call::Take | Call::Revive => match resource.take(within) {
            Ok(taken) => Found::Well(taken.remarks),
            Err(failure) => Found::Bad(vec![failure]),
        },
        Call::Release => done(resource.release(within)),
        Call::Check => match resource.check(within) {
            Err(failure) if failure.cause.leaves_it_served() => Found::Weak(vec![failure]),
            result => done(result),
        },
        Call::Examine => {
            let (mut weak, mut bad) = (Vec::new(), Vec::new());
            for finding in resource.examine(within) {
                match finding {
                    Finding::Good(_) => {}
                    Finding::Weak(failure) => weak.push(failure),
                    Finding::Bad(failure) => bad.push(failure),
                }
            }
            if !bad.is_empty() {
                bad.extend(weak);
                Found::Bad(bad)
            } else if weak.is_empty() {
                Found::Well(Vec::new())
            } else {
                Found::Weak(weak)
            }
        }
    }
}
