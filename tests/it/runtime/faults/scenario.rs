//! What happens before a fault, and in which invocation the fault is.

use std::pin::Pin;

use bedrock_key_guard::runtime::resume::{ResumeRun, run_resume};
use bedrock_key_guard::runtime::sweep::{SweepRun, run_sweep};
use chrono::TimeDelta;
use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::key::{KeyStatus, Service};
use key_guard_core::lifecycle::input::ListedKey;

use super::super::faulty::{Call, Fault, When};
use super::super::iam::TestIam;
use super::super::ledger::StoreKind;
use super::super::world::{World, WorldExecutor};
use super::super::{activated, at, bad_key, created, deleted, good_key};

/// The guard's own account, which the stand-in for IAM over HTTP knows.
const OWN: u64 = 111_122_223_333;

pub struct Scenario {
    store: StoreKind,
    pub response: &'static str,
    /// IAM's keys at the beginning.
    keys: Vec<ListedKey>,
    before: Vec<Move>,
    /// Where the fault is.
    pub invocation: Invocation,
}

/// What happens before that.
enum Move {
    Invoke(Invocation),
    /// A worker stores the intent of an event, and dies.
    Abandon(Box<CredentialEvent>),
    Pass(TimeDelta),
    /// The key's owner does this in IAM.
    Create(ListedKey),
    Activate(ListedKey),
    Delete(ListedKey),
}

/// What a worker is invoked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    Event(Box<CredentialEvent>),
    /// Events of distinct keys, whose first commits are one call of the store.
    Batch(Vec<CredentialEvent>),
    Resume,
    Sweep,
}

impl Invocation {
    fn event(event: CredentialEvent) -> Self {
        Self::Event(Box::new(event))
    }

    /// True if Lambda delivers it again once it has failed.
    pub const fn is_event(&self) -> bool {
        match self {
            Self::Event(_) | Self::Batch(_) => true,
            Self::Resume | Self::Sweep => false,
        }
    }
}

/// The key that events are about.
fn key() -> ListedKey {
    bad_key(OWN, 1)
}

/// Keys that nobody has a reason to touch: of the same user for another service, and of another user.
pub fn bystanders() -> [ListedKey; 2] {
    let neighbour = ListedKey { user: key().user, service: Service::Logs, ..good_key(OWN, 8) };
    [neighbour, good_key(OWN, 9)]
}

impl Scenario {
    fn new(response: &'static str, keys: &[ListedKey], before: Vec<Move>, invocation: Invocation) -> Self {
        let keys = [&bystanders()[..], keys].concat();
        Self { store: StoreKind::Sqlite, response, keys, before, invocation }
    }

    /// The same on this store.
    pub fn on(self, store: StoreKind) -> Self {
        Self { store, ..self }
    }

    /// The event of the key's creation.
    pub fn creation(response: &'static str) -> Self {
        Self::new(response, &[key()], Vec::new(), Invocation::event(created(&key())))
    }

    /// The event of the creation of a key that may stay.
    pub fn compliant_creation() -> Self {
        let key = good_key(OWN, 1);
        let event = Invocation::event(created(&key));
        Self::new("delete", &[key], Vec::new(), event)
    }

    /// The event of the activation of a key that the guard has deactivated.
    pub fn reactivation(response: &'static str) -> Self {
        let created = Invocation::event(created(&key()));
        let before = vec![Move::Invoke(created), Move::Pass(TimeDelta::minutes(2)), Move::Activate(key())];
        Self::new(response, &[key()], before, Invocation::event(activated(&key(), at(140))))
    }

    /// The event of the deletion of a key that the guard has deactivated.
    pub fn deletion() -> Self {
        let created = Invocation::event(created(&key()));
        let before = vec![Move::Invoke(created), Move::Pass(TimeDelta::minutes(2)), Move::Delete(key())];
        Self::new("deactivate", &[key()], before, Invocation::event(deleted(&key(), at(140))))
    }

    /// A resume finds the intent of a worker that died.
    pub fn abandoned_intent(response: &'static str) -> Self {
        let before = vec![Move::Abandon(Box::new(created(&key()))), Move::Pass(TimeDelta::minutes(1))];
        Self::new(response, &[key()], before, Invocation::Resume)
    }

    /// A resume or a sweep finds a key whose quarantine has ended.
    pub fn end_of_quarantine(invocation: Invocation) -> Self {
        let created = Invocation::event(created(&key()));
        let before = vec![Move::Invoke(created), Move::Pass(TimeDelta::days(15))];
        Self::new("quarantine", &[key()], before, invocation)
    }

