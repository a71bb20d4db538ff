//! `lookup --attempts`: who keeps trying; and what happened to keys that the ledger does not know.

use std::collections::HashMap;
use std::io::{self, Write as _};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::when::Times;
use crate::ledger::Kind;
use crate::ledger::happening::Happening;
use key_guard_core::text::sanitize_line;
use key_guard_core::time::rfc3339;

/// The columns, in order.
pub const FIELDS: [&str; 12] = [
    "kind",
    "at",
    "account",
    "user",
    "service",
    "credential_id",
    "what",
    "actor",
    "source_ip",
    "user_agent",
    "event_id",
    "source",
];

#[derive(Serialize)]
struct Wire<'a> {
    kind: Kind,
    at: String,
    account: &'a str,
    user: Option<&'a str>,
    service: Option<&'a str>,
    credential_id: Option<&'a str>,
    what: String,
    actor: Option<String>,
    source_ip: Option<String>,
    user_agent: Option<String>,
    event_id: &'a str,
    source: &'static str,
}

fn wire(happening: &Happening) -> Wire<'_> {
    let text = |text: &Option<String>| text.as_deref().map(sanitize_line);
    Wire {
        kind: happening.kind,
        at: rfc3339(happening.event_time),
        account: happening.account.as_str(),
        user: happening.user.as_ref().map(key_guard_core::key::UserName::as_str),
        service: happening.service.as_ref().map(key_guard_core::key::Service::as_str),
        credential_id: happening.credential_id.as_ref().map(key_guard_core::key::CredentialId::as_str),
        what: sanitize_line(&happening.what),
        actor: text(&happening.actor.principal),
        source_ip: text(&happening.source_ip),
        user_agent: text(&happening.user_agent),
        event_id: happening.event_id.as_str(),
        source: happening.source.as_str(),
    }
}

/// One to a line.
///
/// # Errors
/// When stdout cannot be written.
pub fn jsonl(found: &[Happening]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for happening in found {
        serde_json::to_writer(&mut out, &wire(happening))?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// The same fields under a header.
///
/// # Errors
/// When stdout cannot be written.
pub fn csv(found: &[Happening]) -> io::Result<()> {
    let mut out = super::output::csv_on_stdout(&FIELDS)?;
    for happening in found {
        out.write_record(super::output::values(&serde_json::to_value(wire(happening))?, &FIELDS))?;
    }
    out.flush()
}

/// What one actor tried in one account, how often, and when last.
pub struct Row {
    /// How often.
    pub times: u64,
    /// When last.
    pub last: DateTime<Utc>,
    /// What, by whom, where.
    pub cells: [String; 5],
}

impl Row {
    /// In words.
    #[must_use]
    pub fn values(&self, times: Times) -> Vec<String> {
        let mut values = vec![times.tell(self.last), self.times.to_string()];
        values.extend(self.cells.iter().cloned());
        values
    }
}

/// Alike ones together, the latest first.
#[must_use]
pub fn rows(found: &[Happening]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut known: HashMap<[String; 5], usize> = HashMap::new();
    for happening in found {
        let Wire { account, user, what, actor, source_ip, .. } = wire(happening);
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let cells = [dash(actor), account.to_owned(), dash(user.map(str::to_owned)), dash(source_ip), what];
        if let Some(row) = known.get(&cells).and_then(|index| rows.get_mut(*index)) {
            row.times += 1;
            continue;
        }
        known.insert(cells.clone(), rows.len());
        rows.push(Row { times: 1, last: happening.event_time, cells });
    }
    rows
}
