//! However an event is packed, it is found or something is said.

#[path = "../../../tests/it/support/escapes.rs"]
mod escapes;
mod hidden;

use std::io::{Cursor, Write as _};
use std::sync::mpsc::{Receiver, sync_channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use key_guard_core::cloudtrail::{Target, Unwrapped, hidden_call, unwrap};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use self::escapes::with_escapes;
use super::file::Worker;
use super::sink::{Sink, Source};
use super::{Detail, Found, Input, PassedOver};

/// An event of ours.
fn envelope() -> Value {
    let text = include_str!("../../../events/created-without-age.json");
    serde_json::from_str(text).unwrap()
}

/// A call with a bearer token.
fn used() -> Value {
    json!({"source": "aws.bedrock", "detail-type": "AWS API Call via CloudTrail", "detail": {
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "accountId": "111122223333", "userName": "svc-search"},
        "eventTime": "2026-11-20T09:43:06Z",
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "InvokeModel",
        "awsRegion": "eu-central-1",
        "requestParameters": {"modelId": "anthropic.claude-sonnet-4-6"},
        "additionalEventData": {"callWithBearerToken": true},
        "eventID": "5d1c0017-7b1e-4c3a-9f00-abc000000017",
        "recipientAccountId": "111122223333",
    }})
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(bytes: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in [("a/notes", &b"hello"[..]), ("a/b", bytes), ("a/empty", b"")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, name, bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("notes", &b"hello"[..]), ("a/b", bytes)] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn csv(text: &str) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["time", "what"]).unwrap();
    writer.write_record(["2026-11-20", "{\"a\": 1}"]).unwrap();
    writer.write_record(["2026-11-20", text]).unwrap();
    writer.into_inner().unwrap()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Gzip,
    Tar,
    Zip,
    LittleEndian,
    BigEndian,
    ByteOrderMark,
    Csv,
    Base64,
    Base64InJson,
    PackedInJson,
    Lines,
    LinesBehindText,
    Queue,
    Message,
    OtherRecord,
    TextInOtherRecord,
    BehindOtherRecord,
    ControlMessage,
    ConfigFile,
    Digest,
    BesideRecords,
    Escapes,
    LogLine,
    JsonText,
    Object,
    Unmarked,
    Cut,
}

const LAYERS: [Layer; 26] = [
    Layer::Gzip,
    Layer::Tar,
    Layer::Zip,
    Layer::LittleEndian,
    Layer::BigEndian,
    Layer::ByteOrderMark,
    Layer::Csv,
    Layer::Base64,
    Layer::Base64InJson,
    Layer::PackedInJson,
    Layer::Lines,
    Layer::LinesBehindText,
    Layer::Queue,
    Layer::Message,
    Layer::OtherRecord,
    Layer::TextInOtherRecord,
    Layer::BehindOtherRecord,
    Layer::ControlMessage,
    Layer::ConfigFile,
    Layer::Digest,
    Layer::BesideRecords,
    Layer::Escapes,
    Layer::LogLine,
    Layer::JsonText,
    Layer::Object,
    Layer::Unmarked,
];

/// A record of another service that has this in its request.
fn other_record(payload: &Value) -> Value {
    json!({
        "eventVersion": "1.11",
        "eventSource": "events.amazonaws.com",
        "eventName": "TestEventPattern",
        "requestParameters": {"event": payload},
    })
}

const IS_NO_WRAPPING: [Layer; 6] = [
    Layer::OtherRecord,
    Layer::TextInOtherRecord,
    Layer::ControlMessage,
    Layer::ConfigFile,
    Layer::Digest,
    Layer::BesideRecords,
];

/// Whether an event of ours is found in a value. What is found in it alone has to be found or reported inside of something.
fn is_found_in(value: &Value) -> bool {
    [(Target::GuardedCalls, envelope()), (Target::BearerCalls, used())].iter().any(|(target, ours)| {
        unwrap(value, *target).iter().any(|found| match found {
            Unwrapped::Event(event) => {
                event == ours || event == &ours["detail"] || hidden_call(event, *target).is_some()
            }
            Unwrapped::Unreadable(_) | Unwrapped::Irrelevant(_) => false,
        })
    })
}

