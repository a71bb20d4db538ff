//! Where secrets stand in a text, and the kind of each.
//!
//! | secret | how it is known |
//! | --- | --- |
//! | a long-term key | a prefix and the Base64 of `alias:secret`; the alias is `<user>-at-<account>` or `<user>+1-at-<account>` |
//! | a short-term key | a prefix and the Base64 of a presigned URL |
//! | a session token | the Base64 of what such tokens begin with, or a label |
//! | a secret access key, a signature of a URL | a label beside it, or an access key id before it |
//!
//! The forms of keys are those of the Amazon Bedrock user guide, *API keys*; Claude Platform on AWS and CloudWatch have the
//! same. The prefix of X-Ray's keys is not documented, so the Base64 of an alias and a colon is found behind whatever
//! prefix. A secret access key has 40 characters of Base64 (IAM user guide, *Manage access keys for IAM users*, in its
//! examples), and nothing tells them from others for sure: hence the labels. One without a label is only likely
//! ([`has_likely_access_key`]): that is enough to refuse an argument, and too little to change what is stored.
//!
//! A mail program or a terminal may have broken a secret into lines: [`next_line`]. Somebody may have put blanks into it:
//! [`next_part`], or cut it into groups, as dumps of bytes are: [`find_in_groups`]. Hexadecimal digits are decoded as Base64
//! is. Escapes and invisible characters: [`Unescaped`].

mod decode;
mod groups;

use std::ops::Range;

pub(crate) use decode::{decode, decoded_parts, hex_parts, sextet};

use crate::unescape::{Unescaped, escaped};
use groups::find_in_groups;

/// How the secrets of long-term keys begin: Bedrock, CloudWatch Logs, CloudWatch, Claude Platform on AWS.
pub(crate) const LONG_TERM_PREFIXES: [&str; 4] = ["ABSK", "ACWL", "APIAACWM", "AEAA"];

/// How short-term keys begin: Bedrock, and Claude Platform on AWS.
pub(crate) const SHORT_TERM_PREFIXES: [&str; 2] = ["bedrock-api-key-", "aws-external-anthropic-api-key-"];

/// How session tokens of AWS STS begin. It is Base64 of a length and a word that each has: `origin`, `aws`. That is seen,
/// and not documented.
pub(crate) const SESSION_TOKEN_PREFIXES: [&str; 3] = ["IQoJb3JpZ2lu", "FwoGZXIvYXdz", "FQoGZXIvYXdz"];

/// How the ids of access keys begin: those of users, and those of sessions (IAM user guide, *IAM identifiers*).
pub(crate) const ACCESS_KEY_ID_PREFIXES: [&str; 2] = ["AKIA", "ASIA"];

/// Characters of an access key id.
pub(crate) const ACCESS_KEY_ID_LENGTH: usize = 20;

/// Characters of a secret access key.
const SECRET_ACCESS_KEY_LENGTH: usize = 40;

/// This many characters of Base64 after a prefix are looked at; fewer are no secret. They stand for 12 bytes, and
/// an alias has at least 17.
const SHORTEST: usize = 16;

/// As many characters after a prefix are a secret whatever they decode to. Names in ARNs and credential ids are
/// shorter or have a hyphen in them.
const SURELY: usize = 40;

/// Bytes of `-at-<account>:`.
const ALIAS_END: usize = 17;

/// How often Base64 is followed into Base64: a key in a Secret of Kubernetes, itself encoded once more.
pub(crate) const MAX_LAYERS: usize = 2;

/// A short-term key has about 40 lines of 64 characters.
const MAX_LINES: usize = 64;

/// In so many lines is a secret recognised: an alias has about 110 characters of Base64 at most.
const LINES_FOR_AN_ALIAS: usize = 3;

