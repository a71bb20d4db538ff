//! Unpacks gzip, tar and zip, and decodes UTF-16, a chunk at a time: nothing is unpacked to disk.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom};

use flate2::bufread::GzDecoder;
use tar::EntryType;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::super::records::Records;
use super::Gone;
use super::file::{Text, Worker};
use super::format::{HEAD, InputFormat};
use super::lines::LogLines;
use super::passed_over::Kind;
use super::sink::{Sink, Source};
use super::utf16::Utf16;
use super::value::names_record;

/// How many archives may lie in each other.
const MAX_ARCHIVES: u8 = 2;
/// How many times something may be packed with gzip, or in UTF-16, one in the other.
const MAX_LAYERS: u8 = 4;
/// How much is unpacked of a member of an archive, and of what was packed twice, in bytes. The largest file that CloudTrail
/// delivers is far smaller.
const MAX_MEMBER: u64 = 1 << 30;
/// How much is unpacked of all members of an input, in bytes.
pub(super) const MAX_UNPACKED: u64 = 64 << 30;
/// The largest zip archive that is read into memory, in bytes: its list of members is at its end, and a pipe has to be read to
/// there.
const MAX_ZIP: u64 = 256 << 20;

const TOO_MANY_ARCHIVES: &str = "it is an archive in an archive in an archive, which is not read: unpack the outer one, and give the directory";
const TOO_MANY_LAYERS: &str = "it is packed more than 4 times, which is not read: unpack it";
const ZIP_TOO_LARGE: &str = "it is a zip archive of more than 256 MiB that comes from a pipe or lies in an archive, which is \
                             not read: give the zip file itself, or unpack it and give the directory";
/// Behind the name of a compression.
const UNPACK: &str = ", which is not read: unpack the archive, and give the directory";
const ENCRYPTED: &str = "it is encrypted, which is not read: unpack the archive, and give the directory";
const NOT_ALONE: &str = "there is more in it than one zip archive, before it or behind it, and only the archive was read: give each part as \
                         a file of its own";
const POLYGLOT: &str = "it begins as an image or a file of macOS does, and names a field of a CloudTrail record: give each record as JSON in \
                        a file without anything else";
const TAR_CUT: &str = "the archive has no end: it may be cut off";

/// How deep in archives and layers something is, and how much of the input may still be unpacked.
#[derive(Clone, Copy)]
pub(super) struct Nesting<'a> {
    archives: u8,
    layers: u8,
    left: &'a Cell<u64>,
}

impl<'a> Nesting<'a> {
    pub(super) const fn new(left: &'a Cell<u64>) -> Self {
        Self { archives: 0, layers: 0, left }
    }

    const fn in_layer(self) -> Self {
        Self { layers: self.layers + 1, ..self }
    }

    /// Layers are counted from zero in a member.
    const fn in_archive(self) -> Self {
        Self { archives: self.archives + 1, layers: 0, ..self }
    }

    /// What is packed once is as large as it is. What is in it could be a thousand times a thousand times that.
    const fn is_bounded(self) -> bool {
        self.archives + self.layers > 0
    }
}

