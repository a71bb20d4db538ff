//! `policy push` and `policy rollback`: another version of the policy.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::SecondsFormat;

use super::changes::Changes;
use super::{Format, say_warnings};
use crate::cli::exit::Exit;
use crate::cli::filters::whole_number;
use crate::cli::messages::{say, shown};
use crate::cli::setup::{
    DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, caller, instead_of, runtime, to_read, to_write,
};
use crate::clock::{Clock as _, SystemClock};
use crate::config::read_policy_file;
use crate::ledger::policy::{AppendedPolicy, NewestPolicy, PolicyVersion, check_policy_text};
use crate::ledger::store::Ledger;
use crate::telemetry::chain;
use key_guard_core::policy::{InvalidPolicy, Policy, Services};
use key_guard_core::text::{is_unprintable, redact};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 400;

/// Makes a policy file the current version in a ledger
///
/// Validates the file, shows whose verdict or response changes as of now, asks, and appends it as a version. The function
/// uses it within 60 seconds where `KEY_GUARD_POLICY` is `ledger:`. Until a first version is there, verdicts are compared with
/// those that the ledger has. Ceilings still apply to every response.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard policy push policy.toml --ledger dynamodb:bedrock-key-guard --dry-run
      whose verdict would change
  bedrock-key-guard policy push policy.toml --ledger dynamodb:bedrock-key-guard --reason SEC-1234
      shows the same, asks, and makes the file the current version
  bedrock-key-guard policy push policy.toml --ledger dynamodb:bedrock-key-guard --yes
      from a pipeline

With a table, needs dynamodb:Query, dynamodb:Scan (it reads all keys) and dynamodb:PutItem.

Exit codes:
  0 done   1 failed, or not confirmed   2 usage, or the file is not valid
  4 done, but some keys could not be read")]
pub struct Push {
    /// The policy file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    options: Options,
}

/// Makes an earlier version of the policy current again
///
/// Appends the text of that version as a new one, so that the log keeps what was current when. Says which version that is and
/// who pushed it, shows whose verdict or response changes, and asks, as `policy push` does. Without --to, a second rollback undoes
/// the first one, as the version before it is the one that it left. To go further back, name the version with --to: `policy log`
/// lists them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard policy rollback --ledger dynamodb:bedrock-key-guard
      back to the version before the current one
  bedrock-key-guard policy rollback --ledger dynamodb:bedrock-key-guard --to 3 --dry-run
      whose verdict would change with version 3
  bedrock-key-guard policy rollback --ledger dynamodb:bedrock-key-guard --reason 'SEC-1240: too strict' --yes
      from a script, with the reason for the log

With a table, needs the same permissions as `policy push`, and dynamodb:BatchGetItem.

Exit codes:
  0 done   1 failed, or not confirmed   2 usage   4 done, but some keys could not be read")]
pub struct Rollback {
    /// The version to go back to [default: the one before the current one]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = whole_number(1..=u32::MAX))]
    to: Option<u32>,

    #[command(flatten)]
    options: Options,
}

/// How a version is appended.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    pub ledger: LedgerPlace,

    /// Why, for the log
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,

    #[command(flatten)]
    pub confirmation: Confirmation,

    /// The version whose text it is, for a rollback.
    #[arg(skip)]
    pub text_of: Option<u32>,
}

/// What is shown, and whether somebody is asked, before a policy changes.
#[derive(Debug, clap::Args)]
pub struct Confirmation {
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    pub yes: bool,

    /// Show what changes, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,

    /// How the keys that change are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// Checks a reason for the log.
pub fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().count() > LONGEST_REASON || text.chars().any(is_unprintable) {
        return Err(format!("expected 1 to {LONGEST_REASON} characters on one line"));
    }
    if redact(text) != text {
        return Err("it has the secret of an API key in it; take it out and delete the key".to_owned());
    }
    Ok(text.to_owned())
}

