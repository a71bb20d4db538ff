//! Sweeps: performs what [`Sweep`] asks for, runs its sessions, and publishes what they find.

use std::collections::VecDeque;
use std::iter;

use futures_util::future::{OptionFuture, join};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use key_guard_core::Time;
use key_guard_core::key::{AccountId, KeyRef};
use key_guard_core::lifecycle::effect::{CallError, Cause};
use key_guard_core::lifecycle::input::{ListedKey, WorkerId};
use key_guard_core::lifecycle::result::{SessionError, SessionResult};
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::summary::SinceLastSweep;
use key_guard_core::lifecycle::sweep::{
    KeyPage, PageRequest, Sweep, SweepEffect, SweepError, SweepNext, SweepReply, SweepResult,
    UnreportedFinding,
};
use key_guard_core::ports::{CredentialApi, KeyStore};
use key_guard_core::report::Report;

use super::executor::{Executor, MAX_CONCURRENT_SESSIONS, StartedSession};
use super::publish::{Delivery, FindingPublisher, PublicationProblem, Publications};
use crate::clock::Clock;

/// How many states are read together: as many as one call of DynamoDB returns (DynamoDB API reference, `BatchGetItem`).
const MAX_LOADED: usize = 100;

/// Hears of each key that a sweep deals with. Keys whose session failed are in [`SweepResult::problems`].
pub trait SweepObserver {
    /// The last completed sweep of an account is known.
    fn last_sweep(&mut self, _account: &AccountId, _started: Time) {}

    /// A key's session has ended.
    fn key_swept(&mut self, key: SweptKey<'_>);
}

/// For callers that need only the counts.
impl SweepObserver for () {
    fn key_swept(&mut self, _key: SweptKey<'_>) {}
}

/// A key that a sweep has dealt with.
#[derive(Debug)]
pub struct SweptKey<'a> {
    /// What its session did.
    pub result: &'a SessionResult,
    /// How it compares with the last completed sweep. `None`: the ledger has no record of it.
    pub since_last_sweep: Option<SinceLastSweep>,
    /// The report of it.
    pub report: Report,
}

/// What one invocation of a sweep came to.
#[derive(Debug)]
pub struct SweepRun {
    /// The sweep's own result.
    pub result: SweepResult,
    /// What was published.
    pub publications: Publications,
}

/// Runs one invocation of a sweep.
///
/// # Errors
/// When no list of any account could be read.
pub async fn run_sweep<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    mut sweep: Sweep,
    publisher: &impl FindingPublisher,
    observer: &mut impl SweepObserver,
) -> Result<SweepRun, SweepError> {
    let mut run = Run {
        executor,
        publisher,
        observer,
        worker: executor.workers.next_id(),
        last_started: None,
        publications: Publications::default(),
    };
    let mut reply = SweepReply::Start;
    loop {
        reply = match sweep.advance(reply, &executor.env(&run.worker)) {
            SweepNext::Finished(result) => {
                return result.map(|result| SweepRun { result: *result, publications: run.publications });
            }
            SweepNext::Wait(longest) => {
                executor.wait(longest).await;
                SweepReply::Waited
            }
            SweepNext::Perform(effect) => Box::pin(run.perform(&mut sweep, effect)).await,
        };
    }
}

/// Something that a page needs.
enum Task {
    /// Begin these sessions: read their states.
    Load(Vec<Session>),
    /// Make their first commits. They may hold leases from then on.
    Commit(Vec<StartedSession>),
    /// Run this session to its end.
    Finish(Box<StartedSession>),
    /// Publish this finding.
    Publish(Box<UnreportedFinding>),
}

/// What came of a [`Task`].
enum Step {
    Loaded(Vec<StartedSession>),
    Committed(Vec<StartedSession>),
    Ended(KeyRef, Result<SessionResult, SessionError>),
    Published(Result<Delivery, PublicationProblem>),
}

/// An invocation under way.
struct Run<'r, 'e, S, A, C, P, O> {
    executor: &'r Executor<'e, S, A, C>,
    publisher: &'r P,
    observer: &'r mut O,
    worker: WorkerId,
    /// When the last completed sweep of the account started.
    last_started: Option<Time>,
    publications: Publications,
}

