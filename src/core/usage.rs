//! What the keys of a user were used for, as far as logs tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use chrono::TimeDelta;

use crate::cloudtrail::BearerCall;
use crate::key::{AccountId, UserName};
use crate::lifecycle::state::UnknownFields;
use crate::time::Time;

/// How many different texts are counted one by one. The user of a key can make up as many models and user agents as calls.
const MAX_DISTINCT: usize = 1_000;

/// A key that nobody has used for so long may be one that nobody needs.
pub const IDLE: TimeDelta = TimeDelta::days(30);

/// Logs arrive some time after the calls, and are copied some time after that.
const LOGS_ARE_LATE: TimeDelta = TimeDelta::days(2);

/// How many services, and how many models, the ledger keeps of a user.
const MAX_KEPT: usize = 20;

/// How often each of some texts was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    texts: BTreeMap<String, u64>,
    others: u64,
}

impl Counts {
    /// Counts a text. From the thousand and first different one on, new texts are only counted together.
    pub fn add(&mut self, text: &str) {
        if let Some(count) = self.texts.get_mut(text) {
            *count += 1;
        } else if self.texts.len() < MAX_DISTINCT {
            self.texts.insert(text.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    /// The texts with their counts, the most frequent first.
    #[must_use]
    pub fn most_frequent(&self) -> Vec<(&str, u64)> {
        let mut texts: Vec<_> = self.texts.iter().map(|(text, count)| (text.as_str(), *count)).collect();
        texts.sort_by(|(one, first), (other, second)| second.cmp(first).then(one.cmp(other)));
        texts
    }

    /// How often other texts were seen.
    #[must_use]
    pub const fn others(&self) -> u64 {
        self.others
    }

    fn first_texts(&self) -> BTreeSet<String> {
        self.texts.keys().take(MAX_KEPT).cloned().collect()
    }
}

/// What the keys of a user were used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserUse {
    /// The user, as a call names it.
    pub user: UserName,
    /// The first call.
    pub first: Time,
    /// The last call.
    pub last: Time,
    /// All calls.
    pub calls: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// The services that were called.
    pub services: Counts,
    /// The API calls.
    pub operations: Counts,
    /// The models, of the calls that name one.
    pub models: Counts,
    /// The Regions.
    pub regions: Counts,
    /// Where the calls came from: addresses, or names of AWS services.
    pub addresses: Counts,
    /// The networks of the addresses: see [`network`].
    pub networks: Counts,
    /// The user agents.
    pub user_agents: Counts,
    /// The error codes of the calls that failed.
    pub errors: Counts,
}

impl UserUse {
    /// No call yet. The first one is at `time`.
    #[must_use]
    pub fn new(user: UserName, time: Time) -> Self {
        Self {
            user,
            first: time,
            last: time,
            calls: 0,
            failed: 0,
            services: Counts::default(),
            operations: Counts::default(),
            models: Counts::default(),
            regions: Counts::default(),
            addresses: Counts::default(),
            networks: Counts::default(),
            user_agents: Counts::default(),
            errors: Counts::default(),
        }
    }

    /// Counts a call.
    pub fn add(&mut self, call: &BearerCall) {
        self.first = self.first.min(call.time);
        self.last = self.last.max(call.time);
        self.calls += 1;
        self.failed += u64::from(call.error_code.is_some());
        self.services.add(&call.service);
        self.operations.add(&call.operation);
        for (counts, text) in [
            (&mut self.models, &call.model),
            (&mut self.regions, &call.region),
            (&mut self.addresses, &call.source_ip),
            (&mut self.user_agents, &call.user_agent),
            (&mut self.errors, &call.error_code),
        ] {
            if let Some(text) = text {
                counts.add(text);
            }
        }
        if let Some(network) = call.source_ip.as_deref().and_then(network) {
            self.networks.add(&network);
        }
    }

    /// What the ledger keeps of it. `at`: when it was found.
    #[must_use]
    pub fn known(&self, account: &AccountId, at: Time) -> KnownUse {
        KnownUse {
            account: account.clone(),
            user: self.user.clone(),
            first_used_at: self.first,
            last_used_at: self.last,
            services: self.services.first_texts(),
            models: self.models.first_texts(),
            latest: UseRun { at, calls: self.calls, first: self.first, last: self.last },
            unknown_fields: UnknownFields::default(),
        }
    }
}

/// The network of an address: of an IPv4 address the 256 addresses with the same first 24 bits, of an IPv6 address those with
/// the same first 48, which one site usually has (RFC 6177). `None` for the name of an AWS service.
#[must_use]
pub fn network(address: &str) -> Option<String> {
    Some(match address.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    })
}

/// What the ledger keeps of the use of a user's keys: over all runs, and of the latest one. Calls are not added up over runs:
/// two runs may read the same logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownUse {
    /// The account of the user.
    pub account: AccountId,
    /// The user.
    pub user: UserName,
    /// The first call of any run.
    pub first_used_at: Time,
    /// The last call of any run.
    pub last_used_at: Time,
    /// Services that were called, twenty at most.
    pub services: BTreeSet<String>,
    /// Models that were called, twenty at most.
    pub models: BTreeSet<String>,
    /// The latest run that found calls.
    pub latest: UseRun,
    /// What a later version stored besides.
    pub unknown_fields: UnknownFields,
}

