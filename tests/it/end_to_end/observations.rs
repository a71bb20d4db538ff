//! What happened counts, and not how the key stands now; and what IAM does not list is observed twice.

use chrono::TimeDelta;
use serde_json::json;

use super::{DEACTIVATE_CEILING, DELETE_CEILING, LIST, UPDATE, seconds};
use crate::support::deployment::{Deployment, TestKey};

/// An owner who is faster than CloudTrail gains nothing (R1, R2).
#[tokio::test]
async fn a_key_that_was_toggled_five_times_before_the_guard_arrives_is_deleted() {
    for (name, created_first) in [("in order", true), ("the creation last", false)] {
        let world = Deployment::new().await;
        let function = world.start(&DELETE_CEILING);
        let key = TestKey::new(1, None).exists_in(&world.iam);
        world.iam.change(&key.id, |key| key.status = "Inactive");
        let toggles = (0..5).flat_map(|round| {
            [key.deactivated(seconds(4 * round + 1)), key.activated(seconds(4 * round + 3))]
        });
        let mut events: Vec<_> = toggles.chain([key.deactivated(seconds(21))]).collect();
        events.insert(if created_first { 0 } else { events.len() }, key.created());
        let reports: Vec<_> = events.iter().map(|event| function.invoke(event).response()).collect();
        assert!(reports.iter().any(|report| report["outcome"] == "deleted"), "{name}: {reports:?}");
        assert_eq!(world.iam.key(&key.id), None, "{name}");
        assert_eq!(world.phase(&key.id), "gone", "{name}");
    }
}

/// IAM is eventually consistent: its list may show how the key stood before (R2).
#[tokio::test]
async fn a_reactivated_key_is_deactivated_again_while_the_list_shows_its_old_status() {
    let world = Deployment::new().await;
    let function = world.start(&DEACTIVATE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deactivated");
    assert_eq!(world.iam.actions(), [LIST, UPDATE]);
    // The stand-in keeps listing `Inactive`.
    let report = function.invoke(&key.activated(key.age())).response();
    assert_eq!((&report["outcome"], &report["violation"]), (&json!("deactivated"), &json!("reactivated")));
    assert_eq!(world.iam.actions(), [LIST, UPDATE, LIST, UPDATE]);
    assert_eq!(world.iam.calls()[3].parameters["Status"], "Inactive");
}

#[tokio::test]
async fn an_expired_key_is_harmless() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.change(&key.id, |key| key.status = "Expired");
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["outcome"], &report["status"]), (&json!("already_inactive"), &json!("expired")));
    assert_eq!(world.iam.actions(), [LIST]);
}

/// One answer that lacks the key proves nothing, however old the event is (R3).
#[tokio::test]
async fn a_key_that_one_answer_lacks_is_deleted_by_the_retry() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let mut key = TestKey::new(1, None);
    key.created = key.created + TimeDelta::minutes(5) - seconds(61);
    let key = key.exists_in(&world.iam);
    // In the list of its user, and in that of all users.
    world.iam.change(&key.id, |key| key.hidden = 2);
    let error = function.invoke(&key.created()).error();
    assert_eq!(error["errorType"], "KeyNotListedYet", "{error}");
    assert!(error["errorMessage"].as_str().unwrap().contains(&key.id), "{error}");
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    assert_eq!(world.iam.keys(), []);
}

#[tokio::test]
async fn a_key_is_gone_when_a_second_answer_a_minute_later_lacks_it() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None);
    for _ in 0..2 {
        let error = function.invoke(&key.created()).error();
        assert_eq!(error["errorType"], "KeyNotListedYet", "{error}");
    }
    world.pass_time(seconds(61));
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["outcome"], &report["status"]), (&json!("already_gone"), &json!("gone")));
    assert_eq!(world.phase(&key.id), "gone");
}

#[tokio::test]
async fn a_key_that_was_deleted_is_gone_by_the_event_and_one_answer() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    function.invoke(&key.created()).response();
    let deleted = key.deleted(seconds(100));
    let error = function.invoke(&deleted).error();
    assert_eq!(error["errorType"], "KeyStillListed", "{error}");
    world.iam.remove(&key.id);
    let report = function.invoke(&deleted).response();
    assert_eq!((&report["outcome"], &report["status"]), (&json!("gone"), &json!("gone")));
}

/// Nothing ever deletes the user that a console created for a key.
#[tokio::test]
async fn a_deletion_says_what_is_left_of_a_user_that_a_console_created() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    for (number, user, says) in [
        (1, "svc-chatbot", None),
        (
            2,
            "BedrockAPIKey-k3qz",
            Some("policies AmazonBedrockLimitedAccess and with access keys: AKIAEXAMPLE."),
        ),
        (3, "BedrockAPIKey-p8w1", Some("with no policies and no access keys.")),
    ] {
        let key = TestKey { user: user.to_owned(), ..TestKey::new(number, None) }.exists_in(&world.iam);
        function.invoke(&key.created()).response();
        world.iam.remove(&key.id);
        if number == 2 {
            world.iam.attach(user, "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess");
            world.iam.add_access_key(user, "AKIAEXAMPLE");
        }
        let report = function.invoke(&key.deleted(seconds(60))).response();
        let reason = report["reason"].as_str().unwrap();
        match says {
            Some(says) => assert!(reason.contains(user) && reason.ends_with(says), "{reason}"),
            None => assert!(!reason.contains("console"), "{reason}"),
        }
    }
}
