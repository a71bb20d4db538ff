//! Heartbeats: a denied call an hour, by which an account shows that its events reach the guard.

use super::FailedCall;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{Call, CredentialCall};
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::state::{UnknownFields, Version};
use key_guard_core::silence::HeardAccount;

/// The role of the heartbeat in each account, which has no permission (`infra/template.yaml`, `infra/member.yaml`).
pub const HEARTBEAT_ROLE: &str = "bedrock-key-guard-heartbeat";

/// The heartbeat of an account. It is no attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which account.
    pub account: AccountId,
    /// When the call was made.
    pub at: Time,
}

impl Heartbeat {
    /// The heartbeat, if the call is the one that the heartbeat makes: by the role, in its own account, and denied. Any
    /// other call of the role was made by somebody else. An account has one role of a name, whatever its path.
    #[must_use]
    pub fn of(failed: &FailedCall) -> Option<Self> {
        let FailedCall { provenance, attempt } = failed;
        let issuer = provenance.actor.session_issuer.as_deref()?;
        let parts: Vec<_> = issuer.splitn(6, ':').collect();
        let [_, _, "iam", "", account, role] = parts[..] else { return None };
        let is_heartbeat = account == provenance.account.as_str()
            && role.strip_prefix("role/").and_then(|role| role.rsplit('/').next()) == Some(HEARTBEAT_ROLE)
            && attempt.call == Call::Credential(CredentialCall::Delete)
            && attempt.error_code == "AccessDenied";
        is_heartbeat.then(|| Self { account: provenance.account.clone(), at: provenance.event_time })
    }

    /// The account, heard by this heartbeat and not silent since.
    pub(in crate::ledger) fn heard(&self, version: Version) -> HeardAccount {
        let Self { account, at } = self.clone();
        HeardAccount {
            account,
            last_heard: at,
            silence_reported_at: None,
            version,
            unknown_fields: UnknownFields::default(),
        }
    }
}
