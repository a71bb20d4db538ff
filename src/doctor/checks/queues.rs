//! Whether there are queues for what fails, and what is in them.

use std::fmt::Write as _;

use super::{fail, ok, short, unanswered, unknown, warn};
use crate::doctor::{Answer, Check, Finding, QueueDepth, Stack, Status, Unavailable, queue};

/// Long enough for Lambda's two retries, about one and two minutes later.
const ENOUGH_AGE_SECONDS: i32 = 300;

impl Stack {
    pub(super) fn on_failure_finding(&self) -> Finding {
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
            Err(Unavailable::Absent) => {
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

    pub(super) fn on_failure_queue(&self) -> Finding {
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
            Err(Unavailable::Absent) => {
                unknown(check, "there is no on-failure destination", "fix that first")
            }
            Err(gap) => unanswered(check, &gap),
        }
    }

    pub(super) fn dead_letter_queue(&self) -> Finding {
        let check = Check::DeadLetterQueue;
        // What hides a target hides its queue.
        let target = self.target();
        if self.undelivered.is_empty() {
            return match target.status {
                Status::Unknown => Finding { check, ..target },
                Status::Ok | Status::Warn | Status::Fail => {
                    unknown(check, "there is no dead-letter queue", "fix that first")
                }
            };
        }
        self.queues(check, &self.undelivered, "could not be delivered")
    }

    fn queues(&self, check: Check, queues: &[Answer<QueueDepth>], what: &str) -> Finding {
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
                Err(Unavailable::Absent) => {
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
}
