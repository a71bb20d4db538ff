//! Sweeps: of a model of IAM with faults at every step and an event racing at every interleaving, and the built binary
//! against IAM and DynamoDB on loopback.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::dynamodb::Dynamo;
use crate::support::iam::{Iam, StoredKey};
use crate::support::world::{
    ACCOUNT, FAULTS, Heard, ID, ModelKey, ORDERS, Steps, USER, World, created, event, in_turns, items, key,
    later, policy, read, side_by_side,
};
use crate::support::{Fault as HttpFault, OWN};
use bedrock_key_guard::enforce::Status;
use bedrock_key_guard::plan::Hands;
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::key::Service;
use key_guard_core::policy::{Policy, Response};
use key_guard_core::report::Report;
use serde_json::{Value, json};

const DAY: TimeDelta = TimeDelta::days(1);

fn states(world: &World) -> Vec<String> {
    let items = items(&world.database);
    let text = |item: &Value, name: &str| item[name]["S"].as_str().unwrap_or("-").to_owned();
    let states = items.iter().filter(|item| item["sk"]["S"] == "STATE");
    let mut states: Vec<_> = states
        .map(|item| {
            format!("{} {} {}", text(item, "credential_id"), text(item, "verdict"), text(item, "outcome"))
        })
        .collect();
    states.sort();
    states
}

async fn sweep(world: &World, ceiling: Response, hands: Hands, after: TimeDelta) -> Vec<String> {
    let (swept, heard) = world.sweep(ceiling, hands, Steps::default(), after).await.unwrap();
    swept.unwrap();
    assert_eq!(*heard.troubles.lock().unwrap(), Vec::<String>::new());
    heard.changes()
}

/// What an account may have.
fn account() -> Vec<ModelKey> {
    let bad = |id| key(id, "svc-bad", Service::Bedrock, None);
    vec![
        key("ACCASWEEP000000000001", "svc-good", Service::Bedrock, Some(30)),
        bad("ACCASWEEP000000000002"),
        ModelKey { status: Status::Inactive, ..bad("ACCASWEEP000000000003") },
        ModelKey {
            status: Status::Expired,
            ..key("ACCASWEEP000000000004", "svc-old", Service::Bedrock, Some(91))
        },
        key("ACCASWEEP000000000005", "svc-exempt", Service::Bedrock, None),
        key("ACCASWEEP000000000006", "svc-logs", Service::Logs, None),
        key("ACCASWEEP000000000007", "svc-git", Service::CodeCommit, None),
    ]
}

fn strict(exempt_until: &str) -> Arc<Policy> {
    let text = format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         [[exemption]]\naccount = \"{ACCOUNT}\"\nuser = \"svc-exempt\"\nreason = \"SEC-1\"\nuntil = {exempt_until}\n"
    );
    Arc::new(Policy::parse(&text, std::path::Path::new("test.toml")).unwrap())
}

fn world() -> World {
    let mut world = World::with_keys("delete", Response::Delete, account());
    world.policy = strict("2027-12-31");
    world
}

/// What the ledger has when a sweep with every right is done.
const SWEPT: [&str; 5] = [
    "ACCASWEEP000000000001 compliant recorded",
    "ACCASWEEP000000000002 noncompliant deleted",
    "ACCASWEEP000000000003 noncompliant already_inactive",
    "ACCASWEEP000000000004 noncompliant already_inactive",
    "ACCASWEEP000000000005 exempt recorded",
];

#[tokio::test]
async fn a_sweep_finds_what_no_event_told_of_and_touches_only_what_it_may() {
    let world = world();
    let found = sweep(&world, Response::Delete, Hands::Free, DAY).await;
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|found| found.contains(" new ")), "{found:?}");
    assert_eq!(states(&world), SWEPT);
    assert_eq!(*world.iam.acted.lock().unwrap(), ["Delete ACCASWEEP000000000002"]);
    let untouched: Vec<_> = account().into_iter().filter(|key| key.id != "ACCASWEEP000000000002").collect();
    assert_eq!(*world.iam.keys.lock().unwrap(), untouched, "inactive, expired, exempt, and other services");
    // Nothing has changed since, and nothing is written.
    let before = items(&world.database);
    let found = sweep(&world, Response::Delete, Hands::Free, DAY * 2).await;
    assert!(found.iter().all(|found| found.contains(" - ")), "{found:?}");
    let after = items(&world.database);
    let without_last = |items: Vec<Value>| -> Vec<Value> {
        items.into_iter().filter(|item| !item["pk"]["S"].as_str().unwrap().starts_with("SWEEP#")).collect()
    };
    assert_eq!(without_last(after), without_last(before));
}

