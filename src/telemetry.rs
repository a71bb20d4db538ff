//! Logs and metrics.
//!
//! Logs are JSON, one message per event in words with dotted fields: `event.id`, `key.account`,
//! `key.credential_id`, `key.verdict`, `key.outcome`, `error.type`, `error.chain`. Metrics are lines in
//! CloudWatch's embedded metric format (CloudWatch user guide, *Embedded metric format specification*):
//! CloudWatch makes metrics of them on arrival, without a call from here.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::PanicHookInfo;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use key_guard_core::key::{AccountId, CredentialId, EventId, UserName};
use key_guard_core::policy::Verdict;
use key_guard_core::report::Report;
use key_guard_core::text::redact;

use crate::clock::{Clock as _, SystemClock};

/// The namespace of the metrics.
pub const NAMESPACE: &str = "BedrockKeyGuard";

/// Starts JSON logs on stdout, where Lambda collects them, of panics too. Call it once.
///
/// Only the guard's own messages follow `level`: at `TRACE` the Lambda runtime logs raw events, and at
/// `DEBUG` the SDK logs requests, and neither may ever be in a log. What the runtime repeats of an error that
/// the handler has logged is dropped.
pub fn init(level: Level) {
    let targets = Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("bedrock_key_guard", level)
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_ansi(false);
    tracing_subscriber::registry().with(lines).with(targets).init();
    std::panic::set_hook(Box::new(log_panic));
}

/// Logs where the guard panicked, but not the message: it may quote an event.
fn log_panic(panic: &PanicHookInfo<'_>) {
    emit(&failure_metrics(SystemClock.now()));
    tracing::error!(
        error.r#type = "Panicked",
        error.place = panic.location().map(ToString::to_string),
        "the guard panicked: please report this; Lambda retries the invocation"
    );
}

/// An error and its causes, from the outside in. Errors quote files, paths and answers of services, so what is a secret in
/// them is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let message = inner.to_string();
        // The SDK's wrappers repeat their cause.
        if !text.ends_with(&message) {
            let _ = write!(text, ": {message}");
        }
        cause = inner.source();
    }
    redact(&text)
}

/// Logs a report.
pub fn log_report(report: &Report) {
    tracing::info!(
        event.id = report.event_id.as_ref().map(EventId::as_str),
        key.account = report.account.as_ref().map(AccountId::as_str),
        key.credential_id = report.credential_id.as_ref().map(CredentialId::as_str),
        key.user = report.user.as_ref().map(UserName::as_str),
        key.verdict = report.verdict.map(Verdict::as_str),
        key.response = report.response.as_str(),
        key.outcome = report.outcome.as_str(),
        "{}",
        report.reason
    );
}

/// The metric line of an event's report.
#[must_use]
pub fn report_metrics(report: &Report, now: DateTime<Utc>) -> String {
    let seconds = report.event_time.map(|event_time| seconds_between(event_time, now));
    key_metrics(now, report, seconds)
}

/// The metric line of a key in which a sweep found something new.
#[must_use]
pub fn swept_metrics(report: &Report, now: DateTime<Utc>) -> String {
    key_metrics(now, report, None)
}

/// The metric line of a sweep that has ended or was given up. `failures` are accounts that could not be swept, and keys whose
/// session failed.
#[must_use]
pub fn sweep_metrics(keys: u64, failures: u64, has_ended: bool, now: DateTime<Utc>) -> String {
    let metrics = [
        ("SweepKeys", "Count", json!(keys)),
        ("SweepFailures", "Count", json!(failures)),
        ("SweepCompleted", "Count", json!(u8::from(has_ended))),
    ];
    total_metrics(now, metrics)
}

/// The metric line of a resume. `oldest_open_intent`: when the oldest intent was authorised that it has left open.
#[must_use]
pub fn resume_metrics(
    silent_accounts: u64,
    oldest_open_intent: Option<DateTime<Utc>>,
    is_completed: bool,
    now: DateTime<Utc>,
) -> String {
    let oldest = oldest_open_intent.map_or(0.0, |at| seconds_between(at, now));
    let metrics = [
        ("SilentAccounts", "Count", json!(silent_accounts)),
        ("OldestOpenIntentSeconds", "Seconds", json!(oldest)),
        ("ResumeCompleted", "Count", json!(u8::from(is_completed))),
    ];
    total_metrics(now, metrics)
}

/// The metric line of an invocation that failed, and that Lambda will repeat.
#[must_use]
pub fn failure_metrics(now: DateTime<Utc>) -> String {
    metric_line(now, "unknown", "failed", None, &[])
}

/// The metric line with the age of an event whose invocation failed.
#[must_use]
pub fn failed_event_metrics(event_time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = seconds_between(event_time, now);
    total_metrics(now, [("SecondsFromEventToFailure", "Seconds", json!(seconds))])
}

/// Metrics without dimensions: their names, units and values.
fn total_metrics<const N: usize>(now: DateTime<Utc>, metrics: [(&str, &str, Value); N]) -> String {
    let definitions: Vec<_> =
        metrics.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": now.timestamp_millis(),
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [[]], "Metrics": definitions}],
        },
    });
    if let Some(fields) = line.as_object_mut() {
        fields.extend(metrics.map(|(name, _, value)| (name.to_owned(), value)));
    }
    line.to_string()
}

fn seconds_between(event_time: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - event_time).as_seconds_f64().max(0.0)
}

fn key_metrics(now: DateTime<Utc>, report: &Report, seconds: Option<f64>) -> String {
    // An attempt is recorded and is of no key.
    let verdict = report.verdict.map_or("ignored", |verdict| verdict.as_str());
    let mut counts = Vec::new();
    counts.extend(report.rate_limited.then_some("HeldBack"));
    counts.extend(report.service_not_judged.then_some("KeysNotJudged"));
    metric_line(now, verdict, report.outcome.as_str(), seconds, &counts)
}

/// `counts`: metrics that count this once.
fn metric_line(
    now: DateTime<Utc>,
    verdict: &str,
    outcome: &str,
    seconds: Option<f64>,
    counts: &[&str],
) -> String {
    let mut metrics = vec![json!({"Name": "Keys", "Unit": "Count"})];
    metrics.extend(counts.iter().map(|name| json!({"Name": name, "Unit": "Count"})));
    if seconds.is_some() {
        metrics.push(json!({"Name": "SecondsFromEventToOutcome", "Unit": "Seconds"}));
    }
    let mut line = json!({
        "_aws": {
            "Timestamp": now.timestamp_millis(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["Verdict", "Outcome"], []],
                "Metrics": metrics,
            }],
        },
        "Verdict": verdict,
        "Outcome": outcome,
        "Keys": 1,
    });
    if let Some(fields) = line.as_object_mut() {
        fields.extend(counts.iter().map(|name| ((*name).to_owned(), json!(1))));
    }
    if let (Some(seconds), Some(fields)) = (seconds, line.as_object_mut()) {
        fields.insert("SecondsFromEventToOutcome".to_owned(), json!(seconds));
    }
    line.to_string()
}

/// Writes a metric line to stdout.
#[expect(clippy::disallowed_methods, reason = "the function's log; its errors are nobody's")]
pub fn emit(line: &str) {
    // Where stdout is gone, so is the log; the report still returns.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
