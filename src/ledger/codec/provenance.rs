//! The form of a provenance: what others of its item say is not said again.

use serde::{Deserialize, Serialize};

use key_guard_core::Time;
use key_guard_core::cloudtrail::{Actor, ActorContext, Correction, Provenance};
use key_guard_core::key::{AccountId, EventId};

/// The names are short: an item should fit into a write unit.
#[derive(Serialize, Deserialize)]
pub(super) struct ProvenanceWire {
    id: EventId,
    at: Time,
    /// Absent: the account of the item.
    account: Option<AccountId>,
    kind: Option<String>,
    /// Absent: it follows from the session.
    principal: Option<String>,
    /// The ARN of the session's issuer, if that is no role of the account.
    issuer: Option<String>,
    /// Path and name of the session's issuer, if that is a role of the account.
    role: Option<String>,
    /// The name of a session of the issuer.
    session: Option<String>,
    mfa: Option<bool>,
    #[serde(default, skip_serializing_if = "is_false")]
    console: bool,
    #[serde(default, skip_serializing_if = "ActorContext::is_empty")]
    context: ActorContext,
    source_ip: Option<String>,
    user_agent: Option<String>,
    /// Absent: it corrects no event.
    corrects: Option<CorrectionWire>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct CorrectionWire {
    id: Option<EventId>,
    reason: Option<String>,
    fields: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl ProvenanceWire {
    /// `account` is that of the item.
    pub(super) fn new(provenance: Provenance, account: &AccountId) -> Self {
        let Provenance {
            account: own,
            event_id,
            event_time,
            actor,
            source_ip,
            user_agent,
            corrects,
            unreadable,
        } = provenance;
        let Actor { kind, principal, session_issuer, mfa, console, context } = actor;
        let session = session_issuer.as_deref().zip(principal.as_deref());
        let session = session
            .and_then(|(issuer, principal)| principal.strip_prefix(&sessions_of(issuer)?).map(str::to_owned));
        let role = session_issuer.as_deref().and_then(|issuer| issuer.strip_prefix(&roles_of(account)));
        let role = role.map(str::to_owned);
        Self {
            id: event_id,
            at: event_time,
            account: Some(own).filter(|own| own != account),
            kind,
            principal: principal.filter(|_| session.is_none()),
            issuer: session_issuer.filter(|_| role.is_none()),
            role,
            session,
            mfa,
            console,
            context,
            source_ip,
            user_agent,
            corrects: corrects.map(|Correction { event_id: id, reason, updated_fields: fields }| {
                CorrectionWire { id, reason, fields }
            }),
            unreadable,
        }
    }

    /// `account` is that of the item.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(self, account: &AccountId) -> Result<Provenance, String> {
        let session_issuer = self.role.map(|role| roles_of(account) + &role).or(self.issuer);
        let principal = match &self.session {
            None => self.principal,
            Some(session) => {
                let sessions = session_issuer.as_deref().and_then(sessions_of);
                Some(sessions.ok_or("its session is one of no role")? + session)
            }
        };
        let Self { kind, mfa, console, context, .. } = self;
        Ok(Provenance {
            account: self.account.unwrap_or_else(|| account.clone()),
            event_id: self.id,
            event_time: self.at,
            actor: Actor { kind, principal, session_issuer, mfa, console, context },
            source_ip: self.source_ip,
            user_agent: self.user_agent,
            corrects: self.corrects.map(|CorrectionWire { id, reason, fields }| Correction {
                event_id: id,
                reason,
                updated_fields: fields,
            }),
            unreadable: self.unreadable,
        })
    }
}

/// What the ARNs of an account's roles begin with. Those of other partitions are stored as they are.
fn roles_of(account: &AccountId) -> String {
    format!("arn:aws:iam::{account}:role/")
}

/// What the ARNs of a role's sessions begin with (IAM user guide, *IAM identifiers*): the role's path is not a part of
/// them.
fn sessions_of(role: &str) -> Option<String> {
    let mut parts = role.splitn(6, ':');
    let ("arn", partition, "iam", "", account) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?)
    else {
        return None;
    };
    let name = parts.next()?.strip_prefix("role/")?.rsplit('/').next()?;
    Some(format!("arn:{partition}:sts::{account}:assumed-role/{name}/"))
}
