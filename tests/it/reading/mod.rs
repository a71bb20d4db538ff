//! What readers of the ledger get: the answers to questions, the history of a key, exports and imports, and what the
//! command line prints of them.
//!
//! The tests whose names begin with `ledger_` run against whatever DynamoDB `KEY_GUARD_TEST_DYNAMODB` names, and against
//! one of this process otherwise.

mod commands;
mod golden;
mod portable;
mod questions;
mod report;
mod timeline;

use std::path::Path;

use bedrock_key_guard::ledger::Durability;
use bedrock_key_guard::ledger::audit::AuditEvent;
use bedrock_key_guard::ledger::store::Ledger;
use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{EventKind, ParsedEvent, Provenance, parse_record};
use key_guard_core::evidence::ExpirationEvidence;
use key_guard_core::key::{KeyFacts, KeyRef, KeyStatus};
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState};
use key_guard_core::lifecycle::effect::{Cause, Change, Commit, HeardEvent, LogEntry};
use key_guard_core::lifecycle::input::{
    Action, Ceiling, Env, Input, KeyEvent, Trigger, TriggerKind, WorkerId,
};
use key_guard_core::lifecycle::standing::GUARD;
use key_guard_core::lifecycle::state::{
    Deactivation, GoneEvidence, Intent, IntentId, KeyState, LastSeen, Lease, Phase, Record, UnknownFields,
    Version,
};
use key_guard_core::policy::{Policy, Verdict};
use key_guard_core::ports::{CommitReply, KeyStore as _};
use serde_json::{Value, json};

use crate::support::dynamodb::Place;
use crate::support::{OTHER, OWN};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn now() -> Time {
    time("2026-11-24T12:00:00Z")
}

fn policy() -> Policy {
    let text = "[default]\nservices = [\"bedrock.amazonaws.com\", \"logs.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    Policy::parse(text, Path::new("policy.toml")).unwrap()
}

/// What became of a key that was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Settled if it is compliant, otherwise pending.
    Open,
    Deactivated,
    Deleted,
    Absent,
}

/// A key to be in the ledger.
#[derive(Clone, Copy)]
pub struct TestKey {
    pub id: &'static str,
    account: &'static str,
    user: &'static str,
    service: &'static str,
    at: &'static str,
    days: Option<i64>,
    by: &'static str,
    issuer: Option<&'static str>,
    from: &'static str,
    fate: Fate,
}

const MARIA: &str = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_DeveloperAccess_0123456789abcdef/maria.lopez@example.com";
const MARIAS_ROLE: &str = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_DeveloperAccess_0123456789abcdef";
const CI: &str = "arn:aws:sts::444455556666:assumed-role/ci-deploy/deploy-4711";
const CI_ROLE: &str = "arn:aws:iam::444455556666:role/ci-deploy";
const JAN: &str = "arn:aws:iam::111122223333:user/staff/jan.kowalski";

/// Seven keys of two accounts over three months, oldest first.
pub const KEYS: [TestKey; 7] = [
    TestKey {
        id: "ACCALOOKUP00000000001",
        account: OWN,
        user: "svc-old",
        service: "bedrock.amazonaws.com",
        at: "2026-08-01T09:00:00Z",
        days: Some(30),
        by: JAN,
        issuer: None,
        from: "198.51.100.1",
        fate: Fate::Open,
    },
    TestKey {
        id: "ACCALOOKUP00000000002",
        account: OWN,
        user: "svc-chatbot",
        service: "bedrock.amazonaws.com",
        at: "2026-11-01T09:00:00Z",
        days: None,
        by: MARIA,
        issuer: Some(MARIAS_ROLE),
        from: "198.51.100.2",
        fate: Fate::Deleted,
    },
    TestKey {
        id: "ACCALOOKUP00000000003",
        account: OTHER,
        user: "svc-chatbot",
        service: "logs.amazonaws.com",
        at: "2026-11-10T09:00:00Z",
        days: Some(365),
        by: CI,
        issuer: Some(CI_ROLE),
        from: "203.0.113.3",
        fate: Fate::Deactivated,
    },
    TestKey {
        id: "ACCALOOKUP00000000004",
        account: OTHER,
        user: "svc-search",
        service: "bedrock.amazonaws.com",
        at: "2026-11-20T09:00:00Z",
        days: Some(90),
        by: CI,
        issuer: Some(CI_ROLE),
        from: "203.0.113.3",
        fate: Fate::Open,
    },
    TestKey {
        id: "ACCALOOKUP00000000005",
        account: OWN,
        user: "Svc-Chatbot",
        service: "bedrock.amazonaws.com",
        at: "2026-11-20T10:00:00Z",
        days: Some(91),
        by: MARIA,
        issuer: Some(MARIAS_ROLE),
        from: "198.51.100.2",
        fate: Fate::Open,
    },
    TestKey {
        id: "ACCALOOKUP00000000006",
        account: OWN,
        user: "svc-root",
        service: "bedrock.amazonaws.com",
        at: "2026-11-20T10:00:00Z",
        days: Some(10),
        by: "arn:aws:iam::111122223333:root",
        issuer: None,
        from: "198.51.100.1",
        fate: Fate::Open,
    },
    TestKey {
        id: "ACCALOOKUP00000000007",
        account: OWN,
        user: "svc-mail",
        service: "bedrock.amazonaws.com",
        at: "2026-11-23T09:00:00Z",
        days: None,
        by: "arn:aws:sts::111122223333:assumed-role/support/maria.lopez@partner.example",
        issuer: None,
        from: "198.51.100.2",
        fate: Fate::Absent,
    },
];

