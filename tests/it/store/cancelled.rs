//! A batch in DynamoDB whose shared transaction is cancelled: each commit gets its own reply.

use aws_sdk_dynamodb::Client;
use bedrock_key_guard::ledger::audit::history::LogLine;
use bedrock_key_guard::ledger::error::LedgerError;
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::lifecycle::effect::{CallError, Commit, Retry};
use key_guard_core::lifecycle::state::{KeyState, StoredState, Version};
use key_guard_core::ports::{CommitReply, KeyStore as _};

use super::{commit, deactivated, key, settled, store_all, stored, tracked};
use crate::support::Fault;
use crate::support::dynamodb::{Dynamo, client_without_retries, make_table};

const TRANSACTION: &str = "TransactWriteItems";

/// The first commits of so many keys share a transaction.
const KEYS: usize = 4;

/// The keys that are not known. The first commits of the others conflict.
const NEW: [usize; 2] = [0, 2];

/// Each commit has its state and its line.
const ITEMS: usize = 2;

fn known(number: usize) -> KeyState {
    tracked(deactivated(&key(number)))
}

fn first_commit(number: usize) -> Commit {
    commit(&key(number), Version::ABSENT, settled(&key(number)))
}

/// What comes of a key's first commit.
fn expected(number: usize) -> CommitReply {
    if NEW.contains(&number) {
        CommitReply::Committed(Version(1))
    } else {
        CommitReply::Conflict(stored(1, known(number)))
    }
}

async fn store_known_keys(store: &Ledger) {
    let keys = (0..KEYS).filter(|number| !NEW.contains(number));
    store_all(store, keys.map(|number| (key(number), known(number)))).await;
}

type Reply = Result<CommitReply, CallError>;

/// Commits the batch to an empty table, with this fault at the transaction with this number.
async fn commit_batch(dynamo: &Dynamo, client: &Client, fault: Fault, number: usize) -> (Ledger, Vec<Reply>) {
    let table = format!("{fault:?}-{number}").replace(|of: char| !of.is_alphanumeric(), "-");
    make_table(client, &table).await;
    let store = Ledger::dynamodb(client.clone(), table);
    store_known_keys(&store).await;
    dynamo.fault(TRANSACTION, Fault::Passes, number);
    dynamo.fault(TRANSACTION, fault, 1);
    let replies = store.commit(&(0..KEYS).map(first_commit).collect::<Vec<_>>()).await;
    assert!(dynamo.faults_are_over(), "it did not happen: {fault:?}");
    assert_eq!(replies.len(), KEYS);
    (store, replies)
}

async fn commit_alone(store: &Ledger, number: usize) -> CommitReply {
    store.commit(&[first_commit(number)]).await.remove(0).unwrap()
}

/// The state and the history of each key.
async fn contents(store: &Ledger) -> Vec<(StoredState, Vec<LogLine>)> {
    let mut contents = Vec::new();
    for number in 0..KEYS {
        let history = store.history(&key(number)).await.unwrap();
        assert!(history.unreadable.is_empty(), "{:?}", history.unreadable);
        contents.push((super::load(store, &key(number)).await, history.lines));
    }
    contents
}

/// The same after single commits, in SQLite.
async fn contents_of_single_commits() -> Vec<(StoredState, Vec<LogLine>)> {
    let store = Ledger::in_memory().unwrap();
    store_known_keys(&store).await;
    for number in 0..KEYS {
        assert_eq!(commit_alone(&store, number).await, expected(number));
    }
    contents(&store).await
}

fn assert_busy(reply: Reply, code: &str, case: &str) {
    let error = reply.expect_err(case);
    assert_eq!(error.retry, Retry::Transient, "{case}");
    let source = error.source.downcast_ref::<LedgerError>().unwrap();
    assert_eq!(source.error_type(), "LedgerItemBusy", "{case}");
    assert!(source.to_string().contains(code), "{source}: {case}");
}

#[tokio::test]
async fn a_busy_item_fails_its_own_commit_and_no_other() {
    let dynamo = Dynamo::start();
    let client = client_without_retries(dynamo.url()).await;
    let all: Vec<_> = (0..KEYS).collect();
    for (number, keys) in [(0, &all[..]), (1, &NEW)] {
        for (item, code) in (0..keys.len() * ITEMS)
            .flat_map(|item| ["ThrottlingError", "TransactionConflict"].map(|code| (item, code)))
        {
            let (busy, is_line) = (keys[item / ITEMS], item % ITEMS == 1);
            let case = format!("{code} of item {item} of transaction {number}");
            let (store, replies) = commit_batch(&dynamo, &client, Fault::Cancelled(item, code), number).await;
            for (number, reply) in replies.into_iter().enumerate() {
                // A conflict is certain, though the line is busy.
                if number == busy && (NEW.contains(&busy) || !is_line) {
                    assert_busy(reply, code, &case);
                    assert_eq!(commit_alone(&store, number).await, expected(number), "{case}");
                } else {
                    assert_eq!(reply.expect(&case), expected(number), "{case}");
                }
            }
            assert_eq!(contents(&store).await, contents_of_single_commits().await, "{case}");
        }
    }
}

#[tokio::test]
async fn a_transaction_that_fails_as_a_whole_fails_the_commits_that_are_in_it() {
    let dynamo = Dynamo::start();
    let client = client_without_retries(dynamo.url()).await;
    let all: Vec<_> = (0..KEYS).collect();
    for (transaction, keys) in [(0, &all[..]), (1, &NEW)] {
        for fault in [Fault::ReplyLost, Fault::Cut, Fault::Refused(400, "ThrottlingException")] {
            let case = format!("{fault:?} at transaction {transaction}");
            let (store, replies) = commit_batch(&dynamo, &client, fault, transaction).await;
            for (number, reply) in replies.into_iter().enumerate() {
                if !keys.contains(&number) {
                    assert_eq!(reply.expect(&case), expected(number), "{case}");
                    continue;
                }
                assert_eq!(reply.expect_err(&case).retry, Retry::Transient, "{case}");
                // What happened without a reply conflicts with itself. The shared transaction was cancelled.
                let has_happened = (fault, transaction) == (Fault::ReplyLost, 1);
                let again = if has_happened {
                    CommitReply::Conflict(stored(1, settled(&key(number))))
                } else {
                    expected(number)
                };
                assert_eq!(commit_alone(&store, number).await, again, "{case}");
            }
            assert_eq!(contents(&store).await, contents_of_single_commits().await, "{case}");
        }
    }
}

/// The SDK sends a transaction again with its token, and DynamoDB returns what came of it.
#[tokio::test]
async fn the_sdk_hides_the_lost_reply_of_a_transaction() {
    let dynamo = Dynamo::start();
    let client = dynamo.client().await;
    for transaction in [0, 1] {
        let (store, replies) = commit_batch(&dynamo, &client, Fault::ReplyLost, transaction).await;
        for (number, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.unwrap(), expected(number), "transaction {transaction}, key {number}");
        }
        assert_eq!(contents(&store).await, contents_of_single_commits().await);
    }
}
