//! How a key stands: its status, who brought that about, since when, and how that is known.

use key_guard_core::cloudtrail::KeyTarget;
use key_guard_core::key::{KeyStatus, Status};
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState};
use key_guard_core::lifecycle::input::{Env, Input, KeyEventKind};
use key_guard_core::lifecycle::standing::{GUARD, Standing, StatusEvidence};
use key_guard_core::lifecycle::state::{GoneEvidence, KeyState, Phase};
use key_guard_core::policy::{Policy, Response, Verdict};

use crate::support::{
    World, activated, at, created, created_for, days, deactivated, deleted, env, exemption, key, listed,
    made_by, policy, policy_with, reset, user, worker,
};

/// A policy that judges the keys of one service.
fn policy_for(service: &str) -> Policy {
    let text =
        format!("[default]\nservices = [\"{service}\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n");
    Policy::parse(&text, std::path::Path::new("policy.toml")).unwrap()
}

/// What a dry run of these inputs says.
fn dry_run(inputs: &[Input]) -> DryRun {
    let (policy, worker) = (policy("delete"), worker("me"));
    let env = env(&policy, &worker, at(90));
    let next = |earlier: Option<DryRun>, input| DryRun::new(input, earlier.as_ref(), &env).or(earlier);
    inputs.iter().fold(None, next).unwrap()
}

fn status_of(inputs: &[Input]) -> (Status, Option<StatusEvidence>) {
    let Standing { status, evidence, .. } = dry_run(inputs).standing;
    (status, evidence)
}

#[test]
fn r14_a_dry_run_says_how_its_key_stands_after_the_latest_event() {
    let event = |status| (status, Some(StatusEvidence::Event));
    let (made, off, on, gone) = (created(at(0)), deactivated(at(10)), activated(at(20)), deleted(at(30)));
    for (inputs, expected) in [
        (&[made.clone()][..], event(Status::Active)),
        (&[made.clone(), off.clone()], event(Status::Inactive)),
        (&[made.clone(), off.clone(), on.clone()], event(Status::Active)),
        (&[made.clone(), on.clone(), off.clone()], event(Status::Active)),
        (&[made.clone(), off.clone(), reset(at(15))], event(Status::Inactive)),
        (&[made.clone(), gone.clone()], event(Status::Gone)),
        (&[made.clone(), gone.clone(), activated(at(50))], event(Status::Gone)),
        (&[made.clone(), gone.clone(), on, off.clone(), made.clone()], event(Status::Gone)),
        (
            &[made.clone(), off, listed(KeyStatus::Inactive, at(40))],
            (Status::Inactive, Some(StatusEvidence::Iam)),
        ),
        // So soon, IAM's list may still have it (R3).
        (&[made.clone(), gone.clone(), listed(KeyStatus::Active, at(40))], event(Status::Gone)),
        (&[made, gone, listed(KeyStatus::Active, at(90))], (Status::Active, Some(StatusEvidence::Iam))),
    ] {
        assert_eq!(status_of(inputs), expected, "{inputs:?}");
    }
}

#[test]
fn r14_a_dry_run_of_a_deleted_key_names_who_deleted_it_and_judges_it_as_before() {
    let deleted = dry_run(&[created(at(0)), deleted(at(30))]);
    let report = deleted.report();
    assert_eq!((report.status, report.response), (Status::Gone, Response::Delete));
    assert_eq!((deleted.standing.since, report.severity.as_str()), (Some(at(30)), "low"));
    assert!(
        report.reason.ends_with("the guard would have deleted the key, had it still been active. arn:aws:iam::111122223333:user/mallory deleted it on 2026-03-01T12:00:30Z."),
        "{}",
        report.reason
    );
    assert!(report.remediation.unwrap().to_string().contains("no longer exists"));
}

