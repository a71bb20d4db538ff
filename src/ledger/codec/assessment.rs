//! The form of what is known of a key's lifetime, and of what it deserves. What the key's facts say is not said again.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::provenance::is_false;
use key_guard_core::Time;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::evidence::{
    Basis, EventEvidence, EventSource, ExpirationEvidence, Found, ListedEvidence, Reading,
};
use key_guard_core::key::{Expiration, KeyFacts, UserName};
use key_guard_core::policy::{Assessment, Response, Rule, VerdictDetail};

#[derive(Serialize, Deserialize)]
pub(super) struct EvidenceWire {
    event: Option<EventWire>,
    listed: Option<ListedWire>,
}

#[derive(Serialize, Deserialize)]
struct EventWire {
    /// Absent: that of the creation event.
    at: Option<Time>,
    /// Absent: that of the key.
    created_at: Option<ReadingWire<Time>>,
    expires_at: Option<ReadingWire<Time>>,
    age_days: Option<ReadingWire<u32>>,
    #[serde(default, skip_serializing_if = "is_false")]
    request_absent: bool,
}

#[derive(Serialize, Deserialize)]
struct ListedWire {
    /// Absent: that of the key.
    created_at: Option<Time>,
    expires_at: Option<Time>,
}

/// What was read, or why it was not.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ReadingWire<T> {
    Unreadable { unreadable: Found },
    Missing { missing: bool },
    Read(T),
}

impl<T> ReadingWire<T> {
    fn new(reading: Reading<T>) -> Self {
        match reading {
            Reading::Missing => Self::Missing { missing: true },
            Reading::Unreadable(unreadable) => Self::Unreadable { unreadable },
            Reading::Read(value) => Self::Read(value),
        }
    }

    /// Absent: it was missing.
    fn unless_missing(reading: Reading<T>) -> Option<Self> {
        if matches!(reading, Reading::Missing) { None } else { Some(Self::new(reading)) }
    }

    fn read(self) -> Reading<T> {
        match self {
            Self::Missing { .. } => Reading::Missing,
            Self::Unreadable { unreadable } => Reading::Unreadable(unreadable),
            Self::Read(value) => Reading::Read(value),
        }
    }
}

impl EvidenceWire {
    pub(super) fn new(evidence: ExpirationEvidence, facts: &KeyFacts, creation: Option<&Provenance>) -> Self {
        let ExpirationEvidence { event, listed } = evidence;
        let event =
            event.map(|EventEvidence { created_at, event_time, response, request, request_present }| {
                let is_known = creation.is_some_and(|creation| creation.event_time == event_time);
                let is_created_at = matches!(created_at, Reading::Read(at) if at == facts.created_at);
                EventWire {
                    at: (!is_known).then_some(event_time),
                    created_at: (!is_created_at).then(|| ReadingWire::new(created_at)),
                    expires_at: ReadingWire::unless_missing(response),
                    age_days: ReadingWire::unless_missing(request),
                    request_absent: !request_present,
                }
            });
        let listed = listed.map(|ListedEvidence { created_at, expires_at }| ListedWire {
            created_at: Some(created_at).filter(|at| *at != facts.created_at),
            expires_at,
        });
        Self { event, listed }
    }

    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(
        self,
        facts: &KeyFacts,
        creation: Option<&Provenance>,
    ) -> Result<ExpirationEvidence, String> {
        let read = |wire: EventWire| {
            let event_time = wire.at.or(creation.map(|creation| creation.event_time));
            Ok::<_, String>(EventEvidence {
                event_time: event_time.ok_or("its evidence has no event time")?,
                created_at: wire.created_at.map_or(Reading::Read(facts.created_at), ReadingWire::read),
                response: wire.expires_at.map_or(Reading::Missing, ReadingWire::read),
                request: wire.age_days.map_or(Reading::Missing, ReadingWire::read),
                request_present: !wire.request_absent,
            })
        };
        let listed = self.listed.map(|ListedWire { created_at, expires_at }| ListedEvidence {
            created_at: created_at.unwrap_or(facts.created_at),
            expires_at,
        });
        Ok(ExpirationEvidence { event: self.event.map(read).transpose()?, listed })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct AssessmentWire {
    verdict: VerdictDetail,
    #[serde(rename = "limit")]
    limit_days: u32,
    response: Response,
    #[serde(default, skip_serializing_if = "is_zero")]
    grace_days: u32,
    /// Absent: that of the key.
    created_at: Option<Time>,
    expires_at: Option<ExpirationWire>,
    basis: Option<BasisWire>,
    /// Absent: `[default]`.
    rule: Option<Rule>,
    decided_by: Option<UserName>,
    ended_exemption: Option<NaiveDate>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExpirationWire {
    Never,
    #[serde(untagged)]
    At(Time),
}

/// The usual ones are words.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BasisWire {
    Response,
    Request,
    ResponseWithoutDate,
    RequestWithoutAge,
    #[serde(untagged)]
    Other(Basis),
}

impl BasisWire {
    const fn new(basis: Basis) -> Self {
        match basis {
            Basis::Event { source: EventSource::Response, creation_assumed: false } => Self::Response,
            Basis::Event { source: EventSource::Request, creation_assumed: false } => Self::Request,
            Basis::Event { source: EventSource::ResponseWithoutDate, creation_assumed: false } => {
                Self::ResponseWithoutDate
            }
            Basis::Event { source: EventSource::RequestWithoutAge, creation_assumed: false } => {
                Self::RequestWithoutAge
            }
            Basis::Event { .. }
            | Basis::EventUnlisted(_)
            | Basis::Listed
            | Basis::ListedAndEvent { .. }
            | Basis::NotListed => Self::Other(basis),
        }
    }

    fn read(self) -> Basis {
        let of_event = |source| Basis::Event { source, creation_assumed: false };
        match self {
            Self::Response => of_event(EventSource::Response),
            Self::Request => of_event(EventSource::Request),
            Self::ResponseWithoutDate => of_event(EventSource::ResponseWithoutDate),
            Self::RequestWithoutAge => of_event(EventSource::RequestWithoutAge),
            Self::Other(basis) => basis,
        }
    }
}

impl AssessmentWire {
    pub(super) fn new(assessment: Assessment, facts: &KeyFacts) -> Self {
        let Assessment {
            verdict,
            limit_days,
            response,
            grace_days,
            created_at,
            expiration,
            basis,
            rule,
            decided_by,
            ended_exemption,
        } = assessment;
        Self {
            verdict,
            limit_days,
            response,
            grace_days,
            created_at: Some(created_at).filter(|at| *at != facts.created_at),
            expires_at: expiration.map(|expiration| match expiration {
                Expiration::Never => ExpirationWire::Never,
                Expiration::At(end) => ExpirationWire::At(end),
            }),
            basis: basis.map(BasisWire::new),
            rule: Some(rule).filter(|rule| *rule != Rule::Default),
            decided_by,
            ended_exemption,
        }
    }

    pub(super) fn read(self, facts: &KeyFacts) -> Assessment {
        Assessment {
            verdict: self.verdict,
            limit_days: self.limit_days,
            response: self.response,
            grace_days: self.grace_days,
            created_at: self.created_at.unwrap_or(facts.created_at),
            expiration: self.expires_at.map(|expiration| match expiration {
                ExpirationWire::Never => Expiration::Never,
                ExpirationWire::At(end) => Expiration::At(end),
            }),
            basis: self.basis.map(BasisWire::read),
            rule: self.rule.unwrap_or(Rule::Default),
            decided_by: self.decided_by,
            ended_exemption: self.ended_exemption,
        }
    }
}
