//! Who keeps trying: failed calls, changes of users that a console created, and keys that nobody judged. Each question reads
//! partitions of indexes, and never scans the table.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ops::Range;

use chrono::{NaiveTime, TimeDelta};
use futures_util::stream::{self, StreamExt as _};

use super::count::{CountedAttempts, MAX_NAMES, counted_actor};
use super::{AuditRecord, UnjudgedKey, UserChanged};
use crate::ledger::codec::{self, ATTEMPT, attempts_of_account, attempts_of_month, kind};
use crate::ledger::cost::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::item::{self, Names};
use crate::ledger::port::{
    BY_ACCOUNT, BY_ACTOR, BY_MONTH, BY_ROLE, BY_USER, Index, IndexQuery, Item, ItemKey,
};
use crate::ledger::query::{Actor, TooManyDays, default_since, months};
use crate::ledger::store::Ledger;
use key_guard_core::Time;
use key_guard_core::cloudtrail;
use key_guard_core::key::{AccountId, Service, UserName};

/// How many partitions are read at the same time.
const MAX_CONCURRENT_QUERIES: usize = 16;

/// About the megabyte at which DynamoDB ends a page.
const PAGE_SIZE: usize = 1_000;

/// Which attempts and changes of users are asked for. All that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Those in an account.
    pub account: Option<AccountId>,
    /// Those about a user.
    pub user: Option<UserName>,
    /// Those by a caller, or by a role. The sessions of a role are counted together: one of them is found by its ARN, with
    /// all that the role tried.
    pub actor: Option<Actor>,
    /// Those about a service.
    pub service: Option<Service>,
    /// Those not before this time. Attempts are counted by day: the last of them was not before.
    pub since: Option<Time>,
    /// Those before this time: the first of them was.
    pub until: Option<Time>,
}

/// What a question for attempts and changes of users returned.
#[derive(Debug, Default)]
pub struct AuditRecords {
    /// What was found, the latest first.
    pub found: Vec<AuditRecord>,
    /// What this build cannot read.
    pub unreadable: Vec<LedgerError>,
    /// What it has cost.
    pub cost: Cost,
}

impl AuditRecords {
    /// With others. What is in both is there once.
    pub fn join(&mut self, others: Self) {
        let Self { found, unreadable, cost } = others;
        self.found.extend(found);
        self.found.sort_by_key(|record| Reverse(record.times().1));
        self.found.dedup();
        self.unreadable.extend(unreadable);
        self.cost += cost;
    }
}

/// A partition of an index, from the beginning of a day on.
struct Partition {
    index: Index,
    value: String,
    since: Option<Time>,
}

/// The items of a partition.
#[derive(Default)]
struct Found {
    items: Vec<(ItemKey, AuditRecord)>,
    unreadable: Vec<LedgerError>,
    cost: Cost,
}

impl AuditRecord {
    /// The time of the first event, and that of the last.
    #[must_use]
    pub fn times(&self) -> (Time, Time) {
        match self {
            Self::Attempts(attempts) => (attempts.first, attempts.last),
            Self::UserChanged(changed) => (changed.provenance.event_time, changed.provenance.event_time),
            Self::UnjudgedKey(unjudged) => (unjudged.provenance.event_time, unjudged.provenance.event_time),
        }
    }
}

impl AuditFilter {
    /// The same, by callers whose name only has in it what was asked for. `None`: there is nothing wider.
    #[must_use]
    pub fn widened(&self) -> Option<Self> {
        let actor = self.actor.as_ref()?.widened()?;
        Some(Self { actor: Some(actor), ..self.clone() })
    }

    fn matches(&self, record: &AuditRecord) -> bool {
        let (first, last) = record.times();
        let is_in_time =
            self.since.is_none_or(|since| since <= last) && self.until.is_none_or(|until| first < until);
        is_in_time
            && match record {
                AuditRecord::Attempts(attempts) => self.matches_attempts(attempts),
                AuditRecord::UserChanged(changed) => self.matches_user_change(changed),
                AuditRecord::UnjudgedKey(unjudged) => self.matches_unjudged_key(unjudged),
            }
    }

    fn matches_attempts(&self, attempts: &CountedAttempts) -> bool {
        let CountedAttempts { group, latest, users, has_more_users, services, .. } = attempts;
        // What was dropped may be what is asked for.
        let is_user =
            |wanted: &UserName| *has_more_users || users.iter().any(|user| user.is_same_user(wanted));
        let is_service = |wanted: &Service| services.len() >= MAX_NAMES || services.contains(wanted);
        self.account.as_ref().is_none_or(|account| *account == group.account)
            && self.user.as_ref().is_none_or(is_user)
            && self.actor.as_ref().is_none_or(|actor| is_counted(actor, &group.actor, &latest.actor))
            && self.service.as_ref().is_none_or(is_service)
    }

