//! The keys of the ledger beside the use of their users: first what nobody seems to use.

use std::collections::BTreeMap;

use key_guard_core::Time;
use key_guard_core::key::{AccountId, Service, Status};
use key_guard_core::lifecycle::CONSISTENCY_WINDOW;
use key_guard_core::policy::Verdict;
use key_guard_core::time::rfc3339;
use key_guard_core::usage::{IDLE, KnownUse, UserUse, covers_idle_time};

use super::collect::{Collected, UserKey, user_key};
use crate::ledger::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::query::{Filter, Search};
use crate::ledger::store::Ledger;
use crate::ledger::view::KeyView;

/// Whether a key is in use, as far as logs tell: whether its user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyUse {
    /// The logs have events of each of 30 days, all could be read, and none is a call of the user.
    Unused,
    /// A key of the user was used within 30 days.
    InUse,
    /// No call was found, and that says nothing: the logs do not cover 30 days, the key is younger, or it is for a service whose
    /// calls trails do not record unless they are told to (fact: Claude Platform user guide, *Monitoring and logging*).
    NotKnown,
    /// The key was deleted: whatever its user does now, it does with another key.
    Deleted,
}

impl KeyUse {
    /// As written for scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::InUse => "in_use",
            Self::NotKnown => "not_known",
            Self::Deleted => "deleted",
        }
    }
}

/// A key, or a user without a key in the ledger, and what is known of the use of the user's keys.
#[derive(Debug, Default)]
pub struct UsageRow {
    /// The account.
    pub account: Option<AccountId>,
    /// The key.
    pub key: Option<KeyView>,
    /// Whether it is in use.
    pub key_use: Option<KeyUse>,
    /// What the logs have.
    pub used: Option<UserUse>,
    /// What earlier runs found.
    pub known: Option<KnownUse>,
}

impl UsageRow {
    /// When a key of the user was last used, as far as any run knows. After the end of this key, that was another one.
    pub fn last_used_at(&self) -> Option<Time> {
        let known = self.known.as_ref().map(|known| known.last_used_at);
        let last = self.used.as_ref().map(|used| used.last).max(known)?;
        let is_of_another = self.key.as_ref().is_some_and(|key| key.standing.ended_before(last));
        (!is_of_another).then_some(last)
    }

    /// When a key of the user was first used, as far as any run knows. Before the creation of this key, that was another one.
    pub fn first_used_at(&self) -> Option<Time> {
        let known = self.known.as_ref().map(|known| known.first_used_at);
        let first = self.used.as_ref().map(|used| used.first).into_iter().chain(known).min()?;
        let created_at = self.key.as_ref().and_then(|key| key.report.created_at);
        created_at.is_none_or(|created_at| first >= created_at).then_some(first)
    }

    /// Deleted keys come after all others. Noncompliant keys come before others, and unused ones before those in use. What was
    /// used last comes last among unused keys and first among others.
    fn rank(&self) -> impl Ord + use<> {
        let is_noncompliant =
            self.key.as_ref().is_some_and(|key| key.report.verdict == Some(Verdict::Noncompliant));
        let last = self.last_used_at().map_or(0, |time| time.timestamp());
        let last = if self.key_use == Some(KeyUse::Unused) { last } else { -last };
        let key = self.key.as_ref().map(|key| key.key.clone());
        let is_deleted = self.key_use == Some(KeyUse::Deleted);
        (self.key.is_none(), is_deleted, !is_noncompliant, self.key_use, last, key)
    }
}

/// The rows without a ledger: the users, those whose keys were used last first.
pub fn users(collected: &Collected) -> Vec<UsageRow> {
    let row = |((account, _), used): (&UserKey, &UserUse)| UsageRow {
        account: Some(account.clone()),
        used: Some(used.clone()),
        ..UsageRow::default()
    };
    let mut rows: Vec<_> = collected.users.iter().map(row).collect();
    rows.sort_by_key(UsageRow::rank);
    rows
}

/// The keys of the ledger in these accounts, deleted ones too. Those of the ledger's items that cannot be read are in the second
/// part.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn keys_of(
    store: &Ledger,
    accounts: Vec<AccountId>,
    now: Time,
) -> anyhow::Result<(Vec<KeyView>, Vec<LedgerError>)> {
    let (mut keys, mut unreadable) = (Vec::new(), Vec::new());
    for account in accounts {
        let filter = Filter { account: Some(account), ..Filter::default() };
        let mut search = Search::new(store, filter, None, usize::MAX, now)?;
        while let Some(found) = search.next().await? {
            // A dry run says less than a state.
            keys.extend(found.views.into_iter().next());
        }
        unreadable.extend(search.unreadable());
    }
    Ok((keys, unreadable))
}

/// True for a key that does not exist any more.
pub fn is_deleted(key: &KeyView) -> bool {
    key.standing.status == Status::Gone
}

/// True if a key can have been used between these times.
fn existed(key: &KeyView, first: Time, last: Time) -> bool {
    let is_older = key.report.created_at.is_none_or(|created_at| last >= created_at);
    let deleted_at = key.standing.since.filter(|_| is_deleted(key));
    is_older && deleted_at.is_none_or(|deleted_at| first <= deleted_at)
}

