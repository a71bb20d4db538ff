//! The keys as the page has them: column by column, each text once.
//!
//! [`KeyColumns`] is read when the page opens. [`KeyDetails`] is read when a row is opened: it has what is long and
//! differs from key to key. There, what the columns have already stands as a control character, which no text of a
//! ledger has; `expand` in `script.js` puts it back.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::labels;
use super::person::Person;
use crate::cli::filters::short;
use crate::cli::rows::Row;
use crate::ledger::audit::history::LogLine;
use crate::ledger::view::{KeyView, KnownExpiration};
use key_guard_core::Time;
use key_guard_core::key::{Status, UserName};
use key_guard_core::remediation::Remediation;
use key_guard_core::text::sanitize_line;
use key_guard_core::time::rfc3339;
use key_guard_core::words::lifecycle::{describe_change, describe_heard};
use key_guard_core::words::remediation::{argument, deactivation_command};

/// Texts by number.
#[derive(Debug, Default, Serialize)]
struct Dictionary {
    texts: Vec<String>,
    #[serde(skip)]
    numbers: HashMap<String, usize>,
}

impl Dictionary {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len();
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

/// A column of texts: many keys have the same.
#[derive(Debug, Default, Serialize)]
struct TextColumn {
    #[serde(flatten)]
    dictionary: Dictionary,
    rows: Vec<usize>,
}

impl TextColumn {
    /// With texts whose order means something.
    fn ordered(texts: &[&str]) -> Self {
        let mut column = Self::default();
        for text in texts {
            column.dictionary.number(text);
        }
        column
    }

    fn push(&mut self, text: &str) {
        let number = self.dictionary.number(text);
        self.rows.push(number);
    }
}

/// What a tile of the page counts: bits of [`KeyColumns::flags`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Noncompliant, and active or of unknown status.
    NoncompliantActive = 1,
    /// It never expires, and is active or of unknown status.
    NeverExpires = 2,
    /// Created in the last seven days.
    New = 4,
    /// Its user has got another way in.
    CriticalUser = 8,
    /// The exemption of its user ends soon.
    ExemptionEnds = 16,
    /// A dry run: nothing of it was done.
    DryRun = 32,
}

/// What is known of a key at a time, beside what the ledger has of it.
#[derive(Debug, Clone)]
pub struct KeyNow {
    /// How it stands.
    pub status: Status,
    /// What it counts as.
    pub flags: Vec<Flag>,
}

/// What the table shows and filters.
#[derive(Debug, Serialize)]
pub struct KeyColumns {
    id: Vec<String>,
    /// Seconds since 1970.
    created: Vec<i64>,
    /// Seconds since 1970; 0: never; `null`: not known.
    expires: Vec<Option<i64>>,
    flags: Vec<u8>,
    status: TextColumn,
    verdict: TextColumn,
    violation: TextColumn,
    lifetime: TextColumn,
    limit: TextColumn,
    outcome: TextColumn,
    user: TextColumn,
    account: TextColumn,
    service: TextColumn,
    person: TextColumn,
    capacity: TextColumn,
    principal: TextColumn,
    address: TextColumn,
    agent: TextColumn,
}

impl Default for KeyColumns {
    fn default() -> Self {
        let none = TextColumn::default;
        Self {
            id: Vec::new(),
            created: Vec::new(),
            expires: Vec::new(),
            flags: Vec::new(),
            status: TextColumn::ordered(&labels::STATUSES),
            verdict: TextColumn::ordered(&labels::VERDICTS),
            violation: none(),
            lifetime: none(),
            limit: none(),
            outcome: none(),
            user: none(),
            account: none(),
            service: none(),
            person: none(),
            capacity: none(),
            principal: none(),
            address: none(),
            agent: none(),
        }
    }
}

impl KeyColumns {
    /// Adds a key that is fit to print.
    pub fn push(&mut self, view: &KeyView, now: &KeyNow) {
        let (report, creation) = (&view.report, view.creation.as_ref());
        let person = Person::of(creation.map(|event| &event.actor));
        let creator = |text: Option<&String>| text.cloned().unwrap_or_default();
        self.id.push(view.key.id.to_string());
        self.created.push(view.at.timestamp());
        self.expires.push(match (view.expiration, report.expires_at) {
            (Some(KnownExpiration::Never), _) => Some(0),
            (_, end) => end.map(|end| end.timestamp()),
        });
        self.flags.push(now.flags.iter().fold(0, |flags, flag| flags | *flag as u8));
        self.status.push(labels::standing(&view.standing));
        self.verdict.push(labels::verdict(report.verdict));
        self.violation.push(labels::violation(report.violation));
        self.lifetime.push(&labels::lifetime(view));
        self.limit.push(&report.limit_days.map(|days| days.to_string()).unwrap_or_default());
        self.outcome.push(&labels::outcome(view));
        self.user.push(report.user.as_ref().map_or("Not known", UserName::as_str));
        self.account.push(view.key.account.as_str());
        self.service.push(report.service.as_ref().map_or("Not known", short));
        self.person.push(&person.name);
        self.capacity.push(&person.capacity);
        self.principal.push(&creator(creation.and_then(|event| event.actor.principal.as_ref())));
        self.address.push(&creator(creation.and_then(|event| event.source_ip.as_ref())));
        self.agent.push(&creator(creation.and_then(|event| event.user_agent.as_ref())));
    }
}

/// What a row shows when it is opened.
#[derive(Debug, Default)]
pub struct KeyDetails {
    dictionary: Dictionary,
    rows: Vec<Value>,
    /// How the ledger is named in commands.
    ledger: String,
}

impl KeyDetails {
    /// For keys of a ledger.
    pub fn new(ledger: &str) -> Self {
        Self { ledger: argument("--ledger", ledger), ..Self::default() }
    }

