//! Every example event has its report, as a snapshot: a new file is a new test. And whatever else comes in, the parser
//! neither panics nor takes what it cannot read for compliant.

use std::borrow::Borrow;

use crate::support::{event, events};
use bedrock_key_guard::cli::dry_run::{Preview, preview};
use key_guard_core::cloudtrail::{CredentialEvent, ParsedEvent};
use key_guard_core::lifecycle::dry_run::DryRunState;
use key_guard_core::lifecycle::input::{Ceiling, Env, WorkerId};
use key_guard_core::policy::{Policy, Verdict};
use key_guard_core::report::Report;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// What would follow from an event. `earlier` is the last dry run of its key.
fn previewed(event: &CredentialEvent, earlier: Option<&DryRunState>) -> Preview {
    let policy = Policy::built_in().unwrap();
    let worker = WorkerId("test".to_owned());
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let env = Env { policy: &policy, ceiling: Ceiling::Delete, now, deadline: now, worker: &worker };
    preview(event, earlier, &env)
}

fn report_of(preview: Preview) -> Report {
    match preview {
        Preview::Key(_, report) | Preview::Attempt(report) => *report,
    }
}

/// The report of an event, and who made the call.
fn decide(event: impl Borrow<Value>) -> Value {
    match bedrock_key_guard::event::parse(event.borrow()) {
        Err(unreadable) => json!({"unreadable": unreadable.to_string()}),
        Ok(ParsedEvent::Irrelevant(why)) => json!({"irrelevant": why.to_string()}),
        // No ledger knows a key of the user.
        Ok(ParsedEvent::Relevant(event)) => match event.irrelevance(false) {
            Some(why) => json!({"irrelevant": why.to_string()}),
            None => json!({"report": report_of(previewed(&event, None)), "caller": event.provenance.actor}),
        },
    }
}

#[test]
fn every_file_in_events_has_its_report() {
    for (name, event) in events() {
        insta::assert_json_snapshot!(name, decide(event));
    }
}

fn relevant(name: &str) -> CredentialEvent {
    match bedrock_key_guard::event::parse(&event(name)) {
        Ok(ParsedEvent::Relevant(event)) => *event,
        other => panic!("{other:?}"),
    }
}

/// Alone, an event that is not a creation says too little of its key.
#[test]
fn a_key_that_is_activated_or_reset_is_judged_by_its_creation() {
    let created = relevant("created-for-365-days");
    let Preview::Key(dry_run, _) = previewed(&created, None) else { panic!() };
    for (name, status) in [("status-changed-to-active", "active"), ("secret-reset", "unknown")] {
        let later = relevant(name);
        assert_eq!(later.key(), created.key());
        let report = report_of(previewed(&later, dry_run.as_ref()));
        assert_eq!(report.verdict, Some(Verdict::Noncompliant), "{name}");
        assert_eq!(report.status.as_str(), status, "{name}");
        assert_eq!(
            report.event_id,
            Some(later.provenance.event_id.clone()),
            "{name}: it is the report of this event"
        );
        assert_eq!(report_of(previewed(&later, None)).verdict, None, "{name}");
    }
    for name in ["status-changed-to-inactive", "deleted"] {
        let report = report_of(previewed(&relevant(name), dry_run.as_ref()));
        assert!(
            report.verdict.is_none() && report.reason.ends_with("Nothing follows from that."),
            "{report:?}"
        );
    }
}

#[test]
fn a_bare_record_is_decided_like_its_event() {
    for (name, event) in events() {
        let record = event["detail"].clone();
        if name == "created-with-two-accounts" {
            // Without an envelope nothing contradicts the record.
            assert!(decide(event).get("unreadable").is_some());
            assert!(decide(record)["report"]["verdict"].is_string());
            continue;
        }
        let strip = |decision: Value| json!(decision.to_string().replace("field detail.", "field "));
        assert_eq!(strip(decide(record)), strip(decide(event)), "{name}");
    }
}

