//! The report's fields, its severity and its remediation.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{EventKind, ParsedEvent, parse_record};
use key_guard_core::evidence::ListedEvidence;
use key_guard_core::key::{KeyFacts, KeyRef, KeyStatus, Service, Status};
use key_guard_core::policy::{Assessment, Policy, Response, Scope, Verdict, Violation};
use key_guard_core::remediation::NextStep;
use key_guard_core::report::{KeyResult, Outcome, Report, Severity};
use key_guard_core::words;
use serde_json::Value;

fn created() -> Time {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

pub fn facts() -> KeyFacts {
    KeyFacts {
        key: KeyRef {
            account: "111122223333".parse().unwrap(),
            id: "ACCAEXAMPLEKEY0000001".parse().unwrap(),
        },
        user: "svc-chatbot".parse().unwrap(),
        other_names: BTreeSet::new(),
        service: Service::Bedrock,
        created_at: created(),
    }
}

pub fn assessment(days: Option<i64>) -> Assessment {
    let expires_at = days.map(|days| created() + TimeDelta::days(days));
    let evidence = ListedEvidence { created_at: created(), expires_at };
    match Policy::built_in().unwrap().assess(&facts(), &evidence.into(), created()) {
        Scope::InScope(assessment) => assessment,
        Scope::OutOfScope => panic!("not judged"),
    }
}

fn report(days: Option<i64>, outcome: Outcome, status: Status) -> Report {
    let assessment = assessment(days);
    let reason = words::reason(&assessment);
    let result = KeyResult { outcome, status, reason, next: NextStep::None };
    Report::assessed(&facts(), &assessment, Response::Delete, result)
}

#[test]
fn every_field_is_there_in_the_order_of_the_contract() {
    let json = serde_json::to_string(&report(None, Outcome::Monitored, Status::Active)).unwrap();
    let places: Vec<_> =
        Report::FIELDS.iter().map(|field| json.find(&format!("\"{field}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{json}");
    let fields = serde_json::from_str::<Value>(&json).unwrap();
    assert_eq!(fields.as_object().unwrap().len(), Report::FIELDS.len());
    for (field, value) in
        [("severity", "high"), ("status", "active"), ("violation", "never_expires"), ("outcome", "monitored")]
    {
        assert_eq!(fields.get(field).unwrap(), value);
    }
    assert_eq!(fields.get("expires_at").unwrap(), &Value::Null);
}

#[test]
fn severity_is_what_is_wrong_and_whether_the_key_may_be_usable() {
    use Severity::{Critical, High, Info, Low, Medium};
    for (verdict, violation, usable, harmless) in [
        (Verdict::Compliant, None, Info, Info),
        (Verdict::Exempt, None, Info, Info),
        (Verdict::Undetermined, None, Medium, Low),
        (Verdict::Noncompliant, Some(Violation::NeverExpires), High, Low),
        (Verdict::Noncompliant, Some(Violation::LifetimeExceedsLimit), High, Low),
        (Verdict::Noncompliant, Some(Violation::LongTermKeyForbidden), High, Low),
        (Verdict::Noncompliant, Some(Violation::Reactivated), Critical, Medium),
    ] {
        for status in [Status::Active, Status::Unknown] {
            assert_eq!(Severity::of_key(verdict, violation, status), usable, "{verdict:?} {status:?}");
        }
        for status in [Status::Inactive, Status::Expired, Status::Gone] {
            assert_eq!(Severity::of_key(verdict, violation, status), harmless, "{verdict:?} {status:?}");
        }
    }
}

#[test]
fn the_status_follows_from_the_outcome_and_what_was_seen_last() {
    for (outcome, seen, expected) in [
        (Outcome::Deleted, Some(KeyStatus::Active), Status::Gone),
        (Outcome::AlreadyGone, None, Status::Gone),
        (Outcome::Deactivated, Some(KeyStatus::Active), Status::Inactive),
        (Outcome::AlreadyInactive, Some(KeyStatus::Expired), Status::Expired),
        (Outcome::Monitored, Some(KeyStatus::Active), Status::Active),
        (Outcome::Recorded, None, Status::Unknown),
    ] {
        assert_eq!(outcome.status(seen), expected, "{outcome}");
    }
}

#[test]
fn an_access_key_for_a_user_of_the_console_is_critical_in_a_field_and_not_in_a_prefix() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/console-user-access-key-created.json");
    let event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let Ok(ParsedEvent::Relevant(event)) = parse_record(&event["detail"]) else { panic!() };
    assert!(matches!(event.kind, EventKind::UserChanged(_)));
    let report = Report::not_assessed(&event, words::describe_event(&event.kind));
    assert_eq!(report.severity, Severity::Critical);
    assert!(report.reason.starts_with("An access key was created for"), "{}", report.reason);
}

#[test]
fn reasons_are_plain_sentences() {
    for (days, expected) in [
        (None, "The key never expires. The limit is 90 days. IAM's list of keys has no ExpirationDate."),
        (
            Some(1),
            "The key lives 1 day, until 2026-11-21T09:00:00Z. That is within the limit of 90 days. IAM's list of \
             keys says so.",
        ),
        (
            Some(365),
            "The key lives 365 days, until 2027-11-20T09:00:00Z. That is over the limit of 90 days. IAM's list of \
             keys says so.",
        ),
    ] {
        assert_eq!(words::reason(&assessment(days)), expected);
    }
}
