//! R1, R2 and R15: what requires a response, and as of when a key is judged.

use key_guard_core::key::{KeyStatus, Service};
use key_guard_core::lifecycle::effect::{Change, Effect, HeardEvent};
use key_guard_core::lifecycle::input::{Action, Ceiling, Input, KeyEventKind, ListedKey};
use key_guard_core::lifecycle::state::{Deactivation, GoneEvidence, InactiveCause, Phase};
use key_guard_core::lifecycle::transition::SessionEnd;
use key_guard_core::policy::{Verdict, Violation};

use crate::support::{
    Fault, World, activated, at, created, created_for, created_with, days, deactivated, evidence, exemption,
    listed, listed_key, policy_with, reset, user,
};

fn deactivated_world() -> World {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    assert!(matches!(world.phase(), Phase::Deactivated(_)));
    world.take_calls();
    world
}

fn deactivated_at(world: &World) -> key_guard_core::Time {
    match world.phase() {
        Phase::Deactivated(Deactivation { at, .. }) => *at,
        other => panic!("{other:?}"),
    }
}

#[test]
fn r1_a_later_trigger_requires_a_response() {
    for event in [activated, reset] {
        let mut world = deactivated_world();
        world.set_status(KeyStatus::Active);
        world.wait(100);
        world.process(event(world.now)).unwrap();
        assert_eq!(world.actions.len(), 2);
        assert_eq!(world.status(), Some(KeyStatus::Inactive));
    }
}

#[test]
fn r1_an_activation_of_a_deactivated_key_is_a_violation_of_its_own() {
    let mut world = deactivated_world();
    world.set_status(KeyStatus::Active);
    world.process(activated(world.now)).unwrap();
    assert_eq!(world.record().assessed().unwrap().verdict.violation(), Some(Violation::Reactivated));
}

#[test]
fn r1_an_earlier_trigger_is_only_logged() {
    let mut world = deactivated_world();
    let result = world.process(activated(at(5))).unwrap();
    assert_eq!(result.end, SessionEnd::Logged(HeardEvent::Activated));
    assert_eq!(world.actions.len(), 1);
    assert_eq!(world.changes().last(), Some(&Change::Heard(HeardEvent::Activated)));
}

#[test]
fn r1_a_tie_counts_as_later() {
    let mut world = deactivated_world();
    let handled = world.record().handled_through.unwrap();
    let same_second = key_guard_core::Time::from_timestamp(handled.timestamp(), 0).unwrap();
    assert!(same_second < handled, "the call took a fraction of a second");
    world.process(activated(same_second)).unwrap();
    assert_eq!(world.actions.len(), 2);
}

#[test]
fn r1_an_action_handles_the_triggers_until_it_started() {
    let mut world = World::new("deactivate");
    let mut started = None;
    world
        .process_with(created(at(0)), |world, effect| {
            if matches!(effect, Effect::Act(_)) {
                started = Some(world.now);
            }
            Fault::None
        })
        .unwrap();
    assert_eq!(world.record().handled_through, started);
}

#[test]
fn r1_an_earlier_trigger_with_evidence_that_changes_the_verdict_requires_a_response() {
    let mut world = World::new("delete");
    let ends = |lifetime| ListedKey { expires_at: Some(at(0) + lifetime), ..listed_key(KeyStatus::Active) };
    world.keys = vec![ends(days(30))];
    let asked_at = world.now;
    world.process(Input::Listed { listed: Box::new(ends(days(30))), asked_at }).unwrap();
    assert_eq!(world.record().handled_through, Some(asked_at));
    // IAM and the event disagree by more than a day: the later date applies.
    world.process(created_for(at(0), days(300))).unwrap();
    assert_eq!(world.actions, [(user("alice"), Action::Delete, world.actions[0].2)]);
}

#[test]
fn r1_an_undetermined_verdict_handles_no_trigger() {
    let mut world = World::new("delete");
    world.keys = vec![crate::support::claude_key(KeyStatus::Active)];
    world.process(crate::support::listed_claude(at(30))).unwrap();
    assert_eq!(world.record().handled_through, None);
    // The creation event is older, and says that the key never expires.
    world.process(created_with(at(0), Service::ClaudePlatform, evidence(at(0)))).unwrap();
    assert_eq!(world.status(), None);
}

#[test]
fn r1_a_trigger_whose_response_the_ceiling_prevented_is_not_handled() {
    let mut world = World::new("delete");
    world.ceiling = Ceiling::Monitor;
    world.process(created(at(0))).unwrap();
    assert_eq!((world.record().handled_through, world.phase()), (None, &Phase::Settled));
    world.ceiling = Ceiling::Delete;
    world.process(created(at(0))).unwrap();
    assert_eq!(world.status(), None);
}

