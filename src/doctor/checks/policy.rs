//! Whether the function has a policy to judge by.

use super::{fail, ok, unanswered};
use crate::config::LEDGER_POLICY;
use crate::doctor::{Check, Finding, Stack, Unavailable};
use crate::telemetry::chain;
use key_guard_core::time::rfc3339;

impl Stack {
    /// The function reads the ledger's version at its start, and does not start without one that it can use.
    pub(super) fn policy_version(&self) -> Finding {
        let check = Check::PolicyVersion;
        if let Err(gap) = &self.function.environment {
            return unanswered(check, gap);
        }
        match self.function.custom_policy() {
            None => return ok(check, "none in the ledger: the built-in policy is in use"),
            Some(path) if path != LEDGER_POLICY => {
                return ok(check, format!("none in the ledger: {path} of the function's package is in use"));
            }
            Some(_) => {}
        }
        let fix = match self.function.table() {
            Ok(table) => format!("bedrock-key-guard policy push FILE --ledger dynamodb:{table}"),
            Err(gap) => return unanswered(check, &gap),
        };
        let newest = match &self.operation.policy {
            Ok(newest) => newest,
            Err(Unavailable::Absent) => {
                return fail(
                    check,
                    "the ledger has no version of the policy, and the function does not start without",
                    fix,
                );
            }
            Err(gap) => return unanswered(check, gap),
        };
        let fix = format!("{fix}; or go back: bedrock-key-guard policy rollback");
        let version = match &newest.version {
            Ok(version) => version,
            Err(error) => {
                let found = format!("version {} cannot be read: {}", newest.number, chain(error));
                return fail(check, found, fix);
            }
        };
        match version.policy() {
            Ok(_) => ok(
                check,
                format!(
                    "version {}, pushed at {} by {}",
                    version.number,
                    rfc3339(version.pushed_at),
                    version.pushed_by
                ),
            ),
            Err(error) => fail(check, chain(&error), fix),
        }
    }
}
