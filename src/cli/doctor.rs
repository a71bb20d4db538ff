//! `doctor`: is a deployed stack complete?

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use aws_config::{Region, SdkConfig};
use aws_sdk_cloudtrail::types::ReadWriteType;
use aws_sdk_cloudwatch::types::Statistic;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, IndexStatus, KeySchemaElement, KeyType, PointInTimeRecoveryStatus, ProjectionType,
};
use aws_sdk_eventbridge::types::RuleState;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use aws_sdk_sqs::types::QueueAttributeName;
use chrono::{DateTime, TimeDelta, Utc};
use comfy_table::{Attribute, Cell, Color};
use futures_util::future::join_all;

use super::exit::Exit;
use super::messages::say;
use super::output::{plain_table, wants_colour, write_table};
use super::setup::runtime;
use crate::clock::{Clock, SystemClock};
use crate::doctor::trail::{Basic, Condition, Selectors, Trail};
use crate::doctor::{
    self, Answer, Ask, Decision, Described, Finding, Function, FunctionArn, Gap, Index, Invocations,
    LOOK_BACK_DAYS, Rule, Stack, Status, Target, Waiting,
};
use crate::telemetry::{NAMESPACE, chain};
use key_guard_core::key::AccountId;
use key_guard_core::text::sanitize_line;

/// Checks a deployed stack, and says what is missing and how to mend it
///
/// Everything is found from the function, with your own credentials and without changing anything. A check is
/// ok, warn or fail; what you may not ask is unknown.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard doctor
      the stack whose function is called bedrock-key-guard
  bedrock-key-guard doctor --function key-guard:live --format jsonl
      the stack whose rule targets the alias live, one check to a line

It makes calls with these IAM actions, and without one its checks are unknown:
  lambda:GetFunctionConfiguration (needed)   lambda:GetFunctionConcurrency
  lambda:GetFunctionEventInvokeConfig        lambda:GetPolicy
  events:ListRuleNamesByTarget               events:DescribeRule
  events:ListTargetsByRule                   cloudtrail:DescribeTrails
  cloudtrail:GetTrailStatus                  cloudtrail:GetEventSelectors
  dynamodb:DescribeTable                     dynamodb:DescribeContinuousBackups
  iam:SimulatePrincipalPolicy                sqs:GetQueueUrl
  sqs:GetQueueAttributes                     cloudwatch:GetMetricStatistics

Exit codes:
  0 no check failed   1 a check failed, or the function could not be asked about   2 usage")]
pub struct Doctor {
    /// The function's name or ARN, with :ALIAS where the rule targets an alias
    #[arg(long, default_value = "bedrock-key-guard", value_name = "NAME")]
    function: String,

    /// One of the other accounts: is the function allowed to assume its role there? Needed where it is
    /// allowed for named accounts only
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<AccountId>,

    /// How findings are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One check to a line, for scripts.
    Jsonl,
}

impl Doctor {
    /// Runs it.
    ///
    /// # Errors
    /// When the function could not be asked about, so that there is nothing to check: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = runtime()?;
        let findings = runtime.block_on(self.gather())?.examine();
        match self.format {
            Format::Table => table(&findings),
            Format::Jsonl => jsonl(&findings),
        }
        .context("could not write to stdout")?;
        let count = |status| findings.iter().filter(|finding| finding.status == status).count();
        say(&format!(
            "{} checks: {} ok, {} warn, {} fail, {} unknown",
            findings.len(),
            count(Status::Ok),
            count(Status::Warn),
            count(Status::Fail),
            count(Status::Unknown),
        ));
        Ok(if count(Status::Fail) > 0 { Exit::Failed } else { Exit::Done }.into())
    }

    async fn gather(&self) -> anyhow::Result<Stack> {
        let mut sdk = crate::aws::sdk_config().await;
        if let Ok(arn) = self.function.parse::<FunctionArn>() {
            sdk = sdk.into_builder().region(Region::new(arn.region)).build();
        }
        let Some(region) = sdk.region() else {
            bail!("no region: set AWS_REGION to the stack's region, or AWS_PROFILE to a profile that has it");
        };
        let answer = aws_sdk_lambda::Client::new(&sdk)
            .get_function_configuration()
            .function_name(&self.function)
            .send()
            .await;
        let described = match answer {
            Ok(described) => described,
            Err(error) if code(&error) == Some("ResourceNotFoundException") => bail!(
                "there is no function {} in {region}: name it with --function, and its region with AWS_REGION",
                self.function
            ),
            Err(error) if code(&error).is_some_and(denies) => bail!(
                "the function {} may not be asked about, and everything is found from it: allow the caller \
                 lambda:GetFunctionConfiguration",
                self.function
            ),
            Err(error) => {
                return Err(error)
                    .context(format!("could not ask AWS Lambda about function {}", self.function));
            }
        };
        let questions = Questions { sdk: &sdk, name: &self.function, function: function(&described)? };
        Ok(Box::pin(questions.gather(self.account.as_ref().map(AccountId::as_str))).await)
    }
}

