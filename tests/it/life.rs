//! What happens to a key after it was made: every order in which it can be heard of, every fault on the way, the
//! guard's own calls coming back, the breaker, and quarantine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::world::{
    ACCOUNT, FAULTS, Fault, ID, ModelKey, ORDERS, Steps, USER, World, created, event, give_turn, in_turns,
    items, key, later, read, side_by_side,
};
use bedrock_key_guard::clock::Clock;
use bedrock_key_guard::corridor::Corridor;
use bedrock_key_guard::enforce::{CONSISTENCY_WINDOW, Failure, Known, Ledger as _, Status};
use bedrock_key_guard::ledger::Outcome;
use bedrock_key_guard::ledger::embedded;
use bedrock_key_guard::plan::Hands;
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::key::{KeyRef, Service};
use key_guard_core::policy::{Policy, Response, Verdict, Violation};
use key_guard_core::report::Outcome as ReportOutcome;
use proptest::prelude::*;
use serde_json::{Value, json};

const CREATE: &str = "CreateServiceSpecificCredential";
const UPDATE: &str = "UpdateServiceSpecificCredential";
const RESET: &str = "ResetServiceSpecificCredential";
const DELETE: &str = "DeleteServiceSpecificCredential";

/// Long after all of it.
const WEEKS: TimeDelta = TimeDelta::weeks(3);

fn switched_off() -> Value {
    later(UPDATE, Some("Inactive"), "2026-11-20T10:00:00Z")
}
fn switched_on() -> Value {
    later(UPDATE, Some("Active"), "2026-11-20T11:00:00Z")
}
fn reset() -> Value {
    later(RESET, None, "2026-11-20T12:00:00Z")
}
fn deleted() -> Value {
    later(DELETE, None, "2026-11-20T13:00:00Z")
}

fn of(world: &World, name: &str) -> Value {
    let items = items(&world.database);
    items.iter().find(|item| item["sk"]["S"] == "STATE").map_or(Value::Null, |state| state[name].clone())
}

async fn swept(world: &World, ceiling: Response, after: TimeDelta) -> Vec<String> {
    let (swept, heard) = world.sweep(ceiling, Hands::Free, Steps::default(), after).await.unwrap();
    swept.unwrap();
    assert_eq!(*heard.troubles.lock().unwrap(), [""; 0]);
    heard.changes()
}

/// The events that the history has.
fn told(world: &World) -> BTreeSet<String> {
    let items = items(&world.database);
    let lines = items.iter().filter_map(|item| item["sk"]["S"].as_str()?.strip_prefix("AT#"));
    lines.filter_map(|line| Some(line.split_once('#')?.1.to_owned())).filter(|id| !id.contains('.')).collect()
}

fn permutations(of: &[Value]) -> Vec<Vec<Value>> {
    let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for shorter in permutations(rest) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, first.clone());
            all.push(longer);
        }
    }
    all
}

/// I3 for the whole life: each order of five events, with the key alive and gone, and the first one once more.
#[tokio::test]
async fn any_order_of_events_ends_in_the_same_state() {
    for (name, response, ceiling, days) in [
        ("compliant", "delete", Response::Delete, Some(30)),
        ("monitored", "delete", Response::Monitor, None),
        ("deactivated", "deactivate", Response::Delete, None),
        ("deleted", "delete", Response::Delete, None),
    ] {
        for is_gone in [false, true] {
            let mut events = vec![event(days), switched_off(), switched_on(), reset()];
            if is_gone {
                events.push(deleted());
            }
            let ids: BTreeSet<_> =
                events.iter().map(|event| event["eventID"].as_str().unwrap().to_owned()).collect();
            let mut expected = None;
            for order in permutations(&events) {
                let alive = (!is_gone).then(|| key(ID, USER, Service::Bedrock, days));
                let world = World::new(response, ceiling, alive);
                for event in order.iter().chain(&order[..1]) {
                    world.deliver(event, Steps::default(), WEEKS).await.unwrap().unwrap();
                }
                let told_of = ["event_id", "actor", "expiration", "service"].map(|name| of(&world, name));
                let found = (world.state(), of(&world, "outcome"), told_of, told(&world));
                let order: Vec<_> = order.iter().map(|event| &event["eventID"]).collect();
                assert_eq!(found.3, ids, "{name}: every event has its line: {order:?}");
                assert_eq!(*expected.get_or_insert_with(|| found.clone()), found, "{name}: {order:?}");
                assert!(world.iam.actions.load(Ordering::SeqCst) <= 1, "{name}: acted twice");
            }
            let (state, outcome, told_of, _) = expected.unwrap();
            let ends = match (name, is_gone) {
                (_, true) => "gone",
                ("compliant", false) => "recorded",
                (other, false) => other,
            };
            assert_eq!(outcome["S"], ends, "{name}");
            assert_eq!(told_of[0]["S"], event(None)["eventID"], "{name}: who made it is known");
            assert_eq!(state.key.is_some(), !is_gone && name != "deleted", "{name}");
        }
    }
}

/// Each event after the others, each fault at each step, then once more: the state that it would have had.
#[tokio::test]
async fn any_single_fault_in_a_later_event_and_redelivery_end_in_the_same_state() {
    let inactive = |key: ModelKey| ModelKey { status: Status::Inactive, ..key };
    let alive = || key(ID, USER, Service::Bedrock, None);
    let created = || event(None);
    for (name, response, ceiling, before, event, iam) in [
        ("switched on", "deactivate", Response::Delete, vec![created()], switched_on(), Some(alive())),
        ("switched on, unknown", "delete", Response::Delete, vec![], switched_on(), Some(alive())),
        (
            "switched on, seen only",
            "delete",
            Response::Monitor,
            vec![created()],
            switched_on(),
            Some(alive()),
        ),
        (
            "switched off",
            "delete",
            Response::Monitor,
            vec![created()],
            switched_off(),
            Some(inactive(alive())),
        ),
        (
            "switched off, unknown",
            "delete",
            Response::Delete,
            vec![],
            switched_off(),
            Some(inactive(alive())),
        ),
        ("reset", "deactivate", Response::Delete, vec![created()], reset(), Some(alive())),
        ("reset, unknown", "delete", Response::Delete, vec![], reset(), Some(alive())),
        ("reset, unknown and gone", "delete", Response::Delete, vec![], reset(), None),
        ("deleted", "delete", Response::Monitor, vec![created()], deleted(), None),
        ("deleted, unknown", "delete", Response::Delete, vec![], deleted(), None),
        ("created, gone", "delete", Response::Delete, vec![deleted()], created(), None),
        ("created, reset before", "deactivate", Response::Delete, vec![reset()], created(), Some(alive())),
    ] {
        let world_of = async || {
            let world = World::new(response, ceiling, Some(alive()));
            for event in &before {
                if event == &deleted() {
                    world.iam.keys.lock().unwrap().retain(|key| key.id != ID);
                }
                world.deliver(event, Steps::default(), WEEKS).await.unwrap().unwrap();
            }
            let mut keys = world.iam.keys.lock().unwrap();
            keys.retain(|key| key.id != ID);
            keys.extend(iam.clone());
            drop(keys);
            world.iam.actions.store(0, Ordering::SeqCst);
            world
        };
        let later = WEEKS + TimeDelta::days(1);
        let fault_free = world_of().await;
        let steps = Steps::default();
        fault_free.deliver(&event, steps.clone(), later).await.unwrap().unwrap();
        let (expected, effects) =
            ((fault_free.state(), told(&fault_free)), steps.taken.load(Ordering::SeqCst));
        for at in 0..effects {
            for fault in FAULTS {
                let name = format!("{name}: {fault:?} at step {at}");
                let world = world_of().await;
                let steps = Steps { fault: Some((at, fault)), ..Steps::default() };
                let first = world.deliver(&event, steps, later).await;
                assert!(!matches!(first, Some(Ok(_))), "{name}: a fault was answered with success");
                for _ in 0..2 {
                    let repeated = later + TimeDelta::minutes(1);
                    let again = world.deliver(&event, Steps::default(), repeated).await.unwrap();
                    again.unwrap_or_else(|failure| panic!("{name}: {failure}"));
                    assert_eq!((world.state(), told(&world)), expected, "{name}");
                }
                assert!(world.iam.actions.load(Ordering::SeqCst) <= 1, "{name}: acted twice");
            }
        }
    }
}

