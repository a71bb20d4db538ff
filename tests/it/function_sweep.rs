//! Sweeps of the built function that die, are throttled, or cannot read everything.

use std::time::Duration;

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::{Days, TimeDelta};
use serde_json::{Value, json};

use crate::support::deployment::{BUS, Deployment, TestKey, policy};
use crate::support::runtime_api::Function;
use crate::support::{Fault, OWN, wait_until};

const WRITE: &str = "TransactWriteItems";
const UPDATE: &str = "UpdateServiceSpecificCredential";

const DELETE_CEILINGS: [(&str, &str); 2] =
    [("KEY_GUARD_CEILING", "delete"), ("KEY_GUARD_SWEEP_CEILING", "delete")];

/// More than any test needs.
const ALWAYS: usize = 1_000;

fn sweep(function: &Function) -> Value {
    function.invoke(&json!({"sweep": {}})).response()
}

/// How many keys are new, how many findings there were, and how many of them were published.
fn news(answer: &Value) -> [u64; 3] {
    assert_eq!(answer["sweep"]["completed"], true, "{answer}");
    ["/sweep/new", "/publications/findings", "/publications/published"]
        .map(|path| answer.pointer(path).unwrap().as_u64().unwrap())
}

/// Twenty keys that never expire, of a user each.
fn bad_keys(world: &Deployment) -> Vec<TestKey> {
    let key = |number| TestKey { user: format!("user-{number}"), ..TestKey::new(number, None) };
    (0..20).map(|number| key(number).exists_in(&world.iam)).collect()
}

/// The keys whose findings were published, in the order of their ids.
fn published(world: &Deployment) -> Vec<String> {
    let reports = world.bus.reports();
    let mut ids: Vec<_> =
        reports.iter().map(|report| report["credential_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn ids(keys: &[TestKey]) -> Vec<String> {
    keys.iter().map(|key| key.id.clone()).collect()
}

// ---- what is new ----

/// What a killed sweep has stored is new to the next one: that it was stored tells nobody (R10, I11).
#[tokio::test]
async fn the_findings_of_a_killed_sweep_are_new_to_the_next_one_and_published_once() {
    let world = Deployment::new().await;
    let known = TestKey::new(99, Some(30)).exists_in(&world.iam);
    let start = || world.start(&[("KEY_GUARD_REPORTS_BUS", BUS)]);
    let function = start();
    // The second of them starts after the key was assessed.
    assert_eq!([sweep(&function), sweep(&function)].map(|answer| news(&answer)), [[1, 0, 0]; 2]);
    assert_eq!(news(&sweep(&function)), [0, 0, 0]);

    let keys = bad_keys(&world);
    // The known key and twelve of the new ones are on the first page. Nobody hears of them.
    world.iam.page(13, Duration::ZERO);
    world.bus.fault(Fault::Hangs, ALWAYS);
    function.begin(&json!({"sweep": {}}));
    wait_until(|| keys[..12].iter().all(|key| world.phase(&key.id) == "settled"));
    function.end();
    world.bus.forget_faults();
    assert!(keys[12..].iter().all(|key| world.phase(&key.id) == "no record"));
    assert_eq!((world.phase(&known.id), published(&world).len()), ("settled", 0));

    let function = start();
    assert_eq!(news(&sweep(&function)), [20, 20, 20]);
    assert_eq!(published(&world), ids(&keys));
    // That sweep started after the killed one had assessed its twelve keys.
    assert_eq!(news(&sweep(&function)), [8, 0, 0]);
    assert_eq!(news(&sweep(&function)), [0, 0, 0]);
    assert_eq!(published(&world).len(), 20);
}

#[tokio::test]
async fn a_finding_whose_writes_have_no_reply_is_published_once() {
    let world = Deployment::new().await;
    let keys = bad_keys(&world);
    let function = world.start(&[("KEY_GUARD_REPORTS_BUS", BUS)]);
    // Those of the states, those that mark the findings as reported, and retries.
    world.dynamo.fault(WRITE, Fault::ReplyLost, 40);
    assert_eq!(news(&sweep(&function)), [20, 20, 20]);
    assert_eq!(published(&world), ids(&keys));
    assert_eq!(news(&sweep(&function)), [20, 0, 0]);
    assert_eq!(published(&world).len(), 20);
}

// ---- as of now ----

/// Events are judged as of their own time, sweeps as of now (R15).
#[tokio::test]
async fn a_sweep_after_an_exemptions_last_day_does_not_judge_as_the_event_on_that_day_was_judged() {
    let world = Deployment::new().await;
    let last_day = SystemClock.now().date_naive() - Days::new(1);
    let policy = policy(&format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"deactivate\"\n\
         [[exemption]]\naccount = \"{OWN}\"\nuser = \"svc-chatbot\"\nreason = \"SEC-1\"\nuntil = {last_day}\n"
    ));
    let function = world.start(&[
        ("KEY_GUARD_CEILING", "deactivate"),
        ("KEY_GUARD_SWEEP_CEILING", "deactivate"),
        ("KEY_GUARD_REPORTS_BUS", BUS),
        ("KEY_GUARD_POLICY", policy.path().to_str().unwrap()),
    ]);
    let mut key = TestKey::new(1, None);
    key.created = last_day.and_hms_opt(23, 59, 59).unwrap().and_utc();
    let key = key.exists_in(&world.iam);
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["verdict"], &report["outcome"]), (&json!("exempt"), &json!("recorded")), "{report}");

    let answer = sweep(&function);
    assert_eq!(answer["sweep"]["verdicts"], json!({"noncompliant": 1}), "{answer}");
    assert_eq!(world.iam.key(&key.id).unwrap().status, "Inactive");
    let report = world.bus.reports().remove(0);
    assert_eq!((&report["verdict"], &report["outcome"]), (&json!("noncompliant"), &json!("deactivated")));
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("Its exemption ended on {last_day}.")), "{reason}");
    // A late delivery of the event does not make it exempt again.
    assert_eq!(function.invoke(&key.created()).response()["verdict"], "noncompliant");
}

