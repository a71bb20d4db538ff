//! `exempt`: adds, lists and ends exemptions in a policy file, or in a new version of the policy in the ledger.

mod edit;
mod file;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::NaiveDate;
use key_guard_core::key::{AccountId, UserName};
use key_guard_core::policy::Policy;

use super::exit::{Exit, ended};
use super::filters::account;
use super::messages::{counted, say, shown};
use super::output::stdout;
use super::policy::changes::Changes;
use super::policy::exemptions::{self, ListedExemption};
use super::policy::push::{Confirmation, Options, reason};
use super::policy::{Format, say_warnings};
use super::setup::{DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, PolicyPlace, instead_of, runtime, to_read};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{PolicyFileError, read_policy_file};
use crate::ledger::policy::{NewestPolicy, check_policy_text};
use crate::ledger::store::Ledger;
use edit::{Expiry, NewExemption};

/// Adds, lists and ends exemptions, in a policy file or in the ledger
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  bedrock-key-guard exempt list --policy policy.toml
      who is exempt, and until when
  bedrock-key-guard exempt add --account 111122223333 --user vendor-integration \\
      --until 2027-03-31 --reason 'SEC-1234: vendor cannot use STS' --policy policy.toml
      allows the keys of one user until a date
  bedrock-key-guard exempt expire --account 111122223333 --user vendor-integration \\
      --reason 'SEC-1299: vendor uses roles now' --policy policy.toml
      ends that today")]
pub enum ExemptCommand {
    Add(Add),
    List(List),
    Expire(Expire),
}

impl ExemptCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When the policy is not valid, or it could not do its work.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add(add) => add.run(),
            Self::List(list) => list.run(),
            Self::Expire(expire) => expire.run(),
        }
    }
}

/// Allows the keys of one user until a date
///
/// Shows whose verdict changes, asks, and adds the exemption to the policy file, whose comments and order stay, or to a new
/// version of the policy in the ledger. A file is replaced as a whole or not at all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard exempt add --account 111122223333 --user vendor-integration \\
      --until 2027-03-31 --reason 'SEC-1234: vendor cannot use STS' --policy policy.toml
      in the file
  bedrock-key-guard exempt add --account 111122223333 --user vendor-integration \\
      --until 2027-03-31 --reason 'SEC-1234: vendor cannot use STS' --policy policy.toml \\
      --ledger dynamodb:bedrock-key-guard --dry-run
      only shows whose verdict would change, of the keys in the table
  bedrock-key-guard exempt add --account 111122223333 --user vendor-integration \\
      --until 2027-03-31 --reason 'SEC-1234: vendor cannot use STS' --policy ledger: \\
      --ledger dynamodb:bedrock-key-guard --yes
      in a new version of the policy in the table, from a script

With a table, needs dynamodb:Query and dynamodb:Scan, and for a new version dynamodb:PutItem.

Exit codes:
  0 done   1 failed, or not confirmed   2 usage, or the policy would not be valid
  4 done, but some keys could not be read")]
pub struct Add {
    #[command(flatten)]
    whose: Whose,

    /// The last day, in UTC
    #[arg(long, value_name = "DATE", value_parser = last_day)]
    until: NaiveDate,

    /// Why, and who agreed to it: each report of the key has it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,

    #[command(flatten)]
    target: Target,
}

/// Lists the exemptions of a policy, the next to end first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard exempt list --policy policy.toml
      of the file
  bedrock-key-guard exempt list --policy ledger: --ledger dynamodb:bedrock-key-guard
      of the current version in the ledger
  bedrock-key-guard exempt list --policy policy.toml --format jsonl
      for scripts: with status ended, ends_soon (within 30 days) or valid

Exit codes:
  0 done   1 failed   2 usage, or the file is not valid")]
pub struct List {
    /// The policy: a file, or `ledger:` for the current version in the ledger
    #[arg(long, value_name = "POLICY")]
    policy: PolicyPlace,

