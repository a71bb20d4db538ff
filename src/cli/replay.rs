//! `replay`: events from files or from CloudTrail, as a dry run or as the function deals with them.

mod history;

mod seen;
mod tally;
mod unconfirmed;

use std::cell::{OnceCell, RefCell};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::TimeDelta;

use self::history::HistoryOptions;
use super::dry_run::DryRuns;
use super::exit::{Exit, FailOn};
use super::filters::whole_number;
use super::input::{Batch, Detail, Found, Input, Inputs, MAX_BATCH, read_all};
use super::messages::{say, shown};
use super::output::{Beside, Format, Reports, event_word};
use super::progress::Progress;
use super::setup::{
    DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, PolicyPlace, iam, ledger_error, read_policy, runtime,
    to_write,
};
use crate::aws::credentials::IamCredentials;
use crate::clock::{Clock as _, SystemClock};
use crate::config::RoleName;
use crate::ledger::error::LedgerError;
use crate::ledger::store::Ledger;
use crate::runtime::event::{EventError, process_event, process_unreadable_event};
use crate::runtime::executor::{Executor, WorkerIds};
use crate::telemetry::chain;
use key_guard_core::cloudtrail::{CredentialEvent, ParsedEvent, Provenance, Unreadable};
use key_guard_core::key::{AccountId, EventId};
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::policy::Policy;
use key_guard_core::remediation::Contact;
use key_guard_core::report::{Report, Severity};

use seen::{Corrects, SeenEvents, Sighting};
use tally::{Counted, Tally};
use unconfirmed::Unconfirmed;

/// How long an event may take with --apply: calls that fail are repeated, and leases of other workers waited for.
const EVENT_TIME: TimeDelta = TimeDelta::minutes(1);

const WRITE: &str = "could not write to stdout";

/// Judges events from files, or from CloudTrail's event history, and records them
///
/// Each file is told by its content. These are read:
/// CloudTrail's log files, alone or with a whole bucket around them; EventBridge events; records alone, in lists or one to
/// a line, also behind a timestamp (CloudWatch Logs exports, syslog); what `aws cloudtrail lookup-events`, `aws logs
/// filter-log-events` and `aws sqs receive-message` print; results of CloudTrail Lake, Logs Insights, Athena, `OpenSearch`
/// and Splunk, as JSON or CSV; messages of SNS, SQS, Kinesis, Firehose and CloudWatch Logs. All of them in UTF-8 or UTF-16, as
/// gzip, in gzip once more, and in archives (tar, tar.gz, zip).
///
/// What cannot hold an event is passed over and counted. What could and cannot be read is named, and the exit code is 4.
///
/// Without --apply this is a dry run: what the guard would do is recorded beside what it knows, and no key is changed.
/// AWS is not called then, unless the ledger is in DynamoDB, or with --cloudtrail.
///
/// --cloudtrail reads the last 90 days of the account of your credentials, in the region where IAM's events are. No trail and
/// no bucket is needed. It asks for the calls that create, update, reset or delete a key, and for `CreateAccessKey`,
/// `CreateLoginProfile` and `UpdateLoginProfile`. AWS allows two calls a second, of up to 50 events.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["paths", "cloudtrail"])))]
#[command(after_help = "\
Examples:
  bedrock-key-guard replay --cloudtrail
      what the built-in policy makes of the last 90 days of your account: needs cloudtrail:LookupEvents and nothing else
  bedrock-key-guard replay --policy policy.toml --fail-on noncompliant AWSLogs/
      exit code 3 if last quarter's logs hold a key that the policy forbids
  zcat trail.json.gz | bedrock-key-guard replay --format jsonl -
      one report to a line, from standard input

Exit codes:
  0 done   1 failed   2 usage   3 --fail-on found something
  4 some inputs could not be read, the rest were processed")]
pub struct Replay {
    /// Files, directories, or - for standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    history: HistoryOptions,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// The policy file, or `ledger:` for the current version in the ledger [default: the built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PolicyPlace>,

