//! Who keeps trying: calls that were refused, and access keys for users that the console made. By `Query`, never by a
//! scan: the partitions are those of keys with `TRIED#` in front, and one for each day.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use chrono::{DateTime, Days, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};

use super::happening::{Happening, HappeningItem, TRIED, tried_account, tried_day};
use super::item::{self, Names};
use super::search::{Actor, Cost, Filter, LONGEST_DAYS, TooManyDays, foreign};
use super::{DynamoLedger, LedgerError};

/// Partitions that are read side by side.
const AT_ONCE: usize = 16;

/// What a question came to.
#[derive(Debug, Default)]
pub struct Attempts {
    /// What was tried, newest first.
    pub found: Vec<Happening>,
    /// What this build cannot read.
    pub unreadable: Vec<LedgerError>,
    /// What it has cost.
    pub cost: Cost,
}

impl DynamoLedger {
    /// What was tried, by account, user, actor and time; the last 90 days unless an account, a user or an actor is
    /// named, or the question says otherwise.
    ///
    /// # Errors
    /// When the ledger cannot be read, or too many days would have to be walked.
    pub async fn attempts(
        &self,
        filter: &Filter,
        now: DateTime<Utc>,
    ) -> Result<Result<Attempts, TooManyDays>, LedgerError> {
        let tried = |key: String| format!("{TRIED}{key}");
        let partitions: Vec<(&str, &str, String)> = match (&filter.user, &filter.actor, &filter.account) {
            (Some(user), ..) => {
                vec![("by_user", "user_key", tried(item::name_key(&item::index_user(user))))]
            }
            (None, Some(actor), _) => {
                let (name, role) = match actor {
                    Actor::Arn(arn) => (Names::of(Some(arn), None).name, Names::of(None, Some(arn)).role),
                    Actor::Name(name) => (Some(item::index_name(name)), Some(item::index_role(name))),
                };
                let by_name = name.map(|name| ("by_actor", "actor_key", tried(item::name_key(&name))));
                let by_role = role.map(|role| ("by_role", "role_key", tried(item::role_key(&role))));
                by_name.into_iter().chain(by_role).collect()
            }
            (None, None, Some(account)) => vec![("by_account", "account_key", tried_account(account))],
            (None, None, None) => {
                let tomorrow = now + TimeDelta::days(1);
                let last = filter.until.unwrap_or(tomorrow).date_naive();
                let first = filter.since.unwrap_or(tomorrow - TimeDelta::days(91)).date_naive();
                let days = u64::try_from((last - first).num_days() + 1).unwrap_or_default();
                if days > LONGEST_DAYS {
                    return Ok(Err(TooManyDays { days }));
                }
                let days = (0..days).filter_map(|back| last.checked_sub_days(Days::new(back)));
                days.map(|day| ("by_day", "day_key", tried_day(day))).collect()
            }
        };
        let mut pages = stream::iter(partitions)
            .map(|(index, key, value)| self.tried(index, key, value, filter))
            .buffered(AT_ONCE);
        let (mut attempts, mut seen) = (Attempts::default(), HashSet::new());
        while let Some(page) = pages.next().await {
            let page = page?;
            attempts.cost += page.cost;
            attempts.unreadable.extend(page.unreadable);
            let wanted = page.found.into_iter().filter(|happening| matches(filter, happening));
            // By name and by role it may be found twice.
            attempts.found.extend(wanted.filter(|happening| seen.insert(happening.event_id.clone())));
        }
        attempts.found.sort_by_key(|happening| std::cmp::Reverse(happening.event_time));
        Ok(Ok(attempts))
    }

    async fn tried(
        &self,
        index: &str,
        key: &str,
        value: String,
        filter: &Filter,
    ) -> Result<Attempts, LedgerError> {
        let mut attempts = Attempts::default();
        let from = filter.since.map_or_else(|| "0".to_owned(), item::to_second);
        let to = filter.until.map_or_else(|| "~".to_owned(), |until| item::to_second(until) + "~");
        let mut start: Option<HashMap<String, AttributeValue>> = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(index)
                .key_condition_expression(format!("{key} = :partition AND at_key BETWEEN :from AND :to"))
                .expression_attribute_values(":partition", AttributeValue::S(value.clone()))
                .expression_attribute_values(":from", AttributeValue::S(from.clone()))
                .expression_attribute_values(":to", AttributeValue::S(to.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| self.failed("Query", error))?;
            attempts.cost.count(answer.consumed_capacity.as_ref());
            for attributes in answer.items.unwrap_or_default() {
                match HappeningItem::read(attributes.clone()) {
                    Ok(item) => attempts.found.push(item.into()),
                    Err(why) => attempts.unreadable.push(foreign(&attributes, why)),
                }
            }
            start = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(attempts);
            }
        }
    }
}

/// Whether what happened is asked for, by where and when it was, to whom, and by whom.
pub(super) fn matches(filter: &Filter, happening: &Happening) -> bool {
    let is_user = |user| happening.user.as_ref().is_some_and(|found| found.is_same_user(user));
    filter.account.as_ref().is_none_or(|account| *account == happening.account)
        && filter.user.as_ref().is_none_or(is_user)
        && filter.actor.as_ref().is_none_or(|actor| actor.made(&happening.actor))
        && (filter.service.is_none() || happening.service == filter.service)
        && filter.since.is_none_or(|since| since <= happening.event_time)
        && filter.until.is_none_or(|until| happening.event_time < until)
}