impl Push {
    /// Runs it.
    ///
    /// # Errors
    /// When the file is not valid, or it could not do its work.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { file, options } = self;
        let text = read_policy_file(&file)?;
        let policy = Policy::parse(&text, &file).map_err(crate::config::PolicyFileError::Invalid)?;
        if let Err(wrong) = check_policy_text(&text) {
            say(&format!("error: {}: {wrong}", shown(&file)));
            return Ok(Exit::Usage.into());
        }
        if !options.confirmation.can_ask() {
            return Ok(Exit::Usage.into());
        }
        say_warnings(&policy, &file, SystemClock.now());
        runtime()?.block_on(async {
            let store = if options.confirmation.dry_run {
                to_read(&options.ledger).await?
            } else {
                to_write(&options.ledger, true).await?
            };
            let newest = store.newest_policy().await?;
            options.append(&store, newest, text, &policy).await.map(ExitCode::from)
        })
    }
}

impl Rollback {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { to, options } = self;
        if !options.confirmation.can_ask() {
            return Ok(Exit::Usage.into());
        }
        runtime()?.block_on(async {
            // One that is not there is not made.
            let reader = to_read(&options.ledger).await?;
            let newest = reader.newest_policy().await?.context("the ledger has no version of the policy")?;
            let before = newest.number.checked_sub(1).filter(|number| *number > 0);
            let number = to.or(before).context("version 1 is the only one; there is none to go back to")?;
            let version = reader.policy_version(number).await?;
            let version =
                version.with_context(|| format!("the ledger has no version {number} of the policy"))?;
            say(&format!(
                "going back to version {number}, from {} by {}{}",
                version.pushed_at.to_rfc3339_opts(SecondsFormat::Secs, true),
                version.pushed_by,
                version.reason.map(|reason| format!(": {reason}")).unwrap_or_default()
            ));
            if to.is_none()
                && let Some(undone) = text_of_current(&reader, &newest).await?
            {
                say(&format!(
                    "note: version {} has the text of version {undone}: if it was a rollback, this undoes it; to go further back, name \
                     a version with --to (`policy log` lists them)",
                    newest.number
                ));
            }
            let text = version.text;
            let policy = Policy::parse(&text, &PathBuf::from(format!("(policy version {number})")))?;
            let store = if options.confirmation.dry_run {
                reader
            } else {
                instead_of(reader, &options.ledger).await?
            };
            let reason = options.reason.unwrap_or_else(|| format!("rollback to version {number}"));
            let options = Options { reason: Some(reason), text_of: Some(number), ..options };
            options.append(&store, Some(newest), text, &policy).await.map(ExitCode::from)
        })
    }
}

/// The earlier version whose text the newest one has. `None`: none has it, or it cannot be read.
async fn text_of_current(store: &Ledger, newest: &NewestPolicy) -> anyhow::Result<Option<u32>> {
    let Ok(current) = &newest.version else { return Ok(None) };
    let versions = store.policy_versions().await?.into_iter().flatten();
    let earlier =
        versions.filter(|version| version.number < current.number && version.sha256 == current.sha256);
    Ok(earlier.map(|version| version.number).max())
}

impl Confirmation {
    /// False, and said, where nobody can be asked.
    pub fn can_ask(&self) -> bool {
        let can_ask = self.yes || self.dry_run || io::stdin().is_terminal();
        if !can_ask {
            say("error: there is no terminal to ask on; give --yes, or --dry-run to see what changes");
        }
        can_ask
    }

    /// Whether it may be done: `--yes`, or the answer to the question. A no is said.
    pub fn is_given(&self, question: &str) -> anyhow::Result<bool> {
        let is_given = self.yes || is_confirmed(question, &mut io::stdin().lock())?;
        if !is_given {
            say("nothing was changed");
        }
        Ok(is_given)
    }
}

