//! A store and an IAM in memory, and the loop that performs a session's effects on them.

use std::collections::BTreeMap;
use std::io;

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::key::{KeyRef, KeyStatus, UserName};
use key_guard_core::lifecycle::effect::{
    ActResult, BudgetKind, CallError, Change, Commit, ConfirmedAction, Effect, FindScope, LogEntry, Reply,
    Retry,
};
use key_guard_core::lifecycle::input::{Action, Ceiling, Env, Input, ListedKey, WorkerId};
use key_guard_core::lifecycle::result::{Next, SessionError, SessionResult};
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::{KeyState, Phase, Record, StoredState, Version};
use key_guard_core::policy::Policy;

use super::{at, key, listed_key, policy};

/// What goes wrong with one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The call is throttled. Nothing happens.
    Throttled,
    /// The call is refused. Nothing happens.
    Refused,
    /// Another process has locked the store. Nothing happens.
    Locked,
    /// It happens, and its reply is lost.
    ReplyLost,
    /// The worker dies before it.
    Killed,
}

/// A store and an IAM with one account, a clock, and the guard's configuration.
pub struct World {
    pub stored: StoredState,
    pub log: Vec<LogEntry>,
    pub budgets: BTreeMap<(BudgetKind, Time), u32>,
    /// IAM's keys, as they are.
    pub keys: Vec<ListedKey>,
    /// What IAM answers with, where that is older than [`World::keys`].
    pub stale: Option<Vec<ListedKey>>,
    pub now: Time,
    /// How long each call takes.
    pub call_time: TimeDelta,
    /// How long an invocation lasts.
    pub time_limit: TimeDelta,
    pub policy: Policy,
    pub ceiling: Ceiling,
    /// What was performed since the last [`World::take_calls`].
    pub calls: Vec<String>,
    /// What was done to keys, and when.
    pub actions: Vec<(UserName, Action, Time)>,
    workers: u32,
}

impl World {
    /// The key exists and is active, and nothing is stored of it. It is 30 seconds old.
    pub fn new(response: &str) -> Self {
        Self {
            stored: StoredState::ABSENT,
            log: Vec::new(),
            budgets: BTreeMap::new(),
            keys: vec![listed_key(KeyStatus::Active)],
            stale: None,
            now: at(30),
            call_time: TimeDelta::milliseconds(50),
            time_limit: TimeDelta::minutes(5),
            policy: policy(response),
            ceiling: Ceiling::Delete,
            calls: Vec::new(),
            actions: Vec::new(),
            workers: 0,
        }
    }

    pub fn worker(&mut self) -> WorkerId {
        self.workers += 1;
        WorkerId(format!("worker-{}", self.workers))
    }

    /// Deals with `input` in a session of its own.
    pub fn process(&mut self, input: Input) -> Result<SessionResult, SessionError> {
        self.process_with(input, |_, _| Fault::None)
    }

    /// The same; `fault` is asked before each effect and may change the world.
    pub fn process_with(
        &mut self,
        input: Input,
        fault: impl FnMut(&mut Self, &Effect) -> Fault,
    ) -> Result<SessionResult, SessionError> {
        self.run(Session::new(key(), input), fault)
    }

    /// Deals with `input` in a session whose worker dies just before its action.
    pub fn kill_before_action(&mut self, input: Input) {
        let result = self.process_with(input, |_, effect| match effect {
            Effect::Act(_) => Fault::Killed,
            _ => Fault::None,
        });
        result.unwrap_err();
    }

    /// The same as a sweep or a resume does it: the state was read before.
    pub fn process_loaded(&mut self, input: Input) -> Result<SessionResult, SessionError> {
        let session = Session::with_state(key(), input, self.stored.clone());
        self.run(session, |_, _| Fault::None)
    }

    /// Runs a session to its end. [`Fault::Killed`] ends it as [`SessionError::OutOfTime`].
    pub fn run(
        &mut self,
        mut session: Session,
        mut fault: impl FnMut(&mut Self, &Effect) -> Fault,
    ) -> Result<SessionResult, SessionError> {
        let worker = self.worker();
        let deadline = self.now + self.time_limit;
        let mut reply = Reply::Start;
        loop {
            let env =
                Env { policy: &self.policy, ceiling: self.ceiling, now: self.now, deadline, worker: &worker };
            reply = match session.advance(reply, &env) {
                Next::Finished(result) => return result,
                Next::Wait(delay) => {
                    self.now += delay;
                    Reply::Waited
                }
                Next::Perform(effect) => {
                    self.calls.push(name_of(&effect));
                    let fault = fault(self, &effect);
                    self.now += self.call_time;
                    match fault {
                        Fault::None => self.perform(&effect),
                        Fault::Throttled => failed(Retry::Transient),
                        Fault::Refused => failed(Retry::Permanent),
                        Fault::Locked => failed(Retry::Locked),
                        Fault::ReplyLost => {
                            self.perform(&effect);
                            failed(Retry::Transient)
                        }
                        Fault::Killed => return Err(SessionError::OutOfTime),
                    }
                }
            };
        }
    }

