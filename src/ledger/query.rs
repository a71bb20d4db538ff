//! Which keys the ledger has: by `Query` on an index, never by a scan.
//!
//! | question | index | calls |
//! | --- | --- | --- |
//! | a key | none: its partition of the table; its history the same once more | 2 |
//! | a user, in any account | `by_user` | 1 |
//! | an actor by ARN | `by_actor`, and `by_role` for a role's | 1, and 2 |
//! | an actor by session, user or service name, e-mail address, role or permission set | `by_actor` and `by_role` | 2 |
//! | an actor by a part of such a name, if that is wanted and none has the whole name | the same, and then as without an actor | 2 more |
//! | what is pending | `by_due` | 4 |
//! | an account | `by_account` | 8 |
//! | anything else | `by_month` | 4 for each month, [`LONGEST_DAYS`] at most |
//!
//! A question takes one index, the most selective that it names; what else it says is a filter. An index has about 7,000
//! keys to a call, which returns 1 MB. One more call reads the states and the dry runs of each 50 keys that the index
//! has in the range of time, filtered out or not.
//!
//! An eventually consistent read of an index costs half a unit for each 4 KB that it passes, and half a unit where
//! nothing is: a month without keys costs 2 units. A state costs one unit, and a dry run, or its absence, another one.
//! None of this depends on the size of the table.

mod filter;
mod position;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use chrono::TimeDelta;
use futures_util::future::try_join_all;

use filter::default_since_of_part;
pub use filter::{Actor, Filter, LONGEST_DAYS, Path, SourceAddress, TooManyDays};
pub(super) use filter::{default_since, months};
pub use position::Position;

use super::codec;
use super::cost::Cost;
use super::error::LedgerError;
use super::item;
use super::port::{BY_DUE, Entry, IndexQuery, Item, ItemKey};
use super::store::Ledger;
use super::view::KeyView;
use filter::{Partition, Plan};
use key_guard_core::Time;
use key_guard_core::key::{CredentialId, KeyRef};

const LARGEST_PAGE: usize = 1_000;

/// How many keys are read at a time, at most: with four calls of 100 items (DynamoDB API reference, `BatchGetItem`), a
/// state and a dry run for each key.
const MAX_KEYS: usize = 200;

/// A key that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundKey {
    /// Which key.
    pub key: KeyRef,
    /// Its state, its latest dry run, or both: the state first. Neither, if the ledger knows events of the key only, or that
    /// nobody judged it.
    pub views: Vec<KeyView>,
}

/// A partition of an index, as far as it was read.
#[derive(Debug)]
struct Stream {
    partition: Partition,
    /// Newest first.
    read: VecDeque<Entry>,
    start: Option<Entry>,
    has_more: bool,
    page_size: usize,
}

impl Stream {
    const fn new(partition: Partition, page_size: usize) -> Self {
        Self { partition, read: VecDeque::new(), start: None, has_more: true, page_size }
    }

    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.has_more
    }
}

/// A question on its way through the ledger: keys, newest first.
///
/// A key is found once: at the time of its state, or of its dry run if only that is asked for.
#[derive(Debug)]
pub struct Search<'a> {
    store: &'a Ledger,
    filter: Filter,
    now: Time,
    plan: Plan,
    streams: Vec<Stream>,
    before: Option<Position>,
    /// The keys of the last place that was read. The next entry may be of one of them.
    place: (String, Vec<KeyRef>),
    /// With the places at which they were found.
    ready: VecDeque<(String, FoundKey)>,
    batch: usize,
    page_size: usize,
    unreadable: Vec<LedgerError>,
    /// The items that were unreadable so far.
    passed: HashSet<ItemKey>,
    cost: Cost,
    last: Option<Position>,
    has_found: bool,
    may_widen: bool,
    is_widened: bool,
    has_default_since: bool,
}

impl<'a> Search<'a> {
    /// Begins at the newest key, or behind the place where a page has ended. About `wanted` keys are read at a time.
    ///
    /// # Errors
    /// When too many days would have to be read.
    pub fn new(
        store: &'a Ledger,
        filter: Filter,
        before: Option<Position>,
        wanted: usize,
        now: Time,
    ) -> Result<Self, TooManyDays> {
        let filter = filter.bounded(now);
        let plan = filter.plan(before.as_ref(), now)?;
        let width = plan.width();
        // One more tells whether there are more.
        let wanted = wanted.saturating_add(1);
        let page_size = wanted.saturating_mul(2).div_ceil(width).clamp(8, LARGEST_PAGE);
        Ok(Self {
            store,
            filter,
            now,
            plan,
            streams: Vec::new(),
            before,
            place: (String::new(), Vec::new()),
            ready: VecDeque::new(),
            batch: wanted.clamp(1, MAX_KEYS / 4),
            page_size,
            unreadable: Vec::new(),
            passed: HashSet::new(),
            cost: Cost::default(),
            last: None,
            has_found: false,
            may_widen: false,
            is_widened: false,
            has_default_since: false,
        })
    }

