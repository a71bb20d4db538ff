//! What an input is, by its first bytes.

use key_guard_core::cloudtrail::may_be_base64;
use serde::de::IgnoredAny;

use super::lines::record_in;
use super::passed_over::Kind;

/// How many bytes tell what an input is. A header of a tar archive has 512, and a header of a CSV file is a line.
pub(super) const HEAD: usize = 4 << 10;

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputFormat {
    /// Gzip, of anything.
    Gzip,
    /// A zip archive.
    Zip,
    /// A tar archive.
    Tar,
    /// A text in UTF-16, with a byte-order mark or without.
    Utf16 {
        /// The lower byte comes first.
        little_endian: bool,
    },
    /// JSON objects, or lists of them.
    Json,
    /// One JSON value that is neither: a text, a list of texts, a number.
    JsonValue,
    /// A table of cells.
    Csv {
        /// What is between the cells.
        delimiter: u8,
    },
    /// Lines of something else.
    Text(Kind),
    /// What cannot hold an event.
    PassedOver(Kind),
    /// What could hold events and is not read: what it is, and what to do.
    Refused(&'static str),
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const PARQUET: &str = "it is a Parquet file, which is not read: print its records as JSON, one a line, and give that \
                       (DuckDB: COPY (FROM 'FILE') TO 'records.json')";
const AVRO: &str = "it is an Avro file, which is not read: print its records as JSON, one a line, and give that \
                    (avro-tools tojson FILE)";
const ORC: &str = "it is an ORC file, which is not read: print its records as JSON, one a line, and give that \
                   (orc-contents FILE)";
const SQLITE: &str = "it is a SQLite database and holds no events: if it is a ledger, give it with `--ledger file:PATH`, or \
                      look into it with `bedrock-key-guard lookup`";
const ZSTD: &str = "it is compressed with zstd, which is not read: run `zstd -dc FILE`, and pipe what it prints into this command, with `-` for the file";
const BZIP2: &str = "it is compressed with bzip2, which is not read: run `bzip2 -dc FILE`, and pipe what it prints into this command, with `-` for the file";
const XZ: &str = "it is compressed with xz, which is not read: run `xz -dc FILE`, and pipe what it prints into this command, with `-` for the file";
const LZ4: &str = "it is compressed with lz4, which is not read: run `lz4 -dc FILE`, and pipe what it prints into this command, with `-` for the file";
const SEVEN_ZIP: &str = "it is a 7z archive, which is not read: unpack it, and give the directory";
const RAR: &str = "it is a RAR archive, which is not read: unpack it, and give the directory";
const UTF_32: &str = "it is a text in UTF-32, which is not read: run `iconv -f UTF-32 -t UTF-8 FILE`, and pipe what it prints into this command, with `-` for the file";
const POLICY: &str = "it is a policy file and holds no events: give it with `--policy FILE`";
const BASE64: &str = "it is Base64 and nothing else, which is not read: run `base64 -d FILE`, and pipe what it prints into this command, with `-` for the file";
const BEGINS_BASE64: &str = "it begins with thousands of letters without a blank, as Base64 does, which is not read: decode it, or give the JSON in \
                             it alone";
const HEX: &str = "it begins with hexadecimal digits, which are not read: run `xxd -r -p FILE`, and pipe what it prints into this command, with `-` for the file";
const BINARY: &str =
    "it is neither a text, nor gzip, zip or tar, nor a kind of file that is known here: it may be damaged";

/// How files begin that are told by that.
const SIGNATURES: [(&[u8], InputFormat); 22] = {
    use InputFormat::{Gzip, PassedOver, Refused, Utf16, Zip};
    [
        (b"\x1f\x8b", Gzip),
        (b"PK\x03\x04", Zip),
        // Without members; and of more than one volume.
        (b"PK\x05\x06", Zip),
        (b"PK\x07\x08", Zip),
        (b"PAR1", Refused(PARQUET)),
        (b"Obj\x01", Refused(AVRO)),
        (b"ORC", Refused(ORC)),
        (b"SQLite format 3\0", Refused(SQLITE)),
        (b"\x28\xb5\x2f\xfd", Refused(ZSTD)),
        (b"BZh", Refused(BZIP2)),
        (b"\xfd7zXZ\0", Refused(XZ)),
        (b"\x04\x22\x4d\x18", Refused(LZ4)),
        (b"7z\xbc\xaf\x27\x1c", Refused(SEVEN_ZIP)),
        (b"Rar!\x1a\x07", Refused(RAR)),
        // Before UTF-16, whose mark it begins with.
        (b"\xff\xfe\0\0", Refused(UTF_32)),
        (b"\xff\xfe", Utf16 { little_endian: true }),
        (b"\xfe\xff", Utf16 { little_endian: false }),
        (b"\0\0\0\x01Bud1", PassedOver(Kind::MacFile)),
        // AppleDouble, RFC 1740.
        (b"\0\x05\x16\x07", PassedOver(Kind::MacFile)),
        (b"\x89PNG\r\n\x1a\n", PassedOver(Kind::Image)),
        (b"\xff\xd8\xff", PassedOver(Kind::Image)),
        (b"GIF8", PassedOver(Kind::Image)),
    ]
};

impl InputFormat {
    /// Of an input that begins with `head`, and ends there if that is shorter than [`HEAD`].
    pub(super) fn of(head: &[u8]) -> Self {
        if head.is_empty() {
            return Self::PassedOver(Kind::Empty);
        }
        let by_signature = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature));
        if let Some((_, format)) = by_signature {
            return *format;
        }
        if is_tar(head) {
            return Self::Tar;
        }
        if let Some(little_endian) = utf16(head) {
            return Self::Utf16 { little_endian };
        }
        let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
        if is_binary(text) {
            return Self::Refused(BINARY);
        }
        let text = String::from_utf8_lossy(text);
        if is_policy(&text) {
            return Self::Refused(POLICY);
        }
        if text.is_empty() || begins_json(text.as_bytes()) {
            return Self::Json;
        }
        if is_json_value(&text, head.len() < HEAD) {
            return Self::JsonValue;
        }
        if let Some(what) = encoded(&text, head.len() < HEAD) {
            return Self::Refused(what);
        }
        if let Some(kind) = access_log(&text) {
            return Self::Text(kind);
        }
        match delimiter(&text) {
            Some(delimiter) => Self::Csv { delimiter },
            None => Self::Text(Kind::OtherText),
        }
    }
}

