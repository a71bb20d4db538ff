//! What is allowed: the policy file, and what a key deserves under it.
//!
//! [`Policy::assess`] is pure: the same key, evidence, policy and time give the same assessment.

mod assessment;
mod evaluate;
mod file;
mod places;
mod warnings;
pub mod wildcard;

pub use assessment::{Assessment, Response, Rule, Scope, Verdict, VerdictDetail, Violation};
pub(crate) use evaluate::violation_of;
pub use evaluate::{LIMIT_TOLERANCE, LONGEST_FINITE_DAYS};
pub use file::{BUILT_IN, Exemption, InvalidPolicy, Layer, Policy, Services};
pub use places::{ExemptionPlace, PolicyPlaces};
pub use warnings::PolicyWarning;
