//! Items out of one ledger and into another.
//!
//! Merging is idempotent, and ledgers that were merged in any order are the same: a history line is never
//! overwritten, and of two states of a key the one that stands higher stays: the guard's before a rehearsal's, then
//! what is known of the key (switched off, gone), then the plan that goes further, then what was written down first. A line that came in by merging has the
//! beginning of its content's SHA-256 behind its sort key, `AT#<time>#<id>~<12 hexadecimal digits>`, so that two
//! ledgers that tell the same event differently keep both lines.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnConsumedCapacity, TransactWriteItem};
use chrono::{DateTime, Datelike as _, Utc};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::happening::{Happening, HappeningItem};
use super::item::{self, Item};
use super::search::{Cost, foreign};
use super::{
    Condition, DynamoLedger, Entry, FIRST_PAUSE_WHEN_BUSY, Kind, LedgerError, NEW, NewLine, Trigger, Turn,
    is_busy,
};
use crate::ledger::Outcome;
use key_guard_core::cloudtrail::Actor;
use key_guard_core::key::KeyRef;
use key_guard_core::policy::Response;
use key_guard_core::text::{redact, sanitize_field, sanitize_line};

/// What `TransactWriteItems` takes (DynamoDB API reference).
const LARGEST_TRANSACTION: usize = 100;

/// Items to a page of a scan: about the megabyte at which DynamoDB ends a page, and what the embedded one holds in
/// memory.
const SCANNED: i32 = 600;

/// How often a merge is tried when others write to the same key.
const TRIES: u32 = 6;

/// An item of a key as it leaves a ledger and enters another: its state, or a line of its history.
#[derive(Debug, Clone)]
pub struct Record(Item);

/// Any item as it leaves a ledger and enters another.
#[derive(Debug, Clone)]
pub enum Any {
    /// Of a key.
    Key(Box<Record>),
    /// What is no part of a key's entry.
    Happening(Box<Remembered>),
}

/// What is no part of a key's entry: attempts, access keys, events of keys that are not known.
#[derive(Debug, Clone)]
pub struct Remembered(HappeningItem);

impl Remembered {
    /// What it tells.
    #[must_use]
    pub fn happening(&self) -> Happening {
        self.0.clone().into()
    }
}

impl Any {
    /// Reads one line of an export.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_json(line: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Told {
            what: Option<serde::de::IgnoredAny>,
        }
        if !serde_json::from_str::<Told>(line).is_ok_and(|told| told.what.is_some()) {
            return Record::from_json(line).map(Box::new).map(Self::Key);
        }
        if let Ok(Version { v: Some(version) }) = serde_json::from_str::<Version>(line) {
            item::known_version(&version.to_string())?;
        }
        let mut item: HappeningItem = serde_json::from_str(line).map_err(|error| without_place(&error))?;
        let time = item::to_second(item.event_time);
        let is_early = item.sk == item::STATE && item.kind == Kind::Early && item.credential_id.is_some();
        if !is_early && item.sk != format!("AT#{time}#{}", item.event_id) {
            return Err("its sort key and its event contradict each other".to_owned());
        }
        if !(1970..=9999).contains(&item.event_time.year()) {
            return Err("a time is before 1970 or after 9999".to_owned());
        }
        item.what = sanitize_line(&redact(&item.what)).chars().take(LONGEST_REASON).collect();
        for text in [
            &mut item.actor,
            &mut item.actor_type,
            &mut item.session_issuer,
            &mut item.source_ip,
            &mut item.user_agent,
        ]
        .into_iter()
        .flatten()
        {
            *text = sanitize_field(text);
        }
        Ok(Self::Happening(Box::new(Remembered(item.indexed()))))
    }

    /// As a line of an export.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_json(&self) -> serde_json::Result<String> {
        match self {
            Self::Key(record) => record.to_json(),
            Self::Happening(remembered) => serde_json::to_string(&remembered.0.clone().portable()),
        }
    }
}

const LONGEST_REASON: usize = 4_000;

#[derive(Deserialize)]
struct Version {
    v: Option<serde_json::Number>,
}

