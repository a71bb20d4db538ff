//! Secrets that are cut into groups, as dumps of bytes are.

use super::{MAX_LAYERS, Secret, SecretKind, begins_with_base64_of, is_run_byte, secret_in_run};
use crate::text::is_iam_name_byte;

/// The largest group, in characters: what is left over at the end is no use to anybody.
const LARGEST_GROUP: usize = 16;

/// The secrets that are cut into groups of one length, with one and the same character between them: `41 42 53 4b …`,
/// `A.B.S.K.…`, `ABSK YW5h …`. Words follow each other like that, too, so a prefix alone tells nothing, and a word of the same
/// length right behind the secret goes with it.
pub(super) fn find_in_groups(text: &[u8]) -> Vec<Secret> {
    let mut found = Vec::new();
    let is_in_group = |byte: &u8| is_run_byte(*byte) && *byte != b'%';
    let mut at = 0;
    while at < text.len() {
        let length = text.iter().skip(at).take_while(|byte| is_in_group(byte)).count();
        let step = length + 1;
        let between = text.get(at + length).filter(|byte| b" .:,;|\t\n".contains(byte));
        let group = |start: usize| {
            let is_end = !text.get(start + length).is_some_and(is_in_group);
            text.get(start..start + length).filter(|group| is_end && group.iter().all(is_in_group))
        };
        let is_next = |start: &usize| text.get(start - 1) == between && group(*start).is_some();
        let groups = if (1..=LARGEST_GROUP).contains(&length) && between.is_some() {
            1 + (at + step..).step_by(step).take_while(is_next).count()
        } else {
            1
        };
        let end = at + groups * step - 1;
        let joined: Vec<u8> = (at..end).step_by(step).filter_map(group).flatten().copied().collect();
        let joined = if groups > 1 { std::str::from_utf8(&joined).unwrap_or_default() } else { "" };
        if let Some((start, kind, prefix_length)) = secret_in_run(joined, MAX_LAYERS) {
            let body = joined.get(start + prefix_length..).unwrap_or_default();
            let is_word =
                matches!(kind, SecretKind::LongTermKey(_)) && !begins_with_base64_of(body, is_iam_name_byte);
            if !is_word {
                let range = at + start / length * step..end;
                found.push(Secret { kind: SecretKind::Encoded, range, prefix_length: 0 });
            }
        }
        at = end + 1;
    }
    found
}
