//! What is said of a leaked key.

use std::io::{self, Write};

use serde::Serialize;

use super::steps::{self, Step};
use crate::cli::output::stdout;
use crate::cli::when::Times;
use crate::cli::{DOCS, facts};
use crate::ledger::view::{KeyView, KnownExpiration};
use key_guard_core::Time;
use key_guard_core::key::{Service, Status, UserName};
use key_guard_core::leaked_key::{AccessKey, AccessKeyId, LeakedKey, LongTermKey, ShortTermKey};
use key_guard_core::time::rfc3339;

/// A key that was found in a text. Scripts rely on the fields; each is always there.
#[derive(Debug, Default, Serialize)]
pub(super) struct Identified {
    kind: &'static str,
    service: Option<String>,
    account: Option<String>,
    user: Option<String>,
    /// 1 or 2.
    key_number: Option<u8>,
    /// The name that IAM's list has for the key (`ServiceCredentialAlias`).
    alias: Option<String>,
    /// What the text may mean as well.
    other_reading: Option<OtherReading>,
    access_key_id: Option<String>,
    region: Option<String>,
    created_at: Option<String>,
    ends_at: Option<String>,
    ended: Option<bool>,
    /// What the ledger has; `null` where it was not asked.
    ledger: Option<Vec<LedgerEntry>>,
    /// What stops it, safest first.
    commands: Vec<Step>,
    notes: Vec<String>,
    #[serde(skip)]
    title: String,
    /// How it stands, as the ledger says.
    #[serde(skip)]
    status: Option<String>,
    /// Whether the ledger says that nothing is left to stop.
    #[serde(skip)]
    is_over: bool,
}

#[derive(Debug, Serialize)]
struct OtherReading {
    user: String,
    key_number: u8,
}

/// A key of the ledger that may be the leaked one.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LedgerEntry {
    /// `state`, or `dry_run`.
    line: &'static str,
    pub(super) credential_id: String,
    #[serde(skip)]
    pub(super) owner: Option<UserName>,
    user: Option<String>,
    service: Option<String>,
    status: &'static str,
    #[serde(skip)]
    pub(super) stands: Status,
    /// How it stands, for people.
    #[serde(skip)]
    stands_in_short: String,
    #[serde(skip)]
    description: String,
    #[serde(skip)]
    ends_before_expiration: bool,
    verdict: Option<&'static str>,
    outcome: &'static str,
    created_at: Option<String>,
    /// `never`, `at` or `undetermined`, as in the rows of `lookup`.
    expiration: Option<&'static str>,
    expires_at: Option<String>,
}

impl LedgerEntry {
    pub(super) fn new(view: KeyView) -> Self {
        let standing = &view.standing;
        let (stands_in_short, description) =
            (facts::status_and_evidence(standing), facts::describe_status(&view, Times::Absolute));
        let ends_before_expiration = view.report.expires_at.is_some_and(|end| standing.ended_before(end));
        let report = view.report;
        Self {
            line: if view.is_dry_run { "dry_run" } else { "state" },
            credential_id: view.key.id.to_string(),
            user: report.user.as_ref().map(ToString::to_string),
            owner: report.user,
            service: report.service.as_ref().map(ToString::to_string),
            status: report.status.as_str(),
            stands: report.status,
            stands_in_short,
            description,
            ends_before_expiration,
            verdict: report.verdict.map(key_guard_core::policy::Verdict::as_str),
            outcome: report.outcome.as_str(),
            created_at: report.created_at.map(rfc3339),
            expiration: view.expiration.map(KnownExpiration::as_str),
            expires_at: report.expires_at.map(rfc3339),
        }
    }

    fn line(&self) -> String {
        let verdict = self.verdict.unwrap_or("not judged");
        let judged = if self.line == "dry_run" { "; a dry run found it " } else { ", " };
        let created = self.created_at.as_deref().map(|at| format!(", created {at}")).unwrap_or_default();
        let expires = match (self.expires_at.as_deref(), self.expiration) {
            (Some(at), _) if self.ends_before_expiration => format!(", would have expired {at}"),
            (Some(at), _) => format!(", expires {at}"),
            (None, Some("never")) => ", never expires".to_owned(),
            (None, _) => String::new(),
        };
        format!("{}: {}{judged}{verdict}{created}{expires}", self.credential_id, self.stands_in_short)
    }
}

