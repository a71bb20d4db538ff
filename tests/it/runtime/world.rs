//! A store and an IAM in memory, with faults.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bedrock_key_guard::clock::Clock as _;
use bedrock_key_guard::runtime::event::{AttemptStore, EventError, process_event};
use bedrock_key_guard::runtime::executor::{Executor, WorkerIds};
use bedrock_key_guard::runtime::publish::{Delivery, FindingPublisher};
use bedrock_key_guard::runtime::resume::{ResumeError, ResumeRun, run_resume};
use bedrock_key_guard::runtime::sweep::{SweepRun, run_sweep};
use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::key::{AccountId, KeyRef, KeyStatus};
use key_guard_core::lifecycle::effect::{
    ActResult, BudgetKind, CallError, Change, Commit, ConfirmedAction, FindScope, LogEntry, Retry,
};
use key_guard_core::lifecycle::input::{Action, Ceiling, ListedKey};
use key_guard_core::lifecycle::state::{InactiveCause, KeyState, Phase, Record, StoredState, Version};
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, ServiceFilter, Sweep, SweepError, SweepRecord};
use key_guard_core::policy::Policy;
use key_guard_core::ports::{CommitReply, CredentialApi, KeyStore};
use key_guard_core::report::Report;

use super::clock::FakeClock;
use super::{at, parsed, policy};

/// A call, with the number of keys where it may have many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Load(usize),
    Commit(usize),
    Append,
    Find,
    List,
    ListPage,
    Act,
    ResumableKeys,
    KnownKeys,
    LoadSweepRecord,
    PutSweepRecord,
    Publish,
    RecordAttempt,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The worker dies before it.
    KilledBefore,
    /// The worker dies after it.
    KilledAfter,
    /// It happens, and its reply is lost.
    LostReply,
    /// It does not happen, and may be repeated.
    Throttled,
    /// It does not happen, and is not to be repeated.
    Refused,
    /// It never ends.
    Hangs,
}

/// Which calls go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The one with this number.
    Nth(usize),
    /// The first one of this kind.
    First(Call),
    /// Each of this kind.
    Each(Call),
}

/// What another worker does while a key's finding is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DuringPublication {
    #[default]
    Nothing,
    StoresFacts,
    StoresFinding,
}

pub struct World {
    pub clock: FakeClock,
    pub policy: Policy,
    pub ceiling: Ceiling,
    /// How long a call takes.
    pub call_time: Duration,
    /// How long an invocation lasts.
    pub time_limit: TimeDelta,
    pub page_size: usize,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    pub keys: BTreeMap<KeyRef, StoredState>,
    pub log: Vec<LogEntry>,
    budgets: BTreeMap<(AccountId, BudgetKind, Time), u32>,
    pub sweep_records: BTreeMap<AccountId, SweepRecord>,
    pub attempts: BTreeSet<CredentialEvent>,
    /// IAM's keys.
    pub iam: Vec<ListedKey>,
    /// Accounts whose keys cannot be listed.
    pub closed_accounts: BTreeSet<AccountId>,
    pub published: Vec<Report>,
    pub during_publication: DuringPublication,
    /// What was called, and when.
    pub calls: Vec<(Call, Time)>,
    faults: Vec<(When, Fault)>,
    under_way: usize,
    /// The most calls that were under way at a time.
    pub most_under_way: usize,
}

