//! A sweep that only looks: the same lists in the same order, and a dry run of each key in place of its session.
//! [`ListJudge`] makes these dry runs, of IAM's lists and of saved ones.

use std::cell::RefCell;
use std::collections::HashMap;

use futures_util::future::{OptionFuture, join};
use key_guard_core::Time;
use key_guard_core::key::{AccountId, KeyRef};
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState, report_of_absent_key};
use key_guard_core::lifecycle::input::{Input, KeyEvent, ListedKey};
use key_guard_core::lifecycle::standing::Standing;
use key_guard_core::lifecycle::state::{KeyState, Phase, Record, StoredState};
use key_guard_core::lifecycle::sweep::{KeyPage, Sweep, SweepEffect, SweepNext, SweepReply};
use key_guard_core::policy::Policy;
use key_guard_core::ports::KeyStore as _;

use super::creators::Creators;
use super::orphans::note_users_of_gone_keys;
use super::output::{Change, Output, Swept, SweptLine, downgrade};
use crate::aws::credentials::IamCredentials;
use crate::cli::dry_run::{DryRuns, KnownDryRun};
use crate::ledger::store::Ledger;
use crate::runtime::sweep::list_page;

/// A sweep of one account that only looks.
pub struct DrySweep<'a> {
    judge: ListJudge<'a>,
    store: &'a Ledger,
    api: &'a IamCredentials,
    /// The guard's records in a page of the closing pass.
    records: HashMap<KeyRef, Record>,
}

impl<'a> DrySweep<'a> {
    pub fn new(judge: ListJudge<'a>, store: &'a Ledger, api: &'a IamCredentials) -> Self {
        Self { judge, store, api, records: HashMap::new() }
    }

    /// Reads the account's lists, and judges each key.
    pub async fn run(mut self, account: AccountId, policy: &Policy) -> Swept {
        let mut sweep = Sweep::new([account], policy.services());
        let mut reply = SweepReply::Start;
        loop {
            reply = match sweep.advance(reply, &self.judge.dry_runs.env()) {
                SweepNext::Finished(result) => return result.map(|result| *result),
                SweepNext::Wait(delay) => {
                    tokio::time::sleep(delay.to_std().unwrap_or_default()).await;
                    SweepReply::Waited
                }
                SweepNext::Perform(effect) => Box::pin(self.perform(&mut sweep, effect)).await,
            };
        }
    }

    async fn perform(&mut self, sweep: &mut Sweep, effect: SweepEffect) -> SweepReply {
        let api = self.api;
        match effect {
            // A dry run is compared with the last dry run, and leaves no trace of when it was (R14).
            SweepEffect::LoadRecord(_) => SweepReply::Record(None),
            SweepEffect::PutRecord { .. } => SweepReply::RecordStored,
            SweepEffect::ListPage(request) => {
                list_page(api, request).await.map_or_else(SweepReply::Failed, SweepReply::Page)
            }
            SweepEffect::LoadKnownKeys { account, ended_since, cursor } => {
                let known = self.store.known_keys(&account, ended_since, cursor.as_ref()).await;
                known.map_or_else(SweepReply::Failed, |page| self.remember(page))
            }
            SweepEffect::RunSessions { read_ahead } => {
                // The request is on its way before the first key is judged.
                let read_ahead = OptionFuture::from(read_ahead.map(|request| list_page(api, request)));
                let judging = Box::pin(async {
                    let listed = self.take_inputs(sweep);
                    self.judge.judge(listed).await;
                });
                let (read_ahead, ()) = join(read_ahead, judging).await;
                SweepReply::SessionsEnded { read_ahead }
            }
        }
    }

    fn remember(&mut self, page: KeyPage<StoredState>) -> SweepReply {
        note_users_of_gone_keys(&mut self.judge.output.borrow_mut(), &page.keys);
        let records = page.keys.iter().filter_map(|stored| stored.state.record());
        self.records = records.map(|record| (record.key().clone(), record.clone())).collect();
        SweepReply::KnownKeys(page)
    }

    /// Takes what the sessions of a page would deal with. None of them runs. Returns the listed keys, and when IAM was
    /// asked for them.
    fn take_inputs(&mut self, sweep: &mut Sweep) -> Vec<(ListedKey, Option<Time>)> {
        let env = self.judge.dry_runs.env();
        let mut taken = Vec::new();
        while let Some(session) = sweep.next_session(&env) {
            match session.input() {
                Input::Listed { listed, asked_at } => {
                    taken.push((ListedKey::clone(listed), Some(*asked_at)));
                }
                Input::NotListed { first_asked_at, .. } => self.absent(session.key(), *first_asked_at),
                Input::Event(_) | Input::Resume => {}
            }
        }
        taken
    }

