//! Whose verdict changes under another policy.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use chrono::{DateTime, Utc};
use comfy_table::{Attribute, Cell};
use serde_json::{Value, json};

use super::Format;
use crate::cli::messages::{Warnings, counted, say};
use crate::cli::output::{plain_table, stdout, wants_colour, write_table};
use crate::ledger::portable::{PortableContent, PortableItem};
use crate::ledger::store::Ledger;
use key_guard_core::evidence::ExpirationEvidence;
use key_guard_core::key::{Expiration, KeyFacts, KeyRef, Status};
use key_guard_core::lifecycle::state::KeyState;
use key_guard_core::policy::{Policy, Response, Scope, Verdict};

/// What a policy says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PolicyVerdict {
    /// It does not judge the key's service.
    NotJudged,
    /// It has a limit for the key.
    Judged(Verdict),
    /// The same, and the key gets this.
    Noncompliant(Response),
}

impl PolicyVerdict {
    fn of(scope: &Scope) -> Self {
        match scope {
            Scope::OutOfScope => Self::NotJudged,
            Scope::InScope(assessment) => match assessment.verdict() {
                Verdict::Noncompliant => Self::Noncompliant(assessment.response),
                verdict @ (Verdict::Compliant | Verdict::Exempt | Verdict::Undetermined) => {
                    Self::Judged(verdict)
                }
            },
        }
    }

    const fn verdict(self) -> Option<Verdict> {
        match self {
            Self::NotJudged => None,
            Self::Judged(verdict) => Some(verdict),
            Self::Noncompliant(_) => Some(Verdict::Noncompliant),
        }
    }

    const fn response(self) -> Option<Response> {
        match self {
            Self::NotJudged | Self::Judged(_) => None,
            Self::Noncompliant(response) => Some(response),
        }
    }
}

impl fmt::Display for PolicyVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJudged => f.write_str("not judged"),
            Self::Judged(verdict) => f.write_str(verdict.as_str()),
            Self::Noncompliant(response) => write!(f, "noncompliant, {response}"),
        }
    }
}

/// A key whose verdict or response changes.
struct Change {
    facts: KeyFacts,
    old: PolicyVerdict,
    new: PolicyVerdict,
}

/// What another policy changes.
pub struct Changes {
    assessed: u64,
    keys: Vec<Change>,
    pub unreadable: usize,
}

/// A key that the ledger has.
struct KnownKey<'a> {
    facts: &'a KeyFacts,
    evidence: &'a ExpirationEvidence,
    /// The latest assessment that the ledger has.
    recorded: Scope,
}

impl Changes {
    /// Assesses every key of the ledger that exists, as of `now`. It reads the whole table. A key that was only in a dry run
    /// is assessed by that.
    ///
    /// `old`: the policy until now. `None`: the ledger has none, and the verdicts that it has count.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items of keys that cannot be are counted.
    pub async fn read(
        store: &Ledger,
        old: Option<&Policy>,
        new: &Policy,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let mut changes = Self { assessed: 0, keys: Vec::new(), unreadable: 0 };
        let warnings = Warnings::default();
        let (mut scan, mut last_state) = (store.table_scan(), None::<KeyRef>);
        while let Some(page) = scan.next().await? {
            for item in page {
                let item = match item {
                    Ok(item) => item,
                    Err(error) if error.key().is_some() => {
                        changes.unreadable += warnings.warn_unreadable(&[error]);
                        continue;
                    }
                    Err(_) => continue,
                };
                if let Some(key) = known_key(&item).filter(|key| last_state.as_ref() != Some(&key.facts.key))
                {
                    changes.assess(&key, old, new, now);
                }
                if let PortableContent::State(key, _) = item.content {
                    // Its dry run comes next, and says nothing more.
                    last_state = Some(key);
                }
            }
        }
        changes.keys.sort_by(|one, other| place(one).cmp(&place(other)));
        Ok(changes)
    }

    fn assess(&mut self, key: &KnownKey<'_>, old: Option<&Policy>, new: &Policy, now: DateTime<Utc>) {
        if has_expired(&key.recorded, now) {
            return;
        }
        let assess = |policy: &Policy| policy.assess(key.facts, key.evidence, now);
        let old = PolicyVerdict::of(&old.map_or_else(|| key.recorded.clone(), assess));
        let new = PolicyVerdict::of(&assess(new));
        self.assessed += 1;
        if old != new {
            self.keys.push(Change { facts: key.facts.clone(), old, new });
        }
    }

