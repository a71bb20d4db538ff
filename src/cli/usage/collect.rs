//! Counts calls with keys by account and user, each call once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::NaiveDate;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{BearerCall, BearerCaller};
use key_guard_core::key::{AccountId, EventId, UserName};
use key_guard_core::lifecycle::state::UnknownFields;
use key_guard_core::text::sanitize_line;
use key_guard_core::usage::{CoveredUsers, UsageCoverage, UserUse, covers_idle_time};

use crate::cli::lookup::suggest::similar;
use crate::cli::spans::Spans;

/// A user of an account. IAM never lets two users of an account differ in case only.
pub type UserKey = (AccountId, String);

/// A user, as calls and keys are joined by.
pub fn user_key(account: &AccountId, user: &UserName) -> UserKey {
    (account.clone(), user.as_str().to_ascii_lowercase())
}

/// Which calls are counted.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// Those of these users. Empty: of all.
    pub users: Vec<UserName>,
    /// Those at this time or later.
    pub since: Option<Time>,
    /// Those before this time.
    pub until: Option<Time>,
}

impl Question {
    fn asks_for(&self, user: &UserName, time: Time) -> bool {
        (self.users.is_empty() || self.users.iter().any(|name| name.is_same_user(user)))
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
    }
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Collected {
    question: Question,
    /// By account and user.
    pub users: BTreeMap<UserKey, UserUse>,
    /// Calls with a bearer token by somebody who is no IAM user, or with a short-term key.
    pub others: u64,
    /// Calls that came more than once.
    pub repeated: u64,
    /// Calls of users, or at times, that are not asked for.
    pub passed_over: u64,
    /// Whether something could not be read: any call may be in it.
    pub has_unreadable: bool,
    /// The names of all users with calls, where some are asked for by name.
    names: BTreeSet<String>,
    /// Each call that was seen.
    seen: HashSet<u128>,
    /// When there are events of an account.
    spans: Spans,
    /// The same of single users, where others were not asked for.
    user_spans: BTreeMap<UserKey, (Time, Time)>,
}

impl Collected {
    /// Nothing yet.
    pub fn new(question: Question) -> Self {
        Self { question, ..Self::default() }
    }

    /// Counts a call. An organisation's trail and an account's own one have the same event, and CloudTrail may deliver an
    /// event again (CloudTrail user guide, *CloudTrail record contents*, `eventID`).
    pub fn add(&mut self, call: &BearerCall) {
        if !self.seen.insert(hash(&call.event_id)) {
            self.repeated += 1;
            return;
        }
        self.spans.add_time(&call.account, call.time);
        if let Some(region) = &call.region {
            self.spans.add_region(&call.account, region.clone());
        }
        if let BearerCaller::User(user) = &call.caller
            && !self.question.users.is_empty()
            && !self.names.contains(user.as_str())
        {
            self.names.insert(user.to_string());
        }
        match &call.caller {
            BearerCaller::User(user) if self.question.asks_for(user, call.time) => {
                let key = user_key(&call.account, user);
                let new = || UserUse::new(user.clone(), call.time);
                self.users.entry(key).or_insert_with(new).add(call);
            }
            BearerCaller::User(_) => self.passed_over += 1,
            BearerCaller::Other => self.others += 1,
        }
    }

    /// When an input has events of any kind.
    pub fn add_spans(&mut self, spans: Spans) {
        self.spans.extend(spans);
    }

    /// A user's calls were asked for between these times.
    pub fn add_user_span(&mut self, user: UserKey, from: Time, to: Time) {
        let span = self.user_spans.entry(user).or_insert((from, to));
        // What several Regions have in common.
        *span = (span.0.max(from), span.1.min(to));
    }

