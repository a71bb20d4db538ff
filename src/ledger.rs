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
//! | `by_user` | `user_key`: `NAME#<user name>` | `STATE`; and, where the guard found a user renamed, the line that says so, under the former name |
//! | `by_actor` | `actor_key`: `NAME#<session, user or service, without the domain of an e-mail address>` | `STATE` |
//! | `by_role` | `role_key`: `ROLE#<role name, or permission set of IAM Identity Center>` | `STATE`, where a role was assumed |
//! | `by_day` | `day_key`: `DAY#<date of the event>#<0 to f>` | `STATE`, spread over 16 partitions a day |
//! | `by_account` | `account_key`: `ACCOUNT#<account>#<0 to 3>` | `STATE` |
//! | `by_id` | `id_key`: `ID#<credential id>` | `STATE` |
//! | `by_open` | `open_key`: `OPEN#<0 to 3>` | `STATE`, from *open* to *settle* only |
//!
//! Names are in lowercase. All indexes sort by `at_key`: `<event time, to the second>#<credential id>`, and hold
//! whole items. Opening an entry with its first history line is one call, and so is settling it.
//! [`search`] has what each question costs.
//!
//! Items of other kinds have partitions of their own (`<WORD>#…`), and partitions of their own in the indexes.
//!
//! # Hot partitions
//!
//! DynamoDB takes 1,000 write units a second for one partition (DynamoDB developer guide, *Burst and adaptive
//! capacity*), and a write unit is 1 KB. An item has 1 to 2 KB, so that a write to an index costs two. 10,000
//! keys a minute are 167 a second; each is opened, and at worst settled, which makes 668 units a second:
//!
//! | | partitions | units a second in each |
//! | --- | --- | --- |
//! | `KEY#…`, `by_id` | one a key | 8 |
//! | `by_day` | 16 | 42 |
//! | `by_account`, all keys in one account | 4 | 167 |
//! | `by_open`, all keys noncompliant | 4 | 167 |
//! | `by_actor`, one caller makes them all | 1 | 668 |
//! | `by_role`, one role makes them all | 1 | 668 |
//! | `by_user`, two keys a user (IAM's limit) | one a name | 8 |

#[cfg(feature = "cli")]
pub mod embedded;
mod item;
#[cfg(feature = "cli")]
pub mod merge;
#[cfg(feature = "cli")]
pub mod search;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, CancellationReason, GlobalSecondaryIndex,
    KeySchemaElement, KeyType, Projection, ProjectionType, Put, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TransactWriteItem,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use self::item::Item;
pub use self::item::permission_set;
use crate::enforce::{Ledger, Opened, Settled, Status};
use crate::event::Provenance;
use crate::key::{EventId, Evidence, Expiration, Key, KeyRef, Lifetime, Service, UserName, days};
use crate::plan::{Hands, Plan};
use crate::policy::{Judgement, Response, Standing, Violation};
use crate::report::{Outcome, Report};

/// The version of the items that this build writes, and the only one that it reads.
pub const SCHEMA_VERSION: u32 = 2;

/// The indexes, with their partition keys. All sort by `at_key`.
pub const INDEXES: [(&str, &str); 7] = [
    ("by_user", "user_key"),
    ("by_actor", "actor_key"),
    ("by_role", "role_key"),
    ("by_day", "day_key"),
    ("by_account", "account_key"),
    ("by_id", "id_key"),
    ("by_open", "open_key"),
];

/// Where an entry or a history line is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An event delivered to the Lambda.
    Event,
    /// `replay`.
    Replay,
    /// A list of IAM's keys, which no event was needed for.
    Sweep,
    /// The guard itself: what it confirmed and did.
    Guard,
}

impl Source {
    /// As written in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Replay => "replay",
            Self::Sweep => "sweep",
            Self::Guard => "guard",
        }
    }
}

/// What an item of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The key as it stands.
    State,
    /// It came in, and was judged.
    Judged,
    /// IAM said something else than the event, before an action on its word.
    Confirmed,
    /// It got an outcome.
    Settled,
    /// Someone switched it on.
    SwitchedOn,
    /// Someone switched it off.
    SwitchedOff,
    /// It got a new secret.
    SecretReset,
    /// Someone deleted it.
    Deleted,
}

