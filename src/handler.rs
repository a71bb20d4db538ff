//! A Lambda invocation: an event through the corridor, or a sweep.
//!
//! A sweep is asked for with `{"sweep": {"accounts": ["111122223333"], "ceiling": "monitor"}}`: the accounts (the
//! function's own where there are none), and the furthest that it may go, which is never further than the function's
//! own ceiling. What its time does not suffice for is in the answer's `continue`, which is the payload of a further
//! invocation.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client as DynamoDb;
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::aws::keys::{IamAccess, Own};
use crate::aws::{sdk_config, warm};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Home};
use crate::corridor::{Corridor, Reach};
use crate::enforce::Failure;
use crate::ledger::{DynamoLedger, Source};
use crate::plan::Hands;
use crate::sweep::{Change, Found, Listener, Rest, Sweep, Trouble};
use crate::telemetry;
use key_guard_core::cloudtrail::Unreadable;
use key_guard_core::key::AccountId;
use key_guard_core::policy::{Policy, Response, Verdict};
use key_guard_core::report::Report;

/// How long an event may take. The function has more time, for sweeps.
const EVENT_TIME: Duration = Duration::from_secs(30);

/// Accounts that are swept side by side.
const ACCOUNTS_AT_ONCE: usize = 8;

/// How many invocations one sweep may take: more than any needs, and an end to one that goes in circles.
const MAX_INVOCATIONS: u32 = 200;

/// Reports in the answer of a sweep; the ledger has them all.
const MAX_FINDINGS: usize = 20;

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
    /// The sweep that is asked for cannot be understood.
    #[error("the sweep cannot be read")]
    Sweep(#[source] serde_json::Error),
    /// No account could be swept.
    #[error("no account could be swept; the first: {0}")]
    NothingSwept(String),
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
            Self::Sweep(_) => "UnreadableSweep",
            Self::NothingSwept(_) => "NothingSwept",
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

/// What an invocation asks for, told by the payload's shape.
enum Invocation {
    Event(Value),
    Sweep(SweepRequest),
}

impl Invocation {
    fn of(payload: &RawValue) -> Result<Self, InvocationError> {
        let mut payload: Value = serde_json::from_str(payload.get()).map_err(InvocationError::Json)?;
        match payload.get_mut("sweep") {
            Some(sweep) => {
                serde_json::from_value(sweep.take()).map(Self::Sweep).map_err(InvocationError::Sweep)
            }
            None => Ok(Self::Event(payload)),
        }
    }
}

/// The sweep that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepRequest {
    /// The accounts that are swept from their beginning.
    #[serde(default)]
    pub accounts: Vec<AccountId>,
    /// The furthest that any response may go.
    #[serde(deserialize_with = "ceiling")]
    pub ceiling: Response,
    /// Where accounts that were begun go on.
    #[serde(default)]
    pub rest: Vec<Rest>,
    /// How many invocations this sweep has taken.
    #[serde(default)]
    pub invocations: u32,
    /// How many accounts they could not sweep.
    #[serde(default)]
    pub failed: u64,
}

fn ceiling<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Response, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

/// What an invocation returns.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Of an event.
    Report(Box<Report>),
    /// Of a sweep.
    Sweep(Box<SweepAnswer>),
}

/// What a sweep returns.
#[derive(Debug, Serialize)]
pub struct SweepAnswer {
    /// What it came to.
    pub sweep: SweepSummary,
    /// What is left for a further invocation: its payload.
    pub r#continue: Option<Continue>,
    /// Some of what is new and noncompliant, or undetermined, or was acted upon.
    pub findings: Vec<Report>,
}

/// The payload of a sweep.
#[derive(Debug, Serialize)]
pub struct Continue {
    /// The sweep.
    pub sweep: SweepRequest,
}

/// Counts of a sweep: of one invocation.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SweepSummary {
    /// When it began, RFC 3339.
    pub began: String,
    /// When it ended.
    pub ended: String,
    /// Whether every account was swept to its end, this being the last of the sweep's invocations.
    pub completed: bool,
    /// Accounts that were swept to their end.
    pub accounts: u64,
    /// Accounts that could not be swept, or not in full.
    pub accounts_failed: u64,
    /// Which, and why.
    pub failures: Vec<String>,
    /// Keys that were looked at.
    pub keys: u64,
    /// Keys that the ledger did not know.
    pub new: u64,
    /// Keys that stand otherwise than before.
    pub changed: u64,
    /// Keys that are gone.
    pub gone: u64,
    /// Keys that were switched off or deleted.
    pub acted: u64,
    /// Keys that are noncompliant, whether they work or not.
    pub noncompliant: u64,
    /// Keys whose lifetime cannot be read.
    pub undetermined: u64,
    /// Keys that the breaker had switched off instead of deleting them.
    pub held_back: u64,
    /// Keys that end soon.
    pub ending_soon: u64,
    /// What there is to be told of.
    pub findings: u64,
}

