//! The record of keys: what an entry is, and its DynamoDB items.
//!
//! One implementation, spoken to through `aws-sdk-dynamodb`: AWS's DynamoDB in production, an embedded one
//! on a laptop and in tests ([`embedded`]).
//!
//! | item | `pk` | `sk` |
//! | --- | --- | --- |
//! | the key as it stands | `KEY#<account>#<credential id>` | `STATE` |
//! | its history, append-only | the same | `AT#<time>#<event id or action id>` |
//!
//! | index | partition key | holds |
//! | --- | --- | --- |
//! | `by_user` | `user_key`: `USER#<account>#<user name in lowercase>` | `STATE` items |
//! | `by_actor` | `actor_key`: `ACTOR#<principal ARN>` | `STATE` items |
//! | `by_day` | `day_key`: `DAY#<date of the event>#<0 to f>` | `STATE` items, spread over 16 partitions a day |
//!
//! All three sort by `at_key`: `<event time>#<credential id>`. Opening an entry with its first history
//! line is one call, and so is settling it.

#[cfg(feature = "cli")]
pub mod embedded;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, CancellationReason, GlobalSecondaryIndex,
    KeySchemaElement, KeyType, Projection, ProjectionType, Put, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TransactWriteItem,
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::rfc3339;
use crate::enforce::{Ledger, Opened, Settled};
use crate::event::Provenance;
use crate::key::{
    AccountId, CredentialId, EventId, Evidence, Expiration, Key, KeyRef, Lifetime, Service, UserName, days,
};
use crate::plan::{Hands, Plan};
use crate::policy::{Judgement, Response, Standing, Violation};
use crate::report::{Outcome, Report};

/// The version of the items that this build writes, and the only one that it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The indexes, with their partition keys. All sort by `at_key`.
pub const INDEXES: [(&str, &str); 3] =
    [("by_user", "user_key"), ("by_actor", "actor_key"), ("by_day", "day_key")];

/// Which door an entry came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An event delivered to the Lambda.
    Event,
    /// `replay`.
    Replay,
}

/// A key as the ledger knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which key.
    pub key: KeyRef,
    /// Its user, as last known.
    pub user: UserName,
    /// Its service.
    pub service: Service,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends; `None`: that could not be read.
    pub expiration: Option<Expiration>,
    /// How it stands.
    pub standing: Standing,
    /// What is wrong with it.
    pub violation: Option<Violation>,
    /// The limit that applied, in days.
    pub limit_days: u32,
    /// What was decided when the entry was opened.
    pub plan: Plan,
    /// What it gets, after the ceiling.
    pub response: Response,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in words.
    pub reason: String,
    /// The policy that judged it.
    pub policy_sha256: String,
    /// The event's id.
    pub event_id: EventId,
    /// The event's time.
    pub event_time: DateTime<Utc>,
    /// Who made the call.
    pub actor: crate::event::Actor,
    /// From where.
    pub source_ip: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// Which door this came through.
    pub source: Source,
    /// Made without any right to act: the first real delivery takes its place.
    pub rehearsal: bool,
}

