//! The ledger that `replay` writes: a file or a table, shared, and one that cannot be used.

use std::process::Stdio;

use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::dry_run::DryRun;
use serde_json::json;

use super::{record, run_on_aws};
use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder};
use crate::support::dynamodb::Dynamo;
use crate::support::iam::Iam;
use crate::support::{Fault, event};

#[test]
fn a_ledger_is_a_file_whatever_sqlite_thinks_of_its_name() {
    for name in [":memory:", "file:x?mode=memory"] {
        let folder = Folder::new();
        let file = folder.write("k.json", event("created-without-age").to_string());
        assert_eq!(folder.run(&["replay", "--ledger", &format!("file:{name}"), &file]).code, 0);
        assert!(folder.path().join(name).is_file(), "{name}");
    }
}

#[test]
fn processes_that_make_a_ledger_at_the_same_time_share_it() {
    let folder = Folder::new();
    let file = folder.write("k.json", event("created-without-age").to_string());
    let mut children: Vec<_> = (0..6)
        .map(|_| {
            folder.command(&["replay", &file]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children.drain(..) {
        let ran: CliOutput = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

#[test]
fn a_ledger_that_cannot_be_used_is_named() {
    let folder = Folder::new();
    let key = folder.write("key.json", event("created-for-91-days").to_string());
    folder.write(
        "not-a-database",
        "this is a text file, and a rather long one at that, so it is no SQLite database",
    );
    for (ledger, says) in
        [("file:not-a-database", "not-a-database"), ("file:no/such/directory/x.db", "no/such/directory/x.db")]
    {
        let ran = folder.run(&["replay", "--ledger", ledger, &key]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    assert_eq!(folder.run(&["replay", "--ledger", "s3:bucket", &key]).code, 2);
}

/// What ends a run does not take with it what was done before.
#[test]
fn a_ledger_that_fails_leaves_the_summary() {
    let (folder, dynamo) = (Folder::new(), Dynamo::start());
    let file = folder.write("k.json", event("created-without-age").to_string());
    let mut command = folder.command(&["replay", "--ledger", "dynamodb:no-such-table", &file]);
    let endpoint = ("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url());
    let ran = CliOutput::of(command.envs(AWS_VARIABLES).envs([endpoint]));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let (summary, error) = ran.stderr.split_once('\n').unwrap();
    assert!(summary.starts_with("1 event read: ") && summary.contains(", 1 failed; "), "{summary}");
    assert!(error.starts_with("error: ") && error.contains("no-such-table"), "{error}");
}

/// The dry run of the key that an example event is about.
async fn load_dry_run(ledger: &Ledger, name: &str) -> Option<DryRun> {
    let event = event(name);
    let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap();
    let key = KeyRef {
        account: text("/detail/recipientAccountId").parse().unwrap(),
        id: text("/detail/responseElements/serviceSpecificCredential/serviceSpecificCredentialId")
            .parse()
            .unwrap(),
    };
    ledger.load_dry_runs(&[key]).await.remove(0).unwrap()?.0.assessed().cloned()
}

#[tokio::test]
async fn the_ledger_can_be_a_table_in_dynamodb() {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    let ledger = dynamo.ledger("keys").await;
    let file = folder.write("key.json", event("created-without-age").to_string());
    let ran = run_on_aws(&folder, &iam, &dynamo, &["replay", "--ledger", "dynamodb:keys", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(dynamo.items("keys").len(), 1);
    assert!(load_dry_run(&ledger, "created-without-age").await.is_some());
    assert_eq!(iam.calls(), [], "IAM is not called without --apply");
    let ran = run_on_aws(&folder, &iam, &dynamo, &["replay", "--ledger", "dynamodb:no-such-table", &file]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("the ledger table no-such-table does not exist"), "{}", ran.stderr);
}

/// What is read and written of many keys goes into few calls, and what passes is retried (R7).
#[tokio::test]
async fn a_dry_run_makes_few_calls_and_repeats_those_that_fail() {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    dynamo.ledger("keys").await;
    let records: Vec<_> = (0..60)
        .map(|number| {
            let mut record = record("created-without-age");
            let credential = &mut record["responseElements"]["serviceSpecificCredential"];
            credential["serviceSpecificCredentialId"] = json!(format!("ACCAMANY{number:013}"));
            record
        })
        .collect();
    let file = folder.write("log.json", json!({"Records": records}).to_string());
    let busy = Fault::Refused(400, "ProvisionedThroughputExceededException");
    dynamo.fault("BatchGetItem", busy, 4);
    dynamo.fault("TransactWriteItems", busy, 4);
    let ran = run_on_aws(&folder, &iam, &dynamo, &["replay", "--ledger", "dynamodb:keys", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(dynamo.items("keys").len(), 60);
    let calls = dynamo.calls();
    assert!(calls.len() < 8 + 2 * 5, "{calls:?}");

    dynamo.fault("TransactWriteItems", Fault::Refused(400, "AccessDeniedException"), 1);
    let other = folder.write("key.json", event("created-by-root").to_string());
    let ran = run_on_aws(&folder, &iam, &dynamo, &["replay", "--ledger", "dynamodb:keys", &other]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("access to the ledger table keys was denied"), "{}", ran.stderr);
}
