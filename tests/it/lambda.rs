//! The built Lambda binary behind a Runtime API, invoked with each event.

use crate::support::dynamodb::Dynamo;
use crate::support::iam::Iam;
use crate::support::runtime_api::{Function, start_and_fail};
use crate::support::{Fault, OTHER, event, events};
use key_guard_core::report::Report;
use serde_json::{Value, json};

const TABLE: &str = "keys";

struct World {
    dynamo: Dynamo,
    iam: Iam,
}

impl World {
    async fn new() -> Self {
        let world = Self { dynamo: Dynamo::start(), iam: Iam::start() };
        world.dynamo.ledger(TABLE).await;
        world
    }

    fn start(&self, more: &[(&str, &str)]) -> Function {
        let mut variables = vec![
            ("KEY_GUARD_TABLE", TABLE),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamo.url()),
            ("AWS_ENDPOINT_URL_IAM", self.iam.url()),
            ("AWS_ENDPOINT_URL_STS", self.iam.url()),
        ];
        variables.extend(more);
        Function::start(&variables)
    }

    /// Makes the key that an event speaks of, as IAM has it.
    fn make_key(&self, event: &Value, age: Option<i64>) -> Option<String> {
        let credential = &event["detail"]["responseElements"]["serviceSpecificCredential"];
        let id = credential["serviceSpecificCredentialId"].as_str()?;
        let created = event["detail"]["eventTime"].as_str().unwrap().parse().unwrap();
        self.iam.put(id, credential["userName"].as_str()?, created, age);
        Some(id.to_owned())
    }
}

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test]
async fn every_event_is_answered_with_its_report_or_refused() {
    let world = World::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "delete")]);
    for (name, event) in events() {
        if name.starts_with("created-") {
            let age = event["detail"]["requestParameters"]["credentialAgeDays"].as_i64();
            world.make_key(&event, age);
        }
        let outcome = function.invoke(&event);
        if ["created-without-response", "created-with-two-accounts"].contains(&name.as_str()) {
            assert_eq!(outcome.error()["errorType"], "UnreadableEvent", "{name}");
            continue;
        }
        let report = outcome.response();
        assert_eq!(report.as_object().unwrap().len(), Report::FIELDS.len(), "{name}");
        let other_service = ["claude-platform", "cloudwatch", "logs", "codecommit"];
        let judged = name.starts_with("created-") && !other_service.iter().any(|of| name.ends_with(of));
        let response = match report["verdict"].as_str() {
            None | Some("compliant") => "none",
            Some("noncompliant") => "delete",
            Some(other) => panic!("{name}: {other}"),
        };
        assert_eq!(report["verdict"].is_string(), judged, "{name}");
        assert_eq!(report["response"], response, "{name}");
        let expected = match (judged, response) {
            (false, _)
                if ["denied", "failed-limit-exceeded", "access-key-made-for-console-user"]
                    .contains(&name.as_str()) =>
            {
                "recorded"
            }
            (false, _) => "ignored",
            (true, "delete") => "deleted",
            (true, _) => "recorded",
        };
        assert_eq!(report["outcome"], expected, "{name}: {report}");
        if let (true, Some(id)) = (judged, report["credential_id"].as_str()) {
            assert_eq!(world.iam.key(id).is_some(), expected == "recorded", "{name}");
        }
    }
    assert_eq!(function.invoke(&event("created-for-90-days")).response()["verdict"], "compliant");
}

#[tokio::test]
async fn the_default_ceiling_touches_nothing() {
    let world = World::new().await;
    let function = world.start(&[]);
    let mut made = 0;
    for (name, event) in events().into_iter().filter(|(name, _)| name.starts_with("created-")) {
        made += usize::from(world.make_key(&event, None).is_some());
        let outcome = function.invoke(&event);
        if name == "created-without-age" {
            let report = outcome.response();
            assert_eq!((&report["response"], &report["outcome"]), (&json!("monitor"), &json!("monitored")));
        }
    }
    assert_eq!(world.iam.keys().len(), made);
    assert!(world.iam.actions().iter().all(|action| action == "ListServiceSpecificCredentials"));
}

