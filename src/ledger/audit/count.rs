//! Failed calls, counted by account, actor, call, error code and day.
//!
//! A caller may make calls fail as often as it likes. So what a caller can choose freely is no part of what
//! calls are counted by: not the user that a call is about, and not the name of the caller's session.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{Days, NaiveDate, NaiveTime};

use super::FailedCall;
use crate::ledger::item::Names;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{Actor, Attempt, Call, CredentialEvent, EventKind, Provenance};
use key_guard_core::key::{AccountId, EventId, Service, UserName};
use key_guard_core::lifecycle::state::UnknownFields;

/// How many users are kept, and how many services.
pub const MAX_NAMES: usize = 10;

/// How many event ids are kept.
pub const MAX_EVENT_IDS: usize = 100;

/// How many characters of an event id are kept. CloudTrail's are UUIDs: two of a hundred begin alike once in about 870,000
/// days.
const EVENT_ID_LENGTH: usize = 8;

/// How many days a DynamoDB table keeps attempts, after the day on which they were made: 1 to 3650.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptDays(u16);

impl Default for AttemptDays {
    fn default() -> Self {
        Self(90)
    }
}

impl FromStr for AttemptDays {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a number of days, 1 to 3650";
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(days @ 1..=3650) if is_number => Ok(Self(days)),
            Ok(_) | Err(_) => Err(EXPECTED),
        }
    }
}

/// Which attempts are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptGroup {
    /// The account whose IAM was called.
    pub account: AccountId,
    /// The day, in UTC.
    pub day: NaiveDate,
    /// Which call failed.
    pub call: Call,
    /// CloudTrail's `errorCode`.
    pub error_code: String,
    /// Who is counted: see [`counted_actor`].
    pub actor: String,
}

impl AttemptGroup {
    /// The group of a failed call.
    #[must_use]
    pub fn of(failed: &FailedCall) -> Self {
        let FailedCall { provenance, attempt } = failed;
        Self {
            account: provenance.account.clone(),
            day: provenance.event_time.date_naive(),
            call: attempt.call,
            error_code: attempt.error_code.clone(),
            actor: counted_actor(&provenance.actor),
        }
    }

    /// When a DynamoDB table may delete the item: this many days after the end of its day, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self, days: AttemptDays) -> i64 {
        let last = self.day.checked_add_days(Days::new(u64::from(days.0) + 1)).unwrap_or(NaiveDate::MAX);
        last.and_time(NaiveTime::MIN).and_utc().timestamp()
    }
}

/// Attempts that are counted together.
///
/// Any order and any repetition of up to [`MAX_EVENT_IDS`] events give the same value. Later events are counted, and their
/// ids are not kept: one that is delivered again is counted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedAttempts {
    /// Which attempts.
    pub group: AttemptGroup,
    /// How many.
    pub count: u64,
    /// When the first was made.
    pub first: Time,
    /// When the last was made.
    pub last: Time,
    /// The last one, by event time: who, when, from where.
    pub latest: Provenance,
    /// The users that the calls were about, where the events say: the first [`MAX_NAMES`] in order.
    pub users: BTreeSet<UserName>,
    /// True if there were more users.
    pub has_more_users: bool,
    /// The services that the calls were about, where the events say: the first [`MAX_NAMES`] in order.
    pub services: BTreeSet<Service>,
    /// The first characters of the ids of counted events, up to [`MAX_EVENT_IDS`].
    pub(in crate::ledger) event_ids: BTreeSet<String>,
    /// What a later version has stored with them.
    pub(in crate::ledger) unknown_fields: UnknownFields,
}