/// What is written before a secret, in words that may have one of `_`, `-`, `.` or a space between them, in any case; the
/// kind; and how many characters the secret has at least.
const LABELS: [(&[&str], SecretKind, usize); 6] = [
    (&["secret", "access", "key"], SecretKind::SecretAccessKey, SECRET_ACCESS_KEY_LENGTH),
    (&["secret", "key"], SecretKind::SecretAccessKey, SECRET_ACCESS_KEY_LENGTH),
    (&["aws", "secret"], SecretKind::SecretAccessKey, SECRET_ACCESS_KEY_LENGTH),
    (&["session", "token"], SecretKind::SessionToken, SURELY),
    (&["security", "token"], SecretKind::SessionToken, SURELY),
    // SHA-256 in hexadecimal digits (IAM user guide, *Create a signed AWS API request*).
    (&["amz", "signature"], SecretKind::Signature, 64),
];

/// How many bytes may stand between a label and its secret: quotes, brackets, spaces, and their escapes.
const LONGEST_SEPARATOR: usize = 48;

/// What a secret is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretKind {
    /// A long-term key with this prefix.
    LongTermKey(&'static str),
    /// A long-term key with a prefix that is not known.
    UnknownKey,
    /// What a long-term key is in Base64: `alias:secret`. The alias is its prefix.
    DecodedKey,
    /// A short-term key with this prefix.
    ShortTermKey(&'static str),
    SecretAccessKey,
    SessionToken,
    /// The signature of a presigned URL.
    Signature,
    /// One of these, in Base64 once more.
    Encoded,
}

/// A secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) kind: SecretKind,
    /// Where it is, in bytes, with its prefix. It ends where no more of its characters follow.
    pub(crate) range: Range<usize>,
    /// How many bytes of it are a prefix that is no secret.
    pub(crate) prefix_length: usize,
}

/// All secrets of a text, in its order. They do not overlap.
pub(crate) fn find(text: &str) -> Vec<Secret> {
    let find = |text: &str| [find_in(text, MAX_LAYERS), find_in_groups(text.as_bytes())].concat();
    let mut found = find(text);
    // Also as it is written: what looks like an escape may be none.
    if let Some(plain) = Unescaped::of(text) {
        found.extend(find(&plain.text).into_iter().map(|secret| {
            let start = secret.range.start;
            let prefix_length = plain.origin(start..start + secret.prefix_length).len();
            Secret { range: plain.origin(secret.range), prefix_length, ..secret }
        }));
    }
    found.sort_by_key(|secret| (secret.range.start, secret.prefix_length));
    found.dedup_by(|next, secret| {
        let overlaps = next.range.start < secret.range.end;
        if overlaps {
            secret.range.end = secret.range.end.max(next.range.end);
        }
        overlaps
    });
    found
}

/// `layers`: how often what Base64 decodes to is looked at, too.
fn find_in(text: &str, layers: usize) -> Vec<Secret> {
    let mut found = Vec::new();
    let mut from = 0;
    for secret in find_labelled(text.as_bytes()) {
        find_in_runs(text, from..secret.range.start, layers, &mut found);
        from = secret.range.end;
        found.push(secret);
    }
    find_in_runs(text, from..text.len(), layers, &mut found);
    found
}

/// The secrets that stand behind a label, or behind the id of an access key.
fn find_labelled(text: &[u8]) -> Vec<Secret> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let behind = found.last().map_or(0, |last: &Secret| last.range.end);
        match labelled_at(text, at).or_else(|| decoded_key_at(text, at, behind)) {
            Some(secret) => {
                at = secret.range.end;
                found.push(secret);
            }
            None => at += 1,
        }
    }
    found
}

