//! Questions that are answered: what the agents do together, and what may take its time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::outbox::Outbox;
use crate::config::quote::OneLine;
use crate::peer::codec::PAYLOAD_LIMIT;
use crate::peer::message::{Answer, CALLS, Message};

/// A call of the peer's. One that is dropped is refused.
#[derive(Debug)]
pub struct Call {
    /// What it is about.
    pub topic: String,
    /// In the topic's form.
    pub payload: Bytes,
    number: u64,
    outbox: Option<Arc<Outbox>>,
}

/// Why a call was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No path is up.
    #[error("the peer does not answer; look at the peer link in `ha-agent status`")]
    NotUp,
    /// Too much waits.
    #[error("too much waits for the peer's answer already; try again")]
    Full,
    /// It is larger than [`PAYLOAD_LIMIT`].
    #[error(
        "a message for the peer has more than {PAYLOAD_LIMIT} bytes; this is an error in ha-agent, please report it"
    )]
    TooLarge,
    /// The peer's agent knows nothing of calls.
    #[error("the peer's ha-agent is too old for this; update it first")]
    TooOld,
    /// No answer came in time.
    #[error("the peer has not answered within {0:?}; look at its log")]
    TimedOut(Duration),
    /// The peer refuses.
    #[error("{}", OneLine(.0))]
    Refused(String),
}

/// The calls of both directions.
#[derive(Debug)]
pub(super) struct Calls {
    /// Counts ours.
    number: AtomicU64,
    /// Who waits for which answer.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    /// The peer's.
    arrived: mpsc::Sender<Call>,
}

impl Call {
    /// Answers it.
    pub fn answer(mut self, payload: Bytes) {
        let answer = if payload.len() > PAYLOAD_LIMIT {
            Answer::Refused(CallError::TooLarge.to_string())
        } else {
            Answer::Done(payload)
        };
        self.send(answer);
    }

    /// Says why it is not taken up.
    pub fn refuse(mut self, why: &str) {
        self.send(Answer::Refused(why.chars().take(REFUSAL_LIMIT).collect()));
    }

    fn send(&mut self, answer: Answer) {
        let Some(outbox) = self.outbox.take() else { return };
        if !outbox.push(Message::Answer { number: self.number, answer }) {
            tracing::warn!("an answer to the peer was dropped: too much waits to be sent");
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.send(Answer::Refused("the agent is ending".to_owned()));
    }
}

impl Calls {
    pub(super) fn new() -> (Self, mpsc::Receiver<Call>) {
        let (arrived, queue) = mpsc::channel(CALLS_LIMIT);
        (Self { number: AtomicU64::new(0), waiting: Mutex::default(), arrived }, queue)
    }

    /// See [`Speaker::call`](super::Speaker::call).
    pub(super) async fn call(
        &self,
        shared: &Shared,
        topic: &str,
        payload: Bytes,
        patience: Duration,
    ) -> Result<Bytes, CallError> {
        // Its topic has room beside it.
        if payload.len() + topic.len() > PAYLOAD_LIMIT {
            return Err(CallError::TooLarge);
        }
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let place = Place { calls: self, number };
        {
            let mut waiting = self.lock();
            if waiting.len() >= CALLS_LIMIT {
                return Err(CallError::Full);
            }
            waiting.insert(number, reply);
        }
        let call = Message::Call { number, topic: topic.to_owned(), payload };
        shared.update(|paths| paths.call(call, CALLS))?;
        let answer = tokio::time::timeout(patience, answer).await;
        drop(place);
        match answer {
            Ok(Ok(Answer::Done(payload))) => Ok(payload),
            Ok(Ok(Answer::Refused(why))) => Err(CallError::Refused(why)),
            // The sender is dropped by its place only.
            Ok(Err(_)) | Err(_) => Err(CallError::TimedOut(patience)),
        }
    }

    /// The peer calls. It is answered on the connection that it came on.
    pub(super) fn arrived(&self, outbox: &Arc<Outbox>, number: u64, topic: String, payload: Bytes) {
        let call = Call { topic, payload, number, outbox: Some(Arc::clone(outbox)) };
        if let Err(mpsc::error::TrySendError::Full(call) | mpsc::error::TrySendError::Closed(call)) =
            self.arrived.try_send(call)
        {
            call.refuse("the peer's agent is busy; try again");
        }
    }

    /// The peer answers. Nobody may be waiting any more.
    pub(super) fn answered(&self, number: u64, answer: Answer) {
        if let Some(reply) = self.lock().remove(&number) {
            let _ = reply.send(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who wait, given back however the waiting ends.
struct Place<'a> {
    calls: &'a Calls,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.number);
    }
}

/// Calls of one direction that were not answered yet.
const CALLS_LIMIT: usize = 8;
/// Characters of a refusal.
const REFUSAL_LIMIT: usize = 4000;
