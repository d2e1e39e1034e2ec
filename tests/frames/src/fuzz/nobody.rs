//! An agent without anything behind it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ha_agent::control::Reply;
use ha_agent::control::drill::DrillReport;
use ha_agent::control::events::Query;
use ha_agent::control::order::{Failover, PairWish};
use ha_agent::control::server::Source;
use ha_agent::control::shared::{Apply, Document};
use ha_agent::control::status::Status;
use ha_agent::control::views::Views;
use ha_agent::update;
use tokio::sync::mpsc;

/// Can do everything, and does nothing but count what it was told to do.
#[derive(Default)]
pub(super) struct Nobody {
    /// What it says of itself, if anything.
    status: Option<Status>,
    pub(super) views: Views,
    failovers: AtomicUsize,
    others: AtomicUsize,
}

impl Nobody {
    /// Says this of itself.
    pub(super) fn of(status: Status) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// How often it was to move the role.
    pub(super) fn failovers(&self) -> usize {
        self.failovers.load(Ordering::Relaxed)
    }

    /// How often it was to do something else.
    pub(super) fn others(&self) -> usize {
        self.others.load(Ordering::Relaxed)
    }

    fn told<T>(&self, answer: T) -> T {
        self.others.fetch_add(1, Ordering::Relaxed);
        answer
    }
}

impl Source for Nobody {
    fn views(&self) -> &Views {
        &self.views
    }

    async fn events(&self, _: Query) -> Result<mpsc::Receiver<Reply>, String> {
        Err(NOTHING.to_owned())
    }

    async fn status(&self) -> Result<Status, String> {
        self.status.clone().ok_or_else(|| NOTHING.to_owned())
    }

    async fn reload(&self) -> Result<String, String> {
        self.told(Ok(NOTHING.to_owned()))
    }

    async fn restart(&self, within: Option<Duration>) -> Result<String, String> {
        self.told(Ok(format!("{within:?}")))
    }

    async fn hold(&self, hold: bool) -> Result<String, String> {
        self.told(Ok(hold.to_string()))
    }

    async fn failover(&self, order: Failover) -> Result<mpsc::Receiver<Reply>, String> {
        self.failovers.fetch_add(1, Ordering::Relaxed);
        let (replies, queue) = mpsc::channel(1);
        replies.try_send(Reply::Done(format!("{order:?}"))).map_err(|error| error.to_string())?;
        Ok(queue)
    }

    async fn shared(&self, _peer: bool) -> Result<Document, String> {
        Err(NOTHING.to_owned())
    }

    async fn apply(&self, order: Apply) -> Result<String, String> {
        self.told(Ok(format!("{order:?}")))
    }

    async fn wish(&self, wish: PairWish) -> Result<String, String> {
        self.told(Ok(format!("{wish:?}")))
    }

    async fn drill(&self) -> Result<DrillReport, String> {
        self.told(Err(NOTHING.to_owned()))
    }

    async fn update(&self, request: update::Request) -> Result<update::Answer, String> {
        self.told(Err(format!("{request:?}")))
    }
}

const NOTHING: &str = "nothing";