/// Files come in any order, each in a run of its own. What events say of a key waits for its creation.
#[test]
fn r14_a_dry_run_of_the_creation_takes_up_what_was_replayed_before_it() {
    let (policy, worker) = (policy("delete"), worker("me"));
    let env = env(&policy, &worker, at(90));
    let (made, off, on, gone) = (created(at(0)), deactivated(at(10)), activated(at(20)), deleted(at(30)));
    for (inputs, expected) in [
        (vec![off.clone(), made.clone()], Status::Inactive),
        (vec![on.clone(), off.clone(), made.clone()], Status::Active),
        (vec![off.clone(), on.clone(), made.clone()], Status::Active),
        (vec![gone.clone(), off.clone(), made.clone()], Status::Gone),
        (vec![gone.clone(), made.clone(), on.clone()], Status::Gone),
    ] {
        let mut known = None;
        for input in &inputs {
            known = DryRunState::next(input, known.as_ref(), &env).or(known);
        }
        let known = known.unwrap();
        assert_eq!(known.assessed().unwrap().standing.status, expected, "{inputs:?}");
        assert_eq!(known.assessed().unwrap().response, Response::Delete);
    }
    let waiting = DryRunState::next(&gone, None, &env).unwrap();
    let report = waiting.report();
    assert_eq!((report.status, report.verdict), (Status::Gone, None));
    assert!(report.reason.contains("mallory deleted it on"), "{}", report.reason);
    assert_eq!(DryRunState::next(&gone, Some(&waiting), &env), None, "nothing new");
    let by_reset = DryRunState::next(&reset(at(5)), None, &env).unwrap();
    assert_eq!(by_reset.report().status, Status::Unknown, "a reset says nothing of the status");
    let judged = DryRunState::from(DryRun::new(&made, None, &env).unwrap());
    assert_eq!(waiting.clone().in_place_of(Some(&judged)), None, "an import keeps what was judged");
    let later = DryRunState::next(&off, None, &Env { now: at(99), ..env }).unwrap();
    assert_eq!(later.in_place_of(Some(&waiting)), None, "no event undoes a deletion");
    let both = judged.in_place_of(Some(&waiting)).unwrap();
    assert_eq!(both.assessed().unwrap().standing.status, Status::Gone);
}

/// Files come in any order, in one run or in several. All of them together decide: under each name that events have for the
/// user (R6), and as of the latest trigger (R15).
#[test]
fn r14_the_verdict_of_a_dry_run_does_not_depend_on_the_order_of_its_inputs() {
    let worker = worker("me");
    let day = |day| at(0) + days(day);
    let by_eve = |input| match input {
        Input::Event(mut event) => {
            let target = KeyTarget { id: key().id, user: Some(user("eve")), service: None };
            event.kind = match event.kind {
                KeyEventKind::Activated(_) => KeyEventKind::Activated(target),
                _ => KeyEventKind::Deactivated(target),
            };
            Input::Event(event)
        }
        other => other,
    };
    for (until, inputs, latest_trigger) in [
        ("2026-03-05", [created(at(0)), activated(day(1)), activated(day(6))], day(6)),
        ("2026-03-05", [created(at(0)), reset(day(6)), deactivated(day(7))], day(6)),
        ("2026-12-31", [created(at(0)), by_eve(activated(day(1))), activated(day(2))], day(2)),
        ("2026-12-31", [created(at(0)), by_eve(deactivated(day(1))), activated(day(2))], day(2)),
    ] {
        let policy = policy_with("delete", &exemption("alice", until));
        let env = env(&policy, &worker, day(20));
        let creation = DryRunState::next(&inputs[0], None, &env).unwrap();
        assert_eq!(creation.assessed().unwrap().assessment.verdict(), Verdict::Exempt);
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let next = |known: Option<_>, input| DryRunState::next(input, known.as_ref(), &env).or(known);
            let known = order.iter().map(|index| &inputs[*index]).fold(None, next);
            let again = next(known.clone(), &inputs[0]);
            for known in [known, again] {
                let dry_run = known.unwrap().assessed().unwrap().clone();
                assert_eq!(dry_run.assessment.verdict(), Verdict::Noncompliant, "{order:?} of {inputs:?}");
                assert_eq!(dry_run.response, Response::Delete);
                assert_eq!(dry_run.latest_trigger, latest_trigger, "{order:?} of {inputs:?}");
            }
        }
        // A list comes last, and the creation is replayed once more.
        let next = |known: Option<_>, input| DryRunState::next(input, known.as_ref(), &env).or(known);
        let known =
            [&inputs[0], &listed(KeyStatus::Active, day(20)), &inputs[0]].into_iter().fold(None, next);
        let verdict = known.unwrap().assessed().unwrap().assessment.verdict();
        assert_eq!(verdict == Verdict::Noncompliant, until == "2026-03-05", "{verdict:?}");
    }
}

/// What has ended is known under every policy. A list that changes no verdict need not be stored.
#[test]
fn r14_a_dry_run_is_judged_anew_only_where_the_policy_judges() {
    let worker = worker("me");
    let (all, none) = (policy("delete"), policy_for("logs.amazonaws.com"));
    let known = DryRun::new(&created(at(0)), None, &env(&all, &worker, at(9))).unwrap();
    let gone = DryRun::new(&deleted(at(30)), Some(&known), &env(&none, &worker, at(40))).unwrap();
    assert_eq!((gone.standing.status, &gone.policy_sha256), (Status::Gone, &known.policy_sha256));
    assert_eq!(gone.assessment, known.assessment);
    assert_eq!(DryRun::new(&activated(at(30)), Some(&known), &env(&none, &worker, at(40))), None);
    let seen =
        |now| DryRun::new(&listed(KeyStatus::Active, now), Some(&known), &env(&all, &worker, now)).unwrap();
    assert!(seen(at(50)).says_the_same_as(&seen(at(60))));
}

