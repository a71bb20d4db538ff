//! The runtime on the real ledger and on an IAM, each in memory or over HTTP.

mod clock;
mod event;
mod executor;
mod faults;
mod faulty;
mod iam;
mod ledger;
mod recovery;
mod resume;
mod silence;
mod sweep;
mod world;

use std::path::Path;

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{
    Actor, CreatedKey, CredentialEvent, EventKind, KeyTarget, ParsedEvent, Provenance, SetStatus,
};
use key_guard_core::evidence::{EventEvidence, Reading};
use key_guard_core::key::{AccountId, KeyRef, KeyStatus, Service, UserName};
use key_guard_core::lifecycle::input::{Input, KeyEvent, ListedKey};
use key_guard_core::lifecycle::session::Session;
use key_guard_core::policy::Policy;

/// So many seconds after noon of 1 March 2026.
fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_772_366_400 + seconds, 0).unwrap()
}

fn account(number: u64) -> AccountId {
    format!("{number:012}").parse().unwrap()
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

/// A policy with a limit of 90 days.
fn policy(response: &str) -> Policy {
    let grace = if response == "quarantine" { "grace_days = 14\n" } else { "" };
    let text =
        format!("[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"{response}\"\n{grace}");
    Policy::parse(&text, Path::new("policy.toml")).unwrap()
}

/// A Bedrock key that never expires, created at noon.
fn bad_key(account_number: u64, number: u64) -> ListedKey {
    ListedKey {
        key: KeyRef {
            account: account(account_number),
            id: format!("ACCAEXAMPLE{number:010}").parse().unwrap(),
        },
        user: user(&format!("user-{number}")),
        service: Service::Bedrock,
        created_at: at(0),
        expires_at: None,
        status: KeyStatus::Active,
    }
}

/// The same for a month.
fn good_key(account_number: u64, number: u64) -> ListedKey {
    ListedKey { expires_at: Some(at(0) + TimeDelta::days(30)), ..bad_key(account_number, number) }
}

fn provenance(key: &ListedKey, time: Time) -> Provenance {
    Provenance {
        account: key.key.account.clone(),
        event_id: format!("{}-{}", key.key.id, time.timestamp()).parse().unwrap(),
        event_time: time,
        actor: Actor {
            principal: Some("arn:aws:iam::111122223333:user/mallory".to_owned()),
            ..Actor::default()
        },
        source_ip: Some("192.0.2.1".to_owned()),
        user_agent: None,
        corrects: None,
        unreadable: Vec::new(),
    }
}

fn event(key: &ListedKey, time: Time, kind: EventKind) -> CredentialEvent {
    CredentialEvent { provenance: provenance(key, time), kind }
}

/// The key was created.
fn created(key: &ListedKey) -> CredentialEvent {
    let evidence = EventEvidence {
        created_at: Reading::Read(key.created_at),
        event_time: key.created_at,
        response: key.expires_at.map_or(Reading::Missing, Reading::Read),
        request: Reading::Missing,
        request_present: true,
    };
    let ListedKey { user, service, .. } = key.clone();
    let created = CreatedKey { key: key.key.clone(), user, service, evidence };
    event(key, key.created_at, EventKind::Created(created))
}

/// The key was activated.
fn activated(key: &ListedKey, time: Time) -> CredentialEvent {
    let target = KeyTarget { id: key.key.id.clone(), user: Some(key.user.clone()), service: None };
    event(key, time, EventKind::StatusChanged { target, status: SetStatus::Active })
}

/// The key was deactivated by its owner.
fn deactivated(key: &ListedKey, time: Time) -> CredentialEvent {
    let target = KeyTarget { id: key.key.id.clone(), user: Some(key.user.clone()), service: None };
    event(key, time, EventKind::StatusChanged { target, status: SetStatus::Inactive })
}

/// The key was deleted by its owner.
fn deleted(key: &ListedKey, time: Time) -> CredentialEvent {
    let target = KeyTarget { id: key.key.id.clone(), user: Some(key.user.clone()), service: None };
    event(key, time, EventKind::Deleted(target))
}

fn parsed(event: CredentialEvent) -> ParsedEvent {
    ParsedEvent::Relevant(Box::new(event))
}

/// A session for an event about a key.
fn session(event: CredentialEvent) -> Session {
    let event = KeyEvent::new(event).unwrap();
    Session::new(event.key(), Input::Event(Box::new(event)))
}
