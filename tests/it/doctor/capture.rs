//! `doctor --capture`, the built command line, against IAM and CloudTrail on loopback: whatever happens, the user and
//! the key are removed, nothing else is, and the secret is nowhere.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{command, doctor};
use crate::support::cli::CliOutput;
use crate::support::iam::{Iam, SECRET, StoredKey};
use crate::support::stack::{Cloud, State};
use crate::support::{Fault, OWN, event};

/// The IAM actions of its calls. `--help` lists them.
pub(super) const ACTIONS: [&str; 6] = [
    "cloudtrail:LookupEvents",
    "iam:CreateServiceSpecificCredential",
    "iam:CreateUser",
    "iam:DeleteServiceSpecificCredential",
    "iam:DeleteUser",
    "iam:ListServiceSpecificCredentials",
];

const USER_PREFIX: &str = "bedrock-key-guard-capture-";
const BYSTANDER: &str = "ACCAEXAMPLEKEY0000001";
const CREATE_KEY: &str = "CreateServiceSpecificCredential";
const DELETE_KEY: &str = "DeleteServiceSpecificCredential";

struct Place {
    iam: Iam,
    cloud: Cloud,
}

impl Place {
    /// CloudTrail has the events that `history` makes of the keys that were created, and not those of others.
    fn new(history: impl Fn(&StoredKey) -> Vec<Value> + Send + 'static) -> Self {
        let iam = Iam::start();
        iam.put(BYSTANDER, "svc-chatbot", "2026-01-01T00:00:00Z".parse().unwrap(), None);
        let mut state = State::complete();
        let keys = iam.clone();
        state.history =
            Box::new(move || keys.keys().iter().filter(|key| is_captured(key)).flat_map(&history).collect());
        Self { iam, cloud: Cloud::start(state) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.cloud.url(), &[&["--capture"], arguments].concat());
        command.env("AWS_ENDPOINT_URL_IAM", self.iam.url()).env("AWS_ENDPOINT_URL_STS", self.iam.url());
        command
    }

    fn run(&self, arguments: &[&str]) -> CliOutput {
        let ran = CliOutput::of(&mut self.command(arguments));
        self.check(&ran);
        ran
    }

    /// What always holds.
    fn check(&self, ran: &CliOutput) {
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains(SECRET) && !text.contains("ABSK"), "{text}");
        }
        assert!(self.iam.key(BYSTANDER).is_some());
        assert!(self.iam.users(OWN).contains(&"svc-chatbot".to_owned()));
        for call in self.iam.calls() {
            if let Some(user) = call.parameters.get("UserName") {
                assert!(user.starts_with(USER_PREFIX), "{call:?}");
            }
            assert!(call.action != DELETE_KEY || call.parameters.contains_key("UserName"), "{call:?}");
        }
    }

    fn assert_removed(&self) {
        assert_eq!(self.iam.users(OWN), ["svc-chatbot"]);
        assert_eq!(self.iam.keys().len(), 1);
    }

    fn count(&self, action: &str) -> usize {
        self.iam.actions().iter().filter(|made| *made == action).count()
    }
}

fn is_captured(key: &StoredKey) -> bool {
    key.user.starts_with(USER_PREFIX)
}

/// The record of a key's creation, as the parser expects it.
fn record(key: &StoredKey) -> Value {
    let mut record = event("created-for-1-day")["detail"].take();
    record["eventTime"] = json!(key.created);
    record["requestParameters"]["userName"] = json!(key.user);
    record["responseElements"]["serviceSpecificCredential"] = json!({
        "createDate": key.created,
        "expirationDate": key.expires,
        "serviceName": key.service,
        "serviceUserName": format!("{}-at-{OWN}", key.user),
        "serviceSpecificCredentialId": key.id,
        "userName": key.user,
        "status": "Active",
        "serviceCredentialSecret": SECRET,
    });
    record
}

/// The checks and how they came out.
fn statuses(ran: &CliOutput) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = ran.json_lines().into_iter().filter(|line| line.get("check").is_some());
    findings.map(|finding| (text(&finding["check"]), text(&finding["status"]))).collect()
}

const ALL_OK: [(&str, &str); 4] =
    [("captured_event", "ok"), ("captured_fields", "ok"), ("captured_key", "ok"), ("capture_removal", "ok")];

fn owned(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(check, status)| ((*check).to_owned(), (*status).to_owned())).collect()
}

