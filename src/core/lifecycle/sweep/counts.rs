//! What a sweep counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::lifecycle::input::{Env, Input};
use crate::lifecycle::result::{SessionError, SessionResult};
use crate::lifecycle::state::{Phase, Record};
use crate::lifecycle::summary::SinceLastSweep;
use crate::policy::Verdict;
use crate::report::Outcome;

/// Counts of a whole sweep, over all its invocations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepCounts {
    /// Accounts that it has dealt with.
    pub accounts: u64,
    /// Those of them whose lists were all read to the end.
    pub accounts_completed: u64,
    /// Pages of IAM's lists.
    pub pages: u64,
    /// Lists that could not be read to the end.
    pub lists_failed: u64,
    /// Listed keys that the policy judges.
    pub keys: u64,
    /// Listed keys of services that the policy does not judge.
    pub not_judged: u64,
    /// Keys that could not be read, in IAM's lists or in the ledger.
    pub unreadable: u64,
    /// Keys whose session failed.
    pub failed: u64,
    /// Keys with a response that is left to the next resume.
    pub left_to_resume: u64,
    /// Keys that should have been deleted, and that the breaker or a ceiling left deactivated (R11).
    pub downgraded: u64,
    /// Verdicts on the listed keys.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// What became of the listed keys.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Keys that are new since the last completed sweep started (R10).
    pub new: u64,
    /// Keys that have changed since.
    pub changed: u64,
    /// Keys that have ended since.
    pub ended: u64,
    /// Findings that nobody had been told of.
    pub unreported: u64,
    /// What went wrong.
    pub problems: u64,
}

impl SweepCounts {
    /// Adds a key's result. `last_started` is when the account's last completed sweep started.
    pub(super) fn add_result(&mut self, result: &SessionResult, last_started: Option<Time>, env: &Env<'_>) {
        let record = result.stored.state.record();
        let is_listed = match result.input {
            Input::Listed { .. } => true,
            Input::NotListed { .. } | Input::Event(_) | Input::Resume => false,
        };
        if is_listed {
            self.keys += 1;
            *self.outcomes.entry(result.report(env).outcome).or_default() += 1;
            if let Some(verdict) = record.and_then(Record::verdict) {
                *self.verdicts.entry(verdict).or_default() += 1;
            }
        }
        let Some(record) = record else { return };
        match SinceLastSweep::of(record, last_started) {
            SinceLastSweep::New => self.new += 1,
            SinceLastSweep::Changed => self.changed += 1,
            // The closing pass sees this key again, and counts it.
            SinceLastSweep::Ended if is_listed => {}
            SinceLastSweep::Ended => self.ended += 1,
            SinceLastSweep::Unchanged => {}
        }
        match &record.phase {
            Phase::Pending(_) => self.left_to_resume += 1,
            Phase::Deactivated(deactivation) if deactivation.downgraded.is_some() => self.downgraded += 1,
            Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) | Phase::Gone(_) => {}
        }
    }

    /// Adds a key whose session failed. What it has begun is left to the next resume.
    pub(super) fn add_failure(&mut self, error: &SessionError, is_listed: bool) {
        self.keys += u64::from(is_listed);
        match error {
            SessionError::KeyLeased { .. } | SessionError::LeaseExpiring { .. } => self.left_to_resume += 1,
            SessionError::KeyNotListedYet { .. }
            | SessionError::KeyStillListed { .. }
            | SessionError::OutOfTime
            | SessionError::FutureEvent { .. }
            | SessionError::KeyMoved { .. }
            | SessionError::OtherKey { .. }
            | SessionError::Call { .. }
            | SessionError::OutcomeNotRecorded { .. }
            | SessionError::UnexpectedReply { .. } => self.failed += 1,
        }
    }
}
