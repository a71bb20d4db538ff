//! Keys, counted.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chrono::TimeDelta;
use serde_json::json;

use super::output::{self, AnswerFormat, stdout};
use super::rows::outcome_word;
use crate::ledger::view::KeyView;
use key_guard_core::key::UserName;
use key_guard_core::policy::Verdict;

/// EventBridge delivers an event for so long (EventBridge user guide, *Retry policy*). What is assessed later was
/// replayed, or found otherwise: it says nothing of how fast the guard is.
const LONGEST_DELIVERY: TimeDelta = TimeDelta::hours(24);

/// How many users and accounts a table shows.
const TOP: usize = 10;

/// The columns for scripts.
const FIELDS: [&str; 4] = ["by", "value", "count", "seconds"];

/// What was counted.
#[derive(Debug, Default)]
pub struct Stats {
    keys: u64,
    verdicts: BTreeMap<String, u64>,
    outcomes: BTreeMap<String, u64>,
    accounts: BTreeMap<String, u64>,
    users: BTreeMap<String, u64>,
    weeks: BTreeMap<String, u64>,
    /// Seconds from a key's creation event to its first assessment.
    seconds: Vec<u32>,
}

impl Stats {
    /// Counts one key.
    pub fn count(&mut self, view: &KeyView) {
        self.keys += 1;
        let user = view.report.user.as_ref().map_or("(unknown)", UserName::as_str);
        for (counts, value) in [
            (&mut self.verdicts, view.report.verdict.map_or("(not assessed)", Verdict::as_str).to_owned()),
            (&mut self.outcomes, outcome_word(view).to_owned()),
            (&mut self.accounts, view.key.account.to_string()),
            (&mut self.users, format!("{}/{user}", view.key.account)),
            (&mut self.weeks, view.at.format("%G-W%V").to_string()),
        ] {
            *counts.entry(value).or_default() += 1;
        }
        self.seconds.extend(seconds_to_assessment(view));
    }

    /// How many keys were counted.
    #[must_use]
    pub const fn keys(&self) -> u64 {
        self.keys
    }

    /// Median and worst.
    #[must_use]
    pub fn median_and_worst(&self) -> Option<(u32, u32)> {
        let mut sorted = self.seconds.clone();
        sorted.sort_unstable();
        let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
        Some((low.midpoint(*high), *sorted.last()?))
    }

    /// Writes the counts to stdout.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn print(&self, format: AnswerFormat) -> io::Result<()> {
        let table = match format {
            AnswerFormat::Table => true,
            AnswerFormat::Jsonl | AnswerFormat::Csv | AnswerFormat::Ocsf | AnswerFormat::Asff => false,
        };
        let mut rows = Vec::new();
        for (by, counts, limit) in [
            ("verdict", &self.verdicts, usize::MAX),
            ("outcome", &self.outcomes, usize::MAX),
            ("account", &self.accounts, TOP),
            ("user", &self.users, TOP),
            ("week", &self.weeks, usize::MAX),
        ] {
            let mut counts: Vec<_> = counts.iter().collect();
            if by != "week" {
                counts.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
            }
            let limit = if table { limit } else { usize::MAX };
            let more = counts.len().saturating_sub(limit);
            rows.extend(
                counts
                    .into_iter()
                    .take(limit)
                    .map(|(value, count)| json!({"by": by, "value": value, "count": count, "seconds": null})),
            );
            if more > 0 {
                let value = format!("and {more} more");
                rows.push(json!({"by": by, "value": value, "count": null, "seconds": null}));
            }
        }
        if let Some((median, worst)) = self.median_and_worst() {
            for (value, seconds) in [("median", median), ("worst", worst)] {
                let by = "seconds from event to assessment";
                let count = self.seconds.len();
                rows.push(json!({"by": by, "value": value, "count": count, "seconds": seconds}));
            }
        }
        match format {
            AnswerFormat::Table => Self::table(&rows),
            AnswerFormat::Jsonl | AnswerFormat::Ocsf | AnswerFormat::Asff => {
                let mut out = stdout();
                rows.iter().try_for_each(|row| writeln!(out, "{row}"))
            }
            AnswerFormat::Csv => {
                let mut writer = output::csv_on_stdout(&FIELDS)?;
                for row in &rows {
                    writer.write_record(output::values(row, &FIELDS))?;
                }
                writer.flush()
            }
        }
    }

    fn table(rows: &[serde_json::Value]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut table = output::plain_table(false);
        table.set_header(["BY", "", "KEYS", "SECONDS"]);
        let mut before = String::new();
        for row in rows {
            let mut values = output::values(row, &FIELDS);
            if let Some(by) = values.first_mut() {
                if *by == before {
                    by.clear();
                } else {
                    before.clone_from(by);
                }
            }
            table.add_row(values);
        }
        output::write_table(&mut stdout(), table)
    }
}

/// Seconds from a key's creation event to its first assessment.
#[must_use]
pub fn seconds_to_assessment(view: &KeyView) -> Option<u32> {
    let (creation, assessed) = (view.creation.as_ref()?, view.first_assessed?);
    let delay = assessed - creation.event_time;
    // CloudTrail's times have no fraction of a second.
    let is_delivery = !view.is_dry_run && (TimeDelta::seconds(-1)..=LONGEST_DELIVERY).contains(&delay);
    is_delivery.then(|| u32::try_from(delay.num_seconds()).unwrap_or_default())
}
