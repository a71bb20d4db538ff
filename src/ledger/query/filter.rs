//! Which keys are asked for, and which partitions have them.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use chrono::{Datelike as _, Months, NaiveDate, NaiveTime, TimeDelta};
use ipnet::IpNet;

use super::position::Position;
use crate::ledger::item::{self, Names};
use crate::ledger::port::{BY_ACCOUNT, BY_ACTOR, BY_MONTH, BY_ROLE, BY_USER, Index};
use crate::ledger::view::KeyView;
use key_guard_core::Time;
use key_guard_core::cloudtrail;
use key_guard_core::key::{AccountId, CredentialId, KeyRef, Service, Status, UserName};
use key_guard_core::policy::{Verdict, Violation};
use key_guard_core::report::Outcome;

/// The most days that one question reads.
pub const LONGEST_DAYS: u64 = 1_100;

/// Months that are read at the same time: 4 calls each.
const CONCURRENT_MONTHS: usize = 4;

/// Which keys are asked for. All that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// One key.
    pub key: Option<CredentialId>,
    /// Keys of an account.
    pub account: Option<AccountId>,
    /// Keys of a user, under any name that the user had.
    pub user: Option<UserName>,
    /// Keys that somebody created.
    pub actor: Option<Actor>,
    /// Keys for a service.
    pub service: Option<Service>,
    /// Keys with this verdict.
    pub verdict: Option<Verdict>,
    /// Keys with this violation.
    pub violation: Option<Violation>,
    /// Keys with this outcome.
    pub outcome: Option<Outcome>,
    /// Keys with this status.
    pub status: Option<Status>,
    /// Keys that were created from an address.
    pub source_ip: Option<SourceAddress>,
    /// Keys that were created at this time or later.
    pub since: Option<Time>,
    /// Keys that were created before this time.
    pub until: Option<Time>,
    /// Keys whose response is pending.
    pub pending: bool,
}

/// A caller, as people remember it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The whole ARN: of the principal, or of the role that it assumed.
    Arn(String),
    /// A name, in any case: of a user, a session, a service, a role or a permission set; an e-mail address, or what is
    /// before its `@`.
    Name(String),
    /// A part of such a name, in any case. No index has it, so it is looked for among the keys of an account or of some
    /// months.
    Part(String),
}

/// The shortest part of a name that is looked for, in characters.
const SHORTEST_PART: usize = 3;

impl From<&str> for Actor {
    fn from(text: &str) -> Self {
        if text.starts_with("arn:") { Self::Arn(text.to_owned()) } else { Self::Name(text.to_owned()) }
    }
}

impl Actor {
    /// The name, or the ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Arn(text) | Self::Name(text) | Self::Part(text) => text,
        }
    }

    /// True if `caller` is meant.
    pub(in crate::ledger) fn made(&self, caller: &cloudtrail::Actor) -> bool {
        let (principal, issuer) = (caller.principal.as_deref(), caller.session_issuer.as_deref());
        match self {
            Self::Arn(arn) => principal == Some(arn) || issuer == Some(arn),
            Self::Name(wanted) => {
                let known = Names::of(principal, issuer);
                // A whole address means nobody with the same name at another domain.
                let is_name = known.name.as_deref() == Some(&item::index_name(wanted))
                    && (!wanted.contains('@') || last_part_is(principal, wanted));
                let is_role = known.role.as_deref() == Some(&item::index_role(wanted))
                    && (item::index_role(wanted).eq_ignore_ascii_case(wanted)
                        || [principal, issuer].iter().flatten().any(|arn| has_part(arn, wanted)));
                is_name || is_role
            }
            Self::Part(part) => {
                let (known, part) = (Names::of(principal, issuer), part.to_ascii_lowercase());
                [known.name, known.role].iter().flatten().any(|name| name.contains(&part))
            }
        }
    }

    /// The callers whose name only has this one in it. `None`: that would be too many, or an ARN has no parts.
    pub(in crate::ledger) fn widened(&self) -> Option<Self> {
        match self {
            Self::Name(name) if name.chars().count() >= SHORTEST_PART => Some(Self::Part(name.clone())),
            Self::Name(_) | Self::Arn(_) | Self::Part(_) => None,
        }
    }
}

/// Where a call comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceAddress {
    /// An address, or a range of them.
    Network(IpNet),
    /// The name of an AWS service.
    Service(String),
}

impl SourceAddress {
    /// True if `found` is this address, or in this range. An address may be written in more than one way.
    fn has(&self, found: &str) -> bool {
        match self {
            Self::Network(network) => {
                found.parse::<IpAddr>().is_ok_and(|found| network.contains(&found.to_canonical()))
            }
            Self::Service(name) => found.eq_ignore_ascii_case(name),
        }
    }
}