/// The guard deactivates, someone switches on again: that is a violation of its own, unless the policy allows it by now.
#[tokio::test]
async fn a_key_that_is_switched_on_again_is_reported_as_such_and_switched_off_again() {
    let mut world = World::new("deactivate", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
    world.deliver(&event(None), Steps::default(), TimeDelta::minutes(5)).await.unwrap().unwrap();
    assert_eq!(world.status(ID), Some(Status::Inactive));
    world.change(ID, |key| key.status = Status::Active);
    let on = later(UPDATE, Some("Active"), "2026-11-20T10:00:00Z");
    let report = world.deliver(&on, Steps::default(), TimeDelta::hours(2)).await.unwrap().unwrap();
    assert_eq!(
        (report.outcome, report.violation),
        (ReportOutcome::Deactivated, Some(Violation::Reactivated))
    );
    assert!(report.reason.contains("somebody activated it again"), "{}", report.reason);
    assert!(report.actor.unwrap().ends_with("user/later"), "who switched it on");
    assert_eq!(world.status(ID), Some(Status::Inactive));

    // With an exemption that is how a key comes back.
    world.policy = exempting();
    world.change(ID, |key| key.status = Status::Active);
    let mut again = later(UPDATE, Some("Active"), "2026-11-21T10:00:00Z");
    again["eventID"] = json!("again");
    let report = world.deliver(&again, Steps::default(), TimeDelta::days(2)).await.unwrap().unwrap();
    assert_eq!((report.verdict, report.violation), (Some(Verdict::Exempt), None));
    assert_eq!(world.status(ID), Some(Status::Active));
}

fn parse(text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(text, std::path::Path::new("test.toml")).unwrap())
}

fn exempting() -> Arc<Policy> {
    parse(&format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"deactivate\"\n\
         [[exemption]]\naccount = \"{ACCOUNT}\"\nuser = \"{USER}\"\nreason = \"SEC-1\"\nuntil = 2027-01-01\n"
    ))
}

/// What the guard does comes back as events. None of them makes it act.
#[tokio::test]
async fn the_guards_own_calls_are_recorded_and_never_answered() {
    let own = json!({
        "type": "AssumedRole",
        "arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/key-guard-responder/bedrock-key-guard"),
    });
    for (response, call, status) in [("delete", DELETE, None), ("deactivate", UPDATE, Some("Inactive"))] {
        for comes_first in [false, true] {
            let world = World::new(response, Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
            let mut echo = later(call, status, "2026-11-20T09:00:30Z");
            echo["userIdentity"] = own.clone();
            let deliveries = if comes_first { [&echo, &event(None)] } else { [&event(None), &echo] };
            if comes_first {
                // As if the guard had died between acting and settling, and another function had opened the entry.
                world
                    .deliver(&event(None), Steps { fault: Some((3, FAULTS[2])), ..Steps::default() }, WEEKS)
                    .await;
            }
            for event in deliveries {
                let repeated = WEEKS + TimeDelta::minutes(1);
                world.deliver(event, Steps::default(), repeated).await.unwrap().unwrap();
            }
            assert_eq!(world.iam.actions.load(Ordering::SeqCst), 1, "{response}, {comes_first}");
            let outcome = of(&world, "outcome");
            if response == "delete" {
                assert_eq!(outcome["S"], "deleted", "{comes_first}: its own deletion is known for its own");
            } else {
                assert_eq!(world.state().outcome.as_deref(), Some("deactivated"));
            }
            let lines = items(&world.database);
            let line = lines
                .iter()
                .find(|item| item["sk"]["S"].as_str().unwrap().ends_with(echo["eventID"].as_str().unwrap()));
            assert!(line.unwrap()["reason"]["S"].as_str().unwrap().contains("The guard made the call."));
        }
    }
}

/// IAM may lag behind in both ways.
#[tokio::test]
async fn a_deletion_closes_the_entry_only_when_iam_lists_the_key_no_more() {
    let world = World::new("delete", Response::Monitor, Some(key(ID, USER, Service::Bedrock, None)));
    world.deliver(&event(None), Steps::default(), TimeDelta::minutes(5)).await.unwrap().unwrap();
    let at = TimeDelta::hours(4);
    let failure = world.deliver(&deleted(), Steps::default(), at).await.unwrap().unwrap_err();
    assert!(matches!(failure, Failure::StillListed { .. }), "{failure}");
    assert_eq!(failure.error_type(), "KeyStillListed");
    let report = world.deliver(&deleted(), Steps::default(), at + CONSISTENCY_WINDOW).await.unwrap().unwrap();
    assert!(report.reason.contains("IAM still lists the key"), "{}", report.reason);
    assert_eq!(of(&world, "outcome")["S"], "monitored");
    world.iam.keys.lock().unwrap().retain(|key| key.id != ID);
    let report = world.deliver(&deleted(), Steps::default(), at).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Gone);
    assert!(of(&world, "deleted_by")["S"].as_str().unwrap().ends_with("user/later"));
}

/// Calls that were refused are recorded once, under whoever made them, and nothing of their message is.
#[tokio::test]
async fn an_attempt_is_recorded_once_and_without_its_message() {
    for fault in FAULTS {
        let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
        let mut denied = event(None);
        denied["errorCode"] = json!("AccessDenied");
        denied["errorMessage"] =
            json!("no identity-based policy allows ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==");
        denied["requestParameters"] = Value::Null;
        denied["responseElements"] = Value::Null;
        let steps = Steps { fault: Some((0, fault)), ..Steps::default() };
        assert!(!matches!(world.deliver(&denied, steps, WEEKS).await, Some(Ok(_))));
        for _ in 0..2 {
            let report = world.deliver(&denied, Steps::default(), WEEKS).await.unwrap().unwrap();
            assert_eq!((report.outcome, report.verdict), (ReportOutcome::Recorded, None));
        }
        let items = items(&world.database);
        assert_eq!(items.len(), 1, "{fault:?}");
        assert_eq!(items[0]["kind"]["S"], "attempt");
        assert_eq!(items[0]["account_key"]["S"], format!("TRIED#ACCOUNT#{ACCOUNT}"));
        assert!(!json!(items).to_string().contains("ABSK"), "I6");
    }
}

// ---- the breaker ----

fn many(count: usize) -> (Vec<ModelKey>, Vec<Value>) {
    (0..count)
        .map(|number| {
            let id: &'static str = Box::leak(format!("ACCAMANY{number:013}").into_boxed_str());
            let mut event = event(None);
            event["eventID"] = json!(format!("event-{number}"));
            event["responseElements"]["serviceSpecificCredential"]["serviceSpecificCredentialId"] = json!(id);
            (key(id, USER, Service::Bedrock, None), event)
        })
        .unzip()
}

fn limited(most: u32) -> Arc<Policy> {
    parse(&format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         max_actions_per_hour = {most}\n"
    ))
}

/// Many functions at once share one count; what is beyond it is switched off, which is never held back.
#[tokio::test]
async fn the_breaker_holds_under_concurrency_and_deactivation_is_never_held_back() {
    for most in [0, 1, 5] {
        let (keys, events) = many(20);
        let mut world = World::with_keys("delete", Response::Delete, keys);
        world.policy = limited(most);
        let deliveries = events.iter().map(|event| world.deliver(event, Steps::default(), WEEKS));
        let reports: Vec<_> = futures_util::future::join_all(deliveries).await;
        let reports: Vec<_> = reports.into_iter().map(|report| report.unwrap().unwrap()).collect();
        let deleted = reports.iter().filter(|report| report.outcome == Outcome::Deleted).count();
        assert_eq!(deleted, most as usize);
        for report in reports.iter().filter(|report| report.outcome != Outcome::Deleted) {
            assert_eq!(report.outcome, Outcome::Deactivated);
            assert_eq!(report.response, Response::Deactivate);
            assert!(
                report.rate_limited && report.reason.contains("max_actions_per_hour"),
                "{}",
                report.reason
            );
        }
        let left = world.iam.keys.lock().unwrap();
        assert!(left.iter().all(|key| key.status == Status::Inactive) && left.len() == 20 - most as usize);
    }
}

