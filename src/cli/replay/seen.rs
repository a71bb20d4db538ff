//! Which events were seen before: an organisation's trail and an account's, retries of a delivery, and copies of a file have
//! the same ones.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};

use key_guard_core::cloudtrail::{
    Attempt, Call, CredentialCall, CredentialEvent, EventKind, Provenance, Unreadable, UserChange,
};
use key_guard_core::key::{AccountId, CredentialId, EventId, UserName};

use super::tally::Counted;

/// Stands for an account and an event id: a hash of 128 bits with a secret of this run. Of a billion ids, two are taken for
/// one with a probability of less than 2^-68.
type IdHash = [u8; 16];

/// Stands for something that an event says, beside other events with the same id. Zero: it does not say.
type PartHash = u32;

/// The events of ours that were seen. Each takes 50 to 100 bytes of memory, and half as much again while the map grows.
#[derive(Default)]
pub(super) struct SeenEvents {
    hashers: [RandomState; 2],
    seen: HashMap<IdHash, SeenEvent>,
    /// Further contents of ids that have several.
    others: HashMap<IdHash, Vec<Content>>,
    /// What the events are about that correct an event with this id.
    corrections: HashMap<IdHash, HashSet<PartHash>>,
    /// Events with a correction that is about something else, where that was said.
    miscorrected: HashSet<IdHash>,
}

struct SeenEvent {
    content: Content,
    /// What it is about, where it could be read.
    subject: PartHash,
    /// `None`: not yet.
    counted: Option<Counted>,
}

/// What an event says.
#[derive(Debug, Clone, Copy)]
struct Content {
    /// What was done, and when.
    what: PartHash,
    /// Who called, from which address, and with which program. Exports of other tools may lack some of it.
    origin: [PartHash; 3],
}

impl Content {
    fn contradicts(&self, other: &Self) -> bool {
        let differ = |(one, other): (&PartHash, &PartHash)| one != other && *one != 0 && *other != 0;
        self.what != other.what || self.origin.iter().zip(&other.origin).any(differ)
    }

    /// Adds what only the other one says.
    fn complete(&mut self, other: &Self) {
        for (part, other) in self.origin.iter_mut().zip(other.origin).filter(|(part, _)| **part == 0) {
            *part = other;
        }
    }
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

/// Whether an event corrects another one. It does where call, account and key are the same; where no key is named, the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Corrects {
    /// It corrects none, or none that was counted.
    Nothing,
    /// One that was counted like this.
    Counted(Counted),
    /// The one that it names is about something else.
    OtherSubject,
    /// It says that it corrects an event, and names none but itself.
    Unnamed,
}

impl SeenEvents {
    /// Notes an event.
    pub(super) fn note(&mut self, event: &CredentialEvent) -> Sighting {
        let Provenance { event_time, corrects, .. } = &event.provenance;
        let subject = self.hash(subject(event));
        self.note_content(&event.provenance, (&event.kind, event_time, corrects), subject)
    }

    /// Notes a creation that cannot be read.
    pub(super) fn note_unreadable(&mut self, provenance: &Provenance, why: &Unreadable) -> Sighting {
        self.note_content(provenance, (&why.field, why.expected, &why.found), 0)
    }

    fn note_content(&mut self, provenance: &Provenance, what: impl Hash, subject: PartHash) -> Sighting {
        let id = self.id(&provenance.account, &provenance.event_id);
        let Provenance { actor, source_ip, user_agent, .. } = provenance;
        let origin = [&actor.principal, source_ip, user_agent];
        let origin = origin.map(|part| part.as_ref().map_or(0, |part| self.hash(part)));
        let content = Content { what: self.hash(what), origin };
        let Some(seen) = self.seen.get_mut(&id) else {
            self.seen.insert(id, SeenEvent { content, subject, counted: None });
            return Sighting::New;
        };
        let others = self.others.get_mut(&id).into_iter().flatten();
        let mut contents = std::iter::once(&mut seen.content).chain(others);
        if let Some(seen) = contents.find(|seen| !seen.contradicts(&content)) {
            seen.complete(&content);
            Sighting::Again
        } else {
            self.others.entry(id).or_default().push(content);
            Sighting::OtherContent
        }
    }