impl World {
    /// IAM has these keys, and nothing is stored. It is half a minute after noon.
    pub fn new(response: &str, keys: Vec<ListedKey>) -> Self {
        Self {
            clock: FakeClock::new(at(30)),
            policy: policy(response),
            ceiling: Ceiling::Delete,
            call_time: Duration::from_millis(50),
            time_limit: TimeDelta::minutes(5),
            page_size: 100,
            state: Mutex::new(State { iam: keys, ..State::default() }),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on, calls are counted from 0, and this happens.
    pub fn fault_at(&self, when: When, fault: Fault) {
        let mut state = self.state();
        state.calls.clear();
        state.faults.push((when, fault));
    }

    /// True if each fault has happened.
    pub fn has_failed(&self) -> bool {
        self.state().faults.is_empty()
    }

    /// What was called since the last time.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls).into_iter().map(|(call, _)| call).collect()
    }

    /// One invocation. `None`: it was killed.
    pub fn invoke<T>(&self, run: impl AsyncFnOnce(&Executor<'_, Self, Self, FakeClock>) -> T) -> Option<T> {
        let workers = WorkerIds::new("request");
        let executor = Executor {
            policy: &self.policy,
            ceiling: self.ceiling,
            deadline: self.clock.now() + self.time_limit,
            workers: &workers,
            store: self,
            api: self,
            clock: &self.clock,
        };
        self.clock.run(run(&executor))
    }

    pub fn deliver(&self, event: &CredentialEvent) -> Option<Result<Report, EventError>> {
        self.invoke(async |executor| process_event(executor, self, parsed(event.clone())).await)
    }

    /// Delivers an event again and again, as Lambda does, until it has its report.
    pub fn redeliver(&self, event: &CredentialEvent) -> Report {
        for _ in 0..4 {
            self.clock.pass(TimeDelta::seconds(61));
            if let Some(Ok(report)) = self.deliver(event) {
                return report;
            }
        }
        panic!("four deliveries failed");
    }

    pub fn resume(&self) -> Option<Result<ResumeRun, ResumeError>> {
        self.invoke(async |executor| run_resume(executor, self, None).await)
    }

    /// Sweeps every account in one invocation.
    pub fn sweep(&self) -> Option<Result<SweepRun, SweepError>> {
        let accounts: BTreeSet<_> = self.state().iam.iter().map(|key| key.key.account.clone()).collect();
        let stored: BTreeSet<_> = self.state().keys.keys().map(|key| key.account.clone()).collect();
        let sweep = Sweep::new(accounts.union(&stored).cloned(), self.policy.services());
        self.invoke(async |executor| run_sweep(executor, sweep, self, &mut ()).await)
    }

    pub fn record(&self, key: &ListedKey) -> Record {
        self.state().stored(&key.key).state.record().expect("the key has a record").clone()
    }

    /// How the key stands in IAM. `None`: it does not exist.
    pub fn status(&self, key: &ListedKey) -> Option<KeyStatus> {
        self.state().iam.iter().find(|listed| listed.key == key.key).map(|listed| listed.status)
    }

    /// What the key's history says, in order.
    pub fn changes(&self, key: &ListedKey) -> Vec<Change> {
        let state = self.state();
        state.log.iter().filter(|entry| entry.key == key.key).map(|entry| entry.change.clone()).collect()
    }

    async fn call<T>(&self, call: Call, perform: impl FnOnce(&mut State) -> T) -> Result<T, Retry> {
        let fault = self.state().begin(call, self.clock.now());
        self.clock.pass_asleep(self.call_time).await;
        match fault {
            Some(Fault::KilledBefore) => {}
            Some(Fault::Throttled) => return self.state().end(Err(Retry::Transient)),
            Some(Fault::Refused) => return self.state().end(Err(Retry::Permanent)),
            Some(Fault::Hangs) => return pending().await,
            Some(Fault::KilledAfter | Fault::LostReply) | None => {
                let mut state = self.state();
                let result = perform(&mut state);
                match fault {
                    Some(Fault::LostReply) => return state.end(Err(Retry::Transient)),
                    None => return state.end(Ok(result)),
                    Some(_) => {}
                }
            }
        }
        self.clock.kill();
        pending().await
    }
}

impl State {
    fn begin(&mut self, call: Call, now: Time) -> Option<Fault> {
        let number = self.calls.len();
        self.calls.push((call, now));
        self.under_way += 1;
        self.most_under_way = self.most_under_way.max(self.under_way);
        let index = self.faults.iter().position(|(when, _)| match when {
            When::Nth(nth) => *nth == number,
            When::First(first) => *first == call,
            When::Each(each) => *each == call,
        })?;
        match self.faults[index] {
            (When::Each(_), fault) => Some(fault),
            (When::Nth(_) | When::First(_), fault) => {
                self.faults.remove(index);
                Some(fault)
            }
        }
    }

    fn end<T>(&mut self, result: T) -> T {
        self.under_way -= 1;
        result
    }

    pub fn stored(&self, key: &KeyRef) -> StoredState {
        self.keys.get(key).cloned().unwrap_or(StoredState::ABSENT)
    }

    fn commit(&mut self, commit: &Commit) -> CommitReply {
        let stored = self.stored(&commit.key);
        assert!(commit.expected <= stored.version, "this version was never stored");
        if commit.expected != stored.version {
            return CommitReply::Conflict(stored);
        }
        if let Some(budget) = &commit.counts {
            let used = self.budgets.entry((budget.account.clone(), budget.kind, budget.hour)).or_default();
            if *used >= budget.limit {
                return CommitReply::RateLimited;
            }
            *used += 1;
        }
        let version = Version(stored.version.0 + 1);
        self.keys.insert(commit.key.clone(), StoredState { version, state: commit.next.clone() });
        self.log.push(commit.log.clone());
        CommitReply::Committed(version)
    }

    fn listed(&self, account: &AccountId, scope: &FindScope) -> Vec<ListedKey> {
        let is_in_scope = |listed: &&ListedKey| match scope {
            FindScope::User(user) => listed.user.is_same_user(user),
            FindScope::Account => true,
        };
        let keys = self.iam.iter().filter(|listed| listed.key.account == *account);
        keys.filter(is_in_scope).cloned().collect()
    }

    fn act(&mut self, action: &ConfirmedAction) -> ActResult {
        let is_it =
            |listed: &ListedKey| listed.key == *action.key() && listed.user.is_same_user(action.user());
        let Some(index) = self.iam.iter().position(is_it) else { return ActResult::NotThere };
        match action.action() {
            Action::Delete => {
                self.iam.remove(index);
            }
            Action::Deactivate => self.iam[index].status = KeyStatus::Inactive,
        }
        ActResult::Done
    }
}

fn failed(retry: Retry) -> CallError {
    CallError { call: "a call", retry, source: "as the test wants".into() }
}

/// A result for each, or the same failure for each.
fn each<T>(count: usize, results: Result<Vec<T>, Retry>) -> Vec<Result<T, CallError>> {
    match results {
        Ok(results) => results.into_iter().map(Ok).collect(),
        Err(retry) => (0..count).map(|_| Err(failed(retry))).collect(),
    }
}

/// A page of these. The cursor is the id of the last key of the page before.
fn page_of_states<'a>(
    all: impl Iterator<Item = (&'a KeyRef, &'a StoredState)>,
    size: usize,
    cursor: Option<&KeyCursor>,
) -> KeyPage<StoredState> {
    let mut all = all.filter(|(key, _)| cursor.is_none_or(|cursor| key.id.as_str() > cursor.0.as_str()));
    let page: Vec<_> = all.by_ref().take(size).collect();
    let next = all.next().and(page.last()).map(|(key, _)| KeyCursor(key.id.as_str().to_owned()));
    KeyPage { keys: page.into_iter().map(|(_, stored)| stored.clone()).collect(), unreadable: 0, next }
}

/// A page of these. The cursor is the number of the page.
fn page<T: Clone>(all: &[T], size: usize, cursor: Option<&KeyCursor>) -> KeyPage<T> {
    let number: usize = cursor.map_or(0, |cursor| cursor.0.parse().unwrap());
    let keys = all.iter().skip(number * size).take(size).cloned().collect();
    let next = (all.len() > (number + 1) * size).then(|| KeyCursor((number + 1).to_string()));
    KeyPage { keys, unreadable: 0, next }
}

fn assert_distinct<'a>(keys: impl ExactSizeIterator<Item = &'a KeyRef>) {
    let count = keys.len();
    assert!(count > 0, "a call for nothing");
    assert_eq!(keys.collect::<BTreeSet<_>>().len(), count, "a key is named twice");
}

