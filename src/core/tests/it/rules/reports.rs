//! R9, R10 and R14, and the report of each end.

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{ParsedEvent, Unreadable, parse_record};
use key_guard_core::key::{KeyStatus, Service, Status};
use key_guard_core::lifecycle::dry_run::DryRun;
use key_guard_core::lifecycle::effect::{Cause, Change, Effect, FindScope, Reply};
use key_guard_core::lifecycle::input::{Ceiling, Env, Input, ListedKey};
use key_guard_core::lifecycle::lookup::CreationLookup;
use key_guard_core::lifecycle::result::{SessionError, SessionResult};
use key_guard_core::lifecycle::state::{KeyState, Record};
use key_guard_core::lifecycle::summary::{Publication, SinceLastSweep};
use key_guard_core::policy::{Response, Verdict, Violation};
use key_guard_core::report::{Outcome, Report, Severity};
use serde_json::{Value, json};

use crate::support::{
    ACCOUNT, CREDENTIAL, Fault, World, activated, at, claude_key, created, created_for, created_with, days,
    deactivated, deleted, env, evidence, exemption, key, listed, listed_key, not_listed, policy, policy_with,
    reset, user, worker,
};

fn report(world: &World, result: &SessionResult) -> Report {
    let worker = worker("me");
    let env = Env { ceiling: world.ceiling, ..env(&world.policy, &worker, world.now) };
    result.report(&env)
}

fn process(world: &mut World, input: Input) -> Report {
    let result = world.process(input).unwrap();
    report(world, &result)
}

/// A successful creation. `response` is what the event has of IAM's response.
fn creation_event(response: &Value, request: &Value) -> Value {
    json!({
        "eventSource": "iam.amazonaws.com",
        "eventName": "CreateServiceSpecificCredential",
        "eventTime": "2026-03-01T12:00:05Z",
        "eventID": "0a1b2c3d-0000-4000-8000-000000000001",
        "recipientAccountId": ACCOUNT,
        "userIdentity": { "type": "IAMUser", "arn": format!("arn:aws:iam::{ACCOUNT}:user/mallory") },
        "requestParameters": request,
        "responseElements": response,
    })
}

fn unreadable(request: &Value) -> Unreadable {
    parse_record(&creation_event(&Value::Null, request)).unwrap_err()
}

#[test]
fn r9_an_unreadable_creation_is_looked_up_for_the_user_that_it_names() {
    let named = json!({ "userName": "alice", "serviceName": "bedrock.amazonaws.com" });
    let lookup = CreationLookup::new(&unreadable(&named)).unwrap();
    assert_eq!(lookup.scope(), FindScope::User(user("alice")));
    let unnamed = CreationLookup::new(&unreadable(&Value::Null)).unwrap();
    assert_eq!((unnamed.scope(), unnamed.account().as_str()), (FindScope::Account, ACCOUNT));
}

#[test]
fn r9_its_key_is_dealt_with_as_if_the_event_had_been_readable() {
    let mut world = World::new("delete");
    // Deactivated before the guard arrives: a sweep would leave it alone, an event does not.
    world.set_status(KeyStatus::Inactive);
    let lookup = CreationLookup::new(&unreadable(&Value::Null)).unwrap();
    let mut sessions = lookup.sessions(world.keys.clone(), world.now).unwrap();
    let session = sessions.pop().unwrap();
    assert!(sessions.is_empty());
    let result = world.run(session, |_, _| Fault::None).unwrap();
    assert_eq!(world.calls, ["Commit", "Find user", "Act", "Commit"]);
    assert_eq!(world.status(), None);
    let reports = lookup.reports(&[result], |result| report(&world, result)).unwrap();
    let report = reports[0].clone();
    assert_eq!((report.outcome, report.violation), (Outcome::Deleted, Some(Violation::NeverExpires)));
    assert!(
        world.record().unreported,
        "the event may not find the key again, so a sweep publishes the finding"
    );
    assert!(report.actor.unwrap().ends_with("mallory"));
    assert!(report.reason.starts_with("A creation event could not be read (field "), "{}", report.reason);
}

