//! Whether the function's role allows what the ceiling needs, and no more.

use super::{fail, not_ok, ok, unanswered, unknown};
use crate::doctor::stack::SOME_ACCOUNT;
use crate::doctor::{Check, Decision, Finding, PermissionCheck, Stack, Status, Unavailable};
use key_guard_core::policy::Response;

impl Stack {
    pub(super) fn role(&self) -> Finding {
        let check = Check::Role;
        let role = &self.function.role;
        let name = role.rsplit('/').next().unwrap_or(role);
        let answers = match &self.role {
            Ok(answers) => answers,
            Err(Unavailable::Absent) => {
                return fail(check, format!("the role {role} does not exist"), "deploy the stack again");
            }
            Err(gap) => return unanswered(check, gap),
        };
        if let Some((ask, _)) = answers.iter().find(|(_, decision)| *decision == Decision::Missing) {
            let found = format!("IAM did not say whether {name} allows {}", ask.action);
            return unknown(check, found, "run doctor again");
        }
        let ceiling = match self.function.ceiling() {
            Ok(ceiling) => ceiling,
            Err(gap) => return unanswered(check, &gap),
        };
        judge_grants(name, ceiling, answers)
    }
}

/// What a role lacks, has only under conditions, and has too much of.
fn judge_grants(name: &str, ceiling: Response, answers: &[(PermissionCheck, Decision)]) -> Finding {
    let mut lacks = Vec::new();
    let mut exceeds = Vec::new();
    let mut found = Vec::new();
    let mut fixes = Vec::new();
    for (ask, decision) in answers {
        match decision {
            Decision::NotAllowed(conditions) if ask.needed && conditions.is_empty() => lacks.push(ask),
            Decision::NotAllowed(conditions) if ask.needed => {
                let conditions = conditions.join(", ");
                found.push(format!("{name} allows {} only under a condition on {conditions}", ask.action));
                fixes.push(format!("make sure that the condition on {conditions} holds for the function"));
            }
            Decision::Allowed if !ask.needed => exceeds.push(ask.action),
            Decision::Allowed | Decision::NotAllowed(_) | Decision::Missing => {}
        }
    }
    if !lacks.is_empty() {
        let actions: Vec<_> = lacks.iter().map(|ask| ask.action).collect();
        found.insert(0, format!("{name} lacks {}, which ceiling {ceiling} needs", actions.join(", ")));
        fixes.insert(0, how_to_grant(&lacks));
    }
    if !exceeds.is_empty() {
        let exceeds = exceeds.join(", ");
        found.push(format!("{name} allows {exceeds}, which ceiling {ceiling} does not need"));
        fixes.push(format!("take {exceeds} from the role"));
    }
    if found.is_empty() {
        let found = format!("{name} allows what ceiling {ceiling} needs, and no excess was found");
        return ok(Check::Role, found);
    }
    let status = if lacks.is_empty() { Status::Warn } else { Status::Fail };
    not_ok(Check::Role, status, found.join("; "), fixes.join("; "))
}

fn how_to_grant(lacks: &[&PermissionCheck]) -> String {
    let grants: Vec<_> =
        lacks.iter().map(|ask| format!("{} on {}", ask.action, granted(&ask.resource))).collect();
    let grants = format!("allow the role {}", grants.join(", "));
    if lacks.iter().any(|ask| ask.resource.contains(SOME_ACCOUNT)) {
        return format!(
            "{grants}; or, where only named accounts are allowed, ask about one: doctor --account"
        );
    }
    grants
}

/// A resource as a policy would name it.
fn granted(resource: &str) -> String {
    resource.replace(SOME_ACCOUNT, "*")
}
