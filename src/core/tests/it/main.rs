//! The core, without its model: the parser, the evidence, the policy, the table, the rules, sweeps, and the docs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking"
)]

mod cloudtrail;
mod docs;
mod evidence;
mod leaked_key;
mod policy;
mod redaction;
mod remediation;
mod report;
mod rules;
mod support;
mod sweep;
mod table;
