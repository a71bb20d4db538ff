//! Patterns in which `*` stands for any text and `?` for any one character.

/// Whether `text` matches `pattern`, in any case.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_by(pattern, text, |wanted, byte| wanted == b'?' || wanted.eq_ignore_ascii_case(&byte))
}

/// Whether every text that matches `other` also matches `pattern`. A rare pair of patterns that only together leave
/// nothing out counts as no.
#[must_use]
pub fn covers(pattern: &[u8], other: &[u8]) -> bool {
    matches_by(pattern, other, |wanted, byte| match (wanted, byte) {
        // It stands for any number of characters, also for none.
        (_, b'*') => false,
        (b'?', _) => true,
        (wanted, byte) => wanted.eq_ignore_ascii_case(&byte),
    })
}

/// Linear but for the last `*`, to which it returns. `is_one`: whether a byte of the pattern, which is no `*`, stands for one
/// of the text.
fn matches_by(pattern: &[u8], text: &[u8], is_one: impl Fn(u8, u8) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if is_one(*wanted, *byte) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match retry {
                Some((after_star, taken)) => {
                    retry = Some((after_star, taken + 1));
                    p = after_star;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::{covers, matches};

    #[test]
    fn stars_and_question_marks_match_in_any_case() {
        for (pattern, text, expected) in [
            ("svc-*", "SVC-chatbot", true),
            ("svc-*", "svc-", true),
            ("svc-?", "svc-", false),
            ("*-a-*-b", "x-a-a-b-b", true),
            ("*", "", true),
            ("", "a", false),
            ("a?c", "abcd", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_covers_those_that_match_no_more() {
        for (pattern, other, expected) in [
            ("*", "svc-?", true),
            ("svc-*", "SVC-a*", true),
            ("svc-*", "svc-*", true),
            ("svc-?", "svc-?", true),
            ("svc-?", "svc-*", false),
            ("svc-?*", "svc-*", false),
            ("svc-a", "svc-?", false),
            ("*-a", "svc-*-a", true),
            ("svc-a*", "svc-*", false),
        ] {
            assert_eq!(covers(pattern.as_bytes(), other.as_bytes()), expected, "{pattern} {other}");
        }
    }
}
