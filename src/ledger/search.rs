//! What the ledger is asked, and how: by `Query` on the table or an index, never by a scan.
//!
//! | question | path | calls |
//! | --- | --- | --- |
//! | a key | `by_id`; its history from the table | 2 |
//! | a user, in any account | `by_user` | 1, and `BatchGetItem` for each 100 keys whose user had that name before |
//! | an actor by ARN | `by_actor`, and `by_role` for a role's | 1, and 2 |
//! | an actor by session, user or service name, e-mail address, role or permission set | `by_actor` and `by_role` | 2 |
//! | what is open | `by_open` | 4 |
//! | an account | `by_account` | 4 |
//! | anything else | `by_day` | 16 for each day, [`LONGEST_DAYS`] at most |
//!
//! One path is taken, the most selective that a question names; what else it says is a filter on that path. A
//! call answers 1 MB, so that there is another for each further megabyte on the path that is in the range of
//! time. An eventually consistent read costs half a unit for each 4 KB that it passes, filtered out or not, and
//! half a unit where nothing is: a day without keys costs 8 units, a page of 100 keys about 20. Nothing of this
//! depends on the size of the table.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use aws_sdk_dynamodb::types::{AttributeValue, ConsumedCapacity, ReturnConsumedCapacity};
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use futures_util::future::try_join_all;

use super::attempts;
use super::happening::{Happening, HappeningItem};
use super::item::{self, Item, Names};
use super::walk::BATCH;
use super::{DynamoLedger, Entry, Kind, LedgerError, Line, SCHEMA_VERSION};
use crate::ledger::Outcome;
use key_guard_core::key::{AccountId, CredentialId, KeyRef, Service, UserName};
use key_guard_core::policy::{Verdict, Violation};

/// The most days that one question walks.
pub const LONGEST_DAYS: u64 = 1_100;

/// Days that are asked for at the same time: 16 calls each.
const DAYS_AT_ONCE: usize = 2;

const LARGEST_PAGE: i32 = 1_000;

/// What is asked for. All that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// One key.
    pub key: Option<CredentialId>,
    /// Keys of an account.
    pub account: Option<AccountId>,
    /// Keys of a user, under any name that the user had.
    pub user: Option<UserName>,
    /// Keys that were made by someone.
    pub actor: Option<Actor>,
    /// Keys for a service.
    pub service: Option<Service>,
    /// Keys that stand so.
    pub verdict: Option<Verdict>,
    /// Keys that are noncompliant for this.
    pub violation: Option<Violation>,
    /// Keys that ended so.
    pub outcome: Option<Outcome>,
    /// Keys that were made from an address.
    pub source_ip: Option<String>,
    /// Keys whose event is not before this.
    pub since: Option<DateTime<Utc>>,
    /// Keys whose event is before this.
    pub until: Option<DateTime<Utc>>,
    /// Keys whose plan was not carried out yet.
    pub open: bool,
}

/// Someone, as people remember them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The whole ARN: of the principal, or of the role that it assumed.
    Arn(String),
    /// A name, in any case: of a user, a session, a service, a role or a permission set; an e-mail address, or
    /// what is before its `@`.
    Name(String),
}

impl From<&str> for Actor {
    fn from(text: &str) -> Self {
        if text.starts_with("arn:") { Self::Arn(text.to_owned()) } else { Self::Name(text.to_owned()) }
    }
}

impl Actor {
    fn is(&self, entry: &Entry) -> bool {
        self.made(&entry.actor)
    }

    /// Whether a call was made by whoever is meant.
    pub(super) fn made(&self, by: &key_guard_core::cloudtrail::Actor) -> bool {
        let (principal, issuer) = (by.principal.as_deref(), by.session_issuer.as_deref());
        match self {
            Self::Arn(arn) => principal == Some(arn) || issuer == Some(arn),
            Self::Name(wanted) => {
                let known = Names::of(principal, issuer);
                // An address that was given whole is meant whole.
                let named = known.name.as_deref() == Some(&item::index_name(wanted))
                    && (!wanted.contains('@') || last_part_is(principal, wanted));
                let is_role = known.role.as_deref() == Some(&item::index_role(wanted))
                    && (item::index_role(wanted).eq_ignore_ascii_case(wanted)
                        || [principal, issuer].iter().flatten().any(|arn| has_part(arn, wanted)));
                named || is_role
            }
        }
    }
}

