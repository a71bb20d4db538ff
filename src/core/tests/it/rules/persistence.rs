//! R7 and R8: failed calls, leases, and intents that survive both.

use chrono::TimeDelta;
use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::LEASE;
use key_guard_core::lifecycle::effect::{Change, Commit, Effect, FindScope};
use key_guard_core::lifecycle::input::{Action, Ceiling, Input, TriggerKind};
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::{
    Downgrade, GoneEvidence, InactiveCause, Intent, KeyState, Lease, Phase, Version,
};
use key_guard_core::lifecycle::transition::{Reason, SessionEnd};
use key_guard_core::policy::Verdict;

use crate::support::{
    Fault, World, activated, at, created, deleted, exemption, key, listed, not_listed, policy, policy_with,
    user, worker,
};

fn pending(world: &World) -> &Intent {
    match world.phase() {
        Phase::Pending(intent) => intent,
        other => panic!("{other:?}"),
    }
}

/// The worker dies just before its action. The lease runs.
fn killed_before_action(response: &str) -> World {
    let mut world = World::new(response);
    world.kill_before_action(created(at(0)));
    world.take_calls();
    world
}

/// The same, and the lease has expired.
fn abandoned(response: &str) -> World {
    let mut world = killed_before_action(response);
    world.now += LEASE;
    world
}

#[test]
fn r7_three_throttled_calls_are_retried() {
    let mut world = World::new("delete");
    let mut throttled = 0;
    world
        .process_with(created(at(0)), |_, effect| {
            if matches!(effect, Effect::Find { .. } | Effect::Act(_)) && throttled < 3 {
                throttled += 1;
                return Fault::Throttled;
            }
            Fault::None
        })
        .unwrap();
    assert_eq!(throttled, 3);
    assert_eq!(world.status(), None);
}

#[test]
fn r7_thirty_seconds_of_throttling_are_survived() {
    for throttled in ["Find", "Act", "Commit"] {
        let mut world = World::new("delete");
        let until = world.now + TimeDelta::seconds(30);
        world
            .process_with(created(at(0)), |world, effect| {
                let is_throttled = match effect {
                    Effect::Find { .. } => throttled == "Find",
                    Effect::Act(_) => throttled == "Act",
                    _ => throttled == "Commit",
                };
                if is_throttled && world.now < until { Fault::Throttled } else { Fault::None }
            })
            .unwrap_or_else(|error| panic!("{throttled}: {error}"));
        assert_eq!(world.status(), None, "{throttled}");
    }
}

#[test]
fn r7_retries_end_five_seconds_before_the_lease_does() {
    let mut world = World::new("delete");
    let started = world.now;
    let mut last_call = started;
    let result = world.process_with(created(at(0)), |world, effect| match effect {
        Effect::Act(_) => {
            last_call = world.now;
            Fault::Throttled
        }
        _ => Fault::None,
    });
    assert!(matches!(result, Err(SessionError::Call { .. })), "{result:?}");
    let elapsed = last_call - started;
    assert!(elapsed > TimeDelta::seconds(30) && elapsed < LEASE - TimeDelta::seconds(5), "{elapsed}");
    // Nothing is lost: once the lease has expired, a resume completes it.
    world.now = started + LEASE + TimeDelta::seconds(1);
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), None);
}

#[test]
fn r7_retries_end_five_seconds_before_the_invocation_does() {
    let mut world = World::new("delete");
    world.time_limit = TimeDelta::seconds(20);
    let started = world.now;
    let mut last_call = started;
    let result = world.process_with(created(at(0)), |world, _| {
        last_call = world.now;
        Fault::Throttled
    });
    assert!(result.is_err());
    assert!(last_call - started < TimeDelta::seconds(15), "{last_call}");
}

#[test]
fn r7_a_refused_call_is_not_retried() {
    let mut world = World::new("delete");
    let result = world.process_with(created(at(0)), |_, effect| match effect {
        Effect::Act(_) => Fault::Refused,
        _ => Fault::None,
    });
    assert!(matches!(result, Err(SessionError::Call { .. })), "{result:?}");
    assert_eq!(world.calls, ["Commit", "Find user", "Act"]);
}