    /// How reports are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// The width of the table in columns; what does not fit is shortened or left out [default: that of the terminal]
    #[arg(long, value_name = "COLUMNS", allow_negative_numbers = true, value_parser = whole_number(40..=u16::MAX))]
    width: Option<u16>,

    /// Exit with status 3 if any key has this verdict
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,

    /// Deal with each event as the function does: ask IAM, and act as far as --ceiling allows
    #[arg(long)]
    apply: bool,

    /// The furthest that any response may go: monitor, deactivate or delete
    /// [default: monitor with --apply; delete in a dry run]
    #[arg(long, value_name = "RESPONSE", verbatim_doc_comment)]
    ceiling: Option<Ceiling>,

    /// The name of the role to assume in other accounts, for --apply
    #[arg(long, value_name = "ROLE", requires = "apply")]
    responder_role: Option<RoleName>,

    /// Whom owners of keys ask, as the remediation says: an e-mail address, a URL
    #[arg(long, value_name = "TEXT")]
    contact: Option<Contact>,
}

impl Replay {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = runtime()?;
        let policy = runtime.block_on(read_policy(self.policy.as_ref(), &self.ledger))?;
        let mut inputs = if self.history.is_wanted() {
            runtime.block_on(self.history.read())?
        } else {
            Inputs::gather(&self.paths)?
        };
        inputs.pass_over(&self.ledger.files());
        let mut output = Output {
            reports: Reports::begin(self.format, self.width)?,
            contact: self.contact.clone(),
            tally: Tally::new(&inputs),
            seen: SeenEvents::default(),
            progress: Progress::of_bytes(inputs.total_size()),
        };
        let mode = OnceCell::new();
        let read = read_all(&inputs.inputs, Detail::Events, || {
            let begun = runtime.block_on(self.mode(&policy))?;
            let mode: &Mode<'_> = mode.get_or_init(|| begun);
            let (runtime, output) = (&runtime, &mut output);
            let mut held = Batch::new();
            Ok(move |batch: Vec<_>| {
                if held.len() + batch.len() > MAX_BATCH {
                    runtime.block_on(mode.process(std::mem::take(&mut held), output))?;
                }
                held.extend(batch);
                if !self.apply && is_within_a_file(&held) {
                    return Ok(());
                }
                runtime.block_on(mode.process(std::mem::take(&mut held), output))
            })
        });
        let read = match (read, mode.get()) {
            (Err(error), None) => return Err(error),
            (Ok(()), Some(mode)) => runtime.block_on(mode.confirm(&mut output)),
            (read, _) => read,
        };
        let Output { reports, tally, progress, contact: _, seen: _ } = output;
        drop(progress);
        // What was done until an error is said before the error.
        let ended = reports.end().context(WRITE);
        if let Some(warning) = tally.not_judged() {
            say(&warning);
        }
        say(&tally.summary());
        if !tally.passed_over.is_empty() {
            say(&tally.passed_over.to_string());
        }
        read?;
        ended?;
        Ok(self.exit(&tally, &inputs).into())
    }

    async fn mode<'a>(&self, policy: &'a Policy) -> anyhow::Result<Mode<'a>> {
        let store = to_write(&self.ledger, self.apply).await?;
        if !self.apply {
            let ceiling = self.ceiling.unwrap_or(Ceiling::Delete);
            return Ok(Mode::DryRun(Box::new(DryRuns::new(policy, ceiling, store))));
        }
        let (api, _) = iam(self.responder_role.clone()).await?;
        let ceiling = self.ceiling.unwrap_or(Ceiling::Monitor);
        let workers = WorkerIds::new("replay");
        let unconfirmed = RefCell::default();
        Ok(Mode::Enforce(Box::new(Enforcement { policy, ceiling, workers, store, api, unconfirmed })))
    }

    fn exit(&self, tally: &Tally, inputs: &Inputs) -> Exit {
        if !self.apply {
            say("this was a dry run: the guard did nothing; `lookup` shows what it would do");
        }
        let mut empty = false;
        for (index, (directory, events)) in inputs.directories.iter().zip(&tally.events_in).enumerate() {
            if *events == 0 {
                let found = match inputs.files_in(index) {
                    0 => "no files in this directory".to_owned(),
                    1 => "1 file, which has no CloudTrail records".to_owned(),
                    files => format!("{files} files, none of which has CloudTrail records"),
                };
                say(&format!("error: {}: {found}", shown(directory)));
                empty = true;
            }
        }
        let (failed, entries_unreadable) = (tally.of(Counted::Failed), tally.of(Counted::EntryUnreadable));
        if failed + tally.lookups_failed > 0 || (empty && tally.unreadable == 0) {
            Exit::Failed
        } else if self.fail_on.is_some_and(|what| tally.found(what) > 0) {
            Exit::Found
        } else if tally.unreadable > 0 || entries_unreadable > 0 {
            say(&tally.why_unreadable());
            Exit::Unreadable
        } else {
            Exit::Done
        }
    }
}

