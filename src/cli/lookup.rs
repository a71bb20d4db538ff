//! `lookup`: who created a key, for whom, from where, what was done about it, and when.

mod answers;
pub mod suggest;
mod table;
mod union;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use comfy_table::Table;

use self::answers::Answers;
pub use self::suggest::suggest;
use self::table::{TableStyle, print_attempts};
pub use self::table::{describe_outcome, who};
use self::union::SearchUnion;
use super::exit::{Exit, ended};
use super::filters::{Filters, Subject, whole_number};
use super::identify::Identify;
use super::messages::{Warnings, counted, say};
use super::output;
use super::output::AnswerFormat;
use super::progress::Progress;
use super::rows::Row;
use super::setup::{DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, load_policy, runtime, to_read};
use super::stats::Stats;
use super::usage::known;
use super::verify::{self, Question};
use super::when::Times;
use crate::clock::{Clock, SystemClock};
use crate::ledger::Cost;
use crate::ledger::audit::UnjudgedKey;
use crate::ledger::audit::attempts::{AuditFilter, AuditRecords};
use crate::ledger::query::{Actor, Filter, FoundKey, Position, Search, TooManyDays};
use crate::ledger::store::Ledger;
use crate::ledger::view::KeyView;
use key_guard_core::key::UserName;
use key_guard_core::remediation::Contact;
use key_guard_core::words::remediation::argument;

const WRITE: &str = "could not write to stdout";

/// It does not repeat the argument, which may be a secret in a form that nobody knows yet.
const EXPECTED: &str = "the argument (not repeated here) is none of these: the id of a key, a user, a caller, an e-mail address, \
                        an ARN, an account, an address or a range of them, or - for a leaked text on standard input";

/// How many keys at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Some(NonZeroUsize),
    All,
}

impl std::str::FromStr for Limit {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.parse().map(Self::Some).map_err(|_| "expected a number from 1 up, or all")
    }
}

/// Looks keys up in the ledger: who created them, for whom, from where, and what was done about it
///
/// WHAT is whatever you have at hand: the id of a key, the name of a user or a caller, an e-mail address, an ARN, an account,
/// an address or a range of them, or - for a leaked text on standard input, never an argument. How a key stands comes first,
/// then what was decided. Newest first. A key that is named by its id is shown with its history. Dry runs are shown beside
/// the keys, and say what the guard would do. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard lookup ACCAEXAMPLEKEY0000001
      everything about one key: how it stands, and its history
  bedrock-key-guard lookup jan.kowalski
      the keys of a user or a caller, and other ways in that the user got
  bedrock-key-guard lookup - --ledger dynamodb:bedrock-key-guard < leaked.txt
      whose a leaked key is, and what stops it, as `identify`
  bedrock-key-guard lookup --verdict noncompliant --since 7d
      last week's noncompliant keys
  bedrock-key-guard lookup --actor maria.lopez@example.com --ledger dynamodb:bedrock-key-guard
      the keys that somebody created; a role, a permission set or an ARN will do, too
  bedrock-key-guard lookup --pending
      responses that are not executed yet, and since when
  bedrock-key-guard lookup --attempts --since 30d
      who keeps trying: calls that failed, changes of users that a console created, and keys that nobody judged
  bedrock-key-guard lookup --verify AWSLogs/ --ledger dynamodb:bedrock-key-guard
      what the trail's own log files have and the ledger has not, or the other way round
  bedrock-key-guard lookup --stats --since 30d
      counts, and seconds from event to assessment

Exit codes:
  0 done, whether something was found or not   1 failed   2 usage   3 --verify found a difference
  4 some items could not be read, the rest were shown")]
pub struct Lookup {
    /// The id of a key, a user, a caller, an e-mail address, an ARN, an account, an address; or - for a leaked text on
    /// standard input
    #[arg(conflicts_with = "verify")]
    what: Option<String>,

    #[command(flatten)]
    filters: Filters,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// How answers are written to stdout
    #[arg(long, value_enum, default_value_t = AnswerFormat::Table)]
    format: AnswerFormat,

    /// How many keys to show: a number, or all
    #[arg(long, default_value = "100", value_name = "N", conflicts_with = "stats")]
    limit: Limit,

    /// Continue where a page has ended: as that page said on stderr
    #[arg(long, value_name = "PLACE", conflicts_with = "stats")]
    page: Option<Position>,

    /// Count instead: by verdict, outcome, account, user and week; seconds from event to assessment
    #[arg(long)]
    stats: bool,

