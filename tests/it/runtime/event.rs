//! Events that are about no key, and creations that could not be read (R9).

use std::path::Path;

use bedrock_key_guard::ledger::audit::AuditRecord;
use bedrock_key_guard::ledger::audit::attempts::AuditFilter;
use bedrock_key_guard::ledger::query::{Filter, Search};
use bedrock_key_guard::runtime::event::{EventError, process_event, process_unreadable_event};
use bedrock_key_guard::runtime::resume::run_resume;
use bedrock_key_guard::runtime::sweep::run_sweep;
use chrono::TimeDelta;
use key_guard_core::cloudtrail::{
    self, Attempt, CredentialCall, CredentialEvent, EventKind, Irrelevant, ParsedEvent, Unreadable,
    UnreadableCreation, UserCall, UserChange,
};
use key_guard_core::key::{KeyStatus, Service, Status};
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::lifecycle::state::KeyState;
use key_guard_core::lifecycle::sweep::Sweep;
use key_guard_core::policy::Policy;
use key_guard_core::report::{Outcome, Report, Severity};

use super::faulty::{Call, Fault, When};
use super::iam::TestIam as _;
use super::ledger::StoreKind;
use super::world::World;
use super::{activated, at, bad_key, created, deactivated, event, good_key, provenance, user};

fn refused(key: &ListedKey) -> EventKind {
    EventKind::Failed(Attempt {
        call: cloudtrail::Call::Credential(CredentialCall::Create),
        error_code: "AccessDenied".to_owned(),
        user: Some(key.user.clone()),
        service: None,
    })
}

/// The creation of this key. Only so much of it could be read.
fn unreadable(key: &ListedKey, user_name: Option<&str>) -> Unreadable {
    let creation = UnreadableCreation { provenance: provenance(key, at(0)), user: user_name.map(user) };
    Unreadable {
        creation: Some(Box::new(creation)),
        ..Unreadable::new("responseElements", "an object", "nothing")
    }
}

/// The attempts that are recorded.
fn attempts(world: &World) -> Vec<CredentialEvent> {
    let all = AuditFilter::default();
    let ledger = &world.store.inner.ledger;
    let records = world.clock.run(ledger.audit_records(&all, at(86_400))).unwrap().unwrap().unwrap();
    assert!(records.unreadable.is_empty(), "{:?}", records.unreadable);
    let count = |record: &AuditRecord| match record {
        AuditRecord::Attempts(attempts) => attempts.count,
        AuditRecord::UserChanged(_) | AuditRecord::UnjudgedKey(_) => 1,
    };
    assert!(records.found.iter().all(|record| count(record) == 1), "{:?}", records.found);
    records.found.iter().map(AuditRecord::to_event).collect()
}

fn process_unreadable(world: &World, unreadable: Unreadable) -> Result<Vec<Report>, EventError> {
    world.invoke(async |executor| process_unreadable_event(executor, unreadable).await).unwrap()
}

#[test]
fn an_irrelevant_event_costs_nothing() {
    let world = World::new("delete", &[]);
    let why = Irrelevant::OtherCall("ListUsers".to_owned());
    let parsed = ParsedEvent::Irrelevant(why.clone());
    let report = world.invoke(async |executor| process_event(executor, &world.store, parsed).await);
    assert_eq!(report.unwrap().unwrap(), Report::irrelevant(&why));
    assert!(world.take_calls().is_empty());
}

fn changed(call: UserCall, name: &str) -> EventKind {
    EventKind::UserChanged(UserChange { call, user: user(name) })
}

#[test]
fn failed_calls_and_changes_of_console_users_are_recorded() {
    let key = bad_key(1, 1);
    let world = World::new("delete", std::slice::from_ref(&key));
    let access_key = changed(UserCall::CreateAccessKey, "BedrockAPIKey-x7f2");
    for (kind, severity) in [(refused(&key), Severity::Low), (access_key, Severity::Critical)] {
        let event = event(&key, at(10), kind);
        let report = world.deliver(&event).unwrap().unwrap();
        assert_eq!((report.outcome, report.severity), (Outcome::Recorded, severity));
        assert_eq!(report.event_id.as_ref(), Some(&event.provenance.event_id));
        assert_eq!(world.take_calls(), [Call::RecordAttempt]);
        assert!(attempts(&world).contains(&event));
    }
}

