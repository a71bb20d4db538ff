//! The async code between an event and AWS: it performs what the core asks for, and returns the replies.
//!
//! | | |
//! | --- | --- |
//! | [`executor`] | runs [sessions](key_guard_core::lifecycle::session::Session), one at a time or many side by side |
//! | [`event`] | an event, until it has its report |
//! | [`sweep`](mod@sweep) | the keys that IAM has now |
//! | [`resume`](mod@resume) | intents whose worker died, and quarantines that have ended |
//! | [`publish`](mod@publish) | findings that nobody has been told of |
//! | [`silence`] | accounts that have fallen silent |
//!
//! It decides nothing about a key. Stores and APIs are [ports](key_guard_core::ports).

pub mod event;
pub mod executor;
pub mod publish;
pub mod resume;
pub mod silence;
pub mod sweep;
