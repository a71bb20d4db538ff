//! Who keeps trying: failed calls, and access keys for users of the consoles. Each question reads partitions of indexes,
//! and never scans the table.

use std::cmp::Reverse;
use std::collections::HashSet;

use chrono::TimeDelta;
use futures_util::stream::{self, StreamExt as _};

use super::{AuditEvent, AuditEventKind};
use crate::ledger::codec::{self, ATTEMPT, attempts_of_account, attempts_of_month};
use crate::ledger::cost::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::item::{self, Names};
use crate::ledger::port::{BY_ACCOUNT, BY_ACTOR, BY_MONTH, BY_ROLE, BY_USER, Index, IndexQuery};
use crate::ledger::query::{Actor, TooManyDays, default_since, months};
use crate::ledger::store::Ledger;
use key_guard_core::Time;
use key_guard_core::key::{AccountId, Service, UserName};

/// How many partitions are read at the same time.
const MAX_CONCURRENT_QUERIES: usize = 16;

/// About the megabyte at which DynamoDB ends a page.
const PAGE_SIZE: usize = 1_000;

/// Which audit events are asked for. All that is given has to hold.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Those in an account.
    pub account: Option<AccountId>,
    /// Those about a user.
    pub user: Option<UserName>,
    /// Those by a caller, or by a role.
    pub actor: Option<Actor>,
    /// Those about a service.
    pub service: Option<Service>,
    /// Those not before this time.
    pub since: Option<Time>,
    /// Those before this time.
    pub until: Option<Time>,
}

/// What a question for audit events returned.
#[derive(Debug, Default)]
pub struct AuditEvents {
    /// The events, newest first.
    pub found: Vec<AuditEvent>,
    /// What this build cannot read.
    pub unreadable: Vec<LedgerError>,
    /// What it has cost.
    pub cost: Cost,
}

/// A partition of an index.
struct Partition {
    index: Index,
    value: String,
}

impl AuditFilter {
    fn matches(&self, event: &AuditEvent) -> bool {
        let time = event.provenance.event_time;
        let service = match &event.kind {
            AuditEventKind::FailedCall(attempt) => attempt.service.as_ref(),
            AuditEventKind::AccessKeyCreated { .. } => None,
        };
        let is_user = |user: &UserName| event.user().is_some_and(|found| found.is_same_user(user));
        self.account.as_ref().is_none_or(|account| *account == event.provenance.account)
            && self.user.as_ref().is_none_or(is_user)
            && self.actor.as_ref().is_none_or(|actor| actor.made(&event.provenance.actor))
            && self.service.as_ref().is_none_or(|wanted| service == Some(wanted))
            && self.since.is_none_or(|since| since <= time)
            && self.until.is_none_or(|until| time < until)
    }

    /// Bounds a question that names no account, user or actor to the last 90 days, unless it says how far back.
    fn bounded(mut self, now: Time) -> Self {
        if self.account.is_none() && self.user.is_none() && self.actor.is_none() {
            self.since.get_or_insert(default_since(now));
        }
        self
    }

    /// The partitions that have everything that is asked for: those of the most selective condition.
    fn partitions(&self, now: Time) -> Result<Vec<Partition>, TooManyDays> {
        let of_name = |index, name: &str| {
            let value = format!("{ATTEMPT}{name}");
            Partition { index, value }
        };
        let of_role = |role: &str| {
            let value = format!("{ATTEMPT}{role}");
            Partition { index: BY_ROLE, value }
        };
        if let Some(user) = &self.user {
            return Ok(vec![of_name(BY_USER, &item::index_user(user))]);
        }
        if let Some(actor) = &self.actor {
            let (name, role) = match actor {
                Actor::Arn(arn) => (Names::of(Some(arn), None).name, Names::of(None, Some(arn)).role),
                Actor::Name(name) => (Some(item::index_name(name)), Some(item::index_role(name))),
            };
            let by_name = name.map(|name| of_name(BY_ACTOR, &name));
            return Ok(by_name.into_iter().chain(role.map(|role| of_role(&role))).collect());
        }
        if let Some(account) = &self.account {
            let value = attempts_of_account(account);
            return Ok(vec![Partition { index: BY_ACCOUNT, value }]);
        }
        // Clocks differ, so without an end it is tomorrow.
        let tomorrow = now + TimeDelta::days(1);
        let last = self.until.unwrap_or(tomorrow).date_naive();
        let first = self.since.unwrap_or_else(|| default_since(now)).date_naive();
        let of_month = |month| Partition { index: BY_MONTH, value: attempts_of_month(month) };
        Ok(months(first, last)?.into_iter().map(of_month).collect())
    }
}

impl Ledger {
    /// Audit events, newest first. Unless an account, a user, an actor or a time is named: those of the last 90 days.
    ///
    /// # Errors
    /// When the ledger cannot be read; or, inside, when the question is about too many days.
    pub async fn audit_events(
        &self,
        filter: &AuditFilter,
        now: Time,
    ) -> Result<Result<AuditEvents, TooManyDays>, LedgerError> {
        let filter = &filter.clone().bounded(now);
        let partitions = match filter.partitions(now) {
            Ok(partitions) => partitions,
            Err(too_many) => return Ok(Err(too_many)),
        };
        let pages = stream::iter(partitions).map(|partition| self.read_attempts(partition, filter));
        let mut pages = pages.buffered(MAX_CONCURRENT_QUERIES);
        let (mut events, mut seen) = (AuditEvents::default(), HashSet::new());
        while let Some(page) = pages.next().await {
            let AuditEvents { found, unreadable, cost } = page?;
            events.cost += cost;
            events.unreadable.extend(unreadable);
            let wanted = found.into_iter().filter(|event| filter.matches(event));
            // By name and by role, an event may be found twice.
            let new = wanted.filter(|event| {
                let provenance = &event.provenance;
                seen.insert((provenance.account.clone(), provenance.event_id.clone()))
            });
            events.found.extend(new);
        }
        events.found.sort_by_key(|event| Reverse(event.provenance.event_time));
        Ok(Ok(events))
    }

    async fn read_attempts(
        &self,
        partition: Partition,
        filter: &AuditFilter,
    ) -> Result<AuditEvents, LedgerError> {
        let mut events = AuditEvents::default();
        let from = filter.since.map_or_else(|| "0".to_owned(), item::to_second);
        let to = filter.until.map_or_else(|| "~".to_owned(), |until| item::to_second(until) + "~");
        if to < from {
            return Ok(events);
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
            events.cost += page.cost;
            let keys: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
            for item in self.table.get(&keys, &mut events.cost).await {
                let Some(item) = item? else { continue };
                let key = item.key.clone();
                match codec::decode_audit_event(item) {
                    Ok(event) => events.found.push(event),
                    Err(why) => events.unreadable.push(codec::unreadable(&key, &why)),
                }
            }
            start = page.next;
            if start.is_none() {
                return Ok(events);
            }
        }
    }
}
