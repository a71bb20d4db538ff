//! The built function and the accounts of an organisation: those that fall silent, its metrics, and the digest of a sweep.

use std::time::Duration;

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::{DateTime, Days, SubsecRound as _, TimeDelta, Utc};
use key_guard_core::report::Report;
use serde_json::{Value, json};

use crate::support::deployment::{BUS, Deployment, TABLE, TestKey, heartbeat_at, policy};
use crate::support::runtime_api::Function;
use crate::support::{Fault, OTHER, OWN, event};

fn ago(ago: TimeDelta) -> DateTime<Utc> {
    (SystemClock.now() - ago).trunc_subsecs(0)
}

/// The values of a metric, in order.
fn values(log: &str, metric: &str) -> Vec<f64> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line[metric].as_f64()).collect()
}

// ---- silence ----

/// The ceiling is `monitor`: what is reported does not depend on it.
#[tokio::test]
async fn a_resume_reports_a_silent_account_once() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_REPORTS_BUS", BUS)]);
    for (account, hours) in [(OTHER, 4), (OWN, 1)] {
        function.invoke(&heartbeat_at(account, ago(TimeDelta::hours(hours)))).response();
    }
    let resume = || function.invoke(&json!({"resume": {}})).response()["accounts"].clone();
    world.bus.fault(Fault::Refused(400, "AccessDeniedException"), 1);
    assert_eq!(resume(), json!({"silent": 1, "reported": 0, "failed": 1}));
    assert_eq!(resume(), json!({"silent": 1, "reported": 1, "failed": 0}));
    assert_eq!(resume(), json!({"silent": 1, "reported": 0, "failed": 0}));
    function.invoke(&heartbeat_at(OTHER, ago(TimeDelta::zero()))).response();
    assert_eq!(resume(), json!({"silent": 0, "reported": 0, "failed": 0}));

    let entries = world.bus.entries();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(
        (&entry["Source"], &entry["DetailType"]),
        (&json!("bedrock-key-guard"), &json!("Bedrock Key Guard report"))
    );
    let report = entry["Detail"].as_object().unwrap();
    let fields: Vec<_> = report.keys().map(String::as_str).collect();
    let mut expected = Report::FIELDS.to_vec();
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!(
        ["account", "verdict", "severity", "outcome", "response", "status"].map(|field| &report[field]),
        [&json!(OTHER), &Value::Null, &json!("high"), &json!("ignored"), &json!("none"), &json!("unknown")]
    );
    let log = function.end();
    assert_eq!(values(&log, "SilentAccounts"), [1.0, 1.0, 1.0, 0.0]);
    assert_eq!(values(&log, "ResumeCompleted"), [1.0; 4]);
    assert_eq!(values(&log, "OldestOpenIntentSeconds"), [0.0; 4]);
    assert!(log.contains("the next resume reports a silent account again"), "{log}");
}

/// An account that cannot be read fails the invocation, once the resume has done its work. A sweep only leaves it out.
#[tokio::test]
async fn accounts_that_cannot_be_read_stop_no_resume() {
    let world = Deployment::new().await;
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let function = world.start(&[("KEY_GUARD_CEILING", "delete")]);
    world.iam.fault("DeleteServiceSpecificCredential", Fault::Refused(403, "AccessDenied"), 1);
    function.invoke(&key.created()).error();
    function.invoke(&heartbeat_at(OWN, ago(TimeDelta::zero()))).response();
    world.pass_time(TimeDelta::minutes(1));
    let damage = |version: &str| {
        world.dynamo.change_items(TABLE, |item| {
            if item["pk"]["S"] == "HEARD" {
                item["v"] = json!({"N": version});
            }
        });
    };
    damage("9");
    let error = function.invoke(&json!({"resume": {}})).error();
    assert_eq!(error["errorType"], "LedgerItemUnreadable", "{error}");
    assert_eq!(world.phase(&key.id), "gone");
    let answer = function.invoke(&json!({"sweep": {}})).response();
    assert_eq!(answer["sweep"]["completed"], true, "{answer}");
    assert_eq!(
        (&answer["digest"]["silent_accounts"], &answer["digest"]["silent_count"]),
        (&Value::Null, &Value::Null)
    );
    assert!(values(&function.end(), "ResumeCompleted").is_empty());
}

#[tokio::test]
async fn a_failed_event_says_how_old_it_is() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    let mut unreadable = event("deleted");
    unreadable["detail"]["eventTime"] = json!(ago(TimeDelta::hours(2)));
    unreadable["detail"]["requestParameters"] = Value::Null;
    function.invoke(&unreadable).error();
    unreadable["detail"]["eventTime"] = json!("yesterday");
    function.invoke(&unreadable).error();
    function.invoke(&json!({"Records": []})).error();
    let ages = values(&function.end(), "SecondsFromEventToFailure");
    assert!(matches!(ages[..], [age] if (7_200.0..7_260.0).contains(&age)), "{ages:?}");
}

// ---- the digest ----

fn sweep(function: &Function) -> Value {
    let answer = function.invoke(&json!({"sweep": {}})).response();
    assert_eq!(answer["sweep"]["completed"], true, "{answer}");
    answer["digest"].clone()
}

fn key_of(number: u32, user: &str, days: Option<i64>) -> TestKey {
    TestKey { user: user.to_owned(), ..TestKey::new(number, days) }
}