/// Redelivery does not count again, and the next hour begins anew.
#[tokio::test]
async fn the_breaker_counts_each_key_once_and_each_hour_anew() {
    let (keys, events) = many(3);
    let mut world = World::with_keys("delete", Response::Delete, keys);
    world.policy = limited(2);
    // Opened, and killed before anything was done.
    let killed = Steps { fault: Some((1, FAULTS[2])), ..Steps::default() };
    assert!(world.deliver(&events[0], killed, WEEKS).await.is_none());
    for event in [&events[0], &events[0], &events[1]] {
        let repeated = WEEKS + TimeDelta::minutes(1);
        let report = world.deliver(event, Steps::default(), repeated).await.unwrap().unwrap();
        assert_eq!(report.outcome, Outcome::Deleted, "{}", report.reason);
    }
    let report = world.deliver(&events[2], Steps::default(), WEEKS).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deactivated);
    let (more, another) = many(4);
    world.iam.keys.lock().unwrap().push(more[3].clone());
    let next_hour = WEEKS + TimeDelta::hours(1);
    let report = world.deliver(&another[3], Steps::default(), next_hour).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
}

/// The count is part of the call that opens the entry.
#[tokio::test]
async fn the_breaker_costs_no_further_call() {
    for (days, calls) in [(Some(90), 1), (None, 4)] {
        let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, days)));
        let steps = Steps::default();
        world.deliver(&event(days), steps.clone(), WEEKS).await.unwrap().unwrap();
        assert_eq!(steps.taken.load(Ordering::SeqCst), calls);
    }
}

// ---- quarantine ----

fn quarantine() -> Arc<Policy> {
    parse(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"quarantine\"\n\
         grace_days = 7\n",
    )
}

#[tokio::test]
async fn a_quarantined_key_is_deleted_by_the_first_sweep_after_its_grace_if_nothing_changed() {
    let world = || async {
        let mut world =
            World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
        world.policy = quarantine();
        let report =
            world.deliver(&event(None), Steps::default(), TimeDelta::hours(1)).await.unwrap().unwrap();
        assert_eq!((report.outcome, report.response), (ReportOutcome::Deactivated, Response::Quarantine));
        assert!(report.reason.contains("after 2026-11-27T10:00:00Z"), "{}", report.reason);
        world
    };
    let sweep = async |world: &World, ceiling, after| {
        let (swept, heard) = world.sweep(ceiling, Hands::Free, Steps::default(), after).await.unwrap();
        swept.unwrap();
        heard.changes()
    };
    let (early, late) = (TimeDelta::days(7), TimeDelta::days(7) + TimeDelta::hours(1));

    let plain = world().await;
    assert_eq!(sweep(&plain, Response::Delete, early).await, [format!("{ID} - deactivated")]);
    // A rehearsal says what would be done.
    let (swept, heard) = plain.sweep(Response::Delete, Hands::Tied, Steps::default(), late).await.unwrap();
    swept.unwrap();
    assert_eq!(heard.changes(), [format!("{ID} changed deactivated")]);
    assert_eq!(heard.found.lock().unwrap()[0].1.report.response, Response::Delete);
    assert_eq!(sweep(&plain, Response::Deactivate, late).await, [format!("{ID} - deactivated")], "I9");
    assert_eq!(plain.status(ID), Some(Status::Inactive));
    assert_eq!(sweep(&plain, Response::Delete, late).await, [format!("{ID} changed deleted")]);
    assert_eq!(plain.status(ID), None);

    // An exemption reactivates nothing by itself, and stops the deletion.
    let mut exempt = world().await;
    exempt.policy = exempting();
    assert_eq!(sweep(&exempt, Response::Delete, late).await, [format!("{ID} changed deactivated")]);
    assert_eq!(exempt.status(ID), Some(Status::Inactive));

    // Switched on in between, it is switched off again, with a grace of its own.
    let again = world().await;
    again.change(ID, |key| key.status = Status::Active);
    let on = later(UPDATE, Some("Active"), "2026-11-24T09:00:00Z");
    let report = again.deliver(&on, Steps::default(), TimeDelta::days(5)).await.unwrap().unwrap();
    assert_eq!(
        (report.outcome, report.violation),
        (ReportOutcome::Deactivated, Some(Violation::Reactivated))
    );
    assert_eq!(sweep(&again, Response::Delete, late).await, [format!("{ID} - deactivated")]);
    assert_eq!(again.status(ID), Some(Status::Inactive));
    sweep(&again, Response::Delete, TimeDelta::days(12) + TimeDelta::hours(1)).await;
    assert_eq!(again.status(ID), None);

    // The policy no longer calls for it.
    let mut milder = world().await;
    milder.policy = crate::support::world::policy("deactivate");
    sweep(&milder, Response::Delete, late).await;
    assert_eq!(milder.status(ID), Some(Status::Inactive));
}

/// No event deletes what is in quarantine.
#[tokio::test]
async fn only_a_sweep_ends_a_quarantine() {
    let mut world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    world.policy = quarantine();
    for event in [event(None), reset(), switched_on(), event(None), reset()] {
        world.deliver(&event, Steps::default(), WEEKS + TimeDelta::weeks(3)).await.unwrap().unwrap();
        assert_eq!(world.status(ID), Some(Status::Inactive));
    }
}

/// What nobody has judged since the grace began cannot end it: an exemption in between, or another response.
#[tokio::test]
async fn a_grace_that_began_before_an_exemption_or_a_reactivation_ends_nothing() {
    let hours = TimeDelta::hours;
    let mut world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    world.policy = quarantine();
    world.deliver(&event(None), Steps::default(), hours(1)).await.unwrap().unwrap();
    let sweep = async |world: &World, ceiling, after| {
        let (swept, heard) = world.sweep(ceiling, Hands::Free, Steps::default(), after).await.unwrap();
        swept.unwrap();
        heard.changes()
    };
    // Exempt, and switched on; the event is lost.
    world.policy = exempting();
    world.change(ID, |key| key.status = Status::Active);
    sweep(&world, Response::Delete, TimeDelta::days(10)).await;
    // The exemption is taken back, and a sweep may only deactivate.
    world.policy = quarantine();
    let lowered = sweep(&world, Response::Deactivate, TimeDelta::days(12)).await;
    assert_eq!(lowered, [format!("{ID} changed deactivated")]);
    sweep(&world, Response::Delete, TimeDelta::days(12) + hours(1)).await;
    assert_eq!(world.status(ID), Some(Status::Inactive), "its grace begins now");
    sweep(&world, Response::Delete, TimeDelta::days(18)).await;
    assert_eq!(world.status(ID), Some(Status::Inactive));
    sweep(&world, Response::Delete, TimeDelta::days(19) + hours(2)).await;
    assert_eq!(world.status(ID), None);
}

/// The guard switched it off and could not write that down: its own event says so.
#[tokio::test]
async fn a_deactivation_that_was_not_written_down_is_known_by_its_own_event() {
    let mut world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    world.policy = quarantine();
    let lost = Steps { fault: Some((3, FAULTS[2])), ..Steps::default() };
    assert!(world.deliver(&event(None), lost, TimeDelta::hours(1)).await.is_none());
    let report = world.deliver(&event(None), Steps::default(), TimeDelta::hours(2)).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::AlreadyInactive);
    let mut echo = later(UPDATE, Some("Inactive"), "2026-11-20T10:00:00Z");
    echo["userIdentity"] = json!({"type": "AssumedRole", "arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/key-guard-responder/bedrock-key-guard")});
    for _ in 0..2 {
        world.deliver(&echo, Steps::default(), TimeDelta::hours(3)).await.unwrap().unwrap();
    }
    assert_eq!(of(&world, "outcome")["S"], "deactivated");
    assert_eq!(of(&world, "delete_after")["S"], "2026-11-27T10:00:00Z");
    assert_eq!(world.iam.actions.load(Ordering::SeqCst), 1);
}