/// Whatever the response and the ceiling, by events and by sweeps.
#[tokio::test]
async fn keys_that_are_harmless_exempt_or_of_another_service_are_never_acted_upon() {
    let harmless: Vec<_> = account().into_iter().filter(|key| key.id != "ACCASWEEP000000000002").collect();
    for response in ["monitor", "deactivate", "delete"] {
        for ceiling in [Response::Monitor, Response::Deactivate, Response::Delete] {
            let mut world = World::with_keys(response, ceiling, harmless.clone());
            let text = format!(
                "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"{response}\"\n\
                 [[exemption]]\naccount = \"{ACCOUNT}\"\nuser = \"svc-exempt\"\nreason = \"SEC-1\"\nuntil = 2027-12-31\n"
            );
            world.policy = Arc::new(Policy::parse(&text, std::path::Path::new("test.toml")).unwrap());
            for hands in [Hands::Tied, Hands::Free] {
                sweep(&world, ceiling, hands, DAY).await;
            }
            // Each is said to be new, switched on, and to have a new secret.
            for key in &harmless {
                let creation = event(None);
                let on = later("UpdateServiceSpecificCredential", Some("Active"), "2026-11-22T08:00:00Z");
                let reset = later("ResetServiceSpecificCredential", None, "2026-11-22T09:00:00Z");
                for mut event in [creation, on, reset] {
                    event["eventID"] = json!(format!("{}-{}", event["eventName"].as_str().unwrap(), key.id));
                    for side in ["requestParameters", "responseElements"] {
                        let text = event[side].to_string().replace(ID, key.id).replace(USER, key.user);
                        event[side] = serde_json::from_str(&text).unwrap();
                    }
                    world.deliver(&event, Steps::default(), DAY * 3).await.unwrap().unwrap();
                }
            }
            sweep(&world, ceiling, Hands::Free, DAY * 4).await;
            assert_eq!(*world.iam.keys.lock().unwrap(), harmless, "{response}, {ceiling:?}");
            assert_eq!(*world.iam.acted.lock().unwrap(), [""; 0], "{response}, {ceiling:?}");
        }
    }
}

/// Without --apply and under the ceiling monitor nothing is touched; a later sweep with the right to act does.
#[tokio::test]
async fn a_sweep_acts_only_as_far_as_it_may_and_a_rehearsal_binds_nobody() {
    let world = world();
    sweep(&world, Response::Delete, Hands::Tied, DAY).await;
    assert_eq!(*world.iam.keys.lock().unwrap(), account());
    assert!(items(&world.database).iter().all(|item| item["rehearsal"]["BOOL"] != json!(false)));
    let seen = sweep(&world, Response::Monitor, Hands::Free, DAY + TimeDelta::hours(1)).await;
    assert!(seen.contains(&"ACCASWEEP000000000002 new monitored".to_owned()), "{seen:?}");
    assert_eq!(*world.iam.keys.lock().unwrap(), account());
    let lowered = sweep(&world, Response::Deactivate, Hands::Free, DAY + TimeDelta::hours(2)).await;
    assert!(lowered.contains(&"ACCASWEEP000000000002 changed deactivated".to_owned()), "{lowered:?}");
    // Switched off, it is harmless: a sweep that may delete leaves it.
    sweep(&world, Response::Delete, Hands::Free, DAY * 2).await;
    assert_eq!(world.status("ACCASWEEP000000000002"), Some(Status::Inactive));
}

