//! `replay`: events from files through the corridor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::input::{Found, Input, Inputs, read_all};
use super::output::{Format, Reports};
use super::progress::Progress;
use super::{Exit, FailOn, LedgerPlace, load_policy, say, shown};
use crate::aws::keys::{IamAccess, IamKeys, Own};
use crate::clock::SystemClock;
use crate::config::{Home, RoleName};
use crate::corridor::{Corridor, Reach};
use crate::enforce::Failure;
use crate::ledger::{DynamoLedger, LedgerError, Source};
use key_guard_core::cloudtrail::ParsedEvent;
use key_guard_core::policy::{Policy, Response, Verdict};
use key_guard_core::report::{Outcome, Report, Severity};

/// Judges events from files and records them
///
/// Takes EventBridge events, CloudTrail records and log files, and what `aws sqs receive-message` prints of
/// the guard's queues, alone, in arrays or one to a line, gzipped or not: each file is told by its content.
/// AWS is not called unless --apply or a ledger in DynamoDB asks for it.
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

    /// The policy file [default: the built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// How reports are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Exit with 3 when something like this is found
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,

    /// Ask IAM about each noncompliant or undetermined key, and act as far as --ceiling allows
    #[arg(long)]
    apply: bool,

    /// The furthest that any response may go: monitor, deactivate or delete
    /// [default: monitor with --apply; delete without, since nothing is touched then]
    #[arg(long, value_name = "RESPONSE", verbatim_doc_comment)]
    ceiling: Option<Response>,

    /// The name of the role to assume in other accounts, for --apply
    #[arg(long, value_name = "ROLE", requires = "apply")]
    responder_role: Option<RoleName>,
}

