//! The page: a template, and the policy that lets its own script and style run and nothing else.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::attention::{Attention, EndingExemption, Happening, Tile};
use super::columns::{Flag, KeyColumns, KeyDetails};
use super::labels;
use super::person::Person;
use crate::cli::stats::Stats;
use crate::ledger::query::{Actor, Filter};
use crate::ledger::view::KeyView;
use key_guard_core::policy::Policy;
use key_guard_core::text::sanitize_line;

/// How many critical happenings are shown.
const MAX_HAPPENINGS: usize = 50;

/// How many keys are shown where no script may run.
const MAX_PLAIN_ROWS: usize = 200;

/// About the report itself.
#[derive(Debug)]
pub struct Header {
    /// The ledger, as it was named.
    pub source: String,
    /// Which keys were asked for, in words.
    pub filters: String,
    /// When the report was written.
    pub now: DateTime<Utc>,
}

/// A key where no script may run.
#[derive(Debug)]
struct PlainRow {
    status: &'static str,
    verdict: &'static str,
    lifetime: String,
    id: String,
    user: String,
    account: String,
    person: String,
    created: DateTime<Utc>,
    outcome: Cow<'static, str>,
}

/// The page, key by key.
#[derive(Debug)]
pub struct Page {
    header: Header,
    policy: Option<String>,
    policies: BTreeSet<String>,
    attention: Attention,
    columns: KeyColumns,
    details: KeyDetails,
    stats: Stats,
    plain: Vec<PlainRow>,
}

#[derive(Debug, Template)]
#[template(path = "page.html")]
struct PageTemplate<'a> {
    content_policy: String,
    style: &'static str,
    script: &'static str,
    header: &'a Header,
    version: &'static str,
    policy: String,
    mode: String,
    speed: Option<String>,
    keys: u64,
    tiles: Vec<Tile>,
    happenings: Vec<&'a Happening>,
    more_happenings: usize,
    exemptions: &'a [EndingExemption],
    plain: &'a [PlainRow],
    data: String,
    details: String,
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

impl Page {
    /// A page without keys.
    pub fn new(header: Header, policy: Option<&Policy>, attention: Attention) -> Self {
        let details = KeyDetails::new(&header.source);
        Self {
            header,
            policy: policy.map(|policy| policy.sha256().to_owned()),
            policies: BTreeSet::new(),
            attention,
            columns: KeyColumns::default(),
            details,
            stats: Stats::default(),
            plain: Vec::new(),
        }
    }

    /// Adds a key that is fit to print, with its history.
    pub fn add(&mut self, view: &KeyView, history: Vec<crate::ledger::audit::history::LogLine>) {
        self.stats.count(view);
        self.policies.extend(view.report.policy_sha256.clone());
        let now = self.attention.look_at(view);
        if now.flags.contains(&Flag::NoncompliantActive) && self.plain.len() < MAX_PLAIN_ROWS {
            self.plain.push(plain_row(view));
        }
        self.columns.push(view, &now);
        self.details.push(view, now.status, history);
    }

    /// How many keys it has.
    pub const fn keys(&self) -> u64 {
        self.stats.keys()
    }

    /// Writes the page.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let happenings = self.attention.happenings();
        let data = json!({"now": self.header.now.timestamp()});
        let page = PageTemplate {
            content_policy: content_policy(),
            style: STYLE,
            script: SCRIPT,
            header: &self.header,
            version: env!("CARGO_PKG_VERSION"),
            policy: self.describe_policy(),
            mode: self.describe_mode(),
            speed: self.describe_speed(),
            keys: self.keys(),
            tiles: self.attention.tiles(),
            happenings: happenings.iter().copied().take(MAX_HAPPENINGS).collect(),
            more_happenings: happenings.len().saturating_sub(MAX_HAPPENINGS),
            exemptions: self.attention.exemptions(),
            plain: &self.plain,
            data: inert(&PageData { now: data, columns: &self.columns })?,
            details: inert(&self.details.to_json())?,
        };
        page.write_into(to)?;
        to.flush()
    }

    fn describe_mode(&self) -> String {
        let dry_runs = self.attention.count(Flag::DryRun);
        match self.keys() - dry_runs {
            _ if dry_runs == 0 => "Live: what the guard recorded and did".to_owned(),
            0 => "Dry run: nothing of this was done".to_owned(),
            live => format!("{live} keys live; {dry_runs} dry runs, which changed nothing"),
        }
    }

    fn describe_policy(&self) -> String {
        let short = |sha256: &String| sha256.chars().take(12).collect::<String>();
        let judged = match self.policies.len() {
            0 => "No policy judged these keys".to_owned(),
            1 => self.policies.iter().map(short).collect(),
            count => format!("{count} versions judged these keys"),
        };
        match &self.policy {
            Some(given) => format!("{judged}; exemptions of {}", short(given)),
            None => judged,
        }
    }

    fn describe_speed(&self) -> Option<String> {
        let (median, worst) = self.stats.median_and_worst()?;
        Some(format!("{} at the median, {} at most", span(median), span(worst)))
    }
}

