//! What people are told on stderr, beside the results.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use indicatif::HumanCount;

use crate::ledger::error::LedgerError;
use crate::telemetry::chain;
use key_guard_core::key::Service;
use key_guard_core::text::{redact, sanitize_line, sanitize_text};

pub fn report_error(error: &anyhow::Error) {
    say(&format!("error: {}", chain(error.as_ref())));
}

/// A line, or more, on stderr. Names of files and texts of events are other people's: no secret in them is printed, and
/// nothing in them reaches the terminal's controls. Where stderr is gone there is nobody to tell.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", sanitize_text(&redact(text)));
}

/// A path for people, on one line whatever its name is.
pub fn shown(path: &Path) -> String {
    sanitize_line(&path.display().to_string())
}

/// Names the services of keys that the policy does not judge, and how many keys there are. `None`: there are none.
pub fn not_judged_warning(what: &str, keys: &BTreeMap<Service, u64>) -> Option<String> {
    let services = keys.iter().map(|(service, keys)| {
        let unknown = if service.is_known() { "" } else { ", which this version does not know" };
        format!("{service} ({keys}{unknown})")
    });
    let services: Vec<_> = services.collect();
    (!services.is_empty()).then(|| {
        format!(
            "warning: {what} services that the policy does not judge: {}. To have them judged, add the services to `services` \
             in [default] of the policy file",
            services.join(", ")
        )
    })
}

/// Warnings on stderr that may be without end: the first ones, and at the end how many more there were.
#[derive(Default)]
pub struct Warnings(Cell<u64>);

impl Warnings {
    /// So many are said.
    const MOST: u64 = 100;

    /// Says it, unless enough was said.
    pub fn warn(&self, message: &str) {
        if self.0.get() < Self::MOST {
            say(&format!("warning: {message}"));
        }
        self.0.set(self.0.get() + 1);
    }

    /// Says what could not be read, and returns how many items that were.
    pub fn warn_unreadable(&self, unreadable: &[LedgerError]) -> usize {
        for error in unreadable {
            self.warn(&format!("{}; passed over", chain(error)));
        }
        unreadable.len()
    }
}

impl Drop for Warnings {
    fn drop(&mut self) {
        let more = self.0.get().saturating_sub(Self::MOST);
        if more > 0 {
            say(&format!("warning: and {} more", HumanCount(more)));
        }
    }
}

/// A number with its noun.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_singular() {
        let counts = [0, 1, 2].map(|count| counted(count, "entry", "entries"));
        assert_eq!(counts, ["0 entries", "1 entry", "2 entries"]);
    }
}
