//! What `replay` reads: every wrapping of events, large files and pipes, and files that cannot be read.

use std::io::Write as _;

use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::record;
use crate::support::cli::Folder;
use crate::support::event;

pub fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// A log file with `n` records that are not ours and one that is.
fn log_file(n: usize, ours: &str) -> String {
    let mut records =
        vec![json!({"eventSource": "s3.amazonaws.com", "eventName": "PutObject", "a": "}]\\\"{["}); n];
    records.insert(n / 2, record(ours));
    json!({"Records": records}).to_string()
}

/// What Lambda sends to an on-failure destination.
fn destination(event: &Value) -> Value {
    json!({
        "version": "1.0", "timestamp": "2026-11-20T09:11:00Z",
        "requestContext": {"functionArn": "arn:aws:lambda:us-east-1:111122223333:function:guard", "condition": "RetriesExhausted"},
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorType": "IamCallFailed", "errorMessage": "ListServiceSpecificCredentials failed"},
    })
}

/// What `aws sqs receive-message` prints.
fn queue(bodies: &[&str]) -> Value {
    json!({"Messages": bodies.iter().map(|body| json!({"MessageId": "m", "Body": body})).collect::<Vec<_>>()})
}

#[test]
fn every_wrapping_is_told_by_content() {
    let folder = Folder::new();
    let (envelope, bare) = (event("created-without-age"), record("created-for-365-days"));
    let line = |value: &Value| format!("{value}\n");
    let pretty = serde_json::to_string_pretty(&envelope).unwrap();
    let sweep = destination(&json!({"sweep": {"accounts": [], "ceiling": "monitor"}}));
    let wrappings: Vec<(&str, Vec<u8>, u64)> = vec![
        ("envelope.txt", envelope.to_string().into(), 1),
        ("bare.log", bare.to_string().into(), 1),
        ("pretty.data", pretty.into(), 1),
        ("array", json!([envelope, bare]).to_string().into(), 2),
        ("lines", (line(&envelope) + &line(&bare)).into(), 2),
        ("crlf", format!("{envelope}\r\n{bare}\r\n").into(), 2),
        ("glued", format!("{envelope}{bare}").into(), 2),
        ("bom", format!("\u{feff}{envelope}").into(), 1),
        ("log", log_file(10, "created-for-91-days").into(), 11),
        ("late-records", json!({"a": 1, "Records": [envelope, bare]}).to_string().into(), 2),
        ("log.gz.txt", gzip(log_file(10, "created-for-91-days")), 11),
        ("lines.json", gzip(line(&envelope) + &line(&bare)), 2),
        ("destination", destination(&envelope).to_string().into(), 1),
        ("queue", queue(&[&destination(&envelope).to_string(), &envelope.to_string()]).to_string().into(), 2),
        (
            "queue-with-a-sweep",
            queue(&[&sweep.to_string(), &destination(&envelope).to_string()]).to_string().into(),
            2,
        ),
        ("two-members", [gzip(line(&envelope)), gzip(line(&bare))].concat(), 2),
    ];
    for (name, bytes, events) in wrappings {
        let file = folder.write(name, &bytes);
        for ran in [folder.run(&["replay", &file]), folder.run_with_input(&["replay", "-"], &bytes)] {
            assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
            let counted = if events == 1 { "1 event" } else { &format!("{events} events") };
            assert!(ran.stderr.starts_with(&format!("{counted} read: ")), "{name}: {}", ran.stderr);
            assert!(ran.stderr.contains(" 0 unreadable\n"), "{name}: {}", ran.stderr);
            assert!(ran.stdout.contains("noncompliant"), "{name}: {}", ran.stdout);
        }
    }
}

