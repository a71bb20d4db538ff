//! How a world ends: what has to be the same whatever went wrong on the way (I3).

use std::collections::{BTreeMap, BTreeSet};

use bedrock_key_guard::ledger::audit::history::LogLine;
use key_guard_core::key::{CredentialId, EventId, KeyRef};
use key_guard_core::lifecycle::effect::{Change, HeardEvent};
use key_guard_core::lifecycle::input::Action;
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::lifecycle::result::report_of_state;
use key_guard_core::lifecycle::state::{InactiveCause, KeyState, Phase, Record};
use key_guard_core::policy::{Verdict, Violation};
use key_guard_core::report::Report;

use super::super::iam::TestIam;
use super::super::world::World;
use super::scenario::{Scenario, bystanders};

/// Everything that counts.
#[derive(Debug, PartialEq)]
pub struct Ending {
    iam: Vec<ListedKey>,
    keys: BTreeMap<CredentialId, KeyEnding>,
}

/// What the ledger has of a key in the end.
#[derive(Debug, PartialEq)]
struct KeyEnding {
    phase: KnownPhase,
    verdict: Option<Verdict>,
    violation: Option<Violation>,
    is_quarantined: bool,
    events: BTreeSet<(EventId, HeardEvent)>,
    steps: Vec<Done>,
}

/// A phase without what may differ: times, and how the guard knows that a key is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownPhase {
    NoRecord,
    Settled,
    Pending,
    Deactivated,
    Inactive(InactiveCause),
    Gone,
}

/// A step of the guard that its history must have. Who took it, and when, may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Intended(Action),
    Deactivated,
    Inactive,
    Gone,
}

impl Ending {
    /// Checks what has to hold in every world, and returns what has to be the same in all of them.
    pub fn of<A: TestIam>(scenario: &Scenario, world: &World<A>, case: &str) -> Self {
        let iam = world.iam.inner.keys();
        for bystander in bystanders() {
            assert!(iam.contains(&bystander), "I7: {} was touched: {case}", bystander.key);
        }
        let keys: Vec<_> = scenario.all_keys().into_iter().map(|listed| listed.key).collect();
        let states = world.stored_all(&keys);
        assert_everything_is_reported(world, &keys, &states, case);
        let ending =
            |(key, state): (&KeyRef, &KeyState)| (key.id.clone(), KeyEnding::new(state, &world.history(key)));
        Self { iam, keys: keys.iter().zip(&states).map(ending).collect() }
    }
}

impl KeyEnding {
    fn new(state: &KeyState, history: &[LogLine]) -> Self {
        let record = state.record();
        let event = |line: &LogLine| match line {
            LogLine::Event { heard, provenance } => Some((provenance.event_id.clone(), *heard)),
            LogLine::Step { .. } => None,
        };
        Self {
            phase: KnownPhase::of(state),
            verdict: record.and_then(Record::verdict),
            violation: record.and_then(Record::assessed).and_then(|assessed| assessed.verdict.violation()),
            is_quarantined: record.is_some_and(|record| record.delete_after.is_some()),
            events: history.iter().filter_map(event).collect(),
            steps: steps(history),
        }
    }
}

impl KnownPhase {
    fn of(state: &KeyState) -> Self {
        let KeyState::Tracked(record) = state else { return Self::NoRecord };
        match record.phase {
            Phase::Settled => Self::Settled,
            Phase::Pending(_) => Self::Pending,
            Phase::Deactivated(_) => Self::Deactivated,
            Phase::Inactive(cause) => Self::Inactive(cause),
            Phase::Gone(_) => Self::Gone,
        }
    }
}

/// What the guard has done, by its history. An intent is one intent, however many workers had it, and so is what they did
/// for it. A key ends once, however many observers there were.
fn steps(lines: &[LogLine]) -> Vec<Done> {
    let (mut steps, mut intents, mut acted) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        let LogLine::Step { change, .. } = line else { continue };
        let step = match change {
            Change::Intended { intent, .. } if intents.contains(&intent) => continue,
            Change::Intended { intent, action, .. } => {
                intents.push(intent);
                Done::Intended(*action)
            }
            Change::Acted { intent, action } => {
                assert!(intents.contains(&intent), "I1: an action comes before its intent: {lines:#?}");
                if acted.contains(&(intent, action)) {
                    continue;
                }
                acted.push((intent, action));
                match action {
                    Action::Deactivate => Done::Deactivated,
                    Action::Delete => Done::Gone,
                }
            }
            Change::Gone => Done::Gone,
            Change::Inactive => Done::Inactive,
            Change::Heard(_)
            | Change::Assessed
            | Change::Observed(_)
            | Change::Learned
            | Change::Reported => continue,
        };
        if !(step == Done::Gone && steps.contains(&step)) {
            steps.push(step);
        }
    }
    steps
}

/// Somebody was told how each key stands that is not compliant (I11).
fn assert_everything_is_reported<A: TestIam>(
    world: &World<A>,
    keys: &[KeyRef],
    states: &[KeyState],
    case: &str,
) {
    let facts = |report: &Report| {
        let Report { credential_id, verdict, violation, status, outcome, .. } = report;
        (credential_id.clone(), *verdict, *violation, *status, *outcome)
    };
    let mut told = world.returned.lock().unwrap().clone();
    told.extend(world.published());
    let told: Vec<_> = told.iter().map(facts).collect();
    for (key, state) in keys.iter().zip(states) {
        let Some(record) = state.record() else { continue };
        assert!(!record.unreported, "I11: {key} is unreported: {case}");
        let stands = facts(&report_of_state(key, state));
        let is_told = record.finding().is_none() || told.contains(&stands);
        assert!(is_told, "I11: nobody was told of {stands:?}: {case}\n{told:#?}");
    }
}
