//! Users that a console created for keys which are gone. Nothing removes them, and a person may.

use std::cell::RefCell;
use std::collections::BTreeSet;

use key_guard_core::key::{AccountId, UserName};
use key_guard_core::lifecycle::state::{Phase, StoredState};
use key_guard_core::ports::{CredentialApi, KeyStore as _};
use key_guard_core::words::remediation::argument;

use super::output::Output;
use crate::aws::credentials::{IamCredentials, OrphanedUser};
use crate::clock::Clock;
use crate::ledger::store::Ledger;
use crate::runtime::executor::Executor;
use crate::telemetry::chain;

/// Notes the users of gone keys of these accounts, from the ledger.
pub async fn read_users_of_gone_keys<A: CredentialApi, C: Clock>(
    executor: &Executor<'_, Ledger, A, C>,
    output: &RefCell<Output>,
    accounts: &BTreeSet<AccountId>,
) {
    for account in accounts {
        let mut cursor = None;
        loop {
            match executor.retry(|| executor.store.known_keys(account, None, cursor.as_ref())).await {
                Ok(page) => {
                    note_users_of_gone_keys(&mut output.borrow_mut(), &page.keys);
                    cursor = page.next;
                }
                Err(error) => {
                    // The account was swept all the same.
                    let why = chain(&error);
                    output.borrow().progress.warn(&format!(
                        "account {account}: users that a console left behind could not be looked up: {why}"
                    ));
                    break;
                }
            }
            if cursor.is_none() {
                break;
            }
        }
    }
}

/// Notes the users that a console created for the keys that are gone.
pub fn note_users_of_gone_keys(output: &mut Output, known: &[StoredState]) {
    let records = known.iter().filter_map(|stored| stored.state.record());
    let gone = records.filter(|record| matches!(record.phase, Phase::Gone(_)));
    let users = gone.filter(|record| record.facts.user.is_console_user());
    output.users_of_gone_keys.extend(users.map(|record| {
        let account = record.key().account.clone();
        (account, record.facts.user.clone())
    }));
}

/// Looks what is left of the users of gone keys, and notes what a person may do about them.
pub async fn describe_orphans(api: &IamCredentials, output: &RefCell<Output>) {
    let users = std::mem::take(&mut output.borrow_mut().users_of_gone_keys);
    for (account, user) in users {
        // A key that could not be read may be this user's.
        let is_orphan = {
            let output = output.borrow();
            output.swept.contains(&account) && !output.has_keys(&account, &user)
        };
        if !is_orphan {
            continue;
        }
        match api.orphaned_user(&account, &user).await {
            Ok(None) => {}
            Ok(Some(orphan)) => output.borrow_mut().user_notes.push(describe(&account, &user, &orphan)),
            Err(error) => {
                let warning = format!("user {user} in account {account}: {}", chain(&error));
                output.borrow().progress.warn(&warning);
            }
        }
    }
}

/// The user, and the commands that take it apart, each on a line.
fn describe(account: &AccountId, user: &UserName, orphan: &OrphanedUser) -> String {
    let policies = match orphan.policies.as_slice() {
        [] => "no policy".to_owned(),
        arns => arns.iter().filter_map(|arn| arn.rsplit('/').next()).collect::<Vec<_>>().join(", "),
    };
    let access_keys = match orphan.access_keys.as_slice() {
        [] => "no access key".to_owned(),
        ids => format!("ACCESS KEYS ({}), which are independent of the API key", ids.join(", ")),
    };
    let head = format!(
        "user {user} in account {account}, created by a console, is left, with {policies} and {access_keys}; to take it \
         apart, safest first:"
    );
    let commands = commands(user, orphan);
    std::iter::once(head)
        .chain(commands.into_iter().map(|command| format!("  {command}")))
        .collect::<Vec<_>>()
        .join("\n")
}

/// What takes an orphaned user apart: first what can be undone.
fn commands(user: &UserName, orphan: &OrphanedUser) -> Vec<String> {
    // A person pastes them into a shell, and a policy's path may hold anything.
    let user = argument("--user-name", user.as_str());
    let is_plain = |text: &&String| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte))
    };
    let access_keys: Vec<_> = orphan.access_keys.iter().filter(is_plain).collect();
    let policies: Vec<_> = orphan.policies.iter().filter(is_plain).collect();
    let key =
        |what: &str, id: &String, more: &str| format!("aws iam {what} {user} --access-key-id {id}{more}");
    let mut commands: Vec<_> =
        access_keys.iter().map(|id| key("update-access-key", id, " --status Inactive")).collect();
    commands
        .extend(policies.iter().map(|arn| format!("aws iam detach-user-policy {user} --policy-arn {arn}")));
    if access_keys.len() + policies.len() < orphan.access_keys.len() + orphan.policies.len() {
        commands.push("# and what has a name that no shell should be given".to_owned());
    }
    commands.extend(access_keys.iter().map(|id| key("delete-access-key", id, "")));
    commands.push(format!("aws iam delete-user {user}"));
    commands
}
