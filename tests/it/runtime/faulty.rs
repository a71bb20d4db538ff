//! A wrapper around a store, an IAM or a bus: its calls take time, are recorded, and go wrong on demand.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bedrock_key_guard::clock::Clock as _;
use bedrock_key_guard::runtime::event::AttemptStore;
use bedrock_key_guard::runtime::publish::{Delivery, FindingPublisher};
use bedrock_key_guard::runtime::silence::HeardStore;
use key_guard_core::Time;
use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::key::{AccountId, KeyRef, UserName};
use key_guard_core::lifecycle::effect::{
    ActResult, CallError, Commit, ConfirmedAction, FindScope, LogEntry, Retry,
};
use key_guard_core::lifecycle::input::Action;
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::lifecycle::state::{IntentId, Phase, StoredState};
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, ServiceFilter, SweepRecord};
use key_guard_core::ports::{CommitReply, CredentialApi, KeyStore};
use key_guard_core::report::Report;
use key_guard_core::silence::HeardAccount;

use super::clock::FakeClock;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Load,
    Commit,
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
    LookUpUser,
    HeardAccounts,
    MarkSilenceReported,
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
    /// It happens [`STALL`] later.
    StalledBefore,
    /// It happens, and the worker gets the reply [`STALL`] later.
    StalledAfter,
}

/// Which calls go wrong, of those of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The one with this number, from 0.
    Nth(usize),
    /// Each.
    Each,
}

impl When {
    pub const FIRST: Self = Self::Nth(0);
}

/// Longer than a lease lasts, and than IAM's answers may be behind.
pub const STALL: Duration = Duration::from_secs(61);

/// A call that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub call: Call,
    /// For how many keys.
    pub keys: usize,
    pub at: Time,
}

/// The calls of a world, and the faults to come.
pub struct Calls {
    clock: Arc<FakeClock>,
    state: Mutex<State>,
}

struct State {
    /// How long a call takes.
    duration: Duration,
    made: Vec<Made>,
    faults: Vec<(Call, When, Fault)>,
    under_way: usize,
    most_under_way: usize,
    /// The intents that the store has confirmed.
    intents: Vec<(KeyRef, IntentId, Action)>,
}