#[test]
fn an_event_is_captured_and_shown_without_values() {
    let place = Place::new(|key| vec![record(key)]);
    let ran = place.run(&[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("stdout", ran.stdout);
    let user = place.iam.calls().iter().find_map(|call| call.parameters.get("UserName").cloned()).unwrap();
    let first = ran.stderr.lines().next().unwrap();
    for said in [OWN, &user, "bedrock.amazonaws.com", "after 1 day", "up to 15 minutes", "(us-east-1)"] {
        assert!(first.contains(said), "{first}");
    }
    insta::assert_snapshot!("stderr", ran.stderr.replace(&user, "USER"));
    assert_eq!(user.len(), USER_PREFIX.len() + 16);
    for value in [user.as_str(), "ACCAMADE", "2026", "198.51.100", "maria", "Active"] {
        assert!(!ran.stdout.contains(value), "{}", ran.stdout);
    }
    place.assert_removed();
    assert_eq!(
        place.iam.actions(),
        ["GetCallerIdentity", "CreateUser", CREATE_KEY, DELETE_KEY, "DeleteUser"],
        "the key is deleted before the user"
    );
    let created = place.iam.calls();
    assert_eq!(created[1].parameters["Path"], "/bedrock-key-guard/");
    assert_eq!(created[2].parameters["ServiceName"], "bedrock.amazonaws.com");
    assert_eq!(created[2].parameters["CredentialAgeDays"], "1");
    let again = place.run(&[]);
    assert_eq!(again.code, 0);
    assert!(!again.stderr.contains(&user), "each run has a name of its own");
}

#[test]
fn jsonl_has_the_checks_then_the_fields_then_the_shape() {
    let place = Place::new(|key| vec![record(key)]);
    let ran = place.run(&["--format", "jsonl"]);
    assert_eq!(statuses(&ran), owned(&ALL_OK));
    let lines = ran.json_lines();
    let names = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let kinds: Vec<String> = lines.iter().map(names).collect();
    let expected = [
        vec!["check fix found status"; 4],
        vec!["expected field found status"; 8 + 3],
        vec!["fingerprint shape"],
    ];
    assert_eq!(kinds, expected.concat());
    let secret =
        lines.iter().find(|line| line["field"].as_str().is_some_and(|path| path.ends_with("Secret")));
    assert_eq!(secret.unwrap()["status"], "not_read", "its name and type are shown");
}

#[test]
fn help_lists_every_call() {
    let place = Place::new(|key| vec![record(key)]);
    place.iam.fault(CREATE_KEY, Fault::ReplyLost, 1);
    place.run(&[]);
    place.iam.fault("CreateUser", Fault::Refused(403, "AccessDenied"), 1);
    place.run(&[]);
    let second = Place::new(|key| vec![record(key)]);
    second.run(&[]);
    let actions: Vec<_> = [place.iam.actions(), second.iam.actions()].concat();
    let mut made: BTreeSet<String> = actions.iter().map(|action| format!("iam:{action}")).collect();
    assert!(made.remove("iam:GetCallerIdentity"), "which needs no permission");
    made.extend(second.cloud.asked());
    assert_eq!(made, ACTIONS.map(str::to_owned).into());
}

#[test]
fn the_policy_in_the_docs_allows_every_call() {
    let (_, section) = include_str!("../../../docs/doctor.md").split_once("## Capture").unwrap();
    assert_eq!(actions_allowed_in(section), ACTIONS.map(str::to_owned).into());
}

/// The actions of the first policy of a section.
fn actions_allowed_in(section: &str) -> BTreeSet<String> {
    let policy = section.split("```json").nth(1).unwrap().split("```").next().unwrap();
    let policy: Value = serde_json::from_str(policy).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.clone(),
        action => vec![action.clone()],
    });
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_event_is_told_from_those_of_others_and_from_failed_calls() {
    let place = Place::new(|key| {
        let mut other = key.clone();
        other.user = "svc-other".to_owned();
        other.id = "ACCAEXAMPLEKEY0000009".to_owned();
        let mut failed = record(key);
        failed["errorCode"] = json!("NoSuchEntityException");
        failed["responseElements"] = json!(null);
        vec![record(&other), failed, record(key)]
    });
    place.iam.fault(CREATE_KEY, Fault::Refused(404, "NoSuchEntity"), 1);
    let ran = place.run(&["--format", "jsonl"]);
    assert_eq!(statuses(&ran), owned(&ALL_OK), "{}", ran.stderr);
    assert_eq!(place.cloud.count("cloudtrail:LookupEvents"), 1 + 3, "a look ahead, and three pages");
    assert_eq!(place.count(CREATE_KEY), 2, "IAM did not know the user yet");
    place.assert_removed();
}

#[test]
fn an_event_that_comes_later_is_waited_for() {
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let place = Place::new(move |key| {
        let looks = looks.fetch_add(1, Ordering::Relaxed);
        if looks == 0 { Vec::new() } else { vec![record(key)] }
    });
    let ran = place.run(&["--format", "jsonl"]);
    assert_eq!((ran.code, statuses(&ran)), (0, owned(&ALL_OK)), "{}", ran.stderr);
    place.assert_removed();
}

#[test]
fn an_event_in_another_shape_fails_and_shows_how() {
    let place = Place::new(|key| {
        let mut record = record(key);
        let mut response = record["responseElements"]["serviceSpecificCredential"].take();
        response["expirationDateTime"] = response["expirationDate"].take();
        record["responseElements"] = json!({ "credential": response });
        vec![record]
    });
    let ran = place.run(&["--format", "jsonl"]);
    assert_eq!(ran.code, 1);
    let expected = [
        ("captured_event", "fail"),
        ("captured_fields", "warn"),
        ("captured_key", "unknown"),
        ("capture_removal", "ok"),
    ];
    assert_eq!(statuses(&ran), owned(&expected), "{}", ran.stderr);
    let lines = ran.json_lines();
    let status = |path: &str| lines.iter().find(|line| line["field"] == path).unwrap()["status"].clone();
    assert_eq!(status("requestParameters.userName"), "present");
    assert_eq!(status("responseElements.serviceSpecificCredential.expirationDate"), "absent");
    assert_eq!(status("responseElements.credential.expirationDateTime"), "not_read");
    assert!(lines[0]["found"].as_str().unwrap().contains("responseElements.serviceSpecificCredential"));
    place.assert_removed();
}

#[test]
fn an_event_that_names_another_key_fails() {
    let place = Place::new(|key| {
        let mut record = record(key);
        record["responseElements"]["serviceSpecificCredential"]["serviceSpecificCredentialId"] =
            json!("ACCAEXAMPLEKEY0000009");
        vec![record]
    });
    let ran = place.run(&["--format", "jsonl"]);
    assert_eq!((ran.code, statuses(&ran)[2].1.as_str()), (1, "fail"));
    assert!(ran.json_lines()[2]["found"].as_str().unwrap().contains("another key id"), "{}", ran.stdout);
    place.assert_removed();
}

#[test]
fn an_event_that_never_comes_fails_and_both_are_removed() {
    let place = Place::new(|_| Vec::new());
    let ran = place.run(&["--capture-wait", "0", "--format", "jsonl"]);
    assert_eq!(ran.code, 1);
    assert_eq!(statuses(&ran), owned(&[("captured_event", "fail"), ("capture_removal", "ok")]));
    assert!(ran.json_lines()[0]["fix"].as_str().unwrap().contains("--capture-wait"));
    place.assert_removed();
}

#[test]
fn ctrl_c_ends_the_wait_and_removes_both() {
    for signal in ["INT", "TERM", "HUP"] {
        let place = Place::new(|_| Vec::new());
        let mut command = place.command(&["--format", "jsonl"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while place.cloud.count("cloudtrail:LookupEvents") < 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(place.iam.keys().len(), 2, "the key is there");
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let ran = CliOutput::from(child.wait_with_output().unwrap());
        place.check(&ran);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert_eq!(statuses(&ran), owned(&[("captured_event", "fail"), ("capture_removal", "ok")]));
        assert!(ran.json_lines()[0]["found"].as_str().unwrap().contains("interrupted"));
        place.assert_removed();
    }
}

/// Exit code 1, nothing on stdout, and an error that says this.
fn assert_error(ran: &CliOutput, said: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    let error = ran.stderr.lines().last().unwrap();
    assert!(error.starts_with("error: ") && error.contains(said), "{}", ran.stderr);
}

#[test]
fn without_permission_to_look_nothing_is_created() {
    let mut state = State::complete();
    state.refuse("cloudtrail:LookupEvents", "AccessDeniedException");
    let place = Place { cloud: Cloud::start(state), ..Place::new(|_| Vec::new()) };
    let ran = place.run(&[]);
    assert_error(&ran, "cloudtrail:LookupEvents was denied");
    assert_eq!(place.iam.actions(), ["GetCallerIdentity"]);
}

#[test]
fn a_call_that_is_denied_is_named_and_what_was_created_is_removed() {
    let denied = Fault::Refused(403, "AccessDenied");
    let place = Place::new(|key| vec![record(key)]);
    place.iam.fault("CreateUser", denied, 1);
    assert_error(&place.run(&[]), "iam:CreateUser was denied");
    assert_eq!(place.iam.actions(), ["GetCallerIdentity", "CreateUser"], "there is nothing to remove");

    place.iam.fault(CREATE_KEY, denied, 1);
    let ran = place.run(&[]);
    assert_error(&ran, "iam:CreateServiceSpecificCredential was denied");
    assert!(ran.stderr.contains("service control policy"), "{}", ran.stderr);
    assert_eq!(place.count(DELETE_KEY), 0, "there is no key");
    place.assert_removed();
}

#[test]
fn a_user_that_was_there_before_is_left_alone() {
    let place = Place::new(|key| vec![record(key)]);
    place.iam.fault("CreateUser", Fault::Refused(409, "EntityAlreadyExists"), 1);
    assert_error(&place.run(&[]), "iam:CreateUser failed: EntityAlreadyExists");
    assert_eq!(place.count("DeleteUser"), 0);
}

#[test]
fn what_was_created_without_a_response_is_removed() {
    for action in ["CreateUser", CREATE_KEY] {
        let place = Place::new(|key| vec![record(key)]);
        place.iam.fault(action, Fault::ReplyLost, 1);
        let ran = place.run(&[]);
        assert_error(&ran, &format!("iam:{action} failed"));
        assert_eq!(place.count(action), 1, "a retry could create a second one");
        place.assert_removed();
    }
    let place = Place::new(|key| vec![record(key)]);
    place.iam.create_without("ServiceSpecificCredentialId");
    assert_error(&place.run(&[]), "cannot be read");
    place.assert_removed();
}

#[test]
fn a_removal_that_iam_does_not_know_of_yet_is_repeated() {
    let place = Place::new(|key| vec![record(key)]);
    for action in [DELETE_KEY, "DeleteUser"] {
        place.iam.fault(action, Fault::Refused(404, "NoSuchEntity"), 1);
    }
    let ran = place.run(&["--format", "jsonl"]);
    assert_eq!((ran.code, statuses(&ran)), (0, owned(&ALL_OK)), "{}", ran.stderr);
    assert_eq!((place.count(DELETE_KEY), place.count("DeleteUser")), (2, 2));
    place.assert_removed();
}

/// The guard that is deployed here may delete the key first.
#[test]
fn a_key_that_is_gone_already_is_no_failure() {
    // The other deleter has to be quicker than the command.
    let (place, ran) = std::iter::repeat_with(deleted_meanwhile).find_map(|won| won).unwrap();
    assert!(ran.stderr.contains("removed the user"), "{}", ran.stderr);
    place.assert_removed();
}

/// Runs the command while somebody else deletes its key. `None`: the command was quicker.
fn deleted_meanwhile() -> Option<(Place, CliOutput)> {
    let place = Place::new(|key| vec![record(key)]);
    let (iam, is_over) = (place.iam.clone(), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&is_over);
    let deleted = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            if let Some(key) = iam.keys().iter().find(|key| is_captured(key)) {
                iam.remove(&key.id);
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    });
    let ran = place.run(&["--capture-wait", "0"]);
    is_over.store(true, Ordering::Relaxed);
    deleted.join().unwrap().then_some((place, ran))
}

#[test]
fn a_removal_that_fails_says_how_to_do_it() {
    for action in [DELETE_KEY, "DeleteUser"] {
        let place = Place::new(|key| vec![record(key)]);
        place.iam.fault(action, Fault::Refused(403, "AccessDenied"), 1);
        let ran = place.run(&["--format", "jsonl"]);
        assert_eq!(ran.code, 1);
        let finding = ran.json_lines()[3].clone();
        assert_eq!(statuses(&ran)[3], ("capture_removal".to_owned(), "fail".to_owned()));
        assert!(finding["found"].as_str().unwrap().starts_with(&format!("iam:{action} was denied")));
        let users = place.iam.users(OWN);
        let user = users.iter().find(|user| user.starts_with(USER_PREFIX)).unwrap();
        let commands = format!(
            "aws iam delete-service-specific-credential --user-name {user} --service-specific-credential-id \
             ACCAMADE0000000000001, then aws iam delete-user --user-name {user}"
        );
        assert_eq!(finding["fix"], commands);
        assert!(ran.stderr.contains(&commands), "{}", ran.stderr);
    }
}

#[test]
fn wrong_usage_creates_nothing() {
    let place = Place::new(|key| vec![record(key)]);
    for arguments in
        [&["--function", "x"][..], &["--account", OWN], &["--capture-wait", "121"], &["--capture-wait", "x"]]
    {
        assert_eq!(place.run(arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(doctor(&place.cloud, &["--capture-wait", "5"]).code, 2, "without --capture");
    let without = CliOutput::of(place.command(&[]).env_remove("AWS_REGION"));
    assert_error(&without, "no region");
    assert!(place.iam.calls().is_empty());
}