impl KeyStore for World {
    async fn load(&self, keys: &[KeyRef]) -> Vec<Result<StoredState, CallError>> {
        assert_distinct(keys.iter());
        let load = |state: &mut State| keys.iter().map(|key| state.stored(key)).collect();
        each(keys.len(), self.call(Call::Load(keys.len()), load).await)
    }

    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitReply, CallError>> {
        assert_distinct(commits.iter().map(|commit| &commit.key));
        let commit = |state: &mut State| commits.iter().map(|commit| state.commit(commit)).collect();
        each(commits.len(), self.call(Call::Commit(commits.len()), commit).await)
    }

    async fn append(&self, entry: &LogEntry) -> Result<(), CallError> {
        let append = |state: &mut State| {
            if !state.log.contains(entry) {
                state.log.push(entry.clone());
            }
        };
        self.call(Call::Append, append).await.map_err(failed)
    }

    async fn resumable_keys(&self, cursor: Option<&KeyCursor>) -> Result<KeyPage<StoredState>, CallError> {
        let is_resumable = |stored: &StoredState| {
            stored.state.record().is_some_and(|record| match record.phase {
                Phase::Pending(_) => true,
                Phase::Gone(_) => false,
                Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) => record.delete_after.is_some(),
            })
        };
        let list = |state: &mut State| {
            let keys = state.keys.iter().filter(|(_, stored)| is_resumable(stored));
            page_of_states(keys, self.page_size, cursor)
        };
        self.call(Call::ResumableKeys, list).await.map_err(failed)
    }

    async fn known_keys(
        &self,
        account: &AccountId,
        ended_since: Option<Time>,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<StoredState>, CallError> {
        let is_asked_for = |stored: &StoredState| {
            stored.state.record().is_some_and(|record| match record.phase {
                Phase::Gone(_) => {
                    record.unreported || ended_since.is_none_or(|since| record.changed_at >= since)
                }
                Phase::Settled | Phase::Pending(_) | Phase::Deactivated(_) | Phase::Inactive(_) => true,
            })
        };
        let list = |state: &mut State| {
            let keys = state.keys.iter().filter(|(key, _)| key.account == *account);
            page_of_states(keys.filter(|(_, stored)| is_asked_for(stored)), self.page_size, cursor)
        };
        self.call(Call::KnownKeys, list).await.map_err(failed)
    }

    async fn load_sweep_record(&self, account: &AccountId) -> Result<Option<SweepRecord>, CallError> {
        let load = |state: &mut State| state.sweep_records.get(account).copied();
        self.call(Call::LoadSweepRecord, load).await.map_err(failed)
    }

    async fn put_sweep_record(&self, account: &AccountId, record: &SweepRecord) -> Result<(), CallError> {
        let put = |state: &mut State| {
            state.sweep_records.insert(account.clone(), *record);
        };
        self.call(Call::PutSweepRecord, put).await.map_err(failed)
    }
}

