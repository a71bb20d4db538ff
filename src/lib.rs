//! **Bedrock Key Guard** keeps long-lived Amazon Bedrock API keys out of AWS accounts.
//!
//! The [core](key_guard_core) makes every decision, and the [`runtime`] performs it:
//!
//! ```text
//! JSON ──event::parse──▶ event ──▶ Session ──▶ Commit · Find · Act ──▶ report
//! ```
//!
//! | | |
//! | --- | --- |
//! | [`key_guard_core`] | pure: the CloudTrail parser, the policy, the states of a key and what follows from what |
//! | [`runtime`] | events, sweeps and resumes: the only async code between an event and AWS |
//! | [`ledger`] | keys and their history, in DynamoDB or a SQLite file |
//! | [`aws`] | clients, and IAM |
//! | [`lambda`](mod@lambda) | the function: invocations, and what they return |
//! | [`prevent`] | the policy as policies of IAM |
//! | [`doctor`] | whether a deployed stack is complete |
//! | [`shape`] | which fields an event has, without their values |
//! | [`config`], [`clock`], [`telemetry`] | the edges |
//!
//! `docs/lifecycle.md` has the table of a key's states, the rules R1 to R15 and the invariants I1 to I11.

pub mod aws;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "cli")]
pub mod doctor;
pub mod event;
pub mod lambda;
pub mod ledger;
#[cfg(feature = "cli")]
pub mod prevent;
pub mod runtime;
pub mod shape;
pub mod telemetry;
