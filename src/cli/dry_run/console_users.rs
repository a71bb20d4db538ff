//! The users of a run whose keys were created in a console session, and changes of users that are not known to be such ones.
//!
//! Inputs are in any order: the creation of a user's key may be in a later file than what was done with the user.

use std::collections::{HashMap, HashSet};

use key_guard_core::cloudtrail::{CredentialEvent, EventKind};
use key_guard_core::key::{AccountId, UserName};

/// How many changes of users wait for the creation of a key at most. Each takes about 1 KB of memory.
const MAX_WAITING: usize = 50_000;

/// A user of an account. IAM never lets two users of an account differ in case only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AccountUser {
    pub(super) account: AccountId,
    /// In lowercase.
    pub(super) user: UserName,
}

impl AccountUser {
    pub(super) fn new(event: &CredentialEvent, user: &UserName) -> Self {
        let lowercase = user.as_str().to_ascii_lowercase().parse();
        Self { account: event.provenance.account.clone(), user: lowercase.unwrap_or_else(|_| user.clone()) }
    }
}

/// What the events of a run say of users.
#[derive(Default)]
pub(super) struct ConsoleUsers {
    known: HashSet<AccountUser>,
    waiting: HashMap<AccountUser, Vec<CredentialEvent>>,
    waiting_in_all: usize,
}

impl ConsoleUsers {
    /// Notes the users whose keys these events create in a console session. Returns what has waited for that.
    pub(super) fn note(&mut self, events: &[CredentialEvent]) -> Vec<CredentialEvent> {
        let mut late = Vec::new();
        for event in events.iter().filter(|event| event.provenance.actor.console) {
            let EventKind::Created(created) = &event.kind else { continue };
            if !created.service.has_api_keys() {
                continue;
            }
            let user = AccountUser::new(event, &created.user);
            late.extend(self.waiting.remove(&user).into_iter().flatten());
            self.known.insert(user);
        }
        self.waiting_in_all = self.waiting_in_all.saturating_sub(late.len());
        late
    }

    pub(super) fn knows(&self, user: &AccountUser) -> bool {
        self.known.contains(user)
    }

    /// Keeps an event about a user until a console session creates a key of this user. False for the first one for which there
    /// is no room any more.
    pub(super) fn wait(&mut self, event: &CredentialEvent) -> bool {
        let Some(user) = event.user_to_look_up() else { return true };
        self.waiting_in_all = self.waiting_in_all.saturating_add(1);
        if self.waiting_in_all <= MAX_WAITING {
            self.waiting.entry(AccountUser::new(event, user)).or_default().push(event.clone());
        }
        self.waiting_in_all != MAX_WAITING + 1
    }
}

#[cfg(test)]
mod tests {
    use key_guard_core::cloudtrail::{ParsedEvent, parse_record};
    use serde_json::json;

    use super::*;

    fn access_key(user: &str) -> CredentialEvent {
        let record = json!({
            "eventSource": "iam.amazonaws.com", "eventName": "CreateAccessKey", "eventTime": "2026-11-20T09:00:00Z",
            "eventID": "5d1c0097-7b1e-4c3a-9f00-abc000000097", "recipientAccountId": "111122223333",
            "requestParameters": {"userName": user},
        });
        match parse_record(&record) {
            Ok(ParsedEvent::Relevant(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_so_many_events_wait_and_that_is_said_once() {
        let (mut users, event) = (ConsoleUsers::default(), access_key("ci-runner"));
        assert!((0..MAX_WAITING).all(|_| users.wait(&event)));
        assert_eq!([users.wait(&event), users.wait(&event)], [false, true]);
        let kept: usize = users.waiting.values().map(Vec::len).sum();
        assert_eq!(kept, MAX_WAITING);
    }
}
