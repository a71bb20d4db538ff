//! Who made a call, when, and from where.

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Unreadable;
use super::record::{flag, needed, optional, require, text};
use crate::key::{AccountId, EventId};
use crate::text::sanitize_field;
use crate::time::Time;

/// Where an event came from. Free text is in the form of [`sanitize_field`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Provenance {
    /// The account whose IAM was called.
    pub account: AccountId,
    /// CloudTrail's `eventID`.
    pub event_id: EventId,
    /// CloudTrail's `eventTime`.
    pub event_time: Time,
    /// Who called.
    pub actor: Actor,
    /// `sourceIPAddress`: an address, or the name of an AWS service.
    pub source_ip: Option<String>,
    /// `userAgent`.
    pub user_agent: Option<String>,
    /// Fields of provenance that were there and could not be read.
    pub unreadable: Vec<String>,
}

/// Who called: CloudTrail's `userIdentity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// `IAMUser`, `AssumedRole`, `Root`, `AWSService`, …
    pub kind: Option<String>,
    /// The principal's ARN, or the service that acted.
    pub principal: Option<String>,
    /// The role behind an assumed-role session.
    pub session_issuer: Option<String>,
    /// Whether the session was started with a second factor, where the event says.
    pub mfa: Option<bool>,
    /// Whether the credentials are those of a console session.
    pub console: bool,
}

pub(super) fn read(record: &Value, envelope_account: Option<AccountId>) -> Result<Provenance, Unreadable> {
    const ACCOUNT: &str = "recipientAccountId";
    let account = match (optional::<AccountId>(record, ACCOUNT)?, envelope_account) {
        (Some(recipient), Some(envelope)) if recipient != envelope => {
            return Err(Unreadable::new(ACCOUNT, "the account of the envelope", "another account"));
        }
        (Some(account), _) | (None, Some(account)) => account,
        (None, None) => {
            return Err(Unreadable::new(ACCOUNT, "an AWS account id of 12 digits", "nothing"));
        }
    };
    let event_time = require(record, "eventTime", "an RFC 3339 time")?;
    let event_time = DateTime::parse_from_rfc3339(event_time)
        .map_err(|_| Unreadable::new("eventTime", "an RFC 3339 time", "another text"))?
        .to_utc();
    let mut unreadable = Vec::new();
    let mut note = |path: &'static str| match text(record, path) {
        Ok(found) => found.map(sanitize_field),
        Err(error) => {
            unreadable.push(error.to_string());
            None
        }
    };
    let actor = Actor {
        kind: note("userIdentity.type"),
        principal: note("userIdentity.arn").or_else(|| note("userIdentity.invokedBy")),
        session_issuer: note("userIdentity.sessionContext.sessionIssuer.arn"),
        mfa: flag(record, "userIdentity.sessionContext.attributes.mfaAuthenticated"),
        console: flag(record, "sessionCredentialFromConsole").unwrap_or(false),
    };
    Ok(Provenance {
        account,
        event_id: needed(record, "eventID", "a CloudTrail event id")?,
        event_time,
        actor,
        source_ip: note("sourceIPAddress"),
        user_agent: note("userAgent"),
        unreadable,
    })
}