impl Record {
    /// Reads one line of an export. Text of events is made fit to be stored again.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_json(line: &str) -> Result<Self, String> {
        let read: Result<Item, _> = serde_json::from_str(line);
        let mut item = match (read, serde_json::from_str::<Version>(line)) {
            (read, Ok(Version { v: Some(version) })) => {
                item::known_version(&version.to_string())?;
                read.map_err(|error| without_place(&error))?
            }
            (Ok(item), _) => item,
            (Err(_), Ok(Version { v: None })) => {
                return Err("it has no schema version, so it is not the guard's".to_owned());
            }
            (Err(error), _) => return Err(without_place(&error)),
        };
        item.check()?;
        item.clean();
        item.clone().entry()?;
        Ok(Self(item.indexed()))
    }

    /// The state of an entry.
    #[must_use]
    pub fn state(entry: &Entry) -> Self {
        Self(Item::state(entry))
    }

    /// A line of an entry's history. `id` tells it from others of the same second.
    #[must_use]
    pub fn line(entry: &Entry, kind: Kind, at: DateTime<Utc>, id: String) -> Self {
        Self(Item::line(entry, &NewLine { kind, at, id }))
    }

    /// The item in DynamoDB's JSON.
    ///
    /// # Errors
    /// Never in practice.
    pub(super) fn attributes(&self) -> serde_json::Result<serde_json::Value> {
        use serde_json::{Value, json};
        let Value::Object(fields) = serde_json::to_value(&self.0)? else { return Ok(Value::Null) };
        let attribute = |value: Value| match value {
            Value::Null => json!({"NULL": true}),
            Value::Bool(flag) => json!({"BOOL": flag}),
            Value::Number(number) => json!({"N": number.to_string()}),
            text @ (Value::String(_) | Value::Array(_) | Value::Object(_)) => json!({"S": text}),
        };
        Ok(fields.into_iter().map(|(name, value)| (name, attribute(value))).collect())
    }

    /// As a line of an export.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&self.0.clone().portable())
    }

    /// Which key it is of.
    #[must_use]
    pub fn key(&self) -> KeyRef {
        self.0.key()
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The time of a history line.
    #[must_use]
    pub const fn at(&self) -> Option<DateTime<Utc>> {
        self.0.at
    }

    /// The entry as it was then.
    ///
    /// # Errors
    /// What contradicts itself in it, in words.
    pub fn entry(&self) -> Result<Entry, String> {
        self.0.clone().entry()
    }

    fn read(attributes: HashMap<String, AttributeValue>) -> Result<Self, String> {
        let item = Item::read(attributes)?;
        item.clone().entry()?;
        Ok(Self(item))
    }

    fn content(&self) -> Result<String, String> {
        self.to_json().map_err(|error| error.to_string())
    }
}

/// An error of `serde_json` without line and column: those of the input are named by whoever reads it.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or(&text).to_owned()
}

impl Item {
    fn key(&self) -> KeyRef {
        KeyRef { account: self.account.clone(), id: self.credential_id.clone() }
    }

    /// Without what a table adds.
    fn portable(mut self) -> Self {
        self.pk = String::new();
        self.rev = 0;
        self.sk.truncate(base(&self.sk).len());
        for key in [
            &mut self.user_key,
            &mut self.actor_key,
            &mut self.day_key,
            &mut self.account_key,
            &mut self.id_key,
            &mut self.open_key,
            &mut self.role_key,
            &mut self.at_key,
        ] {
            *key = None;
        }
        self
    }

