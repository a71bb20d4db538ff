//! Who made a call, when, and from where.

use serde_json::Value;

use super::date;
use super::event::{Actor, ActorContext, Correction, Provenance, Unreadable};
use super::record::{flag, lenient, needed, optional, require, text};
use crate::Time;
use crate::key::AccountId;
use crate::text::sanitize_field;

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
    let event_time = event_time(record)?;
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
        // A user of IAM Identity Center has no ARN, and others may have none (CloudTrail user guide, *CloudTrail userIdentity
        // element*).
        principal: note("userIdentity.arn")
            .or_else(|| note("userIdentity.invokedBy"))
            .or_else(|| note("userIdentity.onBehalfOf.userId"))
            .or_else(|| note("userIdentity.principalId")),
        session_issuer: note("userIdentity.sessionContext.sessionIssuer.arn"),
        mfa: flag(record, "userIdentity.sessionContext.attributes.mfaAuthenticated"),
        console: flag(record, "sessionCredentialFromConsole").unwrap_or(false),
        context: ActorContext {
            issuer_type: note("userIdentity.inScopeOf.issuerType"),
            credentials_issued_to: note("userIdentity.inScopeOf.credentialsIssuedTo"),
            source_arn: note("userIdentity.inScopeOf.sourceArn"),
            delegate_account: note("userIdentity.invokedByDelegate.accountId"),
            identity_center_user: note("userIdentity.onBehalfOf.userId"),
            identity_store: note("userIdentity.onBehalfOf.identityStoreArn"),
        },
    };
    let corrects = correction(record, &mut note);
    Ok(Provenance {
        account,
        event_id: needed(record, "eventID", "a CloudTrail event id")?,
        event_time,
        actor,
        source_ip: note("sourceIPAddress"),
        user_agent: note("userAgent"),
        corrects,
        unreadable,
    })
}

/// What the event corrects. A reason that AWS may add is one where the record names the event that it corrects.
fn correction(record: &Value, note: &mut impl FnMut(&'static str) -> Option<String>) -> Option<Correction> {
    const UPDATED_DATA: &str = "UPDATED_DATA";
    const LATE: [&str; 2] = ["DELIVERY_DELAY", "SERVICE_OUTAGE"];
    let reason = note("addendum.reason");
    let event_id = lenient(record, "addendum.originalEventID");
    let is_late = reason.as_deref().is_some_and(|reason| LATE.contains(&reason));
    let is_correction = reason.as_deref() == Some(UPDATED_DATA) || (event_id.is_some() && !is_late);
    is_correction.then(|| Correction { event_id, reason, updated_fields: note("addendum.updatedFields") })
}

pub(super) fn event_time(record: &Value) -> Result<Time, Unreadable> {
    let event_time = require(record, "eventTime", "an RFC 3339 time")?;
    // CloudTrail Lake has a column of times without an offset.
    date::from_text(event_time)
        .ok_or_else(|| Unreadable::new("eventTime", "an RFC 3339 time", "another text"))
}
