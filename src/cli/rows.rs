//! What scripts get: one set of columns, whatever was asked. JSON lines, CSV and Parquet have the same.

mod audit;

use std::io;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Number, Value};

use crate::ledger::audit::AuditRecord;
use crate::ledger::audit::history::{LogLine, StepCause};
use crate::ledger::portable::{PortableContent, PortableItem};
use crate::ledger::view::{KeyView, KnownExpiration};
use key_guard_core::Time;
use key_guard_core::cloudtrail::{Actor, Correction, Provenance};
use key_guard_core::key::{CredentialId, EventId, KeyRef, Service, UserName};
use key_guard_core::lifecycle::effect::{Cause, Change, HeardEvent};
use key_guard_core::lifecycle::input::Action;
use key_guard_core::lifecycle::standing::StatusEvidence;
use key_guard_core::policy::{Response, Verdict, Violation};
use key_guard_core::report::Report;
use key_guard_core::text::sanitize_line;
use key_guard_core::time::rfc3339;
use key_guard_core::usage::KnownUse;
use key_guard_core::words::lifecycle::{describe_change, describe_heard, with_correction};

use audit::AuditContent;

/// One row: a key as it stands, a dry run, a line of history, attempts that are counted together, a change of a user, or what is
/// known of the use of a user's keys.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it says: a word for scripts.
    pub line: &'static str,
    /// When.
    pub at: Time,
    /// What caused a line of history.
    pub cause: Option<&'static str>,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// A key, or a dry run.
    Key(Box<KeyView>),
    /// Failed calls, or a change of a user.
    Audit(Box<AuditContent>),
    /// A line of history.
    Log(Box<LogContent>),
    /// The use of a user's keys.
    Use(Box<KnownUse>),
}

#[derive(Debug, Clone)]
struct LogContent {
    key: KeyRef,
    service: Option<Service>,
    user: Option<UserName>,
    event_id: Option<EventId>,
    /// Who, when, from where, if this line is about an event.
    provenance: Option<Provenance>,
    /// What the guard was to do, or did.
    action: Option<Action>,
    /// In words.
    sentence: String,
}

/// How a column's values are found in a row.
pub enum Column {
    /// A text.
    Text(fn(&Row) -> Option<String>),
    /// A time: RFC 3339; milliseconds since 1970 in Parquet.
    Time(fn(&Row) -> Option<Time>),
    /// True or false.
    Flag(fn(&Row) -> Option<bool>),
    /// A whole number.
    Count(fn(&Row) -> Option<u32>),
    /// A number.
    Number(fn(&Row) -> Option<Number>),
}

