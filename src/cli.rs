//! The operator's command line: one file per command.

mod input;
mod output;
mod policy;
pub mod records;
mod replay;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;

use crate::config::TableName;
use crate::policy::Policy;

/// How a command ended. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Found = 3,
    Unreadable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Keeps long-lived Amazon Bedrock API keys out of AWS accounts
#[derive(Debug, Parser)]
#[command(
    name = "bedrock-key-guard",
    version,
    after_help = "\
Examples:
  bedrock-key-guard replay events/
  bedrock-key-guard replay --policy policy.toml --format jsonl AWSLogs/
  bedrock-key-guard policy check policy.toml"
)]
enum Cli {
    Replay(replay::Replay),
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

/// Runs the command line, and answers with its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Replay(replay) => replay.run(),
        Cli::Policy(policy::PolicyCommand::Check(check)) => check.run(),
    };
    result.unwrap_or_else(|error| {
        report_error(&error);
        let invalid_policy = error.downcast_ref().is_some_and(|error| {
            use crate::policy::PolicyError::{Invalid, NotText, Read};
            match error {
                Invalid { .. } | NotText { .. } => true,
                Read { .. } => false,
            }
        });
        if invalid_policy { Exit::Usage } else { Exit::Failed }.into()
    })
}

fn report_error(error: &anyhow::Error) {
    eprintln!("error: {}", crate::telemetry::chain(error.as_ref()));
}

fn load_policy(path: Option<&Path>) -> anyhow::Result<Policy> {
    Ok(match path {
        None => Policy::built_in()?,
        Some(path) => Policy::load(path)?,
    })
}

/// What makes a run end with exit code 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// A key that the policy forbids.
    Noncompliant,
}

/// Where keys are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LedgerPlace {
    File(PathBuf),
    DynamoDb(TableName),
}

impl FromStr for LedgerPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("dynamodb", table)) => match table.parse() {
                Ok(table) => Ok(Self::DynamoDb(table)),
                Err(expected) => Err(expected.to_owned()),
            },
            _ => Err("expected file:PATH or dynamodb:TABLE".to_owned()),
        }
    }
}