impl Worker {
    /// Reads whatever this is.
    pub(super) fn unpack(
        &self,
        source: &Source,
        from: &mut dyn Read,
        nesting: Nesting<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        sink.begin(source.clone());
        let (head, error) = read_head(from);
        if let (true, Some(error)) = (head.is_empty(), &error) {
            return sink.damage(format!("{}: {}", source.name, cannot_go_on(error)));
        }
        let format = InputFormat::of(&head);
        let mut from = Cursor::new(head).chain(Failing(error)).chain(from);
        match format {
            InputFormat::Gzip | InputFormat::Utf16 { .. } if nesting.layers == MAX_LAYERS => {
                sink.refuse(&|| source.name.clone(), TOO_MANY_LAYERS)
            }
            InputFormat::Gzip => {
                let inflated = Members::new(BufReader::with_capacity(128 << 10, from));
                if nesting.is_bounded() {
                    let mut inflated = Bounded::new(inflated, nesting.left);
                    self.unpack(source, &mut inflated, nesting.in_layer(), sink)
                } else {
                    let mut inflated = inflated;
                    self.unpack(source, &mut inflated, nesting.in_layer(), sink)
                }
            }
            InputFormat::Utf16 { little_endian } => {
                self.unpack(source, &mut Utf16::new(from, little_endian), nesting.in_layer(), sink)
            }
            InputFormat::Tar | InputFormat::Zip if nesting.archives == MAX_ARCHIVES => {
                sink.refuse(&|| source.name.clone(), TOO_MANY_ARCHIVES)
            }
            InputFormat::Tar => self.tar(source, &mut from, nesting, sink),
            InputFormat::Zip => self.zip_in_memory(source, from, nesting, sink),
            InputFormat::Csv { delimiter } => self.csv(source, &mut from, delimiter, sink),
            InputFormat::Json => {
                self.records(source, &mut Records::streamed(from, &self.marks), Text::OTHER, sink)
            }
            InputFormat::JsonValue => self.json_value(source, &mut from, sink),
            InputFormat::Text(kind) => {
                let found = Cell::new(false);
                let lines = LogLines::new(from, &self.marks, &found);
                let text = Text { kind, has_records: Some(&found) };
                self.records(source, &mut Records::streamed(lines, &self.marks), text, sink)
            }
            InputFormat::PassedOver(kind) => passed_over(source, kind, &mut from, sink),
            InputFormat::Refused(what) => sink.damage(format!("{}: {what}", source.name)),
        }
    }

    fn member(
        &self,
        source: &Source,
        from: impl Read,
        nesting: Nesting<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        let mut from = Bounded::new(from, nesting.left);
        self.unpack(source, &mut from, nesting, sink)?;
        sink.end()
    }

    fn tar(
        &self,
        source: &Source,
        from: &mut dyn Read,
        nesting: Nesting<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        let mut archive = tar::Archive::new(TrailingZeros { inner: from, count: 0 });
        // Archives may be glued together.
        archive.set_ignore_zeros(true);
        let damaged = |error: &io::Error| format!("{}: {}", source.name, cannot_go_on(error));
        let entries = match archive.entries() {
            Ok(entries) => entries,
            Err(error) => return sink.damage(damaged(&error)),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    sink.begin(source.clone());
                    return sink.damage(damaged(&error));
                }
            };
            #[expect(clippy::wildcard_enum_match_arm, reason = "types of members are open")]
            match entry.header().entry_type() {
                EntryType::Directory | EntryType::XGlobalHeader => {}
                EntryType::Link | EntryType::Symlink => sink.passed_over.add(Kind::Link),
                EntryType::Char | EntryType::Block | EntryType::Fifo => sink.passed_over.add(Kind::Special),
                // Also of an unknown type, as POSIX says.
                _ => {
                    let member = source.member(&entry.path_bytes());
                    self.member(&member, entry, nesting.in_archive(), sink)?;
                }
            }
        }
        sink.begin(source.clone());
        // Two blocks of zeros end an archive (POSIX, pax, ustar Interchange Format).
        if archive.into_inner().count < 512 {
            return sink.damage(format!("{}: {TAR_CUT}", source.name));
        }
        Ok(())
    }

    fn zip_in_memory(
        &self,
        source: &Source,
        from: impl Read,
        nesting: Nesting<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        match from.take(MAX_ZIP + 1).read_to_end(&mut bytes) {
            Err(error) => sink.damage(format!("{}: {}", source.name, cannot_go_on(&error))),
            Ok(length) if length as u64 > MAX_ZIP => sink.refuse(&|| source.name.clone(), ZIP_TOO_LARGE),
            Ok(_) => self.zip(source, Cursor::new(bytes), nesting, sink),
        }
    }

    pub(super) fn zip(
        &self,
        source: &Source,
        from: impl Read + Seek,
        nesting: Nesting<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        sink.begin(source.clone());
        let mut from = from;
        let size = from.seek(SeekFrom::End(0));
        let mut archive = match ZipArchive::new(from) {
            Ok(archive) => archive,
            Err(error) => return sink.damage(format!("{}: {}", source.name, not_unzipped(&error))),
        };
        for index in 0..archive.len() {
            let name = archive.name_for_index(index).and_then(Result::ok).map(Cow::into_owned);
            let name = name.unwrap_or_else(|| format!("member {}", index + 1));
            let member = source.member(name.as_bytes());
            let mut refuse = |why: &str| {
                sink.begin(member.clone());
                sink.damage(format!("{}: {why}", member.name))
            };
            match archive.by_index(index) {
                Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => refuse(ENCRYPTED)?,
                Err(error) => refuse(&not_unzipped(&error))?,
                Ok(file) if file.is_dir() => {}
                Ok(file) if file.is_symlink() => sink.passed_over.add(Kind::Link),
                Ok(file) if !is_unpacked(file.compression()) => {
                    refuse(&format!("it is compressed with {}{UNPACK}", method(file.compression())))?;
                }
                Ok(file) => self.member(&member, file, nesting.in_archive(), sink)?,
            }
        }
        sink.begin(source.clone());
        let end = (ZIP_END + archive.comment().len()) as u64;
        let is_alone = archive.offset() == 0 && ends_with_zip(archive.into_inner(), size, end);
        if is_alone { Ok(()) } else { sink.damage(format!("{}: {NOT_ALONE}", source.name)) }
    }
}