/// The columns, in order: those of a report, and what only the ledger has.
pub const COLUMNS: [(&str, Column); 55] = [
    ("line", Column::Text(|row| Some(row.line.to_owned()))),
    ("at", Column::Time(|row| Some(row.at))),
    ("cause", Column::Text(|row| row.cause.map(str::to_owned))),
    (
        "account",
        Column::Text(|row| {
            let of_use = row.known_use().map(|known| known.account.to_string());
            of_use.or_else(|| {
                row.both(|report| text(report.account.as_ref()), |log| text(Some(&log.key.account)))
            })
        }),
    ),
    (
        "service",
        Column::Text(|row| {
            row.both(|report| text(report.service.as_ref()), |log| text(log.service.as_ref()))
        }),
    ),
    (
        "user",
        Column::Text(|row| {
            let of_use = row.known_use().map(|known| known.user.to_string());
            of_use.or_else(|| row.both(|report| text(report.user.as_ref()), |log| text(log.user.as_ref())))
        }),
    ),
    ("credential_id", Column::Text(|row| text(row.credential_id()))),
    ("created_at", Column::Time(|row| row.report()?.created_at)),
    ("expires_at", Column::Time(|row| row.report()?.expires_at)),
    ("lifetime_days", Column::Number(|row| row.report()?.lifetime_days.clone())),
    ("limit_days", Column::Count(|row| row.report()?.limit_days)),
    ("verdict", Column::Text(|row| word(row.report()?.verdict.map(Verdict::as_str)))),
    ("violation", Column::Text(|row| word(row.report()?.violation.map(Violation::as_str)))),
    ("severity", Column::Text(|row| word(Some(row.report()?.severity.as_str())))),
    ("status", Column::Text(|row| word(Some(row.report()?.status.as_str())))),
    ("response", Column::Text(|row| word(row.response().map(Response::as_str)))),
    ("outcome", Column::Text(|row| word(Some(row.report()?.outcome.as_str())))),
    (
        "reason",
        Column::Text(|row| row.both(|report| Some(report.reason.clone()), |log| Some(log.sentence.clone()))),
    ),
    ("remediation", Column::Text(|row| text(row.report()?.remediation.as_ref()))),
    (
        "actor",
        Column::Text(|row| row.both(|report| report.actor.clone(), |log| log.actor()?.principal.clone())),
    ),
    (
        "source_ip",
        Column::Text(|row| {
            row.both(|report| report.source_ip.clone(), |log| log.provenance.as_ref()?.source_ip.clone())
        }),
    ),
    (
        "user_agent",
        Column::Text(|row| {
            row.both(|report| report.user_agent.clone(), |log| log.provenance.as_ref()?.user_agent.clone())
        }),
    ),
    (
        "event_id",
        Column::Text(|row| {
            row.both(|report| text(report.event_id.as_ref()), |log| text(log.event_id.as_ref()))
        }),
    ),
    (
        "event_time",
        Column::Time(|row| {
            row.both(|report| report.event_time, |log| Some(log.provenance.as_ref()?.event_time))
        }),
    ),
    ("policy_sha256", Column::Text(|row| row.report()?.policy_sha256.clone())),
    ("other_names", Column::Text(|row| other_names(row.view()?))),
    ("actor_type", Column::Text(|row| row.actor()?.kind.clone())),
    ("session_issuer", Column::Text(|row| row.actor()?.session_issuer.clone())),
    ("mfa", Column::Flag(|row| row.actor()?.mfa)),
    ("console", Column::Flag(|row| row.actor().map(|actor| actor.console))),
    ("on_behalf_of", Column::Text(|row| row.actor()?.context.identity_center_user.clone())),
    ("identity_store", Column::Text(|row| row.actor()?.context.identity_store.clone())),
    ("issued_by", Column::Text(|row| row.actor()?.context.issuer_type.clone())),
    ("issued_to", Column::Text(|row| word(row.actor()?.context.issued_to()))),
    ("delegate", Column::Text(|row| row.actor()?.context.delegate_account.clone())),
    ("dry_run", Column::Flag(|row| Some(row.view().is_some_and(|view| view.is_dry_run)))),
    ("expiration", Column::Text(|row| word(row.view()?.expiration.map(KnownExpiration::as_str)))),
    ("status_by", Column::Text(|row| row.view()?.standing.by.clone())),
    ("status_since", Column::Time(|row| row.view()?.standing.since)),
    ("status_evidence", Column::Text(|row| word(row.view()?.standing.evidence.map(StatusEvidence::as_str)))),
    ("last_seen_at", Column::Time(|row| row.view()?.standing.seen_at)),
    ("first_assessed_at", Column::Time(|row| row.view()?.first_assessed)),
    ("changed_at", Column::Time(|row| row.view()?.changed_at)),
    ("acted_at", Column::Time(|row| row.view()?.acted_at)),
    ("delete_after", Column::Time(|row| row.view()?.delete_after)),
    ("pending_since", Column::Time(|row| row.view()?.intent.map(|intent| intent.since))),
    ("leased_until", Column::Time(|row| row.view()?.intent.and_then(|intent| intent.leased_until))),
    ("unreported", Column::Flag(|row| row.view().map(|view| view.unreported))),
    ("count", Column::Count(Row::count)),
    ("first_at", Column::Time(|row| row.span().map(|(first, _)| first))),
    ("last_at", Column::Time(|row| row.span().map(|(_, last)| last))),
    ("users", Column::Text(|row| row.audit()?.users.clone())),
    ("more_users", Column::Flag(|row| row.audit().map(|audit| audit.has_more_users))),
    ("services", Column::Text(Row::services)),
    ("latest_principal", Column::Text(|row| row.audit()?.provenance.actor.principal.clone())),
];

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

fn word(word: Option<&str>) -> Option<String> {
    word.map(str::to_owned)
}

fn other_names(view: &KeyView) -> Option<String> {
    audit::joined(&view.other_names)
}

impl LogContent {
    fn actor(&self) -> Option<&Actor> {
        self.provenance.as_ref().map(|event| &event.actor)
    }
}

