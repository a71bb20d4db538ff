//! Finds events in what services and tools put around them.
//!
//! An event may lie in objects and lists, as JSON in a text, in Base64 and in gzip, in any order: in messages of SQS, SNS,
//! Kinesis and CloudWatch Logs, in answers of `aws cloudtrail lookup-events` and `aws logs filter-log-events`, in results of
//! CloudTrail Lake, in hits of `OpenSearch`, in exports of Splunk. These are followed by rule, so that a wrapping that nobody
//! has thought of is followed, too.
//!
//! An event is what it says it is, and so is what says that no event is in it. Inside of these, a record of a call that is
//! looked for is not taken for an event: nobody knows who has put it there. It is reported as unreadable, so that it is not
//! passed over. A mere name of a call, as Insights, policies and queries have it, is nothing.

use std::io::Read as _;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use flate2::read::MultiGzDecoder;
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Map, Value};

use super::bearer::{BEARER_TOKEN_MARKER, may_be_bearer_call};
use super::encoded::{SHORTEST_ENCODED, may_be_base64};
use super::json::{AllFields, from_json, texts};
use super::log_line::{begins_with_bracketed_text, record_in};
use super::{CALL_MARKERS, CREDENTIAL_CALLS, Call, IAM, Irrelevant, Unreadable, user_change};

/// How many texts may lie in each other. SNS in SQS in an archive is three.
const MAX_LAYERS: usize = 8;

/// How much may be unpacked of one text, in bytes, and of one value in all. A batch of log events has 1 MB at most (CloudWatch
/// Logs API reference, `PutLogEvents`), and a payload of Lambda 6 MB (AWS Lambda developer guide, *Lambda quotas*).
const MAX_UNPACKED: usize = 8 << 20;
const MAX_UNPACKED_IN_ALL: usize = 64 << 20;

/// How the Base64 of a gzipped text begins: with the three bytes that each gzip member begins with (RFC 1952).
const PACKED: &str = "H4sI";

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Which calls are looked for. What may hide one is no reason to report anything where another one is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The guard's: those that create or change a key, or change a user.
    GuardedCalls,
    /// Those that a key was used for.
    BearerCalls,
}

impl Target {
    /// A text without any of these is no record of such a call.
    const fn markers(self) -> &'static [&'static str] {
        match self {
            Self::GuardedCalls => &CALL_MARKERS,
            Self::BearerCalls => &[BEARER_TOKEN_MARKER],
        }
    }
}

/// What was found in a wrapping.
#[derive(Debug, PartialEq)]
pub enum Unwrapped {
    /// An EventBridge event, or a CloudTrail record.
    Event(Value),
    /// Something in which an event may be, and that cannot be read.
    Unreadable(Unreadable),
    /// What says itself that no event is in it.
    Irrelevant(Irrelevant),
}

/// All that is in a value, in its order. A value that is an event itself is the only one.
#[must_use]
pub fn unwrap(value: &Value, target: Target) -> Vec<Unwrapped> {
    let mut search = Search::new(target);
    search.value(value, &Place::Root, 0);
    search.found
}

/// What hides in something that is no event of a call that is looked for: the whole record of such a call, or too much to be
/// looked into. The record that an event itself is, alone or in its envelope, does not count.
#[must_use]
pub fn hidden_call(outer: &Value, target: Target) -> Option<Unreadable> {
    let mut search = Search::new(target);
    search.hidden(outer, &Place::Root, 0);
    search.found.into_iter().find_map(|found| match found {
        Unwrapped::Unreadable(why) => Some(why),
        Unwrapped::Event(_) | Unwrapped::Irrelevant(_) => None,
    })
}

/// The call that is looked for and that this is the whole record of. Insights name calls without saying who called, and when.
fn whole_record(value: &Value, target: Target) -> Option<&'static str> {
    let is_whole = ["userIdentity", "eventTime", "eventID"].iter().any(|field| value.get(field).is_some());
    let call = match target {
        Target::GuardedCalls => texts(value, "eventName").find_map(Call::from_similar_name)?,
        Target::BearerCalls => {
            // A pattern of EventBridge has lists in the place of texts.
            let names_call = texts(value, "eventName").next().is_some();
            let is_call = is_whole && names_call && may_be_bearer_call(value);
            return is_call.then_some("a call with a bearer token");
        }
    };
    let is_ours = match call {
        Call::Credential(_) => true,
        Call::User(call) => {
            texts(value, "eventSource").any(|source| source == IAM)
                || user_change::names_console_user(call, value)
        }
    };
    (is_whole && is_ours).then_some(call.as_str())
}

