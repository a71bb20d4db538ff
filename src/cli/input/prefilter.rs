//! Tells records that say plainly that they are of another call.

use key_guard_core::cloudtrail::IAM;
use memchr::memmem::Finder;

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
