//! The ledger's items as DynamoDB has them, and the partitions that its indexes go by.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::{
    Confirmation, Entry, Kind, NewLine, OLDEST_SCHEMA_VERSION, SCHEMA_VERSION, Source, Trigger, Turn, Word,
};
use crate::ledger::Outcome;
use crate::plan::Plan;
use key_guard_core::key::{AccountId, CredentialId, EventId, Expiration, KeyRef, Service, UserName};
use key_guard_core::policy::{Response, Verdict, Violation};

pub(super) const STATE: &str = "STATE";

/// The partition of a key.
pub(super) fn partition(key: &KeyRef) -> String {
    format!("KEY#{}#{}", key.account, key.id)
}

/// The key of an item, for calls that name it.
pub(super) fn place(pk: &str, sk: &str) -> HashMap<String, AttributeValue> {
    [("pk", pk), ("sk", sk)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())))
        .collect()
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExpirationKind {
    Never,
    At,
    Unknown,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PlanKind {
    Record,
    Confirm,
}

/// An item as DynamoDB has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pk: String,
    pub sk: String,
    /// [`SCHEMA_VERSION`].
    pub v: u32,
    pub kind: Kind,
    pub account: AccountId,
    pub service: Service,
    pub user: UserName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_user: Option<UserName>,
    pub credential_id: CredentialId,
    pub created_at: DateTime<Utc>,
    pub expiration: ExpirationKind,
    pub expires_at: Option<DateTime<Utc>>,
    pub verdict: Verdict,
    pub violation: Option<Violation>,
    pub limit_days: u32,
    pub plan: PlanKind,
    pub at_most: Response,
    pub response: Response,
    pub outcome: Outcome,
    pub outcome_rank: u32,
    pub reason: String,
    pub policy_sha256: String,
    #[serde(default)]
    pub event_id: Option<EventId>,
    pub event_time: DateTime<Utc>,
    pub actor: Option<String>,
    pub actor_type: Option<String>,
    pub session_issuer: Option<String>,
    pub mfa: Option<bool>,
    pub console: bool,
    pub source_ip: Option<String>,
    pub user_agent: Option<String>,
    pub source: Source,
    pub rehearsal: bool,
    pub recorded_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_says: Option<Word>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acted_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<DateTime<Utc>>,
    /// From version 3 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivated_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub as_left: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_as: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivated_as: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_after: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "is_zero_days")]
    pub grace_days: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_back: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<DateTime<Utc>>,
    /// How often the state was written; what another ledger counted says nothing here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rev: u64,
    /// The time of a history line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_key: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference to the field")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as above")]
const fn is_zero_days(days: &u32) -> bool {
    *days == 0
}

impl Item {
    pub(super) fn state(entry: &Entry) -> Self {
        Self::of(entry, STATE.to_owned(), Kind::State).indexed()
    }

    pub(super) fn line(entry: &Entry, line: &NewLine) -> Self {
        let time = line.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut item = Self::of(entry, format!("AT#{time}#{}", line.id), line.kind);
        item.at = Some(line.at);
        item.rev = 0;
        match line.kind {
            Kind::State
            | Kind::Judged
            | Kind::SwitchedOn
            | Kind::SwitchedOff
            | Kind::SecretReset
            | Kind::Deleted
            | Kind::Early
            | Kind::Attempt
            | Kind::AccessKeyMade => {}
            Kind::Confirmed | Kind::Settled => item.source = Source::Guard,
        }
        item.indexed()
    }

    /// Sets what the indexes go by.
    pub(super) fn indexed(mut self) -> Self {
        self.pk = partition(&KeyRef { account: self.account.clone(), id: self.credential_id.clone() });
        let (account, id) = (&self.account, &self.credential_id);
        match self.kind {
            Kind::State => {
                let shard = shard(id);
                let actor = Names::of(self.actor.as_deref(), self.session_issuer.as_deref());
                self.user_key = Some(name_key(&index_user(&self.user)));
                self.actor_key = actor.name.as_deref().map(name_key);
                self.role_key = actor.role.as_deref().map(role_key);
                self.day_key = Some(day_key(self.event_time.date_naive(), shard));
                self.account_key = Some(account_key(account, shard % FEW));
                self.id_key = Some(id_key(id));
                self.open_key = (!self.outcome.is_settled()).then(|| open_key(shard % FEW));
            }
            Kind::Judged
            | Kind::SwitchedOn
            | Kind::SwitchedOff
            | Kind::SecretReset
            | Kind::Deleted
            | Kind::Early
            | Kind::Attempt
            | Kind::AccessKeyMade => return self,
            // The key is found by the name that its user had before, too.
            Kind::Confirmed | Kind::Settled => match &self.former_user {
                None => return self,
                Some(former) => self.user_key = Some(name_key(&index_user(former))),
            },
        }
        self.at_key = Some(at_key(self.event_time, id));
        self
    }

    /// Reads an item.
    ///
    /// # Errors
    /// What is wrong with it, in words: an unknown schema version, or a field that is missing or impossible.
    pub(super) fn read(item: HashMap<String, AttributeValue>) -> Result<Self, String> {
        match item.get("v").and_then(|version| version.as_n().ok()) {
            Some(version) => known_version(version)?,
            None => return Err("it has no schema version, so it is not the guard's".to_owned()),
        }
        let item: Self = serde_dynamo::from_item(item).map_err(|error| error.to_string())?;
        if (item.kind == Kind::State) != (item.sk == STATE) {
            return Err("its kind and its sort key contradict each other".to_owned());
        }
        Ok(item)
    }

    fn of(entry: &Entry, sk: String, kind: Kind) -> Self {
        let (expiration, expires_at) = match entry.expiration {
            None => (ExpirationKind::Unknown, None),
            Some(Expiration::Never) => (ExpirationKind::Never, None),
            Some(Expiration::At(end)) => (ExpirationKind::At, Some(end)),
        };
        let (plan, at_most) = match entry.plan {
            Plan::Record(_) => (PlanKind::Record, entry.response),
            Plan::Confirm(at_most) => (PlanKind::Confirm, at_most),
        };
        Self {
            pk: String::new(),
            sk,
            v: SCHEMA_VERSION,
            kind,
            account: entry.key.account.clone(),
            service: entry.service.clone(),
            user: entry.user.clone(),
            former_user: entry.former_user.clone(),
            credential_id: entry.key.id.clone(),
            created_at: entry.created_at,
            expiration,
            expires_at,
            verdict: entry.standing,
            violation: entry.violation,
            limit_days: entry.limit_days,
            plan,
            at_most,
            response: entry.response,
            outcome: entry.outcome,
            outcome_rank: entry.outcome.rank(),
            reason: entry.reason.clone(),
            policy_sha256: entry.policy_sha256.clone(),
            event_id: entry.event_id.clone(),
            event_time: entry.event_time,
            actor: entry.actor.principal.clone(),
            actor_type: entry.actor.kind.clone(),
            session_issuer: entry.actor.session_issuer.clone(),
            mfa: entry.actor.mfa,
            console: entry.actor.console,
            source_ip: entry.source_ip.clone(),
            user_agent: entry.user_agent.clone(),
            source: entry.source,
            rehearsal: entry.rehearsal,
            recorded_at: entry.recorded_at,
            confirmed_at: entry.confirmed.map(|confirmed| confirmed.at),
            iam_says: entry.confirmed.map(|confirmed| confirmed.word),
            acted_at: entry.acted_at,
            settled_at: entry.settled_at,
            turn: Some(entry.turn.clone()),
            deactivated_at: entry.deactivated_at,
            as_left: entry.as_left,
            touched_at: entry.touched_at,
            reset_at: entry.reset_at,
            begun_at: entry.begun_at,
            begun_as: entry.begun_as.clone(),
            deactivated_as: entry.deactivated_as.clone(),
            delete_after: entry.delete_after,
            grace_days: entry.grace_days,
            held_back: entry.held_back,
            deleted_by: entry.deleted_by.clone(),
            deleted_at: entry.deleted_at,
            rev: entry.rev,
            at: None,
            user_key: None,
            actor_key: None,
            day_key: None,
            account_key: None,
            id_key: None,
            open_key: None,
            role_key: None,
            at_key: None,
        }
    }

    /// What it was last judged for.
    pub(super) fn turn(&self) -> Turn {
        self.turn.clone().unwrap_or_else(|| Turn {
            // Until version 2 every entry was a new key's.
            at: self.event_time,
            trigger: Trigger::Created,
            id: self.event_id.as_ref().map_or_else(|| "none".to_owned(), EventId::to_string),
        })
    }

    pub(super) fn entry(self) -> Result<Entry, String> {
        let expiration = match (self.expiration, self.expires_at) {
            (ExpirationKind::Never, None) => Some(Expiration::Never),
            (ExpirationKind::At, Some(end)) => Some(Expiration::At(end)),
            (ExpirationKind::Unknown, None) => None,
            _ => return Err("expiration and expires_at contradict each other".to_owned()),
        };
        let confirmed = match (self.confirmed_at, self.iam_says) {
            (None, None) => None,
            (Some(at), Some(word)) => Some(Confirmation { at, word }),
            _ => return Err("confirmed_at and iam_says contradict each other".to_owned()),
        };
        let turn = self.turn();
        let mut entry = Entry {
            key: KeyRef { account: self.account, id: self.credential_id },
            user: self.user,
            former_user: self.former_user,
            service: self.service,
            created_at: self.created_at,
            expiration,
            standing: self.verdict,
            violation: self.violation,
            limit_days: self.limit_days,
            plan: match self.plan {
                PlanKind::Record => Plan::Record(self.outcome),
                PlanKind::Confirm => Plan::Confirm(self.at_most),
            },
            response: self.response,
            outcome: self.outcome,
            reason: self.reason,
            policy_sha256: self.policy_sha256,
            turn,
            event_id: self.event_id,
            event_time: self.event_time,
            actor: key_guard_core::cloudtrail::Actor {
                kind: self.actor_type,
                principal: self.actor,
                session_issuer: self.session_issuer,
                mfa: self.mfa,
                console: self.console,
            },
            source_ip: self.source_ip,
            user_agent: self.user_agent,
            source: self.source,
            rehearsal: self.rehearsal,
            recorded_at: self.recorded_at,
            confirmed,
            acted_at: self.acted_at,
            settled_at: self.settled_at,
            touched_at: self.touched_at,
            reset_at: self.reset_at,
            begun_at: self.begun_at,
            begun_as: self.begun_as,
            deactivated_as: self.deactivated_as,
            as_left: self.as_left || (self.v, self.outcome) == (2, Outcome::Deactivated),
            deactivated_at: match (self.v, self.outcome) {
                // Until version 2 that was not written apart.
                (2, Outcome::Deactivated) => self.acted_at,
                _ => self.deactivated_at,
            },
            delete_after: self.delete_after,
            grace_days: self.grace_days,
            held_back: self.held_back,
            deleted_by: self.deleted_by,
            deleted_at: self.deleted_at,
            rev: self.rev,
        };
        // Merging may have brought together who switched it off and who touched it since.
        entry.touch(entry.touched_at);
        Ok(entry)
    }
}

/// Whether this build reads items of a version.
///
/// # Errors
/// That it does not, in words.
pub(super) fn known_version(version: &str) -> Result<(), String> {
    match version.parse::<u32>() {
        Ok(OLDEST_SCHEMA_VERSION..=SCHEMA_VERSION) => Ok(()),
        Ok(_) | Err(_) => Err(format!(
            "its schema version is {version}; this build reads {OLDEST_SCHEMA_VERSION} to {SCHEMA_VERSION}"
        )),
    }
}

/// How many partitions a day has.
pub(super) const MANY: u32 = 16;
/// How many partitions an account has, and what is open.
pub(super) const FEW: u32 = 4;

/// The partition of a name: of a user in `by_user`, of an actor in `by_actor`; whatever the account.
pub(super) fn name_key(name: &str) -> String {
    format!("NAME#{name}")
}

/// The partition of a role's name.
pub(super) fn role_key(role: &str) -> String {
    format!("ROLE#{role}")
}

/// One of an account's partitions.
pub(super) fn account_key(account: &AccountId, shard: u32) -> String {
    format!("ACCOUNT#{account}#{shard:x}")
}

/// The partition of a credential id, whatever the account.
pub(super) fn id_key(id: &CredentialId) -> String {
    format!("ID#{id}")
}

/// One of the partitions of what is not settled.
pub(super) fn open_key(shard: u32) -> String {
    format!("OPEN#{shard:x}")
}

/// One of a day's partitions.
pub(super) fn day_key(day: NaiveDate, shard: u32) -> String {
    format!("DAY#{day}#{shard:x}")
}

/// What every index sorts by.
pub(super) fn at_key(event_time: DateTime<Utc>, id: &CredentialId) -> String {
    format!("{}#{id}", to_second(event_time))
}

/// A time as it begins a sort key: always of the same form, so that texts sort as times do.
pub(super) fn to_second(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Which of a day's partitions a key's entry is in: the same wherever it is computed (FNV-1a).
pub(super) fn shard(id: &CredentialId) -> u32 {
    let hash = id
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) % MANY
}

/// What people remember of a principal, in lowercase and as the indexes have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names {
    /// The last part: an IAM user, a role session (often an e-mail address), `root`, a service.
    pub name: Option<String>,
    /// The role, or the permission set behind a role of IAM Identity Center.
    pub role: Option<String>,
}

