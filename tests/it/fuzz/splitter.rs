//! The splitter of logs, on streams of events in which something is broken.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::LazyLock;

use bedrock_key_guard::cli::records::{Marks, Piece, Records};
use key_guard_core::cloudtrail::{Target, Unwrapped, unwrap};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::corpus::EVENTS;
use super::damage::{Damage, apply, damage};
use super::{check, has_no_secret};

static MARKS: LazyLock<Marks> = LazyLock::new(|| Marks::new(Target::GuardedCalls));

/// A reader that hands out so many bytes at a time.
struct Sips<'a>(&'a [u8], usize);

impl Read for Sips<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.1.min(buffer.len()).min(self.0.len());
        let (sip, rest) = self.0.split_at(length);
        buffer[..length].copy_from_slice(sip);
        self.0 = rest;
        Ok(length)
    }
}

/// A piece: its bytes, or what is said of damage.
fn pieces<R: Read>(
    mut records: Records<'_, R>,
    most: usize,
) -> Result<Vec<Result<Vec<u8>, &'static str>>, TestCaseError> {
    let mut pieces = Vec::new();
    while let Some(piece) = records.next_piece().unwrap() {
        pieces.push(match piece {
            Piece::Logged(record) | Piece::Loose(record) => {
                prop_assert_eq!(record.is_marked, MARKS.are_in(record.bytes));
                Ok(record.bytes.to_vec())
            }
            Piece::Damage(what) => Err(what),
            Piece::Text { .. } | Piece::Config => Err("no event"),
        });
        prop_assert!(pieces.len() <= most, "it does not end");
    }
    Ok(pieces)
}

/// The events that are found, and whether anything is reported: damage, what is no JSON, and what has no event in it.
fn read(pieces: &[Result<Vec<u8>, &'static str>]) -> Result<(Vec<Value>, bool), TestCaseError> {
    let (mut events, mut is_reported) = (Vec::new(), false);
    for piece in pieces {
        let Some(value) = piece.as_ref().ok().and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok())
        else {
            is_reported = true;
            continue;
        };
        let found = unwrap(&value, Target::GuardedCalls);
        is_reported |= found.is_empty();
        for found in found {
            match found {
                Unwrapped::Event(event) => events.push(event),
                Unwrapped::Unreadable(why) => {
                    has_no_secret(&why.to_string())?;
                    is_reported = true;
                }
                Unwrapped::Irrelevant(_) => {}
            }
        }
    }
    Ok((events, is_reported))
}

/// Events in a file: where each is in it.
fn file(form: u8, events: &[Value]) -> (Vec<u8>, Vec<Range<usize>>) {
    let (head, between, tail, is_pretty) = match form % 6 {
        0 => ("{\"Records\":[", ",", "]}", false),
        1 => ("{\"Records\":[\n", ",\n", "\n]}\n", true),
        2 => ("", "\n", "\n", false),
        3 => ("[", ",\n", "]", false),
        4 => ("", "", "", false),
        _ => ("\u{feff}", "\r\n\r\n", "", true),
    };
    let mut bytes = head.as_bytes().to_vec();
    let mut places = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            bytes.extend(between.bytes());
        }
        let start = bytes.len();
        let text = if is_pretty { format!("{event:#}") } else { event.to_string() };
        bytes.extend(text.bytes());
        places.push(start..bytes.len());
    }
    bytes.extend(tail.bytes());
    (bytes, places)
}

fn some_events() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(prop::sample::select(EVENTS.as_slice()), 1..5)
}

#[test]
fn an_event_that_is_not_damaged_is_found_or_damage_is_reported() {
    let strategy = (any::<u8>(), some_events(), prop::collection::vec(damage(), 0..3), 1_usize..400);
    check("splitter, any file", &strategy, |(form, events, damages, sip)| {
        let (mut bytes, places) = file(form, &events);
        let mut touched = vec![false; events.len()];
        for (index, (at, damage)) in damages.iter().enumerate() {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            let gone = apply(&mut bytes, at, damage);
            // After the first damage, places have moved: only reports count.
            for (place, touched) in places.iter().zip(&mut touched) {
                *touched |=
                    index > 0 || (gone.start < place.end && place.start < gone.end.max(gone.start + 1));
            }
        }
        let most = bytes.len() + 2;
        let whole = pieces(Records::whole(bytes.clone(), &MARKS), most)?;
        let streamed = pieces(Records::streamed(Sips(&bytes, sip), &MARKS), most)?;
        prop_assert_eq!(&whole, &streamed, "it matters how the file is read");
        let (found, is_reported) = read(&whole)?;
        if damages.is_empty() {
            prop_assert_eq!(&found, &events);
            prop_assert!(!is_reported);
        }
        for (event, touched) in events.iter().zip(touched) {
            prop_assert!(touched || is_reported || found.contains(event), "dropped silently: {event}");
        }
        Ok(())
    });
}

/// The line of one event is damaged, and stays one line that begins like an object: the other lines do not suffer.
#[test]
fn a_damaged_line_costs_no_other_line() {
    let strategy = (some_events(), any::<Index>(), damage());
    check("splitter, lines", &strategy, |(events, damaged, (at, damage))| {
        let damaged = damaged.index(events.len());
        let mut lines: Vec<_> = events.iter().map(|event| event.to_string().into_bytes()).collect();
        let line = &mut lines[damaged];
        let at = 1 + at.index(line.len() - 1);
        match damage {
            Damage::Insert(piece) if piece.contains(&b'\n') => return Ok(()),
            Damage::Flip(bits) if line[at] ^ bits == b'\n' => return Ok(()),
            _ => drop(apply(line, at, &damage)),
        }
        let bytes = lines.join(&b'\n');
        let most = bytes.len() + 2;
        let (found, _) = read(&pieces(Records::whole(bytes, &MARKS), most)?)?;
        for (index, event) in events.iter().enumerate() {
            prop_assert!(index == damaged || found.contains(event), "another line costs this one: {event}");
        }
        Ok(())
    });
}

#[test]
fn any_bytes_come_to_an_end() {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "[{}\\[\\]\",:\\\\\n a1]{0,60}".prop_map(String::into_bytes),
        Just(b"{\"Records\":[".to_vec()),
    ];
    let strategy = (prop::collection::vec(piece, 0..12), 1_usize..50);
    check("splitter, any bytes", &strategy, |(parts, sip)| {
        let bytes = parts.concat();
        let most = bytes.len() + 2;
        let whole = pieces(Records::whole(bytes.clone(), &MARKS), most)?;
        prop_assert_eq!(&whole, &pieces(Records::streamed(Sips(&bytes, sip), &MARKS), most)?);
        read(&whole).map(|_| ())
    });
}
