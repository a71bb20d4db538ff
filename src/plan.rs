//! A verdict becomes exactly what will be done.

use crate::ledger::Outcome;
use key_guard_core::policy::{Assessment, Response, Verdict};

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
pub fn plan(judgement: &Assessment, hands: Hands, ceiling: Response) -> (Plan, Response) {
    let allowed = judgement.response.min(ceiling);
    match (judgement.verdict(), hands) {
        (Verdict::Compliant | Verdict::Exempt, _) | (Verdict::Undetermined, Hands::Tied) => {
            (Plan::Record(Outcome::Recorded), Response::None)
        }
        (Verdict::Undetermined, Hands::Free) => (Plan::Confirm(allowed), Response::None),
        (Verdict::Noncompliant, Hands::Tied) if allowed > Response::Monitor => {
            (Plan::Record(Outcome::Recorded), allowed)
        }
        (Verdict::Noncompliant, Hands::Tied | Hands::Free) => match allowed {
            Response::None | Response::Monitor => (Plan::Record(Outcome::Monitored), Response::Monitor),
            Response::Deactivate | Response::Quarantine | Response::Delete => {
                (Plan::Confirm(allowed), allowed)
            }
        },
    }
}
