//! When a key expires: what its creation event and IAM say, joined.
//!
//! The sources do not overrule each other. What cannot be read counts as missing, and what contradicts itself is
//! [`Determination::Undetermined`]: never "absent", and never a reason to delete.

use chrono::{Datelike as _, TimeDelta};
use serde::{Deserialize, Serialize};

use crate::key::{Expiration, Service};
use crate::time::{LAST_YEAR, Time};

/// Two dates that are at most this far apart mean the same end: AWS may round them separately.
const SAME_DATE: TimeDelta = TimeDelta::days(1);

/// A field of an event as it was read. Ordered by how much it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// Absent, or null.
    Missing,
    /// Something is there that could not be read.
    Unreadable(Found),
    /// What it says.
    Read(T),
}

impl<T: Ord> Reading<T> {
    /// The one that says more; of two values the later.
    fn or_later(self, other: Self) -> Self {
        self.max(other)
    }
}

/// What was in a field that could not be read. Its value is never kept: it could be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A boolean.
    Boolean,
    /// A number.
    Number,
    /// A text of so many characters.
    Text(usize),
    /// A list of so many items.
    List(usize),
    /// An object.
    Object,
}

/// The fields of a creation event that say how long the key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceField {
    /// `responseElements.serviceSpecificCredential.createDate`
    CreateDate,
    /// `responseElements.serviceSpecificCredential.expirationDate`
    ExpirationDate,
    /// `requestParameters.credentialAgeDays`
    CredentialAgeDays,
}

/// What a creation event says of the key's lifetime.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventEvidence {
    /// The response's `createDate`.
    pub created_at: Reading<Time>,
    /// When the call was made. IAM creates the key while it answers, so this stands in for a missing `createDate`.
    pub event_time: Time,
    /// The response's `expirationDate`.
    pub response: Reading<Time>,
    /// The request's `credentialAgeDays`: 1 to 36600 days.
    pub request: Reading<u32>,
    /// Whether the event shows its request. Where it does, a missing age means that none was asked for.
    pub request_present: bool,
}

/// What IAM's list of keys says of the key's lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListedEvidence {
    /// `CreateDate`.
    pub created_at: Time,
    /// `ExpirationDate`. Where it is missing, that means "never" for some services only:
    /// [`Service::lists_expiration`].
    pub expires_at: Option<Time>,
}

/// Everything that is known of when a key expires, by source. The default: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExpirationEvidence {
    /// What the creation event says, once it was seen.
    pub event: Option<EventEvidence>,
    /// What IAM says, once it was asked.
    pub listed: Option<ListedEvidence>,
}

/// When a key expires, as far as the evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Determination {
    /// It is known.
    Known {
        /// When the key expires.
        expiration: Expiration,
        /// What says so.
        basis: Basis,
    },
    /// It is not known.
    Undetermined(Undetermined),
}

/// What says when a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The creation event alone: IAM was not asked.
    Event {
        /// Which part of the event.
        source: EventSource,
        /// Whether the event's time stands in for a missing `createDate`.
        creation_assumed: bool,
    },
    /// The creation event; IAM was asked and never names a date for this service.
    EventUnlisted(EventSource),
    /// IAM names a date.
    Listed,
    /// IAM and the event name dates that are more than a day apart. The later applies.
    ListedAndEvent {
        /// IAM's date.
        listed: Time,
        /// The event's date.
        event: Time,
    },
    /// IAM names no date, which means "never" for this service.
    NotListed,
}

/// Which part of a creation event says when the key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSource {
    /// The response's `expirationDate`.
    Response,
    /// The request's `credentialAgeDays`.
    Request,
    /// Both, and they name dates that are more than a day apart. The later applies.
    ResponseAndRequest {
        /// The response's date.
        response: Time,
        /// The end of the request's age.
        request: Time,
    },
    /// The response has no date, which means "never" for this service.
    ResponseWithoutDate,
    /// The request asks for no age, which means "never".
    RequestWithoutAge,
}

