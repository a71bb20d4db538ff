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
//! Items of other kinds have partitions of their own, and partitions of their own in the indexes:
//!
//! | item | `pk` | `sk` |
//! | --- | --- | --- |
//! | an event of a key that the ledger does not know yet | as the key's | `AT#<time>#<event id>` |
//! | a key that was deleted before its creation was heard of | as the key's | `STATE`, of kind `early` |
//! | an attempt that failed, an access key of a console's user ([`happening`]) | `TRIED#<account>#<event id>` | `AT#<time>#<event id>` |
//! | deletions begun in an account in an hour: the breaker | `HOUR#<account>#<hour>` | `COUNT` |
//! | the last sweep of an account | `SWEEP#<account>` | `LAST` |
//!
//! # What can follow
//!
//! A key is judged when it is made, when it is switched on again, when its secret is reset, and by each sweep that
//! finds it to stand otherwise. Each of these is a [`Turn`]. Within a turn outcomes only move up; a later turn takes
//! the place of an earlier one, and an earlier one that comes late is a line of history. A key that is gone has no
//! further turn. Whatever takes a state's place names the revision (`rev`) that it has read.
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
pub mod attempts;
pub mod audit;
mod codec;
#[cfg(feature = "cli")]
pub mod embedded;
pub mod happening;
mod item;
#[cfg(feature = "cli")]
pub mod merge;
mod outcome;
#[cfg(feature = "cli")]
pub mod search;
pub mod store;
mod walk;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, CancellationReason, GlobalSecondaryIndex,
    KeySchemaElement, KeyType, Projection, ProjectionType, Put, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TransactWriteItem, Update,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use self::happening::{Happening, HappeningItem};
use self::item::Item;
pub use self::item::permission_set;
pub use self::outcome::Outcome;
pub use self::walk::{LastSweep, Walk, Which};
use crate::enforce::{Key, Known, Ledger, Opened, Passed, Settled, Status};
use crate::plan::{Hands, Plan};
use key_guard_core::cloudtrail::{Actor, Provenance};
use key_guard_core::evidence::{EventEvidence, ExpirationEvidence, Reading};
use key_guard_core::key::{
    AccountId, EventId, Expiration, KeyFacts, KeyRef, KeyStatus, Lifetime, Service, UserName, days,
};
use key_guard_core::policy::{Assessment, Response, Verdict, Violation};
use key_guard_core::report::{self, Report, Severity};
use key_guard_core::words;

/// The version of the items that this build writes.
pub const SCHEMA_VERSION: u32 = 3;

/// The oldest version that this build reads.
pub const OLDEST_SCHEMA_VERSION: u32 = 2;

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
    /// It was deleted, and nothing else is known of it yet.
    Early,
    /// A call failed or was denied; no key is known that it was about.
    Attempt,
    /// A user that the console made for a key got an access key.
    AccessKeyMade,
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
            Self::Early => "early",
            Self::Attempt => "attempt",
            Self::AccessKeyMade => "access_key_made",
        }
    }
}

/// What a judgement answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// The key was made.
    Created,
    /// It was switched on.
    SwitchedOn,
    /// It got a new secret.
    SecretReset,
    /// A sweep found it.
    Sweep,
}

impl Trigger {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::SwitchedOn => "switched_on",
            Self::SecretReset => "secret_reset",
            Self::Sweep => "sweep",
        }
    }
}

/// What a judgement answers to, and when that was: later ones take the place of earlier ones, in whatever order they
/// come in. Written `<time>#<trigger>#<id>`, so that texts sort as turns do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Turn {
    /// The time from which the judgement holds.
    pub at: DateTime<Utc>,
    /// What it answers to.
    pub trigger: Trigger,
    /// The id of the event, or of the sweep.
    pub id: String,
}

impl Turn {
    /// Of an event.
    #[must_use]
    pub fn of(event: &Provenance, trigger: Trigger) -> Self {
        Self { at: event.event_time, trigger, id: event.event_id.to_string() }
    }

    /// Of a sweep that looks now.
    #[must_use]
    pub fn sweep(now: DateTime<Utc>) -> Self {
        Self { at: now, trigger: Trigger::Sweep, id: format!("sweep-{}", now.timestamp_millis()) }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        write!(f, "{at}#{}#{}", self.trigger.as_str(), self.id)
    }
}

impl From<Turn> for String {
    fn from(turn: Turn) -> Self {
        turn.to_string()
    }
}

