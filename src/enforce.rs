//! The order of effects, in one place: open, confirm, act, settle.
//!
//! The types carry the proofs. [`Keys::act`] demands a [`Confirmed`], which only this file can make, out
//! of a [`Durable`] entry and IAM's own answer, and which names the one action that is allowed. A delete without a record,
//! or without IAM's word, does not compile:
//!
//! ```compile_fail,E0451
//! use bedrock_key_guard::enforce::Confirmed;
//! fn forge(key: key_guard_core::key::KeyRef, user: key_guard_core::key::UserName) -> Confirmed {
//!     Confirmed { key, user, action: bedrock_key_guard::enforce::Action::Delete }
//! }
//! ```
//!
//! ```compile_fail,E0451
//! use bedrock_key_guard::enforce::Durable;
//! fn forge(entry: bedrock_key_guard::ledger::Entry) -> Durable {
//!     Durable { entry, ..todo!() }
//! }
//! ```

use std::collections::HashMap;
use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Clock;
use crate::ledger::Outcome;
use crate::ledger::happening::Happening;
use crate::ledger::{Confirmation, Entry, Kind, LastSweep, LedgerError, NewLine, Trigger, Walk, Which, Word};
use crate::plan::Plan;
use key_guard_core::cloudtrail::{Actor, CreatedKey};
use key_guard_core::evidence::ExpirationEvidence;
use key_guard_core::key::{AccountId, EventId, Invalid, KeyFacts, KeyRef, Service, UserName};
use key_guard_core::policy::{Policy, Response, Scope, Services, Verdict, Violation};
use key_guard_core::report::Report;
use key_guard_core::time::rfc3339;
use serde::{Deserialize, Serialize};

/// How long IAM may take until a new key is in every list.
///
/// AWS gives no figure (IAM user guide, *Changes that I make are not always immediately visible*); Lambda's
/// first retry of an asynchronous invocation comes after about this long.
pub const CONSISTENCY_WINDOW: TimeDelta = TimeDelta::seconds(60);

/// How far the time of an event may be ahead: clocks differ by seconds.
pub const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// How long an open entry is left to whoever opened it, so that no key is acted upon twice: longer than a delivery may
/// take (30 seconds, [`crate::handler`]), shorter than Lambda waits until it repeats one (about a minute).
pub const LEASE: TimeDelta = TimeDelta::seconds(45);

/// What is left of the lease when the action begins: longer than a call may take, with its retries ([`crate::aws`]).
const LAST_CALL: TimeDelta = TimeDelta::seconds(10);

/// How often a write is decided anew that another one came before.
pub(crate) const ROUNDS_WHEN_OUTRUN: usize = 8;

/// How often a key is looked for again after IAM denied that the user has it that it was listed with: a user
/// may be renamed in between, but not forever.
const ROUNDS: usize = 3;