/// The secret whose label begins here. A key behind a label tells by itself what it is.
fn labelled_at(text: &[u8], at: usize) -> Option<Secret> {
    // Every label and every id begins with one of these.
    if !text.get(at).is_some_and(|first| b"sSaA".contains(first)) {
        return None;
    }
    let label =
        LABELS.iter().find_map(|(words, kind, least)| Some((label_end(text, at, words)?, *kind, *least)));
    let (label_end, kind, least) = match label {
        Some(label) => label,
        None => (access_key_id_end(text, at)?, SecretKind::SecretAccessKey, SECRET_ACCESS_KEY_LENGTH),
    };
    // No value begins with a slash behind a label: it may be the secret's first character.
    let slash = usize::from(label.is_none() && text.get(label_end) == Some(&b'/'));
    let start = separators_end(text, label_end + slash).filter(|start| *start > label_end)?;
    let longest = if label.is_some() { usize::MAX } else { least + 1 };
    // How long a token is, nobody knows: it goes on as long as there are lines of it.
    let complete = if kind == SecretKind::SessionToken { usize::MAX } else { least };
    let (end, length) = broken_value_end(text, start, longest, complete);
    let value = text.get(start..end).unwrap_or_default();
    // Beside an id, other things may stand. A hash is in one case.
    let is_secret = if label.is_some() {
        length >= least
    } else {
        length == least
            && value.iter().any(u8::is_ascii_uppercase)
            && value.iter().any(u8::is_ascii_lowercase)
    };
    let begins_a_key =
        |value| matches!(secret_in_run(value, 0), Some((0, kind, _)) if kind != SecretKind::Encoded);
    let is_key = std::str::from_utf8(value).is_ok_and(begins_a_key);
    (is_secret && !is_key).then_some(Secret { kind, range: start..end, prefix_length: 0 })
}

/// The decoded form of a long-term key whose `-at-` is here, from the name on. The name and the account are no secret.
fn decoded_key_at(text: &[u8], at: usize, behind: usize) -> Option<Secret> {
    let end = at + ALIAS_END;
    is_alias_end(text.get(at..end)?).then_some(())?;
    let (value_end, length) = broken_value_end(text, end, usize::MAX, SURELY);
    let is_name = |byte: &&u8| crate::text::is_iam_name_byte(**byte) && !b"=,".contains(byte);
    let start = at - text.get(behind..at)?.iter().rev().take_while(is_name).count();
    let range = start..value_end;
    (length >= SHORTEST).then_some(Secret { kind: SecretKind::DecodedKey, range, prefix_length: end - start })
}

/// Where the words of a label end that begins here.
fn label_end(text: &[u8], mut at: usize, words: &[&str]) -> Option<usize> {
    for (index, word) in words.iter().enumerate() {
        if index > 0 && text.get(at).is_some_and(|byte| b"_-. ".contains(byte)) {
            at += 1;
        }
        let found = text.get(at..at + word.len())?;
        if !found.eq_ignore_ascii_case(word.as_bytes()) {
            return None;
        }
        at += word.len();
    }
    Some(at)
}

/// Where the id of an access key ends that begins here.
pub(crate) fn access_key_id_end(text: &[u8], at: usize) -> Option<usize> {
    let end = at + ACCESS_KEY_ID_LENGTH;
    let id = text.get(at..end)?;
    let has_prefix = ACCESS_KEY_ID_PREFIXES.iter().any(|prefix| id.starts_with(prefix.as_bytes()));
    let is_id = has_prefix && id.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let is_inside = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    (is_id && !is_inside(at.checked_sub(1)) && !is_inside(Some(end))).then_some(end)
}

/// Where what separates a label from its value ends. `None`: it is too long.
fn separators_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while let Some(length) = separator_length(text.get(at..)?) {
        at += length;
        if at - start > LONGEST_SEPARATOR {
            return None;
        }
    }
    Some(at)
}

fn separator_length(text: &[u8]) -> Option<usize> {
    let is_separator = |byte: u8| byte.is_ascii_whitespace() || b"\"'`:=,;|<>()[]{}".contains(&byte);
    match text {
        [b'\\', b'n' | b't' | b'r' | b'"' | b'\'' | b'\\', ..] => Some(2),
        [b'\\', b'u', ..] | [b'%', ..] => {
            let (byte, length) = escaped(text)?;
            (is_separator(byte) || byte == b'\\').then_some(length)
        }
        [byte, ..] if is_separator(*byte) => Some(1),
        _ => None,
    }
}

