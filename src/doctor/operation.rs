//! How a deployed stack has been doing: what its alarms, metrics and ledger say.

use chrono::{DateTime, TimeDelta, Utc};

use super::finding::Answer;
use crate::ledger::policy::NewestPolicy;
use key_guard_core::lifecycle::state::{Phase, Record};
use key_guard_core::silence::HeardAccount;

/// How long ago the last sweep may be. The longest schedule is a day.
pub const SWEEP_DAYS: i64 = 2;

/// How long ago the last resume may be. It is invoked every ten minutes, and metrics have hours here.
pub const RESUME_HOURS: i64 = 2;

/// How old an event may be when it fails. Lambda's retries end within minutes; what is older does not heal by itself.
pub const FAILURE_AGE: TimeDelta = TimeDelta::hours(2);

/// How long ago something may have become due. A resume deals with it within ten minutes.
pub const OVERDUE: TimeDelta = TimeDelta::hours(1);

/// How a stack has been doing.
#[derive(Debug, Clone)]
pub struct Operation {
    /// When all of this was asked.
    pub now: DateTime<Utc>,
    /// The alarms that are about the guard.
    pub alarms: Answer<Vec<Alarm>>,
    /// The topics that the alarms notify.
    pub topics: Vec<Answer<Topic>>,
    /// The topic for a chat; absent: findings go to none.
    pub chat: Answer<Topic>,
    /// The hour in which a sweep was completed last; absent: not in [`LOOK_BACK_DAYS`](super::LOOK_BACK_DAYS).
    pub last_sweep: Answer<DateTime<Utc>>,
    /// The hour in which a resume was completed last.
    pub last_resume: Answer<DateTime<Utc>>,
    /// How many accounts and keys the sweeps of the last [`SWEEP_DAYS`] failed with; absent: there was no sweep.
    pub sweep_failures: Answer<u64>,
    /// How old the oldest event was that failed within a day; absent: none did.
    pub failure_age: Answer<TimeDelta>,
    /// The accounts whose heartbeat was heard.
    pub heard: Answer<Vec<HeardAccount>>,
    /// The keys with something that has been due for [`OVERDUE`].
    pub overdue: Answer<Overdue>,
    /// The ledger's newest version of the policy; absent: it has none.
    pub policy: Answer<NewestPolicy>,
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// Whether its actions are enabled.
    pub enabled: bool,
    /// The ARNs of what it does.
    pub actions: Vec<String>,
}

/// A topic, and who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its ARN.
    pub arn: String,
    /// Subscriptions that are confirmed.
    pub confirmed: u64,
    /// Subscriptions that nobody has confirmed yet.
    pub pending: u64,
}

/// Keys with something that is overdue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Responses that are pending.
    pub pending: u64,
    /// Quarantines that have ended.
    pub quarantines: u64,
    /// Whether there may be more.
    pub has_more: bool,
}

impl Overdue {
    /// Counts a key that had something due before `due`.
    pub fn add(&mut self, record: &Record, due: DateTime<Utc>) {
        let is_quarantine_over = record.delete_after.is_some_and(|end| end <= due);
        match &record.phase {
            Phase::Pending(_) => self.pending += 1,
            Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) if is_quarantine_over => {
                self.quarantines += 1;
            }
            Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) | Phase::Gone(_) => {}
        }
    }
}

impl Operation {
    /// The topics that alarms notify, each once.
    #[must_use]
    pub fn topics_of(alarms: &Answer<Vec<Alarm>>) -> Vec<String> {
        let actions = alarms.iter().flatten().flat_map(|alarm| &alarm.actions);
        let mut topics: Vec<_> =
            actions.filter(|arn| arn.split(':').nth(2) == Some("sns")).cloned().collect();
        topics.sort();
        topics.dedup();
        topics
    }
}
