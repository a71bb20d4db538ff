//! The form of a line of history.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::LOG;
use super::fields::{EncodeError, IndexKeys, assemble, fields, kind, place, to_millisecond};
#[cfg(feature = "cli")]
use super::fields::{key_of, read, read_kind, unexpected_kind};
use super::provenance::ProvenanceWire;
use super::state::{ActionWire, ContradictionWire, IntentIdWire, TriggerKindWire, word};
use crate::ledger::port::Item;
use key_guard_core::Time;
use key_guard_core::lifecycle::effect::{Cause, Change, HeardEvent, LogEntry};
use key_guard_core::lifecycle::input::Action;
use key_guard_core::lifecycle::state::{Contradiction, IntentId};

word!(HeardEventWire: HeardEvent { Created, Activated, Reset, Deactivated, Deleted });

#[derive(Serialize, Deserialize)]
struct LogWire {
    at: Time,
    #[serde(flatten)]
    cause: CauseWire,
    #[serde(flatten)]
    change: ChangeWire,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
enum CauseWire {
    Event { event_kind: HeardEventWire, event: Box<ProvenanceWire> },
    Sweep,
    Resume,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
enum ChangeWire {
    /// The cause says what.
    Heard,
    Assessed,
    Intended {
        intent: IntentIdWire,
        action: ActionWire,
        trigger: TriggerKindWire,
    },
    Acted {
        intent: IntentIdWire,
        action: ActionWire,
    },
    Observed {
        seen: ContradictionWire,
    },
    Gone,
    Inactive,
    Learned,
    Reported,
}

/// A line of history. The same line gives the same item.
pub(in crate::ledger) fn encode_log(entry: &LogEntry) -> Result<Item, EncodeError> {
    let LogEntry { key, at, cause, change } = entry;
    let wire = LogWire {
        at: *at,
        cause: match cause {
            Cause::Event { heard, provenance } => {
                let event = ProvenanceWire::new(provenance.as_ref().clone(), &key.account);
                CauseWire::Event { event_kind: (*heard).into(), event: Box::new(event) }
            }
            Cause::Sweep => CauseWire::Sweep,
            Cause::Resume => CauseWire::Resume,
        },
        change: change.clone().into(),
    };
    Ok(assemble(place(key, &sort_key(entry)), kind::LOG, fields(wire)?, IndexKeys::new()))
}

/// A line of history.
///
/// # Errors
/// What is wrong with the item, in words.
#[cfg(feature = "cli")]
pub(in crate::ledger) fn decode_log(item: Item) -> Result<LogEntry, String> {
    match read_kind(&item)? {
        kind::LOG => {}
        other => return Err(unexpected_kind(other)),
    }
    let (key, _) = key_of(&item.key)?;
    let LogWire { at, cause, change } = read(item)?;
    let cause = match cause {
        CauseWire::Event { event_kind, event } => {
            let provenance = Box::new(event.read(&key.account)?);
            Cause::Event { heard: event_kind.into(), provenance }
        }
        CauseWire::Sweep => Cause::Sweep,
        CauseWire::Resume => Cause::Resume,
    };
    let change = match change {
        ChangeWire::Heard => match &cause {
            Cause::Event { heard, .. } => Change::Heard(*heard),
            Cause::Sweep | Cause::Resume => return Err("its event is missing".to_owned()),
        },
        ChangeWire::Assessed => Change::Assessed,
        ChangeWire::Intended { intent, action, trigger } => {
            Change::Intended { intent: intent.into(), action: action.into(), trigger: trigger.into() }
        }
        ChangeWire::Acted { intent, action } => {
            Change::Acted { intent: intent.into(), action: action.into() }
        }
        ChangeWire::Observed { seen } => Change::Observed(seen.into()),
        ChangeWire::Gone => Change::Gone,
        ChangeWire::Inactive => Change::Inactive,
        ChangeWire::Learned => Change::Learned,
        ChangeWire::Reported => Change::Reported,
    };
    Ok(LogEntry { key, at, cause, change })
}

impl From<Change> for ChangeWire {
    fn from(change: Change) -> Self {
        match change {
            Change::Heard(_) => Self::Heard,
            Change::Assessed => Self::Assessed,
            Change::Intended { intent, action, trigger } => {
                Self::Intended { intent: intent.into(), action: action.into(), trigger: trigger.into() }
            }
            Change::Acted { intent, action } => Self::Acted { intent: intent.into(), action: action.into() },
            Change::Observed(seen) => Self::Observed { seen: seen.into() },
            Change::Gone => Self::Gone,
            Change::Inactive => Self::Inactive,
            Change::Learned => Self::Learned,
            Change::Reported => Self::Reported,
        }
    }
}

/// `LOG#<time>#<id>`. The id is a digest of everything in which two lines can differ, so that lines need no condition: a
/// redelivered event, or a repeated write, puts the same item in the same place.
fn sort_key(entry: &LogEntry) -> String {
    let cause = match &entry.cause {
        Cause::Event { provenance, .. } => provenance.event_id.as_str(),
        Cause::Sweep => "sweep",
        Cause::Resume => "resume",
    };
    let id = match &entry.change {
        Change::Heard(_) => cause.to_owned(),
        Change::Intended { intent, action, .. } => {
            format!("{}.{cause}.intended_{}", intent_name(intent), action_name(*action))
        }
        Change::Acted { intent, action } => {
            format!("{}.{cause}.acted_{}", intent_name(intent), action_name(*action))
        }
        Change::Assessed => format!("{cause}.assessed"),
        Change::Observed(Contradiction::Absent) => format!("{cause}.observed_absent"),
        Change::Observed(Contradiction::StillListed) => format!("{cause}.observed_still_listed"),
        Change::Gone => format!("{cause}.gone"),
        Change::Inactive => format!("{cause}.inactive"),
        Change::Learned => format!("{cause}.learned"),
        Change::Reported => format!("{cause}.reported"),
    };
    let digest = Sha256::digest(id);
    // Its first 64 bits.
    format!("{LOG}{}#{digest:.16x}", to_millisecond(entry.at))
}

fn intent_name(intent: &IntentId) -> String {
    format!("{}@{}", intent.opened_by.0, to_millisecond(intent.authorised_at))
}

const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Deactivate => "deactivate",
        Action::Delete => "delete",
    }
}
