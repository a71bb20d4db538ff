//! `prevent`: documents for AWS that deny the creation of keys, from the policy file.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::exit::Exit;
use super::messages::{counted, say, shown};
use super::output::stdout;
use super::setup::load_policy;
use crate::clock::{Clock, SystemClock};
use crate::prevent::{BreakGlass, Document, Kind, Options, Partition, Protection, document, protection};
use key_guard_core::cloudtrail;

/// Prints policies and event patterns for AWS that match the policy file
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  bedrock-key-guard prevent scp --policy policy.toml > scp.json
      for the organization: no account can create a key that the policy file forbids
  bedrock-key-guard prevent permission-boundary --policy policy.toml > boundary.json
      for single users and roles
  bedrock-key-guard prevent event-pattern > pattern.json
      for an EventBridge rule of your own")]
pub enum PreventCommand {
    /// Prints a service control policy that denies the keys which the policy file forbids
    ///
    /// Keys without an age are denied by a statement of their own: a limit alone does not stop them. One
    /// JSON document goes to stdout; what it does not cover to stderr.
    #[command(after_help = "\
Examples:
  bedrock-key-guard prevent scp > scp.json
      for the built-in policy
  bedrock-key-guard prevent scp --policy policy.toml --break-glass 'arn:aws:iam::*:role/break-glass'
      a role that may create any key, in every account
  bedrock-key-guard prevent scp --protect --protect-trails --break-glass 'arn:aws:iam::*:role/break-glass'
      keeps the guard's own resources in members as they are, and their trails

Exit codes:
  0 done   1 failed: nothing to deny, or too long for AWS   2 usage, or an invalid policy")]
    Scp(ScpAsked),

    /// Prints the same denials as a permission boundary for users and roles that create keys
    ///
    /// It allows whatever is not denied, and so grants nothing beyond what a user's or role's own policies
    /// allow. One JSON document goes to stdout; what it does not cover to stderr.
    #[command(after_help = "\
Examples:
  bedrock-key-guard prevent permission-boundary > boundary.json
      for the built-in policy
  bedrock-key-guard prevent permission-boundary --policy policy.toml > boundary.json
      for a policy file
  bedrock-key-guard prevent permission-boundary --deny-use > boundary.json
      denies the use of long-term keys, too

Exit codes:
  0 done   1 failed: nothing to deny, or too long for AWS   2 usage, or an invalid policy")]
    PermissionBoundary(Asked),

    /// Prints the EventBridge pattern for the events that the guard acts on
    ///
    /// It is the same for every policy file. One JSON document goes to stdout; what it does not cover to
    /// stderr.
    #[command(after_help = "\
Examples:
  bedrock-key-guard prevent event-pattern > pattern.json
      into a file
  aws events put-rule --name keys --event-pattern \"$(bedrock-key-guard prevent event-pattern)\"
      for a rule of your own
  bedrock-key-guard prevent event-pattern | diff - pattern.json
      has it changed since?

Exit codes:
  0 done   1 failed   2 usage")]
    EventPattern,
}

/// A service control policy: about keys, or about the guard itself.
#[derive(Debug, clap::Args)]
pub struct ScpAsked {
    #[command(flatten)]
    asked: Asked,

    /// Keep the guard's own resources in members as they are instead: rules, roles, schedules, queues, alarms and stacks.
    /// Only StackSets and --break-glass may change them
    #[arg(long, conflicts_with_all = ["policy", "deny_use", "plain_users"])]
    protect: bool,

    /// Deny stopping, deleting and changing any trail of a member, too. Who manages such trails needs --break-glass
    #[arg(long, requires = "protect")]
    protect_trails: bool,
}

/// What is denied, and to whom.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// The policy file [default: the built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Deny the use of long-term Bedrock and Claude Platform keys, too, whatever their age
    #[arg(long)]
    deny_use: bool,

    /// A role or user that may create any key, as an ARN in which * and ? are wildcards; may be repeated
    #[arg(long, value_name = "ARN")]
    break_glass: Vec<BreakGlass>,

    /// Which AWS the ARNs are of
    #[arg(long, value_enum, default_value_t = Partition::Aws)]
    partition: Partition,

    /// No IAM user has a path, and the policy file names users in the case that IAM has: then rules for
    /// users can be said exactly
    #[arg(long)]
    plain_users: bool,
}

impl PreventCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When there is nothing to print, or it could not be printed: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Scp(ScpAsked { asked, protect: true, protect_trails }) => asked.protect(protect_trails),
            Self::Scp(ScpAsked { asked, .. }) => asked.run(Kind::ServiceControlPolicy),
            Self::PermissionBoundary(asked) => asked.run(Kind::PermissionBoundary),
            Self::EventPattern => {
                print(&format!("{:#}\n", cloudtrail::pattern()))?;
                say("not covered:");
                say(
                    "  Regions other than us-east-1 (us-gov-west-1 in GovCloud, cn-north-1 in China, eusc-de-east-1 in the",
                );
                say("  European Sovereign Cloud): IAM's events come there only");
                say("  times when no trail logs management write events");
                say("  events that AWS does not deliver: delivery is best effort");
                Ok(Exit::Done.into())
            }
        }
    }
}

impl Asked {
    /// Whether every ARN is of the partition that is asked for. Says which one is not.
    fn has_one_partition(&self) -> bool {
        for principal in &self.break_glass {
            if principal.partition() != self.partition {
                say(&format!(
                    "error: --break-glass {}: expected an ARN of the partition {}, as --partition says",
                    principal.as_str(),
                    self.partition.as_str()
                ));
                return false;
            }
        }
        true
    }

    fn protect(self, trails: bool) -> anyhow::Result<ExitCode> {
        if !self.has_one_partition() {
            return Ok(Exit::Usage.into());
        }
        let Self { break_glass, partition, .. } = self;
        let made = protection(&Protection { break_glass, partition, trails })?;
        print(&made.text)?;
        explain(Kind::ServiceControlPolicy, &made);
        Ok(Exit::Done.into())
    }

    fn run(self, kind: Kind) -> anyhow::Result<ExitCode> {
        if !self.has_one_partition() {
            return Ok(Exit::Usage.into());
        }
        let policy = load_policy(self.policy.as_deref())?;
        let now = SystemClock.now();
        if let Some(file) = &self.policy {
            for warning in policy.warnings(now) {
                say(&format!("warning: {}: {warning}", shown(file)));
            }
        }
        let options = Options {
            deny_use: self.deny_use,
            break_glass: self.break_glass,
            partition: self.partition,
            plain_users: self.plain_users,
        };
        let made = document(kind, &policy, &options, now)?;
        print(&made.text)?;
        explain(kind, &made);
        Ok(Exit::Done.into())
    }
}

fn explain(kind: Kind, made: &Document) {
    let Document { text: _, denials, characters, max_characters, gaps, not_covered } = made;
    let denials = counted(*denials as u64, "statement that denies", "statements that deny");
    say(&format!("{kind}: {denials}, {characters} of {max_characters} characters"));
    if !gaps.is_empty() {
        say("not denied, though the policy file forbids it:");
        for gap in gaps {
            say(&format!("  {gap}"));
        }
    }
    say("not covered:");
    for line in not_covered {
        say(&format!("  {line}"));
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("could not write to stdout")
}