    /// Writes the keys to stdout, and how many there are to stderr.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn write(&self, format: Format) -> io::Result<()> {
        self.write_keys(&mut stdout(), format)?;
        say(&self.summary());
        Ok(())
    }

    /// Writes the keys, by account and user.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_keys(&self, out: &mut impl Write, format: Format) -> io::Result<()> {
        match format {
            Format::Jsonl => {
                for change in &self.keys {
                    writeln!(out, "{}", json_of(change))?;
                }
            }
            Format::Table if self.keys.is_empty() => {}
            Format::Table => {
                let mut table = plain_table(wants_colour());
                let titles = ["ACCOUNT", "USER", "KEY", "OLD", "NEW"];
                table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
                for Change { facts, old, new } in &self.keys {
                    let KeyRef { account, id } = &facts.key;
                    table.add_row([
                        account.to_string(),
                        facts.user.to_string(),
                        id.to_string(),
                        old.to_string(),
                        new.to_string(),
                    ]);
                }
                write_table(out, table)?;
            }
        }
        out.flush()
    }

    /// How many keys there are, how many change, and what into what.
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<(PolicyVerdict, PolicyVerdict), u64> = BTreeMap::new();
        for Change { old, new, .. } in &self.keys {
            *counts.entry((*old, *new)).or_default() += 1;
        }
        let counts: Vec<_> =
            counts.into_iter().map(|((old, new), count)| format!("{count} {old} -> {new}")).collect();
        let what = if counts.is_empty() { String::new() } else { format!(" ({})", counts.join("; ")) };
        format!(
            "{} assessed: {} change{what}; {} unreadable",
            counted(self.assessed, "key", "keys"),
            self.keys.len(),
            counted(self.unreadable as u64, "item", "items"),
        )
    }
}

/// The key that an item is about, if it exists as far as is known.
fn known_key(item: &PortableItem) -> Option<KnownKey<'_>> {
    match &item.content {
        PortableContent::State(_, state) => match state.as_ref() {
            KeyState::Tracked(record) if record.phase.gone().is_none() => Some(KnownKey {
                facts: &record.facts,
                evidence: &record.evidence,
                recorded: record.assessment.clone(),
            }),
            KeyState::Tracked(_) | KeyState::Unknown | KeyState::Unconfirmed(_) | KeyState::Tombstone(_) => {
                None
            }
        },
        PortableContent::DryRun(dry_run) => dry_run
            .assessed()
            .filter(|dry_run| dry_run.standing.status != Status::Gone)
            .map(|dry_run| KnownKey {
                facts: &dry_run.facts,
                evidence: &dry_run.evidence,
                recorded: Scope::InScope(dry_run.assessment.clone()),
            }),
        PortableContent::Log(_)
        | PortableContent::Attempts(_)
        | PortableContent::UserChanged(_)
        | PortableContent::UnjudgedKey(_)
        | PortableContent::Policy(_)
        | PortableContent::Use(_)
        | PortableContent::UsageCoverage(_) => None,
    }
}

/// An expired key is harmless, whatever a policy says.
fn has_expired(recorded: &Scope, now: DateTime<Utc>) -> bool {
    match recorded {
        Scope::InScope(assessment) => match assessment.expiration {
            Some(Expiration::At(end)) => end <= now,
            Some(Expiration::Never) | None => false,
        },
        Scope::OutOfScope => false,
    }
}

fn place(change: &Change) -> (&str, &str, &str) {
    let KeyRef { account, id } = &change.facts.key;
    (account.as_str(), change.facts.user.as_str(), id.as_str())
}

fn json_of(change: &Change) -> Value {
    let Change { facts, old, new } = change;
    json!({
        "account": facts.key.account.as_str(),
        "service": facts.service.as_str(),
        "user": facts.user.as_str(),
        "credential_id": facts.key.id.as_str(),
        "old_verdict": old.verdict().map(Verdict::as_str),
        "old_response": old.response().map(Response::as_str),
        "new_verdict": new.verdict().map(Verdict::as_str),
        "new_response": new.response().map(Response::as_str),
    })
}