/// The record of keys: conditional writes, each one durable when it returns.
pub trait Ledger: Send + Sync {
    /// Makes an entry unless there is one, in one call. With a number, a deletion is counted in it, and refused where as
    /// many were begun in this hour in the key's account.
    fn open(
        &self,
        entry: &Entry,
        most_deletions_an_hour: Option<u32>,
    ) -> impl Future<Output = Result<Opened, LedgerError>> + Send;
    /// Makes each of these entries, none of which is to be acted upon, unless there is one: what
    /// [`open`](Ledger::open) would answer, one by one, in fewer calls where the ledger can.
    fn open_all(&self, entries: &[Entry]) -> impl Future<Output = Vec<Result<Opened, LedgerError>>> + Send {
        async move {
            let mut opened = Vec::with_capacity(entries.len());
            for entry in entries {
                opened.push(self.open(entry, None).await);
            }
            opened
        }
    }
    /// What the ledger has of keys: those that it has something of.
    fn read(
        &self,
        keys: &[KeyRef],
    ) -> impl Future<Output = Result<HashMap<KeyRef, Result<Known, LedgerError>>, LedgerError>> + Send;
    /// Writes a line into the history of a key, once.
    fn note(&self, entry: &Entry, line: NewLine) -> impl Future<Output = Result<(), LedgerError>> + Send;
    /// Writes down, once, what is no part of a key's entry; with `gone`, that a key is no more of which nothing else
    /// is known. Answers with what is known of that key after all.
    fn remember(
        &self,
        happening: &Happening,
        gone: bool,
    ) -> impl Future<Output = Result<Option<Known>, LedgerError>> + Send;
    /// Puts an entry in the place of the one of revision `over`, with a line of history; counts as
    /// [`open`](Ledger::open) does.
    fn replace(
        &self,
        entry: &Entry,
        over: u64,
        line: NewLine,
        then: &Entry,
        most_deletions_an_hour: Option<u32>,
    ) -> impl Future<Output = Result<Opened, LedgerError>> + Send;
    /// The next keys of an account, with their users, in no order. `None`: that was all. What cannot be read of them is
    /// in the answer.
    fn walk(
        &self,
        account: &AccountId,
        which: Which,
        walk: &mut Walk,
    ) -> impl Future<Output = Result<Option<Passed>, LedgerError>> + Send;
    /// What the last sweep of an account came to.
    fn last_sweep(
        &self,
        account: &AccountId,
    ) -> impl Future<Output = Result<Option<LastSweep>, LedgerError>> + Send;
    /// Writes down what a sweep of an account came to.
    fn swept(
        &self,
        account: &AccountId,
        sweep: &LastSweep,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;
    /// Moves an entry up to its outcome, in one call, unless it has another turn. The order of outcomes decides;
    /// [`Outcome::Confirmed`] is one of them.
    fn settle(
        &self,
        entry: &Entry,
        at: DateTime<Utc>,
    ) -> impl Future<Output = Result<Settled, LedgerError>> + Send;
}

/// What came of opening an entry.
#[derive(Debug)]
pub enum Opened {
    /// It is there now.
    New,
    /// Something was there before, and is untouched.
    Existing(Known),
    /// Enough deletions were begun in this hour.
    Spent,
}

/// Keys that a walk passes by, with their users.
pub type Passed = Vec<Result<(KeyRef, UserName), LedgerError>>;

/// What the ledger has of a key.
#[derive(Debug, Clone)]
pub enum Known {
    /// Its entry.
    Entry(Box<Entry>),
    /// That it was deleted, before anything else was heard of it.
    Deleted(Box<Happening>),
}

/// What came of settling an entry.
#[derive(Debug)]
pub enum Settled {
    /// It has the outcome now, and what others have learnt of the key in the meantime.
    Now(Box<Entry>),
    /// It had this outcome or a higher one before, or it has another turn. It is untouched.
    Before(Box<Entry>),
}

/// The keys of IAM. Every method names the account and the user; nothing defaults to the caller.
pub trait Keys: Send + Sync {
    /// The key, if this user has it. A user that does not exist has no keys.
    fn find_with(
        &self,
        key: &KeyRef,
        user: &UserName,
    ) -> impl Future<Output = Result<Option<Listed>, KeysError>> + Send;
    /// The key, whichever user of its account has it: all pages, all services.
    fn find_anywhere(&self, key: &KeyRef) -> impl Future<Output = Result<Option<Listed>, KeysError>> + Send;
    /// Does to one key what was confirmed for it.
    fn act(&self, key: &Confirmed) -> impl Future<Output = Result<Acted, KeysError>> + Send;
    /// One page of a list of an account's keys, of all users.
    fn list(
        &self,
        account: &AccountId,
        list: &KeyList,
        marker: Option<String>,
    ) -> impl Future<Output = Result<Page, KeysError>> + Send;
    /// What is left of a user. `None`: there is none of that name.
    fn leftover(
        &self,
        account: &AccountId,
        user: &UserName,
    ) -> impl Future<Output = Result<Option<Leftover>, KeysError>> + Send;
    /// In whose name it acts in an account: what follows the account in the ARN of that principal, with a `*` for what
    /// is not known ([`is_principal`]).
    fn acts_as(&self, account: &AccountId) -> Option<String>;
    /// Whether this is the guard itself, by name: not a person, who does other things in the same name, too.
    fn is_own(&self, account: &AccountId, actor: &Actor) -> bool;
}

/// A page of keys.
#[derive(Debug)]
pub struct Page {
    /// The keys that are on it.
    pub keys: Vec<Result<Listed, KeysError>>,
    /// Where the next one begins; `None`: this is the last.
    pub next: Option<String>,
}

/// A list of keys that IAM can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyList {
    /// Of every service, written `*`.
    EveryService,
    /// Of one service.
    Of(Service),
}

impl KeyList {
    /// The lists that have every key which a policy judges.
    #[must_use]
    pub fn of_policy(policy: &Policy) -> Vec<Self> {
        match policy.services() {
            Services::All => vec![Self::EveryService],
            Services::Listed(services) => services.iter().cloned().map(Self::Of).collect(),
        }
    }

    /// The service, where the list is of one.
    #[must_use]
    pub const fn service(&self) -> Option<&Service> {
        match self {
            Self::EveryService => None,
            Self::Of(service) => Some(service),
        }
    }
}

impl TryFrom<String> for KeyList {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        if text == "*" { Ok(Self::EveryService) } else { text.parse().map(Self::Of) }
    }
}

impl From<KeyList> for String {
    fn from(list: KeyList) -> Self {
        list.service().map_or("*", Service::as_str).to_owned()
    }
}

/// Whether a call was made by this principal of this account. `resource` is what follows the account in an ARN, with a
/// `*` for what is not known: `assumed-role/*/bedrock-key-guard`.
#[must_use]
pub fn is_principal(actor: &Actor, account: &AccountId, resource: &str) -> bool {
    let mut parts = actor.principal.as_deref().unwrap_or_default().splitn(6, ':').skip(4);
    let (Some(of), Some(own)) = (parts.next(), parts.next()) else { return false };
    of == account.as_str()
        && match resource.split_once('*') {
            None => own == resource,
            Some((before, after)) => {
                own.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some()
            }
        }
}

/// What is left of a user that the console made for a key: facts that its report names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftover {
    /// The ARNs of the policies that are attached.
    pub policies: Vec<String>,
    /// The ids of its access keys.
    pub access_keys: Vec<String>,
}