#[test]
fn r9_its_creator_is_assumed_until_its_own_event_arrives() {
    let mut world = World::new("monitor");
    let lookup = CreationLookup::new(&unreadable(&Value::Null)).unwrap();
    let session = lookup.sessions(world.keys.clone(), world.now).unwrap().pop().unwrap();
    world.run(session, |_, _| Fault::None).unwrap();
    let creator = |world: &World| world.record().creation.clone().unwrap().actor.principal.unwrap();
    assert!(creator(&world).ends_with("mallory"));
    let Input::Event(mut event) = created(at(0)) else { panic!() };
    event.provenance.actor.principal = Some("arn:aws:iam::111122223333:user/trent".to_owned());
    world.process(Input::Event(event)).unwrap();
    assert!(creator(&world).ends_with("trent"));
}

#[test]
fn r9_a_user_that_was_renamed_since_is_looked_up_in_the_whole_account() {
    let lookup = CreationLookup::new(&unreadable(&json!({ "userName": "alice" }))).unwrap();
    assert_eq!(lookup.scope(), FindScope::User(user("alice")));
    let wider = lookup.widened().unwrap();
    assert_eq!(wider.scope(), FindScope::Account);
    assert_eq!(wider.widened(), None);
}

#[test]
fn reports_say_that_a_reactivated_key_works_where_the_ceiling_lets_it_be() {
    let mut world = World::new("deactivate");
    assert_eq!(process(&mut world, created(at(0))).status, Status::Inactive);
    world.ceiling = Ceiling::Monitor;
    world.wait(3_600);
    world.set_status(KeyStatus::Active);
    let asked_at = world.now;
    let report = process(&mut world, listed(KeyStatus::Active, asked_at));
    assert_eq!((report.status, report.outcome), (Status::Active, Outcome::Monitored));
    assert_eq!((report.violation, report.severity), (Some(Violation::Reactivated), Severity::Critical));
    assert!(world.record().unreported, "a key that works again is news");
    // A list from before that says nothing new.
    let before = world.stored.clone();
    process(&mut world, listed(KeyStatus::Inactive, asked_at - TimeDelta::seconds(1)));
    assert_eq!(world.stored, before);
}

#[test]
fn reports_say_that_a_key_which_somebody_deactivated_is_inactive() {
    let mut world = World::new("monitor");
    process(&mut world, created(at(0)));
    world.wait(60);
    let now = world.now;
    assert_eq!(process(&mut world, deactivated(now)).status, Status::Inactive);
}

#[test]
fn reports_name_the_policy_that_judged_the_key() {
    let mut world = World::new("monitor");
    let first = process(&mut world, created(at(0)));
    world.policy = policy_with("monitor", "# edited");
    let again = process(&mut world, created(at(0)));
    assert_eq!(first.policy_sha256, again.policy_sha256, "the state says which policy it is from");
}

#[test]
fn r9_nothing_follows_from_an_age_that_an_unreadable_event_lacks() {
    let mut world = World::new("delete");
    world.keys = vec![claude_key(KeyStatus::Active)];
    let lookup = CreationLookup::new(&unreadable(&json!({ "userName": "alice" }))).unwrap();
    let session = lookup.sessions(world.keys.clone(), world.now).unwrap().pop().unwrap();
    world.run(session, |_, _| Fault::None).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Undetermined));
    assert_eq!(world.actions, []);
}

#[test]
fn r9_only_keys_of_ten_minutes_before_or_after_are_meant() {
    let lookup = CreationLookup::new(&unreadable(&Value::Null)).unwrap();
    let event_time = at(5);
    let is_meant = |distance: TimeDelta| {
        let listed = ListedKey { created_at: event_time + distance, ..listed_key(KeyStatus::Active) };
        lookup.sessions(vec![listed], at(60)).is_ok()
    };
    let ten = TimeDelta::minutes(10);
    assert!(is_meant(ten) && is_meant(-ten));
    assert!(!is_meant(ten + TimeDelta::seconds(1)) && !is_meant(-ten - TimeDelta::seconds(1)));
    let error = lookup.sessions(Vec::new(), at(60)).unwrap_err().to_string();
    assert!(error.contains("IAM lists no key in account 111122223333"), "{error}");
}

