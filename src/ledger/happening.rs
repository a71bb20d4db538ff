//! What happened that is no state of a key: attempts that failed, access keys for users that the console made, and
//! what happened to keys that the ledger does not know.
//!
//! Attempts and access keys are found by account, actor, role, user and day, in partitions of their own of the same
//! indexes as keys: `TRIED#` stands in front of each partition key. What happened to a key is found by its id.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

#[cfg(feature = "cli")]
use super::Entry;
use super::item::{self, Names};
use super::{Kind, SCHEMA_VERSION, Source};
use key_guard_core::cloudtrail::{Actor, Provenance};
use key_guard_core::key::{AccountId, CredentialId, EventId, KeyRef, Service, UserName};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// What.
    pub kind: Kind,
    /// In which account.
    pub account: AccountId,
    /// To which key, where that is known.
    pub credential_id: Option<CredentialId>,
    /// To which user, where that is known.
    pub user: Option<UserName>,
    /// For which service, where that is known.
    pub service: Option<Service>,
    /// In words.
    pub what: String,
    /// The event's id.
    pub event_id: EventId,
    /// The event's time.
    pub event_time: DateTime<Utc>,
    /// Who made the call.
    pub actor: Actor,
    /// From where.
    pub source_ip: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// Which door this came through.
    pub source: Source,
    /// When the guard wrote it down.
    pub recorded_at: DateTime<Utc>,
}

impl Happening {
    /// Of an event.
    #[must_use]
    pub fn of(event: &Provenance, kind: Kind, what: String, source: Source, now: DateTime<Utc>) -> Self {
        Self {
            kind,
            account: event.account.clone(),
            credential_id: None,
            user: None,
            service: None,
            what,
            event_id: event.event_id.clone(),
            event_time: event.event_time,
            actor: event.actor.clone(),
            source_ip: event.source_ip.clone(),
            user_agent: event.user_agent.clone(),
            source,
            recorded_at: now,
        }
    }

    /// As a line of the history of a key that became known later.
    #[cfg(feature = "cli")]
    pub(super) fn told_of(self, state: &Entry) -> Entry {
        Entry {
            event_id: Some(self.event_id),
            event_time: self.event_time,
            actor: self.actor,
            source_ip: self.source_ip,
            user_agent: self.user_agent,
            source: self.source,
            reason: self.what,
            recorded_at: self.recorded_at,
            ..state.clone()
        }
    }

    /// The key, where that is known.
    #[cfg(feature = "cli")]
    #[must_use]
    pub fn key(&self) -> Option<KeyRef> {
        self.credential_id.clone().map(|id| KeyRef { account: self.account.clone(), id })
    }

    /// The partition that it is in: the key's, or its own.
    pub(super) fn partition(&self) -> String {
        match &self.credential_id {
            Some(id) => item::partition(&KeyRef { account: self.account.clone(), id: id.clone() }),
            None => format!("{TRIED}{}#{}", self.account, self.event_id),
        }
    }
}

/// In front of the partition keys of what was tried.
pub(super) const TRIED: &str = "TRIED#";

/// The partition of a day's attempts.
pub(super) fn tried_day(day: NaiveDate) -> String {
    format!("{TRIED}DAY#{day}")
}

/// The partition of an account's attempts.
pub(super) fn tried_account(account: &AccountId) -> String {
    format!("{TRIED}ACCOUNT#{account}")
}

/// It as DynamoDB has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HappeningItem {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pk: String,
    pub sk: String,
    pub v: u32,
    pub kind: Kind,
    pub account: AccountId,
    pub credential_id: Option<CredentialId>,
    pub user: Option<UserName>,
    pub service: Option<Service>,
    /// No state and no history line has it: what an item is told by.
    pub what: String,
    pub event_id: EventId,
    pub event_time: DateTime<Utc>,
    pub actor: Option<String>,
    pub actor_type: Option<String>,
    pub session_issuer: Option<String>,
    pub mfa: Option<bool>,
    pub console: bool,
    pub source_ip: Option<String>,
    pub user_agent: Option<String>,
    pub source: Source,
    pub recorded_at: DateTime<Utc>,
    /// As a state's, for what takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_key: Option<String>,
}