#[test]
fn optional_fields_may_be_missing_and_unknown_ones_present() {
    let mut whole = event("created-for-365-days");
    let verdict = decide(whole.clone())["report"]["verdict"].clone();
    for field in
        ["userAgent", "sourceIPAddress", "userIdentity", "requestParameters", "tlsDetails", "awsRegion"]
    {
        let mut event = whole.clone();
        event["detail"].as_object_mut().unwrap().remove(field);
        assert_eq!(decide(event)["report"]["verdict"], verdict, "{field}");
    }
    whole["detail"]["responseElements"]["serviceSpecificCredential"]["somethingNew"] = json!({"a": [1, 2]});
    whole["detail"]["somethingNew"] = json!(null);
    assert_eq!(decide(whole)["report"]["verdict"], verdict);
}

#[test]
fn each_identity_names_its_actor() {
    let service = json!({"type": "AWSService", "invokedBy": "sso.amazonaws.com"});
    for (identity, actor) in [
        (service, json!("sso.amazonaws.com")),
        (json!({"type": "IAMUser", "userName": "a"}), Value::Null),
        (json!({"type": "AssumedRole", "arn": 42}), Value::Null),
        (json!("root"), Value::Null),
        (Value::Null, Value::Null),
    ] {
        let mut event = event("created-for-365-days");
        event["detail"]["userIdentity"] = identity.clone();
        let decision = decide(event);
        assert_eq!(
            decision["report"]["verdict"], "noncompliant",
            "who created a key does not keep it from being judged"
        );
        assert_eq!(decision["report"]["actor"], actor, "{identity}");
    }
}

#[test]
fn an_envelope_may_lack_what_is_not_needed_of_it() {
    let whole = event("created-for-365-days");
    for (field, value) in [("time", json!("yesterday")), ("resources", json!(7)), ("account", Value::Null)] {
        let mut event = whole.clone();
        event[field] = value;
        assert_eq!(decide(event), decide(whole.clone()), "{field}");
    }
    let mut empty = whole;
    empty.as_object_mut().unwrap().remove("detail");
    assert!(decide(empty)["unreadable"].as_str().unwrap().contains("field detail"));
}

#[test]
fn what_is_unreadable_names_its_field_and_not_its_value() {
    const SECRET: &str = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==";
    let wrong = || [json!(SECRET), json!(42), json!([SECRET]), json!({ "x": SECRET }), json!(true)];
    let refuses = |pointer: &str, value: &Value| {
        let mut event = event("created-for-365-days");
        *event.pointer_mut(pointer).unwrap() = value.clone();
        let decision = decide(event);
        let message =
            decision["unreadable"].as_str().unwrap_or_else(|| panic!("{pointer} {value}")).to_owned();
        let field = pointer.trim_start_matches('/').replace('/', ".");
        assert!(message.contains(&field), "{message}");
        assert!(!message.contains("ABSK"), "{message}");
    };
    let credential = "/detail/responseElements/serviceSpecificCredential";
    for value in wrong() {
        for pointer in [
            "/detail/eventTime",
            "/detail/recipientAccountId",
            "/detail/responseElements",
            credential,
            &format!("{credential}/serviceSpecificCredentialId"),
        ] {
            refuses(pointer, &value);
        }
        if !value.is_string() {
            refuses(&format!("{credential}/userName"), &value);
            refuses(&format!("{credential}/serviceName"), &value);
            refuses("/detail/eventID", &value);
            refuses("/detail/eventName", &value);
            refuses("/source", &value);
        }
    }
    refuses(&format!("{credential}/userName"), &json!("two words"));
    refuses(&format!("{credential}/userName"), &json!(""));
    refuses("/detail/eventID", &json!("a#b"));
    refuses("/account", &json!(7));
    refuses("/account", &json!("7"));
}

