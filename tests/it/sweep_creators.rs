//! Who created the keys that a sweep finds: from the ledger, and with `--who` from CloudTrail's event history.

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder};
use crate::support::event_history::History;
use crate::support::iam::{Iam, StoredKey};
use crate::support::{Fault, OTHER, OWN, event};

const FIRST: &str = "ACCAEXAMPLEKEY0000001";
const SECOND: &str = "ACCAEXAMPLEKEY0000002";
const CLAUDE: &str = "aws-external-anthropic.amazonaws.com";

struct Place {
    folder: Folder,
    iam: Iam,
    history: History,
}

/// A key that never expires, and so many days old.
fn key(account: &str, id: &str, service: &str, days: i64) -> StoredKey {
    StoredKey {
        account: account.to_owned(),
        id: id.to_owned(),
        user: "svc-chatbot".to_owned(),
        service: service.to_owned(),
        created: created(days),
        expires: None,
        status: "Active",
        hidden: 0,
        lacks: None,
    }
}

fn created(days: i64) -> DateTime<Utc> {
    let noon: DateTime<Utc> = SystemClock.now().format("%Y-%m-%dT12:00:00Z").to_string().parse().unwrap();
    noon - TimeDelta::days(days)
}

fn creation(key: &StoredKey) -> Value {
    let mut record = event("created-without-age")["detail"].take();
    record["eventTime"] = json!(key.created);
    record["recipientAccountId"] = json!(key.account);
    record["eventID"] = json!(format!("5d1c0001-7b1e-4c3a-9f00-{}", &key.id[9..]));
    record["requestParameters"] = json!({"userName": key.user, "serviceName": key.service});
    record["responseElements"]["serviceSpecificCredential"] = json!({
        "serviceSpecificCredentialId": key.id, "userName": key.user, "serviceName": key.service,
        "createDate": key.created,
    });
    record
}

impl Place {
    fn new() -> Self {
        Self { folder: Folder::new(), iam: Iam::start(), history: History::start() }
    }

    fn run(&self, arguments: &[&str]) -> CliOutput {
        let mut command = self.folder.command(&[&["sweep"], arguments].concat());
        let endpoints =
            [("AWS_ENDPOINT_URL", self.iam.url()), ("AWS_ENDPOINT_URL_CLOUDTRAIL", self.history.url())];
        CliOutput::of(command.envs(AWS_VARIABLES).envs(endpoints))
    }

    /// A key whose creation is in the history.
    fn put(&self, key: StoredKey) {
        self.history.put(&key.account, creation(&key));
        self.iam.put_key(key);
    }
}

#[test]
fn the_history_is_asked_who_created_keys_of_its_90_days() {
    let place = Place::new();
    place.put(key(OWN, FIRST, "bedrock.amazonaws.com", 10));
    place.iam.put_key(key(OWN, SECOND, "bedrock.amazonaws.com", 200));
    place.iam.put_key(key(OWN, "ACCAEXAMPLEKEY0000003", "bedrock.amazonaws.com", 20));
    let ran = place.run(&["--who"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = [10, 20, 200].into_iter().fold(ran.stdout.clone(), |text, days| {
        text.replace(&created(days).format("%Y-%m-%d").to_string(), "2026-11-24")
    });
    insta::assert_snapshot!("sweep-who-stdout", shown);
    insta::assert_snapshot!("sweep-who-stderr", ran.stderr);
    let calls = place.history.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].event_name, "CreateServiceSpecificCredential");

    // What was found is kept: the creation is recorded as `replay` would record it.
    let again = place.run(&["--all", "--format", "jsonl"]);
    assert_eq!(place.history.calls().len(), 1, "only --who asks");
    let record = creation(&key(OWN, FIRST, "bedrock.amazonaws.com", 10));
    let of = |id: &str| again.json_lines().into_iter().find(|line| line["credential_id"] == id).unwrap();
    assert_eq!(of(FIRST)["actor"], record["userIdentity"]["arn"]);
    assert_eq!(of(FIRST)["event_id"], record["eventID"]);
    assert_eq!(of(FIRST)["source_ip"], record["sourceIPAddress"]);
    assert_eq!((&of(SECOND)["actor"], &of(SECOND)["event_id"]), (&Value::Null, &Value::Null));
    assert!(again.stderr.contains("0 new, 0 changed"), "{}", again.stderr);
}

