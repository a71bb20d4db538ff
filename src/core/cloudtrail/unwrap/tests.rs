//! However an event is wrapped, it is found or something is said.

#[path = "../../../../tests/it/support/escapes.rs"]
mod escapes;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use escapes::with_escapes;

fn record() -> Value {
    json!({
        "eventVersion": "1.11",
        "eventSource": "iam.amazonaws.com",
        "eventName": "CreateServiceSpecificCredential",
        "requestParameters": {"policyDocument": "{\"Version\": \"2012-10-17\"}"},
    })
}

fn envelope() -> Value {
    json!({"source": "aws.iam", "detail-type": "AWS API Call via CloudTrail", "detail": record()})
}

fn unwrap(value: &Value) -> Vec<Unwrapped> {
    super::unwrap(value, Target::GuardedCalls)
}

fn hidden_call(outer: &Value) -> Option<Unreadable> {
    super::hidden_call(outer, Target::GuardedCalls)
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encoded(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn found(value: &Value) -> Vec<Value> {
    let events = unwrap(value).into_iter().filter_map(|found| match found {
        Unwrapped::Event(event) => Some(event),
        Unwrapped::Unreadable(why) => panic!("{why}"),
        Unwrapped::Irrelevant(_) => None,
    });
    events.collect()
}

fn unreadable(value: &Value) -> String {
    let [Unwrapped::Unreadable(why)] = &unwrap(value)[..] else { panic!("not unreadable") };
    why.to_string()
}

#[test]
fn an_event_is_found_as_it_is() {
    assert_eq!(found(&envelope()), [envelope()]);
    assert_eq!(found(&record()), [record()]);
}

#[test]
fn each_known_wrapping_is_followed() {
    let text = record().to_string();
    let subscription = |message: &str| {
        json!({"messageType": "DATA_MESSAGE", "logEvents": [{"id": "1", "message": message}]}).to_string()
    };
    let control =
        json!({"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "CWL CONTROL MESSAGE: x"}]});
    let topic = json!({"Type": "Notification", "Message": envelope().to_string()});
    for (what, wrapped) in [
        ("lookup-events", json!({"Events": [{"EventName": "Create", "CloudTrailEvent": text}]})),
        ("CloudTrail Lake", json!({"QueryResultRows": [[{"eventJson": text}]]})),
        ("filter-log-events", json!({"events": [{"timestamp": 1, "message": text}]})),
        ("Logs Insights", json!({"results": [[{"field": "@message", "value": text}]]})),
        ("CloudWatch Logs", json!({"awslogs": {"data": encoded(&gzipped(subscription(&text).as_bytes()))}})),
        (
            "Firehose",
            json!({"records": [{"data": encoded(format!("{control}{}", subscription(&text)).as_bytes())}]}),
        ),
        ("Kinesis", json!({"Records": [{"kinesis": {"data": encoded(text.as_bytes())}}]})),
        ("SQS in Lambda", json!({"Records": [{"eventSource": "aws:sqs", "body": text}]})),
        ("receive-message", json!({"Messages": [{"Body": text}]})),
        (
            "Base64 with line breaks",
            json!({"data": encoded(text.as_bytes()).as_bytes().chunks(76)
            .map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join("\n")}),
        ),
        ("SNS in Lambda", json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": text}}]})),
        ("SNS in SQS", json!({"Records": [{"eventSource": "aws:sqs", "body": topic.to_string()}]})),
        ("OpenSearch", json!({"hits": {"hits": [{"_source": {"event": {"original": text}}}]}})),
        ("Splunk", json!({"preview": false, "result": {"_raw": text}})),
        (
            "a destination",
            json!({"requestContext": {}, "requestPayload": envelope(), "responsePayload": null}),
        ),
    ] {
        let event =
            if what.contains("SNS in SQS") || what.contains("destination") { envelope() } else { record() };
        assert_eq!(found(&wrapped), [event], "{what}");
    }
}

#[test]
fn what_is_no_event_is_none() {
    for value in [
        json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {}}]}),
        json!({"token": "eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "text": "eye", "object": "{\"a\": 1}", "odd": "{a"}),
        json!([1, null, true, "", "CreateServiceSpecificCredential"]),
    ] {
        assert_eq!(unwrap(&value), [], "{value}");
    }
}

#[test]
fn what_counts_other_events_is_none() {
    let call = json!({"eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential"});
    let insight = json!({"eventType": "AwsCloudTrailInsight", "insightDetails": call});
    let aggregated =
        json!({"eventType": "AwsAggregatedEvent", "eventSource": "iam.amazonaws.com", "summary": {}});
    for (value, why) in [(insight, Irrelevant::InsightsEvent), (aggregated, Irrelevant::AggregatedEvent)] {
        let wrapped = json!({"Records": [{"message": value.to_string()}]});
        assert_eq!(unwrap(&wrapped), [Unwrapped::Irrelevant(why)]);
    }
}

#[test]
fn what_may_have_held_an_event_is_unreadable() {
    let text = record().to_string();
    let cut = &text[..text.len() - 20];
    let mut packed = gzipped(text.as_bytes());
    for (value, says) in [
        (json!({"a": [{"b": cut}]}), "field a[0].b: expected JSON, found a text that names or hides a call"),
        (json!({"a": format!("<14>Nov 20 host {cut}")}), "field a: expected JSON"),
        (
            json!({"data": encoded(&packed[..packed.len() - 9])}),
            "field data: expected gzip, found damaged gzip",
        ),
        (
            json!({"data": format!("{}?", encoded(&packed))}),
            "field data: expected Base64, found something else",
        ),
    ] {
        assert!(unreadable(&value).starts_with(says), "{}", unreadable(&value));
    }
    for _ in 0..MAX_LAYERS {
        packed = gzipped(&packed);
    }
    assert!(unreadable(&json!(encoded(&packed))).contains("at most 8 texts in each other"));
    let bomb = gzipped(&vec![b' '; MAX_UNPACKED + 1]);
    assert!(unreadable(&json!([encoded(&bomb)])).contains("at most 8 MiB in a text"));
}

/// What a message has that cannot be decoded is named, also beside an event that can be read.
#[test]
fn a_payload_that_cannot_be_read_is_unreadable() {
    let text = whole().to_string();
    let cut = |letters: usize| {
        let encoded = encoded(json!({"detail": whole(), "pad": "x".repeat(400)}).to_string().as_bytes());
        json!(encoded[..encoded.len() - letters])
    };
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let renamed = json!({"event_name": "CreateServiceSpecificCredential", "event_source": IAM}).to_string();
    let opaque = encoded(&[&b"\x78\x9c"[..], &[0xa7; 300]].concat());
    for (body, says) in [
        (cut(2), "Base64 of something else, or cut off"),
        (cut(3), "Base64 of something else, or cut off"),
        (cut(301), "Base64 of something else, or cut off"),
        (json!(encoded(&utf16)), "Base64 of something else, or cut off"),
        (json!(opaque), "Base64 of something else, or cut off"),
        (json!(renamed), "a text that names a call and has none"),
        (
            json!(
                r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"a","s3Key":"b"}]"#
            ),
            "a pointer to it in S3",
        ),
    ] {
        let records = json!({"Records": [{"eventSource": "aws:sqs", "body": body}, {"body": text}]});
        let [Unwrapped::Unreadable(why), Unwrapped::Event(_)] = &unwrap(&records)[..] else {
            panic!("{records}")
        };
        assert!(
            why.to_string().starts_with("field Records[0].body") && why.to_string().ends_with(says),
            "{why}"
        );
    }
    let other = json!({"order": "x".repeat(400)}).to_string();
    let token = "aZ09".repeat(100);
    for quiet in [
        json!({"Records": [{"receiptHandle": token, "body": other}, {"kinesis": {"data": encoded(other.as_bytes())}}]}),
        json!({"Message": "hello", "Signature": token}),
    ] {
        assert_eq!(unwrap(&quiet), [], "{quiet}");
    }
}