    fn matches_user_change(&self, changed: &UserChanged) -> bool {
        let UserChanged { provenance, change } = changed;
        self.account.as_ref().is_none_or(|account| *account == provenance.account)
            && self.user.as_ref().is_none_or(|wanted| change.user.is_same_user(wanted))
            && self.actor.as_ref().is_none_or(|actor| actor.made(&provenance.actor))
            && self.service.is_none()
    }

    fn matches_unjudged_key(&self, unjudged: &UnjudgedKey) -> bool {
        let UnjudgedKey { provenance, key, user, service } = unjudged;
        self.account.as_ref().is_none_or(|account| *account == key.account)
            && self.user.as_ref().is_none_or(|wanted| user.is_same_user(wanted))
            && self.actor.as_ref().is_none_or(|actor| actor.made(&provenance.actor))
            && self.service.as_ref().is_none_or(|wanted| wanted == service)
    }

    /// The partitions that have everything that is asked for: those of the most selective condition.
    fn partitions(&self, now: Time) -> Result<Vec<Partition>, TooManyDays> {
        let of = |index, value| Partition { index, value, since: self.since };
        let of_name = |index, name: &str| of(index, format!("{ATTEMPT}{name}"));
        let by_actor = self.actor.as_ref().and_then(|actor| match actor {
            Actor::Arn(arn) => Some((Names::of(Some(arn), None).name, Names::of(Some(arn), Some(arn)).role)),
            Actor::Name(name) => Some((Some(item::index_name(name)), Some(item::index_role(name)))),
            Actor::Part(_) => None,
        });
        if let Some((name, role)) = by_actor {
            let by_name = name.map(|name| of_name(BY_ACTOR, &name));
            let by_role = role.map(|role| of(BY_ROLE, format!("{ATTEMPT}{role}")));
            return Ok(by_name.into_iter().chain(by_role).collect());
        }
        // Attempts are not found by user: a caller can name any. Changes of users and keys that nobody judged are.
        let by_user = self.user.as_ref().map(|user| of_name(BY_USER, &item::index_user(user)));
        let others = match &self.account {
            Some(account) => vec![of(BY_ACCOUNT, attempts_of_account(account))],
            None => self.months(now)?,
        };
        Ok(by_user.into_iter().chain(others).collect())
    }

    /// A question that names neither an account nor an actor goes back three years, unless it says how far.
    fn months(&self, now: Time) -> Result<Vec<Partition>, TooManyDays> {
        let since = self.since.unwrap_or_else(|| default_since(now));
        // Clocks differ, so without an end it is tomorrow.
        let tomorrow = now + TimeDelta::days(1);
        let last = self.until.map_or(tomorrow, |until| until.min(tomorrow)).date_naive();
        let of_month =
            |month| Partition { index: BY_MONTH, value: attempts_of_month(month), since: Some(since) };
        Ok(months(since.date_naive(), last)?.into_iter().map(of_month).collect())
    }
}

/// True if the attempts of `counted` are asked for. The latest of them was by `latest`.
fn is_counted(wanted: &Actor, counted: &str, latest: &cloudtrail::Actor) -> bool {
    let principal = |arn: &str| cloudtrail::Actor { principal: Some(arn.to_owned()), ..Default::default() };
    let is_of_its_role = match wanted {
        Actor::Arn(arn) => is_same_role(&counted_actor(&principal(arn)), counted),
        Actor::Name(_) | Actor::Part(_) => false,
    };
    is_of_its_role || wanted.made(latest) || wanted.made(&principal(counted))
}

/// The ARNs of a role's sessions do not have its path.
fn is_same_role(one: &str, other: &str) -> bool {
    let role = |arn: &str| {
        let mut parts = arn.splitn(6, ':').skip(4);
        let (account, resource) = (parts.next()?.to_owned(), parts.next()?);
        Some((account, resource.strip_prefix("role/")?.rsplit('/').next()?.to_owned()))
    };
    role(one).is_some_and(|one| Some(one) == role(other))
}

fn decode(item: Item) -> Result<AuditRecord, String> {
    match codec::read_kind(&item)? {
        kind::ATTEMPTS => {
            let (attempts, _) = codec::decode_attempts(item)?;
            Ok(AuditRecord::Attempts(Box::new(attempts)))
        }
        kind::UNJUDGED_KEY => Ok(AuditRecord::UnjudgedKey(Box::new(codec::decode_unjudged_key(item)?))),
        _ => Ok(AuditRecord::UserChanged(Box::new(codec::decode_user_change(item)?))),
    }
}

