//! The checks: one function for each.

use std::fmt::Write as _;

use serde_json::Value;

use super::pattern::{self, Sample};
use super::permission::permits;
use super::stack::{SOME_ACCOUNT, read_environment};
use super::trail::{Defect, Trail};
use super::{
    Answer, Ask, Check, Decision, Described, Finding, FunctionArn, Gap, LOOK_BACK_DAYS, Rule, Stack, Status,
    Waiting, queue,
};
use crate::config::{ConfigError, POLICY, TABLE};
use crate::ledger::INDEXES;
use key_guard_core::cloudtrail;
use key_guard_core::time::rfc3339;

/// The time that the guard's calls for one event may take, one after another
/// ([`crate::aws::OPERATION_TIMEOUT`]).
const NEEDED_SECONDS: i32 = 30;

/// With less, a sweep does little more than begin before it hands the rest to another invocation.
const NEEDED_FOR_SWEEPS_SECONDS: i32 = 60;

/// The longest that Lambda allows, as in `infra/template.yaml`.
const TIMEOUT_SECONDS: i32 = 900;

impl Stack {
    /// Every check, in the order of the checks.
    #[must_use]
    pub fn examine(&self) -> Vec<Finding> {
        vec![
            self.function(),
            self.configuration(),
            self.timeout(),
            self.concurrency(),
            self.region(),
            self.trail(),
            self.rule(),
            self.event_pattern(),
            self.target(),
            self.invoke_permission(),
            self.table(),
            self.table_protection(),
            self.table_recovery(),
            self.role(),
            self.on_failure_finding(),
            self.on_failure_queue(),
            self.dead_letter_queue(),
            self.last_event(),
        ]
    }
}

fn ok(check: Check, found: impl Into<String>) -> Finding {
    Finding { check, status: Status::Ok, found: found.into(), mend: None }
}

fn not_ok(check: Check, status: Status, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { check, status, found: found.into(), mend: Some(mend.into()) }
}

fn warn(check: Check, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    not_ok(check, Status::Warn, found, mend)
}

fn fail(check: Check, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    not_ok(check, Status::Fail, found, mend)
}

fn unknown(check: Check, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    not_ok(check, Status::Unknown, found, mend)
}

