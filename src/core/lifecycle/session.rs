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
use super::input::{Action, Env, Input, KeyEventKind, ListedKey, Sighting, TriggerKind};
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
    has_renewed_lease: bool,
}

/// What a session waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    New,
    Loading,
    Committing { then: Then, taken_over: bool },
    Appending,
    WaitingForLease,
    Inspecting { scope: FindScope },
    Finding { enforcement: Enforcement, scope: FindScope },
    Acting(Execution),
    CommittingOutcome(Execution),
    AppendingOutcome { enforcement: Enforcement },
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
            has_renewed_lease: false,
            end: SessionEnd::Left(Reason::AlreadyKnown),
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
            (Stage::Committing { then, taken_over }, Reply::Committed(version)) => {
                let stored = self.written(version);
                self.committed(stored, then, taken_over, env)
            }
            (Stage::Committing { then, taken_over }, Reply::Conflict(stored)) => {
                if self.is_own_commit(&stored, env) {
                    self.committed(stored, then, taken_over, env)
                } else {
                    self.knows(stored);
                    self.decide(env)
                }
            }
            (Stage::Committing { then, taken_over }, Reply::RateLimited) => {
                self.rate_limited(then, taken_over, env)
            }
            (Stage::Appending, Reply::Appended) => self.finish(),
            (Stage::Inspecting { scope }, Reply::Found(found)) => self.inspected(&scope, found, env),
            (Stage::Finding { enforcement, scope }, Reply::Found(found)) => {
                self.found(enforcement, &scope, found, env)
            }
            (Stage::Acting(execution), Reply::Acted(ActResult::Done)) => self.acted(execution, env),
            (Stage::Acting(execution), Reply::Acted(ActResult::NotThere)) => {
                self.not_there(execution.enforcement, env)
            }
            (Stage::CommittingOutcome(execution), Reply::Committed(version)) => {
                let stored = self.written(version);
                self.outcome_committed(&execution.enforcement, stored, env)
            }
            (Stage::CommittingOutcome(execution), Reply::Conflict(stored)) => {
                self.outcome_conflict(execution, stored, env)
            }
            (Stage::AppendingOutcome { enforcement }, Reply::Appended) => self.enforced(&enforcement, env),
            (_, reply) => self.fail(SessionError::UnexpectedReply { reply: format!("{reply:?}") }),
        }
    }

    fn start(&mut self, env: &Env<'_>) -> Next {
        let mut is_creation = false;
        if let Input::Event(event) = &self.input {
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
            Decision::Leave(reason) => self.finish_without_change(SessionEnd::Left(reason)),
            Decision::Append(heard) => {
                self.note(SessionEnd::Logged(heard));
                let entry = self.log(Change::Heard(heard), env);
                self.perform(Effect::Append(Box::new(entry)), Stage::Appending, env)
            }
            Decision::Inspect => self.inspect(env),
            Decision::Commit { next, change, then, taken_over } => {
                self.commit(*next, change, Stage::Committing { then, taken_over }, env)
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
        let named = match &self.input {
            Input::Event(event) => event.user(),
            Input::Listed { .. } | Input::NotListed { .. } | Input::Resume => None,
        };
        let scope = known.or(named).map_or(FindScope::Account, |user| FindScope::User(user.clone()));
        self.find(scope.clone(), Stage::Inspecting { scope }, env)
    }

    fn inspected(&mut self, scope: &FindScope, found: Option<ListedKey>, env: &Env<'_>) -> Next {
        if found.is_none() && *scope != FindScope::Account {
            return self.find(FindScope::Account, Stage::Inspecting { scope: FindScope::Account }, env);
        }
        if found.as_ref().is_some_and(|listed| listed.key != self.key) {
            return self.fail(SessionError::OtherKey { key: self.key.clone() });
        }
        self.sighting = Some(Sighting { asked_at: self.sent_at.unwrap_or(env.now), found });
        self.decide(env)
    }

    fn commit(&mut self, next: KeyState, change: Change, stage: Stage, env: &Env<'_>) -> Next {
        let before = self.stored.state.record().map(|record| &record.phase);
        let counts = match (&before, &next) {
            // An intent that was taken over is counted already.
            (Some(Phase::Pending(_)), _) => None,
            (phase, KeyState::Tracked(record)) => deletion_budget(*phase, record, env),
            (_, KeyState::Unknown | KeyState::Unconfirmed(_) | KeyState::Tombstone(_)) => None,
        };
        let log = self.log(change, env);
        let commit = Commit { key: self.key.clone(), expected: self.stored.version, next, log, counts };
        self.perform(Effect::Commit(Box::new(commit)), stage, env)
    }

    fn committed(&mut self, stored: StoredState, then: Then, taken_over: bool, env: &Env<'_>) -> Next {
        self.knows(stored);
        self.end = SessionEnd::Stored;
        match then {
            Then::Finish if taken_over => self.decide_again(env),
            Then::Finish => self.finish(),
            Then::Inspect => self.inspect(env),
            Then::Retry(contradiction) => self.fail(SessionError::unconfirmed(contradiction, &self.key)),
            Then::Enforce => self.enforce(taken_over, env),
        }
    }

    /// The breaker: the deletion becomes a deactivation (R11). The deletion of a key that the guard has deactivated, and
    /// that is still inactive, waits for the next hour.
    fn rate_limited(&mut self, then: Then, taken_over: bool, env: &Env<'_>) -> Next {
        let Some(Effect::Commit(mut commit)) = self.effect.take() else {
            return self.fail(SessionError::UnexpectedReply { reply: "RateLimited".to_owned() });
        };
        let is_inactive = self.stored.state.record().is_some_and(|before| {
            matches!(before.phase, Phase::Deactivated(_))
                && before.known_status() == Some(KeyStatus::Inactive)
        });
        if let KeyState::Tracked(record) = &mut commit.next
            && let Phase::Pending(intent) = &mut record.phase
        {
            if intent.trigger.kind == TriggerKind::QuarantineEnded && is_inactive {
                return self.finish_without_change(SessionEnd::Left(Reason::BudgetSpent));
            }
            intent.action = Action::Deactivate;
            intent.downgraded = Some(Downgrade::Breaker);
            commit.log.change = Change::Intended {
                intent: intent.id.clone(),
                action: intent.action,
                trigger: intent.trigger.kind,
            };
        }
        commit.counts = None;
        self.perform(Effect::Commit(commit), Stage::Committing { then, taken_over }, env)
    }

    fn enforce(&mut self, taken_over: bool, env: &Env<'_>) -> Next {
        let Some((record, intent)) = pending(&self.stored.state) else {
            return self.finish();
        };
        let Some(lease) = &intent.lease else {
            return self.finish();
        };
        let scope = FindScope::User(record.facts.user.clone());
        let enforcement = Enforcement {
            intent: PersistedIntent::confirmed(&self.key, intent, lease.until),
            taken_over,
            searched_again: false,
            started_at: None,
        };
        self.find(scope.clone(), Stage::Finding { enforcement, scope }, env)
    }

    fn found(
        &mut self,
        enforcement: Enforcement,
        scope: &FindScope,
        found: Option<ListedKey>,
        env: &Env<'_>,
    ) -> Next {
        let Some((record, _)) = pending(&self.stored.state) else {
            return self.finish();
        };
        match found {
            Some(listed) if listed.key != self.key => {
                self.fail(SessionError::OtherKey { key: self.key.clone() })
            }
            Some(listed) => match verify(
                record,
                &listed,
                self.sent_at.unwrap_or(env.now),
                &enforcement.intent,
                self.input.is_redelivered_until_reported(),
                env,
            ) {
                Verified::Act(action) => self.act(enforcement, listed, action, env),
                Verified::Settle(next) => {
                    let stage = Stage::Committing { then: Then::Finish, taken_over: enforcement.taken_over };
                    self.commit(KeyState::Tracked(next), Change::Assessed, stage, env)
                }
                Verified::Paused => self.finish(),
            },
            None if *scope != FindScope::Account => {
                let scope = FindScope::Account;
                self.find(scope.clone(), Stage::Finding { enforcement, scope }, env)
            }
            None => self.absent(&enforcement, env),
        }
    }

    fn absent(&mut self, enforcement: &Enforcement, env: &Env<'_>) -> Next {
        let asked_at = self.sent_at.unwrap_or(env.now);
        let Some((record, _)) = pending(&self.stored.state) else {
            return self.finish();
        };
        let taken_over = enforcement.taken_over;
        let (mut next, change, then) = super::steps::absence(record.clone(), asked_at);
        let is_reported = then == Then::Finish && self.input.is_redelivered_until_reported();
        next.note_change(Some(record), is_reported, env.now);
        let next = KeyState::Tracked(Box::new(next));
        self.commit(next, change, Stage::Committing { then, taken_over }, env)
    }

    fn act(
        &mut self,
        mut enforcement: Enforcement,
        listed: ListedKey,
        action: Action,
        env: &Env<'_>,
    ) -> Next {
        if env.now + ACTION_MARGIN >= enforcement.intent.lease_until() {
            return self.renew_lease(&enforcement, &listed, env);
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
    fn renew_lease(&mut self, enforcement: &Enforcement, listed: &ListedKey, env: &Env<'_>) -> Next {
        if self.has_renewed_lease {
            return self.fail(SessionError::LeaseExpiring { key: self.key.clone() });
        }
        self.has_renewed_lease = true;
        let Some((record, intent)) = pending(&self.stored.state) else {
            return self.finish();
        };
        let renewed = Intent { lease: Some(lease(env)), ..intent.clone() };
        let change = Change::Intended {
            intent: renewed.id.clone(),
            action: renewed.action,
            trigger: renewed.trigger.kind,
        };
        let mut next = record.clone();
        next.add_listing(listed, self.sent_at.unwrap_or(env.now));
        next.phase = Phase::Pending(renewed);
        let stage = Stage::Committing { then: Then::Enforce, taken_over: enforcement.taken_over };
        self.commit(KeyState::Tracked(Box::new(next)), change, stage, env)
    }

    fn not_there(&mut self, mut enforcement: Enforcement, env: &Env<'_>) -> Next {
        if enforcement.searched_again {
            return self.fail(SessionError::KeyMoved { key: self.key.clone() });
        }
        enforcement.searched_again = true;
        let scope = FindScope::Account;
        self.find(scope.clone(), Stage::Finding { enforcement, scope }, env)
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

    /// What the store has now that it has confirmed the write.
    fn written(&mut self, version: Version) -> StoredState {
        match self.effect.take() {
            Some(Effect::Commit(commit)) => StoredState { version, state: commit.next },
            Some(Effect::Load(_) | Effect::Append(_) | Effect::Find { .. } | Effect::Act(_)) | None => {
                StoredState { version, ..self.stored.clone() }
            }
        }
    }

    fn outcome_committed(&mut self, enforcement: &Enforcement, stored: StoredState, env: &Env<'_>) -> Next {
        self.knows(stored);
        self.enforced(enforcement, env)
    }

    /// Something else was stored while the action was under way. A deletion is always the last word; a deactivation
    /// counts for its own intent only (R8).
    fn outcome_conflict(&mut self, execution: Execution, stored: StoredState, env: &Env<'_>) -> Next {
        let Some(Effect::Commit(commit)) = self.effect.take() else {
            return self.fail(SessionError::UnexpectedReply { reply: "Conflict".to_owned() });
        };
        let known = self.stored.state.record().cloned();
        self.knows(stored);
        if let Some(next) = outcome_after_conflict(
            &self.stored.state,
            known,
            &execution,
            self.input.is_redelivered_until_reported(),
            env,
        ) {
            return self.commit_outcome(next, execution, env);
        }
        // It may be this session's own write, whose reply was lost. Then its line is stored, and stays the same one.
        let stage = Stage::AppendingOutcome { enforcement: execution.enforcement };
        self.perform(Effect::Append(Box::new(commit.log)), stage, env)
    }

    fn enforced(&mut self, enforcement: &Enforcement, env: &Env<'_>) -> Next {
        if enforcement.taken_over { self.decide_again(env) } else { self.finish() }
    }

    /// The intent of another input is executed. Now it is this input's turn.
    fn decide_again(&mut self, env: &Env<'_>) -> Next {
        self.sighting = None;
        self.decide(env)
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

    /// A transient failure is retried until shortly before the lease or the invocation ends (R7).
    fn failed(&mut self, error: CallError, env: &Env<'_>) -> Next {
        let delay = backoff(self.failures);
        let lease_end = match &self.stage {
            Stage::Finding { enforcement, .. } => Some(enforcement.intent.lease_until() - RETRY_MARGIN),
            Stage::Acting(execution) => Some(execution.enforcement.intent.lease_until() - ACTION_MARGIN),
            Stage::New
            | Stage::Loading
            | Stage::Committing { .. }
            | Stage::Appending
            | Stage::WaitingForLease
            | Stage::Inspecting { .. }
            | Stage::CommittingOutcome(_)
            | Stage::AppendingOutcome { .. }
            | Stage::Ended => None,
        };
        let deadline = env.deadline - RETRY_MARGIN;
        let end = lease_end.map_or(deadline, |end| end.min(deadline));
        if error.retry == Retry::Permanent || env.now + delay >= end {
            return self.fail(SessionError::Call { key: self.key.clone(), source: error });
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
        let (at, cause) = match &self.input {
            Input::Event(event) => {
                let provenance = Box::new(event.provenance.clone());
                // The guard's own steps have the guard's time.
                let is_heard = matches!(change, Change::Heard(_));
                let at = if is_heard { event.provenance.event_time } else { env.now };
                (at, Cause::Event { heard: HeardEvent::of(event), provenance })
            }
            Input::Listed { .. } | Input::NotListed { .. } => (env.now, Cause::Sweep),
            Input::Resume => (env.now, Cause::Resume),
        };
        LogEntry { key: self.key.clone(), at, cause, change }
    }

    /// Notes what this session has done. What it has stored says more than what it has not.
    fn note(&mut self, end: SessionEnd) {
        if self.end != SessionEnd::Stored {
            self.end = end;
        }
    }

    fn finish_without_change(&mut self, end: SessionEnd) -> Next {
        self.note(end);
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
    match &record.phase {
        Phase::Pending(intent) => Some((record, intent)),
        Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) | Phase::Gone(_) => None,
    }
}
