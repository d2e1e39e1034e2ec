//! The log's line for an event: one, with the event's name as a field, and what it is about as another.

use tracing::Level;

use super::{Subject, What};
use crate::core::pair::report::Standing;
use crate::core::reasons::Severity;

/// Writes it.
pub(super) fn write(about: Option<&str>, what: &What) {
    let definition = what.kind().definition();
    let is = |subject| about.filter(|_| definition.about == subject);
    let (event, text) = (definition.name, text(what));
    let (vhost, node, reason) = (is(Subject::Vhost), is(Subject::Node), is(Subject::Reason));
    // The level of a line is fixed where it stands.
    match level(what) {
        Some(Level::ERROR) => tracing::error!(vhost, node, reason, event, "{text}"),
        Some(Level::WARN) => tracing::warn!(vhost, node, reason, event, "{text}"),
        Some(Level::INFO) => tracing::info!(vhost, node, reason, event, "{text}"),
        Some(_) => tracing::debug!(vhost, node, reason, event, "{text}"),
        None => {}
    }
}

/// As bad as the event; what only goes on, and what is told in more detail elsewhere, is for those who ask for it.
fn level(what: &What) -> Option<Level> {
    match what {
        // Told once it answers, and where it was found out.
        What::AgentStarted { .. } | What::UpdateFailed { .. } => None,
        What::SwitchoverStep { standing: Standing::Running, .. } | What::TakeoverSteps { .. } => {
            Some(Level::DEBUG)
        }
        // Somebody wants it.
        What::AgentEnded { .. } => Some(Level::INFO),
        other => Some(match other.severity() {
            Severity::Note => Level::INFO,
            Severity::Warning => Level::WARN,
            Severity::Critical => Level::ERROR,
        }),
    }
}

/// The sentence, and what it lacks where nothing stands beside it.
fn text(what: &What) -> String {
    match what {
        What::RoleChanged { from, to } => format!("role: {to}, before: {from}"),
        What::ReasonBegan { reason } => reason.to_string(),
        What::ReasonOver { reason } => format!("{} is over", reason.name()),
        What::Suspicious { .. } => format!("suspicious: {what}"),
        other if other.kind().definition().about == Subject::Pair => format!("pair: {what}"),
        other => other.to_string(),
    }
}