/// The record at the end of a zip archive, without its comment, in bytes (PKWARE, *.ZIP File Format Specification*, 4.3.16).
const ZIP_END: usize = 22;

/// Whether the last record of a zip archive of this size, which has so many bytes, is at its end.
fn ends_with_zip(mut archive: impl Read + Seek, size: io::Result<u64>, end: u64) -> bool {
    let mut signature = [0; 4];
    size.and_then(|size| archive.seek(SeekFrom::Start(size.saturating_sub(end))))
        .and_then(|_| archive.read_exact(&mut signature))
        .is_ok_and(|()| signature == *b"PK\x05\x06")
}

/// What cannot hold an event by its first bytes. What follows these is looked at: anything may.
fn passed_over(source: &Source, kind: Kind, from: &mut dyn Read, sink: &mut Sink<'_>) -> Result<(), Gone> {
    const CHUNK: u64 = 64 << 10;
    const LONGEST_NAME: usize = 64;
    let mut bytes = Vec::new();
    loop {
        bytes.drain(..bytes.len().saturating_sub(LONGEST_NAME));
        match (&mut *from).take(CHUNK).read_to_end(&mut bytes) {
            Err(error) => return sink.damage(format!("{}: {}", source.name, cannot_go_on(&error))),
            Ok(_) if names_record(&bytes) => {
                return sink.problem(format!("{}: {POLYGLOT}", source.name));
            }
            Ok(0) => break,
            Ok(_) => {}
        }
    }
    sink.pass_value(kind);
    Ok(())
}

fn is_unpacked(compression: CompressionMethod) -> bool {
    [CompressionMethod::STORE, CompressionMethod::DEFLATE].contains(&compression)
}

/// What people call a method of compression (PKWARE, *.ZIP File Format Specification*, 4.4.5).
fn method(compression: CompressionMethod) -> String {
    let names = [
        (CompressionMethod::DEFLATE64, "deflate64"),
        (CompressionMethod::BZIP2, "bzip2"),
        (CompressionMethod::LZMA, "lzma"),
        (CompressionMethod::ZSTD, "zstd"),
        (CompressionMethod::XZ, "xz"),
        (CompressionMethod::PPMD, "PPMd"),
    ];
    let known = names.into_iter().find(|(other, _)| *other == compression);
    known.map_or_else(
        || format!("a method that is not known here ({compression})"),
        |(_, name)| name.to_owned(),
    )
}

