//! **The table**: what follows from what. [`step`] says it, [`decide`](super::steps::decide) does it.
//!
//! Both are pure. `docs/lifecycle.md` has the same table; a test fails when they differ.

use crate::Time;
use crate::key::KeyStatus;

use super::effect::{Change, HeardEvent};
use super::input::{Input, KeyEventKind, WorkerId};
use super::state::{Contradiction, KeyState, Phase};

/// A row of the table: what is known of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// Nothing, or one observation of IAM that waits for its confirmation.
    Unknown,
    /// The key ended before anything else was known of it.
    Tombstone,
    /// [`Phase::Settled`]
    Settled,
    /// [`Phase::Pending`], and another worker has the lease.
    PendingLeased,
    /// [`Phase::Pending`], and nobody has the lease.
    Pending,
    /// [`Phase::Deactivated`]
    Deactivated,
    /// [`Phase::Inactive`]
    Inactive,
    /// [`Phase::Gone`]
    Gone,
}

/// A column of the table: what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// An event: created.
    Created,
    /// An event: activated.
    Activated,
    /// An event: the secret was reset.
    Reset,
    /// An event: deactivated.
    Deactivated,
    /// An event: deleted.
    Deleted,
    /// A sweep: listed as active.
    ListedActive,
    /// A sweep: listed as inactive or expired.
    ListedInactive,
    /// A complete sweep: not listed.
    NotListed,
    /// Resume.
    Resume,
}

/// A cell of the table: what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Nothing.
    Leave,
    /// Write a line of history; the state stays.
    Log,
    /// Note that the key is inactive, since when and by whom; no response follows. What is known of a later time stays.
    NoteDeactivation,
    /// Another worker is executing the intent: wait for its lease, then decide again.
    Wait,
    /// Add what the input says; assess a new trigger, or a key that deserves more by what is new; else log.
    Assess,
    /// Ask IAM first. Listed: as [`Step::Assess`]. Absent, twice: gone.
    InspectThenAssess,
    /// Ask IAM first. Listed: as [`Step::Assess`]. Absent: gone, as the deletion event said.
    InspectThenBury,
    /// A new trigger of a key that was absent: ask IAM. Listed: as [`Step::Assess`]. Else log.
    InspectIfNewer,
    /// Ask IAM first. Absent: gone. Still listed, twice: log.
    ConfirmDeletion,
    /// A list that is older than the end of the key says nothing. Else as [`Step::Assess`].
    AssessIfNewer,
    /// A list that is older than the end of the key says nothing. Else as [`Step::NoteInactive`].
    NoteInactiveIfNewer,
    /// Add what the list says; the key is inactive. If its quarantine has ended: as [`Step::DeleteIfDue`].
    NoteInactive,
    /// First: note the absence. Confirmed: gone.
    NoteAbsence,
    /// A new trigger: as [`Step::Assess`]. Else as [`Step::DeleteIfDue`].
    AssessOrDelete,
    /// A sweep judges the key again. If the quarantine has ended, and policy and ceiling allow it: authorise the deletion.
    DeleteIfDue,
    /// Take the lease and execute the intent. The ceiling `monitor` pauses it.
    Resume,
    /// As [`Step::Resume`], then apply the input.
    ResumeFirst,
    /// Add provenance and evidence; nothing follows.
    AddFacts,
    /// Add who deleted it.
    AddDeleter,
}

impl Row {
    /// The row of a state at `now`, for `worker`. Nobody waits for a lease of their own.
    #[must_use]
    pub fn of(state: &KeyState, now: Time, worker: &WorkerId) -> Self {
        match state {
            KeyState::Unknown | KeyState::Unconfirmed(_) => Self::Unknown,
            KeyState::Tombstone(_) => Self::Tombstone,
            KeyState::Tracked(record) => match &record.phase {
                Phase::Settled => Self::Settled,
                Phase::Pending(intent) if intent.is_leased_by_another(now, worker) => Self::PendingLeased,
                Phase::Pending(_) => Self::Pending,
                Phase::Deactivated(_) => Self::Deactivated,
                Phase::Inactive(_) => Self::Inactive,
                Phase::Gone(_) => Self::Gone,
            },
        }
    }
}

impl Column {
    /// The column of an input.
    #[must_use]
    pub fn of(input: &Input) -> Self {
        match input {
            Input::Event(event) => match event.kind {
                KeyEventKind::Created(_) => Self::Created,
                KeyEventKind::Activated(_) => Self::Activated,
                KeyEventKind::Reset(_) => Self::Reset,
                KeyEventKind::Deactivated(_) => Self::Deactivated,
                KeyEventKind::Deleted(_) => Self::Deleted,
            },
            Input::Listed { listed, .. } => match listed.status {
                KeyStatus::Active => Self::ListedActive,
                KeyStatus::Inactive | KeyStatus::Expired => Self::ListedInactive,
            },
            Input::NotListed { .. } => Self::NotListed,
            Input::Resume => Self::Resume,
        }
    }
}

