//! What the parser makes of the repository's events, beside the snapshots of the product's own tests.

use std::path::Path;

use key_guard_core::cloudtrail::{
    CREDENTIAL_CALLS, Correction, CreatedKey, Envelope, EventKind, Irrelevant, ParsedEvent, Provenance,
    USER_CALLS, Unreadable, parse_envelope, parse_record,
};
use key_guard_core::evidence::Reading;
use key_guard_core::key::Service;
use serde_json::{Value, json};

fn event(name: &str) -> Value {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = Path::new(name).with_extension("json");
    let found = ["events", "tests/it/unreadable"]
        .into_iter()
        .find_map(|folder| std::fs::read(repository.join(folder).join(&file)).ok());
    serde_json::from_slice(&found.unwrap()).unwrap()
}

fn parse(event: &Value) -> Result<ParsedEvent, Unreadable> {
    parse_envelope(&Envelope {
        source: event["source"].as_str().unwrap(),
        detail_type: event["detail-type"].as_str().unwrap(),
        account: event["account"].as_str(),
        detail: &event["detail"],
    })
}

fn created(event: &Value) -> CreatedKey {
    match parse(event) {
        Ok(ParsedEvent::Relevant(event)) => {
            let EventKind::Created(created) = event.kind else { panic!("{event:?}") };
            created
        }
        other => panic!("{other:?}"),
    }
}

fn unreadable(event: &Value) -> Unreadable {
    parse(event).unwrap_err()
}

const CREDENTIAL: &str = "/detail/responseElements/serviceSpecificCredential";

fn with_service(name: &str) -> Value {
    let mut event = event("created-for-90-days");
    event["detail"]["requestParameters"]["serviceName"] = json!(name);
    event.pointer_mut(CREDENTIAL).unwrap()["serviceName"] = json!(name);
    event
}

/// A tool may have rewritten it: the record would be passed over as one of another call.
#[test]
fn the_name_of_a_call_in_another_spelling_is_unreadable() {
    for name in CREDENTIAL_CALLS.into_iter().chain(USER_CALLS) {
        for spelling in [
            name.to_ascii_lowercase(),
            name.to_ascii_uppercase(),
            format!(" {name} "),
            format!("iam:{name}"),
            format!("IAM: {name}"),
        ] {
            let mut event = event("created-for-90-days");
            event["detail"]["eventName"] = json!(spelling);
            let expected = "field eventName: expected the name of the call as CloudTrail writes it, found another spelling";
            assert_eq!(parse_record(&event["detail"]).unwrap_err().to_string(), expected, "{spelling}");
            event["detail"]["eventSource"] = json!("IAM.amazonaws.com");
            let why = parse_record(&event["detail"]);
            assert_eq!(why.is_err(), CREDENTIAL_CALLS.contains(&name), "{spelling}: {why:?}");
        }
    }
    for other in ["ListServiceSpecificCredentials", "s3:CreateServiceSpecificCredential", "iam:"] {
        let mut event = event("created-for-90-days");
        event["detail"]["eventName"] = json!(other);
        assert!(matches!(
            parse_record(&event["detail"]),
            Ok(ParsedEvent::Irrelevant(Irrelevant::OtherCall(_)))
        ));
    }
}

#[test]
fn a_key_for_a_service_that_this_build_does_not_know_is_created_like_any_other() {
    let service = created(&with_service("Some-New.amazonaws.com")).service;
    assert_eq!((service.as_str(), service.is_known()), ("some-new.amazonaws.com", false));
    assert_eq!(created(&with_service("xray.amazonaws.com")).service, Service::XRay);
    assert_eq!(created(&with_service("codecommit.amazonaws.com")).service, Service::CodeCommit);
    for name in ["s3", "bedrock.example.com", "", "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl.amazonaws.com"] {
        let error = unreadable(&with_service(name));
        assert!(error.field.ends_with("serviceName"), "{error}");
        assert!(!error.to_string().contains("ABSK"), "{error}");
    }
}

#[test]
fn a_creation_carries_the_evidence_of_its_response_and_its_request() {
    let evidence = created(&event("created-age-and-expiration-disagree")).evidence;
    assert!(matches!((evidence.response, evidence.request), (Reading::Read(_), Reading::Read(_))));
    assert!(evidence.request_present);
    let mut without_request = event("created-age-in-request-only");
    without_request["detail"]["requestParameters"] = Value::Null;
    let evidence = created(&without_request).evidence;
    assert_eq!((evidence.request, evidence.request_present), (Reading::Missing, false));
    let evidence = created(&event("created-expiration-unreadable")).evidence;
    assert!(matches!(
        (evidence.response, evidence.request),
        (Reading::Unreadable(_), Reading::Unreadable(_))
    ));
}

#[test]
fn r9_an_unreadable_creation_says_whom_to_look_up() {
    let error = unreadable(&event("created-without-response"));
    let creation = error.creation.unwrap();
    assert_eq!(creation.provenance.account.as_str(), "111122223333");
    assert!(creation.user.is_some());
    let mut two_users = event("created-for-90-days");
    two_users["detail"]["requestParameters"]["userName"] = json!("somebody-else");
    assert_eq!(unreadable(&two_users).creation.unwrap().user, None, "neither is believed");
    // Without an account there is nobody to ask, and another event has nothing to look up.
    assert_eq!(unreadable(&event("created-with-two-accounts")).creation, None);
    let mut deleted = event("deleted");
    deleted["detail"]["requestParameters"]["serviceSpecificCredentialId"] = json!("no id");
    assert_eq!(unreadable(&deleted).creation, None);
}