fn own_switched_off(at: &str) -> Value {
    let mut echo = later(UPDATE, Some("Inactive"), at);
    let role = format!("arn:aws:sts::{ACCOUNT}:assumed-role/key-guard-responder/bedrock-key-guard");
    echo["userIdentity"] = json!({"type": "AssumedRole", "arn": role});
    echo
}

/// The same, when the event comes before anyone carries on. Neither an event of an earlier turn says so, nor one of
/// which a delivery may be at the key.
#[tokio::test]
async fn the_guards_own_event_settles_what_it_could_not_write_down() {
    let minutes = TimeDelta::minutes;
    for by_a_sweep in [false, true] {
        let mut killed = None;
        for at in 0.. {
            let mut world =
                World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
            world.policy = quarantine();
            let steps = Steps { fault: Some((at, FAULTS[2])), ..Steps::default() };
            let ended = if by_a_sweep {
                world.sweep(Response::Delete, Hands::Free, steps, minutes(60)).await.is_some()
            } else {
                world.deliver(&event(None), steps, minutes(60)).await.is_some()
            };
            if ended {
                break;
            }
            if world.status(ID) == Some(Status::Inactive) && of(&world, "outcome")["S"] == "open" {
                killed = Some(world);
            }
        }
        let world = killed.expect("killed between acting and settling");
        let echo = own_switched_off("2026-11-20T10:00:00Z");
        let failure = world.deliver(&echo, Steps::default(), minutes(60)).await.unwrap().unwrap_err();
        assert_eq!(failure.error_type(), "KeyInOtherHands");
        let mut earlier = own_switched_off("2026-11-20T08:30:00Z");
        earlier["eventID"] = json!("earlier");
        world.deliver(&earlier, Steps::default(), minutes(63)).await.unwrap().unwrap();
        assert_eq!(of(&world, "outcome")["S"], "open", "it was of an earlier turn");
        for _ in 0..2 {
            world.deliver(&echo, Steps::default(), minutes(63)).await.unwrap().unwrap();
            assert_eq!(of(&world, "outcome")["S"], "deactivated");
            assert_eq!(of(&world, "delete_after")["S"], "2026-11-27T10:00:00Z");
        }
        if !by_a_sweep {
            let again = world.deliver(&event(None), Steps::default(), minutes(65)).await.unwrap().unwrap();
            assert_eq!(again.outcome, Outcome::Deactivated);
        }
        assert_eq!(
            swept(&world, Response::Delete, TimeDelta::days(6)).await,
            [format!("{ID} - deactivated")]
        );
        assert_eq!(world.iam.actions.load(Ordering::SeqCst), 1);
        swept(&world, Response::Delete, TimeDelta::days(8)).await;
        assert_eq!(world.status(ID), None);
    }
}

/// A key that is in quarantine since its first hour.
async fn quarantined() -> World {
    let mut world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    world.policy = quarantine();
    world.deliver(&event(None), Steps::default(), TimeDelta::hours(1)).await.unwrap().unwrap();
    world
}

/// However often it is swept, a key that its owner has switched off stays as it is.
async fn stays(world: &World, name: &str) {
    for day in [20, 21, 22, 40, 60] {
        swept(world, Response::Delete, TimeDelta::days(day)).await;
        assert_eq!(world.status(ID), Some(Status::Inactive), "{name}, day {day}");
    }
    assert_eq!(of(world, "outcome")["S"], "already_inactive", "{name}");
    assert_eq!(world.iam.actions.load(Ordering::SeqCst), 1, "{name}");
}

/// What its owner has switched off is not as the guard left it, whatever the guard did before: it is never deleted.
#[tokio::test]
async fn a_quarantine_that_the_owner_broke_deletes_nothing_that_the_owner_switched_off() {
    let days = TimeDelta::days;
    let off = |world: &World| world.change(ID, |key| key.status = Status::Inactive);
    let on = |world: &World| world.change(ID, |key| key.status = Status::Active);
    // Switched on: the event is lost, and a sweep that may only look sees it.
    let seen = quarantined().await;
    on(&seen);
    assert_eq!(swept(&seen, Response::Monitor, days(6)).await, [format!("{ID} changed monitored")]);
    off(&seen);
    stays(&seen, "seen by a sweep").await;

    // Exempt, and switched on: a sweep sees it, or an event tells of it. Then the exemption ends.
    for told in [false, true] {
        let mut exempt = quarantined().await;
        exempt.policy = exempting();
        on(&exempt);
        if told {
            let event = later(UPDATE, Some("Active"), "2026-11-23T09:00:00Z");
            let report = exempt.deliver(&event, Steps::default(), days(4)).await.unwrap().unwrap();
            assert_eq!(report.verdict, Some(Verdict::Exempt));
        } else {
            swept(&exempt, Response::Delete, days(4)).await;
        }
        off(&exempt);
        assert_eq!(
            swept(&exempt, Response::Delete, days(5)).await,
            [format!("{ID} changed already_inactive")],
            "{told}"
        );
        exempt.policy = quarantine();
        stays(&exempt, "exempt").await;
    }
}

/// Nor is it where nobody but an event, or a sweep that wrote nothing else, tells of it.
#[tokio::test]
async fn whoever_else_sets_a_keys_status_takes_it_out_of_its_quarantine() {
    let days = TimeDelta::days;
    // Switched on, of which the event is lost, and off.
    let told = quarantined().await;
    let off = later(UPDATE, Some("Inactive"), "2026-11-21T21:00:00Z");
    for _ in 0..2 {
        told.deliver(&off, Steps::default(), days(2)).await.unwrap().unwrap();
    }
    stays(&told, "switched off").await;

    // Before the guard did it: nothing has changed since.
    let before = quarantined().await;
    let off = later(UPDATE, Some("Inactive"), "2026-11-20T09:30:00Z");
    before.deliver(&off, Steps::default(), days(2)).await.unwrap().unwrap();
    swept(&before, Response::Delete, days(8)).await;
    assert_eq!(before.status(ID), None);

    // Switched on, told after a sweep had its turn, and off.
    let mut late = quarantined().await;
    late.policy = crate::support::world::policy("deactivate");
    swept(&late, Response::Delete, days(3)).await;
    let on = later(UPDATE, Some("Active"), "2026-11-23T08:58:00Z");
    late.deliver(&on, Steps::default(), days(3) + TimeDelta::seconds(90)).await.unwrap().unwrap();
    late.policy = quarantine();
    stays(&late, "switched on before the sweep").await;

    // Exempt, and judged as that; switched on, seen, and off.
    let mut exempt = quarantined().await;
    exempt.policy = exempting();
    let reset = later(RESET, None, "2026-11-21T09:00:00Z");
    exempt.deliver(&reset, Steps::default(), days(1)).await.unwrap().unwrap();
    exempt.change(ID, |key| key.status = Status::Active);
    swept(&exempt, Response::Delete, days(2)).await;
    assert_eq!(swept(&exempt, Response::Delete, days(3)).await, [format!("{ID} - recorded")]);
    exempt.change(ID, |key| key.status = Status::Inactive);
    swept(&exempt, Response::Delete, days(5)).await;
    exempt.policy = quarantine();
    stays(&exempt, "seen while it was exempt").await;

    // Told by a rehearsal, which binds nobody to act: it does to leave it alone.
    let rehearsed = quarantined().await;
    rehearsed.rehearse(&later(UPDATE, Some("Active"), "2026-11-21T12:00:00Z")).await;
    stays(&rehearsed, "rehearsed").await;

    // What a sweep has seen outlives merging with what was known before.
    let seen = quarantined().await;
    seen.change(ID, |key| key.status = Status::Active);
    swept(&seen, Response::Monitor, days(2)).await;
    assert_eq!(of(&seen, "touched_at")["S"], "2026-11-22T08:59:00Z");

    // Taken for gone, and switched off meanwhile.
    let gone = quarantined().await;
    let taken = std::mem::take(&mut *gone.iam.keys.lock().unwrap());
    assert_eq!(swept(&gone, Response::Delete, days(2)).await, [format!("{ID} gone gone")]);
    let off = later(UPDATE, Some("Inactive"), "2026-11-22T12:00:00Z");
    gone.deliver(&off, Steps::default(), days(3)).await.unwrap().unwrap();
    *gone.iam.keys.lock().unwrap() = taken;
    stays(&gone, "gone").await;
}