impl Leftover {
    /// In words, to follow the user's name.
    #[must_use]
    pub fn describe(&self) -> String {
        let policies = match self.policies.as_slice() {
            [] => "no policy attached".to_owned(),
            arns => {
                let names: Vec<_> = arns.iter().filter_map(|arn| arn.rsplit('/').next()).collect();
                format!("{} attached", names.join(", "))
            }
        };
        match self.access_keys.as_slice() {
            [] => format!("with {policies} and no access key"),
            ids => format!("with {policies} and ACCESS KEYS ({}), which go on working", ids.join(", ")),
        }
    }
}

/// Why IAM could not be asked, or what it said could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The call failed.
    #[error("{operation} in account {account} failed{}", code.as_ref().map(|code| format!(" with {code}")).unwrap_or_default())]
    Call {
        /// Which call.
        operation: &'static str,
        /// In which account.
        account: AccountId,
        /// AWS's error code, where there was an answer.
        code: Option<String>,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A required field of IAM's answer is missing or impossible.
    #[error("IAM's answer for {key} has no usable {field}")]
    Unreadable {
        /// Which key.
        key: KeyRef,
        /// Which field.
        field: &'static str,
    },
    /// A list of IAM's cannot be used.
    #[error("IAM's list of the keys in account {account} has no usable {field}")]
    ListUnreadable {
        /// Which account.
        account: AccountId,
        /// Which field.
        field: &'static str,
    },
    /// The key is in another account, and no role is named to be assumed there.
    #[error(
        "account {account} is not the guard's own ({own}), and KEY_GUARD_RESPONDER_ROLE (--responder-role) is not set: \
         name the role that may be assumed there"
    )]
    NoResponder {
        /// The account of the key.
        account: AccountId,
        /// The account of the guard.
        own: AccountId,
    },
}

impl KeysError {
    const fn error_type(&self) -> &'static str {
        match self {
            Self::Call { .. } => "IamCallFailed",
            Self::Unreadable { .. } | Self::ListUnreadable { .. } => "IamAnswerUnreadable",
            Self::NoResponder { .. } => "ResponderRoleNotSet",
        }
    }
}

/// What may be done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Switch it off.
    Deactivate,
    /// Delete it.
    Delete,
}

impl Action {
    /// As a verb.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deactivate => "deactivate",
            Self::Delete => "delete",
        }
    }

    const fn outcome(self) -> Outcome {
        match self {
            Self::Deactivate => Outcome::Deactivated,
            Self::Delete => Outcome::Deleted,
        }
    }
}

/// A key with what is known of its lifetime, to be assessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Which key.
    pub key: KeyRef,
    /// The IAM user that owns it.
    pub user: UserName,
    /// The service that it is for.
    pub service: Service,
    /// When IAM created it.
    pub created_at: DateTime<Utc>,
    /// What says when it expires.
    pub evidence: ExpirationEvidence,
    /// The evidence is what the ledger remembers: not from which source.
    pub is_remembered: bool,
}

impl Key {
    /// As its creation event describes it.
    #[must_use]
    pub fn created(created: &CreatedKey) -> Self {
        let evidence = ExpirationEvidence::from(created.evidence.clone());
        Self {
            key: created.key.clone(),
            user: created.user.clone(),
            service: created.service.clone(),
            created_at: evidence.created_at().unwrap_or(created.evidence.event_time),
            evidence,
            is_remembered: false,
        }
    }

    /// What it deserves. `former` are names that its user was seen with before.
    #[must_use]
    pub fn assess<'a>(
        &self,
        policy: &Policy,
        former: impl IntoIterator<Item = &'a UserName>,
        at: DateTime<Utc>,
    ) -> Scope {
        let facts = KeyFacts {
            key: self.key.clone(),
            user: self.user.clone(),
            other_names: former.into_iter().cloned().collect(),
            service: self.service.clone(),
            created_at: self.created_at,
        };
        let mut scope = policy.assess(&facts, &self.evidence, at);
        match &mut scope {
            Scope::InScope(assessment) if self.is_remembered => assessment.basis = None,
            Scope::InScope(_) | Scope::OutOfScope => {}
        }
        scope
    }
}

/// A key as IAM lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: Key,
    /// Its status.
    pub status: Status,
}

/// The status of a key (IAM API reference, `ServiceSpecificCredentialMetadata`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Works.
    Active,
    /// Switched off.
    Inactive,
    /// Past its end.
    Expired,
}

/// IAM's answer to an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acted {
    /// Done.
    Done,
    /// That user does not exist, or has no such key. No proof that the key is gone: a renamed user keeps
    /// its keys.
    NotThere,
}

/// Proof that an entry is durable.
#[derive(Debug)]
pub struct Durable {
    entry: Entry,
    /// The facts that are in the ledger, as opposed to those that IAM has said since.
    recorded: Recorded,
}

#[derive(Debug)]
struct Recorded {
    user: UserName,
    service: Service,
    standing: Verdict,
    violation: Option<Violation>,
}

impl Durable {
    fn new(entry: Entry) -> Self {
        let recorded = Recorded {
            user: entry.user.clone(),
            service: entry.service.clone(),
            standing: entry.standing,
            violation: entry.violation,
        };
        Self { entry, recorded }
    }
}

/// Proof that the entry of a key is durable, and that IAM said just now that this user has the key, that
/// it is active, and that it is noncompliant.
#[derive(Debug)]
pub struct Confirmed {
    key: KeyRef,
    user: UserName,
    action: Action,
}

impl Confirmed {
    /// Which key.
    #[must_use]
    pub const fn key(&self) -> &KeyRef {
        &self.key
    }