impl Options {
    /// Shows what changes, asks, and appends the text as the next version.
    pub async fn append(
        self,
        store: &Ledger,
        newest: Option<NewestPolicy>,
        text: String,
        policy: &Policy,
    ) -> anyhow::Result<Exit> {
        let number = newest.as_ref().map_or(0, |newest| newest.number).saturating_add(1);
        let current = newest.and_then(current);
        if let Some(current) = current.as_ref().filter(|current| current.sha256() == policy.sha256()) {
            say(&format!(
                "version {} is this policy already (sha256 {}); nothing to do",
                number - 1,
                current.sha256()
            ));
            return Ok(Exit::Done);
        }
        let changes = Changes::read(store, current.as_ref(), policy, SystemClock.now()).await?;
        changes.write(self.confirmation.format).context("could not write to stdout")?;
        if let Some(note) = services_note(current.as_ref(), policy)? {
            say(&note);
        }
        let done = if changes.unreadable == 0 { Exit::Done } else { Exit::Unreadable };
        let text_of = self.text_of.map(|earlier| format!(", with the text of version {earlier}"));
        let text_of = text_of.unwrap_or_default();
        if self.confirmation.dry_run {
            if !text_of.is_empty() {
                say(&format!("it would be version {number}{text_of}"));
            }
            return Ok(done);
        }
        let question =
            format!("make this version {number} of the policy{text_of}, which is current at once?");
        if !self.confirmation.is_given(&question)? {
            return Ok(Exit::Failed);
        }
        let version = PolicyVersion {
            number,
            text,
            sha256: policy.sha256().to_owned(),
            pushed_at: SystemClock.now(),
            pushed_by: caller(&self.ledger).await?,
            reason: self.reason,
        };
        match store.append_policy(&version).await? {
            AppendedPolicy::Appended => {
                say(&format!(
                    "version {number} of the policy is current{text_of} (sha256 {})",
                    version.sha256
                ));
                if self.text_of.is_some() {
                    say_how_to_undo(number, &self.ledger);
                }
                Ok(done)
            }
            AppendedPolicy::Conflict => anyhow::bail!(
                "somebody else pushed version {number} of the policy meanwhile, and it is current: see `policy log`, and push again"
            ),
        }
    }
}

/// After a rollback that is this version: the command that undoes it.
fn say_how_to_undo(number: u32, ledger: &LedgerPlace) {
    let left = number.saturating_sub(1);
    say(&format!("to undo this: bedrock-key-guard policy rollback --to {left} --ledger {ledger}"));
}

/// The policy until now. One that cannot be used is said, and compared with nothing: this may be its replacement.
fn current(newest: NewestPolicy) -> Option<Policy> {
    let unusable = match newest.version {
        Ok(version) => match version.policy() {
            Ok(policy) => return Some(policy),
            Err(error) => chain(&error),
        },
        Err(error) => chain(&error),
    };
    say(&format!("warning: {unusable}; verdicts are compared with those that the ledger has"));
    None
}

/// What to deploy where the version judges other services than the one before, or than the built-in policy, which judges
/// the template's default: a push changes no role.
fn services_note(current: Option<&Policy>, new: &Policy) -> Result<Option<String>, InvalidPolicy> {
    let names = |policy: &Policy| match policy.services() {
        Services::All => BTreeSet::from(["*".to_owned()]),
        Services::Listed(services) => services.iter().map(ToString::to_string).collect(),
    };
    let old =
        current.map_or_else(|| Policy::built_in().map(|policy| names(&policy)), |old| Ok(names(old)))?;
    let new = names(new);
    if old == new {
        return Ok(None);
    }
    let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(",");
    let (old, new) = (list(old), list(new));
    Ok(Some(format!(
        "note: this version judges keys for {new}, and not those for {old} as until now. A push changes no role: what the \
         guard's may do follows the template's parameter Services, and IAM denies responses to keys for other services. \
         Deploy Services={new} (docs/deploy.md, Change a parameter), and give members the same (docs/organisation.md)"
    )))
}

/// No answer is no.
fn is_confirmed(question: &str, answers: &mut impl BufRead) -> anyhow::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    answers.read_line(&mut answer).context("could not read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::is_confirmed;

    #[test]
    fn only_yes_is_yes() {
        for (answer, expected) in
            [("y\n", true), (" Y\n", true), ("yes\n", true), ("n\n", false), ("\n", false), ("", false)]
        {
            assert_eq!(is_confirmed("now?", &mut answer.as_bytes()).unwrap(), expected, "{answer:?}");
        }
    }
}
