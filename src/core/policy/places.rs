//! Where the rules of a policy are in its text, for people and for edits.

use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use super::assessment::Rule;
use super::file::position;

/// Where the rules of a policy are in its text: bytes, and lines from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyPlaces {
    default_line: usize,
    override_lines: Vec<usize>,
    /// Whether the text has a list of exemptions with nothing in it: `exemption = []`.
    pub has_empty_exemptions: bool,
    /// Of every exemption, in the order of the text.
    pub exemptions: Vec<ExemptionPlace>,
}

/// Where an exemption is in the text of its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExemptionPlace {
    /// Its line, from 1.
    pub line: usize,
    /// The bytes of the exemption: of its header, or of the whole inline table.
    pub bytes: Range<usize>,
    /// The bytes of its date.
    pub until: Range<usize>,
}

#[derive(Deserialize)]
struct Text {
    default: Spanned<IgnoredAny>,
    #[serde(default, rename = "override")]
    overrides: Vec<Spanned<IgnoredAny>>,
    #[serde(rename = "exemption")]
    exemptions: Option<Vec<Spanned<Until>>>,
}

#[derive(Deserialize)]
struct Until {
    until: Spanned<IgnoredAny>,
}

impl PolicyPlaces {
    /// Finds the rules in the text of a valid policy. `None`: it is none.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let found: Text = toml::from_str(text).ok()?;
        let line = |span: Range<usize>| position(text, Some(span.start)).0;
        let has_empty_exemptions = found.exemptions.as_ref().is_some_and(Vec::is_empty);
        let exemptions = found.exemptions.iter().flatten().map(|exemption| ExemptionPlace {
            line: line(exemption.span()),
            bytes: exemption.span(),
            until: exemption.get_ref().until.span(),
        });
        Some(Self {
            default_line: line(found.default.span()),
            override_lines: found.overrides.iter().map(|rule| line(rule.span())).collect(),
            has_empty_exemptions,
            exemptions: exemptions.collect(),
        })
    }

    /// The line of a rule, from 1.
    #[must_use]
    pub fn line(&self, rule: Rule) -> Option<usize> {
        match rule {
            Rule::Default => Some(self.default_line),
            Rule::Override(number) => self.override_lines.get(number.checked_sub(1)?).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLES: &str = r#"# Ours.
[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 90
response = "delete"

[[override]]
users = ["svc-*"]
max_lifetime_days = 30

[[exemption]] # one
account = "111122223333"
user = "alice"
reason = "SEC-1"
until = 2027-03-31 # soon
"#;

    #[test]
    fn rules_are_found_in_tables_and_in_lines() {
        let places = PolicyPlaces::find(TABLES).unwrap();
        let lines = [Rule::Default, Rule::Override(1), Rule::Override(2)].map(|rule| places.line(rule));
        assert_eq!(lines, [Some(2), Some(7), None]);
        let [exemption] = places.exemptions.as_slice() else { panic!("{places:?}") };
        assert_eq!(exemption.line, 11);
        assert_eq!(&TABLES[exemption.until.clone()], "2027-03-31");

        let inline = r#"exemption = [{ account = "111122223333", user = "a", reason = "b", until = 2027-01-01 }]
default = { services = "*", max_lifetime_days = 0, response = "monitor" }
"#;
        let places = PolicyPlaces::find(inline).unwrap();
        assert_eq!(places.line(Rule::Default), Some(2));
        let bytes = places.exemptions[0].bytes.clone();
        assert!(inline[bytes.clone()].starts_with('{') && inline[bytes].ends_with('}'), "{places:?}");
        assert_eq!(PolicyPlaces::find("default ="), None);
    }
}