/// True for what can be given to the reader of records as it is.
pub(super) fn begins_json(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii_start();
    match text {
        // Other lists are read in another way, and a table of TOML and a line of a log begin with a bracket, too.
        [b'[', rest @ ..] => matches!(rest.trim_ascii_start().first(), None | Some(b'{' | b']')),
        // UTF-16 without a byte-order mark has a zero there.
        [b'{', rest @ ..] => rest.first() != Some(&0),
        [..] => false,
    }
}

/// True for a JSON value that is neither an object nor a list of them, and for the beginning of one that may have JSON in its
/// texts, as `aws cloudtrail lookup-events --query 'Events[].CloudTrailEvent'` prints it.
fn is_json_value(text: &str, is_whole: bool) -> bool {
    let behind = text.trim_start_matches(|c: char| c == '[' || c.is_ascii_whitespace());
    let first = behind.split([',', ']']).next().unwrap_or_default();
    let is_list = text.starts_with('[')
        && (behind.starts_with(['"', '{']) || serde_json::from_str::<IgnoredAny>(first).is_ok());
    let is_text = ["\"{\\", "\"H4sI", "\"eyJ"].iter().any(|begin| text.starts_with(begin));
    is_list || is_text || (is_whole && serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Whether a text is in UTF-16, and its lower bytes come first, for one without a byte-order mark: two letters of ASCII in a row
/// have zeros between them.
fn utf16(head: &[u8]) -> Option<bool> {
    let is_letter = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match head {
        [first, 0, second, 0, ..] if is_letter(first) && is_letter(second) => Some(true),
        [0, first, 0, second, ..] if is_letter(first) && is_letter(second) => Some(false),
        _ => None,
    }
}

/// Every header of a tar archive has the sum of its bytes in it, its own eight counted as blanks (POSIX, *pax*, *ustar
/// Interchange Format*).
fn is_tar(head: &[u8]) -> bool {
    let Some((before, rest)) = head.get(..512).and_then(|header| header.split_at_checked(148)) else {
        return false;
    };
    let Some((sum, behind)) = rest.split_at_checked(8) else { return false };
    let digits: Vec<u8> = sum.iter().copied().filter(u8::is_ascii_digit).collect();
    let sum = std::str::from_utf8(&digits).ok().and_then(|digits| u64::from_str_radix(digits, 8).ok());
    let bytes: u64 = before.iter().chain(behind).map(|byte| u64::from(*byte)).sum();
    sum == Some(bytes + 8 * u64::from(b' '))
}

/// True for bytes that no text has.
fn is_binary(text: &[u8]) -> bool {
    text.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
}

/// Hexadecimal digits or Base64 and nothing else: anything may be in it.
fn encoded(text: &str, is_whole: bool) -> Option<&'static str> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+/=-_".contains(c);
    let is_encoded = text.len() > 64 && text.lines().all(|line| line.trim().chars().all(is_letter));
    if !is_encoded {
        None
    } else if text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace()) {
        Some(HEX)
    } else if !may_be_base64(text.as_bytes()) {
        None
    } else if is_whole {
        Some(BASE64)
    } else {
        Some(BEGINS_BASE64)
    }
}

