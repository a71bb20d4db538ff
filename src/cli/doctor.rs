//! `doctor`: is a deployed stack complete?

mod answer;
mod capture;
mod events;
mod function;
mod operation;
mod output;
mod questions;
mod storage;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_config::Region;

use super::filters::whole_number;
use super::setup::runtime;
use crate::clock::{Clock, SystemClock};
use crate::doctor::{FunctionArn, Stack};
use key_guard_core::key::AccountId;

use answer::{code, denies};
use output::{Format, end, print_findings};
use questions::Questions;

/// Checks a deployed stack, and says what is missing and how to fix it
///
/// Everything is found from the function, with your own credentials. A check is ok, warn or fail; what you may not
/// ask is unknown. Nothing is changed without --capture.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard doctor
      the stack whose function is called bedrock-key-guard
  bedrock-key-guard doctor --function key-guard:live --format jsonl
      the stack whose rule targets the alias live, one check to a line
  bedrock-key-guard doctor --capture
      creates a key in your account to see its event, and removes it

It makes calls with these IAM actions, and without one its checks are unknown:
  lambda:GetFunctionConfiguration (needed)   lambda:GetFunctionConcurrency
  lambda:GetFunctionEventInvokeConfig        lambda:GetPolicy
  events:ListRuleNamesByTarget               events:DescribeRule
  events:ListTargetsByRule                   cloudtrail:DescribeTrails
  cloudtrail:GetTrailStatus                  cloudtrail:GetEventSelectors
  dynamodb:DescribeTable                     dynamodb:DescribeContinuousBackups
  dynamodb:Query                             dynamodb:BatchGetItem
  iam:SimulatePrincipalPolicy                sqs:GetQueueUrl
  sqs:GetQueueAttributes                     sns:GetTopicAttributes
  cloudwatch:DescribeAlarms                  cloudwatch:GetMetricStatistics

With --capture it makes calls with these, on users of the path /bedrock-key-guard/, and no others:
  iam:CreateUser                             iam:CreateServiceSpecificCredential
  iam:DeleteUser                             iam:DeleteServiceSpecificCredential
  cloudtrail:LookupEvents                    iam:ListServiceSpecificCredentials

Exit codes:
  0 no check failed   1 a check failed, or a call failed that everything hangs on   2 usage")]
pub struct Doctor {
    /// The function's name or ARN, with :ALIAS where the rule targets an alias
    #[arg(long, default_value = "bedrock-key-guard", value_name = "NAME")]
    function: String,

    /// One of the other accounts: is the function allowed to assume its role there? Needed where it is
    /// allowed for named accounts only
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<AccountId>,

    /// Creates an IAM user and a Bedrock API key for one day in your own account, compares the key's creation
    /// event with what the guard expects, prints its fields without values, and removes both. Nothing else is
    /// checked
    #[arg(long, conflicts_with_all = ["function", "account"])]
    capture: bool,

    /// How long --capture waits for the event, at most. CloudTrail usually has it within 15 minutes
    #[arg(
        long, value_name = "MINUTES", default_value_t = 15, requires = "capture",
        allow_negative_numbers = true, value_parser = whole_number(0..=120_u8)
    )]
    capture_wait: u8,

    /// How findings are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

impl Doctor {
    /// Runs it.
    ///
    /// # Errors
    /// When a call failed on which everything hangs, so that there is nothing to check: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = runtime()?;
        if self.capture {
            let wait = Duration::from_mins(self.capture_wait.into());
            return runtime.block_on(capture::run(wait, self.format));
        }
        let findings = runtime.block_on(self.gather())?.run_checks();
        print_findings(&findings, self.format).context("could not write to stdout")?;
        Ok(end(&findings))
    }

    async fn gather(&self) -> anyhow::Result<Stack> {
        let mut sdk = crate::cli::aws_options::load().await;
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
        let questions =
            Questions { sdk: &sdk, name: &self.function, function: function::function(&described)? };
        Ok(Box::pin(gather(questions, self.account.as_ref().map(AccountId::as_str))).await)
    }
}

/// Asks everything else, side by side.
async fn gather(questions: Questions<'_>, account: Option<&str>) -> Stack {
    let (concurrency, (invocations, failed), permission, (rules, undelivered), rest) = tokio::join!(
        questions.concurrency(),
        async {
            let invocations = questions.invocations().await;
            let failed = match Stack::on_failure(&questions.function, &invocations) {
                Ok(arn) => questions.waiting(&arn).await,
                Err(gap) => Err(gap),
            };
            (invocations, failed)
        },
        questions.permission(),
        async {
            let rules = questions.rules().await;
            let undelivered = questions.undelivered(rules.as_deref().unwrap_or_default()).await;
            (rules, undelivered)
        },
        async {
            tokio::join!(
                questions.trails(),
                questions.table(),
                questions.recovery(),
                questions.role(account),
                questions.last_event(SystemClock.now()),
                questions.operation(SystemClock.now()),
            )
        },
    );
    let (trails, table, recovery, role, last_event, operation) = rest;
    Stack {
        function: questions.function,
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
        operation,
    }
}
