//! The rules: which events reach the guard, and which reports start the state machine that tells people. What it tells is
//! in `.ci/notifications`.

use std::collections::{BTreeMap, BTreeSet};

use bedrock_key_guard::lambda::reports_bus::{DETAIL_TYPE, SOURCE};
use key_guard_core::cloudtrail::pattern;
use serde_json::{Value, json};

use super::{ledger_account, member_account, repository};
use crate::support::event_pattern::{is_ours, matches};
use crate::support::template::Template;
use crate::support::{OWN, event, events};

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

/// Whatever a member forwards, one of the two rules on its bus takes, and never both: whatever names its roles have.
#[test]
fn what_a_member_forwards_is_about_a_credential_or_about_the_guard() {
    let [credentials, tampering] = ["MemberCredentialWrites", "MemberTampering"]
        .map(|name| ledger_account("monitor").resource(name).unwrap()["EventPattern"].clone());
    assert_eq!(tampering["detail"]["eventName"][0]["anything-but"], credentials["detail"]["eventName"]);
    assert_eq!(tampering["detail-type"], credentials["detail-type"]);
    for (name, event) in events().iter().filter(|(_, event)| is_ours(event)) {
        assert!(!matches(&tampering, event), "{name}");
    }
    let mut changed = event("created-without-age");
    changed["detail"]["eventName"] = json!("PutRolePolicy");
    changed["detail"]["requestParameters"] = json!({"roleName": "guard-responder", "policyName": "more"});
    assert!(matches(&tampering, &changed) && !matches(&credentials, &changed));
    changed["source"] = json!("custom.events");
    assert!(!matches(&tampering, &changed), "an account of the organization may publish as this");
}

/// What Lambda's destination makes of a report, and what of it the rule hands to a target.
pub(super) fn result(payload: &Value) -> Value {
    json!({
        "source": "lambda", "detail-type": "Lambda Function Invocation Result - Success",
        "detail": {"responsePayload": payload},
    })
}

/// Which rules on the bus of reports take notice of an event, with Security Hub or without.
fn noticed_by(event: &Value, security_hub: &str) -> Vec<String> {
    let template = Template::load("template.yaml", &[("SecurityHub", security_hub)]);
    let of_reports = template
        .of_kind("AWS::Events::Rule")
        .into_iter()
        .filter(|(_, rule)| rule["EventBusName"] == "<Reports>");
    of_reports.filter(|(_, rule)| matches(&rule["EventPattern"], event)).map(|(name, _)| name).collect()
}

/// What ends a finding is for Security Hub only.
#[test]
fn each_report_of_an_event_starts_the_state_machine_once_or_not_at_all() {
    let report = |verdict: Value, severity: &str, status: &str| json!({"verdict": verdict, "severity": severity, "status": status});
    let sweep = |rest: Value| json!({"sweep": {"keys": 0, "unreported": 0}, "continue": rest});
    let rest = json!({"sweep": {"checkpoint": {"accounts": [OWN]}, "invocations": 1}});
    let (found, nothing) = (&["Findings"][..], &[][..]);
    for (payload, without, with) in [
        (report(json!("noncompliant"), "high", "active"), found, found),
        (report(json!("noncompliant"), "low", "gone"), found, found),
        (report(json!("undetermined"), "medium", "unknown"), found, found),
        (report(Value::Null, "critical", "unknown"), found, found),
        (report(Value::Null, "high", "unknown"), found, found),
        (report(json!("compliant"), "critical", "active"), found, found),
        (report(json!("compliant"), "info", "active"), nothing, found),
        (report(json!("exempt"), "info", "inactive"), nothing, found),
        (report(Value::Null, "info", "gone"), nothing, found),
        (report(Value::Null, "medium", "unknown"), found, found),
        (report(Value::Null, "info", "unknown"), nothing, nothing),
        (report(Value::Null, "low", "unknown"), nothing, nothing),
        (sweep(Value::Null), found, found),
        (sweep(rest), &["SweepContinues"], &["SweepContinues"]),
        (json!({"resume": {"keys": 1}}), nothing, nothing),
    ] {
        assert_eq!(noticed_by(&result(&payload), "disabled"), without, "{payload}");
        assert_eq!(noticed_by(&result(&payload), "enabled"), with, "{payload}");
    }
}

