//! Accounts with many keys, and the loop that performs a sweep's effects on them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::key::{AccountId, KeyRef, KeyStatus, Service};
use key_guard_core::lifecycle::effect::{
    ActResult, CallError, Cause, Change, Commit, Effect, LogEntry, Reply, Retry,
};
use key_guard_core::lifecycle::input::{Action, Ceiling, Env, Input, ListedKey, WorkerId};
use key_guard_core::lifecycle::result::{Next, SessionError, SessionResult};
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::{Phase, StoredState, Version};
use key_guard_core::lifecycle::sweep::{
    KeyCursor, KeyPage, PageRequest, ServiceFilter, Sweep, SweepCheckpoint, SweepEffect, SweepError,
    SweepNext, SweepRecord, SweepReply, SweepResult, UnreportedFinding,
};
use key_guard_core::policy::Policy;

use super::{at, days, policy, user};

/// What is wrong with a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFault {
    /// Each call is refused.
    Refused,
    /// The page with this number is refused.
    RefusedPage(usize),
    /// Each call is throttled this often.
    Throttled(u32),
    /// The last page names the first one as the next.
    Circle,
    /// Every page has the next number, and no key.
    Endless,
    /// One key of each page cannot be read.
    Unreadable,
}

/// Several accounts, a ledger, and a clock.
pub struct SweepWorld {
    pub iam: Vec<ListedKey>,
    pub list_faults: BTreeMap<(AccountId, ServiceFilter), ListFault>,
    pub ledger: BTreeMap<KeyRef, StoredState>,
    pub log: Vec<LogEntry>,
    pub records: BTreeMap<AccountId, SweepRecord>,
    /// Keys whose loads fail.
    pub broken: BTreeSet<KeyRef>,
    /// True if the ledger's keys cannot be read.
    pub ledger_is_down: bool,
    pub policy: Policy,
    pub ceiling: Ceiling,
    pub now: Time,
    /// How long a call takes.
    pub call_time: TimeDelta,
    /// How long an invocation lasts.
    pub time_limit: TimeDelta,
    pub page_size: usize,
    /// How many sessions run at a time.
    pub concurrency: usize,
    /// The invocation dies after so many commits.
    pub commits_left: Option<usize>,
    /// So many commits happen, and their replies are lost.
    pub lost_replies: usize,
    /// What an owner does after so many calls.
    pub changes: Vec<(usize, Vec<ListedKey>)>,
    pub calls: Vec<String>,
    /// Every input that a session got.
    pub inputs: Vec<(KeyRef, Input)>,
    pub published: Vec<KeyRef>,
    /// The problems of every invocation.
    pub problems: Vec<String>,
    throttled: u32,
    workers: u32,
}

pub fn account(number: u64) -> AccountId {
    format!("{number:012}").parse().unwrap()
}

/// A key that never expires. It was created a day before the world begins.
pub fn bad_key(account_number: u64, number: u64, service: Service) -> ListedKey {
    ListedKey {
        key: KeyRef {
            account: account(account_number),
            id: format!("ACCASWEEP{number:012}").parse().unwrap(),
        },
        user: user(&format!("user-{number}")),
        service,
        created_at: at(0),
        expires_at: None,
        status: KeyStatus::Active,
    }
}

/// A key that lives for a month.
pub fn good_key(account_number: u64, number: u64, service: Service) -> ListedKey {
    ListedKey { expires_at: Some(at(0) + days(30)), ..bad_key(account_number, number, service) }
}

impl SweepWorld {
    pub fn new(response: &str, keys: Vec<ListedKey>) -> Self {
        Self {
            iam: keys,
            list_faults: BTreeMap::new(),
            ledger: BTreeMap::new(),
            log: Vec::new(),
            records: BTreeMap::new(),
            broken: BTreeSet::new(),
            ledger_is_down: false,
            policy: policy(response),
            ceiling: Ceiling::Delete,
            now: at(86_400),
            call_time: TimeDelta::milliseconds(50),
            time_limit: TimeDelta::minutes(5),
            page_size: 100,
            concurrency: 1,
            commits_left: None,
            lost_replies: 0,
            changes: Vec::new(),
            calls: Vec::new(),
            inputs: Vec::new(),
            published: Vec::new(),
            problems: Vec::new(),
            throttled: 0,
            workers: 0,
        }
    }

    pub fn accounts(&self) -> BTreeSet<AccountId> {
        self.iam.iter().map(|listed| listed.key.account.clone()).collect()
    }

