//! Findings that nobody has been told of: published first, and then marked as reported (I11).

use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::effect::{CallError, Cause};
use key_guard_core::lifecycle::state::StoredState;
use key_guard_core::lifecycle::summary::Publication;
use key_guard_core::lifecycle::sweep::UnreportedFinding;
use key_guard_core::ports::{CommitReply, CredentialApi, KeyStore};
use key_guard_core::report::Report;
use serde::Serialize;

use super::executor::Executor;
use crate::clock::Clock;

/// Where the findings of sweeps and resumes go.
pub trait FindingPublisher: Sync {
    /// Publishes a finding's report.
    fn publish(&self, report: &Report) -> impl Future<Output = Result<Delivery, CallError>> + Send;
}

/// What came of publishing a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Somebody was told.
    Published,
    /// There is nobody to tell. The finding stays unreported.
    NoReceiver,
}

/// For a deployment without a reports bus: findings are only counted and recorded. Once there is a bus, the next sweep
/// publishes all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoBus;

impl FindingPublisher for NoBus {
    async fn publish(&self, _report: &Report) -> Result<Delivery, CallError> {
        Ok(Delivery::NoReceiver)
    }
}

/// What an invocation published.
#[derive(Debug, Default)]
pub struct Publications {
    /// How many.
    pub counts: PublicationCounts,
    /// What went wrong.
    pub problems: Vec<PublicationProblem>,
}

/// Counts of findings that nobody had been told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PublicationCounts {
    /// All of them.
    pub findings: u64,
    /// Those that were published.
    pub published: u64,
    /// Those that could not be published.
    pub failed: u64,
}

/// Something that was not published, or not marked. The next sweep publishes it again.
#[derive(Debug, thiserror::Error)]
pub enum PublicationProblem {
    /// A finding was not published.
    #[error("the finding on {key} was not published")]
    Publish {
        /// Which key's.
        key: KeyRef,
        /// Why.
        source: CallError,
    },
    /// A finding was published, and is not marked as reported.
    #[error("the finding on {key} was published, and could not be marked as reported")]
    Mark {
        /// Which key's.
        key: KeyRef,
        /// Why.
        source: CallError,
    },
}

impl Publications {
    /// Adds what came of one finding.
    pub(super) fn add(&mut self, result: Result<Delivery, PublicationProblem>) {
        self.counts.findings += 1;
        match &result {
            Ok(Delivery::Published) | Err(PublicationProblem::Mark { .. }) => self.counts.published += 1,
            Ok(Delivery::NoReceiver) => {}
            Err(PublicationProblem::Publish { .. }) => self.counts.failed += 1,
        }
        self.problems.extend(result.err());
    }
}

impl<S: KeyStore, A: CredentialApi, C: Clock> Executor<'_, S, A, C> {
    /// Publishes a finding, and then marks it as reported.
    pub(super) async fn publish(
        &self,
        publisher: &impl FindingPublisher,
        finding: UnreportedFinding,
        cause: Cause,
    ) -> Result<Delivery, PublicationProblem> {
        let UnreportedFinding { report, publication, stored } = finding;
        let key = publication.key().clone();
        match publisher.publish(&report).await {
            Ok(Delivery::Published) => {}
            Ok(Delivery::NoReceiver) => return Ok(Delivery::NoReceiver),
            Err(source) => return Err(PublicationProblem::Publish { key, source }),
        }
        match self.mark_reported(&publication, stored, &cause).await {
            Ok(()) => Ok(Delivery::Published),
            Err(source) => Err(PublicationProblem::Mark { key, source }),
        }
    }

    /// After a conflict, what is stored now decides whether the mark is still right.
    async fn mark_reported(
        &self,
        publication: &Publication,
        mut stored: StoredState,
        cause: &Cause,
    ) -> Result<(), CallError> {
        while let Some(commit) = publication.mark_reported(&stored, cause.clone(), self.clock.now()) {
            match self.retry(|| self.commit_one(&commit)).await? {
                CommitReply::Conflict(current) => stored = current,
                // No budget is spent here, so there is none that could be at its end.
                CommitReply::Committed(_) | CommitReply::RateLimited => break,
            }
        }
        Ok(())
    }
}