impl FromStr for Turn {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected <time>#<trigger>#<id>";
        let mut parts = text.splitn(3, '#');
        let (Some(at), Some(trigger), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(EXPECTED);
        };
        let known = [Trigger::Created, Trigger::SwitchedOn, Trigger::SecretReset, Trigger::Sweep];
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if !(1..=64).contains(&id.len()) || !id.bytes().all(harmless) {
            return Err(EXPECTED);
        }
        Ok(Self {
            at: DateTime::parse_from_rfc3339(at).map_err(|_| EXPECTED)?.to_utc(),
            trigger: known.into_iter().find(|known| known.as_str() == trigger).ok_or(EXPECTED)?,
            id: id.to_owned(),
        })
    }
}

impl TryFrom<String> for Turn {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
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
    pub standing: Verdict,
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
    /// What it was last judged for.
    pub turn: Turn,
    /// The id of the event that told of the key's creation; `None`: none did, or not yet.
    pub event_id: Option<EventId>,
    /// That event's time; without one, when IAM says that the key was made.
    pub event_time: DateTime<Utc>,
    /// Who made the call.
    pub actor: Actor,
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
    /// When the guard switched it off, whatever came later.
    pub deactivated_at: Option<DateTime<Utc>>,
    /// It is off since then, as far as is known.
    pub as_left: bool,
    /// When somebody else has set its status last, as far as is known.
    pub touched_at: Option<DateTime<Utc>>,
    /// When it got a new secret last, as events tell.
    pub reset_at: Option<DateTime<Utc>>,
    /// When the guard began to carry its plan out.
    pub begun_at: Option<DateTime<Utc>>,
    /// In whose name ([`Keys::acts_as`](crate::enforce::Keys::acts_as)).
    pub begun_as: Option<String>,
    /// In whose name it switched the key off.
    pub deactivated_as: Option<String>,
    /// In quarantine: when a sweep may delete it, if nothing has changed until then.
    pub delete_after: Option<DateTime<Utc>>,
    /// Days from switching off to deleting, where the response is quarantine.
    pub grace_days: u32,
    /// Whether the breaker made a deactivation of its deletion.
    pub held_back: bool,
    /// Who deleted it, where it was not the guard and an event told of it.
    pub deleted_by: Option<String>,
    /// When, by that event.
    pub deleted_at: Option<DateTime<Utc>>,
    /// How often the state has been written.
    pub rev: u64,
}

