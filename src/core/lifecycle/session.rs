//! The protocol of one key: a reply in, the next effect out.
//!
//! A session makes no decision of its own about what a key deserves: [`steps::decide`](super::steps::decide)
//! does. It puts the effects in their order: the intent is stored, then IAM confirms the key, then the key is changed,
//! then the outcome is stored.

use chrono::TimeDelta;

use crate::Time;
use crate::key::{KeyRef, KeyStatus};

use super::assess::{deletion_budget, lease};
use super::effect::{
    ActResult, CallError, Cause, Change, Commit, ConfirmedAction, Effect, FindScope, HeardEvent, LogEntry,
    PersistedIntent, Reply, Retry,
};
use super::enforce::{Enforcement, Execution, Verified, outcome, outcome_after_conflict, verify};
use super::input::{Action, Env, Input, KeyEvent, KeyEventKind, ListedKey, Sighting, TriggerKind};
use super::result::{Next, SessionError, SessionResult};
use super::state::{Downgrade, Intent, KeyState, Phase, Record, StoredState, Version};
use super::steps::decide;
use super::transition::{Decision, Reason, SessionEnd, Then};
use super::{ACTION_MARGIN, MAX_CLOCK_SKEW, RETRY_MARGIN, backoff};

/// How long to wait for another worker's lease, one wait after the other: 10 seconds in all (R7).
const LEASE_WAITS: [TimeDelta; 6] = [
    TimeDelta::milliseconds(250),
    TimeDelta::milliseconds(500),
    TimeDelta::milliseconds(1_250),
    TimeDelta::seconds(2),
    TimeDelta::seconds(3),
    TimeDelta::seconds(3),
];

/// One key, one input, from start to end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    key: KeyRef,
    input: Input,
    /// The state as this session knows it.
    stored: StoredState,
    /// True once that came from the store.
    is_loaded: bool,
    sighting: Option<Sighting>,
    stage: Stage,
    /// What is under way, for a retry.
    effect: Option<Effect>,
    /// When that was last sent.
    sent_at: Option<Time>,
    failures: u32,
    waits: usize,
    /// What it has done so far.
    end: SessionEnd,
    /// True while the intent under execution is not the input's own. Afterwards the input is applied.
    has_taken_over: bool,
    has_renewed_lease: bool,
}

/// What a session waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    New,
    Loading,
    Committing(Then),
    Appending,
    WaitingForLease,
    Inspecting,
    Finding(Enforcement),
    Acting(Execution),
    CommittingOutcome(Execution),
    AppendingOutcome,
    Ended,
}

impl Session {
    /// A session that knows nothing of the key's state. A creation starts with a conditional write, which costs one
    /// call; everything else starts with a load.
    #[must_use]
    pub const fn new(key: KeyRef, input: Input) -> Self {
        Self {
            key,
            input,
            stored: StoredState::ABSENT,
            is_loaded: false,
            sighting: None,
            stage: Stage::New,
            effect: None,
            sent_at: None,
            failures: 0,
            waits: 0,
            end: SessionEnd::Left(Reason::AlreadyKnown),
            has_taken_over: false,
            has_renewed_lease: false,
        }
    }

    /// A session whose state was just read.
    #[must_use]
    pub fn with_state(key: KeyRef, input: Input, stored: StoredState) -> Self {
        Self { stored, is_loaded: true, ..Self::new(key, input) }
    }

    /// A session for a key that IAM was just asked about (R9).
    #[must_use]
    pub fn with_sighting(key: KeyRef, input: Input, sighting: Sighting) -> Self {
        Self { sighting: Some(sighting), ..Self::new(key, input) }
    }

    /// Which key.
    #[must_use]
    pub const fn key(&self) -> &KeyRef {
        &self.key
    }

    /// What it deals with.
    #[must_use]
    pub const fn input(&self) -> &Input {
        &self.input
    }

