//! `hunt`: queries that find our events in the engine where an organisation already has its logs.

mod query;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::key::{AccountId, UserName};

use self::query::{
    Athena, DataStoreId, Index, Insights, Lake, LogGroup, OpenSearch, Query, Splunk, SqlName, Table, What,
};
use super::exit::{Exit, ended};
use super::filters::whole_number;
use super::messages::{Warnings, say};
use super::output::stdout;
use super::setup::{LedgerPlace, runtime, to_read};
use super::when::When;
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::audit::attempts::AuditFilter;
use crate::ledger::audit::{AuditRecord, UnjudgedKey};
use crate::ledger::query::{Filter, LONGEST_DAYS, Search};

/// How far back a query goes, unless it says so. In days.
const DEFAULT_DAYS: u16 = 90;

/// Prints a query for the engine in which your logs are already: its results go into `replay` and `usage`
///
/// Nothing is sent anywhere: one query goes to stdout, and what it takes for granted, and what to do with its results, to
/// stderr. It finds the calls that create and change keys, and those that give another way in to users whom a console created
/// for a key. Such users are known by the names that two consoles give them, `BedrockAPIKey-…` and `AeaApiKey-…`; those of other names are known to the ledger only, and --ledger puts them into the query. With --uses it finds the
/// uses of keys instead.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  bedrock-key-guard hunt athena --days 365 > query.sql
      who created keys in the last year, from CloudTrail's log files
  bedrock-key-guard hunt logs-insights --uses --account 111122223333 > query.txt
      what the keys of an account are used for, from CloudWatch Logs
  bedrock-key-guard replay results.json
      judges what such a query has found")]
pub enum HuntCommand {
    /// SQL for Amazon Athena, over a table of CloudTrail's log files
    ///
    /// The table is the one of the Athena user guide, "Create a table for CloudTrail logs in Athena", with whichever
    /// partitions: requestparameters, responseelements and additionaleventdata are texts, useridentity is a struct. Each row
    /// of the result is a whole record as JSON, in the column record. Needs Athena engine version 3.
    #[command(after_help = "\
Examples:
  bedrock-key-guard hunt athena > query.sql
  bedrock-key-guard hunt athena --table security.cloudtrail_logs --date-partition timestamp --days 365
      only reads the partitions of the last year, which are named 2026/11/20
  bedrock-key-guard hunt athena --uses --account 111122223333 --since 2026-11-01

Exit codes:
  0 done   1 failed   2 usage")]
    Athena {
        #[command(flatten)]
        asked: Asked,

        /// The table, with its database where that is not the default one
        #[arg(long, value_name = "[DATABASE.]TABLE", default_value = "cloudtrail_logs")]
        table: Table,

        /// A partition column with days like 2026/11/20: less is read, and paid for
        #[arg(long, value_name = "COLUMN")]
        date_partition: Option<SqlName>,
    },

    /// SQL for CloudTrail Lake
    ///
    /// The event data store holds CloudTrail events; its column eventJson has each whole record.
    #[command(after_help = "\
Examples:
  bedrock-key-guard hunt lake --event-data-store 5d1c003f-7b1e-4c3a-9f00-abc00000003f > query.sql
  bedrock-key-guard hunt lake --event-data-store arn:aws:cloudtrail:us-east-1:111122223333:eventdatastore/5d1c003f-7b1e-4c3a-9f00-abc00000003f
  bedrock-key-guard hunt lake --event-data-store 5d1c003f-7b1e-4c3a-9f00-abc00000003f --uses --days 30

Exit codes:
  0 done   1 failed   2 usage")]
    Lake {
        #[command(flatten)]
        asked: Asked,

        /// The id of the event data store, or its ARN
        #[arg(long, value_name = "ID")]
        event_data_store: DataStoreId,
    },

    /// A query for CloudWatch Logs Insights
    ///
    /// A trail writes its records to the log group. Insights takes the time range beside the query, and returns 10,000 rows
    /// at most.
    #[command(after_help = "\
Examples:
  bedrock-key-guard hunt logs-insights > query.txt
  bedrock-key-guard hunt logs-insights --log-group aws-cloudtrail-logs --days 14
      the command on stderr starts the query there
  bedrock-key-guard hunt logs-insights --uses --account 111122223333

Exit codes:
  0 done   1 failed   2 usage")]
    LogsInsights {
        #[command(flatten)]
        asked: Asked,

        /// The log group that the trail writes to, for the command on stderr
        #[arg(long, value_name = "NAME", default_value = "LOG_GROUP")]
        log_group: LogGroup,
    },

    /// The body of a search for `OpenSearch` or Elasticsearch
    ///
    /// Each document is a record, with CloudTrail's names of fields and without a prefix, as a subscription of CloudWatch Logs
    /// writes it. Texts may be mapped as text, as keyword, or as both.
    #[command(after_help = "\
Examples:
  bedrock-key-guard hunt opensearch > search.json
  bedrock-key-guard hunt opensearch --index 'cwl-*' --days 30
      the request on stderr searches these
  bedrock-key-guard hunt opensearch --uses --since 2026-11-01 --until 2026-11-20

Exit codes:
  0 done   1 failed   2 usage")]
    Opensearch {
        #[command(flatten)]
        asked: Asked,

        /// The indices, for the request on stderr
        #[arg(long, value_name = "PATTERN", default_value = "cwl-*")]
        index: Index,
    },

