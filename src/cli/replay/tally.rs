//! What `replay` counts, and its summary.

use std::collections::BTreeMap;

use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::key::Service;
use key_guard_core::policy::Verdict;
use key_guard_core::report::Report;

use super::super::exit::FailOn;
use super::super::input::{Input, Inputs, PassedOver};
use super::super::messages::{counted, not_judged_warning};
use crate::ledger::audit::AuditEvent;

/// What an event of ours counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Counted {
    /// The event of a key that was judged.
    Judged(Verdict),
    /// A call that failed, or a change of a user.
    Attempt,
    /// The guard's own heartbeat.
    Heartbeat,
    /// The event of a key that was not judged.
    WithoutVerdict,
    /// The same event was dealt with before.
    SeenBefore,
    /// Another event corrects it.
    Corrected,
    /// The event of a key whose items in the ledger cannot be read.
    EntryUnreadable,
    /// It could not be dealt with.
    Failed,
}

impl Counted {
    /// An event that was dealt with.
    pub(super) fn of(event: &CredentialEvent, report: &Report) -> Self {
        match report.verdict {
            Some(verdict) => Self::Judged(verdict),
            None => match AuditEvent::new(event.clone()) {
                Some(AuditEvent::Heartbeat(_)) => Self::Heartbeat,
                Some(AuditEvent::FailedCall(_) | AuditEvent::UserChanged(_)) => Self::Attempt,
                Some(AuditEvent::UnjudgedKey(_)) | None => Self::WithoutVerdict,
            },
        }
    }
}

/// What was seen.
pub(super) struct Tally {
    events: u64,
    /// By the index of the directory.
    pub(super) events_in: Vec<u64>,
    /// Each event of ours that was read, once.
    counts: BTreeMap<Counted, u64>,
    /// Keys that were created for services that the policy does not judge.
    not_judged: BTreeMap<Service, u64>,
    /// Inputs that are no events, or none that can be read.
    pub(super) unreadable: u64,
    /// The input that is being read has something of the kind.
    is_damaged: bool,
    /// Files that could not be read, or only in part, and other inputs.
    damaged: (u64, u64),
    /// Creations that cannot be read, and that were seen before.
    pub(super) unreadable_again: u64,
    /// Keys that IAM lists for unreadable creation events.
    looked_up: BTreeMap<Verdict, u64>,
    /// Unreadable creation events for which that failed.
    pub(super) lookups_failed: u64,
    /// What cannot hold an event.
    pub(super) passed_over: PassedOver,
}

impl Tally {
    pub(super) fn new(inputs: &Inputs) -> Self {
        Self {
            events: 0,
            events_in: vec![0; inputs.directories.len()],
            counts: BTreeMap::new(),
            not_judged: BTreeMap::new(),
            unreadable: 0,
            is_damaged: false,
            damaged: (0, 0),
            unreadable_again: 0,
            looked_up: BTreeMap::new(),
            lookups_failed: 0,
            passed_over: inputs.passed_over.clone(),
        }
    }

    /// Something in the input that is being read could not be.
    pub(super) fn count_unreadable(&mut self) {
        self.unreadable += 1;
        self.is_damaged = true;
    }

    /// All that was found in an input has been seen.
    pub(super) fn end_reading(&mut self, input: &Input, passed_over: &PassedOver) {
        self.passed_over.extend(passed_over);
        let is_file = matches!(input, Input::File { .. } | Input::Unlistable { .. });
        let damaged = u64::from(std::mem::take(&mut self.is_damaged));
        let (files, others) = &mut self.damaged;
        *(if is_file { files } else { others }) += damaged;
    }

    /// An input is done.
    pub(super) fn end(&mut self, input: &Input, events: u64) {
        self.events += events;
        if let Input::File { directory: Some(index), .. } = input
            && let Some(count) = self.events_in.get_mut(*index)
        {
            *count += events;
        }
    }

    pub(super) fn count(&mut self, counted: Counted) {
        *self.counts.entry(counted).or_default() += 1;
    }

    /// An event that was counted turns out to be something else.
    pub(super) fn recount(&mut self, before: Counted, after: Counted) {
        if let Some(count) = self.counts.get_mut(&before) {
            *count = count.saturating_sub(1);
            self.count(after);
        }
    }

