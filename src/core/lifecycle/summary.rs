//! What a sweep's summary counts, and what is published (R10).

use crate::Time;
use crate::key::KeyRef;

use super::effect::{Cause, Change, Commit, LogEntry};
use super::state::{Finding, KeyState, Record, StoredState};

/// How a key stands, compared with the start of the last completed sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SinceLastSweep {
    /// It was first assessed since.
    New,
    /// Its verdict or phase has changed since.
    Changed,
    /// Neither.
    Unchanged,
    /// It has ended since.
    Ended,
}

impl SinceLastSweep {
    /// `started` is when the last completed sweep started. A sweep that died does not count, so what it stored is
    /// still new. `None`: no sweep was completed yet.
    #[must_use]
    pub fn of(record: &Record, started: Option<Time>) -> Self {
        let is_since = |time: Time| started.is_none_or(|started| time >= started);
        match record.phase.gone() {
            Some(_) if is_since(record.changed_at) => Self::Ended,
            None if is_since(record.first_assessed) => Self::New,
            None if is_since(record.changed_at) => Self::Changed,
            Some(_) | None => Self::Unchanged,
        }
    }
}

/// A finding that nobody has been told of yet. It is published first and marked as reported afterwards, so that it
/// is published at least once (I11).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Publication {
    key: KeyRef,
    /// `None`: the key is not a finding any more.
    finding: Option<Finding>,
}

impl Publication {
    /// `None` if everything about the key has been reported, or if a worker is about to change that.
    #[must_use]
    pub fn due(stored: &StoredState, now: Time) -> Option<Self> {
        let record = stored.state.record().filter(|record| record.unreported)?;
        let is_leased = record.phase.intent().is_some_and(|intent| intent.is_leased(now));
        (!is_leased).then(|| Self { key: record.key().clone(), finding: record.finding() })
    }

    /// Which key.
    #[must_use]
    pub const fn key(&self) -> &KeyRef {
        &self.key
    }

    /// The write that marks it as reported, and changes nothing else. `None` if there is nothing to mark, or if the
    /// key's finding is another one by now, which has to be published itself.
    ///
    /// After a conflict the caller passes what is stored now.
    #[must_use]
    pub fn mark_reported(&self, stored: &StoredState, cause: Cause, now: Time) -> Option<Commit> {
        if Self::due(stored, now).as_ref() != Some(self) {
            return None;
        }
        let mut record = stored.state.record()?.clone();
        record.unreported = false;
        Some(Commit {
            key: self.key.clone(),
            expected: stored.version,
            next: KeyState::Tracked(Box::new(record)),
            log: LogEntry { key: self.key.clone(), at: now, cause, change: Change::Reported },
            counts: None,
        })
    }
}