    /// The ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// How the list is written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Ends the exemptions of one user today
///
/// Their last day becomes yesterday, so that they do not apply any more. They stay in the policy, with a comment that has the
/// reason and the date until now. Shows whose verdict changes and asks first. The next sweep responds to the user's keys, as
/// far as the ceilings allow.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard exempt expire --account 111122223333 --user vendor-integration \\
      --reason 'SEC-1299: vendor uses roles now' --policy policy.toml
      in the file
  bedrock-key-guard exempt expire --account 111122223333 --user vendor-integration \\
      --reason 'SEC-1299: vendor uses roles now' --policy policy.toml --dry-run
      only shows whose verdict would change
  bedrock-key-guard exempt expire --account 111122223333 --user vendor-integration \\
      --reason 'SEC-1299: vendor uses roles now' --policy ledger: \\
      --ledger dynamodb:bedrock-key-guard --yes
      in a new version of the policy in the table, from a script

With a table, needs dynamodb:Query and dynamodb:Scan, and for a new version dynamodb:PutItem.

Exit codes:
  0 done   1 failed, not confirmed, or no such exemption   2 usage, or the policy is not valid
  4 done, but some keys could not be read")]
pub struct Expire {
    #[command(flatten)]
    whose: Whose,

    /// Why, for the comment in the policy
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,

    #[command(flatten)]
    target: Target,
}

/// Whose exemption it is.
#[derive(Debug, clap::Args)]
struct Whose {
    /// The account of the user
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    account: AccountId,

    /// The IAM user, without patterns
    #[arg(long, value_name = "USER")]
    user: UserName,
}

/// Which policy is edited, and how.
#[derive(Debug, clap::Args)]
struct Target {
    /// The policy to edit: a file, or `ledger:` for a new version in the ledger
    #[arg(long, value_name = "POLICY")]
    policy: PolicyPlace,

    /// The ledger whose keys are assessed: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    #[command(flatten)]
    confirmation: Confirmation,
}

/// A policy before its edit.
struct Current {
    text: String,
    policy: Policy,
    /// What its errors are named after.
    path: PathBuf,
    /// The version that it is, and its ledger.
    version: Option<(NewestPolicy, Ledger)>,
}

fn last_day(text: &str) -> Result<NaiveDate, &'static str> {
    text.trim().parse().map_err(|_| "expected a date such as 2027-03-31")
}

impl Add {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Self { whose: Whose { account, user }, until, reason, target } = self;
        let today = SystemClock.now().date_naive();
        if until < today {
            say(&format!("error: --until {until} is over; expected today ({today}, in UTC) or a later day"));
            return Ok(Exit::Usage.into());
        }
        let said = format!("{user} in {account} is exempt until {until}");
        target.edit(&reason, &said, |current| {
            let new = NewExemption { account: &account, user: &user, reason: &reason, until };
            edit::add(&current.text, &new).with_context(|| {
                format!(
                    "{}: its `exemption` is an empty list, which nothing can follow; take that line out, and run the \
                     command again",
                    shown(&current.path)
                )
            })
        })
    }
}

impl Expire {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Self { whose: Whose { account, user }, reason, target } = self;
        let today = SystemClock.now().date_naive();
        let said = format!("{user} in {account} is not exempt any more");
        target.edit(&reason, &said, |current| {
            let expiry = Expiry { account: &account, user: &user, reason: &reason, today };
            if expiry.matches(&current.policy).is_empty() {
                anyhow::bail!(
                    "{user} in {account} has no exemption that is valid today: see `bedrock-key-guard exempt list`"
                );
            }
            expiry.apply(&current.text, &current.policy).with_context(|| {
                format!("{}: more text follows the date on its line; edit the file by hand", shown(&current.path))
            })
        })
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Self { policy, ledger, format } = self;
        let Current { text, policy, .. } = runtime()?.block_on(Current::read(&policy, &ledger, true))?;
        let listed = ListedExemption::all(&policy, &text, SystemClock.now());
        let mut out = stdout();
        let written = match format {
            Format::Jsonl => listed.iter().try_for_each(|one| writeln!(out, "{}", one.to_json())),
            Format::Table if listed.is_empty() => Ok(()),
            Format::Table => exemptions::write_table(&mut out, &listed),
        };
        written.and_then(|()| out.flush()).context("could not write to stdout")?;
        let soon = listed.iter().filter(|one| one.ends_soon()).count();
        let (count, days) = (counted(listed.len() as u64, "exemption", "exemptions"), exemptions::SOON_DAYS);
        say(&format!("{count}; ending within {days} days: {soon}"));
        Ok(ended(0))
    }
}