#[tokio::test]
async fn a_digest_has_what_is_open_ends_soon_is_in_quarantine_and_is_silent() {
    let world = Deployment::new().await;
    let today = SystemClock.now().date_naive();
    let exemption = |user: &str, days: u64| {
        let until = today + Days::new(days);
        format!(
            "[[exemption]]\naccount = \"{OTHER}\"\nuser = \"{user}\"\nreason = \"SEC-1\"\nuntil = {until}\n"
        )
    };
    let policy = policy(&format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"quarantine\"\n\
         grace_days = 14\n[[override]]\nusers = [\"open\"]\nresponse = \"monitor\"\n{}{}",
        exemption("soon", 12),
        exemption("later", 14)
    ));
    let function = world.start(&[
        ("KEY_GUARD_CEILING", "delete"),
        ("KEY_GUARD_SWEEP_CEILING", "delete"),
        ("KEY_GUARD_POLICY", policy.path().to_str().unwrap()),
    ]);
    let open = key_of(1, "open", None).exists_in(&world.iam);
    let ending = key_of(2, "ending", Some(10)).exists_in(&world.iam);
    let bad = key_of(3, "quarantine", None).exists_in(&world.iam);
    key_of(4, "good", Some(30)).exists_in(&world.iam);
    let inactive = key_of(5, "inactive", Some(10)).exists_in(&world.iam);
    world.iam.change(&inactive.id, |key| key.status = "Inactive");
    let last_heard = ago(TimeDelta::hours(5));
    function.invoke(&heartbeat_at(OTHER, last_heard)).response();
    function.invoke(&heartbeat_at(OWN, ago(TimeDelta::zero()))).response();

    let digest = sweep(&function);
    let since = digest["open"][0]["since"].clone();
    let until = json!(world.delete_after(&bad.id).unwrap());
    let exempt_until = (today + Days::new(13)).and_hms_opt(0, 0, 0).unwrap().and_utc();
    let expected = json!({
        "open": [{
            "account": OWN, "user": "open", "credential_id": open.id, "service": "bedrock.amazonaws.com",
            "violation": "never_expires", "status": "active", "since": since,
        }],
        "open_count": 1,
        "ending": [
            {
                "account": OWN, "user": "ending", "credential_id": ending.id, "what": "key",
                "at": ending.created + TimeDelta::days(10),
            },
            {
                "account": OTHER, "user": "soon", "credential_id": null, "what": "exemption", "at": exempt_until,
            },
        ],
        "ending_count": 2,
        "quarantined": [
            {"account": OWN, "user": "quarantine", "credential_id": bad.id, "until": until},
        ],
        "quarantined_count": 1,
        "silent_accounts": [{"account": OTHER, "last_heard": last_heard}],
        "silent_count": 1,
    });
    assert_eq!(digest, expected);
    assert!(
        since.as_str().unwrap().parse::<DateTime<Utc>>().unwrap() > ago(TimeDelta::minutes(5)),
        "{since}"
    );
    assert_eq!(sweep(&function), expected);
}

/// The digest comes with the last invocation, and has what the earlier ones found. A forged continuation can leave keys
/// out and count wrongly; it cannot list a key that the ledger says nothing bad of.
#[tokio::test]
async fn a_digest_survives_continuations_and_believes_the_ledger_only() {
    let world = Deployment::new().await;
    for number in 0..10 {
        key_of(number, &format!("user-{number}"), None).exists_in(&world.iam);
    }
    let good = key_of(10, "good", Some(30)).exists_in(&world.iam);
    world.iam.page(2, Duration::from_millis(300));
    let function = world.start(&[]);
    *function.time.lock().unwrap() = Some(Duration::from_millis(11_500));
    let mut payload = json!({"sweep": {}});
    let mut pieces = 0;
    let digest = loop {
        let answer = function.invoke(&payload).response();
        assert_eq!(answer["continue"].is_null(), answer["digest"].is_object(), "{answer}");
        pieces += 1;
        if answer["continue"].is_null() {
            break answer["digest"].clone();
        }
        payload.clone_from(&answer["continue"]);
    };
    assert!(pieces > 2, "{pieces}");
    let first: Vec<_> = digest["open"].as_array().unwrap().iter().map(|key| &key["credential_id"]).collect();
    assert_eq!((first.len(), &digest["open_count"]), (10, &json!(10)), "{digest}");

    let open = &mut payload["sweep"]["digest"]["open"];
    let other = json!(["2020-01-01T00:00:00Z", {"account": OTHER, "id": "ACCAUNKNOWN0000000000"}]);
    let compliant = json!(["2020-01-01T00:00:00Z", {"account": OWN, "id": good.id}]);
    open["first"] = json!([other, compliant]);
    open["count"] = json!(u64::MAX);
    *function.time.lock().unwrap() = Some(Duration::from_secs(30));
    let answer = function.invoke(&payload).response();
    assert_eq!((&answer["digest"]["open"], &answer["digest"]["open_count"]), (&json!([]), &json!(u64::MAX)));
    let mut further = payload.clone();
    further["sweep"]["digest"]["note"] = json!("a text");
    assert_eq!(function.invoke(&further).error()["errorType"], "InvalidRequest");
}