    /// Deals with many inputs at once, each in a session and a worker of its own, one effect at a time.
    pub fn process_together(&mut self, inputs: Vec<Input>) -> Vec<Result<SessionResult, SessionError>> {
        let started = self.now;
        let mut running: Vec<_> = inputs
            .into_iter()
            .map(|input| (self.now, self.worker(), Session::new(key(), input), Reply::Start))
            .collect();
        let mut results = Vec::new();
        while !running.is_empty() {
            let next = (0..running.len()).min_by_key(|index| running[*index].0).unwrap();
            let (time, worker, mut session, reply) = running.swap_remove(next);
            self.now = time;
            let deadline = started + self.time_limit;
            let env =
                Env { policy: &self.policy, ceiling: self.ceiling, now: time, deadline, worker: &worker };
            match session.advance(reply, &env) {
                Next::Finished(result) => results.push(result),
                Next::Wait(delay) => running.push((time + delay, worker, session, Reply::Waited)),
                Next::Perform(effect) => {
                    let reply = self.perform(&effect);
                    running.push((time + self.call_time, worker, session, reply));
                }
            }
        }
        results
    }

    pub fn perform(&mut self, effect: &Effect) -> Reply {
        match effect {
            Effect::Load(_) => Reply::Loaded(self.stored.clone()),
            Effect::Commit(commit) => self.commit(commit),
            Effect::Append(entry) => {
                if !self.log.contains(entry) {
                    self.log.push(LogEntry::clone(entry));
                }
                Reply::Appended
            }
            Effect::Find { key, scope } => Reply::Found(self.find(key, scope)),
            Effect::Act(action) => Reply::Acted(self.act(action)),
        }
    }

    fn commit(&mut self, commit: &Commit) -> Reply {
        if commit.expected != self.stored.version {
            return Reply::Conflict(self.stored.clone());
        }
        if let Some(budget) = &commit.counts {
            let used = self.budgets.entry((budget.kind, budget.hour)).or_default();
            if *used >= budget.limit {
                return Reply::RateLimited;
            }
            *used += 1;
        }
        let version = Version(self.stored.version.0 + 1);
        self.stored = StoredState { version, state: commit.next.clone() };
        self.log.push(commit.log.clone());
        Reply::Committed(version)
    }

    fn find(&self, key: &KeyRef, scope: &FindScope) -> Option<ListedKey> {
        let listed = self.stale.as_ref().unwrap_or(&self.keys);
        let is_there = |listed: &&ListedKey| match scope {
            FindScope::User(user) => listed.user.is_same_user(user),
            FindScope::Account => true,
        };
        listed.iter().filter(is_there).find(|listed| listed.key == *key).cloned()
    }

    fn act(&mut self, action: &ConfirmedAction) -> ActResult {
        let Some(index) = self
            .keys
            .iter()
            .position(|listed| listed.key == *action.key() && listed.user.is_same_user(action.user()))
        else {
            return ActResult::NotThere;
        };
        self.actions.push((action.user().clone(), action.action(), self.now));
        match action.action() {
            Action::Delete => {
                self.keys.remove(index);
            }
            Action::Deactivate => self.keys[index].status = KeyStatus::Inactive,
        }
        ActResult::Done
    }

    /// Time passes.
    pub fn wait(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    /// The key's owner sets its status.
    pub fn set_status(&mut self, status: KeyStatus) {
        for listed in self.keys.iter_mut().filter(|listed| listed.key == key()) {
            listed.status = status;
        }
    }

    /// The key's user is renamed.
    pub fn rename(&mut self, name: &str) {
        for listed in &mut self.keys {
            listed.user = name.parse().unwrap();
        }
    }

    /// From now on IAM answers with what is true at this moment.
    pub fn freeze_lists(&mut self) {
        self.stale = Some(self.keys.clone());
    }

    /// The key's status in IAM. `None`: it does not exist.
    pub fn status(&self) -> Option<KeyStatus> {
        self.keys.iter().find(|listed| listed.key == key()).map(|listed| listed.status)
    }

    pub fn record(&self) -> &Record {
        self.stored.state.record().expect("the key has a record")
    }

    pub fn phase(&self) -> &Phase {
        &self.record().phase
    }

    pub fn state(&self) -> &KeyState {
        &self.stored.state
    }

    /// What was performed since the last time.
    pub fn take_calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.calls)
    }

    /// What the log says, in order.
    pub fn changes(&self) -> Vec<Change> {
        self.log.iter().map(|entry| entry.change.clone()).collect()
    }

    /// Spends a budget of the current hour.
    pub fn spend(&mut self, kind: BudgetKind) {
        let hour = self.now.timestamp().div_euclid(3_600) * 3_600;
        self.budgets.insert((kind, Time::from_timestamp(hour, 0).unwrap()), u32::MAX);
    }
}

fn name_of(effect: &Effect) -> String {
    match effect {
        Effect::Load(_) => "Load",
        Effect::Commit(_) => "Commit",
        Effect::Append(_) => "Append",
        Effect::Find { scope: FindScope::User(_), .. } => "Find user",
        Effect::Find { scope: FindScope::Account, .. } => "Find account",
        Effect::Act(_) => "Act",
    }
    .to_owned()
}

fn failed(retry: Retry) -> Reply {
    Reply::Failed(CallError { call: "a call", retry, source: Box::new(io::Error::other("throttled")) })
}
