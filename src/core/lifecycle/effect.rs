//! Effects and replies as data, and the proofs that an action needs.

use std::error::Error;

use crate::Time;
use crate::cloudtrail::Provenance;
use crate::key::{AccountId, KeyRef, UserName};

use super::input::{Action, KeyEvent, KeyEventKind, ListedKey, TriggerKind};
use super::state::{Contradiction, Intent, IntentId, KeyState, StoredState, Version};

/// One call of the store or of IAM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read the key's state.
    Load(KeyRef),
    /// Write the key's next state and a log entry, all or nothing, if the stored version is still the expected one.
    Commit(Box<Commit>),
    /// Write a log entry. Writing the same one twice changes nothing.
    Append(Box<LogEntry>),
    /// Ask IAM for the key.
    Find {
        /// Which key.
        key: KeyRef,
        /// Where to look.
        scope: FindScope,
    },
    /// Change the key. An executor gives the call up as failed within [`ACTION_MARGIN`](super::ACTION_MARGIN), so that it
    /// ends before the lease does.
    Act(ConfirmedAction),
}

/// Where to look for a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FindScope {
    /// Among one user's keys. A user that does not exist has none.
    User(UserName),
    /// Among all keys of the account.
    Account,
}

/// A conditional write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Commit {
    /// Which key.
    pub key: KeyRef,
    /// The version that must still be stored.
    pub expected: Version,
    /// What is stored next.
    pub next: KeyState,
    /// The line of history that goes with it.
    pub log: LogEntry,
    /// The deletion that this starts, to be counted in the same transaction (R11).
    pub counts: Option<DeletionBudget>,
}

/// What the breaker counts (R11). An account has a budget of each kind in each clock hour.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeletionBudget {
    /// Whose.
    pub account: AccountId,
    /// Which of its budgets.
    pub kind: BudgetKind,
    /// The start of the clock hour.
    pub hour: Time,
    /// How many deletions may start in it.
    pub limit: u32,
}

/// The breaker's budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetKind {
    /// Keys that the guard deals with for the first time.
    New,
    /// Keys that the guard had deactivated before.
    Reactivated,
}

/// A line of a key's history. What changed, when, by whom, why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogEntry {
    /// Which key.
    pub key: KeyRef,
    /// When: the event's time, or the time of the guard's own step.
    pub at: Time,
    /// What caused it.
    pub cause: Cause,
    /// What changed.
    pub change: Change,
}

/// What caused a line of history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cause {
    /// An event.
    Event {
        /// What it did to the key.
        heard: HeardEvent,
        /// Who, when, from where.
        provenance: Box<Provenance>,
    },
    /// A sweep.
    Sweep,
    /// A resume.
    Resume,
}

/// What a line of history says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// An event was delivered, and no response followed.
    Heard(HeardEvent),
    /// The key was assessed; no response is pending.
    Assessed,
    /// An intent was authorised, or taken over.
    Intended {
        /// Which intent.
        intent: IntentId,
        /// What to do, at most.
        action: Action,
        /// What required it.
        trigger: TriggerKind,
    },
    /// The guard acted.
    Acted {
        /// For which intent.
        intent: IntentId,
        /// What it did.
        action: Action,
    },
    /// IAM contradicted what was known; a second answer will confirm it (R3).
    Observed(Contradiction),
    /// The key is gone.
    Gone,
    /// IAM says that the key is not active.
    Inactive,
    /// Facts or evidence were added.
    Learned,
    /// The finding was published (R10).
    Reported,
}

impl Change {
    /// The intent was authorised, or taken over.
    pub(super) fn intended(intent: &Intent) -> Self {
        Self::Intended { intent: intent.id.clone(), action: intent.action, trigger: intent.trigger.kind }
    }
}

/// What a key's event was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HeardEvent {
    /// The key was created.
    Created,
    /// The key was activated.
    Activated,
    /// The key's secret was reset.
    Reset,
    /// The key was deactivated.
    Deactivated,
    /// The key was deleted.
    Deleted,
}

impl HeardEvent {
    /// What an event was.
    #[must_use]
    pub const fn of(event: &KeyEvent) -> Self {
        match event.kind {
            KeyEventKind::Created(_) => Self::Created,
            KeyEventKind::Activated(_) => Self::Activated,
            KeyEventKind::Reset(_) => Self::Reset,
            KeyEventKind::Deactivated(_) => Self::Deactivated,
            KeyEventKind::Deleted(_) => Self::Deleted,
        }
    }
}

