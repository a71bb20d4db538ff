//! A resume: what it returns and logs.

use serde::Serialize;

use super::error::InvocationError;
use super::invocation::LambdaExecutor;
use super::reports_bus::{self, ReportsBus};
use crate::runtime::publish::PublicationCounts;
use crate::runtime::resume::{ResumeCounts, run_resume};
use crate::telemetry::chain;

/// What a resume returns.
#[derive(Debug, Serialize)]
pub struct ResumeResponse {
    /// What it dealt with.
    pub resume: ResumeCounts,
    /// What it published.
    pub publications: PublicationCounts,
}

pub(super) async fn resume(
    executor: &LambdaExecutor<'_>,
    reports_bus: &ReportsBus,
) -> Result<ResumeResponse, InvocationError> {
    let run = run_resume(executor, reports_bus, None).await?;
    for failure in &run.failures {
        tracing::error!(error.chain = chain(failure), "a key is left to the next resume");
    }
    reports_bus::log_problems(&run.publications.problems);
    let (resume, publications) = (run.counts, run.publications.counts);
    tracing::info!(
        resume.keys = resume.keys,
        resume.failed = resume.failed,
        resume.paused = resume.paused,
        resume.published = publications.published,
        "resumed"
    );
    Ok(ResumeResponse { resume, publications })
}
