//! The checks: one function for each, one file for each topic.

mod function;
mod operation;
mod policy;
mod queues;
mod role;
mod rules;
mod table;
mod trail;

use super::finding::{Check, Finding, Status, Unavailable};
use super::stack::Stack;

impl Stack {
    /// Every check, in the order of the checks.
    #[must_use]
    pub fn run_checks(&self) -> Vec<Finding> {
        vec![
            self.function(),
            self.configuration(),
            self.timeout(),
            self.concurrency(),
            self.region(),
            self.trail(),
            self.rule(),
            self.event_pattern(),
            self.target(),
            self.invoke_permission(),
            self.table(),
            self.table_protection(),
            self.table_recovery(),
            self.role(),
            self.on_failure_finding(),
            self.on_failure_queue(),
            self.dead_letter_queue(),
            self.last_event(),
            self.alarms(),
            self.subscriptions(),
            self.last_sweep(),
            self.last_resume(),
            self.failure_age(),
            self.silent_accounts(),
            self.responders(),
            self.overdue(),
            self.policy_version(),
        ]
    }

    fn name(&self) -> &str {
        &self.function.arn.name
    }
}

fn ok(check: Check, found: impl Into<String>) -> Finding {
    Finding { check, status: Status::Ok, found: found.into(), fix: None }
}

fn not_ok(check: Check, status: Status, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { check, status, found: found.into(), fix: Some(fix.into()) }
}

fn warn(check: Check, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    not_ok(check, Status::Warn, found, fix)
}

fn fail(check: Check, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    not_ok(check, Status::Fail, found, fix)
}

fn unknown(check: Check, found: impl Into<String>, fix: impl Into<String>) -> Finding {
    not_ok(check, Status::Unknown, found, fix)
}

/// The finding of a question without an answer.
fn unanswered(check: Check, gap: &Unavailable) -> Finding {
    match gap {
        Unavailable::Absent => unknown(check, "AWS's answer lacks it", "run doctor again"),
        Unavailable::Denied(action) => {
            unknown(check, format!("may not ask: needs {action}"), format!("allow the caller {action}"))
        }
        Unavailable::Failed { action, why } => {
            unknown(check, format!("{action} failed: {why}"), "fix that, and run doctor again")
        }
        Unavailable::Unasked(why) => unknown(check, why, "fix that first"),
    }
}

/// The last part of an ARN.
fn short(arn: &str) -> &str {
    arn.rsplit([':', '/']).next().unwrap_or(arn)
}
