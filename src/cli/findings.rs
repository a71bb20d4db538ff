//! Keys as findings of other people's formats. A dry run is a finding of its own, and its title says so.

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use crate::doctor::iam_event_region;
use crate::ledger::view::{KeyView, KnownExpiration};
use key_guard_core::Time;
use key_guard_core::key::{Service, Status};
use key_guard_core::lifecycle::standing::StatusEvidence;
use key_guard_core::policy::{Response, Verdict, Violation};
use key_guard_core::report::Severity;
use key_guard_core::time::rfc3339;

const PRODUCT: &str = "Bedrock Key Guard";

/// The version of OCSF that findings are written in.
pub const OCSF_VERSION: &str = "1.5.0";

/// The longest `Remediation.Recommendation.Text`, in characters (AWS Security Hub user guide, *AWS Security Finding
/// Format*). The whole text stands among the details of the resource.
const ASFF_RECOMMENDATION: usize = 512;

/// Where a finding is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FindingStatus {
    /// The key is as it was found.
    New,
    /// The guard's response is pending.
    InProgress,
    /// The policy has an exemption for it.
    Suppressed,
    /// There was nothing to find, or there no longer is.
    Resolved,
}

fn finding_status(view: &KeyView) -> FindingStatus {
    match view.report.verdict {
        _ if matches!(view.report.status, Status::Gone | Status::Expired) => FindingStatus::Resolved,
        // Only the end of the key is known, or nothing.
        None | Some(Verdict::Compliant) => FindingStatus::Resolved,
        Some(Verdict::Exempt) => FindingStatus::Suppressed,
        Some(Verdict::Noncompliant | Verdict::Undetermined) if view.intent.is_some() => {
            FindingStatus::InProgress
        }
        Some(Verdict::Noncompliant | Verdict::Undetermined) if view.report.status.may_be_usable() => {
            FindingStatus::New
        }
        Some(Verdict::Noncompliant | Verdict::Undetermined) => FindingStatus::Resolved,
    }
}

fn title(view: &KeyView) -> String {
    let service = match &view.report.service {
        None => "an AWS service",
        Some(Service::Bedrock) => "Amazon Bedrock",
        Some(Service::ClaudePlatform) => "Claude Platform on AWS",
        Some(Service::CloudWatch) => "Amazon CloudWatch",
        Some(Service::Logs) => "Amazon CloudWatch Logs",
        Some(Service::XRay) => "AWS X-Ray",
        Some(Service::CodeCommit) => "AWS CodeCommit",
        Some(Service::Keyspaces) => "Amazon Keyspaces",
        Some(Service::Other(name)) => name.as_str(),
    };
    let key = format!("API key for {service} in account {}", view.key.account);
    let title = match (view.report.verdict, view.report.violation) {
        (None, _) => format!("{key} is not assessed"),
        (Some(Verdict::Noncompliant), Some(Violation::NeverExpires)) => format!("{key} never expires"),
        (Some(Verdict::Noncompliant), Some(Violation::Reactivated)) => {
            format!("Deactivated {key} was activated again")
        }
        (Some(Verdict::Noncompliant), Some(Violation::LongTermKeyForbidden)) => {
            format!("Long-term {key} is forbidden")
        }
        (Some(Verdict::Noncompliant), Some(Violation::LifetimeExceedsLimit) | None) => {
            format!("{key} lives longer than allowed")
        }
        (Some(Verdict::Undetermined), _) => format!("{key}: it is not known when it expires"),
        (Some(Verdict::Exempt), _) => format!("{key} is exempt from the limit"),
        (Some(Verdict::Compliant), _) => format!("{key} is within the limit"),
    };
    let ended = match view.report.status {
        Status::Gone => " (deleted)",
        Status::Expired => " (expired)",
        Status::Inactive => " (inactive)",
        Status::Active | Status::Unknown => "",
    };
    if view.is_dry_run { format!("Dry run: {title}{ended}") } else { format!("{title}{ended}") }
}

/// What is found: the violation, or the verdict.
fn finding_type(view: &KeyView) -> &'static str {
    let verdict = view.report.verdict.map_or("not_assessed", Verdict::as_str);
    view.report.violation.map_or(verdict, Violation::as_str)
}