    /// The report of a key that was looked up.
    pub(super) fn count_key(&mut self, report: &Report) {
        if let Some(verdict) = report.verdict {
            *self.looked_up.entry(verdict).or_default() += 1;
        }
    }

    pub(super) fn found(&self, what: FailOn) -> u64 {
        let of = |verdict| {
            self.of(Counted::Judged(verdict)) + self.looked_up.get(&verdict).copied().unwrap_or_default()
        };
        match what {
            FailOn::Noncompliant => of(Verdict::Noncompliant),
            FailOn::Undetermined => of(Verdict::Noncompliant) + of(Verdict::Undetermined),
        }
    }

    pub(super) fn of(&self, counted: Counted) -> u64 {
        self.counts.get(&counted).copied().unwrap_or_default()
    }

    /// A report that may be about a key of a service that the policy does not judge.
    pub(super) fn note_service(&mut self, report: &Report) {
        if let Some(service) = report.service.as_ref().filter(|_| report.service_not_judged) {
            *self.not_judged.entry(service.clone()).or_default() += 1;
        }
    }

    /// About keys that were created for services that the policy does not judge. `None`: there are none.
    pub(super) fn not_judged(&self) -> Option<String> {
        not_judged_warning("keys were created for", &self.not_judged)
    }

    /// The numbers before the semicolon add up to the events that were read. Where an error ended the run, those of an input that
    /// has not ended count as well.
    pub(super) fn summary(&self) -> String {
        let judged = |verdict| self.of(Counted::Judged(verdict));
        let verdicts =
            [Verdict::Noncompliant, Verdict::Undetermined, Verdict::Exempt, Verdict::Compliant].map(judged);
        let [noncompliant, undetermined, exempt, compliant] = verdicts;
        let ours = self.counts.values().sum();
        let events = self.events.max(ours);
        let mut line = format!(
            "{} read: {} judged ({noncompliant} noncompliant, {undetermined} undetermined, {exempt} exempt, \
             {compliant} compliant), {} recorded, {} without a verdict, {} of other kinds",
            counted(events, "event", "events"),
            verdicts.iter().sum::<u64>(),
            counted(
                self.of(Counted::Attempt),
                "attempt or change of a user",
                "attempts and changes of users"
            ),
            counted(self.of(Counted::WithoutVerdict), "other credential write", "other credential writes"),
            events - ours,
        );
        let heartbeats = counted(self.of(Counted::Heartbeat), "heartbeat", "heartbeats");
        line.extend((self.of(Counted::Heartbeat) > 0).then(|| format!(", {heartbeats}")));
        let more = [
            (self.of(Counted::SeenBefore), "seen before"),
            (self.of(Counted::Corrected), "corrected by other events"),
            (self.of(Counted::Failed), "failed"),
            (self.of(Counted::EntryUnreadable), "with an unreadable item in the ledger"),
        ];
        line.extend(more.into_iter().filter_map(part));
        line.push_str("; ");
        line.push_str(&self.unreadable.to_string());
        line.push_str(" unreadable");
        let keys = self.looked_up.values().sum();
        let more = [
            (self.unreadable_again, "unreadable and seen before"),
            (keys, if keys == 1 { "key looked up for them" } else { "keys looked up for them" }),
            (self.lookups_failed, "not looked up"),
        ];
        line.extend(more.into_iter().filter_map(part));
        line
    }

    /// What exit code 4 is for.
    pub(super) fn why_unreadable(&self) -> String {
        let (files, others) = self.damaged;
        let inputs = if others == 0 { ["file", "files"] } else { ["input", "inputs"] };
        let entries = self.of(Counted::EntryUnreadable);
        let reasons = [
            (files + others, inputs, "could not be read whole"),
            (entries, ["event", "events"], "met an item in the ledger that could not be read"),
        ];
        let reasons = reasons.into_iter().filter(|(count, ..)| *count > 0);
        let reasons: Vec<_> =
            reasons.map(|(count, [one, many], why)| format!("{} {why}", counted(count, one, many))).collect();
        format!("exit 4: {}", reasons.join(", "))
    }
}

/// A part of the summary that is left out where it is zero.
fn part((count, what): (u64, &str)) -> Option<String> {
    (count > 0).then(|| format!(", {count} {what}"))
}