    /// The account that it is in.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.key.account
    }

    /// Its user, by IAM's word.
    #[must_use]
    pub const fn user(&self) -> &UserName {
        &self.user
    }

    /// What may be done to it.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }
}

/// Why an event has to be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The entry could not be made; nothing was done.
    #[error("could not record {key}")]
    Open {
        /// Which key.
        key: KeyRef,
        /// Why.
        #[source]
        source: LedgerError,
    },
    /// What happened could not be recorded.
    #[error("could not record event {event_id}")]
    Record {
        /// Which event.
        event_id: EventId,
        /// Why.
        #[source]
        source: LedgerError,
    },
    /// IAM could not be asked, or what it said could not be read. The entry is open.
    #[error("could not confirm {key} with IAM")]
    Confirm {
        /// Which key.
        key: KeyRef,
        /// Why.
        #[source]
        source: KeysError,
    },
    /// The action failed. The entry is open.
    #[error("could not {} {key}", action.as_str())]
    Act {
        /// Which key.
        key: KeyRef,
        /// What was tried.
        action: Action,
        /// Why.
        #[source]
        source: KeysError,
    },
    /// IAM does not list the key, and it is too young for that to mean anything. The entry is open.
    #[error(
        "IAM does not list {key} yet: its event is from {}, less than {} seconds ago, and IAM is eventually consistent",
        rfc3339(*event_time),
        CONSISTENCY_WINDOW.num_seconds()
    )]
    NotListedYet {
        /// Which key.
        key: KeyRef,
        /// When it was made.
        event_time: DateTime<Utc>,
    },
    /// IAM still lists a key that was deleted just now.
    #[error(
        "IAM still lists {key}, which was deleted at {}, less than {} seconds ago: IAM is eventually consistent",
        rfc3339(*event_time),
        CONSISTENCY_WINDOW.num_seconds()
    )]
    StillListed {
        /// Which key.
        key: KeyRef,
        /// When it was deleted, by the event.
        event_time: DateTime<Utc>,
    },
    /// The event is of a time to come.
    #[error(
        "the event is from {}, more than {} seconds ahead of this clock: whatever it says, it did not happen yet",
        rfc3339(*event_time),
        AHEAD.num_seconds()
    )]
    NotYet {
        /// Its time, by itself.
        event_time: DateTime<Utc>,
    },
    /// Another delivery, or a sweep, has opened the key's entry just now and may be at it.
    #[error(
        "another delivery or a sweep is at {key}, whose entry was opened less than {} seconds ago: try again after that",
        LEASE.num_seconds()
    )]
    InOtherHands {
        /// Which key.
        key: KeyRef,
    },
    /// It took so long to come to the action that others may be at the key by now. The entry is open.
    #[error(
        "more than {} seconds went by until {key} could be acted upon, and others may be at it by now: nothing was done",
        (LEASE - LAST_CALL).num_seconds()
    )]
    TookTooLong {
        /// Which key.
        key: KeyRef,
    },
    /// IAM lists the key with a user, and denies that the user has it, or names another user each time. The
    /// entry is open.
    #[error("IAM lists {key} with a user and denies at the same time that this user has it")]
    Contradiction {
        /// Which key.
        key: KeyRef,
    },
    /// The outcome could not be recorded. The entry is open; redelivery finds what was done.
    #[error("could not settle {key} as {outcome}")]
    Settle {
        /// Which key.
        key: KeyRef,
        /// What was done.
        outcome: Outcome,
        /// Why.
        #[source]
        source: LedgerError,
    },
}

impl Failure {
    /// A stable name for alarms and retries to match on.
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::Open { source, .. } | Self::Record { source, .. } | Self::Settle { source, .. } => {
                source.error_type()
            }
            Self::Confirm { source, .. } | Self::Act { source, .. } => source.error_type(),
            Self::NotListedYet { .. } => "KeyNotListedYet",
            Self::StillListed { .. } => "KeyStillListed",
            Self::InOtherHands { .. } => "KeyInOtherHands",
            Self::TookTooLong { .. } => "TookTooLong",
            Self::NotYet { .. } => "EventFromTheFuture",
            Self::Contradiction { .. } => "IamContradiction",
        }
    }
}

/// Records a freshly judged key without touching IAM.
///
/// A real entry is left as it is and reported. An earlier rehearsal's is left as it is too, but the report
/// shows today's judgement: that is the question that a rehearsal asks.
///
/// # Errors
/// When the ledger could not be written.
pub async fn rehearse<L: Ledger>(ledger: &L, entry: Entry) -> Result<Report, Failure> {
    // Nothing is deleted, so nothing is counted.
    let opened = ledger.open(&entry, None).await;
    rehearsed(entry, opened)
}

/// Does what [`rehearse`] does for many keys: a result for each, in order.
pub async fn rehearse_all<L: Ledger>(ledger: &L, entries: Vec<Entry>) -> Vec<Result<Report, Failure>> {
    let opened = ledger.open_all(&entries).await;
    entries.into_iter().zip(opened).map(|(entry, opened)| rehearsed(entry, opened)).collect()
}