    /// Sweeps every account in one invocation.
    pub fn sweep(&mut self) -> SweepResult {
        let accounts = self.accounts();
        self.sweep_of(accounts).expect("not killed").unwrap()
    }

    /// One invocation. `None`: it was killed.
    pub fn sweep_of(
        &mut self,
        accounts: impl IntoIterator<Item = AccountId>,
    ) -> Option<Result<SweepResult, SweepError>> {
        let sweep = Sweep::new(accounts, self.policy.services());
        self.invoke(sweep)
    }

    /// One more invocation.
    pub fn continue_from(&mut self, checkpoint: &SweepCheckpoint) -> Result<SweepResult, SweepError> {
        let payload = serde_json::to_string(checkpoint).unwrap();
        let sweep = Sweep::from_checkpoint(serde_json::from_str(&payload).unwrap(), self.policy.services());
        self.invoke(sweep).expect("not killed")
    }

    /// Sweeps every account in as many invocations as that takes: the last result, and how many there were.
    pub fn sweep_to_the_end(&mut self, at_most: usize) -> (Result<SweepResult, SweepError>, usize) {
        let accounts = self.accounts();
        let mut result = self.sweep_of(accounts).expect("not killed");
        let mut invocations = 1;
        loop {
            match result {
                Ok(SweepResult { checkpoint: Some(checkpoint), .. }) => {
                    assert!(invocations < at_most, "the sweep did not end within {at_most} invocations");
                    invocations += 1;
                    self.now += TimeDelta::seconds(1);
                    result = self.continue_from(&checkpoint);
                }
                end => return (end, invocations),
            }
        }
    }

    fn invoke(&mut self, mut sweep: Sweep) -> Option<Result<SweepResult, SweepError>> {
        let deadline = self.now + self.time_limit;
        self.workers += 1;
        let worker = WorkerId(format!("worker-{}", self.workers));
        let policy = self.policy.clone();
        let mut reply = SweepReply::Start;
        loop {
            let env = |now| Env { policy: &policy, ceiling: self.ceiling, now, deadline, worker: &worker };
            reply = match sweep.advance(reply, &env(self.now)) {
                SweepNext::Finished(result) => {
                    let problems = result.iter().flat_map(|result| &result.problems);
                    self.problems.extend(problems.map(ToString::to_string));
                    return Some(result.map(|result| *result));
                }
                SweepNext::Wait(delay) => {
                    self.now += delay;
                    SweepReply::Waited
                }
                SweepNext::Perform(SweepEffect::RunSessions { read_ahead }) => {
                    self.calls.push("run".to_owned());
                    let page_arrives = self.now + self.call_time;
                    let read_ahead = read_ahead.map(|request| self.list_page(&request));
                    self.run_sessions(&mut sweep, deadline, &worker)?;
                    if read_ahead.is_some() {
                        self.now = self.now.max(page_arrives);
                    }
                    SweepReply::SessionsEnded { read_ahead }
                }
                SweepNext::Perform(effect) => {
                    let reply = self.perform(&effect);
                    self.pass_call();
                    reply
                }
            };
        }
    }

    fn pass_call(&mut self) {
        self.now += self.call_time;
        let calls = self.calls.len();
        if let Some(index) = self.changes.iter().position(|(after, _)| *after <= calls) {
            self.iam = self.changes.remove(index).1;
        }
    }

    fn run_sessions(&mut self, sweep: &mut Sweep, deadline: Time, worker: &WorkerId) -> Option<()> {
        let policy = self.policy.clone();
        let ceiling = self.ceiling;
        let env = |now| Env { policy: &policy, ceiling, now, deadline, worker };
        let mut has_run = false;
        loop {
            let mut running = Vec::new();
            while running.len() < self.concurrency {
                let Some(session) = sweep.next_session(&env(self.now)) else { break };
                running.push(session);
            }
            if running.is_empty() {
                assert!(has_run, "sessions were asked for, and there was none");
                return Some(());
            }
            has_run = true;
            let mut findings = Vec::new();
            for session in running {
                let key = session.key().clone();
                let result = self.run(session, deadline, worker)?;
                findings.extend(sweep.ended(&key, result, &env(self.now)));
            }
            for finding in findings {
                self.publish(finding);
            }
        }
    }

