//! Ending in order: everything is given back, whatever the agent ends for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::detector::{Input, Snapshot};
use super::interfaces::{Follower, Stays};
use super::manager;
use super::pair;
use super::reporter::Reporter;
use super::{AgentError, Ended, PATIENCE};
use crate::config::Mode;
use crate::core::pair::report::Why;
use crate::journal::events::What;
use crate::net::macvlan::Macvlan;
use crate::peer::link::Link;
use crate::sys::hurry::Hurry;

/// What runs until the end.
pub(super) struct Parts {
    pub(super) inputs: mpsc::UnboundedSender<Input>,
    pub(super) detector: oneshot::Receiver<Snapshot>,
    pub(super) end_keeping: oneshot::Sender<Option<Snapshot>>,
    pub(super) keeping: JoinHandle<()>,
    pub(super) follower: Follower,
    pub(super) executor: JoinHandle<()>,
    pub(super) pairing: JoinHandle<Why>,
    pub(super) link: Option<Link>,
    pub(super) written: Option<oneshot::Receiver<()>>,
}

impl Parts {
    /// Ends them, each after those that need it, since the agent ends like this. The peer takes over before, if it can. In
    /// strict mode, what was heard last is kept in `state`.
    pub(super) async fn end(
        self,
        result: &Result<Ended, AgentError>,
        reporter: &Reporter,
        state: &Path,
        hurry: &Hurry,
    ) {
        let stays = match result {
            Ok(Ended::Told) | Err(_) => Stays::Nothing,
            Ok(Ended::Succeeded(_)) => Stays::Attachments,
            Ok(Ended::Stays(_)) => Stays::All,
        };
        let goes = stays != Stays::All;
        reporter.events.tell(Some(&reporter.node()), What::AgentEnded { how: how(result) });
        hurry.set(!goes);
        // Not where this process goes on.
        if stays == Stays::Nothing {
            manager::stopping();
        }
        let handed = goes && result.is_ok() && reporter.hand_over().await;
        let strict = reporter.mode() == Mode::Strict;
        let Self { inputs, detector, end_keeping, keeping, follower, executor, pairing, link, written } =
            self;
        let order = if goes { Input::Leave } else { Input::Stay };
        let last = if detector.is_terminated() { None } else { leave(order, &inputs, detector).await };
        // It is gone only if it failed.
        let _ = end_keeping.send(last.filter(|_| strict));
        if !keeping.is_finished() && tokio::time::timeout(PATIENCE, keeping).await.is_err() {
            tracing::error!("what was heard could not be written in time; look at {}", state.display());
        }
        // However the detector ended. The senders of orders go with it and with the follower.
        end(follower, executor, stays).await;
        // What is beyond the node's control can't be released.
        if let Some(charge) =
            reporter.charge.clone().filter(|_| goes && !matches!(result, Err(AgentError::EndedHard(_))))
        {
            charge.release().await;
        }
        // Only now: nothing serves any more. Whoever failed leaves the lease to its end.
        if let Some(witness) = reporter.witness.clone().filter(|_| goes && result.is_ok()) {
            pair::give_back(witness, handed).await;
        }
        pairing.abort();
        if let Some(link) = link {
            link.close().await;
        }
        // Last: nothing else waits for a disk that does not answer.
        finish(written).await;
        // The next agent is to begin before anybody notices.
        reporter.events.finish(if goes { PATIENCE } else { HURRY }).await;
    }
}

/// How the agent ends, for an operator.
fn how(result: &Result<Ended, AgentError>) -> String {
    match result {
        Ok(Ended::Told) => "it was told to".to_owned(),
        Ok(Ended::Succeeded(program)) => format!("{} goes on in its place", program.display()),
        Ok(Ended::Stays(_)) => "the next one goes on with all that it serves".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Gives everything back. The follower has the last senders of orders: the executor finishes what it has, and with it
/// the clerk, and then nobody uses the virtual hosts' own interfaces any more. Some of it `stays`.
pub(super) async fn end(follower: Follower, executor: JoinHandle<()>, stays: Stays) {
    let macvlans = follower.release(stays);
    if !executor.is_finished() && tokio::time::timeout(PATIENCE, executor).await.is_err() {
        tracing::error!("the kernel did not finish removing addresses; look with `ip address`");
    }
    remove(macvlans).await;
}

/// Waits for the recording to be written to its end.
async fn finish(written: Option<oneshot::Receiver<()>>) {
    if let Some(written) = written
        && tokio::time::timeout(PATIENCE, written).await.is_err()
    {
        tracing::error!("the recording could not be written to its end in time; is the disk slow?");
    }
}

/// Lets the detector end by this order, and waits until it has. Returns how it was then.
async fn leave(
    order: Input,
    inputs: &mpsc::UnboundedSender<Input>,
    detector: oneshot::Receiver<Snapshot>,
) -> Option<Snapshot> {
    // If it is gone, there is nothing to leave.
    let _ = inputs.send(order);
    match tokio::time::timeout(PATIENCE, detector).await {
        Ok(Ok(last)) => return Some(last),
        Ok(Err(_)) => tracing::error!("the detector ended before it could leave"),
        Err(_) => tracing::error!("the detector does not leave; ending without it"),
    }
    None
}

/// Removes the virtual hosts' own interfaces, which nobody uses any more.
pub(super) async fn remove(macvlans: impl IntoIterator<Item = Arc<Macvlan>>) {
    for macvlan in macvlans {
        let name = macvlan.name().to_owned();
        match Arc::into_inner(macvlan) {
            Some(macvlan) => {
                if let Err(error) = macvlan.remove().await {
                    tracing::error!("{error}");
                }
            }
            None => {
                tracing::error!("interface {name} is still in use; remove it with `ip link delete {name}`");
            }
        }
    }
}

/// How long is waited for the last events, where another agent is to go on at once.
const HURRY: Duration = Duration::from_millis(20);
