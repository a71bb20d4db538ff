//! Between an intent and its outcome: what IAM's answer means for the intent, and what is stored afterwards.

use chrono::TimeDelta;

use crate::Time;
use crate::key::KeyStatus;
use crate::policy::Verdict;

use super::assess::{judge_again, wanted_action};
use super::effect::PersistedIntent;
use super::input::{Action, Env, ListedKey, Trigger, TriggerKind};
use super::standing::GUARD;
use super::state::{Deactivation, Downgrade, GoneEvidence, Intent, KeyState, LastSeen, Phase, Record};
use super::steps::{ended, inactive_cause};

/// An intent under execution.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Enforcement {
    /// Proof that the intent is stored.
    pub(super) intent: PersistedIntent,
    /// True once IAM has said that the user it listed has no such key.
    pub(super) searched_again: bool,
    /// The time just before the first try of the action.
    pub(super) started_at: Option<Time>,
}

/// An action under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Execution {
    /// For which intent.
    pub(super) enforcement: Enforcement,
    /// The key, as IAM listed it.
    pub(super) listed: ListedKey,
    /// What is done to it.
    pub(super) action: Action,
}

/// What IAM's answer means for an intent.
pub(super) enum Verified {
    /// It stands: do this.
    Act(Action),
    /// The key deserves no response any more.
    Settle(Box<Record>),
    /// The ceiling prevents it.
    Paused,
}

/// Judges the key again, with IAM's answer. The action is the weakest of the intent, the policy and the ceiling.
pub(super) fn verify(
    record: &Record,
    listed: &ListedKey,
    asked_at: Time,
    intent: &PersistedIntent,
    is_reported: bool,
    env: &Env<'_>,
) -> Verified {
    let mut next = record.clone();
    next.add_listing(listed, asked_at);
    let Phase::Pending(Intent { action, trigger, .. }) = record.phase else {
        return Verified::Paused;
    };
    let verdict = judge_for(&mut next, trigger, env);
    if verdict == Some(Verdict::Noncompliant)
        && listed.status != KeyStatus::Expired
        && let Some(wanted) = wanted_action(&next, env.now)
    {
        return match env.ceiling.action() {
            None => Verified::Paused,
            Some(highest) => Verified::Act(wanted.min(highest).min(action).min(intent.action())),
        };
    }
    next.phase = match listed.status {
        KeyStatus::Active => Phase::Settled,
        KeyStatus::Inactive | KeyStatus::Expired => Phase::Inactive(inactive_cause(listed.status)),
    };
    if verdict != Some(Verdict::Undetermined) {
        next.handle_through(trigger.at);
    }
    next.note_change(Some(record), is_reported, env.now);
    Verified::Settle(Box::new(next))
}

/// Judges the key as of its intent's trigger; as of now, where a quarantine has ended (R15).
fn judge_for(record: &mut Record, trigger: Trigger, env: &Env<'_>) -> Option<Verdict> {
    let at = match trigger.kind {
        TriggerKind::QuarantineEnded => env.now,
        TriggerKind::Created | TriggerKind::Activated | TriggerKind::Reset | TriggerKind::ObservedActive => {
            trigger.at
        }
    };
    judge_again(record, at, env)
}

/// The record after an action. The assessment is the one that IAM's answer confirmed.
pub(super) fn outcome(before: &Record, execution: &Execution, is_reported: bool, env: &Env<'_>) -> Record {
    let Execution { enforcement, listed, action } = execution;
    let started_at = enforcement.started_at.unwrap_or(env.now);
    let mut next = before.clone();
    next.add_listing(listed, started_at);
    if let Phase::Pending(Intent { trigger, .. }) = before.phase {
        judge_for(&mut next, trigger, env);
        // Its time may be ahead of this clock (R1).
        next.handle_through(trigger.at);
    }
    next.handle_through(started_at);
    next.observation = None;
    next = match *action {
        Action::Delete => ended(next, GoneEvidence::DeletedByGuard { at: env.now }),
        Action::Deactivate => {
            let downgraded = match before.phase.intent() {
                // What the policy does not want any more was not prevented by the ceiling.
                Some(_) if wanted_action(&next, env.now) == Some(Action::Deactivate) => None,
                Some(intent) if *action < intent.action => Some(Downgrade::Ceiling),
                Some(intent) => intent.downgraded,
                None => None,
            };
            next.phase = Phase::Deactivated(Deactivation { at: env.now, downgraded });
            let seen_at = next.last_seen.as_ref().map_or(env.now, |seen| seen.at.max(env.now));
            next.see(LastSeen {
                since: Some(env.now),
                by: Some(GUARD.to_owned()),
                ..LastSeen::of_listing(KeyStatus::Inactive, seen_at)
            });
            start_quarantine(&mut next, started_at);
            next
        }
    };
    next.note_change(Some(before), is_reported, env.now);
    next
}

/// The record after an action during which something else was stored. `None`: the action is only a line of history.
pub(super) fn outcome_after_conflict(
    stored: &KeyState,
    known: Option<Record>,
    execution: &Execution,
    is_reported: bool,
    env: &Env<'_>,
) -> Option<Record> {
    let current = match stored {
        KeyState::Tracked(record) => Record::clone(record),
        KeyState::Unknown | KeyState::Unconfirmed(_) | KeyState::Tombstone(_) => known?,
    };
    let applies = match execution.action {
        Action::Delete => !matches!(current.phase.gone(), Some(GoneEvidence::DeletedByGuard { .. })),
        Action::Deactivate => {
            let intent = execution.enforcement.intent.id();
            current.phase.intent().is_some_and(|pending| pending.id == *intent)
        }
    };
    applies.then(|| outcome(&current, execution, is_reported, env))
}

/// Sets the end of the quarantine, once (R12).
fn start_quarantine(record: &mut Record, started_at: Time) {
    let Some(assessment) = record.assessed() else { return };
    if assessment.requires_quarantine() && record.delete_after.is_none() {
        record.delete_after = started_at.checked_add_signed(TimeDelta::days(assessment.grace_days.into()));
    }
}
