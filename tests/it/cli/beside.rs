//! What lies beside events in a trail's bucket and cannot hold one: the second table of `docs/replay.md`.

use serde_json::{Value, json};

use super::input::gzip;
use super::input_kinds::{Input, input};
use crate::support::cli::Folder;
use crate::support::event;

/// The call of an Insights event, and of an aggregated one.
fn counted(kind: &str) -> String {
    let call = json!({"eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential"});
    json!({"Records": [{"eventType": kind, "eventSource": "iam.amazonaws.com", "insightDetails": call}]})
        .to_string()
}

/// What CloudTrail, Config and macOS keep, and what the summary calls it.
fn aws_and_mac() -> Vec<(Input, &'static str)> {
    let answers = "answers that found nothing (`{\"Events\": []}`), a header without rows";
    let digest = json!({"digestStartTime": "2026-11-20T09:00:00Z", "logFiles": []});
    let large = json!({"resourceType": "AWS::IAM::Policy", "configuration": "CreateServiceSpecificCredential".repeat(200_000)});
    let config = |item: Value| json!({"fileVersion": "1.0", "configurationItems": [item]}).to_string();
    let mac = "files of macOS, images";
    let names = "`Thumbs.db`, Hadoop's checksums";
    let counts = "Insights, aggregated events";
    let configs = "histories and snapshots of Config";
    let digests = "CloudTrail's digests";
    let cut = gzip(digest.to_string());
    vec![
        (input(digests, "digest", gzip(digest.to_string())), "1 digest"),
        (
            input(
                digests,
                "111122223333_CloudTrail-Digest_us-east-1_a_us-east-1_1.json.gz",
                &cut[..cut.len() / 2],
            ),
            "1 digest",
        ),
        (input(counts, "insights.json.gz", gzip(counted("AwsCloudTrailInsight"))), "1 Insights file"),
        (
            input(counts, "aggregated.json.gz", gzip(counted("AwsAggregatedEvent"))),
            "1 file of aggregated events",
        ),
        (
            input(
                "signatures of CloudTrail Lake's query results",
                "sign.json",
                r#"{"files":[],"hashSignature":"a"}"#,
            ),
            "1 signature of query results",
        ),
        (input(configs, "config.json.gz", gzip(config(json!({"a": 1})))), "1 Config file"),
        (input(configs, "snapshot.json.gz", gzip(config(large))), "1 Config file"),
        (input(mac, ".DS_Store", b"\0\0\0\x01Bud1\0\0\x10\0".as_slice()), "1 .DS_Store or ._ file"),
        (input(mac, "._a.json.gz", b"\0\x05\x16\x07\0\x02\0\0".as_slice()), "1 .DS_Store or ._ file"),
        (input(mac, "logo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice()), "1 image"),
        (input(names, "Thumbs.db", b"\xd0\xcf\x11\xe0\0\0".as_slice()), "1 Thumbs.db file"),
        (input(names, ".trail.parquet.crc", b"crc\0\0\0\x02\0".as_slice()), "1 checksum"),
        (
            input(
                "Bedrock's logs of model invocations",
                "prompts.json.gz",
                gzip(json!({"schemaType": "ModelInvocationLog", "input": "aZ09".repeat(100)}).to_string()),
            ),
            "1 log of model invocations",
        ),
        (
            input(
                "policies of IAM and of organisations",
                "scp.json",
                r#"{"Version": "2012-10-17", "Statement": {"Action": "iam:CreateServiceSpecificCredential"}}"#,
            ),
            "1 IAM policy",
        ),
        (input(answers, "answer.json", r#"{"Events": []}"#), "1 empty answer"),
        (input("empty files", "empty.json.gz", ""), "1 empty file"),
        (input("empty files", "packed-empty.json.gz", gzip("")), "1 empty file"),
    ]
}

/// The same for logs of other services.
fn access_logs() -> Vec<(Input, &'static str)> {
    let of = "VPC flow logs, access logs of load balancers and of S3";
    vec![
        (
            input(
                of,
                "flow.log.gz",
                gzip("2 111122223333 eni-0a1b2c3d 203.0.113.7 10.0.0.1 443 5000 6 1 40 1 2 ACCEPT OK\n"),
            ),
            "1 VPC flow log",
        ),
        (input(of, "flow", "version account-id interface-id srcaddr dstaddr\n2 1 2 3 4\n"), "1 VPC flow log"),
        (
            input(
                of,
                "alb.log.gz",
                gzip("https 2026-11-20T22:23:00.186641Z app/a/1 192.0.2.1:2817 10.0.0.1:80 0.0\n"),
            ),
            "1 load balancer log",
        ),
        (
            input(
                of,
                "s3",
                format!("{} bucket [20/Nov/2026:00:00:38 +0000] 192.0.2.3 - 3E57\n", "7".repeat(64)),
            ),
            "1 S3 access log",
        ),
        (
            input(
                "CloudFront logs",
                "EXAMPLE.2026-11-20-13.a1b2.gz",
                gzip("#Version: 1.0\n#Fields: date time x-edge-location\n2026-11-20\t13:04:08\tIAD12\n"),
            ),
            "1 CloudFront log",
        ),
        (
            input(
                "Athena's metadata of a query",
                "a1b2.csv.metadata",
                b"\n\x12\n\x04hive\"\x09eventname".as_slice(),
            ),
            "1 Athena metadata file",
        ),
    ]
}

/// The same for what other services write as JSON: a name, the row, one line, and what the summary calls it.
fn json_logs() -> Vec<(Input, &'static str)> {
    let token = "aZ09".repeat(100);
    let waf = json!({
        "timestamp": 1_795_179_848_000_u64, "formatVersion": 1, "action": "ALLOW",
        "webaclId": "arn:aws:wafv2:us-east-1:111122223333:regional/webacl/main/a1b2",
        "httpRequest": {"clientIp": "192.0.2.1", "headers": [{"name": "Cookie", "value": token}], "uri": "/"},
    });
    // A finding names the call in words of its own.
    let finding = json!({
        "schemaVersion": "2.0", "accountId": "111122223333", "type": "Persistence:IAMUser/AnomalousBehavior",
        "title": "The API CreateServiceSpecificCredential was invoked by svc-chatbot.",
        "service": {"serviceName": "guardduty", "action": {"awsApiCallAction": {
            "api": "CreateServiceSpecificCredential", "serviceName": "iam.amazonaws.com",
        }}},
    });
    let query = json!({
        "version": "1.100000", "account_id": "111122223333", "region": "us-east-1", "vpc_id": "vpc-0a1b2c3d",
        "query_timestamp": "2026-11-20T13:04:08Z", "query_name": "example.com.", "query_type": "A",
        "rcode": "NOERROR", "answers": [], "srcaddr": "10.0.0.1", "srcport": "4711", "transport": "UDP",
    });
    let edge =
        json!({"date": "2026-11-20", "x-edge-location": "IAD12", "cs-method": "GET", "sc-bytes": "12"});
    let manifest = json!({
        "sourceBucket": "logs", "destinationBucket": "arn:aws:s3:::inventory", "fileFormat": "CSV",
        "fileSchema": "Bucket, Key", "files": [{"key": "a.csv.gz", "MD5checksum": "d41d8cd98f00b204e9800998ecf8427e"}],
    });
    let lines = |value: &Value| gzip(format!("{value}\n{value}\n"));
    vec![
        (input("AWS WAF logs", "aws-waf-logs-main.log.gz", lines(&waf)), "1 WAF log"),
        (input("GuardDuty findings", "findings.jsonl.gz", lines(&finding)), "1 file of GuardDuty findings"),
        (input("Route 53 Resolver query logs", "dns.log.gz", lines(&query)), "1 Route 53 Resolver query log"),
        (input("CloudFront logs", "edge.json", lines(&edge)), "1 CloudFront log"),
        (
            input("manifests of S3 Inventory", "manifest.json", manifest.to_string()),
            "1 S3 Inventory manifest",
        ),
    ]
}

/// The same for what is known by nothing but that no event can be in it. Given by its path, it was meant to hold one.
fn others() -> Vec<(Input, &'static str)> {
    let (json, text) =
        ("other JSON, in directories and archives", "other texts, in directories and archives");
    let package = json!({"name": "a-package", "dependencies": {"left-pad": "^1.3.0"}});
    vec![
        (input(json, "package.json", format!("{package:#}")), "1 file with other JSON"),
        (input(json, "list.json.gz", gzip(r#"[{"a":1},{"b":[2]}]"#)), "1 file with other JSON"),
        (input(json, "texts.json", r#"["a", "b"]"#), "1 file with other JSON"),
        (input(json, "numbers.json", "[1, 2]"), "1 file with other JSON"),
        (input(json, "null.json", "null"), "1 file with other JSON"),
        (input(json, "number.json", "42"), "1 file with other JSON"),
        (input(json, "lines.jsonl", "{\"a\":1}\n".repeat(3)), "1 file with other JSON"),
        (input(text, "notes.txt", "Dear all,\nhello\n"), "1 other text"),
        (input(text, "list.csv", "a,b\n1,2\n"), "1 other text"),
        (input(text, "inventory.csv.gz", gzip("\"bucket\",\"AWSLogs/a\",\"1\"\n")), "1 other text"),
        (input(text, "manifest.checksum", "d41d8cd98f00b204e9800998ecf8427e"), "1 other text"),
        (input(text, "config", "[profile default]\nregion = us-east-1\n"), "1 other text"),
        (input(text, "app.log.gz", gzip("[2026-11-20 13:04:08] INFO began\n")), "1 other text"),
    ]
}

/// All that is passed over, and what the summary calls it.
pub fn beside() -> Vec<(Input, &'static str)> {
    [aws_and_mac(), access_logs(), json_logs(), others()].concat()
}

#[test]
fn what_cannot_hold_an_event_is_counted_and_no_problem() {
    let folder = Folder::new();
    for (index, ((row, name, bytes), says)) in beside().into_iter().enumerate() {
        let directory = format!("{index}");
        folder.write(&format!("{directory}/{name}"), bytes);
        let ran = folder.run(&["replay", &directory]);
        let nothing = format!("error: {directory}: 1 file, which has no CloudTrail records");
        assert!(ran.code == 1 && ran.stderr.contains(&nothing), "{row}: {name}: {}", ran.stderr);
        folder.write(&format!("{directory}/events.json"), event("created-for-1-day").to_string());
        let ran = folder.run(&["replay", &directory]);
        assert_eq!(ran.code, 0, "{row}: {name}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("0 unreadable\npassed over: {says}\n")),
            "{name}: {}",
            ran.stderr
        );
    }
}

/// Given by its path, it says what it is, and what was meant to hold events and has none is named.
#[test]
fn what_is_given_by_its_path_and_holds_no_event_is_named_where_nothing_says_what_it_is() {
    let folder = Folder::new();
    for ((row, name, bytes), says) in beside() {
        let ran = folder.run(&["replay", &folder.write(name, bytes)]);
        let (code, says) = match says {
            "1 file with other JSON" => {
                (4, "it is JSON without a CloudTrail record or an EventBridge event in it")
            }
            "1 other text" => (4, "it is "),
            known => (0, known),
        };
        assert!(ran.code == code && ran.stderr.contains(says), "{row}: {name}: {}", ran.stderr);
        assert_eq!(ran.stderr.matches("warning: ").count(), usize::from(code == 4), "{name}: {}", ran.stderr);
    }
}

/// What a log file has to be is never something else.
#[test]
fn json_without_events_in_a_log_file_of_cloudtrail_is_named() {
    let folder = Folder::new();
    let name = "111122223333_CloudTrail_us-east-1_20261120T0905Z_abcdefgh12345678.json";
    for (index, text) in
        [r#"{"message": "Not Found"}"#, "null", r#"{"Records":[{"a":1}]}"#].into_iter().enumerate()
    {
        let file = folder.write(&format!("{index}/{name}"), text);
        let ran = folder.run(&["replay", &format!("{index}")]);
        assert!(ran.code == 4 && ran.stderr.contains(&file), "{text}: {}", ran.stderr);
        assert!(ran.stderr.contains("it is JSON without a CloudTrail record"), "{text}: {}", ran.stderr);
    }
}

/// A damaged file of these names never held an event.
#[test]
fn a_damaged_log_of_another_service_is_passed_over_by_its_name() {
    let folder = Folder::new();
    let cut = &gzip("a".repeat(1_000))[..12];
    for (name, says) in [
        ("111122223333_waflogs_us-east-1_main_20261120T1304Z_a1b2.log.gz", "1 WAF log"),
        ("111122223333_vpcdnsquerylogs_vpc-0a1b_20261120T1304Z_a1b2.log.gz", "1 Route 53 Resolver query log"),
    ] {
        let ran = folder.run(&["replay", &folder.write(name, cut)]);
        assert!(ran.code == 0 && ran.stderr.contains(&format!("passed over: {says}\n")), "{}", ran.stderr);
    }
}