impl Row {
    /// The names of the columns, in order.
    #[must_use]
    pub fn fields() -> Vec<&'static str> {
        COLUMNS.iter().map(|(name, _)| *name).collect()
    }

    /// A key as it stands, or a dry run.
    #[must_use]
    pub fn key(view: KeyView) -> Self {
        let line = if view.is_dry_run { "dry_run" } else { "state" };
        let at = view.changed_at.unwrap_or(view.at);
        Self { line, at, cause: None, content: Content::Key(Box::new(fit_to_print(view))) }
    }

    /// A dry run with how its key stands by its state, if `state` is that.
    #[must_use]
    pub fn beside(self, state: Option<&KeyView>, now: Time) -> Self {
        match (self.view(), state) {
            (Some(view), Some(state)) if view.is_dry_run && !state.is_dry_run && view.key == state.key => {
                Self::key(view.clone().beside(state).as_of(now))
            }
            _ => self,
        }
    }

    /// Failed calls that are counted together, a change of a user, or a key that nobody judged.
    #[must_use]
    pub fn audit_record(record: &AuditRecord) -> Self {
        let line = match record {
            AuditRecord::Attempts(_) => "attempts",
            AuditRecord::UserChanged(_) => "user_changed",
            AuditRecord::UnjudgedKey(_) => "unjudged_key",
        };
        let content = AuditContent::new(record);
        Self { line, at: content.last, cause: None, content: Content::Audit(Box::new(content)) }
    }

    /// What is known of the use of a user's keys.
    #[must_use]
    pub fn used(known: KnownUse) -> Self {
        Self { line: "used", at: known.latest.at, cause: None, content: Content::Use(Box::new(known)) }
    }

    /// A line of a key's history. `view` is what is known of the key.
    #[must_use]
    pub fn log_line(key: &KeyRef, view: Option<&KeyView>, line: LogLine) -> Self {
        let at = line.at();
        let (word, cause, event_id, provenance, action, sentence) = match line {
            LogLine::Event { heard, provenance } => {
                let event_id = Some(provenance.event_id.clone());
                let sentence = describe_heard(heard).to_owned();
                (heard_word(heard), "event", event_id, Some(*provenance), None, sentence)
            }
            LogLine::Step { cause, change, .. } => {
                let (cause, event_id) = match cause {
                    StepCause::Event(id) => ("event", Some(id)),
                    StepCause::Sweep => ("sweep", None),
                    StepCause::Resume => ("resume", None),
                };
                (change_word(&change), cause, event_id, None, action_of(&change), describe_change(&change))
            }
        };
        let content = LogContent {
            key: key.clone(),
            service: view.and_then(|view| view.report.service.clone()),
            user: view.and_then(|view| view.report.user.clone()),
            event_id,
            provenance,
            action,
            sentence,
        };
        Self::log(word, at, cause, content)
    }

    /// An item on its way out of the ledger, with how its key stands at `now`.
    #[must_use]
    pub fn portable(item: PortableItem, now: Time) -> Option<Self> {
        match item.content {
            PortableContent::Log(entry) => {
                let (cause, provenance) = match entry.cause {
                    Cause::Event { provenance, .. } => ("event", Some(*provenance)),
                    Cause::Sweep => ("sweep", None),
                    Cause::Resume => ("resume", None),
                };
                let content = LogContent {
                    key: entry.key,
                    service: None,
                    user: None,
                    event_id: provenance.as_ref().map(|event| event.event_id.clone()),
                    provenance,
                    action: action_of(&entry.change),
                    sentence: describe_change(&entry.change),
                };
                Some(Self::log(change_word(&entry.change), entry.at, cause, content))
            }
            PortableContent::State(key, state) => {
                KeyView::of_state(&key, &state).map(|view| Self::key(view.as_of(now)))
            }
            PortableContent::DryRun(dry_run) => Some(Self::key(KeyView::of_dry_run(&dry_run).as_of(now))),
            PortableContent::Attempts(attempts) => Some(Self::audit_record(&AuditRecord::Attempts(attempts))),
            PortableContent::UserChanged(changed) => {
                Some(Self::audit_record(&AuditRecord::UserChanged(changed)))
            }
            PortableContent::UnjudgedKey(unjudged) => {
                Some(Self::audit_record(&AuditRecord::UnjudgedKey(unjudged)))
            }
            PortableContent::Use(known) => Some(Self::used(*known)),
            // They are about no key.
            PortableContent::Policy(_) | PortableContent::UsageCoverage(_) => None,
        }
    }

    fn log(line: &'static str, at: Time, cause: &'static str, mut content: LogContent) -> Self {
        if let Some(provenance) = &mut content.provenance {
            sanitize_provenance(provenance);
            content.sentence = with_correction(content.sentence, provenance);
        }
        Self { line, at, cause: Some(cause), content: Content::Log(Box::new(content)) }
    }

    /// The key as it stands, or the dry run, if this row is about one.
    #[must_use]
    pub fn view(&self) -> Option<&KeyView> {
        match &self.content {
            Content::Key(view) => Some(view),
            Content::Audit(_) | Content::Log(_) | Content::Use(_) => None,
        }
    }

    /// The attempts or the change of a user, if this row is about them.
    #[must_use]
    pub fn audit(&self) -> Option<&AuditContent> {
        match &self.content {
            Content::Audit(audit) => Some(audit),
            Content::Key(_) | Content::Log(_) | Content::Use(_) => None,
        }
    }

    fn report(&self) -> Option<&Report> {
        match &self.content {
            Content::Key(view) => Some(&view.report),
            Content::Audit(audit) => Some(&audit.report),
            Content::Log(_) | Content::Use(_) => None,
        }
    }

    fn both<T>(
        &self,
        of_report: impl FnOnce(&Report) -> Option<T>,
        of_log: impl FnOnce(&LogContent) -> Option<T>,
    ) -> Option<T> {
        match &self.content {
            Content::Key(view) => of_report(&view.report),
            Content::Audit(audit) => of_report(&audit.report),
            Content::Log(log) => of_log(log),
            Content::Use(_) => None,
        }
    }

    fn credential_id(&self) -> Option<&CredentialId> {
        match &self.content {
            // Not every report names its key.
            Content::Key(view) => Some(&view.key.id),
            Content::Audit(audit) => audit.report.credential_id.as_ref(),
            Content::Log(log) => Some(&log.key.id),
            // Which of the user's keys it was, nobody says.
            Content::Use(_) => None,
        }
    }

    fn known_use(&self) -> Option<&KnownUse> {
        match &self.content {
            Content::Use(known) => Some(known),
            Content::Key(_) | Content::Audit(_) | Content::Log(_) => None,
        }
    }

    /// How many attempts, or how many calls with keys the latest run found.
    fn count(&self) -> Option<u32> {
        let of_use = self.known_use().map(|known| known.latest.calls);
        let count = of_use.or_else(|| self.audit().map(|audit| audit.count))?;
        Some(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// The first and the last of them; of calls with keys, of all runs.
    fn span(&self) -> Option<(Time, Time)> {
        let of_use = self.known_use().map(|known| (known.first_used_at, known.last_used_at));
        of_use.or_else(|| self.audit().map(|audit| (audit.first, audit.last)))
    }

    fn services(&self) -> Option<String> {
        match self.known_use() {
            Some(known) => audit::joined(&known.services),
            None => self.audit()?.services.clone(),
        }
    }

    fn response(&self) -> Option<Response> {
        self.both(
            |report| Some(report.response),
            |log| {
                log.action.map(|action| match action {
                    Action::Deactivate => Response::Deactivate,
                    Action::Delete => Response::Delete,
                })
            },
        )
    }

    /// Who created the key, or made the call.
    fn actor(&self) -> Option<&Actor> {
        match &self.content {
            Content::Key(view) => view.creation.as_ref().map(|event| &event.actor),
            Content::Audit(audit) => Some(&audit.provenance.actor),
            Content::Log(log) => log.actor(),
            Content::Use(_) => None,
        }
    }

    /// As one line of JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, to: &mut dyn io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut *to, self)?;
        to.write_all(b"\n")
    }

    /// As CSV.
    ///
    /// # Errors
    /// Never in practice.
    pub fn values(&self) -> io::Result<Vec<String>> {
        Ok(super::output::values(&serde_json::to_value(self)?, &Self::fields()))
    }

    /// What happened, in words for people.
    #[must_use]
    pub fn detail(&self) -> String {
        match &self.content {
            Content::Key(view) => view.report.reason.clone(),
            Content::Audit(audit) => audit.report.reason.clone(),
            Content::Log(log) => match &log.provenance {
                Some(provenance) => describe_caller(provenance),
                None => log.sentence.clone(),
            },
            Content::Use(_) => String::new(),
        }
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut fields = to.serialize_map(Some(COLUMNS.len()))?;
        for (name, column) in &COLUMNS {
            let value = match column {
                Column::Text(of) => of(self).map(Value::from),
                Column::Time(of) => of(self).map(|time| rfc3339(time).into()),
                Column::Flag(of) => of(self).map(Value::from),
                Column::Count(of) => of(self).map(Value::from),
                Column::Number(of) => of(self).map(Value::from),
            };
            fields.serialize_entry(name, &value)?;
        }
        fields.end()
    }
}

