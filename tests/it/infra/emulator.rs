//! What a release has, in an emulator of AWS.

use std::path::PathBuf;
use std::process::Command;

use bedrock_key_guard::config::load_policy;
use serde_json::Value;

use super::{create_key, repository};
use crate::support::dynamodb::{phase_name, states};
use crate::support::iam::Iam;
use crate::support::{OTHER, OWN};

/// The path of a tool, which `.ci/run` names.
#[expect(clippy::disallowed_methods, reason = "tests are told from outside where their tools are")]
fn tool(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("set {variable}; see .ci/run"))
}

/// What `doctor` finds in the emulator, by check.
fn check_doctor(statuses: &Value) {
    // Nobody made a trail, nor any event yet; the copy of the rule rewrites events; and the emulator has neither
    // recovery from a template, nor a context for its policy simulation, nor SAM's qualifier `$LATEST`.
    // No resume and no sweep has come to its end, and no heartbeat was heard.
    let not_here = [
        "trail",
        "last_event",
        "target",
        "table_recovery",
        "role",
        "on_failure",
        "on_failure_queue",
        "last_resume",
        "last_sweep",
        "responders",
        "silent_accounts",
    ];
    let doctor = statuses.as_object().unwrap();
    assert_eq!(doctor.len(), 27, "{statuses}");
    let is_unexpected =
        |(check, status): &(&String, &Value)| !not_here.contains(&check.as_str()) && *status != "ok";
    let unexpected: Vec<_> = doctor.iter().filter(is_unexpected).collect();
    assert_eq!(unexpected, []);
}

/// Each of these keys has a notice, which says all that its owner needs.
fn check_notices(notices: &[Value], ids: &[&str]) {
    assert_eq!(notices.len(), ids.len());
    for id in ids {
        let notice = notices.iter().filter_map(Value::as_str).find(|text| text.contains(id)).unwrap();
        for part in [
            "Verdict:     noncompliant",
            "IAM user:    svc-",
            "Actor:       arn:aws:",
            "never expires",
            "lookup --ledger",
        ] {
            assert!(notice.contains(part), "{part}: {notice}");
        }
    }
}

/// The template and the function of a release, in an emulator of AWS: an event goes through the real rule to the built
/// binary, which writes the table and deletes the key.
///
/// Needs what `.ci/run` prepares: the folder of a release, and the path of a Python environment.
#[test]
#[ignore = "needs Python packages and a release build: .ci/run does it"]
fn an_event_goes_through_a_deployed_stack() {
    let folder = tempfile::tempdir().unwrap();
    let release = PathBuf::from(tool("KEY_GUARD_RELEASE"));
    let iam = Iam::start();
    let write_event = |name: &str, account: &str, user: &str, id: &str| {
        let path = folder.path().join(format!("{id}.json"));
        std::fs::write(&path, create_key(&iam, name, account, user, id).to_string()).unwrap();
        path
    };
    let noncompliant = ["ACCAEXAMPLEKEY0000901", "ACCAEXAMPLEKEY0000902", "ACCAEXAMPLEKEY0000903"];
    // IAM says that it is another service's, which the policy does not judge: it stays as it is.
    let other_service = "ACCAEXAMPLEKEY0000905";
    let paths = [
        write_event("created-without-age", OWN, "svc-chatbot", noncompliant[0]),
        write_event("created-without-age", OTHER, "svc-chatbot", noncompliant[1]),
        write_event("created-expiration-unreadable", OWN, "svc-garbled", noncompliant[2]),
        write_event("created-without-age", OWN, "svc-logs", other_service),
    ];
    iam.change(other_service, |key| "logs.amazonaws.com".clone_into(&mut key.service));
    // A neighbour that nothing may happen to.
    let neighbour = "ACCAEXAMPLEKEY0000904";
    create_key(&iam, "created-without-age", OWN, "svc-neighbour", neighbour);

    let output = Command::new(tool("KEY_GUARD_EMULATOR_PYTHON"))
        .arg(repository(".ci/emulator"))
        .arg(&release)
        .arg(env!("CARGO_BIN_EXE_bedrock-key-guard"))
        .arg(iam.url())
        .args(&paths)
        // The command line knows its own variables only.
        .env_remove("KEY_GUARD_RELEASE")
        .env_remove("KEY_GUARD_EMULATOR_PYTHON")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    eprintln!("{stderr}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();

    check_doctor(&result["doctor"]);
    let left: Vec<_> = iam.keys().into_iter().map(|key| key.id).collect();
    assert_eq!(left, [other_service, neighbour]);
    let states = states(result["states"].as_array().unwrap());
    assert_eq!(states.len(), 4);
    let sha256 = load_policy(&repository("infra/policy.toml")).unwrap().sha256().to_owned();
    for (key, state) in states {
        let expected = if key.id.as_str() == other_service { "settled" } else { "gone" };
        assert_eq!(phase_name(&state), expected, "{state:?}");
        assert_eq!(state.record().unwrap().policy_sha256, sha256);
    }
    assert_eq!(result["failed"]["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(result["failed"]["responsePayload"]["errorType"], "UnreadableEvent");
    check_notices(result["notices"].as_array().unwrap(), &noncompliant);
}
