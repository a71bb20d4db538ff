//! The order of effects, in one place: open, confirm, act, settle.
//!
//! The types carry the proofs. [`Keys::act`] demands a [`Confirmed`], which only this file can make, out
//! of a [`Durable`] entry and IAM's own answer, and which names the one action that is allowed. A delete without a record,
//! or without IAM's word, does not compile:
//!
//! ```compile_fail,E0451
//! use bedrock_key_guard::enforce::Confirmed;
//! fn forge(key: bedrock_key_guard::key::KeyRef, user: bedrock_key_guard::key::UserName) -> Confirmed {
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

use std::future::Future;

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::{Clock, rfc3339};
use crate::key::{AccountId, Key, KeyRef, Service, UserName};
use crate::ledger::{Confirmation, Entry, Kind, LedgerError, Word};
use crate::plan::Plan;
use crate::policy::{Policy, Response, Ruling, Standing, Violation};
use crate::report::{Outcome, Report};

/// How long IAM may take until a new key is in every list.
///
/// AWS gives no figure (IAM user guide, *Changes that I make are not always immediately visible*); Lambda's
/// first retry of an asynchronous invocation comes after about this long.
pub const CONSISTENCY_WINDOW: TimeDelta = TimeDelta::seconds(60);

/// How often a key is looked for again after IAM denied that the user has it that it was listed with: a user
/// may be renamed in between, but not forever.
const ROUNDS: usize = 3;

/// The record of keys: conditional writes, each one durable when it returns.
pub trait Ledger: Send + Sync {
    /// Makes an entry unless there is one, in one call.
    fn open(&self, entry: &Entry) -> impl Future<Output = Result<Opened, LedgerError>> + Send;
    /// Makes each of these entries unless there is one: what [`open`](Ledger::open) would answer, one by one, in
    /// fewer calls where the ledger can.
    fn open_all(&self, entries: &[Entry]) -> impl Future<Output = Vec<Result<Opened, LedgerError>>> + Send {
        async move {
            let mut opened = Vec::with_capacity(entries.len());
            for entry in entries {
                opened.push(self.open(entry).await);
            }
            opened
        }
    }
    /// The entry of a key, if there is one.
    fn read(&self, key: &KeyRef) -> impl Future<Output = Result<Option<Entry>, LedgerError>> + Send;
    /// Writes a line into the history of a key, once: what the entry's event did to it.
    fn note(&self, entry: &Entry, kind: Kind) -> impl Future<Output = Result<(), LedgerError>> + Send;
    /// Puts a real entry in the place of a rehearsal's.
    fn adopt(
        &self,
        entry: &Entry,
        at: DateTime<Utc>,
    ) -> impl Future<Output = Result<Opened, LedgerError>> + Send;
    /// Moves an entry up to its outcome, in one call. The order of outcomes decides; [`Outcome::Confirmed`]
    /// is one of them.
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
    /// One was there before, and is untouched.
    Existing(Box<Entry>),
}

/// What came of settling an entry.
#[derive(Debug)]
pub enum Settled {
    /// It has the outcome now.
    Now,
    /// It had this outcome or a higher one before, and is untouched.
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
            Self::Unreadable { .. } => "IamAnswerUnreadable",
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
    standing: Standing,
    violation: Option<Violation>,
}