/// The rows with a ledger: each key beside the use of its user, and then the users without a key in the ledger that they can
/// have used. Of deleted keys those with calls of their users.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn keys(
    store: &Ledger,
    keys: Vec<KeyView>,
    collected: &Collected,
    now: Time,
) -> anyhow::Result<(Vec<UsageRow>, Vec<LedgerError>)> {
    let mut users = collected.users.clone();
    let earlier = known_uses(store, &keys).await;
    let mut rows = Vec::new();
    for key in keys {
        let names: Vec<_> = key.names().map(|name| user_key(&key.key.account, name)).collect();
        // Of a user that was renamed, what came last. What was before the key's creation, or after its end, was another key.
        let used = names
            .iter()
            .filter_map(|name| collected.users.get(name))
            .filter(|used| existed(&key, used.first, used.last))
            .max_by_key(|used| used.last);
        let known = names
            .iter()
            .filter_map(|name| earlier.get(name)?.as_ref().ok()?.as_ref())
            .filter(|known| existed(&key, known.first_used_at, known.last_used_at))
            .max_by_key(|known| known.last_used_at);
        for name in &names {
            if users.get(name).is_some_and(|used| existed(&key, used.first, used.last)) {
                users.remove(name);
            }
        }
        if used.is_none() && is_deleted(&key) {
            continue;
        }
        let mut row = UsageRow {
            account: Some(key.key.account.clone()),
            used: used.cloned(),
            known: known.cloned(),
            ..UsageRow::default()
        };
        // Other services' calls are not in logs unless a trail records data events of theirs.
        let covered = covered(&names, collected).filter(|_| key.report.service == Some(Service::Bedrock));
        // What earlier runs found of the user may be in an item that cannot be read.
        let covered =
            covered.filter(|_| names.iter().all(|name| earlier.get(name).is_some_and(Result::is_ok)));
        row.key_use = Some(if is_deleted(&key) {
            KeyUse::Deleted
        } else {
            judge(key.report.created_at, row.last_used_at(), covered, now)
        });
        row.key = Some(key);
        rows.push(row);
    }
    rows.extend(users.into_iter().map(|((account, _), used)| UsageRow {
        account: Some(account),
        used: Some(used),
        ..UsageRow::default()
    }));
    rows.sort_by_key(UsageRow::rank);
    Ok((rows, earlier.into_values().filter_map(Result::err).collect()))
}

/// From when to when calls under all of these names would have been seen.
fn covered(names: &[UserKey], collected: &Collected) -> Option<(Time, Time)> {
    let covered = names.iter().map(|name| collected.covered(name));
    covered.reduce(|one, other| {
        let ((from, to), (other_from, other_to)) = (one?, other?);
        Some((from.max(other_from), to.min(other_to)))
    })?
}

/// The users whose keys in the ledger were all deleted, and who called later than that: in words. For a few seconds IAM may
/// accept a key that was deleted.
pub fn used_after_deletion(keys: &[KeyView], collected: &Collected) -> Vec<String> {
    let mut deleted: BTreeMap<UserKey, Option<Time>> = BTreeMap::new();
    for key in keys {
        let deleted_at = key.standing.since.filter(|_| is_deleted(key));
        for name in key.names() {
            let latest = deleted.entry(user_key(&key.key.account, name)).or_insert(deleted_at);
            *latest = latest.zip(deleted_at).map(|(one, other)| one.max(other));
        }
    }
    let later = |((account, name), used): (&UserKey, &UserUse)| {
        let deleted_at = (*deleted.get(&(account.clone(), name.clone()))?)?;
        (used.last > deleted_at + CONSISTENCY_WINDOW).then(|| {
            format!(
                "{} in account {account} was used at {}, after its last known key was deleted at {}: another key exists, or a \
                 short-term key of this user does",
                used.user,
                rfc3339(used.last),
                rfc3339(deleted_at)
            )
        })
    };
    collected.users.iter().filter_map(later).collect()
}

/// What earlier runs found of each of the users.
async fn known_uses(
    store: &Ledger,
    keys: &[KeyView],
) -> BTreeMap<UserKey, Result<Option<KnownUse>, LedgerError>> {
    let names: BTreeMap<_, _> = keys
        .iter()
        .flat_map(|key| key.names().map(|name| (user_key(&key.key.account, name), name.clone())))
        .collect();
    let users: Vec<_> = names.iter().map(|((account, _), user)| (account.clone(), user.clone())).collect();
    names.into_keys().zip(store.known_uses(&users, &mut Cost::default()).await).collect()
}

/// Whether a key is in use. That logs have no call says something only where they cover the time.
fn judge(
    created_at: Option<Time>,
    last_used_at: Option<Time>,
    covered: Option<(Time, Time)>,
    now: Time,
) -> KeyUse {
    let since = now - IDLE;
    if last_used_at.is_some_and(|last| last >= since) {
        return KeyUse::InUse;
    }
    let is_covered = covered.is_some_and(|span| covers_idle_time(span, now));
    let is_old = created_at.is_none_or(|created_at| created_at <= since);
    if is_covered && is_old { KeyUse::Unused } else { KeyUse::NotKnown }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn ago(days: i64) -> Time {
        now() - TimeDelta::days(days)
    }

    fn now() -> Time {
        "2026-12-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn only_logs_that_cover_thirty_days_say_that_a_key_is_unused() {
        let created = Some(ago(100));
        let covered = Some((ago(40), ago(1)));
        assert_eq!(judge(created, None, covered, now()), KeyUse::Unused);
        assert_eq!(judge(created, Some(ago(31)), covered, now()), KeyUse::Unused);
        assert_eq!(judge(created, Some(ago(30)), covered, now()), KeyUse::InUse);
        assert_eq!(judge(created, Some(ago(1)), None, now()), KeyUse::InUse, "whatever else is covered");
        for covered in [None, Some((ago(29), ago(0))), Some((ago(40), ago(3)))] {
            assert_eq!(judge(created, None, covered, now()), KeyUse::NotKnown, "{covered:?}");
        }
        assert_eq!(judge(Some(ago(29)), None, covered, now()), KeyUse::NotKnown, "it is too young");
        assert_eq!(judge(None, None, covered, now()), KeyUse::Unused);
    }
}
