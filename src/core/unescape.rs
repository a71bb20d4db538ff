//! A text without what hides a secret in it: escapes, and characters that nobody sees.

use std::ops::Range;

use crate::text::is_unprintable;

/// Escapes may be escaped themselves: JSON in JSON, a URL in a URL.
const MAX_ESCAPES: usize = 3;

/// A text without escapes, with plain blanks, and without invisible characters.
pub(crate) struct Unescaped {
    pub(crate) text: String,
    /// What each byte stands for.
    origins: Vec<Range<usize>>,
}

impl Unescaped {
    /// `None`: nothing is hidden in this text.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let is_plain =
            |byte: u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t') && !b"\\%&\"'`".contains(&byte);
        if text.bytes().all(is_plain) {
            return None;
        }
        let mut plain =
            Self { text: text.to_owned(), origins: (0..text.len()).map(|at| at..at + 1).collect() };
        for _ in 0..MAX_ESCAPES {
            let next = plain.once_more();
            if next.text == plain.text {
                break;
            }
            plain = next;
        }
        (plain.text != text).then_some(plain)
    }

    /// Where a part of it stands in the text as it is written.
    pub(crate) fn origin(&self, part: Range<usize>) -> Range<usize> {
        match self.origins.get(part).and_then(|bytes| bytes.first().zip(bytes.last())) {
            Some((first, last)) => first.start..last.end,
            None => 0..0,
        }
    }

    fn once_more(&self) -> Self {
        let mut next = Self { text: String::with_capacity(self.text.len()), origins: Vec::new() };
        let mut at = 0;
        while let Some(rest) = self.text.get(at..).filter(|rest| !rest.is_empty()) {
            let (character, length) = first_character(rest);
            if let Some(character) = character {
                next.text.push(character);
                let origin = self.origin(at..at + length);
                next.origins.extend(std::iter::repeat_n(origin, character.len_utf8()));
            }
            at += length;
        }
        next
    }
}

/// The text without escapes and invisible characters.
pub(crate) fn unescaped(text: &str) -> String {
    Unescaped::of(text).map_or_else(|| text.to_owned(), |plain| plain.text)
}

/// What a text that is not empty begins with, where it can be seen, and its length.
fn first_character(text: &str) -> (Option<char>, usize) {
    if let Some(joint) = joint(text.as_bytes()) {
        return joint;
    }
    let (character, length) = escaped_character(text.as_bytes())
        .or_else(|| text.chars().next().map(|character| (character, character.len_utf8())))
        .unwrap_or(('\0', 1));
    let visible = match character {
        '\n' | '\r' | '\t' => Some(character),
        _ if is_invisible(character) => None,
        _ if character.is_whitespace() => Some(' '),
        _ => Some(character),
    };
    (visible, length)
}

/// What is between two parts of a text that a program puts together, and its length. `" + "` stands for nothing, and quotes with
/// a line end between them for the line end.
fn joint(text: &[u8]) -> Option<(Option<char>, usize)> {
    let before = usize::from(text.starts_with(b"\\"));
    let (quote, rest) = text.get(before..)?.split_first().filter(|(quote, _)| b"\"'`".contains(quote))?;
    let length = rest.iter().take_while(|byte| b" \t\r\n+\\".contains(byte)).count();
    let between = rest.get(..length).filter(|_| rest.get(length) == Some(quote))?;
    let stands_for = if between.contains(&b'+') { None } else { Some('\n') };
    (stands_for.is_none() || between.contains(&b'\n')).then_some((stands_for, before + 1 + length + 1))
}

/// The same as [`escaped`], and the invisible characters and blanks that JSON and HTML have as an escape.
fn escaped_character(text: &[u8]) -> Option<(char, usize)> {
    if let Some((byte, length)) = escaped(text) {
        return Some((char::from(byte), length));
    }
    let in_json = || {
        let digits = std::str::from_utf8(text.strip_prefix(b"\\u")?.get(..4)?).ok()?;
        Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, 6))
    };
    html_entity(text)
        .or_else(in_json)
        .filter(|(character, _)| is_invisible(*character) || character.is_whitespace())
}

/// The character that an entity of HTML or XML stands for (`&#x2B;`, `&#43;`, `&quot;`), and the entity's length.
fn html_entity(text: &[u8]) -> Option<(char, usize)> {
    const LONGEST: usize = 10;
    let end = text.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let number = |digits, radix| {
        let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
        char::from_u32(number)
    };
    let character = match text.get(..end)?.strip_prefix(b"&")? {
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        b"amp" => '&',
        b"quot" => '"',
        b"apos" => '\'',
        b"lt" => '<',
        b"gt" => '>',
        b"plus" => '+',
        b"sol" => '/',
        b"equals" => '=',
        b"nbsp" => '\u{a0}',
        b"shy" => '\u{ad}',
        _ => return None,
    };
    Some((character, end + 1))
}

fn is_invisible(c: char) -> bool {
    is_unprintable(c)
        || matches!(
            c,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}'
        )
}

/// The ASCII character that an escape of a URL (`%3D`, `%253D`), of JSON (`\u003d`, `\/`, `\n`), of HTML (`&#x3D;`) or of a program
/// (`\x3d`, a backslash before a line end) stands for, and the escape's length.
pub(crate) fn escaped(text: &[u8]) -> Option<(u8, usize)> {
    let (digits, length) = match text {
        [b'%', b'2', b'5', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            ([*high, *low], 5)
        }
        [b'%', high, low, ..] => ([*high, *low], 3),
        [b'\\', b'u', b'0', b'0', high, low, ..] => ([*high, *low], 6),
        [b'\\', b'x', high, low, ..] => ([*high, *low], 4),
        [b'&', ..] => {
            let (character, length) = html_entity(text)?;
            return Some((u8::try_from(character).ok().filter(u8::is_ascii)?, length));
        }
        [b'\\', byte @ (b'/' | b'\\' | b'\n' | b'\r'), ..] => return Some((*byte, 2)),
        [b'\\', b'n', ..] => return Some((b'\n', 2)),
        [b'\\', b'r', ..] => return Some((b'\r', 2)),
        [b'\\', b't', ..] => return Some((b'\t', 2)),
        _ => return None,
    };
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    let byte = u8::try_from(high? * 16 + low?).ok().filter(u8::is_ascii)?;
    Some((byte, length))
}
