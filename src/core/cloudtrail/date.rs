//! The dates inside `responseElements` of IAM's CloudTrail events, all UTC.
//!
//! Seen on AWS: ISO 8601 since 2026 (`2026-09-13T15:38:40Z`), and in older logs `Feb 22, 2026, 4:11:47<U+202F>PM`,
//! `Jul 30, 2024 9:53:13 PM` and `Jul 10, 2023, 12:47:00 PM`. Any mix of comma, space, U+202F and U+00A0 is accepted, and so
//! are epoch seconds or milliseconds.

use chrono::{DateTime, Datelike, NaiveDateTime, Utc};
use serde_json::Value;

use crate::time::LAST_YEAR;

/// Epochs in seconds have 10 digits from 2001 to 2286, those in milliseconds 13. Any other number of digits
/// is something else: `20260222161147`, say.
const SECONDS: std::ops::Range<i64> = 1_000_000_000..10_000_000_000;
const MILLISECONDS: std::ops::Range<i64> = 1_000_000_000_000..10_000_000_000_000;

/// Years that a key can have been created or end in: IAM is from 2010, and four digits are the limit of
/// every text form.
const YEARS: std::ops::RangeInclusive<i32> = 2010..=LAST_YEAR;

/// The time that `value` means, or `None` where that is not certain.
#[must_use]
pub fn read(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(epoch) => from_epoch(epoch),
            None => number.as_f64().and_then(from_fractional_epoch),
        },
        Value::String(text) => from_text(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .filter(is_plausible)
}

fn is_plausible(time: &DateTime<Utc>) -> bool {
    YEARS.contains(&time.year())
}

fn from_epoch(epoch: i64) -> Option<DateTime<Utc>> {
    if SECONDS.contains(&epoch) {
        DateTime::from_timestamp(epoch, 0)
    } else if MILLISECONDS.contains(&epoch) {
        DateTime::from_timestamp_millis(epoch)
    } else {
        None
    }
}

/// AWS's JSON protocols write epoch seconds with a fraction.
fn from_fractional_epoch(epoch: f64) -> Option<DateTime<Utc>> {
    #[expect(clippy::cast_possible_truncation, reason = "float casts saturate, and the year is checked")]
    let nearest_millisecond = (epoch * 1000.0).round() as i64;
    MILLISECONDS
        .contains(&nearest_millisecond)
        .then(|| DateTime::from_timestamp_millis(nearest_millisecond))?
}

/// The time that a text means, or `None` where that is not certain.
pub(super) fn from_text(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let time = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok().and_then(from_epoch)
    } else if text.starts_with(|c: char| c.is_ascii_digit()) {
        from_iso(text)
    } else {
        from_words(text)
    };
    time.filter(is_plausible)
}

