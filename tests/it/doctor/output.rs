//! What `doctor` prints: the table, colours, and JSON.

use serde_json::json;

use super::{command, doctor};
use crate::support::cli::CliOutput;
use crate::support::stack::{Cloud, State, TABLE};

#[test]
fn a_complete_stack_is_ok_in_one_screen() {
    let cloud = Cloud::start(State::complete());
    let ran = doctor(&cloud, &[]);
    insta::assert_snapshot!("complete-stdout", ran.stdout);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stderr, "27 checks: 27 ok, 0 warn, 0 fail, 0 unknown\n");
    assert!(ran.stdout.lines().count() <= 30 && ran.stdout.lines().all(|line| line.len() <= 120));
}

#[test]
fn the_table_says_what_is_missing_and_how_to_mend_it() {
    let mut state = State::complete();
    state.trails[0].logging = false;
    let ran = doctor(&Cloud::start(state), &[]);
    insta::assert_snapshot!("one-defect-stdout", ran.stdout);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stderr, "27 checks: 26 ok, 0 warn, 1 fail, 0 unknown\n");
    assert_eq!(TABLE, "key-guard", "as in the snapshots");
}

#[test]
fn the_table_minds_colours_and_controls() {
    let mut state = State::complete();
    state.function()["State"] = json!("Failed");
    state.function()["StateReason"] = json!("gone\u{1b}[31m\nfunction ok");
    let cloud = Cloud::start(state);
    let ran = doctor(&cloud, &[]);
    assert!(
        ran.stdout.contains("fail    bedrock-key-guard is failed: gone\u{fffd}[31m\u{fffd}function ok\n")
    );
    let forced = CliOutput::of(command(cloud.url(), &[]).env("CLICOLOR_FORCE", "1"));
    assert!(forced.stdout.contains("\u{1b}[38;5;9mfail"), "{}", forced.stdout);
    let silenced =
        CliOutput::of(command(cloud.url(), &[]).envs([("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!silenced.stdout.contains('\u{1b}'));
}

#[test]
fn jsonl_is_one_flat_object_for_each_check() {
    let mut state = State::complete();
    state.recovery = "DISABLED";
    let ran = doctor(&Cloud::start(state), &["--format", "jsonl"]);
    for finding in ran.json_lines() {
        let fields: Vec<_> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["check", "fix", "found", "status"]);
        assert_eq!(finding["fix"].is_null(), finding["status"] == "ok", "{finding}");
    }
}
