//! The built Lambda binary behind a Runtime API: invocations, configuration, log lines and metrics, sweeps and resumes.

use std::time::Duration;

use base64::Engine as _;
use chrono::TimeDelta;
use key_guard_core::report::Report;
use serde_json::{Value, json};

use crate::support::deployment::{BUS, Deployment, TABLE, TestKey, policy};
use crate::support::runtime_api::{Function, start_and_fail};
use crate::support::{Fault, OTHER, OWN, event, events};

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[tokio::test]
async fn every_event_is_answered_with_its_report_or_refused() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "delete")]);
    for (name, event) in events() {
        if ["created-without-response", "created-with-two-accounts"].contains(&name.as_str()) {
            let error = function.invoke(&event).error();
            assert_eq!(error["errorType"], "UnreadableEvent", "{name}");
            continue;
        }
        if name.starts_with("created-") {
            let age = event["detail"]["requestParameters"]["credentialAgeDays"].as_i64();
            world.iam.put_created(&event, age);
        }
        let outcome = function.invoke(&event);
        let report = outcome.response();
        assert_eq!(report.as_object().unwrap().len(), Report::FIELDS.len(), "{name}");
        let other_service = ["claude-platform", "cloudwatch", "logs", "codecommit", "unknown-service"];
        let is_judged = name.starts_with("created-") && !other_service.iter().any(|of| name.ends_with(of));
        let expected = match (name.as_str(), report["verdict"].as_str()) {
            // About a key that its creation event has deleted.
            ("deleted" | "secret-reset" | "status-changed-to-active", Some("noncompliant")) => "deleted",
            ("denied" | "failed-limit-exceeded", None) => "recorded",
            (name, None) if name.starts_with("console-user-") => "recorded",
            (_, Some("noncompliant")) if is_judged => "deleted",
            (_, Some("compliant")) if is_judged => "recorded",
            (_, None) if !is_judged => "ignored",
            (_, verdict) => panic!("{name}: {verdict:?}"),
        };
        assert_eq!(report["outcome"], expected, "{name}: {report}");
        let response = if expected == "deleted" { "delete" } else { "none" };
        assert_eq!(report["response"], response, "{name}");
        if let (true, Some(id)) = (is_judged, report["credential_id"].as_str()) {
            assert_eq!(world.iam.key(id).is_some(), expected == "recorded", "{name}");
        }
    }
    assert_eq!(function.invoke(&event("created-for-90-days")).response()["verdict"], "compliant");
}

#[tokio::test]
async fn the_default_ceiling_touches_nothing() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    let mut made = 0;
    for (name, event) in events().into_iter().filter(|(name, _)| name.starts_with("created-")) {
        made += usize::from(world.iam.put_created(&event, None).is_some());
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
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "delete"), ("AWS_LAMBDA_LOG_LEVEL", "TRACE")]);
    let mut leaking = event("created-without-age");
    world.iam.put_created(&leaking, None);
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
    let [shape, metric, log, failed_metric, age, failed_log] = lines.as_slice() else { panic!("{stdout}") };
    let fields = shape["shape.fields"].as_str().unwrap();
    assert!(fields.contains("requestParameters.userName: string"), "{fields}");
    assert!(
        fields.contains("responseElements.serviceSpecificCredential.servicePassword: string"),
        "{fields}"
    );
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
    assert!(age["SecondsFromEventToFailure"].as_f64().unwrap() > 0.0, "{age}");
    assert_eq!(age["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([[]]));
    assert_eq!(
        (&failed_log["level"], &failed_log["error.type"]),
        (&json!("ERROR"), &json!("UnreadableEvent"))
    );
}

#[tokio::test]
async fn redelivery_returns_the_same_outcome_without_asking_iam_again() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "deactivate")]);
    let event = event("created-for-365-days");
    let id = world.iam.put_created(&event, Some(365)).unwrap();
    let first = function.invoke(&event).response();
    assert_eq!(first["outcome"], "deactivated");
    assert_eq!(world.iam.key(&id).unwrap().status, "Inactive");
    let asked = world.iam.calls().len();
    assert_eq!(function.invoke(&event).response(), first);
    assert_eq!(world.iam.calls().len(), asked);
}