impl FromStr for SourceAddress {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "expected an address, a range like 198.51.100.0/24, or the name of an AWS service";
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        if let Ok(network) = text.parse() {
            return Ok(Self::Network(network));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ' ');
        let is_service = text.contains(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_name);
        if is_service { Ok(Self::Service(text.to_owned())) } else { Err(EXPECTED) }
    }
}

impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Self::Network(network) => network.fmt(f),
            Self::Service(name) => f.write_str(name),
        }
    }
}

fn last_part_is(arn: Option<&str>, wanted: &str) -> bool {
    let resource = arn.map(|arn| arn.splitn(6, ':').nth(5).unwrap_or(arn));
    resource.and_then(|name| name.rsplit('/').next()).is_some_and(|last| last.eq_ignore_ascii_case(wanted))
}

fn has_part(arn: &str, wanted: &str) -> bool {
    arn.split('/').any(|part| part.eq_ignore_ascii_case(wanted))
}

/// Which index answers a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// By credential id.
    Id,
    /// By user.
    User,
    /// By who created the key.
    Actor,
    /// By what is pending.
    Pending,
    /// By account.
    Account,
    /// By month: needs bounds of time.
    Month,
}

/// A question that would read too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this question reads the ledger month by month, at most {LONGEST_DAYS} days at a time, and these are {days}: narrow it \
     with --since and --until, or name a key, a user, an actor or an account"
)]
pub struct TooManyDays {
    /// How many days it would read.
    pub days: u64,
}

/// A partition of an index.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub(super) index: Index,
    pub(super) value: String,
}

/// How a question is answered.
#[derive(Debug)]
pub(super) enum Plan {
    /// From the partition of a credential id. `None`: it was read.
    Key(Option<CredentialId>),
    /// From what is open.
    Pending {
        /// It was read.
        is_done: bool,
    },
    /// From partitions of an index, in groups: each group is newer than the next.
    Index(VecDeque<Vec<Partition>>),
}

impl Plan {
    /// How many partitions are read side by side.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Key(_) | Self::Pending { .. } => 1,
            Self::Index(groups) => groups.front().map_or(1, Vec::len).max(1),
        }
    }
}

impl Partition {
    const fn new(index: Index, value: String) -> Self {
        Self { index, value }
    }
}

impl Filter {
    /// Which index answers this question.
    #[must_use]
    pub const fn path(&self) -> Path {
        if self.key.is_some() {
            Path::Id
        } else if self.user.is_some() {
            Path::User
        } else if matches!(self.actor, Some(Actor::Arn(_) | Actor::Name(_))) {
            Path::Actor
        } else if self.pending {
            Path::Pending
        } else if self.account.is_some() {
            Path::Account
        } else {
            Path::Month
        }
    }

    /// True if a key is asked for.
    #[must_use]
    pub fn matches(&self, view: &KeyView) -> bool {
        let report = &view.report;
        let creation = view.creation.as_ref();
        let address = creation.and_then(|event| event.source_ip.as_deref());
        let is_actor = |actor: &Actor| creation.is_some_and(|event| actor.made(&event.actor));
        let is_address = |wanted: &SourceAddress| address.is_some_and(|found| wanted.has(found));
        self.key.as_ref().is_none_or(|wanted| *wanted == view.key.id)
            && self.account.as_ref().is_none_or(|wanted| *wanted == view.key.account)
            && self.user.as_ref().is_none_or(|wanted| view.names().any(|name| name.is_same_user(wanted)))
            && self.actor.as_ref().is_none_or(is_actor)
            && (self.service.is_none() || self.service == report.service)
            && (self.verdict.is_none() || self.verdict == report.verdict)
            && (self.violation.is_none() || self.violation == report.violation)
            && self.outcome.is_none_or(|wanted| wanted == report.outcome)
            && self.status.is_none_or(|wanted| wanted == report.status)
            && self.source_ip.as_ref().is_none_or(is_address)
            && self.since.is_none_or(|since| since <= view.at)
            && self.until.is_none_or(|until| view.at < until)
            && (!self.pending || view.intent.is_some())
    }

    /// True if the question is only about keys and times, as an event without a state has nothing else.
    pub(super) fn matches_event(&self, key: &KeyRef, at: Time) -> bool {
        let Self { key: id, account, since, until, .. } = self;
        id.as_ref().is_none_or(|wanted| *wanted == key.id)
            && account.as_ref().is_none_or(|wanted| *wanted == key.account)
            && since.is_none_or(|since| since <= at)
            && until.is_none_or(|until| at < until)
            && self.asks_for_nothing_else()
    }

