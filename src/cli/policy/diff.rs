//! `policy diff`: which rules differ between two policies, and whose verdict changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use comfy_table::{Attribute, Cell};
use key_guard_core::policy::{Policy, Rule};
use serde_json::json;

use super::Format;
use super::changes::Changes;
use super::source::PolicyArgument;
use super::terms;
use crate::cli::exit::{Exit, ended};
use crate::cli::messages::say;
use crate::cli::output::{plain_table, stdout, wants_colour, write_table};
use crate::cli::setup::{LEDGER_VARIABLE, LedgerPlace, runtime, to_read};
use crate::clock::{Clock as _, SystemClock};

/// Shows whose verdict changes under another policy, or which rules differ
///
/// With a ledger, all of its keys that exist are assessed under both policies, as of now: the keys whose verdict or response
/// changes are listed by account and user. Without a ledger, the rules that differ are listed. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard policy diff policy.toml new.toml
      which rules differ
  bedrock-key-guard policy diff ledger: new.toml --ledger dynamodb:bedrock-key-guard
      whose verdict would change if new.toml were pushed
  bedrock-key-guard policy diff 3 4 --ledger dynamodb:bedrock-key-guard --format jsonl
      whose verdict differs between versions 3 and 4

With a table, needs dynamodb:Scan (it reads all keys), and for versions dynamodb:Query and
dynamodb:BatchGetItem.

Exit codes:
  0 done, whether something changes or not   1 failed   2 usage, or a file is not valid
  4 done, but some keys could not be read")]
pub struct Diff {
    /// The policy until now: a file, the number of a version in the ledger, `ledger:` (the current version) or `built-in`
    #[arg(value_name = "OLD")]
    old: PolicyArgument,

    /// The other policy: the same
    #[arg(value_name = "NEW")]
    new: PolicyArgument,

    /// The ledger whose keys are assessed: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, value_name = "LEDGER")]
    ledger: Option<LedgerPlace>,

    /// How the result is written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Diff {
    /// Runs it.
    ///
    /// # Errors
    /// When a policy is not valid, or it could not do its work.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        const WRITE: &str = "could not write to stdout";
        let Self { old, new, ledger, format } = self;
        if ledger.is_none() && (old.needs_ledger() || new.needs_ledger()) {
            say("error: versions of the policy are in a ledger: name it with --ledger");
            return Ok(Exit::Usage.into());
        }
        runtime()?.block_on(async {
            let store = match &ledger {
                Some(place) => Some(to_read(place).await?),
                None => None,
            };
            let old = old.load(store.as_ref()).await?.policy;
            let new = new.load(store.as_ref()).await?.policy;
            let mut out = stdout();
            let Some(store) = store else {
                write_rules(&mut out, &differing_rules(&old, &new), format).context(WRITE)?;
                return Ok(ended(0));
            };
            let changes = Changes::read(&store, Some(&old), &new, SystemClock.now()).await?;
            match format {
                Format::Table => writeln!(out, "{}", changes.summary()).context(WRITE)?,
                Format::Jsonl => say(&changes.summary()),
            }
            changes.write_keys(&mut out, format).context(WRITE)?;
            Ok(ended(changes.unreadable))
        })
    }
}

/// A rule that two policies do not have in common.
#[derive(Debug, PartialEq, Eq)]
struct RuleDifference {
    rule: String,
    /// What the old policy says. `None`: nothing.
    old: Option<String>,
    /// What the new policy says. `None`: nothing.
    new: Option<String>,
}

/// The rules of a policy, each by whom it is for, in order.
fn rules(policy: &Policy) -> Vec<(String, String)> {
    let mut rules = vec![("[default] services".to_owned(), terms::services(policy.services()))];
    rules.extend(policy.layers().iter().map(|layer| {
        let name = match layer.rule {
            Rule::Default => "[default]".to_owned(),
            Rule::Override(_) => format!("override for {}", terms::whose(layer, policy)),
        };
        (name, terms::terms(layer))
    }));
    rules.push(("[default] max_actions_per_hour".to_owned(), policy.max_actions_per_hour().to_string()));
    rules.extend(policy.exemptions().iter().map(|exemption| {
        let user = exemption.user.as_str().to_ascii_lowercase();
        (
            format!("exemption of {user} in {}", exemption.account),
            format!("until {}: {}", exemption.until, exemption.reason),
        )
    }));
    rules
}

/// Which rules differ. Overrides are compared by whose keys they are for, and then by their order: the last that matches
/// applies.
fn differing_rules(old: &Policy, new: &Policy) -> Vec<RuleDifference> {
    let (old_rules, new_rules) = (rules(old), rules(new));
    let by_name = |rules: &[(String, String)]| {
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, text) in rules {
            by_name.entry(name.clone()).or_default().push(text.clone());
        }
        by_name
    };
    let (old_texts, new_texts) = (by_name(&old_rules), by_name(&new_rules));
    let mut seen = BTreeSet::new();
    let mut differences = Vec::new();
    for (name, _) in old_rules.iter().chain(&new_rules) {
        let (old, new) = (old_texts.get(name), new_texts.get(name));
        if seen.insert(name) && old != new {
            let joined = |texts: Option<&Vec<String>>| texts.map(|texts| texts.join("; "));
            differences.push(RuleDifference { rule: name.clone(), old: joined(old), new: joined(new) });
        }
    }
    let common = |rules: &[(String, String)], others: &BTreeMap<_, _>| {
        let names = rules.iter().map(|(name, _)| name);
        let overrides = names.filter(|name| name.starts_with("override ") && others.contains_key(*name));
        overrides.cloned().collect::<Vec<_>>()
    };
    let (old_order, new_order) = (common(&old_rules, &new_texts), common(&new_rules, &old_texts));
    if old_order != new_order {
        let [old, new] = [old_order, new_order].map(|order| Some(order.join(", then ")));
        differences.push(RuleDifference { rule: "order of the overrides".to_owned(), old, new });
    }
    differences
}

/// Writes the rules that differ, their number first.
fn write_rules(out: &mut impl Write, differences: &[RuleDifference], format: Format) -> io::Result<()> {
    let count = match differences.len() {
        0 => "no rule differs".to_owned(),
        1 => "1 rule differs".to_owned(),
        count => format!("{count} rules differ"),
    };
    match format {
        Format::Jsonl => {
            for RuleDifference { rule, old, new } in differences {
                writeln!(out, "{}", json!({"rule": rule, "old": old, "new": new}))?;
            }
            say(&count);
        }
        Format::Table => {
            writeln!(out, "{count}")?;
            if !differences.is_empty() {
                let mut table = plain_table(wants_colour());
                let titles = ["RULE", "OLD", "NEW"];
                table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
                for RuleDifference { rule, old, new } in differences {
                    table.add_row([
                        rule.as_str(),
                        old.as_deref().unwrap_or("-"),
                        new.as_deref().unwrap_or("-"),
                    ]);
                }
                write_table(out, table)?;
            }
        }
    }
    out.flush()
}
