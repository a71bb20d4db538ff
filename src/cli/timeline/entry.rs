//! One line of a timeline.

use serde::{Serialize, Serializer};

use super::collect::{Collected, KnownKey};
use crate::cli::messages::counted;
use crate::cli::rows::{Row, heard_word};
use crate::cli::usage::known::short_service;
use crate::ledger::audit::AuditRecord;
use crate::ledger::audit::count::CountedAttempts;
use crate::ledger::audit::history::{LogLine, StepCause};
use crate::ledger::view::KeyView;
use key_guard_core::Time;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::{AccountId, CredentialId, EventId, Status, UserName};
use key_guard_core::lifecycle::effect::HeardEvent;
use key_guard_core::lifecycle::standing::{Standing, StatusEvidence};
use key_guard_core::text::{redact, sanitize_field, sanitize_line};
use key_guard_core::time::rfc3339;
use key_guard_core::usage::KnownUse;
use key_guard_core::words::lifecycle::{describe_change, describe_heard, with_correction};

/// Who did what the guard did.
pub const GUARD: &str = "bedrock-key-guard";

/// How much the time of an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// It happened then.
    Exact,
    /// Failed calls are counted by day: the entry has the times of the first and the last of them, and none between.
    ByDay,
    /// Of the use of keys, the ledger has the first and the last time.
    FirstAndLast,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When; of calls that are counted together, when the first was.
    #[serde(serialize_with = "as_time")]
    pub at: Time,
    /// Of calls that are counted together, when the last was.
    #[serde(serialize_with = "as_optional_time")]
    pub last_at: Option<Time>,
    /// How much the time says.
    pub precision: Precision,
    /// What happened: a word for scripts, as in the rows of `lookup`.
    pub line: &'static str,
    /// What happened, in words.
    pub what: String,
    /// In which account.
    pub account: AccountId,
    /// To which user, or whose key it is.
    pub user: Option<UserName>,
    /// To which key.
    pub credential_id: Option<CredentialId>,
    /// Who did it.
    pub actor: Option<String>,
    /// From where.
    pub source_ip: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// How the ledger knows: `event`, `sweep`, `resume`, `iam`, `usage`, `dry_run`, `quarantine` or `lifetime`.
    pub source: &'static str,
    /// The event that says so, or that caused a step of the guard.
    pub event_id: Option<EventId>,
    /// How many calls are counted together.
    pub count: Option<u64>,
    /// True if nothing of it was done.
    pub dry_run: bool,
}

fn as_time<S: Serializer>(time: &Time, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(*time))
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn as_optional_time<S: Serializer>(time: &Option<Time>, to: S) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(to)
}

impl Entry {
    /// The fields, in order: the header of CSV.
    pub const FIELDS: [&'static str; 15] = [
        "at",
        "last_at",
        "precision",
        "line",
        "what",
        "account",
        "user",
        "credential_id",
        "actor",
        "source_ip",
        "user_agent",
        "source",
        "event_id",
        "count",
        "dry_run",
    ];

    fn new(at: Time, line: &'static str, what: &str, account: &AccountId) -> Self {
        Self {
            at,
            last_at: None,
            precision: Precision::Exact,
            line,
            what: sanitize_line(&redact(what)),
            account: account.clone(),
            user: None,
            credential_id: None,
            actor: None,
            source_ip: None,
            user_agent: None,
            source: "event",
            event_id: None,
            count: None,
            dry_run: false,
        }
    }

    fn with_provenance(self, event: &Provenance) -> Self {
        let text = |text: &Option<String>| text.as_deref().map(sanitize_field);
        Self {
            actor: text(&event.actor.principal),
            source_ip: text(&event.source_ip),
            user_agent: text(&event.user_agent),
            event_id: Some(event.event_id.clone()),
            ..self
        }
    }

    /// The latest of calls that are counted together may be another session's.
    fn by(self, actor: &str) -> Self {
        Self { actor: Some(sanitize_field(actor)), ..self }
    }

    fn by_guard(self, source: &'static str) -> Self {
        Self { actor: Some(GUARD.to_owned()), source, ..self }
    }

    /// True if any of it was between these times.
    pub fn is_within(&self, since: Option<Time>, until: Option<Time>) -> bool {
        let last = self.last_at.unwrap_or(self.at);
        since.is_none_or(|since| since <= last) && until.is_none_or(|until| self.at < until)
    }
}

