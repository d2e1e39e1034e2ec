//! Telling whoever asks what happened: first what is in the files, then what is in memory, then what happens.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::control::Reply;
use crate::control::events::{Query, Told};
use crate::journal::events::{Event, Events, file};

/// Tells them in their order, each once, until nobody reads any more.
pub(super) async fn follow(events: Events, query: Query, replies: mpsc::Sender<Reply>) {
    let mut newest = events.newest();
    let wanted = Wanted { after: query.after.unwrap_or_default(), query, told: false };
    let Some(mut wanted) = from_files(&events, wanted, replies.clone()).await else { return };
    loop {
        newest.borrow_and_update();
        for event in events.after(wanted.after) {
            if wanted.wants(&event) && replies.send(event_reply((*event).clone())).await.is_err() {
                return;
            }
        }
        if !std::mem::replace(&mut wanted.told, true) {
            let told = Told { unkept: events.unkept().map(|unkept| unkept.to_string()) };
            if replies.send(Reply::Told(told)).await.is_err() || !wanted.query.follow {
                return;
            }
        }
        match tokio::time::timeout(SIGN_OF_LIFE, newest.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                if replies.send(Reply::Waiting).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What is still to be told.
struct Wanted {
    query: Query,
    /// Those with greater numbers.
    after: u64,
    /// Whether all that had happened has been.
    told: bool,
}

impl Wanted {
    /// Whether this one is to be told; each is asked for once.
    fn wants(&mut self, event: &Event) -> bool {
        let is_new = event.number > self.after;
        self.after = self.after.max(event.number);
        is_new && self.query.since.is_none_or(|since| event.at >= since)
    }
}

/// `None` if nobody reads any more. Nothing is read if all that is wanted is in memory.
async fn from_files(events: &Events, mut wanted: Wanted, replies: mpsc::Sender<Reply>) -> Option<Wanted> {
    let oldest = events.after(0).first().map(|event| (event.number, event.at));
    let in_memory = oldest.is_some_and(|(number, at)| {
        number <= wanted.after || wanted.query.since.is_some_and(|since| at < since)
    });
    if in_memory {
        return Some(wanted);
    }
    let directory = events.directory().to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut reads = true;
        file::read(&directory, |event| {
            if wanted.wants(&event) {
                reads = replies.blocking_send(event_reply(event)).is_ok();
            }
            reads
        });
        reads.then_some(wanted)
    });
    read.await.ok().flatten()
}

fn event_reply(event: Event) -> Reply {
    Reply::Event(Box::new(event))
}

/// How often is said that the agent is there, if nothing happens.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
