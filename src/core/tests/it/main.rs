//! The core: the parser, the evidence, the policy, and reports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking"
)]

mod cloudtrail;
mod evidence;
mod policy;
mod report;