/// How the leaked key stands. `None`: the ledger does not know it.
fn describe_standing(candidates: &[&LedgerEntry]) -> Option<String> {
    let working = candidates.iter().filter(|entry| entry.stands.may_be_usable()).count();
    let standing = match candidates {
        [] => return None,
        [one] => one.description.clone(),
        many if working == 0 => format!("it is one of {} keys, and none of them works", many.len()),
        many => format!("it is one of {} keys, and {working} of them may work", many.len()),
    };
    let is = |status| candidates.iter().all(|entry| entry.stands == status);
    let consequence = match working {
        0 if is(Status::Inactive) => "; it is stopped already, until somebody activates it",
        0 => "; nothing is left to stop: confirm it with the list below",
        _ => "",
    };
    Some(format!("the ledger says: {standing}{consequence}"))
}

impl Identified {
    pub(super) fn new(key: LeakedKey, entries: Option<Vec<LedgerEntry>>, now: Time) -> Self {
        match key {
            LeakedKey::LongTerm(key) => Self::long_term(&key, entries),
            LeakedKey::ShortTerm(key) => Self::short_term(key, now),
            LeakedKey::AccessKey(key) => Self::access_key(key, now),
            LeakedKey::SecretAccessKey => Self::without_id(
                "secret_access_key",
                "Secret access key of AWS",
                "Its account cannot be read from it. Find the access key id that belongs to it, and give both.",
            ),
            LeakedKey::LikelySecretAccessKey => Self::without_id(
                "secret_access_key",
                "Perhaps a secret access key of AWS",
                "It has the form of one, 40 characters of Base64, and nothing beside it says that it is one. If it is: its account \
                 cannot be read from it. Find the access key id that belongs to it, and give both.",
            ),
            LeakedKey::SessionToken => Self::without_id(
                "session_token",
                "Session token of AWS",
                "It is of no use without its access key, and ends by itself. Find the access key id (ASIA…) that belongs to it, \
                 and give both.",
            ),
            LeakedKey::Signature => Self::without_id(
                "signature",
                "Presigned URL of AWS",
                "Anybody who has the whole URL can make its one call until it ends, as its X-Amz-Date and X-Amz-Expires say.",
            ),
        }
    }

    fn long_term(key: &LongTermKey, entries: Option<Vec<LedgerEntry>>) -> Self {
        let mut notes = Vec::new();
        let alias = key.alias.as_ref();
        match alias {
            None => notes.push(format!(
                "The text is cut off or masked before the name of its user, or its case was changed: whose it is cannot be read from \
                 it. Find it with `aws iam list-service-specific-credentials --all-users`, or deny the use of all keys: \
                 {DOCS}/incident.md"
            )),
            Some(_) => notes.push(
                "The user's name is that of the time when the key was created. If there is no such user, it was renamed or \
                 deleted: a renamed user keeps its keys, and `aws iam list-service-specific-credentials --all-users` has them."
                    .to_owned(),
            ),
        }
        if key.service.is_none() {
            notes.push("Its prefix is not one that is documented.".to_owned());
        }
        let other = alias.and_then(|alias| alias.other_reading.as_ref());
        if let Some((alias, other)) = alias.zip(other) {
            notes.push(format!(
                "It is the second key of {}, or the first one of a user that is called {}: + is legal in names. IAM's lists say \
                 which: only one of them has this alias. The other user has nothing to do with it.",
                alias.owner.user, other.user
            ));
        }
        if entries.as_ref().is_some_and(Vec::is_empty) {
            notes.push(
                "The ledger has no key of this user and service: it is older than the ledger, or another ledger has it.".to_owned(),
            );
        }
        let candidates = steps::candidates(entries.as_deref().unwrap_or_default());
        Self {
            kind: "long_term_key",
            title: format!("Long-term API key for {}", title_of(key.service.as_ref())),
            service: key.service.as_ref().map(ToString::to_string),
            account: alias.map(|alias| alias.account.to_string()),
            user: alias.map(|alias| alias.owner.user.to_string()),
            key_number: alias.map(|alias| alias.owner.key_number),
            alias: alias.map(steps::alias_of),
            other_reading: other
                .map(|other| OtherReading { user: other.user.to_string(), key_number: other.key_number }),
            status: describe_standing(&candidates),
            is_over: !candidates.is_empty() && candidates.iter().all(|entry| entry.stands == Status::Gone),
            commands: steps::for_long_term(key, &candidates),
            ledger: entries,
            notes,
            ..Self::default()
        }
    }

