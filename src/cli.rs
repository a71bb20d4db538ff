//! The operator's command line: one file per command.

mod attempts;
mod aws_options;
mod doctor;
pub mod dry_run;
pub mod event_history;
mod exempt;
mod exit;
mod export;
mod facts;
mod filters;
mod findings;
mod grid;
mod html;
mod hunt;
mod identify;
mod import;
mod incident;
mod input;
mod lookup;
mod messages;
mod output;
mod parquet;
mod policy;
mod prevent;
mod progress;
pub mod records;
mod replay;
mod rollout;
mod rows;
mod setup;
mod shell;
mod spans;
mod stats;
mod sweep;
mod timeline;
mod usage;
mod verify;
mod when;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _, FromArgMatches as _, Parser};
use key_guard_core::leaked_key::has_likely_secret;

use self::aws_options::{AwsOptions, credentials_advice};
use self::exit::Exit;
use self::messages::{report_error, say};
use self::setup::{LEDGER_VARIABLE, ledger_error};
use crate::config::{VARIABLES, unknown_variable, variable_names};
use crate::ledger::error::LedgerError;
use crate::telemetry::chain;

/// Keeps long-lived Amazon Bedrock API keys out of AWS accounts
#[derive(Debug, Parser)]
#[command(
    name = "bedrock-key-guard",
    version,
    after_help = "\
Examples:
  bedrock-key-guard replay events/
  bedrock-key-guard replay --cloudtrail
  bedrock-key-guard replay --policy policy.toml --format jsonl AWSLogs/
  bedrock-key-guard sweep --fail-on noncompliant
  bedrock-key-guard policy check policy.toml
  bedrock-key-guard policy push policy.toml --ledger dynamodb:bedrock-key-guard
  bedrock-key-guard exempt list --policy policy.toml
  bedrock-key-guard rollout --ledger dynamodb:bedrock-key-guard
  bedrock-key-guard prevent scp --policy policy.toml > scp.json
  bedrock-key-guard lookup --verdict noncompliant --since 7d
  bedrock-key-guard timeline svc-chatbot --since 30d
  bedrock-key-guard incident ACCAEXAMPLEKEY0000001 --output incident
  bedrock-key-guard usage --ledger dynamodb:bedrock-key-guard AWSLogs/
  bedrock-key-guard identify --ledger dynamodb:bedrock-key-guard < leaked.txt
  bedrock-key-guard hunt athena --days 365 > query.sql
  bedrock-key-guard doctor"
)]
struct Arguments {
    #[command(flatten)]
    aws: AwsOptions,

    #[command(subcommand)]
    command: Cli,
}

#[derive(Debug, clap::Subcommand)]
enum Cli {
    Replay(replay::Replay),
    Sweep(Box<sweep::Sweep>),
    Lookup(Box<lookup::Lookup>),
    Timeline(Box<timeline::Timeline>),
    Incident(incident::Incident),
    Usage(Box<usage::Usage>),
    Report(Box<html::Html>),
    Export(Box<export::Export>),
    Import(import::Import),
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    #[command(subcommand)]
    Exempt(Box<exempt::ExemptCommand>),
    #[command(subcommand)]
    Prevent(prevent::PreventCommand),
    #[command(subcommand)]
    Hunt(hunt::HuntCommand),
    Identify(identify::Identify),
    Rollout(rollout::Rollout),
    Doctor(doctor::Doctor),
    Completions(shell::Completions),
    Man(shell::ManualPage),
}

/// The command line's commands and options, each with the page of the docs that it is on.
#[must_use]
pub fn command() -> Command {
    let mut command = with_page(Arguments::command(), "index");
    for (name, page) in PAGES {
        command = command.mut_subcommand(name, |command| {
            with_page(command, page).mut_subcommands(|command| with_page(command, page))
        });
    }
    command
}

/// Where the docs are. `OWNER` is who publishes the project, as in docs/install.md.
const DOCS: &str = "https://github.com/OWNER/bedrock-key-guard/blob/main/docs";

/// The page of each command, in `docs/`.
const PAGES: [(&str, &str); 18] = [
    ("replay", "replay"),
    ("sweep", "sweep"),
    ("lookup", "lookup"),
    ("usage", "usage"),
    ("timeline", "timeline"),
    ("incident", "timeline"),
    ("report", "report"),
    ("export", "report"),
    ("import", "report"),
    ("policy", "reference/policy"),
    ("exempt", "exemptions"),
    ("rollout", "rollout"),
    ("prevent", "prevent"),
    ("hunt", "hunt"),
    ("identify", "identify"),
    ("doctor", "doctor"),
    ("completions", "install"),
    ("man", "install"),
];