    /// Adds a key that is fit to print.
    pub fn push(&mut self, view: &KeyView, status: Status, history: Vec<LogLine>) {
        let known = known_texts(view);
        let report = &view.report;
        let reason = self.number(&report.reason, &known);
        let advice = report.remediation.as_deref().map(Remediation::sentences).unwrap_or_default();
        let commands = self.commands(view, status, &advice);
        let advice = self.numbers(&advice, &known);
        let commands = self.numbers(&commands, &known);
        let facts: Vec<_> = facts(view)
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
        let facts = self.numbers(&facts, &known);
        let mut lines = Vec::with_capacity(history.len() * 3);
        for line in history {
            let after = line.at().timestamp() - view.at.timestamp();
            let (what, cause) = describe_line(view, line);
            lines.extend([
                json!(after),
                self.number(&what, &known).into(),
                self.number(&cause, &known).into(),
            ]);
        }
        let event_id = report.event_id.as_ref().map(ToString::to_string);
        self.rows.push(json!([reason, advice, commands, facts, lines, event_id, seconds(view)]));
    }

    /// Commands beside those of the remediation, the most urgent first.
    fn commands(&self, view: &KeyView, status: Status, advice: &[String]) -> Vec<String> {
        let id = &view.key.id;
        let user = view.report.user.as_ref().filter(|_| status.may_be_usable());
        let stop = user.map(|user| deactivation_command(user, id.as_str()));
        let stop = stop.filter(|command| !advice.iter().any(|sentence| sentence.contains(command)));
        let stop = stop.map(|command| format!("Stop it at once: `{command}`"));
        let look_up = format!("Look it up: `bedrock-key-guard lookup --key {id} {}`", self.ledger);
        stop.into_iter().chain([look_up]).collect()
    }

    fn numbers(&mut self, texts: &[String], known: &[String]) -> Vec<usize> {
        texts.iter().map(|text| self.number(text, known)).collect()
    }

    fn number(&mut self, text: &str, known: &[String]) -> usize {
        self.dictionary.number(&shorten(&sanitize_line(text), known))
    }

    /// As the page has it.
    pub fn to_json(&self) -> Value {
        json!({"texts": self.dictionary.texts, "rows": self.rows})
    }
}

/// What `expand` in `script.js` has from the columns, in this order. An empty text stands for nothing.
fn known_texts(view: &KeyView) -> [String; 5] {
    let user = view.report.user.as_ref().map(ToString::to_string).unwrap_or_default();
    let end = view.report.expires_at.map(rfc3339).unwrap_or_default();
    [view.key.id.to_string(), view.key.account.to_string(), end, rfc3339(view.at), user]
}

/// A text with a control character for each text that is known.
fn shorten(text: &str, known: &[String]) -> String {
    let mut short = text.to_owned();
    for (character, known) in ('\u{1}'..).zip(known) {
        if !known.is_empty() && short.contains(known.as_str()) {
            short = short.replace(known.as_str(), character.encode_utf8(&mut [0; 4]));
        }
    }
    short
}

/// When things happened, in seconds since the key was created: seen last, assessed first, changed last, acted upon, to be
/// deleted after, pending since.
fn seconds(view: &KeyView) -> [Option<i64>; 6] {
    [
        view.last_seen.as_ref().map(|seen| seen.at),
        view.first_assessed,
        view.changed_at,
        view.acted_at,
        view.delete_after.filter(|_| !view.report.outcome.is_gone()),
        view.intent.map(|intent| intent.since),
    ]
    .map(|time: Option<Time>| time.map(|time| time.timestamp() - view.at.timestamp()))
}

fn facts(view: &KeyView) -> Vec<(&'static str, String)> {
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let yes = |flag: bool| if flag { "Yes" } else { "No" }.to_owned();
    let names: Vec<_> = view.other_names.iter().map(UserName::as_str).collect();
    let mut facts = vec![("Other names of the user", names.join(", "))];
    if let Some(event) = &view.creation {
        let actor = &event.actor;
        facts.extend([
            ("Identity", text(actor.kind.as_ref())),
            ("Role", text(actor.session_issuer.as_ref())),
            ("MFA", actor.mfa.map_or_else(|| "Not known".to_owned(), yes)),
            ("Console session", yes(actor.console)),
        ]);
    }
    facts.push(("Policy (SHA-256)", text(view.report.policy_sha256.as_ref())));
    facts
}

/// What happened, and who did it or what caused it.
fn describe_line(view: &KeyView, line: LogLine) -> (String, String) {
    let what = match &line {
        LogLine::Event { heard, .. } => describe_heard(*heard).to_owned(),
        LogLine::Step { change, .. } => describe_change(change),
    };
    let is_event = matches!(line, LogLine::Event { .. });
    let row = Row::log_line(&view.key, None, line);
    let cause = match row.cause {
        _ if is_event => row.detail(),
        Some("event") | None => String::new(),
        Some(cause) => format!("in a {cause}"),
    };
    (what, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_left_out_of_a_text() {
        let known = ["ACCAEXAMPLEKEY0000001", "", "svc-a"].map(str::to_owned);
        let text = "delete --user-name svc-a --id ACCAEXAMPLEKEY0000001";
        assert_eq!(shorten(text, &known), "delete --user-name \u{3} --id \u{1}");
    }

    #[test]
    fn a_text_is_there_once_and_an_order_is_kept() {
        let mut column = TextColumn::ordered(&["b", "a"]);
        for text in ["a", "c", "a"] {
            column.push(text);
        }
        let expected = json!({"texts": ["b", "a", "c"], "rows": [1, 2, 1]});
        assert_eq!(serde_json::to_value(&column).unwrap(), expected);
    }
}
