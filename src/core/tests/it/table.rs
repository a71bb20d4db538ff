//! Every cell of the table: what [`step`] says, and what [`decide`] does there.
//!
//! `cells.txt` has an expectation for each of the 72 cells. A cell that differs is printed with its name.
//!
//! Every situation is about one noncompliant key that never expires, 200 seconds old, under a policy that deletes.
//! A new event is of second 150 and an older one of second 50; whatever was done before, was done in second 100.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::support::{self, at, key, listed, listed_key, policy, provenance, user, worker};
use key_guard_core::Time;
use key_guard_core::evidence::ExpirationEvidence;
use key_guard_core::key::{KeyFacts, KeyStatus, Service};
use key_guard_core::lifecycle::effect::Change;
use key_guard_core::lifecycle::input::{Action, Ceiling, Env, Input, Sighting, Trigger, TriggerKind};
use key_guard_core::lifecycle::standing::GUARD;
use key_guard_core::lifecycle::state::{
    Contradiction, Deactivation, GoneEvidence, InactiveCause, Intent, IntentId, KeyState, LastSeen, Lease,
    Observation, Phase, Record, UnknownFields,
};
use key_guard_core::lifecycle::steps::decide;
use key_guard_core::lifecycle::transition::{Column, Decision, Row, Step, step};
use key_guard_core::policy::Policy;

/// Every row of the table, in order.
pub const ROWS: [Row; 8] = [
    Row::Unknown,
    Row::Tombstone,
    Row::Settled,
    Row::PendingLeased,
    Row::Pending,
    Row::Deactivated,
    Row::Inactive,
    Row::Gone,
];

/// Every column, in order.
pub const COLUMNS: [Column; 9] = [
    Column::Created,
    Column::Activated,
    Column::Reset,
    Column::Deactivated,
    Column::Deleted,
    Column::ListedActive,
    Column::ListedInactive,
    Column::NotListed,
    Column::Resume,
];

/// Every step, in the order of the legend.
pub const STEPS: [Step; 19] = [
    Step::Leave,
    Step::Log,
    Step::NoteDeactivation,
    Step::Wait,
    Step::Assess,
    Step::InspectThenAssess,
    Step::InspectThenBury,
    Step::InspectIfNewer,
    Step::ConfirmDeletion,
    Step::AssessIfNewer,
    Step::NoteInactiveIfNewer,
    Step::NoteInactive,
    Step::NoteAbsence,
    Step::AssessOrDelete,
    Step::DeleteIfDue,
    Step::Resume,
    Step::ResumeFirst,
    Step::AddFacts,
    Step::AddDeleter,
];

const EXPECTED: &str = include_str!("cells.txt");

const NOW: i64 = 200;
const NEW: i64 = 150;
const OLDER: i64 = 50;
const DONE: i64 = 100;

fn record(phase: Phase, handled: Option<i64>) -> Record {
    let evidence = ExpirationEvidence {
        event: Some(support::evidence(at(0))),
        listed: Some(listed_key(KeyStatus::Active).evidence()),
    };
    let facts = KeyFacts {
        key: key(),
        user: user("alice"),
        other_names: std::collections::BTreeSet::new(),
        service: Service::Bedrock,
        created_at: at(0),
    };
    let last_seen = match &phase {
        Phase::Settled | Phase::Pending(_) | Phase::Gone(_) => LastSeen::of_listing(KeyStatus::Active, at(0)),
        Phase::Inactive(_) => LastSeen::of_listing(KeyStatus::Inactive, at(DONE)),
        Phase::Deactivated(_) => {
            let (since, by) = (Some(at(DONE)), Some(GUARD.to_owned()));
            LastSeen { since, by, ..LastSeen::of_listing(KeyStatus::Inactive, at(DONE)) }
        }
    };
    Record {
        assessment: policy("delete").assess(&facts, &evidence, at(0)),
        facts,
        evidence,
        creation: Some(provenance(at(0), "mallory")),
        handled_through: handled.map(at),
        delete_after: None,
        observation: None,
        last_seen: Some(last_seen),
        policy_sha256: String::new(),
        first_assessed: at(10),
        changed_at: at(10),
        unreported: false,
        phase,
        unknown_fields: UnknownFields::default(),
    }
}

