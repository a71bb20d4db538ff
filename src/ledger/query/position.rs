//! A place in an answer.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate};

use crate::ledger::item;
use key_guard_core::key::CredentialId;

/// A place between two keys of an answer: behind the key that it names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub(super) String);

impl Position {
    pub(super) fn day(&self) -> Option<NaiveDate> {
        self.0.get(..10)?.parse().ok()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some shells take # for the beginning of a comment.
        f.write_str(&self.0.replacen('#', "/", 1))
    }
}

impl FromStr for Position {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "expected what a page ended with, like 2026-11-20T09:07:00Z/ACCAEXAMPLEKEY0000001";
        let (time, id) = text.split_once('/').ok_or(EXPECTED)?;
        let time = DateTime::parse_from_rfc3339(time).map_err(|_| EXPECTED)?.to_utc();
        let id: CredentialId = id.parse().map_err(|_| EXPECTED)?;
        Ok(Self(item::at_key(time, &id)))
    }
}
