//! What is known of a lifetime: contradictions, rounding, services whose dates IAM does not show, unreadable creations.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{DELETE_CEILING, created_with_unreadable_lifetime, seconds};
use crate::support::deployment::{BUS, Deployment, TestKey, policy};

/// IAM shows the dates of Bedrock keys. If only the event has one, nobody knows (R4, I4).
#[tokio::test]
async fn a_key_with_contradictory_evidence_is_undetermined_and_not_deleted() {
    let world = Deployment::new().await;
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_SWEEP_CEILING", "delete")]);
    let key = TestKey::new(1, Some(365)).exists_in(&world.iam);
    world.iam.change(&key.id, |key| key.expires = None);
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["verdict"], &report["outcome"]), (&json!("undetermined"), &json!("recorded")));
    assert_eq!((&report["severity"], &report["response"]), (&json!("medium"), &json!("none")));
    // A redelivery and a sweep know no more.
    assert_eq!(function.invoke(&key.created()).response()["verdict"], "undetermined");
    let swept = function.invoke(&json!({"sweep": {}})).response();
    assert_eq!((&swept["sweep"]["undetermined"], &swept["sweep"]["deleted"]), (&json!(1), &json!(0)));
    assert!(world.iam.key(&key.id).is_some());
}

/// IAM never shows the dates of keys of other services, so its silence says nothing (R4).
#[tokio::test]
async fn a_sweep_believes_the_event_about_a_service_whose_dates_iam_does_not_show() {
    const CLAUDE_PLATFORM: &str = "aws-external-anthropic.amazonaws.com";
    let world = Deployment::new().await;
    let policy = policy("[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"delete\"\n");
    let policy = policy.path().to_str().unwrap();
    let function = world.start(&[
        DELETE_CEILING[0],
        ("KEY_GUARD_SWEEP_CEILING", "delete"),
        ("KEY_GUARD_POLICY", policy),
    ]);
    let key = TestKey::new(1, Some(30)).exists_in(&world.iam);
    world.iam.change(&key.id, |key| {
        CLAUDE_PLATFORM.clone_into(&mut key.service);
        key.expires = None;
    });
    let mut event = key.created();
    event["detail"]["requestParameters"]["serviceName"] = json!(CLAUDE_PLATFORM);
    event["detail"]["responseElements"]["serviceSpecificCredential"]["serviceName"] = json!(CLAUDE_PLATFORM);
    assert_eq!(function.invoke(&event).response()["verdict"], "compliant");
    let swept = function.invoke(&json!({"sweep": {}})).response();
    assert_eq!(swept["sweep"]["verdicts"], json!({"compliant": 1}), "{swept}");
    assert!(world.iam.key(&key.id).is_some());
}

/// AWS may round the two timestamps of a key separately (R5).
#[tokio::test]
async fn timestamps_that_differ_by_a_second_do_not_exceed_the_limit() {
    for (lifetime, verdict) in [
        (TimeDelta::days(90) + seconds(1), "compliant"),
        (TimeDelta::days(90) + TimeDelta::hours(1), "compliant"),
        (TimeDelta::days(91), "noncompliant"),
    ] {
        let world = Deployment::new().await;
        let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_SWEEP_CEILING", "delete")]);
        let key = TestKey::new(1, Some(90)).exists_in(&world.iam);
        let expires = key.created + lifetime;
        world.iam.change(&key.id, |key| key.expires = Some(expires));
        let mut event = key.created();
        event["detail"]["responseElements"]["serviceSpecificCredential"]["expirationDate"] = json!(expires);
        let report = function.invoke(&event).response();
        assert_eq!(report["verdict"], verdict, "{lifetime}: {report}");
        let swept = function.invoke(&json!({"sweep": {}})).response();
        let listed = u64::from(verdict == "compliant");
        assert_eq!(swept["sweep"]["keys"], listed, "{lifetime}: {swept}");
        assert_eq!(world.iam.keys().len() as u64, listed, "{lifetime}");
    }
}

#[tokio::test]
async fn an_unreadable_lifetime_is_settled_by_iams_answer() {
    for (age, verdict, outcome) in [(Some(30), "compliant", "recorded"), (None, "noncompliant", "deleted")] {
        let world = Deployment::new().await;
        let function = world.start(&DELETE_CEILING);
        let key = TestKey::new(1, age).exists_in(&world.iam);
        let event = created_with_unreadable_lifetime(&key);
        let report = function.invoke(&event).response();
        assert_eq!((&report["verdict"], &report["outcome"]), (&json!(verdict), &json!(outcome)));
    }
}

/// Retries cannot make a creation event readable. IAM knows which key it is about (R9).
#[tokio::test]
async fn an_unreadable_creation_leads_to_the_keys_that_it_may_be_about() {
    let world = Deployment::new().await;
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_REPORTS_BUS", BUS)]);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let mut event = key.created();
    event["detail"]["responseElements"] = Value::Null;
    let report = function.invoke(&event).response();
    assert_eq!((&report["credential_id"], &report["outcome"]), (&json!(key.id), &json!("deleted")));
    assert!(report["reason"].as_str().unwrap().starts_with("A creation event could not be read"), "{report}");
    assert_eq!(world.bus.entries(), Vec::<Value>::new());

    // Several: the worst one is returned, and the other finding is published.
    let good = TestKey::new(2, Some(30)).exists_in(&world.iam);
    let bad = [3, 4].map(|number| TestKey::new(number, None).exists_in(&world.iam));
    let function = world.start(&[("KEY_GUARD_REPORTS_BUS", BUS)]);
    event["detail"]["eventID"] = json!("another-event");
    let report = function.invoke(&event).response();
    assert_eq!((&report["severity"], &report["outcome"]), (&json!("high"), &json!("monitored")));
    let others: Vec<_> =
        [&bad[0].id, &bad[1].id].into_iter().filter(|id| report["credential_id"] != **id).collect();
    let published: Vec<_> =
        world.bus.reports().into_iter().map(|report| report["credential_id"].clone()).collect();
    assert_eq!(published, [others[0].as_str()]);
    assert_eq!(world.phase(&good.id), "settled");
    let log = function.end();
    for key in [&good, &bad[0], &bad[1]] {
        let line = format!("\"key.credential_id\":\"{}\",\"key.user\"", key.id);
        assert_eq!(log.matches(&line).count(), 1, "{log}");
    }
}

#[tokio::test]
async fn an_unreadable_creation_without_such_a_key_is_an_error() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None);
    let mut old = key.clone();
    old.created -= TimeDelta::minutes(11);
    let old = TestKey { id: "ACCAOLD00000000000001".to_owned(), ..old }.exists_in(&world.iam);
    let mut event = key.created();
    event["detail"]["responseElements"] = Value::Null;
    let error = function.invoke(&event).error();
    assert_eq!(error["errorType"], "UnreadableEvent", "{error}");
    assert!(world.iam.key(&old.id).is_some());
}
