//! Rules R1 to R15, as far as they are about the core: whole sessions on a store and an IAM in memory.
//!
//! A test is named after the rule that it shows. `docs/lifecycle.md` has the rules.

mod corrections;
mod cost;
mod limits;
mod observations;
mod persistence;
mod reports;
mod standing;
mod stored;
mod triggers;