    /// Checks what reading alone does not.
    fn check(&self) -> Result<(), String> {
        let is_line = self.kind != Kind::State;
        let named = |sk: &str| {
            let (time, id) = sk.strip_prefix("AT#")?.split_once('#')?;
            DateTime::parse_from_rfc3339(time).ok()?;
            let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            (!id.is_empty() && id.len() <= 128 && id.bytes().all(harmless)).then_some(())
        };
        if is_line != named(&self.sk).is_some() || (!is_line && self.sk != item::STATE) {
            return Err("its kind and its sort key contradict each other".to_owned());
        }
        if is_line != self.at.is_some() {
            return Err("a history line has a time, and a state has none".to_owned());
        }
        // Keys sort as times do only for years of four digits.
        let times = [Some(self.event_time), Some(self.created_at), Some(self.recorded_at), self.at];
        if times.iter().flatten().any(|time| !(1970..=9999).contains(&time.year())) {
            return Err("a time is before 1970 or after 9999".to_owned());
        }
        if self.outcome_rank != self.outcome.rank() {
            return Err("outcome and outcome_rank contradict each other".to_owned());
        }
        if self.policy_sha256.len() != 64 || !self.policy_sha256.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err("policy_sha256 is no SHA-256".to_owned());
        }
        Ok(())
    }

    /// Takes over what another state knows of the key's past and this one does not.
    fn learns(&mut self, other: &Self) {
        if self.event_id.is_none() && other.event_id.is_some() {
            self.event_id.clone_from(&other.event_id);
            self.event_time = other.event_time;
            self.actor.clone_from(&other.actor);
            self.actor_type.clone_from(&other.actor_type);
            self.session_issuer.clone_from(&other.session_issuer);
            self.mfa = other.mfa;
            self.console = other.console;
            self.source_ip.clone_from(&other.source_ip);
            self.user_agent.clone_from(&other.user_agent);
        }
        if self.deactivated_at.is_none() {
            self.deactivated_at = other.deactivated_at;
            self.deactivated_as.clone_from(&other.deactivated_as);
        }
        self.touched_at = self.touched_at.max(other.touched_at);
        self.reset_at = self.reset_at.max(other.reset_at);
    }

    /// Takes over what its history tells: who has touched the key, and when. A rehearsal's state binds nobody, and knows
    /// nobody's name.
    fn learns_what_happened(
        &mut self,
        told: Vec<(Kind, DateTime<Utc>, Option<String>)>,
    ) -> Result<(), String> {
        if self.rehearsal {
            return Ok(());
        }
        let mut entry = self.clone().entry()?;
        for (kind, at, principal) in told {
            let actor = Actor { principal, ..Actor::default() };
            let is_own = entry.is_own_call(&actor, at);
            entry.hears_of(kind, at, is_own);
        }
        (self.touched_at, self.reset_at) = (entry.touched_at, entry.reset_at);
        if !entry.as_left {
            self.as_left = false;
            self.delete_after = None;
        }
        Ok(())
    }

    fn clean(&mut self) {
        self.reason = sanitize_line(&redact(&self.reason)).chars().take(LONGEST_REASON).collect();
        for text in [
            &mut self.actor,
            &mut self.actor_type,
            &mut self.session_issuer,
            &mut self.source_ip,
            &mut self.user_agent,
            &mut self.begun_as,
            &mut self.deactivated_as,
        ]
        .into_iter()
        .flatten()
        {
            *text = sanitize_field(text);
        }
    }
}

/// A sort key without what merging put behind it.
fn base(sk: &str) -> &str {
    sk.split('~').next().unwrap_or(sk)
}

/// What merging has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Lines that were new.
    pub lines: u64,
    /// States that were new or stood higher.
    pub states: u64,
    /// Whether the key has a state now. Without one, `lookup` does not find it.
    pub has_state: bool,
}

/// The whole ledger, page by page and in no order: the one reader that scans the table.
#[derive(Debug)]
pub struct Everything<'a> {
    ledger: &'a DynamoLedger,
    from: Option<HashMap<String, AttributeValue>>,
    done: bool,
    cost: Cost,
}

impl Everything<'_> {
    /// The next items: one call. `None`: that was all.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in the answer.
    pub async fn next(&mut self) -> Result<Option<Vec<Result<Any, LedgerError>>>, LedgerError> {
        if self.done {
            return Ok(None);
        }
        let answer = self
            .ledger
            .client
            .scan()
            .table_name(&self.ledger.table)
            .limit(SCANNED)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(self.from.take())
            .send()
            .await
            .map_err(|error| self.ledger.failed("Scan", error))?;
        self.cost.count(answer.consumed_capacity());
        self.from = answer.last_evaluated_key.filter(|key| !key.is_empty());
        self.done = self.from.is_none();
        let items =
            answer.items.unwrap_or_default().into_iter().filter(|attributes| !is_bookkeeping(attributes));
        Ok(Some(items.map(any).collect()))
    }

    /// What it has cost so far.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }
}

/// What a table counts for itself is nothing to carry elsewhere.
fn is_bookkeeping(attributes: &HashMap<String, AttributeValue>) -> bool {
    let Some(AttributeValue::S(pk)) = attributes.get("pk") else { return false };
    ["HOUR#", "SWEEP#"].iter().any(|prefix| pk.starts_with(prefix))
}

fn any(attributes: HashMap<String, AttributeValue>) -> Result<Any, LedgerError> {
    if !HappeningItem::is(&attributes) {
        return record(attributes).map(Box::new).map(Any::Key);
    }
    let keys = ["pk", "sk"].into_iter().filter_map(|name| attributes.get_key_value(name));
    let keys = keys.map(|(name, value)| (name.clone(), value.clone())).collect();
    HappeningItem::read(attributes)
        .map(|item| Any::Happening(Box::new(Remembered(item))))
        .map_err(|why| foreign(&keys, why))
}