    fn publish(&mut self, finding: UnreportedFinding) {
        let UnreportedFinding { report, publication, stored } = finding;
        assert_eq!(report.credential_id.as_ref(), Some(&publication.key().id));
        self.published.push(publication.key().clone());
        self.pass_call();
        if let Some(commit) = publication.mark_reported(&stored, Cause::Sweep, self.now)
            && let Reply::Conflict(current) = self.commit(&commit)
            && let Some(commit) = publication.mark_reported(&current, Cause::Sweep, self.now)
        {
            self.commit(&commit);
        }
    }

    /// Runs a session. `None`: the invocation was killed.
    fn run(
        &mut self,
        mut session: Session,
        deadline: Time,
        worker: &WorkerId,
    ) -> Option<Result<SessionResult, SessionError>> {
        self.inputs.push((session.key().clone(), session.input().clone()));
        let policy = self.policy.clone();
        let mut reply = Reply::Start;
        loop {
            let env = Env { policy: &policy, ceiling: self.ceiling, now: self.now, deadline, worker };
            reply = match session.advance(reply, &env) {
                Next::Finished(result) => return Some(result),
                Next::Wait(delay) => {
                    self.now += delay;
                    Reply::Waited
                }
                Next::Perform(effect) => {
                    let reply = self.perform_key(&effect);
                    self.pass_call();
                    if matches!(effect, Effect::Commit(_)) && self.commits_left == Some(0) {
                        return None;
                    }
                    reply
                }
            };
        }
    }

    /// Deals with one input beside the sweep.
    pub fn process(&mut self, key: &KeyRef, input: Input) -> Result<SessionResult, SessionError> {
        let session = Session::new(key.clone(), input);
        let inputs = self.inputs.len();
        let result = self.run(session, self.now + TimeDelta::minutes(5), &WorkerId("other".to_owned()));
        self.inputs.truncate(inputs);
        result.unwrap()
    }

    fn perform_key(&mut self, effect: &Effect) -> Reply {
        match effect {
            Effect::Load(key) if self.broken.contains(key) => failed(Retry::Permanent),
            Effect::Load(key) => Reply::Loaded(self.stored(key)),
            Effect::Commit(commit) => {
                self.commits_left = self.commits_left.map(|left| left.saturating_sub(1));
                let reply = self.commit(commit);
                if self.lost_replies == 0 {
                    return reply;
                }
                self.lost_replies -= 1;
                failed(Retry::Permanent)
            }
            Effect::Append(entry) => {
                self.log.push(LogEntry::clone(entry));
                Reply::Appended
            }
            Effect::Find { key, .. } => {
                Reply::Found(self.iam.iter().find(|listed| listed.key == *key).cloned())
            }
            Effect::Act(action) => {
                let Some(index) = self.iam.iter().position(|listed| listed.key == *action.key()) else {
                    return Reply::Acted(ActResult::NotThere);
                };
                match action.action() {
                    Action::Delete => {
                        self.iam.remove(index);
                    }
                    Action::Deactivate => self.iam[index].status = KeyStatus::Inactive,
                }
                Reply::Acted(ActResult::Done)
            }
        }
    }

    fn commit(&mut self, commit: &Commit) -> Reply {
        let stored = self.stored(&commit.key);
        if commit.expected != stored.version {
            return Reply::Conflict(stored);
        }
        let version = Version(stored.version.0 + 1);
        self.ledger.insert(commit.key.clone(), StoredState { version, state: commit.next.clone() });
        self.log.push(commit.log.clone());
        Reply::Committed(version)
    }

    pub fn stored(&self, key: &KeyRef) -> StoredState {
        self.ledger.get(key).cloned().unwrap_or(StoredState::ABSENT)
    }

    /// Performs one call.
    fn perform(&mut self, effect: &SweepEffect) -> SweepReply {
        match effect {
            SweepEffect::LoadRecord(account) => {
                self.calls.push("load record".to_owned());
                SweepReply::Record(self.records.get(account).copied())
            }
            SweepEffect::ListPage(request) => {
                self.list_page(request).map_or_else(SweepReply::Failed, SweepReply::Page)
            }
            SweepEffect::LoadKnownKeys { account, ended_since, cursor } => {
                self.calls.push("load known keys".to_owned());
                if self.ledger_is_down {
                    return SweepReply::Failed(call_error(Retry::Permanent));
                }
                self.known_keys(account, *ended_since, cursor.as_ref())
            }
            SweepEffect::PutRecord { account, record } => {
                self.calls.push("put record".to_owned());
                self.records.insert(account.clone(), *record);
                SweepReply::RecordStored
            }
            SweepEffect::RunSessions { .. } => panic!("sessions are no call"),
        }
    }