/// Everything that the ledger has, in order. What came of an event follows it.
pub fn entries(collected: &Collected) -> Vec<Entry> {
    let mut entries: Vec<_> = collected.keys.iter().flat_map(of_key).collect();
    entries.extend(collected.uses.iter().flat_map(of_use));
    entries.extend(collected.audit.iter().map(|record| of_audit(record, collected)));
    entries.sort_by_key(|entry| entry.at);
    entries
}

fn of_key(known: &KnownKey) -> Vec<Entry> {
    let KnownKey { key, views, history } = known;
    let mut entries: Vec<_> = creation(known).into_iter().collect();
    entries.extend(history.lines.iter().map(|line| of_log_line(known, line)));
    entries.extend(views.iter().filter(|view| view.is_dry_run).map(|view| {
        let at = view.changed_at.unwrap_or(view.at);
        Entry {
            dry_run: true,
            ..Entry::new(at, "dry_run", &view.report.reason, &key.account).by_guard("dry_run")
        }
    }));
    entries.extend(known.views.iter().filter_map(|view| status_change(known, view)));
    entries.extend(end_of_quarantine(known));
    entries.extend(expiration(known));
    let user = views.first().and_then(|view| view.report.user.clone());
    entries
        .into_iter()
        .map(|entry| Entry { user: user.clone(), credential_id: Some(key.id.clone()), ..entry })
        .collect()
}

/// The creation, where the history does not have its event: a dry run has no history, and a key that a sweep found may have none
/// of it.
fn creation(known: &KnownKey) -> Option<Entry> {
    let is_creation = |line: &LogLine| matches!(line, LogLine::Event { heard: HeardEvent::Created, .. });
    if known.history.lines.iter().any(is_creation) {
        return None;
    }
    let account = &known.key.account;
    if let Some(event) = known.views.iter().find_map(|view| view.creation.as_ref()) {
        let what = with_correction(describe_heard(HeardEvent::Created).to_owned(), event);
        return Some(Entry::new(event.event_time, "created", &what, account).with_provenance(event));
    }
    let at = known.views.iter().find_map(|view| view.report.created_at)?;
    let what = "The key was created, as IAM's list of keys says. No event says by whom.";
    Some(Entry { source: "iam", ..Entry::new(at, "created", what, account) })
}

/// The last change of a key's status that a replay found. A dry run has no history, and it knows of no other change.
fn status_change(known: &KnownKey, view: &KeyView) -> Option<Entry> {
    let Standing { status, since, by, evidence: Some(StatusEvidence::Event), .. } = &view.standing else {
        return None;
    };
    let at = since.filter(|_| view.is_dry_run)?;
    let heard = match status {
        Status::Active => HeardEvent::Activated,
        Status::Inactive => HeardEvent::Deactivated,
        Status::Gone => HeardEvent::Deleted,
        Status::Expired | Status::Unknown => return None,
    };
    let is_creation = view.creation.as_ref().is_some_and(|event| event.event_time == at);
    let is_shown = known.history.lines.iter().any(|line| {
        line.at() == at && matches!(line, LogLine::Event { heard: shown, .. } if *shown == heard)
    });
    if is_shown || (is_creation && heard == HeardEvent::Activated) {
        return None;
    }
    let entry = Entry::new(at, heard_word(heard), describe_heard(heard), &known.key.account);
    let actor = by.as_deref().map(sanitize_field);
    Some(Entry { actor, source: "dry_run", ..entry })
}

/// The date of a deletion that is to come.
fn end_of_quarantine(known: &KnownKey) -> Option<Entry> {
    let in_quarantine = |view: &&KeyView| !view.is_dry_run && view.standing.status != Status::Gone;
    let at = known.views.iter().find(in_quarantine)?.delete_after?;
    let what = "The quarantine ends: the guard's next sweep or resume deletes the key, if the policy and the ceiling allow it.";
    Some(Entry { source: "quarantine", ..Entry::new(at, "delete_after", what, &known.key.account) })
}

/// No event tells of an expiration. A key that ended before has none.
fn expiration(known: &KnownKey) -> Option<Entry> {
    let expires_at = known.views.iter().find_map(|view| view.report.expires_at)?;
    let what = "The key's lifetime ends: IAM no longer accepts it.";
    let is_gone_by_then = known.views.iter().any(|view| view.standing.ended_before(expires_at));
    (!is_gone_by_then)
        .then(|| Entry { source: "lifetime", ..Entry::new(expires_at, "expires", what, &known.key.account) })
}

