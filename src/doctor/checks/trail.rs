//! Whether a trail logs what the guard lives on.

use super::{fail, ok, unanswered};
use crate::doctor::trail::{Defect, Trail};
use crate::doctor::{Check, Finding, Stack, Unavailable};

impl Stack {
    pub(super) fn trail(&self) -> Finding {
        let check = Check::Trail;
        let trails = match &self.trails {
            Ok(trails) => trails.as_slice(),
            Err(Unavailable::Absent) => &[],
            Err(gap) => return unanswered(check, gap),
        };
        // Where that is not known, the function's region is as good a guess as any.
        let iam_region = self.iam_region().unwrap_or(&self.function.arn.region);
        let mut judged: Vec<(&Trail, Vec<Defect>)> =
            trails.iter().map(|trail| (trail, trail.defects(iam_region))).collect();
        judged.sort_by_key(|(_, defects)| defects.len());
        let mut sound = judged.iter().filter(|(_, defects)| defects.is_empty()).map(|(trail, _)| *trail);
        if let Some(trail) = sound.clone().find(|trail| trail.gap().is_none()) {
            return ok(check, format!("{} logs management write events of IAM", trail.name()));
        }
        if let Some((trail, gap)) = sound.find_map(|trail| Some((trail, trail.gap()?))) {
            return Self::unseen(trail, gap, &self.function.arn.account);
        }
        let Some((trail, defects)) = judged.first() else {
            return fail(
                check,
                "there is no trail: EventBridge gets no events of IAM's",
                "aws cloudtrail create-trail --name management-events --is-multi-region-trail --s3-bucket-name \
                 BUCKET, then aws cloudtrail start-logging --name management-events",
            );
        };
        Self::defective(trail, defects)
    }

    /// The trail with the fewest defects, where each has some.
    fn defective(trail: &Trail, defects: &[Defect]) -> Finding {
        let (arn, region) = (&trail.arn, &trail.home_region);
        let described = defects.iter().map(|defect| match defect {
            Defect::NotIam => (
                format!("it logs {region} without global services"),
                format!(
                    "aws cloudtrail update-trail --region {region} --name {arn} --is-multi-region-trail \
                     --include-global-service-events"
                ),
            ),
            Defect::NotLogging => (
                "its logging is disabled".to_owned(),
                format!("aws cloudtrail start-logging --region {region} --name {arn}"),
            ),
            Defect::Selects(why) => (
                why.clone(),
                format!(
                    "add a selector for management write events to those of aws cloudtrail get-event-selectors \
                     --region {region} --trail-name {arn}, and put them all: aws cloudtrail put-event-selectors \
                     --region {region} --trail-name {arn} --event-selectors \
                     '[{{\"ReadWriteType\":\"WriteOnly\",\"IncludeManagementEvents\":true}}]'"
                ),
            ),
        });
        let (found, fixes): (Vec<_>, Vec<_>) = described.unzip();
        let found = format!(
            "no trail logs management write events of IAM; {}: {}",
            trail.name(),
            found.join(", and ")
        );
        fail(Check::Trail, found, fixes.join(", then "))
    }

    /// A trail about which not everything is known, and nothing bad.
    fn unseen(trail: &Trail, gap: &Unavailable, account: &str) -> Finding {
        let finding = unanswered(Check::Trail, gap);
        let found = format!("{}: {}", trail.name(), finding.found);
        if trail.organization && trail.account() != account {
            let fix = format!(
                "run in account {}, whose trail it is: aws cloudtrail get-trail-status --name {1}, and aws \
                 cloudtrail get-event-selectors --trail-name {1}",
                trail.account(),
                trail.arn
            );
            return Finding { found, fix: Some(fix), ..finding };
        }
        Finding { found, ..finding }
    }
}