#[test]
fn changes_of_users_that_a_console_created_are_found_in_every_wrapping() {
    let folder = Folder::new();
    let (envelope, bare) =
        (event("console-user-access-key-created"), record("console-user-access-key-created"));
    let pretty = serde_json::to_string_pretty(&envelope).unwrap();
    let log = json!({"Records": [record("ignored-access-key-created-for-other-user"), bare]}).to_string();
    let wrappings: Vec<(&str, Vec<u8>)> = vec![
        ("envelope", envelope.to_string().into()),
        ("pretty", pretty.into()),
        ("bare", bare.to_string().into()),
        ("array", json!([bare]).to_string().into()),
        ("log", log.clone().into()),
        ("log.gz", gzip(&log)),
        ("two-members", [gzip(&log[..9]), gzip(&log[9..])].concat()),
        ("late-records", json!({"a": 1, "Records": [bare]}).to_string().into()),
        ("queue", queue(&[&destination(&envelope).to_string()]).to_string().into()),
    ];
    for (name, bytes) in wrappings {
        let file = folder.write(name, &bytes);
        for ran in [
            folder.run(&["replay", "--format", "jsonl", &file]),
            folder.run_with_input(&["replay", "--format", "jsonl", "-"], &bytes),
        ] {
            assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
            assert!(ran.stderr.contains(" 1 attempt or change of a user recorded"), "{name}: {}", ran.stderr);
            assert!(ran.stdout.contains("\"severity\":\"critical\""), "{name}: {}", ran.stdout);
        }
    }
    let behind = format!(r#"{{"Records":[],"more":[{bare}]}}"#);
    let ran = folder.run(&["replay", &folder.write("behind", behind)]);
    assert!(ran.code == 4 && ran.stderr.contains("behind its records"), "{}", ran.stderr);
    for name in ["BedrockAPIKey-1 2", "AeaApiKey-1 2"] {
        let unreadable = bare.to_string().replace("BedrockAPIKey-k3qz", name);
        let ran = folder.run(&["replay", &folder.write("unreadable", unreadable)]);
        assert!(ran.code == 4 && ran.stderr.contains("accessKey.userName"), "{}", ran.stderr);
    }
}

/// A pipe can be read once only, whatever is in it.
#[test]
fn what_is_no_regular_file_is_read_as_it_comes() {
    let folder = Folder::new();
    let line = |name: &str| format!("{}\n", event(name));
    let members = [gzip(line("created-without-age")), gzip(line("created-for-365-days"))].concat();
    let cut = gzip(log_file(2_000, "created-without-age").repeat(3));
    for (bytes, code, noncompliant) in [(members, 0, 2), (cut[..cut.len() - 5].to_vec(), 4, 1)] {
        let ran = folder.run_with_input(&["replay", "/dev/stdin"], &bytes);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("({noncompliant} noncompliant")), "{}", ran.stderr);
    }
}

