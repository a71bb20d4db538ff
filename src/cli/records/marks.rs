//! Tells bytes that could hold a call that is looked for.

use std::cell::LazyCell;

use aho_corasick::packed::Searcher;
use key_guard_core::cloudtrail::{
    BEARER_TOKEN_MARKER, CREDENTIAL_CALL_MARKER, CREDENTIAL_CALLS, ENCODED_STARTS, IAM, LETTER_ESCAPES,
    SHORTEST_ENCODED, Target, USER_CALLS,
};
use memchr::memmem::Finder;

/// Tells bytes that could hold a call that is looked for: they name one, hide letters, or have an encoded text. Most records
/// hold nothing of it, and finding that out by their bytes is quicker than parsing them.
#[derive(Debug)]
pub struct Marks {
    pub(super) target: Target,
    name: Finder<'static>,
    /// The other calls of the guard are IAM's.
    iam: Finder<'static>,
    /// `None`: the processor has no vectors that it can use. Then all is looked into.
    user_calls: Option<Searcher>,
    hiding: Option<Searcher>,
}

impl Marks {
    /// What tells the calls that are looked for.
    #[must_use]
    pub fn new(target: Target) -> Self {
        let name = match target {
            Target::GuardedCalls => CREDENTIAL_CALL_MARKER,
            Target::BearerCalls => BEARER_TOKEN_MARKER,
        };
        Self {
            target,
            name: Finder::new(name),
            iam: Finder::new(IAM),
            user_calls: Searcher::new(USER_CALLS),
            hiding: Searcher::new(LETTER_ESCAPES.iter().chain(&ENCODED_STARTS)),
        }
    }

    /// Whether a call that is looked for could be in these bytes.
    #[must_use]
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.name_call(bytes) || self.hide_call(bytes)
    }

    /// Whether these bytes name a call that is looked for. Most that have the name of IAM have it in plain records of other calls.
    pub(super) fn name_call(&self, bytes: &[u8]) -> bool {
        let names_user_call =
            LazyCell::new(|| self.user_calls.as_ref().is_none_or(|calls| calls.find(bytes).is_some()));
        let names_iam_call = || {
            self.iam
                .find_iter(bytes)
                .any(|at| plain_call(bytes, at).map_or_else(|| *names_user_call, is_call_in_any_case))
        };
        self.name.find(bytes).is_some() || (self.target == Target::GuardedCalls && names_iam_call())
    }

    /// Whether letters are hidden in these bytes, or an encoded text.
    pub(super) fn hide_call(&self, bytes: &[u8]) -> bool {
        let hides = |start: usize, end: usize| {
            bytes.get(start) == Some(&b'\\') || is_long_text(bytes.get(end..).unwrap_or_default())
        };
        self.hiding
            .as_ref()
            .is_none_or(|hiding| hiding.find_iter(bytes).any(|found| hides(found.start(), found.end())))
    }
}

/// The call that a record is of, where it stands behind IAM's name, as CloudTrail writes it, also with blanks between.
fn plain_call(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let (before, rest) = bytes.split_at_checked(at)?;
    before.strip_suffix(b"\"")?.trim_ascii_end().strip_suffix(b":")?.strip_suffix(b"\"eventSource\"")?;
    let rest = rest.get(IAM.len()..)?.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b",")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"eventName\":")?;
    let name = rest.trim_ascii_start().strip_prefix(b"\"")?.split(|byte| *byte == b'"').next()?;
    name.iter().all(u8::is_ascii_alphanumeric).then_some(name)
}

/// Whether this is the name of a call of the guard, as CloudTrail writes it or in another letter case.
fn is_call_in_any_case(name: &[u8]) -> bool {
    CREDENTIAL_CALLS.iter().chain(&USER_CALLS).any(|call| call.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a text goes on for as long as an encoded event does. The shorter ones are tokens of pages.
fn is_long_text(rest: &[u8]) -> bool {
    rest.get(..SHORTEST_ENCODED).is_some_and(|text| memchr::memchr(b'"', text).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_about_a_user_is_marked_however_it_is_written() {
        let marks = Marks::new(Target::GuardedCalls);
        let other =
            r#"{"eventSource":"iam.amazonaws.com","eventName":"ListUsers","userAgent":"CreateAccessKey"}"#;
        for other in [other.to_owned(), other.replace(':', ": ").replace(',', ",\n  ")] {
            assert!(!marks.are_in(other.as_bytes()), "a plain record of another call");
        }
        for call in CREDENTIAL_CALLS {
            let lower = call.to_ascii_lowercase();
            let record = format!(r#"{{"eventSource":"iam.amazonaws.com","eventName":"{lower}"}}"#);
            for record in [record.replace(':', ": ").replace(',', ",\n  "), record] {
                assert!(marks.are_in(record.as_bytes()), "{record}");
            }
        }
        for call in USER_CALLS {
            let plain = format!(r#"{{"eventSource":"iam.amazonaws.com","eventName":"{call}"}}"#);
            for record in [
                plain.replace(':', ": "),
                format!(
                    r#"{{"eventName":"{call}","eventSource":"iam.amazonaws.com","awsRegion":"us-east-1"}}"#
                ),
                format!(r#"{{"eventSource":"sns.amazonaws.com","text":"{}"}}"#, plain.replace('"', "\\\"")),
                format!("{other}{plain}"),
                plain,
            ] {
                assert!(marks.are_in(record.as_bytes()), "{record}");
            }
        }
    }
}
