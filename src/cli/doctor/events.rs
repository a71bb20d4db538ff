//! Asks about trails, rules, and the events that came.

use aws_config::Region;
use aws_sdk_cloudtrail::types::ReadWriteType;
use aws_sdk_cloudwatch::types::Statistic;
use aws_sdk_eventbridge::types::RuleState;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;

use super::answer::answer;
use super::operation::last_hour;
use super::questions::Questions;
use crate::doctor::trail::{Basic, Condition, Selectors, Trail};
use crate::doctor::{Answer, Described, LOOK_BACK_DAYS, Rule, Target};

/// More pages than there can be: 300 rules to a bus, 5 targets to a rule (EventBridge quotas).
const MAX_PAGES: usize = 100;

impl Questions<'_> {
    pub(super) async fn rules(&self) -> Answer<Vec<Rule>> {
        let client = &aws_sdk_eventbridge::Client::new(self.sdk);
        let mut names = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let call = client.list_rule_names_by_target().target_arn(&self.function.arn.arn);
            let page = call.set_next_token(next).send().await;
            let page = answer("events:ListRuleNamesByTarget", page, &["ResourceNotFoundException"])?;
            names.extend(page.rule_names().iter().cloned());
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        let rules = names.into_iter().map(|name| async move {
            let (described, targets) = tokio::join!(describe(client, &name), self.targets(client, &name));
            Rule { name, described, targets }
        });
        Ok(join_all(rules).await)
    }

    async fn targets(&self, client: &aws_sdk_eventbridge::Client, rule: &str) -> Answer<Vec<Target>> {
        let mut targets = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let page = client.list_targets_by_rule().rule(rule).set_next_token(next).send().await;
            let page = answer("events:ListTargetsByRule", page, &[])?;
            targets.extend(page.targets().iter().filter(|target| target.arn() == self.function.arn.arn).map(
                |target| Target {
                    id: target.id().to_owned(),
                    rewritten: target.input().is_some()
                        || target.input_transformer().is_some()
                        // The record alone will do.
                        || target.input_path().is_some_and(|path| path != "$.detail" && path != "$"),
                    role: target.role_arn().is_some(),
                    dead_letter:
                        target.dead_letter_config().and_then(|config| config.arn()).map(str::to_owned),
                },
            ));
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(targets)
    }

    pub(super) async fn trails(&self) -> Answer<Vec<Trail>> {
        let client = aws_sdk_cloudtrail::Client::new(self.sdk);
        // Shadow trails are those of other regions and accounts that log here.
        let asked = client.describe_trails().include_shadow_trails(true).send().await;
        let listed = answer("cloudtrail:DescribeTrails", asked, &[])?;
        let client = &client;
        let trails = listed.trail_list().iter().map(|trail| async move {
            let arn = trail.trail_arn().unwrap_or_default();
            let home_region = trail.home_region().unwrap_or(&self.function.arn.region).to_owned();
            // At home each trail answers for itself.
            let home = || aws_sdk_cloudtrail::Config::builder().region(Region::new(home_region.clone()));
            let (logging, selectors) = tokio::join!(
                client.get_trail_status().name(arn).customize().config_override(home()).send(),
                client.get_event_selectors().trail_name(arn).customize().config_override(home()).send(),
            );
            Trail {
                arn: arn.to_owned(),
                multi_region: trail.is_multi_region_trail().unwrap_or_default(),
                global_services: trail.include_global_service_events().unwrap_or_default(),
                organization: trail.is_organization_trail().unwrap_or_default(),
                logging: answer("cloudtrail:GetTrailStatus", logging, &[])
                    .map(|status| status.is_logging().unwrap_or_default()),
                selectors: answer("cloudtrail:GetEventSelectors", selectors, &[]).map(|answer| read(&answer)),
                home_region,
            }
        });
        Ok(join_all(trails).await)
    }

    pub(super) async fn last_event(&self, now: DateTime<Utc>) -> Answer<DateTime<Utc>> {
        let range = (now - TimeDelta::days(LOOK_BACK_DAYS), now);
        last_hour(&self.metric("Keys", Statistic::Sum, range).await?)
    }
}

async fn describe(client: &aws_sdk_eventbridge::Client, rule: &str) -> Answer<Described> {
    answer("events:DescribeRule", client.describe_rule().name(rule).send().await, &[]).map(|described| {
        let enabled = [RuleState::Enabled, RuleState::EnabledWithAllCloudtrailManagementEvents];
        Described {
            enabled: described.state().is_some_and(|state| enabled.contains(state)),
            pattern: described.event_pattern().filter(|pattern| !pattern.is_empty()).map(str::to_owned),
        }
    })
}

fn read(answer: &aws_sdk_cloudtrail::operation::get_event_selectors::GetEventSelectorsOutput) -> Selectors {
    let basic = answer.event_selectors().iter().map(|selector| Basic {
        writes: selector.read_write_type() != Some(&ReadWriteType::ReadOnly),
        management: selector.include_management_events().unwrap_or(true),
        excluded: selector.exclude_management_event_sources().to_vec(),
    });
    let advanced = answer.advanced_event_selectors().iter().map(|selector| {
        let conditions = selector.field_selectors().iter().map(|condition| Condition {
            field: condition.field().to_owned(),
            equals: condition.equals().to_vec(),
            starts_with: condition.starts_with().to_vec(),
            ends_with: condition.ends_with().to_vec(),
            not_equals: condition.not_equals().to_vec(),
            not_starts_with: condition.not_starts_with().to_vec(),
            not_ends_with: condition.not_ends_with().to_vec(),
        });
        conditions.collect()
    });
    Selectors { basic: basic.collect(), advanced: advanced.collect() }
}
