//! R4, as far as CloudTrail corrects itself: an event with an `addendum` replaces what the event that it names has said.

use crate::support::{World, at, claude_key, created, created_for, created_with, days, env, evidence, user};
use crate::support::{policy, worker};
use key_guard_core::Time;
use key_guard_core::cloudtrail::Correction;
use key_guard_core::evidence::{EventEvidence, Reading};
use key_guard_core::key::{KeyStatus, Service};
use key_guard_core::lifecycle::dry_run::DryRun;
use key_guard_core::lifecycle::effect::{Cause, HeardEvent};
use key_guard_core::lifecycle::input::{Input, KeyEventKind};
use key_guard_core::lifecycle::result::report_of_state;
use key_guard_core::policy::Verdict;
use key_guard_core::report::Outcome;
use proptest::prelude::*;

const ORIGINAL: &str = "event-original";
const ASSUMED: &str = "event-assumed";
const CORRECTION: &str = "event-correction";

fn with_id(input: Input, id: &str) -> Input {
    let Input::Event(mut event) = input else { panic!("{input:?}") };
    event.provenance.event_id = id.parse().unwrap();
    Input::Event(event)
}

fn original(input: Input) -> Input {
    with_id(input, ORIGINAL)
}

fn correction(input: Input) -> Input {
    let Input::Event(mut event) = with_id(input, CORRECTION) else { panic!() };
    event.provenance.corrects = Some(Correction {
        event_id: Some(ORIGINAL.parse().unwrap()),
        reason: Some("UPDATED_DATA".to_owned()),
        updated_fields: Some("responseElements".to_owned()),
    });
    Input::Event(event)
}

/// A Claude Platform key, whose end IAM never shows: only events say when it ends.
fn claude_for(time: Time, lives: i64) -> Input {
    let evidence = EventEvidence { response: Reading::Read(time + days(lives)), ..evidence(time) };
    created_with(time, Service::ClaudePlatform, evidence)
}

/// The events of the history, each once.
fn history(world: &World) -> Vec<(String, HeardEvent, bool)> {
    let mut events: Vec<_> = world
        .log
        .iter()
        .filter_map(|entry| match &entry.cause {
            Cause::Event { heard, provenance } => {
                Some((provenance.event_id.to_string(), *heard, provenance.corrects.is_some()))
            }
            Cause::Sweep | Cause::Resume => None,
        })
        .collect();
    events.sort();
    events.dedup();
    events
}

#[test]
fn r4_a_correction_replaces_what_its_event_said_whichever_arrives_first() {
    for (first, last, verdict) in [
        (claude_for(at(0), 365), claude_for(at(0), 30), Verdict::Compliant),
        (claude_for(at(0), 30), claude_for(at(0), 365), Verdict::Noncompliant),
    ] {
        let (first, last) = (original(first), correction(last));
        let mut worlds = Vec::new();
        for order in [[&first, &last], [&last, &first]] {
            let mut world = World::new("monitor");
            world.keys = vec![claude_key(KeyStatus::Active)];
            for input in order.into_iter().chain(order) {
                world.process(input.clone()).unwrap();
            }
            assert_eq!(world.record().verdict(), Some(verdict));
            let both = [(CORRECTION, true), (ORIGINAL, false)];
            assert_eq!(
                history(&world),
                both.map(|(id, corrects)| (id.to_owned(), HeardEvent::Created, corrects))
            );
            worlds.push(world);
        }
        let [one, other] = &worlds[..] else { panic!() };
        assert_eq!(one.record().evidence, other.record().evidence);
        assert_eq!(one.record().creation, other.record().creation);
        assert_eq!(one.record().facts, other.record().facts);
    }
}

#[test]
fn r4_a_correction_that_makes_a_key_noncompliant_is_acted_upon() {
    let mut world = World::new("delete");
    world.process(original(created_for(at(0), days(30)))).unwrap();
    assert_eq!((world.actions.len(), world.record().verdict()), (0, Some(Verdict::Compliant)));
    world.wait(3_600);
    world.process(correction(created(at(0)))).unwrap();
    assert_eq!(world.status(), None, "IAM says so too, and the key is deleted");
    let report = report_of_state(world.record().key(), world.state());
    let says = "CloudTrail has corrected its creation event: event event-correction corrects event event-original \
                (UPDATED_DATA: responseElements).";
    assert!(report.reason.contains(says), "{}", report.reason);
}

#[test]
fn r4_a_correction_that_makes_a_key_compliant_takes_back_no_deactivation() {
    let mut world = World::new("deactivate");
    world.keys = vec![claude_key(KeyStatus::Active)];
    world.process(original(claude_for(at(0), 365))).unwrap();
    assert_eq!(world.status(), Some(KeyStatus::Inactive));
    world.wait(3_600);
    world.process(correction(claude_for(at(0), 30))).unwrap();
    assert_eq!(world.record().verdict(), Some(Verdict::Compliant));
    let report = report_of_state(world.record().key(), world.state());
    assert_eq!((report.outcome, world.status()), (Outcome::Deactivated, Some(KeyStatus::Inactive)));
}

