//! Points in time. Nothing in this package asks what time it is: callers pass it in.

use chrono::{DateTime, SecondsFormat, Utc};

/// A point in time, in UTC.
pub type Time = DateTime<Utc>;

/// RFC 3339 has years of four digits.
pub const LAST_YEAR: i32 = 9999;

/// RFC 3339 in UTC, with a fraction only where there is one: the form of every time that is printed or stored.
#[must_use]
pub fn rfc3339(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