fn rehearsed(mut entry: Entry, opened: Result<Opened, LedgerError>) -> Result<Report, Failure> {
    match opened {
        Err(source) => Err(Failure::Open { key: entry.key, source }),
        Ok(Opened::New | Opened::Spent) => Ok(entry.report()),
        Ok(Opened::Existing(Known::Deleted(_))) => {
            entry.reason.push_str(" It was deleted since.");
            Ok(entry.report())
        }
        Ok(Opened::Existing(Known::Entry(stored))) if !stored.rehearsal => {
            let mut report = stored.report();
            if !stored.outcome.is_settled() {
                report.reason.push_str(" The guard has not finished with this key yet.");
            }
            Ok(report)
        }
        Ok(Opened::Existing(Known::Entry(stored))) => {
            if stored.policy_sha256 != entry.policy_sha256 {
                let note = format!(
                    " The ledger keeps the verdict of the first replay: {} under policy {}.",
                    stored.standing.as_str(),
                    stored.policy_sha256.get(..12).unwrap_or(&stored.policy_sha256)
                );
                entry.reason.push_str(&note);
            }
            Ok(entry.report())
        }
    }
}

/// Carries plans out.
#[derive(Debug)]
pub struct Enforcer<'a, L, K, C> {
    /// Judges again on IAM's answer.
    pub policy: &'a Policy,
    /// The furthest that any response may go, now.
    pub ceiling: Response,
    /// Where entries are made.
    pub ledger: &'a L,
    /// The keys.
    pub keys: &'a K,
    /// What time it is.
    pub clock: &'a C,
}

/// What follows from what IAM says of a key.
enum Step {
    /// It lives, and is to be acted upon.
    Act(Confirmed),
    /// Nothing is to be done with it.
    Leave(Outcome),
}

