//! Shared by the tests: one key with its events and list entries, and a world that performs effects.

mod sweep_world;
mod world;

use std::path::Path;

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{Actor, CreatedKey, KeyTarget, Provenance};
use key_guard_core::evidence::{EventEvidence, Reading};
use key_guard_core::key::{KeyRef, KeyStatus, Service, UserName};
use key_guard_core::lifecycle::input::{Ceiling, Env, Input, KeyEvent, KeyEventKind, ListedKey, WorkerId};
use key_guard_core::policy::Policy;

pub use sweep_world::{ListFault, SweepWorld, account, bad_key, good_key};
pub use world::{Fault, World};

pub const ACCOUNT: &str = "111122223333";
pub const CREDENTIAL: &str = "ACCAEXAMPLE1234567890";

/// This many seconds after noon of 1 March 2026, when the key is created.
pub fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_772_366_400 + seconds, 0).unwrap()
}

pub fn days(days: i64) -> TimeDelta {
    TimeDelta::days(days)
}

pub fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

pub fn key() -> KeyRef {
    KeyRef { account: ACCOUNT.parse().unwrap(), id: CREDENTIAL.parse().unwrap() }
}

pub fn other_key() -> KeyRef {
    KeyRef { account: ACCOUNT.parse().unwrap(), id: "ACCANEIGHBOUR12345678".parse().unwrap() }
}

/// A policy with a limit of 90 days. `rules` comes after `[default]`.
pub fn policy_with(response: &str, rules: &str) -> Policy {
    let grace = if response == "quarantine" { "grace_days = 14\n" } else { "" };
    let text = format!(
        "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"{response}\"\n{grace}{rules}\n"
    );
    Policy::parse(&text, Path::new("policy.toml")).unwrap()
}

pub fn policy(response: &str) -> Policy {
    policy_with(response, "")
}

pub fn env<'a>(policy: &'a Policy, worker: &'a WorkerId, now: Time) -> Env<'a> {
    Env { policy, ceiling: Ceiling::Delete, now, deadline: now + TimeDelta::minutes(5), worker }
}

pub fn worker(name: &str) -> WorkerId {
    WorkerId(name.to_owned())
}

pub fn provenance(time: Time, actor: &str) -> Provenance {
    Provenance {
        account: ACCOUNT.parse().unwrap(),
        event_id: format!("event-{}", time.timestamp()).parse().unwrap(),
        event_time: time,
        actor: Actor { principal: Some(format!("arn:aws:iam::{ACCOUNT}:user/{actor}")), ..Actor::default() },
        source_ip: Some("192.0.2.1".to_owned()),
        user_agent: Some("aws-cli/2".to_owned()),
        corrects: None,
        unreadable: Vec::new(),
    }
}

/// A creation event that shows its request, and names no end.
pub fn evidence(time: Time) -> EventEvidence {
    EventEvidence {
        created_at: Reading::Read(time),
        event_time: time,
        response: Reading::Missing,
        request: Reading::Missing,
        request_present: true,
    }
}

fn event(time: Time, kind: KeyEventKind) -> Input {
    Input::Event(Box::new(KeyEvent { provenance: provenance(time, "mallory"), kind }))
}

fn target() -> KeyTarget {
    KeyTarget { id: key().id, user: Some(user("alice")), service: None }
}

pub fn created_with(time: Time, service: Service, evidence: EventEvidence) -> Input {
    let created = CreatedKey { key: key(), user: user("alice"), service, evidence };
    event(time, KeyEventKind::Created(created))
}

/// A Bedrock key was created that never expires.
pub fn created(time: Time) -> Input {
    created_with(time, Service::Bedrock, evidence(time))
}

/// A Bedrock key was created that lives for so many days.
pub fn created_for(time: Time, lifetime: TimeDelta) -> Input {
    let evidence = EventEvidence { response: Reading::Read(time + lifetime), ..evidence(time) };
    created_with(time, Service::Bedrock, evidence)
}

pub fn activated(time: Time) -> Input {
    event(time, KeyEventKind::Activated(target()))
}

pub fn reset(time: Time) -> Input {
    event(time, KeyEventKind::Reset(target()))
}

pub fn deactivated(time: Time) -> Input {
    event(time, KeyEventKind::Deactivated(target()))
}

pub fn deleted(time: Time) -> Input {
    event(time, KeyEventKind::Deleted(target()))
}

/// The same event, made by another principal.
pub fn made_by(input: Input, actor: &str) -> Input {
    match input {
        Input::Event(mut event) => {
            event.provenance = provenance(event.provenance.event_time, actor);
            Input::Event(event)
        }
        other => other,
    }
}

/// The key as IAM lists it: it never expires.
pub fn listed_key(status: KeyStatus) -> ListedKey {
    ListedKey {
        key: key(),
        user: user("alice"),
        service: Service::Bedrock,
        created_at: at(0),
        expires_at: None,
        status,
    }
}

pub fn listed(status: KeyStatus, asked_at: Time) -> Input {
    Input::Listed { listed: Box::new(listed_key(status)), asked_at }
}

pub fn not_listed(asked_at: Time) -> Input {
    Input::NotListed { first_asked_at: asked_at, last_asked_at: asked_at }
}

/// A Claude Platform key, whose end IAM never shows.
pub fn claude_key(status: KeyStatus) -> ListedKey {
    ListedKey { service: Service::ClaudePlatform, ..listed_key(status) }
}

/// An exemption of `user`, for [`policy_with`].
pub fn exemption(user: &str, until: &str) -> String {
    format!(
        "[[exemption]]\naccount = \"{ACCOUNT}\"\nuser = \"{user}\"\nreason = \"SEC-1\"\nuntil = {until}\n"
    )
}

/// A Claude Platform key in a sweep's list.
pub fn listed_claude(asked_at: Time) -> Input {
    Input::Listed { listed: Box::new(claude_key(KeyStatus::Active)), asked_at }
}