/// A value of JSON around something.
fn wrap_value(value: &Value, layer: Layer) -> Option<Value> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(match layer {
        Layer::OtherRecord => other_record(value),
        Layer::TextInOtherRecord => {
            json!({ "Records": [other_record(&Value::Null), other_record(&json!(text))] })
        }
        Layer::BehindOtherRecord => json!({ "Records": [other_record(&Value::Null), value] }),
        Layer::ControlMessage => json!({"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": text}]}),
        Layer::ConfigFile => json!({"fileVersion": "1.0", "configurationItems": [{"configuration": value}]}),
        Layer::Digest => json!({"digestStartTime": "2026-11-20T09:00:00Z", "logFiles": [{"note": text}]}),
        Layer::BesideRecords => json!({"note": value, "Records": []}),
        Layer::Queue => json!({"Records": [{"body": "{}"}, {"body": text}]}),
        Layer::Message => json!({"Messages": [{"Body": text}]}),
        Layer::Base64InJson => json!({ "data": STANDARD.encode(text) }),
        Layer::PackedInJson => json!({ "data": STANDARD.encode(gzip(text.as_bytes())) }),
        Layer::Gzip
        | Layer::Tar
        | Layer::Zip
        | Layer::LittleEndian
        | Layer::BigEndian
        | Layer::ByteOrderMark
        | Layer::Csv
        | Layer::Base64
        | Layer::Lines
        | Layer::LinesBehindText
        | Layer::LogLine
        | Layer::JsonText
        | Layer::Object
        | Layer::Unmarked
        | Layer::Escapes
        | Layer::Cut => return None,
    })
}

/// What is no text is left as it is by what takes a text, and what is no JSON by Base64: in Base64, JSON and gzip of JSON are
/// looked for, and nothing else.
fn wrap(bytes: Vec<u8>, layer: Layer) -> Vec<u8> {
    let text = String::from_utf8(bytes.clone());
    match (layer, text) {
        (Layer::Gzip, _) => gzip(&bytes),
        (Layer::Tar, _) => tar(&bytes),
        (Layer::Zip, _) => zip(&bytes),
        (Layer::Base64 | Layer::Base64InJson | Layer::PackedInJson, _)
            if !bytes.starts_with(b"{") || bytes.contains(&0) =>
        {
            bytes
        }
        (Layer::Base64, _) => STANDARD.encode(&bytes).into(),
        (Layer::Cut, _) => bytes[..bytes.len() - bytes.len() / 3].to_vec(),
        // UTF-16 of ASCII is UTF-8, too. It is told by the first bytes of a file, and looked for nowhere else.
        (_, Ok(text)) if text.contains('\0') => bytes,
        (_, Err(_)) => bytes,
        (Layer::LittleEndian, Ok(text)) => {
            format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
        }
        (Layer::BigEndian, Ok(text)) => {
            format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_be_bytes).collect()
        }
        (Layer::ByteOrderMark, Ok(text)) => format!("\u{feff}{text}").into(),
        (Layer::Csv, Ok(text)) => csv(&text),
        (Layer::Lines, Ok(text)) => format!("{{\"eventSource\":\"a\",\"eventName\":\"b\"}}\n{text}\n").into(),
        (Layer::LinesBehindText, Ok(text)) => format!("oops\n{text}").into(),
        (Layer::LogLine, Ok(text)) => format!("<14>Nov 20 13:04:08 host app[7]: {text}\n").into(),
        (Layer::JsonText, Ok(text)) => json!(text).to_string().into(),
        (Layer::Object, Ok(text)) => json!({"a": [{"b": 1, "c": text}]}).to_string().into(),
        (Layer::Unmarked, Ok(text)) => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        // Bytes that are one value are a value in the next one; others are a text.
        (Layer::Escapes, Ok(text)) => match serde_json::from_str::<Value>(&text) {
            Ok(_) => with_escapes(&text).into(),
            Err(_) => text.into(),
        },
        (layer, Ok(text)) => {
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            if IS_NO_WRAPPING.contains(&layer) && !is_found_in(&value) {
                return bytes;
            }
            wrap_value(&value, layer).unwrap().to_string().into()
        }
    }
}

/// What was found: events of ours, and problems.
fn read(source: &Source, bytes: &[u8]) -> (usize, Vec<String>, PassedOver) {
    read_for(Detail::Events, source, bytes)
}

