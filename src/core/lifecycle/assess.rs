//! What a trigger requires, under the policy and the ceiling.

use crate::Time;
use crate::policy::{Response, Scope, Verdict, Violation};

use super::LEASE;
use super::effect::{BudgetKind, DeletionBudget};
use super::input::{Action, Env, Trigger, TriggerKind};
use super::state::{Deactivation, Downgrade, Intent, IntentId, Lease, Phase, Record};
use super::transition::Then;

/// Judges the key as of `at` and keeps the assessment. A compliant or exempt verdict ends its quarantine (R12).
fn judge(record: &mut Record, at: Time, reactivated: bool, env: &Env<'_>) -> Option<Verdict> {
    record.assessment = env.policy.assess(&record.facts, &record.evidence, at);
    env.policy.sha256().clone_into(&mut record.policy_sha256);
    if let Scope::InScope(assessment) = &mut record.assessment
        && reactivated
    {
        assessment.mark_reactivated();
    }
    let verdict = record.verdict();
    if matches!(verdict, Some(Verdict::Compliant | Verdict::Exempt)) {
        record.delete_after = None;
    }
    verdict
}

/// Judges the key as of `at`. What was a reactivation stays one.
pub(super) fn judge_again(record: &mut Record, at: Time, env: &Env<'_>) -> Option<Verdict> {
    let reactivated = was_reactivated(record);
    judge(record, at, reactivated, env)
}

/// Assesses the key for a trigger: settles it, or authorises a response, or asks for IAM's answer.
pub(super) fn assess(record: &mut Record, trigger: Trigger, env: &Env<'_>) -> Then {
    let reactivated = is_reactivation(record, trigger);
    match judge(record, trigger.at, reactivated, env) {
        None | Some(Verdict::Compliant | Verdict::Exempt) => {
            settle(record, trigger);
            record.handle_through(trigger.at);
            Then::Finish
        }
        Some(Verdict::Undetermined) => {
            settle(record, trigger);
            if record.evidence.listed.is_none() { Then::Inspect } else { Then::Finish }
        }
        Some(Verdict::Noncompliant) => match (wanted_action(record, env.now), env.ceiling.action()) {
            (None, _) => {
                settle(record, trigger);
                record.handle_through(trigger.at);
                Then::Finish
            }
            (Some(_), None) => {
                settle_unless_pending_or_deactivated(record, trigger);
                Then::Finish
            }
            (Some(wanted), Some(highest)) => {
                let downgraded = (highest < wanted).then_some(Downgrade::Ceiling);
                record.phase =
                    Phase::Pending(Intent { downgraded, ..intent(wanted.min(highest), trigger, env) });
                Then::Enforce
            }
        },
    }
}

/// An intent of this session.
pub(super) fn intent(action: Action, trigger: Trigger, env: &Env<'_>) -> Intent {
    let id = IntentId { opened_by: env.worker.clone(), authorised_at: env.now };
    Intent { id, action, trigger, downgraded: None, lease: Some(lease(env)) }
}

/// A lease for this session.
pub(super) fn lease(env: &Env<'_>) -> Lease {
    Lease { holder: env.worker.clone(), until: env.now + LEASE }
}

/// What the policy wants done with a noncompliant key at `now`. Quarantine is a date (R12).
pub(super) fn wanted_action(record: &Record, now: Time) -> Option<Action> {
    match record.assessed()?.response {
        Response::None | Response::Monitor => None,
        Response::Deactivate => Some(Action::Deactivate),
        Response::Quarantine if is_due(record, now) => Some(Action::Delete),
        Response::Quarantine => Some(Action::Deactivate),
        Response::Delete => Some(Action::Delete),
    }
}

/// True from the end of the key's quarantine on.
pub(super) fn is_due(record: &Record, now: Time) -> bool {
    record.delete_after.is_some_and(|after| now >= after)
}

/// The deletion that `record`'s intent starts, to be counted (R11). `before` is the phase in which it was authorised.
pub(super) fn deletion_budget(
    before: Option<&Phase>,
    record: &Record,
    env: &Env<'_>,
) -> Option<DeletionBudget> {
    record.phase.intent().filter(|intent| intent.action == Action::Delete)?;
    // Only the guard's own deactivation starts a quarantine.
    let was_deactivated = record.delete_after.is_some() || before.and_then(Phase::deactivation).is_some();
    Some(DeletionBudget {
        account: record.key().account.clone(),
        kind: if was_deactivated { BudgetKind::Reactivated } else { BudgetKind::New },
        hour: start_of_hour(env.now),
        limit: env.policy.max_actions_per_hour(),
    })
}

fn start_of_hour(time: Time) -> Time {
    Time::from_timestamp(time.timestamp().div_euclid(3_600) * 3_600, 0).unwrap_or(time)
}

/// The guard deactivated the key, and it is active again. An event that was ahead of the guard's clock is older than the
/// deactivation that it led to, also where it is delivered once more.
fn is_reactivation(record: &Record, trigger: Trigger) -> bool {
    let is_active = matches!(trigger.kind, TriggerKind::Activated | TriggerKind::ObservedActive);
    let led_to = |own: &Deactivation| record.handled_through == Some(trigger.at) && trigger.at > own.at;
    let was_deactivated = record.phase.deactivation().is_some_and(|own| !led_to(own));
    was_deactivated && is_active || was_reactivated(record)
}

/// The latest assessment says that the key was reactivated.
fn was_reactivated(record: &Record) -> bool {
    record.assessed().and_then(|assessment| assessment.verdict.violation()) == Some(Violation::Reactivated)
}

/// No response is pending. A reset, or the end of a quarantine, activates no key.
fn settle(record: &mut Record, trigger: Trigger) {
    let is_active = match trigger.kind {
        TriggerKind::Created | TriggerKind::Activated | TriggerKind::ObservedActive => true,
        TriggerKind::Reset | TriggerKind::QuarantineEnded => false,
    };
    match record.phase {
        Phase::Deactivated(_) | Phase::Inactive(_) if !is_active => {}
        Phase::Settled | Phase::Pending(_) | Phase::Deactivated(_) | Phase::Inactive(_) | Phase::Gone(_) => {
            record.phase = Phase::Settled;
        }
    }
}

/// The ceiling prevents the response. What the guard has done, or has yet to do, stays known (R1, R8).
fn settle_unless_pending_or_deactivated(record: &mut Record, trigger: Trigger) {
    match record.phase {
        Phase::Pending(_) | Phase::Deactivated(_) => {}
        Phase::Settled | Phase::Inactive(_) | Phase::Gone(_) => settle(record, trigger),
    }
}
