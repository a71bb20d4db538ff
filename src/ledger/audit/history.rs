//! The history of a key.

use std::collections::BTreeMap;

use crate::ledger::audit::UnjudgedKey;
use crate::ledger::codec::{self, kind};
use crate::ledger::cost::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::port::{Item, Query};
use crate::ledger::store::Ledger;
use key_guard_core::Time;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::{CredentialId, EventId, KeyRef};
use key_guard_core::lifecycle::dry_run::DryRunState;
use key_guard_core::lifecycle::effect::{Cause, Change, HeardEvent, LogEntry};
use key_guard_core::lifecycle::state::StoredState;

/// About the megabyte at which DynamoDB ends a page.
const PAGE_SIZE: usize = 1_000;

/// Everything that the ledger has of one key.
#[derive(Debug, Default)]
pub struct History {
    /// The key as it stands. `None`: nothing is stored, or it cannot be read.
    pub state: Option<StoredState>,
    /// The latest dry run.
    pub dry_run: Option<DryRunState>,
    /// Its creation, if the policy of that time did not judge it.
    pub unjudged: Option<UnjudgedKey>,
    /// What happened, in order.
    pub lines: Vec<LogLine>,
    /// What this build cannot read.
    pub unreadable: Vec<LedgerError>,
    /// What it has cost to read this.
    pub cost: Cost,
}

/// A line of a key's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLine {
    /// An event. It has one line, however often it was delivered and whatever it caused.
    Event {
        /// What happened to the key.
        heard: HeardEvent,
        /// Who, when, from where.
        provenance: Box<Provenance>,
    },
    /// A step of the guard.
    Step {
        /// When.
        at: Time,
        /// What caused it.
        cause: StepCause,
        /// What changed.
        change: Change,
    },
}

/// What caused a step of the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepCause {
    /// The event with this id. It has a line of its own.
    Event(EventId),
    /// A sweep.
    Sweep,
    /// A resume.
    Resume,
}

impl LogLine {
    /// When: the event's time, or that of the guard's step.
    #[must_use]
    pub fn at(&self) -> Time {
        match self {
            Self::Event { provenance, .. } => provenance.event_time,
            Self::Step { at, .. } => *at,
        }
    }

    /// What comes first of the same time: an event, then what followed from it.
    const fn rank(&self) -> u8 {
        match self {
            Self::Event { .. } => 0,
            Self::Step { change, .. } => match change {
                Change::Heard(_) | Change::Assessed | Change::Learned | Change::Observed(_) => 1,
                Change::Intended { .. } => 2,
                Change::Acted { .. } | Change::Gone | Change::Inactive => 3,
                Change::Reported => 4,
            },
        }
    }
}

/// The lines of a history. An event comes with each line that it caused; it becomes one line.
fn lines(entries: Vec<LogEntry>) -> Vec<LogLine> {
    let mut events: BTreeMap<EventId, (HeardEvent, Box<Provenance>)> = BTreeMap::new();
    let mut lines = Vec::new();
    for LogEntry { at, cause, change, .. } in entries {
        let cause = match cause {
            Cause::Event { heard, provenance } => {
                let id = provenance.event_id.clone();
                events.entry(id.clone()).or_insert((heard, provenance));
                if matches!(change, Change::Heard(_)) {
                    continue;
                }
                StepCause::Event(id)
            }
            Cause::Sweep => StepCause::Sweep,
            Cause::Resume => StepCause::Resume,
        };
        lines.push(LogLine::Step { at, cause, change });
    }
    let events = events.into_values().map(|(heard, provenance)| LogLine::Event { heard, provenance });
    lines.extend(events);
    lines.sort_by_key(|line| (line.at(), line.rank()));
    lines
}

impl Ledger {
    /// Everything that the ledger has of one key: one call for each megabyte, strongly consistent.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in [`History::unreadable`].
    pub async fn history(&self, key: &KeyRef) -> Result<History, LedgerError> {
        let (mut history, mut log) = (History::default(), Vec::new());
        for item in self.read_items(&key.id, Some(codec::prefix(key)), &mut history.cost).await? {
            let key = item.key.clone();
            if let Err(why) = history.add(item, &mut log) {
                history.unreadable.push(codec::unreadable(&key, &why));
            }
        }
        history.lines = lines(log);
        Ok(history)
    }

    /// The items of a credential id whose sort keys begin with `prefix`, or all of them, strongly consistent.
    pub(in crate::ledger) async fn read_items(
        &self,
        id: &CredentialId,
        prefix: Option<String>,
        cost: &mut Cost,
    ) -> Result<Vec<Item>, LedgerError> {
        self.read_partition(codec::partition(id), prefix, cost).await
    }

    /// The items of a partition whose sort keys begin with `prefix`, or all of them, strongly consistent.
    pub(in crate::ledger) async fn read_partition(
        &self,
        pk: String,
        prefix: Option<String>,
        cost: &mut Cost,
    ) -> Result<Vec<Item>, LedgerError> {
        let query = Query { pk, prefix, limit: PAGE_SIZE };
        let (mut items, mut start) = (Vec::new(), None);
        loop {
            let page = self.table.query(&query, start.as_ref()).await?;
            *cost += page.cost;
            items.extend(page.items);
            start = page.next;
            if start.is_none() {
                return Ok(items);
            }
        }
    }
}

impl History {
    fn add(&mut self, item: Item, log: &mut Vec<LogEntry>) -> Result<(), String> {
        let what = codec::key_of(&item.key)?.1.to_owned();
        match (what.as_str(), codec::read_kind(&item)?) {
            (codec::STATE, _) => self.state = Some(codec::decode_state(item)?),
            (codec::DRY_RUN, _) => self.dry_run = Some(codec::decode_dry_run(item)?),
            (codec::UNJUDGED, _) => self.unjudged = Some(codec::decode_unjudged_key(item)?),
            (_, kind::LOG) => log.push(codec::decode_log(item)?),
            (_, kind::FORMER_NAME) => {}
            (_, other) => return Err(codec::unexpected_kind(other)),
        }
        Ok(())
    }
}
