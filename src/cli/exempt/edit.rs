//! Edits of a policy's text. All that is not edited stays as it is, byte by byte: comments, order and line ends.

use std::ops::Range;

use chrono::NaiveDate;
use key_guard_core::key::{AccountId, UserName};
use key_guard_core::policy::{Exemption, Policy, PolicyPlaces};

/// A new exemption. What is wrong with it, the policy's parser says.
#[derive(Debug)]
pub struct NewExemption<'a> {
    pub account: &'a AccountId,
    pub user: &'a UserName,
    pub reason: &'a str,
    pub until: NaiveDate,
}

/// The text with one more exemption: behind the others where they are in one list, otherwise at the end. `None`: their list
/// is empty, and TOML allows no other one behind it.
pub fn add(text: &str, new: &NewExemption<'_>) -> Option<String> {
    let NewExemption { account, user, reason, until } = new;
    // A text of JSON is a basic string of TOML.
    let reason = serde_json::Value::from(*reason);
    let fields = [
        format!("account = \"{account}\""),
        format!("user = \"{user}\""),
        format!("reason = {reason}"),
        format!("until = {until}"),
    ];
    let places = PolicyPlaces::find(text);
    if places.as_ref().is_some_and(|places| places.has_empty_exemptions) {
        return None;
    }
    let last = places.and_then(|places| places.exemptions.last().cloned());
    let inline = last.filter(|last| text.get(last.bytes.clone()).is_some_and(|bytes| bytes.starts_with('{')));
    if let Some(last) = inline {
        let field = format!(", {{ {} }}", fields.join(", "));
        return Some(replace(text, last.bytes.end..last.bytes.end, &field));
    }
    let line_end = line_end(text);
    let gap = if text.ends_with('\n') { "" } else { line_end };
    let lines = ["", "[[exemption]]"].into_iter().map(str::to_owned).chain(fields);
    let lines: String = lines.flat_map(|line| [line, line_end.to_owned()]).collect();
    Some(format!("{text}{gap}{lines}"))
}

/// The end of exemptions before their date.
#[derive(Debug)]
pub struct Expiry<'a> {
    pub account: &'a AccountId,
    pub user: &'a UserName,
    /// Why. One line.
    pub reason: &'a str,
    /// In UTC. The exemptions are over on this day: their last day becomes the one before.
    pub today: NaiveDate,
}

impl Expiry<'_> {
    fn is_for(&self, exemption: &Exemption) -> bool {
        exemption.until >= self.today && exemption.is_for(self.account, self.user)
    }

    fn last_day(&self) -> NaiveDate {
        self.today.pred_opt().unwrap_or(self.today)
    }

    /// The exemptions that it ends.
    pub fn matches<'p>(&self, policy: &'p Policy) -> Vec<&'p Exemption> {
        policy.exemptions().iter().filter(|exemption| self.is_for(exemption)).collect()
    }

    /// The text with these exemptions ended. They stay in it, with a comment that has the reason and the date until now.
    /// `None`: the edit would do something else. That can happen where other text follows the date on its line.
    pub fn apply(&self, text: &str, policy: &Policy) -> Option<String> {
        let places = PolicyPlaces::find(text)?.exemptions;
        let mut edited = text.to_owned();
        // From the end: what comes before stays where it is.
        for (exemption, place) in policy.exemptions().iter().zip(&places).rev() {
            if self.is_for(exemption) {
                let end = end_of_line(&edited, place.until.end);
                let comment =
                    format!(" # ended {}, was until {}: {}", self.today, exemption.until, self.reason);
                edited = replace(&edited, end..end, &comment);
                edited = replace(&edited, place.until.clone(), &self.last_day().to_string());
            }
        }
        self.is_done(policy, &Policy::parse(&edited, "(edited policy)".as_ref()).ok()?).then_some(edited)
    }

    /// Whether only the dates of these exemptions differ.
    fn is_done(&self, old: &Policy, new: &Policy) -> bool {
        let expected = old.exemptions().iter().map(|exemption| {
            let until = if self.is_for(exemption) { self.last_day() } else { exemption.until };
            Exemption { until, ..exemption.clone() }
        });
        expected.eq(new.exemptions().iter().cloned())
    }
}

fn replace(text: &str, bytes: Range<usize>, by: &str) -> String {
    let mut text = text.to_owned();
    text.replace_range(bytes, by);
    text
}

