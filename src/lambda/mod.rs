//! The function on AWS Lambda: a payload in, a report or counts out.
//!
//! | payload | what it is | what is returned |
//! | --- | --- | --- |
//! | an EventBridge event | [`event`] | its report |
//! | what a queue, a topic or a stream has wrapped | the same, for each event in it | the most severe report |
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
pub mod policy;
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
use key_guard_core::remediation::Contact;
use key_guard_core::report::Report;

use crate::aws::credentials::IamCredentials;
use crate::aws::{sdk_config, warm};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, ConfigError, Home, RoleName};
use crate::ledger::store::Ledger;
use crate::runtime::executor::WorkerIds;
use crate::telemetry;

use error::InvocationError;
use event::ShapeLog;
use invocation::{Invocation, LambdaExecutor};
use policy::PolicyInUse;
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
    policy: PolicyInUse,
    ceiling: Ceiling,
    sweep_ceiling: Ceiling,
    store: Ledger,
    sdk: SdkConfig,
    responder: Option<RoleName>,
    contact: Option<Contact>,
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
    /// Makes the clients, opens their connections, and reads the policy if it is in the ledger.
    ///
    /// # Errors
    /// When the policy is to come from the ledger, and there is none that can be used.
    pub async fn start(config: Config) -> Result<Self, ConfigError> {
        let sdk = sdk_config().await;
        let dynamodb = DynamoDb::new(&sdk);
        if config.warm {
            warm(&dynamodb, &aws_sdk_iam::Client::new(&sdk)).await;
        }
        let store = Ledger::dynamodb(dynamodb, config.table).with_attempt_days(config.attempt_days);
        let policy = PolicyInUse::start(config.policy, &store, SystemClock.now()).await;
        Ok(Self {
            policy: policy.map_err(ConfigError::LedgerPolicy)?,
            ceiling: config.ceiling,
            sweep_ceiling: config.sweep_ceiling,
            store,
            reports_bus: ReportsBus::new(&sdk, config.reports_bus, config.contact.clone()),
            contact: config.contact,
            sdk,
            responder: config.responder,
            credentials: OnceLock::new(),
            shapes: ShapeLog::default(),
        })
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
                    Invocation::Wrapped(_) | Invocation::Sweep(_) | Invocation::Resume => time_left(&context),
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
        let started = SystemClock.now();
        let policy = self.policy.current(&self.store, started).await?;
        let executor = |ceiling| LambdaExecutor {
            policy: &policy,
            ceiling,
            deadline: started + TimeDelta::from_std(time).unwrap_or_default(),
            workers: &workers,
            store: &self.store,
            api: credentials,
            clock: &SystemClock,
        };
        match invocation {
            Invocation::Event(event) => {
                let executor = executor(self.ceiling);
                let report = event::process(&event, &executor, &self.reports_bus, &self.shapes);
                let report = Box::pin(report).await?.with_contact(self.contact.as_ref());
                Ok(Response::Report(Box::new(report)))
            }
            Invocation::Wrapped(found) => {
                let executor = executor(self.ceiling);
                let report = event::process_wrapped(found, &executor, &self.reports_bus, &self.shapes);
                let report = Box::pin(report).await?.with_contact(self.contact.as_ref());
                Ok(Response::Report(Box::new(report)))
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

    /// A policy that was read at this time is asked for again, or not, by the invocation of now.
    #[cfg(feature = "cli")]
    async fn policy_of_an_invocation(seconds_since_read: i64) -> u32 {
        use crate::config::PolicySource;
        use crate::ledger::policy::{PolicyVersion, sha256_of};
        use aws_config::BehaviorVersion;
        use key_guard_core::policy::BUILT_IN;

        let store = Ledger::in_memory().unwrap();
        let now = SystemClock.now();
        let push = async |number: u32| {
            let text = format!("{BUILT_IN}# {number}\n");
            let sha256 = sha256_of(&text);
            let (pushed_by, reason) = ("maria".to_owned(), None);
            let version =
                PolicyVersion { number, sha256: sha256.clone(), text, pushed_at: now, pushed_by, reason };
            store.append_policy(&version).await.unwrap();
            sha256
        };
        let first = push(1).await;
        let read_at = now - TimeDelta::seconds(seconds_since_read);
        let policy = PolicyInUse::start(PolicySource::Ledger, &store, read_at).await.unwrap();
        let second = push(2).await;
        let sdk = SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).build();
        let handler = InvocationHandler {
            policy,
            ceiling: Ceiling::Monitor,
            sweep_ceiling: Ceiling::Monitor,
            reports_bus: ReportsBus::new(&sdk, None, None),
            contact: None,
            store: store.clone(),
            sdk,
            responder: None,
            credentials: OnceLock::new(),
            shapes: ShapeLog::default(),
        };
        let event = include_str!("../../events/created-for-90-days.json").to_owned();
        let mut context = Context::default();
        context.invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:guard".to_owned();
        context.deadline = (now.timestamp_millis() + 60_000).unsigned_abs();
        let event = LambdaEvent::new(RawValue::from_string(event).unwrap(), context);
        let Response::Report(report) = handler.invoke(event).await.unwrap() else { panic!() };
        let used = report.policy_sha256.as_deref();
        [first, second].iter().zip(1..).find(|(sha256, _)| Some(sha256.as_str()) == used).unwrap().1
    }

    #[cfg(feature = "cli")]
    #[tokio::test]
    async fn an_invocation_judges_by_the_policy_that_is_current_or_was_a_minute_ago() {
        assert_eq!(policy_of_an_invocation(30).await, 1);
        assert_eq!(policy_of_an_invocation(61).await, 2);
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