impl<L: Ledger, K: Keys, C: Clock> Enforcer<'_, L, K, C> {
    /// Opens the entry of a new key and carries its plan out, or that of the entry that is already there.
    ///
    /// # Errors
    /// See [`Failure`]: the event has to be delivered again.
    pub async fn carry_out(&self, mut entry: Entry) -> Result<Report, Failure> {
        let key = entry.key.clone();
        let mut known = None;
        for _ in 0..ROUNDS_WHEN_OUTRUN {
            let placed = match known.take() {
                None => self.place(&mut entry, None, None).await?,
                Some(Known::Deleted(deletion)) => {
                    self.gone_before(&mut entry, &deletion).await?;
                    let line = NewLine::opened(&entry);
                    self.place(&mut entry, Some(0), Some(line)).await?
                }
                Some(Known::Entry(stored)) => {
                    let adopted = NewLine {
                        kind: Kind::Judged,
                        at: self.clock.now(),
                        id: format!("{}.adopted", entry.turn.id),
                    };
                    if stored.rehearsal {
                        entry.rev = stored.rev + 1;
                        self.place(&mut entry, Some(stored.rev), Some(adopted)).await?
                    } else if stored.event_id.is_none() && entry.event_id.is_some() {
                        // It was found before its creation was heard of: now it is known who made it.
                        if Self::is_to_be_judged(&stored, &entry) {
                            let (line, then) = (NewLine::opened(&entry), entry.clone());
                            entry.comes_after(&stored);
                            entry.told_as(&then);
                            known = self.place_with(&mut entry, Some(stored.rev), line, &then).await?;
                            if known.is_none() {
                                return self.go_on(Durable::new(entry)).await;
                            }
                            continue;
                        }
                        let line = NewLine { at: entry.event_time, ..NewLine::opened(&entry) };
                        let over = stored.rev;
                        let mut told = *stored;
                        told.told_as(&entry);
                        told.rev += 1;
                        let answer = self.ledger.replace(&told, over, line, &entry, None).await;
                        match answer.map_err(|source| Failure::Open { key: key.clone(), source })? {
                            Opened::New | Opened::Spent => return self.resume(told).await,
                            Opened::Existing(other) => Some(other),
                        }
                    } else {
                        return self.resume(*stored).await;
                    }
                }
            };
            match placed {
                None => return self.go_on(Durable::new(entry)).await,
                other @ Some(_) => known = other,
            }
        }
        Err(outrun(key))
    }

    /// Puts an entry in the place of what the ledger has of the key, and carries its plan out. `None`: someone else
    /// was quicker, so that it has to be decided anew.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn take_up(
        &self,
        mut entry: Entry,
        over: Option<u64>,
        line: Option<(NewLine, &Entry)>,
    ) -> Result<Option<Report>, Failure> {
        let placed = match line {
            None => self.place(&mut entry, over, None).await?,
            Some((line, then)) => self.place_with(&mut entry, over, line, then).await?,
        };
        match placed {
            None => self.go_on(Durable::new(entry)).await.map(Some),
            Some(_) => Ok(None),
        }
    }

    /// Carries out what the ledger has of a key, if that was not done and whoever began it has given up.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn resume(&self, stored: Entry) -> Result<Report, Failure> {
        let now = self.clock.now();
        if stored.outcome.is_settled() {
            return Ok(stored.report());
        }
        if stored.is_in_other_hands(now) {
            return Err(Failure::InOtherHands { key: stored.key });
        }
        // Taken into these hands, so that nobody else resumes it at the same time.
        let (key, over) = (stored.key.clone(), stored.rev);
        let resumed = Entry { recorded_at: now, rev: over + 1, ..stored };
        let line = NewLine {
            kind: Kind::Judged,
            at: now,
            id: format!("{}.resumed-{}", resumed.turn.id, now.timestamp_millis()),
        };
        let answer = self.ledger.replace(&resumed, over, line, &resumed, None).await;
        match answer.map_err(|source| Failure::Open { key: key.clone(), source })? {
            Opened::New | Opened::Spent => self.go_on(Durable::new(resumed)).await,
            Opened::Existing(_) => Err(Failure::InOtherHands { key }),
        }
    }

    /// A key was deleted, as an event says, or is in no list, as a sweep says. Its entry is closed on IAM's word.
    /// `None`: someone else was quicker.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn close(
        &self,
        stored: &Entry,
        line: NewLine,
        then: &Entry,
        closed: Entry,
    ) -> Result<Option<Report>, Failure> {
        let failed = |source| Failure::Settle { key: stored.key.clone(), outcome: closed.outcome, source };
        let answer = self.ledger.replace(&closed, stored.rev, line, then, None).await.map_err(failed)?;
        Ok(match answer {
            Opened::New | Opened::Spent => Some(closed.report()),
            Opened::Existing(_) => None,
        })
    }

    /// Whether an event's entry has its turn though a sweep was there first: a sweep that was allowed only to look
    /// keeps no event from what it may do.
    pub(crate) fn is_to_be_judged(stored: &Entry, entry: &Entry) -> bool {
        let only_looked = stored.turn.trigger == Trigger::Sweep && stored.outcome == Outcome::Monitored;
        only_looked && matches!(entry.plan, Plan::Confirm(_)) && stored.turn.id != entry.turn.id
    }

    /// *Open.* The entry is durable where this answers `None`; else it answers with what is there.
    async fn place(
        &self,
        entry: &mut Entry,
        over: Option<u64>,
        line: Option<NewLine>,
    ) -> Result<Option<Known>, Failure> {
        let line = line.unwrap_or_else(|| NewLine::opened(entry));
        let then = entry.clone();
        self.place_with(entry, over, line, &then).await
    }

    async fn place_with(
        &self,
        entry: &mut Entry,
        over: Option<u64>,
        line: NewLine,
        then: &Entry,
    ) -> Result<Option<Known>, Failure> {
        if matches!(entry.plan, Plan::Confirm(_)) {
            // From now on it is in these hands.
            entry.recorded_at = self.clock.now();
            entry.begun_at = Some(entry.recorded_at);
            entry.begun_as = self.keys.acts_as(&entry.key.account);
        }
        loop {
            // What is over is not begun.
            let most = (!entry.outcome.is_settled()).then(|| self.policy.max_actions_per_hour());
            let answer = match over {
                None => self.ledger.open(entry, most).await,
                Some(rev) => self.ledger.replace(entry, rev, line.clone(), then, most).await,
            };
            match answer.map_err(|source| Failure::Open { key: entry.key.clone(), source })? {
                Opened::New => return Ok(None),
                Opened::Existing(known) => return Ok(Some(known)),
                // What is held back is not counted, so this ends.
                Opened::Spent => self.hold_back(entry),
            }
        }
    }

    /// The breaker: within an hour, an account loses no more keys than the policy says for good.
    fn hold_back(&self, entry: &mut Entry) {
        entry.held_back = true;
        entry.plan = Plan::Confirm(Response::Deactivate);
        if entry.response == Response::Delete {
            entry.response = Response::Deactivate;
        }
        entry.reason.push_str(&self.held_back());
    }

    fn held_back(&self) -> String {
        format!(
            " It was deactivated instead of deleted: at most {} deletions may start in an account in one clock \
             hour (max_actions_per_hour).",
            self.policy.max_actions_per_hour()
        )
    }

    /// A key whose deletion was heard of before its creation: IAM says which it is.
    async fn gone_before(&self, entry: &mut Entry, deletion: &Happening) -> Result<(), Failure> {
        if self.find_anywhere(&entry.key).await?.is_none() {
            let now = self.clock.now();
            entry.outcome = Outcome::Gone;
            entry.settled_at = Some(now);
            entry.confirmed = Some(Confirmation { at: now, word: Word::NotListed });
            entry.deleted_by.clone_from(&deletion.actor.principal);
            entry.deleted_at = Some(deletion.event_time);
            entry.reason.push_str(" It was deleted since, and IAM lists it for no user.");
        }
        Ok(())
    }

    async fn go_on(&self, durable: Durable) -> Result<Report, Failure> {
        let at_most = match (durable.entry.outcome, durable.entry.plan) {
            (Outcome::Open | Outcome::Confirmed, Plan::Confirm(at_most)) => at_most.min(self.ceiling),
            (_, Plan::Confirm(_) | Plan::Record(_)) => return Ok(durable.entry.report()),
        };
        self.confirm_and_act(durable, at_most).await
    }

    async fn confirm_and_act(&self, mut durable: Durable, at_most: Response) -> Result<Report, Failure> {
        if durable.entry.standing == Verdict::Noncompliant && at_most <= Response::Monitor {
            durable.entry.response = Response::Monitor;
            durable.entry.reason.push_str(" The ceiling is now monitor.");
            return self.settle(durable, Outcome::Monitored).await;
        }
        let mut listed = self.find(&durable).await?;
        let mut tried = None;
        for _ in 0..ROUNDS {
            let Some(found) = listed else {
                let outcome = self.gone(&mut durable)?;
                return self.settle(durable, outcome).await;
            };
            if tried.as_ref() == Some(&found.key.user) {
                return Err(Failure::Contradiction { key: durable.entry.key });
            }
            let confirmed = match self.confirm(&mut durable, found, at_most) {
                Step::Act(confirmed) => confirmed,
                Step::Leave(outcome) => return self.settle(durable, outcome).await,
            };
            if let Some(settled) = self.amend(&mut durable).await? {
                return Ok(settled);
            }
            // Of the time before: what somebody else does after that is after it.
            let now = self.clock.now();
            if now >= durable.entry.recorded_at + LEASE - LAST_CALL {
                return Err(Failure::TookTooLong { key: durable.entry.key });
            }
            match self.act(&confirmed).await? {
                Acted::Done => {
                    durable.entry.deactivated_as = self.keys.acts_as(&durable.entry.key.account);
                    done(&mut durable.entry, confirmed.action, now);
                    return self.settle(durable, confirmed.action.outcome()).await;
                }
                Acted::NotThere => {
                    listed = self.find_anywhere(&durable.entry.key).await?;
                    tried = Some(confirmed.user);
                }
            }
        }
        Err(Failure::Contradiction { key: durable.entry.key })
    }

    /// Asks IAM: first the user that the event named, then, since users are renamed, all.
    async fn find(&self, durable: &Durable) -> Result<Option<Listed>, Failure> {
        let Entry { key, user, .. } = &durable.entry;
        let with_user = self.keys.find_with(key, user).await;
        match with_user.map_err(|source| Failure::Confirm { key: key.clone(), source })? {
            Some(listed) => Ok(Some(listed)),
            None => self.find_anywhere(key).await,
        }
    }

    async fn find_anywhere(&self, key: &KeyRef) -> Result<Option<Listed>, Failure> {
        self.keys.find_anywhere(key).await.map_err(|source| Failure::Confirm { key: key.clone(), source })
    }

    /// *Confirm.* Judges again on what IAM says, with today's policy and ceiling; the entry takes over
    /// IAM's facts. Only a key that is active and noncompliant is handed on.
    fn confirm(&self, durable: &mut Durable, listed: Listed, at_most: Response) -> Step {
        let Listed { mut key, status } = listed;
        let entry = &mut durable.entry;
        key.evidence.merge(&entry.evidence());
        entry.confirmed = Some(Confirmation { at: self.clock.now(), word: status.into() });
        entry.as_left &= status == Status::Inactive;
        let said = (entry.standing, entry.user.clone());
        let mut judgement = match key.assess(self.policy, entry.names(), entry.turn.at) {
            Scope::InScope(judgement) => judgement,
            Scope::OutOfScope => {
                entry.standing = Verdict::Undetermined;
                entry.violation = None;
                entry.response = Response::None;
                entry.reason = format!(
                    "The event names {}. IAM names {}, which the policy does not judge. Nothing was done.",
                    entry.service, key.service
                );
                return Step::Leave(Outcome::Recorded);
            }
        };
        if entry.is_switched_on_again(status) {
            judgement.mark_reactivated();
        }
        entry.take_over(&key, &judgement, self.policy.sha256());
        if entry.held_back && matches!(entry.plan, Plan::Confirm(Response::Deactivate)) {
            entry.reason.push_str(&self.held_back());
        }
        if !key.user.is_same_user(&said.1) {
            let note = format!(" The user {} is now named {}.", said.1, key.user);
            entry.reason.push_str(&note);
            entry.former_user = Some(said.1);
        }
        let standing = judgement.verdict();
        if standing != Verdict::Noncompliant {
            entry.response = Response::None;
            if said.0 != standing {
                let note = format!(
                    " The event alone said {}; IAM's answer decides. Nothing was done.",
                    said.0.as_str()
                );
                entry.reason.push_str(&note);
            }
            return Step::Leave(Outcome::Recorded);
        }
        entry.response = at_most.min(judgement.response);
        // Nothing but a sweep's plan ends a quarantine, and only while the key is as the guard left it.
        let is_over = status == Status::Inactive
            && entry.turn.trigger == Trigger::Sweep
            && judgement.response == Response::Quarantine
            && at_most == Response::Delete
            && entry.is_due(judgement.grace_days, self.clock.now());
        if is_over {
            entry.response = Response::Delete;
            entry.reason.push_str(" Its quarantine is over.");
        }
        let action = match entry.response {
            Response::None | Response::Monitor => return Step::Leave(Outcome::Monitored),
            Response::Deactivate | Response::Quarantine => Action::Deactivate,
            Response::Delete => Action::Delete,
        };
        let (harmless, outcome) = match status {
            Status::Active => return Step::Act(Confirmed { key: entry.key.clone(), user: key.user, action }),
            Status::Inactive if is_over => {
                return Step::Act(Confirmed { key: entry.key.clone(), user: key.user, action });
            }
            Status::Inactive if entry.as_left => ("is inactive, as the guard left it", Outcome::Deactivated),
            Status::Inactive => ("is inactive", Outcome::AlreadyInactive),
            Status::Expired => ("has expired", Outcome::AlreadyInactive),
        };
        let note = format!(" IAM says that the key {harmless}. Nothing was done.");
        entry.reason.push_str(&note);
        Step::Leave(outcome)
    }

    /// Makes IAM's answer durable before anything is done on its word, where it says something else than the
    /// entry: an undetermined key is deleted for a reason, and the reason must outlive a crash. Answers with
    /// the report when another delivery has settled the entry in the meantime.
    async fn amend(&self, durable: &mut Durable) -> Result<Option<Report>, Failure> {
        let Durable { entry, recorded } = durable;
        let Entry { user, service, standing, violation, .. } = entry;
        let same = recorded.user.is_same_user(user)
            && recorded.service == *service
            && (recorded.standing, recorded.violation) == (*standing, *violation);
        if same || entry.outcome == Outcome::Confirmed {
            return Ok(None);
        }
        entry.outcome = Outcome::Confirmed;
        match self.ledger.settle(entry, self.clock.now()).await {
            Ok(Settled::Now(written)) => {
                let was_left = std::mem::replace(entry, *written).as_left;
                if was_left && !entry.as_left {
                    // Somebody has touched it since it was confirmed.
                    return Err(Failure::InOtherHands { key: entry.key.clone() });
                }
                Ok(None)
            }
            Ok(Settled::Before(stored)) if stored.outcome.is_settled() => Ok(Some(stored.report())),
            Ok(Settled::Before(stored)) if stored.turn != entry.turn => {
                Err(Failure::InOtherHands { key: stored.key })
            }
            Ok(Settled::Before(stored)) => {
                entry.rev = stored.rev;
                Ok(None)
            }
            Err(source) => {
                Err(Failure::Settle { key: entry.key.clone(), outcome: Outcome::Confirmed, source })
            }
        }
    }

    /// *Act.* On this one credential id and nothing else.
    async fn act(&self, confirmed: &Confirmed) -> Result<Acted, Failure> {
        self.keys.act(confirmed).await.map_err(|source| Failure::Act {
            key: confirmed.key.clone(),
            action: confirmed.action,
            source,
        })
    }

    /// IAM lists the key for no user: gone, unless it is so young that the list may lag behind.
    fn gone(&self, durable: &mut Durable) -> Result<Outcome, Failure> {
        let entry = &mut durable.entry;
        let now = self.clock.now();
        entry.confirmed = Some(Confirmation { at: now, word: Word::NotListed });
        let made = entry.event_time.max(entry.created_at);
        if now - made < CONSISTENCY_WINDOW {
            return Err(Failure::NotListedYet { key: entry.key.clone(), event_time: made });
        }
        entry.reason.push_str(" IAM lists the key for no user.");
        Ok(Outcome::AlreadyGone)
    }

    /// *Settle.* Outcomes only move up, so the highest of concurrent deliveries stays.
    async fn settle(&self, mut durable: Durable, outcome: Outcome) -> Result<Report, Failure> {
        let entry = &mut durable.entry;
        entry.outcome = outcome;
        match self.ledger.settle(entry, self.clock.now()).await {
            Ok(Settled::Now(_)) => Ok(entry.report()),
            Ok(Settled::Before(stored)) => {
                if stored.turn != entry.turn && entry.acted_at.is_some() {
                    // A later turn has its place, and what was done leaves its trace all the same.
                    let at = self.clock.now();
                    let line = NewLine {
                        kind: Kind::Settled,
                        at,
                        id: format!("{}.{}", entry.turn.id, entry.outcome),
                    };
                    let failed = |source| Failure::Settle { key: entry.key.clone(), outcome, source };
                    self.ledger.note(entry, line).await.map_err(failed)?;
                }
                if stored.outcome.is_settled() {
                    Ok(stored.report())
                } else {
                    Err(Failure::InOtherHands { key: stored.key })
                }
            }
            Err(source) => Err(Failure::Settle { key: entry.key.clone(), outcome, source }),
        }
    }
}

