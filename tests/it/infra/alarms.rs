//! The alarms and the dashboard: they show metrics that are written, and each alarm tells somebody.

use std::collections::BTreeSet;

use bedrock_key_guard::telemetry::{
    NAMESPACE, failed_event_metrics, failure_metrics, resume_metrics, sweep_metrics,
};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{MEMBER, ledger_account, member_account, repository};
use crate::support::template::Template;

/// The names and dimensions of the metrics that an invocation writes.
fn metrics() -> (BTreeSet<String>, BTreeSet<String>) {
    let now: DateTime<Utc> = "2026-11-20T09:00:00Z".parse().unwrap();
    let line: Value = serde_json::from_str(&failure_metrics(now)).unwrap();
    let metrics = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(metrics["Namespace"], NAMESPACE);
    let texts = |value: &Value| {
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let mut names: BTreeSet<_> = ["Keys", "SecondsFromEventToOutcome", "HeldBack"].map(str::to_owned).into();
    for line in
        [failed_event_metrics(now, now), resume_metrics(0, None, true, now), sweep_metrics(0, 0, true, now)]
    {
        let line: Value = serde_json::from_str(&line).unwrap();
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!((&metrics["Namespace"], &metrics["Dimensions"]), (&json!(NAMESPACE), &json!([[]])));
        for metric in metrics["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            assert!(line[name].is_number(), "{line}");
            names.insert(name.to_owned());
        }
    }
    (names, texts(&metrics["Dimensions"][0]))
}

#[test]
fn the_dashboard_shows_metrics_that_are_written() {
    let body = ledger_account("monitor").resource("Dashboard").unwrap()["DashboardBody"].clone();
    let body: Value = serde_json::from_str(body.as_str().unwrap()).unwrap();
    let (names, dimensions) = metrics();
    let schema = format!("{{{NAMESPACE},{}}}", dimensions.into_iter().collect::<Vec<_>>().join(","));
    let mut searches = 0;
    for widget in body["widgets"].as_array().unwrap() {
        for metric in widget["properties"]["metrics"].as_array().unwrap() {
            if let Some(expression) = metric[0]["expression"].as_str() {
                searches += 1;
                assert!(
                    expression.contains(&schema) && expression.contains("MetricName=\"Keys\""),
                    "{expression}"
                );
            } else if metric[0] == NAMESPACE {
                assert!(names.contains(metric[1].as_str().unwrap()), "{metric}");
            }
        }
    }
    assert_eq!(searches, 5);
    for (name, alarm) in ledger_account("monitor").of_kind("AWS::CloudWatch::Alarm") {
        if alarm["Namespace"] == NAMESPACE {
            assert!(names.contains(alarm["MetricName"].as_str().unwrap()), "{name}");
            assert!(alarm.get("Dimensions").is_none(), "{name}");
        }
    }
}

/// Errors and throttles of the function heal by retries: none of these is an alarm.
#[test]
fn an_alarm_rings_for_what_does_not_heal_and_says_what_to_do() {
    let rings = |alarm: &Value| {
        json!([
            alarm["MetricName"],
            alarm["Statistic"],
            alarm["ComparisonOperator"],
            alarm["Threshold"],
            alarm["Period"]
        ])
    };
    let template = ledger_account("monitor");
    let (greater, at_least, less) =
        ("GreaterThanThreshold", "GreaterThanOrEqualToThreshold", "LessThanThreshold");
    for (name, expected) in [
        ("EventFails", json!(["SecondsFromEventToFailure", "Maximum", greater, 7200, 3600])),
        ("IntentOpen", json!(["OldestOpenIntentSeconds", "Maximum", greater, 3600, 900])),
        ("AccountSilent", json!(["SilentAccounts", "Maximum", at_least, 1, 900])),
        ("NoResume", json!(["ResumeCompleted", "Sum", less, 1, 3600])),
        ("RecoverFails", json!(["ExecutionsFailed", "Sum", at_least, 1, 1800])),
        ("RecoverTimesOut", json!(["ExecutionsTimedOut", "Sum", at_least, 1, 1800])),
        ("NotificationsFailed", json!(["ExecutionsFailed", "Sum", at_least, 1, 300])),
        ("NotificationsTimedOut", json!(["ExecutionsTimedOut", "Sum", at_least, 1, 300])),
    ] {
        assert_eq!(rings(&template.resource(name).unwrap()), expected, "{name}");
    }
    assert_eq!(template.resource("NoResume").unwrap()["TreatMissingData"], "breaching");
    for (name, alarm) in template.of_kind("AWS::CloudWatch::Alarm") {
        let metric = &alarm["MetricName"];
        assert!(metric != "Errors" && metric != "Throttles", "{name}");
        let description = alarm["AlarmDescription"].as_str().unwrap();
        assert!((60..=1024).contains(&description.len()), "{name}: {description}");
    }
}

#[test]
fn each_queue_has_an_alarm_and_each_alarm_tells_somebody() {
    let topic = "arn:aws:sns:us-east-1:111122223333:bedrock-key-guard";
    let member = Template::load("member.yaml", &[&MEMBER[..], &[("AlarmTopicArn", topic)]].concat());
    for template in [ledger_account("monitor"), member] {
        let alarms = template.of_kind("AWS::CloudWatch::Alarm");
        for (name, alarm) in &alarms {
            assert_eq!(alarm["AlarmActions"].as_array().unwrap().len(), 1, "{name}");
        }
        for (queue, _) in template.of_kind("AWS::SQS::Queue") {
            let of_queue: Vec<_> = alarms
                .iter()
                .filter(|(_, alarm)| alarm["Dimensions"][0]["Value"] == format!("<{queue}.QueueName>"))
                .map(|(_, alarm)| (&alarm["MetricName"], &alarm["Threshold"]))
                .collect();
            // What comes back by itself is no alarm before it has waited too long.
            let comes_back = template.resource(&queue).unwrap().get("DelaySeconds").is_some();
            let expected = if comes_back {
                (&json!("ApproximateAgeOfOldestMessage"), &json!(3600))
            } else {
                (&json!("ApproximateNumberOfMessagesVisible"), &json!(1))
            };
            assert_eq!(of_queue, [expected], "{queue}");
        }
        let heard = template.resource("NothingHeard").unwrap();
        assert_eq!(heard["TreatMissingData"], "breaching");
        assert_eq!(heard["Dimensions"], json!([{"Name": "RuleName", "Value": "<CredentialWrites>"}]));
    }
}

#[test]
fn an_alarm_names_the_table_that_the_stack_has() {
    let name = "x".repeat(128);
    let template = Template::load("template.yaml", &[("LedgerTable", &name)]);
    let mut commands = 0;
    for (alarm, properties) in template.of_kind("AWS::CloudWatch::Alarm") {
        let description = properties["AlarmDescription"].as_str().unwrap();
        assert!(description.len() <= 1024, "{alarm}: CloudWatch takes no more: {description}");
        for named in description.split("dynamodb:").skip(1) {
            assert!(named.starts_with(&name), "{alarm}: {description}");
            commands += 1;
        }
    }
    assert!(commands > 0);
}

/// Of what has happened once, five minutes of silence say nothing: somebody still has to act.
#[test]
fn an_alarm_that_is_over_says_so_only_where_nothing_is_left_to_do() {
    let only_rings: BTreeSet<_> = ledger_account("monitor")
        .of_kind("AWS::CloudWatch::Alarm")
        .into_iter()
        .filter(|(name, alarm)| {
            let is_over = alarm.get("OKActions");
            assert!(is_over.is_none_or(|actions| *actions == alarm["AlarmActions"]), "{name}");
            is_over.is_none()
        })
        .map(|(name, _)| name)
        .collect();
    let events = [
        "FailuresLost",
        "HeldBack",
        "NotificationsFailed",
        "NotificationsTimedOut",
        "SlowOutcome",
        "SweepFailures",
    ];
    assert_eq!(only_rings, events.map(str::to_owned).into());
}

/// The table in `docs/operate.md` has each alarm, and no other.
#[test]
fn the_docs_say_what_to_do_about_each_alarm() {
    let page = std::fs::read_to_string(repository("docs/operate.md")).unwrap();
    let table = page.split("\n## Alarms\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows =
        table.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').nth(1).unwrap());
    let documented: BTreeSet<_> =
        rows.flat_map(|names| names.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let topic = "arn:aws:sns:us-east-1:111122223333:bedrock-key-guard";
    let member = Template::load("member.yaml", &[&MEMBER[..], &[("AlarmTopicArn", topic)]].concat());
    let names: BTreeSet<_> = [ledger_account("monitor"), member]
        .iter()
        .flat_map(|template| template.of_kind("AWS::CloudWatch::Alarm"))
        .map(|(_, alarm)| {
            alarm["AlarmName"].as_str().unwrap().strip_prefix("bedrock-key-guard-").unwrap().to_owned()
        })
        .collect();
    assert_eq!(documented, names);
}

/// Silence is noticed in the ledger account: 1,000 accounts need no alarms of their own.
#[test]
fn a_member_has_alarms_only_where_it_is_given_a_topic() {
    assert!(member_account("monitor").of_kind("AWS::CloudWatch::Alarm").is_empty());
}
