//! On which days an archive has events and from what Regions, by account.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde::Deserialize;

use crate::doctor::iam_event_region;
use key_guard_core::Time;
use key_guard_core::key::AccountId;

/// The first and the last event of a day.
type Day = (Time, Time);

/// The days with events of each account, and its Regions.
#[derive(Debug, Default)]
pub struct Spans {
    days: BTreeMap<AccountId, BTreeMap<NaiveDate, Day>>,
    regions: BTreeMap<AccountId, BTreeSet<String>>,
}

/// An account has some 40 Regions; what a record says may be anything.
const MAX_REGIONS: usize = 100;

/// What says when and where a record, or the records of a log file, were made.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stamp {
    recipient_account_id: Option<AccountId>,
    event_time: Option<Time>,
    aws_region: Option<String>,
    /// What EventBridge delivers.
    detail: Option<Box<Self>>,
    /// A log file whose records do not come first.
    #[serde(rename = "Records")]
    records: Option<Vec<Self>>,
}

impl Spans {
    /// Adds what a record says, if it is of the region where IAM's events arrive. Files of other regions have none of IAM's
    /// events, so they say nothing about which of those are missing. A record that says nothing of the kind is passed over:
    /// whether it can be read is for others to say.
    pub fn note(&mut self, record: &[u8]) {
        self.note_if(record, |region| {
            let partitions = ["aws", "aws-us-gov", "aws-cn", "aws-eusc"];
            partitions.into_iter().any(|partition| iam_event_region(partition) == Some(region))
        });
    }

    /// The same of any region.
    pub fn note_of_any_region(&mut self, record: &[u8]) {
        self.note_if(record, |_| true);
    }

    fn note_if(&mut self, record: &[u8], is_wanted: fn(&str) -> bool) {
        if let Ok(stamp) = serde_json::from_slice(record) {
            self.add(stamp, is_wanted);
        }
    }

    fn add(&mut self, stamp: Stamp, is_wanted: fn(&str) -> bool) {
        let Stamp { recipient_account_id, event_time, aws_region, detail, records } = stamp;
        let region = aws_region.filter(|region| is_wanted(region));
        if let (Some(account), Some(time), Some(region)) = (recipient_account_id, event_time, region) {
            self.add_region(&account, region);
            self.add_day(account, (time, time));
        }
        detail
            .into_iter()
            .map(|inner| *inner)
            .chain(records.into_iter().flatten())
            .for_each(|inner| self.add(inner, is_wanted));
    }

    /// An account has an event at this time.
    pub fn add_time(&mut self, account: &AccountId, time: Time) {
        self.add_day(account.clone(), (time, time));
    }

    fn add_day(&mut self, account: AccountId, (first, last): Day) {
        let day = self.days.entry(account).or_default().entry(first.date_naive()).or_insert((first, last));
        *day = (day.0.min(first), day.1.max(last));
    }

    /// An account has events of this Region.
    pub fn add_region(&mut self, account: &AccountId, region: String) {
        let regions = self.regions.entry(account.clone()).or_default();
        if regions.len() < MAX_REGIONS {
            regions.insert(region);
        }
    }

    /// Adds those of another input.
    pub fn extend(&mut self, others: Self) {
        for (account, days) in others.days {
            for day in days.into_values() {
                self.add_day(account.clone(), day);
            }
        }
        for (account, regions) in others.regions {
            for region in regions {
                self.add_region(&account, region);
            }
        }
    }

    /// The accounts, each with the Regions that its events are of.
    pub const fn regions(&self) -> &BTreeMap<AccountId, BTreeSet<String>> {
        &self.regions
    }

    /// The accounts, each with the times of its first and its last event.
    pub fn iter(&self) -> impl Iterator<Item = (&AccountId, Time, Time)> {
        self.days.iter().filter_map(|(account, days)| {
            let ((_, (first, _)), (_, (_, last))) = (days.first_key_value()?, days.last_key_value()?);
            Some((account, *first, *last))
        })
    }

