//! Every test of what this repository builds, in one binary: linking the SDKs costs more than most tests do.
// The futures of a whole sweep are nested deeply.
#![recursion_limit = "256"]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::semicolon_if_nothing_returned,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking, say what an emulator left out, and their tables are terse"
)]

mod attempts;
mod aws;
mod cli;
mod credentials;
mod doctor;
mod end_to_end;
mod event_history;
mod events;
mod function_accounts;
mod function_large;
#[cfg(target_os = "linux")]
mod function_memory;
mod function_owner;
mod function_policy;
mod function_sweep;
mod fuzz;
mod heartbeats;
mod infra;
mod lambda;
mod ledger_file;
mod lookup;
mod prevent;
mod reading;
mod runtime;
mod store;
mod support;
mod sweep_command;
mod sweep_creators;
mod sweep_saved_list;
mod telemetry;
mod usage;
