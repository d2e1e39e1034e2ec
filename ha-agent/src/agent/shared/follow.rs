//! The other side: answers the peer, and takes what it has and this node not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::change::{BUSY, may_wait};
use super::words::{Answer, Ask};
use super::{Effect, Pair, Sharing};
use crate::config::shared::{LAYOUT, Shared};
use crate::core::role::FRESH;
use crate::core::shared::{Decision, Standing};
use crate::peer::payload::{decode, encode};
use crate::sys::clock;

/// Follows what the peer tells, as long as the agent runs.
pub(super) async fn follow(sharing: Arc<Sharing>, mut pair: watch::Receiver<Pair>) {
    let mut failed = None;
    while pair.changed().await.is_ok() {
        let told = {
            let pair = pair.borrow_and_update();
            let fresh = pair.told.as_ref().filter(|(at, _)| clock::now().saturating_since(*at) <= FRESH);
            fresh.and_then(|(_, facts)| facts.shared.clone())
        };
        let Some(told) = told else { continue };
        let pair_of = (sharing.told().standing, told.standing);
        // It may be the node's own file that was mended meanwhile.
        let again = |(at, of): &(Instant, _)| *of != pair_of || at.elapsed() > AGAIN;
        if failed.as_ref().is_none_or(again) {
            let trouble = sharing.converge(&pair_of.0, &pair_of.1).await;
            failed = trouble.is_some().then(|| (Instant::now(), pair_of));
            sharing.known().told.trouble = trouble;
        }
    }
}

impl Sharing {
    /// Answers what the peer asks, or says why not.
    pub(in crate::agent) async fn answer(&self, payload: &[u8]) -> Result<Bytes, String> {
        let answer = match decode(payload).map_err(|error| error.to_string())? {
            Ask::Fetch => Answer::Document { node: self.node(), shared: self.read().await? },
            Ask::Propose { shared, at_restart } => {
                Answer::Effect(self.consider(shared.checked()?, at_restart).await?)
            }
            Ask::Take { shared } => {
                let _turn = self.turn.lock().await;
                Answer::Effect(self.take(shared.checked()?).await?)
            }
        };
        encode(&answer).map_err(|error| error.to_string())
    }

    /// Whether this node would take a document, and what that would do to it.
    async fn consider(&self, shared: Shared, at_restart: bool) -> Result<Effect, String> {
        let Ok(_turn) = self.turn.try_lock() else { return Err(BUSY.to_owned()) };
        let own = self.read().await?;
        match own.standing().decide(&shared.standing(), LAYOUT) {
            Decision::Same | Decision::Take => {}
            Decision::Give => return Err("it has a newer version already; try again".to_owned()),
            Decision::TooNew => return Err(too_new(&shared.standing())),
            Decision::Conflict => return Err(UNKNOWN.to_owned()),
        }
        let effect = self.judge(&format!("what {} proposes", shared.by), shared).await?;
        may_wait(&effect, at_restart).map(|()| effect)
    }

    /// Takes a document that the peer has stored, if it follows this node's. What needs a restart waits for it: that it is
    /// to be was decided over there. The turn is held.
    async fn take(&self, shared: Shared) -> Result<Effect, String> {
        let own = self.read().await?;
        let standing = shared.standing();
        match own.standing().decide(&standing, LAYOUT) {
            Decision::Take => {}
            Decision::Same => {
                let waits = self.told().waits;
                let effect = Effect { node: self.node(), changes: Vec::new(), waits };
                let Standing { version, agreed, replaces, .. } = own.standing().settled(&standing);
                let settled = Shared { version, agreed, replaces, ..own.clone() };
                return if settled == own { Ok(effect) } else { self.put(&own, settled, effect).await };
            }
            Decision::Give => return Err("it has a newer version already".to_owned()),
            Decision::TooNew => return Err(too_new(&standing)),
            Decision::Conflict => return Err(UNKNOWN.to_owned()),
        }
        let effect =
            self.judge(&format!("version {} by {}", shared.version, shared.by), shared.clone()).await?;
        let new = Shared { agreed: shared.version, replaces: None, ..shared };
        let (version, by) = (new.version, new.by.clone());
        let effect = self.put(&own, new, effect).await?;
        tracing::info!("shared configuration: version {version} by {by}: {effect}");
        Ok(effect)
    }

    /// Does what the peer's document asks for. Returns why it can't be done, if that does not pass by itself.
    async fn converge(&self, own: &Standing, peer: &Standing) -> Option<String> {
        match own.decide(peer, LAYOUT) {
            Decision::Same if own.settled(peer) == *own => None,
            Decision::Same | Decision::Take => {
                let _turn = self.turn.lock().await;
                // Not what it told, but what it has.
                match self.fetch().await {
                    Ok((_, shared)) => self.take(shared).await.err(),
                    Err(error) => {
                        tracing::debug!("the peer's shared configuration can't be had: {error}");
                        None
                    }
                }
            }
            Decision::Give | Decision::Conflict => None,
            Decision::TooNew => Some(too_new(peer)),
        }
    }
}

fn too_new(standing: &Standing) -> String {
    format!("layout {} is not known here, only up to {LAYOUT}; update ha-agent there", standing.layout)
}

const UNKNOWN: &str = "it has a version that the other one does not know, and neither is overwritten; see `ha-agent config diff`";
/// After how long something that could not be taken is tried again.
const AGAIN: Duration = Duration::from_secs(5);