/// The finding of a question without an answer.
fn unanswered(check: Check, gap: &Gap) -> Finding {
    match gap {
        Gap::Absent => unknown(check, "AWS's answer lacks it", "run doctor again"),
        Gap::Denied(action) => {
            unknown(check, format!("may not ask: needs {action}"), format!("allow the caller {action}"))
        }
        Gap::Failed { action, why } => {
            unknown(check, format!("{action} failed: {why}"), "mend that, and run doctor again")
        }
        Gap::Unasked(why) => unknown(check, why, "mend that first"),
    }
}

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
    fn name(&self) -> &str {
        &self.function.arn.name
    }

    fn function(&self) -> Finding {
        let (state, why) = &self.function.state;
        let (update, update_why) = &self.function.update;
        let because = |why: &Option<String>| why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let check = Check::Function;
        let name = self.name();
        let again =
            format!("aws lambda wait function-active-v2 --function-name {name}, and run doctor again");
        match (state.as_str(), update.as_str()) {
            ("Active", "Failed") => warn(
                check,
                format!("{name}: its last update failed{}", because(update_why)),
                "deploy it again; until then the version before the update runs",
            ),
            ("Active", _) => ok(check, format!("{name} is active, with {} MB", self.function.memory_mb)),
            ("Failed", _) => fail(check, format!("{name} is failed{}", because(why)), "deploy it again"),
            (state, _) => warn(check, format!("{name} is {}{}", state.to_lowercase(), because(why)), again),
        }
    }

    fn configuration(&self) -> Finding {
        let check = Check::Configuration;
        let environment = match &self.function.environment {
            Ok(environment) => environment,
            Err(gap) => return unanswered(check, gap),
        };
        match read_environment(environment) {
            Ok(config) => {
                let table: String = config.table.into();
                let policy = environment.get(POLICY).map_or("the built-in policy", String::as_str);
                let accounts = match config.responder {
                    Some(role) => format!("responder {role}"),
                    None => "own account only".to_owned(),
                };
                ok(check, format!("table {table}, ceiling {}, {policy}, {accounts}", config.ceiling))
            }
            Err(error) => {
                let variable = error.variable();
                let mend = match &error {
                    ConfigError::Unknown { .. } => {
                        format!("correct the name of {variable}, or remove it, in the stack's template")
                    }
                    ConfigError::Missing { .. }
                    | ConfigError::Invalid { .. }
                    | ConfigError::SweepCeiling { .. }
                    | ConfigError::Policy(_) => {
                        format!("set {variable} in the function's environment, in the stack's template")
                    }
                };
                fail(check, format!("the function does not start: {error}"), mend)
            }
        }
    }

    fn timeout(&self) -> Finding {
        let seconds = self.function.timeout_seconds;
        let found = if seconds < NEEDED_SECONDS {
            format!("{seconds} s; the guard's calls may take {NEEDED_SECONDS} s")
        } else if seconds < NEEDED_FOR_SWEEPS_SECONDS {
            format!("{seconds} s; enough for events, and a sweep takes many invocations")
        } else {
            return ok(Check::Timeout, format!("{seconds} s"));
        };
        warn(
            Check::Timeout,
            found,
            format!(
                "aws lambda update-function-configuration --function-name {} --timeout {TIMEOUT_SECONDS}",
                self.name()
            ),
        )
    }

    fn concurrency(&self) -> Finding {
        let check = Check::Concurrency;
        match &self.concurrency {
            Ok(Some(0)) => fail(
                check,
                "a reserved concurrency of 0: the function is switched off",
                format!("aws lambda delete-function-concurrency --function-name {}", self.name()),
            ),
            Ok(Some(reserved)) => ok(check, format!("{reserved} reserved")),
            Ok(None) | Err(Gap::Absent) => ok(check, "not limited for this function"),
            Err(gap) => unanswered(check, gap),
        }
    }

    /// EventBridge user guide, *Events from AWS services*: those of global services arrive in one region of
    /// each partition.
    fn iam_region(&self) -> Option<&'static str> {
        match self.function.arn.partition.as_str() {
            "aws" => Some("us-east-1"),
            "aws-us-gov" => Some("us-gov-west-1"),
            "aws-cn" => Some("cn-north-1"),
            _ => None,
        }
    }

    fn region(&self) -> Finding {
        let check = Check::Region;
        let FunctionArn { partition, region, .. } = &self.function.arn;
        match self.iam_region() {
            Some(expected) if expected == region => ok(check, format!("{region}, where IAM's events arrive")),
            Some(expected) => fail(
                check,
                format!("{region}; IAM's events arrive in {expected} and nowhere else"),
                format!("deploy the stack in {expected}"),
            ),
            None => unknown(
                check,
                format!("in which region of partition {partition} IAM's events arrive is not known here"),
                "look it up in AWS's documentation",
            ),
        }
    }

    fn trail(&self) -> Finding {
        let check = Check::Trail;
        let trails = match &self.trails {
            Ok(trails) => trails.as_slice(),
            Err(Gap::Absent) => &[],
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
        let mut found = format!("no trail logs management write events of IAM; {}", trail.name());
        let mut mends = Vec::new();
        let arn = &trail.arn;
        for (index, defect) in defects.iter().enumerate() {
            found.push_str(if index == 0 { ": " } else { ", and " });
            match defect {
                Defect::NotIam => {
                    let _ = write!(found, "it logs {} without global services", trail.home_region);
                    mends.push(format!(
                        "aws cloudtrail update-trail --region {} --name {arn} --is-multi-region-trail \
                         --include-global-service-events",
                        trail.home_region
                    ));
                }
                Defect::NotLogging => {
                    found.push_str("it is switched off");
                    mends.push(format!(
                        "aws cloudtrail start-logging --region {} --name {arn}",
                        trail.home_region
                    ));
                }
                Defect::Selects(why) => {
                    found.push_str(why);
                    mends.push(format!(
                        "add a selector for management write events to those of aws cloudtrail \
                         get-event-selectors --region {0} --trail-name {arn}, and put them all: aws cloudtrail \
                         put-event-selectors --region {0} --trail-name {arn} --event-selectors \
                         '[{{\"ReadWriteType\":\"WriteOnly\",\"IncludeManagementEvents\":true}}]'",
                        trail.home_region
                    ));
                }
            }
        }
        fail(check, found, mends.join(", then "))
    }

    /// A trail of which nothing bad is known, and not everything.
    fn unseen(trail: &Trail, gap: &Gap, account: &str) -> Finding {
        let finding = unanswered(Check::Trail, gap);
        let found = format!("{}: {}", trail.name(), finding.found);
        if trail.organization && trail.account() != account {
            let mend = format!(
                "run in account {}, whose trail it is: aws cloudtrail get-trail-status --name {1}, and aws \
                 cloudtrail get-event-selectors --trail-name {1}",
                trail.account(),
                trail.arn
            );
            return Finding { found, mend: Some(mend), ..finding };
        }
        Finding { found, ..finding }
    }

    /// The rules that pass events on, as far as is known; and the first question about them without an answer.
    fn described(&self) -> (Vec<(&Rule, &Described)>, Option<&Gap>) {
        let rules = match &self.rules {
            Ok(rules) => rules.as_slice(),
            Err(Gap::Absent) => &[],
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
    fn chosen(&self) -> (Vec<(&Rule, &Described)>, Option<&Gap>) {
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

    /// The rules that matter, where it is known which there are: those of which nothing but the targets can be
    /// seen are among them.
    fn targeting(&self, check: Check) -> Result<Vec<&Rule>, Finding> {
        let (chosen, _) = self.chosen();
        if !chosen.is_empty() {
            return Ok(chosen.into_iter().map(|(rule, _)| rule).collect());
        }
        match &self.rules {
            Ok(rules) if rules.iter().any(|rule| rule.described.is_err()) => {
                Ok(rules.iter().filter(|rule| rule.described.is_err()).collect())
            }
            Ok(_) | Err(Gap::Absent) => Err(unknown(check, "there is no rule", "mend that first")),
            Err(gap) => Err(unanswered(check, gap)),
        }
    }

    fn rule(&self) -> Finding {
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

    fn event_pattern(&self) -> Finding {
        let check = Check::EventPattern;
        let (chosen, gap) = self.chosen();
        if let Some(gap) = gap {
            return unanswered(check, gap);
        }
        let Some((rule, _)) = chosen.first() else {
            return unknown(check, "there is no rule", "mend that first");
        };
        let left_out = self.left_out(&chosen);
        let Some((_, why)) = left_out.first() else {
            return ok(
                check,
                "passes the four writes, successful, failed and denied, and access keys of the console's users",
            );
        };
        let mut events: Vec<_> = left_out.iter().map(|(sample, _)| sample.name).collect();
        events.dedup();
        let found = format!("{}: {why}: leaves out {}", names(&chosen), events.join(", "));
        let mend =
            format!("aws events put-rule --name {} --event-pattern '{}'", rule.name, cloudtrail::pattern());
        if left_out.iter().any(|(sample, _)| sample.of_a_key) {
            return fail(check, found, mend);
        }
        warn(check, format!("{found} for users that the console made for a key"), mend)
    }

    fn target(&self) -> Finding {
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

    fn invoke_permission(&self) -> Finding {
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
            Err(Gap::Absent) => "{}",
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

    fn table(&self) -> Finding {
        let check = Check::Table;
        let name = match (&self.table, self.function.table()) {
            (Ok(_) | Err(Gap::Absent), Ok(name)) => name,
            (Err(gap), _) => return unanswered(check, gap),
            (_, Err(gap)) => return unanswered(check, &gap),
        };
        let Ok(table) = &self.table else {
            return fail(
                check,
                format!("there is no table {name} in this account and region"),
                format!("deploy the stack again, or set {TABLE} to the table's name"),
            );
        };
        let string = |key: &str| (key.to_owned(), "S".to_owned());
        if table.keys != [string("pk"), string("sk")] {
            return fail(
                check,
                format!("{name} is no ledger: its keys are {}", keys(&table.keys)),
                format!("set {TABLE} to a table with the string keys pk (partition) and sk (sort)"),
            );
        }
        if !matches!(table.status.as_str(), "ACTIVE" | "UPDATING") {
            let found = format!("{name} is {}", table.status.to_lowercase());
            return fail(check, found, "wait until it is active, or deploy the stack again");
        }
        for (index, partition_key) in INDEXES {
            let wanted = [string(partition_key), string("at_key")];
            let Some(found) = table.indexes.iter().find(|one| one.name == index) else {
                return fail(
                    check,
                    format!("{name} lacks the index {index}"),
                    format!(
                        "aws dynamodb update-table --table-name {name} --attribute-definitions \
                         AttributeName={partition_key},AttributeType=S AttributeName=at_key,AttributeType=S \
                         --global-secondary-index-updates '[{{\"Create\":{{\"IndexName\":\"{index}\",\"KeySchema\":\
                         [{{\"AttributeName\":\"{partition_key}\",\"KeyType\":\"HASH\"}},{{\"AttributeName\":\
                         \"at_key\",\"KeyType\":\"RANGE\"}}],\"Projection\":{{\"ProjectionType\":\"ALL\"}}}}}}]'"
                    ),
                );
            };
            if found.keys != wanted || !found.whole {
                let lacks = if found.whole { "" } else { ", and it does not hold whole items" };
                return fail(
                    check,
                    format!("the keys of {name}'s index {index} are {}{lacks}", keys(&found.keys)),
                    format!(
                        "delete the index, and make it again with the keys {} and the projection ALL",
                        keys(&wanted)
                    ),
                );
            }
            if found.status != "ACTIVE" {
                let found = format!("{name}'s index {index} is {}", found.status.to_lowercase());
                return warn(check, found, "wait until it is active, and run doctor again");
            }
        }
        ok(check, format!("{name} has the keys and the {} indexes of a ledger", INDEXES.len()))
    }

    fn table_protection(&self) -> Finding {
        let check = Check::TableProtection;
        match (&self.table, self.function.table()) {
            (Ok(table), _) if table.protected => ok(check, "it cannot be deleted by mistake"),
            (Ok(_), Ok(name)) => warn(
                check,
                "no deletion protection",
                format!("aws dynamodb update-table --table-name {name} --deletion-protection-enabled"),
            ),
            (Err(Gap::Absent), _) => unknown(check, "there is no table", "mend that first"),
            (Err(gap), _) => unanswered(check, gap),
            (_, Err(gap)) => unanswered(check, &gap),
        }
    }

    fn table_recovery(&self) -> Finding {
        let check = Check::TableRecovery;
        match (&self.recovery, self.function.table()) {
            (Ok(true), _) => ok(check, "it can be restored to any point in time"),
            (Ok(false), Ok(name)) => warn(
                check,
                "no point-in-time recovery",
                format!(
                    "aws dynamodb update-continuous-backups --table-name {name} \
                     --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
                ),
            ),
            (Err(Gap::Absent), _) => unknown(check, "there is no table", "mend that first"),
            (Err(gap), _) => unanswered(check, gap),
            (_, Err(gap)) => unanswered(check, &gap),
        }
    }

    fn role(&self) -> Finding {
        let check = Check::Role;
        let role = &self.function.role;
        let name = role.rsplit('/').next().unwrap_or(role);
        let answers = match &self.role {
            Ok(answers) => answers,
            Err(Gap::Absent) => {
                return fail(check, format!("the role {role} does not exist"), "deploy the stack again");
            }
            Err(gap) => return unanswered(check, gap),
        };
        if let Some((ask, _)) = answers.iter().find(|(_, decision)| *decision == Decision::Missing) {
            let found = format!("IAM did not say whether {name} allows {}", ask.action);
            return unknown(check, found, "run doctor again");
        }
        let lacks: Vec<&Ask> = answers
            .iter()
            .filter(|(ask, decision)| {
                ask.needed && matches!(decision, Decision::NotAllowed(conditions) if conditions.is_empty())
            })
            .map(|(ask, _)| ask)
            .collect();
        let conditional: Vec<(&Ask, &Vec<String>)> = answers
            .iter()
            .filter_map(|(ask, decision)| match decision {
                Decision::NotAllowed(conditions) if ask.needed && !conditions.is_empty() => {
                    Some((ask, conditions))
                }
                Decision::NotAllowed(_) | Decision::Allowed | Decision::Missing => None,
            })
            .collect();
        let exceeds: Vec<&str> = answers
            .iter()
            .filter(|(ask, decision)| !ask.needed && *decision == Decision::Allowed)
            .map(|(ask, _)| ask.action)
            .collect();
        let ceiling = match self.function.ceiling() {
            Ok(ceiling) => ceiling,
            Err(gap) => return unanswered(check, &gap),
        };
        let mut found = Vec::new();
        let mut mends = Vec::new();
        if !lacks.is_empty() {
            let actions: Vec<_> = lacks.iter().map(|ask| ask.action).collect();
            found.push(format!("{name} lacks {}, which ceiling {ceiling} needs", actions.join(", ")));
            let grants: Vec<_> =
                lacks.iter().map(|ask| format!("{} on {}", ask.action, granted(&ask.resource))).collect();
            mends.push(format!("allow the role {}", grants.join(", ")));
            if lacks.iter().any(|ask| ask.resource.contains(SOME_ACCOUNT)) {
                mends.push(
                    "or, where only named accounts are allowed, ask about one: doctor --account".to_owned(),
                );
            }
        }
        for (ask, conditions) in &conditional {
            let conditions = conditions.join(", ");
            found.push(format!("{name} allows {} only under a condition on {conditions}", ask.action));
            mends.push(format!("make sure that the condition on {conditions} holds for the function"));
        }
        if !exceeds.is_empty() {
            found
                .push(format!("{name} allows {}, which ceiling {ceiling} does not need", exceeds.join(", ")));
            mends.push(format!("take {} from the role", exceeds.join(", ")));
        }
        if found.is_empty() {
            return ok(check, format!("{name} allows what ceiling {ceiling} needs, and no excess was found"));
        }
        let status = if lacks.is_empty() { Status::Warn } else { Status::Fail };
        not_ok(check, status, found.join("; "), mends.join("; "))
    }

    fn on_failure_finding(&self) -> Finding {
        let check = Check::OnFailure;
        let put = |queue: &str| {
            format!(
                "aws lambda put-function-event-invoke-config --function-name {} --maximum-retry-attempts 2 \
                 --destination-config 'OnFailure={{Destination={queue}}}'",
                self.name()
            )
        };
        let destination = match Self::on_failure(&self.function, &self.invocations) {
            Ok(destination) => destination,
            Err(Gap::Absent) => {
                return fail(
                    check,
                    "no on-failure destination: what the guard cannot deal with is lost",
                    put("QUEUE_ARN"),
                );
            }
            Err(gap) => return unanswered(check, &gap),
        };
        let (retries, age) = match &self.invocations {
            Ok(invocations) => (invocations.retries, invocations.age_seconds),
            Err(_) => (None, None),
        };
        let (retries, age) = (retries.unwrap_or(2), age.unwrap_or(21_600));
        if retries < 2 || age < ENOUGH_AGE_SECONDS {
            return warn(
                check,
                format!(
                    "{}, after {retries} retries within {age} s: too few for what passes in minutes",
                    short(&destination)
                ),
                format!("{} --maximum-event-age-in-seconds 21600", put(&destination)),
            );
        }
        ok(check, format!("{}, after {retries} retries", short(&destination)))
    }

    fn on_failure_queue(&self) -> Finding {
        let check = Check::OnFailureQueue;
        match Self::on_failure(&self.function, &self.invocations) {
            Ok(arn) if queue(&arn).is_some() => {
                self.queues(check, std::slice::from_ref(&self.failed), "could not be dealt with")
            }
            Ok(arn) => unknown(
                check,
                format!("{arn} is no SQS queue, and cannot be looked into"),
                "look there yourself, or let failed invocations go to an SQS queue",
            ),
            Err(Gap::Absent) => unknown(check, "there is no on-failure destination", "mend that first"),
            Err(gap) => unanswered(check, &gap),
        }
    }

    fn dead_letter_queue(&self) -> Finding {
        let check = Check::DeadLetterQueue;
        // What hides a target hides its queue.
        let target = self.target();
        if self.undelivered.is_empty() {
            return match target.status {
                Status::Unknown => Finding { check, ..target },
                Status::Ok | Status::Warn | Status::Fail => {
                    unknown(check, "there is no dead-letter queue", "mend that first")
                }
            };
        }
        self.queues(check, &self.undelivered, "could not be delivered")
    }

    fn queues(&self, check: Check, queues: &[Answer<Waiting>], what: &str) -> Finding {
        let mut names = Vec::new();
        let mut unseen = None;
        for queue in queues {
            match queue {
                Ok(queue) if queue.messages > 0 => {
                    let events = if queue.messages == 1 { "event" } else { "events" };
                    return fail(
                        check,
                        format!("{} {events} that {what} in {}", queue.messages, short(&queue.arn)),
                        self.replay(&queue.url),
                    );
                }
                Ok(queue) => names.push(short(&queue.arn)),
                Err(Gap::Absent) => {
                    return fail(
                        check,
                        "the queue does not exist: events are lost",
                        "deploy the stack again",
                    );
                }
                Err(gap) => unseen = unseen.or_else(|| Some(unanswered(check, gap))),
            }
        }
        unseen.unwrap_or_else(|| ok(check, format!("{} is empty", names.join(", "))))
    }

    /// How the messages of a queue come to their end. The roles in other accounts trust the guard's role and
    /// nobody else, so that with those the function has to take the events once more.
    ///
    /// A failed invocation's event is the `requestPayload` of its record (Lambda developer guide, *Capturing
    /// records of Lambda asynchronous invocations*); what EventBridge could not deliver is the event.
    fn replay(&self, url: &str) -> String {
        let again = if matches!(self.function.responder(), Ok(None)) {
            let mut replay = "bedrock-key-guard replay --apply".to_owned();
            if let Ok(ceiling) = self.function.ceiling() {
                let _ = write!(replay, " --ceiling {ceiling}");
            }
            if self.function.custom_policy().is_some() {
                replay.push_str(" --policy FILE");
            }
            if let Ok(table) = self.function.table() {
                let _ = write!(replay, " --ledger dynamodb:{table}");
            }
            format!("{replay} messages.json")
        } else {
            format!(
                "jq -c '.Messages[].Body | fromjson | .requestPayload // .' messages.json | while read -r event; do aws \
                 lambda invoke --function-name {} --invocation-type Event --cli-binary-format raw-in-base64-out \
                 --payload \"$event\" /dev/null; done",
                self.function.arn.name
            )
        };
        format!(
            "aws sqs receive-message --queue-url {url} --max-number-of-messages 10 --visibility-timeout 600 > \
             messages.json && {again}, then delete these messages (aws sqs delete-message), until none is left"
        )
    }

    fn last_event(&self) -> Finding {
        let check = Check::LastEvent;
        match &self.last_event {
            Ok(hour) => ok(check, format!("in the hour from {}", rfc3339(*hour))),
            Err(Gap::Absent) => warn(
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

/// Long enough for Lambda's two retries, about one and two minutes later.
const ENOUGH_AGE_SECONDS: i32 = 300;

/// The last part of an ARN.
fn short(arn: &str) -> &str {
    arn.rsplit([':', '/']).next().unwrap_or(arn)
}

fn names(rules: &[(&Rule, &Described)]) -> String {
    rules.iter().map(|(rule, _)| rule.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn keys(keys: &[(String, String)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

/// A resource as a policy would name it.
fn granted(resource: &str) -> String {
    resource.replace(SOME_ACCOUNT, "*")
}
