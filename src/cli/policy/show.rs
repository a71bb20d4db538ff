//! `policy show`: what a policy allows, in sentences.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use key_guard_core::key::{AccountId, Service};
use key_guard_core::policy::{Layer, PolicyPlaces, Services};
use serde_json::{Value, json};

use super::exemptions::{self, ListedExemption};
use super::source::{Loaded, PolicyArgument};
use super::terms;
use crate::cli::exit::{Exit, ended};
use crate::cli::messages::say;
use crate::cli::output::stdout;
use crate::cli::setup::{LEDGER_VARIABLE, LedgerPlace, runtime, to_read};
use crate::clock::{Clock as _, SystemClock};
use key_guard_core::Time;

/// Explains the rules of a policy in sentences, for each service and account
///
/// The first line that is for a key applies to it. Behind each is the rule that it comes from, and its line in the policy's
/// text.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard policy show policy.toml
      what the file allows
  bedrock-key-guard policy show ledger: --ledger dynamodb:bedrock-key-guard
      what the function allows where KEY_GUARD_POLICY is `ledger:`
  bedrock-key-guard policy show --format json
      the built-in policy, for scripts

Exit codes:
  0 done   1 failed   2 usage, or the file is not valid")]
pub struct Show {
    /// A file, the number of a version in the ledger, `ledger:` (the current version) or `built-in`
    #[arg(value_name = "POLICY", default_value = "built-in")]
    policy: PolicyArgument,

    /// The ledger that has the version: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, value_name = "LEDGER")]
    ledger: Option<LedgerPlace>,

    /// How it is written to stdout
    #[arg(long, value_enum, default_value_t = ShowFormat::Text)]
    format: ShowFormat,
}

/// How a policy is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ShowFormat {
    /// For people.
    Text,
    /// One object, for scripts.
    Json,
}

impl Show {
    /// Runs it.
    ///
    /// # Errors
    /// When the policy is not valid or cannot be read.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { policy, ledger, format } = self;
        let loaded = match &ledger {
            _ if !policy.needs_ledger() => runtime()?.block_on(policy.load(None))?,
            None => {
                say("error: versions of the policy are in a ledger: name it with --ledger");
                return Ok(Exit::Usage.into());
            }
            Some(place) => runtime()?.block_on(async { policy.load(Some(&to_read(place).await?)).await })?,
        };
        let now = SystemClock.now();
        for warning in loaded.policy.warnings(now) {
            say(&format!("warning: {}: {warning}", loaded.name));
        }
        let (shown, mut out) = (ShownPolicy::new(&loaded), stdout());
        let written = match format {
            ShowFormat::Text => shown.write(&mut out, now),
            ShowFormat::Json => writeln!(out, "{}", shown.to_json(now)).and_then(|()| out.flush()),
        };
        written.context("could not write to stdout")?;
        Ok(ended(0))
    }
}

/// A policy with where its rules are.
struct ShownPolicy<'a> {
    loaded: &'a Loaded,
    /// The first that is for a key applies: the last one of the text comes first.
    layers: Vec<Layer<'a>>,
    places: Option<PolicyPlaces>,
}

impl<'a> ShownPolicy<'a> {
    fn new(loaded: &'a Loaded) -> Self {
        let mut layers = loaded.policy.layers();
        layers.reverse();
        Self { loaded, layers, places: PolicyPlaces::find(&loaded.text) }
    }

    fn line(&self, layer: &Layer<'_>) -> Option<usize> {
        self.places.as_ref().and_then(|places| places.line(layer.rule))
    }

    /// A rule in sentences, with where it is from.
    fn explain(&self, layer: &Layer<'_>) -> String {
        let place = self.line(layer).map_or_else(String::new, |line| format!(", line {line}"));
        let users = terms::users(layer).map_or_else(String::new, |users| format!("{users}: "));
        format!("{users}{} ({}{place})", terms::sentences(layer), layer.rule)
    }