#[test]
fn r9_other_unreadable_events_are_not_looked_up() {
    let mut event = creation_event(&Value::Null, &Value::Null);
    event["eventName"] = json!("UpdateServiceSpecificCredential");
    assert_eq!(CreationLookup::new(&parse_record(&event).unwrap_err()), None);
    // A readable one needs no lookup.
    let response = json!({ "serviceSpecificCredential": {
        "serviceSpecificCredentialId": CREDENTIAL,
        "userName": "alice",
        "serviceName": "bedrock.amazonaws.com",
    } });
    assert!(matches!(parse_record(&creation_event(&response, &Value::Null)), Ok(ParsedEvent::Relevant(_))));
}

fn since(record: &Record, started: Option<Time>) -> SinceLastSweep {
    SinceLastSweep::of(record, started)
}

/// A sweep is killed after it has stored a bad key. The next one says that the key is new.
#[test]
fn r10_new_means_since_the_last_completed_sweep_started() {
    let mut world = World::new("monitor");
    let first_sweep = world.now;
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    world.wait(3_600);
    assert_eq!(since(world.record(), None), SinceLastSweep::New, "no sweep was completed");
    assert_eq!(since(world.record(), Some(first_sweep)), SinceLastSweep::New, "stored during that sweep");
    let second_sweep = world.now;
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(since(world.record(), Some(second_sweep)), SinceLastSweep::Unchanged);
    world.wait(3_600);
    world.policy = policy("deactivate");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert_eq!(since(world.record(), Some(second_sweep)), SinceLastSweep::Changed);
    world.keys.clear();
    world.process(deleted(world.now)).unwrap();
    assert_eq!(since(world.record(), Some(second_sweep)), SinceLastSweep::Ended);
    assert_eq!(since(world.record(), Some(world.now + days(1))), SinceLastSweep::Unchanged);
}

fn publication(world: &World) -> Option<Publication> {
    Publication::due(&world.stored, world.now)
}

#[test]
fn r10_what_a_sweep_finds_is_due_until_it_is_marked_as_reported() {
    let mut world = World::new("monitor");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    // The sweep dies here. The next one finds nothing new to store, and the finding is still due.
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    let due = publication(&world).unwrap();
    assert_eq!(due.key(), &key());
    let before = world.record().clone();
    let commit = due.mark_reported(&world.stored, Cause::Sweep, world.now).unwrap();
    assert_eq!(commit.log.change, Change::Reported);
    assert!(matches!(world.perform(&Effect::Commit(Box::new(commit))), Reply::Committed(_)));
    assert_eq!(publication(&world), None);
    assert_eq!(*world.record(), Record { unreported: false, ..before });
}

/// The reply to the sweep's write is lost, and the sweep starts again.
#[test]
fn r10_a_finding_whose_write_lost_its_reply_is_due() {
    let mut world = World::new("monitor");
    let mut is_lost = false;
    let result = world.process_with(listed(KeyStatus::Active, at(30)), |_, effect| match effect {
        Effect::Commit(_) if !is_lost => {
            is_lost = true;
            Fault::ReplyLost
        }
        _ => Fault::None,
    });
    assert!(is_lost && result.is_ok(), "{result:?}");
    assert!(publication(&world).is_some());
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    assert!(publication(&world).is_some());
    assert_eq!(since(world.record(), Some(at(30))), SinceLastSweep::New);
}

/// Many slow keys on one page: the time is checked before each of them.
#[test]
fn r10_a_session_starts_nothing_in_the_last_five_seconds() {
    let mut world = World::new("delete");
    world.time_limit = TimeDelta::seconds(5);
    let result = world.process_loaded(listed(KeyStatus::Active, world.now));
    assert!(matches!(result, Err(SessionError::OutOfTime)), "{result:?}");
    assert_eq!(world.calls, [] as [&str; 0]);
}

