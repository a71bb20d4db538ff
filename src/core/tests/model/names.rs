//! Effects, replies and states in a path, for people.

use key_guard_core::lifecycle::effect::{Effect, FindScope, Reply};
use key_guard_core::lifecycle::state::{KeyState, Phase};

pub fn name_effect(effect: &Effect) -> String {
    match effect {
        Effect::Load(_) => "load".to_owned(),
        Effect::Append(entry) => format!("append {:?}", entry.change),
        Effect::Commit(commit) => format!("commit {}", name_state(&commit.next)),
        Effect::Find { scope: FindScope::User(_), .. } => "find the user's".to_owned(),
        Effect::Find { scope: FindScope::Account, .. } => "find the account's".to_owned(),
        Effect::Act(action) => format!("{:?}", action.action()),
    }
}

pub fn name_reply(reply: &Reply) -> String {
    match reply {
        Reply::Conflict(stored) => format!("conflict with {}", name_state(&stored.state)),
        Reply::Found(None) => "absent".to_owned(),
        Reply::Found(Some(listed)) => format!("{:?}", listed.status),
        Reply::Committed(_) => "done".to_owned(),
        reply @ (Reply::Start
        | Reply::Waited
        | Reply::Loaded(_)
        | Reply::RateLimited
        | Reply::Appended
        | Reply::Acted(_)
        | Reply::Failed(_)) => format!("{reply:?}"),
    }
}

pub fn name_state(state: &KeyState) -> String {
    match state {
        KeyState::Unknown => "Unknown".to_owned(),
        KeyState::Unconfirmed(observation) => format!("Unconfirmed {:?}", observation.seen),
        KeyState::Tombstone(_) => "Tombstone".to_owned(),
        KeyState::Tracked(record) => {
            let phase = match &record.phase {
                Phase::Settled => "Settled".to_owned(),
                Phase::Pending(intent) => {
                    let holder = intent.lease.as_ref().map_or("nobody", |lease| &lease.holder.0);
                    format!("Pending {:?}, leased by {holder}", intent.action)
                }
                Phase::Deactivated(_) => "Deactivated".to_owned(),
                Phase::Inactive(cause) => format!("Inactive {cause:?}"),
                Phase::Gone(_) => "Gone".to_owned(),
            };
            match record.observation {
                Some(observation) => format!("{phase}, {:?} observed", observation.seen),
                None => phase,
            }
        }
    }
}