    /// Which rules are for keys of a service in an account, the first one before others. `None`: in any other account. What
    /// comes after a rule for all users never applies.
    fn reach(&self, service: Option<&Service>, account: Option<&AccountId>) -> Vec<usize> {
        let is_for = |layer: &Layer<'_>| {
            let has_service = match service {
                Some(service) => layer.services.include(service),
                None => layer.services == Services::All,
            };
            let has_account =
                layer.accounts.is_none_or(|ids| account.is_some_and(|account| ids.contains(account)));
            has_service && has_account
        };
        let mut reached = Vec::new();
        for (index, layer) in self.layers.iter().enumerate().filter(|(_, layer)| is_for(layer)) {
            reached.push(index);
            if layer.users.as_ref().is_none_or(|users| users.contains(&"*")) {
                break;
            }
        }
        reached
    }

    /// The accounts that rules name for a service, those with the same rules together, and all others.
    fn groups(&self, service: Option<&Service>) -> Vec<(String, Vec<usize>)> {
        let others = self.reach(service, None);
        let named: BTreeSet<&AccountId> =
            self.layers.iter().filter_map(|layer| layer.accounts).flatten().collect();
        let mut by_rules: BTreeMap<Vec<usize>, Vec<&AccountId>> = BTreeMap::new();
        for account in named {
            let rules = self.reach(service, Some(account));
            if rules != others {
                by_rules.entry(rules).or_default().push(account);
            }
        }
        let every = if by_rules.is_empty() { "in every account" } else { "in every other account" };
        let in_accounts = by_rules.into_iter().map(|(rules, accounts)| {
            let word = if accounts.len() == 1 { "account" } else { "accounts" };
            (format!("in {word} {}", terms::join(accounts.into_iter().map(ToString::to_string))), rules)
        });
        in_accounts.chain([(every.to_owned(), others)]).collect()
    }

    /// The services with rules of their own. `None`: all others, where the policy judges every service.
    fn services(&self) -> Vec<Option<&Service>> {
        match self.loaded.policy.services() {
            Services::Listed(services) => services.iter().map(Some).collect(),
            Services::All => {
                let named: BTreeSet<_> = self
                    .layers
                    .iter()
                    .flat_map(|layer| match &layer.services {
                        Services::All => &[][..],
                        Services::Listed(services) => services.as_slice(),
                    })
                    .map(Some)
                    .collect();
                named.into_iter().chain([None]).collect()
            }
        }
    }

    fn write(&self, out: &mut impl Write, now: Time) -> io::Result<()> {
        let Loaded { name, policy, text } = self.loaded;
        writeln!(out, "{name}, sha256 {}", policy.sha256())?;
        for service in self.services() {
            let service_name = match service {
                Some(service) => service.to_string(),
                None => "every other service with API keys".to_owned(),
            };
            writeln!(out, "\n{service_name}")?;
            for (accounts, rules) in self.groups(service) {
                writeln!(out, "  {accounts}:")?;
                for layer in rules.iter().filter_map(|index| self.layers.get(*index)) {
                    writeln!(out, "    {}", self.explain(layer))?;
                }
            }
        }
        match policy.services() {
            Services::All => {}
            Services::Listed(_) => writeln!(out, "\nKeys for other services are not judged.")?,
        }
        writeln!(
            out,
            "\nAt most {} deletions start in an hour in one account; what is over is deactivated instead. The function's \
             ceilings bound every response.",
            policy.max_actions_per_hour()
        )?;
        let listed = ListedExemption::all(policy, text, now);
        if listed.is_empty() {
            writeln!(out, "\nNobody is exempt.")?;
        } else {
            writeln!(
                out,
                "\nExempt, whatever the lifetime of the key, until the end of the last day in UTC:"
            )?;
            exemptions::write_table(out, &listed)?;
        }
        out.flush()
    }

    fn to_json(&self, now: Time) -> Value {
        let Loaded { name, policy, text } = self.loaded;
        let names = |services: &Services| match services {
            Services::All => json!("*"),
            Services::Listed(services) => {
                services.iter().map(|service| Value::from(service.as_str())).collect()
            }
        };
        let rule = |layer: &Layer<'_>| {
            json!({
                "rule": layer.rule.to_string(),
                "line": self.line(layer),
                "services": names(&layer.services),
                "accounts": layer.accounts.map(|ids| ids.iter().map(AccountId::as_str).collect::<Vec<_>>()),
                "users": layer.users,
                "max_lifetime_days": layer.limit_days,
                "response": layer.response.as_str(),
                "grace_days": layer.grace_days,
                "explanation": terms::sentences(layer),
            })
        };
        let exemptions = ListedExemption::all(policy, text, now);
        json!({
            "policy": name,
            "sha256": policy.sha256(),
            "services": names(policy.services()),
            "max_actions_per_hour": policy.max_actions_per_hour(),
            "rules": self.layers.iter().map(rule).collect::<Vec<_>>(),
            "exemptions": exemptions.iter().map(ListedExemption::to_json).collect::<Vec<_>>(),
        })
    }
}
