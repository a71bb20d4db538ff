//! `doctor`, the built command line, against a stack that stands in for AWS.

mod calls;
mod capture;
mod complete;
mod defects;
mod operation;
mod output;

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::support::cli::{self, AWS_VARIABLES, CliOutput};
use crate::support::stack::{Cloud, State};

const CHECKS: usize = 27;

/// `doctor`, with AWS at this address.
fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = cli::command(&[&["doctor"], arguments].concat());
    let stand_in = [("AWS_ENDPOINT_URL", url), ("AWS_EC2_METADATA_DISABLED", "true")];
    command.envs(stand_in).envs(AWS_VARIABLES);
    command
}

fn doctor(cloud: &Cloud, arguments: &[&str]) -> CliOutput {
    CliOutput::of(&mut command(cloud.url(), arguments))
}

/// By check.
fn findings(ran: &CliOutput) -> BTreeMap<String, Value> {
    let findings = ran.json_lines().into_iter();
    findings.map(|finding| (finding["check"].as_str().unwrap().to_owned(), finding)).collect()
}

/// The checks that are not ok of a stack that is complete but for this change, and how.
fn examine(change: impl FnOnce(&mut State), arguments: &[&str]) -> (CliOutput, BTreeMap<String, Value>) {
    let mut state = State::complete();
    change(&mut state);
    let ran = doctor(&Cloud::start(state), &[&["--format", "jsonl"], arguments].concat());
    let mut findings = findings(&ran);
    assert_eq!(findings.len(), CHECKS, "{}{}", ran.stdout, ran.stderr);
    findings.retain(|_, finding| finding["status"] != "ok");
    (ran, findings)
}
