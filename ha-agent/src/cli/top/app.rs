//! What the view knows, and what keys do.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::live::{Input, STALE};
use crate::control::order::{EndStatus, StepStatus};
use crate::control::status::{Status, VhostStatus};
use crate::core::pair::report::Standing;
use crate::journal::history::{Failover, History};

/// All that is shown.
#[derive(Debug, Default)]
pub(super) struct App {
    /// What the agent told last, and when.
    pub(super) status: Option<(Box<Status>, Instant)>,
    /// Why it does not answer.
    pub(super) gone: Option<String>,
    history: History,
    /// What is in front.
    pub(super) front: Front,
    /// Only virtual hosts that have this in their name, interface or addresses.
    pub(super) filter: String,
    /// The failover that was ordered here.
    pub(super) plan: Option<Plan>,
    /// How many virtual hosts are above the first that is shown.
    pub(super) scroll: usize,
}

/// What is in front, and gets the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Front {
    /// Nothing.
    #[default]
    Nothing,
    /// What the keys are.
    Help,
    /// The filter is written.
    Filter,
    /// Whether a failover is really wanted.
    Confirm,
}

/// A failover that was ordered here.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Its steps, each as it stands now.
    pub(super) steps: Vec<StepStatus>,
    /// How it ended, or why it did not begin.
    pub(super) ended: Option<Result<EndStatus, String>>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    GoOn,
    /// The role is to move.
    FailOver,
    /// The view is to end.
    End,
}

impl App {
    /// Takes in what is told.
    pub(super) fn take(&mut self, input: Input, now: Instant) -> Next {
        match input {
            Input::Status(status) => (self.status, self.gone) = (Some((status, now)), None),
            Input::Gone(cause) => self.gone = Some(cause),
            Input::Event(event) => self.history.take(&event),
            Input::Key(key) => return self.press(key),
            Input::Step(step) => {
                let steps = &mut self.plan.get_or_insert_default().steps;
                match steps.iter_mut().find(|known| known.step == step.step) {
                    Some(known) => *known = step,
                    None => steps.push(step),
                }
            }
            Input::Ended(ended) => self.plan.get_or_insert_default().ended = Some(ended),
            Input::Resized => {}
            Input::End => return Next::End,
        }
        Next::GoOn
    }

    /// How old what is shown is, and whether it is too old to be believed.
    pub(super) fn age(&self, now: Instant) -> (Duration, bool) {
        let age = self.status.as_ref().map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at));
        (age, self.gone.is_some() || age > STALE)
    }

    /// The virtual hosts that are looked for.
    pub(super) fn vhosts(&self) -> impl Iterator<Item = &VhostStatus> {
        let all = self.status.iter().flat_map(|(status, _)| &status.vhosts);
        let filter = self.filter.to_lowercase();
        all.filter(move |vhost| {
            let addresses = vhost.addresses.iter().map(ToString::to_string);
            let mut words =
                [vhost.name.to_lowercase(), vhost.interface.to_lowercase()].into_iter().chain(addresses);
            words.any(|word| word.contains(&filter))
        })
    }

    /// The last failovers, the newest first.
    pub(super) fn failovers(&self) -> Vec<Failover> {
        let mut all = self.history.clone().into_failovers();
        all.reverse();
        all
    }

    /// Whether a failover that was ordered here goes on.
    pub(super) fn is_failing_over(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.ended.is_none())
    }

    fn press(&mut self, key: KeyEvent) -> Next {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Next::End;
        }
        match self.front {
            Front::Nothing => return self.command(key.code),
            Front::Help => self.front = Front::Nothing,
            Front::Filter => match key.code {
                KeyCode::Enter => self.front = Front::Nothing,
                KeyCode::Esc => {
                    self.filter.clear();
                    self.front = Front::Nothing;
                }
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Char(c) if !control => self.filter.push(c),
                _ => {}
            },
            Front::Confirm => {
                self.front = Front::Nothing;
                if key.code == KeyCode::Char('y') {
                    self.plan = Some(Plan::default());
                    return Next::FailOver;
                }
            }
        }
        Next::GoOn
    }

    fn command(&mut self, code: KeyCode) -> Next {
        match code {
            KeyCode::Char('q') => return Next::End,
            KeyCode::Char('?' | 'h') => self.front = Front::Help,
            KeyCode::Char('/') => self.front = Front::Filter,
            KeyCode::Char('f') if !self.is_failing_over() => self.front = Front::Confirm,
            KeyCode::Esc => {
                self.filter.clear();
                self.plan = self.plan.take().filter(|plan| plan.ended.is_none());
            }
            KeyCode::Down | KeyCode::Char('j') => {
                self.scroll = (self.scroll + 1).min(self.vhosts().count().saturating_sub(1));
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            _ => {}
        }
        Next::GoOn
    }
}

/// How a step stands, in a word.
pub(super) fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Running => "...",
        Standing::Done => "done",
        Standing::Failed => "failed",
    }
}
