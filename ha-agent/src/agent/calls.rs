//! Answers what the peer calls for: each call by whoever it is about.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::reporter::Reporter;
use super::shared;
use crate::peer::link::Call;
use crate::update;

/// Answers, for ever; without a link there are no calls.
pub(super) async fn serve(calls: Option<mpsc::Receiver<Call>>, reporter: &Arc<Reporter>) {
    let Some(mut calls) = calls else { return std::future::pending().await };
    while let Some(call) = calls.recv().await {
        let reporter = Arc::clone(reporter);
        // Beside each other: one that waits for something keeps no other one waiting.
        tokio::spawn(async move { answer(call, &reporter).await });
    }
}

async fn answer(call: Call, reporter: &Reporter) {
    let answered = match call.topic.as_str() {
        update::TOPIC => reporter.updates.answer(reporter, &call.payload).await,
        shared::TOPIC => match &reporter.sharing {
            Some(sharing) => sharing.answer(&call.payload).await,
            None => Err("it does not share its configuration; set `shared` in its [peer]".to_owned()),
        },
        _ => Err("this agent does not know what that is about; update it".to_owned()),
    };
    match answered {
        Ok(payload) => call.answer(payload),
        Err(why) => call.refuse(&why),
    }
}