/// Nobody has published a real creation event, so a deployment shows what AWS sends: names and types, once.
#[tokio::test]
async fn the_shape_of_a_creation_event_is_logged_once() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    let mut other = TestKey::new(2, Some(30)).created();
    for event in [&TestKey::new(1, Some(30)).created(), &other, &event("denied"), &event("deleted")] {
        function.invoke(event);
    }
    other["detail"]["newField"] = json!({"secret": 1});
    function.invoke(&other).response();
    let lines = lines(&function.end());
    let shapes: Vec<_> = lines.iter().filter_map(|line| line["shape.fields"].as_str()).collect();
    assert_eq!(shapes.len(), 3, "a creation, a denied one, one with another field: {shapes:?}");
    assert!(!shapes[0].contains("newField") && shapes[2].contains("newField.secret: number"), "{shapes:?}");
    assert!(!shapes.iter().any(|shape| shape.contains("svc-chatbot")), "{shapes:?}");
}

/// Each event by itself; the most severe report is returned, and each finding is published.
#[tokio::test]
async fn what_a_queue_or_a_stream_wraps_is_dealt_with() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_REPORTS_BUS", BUS)]);
    let bad = TestKey::new(1, None).created().to_string();
    let good = TestKey::new(2, Some(10)).created().to_string();
    let other = TestKey { user: "svc-other".to_owned(), ..TestKey::new(3, Some(400)) }.created();
    let record = |body: &str| json!({"messageId": "1", "eventSource": "aws:sqs", "body": body});
    let data = base64::engine::general_purpose::STANDARD.encode(&bad);
    for payload in [
        json!({"Records": [record(&good), record(&bad), record(&other.to_string())]}),
        json!({"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": data}}]}),
        json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": bad}}]}),
    ] {
        let report = function.invoke(&payload).response();
        assert_eq!(report["violation"], "never_expires", "{payload}: {report}");
    }
    assert_eq!(world.dynamo.items(TABLE).iter().filter(|item| item["kind"]["S"] == "record").count(), 3);
    let published = world.bus.reports();
    let users: Vec<_> = published.iter().map(|report| report["user"].as_str().unwrap()).collect();
    assert_eq!(users, ["svc-chatbot", "svc-other", "svc-chatbot", "svc-chatbot"]);

    let control =
        json!({"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "CWL CONTROL MESSAGE: x"}]});
    assert_eq!(function.invoke(&control).response()["outcome"], "ignored");
    // One that cannot be read keeps no other from its end.
    let last = TestKey::new(4, None);
    let payload = json!({"Records": [record(&bad[..bad.len() - 30]), record(&last.created().to_string())]});
    assert_eq!(function.invoke(&payload).error()["errorType"], "UnreadableEvent");
    assert_eq!(world.phase(&last.id), "settled");
}

/// A finding that cannot be published keeps no other event from its end, and is published by the retry.
#[tokio::test]
async fn a_wrapped_finding_that_is_not_published_fails_the_invocation_and_nothing_else() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_REPORTS_BUS", BUS)]);
    let keys = [TestKey::new(1, None), TestKey::new(2, None)];
    let record = |key: &TestKey| json!({"eventSource": "aws:sqs", "body": key.created().to_string()});
    let payload = json!({"Records": keys.each_ref().map(record)});
    world.bus.refuse_entries(Some("InternalFailure"));
    assert_eq!(function.invoke(&payload).error()["errorType"], "CallFailed");
    for key in &keys {
        assert_eq!(world.phase(&key.id), "settled");
    }
    world.bus.refuse_entries(None);
    function.invoke(&payload).response();
    let published: Vec<_> =
        world.bus.reports().iter().map(|report| report["credential_id"].clone()).collect();
    assert_eq!(published, keys.map(|key| json!(key.id)));

    let error = world.start(&[]).invoke(&payload).error();
    assert_eq!(error["errorType"], "ReportsBusNotSet", "{error}");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("KEY_GUARD_REPORTS_BUS is not set: findings from queues and "), "{message}");
    assert!(message.contains("set it to the name of an event bus"), "{message}");
}