    /// SPL for Splunk
    ///
    /// The Splunk Add-on for AWS has indexed each record by itself, with the source type aws:cloudtrail.
    #[command(after_help = "\
Examples:
  bedrock-key-guard hunt splunk > search.spl
  bedrock-key-guard hunt splunk --index aws --source-type aws:cloudtrail --days 365
  bedrock-key-guard hunt splunk --uses --account 111122223333

Exit codes:
  0 done   1 failed   2 usage")]
    Splunk {
        #[command(flatten)]
        asked: Asked,

        /// The index; * is any text
        #[arg(long, value_name = "PATTERN", default_value = "*")]
        index: Index,

        /// The source type
        #[arg(long, value_name = "NAME", default_value = "aws:cloudtrail")]
        source_type: Index,
    },
}

/// What is asked for, in every engine.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Find the uses of API keys instead: any call with a bearer token
    #[arg(long)]
    uses: bool,

    /// Also find calls about the users that this ledger knows to have a key that was created in a console session in the last three
    /// years, whatever they are called: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, value_name = "LEDGER", conflicts_with = "uses")]
    ledger: Option<LedgerPlace>,

    /// Only events of this account; may be repeated
    #[arg(long = "account", value_name = "12 DIGITS")]
    accounts: Vec<AccountId>,

    /// Only events of the last so many days [default: 90]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole_number(1..=3_660_u16), conflicts_with_all = ["since", "until"])]
    days: Option<u16>,

    /// Only events of this time or later: 2026-11-20T09:00:00Z, 2026-11-20, 7d, 12h
    #[arg(long, value_name = "TIME")]
    since: Option<When>,

    /// Only events before this time, or on this day
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
}

impl Asked {
    /// `None`: the time range is empty.
    fn what(self, now: DateTime<Utc>) -> Option<What> {
        let until = self.until.map_or(now, |until| until.ends(now));
        // The first and the last day count as whole ones.
        let days = TimeDelta::days(self.days.unwrap_or(DEFAULT_DAYS).into());
        let since = self.since.map_or(until - days, |since| since.begins(now));
        let Self { uses, accounts, .. } = self;
        (since < until).then_some(What { uses, accounts, users: None, since, until })
    }
}

impl HuntCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When the query could not be printed: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let now = SystemClock.now();
        let mut unreadable = 0;
        let mut what = |asked: Asked| -> anyhow::Result<Option<What>> {
            let place = asked.ledger.clone();
            let mut what = asked.what(now);
            if let Some((what, place)) = what.as_mut().zip(place) {
                let users;
                (users, unreadable) = runtime()?.block_on(console_users(&place, &what.accounts, now))?;
                what.users = Some(users);
            }
            Ok(what)
        };
        let query = match self {
            Self::Athena { asked, table, date_partition } => {
                what(asked)?.map(|what| Athena { table, date_partition }.query(&what))
            }
            Self::Lake { asked, event_data_store } => {
                what(asked)?.map(|what| Lake { event_data_store }.query(&what))
            }
            Self::LogsInsights { asked, log_group } => {
                what(asked)?.map(|what| Insights { log_group }.query(&what))
            }
            Self::Opensearch { asked, index } => what(asked)?.map(|what| OpenSearch { index }.query(&what)),
            Self::Splunk { asked, index, source_type } => {
                what(asked)?.map(|what| Splunk { index, source_type }.query(&what))
            }
        };
        let Some(Query { text, notes }) = query else {
            say("error: the time range is empty: --since has to be before --until, and before now");
            return Ok(Exit::Usage.into());
        };
        let mut out = stdout();
        writeln!(out, "{}", text.trim_end())
            .and_then(|()| out.flush())
            .context("could not write to stdout")?;
        for note in notes {
            say(&note);
        }
        Ok(ended(unreadable))
    }
}

/// The users that the ledger knows to have a key that was created in a console session, under every name, and how many items
/// could not be read. Users whose names say so are left out: a query finds them anyway.
async fn console_users(
    place: &LedgerPlace,
    accounts: &[AccountId],
    now: DateTime<Utc>,
) -> anyhow::Result<(Vec<UserName>, usize)> {
    let days = TimeDelta::days(i64::try_from(LONGEST_DAYS)? - 2);
    let since = Some(now - days);
    let filter = Filter { since, ..Filter::default() };
    let ledger = to_read(place).await?;
    let mut search = Search::new(&ledger, filter, None, usize::MAX, now)?;
    let mut names = Vec::new();
    while let Some(found) = search.next().await? {
        for view in found.views {
            let is_of_console = view.creation.as_ref().is_some_and(|creation| creation.actor.console);
            if is_of_console && (accounts.is_empty() || accounts.contains(&view.key.account)) {
                names.extend(view.names().filter(|name| !name.is_console_user()).cloned());
            }
        }
    }
    let records = ledger.audit_records(&AuditFilter { since, ..AuditFilter::default() }, now).await??;
    names.extend(records.found.into_iter().filter_map(|record| match record {
        AuditRecord::UnjudgedKey(unjudged) => {
            let UnjudgedKey { provenance, key, user, .. } = *unjudged;
            let is_asked_for = accounts.is_empty() || accounts.contains(&key.account);
            (provenance.actor.console && is_asked_for && !user.is_console_user()).then_some(user)
        }
        AuditRecord::Attempts(_) | AuditRecord::UserChanged(_) => None,
    }));
    names.sort_by_key(|name| name.as_str().to_ascii_lowercase());
    names.dedup_by(|one, other| one.is_same_user(other));
    let warnings = Warnings::default();
    let unreadable =
        warnings.warn_unreadable(&search.unreadable()) + warnings.warn_unreadable(&records.unreadable);
    Ok((names, unreadable))
}