/// As most files have it.
fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// Where the line of a byte ends, before its line end.
fn end_of_line(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.lines().next().map_or(0, |line| line.trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "# Ours.\n[default]\nservices = [\"bedrock.amazonaws.com\"] # one\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    const TABLE: &str = "\n[[exemption]]\naccount = \"111122223333\"\nuser = \"alice\"\nreason = \"SEC-1\"\nuntil = 2027-03-31 # agreed\n";
    const INLINE: &str = "exemption = [\n  { account = \"111122223333\", user = \"alice\", reason = \"SEC-1\", until = 2027-03-31 }, # agreed\n]\n";

    fn policy(text: &str) -> Policy {
        Policy::parse(text, "p.toml".as_ref()).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn add_bob(text: &str, reason: &str) -> String {
        let (account, user) = ("444455556666".parse().unwrap(), "bob".parse().unwrap());
        let until = "2027-01-31".parse().unwrap();
        add(text, &NewExemption { account: &account, user: &user, reason, until }).unwrap()
    }

    fn expire(text: &str, user: &str) -> Option<String> {
        let (account, user) = ("111122223333".parse().unwrap(), user.parse().unwrap());
        let today = "2026-11-29".parse().unwrap();
        Expiry { account: &account, user: &user, reason: "vendor left", today }.apply(text, &policy(text))
    }

    #[test]
    fn an_exemption_is_added_and_nothing_else_changes() {
        let (tables, inline) = (format!("{DEFAULT}{TABLE}"), format!("{INLINE}{DEFAULT}"));
        for text in [DEFAULT, DEFAULT.trim_end(), tables.as_str()] {
            let added = add_bob(text, "a \"b\" \\ c");
            assert!(added.starts_with(text), "{added}");
            let exemptions = policy(&added).exemptions().to_vec();
            assert_eq!(exemptions.len(), policy(text).exemptions().len() + 1);
            assert_eq!(exemptions.last().unwrap().reason, "a \"b\" \\ c");
        }
        let added = add_bob(&inline, "SEC-2");
        let new = ", { account = \"444455556666\", user = \"bob\", reason = \"SEC-2\", until = 2027-01-31 }";
        assert_eq!(added.replace(new, ""), inline);
        assert_eq!(policy(&added).exemptions().len(), 2);

        let windows = add_bob(&DEFAULT.replace('\n', "\r\n"), "SEC-2");
        assert_eq!(windows.matches("\r\n").count(), windows.matches('\n').count());
        policy(&windows);
    }

    #[test]
    fn nothing_is_added_behind_an_empty_list() {
        let (account, user) = ("444455556666".parse().unwrap(), "bob".parse().unwrap());
        let until = "2027-01-31".parse().unwrap();
        let new = NewExemption { account: &account, user: &user, reason: "SEC-2", until };
        assert_eq!(add(&format!("exemption = []\n{DEFAULT}"), &new), None);
    }

    #[test]
    fn an_exemption_ends_and_stays_in_the_text() {
        let longer = TABLE.replace("2027-03-31", "2028-01-01").replace("alice", "ALICE");
        let (tables, inline) = (format!("{DEFAULT}{TABLE}{longer}"), format!("{INLINE}{DEFAULT}"));
        let ended = expire(&tables, "alice").unwrap();
        for line in [
            "until = 2026-11-28 # agreed # ended 2026-11-29, was until 2027-03-31: vendor left\n",
            "until = 2026-11-28 # agreed # ended 2026-11-29, was until 2028-01-01: vendor left\n",
        ] {
            assert!(ended.contains(line), "{ended}");
        }
        let windows = expire(&tables.replace('\n', "\r\n"), "alice").unwrap();
        assert_eq!(windows, ended.replace('\n', "\r\n"));
        let ended = expire(&inline, "alice").unwrap();
        assert!(ended.contains("until = 2026-11-28 }, # agreed # ended "), "{ended}");
        assert_eq!(expire(&ended, "alice").unwrap(), ended, "it is over");
        assert_eq!(expire(&tables, "bob").unwrap(), tables);
    }

    #[test]
    fn an_edit_that_would_do_something_else_is_refused() {
        let text = format!(
            "exemption = [{{ account = \"111122223333\", user = \"alice\", until = 2027-03-31, reason = \"\"\"\nSEC-1\"\"\" }}]\n{DEFAULT}"
        );
        assert_eq!(expire(&text, "alice"), None);
    }
}
