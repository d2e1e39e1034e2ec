//! The task that carries out plans.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::calls::{Call, Calls, Ended, Found};
use super::shown::{Doing, Shown, StepTime};
use super::{Condition, Duties, From, GRACE, Order, Part, Report};
use crate::core::Instant;
use crate::core::pair::Generation;
use crate::core::plan::{Outcome, Phase, Policy, Run, Standing, Verdict};
use crate::resource::{Failure, Stop, Within};
use crate::sys::clock;

/// Whoever carries them out.
#[derive(Debug)]
pub(super) struct Task {
    duties: Duties,
    calls: Calls,
    ended: mpsc::UnboundedReceiver<Ended>,
    reports: mpsc::UnboundedSender<Report>,
    shown: watch::Sender<Shown>,
    doing: Doing,
    from: From,
    run: Option<Run>,
    /// Counts the plans: what an earlier one began and ends only now is not of this one.
    epoch: u64,
    began: Instant,
    /// Ends the calls of the plan that runs.
    stop: Stop,
    /// What was reported of it.
    told: Option<Verdict>,
    condition: Condition,
    looks: u64,
    /// How each part was looked after since the plan began.
    looked: Vec<Looked>,
}

/// How a part was looked after.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    /// When it was last looked at, or taken anew.
    at: Option<Instant>,
    /// How often in a row something was wrong with it where it is served.
    amiss: u32,
    /// How often in a row it was served, but not as safely as it should be.
    weak: u32,
    /// How often it was taken anew.
    revived: u32,
}

