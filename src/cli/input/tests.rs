//! However an event is packed, it is found or something is said.

use std::io::{Cursor, Write as _};
use std::sync::mpsc::sync_channel;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::file::Worker;
use super::sink::{Sink, Source};
use super::{Detail, Found, PassedOver};

/// An event of ours.
fn envelope() -> Value {
    let text = include_str!("../../../events/created-without-age.json");
    serde_json::from_str(text).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(bytes: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in [("a/notes", &b"hello"[..]), ("a/b", bytes), ("a/empty", b"")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append_data(&mut header, name, bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn zip(bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("notes", &b"hello"[..]), ("a/b", bytes)] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn csv(text: &str) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["time", "what"]).unwrap();
    writer.write_record(["2026-11-20", "{\"a\": 1}"]).unwrap();
    writer.write_record(["2026-11-20", text]).unwrap();
    writer.into_inner().unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Layer {
    Gzip,
    Tar,
    Zip,
    LittleEndian,
    BigEndian,
    ByteOrderMark,
    Csv,
    Base64,
    Base64InJson,
    PackedInJson,
    Lines,
    LinesBehindText,
    Queue,
    Message,
    Cut,
}

const LAYERS: [Layer; 14] = [
    Layer::Gzip,
    Layer::Tar,
    Layer::Zip,
    Layer::LittleEndian,
    Layer::BigEndian,
    Layer::ByteOrderMark,
    Layer::Csv,
    Layer::Base64,
    Layer::Base64InJson,
    Layer::PackedInJson,
    Layer::Lines,
    Layer::LinesBehindText,
    Layer::Queue,
    Layer::Message,
];

/// What is no text is left as it is by what takes a text, and what is no JSON by Base64: in Base64, JSON and gzip of JSON are
/// looked for, and nothing else.
fn wrap(bytes: Vec<u8>, layer: Layer) -> Vec<u8> {
    let text = String::from_utf8(bytes.clone());
    match (layer, text) {
        (Layer::Gzip, _) => gzip(&bytes),
        (Layer::Tar, _) => tar(&bytes),
        (Layer::Zip, _) => zip(&bytes),
        (Layer::Base64 | Layer::Base64InJson | Layer::PackedInJson, _) if !bytes.starts_with(b"{") => bytes,
        (Layer::Base64, _) => STANDARD.encode(&bytes).into(),
        (Layer::Base64InJson, _) => json!({ "data": STANDARD.encode(&bytes) }).to_string().into(),
        (Layer::PackedInJson, _) => json!({ "data": STANDARD.encode(gzip(&bytes)) }).to_string().into(),
        (Layer::Cut, _) => bytes[..bytes.len() - bytes.len() / 3].to_vec(),
        (_, Err(_)) => bytes,
        (Layer::LittleEndian, Ok(text)) => {
            format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
        }
        (Layer::BigEndian, Ok(text)) => {
            format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_be_bytes).collect()
        }
        (Layer::ByteOrderMark, Ok(text)) => format!("\u{feff}{text}").into(),
        (Layer::Csv, Ok(text)) => csv(&text),
        (Layer::Lines, Ok(text)) => format!("{{\"eventSource\":\"a\",\"eventName\":\"b\"}}\n{text}\n").into(),
        (Layer::LinesBehindText, Ok(text)) => format!("oops\n{text}").into(),
        (Layer::Queue, Ok(text)) => json!({"Records": [{"body": "{}"}, {"body": text}]}).to_string().into(),
        (Layer::Message, Ok(text)) => json!({"Messages": [{"Body": text}]}).to_string().into(),
    }
}

/// What was found: events of ours, and problems.
fn read(source: &Source, bytes: &[u8]) -> (usize, Vec<String>, PassedOver) {
    let (to, from) = sync_channel(1_000);
    let mut sink = Sink::new(&to, Detail::Events);
    let worker = Worker::new(Detail::Events);
    assert!(worker.stream(source, &mut &*bytes, &mut sink).is_ok());
    sink.end();
    let passed_over = sink.passed_over;
    drop(to);
    let (mut events, mut problems) = (0, Vec::new());
    for found in from {
        match found {
            Found::Event(_) => events += 1,
            Found::Unreadable { place, why } => problems.push(format!("{place}: {why}")),
            Found::Problem(message) => problems.push(message),
            Found::Use(_) | Found::End { .. } => {}
        }
    }
    (events, problems, passed_over)
}

fn sources() -> [Source; 2] {
    [Source::stdin(), Source::file("logs/notes".as_ref(), true)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_hides_an_event_silently(
        layers in prop::collection::vec(prop::sample::select(LAYERS.as_slice()), 0..7),
        pretty in any::<bool>(),
    ) {
        let event = if pretty { format!("{:#}", envelope()) } else { envelope().to_string() };
        let packed = layers.iter().fold(event.into_bytes(), |bytes, layer| wrap(bytes, *layer));
        for source in sources() {
            let (events, problems, passed_over) = read(&source, &packed);
            prop_assert!(events == 1 || !problems.is_empty(), "{} events, {}", events, passed_over);
        }
    }

    /// What is cut off is said, wherever the cut is.
    #[test]
    fn no_cut_is_silent(
        layers in prop::collection::vec(prop::sample::select(LAYERS.as_slice()), 0..4),
        outer in prop::sample::select([Layer::Gzip, Layer::Tar, Layer::Zip, Layer::Message].as_slice()),
    ) {
        let event = envelope().to_string().into_bytes();
        let packed = layers.iter().fold(event, |bytes, layer| wrap(bytes, *layer));
        let cut = wrap(wrap(packed, outer), Layer::Cut);
        for source in sources() {
            let (_, problems, passed_over) = read(&source, &cut);
            prop_assert!(!problems.is_empty(), "{}", passed_over);
        }
    }
}

#[test]
fn one_layer_of_each_kind_and_pairs_of_containers_are_read() {
    use Layer::{
        Base64InJson, BigEndian, ByteOrderMark, Csv, Gzip, Lines, LittleEndian, Message, PackedInJson, Queue,
        Tar, Zip,
    };
    let event = || envelope().to_string().into_bytes();
    for layers in [
        vec![Gzip],
        vec![Gzip, Gzip],
        vec![Tar],
        vec![Gzip, Tar],
        vec![Tar, Gzip],
        vec![Gzip, Tar, Gzip],
        vec![Zip],
        vec![Gzip, Zip],
        vec![Zip, Gzip],
        vec![Tar, Zip],
        vec![Zip, Tar],
        vec![Zip, Tar, Gzip],
        vec![LittleEndian],
        vec![BigEndian, Gzip],
        vec![ByteOrderMark],
        vec![Csv],
        vec![Csv, Gzip],
        vec![Csv, LittleEndian, Zip],
        vec![Base64InJson],
        vec![PackedInJson, Lines],
        vec![Message, Csv],
    ] {
        let packed = layers.iter().fold(event(), |bytes, layer| wrap(bytes, *layer));
        for source in sources() {
            let (events, problems, _) = read(&source, &packed);
            assert_eq!((events, problems.as_slice()), (1, [].as_slice()), "{layers:?}");
        }
    }
    let (events, problems, _) = read(&Source::stdin(), &wrap(event(), Queue));
    assert_eq!((events, problems.len()), (1, 1), "{problems:?}");
    for (layers, says) in [
        (vec![Zip, Zip, Zip], "an archive in an archive in an archive"),
        (vec![Gzip; 5], "packed more than 4 times"),
    ] {
        let packed = layers.iter().fold(event(), |bytes, layer| wrap(bytes, *layer));
        let (events, problems, _) = read(&Source::stdin(), &packed);
        assert!(events == 0 && problems[0].contains(says), "{problems:?}");
    }
}

/// A kilobyte becomes a megabyte, and that a gigabyte.
#[test]
fn a_bomb_ends_with_an_error() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let block = vec![b' '; 1 << 20];
    for _ in 0..1_100 {
        encoder.write_all(&block).unwrap();
    }
    let packed = gzip(&encoder.finish().unwrap());
    let (_, problems, _) = read(&Source::stdin(), &packed);
    assert!(problems[0].contains("more than 1 GiB is packed in it"), "{problems:?}");
}