#[test]
fn r14_a_list_confirms_what_an_event_said_and_keeps_who_did_it() {
    let standing =
        dry_run(&[created(at(0)), deactivated(at(10)), listed(KeyStatus::Inactive, at(40))]).standing;
    assert_eq!((standing.since, standing.seen_at), (Some(at(10)), Some(at(40))));
    assert!(standing.by.unwrap().ends_with("mallory"));
}

/// The policy may be another one by then.
#[test]
fn r14_a_dry_run_under_a_newer_policy_replaces_the_older_one() {
    let worker = worker("me");
    let (strict, lenient) = (policy("delete"), policy("monitor"));
    let old = DryRun::new(&created(at(0)), None, &env(&strict, &worker, at(30))).unwrap();
    let env = env(&lenient, &worker, at(90));
    let new = DryRun::new(&created(at(0)), Some(&old), &env).unwrap();
    assert_eq!((old.response, new.response), (Response::Delete, Response::Monitor));
    assert_eq!((new.policy_sha256.as_str(), new.at), (lenient.sha256(), at(90)));
    assert!(!old.says_the_same_as(&new), "it is stored");
}

#[test]
fn a_record_says_who_ended_its_key_and_how_that_is_known() {
    let standing = |world: &World| Standing::of_state(world.state());
    let mut world = World::new("delete");
    world.process(created(at(0))).unwrap();
    let ended = standing(&world);
    assert_eq!((ended.status, ended.by.as_deref()), (Status::Gone, Some(GUARD)));

    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    let deactivated = standing(&world);
    assert_eq!((deactivated.status, deactivated.by.as_deref()), (Status::Inactive, Some(GUARD)));
    assert_eq!(deactivated.evidence, Some(StatusEvidence::Iam));
    world.keys.clear();
    let deleted_at = world.now;
    world.process(deleted(deleted_at)).unwrap();
    let gone = standing(&world);
    assert_eq!((gone.status, gone.since), (Status::Gone, Some(deleted_at)));
    assert!(gone.by.unwrap().ends_with("mallory"));

    let mut world = World::new("delete");
    world.process(created_for(at(0), days(30))).unwrap();
    let compliant = standing(&world);
    assert_eq!((compliant.status, compliant.since), (Status::Active, Some(at(0))));
    assert_eq!(compliant.evidence, Some(StatusEvidence::Event), "IAM was not asked");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(standing(&world).evidence, Some(StatusEvidence::Iam));
}

#[test]
fn a_record_says_who_activated_or_deactivated_its_key() {
    let standing = |world: &World| {
        let standing = Standing::of_state(world.state());
        (standing.status, standing.since, standing.by, standing.evidence)
    };
    let by_event = |status, seconds, by: &str| {
        let by = format!("arn:aws:iam::111122223333:user/{by}");
        (status, Some(at(seconds)), Some(by), Some(StatusEvidence::Event))
    };
    let mut world = World::new("delete");
    world.process(created_for(at(0), days(30))).unwrap();
    assert_eq!(standing(&world), by_event(Status::Active, 0, "mallory"));
    world.take_calls();
    let off = made_by(deactivated(at(10)), "jan");
    world.process(off.clone()).unwrap();
    assert_eq!(standing(&world), by_event(Status::Inactive, 10, "jan"));
    assert_eq!((world.take_calls(), world.phase()), (vec!["Load".into(), "Commit".into()], &Phase::Settled));
    let stored = world.stored.clone();
    world.process(off).unwrap();
    assert_eq!((world.take_calls(), &world.stored), (vec!["Load".into(), "Append".into()], &stored));
    world.process(made_by(activated(at(20)), "maria")).unwrap();
    // Events come in any order.
    world.process(made_by(deactivated(at(15)), "jan")).unwrap();
    assert_eq!(standing(&world), by_event(Status::Active, 20, "maria"));
    let asked_at = world.now;
    world.process_loaded(listed(KeyStatus::Active, asked_at)).unwrap();
    let (_, since, by, _) = by_event(Status::Active, 20, "maria");
    let iam = Some(StatusEvidence::Iam);
    assert_eq!(standing(&world), (Status::Active, since, by, iam), "a list confirms it");
    world.process_loaded(listed(KeyStatus::Inactive, asked_at + days(1))).unwrap();
    assert_eq!(standing(&world), (Status::Inactive, None, None, iam));
    // Its event is late.
    world.process(made_by(deactivated(at(40)), "jan")).unwrap();
    let (status, since, by, _) = by_event(Status::Inactive, 40, "jan");
    assert_eq!(standing(&world), (status, since, by, iam));
}

