//! Whether a trail logs what the guard lives on: management write events of IAM.

use super::finding::{Answer, Unavailable};
use key_guard_core::cloudtrail::{CREDENTIAL_CALLS, USER_CALLS};

/// A trail, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// Its ARN, which names it in other regions and accounts, too.
    pub arn: String,
    /// Where it was made.
    pub home_region: String,
    /// Whether it logs all regions.
    pub multi_region: bool,
    /// Whether it logs the events of global services, such as IAM.
    pub global_services: bool,
    /// Whether it is an organisation's: the account that made it decides who may look at it.
    pub organization: bool,
    /// Whether it logs at the moment.
    pub logging: Answer<bool>,
    /// Which events it logs.
    pub selectors: Answer<Selectors>,
}

/// Which events a trail logs. It has selectors of one kind; without any, it logs all management events
/// (CloudTrail API reference, `PutEventSelectors`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selectors {
    /// Basic event selectors.
    pub basic: Vec<Basic>,
    /// Advanced event selectors, each a list of conditions.
    pub advanced: Vec<Vec<Condition>>,
}

/// A basic event selector (CloudTrail API reference, `EventSelector`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basic {
    /// Whether `ReadWriteType` includes writes.
    pub writes: bool,
    /// `IncludeManagementEvents`.
    pub management: bool,
    /// `ExcludeManagementEventSources`.
    pub excluded: Vec<String>,
}

/// A condition of an advanced event selector; all that are given have to hold (CloudTrail API reference,
/// `AdvancedFieldSelector`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// Which field.
    pub field: String,
    /// One of these.
    pub equals: Vec<String>,
    /// One of these at the start.
    pub starts_with: Vec<String>,
    /// One of these at the end.
    pub ends_with: Vec<String>,
    /// None of these.
    pub not_equals: Vec<String>,
    /// None of these at the start.
    pub not_starts_with: Vec<String>,
    /// None of these at the end.
    pub not_ends_with: Vec<String>,
}

/// What is wrong with a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Defect {
    /// IAM's events are none of its.
    NotIam,
    /// Its logging is disabled.
    NotLogging,
    /// It logs other events.
    Selects(String),
}

impl Trail {
    /// What is known to be wrong with it.
    pub(super) fn defects(&self, iam_region: &str) -> Vec<Defect> {
        let mut defects = Vec::new();
        if !(self.global_services && (self.multi_region || self.home_region == iam_region)) {
            defects.push(Defect::NotIam);
        }
        if self.logging == Ok(false) {
            defects.push(Defect::NotLogging);
        }
        if let Ok(selectors) = &self.selectors
            && let Err(why) = selectors.log_iam_writes()
        {
            defects.push(Defect::Selects(why));
        }
        defects
    }

    /// Why not everything is known of it.
    pub(super) fn gap(&self) -> Option<&Unavailable> {
        self.logging.as_ref().err().or(self.selectors.as_ref().err())
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// The account that made it.
    pub(super) fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or_default()
    }
}

impl Selectors {
    /// Whether they select management write events of IAM.
    fn log_iam_writes(&self) -> Result<(), String> {
        if self.basic.is_empty() && self.advanced.is_empty() {
            return Ok(());
        }
        let basic = self.basic.iter().map(Basic::selects_iam_writes);
        let advanced = self.advanced.iter().map(|conditions| selects_iam_writes(conditions));
        let mut why = "it logs no management events";
        for selected in basic.chain(advanced) {
            match selected {
                Ok(()) => return Ok(()),
                Err("") => {}
                Err(reason) => why = reason,
            }
        }
        Err(why.to_owned())
    }
}

const IAM: &str = "iam.amazonaws.com";

impl Basic {
    fn selects_iam_writes(&self) -> Result<(), &'static str> {
        if !self.management {
            Err("")
        } else if !self.writes {
            Err("it logs management events only where they read")
        } else if self.excluded.iter().any(|source| source == IAM) {
            Err("it leaves out the management events of IAM")
        } else {
            Ok(())
        }
    }
}

