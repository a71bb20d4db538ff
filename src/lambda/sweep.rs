//! A sweep: what it returns and logs, and what is left for a further invocation.

use std::collections::BTreeSet;

use serde::Serialize;

use key_guard_core::Time;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::state::KeyState;
use key_guard_core::lifecycle::summary::SinceLastSweep;
use key_guard_core::lifecycle::sweep::{Sweep, SweepCounts, SweepError, SweepProblem};
use key_guard_core::lifecycle::transition::SessionEnd;
use key_guard_core::policy::Verdict;
use key_guard_core::ports::KeyStore as _;
use key_guard_core::report::Outcome;

use super::digest::{Digest, DigestKeys};
use super::error::InvocationError;
use super::invocation::{LambdaExecutor, SweepAccounts, SweepRequest};
use super::reports_bus::{self, ReportsBus};
use crate::clock::{Clock as _, SystemClock};
use crate::runtime::publish::PublicationCounts;
use crate::runtime::silence::HeardStore as _;
use crate::runtime::sweep::{SweepObserver, SweptKey, run_sweep};
use crate::telemetry;

/// How many invocations one sweep may take: more than any needs, and an end to one that goes in circles.
const MAX_INVOCATIONS: u32 = 200;

/// What an invocation of a sweep returns.
#[derive(Debug, Serialize)]
pub struct SweepResponse {
    /// The sweep so far, its earlier invocations included.
    pub sweep: SweepSummary,
    /// What this invocation published.
    pub publications: PublicationCounts,
    /// What is left: the payload of a further invocation.
    pub r#continue: Option<SweepPayload>,
    /// What stands open, of the last invocation of a sweep.
    pub digest: Option<Digest>,
}

/// The payload of a further invocation.
#[derive(Debug, Serialize)]
pub struct SweepPayload {
    /// The sweep.
    pub sweep: SweepRequest,
}

/// A sweep so far.
#[derive(Debug, Serialize)]
pub struct SweepSummary {
    /// When its first invocation started.
    pub started: Time,
    /// True if it has ended, and every account was swept completely.
    pub completed: bool,
    /// Accounts that could not be swept completely.
    pub accounts_failed: u64,
    /// Listed keys that are noncompliant, whether they are active or not.
    pub noncompliant: u64,
    /// Listed keys whose lifetime is not known.
    pub undetermined: u64,
    /// Listed keys that the guard has deactivated, in this sweep or before.
    pub deactivated: u64,
    /// Listed keys that this sweep deleted.
    pub deleted: u64,
    /// Everything that the sweep counts.
    #[serde(flatten)]
    pub counts: SweepCounts,
}

impl SweepSummary {
    fn new(started: Time, counts: SweepCounts, has_ended: bool) -> Self {
        let accounts_failed = counts.accounts.saturating_sub(counts.accounts_completed);
        let verdicts = |verdict| counts.verdicts.get(&verdict).copied().unwrap_or_default();
        let outcomes = |outcome| counts.outcomes.get(&outcome).copied().unwrap_or_default();
        Self {
            started,
            completed: has_ended && accounts_failed == 0,
            accounts_failed,
            noncompliant: verdicts(Verdict::Noncompliant),
            undetermined: verdicts(Verdict::Undetermined),
            deactivated: outcomes(Outcome::Deactivated),
            deleted: outcomes(Outcome::Deleted),
            counts,
        }
    }
}

/// Sweeps the requested accounts, as far as this invocation's time suffices.
pub(super) async fn sweep(
    request: SweepRequest,
    own_account: AccountId,
    executor: &LambdaExecutor<'_>,
    reports_bus: &ReportsBus,
) -> Result<SweepResponse, InvocationError> {
    let SweepRequest { accounts, ceiling, checkpoint, started, invocations, digest } = request;
    let started = started.unwrap_or_else(|| SystemClock.now());
    let services = executor.policy.services();
    let sweep = if let Some(checkpoint) = checkpoint {
        Sweep::from_checkpoint(checkpoint, services)
    } else {
        Sweep::new(swept_accounts(accounts, own_account, executor).await?, services)
    };
    let mut observer = LambdaObserver { digest };
    let run = run_sweep(executor, sweep, reports_bus, &mut observer).await;
    let run = run.inspect_err(log_sweep_error)?;
    log_problems(&run.result.problems);
    reports_bus::log_problems(&run.publications.problems);
    let has_ended = run.result.checkpoint.is_none();
    let next = run.result.checkpoint.and_then(|checkpoint| {
        let checkpoint = Some(checkpoint);
        let digest = observer.digest.clone();
        let invocations = invocations.saturating_add(1);
        further_request(SweepRequest {
            ceiling,
            checkpoint,
            started: Some(started),
            invocations,
            digest,
            ..SweepRequest::default()
        })
    });
    let digest = match next {
        Some(_) => None,
        None => Some(read_digest(&observer.digest, executor).await),
    };
    let response = SweepResponse {
        sweep: SweepSummary::new(started, run.result.counts, has_ended),
        publications: run.publications.counts,
        r#continue: next,
        digest,
    };
    log_response(&response, has_ended);
    Ok(response)
}