/// True for an EventBridge event, for a CloudTrail record, and for what names a call that is looked for like a record. The records of
/// S3's and `DynamoDB`'s streams have the same fields, and a source like `aws:s3` (Lambda developer guide, *Process Amazon
/// S3 event notifications with Lambda*).
fn is_event(value: &Value, target: Target) -> bool {
    let has = |field: &str| texts(value, field).next().is_some();
    let is_envelope = has("detail-type") && value.get("detail").is_some();
    let is_record = if has_record_in_text(value) {
        false
    } else if has("eventSource") {
        has("eventName") && texts(value, "eventSource").any(|source| !source.starts_with("aws:"))
    } else {
        match target {
            Target::GuardedCalls => {
                texts(value, "eventName").any(|name| Call::from_similar_name(name).is_some())
            }
            Target::BearerCalls => has("eventName") && may_be_bearer_call(value),
        }
    };
    is_envelope || is_record
}

/// True for an object that names a call beside the record of the same call in a text, as the answers of CloudTrail and rows of
/// tables do. A record has an account and an id itself.
#[must_use]
pub fn has_record_in_text(value: &Value) -> bool {
    const CALL: [&str; 2] = ["eventName", "eventSource"];
    let has = |name: &str| value.get(name).is_some();
    let names_call = CALL.into_iter().all(has) && !(has("eventID") && has("recipientAccountId"));
    let is_same = |record: &Value| {
        record.get("eventID").is_some() && CALL.iter().all(|name| record.get(name) == value.get(name))
    };
    let texts = || value.as_object().into_iter().flat_map(Map::values).filter_map(Value::as_str);
    names_call
        && texts()
            .filter(|text| text.starts_with('{'))
            .any(|text| from_json(text.as_bytes()).is_ok_and(|record| is_same(&record)))
}

/// What says itself that no event is in it. An Insights event names the call that it found to be frequent.
fn irrelevant(fields: &Map<String, Value>) -> Option<Irrelevant> {
    let is = |field: &str, text: &str| fields.get(field).is_some_and(|value| value == text);
    if is("messageType", "CONTROL_MESSAGE") {
        Some(Irrelevant::ControlMessage)
    } else if is("eventType", "AwsCloudTrailInsight") {
        Some(Irrelevant::InsightsEvent)
    } else if is("eventType", "AwsAggregatedEvent") {
        Some(Irrelevant::AggregatedEvent)
    } else {
        None
    }
}

/// A log of another service. Anybody on the Internet can write a text into one, so a record in it is not taken for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignLog {
    /// AWS WAF developer guide, *Log fields for web ACL traffic*.
    Waf,
    /// `GuardDuty` user guide, *Exporting findings*.
    GuardDuty,
    /// Route 53 developer guide, *Values that appear in Resolver query logs*.
    Resolver,
    /// `CloudFront` developer guide, *Standard log file format*.
    CloudFront,
    /// Amazon Bedrock user guide, *Monitor model invocation using CloudWatch Logs and Amazon S3*.
    ModelInvocation,
}

impl ForeignLog {
    /// The log that has this record.
    #[must_use]
    pub fn of(record: &Value) -> Option<Self> {
        let has = |fields: &[&str]| fields.iter().all(|field| record.get(field).is_some());
        if has(&["webaclId", "httpRequest"]) {
            Some(Self::Waf)
        } else if has(&["schemaVersion"])
            && record.pointer("/service/serviceName").is_some_and(|name| name == "guardduty")
        {
            Some(Self::GuardDuty)
        } else if has(&["query_name", "query_timestamp", "srcaddr"]) {
            Some(Self::Resolver)
        } else if has(&["x-edge-location", "cs-method"]) {
            Some(Self::CloudFront)
        } else if record.get("schemaType").is_some_and(|kind| kind == "ModelInvocationLog") {
            Some(Self::ModelInvocation)
        } else {
            None
        }
    }
}

/// Where something is, from the inside out. It is written down for errors only.
enum Place<'a> {
    Root,
    Field(&'a Self, &'a str),
    Element(&'a Self, usize),
}

impl Place<'_> {
    fn path(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(Self::Root, name) => (*name).to_owned(),
            Self::Field(outer, name) => format!("{}.{name}", outer.path()),
            Self::Element(outer, index) => format!("{}[{index}]", outer.path()),
        }
    }

    fn is_payload(&self) -> bool {
        matches!(self, Self::Field(_, name) if PAYLOADS.contains(name))
    }
}

/// The fields in which queues, topics and streams hand on what somebody sent (Lambda developer guide, *Using Lambda with Amazon
/// SQS* and its likes; API references of SQS, Kinesis and SNS).
const PAYLOADS: [&str; 6] = ["body", "Body", "data", "Data", "message", "Message"];

