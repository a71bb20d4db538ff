//! A world: the real ledger, an IAM and a bus, each of them faulty.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bedrock_key_guard::clock::Clock as _;
use bedrock_key_guard::ledger::audit::history::LogLine;
use bedrock_key_guard::runtime::event::{EventError, process_event};
use bedrock_key_guard::runtime::executor::{Executor, WorkerIds};
use bedrock_key_guard::runtime::publish::{Delivery, FindingPublisher};
use bedrock_key_guard::runtime::resume::{ResumeError, ResumeRun, run_resume};
use bedrock_key_guard::runtime::sweep::{SweepRun, run_sweep};
use chrono::TimeDelta;
use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::key::{AccountId, KeyRef, KeyStatus};
use key_guard_core::lifecycle::effect::{CallError, Change};
use key_guard_core::lifecycle::input::{Ceiling, ListedKey};
use key_guard_core::lifecycle::state::{KeyState, Record};
use key_guard_core::lifecycle::sweep::{Sweep, SweepError, SweepRecord};
use key_guard_core::policy::Policy;
use key_guard_core::ports::KeyStore as _;
use key_guard_core::report::Report;

use super::clock::FakeClock;
use super::faulty::{Call, Calls, Fault, Faulty, When};
use super::iam::{MemoryIam, TestIam};
use super::ledger::{StoreKind, TestLedger};
use super::{at, parsed, policy, session};

pub struct World<A = MemoryIam> {
    pub clock: Arc<FakeClock>,
    pub policy: Policy,
    pub ceiling: Ceiling,
    /// How long an invocation lasts.
    pub time_limit: TimeDelta,
    pub calls: Arc<Calls>,
    pub store: Faulty<TestLedger>,
    pub iam: Faulty<A>,
    pub bus: Faulty<Bus>,
    /// The reports that invocations have returned.
    pub returned: Mutex<Vec<Report>>,
    /// Those that a sweep deals with.
    pub accounts: BTreeSet<AccountId>,
}

pub type WorldExecutor<'a, A> = Executor<'a, Faulty<TestLedger>, Faulty<A>, FakeClock>;

/// What was published.
#[derive(Default)]
pub struct Bus(Mutex<Vec<Report>>);

impl FindingPublisher for Bus {
    async fn publish(&self, report: &Report) -> Result<Delivery, CallError> {
        self.0.lock().unwrap().push(report.clone());
        Ok(Delivery::Published)
    }
}

impl World {
    /// IAM has these keys, and nothing is stored. It is half a minute after noon.
    pub fn new(response: &str, keys: &[ListedKey]) -> Self {
        Self::with_store(StoreKind::Sqlite, response, keys)
    }
}

impl<A: TestIam> World<A> {
    /// The same with another IAM, and with a ledger on this store.
    pub fn with_store(store: StoreKind, response: &str, keys: &[ListedKey]) -> Self {
        let clock = Arc::new(FakeClock::new(at(30)));
        let calls = Arc::new(Calls::new(Arc::clone(&clock)));
        Self {
            policy: policy(response),
            ceiling: Ceiling::Delete,
            time_limit: TimeDelta::minutes(5),
            store: Faulty::new(TestLedger::new(store), &calls),
            iam: Faulty::new(A::new(keys), &calls),
            bus: Faulty::new(Bus::default(), &calls),
            returned: Mutex::default(),
            accounts: keys.iter().map(|key| key.key.account.clone()).collect(),
            clock,
            calls,
        }
    }

    /// From now on, calls are counted from 0, and this happens.
    pub fn fault_at(&self, call: Call, when: When, fault: Fault) {
        self.calls.fault_at(call, when, fault);
    }

    /// What was called since the last time.
    pub fn take_calls(&self) -> Vec<Call> {
        self.calls.take().into_iter().map(|made| made.call).collect()
    }

    /// The same, with the number of keys of each call.
    pub fn take_batches(&self) -> Vec<(Call, usize)> {
        self.calls.take().into_iter().map(|made| (made.call, made.keys)).collect()
    }

