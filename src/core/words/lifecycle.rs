//! The sentences about what the guard did with a key, and the words of the table in `docs/lifecycle.md`.

use std::fmt;

use super::{describe_event, reason};
use crate::cloudtrail::EventKind;
use crate::key::KeyStatus;
use crate::lifecycle::input::Ceiling;
use crate::lifecycle::result::SessionEnd;
use crate::lifecycle::state::{Deactivation, Downgrade, GoneEvidence, InactiveCause, Intent, Phase, Record};
use crate::lifecycle::transition::{Column, Reason, Row, Step};
use crate::policy::{Assessment, Response, Verdict};
use crate::time::rfc3339;

/// About a key of a service that the policy does not judge.
pub const NOT_JUDGED: &str = "The policy does not judge keys of this service.";

/// Why a key deserves what it deserves, and what became of it.
#[must_use]
pub fn describe_result(
    record: &Record,
    assessment: &Assessment,
    end: SessionEnd,
    ceiling: Ceiling,
) -> String {
    let mut sentences = vec![reason(assessment)];
    match &record.phase {
        Phase::Settled => sentences.extend(describe_prevented_response(assessment, ceiling)),
        Phase::Pending(intent) => sentences.extend(describe_pending(intent, end)),
        Phase::Deactivated(deactivation) => {
            sentences.extend(describe_deactivation(record, deactivation, end));
        }
        Phase::Inactive(InactiveCause::Deactivated) => {
            sentences.push("It is inactive, and the guard did not deactivate it.".to_owned());
        }
        Phase::Inactive(InactiveCause::Expired) => sentences.push("It has expired.".to_owned()),
        Phase::Gone(gone) => sentences.push(describe_gone(gone)),
    }
    match end {
        SessionEnd::Logged(_) => {
            sentences.push("Nothing more follows from this event; it is in the key's history.".to_owned());
        }
        SessionEnd::Stored | SessionEnd::Left(_) => {}
    }
    sentences.join(" ")
}

/// The ceiling kept the guard from doing anything.
fn describe_prevented_response(assessment: &Assessment, ceiling: Ceiling) -> Option<String> {
    let is_prevented = assessment.verdict() == Verdict::Noncompliant
        && assessment.response > Response::Monitor
        && ceiling == Ceiling::Monitor;
    is_prevented.then(|| {
        format!(
            "The policy's response is {}. The ceiling is monitor, so nothing was done.",
            assessment.response
        )
    })
}

fn describe_pending(intent: &Intent, end: SessionEnd) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(intent.downgraded.map(describe_downgrade));
    let is_left_to_lease_holder = end == SessionEnd::Left(Reason::LeftToLeaseHolder);
    sentences.push(if is_left_to_lease_holder {
        "Another worker is executing the response.".to_owned()
    } else {
        "The response is pending. The next resume executes it, unless the function's ceiling is monitor."
            .to_owned()
    });
    sentences
}

fn describe_deactivation(record: &Record, deactivation: &Deactivation, end: SessionEnd) -> Vec<String> {
    let mut sentences = vec![format!("The guard deactivated it on {}.", rfc3339(deactivation.at))];
    sentences.extend(deactivation.downgraded.map(describe_downgrade));
    sentences.extend(record.delete_after.map(|end| {
        format!(
            "It is in quarantine until {}. After that, the guard deletes it if policy and ceiling allow it.",
            rfc3339(end)
        )
    }));
    if end == SessionEnd::Left(Reason::BudgetSpent) {
        sentences.push(
            "The account's deletions of this hour are used up, so the guard deletes it in a later hour."
                .to_owned(),
        );
    }
    sentences
}

fn describe_downgrade(downgrade: Downgrade) -> String {
    let why = match downgrade {
        Downgrade::Breaker => "the account's deletions of that hour were used up",
        Downgrade::Ceiling => "the ceiling did not allow that",
    };
    format!(
        "The policy says to delete it. As {why}, it is deactivated instead, and stays so until it is activated \
         or reset, or somebody deletes it."
    )
}

fn describe_gone(gone: &GoneEvidence) -> String {
    match gone {
        GoneEvidence::DeletedByGuard { at } => format!("The guard deleted it on {}.", rfc3339(*at)),
        GoneEvidence::DeletedBy { event, .. } => {
            let who = event.actor.principal.as_deref().unwrap_or("Somebody");
            format!("{who} deleted it on {}. IAM does not list it any more.", rfc3339(event.event_time))
        }
        GoneEvidence::Absent { .. } => "IAM does not list it for any user any more.".to_owned(),
    }
}

/// About a key of which at most its end is known.
#[must_use]
pub fn describe_end_without_record(gone: Option<&GoneEvidence>) -> String {
    match gone {
        Some(gone) => format!(
            "No record of this key. {} A tombstone is stored, in case its creation event arrives late.",
            describe_gone(gone)
        ),
        None => "No record of this key.".to_owned(),
    }
}

/// About an event from which nothing followed.
#[must_use]
pub fn describe_ignored_event(kind: &EventKind, is_known: bool) -> String {
    let event = describe_event(kind);
    match (kind, is_known) {
        (EventKind::Created(_), false) => event,
        (EventKind::StatusChanged { .. } | EventKind::SecretReset(_) | EventKind::Deleted(_), false) => {
            format!("{event} {NOT_JUDGED}")
        }
        (
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_)
            | EventKind::Failed(_)
            | EventKind::AccessKeyCreated { .. },
            _,
        ) => format!("{event} Nothing follows from that; it is in the key's history."),
    }
}