#[test]
fn r10_a_newer_finding_is_not_marked_as_reported_with_the_older_one() {
    let mut world = World::new("monitor");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    let published = publication(&world).unwrap();
    let stale = world.stored.clone();
    world.wait(100);
    world.policy = policy("deactivate");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    let commit = published.mark_reported(&stale, Cause::Sweep, world.now).unwrap();
    let Reply::Conflict(current) = world.perform(&Effect::Commit(Box::new(commit))) else { panic!() };
    assert_eq!(published.mark_reported(&current, Cause::Sweep, world.now), None);
    assert!(publication(&world).is_some());
}

#[test]
fn r10_a_conflict_that_leaves_the_finding_is_tried_again() {
    let mut world = World::new("monitor");
    world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    let published = publication(&world).unwrap();
    let stale = world.stored.clone();
    world.process_loaded(not_listed(world.now)).unwrap();
    let commit = published.mark_reported(&stale, Cause::Sweep, world.now).unwrap();
    let Reply::Conflict(current) = world.perform(&Effect::Commit(Box::new(commit))) else { panic!() };
    let commit = published.mark_reported(&current, Cause::Sweep, world.now).unwrap();
    assert!(matches!(world.perform(&Effect::Commit(Box::new(commit))), Reply::Committed(_)));
    assert_eq!(publication(&world), None);
    assert!(world.record().observation.is_some(), "the absence stays stored");
}

#[test]
fn r10_what_an_event_returns_needs_no_publication() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    assert_eq!(publication(&world), None);
}

#[test]
fn r10_a_compliant_key_is_no_finding() {
    let mut world = World::new("delete");
    let good = ListedKey { expires_at: Some(at(0) + days(30)), ..listed_key(KeyStatus::Active) };
    world.process_loaded(Input::Listed { listed: Box::new(good), asked_at: world.now }).unwrap();
    assert_eq!(publication(&world), None);
}

#[test]
fn r14_a_dry_run_says_what_would_follow_and_touches_nothing() {
    let policy = policy("delete");
    let worker = worker("me");
    let env = env(&policy, &worker, at(30));
    let dry_run = DryRun::new(&created(at(0)), None, &env).unwrap();
    assert_eq!((dry_run.response, dry_run.at), (Response::Delete, at(30)));
    let report = dry_run.report();
    assert_eq!((report.outcome, report.verdict), (Outcome::Recorded, Some(Verdict::Noncompliant)));
    assert!(
        report.reason.ends_with("This is a dry run: the guard would delete the key."),
        "{}",
        report.reason
    );
    let inactive = DryRun::new(&listed(KeyStatus::Inactive, at(30)), None, &env).unwrap();
    assert!(inactive.report().reason.contains("leave the key alone"));
    let lowered = Env { ceiling: Ceiling::Monitor, ..env };
    let monitored = DryRun::new(&created(at(0)), None, &lowered).unwrap().report();
    assert_eq!((monitored.response, monitored.outcome), (Response::Monitor, Outcome::Monitored));
}

#[test]
fn r14_dry_runs_of_one_key_join_their_evidence() {
    let policy = policy_with("delete", &exemption("vendor", "2026-12-31"));
    let worker = worker("me");
    let env = env(&policy, &worker, at(30));
    let claude = created_with(at(0), Service::ClaudePlatform, evidence(at(0)));
    let first = DryRun::new(&claude, None, &env).unwrap();
    let renamed = ListedKey { user: user("vendor"), ..claude_key(KeyStatus::Active) };
    let seen = Input::Listed { listed: Box::new(renamed), asked_at: at(30) };
    let alone = DryRun::new(&seen, None, &env).unwrap();
    assert_eq!(alone.assessment.verdict(), Verdict::Undetermined);
    let joined = DryRun::new(&seen, Some(&first), &env).unwrap();
    assert_eq!(joined.assessment.verdict(), Verdict::Noncompliant);
    assert_eq!(joined.assessment.decided_by, Some(user("alice")));
    assert_eq!(DryRun::new(&activated(at(20)), None, &env), None, "too little is known");
    assert!(DryRun::new(&activated(at(20)), Some(&first), &env).is_some());
}

