//! R11, R12 and R13: the breaker, the quarantine and the ceilings.

use chrono::TimeDelta;
use key_guard_core::evidence::{EventEvidence, Found, Reading};
use key_guard_core::key::{KeyStatus, Service};
use key_guard_core::lifecycle::effect::{BudgetKind, Effect};
use key_guard_core::lifecycle::input::{Action, Ceiling, Env, Input};
use key_guard_core::lifecycle::result::report_of_state;
use key_guard_core::lifecycle::state::{Downgrade, GoneEvidence, InactiveCause, Phase};
use key_guard_core::lifecycle::transition::{Reason, SessionEnd};
use key_guard_core::policy::{Response, Verdict};
use key_guard_core::report::{Outcome, Report};

use crate::support::{
    Fault, World, activated, at, claude_key, created, created_for, created_with, days, deactivated, env,
    evidence, exemption, key, listed, made_by, policy, policy_with, reset, worker,
};

fn used(world: &World, kind: BudgetKind) -> u32 {
    world.budgets.iter().filter(|((of, _), _)| *of == kind).map(|(_, used)| used).sum()
}

fn downgrade(world: &World) -> Option<Downgrade> {
    match world.phase() {
        Phase::Deactivated(deactivation) => deactivation.downgraded,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r11_a_spent_budget_makes_a_deletion_a_deactivation() {
    let mut world = World::new("delete");
    world.spend(BudgetKind::New);
    let result = world.process(created(at(0))).unwrap();
    assert_eq!(world.calls, ["Commit", "Commit", "Find user", "Act", "Commit"]);
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
    assert_eq!(downgrade(&world), Some(Downgrade::Breaker));
    let policy = policy("delete");
    let report = result.report(&env(&policy, &worker("me"), world.now));
    assert_eq!((report.response, report.outcome), (Response::Delete, Outcome::Deactivated));
    assert!(report.reason.contains("deletions of that hour were used up"), "{}", report.reason);
    // It stays so, also when the next hour has a budget.
    world.now += TimeDelta::hours(1);
    world.process_loaded(listed(KeyStatus::Inactive, world.now)).unwrap();
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
}

#[test]
fn r11_a_spent_budget_says_nothing_about_a_compliant_key() {
    let mut world = World::new("delete");
    world.spend(BudgetKind::New);
    let result = world.process(created_for(at(0), days(30))).unwrap();
    let policy = policy("delete");
    let report = result.report(&env(&policy, &worker("me"), world.now));
    assert_eq!((report.response, report.outcome), (Response::None, Outcome::Recorded));
    assert!(
        !report.reason.contains("used up") && !report.reason.contains("deactivated"),
        "{}",
        report.reason
    );
}

/// Twenty good keys whose dates cannot be read.
#[test]
fn r11_an_undetermined_key_counts_once_iam_has_made_it_noncompliant() {
    let unreadable = EventEvidence { response: Reading::Unreadable(Found::Text(9)), ..evidence(at(0)) };
    let mut world = World::new("delete");
    world.keys = vec![claude_key(KeyStatus::Active)];
    world.process(created_with(at(0), Service::ClaudePlatform, unreadable.clone())).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Undetermined));
    assert_eq!(used(&world, BudgetKind::New), 0);

    let mut world = World::new("delete");
    world.process(created_with(at(0), Service::Bedrock, unreadable)).unwrap();
    assert_eq!(world.status(), None, "IAM's list has no end");
    assert_eq!(used(&world, BudgetKind::New), 1);
}

#[test]
fn r11_deletions_are_counted_where_they_start_and_deactivations_are_not() {
    for (response, count) in [("delete", 1), ("deactivate", 0), ("quarantine", 0), ("monitor", 0)] {
        let mut world = World::new(response);
        world.process(created(at(0))).unwrap();
        assert_eq!(used(&world, BudgetKind::New), count, "{response}");
    }
}

#[test]
fn r11_an_intent_that_is_taken_over_is_counted_once() {
    let mut world = World::new("delete");
    world.kill_before_action(created(at(0)));
    world.wait(45);
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), None);
    assert_eq!(used(&world, BudgetKind::New), 1);
}

#[test]
fn r11_the_policy_says_how_many() {
    let mut world = World::new("delete");
    world.policy = policy_with("delete", "max_actions_per_hour = 0");
    world.process(created(at(0))).unwrap();
    assert_eq!(downgrade(&world), Some(Downgrade::Breaker));
}