fn intent(lease_until: i64) -> Intent {
    Intent {
        id: IntentId { opened_by: worker("other"), authorised_at: at(DONE) },
        action: Action::Delete,
        trigger: Trigger { kind: TriggerKind::Created, at: at(0) },
        downgraded: None,
        lease: Some(Lease { holder: worker("other"), until: at(lease_until) }),
    }
}

/// The state of a row.
fn state(row: Row) -> KeyState {
    let (phase, handled) = match row {
        Row::Unknown => return KeyState::Unknown,
        Row::Tombstone => {
            let event = Box::new(provenance(at(90), "mallory"));
            return KeyState::Tombstone(GoneEvidence::DeletedBy { event, at: at(DONE) });
        }
        Row::Settled => (Phase::Settled, Some(DONE)),
        Row::PendingLeased => (Phase::Pending(intent(NOW + 1)), None),
        Row::Pending => (Phase::Pending(intent(NOW)), None),
        Row::Deactivated => (Phase::Deactivated(Deactivation { at: at(DONE), downgraded: None }), Some(DONE)),
        Row::Inactive => (Phase::Inactive(InactiveCause::Deactivated), Some(DONE)),
        Row::Gone => (Phase::Gone(GoneEvidence::Absent { at: at(DONE) }), None),
    };
    KeyState::Tracked(Box::new(record(phase, handled)))
}

/// The inputs of a column, each with a name.
fn inputs(column: Column) -> Vec<(&'static str, Input)> {
    let events = |event: fn(Time) -> Input| vec![("new", event(at(NEW))), ("older", event(at(OLDER)))];
    let lists = |status| vec![("of 199", listed(status, at(199))), ("of 120", listed(status, at(120)))];
    match column {
        Column::Created => {
            let created = |time| {
                let evidence = support::evidence(at(0));
                match support::created_with(time, Service::Bedrock, evidence) {
                    Input::Event(mut event) => {
                        event.provenance.event_time = time;
                        Input::Event(event)
                    }
                    other => other,
                }
            };
            vec![("new", created(at(NEW))), ("older", created(at(OLDER)))]
        }
        Column::Activated => events(support::activated),
        Column::Reset => events(support::reset),
        Column::Deactivated => events(support::deactivated),
        Column::Deleted => events(support::deleted),
        Column::ListedActive => lists(KeyStatus::Active),
        Column::ListedInactive => lists(KeyStatus::Inactive),
        Column::NotListed => vec![("first", support::not_listed(at(199)))],
        Column::Resume => vec![("now", Input::Resume)],
    }
}

fn decide_at(state: &KeyState, input: &Input, sighting: Option<&Sighting>, policy_says: &str) -> Decision {
    decide_with(state, input, sighting, (&policy(policy_says), Ceiling::Delete))
}

fn decide_with(
    state: &KeyState,
    input: &Input,
    sighting: Option<&Sighting>,
    (policy, ceiling): (&Policy, Ceiling),
) -> Decision {
    let worker = worker("me");
    let env = Env { ceiling, ..support::env(policy, &worker, at(NOW)) };
    decide(state, input, sighting, &env)
}

/// A policy that exempts the key's user.
fn exemption() -> Policy {
    support::policy_with("delete", &support::exemption("alice", "2026-12-31"))
}

/// The same with a quarantine that ends in second `end`.
fn with_quarantine(state: &KeyState, end: i64) -> KeyState {
    let mut state = state.clone();
    if let KeyState::Tracked(record) = &mut state {
        record.delete_after = Some(at(end));
    }
    state
}

/// The same before the creation event was seen.
fn without_creation(state: &KeyState) -> KeyState {
    let mut state = state.clone();
    if let KeyState::Tracked(record) = &mut state {
        record.creation = None;
        record.evidence.event = None;
    }
    state
}

fn with_observation(state: &KeyState, seen: Contradiction) -> KeyState {
    let observation = Observation { asked_at: at(110), seen };
    match state {
        KeyState::Tracked(record) => {
            let mut record = record.clone();
            record.observation = Some(observation);
            KeyState::Tracked(record)
        }
        KeyState::Unknown | KeyState::Unconfirmed(_) => KeyState::Unconfirmed(observation),
        KeyState::Tombstone(_) => state.clone(),
    }
}