impl TestKey {
    fn key(&self) -> KeyRef {
        KeyRef { account: self.account.parse().unwrap(), id: self.id.parse().unwrap() }
    }

    /// Its creation event.
    fn event(&self) -> Value {
        let created = time(self.at);
        let mut credential = json!({
            "serviceSpecificCredentialId": self.id, "userName": self.user, "serviceName": self.service,
            "createDate": created.to_rfc3339(),
        });
        if let Some(days) = self.days {
            credential["expirationDate"] = json!((created + TimeDelta::days(days)).to_rfc3339());
        }
        json!({
            "eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential",
            "eventTime": self.at, "eventID": format!("event-of-{}", self.id),
            "recipientAccountId": self.account, "sourceIPAddress": self.from, "userAgent": "aws-cli/2",
            "userIdentity": {
                "type": "AssumedRole", "arn": self.by,
                "sessionContext": {"sessionIssuer": {"arn": self.issuer}, "attributes": {"mfaAuthenticated": "true"}},
            },
            "responseElements": {"serviceSpecificCredential": credential},
        })
    }

    fn provenance(&self) -> Provenance {
        let ParsedEvent::Relevant(event) = parse_record(&self.event()).unwrap() else { panic!() };
        event.provenance
    }

    /// As a session leaves it that has dealt with its creation event.
    fn record(&self) -> Record {
        let ParsedEvent::Relevant(event) = parse_record(&self.event()).unwrap() else { panic!() };
        let EventKind::Created(created) = &event.kind else { panic!() };
        let at = event.provenance.event_time;
        let evidence = ExpirationEvidence::from(created.evidence.clone());
        let facts = KeyFacts {
            key: created.key.clone(),
            user: created.user.clone(),
            other_names: std::collections::BTreeSet::new(),
            service: created.service.clone(),
            created_at: evidence.created_at().unwrap(),
        };
        let assessment = policy().assess(&facts, &evidence, at);
        let mut record = Record {
            facts,
            evidence,
            creation: Some(event.provenance.clone()),
            assessment,
            handled_through: None,
            delete_after: None,
            observation: None,
            last_seen: Some(LastSeen::of_creation(&event.provenance)),
            policy_sha256: policy().sha256().to_owned(),
            first_assessed: self.after(4),
            changed_at: self.after(4),
            unreported: false,
            phase: Phase::Settled,
            unknown_fields: UnknownFields::default(),
        };
        if record.verdict() == Some(Verdict::Noncompliant) {
            record.phase = Phase::Pending(self.intent());
        }
        record
    }

    fn intent(&self) -> Intent {
        let opened_by = WorkerId("worker".to_owned());
        Intent {
            id: IntentId { opened_by: opened_by.clone(), authorised_at: self.after(4) },
            action: Action::Delete,
            trigger: Trigger { kind: TriggerKind::Created, at: time(self.at) },
            downgraded: None,
            lease: Some(Lease { holder: opened_by, until: self.after(49) }),
        }
    }

    /// What follows from its fate.
    fn ended(&self) -> Option<(Record, Change)> {
        let mut record = self.record();
        let at = self.after(7);
        let intent = self.intent().id;
        let change = match self.fate {
            Fate::Open => return None,
            Fate::Deactivated => {
                record.phase = Phase::Deactivated(Deactivation { at, downgraded: None });
                record.last_seen = Some(LastSeen {
                    since: Some(at),
                    by: Some(GUARD.to_owned()),
                    ..LastSeen::of_listing(KeyStatus::Inactive, at)
                });
                Change::Acted { intent, action: Action::Deactivate }
            }
            Fate::Deleted => {
                record.phase = Phase::Gone(GoneEvidence::DeletedByGuard { at });
                Change::Acted { intent, action: Action::Delete }
            }
            Fate::Absent => {
                record.phase = Phase::Gone(GoneEvidence::Absent { at });
                Change::Gone
            }
        };
        record.changed_at = at;
        Some((record, change))
    }

    fn after(&self, seconds: i64) -> Time {
        time(self.at) + TimeDelta::seconds(seconds)
    }

