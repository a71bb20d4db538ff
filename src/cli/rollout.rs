//! `rollout`: from the ledger, whether it is time for the next ceiling.

mod criteria;
mod observed;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use comfy_table::{Attribute, Cell};
use serde_json::{Value, json};

use super::exit::ended;
use super::messages::counted;
use super::output::{plain_table, stdout, wants_colour, write_table};
use super::setup::{DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, runtime, to_read};
use crate::clock::{Clock as _, SystemClock};
use criteria::{Checked, Holds, QUARANTINE_SETTING, Stage, not_known};
use observed::Observed;

/// Says from the ledger whether it is time for the next ceiling, and why not
///
/// The stages and their criteria are those of docs/rollout.md. The stage is what the guard has done so far: name it with
/// --stage if a ceiling was lowered again. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard rollout --ledger dynamodb:bedrock-key-guard
      the criteria of the stage that you are in, and the next step
  bedrock-key-guard rollout --ledger dynamodb:bedrock-key-guard --stage monitor
      the same after a ceiling was lowered to monitor again
  bedrock-key-guard rollout --ledger dynamodb:bedrock-key-guard --format json
      for scripts: `ready`, each criterion with `holds`, `next_command` and `next_policy_setting`

With a table, needs dynamodb:Scan (it reads the whole table) and dynamodb:Query.

Exit codes:
  0 done, whether it is time or not   1 failed   2 usage   4 done, but some items could not be read")]
pub struct Rollout {
    /// The ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// The stage that you are in [default: what the guard has done so far]
    #[arg(long, value_enum)]
    stage: Option<Stage>,

    /// How it is written to stdout
    #[arg(long, value_enum, default_value_t = RolloutFormat::Text)]
    format: RolloutFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RolloutFormat {
    /// For people.
    Text,
    /// One object, for scripts.
    Json,
}

impl Rollout {
    /// Runs it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { ledger, stage, format } = self;
        let observed = runtime()?
            .block_on(async { Observed::read(&to_read(&ledger).await?, SystemClock.now()).await })?;
        let assessment = Assessed::new(observed, stage, &ledger.to_string());
        let mut out = stdout();
        let written = match format {
            RolloutFormat::Text => assessment.write(&mut out),
            RolloutFormat::Json => writeln!(out, "{}", assessment.to_json()).and_then(|()| out.flush()),
        };
        written.context("could not write to stdout")?;
        Ok(ended(usize::try_from(assessment.observed.errors.unreadable).unwrap_or(usize::MAX)))
    }
}

/// A stage, and whether it may end.
struct Assessed {
    observed: Observed,
    stage: Stage,
    /// Whether the stage was named.
    is_named: bool,
    checked: Vec<Checked>,
}

impl Assessed {
    fn new(observed: Observed, named: Option<Stage>, ledger: &str) -> Self {
        let stage = named.unwrap_or_else(|| Stage::of(&observed));
        let checked = stage.criteria().iter().map(|criterion| criterion.check(&observed, ledger)).collect();
        Self { observed, stage, is_named: named.is_some(), checked }
    }

    fn failed(&self) -> impl Iterator<Item = &Checked> {
        self.checked.iter().filter(|checked| checked.holds == Holds::No)
    }

    fn is_ready(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The one command that comes next: towards the first criterion that does not hold, or the next stage. What only time
    /// brings comes after what can be done. `None`: all is well in the last stage.
    fn next_command(&self) -> Option<&str> {
        let to_do = self.failed().find(|failed| !failed.criterion.is_about_time());
        match to_do.or_else(|| self.failed().next()) {
            Some(failed) => Some(&failed.command),
            None => self.stage.next().map(Stage::command),
        }
    }

    /// What the policy has to say before that command.
    fn next_policy_setting(&self) -> Option<&'static str> {
        (self.next_command() == Some(Stage::Quarantine.command())).then_some(QUARANTINE_SETTING)
    }