/// Why it is not known when a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undetermined {
    /// There is no evidence at all.
    NoEvidence,
    /// A field of the creation event could not be read.
    Unreadable {
        /// Which.
        field: EvidenceField,
        /// What was there.
        found: Found,
    },
    /// The event's `createDate` is a day or more from the event's time.
    CreationFarFromEvent {
        /// `createDate`.
        created_at: Time,
        /// `eventTime`.
        event_time: Time,
    },
    /// The only end that is named is before the key's creation.
    EndBeforeCreation {
        /// The end.
        expires_at: Time,
        /// The creation.
        created_at: Time,
    },
    /// The age that was asked for gives an end that is out of range.
    EndOutOfRange {
        /// The age.
        days: u32,
    },
    /// No source names an end, and for this service that does not mean "never".
    NoEndNamed,
    /// The event names a date and IAM none, although IAM's lists show dates for this service.
    NotInList {
        /// The event's date.
        event: Time,
    },
}

/// An end that a source names.
enum Named<S> {
    End(Time, S),
    /// The source names none.
    None,
    /// The source has something that could not be read, or cannot be.
    Impossible(Undetermined),
}

impl EventEvidence {
    /// When the key was created. An event can say what cannot be: a `createDate` that is a day or more from the
    /// event's time.
    fn creation(&self) -> Result<Time, Undetermined> {
        match self.created_at {
            Reading::Missing => Ok(self.event_time),
            Reading::Unreadable(found) => {
                Err(Undetermined::Unreadable { field: EvidenceField::CreateDate, found })
            }
            Reading::Read(created_at) if (created_at - self.event_time).abs() >= TimeDelta::days(1) => {
                Err(Undetermined::CreationFarFromEvent { created_at, event_time: self.event_time })
            }
            Reading::Read(created_at) => Ok(created_at),
        }
    }

    /// When the key was created, as far as the event can tell.
    #[must_use]
    pub fn assumed_creation(&self) -> Time {
        self.creation().unwrap_or(self.event_time)
    }

    /// The end that the event names for a key created at `created_at`.
    fn end(&self, created_at: Time) -> Named<EventSource> {
        let response = match self.response {
            Reading::Missing => Named::None,
            Reading::Unreadable(found) => {
                Named::Impossible(Undetermined::Unreadable { field: EvidenceField::ExpirationDate, found })
            }
            Reading::Read(end) => plausible(end, created_at, EventSource::Response),
        };
        let request = match self.request {
            Reading::Missing => Named::None,
            Reading::Unreadable(found) => {
                Named::Impossible(Undetermined::Unreadable { field: EvidenceField::CredentialAgeDays, found })
            }
            Reading::Read(days) => match created_at.checked_add_signed(TimeDelta::days(days.into())) {
                Some(end) if end.year() <= LAST_YEAR => Named::End(end, EventSource::Request),
                Some(_) | None => Named::Impossible(Undetermined::EndOutOfRange { days }),
            },
        };
        match (response, request) {
            (Named::End(response, _), Named::End(request, _)) if !are_same_date(response, request) => {
                Named::End(response.max(request), EventSource::ResponseAndRequest { response, request })
            }
            (end @ Named::End(..), _) | (Named::None | Named::Impossible(_), end @ Named::End(..)) => end,
            (impossible @ Named::Impossible(_), _) | (Named::None, impossible @ Named::Impossible(_)) => {
                impossible
            }
            (Named::None, Named::None) => Named::None,
        }
    }

    /// What a creation event says that could not be read. Nothing follows from an age that is missing in it.
    #[must_use]
    pub const fn nothing(event_time: Time) -> Self {
        Self {
            created_at: Reading::Missing,
            event_time,
            response: Reading::Missing,
            request: Reading::Missing,
            request_present: false,
        }
    }

    /// True for an event that could not be read, and whose key was looked up (R9).
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        *self == Self::nothing(self.event_time)
    }

    /// Both, joined: what says more stays, and of two values the one with the longer lifetime.
    fn merge(&mut self, other: &Self) {
        self.created_at = match (self.created_at, other.created_at) {
            (Reading::Read(own), Reading::Read(others)) => Reading::Read(own.min(others)),
            (own, others) => own.or_later(others),
        };
        self.event_time = self.event_time.min(other.event_time);
        self.response = self.response.or_later(other.response);
        self.request = self.request.or_later(other.request);
        self.request_present |= other.request_present;
    }
}

impl ExpirationEvidence {
    /// When a key of `service` expires.
    #[must_use]
    pub fn determine(&self, service: &Service) -> Determination {
        match (&self.event, self.listed) {
            (None, None) => Determination::Undetermined(Undetermined::NoEvidence),
            (Some(event), None) => determine_from_event(event, service),
            (event, Some(listed)) => determine_from_list(event.as_ref(), listed, service),
        }
    }