impl Kind {
    /// As written in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Judged => "judged",
            Self::Confirmed => "confirmed",
            Self::Settled => "settled",
            Self::SwitchedOn => "switched_on",
            Self::SwitchedOff => "switched_off",
            Self::SecretReset => "secret_reset",
            Self::Deleted => "deleted",
        }
    }
}

/// IAM's word on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Listed, and works.
    Active,
    /// Listed, and switched off.
    Inactive,
    /// Listed, and past its end.
    Expired,
    /// Not listed for any user.
    NotListed,
}

impl Word {
    /// In words, to follow "IAM says: ".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Expired => "expired",
            Self::NotListed => "not listed for any user",
        }
    }
}

impl From<Status> for Word {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Inactive => Self::Inactive,
            Status::Expired => Self::Expired,
        }
    }
}

/// When IAM was last asked about a key, and what it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub word: Word,
}

/// A line of a key's history: the entry as it was then.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What happened.
    pub kind: Kind,
    /// When: the event's time for what came in, the guard's for what it did.
    pub at: DateTime<Utc>,
    /// The entry then. Its source is the line's.
    pub entry: Entry,
}

/// A key as the ledger knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Which key.
    pub key: KeyRef,
    /// Its user, as last known.
    pub user: UserName,
    /// The name that the user had in the event, where IAM knows it by another.
    pub former_user: Option<UserName>,
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
    /// When the guard wrote it down.
    pub recorded_at: DateTime<Utc>,
    /// What IAM said; `None`: it was not asked.
    pub confirmed: Option<Confirmation>,
    /// When the key was acted upon.
    pub acted_at: Option<DateTime<Utc>>,
    /// When it got its outcome.
    pub settled_at: Option<DateTime<Utc>>,
}

impl Entry {
    /// The entry of a key that was judged just now.
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
        now: DateTime<Utc>,
    ) -> Self {
        let mut reason = judgement.reason.clone();
        for unreadable in &event.unreadable {
            reason.push_str("; ");
            reason.push_str(unreadable);
        }
        Self {
            key: key.key.clone(),
            user: key.user.clone(),
            former_user: None,
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
            recorded_at: now,
            confirmed: None,
            acted_at: None,
            settled_at: match plan {
                Plan::Record(_) => Some(now),
                Plan::Confirm(_) => None,
            },
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
    /// The table is a ledger without one of the indexes.
    #[error("the table {table} lacks an index of a ledger of this version: {message}")]
    IndexMissing {
        /// Which table.
        table: String,
        /// Which index, or what DynamoDB said.
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
    /// IAM does not let the caller do it.
    #[error(
        "access to the ledger table {table} was denied: {} needs the IAM action {} on the table{}",
        operation, action(operation), if reads(operation) { " and its indexes" } else { "" }
    )]
    Denied {
        /// Which call.
        operation: &'static str,
        /// Which table.
        table: String,
        /// AWS's words.
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
    /// The key that an unreadable item is of.
    #[must_use]
    pub fn key(&self) -> Option<KeyRef> {
        match self {
            Self::Unreadable { pk, .. } => {
                let (account, id) = pk.strip_prefix("KEY#")?.split_once('#')?;
                Some(KeyRef { account: account.parse().ok()?, id: id.parse().ok()? })
            }
            Self::TableMissing { .. }
            | Self::Schema { .. }
            | Self::IndexMissing { .. }
            | Self::Busy { .. }
            | Self::Call { .. }
            | Self::Denied { .. }
            | Self::File { .. } => None,
        }
    }

    /// A stable name for alarms and retries to match on.
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::TableMissing { .. } => "LedgerTableMissing",
            Self::Schema { .. } | Self::IndexMissing { .. } => "LedgerSchemaMismatch",
            Self::Unreadable { .. } => "LedgerItemUnreadable",
            Self::Busy { .. } => "LedgerItemBusy",
            Self::Call { .. } | Self::Denied { .. } => "LedgerCallFailed",
            Self::File { .. } => "LedgerFileUnusable",
        }
    }
}

/// The IAM action that a call is allowed by (Service Authorization Reference, *Actions for Amazon DynamoDB*:
/// a transaction is allowed by the actions of its parts).
fn action(operation: &str) -> String {
    match operation {
        "TransactWriteItems" => "dynamodb:PutItem".to_owned(),
        other => format!("dynamodb:{other}"),
    }
}

