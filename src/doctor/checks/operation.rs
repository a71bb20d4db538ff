//! Whether people are told, and whether what is scheduled happens: alarms, metrics, and what the ledger says.
//!
//! Schedules are not asked about: a sweep, a resume and a heartbeat that were seen lately say more than a schedule that
//! is enabled.

use chrono::{DateTime, TimeDelta, Utc};

use super::{ok, short, unanswered, unknown, warn};
use crate::doctor::operation::{FAILURE_AGE, RESUME_HOURS, SILENCE, SWEEP_DAYS};
use crate::doctor::{Answer, Check, Finding, Gap, LOOK_BACK_DAYS, Overdue, Stack};
use key_guard_core::policy::Response;
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
            return unknown(check, "no alarm notifies a topic", "mend that first");
        }
        let mut confirmed = 0;
        for topic in &self.operation.topics {
            let topic = match topic {
                Ok(topic) => topic,
                Err(Gap::Absent) => {
                    return warn(check, "an alarm's topic does not exist", "deploy the stack again");
                }
                Err(gap) => return unanswered(check, gap),
            };
            if topic.pending > 0 || topic.confirmed == 0 {
                let found = if topic.pending > 0 {
                    format!("{}: {} subscriptions are not confirmed", short(&topic.arn), topic.pending)
                } else {
                    format!("{}: nobody has subscribed", short(&topic.arn))
                };
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
        ok(check, format!("{confirmed} confirmed"))
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
        self.seen_lately(
            Check::LastSweep,
            &self.operation.last_sweep,
            TimeDelta::days(SWEEP_DAYS),
            "a sweep",
            r#"{"sweep": {}}"#,
        )
    }

    pub(super) fn last_resume(&self) -> Finding {
        let check = Check::LastResume;
        match self.function.ceiling() {
            Ok(Response::None | Response::Monitor) => {
                ok(check, "not needed with the ceiling monitor: nothing is pending")
            }
            Ok(Response::Deactivate | Response::Quarantine | Response::Delete) => self.seen_lately(
                check,
                &self.operation.last_resume,
                TimeDelta::hours(RESUME_HOURS),
                "a resume",
                r#"{"resume": {}}"#,
            ),
            Err(gap) => unanswered(check, &gap),
        }
    }

    fn seen_lately(
        &self,
        check: Check,
        last: &Answer<DateTime<Utc>>,
        allowed: TimeDelta,
        what: &str,
        payload: &str,
    ) -> Finding {
        let hours = allowed.num_hours();
        let found = match last {
            // The hour may have begun long before.
            Ok(hour) if self.operation.now - *hour <= allowed + TimeDelta::hours(1) => {
                return ok(check, format!("{what} was completed in the last {hours} hours"));
            }
            Ok(hour) => format!("none was completed since the hour from {}", rfc3339(*hour)),
            Err(Gap::Absent) => format!("none was completed in {LOOK_BACK_DAYS} days"),
            Err(gap) => return unanswered(check, gap),
        };
        let mend = format!(
            "see whether its schedule is enabled: aws scheduler list-schedules --name-prefix {}; then start {what}: {}",
            self.name(),
            self.invoke(payload)
        );
        warn(check, found, mend)
    }

    pub(super) fn failure_age(&self) -> Finding {
        let check = Check::FailureAge;
        match &self.operation.failure_age {
            Err(Gap::Absent) => ok(check, "no event failed in the last day"),
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
                    "mend the cause, which the function's log has: aws logs tail --since 1d --filter-pattern ERROR {}",
                    self.log_group()
                ),
            ),
        }
    }

    fn log_group(&self) -> String {
        format!("/aws/lambda/{} (or the log group of the stack)", self.name())
    }

    pub(super) fn silent_accounts(&self) -> Finding {
        let check = Check::SilentAccounts;
        let heard = match &self.operation.heard {
            Ok(heard) => heard,
            Err(gap) => return unanswered(check, gap),
        };
        if heard.is_empty() {
            return warn(
                check,
                "no account was ever heard, so silence means nothing",
                "deploy the heartbeat: infra/deploy Heartbeat=enabled, and the same in infra/member.yaml",
            );
        }
        let is_silent = |at: &DateTime<Utc>| self.operation.now - *at > SILENCE;
        let silent: Vec<_> =
            heard.iter().filter(|(_, at)| is_silent(at)).map(|(account, _)| account.as_str()).collect();
        if silent.is_empty() {
            return ok(check, format!("none of {}: each was heard in the last 3 hours", heard.len()));
        }
        warn(
            check,
            format!("{} of {} not heard for 3 hours: {}", silent.len(), heard.len(), listed(&silent)),
            "in each: is a trail logging management write events (aws cloudtrail get-trail-status), and is the stack of \
             infra/member.yaml complete? An account that has left the organization stays silent",
        )
    }

    /// Only the guard's role may assume a responder role, so nobody else can try it.
    pub(super) fn responders(&self) -> Finding {
        let check = Check::Responders;
        let role = match self.function.responder() {
            Ok(Some(role)) => role,
            Ok(None) => return ok(check, "none is needed: the guard keeps to its own account"),
            Err(gap) => return unanswered(check, &gap),
        };
        match &self.operation.sweep_failures {
            Ok(0) => ok(
                check,
                format!(
                    "sweeps of {SWEEP_DAYS} days came into all their accounts; doctor may not try {role}"
                ),
            ),
            Ok(failures) => warn(
                check,
                format!("the sweeps of the last {SWEEP_DAYS} days failed with {failures} accounts or keys"),
                format!(
                    "the function's log says with which, and why: aws logs tail --since 2d --filter-pattern ERROR {}; \
                     where {role} is missing or has another ceiling, deploy infra/member.yaml again",
                    self.log_group()
                ),
            ),
            Err(Gap::Absent) => unknown(
                check,
                format!(
                    "no sweep of the last {SWEEP_DAYS} days has tried {role}; it trusts the guard's role only"
                ),
                "mend the sweep first",
            ),
            Err(gap) => unanswered(check, gap),
        }
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

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(MAX_NAMES).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
