//! The operator's command line: one file per command.

mod attempts;
mod doctor;
pub mod dry_run;
mod export;
mod facts;
mod filters;
mod findings;
mod html;
mod import;
mod input;
mod lookup;
mod output;
mod parquet;
mod policy;
mod prevent;
mod progress;
pub mod records;
mod replay;
mod rows;
mod stats;
mod sweep;
mod when;

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use clap::Parser;

use crate::aws::credentials::IamCredentials;
use crate::config::{Home, RoleName, TableName};
use crate::ledger::LedgerError;
use crate::ledger::embedded::{self, Durability};
use crate::ledger::store::DynamoKeyStore;
use key_guard_core::key::AccountId;
use key_guard_core::policy::Policy;
use key_guard_core::text::{sanitize_line, sanitize_text};

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
  bedrock-key-guard sweep --fail-on noncompliant
  bedrock-key-guard policy check policy.toml
  bedrock-key-guard prevent scp --policy policy.toml > scp.json
  bedrock-key-guard lookup --verdict noncompliant --since 7d
  bedrock-key-guard doctor"
)]
enum Cli {
    Replay(replay::Replay),
    Sweep(Box<sweep::Sweep>),
    Lookup(Box<lookup::Lookup>),
    Report(Box<html::Html>),
    Export(Box<export::Export>),
    Import(import::Import),
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    #[command(subcommand)]
    Prevent(prevent::PreventCommand),
    Doctor(doctor::Doctor),
}

/// Runs the command line, and answers with its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Replay(replay) => replay.run(),
        Cli::Sweep(sweep) => unless_nobody_listens(sweep.run()),
        Cli::Doctor(doctor) => doctor.run(),
        Cli::Lookup(lookup) => unless_nobody_listens(lookup.run()),
        Cli::Report(report) => unless_nobody_listens(report.run()),
        Cli::Export(export) => unless_nobody_listens(export.run()),
        Cli::Import(import) => import.run(),
        Cli::Policy(policy::PolicyCommand::Check(check)) => check.run(),
        Cli::Prevent(prevent) => prevent.run(),
    };
    result.unwrap_or_else(|error| {
        report_error(&error);
        let invalid_policy = error.downcast_ref().is_some_and(|error| {
            use crate::config::PolicyFileError::{Invalid, NotText, Read};
            match error {
                Invalid(_) | NotText { .. } => true,
                Read { .. } => false,
            }
        });
        if invalid_policy { Exit::Usage } else { Exit::Failed }.into()
    })
}

/// Whoever reads only the first lines of an answer has what they wanted.
fn unless_nobody_listens(result: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    result.or_else(|error| {
        let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
        if causes.any(nobody_listens) { Ok(Exit::Done.into()) } else { Err(error) }
    })
}

fn nobody_listens(error: &std::io::Error) -> bool {
    // The csv crate wraps the error that it got.
    let wrapped = error.get_ref().and_then(|inner| inner.downcast_ref::<csv::Error>());
    error.kind() == std::io::ErrorKind::BrokenPipe
        || wrapped
            .is_some_and(|error| matches!(error.kind(), csv::ErrorKind::Io(error) if nobody_listens(error)))
}

fn report_error(error: &anyhow::Error) {
    say(&format!("error: {}", crate::telemetry::chain(error.as_ref())));
}

/// A line, or more, on stderr. Names of files and texts of events are other people's: nothing in them reaches
/// the terminal's controls. Where stderr is gone there is nobody to tell.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", sanitize_text(text));
}

/// A path for people, on one line whatever its name is.
fn shown(path: &Path) -> String {
    sanitize_line(&path.display().to_string())
}

/// One thread waits for all that a command has asked for.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("could not start the async runtime")
}

/// Another thread sees to what arrives, while a file ledger computes on this one.
fn runtime_beside() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().context("could not start the async runtime")
}

/// A ledger to be read: one that is not there is not made.
async fn to_read(place: &LedgerPlace) -> anyhow::Result<DynamoKeyStore> {
    Ok(match place {
        LedgerPlace::File(path) => embedded::open_existing(path).await?,
        LedgerPlace::DynamoDb(table) => {
            let sdk = crate::aws::sdk_config().await;
            DynamoKeyStore::new(aws_sdk_dynamodb::Client::new(&sdk), table.clone())
        }
    })
}

/// A ledger to be written: made at first use. With `apply`, keys may be changed, so each write is on the disk when it
/// returns.
async fn to_write(place: &LedgerPlace, apply: bool) -> anyhow::Result<DynamoKeyStore> {
    Ok(match place {
        LedgerPlace::File(path) => {
            let durability = if apply { Durability::EveryWrite } else { Durability::Soon };
            embedded::open(path, durability).await?
        }
        LedgerPlace::DynamoDb(_) => to_read(place).await?,
    })
}

fn load_policy(path: Option<&Path>) -> anyhow::Result<Policy> {
    Ok(match path {
        None => Policy::built_in()?,
        Some(path) => crate::config::load_policy(path)?,
    })
}

/// IAM, and the account of the caller's own identity.
async fn iam(responder_role: Option<RoleName>) -> anyhow::Result<(IamCredentials, AccountId)> {
    let sdk = crate::aws::sdk_config().await;
    let caller = aws_sdk_sts::Client::new(&sdk)
        .get_caller_identity()
        .send()
        .await
        .context("could not ask AWS STS whose credentials these are")?;
    let home: Home = caller
        .arn()
        .unwrap_or_default()
        .parse()
        .map_err(anyhow::Error::msg)
        .context("AWS STS returned no usable identity")?;
    let account = home.account.clone();
    Ok((IamCredentials::new(sdk, home, responder_role), account))
}

/// What the ledger said, where an error has come from there.
fn ledger_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a LedgerError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// What makes a run end with exit code 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// A key that the policy forbids.
    Noncompliant,
    /// The same, or a key whose lifetime could not be read.
    Undetermined,
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
