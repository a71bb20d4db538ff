//! Whether the function can run, and is where IAM's events arrive.

use super::{fail, ok, unanswered, unknown, warn};
use crate::config::{ConfigError, POLICY};
use crate::doctor::stack::read_environment;
use crate::doctor::{Check, Finding, FunctionArn, Stack, Unavailable, iam_event_region};

/// The time that the guard's calls for one event may take, one after another
/// ([`crate::aws::OPERATION_TIMEOUT`]).
const NEEDED_SECONDS: i32 = 30;

/// With less, a sweep does little more than begin before it hands the rest to another invocation.
const NEEDED_FOR_SWEEPS_SECONDS: i32 = 60;

/// The longest that Lambda allows, as in `infra/template.yaml`.
const TIMEOUT_SECONDS: i32 = 900;

impl Stack {
    pub(super) fn function(&self) -> Finding {
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

    pub(super) fn configuration(&self) -> Finding {
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
                let fix = match &error {
                    ConfigError::Unknown { .. } => {
                        format!("correct the name of {variable}, or remove it, in the stack's template")
                    }
                    ConfigError::Missing { .. }
                    | ConfigError::Invalid { .. }
                    | ConfigError::SweepCeiling { .. }
                    | ConfigError::Policy(_)
                    | ConfigError::LedgerPolicy(_) => {
                        format!("set {variable} in the function's environment, in the stack's template")
                    }
                };
                fail(check, format!("the function does not start: {error}"), fix)
            }
        }
    }

    pub(super) fn timeout(&self) -> Finding {
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

    pub(super) fn concurrency(&self) -> Finding {
        let check = Check::Concurrency;
        match &self.concurrency {
            Ok(Some(0)) => fail(
                check,
                "a reserved concurrency of 0: the function is disabled",
                format!("aws lambda delete-function-concurrency --function-name {}", self.name()),
            ),
            Ok(Some(reserved)) => ok(check, format!("{reserved} reserved")),
            Ok(None) | Err(Unavailable::Absent) => ok(check, "not limited for this function"),
            Err(gap) => unanswered(check, gap),
        }
    }

    pub(super) fn iam_region(&self) -> Option<&'static str> {
        iam_event_region(&self.function.arn.partition)
    }

    pub(super) fn region(&self) -> Finding {
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
}