    /// The next key.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in [`Search::unreadable`].
    pub async fn next(&mut self) -> Result<Option<FoundKey>, LedgerError> {
        loop {
            if let Some((at, found)) = self.ready.pop_front() {
                self.last = Some(Position(at));
                self.has_found = true;
                return Ok(Some(found));
            }
            if !self.fill().await? && !self.widen().await? {
                return Ok(None);
            }
        }
    }

    /// Goes on with callers whose name has in it what was asked for, if no caller has that name. What that costs grows with
    /// the keys of the account, or of the time.
    #[must_use]
    pub fn or_part_of_name(self) -> Self {
        Self { may_widen: true, ..self }
    }

    /// True if no caller has the name that was asked for, so that callers are looked for whose name has it in it.
    #[must_use]
    pub const fn is_widened(&self) -> bool {
        self.is_widened
    }

    /// True if it looked for these callers in the last 90 days only, which nobody asked for.
    #[must_use]
    pub const fn is_widened_within_days(&self) -> bool {
        self.is_widened && self.has_default_since
    }

    /// Looks for a part of the caller's name, once no key of the whole name was found. `false`: there is nothing more to
    /// look for.
    async fn widen(&mut self) -> Result<bool, LedgerError> {
        let may_widen = self.may_widen && !self.has_found;
        let Some(actor) = self.filter.actor.as_ref().and_then(Actor::widened).filter(|_| may_widen) else {
            return Ok(false);
        };
        if self.has_found_before().await? {
            return Ok(false);
        }
        let mut filter = Filter { actor: Some(actor), ..self.filter.clone() };
        self.has_default_since = filter.path() == Path::Month && filter.since.is_none();
        if self.has_default_since {
            filter.since = Some(default_since_of_part(self.now));
        }
        let Ok(plan) = filter.plan(self.before.as_ref(), self.now) else { return Ok(false) };
        (self.filter, self.plan, self.is_widened) = (filter, plan, true);
        Ok(true)
    }

    /// True if an earlier page has keys of the whole name.
    async fn has_found_before(&mut self) -> Result<bool, LedgerError> {
        if self.before.is_none() {
            return Ok(false);
        }
        let Ok(mut whole) = Search::new(self.store, self.filter.clone(), None, 1, self.now) else {
            return Ok(false);
        };
        let found = Box::pin(whole.next()).await?;
        self.cost += whole.cost();
        Ok(found.is_some())
    }

    /// Where the keys that were taken end.
    #[must_use]
    pub const fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Items that this build cannot read, and that were passed since this was last called.
    pub fn unreadable(&mut self) -> Vec<LedgerError> {
        std::mem::take(&mut self.unreadable)
    }

    /// What it has cost so far.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }

    /// Reads some more keys. `false`: there are none.
    async fn fill(&mut self) -> Result<bool, LedgerError> {
        match &mut self.plan {
            Plan::Key(id) => {
                let id = id.take();
                if let Some(id) = &id {
                    self.read_key(id).await?;
                }
                Ok(id.is_some())
            }
            Plan::Pending { is_done } => {
                let is_begun = std::mem::replace(is_done, true);
                if !is_begun {
                    self.read_pending().await?;
                }
                Ok(!is_begun)
            }
            Plan::Index(_) => self.read_batch().await,
        }
    }

    /// Reads everything with one credential id. There is one key, if no two accounts have the same id.
    async fn read_key(&mut self, id: &CredentialId) -> Result<(), LedgerError> {
        let mut known: BTreeMap<KeyRef, Known> = BTreeMap::new();
        for item in self.store.read_items(id, None, &mut self.cost).await? {
            let place = item.key.clone();
            let key = codec::key_of(&place).map(|(key, _)| key);
            let read = key.and_then(|key| known.entry(key).or_default().add(item, self.now));
            if let Err(why) = read {
                self.unreadable.push(codec::unreadable(&place, &why));
            }
        }
        let found = known
            .into_iter()
            .filter_map(|(key, Known { views, has_state, events })| {
                let has_event = !has_state && events.iter().any(|at| self.filter.matches_event(&key, *at));
                match self.found(key.clone(), views) {
                    None if has_event => Some((String::new(), FoundKey { key, views: Vec::new() })),
                    found => found,
                }
            })
            .collect();
        self.add_sorted(found);
        Ok(())
    }