impl CredentialApi for World {
    async fn find(&self, key: &KeyRef, scope: &FindScope) -> Result<Option<ListedKey>, CallError> {
        let find = |state: &mut State| {
            state.listed(&key.account, scope).into_iter().find(|listed| listed.key == *key)
        };
        self.call(Call::Find, find).await.map_err(failed)
    }

    async fn list(&self, account: &AccountId, scope: &FindScope) -> Result<Vec<ListedKey>, CallError> {
        self.call(Call::List, |state| state.listed(account, scope)).await.map_err(failed)
    }

    async fn list_page(
        &self,
        account: &AccountId,
        service: &ServiceFilter,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<ListedKey>, CallError> {
        let list = |state: &mut State| {
            if state.closed_accounts.contains(account) {
                return Err(Retry::Permanent);
            }
            let mut keys = state.listed(account, &FindScope::Account);
            keys.retain(|listed| match service {
                ServiceFilter::All => true,
                ServiceFilter::Only(only) => listed.service == *only,
            });
            Ok(page(&keys, self.page_size, cursor))
        };
        self.call(Call::ListPage, list).await.flatten().map_err(failed)
    }

    async fn act(&self, action: &ConfirmedAction) -> Result<ActResult, CallError> {
        self.call(Call::Act, |state| state.act(action)).await.map_err(failed)
    }
}

impl FindingPublisher for World {
    async fn publish(&self, report: &Report) -> Result<Delivery, CallError> {
        let publish = |state: &mut State| {
            state.published.push(report.clone());
            let id = report.credential_id.as_ref();
            let (_, stored) = state.keys.iter_mut().find(|(key, _)| Some(&key.id) == id).unwrap();
            match state.during_publication {
                DuringPublication::Nothing => {}
                DuringPublication::StoresFacts => stored.version.0 += 1,
                DuringPublication::StoresFinding => {
                    stored.version.0 += 1;
                    let KeyState::Tracked(record) = &mut stored.state else { panic!("no record") };
                    record.phase = Phase::Inactive(InactiveCause::Deactivated);
                }
            }
            Delivery::Published
        };
        self.call(Call::Publish, publish).await.map_err(failed)
    }
}

impl AttemptStore for World {
    async fn record_attempt(&self, event: &CredentialEvent) -> Result<(), CallError> {
        let record = |state: &mut State| {
            state.attempts.insert(event.clone());
        };
        self.call(Call::RecordAttempt, record).await.map_err(failed)
    }
}
