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
        let ours = match inbound {
            Inbound::NotOurs(why) => return Ok(Report::not_ours(why)),
            Inbound::Ours(ours) => ours,
        };
        let key = match &ours.what {
            What::Created(key) => key,
            What::CreatedForOther { .. }
            | What::StatusChanged { .. }
            | What::SecretReset(_)
            | What::Deleted(_)
            | What::Failed(_) => return Ok(Report::ignored(ours, describe(&ours.what))),
        };
        let judgement = match self.policy.judge(key, ours.event.event_time) {
            Ruling::Judged(judgement) => judgement,
            Ruling::NotJudged => return Ok(Report::ignored(ours, describe(&ours.what))),
        };
        let hands = match &self.reach {
            Reach::Rehearsal => Hands::Tied,
            Reach::Keys(_) => Hands::Free,
        };
        let (plan, response) = plan(&judgement, hands, self.ceiling);
        let entry = Entry::new(
            key,
            &ours.event,
            &judgement,
            self.policy.sha256(),
            plan,
            response,
            self.source,
            hands,
            self.clock.now(),
        );
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