impl Ledger {
    /// Attempts and changes of users, the latest first. Unless an account, an actor or a time is named: those of the last three
    /// years, and all changes of a user that is named.
    ///
    /// # Errors
    /// When the ledger cannot be read; or, inside, when the question is about too many days.
    pub async fn audit_records(
        &self,
        filter: &AuditFilter,
        now: Time,
    ) -> Result<Result<AuditRecords, TooManyDays>, LedgerError> {
        let partitions = match filter.partitions(now) {
            Ok(partitions) => partitions,
            Err(too_many) => return Ok(Err(too_many)),
        };
        let pages = stream::iter(partitions).map(|partition| self.read_attempts(partition, filter.until));
        let mut pages = pages.buffered(MAX_CONCURRENT_QUERIES);
        let (mut records, mut seen) = (AuditRecords::default(), HashSet::new());
        while let Some(page) = pages.next().await {
            let Found { items, unreadable, cost } = page?;
            records.cost += cost;
            records.unreadable.extend(unreadable);
            let wanted = items.into_iter().filter(|(_, record)| filter.matches(record));
            // Two of the partitions may have an item: by name and by role.
            let new = wanted.filter(|(key, _)| seen.insert(key.clone()));
            records.found.extend(new.map(|(_, record)| record));
        }
        records.found.sort_by_key(|record| Reverse(record.times().1));
        Ok(Ok(records))
    }

    /// Changes of a user that a console created for a key, and the user's keys that nobody judged, the latest first: with one
    /// query.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn user_changes(
        &self,
        account: Option<&AccountId>,
        user: &UserName,
        times: Range<Option<Time>>,
    ) -> Result<AuditRecords, LedgerError> {
        let Range { start: since, end: until } = times;
        let value = format!("{ATTEMPT}{}", item::index_user(user));
        let partition = Partition { index: BY_USER, value, since };
        let Found { items, unreadable, cost } = self.read_attempts(partition, until).await?;
        let filter = AuditFilter {
            account: account.cloned(),
            user: Some(user.clone()),
            since,
            until,
            ..AuditFilter::default()
        };
        let wanted = items.into_iter().map(|(_, record)| record).filter(|record| filter.matches(record));
        let mut records = AuditRecords { found: wanted.collect(), unreadable, cost };
        records.found.sort_by_key(|record| Reverse(record.times().1));
        Ok(records)
    }

    async fn read_attempts(&self, partition: Partition, until: Option<Time>) -> Result<Found, LedgerError> {
        let mut found = Found::default();
        // The place of attempts is the beginning of their day.
        let day = |since: Time| since.date_naive().and_time(NaiveTime::MIN).and_utc();
        let from =
            partition.since.map_or_else(|| item::FIRST.to_owned(), |since| item::to_second(day(since)));
        let to = until.map_or_else(|| item::LAST.to_owned(), |until| item::to_second(until) + item::LAST);
        if to < from {
            return Ok(found);
        }
        let query = IndexQuery {
            index: partition.index,
            partition: partition.value,
            range: Some((from, to)),
            newest_first: false,
            limit: PAGE_SIZE,
        };
        let mut start = None;
        loop {
            let page = self.table.query_index(&query, start.as_ref()).await?;
            found.cost += page.cost;
            let keys: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
            for item in self.table.get(&keys, &mut found.cost).await {
                let Some(item) = item? else { continue };
                let key = item.key.clone();
                match decode(item) {
                    Ok(record) => found.items.push((key, record)),
                    Err(why) => found.unreadable.push(codec::unreadable(&key, &why)),
                }
            }
            start = page.next;
            if start.is_none() {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_same_role;

    #[test]
    fn a_role_is_the_same_whatever_its_path() {
        let role = "arn:aws:iam::111122223333:role/team/a/Deploy";
        for (other, expected) in [
            ("arn:aws:iam::111122223333:role/Deploy", true),
            ("arn:aws:iam::111122223333:role/team/a/Deploy", true),
            ("arn:aws:iam::444455556666:role/Deploy", false),
            ("arn:aws:iam::111122223333:role/Deploy2", false),
            ("arn:aws:iam::111122223333:user/Deploy", false),
            ("Deploy", false),
        ] {
            assert_eq!(is_same_role(other, role), expected, "{other}");
        }
        assert!(!is_same_role("root", "root"));
    }
}
