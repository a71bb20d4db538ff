//! Which keys the ledger has: by `Query` on an index, never by a scan.
//!
//! | question | index | calls |
//! | --- | --- | --- |
//! | a key | `by_id`; its history from the table | 2 |
//! | a user, in any account | `by_user` | 1, and `BatchGetItem` for each 50 keys whose user had that name before |
//! | an actor by ARN | `by_actor`, and `by_role` for a role's | 1, and 2 |
//! | an actor by session, user or service name, e-mail address, role or permission set | `by_actor` and `by_role` | 2 |
//! | what is pending | `by_open` | 4 |
//! | an account | `by_account` | 4 |
//! | anything else | `by_month` | 4 for each month, [`LONGEST_DAYS`] at most |
//!
//! A question takes one index, the most selective that it names; what else it says is a filter. A call returns 1 MB, so
//! there is another one for each further megabyte of the index that is in the range of time. An eventually consistent
//! read costs half a unit for each 4 KB that it passes, filtered out or not, and half a unit where nothing is: a month
//! without keys costs 2 units, a page of 100 keys about 20. None of this depends on the size of the table.

mod filter;
mod position;

use std::collections::{HashMap, VecDeque};

use futures_util::future::try_join_all;

pub use filter::{Actor, Filter, LONGEST_DAYS, Path, TooManyDays};
pub(super) use filter::{default_since, months};
pub use position::Position;

use super::codec::{self, kind};
use super::cost::Cost;
use super::error::LedgerError;
use super::item;
use super::port::{self, Item, Query};
use super::store::Ledger;
use super::view::KeyView;
use filter::Partition;
use key_guard_core::Time;
use key_guard_core::key::KeyRef;

const LARGEST_PAGE: usize = 1_000;

/// Keys whose items are read with one call: `BatchGetItem` takes 100 items (DynamoDB API reference), and each key has a
/// state and a dry run.
const MAX_KEYS: usize = 50;

/// A key that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundKey {
    /// Which key.
    pub key: KeyRef,
    /// Its state, its latest dry run, or both: the state first. Neither, if the ledger knows events of the key only.
    pub views: Vec<KeyView>,
}

/// A partition of an index, as far as it was read.
#[derive(Debug)]
struct Stream {
    partition: Partition,
    /// With their places, newest first.
    read: VecDeque<(String, Item)>,
    start: Option<port::Position>,
    has_more: bool,
    page_size: usize,
}

impl Stream {
    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.has_more
    }
}

/// What an item of an index says.
enum Indexed {
    View(Box<KeyView>),
    /// The key's user had the name before that is asked for.
    FormerName,
    /// An event that changed nothing.
    Event(Time),
}

/// The items of one key that are at one place.
#[derive(Debug)]
struct Group {
    at: String,
    key: KeyRef,
    views: Vec<KeyView>,
    is_former_name: bool,
    /// True if an event is among them that is asked for.
    has_event: bool,
}

impl Group {
    fn add(&mut self, indexed: Indexed, filter: &Filter) {
        match indexed {
            // By name and by role, an item may be found twice.
            Indexed::View(view) if self.views.iter().any(|known| known.is_dry_run == view.is_dry_run) => {}
            Indexed::View(view) => self.views.push(*view),
            Indexed::FormerName => self.is_former_name = true,
            Indexed::Event(at) => self.has_event |= filter.matches_event(&self.key, at),
        }
    }

    /// What is asked for of it, if anything is.
    fn found(mut self, filter: &Filter) -> Option<(String, FoundKey)> {
        let is_known = !self.views.is_empty();
        self.views.retain(|view| filter.matches(view));
        self.views.sort_by_key(|view| view.is_dry_run);
        let is_wanted = !self.views.is_empty() || (!is_known && self.has_event);
        is_wanted.then_some((self.at, FoundKey { key: self.key, views: self.views }))
    }
}

