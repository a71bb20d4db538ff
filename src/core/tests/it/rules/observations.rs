//! R3 to R6: what IAM's answers and the events' evidence mean.

use chrono::TimeDelta;
use key_guard_core::evidence::{EventEvidence, Found, Reading};
use key_guard_core::key::{KeyStatus, Service};
use key_guard_core::lifecycle::effect::{Change, Effect, FindScope, HeardEvent};
use key_guard_core::lifecycle::input::{Input, ListedKey};
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::lifecycle::state::{Contradiction, GoneEvidence, KeyState, Observation, Phase};
use key_guard_core::policy::{Verdict, Violation};

use crate::support::{
    Fault, World, activated, at, claude_key, created, created_for, created_with, days, deleted, evidence,
    exemption, listed, listed_claude, listed_key, made_by, not_listed, policy_with, reset, user,
};

fn is_not_listed_yet<T>(result: &Result<T, SessionError>) -> bool {
    matches!(result, Err(SessionError::KeyNotListedYet { .. }))
}

/// The creation event is 61 seconds old, as CloudTrail's usually are, and one answer of IAM lacks the key.
#[test]
fn r3_one_absence_is_not_final_however_old_the_event_is() {
    let mut world = World::new("delete");
    world.now = at(61);
    world.stale = Some(Vec::new());
    let first = world.process(created(at(0)));
    assert!(is_not_listed_yet(&first));
    assert_eq!(world.calls, ["Commit", "Find user", "Find account", "Commit"]);
    match world.phase() {
        Phase::Pending(intent) => assert_eq!(intent.lease, None, "the observation releases the lease"),
        other => panic!("{other:?}"),
    }
    // Lambda's first retry. IAM lists the key now.
    world.stale = None;
    world.wait(60);
    world.process(created(at(0))).unwrap();
    assert_eq!(world.status(), None);
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
}

#[test]
fn r3_two_absences_60_seconds_apart_are_final() {
    for (input, seconds) in [(created(at(0)), 58), (activated(at(5)), 58)] {
        let mut world = World::new("delete");
        world.keys.clear();
        assert!(is_not_listed_yet(&world.process(input.clone())));
        let first = world.state().observation().unwrap();
        assert_eq!(first.seen, Contradiction::Absent);
        world.now = first.asked_at + TimeDelta::seconds(seconds);
        assert!(is_not_listed_yet(&world.process(input.clone())), "{seconds} seconds later");
        assert_eq!(world.state().observation(), Some(first), "the first observation stays");
        world.now = first.asked_at + TimeDelta::seconds(60);
        world.process(input).unwrap();
        match world.state() {
            KeyState::Tombstone(GoneEvidence::Absent { .. }) => {}
            KeyState::Tracked(record) => {
                assert!(matches!(record.phase, Phase::Gone(GoneEvidence::Absent { .. })), "{record:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn r3_an_observation_has_the_time_of_its_question() {
    for input in [created(at(0)), activated(at(5)), reset(at(5))] {
        let mut world = World::new("delete");
        world.keys.clear();
        let mut asked = None;
        let result = world.process_with(input, |world, effect| {
            if let Effect::Find { scope: FindScope::Account, .. } = effect {
                asked = Some(world.now);
                world.call_time = TimeDelta::seconds(20);
            }
            Fault::None
        });
        assert!(is_not_listed_yet(&result));
        let expected = Observation { asked_at: asked.unwrap(), seen: Contradiction::Absent };
        assert_eq!(world.state().observation(), Some(expected));
    }
}

#[test]
fn r3_a_complete_sweep_that_does_not_list_a_key_is_one_observation() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.wait(100);
    let first = world.now;
    world.process_loaded(not_listed(first)).unwrap();
    assert!(matches!(world.phase(), Phase::Deactivated(_)));
    world.process_loaded(not_listed(first + TimeDelta::seconds(59))).unwrap();
    assert!(matches!(world.phase(), Phase::Deactivated(_)));
    world.process_loaded(not_listed(first + TimeDelta::seconds(60))).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::Absent { .. })));
}

/// Each page is requested at another time, and the key could have been on any of them.
#[test]
fn r3_between_two_lists_lie_60_seconds_from_the_last_page_to_the_first() {
    let after = |seconds: i64| {
        let mut world = World::new("deactivate");
        world.process(created(at(0))).unwrap();
        world.wait(1_000);
        let (first_asked_at, last_asked_at) = (at(100), at(300));
        world.process_loaded(Input::NotListed { first_asked_at, last_asked_at }).unwrap();
        let (first_asked_at, last_asked_at) = (at(300 + seconds), at(900));
        world.process_loaded(Input::NotListed { first_asked_at, last_asked_at }).unwrap();
        matches!(world.phase(), Phase::Gone(_))
    };
    assert!(!after(59));
    assert!(after(60));
}