impl Entry {
    /// The entry of a key that was made just now, and judged.
    #[expect(
        clippy::too_many_arguments,
        reason = "one place makes entries, and each part comes from another"
    )]
    #[must_use]
    pub fn new(
        key: &Key,
        event: &Provenance,
        judgement: &Assessment,
        policy_sha256: &str,
        plan: Plan,
        response: Response,
        source: Source,
        hands: Hands,
        now: DateTime<Utc>,
    ) -> Self {
        let turn = Turn::of(event, Trigger::Created);
        let mut entry = Self::found(key, judgement, policy_sha256, plan, response, source, hands, turn, now);
        for unreadable in &event.unreadable {
            entry.reason.push_str(" Not readable: ");
            entry.reason.push_str(unreadable);
            entry.reason.push('.');
        }
        entry.told_by(event);
        entry
    }

    /// The entry of a key of whose creation no event has told.
    #[expect(clippy::too_many_arguments, reason = "as above")]
    #[must_use]
    pub fn found(
        key: &Key,
        judgement: &Assessment,
        policy_sha256: &str,
        plan: Plan,
        response: Response,
        source: Source,
        hands: Hands,
        turn: Turn,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            key: key.key.clone(),
            user: key.user.clone(),
            former_user: None,
            service: key.service.clone(),
            created_at: judgement.created_at,
            expiration: judgement.expiration,
            standing: judgement.verdict(),
            violation: judgement.verdict.violation(),
            limit_days: judgement.limit_days,
            plan,
            response,
            outcome: match plan {
                Plan::Record(outcome) => outcome,
                Plan::Confirm(_) => Outcome::Open,
            },
            reason: words::reason(judgement),
            policy_sha256: policy_sha256.to_owned(),
            turn,
            event_id: None,
            event_time: key.created_at,
            actor: Actor::default(),
            source_ip: None,
            user_agent: None,
            source,
            rehearsal: hands == Hands::Tied,
            recorded_at: now,
            confirmed: None,
            acted_at: None,
            settled_at: match plan {
                Plan::Record(_) => Some(now),
                Plan::Confirm(_) => None,
            },
            deactivated_at: None,
            as_left: false,
            touched_at: None,
            reset_at: None,
            begun_at: None,
            begun_as: None,
            deactivated_as: None,
            delete_after: None,
            grace_days: judgement.grace_days,
            held_back: false,
            deleted_by: None,
            deleted_at: None,
            rev: 1,
        }
    }

    /// Takes over who made the key, from where, and when.
    pub fn told_by(&mut self, event: &Provenance) {
        self.event_id = Some(event.event_id.clone());
        self.event_time = event.event_time;
        self.actor = event.actor.clone();
        self.source_ip.clone_from(&event.source_ip);
        self.user_agent.clone_from(&event.user_agent);
    }

    /// The same from another entry of the key.
    pub fn told_as(&mut self, other: &Self) {
        self.event_id.clone_from(&other.event_id);
        self.event_time = other.event_time;
        self.actor = other.actor.clone();
        self.source_ip.clone_from(&other.source_ip);
        self.user_agent.clone_from(&other.user_agent);
    }

    /// Takes over what is known of the key's past, for a later turn.
    pub fn follows(&mut self, earlier: &Self) {
        self.told_as(earlier);
        self.deactivated_at = earlier.deactivated_at;
        self.touched_at = self.touched_at.max(earlier.touched_at);
        self.reset_at = self.reset_at.max(earlier.reset_at);
        self.deactivated_as.clone_from(&earlier.deactivated_as);
        self.as_left = earlier.as_left && !self.is_switched_on_since_deactivated();
        if earlier.user.is_same_user(&self.user) {
            self.former_user.clone_from(&earlier.former_user);
        } else {
            self.former_user = Some(earlier.user.clone());
        }
        if matches!(self.plan, Plan::Record(_)) {
            self.held_back = earlier.held_back;
        }
        self.rev = earlier.rev + 1;
    }

    /// Takes its turn right after another entry's, whenever that was.
    pub fn comes_after(&mut self, earlier: &Self) {
        self.turn.at = self.turn.at.max(earlier.turn.at + TimeDelta::milliseconds(1));
        self.follows(earlier);
    }

    /// The key, to be judged again on what the ledger has of it.
    #[must_use]
    pub fn as_known(&self) -> Key {
        Key {
            key: self.key.clone(),
            user: self.user.clone(),
            service: self.service.clone(),
            created_at: self.created_at,
            evidence: self.evidence(),
            is_remembered: true,
        }
    }

    /// What the ledger has of its lifetime, which is joined with what IAM says.
    #[must_use]
    pub fn evidence(&self) -> ExpirationEvidence {
        let response = match self.expiration {
            None => return ExpirationEvidence::default(),
            Some(Expiration::Never) => Reading::Missing,
            Some(Expiration::At(end)) => Reading::Read(end),
        };
        ExpirationEvidence::from(EventEvidence {
            created_at: Reading::Read(self.created_at),
            event_time: self.created_at,
            response,
            request: Reading::Missing,
            request_present: true,
        })
    }

    /// Every name that its user was seen with.
    pub fn names(&self) -> impl Iterator<Item = &UserName> {
        self.former_user.iter().chain([&self.user])
    }

    fn facts(&self) -> KeyFacts {
        KeyFacts {
            key: self.key.clone(),
            user: self.user.clone(),
            other_names: self.former_user.iter().cloned().collect(),
            service: self.service.clone(),
            created_at: self.created_at,
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        Severity::of_key(self.standing, self.violation, self.status())
    }

    /// How the key stands, as far as is known.
    fn status(&self) -> report::Status {
        let seen = match (self.confirmed.map(|confirmed| confirmed.word), self.turn.trigger) {
            (Some(Word::Active), _) => Some(KeyStatus::Active),
            (Some(Word::Inactive), _) => Some(KeyStatus::Inactive),
            (Some(Word::Expired), _) => Some(KeyStatus::Expired),
            (None, Trigger::Created | Trigger::SwitchedOn) if !self.rehearsal => Some(KeyStatus::Active),
            (None | Some(Word::NotListed), _) => None,
        };
        report::Outcome::from(self.outcome).status(seen)
    }

    /// Whether its plan is to be carried out, and someone may be at it.
    #[must_use]
    pub fn is_in_other_hands(&self, now: DateTime<Utc>) -> bool {
        !self.outcome.is_settled() && (now - self.recorded_at).abs() < crate::enforce::LEASE
    }

    /// Whether the guard had switched it off when an event happened.
    #[must_use]
    pub fn was_deactivated_before(&self, event_time: DateTime<Utc>) -> bool {
        is_since(self.deactivated_at, event_time)
    }

    /// Somebody else has set its status: if that was after the guard had switched it off, no quarantine ends.
    pub fn touch(&mut self, at: Option<DateTime<Utc>>) {
        self.touched_at = self.touched_at.max(at);
        if at.is_some_and(|at| self.was_deactivated_before(at)) {
            self.as_left = false;
            self.delete_after = None;
        }
    }

    /// Takes over that something happened to the key, which its quarantine may depend on. Answers whether that was news.
    pub fn hears_of(&mut self, kind: Kind, at: DateTime<Utc>, is_own: bool) -> bool {
        match kind {
            Kind::SwitchedOff if is_own => false,
            // The guard switches none on.
            Kind::SwitchedOn | Kind::SwitchedOff => {
                let is_news = self.touched_at < Some(at);
                self.touch(Some(at));
                is_news
            }
            Kind::SecretReset => {
                let is_news = self.reset_at < Some(at);
                self.reset_at = self.reset_at.max(Some(at));
                is_news
            }
            Kind::State
            | Kind::Judged
            | Kind::Confirmed
            | Kind::Settled
            | Kind::Deleted
            | Kind::Early
            | Kind::Attempt
            | Kind::AccessKeyMade => false,
        }
    }

    /// Whether the guard made this call, in whosever name it acted. Who runs a sweep does other things in that name, too,
    /// at other times.
    #[must_use]
    pub fn is_own_call(&self, actor: &Actor, event_time: DateTime<Utc>) -> bool {
        let is_in = |from, to: Option<DateTime<Utc>>| {
            is_since(from, event_time) && to.is_some_and(|to| event_time < to + crate::enforce::LEASE)
        };
        let is_named = |own: &Option<String>| {
            own.as_ref().is_some_and(|own| crate::enforce::is_principal(actor, &self.key.account, own))
        };
        let has_deactivated =
            is_in(self.deactivated_at, self.deactivated_at) && is_named(&self.deactivated_as);
        // As long as it does not know what it did, any time from its first try to its last.
        let is_unknown = !self.outcome.is_settled() || self.outcome == Outcome::AlreadyInactive;
        let to = if is_unknown { Some(self.recorded_at) } else { self.acted_at };
        has_deactivated || (is_in(self.begun_at, to) && is_named(&self.begun_as))
    }

    /// Whether its turn is that of someone switching it on after the guard had switched it off.
    fn is_switched_on_since_deactivated(&self) -> bool {
        self.turn.trigger == Trigger::SwitchedOn && self.was_deactivated_before(self.turn.at)
    }

    /// Whether the guard had switched it off and it works again. A list may lag behind what the guard did just now.
    #[must_use]
    pub fn is_switched_on_again(&self, status: Status) -> bool {
        const LAG: TimeDelta = crate::enforce::CONSISTENCY_WINDOW;
        status == Status::Active
            && match self.turn.trigger {
                Trigger::SwitchedOn => self.is_switched_on_since_deactivated(),
                Trigger::Created | Trigger::SecretReset | Trigger::Sweep => {
                    self.deactivated_at.is_some_and(|at| self.turn.at > at + LAG)
                }
            }
    }

    /// Whether the grace of its quarantine is over, and nothing has changed since it began.
    #[must_use]
    pub fn is_due(&self, grace_days: u32, now: DateTime<Utc>) -> bool {
        let grace = TimeDelta::days(grace_days.into());
        self.as_left
            && self.delete_after.is_some_and(|due| due <= now)
            && self.deactivated_at.is_some_and(|at| at + grace <= now)
            && self.reset_at.is_none_or(|at| at + grace <= now)
    }

    /// Takes over what IAM said of the key, and what was judged of that.
    pub fn take_over(&mut self, key: &Key, judgement: &Assessment, policy_sha256: &str) {
        self.user = key.user.clone();
        self.service = key.service.clone();
        self.created_at = judgement.created_at;
        self.expiration = judgement.expiration;
        self.standing = judgement.verdict();
        self.violation = judgement.verdict.violation();
        self.limit_days = judgement.limit_days;
        self.grace_days = judgement.grace_days;
        self.reason = words::reason(judgement);
        if !judgement.requires_quarantine() {
            self.delete_after = None;
        }
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
        let status = self.status();
        Report {
            account: Some(self.key.account.clone()),
            service: Some(self.service.clone()),
            user: Some(self.user.clone()),
            credential_id: Some(self.key.id.clone()),
            created_at: Some(self.created_at),
            expires_at,
            lifetime_days,
            limit_days: Some(self.limit_days),
            verdict: Some(self.standing),
            violation: self.violation,
            severity: self.severity(),
            status,
            response: self.response,
            outcome: self.outcome.into(),
            reason: self.reason.clone(),
            remediation: words::remediation(&self.facts(), self.standing, self.limit_days, status),
            actor: self.actor.principal.clone(),
            source_ip: self.source_ip.clone(),
            user_agent: self.user_agent.clone(),
            event_id: self.event_id.clone(),
            event_time: self.event_id.is_some().then_some(self.event_time),
            policy_sha256: Some(self.policy_sha256.clone()),
            rate_limited: self.held_back && matches!(self.plan, Plan::Confirm(_)),
        }
    }
}