/// True where the rest of a file is still to come: what corrects an event may be in it. What comes from a pipe never waits; a pipe
/// that is given by its path has no size.
fn is_within_a_file(held: &Batch<'_>) -> bool {
    match held.last() {
        Some((Input::File { size: 1.., .. } | Input::History { .. }, found)) => {
            !matches!(found, Found::End { .. })
        }
        Some((Input::File { size: 0, .. } | Input::Stdin | Input::Unlistable { .. }, _)) | None => false,
    }
}

/// Whether keys may be changed.
enum Mode<'a> {
    DryRun(Box<DryRuns<'a>>),
    Enforce(Box<Enforcement<'a>>),
}

impl Mode<'_> {
    async fn process(&self, batch: Batch<'_>, output: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::DryRun(dry_runs) => dry_run(dry_runs, batch, output).await,
            Self::Enforce(enforcement) => enforcement.process(batch, output).await,
        }?;
        // The next event of a pipe may be long in coming.
        output.reports.flush().context(WRITE)
    }

    /// Every input has ended.
    async fn confirm(&self, output: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::DryRun(_) => Ok(()),
            Self::Enforce(enforcement) => enforcement.confirm(output).await,
        }
    }
}

/// Previews a batch. Its dry runs are read with one call and stored with one.
async fn dry_run(dry_runs: &DryRuns<'_>, batch: Batch<'_>, output: &mut Output) -> anyhow::Result<()> {
    let (mut events, mut ended) = (Vec::new(), Vec::new());
    let now = SystemClock.now();
    for (input, found) in batch {
        match found {
            Found::Event(event) if !output.is_first(&event) => {}
            Found::Event(event) => match SessionError::of_future_event(&event.provenance, now) {
                Some(error) => output.unreadable(&format!("event {}: {error}", event.provenance.event_id)),
                None => events.push(*event),
            },
            Found::Unreadable { why, .. } if output.was_unreadable_before(&why) => {}
            Found::Unreadable { place, why } if why.creation.is_some() => output.unreadable(&format!(
                "{place}: a key was created, and the event cannot be read: {why}. With --apply, IAM is asked for the key"
            )),
            Found::Unreadable { place, why } => output.unreadable(&format!("{place}: {why}")),
            Found::Problem(message) => output.unreadable(&message),
            Found::Use(_) => {}
            Found::End { events, passed_over, .. } => {
                output.tally.end_reading(input, &passed_over);
                ended.push((input, events));
            }
        }
    }
    // An event that another one of the batch corrects is not printed.
    for event in &events {
        output.corrected(event);
    }
    for (event, result) in dry_runs.process(events).await {
        output.processed(&event, result)?;
    }
    for (input, events) in ended {
        output.input_ended(input, events);
    }
    Ok(())
}

/// What `--apply` needs.
struct Enforcement<'a> {
    policy: &'a Policy,
    ceiling: Ceiling,
    workers: WorkerIds,
    store: Ledger,
    api: IamCredentials,
    unconfirmed: RefCell<Unconfirmed>,
}