#[tokio::test]
async fn an_invocation_logs_one_line_and_one_metric_and_no_secret() {
    const SECRET: &str = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==";
    let world = World::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "delete"), ("AWS_LAMBDA_LOG_LEVEL", "TRACE")]);
    let mut leaking = event("created-without-age");
    world.make_key(&leaking, None);
    let credential = &mut leaking["detail"]["responseElements"]["serviceSpecificCredential"];
    for field in ["serviceApiKeyValue", "serviceCredentialSecret", "servicePassword", "expirationDate"] {
        credential[field] = json!(SECRET);
    }
    leaking["detail"]["requestParameters"]["note"] = json!(SECRET);
    leaking["detail"]["userAgent"] = json!(format!("curl -H {SECRET}"));
    leaking["detail"]["errorMessage"] = json!(SECRET);
    let report = function.invoke(&leaking).response();
    assert_eq!(report["outcome"], "deleted");
    let mut unreadable = leaking.clone();
    unreadable["detail"]["responseElements"]["serviceSpecificCredential"]["serviceSpecificCredentialId"] =
        json!(SECRET);
    let error = function.invoke(&unreadable).error();
    let stdout = function.end();
    for text in
        [&report.to_string(), &error.to_string(), &stdout, &json!(world.dynamo.items(TABLE)).to_string()]
    {
        assert!(!text.contains("ABSKQ"), "{text}");
    }

    let lines = lines(&stdout);
    let [metric, log, failed_metric, failed_log] = lines.as_slice() else { panic!("{stdout}") };
    assert_eq!(log["level"], "INFO");
    assert_eq!(log["key.outcome"], "deleted");
    assert_eq!(log["key.credential_id"], report["credential_id"]);
    assert_eq!((&metric["Keys"], &metric["Verdict"]), (&json!(1), &json!("noncompliant")));
    assert_eq!(metric["Outcome"], "deleted");
    assert!(metric["SecondsFromEventToOutcome"].as_f64().unwrap() > 0.0);
    let directive = &metric["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], "BedrockKeyGuard");
    assert_eq!(directive["Dimensions"][0], json!(["Verdict", "Outcome"]));
    let names: Vec<_> =
        directive["Metrics"].as_array().unwrap().iter().map(|of| of["Name"].clone()).collect();
    assert_eq!(names, ["Keys", "SecondsFromEventToOutcome"]);
    assert!(metric["_aws"]["Timestamp"].is_i64());
    assert_eq!(failed_metric["Outcome"], "failed");
    assert_eq!(
        (&failed_log["level"], &failed_log["error.type"]),
        (&json!("ERROR"), &json!("UnreadableEvent"))
    );
}

#[tokio::test]
async fn redelivery_returns_the_same_outcome_without_asking_iam_again() {
    let world = World::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "deactivate")]);
    let event = event("created-for-365-days");
    let id = world.make_key(&event, Some(365)).unwrap();
    let first = function.invoke(&event).response();
    assert_eq!(first["outcome"], "deactivated");
    assert_eq!(world.iam.key(&id).unwrap().status, "Inactive");
    let asked = world.iam.calls().len();
    assert_eq!(function.invoke(&event).response(), first);
    assert_eq!(world.iam.calls().len(), asked);
}

#[tokio::test]
async fn an_undetermined_event_is_settled_by_iams_answer() {
    for (age, verdict, outcome) in [(Some(30), "compliant", "recorded"), (None, "noncompliant", "deleted")] {
        let world = World::new().await;
        let function = world.start(&[("KEY_GUARD_CEILING", "delete")]);
        let event = event("created-expiration-unreadable");
        world.make_key(&event, age);
        let report = function.invoke(&event).response();
        assert_eq!((&report["verdict"], &report["outcome"]), (&json!(verdict), &json!(outcome)));
    }
}

#[tokio::test]
async fn what_is_no_event_is_an_error_never_an_answer() {
    let world = World::new().await;
    let function = world.start(&[]);
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for text in [
        "{}",
        "[]",
        "42",
        "null",
        "\"x\"",
        "{\"detail\": {}}",
        "{\"Records\": []}",
        "1e999",
        r#""\ud800""#,
        &deep,
    ] {
        let error = function.invoke_text(text.to_owned()).error();
        assert_eq!(error["errorType"], "UnreadableEvent", "{text}: {error}");
    }
    for text in ["", "{", "not JSON", "{\"a\": 1,"] {
        function.invoke_text(text.to_owned()).error();
    }
    assert_eq!(
        function.invoke(&event("created-for-90-days")).response()["verdict"],
        "compliant",
        "it lives on"
    );
}