/// What happened to a key: a word for scripts.
pub const fn heard_word(heard: HeardEvent) -> &'static str {
    match heard {
        HeardEvent::Created => "created",
        HeardEvent::Activated => "activated",
        HeardEvent::Reset => "reset",
        HeardEvent::Deactivated => "deactivated",
        HeardEvent::Deleted => "deleted",
    }
}

const fn change_word(change: &Change) -> &'static str {
    match change {
        Change::Heard(heard) => heard_word(*heard),
        Change::Assessed => "assessed",
        Change::Intended { .. } => "intended",
        Change::Acted { .. } => "acted",
        Change::Observed(_) => "observed",
        Change::Gone => "gone",
        Change::Inactive => "inactive",
        Change::Learned => "learned",
        Change::Reported => "reported",
    }
}

const fn action_of(change: &Change) -> Option<Action> {
    match change {
        Change::Intended { action, .. } | Change::Acted { action, .. } => Some(*action),
        Change::Heard(_)
        | Change::Assessed
        | Change::Observed(_)
        | Change::Gone
        | Change::Inactive
        | Change::Learned
        | Change::Reported => None,
    }
}

fn describe_caller(provenance: &Provenance) -> String {
    let Provenance { actor, source_ip, user_agent, corrects, .. } = provenance;
    let mut parts: Vec<_> = corrects.iter().map(ToString::to_string).collect();
    parts.push(format!("by {}", actor.principal.as_deref().unwrap_or("an unknown actor")));
    parts.extend(actor.session_issuer.as_ref().map(|issuer| format!("with {issuer}")));
    parts.extend(source_ip.as_ref().map(|address| format!("from {address}")));
    parts.extend(user_agent.clone());
    parts.push(describe_mfa(actor.mfa).to_owned());
    parts.push(if actor.console { "in a console session" } else { "no console session" }.to_owned());
    parts.join(", ")
}

