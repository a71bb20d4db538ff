//! The built command line: stdout, stderr, exit codes; the environment scrubbed.

mod apply;
mod beside;
mod cloudtrail;
mod console_users;
mod endless;
mod exempt;
mod help;
mod hunt;
mod identify;
mod input;
mod input_kinds;
mod ledger;
mod lookup_anything;
mod once;
mod policy;
mod policy_rules;
mod policy_versions;
mod prevent;
mod replay;
mod rollout;
mod secrets;
mod usage;
mod verify;

use serde_json::Value;

use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder};
use crate::support::dynamodb::Dynamo;
use crate::support::event;
use crate::support::iam::Iam;

fn record(name: &str) -> Value {
    event(name)["detail"].clone()
}

/// Runs the command line with the stand-ins as IAM and DynamoDB.
fn run_on_aws(folder: &Folder, iam: &Iam, dynamo: &Dynamo, arguments: &[&str]) -> CliOutput {
    let endpoints = [("AWS_ENDPOINT_URL", iam.url()), ("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url())];
    CliOutput::of(folder.command(arguments).envs(AWS_VARIABLES).envs(endpoints))
}