/// Whether an event happened since then: its time has no fraction.
fn is_since(then: Option<DateTime<Utc>>, event_time: DateTime<Utc>) -> bool {
    then.is_some_and(|then| event_time + TimeDelta::seconds(1) > then)
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
const LONGEST_PAUSE_WHEN_BUSY: Duration = Duration::from_secs(1);

/// How often a deletion wants to be counted: about seven seconds long.
const TRIES_TO_COUNT: u32 = 12;

/// Half of a pause to all of it, so that those who waited for the same do not meet again.
fn uneven(pause: Duration) -> Duration {
    let dice = u32::try_from(RandomState::new().hash_one(pause) % 512).unwrap_or_default();
    pause / 2 + pause / 1024 * dice
}

/// Entries to a transaction, which takes 100 items (DynamoDB API reference, `TransactWriteItems`).
const AT_ONCE: usize = 50;

/// The condition for an item that is not there yet.
const NEW: &str = "attribute_not_exists(pk)";

/// What came of a conditional write.
enum Written {
    Done,
    /// The first item's condition did not hold; this is the item that is there.
    Refused(Known),
    /// The history line was there.
    LineThere,
    /// The breaker's count is full, or too many want to count at once.
    Spent,
}

/// A deletion that is to be counted: at most so many in an hour, in the key's account.
#[derive(Debug, Clone, Copy)]
struct Counted {
    most: u32,
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

    /// Writes the entry on `condition`, a history line, and the breaker's count, in one call.
    async fn write(
        &self,
        entry: &Entry,
        condition: Condition,
        line: Option<(&Entry, &NewLine)>,
        counted: Option<Counted>,
    ) -> Result<Written, LedgerError> {
        let pk = item::partition(&entry.key);
        let mut items = vec![self.state(entry, condition)?];
        if let Some((then, line)) = line {
            items.push(TransactWriteItem::builder().put(self.line(then, line)?).build());
        }
        if let Some(counted) = counted {
            items.push(self.count(entry, counted)?);
        }
        let call = self.client.transact_write_items().set_transact_items(Some(items));
        let mut pause = FIRST_PAUSE_WHEN_BUSY;
        let mut tries = 0;
        loop {
            tries += 1;
            let Err(error) = call.clone().send().await else {
                return Ok(Written::Done);
            };
            match self.refusal(&pk, error, line.is_some())? {
                Refusal::There(known) => return Ok(Written::Refused(known)),
                Refusal::LineThere => return Ok(Written::LineThere),
                Refusal::Spent => return Ok(Written::Spent),
                // All deletions of an account count at the same place, and want to at the same time.
                Refusal::Busy { counter: true, .. } if tries == TRIES_TO_COUNT => return Ok(Written::Spent),
                Refusal::Busy { counter: false, code } if tries >= TRIES_WHEN_BUSY => {
                    return Err(LedgerError::Busy { pk, code });
                }
                Refusal::Busy { .. } => {
                    tokio::time::sleep(uneven(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE_WHEN_BUSY);
                }
            }
        }
    }

    /// The entry, on `condition`.
    fn state(&self, entry: &Entry, condition: Condition) -> Result<TransactWriteItem, LedgerError> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(self.encode(&Item::state(entry))?))
            .condition_expression(condition.expression())
            .set_expression_attribute_values(condition.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().put(self.built(put.build())?).build())
    }

    /// One more deletion in the account's hour, unless there were enough.
    fn count(&self, entry: &Entry, Counted { most }: Counted) -> Result<TransactWriteItem, LedgerError> {
        let hour = entry.recorded_at.format("%Y-%m-%dT%H");
        let update = Update::builder()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(format!("HOUR#{}#{hour}", entry.key.account)))
            .key("sk", AttributeValue::S("COUNT".to_owned()))
            .update_expression("ADD deletions :one")
            .condition_expression("attribute_not_exists(deletions) OR deletions < :most")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":most", AttributeValue::N(most.to_string()));
        Ok(TransactWriteItem::builder().update(self.built(update.build())?).build())
    }

    /// A new entry, and its first history line.
    fn puts(&self, entry: &Entry) -> Result<[TransactWriteItem; 2], LedgerError> {
        let line = self.line(entry, &NewLine::opened(entry))?;
        Ok([self.state(entry, Condition::New)?, TransactWriteItem::builder().put(line).build()])
    }

    /// A history line, if it is not there.
    fn line(&self, entry: &Entry, line: &NewLine) -> Result<Put, LedgerError> {
        let item = self.encode(&Item::line(entry, line))?;
        let put = Put::builder().table_name(&self.table).set_item(Some(item)).condition_expression(NEW);
        self.built(put.build())
    }

    /// Makes entries of different keys in one call: all of them or none.
    async fn open_together(&self, entries: &[&Entry]) -> Together {
        let puts = entries.iter().map(|entry| self.puts(entry));
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
                if code(reason) != "ConditionalCheckFailed" {
                    return None;
                }
                match decode(&item::partition(&entry.key), reason) {
                    Ok(Known::Entry(entry)) => Some(*entry),
                    Ok(Known::Deleted(_)) | Err(_) => None,
                }
            })
            .collect();
        if there.iter().any(Option::is_some) { Together::There(there) } else { Together::Unclear }
    }

    /// Reads a refused transaction apart: "already there", "busy", or a real failure.
    fn refusal(
        &self,
        pk: &str,
        error: SdkError<TransactWriteItemsError>,
        has_line: bool,
    ) -> Result<Refusal, LedgerError> {
        const REFUSED: &str = "ConditionalCheckFailed";
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let reasons = cancelled.cancellation_reasons();
            let counter = if has_line { 2 } else { 1 };
            if let Some(old) = reasons.first().filter(|reason| code(reason) == REFUSED) {
                return decode(pk, old).map(Refusal::There);
            }
            if let Some(reason) = reasons.iter().take(counter).find(|reason| is_busy(code(reason))) {
                return Ok(Refusal::Busy { code: code(reason).to_owned(), counter: false });
            }
            if has_line && reasons.get(1).is_some_and(|reason| code(reason) == REFUSED) {
                return Ok(Refusal::LineThere);
            }
            if let Some(reason) = reasons.get(counter) {
                if code(reason) == REFUSED {
                    return Ok(Refusal::Spent);
                }
                if is_busy(code(reason)) {
                    return Ok(Refusal::Busy { code: code(reason).to_owned(), counter: true });
                }
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

fn decode(pk: &str, reason: &CancellationReason) -> Result<Known, LedgerError> {
    let item = reason
        .item()
        .ok_or_else(|| unreadable(pk, "DynamoDB did not return it with the failed condition".to_owned()))?;
    stored(pk, item.clone())
}

/// A state as it is stored.
fn stored(pk: &str, item: HashMap<String, AttributeValue>) -> Result<Known, LedgerError> {
    let read = if HappeningItem::is(&item) {
        HappeningItem::read(item).map(|item| Known::Deleted(Box::new(item.into())))
    } else {
        Item::read(item).and_then(Item::entry).map(|entry| Known::Entry(Box::new(entry)))
    };
    read.map_err(|why| unreadable(pk, why))
}

fn unreadable(pk: &str, why: String) -> LedgerError {
    LedgerError::Unreadable { pk: pk.to_owned(), sk: item::STATE.to_owned(), why }
}

enum Refusal {
    There(Known),
    LineThere,
    Spent,
    Busy { code: String, counter: bool },
}

/// On what a state is written.
#[derive(Debug, Clone, Copy)]
enum Condition {
    /// None is there.
    New,
    /// The one that is there is still of this revision.
    Still(u64),
    /// The same, and its outcome is below this rank.
    Rising(u64, u32),
}

impl Condition {
    const fn expression(self) -> &'static str {
        match self {
            Self::New => NEW,
            // Before version 3 there was none.
            Self::Still(0) => "attribute_exists(pk) AND (attribute_not_exists(rev) OR rev = :rev)",
            Self::Still(_) => "rev = :rev",
            Self::Rising(0, _) => {
                "attribute_exists(pk) AND (attribute_not_exists(rev) OR rev = :rev) AND outcome_rank < :rank"
            }
            Self::Rising(..) => "rev = :rev AND outcome_rank < :rank",
        }
    }

    fn values(self) -> Option<HashMap<String, AttributeValue>> {
        let number = |name: &str, number: u64| (name.to_owned(), AttributeValue::N(number.to_string()));
        match self {
            Self::New => None,
            Self::Still(rev) => Some(HashMap::from([number(":rev", rev)])),
            Self::Rising(rev, rank) => {
                Some(HashMap::from([number(":rev", rev), number(":rank", rank.into())]))
            }
        }
    }
}

/// Whether a cancellation passes by itself.
fn is_busy(code: &str) -> bool {
    matches!(code, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
}

fn code(reason: &CancellationReason) -> &str {
    reason.code().unwrap_or_default()
}

impl Ledger for DynamoLedger {
    async fn open(&self, entry: &Entry, most_deletions_an_hour: Option<u32>) -> Result<Opened, LedgerError> {
        let line = NewLine::opened(entry);
        self.place(entry, Condition::New, (entry, &line), most_deletions_an_hour).await
    }

    async fn replace(
        &self,
        entry: &Entry,
        over: u64,
        line: NewLine,
        then: &Entry,
        most_deletions_an_hour: Option<u32>,
    ) -> Result<Opened, LedgerError> {
        self.place(entry, Condition::Still(over), (then, &line), most_deletions_an_hour).await
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
                Together::There(there) => answers.extend(
                    there
                        .into_iter()
                        .map(|stored| Some(Ok(Opened::Existing(Known::Entry(Box::new(stored?)))))),
                ),
                Together::Unclear => {
                    for entry in wanted {
                        // What is opened together is not acted upon.
                        answers.push(Some(self.open(entry, None).await));
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

    async fn read(
        &self,
        keys: &[KeyRef],
    ) -> Result<HashMap<KeyRef, Result<Known, LedgerError>>, LedgerError> {
        self.states(keys).await
    }

    async fn remember(&self, happening: &Happening, gone: bool) -> Result<Option<Known>, LedgerError> {
        let mut items = vec![TransactWriteItem::builder().put(self.happening(happening, false)?).build()];
        if gone {
            items.push(TransactWriteItem::builder().put(self.happening(happening, true)?).build());
        }
        let Err(error) = self.client.transact_write_items().set_transact_items(Some(items)).send().await
        else {
            return Ok(None);
        };
        let pk = happening.partition();
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let reasons = cancelled.cancellation_reasons();
            if let Some(state) = reasons.get(1).filter(|reason| code(reason) == "ConditionalCheckFailed") {
                return decode(&pk, state).map(Some);
            }
            if let Some(reason) = reasons.iter().find(|reason| is_busy(code(reason))) {
                return Err(LedgerError::Busy { pk, code: code(reason).to_owned() });
            }
            // Its line was written before.
            if reasons.first().is_some_and(|reason| code(reason) == "ConditionalCheckFailed") {
                if gone {
                    let put = TransactWriteItem::builder().put(self.happening(happening, true)?).build();
                    let call = self.client.transact_write_items().transact_items(put);
                    return match call.send().await {
                        Ok(_) => Ok(None),
                        Err(error) => match self.refusal(&pk, error, false)? {
                            Refusal::There(known) => Ok(Some(known)),
                            Refusal::Busy { code, .. } => Err(LedgerError::Busy { pk, code }),
                            Refusal::LineThere | Refusal::Spent => Ok(None),
                        },
                    };
                }
                return Ok(None);
            }
        }
        Err(self.failed("TransactWriteItems", error))
    }

    async fn note(&self, entry: &Entry, line: NewLine) -> Result<(), LedgerError> {
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

    async fn walk(
        &self,
        account: &AccountId,
        which: Which,
        walk: &mut Walk,
    ) -> Result<Option<Passed>, LedgerError> {
        self.entries(account, which, walk).await
    }

    async fn last_sweep(&self, account: &AccountId) -> Result<Option<LastSweep>, LedgerError> {
        self.swept_before(account).await
    }

    async fn swept(&self, account: &AccountId, sweep: &LastSweep) -> Result<(), LedgerError> {
        self.write_sweep(account, sweep).await
    }

    async fn settle(&self, entry: &Entry, at: DateTime<Utc>) -> Result<Settled, LedgerError> {
        let settled = entry.outcome.is_settled();
        let mut entry = Entry { settled_at: settled.then_some(at), ..entry.clone() };
        let kind = if settled { Kind::Settled } else { Kind::Confirmed };
        let line = NewLine { kind, at, id: format!("{}.{}", entry.turn.id, entry.outcome) };
        let mut has_line = true;
        for _ in 0..TRIES_WHEN_OUTRUN {
            let over = Condition::Rising(entry.rev, entry.outcome.rank());
            entry.rev += 1;
            let written = self.write(&entry, over, has_line.then_some((&entry, &line)), None).await?;
            entry.rev -= 1;
            match written {
                Written::Done => {
                    entry.rev += 1;
                    return Ok(Settled::Now(Box::new(entry)));
                }
                Written::LineThere => has_line = false,
                Written::Spent => {}
                Written::Refused(Known::Deleted(_)) => {
                    return Err(unreadable(
                        &item::partition(&entry.key),
                        "a key with an entry is called unknown".to_owned(),
                    ));
                }
                Written::Refused(Known::Entry(stored)) => {
                    let moves_up = stored.turn == entry.turn && stored.outcome.rank() < entry.outcome.rank();
                    if !moves_up {
                        return Ok(Settled::Before(stored));
                    }
                    // What others have learnt in the meantime stays.
                    if entry.event_id.is_none() {
                        entry.told_as(&stored);
                    }
                    entry.touch(stored.touched_at);
                    entry.rev = stored.rev;
                }
            }
        }
        Err(LedgerError::Busy { pk: item::partition(&entry.key), code: "changed in between".to_owned() })
    }
}

/// How often a state is written again that others have written in between.
const TRIES_WHEN_OUTRUN: usize = 8;

impl DynamoLedger {
    /// Puts an entry where it belongs, with a history line, and counts it where it is to be deleted.
    async fn place(
        &self,
        entry: &Entry,
        condition: Condition,
        line: (&Entry, &NewLine),
        most_deletions_an_hour: Option<u32>,
    ) -> Result<Opened, LedgerError> {
        let counted = match entry.plan {
            Plan::Confirm(Response::Delete) => most_deletions_an_hour.map(|most| Counted { most }),
            Plan::Confirm(
                Response::None | Response::Monitor | Response::Deactivate | Response::Quarantine,
            )
            | Plan::Record(_) => None,
        };
        if counted.is_some_and(|counted| counted.most == 0) {
            return Ok(Opened::Spent);
        }
        let mut written = self.write(entry, condition, Some(line), counted).await?;
        if matches!(written, Written::LineThere) {
            written = self.write(entry, condition, None, counted).await?;
        }
        Ok(match written {
            Written::Done | Written::LineThere => Opened::New,
            Written::Refused(known) => Opened::Existing(known),
            Written::Spent => Opened::Spent,
        })
    }

    /// What happened to a key that the ledger does not know: a line, or that it is gone.
    fn happening(&self, happening: &Happening, gone: bool) -> Result<Put, LedgerError> {
        let item = HappeningItem::new(happening, gone);
        let item = serde_dynamo::to_item(item).map_err(|error| self.not_built(error))?;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(NEW)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        self.built(put.build())
    }
}

/// A history line to be written.
#[derive(Debug, Clone)]
pub struct NewLine {
    /// What happened.
    pub kind: Kind,
    /// When.
    pub at: DateTime<Utc>,
    /// What tells it from others of the same second.
    pub id: String,
}

impl NewLine {
    /// The first one of a turn.
    #[must_use]
    pub fn opened(entry: &Entry) -> Self {
        let kind = match entry.turn.trigger {
            Trigger::Created | Trigger::Sweep => Kind::Judged,
            Trigger::SwitchedOn => Kind::SwitchedOn,
            Trigger::SecretReset => Kind::SecretReset,
        };
        Self { kind, at: entry.turn.at, id: entry.turn.id.clone() }
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
