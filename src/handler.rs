//! A Lambda invocation through the corridor.

use std::error::Error;
use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;

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
    /// The event cannot be read.
    #[error("the event cannot be read")]
    Unreadable(#[source] Unreadable),
    /// The runtime did not say in which account the function is.
    #[error("the function's ARN cannot be read: {0}")]
    Home(&'static str),
    /// The corridor did not come to its end.
    #[error(transparent)]
    Corridor(#[from] Failure),
}

impl InvocationError {
    /// A stable name for alarms and retries to match on.
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "UnreadableEvent",
            Self::Home(_) => "UnreadableFunctionArn",
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
    pub async fn invoke(&self, invocation: LambdaEvent<Value>) -> Result<Report, InvocationError> {
        let (payload, context) = invocation.into_parts();
        let result = match Invocation::of(payload) {
            Invocation::Event(event) => self.event(event, &context.invoked_function_arn).await,
        };
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
