//! `policy log`: the versions of the policy in a ledger.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::SecondsFormat;
use comfy_table::{Attribute, Cell};
use serde_json::json;

use super::Format;
use crate::cli::exit::ended;
use crate::cli::filters::whole_number;
use crate::cli::messages::{Warnings, say};
use crate::cli::output::{plain_table, stdout, wants_colour, write_table};
use crate::cli::setup::{DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, runtime, to_read};
use crate::ledger::policy::PolicyVersion;
use key_guard_core::text::sanitize_line;

/// So many characters of a SHA-256 tell versions apart.
const SHORT_SHA256: usize = 12;

/// Lists the versions of the policy in a ledger, the newest first, or prints one
///
/// The newest one is current: the function uses it where `KEY_GUARD_POLICY` is `ledger:`, and so do `replay` and
/// `sweep` with `--policy ledger:`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard policy log --ledger dynamodb:bedrock-key-guard
      who pushed what, and when
  bedrock-key-guard policy log --ledger dynamodb:bedrock-key-guard --format jsonl
      the same, one version to a line
  bedrock-key-guard policy log --ledger dynamodb:bedrock-key-guard --version 3 > policy.toml
      the file, as it was pushed

Exit codes:
  0 done   1 failed   2 usage   4 some versions could not be read, the rest were listed")]
pub struct Log {
    /// The ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// Print the file that was pushed as this version
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = whole_number(1..=u32::MAX))]
    version: Option<u32>,

    /// How the list is written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "version")]
    format: Format,
}

impl Log {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        const WRITE: &str = "could not write to stdout";
        runtime()?.block_on(async {
            let store = to_read(&self.ledger).await?;
            if let Some(number) = self.version {
                let version = store.policy_version(number).await?;
                let version =
                    version.with_context(|| format!("the ledger has no version {number} of the policy"))?;
                stdout().write_all(version.text.as_bytes()).context(WRITE)?;
                return Ok(ended(0));
            }
            let (mut versions, mut unreadable) = (Vec::new(), Vec::new());
            for version in store.policy_versions().await? {
                match version {
                    Ok(version) => versions.push(version),
                    Err(error) => unreadable.push(error),
                }
            }
            if versions.is_empty() && unreadable.is_empty() {
                let ledger = &self.ledger;
                say(&format!(
                    "the ledger {ledger} has no version of the policy; push one with: bedrock-key-guard policy push FILE --ledger \
                     {ledger}"
                ));
            }
            versions.reverse();
            write(&versions, self.format).context(WRITE)?;
            Ok(ended(Warnings::default().warn_unreadable(&unreadable)))
        })
    }
}

fn write(versions: &[PolicyVersion], format: Format) -> io::Result<()> {
    let mut out = stdout();
    match format {
        Format::Jsonl => {
            for version in versions {
                let PolicyVersion { number, text: _, sha256, pushed_at, pushed_by, reason } = version;
                let line = json!({
                    "version": number,
                    "pushed_at": pushed_at,
                    "pushed_by": pushed_by,
                    "sha256": sha256,
                    "reason": reason,
                });
                writeln!(out, "{line}")?;
            }
        }
        Format::Table if versions.is_empty() => {}
        Format::Table => {
            let mut table = plain_table(wants_colour());
            let titles = ["VERSION", "PUSHED (UTC)", "SHA-256", "BY", "REASON"];
            table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
            for PolicyVersion { number, text: _, sha256, pushed_at, pushed_by, reason } in versions {
                table.add_row([
                    number.to_string(),
                    pushed_at.to_rfc3339_opts(SecondsFormat::Secs, true),
                    sha256.chars().take(SHORT_SHA256).collect(),
                    sanitize_line(pushed_by),
                    sanitize_line(reason.as_deref().unwrap_or("-")),
                ]);
            }
            write_table(&mut out, table)?;
        }
    }
    out.flush()
}