    /// Takes the reply to the last effect, and returns what comes next.
    pub fn advance(&mut self, reply: Reply, env: &Env<'_>) -> Next {
        let reply = match reply {
            Reply::Failed(error) => return self.failed(error, env),
            Reply::Waited => return self.waited(env),
            Reply::Found(Some(listed)) if listed.key != self.key => {
                return self.fail(SessionError::OtherKey { key: self.key.clone() });
            }
            reply @ (Reply::Start
            | Reply::Loaded(_)
            | Reply::Committed(_)
            | Reply::Conflict(_)
            | Reply::RateLimited
            | Reply::Appended
            | Reply::Found(_)
            | Reply::Acted(_)) => reply,
        };
        self.failures = 0;
        match (std::mem::replace(&mut self.stage, Stage::Ended), reply) {
            (Stage::New, Reply::Start) => self.start(env),
            (Stage::Loading, Reply::Loaded(stored)) => {
                self.knows(stored);
                self.decide(env)
            }
            (Stage::Committing(then), Reply::Committed(version)) => {
                self.written(version);
                self.committed(then, env)
            }
            (Stage::Committing(then), Reply::Conflict(stored)) => {
                let is_own = self.is_own_commit(&stored, env);
                self.knows(stored);
                if is_own { self.committed(then, env) } else { self.decide(env) }
            }
            (Stage::Committing(then), Reply::RateLimited) => self.rate_limited(then, env),
            (Stage::Appending, Reply::Appended) => self.finish(),
            (Stage::Inspecting, Reply::Found(found)) => self.inspected(found, env),
            (Stage::Finding(enforcement), Reply::Found(found)) => self.found(enforcement, found, env),
            (Stage::Acting(execution), Reply::Acted(ActResult::Done)) => self.acted(execution, env),
            (Stage::Acting(execution), Reply::Acted(ActResult::NotThere)) => {
                self.not_there(execution.enforcement, env)
            }
            (Stage::CommittingOutcome(_), Reply::Committed(version)) => {
                self.written(version);
                self.finish_unless_taken_over(env)
            }
            (Stage::CommittingOutcome(execution), Reply::Conflict(stored)) => {
                self.outcome_conflict(execution, stored, env)
            }
            (Stage::AppendingOutcome, Reply::Appended) => self.finish_unless_taken_over(env),
            (_, reply) => self.fail(SessionError::UnexpectedReply { reply: format!("{reply:?}") }),
        }
    }

    fn start(&mut self, env: &Env<'_>) -> Next {
        let mut is_creation = false;
        if let Some(event) = self.input.event() {
            let event_time = event.provenance.event_time;
            if event_time > env.now + MAX_CLOCK_SKEW {
                return self.fail(SessionError::FutureEvent { event_time, now: env.now });
            }
            is_creation = matches!(event.kind, KeyEventKind::Created(_));
        }
        if self.is_loaded || is_creation { self.decide(env) } else { self.load(env) }
    }

    fn load(&mut self, env: &Env<'_>) -> Next {
        self.perform(Effect::Load(self.key.clone()), Stage::Loading, env)
    }

    fn decide(&mut self, env: &Env<'_>) -> Next {
        if env.now + RETRY_MARGIN >= env.deadline {
            return self.fail(SessionError::OutOfTime);
        }
        match decide(&self.stored.state, &self.input, self.sighting.as_ref(), env) {
            Decision::Leave(reason) => self.leave(reason),
            Decision::Append(heard) => {
                self.note(SessionEnd::Logged(heard));
                let entry = self.log(Change::Heard(heard), env);
                self.perform(Effect::Append(Box::new(entry)), Stage::Appending, env)
            }
            Decision::Inspect => self.inspect(env),
            Decision::Commit { next, change, then, taken_over } => {
                self.has_taken_over = taken_over;
                self.commit(*next, change, Stage::Committing(then), env)
            }
            Decision::Wait => self.wait_for_lease(),
            Decision::Retry(contradiction) => self.fail(SessionError::unconfirmed(contradiction, &self.key)),
        }
    }

    fn wait_for_lease(&mut self) -> Next {
        let Some(wait) = LEASE_WAITS.get(self.waits) else {
            return self.fail(SessionError::KeyLeased { key: self.key.clone() });
        };
        self.waits += 1;
        self.stage = Stage::WaitingForLease;
        Next::Wait(*wait)
    }

    fn inspect(&mut self, env: &Env<'_>) -> Next {
        let known = self.stored.state.record().map(|record| &record.facts.user);
        let named = self.input.event().and_then(KeyEvent::user);
        let scope = known.or(named).cloned().map_or(FindScope::Account, FindScope::User);
        self.find(scope, Stage::Inspecting, env)
    }

    fn inspected(&mut self, found: Option<ListedKey>, env: &Env<'_>) -> Next {
        if found.is_none() && !self.has_searched_account() {
            return self.find(FindScope::Account, Stage::Inspecting, env);
        }
        self.sighting = Some(Sighting { asked_at: self.sent_at.unwrap_or(env.now), found });
        self.decide(env)
    }

