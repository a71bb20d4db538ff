//! Records on lines of logs, behind what loggers put there.

/// What a line has, in full, in which a record or an event begins.
const FIELDS: [&str; 5] = ["eventVersion", "eventName", "eventSource", "detail-type", "logEvents"];

/// Where in a line a record begins, behind something else.
#[must_use]
pub fn record_in(line: &[u8]) -> Option<usize> {
    let begins = |at: &usize| {
        let behind = line.get(at + 1..).unwrap_or_default().trim_ascii_start();
        behind.starts_with(b"\"") && !behind.starts_with(b"\"\"")
    };
    let at = (0..line.len()).filter(|at| line.get(*at) == Some(&b'{')).find(begins)?;
    let (before, record) = line.split_at_checked(at)?;
    let has = |field: &&str| record.windows(field.len()).any(|part| part == field.as_bytes());
    (FIELDS.iter().any(has) && is_of_logger(before)).then_some(at)
}

/// True for what a logger puts before a record. Behind a quote that is open, and right behind what separates fields and cells,
/// the record would be a part of JSON or of CSV.
fn is_of_logger(before: &[u8]) -> bool {
    let text = String::from_utf8_lossy(before);
    let quotes = text.matches('"').count();
    let separates = |c: char| ",;[{}\t".contains(c);
    let is_outside = || {
        let end = text.trim_end_matches(' ');
        let is_part = end.ends_with(separates) || end.ends_with("\":");
        quotes.is_multiple_of(2) && !is_part
    };
    text.contains(char::is_alphanumeric) && (quotes == 0 || is_outside())
}

/// True for a line that begins with a bracket as a list does, and is none: `[INFO]`, `[2026-11-20 …]`.
#[must_use]
pub fn begins_with_bracketed_text(line: &[u8]) -> bool {
    let Some(behind) = line.strip_prefix(b"[") else { return false };
    !matches!(behind.trim_ascii_start().first(), None | Some(b'{' | b'[' | b']' | b'"'))
}
