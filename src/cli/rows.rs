//! Entries and their history for scripts: one set of columns, whatever was asked.

use std::collections::HashSet;
use std::io;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::ledger::Outcome;
use crate::ledger::{Entry, Kind, Line, Source, Word};
use key_guard_core::policy::Verdict;
use key_guard_core::report::Report;
use key_guard_core::text::sanitize_line;
use key_guard_core::time::rfc3339;

/// What a row says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// How it stands.
    State,
    /// It was made.
    Created,
    /// It was judged.
    Judged,
    /// IAM was asked.
    Confirmed,
    /// It was acted upon.
    Acted,
    /// It got an outcome.
    Settled,
    /// Someone switched it on.
    SwitchedOn,
    /// Someone switched it off.
    SwitchedOff,
    /// It got a new secret.
    SecretReset,
    /// Someone deleted it.
    Deleted,
}

impl Step {
    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Created => "created",
            Self::Judged => "judged",
            Self::Confirmed => "confirmed",
            Self::Acted => "acted",
            Self::Settled => "settled",
            Self::SwitchedOn => Kind::SwitchedOn.as_str(),
            Self::SwitchedOff => Kind::SwitchedOff.as_str(),
            Self::SecretReset => Kind::SecretReset.as_str(),
            Self::Deleted => Kind::Deleted.as_str(),
        }
    }
}

/// One row: a key as it stands, or as it was when something happened to it.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it says.
    pub step: Step,
    /// When.
    pub at: DateTime<Utc>,
    /// By whose word.
    pub source: Source,
    /// The entry then.
    pub entry: Entry,
}

/// What a row has beside a report, in order: before it and behind it.
const BEFORE: [&str; 3] = ["line", "at", "source"];
const BEHIND: [&str; 11] = [
    "former_user",
    "actor_type",
    "session_issuer",
    "mfa",
    "console",
    "rehearsal",
    "recorded_at",
    "iam_says",
    "confirmed_at",
    "acted_at",
    "settled_at",
];

#[derive(Serialize)]
struct Wire<'a> {
    line: Step,
    at: String,
    source: Source,
    #[serde(flatten)]
    report: Report,
    former_user: Option<&'a str>,
    actor_type: Option<&'a str>,
    session_issuer: Option<&'a str>,
    mfa: Option<bool>,
    console: bool,
    rehearsal: bool,
    recorded_at: String,
    iam_says: Option<Word>,
    confirmed_at: Option<String>,
    acted_at: Option<String>,
    settled_at: Option<String>,
}