    /// When the key was created: as IAM says, or else the event.
    #[must_use]
    pub fn created_at(&self) -> Option<Time> {
        match (&self.event, self.listed) {
            (_, Some(listed)) => Some(listed.created_at),
            (Some(event), None) => Some(event.assumed_creation()),
            (None, None) => None,
        }
    }

    /// Adds what `other` knows. Neither the order nor a repetition changes the result.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.event, &other.event) {
            (Some(own), Some(others)) => own.merge(others),
            (own @ None, others) => own.clone_from(others),
            (Some(_), None) => {}
        }
        self.listed = match (self.listed, other.listed) {
            (Some(own), Some(others)) => Some(ListedEvidence {
                created_at: own.created_at.min(others.created_at),
                expires_at: own.expires_at.max(others.expires_at),
            }),
            (own, others) => own.or(others),
        };
    }
}

impl From<EventEvidence> for ExpirationEvidence {
    fn from(event: EventEvidence) -> Self {
        Self { event: Some(event), listed: None }
    }
}

impl From<ListedEvidence> for ExpirationEvidence {
    fn from(listed: ListedEvidence) -> Self {
        Self { event: None, listed: Some(listed) }
    }
}

/// IAM was not asked yet.
fn determine_from_event(event: &EventEvidence, service: &Service) -> Determination {
    let created_at = match event.creation() {
        Ok(created_at) => created_at,
        Err(why) => return Determination::Undetermined(why),
    };
    let (expiration, source) = match event.end(created_at) {
        Named::End(end, source) => (Expiration::At(end), source),
        Named::Impossible(why) => return Determination::Undetermined(why),
        Named::None if service.lists_expiration() => (Expiration::Never, EventSource::ResponseWithoutDate),
        Named::None if event.request_present => (Expiration::Never, EventSource::RequestWithoutAge),
        Named::None => return Determination::Undetermined(Undetermined::NoEndNamed),
    };
    let creation_assumed = matches!(event.created_at, Reading::Missing);
    Determination::Known { expiration, basis: Basis::Event { source, creation_assumed } }
}

/// IAM was asked. It knows best when the key was created.
fn determine_from_list(
    event: Option<&EventEvidence>,
    listed: ListedEvidence,
    service: &Service,
) -> Determination {
    let created_at = listed.created_at;
    let from_event = event.map_or(Named::None, |event| event.end(created_at));
    let from_list = match listed.expires_at {
        None => Named::None,
        Some(end) => plausible(end, created_at, ()),
    };
    let known = |expiration, basis| Determination::Known { expiration, basis };
    match (from_list, from_event) {
        (Named::End(listed, ()), Named::End(event, _)) if !are_same_date(listed, event) => {
            known(Expiration::At(listed.max(event)), Basis::ListedAndEvent { listed, event })
        }
        (Named::End(listed, ()), _) => known(Expiration::At(listed), Basis::Listed),
        (Named::Impossible(_) | Named::None, Named::End(event, source)) => {
            if service.lists_expiration() {
                Determination::Undetermined(Undetermined::NotInList { event })
            } else {
                known(Expiration::At(event), Basis::EventUnlisted(source))
            }
        }
        (Named::Impossible(why), Named::Impossible(_) | Named::None) => Determination::Undetermined(why),
        (Named::None, Named::Impossible(_) | Named::None) if service.lists_expiration() => {
            known(Expiration::Never, Basis::NotListed)
        }
        // For this service IAM's silence says nothing, so what could not be read may be the end.
        (Named::None, Named::Impossible(why)) => Determination::Undetermined(why),
        (Named::None, Named::None) if event.is_some_and(|event| event.request_present) => {
            known(Expiration::Never, Basis::EventUnlisted(EventSource::RequestWithoutAge))
        }
        (Named::None, Named::None) => Determination::Undetermined(Undetermined::NoEndNamed),
    }
}

fn plausible<S>(expires_at: Time, created_at: Time, source: S) -> Named<S> {
    if expires_at < created_at {
        Named::Impossible(Undetermined::EndBeforeCreation { expires_at, created_at })
    } else {
        Named::End(expires_at, source)
    }
}

fn are_same_date(one: Time, other: Time) -> bool {
    (one - other).abs() <= SAME_DATE
}
