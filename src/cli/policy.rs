//! `policy check`: is a policy file valid, and what does it do?

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::TimeDelta;

use super::output::{plain_table, write_table};
use super::{Exit, report_error, say, shown};
use crate::clock::{Clock, SystemClock};
use crate::key::{AccountId, CredentialId, Evidence, Expiration, Key, KeyRef, Lifetime, Service, UserName};
use crate::policy::{Policy, PolicyError, Response, Ruling};

/// Works on policy files
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Validates a policy file and explains what it does with an example key
    Check(Check),
}

/// Validates a policy file and explains what it does with an example key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard policy check policy.toml
  bedrock-key-guard policy check policy.toml --account 111122223333 --user svc-build --lifetime-days 365

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
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_600))]
    lifetime_days: Option<u32>,
}

impl Check {
    /// Runs it.
    ///
    /// # Errors
    /// When the file could not be read: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let policy = match Policy::load(&self.file) {
            Ok(policy) => policy,
            Err(error @ PolicyError::Read { .. }) => return Err(error.into()),
            Err(error @ (PolicyError::NotText { .. } | PolicyError::Invalid { .. })) => {
                report_error(&error.into());
                return Ok(Exit::Usage.into());
            }
        };
        let now = SystemClock.now();
        for warning in policy.warnings(now) {
            say(&format!("warning: {}: {warning}", shown(&self.file)));
        }
        let mut out = std::io::stdout().lock();
        describe(&mut out, &policy, &self.file)?;
        let service = match self.service {
            Some(service) => service,
            None => *policy.services().first().context("the policy judges no service")?,
        };
        let (limit, _) = policy.default_rule();
        let lifetimes: Vec<Option<u32>> = match self.lifetime_days {
            Some(days) => vec![Some(days)],
            None => vec![None, Some(36_600), Some(limit + 1), Some(limit)],
        };
        writeln!(out, "\na key for {service} of user {} in account {}, made now:", self.user, self.account)?;
        let mut table = plain_table(false);
        table.set_header(["LIFETIME", "VERDICT", "RESPONSE", "WHY"]);
        for days in lifetimes.into_iter().filter(|days| *days != Some(0)) {
            let expiration =
                days.map_or(Expiration::Never, |days| Expiration::At(now + TimeDelta::days(i64::from(days))));
            let key = Key {
                key: KeyRef { account: self.account.clone(), id: example_id()? },
                user: self.user.clone(),
                service,
                created_at: now,
                evidence: Evidence::Known { expiration, basis: "by the example".to_owned() },
            };
            let lifetime = match Lifetime::of(now, expiration) {
                Lifetime::Never => "never ends".to_owned(),
                Lifetime::Ends(lives) => crate::key::describe_days(lives),
            };
            match policy.judge(&key, now) {
                Ruling::NotJudged => {
                    table.add_row([&lifetime, "not ours", "-", "the policy does not judge this service"]);
                }
                Ruling::Judged(judgement) => {
                    let response = match judgement.verdict.violation() {
                        Some(_) => judgement.response,
                        None => Response::None,
                    };
                    table.add_row([
                        lifetime.as_str(),
                        judgement.verdict.standing().as_str(),
                        response.as_str(),
                        &judgement.reason,
                    ]);
                }
            }
        }
        write_table(&mut out, table)?;
        Ok(Exit::Done.into())
    }
}

fn describe(out: &mut impl Write, policy: &Policy, file: &Path) -> std::io::Result<()> {
    let (limit, response) = policy.default_rule();
    let (overrides, exemptions) = policy.counts();
    let services: Vec<_> = policy.services().iter().map(|service| service.as_str()).collect();
    writeln!(out, "{}: valid, sha256 {}", shown(file), policy.sha256())?;
    writeln!(out, "services: {}", services.join(", "))?;
    writeln!(out, "default: at most {limit} days, response {response}")?;
    writeln!(out, "{overrides} overrides, {exemptions} exemptions")
}

fn example_id() -> anyhow::Result<CredentialId> {
    "ACCAEXAMPLEKEY1234567".parse().map_err(anyhow::Error::new)
}
