//! Events whose key IAM contradicts: they wait for its second answer, as they do for the function's retry (R3).

use key_guard_core::Time;
use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::lifecycle::CONSISTENCY_WINDOW;
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::report::Report;

use crate::cli::messages::{counted, say};
use crate::clock::{Clock as _, SystemClock};
use crate::runtime::event::EventError;

/// Such events, in their order.
#[derive(Default)]
pub struct Unconfirmed {
    events: Vec<CredentialEvent>,
    /// When IAM was asked for the last of their keys, at the latest.
    asked_by: Option<Time>,
}

impl Unconfirmed {
    /// Keeps an event that has to be dealt with once more. False for any other.
    pub fn keeps(&mut self, event: &CredentialEvent, result: &Result<Report, EventError>) -> bool {
        let is_unconfirmed = matches!(
            result,
            Err(EventError::Session(
                SessionError::KeyNotListedYet { .. } | SessionError::KeyStillListed { .. }
            ))
        );
        if is_unconfirmed {
            self.events.push(event.clone());
            self.asked_by = Some(SystemClock.now());
        }
        is_unconfirmed
    }

    /// The events, once another answer of IAM is a confirmation.
    pub async fn wait(self) -> Vec<CredentialEvent> {
        let until = self.asked_by.map(|asked_by| asked_by + CONSISTENCY_WINDOW);
        let left = until.and_then(|until| (until - SystemClock.now()).to_std().ok()).unwrap_or_default();
        if !left.is_zero() {
            say(&format!(
                "note: IAM contradicts {}: it does not list a key, or lists one that was deleted. It is asked again in {} \
                 seconds, when its answer counts",
                counted(self.events.len() as u64, "event", "events"),
                left.as_secs() + 1
            ));
            SystemClock.sleep(left).await;
        }
        self.events
    }
}
