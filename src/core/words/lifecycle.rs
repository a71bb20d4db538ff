//! The sentences about what the guard did with a key, and the words of the table in `docs/lifecycle.md`.

use std::fmt;

use super::{describe_event, reason};
use crate::cloudtrail::{EventKind, Provenance, SetStatus};
use crate::key::{Status, UserName};
use crate::lifecycle::dry_run::DryRun;
use crate::lifecycle::effect::{Change, HeardEvent};
use crate::lifecycle::input::{Action, Ceiling, TriggerKind};
use crate::lifecycle::result::held_back_deletion;
use crate::lifecycle::standing::Standing;
use crate::lifecycle::state::{
    Contradiction, Deactivation, Downgrade, GoneEvidence, InactiveCause, Intent, Observation, Phase, Record,
};
use crate::lifecycle::transition::{Column, Reason, Row, SessionEnd, Step};
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
    sentences.extend(describe_correction(record.creation.as_ref()));
    match &record.phase {
        Phase::Settled => sentences.extend(describe_prevented_response(assessment, ceiling)),
        Phase::Pending(intent) => sentences.extend(describe_pending(record, intent, end)),
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

fn describe_pending(record: &Record, intent: &Intent, end: SessionEnd) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(intent.downgraded.map(|downgrade| describe_downgrade(record, downgrade)));
    let is_left_to_lease_holder = end == SessionEnd::Left(Reason::LeftToLeaseHolder);
    sentences.push(if is_left_to_lease_holder {
        "Another worker is executing the response.".to_owned()
    } else {
        "The response is pending. The guard executes it within about ten minutes, unless its ceiling is monitor."
            .to_owned()
    });
    sentences
}

fn describe_deactivation(record: &Record, deactivation: &Deactivation, end: SessionEnd) -> Vec<String> {
    let mut sentences = vec![format!("The guard deactivated it on {}.", rfc3339(deactivation.at))];
    sentences.extend(deactivation.downgraded.map(|downgrade| describe_downgrade(record, downgrade)));
    sentences.extend(match (held_back_deletion(record), end, record.delete_after) {
        (_, SessionEnd::Left(Reason::BudgetSpent), _) => Some(
            "The account's deletions of this hour are used up, so the guard deletes it in a later hour."
                .to_owned(),
        ),
        (Some(Downgrade::Breaker), ..) => Some("The guard deletes it in a later hour.".to_owned()),
        (Some(Downgrade::Ceiling), ..) => {
            Some("The guard deletes it once the ceiling allows that.".to_owned())
        }
        (None, _, Some(time)) => Some(format!(
            "It is in quarantine until {}. After that, the guard deletes it if policy and ceiling allow it.",
            rfc3339(time)
        )),
        (None, _, None) => None,
    });
    sentences
}

fn describe_downgrade(record: &Record, downgrade: Downgrade) -> String {
    let why = match downgrade {
        Downgrade::Breaker => "the account's deletions of that hour were used up",
        Downgrade::Ceiling => "the ceiling did not allow that",
    };
    // The end of a quarantine stays (R12).
    let until = match record.delete_after {
        None => ", and stays so until it is activated or reset, or somebody deletes it",
        Some(_) => "",
    };
    format!("The policy says to delete it. As {why}, it is deactivated instead{until}.")
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

/// About a key whose end is known at most.
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

/// About a key without a record: an event is known, and one answer of IAM that contradicts it (R3).
#[must_use]
pub fn describe_unconfirmed(observation: Observation) -> String {
    let said = match observation.seen {
        Contradiction::Absent => "An event names it. IAM did not list it",
        Contradiction::StillListed => "An event says that it was deleted. IAM still listed it",
    };
    format!(
        "No record of this key. {said} on {}. A second answer confirms that.",
        rfc3339(observation.asked_at)
    )
}

/// A line of a key's history.
#[must_use]
pub fn describe_change(change: &Change) -> String {
    match change {
        Change::Heard(heard) => describe_heard(*heard).to_owned(),
        Change::Assessed => "The key was assessed. No response is pending.".to_owned(),
        Change::Intended { action, trigger, .. } => {
            format!(
                "The guard is to {} the key, because {}.",
                describe_action(*action),
                describe_trigger(*trigger)
            )
        }
        Change::Acted { action: Action::Deactivate, .. } => "The guard deactivated the key.".to_owned(),
        Change::Acted { action: Action::Delete, .. } => "The guard deleted the key.".to_owned(),
        Change::Observed(Contradiction::Absent) => {
            "IAM does not list the key. A second answer confirms that.".to_owned()
        }
        Change::Observed(Contradiction::StillListed) => {
            "An event says that the key was deleted, and IAM still lists it. A second answer confirms that."
                .to_owned()
        }
        Change::Gone => "The key is gone: IAM does not list it for any user.".to_owned(),
        Change::Inactive => "IAM lists the key, and it is not active.".to_owned(),
        Change::Learned => "Facts or evidence of the key were added.".to_owned(),
        Change::Reported => "The finding was published.".to_owned(),
    }
}

/// What an event did to a key.
#[must_use]
pub const fn describe_heard(heard: HeardEvent) -> &'static str {
    match heard {
        HeardEvent::Created => "The key was created.",
        HeardEvent::Activated => "The key was activated.",
        HeardEvent::Reset => "The key was reset: it has a new secret, and keeps its lifetime.",
        HeardEvent::Deactivated => "The key was deactivated.",
        HeardEvent::Deleted => "The key was deleted.",
    }
}