/// What the Amazon SQS Extended Client Library sends in the place of a large message, in its versions 2 and 1.
const POINTERS: [&str; 2] = ["payloadoffloading.PayloadS3Pointer", "javamessaging.MessageS3Pointer"];

struct Search {
    target: Target,
    found: Vec<Unwrapped>,
    /// How many bytes may still be unpacked.
    left: usize,
    /// Inside of an event, or of what says that no event is in it.
    is_inside: bool,
}

impl Search {
    const fn new(target: Target) -> Self {
        Self { target, found: Vec::new(), left: MAX_UNPACKED_IN_ALL, is_inside: false }
    }

    fn value(&mut self, value: &Value, place: &Place<'_>, layers: usize) {
        if self.is_inside {
            match whole_record(value, self.target) {
                Some(call) => {
                    let found = format!("a record of {call} inside something else");
                    self.unreadable(place, "an event that stands alone", &found);
                }
                None => self.parts(value, place, layers),
            }
        } else if is_event(value, self.target) {
            self.found.push(Unwrapped::Event(value.clone()));
        } else if let Some(why) = value.as_object().and_then(irrelevant) {
            let before = self.found.len();
            self.hidden(value, place, layers);
            if self.found.len() == before {
                self.found.push(Unwrapped::Irrelevant(why));
            }
        } else if ForeignLog::of(value).is_some() {
            self.hidden(value, place, layers);
        } else {
            self.parts(value, place, layers);
        }
    }

    /// Looks for records of ours in this value. What an envelope is about is no hidden one.
    fn hidden(&mut self, outer: &Value, place: &Place<'_>, layers: usize) {
        let was_inside = std::mem::replace(&mut self.is_inside, true);
        match outer.as_object() {
            Some(fields) if fields.contains_key("detail-type") => {
                for (name, value) in fields {
                    let place = Place::Field(place, name);
                    if name == "detail" {
                        self.parts(value, &place, layers);
                    } else {
                        self.value(value, &place, layers);
                    }
                }
            }
            Some(_) | None => self.parts(outer, place, layers),
        }
        self.is_inside = was_inside;
    }

