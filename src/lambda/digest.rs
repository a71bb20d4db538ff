//! The digest of a sweep: what is open, what ends soon, what is in quarantine, and which accounts are silent.
//!
//! A sweep may take many invocations. It carries from one to the next which keys the digest will have, at most
//! [`MAX_LISTED`] of each kind, and how many there are. The last one reads them in the ledger. So a continuation that
//! somebody has forged can make the digest count wrongly, or leave keys out; it changes nothing else, and puts no text
//! into the digest.

use std::collections::BTreeSet;

use chrono::{Days, NaiveTime, TimeDelta};
use serde::{Deserialize, Serialize};

use key_guard_core::Time;
use key_guard_core::key::{AccountId, CredentialId, Expiration, KeyRef, Service, Status, UserName};
use key_guard_core::lifecycle::input::Input;
use key_guard_core::lifecycle::state::{Phase, Record};
use key_guard_core::policy::{Exemption, Policy, Verdict, Violation};
use key_guard_core::silence::HeardAccount;

use crate::runtime::sweep::SweptKey;

/// How long each list of a digest is at most. Lambda sends a response to its destination together with the request, and
/// drops both above 256 KB (Lambda API reference, `OnSuccess`; that is the limit of Amazon SNS and of this digest).
pub const MAX_LISTED: usize = 100;

/// How far ahead a digest looks for what ends.
pub const ENDING_WITHIN: TimeDelta = TimeDelta::days(14);

/// The digest of a sweep. Each list has at most [`MAX_LISTED`] entries, and its count counts all. A key that has changed
/// since it was swept is counted, and not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// Noncompliant keys that are or may be active, those that have been so for longest.
    pub open: Vec<OpenKey>,
    /// How many there are.
    pub open_count: u64,
    /// What ends within [`ENDING_WITHIN`], the earliest first.
    pub ending: Vec<Ending>,
    /// How many there are.
    pub ending_count: u64,
    /// Keys in quarantine, those that end first.
    pub quarantined: Vec<QuarantinedKey>,
    /// How many there are.
    pub quarantined_count: u64,
    /// Silent accounts, those that have been silent for longest. `None`: the ledger could not be read.
    pub silent_accounts: Option<Vec<SilentAccount>>,
    /// How many there are.
    pub silent_count: Option<u64>,
}

/// A noncompliant key that is or may be active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenKey {
    account: AccountId,
    user: UserName,
    credential_id: CredentialId,
    service: Service,
    violation: Option<Violation>,
    status: Status,
    /// When it became so.
    since: Time,
}

/// Something that ends soon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ending {
    account: AccountId,
    user: UserName,
    /// `None` for an exemption.
    credential_id: Option<CredentialId>,
    what: EndingKind,
    at: Time,
}

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingKind {
    /// An exemption in the policy: its first moment without effect.
    Exemption,
    /// An active key: it expires.
    Key,
}

/// A key in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuarantinedKey {
    account: AccountId,
    user: UserName,
    credential_id: CredentialId,
    /// From when on it is deleted.
    until: Time,
}

/// A silent account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SilentAccount {
    account: AccountId,
    last_heard: Time,
}

/// What a sweep has found for its digest so far: a part of the payload of a further invocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestKeys {
    open: FirstKeys,
    ending: FirstKeys,
    quarantined: FirstKeys,
}

/// Those with the earliest times of some keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstKeys {
    /// How many keys there are.
    count: u64,
    first: BTreeSet<(Time, KeyRef)>,
}

impl FirstKeys {
    fn add(&mut self, at: Option<Time>, key: &KeyRef) {
        let Some(at) = at else { return };
        self.count = self.count.saturating_add(1);
        self.first.insert((at, key.clone()));
        while self.first.len() > MAX_LISTED {
            self.first.pop_last();
        }
    }

    fn keys(&self) -> impl Iterator<Item = &KeyRef> {
        self.first.iter().map(|(_, key)| key).take(MAX_LISTED)
    }
}