/// A sentence about an event, with what the event corrects.
#[must_use]
pub fn with_correction(sentence: String, event: &Provenance) -> String {
    match &event.corrects {
        Some(corrects) => format!("{sentence} The event {corrects}."),
        None => sentence,
    }
}

const fn describe_action(action: Action) -> &'static str {
    match action {
        Action::Deactivate => "deactivate",
        Action::Delete => "delete",
    }
}

/// After "because".
const fn describe_trigger(trigger: TriggerKind) -> &'static str {
    match trigger {
        TriggerKind::Created => "it was created",
        TriggerKind::Activated => "it was activated",
        TriggerKind::Reset => "it was reset",
        TriggerKind::ObservedActive => "a sweep saw it active",
        TriggerKind::QuarantineEnded => "its quarantine has ended",
    }
}

/// What is known of a key that an event is about, from which nothing followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IgnoredKey {
    /// It has a record.
    Known,
    /// It has none.
    Unknown,
    /// The policy does not judge keys of its service.
    NotJudged,
}

/// About an event from which nothing followed.
#[must_use]
pub fn describe_ignored_event(kind: &EventKind, key: IgnoredKey) -> String {
    let event = describe_event(kind);
    match (kind, key) {
        (EventKind::Created(_), IgnoredKey::NotJudged) => event,
        (
            EventKind::StatusChanged { .. } | EventKind::SecretReset(_) | EventKind::Deleted(_),
            IgnoredKey::NotJudged,
        ) => format!("{event} {NOT_JUDGED}"),
        (_, IgnoredKey::Unknown) => format!("{event} {}", describe_end_without_record(None)),
        (
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_)
            | EventKind::Failed(_)
            | EventKind::UserChanged(_),
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

/// What is left of the user that a console created for a key, once the key is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleUser<'a> {
    /// Nothing.
    Deleted,
    /// It still exists.
    Exists {
        /// The ARNs of the policies that are attached to it.
        policies: &'a [String],
        /// The ids of its access keys.
        access_keys: &'a [String],
    },
    /// IAM did not say.
    Unknown {
        /// Why.
        why: &'a str,
    },
}

/// About such a user. Nothing ever deletes it, and anybody who adds an access key to it can go on without the API key.
#[must_use]
pub fn describe_console_user(user: &UserName, left: ConsoleUser<'_>) -> String {
    let user = format!("The user {user}, which a console created for this key,");
    let (policies, access_keys) = match left {
        ConsoleUser::Deleted => return format!("{user} no longer exists."),
        ConsoleUser::Unknown { why } => return format!("{user} may still exist: {why}."),
        ConsoleUser::Exists { policies, access_keys } => (policies, access_keys),
    };
    let names: Vec<_> = policies.iter().filter_map(|arn| arn.rsplit('/').next()).collect();
    let policies = if names.is_empty() {
        "no policies".to_owned()
    } else {
        format!("the policies {}", names.join(", "))
    };
    if access_keys.is_empty() {
        format!("{user} still exists, with {policies} and no access keys.")
    } else {
        format!("{user} still exists, with {policies} and with access keys: {}.", access_keys.join(", "))
    }
}

/// Why a key deserves what it deserves, and what the guard would do.
#[must_use]
pub fn describe_dry_run(dry_run: &DryRun) -> String {
    let standing = &dry_run.standing;
    let is_only_listed = standing.since.is_none();
    let would = match (dry_run.response, standing.status) {
        (Response::None, _) => "would record the key",
        (Response::Monitor, _) => "would record and report the key",
        (
            Response::Deactivate | Response::Quarantine | Response::Delete,
            Status::Inactive | Status::Expired,
        ) if is_only_listed => "would leave the key alone, as it is not active",
        (Response::Deactivate, Status::Active | Status::Unknown) => "would deactivate the key",
        (Response::Quarantine, Status::Active | Status::Unknown) => "would put the key in quarantine",
        (Response::Delete, Status::Active | Status::Unknown) => "would delete the key",
        (Response::Deactivate, _) => "would have deactivated the key, had it still been active",
        (Response::Quarantine, _) => "would have put the key in quarantine, had it still been active",
        (Response::Delete, _) => "would have deleted the key, had it still been active",
    };
    let mut sentences = vec![reason(&dry_run.assessment)];
    sentences.extend(describe_correction(dry_run.creation.as_ref()));
    sentences.push(format!("This is a dry run: the guard {would}."));
    sentences.extend(describe_end_of_status(standing));
    sentences.join(" ")
}

/// About a key whose creation was not replayed in a dry run, only later events.
#[must_use]
pub fn describe_unassessed_dry_run(standing: &Standing) -> String {
    let end = describe_end_of_status(standing).map(|end| format!(" {end}")).unwrap_or_default();
    format!("No dry run has the creation of this key, so it is not judged.{end}")
}

/// Who deactivated or deleted a key, as an event says.
fn describe_end_of_status(standing: &Standing) -> Option<String> {
    let done = match standing.status {
        Status::Inactive => "deactivated",
        Status::Gone => "deleted",
        Status::Active | Status::Expired | Status::Unknown => return None,
    };
    let who = standing.by.as_deref().unwrap_or("Somebody");
    Some(format!("{who} {done} it on {}.", rfc3339(standing.since?)))
}

/// About a key whose creation event CloudTrail has corrected.
fn describe_correction(creation: Option<&Provenance>) -> Option<String> {
    let creation = creation?;
    let corrects = creation.corrects.as_ref()?;
    Some(format!("CloudTrail has corrected its creation event: event {} {corrects}.", creation.event_id))
}

/// About an event from which nothing would follow, in a dry run.
#[must_use]
pub fn describe_ignored_event_in_dry_run(kind: &EventKind, is_judged: bool) -> String {
    let event = describe_event(kind);
    match kind {
        EventKind::Created(_) | EventKind::Failed(_) | EventKind::UserChanged(_) => event,
        EventKind::StatusChanged { .. } | EventKind::SecretReset(_) | EventKind::Deleted(_) if !is_judged => {
            format!("{event} {NOT_JUDGED}")
        }
        EventKind::StatusChanged { status: SetStatus::Active, .. } | EventKind::SecretReset(_) => {
            format!("{event} No dry run has its creation, so it is not known when it expires.")
        }
        EventKind::StatusChanged { status: SetStatus::Inactive, .. } | EventKind::Deleted(_) => {
            format!("{event} Nothing follows from that.")
        }
    }
}

/// About a known key that is in none of IAM's lists, in a dry run.
pub const ABSENT_IN_DRY_RUN: &str =
    "IAM does not list it for any user. This is a dry run, so the guard's record of it stays as it is.";

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
            Self::NoteDeactivation => "note deactivation",
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
        Step::NoteDeactivation => {
            "Note that the key is inactive, since when and by whom. No response follows. Where that changes \
             nothing, or something later is known: a line of history."
        }
        Step::Wait => "Another worker executes the intent. Wait for its lease, then decide again.",
        Step::Assess => {
            "Add what the input says. Judge the key if the trigger is new. If what is new has made it \
             noncompliant, or requires more, act on that, too. Otherwise a line of history."
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
             listed 60 seconds later, both asked after the deletion: a line of history, and an unknown key is dealt \
             with as listed."
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
             the list says. A sweep judges the key again first."
        }
        Step::Resume => "Take the lease and execute the intent. The ceiling `monitor` pauses it.",
        Step::ResumeFirst => "As *resume*. Then apply the input to what that left.",
        Step::AddFacts => "Add what the input says. The phase stays.",
        Step::AddDeleter => "Add who deleted the key, unless the guard did.",
    }
}