/// An address may be written in more than one way; the name of a service may not.
fn is_same_address(found: Option<&str>, wanted: &str) -> bool {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    found.is_some_and(|found| {
        found == wanted || address(found).is_some_and(|found| Some(found) == address(wanted))
    })
}

fn last_part_is(arn: Option<&str>, wanted: &str) -> bool {
    let resource = arn.map(|arn| arn.splitn(6, ':').nth(5).unwrap_or(arn));
    resource.and_then(|name| name.rsplit('/').next()).is_some_and(|last| last.eq_ignore_ascii_case(wanted))
}

fn has_part(arn: &str, wanted: &str) -> bool {
    arn.split('/').any(|part| part.eq_ignore_ascii_case(wanted))
}

/// The way that a question takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// By credential id.
    Id,
    /// By user.
    User,
    /// By actor.
    Actor,
    /// What is open.
    Open,
    /// By account.
    Account,
    /// By day: needs bounds of time.
    Day,
}

/// Why a question cannot be asked like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this question walks the ledger by day, at most {LONGEST_DAYS} days at a time, and these are {days}: narrow it \
     with --since and --until, or name a key, a user, an actor or an account"
)]
pub struct TooManyDays {
    /// How many days it would walk.
    pub days: u64,
}

impl Filter {
    /// The way that this question takes.
    #[must_use]
    pub const fn path(&self) -> Path {
        if self.key.is_some() {
            Path::Id
        } else if self.user.is_some() {
            Path::User
        } else if self.actor.is_some() {
            Path::Actor
        } else if self.open {
            Path::Open
        } else if self.account.is_some() {
            Path::Account
        } else {
            Path::Day
        }
    }

