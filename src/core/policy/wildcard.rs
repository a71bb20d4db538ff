//! Patterns in which `*` stands for any text and `?` for any one character.

/// Whether `text` matches `pattern`, in any case. Linear but for the last `*`, to which it returns.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(byte) => {
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
    use super::matches;

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
}
