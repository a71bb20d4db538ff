//! What auditors read: the history of a key.

use bedrock_key_guard::ledger::audit::history::{LogLine, StepCause};
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::effect::{Cause, Change, Commit, HeardEvent, LogEntry};
use key_guard_core::lifecycle::input::{Action, TriggerKind};
use key_guard_core::lifecycle::state::{GoneEvidence, IntentId, KeyState, Phase, Record, Version};
use key_guard_core::ports::{CommitReply, KeyStore as _};

use super::{
    at, by, commit, deactivated, event, gone, in_phase, intent, key, line, open, record, settled, tracked,
};
fn event_line(heard: HeardEvent, provenance: &Provenance) -> LogLine {
    LogLine::Event { heard, provenance: Box::new(provenance.clone()) }
}

fn step(seconds: i64, provenance: &Provenance, change: Change) -> LogLine {
    LogLine::Step { at: at(seconds), cause: StepCause::Event(provenance.event_id.clone()), change }
}

fn intended(id: &IntentId) -> Change {
    Change::Intended { intent: id.clone(), action: Action::Delete, trigger: TriggerKind::Created }
}

async fn commit_with(store: &Ledger, version: u64, next: KeyState, log: LogEntry) {
    let commit = Commit { log, ..commit(&key(1), Version(version), next) };
    assert_eq!(
        store.commit(&[commit]).await.remove(0).unwrap(),
        CommitReply::Committed(Version(version + 1))
    );
}

async fn lines(store: &Ledger, key: &KeyRef) -> Vec<LogLine> {
    let history = store.history(key).await.unwrap();
    assert!(history.unreadable.is_empty(), "{:?}", history.unreadable);
    history.lines
}

#[tokio::test]
async fn an_event_has_one_line_however_often_it_is_delivered() {
    let (_place, store) = open("one-line").await;
    let (created, deactivated_by_owner, activated) =
        (event("created", 0), event("deactivated", 10), event("activated", 20));
    let intent = intent(at(2));
    let acted = Change::Acted { intent: intent.id.clone(), action: Action::Delete };
    let pending = tracked(in_phase(&key(1), Phase::Pending(intent.clone())));
    commit_with(
        &store,
        0,
        pending,
        line(&key(1), 2, by(HeardEvent::Created, &created), intended(&intent.id)),
    )
    .await;
    commit_with(
        &store,
        1,
        tracked(deactivated(&key(1))),
        line(&key(1), 3, by(HeardEvent::Created, &created), acted.clone()),
    )
    .await;
    let heard =
        |event: &Provenance, seconds, kind| line(&key(1), seconds, by(kind, event), Change::Heard(kind));
    for _ in 0..3 {
        store.append(&heard(&deactivated_by_owner, 10, HeardEvent::Deactivated)).await.unwrap();
        store.append(&heard(&created, 0, HeardEvent::Created)).await.unwrap();
    }
    store.append(&heard(&activated, 20, HeardEvent::Activated)).await.unwrap();
    commit_with(
        &store,
        2,
        settled(&key(1)),
        line(&key(1), 22, by(HeardEvent::Activated, &activated), Change::Assessed),
    )
    .await;
    store.append(&heard(&activated, 20, HeardEvent::Activated)).await.unwrap();
    // An outcome that is written again is the same line, too.
    store.append(&line(&key(1), 3, by(HeardEvent::Created, &created), acted.clone())).await.unwrap();
    store.append(&line(&key(1), 30, Cause::Resume, Change::Reported)).await.unwrap();

    assert_eq!(
        lines(&store, &key(1)).await,
        [
            event_line(HeardEvent::Created, &created),
            step(2, &created, intended(&intent.id)),
            step(3, &created, acted),
            event_line(HeardEvent::Deactivated, &deactivated_by_owner),
            event_line(HeardEvent::Activated, &activated),
            step(22, &activated, Change::Assessed),
            LogLine::Step { at: at(30), cause: StepCause::Resume, change: Change::Reported },
        ]
    );
}

#[tokio::test]
async fn a_line_says_what_its_event_was() {
    let (_place, store) = open("event-kind").await;
    let (created, reset, deleted) = (event("created", 0), event("reset", 10), event("deleted", 20));
    let known = Record { creation: Some(created.clone()), ..record(&key(1)) };
    commit_with(
        &store,
        0,
        tracked(known.clone()),
        line(&key(1), 1, by(HeardEvent::Created, &created), Change::Assessed),
    )
    .await;
    // It takes over an intent that another event has opened.
    let opened = intent(at(2));
    let pending = Record { phase: Phase::Pending(opened.clone()), ..known.clone() };
    commit_with(
        &store,
        1,
        tracked(pending),
        line(&key(1), 12, by(HeardEvent::Reset, &reset), intended(&opened.id)),
    )
    .await;
    let phase = Phase::Gone(GoneEvidence::DeletedBy { event: Box::new(deleted.clone()), at: at(22) });
    let ended = tracked(Record { phase, ..known });
    commit_with(&store, 2, ended, line(&key(1), 22, by(HeardEvent::Deleted, &deleted), Change::Gone)).await;
    assert_eq!(
        lines(&store, &key(1)).await,
        [
            event_line(HeardEvent::Created, &created),
            step(1, &created, Change::Assessed),
            event_line(HeardEvent::Reset, &reset),
            step(12, &reset, intended(&opened.id)),
            event_line(HeardEvent::Deleted, &deleted),
            step(22, &deleted, Change::Gone),
        ]
    );
}

#[tokio::test]
async fn steps_of_the_same_time_have_lines_of_their_own() {
    let (_place, store) = open("same-time").await;
    let changes = [
        Change::Assessed,
        intended(&intent(at(1)).id),
        Change::Acted { intent: intent(at(1)).id, action: Action::Deactivate },
        Change::Acted { intent: intent(at(1)).id, action: Action::Delete },
        Change::Acted { intent: intent(at(2)).id, action: Action::Delete },
        Change::Learned,
    ];
    let causes = [
        Cause::Sweep,
        Cause::Resume,
        by(HeardEvent::Created, &event("one", 0)),
        by(HeardEvent::Reset, &event("other", 0)),
    ];
    for cause in &causes {
        for change in &changes {
            store.append(&line(&key(1), 5, cause.clone(), change.clone())).await.unwrap();
        }
    }
    // Each, and a line of each event.
    assert_eq!(lines(&store, &key(1)).await.len(), causes.len() * changes.len() + 2);
}

#[tokio::test]
async fn a_key_without_a_state_has_a_history() {
    let (_place, store) = open("no-state").await;
    let heard = event("heard", 0);
    store
        .append(&line(
            &key(1),
            0,
            by(HeardEvent::Deactivated, &heard),
            Change::Heard(HeardEvent::Deactivated),
        ))
        .await
        .unwrap();
    let history = store.history(&key(1)).await.unwrap();
    assert_eq!(history.state, None);
    assert_eq!(history.lines, [event_line(HeardEvent::Deactivated, &heard)]);
    assert!(store.history(&key(2)).await.unwrap().lines.is_empty());
}

#[tokio::test]
async fn a_history_has_everything_of_one_key() {
    let (_place, store) = open("history").await;
    super::store_all(&store, [(key(1), tracked(gone(&key(1), 5))), (key(2), settled(&key(2)))]).await;
    let history = store.history(&key(1)).await.unwrap();
    assert_eq!(history.state, Some(super::stored(1, tracked(gone(&key(1), 5)))));
    assert_eq!(history.dry_run, None);
    assert_eq!(history.lines.len(), 1);
    assert!(history.cost.calls == 1 && history.unreadable.is_empty());
}
