//! What a row says of attempts that are counted together, of a change of a user, or of a key that nobody judged.

use std::collections::BTreeSet;

use super::{sanitize_provenance, sanitize_report, text};
use crate::ledger::audit::AuditRecord;
use crate::ledger::audit::count::CountedAttempts;
use key_guard_core::Time;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::report::{Outcome, Report};
use key_guard_core::text::sanitize_line;
use key_guard_core::words::describe_event;

/// Attempts that are counted together, a change of a user, or a key that nobody judged. The latter two count one.
#[derive(Debug, Clone)]
pub struct AuditContent {
    /// That of the latest event. Its actor is the one that is counted.
    pub report: Report,
    /// The latest event.
    pub provenance: Provenance,
    /// How many.
    pub count: u64,
    /// When the first was.
    pub first: Time,
    /// When the last was.
    pub last: Time,
    /// The users that they were about, with spaces between: no name has one.
    pub users: Option<String>,
    /// True if there were more users.
    pub has_more_users: bool,
    /// The services that they were about, with spaces between.
    pub services: Option<String>,
}

impl AuditContent {
    /// What the ledger has.
    pub fn new(record: &AuditRecord) -> Self {
        let event = record.to_event();
        // Only a key that nobody judged is more than an event about no key.
        let report = Report::service_not_judged(&event, describe_event(&event.kind));
        let mut content = Self {
            report: Report { outcome: Outcome::Recorded, ..report },
            count: 1,
            first: event.provenance.event_time,
            last: event.provenance.event_time,
            users: None,
            has_more_users: false,
            services: None,
            provenance: event.provenance,
        };
        match record {
            AuditRecord::Attempts(attempts) => content.set_counts(attempts),
            AuditRecord::UserChanged(changed) => content.users = text(Some(&changed.change.user)),
            AuditRecord::UnjudgedKey(unjudged) => {
                content.users = text(Some(&unjudged.user));
                content.services = text(Some(&unjudged.service));
            }
        }
        sanitize_report(&mut content.report);
        sanitize_provenance(&mut content.provenance);
        content
    }

    fn set_counts(&mut self, attempts: &CountedAttempts) {
        self.report.actor = Some(sanitize_line(&attempts.group.actor));
        self.count = attempts.count;
        (self.first, self.last) = (attempts.first, attempts.last);
        self.users = joined(&attempts.users);
        self.has_more_users = attempts.has_more_users;
        self.services = joined(&attempts.services);
    }

    /// The users, for people.
    pub fn describe_users(&self) -> String {
        let users = self.users.as_deref().unwrap_or("-");
        if self.has_more_users { format!("{users} and more") } else { users.to_owned() }
    }
}

/// None of them has a space.
pub(super) fn joined<T: ToString>(values: &BTreeSet<T>) -> Option<String> {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    (!values.is_empty()).then(|| values.join(" "))
}
