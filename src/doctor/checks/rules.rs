//! Whether the rules hand every event of the guard's to the function, and whether events come.

use serde_json::Value;

use super::{fail, ok, short, unanswered, unknown, warn};
use crate::doctor::pattern::{self, Sample};
use crate::doctor::permission::permits;
use crate::doctor::{Check, Described, Finding, FunctionArn, LOOK_BACK_DAYS, Rule, Stack, Unavailable};
use key_guard_core::cloudtrail;
use key_guard_core::time::rfc3339;

impl Described {
    fn passes(&self, sample: &Sample) -> Result<(), String> {
        let pattern = self.pattern.as_deref().unwrap_or_default();
        match serde_json::from_str(pattern) {
            Ok(pattern) => pattern::passes(&pattern, sample),
            Err(_) => Err("its pattern is no JSON".to_owned()),
        }
    }
}

impl Stack {
    /// The rules that pass events on, as far as is known; and the first question about them without an answer.
    fn described(&self) -> (Vec<(&Rule, &Described)>, Option<&Unavailable>) {
        let rules = match &self.rules {
            Ok(rules) => rules.as_slice(),
            Err(Unavailable::Absent) => &[],
            Err(gap) => return (Vec::new(), Some(gap)),
        };
        let known = rules.iter().filter_map(|rule| Some((rule, rule.described.as_ref().ok()?)));
        let known = known.filter(|(_, described)| described.pattern.is_some()).collect();
        (known, rules.iter().find_map(|rule| rule.described.as_ref().err()))
    }

    /// The guard's events that none of the rules passes, and why.
    fn left_out(&self, rules: &[(&Rule, &Described)]) -> Vec<(Sample, String)> {
        let mut left_out = Vec::new();
        for sample in pattern::samples(&self.function.arn, self.function.other_accounts()) {
            let verdicts: Vec<_> = rules.iter().map(|(_, rule)| rule.passes(&sample)).collect();
            if !verdicts.iter().any(Result::is_ok) {
                let why = verdicts.into_iter().find_map(Result::err);
                left_out.push((sample, why.unwrap_or_else(|| "no rule does".to_owned())));
            }
        }
        left_out
    }

    /// The rules that matter: those that are enabled, unless only the others make it whole; and of these, those
    /// that pass anything of the guard's, if any does.
    fn chosen(&self) -> (Vec<(&Rule, &Described)>, Option<&Unavailable>) {
        let (known, gap) = self.described();
        let enabled: Vec<_> = known.iter().copied().filter(|(_, described)| described.enabled).collect();
        let whole = |rules: &[(&Rule, &Described)]| self.left_out(rules).is_empty();
        let mut chosen =
            if enabled.is_empty() || (!whole(&enabled) && whole(&known)) { known } else { enabled };
        let samples = pattern::samples(&self.function.arn, self.function.other_accounts());
        let ours = |rule: &Described| samples.iter().any(|sample| rule.passes(sample).is_ok());
        if chosen.iter().any(|(_, rule)| ours(rule)) {
            chosen.retain(|(_, rule)| ours(rule));
        }
        // What passes everything makes up for what could not be seen.
        let enough = whole(&chosen) && chosen.iter().all(|(_, rule)| rule.enabled);
        (chosen, if enough { None } else { gap })
    }

    /// The rules that matter, where it is known which there are. A rule counts also if nothing but its targets can
    /// be seen.
    fn targeting(&self, check: Check) -> Result<Vec<&Rule>, Finding> {
        let (chosen, _) = self.chosen();
        if !chosen.is_empty() {
            return Ok(chosen.into_iter().map(|(rule, _)| rule).collect());
        }
        match &self.rules {
            Ok(rules) if rules.iter().any(|rule| rule.described.is_err()) => {
                Ok(rules.iter().filter(|rule| rule.described.is_err()).collect())
            }
            Ok(_) | Err(Unavailable::Absent) => Err(unknown(check, "there is no rule", "fix that first")),
            Err(gap) => Err(unanswered(check, gap)),
        }
    }

    pub(super) fn rule(&self) -> Finding {
        let check = Check::Rule;
        let (chosen, gap) = self.chosen();
        if let Some(gap) = gap {
            return unanswered(check, gap);
        }
        let name = self.name();
        if chosen.is_empty() {
            let arn = &self.function.arn.arn;
            return fail(
                check,
                format!("no rule of the default bus targets {arn}"),
                format!(
                    "aws events put-rule --name {name} --event-pattern '{}', then aws events put-targets --rule \
                     {name} --targets 'Id={name},Arn={arn},DeadLetterConfig={{Arn=QUEUE_ARN}}' (a rule that \
                     targets an alias: doctor --function {name}:ALIAS)",
                    cloudtrail::pattern()
                ),
            );
        }
        let disabled: Vec<_> =
            chosen.iter().filter(|(_, one)| !one.enabled).map(|(rule, _)| rule.name.as_str()).collect();
        let [first, ..] = disabled[..] else {
            return ok(check, format!("{} is enabled", names(&chosen)));
        };
        fail(
            check,
            format!("{} is disabled", disabled.join(", ")),
            format!("aws events enable-rule --name {first}"),
        )
    }

