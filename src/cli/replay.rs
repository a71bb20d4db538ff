//! `replay`: events from files, as a dry run or as the function deals with them.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::TimeDelta;

use super::dry_run::DryRuns;
use super::exit::{Exit, FailOn};
use super::input::{Batch, Detail, Found, Input, Inputs, read_all};
use super::messages::{say, shown};
use super::output::{Format, Reports};
use super::progress::Progress;
use super::setup::{LedgerPlace, PolicyPlace, iam, ledger_error, read_policy, runtime, to_write};
use crate::aws::credentials::IamCredentials;
use crate::clock::{Clock as _, SystemClock};
use crate::config::RoleName;
use crate::ledger::audit::AuditEvent;
use crate::ledger::error::LedgerError;
use crate::ledger::store::Ledger;
use crate::runtime::event::{EventError, process_event, process_unreadable_event};
use crate::runtime::executor::{Executor, WorkerIds};
use crate::telemetry::chain;
use key_guard_core::cloudtrail::{CredentialEvent, ParsedEvent, Unreadable};
use key_guard_core::key::Service;
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::policy::{Policy, Verdict};
use key_guard_core::remediation::Contact;
use key_guard_core::report::{Report, Severity};

/// How long an event may take with --apply: calls that fail are repeated, and leases of other workers waited for.
const EVENT_TIME: TimeDelta = TimeDelta::minutes(1);

/// Judges events from files and records them
///
/// Takes EventBridge events, CloudTrail records and log files, and what `aws sqs receive-message` prints of
/// the guard's queues, alone, in arrays or one to a line, gzipped or not: each file is told by its content.
/// Without --apply this is a dry run: what the guard would do is recorded beside what it knows, and no key is changed.
/// AWS is not called then, unless the ledger is in DynamoDB.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard replay events/
      what the built-in policy makes of every event in a directory
  bedrock-key-guard replay --policy policy.toml --fail-on noncompliant AWSLogs/
      exit code 3 if last quarter's logs hold a key that the policy forbids
  zcat trail.json.gz | bedrock-key-guard replay --format jsonl -
      one report to a line, from standard input

Exit codes:
  0 done   1 failed   2 usage   3 --fail-on found something
  4 some inputs could not be read, the rest were processed")]
pub struct Replay {
    /// Files, directories, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, default_value = "file:key-guard.db", value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// The policy file, or `ledger:` for the current version in the ledger [default: the built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PolicyPlace>,

    /// How reports are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

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
        let mut inputs = Inputs::gather(&self.paths)?;
        inputs.pass_over(&self.ledger.files());
        let mut output = Output {
            reports: Reports::begin(self.format)?,
            contact: self.contact.clone(),
            tally: Tally::new(inputs.directories.len()),
            progress: Progress::of_bytes(inputs.total_size()),
        };
        let read = read_all(&inputs.inputs, Detail::Events, || {
            let mode = runtime.block_on(self.mode(&policy))?;
            let (runtime, output) = (&runtime, &mut output);
            Ok(move |batch: Batch<'_>| runtime.block_on(mode.process(batch, output)))
        });
        let Output { reports, tally, progress, contact: _ } = output;
        drop(progress);
        // What was done until an error is said before the error.
        let ended = reports.end().context("could not write to stdout");
        if let Some(warning) = tally.not_judged() {
            say(&warning);
        }
        say(&tally.summary());
        read?;
        ended?;
        Ok(self.exit(&tally, &inputs).into())
    }

    async fn mode<'a>(&self, policy: &'a Policy) -> anyhow::Result<Mode<'a>> {
        let store = to_write(&self.ledger, self.apply).await?;
        if !self.apply {
            let ceiling = self.ceiling.unwrap_or(Ceiling::Delete);
            return Ok(Mode::DryRun(DryRuns::new(policy, ceiling, store)));
        }
        let (api, _) = iam(self.responder_role.clone()).await?;
        let ceiling = self.ceiling.unwrap_or(Ceiling::Monitor);
        let workers = WorkerIds::new("replay");
        Ok(Mode::Enforce(Box::new(Enforcement { policy, ceiling, workers, store, api })))
    }

    fn exit(&self, tally: &Tally, inputs: &Inputs) -> Exit {
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
        if tally.failed + tally.lookups_failed > 0 || (empty && tally.unreadable == 0) {
            Exit::Failed
        } else if self.fail_on.is_some_and(|what| tally.found(what) > 0) {
            Exit::Found
        } else if tally.unreadable > 0 || tally.entries_unreadable > 0 {
            Exit::Unreadable
        } else {
            Exit::Done
        }
    }
}