fn of_log_line(known: &KnownKey, line: &LogLine) -> Entry {
    let KnownKey { key, views, .. } = known;
    let Row { line: word, cause, at, .. } = Row::log_line(key, views.first(), line.clone());
    match line {
        LogLine::Event { heard, provenance } => {
            let what = with_correction(describe_heard(*heard).to_owned(), provenance);
            Entry::new(at, word, &what, &key.account).with_provenance(provenance)
        }
        LogLine::Step { cause: step, change, .. } => {
            let entry = Entry::new(at, word, &describe_change(change), &key.account);
            let event_id = match step {
                StepCause::Event(id) => Some(id.clone()),
                StepCause::Sweep | StepCause::Resume => None,
            };
            Entry { event_id, ..entry.by_guard(cause.unwrap_or("event")) }
        }
    }
}

fn of_use(known: &KnownUse) -> Vec<Entry> {
    let KnownUse { account, user, first_used_at, last_used_at, services, models, latest, .. } = known;
    let services: Vec<_> = services.iter().map(|service| sanitize_field(short_service(service))).collect();
    let models: Vec<_> = models.iter().map(|model| sanitize_field(model)).collect();
    let of_models = if models.is_empty() { String::new() } else { format!(" ({})", models.join(", ")) };
    let calls = counted(latest.calls, "call", "calls");
    let entry = |at, line, what: String| Entry {
        precision: Precision::FirstAndLast,
        user: Some(user.clone()),
        source: "usage",
        ..Entry::new(at, line, &what, account)
    };
    let known_by = format!(
        "The latest run of `usage`, at {}, found {calls}; the ledger has the first and the last time only. Logs name the \
         user, not which of the user's keys it was.",
        rfc3339(latest.at)
    );
    let services = services.join(", ");
    if first_used_at == last_used_at {
        let what = format!("The only known use of a key of {user}: {services}{of_models}. {known_by}");
        return vec![entry(*first_used_at, "used", what)];
    }
    let first = format!("The first known use of a key of {user}.");
    let last = format!(
        "The last known use of a key of {user}. From the first to the last: {services}{of_models}. {known_by}"
    );
    vec![entry(*first_used_at, "first_used", first), entry(*last_used_at, "last_used", last)]
}

fn of_audit(record: &AuditRecord, collected: &Collected) -> Entry {
    let row = Row::audit_record(record);
    let event = record.to_event().provenance;
    let what = row.detail();
    match record {
        AuditRecord::UserChanged(changed) => Entry {
            user: Some(changed.change.user.clone()),
            ..Entry::new(row.at, row.line, &what, &event.account).with_provenance(&event)
        },
        AuditRecord::UnjudgedKey(unjudged) => Entry {
            user: Some(unjudged.user.clone()),
            credential_id: Some(unjudged.key.id.clone()),
            ..Entry::new(row.at, row.line, &what, &event.account).with_provenance(&event)
        },
        AuditRecord::Attempts(attempts) => {
            let CountedAttempts { group, count, first, last, users, .. } = attempts.as_ref();
            let is_one = *count == 1;
            Entry {
                last_at: (!is_one).then_some(*last),
                precision: if is_one { Precision::Exact } else { Precision::ByDay },
                user: collected.users.first_of(&group.account, users).cloned(),
                count: Some(*count),
                ..Entry::new(*first, row.line, &describe_attempts(what, attempts), &group.account)
                    .with_provenance(&event)
            }
            .by(&group.actor)
        }
    }
}

fn describe_attempts(failed: String, attempts: &CountedAttempts) -> String {
    let CountedAttempts { group, count, last, users, has_more_users, .. } = attempts;
    let mut sentences = vec![failed];
    if *count > 1 {
        let last = rfc3339(*last);
        sentences.push(format!(
            "{count} such calls on {} (UTC), the last at {last}: they are counted by day.",
            group.day
        ));
    }
    let names = users.iter().map(UserName::as_str).collect::<Vec<_>>().join(", ");
    if *has_more_users {
        sentences
            .push(format!("They were about {names} and other users, whose names the ledger does not have."));
    } else if !names.is_empty() {
        sentences.push(format!("About {names}."));
    }
    sentences.join(" ")
}