#[test]
fn an_unreadable_date_or_age_is_undetermined_never_absent() {
    let credential = "/detail/responseElements/serviceSpecificCredential";
    for (pointer, field) in [
        (credential, "expirationDate"),
        (credential, "createDate"),
        ("/detail/requestParameters", "credentialAgeDays"),
    ] {
        for value in [json!("soon"), json!(-1), json!([]), json!({}), json!(true), json!("")] {
            let mut event = event("created-for-90-days");
            event.pointer_mut(pointer).unwrap()[field] = value.clone();
            // R4: what cannot be read counts as missing, so the other date must not be there.
            let (other, its_field) = match field {
                "expirationDate" => ("/detail/requestParameters", "credentialAgeDays"),
                _ => (credential, "expirationDate"),
            };
            if field != "createDate" {
                event.pointer_mut(other).unwrap().as_object_mut().unwrap().remove(its_field);
            }
            let decision = decide(event);
            assert_eq!(decision["report"]["verdict"], "undetermined", "{field} {value}");
            assert!(decision["report"]["reason"].as_str().unwrap().contains(field), "{decision}");
        }
    }
    for age in [json!(0), json!(36_601), json!("ninety"), json!(1.5), json!(u64::MAX)] {
        let mut event = event("created-age-in-request-only");
        event["detail"]["requestParameters"]["credentialAgeDays"] = age.clone();
        assert_eq!(decide(event)["report"]["verdict"], "undetermined", "{age}");
    }
}

#[test]
fn a_missing_creation_date_falls_back_to_the_events_time_and_says_so() {
    let mut event = event("created-age-in-request-only");
    event["detail"]["responseElements"]["serviceSpecificCredential"]
        .as_object_mut()
        .unwrap()
        .remove("createDate");
    let decision = decide(event);
    assert_eq!(decision["report"]["verdict"], "noncompliant");
    assert!(decision["report"]["reason"].as_str().unwrap().contains("no createDate"), "{decision}");
}

#[test]
fn what_is_not_iams_is_not_ours_and_says_why() {
    for (pointer, value, why) in [
        ("/source", "aws.s3", "bus source"),
        ("/detail-type", "AWS Console Sign In via CloudTrail", "detail type"),
        ("/detail/eventSource", "s3.amazonaws.com", "event source"),
        ("/detail/eventName", "ListServiceSpecificCredentials", "API call"),
    ] {
        let mut event = event("created-for-365-days");
        // With a call of ours in it, another envelope would be unreadable.
        *event.pointer_mut("/detail/eventName").unwrap() = json!("ListUsers");
        *event.pointer_mut(pointer).unwrap() = json!(value);
        let decision = decide(event);
        assert!(decision["irrelevant"].as_str().unwrap().contains(why), "{decision}");
    }
    let sweep = decide(json!({"sweep": {"accounts": [], "ceiling": "monitor"}}));
    assert!(sweep["irrelevant"].as_str().unwrap().contains("a sweep"), "{sweep}");
    let mut event = event("created-for-365-days");
    event["detail"]["responseElements"]["serviceSpecificCredential"]["serviceName"] =
        json!("new.amazonaws.com");
    event["detail"]["requestParameters"]["serviceName"] = json!("New.amazonaws.com");
    assert!(decide(event)["report"]["reason"].as_str().unwrap().contains("new.amazonaws.com"));
}

#[test]
fn a_call_of_ours_in_another_envelope_is_not_passed_over() {
    for (pointer, value, why) in [
        ("/source", "custom.app", "field source: expected aws.iam"),
        (
            "/detail-type",
            "AWS API call via CloudTrail",
            "field detail-type: expected AWS API Call via CloudTrail",
        ),
    ] {
        let mut event = event("created-for-365-days");
        *event.pointer_mut(pointer).unwrap() = json!(value);
        let error = bedrock_key_guard::event::parse(&event).unwrap_err().to_string();
        assert!(error.starts_with(why), "{error}");
    }
    // What a pipe makes of a message.
    let message = json!({"body": event("created-for-365-days").to_string()});
    let pipe = json!({"source": "Pipe queue", "detail-type": "Event from aws:sqs", "detail": message});
    let error = bedrock_key_guard::event::parse(&pipe).unwrap_err().to_string();
    assert!(error.starts_with("field source: expected aws.iam"), "{error}");
    // As the documentation for the regions of China prints it.
    let mut event = event("created-for-365-days");
    event["detail-type"] = json!("Amazon API Call via CloudTrail");
    assert_eq!(decide(event)["report"]["verdict"], "noncompliant");
}

