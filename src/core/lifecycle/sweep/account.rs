//! How far a sweep has got with an account.

use std::collections::{BTreeSet, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::counts::SweepCounts;
use super::page::{KeyCursor, KeyPage, ServiceFilter};
use crate::Time;
use crate::key::{AccountId, CredentialId, Service};
use crate::lifecycle::input::{Input, ListedKey};
use crate::lifecycle::session::Session;
use crate::lifecycle::state::{Phase, StoredState};
use crate::policy::Policy;

/// A list has an end. No account fills more pages: IAM allows 5,000 users with two keys for each service.
pub const MAX_PAGES: u32 = 10_000;

/// What is left of a sweep: the payload of the next invocation. Its ceiling is not a part of it (R13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepCheckpoint {
    /// The accounts that were not begun.
    pub(super) accounts: VecDeque<AccountId>,
    /// The account that was begun.
    pub(super) account: Option<AccountProgress>,
    /// What was counted so far.
    pub(super) counts: SweepCounts,
}

/// What is done of an account, and what is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountProgress {
    pub(super) account: AccountId,
    pub(super) started: Time,
    /// False once a list could not be read to its end.
    pub(super) is_complete: bool,
    /// The lists that are left, with the one that is being read. None left: the closing pass.
    pub(super) to_list: VecDeque<ServiceFilter>,
    /// The lists that were read to their end, and that the closing pass uses.
    pub(super) listed: Vec<ServiceFilter>,
    /// In the list that is being read, or in the closing pass.
    pub(super) position: Position,
}

/// Where a list goes on: at this page, without the keys that are done. IAM may return other keys for the same page
/// when it is asked again, so the keys are named, not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) cursor: Option<KeyCursor>,
    /// How many pages came before.
    pub(super) pages: u32,
    /// Where an earlier page began. A list that comes back to it goes in circles.
    pub(super) milestone: Option<KeyCursor>,
    /// The keys of the page that are done.
    pub(super) done: BTreeSet<CredentialId>,
}

impl AccountProgress {
    pub(super) fn new(account: AccountId, services: &[ServiceFilter], started: Time) -> Self {
        Self {
            account,
            started,
            is_complete: true,
            to_list: services.iter().cloned().collect(),
            listed: Vec::new(),
            position: Position::default(),
        }
    }

    /// Goes on with the next list, or with the closing pass.
    pub(super) fn end_list(&mut self, is_read: bool) {
        self.position = Position::default();
        let ended = self.to_list.pop_front();
        if is_read {
            self.listed.extend(ended);
        } else {
            self.is_complete = false;
        }
    }

    /// The closing pass goes on without this list.
    pub(super) fn give_up(&mut self, service: &ServiceFilter) {
        self.listed.retain(|listed| listed != service);
        self.is_complete = false;
    }
}

/// What this invocation knows of the account.
#[derive(Debug, Default)]
pub(super) struct AccountReading {
    /// When the last completed sweep started.
    pub(super) last_started: Option<Time>,
    /// The list that is being read.
    pub(super) open: Option<Listing>,
    /// The lists that this invocation has read from their beginning to their end.
    pub(super) read: Vec<Listing>,
    /// The page that is being dealt with.
    pub(super) page: PageReading,
}

/// The page that is being dealt with.
#[derive(Debug, Default)]
pub(super) struct PageReading {
    pub(super) sessions: VecDeque<Session>,
    /// How many sessions are under way.
    pub(super) running: usize,
    /// True if there was no time for a session that was begun.
    pub(super) is_cut: bool,
    pub(super) not_judged: u64,
    pub(super) unreadable: u64,
    pub(super) next: Option<KeyCursor>,
}

/// A list that this invocation reads, or has read.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) service: ServiceFilter,
    /// When its first page was requested.
    first_asked_at: Time,
    /// When its latest page was requested.
    last_asked_at: Time,
    /// Where its next page begins.
    pub(super) position: Position,
    ids: HashSet<CredentialId>,
    /// False if another invocation has read its beginning.
    is_from_start: bool,
    /// True if a key that is not in it was not in IAM's list.
    is_conclusive: bool,
}

/// The list has no end.
#[derive(Debug)]
pub(super) struct EndlessList;

impl Listing {
    pub(super) fn new(service: ServiceFilter, position: Position, now: Time) -> Self {
        Self {
            service,
            first_asked_at: now,
            last_asked_at: now,
            is_from_start: position.pages == 0,
            position,
            ids: HashSet::new(),
            is_conclusive: true,
        }
    }

