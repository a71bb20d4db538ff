//! `policy`: is a policy file valid, and what does it do? Versions of it in a ledger.

pub mod changes;
mod diff;
pub mod exemptions;
mod log;
pub mod push;
mod show;
mod source;
mod terms;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};

use super::exit::Exit;
use super::filters::whole_number;
use super::messages::{counted, say, shown};
use super::output::{plain_table, stdout, write_table};
use crate::clock::{Clock, SystemClock};
use exemptions::ListedExemption;
use key_guard_core::evidence::{EventEvidence, ExpirationEvidence, Reading};
use key_guard_core::key::{AccountId, CredentialId, KeyFacts, KeyRef, Service, UserName};
use key_guard_core::policy::{Policy, Response, Scope, Services};
use key_guard_core::words;
use source::Loaded;

/// Works on policy files
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  bedrock-key-guard policy check policy.toml
      is it valid, and what does it do
  bedrock-key-guard policy push policy.toml --ledger dynamodb:bedrock-key-guard --dry-run
      whose verdict would change, if it were the current version
  bedrock-key-guard policy rollback --ledger dynamodb:bedrock-key-guard
      back to the version before, after a mistake")]
pub enum PolicyCommand {
    Check(Check),
    Show(show::Show),
    Diff(diff::Diff),
    Push(push::Push),
    Log(log::Log),
    Rollback(push::Rollback),
}

impl PolicyCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.run(),
            Self::Show(show) => show.run(),
            Self::Diff(diff) => diff.run(),
            Self::Push(push) => push.run(),
            Self::Log(log) => log.run(),
            Self::Rollback(rollback) => rollback.run(),
        }
    }
}

/// How keys or versions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One to a line, for scripts.
    Jsonl,
}

/// Says what is probably not meant.
pub fn say_warnings(policy: &Policy, file: &Path, now: DateTime<Utc>) {
    for warning in policy.warnings(now) {
        say(&format!("warning: {}: {warning}", shown(file)));
    }
}

/// Validates a policy file, lists its exemptions, and explains what it does with an example key
///
/// Warns about exemptions that are over or overlap, and about overrides that never apply. Only the file counts: whether an
/// account or a user exists is not known.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard policy check policy.toml
      is it valid, which exemptions end soon, and which rules never apply
  bedrock-key-guard policy check policy.toml --user svc-build --lifetime-days 365
      what it does with such a key of this user
  bedrock-key-guard policy check policy.toml --service logs.amazonaws.com
      the same with keys for CloudWatch Logs

Exit codes:
  0 the file is valid (warnings are on stderr)   1 it could not be read   2 it is not valid")]
pub struct Check {
    /// The policy file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The example key's account
    #[arg(long, default_value = "111122223333")]
    account: AccountId,

    /// The example key's user
    #[arg(long, default_value = "BedrockAPIKey-x1y2")]
    user: UserName,

    /// The example key's service [default: the first that the policy judges]
    #[arg(long)]
    service: Option<Service>,

    /// The example key's lifetime in days [default: several, and no end]
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true, value_parser = whole_number(1..=36_600_u32))]
    lifetime_days: Option<u32>,
}

impl Check {
    /// Runs it.
    ///
    /// # Errors
    /// When the file could not be read: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Loaded { text, policy, .. } = source::read_file(&self.file)?;
        let now = SystemClock.now();
        say_warnings(&policy, &self.file, now);
        let mut out = stdout();
        describe(&mut out, &policy, &self.file)?;
        let exemptions = ListedExemption::all(&policy, &text, now);
        if exemptions.iter().any(ListedExemption::ends_soon) {
            let soon = exemptions.iter().filter(|listed| listed.ends_soon()).count();
            writeln!(out, "exemptions that end within {} days: {soon}", exemptions::SOON_DAYS)?;
        }
        if !exemptions.is_empty() {
            writeln!(out, "\nexemptions, the next to end first:")?;
            exemptions::write_table(&mut out, &exemptions)?;
        }
        let service = self.example_service(&policy)?;
        let (limit, _) = policy.default_rule();
        let lifetimes: Vec<Option<u32>> = match self.lifetime_days {
            Some(days) => vec![Some(days)],
            None => vec![None, Some(36_600), Some(limit + 1), Some(limit)],
        };
        writeln!(
            out,
            "\na key for {service} of user {} in account {}, created now:",
            self.user, self.account
        )?;
        let mut table = plain_table(false);
        table.set_header(["LIFETIME", "VERDICT", "RESPONSE", "WHY"]);
        for days in lifetimes.into_iter().filter(|days| *days != Some(0)) {
            let lifetime = match days {
                None => "never expires".to_owned(),
                Some(days) => key_guard_core::key::describe_days(TimeDelta::days(days.into())),
            };
            let (key, evidence) = self.example(&service, days, now)?;
            match policy.assess(&key, &evidence, now) {
                Scope::OutOfScope => {
                    table.add_row([&lifetime, "not ours", "-", "the policy does not judge this service"]);
                }
                Scope::InScope(mut judgement) => {
                    // An example has no source.
                    judgement.basis = None;
                    let response = match judgement.verdict.violation() {
                        Some(_) => judgement.response,
                        None => Response::None,
                    };
                    table.add_row([
                        lifetime.as_str(),
                        judgement.verdict().as_str(),
                        response.as_str(),
                        &words::reason(&judgement),
                    ]);
                }
            }
        }
        write_table(&mut out, table)?;
        Ok(Exit::Done.into())
    }

    fn example_service(&self, policy: &Policy) -> anyhow::Result<Service> {
        match (&self.service, policy.services()) {
            (Some(service), _) => Ok(service.clone()),
            (None, Services::All) => Ok(Service::Bedrock),
            (None, Services::Listed(services)) => {
                services.first().cloned().context("the policy judges no service")
            }
        }
    }

    fn example(
        &self,
        service: &Service,
        days: Option<u32>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<(KeyFacts, ExpirationEvidence)> {
        let facts = KeyFacts {
            key: KeyRef { account: self.account.clone(), id: example_id()? },
            user: self.user.clone(),
            other_names: BTreeSet::new(),
            service: service.clone(),
            created_at: now,
        };
        let evidence = EventEvidence {
            created_at: Reading::Read(now),
            event_time: now,
            response: Reading::Missing,
            request: days.map_or(Reading::Missing, Reading::Read),
            request_present: true,
        };
        Ok((facts, evidence.into()))
    }
}

fn describe(out: &mut impl Write, policy: &Policy, file: &Path) -> std::io::Result<()> {
    let (limit, response) = policy.default_rule();
    let (overrides, exemptions) = policy.counts();
    let services = match policy.services() {
        Services::All => "*".to_owned(),
        Services::Listed(services) => services.iter().map(Service::as_str).collect::<Vec<_>>().join(", "),
    };
    writeln!(out, "{}: valid, sha256 {}", shown(file), policy.sha256())?;
    writeln!(out, "services: {services}")?;
    writeln!(out, "default: at most {limit} days, response {response}")?;
    let overrides = counted(overrides as u64, "override", "overrides");
    writeln!(out, "{overrides}, {}", counted(exemptions as u64, "exemption", "exemptions"))
}

fn example_id() -> anyhow::Result<CredentialId> {
    "ACCAEXAMPLEKEY1234567".parse().map_err(anyhow::Error::new)
}