fn done(entry: &mut Entry, action: Action, now: DateTime<Utc>) {
    entry.acted_at = Some(now);
    match action {
        Action::Delete => {}
        Action::Deactivate => {
            entry.deactivated_at = Some(now);
            entry.as_left = true;
            entry.delete_after = None;
            if entry.response == Response::Quarantine {
                let due = now + TimeDelta::days(entry.grace_days.into());
                entry.delete_after = Some(due);
                let note = format!(
                    " It is in quarantine and may be deleted after {}. Object or ask for an exemption before that.",
                    rfc3339(due)
                );
                entry.reason.push_str(&note);
            }
        }
    }
}

/// What is left when a key is gone that the console made: for the report, best effort.
pub(crate) async fn leftover<K: Keys>(keys: &K, account: &AccountId, user: &UserName) -> String {
    if !user.is_console_user() {
        return String::new();
    }
    match keys.leftover(account, user).await {
        Ok(None) => format!(" The user {user}, which a console created for it, is gone too."),
        Ok(Some(left)) => {
            format!(" The user {user}, which a console created for it, still exists, {}.", left.describe())
        }
        Err(error) => format!(
            " The user {user}, which a console created for it, may still exist: {}.",
            crate::telemetry::chain(&error)
        ),
    }
}

/// Others wrote to the key's entry each time in between.
pub(crate) fn outrun(key: KeyRef) -> Failure {
    let source = LedgerError::Busy { pk: key.to_string(), code: "changed in between".to_owned() };
    Failure::Open { key, source }
}