fn from_iso(text: &str) -> Option<DateTime<Utc>> {
    const WITH_OFFSET: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"];
    // Athena prints the last one.
    const WITHOUT_OFFSET: [&str; 3] =
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f UTC"];
    // chrono reads years of other lengths too; a date with one is a typo.
    if text.find('-') != Some(4) {
        return None;
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    WITH_OFFSET
        .iter()
        .find_map(|form| DateTime::parse_from_str(text, form).ok())
        .map(|time| time.to_utc())
        .or_else(|| {
            WITHOUT_OFFSET
                .iter()
                .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
                .map(|time| time.and_utc())
        })
}

fn from_words(text: &str) -> Option<DateTime<Utc>> {
    let words: Vec<&str> =
        text.split([',', ' ', '\u{202f}', '\u{a0}']).filter(|word| !word.is_empty()).collect();
    let [_month, _day, year, _time, _half] = words.as_slice() else {
        return None;
    };
    if year.len() != 4 {
        return None;
    }
    NaiveDateTime::parse_from_str(&words.join(" "), "%b %d %Y %I:%M:%S %p").ok().map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: &Value) -> Option<String> {
        read(value).map(|time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())
    }

    #[test]
    fn every_form_is_read() {
        for (written, meant) in [
            (json!("Feb 22, 2026, 4:11:47\u{202f}PM"), "2026-02-22T16:11:47Z"),
            (json!("Feb 22, 2026, 4:11:47\u{a0}PM"), "2026-02-22T16:11:47Z"),
            (json!("Feb 22 2026 4:11:47 pm"), "2026-02-22T16:11:47Z"),
            (json!("Jul 30, 2024 9:53:13 PM"), "2024-07-30T21:53:13Z"),
            (json!("Jul 10, 2023, 12:47:00 PM"), "2023-07-10T12:47:00Z"),
            (json!("Jul 10, 2023, 12:47:00 AM"), "2023-07-10T00:47:00Z"),
            (json!("Feb\u{202f}29,\u{a0}2028,  01:02:03 AM"), "2028-02-29T01:02:03Z"),
            (json!("2026-02-22T16:11:47Z"), "2026-02-22T16:11:47Z"),
            (json!("2026-02-22T16:11:47.25Z"), "2026-02-22T16:11:47.250Z"),
            (json!("2026-02-22T18:11:47+02:00"), "2026-02-22T16:11:47Z"),
            (json!("2026-02-22T18:11:47+0200"), "2026-02-22T16:11:47Z"),
            (json!("2026-02-22T16:11:47"), "2026-02-22T16:11:47Z"),
            (json!("2026-02-22 16:11:47.5"), "2026-02-22T16:11:47.500Z"),
            (json!("2026-02-22 16:11:47.500 UTC"), "2026-02-22T16:11:47.500Z"),
            (json!(1_771_776_707), "2026-02-22T16:11:47Z"),
            (json!(1_771_776_707_000_i64), "2026-02-22T16:11:47Z"),
            (json!(1_771_776_707.5), "2026-02-22T16:11:47.500Z"),
            (json!("1771776707"), "2026-02-22T16:11:47Z"),
            (json!("1771776707000"), "2026-02-22T16:11:47Z"),
            (json!("9999-12-31T23:59:59Z"), "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(of(&written).as_deref(), Some(meant), "{written}");
        }
    }

    #[test]
    fn nothing_uncertain_is_read() {
        for unreadable in [
            json!(""),
            json!("never"),
            json!("Feb 30, 2026, 4:11:47 PM"),
            json!("Feb 29, 2026, 4:11:47 PM"),
            json!("Feb 22, 26, 4:11:47 PM"),
            json!("Feb 22, 2026, 14:11:47 PM"),
            json!("Feb 22, 2026, 4:11 PM"),
            json!("Feb 22, 2026"),
            json!("22/02/2026 16:11:47"),
            json!("02/22/2026, 4:11:47 PM"),
            json!("2026-02-22"),
            json!("26-02-22T16:11:47Z"),
            json!("2026-02-22 16:11:47.000 Europe/Berlin"),
            json!("2026-02-22 16:11:47+02:00 UTC"),
            json!("12026-02-22T16:11:47Z"),
            json!("0000-00-00T00:00:00Z"),
            json!("0000-01-01T00:00:00Z"),
            json!("2009-12-31T23:59:59Z"),
            json!("9999-12-31T23:59:59-01:00"),
            json!(0),
            json!(-1),
            json!(90),
            json!(20_260_222),
            json!(202_602_221_611_i64),
            json!(20_260_222_161_147_i64),
            json!("202602221611"),
            json!("20260222161147"),
            json!(20_260_222_161.0),
            json!(1e300),
            json!(i64::MAX),
            json!("99999999999999999999999"),
            json!("+1771776707"),
            json!(true),
            json!(["2026-02-22T16:11:47Z"]),
            json!({"seconds": 1_771_776_707}),
        ] {
            assert_eq!(of(&unreadable), None, "{unreadable}");
            assert_eq!(unreadable.as_str().and_then(from_text), None, "{unreadable}");
        }
    }
}