/// The partition that an account is in, by the ARN of the key's creator; `aws` where that says nothing.
fn partition(view: &KeyView) -> &str {
    let actor = view.creation.as_ref().map(|event| &event.actor);
    let arns = actor.map(|actor| [actor.principal.as_deref(), actor.session_issuer.as_deref()]);
    arns.into_iter()
        .flatten()
        .flatten()
        .find_map(|arn| match arn.split(':').collect::<Vec<_>>().as_slice() {
            ["arn", partition, ..] if iam_event_region(partition).is_some() => Some(*partition),
            _ => None,
        })
        .unwrap_or("aws")
}

/// The user, where it is known; else the account.
fn resource(view: &KeyView) -> (String, String) {
    let (partition, account) = (partition(view), &view.key.account);
    match &view.report.user {
        Some(user) => (format!("arn:{partition}:iam::{account}:user/{user}"), user.to_string()),
        None => (format!("arn:{partition}:iam::{account}:root"), "(unknown)".to_owned()),
    }
}

/// The same key is the same finding in every export.
fn uid(view: &KeyView) -> String {
    let uid = format!("bedrock-key-guard/{}/{}", view.key.account, view.key.id);
    if view.is_dry_run { format!("{uid}/dry-run") } else { uid }
}

fn facts(view: &KeyView) -> Vec<(&'static str, String)> {
    fn text(value: Option<&impl ToString>) -> String {
        value.map(ToString::to_string).unwrap_or_default()
    }
    let report = &view.report;
    let facts = [
        ("credential_id", view.key.id.to_string()),
        ("service", text(report.service.as_ref())),
        ("created_at", report.created_at.map(rfc3339).unwrap_or_default()),
        (
            "expires_at",
            match view.expiration {
                None => String::new(),
                Some(KnownExpiration::At(end)) => rfc3339(end),
                Some(expiration @ (KnownExpiration::Never | KnownExpiration::Undetermined)) => {
                    expiration.as_str().to_owned()
                }
            },
        ),
        ("limit_days", text(report.limit_days.as_ref())),
        ("verdict", text(report.verdict.map(Verdict::as_str).as_ref())),
        ("violation", text(report.violation.map(Violation::as_str).as_ref())),
        ("status", report.status.as_str().to_owned()),
        ("status_by", text(view.standing.by.as_ref())),
        ("status_since", view.standing.since.map(rfc3339).unwrap_or_default()),
        ("status_evidence", text(view.standing.evidence.map(StatusEvidence::as_str).as_ref())),
        ("response", Response::as_str(report.response).to_owned()),
        ("outcome", report.outcome.to_string()),
        ("dry_run", view.is_dry_run.to_string()),
        ("remediation", text(report.remediation.as_ref())),
        ("actor", text(report.actor.as_ref())),
        ("source_ip", text(report.source_ip.as_ref())),
        ("user_agent", text(report.user_agent.as_ref())),
        ("event_id", text(report.event_id.as_ref())),
        ("policy_sha256", text(report.policy_sha256.as_ref())),
    ];
    facts.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect()
}

