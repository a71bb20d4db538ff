//! A resume: what it returns and logs.

use serde::Serialize;

use super::error::InvocationError;
use super::{InvocationHandler, LambdaExecutor, reports_bus};
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

impl InvocationHandler {
    pub(super) async fn resume(
        &self,
        executor: &LambdaExecutor<'_>,
    ) -> Result<ResumeResponse, InvocationError> {
        let run = run_resume(executor, &self.reports_bus, None).await?;
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
}