impl Task {
    pub(super) fn new(
        duties: Duties,
        reports: mpsc::UnboundedSender<Report>,
        shown: watch::Sender<Shown>,
    ) -> std::io::Result<Self> {
        let (calls, ended) = Calls::new(duties.parts.len());
        let (doing, began) = (Doing::Nothing, clock::now());
        let stop = Stop::new()?;
        shown.send_replace(duties.shown());
        let looked = vec![Looked::default(); duties.parts.len()];
        Ok(Self {
            duties,
            calls,
            ended,
            reports,
            shown,
            doing,
            from: From::Dead,
            run: None,
            epoch: 0,
            began,
            stop,
            told: None,
            condition: Condition::Well,
            looks: 0,
            looked,
        })
    }

    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut looks = looks();
        loop {
            let hangs = self.run.as_ref().and_then(Run::poll_timeout);
            let left = hangs.map(|at| at.saturating_since(clock::now()));
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return self.stop.give(),
                },
                Some(ended) = self.ended.recv() => self.note(ended),
                () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => self.expire(),
                _ = looks.tick() => self.look(),
            }
            self.go_on();
            self.duties.health.renew();
            self.shown.send_if_modified(|shown| {
                let is_new = shown.doing != self.doing;
                shown.doing = self.doing;
                is_new
            });
        }
    }

    fn obey(&mut self, order: Order) {
        let now = clock::now();
        match order {
            Order::Take(term, from) => {
                self.from = from;
                self.begin(now, Doing::Taking(term, now), self.duties.take.clone());
            }
            Order::Release(term) => {
                self.begin(now, Doing::Releasing(term, now), self.duties.release.clone());
            }
            Order::Serve(term) => {
                if let (Doing::Taking(taking, _), Some(run)) = (self.doing, &mut self.run)
                    && taking == term
                {
                    run.finish(now, self.duties.parts.len(), Outcome::Done);
                }
            }
            Order::Lost => {
                if let Some(term) = self.doing.term() {
                    self.report(Report::Lost(term));
                }
            }
        }
    }

    fn begin(&mut self, now: Instant, doing: Doing, plan: crate::core::plan::Plan) {
        // Whatever goes on makes way.
        self.stop.give();
        match Stop::new() {
            Ok(stop) => self.stop = stop,
            // Each call says so: it was told to stop.
            Err(error) => tracing::error!("nothing can be taken or released: {error}"),
        }
        (self.epoch, self.doing, self.told, self.began) = (self.epoch + 1, doing, None, now);
        self.looked.fill(Looked::default());
        self.run = Some(Run::new(plan));
        self.shown.send_modify(|shown| {
            if let Doing::Taking(..) = doing {
                shown.last.clear();
            }
            for part in &mut shown.parts {
                (part.standing, part.bad) = (Standing::Waiting, false);
                part.faults.clear();
                part.remarks.clear();
            }
        });
    }

    /// Begins what can be begun, and reports what is new.
    fn go_on(&mut self) {
        let now = clock::now();
        let addresses = self.duties.parts.len();
        while let Some(step) = self.run.as_mut().and_then(|run| run.begin_next(now)) {
            if let Some(part) = self.duties.parts.get(step) {
                let call = if self.doing.takes() { Call::Take } else { Call::Release };
                let within = self.within(part, call);
                self.calls.make(self.epoch, step, part, call, within);
            } else if let Doing::Taking(term, _) = self.doing {
                self.report(Report::Prepared(term));
            } else if let Some(run) = &mut self.run {
                // They are gone already.
                run.finish(now, addresses, Outcome::Done);
            }
        }
        let Some(run) = &self.run else { return };
        self.shown.send_if_modified(|shown| {
            let mut is_new = false;
            for (part, standing) in shown.parts.iter_mut().zip(run.standings()) {
                is_new |= part.standing != *standing;
                part.standing = *standing;
            }
            is_new
        });
        let verdict = run.verdict();
        if verdict.is_some() && verdict != self.told {
            self.told = verdict;
            self.conclude(verdict.unwrap_or(Verdict::Failed));
        }
    }

    fn conclude(&mut self, verdict: Verdict) {
        let took = clock::now().saturating_since(self.began);
        let (report, doing) = match (self.doing, verdict) {
            (Doing::Taking(term, _) | Doing::Releasing(term, _), Verdict::SelfFence) => {
                (Some(Report::SelfFence(term)), Doing::Unclear(term))
            }
            (Doing::Taking(term, _), Verdict::Failed) => {
                (Some(Report::TakeFailed(term)), Doing::Unclear(term))
            }
            (Doing::Taking(term, _), Verdict::Done | Verdict::InPart) => (None, Doing::Serving(term)),
            (Doing::Releasing(term, _), Verdict::Failed) => {
                (Some(Report::ReleaseFailed(term)), Doing::Unclear(term))
            }
            (Doing::Releasing(term, _), Verdict::Done | Verdict::InPart) => {
                (Some(Report::Released(term)), Doing::Nothing)
            }
            (doing @ (Doing::Nothing | Doing::Serving(_) | Doing::Unclear(_)), _) => (None, doing),
        };
        let times = self.times();
        if self.doing.takes() {
            self.shown.send_modify(|shown| shown.last.clone_from(&times));
        }
        let steps: Vec<String> = times.iter().map(StepTime::to_string).collect();
        let what = if self.doing.takes() { "takeover" } else { "release" };
        match verdict {
            Verdict::Done => {
                tracing::info!("{what} done within {} ms: {}", took.as_millis(), steps.join(", "));
            }
            Verdict::InPart => {
                tracing::warn!("{what} done in part within {} ms: {}", took.as_millis(), steps.join(", "));
            }
            Verdict::Failed | Verdict::SelfFence => {
                tracing::error!("{what} failed after {} ms: {}", took.as_millis(), steps.join(", "));
            }
        }
        self.doing = doing;
        if doing == Doing::Nothing {
            // Could it be taken back? The next look tells.
            self.looks = 0;
        }
        if let Some(report) = report {
            self.report(report);
        }
    }

    /// How long each step took, or has taken until now.
    fn times(&self) -> Vec<StepTime> {
        let Some(run) = &self.run else { return Vec::new() };
        let now = clock::now();
        let time = |(step, standing): (&crate::core::plan::Step, &Standing)| {
            let (since, until, well) = match *standing {
                Standing::Done { since, until } => (since, until, true),
                Standing::Failed { since, until } => (since, until, false),
                Standing::Running { since } | Standing::Hung { since } => (since, now, false),
                Standing::Waiting | Standing::Skipped => return None,
            };
            let began = since.saturating_since(self.began);
            let took = until.saturating_since(since);
            Some(StepTime { name: step.name.clone(), phase: step.phase, began, took, well })
        };
        let mut times: Vec<_> = run.steps().iter().zip(run.standings()).filter_map(time).collect();
        times.sort_by_key(|time| time.began);
        times
    }

    /// A call has ended.
    fn note(&mut self, ended: Ended) {
        let Ended { epoch, part, call, found } = ended;
        if epoch != self.epoch {
            return;
        }
        match call {
            Call::Take | Call::Release => self.note_step(part, found),
            Call::Check | Call::Examine => self.note_look(part, call, found),
            // The next look tells how it went.
            Call::Revive => {}
        }
    }

    fn note_step(&mut self, part: usize, found: Found) {
        let (outcome, remarks, faults) = match found {
            Found::Well(remarks) => (Outcome::Done, remarks, Vec::new()),
            Found::Weak(failures) | Found::Bad(failures) => (Outcome::Failed, Vec::new(), failures),
        };
        let name = self.name(part);
        for remark in &remarks {
            tracing::info!("{name}: {remark}");
        }
        for fault in &faults {
            tracing::error!("{name}: {fault}");
        }
        self.show(part, |shown| {
            (shown.bad, shown.remarks, shown.faults) = (!faults.is_empty(), remarks, faults);
        });
        if let Some(run) = &mut self.run {
            run.finish(clock::now(), part, outcome);
        }
    }

    /// Names what hangs.
    fn expire(&mut self) {
        let Some(run) = &mut self.run else { return };
        for step in run.expire(clock::now()) {
            self.show_that_it_hangs(step, if self.doing.takes() { "taken" } else { "released" });
        }
    }

    fn show_that_it_hangs(&self, part: usize, what: &str) {
        let failure = Failure::hangs(&self.name(part), what);
        self.show(part, |shown| {
            if !shown.faults.contains(&failure) {
                tracing::error!("{failure}");
            }
            (shown.bad, shown.faults) = (true, vec![failure]);
        });
    }

    /// Looks after everything, one call for each part that is not busy.
    fn look(&mut self) {
        let call = match self.doing {
            Doing::Serving(_) => Call::Check,
            Doing::Nothing if self.looks.is_multiple_of(EXAMINE) => Call::Examine,
            Doing::Nothing | Doing::Taking(..) | Doing::Releasing(..) | Doing::Unclear(_) => {
                self.looks += 1;
                return;
            }
        };
        self.looks += 1;
        let now = clock::now();
        for (index, part) in self.duties.parts.iter().enumerate() {
            let Some(looked) = self.looked.get_mut(index) else { continue };
            if !self.calls.is_busy(index) {
                looked.at = Some(now);
                let within = self.within(part, call);
                self.calls.make(self.epoch, index, part, call, within);
            } else if looked.at.is_some_and(|at| now.saturating_since(at) > LOOK.max(part.take) + GRACE) {
                self.show_that_it_hangs(index, "looked after");
            }
        }
        self.tell_condition();
    }

    fn note_look(&mut self, part: usize, call: Call, found: Found) {
        let serves = matches!(self.doing, Doing::Serving(_));
        // What was looked at before things changed.
        if serves != (call == Call::Check) {
            return;
        }
        let (amiss, weak, faults) = match found {
            Found::Well(_) => (false, false, Vec::new()),
            Found::Weak(faults) => (false, serves, faults),
            Found::Bad(faults) => (true, false, faults),
        };
        let bad = amiss && !(serves && self.may_pass(part));
        if let Some(looked) = self.looked.get_mut(part).filter(|_| !amiss) {
            looked.amiss = 0;
            looked.weak = if weak { looked.weak.saturating_add(1) } else { 0 };
        }
        let name = self.name(part);
        self.show(part, |shown| {
            if shown.faults != faults {
                for fault in &faults {
                    tracing::warn!("{name}: {fault}");
                }
                if faults.is_empty() {
                    tracing::info!("{name}: all is well again");
                }
            }
            (shown.bad, shown.faults) = (bad, faults);
        });
        self.tell_condition();
    }

    /// Whether what is amiss with a part that is served may pass: it was seen once only, or it is a service, which is started
    /// anew a few times.
    fn may_pass(&mut self, index: usize) -> bool {
        let (Some(part), Some(looked)) = (self.duties.parts.get(index), self.looked.get_mut(index)) else {
            return false;
        };
        looked.amiss += 1;
        if part.phase >= Phase::Services && looked.revived < REVIVALS {
            looked.revived += 1;
            looked.at = Some(clock::now());
            tracing::warn!("{}: it is started again", part.resource.name());
            let within = Within::new(part.take, self.stop.clone()).handed_over();
            self.calls.make(self.epoch, index, part, Call::Revive, within);
            return true;
        }
        looked.amiss < TWICE
    }

    fn tell_condition(&mut self) {
        let shown = self.shown.borrow();
        let needed = self.duties.parts.iter().zip(shown.parts.iter().zip(&self.looked));
        let needed = needed.filter(|(part, _)| part.policy != Policy::GoOn);
        let conditions = needed.map(|(_, (shown, looked))| match shown.bad {
            true => Condition::Bad,
            false if looked.weak >= TWICE => Condition::Weak,
            false => Condition::Well,
        });
        let condition = conditions.max().unwrap_or_default();
        drop(shown);
        if condition != self.condition {
            self.condition = condition;
            self.report(Report::Condition(condition));
        }
    }

    fn within(&self, part: &Part, call: Call) -> Within {
        let time = match call {
            Call::Take | Call::Revive => part.take,
            Call::Release => part.release,
            Call::Check | Call::Examine => LOOK,
        };
        let within = Within::new(time, self.stop.clone());
        match self.from {
            From::Released => within.handed_over(),
            From::Dead => within,
        }
    }

    fn name(&self, part: usize) -> String {
        let part = self.duties.parts.get(part);
        part.map_or_else(|| Phase::Addresses.name().to_owned(), |part| part.resource.name().to_owned())
    }

    fn show(&self, part: usize, change: impl FnOnce(&mut super::PartShown)) {
        self.shown.send_modify(|shown| {
            if let Some(part) = shown.parts.get_mut(part) {
                change(part);
            }
        });
    }

    fn report(&self, report: Report) {
        // Nobody may be left to hear it.
        let _ = self.reports.send(report);
    }
}

impl Doing {
    fn takes(self) -> bool {
        match self {
            Self::Taking(..) | Self::Serving(_) => true,
            Self::Nothing | Self::Releasing(..) | Self::Unclear(_) => false,
        }
    }

    fn term(self) -> Option<Generation> {
        match self {
            Self::Taking(term, _) | Self::Serving(term) | Self::Releasing(term, _) | Self::Unclear(term) => {
                Some(term)
            }
            Self::Nothing => None,
        }
    }
}

/// The name and the time.
impl std::fmt::Display for StepTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if self.well { "" } else { " (failed)" };
        write!(f, "{} {} ms{how}", self.name, self.took.as_millis())
    }
}

fn looks() -> Interval {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// How often what is served is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a look at a part may take.
const LOOK: Duration = Duration::from_secs(10);
/// How often something must be amiss, one look after the other, to count.
const TWICE: u32 = 2;
/// How often a service is started anew while it is served.
const REVIVALS: u32 = 3;
/// After how many of these times what is not taken is looked at.
const EXAMINE: u64 = 5;
