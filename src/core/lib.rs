//! The core of **Bedrock Key Guard**: every decision about a key, without I/O, clock or async.
//!
//! | question | answered by |
//! | --- | --- |
//! | What happened? | [`cloudtrail::parse_record`]: CloudTrail JSON to a [`cloudtrail::CredentialEvent`] |
//! | When does the key expire? | [`evidence::ExpirationEvidence::determine`]: what the event and IAM say, joined |
//! | What does it deserve? | [`policy::Policy::assess`]: an [`policy::Assessment`] under the strictest of its user's names |
//! | What happens next? | [`lifecycle::transition`]: **the table**, a state and an input to a decision |
//! | In which order? | [`lifecycle::session::Session`]: a reply of the store or of IAM to the next call |
//! | What was a key used for? | [`cloudtrail::parse_bearer_call`]: CloudTrail JSON to a [`cloudtrail::BearerCall`]; [`usage`] counts them |
//! | What is returned? | [`report::Report`]; every sentence in it is made in [`words`] |
//!
//! The nouns are in [`key`], points in time in [`time`]. Text from outside passes through [`text`] before it is
//! stored or printed.
//!
//! Callers pass the time in. The same input gives the same output whenever and wherever it is run.

pub mod cloudtrail;
pub mod evidence;
pub mod key;
pub mod leaked_key;
pub mod lifecycle;
pub mod policy;
pub mod ports;
pub mod remediation;
pub mod report;
mod secret;
mod service;
pub mod silence;
pub mod text;
pub mod time;
mod unescape;
pub mod usage;
pub mod words;

pub use time::Time;