#[test]
fn r1_a_list_within_60_seconds_of_the_guards_own_outcome_is_no_trigger() {
    let mut world = deactivated_world();
    let outcome = deactivated_at(&world);
    world.set_status(KeyStatus::Active);
    for (seconds, actions) in [(59, 1), (60, 2)] {
        let asked_at = outcome + chrono::TimeDelta::seconds(seconds);
        world.now = asked_at;
        world.process_loaded(listed(KeyStatus::Active, asked_at)).unwrap();
        assert_eq!(world.actions.len(), actions, "{seconds} seconds later");
    }
}

#[test]
fn r1_a_deactivated_key_that_becomes_exempt_stays_deactivated_and_is_not_deleted() {
    let mut world = World::new("quarantine");
    world.process(created(at(0))).unwrap();
    assert!(world.record().delete_after.is_some());
    world.policy = policy_with("quarantine", &exemption("alice", "2026-12-31"));
    world.process(created(at(0))).unwrap();
    assert!(matches!(world.phase(), Phase::Deactivated(_)));
    assert_eq!((world.record().verdict(), world.record().delete_after), (Some(Verdict::Exempt), None));
}

/// A never-expiring key is deactivated before the guard arrives, and used for seconds at a time.
#[test]
fn r2_a_key_that_is_toggled_faster_than_events_arrive_is_deleted() {
    let mut world = World::new("delete");
    world.set_status(KeyStatus::Inactive);
    world.process(created(at(0))).unwrap();
    assert_eq!(world.status(), None);

    let mut world = World::new("delete");
    world.set_status(KeyStatus::Inactive);
    world.process(deactivated(at(6))).unwrap();
    world.process(activated(at(4))).unwrap();
    assert_eq!(world.status(), None, "also if the activation's event comes late and alone");
}

#[test]
fn r2_a_stale_list_does_not_hide_an_activation() {
    let mut world = deactivated_world();
    world.wait(100);
    world.freeze_lists();
    world.set_status(KeyStatus::Active);
    world.process(activated(world.now)).unwrap();
    assert_eq!(world.calls, ["Load", "Commit", "Find user", "Act", "Commit"]);
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
}

#[test]
fn r2_deactivation_is_called_for_a_key_that_is_listed_as_inactive() {
    let mut world = World::new("deactivate");
    world.set_status(KeyStatus::Inactive);
    world.process(created(at(0))).unwrap();
    assert_eq!(world.actions.len(), 1);
}

#[test]
fn r2_a_sweep_leaves_an_inactive_key_alone() {
    let mut world = World::new("delete");
    world.set_status(KeyStatus::Inactive);
    world.process_loaded(listed(KeyStatus::Inactive, world.now)).unwrap();
    assert_eq!(*world.phase(), Phase::Inactive(InactiveCause::Deactivated));
    assert_eq!(world.actions, []);
}

#[test]
fn r2_an_inactive_key_that_is_activated_or_reset_requires_a_response() {
    let inputs = [
        created(at(0)),
        activated(at(5)),
        reset(at(5)),
        listed(KeyStatus::Active, at(200)),
        // The verdict is the same, and the trigger has not been handled.
        activated(at(1)),
    ];
    for input in inputs {
        let mut world = World::new("delete");
        world.set_status(KeyStatus::Inactive);
        world.process_loaded(listed(KeyStatus::Inactive, world.now)).unwrap();
        assert_eq!(*world.phase(), Phase::Inactive(InactiveCause::Deactivated));
        world.wait(200);
        world.process(input).unwrap();
        assert_eq!(world.status(), None);
    }
}

#[test]
fn r2_a_monitored_key_that_is_deactivated_is_inactive_and_has_a_history() {
    let mut world = World::new("monitor");
    world.process(created(at(0))).unwrap();
    world.set_status(KeyStatus::Inactive);
    world.process(deactivated(world.now)).unwrap();
    assert_eq!(world.changes().last(), Some(&Change::Heard(HeardEvent::Deactivated)));
    world.process_loaded(listed(KeyStatus::Inactive, world.now)).unwrap();
    assert_eq!(*world.phase(), Phase::Inactive(InactiveCause::Deactivated));
}

#[test]
fn r2_an_expired_key_is_harmless() {
    for input in [created(at(0)), activated(at(5)), reset(at(5))] {
        let mut world = World::new("delete");
        world.set_status(KeyStatus::Expired);
        world.process(input).unwrap();
        assert_eq!(*world.phase(), Phase::Inactive(InactiveCause::Expired));
        assert_eq!(world.actions, []);
    }
}

#[test]
fn r15_an_event_is_judged_as_of_its_own_time_and_a_sweep_as_of_now() {
    // The key was created on 1 March, the last day of the exemption.
    let mut world = World::new("delete");
    world.policy = policy_with("delete", &exemption("alice", "2026-03-01"));
    world.now = at(0) + days(1);
    world.process(created(at(0))).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Exempt));
    assert_eq!(world.calls, ["Commit"], "no intent is authorised");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(world.status(), None);
}

