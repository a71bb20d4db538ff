//! What a session returns: the next effect, or a result and the report of it.

use chrono::TimeDelta;

use crate::Time;
use crate::cloudtrail::Provenance;
use crate::key::{KeyRef, KeyStatus, Status};
use crate::policy::{Assessment, Response, Verdict};
use crate::remediation::NextStep;
use crate::report::{KeyResult, Outcome, Report};
use crate::words::lifecycle::{self as words, IgnoredKey};

use super::MAX_CLOCK_SKEW;
use super::assess::is_due;
use super::effect::{CallError, Effect, HeardEvent};
use super::input::{Action, Ceiling, Env, Input, KeyEvent};
use super::state::{
    Contradiction, Downgrade, GoneEvidence, InactiveCause, Intent, KeyState, Phase, Record, StoredState,
};
use super::transition::{Reason, SessionEnd};

/// What the executor does next.
#[derive(Debug)]
pub enum Next {
    /// Perform this, and return the reply.
    Perform(Effect),
    /// Wait about this long, with jitter, and return [`Reply::Waited`](super::effect::Reply::Waited).
    Wait(TimeDelta),
    /// The session has ended.
    Finished(Result<SessionResult, SessionError>),
}

/// A session that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionResult {
    /// Which key.
    pub key: KeyRef,
    /// What it dealt with.
    pub input: Input,
    /// The key's state, as this session left it.
    pub stored: StoredState,
    /// What it did.
    pub end: SessionEnd,
}

impl SessionResult {
    /// What is returned and published of it.
    ///
    /// It depends on the key's final state, not on what this session did. If a worker dies after its last write, the
    /// retry of its event finds nothing to do, and must report the finding all the same (I11). Only a deactivation by
    /// somebody else is `ignored`: a sweep publishes what it changes.
    #[must_use]
    pub fn report(&self, env: &Env<'_>) -> Report {
        let event = self.input.event();
        let record = self.stored.state.record();
        let report = match (self.end, event) {
            (_, Some(event)) if HeardEvent::of(event) == HeardEvent::Deactivated => {
                report_of_deactivation(event, record, self.end)
            }
            (SessionEnd::Left(Reason::OutOfScope), Some(event)) => {
                let event = event.to_event();
                let reason = words::describe_ignored_event(&event.kind, IgnoredKey::NotJudged);
                Report::service_not_judged(&event, reason)
            }
            (SessionEnd::Left(Reason::OutOfScope), None) => self.not_judged(),
            (SessionEnd::Stored | SessionEnd::Left(_) | SessionEnd::Logged(_), _) => match record {
                Some(record) => report_of_record(record, self.end, Some(env.ceiling)),
                None => self.without_record(),
            },
        };
        let creation = record.and_then(|record| record.creation.as_ref());
        report.with_provenance(event.map(|event| &event.provenance).or(creation))
    }

    /// A key of a service that the policy does not judge.
    fn not_judged(&self) -> Report {
        let (facts, status) = match &self.input {
            Input::Listed { listed, .. } => (Some(listed.facts()), Some(listed.status)),
            Input::Event(_) | Input::NotListed { .. } | Input::Resume => (None, None),
        };
        let result = KeyResult::new(Outcome::Ignored, status, words::NOT_JUDGED.to_owned());
        Report::key_not_assessed(&self.key, facts.as_ref(), result)
    }

    /// A key that ended before anything else was known of it, or that nothing is known of.
    fn without_record(&self) -> Report {
        let (outcome, gone) = match &self.stored.state {
            KeyState::Tombstone(gone) => (outcome_of_gone(gone), Some(gone)),
            KeyState::Unknown | KeyState::Unconfirmed(_) | KeyState::Tracked(_) => (Outcome::Ignored, None),
        };
        let result = KeyResult::new(outcome, None, words::describe_end_without_record(gone));
        match self.input.event() {
            Some(event) => {
                let KeyResult { outcome, status, reason, .. } = result;
                Report { status, outcome, ..Report::not_assessed(&event.to_event(), reason) }
            }
            None => Report::key_not_assessed(&self.key, None, result),
        }
    }
}

/// A deactivation by somebody else, from which nothing followed.
fn report_of_deactivation(event: &KeyEvent, record: Option<&Record>, end: SessionEnd) -> Report {
    let event = event.to_event();
    let key = match (record, end) {
        (Some(_), _) => IgnoredKey::Known,
        (None, SessionEnd::Left(Reason::OutOfScope)) => IgnoredKey::NotJudged,
        (None, SessionEnd::Stored | SessionEnd::Left(_) | SessionEnd::Logged(_)) => IgnoredKey::Unknown,
    };
    let report = Report::not_assessed(&event, words::describe_ignored_event(&event.kind, key));
    let Some(record) = record else { return report };
    // While another worker executes an intent, the state stays.
    let is_news = !record.was_seen_after(event.provenance.event_time);
    let seen = if is_news { Some(KeyStatus::Inactive) } else { record.known_status() };
    Report {
        service: Some(record.facts.service.clone()),
        user: Some(record.facts.user.clone()),
        status: outcome_of(record).status(seen),
        ..report
    }
}