/// About a key that was found by looking it up, as its creation event could not be read. `reason` is about the key.
#[must_use]
pub fn describe_unreadable_creation(unreadable: &str, reason: &str) -> String {
    format!(
        "A creation event could not be read ({unreadable}). IAM lists this key, which was created within 10 \
         minutes of it. {reason}"
    )
}

/// Why a key deserves what it deserves, and what the guard would do.
#[must_use]
pub fn describe_dry_run(assessment: &Assessment, response: Response, status: Option<KeyStatus>) -> String {
    let would = match (response, status) {
        (Response::None, _) => "record the key",
        (Response::Monitor, _) => "record and report the key",
        (
            Response::Deactivate | Response::Quarantine | Response::Delete,
            Some(KeyStatus::Inactive | KeyStatus::Expired),
        ) => "leave the key alone, as it is not active",
        (Response::Deactivate, Some(KeyStatus::Active) | None) => "deactivate the key",
        (Response::Quarantine, Some(KeyStatus::Active) | None) => "put the key in quarantine",
        (Response::Delete, Some(KeyStatus::Active) | None) => "delete the key",
    };
    format!("{} This is a dry run: the guard would {would}.", reason(assessment))
}

/// As the table in `docs/lifecycle.md` has it.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Tombstone => "Tombstone",
            Self::Settled => "Settled",
            Self::PendingLeased => "Pending, leased",
            Self::Pending => "Pending",
            Self::Deactivated => "Deactivated",
            Self::Inactive => "Inactive",
            Self::Gone => "Gone",
        })
    }
}

/// As the table in `docs/lifecycle.md` has it.
impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Activated => "activated",
            Self::Reset => "reset",
            Self::Deactivated => "deactivated",
            Self::Deleted => "deleted",
            Self::ListedActive => "listed active",
            Self::ListedInactive => "listed inactive",
            Self::NotListed => "not listed",
            Self::Resume => "resume",
        })
    }
}

/// As the table in `docs/lifecycle.md` has it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leave => "–",
            Self::Log => "log",
            Self::Wait => "wait",
            Self::Assess => "assess",
            Self::InspectThenAssess => "inspect, assess",
            Self::InspectThenBury => "inspect, gone",
            Self::InspectIfNewer => "if newer: inspect",
            Self::ConfirmDeletion => "confirm deletion",
            Self::AssessIfNewer => "if newer: assess",
            Self::NoteInactiveIfNewer => "if newer: inactive",
            Self::NoteInactive => "inactive",
            Self::NoteAbsence => "note absence",
            Self::AssessOrDelete => "assess or delete",
            Self::DeleteIfDue => "delete if due",
            Self::Resume => "resume",
            Self::ResumeFirst => "resume first",
            Self::AddFacts => "add facts",
            Self::AddDeleter => "add deleter",
        })
    }
}

/// What a cell of the table means: the legend in `docs/lifecycle.md`.
#[must_use]
pub const fn describe_step(step: Step) -> &'static str {
    match step {
        Step::Leave => "Nothing follows.",
        Step::Log => "A line of history; the state stays.",
        Step::Wait => "Another worker executes the intent. Wait for its lease, then decide again.",
        Step::Assess => {
            "Add what the input says. Judge the key if the trigger is new. If the evidence has made it \
             noncompliant, act on that, too. Otherwise a line of history."
        }
        Step::InspectThenAssess => {
            "Ask IAM. Listed: as *assess*. Absent: store that; absent again 60 seconds later: `Tombstone`."
        }
        Step::InspectThenBury => {
            "Ask IAM. Listed: as *assess*. Absent: `Gone`, since the tombstone and IAM agree."
        }
        Step::InspectIfNewer => {
            "Only for a key that was absent, and an event that is newer than that: ask IAM. Listed: as \
             *assess*. Otherwise a line of history."
        }
        Step::ConfirmDeletion => {
            "Ask IAM. Absent: `Gone` (`Tombstone`, if nothing else is known). Still listed: store that; still \
             listed 60 seconds later: a line of history, and an unknown key is dealt with as listed."
        }
        Step::AssessIfNewer => {
            "A list that was requested less than 60 seconds after the key's end says nothing. Otherwise as \
             *assess*."
        }
        Step::NoteInactiveIfNewer => {
            "A list that was requested less than 60 seconds after the key's end says nothing. Otherwise as \
             *inactive*."
        }
        Step::NoteInactive => {
            "Add what the list says. `Inactive`. If the quarantine is over: as *delete if due*."
        }
        Step::NoteAbsence => "Store the absence. Absent again 60 seconds later: `Gone`.",
        Step::AssessOrDelete => {
            "A new trigger: as *assess*. A list that is too early to be one: as *delete if due*."
        }
        Step::DeleteIfDue => {
            "If the quarantine is over, and policy and ceiling allow a deletion: `Pending`. Otherwise add what \
             the list says."
        }
        Step::Resume => "Take the lease and execute the intent. The ceiling `monitor` pauses it.",
        Step::ResumeFirst => "As *resume*. Then apply the input to what that left.",
        Step::AddFacts => "Add what the input says. The phase stays.",
        Step::AddDeleter => "Add who deleted the key, unless the guard did.",
    }
}