/// When the finding last changed.
fn updated(view: &KeyView) -> Time {
    view.changed_at.map_or(view.at, |changed| changed.max(view.at))
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

/// A key as a Detection Finding, class 2004 of the Open Cybersecurity Schema Framework.
#[must_use]
pub fn ocsf(view: &KeyView) -> Value {
    let ((status_id, status), (activity_id, activity)) = match finding_status(view) {
        FindingStatus::New => ((1, "New"), (1, "Create")),
        FindingStatus::InProgress => ((2, "In Progress"), (2, "Update")),
        FindingStatus::Suppressed => ((3, "Suppressed"), (2, "Update")),
        FindingStatus::Resolved => ((4, "Resolved"), (3, "Close")),
    };
    let (severity_id, severity) = ocsf_severity(view.report.severity);
    let (partition, updated) = (partition(view), updated(view));
    let (user_arn, user) = resource(view);
    let facts: Map<_, _> =
        facts(view).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut finding = json!({
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
        "status_code": view.report.outcome.as_str(),
        "status_detail": view.report.reason,
        "message": title(view),
        "metadata": ocsf_metadata(view),
        "finding_info": {
            "uid": uid(view),
            "title": title(view),
            "desc": view.report.reason,
            "created_time": view.at.timestamp_millis(),
            "modified_time": updated.timestamp_millis(),
            "types": ["Software and Configuration Checks"],
        },
        "cloud": {
            "provider": "AWS",
            "region": iam_event_region(partition).unwrap_or_default(),
            "account": {
                "name": view.key.account, "uid": view.key.account, "type": "AWS Account", "type_id": 10
            },
        },
        "resources": [{
            "uid": user_arn,
            "name": user,
            "type": "AwsIamUser",
            "cloud_partition": partition,
            "region": iam_event_region(partition).unwrap_or_default(),
            "data": facts,
        }],
    });
    if let Some(remediation) = &view.report.remediation {
        insert(
            &mut finding,
            "remediation",
            json!({ "desc": remediation, "references": [remediation.page()] }),
        );
    }
    finding
}

fn insert(finding: &mut Value, name: &str, value: Value) {
    if let Some(fields) = finding.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

const fn ocsf_severity(severity: Severity) -> (u8, &'static str) {
    match severity {
        Severity::Info => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}

fn ocsf_metadata(view: &KeyView) -> Value {
    json!({
        "version": OCSF_VERSION,
        "uid": format!("{}/{}", uid(view), view.report.outcome),
        "event_code": finding_type(view),
        "profiles": ["cloud"],
        "product": {
            "name": PRODUCT,
            "vendor_name": PRODUCT,
            "uid": "bedrock-key-guard",
            "version": env!("CARGO_PKG_VERSION"),
        },
    })
}

/// A key as a finding of AWS Security Hub (AWS Security Finding Format), for `BatchImportFindings` in the key's own account
/// and IAM's own region.
#[must_use]
pub fn asff(view: &KeyView) -> Value {
    let time = |time: Time| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (partition, account) = (partition(view), &view.key.account);
    let (user_arn, user) = resource(view);
    let region = iam_event_region(partition).unwrap_or_default();
    let (workflow, record) = match finding_status(view) {
        FindingStatus::New | FindingStatus::InProgress => ("NEW", "ACTIVE"),
        FindingStatus::Suppressed => ("SUPPRESSED", "ACTIVE"),
        FindingStatus::Resolved => ("RESOLVED", "ARCHIVED"),
    };
    let severity = match view.report.severity {
        Severity::Info => "INFORMATIONAL",
        Severity::Low => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    };
    let compliance = match view.report.verdict {
        Some(Verdict::Compliant | Verdict::Exempt) => "PASSED",
        Some(Verdict::Noncompliant) => "FAILED",
        None | Some(Verdict::Undetermined) => "NOT_AVAILABLE",
    };
    let facts: Map<_, _> =
        facts(view).into_iter().map(|(name, value)| (name.to_owned(), cut(&value, 2_048).into())).collect();
    let mut finding = json!({
        "SchemaVersion": "2018-10-08",
        "Id": uid(view),
        "ProductArn": format!("arn:{partition}:securityhub:{region}:{account}:product/{account}/default"),
        "ProductName": PRODUCT,
        "CompanyName": PRODUCT,
        "GeneratorId": format!("bedrock-key-guard/{}", finding_type(view)),
        "AwsAccountId": account,
        "Region": region,
        "Types": ["Software and Configuration Checks/Industry and Regulatory Standards"],
        "FirstObservedAt": time(view.at),
        "CreatedAt": time(view.at),
        "UpdatedAt": time(updated(view)),
        "Severity": { "Label": severity },
        "Title": cut(&title(view), 256),
        "Description": cut(&view.report.reason, 1_024),
        "Resources": [{
            "Type": "AwsIamUser",
            "Id": user_arn,
            "Partition": partition,
            "Region": region,
            "Details": { "AwsIamUser": { "UserName": user }, "Other": facts },
        }],
        "Compliance": { "Status": compliance },
        "Workflow": { "Status": workflow },
        "RecordState": record,
    });
    if let Some(remediation) = &view.report.remediation {
        let recommendation =
            json!({ "Text": remediation.within(ASFF_RECOMMENDATION), "Url": remediation.page() });
        insert(&mut finding, "Remediation", json!({ "Recommendation": recommendation }));
    }
    finding
}
