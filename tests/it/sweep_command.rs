//! The built `sweep`, against IAM and DynamoDB on loopback.

use std::process::Stdio;
use std::time::Duration;

use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder, unread};
use crate::support::dynamodb::Dynamo;
use crate::support::iam::{Iam, StoredKey};
use crate::support::{Fault, OWN, wait_until};
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::report::Report;
use serde_json::{Map, Value, json};

const LIST: &str = "ListServiceSpecificCredentials";
const FIRST: &str = "ACCAEXAMPLEKEY0000001";
const SECOND: &str = "ACCAEXAMPLEKEY0000002";

/// IAM, and a folder to run in.
struct Place {
    iam: Iam,
    folder: Folder,
}

fn summary(ran: &CliOutput) -> &str {
    ran.stderr.lines().find(|line| line.contains(" swept, ")).unwrap_or_default()
}

impl Place {
    fn new() -> Self {
        Self { iam: Iam::start(), folder: Folder::new() }
    }

    fn run(&self, arguments: &[&str]) -> CliOutput {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> CliOutput {
        let mut command = self.folder.command(arguments);
        command.env("AWS_ENDPOINT_URL", self.iam.url()).envs(AWS_VARIABLES);
        CliOutput::of(command.envs(variables.iter().copied()))
    }

    /// A key that was created long ago. It never expires, or is `age` days long.
    fn put(&self, account: &str, id: &str, user: &str, age: Option<i64>) {
        put(&self.iam, account, id, user, "bedrock.amazonaws.com", age);
    }
}

fn created() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn put(iam: &Iam, account: &str, id: &str, user: &str, service: &str, age: Option<i64>) {
    iam.put_key(StoredKey {
        account: account.to_owned(),
        id: id.to_owned(),
        user: user.to_owned(),
        service: service.to_owned(),
        created: created(),
        expires: age.map(|days| created() + TimeDelta::days(days)),
        status: "Active",
        hidden: 0,
        lacks: None,
    });
}

/// Items that say what the guard knows and has done.
fn real(items: Vec<Map<String, Value>>) -> Vec<Map<String, Value>> {
    items.into_iter().filter(|item| !item["sk"].as_str().unwrap().ends_with("#STATE_IN_DRY_RUN")).collect()
}

/// A creation event of the key that [`Place::put`] made.
fn creation(id: &str, user: &str, service: &str) -> String {
    json!({
        "eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential",
        "eventTime": created(), "eventID": format!("5d1c0001-7b1e-4c3a-9f00-{:012}", id.len()),
        "recipientAccountId": OWN,
        "userIdentity": {"type": "Root", "arn": format!("arn:aws:iam::{OWN}:root")},
        "requestParameters": {"userName": user, "serviceName": service},
        "responseElements": {"serviceSpecificCredential": {
            "serviceSpecificCredentialId": id, "userName": user, "serviceName": service, "createDate": created(),
        }},
    })
    .to_string()
}

#[test]
fn sweep_shows_what_is_out_there_and_then_only_what_changed() {
    let place = Place::new();
    place.put(OWN, FIRST, "svc-chatbot", None);
    place.put(OWN, SECOND, "BedrockAPIKey-k3qz", Some(36_600));
    place.put(OWN, "ACCAEXAMPLEKEY0000003", "svc-good", Some(90));
    let first = place.run(&["sweep", "--fail-on", "noncompliant"]);
    assert_eq!(first.code, 3, "{}", first.stderr);
    assert!(first.stdout.starts_with("CHANGE  ACCOUNT"), "{}", first.stdout);
    assert!(first.stdout.lines().skip(1).all(|line| line.ends_with("  -")), "nobody knows: {}", first.stdout);
    assert_eq!(first.stdout.lines().filter(|line| line.starts_with("new")).count(), 3, "{}", first.stdout);
    assert!(first.stderr.contains("3 keys: 2 noncompliant (2 of them active)"), "{}", first.stderr);
    assert!(first.stderr.contains("this was a dry run"), "{}", first.stderr);
    assert_eq!(place.iam.actions(), ["GetCallerIdentity", LIST], "as many calls as pages");
    let items = place.folder.items();
    assert_eq!((items.len(), real(items).len()), (3, 0), "a dry run of each key, and nothing else (R14)");

    place.iam.change(FIRST, |key| key.status = "Inactive");
    let second = place.run(&["sweep", "--format", "jsonl"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    let reports = second.json_lines();
    assert_eq!(reports.len(), 1, "{}", second.stdout);
    assert_eq!((&reports[0]["status"], &reports[0]["outcome"]), (&json!("inactive"), &json!("recorded")));
    assert!(reports[0]["reason"].as_str().unwrap().ends_with("leave the key alone, as it is not active."));
    assert_eq!(
        reports[0].as_object().unwrap().len(),
        Report::FIELDS.len(),
        "the report's fields and no others"
    );
    let all = place.run(&["sweep", "--format", "csv", "--all"]);
    assert_eq!(all.stdout.lines().count(), 4);
    assert!(summary(&all).contains("0 new, 0 changed, 0 gone"), "{}", all.stderr);
    assert_eq!(place.run(&["sweep", "--ceiling", "delete"]).code, 2, "a ceiling is for --apply");
}

#[test]
fn the_table_fits_the_width() {
    let place = Place::new();
    place.put(OWN, FIRST, "svc-with-a-name-that-is-longer-than-any-column-of-a-table-should-be", None);
    for width in [160, 100, 60] {
        let ran = place.run(&["sweep", "--all", "--width", &width.to_string()]);
        let longest = ran.stdout.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= width, "{}", ran.stdout);
        assert!(ran.stdout.contains(FIRST) && ran.stdout.contains(OWN), "{}", ran.stdout);
        assert_eq!(
            ran.stdout.contains("CHANGE  ACCOUNT"),
            width >= 100,
            "narrow rows are cards: {}",
            ran.stdout
        );
        assert!(summary(&ran).starts_with("1 account swept, 0 failed; 1 key: "), "{}", ran.stderr);
    }
}

/// Without --apply the guard's own record is read, and never written (R14).
#[test]
fn a_dry_run_joins_what_the_guard_knows_and_leaves_it_alone() {
    const CLAUDE: &str = "aws-external-anthropic.amazonaws.com";
    let place = Place::new();
    let policy = place.folder.write(
        "policy.toml",
        "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"monitor\"\n",
    );
    put(&place.iam, OWN, FIRST, "svc-chatbot", CLAUDE, None);
    let event = place.folder.write("event.json", creation(FIRST, "svc-chatbot", CLAUDE));
    let replayed = place.run(&["replay", "--apply", "--policy", &policy, &event]);
    assert_eq!(replayed.code, 0, "{}", replayed.stderr);
    let before = real(place.folder.items());
    let ran = place.run(&["sweep", "--policy", &policy, "--all", "--format", "jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // IAM names no dates for this service. That the key never expires is known from its creation event.
    assert_eq!(ran.json_lines()[0]["verdict"], "noncompliant", "{}", ran.stdout);
    assert!(summary(&ran).contains("0 new, 0 changed, 0 gone"), "{}", ran.stderr);
    assert_eq!(real(place.folder.items()), before);

    place.iam.remove(FIRST);
    let ran = place.run(&["sweep", "--policy", &policy, "--format", "jsonl"]);
    assert_eq!(ran.json_lines()[0]["outcome"], "already_gone", "{}", ran.stdout);
    assert!(summary(&ran).contains("0 keys: ") && summary(&ran).contains(" 1 gone"), "{}", ran.stderr);
    assert_eq!(real(place.folder.items()), before);
}

#[test]
fn apply_acts_as_far_as_the_ceiling_allows() {
    for (ceiling, status) in
        [(None, Some("Active")), (Some("deactivate"), Some("Inactive")), (Some("delete"), None)]
    {
        let place = Place::new();
        place.put(OWN, FIRST, "svc-chatbot", None);
        place.run(&["sweep"]);
        let mut arguments = vec!["sweep", "--apply", "--format", "jsonl"];
        arguments.extend(ceiling.into_iter().flat_map(|ceiling| ["--ceiling", ceiling]));
        let ran = place.run(&arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(place.iam.key(FIRST).map(|key| key.status), status, "{ceiling:?}");
        let (deactivated, deleted) = (u32::from(status == Some("Inactive")), u32::from(status.is_none()));
        let counts = format!("; {deactivated} deactivated, {deleted} deleted;");
        assert!(summary(&ran).contains(&counts), "{ceiling:?}: {}", ran.stderr);
        assert_eq!(ran.json_lines().len(), 1, "a key is printed once: {}", ran.stdout);
        // Nobody looks at a key twice for nothing.
        let again = place.run(&["sweep", "--apply", "--ceiling", ceiling.unwrap_or("monitor")]);
        assert_eq!(again.code, 0, "{}", again.stderr);
        assert!(summary(&again).contains("; 0 deactivated, 0 deleted;"), "{}", again.stderr);
        assert!(again.stderr.contains("the last completed sweep started at "), "{}", again.stderr);
    }
}

/// R8: a sweep with `--apply` first completes what is pending.
#[test]
fn apply_first_completes_pending_responses() {
    let place = Place::new();
    place.put(OWN, FIRST, "svc-chatbot", None);
    let event = place.folder.write("event.json", creation(FIRST, "svc-chatbot", "bedrock.amazonaws.com"));
    place.iam.fault(LIST, Fault::Refused(403, "AccessDenied"), 1);
    let failed = place.run(&["replay", "--apply", "--ceiling", "delete", &event]);
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    place.folder.ledger().expire_leases();
    let paused = place.run(&["sweep", "--apply"]);
    assert_eq!(paused.code, 0, "{}", paused.stderr);
    assert!(paused.stderr.contains("1 paused by the ceiling"), "{}", paused.stderr);
    assert!(paused.stdout.starts_with("CHANGE") && paused.stdout.contains("\npending "), "{}", paused.stdout);
    assert!(place.iam.key(FIRST).is_some());
    let ran = place.run(&["sweep", "--apply", "--ceiling", "delete"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 key with a pending response or a date of deletion: 1 deleted"),
        "{}",
        ran.stderr
    );
    assert!(summary(&ran).contains("; 0 deactivated, 1 deleted;"), "{}", ran.stderr);
    assert!(place.iam.keys().is_empty());
}

/// R11: what the breaker or the ceiling left deactivated is listed with the command that deletes it.
#[test]
fn downgraded_deletions_are_listed_with_their_commands() {
    let place = Place::new();
    let policy = place.folder.write(
        "policy.toml",
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         max_actions_per_hour = 1\n",
    );
    place.put(OWN, FIRST, "svc-1", None);
    place.put(OWN, SECOND, "svc-2", None);
    let ran = place.run(&["sweep", "--apply", "--ceiling", "delete", "--policy", &policy]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(summary(&ran).contains("; 1 deactivated, 1 deleted;"), "{}", ran.stderr);
    let left = place.iam.keys();
    assert_eq!((left.len(), left[0].status), (1, "Inactive"));
    let command = format!(
        "  aws iam delete-service-specific-credential --user-name {} --service-specific-credential-id {}  # account {OWN}",
        left[0].user, left[0].id
    );
    for arguments in [&["sweep", "--apply", "--policy", &policy][..], &["sweep", "--policy", &policy]] {
        let again = place.run(arguments);
        for ran in [&ran, &again] {
            assert!(ran.stderr.lines().any(|line| line == command), "{arguments:?}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_console_user_that_is_left_is_named_with_what_a_person_may_do() {
    let place = Place::new();
    place.put(OWN, SECOND, "BedrockAPIKey-k3qz", None);
    place.iam.attach("BedrockAPIKey-k3qz", "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess");
    place.iam.attach("BedrockAPIKey-k3qz", "arn:aws:iam::111122223333:policy/;touch${IFS}here;/x");
    place.iam.add_access_key("BedrockAPIKey-k3qz", "AKIALEFTOVER");
    let ran = place.run(&["sweep", "--apply", "--ceiling", "delete"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(place.iam.keys().is_empty());
    let commands: Vec<_> = ran.stderr.lines().filter_map(|line| line.strip_prefix("  aws iam ")).collect();
    assert_eq!(
        commands,
        [
            "update-access-key --user-name BedrockAPIKey-k3qz --access-key-id AKIALEFTOVER --status Inactive",
            "detach-user-policy --user-name BedrockAPIKey-k3qz --policy-arn arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess",
            "delete-access-key --user-name BedrockAPIKey-k3qz --access-key-id AKIALEFTOVER",
            "delete-user --user-name BedrockAPIKey-k3qz",
        ],
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("${IFS}"), "nothing that a shell would run: {}", ran.stderr);
    let changing = ["UpdateAccessKey", "DetachUserPolicy", "DeleteAccessKey", "DeleteUser"];
    assert!(
        !place.iam.actions().iter().any(|action| changing.contains(&action.as_str())),
        "I7: never the user"
    );
}

/// A hundred accounts. Some deny access: the others are swept, and each failure is named.
#[test]
fn one_accounts_failure_stops_no_other() {
    for apply in [&[][..], &["--apply"]] {
        let place = Place::new();
        let accounts: Vec<_> = (0..100).map(|number| format!("9000000000{number:02}")).collect();
        for (number, account) in accounts.iter().enumerate() {
            place.put(account, &format!("ACCAOFACCOUNT{number:08}"), "svc-chatbot", None);
        }
        for account in accounts.iter().step_by(10) {
            place.iam.deny(account);
        }
        let list = accounts.join(",");
        let arguments = ["sweep", "--accounts", &list, "--responder-role", "guard", "--format", "jsonl"];
        let ran = place.run(&[&arguments[..], apply].concat());
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), 90);
        for (number, account) in accounts.iter().enumerate() {
            let named = ran.stderr.contains(&format!("warning: account {account}: "));
            assert_eq!(named, number % 10 == 0, "{account}: {}", ran.stderr);
        }
        assert!(ran.stderr.contains("90 accounts swept, 10 failed"), "{}", ran.stderr);
    }
}

/// One key that cannot be read hides no other, and nothing is taken for gone then.
#[test]
fn a_key_that_cannot_be_read_hides_no_other() {
    let place = Place::new();
    for number in 1..=3 {
        place.put(OWN, &format!("ACCAEXAMPLEKEY000000{number}"), "svc-chatbot", None);
    }
    let known = place.run(&["sweep", "--apply"]);
    assert_eq!(known.code, 0, "{}", known.stderr);
    place.iam.change(SECOND, |key| key.lacks = Some("ServiceSpecificCredentialId"));
    for apply in [&[][..], &["--apply"]] {
        let ran = place.run(&[&["sweep", "--all", "--format", "jsonl"], apply].concat());
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
        assert!(
            ran.stderr.contains("1 keys in IAM's list for account 111122223333 could not be read"),
            "{}",
            ran.stderr
        );
        assert!(
            summary(&ran).contains(" 0 gone") && summary(&ran).ends_with("; 1 unreadable"),
            "{}",
            ran.stderr
        );
    }
    place.iam.fault(LIST, Fault::Refused(403, "AccessDenied"), 10);
    let ran = place.run(&["sweep"]);
    assert_eq!(ran.code, 1, "no account could be swept: {}", ran.stderr);
    assert!(ran.stderr.contains("AccessDenied"), "{}", ran.stderr);
}

#[test]
fn a_ledger_that_cannot_be_used_is_named_once() {
    let (place, dynamo) = (Place::new(), Dynamo::start());
    for number in 0..5 {
        place.put(OWN, &format!("ACCAEXAMPLEKEY000000{number}"), "svc-chatbot", None);
    }
    let variables = [("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url())];
    for apply in [&[][..], &["--apply"]] {
        let ran =
            place.run_with(&[&["sweep", "--ledger", "dynamodb:no-such-table"], apply].concat(), &variables);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert_eq!(ran.stderr.matches("no-such-table does not exist").count(), 1, "{}", ran.stderr);
    }
}

/// Only printing stops: the accounts are swept, and the exit code is what was found.
#[test]
fn a_sweep_that_nobody_reads_ends_as_any_other() {
    for (arguments, code) in [
        (&["sweep", "--fail-on", "noncompliant"][..], 3),
        (&["sweep", "--all", "--format", "jsonl", "--accounts", "111122223333,444455556666"], 4),
        (&["sweep", "--apply", "--ceiling", "delete", "--format", "jsonl"], 0),
    ] {
        let place = Place::new();
        place.put(OWN, FIRST, "svc-1", None);
        place.put(OWN, SECOND, "svc-2", None);
        let mut command = place.folder.command(arguments);
        let ran = unread(command.env("AWS_ENDPOINT_URL", place.iam.url()).envs(AWS_VARIABLES));
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        assert!(summary(&ran).contains("; 2 keys: 2 noncompliant"), "{arguments:?}: {}", ran.stderr);
        assert_eq!(place.iam.keys().is_empty(), code == 0, "{arguments:?}");
    }
}

/// It works no more, so nobody has to be stopped.
#[test]
fn an_inactive_key_fails_no_sweep() {
    let place = Place::new();
    let policy = place.folder.write(
        "policy.toml",
        "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"monitor\"\n",
    );
    // IAM names no dates for this service, so the verdict is undetermined.
    put(&place.iam, OWN, FIRST, "svc-1", "cloudwatch.amazonaws.com", None);
    for (status, what, code) in [
        ("Active", "undetermined", 3),
        ("Active", "noncompliant", 0),
        ("Inactive", "undetermined", 0),
        ("Expired", "undetermined", 0),
    ] {
        place.iam.change(FIRST, |key| key.status = status);
        let ran = place.run(&["sweep", "--policy", &policy, "--fail-on", what]);
        assert!(summary(&ran).contains(" 1 undetermined,"), "{}", ran.stderr);
        assert_eq!(ran.code, code, "{status} {what}: {}", ran.stderr);
    }
}

/// When the last sweep was says only what is new. IAM is asked all the same.
#[test]
fn an_account_is_swept_where_its_last_sweep_cannot_be_read() {
    let place = Place::new();
    place.put(OWN, FIRST, "svc-1", None);
    let first = place.run(&["sweep", "--apply"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let damage = || {
        place.folder.ledger().change(|item| {
            if item["sk"] == "LAST" {
                item["v"] = json!(5);
            }
        });
    };
    damage();
    let dry = place.run(&["sweep", "--all"]);
    assert_eq!(dry.code, 0, "a dry run does not use it: {}", dry.stderr);
    assert!(summary(&dry).starts_with("1 account swept, 0 failed; 1 key: "), "{}", dry.stderr);
    let applied = place.run(&["sweep", "--apply", "--ceiling", "deactivate"]);
    assert_eq!(applied.code, 4, "{}", applied.stderr);
    assert_eq!(place.iam.key(FIRST).unwrap().status, "Inactive", "{}", applied.stderr);
    assert!(summary(&applied).starts_with("1 account swept, 0 failed; 1 key: "), "{}", applied.stderr);
    assert!(summary(&applied).ends_with("; 1 unreadable"), "{}", applied.stderr);
}

/// The ledger in DynamoDB is asked for a hundred keys at a time, and nothing is asked for each user.
#[tokio::test]
async fn a_dry_run_costs_as_many_calls_as_pages() {
    let (place, dynamo) = (Place::new(), Dynamo::start());
    dynamo.ledger("keys").await;
    for number in 0..2_500 {
        place.put(OWN, &format!("ACCAMANY{number:013}"), &format!("user-{number}"), Some(30));
    }
    let variables = [("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url())];
    for is_known in [false, true] {
        dynamo.forget_calls();
        let before = place.iam.actions().len();
        let ran = place.run_with(&["sweep", "--ledger", "dynamodb:keys"], &variables);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(summary(&ran).contains("2500 keys: "), "{}", ran.stderr);
        assert_eq!(place.iam.actions()[before..], ["GetCallerIdentity", LIST, LIST, LIST]);
        let calls = dynamo.calls();
        let count = |name: &str| calls.iter().filter(|call| call.starts_with(name)).count();
        assert_eq!(count("BatchGetItem"), 25 + 25 + 1, "dry runs, states, and the last sweep");
        assert_eq!(count("TransactWriteItems"), if is_known { 0 } else { 25 });
        // The guard's own records are looked for, 200 items to a page.
        assert!(count("Query") <= 8 + 13, "{}", count("Query"));
    }
}

/// The lock is taken while IAM is asked for the key, between the intent and the action.
#[test]
fn the_outcome_of_an_action_waits_until_the_ledger_is_not_locked_any_more() {
    for (ceiling, outcome) in [("deactivate", "deactivated"), ("delete", "deleted")] {
        let place = Place::new();
        place.put(OWN, FIRST, "svc-chatbot", None);
        place.iam.page(10, Duration::from_millis(700));
        let mut command = place.folder.command(&["sweep", "--apply", "--ceiling", ceiling]);
        command.env("AWS_ENDPOINT_URL", place.iam.url()).envs(AWS_VARIABLES);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until(|| place.iam.actions().iter().filter(|action| *action == LIST).count() == 2);
        let writer = rusqlite::Connection::open(place.folder.at("key-guard.db")).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::thread::sleep(Duration::from_secs(4));
        assert_ne!(place.iam.key(FIRST).map(|key| key.status), Some("Active"), "it has acted");
        writer.execute_batch("ROLLBACK").unwrap();
        let ran = CliOutput::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let found = place.folder.run(&["lookup", "--format", "jsonl"]).json_lines();
        assert_eq!(found[0]["outcome"], outcome, "{found:?}");
    }
}

/// What is read then is for notes about users that a console left behind.
#[tokio::test]
async fn a_ledger_that_fails_after_the_sweep_fails_no_account() {
    let (place, dynamo) = (Place::new(), Dynamo::start());
    dynamo.ledger("keys").await;
    place.put(OWN, FIRST, "svc-chatbot", Some(90));
    let variables = [("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url())];
    let sweep = || {
        dynamo.forget_calls();
        place.run_with(&["sweep", "--apply", "--ledger", "dynamodb:keys"], &variables)
    };
    assert_eq!(sweep().code, 0);
    assert_eq!(sweep().code, 0);
    let queries = dynamo.calls().iter().filter(|call| call.starts_with("Query")).count();
    let denied = (Fault::Refused(400, "AccessDeniedException"), 1, true);
    // More often than the SDK tries.
    for (fault, times, is_said) in [denied, (Fault::Refused(500, "InternalServerError"), 4, false)] {
        dynamo.fault("Query", Fault::Passes, queries - 1);
        dynamo.fault("Query", fault, times);
        let ran = sweep();
        assert!(dynamo.faults_are_over());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(summary(&ran).starts_with("1 account swept, 0 failed"), "{}", ran.stderr);
        assert_eq!(ran.stderr.contains("left behind could not be looked up"), is_said, "{}", ran.stderr);
    }
}
