//! The built command line: stdout, stderr, exit codes; the environment scrubbed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::Fault;
use crate::support::dynamodb::Dynamo;
use crate::support::file::LedgerFile;
use crate::support::iam::Iam;
use bedrock_key_guard::ledger::store::Ledger;
use flate2::Compression;
use flate2::write::GzEncoder;
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::dry_run::DryRun;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A place to run in. Nothing of this process's environment gets there.
struct Place(TempDir);

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-key-guard"));
        command.args(arguments).current_dir(self.0.path()).env_clear();
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Every item of a ledger file.
    fn items(&self, ledger: &str) -> Vec<Map<String, Value>> {
        LedgerFile::open(&self.0.path().join(ledger)).items()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        name.to_owned()
    }
}

fn events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("events")
}

fn event(name: &str) -> Value {
    crate::support::event(name)
}

fn record(name: &str) -> Value {
    event(name)["detail"].clone()
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
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

fn reports(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn replay_of_events_shows_the_whole_product_in_one_screen() {
    let place = Place::new();
    let ran = place.run(&["replay", events().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("replay-events-stdout", ran.stdout);
    let stderr = ran.stderr.replace(events().to_str().unwrap(), "events");
    insta::assert_snapshot!("replay-events-stderr", stderr);
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(
        readme.contains(&format!("{}\n{stderr}```", ran.stdout)),
        "the README shows what is printed as it is"
    );
    assert!(ran.stdout.lines().count() <= 40 && ran.stdout.lines().all(|line| line.len() <= 120));
}

#[test]
fn replaying_the_same_files_twice_changes_nothing() {
    let place = Place::new();
    let first = place.run(&["replay", "--format", "jsonl", events().to_str().unwrap()]);
    let items = || {
        let mut items = place.items("key-guard.db");
        for item in &mut items {
            // When it was judged: a key of several events may be judged again.
            item.remove("at");
        }
        items
    };
    let before = items();
    let count = |kind: &str| before.iter().filter(|item| item["kind"] == kind).count();
    assert_eq!((count("dry_run"), count("failed_call"), count("access_key_created")), (19, 2, 1));
    assert_eq!(before.len(), 22, "a dry run leaves neither a state nor a history (R14)");
    assert!(!json!(before).to_string().contains("ABSK"), "no secret is stored");
    let second = place.run(&["replay", "--format", "jsonl", events().to_str().unwrap()]);
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(items(), before);
}

#[test]
fn jsonl_has_every_field_of_the_contract_in_every_line() {
    let place = Place::new();
    let ran = place.run(&["replay", "--format", "jsonl", events().to_str().unwrap()]);
    let reports = reports(&ran);
    assert_eq!(reports.len(), 30, "every call of ours that could be read");
    for report in &reports {
        let fields: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec![
            "account",
            "service",
            "user",
            "credential_id",
            "created_at",
            "expires_at",
            "lifetime_days",
            "limit_days",
            "verdict",
            "violation",
            "severity",
            "status",
            "response",
            "outcome",
            "reason",
            "remediation",
            "actor",
            "source_ip",
            "user_agent",
            "event_id",
            "event_time",
            "policy_sha256",
        ];
        expected.sort_unstable();
        assert_eq!(fields, expected);
    }
    let never = reports.iter().find(|report| report["user"] == "svc-chatbot").unwrap();
    assert_eq!(never["expires_at"], Value::Null);
    assert_eq!(never["violation"], "never_expires");
    assert_eq!(never["response"], "delete");
    assert_eq!(never["outcome"], "recorded");
    let of = |name: &str| {
        let id = &event(name)["detail"]["eventID"];
        reports.iter().find(|report| report["event_id"] == *id).unwrap()
    };
    let reset = of("secret-reset");
    assert_eq!((&reset["user"], &reset["verdict"]), (&json!("svc-search"), &json!("noncompliant")));
    assert_eq!(of("status-changed-to-inactive")["outcome"], "ignored");
}

#[test]
fn csv_has_a_header_and_defuses_formulas() {
    let place = Place::new();
    let mut hostile = event("created-for-365-days");
    hostile["detail"]["userAgent"] = json!("=HYPERLINK(\"http://example.com\")\u{1b}[31m");
    let file = place.write("hostile.json", hostile.to_string());
    let ran = place.run(&["replay", "--format", "csv", &file]);
    assert!(ran.stdout.starts_with(r#""account","service","user","credential_id","created_at","#));
    assert!(ran.stdout.contains("\"'=HYPERLINK("), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'));
}

#[test]
fn fail_on_noncompliant_exits_with_3() {
    let place = Place::new();
    let bad = place.write("bad.json", event("created-without-age").to_string());
    let good = place.write("good.json", event("created-for-90-days").to_string());
    let run = |files: &[&str]| place.run(&[&["replay", "--fail-on", "noncompliant"], files].concat()).code;
    assert_eq!(run(&[&bad]), 3);
    assert_eq!(run(&[&good]), 0);
    let garbage = place.write("garbage.json", "garbage");
    assert_eq!(run(&[&bad, &garbage]), 3, "3 goes before 4");
    assert_eq!(place.run(&["replay", &bad]).code, 0);

    let unclear = place.write("unclear.json", event("created-expiration-unreadable").to_string());
    assert_eq!(run(&[&unclear]), 0);
    for (file, code) in [(&unclear, 3), (&bad, 3), (&good, 0)] {
        assert_eq!(place.run(&["replay", "--fail-on", "undetermined", file]).code, code, "{file}");
    }
}

/// A pipe can be read once only, whatever is in it.
#[test]
fn what_is_no_regular_file_is_read_as_it_comes() {
    let place = Place::new();
    let line = |name: &str| format!("{}\n", event(name));
    let members = [gzip(line("created-without-age")), gzip(line("created-for-365-days"))].concat();
    let cut = gzip(log_file(2_000, "created-without-age").repeat(3));
    for (bytes, code, noncompliant) in [(members, 0, 2), (cut[..cut.len() - 5].to_vec(), 4, 3)] {
        let ran = place.run_with_input(&["replay", "/dev/stdin"], &bytes);
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("({noncompliant} noncompliant")), "{}", ran.stderr);
    }
}

#[test]
fn a_ledger_is_a_file_whatever_sqlite_thinks_of_its_name() {
    for name in [":memory:", "file:x?mode=memory"] {
        let place = Place::new();
        let file = place.write("k.json", event("created-without-age").to_string());
        assert_eq!(place.run(&["replay", "--ledger", &format!("file:{name}"), &file]).code, 0);
        assert!(place.0.path().join(name).is_file(), "{name}");
    }
}

#[test]
fn names_of_files_do_not_steer_the_terminal() {
    let place = Place::new();
    let file = place.write("a\u{1b}]0;x\u{7}\nerror: b.json", "garbage");
    for path in [file.as_str(), "missing\u{1b}[31m"] {
        let ran = place.run(&["replay", path]);
        assert!(ran.code > 0 && !ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
        assert!(!ran.stderr.contains("\nerror: b"), "{:?}", ran.stderr);
    }
}

#[test]
fn nobody_listening_on_stderr_changes_nothing() {
    let place = Place::new();
    let (bad, garbage) =
        (place.write("bad", event("created-without-age").to_string()), place.write("garbage", "x"));
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran: Ran = place.command(&["replay", &garbage, &bad]).stderr(full()).output().unwrap().into();
    assert_eq!(ran.code, 4);
    assert!(ran.stdout.contains("noncompliant"));
}

/// What ends a run does not take with it what was done before.
#[test]
fn a_ledger_that_fails_leaves_the_summary() {
    let (place, dynamo) = (Place::new(), Dynamo::start());
    let file = place.write("k.json", event("created-without-age").to_string());
    let ran: Ran = place
        .command(&["replay", "--ledger", "dynamodb:no-such-table", &file])
        .env("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let (summary, error) = ran.stderr.split_once('\n').unwrap();
    assert!(summary.starts_with("0 events read: "), "{summary}");
    assert!(error.starts_with("error: ") && error.contains("no-such-table"), "{error}");
}

#[test]
fn processes_that_make_a_ledger_at_the_same_time_share_it() {
    let place = Place::new();
    let file = place.write("k.json", event("created-without-age").to_string());
    let mut children: Vec<_> = (0..6)
        .map(|_| {
            place.command(&["replay", &file]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children.drain(..) {
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
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
    let place = Place::new();
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
        let file = place.write(name, &bytes);
        for ran in [place.run(&["replay", &file]), place.run_with_input(&["replay", "-"], &bytes)] {
            assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
            assert!(ran.stderr.starts_with(&format!("{events} events read: ")), "{name}: {}", ran.stderr);
            assert!(ran.stderr.ends_with(" 0 unreadable\n"), "{name}: {}", ran.stderr);
            assert!(ran.stdout.contains("noncompliant"), "{name}: {}", ran.stdout);
        }
    }
}

#[test]
fn access_keys_of_users_that_a_console_made_are_found_in_every_wrapping() {
    let place = Place::new();
    let (envelope, bare) =
        (event("access-key-made-for-console-user"), record("access-key-made-for-console-user"));
    let pretty = serde_json::to_string_pretty(&envelope).unwrap();
    let log = json!({"Records": [record("not-ours-create-access-key"), bare]}).to_string();
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
        let file = place.write(name, &bytes);
        for ran in [
            place.run(&["replay", "--format", "jsonl", &file]),
            place.run_with_input(&["replay", "--format", "jsonl", "-"], &bytes),
        ] {
            assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
            assert!(ran.stderr.contains(" 1 attempts and access keys recorded"), "{name}: {}", ran.stderr);
            assert!(ran.stdout.contains("\"severity\":\"critical\""), "{name}: {}", ran.stdout);
        }
    }
    let behind = format!(r#"{{"Records":[],"more":[{bare}]}}"#);
    let ran = place.run(&["replay", &place.write("behind", behind)]);
    assert!(ran.code == 4 && ran.stderr.contains("behind its records"), "{}", ran.stderr);
    for name in ["BedrockAPIKey-1 2", "AeaApiKey-1 2"] {
        let unreadable = bare.to_string().replace("BedrockAPIKey-k3qz", name);
        let ran = place.run(&["replay", &place.write("unreadable", unreadable)]);
        assert!(ran.code == 4 && ran.stderr.contains("accessKey.userName"), "{}", ran.stderr);
    }
}

#[test]
fn one_unreadable_file_never_hides_the_others() {
    let place = Place::new();
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
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("garbage", b"this is not JSON".to_vec(), "record 1: it is not JSON"),
        ("binary", (0..=255).cycle().take(9_000).collect(), "record 1: it is not JSON"),
        ("broken", br#"{"eventSource": }"#.to_vec(), "record 1: it is not JSON"),
        (
            "null-in-a-list",
            format!("[null, \"a, ]\", [1, {{}}], {}]", ours()).into(),
            "record 1: it is no object",
        ),
        (
            "call-behind-the-records",
            format!(r#"{{"Records":[],"more":[{}]}}"#, ours().trim()).into(),
            "record 1: behind its records",
        ),
        (
            "too-large",
            format!(r#"{{"eventSource": "{}"}}"#, "x".repeat(5 << 20)).into(),
            "record 1: it is larger than 4 MiB",
        ),
        ("other", br#"{"name": "a-package"}"#.to_vec(), "neither a CloudTrail record"),
        ("truncated", truncated.into_bytes(), "record 101"),
        ("cut-behind-a-record", log_file(3, "created-without-age").trim_end_matches("]}").into(), "record 5"),
        ("cut-behind-the-list", log_file(3, "created-without-age").trim_end_matches('}').into(), "record 5"),
        ("half-a-line", format!("{{\"eventSource\": {{\"a\": 1,\n{}", ours()).into_bytes(), "record 1"),
        ("half-a-text", format!("{{\"eventSource\": \"a\n{}", ours()).into_bytes(), "record 1"),
        ("garbage-line", format!("oops\n{}", ours()).into_bytes(), "record 1: it is not JSON"),
        ("list-of-numbers", b"[1, 2]".to_vec(), "no object"),
        ("corrupt.gz", corrupt, "the file is damaged"),
        ("cut.gz", cut, "the file is damaged"),
        ("wrong-type", wrong_type.to_string().into_bytes(), "serviceSpecificCredential.userName"),
        ("two-accounts", event("created-with-two-accounts").to_string().into(), "recipientAccountId"),
        ("no-response", event("created-without-response").to_string().into(), "responseElements"),
    ];
    for (name, bytes, says) in cases {
        let directory = format!("{name}.d");
        let bad = place.write(&format!("{directory}/1-bad"), bytes);
        place.write(&format!("{directory}/2-good"), event("created-for-1-day").to_string());
        let ran = place.run(&["replay", &directory]);
        assert_eq!(ran.code, 4, "{name}: {}", ran.stderr);
        let warning = ran.stderr.lines().next().unwrap();
        assert!(warning.contains(&bad) && warning.contains(says), "{name}: {}", ran.stderr);
        assert!(ran.stdout.contains("svc-nightly"), "{name}: the good file is hidden\n{}", ran.stdout);
        let salvaged = [
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
        if salvaged.contains(&name) {
            assert!(ran.stdout.contains("svc-chatbot"), "{name}: {}\n{}", ran.stdout, ran.stderr);
        }
    }
}

#[test]
fn one_unreadable_message_never_hides_the_others() {
    let place = Place::new();
    let good = destination(&event("created-without-age")).to_string();
    let file = place.write("failed.json", queue(&["cut {", &good, "[]"]).to_string());
    let ran = place.run(&["replay", &file]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stdout.contains("ACCAEXAMPLEKEY0000001"), "{}", ran.stdout);
    assert!(ran.stderr.contains("failed.json: record 1.1: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("2 unreadable"), "{}", ran.stderr);
}

#[test]
fn a_queue_without_anything_of_ours_is_looked_into_all_the_same() {
    let place = Place::new();
    let file = place.write("none.json", queue(&[]).to_string());
    let ran = place.run(&["replay", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("0 events read: "), "{}", ran.stderr);
    let file = place
        .write("others.json", queue(&["{}", &event("not-ours-create-access-key").to_string()]).to_string());
    let ran = place.run(&["replay", &file]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("others.json: record 1.1: field eventSource: "), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 events read: 0 judged") && ran.stderr.contains("1 unreadable"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_empty_file_is_no_error_and_a_directory_without_events_is() {
    let place = Place::new();
    let empty = place.write("empty", "");
    let ran = place.run(&["replay", &empty]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    std::fs::create_dir(place.0.path().join("nothing")).unwrap();
    let ran = place.run(&["replay", "nothing"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("error: nothing: no events in this directory"), "{}", ran.stderr);
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let place = Place::new();
    let good = place.write("good.json", event("created-for-1-day").to_string());
    let ran = place.run(&["replay", &good, "missing.json"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("no such file or directory: missing.json"), "{}", ran.stderr);
}

#[test]
fn digest_files_beside_the_logs_are_passed_over() {
    let place = Place::new();
    let digest =
        json!({"awsAccountId": "111122223333", "digestStartTime": "2026-11-20T09:00:00Z", "logFiles": []});
    place.write("logs/CloudTrail-Digest/a.json.gz", gzip(digest.to_string()));
    place.write("logs/CloudTrail/b.json.gz", gzip(log_file(3, "created-for-1-day")));
    let ran = place.run(&["replay", "logs"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("4 events read:"), "{}", ran.stderr);
}

#[test]
fn inputs_that_are_too_large_to_inflate_whole_are_streamed() {
    let place = Place::new();
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
    place.write("large/packed", gzip(&log));
    place.write("large/plain", &log);
    let ran = place.run(&["replay", "large"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("76002 events read: 2 judged"), "{}", ran.stderr);
}

#[test]
fn the_order_of_output_is_that_of_the_input() {
    let place = Place::new();
    for n in 0..60 {
        let mut one = event("created-for-1-day");
        let credential = &mut one["detail"]["responseElements"]["serviceSpecificCredential"];
        credential["serviceSpecificCredentialId"] = json!(format!("ACCAORDER{n:012}"));
        // Every other one takes much longer to read.
        let padding = if n % 2 == 0 { log_file(3_000, "created-for-1-day") } else { String::new() };
        place.write(&format!("logs/{n:03}.json"), format!("{one}\n{padding}"));
    }
    let ran = place.run(&["replay", "--format", "jsonl", "logs"]);
    let ids: Vec<_> = reports(&ran)
        .iter()
        .map(|report| report["credential_id"].as_str().unwrap().to_owned())
        .filter(|id| id.contains("ORDER"))
        .collect();
    assert_eq!(ids.len(), 60);
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn colours_are_for_terminals_only() {
    let place = Place::new();
    let ran = place.run(&["replay", events().to_str().unwrap()]);
    assert!(!ran.stdout.contains('\u{1b}'));
    let forced =
        place.command(&["replay", events().to_str().unwrap()]).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(Ran::from(forced).stdout.contains('\u{1b}'));
    let silenced = place
        .command(&["replay", events().to_str().unwrap()])
        .envs([("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")])
        .output()
        .unwrap();
    assert!(!Ran::from(silenced).stdout.contains('\u{1b}'));
}

#[test]
fn the_ceiling_lowers_what_would_be_done() {
    let place = Place::new();
    let file = place.write("bad.json", event("created-without-age").to_string());
    for (ceiling, response, outcome) in [
        ("delete", "delete", "recorded"),
        ("deactivate", "deactivate", "recorded"),
        ("monitor", "monitor", "monitored"),
    ] {
        let ledger = format!("file:{ceiling}.db");
        let arguments = ["replay", "--format", "jsonl", "--ceiling", ceiling, "--ledger", &ledger, &file];
        let report = &reports(&place.run(&arguments))[0];
        assert_eq!(
            (report["response"].as_str(), report["outcome"].as_str()),
            (Some(response), Some(outcome))
        );
    }
}

/// The dry run of the key that an example event is about.
async fn load_dry_run(ledger: &Ledger, name: &str) -> Option<DryRun> {
    let event = event(name);
    let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap();
    let key = KeyRef {
        account: text("/detail/recipientAccountId").parse().unwrap(),
        id: text("/detail/responseElements/serviceSpecificCredential/serviceSpecificCredentialId")
            .parse()
            .unwrap(),
    };
    ledger.load_dry_runs(&[key]).await.remove(0).unwrap()
}

#[test]
fn another_policy_judges_again_and_replaces_the_dry_run() {
    let place = Place::new();
    let file = place.write("key.json", event("created-for-91-days").to_string());
    let relaxed = place.write(
        "relaxed.toml",
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 365\nresponse = \"delete\"\n",
    );
    assert_eq!(reports(&place.run(&["replay", "--format", "jsonl", &file]))[0]["verdict"], "noncompliant");
    let report = &reports(&place.run(&["replay", "--format", "jsonl", "--policy", &relaxed, &file]))[0];
    assert_eq!(report["verdict"], "compliant");
    let items = place.items("key-guard.db");
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0]["policy_sha256"], report["policy_sha256"]);
}

#[test]
fn an_invalid_policy_exits_with_2_and_names_the_line() {
    let place = Place::new();
    let file = place.write("p.toml", "[default]\nservices = [\"codecommit.amazonaws.com\"]\n");
    let key = place.write("key.json", event("created-for-91-days").to_string());
    for arguments in [&["policy", "check", &file][..], &["replay", "--policy", &file, &key]] {
        let ran = place.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: p.toml:2:12: "), "{}", ran.stderr);
    }
    assert_eq!(place.run(&["policy", "check", "missing.toml"]).code, 1);
}

#[test]
fn policy_check_explains_an_example_key() {
    let place = Place::new();
    let file = place.write(
        "p.toml",
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         [[exemption]]\naccount = \"111122223333\"\nuser = \"old\"\nreason = \"SEC-1\"\nuntil = 2020-01-01\n",
    );
    let ran = place.run(&["policy", "check", &file]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("warning: p.toml: the exemption of old"), "{}", ran.stderr);
    for expected in ["sha256", "never expires", "91 days", "lifetime", "noncompliant", "delete", "compliant"]
    {
        assert!(ran.stdout.to_lowercase().contains(expected), "{expected}: {}", ran.stdout);
    }
    let ran =
        place.run(&["policy", "check", &file, "--lifetime-days", "30", "--service", "logs.amazonaws.com"]);
    assert!(ran.stdout.contains("not ours"), "{}", ran.stdout);
}

#[test]
fn a_ledger_that_cannot_be_used_is_named() {
    let place = Place::new();
    let key = place.write("key.json", event("created-for-91-days").to_string());
    place.write(
        "not-a-database",
        "this is a text file, and a rather long one at that, so it is no SQLite database",
    );
    for (ledger, says) in
        [("file:not-a-database", "not-a-database"), ("file:no/such/directory/x.db", "no/such/directory/x.db")]
    {
        let ran = place.run(&["replay", "--ledger", ledger, &key]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    assert_eq!(place.run(&["replay", "--ledger", "s3:bucket", &key]).code, 2);
}

#[test]
fn help_has_examples_and_wrong_usage_exits_with_2() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["replay", "--help"], &["policy", "check", "--help"]] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("Examples:"), "{}", ran.stdout);
    }
    for arguments in [&[][..], &["replay"], &["replay", "--ceiling", "none", "x"], &["replay", "--frmt", "x"]]
    {
        assert_eq!(place.run(arguments).code, 2, "{arguments:?}");
    }
}

/// Arguments, with AWS's variables pointing at the stand-ins.
fn run_on_aws(place: &Place, iam: &Iam, dynamo: &Dynamo, arguments: &[&str]) -> Ran {
    let mut command = place.command(arguments);
    command.envs([
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", iam.url()),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url()),
    ]);
    command.output().unwrap().into()
}

fn make_key(iam: &Iam, event: &Value) -> String {
    let credential = &event["detail"]["responseElements"]["serviceSpecificCredential"];
    let id = credential["serviceSpecificCredentialId"].as_str().unwrap().to_owned();
    let created = event["detail"]["eventTime"].as_str().unwrap().parse().unwrap();
    iam.put(&id, credential["userName"].as_str().unwrap(), created, None);
    id
}

#[tokio::test]
async fn apply_acts_as_far_as_the_ceiling_allows_and_no_further() {
    let (place, dynamo) = (Place::new(), Dynamo::start());
    let event = event("created-without-age");
    let file = place.write("key.json", event.to_string());
    for (ceiling, outcome, status) in [
        (None, "monitored", Some("Active")),
        (Some("deactivate"), "deactivated", Some("Inactive")),
        (Some("delete"), "deleted", None),
    ] {
        let iam = Iam::start();
        let id = make_key(&iam, &event);
        let ledger = format!("file:{outcome}.db");
        // An earlier dry run changes nothing.
        place.run(&["replay", "--ledger", &ledger, &file]);
        let mut arguments = vec!["replay", "--apply", "--format", "jsonl", "--ledger", &ledger, &file];
        if let Some(ceiling) = ceiling {
            arguments.extend(["--ceiling", ceiling]);
        }
        let ran = run_on_aws(&place, &iam, &dynamo, &arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(reports(&ran)[0]["outcome"], outcome);
        assert_eq!(iam.key(&id).map(|key| key.status), status);
    }
    assert_eq!(place.run(&["replay", "--responder-role", "x", &file]).code, 2, "only with --apply");
}

/// Lets the leases in a ledger look as if they had ended. The program's clock is the machine's, so the items are changed.
fn expire_leases(place: &Place) {
    LedgerFile::open(&place.0.path().join("key-guard.db")).expire_leases();
}

#[tokio::test]
async fn one_key_that_fails_under_apply_never_hides_the_others() {
    let (place, iam, dynamo) = (Place::new(), Iam::start(), Dynamo::start());
    for name in ["created-by-root", "created-without-age"] {
        let event = event(name);
        make_key(&iam, &event);
        place.write(&format!("events/{name}.json"), event.to_string());
    }
    iam.fault("ListServiceSpecificCredentials", Fault::Refused(403, "AccessDenied"), 1);
    let arguments = ["replay", "--apply", "--ceiling", "delete", "--format", "jsonl", "events"];
    let ran = run_on_aws(&place, &iam, &dynamo, &arguments);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("AccessDenied") && ran.stderr.contains("1 failed"), "{}", ran.stderr);
    assert_eq!(reports(&ran).len(), 1);
    assert_eq!(iam.keys().len(), 1);
    expire_leases(&place);
    let again = run_on_aws(&place, &iam, &dynamo, &arguments);
    assert_eq!((again.code, iam.keys().len()), (0, 0), "{}", again.stderr);
}

/// R9: with `--apply` IAM says which key an unreadable creation is about. Without, nobody asks.
#[tokio::test]
async fn an_unreadable_creation_is_named_and_looked_up_only_under_apply() {
    let (place, iam, dynamo) = (Place::new(), Iam::start(), Dynamo::start());
    let mut event = event("created-without-age");
    let id = make_key(&iam, &event);
    event["detail"]["responseElements"] = json!("hidden");
    let file = place.write("key.json", event.to_string());
    let ran = run_on_aws(&place, &iam, &dynamo, &["replay", "--fail-on", "noncompliant", &file]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let warning = ran.stderr.lines().next().unwrap();
    assert!(warning.starts_with("warning: key.json: record 1: a key was created, and "), "{}", ran.stderr);
    assert!(ran.stderr.ends_with(" of other kinds; 1 unreadable\n"), "{}", ran.stderr);
    assert_eq!(iam.calls(), []);

    let arguments = ["replay", "--apply", "--ceiling", "deactivate", "--format", "jsonl", &file];
    let ran = run_on_aws(&place, &iam, &dynamo, &[&arguments[..], &["--fail-on", "noncompliant"]].concat());
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let reports = reports(&ran);
    assert_eq!((reports.len(), &reports[0]["outcome"]), (1, &json!("deactivated")), "{}", ran.stdout);
    assert!(reports[0]["reason"].as_str().unwrap().contains("could not be read"), "{}", ran.stdout);
    assert!(ran.stderr.ends_with("; 1 unreadable, 1 keys looked up for them\n"), "{}", ran.stderr);
    assert_eq!(iam.key(&id).unwrap().status, "Inactive");

    iam.remove(&id);
    let ran = run_on_aws(&place, &iam, &dynamo, &arguments);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("IAM lists no key in account"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("; 1 unreadable, 1 not looked up\n"), "{}", ran.stderr);
}

#[tokio::test]
async fn the_ledger_can_be_a_table_in_dynamodb() {
    let (place, iam, dynamo) = (Place::new(), Iam::start(), Dynamo::start());
    let ledger = dynamo.ledger("keys").await;
    let file = place.write("key.json", event("created-without-age").to_string());
    let ran = run_on_aws(&place, &iam, &dynamo, &["replay", "--ledger", "dynamodb:keys", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(dynamo.items("keys").len(), 1);
    assert!(load_dry_run(&ledger, "created-without-age").await.is_some());
    assert_eq!(iam.calls(), [], "IAM is not called without --apply");
    let ran = run_on_aws(&place, &iam, &dynamo, &["replay", "--ledger", "dynamodb:no-such-table", &file]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("the ledger table no-such-table does not exist"), "{}", ran.stderr);
}

/// What is read and written of many keys goes into few calls, and what passes is retried (R7).
#[tokio::test]
async fn a_dry_run_makes_few_calls_and_repeats_those_that_fail() {
    let (place, iam, dynamo) = (Place::new(), Iam::start(), Dynamo::start());
    dynamo.ledger("keys").await;
    let records: Vec<_> = (0..60)
        .map(|number| {
            let mut record = record("created-without-age");
            let credential = &mut record["responseElements"]["serviceSpecificCredential"];
            credential["serviceSpecificCredentialId"] = json!(format!("ACCAMANY{number:013}"));
            record
        })
        .collect();
    let file = place.write("log.json", json!({"Records": records}).to_string());
    let busy = Fault::Refused(400, "ProvisionedThroughputExceededException");
    dynamo.fault("BatchGetItem", busy, 4);
    dynamo.fault("TransactWriteItems", busy, 4);
    let ran = run_on_aws(&place, &iam, &dynamo, &["replay", "--ledger", "dynamodb:keys", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(dynamo.items("keys").len(), 60);
    let calls = dynamo.calls();
    assert!(calls.len() < 8 + 2 * 5, "{calls:?}");

    dynamo.fault("TransactWriteItems", Fault::Refused(400, "AccessDeniedException"), 1);
    let other = place.write("key.json", event("created-by-root").to_string());
    let ran = run_on_aws(&place, &iam, &dynamo, &["replay", "--ledger", "dynamodb:keys", &other]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("access to the ledger table keys was denied"), "{}", ran.stderr);
}

/// What `prevent` printed: one JSON document, and what it does not cover.
fn prevented(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("\nnot covered:\n  "), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("one JSON document and nothing else")
}

#[test]
fn prevent_scp_prints_a_document_that_denies_keys_without_an_age() {
    let place = Place::new();
    let ran = place.run(&["prevent", "scp"]);
    let document = prevented(&ran);
    insta::assert_snapshot!("prevent-scp-stdout", ran.stdout);
    insta::assert_snapshot!("prevent-scp-stderr", ran.stderr);
    let statements = document["Statement"].as_array().unwrap();
    let age = "iam:ServiceSpecificCredentialAgeDays";
    assert!(statements.iter().any(|statement| statement["Condition"]["Null"][age] == "true"));
    assert!(statements.iter().any(|statement| statement["Condition"]["NumericGreaterThan"][age] == "90"));
    assert!(ran.stdout.len() <= 5_120 && ran.stdout.ends_with("}\n"));
}

#[test]
fn prevent_permission_boundary_allows_what_is_not_denied() {
    let place = Place::new();
    let ran = place.run(&["prevent", "permission-boundary"]);
    let document = prevented(&ran);
    assert_eq!(document["Statement"][0]["Effect"], "Allow");
    assert!(ran.stderr.contains("a boundary grants none"), "{}", ran.stderr);
    let scp = prevented(&place.run(&["prevent", "scp"]));
    assert_eq!(document["Statement"].as_array().unwrap()[1..], *scp["Statement"].as_array().unwrap());
}

#[test]
fn prevent_event_pattern_prints_the_pattern_of_the_events_that_are_ours() {
    let ran = Place::new().run(&["prevent", "event-pattern"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document, key_guard_core::cloudtrail::pattern());
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.starts_with("not covered:\n") && ran.stderr.contains("us-east-1"), "{}", ran.stderr);
}

#[test]
fn prevent_takes_the_policy_file_and_says_what_iam_cannot_say() {
    let place = Place::new();
    let file = place.write(
        "policy.toml",
        r#"
[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 90
response = "delete"
[[override]]
users = ["svc-*"]
max_lifetime_days = 0
[[override]]
accounts = ["111122223333"]
response = "monitor"
[[exemption]]
account = "444455556666"
user = "vendor"
reason = "SEC-1"
until = 2020-01-01
"#,
    );
    let ran = place.run(&["prevent", "scp", "--policy", &file, "--deny-use"]);
    let document = prevented(&ran);
    assert!(!ran.stdout.contains("vendor"), "the exemption has ended");
    assert!(document.to_string().contains("bedrock-mantle:CallWithBearerToken"));
    for note in [
        "warning: policy.toml: the exemption of vendor in 444455556666 ended on 2020-01-01",
        "of what the policy file forbids, not denied:\n",
        "  override 1: not stricter for svc-*, ",
        "  override 2: its response is monitor, so nothing is denied\n",
        "  the age of keys in use, ",
    ] {
        assert!(ran.stderr.contains(note), "{note}\n{}", ran.stderr);
    }
    let exact = place.run(&["prevent", "scp", "--policy", &file, "--plain-users"]);
    assert!(prevented(&exact).to_string().contains("arn:aws:iam::*:user/svc-*"));
    assert!(!exact.stderr.contains("override 1"), "{}", exact.stderr);
    let china = place.run(&["prevent", "scp", "--policy", &file, "--plain-users", "--partition", "aws-cn"]);
    assert!(prevented(&china).to_string().contains("arn:aws-cn:iam::*:user/svc-*"));
}

#[test]
fn prevent_leaves_break_glass_principals_out_of_every_statement() {
    let (role, user) = ("arn:aws:iam::*:role/break-glass", "arn:aws:iam::111122223333:user/ops/kim");
    let ran = Place::new().run(&["prevent", "scp", "--break-glass", role, "--break-glass", user]);
    for statement in prevented(&ran)["Statement"].as_array().unwrap() {
        assert_eq!(statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"], json!([role, user]));
    }
    assert!(ran.stderr.contains("  arn:aws:iam::*:role/break-glass: may make any key"), "{}", ran.stderr);
}

#[test]
fn prevent_prints_nothing_to_stdout_where_it_fails() {
    let place = Place::new();
    let rules = |response: &str| {
        format!(
            "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"{response}\"\n"
        )
    };
    let invalid = place.write("invalid.toml", rules("remove"));
    let monitor = place.write("monitor.toml", rules("monitor"));
    let exemption = |number: u32| {
        format!(
            "[[exemption]]\naccount = \"111122223333\"\nuser = \"vendor-{number}\"\nreason = \"SEC-1\"\nuntil = 9999-12-30\n"
        )
    };
    let long = place.write("long.toml", rules("delete") + &(0..50).map(exemption).collect::<String>());
    let sts = "arn:aws:sts::111122223333:assumed-role/break-glass/kim";
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&["--policy", &invalid], 2, &["error: invalid.toml:4:12: unknown response \"remove\""]),
        (&["--policy", "missing.toml"], 1, &["error: missing.toml: could not read the policy file"]),
        (
            &["--policy", &monitor],
            1,
            &["error: the policy denies nothing: [default]: its response is monitor"],
        ),
        (
            &["--policy", &long],
            1,
            &["error: the service control policy has ", " characters, and AWS takes 5120"],
        ),
        (&["--break-glass", sts], 2, &["'--break-glass <ARN>': expected the ARN of an IAM role or user"]),
        (&["--break-glass", "arn:aws:iam::*:role/*"], 2, &["'--break-glass <ARN>'"]),
        (
            &["--break-glass", "arn:aws:iam::*:role/x", "--partition", "aws-us-gov"],
            2,
            &["error: --break-glass arn:aws:iam::*:role/x: expected an ARN of the partition aws-us-gov"],
        ),
        (&["--partition", "aws-iso"], 2, &["--partition"]),
    ];
    for (arguments, code, messages) in cases {
        let ran = place.run(&[&["prevent", "scp"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}\n{}", ran.stderr);
        for message in messages {
            assert!(ran.stderr.contains(message), "{message}\n{}", ran.stderr);
        }
    }
}