    /// Whether an entry is asked for.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        let user = |wanted: &UserName| {
            let former = entry.former_user.as_ref();
            // Whoever was found by `by_user` had that name once.
            self.path() == Path::User
                || entry.user.is_same_user(wanted)
                || former.is_some_and(|former| former.is_same_user(wanted))
        };
        is(self.key.as_ref(), &entry.key.id)
            && is(self.account.as_ref(), &entry.key.account)
            && self.user.as_ref().is_none_or(user)
            && self.actor.as_ref().is_none_or(|actor| actor.is(entry))
            && is(self.service.as_ref(), &entry.service)
            && is(self.verdict.as_ref(), &entry.standing)
            && self.violation.is_none_or(|wanted| entry.violation == Some(wanted))
            && is(self.outcome.as_ref(), &entry.outcome)
            && self
                .source_ip
                .as_deref()
                .is_none_or(|wanted| is_same_address(entry.source_ip.as_deref(), wanted))
            && self.since.is_none_or(|since| since <= entry.event_time)
            && self.until.is_none_or(|until| entry.event_time < until)
            && (!self.open || !entry.outcome.is_settled())
    }

    /// Whether what happened to a key before it was known is asked for: of that, no verdict is known.
    fn matches_early(&self, early: &Happening) -> bool {
        let Self { actor, verdict, violation, outcome, source_ip, open, .. } = self;
        attempts::matches(self, early)
            // Who made the key, from where, is not known.
            && actor.is_none() && source_ip.is_none()
            && verdict.is_none() && violation.is_none() && outcome.is_none() && !open
    }

    /// What of this can be left to DynamoDB, where keys are read as they stand. What is half written, or of another
    /// version, passes: it is to be reported.
    fn expression(&self) -> (Vec<String>, HashMap<String, String>, HashMap<String, AttributeValue>) {
        let text = |text: &str| Some(AttributeValue::S(text.to_owned()));
        let parts = [
            ("account", self.account.as_ref().and_then(|account| text(account.as_str()))),
            ("service", self.service.as_ref().and_then(|service| text(service.as_str()))),
            ("verdict", self.verdict.and_then(|verdict| text(verdict.as_str()))),
            ("violation", self.violation.and_then(|violation| text(violation.as_str()))),
            ("outcome", self.outcome.and_then(|outcome| text(outcome.as_str()))),
        ];
        let (mut conditions, mut names, mut values) = (Vec::new(), HashMap::new(), HashMap::new());
        for (attribute, value) in parts {
            if let Some(value) = value {
                conditions
                    .push(format!("(#{attribute} = :{attribute} OR attribute_not_exists(#{attribute}))"));
                names.insert(format!("#{attribute}"), attribute.to_owned());
                values.insert(format!(":{attribute}"), value);
            }
        }
        (conditions, names, values)
    }

    /// The partitions to read, in groups: each group is newer than the next.
    fn partitions(
        &self,
        before: Option<&Position>,
        now: DateTime<Utc>,
    ) -> Result<VecDeque<Vec<Partition>>, TooManyDays> {
        let at = |index, key, value| Partition { index, key, value };
        let spread = |count: u32, of: &dyn Fn(u32) -> Partition| (0..count).map(of).collect::<Vec<_>>();
        let named = |name: String| at("by_actor", "actor_key", item::name_key(&name));
        let assumed = |role: String| at("by_role", "role_key", item::role_key(&role));
        let group = match (self.path(), &self.key, &self.user, &self.actor, &self.account) {
            (Path::Id, Some(id), ..) => vec![at("by_id", "id_key", item::id_key(id))],
            (Path::User, _, Some(user), ..) => {
                vec![at("by_user", "user_key", item::name_key(&item::index_user(user)))]
            }
            (Path::Actor, _, _, Some(Actor::Arn(arn)), _) => {
                let role = Names::of(None, Some(arn)).role.map(assumed);
                role.into_iter().chain(Names::of(Some(arn), None).name.map(named)).collect()
            }
            (Path::Actor, _, _, Some(Actor::Name(name)), _) => {
                vec![named(item::index_name(name)), assumed(item::index_role(name))]
            }
            (Path::Open, ..) => spread(item::FEW, &|shard| at("by_open", "open_key", item::open_key(shard))),
            (Path::Account, _, _, _, Some(account)) => {
                spread(item::FEW, &|shard| at("by_account", "account_key", item::account_key(account, shard)))
            }
            _ => {
                let days = self.days(before, now)?;
                return Ok(days
                    .chunks(DAYS_AT_ONCE)
                    .map(|days| {
                        days.iter()
                            .flat_map(|day| {
                                spread(item::MANY, &|shard| {
                                    at("by_day", "day_key", item::day_key(*day, shard))
                                })
                            })
                            .collect()
                    })
                    .collect());
            }
        };
        Ok(VecDeque::from([group]))
    }

    /// The days to walk, newest first. Without an end it is tomorrow, since clocks differ.
    fn days(&self, before: Option<&Position>, now: DateTime<Utc>) -> Result<Vec<NaiveDate>, TooManyDays> {
        let tomorrow = now + TimeDelta::days(1);
        let mut last = self.until.map_or(tomorrow, |until| until - TimeDelta::nanoseconds(1)).date_naive();
        if let Some(day) = before.and_then(Position::day) {
            last = last.min(day);
        }
        let first = self.since.unwrap_or(tomorrow - TimeDelta::days(91)).date_naive();
        let span = u64::try_from((last - first).num_days() + 1).unwrap_or_default();
        if span > LONGEST_DAYS {
            return Err(TooManyDays { days: span });
        }
        Ok((0..span).filter_map(|back| last.checked_sub_days(Days::new(back))).collect())
    }
}

/// A place between two entries of an answer: what comes behind the entry that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(String);

impl Position {
    fn day(&self) -> Option<NaiveDate> {
        self.0.get(..10)?.parse().ok()
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No # in it, which some shells take for the beginning of a comment.
        f.write_str(&self.0.replacen('#', "/", 1))
    }
}

impl std::str::FromStr for Position {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "expected what a page ended with, like 2026-11-20T09:07:00Z/ACCAEXAMPLEKEY0000001";
        let (time, id) = text.split_once('/').ok_or(EXPECTED)?;
        let time = DateTime::parse_from_rfc3339(time).map_err(|_| EXPECTED)?.to_utc();
        let id: CredentialId = id.parse().map_err(|_| EXPECTED)?;
        Ok(Self(item::at_key(time, &id)))
    }
}

#[derive(Debug, Clone)]
struct Partition {
    index: &'static str,
    key: &'static str,
    value: String,
}

type Attributes = HashMap<String, AttributeValue>;

/// A partition as far as it was read.
#[derive(Debug)]
struct Stream {
    partition: Partition,
    /// With their places, newest first.
    read: VecDeque<(String, Attributes)>,
    from: Option<Attributes>,
    more: bool,
    page: i32,
}

impl Stream {
    fn is_dry(&self) -> bool {
        self.read.is_empty() && self.more
    }
}

/// What a question has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Calls of DynamoDB.
    pub calls: u64,
    /// Read capacity units, as DynamoDB says.
    pub units: f64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.units += other.units;
    }
}

