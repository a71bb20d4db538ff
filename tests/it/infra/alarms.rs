//! The alarms and the dashboard: they show metrics that are written, and each alarm tells somebody.

use std::collections::BTreeSet;

use bedrock_key_guard::telemetry::{NAMESPACE, failure_metrics};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{MEMBER, ledger_account};
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
    let names =
        ["Keys", "SecondsFromEventToOutcome", "SweepKeys", "SweepCompleted", "SweepFailures", "HeldBack"]
            .map(str::to_owned)
            .into();
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
            let of_queue = alarms.iter().filter(|(_, alarm)| {
                alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
                    && alarm["Dimensions"][0]["Value"] == format!("<{queue}.QueueName>")
            });
            assert_eq!(of_queue.count(), 1, "{queue}");
        }
        let heard = template.resource("NothingHeard").unwrap();
        assert_eq!(heard["TreatMissingData"], "breaching");
        assert_eq!(heard["Dimensions"], json!([{"Name": "RuleName", "Value": "<CredentialWrites>"}]));
    }
}