impl Names {
    /// Of a principal and of the role that it assumed.
    pub(super) fn of(principal: Option<&str>, session_issuer: Option<&str>) -> Self {
        let resource = |arn: &str| arn.splitn(6, ':').nth(5).map(str::to_owned);
        let (mut name, mut role) = (None, None);
        if let Some(principal) = principal {
            match resource(principal) {
                None => name = Some(index_name(principal)),
                Some(resource) => {
                    let mut parts = resource.split('/');
                    if parts.next() == Some("assumed-role") {
                        role = parts.next().map(index_role);
                    }
                    name = resource.rsplit('/').next().map(index_name);
                }
            }
        }
        if role.is_none() {
            role = session_issuer
                .and_then(resource)
                .and_then(|resource| resource.strip_prefix("role/").map(str::to_owned))
                .and_then(|path| path.rsplit('/').next().map(index_role));
        }
        Self { name: name.filter(|name| !name.is_empty()), role: role.filter(|role| !role.is_empty()) }
    }
}

/// A user as `by_user` has it.
pub(super) fn index_user(user: &UserName) -> String {
    user.as_str().to_ascii_lowercase()
}

/// A name as `by_actor` has it: an e-mail address is found by what is before its `@`, too.
pub(super) fn index_name(name: &str) -> String {
    fit_for_a_key(name.split('@').next().filter(|local| !local.is_empty()).unwrap_or(name))
}

/// A role's name as `by_role` has it.
pub(super) fn index_role(name: &str) -> String {
    fit_for_a_key(permission_set(name))
}

/// DynamoDB's keys end at 2,048 bytes (DynamoDB developer guide, *Quotas*), and an event's text may be longer, if
/// no real name is.
fn fit_for_a_key(name: &str) -> String {
    const LONGEST: usize = 500;
    name.chars().take(LONGEST).collect::<String>().to_ascii_lowercase()
}

/// The permission set behind a role of IAM Identity Center, which wraps its name into
/// `AWSReservedSSO_<name>_<16 hexadecimal digits>` (IAM Identity Center user guide, *Referencing permission sets
/// in resource policies*); any other role's own name.
#[must_use]
pub fn permission_set(role: &str) -> &str {
    role.strip_prefix("AWSReservedSSO_")
        .and_then(|rest| rest.rsplit_once('_'))
        .filter(|(_, suffix)| suffix.len() == 16 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map_or(role, |(set, _)| set)
}