#[test]
fn r3_a_list_that_has_the_key_takes_an_absence_back() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.wait(100);
    world.process_loaded(not_listed(world.now)).unwrap();
    world.process_loaded(listed(KeyStatus::Inactive, world.now)).unwrap();
    world.wait(100);
    world.process_loaded(not_listed(world.now)).unwrap();
    assert!(matches!(world.phase(), Phase::Deactivated(_)), "one absence again");
}

#[test]
fn r3_a_deletion_event_and_one_absence_suffice() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.keys.clear();
    world.process(made_by(deleted(world.now), "bob")).unwrap();
    match world.phase() {
        Phase::Gone(GoneEvidence::DeletedBy { event, .. }) => {
            assert!(event.actor.principal.as_ref().unwrap().ends_with("bob"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn r3_still_listed_after_a_deletion_is_confirmed_then_logged() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    let deletion = deleted(world.now);
    for _ in 0..2 {
        let result = world.process(deletion.clone());
        assert!(matches!(result, Err(SessionError::KeyStillListed { .. })), "{result:?}");
    }
    world.wait(60);
    world.process(deletion).unwrap();
    assert!(matches!(world.phase(), Phase::Deactivated(_)));
    assert_eq!(world.record().observation, None);
    assert_eq!(world.changes().last(), Some(&Change::Heard(HeardEvent::Deleted)));
}

#[test]
fn r3_what_iam_said_before_a_deletion_does_not_confirm_that_it_still_lists_the_key() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.process(deleted(world.now)).unwrap_err();
    world.wait(61);
    let another = world.process(deleted(world.now));
    assert!(matches!(another, Err(SessionError::KeyStillListed { .. })), "{another:?}");
}

#[test]
fn r3_a_deletion_asks_the_known_user_first_and_the_account_once() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.take_calls();
    assert!(world.process(deleted(world.now)).is_err());
    assert_eq!(world.calls, ["Load", "Find user", "Commit"]);
    world.take_calls();
    world.keys.clear();
    world.process(deleted(world.now)).unwrap();
    assert_eq!(world.calls, ["Load", "Find user", "Find account", "Commit"]);
}

/// A renamed user keeps the key. IAM answers the deletion under the old name with `NoSuchEntity`.
#[test]
fn r3_no_such_entity_is_no_proof_that_a_key_is_gone() {
    let mut world = World::new("delete");
    world
        .process_with(created(at(0)), |world, effect| {
            if matches!(effect, Effect::Act(_)) && world.actions.is_empty() {
                world.rename("alice-renamed");
            }
            Fault::None
        })
        .unwrap();
    assert_eq!(world.calls, ["Commit", "Find user", "Act", "Find account", "Act", "Commit"]);
    assert_eq!(world.status(), None);
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
}

#[test]
fn r3_a_key_whose_user_iam_denies_twice_is_an_error() {
    let mut world = World::new("delete");
    let mut renames = 0;
    let result = world.process_with(created(at(0)), |world, effect| {
        if matches!(effect, Effect::Act(_)) {
            renames += 1;
            world.rename(&format!("alice-{renames}"));
        }
        Fault::None
    });
    assert!(matches!(result, Err(SessionError::KeyMoved { .. })), "{result:?}");
    assert_eq!(world.status(), Some(KeyStatus::Active));
    assert!(matches!(world.phase(), Phase::Pending(_)), "a resume tries again");
}

#[test]
fn r3_a_deletion_before_the_creation_is_a_tombstone_until_the_creation_arrives() {
    let mut world = World::new("delete");
    world.keys.clear();
    world.process(deleted(at(20))).unwrap();
    assert!(matches!(world.state(), KeyState::Tombstone(GoneEvidence::DeletedBy { .. })));
    world.process(created(at(0))).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedBy { .. })));
    assert!(world.record().creation.is_some());
}

fn absent_twice() -> World {
    let mut world = World::new("delete");
    world.stale = Some(Vec::new());
    world.process(created(at(0))).unwrap_err();
    world.wait(61);
    world.process(created(at(0))).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::Absent { .. })));
    world.stale = None;
    world
}