    fn facts(&self) -> [(&'static str, String); 7] {
        let observed = &self.observed;
        let since = observed.since.map_or_else(
            || "nothing yet".to_owned(),
            |since| {
                let days = u64::try_from((observed.now - since).num_days()).unwrap_or_default();
                format!("{}, since {}", counted(days, "day", "days"), since.date_naive())
            },
        );
        let by_response: Vec<_> =
            observed.noncompliant.iter().map(|(response, keys)| format!("{keys} {response}")).collect();
        let by_response =
            if by_response.is_empty() { String::new() } else { format!(" ({})", by_response.join(", ")) };
        let in_use = match observed.use_not_known {
            0 => observed.in_use.to_string(),
            keys => format!("{}; {}", observed.in_use, not_known(keys)),
        };
        [
            ("observed", since),
            ("keys that exist", format!("{} ({} only in a dry run)", observed.keys, observed.dry_runs)),
            ("active and noncompliant", format!("{}{by_response}", observed.active_noncompliant())),
            ("would be acted upon", observed.would_be_acted_upon().to_string()),
            ("in use, of these", in_use),
            (
                "quarantine, deletion",
                format!("{} in quarantine, {} deleted", observed.quarantined, observed.deleted),
            ),
            (
                "held back",
                format!(
                    "{} by the ceiling, {} by the breaker within {} days",
                    observed.held_back_by_ceiling,
                    observed.held_back_by_breaker,
                    observed::QUIET.num_days()
                ),
            ),
        ]
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let by = if self.is_named { "" } else { ", by what the guard has done (--stage names another one)" };
        writeln!(out, "stage {}{by}\n", self.stage.title())?;
        let mut table = plain_table(wants_colour());
        for (name, value) in self.facts() {
            table.add_row([name, &value]);
        }
        write_table(out, table)?;
        writeln!(out)?;
        let mut table = plain_table(wants_colour());
        let titles = ["CRITERION", "HOLDS", "WHY"];
        table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
        for Checked { criterion, holds, why, command: _ } in &self.checked {
            table.add_row([criterion.text(), holds.as_str(), why]);
        }
        write_table(out, table)?;
        let verdict = match (self.failed().count(), self.stage.next()) {
            (0, Some(next)) => format!("it is time for stage {}", next.title()),
            (0, None) => "all criteria of the last stage hold".to_owned(),
            (failed, _) => {
                let verb = if failed == 1 { "does" } else { "do" };
                format!("not yet: {failed} of {} criteria {verb} not hold", self.checked.len())
            }
        };
        writeln!(out, "\n{verdict}")?;
        let asked = self.checked.iter().filter(|checked| checked.holds == Holds::NotInLedger);
        for Checked { criterion, command, .. } in asked {
            writeln!(out, "see for yourself that {}: {command}", criterion.text())?;
        }
        if let Some(setting) = self.next_policy_setting() {
            writeln!(
                out,
                "first: {setting} in the policy (`policy check` and `policy push`, or the file that is deployed)"
            )?;
        }
        if let Some(command) = self.next_command() {
            writeln!(out, "next: {command}")?;
        }
        out.flush()
    }

    fn to_json(&self) -> Value {
        let Observed {
            now,
            since,
            first_deactivation,
            first_quarantine,
            grace_days,
            deleted,
            keys,
            dry_runs,
            noncompliant,
            in_use,
            use_not_known,
            without_owner,
            quarantined,
            quarantined_and_active,
            activated_again,
            held_back_by_ceiling,
            held_back_by_breaker,
            errors,
        } = &self.observed;
        let noncompliant: serde_json::Map<_, _> =
            noncompliant.iter().map(|(response, keys)| (response.to_string(), json!(keys))).collect();
        json!({
            "stage": self.stage.as_str(),
            "next_stage": self.stage.next().map(Stage::as_str),
            "ready": self.is_ready(),
            "criteria": self.checked.iter().map(checked_json).collect::<Vec<_>>(),
            "next_command": self.next_command(),
            "next_policy_setting": self.next_policy_setting(),
            "as_of": now,
            "observed_since": since,
            "first_deactivation": first_deactivation,
            "first_quarantine": first_quarantine,
            "grace_days": grace_days,
            "keys": keys,
            "dry_runs": dry_runs,
            "active_noncompliant_by_response": noncompliant,
            "would_be_acted_upon": self.observed.would_be_acted_upon(),
            "in_use": (*use_not_known == 0).then_some(in_use),
            "use_not_known": use_not_known,
            "without_owner": without_owner,
            "quarantined": quarantined,
            "quarantined_and_active": quarantined_and_active,
            "activated_again": activated_again,
            "deleted": deleted,
            "held_back_by_ceiling": held_back_by_ceiling,
            "held_back_by_breaker": held_back_by_breaker,
            "undetermined": errors.undetermined,
            "overdue": errors.overdue,
            "silent_accounts": errors.silent_accounts,
            "unreadable": errors.unreadable,
        })
    }
}

fn checked_json(Checked { criterion, holds, why, command }: &Checked) -> Value {
    let holds = match holds {
        Holds::Yes => Some(true),
        Holds::No => Some(false),
        Holds::NotInLedger => None,
    };
    json!({
        "criterion": criterion.as_str(),
        "text": criterion.text(),
        "holds": holds,
        "why": why,
        "command": command,
    })
}