impl Entry {
    /// The entry of a freshly judged key.
    #[expect(
        clippy::too_many_arguments,
        reason = "one place makes entries, and each part comes from another"
    )]
    #[must_use]
    pub fn new(
        key: &Key,
        event: &Provenance,
        judgement: &Judgement,
        policy_sha256: &str,
        plan: Plan,
        response: Response,
        source: Source,
        hands: Hands,
    ) -> Self {
        let mut reason = judgement.reason.clone();
        for unreadable in &event.unreadable {
            reason.push_str("; ");
            reason.push_str(unreadable);
        }
        Self {
            key: key.key.clone(),
            user: key.user.clone(),
            service: key.service,
            created_at: key.created_at,
            expiration: known(&key.evidence),
            standing: judgement.verdict.standing(),
            violation: judgement.verdict.violation(),
            limit_days: judgement.limit_days,
            plan,
            response,
            outcome: match plan {
                Plan::Record(outcome) => outcome,
                Plan::Confirm(_) => Outcome::Open,
            },
            reason,
            policy_sha256: policy_sha256.to_owned(),
            event_id: event.event_id.clone(),
            event_time: event.event_time,
            actor: event.actor.clone(),
            source_ip: event.source_ip.clone(),
            user_agent: event.user_agent.clone(),
            source,
            rehearsal: hands == Hands::Tied,
        }
    }

    /// Takes over what IAM said of the key, and what was judged of that.
    pub fn take_over(&mut self, key: &Key, judgement: &Judgement, policy_sha256: &str) {
        self.user = key.user.clone();
        self.service = key.service;
        self.created_at = key.created_at;
        self.expiration = known(&key.evidence);
        self.standing = judgement.verdict.standing();
        self.violation = judgement.verdict.violation();
        self.limit_days = judgement.limit_days;
        self.reason.clone_from(&judgement.reason);
        policy_sha256.clone_into(&mut self.policy_sha256);
    }

    /// What is returned and printed of it.
    #[must_use]
    pub fn report(&self) -> Report {
        let (expires_at, lifetime_days) = match self.expiration {
            None | Some(Expiration::Never) => (None, None),
            Some(expiration @ Expiration::At(end)) => (
                Some(end),
                match Lifetime::of(self.created_at, expiration) {
                    Lifetime::Ends(lives) => Some(days(lives)),
                    Lifetime::Never => None,
                },
            ),
        };
        Report {
            account: Some(self.key.account.clone()),
            service: Some(self.service),
            user: Some(self.user.clone()),
            credential_id: Some(self.key.id.clone()),
            created_at: Some(self.created_at),
            expires_at,
            lifetime_days,
            limit_days: Some(self.limit_days),
            verdict: Some(self.standing),
            violation: self.violation,
            response: self.response,
            outcome: self.outcome,
            reason: self.reason.clone(),
            actor: self.actor.principal.clone(),
            source_ip: self.source_ip.clone(),
            user_agent: self.user_agent.clone(),
            event_id: Some(self.event_id.clone()),
            event_time: Some(self.event_time),
            policy_sha256: Some(self.policy_sha256.clone()),
        }
    }
}

fn known(evidence: &Evidence) -> Option<Expiration> {
    match evidence {
        Evidence::Known { expiration, .. } => Some(*expiration),
        Evidence::Unreadable { .. } => None,
    }
}

/// Why the ledger could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such table.
    #[error("the ledger table {table} does not exist in this account and region; expected {SCHEMA}")]
    TableMissing {
        /// Which table.
        table: String,
    },
    /// The table is not a ledger.
    #[error("the table {table} has another key schema; expected {SCHEMA}: {message}")]
    Schema {
        /// Which table.
        table: String,
        /// What DynamoDB said.
        message: String,
    },
    /// An item is there that this build cannot read.
    #[error("the ledger item {pk} / {sk} cannot be read: {why}")]
    Unreadable {
        /// Its partition key.
        pk: String,
        /// Its sort key.
        sk: String,
        /// What is wrong with it.
        why: String,
    },
    /// Other writers kept the item busy.
    #[error("the ledger item {pk} was busy with other deliveries ({code})")]
    Busy {
        /// Its partition key.
        pk: String,
        /// DynamoDB's cancellation reason.
        code: String,
    },
    /// The call failed.
    #[error("{operation} on table {table} failed{}", code.as_ref().map(|code| format!(" with {code}")).unwrap_or_default())]
    Call {
        /// Which call.
        operation: &'static str,
        /// Which table.
        table: String,
        /// AWS's error code, where there was an answer.
        code: Option<String>,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ledger file could not be opened.
    #[error("{path}: could not open the ledger file: {why}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        why: String,
    },
}

const SCHEMA: &str = "a table with the string keys pk (partition) and sk (sort)";