impl Row {
    /// The columns, in order.
    #[must_use]
    pub fn fields() -> Vec<&'static str> {
        [&BEFORE[..], &Report::FIELDS, &BEHIND].concat()
    }

    /// A key as it stands.
    #[must_use]
    pub fn state(entry: Entry) -> Self {
        let entry = fit_to_print(entry);
        Self {
            step: Step::State,
            at: entry.settled_at.unwrap_or(entry.recorded_at),
            source: entry.source,
            entry,
        }
    }

    /// What happened to a key, in order.
    #[must_use]
    pub fn history(lines: Vec<Line>) -> Vec<Self> {
        let mut rows = Vec::new();
        let mut confirmed_before = None;
        let mut created = None;
        let mut told = HashSet::new();
        for Line { kind, at, entry } in lines {
            let entry = fit_to_print(entry);
            // Ledgers that were merged may each have been told.
            let later = match kind {
                Kind::State
                | Kind::Judged
                | Kind::Confirmed
                | Kind::Settled
                | Kind::Early
                | Kind::Attempt
                | Kind::AccessKeyMade => false,
                Kind::SwitchedOn | Kind::SwitchedOff | Kind::SecretReset | Kind::Deleted => true,
            };
            if later && !told.insert(entry.event_id.clone()) {
                continue;
            }
            let mut row = |step, at, source| rows.push(Self { step, at, source, entry: entry.clone() });
            match kind {
                Kind::State | Kind::Early | Kind::Attempt | Kind::AccessKeyMade => {}
                Kind::SwitchedOn | Kind::SecretReset => {
                    let step = if kind == Kind::SwitchedOn { Step::SwitchedOn } else { Step::SecretReset };
                    row(step, at, entry.source);
                    // It was judged again for this, unless something later had come before.
                    if entry.event_id.as_ref().is_some_and(|event| event.as_str() == entry.turn.id) {
                        row(Step::Judged, entry.recorded_at, entry.source);
                    }
                }
                Kind::SwitchedOff => row(Step::SwitchedOff, at, entry.source),
                Kind::Deleted => row(Step::Deleted, at, entry.source),
                Kind::Judged => {
                    // A rehearsal's event is told once, and again only if another stands behind the real entry.
                    if let Some(event) = &entry.event_id
                        && created.replace(event.clone()).as_ref() != Some(event)
                    {
                        row(Step::Created, entry.event_time, entry.source);
                    }
                    row(Step::Judged, entry.recorded_at, entry.source);
                }
                Kind::Confirmed | Kind::Settled => {
                    if let Some(confirmed) = entry.confirmed
                        && confirmed_before.replace(confirmed) != Some(confirmed)
                    {
                        row(Step::Confirmed, confirmed.at, Source::Guard);
                    }
                    if let Some(acted_at) = entry.acted_at {
                        row(Step::Acted, acted_at, Source::Guard);
                    }
                    if kind == Kind::Settled {
                        row(Step::Settled, at, Source::Guard);
                    }
                }
            }
        }
        // What came at the same time stays in this order.
        rows.sort_by_key(|row| row.at);
        rows
    }

    /// As one line of JSON.
    ///
    /// # Errors
    /// Never in practice.
    pub fn write_json(&self, to: &mut dyn io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut *to, &self.wire())?;
        to.write_all(b"\n")
    }

    /// As CSV.
    ///
    /// # Errors
    /// Never in practice.
    pub fn values(&self) -> io::Result<Vec<String>> {
        Ok(super::output::values(&serde_json::to_value(self.wire())?, &Self::fields()))
    }

    fn wire(&self) -> Wire<'_> {
        let entry = &self.entry;
        Wire {
            line: self.step,
            at: rfc3339(self.at),
            source: self.source,
            report: entry.report(),
            former_user: entry.former_user.as_ref().map(key_guard_core::key::UserName::as_str),
            actor_type: entry.actor.kind.as_deref(),
            session_issuer: entry.actor.session_issuer.as_deref(),
            mfa: entry.actor.mfa,
            console: entry.actor.console,
            rehearsal: entry.rehearsal,
            recorded_at: rfc3339(entry.recorded_at),
            iam_says: entry.confirmed.map(|confirmed| confirmed.word),
            confirmed_at: entry.confirmed.map(|confirmed| rfc3339(confirmed.at)),
            acted_at: entry.acted_at.map(rfc3339),
            settled_at: entry.settled_at.map(rfc3339),
        }
    }

    /// What happened, in words.
    #[must_use]
    pub fn detail(&self) -> String {
        let entry = &self.entry;
        match self.step {
            Step::State
            | Step::Created
            | Step::SwitchedOn
            | Step::SwitchedOff
            | Step::SecretReset
            | Step::Deleted => {
                let mut parts =
                    vec![format!("by {}", entry.actor.principal.as_deref().unwrap_or("an unknown actor"))];
                if let Some(issuer) = &entry.actor.session_issuer {
                    parts.push(format!("with {issuer}"));
                }
                if let Some(source_ip) = &entry.source_ip {
                    parts.push(format!("from {source_ip}"));
                }
                if let Some(user_agent) = &entry.user_agent {
                    parts.push(user_agent.clone());
                }
                parts.push(factor(entry.actor.mfa).to_owned());
                parts.push(
                    if entry.actor.console { "in a console session" } else { "no console session" }
                        .to_owned(),
                );
                parts.join(", ")
            }
            Step::Judged => format!(
                "{}: {} (limit {} days, policy {}, response {}{})",
                verdict(entry),
                entry.reason,
                entry.limit_days,
                entry.policy_sha256.get(..12).unwrap_or(&entry.policy_sha256),
                entry.response,
                if entry.rehearsal { ", a rehearsal" } else { "" },
            ),
            Step::Confirmed => {
                let word = entry.confirmed.map_or("nothing", |confirmed| confirmed.word.as_str());
                format!("IAM says: {word}, user {}; {}", entry.user, verdict(entry))
            }
            Step::Acted => match entry.outcome {
                Outcome::Deactivated => "the key was switched off".to_owned(),
                Outcome::Deleted => "the key was deleted".to_owned(),
                Outcome::Ignored
                | Outcome::Open
                | Outcome::Confirmed
                | Outcome::Recorded
                | Outcome::Monitored
                | Outcome::AlreadyInactive
                | Outcome::AlreadyGone
                | Outcome::Gone => format!("the key is {}", entry.outcome),
            },
            Step::Settled => format!("{}: {}", entry.outcome, entry.reason),
        }
    }
}

/// Whether there was a second factor.
#[must_use]
pub fn factor(mfa: Option<bool>) -> &'static str {
    match mfa {
        Some(true) => "with MFA",
        Some(false) => "without MFA",
        None => "MFA not known",
    }
}

/// The verdict, with what is wrong.
#[must_use]
pub fn verdict(entry: &Entry) -> String {
    match (entry.standing, entry.violation) {
        (standing @ Verdict::Noncompliant, Some(violation)) => {
            format!("{}, {}", standing.as_str(), violation.as_str())
        }
        (standing, _) => standing.as_str().to_owned(),
    }
}

/// Whatever was put into the table by whom, nothing of it steers a terminal.
#[must_use]
pub fn fit_to_print(mut entry: Entry) -> Entry {
    entry.reason = sanitize_line(&entry.reason);
    entry.policy_sha256 = sanitize_line(&entry.policy_sha256);
    for text in [
        &mut entry.actor.kind,
        &mut entry.actor.principal,
        &mut entry.actor.session_issuer,
        &mut entry.source_ip,
        &mut entry.user_agent,
    ]
    .into_iter()
    .flatten()
    {
        *text = sanitize_line(text);
    }
    entry
}