/// Where a value in Base64 ends, and how many characters it has, without padding. An escape counts as what it stands for.
/// Stops after `longest` characters.
fn value_end(text: &[u8], start: usize, longest: usize) -> (usize, usize) {
    let (mut at, mut length) = (start, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty() && length < longest) {
        let (byte, size) = match rest {
            [byte, ..] if is_run_byte(*byte) && *byte != b'%' => (*byte, 1),
            _ => match escaped(rest) {
                Some(found) => found,
                None => break,
            },
        };
        if !is_standard_base64(byte) && byte != b'=' {
            break;
        }
        at += size;
        length += usize::from(byte != b'=');
    }
    (at, length)
}

/// The same of a value that may go on in further lines, until it has as many characters as a `complete` one.
fn broken_value_end(text: &[u8], start: usize, longest: usize, complete: usize) -> (usize, usize) {
    let (mut end, mut length) = value_end(text, start, longest);
    if length < complete && !is_word(text.get(start..end).unwrap_or_default()) {
        for line in following_lines(text, end) {
            if length >= complete {
                break;
            }
            (end, length) = (line.end, length + value_end(text, line.start, usize::MAX).1);
        }
    }
    (end, length)
}

/// The secrets of a part of a text, told by themselves: one at most in a run of Base64, from where it begins to the run's
/// end, and on in the lines that go on with it.
fn find_in_runs(text: &str, part: Range<usize>, layers: usize, found: &mut Vec<Secret>) {
    let text = text.get(..part.end).unwrap_or_default();
    let mut at = part.start;
    while at < part.end {
        let rest = text.get(at..).unwrap_or_default();
        let length = run_length(rest.as_bytes());
        let run = rest.get(..length).unwrap_or_default();
        let lines =
            if is_word(run.as_bytes()) { Vec::new() } else { following_lines(text.as_bytes(), at + length) };
        let secret = secret_in_run(run, layers).or_else(|| secret_in_lines(text, run, &lines, layers));
        let end = match secret {
            Some((start, kind, prefix_length)) => {
                let end = lines.last().map_or(at + length, |line| line.end);
                found.push(Secret { kind, range: at + start..end, prefix_length });
                end
            }
            None => at + length,
        };
        let next = text.get(end..).and_then(|rest| rest.chars().next());
        at = end + next.map_or(1, char::len_utf8);
    }
}

/// The secret that begins in a run, and can only be recognised with the lines that follow it.
fn secret_in_lines(
    text: &str,
    run: &str,
    lines: &[Range<usize>],
    layers: usize,
) -> Option<(usize, SecretKind, usize)> {
    let lines = lines.get(..lines.len().min(LINES_FOR_AN_ALIAS))?;
    let rest: String = lines.iter().filter_map(|line| text.get(line.clone())).collect();
    if rest.is_empty() {
        return None;
    }
    let (start, kind, prefix_length) = secret_in_run(&format!("{}{rest}", without_soft_break(run)), layers)
        .filter(|(start, ..)| *start < run.len())?;
    // What a prefix does not say begins where it can be recognised.
    let is_told_by_prefix = !matches!(kind, SecretKind::UnknownKey | SecretKind::Encoded);
    (is_told_by_prefix || secret_in_run(&rest, layers).is_none()).then_some((start, kind, prefix_length))
}

/// The lines, and the parts of a line, that go on with the Base64 that ends at `end`. Lines that were broken are of one
/// length, but the last.
fn following_lines(text: &[u8], mut end: usize) -> Vec<Range<usize>> {
    let mut lines: Vec<Range<usize>> = Vec::new();
    while lines.len() < MAX_LINES
        && let Some(line) = next_part(text, end).or_else(|| {
            let line = next_line(text, end)?;
            let (first, last) = (lines.first().unwrap_or(&line).len(), lines.last().unwrap_or(&line).len());
            (last >= first && line.len() <= first).then_some(line)
        })
    {
        end = line.end;
        lines.push(line);
    }
    lines
}

