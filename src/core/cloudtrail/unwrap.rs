//! Finds events in what services and tools put around them.
//!
//! An event may lie in objects and lists, as JSON in a text, in Base64 and in gzip, in any order: in messages of SQS, SNS,
//! Kinesis and CloudWatch Logs, in answers of `aws cloudtrail lookup-events` and `aws logs filter-log-events`, in results of
//! CloudTrail Lake, in hits of `OpenSearch`, in exports of Splunk. These are followed by rule, so that a wrapping that nobody
//! has thought of is followed, too. What is in an event is not followed.

use std::io::Read as _;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use flate2::read::MultiGzDecoder;
use serde_json::{Deserializer, Map, Value};

use super::{CALL_MARKERS, Call, Irrelevant, Unreadable};

/// How many texts may lie in each other. SNS in SQS in an archive is three.
const MAX_LAYERS: usize = 8;

/// How much may be unpacked of one text, in bytes, and of one value in all. A batch of log events has 1 MB at most (CloudWatch
/// Logs API reference, `PutLogEvents`), and a payload of Lambda 6 MB (AWS Lambda developer guide, *Lambda quotas*).
const MAX_UNPACKED: usize = 8 << 20;
const MAX_UNPACKED_IN_ALL: usize = 64 << 20;

/// How the Base64 of a gzipped text begins: with the three bytes that each gzip member begins with (RFC 1952).
const PACKED: &str = "H4sI";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What was found in a wrapping.
#[derive(Debug, PartialEq)]
pub enum Unwrapped {
    /// An EventBridge event, or a CloudTrail record.
    Event(Value),
    /// Something in which an event may be, and that cannot be read.
    Unreadable(Unreadable),
    /// What says itself that no event is in it.
    Irrelevant(Irrelevant),
}

/// All that is in a value, in its order. A value that is an event itself is the only one.
#[must_use]
pub fn unwrap(value: &Value) -> Vec<Unwrapped> {
    let mut search = Search { found: Vec::new(), left: MAX_UNPACKED_IN_ALL };
    search.value(value, &Place::Root, 0);
    search.found
}

/// True for an EventBridge event, for a CloudTrail record, and for what names a call of ours like a record. The records of
/// S3's and `DynamoDB`'s streams have the same fields, and a source like `aws:s3` (Lambda developer guide, *Process Amazon
/// S3 event notifications with Lambda*).
fn is_event(value: &Value) -> bool {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let is_envelope = text("detail-type").is_some() && value.get("detail").is_some();
    let is_record = match (text("eventName"), text("eventSource")) {
        (Some(_), Some(source)) => !source.starts_with("aws:"),
        (Some(name), None) => Call::from_event_name(name).is_some(),
        (None, _) => false,
    };
    is_envelope || is_record
}

/// What says itself that no event is in it. An Insights event names the call that it found to be frequent.
fn irrelevant(fields: &Map<String, Value>) -> Option<Irrelevant> {
    let is = |field: &str, text: &str| fields.get(field).is_some_and(|value| value == text);
    if is("messageType", "CONTROL_MESSAGE") {
        Some(Irrelevant::ControlMessage)
    } else if is("eventType", "AwsCloudTrailInsight") {
        Some(Irrelevant::InsightsEvent)
    } else if is("eventType", "AwsAggregatedEvent") {
        Some(Irrelevant::AggregatedEvent)
    } else {
        None
    }
}

/// Where something is, from the inside out. It is written down for errors only.
enum Place<'a> {
    Root,
    Field(&'a Self, &'a str),
    Element(&'a Self, usize),
}

impl Place<'_> {
    fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(Self::Root, name) => (*name).to_owned(),
            Self::Field(outer, name) => format!("{}.{name}", outer.path()),
            Self::Element(outer, index) => format!("{}[{index}]", outer.path()),
        }
    }
}

struct Search {
    found: Vec<Unwrapped>,
    /// How many bytes may still be unpacked.
    left: usize,
}