fn function(
    described: &aws_sdk_lambda::operation::get_function_configuration::GetFunctionConfigurationOutput,
) -> anyhow::Result<Function> {
    let arn = described.function_arn().unwrap_or_default();
    let arn = arn.parse().map_err(anyhow::Error::msg).context("AWS Lambda named the function unusably")?;
    let state = described.state().map_or("Active", |state| state.as_str());
    let update = described.last_update_status().map_or("Successful", |status| status.as_str());
    let environment = match described.environment() {
        None => Ok(HashMap::new()),
        Some(environment) => match environment.error() {
            None => Ok(environment.variables().cloned().unwrap_or_default()),
            Some(error) => Err(Gap::Failed {
                action: "lambda:GetFunctionConfiguration",
                why: format!(
                    "the environment cannot be decrypted ({})",
                    error.error_code().unwrap_or("no error code")
                ),
            }),
        },
    };
    Ok(Function {
        arn,
        state: (state.to_owned(), described.state_reason().map(str::to_owned)),
        update: (update.to_owned(), described.last_update_status_reason().map(str::to_owned)),
        role: described.role().unwrap_or_default().to_owned(),
        timeout_seconds: described.timeout().unwrap_or_default(),
        memory_mb: described.memory_size().unwrap_or_default(),
        environment,
        dead_letter: described
            .dead_letter_config()
            .and_then(|config| config.target_arn())
            .filter(|arn| !arn.is_empty())
            .map(str::to_owned),
    })
}

/// More pages than there can be: 300 rules to a bus, 5 targets to a rule (EventBridge quotas).
const MAX_PAGES: usize = 100;

/// An hour: 14 days of them are as many as one call answers with (CloudWatch API reference,
/// `GetMetricStatistics`).
const PERIOD_SECONDS: i32 = 3_600;

/// Asks AWS.
struct Questions<'a> {
    sdk: &'a SdkConfig,
    /// The function as the operator named it: with an alias, if it has one.
    name: &'a str,
    function: Function,
}