#[tokio::test]
async fn what_is_no_invocation_is_an_error_never_an_answer() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    let created = TestKey::new(1, None).created();
    for payload in [
        json!({"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": "e30="}}]}),
        json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {}}]}),
        json!({}),
        json!([]),
        json!(42),
        json!(null),
        json!("x"),
        json!({"Records": []}),
        json!({"sweep": {}, "resume": {}}),
    ] {
        let error = function.invoke(&payload).error();
        assert_eq!(error["errorType"], "UnsupportedPayload", "{payload}: {error}");
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for text in
        ["{\"detail\": {}}", "1e999", r#""\ud800""#, r#"{"awslogs": {"data": "H4sIAAAAAAAA"}}"#, &deep]
    {
        let error = function.invoke_text(text.to_owned()).error();
        assert_eq!(error["errorType"], "UnreadableEvent", "{text}: {error}");
    }
    for text in ["", "{", "not JSON", "{\"a\": 1,"] {
        function.invoke_text(text.to_owned()).error();
    }
    assert_eq!(world.dynamo.items(TABLE), Vec::<Value>::new());
    let report = function.invoke(&created).response();
    assert_eq!(report["verdict"], "noncompliant", "it lives on");
}

#[tokio::test]
async fn connections_are_opened_ahead_with_requests_that_are_no_calls() {
    for (warm, expected) in [("on", 1), ("off", 0)] {
        let world = Deployment::new().await;
        let function = world.start(&[("KEY_GUARD_WARM", warm)]);
        function.invoke(&event("created-for-90-days")).response();
        assert_eq!(world.iam.warmed(), expected);
        assert_eq!((world.iam.calls(), world.dynamo.calls().len()), (vec![], 1));
    }
}

#[tokio::test]
async fn a_start_without_reachable_services_is_no_failure() {
    let world = Deployment::new().await;
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
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_CEILING", "delete"), ("KEY_GUARD_TABLE", "no-such-table")]);
    for payload in [event("created-for-90-days"), json!({"resume": {}})] {
        let error = function.invoke(&payload).error();
        assert_eq!(error["errorType"], "LedgerTableMissing", "{error}");
        let message = error["errorMessage"].as_str().unwrap();
        assert_eq!(message.matches("no-such-table").count(), 1, "{message}");
    }

    let function = world.start(&[]);
    let mut future = TestKey::new(1, None);
    future.created += TimeDelta::minutes(20);
    assert_eq!(function.invoke(&future.created()).error()["errorType"], "FutureEvent");

    // Too little time for anything.
    *function.time.lock().unwrap() = Some(Duration::from_secs(4));
    assert_eq!(function.invoke(&event("created-for-90-days")).error()["errorType"], "OutOfTime");
    assert_eq!(world.dynamo.items(TABLE), Vec::<Value>::new());
}

#[test]
fn bad_configuration_ends_the_process_before_it_asks_for_an_event() {
    let policy =
        policy("[default]\nservices = [\"s3.example.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n");
    let bad_policy = policy.path().to_str().unwrap();
    for (variables, named) in [
        (&[][..], "KEY_GUARD_TABLE"),
        (&[("KEY_GUARD_TABLE", "")], "KEY_GUARD_TABLE"),
        (&[("KEY_GUARD_TABLE", "k ey")], "KEY_GUARD_TABLE"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_CEILING", "DELETE")], "KEY_GUARD_CEILING"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_CEILING", "")], "KEY_GUARD_CEILING"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_SWEEP_CEILING", "none")], "KEY_GUARD_SWEEP_CEILING"),
        (
            &[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_SWEEP_CEILING", "delete")],
            "KEY_GUARD_SWEEP_CEILING is delete, which is further than KEY_GUARD_CEILING (monitor)",
        ),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_REPORTS_BUS", "arn:aws:x")], "KEY_GUARD_REPORTS_BUS"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_RESPONDER_ROLE", "/a/b")], "KEY_GUARD_RESPONDER_ROLE"),
        (&[("KEY_GUARD_TABLE", TABLE), ("KEY_GUARD_CONTACT", "")], "KEY_GUARD_CONTACT"),
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