/// The Base64 that follows behind blanks, where the Base64 that ends at `end` seems to go on in it: as [`next_line`], and it
/// looks like no name and no id either, for words follow each other in a line.
fn next_part(text: &[u8], end: usize) -> Option<Range<usize>> {
    let blanks = text.get(end..)?.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let start = (blanks > 0 && !text.get(..end)?.ends_with(b"=")).then_some(end + blanks)?;
    let part = base64_at(text, start)?;
    is_random(text.get(part.clone())?).then_some(part)
}

/// Whether this is rather the end or the middle of Base64 than a name: it is in both cases and has other characters than
/// letters, or is long; and it has few pairs of small letters, as words have.
fn is_random(text: &[u8]) -> bool {
    let pairs =
        text.array_windows().filter(|[one, other]| one.is_ascii_lowercase() && other.is_ascii_lowercase());
    let is_mixed = text.iter().any(u8::is_ascii_uppercase) && text.iter().any(u8::is_ascii_lowercase);
    let is_more = text.len() >= SHORTEST || !text.iter().all(u8::is_ascii_alphabetic);
    text.ends_with(b"=") || (is_mixed && is_more && pairs.count() * 2 + 1 < text.len())
}

/// The Base64 with which the next line begins, where the Base64 that ends at `end` seems to go on in it: it is all that stands
/// there, no word, and not the beginning of another secret. `>` quotes a line in a mail.
fn next_line(text: &[u8], end: usize) -> Option<Range<usize>> {
    let after_break = line_break_end(text, end).filter(|_| !is_padded(text, end))?;
    let quote = |byte: &u8| matches!(byte, b' ' | b'\t' | b'>' | b'|');
    base64_at(text, after_break + text.get(after_break..)?.iter().take_while(|byte| quote(byte)).count())
}

/// The Base64 that begins here, where nothing but Base64 stands there, and no word or beginning of another secret.
fn base64_at(text: &[u8], start: usize) -> Option<Range<usize>> {
    let line = text.get(start..)?;
    let length = line.iter().take_while(|byte| is_standard_base64(**byte)).count();
    let padding = line.get(length..)?.iter().take_while(|byte| **byte == b'=').count().min(2);
    let end = start + length + padding;
    let goes_on =
        text.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+/=_-.:@".contains(byte));
    let run = std::str::from_utf8(text.get(start..end)?).ok()?;
    let is_other = goes_on
        || is_word(run.as_bytes())
        || access_key_id_end(text, start).is_some()
        || [&LONG_TERM_PREFIXES[..], &SHORT_TERM_PREFIXES, &SESSION_TOKEN_PREFIXES]
            .into_iter()
            .flatten()
            .any(|prefix| run.starts_with(prefix));
    (!is_other).then_some(start..end)
}

/// Where the line break at `at` ends, also where JSON has it as an escape.
fn line_break_end(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    for expected in *b"\r\n" {
        let rest = text.get(end..)?;
        let (byte, length) = rest
            .first()
            .map(|byte| (*byte, 1))
            .filter(|_| !rest.starts_with(b"\\"))
            .or_else(|| escaped(rest))
            .unwrap_or((b' ', 1));
        if byte == expected {
            end += length;
        }
    }
    (end > at).then_some(end)
}

/// Whether Base64 that ends here has ended with its padding. In quoted-printable, `=` at the end of a line of up to 76
/// characters is a break that is not in the text (RFC 2045, 6.7); encoders fill their lines.
fn is_padded(text: &[u8], end: usize) -> bool {
    let before = text.get(..end).unwrap_or_default();
    let column = before.len() - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    before.ends_with(b"=") && (before.ends_with(b"==") || !(72..=76).contains(&column))
}