#[derive(Serialize)]
struct PageData<'a> {
    #[serde(flatten)]
    now: Value,
    columns: &'a KeyColumns,
}

fn plain_row(view: &KeyView) -> PlainRow {
    PlainRow {
        status: labels::standing(&view.standing),
        verdict: labels::verdict(view.report.verdict),
        lifetime: labels::lifetime(view),
        id: view.key.id.to_string(),
        user: view.report.user.as_ref().map_or_else(|| "Not known".to_owned(), ToString::to_string),
        account: view.key.account.to_string(),
        person: Person::of(view.creation.as_ref().map(|event| &event.actor)).name,
        created: view.at,
        outcome: labels::outcome(view),
    }
}

/// Nothing is fetched, and nothing runs but the page's own script. A picture may be part of the page: the icon.
fn content_policy() -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// JSON that is only data inside of a script element, too: nothing in it ends the element or begins a comment.
fn inert(data: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(data)?;
    let mut text = String::with_capacity(json.len() + json.len() / 64);
    for c in json.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            c => text.push(c),
        }
    }
    Ok(text)
}

/// Seconds in a unit that keeps the number short.
fn span(seconds: u32) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200.. => format!("{} h", seconds / 3_600),
    }
}

/// A time for people.
fn minute(time: &DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M").to_string()
}

/// Which keys are asked for, in words.
pub fn describe_filter(filter: &Filter) -> String {
    let Filter {
        key,
        account,
        user,
        actor,
        service,
        verdict,
        violation,
        outcome,
        status,
        source_ip,
        since,
        until,
        pending,
    } = filter;
    let named = |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}"));
    let text = |value: Option<&dyn ToString>| value.map(|value| sanitize_line(&value.to_string()));
    let actor =
        actor.as_ref().map(|(Actor::Arn(text) | Actor::Name(text) | Actor::Part(text))| sanitize_line(text));
    let words = [
        named("key", text(key.as_ref().map(|key| key as _))),
        named("account", text(account.as_ref().map(|account| account as _))),
        named("user", text(user.as_ref().map(|user| user as _))),
        named("created by", actor),
        named("service", text(service.as_ref().map(|service| service as _))),
        verdict.map(|verdict| labels::verdict(Some(verdict)).to_lowercase()),
        violation.map(|found| labels::violation(Some(found)).to_lowercase()),
        named("outcome", outcome.map(|outcome| outcome.as_str().replace('_', " "))),
        status.map(|status| labels::status(status).to_lowercase()),
        named("from", text(source_ip.as_ref().map(|address| address as _))),
        named("created since", since.as_ref().map(minute)),
        named("created before", until.as_ref().map(minute)),
        pending.then(|| "pending".to_owned()),
    ];
    let words: Vec<_> = words.into_iter().flatten().collect();
    if words.is_empty() { "None: all keys".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use key_guard_core::policy::Verdict;

    use super::*;

    #[test]
    fn data_cannot_end_its_element() {
        let text = inert(&"</script><!--&amp;").unwrap();
        assert_eq!(text, "\"\\u003c/script\\u003e\\u003c!--\\u0026amp;\"");
    }

    #[test]
    fn filters_are_told_in_words() {
        assert_eq!(describe_filter(&Filter::default()), "None: all keys");
        let filter = Filter {
            account: Some("111122223333".parse().unwrap()),
            verdict: Some(Verdict::Noncompliant),
            since: Some("2026-11-20T00:00:00Z".parse().unwrap()),
            ..Filter::default()
        };
        assert_eq!(
            describe_filter(&filter),
            "account 111122223333, noncompliant, created since 2026-11-20 00:00"
        );
    }

    #[test]
    fn a_span_has_a_short_number() {
        let spans = [119, 120, 7_199, 7_200].map(span);
        assert_eq!(spans, ["119 s", "2 min", "119 min", "2 h"]);
    }
}