#[test]
fn requests_of_a_schedule_are_irrelevant_and_anything_else_is_unreadable() {
    let kind = |event: Value| match parse_record(&event) {
        Ok(ParsedEvent::Irrelevant(why)) => Some(why),
        Ok(ParsedEvent::Relevant(event)) => panic!("{event:?}"),
        Err(_) => None,
    };
    assert_eq!(kind(json!({"sweep": {"accounts": "heard"}})), Some(Irrelevant::SweepRequest));
    assert_eq!(kind(json!({"resume": {}})), Some(Irrelevant::ResumeRequest));
    assert_eq!(kind(json!({"resume": {}, "more": 1})), None);
    assert_eq!(kind(json!([])), None);
}

/// A user of IAM Identity Center calls without a role, and is known by an id.
#[test]
fn an_identity_without_an_arn_has_an_actor() {
    for (identity, expected) in [
        (
            json!({
                "type": "IdentityCenterUser", "accountId": "111122223333", "credentialId": "c-1",
                "onBehalfOf": {
                    "userId": "9448-3041-7000",
                    "identityStoreArn": "arn:aws:identitystore::111122223333:identitystore/d-9067000001",
                },
            }),
            Some("9448-3041-7000"),
        ),
        (json!({"type": "Unknown", "principalId": "AIDAEXAMPLE"}), Some("AIDAEXAMPLE")),
        (json!({"type": "AWSService", "invokedBy": "bedrock.amazonaws.com"}), Some("bedrock.amazonaws.com")),
        (json!({"type": "Unknown"}), None),
    ] {
        let mut event = event("created-for-90-days");
        event["detail"]["userIdentity"] = identity.clone();
        let ParsedEvent::Relevant(event) = parse(&event).unwrap() else { panic!("{identity}") };
        assert_eq!(event.provenance.actor.principal.as_deref(), expected, "{identity}");
        assert_eq!(event.provenance.unreadable, Vec::<String>::new(), "{identity}");
    }
}

/// The secrets of every kind of key, where a caller can write text.
#[test]
fn no_secret_leaves_the_parser() {
    // "svc-x-at-111122223333:" and 24 more characters, in Base64.
    let body = "c3ZjLXgtYXQtMTExMTIyMjIzMzMzOjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nw==";
    let url = "YmVkcm9jay5hbWF6b25hd3MuY29tLz9BY3Rpb249Q2FsbFdpdGhCZWFyZXJUb2tlbg==";
    let secrets = ["ABSK", "ACWL", "APIAACWM", "AEAA", "XRAY?"]
        .map(|prefix| format!("{prefix}{body}"))
        .into_iter()
        .chain(
            ["bedrock-api-key-", "aws-external-anthropic-api-key-"].map(|prefix| format!("{prefix}{url}")),
        );
    for secret in secrets {
        for pointer in ["/detail/userAgent", "/detail/sourceIPAddress", "/detail/userIdentity/arn"] {
            let mut event = event("created-for-90-days");
            *event.pointer_mut(pointer).unwrap() = json!(format!("curl/8 ({secret})"));
            let parsed = format!("{:?}", parse(&event).unwrap());
            assert!(parsed.contains("(redacted)"), "{pointer} {secret}");
            assert!(!parsed.contains(&body[..40]) && !parsed.contains(&url[..40]), "{pointer} {secret}");
        }
        let mut refused = event("denied");
        refused["detail"]["errorCode"] = json!(secret);
        let parsed = format!("{:?}", parse(&refused).unwrap());
        assert!(!parsed.contains(&body[..40]) && !parsed.contains(&url[..40]), "{secret}");
    }
}

#[test]
fn an_addendum_that_updates_data_corrects_the_event_that_it_names() {
    let corrects = |addendum: Value| {
        let mut event = event("created-for-90-days");
        event["detail"]["addendum"] = addendum;
        let Ok(ParsedEvent::Relevant(event)) = parse(&event) else { panic!() };
        let Provenance { corrects, unreadable, .. } = event.provenance;
        let corrects = corrects.map(|Correction { event_id, reason, updated_fields }| {
            [event_id.map(|id| id.to_string()), reason, updated_fields]
        });
        (corrects, unreadable)
    };
    let text = |text: &str| Some(text.to_owned());
    let original = "e0e00000-0000-4000-8000-0000000000aa";
    let whole = json!({
        "reason": "UPDATED_DATA", "updatedFields": "responseElements", "originalRequestID": "r", "originalEventID": original,
    });
    assert_eq!(
        corrects(whole),
        (Some([text(original), text("UPDATED_DATA"), text("responseElements")]), vec![])
    );
    // The event itself, late.
    for reason in ["DELIVERY_DELAY", "SERVICE_OUTAGE"] {
        assert_eq!(corrects(json!({"reason": reason})), (None, vec![]));
        assert_eq!(corrects(json!({"reason": reason, "originalEventID": original})).0, None);
    }
    assert_eq!(corrects(json!({"reason": "UPDATED_DATA"})).0, Some([None, text("UPDATED_DATA"), None]));
    assert_eq!(
        corrects(json!({"reason": "SOMETHING_NEW", "originalEventID": original})).0,
        Some([text(original), text("SOMETHING_NEW"), None])
    );
    for none in [json!(null), json!({}), json!({"reason": "SOMETHING_NEW"})] {
        assert_eq!(corrects(none), (None, vec![]));
    }
    let odd = corrects(json!({"reason": "UPDATED_DATA", "originalEventID": "a b", "updatedFields": ["a"]}));
    assert_eq!(odd.0, Some([None, text("UPDATED_DATA"), None]));
    assert_eq!(odd.1, ["field addendum.updatedFields: expected a text, found a list of 1"]);
    assert!(corrects(json!("text")).1[0].starts_with("field addendum: expected an object"));
}