/// An empty reason: the selector is not about management events.
fn selects_iam_writes(conditions: &[Condition]) -> Result<(), &'static str> {
    let holds = |condition: &&Condition| condition.field == "eventCategory" && condition.admits("Management");
    if !conditions.iter().any(|condition| holds(&condition)) {
        return Err("");
    }
    for condition in conditions {
        match condition.field.as_str() {
            "eventCategory" => {}
            "readOnly" if condition.admits("false") => {}
            "readOnly" => return Err("it logs management events only where they read"),
            "eventSource" if condition.admits(IAM) => {}
            "eventSource" => return Err("it leaves out the management events of IAM"),
            "eventType" if condition.admits("AwsApiCall") => {}
            "eventName" if CREDENTIAL_CALLS.iter().chain(&USER_CALLS).all(|name| condition.admits(name)) => {}
            // The others tell apart who called, and from where.
            _ => return Err("it logs a part of the management events of IAM"),
        }
    }
    Ok(())
}

impl Condition {
    fn admits(&self, value: &str) -> bool {
        let equals = |one: &String| one == value;
        let starts = |start: &String| value.starts_with(start.as_str());
        let ends = |end: &String| value.ends_with(end.as_str());
        (self.equals.is_empty() || self.equals.iter().any(equals))
            && (self.starts_with.is_empty() || self.starts_with.iter().any(starts))
            && (self.ends_with.is_empty() || self.ends_with.iter().any(ends))
            && !self.not_equals.iter().any(equals)
            && !self.not_starts_with.iter().any(starts)
            && !self.not_ends_with.iter().any(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(writes: bool, management: bool, excluded: &[&str]) -> Selectors {
        let excluded = excluded.iter().map(|source| (*source).to_owned()).collect();
        Selectors { basic: vec![Basic { writes, management, excluded }], advanced: Vec::new() }
    }

    fn equals(field: &str, value: &str) -> Condition {
        Condition { field: field.to_owned(), equals: vec![value.to_owned()], ..Condition::default() }
    }

    fn not(field: &str, value: &str) -> Condition {
        Condition { field: field.to_owned(), not_equals: vec![value.to_owned()], ..Condition::default() }
    }

    fn advanced(conditions: &[Condition]) -> Selectors {
        Selectors { basic: Vec::new(), advanced: vec![conditions.to_vec()] }
    }

    #[test]
    fn selectors_that_log_the_writes_of_iam() {
        let management = equals("eventCategory", "Management");
        for selectors in [
            Selectors::default(),
            basic(true, true, &[]),
            basic(true, true, &["kms.amazonaws.com", "rdsdata.amazonaws.com"]),
            advanced(std::slice::from_ref(&management)),
            advanced(&[
                management.clone(),
                equals("readOnly", "false"),
                not("eventSource", "kms.amazonaws.com"),
            ]),
            advanced(&[management.clone(), equals("eventType", "AwsApiCall"), equals("eventSource", IAM)]),
            Selectors {
                advanced: vec![vec![equals("eventCategory", "Data")], vec![management]],
                ..Selectors::default()
            },
        ] {
            assert_eq!(selectors.log_iam_writes(), Ok(()), "{selectors:?}");
        }
    }

    #[test]
    fn selectors_that_do_not() {
        let management = equals("eventCategory", "Management");
        let starts = Condition {
            field: "eventName".to_owned(),
            starts_with: vec!["Create".to_owned()],
            ..Condition::default()
        };
        for (selectors, why) in [
            (basic(false, true, &[]), "only where they read"),
            (basic(true, false, &[]), "no management events"),
            (basic(true, true, &[IAM]), "leaves out"),
            (advanced(&[equals("eventCategory", "Data")]), "no management events"),
            (advanced(&[management.clone(), equals("readOnly", "true")]), "only where they read"),
            (advanced(&[management.clone(), not("eventSource", IAM)]), "leaves out"),
            (advanced(&[management.clone(), equals("eventSource", "s3.amazonaws.com")]), "leaves out"),
            (advanced(&[management.clone(), equals("eventType", "AwsServiceEvent")]), "a part"),
            (advanced(&[management.clone(), equals("userIdentity.arn", "x")]), "a part"),
            (advanced(&[management, starts]), "a part"),
        ] {
            let reason = selectors.log_iam_writes().unwrap_err();
            assert!(reason.contains(why), "{reason}: {selectors:?}");
        }
    }
}