#[test]
fn r14_dry_runs_judge_events_as_of_their_time_and_lists_as_of_now() {
    let policy = policy_with("delete", &exemption("alice", "2026-03-01"));
    let worker = worker("me");
    let env = env(&policy, &worker, at(0) + days(1));
    let event = DryRun::new(&created(at(0)), None, &env).unwrap();
    assert_eq!(event.assessment.verdict(), Verdict::Exempt);
    let list = DryRun::new(&listed(KeyStatus::Active, at(0) + days(1)), None, &env).unwrap();
    assert_eq!(list.assessment.verdict(), Verdict::Noncompliant);
}

#[test]
fn reports_have_the_outcome_of_the_final_state() {
    let noncompliant = |response: &str| process(&mut World::new(response), created(at(0)));
    assert_eq!(noncompliant("delete").outcome, Outcome::Deleted);
    assert_eq!(noncompliant("deactivate").outcome, Outcome::Deactivated);
    assert_eq!(noncompliant("monitor").outcome, Outcome::Monitored);
    let quarantined = noncompliant("quarantine");
    assert_eq!((quarantined.response, quarantined.outcome), (Response::Quarantine, Outcome::Deactivated));
    assert!(quarantined.reason.contains("quarantine until 2026-03-15"), "{}", quarantined.reason);
    let compliant = process(&mut World::new("delete"), created_for(at(0), days(30)));
    assert_eq!((compliant.response, compliant.outcome), (Response::None, Outcome::Recorded));
    assert_eq!((compliant.severity, compliant.status), (Severity::Info, Status::Active));
}

#[test]
fn reports_of_a_redelivery_have_the_same_outcome() {
    for response in ["monitor", "deactivate", "quarantine", "delete"] {
        for event in [created(at(0)), activated(at(5)), reset(at(5))] {
            let mut world = World::new(response);
            let first = process(&mut world, event.clone());
            world.wait(60);
            let second = process(&mut world, event);
            assert_eq!((second.outcome, second.verdict), (first.outcome, first.verdict), "{response}");
        }
    }
}

/// The worker dies after its last write, before it returns. The retry has nothing to do.
#[test]
fn r10_the_retry_of_an_event_reports_what_its_dead_worker_stored() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.wait(100);
    world.set_status(KeyStatus::Active);
    let activation = activated(world.now - TimeDelta::seconds(5));
    world.process(activation.clone()).unwrap();
    let retried = process(&mut world, activation);
    assert_eq!((retried.outcome, retried.violation), (Outcome::Deactivated, Some(Violation::Reactivated)));
    assert!(retried.reason.contains("Nothing more follows"), "{}", retried.reason);

    world.keys.clear();
    let deletion = deleted(world.now);
    world.process(deletion.clone()).unwrap();
    assert_eq!(process(&mut world, deletion).outcome, Outcome::Gone);

    let mut world = World::new("delete");
    world.keys.clear();
    world.process(deleted(at(20))).unwrap();
    assert_eq!(process(&mut world, deleted(at(20))).outcome, Outcome::Gone, "a tombstone");
}

#[test]
fn reports_of_deactivations_by_others_are_ignored() {
    let mut world = World::new("deactivate");
    let unknown = process(&mut world, deactivated(at(10)));
    assert_eq!((unknown.outcome, unknown.verdict), (Outcome::Ignored, None));
    world.process(created(at(0))).unwrap();
    let now = world.now;
    let owner = process(&mut world, deactivated(now));
    assert_eq!((owner.outcome, owner.verdict), (Outcome::Ignored, None));
    assert_eq!((owner.user, owner.status), (Some(user("alice")), Status::Inactive));
    assert!(owner.reason.contains("Nothing follows"), "{}", owner.reason);
}

#[test]
fn reports_of_other_services_are_ignored() {
    let mut world = World::new("delete");
    let password = process(&mut world, created_with(at(0), Service::CodeCommit, evidence(at(0))));
    assert_eq!((password.outcome, password.service), (Outcome::Ignored, Some(Service::CodeCommit)));
    assert_eq!(world.calls, [] as [&str; 0]);
    assert_eq!(*world.state(), KeyState::Unknown);
    let listed = ListedKey { service: Service::CodeCommit, ..listed_key(KeyStatus::Active) };
    let listed = process(&mut world, Input::Listed { listed: Box::new(listed), asked_at: at(30) });
    assert_eq!((listed.outcome, listed.user), (Outcome::Ignored, Some(user("alice"))));
}