/// Throwaway keys spend the budget each hour, and an old key is reactivated again and again.
#[test]
fn r11_reactivated_keys_have_a_budget_of_their_own() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.policy = policy("delete");
    world.wait(100);
    world.set_status(KeyStatus::Active);
    world.spend(BudgetKind::New);
    world.process(activated(world.now)).unwrap();
    assert_eq!(world.status(), None);
    assert_eq!(used(&world, BudgetKind::Reactivated), 1);
}

/// The owner is told that the deletion only waits, and no date that is over.
fn said_next(report: &Report) -> bool {
    let text = report.remediation.as_ref().unwrap().to_string();
    text.contains("deletes it as soon as its ceiling and the deletions of an hour allow that")
        && !text.contains("after 2026")
}

#[test]
fn r11_a_deletion_that_is_due_waits_for_a_budget() {
    let mut world = World::new("quarantine");
    world.process(created(at(0))).unwrap();
    world.now += days(15);
    world.spend(BudgetKind::Reactivated);
    let result = world.process_loaded(Input::Resume).unwrap();
    assert_eq!(result.end, SessionEnd::Left(Reason::BudgetSpent));
    let report = result.report(&env(&policy("quarantine"), &worker("me"), world.now));
    assert!(report.reason.ends_with("so the guard deletes it in a later hour."), "{}", report.reason);
    assert!(!report.reason.contains("quarantine until"), "that is over: {}", report.reason);
    assert!(said_next(&report), "{report:?}");
    world.now += TimeDelta::hours(1);
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), None);
}

#[test]
fn r11_an_active_key_whose_deletion_is_due_is_deactivated_when_the_budget_is_spent() {
    let mut world = World::new("quarantine");
    world.process(created(at(0))).unwrap();
    // It is activated, and a sweep that may do nothing sees that.
    world.wait(3_600);
    world.set_status(KeyStatus::Active);
    world.ceiling = Ceiling::Monitor;
    let asked_at = world.now;
    world.process(listed(KeyStatus::Active, asked_at)).unwrap();
    world.ceiling = Ceiling::Delete;
    world.wait(15 * 86_400);
    world.spend(BudgetKind::Reactivated);
    let result = world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
    let Phase::Deactivated(deactivation) = world.phase() else { panic!("{:?}", world.phase()) };
    assert_eq!(deactivation.downgraded, Some(Downgrade::Breaker));
    let report = result.report(&env(&policy("quarantine"), &worker("me"), world.now));
    let said = "it is deactivated instead. The guard deletes it in a later hour.";
    assert!(
        report.reason.ends_with(said) && !report.reason.contains("quarantine until"),
        "{}",
        report.reason
    );
    assert!(said_next(&report), "{report:?}");
    world.now += TimeDelta::hours(1);
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), None);
}

#[test]
fn r13_a_deletion_that_is_due_waits_for_the_ceiling() {
    let mut world = World::new("quarantine");
    world.process(created(at(0))).unwrap();
    world.now += days(15);
    world.set_status(KeyStatus::Active);
    world.ceiling = Ceiling::Deactivate;
    let result = world.process(activated(world.now)).unwrap();
    assert_eq!(downgrade(&world), Some(Downgrade::Ceiling));
    let report = result.report(&env(&policy("quarantine"), &worker("me"), world.now));
    assert!(
        report
            .reason
            .ends_with("it is deactivated instead. The guard deletes it once the ceiling allows that."),
        "{}",
        report.reason
    );
    assert!(said_next(&report), "{report:?}");
    world.ceiling = Ceiling::Delete;
    world.wait(600);
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), None);
}

/// A resume executes the weaker of the intent's action and the ceiling (R8). Its owner is promised no more than that.
#[test]
fn r13_an_owner_is_told_what_the_ceiling_allows() {
    let mut world = World::new("delete");
    world.kill_before_action(created(at(0)));
    world.wait(45);
    world.ceiling = Ceiling::Monitor;
    let result = world.process_loaded(Input::Resume).unwrap();
    for (ceiling, said) in [
        (Ceiling::Monitor, "The guard only monitors this key"),
        (Ceiling::Deactivate, "The guard deactivates it next, usually within ten minutes."),
        (Ceiling::Delete, "The guard deletes it next, usually within ten minutes."),
    ] {
        let report = result.report(&Env { ceiling, ..env(&policy("delete"), &worker("me"), world.now) });
        let text = report.remediation.unwrap().to_string();
        assert!(text.contains(said), "{ceiling:?}: {text}");
    }
    // A ledger does not say which ceiling the function has.
    let text = report_of_state(&key(), world.state()).remediation.unwrap().to_string();
    assert!(text.contains("The guard deletes it next"), "{text}");
}

