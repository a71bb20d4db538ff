//! What is allowed: the policy file, and what a key deserves under it.
//!
//! [`Policy::assess`] is pure: the same key, evidence, policy and time give the same assessment.

mod assessment;
mod evaluate;
mod file;
pub mod wildcard;

pub use assessment::{Assessment, Response, Rule, Scope, Verdict, VerdictDetail, Violation};
pub use evaluate::LIMIT_TOLERANCE;
pub(crate) use evaluate::violation_of;
pub use file::{BUILT_IN, InvalidPolicy, Layer, Policy, PolicyWarning, Services};
