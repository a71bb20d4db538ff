//! An exhaustive model of the core: every state that a few workers, one key, an IAM that answers late, a store, and an
//! adversary can reach within the bounds, with every invariant checked in each.
//!
//! The decisions are those of the real [`Session`](key_guard_core::lifecycle::session::Session). Everything around it
//! is a model: [`world`] has IAM, the store and the clock, [`moves`] what may happen next, [`workers`] who performs the
//! effects. [`invariants`] has what must hold. [`search`] visits every state, breadth first, so that a path to a
//! violation is a shortest one, and [`configurations`] has the bounds.
//!
//! `KEY_GUARD_MODEL=large cargo test -p key-guard-core --test model -- --nocapture` searches within larger bounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, say how far they searched, and can be told to search further"
)]

#[path = "model/configurations.rs"]
mod configurations;
#[path = "model/hash.rs"]
mod hash;
#[path = "model/invariants.rs"]
mod invariants;
#[path = "model/moves.rs"]
mod moves;
#[path = "model/names.rs"]
mod names;
#[path = "model/search.rs"]
mod search;
#[path = "model/workers.rs"]
mod workers;
#[path = "model/world.rs"]
mod world;