#[test]
fn r11_what_the_policy_does_not_want_any_more_is_no_downgrade() {
    let mut world = World::new("delete");
    world
        .process_with(created(at(0)), |world, effect| {
            if matches!(effect, Effect::Find { .. }) {
                world.policy = policy("deactivate");
            }
            Fault::None
        })
        .unwrap();
    let Phase::Deactivated(deactivation) = world.phase() else { panic!("{:?}", world.phase()) };
    assert_eq!(deactivation.downgraded, None);
}

#[test]
fn r11_a_downgrade_ends_with_the_next_trigger() {
    let mut world = World::new("delete");
    world.spend(BudgetKind::New);
    world.process(created(at(0))).unwrap();
    world.wait(100);
    world.set_status(KeyStatus::Active);
    world.process(activated(world.now)).unwrap();
    assert_eq!(world.status(), None);
}

fn quarantined() -> World {
    let mut world = World::new("quarantine");
    world.process(created(at(0))).unwrap();
    assert!(matches!(world.phase(), Phase::Deactivated(_)));
    world
}

#[test]
fn r12_a_quarantine_is_a_date() {
    let mut world = quarantined();
    let end = world.record().delete_after.unwrap();
    let started = world.record().handled_through.unwrap();
    assert_eq!(end, started + days(14));
    world.now = end - TimeDelta::seconds(1);
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
    world.now = end;
    world.process_loaded(Input::Resume).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
}

#[test]
fn r12_neither_reactivation_nor_reset_nor_a_lower_ceiling_moves_the_date() {
    let mut world = quarantined();
    let end = world.record().delete_after;
    for event in [activated, reset, deactivated] {
        world.now += days(1);
        world.set_status(KeyStatus::Active);
        world.process(event(world.now)).unwrap();
        assert_eq!(world.record().delete_after, end);
    }
    world.now += days(1);
    world.ceiling = Ceiling::Monitor;
    world.process(activated(world.now)).unwrap();
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(world.record().delete_after, end);
}

#[test]
fn r12_only_a_compliant_or_exempt_verdict_clears_the_date() {
    let mut world = quarantined();
    world.policy = policy_with("quarantine", &exemption("alice", "2026-12-31"));
    world.now += days(1);
    world.set_status(KeyStatus::Active);
    world.process(activated(world.now)).unwrap();
    assert_eq!((world.record().delete_after, world.phase()), (None, &Phase::Settled));
}

#[test]
fn r12_a_key_whose_quarantine_has_ended_is_deleted_whatever_its_status() {
    for status in [KeyStatus::Active, KeyStatus::Inactive] {
        for is_sweep in [false, true] {
            let mut world = quarantined();
            world.set_status(status);
            world.now += days(15);
            let input = if is_sweep { listed(status, world.now) } else { Input::Resume };
            world.process_loaded(input).unwrap();
            assert_eq!(world.status(), None, "{status:?}, sweep: {is_sweep}");
        }
    }
}

#[test]
fn r12_policy_and_ceiling_must_still_allow_the_deletion() {
    let mut world = quarantined();
    world.now += days(15);
    for ceiling in [Ceiling::Monitor, Ceiling::Deactivate] {
        world.ceiling = ceiling;
        world.process_loaded(Input::Resume).unwrap();
        assert!(matches!(world.phase(), Phase::Deactivated(_)), "{ceiling:?}");
    }
    world.ceiling = Ceiling::Delete;
    for response in ["monitor", "deactivate"] {
        world.policy = policy(response);
        world.process_loaded(Input::Resume).unwrap();
        assert!(matches!(world.phase(), Phase::Deactivated(_)), "{response}");
    }
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
}

/// A session named like the function, or the owner, deactivates the key or toggles it.
#[test]
fn r12_it_does_not_matter_who_deactivates() {
    for actor in ["alice", "key-guard-function"] {
        let mut world = World::new("quarantine");
        world.set_status(KeyStatus::Inactive);
        world.process(made_by(deactivated(at(5)), actor)).unwrap();
        world.now += days(30);
        world.process_loaded(listed(KeyStatus::Inactive, world.now)).unwrap();
        world.process_loaded(Input::Resume).unwrap();
        assert_eq!(world.status(), Some(KeyStatus::Inactive), "{actor}: no deletion is armed");

        let mut world = quarantined();
        let end = world.record().delete_after;
        world.wait(100);
        world.process(made_by(activated(world.now), actor)).unwrap();
        world.process(made_by(deactivated(world.now), actor)).unwrap();
        assert_eq!(world.record().delete_after, end, "{actor}: it stays in quarantine");
    }
}

