//! The store in DynamoDB: how its calls fail.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::lifecycle::effect::{CallError, Change, Commit, HeardEvent, Retry};
use key_guard_core::lifecycle::state::{KeyState, Record, StoredState, Version};
use key_guard_core::lifecycle::sweep::KeyCursor;
use key_guard_core::ports::{CommitReply, KeyStore as _};
use serde_json::{Value, json};

use super::dynamo::{dry_run, first, ledger_error};
use super::{at, by, commit, event, key, line, load, open, record, settled, store_all, stored, tracked};
use crate::support::dynamodb::{Dynamo, Place, client, client_without_retries};
use crate::support::http::{Reply, serve};
use crate::support::{Fault, OWN};

/// The same store, and the SDK retries nothing.
async fn without_retries(place: &Place, dynamo: &Dynamo) -> Ledger {
    Ledger::dynamodb(client_without_retries(dynamo.url()).await, &place.table)
}

#[tokio::test]
async fn failed_calls_say_whether_a_retry_helps() {
    let (place, store) = open("failures").await;
    let Some(dynamo) = &place.embedded else { return };
    store_all(&store, [(key(0), settled(&key(0)))]).await;
    let store = without_retries(&place, dynamo).await;
    for (fault, retry, error_type) in [
        (Fault::Refused(400, "ThrottlingException"), Retry::Transient, "LedgerCallFailed"),
        (Fault::Refused(400, "ProvisionedThroughputExceededException"), Retry::Transient, "LedgerCallFailed"),
        (Fault::Refused(400, "RequestLimitExceeded"), Retry::Transient, "LedgerCallFailed"),
        (Fault::Refused(400, "TransactionInProgressException"), Retry::Transient, "LedgerCallFailed"),
        (Fault::Refused(500, "InternalServerError"), Retry::Transient, "LedgerCallFailed"),
        (Fault::Refused(503, "Unheard"), Retry::Transient, "LedgerCallFailed"),
        (Fault::Cut, Retry::Transient, "LedgerCallFailed"),
        (Fault::Refused(400, "AccessDeniedException"), Retry::Permanent, "LedgerCallFailed"),
        (Fault::Refused(400, "ResourceNotFoundException"), Retry::Permanent, "LedgerTableMissing"),
        (Fault::Refused(400, "ValidationException"), Retry::Permanent, "LedgerCallFailed"),
        (Fault::Refused(400, "ExpiredTokenException"), Retry::Permanent, "LedgerCallFailed"),
    ] {
        let check = |call: &str, error: CallError| {
            assert_eq!((error.call, error.retry), (call, retry), "{fault:?}");
            assert_eq!(ledger_error(&error).error_type(), error_type, "{fault:?}");
        };
        dynamo.fault("BatchGetItem", fault, 1);
        // Every key gets the error.
        let results = store.load(&[key(0), key(1)]).await;
        assert_eq!(results.len(), 2);
        for result in results {
            check("BatchGetItem", result.unwrap_err());
        }
        dynamo.fault("TransactWriteItems", fault, 1);
        let commit = commit(&key(7), Version::ABSENT, settled(&key(7)));
        check("TransactWriteItems", first(store.commit(&[commit]).await).unwrap_err());
        dynamo.fault("TransactWriteItems", fault, 1);
        check(
            "TransactWriteItems",
            first(store.put_dry_runs(&[(dry_run().into(), Version::ABSENT)]).await).unwrap_err(),
        );
        dynamo.fault("Query", fault, 1);
        check("Query", store.resumable_keys(at(9), None).await.unwrap_err());
        assert_eq!(load(&store, &key(7)).await, StoredState::ABSENT);
    }
    // Nobody listens.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = Ledger::dynamodb(client_without_retries(&format!("http://{unused}")).await, "table");
    let error = first(store.load(&[key(0)]).await).unwrap_err();
    assert_eq!(error.retry, Retry::Transient);
}