fn sweep_metric(function: Function) -> Value {
    lines(&function.end()).into_iter().find(|line| line["SweepKeys"].is_number()).unwrap_or_default()
}

/// The lowest of three ceilings applies: the payload's, that of sweeps, and that of everything (R13).
#[tokio::test]
async fn no_payload_raises_the_ceiling_of_a_sweep() {
    for (payload, sweeps, functions, outcome) in [
        (Some("delete"), "monitor", "delete", "monitored"),
        (Some("delete"), "deactivate", "delete", "deactivated"),
        (Some("monitor"), "delete", "delete", "monitored"),
        (Some("delete"), "monitor", "monitor", "monitored"),
        (None, "deactivate", "deactivate", "deactivated"),
        (Some("delete"), "delete", "delete", "deleted"),
    ] {
        let name = format!("{payload:?} {sweeps} {functions}");
        let world = Deployment::new().await;
        let bad = TestKey::new(1, None).exists_in(&world.iam);
        let good = TestKey::new(2, Some(30)).exists_in(&world.iam);
        let function = world.start(&[
            ("KEY_GUARD_CEILING", functions),
            ("KEY_GUARD_SWEEP_CEILING", sweeps),
            ("KEY_GUARD_REPORTS_BUS", BUS),
        ]);
        let mut request = json!({"sweep": {"accounts": []}});
        if let Some(ceiling) = payload {
            request["sweep"]["ceiling"] = json!(ceiling);
        }
        let answer = function.invoke(&request).response();
        assert_eq!(answer["continue"], Value::Null, "{name}");
        assert_eq!(answer["sweep"]["outcomes"], json!({outcome: 1, "recorded": 1}), "{name}: {answer}");
        let counts =
            ["accounts", "accounts_failed", "keys", "noncompliant", "unreported", "failed", "problems"]
                .map(|name| answer["sweep"][name].as_u64().unwrap());
        assert_eq!(counts, [1, 0, 2, 1, 1, 0, 0], "{name}: {answer}");
        assert_eq!(answer["sweep"]["completed"], true, "{name}");
        assert_eq!(world.bus.reports()[0]["outcome"], outcome, "{name}");
        let phase = match outcome {
            "monitored" => "settled",
            "deactivated" => "deactivated",
            _ => "gone",
        };
        assert_eq!([world.phase(&bad.id), world.phase(&good.id)], [phase, "settled"], "{name}");
        let metric = sweep_metric(function);
        let metrics = ["SweepKeys", "SweepFailures", "SweepCompleted"].map(|name| metric[name].as_u64());
        assert_eq!(metrics, [Some(2), Some(0), Some(1)], "{name}");
    }
}

/// First published, then marked as reported (R10, I11).
#[tokio::test]
async fn each_finding_of_sweeps_is_published_once_unless_publishing_fails() {
    let world = Deployment::new().await;
    let keys = [1, 2].map(|number| TestKey::new(number, None).exists_in(&world.iam));
    let sweep = |function: &Function| {
        let answer = function.invoke(&json!({"sweep": {}})).response();
        let counts = ["findings", "published", "failed"].map(|name| answer["publications"][name].as_u64());
        counts.map(Option::unwrap)
    };
    // Without a bus they are only counted and recorded.
    let without_bus = world.start(&[]);
    assert_eq!([sweep(&without_bus), sweep(&without_bus)], [[2, 0, 0]; 2]);
    let contact = ("KEY_GUARD_CONTACT", "security@example.com");
    let function = world.start(&[("KEY_GUARD_REPORTS_BUS", BUS), contact]);
    world.bus.refuse_entries(Some("InternalFailure"));
    assert_eq!(sweep(&function), [2, 0, 2]);
    world.bus.refuse_entries(None);
    world.bus.fault(Fault::Refused(400, "AccessDeniedException"), 1);
    assert_eq!(sweep(&function), [2, 1, 1]);
    assert_eq!(sweep(&function), [1, 1, 0]);
    assert_eq!(sweep(&function), [0, 0, 0]);
    let entries = world.bus.entries();
    for entry in &entries {
        assert_eq!(entry["EventBusName"], BUS);
        assert_eq!(entry["Source"], "bedrock-key-guard");
        assert_eq!(entry["DetailType"], "Bedrock Key Guard report");
        assert_eq!(entry["Detail"].as_object().unwrap().len(), Report::FIELDS.len());
        let remediation = entry["Detail"]["remediation"].as_str().unwrap();
        assert!(remediation.contains("contact security@example.com."), "{remediation}");
    }
    let mut published: Vec<_> =
        world.bus.reports().iter().map(|report| report["credential_id"].clone()).collect();
    published.sort_by_key(Value::to_string);
    assert_eq!(published, keys.each_ref().map(|key| json!(key.id)));
    let log = function.end();
    assert!(log.contains("AccessDeniedException") && log.contains("InternalFailure"), "{log}");
}

