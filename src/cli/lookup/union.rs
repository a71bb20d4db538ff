//! Several questions that one text may mean, as one: each key once, newest first.

use std::collections::HashSet;

use crate::ledger::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::query::{FoundKey, Position, Search};
use key_guard_core::key::KeyRef;

/// One or more searches, as one.
pub struct SearchUnion<'a> {
    branches: Vec<Branch<'a>>,
    /// The keys that were found. Of one search alone, no key comes twice.
    seen: HashSet<KeyRef>,
    last: Option<Position>,
    /// How many keys of callers were found whose name only has in it what was asked for.
    widened: usize,
}

struct Branch<'a> {
    search: Search<'a>,
    /// Its next key, and where that is.
    head: Option<(Position, FoundKey)>,
    has_ended: bool,
}

impl<'a> SearchUnion<'a> {
    /// Begins where the searches begin.
    pub fn new(searches: Vec<Search<'a>>) -> Self {
        let branch = |search| Branch { search, head: None, has_ended: false };
        Self {
            branches: searches.into_iter().map(branch).collect(),
            seen: HashSet::new(),
            last: None,
            widened: 0,
        }
    }

    /// The next key.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn next(&mut self) -> Result<Option<FoundKey>, LedgerError> {
        let is_alone = self.branches.len() == 1;
        loop {
            for branch in &mut self.branches {
                branch.fill().await?;
            }
            let place = |branch: &&mut Branch<'_>| branch.head.as_ref().map(|(place, _)| place.clone());
            let newest = self.branches.iter_mut().max_by_key(place);
            let Some(branch) = newest else { return Ok(None) };
            let Some((place, found)) = branch.head.take() else { return Ok(None) };
            if is_alone || self.seen.insert(found.key.clone()) {
                self.widened += usize::from(branch.search.is_widened());
                self.last = Some(place);
                return Ok(Some(found));
            }
        }
    }

    /// Where the keys that were taken end.
    pub const fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Items that this build cannot read, and that were passed since this was last called.
    pub fn unreadable(&mut self) -> Vec<LedgerError> {
        self.branches.iter_mut().flat_map(|branch| branch.search.unreadable()).collect()
    }

    /// What it has cost so far.
    pub fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        self.branches.iter().for_each(|branch| cost += branch.search.cost());
        cost
    }

    /// How many keys of callers were taken whose name only has in it what was asked for.
    pub const fn widened(&self) -> usize {
        self.widened
    }

    /// True if such callers were looked for in the last 90 days only.
    pub fn is_widened_within_days(&self) -> bool {
        self.branches.iter().any(|branch| branch.search.is_widened_within_days())
    }
}

impl Branch<'_> {
    async fn fill(&mut self) -> Result<(), LedgerError> {
        if self.head.is_none() && !self.has_ended {
            let found = self.search.next().await?;
            let place = self.search.position().cloned();
            self.head = place.zip(found);
            self.has_ended = self.head.is_none();
        }
        Ok(())
    }
}