impl Cost {
    pub(super) fn count<'a>(&mut self, consumed: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        self.calls += 1;
        self.units += consumed.into_iter().filter_map(ConsumedCapacity::capacity_units).sum::<f64>();
    }
}

/// A question on its way through the ledger: entries, newest first.
#[derive(Debug)]
pub struct Search<'a> {
    ledger: &'a DynamoLedger,
    filter: Filter,
    groups: VecDeque<Vec<Partition>>,
    streams: Vec<Stream>,
    before: Option<Position>,
    /// With the places at which they were found.
    ready: VecDeque<(String, Entry)>,
    /// Whether one key may be found more than once.
    overlap: bool,
    /// Keys that were found, where that matters.
    seen: HashSet<KeyRef>,
    batch: usize,
    page: i32,
    unreadable: Vec<LedgerError>,
    early: Vec<Happening>,
    cost: Cost,
    last: Option<Position>,
}

impl<'a> Search<'a> {
    /// Begins at the newest entry, or behind the place where a page has ended. About `wanted` entries are read
    /// at a time.
    ///
    /// # Errors
    /// When too many days would have to be walked.
    pub fn new(
        ledger: &'a DynamoLedger,
        filter: Filter,
        before: Option<Position>,
        wanted: usize,
        now: DateTime<Utc>,
    ) -> Result<Self, TooManyDays> {
        let (groups, path) = (filter.partitions(before.as_ref(), now)?, filter.path());
        let width = groups.front().map_or(1, Vec::len).max(1);
        // One more tells whether there are more.
        let wanted = wanted.saturating_add(1);
        let page = i32::try_from(wanted.saturating_mul(2).div_ceil(width))
            .unwrap_or(LARGEST_PAGE)
            .clamp(8, LARGEST_PAGE);
        Ok(Self {
            ledger,
            filter,
            groups,
            streams: Vec::new(),
            before,
            ready: VecDeque::new(),
            overlap: match path {
                Path::User | Path::Actor => true,
                Path::Id | Path::Open | Path::Account | Path::Day => false,
            },
            seen: HashSet::new(),
            batch: wanted.clamp(1, BATCH),
            page,
            unreadable: Vec::new(),
            early: Vec::new(),
            cost: Cost::default(),
            last: None,
        })
    }