    fn commit(&mut self, next: KeyState, change: Change, stage: Stage, env: &Env<'_>) -> Next {
        let before = self.stored.state.record().map(|record| &record.phase);
        let counts = match before {
            // An intent that was taken over is counted already.
            Some(Phase::Pending(_)) => None,
            before => next.record().and_then(|record| deletion_budget(before, record, env)),
        };
        let log = self.log(change, env);
        let commit = Commit { key: self.key.clone(), expected: self.stored.version, next, log, counts };
        self.perform(Effect::Commit(Box::new(commit)), stage, env)
    }

    fn committed(&mut self, then: Then, env: &Env<'_>) -> Next {
        self.end = SessionEnd::Stored;
        match then {
            Then::Finish => self.finish_unless_taken_over(env),
            Then::Inspect => self.inspect(env),
            Then::Retry(contradiction) => self.fail(SessionError::unconfirmed(contradiction, &self.key)),
            Then::Enforce => self.enforce(env),
        }
    }

    /// The breaker: the deletion becomes a deactivation (R11). The deletion of a key that the guard has deactivated, and
    /// that is still inactive, waits for the next hour.
    fn rate_limited(&mut self, then: Then, env: &Env<'_>) -> Next {
        let Some(Effect::Commit(mut commit)) = self.effect.take() else {
            return self.fail(SessionError::UnexpectedReply { reply: "RateLimited".to_owned() });
        };
        let is_inactive = self.stored.state.record().is_some_and(|before| {
            before.phase.deactivation().is_some() && before.known_status() == Some(KeyStatus::Inactive)
        });
        if let KeyState::Tracked(record) = &mut commit.next
            && let Phase::Pending(intent) = &mut record.phase
        {
            if intent.trigger.kind == TriggerKind::QuarantineEnded && is_inactive {
                return self.leave(Reason::BudgetSpent);
            }
            intent.action = Action::Deactivate;
            intent.downgraded = Some(Downgrade::Breaker);
            commit.log.change = Change::intended(intent);
        }
        commit.counts = None;
        self.perform(Effect::Commit(commit), Stage::Committing(then), env)
    }

    fn enforce(&mut self, env: &Env<'_>) -> Next {
        let Some((record, intent)) = pending(&self.stored.state) else {
            return self.finish();
        };
        let Some(lease) = &intent.lease else {
            return self.finish();
        };
        let scope = FindScope::User(record.facts.user.clone());
        let intent = PersistedIntent::confirmed(&self.key, intent, lease.until);
        let enforcement = Enforcement { intent, searched_again: false, started_at: None };
        self.find(scope, Stage::Finding(enforcement), env)
    }

    fn found(&mut self, enforcement: Enforcement, found: Option<ListedKey>, env: &Env<'_>) -> Next {
        let Some((record, _)) = pending(&self.stored.state) else {
            return self.finish();
        };
        let asked_at = self.sent_at.unwrap_or(env.now);
        let Some(listed) = found else {
            if self.has_searched_account() {
                return self.absent(asked_at, env);
            }
            return self.find(FindScope::Account, Stage::Finding(enforcement), env);
        };
        let is_reported = self.input.is_redelivered_until_reported();
        match verify(record, &listed, asked_at, &enforcement.intent, is_reported, env) {
            Verified::Act(action) => self.act(enforcement, listed, action, env),
            Verified::Settle(next) => {
                let stage = Stage::Committing(Then::Finish);
                self.commit(KeyState::Tracked(next), Change::Assessed, stage, env)
            }
            Verified::Paused => self.finish(),
        }
    }

    fn absent(&mut self, asked_at: Time, env: &Env<'_>) -> Next {
        let Some((record, _)) = pending(&self.stored.state) else {
            return self.finish();
        };
        let (mut next, change, then) = super::steps::absence(record.clone(), asked_at);
        let is_reported = then == Then::Finish && self.input.is_redelivered_until_reported();
        next.note_change(Some(record), is_reported, env.now);
        let next = KeyState::Tracked(Box::new(next));
        self.commit(next, change, Stage::Committing(then), env)
    }

