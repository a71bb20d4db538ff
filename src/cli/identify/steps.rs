//! The commands that stop a leaked key, safest first.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;

use super::output::LedgerEntry;
use crate::prevent::use_actions;
use key_guard_core::Time;
use key_guard_core::key::{Service, Status, UserName};
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

/// The keys of the ledger that the leaked one may be, each once: with its state, where it has one.
pub(super) fn candidates(entries: &[LedgerEntry]) -> Vec<&LedgerEntry> {
    let mut known = BTreeSet::new();
    entries.iter().filter(|entry| known.insert(&entry.credential_id)).collect()
}

/// What stops a long-term key, what can be undone first. Nothing, where its owner is not known. Where it is not certain which key
/// it is, the list comes first, and no command deletes a key by its id.
pub(super) fn for_long_term(key: &LongTermKey, candidates: &[&LedgerEntry]) -> Vec<Step> {
    let Some(alias) = &key.alias else { return Vec::new() };
    let owners: Vec<&UserName> =
        std::iter::once(&alias.owner).chain(&alias.other_reading).map(|KeyOwner { user, .. }| user).collect();
    let known = candidates.iter().filter_map(|entry| Some((*entry, entry.owner.as_ref()?.as_str())));
    let mut known: Vec<(&LedgerEntry, &str)> = known.collect();
    let users: BTreeSet<_> = known.iter().map(|(_, user)| user.to_ascii_lowercase()).collect();
    let from_list = match (known.as_slice(), owners.as_slice()) {
        ([(_, user), ..], _) if users.len() == 1 => (*user, ID_PLACEHOLDER),
        (_, [owner]) => (owner.as_str(), ID_PLACEHOLDER),
        _ => (USER_PLACEHOLDER, ID_PLACEHOLDER),
    };
    if owners.len() > 1 && users.len() > 1 {
        // One of the two users has nothing to do with the key, and which one the text does not say.
        known.clear();
    }
    let working = known.iter().filter(|(entry, _)| entry.stands.may_be_usable()).map(named);
    let (to_deactivate, to_delete): (Vec<_>, _) = match known.as_slice() {
        [] => (vec![from_list], Some(from_list)),
        all if all.iter().all(|(entry, _)| entry.stands == Status::Gone) => (Vec::new(), None),
        [one] => (working.collect(), Some(named(one))),
        _ => (working.collect(), Some(from_list)),
    };
    let alias = alias_of(alias);
    let is_certain = known.len() == 1;
    let which = if is_certain { String::new() } else { format!(", only the one with the alias {alias}") };
    let placeholders = match from_list {
        _ if is_certain || to_delete.is_none() => "",
        (USER_PLACEHOLDER, _) => ": USER and CREDENTIAL_ID below are its user and its id",
        _ => ": CREDENTIAL_ID below is its id",
    };
    let mut steps: Vec<_> =
        owners.iter().map(|user| list(user, key.service.as_ref(), &alias, placeholders)).collect();
    let at = if is_certain { 0 } else { steps.len() };
    steps.splice(at..at, to_deactivate.into_iter().map(|target| deactivation(target, &which)));
    steps.extend(to_delete.map(|target| deletion(target, &which)));
    steps
}

/// What a command needs of a key that the ledger knows.
fn named<'a>((entry, user): &(&'a LedgerEntry, &'a str)) -> (&'a str, &'a str) {
    (user, &entry.credential_id)
}

fn list(user: &UserName, service: Option<&Service>, alias: &str, placeholders: &str) -> Step {
    let option = argument("--user-name", user.as_str());
    let service = service.map(|service| format!(" --service-name {service}")).unwrap_or_default();
    Step {
        purpose: format!(
            "look: lists the user's keys and how they stand. The leaked one has the alias {alias}{placeholders}"
        ),
        command: format!("aws iam list-service-specific-credentials {option}{service}"),
    }
}

fn deactivation(target: (&str, &str), which: &str) -> Step {
    Step {
        purpose: format!("deactivate the key{which}: it stops at once, and can be activated again"),
        command: format!(
            "aws iam update-service-specific-credential {} --status Inactive",
            key_arguments(target)
        ),
    }
}

fn deletion(target: (&str, &str), which: &str) -> Step {
    Step {
        purpose: format!("delete the key for good{which}, once nobody needs it: this cannot be undone"),
        command: format!("aws iam delete-service-specific-credential {}", key_arguments(target)),
    }
}

/// The alias that the text has, which IAM's list has, too (`ServiceCredentialAlias`).
pub(super) fn alias_of(alias: &KeyAlias) -> String {
    let KeyOwner { user, key_number } = &alias.owner;
    let second = if *key_number == 2 { "+1" } else { "" };
    format!("{user}{second}-at-{}", alias.account)
}

fn key_arguments((user, id): (&str, &str)) -> String {
    format!("{} --service-specific-credential-id {id}", argument("--user-name", user))
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