/// The consoles of CloudWatch and CloudWatch Logs create users of unknown names.
#[test]
fn the_ledger_tells_which_other_users_matter() {
    let key = bad_key(1, 1);
    let world = World::new("monitor", std::slice::from_ref(&key));
    let name = key.user.as_str();
    let failed = EventKind::Failed(Attempt {
        call: cloudtrail::Call::User(UserCall::PutUserPolicy),
        error_code: "LimitExceededException".to_owned(),
        user: Some(key.user.clone()),
        service: None,
    });
    let kinds = [(changed(UserCall::AttachUserPolicy, name), Severity::Critical), (failed, Severity::Low)];
    let deliver = |kind: &EventKind| world.deliver(&event(&key, at(20), kind.clone())).unwrap().unwrap();
    for (kind, _) in &kinds {
        assert_eq!(deliver(kind).outcome, Outcome::Ignored);
        assert_eq!(world.take_calls(), [Call::LookUpUser]);
    }
    // A key that was created elsewhere than in a console says nothing of its user.
    world.deliver(&created(&key)).unwrap().unwrap();
    world.take_calls();
    assert_eq!(deliver(&kinds[0].0).outcome, Outcome::Ignored);
    assert_eq!(world.take_calls(), [Call::LookUpUser]);
    let second = ListedKey { user: key.user.clone(), ..bad_key(1, 2) };
    let mut in_console = created(&second);
    in_console.provenance.actor.console = true;
    world.deliver(&in_console).unwrap().unwrap();
    world.take_calls();
    for (kind, severity) in &kinds {
        let report = deliver(kind);
        assert_eq!((report.outcome, report.severity), (Outcome::Recorded, *severity));
        assert!(report.event_id.is_some());
        assert_eq!(world.take_calls(), [Call::LookUpUser, Call::RecordAttempt]);
    }
    // A user of that name in another account is another user.
    let mut elsewhere = event(&key, at(20), kinds[0].0.clone());
    elsewhere.provenance.account = "999988887777".parse().unwrap();
    assert_eq!(world.deliver(&elsewhere).unwrap().unwrap().outcome, Outcome::Ignored);
}

/// A key of a service that the policy does not judge has no state. Who created it for whom is kept.
#[test]
fn a_key_that_nobody_judged_is_recorded_and_its_user_is_known() {
    let only_bedrock =
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    for store in [StoreKind::Sqlite, StoreKind::DynamoDb] {
        let key = ListedKey { service: Service::CloudWatch, ..bad_key(1, 1) };
        let mut world: World = World::with_store(store, "delete", std::slice::from_ref(&key));
        world.policy = Policy::parse(only_bedrock, Path::new("policy.toml")).unwrap();
        let access_key = event(&key, at(20), changed(UserCall::CreateAccessKey, "USER-1"));
        assert_eq!(world.deliver(&access_key).unwrap().unwrap().outcome, Outcome::Ignored);
        let password = ListedKey { service: Service::CodeCommit, ..bad_key(1, 2) };
        for key in [&password, &key] {
            let mut in_console = created(key);
            in_console.provenance.actor.console = true;
            world.take_calls();
            let report = world.deliver(&in_console).unwrap().unwrap();
            let (severity, calls) = match key.service {
                Service::CodeCommit => (Severity::Info, &[][..]),
                _ => (Severity::Medium, &[Call::RecordAttempt][..]),
            };
            assert_eq!((report.severity, world.take_calls().as_slice()), (severity, calls), "{store:?}");
            // It is one item, however often it is delivered.
            world.deliver(&in_console).unwrap().unwrap();
        }
        assert_eq!(world.stored_all(std::slice::from_ref(&key.key)), [KeyState::Unknown]);
        let ledger = &world.store.inner.ledger;
        for filter in [
            AuditFilter::default(),
            AuditFilter { user: Some(key.user.clone()), ..AuditFilter::default() },
            AuditFilter { service: Some(key.service.clone()), ..AuditFilter::default() },
        ] {
            let found = world.ask(ledger.audit_records(&filter, at(86_400))).unwrap().unwrap().found;
            let [AuditRecord::UnjudgedKey(unjudged)] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(
                (&unjudged.key, &unjudged.user, &unjudged.service),
                (&key.key, &key.user, &key.service)
            );
        }
        let history = world.ask(ledger.history(&key.key)).unwrap();
        assert_eq!(history.unjudged.unwrap().user, key.user);
        assert_eq!(world.deliver(&access_key).unwrap().unwrap().severity, Severity::Critical, "{store:?}");
    }
}