    fn act(
        &mut self,
        mut enforcement: Enforcement,
        listed: ListedKey,
        action: Action,
        env: &Env<'_>,
    ) -> Next {
        if env.now + ACTION_MARGIN >= enforcement.intent.lease_until() {
            return self.renew_lease(&listed, env);
        }
        let Some(confirmed) = ConfirmedAction::new(&enforcement.intent, &listed, action) else {
            return self.fail(SessionError::OtherKey { key: self.key.clone() });
        };
        enforcement.started_at.get_or_insert(env.now);
        let execution = Execution { enforcement, listed, action };
        self.perform(Effect::Act(confirmed), Stage::Acting(execution), env)
    }

    /// IAM took longer to find the key than the lease allows, as the lists of a large account do. Once, the user's name of
    /// today is stored with a new lease, so that the next answer comes sooner.
    fn renew_lease(&mut self, listed: &ListedKey, env: &Env<'_>) -> Next {
        if self.has_renewed_lease {
            return self.fail(SessionError::LeaseExpiring { key: self.key.clone() });
        }
        self.has_renewed_lease = true;
        let Some((record, intent)) = pending(&self.stored.state) else {
            return self.finish();
        };
        let renewed = Intent { lease: Some(lease(env)), ..intent.clone() };
        let change = Change::intended(&renewed);
        let mut next = record.clone();
        next.add_listing(listed, self.sent_at.unwrap_or(env.now));
        next.phase = Phase::Pending(renewed);
        let next = KeyState::Tracked(Box::new(next));
        self.commit(next, change, Stage::Committing(Then::Enforce), env)
    }

    fn not_there(&mut self, mut enforcement: Enforcement, env: &Env<'_>) -> Next {
        if enforcement.searched_again {
            return self.fail(SessionError::KeyMoved { key: self.key.clone() });
        }
        enforcement.searched_again = true;
        self.find(FindScope::Account, Stage::Finding(enforcement), env)
    }

    fn acted(&mut self, execution: Execution, env: &Env<'_>) -> Next {
        let Some((record, _)) = pending(&self.stored.state) else {
            return self.finish();
        };
        let next = outcome(record, &execution, self.input.is_redelivered_until_reported(), env);
        self.commit_outcome(next, execution, env)
    }

    fn commit_outcome(&mut self, next: Record, execution: Execution, env: &Env<'_>) -> Next {
        let intent = execution.enforcement.intent.id().clone();
        let change = Change::Acted { intent, action: execution.action };
        self.commit(KeyState::Tracked(Box::new(next)), change, Stage::CommittingOutcome(execution), env)
    }

    /// The store has confirmed the write.
    fn written(&mut self, version: Version) {
        if let Some(Effect::Commit(commit)) = self.effect.take() {
            self.knows(StoredState { version, state: commit.next });
        }
    }

    /// Something else was stored while the action was under way. A deletion is always the last word; a deactivation
    /// counts for its own intent only (R8).
    fn outcome_conflict(&mut self, execution: Execution, stored: StoredState, env: &Env<'_>) -> Next {
        let Some(Effect::Commit(commit)) = self.effect.take() else {
            return self.fail(SessionError::UnexpectedReply { reply: "Conflict".to_owned() });
        };
        let known = self.stored.state.record().cloned();
        self.knows(stored);
        let is_reported = self.input.is_redelivered_until_reported();
        match outcome_after_conflict(&self.stored.state, known, &execution, is_reported, env) {
            Some(next) => self.commit_outcome(next, execution, env),
            // It may be this session's own write, whose reply was lost. Then its line is stored, and stays the same one.
            None => self.perform(Effect::Append(Box::new(commit.log)), Stage::AppendingOutcome, env),
        }
    }

    /// What was to be done is done. If that was for another input's intent, it is this input's turn.
    fn finish_unless_taken_over(&mut self, env: &Env<'_>) -> Next {
        if std::mem::take(&mut self.has_taken_over) {
            self.sighting = None;
            self.decide(env)
        } else {
            self.finish()
        }
    }

    /// True if the last search was among all keys of the account.
    fn has_searched_account(&self) -> bool {
        matches!(self.effect, Some(Effect::Find { scope: FindScope::Account, .. }))
    }

    fn find(&mut self, scope: FindScope, stage: Stage, env: &Env<'_>) -> Next {
        self.perform(Effect::Find { key: self.key.clone(), scope }, stage, env)
    }

    fn perform(&mut self, effect: Effect, stage: Stage, env: &Env<'_>) -> Next {
        self.stage = stage;
        self.sent_at = Some(env.now);
        self.effect = Some(effect.clone());
        Next::Perform(effect)
    }