/// The accounts that are meant.
async fn swept_accounts(
    accounts: SweepAccounts,
    own_account: AccountId,
    executor: &LambdaExecutor<'_>,
) -> Result<BTreeSet<AccountId>, InvocationError> {
    match accounts {
        SweepAccounts::Listed(accounts) if accounts.is_empty() => Ok(BTreeSet::from([own_account])),
        SweepAccounts::Listed(accounts) => Ok(accounts),
        SweepAccounts::Heard => {
            let heard = executor.retry(|| executor.store.heard_accounts()).await;
            let heard = heard.map_err(InvocationError::ReadHeard)?;
            let now = SystemClock.now();
            let mut accounts: BTreeSet<_> =
                heard.into_iter().filter(|heard| heard.is_swept(now)).map(|heard| heard.account).collect();
            if accounts.is_empty() {
                tracing::warn!(
                    "no heartbeat was heard within a week: only the function's own account is swept"
                );
            }
            // The first sweep begins before the first heartbeat, and its own heartbeat may be disabled.
            accounts.insert(own_account);
            Ok(accounts)
        }
    }
}

/// `None`: the sweep is given up.
fn further_request(sweep: SweepRequest) -> Option<SweepPayload> {
    if sweep.invocations >= MAX_INVOCATIONS {
        tracing::error!("the sweep is given up after {MAX_INVOCATIONS} invocations");
        return None;
    }
    Some(SweepPayload { sweep })
}

/// The digest, as far as the ledger can be read: a sweep that has ended does not fail for it.
async fn read_digest(digest: &DigestKeys, executor: &LambdaExecutor<'_>) -> Digest {
    const INCOMPLETE: &str = "the digest is incomplete";
    let keys: Vec<_> = digest.keys().into_iter().collect();
    let mut records = Vec::new();
    if !keys.is_empty() {
        for stored in executor.store.load(&keys).await {
            match stored.map(|stored| stored.state) {
                Ok(KeyState::Tracked(record)) => records.push(*record),
                Ok(KeyState::Unknown | KeyState::Unconfirmed(_) | KeyState::Tombstone(_)) => {}
                Err(error) => tracing::error!(error.chain = telemetry::chain(&error), INCOMPLETE),
            }
        }
    }
    let heard = executor.retry(|| executor.store.heard_accounts()).await;
    let heard = heard.inspect_err(|error| tracing::error!(error.chain = telemetry::chain(error), INCOMPLETE));
    digest.digest(&records, heard.ok(), executor.policy, SystemClock.now())
}

/// Collects what the digest will have. Logs and counts each key that this sweep has stored something of, and that is not
/// as the last one left it.
struct LambdaObserver {
    digest: DigestKeys,
}

impl SweepObserver for LambdaObserver {
    fn key_swept(&mut self, key: SweptKey<'_>) {
        let now = SystemClock.now();
        self.digest.add(&key, now);
        let has_changed = match key.since_last_sweep {
            Some(SinceLastSweep::New | SinceLastSweep::Changed | SinceLastSweep::Ended) => true,
            Some(SinceLastSweep::Unchanged) | None => false,
        };
        if has_changed && key.result.end == SessionEnd::Stored {
            telemetry::emit(&telemetry::swept_metrics(&key.report, now));
            telemetry::log_report(&key.report);
        }
    }
}

fn log_sweep_error(error: &SweepError) {
    match error {
        SweepError::NothingListed { problems } => log_problems(problems),
        SweepError::UnexpectedReply { .. } => {}
    }
}

fn log_problems(problems: &[SweepProblem]) {
    for problem in problems {
        tracing::error!(error.chain = telemetry::chain(problem), "a sweep goes on without something");
    }
}

/// A log line for each invocation, and a metric line for each sweep. `has_ended`: it was not given up; what failed in it has
/// a metric of its own.
fn log_response(response: &SweepResponse, has_ended: bool) {
    let SweepSummary { completed, accounts_failed, counts, .. } = &response.sweep;
    if response.r#continue.is_none() {
        let failures = accounts_failed + counts.failed + counts.unreadable;
        let now = SystemClock.now();
        telemetry::emit(&telemetry::sweep_metrics(counts.keys, failures, has_ended, now));
    }
    tracing::info!(
        sweep.accounts = counts.accounts,
        sweep.accounts_failed = accounts_failed,
        sweep.keys = counts.keys,
        sweep.failed = counts.failed,
        sweep.unreported = counts.unreported,
        sweep.completed = completed,
        "swept"
    );
}