#[test]
fn r7_a_locked_ledger_is_told_of_before_an_action_and_waited_for_after_it() {
    let locked =
        |world: &World, effect: &Effect| matches!(effect, Effect::Commit(_)) && world.actions.len() == 1;
    for (lasts, is_recorded) in [(40, true), (400, false)] {
        let mut world = World::new("delete");
        let until = world.now + TimeDelta::seconds(lasts);
        let result = world.process_with(created(at(0)), |world, effect| {
            if locked(world, effect) && world.now < until { Fault::Locked } else { Fault::None }
        });
        assert_eq!(world.actions.len(), 1);
        if is_recorded {
            assert_eq!(world.status(), None);
            assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
        } else {
            let error = result.unwrap_err();
            assert!(matches!(error, SessionError::OutcomeNotRecorded { .. }), "{error:?}");
            assert!(error.to_string().contains("was changed at IAM"), "{error}");
        }
    }
    let mut world = World::new("delete");
    let result = world.process_with(created(at(0)), |_, _| Fault::Locked);
    assert!(matches!(result, Err(SessionError::Call { .. })), "{result:?}");
    assert_eq!(world.calls, ["Commit"]);
}

#[test]
fn r7_another_workers_lease_is_waited_for() {
    let mut world = killed_before_action("delete");
    let started = world.now;
    // The holder finishes while this session waits.
    let result = world.process_with(activated(at(10)), |world, effect| {
        if matches!(effect, Effect::Load(_)) && world.now > started + TimeDelta::seconds(3) {
            let KeyState::Tracked(record) = &mut world.stored.state else { panic!() };
            record.phase = Phase::Gone(GoneEvidence::DeletedByGuard { at: world.now });
            record.handled_through = Some(world.now);
            world.keys.clear();
        }
        Fault::None
    });
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(world.actions, []);
}

#[test]
fn r7_a_wait_for_a_lease_ends_after_ten_seconds() {
    let mut world = killed_before_action("delete");
    let started = world.now;
    let result = world.process(activated(at(10)));
    assert!(matches!(result, Err(SessionError::KeyLeased { .. })), "{result:?}");
    let waited = world.now - started;
    assert!(waited >= TimeDelta::seconds(10) && waited < TimeDelta::seconds(11), "{waited}");
}

#[test]
fn r7_the_lost_reply_of_a_commit_is_no_conflict() {
    for lost in 0..2 {
        let mut world = World::new("delete");
        let mut commits = 0;
        world
            .process_with(created(at(0)), |_, effect| {
                if matches!(effect, Effect::Commit(_)) {
                    commits += 1;
                    if commits == lost + 1 {
                        return Fault::ReplyLost;
                    }
                }
                Fault::None
            })
            .unwrap_or_else(|error| panic!("commit {lost}: {error}"));
        assert_eq!(world.status(), None);
        assert_eq!(world.actions.len(), 1);
        assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
    }
}

#[test]
fn r7_the_lost_reply_of_a_deletion_ends_as_gone_when_iam_confirms_it() {
    let mut world = World::new("delete");
    let mut is_lost = false;
    let result = world.process_with(created(at(0)), |_, effect| match effect {
        Effect::Act(_) if !is_lost => {
            is_lost = true;
            Fault::ReplyLost
        }
        _ => Fault::None,
    });
    assert!(matches!(result, Err(SessionError::KeyNotListedYet { .. })), "{result:?}");
    world.wait(61);
    world.process(created(at(0))).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(_)), "{:?}", world.phase());
    assert_eq!(world.actions.len(), 1);
}

#[test]
fn r7_no_action_starts_in_the_last_ten_seconds_of_a_lease() {
    let mut world = World::new("delete");
    let result = world.process_with(created(at(0)), |world, effect| {
        if matches!(effect, Effect::Find { .. }) {
            world.wait(35);
        }
        Fault::None
    });
    assert!(matches!(result, Err(SessionError::LeaseExpiring { .. })), "{result:?}");
    assert_eq!(world.actions, []);
}

#[test]
fn r7_a_renamed_user_of_an_account_whose_list_takes_longer_than_a_lease_gains_nothing() {
    let mut world = World::new("delete");
    world.keys[0].user = user("bob");
    world
        .process_with(created(at(0)), |world, effect| {
            if matches!(effect, Effect::Find { scope: FindScope::Account, .. }) {
                world.wait(40);
            }
            Fault::None
        })
        .unwrap();
    assert_eq!(world.actions.len(), 1);
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
}

