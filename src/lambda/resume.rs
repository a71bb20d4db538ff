//! A resume: what it returns and logs.

use futures_util::future::join;
use serde::Serialize;

use super::error::InvocationError;
use super::invocation::LambdaExecutor;
use super::reports_bus::{self, ReportsBus};
use crate::clock::{Clock as _, SystemClock};
use crate::runtime::publish::PublicationCounts;
use crate::runtime::resume::{ResumeCounts, run_resume};
use crate::runtime::silence::{SilenceCounts, SilenceRun, report_silent_accounts};
use crate::telemetry::{self, chain};

/// What a resume returns.
#[derive(Debug, Serialize)]
pub struct ResumeResponse {
    /// What it dealt with.
    pub resume: ResumeCounts,
    /// What it published.
    pub publications: PublicationCounts,
    /// The accounts that are silent.
    pub accounts: SilenceCounts,
}

/// Resumes, and reports silent accounts. Neither waits for the other, or fails with it.
pub(super) async fn resume(
    executor: &LambdaExecutor<'_>,
    reports_bus: &ReportsBus,
) -> Result<ResumeResponse, InvocationError> {
    let silence = report_silent_accounts(executor, executor.store, reports_bus);
    let (run, silence) = join(run_resume(executor, reports_bus, None), silence).await;
    if let Ok(SilenceRun { problems, .. }) = &silence {
        for problem in problems {
            tracing::error!(error.chain = chain(problem), "the next resume reports a silent account again");
        }
    }
    let run = run?;
    for failure in &run.failures {
        tracing::error!(error.chain = chain(failure), "a key is left to the next resume");
    }
    reports_bus::log_problems(&run.publications.problems);
    let accounts = silence.map_err(InvocationError::ReadHeard)?.counts;
    let (resume, publications) = (run.counts, run.publications.counts);
    let is_completed = !resume.is_out_of_time;
    let now = SystemClock.now();
    telemetry::emit(&telemetry::resume_metrics(accounts.silent, run.oldest_open_intent, is_completed, now));
    tracing::info!(
        resume.keys = resume.keys,
        resume.failed = resume.failed,
        resume.paused = resume.paused,
        resume.published = publications.published,
        resume.silent_accounts = accounts.silent,
        "resumed"
    );
    Ok(ResumeResponse { resume, publications, accounts })
}
