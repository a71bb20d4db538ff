//! A place in an answer, and what an answer has cost.

use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;

use aws_sdk_dynamodb::types::ConsumedCapacity;
use chrono::{DateTime, NaiveDate};

use crate::ledger::item;
use key_guard_core::key::CredentialId;

/// A place between two keys of an answer: behind the key that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What a question has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Calls of DynamoDB.
    pub calls: u64,
    /// Read capacity units, as DynamoDB says.
    pub units: f64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.units += other.units;
    }
}

impl Cost {
    pub(in crate::ledger) fn count<'a>(&mut self, consumed: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        self.calls += 1;
        self.units += consumed.into_iter().filter_map(ConsumedCapacity::capacity_units).sum::<f64>();
    }
}