/// What an event told is not published again.
#[tokio::test]
async fn a_sweep_does_not_publish_what_an_event_returned() {
    let world = Deployment::new().await;
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let function = world.start(&[("KEY_GUARD_REPORTS_BUS", BUS)]);
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "monitored");
    let answer = function.invoke(&json!({"sweep": {}})).response();
    assert_eq!(
        (&answer["sweep"]["keys"], &answer["sweep"]["unreported"]),
        (&json!(1), &json!(0)),
        "{answer}"
    );
    assert_eq!(world.bus.entries(), Vec::<Value>::new());
}

/// Shortly before its deadline a sweep stops, and what it leaves is swept as if it had been one.
#[tokio::test]
async fn a_sweep_continues_in_a_further_invocation() {
    let world = Deployment::new().await;
    for number in 0..10 {
        TestKey::new(number, Some(30)).exists_in(&world.iam);
    }
    world.iam.page(2, Duration::from_millis(300));
    let function = world.start(&[("KEY_GUARD_CEILING", "delete"), ("KEY_GUARD_SWEEP_CEILING", "delete")]);
    // Ten seconds before the end, and a second for the answer.
    *function.time.lock().unwrap() = Some(Duration::from_millis(11_500));
    let answer = function.invoke(&json!({"sweep": {"ceiling": "monitor"}})).response();
    assert_eq!(answer["sweep"]["completed"], false);
    let mut further = answer["continue"].clone();
    assert_eq!(further["sweep"]["invocations"], 1, "{answer}");
    assert_eq!(
        (&further["sweep"]["ceiling"], &further["sweep"]["accounts"]),
        (&json!("monitor"), &Value::Null)
    );
    let started = answer["sweep"]["started"].clone();
    assert!(started.is_string() && further["sweep"]["started"] == started, "{answer}");

    // There is an end to it.
    let mut last = further.clone();
    last["sweep"]["invocations"] = json!(199);
    *function.time.lock().unwrap() = Some(Duration::from_millis(11_300));
    let given_up = function.invoke(&last).response();
    assert_eq!((&given_up["continue"], &given_up["sweep"]["completed"]), (&Value::Null, &json!(false)));

    // So that all pages can be read again.
    *function.time.lock().unwrap() = Some(Duration::from_secs(30));
    further["sweep"]["invocations"] = json!(2);
    let answer = function.invoke(&further).response();
    assert_eq!(
        (&answer["continue"], &answer["sweep"]["completed"]),
        (&Value::Null, &json!(true)),
        "{answer}"
    );
    assert_eq!((&answer["sweep"]["keys"], &answer["sweep"]["started"]), (&json!(10), &started), "{answer}");
    assert!((0..10).all(|number| world.phase(&TestKey::new(number, None).id) == "settled"));
    let lines = lines(&function.end());
    let completed: Vec<_> = lines.iter().filter_map(|line| line["SweepCompleted"].as_u64()).collect();
    assert_eq!(completed, [0, 1], "one metric line for each sweep");
}