#[tokio::test]
async fn an_invalid_commit_leaves_the_others_of_its_batch_alone() {
    let (_place, store) = open("invalid").await;
    let commits: Vec<_> = (0..9)
        .map(|number| {
            // DynamoDB takes 400 KB.
            let size = if number == 5 { 500_000 } else { 10 };
            let record = Record { policy_sha256: "x".repeat(size), ..record(&key(number)) };
            commit(&key(number), Version::ABSENT, tracked(record))
        })
        .collect();
    for (number, reply) in store.commit(&commits).await.into_iter().enumerate() {
        match number {
            5 => assert_eq!(reply.unwrap_err().retry, Retry::Permanent),
            _ => assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)), "{number}"),
        }
    }
    // Nor does a commit of nothing.
    let commits = [
        commit(&key(10), Version::ABSENT, KeyState::Unknown),
        commit(&key(11), Version::ABSENT, settled(&key(11))),
    ];
    let replies = store.commit(&commits).await;
    assert_eq!(replies[0].as_ref().unwrap_err().retry, Retry::Permanent);
    assert_eq!(*replies[1].as_ref().unwrap(), CommitReply::Committed(Version(1)));
}

#[tokio::test]
async fn a_commit_whose_reply_was_lost_conflicts_with_itself() {
    let (place, _) = open("lost").await;
    let Some(dynamo) = &place.embedded else { return };
    let heard = by(HeardEvent::Created, &event("created", 0));
    let first_commit = Commit {
        log: line(&key(1), 1, heard, Change::Assessed),
        ..commit(&key(1), Version::ABSENT, settled(&key(1)))
    };
    let store = without_retries(&place, dynamo).await;
    dynamo.fault("TransactWriteItems", Fault::ReplyLost, 1);
    let error = first(store.commit(std::slice::from_ref(&first_commit)).await).unwrap_err();
    assert_eq!(error.retry, Retry::Transient);
    let reply = first(store.commit(&[first_commit]).await).unwrap();
    assert_eq!(reply, CommitReply::Conflict(stored(1, settled(&key(1)))));
    assert_eq!(store.history(&key(1)).await.unwrap().lines.len(), 2);
}

#[tokio::test]
async fn a_foreign_cursor_and_a_foreign_sweep_record_are_errors() {
    let (place, store) = open("foreign").await;
    let cursor = KeyCursor("IAM's marker".to_owned());
    let error = store.resumable_keys(at(9), Some(&cursor)).await.unwrap_err();
    assert_eq!((error.retry, error.call), (Retry::Permanent, "Query"));
    let item = [("pk", format!("SWEEP#{OWN}")), ("sk", "LAST".to_owned())];
    let item = item.map(|(field, text)| (field.to_owned(), AttributeValue::S(text)));
    place.client.put_item().table_name(&place.table).set_item(Some(item.into())).send().await.unwrap();
    let error = store.load_sweep_record(&OWN.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.retry, Retry::Permanent);
    assert!(error.source.to_string().contains(&format!("SWEEP#{OWN} / LAST")), "{}", error.source);
}

/// A DynamoDB that processes so many keys of each `BatchGetItem`, and has none of them.
async fn slow_dynamodb(processed: usize) -> (Ledger, Arc<Mutex<Vec<usize>>>) {
    let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let url = serve(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let keys = body["RequestItems"]["table"]["Keys"].as_array().unwrap();
        assert_eq!(body["RequestItems"]["table"]["ConsistentRead"], true);
        seen.lock().unwrap().push(keys.len());
        let left = &keys[processed.min(keys.len())..];
        let unprocessed = if left.is_empty() {
            json!({})
        } else {
            json!({"table": {"Keys": left, "ConsistentRead": true}})
        };
        Reply::answer(200, json!({"Responses": {"table": []}, "UnprocessedKeys": unprocessed}).to_string())
    });
    let sdk = bedrock_key_guard::aws::sdk_config().await;
    (Ledger::dynamodb(client(&sdk, &url), "table"), asked)
}

#[tokio::test]
async fn unprocessed_keys_are_asked_for_again() {
    let keys: Vec<_> = (0..7).map(key).collect();
    let (store, asked) = slow_dynamodb(3).await;
    for loaded in store.load(&keys).await {
        assert_eq!(loaded.unwrap(), StoredState::ABSENT);
    }
    assert_eq!(*asked.lock().unwrap(), [7, 4, 1]);
    // The session retries what is left in the end.
    let (store, asked) = slow_dynamodb(1).await;
    let loaded = store.load(&keys).await;
    assert_eq!(*asked.lock().unwrap(), [7, 6, 5, 4, 3]);
    for (number, loaded) in loaded.into_iter().enumerate() {
        match loaded {
            Ok(loaded) => assert!(number < 5 && loaded == StoredState::ABSENT, "{number}"),
            Err(error) => assert!(number >= 5 && error.retry == Retry::Transient, "{number}"),
        }
    }
}