/// What one run found of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UseRun {
    /// When it ran.
    pub at: Time,
    /// How many calls it found.
    pub calls: u64,
    /// The first of them.
    pub first: Time,
    /// The last of them.
    pub last: Time,
}

impl KnownUse {
    /// What two runs know of the same user, whatever their order and however often they are merged.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let merge = |one: BTreeSet<String>, other| one.into_iter().chain(other).collect::<BTreeSet<_>>();
        let keep = |texts: BTreeSet<String>| texts.into_iter().take(MAX_KEPT).collect();
        Self {
            first_used_at: self.first_used_at.min(other.first_used_at),
            last_used_at: self.last_used_at.max(other.last_used_at),
            services: keep(merge(self.services, other.services)),
            models: keep(merge(self.models, other.models)),
            latest: self.latest.max(other.latest),
            unknown_fields: self.unknown_fields.merged(other.unknown_fields),
            ..self
        }
    }
}

/// Whether logs from and to these times say that a key which they do not have a call of was not used for [`IDLE`].
#[must_use]
pub fn covers_idle_time((from, to): (Time, Time), now: Time) -> bool {
    from <= now - IDLE && to >= now - LOGS_ARE_LATE
}

/// That a run of `usage` looked for the calls of an account's users, could read all of it, and recorded what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageCoverage {
    /// Which account.
    pub account: AccountId,
    /// From when a call would have been found.
    pub from: Time,
    /// Until when.
    pub to: Time,
    /// Whose calls.
    pub users: CoveredUsers,
    /// What a later version stored besides.
    pub unknown_fields: UnknownFields,
}

/// Whose calls a run of `usage` looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoveredUsers {
    /// Those of every user: it read log files.
    Every,
    /// Those of users with these names, in lowercase: it asked for each in CloudTrail's event history.
    Named(BTreeSet<String>),
}

impl UsageCoverage {
    /// Whether every call within [`IDLE`] of a user with all of these names, in lowercase, would have been found.
    #[must_use]
    pub fn covers(&self, users: &BTreeSet<String>, now: Time) -> bool {
        let is_named = match &self.users {
            CoveredUsers::Every => true,
            CoveredUsers::Named(named) => users.is_subset(named),
        };
        is_named && covers_idle_time((self.from, self.to), now)
    }

