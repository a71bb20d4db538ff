//! A Lambda invocation through the corridor.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client as DynamoDb;
use futures_util::FutureExt as _;
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::aws::keys::IamAccess;
use crate::aws::{sdk_config, warm};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Home};
use crate::corridor::{Corridor, Reach};
use crate::enforce::Failure;
use crate::event::{self, Unreadable};
use crate::ledger::{DynamoLedger, Source};
use crate::policy::{Policy, Response};
use crate::report::Report;
use crate::telemetry;

/// What every invocation of one process shares.
#[derive(Debug)]
pub struct Handler {
    policy: Arc<Policy>,
    ceiling: Response,
    ledger: DynamoLedger,
    iam: IamAccess,
}

/// Why an invocation failed. Lambda repeats it, and then hands the event to the on-failure destination.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The payload is no JSON that can be read: a number out of range, half a surrogate pair, too deep.
    #[error("the payload cannot be read as JSON")]
    Json(#[source] serde_json::Error),
    /// The event cannot be read.
    #[error("the event cannot be read")]
    Unreadable(#[source] Unreadable),
    /// The runtime did not say in which account the function is.
    #[error("the function's ARN cannot be read: {0}")]
    Home(&'static str),
    /// The function's time was nearly over. What was done until then is in the ledger.
    #[error("the function's time is nearly over, and the event is not dealt with yet")]
    OutOfTime,
    /// A defect of the guard: the event goes the way of every failure.
    #[error("the guard panicked; please report this with the lines above it")]
    Panicked,
    /// The corridor did not come to its end.
    #[error(transparent)]
    Corridor(#[from] Failure),
}

impl InvocationError {
    /// A stable name for alarms and retries to match on.
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::Json(_) | Self::Unreadable(_) => "UnreadableEvent",
            Self::Home(_) => "UnreadableFunctionArn",
            Self::OutOfTime => "OutOfTime",
            Self::Panicked => "Panicked",
            Self::Corridor(failure) => failure.error_type(),
        }
    }
}

impl From<InvocationError> for Diagnostic {
    fn from(error: InvocationError) -> Self {
        Self { error_type: error.error_type().to_owned(), error_message: telemetry::chain(&error) }
    }
}

/// What an invocation asks for, told by the payload's shape. An event is the only kind so far.
enum Invocation {
    Event(Value),
}

impl Invocation {
    fn of(payload: Value) -> Self {
        Self::Event(payload)
    }
}

impl Handler {
    /// Makes the clients and opens their connections.
    pub async fn start(config: Config) -> Self {
        let sdk = sdk_config().await;
        let dynamodb = DynamoDb::new(&sdk);
        let iam = IamAccess::new(sdk, config.responder);
        if config.warm {
            warm(&dynamodb, iam.own()).await;
        }
        Self {
            policy: Arc::new(config.policy),
            ceiling: config.ceiling,
            ledger: DynamoLedger::new(dynamodb, config.table),
            iam,
        }
    }

    /// Handles one invocation: the report, one log line and one metric line.
    ///
    /// # Errors
    /// Whatever keeps the event from its end; never `Ok` for an event that was not dealt with.
    pub async fn invoke(&self, invocation: LambdaEvent<Box<RawValue>>) -> Result<Report, InvocationError> {
        let (payload, context) = invocation.into_parts();
        let work = Box::pin(self.dispatch(&payload, &context));
        let result = ending(work, time_left(&context)).await;
        let now = SystemClock.now();
        match &result {
            Ok(report) => {
                telemetry::emit(&telemetry::report_metrics(report, now));
                log(report);
            }
            Err(error) => {
                telemetry::emit(&telemetry::failure_metrics(now));
                tracing::error!(
                    error.r#type = error.error_type(),
                    error.chain = telemetry::chain(error as &dyn Error),
                    "invocation failed and will be repeated"
                );
            }
        }
        result
    }

    async fn dispatch(&self, payload: &RawValue, context: &Context) -> Result<Report, InvocationError> {
        let payload = serde_json::from_str(payload.get()).map_err(InvocationError::Json)?;
        match Invocation::of(payload) {
            Invocation::Event(event) => self.event(event, &context.invoked_function_arn).await,
        }
    }

    async fn event(&self, event: Value, function_arn: &str) -> Result<Report, InvocationError> {
        let home: Home = function_arn.parse().map_err(InvocationError::Home)?;
        let inbound = event::parse(event).map_err(InvocationError::Unreadable)?;
        let corridor = Corridor {
            policy: Arc::clone(&self.policy),
            ceiling: self.ceiling,
            source: Source::Event,
            ledger: self.ledger.clone(),
            reach: Reach::Keys(self.iam.clone().at(home)),
            clock: SystemClock,
        };
        Ok(corridor.take(&inbound).await?)
    }
}

/// How long an invocation may still take. The margin is for saying that it took too long.
fn time_left(context: &Context) -> Duration {
    const MARGIN: Duration = Duration::from_secs(1);
    let now = u64::try_from(SystemClock.now().timestamp_millis()).unwrap_or_default();
    Duration::from_millis(context.deadline.saturating_sub(now)).saturating_sub(MARGIN)
}

/// Brings an invocation to an end of which there is a log line and a metric: not one that Lambda cuts off, nor
/// a panic that only the runtime knows of.
async fn ending(
    work: impl Future<Output = Result<Report, InvocationError>>,
    within: Duration,
) -> Result<Report, InvocationError> {
    let work = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(within, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(InvocationError::Panicked),
        Err(_elapsed) => Err(InvocationError::OutOfTime),
    }
}

fn log(report: &Report) {
    tracing::info!(
        event.id = report.event_id.as_ref().map(crate::key::EventId::as_str),
        key.account = report.account.as_ref().map(crate::key::AccountId::as_str),
        key.credential_id = report.credential_id.as_ref().map(crate::key::CredentialId::as_str),
        key.user = report.user.as_ref().map(crate::key::UserName::as_str),
        key.verdict = report.verdict.map(crate::policy::Standing::as_str),
        key.response = report.response.as_str(),
        key.outcome = report.outcome.as_str(),
        "{}",
        report.reason
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn never_ends() -> Result<Report, InvocationError> {
        std::future::pending().await
    }

    #[tokio::test]
    #[allow(clippy::panic, reason = "that is the case")]
    async fn a_panic_is_a_failure_of_its_own_name() {
        let ended = ending(async { panic!("a defect") }, Duration::from_mins(1)).await;
        assert_eq!(ended.unwrap_err().error_type(), "Panicked");
    }

    #[tokio::test]
    async fn time_that_runs_out_is_a_failure_of_its_own_name() {
        let ended = ending(never_ends(), Duration::from_millis(1)).await;
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
