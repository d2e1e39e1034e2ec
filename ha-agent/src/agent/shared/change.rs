//! An operator changes it: both nodes, or none.

use super::words::{Answer, Ask};
use super::{Effect, Sharing};
use crate::config::shared::{LAYOUT, Shared, digest};
use crate::control::shared::Apply;
use crate::core::shared::{Decision, Standing};
use crate::peer::link::CallError;

impl Sharing {
    /// Does it, or says why nothing was done.
    pub(in crate::agent) async fn apply(&self, order: Apply) -> Result<String, String> {
        let refused = |cause: String| format!("not applied, nothing was changed: {cause}");
        let Ok(_turn) = self.turn.try_lock() else { return Err(refused(BUSY.to_owned())) };
        let old = self.read().await.map_err(refused)?;
        let peer = match self.fetch().await {
            Ok((_, shared)) => Some(shared.standing()),
            Err(error) if order.alone => {
                tracing::warn!("the shared configuration is changed on this node alone: {error}");
                None
            }
            Err(error) => return Err(refused(format!("{error}; --alone changes it on this node alone"))),
        };
        let Some(new) = successor(&old, peer.as_ref(), &order, self.node()).map_err(refused)? else {
            return Ok("nothing is new".to_owned());
        };
        let effect = self.judge(&order.name, new.clone()).await.map_err(refused)?;
        may_wait(&effect, order.at_restart).map_err(refused)?;
        if let Some(peer) = &peer
            && peer.digest != digest(&new.text)
        {
            let proposal = Ask::Propose { shared: new.clone(), at_restart: order.at_restart };
            let theirs =
                self.effect(&proposal).await.map_err(|error| refused(format!("the peer: {error}")))?;
            if order.dry_run {
                return Ok(format!("it would do this:\n{effect}\n{theirs}"));
            }
        }
        if order.dry_run {
            return Ok(format!("it would do this:\n{effect}"));
        }
        let agreed = if peer.is_some() { new.version } else { new.agreed };
        let new = Shared { agreed, ..new };
        // From here on it is decided.
        let effect = self.put(&old, new.clone(), effect).await.map_err(refused)?;
        tracing::info!("shared configuration: version {} by {}: {effect}", new.version, new.by);
        let version = new.version;
        let theirs = match peer {
            None => "the peer takes it when it is there".to_owned(),
            Some(_) => match self.effect(&Ask::Take { shared: new }).await {
                Ok(theirs) => theirs.to_string(),
                Err(error) => format!("the peer has not taken it yet: {error}"),
            },
        };
        Ok(format!("version {version}\n{effect}\n{theirs}"))
    }

    /// Asks the peer for what it does to it.
    async fn effect(&self, question: &Ask) -> Result<Effect, CallError> {
        match self.ask(question).await? {
            Answer::Effect(effect) => Ok(effect),
            Answer::Document { .. } => Err(CallError::Refused("it answered something else".to_owned())),
        }
    }
}

/// The next version; `None` if both nodes have that text already.
fn successor(
    old: &Shared,
    peer: Option<&Standing>,
    order: &Apply,
    by: String,
) -> Result<Option<Shared>, String> {
    let own = old.standing();
    let decision = peer.map(|peer| own.decide(peer, LAYOUT));
    let is_new = old.text != order.text;
    let replaces = match decision {
        None | Some(Decision::Same | Decision::Give) if !is_new => return Ok(None),
        None | Some(Decision::Same | Decision::Give) => old.replaces.clone(),
        Some(Decision::Take) => {
            return Err(
                "the peer has a newer version, which this node is about to take; try again".to_owned()
            );
        }
        Some(Decision::TooNew) => {
            return Err(
                "the peer's has a newer layout than this agent knows; update ha-agent here".to_owned()
            );
        }
        Some(Decision::Conflict) if order.over => peer.map(|peer| peer.digest.clone()),
        Some(Decision::Conflict) => {
            return Err(
                "each node's was changed without the other; see `ha-agent config diff`, and then make one valid for both with \
                 --over"
                    .to_owned(),
            );
        }
    };
    let version = peer.map_or(own.version, |peer| peer.version.max(own.version)).saturating_add(1);
    let text = order.text.clone();
    Ok(Some(Shared { layout: LAYOUT, version, agreed: own.agreed, by, replaces, text }))
}

/// Refuses what needs a restart, unless that is what is wanted.
pub(super) fn may_wait(effect: &Effect, at_restart: bool) -> Result<(), String> {
    match &effect.waits {
        Some(why) if !at_restart => Err(format!(
            "on {}, {why}; --at-restart stores it on both nodes, for the next start of each agent",
            effect.node
        )),
        Some(_) | None => Ok(()),
    }
}

/// Why a second change at the same time is refused.
pub(super) const BUSY: &str = "another change is under way; try again";

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str, over: bool) -> Apply {
        let (name, text) = ("new.toml".to_owned(), text.to_owned());
        Apply { name, text, alone: false, at_restart: false, over, dry_run: false }
    }

    fn shared(version: u64, agreed: u64, text: &str) -> Shared {
        Shared { version, agreed, ..Shared::first("a".to_owned(), text.to_owned()) }
    }

    #[test]
    fn the_next_version_says_what_its_maker_knew() {
        let next = |old: &Shared, peer: Option<&Shared>, order| {
            let peer = peer.map(Shared::standing);
            let next = successor(old, peer.as_ref(), &order, "a".to_owned());
            next.map(|next| next.map(|next| (next.version, next.agreed, next.replaces)))
        };
        let (both, newer, rival) = (shared(4, 4, "x"), shared(5, 5, "y"), shared(6, 3, "z"));
        assert_eq!(next(&both, Some(&both), order("n", false)), Ok(Some((5, 4, None))));
        assert_eq!(next(&both, Some(&both), order("n", true)), Ok(Some((5, 4, None))));
        assert_eq!(next(&both, Some(&both), order("x", false)), Ok(None));
        assert_eq!(next(&both, None, order("n", false)), Ok(Some((5, 4, None))));
        assert_eq!(next(&newer, Some(&both), order("n", false)), Ok(Some((6, 5, None))));
        assert!(next(&both, Some(&newer), order("n", true)).is_err_and(|why| why.contains("try again")));
        assert!(next(&both, Some(&rival), order("n", false)).is_err_and(|why| why.contains("--over")));
        let replaces = Some(digest("z"));
        assert_eq!(next(&both, Some(&rival), order("n", true)), Ok(Some((7, 4, replaces.clone()))));
        assert_eq!(next(&both, Some(&rival), order("x", true)), Ok(Some((7, 4, replaces))));
        let too_new = Shared { layout: LAYOUT + 1, ..newer };
        assert!(next(&both, Some(&too_new), order("n", true)).is_err_and(|why| why.contains("newer layout")));
    }
}