    /// Adds what was found in another order.
    fn add_sorted(&mut self, mut found: Vec<(String, FoundKey)>) {
        let before = self.before.as_ref();
        found.retain(|(at, _)| before.is_none_or(|Position(before)| at < before));
        found.sort_by(|(one, _), (other, _)| other.cmp(one));
        self.ready.extend(found);
    }

    /// Reads everything that is pending: the index has it in another order.
    async fn read_pending(&mut self) -> Result<(), LedgerError> {
        // Clocks differ, so it is tomorrow. Later dates are those of quarantines.
        let range = Some((item::FIRST.to_owned(), item::to_second(self.now + TimeDelta::days(1))));
        let mut keys = Vec::new();
        for shard in 0..item::SHARDS {
            let query = IndexQuery {
                index: BY_DUE,
                partition: item::open_key(shard),
                range: range.clone(),
                newest_first: false,
                limit: LARGEST_PAGE,
            };
            let mut start = None;
            loop {
                let page = self.store.table.query_index(&query, start.as_ref()).await?;
                self.cost += page.cost;
                keys.extend(page.entries.into_iter().filter_map(|entry| self.read_entry(&entry)));
                start = page.next;
                if start.is_none() {
                    break;
                }
            }
        }
        let mut found = Vec::new();
        for keys in keys.chunks(MAX_KEYS) {
            let mut views = self.load_views(keys).await?;
            found.extend(keys.iter().map(|key| (key.clone(), views.remove(key).unwrap_or_default())));
        }
        let found = found.into_iter().filter_map(|(key, views)| self.found(key, views));
        self.add_sorted(found.collect());
        Ok(())
    }

    /// Reads the next keys of an index. `false`: there are none.
    async fn read_batch(&mut self) -> Result<bool, LedgerError> {
        let mut places = Vec::new();
        while places.len() < self.batch {
            let Some(entry) = self.pop().await? else { break };
            if let Some(key) = self.read_entry(&entry) {
                places.extend(self.is_new(&entry.at, &key).then_some((entry.at, key)));
            }
        }
        self.batch = (self.batch * 2).min(MAX_KEYS);
        let keys: Vec<_> = places.iter().map(|(_, key)| key.clone()).collect();
        let views = self.load_views(&keys).await?;
        let mut found = Vec::new();
        for (place, key) in places {
            // A state and a dry run may have different places.
            let views = views.get(&key).cloned().unwrap_or_default();
            found.extend(self.found(key, views).filter(|(at, _)| *at == place));
        }
        self.ready.extend(found);
        Ok(!keys.is_empty())
    }

    /// The key of an entry.
    fn read_entry(&mut self, entry: &Entry) -> Option<KeyRef> {
        match codec::key_of(&entry.key) {
            Ok((key, _)) => Some(key),
            Err(why) => {
                self.unreadable.push(codec::unreadable(&entry.key, &why));
                None
            }
        }
    }

    /// False for a key that was already read at this place: by its dry run, or by name and by role.
    fn is_new(&mut self, at: &str, key: &KeyRef) -> bool {
        let (place, keys) = &mut self.place;
        if place != at {
            at.clone_into(place);
            keys.clear();
        }
        let is_new = !keys.contains(key);
        keys.extend(is_new.then(|| key.clone()));
        is_new
    }

    /// What is asked for of a key, with its place, if anything is.
    fn found(&self, key: KeyRef, mut views: Vec<KeyView>) -> Option<(String, FoundKey)> {
        views.sort_by_key(|view| view.is_dry_run);
        if let Some(state) = views.first().filter(|view| !view.is_dry_run).cloned() {
            views = views.into_iter().map(|view| view.beside(&state).as_of(self.now)).collect();
        }
        views.retain(|view| self.filter.matches(view));
        let place = item::at_key(views.first()?.at, &key.id);
        Some((place, FoundKey { key, views }))
    }

    /// The states and the dry runs of these keys, as far as they can be read.
    async fn load_views(&mut self, keys: &[KeyRef]) -> Result<HashMap<KeyRef, Vec<KeyView>>, LedgerError> {
        let keys: BTreeSet<_> = keys.iter().collect();
        let places =
            keys.iter().flat_map(|key| [codec::STATE, codec::DRY_RUN].map(|what| codec::place(key, what)));
        let mut views: HashMap<KeyRef, Vec<KeyView>> = HashMap::new();
        for item in self.store.table.get(&places.collect::<Vec<_>>(), &mut self.cost).await {
            let Some(item) = item? else { continue };
            let place = item.key.clone();
            match codec::key_of(&place)
                .and_then(|(key, what)| Ok((read_view(&key, what, item, self.now)?, key)))
            {
                Ok((view, key)) => views.entry(key).or_default().extend(view),
                // The places of a state and of its dry run both lead here.
                Err(why) if self.passed.insert(place.clone()) => {
                    self.unreadable.push(codec::unreadable(&place, &why));
                }
                Err(_) => {}
            }
        }
        Ok(views)
    }