    /// Of each user that is asked for and has no call: the users with calls whose names look like that.
    pub fn similar_names(&self) -> Vec<String> {
        let has_call =
            |user: &UserName| self.names.iter().any(|name| user.as_str().eq_ignore_ascii_case(name));
        let users = self.question.users.iter().filter(|user| !has_call(user));
        users
            .filter_map(|user| {
                let names = similar(user.as_str(), &self.names).join(", ");
                (!names.is_empty())
                    .then(|| format!("no calls of {user}; the logs have {}", sanitize_line(&names)))
            })
            .collect()
    }

    /// How many calls of users were counted.
    pub fn calls(&self) -> u64 {
        self.users.values().map(|used| used.calls).sum()
    }

    /// The accounts with calls or with known times.
    pub fn accounts(&self) -> Vec<AccountId> {
        let of_users = self.user_spans.keys().map(|(account, _)| account.clone());
        let all = self.spans.iter().map(|(account, ..)| account.clone()).chain(of_users);
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// From what Regions the events came that were read, by account.
    pub const fn regions(&self) -> &BTreeMap<AccountId, BTreeSet<String>> {
        self.spans.regions()
    }

    /// From when to when calls of a user would have been seen. Log files of a day that has none may be missing. `None`: at no
    /// time, or something could not be read.
    pub fn covered(&self, user: &UserKey) -> Option<(Time, Time)> {
        if self.user_spans.is_empty() {
            self.covered_by_logs(&user.0)
        } else {
            self.asked_for(*self.user_spans.get(user)?)
        }
    }

    fn covered_by_logs(&self, account: &AccountId) -> Option<(Time, Time)> {
        let until = self.question.until.unwrap_or(Time::MAX_UTC);
        self.asked_for(self.spans.without_gap(account, until)?)
    }

    fn asked_for(&self, (from, to): (Time, Time)) -> Option<(Time, Time)> {
        let Question { since, until, .. } = self.question;
        let span = (since.map_or(from, |since| from.max(since)), until.map_or(to, |until| to.min(until)));
        (!self.has_unreadable).then_some(span)
    }

    /// Of each account whose users' calls of the last 30 days would all have been found: that. Those of single users that are
    /// named in the question say nothing of the others.
    pub fn coverages(&self, now: Time) -> Vec<UsageCoverage> {
        let coverage = |account: AccountId| {
            let of_account = self.user_spans.iter().filter(|((of, _), _)| *of == account);
            let (names, spans): (BTreeSet<_>, Vec<_>) =
                of_account.map(|((_, name), span)| (name.clone(), *span)).unzip();
            let in_each = spans.into_iter().reduce(|one, other| (one.0.max(other.0), one.1.min(other.1)));
            let ((from, to), users) = match in_each {
                Some(span) => (self.asked_for(span)?, CoveredUsers::Named(names)),
                None => (self.covered_by_logs(&account)?, CoveredUsers::Every),
            };
            Some(UsageCoverage { account, from, to, users, unknown_fields: UnknownFields::default() })
        };
        let accounts = self.accounts().into_iter().filter(|_| self.question.users.is_empty());
        accounts.filter_map(coverage).filter(|found| covers_idle_time((found.from, found.to), now)).collect()
    }

    /// The last day before `end` without any event of an account, if there are events before it.
    pub fn gap(&self, account: &AccountId, end: Time) -> Option<NaiveDate> {
        self.spans.gap(account, end).filter(|_| self.user_spans.is_empty())
    }
}

/// Tells events apart in 16 bytes (FNV-1a). Nobody but AWS chooses their ids.
fn hash(id: &EventId) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
    id.as_str().bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(day: u32) -> Time {
        format!("2026-11-{day:02}T09:00:00Z").parse().unwrap()
    }

    fn call(id: &str, user: Option<&str>, day: u32) -> BearerCall {
        BearerCall {
            event_id: id.parse().unwrap(),
            account: "111122223333".parse().unwrap(),
            caller: user.map_or(BearerCaller::Other, |user| BearerCaller::User(user.parse().unwrap())),
            time: at(day),
            service: "bedrock.amazonaws.com".to_owned(),
            operation: "Converse".to_owned(),
            model: None,
            region: None,
            source_ip: None,
            user_agent: None,
            error_code: None,
        }
    }

