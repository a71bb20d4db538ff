//! Times as people give them, and as they read them.

use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};

/// A time as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// RFC 3339.
    At(DateTime<Utc>),
    /// A date, in UTC.
    Day(NaiveDate),
    /// So long ago.
    Ago(TimeDelta),
}

impl FromStr for When {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected a time like 2026-11-20T09:00:00Z, a date like 2026-11-20 (UTC), or how long \
                                ago: 30m, 12h, 7d or 4w";
        // As those of a ledger's items. What is reckoned from them stays within the calendar.
        const YEARS: RangeInclusive<i32> = 1970..=9999;
        let text = text.trim();
        if let Ok(day) = text.parse::<NaiveDate>() {
            return if YEARS.contains(&day.year()) { Ok(Self::Day(day)) } else { Err(EXPECTED) };
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()) {
            return if YEARS.contains(&time.year()) { Ok(Self::At(time)) } else { Err(EXPECTED) };
        }
        let unit = text.chars().last().ok_or(EXPECTED)?;
        let count = text.strip_suffix(unit).filter(|count| count.bytes().all(|byte| byte.is_ascii_digit()));
        // Ten years of minutes at most: nothing of this overflows.
        let count: i64 =
            count.and_then(|count| count.parse().ok()).filter(|n| *n <= 5_300_000).ok_or(EXPECTED)?;
        match unit {
            // A capital M may mean months.
            'm' => Ok(Self::Ago(TimeDelta::minutes(count))),
            'h' | 'H' => Ok(Self::Ago(TimeDelta::hours(count))),
            'd' | 'D' if count <= 36_600 => Ok(Self::Ago(TimeDelta::days(count))),
            'w' | 'W' if count <= 5_200 => Ok(Self::Ago(TimeDelta::weeks(count))),
            _ => Err(EXPECTED),
        }
    }
}

impl When {
    /// The beginning of what was named.
    #[must_use]
    pub fn begins(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(time) => time,
            Self::Day(day) => day.and_time(NaiveTime::MIN).and_utc(),
            Self::Ago(ago) => now - ago,
        }
    }

    /// The end of what was named: a day is meant whole.
    #[must_use]
    pub fn ends(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Day(day) => Self::Day(day.checked_add_days(Days::new(1)).unwrap_or(day)).begins(now),
            Self::At(_) | Self::Ago(_) => self.begins(now),
        }
    }
}

/// Tells times: as they are, or as seen from now.
#[derive(Debug, Clone, Copy)]
pub enum Times {
    /// RFC 3339, to the second.
    Absolute,
    /// `3 days ago`.
    From(DateTime<Utc>),
}

impl Times {
    /// A time for people.
    #[must_use]
    pub fn tell(self, time: DateTime<Utc>) -> String {
        match self {
            Self::Absolute => time.to_rfc3339_opts(SecondsFormat::Secs, true),
            Self::From(now) if time <= now => format!("{} ago", span(now - time)),
            Self::From(now) => format!("in {}", span(time - now)),
        }
    }

    /// A time as it is, and as seen from now, if that is wanted.
    #[must_use]
    pub fn tell_both(self, time: DateTime<Utc>) -> String {
        match self {
            Self::Absolute => self.tell(time),
            Self::From(_) => format!("{} ({})", Self::Absolute.tell(time), self.tell(time)),
        }
    }
}

/// A span in its largest whole unit.
fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds();
    let (count, unit) = match seconds {
        ..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        86_400.. => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use key_guard_core::time::rfc3339;

    fn now() -> DateTime<Utc> {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn times_are_given_as_people_do() {
        let begins = |text: &str| rfc3339(text.parse::<When>().unwrap().begins(now()));
        assert_eq!(begins("2026-11-20T10:00:00+01:00"), "2026-11-20T09:00:00Z");
        assert_eq!(begins("2026-11-20"), "2026-11-20T00:00:00Z");
        assert_eq!(begins("7d"), "2026-11-17T12:00:00Z");
        assert_eq!(begins("12h"), "2026-11-24T00:00:00Z");
        assert_eq!(begins("30m"), "2026-11-24T11:30:00Z");
        assert_eq!(begins("2w"), "2026-11-10T12:00:00Z");
        for (text, same) in
            [(" 7d ", "7d"), ("7D", "7d"), ("12H", "12h"), ("2W", "2w"), ("2026-11-20 ", "2026-11-20")]
        {
            assert_eq!(begins(text), begins(same), "{text:?}");
        }
        assert_eq!(rfc3339("2026-11-20".parse::<When>().unwrap().ends(now())), "2026-11-21T00:00:00Z");
        for bad in ["1969-12-31", "+10000-01-01", "1969-12-31T23:59:59Z", "-262143-01-01", "+262142-12-31"] {
            assert!(bad.parse::<When>().unwrap_err().contains("7d"), "{bad}");
        }
        for bad in ["", "d", "7", "-7d", "7 d", "7y", "3M", "20.11.2026", "2026-13-01", "99999999999d", "7ü"]
        {
            assert!(bad.parse::<When>().unwrap_err().contains("7d"), "{bad}");
        }
    }

    #[test]
    fn times_are_told_as_people_do() {
        let tell = |seconds| Times::From(now()).tell(now() - TimeDelta::seconds(seconds));
        assert_eq!(tell(0), "0 seconds ago");
        assert_eq!(tell(61), "1 minute ago");
        assert_eq!(tell(2 * 86_400 - 1), "1 day ago");
        assert_eq!(tell(-3 * 3_600), "in 3 hours");
        assert_eq!(Times::Absolute.tell(now()), "2026-11-24T12:00:00Z");
    }
}
