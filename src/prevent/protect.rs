//! The guard's own resources in members: a service control policy that keeps them as they are.
//!
//! Names are those of `infra/member.yaml`; `tests/it/prevent/protect.rs` holds both against each other. Actions and resource
//! types: service authorization reference, *Amazon EventBridge*, *Amazon EventBridge Scheduler*, *Amazon SQS*, *Amazon
//! CloudWatch*, *AWS CloudFormation*, *AWS CloudTrail*, *AWS IAM*.
//!
//! StackSets with service-managed permissions use a role `stacksets-exec-*` in each member (CloudFormation user guide,
//! *Configure a custom execution role template for StackSets*). It may change everything here, so it is protected itself:
//! nobody else may create such a role or let somebody into it. StackSets create it with a service-linked role, which no
//! service control policy reaches (AWS Organizations user guide, *Service control policies*).

use std::collections::BTreeMap;

use super::document::{Document, finish, out_of_reach};
use super::options::{BreakGlass, Kind, Partition};
use super::plan::PreventError;
use super::statement::{PRINCIPAL_ARN, Statement, Texts};

/// Who is left out beside break-glass principals: the role of StackSets.
const STACK_SETS: &str = "stacksets-exec-*";

/// Actions, and the resources that they are denied on: the part of the ARN behind the partition.
struct Protected {
    sid: &'static str,
    actions: &'static [&'static str],
    resources: &'static [&'static str],
}

const PROTECTED: [Protected; 6] = [
    Protected {
        sid: "KeepRules",
        actions: &[
            "events:DeleteRule",
            "events:DisableRule",
            "events:PutRule",
            "events:PutTargets",
            "events:RemoveTargets",
        ],
        resources: &["events:*:*:rule/bedrock-key-guard-*"],
    },
    Protected {
        sid: "KeepRoles",
        actions: &[
            "iam:AttachRolePolicy",
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePermissionsBoundary",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:PutRolePermissionsBoundary",
            "iam:PutRolePolicy",
            "iam:UpdateAssumeRolePolicy",
            "iam:UpdateRole",
        ],
        // Also under a path, and with the name that CloudFormation gives: StackSet-bedrock-key-guard-member-…
        resources: &["iam::*:role/*bedrock-key-guard-*", "iam::*:role/stacksets-exec-*"],
    },
    Protected {
        sid: "KeepSchedules",
        actions: &["scheduler:CreateSchedule", "scheduler:DeleteSchedule", "scheduler:UpdateSchedule"],
        resources: &["scheduler:*:*:schedule/*/bedrock-key-guard-*"],
    },
    Protected {
        sid: "KeepQueues",
        actions: &[
            "sqs:AddPermission",
            "sqs:DeleteQueue",
            "sqs:PurgeQueue",
            "sqs:RemovePermission",
            "sqs:SetQueueAttributes",
        ],
        resources: &["sqs:*:*:bedrock-key-guard-*"],
    },
    Protected {
        sid: "KeepAlarms",
        actions: &[
            "cloudwatch:DeleteAlarms",
            "cloudwatch:DisableAlarmActions",
            "cloudwatch:PutMetricAlarm",
            "cloudwatch:SetAlarmState",
        ],
        resources: &["cloudwatch:*:*:alarm:bedrock-key-guard-*"],
    },
    Protected {
        sid: "KeepStacks",
        actions: &[
            "cloudformation:CreateChangeSet",
            "cloudformation:DeleteStack",
            "cloudformation:ExecuteChangeSet",
            "cloudformation:UpdateStack",
        ],
        resources: &["cloudformation:*:*:stack/StackSet-bedrock-key-guard-*/*"],
    },
];

/// Without a trail no event arrives.
const TRAILS: Protected = Protected {
    sid: "KeepTrails",
    actions: &[
        "cloudtrail:DeleteTrail",
        "cloudtrail:PutEventSelectors",
        "cloudtrail:StopLogging",
        "cloudtrail:UpdateTrail",
    ],
    resources: &["cloudtrail:*:*:trail/*"],
};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Protection {
    /// Who may change everything here.
    pub break_glass: Vec<BreakGlass>,
    /// Which AWS the ARNs are of.
    pub partition: Partition,
    /// Deny the end and the change of every trail of a member, too.
    pub trails: bool,
}

/// Makes a service control policy that keeps the resources of members as they are.
///
/// # Errors
/// When AWS would not take a document of that length: there are too many break-glass principals.
pub fn protection(asked: &Protection) -> Result<Document, PreventError> {
    let trails = asked.trails.then_some(&TRAILS);
    let statements = PROTECTED.iter().chain(trails).map(|protected| asked.deny(protected)).collect();
    let kind = Kind::ServiceControlPolicy;
    let (document, whole) = finish(kind, statements)?;
    let mut not_covered = out_of_reach(kind, asked.partition, &whole);
    not_covered.push(
        "who deploys StackSets in the organisation: they use the role stacksets-exec-*, which may change everything here"
            .to_owned(),
    );
    not_covered.push(
        "the ledger account, whose stack no StackSet deploys: attach the policy to members only, or name the role that \
         deploys there with --break-glass"
            .to_owned(),
    );
    not_covered.push(
        "a responder role with a name of your own: protected are roles with bedrock-key-guard- in their name"
            .to_owned(),
    );
    not_covered.push(if asked.trails {
        "where trails write to: their buckets, keys and topics".to_owned()
    } else {
        "trails: anyone who may stop a member's own trail silences the member (see --protect-trails)"
            .to_owned()
    });
    not_covered.extend(
        asked
            .break_glass
            .iter()
            .map(|principal| format!("{}: may change everything here", principal.as_str())),
    );
    Ok(Document { not_covered, ..document })
}

impl Protection {
    fn deny(&self, protected: &Protected) -> Statement {
        let arn = |rest: &&str| format!("arn:{}:{rest}", self.partition.as_str());
        let mut statement = Statement {
            sid: protected.sid.to_owned(),
            effect: "Deny",
            action: Texts(protected.actions.iter().map(|action| (*action).to_owned()).collect()),
            resource: Some(Texts(protected.resources.iter().map(arn).collect())),
            not_resource: None,
            condition: BTreeMap::new(),
        };
        let stack_sets = format!("arn:{}:iam::*:role/{STACK_SETS}", self.partition.as_str());
        let break_glass = self.break_glass.iter().map(|principal| principal.as_str().to_owned());
        let left_out = std::iter::once(stack_sets).chain(break_glass).collect();
        statement.condition("ArnNotLike", PRINCIPAL_ARN, left_out);
        statement
    }
}
