//! Versions of the policy, in both stores.

use bedrock_key_guard::ledger::policy::{AppendedPolicy, CurrentPolicyError, check_policy_text};
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::lifecycle::effect::Retry;
use key_guard_core::policy::BUILT_IN;
use serde_json::{Value, json};

use super::open;
use crate::support::Fault;
use crate::support::deployment::policy_version;
use crate::support::dynamodb::Dynamo;

/// A valid policy. No two of them are the same.
fn text(days: u32) -> String {
    BUILT_IN.replace("90", &days.to_string())
}

/// More than nine, because their keys are texts.
async fn versions_are_appended_and_the_last_one_is_current(store: &Ledger) {
    assert!(matches!(store.current_policy().await, Err(CurrentPolicyError::NoVersion)));
    assert!(store.newest_policy().await.unwrap().is_none());
    let mut pushed = Vec::new();
    for number in 1..=11 {
        let version = policy_version(number, &text(number));
        assert_eq!(store.append_policy(&version).await.unwrap(), AppendedPolicy::Appended);
        let (current, policy) = store.current_policy().await.unwrap();
        assert_eq!((&current, policy.sha256()), (&version, version.sha256.as_str()));
        pushed.push(version);
    }
    let found = store.policy_versions().await.unwrap();
    assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>(), pushed);
    assert_eq!(store.policy_version(3).await.unwrap().as_ref(), Some(&pushed[2]));
    assert_eq!(store.policy_version(12).await.unwrap(), None);
}

async fn of_two_that_push_at_once_one_gets_a_conflict(store: &Ledger) {
    let [one, other] = [policy_version(1, &text(1)), policy_version(1, &text(2))];
    let replies = tokio::join!(store.append_policy(&one), store.append_policy(&other));
    let mut replies = [replies.0.unwrap(), replies.1.unwrap()];
    replies.sort_by_key(|reply| *reply == AppendedPolicy::Conflict);
    assert_eq!(replies, [AppendedPolicy::Appended, AppendedPolicy::Conflict]);
    assert_eq!(store.policy_versions().await.unwrap().len(), 1);
}

#[tokio::test]
async fn versions_in_dynamodb() {
    let (_place, store) = open("policy-versions").await;
    versions_are_appended_and_the_last_one_is_current(&store).await;
    let (_place, store) = open("policy-conflict").await;
    of_two_that_push_at_once_one_gets_a_conflict(&store).await;
}

#[tokio::test]
async fn versions_in_sqlite() {
    versions_are_appended_and_the_last_one_is_current(&Ledger::in_memory().unwrap()).await;
    of_two_that_push_at_once_one_gets_a_conflict(&Ledger::in_memory().unwrap()).await;
}

#[tokio::test]
async fn a_version_whose_reply_is_lost_is_no_conflict() {
    let dynamo = Dynamo::start();
    let store = dynamo.ledger("keys").await;
    let version = policy_version(1, BUILT_IN);
    dynamo.fault("TransactWriteItems", Fault::ReplyLost, 1);
    assert_eq!(store.append_policy(&version).await.unwrap(), AppendedPolicy::Appended);
    assert!(dynamo.faults_are_over());
    assert_eq!(store.append_policy(&version).await.unwrap(), AppendedPolicy::Appended);
}

/// No version is believed that is not what was pushed, and its number stays known: the next push replaces it.
#[tokio::test]
async fn a_version_that_cannot_be_read_is_named() {
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 5] = [
        (|item| item["toml"]["S"] = json!(BUILT_IN.replace("delete", "monitor")), "another SHA-256"),
        (|item| drop(item.as_object_mut().unwrap().remove("toml")), "missing field `toml`"),
        (|item| item["v"]["N"] = json!("99"), "its schema version is 99"),
        (|item| item["kind"]["S"] = json!("record"), "its kind, record,"),
        (|item| item["number"]["N"] = json!("2"), "its number is 2"),
    ];
    for (change, says) in changes {
        let dynamo = Dynamo::start();
        let store = dynamo.ledger("keys").await;
        store.append_policy(&policy_version(1, BUILT_IN)).await.unwrap();
        dynamo.change_items("keys", change);
        let error = store.current_policy().await.unwrap_err();
        let CurrentPolicyError::Read(source) = &error else { panic!("{error:?}") };
        assert_eq!(source.retry, Retry::Permanent);
        let chain = bedrock_key_guard::telemetry::chain(&error);
        assert!(chain.contains("POLICY / 0000000001 cannot be read") && chain.contains(says), "{chain}");
        let newest = store.newest_policy().await.unwrap().unwrap();
        assert!(newest.number == 1 && newest.version.is_err());
        store.append_policy(&policy_version(2, BUILT_IN)).await.unwrap();
        assert_eq!(store.current_policy().await.unwrap().0.number, 2);
    }
}

#[tokio::test]
async fn a_version_that_this_build_does_not_know_is_an_error() {
    let store = Ledger::in_memory().unwrap();
    store.append_policy(&policy_version(1, "[default]\nnew_field = 1\n")).await.unwrap();
    let error = store.current_policy().await.unwrap_err();
    let chain = bedrock_key_guard::telemetry::chain(&error);
    assert!(chain.starts_with("version 1 of the policy cannot be used"), "{chain}");
    assert!(chain.contains("(policy version 1):2:1: unknown field `new_field`"), "{chain}");
}

/// The longest text fits into an item of DynamoDB, and into a line of an export.
#[tokio::test]
async fn what_may_be_pushed_has_an_end() {
    let longest = format!("{BUILT_IN}#{}", "\"".repeat((256 << 10) - BUILT_IN.len() - 1));
    assert_eq!(check_policy_text(&longest), Ok(()));
    let (_place, store) = open("policy-size").await;
    let version = policy_version(1, &longest);
    assert_eq!(store.append_policy(&version).await.unwrap(), AppendedPolicy::Appended);
    assert_eq!(store.current_policy().await.unwrap().0, version);
    assert!(check_policy_text(&format!("{longest}#")).unwrap_err().contains("at most 262144"));
    assert!(check_policy_text("# \u{1b}[31m").unwrap_err().contains("steer a terminal"));
    let secret = "# ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==";
    assert!(check_policy_text(secret).unwrap_err().contains("the secret of an API key"));
}