    pub(super) fn add(&mut self, page: &KeyPage<ListedKey>, asked_at: Time) {
        self.last_asked_at = asked_at;
        self.ids.extend(page.keys.iter().map(|listed| listed.key.id.clone()));
        self.is_conclusive &= page.unreadable == 0;
    }

    /// Turns to the next page. `false`: there is none.
    ///
    /// A list that goes in circles is noticed as Brent does it: each cursor is compared with an earlier one, which is
    /// replaced whenever the number of pages has doubled. So a checkpoint has one cursor instead of all.
    pub(super) fn turn_page(&mut self, next: Option<KeyCursor>) -> Result<bool, EndlessList> {
        let Some(next) = next else { return Ok(false) };
        let pages = self.position.pages + 1;
        let mut milestone = self.position.milestone.take();
        if pages >= MAX_PAGES || milestone.as_ref() == Some(&next) {
            return Err(EndlessList);
        }
        if pages.is_power_of_two() {
            milestone = Some(next.clone());
        }
        self.position = Position { cursor: Some(next), pages, milestone, done: BTreeSet::new() };
        Ok(true)
    }

    /// True if the closing pass can use it.
    pub(super) const fn is_whole(&self) -> bool {
        self.is_from_start
    }
}

impl AccountReading {
    /// The first list that the closing pass needs, and that this invocation has not read from its beginning.
    pub(super) fn to_reread<'a>(&self, progress: &'a AccountProgress) -> Option<&'a ServiceFilter> {
        progress.listed.iter().find(|service| !self.read.iter().any(|listing| listing.service == **service))
    }

    /// Sessions for the keys of a page of IAM's list, without those that are done. A key has one, even if the page has
    /// it twice.
    pub(super) fn take_listed(
        &mut self,
        page: KeyPage<ListedKey>,
        done: &BTreeSet<CredentialId>,
        asked_at: Time,
        policy: &Policy,
    ) {
        let (judged, not_judged): (Vec<_>, Vec<_>) =
            page.keys.into_iter().partition(|listed| policy.judges(&listed.service));
        let mut seen = done.clone();
        let sessions = judged.into_iter().filter(|listed| seen.insert(listed.key.id.clone())).map(|listed| {
            Session::new(listed.key.clone(), Input::Listed { listed: Box::new(listed), asked_at })
        });
        self.page = PageReading {
            sessions: sessions.collect(),
            not_judged: not_judged.len() as u64,
            unreadable: page.unreadable,
            next: page.next,
            ..PageReading::default()
        };
    }

    /// Sessions for the keys of a page of the ledger that no list has, without those that are done (R3).
    pub(super) fn take_known(
        &mut self,
        page: KeyPage<StoredState>,
        done: &BTreeSet<CredentialId>,
        now: Time,
    ) {
        let sessions = page.keys.into_iter().filter_map(|stored| {
            let record = stored.state.record()?;
            let key = record.key().clone();
            let input = match record.phase {
                // Nothing follows for a key that has ended. It is counted and published (R10).
                Phase::Gone(_) => Input::NotListed { first_asked_at: now, last_asked_at: now },
                Phase::Settled | Phase::Pending(_) | Phase::Deactivated(_) | Phase::Inactive(_) => {
                    self.absence(&record.facts.service, &key.id)?
                }
            };
            let is_left = !done.contains(&key.id);
            is_left.then(|| Session::with_state(key, input, stored))
        });
        self.page = PageReading {
            sessions: sessions.collect(),
            unreadable: page.unreadable,
            next: page.next,
            ..PageReading::default()
        };
    }

    /// What a list says that should have the key, and does not. `None`: there is no such list.
    ///
    /// A user that is renamed while the pages are read may be on none of them. So this is one observation of the two
    /// that R3 asks for. A key that was created after the first page was requested may be on none of them either, and
    /// its session leaves it alone.
    fn absence(&self, service: &Service, id: &CredentialId) -> Option<Input> {
        let listing = self.read.iter().find(|listing| listing.service.includes(service))?;
        let is_absent = listing.is_conclusive && !listing.ids.contains(id);
        let Listing { first_asked_at, last_asked_at, .. } = *listing;
        is_absent.then_some(Input::NotListed { first_asked_at, last_asked_at })
    }
}