impl CountedAttempts {
    /// What is stored once these calls have been counted too. All of them are of the group of what is stored.
    #[must_use]
    pub fn merge<'a>(stored: Option<Self>, failed: impl IntoIterator<Item = &'a FailedCall>) -> Option<Self> {
        failed.into_iter().fold(stored, |counted, failed| {
            let mut counted = counted.unwrap_or_else(|| Self::none(failed));
            counted.count(failed);
            Some(counted)
        })
    }

    /// Nothing is counted yet.
    fn none(failed: &FailedCall) -> Self {
        let time = failed.provenance.event_time;
        Self {
            group: AttemptGroup::of(failed),
            count: 0,
            first: time,
            last: time,
            latest: failed.provenance.clone(),
            users: BTreeSet::new(),
            has_more_users: false,
            services: BTreeSet::new(),
            event_ids: BTreeSet::new(),
            unknown_fields: UnknownFields::default(),
        }
    }

    fn count(&mut self, failed: &FailedCall) {
        let FailedCall { provenance, attempt } = failed;
        let id = first_characters(&provenance.event_id);
        if !self.event_ids.contains(&id) {
            self.count = self.count.saturating_add(1);
            if self.event_ids.len() < MAX_EVENT_IDS {
                self.event_ids.insert(id);
            }
        }
        self.first = self.first.min(provenance.event_time);
        self.last = self.last.max(provenance.event_time);
        if order(provenance) > order(&self.latest) {
            self.latest = provenance.clone();
        }
        self.has_more_users |= keep(&mut self.users, attempt.user.clone());
        keep(&mut self.services, attempt.service.clone());
    }

    /// The latest event. Its user and its service are those of all the attempts, if there is one.
    #[must_use]
    pub fn latest_event(&self) -> CredentialEvent {
        let attempt = Attempt {
            call: self.group.call,
            error_code: self.group.error_code.clone(),
            user: only(&self.users).filter(|_| !self.has_more_users),
            service: only(&self.services),
        };
        CredentialEvent { provenance: self.latest.clone(), kind: EventKind::Failed(attempt) }
    }
}

/// The later of two events comes last. At the same time, any order does that is always the same.
const fn order(event: &Provenance) -> (Time, &Provenance) {
    (event.event_time, event)
}

fn first_characters(id: &EventId) -> String {
    id.as_str().chars().take(EVENT_ID_LENGTH).collect()
}

fn only<T: Clone + Ord>(set: &BTreeSet<T>) -> Option<T> {
    set.first().filter(|_| set.len() == 1).cloned()
}

/// Adds a value, and keeps the first [`MAX_NAMES`] in order. True if one was dropped.
pub(in crate::ledger) fn keep<T: Ord>(set: &mut BTreeSet<T>, value: Option<T>) -> bool {
    set.extend(value);
    let is_full = set.len() > MAX_NAMES;
    if is_full {
        set.pop_last();
    }
    is_full
}

/// Who is counted: the principal, where the caller cannot choose its name. The caller of `AssumeRole` and of
/// `GetFederationToken` chooses the name of the session, so the role or the user behind it is counted. The session of a
/// role of IAM Identity Center has the user's name. A caller without an ARN is counted by its type.
#[must_use]
pub fn counted_actor(actor: &Actor) -> String {
    let Actor { kind, principal, session_issuer, .. } = actor;
    let (principal, issuer) = (principal.as_deref(), session_issuer.as_deref());
    match principal {
        Some(principal) if !is_named_by_caller(principal, actor) => principal.to_owned(),
        Some(principal) => issuer.map_or_else(|| without_session(principal), str::to_owned),
        None => issuer.or(kind.as_deref()).unwrap_or("unknown").to_owned(),
    }
}

/// The names by which the indexes have the counted actor.
pub(in crate::ledger) fn counted_names(actor: &Actor) -> Names {
    let (principal, issuer) = (actor.principal.as_deref(), actor.session_issuer.as_deref());
    let counted = counted_actor(actor);
    match principal.or(issuer) {
        None => Names::default(),
        Some(_) if principal == Some(&counted) => Names::of(principal, issuer),
        Some(_) => match Names::of(None, Some(&counted)) {
            Names { role: None, .. } => Names::of(Some(&counted), None),
            role => role,
        },
    }
}

/// What an ARN names: `user/…`, `assumed-role/…`.
fn resource(arn: &str) -> Option<&str> {
    arn.splitn(6, ':').nth(5)
}

fn is_named_by_caller(principal: &str, actor: &Actor) -> bool {
    let is_session = resource(principal)
        .is_some_and(|name| name.starts_with("assumed-role/") || name.starts_with("federated-user/"));
    is_session && !actor.is_of_identity_center()
}

/// The role of a session, or all federated users of an account, where no more is known.
fn without_session(principal: &str) -> String {
    let mut parts = principal.splitn(6, ':');
    let (partition, account) = (parts.nth(1).unwrap_or_default(), parts.nth(2).unwrap_or_default());
    match resource(principal).and_then(|name| name.strip_prefix("assumed-role/")?.split('/').next()) {
        Some(role) => format!("arn:{partition}:iam::{account}:role/{role}"),
        None => format!("arn:{partition}:sts::{account}:federated-user"),
    }
}