/// `ceiling`: `None` where that of the function is not known.
fn report_of_record(record: &Record, end: SessionEnd, ceiling: Option<Ceiling>) -> Report {
    let result = |reason| KeyResult::new(outcome_of(record), record.known_status(), reason);
    let Some(assessment) = record.assessed() else {
        let result = result(words::NOT_JUDGED.to_owned());
        return Report::key_not_assessed(record.key(), Some(&record.facts), result);
    };
    let is_out_of_budget = end == SessionEnd::Left(Reason::BudgetSpent);
    let next_ceiling = ceiling.unwrap_or(Ceiling::Delete);
    // Only the ceiling `monitor` leaves a key settled whose response goes further. In other phases no word depends on it.
    let ceiling = ceiling.unwrap_or(Ceiling::Monitor);
    let result = result(words::describe_result(record, assessment, end, ceiling));
    let next = next_step(record, assessment, result.status, next_ceiling);
    let is_held_back = is_out_of_budget && matches!(next, NextStep::DeletionAfter(_));
    let next = if is_held_back { NextStep::DeletionHeldBack } else { next };
    let result = result.with_next(next);
    let downgraded = record.phase.deactivation().and_then(|deactivation| deactivation.downgraded);
    let report = Report {
        policy_sha256: Some(record.policy_sha256.clone()),
        rate_limited: downgraded == Some(Downgrade::Breaker),
        ..Report::assessed(&record.facts, assessment, lowered_response(assessment, ceiling), result)
    };
    report.with_creator(record.creation.as_ref())
}

/// Why the guard has only deactivated a key whose quarantine was over by then.
pub(crate) fn held_back_deletion(record: &Record) -> Option<Downgrade> {
    let deactivation = record.phase.deactivation()?;
    deactivation.downgraded.filter(|_| is_due(record, deactivation.at))
}

/// What happens to a key next, if nobody does anything.
fn next_step(record: &Record, assessment: &Assessment, status: Status, ceiling: Ceiling) -> NextStep {
    match (&record.phase, record.delete_after) {
        (Phase::Gone(_) | Phase::Inactive(InactiveCause::Expired), _) => NextStep::None,
        // A resume executes the weaker of the intent's action and the ceiling (R8).
        (Phase::Pending(Intent { action, .. }), _) => match (*action, ceiling.action()) {
            (_, None) => NextStep::Monitored,
            (Action::Delete, Some(Action::Delete)) => NextStep::Deletion,
            (Action::Delete, Some(Action::Deactivate)) => NextStep::Deactivation { grace_days: None },
            (Action::Deactivate, Some(_)) => {
                let grace_days = assessment.requires_quarantine().then_some(assessment.grace_days);
                NextStep::Deactivation { grace_days }
            }
        },
        (Phase::Deactivated(_), Some(_)) if held_back_deletion(record).is_some() => {
            NextStep::DeletionHeldBack
        }
        (Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_), Some(time)) => {
            NextStep::DeletionAfter(time)
        }
        (Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_), None) => match status {
            Status::Inactive | Status::Expired => NextStep::StaysInactive,
            Status::Active | Status::Unknown | Status::Gone => NextStep::Monitored,
        },
    }
}

/// The report of a stored state, without a session: what the ledger says of a key. It names who created the key; of a
/// tombstone, who deleted it.
///
/// The ceilings of the function are not known here, so the response is what the guard has done or has yet to do.
#[must_use]
pub fn report_of_state(key: &KeyRef, state: &KeyState) -> Report {
    let (outcome, reason, provenance) = match state {
        KeyState::Tracked(record) => return report_of_stored_record(record),
        KeyState::Tombstone(gone) => {
            (outcome_of_gone(gone), words::describe_end_without_record(Some(gone)), gone.deleted_by())
        }
        KeyState::Unconfirmed(observation) => {
            (Outcome::Ignored, words::describe_unconfirmed(*observation), None)
        }
        KeyState::Unknown => (Outcome::Ignored, words::describe_end_without_record(None), None),
    };
    let report = Report::key_not_assessed(key, None, KeyResult::new(outcome, None, reason));
    report.with_provenance(provenance)
}

fn report_of_stored_record(record: &Record) -> Report {
    let report = report_of_record(record, SessionEnd::Left(Reason::AlreadyKnown), None);
    Report { response: stored_response(record), ..report }.with_provenance(record.creation.as_ref())
}

/// What the guard has done with a key, or has yet to do.
fn stored_response(record: &Record) -> Response {
    let is_quarantined = record.delete_after.is_some();
    match &record.phase {
        Phase::Pending(Intent { action: Action::Delete, .. })
        | Phase::Gone(GoneEvidence::DeletedByGuard { .. }) => Response::Delete,
        Phase::Pending(Intent { action: Action::Deactivate, .. }) => {
            let requires_quarantine = record.assessed().is_some_and(Assessment::requires_quarantine);
            if is_quarantined || requires_quarantine { Response::Quarantine } else { Response::Deactivate }
        }
        Phase::Deactivated(_) if is_quarantined => Response::Quarantine,
        Phase::Deactivated(_) => Response::Deactivate,
        Phase::Settled | Phase::Inactive(_) => match record.verdict() {
            Some(Verdict::Noncompliant) => Response::Monitor,
            None | Some(Verdict::Compliant | Verdict::Exempt | Verdict::Undetermined) => Response::None,
        },
        Phase::Gone(GoneEvidence::DeletedBy { .. } | GoneEvidence::Absent { .. }) => Response::None,
    }
}

