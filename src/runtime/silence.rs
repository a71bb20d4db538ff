//! Accounts that have fallen silent: each is reported first, and then marked as reported (I11).

use futures_util::stream::{self, StreamExt as _};
use key_guard_core::Time;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::effect::CallError;
use key_guard_core::lifecycle::sweep::is_late;
use key_guard_core::ports::{CredentialApi, KeyStore};
use key_guard_core::report::Report;
use key_guard_core::silence::{HeardAccount, reportable};
use serde::Serialize;

use super::executor::{Executor, MAX_CONCURRENT_SESSIONS};
use super::publish::{Delivery, FindingPublisher};
use crate::clock::Clock;

/// Where the accounts are that were heard.
pub trait HeardStore: Sync {
    /// The accounts whose heartbeat was heard, in their order. Some of them may have been silent for longer than
    /// [`KEPT_FOR`](key_guard_core::silence::KEPT_FOR).
    ///
    /// # Errors
    /// When the store cannot be read, or one of the accounts: it would neither be swept nor called silent.
    fn heard_accounts(&self) -> impl Future<Output = Result<Vec<HeardAccount>, CallError>> + Send;

    /// Stores that the silence of an account was reported. Nothing is stored if the account has changed since it was read:
    /// it was heard again, or another worker has reported its silence.
    ///
    /// # Errors
    /// When the store cannot be written. The silence is reported again then.
    fn mark_silence_reported(
        &self,
        silent: &HeardAccount,
        at: Time,
    ) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// What a look at the silent accounts came to.
#[derive(Debug, Default)]
pub struct SilenceRun {
    /// What was counted.
    pub counts: SilenceCounts,
    /// What went wrong. The next look reports these accounts again.
    pub problems: Vec<SilenceProblem>,
}

/// Counts of silent accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SilenceCounts {
    /// All of them.
    pub silent: u64,
    /// Those that were reported now.
    pub reported: u64,
    /// Those that could not be reported.
    pub failed: u64,
}

/// A silent account that was not reported, or not marked as reported.
#[derive(Debug, thiserror::Error)]
pub enum SilenceProblem {
    /// The silence was not published.
    #[error("the silence of account {account} was not published")]
    Publish {
        /// Whose.
        account: AccountId,
        /// Why.
        source: CallError,
    },
    /// The silence was published, and is not marked as reported.
    #[error("the silence of account {account} was published, and could not be marked as reported")]
    Mark {
        /// Whose.
        account: AccountId,
        /// Why.
        source: CallError,
    },
}

/// Reports each [account that has fallen silent](reportable), once. Where there is nobody to tell, none is marked as reported. What
/// there is no time for is left to the next look.
///
/// # Errors
/// When the accounts that were heard could not be read.
pub async fn report_silent_accounts<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    heard: &impl HeardStore,
    publisher: &impl FindingPublisher,
) -> Result<SilenceRun, CallError> {
    let accounts = executor.retry(|| heard.heard_accounts()).await?;
    let mut run = SilenceRun::default();
    let now = executor.clock.now();
    run.counts.silent = accounts.iter().filter(|account| account.is_silent(now)).count() as u64;
    let unreported =
        reportable(&accounts, now).into_iter().filter(|account| account.silence_reported_at.is_none());
    let reports = unreported.map(|silent| async move {
        if is_late(executor.clock.now(), executor.deadline) {
            return Ok(Delivery::NoReceiver);
        }
        report_silence(executor, heard, publisher, silent).await
    });
    let mut running = stream::iter(reports).buffer_unordered(MAX_CONCURRENT_SESSIONS);
    while let Some(result) = running.next().await {
        match &result {
            Ok(Delivery::Published) | Err(SilenceProblem::Mark { .. }) => run.counts.reported += 1,
            Ok(Delivery::NoReceiver) => {}
            Err(SilenceProblem::Publish { .. }) => run.counts.failed += 1,
        }
        run.problems.extend(result.err());
    }
    Ok(run)
}

async fn report_silence<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    heard: &impl HeardStore,
    publisher: &impl FindingPublisher,
    silent: &HeardAccount,
) -> Result<Delivery, SilenceProblem> {
    let account = silent.account.clone();
    match publisher.publish(&Report::silent_account(silent)).await {
        Ok(Delivery::Published) => {}
        Ok(Delivery::NoReceiver) => return Ok(Delivery::NoReceiver),
        Err(source) => return Err(SilenceProblem::Publish { account, source }),
    }
    let mark = || heard.mark_silence_reported(silent, executor.clock.now());
    match executor.retry(mark).await {
        Ok(()) => Ok(Delivery::Published),
        Err(source) => Err(SilenceProblem::Mark { account, source }),
    }
}