#[test]
fn a_user_who_cannot_be_looked_up_is_an_error_once_retries_do_not_help() {
    let key = bad_key(1, 1);
    let world = World::new("monitor", std::slice::from_ref(&key));
    let event = event(&key, at(10), changed(UserCall::CreateLoginProfile, key.user.as_str()));
    world.fault_at(Call::LookUpUser, When::Nth(0), Fault::Throttled);
    assert_eq!(world.deliver(&event).unwrap().unwrap().outcome, Outcome::Ignored);
    assert_eq!(world.take_calls(), [Call::LookUpUser; 2]);
    world.fault_at(Call::LookUpUser, When::Each, Fault::Refused);
    let error = world.deliver(&event).unwrap().unwrap_err();
    assert!(matches!(error, EventError::LookUpUser { .. }), "{error}");
}

#[test]
fn an_attempt_that_cannot_be_recorded_is_an_error_once_retries_do_not_help() {
    let key = bad_key(1, 1);
    let world = World::new("delete", std::slice::from_ref(&key));
    let event = event(&key, at(10), refused(&key));
    world.fault_at(Call::RecordAttempt, When::Nth(0), Fault::Throttled);
    world.fault_at(Call::RecordAttempt, When::Nth(1), Fault::LostReply);
    world.deliver(&event).unwrap().unwrap();
    assert_eq!(world.take_calls(), [Call::RecordAttempt; 3]);
    assert_eq!(attempts(&world).len(), 1);
    world.fault_at(Call::RecordAttempt, When::Each, Fault::Refused);
    let error = world.deliver(&event).unwrap().unwrap_err();
    assert!(matches!(error, EventError::Record { .. }), "{error}");
}

#[test]
fn a_retry_ends_before_the_deadline() {
    let key = bad_key(1, 1);
    let world =
        World { time_limit: TimeDelta::seconds(30), ..World::new("delete", std::slice::from_ref(&key)) };
    world.fault_at(Call::RecordAttempt, When::Each, Fault::Throttled);
    world.deliver(&event(&key, at(10), refused(&key))).unwrap().unwrap_err();
    assert!(world.clock.now_is_within(at(30), TimeDelta::seconds(25)), "it took too long");
    assert!(world.take_calls().len() > 6);
}

/// One write more than a line of history, and only where the status of the key changes.
#[test]
fn lists_know_of_a_deactivation_that_needed_no_response() {
    for store in [StoreKind::Sqlite, StoreKind::DynamoDb] {
        let key = good_key(1, 1);
        let world: World = World::with_store(store, "delete", std::slice::from_ref(&key));
        world.deliver(&created(&key)).unwrap().unwrap();
        world.take_calls();
        for writes in [Call::Commit, Call::Append] {
            let report = world.deliver(&deactivated(&key, at(10))).unwrap().unwrap();
            assert_eq!((report.outcome, report.status), (Outcome::Ignored, Status::Inactive));
            assert_eq!(world.take_calls(), [Call::Load, writes]);
        }
        let ledger = &world.store.inner.ledger;
        for filter in [
            Filter { user: Some(key.user.clone()), ..Filter::default() },
            Filter { account: Some(key.key.account.clone()), ..Filter::default() },
            Filter::default(),
        ] {
            let mut search = Search::new(ledger, filter, None, 10, at(60)).unwrap();
            let found = world.ask(search.next()).unwrap().unwrap();
            let standing = &found.views[0].standing;
            assert_eq!((standing.status, standing.since), (Status::Inactive, Some(at(10))), "{store:?}");
            assert!(standing.by.as_ref().unwrap().ends_with("mallory"));
        }
        world.deliver(&activated(&key, at(20))).unwrap().unwrap();
        assert_eq!(world.record(&key).known_status(), Some(KeyStatus::Active));
    }
}

#[test]
fn an_unreadable_creation_is_looked_up() {
    let key = bad_key(1, 1);
    // Another user's, and one that is too old.
    let others = [bad_key(1, 2), ListedKey { created_at: at(-700), user: key.user.clone(), ..bad_key(1, 3) }];
    let world = World::new("delete", &[vec![key.clone()], others.to_vec()].concat());
    let reports = process_unreadable(&world, unreadable(&key, Some("user-1"))).unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].credential_id.as_ref(), Some(&key.key.id));
    assert_eq!(reports[0].outcome, Outcome::Deleted);
    assert!(reports[0].reason.contains("could not be read"), "{}", reports[0].reason);
    assert_eq!(world.take_calls(), [Call::List, Call::Commit, Call::Find, Call::Act, Call::Commit]);
    assert_eq!(world.iam.inner.keys(), others);
}