    /// A sweep finds so many keys whose events were lost, and does not find two known ones: one for the second time, one for
    /// the first.
    pub fn sweep(response: &'static str, lost: u64) -> Self {
        let known = [good_key(OWN, 2), good_key(OWN, 3)];
        let mut before: Vec<_> =
            known.iter().map(|key| Move::Invoke(Invocation::event(created(key)))).collect();
        before.push(Move::Delete(known[0].clone()));
        before.push(Move::Invoke(Invocation::Sweep));
        before.push(Move::Pass(TimeDelta::minutes(10)));
        before.push(Move::Delete(known[1].clone()));
        before.extend((4..4 + lost).map(|number| Move::Create(bad_key(OWN, number))));
        Self::new(response, &known, before, Invocation::Sweep)
    }

    /// Creations of four keys in one batch. The first commits of two of them conflict: one key is known as compliant, and
    /// one has the intent of a worker that died. Deletions would not share a transaction.
    pub fn mixed_batch() -> Self {
        let (known, abandoned) = (good_key(OWN, 2), bad_key(OWN, 3));
        let keys = [key(), known.clone(), abandoned.clone(), good_key(OWN, 4)];
        let before = vec![
            Move::Invoke(Invocation::event(created(&known))),
            Move::Abandon(Box::new(created(&abandoned))),
            Move::Pass(TimeDelta::minutes(1)),
        ];
        Self::new("deactivate", &keys, before, Invocation::Batch(keys.iter().map(created).collect()))
    }

    /// Every key that is ever in it.
    pub fn all_keys(&self) -> Vec<ListedKey> {
        let later = self.before.iter().filter_map(|step| match step {
            Move::Create(key) => Some(key.clone()),
            Move::Invoke(_) | Move::Abandon(_) | Move::Pass(_) | Move::Activate(_) | Move::Delete(_) => None,
        });
        self.keys.iter().cloned().chain(later).collect()
    }

    /// A world in which everything has happened that comes before the invocation.
    pub fn world<A: TestIam>(&self) -> World<A> {
        let world = World::<A>::with_store(self.store, self.response, &self.keys);
        for step in &self.before {
            match step {
                Move::Invoke(invocation) => assert!(world.run(invocation), "{invocation:?}"),
                Move::Abandon(event) => {
                    world.fault_at(Call::Find, When::FIRST, Fault::KilledBefore);
                    assert!(world.deliver(event).is_none());
                }
                Move::Pass(time) => world.clock.pass(*time),
                Move::Create(key) => world.iam.inner.add(key),
                Move::Activate(key) => world.iam.inner.set_status(&key.key, KeyStatus::Active),
                Move::Delete(key) => world.iam.inner.remove(&key.key),
            }
        }
        world.calls.take();
        world
    }
}

impl<A: TestIam> World<A> {
    /// One invocation. False if it was killed or has failed.
    pub fn run(&self, invocation: &Invocation) -> bool {
        self.invoke(async |executor| self.run_with(executor, invocation).await).unwrap_or(false)
    }

    /// The same with another worker's executor. The future is boxed: it is too deeply nested for the compiler.
    pub async fn run_with(&self, executor: &WorldExecutor<'_, A>, invocation: &Invocation) -> bool {
        let run: Pin<Box<dyn Future<Output = bool> + '_>> = match invocation {
            Invocation::Event(event) => Box::pin(async { self.process(executor, event).await.is_ok() }),
            Invocation::Batch(events) => Box::pin(self.process_together(executor, events)),
            Invocation::Resume => Box::pin(async { run_resume(executor, &self.bus, None).await.is_ok() }),
            Invocation::Sweep => {
                Box::pin(async { run_sweep(executor, self.new_sweep(), &self.bus, &mut ()).await.is_ok() })
            }
        };
        run.await
    }

    /// Time passes, with a resume every ten minutes and a sweep after it. In the end, nothing fails any more.
    pub fn settle(&self) {
        self.resume_and_sweep();
        let (resumed, swept) = self.resume_and_sweep();
        assert!(resumed.failures.is_empty(), "{:?}", resumed.failures);
        assert!(swept.result.problems.is_empty(), "{:?}", swept.result.problems);
    }

    pub fn resume_and_sweep(&self) -> (ResumeRun, SweepRun) {
        self.clock.pass(TimeDelta::minutes(10));
        (self.resume().unwrap().unwrap(), self.sweep().unwrap().unwrap())
    }
}