    /// The first and the last event of the latest days before `until` that follow one another, each with an event. `None`: there
    /// is no event.
    pub fn without_gap(&self, account: &AccountId, until: Time) -> Option<(Time, Time)> {
        let mut days = self.days.get(account)?.range(..=until.date_naive()).rev();
        let (mut day, &(mut from, to)) = days.next()?;
        for (earlier, (first, _)) in days {
            if day.pred_opt() != Some(*earlier) {
                break;
            }
            (day, from) = (earlier, *first);
        }
        Some((from, to))
    }

    /// The day without an event before those days, if there are events before it.
    pub fn gap(&self, account: &AccountId, until: Time) -> Option<NaiveDate> {
        let day = self.without_gap(account, until)?.0.date_naive();
        let (first, _) = self.days.get(account)?.first_key_value()?;
        day.pred_opt().filter(|gap| first < gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_region_of_iam_widen_the_span_of_their_account() {
        let mut spans = Spans::default();
        for record in [
            r#"{"recipientAccountId":"111122223333","eventTime":"2026-11-20T09:00:00Z","awsRegion":"us-east-1","requestParameters":{"eventTime":1}}"#,
            r#"{"recipientAccountId":"111122223333","eventTime":"2026-11-19T09:00:00Z","awsRegion":"us-gov-west-1"}"#,
            r#"{"recipientAccountId":"111122223333","eventTime":"2026-11-01T09:00:00Z","awsRegion":"eu-west-1"}"#,
            r#"{"detail":{"recipientAccountId":"111122223333","eventTime":"2026-11-21T09:00:00Z","awsRegion":"us-east-1"}}"#,
            r#"{"Records":[{"recipientAccountId":"444455556666","eventTime":"2026-11-22T09:00:00Z","awsRegion":"us-east-1"}]}"#,
            r#"{"eventTime":"2026-11-30T09:00:00Z","awsRegion":"us-east-1"}"#,
            r#"{"recipientAccountId":"1","eventTime":"x"}"#,
            "{",
        ] {
            let mut other = Spans::default();
            other.note(record.as_bytes());
            spans.extend(other);
        }
        let found: Vec<_> = spans
            .iter()
            .map(|(account, first, last)| format!("{account} {} {}", first.date_naive(), last.date_naive()))
            .collect();
        assert_eq!(found, ["111122223333 2026-11-19 2026-11-21", "444455556666 2026-11-22 2026-11-22"]);
    }

    #[test]
    fn a_day_without_an_event_is_a_gap() {
        let (account, other) = ("111122223333".parse().unwrap(), "444455556666".parse().unwrap());
        let at = |text: &str| format!("2026-{text}:00Z").parse::<Time>().unwrap();
        let mut spans = Spans::default();
        for time in ["11-02T08:00", "10-30T07:00", "11-01T23:00", "11-02T09:00", "10-31T12:00", "11-04T01:00"]
        {
            spans.add_time(&account, at(time));
        }
        for (until, expected) in [
            ("11-10T00:00", Some(("11-04T01:00", "11-04T01:00"))),
            ("11-04T00:00", Some(("11-04T01:00", "11-04T01:00"))),
            ("11-03T00:00", Some(("10-30T07:00", "11-02T09:00"))),
            ("11-01T00:00", Some(("10-30T07:00", "11-01T23:00"))),
            ("10-29T00:00", None),
        ] {
            let expected = expected.map(|(from, to)| (at(from), at(to)));
            assert_eq!(spans.without_gap(&account, at(until)), expected, "{until}");
        }
        let gap = |until| spans.gap(&account, at(until)).map(|day| day.to_string());
        assert_eq!((gap("11-10T00:00").as_deref(), gap("11-03T00:00")), (Some("2026-11-03"), None));
        assert_eq!(spans.without_gap(&other, at("11-10T00:00")), None);
    }
}