    /// The next entry.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in [`Search::unreadable`].
    pub async fn next(&mut self) -> Result<Option<Entry>, LedgerError> {
        loop {
            if let Some((at, entry)) = self.ready.pop_front() {
                self.last = Some(Position(at));
                return Ok(Some(entry));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Where the entries that were taken end.
    #[must_use]
    pub const fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// What was passed over since this was last called: items that this build cannot read.
    pub fn unreadable(&mut self) -> Vec<LedgerError> {
        std::mem::take(&mut self.unreadable)
    }

    /// What was passed since this was last called: what happened to the key that was asked for, newest first, where the
    /// ledger has no entry of it.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn early(&mut self) -> Result<Vec<Happening>, LedgerError> {
        let mut early = std::mem::take(&mut self.early);
        let mut keys: Vec<_> = early.iter().filter_map(Happening::key).collect();
        keys.sort();
        keys.dedup();
        for keys in keys.chunks(BATCH) {
            let states = self.ledger.batch(keys, &mut self.cost).await?;
            let known: HashSet<_> = states
                .iter()
                .filter(|attributes| !HappeningItem::is(attributes))
                .filter_map(|attributes| attributes.get("pk")?.as_s().ok())
                .collect();
            early.retain(|one| one.key().is_some_and(|key| !known.contains(&item::partition(&key))));
        }
        Ok(early)
    }

    /// What it has cost so far.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Reads up to a batch of entries. `false`: there are no more.
    async fn fill(&mut self) -> Result<bool, LedgerError> {
        let mut found = Vec::new();
        while found.len() < self.batch {
            let Some((at, attributes)) = self.pop().await? else { break };
            if HappeningItem::is(&attributes) {
                match HappeningItem::read(attributes.clone()).map(Happening::from) {
                    Ok(early) if self.filter.matches_early(&early) => self.early.push(early),
                    Ok(_) => {}
                    Err(why) => self.unreadable.push(foreign(&attributes, why)),
                }
                continue;
            }
            match Item::read(attributes.clone()).and_then(|item| Ok((item.kind, item.entry()?))) {
                Ok((kind, entry)) => {
                    if !self.overlap || self.seen.insert(entry.key.clone()) {
                        found.push((at, kind == Kind::State, entry));
                    }
                }
                Err(why) => self.unreadable.push(foreign(&attributes, why)),
            }
        }
        if found.is_empty() {
            return Ok(false);
        }
        let wanted: Vec<KeyRef> =
            found.iter().filter(|(_, known, _)| !known).map(|(.., entry)| entry.key.clone()).collect();
        let mut states = self.states(&wanted).await?;
        for (at, known, entry) in found {
            let entry = if known { Some(entry) } else { states.remove(&entry.key) };
            let wanted = entry.filter(|entry| self.filter.matches(entry));
            self.ready.extend(wanted.map(|entry| (at, entry)));
        }
        Ok(true)
    }

    /// The newest item that is left.
    async fn pop(&mut self) -> Result<Option<(String, Attributes)>, LedgerError> {
        loop {
            while self.streams.iter().any(Stream::is_dry) {
                self.read_on().await?;
            }
            self.streams.retain(|stream| !stream.read.is_empty());
            let newest = self.streams.iter_mut().max_by(|a, b| {
                let at = |stream: &Stream| stream.read.front().map(|(at, _)| at.clone());
                at(a).cmp(&at(b))
            });
            if let Some(stream) = newest {
                return Ok(stream.read.pop_front());
            }
            let Some(group) = self.groups.pop_front() else { return Ok(None) };
            self.streams = group
                .into_iter()
                .map(|partition| Stream {
                    partition,
                    read: VecDeque::new(),
                    from: None,
                    more: true,
                    page: self.page,
                })
                .collect();
        }
    }

    /// Asks for a further page of each partition of which nothing is left.
    async fn read_on(&mut self) -> Result<(), LedgerError> {
        let (ledger, filter, before) = (self.ledger, &self.filter, self.before.as_ref());
        let pages = self.streams.iter_mut().filter(|stream| stream.is_dry());
        for cost in try_join_all(pages.map(|stream| ledger.page(stream, filter, before))).await? {
            self.cost += cost;
        }
        Ok(())
    }

    /// Keys as they stand, 100 to a call.
    async fn states(&mut self, keys: &[KeyRef]) -> Result<HashMap<KeyRef, Entry>, LedgerError> {
        let mut states = HashMap::new();
        for keys in keys.chunks(BATCH) {
            for attributes in self.ledger.batch(keys, &mut self.cost).await? {
                match Item::read(attributes.clone()).and_then(Item::entry) {
                    Ok(entry) => {
                        states.insert(entry.key.clone(), entry);
                    }
                    Err(why) => self.unreadable.push(foreign(&attributes, why)),
                }
            }
            for key in keys.iter().filter(|key| !states.contains_key(*key)) {
                let pk = item::partition(key);
                if !self.unreadable.iter().any(|error| is_of(error, &pk)) {
                    let why = "it is missing, and its history is there".to_owned();
                    self.unreadable.push(LedgerError::Unreadable { pk, sk: item::STATE.to_owned(), why });
                }
            }
        }
        Ok(states)
    }
}

fn is_of(error: &LedgerError, wanted: &str) -> bool {
    matches!(error, LedgerError::Unreadable { pk, .. } if pk == wanted)
}

/// An item that cannot be read, named by its keys as far as it has them.
pub(super) fn foreign(attributes: &Attributes, why: String) -> LedgerError {
    let text = |name: &str| match attributes.get(name) {
        Some(AttributeValue::S(text)) => key_guard_core::text::sanitize_field(text),
        _ => format!("(no {name})"),
    };
    LedgerError::Unreadable { pk: text("pk"), sk: text("sk"), why }
}

/// All that the ledger has of one key.
#[derive(Debug)]
pub struct History {
    /// The key as it stands.
    pub state: Option<Entry>,
    /// What happened, in order.
    pub lines: Vec<Line>,
    /// What this build cannot read of it.
    pub unreadable: Vec<LedgerError>,
    /// What it has cost.
    pub cost: Cost,
}

impl DynamoLedger {
    /// All that the ledger has of one key: one call for each megabyte, strongly consistent.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in the answer.
    pub async fn history(&self, key: &KeyRef) -> Result<History, LedgerError> {
        let mut history =
            History { state: None, lines: Vec::new(), unreadable: Vec::new(), cost: Cost::default() };
        let mut happenings = Vec::new();
        for attributes in self.partition(key, &mut history.cost).await? {
            if HappeningItem::is(&attributes) {
                match HappeningItem::read(attributes.clone()) {
                    Ok(item) => happenings.push(Happening::from(item)),
                    Err(why) => history.unreadable.push(foreign(&attributes, why)),
                }
                continue;
            }
            let read = Item::read(attributes.clone()).and_then(|item| {
                let (kind, at) = (item.kind, item.at);
                Ok((kind, at, item.entry()?))
            });
            match read {
                Ok((Kind::State, _, entry)) => history.state = Some(entry),
                Ok((kind, at, entry)) => {
                    history.lines.push(Line { kind, at: at.unwrap_or(entry.event_time), entry });
                }
                Err(why) => history.unreadable.push(foreign(&attributes, why)),
            }
        }
        // What came before the key was known is told with what is known now.
        if let Some(state) = &history.state {
            let lines = happenings.into_iter().map(|happening| Line {
                kind: happening.kind,
                at: happening.event_time,
                entry: happening.told_of(state),
            });
            history.lines.extend(lines);
        }
        history.lines.sort_by_key(|line| line.at);
        Ok(history)
    }

    /// The items of one key.
    pub(super) async fn partition(
        &self,
        key: &KeyRef,
        cost: &mut Cost,
    ) -> Result<Vec<Attributes>, LedgerError> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", AttributeValue::S(item::partition(key)))
                .consistent_read(true)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_exclusive_start_key(from.take())
                .send()
                .await
                .map_err(|error| self.failed("Query", error))?;
            cost.count(answer.consumed_capacity());
            items.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// Reads on in one partition of an index.
    async fn page(
        &self,
        stream: &mut Stream,
        filter: &Filter,
        before: Option<&Position>,
    ) -> Result<Cost, LedgerError> {
        let mut cost = Cost::default();
        let Partition { index, key, value } = &stream.partition;
        let from = filter.since.map_or_else(|| "0".to_owned(), item::to_second);
        let mut to = filter.until.map_or_else(|| "~".to_owned(), |until| item::to_second(until) + "~");
        if let Some(Position(before)) = before {
            to = to.min(before.clone());
        }
        if to < from {
            stream.more = false;
            return Ok(cost);
        }
        let (conditions, names, values) = match filter.path() {
            // A history line may be among them, which says how the key stood then.
            Path::User => <_>::default(),
            Path::Id | Path::Actor | Path::Open | Path::Account | Path::Day => filter.expression(),
        };
        let mut call = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(*index)
            .key_condition_expression(format!("{key} = :partition AND at_key BETWEEN :from AND :to"))
            .expression_attribute_values(":partition", AttributeValue::S(value.clone()))
            .expression_attribute_values(":from", AttributeValue::S(from))
            .expression_attribute_values(":to", AttributeValue::S(to))
            .scan_index_forward(false)
            .limit(stream.page)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(stream.from.take());
        if !conditions.is_empty() {
            let wanted = conditions.join(" AND ");
            call = call
                .filter_expression(format!("{wanted} OR attribute_not_exists(v) OR v <> :v"))
                .expression_attribute_values(":v", AttributeValue::N(SCHEMA_VERSION.to_string()));
        }
        for (name, attribute) in names {
            call = call.expression_attribute_names(name, attribute);
        }
        for (name, value) in values {
            call = call.expression_attribute_values(name, value);
        }
        let answer = call.send().await.map_err(|error| self.failed("Query", error))?;
        stream.read.extend(answer.items.unwrap_or_default().into_iter().filter_map(|attributes| {
            let at = match attributes.get("at_key") {
                Some(AttributeValue::S(at)) => at.clone(),
                _ => String::new(),
            };
            (before.is_none_or(|Position(before)| at < *before)).then_some((at, attributes))
        }));
        stream.from = answer.last_evaluated_key.filter(|key| !key.is_empty());
        stream.more = stream.from.is_some();
        stream.page = stream.page.saturating_mul(4).min(LARGEST_PAGE);
        cost.count(answer.consumed_capacity.as_ref());
        Ok(cost)
    }

    /// Up to 100 keys as they stand, in one call, and as many more as DynamoDB asks for.
    async fn batch(&self, keys: &[KeyRef], cost: &mut Cost) -> Result<Vec<Attributes>, LedgerError> {
        let wanted = keys.iter().map(|key| item::place(&item::partition(key), item::STATE)).collect();
        self.batch_get(wanted, false, |consumed| cost.count(consumed)).await
    }
}