/// Nor is it where somebody did so while a plan was open that nobody had carried out.
#[tokio::test]
async fn whoever_sets_a_keys_status_while_its_plan_is_open_takes_it_out_of_its_quarantine() {
    let (days, minutes) = (TimeDelta::days, TimeDelta::minutes);
    let is_open = |world: &World| {
        items(&world.database).iter().any(|item| item["sk"]["S"] == "STATE" && item["outcome"]["S"] == "open")
    };
    // A sweep that was about to delete it.
    let mut interrupted = 0;
    for at in 0..8 {
        for known_by in ["an event", "a sweep that only looks", "a sweep that dies"] {
            let world = quarantined().await;
            let steps = Steps { fault: Some((at, Fault::FailsBefore)), ..Steps::default() };
            world.sweep(Response::Delete, Hands::Free, steps, days(9)).await;
            if !is_open(&world) || world.status(ID).is_none() {
                continue;
            }
            interrupted += 1;
            if known_by == "an event" {
                let off = later(UPDATE, Some("Inactive"), "2026-11-29T09:00:00Z");
                world.deliver(&off, Steps::default(), days(9)).await.unwrap().unwrap();
            } else {
                world.change(ID, |key| key.status = Status::Active);
                let fault = (known_by == "a sweep that dies").then_some((3, Fault::FailsBefore));
                let ceiling = if fault.is_some() { Response::Delete } else { Response::Monitor };
                let steps = Steps { fault, ..Steps::default() };
                world.sweep(ceiling, Hands::Free, steps, days(10)).await;
                world.change(ID, |key| key.status = Status::Inactive);
            }
            stays(&world, &format!("{at} {known_by}")).await;
        }
    }
    assert!(interrupted >= 6, "{interrupted}");

    // The guard switched it off and could not write it down; the two events come in any order.
    for owner_first in [true, false] {
        let mut world =
            World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
        world.policy = quarantine();
        let steps = Steps { fault: Some((2, Fault::ReplyLost)), ..Steps::default() };
        world.deliver(&event(None), steps, minutes(60)).await.unwrap().unwrap_err();
        assert_eq!((is_open(&world), world.status(ID)), (true, Some(Status::Inactive)));
        let mut events = [
            later(UPDATE, Some("Inactive"), "2026-11-20T10:30:00Z"),
            own_switched_off("2026-11-20T10:00:00Z"),
        ];
        events[1]["eventID"] = json!("own");
        if !owner_first {
            events.reverse();
        }
        let mut stored = Vec::new();
        for _ in 0..2 {
            for event in &events {
                world.deliver(event, Steps::default(), minutes(95)).await.unwrap().unwrap();
            }
            let before = std::mem::replace(&mut stored, items(&world.database));
            assert!(before.is_empty() || before == stored, "what is repeated changes nothing");
        }
        assert_eq!(of(&world, "deactivated_at")["S"], "2026-11-20T10:00:00Z", "it is known that it did");
        stays(&world, &format!("{owner_first}")).await;
    }

    // One that was at it for longer than it may, and writes down what it did at last.
    let mut world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    world.policy = quarantine();
    let steps = Steps { fault: Some((2, Fault::ReplyLost)), ..Steps::default() };
    world.deliver(&event(None), steps, minutes(60)).await.unwrap().unwrap_err();
    let ledger = embedded::on(world.database.clone()).await.unwrap();
    let wanted = KeyRef { account: ACCOUNT.parse().unwrap(), id: ID.parse().unwrap() };
    let known = ledger.read(std::slice::from_ref(&wanted)).await.unwrap().remove(&wanted).unwrap().unwrap();
    let Known::Entry(mut slow) = known else { panic!() };
    let off = later(UPDATE, Some("Inactive"), "2026-11-20T10:30:00Z");
    world.deliver(&off, Steps::default(), minutes(95)).await.unwrap().unwrap();
    let acted_at = created() + minutes(60);
    (slow.acted_at, slow.deactivated_at) = (Some(acted_at), Some(acted_at));
    (slow.outcome, slow.as_left) = (Outcome::Deactivated, true);
    slow.delete_after = Some(acted_at + days(7));
    ledger.settle(&slow, created() + minutes(96)).await.unwrap();
    assert_eq!(of(&world, "outcome")["S"], "deactivated");
    stays(&world, "slow").await;
}

/// A person runs a sweep in their own name: what they do in it otherwise is theirs, and so is what others do.
#[tokio::test]
async fn a_deactivation_in_a_persons_name_is_the_guards_own_and_nothing_else_of_theirs_is() {
    let (days, hours) = (TimeDelta::days, TimeDelta::hours);
    let off = |by: &str, at: &str| {
        let mut event = later(UPDATE, Some("Inactive"), at);
        event["userIdentity"]["arn"] = json!(format!("arn:aws:iam::{ACCOUNT}:user/{by}"));
        event
    };
    for (reply_is_lost, sweeps_again) in [(false, false), (true, false), (true, true)] {
        for (event, is_own) in [
            (off("ops/maria", "2026-11-20T10:00:00Z"), true),
            (off("ops/maria", "2026-11-20T10:00:30Z"), true),
            (off("ops/maria", "2026-11-20T10:30:00Z"), false),
            (off("maria", "2026-11-20T10:00:00Z"), false),
        ] {
            let mut world =
                World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
            world.policy = quarantine();
            world.iam.acts_as = "user/ops/maria";
            let fault = reply_is_lost.then_some((5, Fault::KilledBefore));
            let steps = Steps { fault, ..Steps::default() };
            world.sweep(Response::Delete, Hands::Free, steps, hours(1)).await;
            assert_eq!(world.status(ID), Some(Status::Inactive));
            assert_eq!(of(&world, "outcome")["S"], if reply_is_lost { "open" } else { "deactivated" });
            assert_eq!(of(&world, "begun_as")["S"], "user/ops/maria");
            if sweeps_again {
                swept(&world, Response::Delete, hours(1) + TimeDelta::minutes(2)).await;
            }
            // The function hears of it.
            world.iam.acts_as = "assumed-role/*/bedrock-key-guard";
            let report = world.deliver(&event, Steps::default(), hours(2)).await.unwrap().unwrap();
            if is_own {
                assert_eq!(of(&world, "outcome")["S"], "deactivated", "{reply_is_lost}: {}", report.reason);
                // Another turn in somebody else's name, and the event once more.
                let reset = later(RESET, None, "2026-11-20T11:30:00Z");
                world.deliver(&reset, Steps::default(), hours(3)).await.unwrap().unwrap();
                world.deliver(&event, Steps::default(), hours(4)).await.unwrap().unwrap();
                swept(&world, Response::Delete, days(1)).await;
                swept(&world, Response::Delete, days(9)).await;
                assert_eq!(world.status(ID), None, "{reply_is_lost}: {}", report.reason);
            } else {
                stays(&world, &report.reason).await;
            }
        }
    }
}

/// Time that has passed once so many calls were made.
struct Slow {
    steps: Steps,
    after: usize,
    by: TimeDelta,
}

impl Clock for Slow {
    fn now(&self) -> DateTime<Utc> {
        let has_passed = self.steps.taken.load(Ordering::SeqCst) >= self.after;
        created() + TimeDelta::hours(1) + if has_passed { self.by } else { TimeDelta::zero() }
    }
}

/// Its third call is the action: what takes too long until then is not acted upon, and its time is that before.
#[tokio::test]
async fn whoever_has_been_at_a_key_for_too_long_does_not_act_upon_it() {
    for (after, by, acts) in [(2, 36, false), (2, 34, true), (3, 36, true)] {
        let mut world =
            World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
        world.policy = quarantine();
        let steps = Steps::default();
        let corridor = world.corridor(steps.clone(), created()).await;
        let slow = Corridor {
            policy: corridor.policy,
            ceiling: corridor.ceiling,
            source: corridor.source,
            ledger: corridor.ledger,
            reach: corridor.reach,
            clock: Slow { steps, after, by: TimeDelta::seconds(by) },
        };
        let result = slow.take(&read(&event(None))).await;
        if acts {
            assert_eq!(result.unwrap().outcome, Outcome::Deactivated);
            let at = if after == 2 { "2026-11-20T10:00:34Z" } else { "2026-11-20T10:00:00Z" };
            assert_eq!(of(&world, "deactivated_at")["S"], at);
        } else {
            assert_eq!(result.unwrap_err().error_type(), "TookTooLong");
            assert_eq!(world.status(ID), Some(Status::Active));
            assert_eq!(of(&world, "outcome")["S"], "open");
        }
    }
}

