//! Makes a file ledger of many keys with three history lines each, for `benches/lookup`.
//!
//! `many-keys PATH KEYS PER_DAY`: the newest key is of the end of 2026-11-20, and `PER_DAY` keys are created a day.
#![allow(clippy::expect_used, clippy::panic, reason = "a defect here is a defect of the benchmark")]

use std::collections::BTreeSet;
use std::path::Path;

use bedrock_key_guard::ledger::Durability;
use bedrock_key_guard::ledger::portable::{PortableContent, PortableItem};
use bedrock_key_guard::ledger::store::Ledger;
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::cloudtrail::{Actor, ActorContext, Provenance};
use key_guard_core::evidence::{ExpirationEvidence, ListedEvidence};
use key_guard_core::key::{KeyFacts, KeyRef, KeyStatus, Service};
use key_guard_core::lifecycle::effect::{Cause, Change, HeardEvent, LogEntry};
use key_guard_core::lifecycle::input::{Action, TriggerKind, WorkerId};
use key_guard_core::lifecycle::state::{
    GoneEvidence, IntentId, KeyState, LastSeen, Phase, Record, UnknownFields,
};
use key_guard_core::policy::{Policy, Verdict};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [path, keys, per_day] = arguments.as_slice() else {
        panic!("usage: many-keys PATH KEYS PER_DAY");
    };
    let (keys, per_day) = (keys.parse::<i64>().expect("KEYS"), per_day.parse::<i64>().expect("PER_DAY"));
    let policy = Policy::built_in().expect("the built-in policy is valid");
    let end: DateTime<Utc> = "2026-11-21T00:00:00Z".parse().expect("a time");
    let items = (0..keys).flat_map(|number| {
        let at = end - TimeDelta::milliseconds((keys - number) * 86_400_000 / per_day);
        items(number, at, &policy)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ledger = Ledger::open_file(Path::new(path), Durability::Soon).expect("the ledger can be made");
    runtime.block_on(ledger.load_portable(items)).expect("the ledger can be written");
}

/// A key with its history: its creation, the guard's answer, and a later event.
fn items(number: i64, at: DateTime<Utc>, policy: &Policy) -> [PortableItem; 4] {
    let account = format!("{:012}", 111_111_111_111 + number % 200).parse().expect("an account");
    // One key in a hundred never expires.
    let expires_at = (number % 100 != 0).then(|| at + TimeDelta::days(30 + number % 60));
    let facts = KeyFacts {
        key: KeyRef { account, id: format!("ACCABENCH{number:012}").parse().expect("an id") },
        user: format!("svc-{}", number / 2).parse().expect("a user"),
        other_names: BTreeSet::new(),
        service: Service::Bedrock,
        created_at: at,
    };
    let key = facts.key.clone();
    let evidence =
        ExpirationEvidence { event: None, listed: Some(ListedEvidence { created_at: at, expires_at }) };
    let after = |seconds| at + TimeDelta::seconds(seconds);
    let assessed = after(3 + number % 20);
    let mut record = Record {
        assessment: policy.assess(&facts, &evidence, at),
        facts,
        evidence,
        creation: Some(creation(number, at, &key)),
        handled_through: Some(at),
        delete_after: None,
        observation: None,
        last_seen: Some(LastSeen {
            status: KeyStatus::Active,
            at,
            is_confirmed: false,
            since: None,
            by: None,
        }),
        policy_sha256: policy.sha256().to_owned(),
        first_assessed: assessed,
        changed_at: assessed,
        unreported: false,
        phase: Phase::Settled,
        unknown_fields: UnknownFields::default(),
    };
    let intent = IntentId { opened_by: WorkerId(format!("worker-{number}")), authorised_at: assessed };
    let (first, second) = if record.verdict() == Some(Verdict::Noncompliant) {
        record.phase = Phase::Gone(GoneEvidence::DeletedByGuard { at: after(25) });
        record.changed_at = after(25);
        let (action, trigger) = (Action::Delete, TriggerKind::Created);
        (Change::Intended { intent: intent.clone(), action, trigger }, Change::Acted { intent, action })
    } else {
        (Change::Assessed, Change::Learned)
    };
    let line = |at, heard, change| {
        let cause = Cause::Event { heard, provenance: Box::new(creation(number, at, &key)) };
        PortableContent::Log(Box::new(LogEntry { key: key.clone(), at, cause, change })).into()
    };
    [
        line(assessed, HeardEvent::Created, first),
        line(after(25), HeardEvent::Created, second),
        line(after(3_600), HeardEvent::Deactivated, Change::Heard(HeardEvent::Deactivated)),
        PortableContent::State(key.clone(), Box::new(KeyState::Tracked(Box::new(record)))).into(),
    ]
}

fn creation(number: i64, at: DateTime<Utc>, key: &KeyRef) -> Provenance {
    let actor = number % 5_000;
    let actor = Actor {
        kind: Some("AssumedRole".to_owned()),
        principal: Some(format!(
            "arn:aws:sts::111122223333:assumed-role/role-{}/person-{actor}@example.com",
            actor / 50
        )),
        session_issuer: Some(format!("arn:aws:iam::111122223333:role/role-{}", actor / 50)),
        mfa: Some(true),
        console: false,
        context: ActorContext::default(),
    };
    Provenance {
        account: key.account.clone(),
        event_id: format!("5d1c0001-7b1e-4c3a-9f00-{number:012}").parse().expect("an event id"),
        event_time: at,
        actor,
        source_ip: Some(format!("198.51.100.{}", number % 250)),
        user_agent: Some(format!(
            "aws-cli/2.32.{} os/linux lang/python#3.13.9 md/command#iam.create",
            number % 40
        )),
        corrects: None,
        unreadable: Vec::new(),
    }
}