#[test]
fn r3_a_key_that_iam_lists_after_its_end_is_dealt_with() {
    let mut world = absent_twice();
    let Phase::Gone(gone) = world.phase() else { panic!() };
    let end = gone.at();
    world.wait(100);
    world.process_loaded(listed(KeyStatus::Active, end + TimeDelta::seconds(59))).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(_)), "that list may be older than the end");
    world.process_loaded(listed(KeyStatus::Active, end + TimeDelta::seconds(60))).unwrap();
    assert_eq!(world.status(), None);

    for event in [activated, reset] {
        let mut world = absent_twice();
        world.wait(5);
        world.process(event(world.now)).unwrap();
        assert_eq!(world.status(), None, "and so is one that is activated or reset");
    }
}

#[test]
fn r3_events_from_before_the_end_of_a_key_are_logged() {
    let mut world = absent_twice();
    for event in [activated, reset, crate::support::deactivated] {
        world.process(event(at(10))).unwrap();
    }
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::Absent { .. })));
    world.process(made_by(deleted(at(20)), "bob")).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedBy { .. })), "its deleter is added");
    assert_eq!(world.actions, []);
}

#[test]
fn r3_the_guards_own_deletion_stays_the_guards() {
    let mut world = World::new("delete");
    world.process(created(at(0))).unwrap();
    world.process(made_by(deleted(world.now), "key-guard-function")).unwrap();
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
    assert_eq!(world.changes().last(), Some(&Change::Heard(HeardEvent::Deleted)));
}

#[test]
fn r3_a_tombstone_that_iam_lists_is_dealt_with() {
    let mut world = World::new("delete");
    world.stale = Some(Vec::new());
    world.process(deleted(at(20))).unwrap();
    for event in [activated, reset, crate::support::deactivated, deleted] {
        world.process(event(at(10))).unwrap();
        assert!(matches!(world.state(), KeyState::Tombstone(_)));
    }
    world.stale = None;
    world.wait(30);
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert!(matches!(world.state(), KeyState::Tombstone(_)), "that list may be older than the end");
    world.wait(60);
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(world.status(), None);
}

/// The event says 30 days. IAM's lists never show an end for this service.
#[test]
fn r4_a_date_that_only_the_event_names_is_used_where_iam_shows_none() {
    let mut world = World::new("delete");
    world.keys = vec![claude_key(KeyStatus::Active)];
    let evidence = EventEvidence { response: Reading::Read(at(0) + days(30)), ..evidence(at(0)) };
    world.process(created_with(at(0), Service::ClaudePlatform, evidence)).unwrap();
    world.wait(3_600);
    world.process_loaded(listed_claude(world.now)).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Compliant));
    assert_eq!(world.actions, []);
}

#[test]
fn r4_a_date_that_iam_should_show_and_does_not_is_undetermined() {
    let mut world = World::new("delete");
    world.process(created_for(at(0), days(30))).unwrap();
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Undetermined));
    assert_eq!(world.actions, []);
}

#[test]
fn r4_no_date_means_never_for_bedrock_and_for_a_request_without_an_age() {
    let mut world = World::new("delete");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(world.status(), None, "Bedrock, by IAM alone");

    let mut world = World::new("delete");
    world.keys = vec![claude_key(KeyStatus::Active)];
    world.process(created_with(at(0), Service::ClaudePlatform, evidence(at(0)))).unwrap();
    assert_eq!(world.status(), None, "Claude Platform, by the event's request");
}

#[test]
fn r4_an_unreadable_date_is_undetermined_until_iam_answers() {
    let unreadable = EventEvidence { response: Reading::Unreadable(Found::Text(9)), ..evidence(at(0)) };
    let mut world = World::new("delete");
    world.keys = vec![ListedKey { expires_at: Some(at(0) + days(300)), ..listed_key(KeyStatus::Active) }];
    world.process(created_with(at(0), Service::Bedrock, unreadable.clone())).unwrap();
    assert_eq!(world.calls, ["Commit", "Find user", "Commit", "Find user", "Act", "Commit"]);
    assert_eq!(world.record().assessed().unwrap().verdict.violation(), Some(Violation::LifetimeExceedsLimit));

    let mut world = World::new("delete");
    world.keys = vec![claude_key(KeyStatus::Active)];
    world.process(created_with(at(0), Service::ClaudePlatform, unreadable)).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Undetermined));
    assert_eq!(world.calls, ["Commit", "Find user", "Commit"]);
}