fn read_for(detail: Detail, source: &Source, bytes: &[u8]) -> (usize, Vec<String>, PassedOver) {
    let (to, from) = sync_channel(1_000);
    let mut sink = Sink::new(&to, detail);
    let worker = Worker::new(detail);
    assert!(worker.stream(source, &mut &*bytes, &mut sink).is_ok());
    assert!(sink.end().is_ok());
    let passed_over = sink.passed_over;
    drop(to);
    let (events, problems, _) = taken(from);
    (events, problems, passed_over)
}

/// The same of a file, which is read as a whole and looked into only if anything of ours could be in it.
fn read_file(bytes: &[u8]) -> (usize, Vec<String>, PassedOver) {
    read_file_for(Detail::Events, bytes)
}

fn read_file_for(detail: Detail, bytes: &[u8]) -> (usize, Vec<String>, PassedOver) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let (to, from) = sync_channel(1_000);
    let input = Input::File { path: file.path().to_owned(), size: bytes.len() as u64, directory: Some(0) };
    Worker::new(detail).read(&input, &to);
    drop(to);
    taken(from)
}

fn taken(from: Receiver<Found>) -> (usize, Vec<String>, PassedOver) {
    let (mut events, mut problems, mut passed) = (0, Vec::new(), PassedOver::default());
    for found in from {
        match found {
            Found::Event(_) | Found::Use(_) => events += 1,
            Found::Unreadable { place, why } => problems.push(format!("{place}: {why}")),
            Found::Problem(message) => problems.push(message),
            Found::End { passed_over, .. } => passed = passed_over,
        }
    }
    (events, problems, passed)
}

/// What is looked for, and an event of it.
fn wanted() -> impl Strategy<Value = (Detail, Value)> {
    prop::sample::select(vec![(Detail::Events, envelope()), (Detail::Uses, used())])
}