impl Calls {
    pub fn new(clock: Arc<FakeClock>) -> Self {
        let state = State {
            duration: Duration::from_millis(50),
            made: Vec::new(),
            faults: Vec::new(),
            under_way: 0,
            most_under_way: 0,
            intents: Vec::new(),
        };
        Self { clock, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on, calls are counted from 0, and this happens.
    pub fn fault_at(&self, call: Call, when: When, fault: Fault) {
        let mut state = self.state();
        state.made.clear();
        state.faults.push((call, when, fault));
    }

    /// From now on, nothing goes wrong.
    pub fn end_faults(&self) {
        self.state().faults.clear();
    }

    /// True if each fault has happened.
    pub fn have_failed(&self) -> bool {
        self.state().faults.is_empty()
    }

    /// From now on, a call takes this long.
    pub fn take_time(&self, duration: Duration) {
        self.state().duration = duration;
    }

    /// What was called since the last time.
    pub fn take(&self) -> Vec<Made> {
        std::mem::take(&mut self.state().made)
    }

    /// The most calls that were under way at a time.
    pub fn most_under_way(&self) -> usize {
        self.state().most_under_way
    }

    async fn perform<T>(
        &self,
        call: Call,
        keys: usize,
        perform: impl Future<Output = T> + Send,
    ) -> Result<T, CallError> {
        // The futures of the SDK are too deeply nested for the compiler.
        let perform: Pin<Box<dyn Future<Output = T> + Send + '_>> = Box::pin(perform);
        let (fault, duration) = self.state().begin(call, keys, self.clock.now());
        self.clock.pass_asleep(duration).await;
        let failed = |retry| Err(CallError { call: "a call", retry, source: "as the test wants".into() });
        match fault {
            None | Some(Fault::KilledAfter | Fault::LostReply | Fault::StalledAfter) => {}
            Some(Fault::KilledBefore) => return self.clock.kill().await,
            Some(Fault::Hangs) => return std::future::pending().await,
            Some(Fault::StalledBefore) => self.clock.pass_asleep(STALL).await,
            Some(Fault::Throttled) => return self.end(failed(Retry::Transient)),
            Some(Fault::Refused) => return self.end(failed(Retry::Permanent)),
        }
        let result = perform.await;
        match fault {
            Some(Fault::KilledAfter) => return self.clock.kill().await,
            Some(Fault::LostReply) => return self.end(failed(Retry::Transient)),
            Some(Fault::StalledAfter) => self.clock.pass_asleep(STALL).await,
            None
            | Some(
                Fault::KilledBefore | Fault::Hangs | Fault::StalledBefore | Fault::Throttled | Fault::Refused,
            ) => {}
        }
        self.end(Ok(result))
    }

    fn end<T>(&self, result: T) -> T {
        self.state().under_way -= 1;
        result
    }

    /// Notes the intents that the store has confirmed. A commit whose reply was lost conflicts with itself.
    fn note_intents(&self, commits: &[Commit], replies: &[Result<CommitReply, CallError>]) {
        let is_stored = |commit: &Commit, reply: &Result<CommitReply, CallError>| match reply {
            Ok(CommitReply::Committed(_)) => true,
            Ok(CommitReply::Conflict(stored)) => stored.state == commit.next,
            Ok(CommitReply::RateLimited) | Err(_) => false,
        };
        let confirmed = commits.iter().zip(replies).filter(|(commit, reply)| is_stored(commit, reply));
        self.state().intents.extend(confirmed.filter_map(|(commit, _)| {
            let Phase::Pending(intent) = &commit.next.record()?.phase else { return None };
            Some((commit.key.clone(), intent.id.clone(), intent.action))
        }));
    }

    /// No key is changed before its intent is stored, no other key is, and none further than the intent says (I1, I7).
    fn check_action(&self, action: &ConfirmedAction) {
        let is_stored = self.state().intents.iter().any(|(key, intent, stored)| {
            key == action.key() && intent == action.intent() && *stored >= action.action()
        });
        assert!(is_stored, "I1: this is done before its intent is stored: {action:?}");
    }
}

impl State {
    fn begin(&mut self, call: Call, keys: usize, now: Time) -> (Option<Fault>, Duration) {
        let number = self.made.iter().filter(|made| made.call == call).count();
        self.made.push(Made { call, keys, at: now });
        self.under_way += 1;
        self.most_under_way = self.most_under_way.max(self.under_way);
        let index = self.faults.iter().position(|(kind, when, _)| {
            *kind == call
                && match when {
                    When::Nth(nth) => *nth == number,
                    When::Each => true,
                }
        });
        let fault = index.map(|index| match self.faults[index] {
            (_, When::Each, fault) => fault,
            (_, When::Nth(_), fault) => {
                self.faults.remove(index);
                fault
            }
        });
        (fault, self.duration)
    }
}

pub struct Faulty<T> {
    pub inner: T,
    calls: Arc<Calls>,
}

impl<T> Faulty<T> {
    pub fn new(inner: T, calls: &Arc<Calls>) -> Self {
        Self { inner, calls: Arc::clone(calls) }
    }
}

/// A result for each key, or the same failure for each.
fn each<T>(count: usize, results: Result<Vec<Result<T, CallError>>, CallError>) -> Vec<Result<T, CallError>> {
    results.unwrap_or_else(|CallError { call, retry, source }| {
        let source = source.to_string();
        (0..count).map(|_| Err(CallError { call, retry, source: source.clone().into() })).collect()
    })
}

fn assert_distinct<'a>(keys: impl Iterator<Item = &'a KeyRef>) {
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    assert!(!keys.is_empty(), "a call for nothing");
    assert!(keys.is_sorted_by(|one, next| one < next), "a key is named twice");
}

impl<S: KeyStore> KeyStore for Faulty<S> {
    async fn load(&self, keys: &[KeyRef]) -> Vec<Result<StoredState, CallError>> {
        assert_distinct(keys.iter());
        each(keys.len(), self.calls.perform(Call::Load, keys.len(), self.inner.load(keys)).await)
    }

    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitReply, CallError>> {
        assert_distinct(commits.iter().map(|commit| &commit.key));
        let commit = async {
            let replies = self.inner.commit(commits).await;
            self.calls.note_intents(commits, &replies);
            replies
        };
        each(commits.len(), self.calls.perform(Call::Commit, commits.len(), commit).await)
    }

