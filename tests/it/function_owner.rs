//! What the owner of a key may try against the built function.

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::OWN;
use crate::support::deployment::{Deployment, TABLE, TestKey, policy};

const DELETE_CEILINGS: [(&str, &str); 2] =
    [("KEY_GUARD_CEILING", "delete"), ("KEY_GUARD_SWEEP_CEILING", "delete")];

const QUARANTINE: &str = "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\n\
    response = \"quarantine\"\ngrace_days = 14\n";

const ONE_DELETION_AN_HOUR: &str = "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\n\
    response = \"delete\"\nmax_actions_per_hour = 1\n";

/// The event, as if its caller's session had the function's name. Every role may name its sessions as it likes.
fn by_a_session_named_like_the_function(mut event: Value) -> Value {
    let identity = &mut event["detail"]["userIdentity"];
    identity["arn"] = json!(format!("arn:aws:sts::{OWN}:assumed-role/developer/guard"));
    identity["principalId"] = json!("AROAEXAMPLEROLEID0001:guard");
    assert_eq!(identity["type"], "AssumedRole");
    event
}

// ---- quarantine ----

/// Only the guard's own deactivation starts a quarantine, and the ledger says which one that was (R12).
#[tokio::test]
async fn a_deactivation_by_a_session_named_like_the_function_arms_no_deletion() {
    let world = Deployment::new().await;
    let policy = policy(QUARANTINE);
    let policy = ("KEY_GUARD_POLICY", policy.path().to_str().unwrap());
    let monitor = world.start(&[policy]);
    let keys = [(1, None, "monitored"), (2, Some(30), "recorded")].map(|(number, days, outcome)| {
        let key = TestKey { user: format!("user-{number}"), ..TestKey::new(number, days) };
        let key = key.exists_in(&world.iam);
        assert_eq!(monitor.invoke(&key.created()).response()["outcome"], outcome);
        world.iam.change(&key.id, |key| key.status = "Inactive");
        let event = by_a_session_named_like_the_function(key.deactivated(key.age()));
        assert_eq!(monitor.invoke(&event).response()["outcome"], "ignored");
        key
    });
    let asserts_unarmed = |phase: &str| {
        for key in &keys {
            assert_eq!((world.phase(&key.id), world.delete_after(&key.id)), (phase, None));
        }
        assert_eq!(world.iam.keys().len(), 2);
    };
    asserts_unarmed("settled");

    let function = world.start(&[DELETE_CEILINGS[0], DELETE_CEILINGS[1], policy]);
    let resume = || {
        world.pass_time(TimeDelta::days(15));
        let answer = function.invoke(&json!({"resume": {}})).response();
        assert_eq!(answer["resume"]["outcomes"], json!({}), "{answer}");
    };
    resume();
    asserts_unarmed("settled");
    let answer = function.invoke(&json!({"sweep": {}})).response();
    assert_eq!((&answer["sweep"]["keys"], &answer["sweep"]["deleted"]), (&json!(2), &json!(0)), "{answer}");
    resume();
    asserts_unarmed("inactive");
    assert!(world.iam.actions().iter().all(|action| action.starts_with("List")));
}

/// It does not matter who changes the key's status meanwhile: the date stays, and the key is deleted after it (R12).
#[tokio::test]
async fn no_toggle_takes_a_key_out_of_quarantine_or_moves_its_date() {
    let world = Deployment::new().await;
    let policy = policy(QUARANTINE);
    let function = world.start(&[
        DELETE_CEILINGS[0],
        DELETE_CEILINGS[1],
        ("KEY_GUARD_POLICY", policy.path().to_str().unwrap()),
    ]);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["response"], &report["outcome"]), (&json!("quarantine"), &json!("deactivated")));
    let date = || world.delete_after(&key.id);
    let set = date();
    assert!(set.is_some());
    let as_owner: fn(Value) -> Value = |event| event;
    for disguise in [as_owner, by_a_session_named_like_the_function, as_owner] {
        let report = function.invoke(&disguise(key.deactivated(key.age()))).response();
        assert_eq!(report["outcome"], "ignored", "{report}");
        assert_eq!((world.phase(&key.id), date()), ("deactivated", set));

        world.iam.change(&key.id, |key| key.status = "Active");
        let report = function.invoke(&disguise(key.activated(key.age()))).response();
        assert_eq!(
            (&report["outcome"], &report["violation"]),
            (&json!("deactivated"), &json!("reactivated"))
        );
        assert_eq!((world.phase(&key.id), date()), ("deactivated", set));
        assert_eq!(world.iam.key(&key.id).unwrap().status, "Inactive");
    }

    world.pass_time(TimeDelta::days(13));
    let resume = || function.invoke(&json!({"resume": {}})).response()["resume"]["outcomes"].clone();
    assert_eq!((resume(), world.iam.keys().len()), (json!({}), 1));
    // And nobody hears of the last toggle.
    world.iam.change(&key.id, |key| key.status = "Active");
    world.pass_time(TimeDelta::days(1));
    assert_eq!((resume(), world.iam.keys().len()), (json!({"deleted": 1}), 0));
    assert_eq!(world.phase(&key.id), "gone");
}

