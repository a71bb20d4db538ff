//! A verdict becomes exactly what will be done.

use crate::policy::{Judgement, Response, Standing};
use crate::report::Outcome;

/// What will be done with a key. It leaves the executor no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Write the entry, with this outcome, and nothing else.
    Record(Outcome),
    /// Write the entry, ask IAM for the key, judge it again on the answer, and go no further than this.
    Confirm(Response),
}

/// Whether the guard may call IAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hands {
    /// A rehearsal: judge and record, never call IAM.
    Tied,
    /// The real thing.
    Free,
}

/// Makes the plan for a freshly judged key, and says what response that is after the ceiling.
///
/// An undetermined key is to be confirmed with IAM, whatever the response: only IAM's answer can settle
/// it. A rehearsal records what the response would have been.
#[must_use]
pub fn plan(judgement: &Judgement, hands: Hands, ceiling: Response) -> (Plan, Response) {
    let allowed = judgement.response.min(ceiling);
    match (judgement.verdict.standing(), hands) {
        (Standing::Compliant | Standing::Exempt, _) | (Standing::Undetermined, Hands::Tied) => {
            (Plan::Record(Outcome::Recorded), Response::None)
        }
        (Standing::Undetermined, Hands::Free) => (Plan::Confirm(allowed), Response::None),
        (Standing::Noncompliant, Hands::Tied) if allowed > Response::Monitor => {
            (Plan::Record(Outcome::Recorded), allowed)
        }
        (Standing::Noncompliant, Hands::Tied | Hands::Free) => match allowed {
            Response::None | Response::Monitor => (Plan::Record(Outcome::Monitored), Response::Monitor),
            Response::Deactivate | Response::Quarantine | Response::Delete => {
                (Plan::Confirm(allowed), allowed)
            }
        },
    }
}
