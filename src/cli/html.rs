//! `report`: the ledger to look at, in one HTML file that fetches nothing.
//!
//! Whatever came from an event is put into the page as JSON, and from there into the document as text; what the page has
//! without a script is escaped by the library that fills its template. The page's own policy allows its one script and its
//! one style, by hash.

mod attention;
mod columns;
pub mod labels;
mod page;
mod person;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;

use super::exit::{Exit, ended};
use super::export::Output;
use super::filters::Filters;
use super::messages::{Warnings, counted, say};
use super::progress::Progress;
use super::rows::fit_to_print;
use super::setup::{
    DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, PolicyPlace, read_policy, runtime, to_read,
};
use crate::clock::{Clock, SystemClock};
use crate::ledger::Cost;
use crate::ledger::audit::attempts::AuditFilter;
use crate::ledger::error::LedgerError;
use crate::ledger::query::{Filter, FoundKey, Search, TooManyDays};
use crate::ledger::store::Ledger;
use key_guard_core::policy::Policy;
use key_guard_core::remediation::Contact;

use attention::Attention;
use page::{Header, Page, describe_filter};

/// How many histories are read at the same time.
const CONCURRENT_KEYS: usize = 32;

/// Writes the ledger as one HTML file, for people who would rather look than read
///
/// What needs attention comes first. The table filters, sorts and opens; what it shows can be saved as CSV. The file needs
/// no network, shows light or dark as the reader's system does, fits a phone and a wall, and prints. The history of each key
/// is read, with a call of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard report
      every key, as bedrock-keys.html
  bedrock-key-guard report --account 111122223333 --output account.html
      all keys of an account
  bedrock-key-guard report --ledger dynamodb:bedrock-key-guard --policy ledger:
      with the exemptions that end within 30 days

Exit codes:
  0 done   1 failed   2 usage   4 some items could not be read, the rest are shown")]
pub struct Html {
    #[command(flatten)]
    filters: Filters,

    /// The ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// The policy whose exemptions that end soon are shown: a file, or `ledger:` for the current version in the ledger
    #[arg(long, value_name = "FILE")]
    policy: Option<PolicyPlace>,

    /// Whom owners of keys ask, as the remediation says: an e-mail address, a URL
    #[arg(long, value_name = "TEXT")]
    contact: Option<Contact>,

    /// Where to: a file, or - for stdout
    #[arg(long, default_value = "bedrock-keys.html", value_name = "FILE")]
    output: PathBuf,

    /// Overwrite the file, if there is one
    #[arg(long)]
    force: bool,
}

/// What was read, beside the keys.
#[derive(Default)]
struct Reading {
    cost: Cost,
    unreadable: usize,
    warnings: Warnings,
    /// What was warned of: a search and a history may meet the same item.
    warned: HashSet<String>,
}

impl Reading {
    fn warn(&mut self, mut unreadable: Vec<LedgerError>) {
        unreadable.retain(|error| self.warned.insert(error.to_string()));
        self.unreadable += self.warnings.warn_unreadable(&unreadable);
    }
}

impl Html {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let now = SystemClock.now();
        let filter = match self.filters.clone().at(now) {
            Ok(filter) => filter,
            Err(wrong) => {
                say(&format!("error: {wrong}"));
                return Ok(Exit::Usage.into());
            }
        };
        let runtime = runtime()?;
        runtime.block_on(async {
            let policy = match &self.policy {
                None => None,
                place => Some(read_policy(place.as_ref(), &self.ledger).await?),
            };
            let store = to_read(&self.ledger).await?;
            let mut reading = Reading::default();
            let page = match self.read(&store, filter, policy.as_ref(), now, &mut reading).await? {
                Ok(page) => page,
                Err(too_many) => {
                    say(&format!("error: {too_many}"));
                    return Ok(Exit::Usage.into());
                }
            };
            let policy_file = self.policy.as_ref().and_then(PolicyPlace::file);
            let inputs: Vec<_> = policy_file.into_iter().collect();
            let output = Output::begin(&self.output, &self.ledger, &inputs, self.force)?;
            let mut to = output.writer()?;
            page.write(&mut to).context("could not write the report")?;
            drop(to);
            let place = output.end()?;
            drop(std::mem::take(&mut reading.warnings));
            let keys = counted(page.keys(), "key", "keys");
            say(&format!("{keys}{place}{}", self.ledger.describe_cost(reading.cost)));
            Ok(ended(reading.unreadable))
        })
    }

    /// Reads the keys with their histories, and what else the report is about.
    async fn read(
        &self,
        store: &Ledger,
        filter: Filter,
        policy: Option<&Policy>,
        now: DateTime<Utc>,
        reading: &mut Reading,
    ) -> anyhow::Result<Result<Page, TooManyDays>> {
        let header = Header { source: self.ledger.to_string(), filters: describe_filter(&filter), now };
        let Filter { account, user, since, until, .. } = filter.clone();
        let keys_only = is_about_some_keys(&filter);
        let audit = AuditFilter { account, user, since, until, ..AuditFilter::default() };
        let mut search = match Search::new(store, filter, None, usize::MAX, now) {
            Ok(search) => search.or_part_of_name(),
            Err(too_many) => return Ok(Err(too_many)),
        };
        let records = match store.audit_records(&audit, now).await? {
            Ok(records) => records,
            Err(too_many) => return Ok(Err(too_many)),
        };
        reading.warn(records.unreadable);
        reading.cost += records.cost;
        let mut page = Page::new(header, policy, Attention::new(&records.found, policy, keys_only, now));
        let progress = Progress::of_items(false);
        loop {
            let mut keys: Vec<FoundKey> = Vec::with_capacity(CONCURRENT_KEYS);
            while keys.len() < CONCURRENT_KEYS
                && let Some(found) = search.next().await?
            {
                keys.push(found);
            }
            progress.beside(|| reading.warn(search.unreadable()));
            if keys.is_empty() {
                break;
            }
            let histories = try_join_all(keys.iter().map(|found| store.history(&found.key))).await?;
            for (found, history) in keys.into_iter().zip(histories) {
                reading.cost += history.cost;
                progress.beside(|| reading.warn(history.unreadable));
                // A key that has a state is not shown by its dry run, too.
                if let Some(view) = found.views.into_iter().next() {
                    let view = view.with_contact(self.contact.as_ref()).with_history(&history.lines);
                    let view = fit_to_print(view);
                    page.add(&view, history.lines);
                }
                progress.advance(1);
            }
        }
        reading.cost += search.cost();
        Ok(Ok(page))
    }
}

/// True if more is asked for than an account, a user and a time, which events have as well.
fn is_about_some_keys(filter: &Filter) -> bool {
    let Filter { key, actor, service, verdict, violation, outcome, status, source_ip, pending, .. } = filter;
    key.is_some()
        || actor.is_some()
        || service.is_some()
        || verdict.is_some()
        || violation.is_some()
        || outcome.is_some()
        || status.is_some()
        || source_ip.is_some()
        || *pending
}
