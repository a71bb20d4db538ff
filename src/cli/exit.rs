//! How commands end.

use std::process::ExitCode;

/// How a command ended. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Found = 3,
    Unreadable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What makes a run end with exit code 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// A key that the policy forbids.
    Noncompliant,
    /// The same, or a key whose lifetime could not be read.
    Undetermined,
}

/// How a command that reads ends.
pub fn ended(unreadable: usize) -> ExitCode {
    if unreadable == 0 { Exit::Done } else { Exit::Unreadable }.into()
}