/// What is learnt of a key while IAM's answer is written down outlives the outcome.
#[tokio::test]
async fn what_is_learnt_while_a_key_is_confirmed_stays() {
    let world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    let steps = Steps { turns: Some(Arc::new(tokio::sync::Semaphore::new(0))), ..Steps::default() };
    let corridor = world.corridor(steps.clone(), created() + WEEKS).await;
    let inbound = read(&crate::support::world::unreadable_event());
    let mut delivery = Box::pin(corridor.take(&inbound));
    // Opened, and found.
    for _ in 0..2 {
        assert!(give_turn(&steps, delivery.as_mut()).await.is_none());
    }
    let off = later(UPDATE, Some("Inactive"), "2026-11-20T10:30:00Z");
    world.deliver(&off, Steps::default(), WEEKS).await.unwrap().unwrap();
    assert_eq!(of(&world, "outcome")["S"], "open");
    let report = loop {
        if let Some(result) = give_turn(&steps, delivery.as_mut()).await {
            break result.unwrap();
        }
    };
    assert_eq!(report.outcome, Outcome::Deleted);
    assert_eq!(of(&world, "touched_at")["S"], "2026-11-20T10:30:00Z");
}

/// So does that somebody touched it, and then it is not acted upon.
#[tokio::test]
async fn whoever_touches_a_key_while_it_is_confirmed_takes_it_out_of_its_quarantine() {
    let days = TimeDelta::days;
    let world = quarantined().await;
    let steps = Steps { fault: Some((3, Fault::FailsBefore)), ..Steps::default() };
    world.sweep(Response::Delete, Hands::Free, steps, days(9)).await;
    // IAM says something else than the entry, so its answer is written down.
    world.change(ID, |key| key.user = "svc-renamed");
    let steps = Steps { turns: Some(Arc::new(tokio::sync::Semaphore::new(0))), ..Steps::default() };
    let mut sweep = Box::pin(world.sweep(Response::Delete, Hands::Free, steps.clone(), days(10)));
    // Listed, read, taken up, and found in two calls.
    for _ in 0..5 {
        assert!(give_turn(&steps, sweep.as_mut()).await.is_none());
    }
    let off = later(UPDATE, Some("Inactive"), "2026-11-30T08:59:00Z");
    world.deliver(&off, Steps::default(), days(10)).await.unwrap().unwrap();
    let (swept, heard) = loop {
        if let Some(ended) = give_turn(&steps, sweep.as_mut()).await {
            break ended.unwrap();
        }
    };
    assert_eq!(swept.unwrap().troubles, 1, "{:?}", heard.troubles);
    drop(sweep);
    stays(&world, "touched while it was confirmed").await;
}

/// A new secret that is heard of late begins the grace anew, as one in time does, and once.
#[tokio::test]
async fn a_late_secret_reset_begins_the_grace_anew_once() {
    let days = TimeDelta::days;
    let world = quarantined().await;
    world.change(ID, |key| key.user = "svc-renamed");
    assert_eq!(swept(&world, Response::Delete, days(3)).await, [format!("{ID} changed deactivated")]);
    let reset = later(RESET, None, "2026-11-22T09:00:00Z");
    for day in [4, 6, 7] {
        world.deliver(&reset, Steps::default(), days(day)).await.unwrap().unwrap();
    }
    let mut earlier = later(RESET, None, "2026-11-21T09:00:00Z");
    earlier["eventID"] = json!("earlier");
    world.deliver(&earlier, Steps::default(), days(8)).await.unwrap().unwrap();
    assert_eq!(of(&world, "reset_at")["S"], "2026-11-22T09:00:00Z");
    assert_eq!(
        swept(&world, Response::Delete, days(9) - TimeDelta::minutes(1)).await,
        [format!("{ID} - deactivated")]
    );
    swept(&world, Response::Delete, days(9)).await;
    assert_eq!(world.status(ID), None);
}

/// A policy that does not judge a service for a while judges its keys anew when it does again.
#[tokio::test]
async fn a_service_that_was_not_judged_for_a_while_has_no_quarantine_that_is_over() {
    let days = TimeDelta::days;
    let logs = |response: &str, services: &str| {
        parse(&format!(
            "[default]\nservices = [{services}]\nmax_lifetime_days = 90\nresponse = \"{response}\"\ngrace_days = 7\n"
        ))
    };
    for switched in [false, true] {
        let first = key(ID, USER, Service::Logs, None);
        let mut world = World::with_keys("delete", Response::Delete, vec![first]);
        world.policy = logs("quarantine", "\"logs.amazonaws.com\"");
        swept(&world, Response::Delete, days(1)).await;
        assert_eq!(world.status(ID), Some(Status::Inactive));
        world.policy = logs("quarantine", "\"bedrock.amazonaws.com\"");
        if switched {
            for (mut event, after) in [
                (later(UPDATE, Some("Active"), "2026-11-23T09:00:00Z"), 3),
                (later(UPDATE, Some("Inactive"), "2026-11-25T09:00:00Z"), 5),
                (later(RESET, None, "2026-11-26T09:00:00Z"), 6),
            ] {
                event["responseElements"]["serviceSpecificCredential"]["serviceName"] =
                    json!("logs.amazonaws.com");
                let report = world.deliver(&event, Steps::default(), days(after)).await.unwrap().unwrap();
                assert!(report.reason.contains("written into the key's history"), "{}", report.reason);
            }
            assert_eq!(told(&world).len(), 4, "{:?}", told(&world));
        } else {
            assert_eq!(swept(&world, Response::Delete, days(3)).await, [""; 0]);
            assert_eq!(of(&world, "delete_after"), Value::Null);
        }
        world.policy = logs("quarantine", "\"logs.amazonaws.com\"");
        for day in [20, 21, 26] {
            swept(&world, Response::Delete, days(day)).await;
            assert_eq!(world.status(ID), Some(Status::Inactive), "{switched}, day {day}");
        }
        swept(&world, Response::Delete, days(28)).await;
        assert_eq!(world.status(ID).is_some(), switched);
    }
}

/// Wherever a sweep dies that switches a key off again, the grace is counted from then on.
#[tokio::test]
async fn a_sweep_that_dies_while_it_begins_a_quarantine_anew_shortens_no_grace() {
    let days = TimeDelta::days;
    for fault in FAULTS {
        for at in 0.. {
            let world = quarantined().await;
            world.change(ID, |key| key.status = Status::Active);
            let steps = Steps { fault: Some((at, fault)), ..Steps::default() };
            world.sweep(Response::Delete, Hands::Free, steps.clone(), days(8)).await;
            let reached = steps.taken.load(Ordering::SeqCst) > at;
            for day in [9, 10, 11, 14] {
                swept(&world, Response::Delete, days(day)).await;
                assert_eq!(world.status(ID), Some(Status::Inactive), "{fault:?} at {at}, day {day}");
            }
            if !reached {
                break;
            }
        }
    }
}

/// A policy that answers otherwise for a while ends the grace; when it changes its mind, another one begins.
#[tokio::test]
async fn another_response_in_between_begins_the_grace_anew() {
    let days = TimeDelta::days;
    for other in ["deactivate", "monitor"] {
        let mut world = quarantined().await;
        world.policy = crate::support::world::policy(other);
        swept(&world, Response::Delete, days(3)).await;
        assert_eq!(of(&world, "delete_after"), Value::Null, "{other}");
        assert_eq!(swept(&world, Response::Delete, days(25)).await, [format!("{ID} - deactivated")]);
        world.policy = quarantine();
        for day in [30, 31, 36] {
            swept(&world, Response::Delete, days(day)).await;
            assert_eq!(world.status(ID), Some(Status::Inactive), "{other}, day {day}");
        }
        swept(&world, Response::Delete, days(37)).await;
        assert_eq!(world.status(ID), None, "{other}");
    }
}

