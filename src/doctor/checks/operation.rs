//! Whether people are told, and whether what is scheduled happens: alarms, metrics, and what the ledger says.
//!
//! Schedules are not asked about: a sweep, a resume and a heartbeat that were seen lately say more than a schedule that
//! is enabled. Where one was not seen, the finding says how to look at its schedule.

use chrono::{DateTime, TimeDelta, Utc};

use super::{ok, short, unanswered, unknown, warn};
use crate::doctor::operation::{FAILURE_AGE, RESUME_HOURS, SWEEP_DAYS, Topic};
use crate::doctor::{Answer, Check, Finding, LOOK_BACK_DAYS, Overdue, Stack, Unavailable};
use key_guard_core::policy::Response;
use key_guard_core::silence::{HeardAccount, KEPT_FOR, SILENT_AFTER};
use key_guard_core::time::rfc3339;

/// How many names a finding has, at most.
const MAX_NAMES: usize = 5;

impl Stack {
    pub(super) fn alarms(&self) -> Finding {
        let check = Check::Alarms;
        let alarms = match &self.operation.alarms {
            Ok(alarms) => alarms,
            Err(gap) => return unanswered(check, gap),
        };
        if alarms.is_empty() {
            return warn(
                check,
                "no alarm watches the guard",
                "deploy infra/template.yaml, which has them, or make alarms on the metrics in BedrockKeyGuard",
            );
        }
        let silent: Vec<_> = alarms
            .iter()
            .filter(|alarm| alarm.actions.is_empty() || !alarm.enabled)
            .map(|alarm| alarm.name.as_str())
            .collect();
        let Some(first) = silent.first() else {
            return ok(check, format!("{} alarms, each with an action", alarms.len()));
        };
        warn(
            check,
            format!("nobody is told by {}", listed(&silent)),
            format!(
                "aws cloudwatch enable-alarm-actions --alarm-names {first}; an alarm without actions gets them by \
                 infra/deploy NotificationEmail=ADDRESS"
            ),
        )
    }

    pub(super) fn subscriptions(&self) -> Finding {
        let check = Check::Subscriptions;
        if let Err(gap) = &self.operation.alarms {
            return unanswered(check, gap);
        }
        if self.operation.topics.is_empty() {
            return unknown(check, "no alarm notifies a topic", "fix that first");
        }
        let mut confirmed = 0;
        for topic in &self.operation.topics {
            let topic = match topic {
                Ok(topic) => topic,
                Err(Unavailable::Absent) => {
                    return warn(check, "an alarm's topic does not exist", "deploy the stack again");
                }
                Err(gap) => return unanswered(check, gap),
            };
            if let Some(found) = unconfirmed(topic) {
                return warn(
                    check,
                    found,
                    format!(
                        "confirm by the link in the e-mail; to send it again: aws sns subscribe --topic-arn {} --protocol \
                         email --notification-endpoint ADDRESS",
                        topic.arn
                    ),
                );
            }
            confirmed += topic.confirmed;
        }
        match &self.operation.chat {
            Err(Unavailable::Absent) => ok(check, format!("{confirmed} confirmed")),
            Err(gap) => unanswered(check, gap),
            Ok(chat) => match unconfirmed(chat) {
                None => ok(check, format!("{} confirmed, those of the chat too", confirmed + chat.confirmed)),
                Some(found) => warn(
                    check,
                    found,
                    format!(
                        "add the topic {} to the channel's configuration in Amazon Q Developer in chat applications",
                        chat.arn
                    ),
                ),
            },
        }
    }

    /// A command that invokes the function.
    fn invoke(&self, payload: &str) -> String {
        format!(
            "aws lambda invoke --function-name {} --invocation-type Event --cli-binary-format raw-in-base64-out \
             --payload '{payload}' /dev/null",
            self.name()
        )
    }

    pub(super) fn last_sweep(&self) -> Finding {
        self.seen_lately(Check::LastSweep, &self.operation.last_sweep, TimeDelta::days(SWEEP_DAYS), "sweep")
    }

