//! What the runtime calls: a store of keys, and IAM. An adapter makes no decision: a conflict is a reply.

use std::future::Future;

use crate::Time;
use crate::key::{AccountId, KeyRef};
use crate::lifecycle::effect::{ActResult, CallError, Commit, ConfirmedAction, FindScope, LogEntry};
use crate::lifecycle::input::ListedKey;
use crate::lifecycle::state::{StoredState, Version};
use crate::lifecycle::sweep::{KeyCursor, KeyPage, ServiceFilter, SweepRecord};

/// What came of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitReply {
    /// It happened.
    Committed(Version),
    /// It did not happen: this is stored.
    Conflict(StoredState),
    /// It did not happen: the budget of deletions is spent (R11). A conflict goes before that.
    RateLimited,
}

/// The store of keys and of their history.
pub trait KeyStore: Sync {
    /// Reads the states of these keys: a result for each, in their order. No key is named twice.
    fn load(&self, keys: &[KeyRef]) -> impl Future<Output = Vec<Result<StoredState, CallError>>> + Send;

    /// Performs these writes: a result for each, in their order. Each happens as a whole or not at all, whatever becomes
    /// of the others. No key is named twice.
    fn commit(&self, commits: &[Commit]) -> impl Future<Output = Vec<Result<CommitReply, CallError>>> + Send;

    /// Writes a line of history. Writing the same one twice changes nothing.
    fn append(&self, entry: &LogEntry) -> impl Future<Output = Result<(), CallError>> + Send;

    /// A page of the keys that a resume deals with: those with an open intent, and those whose date of deletion has come.
    /// More do no harm.
    fn resumable_keys(
        &self,
        now: Time,
        cursor: Option<&KeyCursor>,
    ) -> impl Future<Output = Result<KeyPage<StoredState>, CallError>> + Send;

    /// A page of the account's known keys: those that exist, those that ended since, and those whose end nobody has been
    /// told of. More do no harm.
    fn known_keys(
        &self,
        account: &AccountId,
        ended_since: Option<Time>,
        cursor: Option<&KeyCursor>,
    ) -> impl Future<Output = Result<KeyPage<StoredState>, CallError>> + Send;

    /// Reads the account's last completed sweep.
    fn load_sweep_record(
        &self,
        account: &AccountId,
    ) -> impl Future<Output = Result<Option<SweepRecord>, CallError>> + Send;

    /// Stores that the account was swept completely.
    fn put_sweep_record(
        &self,
        account: &AccountId,
        record: &SweepRecord,
    ) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// The keys of IAM.
pub trait CredentialApi: Sync {
    /// Looks for a key. `None`: IAM does not list it in this scope. A user that does not exist has no keys.
    fn find(
        &self,
        key: &KeyRef,
        scope: &FindScope,
    ) -> impl Future<Output = Result<Option<ListedKey>, CallError>> + Send;

    /// All keys in a scope (R9). It fails if any of them cannot be read: that one may be the key.
    fn list(
        &self,
        account: &AccountId,
        scope: &FindScope,
    ) -> impl Future<Output = Result<Vec<ListedKey>, CallError>> + Send;

    /// A page of the keys of all users of an account.
    fn list_page(
        &self,
        account: &AccountId,
        service: &ServiceFilter,
        cursor: Option<&KeyCursor>,
    ) -> impl Future<Output = Result<KeyPage<ListedKey>, CallError>> + Send;

    /// Changes a key. The call ends, or has failed, within [`ACTION_MARGIN`](crate::lifecycle::ACTION_MARGIN).
    fn act(&self, action: &ConfirmedAction) -> impl Future<Output = Result<ActResult, CallError>> + Send;
}
