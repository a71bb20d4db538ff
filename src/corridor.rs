//! The corridor that every door leads into: an event is judged, planned for, and the plan carried out.

use std::sync::Arc;

use crate::clock::Clock;
use crate::enforce::{self, Enforcer, Failure, Keys, Ledger};
use crate::event::{Inbound, Ours, SetStatus, Subject, What};
use crate::key::KeyRef;
use crate::ledger::{Entry, Kind, Source};
use crate::plan::{Hands, plan};
use crate::policy::{Policy, Response, Ruling};
use crate::report::{Report, describe};

/// One corridor: the policy and the ceiling that apply, the ledger, and the keys if they may be touched.
#[derive(Debug)]
pub struct Corridor<L, K, C> {
    /// What is allowed.
    pub policy: Arc<Policy>,
    /// The furthest that any response may go.
    pub ceiling: Response,
    /// Which door this is, for the audit trail.
    pub source: Source,
    /// Where entries are made.
    pub ledger: L,
    /// The keys, or a rehearsal.
    pub reach: Reach<K>,
    /// What time it is.
    pub clock: C,
}

/// Whether IAM may be called.
#[derive(Debug)]
pub enum Reach<K> {
    /// No: judge and record only.
    Rehearsal,
    /// Yes, through these.
    Keys(K),
}

impl<L: Ledger, K: Keys, C: Clock> Corridor<L, K, C> {
    /// Takes one event all the way.
    ///
    /// # Errors
    /// When the entry could not be made or settled, IAM could not be asked, or its answer has to be
    /// awaited. The event must then be delivered again; what was done until then is in the ledger.
    pub async fn take(&self, inbound: &Inbound) -> Result<Report, Failure> {
        match self.judge(inbound) {
            Judged::Nothing(report) => Ok(*report),
            Judged::Later(ours, subject, kind) => self.note(ours, subject, kind).await,
            // A large future, and only some events need it.
            Judged::Key(entry) => Box::pin(self.carry_out(*entry)).await,
        }
    }

    /// Takes events all the way: a result for each, in order. A rehearsal records many in one call.
    pub async fn take_all(&self, inbound: &[Inbound]) -> Vec<Result<Report, Failure>> {
        match &self.reach {
            Reach::Keys(_) => {
                let mut results = Vec::with_capacity(inbound.len());
                for inbound in inbound {
                    results.push(self.take(inbound).await);
                }
                results
            }
            Reach::Rehearsal => {
                let (mut entries, mut waiting) = (Vec::new(), Vec::with_capacity(inbound.len()));
                for inbound in inbound {
                    waiting.push(match self.judge(inbound) {
                        Judged::Key(entry) => {
                            entries.push(*entry);
                            None
                        }
                        other @ (Judged::Nothing(_) | Judged::Later(..)) => Some(other),
                    });
                }
                // First the new keys, since what happened later is written into their history.
                let mut rehearsed = enforce::rehearse_all(&self.ledger, entries).await.into_iter();
                let mut results = Vec::with_capacity(inbound.len());
                for waiting in waiting {
                    match waiting {
                        None => results.extend(rehearsed.next()),
                        Some(Judged::Nothing(report)) => results.push(Ok(*report)),
                        Some(Judged::Later(ours, subject, kind)) => {
                            results.push(self.note(ours, subject, kind).await);
                        }
                        Some(Judged::Key(entry)) => results.push(self.carry_out(*entry).await),
                    }
                }
                results
            }
        }
    }

    /// The entry that an event leads to, with what is to be done about its key.
    fn judge<'a>(&self, inbound: &'a Inbound) -> Judged<'a> {
        let ours = match inbound {
            Inbound::NotOurs(why) => return Judged::Nothing(Box::new(Report::not_ours(why))),
            Inbound::Ours(ours) => ours,
        };
        let ignored = || Judged::Nothing(Box::new(Report::ignored(ours, describe(&ours.what))));
        let key = match &ours.what {
            What::Created(key) => key,
            What::StatusChanged { subject, status: SetStatus::Active } => {
                return Judged::Later(ours, subject, Kind::SwitchedOn);
            }
            What::StatusChanged { subject, status: SetStatus::Inactive } => {
                return Judged::Later(ours, subject, Kind::SwitchedOff);
            }
            What::SecretReset(subject) => return Judged::Later(ours, subject, Kind::SecretReset),
            What::Deleted(subject) => return Judged::Later(ours, subject, Kind::Deleted),
            What::CreatedForOther { .. } | What::Failed(_) => return ignored(),
        };
        let judgement = match self.policy.judge(key, ours.event.event_time) {
            Ruling::Judged(judgement) => judgement,
            Ruling::NotJudged => return ignored(),
        };
        let hands = match &self.reach {
            Reach::Rehearsal => Hands::Tied,
            Reach::Keys(_) => Hands::Free,
        };
        let (plan, response) = plan(&judgement, hands, self.ceiling);
        Judged::Key(Box::new(Entry::new(
            key,
            &ours.event,
            &judgement,
            self.policy.sha256(),
            plan,
            response,
            self.source,
            hands,
            self.clock.now(),
        )))
    }

    /// Writes into the history of a key what happened to it later. A key without an entry is not known to be one
    /// that the policy judges.
    async fn note(&self, ours: &Ours, subject: &Subject, kind: Kind) -> Result<Report, Failure> {
        let event = &ours.event;
        let key = KeyRef { account: event.account.clone(), id: subject.id.clone() };
        let failed = |source| Failure::Open { key: key.clone(), source };
        let what = describe(&ours.what);
        let Some(entry) = self.ledger.read(&key).await.map_err(failed)? else {
            return Ok(Report::ignored(ours, format!("{what}; the ledger has no entry of this key")));
        };
        let then = Entry {
            event_id: event.event_id.clone(),
            event_time: event.event_time,
            actor: event.actor.clone(),
            source_ip: event.source_ip.clone(),
            user_agent: event.user_agent.clone(),
            source: self.source,
            reason: what.clone(),
            recorded_at: self.clock.now(),
            ..entry
        };
        self.ledger.note(&then, kind).await.map_err(failed)?;
        Ok(Report {
            service: Some(then.service),
            user: Some(then.user),
            ..Report::ignored(ours, format!("{what}; written into the key's history"))
        })
    }

    async fn carry_out(&self, entry: Entry) -> Result<Report, Failure> {
        match &self.reach {
            Reach::Rehearsal => enforce::rehearse(&self.ledger, entry).await,
            Reach::Keys(keys) => {
                let enforcer = Enforcer {
                    policy: &self.policy,
                    ceiling: self.ceiling,
                    ledger: &self.ledger,
                    keys,
                    clock: &self.clock,
                };
                enforcer.carry_out(entry).await
            }
        }
    }
}

/// What an event is for the corridor.
enum Judged<'a> {
    /// No key to record.
    Nothing(Box<Report>),
    /// Something happened to a key later.
    Later(&'a Ours, &'a Subject, Kind),
    /// A key, judged and planned for.
    Key(Box<Entry>),
}
