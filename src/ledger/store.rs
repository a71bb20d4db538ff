//! The keys in a DynamoDB table: [`KeyStore`] on `aws-sdk-dynamodb`. The table is AWS's in production, and an
//! [embedded](super::embedded) one on a laptop and in tests. `codec` has its items.
//!
//! | call | DynamoDB |
//! | --- | --- |
//! | load | `BatchGetItem`, consistent, 100 keys a call |
//! | commit | `TransactWriteItems`, 50 keys a call; a commit that counts a deletion has a call of its own |
//! | resumable keys | `Query` on `by_open`, a partition at a time |
//! | known keys | `Query` on `by_account`, a partition at a time |
//!
//! Every write is a transaction, so that the function needs no permission and no code for other writes. Only states and
//! counters have a condition. Everything else is the same item however often it is written.
//!
//! No call is retried here: the sessions do that (R7). Only the unprocessed keys of a batch are asked for again.

mod failure;
mod pages;
mod read;
mod table;
mod transact;

use key_guard_core::Time;
use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::key::{AccountId, KeyRef};
use key_guard_core::lifecycle::dry_run::DryRun;
use key_guard_core::lifecycle::effect::{CallError, Commit, LogEntry};
use key_guard_core::lifecycle::state::StoredState;
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, SweepRecord};
use key_guard_core::ports::{CommitReply, KeyStore};

use super::audit::AuditEvent;
use super::codec::{self, Attributes, EncodeError};
use super::error::LedgerError;

use super::item;
use crate::runtime::event::AttemptStore;

use pages::{filter_known, in_partition};
pub use table::DynamoKeyStore;
use table::decoded;
#[cfg(feature = "cli")]
pub(super) use transact::Reason;
use transact::Write;

impl DynamoKeyStore {
    /// Reads the latest dry runs of these keys: a result for each, in their order (R14). No key is named twice.
    pub async fn load_dry_runs(&self, keys: &[KeyRef]) -> Vec<Result<Option<DryRun>, CallError>> {
        let read =
            |found: Option<Attributes>| found.map(|item| decoded(item, codec::decode_dry_run)).transpose();
        self.get(keys, codec::DRY_RUN).await.into_iter().map(|found| found.and_then(read)).collect()
    }

    /// Stores dry runs, each in place of the key's last one: a result for each, in their order (R14). No key is named
    /// twice.
    pub async fn put_dry_runs(&self, dry_runs: &[DryRun]) -> Vec<Result<(), CallError>> {
        let items = |dry_run: &DryRun| {
            let mut items = vec![codec::encode_dry_run(dry_run)?];
            items.extend(codec::encode_former_names(&dry_run.facts, dry_run.creation.as_ref()));
            Ok(items)
        };
        let writes = dry_runs.iter().map(|dry_run| self.write_of(items(dry_run)));
        self.perform(writes.collect()).await.into_iter().map(|reply| reply.map(drop)).collect()
    }

    /// Stores an event that changed no key. Storing the same one twice changes nothing.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn record_audit_event(&self, event: &AuditEvent) -> Result<(), CallError> {
        self.put(codec::encode_audit_event(event).map(|item| vec![item])).await
    }

    /// Writes items that need no condition.
    pub(super) async fn put(&self, items: Result<Vec<Attributes>, EncodeError>) -> Result<(), CallError> {
        let write = self.write_of(items);
        self.perform(vec![write]).await.into_iter().try_for_each(|reply| reply.map(drop))
    }

    fn write_of(&self, items: Result<Vec<Attributes>, EncodeError>) -> Result<Write, LedgerError> {
        Write::unconditional(&self.table, items.map_err(|error| self.not_built(error))?)
            .map_err(|error| self.not_built(error))
    }
}

impl KeyStore for DynamoKeyStore {
    async fn load(&self, keys: &[KeyRef]) -> Vec<Result<StoredState, CallError>> {
        let read = |found: Option<Attributes>| match found {
            Some(item) => decoded(item, codec::decode_state),
            None => Ok(StoredState::ABSENT),
        };
        self.get(keys, codec::STATE).await.into_iter().map(|found| found.and_then(read)).collect()
    }

    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitReply, CallError>> {
        let writes = commits
            .iter()
            .map(|commit| Write::of_commit(&self.table, commit).map_err(|error| self.not_built(error)));
        self.perform(writes.collect()).await
    }

    async fn append(&self, entry: &LogEntry) -> Result<(), CallError> {
        self.put(codec::encode_log(entry).map(|item| vec![item])).await
    }

    async fn resumable_keys(&self, cursor: Option<&KeyCursor>) -> Result<KeyPage<StoredState>, CallError> {
        self.page(cursor, |query, shard| in_partition(query, "by_open", "open_key", item::open_key(shard)))
            .await
    }

    async fn known_keys(
        &self,
        account: &AccountId,
        ended_since: Option<Time>,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<StoredState>, CallError> {
        let query = |query, shard| {
            let partition = item::account_key(account, shard);
            filter_known(in_partition(query, "by_account", "account_key", partition), ended_since)
        };
        self.page(cursor, query).await
    }

    async fn load_sweep_record(&self, account: &AccountId) -> Result<Option<SweepRecord>, CallError> {
        let found = self.get_item(codec::sweep_place(account)).await?;
        found.map(|item| decoded(item, codec::decode_sweep)).transpose()
    }

    async fn put_sweep_record(&self, account: &AccountId, record: &SweepRecord) -> Result<(), CallError> {
        self.put(codec::encode_sweep(account, *record).map(|item| vec![item])).await
    }
}

impl AttemptStore for DynamoKeyStore {
    async fn record_attempt(&self, event: &CredentialEvent) -> Result<(), CallError> {
        match AuditEvent::new(event.clone()) {
            Some(event) => self.record_audit_event(&event).await,
            // Events about keys have a history.
            None => Ok(()),
        }
    }
}