/// Why an input cannot be read any further. Decoders repeat what they have read in their errors, so only the words of this
/// module and of the system are printed.
pub(super) fn cannot_go_on(error: &io::Error) -> String {
    if let Some(why) = error.get_ref().and_then(|inner| inner.downcast_ref::<Why>()) {
        return why.to_string();
    }
    if error.raw_os_error().is_some() {
        return format!("it cannot be read: {error}");
    }
    let why = if error.kind() == ErrorKind::UnexpectedEof {
        "it ends too early, and may be cut off"
    } else {
        "what is in it is not what files of this kind have in them"
    };
    format!("the file is damaged: {why}")
}

/// The same for a zip archive, or a member of it.
fn not_unzipped(error: &ZipError) -> String {
    if let ZipError::Io(error) = error {
        cannot_go_on(error)
    } else if let ZipError::UnsupportedArchive(_) = error {
        format!("it is of a kind of zip archive{UNPACK}")
    } else {
        "the file is damaged: it is no zip archive, or is cut off".to_owned()
    }
}

/// Why an input cannot be read any further, in words of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Why(pub &'static str);

impl From<Why> for io::Error {
    fn from(why: Why) -> Self {
        Self::new(ErrorKind::InvalidData, why)
    }
}

/// The first bytes, and what ended them early. A line of JSON is enough: what follows it in a pipe may be long in coming.
fn read_head(from: &mut dyn Read) -> (Vec<u8>, Option<io::Error>) {
    let mut head = vec![0; HEAD];
    let mut length = 0;
    let error = loop {
        let seen = head.get(..length).unwrap_or_default();
        if length == HEAD || (seen.starts_with(b"{") && seen.contains(&b'\n')) {
            break None;
        }
        match from.read(head.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break None,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Some(error),
        }
    };
    head.truncate(length);
    (head, error)
}

/// Nothing, or an error once.
pub(super) struct Failing(pub Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Inflates the members of gzip, one after the other. Zeros behind a member are padding (GNU gzip manual, *Tapes*), and
/// white space is what tools put behind a text.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Members<R> {
    fn new(from: R) -> Self {
        Self(Some(GzDecoder::new(from)))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut from) = self.0.take().map(GzDecoder::into_inner) else { break };
            let is_padding = |byte: &&u8| **byte == 0 || byte.is_ascii_whitespace();
            while let padding @ 1.. = from.fill_buf()?.iter().take_while(is_padding).count() {
                from.consume(padding);
            }
            self.0 = (!from.fill_buf()?.is_empty()).then(|| GzDecoder::new(from));
        }
        Ok(0)
    }
}

/// Ends with an error where too much is unpacked.
struct Bounded<'a, R> {
    inner: R,
    in_member: u64,
    left: &'a Cell<u64>,
}

impl<'a, R: Read> Bounded<'a, R> {
    const fn new(inner: R, left: &'a Cell<u64>) -> Self {
        Self { inner, in_member: 0, left }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let too_large = |what| Err(Why(what).into());
        let read = self.inner.read(buffer)?;
        self.in_member += read as u64;
        if self.in_member > MAX_MEMBER {
            return too_large(
                "more than 1 GiB is packed in it, which is not read: unpack it, and give the file",
            );
        }
        match self.left.get().checked_sub(read as u64) {
            Some(left) => {
                self.left.set(left);
                Ok(read)
            }
            None => too_large(
                "more than 64 GiB is packed in the archive, which is not read: unpack it, and give the directory",
            ),
        }
    }
}

/// Counts the zeros at the end of what was read.
struct TrailingZeros<R> {
    inner: R,
    count: usize,
}

impl<R: Read> Read for TrailingZeros<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let zeros =
            buffer.get(..read).unwrap_or_default().iter().rev().take_while(|byte| **byte == 0).count();
        self.count = if zeros == read { self.count + zeros } else { zeros };
        Ok(read)
    }
}
