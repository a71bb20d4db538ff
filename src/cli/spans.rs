//! From when to when an archive has events and from what Regions, by account.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::doctor::iam_event_region;
use key_guard_core::Time;
use key_guard_core::key::AccountId;

/// The first and the last event of each account, and its Regions.
#[derive(Debug, Default)]
pub struct Spans {
    spans: BTreeMap<AccountId, (Time, Time)>,
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
            self.widen(account, time, time);
        }
        detail
            .into_iter()
            .map(|inner| *inner)
            .chain(records.into_iter().flatten())
            .for_each(|inner| self.add(inner, is_wanted));
    }

    /// Adds a time of an account, or two.
    pub fn widen(&mut self, account: AccountId, first: Time, last: Time) {
        let span = self.spans.entry(account).or_insert((first, last));
        *span = (span.0.min(first), span.1.max(last));
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
        for (account, (first, last)) in others.spans {
            self.widen(account, first, last);
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
        self.spans.iter().map(|(account, (first, last))| (account, *first, *last))
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
}
