//! Results of queries as CSV: of Athena, CloudTrail Lake, Logs Insights, Splunk, `OpenSearch`.
//!
//! A cell with a whole record as JSON is unwrapped, whatever its column is called. Athena also prints a column for each field
//! of a record.

use std::cell::Cell;
use std::io::{self, Read};

use ::csv::{ByteRecord, ReaderBuilder};
use key_guard_core::cloudtrail::{Unwrapped, from_json, is_null, may_be_base64, unwrap};
use serde_json::{Map, Value};

use super::Gone;
use super::file::Worker;
use super::format::DELIMITER_IS;
use super::passed_over::Kind;
use super::sink::{Sink, Source};
use super::unpack::{Why, cannot_go_on};
use super::value::{one, parsed};
use crate::cli::records::has_escaped_gzip;

/// The largest row, in bytes.
const MAX_ROW: usize = 16 << 20;

const EVENT_HISTORY: &str = "it is the console's event history as CSV, which lacks the request and the response of each call: give the output \
     of `aws cloudtrail lookup-events --region us-east-1 --lookup-attributes \
     AttributeKey=EventName,AttributeValue=CreateServiceSpecificCredential`, or run `bedrock-key-guard replay --cloudtrail`";
const CREDENTIAL_REPORT: &str = "it is IAM's credential report, which has no service-specific credentials: \
                                 `bedrock-key-guard sweep` lists them";
const NO_RECORD: &str = "it names a call that the guard watches, and no cell has the whole record as JSON: export that column (Logs \
                         Insights: @message; Splunk: _raw; OpenSearch: event.original; CloudTrail Lake: eventJson)";
const STRUCT: &str = "useridentity is printed as {type=…}, which cannot be read reliably: in Athena select \
                      json_format(CAST(useridentity AS JSON)) AS useridentity";
const NO_COLUMNS: &str = "it names a call that the guard watches, and columns are missing: select at least eventversion, useridentity (as \
                          JSON), eventtime, eventsource, eventname, awsregion, sourceipaddress, useragent, errorcode, \
                          requestparameters, responseelements, additionaleventdata, eventid, recipientaccountid, addendum (as JSON), \
                          sessioncredentialfromconsole";
const BASE64: &str = "it has Base64 in which there is no record that can be read: export the record as JSON";
const TWICE: &str =
    "two columns have the same name, and which of them is meant is not known: give each a name of its own";
const CUT: &str = "a cell begins like JSON, and is not JSON or is cut off: export the whole cell";

/// The fields of a record (CloudTrail user guide, *CloudTrail record contents*), and those of `userIdentity`. Athena writes
/// names in lowercase (Athena user guide, *Create a table for CloudTrail logs*).
const RECORD_FIELDS: [&str; 22] = [
    "eventVersion",
    "userIdentity",
    "eventTime",
    "eventSource",
    "eventName",
    "awsRegion",
    "sourceIPAddress",
    "userAgent",
    "errorCode",
    "errorMessage",
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "requestID",
    "eventID",
    "eventType",
    "eventCategory",
    "recipientAccountId",
    "sharedEventID",
    "addendum",
    "sessionCredentialFromConsole",
    "readOnly",
];
const IDENTITY_FIELDS: [&str; 16] = [
    "principalId",
    "accountId",
    "accessKeyId",
    "userName",
    "userId",
    "invokedBy",
    "invokedByDelegate",
    "sessionContext",
    "sessionIssuer",
    "creationDate",
    "mfaAuthenticated",
    "onBehalfOf",
    "identityStoreArn",
    "inScopeOf",
    "credentialId",
    "identityProvider",
];
/// Fields that are no texts.
const STRUCTURED: [&str; 5] =
    ["userIdentity", "requestParameters", "responseElements", "additionalEventData", "addendum"];
/// What a record cannot do without.
const NEEDED: [&str; 6] =
    ["userIdentity", "eventTime", "eventSource", "eventName", "requestParameters", "responseElements"];
/// Columns that hold a whole record.
const WHOLE: [&str; 5] = ["@message", "_raw", "eventjson", "event.original", "cloudtrailevent"];