/// What the key gets: the policy's response, lowered to the ceiling.
pub(super) fn lowered_response(assessment: &Assessment, ceiling: Ceiling) -> Response {
    match assessment.verdict() {
        Verdict::Compliant | Verdict::Exempt | Verdict::Undetermined => Response::None,
        Verdict::Noncompliant => assessment.response.min(ceiling.response()),
    }
}

pub(super) fn outcome_of(record: &Record) -> Outcome {
    match &record.phase {
        Phase::Deactivated(_) if record.known_status() != Some(KeyStatus::Active) => Outcome::Deactivated,
        // A key that was activated again, which the ceiling lets be.
        Phase::Settled | Phase::Pending(_) | Phase::Deactivated(_) => match record.verdict() {
            None => Outcome::Ignored,
            Some(Verdict::Compliant | Verdict::Exempt | Verdict::Undetermined) => Outcome::Recorded,
            Some(Verdict::Noncompliant) => Outcome::Monitored,
        },
        Phase::Inactive(_) => Outcome::AlreadyInactive,
        Phase::Gone(gone) => outcome_of_gone(gone),
    }
}

const fn outcome_of_gone(gone: &GoneEvidence) -> Outcome {
    match gone {
        GoneEvidence::DeletedByGuard { .. } => Outcome::Deleted,
        GoneEvidence::DeletedBy { .. } => Outcome::Gone,
        GoneEvidence::Absent { .. } => Outcome::AlreadyGone,
    }
}

/// A session that failed. The event is delivered again, or a resume takes over.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// An event is about a key that IAM does not list yet, or not any more.
    #[error("IAM does not list {key}; a retry after 60 seconds confirms that")]
    KeyNotListedYet {
        /// Which key.
        key: KeyRef,
    },
    /// An event says that the key was deleted.
    #[error("IAM still lists {key}, which an event says was deleted; a retry after 60 seconds confirms that")]
    KeyStillListed {
        /// Which key.
        key: KeyRef,
    },
    /// Another worker executes the key's intent.
    #[error("{key} is leased by another worker; retry after the lease expires (45 s)")]
    KeyLeased {
        /// Which key.
        key: KeyRef,
    },
    /// There is too little time left to act.
    #[error("aborted before acting on {key}: its lease is about to expire")]
    LeaseExpiring {
        /// Which key.
        key: KeyRef,
    },
    /// There is too little time left in this invocation.
    #[error("the invocation is about to end")]
    OutOfTime,
    /// The clocks disagree.
    #[error("the event's time ({event_time}) is more than 5 minutes ahead of the clock ({now})")]
    FutureEvent {
        /// The event's time.
        event_time: Time,
        /// The time of this step.
        now: Time,
    },
    /// IAM's answers contradict each other.
    #[error(
        "IAM listed {key}, and twice refused to change it for the listed user; it may be being renamed: retry"
    )]
    KeyMoved {
        /// Which key.
        key: KeyRef,
    },
    /// An adapter returned another key than it was asked for.
    #[error("IAM was asked for {key} and answered with another key")]
    OtherKey {
        /// Which key.
        key: KeyRef,
    },
    /// A call failed, and time or sense for a retry ran out.
    #[error("{key}: a call failed")]
    Call {
        /// Which key.
        key: KeyRef,
        /// Why.
        source: CallError,
    },
    /// The outcome of an action could not be stored.
    #[error(
        "{key} was changed at IAM, and the outcome is not recorded; the next sweep or resume looks at the key again"
    )]
    OutcomeNotRecorded {
        /// Which key.
        key: KeyRef,
        /// Why.
        source: CallError,
    },
    /// The executor replied to something that it was not asked for: a defect.
    #[error("a session was given a reply that it did not ask for: {reply}")]
    UnexpectedReply {
        /// The reply.
        reply: String,
    },
}

impl SessionError {
    /// An event is from the future: it is forged, or a clock is wrong. What it says of a key, no later event could correct.
    #[must_use]
    pub fn of_future_event(event: &Provenance, now: Time) -> Option<Self> {
        let event_time = event.event_time;
        (event_time > now + MAX_CLOCK_SKEW).then_some(Self::FutureEvent { event_time, now })
    }

    /// An observation waits for its confirmation (R3).
    pub(super) fn unconfirmed(contradiction: Contradiction, key: &KeyRef) -> Self {
        let key = key.clone();
        match contradiction {
            Contradiction::Absent => Self::KeyNotListedYet { key },
            Contradiction::StillListed => Self::KeyStillListed { key },
        }
    }
}