/// A clock may be some minutes behind; what is further ahead did not happen. Judged as of then, an exemption would have
/// run out, and every sweep would come before it.
#[tokio::test]
async fn an_event_of_a_time_to_come_does_nothing() {
    let world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    for event in [event(None), switched_on(), deleted()] {
        let before = if event["eventName"] == json!(CREATE) { -6 } else { 0 };
        let failure =
            world.deliver(&event, Steps::default(), TimeDelta::minutes(before)).await.unwrap().unwrap_err();
        assert_eq!(failure.error_type(), "EventFromTheFuture", "{event}");
    }
    assert_eq!(items(&world.database), [json!(null); 0]);
    let soon = TimeDelta::minutes(-4);
    let report = world.deliver(&event(None), Steps::default(), soon).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);

    // What the ledger has of a time to come is not fresher than what IAM says now.
    let world = World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
    let mut forged = event(Some(29));
    forged["eventTime"] = json!("2030-01-01T00:00:00Z");
    let credential = &mut forged["responseElements"]["serviceSpecificCredential"];
    credential["createDate"] = json!("2030-01-01T00:00:00Z");
    credential["expirationDate"] = json!("2030-01-30T00:00:00Z");
    let report = world.deliver(&forged, Steps::default(), TimeDelta::days(1_500)).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Recorded, "{}", report.reason);
    assert_eq!(swept(&world, Response::Delete, TimeDelta::days(1)).await, [format!("{ID} changed deleted")]);
}

/// IAM had listed it for no user, and something happened to it since: IAM is asked again.
#[tokio::test]
async fn a_key_that_was_taken_for_gone_and_lives_is_judged() {
    let living = key(ID, USER, Service::Bedrock, None);
    let world = World::with_keys("delete", Response::Delete, vec![]);
    let report = world.deliver(&event(None), Steps::default(), TimeDelta::hours(1)).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::AlreadyGone);
    // Nothing lives: it is a line.
    let later_on = later(UPDATE, Some("Active"), "2026-11-20T12:00:00Z");
    world.deliver(&later_on, Steps::default(), TimeDelta::hours(4)).await.unwrap().unwrap();
    assert_eq!(of(&world, "outcome")["S"], "already_gone");
    world.iam.keys.lock().unwrap().push(living);
    let report = world.deliver(&later_on, Steps::default(), TimeDelta::hours(5)).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted, "{}", report.reason);
    assert_eq!(world.status(ID), None);
}

/// A sweep that only rehearsed, or that looked while IAM's list lagged behind, keeps no event from its effect.
#[tokio::test]
async fn neither_a_rehearsal_nor_a_list_that_lagged_behind_swallows_a_reactivation() {
    let day = TimeDelta::days(1);
    // A list may lag behind by seconds; a rehearsal binds nobody, however late an event comes.
    for (hands, status, before) in [
        (Hands::Tied, Status::Active, "2026-11-21T08:40:00Z"),
        (Hands::Free, Status::Inactive, "2026-11-21T08:59:57Z"),
    ] {
        let first = ModelKey { status, ..key(ID, USER, Service::Bedrock, None) };
        let world = World::with_keys("delete", Response::Delete, vec![first]);
        // A rehearsal says how far it would go.
        let ceiling = if hands == Hands::Tied { Response::Delete } else { Response::Monitor };
        world.sweep(ceiling, hands, Steps::default(), day).await.unwrap().0.unwrap();
        world.change(ID, |key| key.status = Status::Active);
        // Before the sweep, and delivered after it.
        let on = later(UPDATE, Some("Active"), before);
        let after = day + TimeDelta::minutes(3);
        let report = world.deliver(&on, Steps::default(), after).await.unwrap().unwrap();
        assert_eq!(report.outcome, Outcome::Deleted, "{hands:?}");
    }
}

