//! A sweep's effects and replies as data.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::key::AccountId;
use crate::report::Report;

use super::account::SweepCheckpoint;
use super::counts::SweepCounts;
use super::page::{KeyCursor, KeyPage, ServiceFilter};
use crate::lifecycle::effect::CallError;
use crate::lifecycle::input::ListedKey;
use crate::lifecycle::result::SessionError;
use crate::lifecycle::state::StoredState;
use crate::lifecycle::summary::Publication;

/// An account's last completed sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRecord {
    /// When it started.
    pub started: Time,
}

/// Which page of the keys of all users IAM is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// In which account.
    pub account: AccountId,
    /// The services of the list.
    pub service: ServiceFilter,
    /// From where. `None`: from the beginning.
    pub cursor: Option<KeyCursor>,
}

/// What the executor does next.
#[derive(Debug)]
pub enum SweepNext {
    /// Perform this, and return the reply.
    Perform(SweepEffect),
    /// Wait about this long, with jitter, and return [`SweepReply::Waited`].
    Wait(TimeDelta),
    /// This invocation has done what it can.
    Finished(Result<Box<SweepResult>, SweepError>),
}

/// One call of the ledger or of IAM, or many sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepEffect {
    /// Read the account's last completed sweep.
    LoadRecord(AccountId),
    /// Ask IAM for a page of the keys of all users.
    ListPage(PageRequest),
    /// Run sessions, as many at a time as suits: [`Sweep::next_session`](super::Sweep::next_session) has them, and
    /// [`Sweep::ended`](super::Sweep::ended) takes their results. Once there is none left, and none under way, reply
    /// [`SweepReply::SessionsEnded`].
    RunSessions {
        /// Ask IAM for this page at once, beside the sessions.
        read_ahead: Option<PageRequest>,
    },
    /// Read a page of the account's known keys: those that exist, those that ended since, and those whose end nobody
    /// has been told of. More do no harm.
    LoadKnownKeys {
        /// In which account.
        account: AccountId,
        /// Since when. `None`: all that have ended.
        ended_since: Option<Time>,
        /// From where. `None`: from the beginning.
        cursor: Option<KeyCursor>,
    },
    /// Store that the account was swept completely.
    PutRecord {
        /// Which account.
        account: AccountId,
        /// What to store.
        record: SweepRecord,
    },
}

/// What came of an effect.
#[derive(Debug)]
pub enum SweepReply {
    /// Nothing yet: the invocation starts.
    Start,
    /// The wait is over.
    Waited,
    /// The account's last completed sweep, if there was one.
    Record(Option<SweepRecord>),
    /// A page of IAM's list.
    Page(KeyPage<ListedKey>),
    /// Every session that was begun has ended.
    SessionsEnded {
        /// The page that was to be read meanwhile.
        read_ahead: Option<Result<KeyPage<ListedKey>, CallError>>,
    },
    /// A page of the ledger's keys.
    KnownKeys(KeyPage<StoredState>),
    /// The record is stored.
    RecordStored,
    /// The call failed.
    Failed(CallError),
}

/// What an invocation came to.
#[derive(Debug)]
pub struct SweepResult {
    /// Counts of the whole sweep, its earlier invocations included.
    pub counts: SweepCounts,
    /// What went wrong in this invocation.
    pub problems: Vec<SweepProblem>,
    /// What is left for the next invocation. `None`: the sweep has ended.
    pub checkpoint: Option<SweepCheckpoint>,
}

/// A finding that nobody has been told of. Publish the report first, and then store what
/// [`Publication::mark_reported`] returns for `stored` (I11).
#[derive(Debug, Clone, PartialEq)]
pub struct UnreportedFinding {
    /// What to publish.
    pub report: Report,
    /// What marks it as reported.
    pub publication: Publication,
    /// The key's state.
    pub stored: StoredState,
}

/// Something that a sweep could not do. It goes on with the rest.
#[derive(Debug, thiserror::Error)]
pub enum SweepProblem {
    /// A list could not be read.
    #[error("IAM's key list for account {account} could not be read ({service})")]
    List {
        /// Whose.
        account: AccountId,
        /// The services of the list.
        service: ServiceFilter,
        /// Why.
        source: CallError,
    },
    /// A list has the same marker twice, or too many pages.
    #[error(
        "IAM's key list for account {account} does not end ({service}: the same marker again, or more than \
         10,000 pages)"
    )]
    EndlessList {
        /// Whose.
        account: AccountId,
        /// The services of the list.
        service: ServiceFilter,
    },
    /// Keys of a list could not be read. Any known key may be one of them, so none of the list is called absent.
    #[error("{count} keys in IAM's list for account {account} could not be read ({service})")]
    UnreadableKeys {
        /// Whose.
        account: AccountId,
        /// The services of the list.
        service: ServiceFilter,
        /// How many.
        count: u64,
    },
    /// There was too little time for the closing pass.
    #[error("one invocation is too short to read IAM's key list for account {account} again ({service})")]
    TooLongToReread {
        /// Whose.
        account: AccountId,
        /// The services of the list.
        service: ServiceFilter,
    },
    /// The ledger's keys, or its record of the last sweep, could not be read or written.
    #[error("the ledger could not be used for the sweep of account {account}")]
    Ledger {
        /// Whose.
        account: AccountId,
        /// Why.
        source: CallError,
    },
    /// Keys in the ledger could not be read.
    #[error("{count} keys of account {account} could not be read in the ledger")]
    UnreadableRecords {
        /// Whose.
        account: AccountId,
        /// How many.
        count: u64,
    },
    /// A key's session failed.
    #[error(transparent)]
    Key(#[from] SessionError),
}

/// A sweep that failed as a whole.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// No list of any account could be read.
    #[error("nothing was swept: no key list of any account could be read")]
    NothingListed {
        /// What went wrong in this invocation.
        problems: Vec<SweepProblem>,
    },
    /// The executor replied to something that it was not asked for: a defect.
    #[error("a sweep was given a reply that it did not ask for: {reply}")]
    UnexpectedReply {
        /// The reply.
        reply: String,
    },
}
