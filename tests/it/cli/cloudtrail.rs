//! `replay --cloudtrail`: the same as from files, from CloudTrail's event history.

use serde_json::{Value, json};

use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder};
use crate::support::event_history::History;
use crate::support::iam::{Iam, SECRET};
use crate::support::{Fault, OTHER, OWN, event, events};

struct Place {
    folder: Folder,
    iam: Iam,
    history: History,
}

impl Place {
    fn new() -> Self {
        Self { folder: Folder::new(), iam: Iam::start(), history: History::start() }
    }

    fn run(&self, arguments: &[&str]) -> CliOutput {
        let mut command = self.folder.command(arguments);
        let endpoints =
            [("AWS_ENDPOINT_URL", self.iam.url()), ("AWS_ENDPOINT_URL_CLOUDTRAIL", self.history.url())];
        CliOutput::of(command.envs(AWS_VARIABLES).envs(endpoints))
    }
}

/// The records of `events/` that the queries of `--cloudtrail` find, the oldest first.
fn records() -> Vec<Value> {
    let mut records: Vec<_> = events()
        .into_iter()
        .map(|(_, mut event)| event["detail"].take())
        .filter(|record| {
            let name = record["eventName"].as_str().unwrap_or_default();
            name.ends_with("ServiceSpecificCredential") || name == "CreateAccessKey"
        })
        .filter(|record| record["eventTime"].is_string())
        .collect();
    records.sort_by_key(|record| record["eventTime"].as_str().unwrap().to_owned());
    records
}

#[test]
fn the_last_90_days_are_judged_as_from_a_file() {
    let place = Place::new();
    let records = records();
    // As CloudTrail has them: in no order that matters. Those of another account are not seen.
    for record in records.iter().rev() {
        place.history.put(OWN, record.clone());
    }
    place.history.put(OTHER, event("created-without-age")["detail"].take());
    let file = place.folder.write("trail.json", json!({ "Records": records }).to_string());
    let formats: &[&[&str]] = &[&["--format", "jsonl", "--ledger", "file:jsonl.db"]];
    for format in formats {
        let from_file = place.folder.run(&[&["replay", &file], *format].concat());
        let ran = place.run(&[&["replay", "--cloudtrail"], *format].concat());
        assert_eq!(ran.code, from_file.code, "{}", ran.stderr);
        assert!(ran.stdout.lines().count() > 20);
        assert_eq!(ran.stdout, from_file.stdout);
        let summary =
            |stderr: &str| stderr.lines().find(|line| line.contains(" events read: ")).map(str::to_owned);
        assert_eq!(summary(&ran.stderr), summary(&from_file.stderr), "the same summary");
        insta::assert_snapshot!("replay-cloudtrail-stderr", ran.stderr);
    }
    assert!(!place.folder.at("key-guard.db").exists());
    let asked = place.history.calls();
    assert!(asked.len() == 7 && asked.iter().all(|call| call.region == "us-east-1"), "{asked:?}");
    assert_eq!(place.iam.actions(), ["GetCallerIdentity"], "a dry run asks IAM for nothing");
}

/// With `--apply` it does what a replay of files does. An event that cannot be read is named by its id.
#[test]
fn apply_acts_on_what_the_history_shows() {
    let place = Place::new();
    let created = event("created-without-age");
    let id = place.iam.put_created(&created, None).unwrap();
    place.history.put(OWN, created["detail"].clone());
    let mut unreadable = created["detail"].clone();
    unreadable["eventID"] = json!("5d1c003f-7b1e-4c3a-9f00-abc00000aaaa");
    unreadable["eventTime"] = json!("2026-11-21T09:00:00Z");
    unreadable["requestParameters"] = json!(SECRET);
    unreadable["responseElements"] = json!(SECRET);
    place.history.put(OWN, unreadable);
    let ran = place.run(&[
        "replay",
        "--cloudtrail",
        "--days",
        "30",
        "--apply",
        "--ceiling",
        "delete",
        "--format",
        "jsonl",
    ]);
    assert_eq!(ran.json_lines()[0]["outcome"], "deleted", "{}", ran.stderr);
    assert!(place.iam.key(&id).is_none());
    let named = "warning: CloudTrail's event history: event 5d1c003f-7b1e-4c3a-9f00-abc00000aaaa: field ";
    assert!(ran.stderr.contains(named), "{}", ran.stderr);
    assert!(!ran.stderr.contains("ABSK") && !ran.stdout.contains("ABSK"), "{}", ran.stderr);
    assert!(place.history.calls().iter().all(|call| call.since.is_some()));
}