    /// Show failed calls instead, counted by account, actor, call, error code and day, changes of users that a
    /// console created for a key, and keys that nobody judged: by account, user, actor, service and time
    #[arg(long, conflicts_with_all = ["stats", "page", "key", "verdict", "violation", "outcome", "status", "source_ip", "pending", "limit"])]
    attempts: bool,

    /// Whom owners of keys ask, as the remediation says: an e-mail address, a URL
    #[arg(long, value_name = "TEXT")]
    contact: Option<Contact>,

    /// Compare the ledger with CloudTrail's log files instead, files or directories: which events of keys are missing in
    /// either, and what differs; by key, account, user, service and time. It reads the history of each key of the accounts
    /// in the files. That the files are intact is for CloudTrail's digest files to show: `aws cloudtrail validate-logs`
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["stats", "attempts", "page", "actor", "verdict", "violation", "outcome", "status", "source_ip", "pending", "limit", "contact"])]
    verify: Vec<PathBuf>,

    /// The policy file that says which keys the ledger should have [default: the built-in policy]
    #[arg(long, value_name = "FILE", requires = "verify")]
    policy: Option<PathBuf>,

    /// Show times in UTC, not as seen from now
    #[arg(long)]
    absolute: bool,

    /// The width of the table in columns; what does not fit is wrapped or left out [default: that of the terminal]
    #[arg(long, value_name = "COLUMNS", allow_negative_numbers = true, value_parser = whole_number(40..=u16::MAX))]
    width: Option<u16>,
}

