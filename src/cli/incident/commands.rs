//! `commands.md`: the commands that stop a key, what can be undone first.

use serde_json::json;

use crate::cli::timeline::collect::KnownKey;
use crate::prevent::use_actions;
use key_guard_core::key::{KeyRef, Service, Status, UserName};
use key_guard_core::words::remediation::{argument, deactivation_command, deletion_command};

/// What is known of the key that commands need.
struct Target<'a> {
    key: &'a KeyRef,
    user: Option<&'a UserName>,
    service: Option<&'a Service>,
    status: Status,
}

/// The whole file.
pub fn commands(known: &KnownKey) -> String {
    let KnownKey { key, views, .. } = known;
    let report = views.first().map(|view| &view.report);
    let target = Target {
        key,
        user: report.and_then(|report| report.user.as_ref()),
        service: report.and_then(|report| report.service.as_ref()),
        status: report.map_or(Status::Unknown, |report| report.status),
    };
    let mut sections = vec![introduction(&target)];
    match target.user {
        Some(user) => sections.extend(with_user(&target, user)),
        None => sections.push(section(
            "Find its user",
            "The ledger does not know it. The list has every key of the account, with its user:",
            &["aws iam list-service-specific-credentials --all-users".to_owned()],
        )),
    }
    sections.push(investigation(target.user));
    sections.push(
        "## A short-term key\n\nA short-term key (`bedrock-api-key-…`) is a signed URL: it has no id, nothing deletes it, and it \
         ends after 12 hours at most. Paste it at the prompt of `bedrock-key-guard identify`, which says who signed it, and \
         prints the commands that revoke the session.\n"
            .to_owned(),
    );
    sections.join("\n")
}

fn introduction(target: &Target<'_>) -> String {
    let KeyRef { account, id } = target.key;
    let stands = match target.status {
        Status::Active => "it is active",
        Status::Inactive => {
            "it is inactive; anybody who may call `UpdateServiceSpecificCredential` can activate it"
        }
        Status::Expired => "it has expired, and no longer works",
        Status::Gone => "it is gone, so there is nothing left to stop: section 2 confirms that",
        Status::Unknown => "it is not known how it stands: section 2 says so",
    };
    format!(
        "# Commands to stop key {id}\n\nRun them in account {account}, with credentials that are not the key. As far as the \
         ledger knows, {stands}.\n\n```sh\naws sts get-caller-identity    # \"Account\" has to be {account}\n```\n"
    )
}

fn with_user(target: &Target<'_>, user: &UserName) -> Vec<String> {
    let id = &target.key.id;
    let option = argument("--user-name", user.as_str());
    let mut sections = vec![
        section(
            "1. Deactivate it",
            "It stops at once. This can be undone: the same command with `--status Active`.",
            &[deactivation_command(user, id.as_str())],
        ),
        section(
            "2. Look",
            "How the key stands, and the user's other keys. `NoSuchEntity` says that the user was deleted or renamed, not that \
             the key is gone: the second command lists the keys of all users.",
            &[
                format!("aws iam list-service-specific-credentials {option}"),
                "aws iam list-service-specific-credentials --all-users".to_owned(),
            ],
        ),
        section(
            "3. Delete it",
            "When nobody needs it. This cannot be undone.",
            &[deletion_command(user, id)],
        ),
        section(
            "4. Look for other ways in",
            "They outlive the key.",
            &[
                format!("aws iam list-access-keys {option}"),
                format!("aws iam get-login-profile {option}"),
                format!("aws iam list-attached-user-policies {option}"),
                format!("aws iam list-user-policies {option}"),
                format!("aws iam list-groups-for-user {option}"),
            ],
        ),
    ];
    sections.extend(target.service.and_then(|service| denial(service, &option)));
    sections
}

/// As AWS advises for a compromised key (Amazon Bedrock user guide, *Handle compromised long-term and short-term Amazon Bedrock
/// API keys*).
fn denial(service: &Service, option: &str) -> Option<String> {
    const NAME: &str = "--policy-name DenyApiKeys";
    let actions = use_actions(service);
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Deny", "Action": actions, "Resource": "*" }],
    });
    (!actions.is_empty()).then(|| {
        section(
            "5. Or stop every key of the user",
            "If it is not known which key it was: no API key of this user is accepted any more, nor a short-term key that the user \
             has signed. The second command undoes it.",
            &[
                format!("aws iam put-user-policy {option} {NAME} --policy-document '{policy}'"),
                format!("aws iam delete-user-policy {option} {NAME}"),
            ],
        )
    })
}

/// IAM's events are in one Region of each partition (IAM user guide, *Logging IAM and AWS STS API calls with AWS CloudTrail*).
fn investigation(user: Option<&UserName>) -> String {
    let of_event = "aws cloudtrail lookup-events --region us-east-1 \
                    --lookup-attributes AttributeKey=EventId,AttributeValue=EVENT_ID"
        .to_owned();
    let usage = user.map(|user| {
        format!("bedrock-key-guard usage {} --since 30d AWSLogs/", argument("--user", user.as_str()))
    });
    section(
        "What did it do?",
        "The whole event of each id in `event-ids.txt`, for 90 days (`us-gov-west-1` in GovCloud, `cn-north-1` in China), and the \
         calls with keys of this user.",
        &std::iter::once(of_event).chain(usage).collect::<Vec<_>>(),
    )
}

fn section(title: &str, text: &str, commands: &[String]) -> String {
    format!("## {title}\n\n{text}\n\n```sh\n{}\n```\n", commands.join("\n"))
}
