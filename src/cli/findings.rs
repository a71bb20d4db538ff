//! Keys as findings of other people's formats.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::ledger::Entry;
use crate::ledger::Outcome;
use key_guard_core::key::{Expiration, Service};
use key_guard_core::policy::{Verdict, Violation};
use key_guard_core::report::Severity;
use key_guard_core::time::rfc3339;

const PRODUCT: &str = "Bedrock Key Guard";

/// The version of OCSF that findings are written in.
pub const OCSF_VERSION: &str = "1.5.0";

/// Where a finding is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// The key is as it was found.
    New,
    /// The guard is at it.
    InProgress,
    /// The policy has an exemption for it.
    Suppressed,
    /// There was nothing to find, or there no longer is.
    Resolved,
}

fn life(entry: &Entry) -> Life {
    match entry.standing {
        Verdict::Compliant => Life::Resolved,
        Verdict::Exempt => Life::Suppressed,
        Verdict::Noncompliant | Verdict::Undetermined => match entry.outcome {
            Outcome::Open | Outcome::Confirmed => Life::InProgress,
            Outcome::Ignored | Outcome::Recorded | Outcome::Monitored => Life::New,
            Outcome::AlreadyInactive
            | Outcome::AlreadyGone
            | Outcome::Deactivated
            | Outcome::Gone
            | Outcome::Deleted => Life::Resolved,
        },
    }
}

fn title(entry: &Entry) -> String {
    let service = match &entry.service {
        Service::Bedrock => "Amazon Bedrock",
        Service::ClaudePlatform => "Claude Platform on AWS",
        Service::CloudWatch => "Amazon CloudWatch",
        Service::Logs => "Amazon CloudWatch Logs",
        Service::XRay => "AWS X-Ray",
        Service::CodeCommit => "AWS CodeCommit",
        Service::Keyspaces => "Amazon Keyspaces",
        Service::Other(name) => name.as_str(),
    };
    match (entry.standing, entry.violation) {
        (Verdict::Noncompliant, Some(Violation::NeverExpires)) => {
            format!("API key for {service} never expires")
        }
        (Verdict::Noncompliant, Some(Violation::Reactivated)) => {
            format!("Deactivated API key for {service} was switched on again")
        }
        (Verdict::Noncompliant, _) => format!("API key for {service} lives longer than allowed"),
        (Verdict::Undetermined, _) => format!("Lifetime of an API key for {service} is not known"),
        (Verdict::Exempt, _) => format!("API key for {service} is exempt from the limit"),
        (Verdict::Compliant, _) => format!("API key for {service} is within the limit"),
    }
}

/// The partition that an account is in, by the ARN of whoever made the key; `aws` where that says nothing.
fn partition(entry: &Entry) -> &str {
    let arns = [entry.actor.principal.as_deref(), entry.actor.session_issuer.as_deref()];
    arns.into_iter()
        .flatten()
        .find_map(|arn| match arn.split(':').collect::<Vec<_>>().as_slice() {
            ["arn", partition @ ("aws" | "aws-us-gov" | "aws-cn"), ..] => Some(*partition),
            _ => None,
        })
        .unwrap_or("aws")
}

/// Where IAM is: its calls are logged in one region of each partition.
fn home(partition: &str) -> &'static str {
    match partition {
        "aws-us-gov" => "us-gov-west-1",
        "aws-cn" => "cn-north-1",
        _ => "us-east-1",
    }
}

fn user_arn(entry: &Entry) -> String {
    format!("arn:{}:iam::{}:user/{}", partition(entry), entry.key.account, entry.user)
}

/// The same key is the same finding, whoever exports it.
fn uid(entry: &Entry) -> String {
    format!("bedrock-key-guard/{}/{}", entry.key.account, entry.key.id)
}

fn facts(entry: &Entry) -> Vec<(&'static str, String)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let facts = [
        ("credential_id", entry.key.id.to_string()),
        ("service", entry.service.to_string()),
        ("created_at", rfc3339(entry.created_at)),
        (
            "expires_at",
            match entry.expiration {
                None => "unreadable".to_owned(),
                Some(Expiration::Never) => "never".to_owned(),
                Some(Expiration::At(end)) => rfc3339(end),
            },
        ),
        ("limit_days", entry.limit_days.to_string()),
        ("verdict", entry.standing.as_str().to_owned()),
        ("violation", entry.violation.map(|violation| violation.as_str().to_owned()).unwrap_or_default()),
        ("response", entry.response.to_string()),
        ("outcome", entry.outcome.to_string()),
        ("actor", text(&entry.actor.principal)),
        ("source_ip", text(&entry.source_ip)),
        ("user_agent", text(&entry.user_agent)),
        ("event_id", entry.event_id.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("policy_sha256", entry.policy_sha256.clone()),
    ];
    facts.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect()
}

