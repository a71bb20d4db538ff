//! **Bedrock Key Guard** keeps long-lived Amazon Bedrock API keys out of AWS accounts.
//!
//! Data flows one way; each arrow is one function in one file. The Lambda ([`handler`]), the `replay` command and a
//! [`sweep`](mod@sweep) of what IAM has now are three doors into the same corridor.
//!
//! ```text
//! JSON --event::parse--> event --Policy::assess--> Assessment --plan::plan--> Plan --enforce--> Report
//!                                                                            |
//!                    open ledger entry -> confirm with IAM -> act -> settle <-+
//! ```
//!
//! | | |
//! | --- | --- |
//! | [`key_guard_core`] | pure: identifiers, the CloudTrail parser, what is known of a key and what it deserves, reports |
//! | [`prevent`] | the policy in IAM's words |
//! | [`plan`](mod@plan) | what will be done |
//! | [`corridor`] | an event, all the way: a new key, or what happened to one later |
//! | [`sweep`](mod@sweep) | the keys that IAM has now |
//! | [`enforce`] | the order of effects, and the proofs |
//! | [`ledger`] | the record |
//! | [`aws`] | clients |
//! | [`doctor`] | whether a deployed stack is complete |
//! | [`shape`] | which fields an event has, without their values |
//! | [`config`], [`clock`], [`telemetry`] | the edges |
//!
//! # Invariants
//!
//! Each has tests that fail when it is broken, in `tests/it/faults.rs`, `tests/it/life.rs` and `tests/it/sweep.rs`.
//!
//! | | |
//! | --- | --- |
//! | I1 | No key is touched before its ledger entry is durable: [`enforce::Durable`]. |
//! | I2 | Every delivered event ends as a ledger entry, as a counted "not ours because", or in the on-failure queue. |
//! | I3 | Any mix of redelivery, reordering, concurrency and single faults ends in the same ledger state. |
//! | I4 | Undetermined is never compliant, and never grounds for a delete. |
//! | I5 | A key is reported gone only on IAM's word: a successful delete of that very id, or its absence from a list over all users. |
//! | I6 | No secret, and no raw event, is ever stored or logged: [`key_guard_core::cloudtrail`] has an allow-list. |
//! | I7 | Only the one credential id is touched: [`enforce::Confirmed`]. |
//! | I8 | Bad configuration stops the process at start, naming the variable: [`config`]. |
//! | I9 | The ceiling wins over everything, at once, for redeliveries too. |

pub mod aws;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
pub mod corridor;
#[cfg(feature = "cli")]
pub mod doctor;
pub mod enforce;
pub mod event;
pub mod handler;
pub mod ledger;
pub mod plan;
#[cfg(feature = "cli")]
pub mod prevent;
pub mod runtime;
pub mod shape;
pub mod sweep;
pub mod telemetry;
