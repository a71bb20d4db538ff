//! The function on AWS Lambda: a payload in, a report or counts out.
//!
//! | payload | what it is | what is returned |
//! | --- | --- | --- |
//! | an EventBridge event | [`event`] | its report |
//! | `{"sweep": {"accounts": ["111122223333"], "ceiling": "monitor"}}` | [`sweep`](mod@sweep) | counts, and what is left for a further invocation |
//! | `{"sweep": {"accounts": "heard"}}` | the same, for the accounts whose heartbeat was heard within a week | the same |
//! | `{"resume": {}}` | [`resume`] | counts |
//!
//! Everything else is an [`error`], which Lambda retries and then hands to the on-failure destination. Findings of
//! sweeps and resumes go to the [reports bus](reports_bus).

pub mod digest;
pub mod error;
pub mod event;
pub mod invocation;
pub mod reports_bus;
pub mod resume;
pub mod sweep;

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client as DynamoDb;
use chrono::TimeDelta;
use lambda_runtime::{Context, LambdaEvent};
use serde::Serialize;
use serde_json::value::RawValue;

use key_guard_core::cloudtrail;
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::policy::Policy;
use key_guard_core::report::Report;

use crate::aws::credentials::IamCredentials;
use crate::aws::{sdk_config, warm};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Home, RoleName};
use crate::ledger::store::Ledger;
use crate::runtime::executor::WorkerIds;
use crate::telemetry;

use error::InvocationError;
use event::ShapeLog;
use invocation::{Invocation, LambdaExecutor};
use reports_bus::ReportsBus;
use resume::ResumeResponse;
use sweep::SweepResponse;

/// How long an event may take. The function has more time, for sweeps.
const EVENT_TIME: Duration = Duration::from_secs(30);

/// What is left of an invocation for saying that it took too long.
const RESPONSE_MARGIN: Duration = Duration::from_secs(1);

/// What every invocation of one process shares.
#[derive(Debug)]
pub struct InvocationHandler {
    policy: Policy,
    ceiling: Ceiling,
    sweep_ceiling: Ceiling,
    store: Ledger,
    sdk: SdkConfig,
    responder: Option<RoleName>,
    /// The first invocation says in which account this is.
    credentials: OnceLock<IamCredentials>,
    reports_bus: ReportsBus,
    shapes: ShapeLog,
}

/// What an invocation returns.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// For an event.
    Report(Box<Report>),
    /// For a sweep.
    Sweep(Box<SweepResponse>),
    /// For a resume.
    Resume(Box<ResumeResponse>),
}

impl InvocationHandler {
    /// Makes the clients and opens their connections.
    pub async fn start(config: Config) -> Self {
        let sdk = sdk_config().await;
        let dynamodb = DynamoDb::new(&sdk);
        if config.warm {
            warm(&dynamodb, &aws_sdk_iam::Client::new(&sdk)).await;
        }
        Self {
            policy: config.policy,
            ceiling: config.ceiling,
            sweep_ceiling: config.sweep_ceiling,
            store: Ledger::dynamodb(dynamodb, config.table).with_attempt_days(config.attempt_days),
            reports_bus: ReportsBus::new(&sdk, config.reports_bus),
            sdk,
            responder: config.responder,
            credentials: OnceLock::new(),
            shapes: ShapeLog::default(),
        }
    }

    /// Handles one invocation.
    ///
    /// # Errors
    /// Whatever keeps it from its end; never `Ok` for an event that was not dealt with.
    pub async fn invoke(&self, invocation: LambdaEvent<Box<RawValue>>) -> Result<Response, InvocationError> {
        let (payload, context) = invocation.into_parts();
        let mut event_time = None;
        let result = match Invocation::parse(payload.get()) {
            Ok(invocation) => {
                let time = match &invocation {
                    Invocation::Event(event) => {
                        event_time = event.get("detail").and_then(cloudtrail::event_time);
                        time_left(&context).min(EVENT_TIME)
                    }
                    Invocation::Sweep(_) | Invocation::Resume => time_left(&context),
                };
                let work = Box::pin(self.run(invocation, &context, time));
                with_deadline(work, time).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            let now = SystemClock.now();
            telemetry::emit(&telemetry::failure_metrics(now));
            if let Some(event_time) = event_time {
                telemetry::emit(&telemetry::failed_event_metrics(event_time, now));
            }
            tracing::error!(
                error.r#type = error.error_type(),
                error.chain = telemetry::chain(error),
                "the invocation failed; Lambda retries it"
            );
        }
        result
    }

    async fn run(
        &self,
        invocation: Invocation,
        context: &Context,
        time: Duration,
    ) -> Result<Response, InvocationError> {
        let home: Home = context.invoked_function_arn.parse().map_err(InvocationError::FunctionArn)?;
        let credentials = self
            .credentials
            .get_or_init(|| IamCredentials::new(self.sdk.clone(), home.clone(), self.responder.clone()));
        let workers = WorkerIds::new(&context.request_id);
        let executor = |ceiling| LambdaExecutor {
            policy: &self.policy,
            ceiling,
            deadline: SystemClock.now() + TimeDelta::from_std(time).unwrap_or_default(),
            workers: &workers,
            store: &self.store,
            api: credentials,
            clock: &SystemClock,
        };
        match invocation {
            Invocation::Event(event) => {
                let executor = executor(self.ceiling);
                let report = event::process(event, &executor, &self.reports_bus, &self.shapes);
                Box::pin(report).await.map(Box::new).map(Response::Report)
            }
            Invocation::Sweep(request) => {
                let executor = executor(request.ceiling_within(self.ceiling.min(self.sweep_ceiling)));
                let sweep = sweep::sweep(*request, home.account, &executor, &self.reports_bus);
                Box::pin(sweep).await.map(Box::new).map(Response::Sweep)
            }
            Invocation::Resume => {
                let executor = executor(self.ceiling);
                let resume = resume::resume(&executor, &self.reports_bus);
                Box::pin(resume).await.map(Box::new).map(Response::Resume)
            }
        }
    }
}

/// How long an invocation may still take.
fn time_left(context: &Context) -> Duration {
    let now = u64::try_from(SystemClock.now().timestamp_millis()).unwrap_or_default();
    Duration::from_millis(context.deadline.saturating_sub(now)).saturating_sub(RESPONSE_MARGIN)
}

/// Ends an invocation with a log line and a metric, before Lambda cuts it off.
async fn with_deadline<T>(
    work: impl Future<Output = Result<T, InvocationError>>,
    time: Duration,
) -> Result<T, InvocationError> {
    tokio::time::timeout(time, work).await.unwrap_or(Err(InvocationError::OutOfTime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_that_runs_out_is_a_failure_with_a_name_of_its_own() {
        let work = std::future::pending();
        let ended: Result<(), _> = with_deadline(work, Duration::from_millis(1)).await;
        assert_eq!(ended.unwrap_err().error_type(), "OutOfTime");
    }

    #[test]
    fn a_second_is_left_for_saying_so() {
        let in_ten_seconds = (SystemClock.now().timestamp_millis() + 10_000).unsigned_abs();
        let context = |deadline| {
            let mut context = Context::default();
            context.deadline = deadline;
            context
        };
        let left = time_left(&context(in_ten_seconds));
        assert!((Duration::from_millis(8_900)..=Duration::from_secs(9)).contains(&left), "{left:?}");
        assert_eq!(time_left(&context(0)), Duration::ZERO);
    }
}