/// What the first row says.
#[derive(Default)]
struct Columns {
    /// The field of a record that each column has.
    fields: Vec<Option<&'static str>>,
    /// A table that has events, even where it has no rows.
    is_of_events: bool,
}

impl Columns {
    fn new(header: &ByteRecord) -> Self {
        let names: Vec<_> = names(header);
        let field = |name: &String| RECORD_FIELDS.into_iter().find(|field| field.eq_ignore_ascii_case(name));
        let fields: Vec<_> = names.iter().map(field).collect();
        let has_name = fields.contains(&Some("eventName")) && fields.contains(&Some("eventSource"));
        let is_of_events = has_name || names.iter().any(|name| WHOLE.contains(&name.as_str()));
        Self { fields, is_of_events }
    }

    fn has(&self, field: &str) -> bool {
        self.fields.contains(&Some(field))
    }

    /// The record that a row is.
    fn record(&self, row: &ByteRecord) -> Result<Value, &'static str> {
        if !NEEDED.iter().all(|field| self.has(field)) {
            return Err(if self.has("eventName") { NO_COLUMNS } else { NO_RECORD });
        }
        let mut record = Map::new();
        for (field, cell) in self.fields.iter().zip(row) {
            let Some(field) = field else { continue };
            let cell = String::from_utf8_lossy(cell);
            let cell = cell.trim();
            if is_null(cell) {
                continue;
            }
            let value = if STRUCTURED.contains(field) {
                let value = from_json(cell.as_bytes());
                value.map_err(|_| if *field == "userIdentity" { STRUCT } else { CUT })?
            } else {
                Value::String(cell.to_owned())
            };
            if record.insert((*field).to_owned(), value).is_some() {
                return Err(TWICE);
            }
        }
        if let Some(identity) = record.get_mut("userIdentity") {
            restore_names(identity);
        }
        Ok(Value::Object(record))
    }
}

fn names(header: &ByteRecord) -> Vec<String> {
    let name = |cell: &[u8]| {
        let cell = cell.strip_prefix(b"\xef\xbb\xbf").unwrap_or(cell);
        String::from_utf8_lossy(cell).trim().to_ascii_lowercase()
    };
    header.iter().map(name).collect()
}

/// Gives the fields of an identity that were written in lowercase the names that they have.
fn restore_names(identity: &mut Value) {
    let Value::Object(fields) = identity else { return };
    for (name, mut value) in std::mem::take(fields) {
        restore_names(&mut value);
        let known = IDENTITY_FIELDS.into_iter().find(|field| field.eq_ignore_ascii_case(&name));
        fields.insert(known.map_or(name, str::to_owned), value);
    }
}

/// A row that Athena has unloaded as JSON, in lowercase: with the names that the fields of a record have. `None`: it is none, or
/// which of two fields is meant is not known.
pub(super) fn with_names(row: &Value) -> Option<Value> {
    let fields = row.as_object()?;
    ["eventname", "eventsource"].iter().all(|name| fields.contains_key(*name)).then_some(())?;
    let mut record = Map::new();
    for (name, value) in fields {
        let known = RECORD_FIELDS.into_iter().find(|field| field.eq_ignore_ascii_case(name));
        let is_new = record.insert(known.unwrap_or(name).to_owned(), value.clone()).is_none();
        is_new.then_some(())?;
    }
    record.get_mut("userIdentity").into_iter().for_each(restore_names);
    Some(Value::Object(record))
}

/// What a table with this header is, where it is none of events: what it is, and what to do.
fn refused(header: &ByteRecord) -> Option<&'static str> {
    let names = names(header);
    let has = |name: &str| names.iter().any(|other| other == name);
    if has("event id") && has("event time") && has("event name") {
        Some(EVENT_HISTORY)
    } else if has("user_creation_time") && has("access_key_1_active") {
        Some(CREDENTIAL_REPORT)
    } else {
        None
    }
}