/// What is heard of a sweep.
struct Heard {
    state: std::sync::Mutex<(SweepSummary, Vec<Report>)>,
    stop_at: DateTime<Utc>,
}

impl Heard {
    fn with<T>(&self, what: impl FnOnce(&mut SweepSummary, &mut Vec<Report>) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (summary, findings) = &mut *state;
        what(summary, findings)
    }
}

impl Listener for Heard {
    fn found(&self, _account: &AccountId, found: Found) {
        let Found { change, acted, works: _, report, ends_soon, held_back } = found;
        let tells = matches!(report.verdict, Some(Verdict::Noncompliant | Verdict::Undetermined))
            || change == Change::Gone;
        if change != Change::None {
            telemetry::emit(&telemetry::swept_metrics(&report, SystemClock.now()));
            log(&report);
        }
        self.with(|summary, findings| {
            summary.keys += u64::from(change != Change::Gone);
            match change {
                Change::New => summary.new += 1,
                Change::Changed => summary.changed += 1,
                Change::Gone => summary.gone += 1,
                Change::None | Change::Resumed | Change::Open => {}
            }
            summary.acted += u64::from(acted);
            summary.noncompliant += u64::from(report.verdict == Some(Verdict::Noncompliant));
            summary.undetermined += u64::from(report.verdict == Some(Verdict::Undetermined));
            summary.held_back += u64::from(held_back);
            summary.ending_soon += u64::from(ends_soon);
            if change != Change::None && tells {
                summary.findings += 1;
                if findings.len() < MAX_FINDINGS {
                    findings.push(report);
                }
            }
        });
    }

    fn trouble(&self, account: &AccountId, trouble: &Trouble) {
        tracing::error!(
            key.account = account.as_str(),
            error.chain = telemetry::chain(trouble),
            "a sweep passed a key over"
        );
    }