impl Enforcement<'_> {
    /// One event at a time, in order, as the function does. What was done is printed before anything else is done.
    async fn process(&self, batch: Batch<'_>, output: &mut Output) -> anyhow::Result<()> {
        for (input, found) in batch {
            match found {
                Found::Event(event) if !output.is_first(&event) => {}
                Found::Event(event) => {
                    let result = self.process_event(&event).await;
                    if !self.unconfirmed.borrow_mut().keeps(&event, &result) {
                        output.enforced(&event, result)?;
                    }
                }
                Found::Unreadable { why, .. } if output.was_unreadable_before(&why) => {}
                Found::Unreadable { place, why } => self.look_up(&place, *why, output).await?,
                Found::Problem(message) => output.unreadable(&message),
                Found::Use(_) => {}
                Found::End { events, passed_over, .. } => {
                    output.tally.end_reading(input, &passed_over);
                    output.input_ended(input, events);
                }
            }
        }
        Ok(())
    }

    async fn process_event(&self, event: &CredentialEvent) -> Result<Report, EventError> {
        let parsed = ParsedEvent::Relevant(Box::new(event.clone()));
        Box::pin(process_event(&self.executor(), &self.store, parsed)).await
    }

    /// Deals once more with the events that IAM contradicted.
    async fn confirm(&self, output: &mut Output) -> anyhow::Result<()> {
        for event in self.unconfirmed.take().wait().await {
            output.enforced(&event, self.process_event(&event).await)?;
        }
        Ok(())
    }

    /// Asks IAM which keys an unreadable creation may be about, and deals with those (R9).
    async fn look_up(&self, place: &str, why: Unreadable, output: &mut Output) -> anyhow::Result<()> {
        let message = format!("{place}: {why}");
        let (reports, error) = match Box::pin(process_unreadable_event(&self.executor(), why)).await {
            Ok(reports) => (reports, None),
            Err(EventError::Unreadable(_)) => (Vec::new(), None),
            Err(EventError::Lookup { reports, source }) => (reports, Some(EventError::Session(source))),
            Err(
                error @ (EventError::List { .. }
                | EventError::NoSuchKey(_)
                | EventError::Session(_)
                | EventError::LookUpUser { .. }
                | EventError::Record { .. }),
            ) => (Vec::new(), Some(error)),
        };
        output.unreadable(&message);
        for report in reports {
            output.looked_up(report)?;
        }
        match error {
            None => Ok(()),
            Some(error) => {
                output.tally.lookups_failed += 1;
                output.failed(place, error)
            }
        }
    }

    fn executor(&self) -> Executor<'_, Ledger, IamCredentials, SystemClock> {
        Executor {
            policy: self.policy,
            ceiling: self.ceiling,
            deadline: SystemClock.now() + EVENT_TIME,
            workers: &self.workers,
            store: &self.store,
            api: &self.api,
            clock: &SystemClock,
        }
    }
}

/// What is printed and counted.
struct Output {
    reports: Reports,
    contact: Option<Contact>,
    tally: Tally,
    seen: SeenEvents,
    progress: Progress,
}

impl Output {
    /// False for an event that was seen before. One with the same id that says something else is dealt with, too.
    fn is_first(&mut self, event: &CredentialEvent) -> bool {
        let sighting = self.seen.note(event);
        match sighting {
            Sighting::Again => self.tally.count(Counted::SeenBefore),
            Sighting::OtherContent if event.provenance.corrects.is_none() => {
                let Provenance { account, event_id, .. } = &event.provenance;
                self.progress.warn(&format!(
                    "event {event_id} of account {account}: another event with this id says something else; each is dealt with"
                ));
            }
            Sighting::OtherContent | Sighting::New => {}
        }
        sighting != Sighting::Again
    }

    /// What an event corrects does not hold.
    fn corrected(&mut self, event: &CredentialEvent) {
        match self.seen.note_correction(event) {
            Corrects::Nothing => {}
            Corrects::Counted(original) => self.tally.recount(original, Counted::Corrected),
            Corrects::Unnamed => self.progress.warn(&format!(
                "event {} of account {}: it says that it corrects an event, and names no other one: each is dealt with",
                event.provenance.event_id, event.provenance.account
            )),
            Corrects::OtherSubject => {
                let corrects = event.provenance.corrects.as_ref();
                if let Some(original) = corrects.and_then(|corrects| corrects.event_id.as_ref()) {
                    self.miscorrected(&event.provenance.account, original);
                }
            }
        }
    }