impl Current {
    async fn read(place: &PolicyPlace, ledger: &LedgerPlace, read_only: bool) -> anyhow::Result<Self> {
        match place {
            PolicyPlace::File(path) => {
                let text = read_policy_file(path)?;
                let policy = Policy::parse(&text, path).map_err(PolicyFileError::Invalid)?;
                Ok(Self { text, policy, path: path.clone(), version: None })
            }
            PolicyPlace::Ledger => {
                // One that is not there is not made.
                let reader = to_read(ledger).await?;
                let (version, policy) = reader.current_policy().await?;
                let store = if read_only { reader } else { instead_of(reader, ledger).await? };
                let path = PathBuf::from(format!("(policy version {})", version.number));
                let text = version.text.clone();
                let newest = NewestPolicy { number: version.number, version: Ok(version) };
                Ok(Self { text, policy, path, version: Some((newest, store)) })
            }
        }
    }
}

impl Target {
    /// Reads the policy, edits its text, shows what changes, asks, and writes it.
    fn edit(
        self,
        reason: &str,
        said: &str,
        edit: impl FnOnce(&Current) -> anyhow::Result<String>,
    ) -> anyhow::Result<ExitCode> {
        if !self.confirmation.can_ask() {
            return Ok(Exit::Usage.into());
        }
        runtime()?.block_on(async {
            let read_only = self.confirmation.dry_run;
            let current = Current::read(&self.policy, &self.ledger, read_only).await?;
            let text = edit(&current)?;
            let policy = Policy::parse(&text, &current.path).map_err(PolicyFileError::Invalid)?;
            let wrong = current.version.as_ref().and_then(|_| check_policy_text(&text).err());
            if let Some(wrong) = wrong {
                say(&format!("error: {}: {wrong}", shown(&current.path)));
                return Ok(Exit::Usage.into());
            }
            say_warnings(&policy, &current.path, SystemClock.now());
            say(said);
            let done = match current.version {
                Some((newest, store)) => {
                    let (ledger, confirmation) = (self.ledger, self.confirmation);
                    let reason = Some(reason.to_owned());
                    let options = Options { ledger, reason, confirmation, text_of: None };
                    options.append(&store, Some(newest), text, &policy).await?
                }
                None => self.write_file(&current, &text, &policy).await?,
            };
            Ok(done.into())
        })
    }

    /// Shows what changes, asks, and replaces the file.
    async fn write_file(&self, current: &Current, text: &str, policy: &Policy) -> anyhow::Result<Exit> {
        let unreadable = self.show_changes(&current.policy, policy).await?;
        let done = if unreadable == 0 { Exit::Done } else { Exit::Unreadable };
        if self.confirmation.dry_run {
            return Ok(done);
        }
        if !self.confirmation.is_given(&format!("write {}?", shown(&current.path)))? {
            return Ok(Exit::Failed);
        }
        file::replace(&current.path, &current.text, text)?;
        say(&format!(
            "{} was written (sha256 {}); the function uses it once it is deployed",
            shown(&current.path),
            policy.sha256()
        ));
        Ok(done)
    }

    /// Shows whose verdict changes, where there is a ledger. Returns how many of its items could not be read.
    async fn show_changes(&self, old: &Policy, new: &Policy) -> anyhow::Result<usize> {
        if self.ledger.to_string() == DEFAULT_LEDGER && !self.ledger.may_be_there() {
            say(&format!(
                "note: there is no ledger {}, so whose verdict changes is not known; name one with --ledger",
                self.ledger
            ));
            return Ok(0);
        }
        let store = to_read(&self.ledger).await?;
        let changes = Changes::read(&store, Some(old), new, SystemClock.now()).await?;
        changes.write(self.confirmation.format).context("could not write to stdout")?;
        Ok(changes.unreadable)
    }
}
