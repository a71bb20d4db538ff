//! How the report says what reports have as data.

use std::borrow::Cow;

use crate::ledger::view::{KeyView, KnownExpiration};
use key_guard_core::key::{Status, describe_days};
use key_guard_core::lifecycle::input::Action;
use key_guard_core::lifecycle::standing::Standing;
use key_guard_core::policy::{Response, Verdict, Violation};
use key_guard_core::report::Outcome;

/// Every status, in the order in which a table is sorted by it.
pub const STATUSES: [&str; 6] = ["Active", "Not known", "Inactive", "Expired", "Gone", "Deleted"];

/// Every verdict, in the order in which a table is sorted by it.
pub const VERDICTS: [&str; 5] = ["Noncompliant", "Undetermined", "Exempt", "Compliant", "Not assessed"];

/// One of [`STATUSES`].
pub const fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "Active",
        Status::Unknown => "Not known",
        Status::Inactive => "Inactive",
        Status::Expired => "Expired",
        Status::Gone => "Deleted",
    }
}

/// One of [`STATUSES`]: a key that only a list does not have any more is gone, as nobody says who deleted it.
pub fn standing(standing: &Standing) -> &'static str {
    if standing.is_only_absent() { "Gone" } else { status(standing.status) }
}

/// One of [`VERDICTS`].
pub const fn verdict(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Noncompliant) => "Noncompliant",
        Some(Verdict::Undetermined) => "Undetermined",
        Some(Verdict::Exempt) => "Exempt",
        Some(Verdict::Compliant) => "Compliant",
        None => "Not assessed",
    }
}

/// What is wrong with a key, if anything is.
pub const fn violation(violation: Option<Violation>) -> &'static str {
    match violation {
        Some(Violation::NeverExpires) => "Never expires",
        Some(Violation::LifetimeExceedsLimit) => "Lives too long",
        Some(Violation::LongTermKeyForbidden) => "Long-term keys are forbidden",
        Some(Violation::Reactivated) => "Activated again",
        None => "",
    }
}

/// How long a key lives.
pub fn lifetime(view: &KeyView) -> String {
    match (view.expiration, view.report.created_at, view.report.expires_at) {
        (Some(KnownExpiration::Never), ..) => "Never expires".to_owned(),
        (_, Some(created_at), Some(expires_at)) => describe_days(expires_at - created_at),
        (None | Some(KnownExpiration::At(_) | KnownExpiration::Undetermined), ..) => "Not known".to_owned(),
    }
}

/// What was done about a key, or what would be done.
pub fn outcome(view: &KeyView) -> Cow<'static, str> {
    if view.is_dry_run { had_it_been_active(would(view).into()) } else { done(view).into() }
}

/// A text of [`would`] that says why it was not done.
pub fn had_it_been_active(would: Cow<'static, str>) -> Cow<'static, str> {
    let has_ended = would.to_ascii_lowercase().starts_with("would have ");
    if has_ended { format!("{would} it, had it still been active").into() } else { would }
}

fn done(view: &KeyView) -> &'static str {
    if let Some(intent) = view.intent {
        return match intent.action {
            Action::Deactivate => "Pending: deactivate",
            Action::Delete => "Pending: delete",
        };
    }
    match view.report.outcome {
        Outcome::Ignored => "Not assessed",
        Outcome::Recorded => "Recorded",
        Outcome::Monitored => "Monitored only",
        Outcome::AlreadyInactive => "Found inactive",
        Outcome::AlreadyGone => "Found gone",
        Outcome::Deactivated if view.delete_after.is_some() => "In quarantine",
        Outcome::Deactivated => "Deactivated by the guard",
        Outcome::Gone if view.standing.is_only_absent() => "Gone",
        Outcome::Gone => "Deleted by somebody else",
        Outcome::Deleted => "Deleted by the guard",
    }
}

/// What a dry run says. A key that a list has as inactive would be left alone; one that ended after its creation would have
/// been acted upon before.
pub const fn would(view: &KeyView) -> &'static str {
    let is_usable = view.report.status.may_be_usable();
    match (view.report.response, is_usable, view.standing.since) {
        (Response::None, ..) => "Would record",
        (Response::Monitor, ..) => "Would report",
        (Response::Deactivate, true, _) => "Would deactivate",
        (Response::Quarantine, true, _) => "Would quarantine",
        (Response::Delete, true, _) => "Would delete",
        (Response::Deactivate | Response::Quarantine | Response::Delete, false, None) => {
            "Would leave it alone"
        }
        (Response::Deactivate, false, Some(_)) => "Would have deactivated",
        (Response::Quarantine, false, Some(_)) => "Would have quarantined",
        (Response::Delete, false, Some(_)) => "Would have deleted",
    }
}
