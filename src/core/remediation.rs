//! What the owner of a key is told, as data. [`words::remediation`](crate::words::remediation) has the sentences.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::Time;
use crate::cloudtrail::{Actor, CreatedKey, CredentialEvent, EventKind, UserChange};
use crate::key::{AccountId, KeyFacts, Status};
use crate::policy::{Assessment, Verdict, Violation, violation_of};
use crate::report::{KeyResult, Outcome};
use crate::text::{is_unprintable, redact};

/// Whom an owner asks: an e-mail address, a URL, the name of a team. 1 to 200 printable characters.
///
/// The text becomes part of messages that EventBridge puts into quotes, and stands beside commands in backticks. So it has
/// no `"`, no backtick and no `\`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Contact(String);

impl Contact {
    /// The longest contact, in characters.
    pub const MAX_CHARACTERS: usize = 200;

    /// What a contact has to be.
    pub const EXPECTED: &'static str = "expected whom owners of keys ask, such as an e-mail address or a URL: 1 to 200 \
                                        printable characters, without \" ` \\ and without spaces around them";
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Contact {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let is_refused = |c: char| is_unprintable(c) || matches!(c, '"' | '`' | '\\');
        let is_short_enough = (1..=Self::MAX_CHARACTERS).contains(&text.chars().count());
        if is_short_enough && text.trim() == text && !text.contains(is_refused) && redact(text) == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(Self::EXPECTED)
        }
    }
}

/// What happens to a key next, if nobody does anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextStep {
    /// The key has ended: nothing more can happen to it.
    #[default]
    None,
    /// This was a dry run.
    DryRun,
    /// The response or the ceiling is `monitor`.
    Monitored,
    /// The key is inactive, and no date is set. Its activation would be a trigger.
    StaysInactive,
    /// The guard deactivates it, and deletes it after so many days if there is a grace period.
    Deactivation {
        /// Days from the deactivation to the deletion.
        grace_days: Option<u32>,
    },
    /// The guard deletes it.
    Deletion,
    /// The guard deletes it after this time (R12).
    DeletionAfter(Time),
    /// This time is over. The guard deletes it once the deletions of an hour and the ceiling allow that (R11).
    DeletionHeldBack,
}

/// A key, and what its owner has to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyAdvice {
    /// Which key, whose, for which service.
    pub key: KeyFacts,
    /// How it stands against the policy.
    pub verdict: Verdict,
    /// What is wrong with it.
    pub violation: Option<Violation>,
    /// What is wrong with its lifetime, also of a key that somebody activated again.
    pub lifetime_violation: Option<Violation>,
    /// The limit that applied, in days. 0: no long-term key is allowed.
    pub limit_days: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// How it stands.
    pub status: Status,
    /// What happens to it next.
    pub next: NextStep,
}

/// What a remediation is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Advice {
    /// A key that was assessed.
    Key(KeyAdvice),
    /// A key of a service that the policy does not judge.
    NotJudged(CreatedKey),
    /// A user with an API key that a console created got another way in, or more permissions.
    UserChanged {
        /// The account of the user.
        account: AccountId,
        /// What was done, and to whom.
        change: UserChange,
    },
    /// An account that has fallen silent.
    SilentAccount(AccountId),
}

/// What an owner has to know, and should do. Written and serialized as sentences.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remediation {
    /// About what.
    pub advice: Advice,
    /// Who created the key, where that is known.
    pub creator: Option<Actor>,
    /// Whom to ask.
    pub contact: Option<Contact>,
}

impl Remediation {
    /// Of a key that was assessed. `None`: there is nothing to do.
    #[must_use]
    pub fn of_key(key: &KeyFacts, assessment: &Assessment, result: &KeyResult) -> Option<Box<Self>> {
        let KeyResult { outcome, status, next, .. } = *result;
        let verdict = assessment.verdict();
        let is_needed = match verdict {
            // The guard deactivated it under another policy, and nobody else is going to activate it.
            Verdict::Compliant | Verdict::Exempt => outcome == Outcome::Deactivated,
            Verdict::Undetermined => status != Status::Gone,
            Verdict::Noncompliant => true,
        };
        let advice = Advice::Key(KeyAdvice {
            key: key.clone(),
            verdict,
            violation: assessment.verdict.violation(),
            lifetime_violation: assessment
                .lifetime()
                .and_then(|lifetime| violation_of(lifetime, assessment.limit_days)),
            limit_days: assessment.limit_days,
            outcome,
            status,
            next,
        });
        is_needed.then(|| Box::new(Self { advice, creator: None, contact: None }))
    }

    /// Of an account that has fallen silent.
    #[must_use]
    pub fn of_silent_account(account: &AccountId) -> Box<Self> {
        Box::new(Self { advice: Advice::SilentAccount(account.clone()), creator: None, contact: None })
    }

    /// Of a new key of a service that the policy does not judge.
    #[must_use]
    pub fn of_unjudged_key(created: &CreatedKey, creator: &Actor) -> Box<Self> {
        let advice = Advice::NotJudged(created.clone());
        Box::new(Self { advice, creator: Some(creator.clone()), contact: None })
    }

    /// Of an event that no key is assessed for. `None`: there is nothing to do.
    #[must_use]
    pub fn of_event(event: &CredentialEvent) -> Option<Box<Self>> {
        let (account, actor) = (&event.provenance.account, &event.provenance.actor);
        match &event.kind {
            EventKind::UserChanged(change) => Some(Box::new(Self {
                advice: Advice::UserChanged { account: account.clone(), change: change.clone() },
                creator: Some(actor.clone()),
                contact: None,
            })),
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_)
            | EventKind::Failed(_) => None,
        }
    }
}

impl Serialize for Remediation {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