    /// What is kept of two runs: the one that knows of later calls.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let unknown_fields = self.unknown_fields.clone().merged(other.unknown_fields.clone());
        Self { unknown_fields, ..if other.to > self.to { other } else { self } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudtrail::BearerCaller;

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_795_167_786, 0).unwrap() + TimeDelta::seconds(seconds)
    }

    fn call(seconds: i64) -> BearerCall {
        BearerCall {
            event_id: format!("event-{seconds}").parse().unwrap(),
            account: "111122223333".parse().unwrap(),
            caller: BearerCaller::User("alice".parse().unwrap()),
            time: at(seconds),
            service: "bedrock.amazonaws.com".to_owned(),
            operation: "Converse".to_owned(),
            model: Some(format!("model-{}", seconds % 2)),
            region: None,
            source_ip: Some(format!("198.51.100.{}", seconds % 256)),
            user_agent: None,
            error_code: (seconds % 3 == 0).then(|| "ThrottlingException".to_owned()),
        }
    }

    fn used(seconds: impl IntoIterator<Item = i64>) -> UserUse {
        let mut used: Option<UserUse> = None;
        for seconds in seconds {
            let call = call(seconds);
            used.get_or_insert_with(|| UserUse::new("alice".parse().unwrap(), call.time)).add(&call);
        }
        used.unwrap()
    }

    #[test]
    fn calls_are_counted_in_any_order() {
        let all = used([4, 1, 2, 3]);
        assert_eq!((all.first, all.last, all.calls, all.failed), (at(1), at(4), 4, 1));
        assert_eq!(all, used(1..5));
        assert_eq!(all.models.most_frequent(), [("model-0", 2), ("model-1", 2)]);
        assert_eq!(all.addresses.most_frequent().len(), 4);
        assert_eq!(all.networks.most_frequent(), [("198.51.100.0/24", 4)]);
        assert_eq!(all.errors.most_frequent(), [("ThrottlingException", 1)]);
        assert_eq!(all.regions.most_frequent(), []);
    }

    #[test]
    fn the_most_frequent_text_comes_first_and_memory_is_bounded() {
        let mut counts = Counts::default();
        for number in 0..3_000 {
            counts.add(&format!("agent-{number}"));
            counts.add("agent-7");
        }
        let texts = counts.most_frequent();
        assert_eq!((texts[0], texts.len()), (("agent-7", 3_001), MAX_DISTINCT));
        assert_eq!(counts.others(), 2_000);
    }

    #[test]
    fn networks_are_those_of_24_and_48_bits() {
        for (address, expected) in [
            ("198.51.100.27", Some("198.51.100.0/24")),
            ("::ffff:198.51.100.27", Some("198.51.100.0/24")),
            ("2001:db8:1:2::3", Some("2001:db8:1::/48")),
            ("bedrock.amazonaws.com", None),
            ("", None),
        ] {
            assert_eq!(network(address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn a_run_covers_its_users_over_the_last_thirty_days() {
        let day = |days: i64| at(0) - TimeDelta::days(days);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let coverage = |from, to, users| UsageCoverage {
            account: "111122223333".parse().unwrap(),
            from: day(from),
            to: day(to),
            users,
            unknown_fields: UnknownFields::default(),
        };
        let alice = names(&["alice"]);
        for (from, to, expected) in [(30, 0, true), (40, 2, true), (29, 0, false), (40, 3, false)] {
            assert_eq!(
                coverage(from, to, CoveredUsers::Every).covers(&alice, at(0)),
                expected,
                "{from} {to}"
            );
        }
        let of_two = coverage(30, 0, CoveredUsers::Named(names(&["alice", "bob"])));
        assert!(of_two.covers(&alice, at(0)) && of_two.covers(&names(&["alice", "bob"]), at(0)));
        assert!(!of_two.covers(&names(&["alice", "carol"]), at(0)), "carol was another name of alice");
        let older = coverage(50, 1, CoveredUsers::Every);
        assert_eq!(older.clone().merged(of_two.clone()), of_two);
        assert_eq!(of_two.clone().merged(older), of_two);
    }

    #[test]
    fn merging_runs_counts_nothing_twice() {
        let account: AccountId = "111122223333".parse().unwrap();
        let old = used(0..50).known(&account, at(100));
        let new = used(10..20).known(&account, at(200));
        let merged = old.clone().merged(new.clone());
        assert_eq!((merged.first_used_at, merged.last_used_at), (at(0), at(49)));
        assert_eq!(merged.latest, UseRun { at: at(200), calls: 10, first: at(10), last: at(19) });
        assert_eq!(new.clone().merged(old.clone()), merged, "in any order");
        assert_eq!(merged.clone().merged(new.clone()), merged, "and again");
        assert_eq!(merged.clone().merged(old.clone()), merged);
        let with = |number: u32| {
            let field = ("later_field".to_owned(), serde_json::json!(number));
            KnownUse { unknown_fields: UnknownFields([field].into_iter().collect()), ..new.clone() }
        };
        for (one, other) in [(with(1), with(2)), (with(2), with(1)), (with(2), old.clone()), (old, with(2))] {
            assert_eq!(one.merged(other).unknown_fields, with(2).unknown_fields);
        }
        let mut many = merged.clone();
        many.models = (0..50).map(|number| format!("x-{number:02}")).collect();
        let kept = merged.merged(many);
        assert_eq!(kept.models.len(), MAX_KEPT);
        assert!(kept.models.contains("model-0"));
    }
}