    /// The newest entry that is left.
    async fn pop(&mut self) -> Result<Option<Entry>, LedgerError> {
        loop {
            while self.streams.iter().any(Stream::is_empty) {
                self.read_pages().await?;
            }
            self.streams.retain(|stream| !stream.read.is_empty());
            let newest =
                self.streams.iter_mut().max_by(|one, other| one.read.front().cmp(&other.read.front()));
            if let Some(stream) = newest {
                return Ok(stream.read.pop_front());
            }
            let Plan::Index(groups) = &mut self.plan else { return Ok(None) };
            let Some(group) = groups.pop_front() else { return Ok(None) };
            let page_size = self.page_size;
            self.streams = group.into_iter().map(|partition| Stream::new(partition, page_size)).collect();
        }
    }

    /// Reads the next page of each partition whose page is used up.
    async fn read_pages(&mut self) -> Result<(), LedgerError> {
        let (store, filter, before) = (self.store, &self.filter, self.before.as_ref());
        let pages = self.streams.iter_mut().filter(|stream| stream.is_empty());
        for cost in try_join_all(pages.map(|stream| store.read_page(stream, filter, before))).await? {
            self.cost += cost;
        }
        Ok(())
    }
}

/// What the ledger has with one credential id, in one account.
#[derive(Default)]
struct Known {
    views: Vec<KeyView>,
    /// True if there is a state or a dry run, be it one that cannot be read.
    has_state: bool,
    /// The times of its history.
    events: Vec<Time>,
}

impl Known {
    fn add(&mut self, item: Item, now: Time) -> Result<(), String> {
        let (key, what) = codec::key_of(&item.key)?;
        if what.starts_with(codec::LOG) {
            self.events.push(codec::decode_log(item)?.at);
        } else if what == codec::UNJUDGED {
            self.events.push(codec::decode_unjudged_key(item)?.provenance.event_time);
        } else {
            let what = what.to_owned();
            self.has_state |= matches!(what.as_str(), codec::STATE | codec::DRY_RUN);
            self.views.extend(read_view(&key, &what, item, now)?);
        }
        Ok(())
    }
}

/// Reads a state or a dry run, as it is at `now`. `None`: it is something else.
fn read_view(key: &KeyRef, what: &str, item: Item, now: Time) -> Result<Option<KeyView>, String> {
    let view = match what {
        codec::STATE => {
            let view = KeyView::of_state(key, &codec::decode_state(item)?.state);
            view.ok_or("it is the state of nothing")?
        }
        codec::DRY_RUN => KeyView::of_dry_run(&codec::decode_dry_run(item)?),
        _ => return Ok(None),
    };
    Ok(Some(view.as_of(now)))
}

impl Ledger {
    /// Reads a further page of a partition of an index.
    async fn read_page(
        &self,
        stream: &mut Stream,
        filter: &Filter,
        before: Option<&Position>,
    ) -> Result<Cost, LedgerError> {
        let (from, to) = range(filter, before);
        if to < from {
            stream.has_more = false;
            return Ok(Cost::default());
        }
        let Partition { index, value } = stream.partition.clone();
        let query = IndexQuery {
            index,
            partition: value,
            range: Some((from, to)),
            newest_first: true,
            limit: stream.page_size,
        };
        let page = self.table.query_index(&query, stream.start.take().as_ref()).await?;
        let is_left = |entry: &Entry| before.is_none_or(|Position(before)| entry.at < *before);
        stream.read.extend(page.entries.into_iter().filter(is_left));
        stream.has_more = page.next.is_some();
        stream.start = page.next;
        stream.page_size = stream.page_size.saturating_mul(4).min(LARGEST_PAGE);
        Ok(page.cost)
    }
}

/// The sort keys that are read.
fn range(filter: &Filter, before: Option<&Position>) -> (String, String) {
    let from = filter.since.map_or_else(|| item::FIRST.to_owned(), item::to_second);
    let to = filter.until.map_or_else(|| item::LAST.to_owned(), |until| item::to_second(until) + item::LAST);
    let to = match before {
        Some(Position(before)) => to.min(before.clone()),
        None => to,
    };
    (from, to)
}
