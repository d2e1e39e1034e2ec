//! Telling an operator what happens in a switchover, to its end.

use std::time::Duration;

use tokio::sync::{broadcast, mpsc};

use super::detector::partner::PairSnapshot;
use super::pair::PairNews;
use crate::control::Reply;
use crate::control::order::{EndStatus, StepStatus};
use crate::core::pair::message::Request;
use crate::core::pair::report::End;
use crate::sys::clock;

/// How a switchover stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The machine is busy with it.
    UnderWay,
    /// It has ended.
    Ended(End),
    /// It has ended, and another one has since: how is not known any more.
    Forgotten,
}

impl Standing {
    /// By what the machine is busy with, and what it has ended last.
    pub(super) fn of(request: Request, pair: &PairSnapshot) -> Self {
        match pair.last {
            _ if pair.record.handover == Some(request) => Self::UnderWay,
            Some((ended, end)) if ended == request => Self::Ended(end),
            Some(_) | None => Self::Forgotten,
        }
    }
}

/// Tells what happens in a switchover, until it has ended or nobody reads any more. News can be lost where they are not read
/// in time, and the machine can be gone: so where there are none, `look` asks it how the switchover stands.
pub(super) async fn follow<F>(
    mut news: broadcast::Receiver<PairNews>,
    request: Request,
    look: impl Fn() -> F,
    replies: mpsc::Sender<Reply>,
) where
    F: Future<Output = Result<Standing, String>>,
{
    let began = clock::now();
    loop {
        let after = || clock::now().saturating_since(began);
        let ended = |end| Reply::Ended(EndStatus::new(end, after()));
        let reply = match tokio::time::timeout(SIGN_OF_LIFE, news.recv()).await {
            Ok(Ok(PairNews::Progress(progress))) if progress.request == request => {
                Reply::Progress(StepStatus::new(&progress, after()))
            }
            Ok(Ok(PairNews::Ended(of, end))) if of == request => ended(end),
            // Of another one.
            Ok(Ok(PairNews::Progress(_) | PairNews::Ended(..))) => continue,
            Ok(Err(broadcast::error::RecvError::Closed)) => Reply::Error(GONE.to_owned()),
            Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => match look().await {
                Ok(Standing::UnderWay) => Reply::Waiting,
                Ok(Standing::Ended(end)) => ended(end),
                Ok(Standing::Forgotten) => Reply::Error(FORGOTTEN.to_owned()),
                Err(cause) => Reply::Error(cause),
            },
        };
        let is_last = matches!(reply, Reply::Ended(_) | Reply::Error(_));
        if replies.send(reply).await.is_err() || is_last {
            return;
        }
    }
}

/// How often is said that the agent is there, if nothing happens.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
const GONE: &str = "the agent ends; see `ha-agent status` of both nodes for what became of the switchover";
const FORGOTTEN: &str =
    "another switchover has followed: how this one ended stands in the agent's log; see `ha-agent status`";

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result, ensure};

    use super::*;
    use crate::core::pair::Node;
    use crate::core::pair::report::{Progress, Standing as Of, Step, Why};

    const OURS: Request = Request { node: Node::A, start: 1, number: 7 };

    fn progress() -> PairNews {
        let since = clock::now();
        PairNews::Progress(Progress { request: OURS, step: Step::Release, since, standing: Of::Running })
    }

    /// All that is told of it.
    async fn told(news: broadcast::Receiver<PairNews>, standing: Result<Standing, &str>) -> Vec<Reply> {
        let (replies, mut queue) = mpsc::channel(64);
        let look = || async { standing.map_err(str::to_owned) };
        let all = async {
            let mut all = Vec::new();
            while let Some(reply) = queue.recv().await {
                all.push(reply);
            }
            all
        };
        let following = follow(news, OURS, look, replies);
        let ((), all) = tokio::time::timeout(Duration::from_mins(1), async { tokio::join!(following, all) })
            .await
            .expect("it tells for ever");
        all
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_was_lost_is_told_all_the_same() -> Result<()> {
        let sender = broadcast::Sender::new(2);
        let news = sender.subscribe();
        sender.send(progress())?;
        sender.send(PairNews::Ended(OURS, End::Moved))?;
        let other = Request { number: 8, ..OURS };
        for _ in 0..2 {
            sender.send(PairNews::Ended(other, End::Stayed(Why::NoAnswer)))?;
        }
        let told = told(news, Ok(Standing::Ended(End::Moved))).await;
        let last = told.last().context("nothing")?;
        ensure!(matches!(last, Reply::Ended(ended) if ended.end == End::Moved), "{told:?}");
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_still_under_way_is_waited_for() -> Result<()> {
        let sender = broadcast::Sender::new(2);
        let news = sender.subscribe();
        for _ in 0..3 {
            sender.send(progress())?;
        }
        let later = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            sender.send(PairNews::Ended(OURS, End::Moved))
        };
        let (told, sent) = tokio::join!(told(news, Ok(Standing::UnderWay)), later);
        sent?;
        let waited = told.iter().filter(|reply| matches!(reply, Reply::Waiting)).count();
        ensure!(waited > 1 && matches!(told.last(), Some(Reply::Ended(_))), "{told:?}");
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_knows_how_it_ended_that_is_told() -> Result<()> {
        for standing in [Ok(Standing::Forgotten), Err("the detector does not answer")] {
            let sender = broadcast::Sender::new(2);
            let news = sender.subscribe();
            let told = told(news, standing).await;
            ensure!(matches!(told[..], [Reply::Error(_)]), "{standing:?}: {told:?}");
        }
        let sender = broadcast::Sender::new(2);
        let news = sender.subscribe();
        drop(sender);
        let told = told(news, Ok(Standing::UnderWay)).await;
        ensure!(matches!(told[..], [Reply::Error(_)]), "{told:?}");
        Ok(())
    }
}