impl DigestKeys {
    /// Adds a key that IAM lists. The closing pass of a sweep only sees keys that IAM does not list.
    pub(super) fn add(&mut self, key: &SweptKey<'_>, now: Time) {
        let is_listed = matches!(key.result.input, Input::Listed { .. });
        if let Some(record) = key.result.stored.state.record().filter(|_| is_listed) {
            self.add_record(record, now);
        }
    }

    fn add_record(&mut self, record: &Record, now: Time) {
        let key = record.key();
        self.open.add(open_since(record), key);
        self.ending.add(expires_soon(record, now), key);
        self.quarantined.add(quarantined_until(record), key);
    }

    /// The keys whose records the digest is made of.
    pub(super) fn keys(&self) -> BTreeSet<KeyRef> {
        [&self.open, &self.ending, &self.quarantined].into_iter().flat_map(FirstKeys::keys).cloned().collect()
    }

    /// The digest, from the records of [`keys`](Self::keys), as they are now. `heard`: every account that was heard, if they
    /// could be read.
    pub(super) fn digest(
        &self,
        records: &[Record],
        heard: Option<Vec<HeardAccount>>,
        policy: &Policy,
        now: Time,
    ) -> Digest {
        let find = |key| records.iter().find(|record| record.key() == key);
        let exemptions: Vec<_> = ending_exemptions(policy, now).collect();
        let ending_count = self.ending.count.saturating_add(exemptions.len() as u64);
        let keys = self.ending.keys().filter_map(find).filter_map(|record| Ending::of_key(record, now));
        let silent = heard.map(|heard| silent_accounts(heard, now));
        Digest {
            open: self.open.keys().filter_map(find).filter_map(OpenKey::of).collect(),
            open_count: self.open.count,
            ending: first_by(keys.chain(exemptions), |ending| ending.at),
            ending_count,
            quarantined: self.quarantined.keys().filter_map(find).filter_map(QuarantinedKey::of).collect(),
            quarantined_count: self.quarantined.count,
            silent_count: silent.as_ref().map(|silent| silent.len() as u64),
            silent_accounts: silent.map(|silent| first_by(silent.into_iter(), |silent| silent.last_heard)),
        }
    }
}

/// The first entries of a list that is too long.
fn first_by<T>(entries: impl Iterator<Item = T>, at: impl Fn(&T) -> Time) -> Vec<T> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(at);
    entries.truncate(MAX_LISTED);
    entries
}

/// How the key stands, if it may be active.
fn usable_status(record: &Record) -> Option<Status> {
    let status = record.known_status().map_or(Status::Unknown, Status::from);
    match record.phase {
        Phase::Settled | Phase::Pending(_) if status.may_be_usable() => Some(status),
        Phase::Settled | Phase::Pending(_) | Phase::Deactivated(_) | Phase::Inactive(_) | Phase::Gone(_) => {
            None
        }
    }
}

/// Since when the key is noncompliant and works.
fn open_since(record: &Record) -> Option<Time> {
    usable_status(record)?;
    (record.verdict() == Some(Verdict::Noncompliant)).then_some(record.changed_at)
}

/// When the key expires, if it works and that is soon.
fn expires_soon(record: &Record, now: Time) -> Option<Time> {
    usable_status(record)?;
    match record.assessed()?.expiration? {
        Expiration::At(at) => is_soon(at, now).then_some(at),
        Expiration::Never => None,
    }
}

/// When the guard is to delete the key. That date stays if the key is activated again (R12).
fn quarantined_until(record: &Record) -> Option<Time> {
    record.delete_after.filter(|_| record.phase.gone().is_none())
}

fn is_soon(at: Time, now: Time) -> bool {
    now < at && at <= now + ENDING_WITHIN
}

impl OpenKey {
    fn of(record: &Record) -> Option<Self> {
        let since = open_since(record)?;
        let KeyRef { account, id } = record.key().clone();
        Some(Self {
            account,
            user: record.facts.user.clone(),
            credential_id: id,
            service: record.facts.service.clone(),
            violation: record.assessed()?.verdict.violation(),
            status: usable_status(record)?,
            since,
        })
    }
}