fn reads(operation: &str) -> bool {
    operation == "Query"
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

/// Entries to a transaction, which takes 100 items (DynamoDB API reference, `TransactWriteItems`).
const AT_ONCE: usize = 50;

/// The condition for an item that is not there yet.
const NEW: &str = "attribute_not_exists(pk)";

/// What came of a conditional write.
enum Written {
    Done,
    /// The first item's condition did not hold; this is the item that is there.
    Refused(Box<Entry>),
}

/// What came of opening many entries in one call.
enum Together {
    Made,
    /// Nothing was made, since some are there: these.
    There(Vec<Option<Entry>>),
    /// DynamoDB said something else, about all of them or about one that cannot be told.
    Unclear,
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
        line: NewLine,
    ) -> Result<Written, LedgerError> {
        let pk = item::partition(&entry.key);
        let puts = self.puts(entry, condition, values, &line)?;
        let call = self.client.transact_write_items().set_transact_items(Some(puts.into()));
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

    /// The entry on `condition`, and a history line.
    fn puts(
        &self,
        entry: &Entry,
        condition: &str,
        values: HashMap<String, AttributeValue>,
        line: &NewLine,
    ) -> Result<[TransactWriteItem; 2], LedgerError> {
        let state = Put::builder()
            .table_name(&self.table)
            .set_item(Some(self.encode(&Item::state(entry))?))
            .condition_expression(condition)
            .set_expression_attribute_values((!values.is_empty()).then_some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok([
            TransactWriteItem::builder().put(self.built(state.build())?).build(),
            TransactWriteItem::builder().put(self.line(entry, line)?).build(),
        ])
    }

    /// A history line, if it is not there.
    fn line(&self, entry: &Entry, line: &NewLine) -> Result<Put, LedgerError> {
        let item = self.encode(&Item::line(entry, line))?;
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).condition_expression(NEW);
        self.built(put.build())
    }

    /// Makes entries of different keys in one call: all of them or none.
    async fn open_together(&self, entries: &[&Entry]) -> Together {
        let puts = entries.iter().map(|entry| self.puts(entry, NEW, HashMap::new(), &NewLine::opened(entry)));
        let Ok(puts) = puts.collect::<Result<Vec<_>, _>>() else { return Together::Unclear };
        let call = self.client.transact_write_items().set_transact_items(Some(puts.concat()));
        let Err(error) = call.send().await else { return Together::Made };
        let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
        else {
            return Together::Unclear;
        };
        // A reason for each item, and the states are first of each two.
        let states = cancelled.cancellation_reasons().iter().step_by(2);
        let there: Vec<_> = entries
            .iter()
            .zip(states)
            .map(|(entry, reason)| {
                let refused = code(reason) == "ConditionalCheckFailed";
                refused.then(|| decode(&item::partition(&entry.key), reason).ok()).flatten()
            })
            .collect();
        if there.iter().any(Option::is_some) { Together::There(there) } else { Together::Unclear }
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
            if let Some(reason) = reasons.iter().find(|reason| is_busy(code(reason))) {
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
            (Some("AccessDeniedException"), _) => {
                LedgerError::Denied { operation, table, source: Box::new(error) }
            }
            (Some("ValidationException"), Some(message)) if message.contains("specified index") => {
                LedgerError::IndexMissing { table, message: message.to_owned() }
            }
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
    let unreadable =
        |why: String| LedgerError::Unreadable { pk: pk.to_owned(), sk: item::STATE.to_owned(), why };
    let item = reason
        .item()
        .ok_or_else(|| unreadable("DynamoDB did not return it with the failed condition".to_owned()))?;
    Item::read(item.clone()).and_then(Item::entry).map_err(unreadable)
}

enum Refusal {
    There(Box<Entry>),
    Busy(String),
}

/// Whether a cancellation passes by itself.
fn is_busy(code: &str) -> bool {
    matches!(code, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
}

fn code(reason: &CancellationReason) -> &str {
    reason.code().unwrap_or_default()
}

impl Ledger for DynamoLedger {
    async fn open(&self, entry: &Entry) -> Result<Opened, LedgerError> {
        Ok(match self.write(entry, NEW, HashMap::new(), NewLine::opened(entry)).await? {
            Written::Done => Opened::New,
            Written::Refused(stored) => Opened::Existing(stored),
        })
    }

    async fn open_all(&self, entries: &[Entry]) -> Vec<Result<Opened, LedgerError>> {
        let mut opened: Vec<_> = entries.iter().map(|_| None).collect();
        loop {
            let (mut keys, mut batch) = (HashSet::new(), Vec::new());
            for (index, entry) in entries.iter().enumerate() {
                let waits = opened.get(index).is_some_and(Option::is_none);
                // A transaction takes one item once: what is of the same key waits for its turn.
                if waits && batch.len() < AT_ONCE && keys.insert(&entry.key) {
                    batch.push((index, entry));
                }
            }
            if batch.is_empty() {
                // All have their answer.
                return opened.into_iter().flatten().collect();
            }
            let wanted: Vec<_> = batch.iter().map(|(_, entry)| *entry).collect();
            let mut answers = Vec::with_capacity(batch.len());
            match if wanted.len() > 1 { self.open_together(&wanted).await } else { Together::Unclear } {
                Together::Made => answers.extend(wanted.iter().map(|_| Some(Ok(Opened::New)))),
                // Once more, without those that are there.
                Together::There(there) => answers
                    .extend(there.into_iter().map(|stored| Some(Ok(Opened::Existing(Box::new(stored?)))))),
                Together::Unclear => {
                    for entry in wanted {
                        answers.push(Some(self.open(entry).await));
                    }
                }
            }
            for ((index, _), answer) in batch.into_iter().zip(answers) {
                if let Some(slot) = opened.get_mut(index) {
                    *slot = answer;
                }
            }
        }
    }

    async fn read(&self, key: &KeyRef) -> Result<Option<Entry>, LedgerError> {
        let pk = item::partition(key);
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(pk.clone()))
            .key("sk", AttributeValue::S(item::STATE.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.failed("GetItem", error))?;
        let read = |item| {
            Item::read(item).and_then(Item::entry).map_err(|why| LedgerError::Unreadable {
                pk,
                sk: item::STATE.to_owned(),
                why,
            })
        };
        answer.item.map(read).transpose()
    }

    async fn note(&self, entry: &Entry, kind: Kind) -> Result<(), LedgerError> {
        let line = NewLine { kind, at: entry.event_time, id: entry.event_id.to_string() };
        // A transaction of one: the function links no further operation for it.
        let put = TransactWriteItem::builder().put(self.line(entry, &line)?).build();
        let Err(error) = self.client.transact_write_items().transact_items(put).send().await else {
            return Ok(());
        };
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
            && let [reason] = cancelled.cancellation_reasons()
        {
            match code(reason) {
                // It was written before.
                "ConditionalCheckFailed" => return Ok(()),
                busy if is_busy(busy) => {
                    let pk = item::partition(&entry.key);
                    return Err(LedgerError::Busy { pk, code: busy.to_owned() });
                }
                _ => {}
            }
        }
        Err(self.failed("TransactWriteItems", error))
    }

    async fn adopt(&self, entry: &Entry, at: DateTime<Utc>) -> Result<Opened, LedgerError> {
        let line = NewLine { kind: Kind::Judged, at, id: format!("{}.adopted", entry.event_id) };
        let values = HashMap::from([(":true".to_owned(), AttributeValue::Bool(true))]);
        let written = self.write(entry, "rehearsal = :true", values, line).await?;
        Ok(match written {
            Written::Done => Opened::New,
            Written::Refused(stored) => Opened::Existing(stored),
        })
    }

    async fn settle(&self, entry: &Entry, at: DateTime<Utc>) -> Result<Settled, LedgerError> {
        let settled = entry.outcome.is_settled();
        let entry = &Entry { settled_at: settled.then_some(at), ..entry.clone() };
        let kind = if settled { Kind::Settled } else { Kind::Confirmed };
        let line = NewLine { kind, at, id: format!("{}.{}", entry.event_id, entry.outcome) };
        let rank = AttributeValue::N(entry.outcome.rank().to_string());
        let values = HashMap::from([(":rank".to_owned(), rank)]);
        let condition = "attribute_exists(pk) AND outcome_rank < :rank";
        Ok(match self.write(entry, condition, values, line).await? {
            Written::Done => Settled::Now,
            Written::Refused(stored) => Settled::Before(stored),
        })
    }
}

/// A history line to be written.
struct NewLine {
    kind: Kind,
    at: DateTime<Utc>,
    id: String,
}

impl NewLine {
    /// The first one.
    fn opened(entry: &Entry) -> Self {
        Self { kind: Kind::Judged, at: entry.event_time, id: entry.event_id.to_string() }
    }
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