#[test]
fn each_report_that_the_function_publishes_starts_the_state_machine() {
    let published = json!({"source": SOURCE, "detail-type": DETAIL_TYPE, "detail": {"verdict": "compliant"}});
    assert_eq!(noticed_by(&published, "disabled"), ["PublishedFindings"]);
}

/// Reports come in two ways, and each of the two rules in `docs/notifications.md` takes those of one, without the event.
#[test]
fn the_rules_of_the_docs_take_every_report_once() {
    let page = std::fs::read_to_string(repository("docs/notifications.md")).unwrap();
    let section = page.split("\n## Jira\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let report = |severity| json!({"severity": severity, "credential_id": "ACCAEXAMPLE0000000001"});
    let published = |report: &Value| json!({"source": SOURCE, "detail-type": DETAIL_TYPE, "detail": report});
    let mut pieces = section.split("```");
    for (path, takes, leaves) in [
        (
            "`$.detail.responsePayload`",
            &result as &dyn Fn(&Value) -> Value,
            &published as &dyn Fn(&Value) -> Value,
        ),
        ("`$.detail`", &published, &result),
    ] {
        let (text, pattern) = (pieces.next().unwrap(), pieces.next().unwrap());
        assert!(text.contains(&format!("`InputPath` is {path}:")), "{text}");
        let pattern: Value = serde_json::from_str(pattern.strip_prefix("json").unwrap()).unwrap();
        for severity in ["high", "critical"] {
            assert!(matches(&pattern, &takes(&report(severity))), "{pattern}");
            assert!(!matches(&pattern, &leaves(&report(severity))), "{pattern}");
        }
        assert!(!matches(&pattern, &takes(&report("low"))), "{pattern}");
        let pointer = path.trim_matches('`').replace('.', "/").replace('$', "");
        assert_eq!(takes(&report("high")).pointer(&pointer), Some(&report("high")));
    }
    assert_eq!(pieces.count(), 1, "each pattern is tested");
}

/// Whichever way it comes, the state machine's input is the report, or the record of CloudTrail.
#[test]
fn the_state_machine_gets_what_the_event_is_about() {
    let rules = ledger_account("monitor").of_kind("AWS::Events::Rule");
    let targets = rules.iter().map(|(name, rule)| (name.as_str(), &rule["Targets"][0]));
    let starting: BTreeMap<_, _> = targets.filter(|(_, target)| target["Arn"] == "<Notifier>").collect();
    let inputs: Vec<_> =
        starting.iter().map(|(name, target)| (*name, target["InputPath"].as_str().unwrap())).collect();
    assert_eq!(
        inputs,
        [
            ("Findings", "$.detail.responsePayload"),
            ("MemberTampering", "$.detail"),
            ("OtherTampering", "$.detail"),
            ("PublishedFindings", "$.detail"),
            ("Tampering", "$.detail"),
        ]
    );
    for target in starting.values() {
        assert_eq!(target["RoleArn"], "<NotifierStartRole.Arn>");
        assert_eq!(target["DeadLetterConfig"]["Arn"], "<Unsent.Arn>");
    }
    let sources = &ledger_account("monitor").resource("UnsentPolicy").unwrap()["PolicyDocument"]["Statement"]
        [0]["Condition"]["ArnEquals"]["aws:SourceArn"];
    let may: BTreeSet<_> =
        sources.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect();
    assert_eq!(may, starting.keys().map(|name| format!("<{name}.Arn>")).collect());
}
