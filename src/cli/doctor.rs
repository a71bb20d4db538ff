//! `doctor`: is a deployed stack complete?

mod capture;
mod events;
mod function;
mod storage;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_config::{Region, SdkConfig};
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use comfy_table::{Attribute, Cell, Color};

use super::exit::Exit;
use super::messages::say;
use super::output::{plain_table, wants_colour, write_table};
use super::setup::runtime;
use crate::clock::{Clock, SystemClock};
use crate::doctor::{Answer, Finding, Function, FunctionArn, Gap, Stack, Status};
use crate::telemetry::chain;
use key_guard_core::key::AccountId;
use key_guard_core::text::sanitize_line;

/// Checks a deployed stack, and says what is missing and how to mend it
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
  iam:SimulatePrincipalPolicy                sqs:GetQueueUrl
  sqs:GetQueueAttributes                     cloudwatch:GetMetricStatistics

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
        value_parser = clap::value_parser!(u8).range(0..=120)
    )]
    capture_wait: u8,

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
    /// When a call failed on which everything hangs, so that there is nothing to check: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = runtime()?;
        if self.capture {
            let wait = Duration::from_mins(self.capture_wait.into());
            return runtime.block_on(capture::run(wait, self.format));
        }
        let findings = runtime.block_on(self.gather())?.examine();
        print_findings(&findings, self.format).context("could not write to stdout")?;
        Ok(end(&findings))
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
        let questions =
            Questions { sdk: &sdk, name: &self.function, function: function::function(&described)? };
        Ok(Box::pin(questions.gather(self.account.as_ref().map(AccountId::as_str))).await)
    }
}

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

fn print_findings(findings: &[Finding], format: Format) -> io::Result<()> {
    match format {
        Format::Table => table(findings),
        Format::Jsonl => jsonl(findings),
    }
}

/// Says how many checks came out how.
fn end(findings: &[Finding]) -> ExitCode {
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    say(&format!(
        "{} checks: {} ok, {} warn, {} fail, {} unknown",
        findings.len(),
        count(Status::Ok),
        count(Status::Warn),
        count(Status::Fail),
        count(Status::Unknown),
    ));
    if count(Status::Fail) > 0 { Exit::Failed } else { Exit::Done }.into()
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
