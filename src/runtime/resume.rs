//! Resumes: executes intents whose worker died, and deletes keys whose quarantine has ended (R8, R12).

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _};
use key_guard_core::Time;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::effect::{CallError, Cause};
use key_guard_core::lifecycle::input::{Ceiling, Input};
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::StoredState;
use key_guard_core::lifecycle::summary::Publication;
use key_guard_core::lifecycle::sweep::{UnreportedFinding, is_late};
use key_guard_core::lifecycle::transition::{Reason, SessionEnd};
use key_guard_core::ports::{CredentialApi, KeyStore};
use key_guard_core::report::Outcome;
use serde::Serialize;

use super::executor::{Executor, MAX_CONCURRENT_SESSIONS};
use super::publish::{FindingPublisher, Publications};
use crate::clock::Clock;

/// What a resume came to.
#[derive(Debug, Default)]
pub struct ResumeRun {
    /// What was counted.
    pub counts: ResumeCounts,
    /// The sessions that failed. What they have begun is left to the next resume.
    pub failures: Vec<SessionError>,
    /// What was published.
    pub publications: Publications,
    /// When the oldest intent was authorised that this resume should have executed, and that is still open. What the
    /// ceiling pauses does not count (R8).
    pub oldest_open_intent: Option<Time>,
}

/// Counts of a resume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ResumeCounts {
    /// Keys with an open intent, or whose date of deletion has come, that were dealt with.
    pub keys: u64,
    /// Keys of the ledger that could not be read.
    pub unreadable: u64,
    /// What became of the keys whose state changed.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Keys that need nothing yet.
    pub nothing_to_do: u64,
    /// Keys whose intent another worker executes.
    pub leased: u64,
    /// Keys whose intent the ceiling `monitor` pauses.
    pub paused: u64,
    /// Keys whose deletion waits for the next hour, since the breaker has no more of them in this one (R11).
    pub rate_limited: u64,
    /// Keys whose session failed.
    pub failed: u64,
    /// True if there was no time for the rest of the keys.
    pub is_out_of_time: bool,
}

/// The keys that a resume deals with could not be read. What it has done so far is stored.
#[derive(Debug, thiserror::Error)]
#[error("the keys with open intents could not be read in the ledger")]
pub struct ResumeError {
    /// Why.
    pub source: CallError,
}

/// Deals with every key that has an open intent or whose date of deletion has come, and publishes what nobody was told of.
///
/// Each gets a session, which knows its state. So a key that needs nothing costs no call. With `accounts`, only their keys
/// are dealt with.
///
/// # Errors
/// When a page of these keys could not be read.
pub async fn run_resume<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    publisher: &impl FindingPublisher,
    accounts: Option<&BTreeSet<AccountId>>,
) -> Result<ResumeRun, ResumeError> {
    let mut run = ResumeRun::default();
    // One time for all pages, as a cursor belongs to one question.
    let now = executor.clock.now();
    let mut cursor = None;
    loop {
        if is_late(executor.clock.now(), executor.deadline) {
            run.counts.is_out_of_time = true;
            return Ok(run);
        }
        let page = executor.retry(|| executor.store.resumable_keys(now, cursor.as_ref())).await;
        let page = page.map_err(|source| ResumeError { source })?;
        run.counts.unreadable += page.unreadable;
        let mut keys = page.keys;
        keys.retain(|stored| is_in(stored, accounts));
        run.resume_keys(executor, keys, publisher).await;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(run);
        }
    }
}

impl ResumeRun {
    /// Runs the sessions of a page side by side, and publishes what they find.
    async fn resume_keys<S: KeyStore, A: CredentialApi, C: Clock>(
        &mut self,
        executor: &Executor<'_, S, A, C>,
        keys: Vec<StoredState>,
        publisher: &impl FindingPublisher,
    ) {
        let sessions = keys.into_iter().filter_map(|stored| {
            let was_open_since = open_since(&stored);
            session(stored).map(|session| (session, was_open_since))
        });
        let sessions = sessions.map(|(session, was_open_since)| async move {
            // The time is checked for each key when its turn comes.
            if is_late(executor.clock.now(), executor.deadline) {
                return (Err(SessionError::OutOfTime), was_open_since, None);
            }
            match executor.run(session).await {
                Ok(result) => {
                    let report = executor.report(&result);
                    let (ended, is_open_since) = ((result.end, report.outcome), open_since(&result.stored));
                    let delivery = match Publication::due(&result.stored, executor.clock.now()) {
                        Some(publication) => {
                            let finding = UnreportedFinding { report, publication, stored: result.stored };
                            Some(executor.publish(publisher, finding, Cause::Resume).await)
                        }
                        None => None,
                    };
                    (Ok(ended), is_open_since, delivery)
                }
                Err(error) => (Err(error), was_open_since, None),
            }
        });
        let mut running = stream::iter(sessions).buffer_unordered(MAX_CONCURRENT_SESSIONS);
        while let Some((result, open_since, published)) = running.next().await {
            if executor.ceiling > Ceiling::Monitor {
                self.oldest_open_intent = self.oldest_open_intent.into_iter().chain(open_since).min();
            }
            match result {
                Ok((end, outcome)) => self.counts.add(end, outcome),
                Err(SessionError::OutOfTime) => self.counts.is_out_of_time = true,
                Err(error) => {
                    self.counts.keys += 1;
                    self.counts.failed += 1;
                    self.failures.push(error);
                }
            }
            if let Some(published) = published {
                self.publications.add(published);
            }
        }
    }
}

fn is_in(stored: &StoredState, accounts: Option<&BTreeSet<AccountId>>) -> bool {
    let record = stored.state.record();
    accounts.is_none_or(|accounts| record.is_some_and(|record| accounts.contains(&record.key().account)))
}

/// When the key's intent was authorised, if it has one.
fn open_since(stored: &StoredState) -> Option<Time> {
    Some(stored.state.record()?.phase.intent()?.id.authorised_at)
}

fn session(stored: StoredState) -> Option<Session> {
    let key = stored.state.record()?.key().clone();
    Some(Session::with_state(key, Input::Resume, stored))
}

impl ResumeCounts {
    fn add(&mut self, end: SessionEnd, outcome: Outcome) {
        self.keys += 1;
        match end {
            SessionEnd::Stored => *self.outcomes.entry(outcome).or_default() += 1,
            SessionEnd::Left(Reason::LeftToLeaseHolder) => self.leased += 1,
            SessionEnd::Left(Reason::Paused) => self.paused += 1,
            SessionEnd::Left(Reason::BudgetSpent) => self.rate_limited += 1,
            SessionEnd::Left(Reason::AlreadyKnown | Reason::OutOfScope | Reason::OlderList)
            | SessionEnd::Logged(_) => self.nothing_to_do += 1,
        }
    }
}