/// Anybody on the Internet can write a text into these.
#[test]
fn a_record_in_a_log_of_another_service_is_never_an_event() {
    let text = whole().to_string();
    for inner in [json!(text), json!(encoded(text.as_bytes())), json!("CreateServiceSpecificCredential")] {
        let is_quiet = inner == "CreateServiceSpecificCredential";
        for (log, kind) in [
            (json!({"webaclId": "a", "httpRequest": {"headers": [{"value": inner}]}}), ForeignLog::Waf),
            (json!({"query_name": inner, "query_timestamp": "t", "srcaddr": "a"}), ForeignLog::Resolver),
            (json!({"x-edge-location": "a", "cs-method": "GET", "ua": inner}), ForeignLog::CloudFront),
            (
                json!({"schemaVersion": "2.0", "service": {"serviceName": "guardduty", "ua": inner}}),
                ForeignLog::GuardDuty,
            ),
        ] {
            assert_eq!(ForeignLog::of(&log), Some(kind));
            for wrapped in [log.clone(), json!({"logEvents": [{"message": log.to_string()}]})] {
                match &unwrap(&wrapped)[..] {
                    [] => assert!(is_quiet, "{wrapped}"),
                    [Unwrapped::Unreadable(_)] => assert!(!is_quiet, "{wrapped}"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

/// A record of another service, with this in it.
fn of_other_service(value: &Value) -> Value {
    json!({
        "eventVersion": "1.11",
        "eventSource": "events.amazonaws.com",
        "eventName": "TestEventPattern",
        "eventTime": "2026-11-20T09:07:11Z",
        "requestParameters": {"event": value},
    })
}

/// What is passed over, with this in it.
fn beside(value: &Value) -> [Value; 4] {
    [
        json!({"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": value}]}),
        json!({"eventType": "AwsCloudTrailInsight", "insightDetails": {"attributions": [value]}}),
        json!({"eventType": "AwsAggregatedEvent", "summary": value}),
        json!({"fileVersion": "1.0", "configurationItems": [{"configuration": value}]}),
    ]
}

/// What was found in a value, and in events that are not ours.
fn found_inside(value: &Value) -> Vec<Unwrapped> {
    let inside = |found| match found {
        Unwrapped::Event(event) if event["detail"] != whole() => {
            hidden_call(&event).map_or(Unwrapped::Event(event), Unwrapped::Unreadable)
        }
        found @ (Unwrapped::Event(_) | Unwrapped::Unreadable(_) | Unwrapped::Irrelevant(_)) => found,
    };
    unwrap(value).into_iter().map(inside).collect()
}

/// A whole record, of the fewest fields.
fn whole() -> Value {
    let mut whole = record();
    whole["eventTime"] = json!("2026-11-20T09:07:11Z");
    whole
}

#[test]
fn a_record_of_ours_inside_something_else_is_unreadable() {
    let text = whole().to_string();
    for inner in [
        whole(),
        json!({"detail-type": "x", "source": "y", "detail": whole()}),
        json!(text),
        json!(with_escapes(&text)),
        json!([json!(text).to_string()]),
        json!(encoded(text.as_bytes())),
        json!(encoded(&gzipped(text.as_bytes()))),
        json!(format!("<14>Nov 20 host {text}")),
        json!(text[..text.len() - 3]),
        json!(with_escapes(&text)[..300]),
        json!(format!("\"{}", text.replace('"', "\"\""))),
        of_other_service(&json!(of_other_service(&json!(text)).to_string())),
    ] {
        let outer = of_other_service(&inner);
        let why = hidden_call(&outer).unwrap_or_else(|| panic!("{outer}")).to_string();
        assert!(why.starts_with("field requestParameters.event"), "{why}");
        assert_eq!(unwrap(&outer), [Unwrapped::Event(outer)]);
        for outer in beside(&inner) {
            assert!(hidden_call(&outer).is_some(), "{outer}");
            // Only those who read files know a file of AWS Config.
            let is_config = outer.get("fileVersion").is_some();
            assert!(is_config || matches!(&unwrap(&outer)[..], [Unwrapped::Unreadable(_)]), "{outer}");
        }
    }
    let says = hidden_call(&of_other_service(&whole())).unwrap().to_string();
    assert_eq!(
        says,
        "field requestParameters.event: expected an event that stands alone, found a record of \
         CreateServiceSpecificCredential inside something else"
    );
    let user =
        json!({"eventSource": IAM, "eventName": "CreateAccessKey", "eventTime": "2026-11-20T09:07:11Z"});
    assert!(hidden_call(&of_other_service(&user)).is_some());
}

/// What real trails have beside events of ours.
#[test]
fn a_mere_name_of_a_call_is_nothing() {
    let pattern =
        json!({"source": ["aws.iam"], "detail": {"eventName": ["CreateServiceSpecificCredential"]}});
    let policy = json!({"Statement": [{"Action": "iam:CreateServiceSpecificCredential", "Effect": "Deny"}]});
    let call = json!({"eventSource": IAM, "eventName": "CreateServiceSpecificCredential", "state": "Start"});
    for inner in [
        call.clone(),
        json!(call.to_string()),
        pattern.clone(),
        json!(pattern.to_string()),
        json!(policy.to_string()),
        json!(format!("{policy:#}")[..90]),
        json!("{ ($.eventSource = iam.amazonaws.com) && ($.eventName = \"PutUserPolicy\") }"),
        json!("SELECT eventName FROM logs WHERE eventName = 'CreateServiceSpecificCredential'"),
        json!("{\"eventName\": [\"CreateServiceSpecificCredential\""),
        json!("eventName: CreateServiceSpecificCredential"),
        json!("H4sIAAAAAAAA"),
        json!({"eventSource": "quicksight.amazonaws.com", "eventName": "CreateAccessKey", "eventTime": "x"}),
        json!({"eventSource": IAM, "eventName": "CreateUser", "eventTime": "x"}),
    ] {
        assert_eq!(hidden_call(&of_other_service(&inner)), None, "{inner}");
        for outer in beside(&inner) {
            assert_eq!(hidden_call(&outer), None, "{outer}");
        }
    }
    // An event is not inside itself, whatever is around it.
    for event in [whole(), json!({"detail-type": "x", "source": "y", "detail": whole()})] {
        assert_eq!(hidden_call(&event), None);
    }
}

#[test]
fn a_text_that_is_cut_off_hides_nothing_by_escapes() {
    let text = with_escapes(&record().to_string());
    assert!(unreadable(&json!([text[..text.len() - 20]])).contains("is cut off"));
}

/// Whatever gzip begins with, and an object, a list, and a text in which is one of them or Base64.
#[test]
fn the_starts_of_encoded_texts_are_known() {
    for (start, seconds) in [("{", "\"} \n\t\r"), ("[", "\"{[] \n\t\r09-tfn"), ("\"", "{[\\ eHWI")] {
        for text in seconds
            .chars()
            .flat_map(|second| " {\"\\aZ\u{e9}".chars().map(move |third| format!("{start}{second}{third}")))
        {
            for encoded in [encoded(text.as_bytes()), encoded(&gzipped(text.as_bytes()))] {
                let quoted = format!("\"{encoded}");
                assert!(ENCODED_STARTS.iter().any(|start| quoted.starts_with(start)), "{text}: {encoded}");
            }
        }
    }
}

/// One layer of a wrapping.
fn layer() -> impl Strategy<Value = u8> {
    0_u8..9
}

fn wrap(value: &Value, layer: u8) -> Value {
    match layer {
        0 => json!({"Records": [{"body": value}, {"other": 1}]}),
        1 => json!([null, value]),
        2 => json!({"message": value.to_string()}),
        3 => json!({"data": encoded(value.to_string().as_bytes())}),
        4 => json!({"data": encoded(&gzipped(value.to_string().as_bytes()))}),
        5 => json!(format!("{value}\n")),
        6 => json!({"message": with_escapes(&value.to_string())}),
        7 => of_other_service(value),
        _ => beside(value)[value.to_string().len() % 4].clone(),
    }
}

proptest! {
    /// However an event is wrapped, it is found, or it is said that something is unreadable.
    #[test]
    fn no_wrapping_hides_an_event(layers in proptest::collection::vec(layer(), 0..14)) {
        let mut event = envelope();
        event["detail"] = whole();
        let wrapped = layers.iter().fold(event.clone(), |value, layer| wrap(&value, *layer));
        let texts = layers.iter().filter(|layer| (2..7).contains(*layer)).count();
        let is_inside = layers.contains(&7);
        match &found_inside(&wrapped)[..] {
            [Unwrapped::Event(found)] if *found == event => prop_assert!(texts <= MAX_LAYERS && !is_inside),
            [Unwrapped::Unreadable(_)] => {
                prop_assert!(texts > MAX_LAYERS || is_inside || layers.contains(&8));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    /// A text that is cut off anywhere hides no event silently, as long as it still names its call.
    #[test]
    fn no_cut_hides_an_event(at in 1_usize..400, layer in layer()) {
        let wrapped = wrap(&envelope(), layer).to_string();
        let cut = &wrapped[..at.min(wrapped.len() - 1)];
        let is_named = names_a_record(cut.as_bytes(), Target::GuardedCalls);
        let found = unwrap(&json!({ "text": cut }));
        prop_assert!(!is_named || !found.is_empty(), "{cut}");
    }
}

/// As on lines of files. What somebody else may have written, or what has no record in it, is named.
#[test]
fn a_record_on_a_line_of_a_log_is_read() {
    let text = record().to_string();
    let message = |message: String| json!({ "events": [{ "message": message }] });
    for before in
        ["2026-11-20T09:00:00.000Z\tid\tINFO\t", "[INFO]\t2026-11-20T09:00:00Z\tid\t", "User created: "]
    {
        let line = format!("{before}{text}\n");
        assert_eq!(found(&message(line.clone())), [record()], "{line}");
        assert_eq!(found(&message(format!("START\n{line}{line}END"))), [record(), record()], "{line}");
        assert_eq!(found(&json!(encoded(message(line).to_string().as_bytes()))), [record()]);
    }
    assert_eq!(found(&json!({ "message": format!("[1, {text}]") })), [record()]);
    for other in [
        format!("203.0.113.9 \"GET /\" {text}"),
        format!("CreateServiceSpecificCredential: {text}"),
        format!("created: {:#}", record()),
        format!("[INFO] {}", "aZ09".repeat(100)),
        "created: {\"eventName\": 1, \"a\": [\"CreateServiceSpecificCredential\", {\"b\": 1}]}".to_owned(),
    ] {
        let why = unreadable(&message(other.clone()));
        assert!(why.contains("names one") || why.contains("hides a call"), "{why}: {other}");
    }
    let [Unwrapped::Event(_), Unwrapped::Unreadable(_)] =
        &unwrap(&message(format!("created: {text}\ncreated: {}", &text[..text.len() - 20])))[..]
    else {
        panic!()
    };
}
