//! What a service manager such as systemd is told: that the agent is ready, reads its configuration again, ends; and, as often as
//! it wants to hear it, that the fast thread runs and keeps its deadlines. Nothing where there is none (`NOTIFY_SOCKET`).

use std::path::Path;
use std::sync::Arc;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{MissedTickBehavior, interval};

use super::detector::timing::Timing;
use super::reporter::Reporter;
use crate::journal::events::Kind;

/// The agent runs, and answers at `socket`. From now on it is proven that it lives, if that is wanted.
pub(super) fn ready(reporter: &Arc<Reporter>, socket: &Path) {
    let event = Kind::AgentStarted.definition().name;
    tracing::info!(node = reporter.node(), socket = %socket.display(), event, "running");
    tell(&[NotifyState::Ready]);
    // The start is over.
    reporter.granted.settle();
    tokio::spawn(prove(Arc::clone(reporter)));
}

/// Does something about the configuration.
pub(super) async fn reloading<T>(reload: impl Future<Output = T>) -> T {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock"),
    }
    let result = reload.await;
    tell(&[NotifyState::Ready]);
    result
}

/// The agent is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

async fn prove(reporter: Arc<Reporter>) {
    let Some(patience) = watchdog_enabled() else { return };
    let mut ticks = interval(patience / SHARE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Pulse::default();
    loop {
        ticks.tick().await;
        // Who does not answer does not run.
        let Ok(snapshot) = reporter.snapshot().await else { continue };
        let now = Pulse::of(&snapshot.timing);
        if now.is_good_since(before) {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(
                "the fast thread is late more often than not; the service manager is not told that all is well"
            );
        }
        before = now;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // It may be gone, and be back later.
    notify(states).unwrap_or_else(|error| tracing::debug!(%error, "the service manager was not told"));
}

/// How often the fast thread ran, and how often it was late by an advertisement or more.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    ran: u64,
    late: u64,
}

impl Pulse {
    fn of(timing: &Timing) -> Self {
        Self { ran: timing.lateness.count(), late: timing.late }
    }

    /// Who had nothing to do was in time.
    fn is_good_since(self, before: Self) -> bool {
        let (ran, late) = (self.ran - before.ran, self.late - before.late);
        late * 2 <= ran
    }
}

/// It is told so many times while it waits.
const SHARE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_late_more_often_than_not_is_not_well() {
        let before = Pulse { ran: 100, late: 90 };
        for (ran, late, good) in
            [(100, 90, true), (104, 90, true), (104, 92, true), (104, 93, false), (101, 91, false)]
        {
            assert_eq!(Pulse { ran, late }.is_good_since(before), good, "{ran} {late}");
        }
    }
}
