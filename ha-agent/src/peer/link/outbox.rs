//! What waits to be written on one connection. Bounded, and nobody waits for the writer: what is newer replaces what is
//! older where only the newest counts, and what does not fit is refused.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::peer::message::Message;

/// Filled by many, emptied by the connection's writer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    answer: Option<u64>,
    heartbeat: Option<u64>,
    state: Option<Message>,
    others: VecDeque<Message>,
}

impl Outbox {
    /// Answers a heartbeat.
    pub(super) fn answer(&self, sequence: u64) {
        self.lock().answer = Some(sequence);
        self.news.notify_one();
    }

    /// Sends a heartbeat.
    pub(super) fn heartbeat(&self, sequence: u64) {
        self.lock().heartbeat = Some(sequence);
        self.news.notify_one();
    }

    /// Sends a state instead of the one that waits.
    pub(super) fn state(&self, state: Message) {
        self.lock().state = Some(state);
        self.news.notify_one();
    }

    /// Sends anything else. `false` if too much waits already.
    pub(super) fn push(&self, message: Message) -> bool {
        let mut waiting = self.lock();
        if waiting.others.len() >= OTHERS_LIMIT {
            return false;
        }
        waiting.others.push_back(message);
        self.news.notify_one();
        true
    }

    /// The next message, once there is one. Cancel-safe. For one writer.
    pub(super) async fn next(&self) -> Message {
        loop {
            if let Some(message) = self.lock().next() {
                return message;
            }
            self.news.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whatever tells that we live first.
    fn next(&mut self) -> Option<Message> {
        let answer = self.answer.take().map(|sequence| Message::HeartbeatAck { sequence });
        let heartbeat = || self.heartbeat.take().map(|sequence| Message::Heartbeat { sequence });
        let first = answer.or_else(heartbeat);
        first.or_else(|| self.others.pop_front()).or_else(|| self.state.take())
    }
}

/// Messages of which each counts: with the largest payload, 1 MiB.
const OTHERS_LIMIT: usize = 16;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::{Duration, timeout};

    use super::*;

    fn state(sequence: u64) -> Message {
        Message::State { sequence, payload: Bytes::new() }
    }

    fn pair(number: u8) -> Message {
        Message::Pair { payload: vec![number].into() }
    }

    #[tokio::test]
    async fn the_newest_replaces_the_older_and_nothing_else_is_lost() {
        let outbox = Outbox::default();
        for number in 0..40 {
            outbox.state(state(number));
            outbox.heartbeat(number);
            outbox.answer(number);
            assert_eq!(outbox.push(pair(u8::try_from(number).unwrap())), number < 16);
        }
        let mut expected = vec![Message::HeartbeatAck { sequence: 39 }, Message::Heartbeat { sequence: 39 }];
        expected.extend((0..16).map(pair));
        expected.push(state(39));
        for message in expected {
            assert_eq!(outbox.next().await, message);
        }
        assert!(timeout(Duration::from_millis(10), outbox.next()).await.is_err());
    }

    #[tokio::test]
    async fn a_writer_that_waits_is_woken() {
        let outbox = std::sync::Arc::new(Outbox::default());
        let writer = tokio::spawn({
            let outbox = std::sync::Arc::clone(&outbox);
            async move { outbox.next().await }
        });
        tokio::task::yield_now().await;
        outbox.answer(7);
        assert_eq!(writer.await.unwrap(), Message::HeartbeatAck { sequence: 7 });
    }
}