#[test]
fn r8_a_resume_completes_what_a_dead_worker_left() {
    let mut world = abandoned("delete");
    let id = pending(&world).id.clone();
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), None);
    let intents: Vec<_> = world
        .changes()
        .into_iter()
        .filter_map(|change| match change {
            Change::Intended { intent, .. } | Change::Acted { intent, .. } => Some(intent),
            _ => None,
        })
        .collect();
    assert_eq!(intents, [id.clone(), id.clone(), id], "authorised, taken over, executed");
}

#[test]
fn r8_a_resume_leaves_a_running_lease() {
    let mut world = killed_before_action("delete");
    let result = world.process_loaded(Input::Resume).unwrap();
    assert_eq!(result.end, SessionEnd::Left(Reason::LeftToLeaseHolder));
    assert_eq!(world.actions, []);
}

/// The sweep's updates are throttled, and then the event of the activation arrives.
#[test]
fn r8_an_event_resumes_an_abandoned_intent_before_its_own_turn() {
    let mut world = World::new("deactivate");
    let asked_at = world.now;
    world
        .run(Session::new(key(), listed(KeyStatus::Active, asked_at)), |_, effect| match effect {
            Effect::Act(_) => Fault::Throttled,
            _ => Fault::None,
        })
        .unwrap_err();
    assert!(matches!(world.phase(), Phase::Pending(_)));
    world.now = asked_at + TimeDelta::seconds(100);
    let result = world.process(activated(asked_at - TimeDelta::seconds(10))).unwrap();
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
    assert!(matches!(world.phase(), Phase::Deactivated(_)));
    // The activation was before the action, so it requires nothing of its own.
    assert_eq!((world.actions.len(), result.end), (1, SessionEnd::Stored));
}

#[test]
fn r8_an_event_that_is_newer_than_the_resumed_action_has_a_turn_of_its_own() {
    let mut world = abandoned("deactivate");
    let event = activated(world.now + TimeDelta::seconds(2));
    world.process(event).unwrap();
    let triggers: Vec<_> = world
        .changes()
        .into_iter()
        .filter_map(|change| match change {
            Change::Intended { trigger, .. } => Some(trigger),
            _ => None,
        })
        .collect();
    assert_eq!(triggers, [TriggerKind::Created, TriggerKind::Created, TriggerKind::Activated]);
    assert_eq!(world.actions.len(), 2);
}

#[test]
fn r8_a_sweep_leaves_an_abandoned_intent_to_resume() {
    let mut world = abandoned("delete");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert!(matches!(world.phase(), Phase::Pending(_)));
    assert_eq!(world.actions, []);
}

#[test]
fn r8_a_deletion_event_inspects_instead() {
    let mut world = abandoned("delete");
    world.keys.clear();
    world.process(deleted(world.now)).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedBy { .. })));
    assert_eq!(world.actions, []);
}

/// The ceiling is lowered for one redelivery.
#[test]
fn r8_the_ceiling_monitor_pauses_an_intent_and_does_not_end_it() {
    let mut world = abandoned("delete");
    let id = pending(&world).id.clone();
    world.ceiling = Ceiling::Monitor;
    for input in [created(at(0)), activated(at(10)), listed(KeyStatus::Active, world.now), Input::Resume] {
        world.process(input).unwrap();
        assert_eq!(pending(&world).id, id);
    }
    assert_eq!(world.actions, []);
    world.ceiling = Ceiling::Delete;
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), None);
}

#[test]
fn r8_a_resume_executes_the_weaker_of_intent_and_ceiling() {
    let mut world = abandoned("delete");
    world.ceiling = Ceiling::Deactivate;
    world.process_loaded(Input::Resume).unwrap();
    match world.phase() {
        Phase::Deactivated(deactivation) => assert_eq!(deactivation.downgraded, Some(Downgrade::Ceiling)),
        other => panic!("{other:?}"),
    }

    let mut world = abandoned("deactivate");
    world.policy = policy("delete");
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!(world.status(), Some(KeyStatus::Inactive), "never further than authorised");
}

