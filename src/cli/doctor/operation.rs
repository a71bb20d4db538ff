//! Asks how the stack has been doing: CloudWatch, SNS, and the ledger.

use std::collections::BTreeSet;

use aws_sdk_cloudwatch::primitives::DateTime as MetricTime;
use aws_sdk_cloudwatch::types::{AlarmType, Datapoint, MetricAlarm, Statistic};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;

use super::answer::answer;
use super::questions::Questions;
use crate::cli::messages::counted;
use crate::cli::setup::ledger_error;
use crate::config::LEDGER_POLICY;
use crate::doctor::operation::{Alarm, OVERDUE, Operation, Overdue, SWEEP_DAYS, Topic};
use crate::doctor::{Answer, FunctionArn, LOOK_BACK_DAYS, Unavailable};
use crate::ledger::error::LedgerError;
use crate::ledger::policy::NewestPolicy;
use crate::ledger::store::Ledger;
use crate::runtime::silence::HeardStore as _;
use crate::telemetry::{NAMESPACE, chain};
use key_guard_core::lifecycle::effect::CallError;
use key_guard_core::ports::KeyStore as _;
use key_guard_core::silence::HeardAccount;

/// An hour: 14 days of them are as many as one call answers with (CloudWatch API reference,
/// `GetMetricStatistics`).
const PERIOD_SECONDS: i32 = 3_600;

/// More pages than there can be, at 100 alarms each: an account has 5,000 alarms, unless AWS raises that (CloudWatch
/// quotas).
const MAX_PAGES: usize = 100;

/// Pages of what is due, at 200 keys each.
const MAX_LEDGER_PAGES: usize = 20;