    pub(super) fn last_resume(&self) -> Finding {
        self.seen_lately(
            Check::LastResume,
            &self.operation.last_resume,
            TimeDelta::hours(RESUME_HOURS),
            "resume",
        )
    }

    /// A command that shows whether a schedule is enabled.
    fn schedule(&self, what: &str) -> String {
        format!("aws scheduler get-schedule --query State --name {}-{what}", self.name())
    }

    /// Sweeps and resumes are always scheduled, whatever the ceiling is: resumes also notice silent accounts.
    fn seen_lately(
        &self,
        check: Check,
        last: &Answer<DateTime<Utc>>,
        allowed: TimeDelta,
        what: &str,
    ) -> Finding {
        let hours = allowed.num_hours();
        let found = match last {
            // The hour may have begun long before.
            Ok(hour) if self.operation.now - *hour <= allowed + TimeDelta::hours(1) => {
                return ok(check, format!("a {what} was completed in the last {hours} hours"));
            }
            Ok(hour) => format!("none was completed since the hour from {}", rfc3339(*hour)),
            Err(Unavailable::Absent) => format!("none was completed in {LOOK_BACK_DAYS} days"),
            Err(gap) => return unanswered(check, gap),
        };
        let fix = format!(
            "see whether its schedule is enabled: {}; then start a {what}: {}",
            self.schedule(what),
            self.invoke(&format!(r#"{{"{what}": {{}}}}"#))
        );
        warn(check, format!("{found}: its schedule may be disabled"), fix)
    }

    pub(super) fn failure_age(&self) -> Finding {
        let check = Check::FailureAge;
        match &self.operation.failure_age {
            Err(Unavailable::Absent) => ok(check, "no event failed in the last day"),
            Err(gap) => unanswered(check, gap),
            Ok(age) if *age <= FAILURE_AGE => {
                ok(check, "each event that failed in the last day was younger than 2 hours")
            }
            Ok(age) => warn(
                check,
                format!(
                    "an event was {} hours old when it failed: that does not heal by itself",
                    age.num_hours()
                ),
                format!(
                    "fix the cause, which the function's log group has ({}): aws logs tail LOG_GROUP --since 1d --filter-pattern \
                     ERROR",
                    self.log_group()
                ),
            ),
        }
    }

    fn log_group(&self) -> String {
        format!("that of the stack, or /aws/lambda/{}", self.name())
    }

    pub(super) fn silent_accounts(&self) -> Finding {
        let check = Check::SilentAccounts;
        let heard = match &self.operation.heard {
            Ok(heard) => heard,
            Err(gap) => return unanswered(check, gap),
        };
        let now = self.operation.now;
        let known: Vec<_> = heard.iter().filter(|heard| heard.is_kept(now)).collect();
        if known.is_empty() {
            return warn(
                check,
                format!(
                    "no account was heard in {} days, so silence means nothing: the heartbeat's schedule may be disabled",
                    KEPT_FOR.num_days()
                ),
                format!(
                    "see whether it is enabled: {}; to have one: infra/deploy Heartbeat=enabled, and the same in \
                     infra/member.yaml",
                    self.schedule("heartbeat")
                ),
            );
        }
        let silent: Vec<_> =
            known.iter().filter(|heard| heard.is_silent(now)).map(|heard| heard.account.as_str()).collect();
        let hours = SILENT_AFTER.num_hours();
        if silent.is_empty() {
            return ok(check, format!("none of {}: each was heard in the last {hours} hours", known.len()));
        }
        warn(
            check,
            format!(
                "{} of {} not heard for {hours} hours: {}; the heartbeat's schedule may be disabled",
                silent.len(),
                known.len(),
                listed(&silent)
            ),
            format!(
                "in each: is the heartbeat's schedule enabled ({}; in a member its name is \
                 bedrock-key-guard-member-heartbeat), is a trail logging management write events (aws cloudtrail \
                 get-trail-status), and is the stack of infra/member.yaml complete? An account that has left the \
                 organization is forgotten after {} days",
                self.schedule("heartbeat"),
                KEPT_FOR.num_days()
            ),
        )
    }

    /// Only the guard's role may assume a responder role, so nobody else can try it, and `iam:GetRole` knows roles of the
    /// caller's account only (IAM API reference: it takes a name). What is known is what sweeps did.
    pub(super) fn responders(&self) -> Finding {
        let check = Check::Responders;
        let role = match self.function.responder() {
            Ok(Some(role)) => role,
            Ok(None) => return ok(check, "none is needed: the guard keeps to its own account"),
            Err(gap) => return unanswered(check, &gap),
        };
        match &self.operation.sweep_failures {
            Ok(0) => self.listed_by_sweeps(&role),
            Ok(failures) => warn(
                check,
                format!("the sweeps of the last {SWEEP_DAYS} days failed with {failures} accounts or keys"),
                format!(
                    "the function's log group ({}) says with which, and why: aws logs tail LOG_GROUP --since 2d --filter-pattern \
                     ERROR; where {role} is missing or has another ceiling, deploy infra/member.yaml again",
                    self.log_group()
                ),
            ),
            Err(Unavailable::Absent) => unknown(
                check,
                format!(
                    "no sweep of the last {SWEEP_DAYS} days has tried {role}; it trusts the guard's role only"
                ),
                "fix the sweep first",
            ),
            Err(gap) => unanswered(check, gap),
        }
    }

    /// Sweeps that failed nowhere have listed keys in other accounts, if they covered any.
    fn listed_by_sweeps(&self, role: &str) -> Finding {
        let check = Check::Responders;
        let (now, own) = (self.operation.now, self.function.arn.account.as_str());
        let is_swept = |heard: &&HeardAccount| heard.is_swept(now) && heard.account.as_str() != own;
        let others = self.operation.heard.as_ref().ok().map(|heard| heard.iter().filter(is_swept).count());
        let heard = match others {
            Some(0) => {
                return unknown(
                    check,
                    format!("no other account was heard in a week, so sweeps may have tried {role} nowhere"),
                    "deploy infra/member.yaml with Heartbeat=enabled; sweeps cover each account that is heard",
                );
            }
            Some(others) => format!(" (others heard in a week: {others})"),
            None => String::new(),
        };
        let changes = if self.function.ceiling().is_ok_and(|ceiling| ceiling <= Response::Monitor) {
            "the ceiling allows no changes"
        } else {
            "changing is not checked"
        };
        ok(check, format!("keys were listed in all accounts swept{heard}; {changes}"))
    }

    pub(super) fn overdue(&self) -> Finding {
        let check = Check::Overdue;
        let Overdue { pending, quarantines, has_more } = match &self.operation.overdue {
            Ok(overdue) => *overdue,
            Err(gap) => return unanswered(check, gap),
        };
        if pending + quarantines == 0 {
            return ok(check, "nothing has been due for more than an hour");
        }
        let at_least = if has_more { "at least " } else { "" };
        let found = format!(
            "due for more than an hour: {at_least}{pending} pending responses, {quarantines} quarantines that have ended"
        );
        let ceiling = match self.function.ceiling() {
            Ok(ceiling) => ceiling,
            Err(gap) => return unanswered(check, &gap),
        };
        if ceiling <= Response::Monitor || (pending == 0 && ceiling < Response::Delete) {
            return ok(check, format!("{found}; they wait, as the ceiling is {ceiling}"));
        }
        warn(
            check,
            found,
            format!(
                "{}; then look at what is left: bedrock-key-guard lookup --pending",
                self.invoke(r#"{"resume": {}}"#)
            ),
        )
    }
}

/// What is wrong with a topic's subscriptions, if anything is.
fn unconfirmed(topic: &Topic) -> Option<String> {
    let name = short(&topic.arn);
    if topic.pending > 0 {
        return Some(format!("{name}: {} subscriptions are not confirmed", topic.pending));
    }
    (topic.confirmed == 0).then(|| format!("{name}: nobody has subscribed"))
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