/// Adds the page to the help of a command.
fn with_page(command: Command, page: &str) -> Command {
    let help = match command.get_after_help() {
        Some(help) => format!("{}\n\nMore: {DOCS}/{page}.md", help.ansi()),
        None => format!("More: {DOCS}/{page}.md"),
    };
    command.after_help(help)
}

/// Runs the command line, and answers with its exit code.
#[must_use]
pub fn main() -> ExitCode {
    if has_secret_argument() {
        say("error: a secret of AWS is in the arguments (not repeated here)");
        say(
            "it is in your shell's history now, and other users of this machine could see it: rotate it, delete the line, and \
             see whose it is with `bedrock-key-guard identify`, which reads it from standard input or a prompt",
        );
        return Exit::Usage.into();
    }
    if let Some(name) = secret_variable() {
        say(&format!("error: a secret of AWS is in the environment variable {name} (not repeated here)"));
        say(
            "it is no place for one: unset the variable, rotate the secret, and see whose it is with `bedrock-key-guard identify`",
        );
        return Exit::Usage.into();
    }
    let Arguments { aws, command } =
        Arguments::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    if let Some(name) = misspelt_variable() {
        let of_function = VARIABLES.join(", ");
        say(&format!(
            "error: {name} is unknown: expected {LEDGER_VARIABLE}, or one of the function's: {of_function}"
        ));
        return Exit::Usage.into();
    }
    aws.select();
    let result = match command {
        Cli::Replay(replay) => replay.run(),
        Cli::Sweep(sweep) => sweep.run(),
        Cli::Doctor(doctor) => doctor.run(),
        Cli::Lookup(lookup) => lookup.run(),
        Cli::Timeline(timeline) => timeline.run(),
        Cli::Incident(incident) => incident.run(),
        Cli::Usage(usage) => usage.run(),
        Cli::Report(report) => report.run(),
        Cli::Export(export) => export.run(),
        Cli::Import(import) => import.run(),
        Cli::Policy(policy) => policy.run(),
        Cli::Exempt(exempt) => exempt.run(),
        Cli::Prevent(prevent) => prevent.run(),
        Cli::Hunt(hunt) => hunt.run(),
        Cli::Rollout(rollout) => rollout.run(),
        Cli::Identify(identify) => identify.run(),
        Cli::Completions(completions) => completions.run(),
        Cli::Man(man) => man.run(),
    };
    result.unwrap_or_else(|error| {
        match credentials_advice(error.as_ref()) {
            Some(advice) => {
                say(&format!("error: {advice}"));
                say(&format!("cause: {}", chain(error.as_ref())));
            }
            None => report_error(&error),
        }
        if let Some(LedgerError::TableMissing { .. }) = ledger_error(error.as_ref()) {
            say(setup::OTHER_LEDGERS);
        }
        let invalid_policy = error.downcast_ref().is_some_and(|error| {
            use crate::config::PolicyFileError::{InLedger, Invalid, NotText, Read, TooLarge};
            match error {
                InLedger | Invalid(_) | NotText { .. } | TooLarge { .. } => true,
                Read { .. } => false,
            }
        });
        if invalid_policy { Exit::Usage } else { Exit::Failed }.into()
    })
}

/// Whether a secret is in any argument: errors of clap repeat arguments, and so do many of ours. A label may be an argument
/// of its own.
fn has_secret_argument() -> bool {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    has_likely_secret(&arguments.join(OsStr::new(" ")).to_string_lossy())
}

/// The name of a variable that nobody reads, and that somebody may rely on (I8). Those of the function may be set here, too.
fn misspelt_variable() -> Option<String> {
    unknown_variable(variable_names(), &[&VARIABLES[..], &[LEDGER_VARIABLE]].concat())
}

/// The name of a variable that takes the place of an argument, or that the SDK repeats in its errors, and has a secret in it.
fn secret_variable() -> Option<String> {
    let is_repeated = |name: &str| {
        name.starts_with("KEY_GUARD_") || ["AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"].contains(&name)
    };
    std::env::vars_os().find_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| is_repeated(name) && !has_likely_secret(name))?;
        has_likely_secret(&value.to_string_lossy()).then_some(name)
    })
}
