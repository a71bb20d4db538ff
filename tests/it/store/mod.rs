//! The stores of keys: what both have to do ([`contract`]), that they return the same ([`same_answers`]), how the one in
//! DynamoDB does it, and its items.

pub mod arbitrary;
mod attempts;
mod cancelled;
mod codec;
#[macro_use]
mod contract;
mod dry_runs;
mod dynamo;
mod dynamo_failures;
mod history;
mod policy;
mod same_answers;
mod sqlite;
mod usage;

use bedrock_key_guard::ledger::store::Ledger;
use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{Actor, ActorContext, Provenance};
use key_guard_core::evidence::ExpirationEvidence;
use key_guard_core::key::{KeyFacts, KeyRef, Service};
use key_guard_core::lifecycle::effect::{Cause, Change, Commit, HeardEvent, LogEntry};
use key_guard_core::lifecycle::input::{Action, Trigger, TriggerKind, WorkerId};
use key_guard_core::lifecycle::state::{
    Deactivation, GoneEvidence, Intent, IntentId, KeyState, Phase, Record, StoredState, UnknownFields,
    Version,
};
use key_guard_core::policy::Scope;
use key_guard_core::ports::{CommitReply, KeyStore};

use crate::support::dynamodb::Place;
use crate::support::{OTHER, OWN};

/// An empty store. `name` is its test's.
async fn open(name: &str) -> (Place, Ledger) {
    let place = Place::new(&format!("store-{name}")).await;
    let store = Ledger::dynamodb(place.client.clone(), &place.table);
    (place, store)
}

/// This many seconds after noon of 1 March 2026.
fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_772_366_400, 0).unwrap() + TimeDelta::seconds(seconds)
}

fn key(number: usize) -> KeyRef {
    key_in(OWN, number)
}

fn key_in(account: &str, number: usize) -> KeyRef {
    KeyRef { account: account.parse().unwrap(), id: format!("ACCAEXAMPLE{number:010}").parse().unwrap() }
}

fn record(key: &KeyRef) -> Record {
    Record {
        facts: KeyFacts {
            key: key.clone(),
            user: "alice".parse().unwrap(),
            other_names: std::collections::BTreeSet::new(),
            service: Service::Bedrock,
            created_at: at(0),
        },
        evidence: ExpirationEvidence::default(),
        creation: None,
        assessment: Scope::OutOfScope,
        handled_through: None,
        delete_after: None,
        observation: None,
        last_seen: None,
        policy_sha256: "0123".to_owned(),
        first_assessed: at(1),
        changed_at: at(1),
        unreported: false,
        phase: Phase::Settled,
        unknown_fields: UnknownFields::default(),
    }
}

fn tracked(record: Record) -> KeyState {
    KeyState::Tracked(Box::new(record))
}

fn settled(key: &KeyRef) -> KeyState {
    tracked(record(key))
}

fn in_phase(key: &KeyRef, phase: Phase) -> Record {
    Record { phase, ..record(key) }
}

fn intent(authorised_at: Time) -> Intent {
    Intent {
        id: IntentId { opened_by: WorkerId("worker-1".to_owned()), authorised_at },
        action: Action::Delete,
        trigger: Trigger { kind: TriggerKind::Created, at: at(0) },
        downgraded: None,
        lease: None,
    }
}

fn deactivated(key: &KeyRef) -> Record {
    in_phase(key, Phase::Deactivated(Deactivation { at: at(2), downgraded: None }))
}

fn gone(key: &KeyRef, seconds: i64) -> Record {
    let phase = Phase::Gone(GoneEvidence::DeletedByGuard { at: at(seconds) });
    Record { changed_at: at(seconds), ..in_phase(key, phase) }
}

fn event(id: &str, seconds: i64) -> Provenance {
    Provenance {
        account: OWN.parse().unwrap(),
        event_id: id.parse().unwrap(),
        event_time: at(seconds),
        actor: Actor {
            kind: Some("AssumedRole".to_owned()),
            principal: Some(format!("arn:aws:sts::{OWN}:assumed-role/Admin/mallory@example.com")),
            session_issuer: Some(format!("arn:aws:iam::{OWN}:role/Admin")),
            mfa: None,
            console: false,
            context: ActorContext::default(),
        },
        source_ip: Some("192.0.2.1".to_owned()),
        user_agent: Some("aws-cli/2".to_owned()),
        corrects: None,
        unreadable: Vec::new(),
    }
}

/// An event as the cause of a line.
fn by(heard: HeardEvent, provenance: &Provenance) -> Cause {
    Cause::Event { heard, provenance: Box::new(provenance.clone()) }
}

fn line(key: &KeyRef, seconds: i64, cause: Cause, change: Change) -> LogEntry {
    LogEntry { key: key.clone(), at: at(seconds), cause, change }
}

/// A sweep stores `next`.
fn commit(key: &KeyRef, expected: Version, next: KeyState) -> Commit {
    let log = line(key, 10 + i64::try_from(expected.0).unwrap(), Cause::Sweep, Change::Assessed);
    Commit { key: key.clone(), expected, next, log, counts: None }
}

/// Stores states of keys that nothing is stored of.
async fn store_all(store: &impl KeyStore, states: impl IntoIterator<Item = (KeyRef, KeyState)>) {
    let commits: Vec<_> = states.into_iter().map(|(key, next)| commit(&key, Version::ABSENT, next)).collect();
    for reply in store.commit(&commits).await {
        assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)));
    }
}

fn stored(version: u64, state: KeyState) -> StoredState {
    StoredState { version: Version(version), state }
}

async fn load(store: &impl KeyStore, key: &KeyRef) -> StoredState {
    store.load(std::slice::from_ref(key)).await.remove(0).unwrap()
}
