//! Runs sessions: performs their effects, and feeds the replies back.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::iter;
use std::pin::pin;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::TimeDelta;
use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt as _};
use key_guard_core::Time;
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::effect::{
    ActResult, CallError, Commit, ConfirmedAction, Effect, Reply, Retry,
};
use key_guard_core::lifecycle::input::{Action, Ceiling, Env, WorkerId};
use key_guard_core::lifecycle::result::{Next, SessionError, SessionResult};
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::{ACTION_MARGIN, RETRY_MARGIN, backoff};
use key_guard_core::policy::Policy;
use key_guard_core::ports::{CommitReply, CredentialApi, KeyStore};
use key_guard_core::report::Report;

use crate::clock::Clock;

/// How many sessions run at a time. More would only be throttled: IAM is one API for the whole account.
pub const MAX_CONCURRENT_SESSIONS: usize = 16;

/// A request that is on its way when its call is given up may still arrive. It has this long before the lease ends.
const LATE_ARRIVAL: TimeDelta = TimeDelta::seconds(1);

/// Makes a name for each session of an invocation.
#[derive(Debug)]
pub struct WorkerIds {
    prefix: String,
    next: AtomicU64,
}

impl WorkerIds {
    /// The names begin with `invocation`, by which people find them in logs. No two of these ever make the same name:
    /// Lambda's retries have the same request id, so each gets a random number, too.
    #[must_use]
    pub fn new(invocation: &str) -> Self {
        Self { prefix: format!("{invocation}-{:016x}", random()), next: AtomicU64::new(1) }
    }