#[test]
fn reports_of_ends_say_who_ended_the_key() {
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.keys.clear();
    let now = world.now;
    let gone = process(&mut world, deleted(now));
    assert_eq!((gone.outcome, gone.status), (Outcome::Gone, Status::Gone));
    assert!(gone.reason.contains("user/mallory deleted it on"), "{}", gone.reason);

    let mut world = World::new("delete");
    world.keys.clear();
    let tombstone = process(&mut world, deleted(at(20)));
    assert_eq!((tombstone.outcome, tombstone.status), (Outcome::Gone, Status::Gone));
    assert!(tombstone.reason.starts_with("No record of this key."), "{}", tombstone.reason);
    let late = process(&mut world, created(at(0)));
    assert_eq!((late.outcome, late.violation), (Outcome::Gone, Some(Violation::NeverExpires)));

    let mut world = World::new("delete");
    world.keys.clear();
    world.process(created(at(0))).unwrap_err();
    world.wait(61);
    let absent = process(&mut world, created(at(0)));
    assert_eq!(absent.outcome, Outcome::AlreadyGone);
}

#[test]
fn reports_say_that_a_key_is_inactive_and_that_the_guard_did_not_do_it() {
    let mut world = World::new("delete");
    world.set_status(KeyStatus::Expired);
    let expired = process(&mut world, created(at(0)));
    assert_eq!((expired.outcome, expired.status), (Outcome::AlreadyInactive, Status::Expired));
    let mut world = World::new("delete");
    let inactive = process(&mut world, listed(KeyStatus::Inactive, at(30)));
    assert_eq!((inactive.outcome, inactive.status), (Outcome::AlreadyInactive, Status::Inactive));
}

#[test]
fn reports_say_what_the_ceiling_prevented_and_only_then() {
    let mut world = World::new("delete");
    world.ceiling = Ceiling::Monitor;
    let prevented = process(&mut world, created(at(0)));
    assert_eq!((prevented.response, prevented.outcome), (Response::Monitor, Outcome::Monitored));
    assert!(prevented.reason.contains("The ceiling is monitor"), "{}", prevented.reason);
    let mut world = World::new("delete");
    world.ceiling = Ceiling::Deactivate;
    let lowered = process(&mut world, created(at(0)));
    assert_eq!((lowered.response, lowered.outcome), (Response::Deactivate, Outcome::Deactivated));
    assert!(lowered.reason.contains("the ceiling did not allow that"), "{}", lowered.reason);
    for response in ["delete", "deactivate", "monitor", "quarantine"] {
        let reason = process(&mut World::new(response), created(at(0))).reason;
        assert!(!reason.contains("ceiling is") && !reason.contains("deactivated instead"), "{reason}");
    }
}

#[test]
fn reports_of_a_sweep_name_the_creator() {
    let mut world = World::new("monitor");
    world.process(created(at(0))).unwrap();
    let result = world.process_loaded(listed(KeyStatus::Active, world.now)).unwrap();
    let report = report(&world, &result);
    assert!(report.actor.unwrap().ends_with("mallory"));
    assert!(report.policy_sha256.is_some());
    assert_eq!(report.severity, Severity::High);
}

#[test]
fn a_deactivation_of_a_key_without_a_record_says_that() {
    let mut world = World::new("delete");
    let unknown = process(&mut world, deactivated(at(10)));
    assert_eq!((unknown.outcome, unknown.verdict), (Outcome::Ignored, None));
    assert_eq!(unknown.reason, "A key was deactivated. No record of this key.");
    process(&mut world, created(at(0)));
    let known = process(&mut world, deactivated(at(20)));
    assert!(known.reason.ends_with("it is in the key's history."), "{}", known.reason);
}

/// An event of the future is forged, or a clock is wrong.
#[test]
fn an_event_of_the_future_is_told_by_its_time() {
    let Input::Event(event) = created(at(301)) else { panic!() };
    assert!(SessionError::of_future_event(&event.provenance, at(0)).is_some());
    assert!(SessionError::of_future_event(&event.provenance, at(1)).is_none());
}