impl Ending {
    fn of_key(record: &Record, now: Time) -> Option<Self> {
        let at = expires_soon(record, now)?;
        let KeyRef { account, id } = record.key().clone();
        let user = record.facts.user.clone();
        Some(Self { account, user, credential_id: Some(id), what: EndingKind::Key, at })
    }
}

fn ending_exemptions(policy: &Policy, now: Time) -> impl Iterator<Item = Ending> {
    policy.exemptions().iter().filter_map(move |Exemption { account, user, until, .. }| {
        // The last day is included.
        let at = until.checked_add_days(Days::new(1))?.and_time(NaiveTime::MIN).and_utc();
        let (account, user) = (account.clone(), user.clone());
        is_soon(at, now).then_some(Ending {
            account,
            user,
            credential_id: None,
            what: EndingKind::Exemption,
            at,
        })
    })
}

impl QuarantinedKey {
    fn of(record: &Record) -> Option<Self> {
        let until = quarantined_until(record)?;
        let KeyRef { account, id } = record.key().clone();
        Some(Self { account, user: record.facts.user.clone(), credential_id: id, until })
    }
}

fn silent_accounts(heard: Vec<HeardAccount>, now: Time) -> Vec<SilentAccount> {
    let silent = heard.into_iter().filter(|heard| heard.is_silent(now));
    silent.map(|HeardAccount { account, last_heard, .. }| SilentAccount { account, last_heard }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    use key_guard_core::evidence::{ExpirationEvidence, ListedEvidence};
    use key_guard_core::key::{KeyFacts, KeyStatus};
    use key_guard_core::lifecycle::state::{GoneEvidence, LastSeen, UnknownFields, Version};

    use super::*;

    const ACCOUNT: &str = "111122223333";

    fn at(days: i64) -> Time {
        Time::from_timestamp(1_772_366_400, 0).unwrap() + TimeDelta::days(days)
    }

    /// No key is allowed, so that a key can be open and ending, and 150 exemptions end soon.
    fn policy(name: &str) -> Policy {
        let mut text =
            "[default]\nservices = \"*\"\nmax_lifetime_days = 0\nresponse = \"monitor\"\n".to_owned();
        for number in 0..150 {
            let until = at(number % 10).date_naive();
            write!(
                text,
                "[[exemption]]\naccount = \"{ACCOUNT}\"\nuser = \"{number:03}{name}\"\nreason = \"-\"\nuntil = {until}\n"
            )
            .unwrap();
        }
        Policy::parse(&text, Path::new("policy.toml")).unwrap()
    }

    /// A key with names of the greatest length, that is in every list.
    fn record(number: i64, policy: &Policy) -> Record {
        let facts = KeyFacts {
            key: KeyRef {
                account: ACCOUNT.parse().unwrap(),
                id: format!("ACCA{}{number:03}", "X".repeat(121)).parse().unwrap(),
            },
            user: format!("{}{number:03}", "u".repeat(125)).parse().unwrap(),
            other_names: BTreeSet::new(),
            service: format!("{}amazonaws.com", "s.".repeat(120)).parse().unwrap(),
            created_at: at(-1),
        };
        let listed =
            ListedEvidence { created_at: at(-1), expires_at: Some(at(1) + TimeDelta::minutes(number)) };
        let evidence = ExpirationEvidence { event: None, listed: Some(listed) };
        Record {
            assessment: policy.assess(&facts, &evidence, at(0)),
            facts,
            evidence,
            creation: None,
            handled_through: None,
            delete_after: Some(at(2) + TimeDelta::minutes(number)),
            observation: None,
            last_seen: Some(LastSeen::of_listing(KeyStatus::Active, at(0))),
            policy_sha256: String::new(),
            first_assessed: at(0),
            changed_at: at(0) - TimeDelta::minutes(number),
            unreported: false,
            phase: Phase::Settled,
            unknown_fields: UnknownFields::default(),
        }
    }

    fn heard(number: i64) -> HeardAccount {
        HeardAccount {
            account: format!("{number:012}").parse().unwrap(),
            last_heard: at(-1) + TimeDelta::minutes(number),
            silence_reported_at: None,
            version: Version(1),
            unknown_fields: UnknownFields::default(),
        }
    }

    #[test]
    fn a_digest_lists_a_hundred_counts_all_and_fits_into_a_destination() {
        const LIMIT: usize = 256 * 1_024;
        let policy = policy(&"e".repeat(125));
        let records: Vec<_> = (0..150).map(|number| record(number, &policy)).collect();
        let mut keys = DigestKeys::default();
        for record in &records {
            keys.add_record(record, at(0));
        }
        let digest = keys.digest(&records, Some((0..150).map(heard).collect()), &policy, at(0));
        let lengths =
            [digest.open.len(), digest.ending.len(), digest.quarantined.len()].map(|length| length as u64);
        assert_eq!((lengths, digest.silent_accounts.as_ref().unwrap().len()), ([100; 3], 100));
        // The exemptions of 1 March end on 2 March, before any key does.
        assert_eq!([digest.open_count, digest.ending_count, digest.quarantined_count], [150, 300, 150]);
        assert_eq!(digest.silent_count, Some(150));
        assert_eq!(digest.open[0].since, at(0) - TimeDelta::minutes(149));
        assert!(digest.open.is_sorted_by_key(|open| open.since));
        assert_eq!(
            (digest.ending[0].what, digest.ending[0].credential_id.is_none()),
            (EndingKind::Exemption, true)
        );
        assert!(digest.ending.is_sorted_by_key(|ending| ending.at));
        assert_eq!(digest.quarantined[99].until, at(2) + TimeDelta::minutes(99));
        assert_eq!(digest.silent_accounts.as_ref().unwrap()[0].last_heard, at(-1));

        // The last response goes to the destination with its request, and another one with what it continues from.
        let [digest, keys] = [serde_json::to_string(&digest).unwrap(), serde_json::to_string(&keys).unwrap()]
            .map(|text| text.len());
        assert!(digest + keys < LIMIT && 2 * keys < LIMIT, "{digest} and {keys} bytes");
        assert!(keys < LIMIT / 3, "{keys} bytes");
    }

    #[test]
    fn a_key_is_in_a_list_as_long_as_its_record_says_so() {
        let policy = policy("user");
        let good = record(1, &policy);
        let lists = |record: &Record, now| {
            [open_since(record), expires_soon(record, now), quarantined_until(record)].map(|at| at.is_some())
        };
        assert_eq!(lists(&good, at(0)), [true; 3]);
        let expires = at(1) + TimeDelta::minutes(1);
        for (now, is_soon) in [
            (expires - ENDING_WITHIN - TimeDelta::seconds(1), false),
            (expires - ENDING_WITHIN, true),
            (expires - TimeDelta::seconds(1), true),
            (expires, false),
        ] {
            assert_eq!(lists(&good, now), [true, is_soon, true], "{now}");
        }
        let seen = |status| Record { last_seen: Some(LastSeen::of_listing(status, at(0))), ..good.clone() };
        assert_eq!(lists(&seen(KeyStatus::Inactive), at(0)), [false, false, true]);
        assert_eq!(lists(&Record { last_seen: None, ..good.clone() }, at(0)), [true; 3]);
        let gone = Phase::Gone(GoneEvidence::Absent { at: at(0) });
        assert_eq!(lists(&Record { phase: gone, ..good.clone() }, at(0)), [false; 3]);

        let mut keys = DigestKeys::default();
        keys.add_record(&good, at(0));
        let changed = [seen(KeyStatus::Inactive)];
        let digest = keys.digest(&changed, None, &policy, at(0));
        assert_eq!((digest.open.len(), digest.open_count, digest.quarantined.len()), (0, 1, 1));
        assert_eq!((digest.silent_accounts, digest.silent_count), (None, None));
    }
}
