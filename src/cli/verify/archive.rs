//! What an archive of CloudTrail has of keys: of each key its successful events, and nothing of anything else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::cli::input::{Detail, Found, Inputs, PassedOver, read_all};
use crate::cli::progress::Progress;
use crate::cli::spans::Spans;
use key_guard_core::cloudtrail::{CreatedKey, Provenance};
use key_guard_core::key::{EventId, KeyRef, Service, UserName};
use key_guard_core::lifecycle::input::{KeyEvent, KeyEventKind};

/// The events of an archive that are about keys.
#[derive(Default)]
pub(super) struct Archive {
    /// By key.
    pub keys: BTreeMap<KeyRef, KeyEvents>,
    /// From when to when it has events.
    pub spans: Spans,
    /// How many events of any kind it has.
    pub events: u64,
    /// How many inputs, or parts of them, could not be read.
    pub unreadable: usize,
    /// What in it cannot hold an event.
    pub passed_over: PassedOver,
}

/// The events of a key.
#[derive(Default)]
pub(super) struct KeyEvents {
    /// The records of its creation that differ. One more than there should be is forged, or the other one is.
    pub created: Vec<(CreatedKey, Provenance)>,
    /// What happened to it later.
    pub later: BTreeMap<EventId, LaterEvent>,
}

/// Something that happened to a key later.
pub(super) struct LaterEvent {
    /// What, in IAM's words.
    pub what: &'static str,
    /// Who, when, from where.
    pub provenance: Provenance,
    user: Option<UserName>,
    service: Option<Service>,
}

impl Archive {
    /// Reads files and directories. What cannot be read is said and counted.
    ///
    /// # Errors
    /// When none of the paths exists.
    pub(super) fn read(paths: &[PathBuf], ledger_files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut inputs = Inputs::gather(paths)?;
        inputs.pass_over(ledger_files);
        let mut archive = Self { passed_over: inputs.passed_over.clone(), ..Self::default() };
        let progress = Progress::of_bytes(inputs.total_size());
        read_all(&inputs.inputs, Detail::EventsAndSpans, || {
            Ok(|batch: crate::cli::input::Batch<'_>| {
                for (input, found) in batch {
                    match found {
                        Found::Event(event) => archive.keys_add(KeyEvent::new(*event)),
                        Found::Unreadable { place, why } => {
                            archive.pass(&progress, &format!("{place}: {why}"));
                        }
                        Found::Problem(message) => archive.pass(&progress, &message),
                        Found::Use(_) => {}
                        Found::End { events, spans, passed_over } => {
                            archive.passed_over.extend(&passed_over);
                            archive.events += events;
                            archive.spans.extend(spans);
                            progress.advance(input.size());
                        }
                    }
                }
                Ok(())
            })
        })?;
        Ok(archive)
    }

    fn pass(&mut self, progress: &Progress, message: &str) {
        self.unreadable += 1;
        progress.warn(message);
    }

    /// Failed calls and changes of users are about no key.
    fn keys_add(&mut self, event: Option<KeyEvent>) {
        let Some(event) = event else { return };
        let events = self.keys.entry(event.key()).or_default();
        let KeyEvent { provenance, kind } = event;
        let (what, target) = match kind {
            KeyEventKind::Created(created) => {
                let record = (created, provenance);
                if !events.created.contains(&record) {
                    events.created.push(record);
                }
                return;
            }
            KeyEventKind::Activated(target) => ("activated", target),
            KeyEventKind::Reset(target) => ("reset", target),
            KeyEventKind::Deactivated(target) => ("deactivated", target),
            KeyEventKind::Deleted(target) => ("deleted", target),
        };
        let (user, service) = (target.user, target.service);
        let later = LaterEvent { what, provenance, user, service };
        events.later.entry(later.provenance.event_id.clone()).or_insert(later);
    }
}

impl KeyEvents {
    /// The records of its creation that say what happened: CloudTrail's corrections, where there are any.
    pub(super) fn creations(&self) -> impl Iterator<Item = &(CreatedKey, Provenance)> {
        let is_correction = |(_, event): &&(CreatedKey, Provenance)| event.corrects.is_some();
        let has_correction = self.created.iter().any(|record| is_correction(&record));
        self.created.iter().filter(move |record| is_correction(record) || !has_correction)
    }

    /// The service of the key, if an event names it.
    pub(super) fn service(&self) -> Option<&Service> {
        let created = self.creations().next().map(|(created, _)| &created.service);
        created.or_else(|| self.later.values().find_map(|event| event.service.as_ref()))
    }

    /// Whether an event names this user.
    pub(super) fn names(&self, user: &UserName) -> bool {
        let created = self.created.iter().map(|(created, _)| &created.user);
        let later = self.later.values().filter_map(|event| event.user.as_ref());
        created.chain(later).any(|name| name.is_same_user(user))
    }
}
