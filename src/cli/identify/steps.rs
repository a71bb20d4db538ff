//! The commands that stop a leaked key, safest first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;

use super::output::LedgerEntry;
use crate::prevent::use_actions;
use key_guard_core::Time;
use key_guard_core::key::{Service, UserName};
use key_guard_core::leaked_key::{AccessKeyId, KeyAlias, KeyOwner, LongTermKey};
use key_guard_core::time::rfc3339;
use key_guard_core::words::remediation::argument;

/// Stands for the id that a list has.
const ID_PLACEHOLDER: &str = "CREDENTIAL_ID";

/// Stands for one of the users that the text may mean.
const USER_PLACEHOLDER: &str = "USER";

/// A command, and what it is for.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) purpose: String,
    pub(super) command: String,
}

/// The keys that are not gone, as far as the ledger knows, with their users.
pub(super) fn keys_left(entries: &[LedgerEntry]) -> BTreeMap<&str, &UserName> {
    let left = entries.iter().filter(|entry| !entry.is_gone);
    left.filter_map(|entry| Some((entry.credential_id.as_str(), entry.owner.as_ref()?))).collect()
}

/// What stops a long-term key, what can be undone first. Nothing, where its owner is not known.
pub(super) fn for_long_term(key: &LongTermKey, entries: Option<&[LedgerEntry]>) -> Vec<Step> {
    let Some(alias) = &key.alias else { return Vec::new() };
    let owners: Vec<&UserName> =
        std::iter::once(&alias.owner).chain(&alias.other_reading).map(|KeyOwner { user, .. }| user).collect();
    let known = keys_left(entries.unwrap_or_default());
    let known_users: BTreeSet<_> = known.values().map(|user| user.as_str().to_ascii_lowercase()).collect();
    // Of two users one has nothing to do with the key, and which one the text does not say.
    let is_known = !known.is_empty() && (owners.len() == 1 || known_users.len() == 1);
    let targets: Vec<(&str, &str)> = match owners.as_slice() {
        _ if is_known => known.iter().map(|(id, user)| (*id, user.as_str())).collect(),
        [owner] => vec![(ID_PLACEHOLDER, owner.as_str())],
        _ => vec![(ID_PLACEHOLDER, USER_PLACEHOLDER)],
    };
    let alias = alias_of(alias);
    let deactivate = targets.iter().map(|(id, user)| Step {
        purpose: format!(
            "deactivate the key: it stops at once, and can be activated again{}",
            where_from(is_known, targets.len(), owners.len())
        ),
        command: format!(
            "aws iam update-service-specific-credential {} --status Inactive",
            key_arguments(user, id)
        ),
    });
    let list = owners.iter().map(|user| Step {
        purpose: format!(
            "look: lists the user's keys and how they stand. The leaked one has the alias {alias}"
        ),
        command: list_command(user, key.service.as_ref()),
    });
    let delete = targets.iter().map(|(id, user)| Step {
        purpose: "delete the key for good, once nobody needs it: this cannot be undone".to_owned(),
        command: format!("aws iam delete-service-specific-credential {}", key_arguments(user, id)),
    });
    deactivate.chain(list).chain(delete).collect()
}

/// Where the placeholders of a command are found, and which of several keys it is.
const fn where_from(is_known: bool, keys: usize, owners: usize) -> &'static str {
    match (is_known, keys, owners) {
        (true, 1, _) => "",
        (true, ..) => ". It may be another key of the user: the list below says which one has the alias",
        (false, _, 1) => ". CREDENTIAL_ID is in the list that the next command prints",
        (false, ..) => ". USER and CREDENTIAL_ID are in the lists that the next commands print",
    }
}

/// The alias that the text has, which IAM's list has, too (`ServiceCredentialAlias`).
fn alias_of(alias: &KeyAlias) -> String {
    let KeyOwner { user, key_number } = &alias.owner;
    let second = if *key_number == 2 { "+1" } else { "" };
    format!("{user}{second}-at-{}", alias.account)
}

fn key_arguments(user: &str, id: &str) -> String {
    format!("{} --service-specific-credential-id {id}", argument("--user-name", user))
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
                purpose: "deactivate it: it stops at once, with all short-term keys that it has signed, and can be activated \
                          again. USER is in the answer of the next command: UserName"
                    .to_owned(),
                command: format!(
                    "aws iam update-access-key --user-name USER --access-key-id {id} --status Inactive"
                ),
            },
            Step {
                purpose: "look: says whose the access key is, and when it was last used".to_owned(),
                command: format!("aws iam get-access-key-last-used --access-key-id {id}"),
            },
            Step {
                purpose: "delete it for good, once nobody needs it: this cannot be undone".to_owned(),
                command: format!("aws iam delete-access-key --user-name USER --access-key-id {id}"),
            },
        ];
    }
    let region = region.map(|region| format!(" --region {region}")).unwrap_or_default();
    let find = Step {
        purpose: "look: says whose session it is: userIdentity names the role. Ask in each Region where it may have been used"
            .to_owned(),
        command: format!(
            "aws cloudtrail lookup-events{region} --lookup-attributes AttributeKey=AccessKeyId,AttributeValue={id}"
        ),
    };
    let deny_keys = service.map(|service| Step {
        purpose:
            "deny API keys to all sessions of the role that have begun until now; its other work goes on"
                .to_owned(),
        command: deny_command("DenyApiKeysOfOlderSessions", &json!(use_actions(service)), now),
    });
    let deny_all = Step {
        purpose: "revoke all sessions of the role that have begun until now: their users have to sign in again. A role of IAM \
                  Identity Center (AWSReservedSSO_…) cannot be changed: there, put the policy into its permission set"
            .to_owned(),
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