#[test]
fn an_access_key_is_ours_when_a_console_created_its_user() {
    let created = event("console-user-access-key-created");
    let user = "/detail/responseElements/accessKey/userName";
    for name in ["BedrockAPIKey-k3qz", "AeaApiKey-9h2c"] {
        let mut event = created.clone();
        *event.pointer_mut(user).unwrap() = json!(name);
        let says = decide(event)["report"]["reason"].as_str().unwrap().to_owned();
        assert!(says.starts_with("An access key was created for") && says.contains(name), "{says}");
    }
    // The request may leave the user out, and says what was asked for only.
    let mut event = created.clone();
    event["detail"]["requestParameters"] = Value::Null;
    assert!(decide(event)["report"]["reason"].is_string());
    for (pointer, value) in [
        (user, json!("svc-nightly")),
        (user, json!("my-BedrockAPIKey-k3qz")),
        (user, json!("two words")),
        ("/detail/eventName", json!("DeleteAccessKey")),
    ] {
        let mut event = created.clone();
        *event.pointer_mut(pointer).unwrap() = value.clone();
        let decision = decide(event);
        assert!(
            decision["irrelevant"].as_str().unwrap().contains("AccessKey"),
            "{pointer} {value}: {decision}"
        );
    }
    // Where the response does not say whose it is, the request does.
    for (pointer, value) in [
        (user, Value::Null),
        ("/detail/responseElements/accessKey", json!("masked")),
        ("/detail/responseElements", Value::Null),
    ] {
        let mut event = created.clone();
        *event.pointer_mut(pointer).unwrap() = value.clone();
        assert_eq!(decide(event.clone())["report"]["severity"], "critical", "{pointer} {value}");
        event["detail"]["requestParameters"] = Value::Null;
        assert!(decide(event)["irrelevant"].as_str().unwrap().contains("does not say for which user"));
    }
    // What is no name is never passed over for the next place.
    let mut event = created.clone();
    *event.pointer_mut(user).unwrap() = json!(42);
    assert!(decide(event)["unreadable"].as_str().unwrap().contains("responseElements.accessKey.userName"));
    // A denied call does not say for which user.
    let mut event = created.clone();
    event["detail"]["errorCode"] = json!("AccessDenied");
    event["detail"]["responseElements"] = Value::Null;
    event["detail"]["requestParameters"] = Value::Null;
    assert!(decide(event)["irrelevant"].is_string());
    let mut event = created.clone();
    *event.pointer_mut(user).unwrap() = json!("BedrockAPIKey-two words");
    let decision = decide(event);
    let unreadable = decision["unreadable"].as_str().unwrap();
    assert!(unreadable.contains("responseElements.accessKey.userName"), "{decision}");
    assert!(!unreadable.contains("two words"), "{decision}");
}

#[test]
fn a_key_that_the_policy_does_not_judge_is_a_finding_and_a_password_is_none() {
    for (name, severity, says) in [
        ("created-for-logs", "medium", "A new key for logs.amazonaws.com is not judged."),
        ("created-for-unknown-service", "medium", "This version of the guard does not know the service."),
        ("created-for-codecommit", "info", "A password was created"),
    ] {
        let report = decide(event(name))["report"].clone();
        assert_eq!(
            (&report["severity"], &report["verdict"], &report["outcome"]),
            (&json!(severity), &Value::Null, &json!("ignored")),
            "{name}"
        );
        assert!(report["reason"].as_str().unwrap().contains(says), "{report}");
        // Only a finding has something to do.
        let remediation = report["remediation"].as_str();
        assert_eq!(remediation.is_some_and(|text| text.contains("--status Inactive")), severity == "medium");
    }
}