/// Its own report says that nothing followed, so a sweep tells people that the finding is another one.
#[test]
fn i11_a_deactivation_by_somebody_else_is_published_with_the_next_sweep() {
    let mut world = World::new("monitor");
    world.process(created(at(0))).unwrap();
    assert!(!world.record().unreported);
    world.process(deactivated(at(10))).unwrap();
    assert!(world.record().unreported);
    assert_eq!(world.record().known_status(), Some(KeyStatus::Inactive));
    world.process(activated(at(20))).unwrap();
    assert!(!world.record().unreported, "the report of the activation says how the key stands");
}

#[test]
fn a_key_whose_time_is_over_has_expired_unless_it_was_deleted() {
    let (policy, worker) = (policy("delete"), worker("me"));
    let env = Env { ..env(&policy, &worker, at(30)) };
    let active = DryRun::new(&created(at(0)), None, &env).unwrap().standing;
    let expired = active.clone().as_of(at(100), Some(at(100)));
    assert_eq!((expired.status, expired.evidence), (Status::Expired, Some(StatusEvidence::Expiration)));
    assert_eq!(active.clone().as_of(at(99), Some(at(100))).status, Status::Active);
    assert_eq!(active.clone().as_of(at(100), None).status, Status::Active);
    let gone = Standing { status: Status::Gone, ..active };
    assert_eq!(gone.as_of(at(100), Some(at(100))).status, Status::Gone);
}

/// Nobody knows when IAM said it: after the key's creation, and before or after anything else.
#[test]
fn r14_a_saved_list_says_how_a_key_stands_only_where_nothing_after_its_creation_does() {
    let (policy, worker) = (policy("delete"), worker("me"));
    let env = env(&policy, &worker, at(90));
    let saved = |status, earlier: Option<&DryRun>| {
        let Input::Listed { listed, .. } = listed(status, at(90)) else { panic!() };
        DryRun::of_saved_entry(&listed, earlier, &env).unwrap()
    };
    let said = |dry_run: DryRun| {
        let Standing { status, evidence, .. } = dry_run.standing;
        (status, evidence.unwrap())
    };
    let (made, off, on, gone) = (created(at(0)), deactivated(at(10)), activated(at(20)), deleted(at(30)));
    let (active, inactive) = (KeyStatus::Active, KeyStatus::Inactive);
    for (before, status, expected) in [
        (std::slice::from_ref(&made), active, (Status::Active, StatusEvidence::Event)),
        (std::slice::from_ref(&made), inactive, (Status::Inactive, StatusEvidence::SavedList)),
        (&[made.clone(), gone.clone()], active, (Status::Gone, StatusEvidence::Event)),
        (&[made.clone(), off.clone()], active, (Status::Inactive, StatusEvidence::Event)),
        (&[made.clone(), on.clone()], inactive, (Status::Active, StatusEvidence::Event)),
        (&[made.clone(), listed(active, at(40))], inactive, (Status::Active, StatusEvidence::Iam)),
    ] {
        assert_eq!(said(saved(status, Some(&dry_run(before)))), expected, "{before:?}");
    }
    let first = saved(inactive, None);
    assert_eq!((first.standing.seen_at, first.standing.since), (None, None), "its file's time says nothing");
    assert_eq!(said(saved(active, Some(&first))), (Status::Active, StatusEvidence::SavedList));
    for (event, expected) in [
        (made, (Status::Inactive, StatusEvidence::SavedList)),
        (on, (Status::Active, StatusEvidence::Event)),
        (gone, (Status::Gone, StatusEvidence::Event)),
    ] {
        assert_eq!(said(DryRun::new(&event, Some(&first), &env).unwrap()), expected, "{event:?}");
    }
}

#[test]
fn a_key_is_deleted_where_somebody_says_so_and_gone_where_only_a_list_lacks_it() {
    let absent = Standing::of_state(&KeyState::Tombstone(GoneEvidence::Absent { at: at(90) }));
    let by_guard = Standing::of_state(&KeyState::Tombstone(GoneEvidence::DeletedByGuard { at: at(90) }));
    let by_event = dry_run(&[created(at(0)), deleted(at(30))]).standing;
    assert!(absent.is_only_absent() && !by_guard.is_only_absent() && !by_event.is_only_absent());
    assert!(by_event.ended_before(at(31)) && !by_event.ended_before(at(30)));
    assert!(!dry_run(&[created(at(0))]).standing.ended_before(at(31)), "it still exists");
}
