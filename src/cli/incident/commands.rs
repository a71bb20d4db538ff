//! `commands.md`: the commands that stop a key, what can be undone first.

use serde_json::json;

use crate::cli::facts;
use crate::cli::timeline::collect::KnownKey;
use crate::prevent::actions;
use key_guard_core::key::{KeyRef, Status, UserName};
use key_guard_core::lifecycle::standing::{Standing, StatusEvidence};
use key_guard_core::words::remediation::{argument, deactivation_command, deletion_command};

/// What is known of the key that commands need.
struct Target<'a> {
    key: &'a KeyRef,
    user: Option<&'a UserName>,
    standing: Standing,
}

/// The whole file.
pub fn commands(known: &KnownKey) -> String {
    let KnownKey { key, views, .. } = known;
    let report = views.first().map(|view| &view.report);
    let target = Target {
        key,
        user: report.and_then(|report| report.user.as_ref()),
        standing: views.first().map_or(Standing::UNKNOWN, |view| view.standing.clone()),
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
    let word = facts::status_word(&target.standing);
    let says = match target.standing.evidence {
        Some(StatusEvidence::SavedList) => "a saved list says, and not when",
        Some(StatusEvidence::Iam | StatusEvidence::Event | StatusEvidence::Expiration) | None => {
            "the ledger knows"
        }
    };
    let stands = match target.standing.status {
        Status::Active => "it is active".to_owned(),
        Status::Inactive => {
            "it is inactive; anybody who may call `UpdateServiceSpecificCredential` can activate it"
                .to_owned()
        }
        Status::Expired => "it has expired, and no longer works".to_owned(),
        Status::Gone => format!("it is {word}, so there is nothing left to stop: section 1 confirms that"),
        Status::Unknown => "it is not known how it stands: section 2 says so".to_owned(),
    };
    format!(
        "# Commands to stop key {id}\n\nRun them in account {account}, with credentials that are not the key. As far as \
         {says}, {stands}.\n\n```sh\naws sts get-caller-identity    # \"Account\" has to be {account}\n```\n"
    )
}

fn with_user(target: &Target<'_>, user: &UserName) -> Vec<String> {
    let id = &target.key.id;
    let option = argument("--user-name", user.as_str());
    let is_gone = target.standing.status == Status::Gone;
    let (deactivate, look, delete) = if is_gone {
        ("2. If it is there after all: deactivate it", "1. Look", "3. If it is there after all: delete it")
    } else {
        ("1. Deactivate it", "2. Look", "3. Delete it")
    };
    let mut first = [
        section(
            deactivate,
            "It stops at once. This can be undone: the same command with `--status Active`.",
            &[deactivation_command(user, id.as_str())],
        ),
        section(
            look,
            "How the key stands, and the user's other keys. `NoSuchEntity` says that the user was deleted or renamed, not that \
             the key is gone: the second command lists the keys of all users.",
            &[
                format!("aws iam list-service-specific-credentials {option}"),
                "aws iam list-service-specific-credentials --all-users".to_owned(),
            ],
        ),
    ];
    if is_gone {
        first.reverse();
    }
    let rest = [
        section(delete, "When nobody needs it. This cannot be undone.", &[deletion_command(user, id)]),
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
        denial(&option),
    ];
    first.into_iter().chain(rest).collect()
}

/// As AWS advises for a compromised key (Amazon Bedrock user guide, *Handle compromised long-term and short-term Amazon Bedrock
/// API keys*). The user may have keys of every service, whichever key this is about.
fn denial(option: &str) -> String {
    const NAME: &str = "--policy-name DenyApiKeys";
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Deny", "Action": actions(), "Resource": "*" }],
    });
    section(
        "5. Or stop every key of the user",
        "If it is not known which key it was: no key of this user for Bedrock or Claude Platform is accepted any more, nor a \
         short-term key that the user has signed, and the user can create no key. The second command undoes it. IAM cannot tell \
         the use of keys of CloudWatch, Logs and X-Ray: deactivate these one by one.",
        &[
            format!("aws iam put-user-policy {option} {NAME} --policy-document '{policy}'"),
            format!("aws iam delete-user-policy {option} {NAME}"),
        ],
    )
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