impl LedgerError {
    /// A stable name for alarms and retries to match on.
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::TableMissing { .. } => "LedgerTableMissing",
            Self::Schema { .. } => "LedgerSchemaMismatch",
            Self::Unreadable { .. } => "LedgerItemUnreadable",
            Self::Busy { .. } => "LedgerItemBusy",
            Self::Call { .. } => "LedgerCallFailed",
            Self::File { .. } => "LedgerFileUnusable",
        }
    }
}

/// The ledger in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoLedger {
    client: Client,
    table: String,
}

/// How often a write is tried when DynamoDB cancels it for a reason that passes: the SDK retries failed
/// calls, and a cancelled transaction is none.
const TRIES_WHEN_BUSY: u32 = 4;
const FIRST_PAUSE_WHEN_BUSY: Duration = Duration::from_millis(40);

/// What came of a conditional write.
enum Written {
    Done,
    /// The first item's condition did not hold; this is the item that is there.
    Refused(Box<Entry>),
}

impl DynamoLedger {
    /// A ledger in `table`, which has to exist.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Writes the entry on `condition`, and a history line, in one call.
    async fn write(
        &self,
        entry: &Entry,
        condition: &str,
        values: HashMap<String, AttributeValue>,
        line: Line,
    ) -> Result<Written, LedgerError> {
        let pk = partition(&entry.key);
        let state = Put::builder()
            .table_name(&self.table)
            .set_item(Some(self.encode(&Item::state(entry))?))
            .condition_expression(condition)
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let history = Put::builder()
            .table_name(&self.table)
            .set_item(Some(self.encode(&Item::line(entry, &line))?))
            .condition_expression("attribute_not_exists(pk)");
        let call = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(self.built(state.build())?).build())
            .transact_items(TransactWriteItem::builder().put(self.built(history.build())?).build());
        let mut pause = FIRST_PAUSE_WHEN_BUSY;
        let mut tries = 0;
        loop {
            tries += 1;
            let Err(error) = call.clone().send().await else {
                return Ok(Written::Done);
            };
            match self.refusal(&pk, error)? {
                Refusal::There(entry) => return Ok(Written::Refused(entry)),
                Refusal::Busy(code) if tries == TRIES_WHEN_BUSY => {
                    return Err(LedgerError::Busy { pk, code });
                }
                Refusal::Busy(_) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    /// Reads a refused transaction apart: "already there", "busy", or a real failure.
    fn refusal(&self, pk: &str, error: SdkError<TransactWriteItemsError>) -> Result<Refusal, LedgerError> {
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let reasons = cancelled.cancellation_reasons();
            if let Some(old) = reasons.first().filter(|reason| code(reason) == "ConditionalCheckFailed") {
                return decode(pk, old).map(|entry| Refusal::There(Box::new(entry)));
            }
            let busy = |reason: &&CancellationReason| {
                matches!(
                    code(reason),
                    "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded"
                )
            };
            if let Some(reason) = reasons.iter().find(busy) {
                return Ok(Refusal::Busy(code(reason).to_owned()));
            }
            if let Some(reason) = reasons.iter().find(|reason| code(reason) == "ValidationError") {
                return Err(LedgerError::Schema {
                    table: self.table.clone(),
                    message: reason.message().unwrap_or("no message").to_owned(),
                });
            }
        }
        Err(self.failed("TransactWriteItems", error))
    }

    fn failed<E>(&self, operation: &'static str, error: SdkError<E>) -> LedgerError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let table = self.table.clone();
        match (error.code(), error.message()) {
            (Some("ResourceNotFoundException"), _) => LedgerError::TableMissing { table },
            (Some("ValidationException"), Some(message)) if message.contains("key") => {
                LedgerError::Schema { table, message: message.to_owned() }
            }
            (code, _) => {
                LedgerError::Call { operation, table, code: code.map(str::to_owned), source: Box::new(error) }
            }
        }
    }

    fn encode(&self, item: &Item) -> Result<HashMap<String, AttributeValue>, LedgerError> {
        serde_dynamo::to_item(item).map_err(|error| self.not_built(error))
    }

    fn built<T>(&self, built: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Result<T, LedgerError> {
        built.map_err(|error| self.not_built(error))
    }

    fn not_built(&self, error: impl std::error::Error + Send + Sync + 'static) -> LedgerError {
        LedgerError::Call {
            operation: "building a request",
            table: self.table.clone(),
            code: None,
            source: Box::new(error),
        }
    }
}

fn decode(pk: &str, reason: &CancellationReason) -> Result<Entry, LedgerError> {
    let unreadable = |why: String| LedgerError::Unreadable { pk: pk.to_owned(), sk: STATE.to_owned(), why };
    let item = reason
        .item()
        .ok_or_else(|| unreadable("DynamoDB did not return it with the failed condition".to_owned()))?;
    read_entry(item.clone()).map_err(unreadable)
}

/// Reads a `STATE` item.
///
/// # Errors
/// What is wrong with it, in words: an unknown schema version, or a field that is missing or impossible.
fn read_entry(item: HashMap<String, AttributeValue>) -> Result<Entry, String> {
    match item.get("v").and_then(|version| version.as_n().ok()) {
        Some(version) if *version == SCHEMA_VERSION.to_string() => {}
        Some(version) => {
            return Err(format!("its schema version is {version}; this build reads {SCHEMA_VERSION}"));
        }
        None => return Err("it has no schema version, so it is not the guard's".to_owned()),
    }
    let item: Item = serde_dynamo::from_item(item).map_err(|error| error.to_string())?;
    item.entry()
}

enum Refusal {
    There(Box<Entry>),
    Busy(String),
}

fn code(reason: &CancellationReason) -> &str {
    reason.code().unwrap_or_default()
}

impl Ledger for DynamoLedger {
    async fn open(&self, entry: &Entry) -> Result<Opened, LedgerError> {
        let line = Line { kind: Kind::Judged, at: entry.event_time, id: entry.event_id.to_string() };
        let written = self.write(entry, "attribute_not_exists(pk)", HashMap::new(), line).await?;
        Ok(match written {
            Written::Done => Opened::New,
            Written::Refused(stored) => Opened::Existing(stored),
        })
    }

    async fn adopt(&self, entry: &Entry, at: DateTime<Utc>) -> Result<Opened, LedgerError> {
        let line = Line { kind: Kind::Judged, at, id: format!("{}.adopted", entry.event_id) };
        let values = HashMap::from([(":true".to_owned(), AttributeValue::Bool(true))]);
        let written = self.write(entry, "rehearsal = :true", values, line).await?;
        Ok(match written {
            Written::Done => Opened::New,
            Written::Refused(stored) => Opened::Existing(stored),
        })
    }

    async fn settle(&self, entry: &Entry, at: DateTime<Utc>) -> Result<Settled, LedgerError> {
        let line = Line { kind: Kind::Settled, at, id: format!("{}.{}", entry.event_id, entry.outcome) };
        let rank = AttributeValue::N(entry.outcome.rank().to_string());
        let values = HashMap::from([(":rank".to_owned(), rank)]);
        let condition = "attribute_exists(pk) AND outcome_rank < :rank";
        Ok(match self.write(entry, condition, values, line).await? {
            Written::Done => Settled::Now,
            Written::Refused(stored) => Settled::Before(stored),
        })
    }
}

const STATE: &str = "STATE";

fn partition(key: &KeyRef) -> String {
    format!("KEY#{}#{}", key.account, key.id)
}

/// A history line to be written.
struct Line {
    kind: Kind,
    at: DateTime<Utc>,
    id: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    State,
    Judged,
    Settled,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ExpirationKind {
    Never,
    At,
    Unknown,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PlanKind {
    Record,
    Confirm,
}

/// An item as DynamoDB has it.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    pk: String,
    sk: String,
    /// [`SCHEMA_VERSION`].
    v: u32,
    kind: Kind,
    account: AccountId,
    service: Service,
    user: UserName,
    credential_id: CredentialId,
    created_at: DateTime<Utc>,
    expiration: ExpirationKind,
    expires_at: Option<DateTime<Utc>>,
    verdict: Standing,
    violation: Option<Violation>,
    limit_days: u32,
    plan: PlanKind,
    at_most: Response,
    response: Response,
    outcome: Outcome,
    outcome_rank: u32,
    reason: String,
    policy_sha256: String,
    event_id: EventId,
    event_time: DateTime<Utc>,
    actor: Option<String>,
    actor_type: Option<String>,
    session_issuer: Option<String>,
    mfa: Option<bool>,
    console: bool,
    source_ip: Option<String>,
    user_agent: Option<String>,
    source: Source,
    rehearsal: bool,
    /// When a history line was written for something the guard did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    day_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_key: Option<String>,
}

impl Item {
    fn state(entry: &Entry) -> Self {
        let account = &entry.key.account;
        let user = entry.user.as_str().to_ascii_lowercase();
        let day = entry.event_time.format("%Y-%m-%d");
        Self {
            user_key: Some(format!("USER#{account}#{user}")),
            actor_key: entry.actor.principal.as_deref().map(actor_key),
            day_key: Some(format!("DAY#{day}#{:x}", shard(&entry.key.id))),
            at_key: Some(format!("{}#{}", rfc3339(entry.event_time), entry.key.id)),
            ..Self::of(entry, STATE.to_owned(), Kind::State)
        }
    }

    fn line(entry: &Entry, line: &Line) -> Self {
        let time = line.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        Self { at: Some(line.at), ..Self::of(entry, format!("AT#{time}#{}", line.id), line.kind) }
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
            pk: partition(&entry.key),
            sk,
            v: SCHEMA_VERSION,
            kind,
            account: entry.key.account.clone(),
            service: entry.service,
            user: entry.user.clone(),
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
            at: None,
            user_key: None,
            actor_key: None,
            day_key: None,
            at_key: None,
        }
    }

    fn entry(self) -> Result<Entry, String> {
        let expiration = match (self.expiration, self.expires_at) {
            (ExpirationKind::Never, None) => Some(Expiration::Never),
            (ExpirationKind::At, Some(end)) => Some(Expiration::At(end)),
            (ExpirationKind::Unknown, None) => None,
            _ => return Err("expiration and expires_at contradict each other".to_owned()),
        };
        Ok(Entry {
            key: KeyRef { account: self.account, id: self.credential_id },
            user: self.user,
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
            event_id: self.event_id,
            event_time: self.event_time,
            actor: crate::event::Actor {
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
        })
    }
}

/// The partition of an actor. DynamoDB's keys end at 2,048 bytes (DynamoDB developer guide, *Quotas*), and an
/// event's text may be longer, if no real ARN is.
fn actor_key(principal: &str) -> String {
    const LONGEST: usize = 500;
    format!("ACTOR#{}", principal.chars().take(LONGEST).collect::<String>())
}

/// Which of a day's 16 partitions a key's entry is in: the same wherever it is computed (FNV-1a).
fn shard(id: &CredentialId) -> u32 {
    let hash = id
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) & 0xf
}

/// The table: what [`embedded`] makes, and what a deployment has to.
///
/// # Errors
/// Never in practice: every required part of each definition is given.
pub fn table_definition(
    client: &Client,
    table: &str,
) -> Result<
    aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder,
    aws_sdk_dynamodb::error::BuildError,
> {
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
    };
    let key = |name: &str, key_type: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(key_type).build()
    };
    let mut call = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk")?)
        .attribute_definitions(attribute("sk")?)
        .attribute_definitions(attribute("at_key")?)
        .key_schema(key("pk", KeyType::Hash)?)
        .key_schema(key("sk", KeyType::Range)?);
    for (name, partition_key) in INDEXES {
        call = call.attribute_definitions(attribute(partition_key)?).global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name(name)
                .key_schema(key(partition_key, KeyType::Hash)?)
                .key_schema(key("at_key", KeyType::Range)?)
                .projection(Projection::builder().projection_type(ProjectionType::All).build())
                .build()?,
        );
    }
    Ok(call)
}