impl Lookup {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if (self.stats || self.attempts) && matches!(self.format, AnswerFormat::Ocsf | AnswerFormat::Asff) {
            let flag = if self.stats { "--stats" } else { "--attempts" };
            say(&format!(
                "error: {flag} has no findings in it; accepted with it: --format table, jsonl or csv"
            ));
            return Ok(Exit::Usage.into());
        }
        let questions = match self.questions() {
            Ok(Some(questions)) => questions,
            Ok(None) => return self.identify(),
            Err(wrong) => {
                say(&format!("error: {wrong}"));
                return Ok(Exit::Usage.into());
            }
        };
        let now = SystemClock.now();
        let asked: Result<Vec<_>, _> = questions.into_iter().map(|filters| filters.at(now)).collect();
        let filters: Vec<_> = match asked {
            Ok(filters) => filters,
            Err(wrong) => {
                say(&format!("error: {wrong}"));
                return Ok(Exit::Usage.into());
            }
        };
        if !self.verify.is_empty() {
            let filter = filters.into_iter().next().unwrap_or_default();
            return self.verify(filter, now);
        }
        runtime()?.block_on(self.answer(&filters, now))
    }

    async fn answer(&self, filters: &[Filter], now: DateTime<Utc>) -> anyhow::Result<ExitCode> {
        let store = to_read(&self.ledger).await?;
        if self.attempts {
            return self.show_attempts(&store, filters, now).await;
        }
        let wanted = match self.limit {
            Limit::Some(limit) if !self.stats => limit.get(),
            Limit::Some(_) | Limit::All => usize::MAX,
        };
        let begin = |filter: &Filter| {
            let search = Search::new(&store, filter.clone(), self.page.clone(), wanted, now)?;
            Ok(search.or_part_of_name())
        };
        let searches: Result<Vec<_>, TooManyDays> = filters.iter().map(begin).collect();
        let search = match searches {
            Ok(searches) => SearchUnion::new(searches),
            Err(too_many) => {
                say(&format!("error: {too_many}"));
                return Ok(Exit::Usage.into());
            }
        };
        let asked = Asked { store: &store, filters, now };
        if self.stats {
            self.count(search).await
        } else if filters.iter().any(|filter| filter.key.is_some()) {
            self.show_key(&asked, search).await
        } else {
            self.list(&asked, search, wanted).await
        }
    }

    /// What is asked for: one question, or several that the text may mean. `None`: whose a leaked text is.
    fn questions(&self) -> Result<Option<Vec<Filters>>, String> {
        let Some(what) = &self.what else { return Ok(Some(vec![self.filters.clone()])) };
        let subject = Subject::parse(what).map_err(|what| what.unwrap_or_else(|| EXPECTED.to_owned()))?;
        if subject == Subject::LeakedText {
            let is_alone =
                self.filters.is_everything() && !self.stats && !self.attempts && self.page.is_none();
            return if is_alone {
                Ok(None)
            } else {
                Err("- is for a leaked text alone, without filters".to_owned())
            };
        }
        if self.attempts && matches!(subject, Subject::Key(_) | Subject::Address(_)) {
            return Err(
                "--attempts are of an account, a user or a caller, not of a key or an address".to_owned()
            );
        }
        subject.questions(&self.filters).map(Some)
    }

    /// Whose a leaked text on standard input is.
    fn identify(self) -> anyhow::Result<ExitCode> {
        let is_table = match self.format {
            AnswerFormat::Table => true,
            AnswerFormat::Jsonl => false,
            AnswerFormat::Csv | AnswerFormat::Ocsf | AnswerFormat::Asff => {
                say("error: a leaked text is answered with --format table or jsonl");
                return Ok(Exit::Usage.into());
            }
        };
        let has_ledger = self.ledger.may_be_there();
        if !has_ledger {
            say(&format!("note: there is no ledger {}; the text alone says this:", self.ledger));
        }
        Identify::new(has_ledger.then_some(self.ledger), is_table).run()
    }

    fn verify(self, filter: Filter, now: DateTime<Utc>) -> anyhow::Result<ExitCode> {
        let policy = load_policy(self.policy.as_deref())?;
        let Self { verify: paths, ledger, format, .. } = self;
        verify::verify(Question { paths, ledger, policy, filter, format }, now)
    }

    async fn list(
        &self,
        asked: &Asked<'_>,
        mut search: SearchUnion<'_>,
        wanted: usize,
    ) -> anyhow::Result<ExitCode> {
        let style = self.style(asked.now, self.filters.is_about_pending());
        let mut answers = Answers::begin(self.format, style).context(WRITE)?;
        let (mut shown, mut unreadable, mut place) = (0_usize, 0, None);
        let mut has_more = false;
        let progress = Progress::of_items(true);
        loop {
            let found = search.next().await;
            unreadable += progress.warn_unreadable(&search.unreadable());
            let Some(FoundKey { views, .. }) = found? else { break };
            if shown == wanted {
                has_more = true;
                break;
            }
            place = search.position().cloned();
            shown += 1;
            for view in views {
                answers.write(self.row(view)).context(WRITE)?;
            }
            progress.advance(1);
        }
        drop(progress);
        let mut cost = search.cost();
        let changes =
            if self.page.is_none() { asked.user_changes(&mut cost).await? } else { AuditRecords::default() };
        unreadable += Warnings::default().warn_unreadable(&changes.unreadable);
        answers.write_changes(&changes.found).context(WRITE)?;
        answers.end().context(WRITE)?;
        if search.widened() > 0 {
            let which = if search.widened() == shown { "these" } else { "some of these" };
            say(&format!(
                "note: no key was created by a caller of exactly this name; it is a part of {which} callers' names"
            ));
        }
        if shown == 0 && search.is_widened_within_days() {
            say(&format!(
                "note: also looked for callers whose name contains {:?}, in keys created in the last 90 days (--since changes that)",
                asked.caller().unwrap_or_default()
            ));
        }
        let (mut suggestion, mut attempts) = (None, 0);
        if shown == 0 {
            suggestion = asked.suggest(&mut cost).await?;
            attempts = asked.count_attempts(&mut cost).await?;
        }
        self.say_result(&count_keys(shown as u64), cost);
        if shown == 0 {
            self.say_what_was_meant();
        }
        if attempts > 0 {
            say(&format!(
                "note: failed calls and changes of users that match: {attempts}. To see them: `{}`",
                self.attempts_command(asked)
            ));
        }
        if shown == 0 && asked.filters.iter().any(|filter| filter.outcome.is_some()) {
            say(
                "note: --outcome is what the guard did; --status is how a key stands now, such as --status deleted",
            );
        }
        if let Some(suggestion) = suggestion {
            say(&suggestion);
        }
        if let Some(place) = place.filter(|_| has_more) {
            say(&format!("there are more: continue with --page {place}"));
        }
        Ok(ended(unreadable))
    }

    /// Everything about one key.
    async fn show_key(&self, asked: &Asked<'_>, mut search: SearchUnion<'_>) -> anyhow::Result<ExitCode> {
        let Asked { store, now, .. } = *asked;
        let (mut shown, mut unreadable) = (0, 0);
        let mut answers = Answers::begin(self.format, self.style(now, false)).context(WRITE)?;
        let mut cost = Cost::default();
        let (mut keys, warnings) = (Vec::<FoundKey>::new(), Warnings::default());
        while let Some(found) = search.next().await? {
            keys.push(found);
        }
        // The history of a key is shown even where its state cannot be read.
        for error in search.unreadable() {
            match error.key() {
                Some(key) if keys.iter().any(|found| found.key == key) => {}
                Some(key) => keys.push(FoundKey { key, views: Vec::new() }),
                None => unreadable += warnings.warn_unreadable(&[error]),
            }
        }
        for FoundKey { key, views } in keys {
            let history = store.history(&key).await?;
            unreadable += warnings.warn_unreadable(&history.unreadable);
            cost += history.cost;
            shown += 1;
            let uses = known::of_key(store, &views, &mut cost).await;
            unreadable += warnings.warn_unreadable(&uses.unreadable);
            let changes = asked.user_changes_of(&views, history.unjudged.as_ref(), &mut cost).await?;
            unreadable += warnings.warn_unreadable(&changes.unreadable);
            let first = views.first();
            let keys =
                views.iter().cloned().map(|view| self.row(view.with_history(&history.lines))).collect();
            let lines: Vec<_> =
                history.lines.into_iter().map(|line| Row::log_line(&key, first, line)).collect();
            answers.write_key(keys, uses.known, lines).context(WRITE)?;
            answers.write_changes(&changes.found).context(WRITE)?;
        }
        drop(warnings);
        answers.end().context(WRITE)?;
        cost += search.cost();
        let suggestion = if shown == 0 { asked.suggest(&mut cost).await? } else { None };
        let keys = match shown {
            0 if self.filters.names_a_key_and_more()
                || (self.what.is_some() && !self.filters.is_everything()) =>
            {
                "this key is not in the ledger, or the other filters exclude it"
            }
            0 => "this key is not in the ledger",
            1 => "1 key",
            _ => "keys of several accounts with this id",
        };
        self.say_result(keys, cost);
        if let Some(suggestion) = suggestion {
            say(&suggestion);
        }
        Ok(ended(unreadable))
    }

    async fn show_attempts(
        &self,
        store: &Ledger,
        filters: &[Filter],
        now: DateTime<Utc>,
    ) -> anyhow::Result<ExitCode> {
        let records = match find_attempts(store, filters, now).await? {
            Ok(records) => records,
            Err(too_many) => {
                say(&format!("error: {too_many}"));
                return Ok(Exit::Usage.into());
            }
        };
        let unreadable = Warnings::default().warn_unreadable(&records.unreadable);
        let rows: Vec<_> = records.found.iter().map(Row::audit_record).collect();
        let attempts = counted(count_attempts(&records), "attempt", "attempts");
        let said = format!("{attempts} in {}", counted(rows.len() as u64, "row", "rows"));
        let style = self.style(now, false);
        if self.format == AnswerFormat::Table {
            print_attempts(&rows, style).context(WRITE)?;
        } else {
            let mut answers = Answers::begin(self.format, style).context(WRITE)?;
            rows.into_iter().try_for_each(|row| answers.write(row)).context(WRITE)?;
            answers.end().context(WRITE)?;
        }
        self.say_result(&said, records.cost);
        Ok(ended(unreadable))
    }

    async fn count(&self, mut search: SearchUnion<'_>) -> anyhow::Result<ExitCode> {
        let (mut stats, mut unreadable) = (Stats::default(), 0);
        let progress = Progress::of_items(false);
        loop {
            let found = search.next().await;
            unreadable += progress.warn_unreadable(&search.unreadable());
            let Some(found) = found? else { break };
            // A key that has a state is not counted by its dry run, too.
            if let Some(view) = found.views.into_iter().next() {
                stats.count(&super::rows::fit_to_print(view));
            }
            progress.advance(1);
        }
        drop(progress);
        stats.print(self.format).context(WRITE)?;
        self.say_result(&count_keys(stats.keys()), search.cost());
        Ok(ended(unreadable))
    }

    /// Where nothing was found: what the argument was taken for.
    fn say_what_was_meant(&self) {
        if let Some(Ok(subject)) = self.what.as_deref().map(Subject::parse) {
            say(&subject.describe());
        }
    }

    /// The command that shows the failed calls of whom is asked for.
    fn attempts_command(&self, asked: &Asked<'_>) -> String {
        let user = asked.filters.iter().find_map(|filter| filter.user.as_ref()).map(UserName::as_str);
        let who = match (&self.what, user, asked.caller()) {
            (Some(what), ..) => argument("--attempts", what.trim()),
            (None, Some(user), None) => argument("--attempts --user", user),
            (None, _, caller) => argument("--attempts --actor", caller.unwrap_or_default()),
        };
        format!("bedrock-key-guard lookup {who}")
    }

    fn say_result(&self, what: &str, cost: Cost) {
        say(&format!("{what}{}", self.ledger.describe_cost(cost)));
    }

    fn row(&self, view: KeyView) -> Row {
        Row::key(view.with_contact(self.contact.as_ref()))
    }

    fn style(&self, now: DateTime<Utc>, pending: bool) -> TableStyle {
        let times = if self.absolute { Times::Absolute } else { Times::From(now) };
        let width = self.width.or_else(|| Table::new().width());
        TableStyle { times, colour: output::wants_colour(), width, pending }
    }
}

