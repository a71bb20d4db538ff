//! The real ledger, on SQLite in memory or on DynamoDB over HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::Client;
use bedrock_key_guard::ledger::store::Ledger;
use bedrock_key_guard::runtime::event::AttemptStore;
use bedrock_key_guard::runtime::silence::HeardStore;
use futures_util::FutureExt as _;
use key_guard_core::Time;
use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::key::{AccountId, KeyRef, UserName};
use key_guard_core::lifecycle::effect::{CallError, Commit, LogEntry};
use key_guard_core::lifecycle::state::StoredState;
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, SweepRecord};
use key_guard_core::ports::{CommitReply, KeyStore};
use key_guard_core::silence::HeardAccount;
use tokio::runtime::Runtime;

use crate::support::dynamodb::{Dynamo, client_without_retries, make_table};

/// Where a world's ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory.
    Sqlite,
    /// Over HTTP. The SDK retries nothing, so that the sessions see every fault.
    DynamoDb,
}

/// An empty ledger. A call takes no time of the fake clock: nothing else runs while it is under way.
pub struct TestLedger {
    pub ledger: Ledger,
    server: Option<&'static Server>,
}

/// One for all worlds of a test, which come one after the other. Each world has a table of its own.
struct Server {
    dynamo: Dynamo,
    client: Client,
    runtime: Runtime,
    tables: AtomicUsize,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dynamo = Dynamo::start();
        let client = runtime.block_on(client_without_retries(dynamo.url()));
        Self { dynamo, client, runtime, tables: AtomicUsize::new(0) }
    }

    fn ledger(&self) -> Ledger {
        let table = format!("world-{}", self.tables.fetch_add(1, Ordering::Relaxed));
        self.runtime.block_on(make_table(&self.client, &table));
        self.dynamo.forget_calls();
        Ledger::dynamodb(self.client.clone(), table)
    }
}

impl TestLedger {
    pub fn new(kind: StoreKind) -> Self {
        thread_local!(static SERVER: &'static Server = Box::leak(Box::new(Server::start())));
        match kind {
            StoreKind::Sqlite => Self { ledger: Ledger::in_memory().unwrap(), server: None },
            StoreKind::DynamoDb => {
                SERVER.with(|server| Self { ledger: server.ledger(), server: Some(server) })
            }
        }
    }

    /// The DynamoDB that it is on.
    pub fn dynamo(&self) -> &Dynamo {
        &self.server.expect("it is on DynamoDB").dynamo
    }

    /// Waits for a call of the ledger.
    pub fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        match self.server {
            Some(server) => server.runtime.block_on(call),
            // SQLite is ready at once.
            None => call.now_or_never().unwrap(),
        }
    }
}

impl KeyStore for TestLedger {
    async fn load(&self, keys: &[KeyRef]) -> Vec<Result<StoredState, CallError>> {
        self.wait(self.ledger.load(keys))
    }

    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitReply, CallError>> {
        self.wait(self.ledger.commit(commits))
    }

    async fn append(&self, entry: &LogEntry) -> Result<(), CallError> {
        self.wait(self.ledger.append(entry))
    }

    async fn resumable_keys(
        &self,
        now: Time,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<StoredState>, CallError> {
        self.wait(self.ledger.resumable_keys(now, cursor))
    }

    async fn known_keys(
        &self,
        account: &AccountId,
        ended_since: Option<Time>,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<StoredState>, CallError> {
        self.wait(self.ledger.known_keys(account, ended_since, cursor))
    }

    async fn load_sweep_record(&self, account: &AccountId) -> Result<Option<SweepRecord>, CallError> {
        self.wait(self.ledger.load_sweep_record(account))
    }

    async fn put_sweep_record(&self, account: &AccountId, record: &SweepRecord) -> Result<(), CallError> {
        self.wait(self.ledger.put_sweep_record(account, record))
    }
}

impl AttemptStore for TestLedger {
    async fn record_attempt(&self, event: &CredentialEvent) -> Result<(), CallError> {
        self.wait(self.ledger.record_attempt(event))
    }

    async fn has_console_key(&self, account: &AccountId, user: &UserName) -> Result<bool, CallError> {
        self.wait(self.ledger.has_console_key(account, user))
    }
}

impl HeardStore for TestLedger {
    async fn heard_accounts(&self) -> Result<Vec<HeardAccount>, CallError> {
        self.wait(self.ledger.heard_accounts())
    }

    async fn mark_silence_reported(&self, silent: &HeardAccount, at: Time) -> Result<(), CallError> {
        self.wait(self.ledger.mark_silence_reported(silent, at))
    }
}