#[test]
fn for_whom_and_by_what_a_call_was_made_is_kept() {
    let mut event = event("created-for-365-days");
    event["detail"]["userIdentity"] = json!({
        "type": "IdentityCenterUser",
        "accountId": "111122223333",
        "onBehalfOf": {
            "userId": "544894e8-80c1-707f-60e3-3ba6510dfac1",
            "identityStoreArn": "arn:aws:identitystore::111122223333:identitystore/d-9067642ac7",
        },
        "inScopeOf": {
            "issuerType": "AWS::Lambda::Function",
            "credentialsIssuedTo": "arn:aws:lambda:us-east-1:111122223333:function:deploy",
            "sourceAccount": "111122223333",
        },
        "invokedByDelegate": {"accountId": "444455556666"},
        "credentialId": "ABSKnot-kept",
    });
    let decision = decide(event);
    assert_eq!(decision["report"]["actor"], "544894e8-80c1-707f-60e3-3ba6510dfac1");
    assert_eq!(
        decision["caller"]["context"],
        json!({
            "issuer_type": "AWS::Lambda::Function",
            "credentials_issued_to": "arn:aws:lambda:us-east-1:111122223333:function:deploy",
            "delegate_account": "444455556666",
            "identity_center_user": "544894e8-80c1-707f-60e3-3ba6510dfac1",
            "identity_store": "arn:aws:identitystore::111122223333:identitystore/d-9067642ac7",
        })
    );
    assert!(!decision.to_string().contains("not-kept"));
}

/// A key that is taken for one of another service is passed over, so that needs certainty.
#[test]
fn a_response_that_contradicts_the_request_is_unreadable() {
    for (field, values) in [
        (
            "serviceName",
            &[
                "",
                "HIDDEN_DUE_TO_SECURITY_REASONS",
                "bedrock.amazonaws.com ",
                "codecommit.amazonaws.com",
                "new.amazonaws.com",
            ][..],
        ),
        ("userName", &["somebody-else", ""]),
    ] {
        for value in values {
            let mut event = event("created-for-365-days");
            event["detail"]["responseElements"]["serviceSpecificCredential"][field] = json!(value);
            let unreadable = decide(event)["unreadable"].as_str().unwrap().to_owned();
            assert!(unreadable.contains(field), "{value}: {unreadable}");
        }
    }
}

/// No two dates that are misread in the same way make a long life short.
#[test]
fn a_creation_far_from_its_event_is_undetermined() {
    for (created, ends) in [
        (json!("20260222161147"), json!("20260822161147")),
        (json!("2036-11-20T09:00:00Z"), json!("2037-01-20T09:00:00Z")),
        (json!("Nov 22, 2026, 9:00:00 AM"), Value::Null),
        (json!("Nov 18, 2026, 9:00:00 AM"), json!("Dec 18, 2026, 9:00:00 AM")),
    ] {
        let mut event = event("created-for-90-days");
        event["detail"]["responseElements"]["serviceSpecificCredential"]["createDate"] = created.clone();
        event["detail"]["responseElements"]["serviceSpecificCredential"]["expirationDate"] = ends;
        let decision = decide(event);
        assert_eq!(decision["report"]["verdict"], "undetermined", "{created}: {decision}");
    }
}

#[test]
fn a_secret_in_the_place_of_an_id_is_unreadable() {
    const SECRET: &str = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl";
    for pointer in
        ["/detail/eventID", "/detail/responseElements/serviceSpecificCredential/serviceSpecificCredentialId"]
    {
        for value in [SECRET.to_owned(), format!("x{SECRET}")] {
            let mut event = event("created-for-365-days");
            *event.pointer_mut(pointer).unwrap() = json!(value);
            let decision = decide(event);
            assert!(decision["unreadable"].is_string(), "{pointer}: {decision}");
            assert!(!decision.to_string().contains("ABSK"), "{decision}");
        }
    }
}