impl HappeningItem {
    /// Its line; or, with `gone`, what stands for the state of a key that was deleted before it was known.
    pub(super) fn new(happening: &Happening, gone: bool) -> Self {
        let time = item::to_second(happening.event_time);
        let Happening { actor, .. } = happening;
        Self {
            pk: String::new(),
            sk: if gone { item::STATE.to_owned() } else { format!("AT#{time}#{}", happening.event_id) },
            v: SCHEMA_VERSION,
            kind: if gone { Kind::Early } else { happening.kind },
            account: happening.account.clone(),
            credential_id: happening.credential_id.clone(),
            user: happening.user.clone(),
            service: happening.service.clone(),
            what: happening.what.clone(),
            event_id: happening.event_id.clone(),
            event_time: happening.event_time,
            actor: actor.principal.clone(),
            actor_type: actor.kind.clone(),
            session_issuer: actor.session_issuer.clone(),
            mfa: actor.mfa,
            console: actor.console,
            source_ip: happening.source_ip.clone(),
            user_agent: happening.user_agent.clone(),
            source: happening.source,
            recorded_at: happening.recorded_at,
            rev: gone.then_some(0),
            user_key: None,
            actor_key: None,
            role_key: None,
            day_key: None,
            account_key: None,
            id_key: None,
            at_key: None,
        }
        .indexed()
    }

    /// Sets what a table adds.
    pub(super) fn indexed(mut self) -> Self {
        self.pk = Happening::from(self.clone()).partition();
        let place = format!("{}#{}", item::to_second(self.event_time), self.event_id);
        if let Some(id) = &self.credential_id {
            // What stands for a state has lines beside it.
            if self.kind != Kind::Early {
                (self.id_key, self.at_key) = (Some(item::id_key(id)), Some(place));
            }
        } else {
            let names = Names::of(self.actor.as_deref(), self.session_issuer.as_deref());
            let tried = |key: String| format!("{TRIED}{key}");
            self.user_key = self.user.as_ref().map(|user| tried(item::name_key(&item::index_user(user))));
            self.actor_key = names.name.as_deref().map(item::name_key).map(tried);
            self.role_key = names.role.as_deref().map(item::role_key).map(tried);
            self.day_key = Some(tried_day(self.event_time.date_naive()));
            self.account_key = Some(tried_account(&self.account));
            self.at_key = Some(place);
        }
        self
    }

    /// Without what a table adds.
    #[cfg(feature = "cli")]
    pub(super) fn portable(mut self) -> Self {
        self.pk = String::new();
        for key in [
            &mut self.user_key,
            &mut self.actor_key,
            &mut self.role_key,
            &mut self.day_key,
            &mut self.account_key,
            &mut self.id_key,
            &mut self.at_key,
        ] {
            *key = None;
        }
        self
    }

    /// Whether an item is one.
    pub(super) fn is(attributes: &HashMap<String, AttributeValue>) -> bool {
        attributes.contains_key("what")
    }

    /// Reads an item.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(attributes: HashMap<String, AttributeValue>) -> Result<Self, String> {
        match attributes.get("v").and_then(|version| version.as_n().ok()) {
            Some(version) => item::known_version(version)?,
            None => return Err("it has no schema version, so it is not the guard's".to_owned()),
        }
        serde_dynamo::from_item(attributes).map_err(|error| error.to_string())
    }
}

impl From<HappeningItem> for Happening {
    fn from(item: HappeningItem) -> Self {
        Self {
            kind: item.kind,
            account: item.account,
            credential_id: item.credential_id,
            user: item.user,
            service: item.service,
            what: item.what,
            event_id: item.event_id,
            event_time: item.event_time,
            actor: Actor {
                kind: item.actor_type,
                principal: item.actor,
                session_issuer: item.session_issuer,
                mfa: item.mfa,
                console: item.console,
            },
            source_ip: item.source_ip,
            user_agent: item.user_agent,
            source: item.source,
            recorded_at: item.recorded_at,
        }
    }
}