    fn miscorrected(&self, account: &AccountId, original: &EventId) {
        self.progress.warn(&format!(
            "event {original} of account {account}: an event that says that it corrects this one is about another call, key or \
             user; each is dealt with"
        ));
    }

    /// True for a creation that cannot be read, and that was seen before.
    fn was_unreadable_before(&mut self, why: &Unreadable) -> bool {
        let Some(creation) = &why.creation else { return false };
        let is_again = self.seen.note_unreadable(&creation.provenance, why) == Sighting::Again;
        self.tally.unreadable_again += u64::from(is_again);
        is_again
    }

    /// An event was dealt with. No report: it is about a user, and irrelevant.
    fn processed<E: Error + Send + Sync + 'static>(
        &mut self,
        event: &CredentialEvent,
        result: Result<Option<Report>, E>,
    ) -> anyhow::Result<()> {
        match result {
            // What it said does not hold.
            Ok(_) if self.seen.is_corrected(event) => {
                self.tally.count(Counted::Corrected);
                Ok(())
            }
            Ok(None) => Ok(()),
            Ok(Some(report)) => {
                self.tally.note_service(&report);
                let counted = Counted::of(event, &report);
                self.tally.count(counted);
                self.seen.note_count(event, counted);
                if self.seen.is_miscorrected(event) {
                    self.miscorrected(&event.provenance.account, &event.provenance.event_id);
                }
                self.corrected(event);
                self.print(event_word(&event.kind), report)
            }
            Err(error) => {
                self.tally.count(match ledger_error(&error) {
                    Some(LedgerError::Unreadable { .. }) => Counted::EntryUnreadable,
                    Some(_) | None => Counted::Failed,
                });
                self.failed(&format!("event {}", event.provenance.event_id), error)
            }
        }
    }

    /// An event was dealt with as the function does.
    fn enforced(
        &mut self,
        event: &CredentialEvent,
        result: Result<Report, EventError>,
    ) -> anyhow::Result<()> {
        // It is about a user, and irrelevant.
        let is_relevant = |report: &Report| report.event_id.is_some();
        self.processed(event, result.map(|report| Some(report).filter(is_relevant)))
    }

    /// A key was dealt with whose creation event could not be read.
    fn looked_up(&mut self, report: Report) -> anyhow::Result<()> {
        self.tally.count_key(&report);
        self.print(None, report)
    }

    fn print(&mut self, event: Option<&'static str>, report: Report) -> anyhow::Result<()> {
        if report.severity == Severity::Critical && report.verdict.is_none() {
            self.progress.warn_critical(&report.reason);
        }
        let report = report.with_contact(self.contact.as_ref());
        self.reports.write(Beside::Event(event), report).context(WRITE)
    }

    /// Something failed. Without a ledger nothing more can be done.
    fn failed<E: Error + Send + Sync + 'static>(&self, place: &str, error: E) -> anyhow::Result<()> {
        match ledger_error(&error) {
            None | Some(LedgerError::Unreadable { .. } | LedgerError::Busy { .. }) => {
                self.progress.warn(&format!("{place}: {}", chain(&error)));
                Ok(())
            }
            Some(
                LedgerError::TableMissing { .. }
                | LedgerError::Schema { .. }
                | LedgerError::IndexMissing { .. }
                | LedgerError::Call { .. }
                | LedgerError::Denied { .. }
                | LedgerError::File { .. },
            ) => Err(error.into()),
        }
    }

    fn unreadable(&mut self, message: &str) {
        self.tally.count_unreadable();
        self.progress.warn(message);
    }

    fn input_ended(&mut self, input: &Input, events: u64) {
        self.tally.end(input, events);
        self.progress.advance(input.size());
    }
}