/// A sweep is killed, refused or left without an answer at each of its calls; the next one ends in the same state, and no
/// key is acted upon twice.
#[tokio::test]
async fn a_sweep_that_is_interrupted_at_any_call_ends_the_same_when_resumed() {
    let fault_free = world();
    let steps = Steps::default();
    fault_free.sweep(Response::Delete, Hands::Free, steps.clone(), DAY).await.unwrap().0.unwrap();
    let effects = steps.taken.load(Ordering::SeqCst);
    assert!(effects > 8, "{effects}");
    let mut expected: BTreeSet<String> = SWEPT.map(str::to_owned).into();
    for at in 0..effects {
        for fault in FAULTS {
            let name = format!("{fault:?} at {at}");
            let world = world();
            let steps = Steps { fault: Some((at, fault)), ..Steps::default() };
            if let Some((swept, heard)) = world.sweep(Response::Delete, Hands::Free, steps, DAY).await {
                let failed = swept.is_err() || !heard.troubles.lock().unwrap().is_empty();
                assert!(failed, "{name}: the fault goes unnoticed");
            }
            sweep(&world, Response::Delete, Hands::Free, DAY + TimeDelta::minutes(10)).await;
            // Killed between deleting and writing that down, the next sweep finds it gone.
            let found = states(&world).into_iter().map(|state| {
                state
                    .replace("02 noncompliant already_gone", "02 noncompliant deleted")
                    .replace("02 noncompliant gone", "02 noncompliant deleted")
            });
            assert_eq!(found.collect::<BTreeSet<_>>(), expected, "{name}");
            assert!(world.iam.actions.load(Ordering::SeqCst) <= 1, "{name}: acted twice");
        }
    }
    expected.clear();
}

/// One list has the keys of every service, also of one that this build does not know, whose dates IAM does not show.
#[tokio::test]
async fn a_star_sweeps_every_service_and_leaves_passwords_alone() {
    let every = "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    let mut world = world();
    world.policy = Arc::new(Policy::parse(every, std::path::Path::new("test.toml")).unwrap());
    let new = "added-later.amazonaws.com".parse().unwrap();
    world.iam.keys.lock().unwrap().push(key("ACCASWEEP000000000008", "svc-new", new, None));
    let changes = sweep(&world, Response::Delete, Hands::Free, DAY).await;
    for (id, expected) in [
        ("ACCASWEEP000000000002", Some("new deleted")),
        ("ACCASWEEP000000000006", Some("new deleted")),
        ("ACCASWEEP000000000007", None),
        ("ACCASWEEP000000000008", Some("new recorded")),
    ] {
        let change = changes.iter().find_map(|change| change.strip_prefix(&format!("{id} ")));
        assert_eq!(change, expected, "{changes:?}");
    }
    assert!(states(&world).contains(&"ACCASWEEP000000000008 undetermined recorded".to_owned()));
    assert!(world.iam.keys.lock().unwrap().iter().any(|key| key.service == Service::CodeCommit));
}