/// What happens in a cell: each situation with its decision.
fn happenings(row: Row, column: Column) -> Vec<(String, String)> {
    let state = state(row);
    let mut all = Vec::new();
    for (name, input) in inputs(column) {
        let decision = decide_at(&state, &input, None, "delete");
        let inspects = decision == Decision::Inspect;
        all.push((name.to_owned(), describe(&state, &decision)));
        if inspects {
            let found = Sighting { asked_at: at(NOW), found: Some(listed_key(KeyStatus::Active)) };
            let absent = Sighting { asked_at: at(NOW), found: None };
            let mut look = |name: String, state: &KeyState, sighting: &Sighting| {
                let decision = decide_at(state, &input, Some(sighting), "delete");
                all.push((name, describe(state, &decision)));
            };
            let was_absent = with_observation(&state, Contradiction::Absent);
            let was_listed = with_observation(&state, Contradiction::StillListed);
            look(format!("{name}, listed"), &state, &found);
            look(format!("{name}, listed again"), &was_listed, &found);
            look(format!("{name}, absent"), &state, &absent);
            look(format!("{name}, absent again"), &was_absent, &absent);
        }
    }
    let (_, input) = inputs(column).swap_remove(0);
    let mut look = |name: &str, state: &KeyState, decision: &Decision| {
        all.push((name.to_owned(), describe(state, decision)));
    };
    match column {
        Column::Created | Column::Activated | Column::Reset | Column::ListedActive => {
            let sighting = Sighting { asked_at: at(NOW), found: Some(listed_key(KeyStatus::Active)) };
            let sighting = matches!(input, Input::Event(_)).then_some(&sighting);
            let state = with_quarantine(&state, 9_999);
            let exempt = decide_with(&state, &input, sighting, (&exemption(), Ceiling::Delete));
            look("exempt", &state, &exempt);
            let monitored = decide_with(&state, &input, sighting, (&policy("delete"), Ceiling::Monitor));
            look("ceiling monitor", &state, &monitored);
        }
        Column::NotListed => {
            let state = with_observation(&state, Contradiction::Absent);
            look("again", &state, &decide_at(&state, &input, None, "delete"));
        }
        Column::Deactivated | Column::Deleted | Column::ListedInactive | Column::Resume => {}
    }
    if column == Column::Created && state.record().is_some() {
        let state = without_creation(&state);
        look("creation unknown", &state, &decide_at(&state, &input, None, "delete"));
    }
    let may_be_due = [Column::ListedActive, Column::ListedInactive, Column::Resume].contains(&column);
    if [Row::Settled, Row::Deactivated, Row::Inactive].contains(&row) && may_be_due {
        let state = with_quarantine(&state, NOW);
        look("quarantine over", &state, &decide_at(&state, &input, None, "quarantine"));
        if column == Column::ListedActive {
            let early = listed(KeyStatus::Active, at(120));
            look("quarantine over, of 120", &state, &decide_at(&state, &early, None, "quarantine"));
        }
    }
    all
}

/// A decision on one line: the phase, then only what differs from the state before.
fn describe(before: &KeyState, decision: &Decision) -> String {
    let (next, change, then, taken_over) = match decision {
        Decision::Leave(reason) => return format!("leave: {reason:?}"),
        Decision::Append(heard) => return format!("append {heard:?}"),
        Decision::Inspect => return "inspect".to_owned(),
        Decision::Wait => return "wait".to_owned(),
        Decision::Retry(contradiction) => return format!("retry {contradiction:?}"),
        Decision::Commit { next, change, then, taken_over } => (next, change, then, taken_over),
    };
    let change = match change {
        Change::Intended { .. } => "Intended".to_owned(),
        other => format!("{other:?}"),
    };
    let mut line = format!("{} | {change}, {then:?}", describe_state(next));
    if *taken_over {
        line.push_str(", then the input");
    }
    if let (Some(next), record) = (next.record(), before.record()) {
        let observation = before.observation();
        let mut note = |name: &str, before: Option<Time>, after: Option<Time>| {
            if before != after {
                write!(line, " | {name} {}", seconds(after)).unwrap();
            }
        };
        note("handled", record.and_then(|record| record.handled_through), next.handled_through);
        note("delete after", record.and_then(|record| record.delete_after), next.delete_after);
        if record.is_some_and(|record| record.creation.is_none()) && next.creation.is_some() {
            line.push_str(" | creation added");
        }
        if next.observation != observation {
            write!(line, " | observed {}", describe_observation(next.observation)).unwrap();
        }
    }
    line
}