fn record(attributes: HashMap<String, AttributeValue>) -> Result<Record, LedgerError> {
    let keys = ["pk", "sk"].into_iter().filter_map(|name| attributes.get_key_value(name));
    let keys = keys.map(|(name, value)| (name.clone(), value.clone())).collect();
    Record::read(attributes).map_err(|why| foreign(&keys, why))
}

impl DynamoLedger {
    /// The whole ledger.
    #[must_use]
    pub const fn everything(&self) -> Everything<'_> {
        Everything { ledger: self, from: None, done: false, cost: Cost { calls: 0, units: 0.0 } }
    }

    /// All items of one key: its history in order, then its state.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in the answer.
    pub async fn records(
        &self,
        key: &KeyRef,
        cost: &mut Cost,
    ) -> Result<Vec<Result<Any, LedgerError>>, LedgerError> {
        Ok(self.partition(key, cost).await?.into_iter().map(any).collect())
    }

    /// Writes what is no part of a key's entry, unless it is there. Answers whether it was new.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn merge_happening(&self, Remembered(item): &Remembered) -> Result<bool, LedgerError> {
        let item = serde_dynamo::to_item(item).map_err(|error| self.not_built(error))?;
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).condition_expression(NEW);
        let put = TransactWriteItem::builder().put(self.built(put.build())?).build();
        match self.client.transact_write_items().transact_items(put).send().await {
            Ok(_) => Ok(true),
            Err(error) => {
                let busy = matches!(
                    error.as_service_error(),
                    Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                        if cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code()).any(is_busy)
                );
                if busy {
                    Err(self.failed("TransactWriteItems", error))
                } else {
                    self.cancelled(error).map(|_| false)
                }
            }
        }
    }

    /// Merges records of one key into what is there, and what happened to it before it was known: one call to read, and one
    /// to write where something is new.
    ///
    /// # Errors
    /// When the ledger cannot be read or written, or has something of this key that this build cannot read.
    pub async fn merge(&self, key: &KeyRef, records: &[Record]) -> Result<Merged, LedgerError> {
        let mut pause = FIRST_PAUSE_WHEN_BUSY;
        for _ in 0..TRIES {
            if let Some(merged) = self.try_to_merge(key, records).await? {
                return Ok(merged);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
        Err(LedgerError::Busy { pk: item::partition(key), code: "changed in between".to_owned() })
    }

    /// `None`: somebody else wrote in between.
    async fn try_to_merge(&self, key: &KeyRef, records: &[Record]) -> Result<Option<Merged>, LedgerError> {
        let pk = item::partition(key);
        let unreadable =
            |sk: &str, why: String| LedgerError::Unreadable { pk: pk.clone(), sk: sk.to_owned(), why };
        let (mut lines, mut state, mut early) = (HashMap::new(), None, false);
        let mut told = Vec::new();
        for stored in self.records(key, &mut Cost::default()).await? {
            let stored = match stored? {
                Any::Key(stored) => *stored,
                Any::Happening(remembered) => {
                    let Remembered(happening) = *remembered;
                    // A key that was deleted before it was known: what is known now takes its place.
                    if happening.kind == Kind::Early {
                        early = true;
                    }
                    told.push((happening.kind, happening.event_time, happening.actor));
                    continue;
                }
            };
            let content = stored.content().map_err(|why| unreadable(&stored.0.sk, why))?;
            match stored.0.kind {
                Kind::State => state = Some((content, stored)),
                Kind::Judged
                | Kind::Confirmed
                | Kind::Settled
                | Kind::SwitchedOn
                | Kind::SwitchedOff
                | Kind::SecretReset
                | Kind::Deleted
                | Kind::Early
                | Kind::Attempt
                | Kind::AccessKeyMade => {
                    told.push((stored.0.kind, stored.0.event_time, stored.0.actor.clone()));
                    lines.insert(stored.0.sk.clone(), content);
                }
            }
        }
        let mut merged = Merged::default();
        let mut puts = Vec::new();
        let before = state.as_ref().map(|(content, _)| content.clone());
        let condition = state.as_ref().map(|(_, stored)| stored.clone());
        for record in records {
            let content = record.content().map_err(|why| unreadable(&record.0.sk, why))?;
            match record.0.kind {
                Kind::State => {
                    let stays = state.as_ref().is_some_and(|(stored_content, stored)| {
                        standing(stored, stored_content) >= standing(record, &content)
                    });
                    if !stays {
                        state = Some((content, record.clone()));
                    }
                }
                Kind::Judged
                | Kind::Confirmed
                | Kind::Settled
                | Kind::SwitchedOn
                | Kind::SwitchedOff
                | Kind::SecretReset
                | Kind::Deleted
                | Kind::Early
                | Kind::Attempt
                | Kind::AccessKeyMade => {
                    let sk = format!("{}~{}", base(&record.0.sk), digest(&content));
                    if lines.get(base(&record.0.sk)) == Some(&content) || lines.contains_key(&sk) {
                        continue;
                    }
                    told.push((record.0.kind, record.0.event_time, record.0.actor.clone()));
                    lines.insert(sk.clone(), content);
                    merged.lines += 1;
                    let line = Record(Item { sk, ..record.0.clone() });
                    puts.push(self.put(&line, None)?);
                }
            }
        }
        merged.has_state = state.is_some();
        // Whichever stands, what either knows of the key's past stays.
        if let Some((content, record)) = &mut state {
            for other in condition.iter().chain(records).filter(|other| other.0.kind == Kind::State) {
                record.0.learns(&other.0);
            }
            record.0.learns_what_happened(told).map_err(|why| unreadable(item::STATE, why))?;
            *content = record.content().map_err(|why| unreadable(item::STATE, why))?;
        }
        if let Some((content, record)) = state.filter(|(content, _)| before.as_ref() != Some(content)) {
            drop(content);
            merged.states = 1;
            let over = condition.as_ref().map(|Record(stored)| stored.rev).or(early.then_some(0));
            puts.push(self.put(&record, over)?);
        }
        for puts in puts.chunks(LARGEST_TRANSACTION) {
            let call = self.client.transact_write_items().set_transact_items(Some(puts.to_vec()));
            match call.send().await {
                Ok(_) => {}
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(TransactWriteItemsError::is_transaction_canceled_exception) =>
                {
                    return self.cancelled(error);
                }
                Err(error) => return Err(self.failed("TransactWriteItems", error)),
            }
        }
        Ok(Some(merged))
    }

    /// Tells "somebody was quicker" from a real failure.
    fn cancelled(
        &self,
        error: aws_sdk_dynamodb::error::SdkError<TransactWriteItemsError>,
    ) -> Result<Option<Merged>, LedgerError> {
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let passes = |code: &str| is_busy(code) || matches!(code, "ConditionalCheckFailed" | "None");
            if cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code()).all(passes) {
                return Ok(None);
            }
        }
        Err(self.failed("TransactWriteItems", error))
    }

    /// A put that changes nothing but a state that is still of the revision that was read.
    fn put(&self, record: &Record, over: Option<u64>) -> Result<TransactWriteItem, LedgerError> {
        let condition = over.map_or(Condition::New, Condition::Still);
        let mut item = record.0.clone().indexed();
        if item.kind == Kind::State {
            item.rev = over.map_or(1, |rev| rev + 1);
        }
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(self.encode(&item)?))
            .condition_expression(condition.expression())
            .set_expression_attribute_values(condition.values());
        Ok(TransactWriteItem::builder().put(self.built(put.build())?).build())
    }
}