    fn short_term(key: ShortTermKey, now: Time) -> Self {
        let ended = key.ends_at.map(|end| end <= now);
        let notes = match ended {
            Some(true) => vec!["It has ended: there is nothing to stop.".to_owned()],
            Some(false) => vec![
                "It ends by itself, at this time at the latest, and before that with the session that has created it. The \
                 ledger has no short-term keys: IAM does not know them."
                    .to_owned(),
            ],
            None => vec![
                "The text is cut off before its end: when the key ends cannot be read. Short-term keys work for 12 hours at most."
                    .to_owned(),
            ],
        };
        let commands = match (ended, &key.access_key) {
            (Some(true), _) | (_, None) => Vec::new(),
            (Some(false) | None, Some(id)) => {
                steps::for_access_key(id, key.region.as_deref(), Some(&key.service), now)
            }
        };
        let account = key.access_key.as_ref().and_then(|id| id.account.as_ref());
        Self {
            kind: "short_term_key",
            title: format!("Short-term API key for {}", title_of(Some(&key.service))),
            service: Some(key.service.to_string()),
            account: account.map(ToString::to_string),
            access_key_id: key.access_key.map(|id| id.id),
            region: key.region,
            created_at: key.created_at.map(rfc3339),
            ends_at: key.ends_at.map(rfc3339),
            ended,
            commands,
            notes,
            ..Self::default()
        }
    }

    fn access_key(key: AccessKey, now: Time) -> Self {
        let commands = steps::for_access_key(&key.id, None, None, now);
        let AccessKeyId { id, is_temporary, account } = key.id;
        let mut notes = vec![
            "It is no API key: with its secret, one can do whatever its user or role may do in AWS."
                .to_owned(),
        ];
        if !key.has_secret {
            notes.push("Only its id was found in the text. The id alone is no secret.".to_owned());
        }
        if account.is_none() {
            notes.push(format!(
                "This id has no account in it: `aws sts get-access-key-info --access-key-id {id}` returns it."
            ));
        }
        let title = if is_temporary { "Access key of a session of AWS" } else { "Access key of an IAM user" };
        Self {
            kind: "access_key",
            title: title.to_owned(),
            account: account.map(|account| account.to_string()),
            access_key_id: Some(id),
            commands,
            notes,
            ..Self::default()
        }
    }

    fn without_id(kind: &'static str, title: &str, note: &str) -> Self {
        Self { kind, title: title.to_owned(), notes: vec![note.to_owned()], ..Self::default() }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.title)?;
        let mut fact = |name: &str, value: Option<&str>| match value {
            Some(value) => writeln!(out, "  {name:<11}{value}"),
            None => Ok(()),
        };
        fact("status", self.status.as_deref())?;
        fact("service", self.service.as_deref())?;
        fact("account", self.account.as_deref())?;
        fact("user", self.user.as_deref())?;
        let alias = self.alias.as_ref().zip(self.key_number).map(|(alias, number)| match number {
            1 => format!("{alias} (no +1: the alias of a first key)"),
            _ => format!("{alias} (with +1: the alias of a second key)"),
        });
        fact("alias", alias.as_deref())?;
        fact("access key", self.access_key_id.as_deref())?;
        fact("region", self.region.as_deref())?;
        fact("created", self.created_at.as_deref())?;
        fact(if self.ended == Some(true) { "ended" } else { "ends" }, self.ends_at.as_deref())?;
        for entry in self.ledger.iter().flatten() {
            fact("ledger", Some(&entry.line()))?;
        }
        for note in &self.notes {
            fact("note", Some(note))?;
        }
        if self.commands.is_empty() {
            return Ok(());
        }
        let place =
            self.account.as_deref().map(|account| format!(", in account {account}")).unwrap_or_default();
        let heading = if self.is_over { "What confirms it" } else { "What stops it, safest first" };
        writeln!(out, "  {heading}{place}:")?;
        for Step { purpose, command } in &self.commands {
            writeln!(out, "    # {purpose}\n    {command}")?;
        }
        Ok(())
    }
}

/// What people call a service.
fn title_of(service: Option<&Service>) -> String {
    match service {
        None => "a service that its prefix does not tell".to_owned(),
        Some(Service::Bedrock) => "Amazon Bedrock".to_owned(),
        Some(Service::ClaudePlatform) => "Claude Platform on AWS".to_owned(),
        Some(Service::CloudWatch) => "Amazon CloudWatch".to_owned(),
        Some(Service::Logs) => "Amazon CloudWatch Logs".to_owned(),
        Some(Service::XRay) => "AWS X-Ray".to_owned(),
        Some(other @ (Service::CodeCommit | Service::Keyspaces | Service::Other(_))) => other.to_string(),
    }
}

/// Writes all keys to stdout.
///
/// # Errors
/// When stdout cannot be written.
pub(super) fn write(keys: &[Identified], as_json_lines: bool) -> io::Result<()> {
    let mut out = stdout();
    for (index, key) in keys.iter().enumerate() {
        if as_json_lines {
            serde_json::to_writer(&mut out, key)?;
            writeln!(out)?;
        } else {
            if index > 0 {
                writeln!(out)?;
            }
            key.print(&mut out)?;
        }
    }
    out.flush()
}