/// Failed calls and changes of users. Where nobody has a caller's whole name: those of callers whose name has it in it.
async fn find_attempts(
    store: &Ledger,
    filters: &[Filter],
    now: DateTime<Utc>,
) -> anyhow::Result<Result<AuditRecords, TooManyDays>> {
    let mut records = AuditRecords::default();
    for filter in filters {
        let Filter { account, user, actor, service, since, until, .. } = filter.clone();
        let filter = AuditFilter { account, user, actor, service, since, until };
        let wider = filter.widened();
        for filter in std::iter::once(filter).chain(wider) {
            match store.audit_records(&filter, now).await? {
                Ok(found) => records.join(found),
                Err(too_many) => return Ok(Err(too_many)),
            }
            if !records.found.is_empty() {
                break;
            }
        }
    }
    Ok(Ok(records))
}

fn count_attempts(records: &AuditRecords) -> u64 {
    records.found.iter().map(Row::audit_record).filter_map(|row| Some(row.audit()?.count)).sum()
}

fn count_keys(keys: u64) -> String {
    match keys {
        0 => "no keys match".to_owned(),
        keys => counted(keys, "key", "keys"),
    }
}

/// A question, and the ledger that it is put to.
struct Asked<'a> {
    store: &'a Ledger,
    filters: &'a [Filter],
    now: DateTime<Utc>,
}