/// The table.
#[must_use]
pub const fn step(row: Row, column: Column) -> Step {
    use Column as C;
    match row {
        Row::Unknown => match column {
            C::Created | C::ListedActive => Step::Assess,
            C::Activated | C::Reset => Step::InspectThenAssess,
            C::Deactivated => Step::Log,
            C::Deleted => Step::ConfirmDeletion,
            C::ListedInactive => Step::NoteInactive,
            C::NotListed | C::Resume => Step::Leave,
        },
        Row::Tombstone => match column {
            C::Created => Step::InspectThenBury,
            C::Activated | C::Reset => Step::InspectIfNewer,
            C::Deactivated | C::Deleted => Step::Log,
            C::ListedActive => Step::AssessIfNewer,
            C::ListedInactive => Step::NoteInactiveIfNewer,
            C::NotListed | C::Resume => Step::Leave,
        },
        Row::Settled | Row::Inactive => match column {
            C::Created | C::Activated | C::Reset | C::ListedActive => Step::Assess,
            C::Deactivated => Step::NoteDeactivation,
            C::Deleted => Step::ConfirmDeletion,
            C::ListedInactive => Step::NoteInactive,
            C::NotListed => Step::NoteAbsence,
            C::Resume => Step::DeleteIfDue,
        },
        Row::PendingLeased => match column {
            C::Created | C::Activated | C::Reset | C::Deleted => Step::Wait,
            C::Deactivated => Step::Log,
            C::ListedActive | C::ListedInactive | C::NotListed | C::Resume => Step::Leave,
        },
        Row::Pending => match column {
            C::Created | C::Activated | C::Reset => Step::ResumeFirst,
            C::Deactivated => Step::NoteDeactivation,
            C::Deleted => Step::ConfirmDeletion,
            C::ListedActive | C::ListedInactive => Step::AddFacts,
            C::NotListed => Step::NoteAbsence,
            C::Resume => Step::Resume,
        },
        Row::Deactivated => match column {
            C::Created | C::Activated | C::Reset => Step::Assess,
            C::Deactivated => Step::NoteDeactivation,
            C::Deleted => Step::ConfirmDeletion,
            C::ListedActive => Step::AssessOrDelete,
            C::ListedInactive | C::Resume => Step::DeleteIfDue,
            C::NotListed => Step::NoteAbsence,
        },
        Row::Gone => match column {
            C::Created => Step::AddFacts,
            C::Activated | C::Reset => Step::InspectIfNewer,
            C::Deactivated => Step::Log,
            C::Deleted => Step::AddDeleter,
            C::ListedActive => Step::AssessIfNewer,
            C::ListedInactive => Step::NoteInactiveIfNewer,
            C::NotListed | C::Resume => Step::Leave,
        },
    }
}

/// What a session does next with a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Nothing.
    Leave(Reason),
    /// Write a line of history.
    Append(HeardEvent),
    /// Ask IAM for the key, then decide again.
    Inspect,
    /// Store the next state.
    Commit {
        /// What is stored next.
        next: Box<KeyState>,
        /// What changed.
        change: Change,
        /// What comes after that.
        then: Then,
        /// True if the intent is not this input's own. Afterwards the input is applied.
        taken_over: bool,
    },
    /// Another worker executes the key's intent.
    Wait,
    /// Fail, so that a retry makes the second observation (R3).
    Retry(Contradiction),
}

/// What a session does after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Then {
    /// Nothing: it is done.
    Finish,
    /// Ask IAM for the key, then decide again.
    Inspect,
    /// Execute the intent.
    Enforce,
    /// Fail, so that a retry makes the second observation (R3).
    Retry(Contradiction),
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Everything that the input says is known, and nothing follows from it.
    AlreadyKnown,
    /// The policy is not about keys of this service.
    OutOfScope,
    /// Another worker executes the key's intent.
    LeftToLeaseHolder,
    /// The ceiling `monitor` pauses the key's intent (R8).
    Paused,
    /// The list is older than what is known.
    OlderList,
    /// The breaker: no more deletions in this hour. The next one deletes the key (R11).
    BudgetSpent,
}

/// What a session did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionEnd {
    /// It stored a state.
    Stored,
    /// It wrote a line of history. The state stays.
    Logged(HeardEvent),
    /// Nothing.
    Left(Reason),
}
