//! The exemptions of a policy, listed.

use std::io::{self, Write};

use comfy_table::{Attribute, Cell};
use key_guard_core::Time;
use key_guard_core::policy::{Exemption, Policy, PolicyPlaces};
use serde_json::{Value, json};

use super::terms::days_of;
use crate::cli::output::{self, plain_table, wants_colour};

/// An exemption ends soon if its last day is at most so many days ahead.
pub const SOON_DAYS: i64 = 30;

/// An exemption, and how long it lasts.
pub struct ListedExemption<'a> {
    pub exemption: &'a Exemption,
    /// Its line in the policy's text, from 1.
    pub line: Option<usize>,
    /// From today to its last day. Negative: it is over.
    pub days_left: i64,
}

impl<'a> ListedExemption<'a> {
    /// All exemptions of a policy, the one that ends first before others, and those that are over last.
    pub fn all(policy: &'a Policy, text: &str, now: Time) -> Vec<Self> {
        let places = PolicyPlaces::find(text).map(|places| places.exemptions).unwrap_or_default();
        let listed = policy.exemptions().iter().enumerate().map(|(index, exemption)| Self {
            exemption,
            line: places.get(index).map(|place| place.line),
            days_left: (exemption.until - now.date_naive()).num_days(),
        });
        let mut listed: Vec<_> = listed.collect();
        listed.sort_by_key(|one| (one.days_left < 0, one.days_left, one.line));
        listed
    }

    /// Whether it is valid now and ends within [`SOON_DAYS`].
    pub fn ends_soon(&self) -> bool {
        (0..=SOON_DAYS).contains(&self.days_left)
    }

    /// As written for scripts.
    const fn status(&self) -> &'static str {
        match self.days_left {
            ..0 => "ended",
            0..=SOON_DAYS => "ends_soon",
            _ => "valid",
        }
    }

    fn status_words(&self) -> String {
        let days = || days_of(u32::try_from(self.days_left.unsigned_abs()).unwrap_or(u32::MAX));
        match self.days_left {
            ..0 => format!("ended {} ago", days()),
            0 => "ends today".to_owned(),
            1..=SOON_DAYS => format!("ends in {}", days()),
            _ => "valid".to_owned(),
        }
    }

    /// For scripts.
    pub fn to_json(&self) -> Value {
        let Self { exemption: Exemption { account, user, reason, until }, line, days_left } = self;
        json!({
            "account": account.as_str(),
            "user": user.as_str(),
            "reason": reason,
            "until": until,
            "status": self.status(),
            "days_left": days_left,
            "line": line,
        })
    }
}

/// Writes them as a table.
///
/// # Errors
/// When it cannot be written.
pub fn write_table(out: &mut impl Write, listed: &[ListedExemption<'_>]) -> io::Result<()> {
    let mut table = plain_table(wants_colour());
    let titles = ["ACCOUNT", "USER", "UNTIL", "STATUS", "LINE", "REASON"];
    table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    for one in listed {
        let Exemption { account, user, reason, until } = one.exemption;
        table.add_row([
            account.to_string(),
            user.to_string(),
            until.to_string(),
            one.status_words(),
            one.line.map_or_else(|| "-".to_owned(), |line| line.to_string()),
            reason.clone(),
        ]);
    }
    output::write_table(out, table)
}