#[test]
fn r4_a_correction_corrects_user_service_and_creation_too() {
    let wrong = original(claude_for(at(0), 30));
    let Input::Event(mut right) = correction(claude_for(at(0), 30)) else { panic!() };
    let KeyEventKind::Created(created) = &mut right.kind else { panic!() };
    (created.user, created.service) = (user("bob"), Service::CloudWatch);
    created.evidence.created_at = Reading::Read(at(7));
    let right = Input::Event(right);
    let (policy, worker) = (policy("monitor"), worker("me"));
    let env = env(&policy, &worker, at(30));
    for order in [[&wrong, &right], [&right, &wrong]] {
        let mut world = World::new("monitor");
        let mut dry_run = None;
        for input in order {
            world.process(input.clone()).unwrap();
            dry_run = DryRun::new(input, dry_run.as_ref(), &env);
        }
        for facts in [&world.record().facts, &dry_run.unwrap().facts] {
            assert_eq!((&facts.user, &facts.service), (&user("bob"), &Service::CloudWatch));
            assert_eq!((facts.created_at, facts.other_names.len()), (at(7), 1), "{facts:?}");
            assert!(facts.other_names.contains(&user("alice")), "the strictest name applies (R6)");
        }
    }
}

#[test]
fn r4_a_correction_that_says_nothing_of_the_key_replaces_nothing() {
    let nothing = created_with(at(0), Service::ClaudePlatform, EventEvidence::nothing(at(0)));
    for order in [
        [original(claude_for(at(0), 365)), correction(nothing.clone())],
        [correction(nothing), original(claude_for(at(0), 365))],
    ] {
        let mut world = World::new("monitor");
        world.keys = vec![claude_key(KeyStatus::Active)];
        for input in order {
            world.process(input).unwrap();
        }
        assert_eq!(world.record().verdict(), Some(Verdict::Noncompliant));
    }
}

#[test]
fn r14_a_dry_run_says_what_the_correction_says_whichever_arrives_first() {
    let (policy, worker) = (policy("delete"), worker("me"));
    let env = env(&policy, &worker, at(30));
    let (wrong, right) = (original(created(at(0))), correction(created_for(at(0), days(30))));
    for order in [[&wrong, &right], [&right, &wrong]] {
        let dry_run = order.into_iter().fold(None, |earlier, input| {
            let next = DryRun::new(input, earlier.as_ref(), &env);
            next.or(earlier)
        });
        let dry_run = dry_run.unwrap();
        assert_eq!(dry_run.assessment.verdict(), Verdict::Compliant);
        let reason = dry_run.report().reason;
        assert!(reason.contains("event-correction corrects event event-original"), "{reason}");
    }
}

/// Creation events that say different things of one key: assumed ones (R9), originals, and corrections.
fn creation_events() -> impl Strategy<Value = Vec<Input>> {
    let end = prop_oneof![Just(None), (1_i64..400).prop_map(Some)];
    let event = (end, 0_u8..3).prop_map(|(end, what)| {
        let said = end.map_or_else(|| created(at(0)), |end| claude_for(at(0), end));
        let Input::Event(mut event) = said else { panic!() };
        if let KeyEventKind::Created(created) = &mut event.kind {
            created.service = Service::ClaudePlatform;
            if what == 0 {
                created.evidence = EventEvidence::nothing(at(0));
            }
        }
        match what {
            0 => with_id(Input::Event(event), ASSUMED),
            1 => original(Input::Event(event)),
            _ => correction(Input::Event(event)),
        }
    });
    proptest::collection::vec(event, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// I3: neither order nor repetition of creation events changes what they say together.
    #[test]
    fn i3_no_order_of_corrections_changes_what_is_known(
        events in creation_events().prop_flat_map(|events| {
            let shuffled = Just([events.clone(), events.clone()].concat()).prop_shuffle();
            (Just(events), shuffled)
        })
    ) {
        let (policy, worker) = (policy("monitor"), worker("me"));
        let env = env(&policy, &worker, at(30));
        let known = |events: &[Input]| {
            let mut world = World::new("monitor");
            world.keys = vec![claude_key(KeyStatus::Active)];
            let mut dry_run = None;
            for event in events {
                world.process(event.clone()).unwrap();
                dry_run = DryRun::new(event, dry_run.as_ref(), &env);
            }
            let evidence = world.record().evidence.event.clone();
            // What was only assumed may be the creation of another key.
            let history: Vec<_> = history(&world).into_iter().filter(|(id, ..)| id != ASSUMED).collect();
            (evidence, dry_run.unwrap().evidence, world.record().verdict(), history)
        };
        let (events, shuffled) = events;
        prop_assert_eq!(known(&events), known(&shuffled));
    }
}