    /// True if only an id, an account and a time are given.
    fn asks_for_nothing_else(&self) -> bool {
        let Self { user, actor, service, verdict, violation, outcome, status, source_ip, pending, .. } = self;
        user.is_none()
            && actor.is_none()
            && service.is_none()
            && verdict.is_none()
            && violation.is_none()
            && outcome.is_none()
            && status.is_none()
            && source_ip.is_none()
            && !pending
    }

    /// How the question is answered.
    pub(super) fn plan(&self, before: Option<&Position>, now: Time) -> Result<Plan, TooManyDays> {
        let of_name = |name: &str| Partition::new(BY_ACTOR, name.to_owned());
        let of_role = |role: &str| Partition::new(BY_ROLE, role.to_owned());
        let group = match (self.path(), &self.key, &self.user, &self.actor, &self.account) {
            (Path::Id, Some(id), ..) => return Ok(Plan::Key(Some(id.clone()))),
            (Path::Pending, ..) => return Ok(Plan::Pending { is_done: false }),
            (Path::User, _, Some(user), ..) => {
                vec![Partition::new(BY_USER, item::index_user(user))]
            }
            (Path::Actor, _, _, Some(Actor::Arn(arn)), _) => {
                let (name, role) = (Names::of(Some(arn), None).name, Names::of(None, Some(arn)).role);
                role.as_deref().map(of_role).into_iter().chain(name.as_deref().map(of_name)).collect()
            }
            (Path::Actor, _, _, Some(Actor::Name(name)), _) => {
                vec![of_name(&item::index_name(name)), of_role(&item::index_role(name))]
            }
            (Path::Account, _, _, _, Some(account)) => {
                let of_shard = |shard| [item::account_key(account, shard), item::gone_key(account, shard)];
                let keys = (0..item::SHARDS).flat_map(of_shard);
                keys.map(|key| Partition::new(BY_ACCOUNT, key)).collect()
            }
            _ => return Ok(Plan::Index(by_month(&self.months(before, now)?))),
        };
        Ok(Plan::Index(VecDeque::from([group])))
    }

    /// Bounds a question that names no key, user, actor or account to the last three years, unless it says how far
    /// back.
    pub(super) fn bounded(mut self, now: Time) -> Self {
        if self.path() == Path::Month {
            let end = self.until.map_or(now, |until| until.min(now));
            self.since.get_or_insert(default_since(end));
        }
        self
    }

    /// The months to read, newest first, by their first days. Clocks differ, so without an end it is tomorrow.
    fn months(&self, before: Option<&Position>, now: Time) -> Result<Vec<NaiveDate>, TooManyDays> {
        let tomorrow = now + TimeDelta::days(1);
        let mut last =
            self.until.map_or(tomorrow, |until| tomorrow.min(until - TimeDelta::nanoseconds(1))).date_naive();
        if let Some(day) = before.and_then(Position::day) {
            last = last.min(day);
        }
        months(self.since.unwrap_or_else(|| default_since(now)).date_naive(), last)
    }
}

/// How far back a question goes that does not say so: three years, from their first moment. API keys exist since July 2025.
pub(in crate::ledger) fn default_since(end: Time) -> Time {
    days_before(end, 1_095)
}

/// How far back a part of a name is looked for, unless the question says so: no index has it, so each key is read.
pub(super) fn default_since_of_part(now: Time) -> Time {
    days_before(now, 90)
}

fn days_before(end: Time, days: i64) -> Time {
    (end - TimeDelta::days(days)).date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// The months of these days, newest first, by their first days.
pub(in crate::ledger) fn months(first: NaiveDate, last: NaiveDate) -> Result<Vec<NaiveDate>, TooManyDays> {
    let days = u64::try_from((last - first).num_days() + 1).unwrap_or_default();
    if days > LONGEST_DAYS {
        return Err(TooManyDays { days });
    }
    let back = |months| last.with_day(1)?.checked_sub_months(Months::new(months));
    let is_asked_for =
        |month: &NaiveDate| first <= last && (first.year(), first.month()) <= (month.year(), month.month());
    Ok((0..).map_while(back).take_while(is_asked_for).collect())
}

fn by_month(months: &[NaiveDate]) -> VecDeque<Vec<Partition>> {
    let of_month = |month: &NaiveDate| {
        let month = *month;
        (0..item::SHARDS).map(move |shard| Partition::new(BY_MONTH, item::month_key(month, shard)))
    };
    months.chunks(CONCURRENT_MONTHS).map(|months| months.iter().flat_map(of_month).collect()).collect()
}