#[test]
fn r13_the_ceiling_wins_over_every_input() {
    let inputs = [created(at(0)), activated(at(5)), reset(at(5)), listed(KeyStatus::Active, at(40))];
    for input in inputs {
        let mut world = World::new("delete");
        world.ceiling = Ceiling::Monitor;
        world.process(input.clone()).unwrap();
        assert_eq!(world.actions, []);

        let mut world = World::new("delete");
        world.ceiling = Ceiling::Deactivate;
        world.process(input).unwrap();
        let actions: Vec<_> = world.actions.iter().map(|(_, action, _)| *action).collect();
        assert_eq!(actions, [Action::Deactivate]);
        assert_eq!(downgrade(&world), Some(Downgrade::Ceiling));
    }
}

#[test]
fn r13_a_higher_ceiling_does_not_raise_what_was_authorised() {
    let mut world = World::new("delete");
    world.ceiling = Ceiling::Deactivate;
    world.kill_before_action(created(at(0)));
    assert_eq!(used(&world, BudgetKind::New), 0, "no deletion starts");
    world.wait(45);
    world.ceiling = Ceiling::Delete;
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
    assert_eq!(downgrade(&world), Some(Downgrade::Ceiling));
}

#[test]
fn r13_a_ceiling_that_is_lowered_before_the_action_wins() {
    let mut world = World::new("delete");
    let result = world.process_with(created(at(0)), |world, effect| {
        if matches!(effect, Effect::Find { .. }) {
            world.ceiling = Ceiling::Monitor;
        }
        Fault::None
    });
    let report = result.unwrap().report(&env(&policy("delete"), &worker("me"), world.now));
    assert!(matches!(world.phase(), Phase::Pending(_)));
    assert_eq!((world.actions.len(), report.outcome), (0, Outcome::Monitored));
}

/// The exemption ended, and the key is in quarantine. Then its creation event is delivered again.
#[test]
fn r12_an_old_event_of_an_exempt_day_does_not_clear_the_date() {
    let mut world = World::new("quarantine");
    world.policy = policy_with("quarantine", &exemption("alice", "2026-03-01"));
    world.process(created(at(0))).unwrap();
    world.now = at(0) + days(2);
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    let end = world.record().delete_after;
    assert!(end.is_some());
    for event in [created, activated, reset] {
        world.process(event(at(0))).unwrap();
        assert_eq!(
            (world.record().delete_after, world.record().verdict()),
            (end, Some(Verdict::Noncompliant))
        );
    }
}

/// The policy says `monitor` for a while. The owner activates the key in quarantine, and deactivates it again.
#[test]
fn r12_the_date_counts_whatever_has_happened_since() {
    for status in [KeyStatus::Active, KeyStatus::Inactive] {
        for is_sweep in [false, true] {
            let mut world = quarantined();
            world.policy = policy("monitor");
            world.wait(100);
            world.set_status(KeyStatus::Active);
            world.process(activated(world.now)).unwrap();
            assert_eq!(*world.phase(), Phase::Settled);
            world.set_status(status);
            world.process_loaded(listed(status, world.now)).unwrap();
            world.policy = policy("quarantine");
            world.now += days(15);
            let input = if is_sweep { listed(status, world.now) } else { Input::Resume };
            world.process_loaded(input).unwrap();
            assert_eq!(world.status(), None, "{status:?}, sweep: {is_sweep}");
            assert_eq!(used(&world, BudgetKind::Reactivated), 1);
        }
    }
}

#[test]
fn r12_an_expired_key_needs_no_deletion() {
    let mut world = quarantined();
    world.set_status(KeyStatus::Expired);
    world.now += days(15);
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(*world.phase(), Phase::Inactive(InactiveCause::Expired));
    world.take_calls();
    world.process_loaded(Input::Resume).unwrap();
    world.process_loaded(listed(KeyStatus::Expired, world.now)).unwrap();
    assert_eq!(world.calls, [] as [&str; 0]);
    assert_eq!(world.actions.len(), 1, "the deactivation");
}