    fn list_page(&mut self, request: &PageRequest) -> Result<KeyPage<ListedKey>, CallError> {
        let PageRequest { account, service, cursor } = request;
        self.calls.push(format!("list {service}"));
        let number: usize = cursor.as_ref().map_or(0, |cursor| cursor.0.parse().unwrap());
        let mut unreadable = 0;
        let mut is_circle = false;
        match self.list_faults.get(&(account.clone(), service.clone())) {
            Some(ListFault::Refused) => return Err(call_error(Retry::Permanent)),
            Some(ListFault::RefusedPage(page)) if *page == number => {
                return Err(call_error(Retry::Permanent));
            }
            Some(ListFault::Throttled(times)) if self.throttled < *times => {
                self.throttled += 1;
                return Err(call_error(Retry::Transient));
            }
            Some(ListFault::Endless) => {
                let next = Some(KeyCursor((number + 1).to_string()));
                return Ok(KeyPage { keys: Vec::new(), unreadable: 0, next });
            }
            Some(ListFault::Unreadable) => unreadable = 1,
            Some(ListFault::Circle) => is_circle = true,
            Some(ListFault::RefusedPage(_) | ListFault::Throttled(_)) | None => {}
        }
        self.throttled = 0;
        let keys: Vec<_> = self.iam.iter().filter(|listed| is_in(listed, account, service)).collect();
        let page = keys.iter().skip(number * self.page_size).take(self.page_size);
        let page = page.map(|listed| ListedKey::clone(listed)).collect();
        let has_more = keys.len() > (number + 1) * self.page_size;
        let next = match (has_more, is_circle) {
            (true, _) => Some(KeyCursor((number + 1).to_string())),
            (false, true) => Some(KeyCursor(number.min(1).to_string())),
            (false, false) => None,
        };
        Ok(KeyPage { keys: page, unreadable, next })
    }

    /// In the order of their ids. A cursor names the last key of a page.
    fn known_keys(
        &self,
        account: &AccountId,
        ended_since: Option<Time>,
        cursor: Option<&KeyCursor>,
    ) -> SweepReply {
        let is_asked_for = |stored: &StoredState| {
            stored.state.record().is_some_and(|record| match record.phase {
                Phase::Gone(_) => {
                    record.unreported || ended_since.is_none_or(|since| record.changed_at >= since)
                }
                _ => true,
            })
        };
        let mut keys = self
            .ledger
            .iter()
            .filter(|(key, _)| key.account == *account)
            .filter(|(key, _)| cursor.is_none_or(|cursor| key.id.as_str() > cursor.0.as_str()));
        let page: Vec<_> = keys.by_ref().take(self.page_size).collect();
        let next = keys.next().and(page.last()).map(|(key, _)| KeyCursor(key.id.as_str().to_owned()));
        let keys = page.into_iter().map(|(_, stored)| stored).filter(|stored| is_asked_for(stored)).cloned();
        SweepReply::KnownKeys(KeyPage { keys: keys.collect(), unreadable: 0, next })
    }

    /// Time passes.
    pub fn wait(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    /// The keys that sessions got as listed.
    pub fn fed(&self) -> BTreeSet<KeyRef> {
        let is_listed = |input: &Input| matches!(input, Input::Listed { .. });
        self.inputs.iter().filter(|(_, input)| is_listed(input)).map(|(key, _)| key.clone()).collect()
    }

    /// The keys that were called absent.
    pub fn called_absent(&self) -> BTreeSet<KeyRef> {
        self.log
            .iter()
            .filter(|entry| matches!(entry.change, Change::Observed(_) | Change::Gone))
            .map(|entry| entry.key.clone())
            .collect()
    }

    pub fn phase(&self, listed: &ListedKey) -> Phase {
        self.stored(&listed.key).state.record().expect("the key has a record").phase.clone()
    }
}

fn is_in(listed: &ListedKey, account: &AccountId, service: &ServiceFilter) -> bool {
    listed.key.account == *account
        && match service {
            ServiceFilter::All => true,
            ServiceFilter::Only(only) => listed.service == *only,
        }
}

pub fn call_error(retry: Retry) -> CallError {
    CallError { call: "a call", retry, source: Box::new(io::Error::other("NoSuchEntity")) }
}

fn failed(retry: Retry) -> Reply {
    Reply::Failed(call_error(retry))
}