#[tokio::test]
async fn connections_are_opened_ahead_with_requests_that_are_no_calls() {
    for (warm, expected) in [("on", 1), ("off", 0)] {
        let world = World::new().await;
        let function = world.start(&[("KEY_GUARD_WARM", warm)]);
        function.invoke(&event("created-for-90-days")).response();
        assert_eq!(world.iam.warmed(), expected);
        assert_eq!((world.iam.calls(), world.dynamo.calls().len()), (vec![], 1));
    }
}

#[tokio::test]
async fn a_start_without_reachable_services_is_no_failure() {
    let world = World::new().await;
    let function = Function::start(&[
        ("KEY_GUARD_TABLE", TABLE),
        ("AWS_ENDPOINT_URL_DYNAMODB", world.dynamo.url()),
        // Nobody listens there.
        ("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:9"),
    ]);
    assert_eq!(function.invoke(&event("created-for-90-days")).response()["verdict"], "compliant");
}

#[tokio::test]
async fn failures_carry_their_type() {
    let world = World::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "delete"), ("KEY_GUARD_TABLE", "no-such-table")]);
    let error = function.invoke(&event("created-for-90-days")).error();
    assert_eq!(error["errorType"], "LedgerTableMissing");
    assert!(error["errorMessage"].as_str().unwrap().contains("no-such-table"));

    let function = world.start(&[("KEY_GUARD_CEILING", "delete")]);
    world.iam.fault("ListServiceSpecificCredentials", Fault::Refused(403, "AccessDenied"), 1);
    let error = function.invoke(&event("created-without-age")).error();
    assert_eq!(error["errorType"], "IamCallFailed");
    assert!(error["errorMessage"].as_str().unwrap().contains("AccessDenied"), "{error}");

    let mut foreign = event("created-for-365-days");
    foreign["account"] = json!(OTHER);
    foreign["detail"]["recipientAccountId"] = json!(OTHER);
    let error = function.invoke(&foreign).error();
    assert_eq!(error["errorType"], "ResponderRoleNotSet");
    assert!(error["errorMessage"].as_str().unwrap().contains("KEY_GUARD_RESPONDER_ROLE"));
    let open = world.dynamo.items(TABLE).into_iter().any(|item| {
        item["account"]["S"] == OTHER && item["sk"]["S"] == "STATE" && item["outcome"]["S"] == "open"
    });
    assert!(open, "the event is recorded");
}

#[test]
fn bad_configuration_ends_the_process_before_it_asks_for_an_event() {
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &policy,
        "[default]\nservices = [\"s3.example.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n",
    )
    .unwrap();
    let bad_policy = policy.path().to_str().unwrap();
    for (variables, named) in [
        (&[][..], "KEY_GUARD_TABLE"),
        (&[("KEY_GUARD_TABLE", "")], "KEY_GUARD_TABLE"),
        (&[("KEY_GUARD_TABLE", "k ey")], "KEY_GUARD_TABLE"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_CEILING", "DELETE")], "KEY_GUARD_CEILING"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_CEILING", "")], "KEY_GUARD_CEILING"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_RESPONDER_ROLE", "a/b")], "KEY_GUARD_RESPONDER_ROLE"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_POLICY", "/no/policy.toml")], "KEY_GUARD_POLICY"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_CELING", "delete")], "KEY_GUARD_CELING"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_POLICY", bad_policy)], "unknown service"),
    ] {
        let ended = start_and_fail(variables);
        assert!(!ended.success, "{variables:?}");
        assert!(ended.stdout.contains(named), "{variables:?}: {}", ended.stdout);
    }
}

// ---- sweeps ----

fn swept(world: &World) -> Vec<String> {
    let mut states: Vec<_> = world
        .dynamo
        .items(TABLE)
        .into_iter()
        .filter(|item| item["sk"]["S"] == "STATE")
        .map(|item| {
            format!(
                "{} {}",
                item["credential_id"]["S"].as_str().unwrap(),
                item["outcome"]["S"].as_str().unwrap()
            )
        })
        .collect();
    states.sort();
    states
}

fn put(world: &World, number: usize, age: Option<i64>) {
    let created = "2026-11-01T00:00:00Z".parse().unwrap();
    world.iam.put(&format!("ACCASCHEDULED{number:08}"), &format!("user-{number}"), created, age);
}

