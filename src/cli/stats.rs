//! Keys, counted.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::json;

use super::lookup::Format;
use super::output;
use crate::ledger::{Entry, Source};

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
    /// Seconds from event to outcome, of keys that came in as events.
    seconds: Vec<u32>,
}

impl Stats {
    /// Counts one key.
    pub fn count(&mut self, entry: &Entry) {
        self.keys += 1;
        for (counts, value) in [
            (&mut self.verdicts, entry.standing.as_str().to_owned()),
            (&mut self.outcomes, entry.outcome.as_str().to_owned()),
            (&mut self.accounts, entry.key.account.to_string()),
            (&mut self.users, format!("{}/{}", entry.key.account, entry.user)),
            (&mut self.weeks, entry.event_time.format("%G-W%V").to_string()),
        ] {
            *counts.entry(value).or_default() += 1;
        }
        self.seconds.extend(seconds(entry));
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
    pub fn print(&self, format: Format) -> io::Result<()> {
        let table = match format {
            Format::Table => true,
            Format::Jsonl | Format::Csv | Format::Ocsf | Format::Asff => false,
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
                let by = "seconds from event to outcome";
                let count = self.seconds.len();
                rows.push(json!({"by": by, "value": value, "count": count, "seconds": seconds}));
            }
        }
        match format {
            Format::Table => Self::table(&rows),
            Format::Jsonl | Format::Ocsf | Format::Asff => {
                let mut out = io::stdout().lock();
                rows.iter().try_for_each(|row| writeln!(out, "{row}"))
            }
            Format::Csv => {
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
        output::write_table(&mut io::stdout().lock(), table)
    }
}

/// Seconds from event to outcome. A replay tells nothing of that.
#[must_use]
pub fn seconds(entry: &Entry) -> Option<u32> {
    match entry.source {
        Source::Event => {}
        Source::Replay | Source::Sweep | Source::Guard => return None,
    }
    let settled_at = entry.settled_at.filter(|_| entry.outcome.is_settled() && !entry.rehearsal)?;
    u32::try_from((settled_at - entry.event_time).num_seconds().max(0)).ok()
}