impl Replay {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let policy = Arc::new(load_policy(self.policy.as_deref())?);
        let inputs = Inputs::gather(&self.paths)?;
        let runtime = super::runtime()?;
        let mut reports = Reports::begin(self.format)?;
        let mut tally = Tally::new(inputs.directories.len());
        let progress = Progress::of_bytes(inputs.total_size());
        let read = read_all(&inputs.inputs, || {
            let corridor = runtime.block_on(self.corridor(policy))?;
            let (runtime, reports, tally, progress) = (&runtime, &mut reports, &mut tally, &progress);
            // What is acted upon is printed before anything else is.
            let at_once = if self.apply { 1 } else { usize::MAX };
            Ok(move |input: &Input, batch: Vec<Found>| {
                let (mut ours, mut ended) = (Vec::with_capacity(batch.len()), None);
                for found in batch {
                    match found {
                        Found::Event(inbound) => ours.push(inbound),
                        Found::Problem(message) => {
                            tally.unreadable += 1;
                            progress.warn(&message);
                        }
                        Found::End { events } => ended = Some(events),
                    }
                }
                tally.credential_writes += ours.len() as u64;
                for ours in ours.chunks(at_once) {
                    let results = runtime.block_on(corridor.take_all(ours));
                    for (inbound, result) in ours.iter().zip(results) {
                        match result {
                            Ok(report) => {
                                if report.severity == Severity::Critical && report.verdict.is_none() {
                                    progress.warn(&format!("critical: {}", report.reason));
                                }
                                tally.count(&report);
                                reports.write(report).context("could not write to stdout")?;
                            }
                            Err(failure @ Failure::Open { source: LedgerError::Unreadable { .. }, .. }) => {
                                tally.entries_unreadable += 1;
                                let failure = crate::telemetry::chain(&failure);
                                progress.warn(&format!("{}: {failure}", event_id(inbound)));
                            }
                            Err(
                                failure @ (Failure::Open { .. }
                                | Failure::Record { .. }
                                | Failure::Settle { .. }),
                            ) => {
                                return Err(failure.into());
                            }
                            Err(failure) => {
                                tally.failed += 1;
                                let failure = crate::telemetry::chain(&failure);
                                progress.warn(&format!("{}: {failure}", event_id(inbound)));
                            }
                        }
                    }
                }
                if let Some(events) = ended {
                    tally.end(input, events);
                    progress.advance(input.size());
                }
                Ok(())
            })
        });
        drop(progress);
        // What was done until an error is said before the error.
        let ended = reports.end().context("could not write to stdout");
        say(&tally.summary());
        read?;
        ended?;
        Ok(self.exit(&tally, &inputs).into())
    }

    async fn corridor(
        &self,
        policy: Arc<Policy>,
    ) -> anyhow::Result<Corridor<DynamoLedger, IamKeys, SystemClock>> {
        let default_ceiling = if self.apply { Response::Monitor } else { Response::Delete };
        Ok(Corridor {
            policy,
            ceiling: self.ceiling.unwrap_or(default_ceiling),
            source: Source::Replay,
            ledger: super::to_write(&self.ledger, self.apply).await?,
            reach: if self.apply {
                Reach::Keys(iam(self.responder_role.clone()).await?)
            } else {
                Reach::Rehearsal
            },
            clock: SystemClock,
        })
    }

    fn exit(&self, tally: &Tally, inputs: &Inputs) -> Exit {
        let mut empty = false;
        for (directory, events) in inputs.directories.iter().zip(&tally.events_in) {
            if *events == 0 {
                say(&format!("error: {}: no events in this directory", shown(directory)));
                empty = true;
            }
        }
        if tally.failed > 0 || (empty && tally.unreadable == 0) {
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

/// IAM, with the caller's own identity to tell which account that is.
pub async fn iam(responder: Option<RoleName>) -> anyhow::Result<IamKeys> {
    let sdk = crate::aws::sdk_config().await;
    let caller = aws_sdk_sts::Client::new(&sdk)
        .get_caller_identity()
        .send()
        .await
        .context("could not ask AWS STS whose credentials these are")?;
    let own = caller.arn().and_then(|arn| arn.splitn(6, ':').nth(5)).map(|own| Own::Person(own.to_owned()));
    let home: Home = caller
        .arn()
        .unwrap_or_default()
        .parse()
        .map_err(anyhow::Error::msg)
        .context("AWS STS gave no usable identity")?;
    Ok(IamAccess::new(sdk, responder).at(home, own))
}

fn event_id(inbound: &ParsedEvent) -> String {
    match inbound {
        ParsedEvent::Relevant(ours) => format!("event {}", ours.provenance.event_id),
        ParsedEvent::Irrelevant(_) => "event".to_owned(),
    }
}

/// What was seen.
struct Tally {
    events: u64,
    events_in: Vec<u64>,
    credential_writes: u64,
    judged: u64,
    ignored: u64,
    /// Calls that failed, and what else is recorded and is about no key.
    attempts: u64,
    verdicts: BTreeMap<Verdict, u64>,
    /// Inputs that are no events, or none that can be read.
    unreadable: u64,
    /// Events whose key's entry in the ledger cannot be read.
    entries_unreadable: u64,
    failed: u64,
}

impl Tally {
    fn new(directories: usize) -> Self {
        Self {
            events: 0,
            events_in: vec![0; directories],
            credential_writes: 0,
            judged: 0,
            ignored: 0,
            attempts: 0,
            verdicts: BTreeMap::new(),
            unreadable: 0,
            entries_unreadable: 0,
            failed: 0,
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

    fn count(&mut self, report: &Report) {
        match (report.outcome, report.verdict) {
            (Outcome::Ignored, _) => self.ignored += 1,
            (_, Some(_)) => self.judged += 1,
            (_, None) => self.attempts += 1,
        }
        if let Some(standing) = report.verdict {
            *self.verdicts.entry(standing).or_default() += 1;
        }
    }

    fn found(&self, what: FailOn) -> u64 {
        match what {
            FailOn::Noncompliant => self.of(Verdict::Noncompliant),
            FailOn::Undetermined => self.of(Verdict::Noncompliant) + self.of(Verdict::Undetermined),
        }
    }

    fn of(&self, standing: Verdict) -> u64 {
        self.verdicts.get(&standing).copied().unwrap_or_default()
    }

    /// The numbers before the semicolon add up to the events that were read.
    fn summary(&self) -> String {
        let mut line = format!(
            "{} events read: {} judged ({} noncompliant, {} undetermined, {} exempt, {} compliant), \
             {} attempts and access keys recorded, {} other credential writes ignored, {} of other kinds",
            self.events,
            self.judged,
            self.of(Verdict::Noncompliant),
            self.of(Verdict::Undetermined),
            self.of(Verdict::Exempt),
            self.of(Verdict::Compliant),
            self.attempts,
            self.ignored,
            self.events.saturating_sub(self.credential_writes),
        );
        for (count, what) in
            [(self.failed, "failed"), (self.entries_unreadable, "with an unreadable entry in the ledger")]
        {
            if count > 0 {
                let part = format!(", {count} {what}");
                line.push_str(&part);
            }
        }
        let unreadable = format!("; {} unreadable", self.unreadable);
        line.push_str(&unreadable);
        line
    }
}