impl<S: KeyStore, A: CredentialApi, C: Clock, P: FindingPublisher, O: SweepObserver>
    Run<'_, '_, S, A, C, P, O>
{
    async fn perform(&mut self, sweep: &mut Sweep, effect: SweepEffect) -> SweepReply {
        let Executor { store, api, .. } = *self.executor;
        match effect {
            SweepEffect::LoadRecord(account) => {
                let loaded = store.load_sweep_record(&account).await;
                self.last_started = loaded.as_ref().ok().and_then(|record| Some((*record)?.started));
                if let Some(started) = self.last_started {
                    self.observer.last_sweep(&account, started);
                }
                reply(loaded, SweepReply::Record)
            }
            SweepEffect::ListPage(request) => reply(list_page(api, request).await, SweepReply::Page),
            SweepEffect::RunSessions { read_ahead } => {
                // The request is on its way before the first session begins.
                let read_ahead = OptionFuture::from(read_ahead.map(|request| list_page(api, request)));
                let (read_ahead, ()) = join(read_ahead, self.run_sessions(sweep)).await;
                SweepReply::SessionsEnded { read_ahead }
            }
            SweepEffect::LoadKnownKeys { account, ended_since, cursor } => {
                let known = store.known_keys(&account, ended_since, cursor.as_ref()).await;
                reply(known, SweepReply::KnownKeys)
            }
            SweepEffect::PutRecord { account, record } => {
                let stored = store.put_sweep_record(&account, &record).await;
                reply(stored, |()| SweepReply::RecordStored)
            }
        }
    }

    /// Begins the sessions of a page in batches, runs them side by side, and publishes what they find meanwhile. Few more
    /// than can run at once hold a lease, so that little is left to a resume when the time is over.
    async fn run_sessions(&mut self, sweep: &mut Sweep) {
        let (executor, publisher) = (self.executor, self.publisher);
        let run = |task| async move {
            match task {
                Task::Load(sessions) => Step::Loaded(executor.load_together(sessions).await),
                Task::Commit(started) => Step::Committed(executor.commit_together(started).await),
                Task::Finish(started) => Step::Ended(started.key().clone(), executor.finish(*started).await),
                Task::Publish(finding) => {
                    Step::Published(executor.publish(publisher, *finding, Cause::Sweep).await)
                }
            }
        };
        let (mut loaded, mut ready) = (VecDeque::<StartedSession>::new(), VecDeque::<StartedSession>::new());
        let mut is_beginning = false;
        let mut tasks = FuturesUnordered::new();
        loop {
            while tasks.len() < MAX_CONCURRENT_SESSIONS
                && let Some(started) = ready.pop_front()
            {
                tasks.push(run(Task::Finish(Box::new(started))));
            }
            if ready.is_empty() && !is_beginning && tasks.len() < MAX_CONCURRENT_SESSIONS {
                let env = executor.env(&self.worker);
                if loaded.is_empty() {
                    let next = || sweep.next_session(&env);
                    let batch: Vec<_> = iter::from_fn(next).take(MAX_LOADED).collect();
                    is_beginning = !batch.is_empty();
                    tasks.extend(is_beginning.then(|| run(Task::Load(batch))));
                } else if sweep.has_time(&env) {
                    is_beginning = true;
                    let batch = loaded.drain(..loaded.len().min(MAX_CONCURRENT_SESSIONS));
                    tasks.push(run(Task::Commit(batch.collect())));
                } else {
                    // The next invocation begins with these keys.
                    for started in loaded.drain(..) {
                        sweep.ended(started.key(), Err(SessionError::OutOfTime), &env);
                    }
                }
            }
            match tasks.next().await {
                None => return,
                Some(Step::Loaded(started)) => {
                    is_beginning = false;
                    loaded.extend(started);
                }
                Some(Step::Committed(started)) => {
                    is_beginning = false;
                    ready.extend(started);
                }
                Some(Step::Ended(key, result)) => {
                    if let Ok(result) = &result {
                        self.observe(result);
                    }
                    let finding = sweep.ended(&key, result, &executor.env(&self.worker));
                    tasks.extend(finding.map(|finding| run(Task::Publish(Box::new(finding)))));
                }
                Some(Step::Published(result)) => self.publications.add(result),
            }
        }
    }

    fn observe(&mut self, result: &SessionResult) {
        let record = result.stored.state.record();
        self.observer.key_swept(SweptKey {
            result,
            since_last_sweep: record.map(|record| SinceLastSweep::of(record, self.last_started)),
            report: self.executor.report(result),
        });
    }
}

/// Asks IAM for a page.
///
/// # Errors
/// When the call fails.
pub async fn list_page(
    api: &impl CredentialApi,
    request: PageRequest,
) -> Result<KeyPage<ListedKey>, CallError> {
    let PageRequest { account, service, cursor } = request;
    api.list_page(&account, &service, cursor.as_ref()).await
}

fn reply<T>(result: Result<T, CallError>, reply: impl FnOnce(T) -> SweepReply) -> SweepReply {
    result.map_or_else(SweepReply::Failed, reply)
}