/// Wherever time is up, further invocations come to the same end: keys that are gone are closed, and nobody who was
/// renamed in between is taken for gone.
#[tokio::test]
async fn a_sweep_that_is_handed_on_anywhere_ends_as_one_that_is_not() {
    let both = "[default]\nservices = [\"bedrock.amazonaws.com\", \"logs.amazonaws.com\"]\n\
                max_lifetime_days = 90\nresponse = \"delete\"\n";
    let gone = ["ACCASWEEP000000000001", "ACCASWEEP000000000003", "ACCASWEEP000000000006"];
    let mut whole = Vec::new();
    for time_up_at in 0.. {
        let mut world = world();
        world.policy = Arc::new(Policy::parse(both, std::path::Path::new("test.toml")).unwrap());
        sweep(&world, Response::Monitor, Hands::Free, DAY).await;
        world.iam.keys.lock().unwrap().retain(|key| !gone.contains(&key.id));
        let (mut rest, mut invocations, mut changes) = (None, 0, Vec::new());
        loop {
            let heard =
                Heard { time_up_at: Some(time_up_at).filter(|_| invocations == 0), ..Heard::default() };
            let after = DAY * 2 + TimeDelta::minutes(invocations * 10);
            let ran = world.sweep_on(rest, heard, Response::Monitor, Hands::Free, Steps::default(), after);
            let (swept, heard) = ran.await.unwrap();
            changes.extend(heard.changes());
            invocations += 1;
            rest = swept.unwrap().rest;
            if rest.is_none() {
                break;
            }
            // To where the pages that are left do not lead.
            world.change("ACCASWEEP000000000004", |key| key.user = "a-first");
        }
        let states = states(&world);
        let closed =
            gone.map(|id| states.iter().any(|state| state.starts_with(id) && state.ends_with(" gone")));
        assert_eq!(closed, [true; 3], "time up at {time_up_at}: {states:?}");
        assert_eq!(changes.iter().filter(|change| change.contains(" gone ")).count(), 3, "{changes:?}");
        let account = ACCOUNT.parse().unwrap();
        let ledger = bedrock_key_guard::ledger::embedded::on(world.database.clone()).await.unwrap();
        let last = bedrock_key_guard::enforce::Ledger::last_sweep(&ledger, &account).await.unwrap().unwrap();
        assert_eq!(last.began, created() + DAY * 2, "time up at {time_up_at}");
        // All invocations' keys; the one that moved may have been passed.
        assert!((2..=3).contains(&last.keys), "time up at {time_up_at}: {}", last.keys);
        whole.push(invocations);
        if invocations == 1 {
            break;
        }
    }
    // At every page, between the services, while reading again, and at each key that is closed.
    assert_eq!(whole, [2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
}

/// The event of a key and a sweep that finds it, at every interleaving of their effects: one action, and one end.
#[tokio::test]
async fn a_new_keys_event_and_a_sweep_may_come_in_any_interleaving() {
    interleaved(event(None)).await;
}

#[tokio::test]
async fn a_reactivation_and_a_sweep_may_come_in_any_interleaving() {
    interleaved(later("UpdateServiceSpecificCredential", Some("Active"), "2026-11-21T08:00:00Z")).await;
}

async fn interleaved(inbound: Value) {
    for (response, ceiling, swept_to) in [
        ("delete", Response::Delete, Response::Delete),
        ("delete", Response::Delete, Response::Monitor),
        ("deactivate", Response::Delete, Response::Deactivate),
        ("delete", Response::Monitor, Response::Monitor),
        ("delete", Response::Monitor, Response::Delete),
    ] {
        let mut order = 0;
        while order < ORDERS {
            let world = World::with_keys(response, ceiling, vec![key(ID, USER, Service::Bedrock, None)]);
            let steps = [(); 2].map(|()| in_turns());
            let corridor = world.corridor(steps[0].clone(), created() + DAY).await;
            let event = read(&inbound);
            let sweeping = world.sweep(swept_to, Hands::Free, steps[1].clone(), DAY);
            let ran = side_by_side(order, &steps, corridor.take(&event), sweeping).await;
            let name = format!("{response}, {ceiling:?}, {swept_to:?}, {order:08b}");
            if ran.first.is_err() {
                let repeated = DAY + TimeDelta::minutes(1);
                world.deliver(&inbound, Steps::default(), repeated).await.unwrap().unwrap();
            }
            // What the other one had in its hands is seen to by the next.
            sweep(&world, swept_to, Hands::Free, DAY + TimeDelta::minutes(5)).await;
            let state = world.state();
            let ends = match (response, ceiling.max(swept_to)) {
                (_, Response::Monitor) => "monitored",
                ("deactivate", _) => "deactivated",
                _ => "deleted",
            };
            let outcome = state.outcome.unwrap().replace("gone", "deleted");
            assert_eq!(outcome, ends, "{name}");
            assert_eq!(state.verdict.as_deref(), Some("noncompliant"), "{name}");
            assert_eq!(world.status(ID).is_some(), ends != "deleted", "{name}");
            let actions = world.iam.actions.load(Ordering::SeqCst);
            assert_eq!(
                actions,
                usize::from(ends != "monitored"),
                "{name}: {:?}",
                world.iam.acted.lock().unwrap()
            );
            order = ran.next_order;
        }
    }
}

/// Real-time enforcement does not lose to a sweep that was allowed only to look.
#[tokio::test]
async fn a_sweep_that_only_looks_keeps_no_event_from_acting() {
    let world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    sweep(&world, Response::Monitor, Hands::Free, TimeDelta::minutes(1)).await;
    let report = world.deliver(&event(None), Steps::default(), TimeDelta::minutes(2)).await.unwrap().unwrap();
    assert_eq!(report.outcome.as_str(), "deleted");
    assert_eq!(world.status(ID), None);
}

#[tokio::test]
async fn keys_that_stand_otherwise_than_before_are_told_of() {
    let mut world = world();
    sweep(&world, Response::Monitor, Hands::Free, DAY).await;
    // An exemption that has run out, a limit that was lowered.
    world.policy = strict("2026-11-21");
    let found = sweep(&world, Response::Monitor, Hands::Free, DAY * 2).await;
    assert!(found.contains(&"ACCASWEEP000000000005 changed monitored".to_owned()), "{found:?}");
    let lower =
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 20\nresponse = \"delete\"\n";
    world.policy = Arc::new(Policy::parse(lower, std::path::Path::new("test.toml")).unwrap());
    let found = sweep(&world, Response::Monitor, Hands::Free, DAY * 3).await;
    assert!(found.contains(&"ACCASWEEP000000000001 changed monitored".to_owned()), "{found:?}");
    // Switched off, switched on behind everybody's back, renamed, gone.
    world.change("ACCASWEEP000000000001", |key| key.status = Status::Inactive);
    world.change("ACCASWEEP000000000003", |key| key.status = Status::Active);
    world.change("ACCASWEEP000000000004", |key| key.user = "svc-renamed");
    world.iam.keys.lock().unwrap().retain(|key| key.id != "ACCASWEEP000000000005");
    let found = sweep(&world, Response::Monitor, Hands::Free, DAY * 4).await;
    assert_eq!(
        found,
        [
            "ACCASWEEP000000000001 changed already_inactive",
            "ACCASWEEP000000000002 - monitored",
            "ACCASWEEP000000000003 changed monitored",
            "ACCASWEEP000000000004 changed already_inactive",
            "ACCASWEEP000000000005 gone gone",
        ]
    );
    let found = sweep(&world, Response::Monitor, Hands::Free, DAY * 5).await;
    assert!(found.iter().all(|found| found.contains(" - ")), "{found:?}");
}

/// The guard had switched it off, and no event told that it was switched on again.
#[tokio::test]
async fn a_reactivation_that_no_event_told_of_is_found() {
    let world = World::with_keys("deactivate", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    world.deliver(&event(None), Steps::default(), TimeDelta::minutes(5)).await.unwrap().unwrap();
    world.change(ID, |key| key.status = Status::Active);
    let (swept, heard) = world.sweep(Response::Delete, Hands::Free, Steps::default(), DAY).await.unwrap();
    swept.unwrap();
    let found = heard.found.lock().unwrap();
    let report = &found[0].1.report;
    assert_eq!(report.violation.unwrap().as_str(), "reactivated");
    assert_eq!(report.outcome.as_str(), "deactivated");
    assert_eq!(world.status(ID), Some(Status::Inactive));
}

/// What a delivery left open is carried out, unless its plan goes further than the sweep may.
#[tokio::test]
async fn what_is_stuck_is_resumed_and_never_weakened() {
    let world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    let killed = Steps { fault: Some((1, FAULTS[2])), ..Steps::default() };
    assert!(world.deliver(&event(None), killed, TimeDelta::minutes(5)).await.is_none());
    assert_eq!(sweep(&world, Response::Monitor, Hands::Free, DAY).await, [format!("{ID} open recorded")]);
    assert_eq!(sweep(&world, Response::Delete, Hands::Free, DAY).await, [format!("{ID} resumed deleted")]);
    assert_eq!(world.status(ID), None);
}

/// A delivery may still go further for some minutes; after that the sweep does what it may.
#[tokio::test]
async fn what_is_stuck_for_long_gets_at_least_what_the_sweep_may_do() {
    let world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    let killed = Steps { fault: Some((1, FAULTS[2])), ..Steps::default() };
    assert!(world.deliver(&event(None), killed, TimeDelta::minutes(5)).await.is_none());
    let soon = TimeDelta::minutes(10);
    assert_eq!(sweep(&world, Response::Deactivate, Hands::Free, soon).await, [format!("{ID} open recorded")]);
    let resumed = sweep(&world, Response::Deactivate, Hands::Free, DAY).await;
    assert_eq!(resumed, [format!("{ID} resumed deactivated")]);
    assert_eq!(world.status(ID), Some(Status::Inactive));
}

/// A rehearsal over what the guard has written shows what works now.
#[tokio::test]
async fn a_rehearsal_counts_a_key_that_works_again() {
    let world = World::with_keys("deactivate", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    world.deliver(&event(None), Steps::default(), TimeDelta::minutes(5)).await.unwrap().unwrap();
    for (status, works) in [(Status::Inactive, false), (Status::Active, true)] {
        world.change(ID, |key| key.status = status);
        let (swept, heard) = world.sweep(Response::Delete, Hands::Tied, Steps::default(), DAY).await.unwrap();
        swept.unwrap();
        let found = heard.found.lock().unwrap();
        assert_eq!((found[0].1.works, found[0].1.acted), (works, false), "{status:?}");
    }
}

/// I5: who is renamed while the pages are read may be on none of them; a second look finds them.
#[tokio::test]
async fn a_user_that_is_renamed_between_two_pages_does_not_lose_its_entry() {
    let keys: Vec<_> = (0..6)
        .map(|number| {
            let id: &'static str = Box::leak(format!("ACCARENAME{number:011}").into_boxed_str());
            let user: &'static str = Box::leak(format!("user-{number}").into_boxed_str());
            key(id, user, Service::Bedrock, Some(30))
        })
        .collect();
    let world = World::with_keys("delete", Response::Delete, keys);
    sweep(&world, Response::Monitor, Hands::Free, DAY).await;
    // The last one moves to the front when the first page was read.
    *world.iam.rename_after_first_page.lock().unwrap() = Some(("user-5", "a-user"));
    let found = sweep(&world, Response::Monitor, Hands::Free, DAY * 2).await;
    assert!(world.iam.rename_after_first_page.lock().unwrap().is_none(), "it was renamed");
    assert!(!found.iter().any(|found| found.contains("gone")), "{found:?}");
}

/// An entry that this build cannot read is told of, stays as it is, and keeps no other from being closed.
#[tokio::test]
async fn an_entry_that_cannot_be_read_keeps_no_other_from_being_closed() {
    let world = world();
    sweep(&world, Response::Monitor, Hands::Free, DAY).await;
    let (foreign, gone) = ("ACCASWEEP000000000001", "ACCASWEEP000000000003");
    world.iam.keys.lock().unwrap().retain(|key| key.id != foreign && key.id != gone);
    let mut item = items(&world.database)
        .into_iter()
        .find(|item| item["sk"]["S"] == "STATE" && item["credential_id"]["S"] == foreign)
        .unwrap();
    item["v"] = json!({"N": "99"});
    let put = json!({"TableName": bedrock_key_guard::ledger::embedded::TABLE, "Item": item});
    world.database.put_item(serde_json::from_value(put).unwrap()).unwrap();
    let ran = world.sweep(Response::Monitor, Hands::Free, Steps::default(), DAY * 2).await;
    let (swept, heard) = ran.unwrap();
    assert_eq!(swept.unwrap().troubles, 1);
    let troubles = heard.troubles.lock().unwrap().clone();
    assert!(troubles.len() == 1 && troubles[0].contains(foreign), "{troubles:?}");
    assert!(heard.changes().contains(&format!("{gone} gone gone")), "{:?}", heard.changes());
    assert!(items(&world.database).contains(&item), "it stays as it is");
}

/// What one invocation could not do is told by the last one, so that the sweep is not called complete.
#[tokio::test]
async fn what_could_not_be_done_is_handed_on() {
    let mut world = world();
    world.policy = strict("2027-12-31");
    sweep(&world, Response::Monitor, Hands::Free, DAY).await;
    let mut item = items(&world.database)
        .into_iter()
        .find(|item| item["sk"]["S"] == "STATE" && item["credential_id"]["S"] == "ACCASWEEP000000000002")
        .unwrap();
    item["v"] = json!({"N": "99"});
    let put = json!({"TableName": bedrock_key_guard::ledger::embedded::TABLE, "Item": item});
    world.database.put_item(serde_json::from_value(put).unwrap()).unwrap();
    let mut rest = None;
    for invocation in 0.. {
        let heard = Heard { time_up_at: Some(0).filter(|_| invocation == 0), ..Heard::default() };
        let after = DAY * 2 + TimeDelta::minutes(invocation);
        let ran = world.sweep_on(rest, heard, Response::Monitor, Hands::Free, Steps::default(), after);
        let swept = ran.await.unwrap().0.unwrap();
        assert_eq!(swept.troubles, 1, "invocation {invocation}");
        rest = swept.rest;
        assert_eq!(rest.is_some(), invocation == 0);
        if rest.is_none() {
            break;
        }
    }
}

// ---- the built binary ----

fn created_long_ago() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn put(iam: &Iam, account: &str, id: &str, user: &str, age: Option<i64>) {
    let created = created_long_ago();
    iam.put_key(StoredKey {
        account: account.to_owned(),
        id: id.to_owned(),
        user: user.to_owned(),
        service: "bedrock.amazonaws.com".to_owned(),
        created,
        expires: age.map(|days| created + TimeDelta::days(days)),
        status: "Active",
        hidden: 0,
        lacks: None,
    });
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(folder: &std::path::Path, iam: &Iam, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_bedrock-key-guard"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs([
            ("AWS_ENDPOINT_URL", iam.url()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn sweep_shows_what_is_out_there_and_then_only_what_changed() {
    let (iam, folder) = (Iam::start(), tempfile::tempdir().unwrap());
    put(&iam, OWN, "ACCAEXAMPLEKEY0000001", "svc-chatbot", None);
    put(&iam, OWN, "ACCAEXAMPLEKEY0000002", "BedrockAPIKey-k3qz", Some(36_600));
    put(&iam, OWN, "ACCAEXAMPLEKEY0000003", "svc-good", Some(90));
    let first = run(folder.path(), &iam, &["sweep", "--fail-on", "noncompliant"]);
    assert_eq!(first.code, 3, "{}", first.stderr);
    assert!(first.stdout.starts_with("CHANGE  ACCOUNT"), "{}", first.stdout);
    assert_eq!(first.stdout.lines().filter(|line| line.starts_with("new")).count(), 3, "{}", first.stdout);
    assert!(first.stderr.contains("3 keys: 2 noncompliant (2 of them work)"), "{}", first.stderr);
    assert!(first.stderr.contains("nothing was touched"), "{}", first.stderr);
    assert_eq!(
        iam.actions(),
        ["GetCallerIdentity", "ListServiceSpecificCredentials"],
        "as many calls as pages"
    );

    iam.change("ACCAEXAMPLEKEY0000001", |key| key.status = "Inactive");
    let second = run(folder.path(), &iam, &["sweep", "--format", "jsonl"]);
    assert_eq!(second.code, 0, "{}", second.stderr);
    let reports: Vec<Value> = second.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 1, "{}", second.stdout);
    assert_eq!(reports[0]["outcome"], "already_inactive");
    assert_eq!(
        reports[0].as_object().unwrap().len(),
        Report::FIELDS.len(),
        "the report's fields and no others"
    );
    let all = run(folder.path(), &iam, &["sweep", "--format", "csv", "--all"]);
    assert_eq!(all.stdout.lines().count(), 4);
    assert_eq!(
        run(folder.path(), &iam, &["sweep", "--ceiling", "delete"]).code,
        2,
        "a ceiling is for --apply"
    );
}

#[test]
fn a_console_user_that_is_left_is_named_with_what_a_person_may_do() {
    let (iam, folder) = (Iam::start(), tempfile::tempdir().unwrap());
    put(&iam, OWN, "ACCAEXAMPLEKEY0000002", "BedrockAPIKey-k3qz", None);
    iam.attach("BedrockAPIKey-k3qz", "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess");
    iam.attach("BedrockAPIKey-k3qz", "arn:aws:iam::111122223333:policy/;touch${IFS}here;/x");
    iam.add_access_key("BedrockAPIKey-k3qz", "AKIALEFTOVER");
    let ran = run(folder.path(), &iam, &["sweep", "--apply", "--ceiling", "delete"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(iam.keys().is_empty());
    let commands: Vec<_> = ran.stderr.lines().filter_map(|line| line.strip_prefix("  aws iam ")).collect();
    assert_eq!(
        commands,
        [
            "update-access-key --user-name BedrockAPIKey-k3qz --access-key-id AKIALEFTOVER --status Inactive",
            "detach-user-policy --user-name BedrockAPIKey-k3qz --policy-arn arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess",
            "delete-access-key --user-name BedrockAPIKey-k3qz --access-key-id AKIALEFTOVER",
            "delete-user --user-name BedrockAPIKey-k3qz",
        ],
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains("${IFS}"), "nothing that a shell would run: {}", ran.stderr);
    let touched = ["UpdateAccessKey", "DetachUserPolicy", "DeleteAccessKey", "DeleteUser"];
    assert!(!iam.actions().iter().any(|action| touched.contains(&action.as_str())), "I7: never the user");
}

/// A hundred accounts, of which some deny access: the others are swept, and each failure is named.
#[test]
fn one_accounts_failure_stops_no_other() {
    let (iam, folder) = (Iam::start(), tempfile::tempdir().unwrap());
    let accounts: Vec<_> = (0..100).map(|number| format!("9000000000{number:02}")).collect();
    for (number, account) in accounts.iter().enumerate() {
        put(&iam, account, &format!("ACCAOFACCOUNT{number:08}"), "svc-chatbot", None);
    }
    for account in accounts.iter().step_by(10) {
        iam.deny(account);
    }
    let list = accounts.join(",");
    let ran = run(
        folder.path(),
        &iam,
        &["sweep", "--accounts", &list, "--responder-role", "guard", "--format", "jsonl"],
    );
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 90);
    for (number, account) in accounts.iter().enumerate() {
        let named = ran.stderr.contains(&format!("warning: account {account}: "));
        assert_eq!(named, number % 10 == 0, "{account}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("90 accounts swept, 10 failed"), "{}", ran.stderr);
}

/// One key that cannot be read hides no other, and nothing is taken for gone then.
#[test]
fn a_key_that_cannot_be_read_hides_no_other() {
    let (iam, folder) = (Iam::start(), tempfile::tempdir().unwrap());
    for number in 1..=3 {
        put(&iam, OWN, &format!("ACCAEXAMPLEKEY000000{number}"), "svc-chatbot", None);
    }
    run(folder.path(), &iam, &["sweep"]);
    iam.change("ACCAEXAMPLEKEY0000002", |key| key.lacks = Some("ServiceSpecificCredentialId"));
    let ran = run(folder.path(), &iam, &["sweep", "--all", "--format", "jsonl"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("ServiceSpecificCredentialId"), "{}", ran.stderr);
    assert!(ran.stderr.contains(" 0 gone"), "{}", ran.stderr);
    iam.fault("ListServiceSpecificCredentials", HttpFault::Refused(403, "AccessDenied"), 10);
    let ran = run(folder.path(), &iam, &["sweep"]);
    assert_eq!(ran.code, 1, "no account could be swept: {}", ran.stderr);
}

/// The ledger in DynamoDB is asked for a hundred keys at a time, and nothing is asked for each user.
#[tokio::test]
async fn a_sweep_costs_as_many_calls_as_pages() {
    let (dynamo, iam) = (Dynamo::start(), Iam::start());
    let ledger = dynamo.ledger("key-guard").await;
    for number in 0..2_500 {
        put(&iam, OWN, &format!("ACCAMANY{number:013}"), &format!("user-{number}"), Some(30));
    }
    let policy = policy("delete");
    let home = format!("arn:aws:iam::{OWN}:user/operator").parse().unwrap();
    let keys = bedrock_key_guard::aws::keys::IamAccess::new(iam.sdk().await, None).at(home, None);
    let sweep = bedrock_key_guard::sweep::Sweep {
        policy: &policy,
        ceiling: Response::Monitor,
        hands: Hands::Free,
        ledger: &ledger,
        keys: &keys,
        clock: &bedrock_key_guard::clock::SystemClock,
    };
    let account = OWN.parse().unwrap();
    for known in [false, true] {
        dynamo.forget_calls();
        let before = iam.actions().len();
        let heard = Heard::default();
        let swept = Box::pin(sweep.account(&account, None, &heard)).await.unwrap();
        assert_eq!(swept.keys, 2_500);
        assert_eq!(iam.actions()[before..], ["ListServiceSpecificCredentials"; 3]);
        let calls = dynamo.calls();
        let count = |name: &str| calls.iter().filter(|call| call.starts_with(name)).count();
        assert_eq!(count("BatchGetItem"), 25 + 1, "a hundred to a call, and the last sweep");
        // New keys go 50 to a call.
        assert_eq!(count("TransactWriteItems"), if known { 1 } else { 51 });
        assert!(count("Query") <= 8, "{}", count("Query"));
    }
}