#[tokio::test]
async fn a_scheduled_sweep_goes_no_further_than_its_own_ceiling_nor_the_functions() {
    for (own, functions, ends) in [
        ("monitor", "delete", "monitored"),
        ("deactivate", "delete", "deactivated"),
        ("delete", "monitor", "monitored"),
        ("delete", "delete", "deleted"),
    ] {
        let world = World::new().await;
        put(&world, 1, None);
        put(&world, 2, Some(30));
        let function = world.start(&[("KEY_GUARD_CEILING", functions)]);
        let answer = function.invoke(&json!({"sweep": {"accounts": [], "ceiling": own}})).response();
        assert_eq!(answer["continue"], Value::Null);
        let counts = ["accounts", "keys", "new", "noncompliant", "findings"]
            .map(|name| answer["sweep"][name].as_u64().unwrap());
        assert_eq!(counts, [1, 2, 2, 1, 1], "{answer}");
        assert_eq!(answer["findings"][0]["outcome"], ends);
        assert_eq!(
            swept(&world),
            [format!("ACCASCHEDULED00000001 {ends}"), "ACCASCHEDULED00000002 recorded".to_owned()]
        );
        let metrics: Vec<Value> = lines(&function.end());
        let metric = metrics.iter().find(|line| line["SweepKeys"].is_number()).unwrap();
        assert_eq!((&metric["SweepKeys"], &metric["SweepCompleted"]), (&json!(2), &json!(1)));
    }
}

/// Near its deadline a sweep hands on, and what is handed on is swept as if it had been one.
#[tokio::test]
async fn a_sweep_is_completed_only_when_every_account_was_read_to_its_end() {
    let world = World::new().await;
    for number in 0..10 {
        put(&world, number, Some(30));
    }
    world.iam.page(2, std::time::Duration::from_millis(1_300));
    let function = world.start(&[("KEY_GUARD_RESPONDER_ROLE", "responder")]);
    *function.time.lock().unwrap() = Some(std::time::Duration::from_secs(6));
    let mut payload = json!({"sweep": {"accounts": [crate::support::OWN], "ceiling": "monitor"}});
    let mut invocations = 0;
    loop {
        invocations += 1;
        let answer = function.invoke(&payload).response();
        let is_left = !answer["continue"].is_null();
        assert_eq!(answer["sweep"]["completed"], !is_left, "{answer}");
        if !is_left {
            break;
        }
        assert_eq!(answer["continue"]["sweep"]["invocations"], invocations);
        payload = answer["continue"].clone();
        // So that all pages can be read again.
        *function.time.lock().unwrap() = Some(std::time::Duration::from_secs(30));
    }
    assert_eq!(invocations, 2);
    assert_eq!(swept(&world).len(), 10, "every key is known");
    // Where an account could not be swept, the sweep is not completed, whichever invocation failed.
    world.iam.page(1_000, std::time::Duration::ZERO);
    world.iam.deny(OTHER);
    let answer = function
        .invoke(&json!({"sweep": {"accounts": [crate::support::OWN, OTHER], "ceiling": "monitor"}}))
        .response();
    assert_eq!(
        (&answer["sweep"]["completed"], &answer["sweep"]["accounts_failed"]),
        (&json!(false), &json!(1)),
        "{answer}"
    );
    let answer = function
        .invoke(&json!({"sweep": {"accounts": [crate::support::OWN], "ceiling": "monitor", "failed": 1}}))
        .response();
    assert_eq!(answer["sweep"]["completed"], false);
    let error = function.invoke(&json!({"sweep": {"accounts": [OTHER], "ceiling": "monitor"}})).error();
    assert_eq!(error["errorType"], "NothingSwept");
    // What an earlier invocation could not do is a failure of the sweep, and none of the invocation that ends it.
    let rest = json!({"account": crate::support::OWN, "service": null, "marker": null, "began": "2026-11-24T12:00:00Z",
        "keys": 5000, "troubles": 1});
    let answer = function.invoke(&json!({"sweep": {"rest": [rest], "ceiling": "monitor"}})).response();
    assert_eq!(
        (&answer["sweep"]["completed"], &answer["sweep"]["accounts_failed"], &answer["continue"]),
        (&json!(false), &json!(1), &Value::Null),
        "{answer}"
    );
    for wrong in [
        json!({"sweep": {"ceiling": "quarantine"}}),
        json!({"sweep": {"accounts": ["1"], "ceiling": "monitor"}}),
        json!({"sweep": {}}),
    ] {
        assert_eq!(function.invoke(&wrong).error()["errorType"], "UnreadableSweep", "{wrong}");
    }
}
