//! What `usage` reads in files, and how it prints it.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{Use, log, other};
use crate::support::OTHER;
use crate::support::cli::Folder;

const USES: [Use; 8] = [
    Use::new(1, "svc-search", "2026-03-02T08:00:00Z"),
    Use { address: "198.51.100.28", ..Use::new(2, "svc-search", "2026-03-28T09:30:00Z") },
    Use {
        model: "arn:aws:bedrock:eu-central-1:111122223333:inference-profile/eu.anthropic.claude-sonnet-4-6",
        ..Use::new(3, "svc-search", "2026-03-29T10:00:00Z")
    },
    Use { address: "203.0.113.9", agent: "curl/8.14.1", ..Use::new(4, "svc-search", "2026-03-30T23:59:59Z") },
    Use::new(5, "BedrockAPIKey-k3qz", "2026-01-04T12:00:00Z"),
    Use { address: "2001:db8:1:2::3", ..Use::new(6, "BedrockAPIKey-k3qz", "2026-01-04T12:01:00Z") },
    Use::new(7, "svc-search", "2026-03-30T08:00:00Z"),
    Use::new(8, "svc-batch", "2026-03-01T00:00:00Z"),
];

/// Uses of three users, one of them in another account, and by a session of a role.
fn records() -> Vec<Value> {
    let mut records: Vec<_> = USES.iter().map(|one| one.record()).collect();
    records[3]["errorCode"] = json!("AccessDenied");
    records[3]["requestParameters"] = Value::Null;
    records[6] = USES[6].data_event("bedrock-mantle.amazonaws.com");
    let mut elsewhere = USES[7].record();
    elsewhere["recipientAccountId"] = json!(OTHER);
    elsewhere["userIdentity"]["accountId"] = json!(OTHER);
    records[7] = elsewhere;
    let mut role = Use::new(9, "-", "2026-03-05T00:00:00Z").record();
    role["userIdentity"] = json!({
        "type": "AssumedRole", "accountId": "111122223333",
        "arn": "arn:aws:sts::111122223333:assumed-role/Admin/maria.lopez@example.com",
    });
    // An organisation's trail has it once more.
    records.extend([role, USES[0].record(), other(10, "2026-03-31T00:00:00Z")]);
    records
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("AWSLogs/trail.json", log(&records()));
    folder
}

