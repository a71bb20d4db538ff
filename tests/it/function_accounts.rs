//! The built function and the accounts of an organisation: those that fall silent, and its metrics.

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use key_guard_core::report::Report;
use serde_json::{Value, json};

use crate::support::deployment::{BUS, Deployment, TABLE, TestKey, heartbeat_at};
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

/// An account that cannot be read fails the invocation, once the resume has done its work.
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