    async fn append(&self, entry: &LogEntry) -> Result<(), CallError> {
        self.calls.perform(Call::Append, 1, self.inner.append(entry)).await.flatten()
    }

    async fn resumable_keys(
        &self,
        now: Time,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<StoredState>, CallError> {
        self.calls.perform(Call::ResumableKeys, 0, self.inner.resumable_keys(now, cursor)).await.flatten()
    }

    async fn known_keys(
        &self,
        account: &AccountId,
        ended_since: Option<Time>,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<StoredState>, CallError> {
        let known = self.inner.known_keys(account, ended_since, cursor);
        self.calls.perform(Call::KnownKeys, 0, known).await.flatten()
    }

    async fn load_sweep_record(&self, account: &AccountId) -> Result<Option<SweepRecord>, CallError> {
        self.calls.perform(Call::LoadSweepRecord, 0, self.inner.load_sweep_record(account)).await.flatten()
    }

    async fn put_sweep_record(&self, account: &AccountId, record: &SweepRecord) -> Result<(), CallError> {
        let put = self.inner.put_sweep_record(account, record);
        self.calls.perform(Call::PutSweepRecord, 0, put).await.flatten()
    }
}

impl<A: CredentialApi> CredentialApi for Faulty<A> {
    async fn find(&self, key: &KeyRef, scope: &FindScope) -> Result<Option<ListedKey>, CallError> {
        self.calls.perform(Call::Find, 1, self.inner.find(key, scope)).await.flatten()
    }

    async fn list(&self, account: &AccountId, scope: &FindScope) -> Result<Vec<ListedKey>, CallError> {
        self.calls.perform(Call::List, 0, self.inner.list(account, scope)).await.flatten()
    }

    async fn list_page(
        &self,
        account: &AccountId,
        service: &ServiceFilter,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<ListedKey>, CallError> {
        let list = self.inner.list_page(account, service, cursor);
        self.calls.perform(Call::ListPage, 0, list).await.flatten()
    }

    async fn act(&self, action: &ConfirmedAction) -> Result<ActResult, CallError> {
        let act = async {
            self.calls.check_action(action);
            self.inner.act(action).await
        };
        self.calls.perform(Call::Act, 1, act).await.flatten()
    }
}

impl<P: FindingPublisher> FindingPublisher for Faulty<P> {
    async fn publish(&self, report: &Report) -> Result<Delivery, CallError> {
        self.calls.perform(Call::Publish, 1, self.inner.publish(report)).await.flatten()
    }
}

impl<S: AttemptStore> AttemptStore for Faulty<S> {
    async fn record_attempt(&self, event: &CredentialEvent) -> Result<(), CallError> {
        self.calls.perform(Call::RecordAttempt, 0, self.inner.record_attempt(event)).await.flatten()
    }

    async fn has_console_key(&self, account: &AccountId, user: &UserName) -> Result<bool, CallError> {
        let look_up = self.inner.has_console_key(account, user);
        self.calls.perform(Call::LookUpUser, 0, look_up).await.flatten()
    }
}

impl<S: HeardStore> HeardStore for Faulty<S> {
    async fn heard_accounts(&self) -> Result<Vec<HeardAccount>, CallError> {
        self.calls.perform(Call::HeardAccounts, 0, self.inner.heard_accounts()).await.flatten()
    }

    async fn mark_silence_reported(&self, silent: &HeardAccount, at: Time) -> Result<(), CallError> {
        let mark = self.inner.mark_silence_reported(silent, at);
        self.calls.perform(Call::MarkSilenceReported, 0, mark).await.flatten()
    }
}