impl Questions<'_> {
    /// Everything else, side by side.
    async fn gather(self, account: Option<&str>) -> Stack {
        let (concurrency, (invocations, failed), permission, (rules, undelivered), rest) = tokio::join!(
            self.concurrency(),
            async {
                let invocations = self.invocations().await;
                let failed = match Stack::on_failure(&self.function, &invocations) {
                    Ok(arn) => self.waiting(&arn).await,
                    Err(gap) => Err(gap),
                };
                (invocations, failed)
            },
            self.permission(),
            async {
                let rules = self.rules().await;
                let undelivered = self.undelivered(rules.as_deref().unwrap_or_default()).await;
                (rules, undelivered)
            },
            async {
                tokio::join!(
                    self.trails(),
                    self.table(),
                    self.recovery(),
                    self.role(account),
                    self.last_event(SystemClock.now()),
                )
            },
        );
        let (trails, table, recovery, role, last_event) = rest;
        Stack {
            function: self.function,
            concurrency,
            invocations,
            permission,
            rules,
            trails,
            table,
            recovery,
            role,
            failed,
            undelivered,
            last_event,
        }
    }

    async fn concurrency(&self) -> Answer<Option<i32>> {
        let call = aws_sdk_lambda::Client::new(self.sdk).get_function_concurrency();
        let asked = call.function_name(&self.function.arn.name).send().await;
        answer("lambda:GetFunctionConcurrency", asked, &[])
            .map(|answer| answer.reserved_concurrent_executions())
    }

    async fn invocations(&self) -> Answer<Invocations> {
        let call = aws_sdk_lambda::Client::new(self.sdk).get_function_event_invoke_config();
        let asked = call.function_name(self.name).send().await;
        answer("lambda:GetFunctionEventInvokeConfig", asked, &["ResourceNotFoundException"]).map(|config| {
            Invocations {
                on_failure: config
                    .destination_config()
                    .and_then(|destinations| destinations.on_failure())
                    .and_then(|destination| destination.destination())
                    .filter(|arn| !arn.is_empty())
                    .map(str::to_owned),
                retries: config.maximum_retry_attempts(),
                age_seconds: config.maximum_event_age_in_seconds(),
            }
        })
    }

    async fn permission(&self) -> Answer<String> {
        let call = aws_sdk_lambda::Client::new(self.sdk).get_policy();
        let asked = call.function_name(self.name).send().await;
        answer("lambda:GetPolicy", asked, &["ResourceNotFoundException"])
            .map(|answer| answer.policy().unwrap_or_default().to_owned())
    }

    async fn rules(&self) -> Answer<Vec<Rule>> {
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

    /// The queues of the rules' targets, each once.
    async fn undelivered(&self, rules: &[Rule]) -> Vec<Answer<Waiting>> {
        let mut queues: Vec<&str> = Vec::new();
        for rule in rules {
            if let Ok(targets) = &rule.targets {
                queues.extend(targets.iter().filter_map(|target| target.dead_letter.as_deref()));
            }
        }
        queues.sort_unstable();
        queues.dedup();
        join_all(queues.into_iter().map(|queue| self.waiting(queue))).await
    }

    async fn waiting(&self, arn: &str) -> Answer<Waiting> {
        let Some((name, account)) = doctor::queue(arn) else {
            return Err(Gap::Unasked(format!("{arn} is no SQS queue")));
        };
        let missing = ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"];
        let client = aws_sdk_sqs::Client::new(self.sdk);
        let asked = client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send().await;
        let url = answer("sqs:GetQueueUrl", asked, &missing)?.queue_url().unwrap_or_default().to_owned();
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let call = client.get_queue_attributes().queue_url(&url).set_attribute_names(Some(counts.into()));
        let action = "sqs:GetQueueAttributes";
        let answer = answer(action, call.send().await, &missing)?;
        let counts = answer.attributes().into_iter().flatten().map(|(_, count)| count.parse::<u64>());
        match counts.collect::<Result<Vec<_>, _>>() {
            Ok(counts) if !counts.is_empty() => {
                Ok(Waiting { arn: arn.to_owned(), url, messages: counts.iter().sum() })
            }
            Ok(_) | Err(_) => Err(Gap::Failed { action, why: "the answer has no count".to_owned() }),
        }
    }

    async fn trails(&self) -> Answer<Vec<Trail>> {
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

    async fn table(&self) -> Answer<doctor::Table> {
        let name = self.function.table()?;
        let asked = aws_sdk_dynamodb::Client::new(self.sdk).describe_table().table_name(name).send().await;
        let action = "dynamodb:DescribeTable";
        let described = answer(action, asked, &["ResourceNotFoundException"])?.table;
        let Some(table) = described else {
            return Err(Gap::Failed { action, why: "the answer is empty".to_owned() });
        };
        let types = table.attribute_definitions();
        Ok(doctor::Table {
            status: table.table_status().map_or("ACTIVE", |status| status.as_str()).to_owned(),
            keys: keys(table.key_schema(), types),
            indexes: table
                .global_secondary_indexes()
                .iter()
                .map(|index| {
                    let name = index.index_name().unwrap_or_default().to_owned();
                    let status = index.index_status().map_or("ACTIVE", IndexStatus::as_str).to_owned();
                    let projection = index.projection().and_then(|projection| projection.projection_type());
                    let whole = projection == Some(&ProjectionType::All);
                    Index { name, status, keys: keys(index.key_schema(), types), whole }
                })
                .collect(),
            protected: table.deletion_protection_enabled().unwrap_or_default(),
        })
    }

    async fn recovery(&self) -> Answer<bool> {
        let name = self.function.table()?;
        let call = aws_sdk_dynamodb::Client::new(self.sdk).describe_continuous_backups();
        let missing = ["TableNotFoundException", "ResourceNotFoundException"];
        answer("dynamodb:DescribeContinuousBackups", call.table_name(name).send().await, &missing).map(
            |answer| {
                answer
                    .continuous_backups_description()
                    .and_then(|backups| backups.point_in_time_recovery_description())
                    .and_then(|recovery| recovery.point_in_time_recovery_status())
                    == Some(&PointInTimeRecoveryStatus::Enabled)
            },
        )
    }

    /// One call for each resource.
    async fn role(&self, account: Option<&str>) -> Answer<Vec<(Ask, Decision)>> {
        let asks = self.function.asks(account)?;
        let mut resources: Vec<&str> = asks.iter().map(|ask| ask.resource.as_str()).collect();
        resources.dedup();
        let answers = join_all(resources.into_iter().map(|resource| {
            let actions = asks.iter().filter(|ask| ask.resource == resource).map(|ask| ask.action);
            self.simulate(resource, actions.collect())
        }))
        .await;
        let mut decisions = HashMap::new();
        for answer in answers {
            decisions.extend(answer?);
        }
        Ok(asks
            .into_iter()
            .map(|ask| {
                let asked = (ask.resource.clone(), ask.action.to_lowercase());
                let decision = decisions.remove(&asked).unwrap_or(Decision::Missing);
                (ask, decision)
            })
            .collect())
    }

    /// By the resource, and the action in lowercase.
    async fn simulate(
        &self,
        resource: &str,
        actions: Vec<&str>,
    ) -> Answer<HashMap<(String, String), Decision>> {
        let action = "iam:SimulatePrincipalPolicy";
        let context = ContextEntry::builder()
            .context_key_name("iam:ServiceSpecificCredentialServiceName")
            .context_key_type(ContextKeyTypeEnum::String)
            .context_key_values("bedrock.amazonaws.com")
            .build();
        let call = aws_sdk_iam::Client::new(self.sdk)
            .simulate_principal_policy()
            .policy_source_arn(&self.function.role)
            .set_action_names(Some(actions.into_iter().map(str::to_owned).collect()))
            .resource_arns(resource)
            .context_entries(context)
            .max_items(1_000);
        answer(action, call.send().await, &["NoSuchEntity"]).map(|answer| {
            let results = answer.evaluation_results().iter();
            results
                .map(|result| {
                    let decision = if *result.eval_decision() == PolicyEvaluationDecisionType::Allowed {
                        Decision::Allowed
                    } else {
                        Decision::NotAllowed(result.missing_context_values().to_vec())
                    };
                    ((resource.to_owned(), result.eval_action_name().to_lowercase()), decision)
                })
                .collect()
        })
    }

    async fn last_event(&self, now: DateTime<Utc>) -> Answer<DateTime<Utc>> {
        let action = "cloudwatch:GetMetricStatistics";
        let time =
            |time: DateTime<Utc>| aws_sdk_cloudwatch::primitives::DateTime::from_secs(time.timestamp());
        let call = aws_sdk_cloudwatch::Client::new(self.sdk)
            .get_metric_statistics()
            .namespace(NAMESPACE)
            .metric_name("Keys")
            .start_time(time(now - TimeDelta::days(LOOK_BACK_DAYS)))
            // Exclusive, and this hour counts.
            .end_time(time(now + TimeDelta::seconds(PERIOD_SECONDS.into())))
            .period(PERIOD_SECONDS)
            .statistics(Statistic::Sum);
        let asked = answer(action, call.send().await, &[])?;
        let counted = asked.datapoints().iter().filter(|point| point.sum().is_some_and(|sum| sum > 0.0));
        let last = counted
            .filter_map(|point| point.timestamp())
            .map(aws_sdk_cloudwatch::primitives::DateTime::secs)
            .max();
        last.and_then(|seconds| DateTime::from_timestamp(seconds, 0)).ok_or(Gap::Absent)
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

/// Names and types, partition key first.
fn keys(schema: &[KeySchemaElement], types: &[AttributeDefinition]) -> Vec<(String, String)> {
    let mut schema: Vec<&KeySchemaElement> = schema.iter().collect();
    schema.sort_by_key(|key| *key.key_type() != KeyType::Hash);
    let kind = |name: &str| {
        let of_name = types.iter().find(|attribute| attribute.attribute_name() == name);
        of_name.map_or("?", |attribute| attribute.attribute_type().as_str()).to_owned()
    };
    schema.into_iter().map(|key| (key.attribute_name().to_owned(), kind(key.attribute_name()))).collect()
}

/// What came of a call. The codes of `missing` say that there is none.
fn answer<T, E>(action: &'static str, result: Result<T, SdkError<E>>, missing: &[&str]) -> Answer<T>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    result.map_err(|error| match code(&error) {
        Some(code) if missing.contains(&code) => Gap::Absent,
        Some(code) if denies(code) => Gap::Denied(action),
        Some(code) => Gap::Failed { action, why: code.to_owned() },
        None => Gap::Failed { action, why: chain(&error) },
    })
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The services' words for "not allowed".
fn denies(code: &str) -> bool {
    code.contains("AccessDenied") || matches!(code, "UnauthorizedOperation" | "AuthorizationError")
}

fn jsonl(findings: &[Finding]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        serde_json::to_writer(&mut out, finding)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn table(findings: &[Finding]) -> io::Result<()> {
    let mut table = plain_table(wants_colour());
    table.set_header(
        ["CHECK", "STATUS", "FOUND"].map(|title| Cell::new(title).add_attribute(Attribute::Bold)),
    );
    for finding in findings {
        let colour = match finding.status {
            Status::Ok => Color::Green,
            Status::Warn => Color::Yellow,
            Status::Fail => Color::Red,
            Status::Unknown => Color::Cyan,
        };
        table.add_row([
            Cell::new(finding.check.as_str()),
            Cell::new(finding.status.as_str()).fg(colour),
            Cell::new(sanitize_line(&finding.found)),
        ]);
    }
    let mut out = io::stdout().lock();
    write_table(&mut out, table)?;
    for finding in findings {
        if let Some(mend) = &finding.mend {
            writeln!(out, "\n{}: {}", finding.check.as_str(), sanitize_line(mend))?;
        }
    }
    out.flush()
}