impl Durable {
    fn new(entry: Entry) -> Self {
        let recorded = Recorded {
            user: entry.user.clone(),
            service: entry.service,
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
            Self::Open { source, .. } | Self::Settle { source, .. } => source.error_type(),
            Self::Confirm { source, .. } | Self::Act { source, .. } => source.error_type(),
            Self::NotListedYet { .. } => "KeyNotListedYet",
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
    let opened = ledger.open(&entry).await;
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
        Ok(Opened::New) => Ok(entry.report()),
        Ok(Opened::Existing(stored)) if !stored.rehearsal => {
            let mut report = stored.report();
            if !stored.outcome.is_settled() {
                report.outcome = Outcome::Recorded;
                report.reason.push_str("; the guard has opened this entry and not settled it yet");
            }
            Ok(report)
        }
        Ok(Opened::Existing(stored)) => {
            if stored.policy_sha256 != entry.policy_sha256 {
                let note = format!(
                    "; the ledger keeps the verdict of the first replay: {} under policy {}",
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
    /// Opens the entry and carries its plan out, or that of the entry that is already there.
    ///
    /// # Errors
    /// See [`Failure`]: the event has to be delivered again.
    pub async fn carry_out(&self, entry: Entry) -> Result<Report, Failure> {
        let durable = self.open(entry).await?;
        let at_most = match (durable.entry.outcome, durable.entry.plan) {
            (Outcome::Open | Outcome::Confirmed, Plan::Confirm(at_most)) => at_most.min(self.ceiling),
            (_, Plan::Confirm(_) | Plan::Record(_)) => return Ok(durable.entry.report()),
        };
        self.confirm_and_act(durable, at_most).await
    }

    /// *Open.* The entry is durable when this returns.
    async fn open(&self, entry: Entry) -> Result<Durable, Failure> {
        let failed = |source| Failure::Open { key: entry.key.clone(), source };
        match self.ledger.open(&entry).await.map_err(failed)? {
            Opened::New => Ok(Durable::new(entry)),
            Opened::Existing(stored) if stored.rehearsal => {
                match self.ledger.adopt(&entry, self.clock.now()).await.map_err(failed)? {
                    Opened::New => Ok(Durable::new(entry)),
                    Opened::Existing(stored) => Ok(Durable::new(*stored)),
                }
            }
            Opened::Existing(stored) => Ok(Durable::new(*stored)),
        }
    }

    async fn confirm_and_act(&self, mut durable: Durable, at_most: Response) -> Result<Report, Failure> {
        if durable.entry.standing == Standing::Noncompliant && at_most <= Response::Monitor {
            durable.entry.response = Response::Monitor;
            durable.entry.reason.push_str("; the ceiling is now monitor");
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
            match self.act(&confirmed).await? {
                Acted::Done => {
                    durable.entry.acted_at = Some(self.clock.now());
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
        let Listed { key, status } = listed;
        let entry = &mut durable.entry;
        entry.confirmed = Some(Confirmation { at: self.clock.now(), word: status.into() });
        let said = (entry.standing, entry.user.clone());
        let judgement = match self.policy.judge(&key, entry.event_time) {
            Ruling::Judged(judgement) => judgement,
            Ruling::NotJudged => {
                entry.standing = Standing::Undetermined;
                entry.violation = None;
                entry.response = Response::None;
                entry.reason = format!(
                    "the event said {}, IAM says {}, which the policy does not judge; nothing was done",
                    entry.service, key.service
                );
                return Step::Leave(Outcome::Recorded);
            }
        };
        entry.take_over(&key, &judgement, self.policy.sha256());
        if !key.user.is_same_user(&said.1) {
            let note = format!("; the user {} is now named {}", said.1, key.user);
            entry.reason.push_str(&note);
            entry.former_user = Some(said.1);
        }
        let standing = judgement.verdict.standing();
        if standing != Standing::Noncompliant {
            entry.response = Response::None;
            if said.0 != standing {
                let note = format!(
                    "; the event said {}, IAM's answer decides, and nothing was done",
                    said.0.as_str()
                );
                entry.reason.push_str(&note);
            }
            return Step::Leave(Outcome::Recorded);
        }
        entry.response = at_most.min(judgement.response);
        let action = match entry.response {
            Response::None | Response::Monitor => return Step::Leave(Outcome::Monitored),
            Response::Deactivate => Action::Deactivate,
            Response::Delete => Action::Delete,
        };
        let harmless = match status {
            Status::Active => {
                return Step::Act(Confirmed { key: entry.key.clone(), user: key.user, action });
            }
            Status::Inactive => "is inactive",
            Status::Expired => "has expired",
        };
        let note = format!("; IAM says that the key {harmless}, so nothing was done");
        entry.reason.push_str(&note);
        Step::Leave(Outcome::AlreadyInactive)
    }

    /// Makes IAM's answer durable before anything is done on its word, where it says something else than the
    /// entry: an undetermined key is deleted for a reason, and the reason must outlive a crash. Answers with
    /// the report when another delivery has settled the entry in the meantime.
    async fn amend(&self, durable: &mut Durable) -> Result<Option<Report>, Failure> {
        let Durable { entry, recorded } = durable;
        let Entry { user, service, standing, violation, .. } = entry;
        let same = recorded.user.is_same_user(user)
            && (recorded.service, recorded.standing, recorded.violation) == (*service, *standing, *violation);
        if same || entry.outcome == Outcome::Confirmed {
            return Ok(None);
        }
        entry.outcome = Outcome::Confirmed;
        match self.ledger.settle(entry, self.clock.now()).await {
            Ok(Settled::Before(stored)) if stored.outcome.is_settled() => Ok(Some(stored.report())),
            Ok(Settled::Now | Settled::Before(_)) => Ok(None),
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
        if now - entry.event_time < CONSISTENCY_WINDOW {
            return Err(Failure::NotListedYet { key: entry.key.clone(), event_time: entry.event_time });
        }
        entry.reason.push_str("; IAM lists the key for no user");
        Ok(Outcome::AlreadyGone)
    }

    /// *Settle.* Outcomes only move up, so the highest of concurrent deliveries stays.
    async fn settle(&self, mut durable: Durable, outcome: Outcome) -> Result<Report, Failure> {
        let entry = &mut durable.entry;
        entry.outcome = outcome;
        match self.ledger.settle(entry, self.clock.now()).await {
            Ok(Settled::Now) => Ok(entry.report()),
            Ok(Settled::Before(stored)) => Ok(stored.report()),
            Err(source) => Err(Failure::Settle { key: entry.key.clone(), outcome, source }),
        }
    }
}