#[test]
fn what_is_missing_is_said_and_nothing_is_begun() {
    let place = Place::new();
    place.history.fault(Fault::Refused(400, "AccessDeniedException"), 1);
    let denied = place.run(&["replay", "--cloudtrail"]);
    assert_eq!((denied.code, denied.stdout.as_str()), (1, ""), "{}", denied.stderr);
    assert!(denied.stderr.contains("the caller needs this IAM permission"), "{}", denied.stderr);
    for (arguments, variables, says) in [
        (&[][..], &[][..], "error: no usable AWS credentials: log in with `aws sso login --profile NAME`"),
        (
            &["--profile", "prod"],
            &[],
            "error: the AWS profile prod (--profile) has no usable credentials: log in with `aws sso \
                                       login --profile prod`",
        ),
        (
            &[],
            &[("AWS_PROFILE", "prod")],
            "error: the AWS profile prod (AWS_PROFILE) has no usable credentials",
        ),
    ] {
        let mut command = place.folder.command(&[&["replay", "--cloudtrail"], arguments].concat());
        command.env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
        let without = CliOutput::of(command.env("HOME", place.folder.path()).envs(variables.iter().copied()));
        assert_eq!(without.code, 1);
        assert!(without.stderr.starts_with(says), "{}", without.stderr);
        assert!(without.stderr.contains("\ncause: could not ask AWS STS"), "{}", without.stderr);
    }
    let mut command = place.folder.command(&["replay", "--cloudtrail"]);
    let without = CliOutput::of(command.env("AWS_EC2_METADATA_DISABLED", "true"));
    assert!(without.stderr.starts_with("error: no region: set AWS_REGION"), "{}", without.stderr);
    assert!(place.folder.names().is_empty(), "no ledger was made");
}

#[test]
fn files_and_the_history_exclude_each_other() {
    let folder = Folder::new();
    for (arguments, said) in [
        (&["replay"][..], "<PATH|--cloudtrail>"),
        (&["replay", "--cloudtrail", "events"], "cannot be used with '[PATH]...'"),
        (&["replay", "--days", "7", "events"], "'--days <N>' cannot be used with '[PATH]...'"),
        (&["replay", "--days", "7"], "<PATH|--cloudtrail>"),
        (&["replay", "--cloudtrail", "--days", "0"], "expected a whole number from 1 to 90"),
        (&["replay", "--cloudtrail", "--days", "91"], "expected a whole number from 1 to 90"),
        (&["replay", "--frequent-calls", "events"], "'--frequent-calls' cannot be used with '[PATH]...'"),
    ] {
        let ran = folder.run(arguments);
        assert!(ran.code == 2 && ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
    let help = folder.run(&["replay", "--help"]).stdout;
    assert!(
        help.contains("bedrock-key-guard replay --cloudtrail\n") && help.contains("--days <N>"),
        "{help}"
    );
}

#[test]
fn the_policy_in_the_quickstart_allows_the_one_call() {
    let page = include_str!("../../../docs/quickstart.md");
    let (_, rest) = page.split_once("## Your own logs").unwrap();
    let policy = rest.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let policy: Value = serde_json::from_str(policy).unwrap();
    assert_eq!(policy["Statement"].as_array().unwrap().len(), 1);
    assert_eq!(policy["Statement"][0]["Action"], "cloudtrail:LookupEvents");
}