/// When a key was last heard of.
fn updated(entry: &Entry) -> DateTime<Utc> {
    entry.settled_at.unwrap_or(entry.recorded_at).max(entry.event_time)
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

/// A key as a Detection Finding, class 2004 of the Open Cybersecurity Schema Framework.
#[must_use]
pub fn ocsf(entry: &Entry) -> Value {
    let (status_id, status) = match life(entry) {
        Life::New => (1, "New"),
        Life::InProgress => (2, "In Progress"),
        Life::Suppressed => (3, "Suppressed"),
        Life::Resolved => (4, "Resolved"),
    };
    let (severity_id, severity) = match entry.severity() {
        Severity::Info => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    };
    let (activity_id, activity) = match life(entry) {
        Life::New => (1, "Create"),
        Life::InProgress | Life::Suppressed => (2, "Update"),
        Life::Resolved => (3, "Close"),
    };
    let (partition, updated) = (partition(entry), updated(entry));
    let facts: serde_json::Map<_, _> =
        facts(entry).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    json!({
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "type_uid": 200_400 + activity_id,
        "type_name": format!("Detection Finding: {activity}"),
        "time": updated.timestamp_millis(),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_code": entry.outcome.as_str(),
        "status_detail": entry.reason,
        "message": title(entry),
        "metadata": {
            "version": OCSF_VERSION,
            "uid": format!("{}/{}", uid(entry), entry.outcome),
            "event_code": entry.violation.map_or(entry.standing.as_str(), Violation::as_str),
            "profiles": ["cloud"],
            "product": {
                "name": PRODUCT,
                "vendor_name": PRODUCT,
                "uid": "bedrock-key-guard",
                "version": env!("CARGO_PKG_VERSION"),
            },
        },
        "finding_info": {
            "uid": uid(entry),
            "title": title(entry),
            "desc": entry.reason,
            "created_time": entry.event_time.timestamp_millis(),
            "modified_time": updated.timestamp_millis(),
            "types": ["Software and Configuration Checks"],
        },
        "cloud": {
            "provider": "AWS",
            "region": home(partition),
            "account": {
                "name": entry.key.account, "uid": entry.key.account, "type": "AWS Account", "type_id": 10
            },
        },
        "resources": [{
            "uid": user_arn(entry),
            "name": entry.user,
            "type": "AwsIamUser",
            "cloud_partition": partition,
            "region": home(partition),
            "data": facts,
        }],
    })
}

/// A key as a finding of AWS Security Hub (AWS Security Finding Format), for `BatchImportFindings` in the key's own account
/// and IAM's own region.
#[must_use]
pub fn asff(entry: &Entry) -> Value {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (partition, account) = (partition(entry), &entry.key.account);
    let region = home(partition);
    let (workflow, record) = match life(entry) {
        Life::New | Life::InProgress => ("NEW", "ACTIVE"),
        Life::Suppressed => ("SUPPRESSED", "ACTIVE"),
        Life::Resolved => ("RESOLVED", "ARCHIVED"),
    };
    let severity = match entry.severity() {
        Severity::Info => "INFORMATIONAL",
        Severity::Low => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    };
    let compliance = match entry.standing {
        Verdict::Compliant | Verdict::Exempt => "PASSED",
        Verdict::Noncompliant => "FAILED",
        Verdict::Undetermined => "NOT_AVAILABLE",
    };
    let facts: serde_json::Map<_, _> =
        facts(entry).into_iter().map(|(name, value)| (name.to_owned(), cut(&value, 2_048).into())).collect();
    json!({
        "SchemaVersion": "2018-10-08",
        "Id": uid(entry),
        "ProductArn": format!("arn:{partition}:securityhub:{region}:{account}:product/{account}/default"),
        "ProductName": PRODUCT,
        "CompanyName": PRODUCT,
        "GeneratorId": format!(
            "bedrock-key-guard/{}", entry.violation.map_or(entry.standing.as_str(), Violation::as_str)
        ),
        "AwsAccountId": account,
        "Region": region,
        "Types": ["Software and Configuration Checks/Industry and Regulatory Standards"],
        "FirstObservedAt": time(entry.event_time),
        "CreatedAt": time(entry.event_time),
        "UpdatedAt": time(updated(entry)),
        "Severity": { "Label": severity },
        "Title": cut(&title(entry), 256),
        "Description": cut(&entry.reason, 1_024),
        "Resources": [{
            "Type": "AwsIamUser",
            "Id": user_arn(entry),
            "Partition": partition,
            "Region": region,
            "Details": { "AwsIamUser": { "UserName": entry.user }, "Other": facts },
        }],
        "Compliance": { "Status": compliance },
        "Workflow": { "Status": workflow },
        "RecordState": record,
    })
}