fn without_soft_break(run: &str) -> &str {
    run.strip_suffix('=').unwrap_or(run)
}

/// A secret without the line breaks and blanks in it, and without what quotes its lines.
pub(crate) fn without_breaks(secret: &str) -> String {
    let lines = secret.split(['\r', '\n', ' ', '\t']).map(|line| line.trim_start_matches(['>', '|']));
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    let (last, others) = lines.split_last().unwrap_or((&"", &[]));
    others.iter().copied().map(without_soft_break).chain([*last]).collect()
}

/// Whether this could be a word or a number: short, and letters in the case of words only, or digits only.
fn is_word(text: &[u8]) -> bool {
    let rest = text.get(1..).unwrap_or_default();
    text.len() < SHORTEST
        && (text.iter().all(u8::is_ascii_digit)
            || text.iter().all(u8::is_ascii_uppercase)
            || (text.first().is_some_and(u8::is_ascii_alphabetic) && rest.iter().all(u8::is_ascii_lowercase)))
}

/// Whether a secret access key seems to stand in a text without a label: exactly 40 characters of Base64 between others, in
/// both cases and with a digit, and few runs of small letters or of digits in them.
///
/// Hashes have one case. Words, as in paths and in the names of things, and dates are such runs: of the 39 pairs of
/// neighbours in a random key 7 are of two small letters or of two digits, and more than 17 in one of 330; one of 750 has no
/// digit. Names with other characters beside the 40 (`.`, `-`, `_`, `@`) are not looked at.
pub(crate) fn has_likely_access_key(text: &str) -> bool {
    random_tokens(text).any(|(token, _)| token.len() == SECRET_ACCESS_KEY_LENGTH)
}

/// Whether the secret of an API key seems to stand in a text by itself: as many characters or more, that look as random, with `+`
/// or `/` among them or `=` behind them.
pub(crate) fn has_likely_key_secret(text: &str) -> bool {
    // Behind a colon is the path of an ARN; a secret there has its alias before it.
    random_tokens(text).any(|(token, is_padded)| {
        (is_padded || token.contains(['+', '/'])) && !text.contains(&format!(":{token}"))
    })
}

/// What looks random as a secret access key does, with as many characters or more; and whether `=` follows.
fn random_tokens(text: &str) -> impl Iterator<Item = (&str, bool)> {
    const MOST_PAIRS: usize = 17;
    let is_in_token = |c: char| c.is_alphanumeric() || "+/_-.@".contains(c);
    let parts = text.split_inclusive(move |c| !is_in_token(c));
    let tokens = parts.map(move |part| (part.trim_end_matches(|c| !is_in_token(c)), part.ends_with('=')));
    tokens.filter(|(token, _)| {
        let bytes = token.as_bytes();
        let pairs = bytes.array_windows().filter(|[one, other]| {
            (one.is_ascii_lowercase() && other.is_ascii_lowercase())
                || (one.is_ascii_digit() && other.is_ascii_digit())
        });
        bytes.len() >= SECRET_ACCESS_KEY_LENGTH
            && bytes.iter().all(|byte| is_standard_base64(*byte))
            && bytes.iter().any(u8::is_ascii_uppercase)
            && bytes.iter().any(u8::is_ascii_lowercase)
            && bytes.iter().any(u8::is_ascii_digit)
            && pairs.count() * SECRET_ACCESS_KEY_LENGTH <= MOST_PAIRS * bytes.len()
    })
}

/// How many bytes at the beginning of `text` belong to one run of Base64, in either alphabet, also where a URL or JSON
/// has it in escapes.
fn run_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        at += match rest {
            [byte, ..] if is_run_byte(*byte) => 1,
            [b'\\', ..] => match escaped(rest) {
                Some((byte, length)) if is_run_byte(byte) => length,
                Some(_) | None => break,
            },
            _ => break,
        };
    }
    at
}