    /// Notes how an event was counted. The first one with its id is the one that may be corrected.
    pub(super) fn note_count(&mut self, event: &CredentialEvent, counted: Counted) {
        let id = self.id(&event.provenance.account, &event.provenance.event_id);
        if let Some(seen) = self.seen.get_mut(&id) {
            seen.counted.get_or_insert(counted);
        }
    }

    /// Notes what an event corrects. That its subject is another is returned once.
    pub(super) fn note_correction(&mut self, event: &CredentialEvent) -> Corrects {
        let Provenance { account, event_id, corrects, .. } = &event.provenance;
        let Some(corrects) = corrects else { return Corrects::Nothing };
        let Some(original) = corrects.event_id.as_ref().filter(|original| *original != event_id) else {
            return Corrects::Unnamed;
        };
        let (id, subject) = (self.id(account, original), self.hash(subject(event)));
        self.corrections.entry(id).or_default().insert(subject);
        match self.seen.get_mut(&id) {
            Some(seen) if seen.subject == subject => {
                seen.counted.take().map_or(Corrects::Nothing, Corrects::Counted)
            }
            Some(seen) if seen.subject != 0 && self.miscorrected.insert(id) => Corrects::OtherSubject,
            Some(_) | None => Corrects::Nothing,
        }
    }

    /// True for an event that another one has corrected.
    pub(super) fn is_corrected(&self, event: &CredentialEvent) -> bool {
        let id = self.id(&event.provenance.account, &event.provenance.event_id);
        let subject = || self.hash(subject(event));
        self.corrections.get(&id).is_some_and(|subjects| subjects.contains(&subject()))
    }

    /// True, once, for an event that only events about something else correct.
    pub(super) fn is_miscorrected(&mut self, event: &CredentialEvent) -> bool {
        let id = self.id(&event.provenance.account, &event.provenance.event_id);
        self.corrections.contains_key(&id) && !self.is_corrected(event) && self.miscorrected.insert(id)
    }

    fn hash(&self, part: impl Hash) -> PartHash {
        let [hasher, _] = &self.hashers;
        let [a, b, c, d, ..] = hasher.hash_one(part).to_le_bytes();
        PartHash::from_le_bytes([a, b, c, d]).max(1)
    }

    fn id(&self, account: &AccountId, event_id: &EventId) -> IdHash {
        let mut id = IdHash::default();
        for (half, hasher) in id.chunks_exact_mut(8).zip(&self.hashers) {
            half.copy_from_slice(&hasher.hash_one((account, event_id)).to_le_bytes());
        }
        id
    }
}

/// What an event is about: the call, whether it failed, and the key; where no key is named, the user.
fn subject(event: &CredentialEvent) -> (Call, bool, Option<&CredentialId>, Option<String>) {
    let of_key = |call, id| (Call::Credential(call), false, Some(id), None);
    let name = |user: &UserName| user.as_str().to_ascii_lowercase();
    match &event.kind {
        EventKind::Created(created) => of_key(CredentialCall::Create, &created.key.id),
        EventKind::StatusChanged { target, .. } => of_key(CredentialCall::Update, &target.id),
        EventKind::SecretReset(target) => of_key(CredentialCall::Reset, &target.id),
        EventKind::Deleted(target) => of_key(CredentialCall::Delete, &target.id),
        EventKind::Failed(Attempt { call, user, .. }) => (*call, true, None, user.as_ref().map(name)),
        EventKind::UserChanged(UserChange { call, user }) => {
            (Call::User(*call), false, None, Some(name(user)))
        }
    }
}
