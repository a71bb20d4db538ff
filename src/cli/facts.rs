//! `lookup --key`, for people: what is known of one key.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell};

use super::grid::wrap;
use super::html::labels::had_it_been_active;
use super::lookup::describe_outcome;
use super::messages::counted;
use super::output;
use super::rows::describe_verdict;
use super::when::Times;
use crate::ledger::view::{KeyView, OpenIntent};
use key_guard_core::Time;
use key_guard_core::key::{Status, UserName};
use key_guard_core::lifecycle::standing::{Standing, StatusEvidence};

/// A fact about a key. Without a value, it is not known.
type Fact = (&'static str, Option<String>);

/// Writes facts: the name, and beside it what is known. Words are not split.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    out: &mut impl Write,
    facts: &[(&str, String)],
    width: Option<u16>,
    colour: bool,
) -> io::Result<()> {
    const GAP: usize = 2;
    let longest = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let room = width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(longest + 2 * GAP));
    let mut table = output::plain_table(colour);
    for (name, value) in facts {
        let value = wrap(value, room).join("\n");
        table.add_row(vec![Cell::new(name).add_attribute(Attribute::Bold), Cell::new(value)]);
    }
    output::write_table(out, table)
}

/// The facts that say what was decided about a key, and what was done.
pub const DECISIONS: [&str; 11] = [
    "dry run",
    "verdict",
    "limit",
    "response",
    "pending since",
    "outcome",
    "delete after",
    "assessed first",
    "reported",
    "reason",
    "remediation",
];

/// How a key stands, or what a dry run says of it.
pub fn of_key(view: &KeyView, times: Times) -> Vec<Fact> {
    let time = |time: Option<Time>| time.map(|time| times.tell_both(time));
    let (key, report) = (&view.key, &view.report);
    let policy = report.policy_sha256.as_deref().unwrap_or("-");
    let outcome = had_it_been_active(describe_outcome(view).into()).into_owned();
    let outcome = match view.acted_at.or(view.changed_at) {
        Some(at) => format!("{outcome}, {}", times.tell_both(at)),
        None => outcome,
    };
    let mut facts = vec![
        ("key", Some(key.id.to_string())),
        ("status", Some(describe_status(view, times))),
        ("account", Some(key.account.to_string())),
        ("user", describe_user(view)),
        ("service", report.service.as_ref().map(ToString::to_string)),
        ("created", time(report.created_at)),
        ("expires", describe_expiration(view, times)),
        ("verdict", report.verdict.map(|_| describe_verdict(report))),
        (
            "limit",
            report
                .limit_days
                .map(|days| format!("{} (policy {policy})", counted(days.into(), "day", "days"))),
        ),
        ("response", Some(report.response.to_string())),
        ("pending since", view.intent.map(|intent| describe_intent(intent, times))),
        ("outcome", Some(outcome)),
        ("delete after", time(view.delete_after.filter(|_| !report.outcome.is_gone()))),
        ("assessed first", time(view.first_assessed.filter(|_| !view.is_dry_run))),
        ("reported", view.unreported.then(|| "not yet".to_owned())),
        ("reason", Some(report.reason.clone())),
        (
            "dry run",
            view.is_dry_run.then(|| "the guard has done nothing: this is what it would do".to_owned()),
        ),
        ("remediation", report.remediation.as_ref().map(ToString::to_string)),
    ];
    facts.extend(provenance_facts(view));
    facts
}

/// Who created the key.
fn provenance_facts(view: &KeyView) -> Vec<Fact> {
    let Some(event) = &view.creation else { return vec![("created by", Some("not known".to_owned()))] };
    let actor = &event.actor;
    let context = &actor.context;
    vec![
        ("created by", actor.principal.clone()),
        ("identity", actor.kind.clone()),
        ("session of", actor.session_issuer.clone()),
        ("MFA", Some(actor.mfa.map_or("not known", yes_or_no).to_owned())),
        ("console", Some(yes_or_no(actor.console).to_owned())),
        ("on behalf of", context.identity_center_user.clone()),
        ("identity store", context.identity_store.clone()),
        ("issued by", context.issuer_type.clone()),
        ("issued to", context.issued_to().map(str::to_owned)),
        ("delegate", context.delegate_account.clone()),
        ("source IP", event.source_ip.clone()),
        ("user agent", event.user_agent.clone()),
        ("event", Some(event.event_id.to_string())),
        ("correction", event.corrects.as_ref().map(ToString::to_string)),
        ("event time", Some(Times::Absolute.tell(event.event_time))),
    ]
}

const fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

fn describe_user(view: &KeyView) -> Option<String> {
    let user = view.report.user.as_ref()?;
    let others: Vec<_> = view.other_names.iter().map(UserName::as_str).collect();
    if others.is_empty() {
        return Some(user.to_string());
    }
    Some(format!("{user} (also known as {})", others.join(", ")))
}

fn describe_expiration(view: &KeyView, times: Times) -> Option<String> {
    view.report.verdict?;
    let lifetime = output::lifetime(&view.report);
    Some(match view.report.expires_at {
        Some(end) if view.standing.ended_before(end) => {
            format!("{lifetime}: would have expired {}", Times::Absolute.tell(end))
        }
        Some(end) => format!("{lifetime}: {}", times.tell_both(end)),
        None => lifetime,
    })
}

fn describe_intent(intent: OpenIntent, times: Times) -> String {
    let since = times.tell_both(intent.since);
    match intent.leased_until {
        Some(until) => format!("{since}, leased until {}", times.tell_both(until)),
        None => format!("{since}, not leased"),
    }
}

/// How a key stands, as IAM's verbs say it. A key that only a list does not have any more is gone: nobody says who deleted it.
pub fn status_word(standing: &Standing) -> &'static str {
    match standing.status {
        Status::Gone if standing.is_only_absent() => "gone",
        Status::Gone => "deleted",
        Status::Unknown => "not known",
        status @ (Status::Active | Status::Inactive | Status::Expired) => status.as_str(),
    }
}

/// How a key stands, and who says so.
pub fn status_and_evidence(standing: &Standing) -> String {
    let word = status_word(standing);
    let says = match standing.evidence {
        Some(StatusEvidence::Event) => " (says an event)",
        Some(StatusEvidence::SavedList) => " (says a saved list)",
        Some(StatusEvidence::Iam) => " (says IAM)",
        Some(StatusEvidence::Expiration) | None => "",
    };
    format!("{word}{says}")
}

/// How a key stands: since when, by whom, and how that is known.
pub fn describe_status(view: &KeyView, times: Times) -> String {
    let Standing { status: _, since, by, evidence, seen_at } = &view.standing;
    let mut parts = vec![status_word(&view.standing).to_owned()];
    if let Some(since) = since {
        parts.push(format!("since {}", times.tell_both(*since)));
    }
    parts.extend(by.as_ref().map(|by| format!("by {by}")));
    parts.extend(evidence.map(|evidence| match (evidence, seen_at) {
        (StatusEvidence::Iam, Some(at)) if Some(at) != since.as_ref() => {
            format!("confirmed by IAM {}", times.tell_both(*at))
        }
        (StatusEvidence::Iam, _) => "confirmed by IAM".to_owned(),
        (StatusEvidence::Event, _) => "only an event says so".to_owned(),
        (StatusEvidence::SavedList, _) => "a saved list says so, and not when".to_owned(),
        (StatusEvidence::Expiration, _) => "as its time is over".to_owned(),
    }));
    parts.join(", ")
}
