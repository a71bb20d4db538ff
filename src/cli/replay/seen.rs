//! Which events were seen before: an organisation's trail and an account's, retries of a delivery, and copies of a file have
//! the same ones.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};

use key_guard_core::cloudtrail::{CredentialEvent, Provenance, Unreadable};
use key_guard_core::key::{AccountId, EventId};

use super::tally::Counted;

/// Stands for an account and an event id: a hash of 128 bits with a secret of this run. Of a billion ids, two are taken for
/// one with a probability of less than 2^-68.
type IdHash = [u8; 16];

/// Stands for what an event says, beside other events with the same id.
type ContentHash = [u8; 4];

/// The events of ours that were seen. Each takes 25 to 50 bytes of memory, and half as much again while the map grows.
#[derive(Default)]
pub(super) struct SeenEvents {
    hashers: [RandomState; 2],
    seen: HashMap<IdHash, SeenEvent>,
    /// Further contents of ids that have several.
    others: HashSet<(IdHash, ContentHash)>,
    /// Events that others correct.
    corrected: HashSet<IdHash>,
}

struct SeenEvent {
    content: ContentHash,
    /// `None`: not yet.
    counted: Option<Counted>,
}

/// How an event relates to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sighting {
    /// None of them has its id.
    New,
    /// One of them is the same.
    Again,
    /// Some have its id, and none is the same.
    OtherContent,
}

impl SeenEvents {
    /// Notes an event.
    pub(super) fn note(&mut self, event: &CredentialEvent) -> Sighting {
        let Provenance { event_time, corrects, .. } = &event.provenance;
        // Who called says an archive in other words, or not at all.
        self.note_content(&event.provenance, (&event.kind, event_time, corrects))
    }

    /// Notes a creation that cannot be read.
    pub(super) fn note_unreadable(&mut self, provenance: &Provenance, why: &Unreadable) -> Sighting {
        self.note_content(provenance, (&why.field, why.expected, &why.found))
    }

    fn note_content(&mut self, provenance: &Provenance, content: impl Hash) -> Sighting {
        let id = self.id(&provenance.account, &provenance.event_id);
        let [hasher, _] = &self.hashers;
        let [a, b, c, d, ..] = hasher.hash_one(content).to_le_bytes();
        let content = [a, b, c, d];
        match self.seen.get(&id) {
            None => {
                self.seen.insert(id, SeenEvent { content, counted: None });
                Sighting::New
            }
            Some(seen) if seen.content == content => Sighting::Again,
            Some(_) if self.others.insert((id, content)) => Sighting::OtherContent,
            Some(_) => Sighting::Again,
        }
    }

    /// Notes how an event was counted. The first one with its id is the one that may be corrected.
    pub(super) fn note_count(&mut self, event: &CredentialEvent, counted: Counted) {
        let id = self.id(&event.provenance.account, &event.provenance.event_id);
        if let Some(seen) = self.seen.get_mut(&id) {
            seen.counted.get_or_insert(counted);
        }
    }

    /// Notes what an event corrects. Returns how that was counted, if it was.
    pub(super) fn note_correction(&mut self, event: &Provenance) -> Option<Counted> {
        let original = event.corrects.as_ref()?.event_id.as_ref()?;
        let id = self.id(&event.account, original);
        self.corrected.insert(id);
        self.seen.get_mut(&id)?.counted.take()
    }

    /// True for an event that another one has corrected.
    pub(super) fn is_corrected(&self, event: &Provenance) -> bool {
        let own = Some(&event.event_id);
        let corrects_itself =
            event.corrects.as_ref().is_some_and(|corrects| corrects.event_id.as_ref() == own);
        !corrects_itself && self.corrected.contains(&self.id(&event.account, &event.event_id))
    }

    fn id(&self, account: &AccountId, event_id: &EventId) -> IdHash {
        let mut id = IdHash::default();
        for (half, hasher) in id.chunks_exact_mut(8).zip(&self.hashers) {
            half.copy_from_slice(&hasher.hash_one((account, event_id)).to_le_bytes());
        }
        id
    }
}