#[test]
fn each_user_s_calls_are_printed_as_the_docs_show() {
    let folder = folder();
    let ran = folder.run(&["usage", "--absolute", "AWSLogs/"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("table", ran.stdout);
    insta::assert_snapshot!("stderr", ran.stderr);
    let docs = include_str!("../../../docs/usage.md");
    assert!(docs.contains(&ran.stdout), "docs/usage.md shows what is printed as it is");
    assert_eq!(folder.names(), ["AWSLogs".to_owned()].into(), "without a ledger nothing is written");
}

#[test]
fn scripts_get_every_field_of_every_row() {
    let folder = folder();
    insta::assert_snapshot!("jsonl", folder.run(&["usage", "--format", "jsonl", "AWSLogs/"]).stdout);
    insta::assert_snapshot!("csv", folder.run(&["usage", "--format", "csv", "AWSLogs/"]).stdout);
}

/// Columns that do not fit are left out; where names do not fit, there is a line for each field.
#[test]
fn a_narrow_terminal_splits_no_name() {
    let folder = folder();
    let names =
        ["111122223333", "BedrockAPIKey-k3qz", "2026-03-30T23:59:59Z", "eu.anthropic.claude-sonnet-4-6 (1)"];
    for width in [40, 80, 100, 120, 140, 200] {
        let ran = folder.run(&["usage", "--absolute", "--width", &width.to_string(), "AWSLogs/"]);
        for name in names {
            assert!(ran.stdout.contains(name), "{width}: {}", ran.stdout);
        }
        let is_table = ran.stdout.starts_with("ACCOUNT       USER ");
        assert_eq!(is_table, width >= 100, "{width}: {}", ran.stdout);
        if is_table {
            let longest = ran.stdout.lines().map(str::len).max().unwrap();
            assert!(longest <= width, "{width}: {}", ran.stdout);
        }
    }
    let ran = folder.run(&["usage", "--absolute", "--width", "40", "AWSLogs/"]);
    let first = "ACCOUNT      111122223333\nUSER         svc-search\nLAST USED    2026-03-30T23:59:59Z\n";
    assert!(ran.stdout.starts_with(first), "{}", ran.stdout);
}

#[test]
fn the_help_describes_this_command_s_rows() {
    let help = folder().run(&["usage", "--help"]).stdout;
    assert!(
        help.contains("with what is most frequent in their calls") && !help.contains("Judged keys"),
        "{help}"
    );
}

#[test]
fn the_regions_of_the_events_are_said() {
    let folder = folder();
    let ran = folder.run(&["usage", "AWSLogs/"]);
    let said = "Regions of the events that were read: eu-central-1; calls in other Regions are not seen";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    // An event of another kind tells as well that its Region was read.
    let mut elsewhere = other(20, "2026-03-03T00:00:00Z");
    elsewhere["awsRegion"] = json!("us-west-2");
    folder.write("AWSLogs/oregon.json", log(&[elsewhere]));
    let ran = folder.run(&["usage", "AWSLogs/"]);
    let said = "read: eu-central-1, us-west-2 in account 111122223333; eu-central-1 in account 444455556666;";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
}

/// What `replay` reads, `usage` reads, and what one refuses the other does.
#[test]
fn the_door_is_that_of_replay() {
    let creation =
        super::created("ACCAEXAMPLEUSAGE00001", "svc", "bedrock.amazonaws.com", "2026-03-01T00:00:00Z", None);
    let both = [creation, USES[0].record()];
    let packed = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let lines = format!("{}\n{}\n", both[0], both[1]);
    let csv_row = |record: &Value| format!("\"{}\"\n", record.to_string().replace('"', "\"\""));
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(lines.len() as u64);
    header.set_cksum();
    tar.append_data(&mut header, "log.json", lines.as_bytes()).unwrap();
    let tar = tar.into_inner().unwrap();
    let utf16: Vec<u8> = format!("\u{feff}{lines}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let notification = |record: &Value| json!({"Type": "Notification", "Message": record.to_string()});
    let topic: String = both
        .iter()
        .map(|record| json!({"Messages": [{"Body": notification(record).to_string()}]}).to_string())
        .collect();
    let hits: Vec<_> = both.iter().map(|record| json!({"_source": record})).collect();
    let inputs: [(&str, Vec<u8>); 12] = [
        ("log", log(&both).into_bytes()),
        ("lines", lines.clone().into_bytes()),
        ("gzip in gzip", packed(&packed(lines.as_bytes()))),
        ("tar.gz", packed(&tar)),
        ("utf-16", utf16),
        ("topic in queue", topic.into_bytes()),
        ("hits", json!({"hits": {"hits": hits}}).to_string().into_bytes()),
        ("csv", format!("eventjson\n{}{}", csv_row(&both[0]), csv_row(&both[1])).into_bytes()),
        // Refused.
        ("parquet", b"PAR1 and so on".to_vec()),
        ("list", json!({"ServiceSpecificCredentials": []}).to_string().into_bytes()),
        ("export", json!({"v": 4, "kind": "state"}).to_string().into_bytes()),
        ("binary", vec![0, 1, 2, 3, 0xff, 0xfe]),
    ];
    let folder = Folder::new();
    for (number, (what, bytes)) in inputs.iter().enumerate() {
        let name = folder.write(what, bytes);
        let ledger = format!("file:{number}.db");
        let replayed = folder.run(&["replay", "--format", "jsonl", "--ledger", &ledger, &name]);
        let used = folder.run(&["usage", "--format", "jsonl", &name]);
        let is_read = number < 8;
        assert_eq!(replayed.json_lines().len(), usize::from(is_read), "{what}: {}", replayed.stderr);
        assert_eq!(used.json_lines().len(), usize::from(is_read), "{what}: {}", used.stderr);
        assert_eq!(used.code, replayed.code, "{what}: {}{}", used.stderr, replayed.stderr);
        let warnings = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
        };
        assert_eq!(warnings(&used.stderr), warnings(&replayed.stderr), "{what}");
        assert_eq!(is_read, warnings(&used.stderr).is_empty(), "{what}: {}", used.stderr);
    }
}

#[test]
fn only_what_is_asked_for_is_counted() {
    let folder = folder();
    for (arguments, calls, says) in [
        (&["--user", "SVC-search"][..], 5, "5 calls with keys of 1 IAM user"),
        (&["--user", "svc-search", "--user", "svc-batch"], 6, "2 calls of other users or times"),
        (&["--since", "2026-03-29"], 3, "3 calls with keys of 1 IAM user"),
        (&["--since", "2026-03-02", "--until", "2026-03-28"], 2, "6 calls of other users or times"),
        (&["--user", "nobody"], 0, "0 calls with keys of 0 IAM users"),
        (&["--user", "SVC-serch"], 0, "\nno calls of SVC-serch; the logs have svc-search\n"),
    ] {
        let ran = folder.run(&[&["usage", "--format", "jsonl"], arguments, &["AWSLogs/"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let counted: u64 = ran.json_lines().iter().map(|row| row["calls"].as_u64().unwrap()).sum();
        assert_eq!(counted, calls, "{arguments:?}: {}", ran.stdout);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.contains("no calls of"), says.contains("no calls of"), "{}", ran.stderr);
    }
}

/// The wrappings are those of `replay`.
#[test]
fn calls_are_found_in_every_wrapping() {
    let folder = Folder::new();
    let record = USES[0].record();
    let envelope = json!({
        "source": "aws.bedrock", "detail-type": "AWS API Call via CloudTrail", "account": "111122223333",
        "detail": record,
    });
    let looked_up = json!({"Events": [{"EventId": "1", "CloudTrailEvent": record.to_string()}]});
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(log(std::slice::from_ref(&record)).as_bytes()).unwrap();
    let wrappings: [(&str, Vec<u8>); 7] = [
        ("log", log(std::slice::from_ref(&record)).into_bytes()),
        ("record", record.to_string().into_bytes()),
        ("lines", format!("{}\n{record}\n", other(11, "2026-03-01T00:00:00Z")).into_bytes()),
        ("envelope", envelope.to_string().into_bytes()),
        ("lookup-events", looked_up.to_string().into_bytes()),
        ("queue", json!({"Messages": [{"Body": envelope.to_string()}]}).to_string().into_bytes()),
        ("gzip", gzip.finish().unwrap()),
    ];
    for (what, bytes) in &wrappings {
        let name = folder.write(what, bytes);
        let ran = folder.run(&["usage", "--format", "jsonl", &name]);
        assert_eq!(ran.code, 0, "{what}: {}", ran.stderr);
        let rows = ran.json_lines();
        assert_eq!((rows.len(), &rows[0]["user"]), (1, &json!("svc-search")), "{what}");
        let ran = folder.run_with_input(&["usage", "--format", "jsonl", "-"], bytes);
        assert_eq!(ran.json_lines(), rows, "{what}, from standard input");
    }
    let all: Vec<_> = wrappings.iter().map(|(what, _)| *what).collect();
    let ran = folder.run(&[&["usage", "--format", "jsonl"], &all[..]].concat());
    assert_eq!(ran.json_lines()[0]["calls"], 1, "it is the same call each time");
    assert!(ran.stderr.contains("6 came more than once"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_counted() {
    let folder = folder();
    let mut nameless = USES[0].record();
    nameless["userIdentity"] = json!({"type": "IAMUser"});
    let mut damaged = log(&[USES[1].record()]);
    damaged.truncate(damaged.len() - 30);
    folder.write("AWSLogs/nameless.json", log(&[nameless]));
    folder.write("AWSLogs/damaged.json", damaged);
    // A creation that `replay` could not read is none of this command's.
    folder.write(
        "AWSLogs/creation.json",
        r#"{"Records":[{"eventSource":"iam.amazonaws.com","eventName":"CreateServiceSpecificCredential"}]}"#,
    );
    let ran = folder.run(&["usage", "--format", "jsonl", "AWSLogs/"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(ran.json_lines().len(), 3);
    assert!(
        ran.stderr.contains("AWSLogs/nameless.json: record 1: field userIdentity.userName"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("AWSLogs/damaged.json: record 1: the input ends within it"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("; 2 unreadable"), "{}", ran.stderr);
}

#[test]
fn a_call_that_is_hidden_in_another_event_is_named() {
    let folder = Folder::new();
    let mut outer = other(20, "2026-03-31T00:00:00Z");
    outer["requestParameters"] = json!({"entries": [{"detail": USES[0].record().to_string()}]});
    folder.write("log.json", log(&[outer, USES[1].record()]));
    let ran = folder.run(&["usage", "log.json"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let says = "warning: log.json: record 1: field requestParameters.entries[0].detail: expected an event that stands alone, found a record of a call \
                with a bearer token inside something else\n";
    assert!(
        ran.stderr.starts_with(says) && ran.stderr.contains(": 1 call with keys of 1 IAM user"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("; 1 unreadable"), "{}", ran.stderr);
}

#[test]
fn no_secret_and_no_prompt_is_printed() {
    let folder = Folder::new();
    let secret = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl";
    let mut record = USES[0].record();
    for pointer in
        ["/userAgent", "/sourceIPAddress", "/awsRegion", "/eventName", "/requestParameters/modelId"]
    {
        *record.pointer_mut(pointer).unwrap() = json!(format!("=x {secret}\u{1b}[31m"));
    }
    record["requestParameters"]["body"] = json!("the prompt");
    folder.write("log.json", log(&[record]));
    for format in ["table", "jsonl", "csv"] {
        let ran = folder.run(&["usage", "--format", format, "log.json"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains("Qm") && !text.contains('\u{1b}') && !text.contains("prompt"), "{text}");
        }
        assert!(ran.stdout.contains("ABSK(redacted)"), "{}", ran.stdout);
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_to_do() {
    let folder = folder();
    for (arguments, says) in [
        (&[][..], "<PATH|--cloudtrail>"),
        (&["--cloudtrail", "AWSLogs/"], "cannot be used with"),
        (&["--full", "AWSLogs/"], "cannot be used with"),
        (&["--regions", "Frankfurt", "--cloudtrail"], "such as us-east-1"),
        (&["--cloudtrail"], "--user NAME, or --ledger"),
        (&["--since", "2026-03-02", "--until", "2026-03-01", "AWSLogs/"], "--until is not after --since"),
        (&["--since", "yesterday", "AWSLogs/"], "7d"),
    ] {
        let ran = folder.run(&[&["usage"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    folder.write("empty/.keep", "");
    for (arguments, says) in [
        (&["nowhere"][..], "no such file or directory: nowhere"),
        (&["empty/"], "there are no CloudTrail records"),
        (&["--ledger", "file:nowhere.db", "AWSLogs/"], "nowhere.db"),
    ] {
        let ran = folder.run(&[&["usage"], arguments].concat());
        assert_eq!(ran.code, 1, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    assert!(!folder.at("nowhere.db").exists());
    let help = folder.run(&["usage", "--help"]);
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("Exit codes:"), "{}", help.stdout);
}