    fn is_time_up(&self) -> bool {
        SystemClock.now() >= self.stop_at
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
    pub async fn invoke(&self, invocation: LambdaEvent<Box<RawValue>>) -> Result<Answer, InvocationError> {
        let (payload, context) = invocation.into_parts();
        let result = match Invocation::of(&payload) {
            Err(error) => Err(error),
            Ok(Invocation::Event(event)) => {
                let work = Box::pin(self.event(event, &context.invoked_function_arn));
                ending(work, time_left(&context).min(EVENT_TIME))
                    .await
                    .map(|report| Answer::Report(Box::new(report)))
            }
            Ok(Invocation::Sweep(request)) => {
                let work = Box::pin(self.sweep(request, &context));
                ending(work, time_left(&context)).await.map(|answer| Answer::Sweep(Box::new(answer)))
            }
        };
        let now = SystemClock.now();
        match &result {
            Ok(Answer::Report(report)) => {
                telemetry::emit(&telemetry::report_metrics(report, now));
                log(report);
            }
            Ok(Answer::Sweep(answer)) => {
                let summary = &answer.sweep;
                let SweepSummary { keys, accounts_failed, completed, .. } = *summary;
                telemetry::emit(&telemetry::sweep_metrics(keys, accounts_failed, completed, now));
                tracing::info!(
                    sweep.accounts = summary.accounts,
                    sweep.accounts_failed = summary.accounts_failed,
                    sweep.keys = summary.keys,
                    sweep.findings = summary.findings,
                    "swept"
                );
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

    async fn sweep(&self, request: SweepRequest, context: &Context) -> Result<SweepAnswer, InvocationError> {
        let home: Home = context.invoked_function_arn.parse().map_err(InvocationError::Home)?;
        let began = SystemClock.now();
        let left = time_left(context);
        let margin = (left / 4).min(Duration::from_mins(1));
        let heard = Heard { state: <_>::default(), stop_at: began + left.saturating_sub(margin) };
        let SweepRequest { mut accounts, ceiling, rest, invocations, failed } = request;
        if accounts.is_empty() && rest.is_empty() {
            accounts.push(home.account.clone());
        }
        accounts.sort();
        accounts.dedup();
        let keys = self.iam.clone().at(home, own(&context.invoked_function_arn));
        let sweep = Sweep {
            policy: &self.policy,
            ceiling: ceiling.min(self.ceiling),
            hands: Hands::Free,
            ledger: &self.ledger,
            keys: &keys,
            clock: &SystemClock,
        };
        let (mut again, mut failures, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        let resumed = rest.into_iter().map(|rest| (rest.account.clone(), Some(rest)));
        let sweeping =
            resumed.chain(accounts.into_iter().map(|account| (account, None))).map(|(account, rest)| {
                let (sweep, heard) = (&sweep, &heard);
                async move {
                    if heard.is_time_up() {
                        return (account, rest, None);
                    }
                    let swept = Box::pin(sweep.account(&account, rest, heard)).await;
                    (account, None, Some(swept))
                }
            });
        let mut sweeping = stream::iter(sweeping).buffer_unordered(ACCOUNTS_AT_ONCE);
        let (mut done, mut any_swept) = (0, false);
        while let Some((account, rest, swept)) = sweeping.next().await {
            match (swept, rest) {
                (None, Some(rest)) => again.push(rest),
                (None, None) => waiting.push(account),
                (Some(Ok(swept)), _) => {
                    any_swept = true;
                    if let Some(rest) = swept.rest {
                        again.push(rest);
                    } else if swept.troubles > 0 {
                        failures.push(format!("account {account}: {} keys were passed over", swept.troubles));
                    } else {
                        done += 1;
                    }
                }
                (Some(Err(error)), _) => {
                    let why = telemetry::chain(&error);
                    tracing::error!(
                        key.account = account.as_str(),
                        error.chain = why,
                        "an account was not swept"
                    );
                    failures.push(format!("account {account}: {why}"));
                }
            }
        }
        drop(sweeping);
        if !any_swept
            && waiting.is_empty()
            && again.is_empty()
            && let Some(first) = failures.first()
        {
            return Err(InvocationError::NothingSwept(first.clone()));
        }
        let invocations = invocations + 1;
        let is_left = !again.is_empty() || !waiting.is_empty();
        if is_left && invocations >= MAX_INVOCATIONS {
            failures.push(format!("gave up after {invocations} invocations"));
        }
        let all_failed = failed + failures.len() as u64;
        let next = SweepRequest { accounts: waiting, ceiling, rest: again, invocations, failed: all_failed };
        Ok(heard.with(|summary, findings| SweepAnswer {
            sweep: SweepSummary {
                began: key_guard_core::time::rfc3339(began),
                ended: key_guard_core::time::rfc3339(SystemClock.now()),
                completed: !is_left && all_failed == 0,
                accounts: done,
                accounts_failed: failures.len() as u64,
                failures,
                ..summary.clone()
            },
            r#continue: (is_left && invocations < MAX_INVOCATIONS).then_some(Continue { sweep: next }),
            findings: std::mem::take(findings),
        }))
    }

    async fn event(&self, event: Value, function_arn: &str) -> Result<Report, InvocationError> {
        let home: Home = function_arn.parse().map_err(InvocationError::Home)?;
        let inbound = crate::event::parse(event).map_err(InvocationError::Unreadable)?;
        let corridor = Corridor {
            policy: Arc::clone(&self.policy),
            ceiling: self.ceiling,
            source: Source::Event,
            ledger: self.ledger.clone(),
            reach: Reach::Keys(self.iam.clone().at(home, own(function_arn))),
            clock: SystemClock,
        };
        Ok(corridor.take(&inbound).await?)
    }
}

fn own(function_arn: &str) -> Option<Own> {
    function_arn.split(':').nth(6).map(|name| Own::Function(name.to_owned()))
}

/// How long an invocation may still take. The margin is for saying that it took too long.
fn time_left(context: &Context) -> Duration {
    const MARGIN: Duration = Duration::from_secs(1);
    let now = u64::try_from(SystemClock.now().timestamp_millis()).unwrap_or_default();
    Duration::from_millis(context.deadline.saturating_sub(now)).saturating_sub(MARGIN)
}

/// Brings an invocation to an end of which there is a log line and a metric: not one that Lambda cuts off, nor
/// a panic that only the runtime knows of.
async fn ending<T>(
    work: impl Future<Output = Result<T, InvocationError>>,
    within: Duration,
) -> Result<T, InvocationError> {
    let work = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(within, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(InvocationError::Panicked),
        Err(_elapsed) => Err(InvocationError::OutOfTime),
    }
}

fn log(report: &Report) {
    tracing::info!(
        event.id = report.event_id.as_ref().map(key_guard_core::key::EventId::as_str),
        key.account = report.account.as_ref().map(AccountId::as_str),
        key.credential_id = report.credential_id.as_ref().map(key_guard_core::key::CredentialId::as_str),
        key.user = report.user.as_ref().map(key_guard_core::key::UserName::as_str),
        key.verdict = report.verdict.map(Verdict::as_str),
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
        let ended: Result<Report, _> = ending(async { panic!("a defect") }, Duration::from_mins(1)).await;
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