fn describe_state(state: &KeyState) -> String {
    match state {
        KeyState::Unknown => "Unknown".to_owned(),
        KeyState::Unconfirmed(observation) => {
            format!("Unconfirmed {}", describe_observation(Some(*observation)))
        }
        KeyState::Tombstone(gone) => format!("Tombstone {}", describe_gone(gone)),
        KeyState::Tracked(record) => match &record.phase {
            Phase::Settled => "Settled".to_owned(),
            Phase::Pending(intent) => format!(
                "Pending {:?} for {:?} {} by {}, lease {}",
                intent.action,
                intent.trigger.kind,
                seconds(Some(intent.trigger.at)),
                intent.id.opened_by.0,
                intent.lease.as_ref().map_or("none".to_owned(), |lease| format!(
                    "{} until {}",
                    lease.holder.0,
                    seconds(Some(lease.until))
                )),
            ),
            Phase::Deactivated(deactivation) => format!("Deactivated {}", seconds(Some(deactivation.at))),
            Phase::Inactive(cause) => format!("Inactive {cause:?}"),
            Phase::Gone(gone) => format!("Gone {}", describe_gone(gone)),
        },
    }
}

fn describe_gone(gone: &GoneEvidence) -> String {
    match gone {
        GoneEvidence::Absent { at } => format!("Absent {}", seconds(Some(*at))),
        GoneEvidence::DeletedBy { event, at } => {
            format!("DeletedBy event {}, {}", seconds(Some(event.event_time)), seconds(Some(*at)))
        }
        GoneEvidence::DeletedByGuard { at } => format!("DeletedByGuard {}", seconds(Some(*at))),
    }
}

fn describe_observation(observation: Option<Observation>) -> String {
    observation.map_or("nothing".to_owned(), |observation| {
        format!("{:?} {}", observation.seen, seconds(Some(observation.asked_at)))
    })
}

fn seconds(time: Option<Time>) -> String {
    time.map_or("none".to_owned(), |time| (time - at(0)).num_seconds().to_string())
}

/// One cell, as `cells.txt` has it.
fn describe_cell(row: Row, column: Column) -> String {
    let mut text = format!("{:?}\n", step(row, column));
    for (name, decision) in happenings(row, column) {
        writeln!(text, "    {name}: {decision}").unwrap();
    }
    text
}

#[test]
fn every_cell_of_the_table_does_what_is_expected() {
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut name = String::new();
    for line in EXPECTED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            let cell = expected.get_mut(&name).expect("a cell has a heading");
            writeln!(cell, "{line}").unwrap();
        } else {
            let (heading, step) = line.split_once(": ").expect("a heading is row, column, step");
            heading.clone_into(&mut name);
            assert_eq!(expected.insert(name.clone(), format!("{step}\n")), None, "{name} is there twice");
        }
    }
    let mut failures = String::new();
    for row in ROWS {
        for column in COLUMNS {
            let cell = format!("{row} × {column}");
            let actual = describe_cell(row, column);
            let wanted = expected.remove(&cell).unwrap_or_else(|| "nothing\n".to_owned());
            if actual != wanted {
                write!(failures, "\n{cell}: expected {wanted}{cell}: {actual}").unwrap();
            }
        }
    }
    assert!(expected.is_empty(), "cells that do not exist: {:?}", expected.keys());
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_rows_and_columns_of_the_states_and_inputs_above_are_their_own() {
    for row in ROWS {
        assert_eq!(Row::of(&state(row), at(NOW), &worker("me")), row);
        for column in COLUMNS {
            for (_, input) in inputs(column) {
                assert_eq!(Column::of(&input), column);
            }
        }
    }
    let waiting = with_observation(&KeyState::Unknown, Contradiction::Absent);
    assert_eq!(Row::of(&waiting, at(NOW), &worker("me")), Row::Unknown);
    let expired = listed(KeyStatus::Expired, at(NOW));
    assert_eq!(Column::of(&expired), Column::ListedInactive);
}

#[test]
fn every_step_is_used() {
    for wanted in STEPS {
        let is_used = ROWS.iter().any(|row| COLUMNS.iter().any(|column| step(*row, *column) == wanted));
        assert!(is_used, "{wanted:?}");
    }
}
