//! The commands that stop a leaked key, safest first.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::output::LedgerEntry;
use crate::prevent::use_actions;
use key_guard_core::Time;
use key_guard_core::key::{Service, UserName};
use key_guard_core::leaked_key::{AccessKeyId, KeyOwner, LongTermKey};
use key_guard_core::time::rfc3339;
use key_guard_core::words::remediation::{argument, deactivation_command};

/// Stands for the id that a list has.
const ID_PLACEHOLDER: &str = "CREDENTIAL_ID";

/// A command, and what it is for.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) purpose: &'static str,
    pub(super) command: String,
}

/// The keys that are not gone, as far as the ledger knows, with their users.
pub(super) fn keys_left(entries: &[LedgerEntry]) -> BTreeMap<&str, &UserName> {
    let left = entries.iter().filter(|entry| !entry.is_gone);
    left.filter_map(|entry| Some((entry.credential_id.as_str(), entry.owner.as_ref()?))).collect()
}

/// What stops a long-term key. Nothing, where its owner is not known.
pub(super) fn for_long_term(key: &LongTermKey, entries: Option<&[LedgerEntry]>) -> Vec<Step> {
    let Some(alias) = &key.alias else { return Vec::new() };
    let owners: Vec<&UserName> =
        std::iter::once(&alias.owner).chain(&alias.other_reading).map(|KeyOwner { user, .. }| user).collect();
    let known = keys_left(entries.unwrap_or_default());
    let list = owners.iter().map(|user| Step {
        purpose: "list the user's keys, with their ids and how they stand",
        command: list_command(user, key.service.as_ref()),
    });
    let targets: Vec<(&str, &UserName)> = if known.is_empty() {
        owners.iter().map(|user| (ID_PLACEHOLDER, *user)).collect()
    } else {
        known.into_iter().collect()
    };
    let deactivate = targets.iter().map(|(id, user)| Step {
        purpose: "deactivate the key: it stops at once, and can be activated again",
        command: deactivation_command(user, id),
    });
    let delete = targets.iter().map(|(id, user)| Step {
        purpose: "delete the key for good, once nobody needs it",
        command: format!(
            "aws iam delete-service-specific-credential {} --service-specific-credential-id {id}",
            argument("--user-name", user.as_str())
        ),
    });
    // Without an id, the list comes first: it has the id.
    let is_known = targets.first().is_some_and(|(id, _)| *id != ID_PLACEHOLDER);
    if is_known {
        deactivate.chain(list).chain(delete).collect()
    } else {
        list.chain(deactivate).chain(delete).collect()
    }
}

fn list_command(user: &UserName, service: Option<&Service>) -> String {
    let user = argument("--user-name", user.as_str());
    let service = service.map(|service| format!(" --service-name {service}")).unwrap_or_default();
    format!("aws iam list-service-specific-credentials {user}{service}")
}

/// What stops an access key, or the short-term keys for `service` that it has signed.
pub(super) fn for_access_key(
    id: &AccessKeyId,
    region: Option<&str>,
    service: Option<&Service>,
    now: Time,
) -> Vec<Step> {
    let AccessKeyId { id, is_temporary, account: _ } = id;
    if !is_temporary {
        return vec![
            Step {
                purpose: "find whose the access key is: UserName",
                command: format!("aws iam get-access-key-last-used --access-key-id {id}"),
            },
            Step {
                purpose: "deactivate it: it stops at once, with all short-term keys that it has signed, and can be activated again",
                command: format!(
                    "aws iam update-access-key --user-name USER --access-key-id {id} --status Inactive"
                ),
            },
            Step {
                purpose: "delete it for good, once nobody needs it",
                command: format!("aws iam delete-access-key --user-name USER --access-key-id {id}"),
            },
        ];
    }
    let region = region.map(|region| format!(" --region {region}")).unwrap_or_default();
    let find = Step {
        purpose: "find whose session it is: userIdentity names the role. Ask in each Region where it may have been used",
        command: format!(
            "aws cloudtrail lookup-events{region} --lookup-attributes AttributeKey=AccessKeyId,AttributeValue={id}"
        ),
    };
    let deny_keys = service.map(|service| Step {
        purpose: "deny API keys to all sessions of the role that have begun until now; its other work goes on",
        command: deny_command("DenyApiKeysOfOlderSessions", &json!(use_actions(service)), now),
    });
    let deny_all = Step {
        purpose: "revoke all sessions of the role that have begun until now: their users have to sign in again. A role of IAM \
                  Identity Center (AWSReservedSSO_…) cannot be changed: there, put the policy into its permission set",
        command: deny_command("RevokeOlderSessions", &json!("*"), now),
    };
    std::iter::once(find).chain(deny_keys).chain([deny_all]).collect()
}

/// As the console does it (IAM user guide, *Revoke IAM role temporary security credentials*).
fn deny_command(name: &str, actions: &serde_json::Value, now: Time) -> String {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny",
            "Action": actions,
            "Resource": "*",
            "Condition": { "DateLessThan": { "aws:TokenIssueTime": rfc3339(now) } },
        }],
    });
    format!("aws iam put-role-policy --role-name ROLE --policy-name {name} --policy-document '{policy}'")
}