/// The policy gets an exemption of the day on which the key was created. The intent is of that day.
#[test]
fn r15_a_resume_judges_an_intent_as_of_its_trigger() {
    let mut world = World::new("delete");
    world.kill_before_action(created(at(0)));
    world.now = at(0) + days(1);
    world.policy = policy_with("delete", &exemption("alice", "2026-03-01"));
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!((world.phase(), world.record().verdict()), (&Phase::Settled, Some(Verdict::Exempt)));
    // A sweep judges as of now.
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(world.status(), None);
}

/// The sweep and its confirmation judge by the same time.
#[test]
fn r15_a_sweep_in_the_first_minute_after_an_exemption_judges_by_one_time() {
    let mut world = World::new("delete");
    world.policy = policy_with("delete", &exemption("alice", "2026-03-01"));
    let midnight = at(12 * 3_600);
    world.now = midnight + chrono::TimeDelta::seconds(20);
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })), "{:?}", world.phase());
    // An hour before midnight the same key was exempt.
    let mut world = World::new("delete");
    world.policy = policy_with("delete", &exemption("alice", "2026-03-01"));
    world.now = at(11 * 3_600);
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Exempt));
}

#[test]
fn r15_a_late_event_of_an_exempt_day_is_exempt() {
    let mut world = World::new("delete");
    world.policy = policy_with("delete", &exemption("alice", "2026-03-01"));
    world.now = at(13 * 3_600);
    world.process(activated(at(11 * 3_600))).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Exempt));
    assert_eq!(world.actions, []);
}

/// The policy wants less of the user's new name. The creation has the old one, and arrives last.
#[test]
fn r6_a_name_that_arrives_late_may_require_more() {
    for response in ["monitor", "deactivate"] {
        let mut world = World::new("delete");
        let rules = format!("[[override]]\nusers = [\"lab-*\"]\nresponse = \"{response}\"\n");
        world.policy = policy_with("delete", &rules);
        world.rename("lab-alice");
        world.wait(100);
        world.process(of_user(activated(at(40)), "lab-alice")).unwrap();
        assert!(world.actions.iter().all(|(_, action, _)| *action == Action::Deactivate));
        world.process(created(at(0))).unwrap();
        assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })), "{response}");
    }
}

fn of_user(input: Input, name: &str) -> Input {
    match input {
        Input::Event(mut event) => {
            if let KeyEventKind::Activated(target) = &mut event.kind {
                target.user = Some(user(name));
            }
            Input::Event(event)
        }
        other => other,
    }
}

/// Its policy has changed. An event of a time before its deactivation brings nothing new, and requires nothing.
#[test]
fn r1_a_late_event_does_not_apply_a_stricter_policy() {
    let mut world = deactivated_world();
    world.policy = policy_with("delete", "");
    world.process(created(at(0))).unwrap();
    assert!(matches!(world.phase(), Phase::Deactivated(_)));
}

#[test]
fn r15_a_sweep_judges_a_deactivated_key_again() {
    for response in ["deactivate", "quarantine"] {
        let mut world = World::new(response);
        world.process(created(at(0))).unwrap();
        world.policy = policy_with(response, &exemption("alice", "2027-01-01"));
        world.wait(100);
        world.process_loaded(listed(KeyStatus::Inactive, world.now)).unwrap();
        assert_eq!(world.record().verdict(), Some(Verdict::Exempt));
        assert_eq!(world.record().delete_after, None);
        assert!(matches!(world.phase(), Phase::Deactivated(_)), "the guard deactivated it");
    }
}

#[test]
fn a_deactivated_key_that_has_expired_is_never_deleted() {
    let mut world = World::new("quarantine");
    world.process(created(at(0))).unwrap();
    world.wait(100);
    world.set_status(KeyStatus::Expired);
    world.process_loaded(listed(KeyStatus::Expired, world.now)).unwrap();
    assert_eq!(*world.phase(), Phase::Inactive(InactiveCause::Expired));
    world.wait(20 * 86_400);
    world.process_loaded(listed(KeyStatus::Expired, world.now)).unwrap();
    assert_eq!(world.actions.len(), 1);
}

/// CloudTrail's clock is ahead of the guard's.
#[test]
fn an_event_that_is_ahead_is_no_reactivation_where_it_is_delivered_again() {
    let mut world = World::new("deactivate");
    let ahead = activated(at(150));
    for _ in 0..2 {
        world.process(ahead.clone()).unwrap();
        assert_eq!(world.record().known_status(), Some(KeyStatus::Inactive));
        let violation = world.record().assessed().unwrap().verdict.violation();
        assert_eq!(violation, Some(Violation::NeverExpires));
    }
    world.wait(300);
    world.set_status(KeyStatus::Active);
    world.process(activated(world.now)).unwrap();
    assert_eq!(world.record().assessed().unwrap().verdict.violation(), Some(Violation::Reactivated));
}