    /// Writes it as two sessions' commits.
    async fn write(&self, store: &Ledger) {
        let record = self.record();
        let change = match &record.phase {
            Phase::Pending(intent) => Change::Intended {
                intent: intent.id.clone(),
                action: intent.action,
                trigger: intent.trigger.kind,
            },
            _ => Change::Assessed,
        };
        let cause = caused_by(HeardEvent::Created, self.provenance());
        commit(store, 0, record, line(self, 4, cause.clone(), change)).await;
        if let Some((record, change)) = self.ended() {
            commit(store, 1, record, line(self, 7, cause, change)).await;
        }
    }

    /// The dry run of its creation event.
    fn dry_run(&self, policy: &Policy, at: Time) -> DryRun {
        dry_run_of(&self.event(), None, policy, at).unwrap().assessed().unwrap().clone()
    }
}

fn caused_by(heard: HeardEvent, provenance: Provenance) -> Cause {
    Cause::Event { heard, provenance: Box::new(provenance) }
}

fn line(key: &TestKey, seconds: i64, cause: Cause, change: Change) -> LogEntry {
    LogEntry { key: key.key(), at: key.after(seconds), cause, change }
}

/// An event of a key, such as its deactivation, `seconds` after its creation.
fn heard(key: &TestKey, seconds: i64, heard: HeardEvent, by: &str) -> LogEntry {
    let mut provenance = key.provenance();
    provenance.event_id = format!("event-{seconds}-of-{}", key.id).parse().unwrap();
    provenance.event_time = key.after(seconds);
    provenance.actor.principal = Some(by.to_owned());
    provenance.actor.session_issuer = None;
    line(key, seconds, caused_by(heard, provenance), Change::Heard(heard))
}

async fn commit(store: &Ledger, expected: u64, record: Record, log: LogEntry) {
    commit_state(store, expected, KeyState::Tracked(Box::new(record)), log).await;
}

async fn commit_state(store: &Ledger, expected: u64, next: KeyState, log: LogEntry) {
    let commit = Commit { key: log.key.clone(), expected: Version(expected), next, log, counts: None };
    let reply = store.commit(&[commit]).await.remove(0).unwrap();
    assert_eq!(reply, CommitReply::Committed(Version(expected + 1)));
}

async fn put_dry_run(store: &Ledger, dry_run: impl Into<DryRunState>) {
    let dry_run = dry_run.into();
    let stored = store.load_dry_runs(&[dry_run.key().clone()]).await.remove(0).unwrap();
    let expected = stored.map_or(Version::ABSENT, |(_, version)| version);
    assert!(store.put_dry_runs(&[(dry_run, expected)]).await.remove(0).unwrap());
}

/// What a replay of an event stores without `--apply`.
fn dry_run_of(
    event: &Value,
    earlier: Option<&DryRunState>,
    policy: &Policy,
    at: Time,
) -> Option<DryRunState> {
    let ParsedEvent::Relevant(event) = bedrock_key_guard::event::parse(event).ok()? else {
        return None;
    };
    let worker = WorkerId("replay".to_owned());
    let env = Env { policy, ceiling: Ceiling::Delete, now: at, deadline: at, worker: &worker };
    DryRunState::next(&Input::Event(Box::new(KeyEvent::new(*event)?)), earlier, &env)
}

/// An empty store. `name` is its test's.
async fn open(name: &str) -> (Place, Ledger) {
    let place = Place::new(&format!("reading-{name}")).await;
    let store = Ledger::dynamodb(place.client.clone(), &place.table);
    (place, store)
}

/// One with [`KEYS`].
async fn with_keys(name: &str) -> (Place, Ledger) {
    let (place, store) = open(name).await;
    write_keys(&store).await;
    if let Some(dynamo) = &place.embedded {
        dynamo.forget_calls();
    }
    (place, store)
}

/// What `replay events/` writes into an empty ledger.
pub async fn replay(store: &Ledger) {
    let policy = Policy::built_in().unwrap();
    for (_, event) in crate::support::events() {
        let Ok(ParsedEvent::Relevant(relevant)) = bedrock_key_guard::event::parse(&event) else {
            continue;
        };
        if relevant.irrelevance(false).is_some() {
            continue;
        }
        if let Some(audit_event) = AuditEvent::new(*relevant.clone()) {
            store.record_audit_events(&[audit_event]).await.remove(0).unwrap();
        }
        let Some(key_event) = KeyEvent::new(*relevant) else { continue };
        let earlier = store.load_dry_runs(&[key_event.key()]).await.remove(0).unwrap();
        let at = time("2026-11-24T12:58:20Z");
        let earlier = earlier.as_ref().map(|(dry_run, _)| dry_run);
        if let Some(dry_run) = dry_run_of(&event, earlier, &policy, at) {
            put_dry_run(store, dry_run).await;
        }
    }
}

/// [`KEYS`], and their history.
pub async fn write_keys(store: &Ledger) {
    for key in KEYS {
        key.write(store).await;
    }
}

/// A ledger file.
pub fn file(path: &Path) -> Ledger {
    Ledger::open_file(path, Durability::Soon).unwrap()
}

pub fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