/// IAM allows such names. If they were refused, anybody who chose one would escape the guard. Of a call that failed,
/// the name is whatever someone has typed.
#[test]
fn a_user_whose_name_looks_like_a_secret_is_judged_like_any_other() {
    const NAME: &str = "ABSKinnocent-looking-name";
    let mut event = event("created-without-age");
    for place in ["requestParameters", "responseElements/serviceSpecificCredential"] {
        *event.pointer_mut(&format!("/detail/{place}/userName")).unwrap() = json!(NAME);
    }
    let decision = decide(event.clone());
    assert_eq!(
        (&decision["report"]["verdict"], &decision["report"]["user"]),
        (&json!("noncompliant"), &json!(NAME)),
        "{decision}"
    );
    event["detail"]["errorCode"] = json!("LimitExceededException");
    event["detail"]["responseElements"] = Value::Null;
    let decision = decide(event);
    assert!(decision["report"]["reason"].is_string() && !decision.to_string().contains("ABSK"), "{decision}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        prop_oneof![
            Just("iam.amazonaws.com"),
            Just("CreateServiceSpecificCredential"),
            Just("aws.iam"),
            Just("111122223333"),
            Just("2026-11-20T09:00:00Z"),
            Just("Nov 20, 2026, 9:00:00\u{202f}AM"),
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(
                prop_oneof![
                    Just("detail".to_owned()),
                    Just("detail-type".to_owned()),
                    Just("eventSource".to_owned()),
                    Just("eventName".to_owned()),
                    Just("responseElements".to_owned()),
                    "[a-zA-Z]{1,12}",
                ],
                inner,
                0..6
            )
            .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The pointers of every value in an event.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    if let Value::Object(fields) = value {
        for (name, inner) in fields {
            pointers(inner, &format!("{at}/{name}"), into);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_json_never_panics_and_is_never_a_judged_key(value in any_json()) {
        let decision = decide(value);
        prop_assert!(!decision["report"]["verdict"].is_string());
    }

    /// Mutates the event of a key whose every readable lifetime is too long. No mutation of one or two
    /// fields may make it compliant, unless what was written is a date or age that can be read.
    #[test]
    fn a_mutated_event_is_never_compliant_unless_its_lifetime_was_read(
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
        values in [any_json(), any_json()],
    ) {
        const LIFETIME: [&str; 3] = [
            "/detail/requestParameters/credentialAgeDays",
            "/detail/responseElements/serviceSpecificCredential/createDate",
            "/detail/responseElements/serviceSpecificCredential/expirationDate",
        ];
        let original = event("created-for-365-days");
        let mut event = original.clone();
        for (index, value) in [first, second].into_iter().zip(values) {
            let mut all = Vec::new();
            pointers(&event, "", &mut all);
            let chosen = index.get(&all);
            *event.pointer_mut(chosen).unwrap() = value;
        }
        let decision = decide(event.clone());
        let untouched = LIFETIME.iter().all(|pointer| event.pointer(pointer) == original.pointer(pointer));
        prop_assert!(
            !(untouched && decision["report"].get("verdict") == Some(&json!("compliant"))),
            "compliant, and nothing of its lifetime was touched: {event}"
        );
    }

    /// An expiration that is some other text is read as that very date, or not at all.
    #[test]
    fn an_expiration_is_read_exactly_or_not_at_all(text in "\\PC{0,30}") {
        let mut event = event("created-for-90-days");
        event["detail"]["responseElements"]["serviceSpecificCredential"]["expirationDate"] = json!(text);
        event["detail"]["requestParameters"].as_object_mut().unwrap().remove("credentialAgeDays");
        let decision = decide(event);
        prop_assert!(decision["report"]["verdict"] == Verdict::Undetermined.as_str(), "{text:?}: {decision}");
    }
}