impl Search {
    fn value(&mut self, value: &Value, place: &Place<'_>, layers: usize) {
        if is_event(value) {
            self.found.push(Unwrapped::Event(value.clone()));
            return;
        }
        match value {
            Value::Object(fields) => {
                if let Some(why) = irrelevant(fields) {
                    self.found.push(Unwrapped::Irrelevant(why));
                    return;
                }
                for (name, value) in fields {
                    self.value(value, &Place::Field(place, name), layers);
                }
            }
            Value::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    self.value(value, &Place::Element(place, index), layers);
                }
            }
            Value::String(text) => self.text(text.trim(), place, layers),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, text: &str, place: &Place<'_>, layers: usize) {
        if text.starts_with(['{', '[', '"']) {
            self.json(text.as_bytes(), place, layers);
        } else if text.starts_with(PACKED) {
            match decoded(text) {
                Ok(packed) => self.gzip(&packed, place, layers),
                Err(_) => self.unreadable(place, "Base64", "something else"),
            }
        } else if may_be_encoded(text)
            && let Ok(json) = decoded(text)
        {
            self.json(&json, place, layers);
        } else if names_a_record(text.as_bytes()) {
            self.unreadable(place, "a CloudTrail record", "a text that names one and is no JSON");
        }
    }

    /// JSON values, one behind the other.
    fn json(&mut self, json: &[u8], place: &Place<'_>, layers: usize) {
        if layers == MAX_LAYERS {
            self.unreadable(place, "at most 8 texts in each other", "more");
            return;
        }
        let mut values = Deserializer::from_slice(json).into_iter();
        loop {
            let rest = json.get(values.byte_offset()..).unwrap_or_default();
            let Some(value) = values.next() else { return };
            match value {
                Ok(value) => self.value(&value, place, layers + 1),
                Err(_) if names_a_record(json) || may_be_base64(rest) => {
                    self.unreadable(
                        place,
                        "JSON",
                        "a text that names or hides a call and is no JSON, or is cut off",
                    );
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn gzip(&mut self, packed: &[u8], place: &Place<'_>, layers: usize) {
        if layers == MAX_LAYERS {
            self.unreadable(place, "at most 8 texts in each other", "more");
            return;
        }
        let mut unpacked = Vec::new();
        let most = MAX_UNPACKED.min(self.left);
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let result = MultiGzDecoder::new(packed).take(limit).read_to_end(&mut unpacked);
        // What was unpacked in vain has cost as much.
        self.left = self.left.saturating_sub(unpacked.len());
        match result {
            Err(_) => self.unreadable(place, "gzip", "damaged gzip"),
            Ok(length) if length > most => {
                self.unreadable(place, "at most 8 MiB in a text and 64 MiB in all, unpacked", "more");
            }
            Ok(_) if unpacked.starts_with(&GZIP) => self.gzip(&unpacked, place, layers + 1),
            Ok(_) => self.json(&unpacked, place, layers),
        }
    }

    fn unreadable(&mut self, place: &Place<'_>, expected: &'static str, found: &str) {
        let place = match place.path() {
            path if path.is_empty() => "(whole event)".to_owned(),
            path => crate::text::sanitize_field(&path),
        };
        self.found.push(Unwrapped::Unreadable(Unreadable::new(place, expected, found)));
    }
}

const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Decodes Base64, also with the letters for URLs and with line breaks.
fn decoded(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let letter = |c: char| match c {
        '-' => '+',
        '_' => '/',
        c => c,
    };
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).map(letter).collect();
    BASE64.decode(text)
}

/// True if the first byte of decoded Base64 begins an object, a list or a text in JSON. Six of its bits are the first
/// character, two begin the second.
fn may_be_encoded(text: &str) -> bool {
    matches!(text.as_bytes(), [b'e' | b'W', b'w'..=b'z' | b'0'..=b'9' | b'+' | b'/', ..] | [b'I', b'g'..=b'v', ..])
}

/// True where so many letters of Base64 follow each other that a packed event may be in them.
#[must_use]
pub fn may_be_base64(bytes: &[u8]) -> bool {
    const SHORTEST: usize = 256;
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    bytes.split(|byte| !is_letter(byte)).any(|run| run.len() >= SHORTEST)
}

/// True for a text with the field `eventName` and one of the guard's calls: it would be a record, were it sound.
fn names_a_record(text: &[u8]) -> bool {
    let has = |word: &str| text.windows(word.len()).any(|part| part == word.as_bytes());
    has("eventName") && CALL_MARKERS.into_iter().any(has)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

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
            (
                "CloudWatch Logs",
                json!({"awslogs": {"data": encoded(&gzipped(subscription(&text).as_bytes()))}}),
            ),
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
            let event = if what.contains("SNS in SQS") || what.contains("destination") {
                envelope()
            } else {
                record()
            };
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
        let call =
            json!({"eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential"});
        let insight = json!({"eventType": "AwsCloudTrailInsight", "insightDetails": call});
        let aggregated =
            json!({"eventType": "AwsAggregatedEvent", "eventSource": "iam.amazonaws.com", "summary": {}});
        for (value, why) in [(insight, Irrelevant::InsightsEvent), (aggregated, Irrelevant::AggregatedEvent)]
        {
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
            (
                json!({"a": [{"b": cut}]}),
                "field a[0].b: expected JSON, found a text that names or hides a call",
            ),
            (json!({"a": format!("<14>Nov 20 host {cut}")}), "field a: expected a CloudTrail record"),
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

    /// One layer of a wrapping.
    fn layer() -> impl Strategy<Value = u8> {
        0_u8..6
    }

    fn wrap(value: &Value, layer: u8) -> Value {
        match layer {
            0 => json!({"Records": [{"body": value}, {"other": 1}]}),
            1 => json!([null, value]),
            2 => json!({"message": value.to_string()}),
            3 => json!({"data": encoded(value.to_string().as_bytes())}),
            4 => json!({"data": encoded(&gzipped(value.to_string().as_bytes()))}),
            _ => json!(format!("{value}\n")),
        }
    }

    proptest! {
        /// However an event is wrapped, it is found, or it is said that something is unreadable.
        #[test]
        fn no_wrapping_hides_an_event(layers in proptest::collection::vec(layer(), 0..14)) {
            let wrapped = layers.iter().fold(envelope(), |value, layer| wrap(&value, *layer));
            let texts = layers.iter().filter(|layer| **layer > 1).count();
            match &unwrap(&wrapped)[..] {
                [Unwrapped::Event(event)] => prop_assert!(texts <= MAX_LAYERS && *event == envelope()),
                [Unwrapped::Unreadable(_)] => prop_assert!(texts > MAX_LAYERS),
                other => prop_assert!(false, "{other:?}"),
            }
        }

        /// A text that is cut off anywhere hides no event silently, as long as it still names its call.
        #[test]
        fn no_cut_hides_an_event(at in 1_usize..400, layer in layer()) {
            let wrapped = wrap(&envelope(), layer).to_string();
            let cut = &wrapped[..at.min(wrapped.len() - 1)];
            let is_named = names_a_record(cut.as_bytes());
            let found = unwrap(&json!({ "text": cut }));
            prop_assert!(!is_named || !found.is_empty(), "{cut}");
        }
    }
}