    /// The next name.
    pub fn next_id(&self) -> WorkerId {
        WorkerId(format!("{}-{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Performs the effects of sessions, under one policy, one ceiling and one deadline.
#[derive(Debug)]
pub struct Executor<'a, S, A, C> {
    /// What is allowed.
    pub policy: &'a Policy,
    /// The furthest that any response may go.
    pub ceiling: Ceiling,
    /// When the invocation ends.
    pub deadline: Time,
    /// Names for the sessions.
    pub workers: &'a WorkerIds,
    /// Where keys are stored.
    pub store: &'a S,
    /// IAM.
    pub api: &'a A,
    /// What time it is.
    pub clock: &'a C,
}

/// A session under way.
pub(super) struct StartedSession {
    worker: WorkerId,
    session: Session,
    next: Next,
}

impl StartedSession {
    /// Which key's.
    pub(super) const fn key(&self) -> &KeyRef {
        self.session.key()
    }
}

impl<S: KeyStore, A: CredentialApi, C: Clock> Executor<'_, S, A, C> {
    /// Runs a session to its end.
    ///
    /// # Errors
    /// As the session says.
    pub async fn run(&self, session: Session) -> Result<SessionResult, SessionError> {
        self.finish(self.start(session)).await
    }

    /// Runs sessions of distinct keys to their ends: a result for each, in their order.
    pub async fn run_all(&self, sessions: Vec<Session>) -> Vec<Result<SessionResult, SessionError>> {
        let started = self.commit_together(self.load_together(sessions).await).await;
        stream::iter(started)
            .map(|started| self.finish(started))
            .buffered(MAX_CONCURRENT_SESSIONS)
            .collect()
            .await
    }

    /// The report of a session's result.
    #[must_use]
    pub fn report(&self, result: &SessionResult) -> Report {
        result.report(&self.env(&self.workers.next_id()))
    }

    /// The circumstances of a step that is taken now.
    pub(super) fn env<'e>(&'e self, worker: &'e WorkerId) -> Env<'e> {
        let now = self.clock.now();
        Env { policy: self.policy, ceiling: self.ceiling, now, deadline: self.deadline, worker }
    }

    /// Waits for half to all of `longest`, so that workers that failed together do not try again together.
    pub(super) async fn wait(&self, longest: TimeDelta) {
        let longest = longest.to_std().unwrap_or_default();
        let half = longest / 2;
        let share = f64::from(u32::try_from(random() >> 32).unwrap_or_default()) / f64::from(u32::MAX);
        self.clock.sleep(half + half.mul_f64(share)).await;
    }

    /// Makes a call, and repeats it after a transient failure until shortly before the deadline (R7).
    pub(crate) async fn retry<T, F: Future<Output = Result<T, CallError>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, CallError> {
        let mut failures = 0;
        loop {
            let result = call().await;
            let delay = backoff(failures);
            let is_transient = result.as_ref().is_err_and(|error| error.retry == Retry::Transient);
            if !is_transient || self.clock.now() + delay + RETRY_MARGIN >= self.deadline {
                return result;
            }
            self.wait(delay).await;
            failures += 1;
        }
    }

    /// Performs one write.
    pub(super) async fn commit_one(&self, commit: &Commit) -> Result<CommitReply, CallError> {
        only(self.store.commit(slice::from_ref(commit)).await)
    }

    fn start(&self, mut session: Session) -> StartedSession {
        let worker = self.workers.next_id();
        let next = session.advance(Reply::Start, &self.env(&worker));
        StartedSession { worker, session, next }
    }

    fn advance(&self, started: &mut StartedSession, reply: Reply) {
        started.next = started.session.advance(reply, &self.env(&started.worker));
    }

    /// Runs a session from its next step to its end.
    pub(super) async fn finish(&self, started: StartedSession) -> Result<SessionResult, SessionError> {
        let StartedSession { worker, mut session, mut next } = started;
        loop {
            let reply = match next {
                Next::Finished(result) => return result,
                Next::Wait(longest) => {
                    self.wait(longest).await;
                    Reply::Waited
                }
                Next::Perform(effect) => self.perform(effect).await,
            };
            next = session.advance(reply, &self.env(&worker));
        }
    }

    /// Starts sessions of distinct keys. Their first loads are one call of the store.
    pub(super) async fn load_together(&self, sessions: Vec<Session>) -> Vec<StartedSession> {
        let mut started: Vec<_> = sessions.into_iter().map(|session| self.start(session)).collect();
        let (mut waiting, mut keys) = (Vec::new(), Vec::new());
        for started in &mut started {
            if let Next::Perform(Effect::Load(key)) = &started.next {
                keys.push(key.clone());
                waiting.push(started);
            }
        }
        if !keys.is_empty() {
            let loaded = complete(self.store.load(&keys).await);
            for (started, loaded) in waiting.into_iter().zip(loaded) {
                self.advance(started, loaded.map_or_else(Reply::Failed, Reply::Loaded));
            }
        }
        started
    }

    /// The commits that come next are one call of the store.
    pub(super) async fn commit_together(&self, mut started: Vec<StartedSession>) -> Vec<StartedSession> {
        let (mut waiting, mut commits) = (Vec::new(), Vec::new());
        for started in &mut started {
            if let Next::Perform(Effect::Commit(commit)) = &started.next {
                commits.push(commit.as_ref().clone());
                waiting.push(started);
            }
        }
        if !commits.is_empty() {
            let committed = complete(self.store.commit(&commits).await);
            for (started, committed) in waiting.into_iter().zip(committed) {
                self.advance(started, commit_reply(committed));
            }
        }
        started
    }

    async fn perform(&self, effect: Effect) -> Reply {
        match effect {
            Effect::Load(key) => {
                let loaded = only(self.store.load(slice::from_ref(&key)).await);
                loaded.map_or_else(Reply::Failed, Reply::Loaded)
            }
            Effect::Commit(commit) => commit_reply(self.commit_one(&commit).await),
            Effect::Append(entry) => {
                self.store.append(&entry).await.map_or_else(Reply::Failed, |()| Reply::Appended)
            }
            Effect::Find { key, scope } => {
                self.api.find(&key, &scope).await.map_or_else(Reply::Failed, Reply::Found)
            }
            Effect::Act(action) => self.act(&action).await.map_or_else(Reply::Failed, Reply::Acted),
        }
    }

    /// Changes a key. A call that takes too long counts as failed: it must end before the lease does.
    async fn act(&self, action: &ConfirmedAction) -> Result<ActResult, CallError> {
        let timeout = (ACTION_MARGIN - LATE_ARRIVAL).to_std().unwrap_or_default();
        match select(pin!(self.api.act(action)), pin!(self.clock.sleep(timeout))).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => Err(CallError {
                call: match action.action() {
                    Action::Deactivate => "UpdateServiceSpecificCredential",
                    Action::Delete => "DeleteServiceSpecificCredential",
                },
                retry: Retry::Transient,
                source: format!("no answer within {timeout:?}").into(),
            }),
        }
    }
}

fn commit_reply(result: Result<CommitReply, CallError>) -> Reply {
    match result {
        Ok(CommitReply::Committed(version)) => Reply::Committed(version),
        Ok(CommitReply::Conflict(stored)) => Reply::Conflict(stored),
        Ok(CommitReply::RateLimited) => Reply::RateLimited,
        Err(error) => Reply::Failed(error),
    }
}

/// The result of a call with one key.
fn only<T>(results: Vec<Result<T, CallError>>) -> Result<T, CallError> {
    results.into_iter().next().unwrap_or_else(|| Err(CallError::no_result()))
}

/// The results of a call with many keys, and failures where there are too few.
fn complete<T>(results: Vec<Result<T, CallError>>) -> impl Iterator<Item = Result<T, CallError>> {
    results.into_iter().chain(iter::repeat_with(|| Err(CallError::no_result())))
}

/// From the keys of the standard library's hashes: the operating system makes them for each thread, and they change
/// with each call.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