impl Questions<'_> {
    /// How the stack has been doing.
    pub(super) async fn operation(&self, now: DateTime<Utc>) -> Operation {
        let two_days = TimeDelta::days(SWEEP_DAYS);
        let look_back = TimeDelta::days(LOOK_BACK_DAYS);
        let from = |back| (now - back, now);
        let ((alarms, topics), chat, (sweeps, resumes, failures, ages), (heard, overdue, policy)) = tokio::join!(
            async {
                let alarms = self.alarms().await;
                let topics = Operation::topics_of(&alarms);
                (alarms, join_all(topics.iter().map(|arn| self.topic(arn))).await)
            },
            self.chat(),
            async {
                tokio::join!(
                    self.metric("SweepCompleted", Statistic::Sum, from(look_back)),
                    self.metric("ResumeCompleted", Statistic::Sum, from(look_back)),
                    self.metric("SweepFailures", Statistic::Sum, from(two_days)),
                    self.metric("SecondsFromEventToFailure", Statistic::Maximum, from(TimeDelta::days(1))),
                )
            },
            async { tokio::join!(self.heard(), self.overdue(now), self.policy()) },
        );
        Operation {
            now,
            alarms,
            topics,
            chat,
            last_sweep: sweeps.and_then(|points| last_hour(&points)),
            last_resume: resumes.and_then(|points| last_hour(&points)),
            sweep_failures: failures.and_then(|points| sum(&points)),
            failure_age: ages.and_then(|points| maximum(&points)),
            heard,
            overdue,
            policy,
        }
    }

    /// A metric of the guard's, by hour.
    pub(super) async fn metric(
        &self,
        name: &str,
        statistic: Statistic,
        (from, now): (DateTime<Utc>, DateTime<Utc>),
    ) -> Answer<Vec<Datapoint>> {
        let time = |time: DateTime<Utc>| MetricTime::from_secs(time.timestamp());
        let call = aws_sdk_cloudwatch::Client::new(self.sdk)
            .get_metric_statistics()
            .namespace(NAMESPACE)
            .metric_name(name)
            .start_time(time(from))
            // Exclusive, and this hour counts.
            .end_time(time(now + TimeDelta::seconds(PERIOD_SECONDS.into())))
            .period(PERIOD_SECONDS)
            .statistics(statistic);
        let asked = answer("cloudwatch:GetMetricStatistics", call.send().await, &[])?;
        Ok(asked.datapoints.unwrap_or_default())
    }

    /// The alarms of the stack, those on the guard's metrics, and those on its function's.
    async fn alarms(&self) -> Answer<Vec<Alarm>> {
        let client = aws_sdk_cloudwatch::Client::new(self.sdk);
        let (mut alarms, mut next) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let call = client.describe_alarms().alarm_types(AlarmType::MetricAlarm).set_next_token(next);
            let page = answer("cloudwatch:DescribeAlarms", call.send().await, &[])?;
            let ours = page.metric_alarms().iter().filter(|alarm| self.is_ours(alarm));
            alarms.extend(ours.map(|alarm| Alarm {
                name: alarm.alarm_name().unwrap_or_default().to_owned(),
                enabled: alarm.actions_enabled().unwrap_or_default(),
                actions: alarm.alarm_actions().to_vec(),
            }));
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(alarms)
    }

    /// The function has the stack's name, with which the names of its alarms begin (`infra/template.yaml`).
    fn is_ours(&self, alarm: &MetricAlarm) -> bool {
        let after_name = alarm.alarm_name().and_then(|name| name.strip_prefix(&self.function.arn.name));
        let of_metrics =
            alarm.metrics().iter().filter_map(|query| query.metric_stat()?.metric()?.namespace());
        let namespaces: BTreeSet<_> = alarm.namespace().into_iter().chain(of_metrics).collect();
        after_name.is_some_and(|rest| rest.starts_with('-'))
            || namespaces.contains(NAMESPACE)
            || alarm.dimensions().iter().any(|dimension| {
                dimension.name() == Some("FunctionName")
                    && dimension.value() == Some(self.function.arn.name.as_str())
            })
    }

    /// The topic that the stack has for a chat (`infra/template.yaml`).
    async fn chat(&self) -> Answer<Topic> {
        let FunctionArn { partition, region, account, name, .. } = &self.function.arn;
        self.topic(&format!("arn:{partition}:sns:{region}:{account}:{name}-chat")).await
    }

    async fn topic(&self, arn: &str) -> Answer<Topic> {
        let action = "sns:GetTopicAttributes";
        let asked = aws_sdk_sns::Client::new(self.sdk).get_topic_attributes().topic_arn(arn).send().await;
        let attributes =
            answer(action, asked, &["NotFound", "NotFoundException"])?.attributes.unwrap_or_default();
        let count = |name: &str| attributes.get(name).and_then(|count| count.parse().ok());
        match (count("SubscriptionsConfirmed"), count("SubscriptionsPending")) {
            (Some(confirmed), Some(pending)) => Ok(Topic { arn: arn.to_owned(), confirmed, pending }),
            (_, _) => Err(Unavailable::Failed { action, why: "the answer has no count".to_owned() }),
        }
    }

    fn ledger(&self) -> Answer<Ledger> {
        let table = self.function.table()?;
        Ok(Ledger::dynamodb(aws_sdk_dynamodb::Client::new(self.sdk), table))
    }

    async fn heard(&self) -> Answer<Vec<HeardAccount>> {
        self.ledger()?.heard_accounts().await.map_err(|error| gap(&error))
    }

    /// Not asked where the function judges by another policy.
    async fn policy(&self) -> Answer<NewestPolicy> {
        if self.function.custom_policy() != Some(LEDGER_POLICY) {
            return Err(Unavailable::Unasked("the policy is not in the ledger".to_owned()));
        }
        let newest = self.ledger()?.newest_policy().await.map_err(|error| gap(&error))?;
        newest.ok_or(Unavailable::Absent)
    }

    /// What has been due for so long, as far as [`MAX_LEDGER_PAGES`] go.
    async fn overdue(&self, now: DateTime<Utc>) -> Answer<Overdue> {
        let (ledger, due) = (self.ledger()?, now - OVERDUE);
        let (mut overdue, mut cursor) = (Overdue::default(), None);
        for _ in 0..MAX_LEDGER_PAGES {
            let page = ledger.resumable_keys(due, cursor.as_ref()).await.map_err(|error| gap(&error))?;
            if page.unreadable > 0 {
                let why = counted(page.unreadable, "item", "items") + " of the ledger cannot be read";
                return Err(Unavailable::Failed { action: "dynamodb:BatchGetItem", why });
            }
            let records = page.keys.iter().filter_map(|stored| stored.state.record());
            records.for_each(|record| overdue.add(record, due));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(overdue);
            }
        }
        Ok(Overdue { has_more: true, ..overdue })
    }
}

fn gap(error: &CallError) -> Unavailable {
    let action = if error.call == "BatchGetItem" { "dynamodb:BatchGetItem" } else { "dynamodb:Query" };
    match ledger_error(error) {
        Some(LedgerError::Denied { .. }) => Unavailable::Denied(action),
        Some(_) | None => Unavailable::Failed { action, why: chain(error) },
    }
}

/// The last hour in which something was counted.
pub(super) fn last_hour(points: &[Datapoint]) -> Answer<DateTime<Utc>> {
    let counted = points.iter().filter(|point| point.sum().is_some_and(|sum| sum > 0.0));
    let last = counted.filter_map(Datapoint::timestamp).map(MetricTime::secs).max();
    last.and_then(|seconds| DateTime::from_timestamp(seconds, 0)).ok_or(Unavailable::Absent)
}

fn sum(points: &[Datapoint]) -> Answer<u64> {
    let counts: Vec<_> = points.iter().filter_map(Datapoint::sum).collect();
    if counts.is_empty() {
        return Err(Unavailable::Absent);
    }
    Ok(whole(counts.iter().sum()))
}

fn maximum(points: &[Datapoint]) -> Answer<TimeDelta> {
    let seconds = points.iter().filter_map(Datapoint::maximum).reduce(f64::max).ok_or(Unavailable::Absent)?;
    Ok(TimeDelta::seconds(whole(seconds).try_into().unwrap_or_default()))
}

/// CloudWatch counts in fractions.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is no count becomes 0 or the largest one"
)]
const fn whole(number: f64) -> u64 {
    number.round() as u64
}
