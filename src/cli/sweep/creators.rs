//! `sweep --who`: who created the keys of an account, from CloudTrail's event history.

use std::collections::HashMap;

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{CredentialCall, CredentialEvent, EventKind, ParsedEvent, from_json};
use key_guard_core::key::{AccountId, KeyRef};
use key_guard_core::report::Report;

use crate::aws::credentials::IamCredentials;
use crate::cli::event_history::{EventHistory, HISTORY_DAYS};
use crate::clock::SystemClock;
use crate::config::Home;

/// The creation events of an account's keys.
#[derive(Debug, Default)]
pub struct Creators {
    by_key: HashMap<KeyRef, CredentialEvent>,
    /// Creation events that could not be read: which, and why.
    pub unreadable: Vec<String>,
}

impl Creators {
    /// Asks the event history of an account, with the caller's credentials or the responder role's.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn read(api: &IamCredentials, account: &AccountId) -> anyhow::Result<Self> {
        let sdk = api.sdk_config(account).await?;
        let home = Home { account: account.clone(), ..api.home().clone() };
        let mut history = EventHistory::new(&sdk, &home, &SystemClock)?;
        let mut creators = Self::default();
        for event in history.read(CredentialCall::Create.as_str(), None, |_| ()).await? {
            let id = event.id.as_deref().unwrap_or("without an EventId");
            let record = event.record.as_deref().unwrap_or_default();
            match from_json(record.as_bytes()).map(|record| crate::event::parse(&record)) {
                Ok(Ok(ParsedEvent::Relevant(event))) => creators.note(*event),
                Ok(Ok(ParsedEvent::Irrelevant(_))) => {}
                Ok(Err(why)) => creators.unreadable.push(format!("event {id}: {why}")),
                // Without what is there: that could be a secret.
                Err(_) => creators.unreadable.push(format!("event {id}: it has no CloudTrailEvent in JSON")),
            }
        }
        Ok(creators)
    }

    fn note(&mut self, event: CredentialEvent) {
        if let (EventKind::Created(_), Some(key)) = (&event.kind, event.key()) {
            self.by_key.entry(key).or_insert(event);
        }
    }

    /// The creation event of a key.
    #[must_use]
    pub fn creation_of(&self, key: &KeyRef) -> Option<&CredentialEvent> {
        self.by_key.get(key)
    }

    /// A report of a key with who created it, if it does not say so already.
    #[must_use]
    pub fn name_creator(&self, key: &KeyRef, report: Report) -> Report {
        match self.creation_of(key) {
            Some(event) if report.event_id.is_none() => {
                let creation = Some(&event.provenance);
                report.with_creator(creation).with_provenance(creation)
            }
            Some(_) | None => report,
        }
    }
}

/// True for a key that is older than the event history.
#[must_use]
pub fn is_before_history(created_at: Time, now: Time) -> bool {
    now - created_at > TimeDelta::days(i64::from(HISTORY_DAYS))
}