/// What came of an effect.
#[derive(Debug)]
pub enum Reply {
    /// Nothing yet: the session starts.
    Start,
    /// The wait is over.
    Waited,
    /// The state of a [`Effect::Load`].
    Loaded(StoredState),
    /// The write happened; this version is stored now.
    Committed(Version),
    /// The write did not happen: something else is stored.
    Conflict(StoredState),
    /// The write did not happen: the budget is spent (R11). A conflict goes before that.
    RateLimited,
    /// The log entry is written.
    Appended,
    /// IAM's answer to a [`Effect::Find`].
    Found(Option<ListedKey>),
    /// IAM's answer to an [`Effect::Act`].
    Acted(ActResult),
    /// The call failed. Whether it happened is not known.
    Failed(CallError),
}

/// IAM's answer to an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActResult {
    /// It is done.
    Done,
    /// This user has no such key: `NoSuchEntity`, or `ValidationError` for a key of another user.
    NotThere,
}

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed")]
pub struct CallError {
    /// Which call.
    pub call: &'static str,
    /// Whether to retry (R7).
    pub retry: Retry,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl CallError {
    /// For a store that returns fewer results than it was asked for: a defect.
    #[must_use]
    pub fn no_result() -> Self {
        let source = "the store returned fewer results than it was asked for".into();
        Self { call: "a call of the store", retry: Retry::Permanent, source }
    }
}

/// Whether a failed call is worth another try (R7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Retry {
    /// Throttling, 5xx, a timeout, a broken connection.
    Transient,
    /// Another process has locked the ledger file, and nobody knows for how long. The caller is told at once, unless IAM has
    /// changed a key: then its outcome waits.
    Locked,
    /// A refusal, or an answer that makes no sense.
    Permanent,
}

/// Proof that an intent is stored. Only the store's confirmation of its commit makes one (I1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PersistedIntent {
    key: KeyRef,
    id: IntentId,
    action: Action,
    lease_until: Time,
}

impl PersistedIntent {
    /// From the store's confirmation. `intent` is what the confirmed state holds, leased by this session.
    pub(super) fn confirmed(key: &KeyRef, intent: &Intent, lease_until: Time) -> Self {
        Self { key: key.clone(), id: intent.id.clone(), action: intent.action, lease_until }
    }

    /// Which intent.
    pub(super) const fn id(&self) -> &IntentId {
        &self.id
    }

    /// What to do, at most.
    pub(super) const fn action(&self) -> Action {
        self.action
    }

    /// Until when this session may execute it.
    pub(super) const fn lease_until(&self) -> Time {
        self.lease_until
    }
}

/// An action whose intent is stored, on a key that IAM listed for this user a moment ago (I1, I5, I7).
///
/// Nothing outside this package can make one:
///
/// ```compile_fail,E0451
/// use key_guard_core::key::{KeyRef, UserName};
/// use key_guard_core::lifecycle::effect::ConfirmedAction;
/// use key_guard_core::lifecycle::input::Action;
/// use key_guard_core::lifecycle::state::IntentId;
///
/// fn forge(key: KeyRef, user: UserName, action: Action, intent: IntentId) -> ConfirmedAction {
///     ConfirmedAction { key, user, action, intent }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConfirmedAction {
    key: KeyRef,
    user: UserName,
    action: Action,
    intent: IntentId,
}

impl ConfirmedAction {
    /// Needs both proofs. `None` if they are about different keys, or if `action` goes further than the intent.
    pub(super) fn new(persisted: &PersistedIntent, listed: &ListedKey, action: Action) -> Option<Self> {
        (persisted.key == listed.key && action <= persisted.action).then(|| Self {
            key: persisted.key.clone(),
            user: listed.user.clone(),
            action,
            intent: persisted.id.clone(),
        })
    }

    /// Which key.
    #[must_use]
    pub const fn key(&self) -> &KeyRef {
        &self.key
    }

    /// Its owner. IAM takes the caller where the name is missing, so it never is.
    #[must_use]
    pub const fn user(&self) -> &UserName {
        &self.user
    }

    /// What to do.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// For which intent.
    #[must_use]
    pub const fn intent(&self) -> &IntentId {
        &self.intent
    }
}