#[test]
fn r8_a_changed_verdict_or_a_policy_of_monitor_ends_an_intent() {
    let mut world = abandoned("delete");
    world.policy = policy_with("delete", &exemption("alice", "2026-12-31"));
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!((world.phase(), world.record().verdict()), (&Phase::Settled, Some(Verdict::Exempt)));

    let mut world = abandoned("delete");
    world.policy = policy("monitor");
    world.process_loaded(Input::Resume).unwrap();
    assert_eq!((world.phase(), world.record().verdict()), (&Phase::Settled, Some(Verdict::Noncompliant)));
    assert_eq!(world.actions, []);
}

#[test]
fn r8_the_end_of_the_key_ends_an_intent() {
    let mut world = abandoned("delete");
    world.keys.clear();
    world.process_loaded(not_listed(world.now)).unwrap();
    world.wait(60);
    world.process_loaded(not_listed(world.now)).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::Absent { .. })));
}

/// Replaces what is stored while the action is under way.
fn interfere(world: &mut World, change: impl Fn(&mut Phase)) {
    let KeyState::Tracked(record) = &mut world.stored.state else { panic!() };
    change(&mut record.phase);
    world.stored.version = Version(world.stored.version.0 + 1);
}

fn act_with_conflict(response: &str, change: impl Fn(&mut Phase)) -> World {
    let mut world = World::new(response);
    world
        .process_with(created(at(0)), |world, effect| {
            if matches!(effect, Effect::Act(_)) {
                interfere(world, &change);
            }
            Fault::None
        })
        .unwrap();
    world
}

#[test]
fn r8_a_successful_deletion_always_becomes_gone() {
    for phase in [Phase::Settled, Phase::Inactive(InactiveCause::Deactivated)] {
        let world = act_with_conflict("delete", |current| current.clone_from(&phase));
        assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
    }
}

#[test]
fn r8_a_deactivation_counts_for_its_own_intent_only() {
    // Another worker took the lease over: the intent is the same.
    let world = act_with_conflict("deactivate", |phase| {
        if let Phase::Pending(intent) = phase {
            intent.lease = Some(Lease { holder: worker("other"), until: at(1_000) });
        }
    });
    assert!(matches!(world.phase(), Phase::Deactivated(_)));

    // A newer trigger has an intent of its own.
    let newer = |phase: &mut Phase| {
        if let Phase::Pending(intent) = phase {
            intent.id.opened_by = worker("other");
        }
    };
    let world = act_with_conflict("deactivate", newer);
    assert_eq!(pending(&world).id.opened_by, worker("other"));
    let is_logged = |change: &Change| matches!(change, Change::Acted { action: Action::Deactivate, .. });
    assert!(world.changes().iter().any(is_logged), "the action is in the history");
}

#[test]
fn r8_a_creation_that_meets_a_stored_state_decides_again() {
    let mut world = World::new("delete");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    world.take_calls();
    let result = world.process(created(at(0))).unwrap();
    assert_eq!(world.calls, ["Commit", "Commit"], "a conflict, and the provenance");
    assert!(result.stored.state.record().unwrap().creation.is_some());
}

/// Forty activations reach forty workers at once.
#[test]
fn r7_many_events_at_once_need_no_retry() {
    for response in ["deactivate", "delete"] {
        let mut world = World::new("deactivate");
        world.process(created(at(0))).unwrap();
        world.policy = policy(response);
        world.wait(100);
        world.set_status(KeyStatus::Active);
        let time = world.now;
        let events = (0..40).map(|number| activated(time - TimeDelta::seconds(number))).collect();
        for result in world.process_together(events) {
            result.unwrap();
        }
        assert_ne!(world.status(), Some(KeyStatus::Active), "{response}");
        assert_eq!(world.actions.len(), 2, "{response}");
    }
}

#[test]
fn a_commit_names_the_version_that_it_was_decided_on() {
    let mut world = World::new("delete");
    let mut expected = Vec::new();
    world
        .process_with(created(at(0)), |world, effect| {
            if let Effect::Commit(commit) = effect {
                let Commit { expected: version, .. } = &**commit;
                expected.push((*version, world.stored.version));
            }
            Fault::None
        })
        .unwrap();
    assert!(expected.iter().all(|(expected, stored)| expected == stored), "{expected:?}");
}