/// Base64 and gzip hide the name of a call. Each file has one event of ours, and one of another kind.
#[test]
fn what_is_wrapped_is_found() {
    let folder = Folder::new();
    let ours = event("created-without-age");
    let record = ours["detail"].to_string();
    let mut other = ours["detail"].clone();
    other["eventName"] = json!("GetUser");
    let other = other.to_string();
    let log_event = |message: &str| json!({"id": "1", "message": message});
    let log_events =
        json!({"messageType": "DATA_MESSAGE", "logEvents": [log_event(&record), log_event(&other)]});
    let control =
        json!({"messageType": "CONTROL_MESSAGE", "logEvents": [log_event("CWL CONTROL MESSAGE: x")]});
    let packed = |text: &str| base64::engine::general_purpose::STANDARD.encode(gzip(text));
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let cases = [
        (
            "lookup-events",
            json!({"Events": [{"CloudTrailEvent": record}, {"CloudTrailEvent": other}]}).to_string(),
        ),
        ("subscription", json!({"awslogs": {"data": packed(&log_events.to_string())}}).to_string()),
        ("firehose", format!("{control}{log_events}")),
        (
            "kinesis",
            json!({"Records": [
                {"eventSource": "aws:kinesis", "kinesis": {"data": encoded(&other)}},
                {"eventSource": "aws:kinesis", "kinesis": {"data": encoded(&record)}},
            ]})
            .to_string(),
        ),
        ("sqs", json!({"Records": [{"body": other}, {"body": ours.to_string()}]}).to_string()),
        (
            "hits",
            format!(
                "{}\n{}\n",
                json!({"_source": {"message": record}}),
                json!({"_source": {"message": other}})
            ),
        ),
    ];
    for (name, text) in cases {
        let file = folder.write(name, text);
        let ran = folder.run(&["replay", "--ledger", &format!("file:{name}.db"), &file]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        let summary = "2 events read: 1 judged (1 noncompliant";
        assert!(ran.stderr.contains(summary), "{name}: {}", ran.stderr);
    }
}

/// Files with something that cannot be read: a name, the bytes, and what the warning says.
fn unreadable_files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let ours = || format!("{}\n", event("created-without-age"));
    let truncated = {
        let text = log_file(100, "created-without-age");
        text[..text.len() - 40].to_owned()
    };
    let packed = gzip(log_file(2_000, "created-without-age").repeat(3));
    let mut corrupt = packed.clone();
    let middle = corrupt.len() * 3 / 4;
    corrupt[middle] ^= 0xff;
    let cut = packed[..packed.len() / 2].to_vec();
    let mut wrong_type = event("created-without-age");
    wrong_type["detail"]["responseElements"]["serviceSpecificCredential"]["userName"] = json!(42);
    vec![
        ("garbage.json", b"this is not JSON".to_vec(), "record 1: it is not JSON"),
        ("binary", (0..=255).cycle().take(9_000).collect(), "it is neither a text"),
        ("broken", br#"{"eventSource": }"#.to_vec(), "record 1: it is not JSON"),
        (
            "null-in-a-list",
            format!("[null, \"a, ]\", [1, {{}}], {}", ours()).into(),
            "record 1: it is no object",
        ),
        (
            "call-behind-the-records",
            format!(r#"{{"Records":[],"more":[{}]}}"#, ours().trim()).into(),
            "record 1: behind its records",
        ),
        (
            "too-large",
            format!(r#"{{"eventSource": "{}"}}"#, "x".repeat(33 << 20)).into(),
            "record 1: it is one value of more than 32 MiB: neither it nor what follows it in this file or stream is read",
        ),
        ("truncated", truncated.into_bytes(), "record 101"),
        ("cut-behind-a-record", log_file(3, "created-without-age").trim_end_matches("]}").into(), "record 5"),
        ("cut-behind-the-list", log_file(3, "created-without-age").trim_end_matches('}').into(), "record 5"),
        ("half-a-line", format!("{{\"eventSource\": {{\"a\": 1,\n{}", ours()).into_bytes(), "record 1"),
        ("half-a-text", format!("{{\"eventSource\": \"a\n{}", ours()).into_bytes(), "record 1"),
        ("garbage-line", format!("oops\n{}", ours()).into_bytes(), "record 1: it is not JSON"),
        ("corrupt.gz", corrupt, "the file is damaged"),
        ("cut.gz", cut, "the file is damaged"),
        ("wrong-type", wrong_type.to_string().into_bytes(), "serviceSpecificCredential.userName"),
        ("two-accounts", event("created-with-two-accounts").to_string().into(), "recipientAccountId"),
        ("no-response", event("created-without-response").to_string().into(), "responseElements"),
    ]
}

/// Their readable events are judged.
const SALVAGED: [&str; 9] = [
    "null-in-a-list",
    "cut-behind-a-record",
    "cut-behind-the-list",
    "half-a-line",
    "half-a-text",
    "garbage-line",
    "cut.gz",
    "corrupt.gz",
    "truncated",
];

#[test]
fn one_unreadable_file_never_hides_the_others() {
    let folder = Folder::new();
    for (name, bytes, says) in unreadable_files() {
        let directory = format!("{name}.d");
        let bad = folder.write(&format!("{directory}/1-{name}"), bytes);
        folder.write(&format!("{directory}/2-good"), event("created-for-1-day").to_string());
        let ran = folder.run(&["replay", &directory]);
        assert_eq!(ran.code, 4, "{name}: {}", ran.stderr);
        let warning = ran.stderr.lines().next().unwrap();
        assert!(warning.contains(&bad) && warning.contains(says), "{name}: {}", ran.stderr);
        assert!(ran.stdout.contains("svc-nightly"), "{name}: the good file is hidden\n{}", ran.stdout);
        if SALVAGED.contains(&name) {
            assert!(ran.stdout.contains("svc-chatbot"), "{name}: {}\n{}", ran.stdout, ran.stderr);
        }
    }
}

#[test]
fn one_unreadable_message_never_hides_the_others() {
    let folder = Folder::new();
    let good = destination(&event("created-without-age")).to_string();
    let file = folder.write("failed.json", queue(&["cut {", &good, "[]"]).to_string());
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stdout.contains("ACCAEXAMPLEKEY0000001"), "{}", ran.stdout);
    assert!(ran.stderr.contains("failed.json: record 1.1: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("2 unreadable"), "{}", ran.stderr);
}

#[test]
fn a_queue_without_anything_of_ours_is_looked_into_all_the_same() {
    let folder = Folder::new();
    let file = folder.write("none.json", queue(&[]).to_string());
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("0 events read: "), "{}", ran.stderr);
    let file = folder.write(
        "others.json",
        queue(&["{}", &event("ignored-access-key-created-for-other-user").to_string()]).to_string(),
    );
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("others.json: record 1.1: it is JSON without a CloudTrail record"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("1 event read: 0 judged") && ran.stderr.contains("1 unreadable"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_empty_file_is_no_error_and_a_directory_without_events_is() {
    let folder = Folder::new();
    let empty = folder.write("empty", "");
    let ran = folder.run(&["replay", &empty]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    std::fs::create_dir(folder.path().join("nothing")).unwrap();
    let ran = folder.run(&["replay", "nothing"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("error: nothing: no files in this directory"), "{}", ran.stderr);
    folder.write("readable/empty", "");
    let ran = folder.run(&["replay", "readable"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("error: readable: 1 file, which has no CloudTrail records"),
        "{}",
        ran.stderr
    );
    for image in ["images/a.png", "images/b.png", "images/of/c.png"] {
        folder.write(image, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    }
    let ran = folder.run(&["replay", "images"]);
    assert_eq!(ran.code, 1);
    let says = "error: images: 3 files, none of which has CloudTrail records";
    assert!(ran.stderr.contains(says), "{}", ran.stderr);
}

#[test]
fn a_path_that_does_not_exist_is_named_and_hides_no_other() {
    let folder = Folder::new();
    let good = folder.write("good.json", event("created-for-1-day").to_string());
    let ran = folder.run(&["replay", "missing.json", &good]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("warning: missing.json: no such file or directory\n"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("\nexit 4: 1 file could not be read whole\n"), "{}", ran.stderr);
    assert!(ran.stdout.contains("svc-nightly"), "{}", ran.stdout);
    let ran = folder.run(&["replay", "missing.json", "missing.d"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stderr, "error: no such file or directory: missing.json, missing.d\n");
}

#[test]
fn digest_files_beside_the_logs_are_passed_over() {
    let folder = Folder::new();
    let digest =
        json!({"awsAccountId": "111122223333", "digestStartTime": "2026-11-20T09:00:00Z", "logFiles": []});
    folder.write("logs/CloudTrail-Digest/a.json.gz", gzip(digest.to_string()));
    folder.write("logs/CloudTrail/b.json.gz", gzip(log_file(3, "created-for-1-day")));
    let ran = folder.run(&["replay", "logs"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("4 events read:"), "{}", ran.stderr);
}

/// All pages of a quarter's event history are one value.
#[test]
fn a_value_of_many_megabytes_is_read_as_one_of_few() {
    let folder = Folder::new();
    let other =
        json!({"eventSource": "iam.amazonaws.com", "eventName": "GetUser", "filler": "x".repeat(3_000)});
    let mut events = vec![json!({"CloudTrailEvent": other.to_string()}); 2_000];
    events.push(json!({"CloudTrailEvent": record("created-without-age").to_string()}));
    let file = folder.write("history.json", json!({ "Events": events }).to_string());
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("2001 events read: 1 judged"), "{}", ran.stderr);
}

#[test]
fn inputs_that_are_too_large_to_inflate_whole_are_streamed() {
    let folder = Folder::new();
    // 40 MiB inflated: more than is ever held as a whole.
    let filler = "x".repeat(1_000);
    let other =
        json!({"eventSource": "s3.amazonaws.com", "eventName": "PutObject", "filler": filler}).to_string();
    let mut log = String::from("{\"Records\":[");
    for _ in 0..38_000 {
        log.push_str(&other);
        log.push(',');
    }
    log.push_str(&record("created-without-age").to_string());
    log.push_str("]}");
    folder.write("large/packed", gzip(&log));
    folder.write("large/plain", &log);
    let ran = folder.run(&["replay", "large"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("76002 events read: 1 judged"), "{}", ran.stderr);
    assert!(ran.stderr.contains("76000 of other kinds, 1 seen before"), "{}", ran.stderr);
}

#[test]
fn the_order_of_output_is_that_of_the_input() {
    let folder = Folder::new();
    for n in 0..60 {
        let mut one = event("created-for-1-day");
        let credential = &mut one["detail"]["responseElements"]["serviceSpecificCredential"];
        credential["serviceSpecificCredentialId"] = json!(format!("ACCAORDER{n:012}"));
        // Every other one takes much longer to read.
        let padding = if n % 2 == 0 { log_file(3_000, "created-for-1-day") } else { String::new() };
        folder.write(&format!("logs/{n:03}.json"), format!("{one}\n{padding}"));
    }
    let ran = folder.run(&["replay", "--format", "jsonl", "logs"]);
    let ids: Vec<_> = ran
        .json_lines()
        .iter()
        .map(|report| report["credential_id"].as_str().unwrap().to_owned())
        .filter(|id| id.contains("ORDER"))
        .collect();
    assert_eq!(ids.len(), 60);
    assert!(ids.is_sorted(), "{ids:?}");
}