#[test]
fn r5_a_second_over_the_limit_is_rounding() {
    let lives = |lifetime: TimeDelta| {
        let mut world = World::new("delete");
        world.keys = vec![ListedKey { expires_at: Some(at(0) + lifetime), ..listed_key(KeyStatus::Active) }];
        world.process(created_for(at(0), lifetime)).unwrap();
        world.record().verdict()
    };
    assert_eq!(lives(days(90) + TimeDelta::seconds(1)), Some(Verdict::Compliant));
    assert_eq!(lives(days(90) + TimeDelta::hours(1)), Some(Verdict::Compliant));
    assert_eq!(lives(days(90) + TimeDelta::hours(1) + TimeDelta::seconds(1)), Some(Verdict::Noncompliant));
}

/// IAM says that it is a password, whatever the event says (I7).
#[test]
fn i7_iam_says_which_service_a_key_is_for() {
    let mut world = World::new("delete");
    world.keys[0].service = Service::CodeCommit;
    world.process(created(at(0))).unwrap();
    assert_eq!(world.status(), Some(KeyStatus::Active));
    let record = world.record();
    assert_eq!((&record.facts.service, record.verdict()), (&Service::CodeCommit, None));
}

/// The user is renamed into an exemption while the guard asks IAM, and back.
#[test]
fn r6_a_rename_during_confirmation_gains_nothing() {
    let mut world = World::new("delete");
    world.policy = policy_with("delete", &exemption("vendor", "2026-12-31"));
    world
        .process_with(created(at(0)), |world, effect| {
            if matches!(effect, Effect::Find { .. }) {
                world.rename("vendor");
            }
            Fault::None
        })
        .unwrap();
    assert_eq!(world.status(), None);
    let record = world.record();
    assert_eq!((&record.facts.user, record.facts.other_names.len()), (&user("vendor"), 1));
    assert_eq!(record.assessed().unwrap().decided_by, Some(user("alice")));
}

#[test]
fn r6_a_rename_during_confirmation_and_back_gains_nothing() {
    let mut world = World::new("delete");
    world.policy = policy_with("delete", &exemption("vendor", "2026-12-31"));
    let mut is_back = false;
    world
        .process_with(created(at(0)), |world, effect| {
            if matches!(effect, Effect::Act(_)) && !is_back {
                is_back = true;
                world.rename("alice");
            } else if !is_back && matches!(effect, Effect::Find { .. }) {
                world.rename("vendor");
            }
            Fault::None
        })
        .unwrap();
    assert!(is_back);
    assert_eq!(world.status(), None);
}

#[test]
fn r6_an_event_names_the_user_of_a_key_that_is_not_known_yet() {
    let mut world = World::new("delete");
    world.policy = policy_with("delete", &exemption("vendor", "2026-12-31"));
    world.rename("vendor");
    world.process(activated(at(0))).unwrap();
    assert_eq!(world.status(), None);
    assert_eq!(world.record().assessed().unwrap().decided_by, Some(user("alice")));
}

#[test]
fn r6_a_hundred_former_names_are_kept() {
    let mut world = World::new("delete");
    world.policy = policy_with("monitor", &exemption("vendor", "2026-12-31"));
    for number in 0..120 {
        world.rename(&format!("name-{number}"));
        world.process(listed_now(&world)).unwrap();
    }
    world.rename("vendor");
    world.process(listed_now(&world)).unwrap();
    let record = world.record();
    assert_eq!((&record.facts.user, record.facts.other_names.len()), (&user("vendor"), 100));
    assert_eq!(record.verdict(), Some(Verdict::Noncompliant), "it is exempt under one name only");
}

/// The key as IAM lists it now.
fn listed_now(world: &World) -> Input {
    Input::Listed { listed: Box::new(world.keys[0].clone()), asked_at: world.now }
}

#[test]
fn r6_a_renamed_user_stays_under_its_former_name() {
    let mut world = World::new("monitor");
    let rules = exemption("vendor", "2026-12-31");
    world.policy = policy_with("monitor", &rules);
    world.process(created(at(0))).unwrap();
    world.rename("vendor");
    let renamed = world.keys[0].clone();
    world.process_loaded(Input::Listed { listed: Box::new(renamed), asked_at: world.now }).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Noncompliant));
    // The policy turns strict. The former name still decides.
    world.policy = policy_with("delete", &rules);
    let renamed = world.keys[0].clone();
    world.process_loaded(Input::Listed { listed: Box::new(renamed), asked_at: world.now }).unwrap();
    assert_eq!(world.status(), None);
}