    pub fn executor<'a>(&'a self, workers: &'a WorkerIds) -> WorldExecutor<'a, A> {
        Executor {
            policy: &self.policy,
            ceiling: self.ceiling,
            deadline: self.clock.now() + self.time_limit,
            workers,
            store: &self.store,
            api: &self.iam,
            clock: &self.clock,
        }
    }

    /// One invocation. `None`: it was killed.
    pub fn invoke<T>(&self, run: impl AsyncFnOnce(&WorldExecutor<'_, A>) -> T) -> Option<T> {
        let workers = WorkerIds::new("request");
        self.clock.run(run(&self.executor(&workers)))
    }

    pub fn deliver(&self, event: &CredentialEvent) -> Option<Result<Report, EventError>> {
        self.invoke(async |executor| self.process(executor, event).await)
    }

    pub async fn process(
        &self,
        executor: &WorldExecutor<'_, A>,
        event: &CredentialEvent,
    ) -> Result<Report, EventError> {
        let report = process_event(executor, &self.store, parsed(event.clone())).await?;
        self.returned.lock().unwrap().push(report.clone());
        Ok(report)
    }

    /// Deals with events of distinct keys. Their first commits are one call of the store. True if all came to their end.
    pub async fn process_together(
        &self,
        executor: &WorldExecutor<'_, A>,
        events: &[CredentialEvent],
    ) -> bool {
        let sessions = events.iter().map(|event| session(event.clone())).collect();
        let results = executor.run_all(sessions).await;
        let reports = results.iter().flatten().map(|result| executor.report(result));
        self.returned.lock().unwrap().extend(reports);
        results.iter().all(Result::is_ok)
    }

    pub fn resume(&self) -> Option<Result<ResumeRun, ResumeError>> {
        self.invoke(async |executor| run_resume(executor, &self.bus, None).await)
    }

    /// Sweeps every account in one invocation.
    pub fn sweep(&self) -> Option<Result<SweepRun, SweepError>> {
        self.invoke(async |executor| run_sweep(executor, self.new_sweep(), &self.bus, &mut ()).await)
    }

    pub fn new_sweep(&self) -> Sweep {
        Sweep::new(self.accounts.clone(), self.policy.services())
    }

    /// Asks the store itself, which takes no time and never fails.
    pub fn ask<T>(&self, question: impl Future<Output = T>) -> T {
        self.store.inner.wait(question)
    }

    pub fn stored_all(&self, keys: &[KeyRef]) -> Vec<KeyState> {
        let loaded = self.ask(self.store.inner.ledger.load(keys)).into_iter();
        loaded.map(|stored| stored.unwrap().state).collect()
    }

    pub fn record(&self, key: &ListedKey) -> Record {
        let state = self.stored_all(std::slice::from_ref(&key.key)).remove(0);
        state.record().expect("the key has a record").clone()
    }

    pub fn sweep_record(&self, account: &AccountId) -> Option<SweepRecord> {
        self.ask(self.store.inner.ledger.load_sweep_record(account)).unwrap()
    }

    /// The key's history.
    pub fn history(&self, key: &KeyRef) -> Vec<LogLine> {
        let history = self.ask(self.store.inner.ledger.history(key)).unwrap();
        assert!(history.unreadable.is_empty(), "{:?}", history.unreadable);
        history.lines
    }

    /// What the guard's steps in the key's history say, in order.
    pub fn changes(&self, key: &ListedKey) -> Vec<Change> {
        let change = |line| match line {
            LogLine::Step { change, .. } => Some(change),
            LogLine::Event { .. } => None,
        };
        self.history(&key.key).into_iter().filter_map(change).collect()
    }

    /// How the key stands in IAM. `None`: it does not exist.
    pub fn status(&self, key: &ListedKey) -> Option<KeyStatus> {
        self.iam.inner.keys().into_iter().find(|listed| listed.key == key.key).map(|listed| listed.status)
    }

    /// True if IAM has keys, and all of them are inactive.
    pub fn all_are_inactive(&self) -> bool {
        let keys = self.iam.inner.keys();
        !keys.is_empty() && keys.iter().all(|key| key.status == KeyStatus::Inactive)
    }

    pub fn published(&self) -> Vec<Report> {
        self.bus.inner.0.lock().unwrap().clone()
    }
}