/// A question on its way through the ledger: keys, newest first.
///
/// A key whose state and dry run have different times, such as one whose creation event only the dry run knows, is found
/// at both.
#[derive(Debug)]
pub struct Search<'a> {
    store: &'a Ledger,
    filter: Filter,
    groups: VecDeque<Vec<Partition>>,
    streams: Vec<Stream>,
    before: Option<Position>,
    /// The last group that was read. It may go on.
    open: Option<Group>,
    /// With the places at which they were found.
    ready: VecDeque<(String, FoundKey)>,
    batch: usize,
    page_size: usize,
    unreadable: Vec<LedgerError>,
    cost: Cost,
    last: Option<Position>,
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
        let groups = filter.partitions(before.as_ref(), now)?;
        let width = groups.front().map_or(1, Vec::len).max(1);
        // One more tells whether there are more.
        let wanted = wanted.saturating_add(1);
        let page_size = wanted.saturating_mul(2).div_ceil(width).clamp(8, LARGEST_PAGE);
        Ok(Self {
            store,
            filter,
            groups,
            streams: Vec::new(),
            before,
            open: None,
            ready: VecDeque::new(),
            batch: wanted.clamp(1, MAX_KEYS),
            page_size,
            unreadable: Vec::new(),
            cost: Cost::default(),
            last: None,
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
                return Ok(Some(found));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
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

    /// Reads up to a batch of keys. `false`: there are no more.
    async fn fill(&mut self) -> Result<bool, LedgerError> {
        let mut groups = match self.filter.path() {
            Path::Id => self.read_id().await?,
            Path::User | Path::Actor | Path::Pending | Path::Account | Path::Month => {
                self.read_groups().await?
            }
        };
        if groups.is_empty() {
            return Ok(false);
        }
        self.load_former_names(&mut groups).await?;
        let filter = &self.filter;
        self.ready.extend(groups.into_iter().filter_map(|group| group.found(filter)));
        Ok(true)
    }

    /// The items of one place belong together. Which of them comes first is not defined.
    async fn read_groups(&mut self) -> Result<Vec<Group>, LedgerError> {
        let mut groups = Vec::new();
        while groups.len() < self.batch {
            let Some((at, key, indexed)) = self.read_next().await? else {
                groups.extend(self.open.take());
                break;
            };
            let is_same = self.open.as_ref().is_some_and(|open| open.at == at && open.key == key);
            if !is_same {
                groups.extend(self.open.take());
            }
            self.open.get_or_insert_with(|| Group::new(at, key)).add(indexed, &self.filter);
        }
        Ok(groups)
    }

    /// All items with one credential id. Events of the key lie between its state and its dry run.
    async fn read_id(&mut self) -> Result<Vec<Group>, LedgerError> {
        let mut groups: Vec<Group> = Vec::new();
        while let Some((at, key, indexed)) = self.read_next().await? {
            if let Some(group) = groups.iter_mut().find(|group| group.key == key) {
                group.add(indexed, &self.filter);
            } else {
                let mut group = Group::new(at, key);
                group.add(indexed, &self.filter);
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// The newest item that is left and can be read.
    async fn read_next(&mut self) -> Result<Option<(String, KeyRef, Indexed)>, LedgerError> {
        while let Some((at, item)) = self.pop().await? {
            let key = item.key.clone();
            match read_indexed(item) {
                Ok((key, indexed)) => return Ok(Some((at, key, indexed))),
                Err(why) => self.unreadable.push(codec::unreadable(&key, &why)),
            }
        }
        Ok(None)
    }

    /// The newest item that is left.
    async fn pop(&mut self) -> Result<Option<(String, Item)>, LedgerError> {
        loop {
            while self.streams.iter().any(Stream::is_empty) {
                self.read_pages().await?;
            }
            self.streams.retain(|stream| !stream.read.is_empty());
            let newest = self.streams.iter_mut().max_by(|one, other| {
                let at = |stream: &Stream| stream.read.front().map(|(at, _)| at.clone());
                at(one).cmp(&at(other))
            });
            if let Some(stream) = newest {
                return Ok(stream.read.pop_front());
            }
            let Some(group) = self.groups.pop_front() else { return Ok(None) };
            let page_size = self.page_size;
            let stream = |partition| Stream {
                partition,
                read: VecDeque::new(),
                start: None,
                has_more: true,
                page_size,
            };
            self.streams = group.into_iter().map(stream).collect();
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

    /// Reads the keys whose users had the name before that is asked for. A key that has it today is found by that.
    async fn load_former_names(&mut self, groups: &mut [Group]) -> Result<(), LedgerError> {
        let keys: Vec<_> =
            groups.iter().filter(|group| group.is_former_name).map(|group| group.key.clone()).collect();
        let mut views: HashMap<KeyRef, Vec<KeyView>> = HashMap::new();
        for keys in keys.chunks(MAX_KEYS) {
            for item in self.store.read_keys(keys, &mut self.cost).await? {
                let place = item.key.clone();
                match read_indexed(item) {
                    Ok((key, Indexed::View(view))) => views.entry(key).or_default().push(*view),
                    Ok((_, Indexed::FormerName | Indexed::Event(_))) => {}
                    Err(why) => self.unreadable.push(codec::unreadable(&place, &why)),
                }
            }
        }
        let wanted = self.filter.user.clone();
        let has_name = |view: &KeyView| {
            view.report
                .user
                .iter()
                .any(|user| wanted.as_ref().is_some_and(|wanted| user.is_same_user(wanted)))
        };
        for group in groups.iter_mut().filter(|group| group.is_former_name) {
            for view in views.remove(&group.key).unwrap_or_default() {
                if !has_name(&view) {
                    group.add(Indexed::View(Box::new(view)), &self.filter);
                }
            }
        }
        Ok(())
    }
}

impl Group {
    const fn new(at: String, key: KeyRef) -> Self {
        Self { at, key, views: Vec::new(), is_former_name: false, has_event: false }
    }
}

/// Reads an item of an index.
///
/// # Errors
/// What is wrong with it, in words.
fn read_indexed(item: Item) -> Result<(KeyRef, Indexed), String> {
    let kind = codec::read_kind(&item)?.to_owned();
    let is_state = item.key.sk == codec::STATE;
    let key = codec::key_of(&item)?;
    let indexed = match kind.as_str() {
        kind::FORMER_NAME => Indexed::FormerName,
        kind::LOG => Indexed::Event(codec::decode_log(item)?.at),
        kind::DRY_RUN => Indexed::View(Box::new(KeyView::of_dry_run(&codec::decode_dry_run(item)?))),
        _ if is_state => {
            let stored = codec::decode_state(item)?;
            let view = KeyView::of_state(&key, &stored.state).ok_or("it is the state of nothing")?;
            Indexed::View(Box::new(view))
        }
        other => return Err(codec::unexpected_kind(other)),
    };
    Ok((key, indexed))
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
        let query = Query {
            index: Some(index),
            partition: value,
            range: Some((from, to)),
            newest_first: true,
            limit: stream.page_size,
        };
        let page = self.table.query(&query, stream.start.take().as_ref()).await?;
        stream.read.extend(page.items.into_iter().filter_map(|item| {
            let at = item.at_key().to_owned();
            before.is_none_or(|Position(before)| at < *before).then_some((at, item))
        }));
        stream.has_more = page.next.is_some();
        stream.start = page.next;
        stream.page_size = stream.page_size.saturating_mul(4).min(LARGEST_PAGE);
        Ok(page.cost)
    }

    /// The states and dry runs of these keys.
    async fn read_keys(&self, keys: &[KeyRef], cost: &mut Cost) -> Result<Vec<Item>, LedgerError> {
        let places =
            keys.iter().flat_map(|key| [codec::STATE, codec::DRY_RUN].map(|sk| codec::place(key, sk)));
        let found = self.table.get(&places.collect::<Vec<_>>(), cost).await;
        found
            .into_iter()
            .filter_map(Result::transpose)
            .map(|found| found.map_err(LedgerError::from))
            .collect()
    }
}

/// The sort keys that are read. The items of one id are few, and are read as a whole: whether the key has a state must not
/// depend on the time that is asked for.
fn range(filter: &Filter, before: Option<&Position>) -> (String, String) {
    const LAST: &str = "~";
    let (since, until) = match filter.path() {
        Path::Id => (None, None),
        Path::User | Path::Actor | Path::Pending | Path::Account | Path::Month => {
            (filter.since, filter.until)
        }
    };
    let from = since.map_or_else(|| "0".to_owned(), item::to_second);
    let to = until.map_or_else(|| LAST.to_owned(), |until| item::to_second(until) + LAST);
    let to = match before {
        Some(Position(before)) => to.min(before.clone()),
        None => to,
    };
    (from, to)
}