    pub(super) fn event_pattern(&self) -> Finding {
        let check = Check::EventPattern;
        let (chosen, gap) = self.chosen();
        if let Some(gap) = gap {
            return unanswered(check, gap);
        }
        let Some((rule, _)) = chosen.first() else {
            return unknown(check, "there is no rule", "fix that first");
        };
        let left_out = self.left_out(&chosen);
        let Some((_, why)) = left_out.first() else {
            return ok(
                check,
                "passes the four calls about keys and the six about users, successful, failed and denied",
            );
        };
        let mut events: Vec<_> = left_out.iter().map(|(sample, _)| sample.name).collect();
        events.dedup();
        let found = format!("{}: {why}: leaves out {}", names(&chosen), events.join(", "));
        let fix =
            format!("aws events put-rule --name {} --event-pattern '{}'", rule.name, cloudtrail::pattern());
        if left_out.iter().any(|(sample, _)| sample.of_a_key) {
            return fail(check, found, fix);
        }
        warn(check, format!("{found}: a user that a console created may get another way in"), fix)
    }

    pub(super) fn target(&self) -> Finding {
        let check = Check::Target;
        let rules = match self.targeting(check) {
            Ok(rules) => rules,
            Err(finding) => return finding,
        };
        let mut queues = Vec::new();
        let arn = &self.function.arn.arn;
        for rule in rules {
            let targets = match &rule.targets {
                Ok(targets) => targets,
                Err(gap) => return unanswered(check, gap),
            };
            for target in targets {
                let put = |queue: &str| {
                    format!(
                        "aws events put-targets --rule {} --targets \
                         'Id={},Arn={arn},DeadLetterConfig={{Arn={queue}}}'",
                        rule.name, target.id
                    )
                };
                let queue = target.dead_letter.as_deref();
                if target.rewritten {
                    let found = format!("{} hands over something else than the event", rule.name);
                    return fail(check, found, put(queue.unwrap_or("QUEUE_ARN")));
                }
                let Some(queue) = queue else {
                    let found =
                        format!("{} has no dead-letter queue: what cannot be delivered is lost", rule.name);
                    return fail(check, found, put("QUEUE_ARN"));
                };
                queues.push(short(queue));
            }
        }
        queues.dedup();
        ok(check, format!("whole events; what cannot be delivered goes to {}", queues.join(", ")))
    }

    pub(super) fn invoke_permission(&self) -> Finding {
        let check = Check::InvokePermission;
        let rules = match self.targeting(check) {
            Ok(rules) => rules,
            Err(finding) => return finding,
        };
        let with_role = |rule: &Rule| match &rule.targets {
            Ok(targets) => !targets.is_empty() && targets.iter().all(|target| target.role),
            Err(_) => false,
        };
        if rules.iter().all(|rule| with_role(rule)) {
            return ok(check, "EventBridge takes a role of its own");
        }
        let policy = match &self.permission {
            Ok(policy) => policy.as_str(),
            Err(Unavailable::Absent) => "{}",
            Err(gap) => return unanswered(check, gap),
        };
        let policy: Value = serde_json::from_str(policy).unwrap_or_default();
        let FunctionArn { partition, region, account, .. } = &self.function.arn;
        let without = rules
            .iter()
            .map(|rule| (&rule.name, format!("arn:{partition}:events:{region}:{account}:rule/{}", rule.name)))
            .find(|(_, arn)| !permits(&policy, arn, account));
        let Some((name, arn)) = without else {
            return ok(check, "the function's policy lets EventBridge invoke it");
        };
        fail(
            check,
            format!("the function's policy does not let {name} invoke it"),
            format!(
                "aws lambda add-permission --function-name {} --statement-id {} --action lambda:InvokeFunction \
                 --principal events.amazonaws.com --source-arn {arn}",
                self.function.arn.arn,
                self.name()
            ),
        )
    }

    pub(super) fn last_event(&self) -> Finding {
        let check = Check::LastEvent;
        match &self.last_event {
            Ok(hour) => ok(check, format!("in the hour from {}", rfc3339(*hour))),
            Err(Unavailable::Absent) => warn(
                check,
                format!("none in {LOOK_BACK_DAYS} days"),
                "make one: aws iam delete-service-specific-credential --user-name nobody \
                 --service-specific-credential-id ACCAEXAMPLEKEY0000000 (which fails, and changes nothing), and \
                 run doctor again after a quarter of an hour",
            ),
            Err(gap) => unanswered(check, gap),
        }
    }
}

fn names(rules: &[(&Rule, &Described)]) -> String {
    rules.iter().map(|(rule, _)| rule.name.as_str()).collect::<Vec<_>>().join(", ")
}
