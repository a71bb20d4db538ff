//! Accounts whose heartbeat was heard, and when one of them is silent.
//!
//! The heartbeat is an hourly call that IAM denies (`infra/template.yaml`, `infra/member.yaml`). While it is heard, the
//! account's events reach the guard.

use chrono::TimeDelta;

use crate::Time;
use crate::key::AccountId;
use crate::lifecycle::state::{UnknownFields, Version};

/// An account is silent after three hours without a heartbeat, which comes every hour.
pub const SILENT_AFTER: TimeDelta = TimeDelta::hours(3);

/// How long after its last heartbeat an account is swept.
pub const SWEPT_FOR: TimeDelta = TimeDelta::days(7);

/// How long after its last heartbeat an account is known at all.
pub const KEPT_FOR: TimeDelta = TimeDelta::days(30);

/// An account whose heartbeat was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardAccount {
    /// Which account.
    pub account: AccountId,
    /// When its last heartbeat was made.
    pub last_heard: Time,
    /// When its silence was reported. `None`: not since its last heartbeat.
    pub silence_reported_at: Option<Time>,
    /// The number of what is stored. Each write needs the number that it was decided on.
    pub version: Version,
    /// What a later version has stored with it.
    pub unknown_fields: UnknownFields,
}

impl HeardAccount {
    /// Whether it has been silent for [`SILENT_AFTER`], and not yet for [`KEPT_FOR`].
    #[must_use]
    pub fn is_silent(&self, now: Time) -> bool {
        self.is_kept(now) && now - self.last_heard >= SILENT_AFTER
    }

    /// Whether a sweep of the accounts that were heard has to deal with it.
    #[must_use]
    pub fn is_swept(&self, now: Time) -> bool {
        now - self.last_heard <= SWEPT_FOR
    }

    /// Whether it is still known. The store deletes the others in its own time.
    #[must_use]
    pub fn is_kept(&self, now: Time) -> bool {
        now - self.last_heard <= KEPT_FOR
    }

    /// What is to be stored once its silence was reported.
    #[must_use]
    pub fn with_silence_reported(&self, at: Time) -> Self {
        let version = Version(self.version.0.saturating_add(1));
        Self { silence_reported_at: Some(at), version, ..self.clone() }
    }
}

/// The silent accounts whose silence is reported. Where more than a tenth of the accounts, and more than one, are silent, the
/// guard itself is or was disturbed: that is one finding, about the account that was heard last. The digest has all.
#[must_use]
pub fn reportable(accounts: &[HeardAccount], now: Time) -> Vec<&HeardAccount> {
    let kept = accounts.iter().filter(|account| account.is_kept(now)).count();
    let mut silent: Vec<_> = accounts.iter().filter(|account| account.is_silent(now)).collect();
    if silent.len() > 1 && silent.len() * 10 > kept {
        silent.sort_by_key(|account| account.last_heard);
        silent.drain(..silent.len() - 1);
    }
    silent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_many_are_silent_one_silence_is_reported() {
        let now = Time::from_timestamp(1_772_366_400, 0).expect("a time");
        let heard = |number: u64, hours: i64| HeardAccount {
            account: format!("{number:012}").parse().expect("an account"),
            last_heard: now - TimeDelta::hours(hours),
            silence_reported_at: None,
            version: Version(1),
            unknown_fields: UnknownFields::default(),
        };
        for (hours, expected) in [
            (&[][..], &[][..]),
            (&[2], &[]),
            (&[4], &[0]),
            (&[4, 1, 5], &[0]),
            (&[4, 3, 5], &[1]),
            // Who was forgotten counts for nothing.
            (&[4, 3, 24 * 31], &[1]),
            (&[4, 1, 24 * 31], &[0]),
            (&[4, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[0, 1]),
        ] {
            let accounts: Vec<_> = (0..).zip(hours).map(|(number, hours)| heard(number, *hours)).collect();
            let expected: Vec<_> = expected.iter().map(|index| &accounts[*index]).collect();
            assert_eq!(reportable(&accounts, now), expected, "{hours:?}");
        }
    }

    #[test]
    fn an_account_is_silent_from_three_hours_to_thirty_days_and_swept_for_a_week() {
        let last_heard = Time::from_timestamp(1_772_366_400, 0).expect("a time");
        let heard = HeardAccount {
            account: "111122223333".parse().expect("an account"),
            last_heard,
            silence_reported_at: None,
            version: Version(1),
            unknown_fields: UnknownFields::default(),
        };
        let second = TimeDelta::seconds(1);
        for (age, is_silent, is_swept, is_kept) in [
            (-second, false, true, true),
            (SILENT_AFTER - second, false, true, true),
            (SILENT_AFTER, true, true, true),
            (SWEPT_FOR, true, true, true),
            (SWEPT_FOR + second, true, false, true),
            (KEPT_FOR, true, false, true),
            (KEPT_FOR + second, false, false, false),
        ] {
            let now = last_heard + age;
            let found = (heard.is_silent(now), heard.is_swept(now), heard.is_kept(now));
            assert_eq!(found, (is_silent, is_swept, is_kept), "{age}");
        }
    }
}