fn is_policy(text: &str) -> bool {
    let has_line =
        |line: &str| text.lines().any(|other| other.split('#').next().unwrap_or_default().trim() == line);
    (has_line("[default]") && text.contains("max_lifetime_days"))
        || has_line("[[override]]")
        || has_line("[[exemption]]")
}

/// Logs that lie in buckets of CloudTrail's (VPC user guide, *Flow log records*; S3 user guide, *Amazon S3 server access log
/// format*; Elastic Load Balancing user guides, *Access log entries*; `CloudFront` developer guide, *Standard log file format*).
pub(super) fn access_log(text: &str) -> Option<Kind> {
    let line = text.lines().next().unwrap_or_default();
    if line.starts_with("#Version:") && text.lines().nth(1).is_some_and(|line| line.starts_with("#Fields:")) {
        return Some(Kind::CloudFrontLog);
    }
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = |text: &str| {
        text.get(4..5) == Some("-") && text.contains('T') && text.get(..4).is_some_and(is_digits)
    };
    let names = ["version", "account-id", "interface-id", "srcaddr", "dstaddr", "log-status"];
    if names.iter().filter(|name| fields.contains(name)).count() > 2 {
        return Some(Kind::FlowLog);
    }
    match fields.as_slice() {
        [version, account, interface, ..]
            if is_digits(version) && is_digits(account) && interface.starts_with("eni-") =>
        {
            Some(Kind::FlowLog)
        }
        [owner, _, time, ..]
            if owner.len() == 64
                && owner.bytes().all(|byte| byte.is_ascii_hexdigit())
                && time.starts_with('[') =>
        {
            Some(Kind::S3AccessLog)
        }
        ["http" | "https" | "h2" | "grpcs" | "ws" | "wss", time, ..] if is_time(time) => {
            Some(Kind::LoadBalancerLog)
        }
        ["tls", _, time, ..] if is_time(time) => Some(Kind::LoadBalancerLog),
        [time, _, client, ..] if fields.len() > 11 && is_time(time) && client.contains(':') => {
            Some(Kind::LoadBalancerLog)
        }
        _ => None,
    }
}

/// What begins a first line that says what is between the cells. Excel writes it.
pub(super) const DELIMITER_IS: &str = "sep=";

/// What is between the cells, if this is a table. A table of one column has JSON in quotes.
fn delimiter(text: &str) -> Option<u8> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    if let Some([delimiter @ (b',' | b';' | b'\t' | b'|')]) =
        header.strip_prefix(DELIMITER_IS).map(|rest| rest.trim_end_matches('\r').as_bytes())
    {
        return Some(*delimiter);
    }
    let row = lines.next();
    if row.is_some_and(|line| line.trim_start().starts_with(['{', '['])) {
        return None;
    }
    if text.lines().any(|line| record_in(line.as_bytes()).is_some()) {
        return None;
    }
    let (mut in_quotes, mut counts) = (false, [(b',', 0_usize), (b';', 0), (b'\t', 0)]);
    for byte in header.bytes() {
        in_quotes ^= byte == b'"';
        for (delimiter, count) in &mut counts {
            *count += usize::from(byte == *delimiter && !in_quotes);
        }
    }
    let (delimiter, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    // A text may have a comma in its first line.
    let is_row = |line: &str| line.contains([char::from(delimiter), '"']);
    if count > 0 && row.is_none_or(is_row) {
        return Some(delimiter);
    }
    // JSON has no bracket right behind a quote and then an end of the line.
    let is_open = |line: &str| line.trim_end() == "\"{";
    (text.contains("\"{\"\"") || row.is_some_and(is_open)).then_some(b',')
}