impl Asked<'_> {
    /// What the ledger has that looks like what was asked for in vain.
    async fn suggest(&self, cost: &mut Cost) -> anyhow::Result<Option<String>> {
        Ok(suggest(self.store, self.filters, self.now, cost).await?)
    }

    /// The name of the caller that is asked for.
    fn caller(&self) -> Option<&str> {
        self.filters.iter().find_map(|filter| filter.actor.as_ref()).map(Actor::as_str)
    }

    /// How many failed calls and changes of users there are of whom is asked for.
    async fn count_attempts(&self, cost: &mut Cost) -> anyhow::Result<u64> {
        let of_somebody = |filter: &&Filter| filter.user.is_some() || filter.actor.is_some();
        let filters: Vec<_> = self.filters.iter().filter(of_somebody).cloned().collect();
        let Ok(records) = find_attempts(self.store, &filters, self.now).await? else { return Ok(0) };
        *cost += records.cost;
        Ok(count_attempts(&records))
    }

    /// Changes of the users that are asked for: other ways in that they got.
    async fn user_changes(&self, cost: &mut Cost) -> anyhow::Result<AuditRecords> {
        let mut changes = AuditRecords::default();
        for Filter { user, account, since, until, .. } in self.filters {
            let Some(user) = user else { continue };
            let found = self.store.user_changes(account.as_ref(), user, *since..*until).await?;
            *cost += found.cost;
            changes.join(found);
        }
        Ok(changes)
    }

    /// Changes of a key's user, under each name that it had, and the user's keys that nobody judged.
    async fn user_changes_of(
        &self,
        views: &[KeyView],
        unjudged: Option<&UnjudgedKey>,
        cost: &mut Cost,
    ) -> anyhow::Result<AuditRecords> {
        let names = views
            .iter()
            .flat_map(|view| view.names().map(|name| (view.key.account.clone(), name.clone())))
            .chain(unjudged.map(|unjudged| (unjudged.key.account.clone(), unjudged.user.clone())))
            .collect::<BTreeSet<_>>();
        let mut changes = AuditRecords::default();
        for (account, user) in names {
            let found = self.store.user_changes(Some(&account), &user, None..None).await?;
            *cost += found.cost;
            changes.join(found);
        }
        Ok(changes)
    }
}