fn is_run_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=_-%".contains(&byte)
}

fn secret_in_run(run: &str, layers: usize) -> Option<(usize, SecretKind, usize)> {
    if run.len() < SHORTEST {
        return None;
    }
    let mut starts = run.char_indices().map(|(start, _)| start);
    starts
        .find_map(|start| {
            let (kind, prefix) = secret_prefix(run, start)?;
            Some((start, kind, prefix.len()))
        })
        .or_else(|| {
            let bytes = decoded_parts(run).chain(hex_parts(run)).collect::<Vec<_>>();
            if bytes.iter().any(|bytes| has_alias(bytes)) {
                return Some((0, SecretKind::UnknownKey, 0));
            }
            let inner = layers.checked_sub(1)?;
            let has_secret = |bytes: &Vec<u8>| !find_in(&String::from_utf8_lossy(bytes), inner).is_empty();
            bytes.iter().any(has_secret).then_some((0, SecretKind::Encoded, 0))
        })
}

/// The kind and the prefix of the secret that begins at `start`.
fn secret_prefix(run: &str, start: usize) -> Option<(SecretKind, &'static str)> {
    let from = run.get(start..)?;
    let before = run.get(..start).and_then(|before| before.bytes().next_back());
    let is_glued = before.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let with_prefix = |prefixes: &[&'static str], is_secret: &dyn Fn(&str, &str) -> bool| {
        let has = |prefix: &&&str| from.strip_prefix(**prefix).is_some_and(|body| is_secret(prefix, body));
        prefixes.iter().find(has).copied()
    };
    let is_long_term = |prefix: &str, body: &str| {
        body.len() >= SHORTEST
            && (prefix == "ABSK"
                || begins_with_base64_of(body, crate::text::is_iam_name_byte)
                || (!is_glued && is_base64(body, SURELY)))
    };
    let is_short_term = |_: &str, body: &str| {
        begins_with_base64_of(body, |byte| byte.is_ascii_graphic()) || is_base64(body, SURELY)
    };
    let is_token = |_: &str, body: &str| value_end(body.as_bytes(), 0, SURELY).1 >= SURELY;
    let long_term = with_prefix(&LONG_TERM_PREFIXES, &is_long_term)
        .map(|prefix| (SecretKind::LongTermKey(prefix), prefix));
    long_term
        .or_else(|| {
            let prefix = with_prefix(&SHORT_TERM_PREFIXES, &is_short_term)?;
            Some((SecretKind::ShortTermKey(prefix), prefix))
        })
        .or_else(|| {
            let prefix = with_prefix(&SESSION_TOKEN_PREFIXES, &is_token)?;
            Some((SecretKind::SessionToken, prefix))
        })
}

/// Whether the first [`SHORTEST`] characters are Base64 of such bytes only. Of ordinary words, about one in twenty
/// thousand is.
fn begins_with_base64_of(body: &str, is_expected: impl Fn(u8) -> bool) -> bool {
    body.get(..SHORTEST)
        .is_some_and(|head| decode(head.as_bytes()).is_some_and(|bytes| bytes.into_iter().all(is_expected)))
}

fn is_base64(body: &str, characters: usize) -> bool {
    body.get(..characters).is_some_and(|head| head.bytes().all(is_standard_base64))
}

const fn is_standard_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// Whether these bytes have `-at-<account>:` in them.
fn has_alias(bytes: &[u8]) -> bool {
    bytes.windows(ALIAS_END).any(is_alias_end)
}

/// Whether this is `-at-<account>:`.
fn is_alias_end(bytes: &[u8]) -> bool {
    bytes
        .strip_prefix(b"-at-")
        .and_then(<[u8]>::split_last)
        .is_some_and(|(colon, account)| *colon == b':' && account.iter().all(u8::is_ascii_digit))
}