/// How high a state stands: a total order, so that merging does not depend on what came first.
///
/// A key that is gone has no later turn; else the later turn stands. Within a turn, what is known of the key itself
/// (switched off) stands above a plan. Of plans, the one that goes further stays
/// as far as it came: a ledger that only looked on never settles what the guard has yet to do.
fn standing<'a>(record: &Record, content: &'a str) -> Verdict<'a> {
    let Record(item) = record;
    let is_told_of_the_key = item.outcome_rank >= Outcome::AlreadyInactive.rank();
    let plan = match item.plan {
        item::PlanKind::Record => Response::None,
        item::PlanKind::Confirm => item.at_most,
    };
    let known = if is_told_of_the_key { item.outcome_rank } else { 0 };
    let gone = if item.outcome.is_gone() { item.outcome_rank } else { 0 };
    // A sweep that only looked stands above nothing that an event told of.
    let only_looked = item.turn().trigger == Trigger::Sweep && !is_told_of_the_key && plan == Response::None;
    let turn = (!only_looked).then(|| item.turn());
    (!item.rehearsal, gone, turn, known, plan, Reverse(item.recorded_at), item.outcome_rank, content)
}

type Verdict<'a> = (bool, u32, Option<Turn>, u32, Response, Reverse<DateTime<Utc>>, u32, &'a str);

fn digest(content: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(12);
    for byte in Sha256::digest(content).iter().take(6) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