// ---- what cannot be listed ----

const THREE_SERVICES: &str = "[default]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
    services = [\"bedrock.amazonaws.com\", \"logs.amazonaws.com\", \"xray.amazonaws.com\"]\n";

/// A key of each of the three services. That of Logs lives for 30 days.
fn keys_of_three_services(world: &Deployment) -> [TestKey; 3] {
    let services = [(1, None, "bedrock"), (2, Some(30), "logs"), (3, None, "xray")];
    services.map(|(number, days, service)| {
        let key = TestKey { user: format!("user-{number}"), ..TestKey::new(number, days) };
        let key = key.exists_in(&world.iam);
        world.iam.change(&key.id, |key| key.service = format!("{service}.amazonaws.com"));
        key
    })
}

/// IAM does not know a service that the policy names: its keys are looked for among all of them.
#[tokio::test]
async fn a_service_of_which_iam_knows_nothing_stops_no_sweep() {
    let world = Deployment::new().await;
    let policy = policy(THREE_SERVICES);
    let function = world
        .start(&[&DELETE_CEILINGS[..], &[("KEY_GUARD_POLICY", policy.path().to_str().unwrap())]].concat());
    let [bedrock, logs, xray] = keys_of_three_services(&world);
    for service in ["logs.amazonaws.com", "xray.amazonaws.com"] {
        world.iam.does_not_support(service, "NoSuchEntity");
    }
    let answer = sweep(&function);
    let counts =
        ["keys", "lists_failed", "failed", "problems"].map(|name| answer["sweep"][name].as_u64().unwrap());
    assert_eq!((counts, &answer["sweep"]["completed"]), ([3, 0, 0, 0], &json!(true)), "{answer}");
    // IAM shows no dates of X-Ray keys.
    let verdicts = json!({"noncompliant": 1, "compliant": 1, "undetermined": 1});
    assert_eq!(answer["sweep"]["verdicts"], verdicts, "{answer}");
    assert_eq!([bedrock, logs, xray].map(|key| world.iam.key(&key.id).is_some()), [false, true, true]);
}

/// The sweep names the list that it could not read, and calls none of its keys absent.
#[tokio::test]
async fn a_service_that_cannot_be_listed_is_named_and_the_others_are_swept() {
    let world = Deployment::new().await;
    let policy = policy(THREE_SERVICES);
    let function = world
        .start(&[&DELETE_CEILINGS[..], &[("KEY_GUARD_POLICY", policy.path().to_str().unwrap())]].concat());
    let [bedrock, logs, xray] = keys_of_three_services(&world);
    let answer = sweep(&function);
    assert_eq!((&answer["sweep"]["keys"], &answer["sweep"]["completed"]), (&json!(3), &json!(true)));
    let another = TestKey::new(4, None).exists_in(&world.iam);
    world.iam.does_not_support("logs.amazonaws.com", "InvalidInput");
    // Two answers without a known key would prove that it is gone.
    for keys in [2, 1] {
        let answer = sweep(&function);
        let counts = ["keys", "lists_failed", "failed", "problems"]
            .map(|name| answer["sweep"][name].as_u64().unwrap());
        assert_eq!((counts, &answer["sweep"]["completed"]), ([keys, 1, 0, 1], &json!(false)), "{answer}");
        world.pass_time(TimeDelta::seconds(61));
    }
    let phases = [bedrock, another, logs, xray].map(|key| world.phase(&key.id));
    assert_eq!(phases, ["gone", "gone", "settled", "settled"]);
    let log = function.end();
    let problem = format!("IAM's key list for account {OWN} could not be read (logs.amazonaws.com)");
    assert_eq!(log.matches(&problem).count(), 2, "{log}");
}

// ---- what a sweep leaves ----

/// An event is not taken for one that the open intent of a sweep deals with already (R1, R8).
#[tokio::test]
async fn a_reactivation_counts_beside_the_open_intent_of_a_throttled_sweep() {
    // The intent is executed now. An activation from before that is dealt with, and a later one is not.
    for (seconds, outcome, phase) in [(-5, "deactivated", "deactivated"), (5, "deleted", "gone")] {
        let world = Deployment::new().await;
        let function =
            world.start(&[("KEY_GUARD_CEILING", "delete"), ("KEY_GUARD_SWEEP_CEILING", "deactivate")]);
        let key = TestKey::new(1, None).exists_in(&world.iam);
        world.iam.fault(UPDATE, Fault::Refused(400, "Throttling"), ALWAYS);
        // It retries until six seconds before that.
        *function.time.lock().unwrap() = Some(Duration::from_secs(9));
        let answer = sweep(&function);
        assert_eq!(
            (&answer["sweep"]["failed"], &answer["sweep"]["keys"]),
            (&json!(1), &json!(1)),
            "{answer}"
        );
        assert!(world.iam.actions().iter().filter(|action| *action == UPDATE).count() > 3);
        assert_eq!(world.phase(&key.id), "pending");
        world.iam.forget_faults();
        *function.time.lock().unwrap() = None;
        world.pass_time(TimeDelta::minutes(1));

        let activated = key.activated(key.age() + TimeDelta::seconds(seconds));
        let report = function.invoke(&activated).response();
        assert_eq!(report["outcome"], outcome, "{report}");
        assert_eq!(world.phase(&key.id), phase);
        assert!(world.iam.keys().iter().all(|key| key.status == "Inactive"));
    }
}
