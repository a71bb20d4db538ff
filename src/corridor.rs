//! The corridor that every door leads into: an event is judged, planned for, and the plan carried out.

use std::sync::Arc;

use crate::clock::Clock;
use crate::enforce::{self, Enforcer, Failure, Keys, Ledger};
use crate::event::{Inbound, What};
use crate::ledger::{Entry, Source};
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
                let (mut entries, mut results) = (Vec::new(), Vec::with_capacity(inbound.len()));
                for inbound in inbound {
                    results.push(match self.judge(inbound) {
                        Judged::Nothing(report) => Some(Ok(*report)),
                        Judged::Key(entry) => {
                            entries.push(*entry);
                            None
                        }
                    });
                }
                let mut rehearsed = enforce::rehearse_all(&self.ledger, entries).await.into_iter();
                results.into_iter().filter_map(|result| result.or_else(|| rehearsed.next())).collect()
            }
        }
    }

    /// The entry that an event leads to, with what is to be done about its key.
    fn judge(&self, inbound: &Inbound) -> Judged {
        let ours = match inbound {
            Inbound::NotOurs(why) => return Judged::Nothing(Box::new(Report::not_ours(why))),
            Inbound::Ours(ours) => ours,
        };
        let ignored = || Judged::Nothing(Box::new(Report::ignored(ours, describe(&ours.what))));
        let key = match &ours.what {
            What::Created(key) => key,
            What::CreatedForOther { .. }
            | What::StatusChanged { .. }
            | What::SecretReset(_)
            | What::Deleted(_)
            | What::Failed(_) => return ignored(),
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
enum Judged {
    /// No key to record.
    Nothing(Box<Report>),
    /// A key, judged and planned for.
    Key(Box<Entry>),
}