const fn describe_mfa(mfa: Option<bool>) -> &'static str {
    match mfa {
        Some(true) => "with MFA",
        Some(false) => "without MFA",
        None => "MFA not known",
    }
}

/// The verdict, with what is wrong.
#[must_use]
pub fn describe_verdict(report: &Report) -> String {
    match (report.verdict, report.violation) {
        (None, _) => "-".to_owned(),
        (Some(verdict), Some(violation)) => format!("{}, {}", verdict.as_str(), violation.as_str()),
        (Some(verdict), None) => verdict.as_str().to_owned(),
    }
}

/// No text of the table may control a terminal, wherever it is from.
#[must_use]
pub fn fit_to_print(mut view: KeyView) -> KeyView {
    sanitize_report(&mut view.report);
    sanitize_all([&mut view.standing.by]);
    if let Some(creation) = &mut view.creation {
        sanitize_provenance(creation);
    }
    view
}

fn sanitize_report(report: &mut Report) {
    let Report { reason, actor, source_ip, user_agent, policy_sha256, .. } = report;
    *reason = sanitize_line(reason);
    sanitize_all([actor, source_ip, user_agent, policy_sha256]);
}

fn sanitize_provenance(provenance: &mut Provenance) {
    let Provenance { actor, source_ip, user_agent, corrects, .. } = provenance;
    sanitize_all([&mut actor.kind, &mut actor.principal, &mut actor.session_issuer, source_ip, user_agent]);
    let context = &mut actor.context;
    sanitize_all([&mut context.issuer_type, &mut context.credentials_issued_to, &mut context.source_arn]);
    sanitize_all([
        &mut context.delegate_account,
        &mut context.identity_center_user,
        &mut context.identity_store,
    ]);
    if let Some(Correction { event_id: _, reason, updated_fields }) = corrects {
        sanitize_all([reason, updated_fields]);
    }
}

fn sanitize_all<const N: usize>(texts: [&mut Option<String>; N]) {
    for text in texts.into_iter().flatten() {
        *text = sanitize_line(text);
    }
}

/// What became of a key, for people who count or compare. Of a dry run, nothing did.
#[must_use]
pub fn outcome_word(view: &KeyView) -> &'static str {
    match view.intent {
        _ if view.is_dry_run => "dry_run",
        Some(_) => "pending",
        None => view.report.outcome.as_str(),
    }
}