impl Worker {
    /// Reads a table row by row. One in which there is nothing of events is a text like any other.
    pub(super) fn csv(
        &self,
        source: &Source,
        from: &mut dyn Read,
        delimiter: u8,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        let left = Cell::new(MAX_ROW);
        let mut builder = ReaderBuilder::new();
        builder.delimiter(delimiter).has_headers(false).flexible(true);
        let mut reader = builder.from_reader(RowLimit { inner: from, left: &left });
        let (mut row, mut columns, mut number) = (ByteRecord::new(), Columns::default(), 0_u64);
        let mut found = false;
        // The number of the row that has the names.
        let mut header = 1;
        loop {
            left.set(MAX_ROW);
            match reader.read_byte_record(&mut row) {
                Ok(false) => break,
                Ok(true) => number += 1,
                Err(error) => {
                    let why = if let ::csv::ErrorKind::Io(error) = error.into_kind() {
                        cannot_go_on(&error)
                    } else {
                        "it is not CSV".to_owned()
                    };
                    return sink.damage(format!("{}: after row {number}: {why}", source.name));
                }
            }
            let place = || format!("{}: row {number}", source.name);
            if number == 1 && names(&row).first().is_some_and(|name| name == DELIMITER_IS) {
                header = 2;
                continue;
            }
            if number == header {
                if let Some(what) = refused(&row) {
                    return sink.refuse(&place, what);
                }
                columns = Columns::new(&row);
                if columns.is_of_events {
                    found = true;
                    continue;
                }
            }
            found |= self.row(&row, &columns, &place, sink)?;
        }
        if found {
            return Ok(());
        }
        if number == header && columns.fields.iter().any(Option::is_some) {
            sink.pass_value(Kind::EmptyAnswer);
            return Ok(());
        }
        sink.text(Kind::OtherText, format!("{}: it is CSV without a CloudTrail record in it: export the whole record as JSON, in a column of its own", source.name))
    }

    /// Returns whether there is something of events in it.
    fn row(
        &self,
        row: &ByteRecord,
        columns: &Columns,
        place: &dyn Fn() -> String,
        sink: &mut Sink<'_>,
    ) -> Result<bool, Gone> {
        let cells = row.iter().map(|cell| Value::String(String::from_utf8_lossy(cell).into_owned()));
        let found = unwrap(&Value::Array(cells.collect()), sink.target());
        if !found.is_empty() {
            for found in found {
                if let Unwrapped::Event(event) = &found {
                    self.note_span(event);
                }
                one(found, place, sink)?;
            }
            return Ok(true);
        }
        let is_ours = self.marks.are_in(row.as_slice());
        if columns.has("eventName") || is_ours {
            match columns.record(row) {
                Ok(record) => {
                    self.note_span(&record);
                    parsed(&record, place, sink)?;
                }
                Err(why) if is_ours => sink.problem(format!("{}: {why}", place()))?,
                Err(_) => sink.events += 1,
            }
            return Ok(true);
        }
        let why = if row.iter().any(is_cut) {
            CUT
        } else if row.iter().any(may_be_base64) || has_escaped_gzip(row.as_slice()) {
            BASE64
        } else {
            return Ok(false);
        };
        sink.problem(format!("{}: {why}", place()))?;
        Ok(true)
    }

    fn note_span(&self, record: &Value) {
        if let Some(spans) = &self.spans {
            spans.borrow_mut().note(record.to_string().as_bytes());
        }
    }
}

/// True for a cell that begins as an object of JSON does and is none.
fn is_cut(cell: &[u8]) -> bool {
    let cell = cell.trim_ascii();
    cell.starts_with(b"{\"") && serde_json::from_slice::<serde::de::IgnoredAny>(cell).is_err()
}

/// Ends with an error where a row is too large: a quote that is never closed would keep the rest of the input in memory.
struct RowLimit<'a, R> {
    inner: R,
    left: &'a Cell<usize>,
}

impl<R: Read> Read for RowLimit<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.get().checked_sub(read) {
            Some(left) => {
                self.left.set(left);
                Ok(read)
            }
            None => Err(Why("a row is larger than 16 MiB, or a quote is not closed").into()),
        }
    }
}