#[test]
fn a_lookup_is_widened_to_the_account_of_a_renamed_user() {
    let key = bad_key(1, 1);
    let world = World::new("deactivate", std::slice::from_ref(&key));
    let reports = process_unreadable(&world, unreadable(&key, Some("former-name"))).unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(world.take_calls()[..2], [Call::List, Call::List]);
    assert_eq!(world.status(&key), Some(KeyStatus::Inactive));
}

#[test]
fn a_lookup_deals_with_every_key_that_may_be_meant() {
    let keys = [bad_key(1, 1), bad_key(1, 2), bad_key(1, 3)];
    let world = World::new("delete", &keys);
    let reports = process_unreadable(&world, unreadable(&keys[0], None)).unwrap();
    let ids: Vec<_> = reports.into_iter().map(|report| report.credential_id.unwrap()).collect();
    assert_eq!(ids, keys.map(|key| key.key.id));
    assert!(world.iam.inner.keys().is_empty());
    assert_eq!(world.take_batches()[..2], [(Call::List, 0), (Call::Commit, 3)]);
}

#[test]
fn a_lookup_fails_if_one_of_its_keys_does() {
    let keys = [bad_key(1, 1), bad_key(1, 2)];
    let world = World::new("delete", &keys);
    world.fault_at(Call::Act, When::FIRST, Fault::Refused);
    let error = process_unreadable(&world, unreadable(&keys[0], None)).unwrap_err();
    let EventError::Lookup { reports, .. } = error else { panic!("{error}") };
    assert_eq!((reports.len(), reports[0].outcome), (1, Outcome::Deleted));
    assert_eq!(world.iam.inner.keys().len(), 1);
    world.clock.pass(TimeDelta::seconds(61));
    assert_eq!(process_unreadable(&world, unreadable(&keys[0], None)).unwrap().len(), 1);
    assert!(world.iam.inner.keys().is_empty());
}

#[test]
fn a_lookup_without_a_result_is_an_error() {
    let key = bad_key(1, 1);
    let world = World::new("delete", &[ListedKey { created_at: at(-700), ..key.clone() }]);
    for user_name in [None, Some("user-1")] {
        let error = process_unreadable(&world, unreadable(&key, user_name)).unwrap_err();
        assert!(matches!(error, EventError::NoSuchKey(_)), "{error}");
    }
    assert_eq!(world.take_calls(), [Call::List; 3]);

    world.fault_at(Call::List, When::FIRST, Fault::Throttled);
    process_unreadable(&world, unreadable(&key, None)).unwrap_err();
    assert_eq!(world.take_calls(), [Call::List; 2]);

    world.fault_at(Call::List, When::FIRST, Fault::Refused);
    let error = process_unreadable(&world, unreadable(&key, None)).unwrap_err();
    assert!(matches!(error, EventError::List { .. }), "{error}");
}

/// The user got two keys within minutes. IAM's list is older than the second one.
#[test]
fn a_key_whose_own_event_was_read_is_not_the_one_of_another_event() {
    let keys = [bad_key(1, 1), bad_key(1, 2)];
    let world = World::new("monitor", &keys[..1]);
    world.deliver(&created(&keys[0])).unwrap().unwrap();
    let second = unreadable(&keys[1], Some("user-1"));
    let error = process_unreadable(&world, second.clone()).unwrap_err();
    assert!(matches!(error, EventError::NoSuchKey(_)), "{error}");

    world.iam.inner.add(&keys[1]);
    let reports = process_unreadable(&world, second).unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].credential_id.as_ref(), Some(&keys[1].key.id));
}

#[test]
fn only_creations_are_looked_up() {
    let world = World::new("delete", &[bad_key(1, 1)]);
    let unreadable = Unreadable::new("requestParameters.status", "Active or Inactive", "another text");
    let error = process_unreadable(&world, unreadable.clone()).unwrap_err();
    assert!(matches!(&error, EventError::Unreadable(found) if *found == unreadable), "{error}");
    assert!(world.take_calls().is_empty());
}

#[test]
fn futures_can_be_sent_to_other_threads() {
    fn is_send<T: Send>(_: &T) {}
    let key = bad_key(1, 1);
    let world = World::new("delete", std::slice::from_ref(&key));
    world.invoke(async |executor| {
        is_send(&process_event(executor, &world.store, super::parsed(created(&key))));
        is_send(&process_unreadable_event(executor, unreadable(&key, None)));
        is_send(&executor.run_all(Vec::new()));
        is_send(&run_resume(executor, &world.bus, None));
        let sweep = Sweep::new([], world.policy.services());
        is_send(&run_sweep(executor, sweep, &world.bus, &mut ()));
    });
}