    fn parts(&mut self, value: &Value, place: &Place<'_>, layers: usize) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.value(value, &Place::Field(place, name), layers);
                }
            }
            Value::Array(elements) => {
                if let Some(bytes) = bytes_of(elements) {
                    self.bytes(&bytes, place, layers);
                    return;
                }
                for (index, value) in elements.iter().enumerate() {
                    self.value(value, &Place::Element(place, index), layers);
                }
            }
            Value::String(text) => {
                let before = self.found.len();
                self.text(text.trim_start_matches('\u{feff}').trim(), place, layers);
                if self.found.len() == before && !self.is_inside && place.is_payload() {
                    self.payload(text, place);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, text: &str, place: &Place<'_>, layers: usize) {
        let has_record = || text.lines().any(|line| record_in(line.as_bytes()).is_some());
        let is_log_line = begins_with_bracketed_text(text.as_bytes()) && has_record() && !is_list(text);
        if text.starts_with(['{', '[', '"']) && !is_log_line {
            self.json(text.as_bytes(), place, layers);
        } else if text.starts_with(PACKED) {
            match decoded(text) {
                Ok(packed) => self.gzip(&packed, place, layers),
                Err(_) if self.is_inside => {}
                Err(_) => self.unreadable(place, "Base64", "something else"),
            }
        } else if may_be_encoded(text)
            && let Ok(json) = decoded(text)
        {
            self.json(&json, place, layers);
        } else if is_log_line || self.may_name_a_record(text.as_bytes()) {
            self.log_lines(text, place, layers);
        }
    }

    /// Reads the records that loggers have put behind something else. A record behind quotes is not read: anybody who makes a
    /// request writes into access logs.
    fn log_lines(&mut self, text: &str, place: &Place<'_>, layers: usize) {
        let is_named = |part: &str| self.target.markers().iter().any(|marker| part.contains(marker));
        let record = |line: &str| {
            let at = record_in(line.as_bytes()).filter(|_| !self.is_inside)?;
            let (before, record) = line.split_at_checked(at)?;
            let is_of_logger =
                !before.contains('"') && !is_named(before) && !may_be_base64(before.as_bytes());
            is_of_logger.then(|| record.to_owned())
        };
        let lines: Vec<_> = text.lines().map(|line| (line, record(line))).collect();
        let mut others = String::new();
        for (line, record) in lines {
            let before = self.found.len();
            if let Some(record) = record {
                self.json(record.as_bytes(), place, layers);
            }
            if self.found.len() == before {
                others += line;
                others.push('\n');
            }
        }
        let may_hide = !self.is_inside && may_be_base64(others.as_bytes());
        if may_hide || self.may_name_a_record(others.as_bytes()) {
            self.unreadable(place, "a CloudTrail record", "a text that names one and is no JSON");
        }
    }

    fn bytes(&mut self, bytes: &[u8], place: &Place<'_>, layers: usize) {
        if bytes.starts_with(&GZIP) {
            self.gzip(bytes, place, layers);
        } else {
            self.json(bytes, place, layers);
        }
    }

    /// What somebody sent, and in which nothing was found.
    fn payload(&mut self, text: &str, place: &Place<'_>) {
        let is_pointer = |name: &&str| text.contains(*name);
        if POINTERS.iter().any(is_pointer) {
            self.unreadable(place, "the message itself", "a pointer to it in S3");
        } else if names_call_in_other_words(text, self.target) {
            self.unreadable(place, "a CloudTrail record", "a text that names a call and has none");
        } else if is_opaque(text) {
            self.unreadable(place, "JSON, or JSON in Base64 or gzip", "Base64 of something else, or cut off");
        }
    }

    /// JSON values, one behind the other.
    fn json(&mut self, json: &[u8], place: &Place<'_>, layers: usize) {
        if layers == MAX_LAYERS {
            self.unreadable(place, "at most 8 texts in each other", "more");
            return;
        }
        if json.len() > MAX_UNPACKED {
            self.unreadable(place, "at most 8 MiB in a text", "more");
            return;
        }
        let mut values = Deserializer::from_slice(json).into_iter();
        loop {
            let rest = json.get(values.byte_offset()..).unwrap_or_default();
            let Some(value) = values.next() else { return };
            match value {
                Ok(AllFields(value)) => self.value(&value, place, layers + 1),
                Err(_) if self.may_name_a_record(json) || (!self.is_inside && may_be_base64(rest)) => {
                    self.unreadable(
                        place,
                        "JSON",
                        "a text that names or hides a call and is no JSON, or is cut off",
                    );
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn gzip(&mut self, packed: &[u8], place: &Place<'_>, layers: usize) {
        if layers == MAX_LAYERS {
            self.unreadable(place, "at most 8 texts in each other", "more");
            return;
        }
        let mut unpacked = Vec::new();
        let most = MAX_UNPACKED.min(self.left);
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        let result = MultiGzDecoder::new(packed).take(limit).read_to_end(&mut unpacked);
        // What was unpacked in vain has cost as much.
        self.left = self.left.saturating_sub(unpacked.len());
        match result {
            // What came before the damage may tell.
            Err(_) if self.is_inside && !self.may_name_a_record(&unpacked) => {}
            Err(_) => self.unreadable(place, "gzip", "damaged gzip"),
            Ok(length) if length > most => {
                self.unreadable(place, "at most 8 MiB in a text and 64 MiB in all, unpacked", "more");
            }
            Ok(_) if unpacked.starts_with(&GZIP) => self.gzip(&unpacked, place, layers + 1),
            Ok(_) => self.json(&unpacked, place, layers),
        }
    }

    /// Whether a text that is no JSON would be a record that is looked for, were it sound. Inside of events are queries, patterns and
    /// programs that name calls: there it has to be written as a record writes it.
    fn may_name_a_record(&self, text: &[u8]) -> bool {
        let text = without_escapes(text);
        if self.is_inside { has_call(&text, self.target) } else { names_a_record(&text, self.target) }
    }

    fn unreadable(&mut self, place: &Place<'_>, expected: &'static str, found: &str) {
        let place = match place.path() {
            path if path.is_empty() => "(whole event)".to_owned(),
            path => crate::text::sanitize_field(&path),
        };
        self.found.push(Unwrapped::Unreadable(Unreadable::new(place, expected, found)));
    }
}

const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];

/// True for a list in JSON. One of numbers begins as a line of a log may.
fn is_list(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The bytes that a list of numbers is, as Node.js and journald print them. A list of fewer has no event in it.
fn bytes_of(elements: &[Value]) -> Option<Vec<u8>> {
    const FEWEST: usize = 200;
    let byte = |element: &Value| element.as_u64().and_then(|number| u8::try_from(number).ok());
    if elements.len() < FEWEST { None } else { elements.iter().map(byte).collect() }
}

/// Decodes Base64, also with the letters for URLs and with line breaks.
fn decoded(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let letter = |c: char| match c {
        '-' => '+',
        '_' => '/',
        c => c,
    };
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).map(letter).collect();
    BASE64.decode(text)
}

/// True if the first byte of decoded Base64 begins an object, a list or a text in JSON. Six of its bits are the first
/// character, two begin the second.
fn may_be_encoded(text: &str) -> bool {
    matches!(text.as_bytes(), [b'e' | b'W', b'w'..=b'z' | b'0'..=b'9' | b'+' | b'/', ..] | [b'I', b'g'..=b'v', ..])
}

/// How Base64 of gzip begins, and of an object, a list or a text in JSON, with the quote before it. The second Base64 character
/// also encodes half of the next JSON byte, so several are possible: a quote, a bracket, white space, a backslash, a digit, the
/// letter of a literal.
pub const ENCODED_STARTS: [&str; 15] = [
    "\"H4s", "\"ew", "\"ey", "\"e3", "\"Ww", "\"Wy", "\"Wz", "\"W1", "\"W2", "\"W3", "\"Ii", "\"Ik", "\"Il",
    "\"Im", "\"In",
];

/// True for an object that says which call of ours it is in a field of another name than `eventName`, or that a key was used:
/// somebody has rewritten an event.
fn names_call_in_other_words(text: &str, target: Target) -> bool {
    let is_call = |text: &str| CREDENTIAL_CALLS.contains(&text);
    from_json(text.as_bytes()).is_ok_and(|value| {
        let mut names = value.as_object().into_iter().flat_map(Map::keys);
        ForeignLog::of(&value).is_none()
            && match target {
                Target::GuardedCalls => names.any(|name| texts(&value, name).any(is_call)),
                Target::BearerCalls => has_call(text.as_bytes(), target),
            }
    })
}

/// True for Base64 and nothing else, as long as an event has it, that cannot be decoded or is not that of JSON.
fn is_opaque(text: &str) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    let letters: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    letters.len() >= SHORTEST_ENCODED
        && letters.iter().all(is_letter)
        && !decoded(text).is_ok_and(|bytes| {
            let json = bytes.trim_ascii_start();
            !json.is_empty()
                && Deserializer::from_slice(json).into_iter::<IgnoredAny>().all(|value| value.is_ok())
        })
}

/// Whether a text in this value is Base64 that cannot be read.
pub(super) fn hides_text(value: &Value) -> bool {
    match value {
        Value::String(text) => is_opaque(text),
        Value::Array(values) => values.iter().any(hides_text),
        Value::Object(fields) => fields.values().any(hides_text),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// True for a text with the field `eventName` and a marker of the calls that are looked for: it would be a record, were it sound.
fn names_a_record(text: &[u8], target: Target) -> bool {
    let has = |word: &str| text.windows(word.len()).any(|part| part == word.as_bytes());
    has("eventName") && target.markers().iter().any(|marker| has(marker))
}

/// True where a text has what makes a record one of a call that is looked for: one of the guard's as the value of the field
/// `eventName`, or that there was a bearer token. Tables write each quote twice.
#[must_use]
pub fn has_call(text: &[u8], target: Target) -> bool {
    let field: &[u8] = match target {
        Target::GuardedCalls => b"eventName\"",
        Target::BearerCalls => b"callWithBearerToken\"",
    };
    let is_between = |byte: &u8| *byte == b'"' || byte.is_ascii_whitespace();
    let ends = text.windows(field.len()).enumerate().filter(|(_, part)| *part == field);
    ends.into_iter().any(|(at, _)| {
        let mut behind = text.iter().skip(at + field.len()).skip_while(|byte| is_between(byte));
        let is_field = behind.next() == Some(&b':');
        let value: Vec<u8> = behind.copied().take(64).collect();
        let start = value.iter().position(|byte| !is_between(byte)).unwrap_or_default();
        let word = value.get(start..).unwrap_or_default();
        let word = word.split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
        let word = std::str::from_utf8(word).unwrap_or_default();
        is_field
            && match target {
                Target::GuardedCalls => start > 0 && Call::from_similar_name(word).is_some(),
                Target::BearerCalls => word == "1" || word.eq_ignore_ascii_case("true"),
            }
    })
}

/// Text as it would be if JSON had no escapes: without backslashes, however many there are, and with the letters themselves.
fn without_escapes(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        let code = behind.strip_prefix(b"u00").and_then(<[u8]>::first_chunk::<2>);
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(letter) if *byte == b'\\' => {
                plain.push(letter);
                rest = behind.get(5..).unwrap_or_default();
            }
            _ if *byte == b'\\' => {}
            _ => plain.push(*byte),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
