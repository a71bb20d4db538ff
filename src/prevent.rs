//! IAM's own words for a policy file: service control policies and permission boundaries that deny the
//! creation of a key.
//!
//! A document never denies a key that the policy file allows. Where IAM's language cannot say what the file
//! forbids, less is denied and a [`Gap`] is left. `tests/it/prevent` holds both against
//! [`Policy::assess`](key_guard_core::policy::Policy::assess), `.ci/scp` against an independent policy simulator.
//!
//! A key that is created without an age has no `iam:ServiceSpecificCredentialAgeDays`, and a comparison with a
//! condition key that is absent does not match: a statement with `NumericGreaterThan` alone lets exactly the
//! keys pass that never expire. So a second statement asks for the absence, with `Null`
//! (IAM user guide, *Condition operators*).
//!
//! Actions and condition keys: service authorization reference, *AWS IAM*, *Amazon Bedrock*, *Amazon Bedrock
//! Powered by AWS Mantle*, *Claude Platform on AWS*. Values of the token type: Bedrock user guide, *Control
//! permissions for generating and using Amazon Bedrock API keys*.

mod document;
mod options;
mod plan;
mod protect;
mod region;
mod statement;

pub use document::{Document, MANAGED_POLICY_MAX_CHARACTERS, SCP_MAX_CHARACTERS, document};
pub use options::{BreakGlass, Kind, Options, Partition};
pub use plan::PreventError;
pub use protect::{Protection, protection};
pub use region::Gap;
pub use statement::{actions, use_actions};
