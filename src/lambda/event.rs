//! An event: its report, a log line and a metric line.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use key_guard_core::cloudtrail::{CredentialCall, EventKind, ParsedEvent, Unwrapped};
use key_guard_core::key::Status;
use key_guard_core::report::{Report, Severity};
use key_guard_core::words::lifecycle::{ConsoleUser, describe_console_user};

use super::error::InvocationError;
use super::invocation::LambdaExecutor;
use super::reports_bus::ReportsBus;
use crate::aws::credentials::OrphanedUser;
use crate::clock::{Clock as _, SystemClock};
use crate::runtime::event::{EventError, process_event, process_unreadable_event};
use crate::runtime::publish::{Delivery, FindingPublisher as _};
use crate::shape::EventShape;
use crate::telemetry::{self, chain};

/// Processes an event.
pub(super) async fn process(
    event: &Value,
    executor: &LambdaExecutor<'_>,
    reports_bus: &ReportsBus,
    shapes: &ShapeLog,
) -> Result<Report, InvocationError> {
    let report = report_on(event, executor, reports_bus, shapes).await?;
    log_report(&report);
    Ok(report)
}

/// Processes what a queue, a topic or a stream has wrapped, each event by itself. One that fails keeps no other from its end.
/// The invocation fails then, and Lambda retries all of them, which changes nothing for those that have come to their end.
///
/// Queues and streams drop what an invocation returns (AWS Lambda developer guide, *How Lambda processes records from stream
/// and queue-based event sources*), so each finding is published at once (I11).
pub(super) async fn process_wrapped(
    found: Vec<Unwrapped>,
    executor: &LambdaExecutor<'_>,
    reports_bus: &ReportsBus,
    shapes: &ShapeLog,
) -> Result<Report, InvocationError> {
    let (mut reports, mut errors) = (Vec::new(), Vec::new());
    for found in found {
        let result = match found {
            Unwrapped::Event(event) => Box::pin(report_on(&event, executor, reports_bus, shapes)).await,
            Unwrapped::Unreadable(why) => Err(EventError::Unreadable(why).into()),
            Unwrapped::Irrelevant(why) => Ok(Report::irrelevant(&why)),
        };
        let published = match result {
            Ok(report) => publish(&report, reports_bus).await.map(|()| report),
            Err(error) => Err(error),
        };
        match published {
            Ok(report) => reports.push(report),
            Err(error) => errors.push(error),
        }
    }
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else {
        // The first one of the most severe.
        let report = reports.into_iter().rev().max_by_key(|report| report.severity);
        return report.ok_or(InvocationError::NoReport);
    };
    for error in errors {
        tracing::error!(error.r#type = error.error_type(), error.chain = chain(&error), "an event failed");
    }
    Err(first)
}

async fn report_on(
    event: &Value,
    executor: &LambdaExecutor<'_>,
    reports_bus: &ReportsBus,
    shapes: &ShapeLog,
) -> Result<Report, InvocationError> {
    shapes.log_if_new(event);
    match crate::event::parse(event) {
        Ok(event) => {
            let is_deletion = is_deletion(&event);
            let report = Box::pin(process_event(executor, executor.store, event)).await?;
            Ok(if is_deletion { with_console_user(report, executor).await } else { report })
        }
        Err(unreadable) => match process_unreadable_event(executor, unreadable).await {
            Ok(reports) => most_severe(reports, reports_bus).await,
            Err(error) => {
                if let EventError::Lookup { reports, .. } = &error {
                    publish_others(reports, reports_bus).await?;
                }
                Err(error.into())
            }
        },
    }
}

/// An event that could not be read may be about several keys. Lambda hands on one report.
async fn most_severe(mut reports: Vec<Report>, reports_bus: &ReportsBus) -> Result<Report, InvocationError> {
    reports.sort_by_key(|report| Reverse(report.severity));
    let mut reports = reports.into_iter();
    let most_severe = reports.next().ok_or(InvocationError::NoReport)?;
    publish_others(reports.as_slice(), reports_bus).await?;
    Ok(most_severe)
}

/// Publishes findings that the invocation does not return (I11).
async fn publish_others(reports: &[Report], reports_bus: &ReportsBus) -> Result<(), InvocationError> {
    for report in reports {
        publish(report, reports_bus).await?;
    }
    Ok(())
}

/// Logs a report, and publishes it if it is a finding.
async fn publish(report: &Report, reports_bus: &ReportsBus) -> Result<(), InvocationError> {
    log_report(report);
    if report.severity == Severity::Info {
        return Ok(());
    }
    match reports_bus.publish(report).await.map_err(InvocationError::Publish)? {
        Delivery::Published => Ok(()),
        Delivery::NoReceiver => Err(InvocationError::NoReportsBus),
    }
}

fn is_deletion(event: &ParsedEvent) -> bool {
    match event {
        ParsedEvent::Relevant(event) => matches!(event.kind, EventKind::Deleted(_)),
        ParsedEvent::Irrelevant(_) => false,
    }
}

/// Says what is left of the user that a console created for a key that is gone.
async fn with_console_user(report: Report, executor: &LambdaExecutor<'_>) -> Report {
    let user = report.user.as_ref().filter(|user| report.status == Status::Gone && user.is_console_user());
    let (Some(account), Some(user)) = (&report.account, user) else { return report };
    let left = executor.api.orphaned_user(account, user).await;
    let why = left.as_ref().err().map(|error| chain(error)).unwrap_or_default();
    let left = match &left {
        Ok(None) => ConsoleUser::Deleted,
        Ok(Some(OrphanedUser { policies, access_keys })) => ConsoleUser::Exists { policies, access_keys },
        Err(_) => ConsoleUser::Unknown { why: &why },
    };
    let reason = format!("{} {}", report.reason, describe_console_user(user, left));
    Report { reason, ..report }
}

/// A log line and a metric line.
fn log_report(report: &Report) {
    telemetry::emit(&telemetry::report_metrics(report, SystemClock.now()));
    telemetry::log_report(report);
}

/// The shapes of creation events that this process has seen, by their fingerprints. No real record of such an event has
/// been published, so the log of a deployment shows which fields AWS really sends.
#[derive(Debug, Default)]
pub(super) struct ShapeLog(Mutex<BTreeSet<String>>);

impl ShapeLog {
    /// Logs the names and types of the fields of a creation event, once for each shape.
    fn log_if_new(&self, event: &Value) {
        /// There are a few. More would fill the log.
        const MAX_SHAPES: usize = 20;
        let is_creation = |detail: &&Value| {
            detail.get("eventName").is_some_and(|name| name == CredentialCall::Create.as_str())
        };
        let detail = event.get("detail").filter(is_creation);
        let Some(shape) = detail.map(EventShape::of) else { return };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fingerprint = shape.fingerprint();
        if seen.len() < MAX_SHAPES && seen.insert(fingerprint.clone()) {
            tracing::info!(
                shape.fingerprint = fingerprint,
                shape.fields = %shape,
                "a creation event of a shape that this process has not seen before"
            );
        }
    }
}
