//! Asks about the function and its role.

use std::collections::HashMap;

use anyhow::Context as _;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, PolicyEvaluationDecisionType};
use futures_util::future::join_all;

use super::answer::answer;
use super::questions::Questions;
use crate::doctor::{Answer, Decision, Function, Invocations, PermissionCheck, Unavailable};

pub(super) fn function(
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
            Some(error) => Err(Unavailable::Failed {
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

impl Questions<'_> {
    pub(super) async fn concurrency(&self) -> Answer<Option<i32>> {
        let call = aws_sdk_lambda::Client::new(self.sdk).get_function_concurrency();
        let asked = call.function_name(&self.function.arn.name).send().await;
        answer("lambda:GetFunctionConcurrency", asked, &[])
            .map(|answer| answer.reserved_concurrent_executions())
    }

    pub(super) async fn invocations(&self) -> Answer<Invocations> {
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

    pub(super) async fn permission(&self) -> Answer<String> {
        let call = aws_sdk_lambda::Client::new(self.sdk).get_policy();
        let asked = call.function_name(self.name).send().await;
        answer("lambda:GetPolicy", asked, &["ResourceNotFoundException"])
            .map(|answer| answer.policy().unwrap_or_default().to_owned())
    }

    /// One call for each resource.
    pub(super) async fn role(&self, account: Option<&str>) -> Answer<Vec<(PermissionCheck, Decision)>> {
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
}
