//! Stand-ins for AWS on loopback: each has state of its own, counts what it is asked, and fails on demand.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what a stand-in does not know, it says so and fails")]

pub mod dynamodb;
pub mod http;
pub mod iam;
pub mod runtime_api;
pub mod stack;
pub mod template;

use std::collections::VecDeque;
use std::sync::Mutex;

pub const OWN: &str = "111122223333";
pub const OTHER: &str = "444455556666";

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with this status and code, and nothing happens.
    Refused(u16, &'static str),
    /// It happens, and the connection is cut.
    ReplyLost,
    /// The connection is cut, and nothing happens.
    Cut,
    /// It is never answered, and nothing happens.
    Hangs,
}

/// Faults to come, by operation.
#[derive(Debug, Default)]
pub struct Faults(Mutex<VecDeque<(String, Fault)>>);

impl Faults {
    /// The next `times` calls of `operation` go wrong.
    pub fn expect(&self, operation: &str, fault: Fault, times: usize) {
        let faults = std::iter::repeat_n((operation.to_owned(), fault), times);
        self.0.lock().unwrap().extend(faults);
    }

    fn take(&self, operation: &str) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap();
        let at = faults.iter().position(|(of, _)| of == operation)?;
        faults.remove(at).map(|(_, fault)| fault)
    }

    /// Answers a call, or lets it go wrong.
    fn pass(
        &self,
        operation: &str,
        refuse: impl FnOnce(u16, &str) -> http::Reply,
        answer: impl FnOnce() -> http::Reply,
    ) -> http::Reply {
        match self.take(operation) {
            None => answer(),
            Some(Fault::Refused(status, code)) => refuse(status, code),
            Some(Fault::ReplyLost) => {
                answer();
                http::Reply::Cut
            }
            Some(Fault::Cut) => http::Reply::Cut,
            Some(Fault::Hangs) => http::Reply::Hang,
        }
    }
}