fn sources() -> [Source; 2] {
    [Source::stdin(), Source::file("logs/notes".as_ref(), true)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_hides_an_event_silently(
        layers in prop::collection::vec(prop::sample::select(LAYERS.as_slice()), 0..7),
        pretty in any::<bool>(),
        (detail, event) in wanted(),
    ) {
        let event = if pretty { format!("{event:#}") } else { event.to_string() };
        let packed = layers.iter().fold(event.into_bytes(), |bytes, layer| wrap(bytes, *layer));
        for source in sources() {
            let (events, problems, passed_over) = read_for(detail, &source, &packed);
            prop_assert!(events == 1 || !problems.is_empty(), "{} events, {}", events, passed_over);
        }
        let (events, problems, passed_over) = read_file_for(detail, &packed);
        prop_assert!(events == 1 || !problems.is_empty(), "{} events, {}", events, passed_over);
    }

    /// What is cut off is said, wherever the cut is.
    #[test]
    fn no_cut_is_silent(
        layers in prop::collection::vec(prop::sample::select(LAYERS.as_slice()), 0..4),
        outer in prop::sample::select([Layer::Gzip, Layer::Tar, Layer::Zip, Layer::Message].as_slice()),
        (detail, event) in wanted(),
    ) {
        let event = event.to_string().into_bytes();
        let packed = layers.iter().fold(event, |bytes, layer| wrap(bytes, *layer));
        let cut = wrap(wrap(packed, outer), Layer::Cut);
        for source in sources() {
            let (_, problems, passed_over) = read_for(detail, &source, &cut);
            prop_assert!(!problems.is_empty(), "{}", passed_over);
        }
    }
}

/// A record of ours as CloudTrail writes it: without blanks, and with the source before the name.
fn as_written() -> String {
    let mut in_text = false;
    let text = include_str!("../../../events/created-without-age.json").chars().filter(|c| {
        in_text ^= *c == '"';
        in_text || !c.is_whitespace()
    });
    let text: String = text.collect();
    let (_, detail) = text.split_once("\"detail\":").unwrap();
    detail.strip_suffix('}').unwrap().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// A record that says plainly that it is of another call is not looked into, whatever is damaged in it. One of ours never
    /// is such a record, unless the damage is in the names themselves.
    #[test]
    fn no_damage_makes_another_call_of_ours(
        at in any::<Index>(),
        length in prop_oneof![0_usize..3, 3_usize..3_000],
        piece in prop_oneof![
            Just(String::new()),
            "[\"{}\\[\\]:,\\\\a]{1,4}",
            Just("\"eventSource\":\"s3.amazonaws.com\",".to_owned()),
        ],
    ) {
        let record = as_written();
        let names = record.find("\"eventSource\":\"iam.amazonaws.com\",\"eventName\"").unwrap();
        let names = names..record.find(",\"awsRegion\"").unwrap();
        let start = at.index(record.len());
        let end = (start + length).min(record.len());
        let damaged = format!("{}{piece}{}", &record[..start], &record[end..]);
        let (events, problems, _) = read(&Source::stdin(), log_file(&damaged).as_bytes());
        if events == 0 && problems.is_empty() {
            prop_assert!(start < names.end && names.start < end.max(start + 1), "{damaged}");
        }
    }
}

#[test]
fn one_layer_of_each_kind_and_pairs_of_containers_are_read() {
    use Layer::{
        Base64InJson, BigEndian, ByteOrderMark, Csv, Gzip, JsonText, Lines, LittleEndian, LogLine, Message,
        Object, PackedInJson, Queue, Tar, Unmarked, Zip,
    };
    let event = || envelope().to_string().into_bytes();
    for layers in [
        vec![Gzip],
        vec![Gzip, Gzip],
        vec![Tar],
        vec![Gzip, Tar],
        vec![Tar, Gzip],
        vec![Gzip, Tar, Gzip],
        vec![Zip],
        vec![Gzip, Zip],
        vec![Zip, Gzip],
        vec![Tar, Zip],
        vec![Zip, Tar],
        vec![Zip, Tar, Gzip],
        vec![LittleEndian],
        vec![BigEndian, Gzip],
        vec![ByteOrderMark],
        vec![Csv],
        vec![Csv, Gzip],
        vec![Csv, LittleEndian, Zip],
        vec![Base64InJson],
        vec![PackedInJson, Lines],
        vec![Message, Csv],
        vec![LogLine],
        vec![LogLine, Gzip, Zip],
        vec![JsonText],
        vec![JsonText, Object, LittleEndian],
        vec![Unmarked, Gzip],
        vec![Lines, Unmarked, Tar],
    ] {
        let packed = layers.iter().fold(event(), |bytes, layer| wrap(bytes, *layer));
        for source in sources() {
            let (events, problems, _) = read(&source, &packed);
            assert_eq!((events, problems.as_slice()), (1, [].as_slice()), "{layers:?}");
        }
    }
    let (events, problems, _) = read(&Source::stdin(), &wrap(event(), Queue));
    assert_eq!((events, problems.len()), (1, 1), "{problems:?}");
    for (layers, says) in [
        (vec![Zip, Zip, Zip], "an archive in an archive in an archive"),
        (vec![Gzip; 5], "packed more than 4 times"),
    ] {
        let packed = layers.iter().fold(event(), |bytes, layer| wrap(bytes, *layer));
        let (events, problems, _) = read(&Source::stdin(), &packed);
        assert!(events == 0 && problems[0].contains(says), "{problems:?}");
    }
}

/// A log file: CloudTrail's records of other calls, and these bytes.
fn log_file(last: &str) -> String {
    format!("{{\"Records\":[{},{last}]}}", other_record(&Value::Null))
}

#[test]
fn names_with_escapes_are_read() {
    let record = envelope()["detail"].to_string();
    for escaped in [
        record.replace("Specific", "\\u0053pecific"),
        record.replace("Create", "\\u0043\\u0072eate").replace("iam.a", "iam\\u002ea"),
        record.replace("eventName", "event\\u004eame"),
        record.replace("ServiceSpecificCredential", "ServiceSpecificCredentia\\u006C"),
        with_escapes(&record),
    ] {
        for text in
            [escaped.clone(), log_file(&escaped), json!({"Messages": [{"Body": escaped}]}).to_string()]
        {
            let (events, problems, _) = read(&Source::stdin(), text.as_bytes());
            assert_eq!((events, problems.as_slice()), (1, [].as_slice()), "{text}");
        }
    }
    let key = json!({
        "eventSource": "iam.amazonaws.com", "eventName": "CreateAccessKey", "eventTime": "2026-11-20T09:07:11Z",
        "eventID": "4a3b2c1d-0000-4000-8000-000000000001", "recipientAccountId": "111122223333",
        "responseElements": {"accessKey": {"userName": "BedrockAPIKey-k3qz"}},
    });
    for (plain, escaped) in [("Access", "\\u0041ccess"), ("iam.", "ia\\u006d."), ("iam.", "iam\\u002E")] {
        let text = log_file(&key.to_string().replace(plain, escaped));
        let (events, problems, _) = read(&Source::stdin(), text.as_bytes());
        assert_eq!((events, problems.as_slice()), (1, [].as_slice()), "{text}");
    }
}

/// Brackets balance, and that is all that can be said of it.
#[test]
fn a_damaged_record_that_could_be_of_ours_is_named() {
    for damaged in [
        "{oops}",
        "{\"a\" 1}",
        "{\"eventSource\":\"iam.amazonaws.com\",\"eventName\":\"Create,Serv\",\"eventID\":}",
        "{\"eventSource\":\"iam.amazonaws.com\" \"eventName\":\"GetUser\"}",
        "{\"eventSource\":\"iam.amaz\",\"eventName\":}",
        "{\"eventVersion\":\"1.11\",,}",
    ] {
        let (events, problems, _) = read(&Source::stdin(), log_file(damaged).as_bytes());
        assert!(events == 0 && problems.len() == 1, "{damaged}: {problems:?}");
        assert!(problems[0].starts_with("(standard input): record 2: it is not JSON"), "{problems:?}");
    }
}

/// What a bucket has that is not ours, and names our calls.
#[test]
fn names_of_calls_in_other_records_are_no_problem() {
    let policy = json!({"Statement": [{"Effect": "Deny", "Action": "iam:CreateServiceSpecificCredential"}]});
    let pattern = json!({"detail": {"eventSource": ["iam.amazonaws.com"], "eventName": ["CreateServiceSpecificCredential"]}});
    let created = json!({
        "eventSource": "iam.amazonaws.com", "eventName": "CreatePolicy", "eventTime": "2026-11-20T09:07:11Z",
        "requestParameters": {"policyDocument": policy.to_string()},
    });
    let insight = json!({
        "eventType": "AwsCloudTrailInsight", "eventTime": "2026-11-20T09:07:11Z", "eventID": "a",
        "insightDetails": {"state": "Start", "eventSource": "iam.amazonaws.com",
            "eventName": "CreateServiceSpecificCredential", "insightType": "ApiCallRateInsight"},
    });
    for record in [
        created,
        insight,
        other_record(&json!(pattern.to_string())),
        other_record(&pattern),
        other_record(&json!(
            "{($.eventSource=iam.amazonaws.com)&&($.eventName=PutUserPolicy)||($.eventName=AttachUserPolicy)}"
        )),
        other_record(&json!(
            "SELECT eventName FROM x WHERE eventSource = 'iam.amazonaws.com' AND eventName = 'CreateAccessKey'"
        )),
        other_record(&json!(STANDARD.encode(json!({"token": "x".repeat(300)}).to_string()))),
        json!({"fileVersion": "1.0", "configurationItems": [{"configuration": policy.to_string()}]}),
    ] {
        for text in [record.to_string(), log_file(&record.to_string())] {
            let (events, problems, _) = read(&Source::stdin(), text.as_bytes());
            assert_eq!((events, problems.as_slice()), (0, [].as_slice()), "{text}");
        }
    }
}

#[test]
fn a_large_file_of_config_is_looked_into() {
    let items = |item: &str| {
        let item = format!("{{\"configuration\":\"{}\"}},", "x".repeat(1 << 20)).repeat(33) + item;
        format!("{{\"fileVersion\":\"1.0\",\"configurationItems\":[{item}]}}")
    };
    let (_, problems, passed_over) =
        read(&Source::stdin(), items("{\"Action\":\"iam:CreateServiceSpecificCredential\"}").as_bytes());
    assert!(problems.is_empty() && passed_over.to_string().contains("1 Config file"), "{problems:?}");
    let (_, problems, _) = read(&Source::stdin(), items(&envelope().to_string()).as_bytes());
    assert!(problems[0].contains("more than 32 MiB"), "{problems:?}");
}

/// A kilobyte becomes a megabyte, and that a gigabyte.
#[test]
fn a_bomb_ends_with_an_error() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let block = vec![b' '; 1 << 20];
    for _ in 0..1_100 {
        encoder.write_all(&block).unwrap();
    }
    let packed = gzip(&encoder.finish().unwrap());
    let (_, problems, _) = read(&Source::stdin(), &packed);
    assert!(problems[0].contains("more than 1 GiB is packed in it"), "{problems:?}");
}
