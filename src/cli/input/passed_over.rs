//! What lies beside events and cannot hold one: counted by kind, for one line of a summary.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// A kind of input that cannot hold a management event of CloudTrail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A digest file of CloudTrail.
    Digest,
    /// A file of CloudTrail Insights.
    Insights,
    /// A file of CloudTrail's aggregated events.
    Aggregated,
    /// What signs results of a query in CloudTrail Lake.
    Signature,
    /// A history or snapshot of AWS Config.
    Config,
    /// A flow log of a VPC.
    FlowLog,
    /// An access log of a load balancer.
    LoadBalancerLog,
    /// A server access log of S3.
    S3AccessLog,
    /// A log of `CloudFront`.
    CloudFrontLog,
    /// A log of AWS WAF.
    WafLog,
    /// A query log of the Route 53 Resolver.
    ResolverLog,
    /// Findings that `GuardDuty` exported.
    GuardDutyFindings,
    /// A log of model invocations, as Bedrock writes it: prompts and answers.
    ModelInvocationLog,
    /// The manifest of an S3 Inventory.
    InventoryManifest,
    /// A policy of IAM or of an organisation.
    IamPolicy,
    /// What Athena keeps of a query beside its results.
    AthenaMetadata,
    /// What macOS keeps of a folder or a file: `.DS_Store`, `._NAME`.
    MacFile,
    /// What Windows keeps of a folder with images.
    Thumbnails,
    /// The checksum that Hadoop keeps of a file.
    Checksum,
    /// An image.
    Image,
    /// The answer to a query that has found nothing.
    EmptyAnswer,
    /// JSON in which neither a call of ours nor a field of a record is, nor anything that could hide one.
    OtherJson,
    /// A text that names no call of ours.
    OtherText,
    /// What is no text, where only texts are read.
    OtherFile,
    /// A file without anything in it.
    Empty,
    /// A symbolic link that does not lead below the given path, or in a circle, or nowhere.
    Link,
    /// A pipe, a socket or a device in a directory.
    Special,
}

impl Kind {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Digest => ("digest", "digests"),
            Self::Insights => ("Insights file", "Insights files"),
            Self::Aggregated => ("file of aggregated events", "files of aggregated events"),
            Self::Signature => ("signature of query results", "signatures of query results"),
            Self::Config => ("Config file", "Config files"),
            Self::FlowLog => ("VPC flow log", "VPC flow logs"),
            Self::LoadBalancerLog => ("load balancer log", "load balancer logs"),
            Self::S3AccessLog => ("S3 access log", "S3 access logs"),
            Self::CloudFrontLog => ("CloudFront log", "CloudFront logs"),
            Self::WafLog => ("WAF log", "WAF logs"),
            Self::ResolverLog => ("Route 53 Resolver query log", "Route 53 Resolver query logs"),
            Self::GuardDutyFindings => ("file of GuardDuty findings", "files of GuardDuty findings"),
            Self::ModelInvocationLog => ("log of model invocations", "logs of model invocations"),
            Self::IamPolicy => ("IAM policy", "IAM policies"),
            Self::InventoryManifest => ("S3 Inventory manifest", "S3 Inventory manifests"),
            Self::AthenaMetadata => ("Athena metadata file", "Athena metadata files"),
            Self::MacFile => (".DS_Store or ._ file", ".DS_Store and ._ files"),
            Self::Thumbnails => ("Thumbs.db file", "Thumbs.db files"),
            Self::Checksum => ("checksum", "checksums"),
            Self::Image => ("image", "images"),
            Self::EmptyAnswer => ("empty answer", "empty answers"),
            Self::OtherJson => ("file with other JSON", "files with other JSON"),
            Self::OtherText => ("other text", "other texts"),
            Self::OtherFile => ("file that is no text", "files that are no text"),
            Self::Empty => ("empty file", "empty files"),
            Self::Link => ("symbolic link", "symbolic links"),
            Self::Special => ("pipe, socket or device", "pipes, sockets or devices"),
        }
    }

    /// What names of files say that services and macOS give, for content that says nothing: it is damaged, or binary. (CloudTrail
    /// user guide, *CloudTrail log file examples*, *CloudTrail digest file structure*; AWS Config developer guide, *Components of
    /// a configuration item*; VPC user guide, *Flow log files*; Elastic Load Balancing user guide, *Access log files*; AWS WAF
    /// developer guide, *Sending logs to an S3 bucket*; Route 53 developer guide, *Resolver query logging: Amazon S3*; Athena user
    /// guide, *Find query output files in Amazon S3*.)
    pub(super) fn of_file_name(name: &str) -> Option<Self> {
        if name == ".DS_Store" || name.starts_with("._") {
            return Some(Self::MacFile);
        }
        if name == "Thumbs.db" {
            return Some(Self::Thumbnails);
        }
        if Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("crc")) {
            return Some(Self::Checksum);
        }
        if name.ends_with(".csv.metadata") || name.ends_with(".txt.metadata") {
            return Some(Self::AthenaMetadata);
        }
        let account = name.get(..12).is_some_and(|account| account.bytes().all(|byte| byte.is_ascii_digit()));
        if !account {
            return None;
        }
        let has = |part: &str| name.contains(part);
        if has("_CloudTrail-Digest_") {
            Some(Self::Digest)
        } else if has("_CloudTrail-Insight_") {
            Some(Self::Insights)
        } else if has("_CloudTrail-Aggregated_") {
            Some(Self::Aggregated)
        } else if has("_Config_") && (has("_ConfigHistory_") || has("_ConfigSnapshot_")) {
            Some(Self::Config)
        } else if has("_vpcflowlogs_") {
            Some(Self::FlowLog)
        } else if has("_elasticloadbalancing_") {
            Some(Self::LoadBalancerLog)
        } else if has("_waflogs_") {
            Some(Self::WafLog)
        } else if has("_vpcdnsquerylogs_") {
            Some(Self::ResolverLog)
        } else {
            None
        }
    }
}

/// How many of each kind there are.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PassedOver(BTreeMap<Kind, u64>);

impl PassedOver {
    /// One more.
    pub fn add(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// Those of another input.
    pub fn extend(&mut self, others: &Self) {
        for (kind, count) in &others.0 {
            *self.0.entry(*kind).or_default() += count;
        }
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("passed over: ")?;
        for (index, (kind, count)) in self.0.iter().enumerate() {
            let (one, many) = kind.names();
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{count} {}", if *count == 1 { one } else { many })?;
        }
        Ok(())
    }
}
