//! Tells bytes that could hold what is looked for.

use aho_corasick::packed::Searcher;
use key_guard_core::cloudtrail::{BEARER_TOKEN_MARKER, IAM, LETTER_ESCAPES};

use memchr::memmem::Finder;

use super::Detail;
use crate::cli::records::Marks;

/// Most records hold nothing that is looked for, and finding that out by their bytes is quicker than parsing them.
pub(super) enum Prefilter {
    CredentialCalls(Box<Marks>),
    /// `None`: the processor has no vectors for a search, and all is looked into.
    BearerCalls(Option<Box<Searcher>>),
}

impl Prefilter {
    pub(super) fn new(detail: Detail) -> Self {
        match detail {
            Detail::Events | Detail::EventsAndSpans => Self::CredentialCalls(Box::default()),
            Detail::Uses => {
                let marks = [&[BEARER_TOKEN_MARKER], LETTER_ESCAPES.as_slice()].concat();
                Self::BearerCalls(Searcher::new(marks).map(Box::new))
            }
        }
    }

    /// Whether what is looked for could be in these bytes.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        match self {
            Self::CredentialCalls(marks) => marks.are_in(bytes),
            Self::BearerCalls(marks) => marks.as_ref().is_none_or(|marks| marks.find(bytes).is_some()),
        }
    }
}

/// Tells records of CloudTrail that say in plain text that another service was called, or which call of IAM this is, as
/// CloudTrail writes it. Such a record is what it says, whatever else in it is damaged, and needs no parsing. Any other record
/// could be one of ours.
pub(super) struct PlainCall(Finder<'static>);

impl Default for PlainCall {
    fn default() -> Self {
        Self(Finder::new(EVENT_SOURCE))
    }
}

const EVENT_SOURCE: &[u8] = b"\"eventSource\":\"";
const EVENT_NAME: &[u8] = b",\"eventName\":\"";

impl PlainCall {
    /// Whether a record without a call of ours says so.
    pub(super) fn is_in(&self, record: &[u8]) -> bool {
        let Some(at) = self.0.find(record) else { return false };
        let behind = record.get(at + EVENT_SOURCE.len()..).unwrap_or_default();
        match split_at_quote(behind) {
            Some((source, rest)) if source == IAM.as_bytes() => {
                let name = rest.strip_prefix(EVENT_NAME).and_then(split_at_quote);
                name.is_some_and(|(name, _)| name.iter().all(u8::is_ascii_alphanumeric))
            }
            Some((source, _)) => source.ends_with(b".amazonaws.com"),
            None => false,
        }
    }
}

fn split_at_quote(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, rest) = text.split_at(memchr::memchr(b'"', text)?);
    Some((text, rest.get(1..)?))
}