// ---- the breaker ----

/// Keys whose dates cannot be read spend nothing before IAM's answer, and are not said to be held back (R11).
#[tokio::test]
async fn keys_that_iam_says_are_compliant_neither_spend_the_breaker_nor_are_held_back() {
    let world = Deployment::new().await;
    let policy = policy(ONE_DELETION_AN_HOUR);
    let function = world.start(&[DELETE_CEILINGS[0], ("KEY_GUARD_POLICY", policy.path().to_str().unwrap())]);
    let compliant = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            let key = TestKey::new(number, Some(30)).exists_in(&world.iam);
            let mut event = key.created();
            event["detail"]["requestParameters"]["credentialAgeDays"] = json!("about 30");
            event["detail"]["responseElements"]["serviceSpecificCredential"]["expirationDate"] =
                json!("in a month");
            let report = function.invoke(&event).response();
            assert_eq!((&report["verdict"], &report["outcome"]), (&json!("compliant"), &json!("recorded")));
            assert!(!report["reason"].as_str().unwrap().contains("used up"), "{report}");
        }
    };
    compliant(0..20);
    let bad = TestKey::new(99, None).exists_in(&world.iam);
    assert_eq!(function.invoke(&bad.created()).response()["outcome"], "deleted");
    // Now it is spent.
    compliant(20..40);
    assert!(world.iam.keys().iter().all(|key| key.status == "Active"));
    assert!(!function.end().contains("HeldBack"));
}

/// Throwaway keys may spend both budgets. The key that they should save is deactivated each time, and deleted in an hour
/// in which they spent the budget of new keys only (R11).
#[tokio::test]
async fn throwaway_keys_do_not_save_a_key_that_is_activated_again_and_again() {
    let hour = || SystemClock.now().timestamp().div_euclid(3_600);
    loop {
        let began_in = hour();
        let outcomes = spend_the_breaker().await;
        // Otherwise there was a new budget meanwhile.
        if hour() == began_in {
            let [new, held, also_held] = ["deleted", "deactivated", "deactivated"];
            let expected = [
                new,
                held,
                also_held,
                "deleted",
                "deactivated",
                "deactivated",
                "deactivated",
                new,
                "deleted",
            ];
            assert_eq!(outcomes, expected);
            return;
        }
    }
}

async fn spend_the_breaker() -> Vec<Value> {
    let world = Deployment::new().await;
    let policy = policy(ONE_DELETION_AN_HOUR);
    let function = world.start(&[DELETE_CEILINGS[0], ("KEY_GUARD_POLICY", policy.path().to_str().unwrap())]);
    let create = |number| {
        let key = TestKey { user: format!("user-{number}"), ..TestKey::new(number, None) };
        let key = key.exists_in(&world.iam);
        (function.invoke(&key.created()).response()["outcome"].clone(), key)
    };
    let activate = |key: &TestKey| {
        world.iam.change(&key.id, |key| key.status = "Active");
        let report = function.invoke(&key.activated(key.age())).response();
        assert!(world.iam.keys().iter().all(|key| key.status == "Inactive"), "{report}");
        report["outcome"].clone()
    };
    let mut outcomes = vec![create(1).0];
    let (outcome, saved) = create(2);
    outcomes.push(outcome);
    let (outcome, throwaway) = create(3);
    outcomes.extend([outcome, activate(&throwaway)]);
    outcomes.extend([activate(&saved), activate(&saved), activate(&saved)]);

    // The next hour.
    world.dynamo.change_items(TABLE, |item| {
        if item["sk"]["S"] == "COUNT" {
            item["deletions"] = json!({"N": "0"});
        }
    });
    outcomes.extend([create(4).0, activate(&saved)]);
    outcomes
}