    fn waited(&mut self, env: &Env<'_>) -> Next {
        match (&self.stage, self.effect.take()) {
            (Stage::WaitingForLease, _) => self.load(env),
            (Stage::Acting(execution), _)
                if env.now + ACTION_MARGIN >= execution.enforcement.intent.lease_until() =>
            {
                self.fail(SessionError::LeaseExpiring { key: self.key.clone() })
            }
            (_, Some(effect)) => self.perform(effect, self.stage.clone(), env),
            (_, None) => self.fail(SessionError::UnexpectedReply { reply: "Waited".to_owned() }),
        }
    }

    /// A transient failure is retried until shortly before the lease or the invocation ends (R7). Once IAM has changed the
    /// key, a locked ledger is waited for, too.
    fn failed(&mut self, error: CallError, env: &Env<'_>) -> Next {
        let delay = backoff(self.failures);
        let has_acted = matches!(self.stage, Stage::CommittingOutcome(_) | Stage::AppendingOutcome);
        let may_succeed = match error.retry {
            Retry::Transient => true,
            Retry::Locked => has_acted,
            Retry::Permanent => false,
        };
        let lease_end = match &self.stage {
            Stage::Finding(enforcement) => Some(enforcement.intent.lease_until() - RETRY_MARGIN),
            Stage::Acting(execution) => Some(execution.enforcement.intent.lease_until() - ACTION_MARGIN),
            Stage::New
            | Stage::Loading
            | Stage::Committing(_)
            | Stage::Appending
            | Stage::WaitingForLease
            | Stage::Inspecting
            | Stage::CommittingOutcome(_)
            | Stage::AppendingOutcome
            | Stage::Ended => None,
        };
        let deadline = env.deadline - RETRY_MARGIN;
        let end = lease_end.map_or(deadline, |end| end.min(deadline));
        if !may_succeed || env.now + delay >= end {
            let (key, source) = (self.key.clone(), error);
            return self.fail(if has_acted {
                SessionError::OutcomeNotRecorded { key, source }
            } else {
                SessionError::Call { key, source }
            });
        }
        self.failures += 1;
        Next::Wait(delay)
    }

    fn knows(&mut self, stored: StoredState) {
        self.stored = stored;
        self.is_loaded = true;
    }

    /// True if this session wrote `stored`: the store's reply was lost. Only the lease of an intent says who did. Any
    /// other state may be another worker's, with another line of history. So it is decided on again.
    fn is_own_commit(&self, stored: &StoredState, env: &Env<'_>) -> bool {
        let Some(Effect::Commit(commit)) = &self.effect else { return false };
        let (Some((_, own)), Some((_, theirs))) = (pending(&commit.next), pending(&stored.state)) else {
            return false;
        };
        own == theirs && own.lease.as_ref().is_some_and(|lease| lease.holder == *env.worker)
    }

    fn log(&self, change: Change, env: &Env<'_>) -> LogEntry {
        let cause = match &self.input {
            Input::Event(event) => {
                Cause::Event { heard: HeardEvent::of(event), provenance: Box::new(event.provenance.clone()) }
            }
            Input::Listed { .. } | Input::NotListed { .. } => Cause::Sweep,
            Input::Resume => Cause::Resume,
        };
        let at = match (&change, &cause) {
            (Change::Heard(_), Cause::Event { provenance, .. }) => provenance.event_time,
            // To take an intent over writes the same line again: history does not grow while a disturbance lasts.
            (Change::Intended { intent, .. }, _) => intent.authorised_at,
            // The guard's own steps have the guard's time.
            _ => env.now,
        };
        LogEntry { key: self.key.clone(), at, cause, change }
    }

    /// Notes what this session has done. What it has stored says more than what it has not.
    fn note(&mut self, end: SessionEnd) {
        if self.end != SessionEnd::Stored {
            self.end = end;
        }
    }

    fn leave(&mut self, reason: Reason) -> Next {
        self.note(SessionEnd::Left(reason));
        self.finish()
    }

    fn finish(&mut self) -> Next {
        self.stage = Stage::Ended;
        Next::Finished(Ok(SessionResult {
            key: self.key.clone(),
            input: self.input.clone(),
            stored: self.stored.clone(),
            end: self.end,
        }))
    }

    fn fail(&mut self, error: SessionError) -> Next {
        self.stage = Stage::Ended;
        Next::Finished(Err(error))
    }
}

/// The record and its intent, where one is pending.
fn pending(state: &KeyState) -> Option<(&Record, &Intent)> {
    let record = state.record()?;
    Some((record, record.phase.intent()?))
}
