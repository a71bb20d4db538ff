//! Tells bytes that could hold what is looked for.

use key_guard_core::cloudtrail::BEARER_TOKEN_MARKER;
use memchr::memmem::Finder;

use super::Detail;
use crate::cli::records::Marks;

/// Most records hold nothing that is looked for, and finding that out by their bytes is quicker than parsing them.
pub(super) enum Prefilter {
    CredentialCalls(Box<Marks>),
    BearerCalls(Box<Finder<'static>>),
}

impl Prefilter {
    pub(super) fn new(detail: Detail) -> Self {
        match detail {
            Detail::Events | Detail::EventsAndSpans => Self::CredentialCalls(Box::default()),
            Detail::Uses => Self::BearerCalls(Box::new(Finder::new(BEARER_TOKEN_MARKER))),
        }
    }

    /// Whether what is looked for could be in these bytes.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        match self {
            Self::CredentialCalls(marks) => marks.are_in(bytes),
            Self::BearerCalls(marker) => marker.find(bytes).is_some(),
        }
    }
}