/// Whether keys may be changed.
enum Mode<'a> {
    DryRun(DryRuns<'a>),
    Enforce(Box<Enforcement<'a>>),
}

impl Mode<'_> {
    async fn process(&self, batch: Batch<'_>, output: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::DryRun(dry_runs) => dry_run(dry_runs, batch, output).await,
            Self::Enforce(enforcement) => enforcement.process(batch, output).await,
        }
    }
}

/// Previews a batch. Its dry runs are read with one call and stored with one.
async fn dry_run(dry_runs: &DryRuns<'_>, batch: Batch<'_>, output: &mut Output) -> anyhow::Result<()> {
    let (mut events, mut ended) = (Vec::new(), Vec::new());
    for (input, found) in batch {
        match found {
            Found::Event(event) => events.push(*event),
            Found::Unreadable { place, why } if why.creation.is_some() => output.unreadable(&format!(
                "{place}: a key was created, and the event cannot be read: {why}. With --apply, IAM is asked for the key"
            )),
            Found::Unreadable { place, why } => output.unreadable(&format!("{place}: {why}")),
            Found::Problem(message) => output.unreadable(&message),
            Found::End { events, .. } => ended.push((input, events)),
        }
    }
    let results = dry_runs.process(&events).await;
    for (event, result) in events.iter().zip(results) {
        output.processed(event, result)?;
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
}

impl Enforcement<'_> {
    /// One event at a time, in order, as the function does. What was done is printed before anything else is done.
    async fn process(&self, batch: Batch<'_>, output: &mut Output) -> anyhow::Result<()> {
        for (input, found) in batch {
            match found {
                Found::Event(event) => {
                    let parsed = ParsedEvent::Relevant(event.clone());
                    let result = Box::pin(process_event(&self.executor(), &self.store, parsed)).await;
                    // It is about a user, and irrelevant.
                    let is_relevant = |report: &Report| report.event_id.is_some();
                    output.processed(&event, result.map(|report| Some(report).filter(is_relevant)))?;
                }
                Found::Unreadable { place, why } => self.look_up(&place, *why, output).await?,
                Found::Problem(message) => output.unreadable(&message),
                Found::End { events, .. } => output.input_ended(input, events),
            }
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
    progress: Progress,
}

impl Output {
    /// An event was dealt with. No report: it is about a user, and irrelevant.
    fn processed<E: Error + Send + Sync + 'static>(
        &mut self,
        event: &CredentialEvent,
        result: Result<Option<Report>, E>,
    ) -> anyhow::Result<()> {
        match result {
            Ok(None) => Ok(()),
            Ok(Some(report)) => {
                self.tally.credential_writes += 1;
                self.tally.count(event, &report);
                self.print(report)
            }
            Err(error) => {
                self.tally.credential_writes += 1;
                match ledger_error(&error) {
                    Some(LedgerError::Unreadable { .. }) => self.tally.entries_unreadable += 1,
                    Some(_) | None => self.tally.failed += 1,
                }
                self.failed(&format!("event {}", event.provenance.event_id), error)
            }
        }
    }

    /// A key was dealt with whose creation event could not be read.
    fn looked_up(&mut self, report: Report) -> anyhow::Result<()> {
        self.tally.count_key(&report);
        self.print(report)
    }

    fn print(&mut self, report: Report) -> anyhow::Result<()> {
        if report.severity == Severity::Critical && report.verdict.is_none() {
            self.progress.warn_critical(&report.reason);
        }
        let report = report.with_contact(self.contact.as_ref());
        self.reports.write(report).context("could not write to stdout")
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
        self.tally.unreadable += 1;
        self.progress.warn(message);
    }

    fn input_ended(&mut self, input: &Input, events: u64) {
        self.tally.end(input, events);
        self.progress.advance(input.size());
    }
}

/// What was seen.
struct Tally {
    events: u64,
    events_in: Vec<u64>,
    credential_writes: u64,
    judged: u64,
    /// Calls that failed, and what else is about no key.
    attempts: u64,
    /// The guard's own heartbeats.
    heartbeats: u64,
    /// Events about keys that were not judged.
    without_verdict: u64,
    /// Keys that were created for services that the policy does not judge.
    not_judged: BTreeMap<Service, u64>,
    verdicts: BTreeMap<Verdict, u64>,
    /// Events whose items in the ledger cannot be read.
    entries_unreadable: u64,
    failed: u64,
    /// Inputs that are no events, or none that can be read.
    unreadable: u64,
    /// Keys that IAM lists for unreadable creation events.
    looked_up: BTreeMap<Verdict, u64>,
    /// Unreadable creation events for which that failed.
    lookups_failed: u64,
}

impl Tally {
    fn new(directories: usize) -> Self {
        Self {
            events: 0,
            events_in: vec![0; directories],
            credential_writes: 0,
            judged: 0,
            attempts: 0,
            heartbeats: 0,
            without_verdict: 0,
            not_judged: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            entries_unreadable: 0,
            failed: 0,
            unreadable: 0,
            looked_up: BTreeMap::new(),
            lookups_failed: 0,
        }
    }

    fn end(&mut self, input: &Input, events: u64) {
        self.events += events;
        if let Input::File { directory: Some(index), .. } = input
            && let Some(count) = self.events_in.get_mut(*index)
        {
            *count += events;
        }
    }

    fn count(&mut self, event: &CredentialEvent, report: &Report) {
        if let Some(service) = report.service.as_ref().filter(|_| report.service_not_judged) {
            *self.not_judged.entry(service.clone()).or_default() += 1;
        }
        match report.verdict {
            Some(verdict) => {
                self.judged += 1;
                *self.verdicts.entry(verdict).or_default() += 1;
            }
            None => match AuditEvent::new(event.clone()) {
                Some(AuditEvent::Heartbeat(_)) => self.heartbeats += 1,
                Some(AuditEvent::FailedCall(_) | AuditEvent::UserChanged(_)) => self.attempts += 1,
                None => self.without_verdict += 1,
            },
        }
    }

    /// The report of a key that was looked up.
    fn count_key(&mut self, report: &Report) {
        if let Some(verdict) = report.verdict {
            *self.looked_up.entry(verdict).or_default() += 1;
        }
    }

    fn found(&self, what: FailOn) -> u64 {
        let of = |verdict| self.of(verdict) + self.looked_up.get(&verdict).copied().unwrap_or_default();
        match what {
            FailOn::Noncompliant => of(Verdict::Noncompliant),
            FailOn::Undetermined => of(Verdict::Noncompliant) + of(Verdict::Undetermined),
        }
    }

    fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or_default()
    }

    /// About keys that were created for services that the policy does not judge. `None`: there are none.
    fn not_judged(&self) -> Option<String> {
        let services: Vec<_> = self
            .not_judged
            .iter()
            .map(|(service, keys)| {
                let unknown = if service.is_known() { "" } else { ", which this version does not know" };
                format!("{service} ({keys}{unknown})")
            })
            .collect();
        (!services.is_empty()).then(|| {
            format!(
                "warning: keys were created for services that the policy does not judge: {}. To have them judged, add the \
                 services to `services` in [default] of the policy file",
                services.join(", ")
            )
        })
    }

    /// The numbers before the semicolon add up to the events that were read.
    fn summary(&self) -> String {
        let mut line = format!(
            "{} events read: {} judged ({} noncompliant, {} undetermined, {} exempt, {} compliant), \
             {} attempts and changes of users recorded, {} other credential writes without a verdict, {} of other kinds",
            self.events,
            self.judged,
            self.of(Verdict::Noncompliant),
            self.of(Verdict::Undetermined),
            self.of(Verdict::Exempt),
            self.of(Verdict::Compliant),
            self.attempts,
            self.without_verdict,
            self.events.saturating_sub(self.credential_writes),
        );
        for (count, what) in [
            (self.heartbeats, "heartbeats"),
            (self.failed, "failed"),
            (self.entries_unreadable, "with an unreadable item in the ledger"),
        ] {
            if count > 0 {
                let part = format!(", {count} {what}");
                line.push_str(&part);
            }
        }
        let unreadable = format!("; {} unreadable", self.unreadable);
        line.push_str(&unreadable);
        let keys: u64 = self.looked_up.values().sum();
        for (count, what) in [(keys, "keys looked up for them"), (self.lookups_failed, "not looked up")] {
            if count > 0 {
                let part = format!(", {count} {what}");
                line.push_str(&part);
            }
        }
        line
    }
}
