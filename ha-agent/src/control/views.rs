//! One snapshot for all who look: made while somebody does, and written down once.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::server::Source;
use super::status::Status;

/// A status, and the same as JSON.
#[derive(Debug)]
pub struct View {
    /// The status.
    pub status: Status,
    /// On one line, without its end.
    pub json: Bytes,
    /// The same as a server-sent event.
    pub event: Bytes,
    /// When it was made.
    made: Instant,
}

/// Where snapshots come from. Whoever is slow sees the newest and misses those between.
#[derive(Debug)]
pub struct Views {
    latest: watch::Sender<Option<Arc<View>>>,
    /// Somebody began to look.
    looked: Notify,
}

impl Default for Views {
    fn default() -> Self {
        Self { latest: watch::Sender::new(None), looked: Notify::new() }
    }
}

impl Views {
    /// Begins to look. The first snapshot is a new one.
    pub fn watch(&self) -> Watching {
        let mut receiver = self.latest.subscribe();
        receiver.mark_unchanged();
        self.looked.notify_one();
        Watching(receiver)
    }

    /// One snapshot, not older than half a second; `None` if none can be made in time.
    pub async fn latest(&self) -> Option<Arc<View>> {
        if let Some(view) = &*self.latest.borrow()
            && view.made.elapsed() < HEARTBEAT
        {
            return Some(Arc::clone(view));
        }
        timeout(PATIENCE, self.watch().next()).await.ok().flatten()
    }

    /// Makes snapshots as long as somebody looks. Never returns.
    pub async fn run(&self, source: &impl Source) {
        let mut made = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            let is_new = if self.latest.receiver_count() == 0 {
                self.looked.notified().await;
                true
            } else {
                timeout(pause, self.looked.notified()).await.is_ok()
            };
            // Those who come at the same time get the same.
            sleep_until(made + LEAST).await;
            made = Instant::now();
            if let Ok(status) = source.status().await {
                self.publish(status, made, is_new);
            }
            pause = (made.elapsed() * SHARE).clamp(PACE, SLOWEST);
        }
    }

    /// Hands out a snapshot: to somebody new, if it says something new, or if the one before has become old.
    fn publish(&self, status: Status, made: Instant, is_new: bool) {
        let goes_on = |before: &Arc<View>| {
            made.duration_since(before.made) < HEARTBEAT && !status.is_news_after(&before.status)
        };
        if !is_new && self.latest.borrow().as_ref().is_some_and(goes_on) {
            return;
        }
        let mut event = BytesMut::from(BEFORE).writer();
        match serde_json::to_writer(&mut event, &status) {
            Ok(()) => {
                let mut event = event.into_inner();
                event.put_slice(AFTER);
                let event = event.freeze();
                let json = event.slice(BEFORE.len()..event.len() - AFTER.len());
                self.latest.send_replace(Some(Arc::new(View { status, json, event, made })));
            }
            Err(error) => tracing::error!(%error, "the status can't be written down"),
        }
    }
}

/// Somebody who looks.
#[derive(Debug)]
pub struct Watching(watch::Receiver<Option<Arc<View>>>);

impl Watching {
    /// The next snapshot; `None` when there will be no more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<View>> {
        self.0.changed().await.ok()?;
        self.0.borrow_and_update().clone()
    }
}

/// What a server-sent event is made of.
const BEFORE: &[u8] = b"data: ";
const AFTER: &[u8] = b"\n\n";
/// How old a snapshot becomes before there is another one, if nothing happens.
const HEARTBEAT: Duration = Duration::from_millis(450);
/// How often is looked whether something has happened.
const PACE: Duration = Duration::from_millis(100);
/// The same where looking takes long: with hundreds of virtual hosts.
const SLOWEST: Duration = Duration::from_millis(200);
/// Looking takes at most one in so many parts of the time.
const SHARE: u32 = 20;
/// From one snapshot to the next at least: the detector is asked for each, however many look.
const LEAST: Duration = Duration::from_millis(50);
/// How long whoever wants one snapshot waits for it.
const PATIENCE: Duration = Duration::from_secs(3);