/// Two different events of one key, at every interleaving: one action, and what was done is written down.
#[tokio::test]
async fn two_events_of_one_key_interleaved_act_once() {
    for (response, ends) in [("delete", "deleted"), ("deactivate", "deactivated")] {
        let mut order = 0;
        while order < ORDERS {
            let world =
                World::with_keys(response, Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
            let events = [event(None), reset()];
            let steps = [(); 2].map(|()| in_turns());
            let corridors = [
                world.corridor(steps[0].clone(), created() + WEEKS).await,
                world.corridor(steps[1].clone(), created() + WEEKS).await,
            ];
            let inbound = events.each_ref().map(read);
            let ran =
                side_by_side(order, &steps, corridors[0].take(&inbound[0]), corridors[1].take(&inbound[1]))
                    .await;
            for (event, result) in events.iter().zip([ran.first, ran.second]) {
                if result.is_err() {
                    let repeated = WEEKS + TimeDelta::minutes(1);
                    world.deliver(event, Steps::default(), repeated).await.unwrap().unwrap();
                }
            }
            assert_eq!(of(&world, "outcome")["S"], ends, "{order:08b}");
            assert_eq!(world.iam.actions.load(Ordering::SeqCst), 1, "{order:08b}: acted twice");
            let lines = items(&world.database);
            let settled = format!(".{ends}");
            assert!(
                lines.iter().any(|item| item["sk"]["S"].as_str().unwrap().ends_with(&settled)),
                "{order:08b}"
            );
            order = ran.next_order;
        }
    }
}

// ---- whatever happens ----

/// What may happen to a key, an hour after what happened before.
#[derive(Debug, Clone, Copy)]
enum Happens {
    On(Told),
    Off(Told),
    Reset(Told),
    /// The guard's own event, of when it switched the key off last.
    Echo,
    /// The event of its creation, once more.
    Created,
    /// The events that were late come, the last one first or last.
    Come(bool),
    Sweep(Response),
    /// A sweep that meets a fault.
    Dying(usize, usize),
    Policy(&'static str),
    Days(i64),
}

/// Whether an event tells of it.
#[derive(Debug, Clone, Copy)]
enum Told {
    Never,
    Now,
    Late,
    /// Its delivery meets a fault, and is repeated late.
    Dying(usize, usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    let told = || {
        prop_oneof![
            4 => Just(Told::Never),
            3 => Just(Told::Now),
            2 => Just(Told::Late),
            2 => (0..8_usize, 0..FAULTS.len()).prop_map(|(at, fault)| Told::Dying(at, fault)),
        ]
    };
    let ceiling = prop_oneof![
        2 => Just(Response::Monitor),
        1 => Just(Response::Deactivate),
        3 => Just(Response::Delete)
    ];
    prop_oneof![
        4 => told().prop_map(Happens::On),
        4 => told().prop_map(Happens::Off),
        1 => told().prop_map(Happens::Reset),
        1 => Just(Happens::Echo),
        1 => Just(Happens::Created),
        2 => any::<bool>().prop_map(Happens::Come),
        8 => ceiling.prop_map(Happens::Sweep),
        2 => (0..8_usize, 0..FAULTS.len()).prop_map(|(at, fault)| Happens::Dying(at, fault)),
        2 => policy().prop_map(Happens::Policy),
        3 => (5..9_i64).prop_map(Happens::Days),
    ]
}

/// Mostly such with which something can go wrong.
fn policy() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("quarantine"),
        2 => Just("exempt"),
        1 => Just("monitor"),
        1 => Just("deactivate"),
        1 => Just("delete"),
        1 => Just("logs only"),
    ]
}

fn named(policy: &str) -> Arc<Policy> {
    let (service, response, exemption) = match policy {
        "exempt" => (
            "bedrock",
            "delete",
            format!(
                "[[exemption]]\naccount = \"{ACCOUNT}\"\nuser = \"{USER}\"\nreason = \"SEC-1\"\nuntil = 2030-01-01\n"
            ),
        ),
        "logs only" => ("logs", "delete", String::new()),
        response => ("bedrock", response, String::new()),
    };
    parse(&format!(
        "[default]\nservices = [\"{service}.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"{response}\"\n\
         grace_days = 7\n{exemption}"
    ))
}

/// Who runs sweeps, where no function does.
const PERSON: &str = "user/ops";

/// A key's story, and what may be known of it.
struct Story {
    world: World,
    policy: &'static str,
    now: TimeDelta,
    events: u32,
    /// When the guard switched it off, and nothing that could be known has happened to it since.
    left: Option<TimeDelta>,
    /// When the guard switched it off last, and in whose name.
    deactivated: Option<(TimeDelta, &'static str)>,
    /// In whose name sweeps are.
    sweeper: &'static str,
    acted: usize,
    /// A sweep has died, and whoever comes next carries its plan out.
    has_died: bool,
    /// Events that come late, with their times.
    late: Vec<(TimeDelta, Value)>,
}

impl Story {
    fn status(&self) -> Option<Status> {
        self.world.status(ID)
    }

    /// What the guard does about a new key is the first of it.
    async fn of(policy: &'static str, sweeper: &'static str) -> Self {
        let mut world =
            World::with_keys("delete", Response::Delete, vec![key(ID, USER, Service::Bedrock, None)]);
        world.policy = named(policy);
        let now = TimeDelta::hours(1);
        let mut story = Self {
            world,
            policy,
            now,
            events: 0,
            left: None,
            deactivated: None,
            sweeper,
            acted: 0,
            has_died: false,
            late: vec![],
        };
        story.comes(TimeDelta::zero(), event(None)).await;
        story
    }

    /// Something was done to the key, and an event tells of it, or does not.
    async fn tell(&mut self, told: Told, mut event: Value) {
        self.events += 1;
        event["eventID"] = json!(format!("event-{}", self.events));
        match told {
            Told::Never => {}
            Told::Now => self.comes(self.now, event).await,
            Told::Late => self.late.push((self.now, event)),
            Told::Dying(at, fault) => {
                let before = self.status();
                let steps = Steps { fault: Some((at, FAULTS[fault])), ..Steps::default() };
                let _ = self.world.deliver(&event, steps, self.now).await;
                self.check(before, Response::Delete, false);
                self.late.push((self.now, event));
            }
        }
    }

    /// An event comes, of something that happened then. What the guard did in the same hour was its answer.
    async fn comes(&mut self, then: TimeDelta, event: Value) {
        let before = self.status();
        let is_of_status = event["eventName"] == UPDATE && event["userIdentity"]["type"] == "IAMUser";
        if is_of_status && self.left.is_some_and(|left| left < then) {
            self.left = None;
        }
        self.world.deliver(&event, Steps::default(), self.now).await.unwrap().unwrap();
        self.check(before, Response::Delete, false);
    }

    /// The guard does one thing at most, and only what policy, ceiling and the key's past allow.
    fn check(&mut self, before: Option<Status>, ceiling: Response, is_sweep: bool) {
        let acted = self.world.iam.acted.lock().unwrap()[self.acted..].to_vec();
        self.acted += acted.len();
        assert!(acted.len() <= 1, "acted twice: {acted:?}");
        let Some(action) = acted.first() else { return };
        let policy = self.policy;
        match (action.split(' ').next().unwrap(), before.unwrap()) {
            ("Deactivate", Status::Active) => {
                assert!(["quarantine", "delete", "deactivate"].contains(&policy), "deactivated: {policy}");
                assert!(ceiling >= Response::Deactivate, "I9");
                self.left = Some(self.now);
                self.deactivated = Some((self.now, self.world.iam.acts_as));
            }
            ("Delete", Status::Active) => assert_eq!((policy, ceiling), ("delete", Response::Delete)),
            ("Delete", Status::Inactive) => {
                assert_eq!((policy, ceiling), ("quarantine", Response::Delete));
                assert!(is_sweep || self.has_died, "only a sweep ends a quarantine");
                let left = self.left.expect("it is not as the guard left it");
                assert!(self.now >= left + TimeDelta::days(7), "its grace is not over");
            }
            other => panic!("{other:?}"),
        }
    }

    /// What works and may not is dealt with at once.
    fn is_dealt_with(&self, ceiling: Response) {
        if ceiling >= Response::Deactivate && ["quarantine", "delete", "deactivate"].contains(&self.policy) {
            assert_ne!(self.status(), Some(Status::Active), "it works");
        }
    }

    async fn goes_on(&mut self, happens: Happens) {
        self.now += TimeDelta::hours(1);
        let text = |at: TimeDelta| (created() + at).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let at = text(self.now);
        let before = self.status();
        match happens {
            Happens::On(told) => {
                self.world.change(ID, |key| key.status = Status::Active);
                self.tell(told, later(UPDATE, Some("Active"), &at)).await;
                if matches!(told, Told::Now) {
                    self.is_dealt_with(Response::Delete);
                }
            }
            Happens::Off(told) => {
                self.world.change(ID, |key| key.status = Status::Inactive);
                self.tell(told, later(UPDATE, Some("Inactive"), &at)).await;
            }
            Happens::Reset(told) => {
                self.tell(told, later(RESET, None, &at)).await;
                if matches!(told, Told::Now) {
                    self.is_dealt_with(Response::Delete);
                }
            }
            Happens::Echo => {
                if let Some((deactivated, name)) = self.deactivated {
                    let mut echo = own_switched_off(&text(deactivated));
                    if name == PERSON {
                        echo["userIdentity"]["arn"] = json!(format!("arn:aws:iam::{ACCOUNT}:{PERSON}"));
                    }
                    self.tell(Told::Now, echo).await;
                }
            }
            Happens::Created => self.comes(TimeDelta::zero(), event(None)).await,
            Happens::Come(last_first) => {
                if last_first {
                    self.late.reverse();
                }
                for (then, event) in std::mem::take(&mut self.late) {
                    if self.status().is_some() {
                        self.comes(then, event).await;
                    }
                }
            }
            Happens::Sweep(ceiling) => {
                self.seen(before);
                let function = std::mem::replace(&mut self.world.iam.acts_as, self.sweeper);
                swept(&self.world, ceiling, self.now).await;
                self.check(before, ceiling, true);
                self.world.iam.acts_as = function;
                self.is_dealt_with(ceiling);
            }
            Happens::Dying(at, fault) => {
                // Its third call, where it has something to write down: what it saw is known from then on.
                if at > 2 || (at == 2 && matches!(FAULTS[fault], Fault::ReplyLost | Fault::KilledAfter)) {
                    self.seen(before);
                }
                self.has_died = true;
                let steps = Steps { fault: Some((at, FAULTS[fault])), ..Steps::default() };
                let function = std::mem::replace(&mut self.world.iam.acts_as, self.sweeper);
                self.world.sweep(Response::Delete, Hands::Free, steps, self.now).await;
                self.check(before, Response::Delete, true);
                self.world.iam.acts_as = function;
            }
            Happens::Policy(policy) => {
                self.policy = policy;
                self.world.policy = named(self.policy);
            }
            Happens::Days(days) => self.now += TimeDelta::days(days),
        }
    }

    /// A sweep of its service sees that it works.
    fn seen(&mut self, status: Option<Status>) {
        if status == Some(Status::Active) && self.policy != "logs only" {
            self.left = None;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to a key in whatever order, told of or not: nothing is done that policy, ceiling and the key's
    /// past do not allow, nothing twice, and what works and may not is found by the next sweep.
    #[test]
    fn a_key_is_never_acted_upon_wrongly_whatever_happens_to_it(
        policy in policy(),
        by_a_person in any::<bool>(),
        happens in proptest::collection::vec(happens(), 1..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let sweeper = if by_a_person { PERSON } else { "assumed-role/*/bedrock-key-guard" };
            let mut story = Story::of(policy, sweeper).await;
            for happens in happens {
                if story.status().is_none() {
                    return;
                }
                story.goes_on(happens).await;
            }
            for _ in 0..2 {
                story.goes_on(Happens::Sweep(Response::Delete)).await;
            }
            // Where nothing has changed, nothing is written.
            let without_last = |world: &World| -> Vec<Value> {
                let items = items(&world.database).into_iter();
                items.filter(|item| !item["pk"]["S"].as_str().unwrap().starts_with("SWEEP#")).collect()
            };
            let before = (without_last(&story.world), story.status());
            story.goes_on(Happens::Sweep(Response::Delete)).await;
            if story.status() == before.1 {
                assert_eq!(without_last(&story.world), before.0);
            }
        });
    }
}