#[tokio::test]
async fn an_account_that_cannot_be_swept_is_named_and_stops_no_other() {
    let world = Deployment::new().await;
    TestKey::new(1, Some(30)).exists_in(&world.iam);
    let function = world.start(&[("KEY_GUARD_RESPONDER_ROLE", "responder")]);
    world.iam.deny(OTHER);
    let answer = function.invoke(&json!({"sweep": {"accounts": [OTHER, OWN]}})).response();
    let counts = ["accounts", "accounts_failed", "keys", "problems"]
        .map(|name| answer["sweep"][name].as_u64().unwrap());
    assert_eq!((counts, &answer["sweep"]["completed"]), ([2, 1, 1, 1], &json!(false)), "{answer}");
    let error = function.invoke(&json!({"sweep": {"accounts": [OTHER]}})).error();
    assert_eq!(error["errorType"], "NothingSwept");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.contains(OTHER) && message.contains("AccessDenied"), "{message}");
    let log = function.end();
    assert!(log.contains(&format!("IAM's key list for account {OTHER} could not be read")), "{log}");
    // It came to its end, and what failed has an alarm of its own.
    let swept: Vec<_> = lines(&log).into_iter().filter(|line| line["SweepCompleted"].is_u64()).collect();
    let metrics: Vec<_> =
        swept.iter().map(|line| (&line["SweepFailures"], &line["SweepCompleted"])).collect();
    assert_eq!(metrics, [(&json!(1), &json!(1))], "where nothing was swept there is no metric");
}

#[tokio::test]
async fn a_request_that_cannot_be_understood_is_an_error() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    for wrong in [
        json!({"sweep": {"ceiling": "quarantine"}}),
        json!({"sweep": {"accounts": ["1"]}}),
        json!({"sweep": {"accounts": "all"}}),
        json!({"sweep": {"acounts": [OWN]}}),
        json!({"resume": {"ceiling": "delete"}}),
    ] {
        assert_eq!(function.invoke(&wrong).error()["errorType"], "InvalidRequest", "{wrong}");
    }
    assert_eq!((world.iam.calls(), world.dynamo.calls()), (vec![], Vec::<String>::new()));
}

// ---- resumes ----

/// The first resume after the end of a quarantine deletes the key and publishes that (R12).
#[tokio::test]
async fn a_resume_deletes_a_key_whose_quarantine_has_ended() {
    let policy = policy(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\n\
         response = \"quarantine\"\ngrace_days = 14\n",
    );
    let world = Deployment::new().await;
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let function = world.start(&[
        ("KEY_GUARD_CEILING", "delete"),
        ("KEY_GUARD_POLICY", policy.path().to_str().unwrap()),
        ("KEY_GUARD_REPORTS_BUS", BUS),
    ]);
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["response"], &report["outcome"]), (&json!("quarantine"), &json!("deactivated")));
    let resume = || function.invoke(&json!({"resume": {}})).response();
    assert_eq!(resume()["resume"]["keys"], 0);
    assert_eq!(world.iam.key(&key.id).unwrap().status, "Inactive");

    world.pass_time(TimeDelta::days(14));
    let answer = resume();
    assert_eq!(answer["resume"]["outcomes"], json!({"deleted": 1}), "{answer}");
    assert_eq!(answer["publications"]["published"], 1, "{answer}");
    assert_eq!(world.iam.keys(), []);
    assert_eq!(world.bus.reports()[0]["credential_id"], key.id);
    assert_eq!(world.bus.reports()[0]["outcome"], "deleted");
    assert_eq!(resume()["resume"]["keys"], 0);
    assert!(function.end().contains("published a finding"));
}

#[tokio::test]
async fn a_resume_names_what_it_could_not_do() {
    let world = Deployment::new().await;
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let function = world.start(&[("KEY_GUARD_CEILING", "delete")]);
    let denied = Fault::Refused(403, "AccessDenied");
    world.iam.fault("DeleteServiceSpecificCredential", denied, 2);
    function.invoke(&key.created()).error();
    world.pass_time(TimeDelta::minutes(1));
    let answer = function.invoke(&json!({"resume": {}})).response();
    assert_eq!((&answer["resume"]["failed"], &answer["resume"]["keys"]), (&json!(1), &json!(1)), "{answer}");
    let log = function.end();
    let oldest: Vec<_> =
        lines(&log).iter().filter_map(|line| line["OldestOpenIntentSeconds"].as_f64()).collect();
    assert!(matches!(oldest[..], [seconds] if seconds > 0.0), "{oldest:?}");
    assert!(log.contains("a key is left to the next resume") && log.contains(&key.id), "{log}");
}
