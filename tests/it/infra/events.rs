//! The rules: which events reach the guard, and which reports reach a person, with what text.

use std::collections::BTreeSet;

use key_guard_core::cloudtrail::pattern;
use serde_json::{Value, json};

use super::{ledger_account, member_account};
use crate::support::deployment::TABLE;
use crate::support::event_pattern::{is_ours, matches};
use crate::support::template::Template;
use crate::support::{OWN, events};

fn patterns() -> Vec<(String, Value)> {
    let of = |template: Template| template.of_kind("AWS::Events::Rule");
    let rules = [of(ledger_account("monitor")), of(member_account("monitor"))].concat();
    let patterns = rules.into_iter().map(|(name, rule)| (name, rule["EventPattern"].clone()));
    patterns.filter(|(_, pattern)| pattern["source"] == json!(["aws.iam"])).collect()
}

#[test]
fn each_rule_is_that_of_the_code_and_matches_the_events_that_are_ours_and_nothing_else() {
    assert_eq!(patterns().len(), 3);
    for (rule, in_template) in patterns() {
        assert_eq!(in_template, pattern(), "{rule}: what prevent event-pattern prints");
    }
    for (name, event) in events() {
        for (rule, pattern) in patterns() {
            assert_eq!(matches(&pattern, &event), is_ours(&event), "{rule}: {name}");
        }
    }
}

/// What Lambda's destination makes of a report, and what of it the rule hands to a target.
pub(super) fn result(payload: &Value) -> Value {
    json!({
        "source": "lambda", "detail-type": "Lambda Function Invocation Result - Success",
        "detail": {"responsePayload": payload},
    })
}

/// Which rules on the bus of reports take notice of a report.
fn noticed_by(payload: &Value) -> Vec<String> {
    let rules = ledger_account("monitor").of_kind("AWS::Events::Rule");
    let of_reports = rules.into_iter().filter(|(_, rule)| rule["EventBusName"] == "<Reports>");
    of_reports
        .filter(|(_, rule)| matches(&rule["EventPattern"], &result(payload)))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn each_report_is_told_once_or_not_at_all() {
    let report = |verdict: Value, severity: &str| json!({"verdict": verdict, "severity": severity});
    let sweep = |unreported: u32, rest: Value| json!({"sweep": {"unreported": unreported}, "continue": rest});
    let rest = json!({"sweep": {"checkpoint": {"accounts": [OWN]}, "invocations": 1}});
    for (payload, rules) in [
        (report(json!("noncompliant"), "high"), &["Findings"][..]),
        (report(json!("undetermined"), "critical"), &["Findings"]),
        (report(json!("compliant"), "info"), &[]),
        (report(Value::Null, "critical"), &["CriticalFindings"]),
        (report(json!("compliant"), "critical"), &["CriticalFindings"]),
        (report(Value::Null, "info"), &[]),
        (sweep(0, Value::Null), &[]),
        (sweep(1, Value::Null), &["SweepFindings"]),
        (sweep(0, rest.clone()), &["SweepContinues"]),
        (sweep(2, rest), &["SweepContinues"]),
        (json!({"resume": {"keys": 1}}), &[]),
    ] {
        let mut noticed = noticed_by(&payload);
        noticed.sort();
        assert_eq!(noticed, rules, "{payload}");
    }
}

/// EventBridge puts values into its text as they are, and a quotation mark in one would lose the message.
#[test]
fn a_finding_is_told_without_text_that_a_caller_chose() {
    let template = Template::load("template.yaml", &[("LedgerTable", TABLE)]);
    for rule in ["Findings", "CriticalFindings", "SweepFindings"] {
        told_without_text_of_a_caller(&template.resource(rule).unwrap());
    }
}

fn told_without_text_of_a_caller(rule: &Value) {
    let transformer = &rule["Targets"][0]["InputTransformer"];
    let paths = transformer["InputPathsMap"].as_object().unwrap();
    for path in paths.values() {
        assert_ne!(path, "$.detail.responsePayload.user_agent");
    }
    let template = transformer["InputTemplate"].as_str().unwrap();
    for line in template.lines() {
        assert!(line.starts_with('"') && line.ends_with('"'), "{line}");
    }
    let used: BTreeSet<_> =
        template.split('<').skip(1).map(|rest| rest.split_once('>').unwrap().0.to_owned()).collect();
    assert_eq!(used, paths.keys().cloned().collect());
}