    fn key(user: &str) -> UserKey {
        user_key(&"111122223333".parse().unwrap(), &user.parse().unwrap())
    }

    #[test]
    fn a_call_counts_once_and_under_one_name() {
        let mut collected = Collected::default();
        for (id, user) in [("1", "alice"), ("1", "alice"), ("2", "Alice"), ("3", "bob")] {
            collected.add(&call(id, Some(user), 1));
        }
        collected.add(&call("4", None, 1));
        let calls: Vec<_> =
            collected.users.iter().map(|((_, user), used)| (user.as_str(), used.calls)).collect();
        assert_eq!(calls, [("alice", 2), ("bob", 1)]);
        assert_eq!((collected.repeated, collected.others, collected.calls()), (1, 1, 3));
    }

    #[test]
    fn what_is_not_asked_for_is_passed_over() {
        let question =
            Question { users: vec!["alice".parse().unwrap()], since: Some(at(10)), until: Some(at(20)) };
        let mut collected = Collected::new(question);
        for (id, user, day) in
            [("1", "ALICE", 10), ("2", "alice", 9), ("3", "alice", 20), ("4", "bob", 12), ("5", "alice", 19)]
        {
            collected.add(&call(id, Some(user), day));
        }
        assert_eq!((collected.calls(), collected.passed_over), (2, 3));
        assert_eq!(
            collected.covered(&key("alice")),
            Some((at(19), at(20))),
            "what was asked for, after the gap"
        );
        for day in 9..20 {
            collected.add(&call(&format!("day-{day}"), Some("bob"), day));
        }
        assert_eq!(collected.covered(&key("alice")), Some((at(10), at(20))), "of 9 to 20 what was asked for");
        collected.has_unreadable = true;
        assert_eq!(collected.covered(&key("alice")), None, "a call may be in what could not be read");
    }

    #[test]
    fn only_a_whole_run_over_every_user_covers_an_account() {
        let days = |collected: &mut Collected| {
            for day in 1..31 {
                collected.add(&call(&format!("day-{day}"), None, day));
            }
        };
        let covered = |collected: &Collected| {
            let coverages = collected.coverages(at(30) + TimeDelta::days(1)).into_iter();
            coverages.map(|found| (found.from, found.to, found.users)).collect::<Vec<_>>()
        };
        let mut collected = Collected::default();
        days(&mut collected);
        assert_eq!(covered(&collected), [(at(1), at(30), CoveredUsers::Every)]);
        collected.has_unreadable = true;
        assert_eq!(covered(&collected), []);
        for question in [
            Question { users: vec!["alice".parse().unwrap()], ..Question::default() },
            Question { since: Some(at(2)), ..Question::default() },
            Question { until: Some(at(20)), ..Question::default() },
        ] {
            let mut collected = Collected::new(question.clone());
            days(&mut collected);
            assert_eq!(covered(&collected), [], "{question:?}");
        }
        let mut asked = Collected::default();
        asked.add_user_span(key("alice"), at(1), at(30));
        let named = CoveredUsers::Named(["alice".to_owned()].into());
        assert_eq!(covered(&asked), [(at(1), at(30), named)]);
        asked.add_user_span(key("bob"), at(3), at(30));
        assert_eq!(covered(&asked), [], "not all calls of bob");
    }

    #[test]
    fn what_was_asked_of_one_user_says_nothing_of_another() {
        let mut collected = Collected::default();
        collected.add(&call("1", Some("alice"), 5));
        collected.add_user_span(key("alice"), at(1), at(20));
        collected.add_user_span(key("alice"), at(3), at(20));
        assert_eq!(collected.covered(&key("alice")), Some((at(3), at(20))), "in each Region");
        assert_eq!(collected.covered(&key("bob")), None);
        assert_eq!(Collected::default().covered(&key("bob")), None);
    }
}
