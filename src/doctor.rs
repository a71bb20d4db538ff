//! Whether a deployed stack is complete: what was gathered of it becomes one [`Finding`] for each [`Check`].
//!
//! Judges and never asks: `cli/doctor/` makes the calls. Everything is found from the function, so that it
//! does not matter which tool made the stack. What could not be asked is [`Status::Unknown`], never
//! [`Status::Ok`].

pub mod capture;
mod checks;
mod finding;
pub mod operation;
pub mod pattern;
mod permission;
mod stack;
pub mod trail;

pub use self::finding::*;
pub use self::operation::{Operation, Overdue};
pub use self::stack::*;

/// The region of a partition where the events of IAM arrive, as far as it is known (EventBridge user guide, *Events from AWS
/// services*: those of global services arrive in one region of each partition).
#[must_use]
pub fn iam_event_region(partition: &str) -> Option<&'static str> {
    match partition {
        "aws" => Some("us-east-1"),
        "aws-us-gov" => Some("us-gov-west-1"),
        "aws-cn" => Some("cn-north-1"),
        "aws-eusc" => Some("eusc-de-east-1"),
        _ => None,
    }
}