    /// A key that the guard has a record of, and that is in no list.
    fn absent(&mut self, key: &KeyRef, first_asked_at: Time) {
        let Some(record) = self.records.remove(key) else { return };
        let is_older_list = first_asked_at < record.facts.created_at;
        let is_gone = match record.phase {
            Phase::Gone(_) => true,
            Phase::Settled | Phase::Pending(_) | Phase::Deactivated(_) | Phase::Inactive(_) => false,
        };
        if is_older_list || is_gone {
            return;
        }
        if let Some(report) = report_of_absent_key(&record) {
            self.judge.output.borrow_mut().key(SweptLine {
                key: key.clone(),
                change: Change::Gone,
                is_listed: false,
                has_acted: false,
                downgrade: None,
                report,
            });
        }
    }
}

/// Judges the keys of a list, as of now.
#[derive(Clone, Copy)]
pub struct ListJudge<'a> {
    pub dry_runs: &'a DryRuns<'a>,
    pub output: &'a RefCell<Output>,
    /// Their creation events are dealt with as `replay` would, before IAM's list is.
    pub creators: &'a Creators,
}

impl ListJudge<'_> {
    /// Judges listed keys, and records the dry runs that have changed. Beside each key: when IAM was asked. `None`: it is from a
    /// saved list, and nobody knows.
    pub async fn judge(&self, listed: Vec<(ListedKey, Option<Time>)>) {
        let keys: Vec<_> = listed.iter().map(|(listed, _)| listed.key.clone()).collect();
        if keys.is_empty() {
            return;
        }
        let states = self.dry_runs.load_states(&keys).await;
        let mut lines: Vec<_> = keys.iter().map(|_| None).collect();
        let judge = |known: &mut HashMap<KeyRef, KnownDryRun>| {
            for (((listed, asked_at), stored), line) in listed.iter().zip(&states).zip(&mut lines) {
                if let (Ok(stored), Some(known)) = (stored, known.get_mut(&listed.key)) {
                    *line = self.line(listed, *asked_at, &stored.state, known);
                }
            }
        };
        let known = self.dry_runs.update(keys.iter().cloned().collect(), judge).await;
        for ((key, stored), line) in keys.iter().zip(states).zip(lines) {
            let error = known.get(key).and_then(|known| known.error.as_ref());
            let mut output = self.output.borrow_mut();
            match (stored, error, line) {
                (Err(error), _, _) => output.key_failed(key, &error),
                (Ok(_), Some(error), Some(_)) => output.key_failed(key, error),
                (Ok(_), None, Some(line)) => output.key(line),
                (Ok(_), _, None) => {}
            }
        }
    }

    /// The next dry run of a listed key. What the guard knows of the key is joined with what IAM says (R4, R6).
    fn line(
        &self,
        listed: &ListedKey,
        asked_at: Option<Time>,
        state: &KeyState,
        known: &mut KnownDryRun,
    ) -> Option<SweptLine> {
        let (env, key, record) = (self.dry_runs.env(), listed.key.clone(), state.record());
        let waiting = known.latest.take();
        let last = waiting.as_ref().and_then(DryRunState::assessed);
        // A dry run may know of a deletion that the guard does not know, and the other way round.
        let standing = waiting.as_ref().map_or(Standing::UNKNOWN, |waiting| waiting.standing().clone());
        let standing = standing.join(Standing::of_state(state));
        let recorded = record.and_then(|record| DryRun::of_record(record, &env));
        let earlier = recorded.as_ref().or(last);
        let earlier = earlier.map(|earlier| DryRun { standing: standing.clone(), ..earlier.clone() });
        let creation = self.creation_unless_known(&key, [recorded.as_ref(), last]);
        let created =
            creation.and_then(|event| DryRun::new(&Input::Event(Box::new(event)), earlier.as_ref(), &env));
        let earlier = created.or(earlier);
        let mut dry_run = match asked_at {
            Some(asked_at) => {
                let input = Input::Listed { listed: Box::new(listed.clone()), asked_at };
                DryRun::new(&input, earlier.as_ref(), &env)
            }
            None => DryRun::of_saved_entry(listed, earlier.as_ref(), &env),
        }?
        .joined(waiting.as_ref(), &env)?;
        if earlier.is_none() {
            // Nothing but its status is known: of a tombstone, or of a dry run that came before the creation.
            dry_run.standing = standing.join(dry_run.standing);
        }
        if dry_run.creation.is_none() {
            dry_run.creation = last.and_then(|last| last.creation.clone());
        }
        let change = match last.or(recorded.as_ref()) {
            None => Change::New,
            Some(before) if dry_run.differs_visibly_from(before) => Change::Changed,
            Some(_) => Change::None,
        };
        let report = dry_run.report();
        known.latest = Some(dry_run.into());
        let downgrade = record.and_then(|record| downgrade(&record.phase));
        Some(SweptLine { key, change, is_listed: true, has_acted: false, downgrade, report })
    }

    /// The creation event of a key, if it is in the event history, and nobody has recorded it.
    fn creation_unless_known(&self, key: &KeyRef, known: [Option<&DryRun>; 2]) -> Option<KeyEvent> {
        let is_known = known.into_iter().flatten().any(|known| known.creation.is_some());
        let creation = self.creators.creation_of(key).filter(|_| !is_known)?;
        KeyEvent::new(creation.clone())
    }
}
