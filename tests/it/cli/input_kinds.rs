//! Every kind of input that the tables of `docs/replay.md` name: what is read, what is passed over, and what is refused.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::beside::beside;
use super::input::gzip;
use super::record;
use crate::support::cli::Folder;
use crate::support::event;

/// The event that each input holds, as texts.
struct Texts {
    envelope: String,
    record: String,
}

impl Texts {
    fn new() -> Self {
        Self {
            envelope: event("created-without-age").to_string(),
            record: record("created-without-age").to_string(),
        }
    }
}

/// A row of a table, the name of a file, and what is in it.
pub type Input = (&'static str, &'static str, Vec<u8>);

pub fn input(row: &'static str, name: &'static str, bytes: impl Into<Vec<u8>>) -> Input {
    (row, name, bytes.into())
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub fn csv(rows: &[&[&str]]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(*row).unwrap();
    }
    writer.into_inner().unwrap()
}

pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

pub fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write as _;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A zip archive with one member, which says that it is compressed in this way (PKWARE, *.ZIP File Format Specification*, 4.3.7
/// and 4.3.12).
fn with_method(zip: &[u8], method: u8) -> Vec<u8> {
    let mut zip = zip.to_vec();
    let central = zip.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    zip[8] = method;
    zip[central + 10] = method;
    zip
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(unit).collect()
}

/// What is read. Each file has one key that is judged.
fn wrappings() -> Vec<Input> {
    let Texts { envelope, record } = &Texts::new();
    let log_file = format!("{{\"Records\":[{record}]}}");
    let log_events = json!({"messageType": "DATA_MESSAGE", "logEvents": [{"message": record}]}).to_string();
    let control = json!({"messageType": "CONTROL_MESSAGE", "logEvents": []});
    let topic = json!({"Type": "Notification", "Message": envelope});
    let sns = json!({"Records": [{"EventSource": "aws:sns", "Sns": topic}]});
    let eventbridge = "EventBridge, also its archive";
    let texts = "the same with `--query 'Events[].CloudTrailEvent'`: a list of texts, or one text";
    let trail = "a log file of CloudTrail, a record, a list of records";
    let logs = "`aws logs filter-log-events`, results of Logs Insights";
    let subscription = "a subscription of CloudWatch Logs; the same through Firehose";
    let queues = "SQS (`Body`, `body`), SNS, SNS in SQS, Kinesis, Firehose";
    let engines = "hits of OpenSearch, exports of Splunk";
    let json = |row, name, value: Value| input(row, name, value.to_string());
    let mut replayed = event("created-without-age");
    replayed["replay-name"] = json!("november");
    vec![
        input(eventbridge, "envelope", envelope.as_str()),
        json(eventbridge, "archive", replayed),
        input(trail, "log-file", log_file),
        input(trail, "record", record.as_str()),
        input(trail, "list", format!("[{record}]")),
        json("`aws cloudtrail lookup-events`", "lookup", json!({"Events": [{"CloudTrailEvent": record}]})),
        json(texts, "texts", json!([record, "{}"])),
        json(texts, "text", json!(record)),
        json("results of CloudTrail Lake", "lake", json!({"QueryResultRows": [[{"eventJson": record}]]})),
        json(logs, "filter", json!({"events": [{"message": record}]})),
        json(logs, "insights", json!({"results": [[{"field": "@message", "value": record}]]})),
        json(subscription, "subscription", json!({"awslogs": {"data": encoded(gzip(&log_events))}})),
        input(subscription, "firehose", format!("{control}{log_events}")),
        json(queues, "sqs-cli", json!({"Messages": [{"Body": envelope}]})),
        json(queues, "sqs-lambda", json!({"Records": [{"eventSource": "aws:sqs", "body": envelope}]})),
        json(queues, "sns", sns),
        json(queues, "sns-in-sqs", json!({"Records": [{"body": topic.to_string()}]})),
        json(queues, "kinesis", json!({"Records": [{"kinesis": {"data": encoded(record)}}]})),
        json(queues, "firehose-lambda", json!({"records": [{"data": encoded(record)}]})),
        json(engines, "hits", json!({"_source": {"event": {"original": record}}})),
        json(engines, "splunk", json!({"result": {"_raw": record}})),
        json(
            "Lambda's record for a destination",
            "destination",
            json!({"requestContext": {}, "requestPayload": event("created-without-age")}),
        ),
    ]
}

/// The same for what is not one JSON value.
fn files() -> Vec<Input> {
    let Texts { envelope, record } = &Texts::new();
    let other = r#"{"eventSource":"s3.amazonaws.com","eventName":"GetObject"}"#;
    let packed = gzip(record);
    let lines = "JSON lines, values one behind the other";
    let cells = "CSV of Athena, CloudTrail Lake, Logs Insights, Splunk, OpenSearch";
    let gzipped = "gzip, gzip in gzip";
    let text = "UTF-8; UTF-16 with or without a byte-order mark";
    let tars = "tar, tar.gz";
    let members: [(&str, &[u8]); 2] = [("AWSLogs/a.json.gz", &packed), ("AWSLogs/README", b"hello")];
    let semicolons =
        String::from_utf8(csv(&[&["a", "b"], &["x", record]])).unwrap().replacen("a,b", "a;b", 1);
    vec![
        input(lines, "lines", format!("{other}\n{record}\n")),
        input(lines, "glued", format!("{other}{envelope}")),
        input(cells, "athena.csv", csv(&[&["line"], &[record]])),
        input(cells, "lake.csv", csv(&[&["eventTime", "eventJson"], &["2026-11-20", record]])),
        input(cells, "insights.csv", csv(&[&["@timestamp", "@message"], &["2026-11-20 09:07:21", record]])),
        input(cells, "splunk.csv", csv(&[&["_raw", "_time", "host"], &[record, "2026", "a"]])),
        input(cells, "opensearch.csv", csv(&[&["_id", "event.original"], &["1", record]])),
        input(cells, "semicolons", semicolons.replacen("x,", "x;", 1)),
        input(cells, "no-header.csv", csv(&[&[record]])),
        input("CSV of Athena with a column for each field", "columns.csv", columns(&identity())),
        input(gzipped, "once", packed.clone()),
        input(gzipped, "twice", gzip(&packed)),
        input(text, "utf-8", format!("\u{feff}{envelope}")),
        input(text, "utf-16-le", utf16(envelope, u16::to_le_bytes)),
        input(text, "utf-16-be", utf16(envelope, u16::to_be_bytes)),
        input(text, "unmarked-le", &utf16(envelope, u16::to_le_bytes)[2..]),
        input(text, "unmarked-be", &utf16(envelope, u16::to_be_bytes)[2..]),
        input(tars, "logs.tar", tar(&members)),
        input(tars, "logs.tar.gz", gzip(tar(&members))),
        input("zip, stored or deflated", "logs.zip", zip(&members)),
    ]
}

/// `userIdentity` as `json_format(CAST(useridentity AS JSON))` prints it.
fn identity() -> String {
    record("created-without-age")["userIdentity"].to_string().to_lowercase()
}

/// The rows that `SELECT *` of Athena's table of CloudTrail has.
fn columns(identity: &str) -> Vec<u8> {
    let record = record("created-without-age");
    let names = [
        "eventVersion",
        "userIdentity",
        "eventTime",
        "eventSource",
        "eventName",
        "awsRegion",
        "sourceIPAddress",
        "userAgent",
        "errorCode",
        "requestParameters",
        "responseElements",
        "eventID",
        "recipientAccountId",
    ];
    let cell = |name: &&str| match &record[*name] {
        _ if *name == "userIdentity" => identity.to_owned(),
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    };
    let header: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let row: Vec<String> = names.iter().map(cell).collect();
    let texts = |row: &[String]| {
        row.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect::<Vec<_>>()
    };
    format!("{}\n{}\n", texts(&header).join(","), texts(&row).join(",")).into()
}

/// The same for lines of logs.
fn logs() -> Vec<Input> {
    let Texts { envelope, record } = &Texts::new();
    let of = "lines of a log with a record behind something else: export tasks of CloudWatch Logs, `aws logs tail`, syslog";
    let other = r#"{"eventSource":"s3.amazonaws.com","eventName":"GetObject"}"#;
    let export = format!("2026-11-20T13:04:08.000Z {record}\n2026-11-20T13:04:09.000Z {other}\n");
    let syslog = format!(
        "<14>Nov 20 13:04:08 host app[7]: began, with a comma\n<14>Nov 20 13:04:09 host app[7]: {envelope}\n"
    );
    let tail =
        format!("2026-11-20T13:04:08+00:00 111122223333_CloudTrail_us-east-1 {record}\nend of the log\n");
    vec![
        input(of, "000000.gz", gzip(export)),
        input(of, "syslog", syslog),
        input(of, "tail", tail),
        input(of, "brackets", format!("[INFO] began\n[2026-11-20 13:04:08] app: {record}\n")),
        input(of, "columns", format!("EVENTS\t39\t1763644\tstream\t{record}\t1763645\n")),
    ]
}

/// What is refused, and what the message says.
fn refused_files() -> Vec<(Input, &'static str)> {
    let Texts { envelope, record } = &Texts::new();
    let of_columns = "Parquet, Avro, ORC";
    let packed = "zstd, bzip2, xz, lz4, 7z, RAR, UTF-32, Base64 alone";
    let table = "CSV with a row that names one of the guard's calls and has no readable record";
    let printed = identity().replace(':', "=").replace('"', "");
    let history = "Event ID,Event time,User name,Event name\n1,2026,a,CreateServiceSpecificCredential\n";
    let report = "user,arn,user_creation_time,access_key_1_active\na,b,c,false\n";
    let keys = json!({"ServiceSpecificCredentials": [{"UserName": "svc-chatbot"}]}).to_string();
    let export = "{\"v\":4,\"kind\":\"log\",\"account\":\"111122223333\"}\n".repeat(3);
    let policy =
        "# ours\n[default] # all\nservices = [\"*\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    let utf_32: Vec<u8> =
        format!("\u{feff}{envelope}").chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    vec![
        (input(of_columns, "a.parquet", "PAR1\u{15}"), "Parquet"),
        (input(of_columns, "a.avro", b"Obj\x01\x04".as_slice()), "Avro"),
        (input(of_columns, "a.orc", "ORC\u{8}"), "ORC"),
        (input(packed, "a.zst", b"\x28\xb5\x2f\xfd\0".as_slice()), "zstd -dc"),
        (input(packed, "a.bz2", "BZh91AY"), "bzip2 -dc"),
        (input(packed, "a.xz", b"\xfd7zXZ\0\0".as_slice()), "xz -dc"),
        (input(packed, "a.lz4", b"\x04\x22\x4d\x18a".as_slice()), "lz4 -dc"),
        (input(packed, "a.7z", b"7z\xbc\xaf\x27\x1c\0".as_slice()), "7z archive"),
        (input(packed, "a.rar", b"Rar!\x1a\x07\0".as_slice()), "RAR archive"),
        (input(packed, "utf-32", utf_32), "iconv -f UTF-32"),
        (input(packed, "base64", encoded(gzip(record))), "base64 -d"),
        (input("CSV of the console's event history", "event_history.csv", history), "replay --cloudtrail"),
        (input(table, "struct.csv", columns(&printed)), "json_format(CAST(useridentity AS JSON))"),
        (
            input(table, "some.csv", "eventtime,eventname\n2026,CreateServiceSpecificCredential\n"),
            "select at least eventversion",
        ),
        (input(table, "cells.csv", "who,what\na,CreateServiceSpecificCredential\n"), "export that column"),
        (input(table, "cut.csv", csv(&[&["a", "b"], &["x", &record[..40]]])), "is cut off"),
        (
            input("a list of keys of `aws iam list-service-specific-credentials`", "keys.json", keys),
            "bedrock-key-guard sweep --from FILE",
        ),
        (input("IAM's credential report", "report.csv", report), "bedrock-key-guard sweep"),
        (input("an export of a ledger", "export.jsonl", export), "bedrock-key-guard import FILE"),
        (input("a ledger file", "other.db", b"SQLite format 3\0\x10".as_slice()), "--ledger file:PATH"),
        (input("a policy file", "policy.toml", policy), "--policy FILE"),
        (
            input("other binary data, devices such as `/dev/zero`", "data", (0..=255).collect::<Vec<u8>>()),
            "it may be damaged",
        ),
    ]
}

/// The same for archives.
fn refused_archives() -> Vec<(Input, &'static str)> {
    let Texts { envelope, .. } = &Texts::new();
    let archive = "an archive that is encrypted, cut off, or too deep; a zip archive with bzip2, lzma and other compressions";
    let whole = tar(&[("a", envelope.as_bytes())]);
    let zipped = zip(&[("a", envelope.as_bytes())]);
    let deep = zip(&[("b.zip", &zip(&[("c.zip", &zipped)]))]);
    vec![
        (input(archive, "cut.tar", &whole[..512 + envelope.len()]), "the file is damaged"),
        (input(archive, "no-end.tar", &whole[..whole.len() - 1024]), "it may be cut off"),
        (input(archive, "cut.zip", &zipped[..zipped.len() / 2]), "the file is damaged"),
        (
            input(archive, "bzip2.zip", with_method(&zipped, 12)),
            "a: it is compressed with bzip2, which is not read: unpack",
        ),
        (
            input(archive, "lzma.zip", with_method(&zipped, 14)),
            "a: it is compressed with lzma, which is not read: unpack",
        ),
        (input(archive, "deep.zip", deep), "b.zip: c.zip: it is an archive in an archive"),
    ]
}

/// The same for JSON.
fn refused_json() -> Vec<(Input, &'static str)> {
    let Texts { record, .. } = &Texts::new();
    let parts = "JSON that names one of the guard's calls or a field of a record, and has no readable record";
    let deep_json = "JSON that is nested deeper than 127 levels";
    let lists = format!("{}{record}{}", "[".repeat(130), "]".repeat(130));
    let objects = format!("{}{record}{}", "{\"a\":".repeat(130), "}".repeat(130));
    vec![
        (input(parts, "part.json", r#"{"a": [{"userIdentity": {}}]}"#), "a field of a CloudTrail record"),
        (
            input(parts, "names.json", r#"{"Action": "iam:CreateAccessKey"}"#),
            "names a call that the guard watches",
        ),
        (
            input(parts, "escaped.json", r#"{"a": "Create\u0041ccessKey"}"#),
            "names a call that the guard watches",
        ),
        (
            input(parts, "base64.json", json!({"a": "Zm9v".repeat(80)}).to_string()),
            "Base64 or binary data in which",
        ),
        (input(deep_json, "lists.json", lists), "nested deeper than 127 levels"),
        (input(deep_json, "objects.json", objects), "nested deeper than 127 levels"),
    ]
}

/// All that is refused.
fn refused() -> Vec<(Input, &'static str)> {
    [refused_files(), refused_archives(), refused_json()].concat()
}

/// The first cells of the tables in the section about inputs.
fn rows_of_docs() -> BTreeSet<String> {
    let docs = include_str!("../../../docs/replay.md");
    let (_, section) = docs.split_once("\n## Inputs\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let cell = |line: &str| line.strip_prefix("| ")?.split(" |").next().map(str::to_owned);
    let heads = ["input", "skipped", "named and refused", "---"];
    section.lines().filter_map(cell).filter(|cell| !heads.contains(&cell.as_str())).collect()
}

#[test]
fn every_row_of_the_docs_has_an_input_and_every_input_a_row() {
    let mut rows: BTreeSet<String> =
        wrappings().iter().chain(&files()).chain(&logs()).map(|(row, ..)| (*row).to_owned()).collect();
    rows.extend(beside().iter().chain(&refused()).map(|((row, ..), _)| (*row).to_owned()));
    // Tests of their own: `links_are_followed_only_below_the_directory`, `one_unreadable_file_never_hides_the_others`.
    let links = "symbolic links that do not lead below the given directory; pipes, sockets and devices in a directory";
    rows.insert(links.to_owned());
    rows.insert("a JSON value of more than 32 MiB, and what follows it".to_owned());
    assert_eq!(rows_of_docs(), rows);
}

#[test]
fn what_is_read_is_judged_from_a_file_and_from_standard_input() {
    let folder = Folder::new();
    for (row, name, bytes) in wrappings().into_iter().chain(files()).chain(logs()) {
        let file = folder.write(name, &bytes);
        for ran in [folder.run(&["replay", &file]), folder.run_with_input(&["replay", "-"], &bytes)] {
            assert_eq!(ran.code, 0, "{row}: {name}: {}", ran.stderr);
            assert!(ran.stderr.contains(" 1 judged (1 noncompliant"), "{row}: {name}: {}", ran.stderr);
            assert!(ran.stdout.contains("svc-chatbot"), "{row}: {name}: {}", ran.stdout);
        }
    }
}

#[test]
fn what_is_not_read_is_named_once_with_what_to_do() {
    let folder = Folder::new();
    for ((row, name, bytes), says) in refused() {
        let file = folder.write(&format!("{name}.d/{name}"), &bytes);
        folder.write(&format!("{name}.d/z.json"), event("created-for-1-day").to_string());
        let ran = folder.run(&["replay", &format!("{name}.d")]);
        assert_eq!(ran.code, 4, "{row}: {name}: {}", ran.stderr);
        let warning = ran.stderr.lines().next().unwrap();
        assert!(warning.contains(&file) && warning.contains(says), "{row}: {name}: {}", ran.stderr);
        assert!(ran.stderr.contains("; 1 unreadable"), "{row}: {name}: {}", ran.stderr);
        assert!(ran.stdout.contains("svc-nightly"), "{row}: {name}: {}", ran.stdout);
        let ran = folder.run_with_input(&["replay", "-"], &bytes);
        assert_eq!(ran.code, 4, "{row}: {name}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{row}: {name}: {}", ran.stderr);
    }
}

/// Damage never makes a log file something else.
#[test]
fn a_damaged_log_file_is_named_whatever_it_looks_like() {
    let folder = Folder::new();
    let name = "111122223333_CloudTrail_us-east-1_20261120T0905Z_abcdefgh12345678";
    let log = format!("{{\"Records\":[{}]}}", Texts::new().record);
    let packed = gzip(&log);
    for (index, (extension, bytes)) in [
        ("json.gz", b"<html>503 Slow Down</html>".to_vec()),
        ("json", b"not found".to_vec()),
        ("json.gz", packed[..packed.len() - 1].to_vec()),
        ("json.gz", packed[1..].to_vec()),
        ("json.gz", vec![0; 100]),
        ("json", log.as_bytes()[1..].to_vec()),
        ("txt", log.as_bytes()[..log.len() - 5].to_vec()),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.write(&format!("{index}/{name}.{extension}"), bytes);
        let ran = folder.run(&["replay", &format!("{index}")]);
        assert!(ran.code == 4 && ran.stderr.contains(&file), "{index}: {}", ran.stderr);
    }
    let ran = folder.run(&["replay", &folder.write("given", "any text")]);
    assert!(ran.code == 4 && ran.stderr.contains("given: record 1: it is not JSON"), "{}", ran.stderr);
}

/// Members are named, and one that is damaged hides no other.
#[test]
fn a_damaged_member_is_named_with_its_archive() {
    let folder = Folder::new();
    let Texts { record, .. } = &Texts::new();
    let packed = gzip(record);
    let members: [(&str, &[u8]); 4] = [
        ("a/1.json.gz", &packed[..20]),
        ("a/2.json", b"{"),
        ("a/flow", b"2 1 eni-1 a b"),
        ("a/3", record.as_bytes()),
    ];
    for (name, bytes) in [("logs.tar.gz", gzip(tar(&members))), ("logs.zip", zip(&members))] {
        let ran = folder.run(&["replay", &folder.write(name, bytes)]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{name}: a/1.json.gz: ")), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{name}: a/2.json: record 1: ")), "{}", ran.stderr);
        assert!(ran.stderr.contains("1 judged") && ran.stderr.contains("; 2 unreadable"), "{}", ran.stderr);
        assert!(ran.stderr.contains("passed over: 1 VPC flow log"), "{}", ran.stderr);
    }
}

#[test]
fn links_are_followed_only_below_the_directory() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    folder.write("outside/secret.json", event("created-for-90-days").to_string());
    folder.write("real/below/a.json", event("created-without-age").to_string());
    let at = |name: &str| folder.at(name);
    symlink(at("outside/secret.json"), at("real/out.json")).unwrap();
    symlink(at("outside"), at("real/out")).unwrap();
    symlink("..", at("real/below/loop")).unwrap();
    symlink("nowhere", at("real/dangling")).unwrap();
    symlink("below/a.json", at("real/again.json")).unwrap();
    symlink("real", at("given")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(at("real/pipe")).status().unwrap();
    assert!(status.success());
    for path in ["real", "given"] {
        let ran = folder.run(&["replay", "--format", "jsonl", path]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("2 events read: "), "the link below is followed: {}", ran.stderr);
        assert!(
            ran.stderr.contains("passed over: 4 symbolic links, 1 pipe, socket or device"),
            "{}",
            ran.stderr
        );
        assert!(!ran.stdout.contains("svc-summaries"), "{}", ran.stdout);
    }
}

#[test]
fn devices_end_with_an_error() {
    let folder = Folder::new();
    for device in ["/dev/zero", "/dev/urandom", "/dev/full"] {
        let ran = folder.run(&["replay", device]);
        assert_eq!(ran.code, 4, "{device}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{device}: it is neither a text, nor gzip")), "{}", ran.stderr);
    }
    let ran = folder.run(&["policy", "check", "/dev/zero"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("/dev/zero: the file is larger than 1 MiB"), "{}", ran.stderr);
    let large = folder.write("large.toml", " ".repeat((1 << 20) + 1));
    for arguments in [["policy", "check", &large].as_slice(), &["replay", "--policy", &large, "a"]] {
        let ran = folder.run(arguments);
        assert!(ran.code == 2 && ran.stderr.contains("larger than 1 MiB"), "{}", ran.stderr);
    }
}