/// The event's evidence counts, as in `replay`: IAM names no dates for this service.
#[test]
fn a_creation_that_is_found_says_when_the_key_expires() {
    let place = Place::new();
    let policy = place.folder.write(
        "policy.toml",
        "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"monitor\"\n",
    );
    place.put(key(OWN, FIRST, CLAUDE, 10));
    let verdict = |flags: &[&str]| {
        let ran = place.run(&[&["--policy", &policy, "--all", "--format", "jsonl"], flags].concat());
        ran.json_lines()[0]["verdict"].clone()
    };
    assert_eq!(verdict(&[]), "undetermined");
    assert_eq!(verdict(&["--who"]), "noncompliant");
}

#[test]
fn the_ledger_knows_who_created_a_key_that_was_replayed() {
    let place = Place::new();
    let key = key(OWN, FIRST, "bedrock.amazonaws.com", 10);
    let file = place.folder.write("event.json", creation(&key).to_string());
    place.iam.put_key(key);
    // The guard knows the key from a sweep, and only the dry run knows who created it.
    assert_eq!(place.run(&["--apply"]).code, 0);
    assert_eq!(place.folder.run(&["replay", &file]).code, 0);
    for _ in 0..2 {
        let ran = place.run(&["--all"]);
        assert!(ran.stdout.lines().next().unwrap().ends_with("  CREATED BY"), "{}", ran.stdout);
        assert!(
            ran.stdout.trim_end().ends_with("  DeveloperAccess/maria.lopez@example.com"),
            "{}",
            ran.stdout
        );
    }
    assert!(place.history.calls().is_empty());
}

/// With `--apply` who created a key is printed, and the guard's record stays as it is.
#[test]
fn apply_prints_who_created_a_key_and_does_not_record_it() {
    let place = Place::new();
    let key = key(OWN, FIRST, "bedrock.amazonaws.com", 10);
    let actor = creation(&key)["userIdentity"]["arn"].clone();
    place.put(key);
    let ran = place.run(&["--apply", "--who", "--format", "jsonl"]);
    assert_eq!((ran.code, &ran.json_lines()[0]["actor"]), (0, &actor), "{}", ran.stderr);
    let remediation = ran.json_lines()[0]["remediation"].as_str().unwrap().to_owned();
    assert!(remediation.starts_with("maria.lopez@example.com"), "{remediation}");
    assert!(!json!(place.folder.items()).to_string().contains("maria.lopez"), "{:?}", place.folder.items());
}

/// Each account is asked with its own credentials. One that may not be asked is named, and its keys are judged.
#[test]
fn other_accounts_are_asked_with_the_responder_role() {
    let place = Place::new();
    place.put(key(OWN, FIRST, "bedrock.amazonaws.com", 10));
    place.put(key(OTHER, SECOND, "bedrock.amazonaws.com", 10));
    let accounts = format!("{OWN},{OTHER}");
    let arguments =
        ["--who", "--accounts", &accounts, "--responder-role", "guard", "--format", "jsonl", "--all"];
    let ran = place.run(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.json_lines().iter().all(|line| line["actor"].is_string()), "{}", ran.stdout);
    let mut asked: Vec<_> = place.history.calls().into_iter().map(|call| call.account).collect();
    asked.sort();
    assert_eq!(asked, [OWN, OTHER]);

    place.history.fault(Fault::Refused(400, "AccessDeniedException"), 2);
    let ran = place.run(&[&arguments[..], &["--ledger", "file:other.db"]].concat());
    assert_eq!((ran.code, ran.json_lines().len()), (4, 2), "{}", ran.stderr);
    for account in [OWN, OTHER] {
        let said = format!(
            "warning: account {account}: who created its keys is not known: cloudtrail:LookupEvents was denied in \
             us-east-1 of account {account}"
        );
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    }
}
