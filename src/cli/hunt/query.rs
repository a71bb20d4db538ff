//! The queries. Whatever a user gives is either made of harmless characters only, or no value of these types.

use std::fmt::Write as _;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::cli::messages::counted;
use key_guard_core::cloudtrail::{BEARER_TOKEN_MARKER, CREDENTIAL_CALLS, IAM, USER_CALLS};
use key_guard_core::key::{AccountId, CONSOLE_USER_PREFIXES, UserName};

/// The most rows of Logs Insights, and of a search without paging in `OpenSearch` (Logs Insights query syntax, *limit*;
/// `OpenSearch`, `index.max_result_window`).
const MAX_ROWS: u32 = 10_000;

/// A query, and what to know about it, a line each.
#[derive(Debug)]
pub struct Query {
    pub text: String,
    pub notes: Vec<String>,
}

/// What is looked for.
#[derive(Debug)]
pub struct What {
    pub uses: bool,
    pub accounts: Vec<AccountId>,
    /// Users that a console created, whose names do not say so. `None`: no ledger was asked.
    pub users: Option<Vec<UserName>>,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

impl What {
    /// What to do with the results.
    fn notes(&self, assumption: &str, run: &str, file: &str) -> Vec<String> {
        let command = if self.uses { "usage" } else { "replay" };
        let mut notes = vec![
            format!("taken for granted: {assumption}"),
            format!("next: {run}, and then: bedrock-key-guard {command} {file}"),
            "the results are whole records: keep them as you keep your logs".to_owned(),
        ];
        if self.uses {
            notes.push(
                "not covered: uses that no trail records. Model invocations of Bedrock are management events; those of Bedrock \
                 Mantle and Claude Platform, of agents and flows are data events"
                    .to_owned(),
            );
        } else {
            notes.push("not covered: events of IAM that no trail records".to_owned());
            notes.push(self.about_users());
        }
        notes
    }

    /// Which calls about users that a console created are found.
    fn about_users(&self) -> String {
        let prefixes = CONSOLE_USER_PREFIXES.map(|prefix| format!("{prefix}…")).join(" and ");
        match self.users.as_ref().map(Vec::len) {
            None => format!(
                "calls about users that a console created are found by the names {prefixes}: users that only the ledger knows are \
                 not found (--ledger adds them)"
            ),
            Some(0) => format!(
                "calls about users that a console created are found by the names {prefixes}; the ledger knows no others"
            ),
            Some(count) => format!(
                "calls about users that a console created are found by the names {prefixes}, and for {} that the ledger knows",
                counted(count as u64, "user", "users")
            ),
        }
    }

    /// The same as a comment at the head of a query. Uses are of any user.
    fn comment(&self, begin: &str) -> String {
        if self.uses { String::new() } else { format!("{begin} {}\n", self.about_users()) }
    }

    fn users(&self) -> Vec<&str> {
        self.users.iter().flatten().map(UserName::as_str).collect()
    }

    fn accounts(&self) -> Vec<&str> {
        self.accounts.iter().map(AccountId::as_str).collect()
    }
}

/// Texts without quotes and backslashes, in quotes, with commas between.
fn quoted(texts: &[&str], quote: char) -> String {
    texts.iter().map(|text| format!("{quote}{text}{quote}")).collect::<Vec<_>>().join(", ")
}

fn to_second(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `CloudTrail`'s log files in Athena.
#[derive(Debug)]
pub struct Athena {
    pub table: Table,
    pub date_partition: Option<SqlName>,
}

/// A record as JSON, out of the columns of the Athena user guide's table (*Create a table for CloudTrail logs in Athena*),
/// whose names are in lowercase.
const RECORD: &str = "\
json_object(
    'eventVersion' VALUE eventversion,
    'userIdentity' VALUE json_object(
      'type' VALUE useridentity.type,
      'principalId' VALUE useridentity.principalid,
      'arn' VALUE useridentity.arn,
      'accountId' VALUE useridentity.accountid,
      'accessKeyId' VALUE useridentity.accesskeyid,
      'userName' VALUE useridentity.username,
      'invokedBy' VALUE useridentity.invokedby,
      'onBehalfOf' VALUE json_object(
        'userId' VALUE useridentity.onbehalfof.userid,
        'identityStoreArn' VALUE useridentity.onbehalfof.identitystorearn
      ) FORMAT JSON,
      'sessionContext' VALUE json_object(
        'attributes' VALUE json_object(
          'mfaAuthenticated' VALUE useridentity.sessioncontext.attributes.mfaauthenticated,
          'creationDate' VALUE useridentity.sessioncontext.attributes.creationdate
        ) FORMAT JSON,
        'sessionIssuer' VALUE json_object(
          'type' VALUE useridentity.sessioncontext.sessionissuer.type,
          'principalId' VALUE useridentity.sessioncontext.sessionissuer.principalid,
          'arn' VALUE useridentity.sessioncontext.sessionissuer.arn,
          'accountId' VALUE useridentity.sessioncontext.sessionissuer.accountid,
          'userName' VALUE useridentity.sessioncontext.sessionissuer.username
        ) FORMAT JSON
      ) FORMAT JSON
    ) FORMAT JSON,
    'eventTime' VALUE eventtime,
    'eventSource' VALUE eventsource,
    'eventName' VALUE eventname,
    'awsRegion' VALUE awsregion,
    'sourceIPAddress' VALUE sourceipaddress,
    'userAgent' VALUE useragent,
    'errorCode' VALUE errorcode,
    'requestParameters' VALUE requestparameters FORMAT JSON,
    'responseElements' VALUE responseelements FORMAT JSON,
    'additionalEventData' VALUE additionaleventdata FORMAT JSON,
    'requestID' VALUE requestid,
    'eventID' VALUE eventid,
    'eventType' VALUE eventtype,
    'recipientAccountId' VALUE recipientaccountid,
    'eventCategory' VALUE eventcategory,
    'addendum' VALUE CASE WHEN addendum IS NOT NULL THEN json_object(
      'reason' VALUE addendum.reason,
      'updatedFields' VALUE addendum.updatedfields,
      'originalRequestID' VALUE addendum.originalrequestid,
      'originalEventID' VALUE addendum.originaleventid
    ) END FORMAT JSON,
    'sessionCredentialFromConsole' VALUE sessioncredentialfromconsole
  ) AS record";

impl Athena {
    pub fn query(&self, what: &What) -> Query {
        let Self { table: Table(table), date_partition } = self;
        let (since, until) = (to_second(what.since), to_second(what.until));
        let mut conditions = vec![format!("eventtime >= '{since}' AND eventtime < '{until}'")];
        if let Some(SqlName(column)) = date_partition {
            // A log file lies under the day of its delivery, which may be the next one.
            let (first, last) =
                [what.since, what.until + TimeDelta::days(1)].map(|day| day.format("%Y/%m/%d")).into();
            conditions.push(format!("\"{column}\" BETWEEN '{first}' AND '{last}'"));
        }
        let text = |column: &str| format!("coalesce({column}, '')");
        conditions.extend(sql_conditions(
            what,
            &format!("concat({}, {})", text("requestparameters"), text("additionaleventdata")),
            &format!("concat({}, {})", text("requestparameters"), text("responseelements")),
        ));
        let assumption = format!(
            "{table} is the table of the Athena user guide (\"Create a table for CloudTrail logs in Athena\"). One of an older \
             form may lack useridentity.onbehalfof, addendum, eventcategory or sessioncredentialfromconsole: remove their lines. \
             The table has no column for inScopeOf and invokedByDelegate of userIdentity, so the results lack them"
        );
        let run = "run it in Athena (engine version 3), and download the results as CSV";
        Query {
            text: format!(
                "{}SELECT {RECORD}\nFROM {table}\nWHERE {}",
                what.comment("--"),
                conditions.join("\n  AND ")
            ),
            notes: what.notes(&assumption, run, "results.csv"),
        }
    }
}

/// Which rows, beside their time. `marked_text` and `user_text` are expressions of texts in which a use, and the name of a user, stand.
fn sql_conditions(what: &What, marked_text: &str, user_text: &str) -> Vec<String> {
    let mut conditions = Vec::new();
    if !what.accounts.is_empty() {
        conditions.push(format!("recipientaccountid IN ({})", quoted(&what.accounts(), '\'')));
    }
    if what.uses {
        conditions.push(format!("{marked_text} LIKE '%{BEARER_TOKEN_MARKER}%'"));
        return conditions;
    }
    // A request names the user in whatever case its caller has written.
    let begins = CONSOLE_USER_PREFIXES.iter().map(|prefix| format!("\"{prefix}"));
    let is_console_user: Vec<_> = begins
        .chain(what.users().into_iter().map(|user| format!("\"{user}\"")))
        .map(|text| format!("lower({user_text}) LIKE '%{}%'", text.to_lowercase()))
        .collect();
    let is_console_user = is_console_user.join("\n        OR ");
    conditions.push(format!("eventsource = '{IAM}'"));
    conditions.push(format!(
        "(\n    eventname IN ({})\n    OR (\n      eventname IN ({})\n      AND (\n        {is_console_user}\n      )\n    )\n  )",
        quoted(&CREDENTIAL_CALLS, '\''),
        quoted(&USER_CALLS, '\''),
    ));
    conditions
}

/// CloudTrail Lake.
#[derive(Debug)]
pub struct Lake {
    pub event_data_store: DataStoreId,
}

impl Lake {
    /// The columns and their types: CloudTrail user guide, *Supported SQL schemas for event data stores*.
    pub fn query(&self, what: &What) -> Query {
        let DataStoreId(id) = &self.event_data_store;
        let [since, until] = [what.since, what.until].map(|time| time.format("%Y-%m-%d %H:%M:%S"));
        let mut conditions = vec![format!("eventtime >= '{since}' AND eventtime < '{until}'")];
        conditions.extend(sql_conditions(what, "eventjson", "eventjson"));
        let assumption =
            "the event data store has CloudTrail events, of the organization where all accounts are meant";
        let run = "run it (aws cloudtrail start-query --query-statement \"$(cat query.sql)\"), and save the result (aws cloudtrail \
                   get-query-results --query-id ID > results.json; each page by itself)";
        Query {
            text: format!("SELECT eventJson\nFROM {id}\nWHERE {}", conditions.join("\n  AND ")),
            notes: what.notes(assumption, run, "results.json"),
        }
    }
}

/// CloudWatch Logs Insights.
#[derive(Debug)]
pub struct Insights {
    pub log_group: LogGroup,
}

impl Insights {
    pub fn query(&self, what: &What) -> Query {
        let mut text = format!("{}fields @message\n", what.comment("#"));
        if !what.accounts.is_empty() {
            let _ = writeln!(text, "| filter recipientAccountId in [{}]", quoted(&what.accounts(), '"'));
        }
        if what.uses {
            let _ = writeln!(text, "| filter @message like /{BEARER_TOKEN_MARKER}/");
        } else {
            // Of the characters of names, these two mean something in a regular expression.
            let whole = |user: &str| format!("{}\"", user.replace('.', "\\.").replace('+', "\\+"));
            let begins = CONSOLE_USER_PREFIXES.into_iter().map(str::to_owned);
            let names: Vec<_> = begins.chain(what.users().into_iter().map(whole)).collect();
            let _ = writeln!(
                text,
                "| filter eventSource = \"{IAM}\"\n| filter eventName in [{}] or (eventName in [{}] and @message like \
                 /(?i)\"({})/)",
                quoted(&CREDENTIAL_CALLS, '"'),
                quoted(&USER_CALLS, '"'),
                names.join("|"),
            );
        }
        let _ = writeln!(text, "| sort @timestamp asc\n| limit {MAX_ROWS}");
        let LogGroup(group) = &self.log_group;
        let (start, end) = (what.since.timestamp(), what.until.timestamp());
        let run = format!(
            "run it (aws logs start-query --log-group-name {group} --start-time {start} --end-time {end} --query-string \"$(cat \
             query.txt)\"), and save the result (aws logs get-query-results --query-id ID > results.json)"
        );
        let assumption = "a trail writes its records to the log group, one to an event; the time range is a parameter beside \
                          the query";
        let mut notes = what.notes(assumption, &run, "results.json");
        notes.push(
            "10,000 rows at most are returned: where there are as many, ask for less time at once"
                .to_string(),
        );
        Query { text, notes }
    }
}

/// `OpenSearch` and Elasticsearch.
#[derive(Debug)]
pub struct OpenSearch {
    pub index: Index,
}

impl OpenSearch {
    pub fn query(&self, what: &What) -> Query {
        let mut filter = vec![json!({
            "range": { "eventTime": { "gte": to_second(what.since), "lt": to_second(what.until) } }
        })];
        if !what.accounts.is_empty() {
            filter.push(any_of(&phrases("recipientAccountId", &what.accounts())));
        }
        if what.uses {
            let fields = ["additionalEventData", "requestParameters"];
            let exists = fields
                .map(|parent| json!({ "exists": { "field": format!("{parent}.{BEARER_TOKEN_MARKER}") } }));
            filter.push(any_of(&exists));
        } else {
            filter.extend(phrases("eventSource", &[IAM]));
            let user_fields = ["requestParameters.userName", "responseElements.accessKey.userName"];
            let users = user_fields.iter().flat_map(|field| {
                let named = CONSOLE_USER_PREFIXES.into_iter().flat_map(|prefix| has_prefix(field, prefix));
                named.chain(phrases(field, &what.users()))
            });
            let on_console_users = json!({ "bool": { "filter": [
                any_of(&phrases("eventName", &USER_CALLS)),
                any_of(&users.collect::<Vec<_>>()),
            ] } });
            let mut calls = phrases("eventName", &CREDENTIAL_CALLS);
            calls.push(on_console_users);
            filter.push(any_of(&calls));
        }
        let body = json!({ "size": MAX_ROWS, "query": { "bool": { "filter": filter } } });
        let Index(index) = &self.index;
        let assumption =
            "each document is a record with CloudTrail's names of fields; eventTime is mapped as a date";
        let run = format!(
            "run it (GET /{index}/_search with this body), and save the response, with its hits.hits[]._source"
        );
        let mut notes = what.notes(assumption, &run, "response.json");
        notes.push(
            "10,000 documents at most are returned: where there are as many, ask for less time at once"
                .to_string(),
        );
        Query { text: format!("{body:#}"), notes }
    }
}

/// Each of these values, in a field that is mapped as keyword or as text: a phrase is found in both.
fn phrases(field: &str, values: &[&str]) -> Vec<Value> {
    values.iter().map(|value| json!({ "match_phrase": { field: value } })).collect()
}

/// A name with this prefix: as a keyword, as the keyword beside a text, or as a text, whose words end at hyphens.
fn has_prefix(field: &str, prefix: &str) -> [Value; 3] {
    let as_keyword =
        |field: &str| json!({ "prefix": { field: { "value": prefix, "case_insensitive": true } } });
    [
        as_keyword(field),
        as_keyword(&format!("{field}.keyword")),
        json!({ "match_phrase": { field: prefix.trim_end_matches('-') } }),
    ]
}

fn any_of(clauses: &[Value]) -> Value {
    json!({ "bool": { "should": clauses, "minimum_should_match": 1 } })
}

/// Splunk.
#[derive(Debug)]
pub struct Splunk {
    pub index: Index,
    pub source_type: Index,
}

impl Splunk {
    pub fn query(&self, what: &What) -> Query {
        let Self { index: Index(index), source_type: Index(source_type) } = self;
        let (earliest, latest) = (what.since.timestamp(), what.until.timestamp());
        let mut text = format!(
            "search index=\"{index}\" sourcetype=\"{source_type}\" earliest={earliest} latest={latest}\n"
        );
        if !what.accounts.is_empty() {
            let _ = writeln!(text, "  recipientAccountId IN ({})", quoted(&what.accounts(), '"'));
        }
        if what.uses {
            let _ = writeln!(text, "  \"{BEARER_TOKEN_MARKER}\"");
        } else {
            let begins = CONSOLE_USER_PREFIXES.iter().map(|prefix| format!("\"{prefix}*\""));
            let users: Vec<_> =
                begins.chain(what.users().into_iter().map(|user| format!("\"{user}\""))).collect();
            let users = users.join(", ");
            let _ = writeln!(
                text,
                "  eventSource=\"{IAM}\"\n  (eventName IN ({})\n    OR (eventName IN ({})\n      (requestParameters.userName IN \
                 ({users})\n        OR responseElements.accessKey.userName IN ({users}))))",
                quoted(&CREDENTIAL_CALLS, '"'),
                quoted(&USER_CALLS, '"'),
            );
        }
        text.push_str("| table _raw\n");
        let assumption =
            "the Splunk Add-on for AWS has indexed each record by itself, by the time of the event";
        let run = "run it, and export the results as JSON";
        Query { text, notes: what.notes(assumption, run, "results.json") }
    }
}

/// A name in SQL, which is put into quotes.
#[derive(Debug, Clone)]
pub struct SqlName(String);

/// A table in SQL, with its names in quotes.
#[derive(Debug, Clone)]
pub struct Table(String);

/// The id of an event data store: a UUID.
#[derive(Debug, Clone)]
pub struct DataStoreId(String);

/// The name of a log group.
#[derive(Debug, Clone)]
pub struct LogGroup(String);

/// The name of an index, or a pattern; of a source type.
#[derive(Debug, Clone)]
pub struct Index(String);

/// Whether a text is made of letters, digits and these.
fn consists_of(text: &str, others: &[u8], longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

impl FromStr for SqlName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        if consists_of(text, b"_", 128) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected letters, digits and _")
        }
    }
}

impl FromStr for Table {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "expected TABLE, DATABASE.TABLE or CATALOG.DATABASE.TABLE, each of letters, digits and _";
        let names: Vec<_> = text.split('.').collect();
        if names.len() <= 3 && names.iter().all(|name| consists_of(name, b"_", 128)) {
            Ok(Self(names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(".")))
        } else {
            Err(EXPECTED)
        }
    }
}

impl FromStr for DataStoreId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected the id of an event data store, such as 5d1c003f-7b1e-4c3a-9f00-abc00000003f, or its ARN";
        let id = match text.split_once(":eventdatastore/") {
            Some((arn, id)) if arn.starts_with("arn:") => id,
            Some(_) => return Err(EXPECTED),
            None => text,
        };
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        let is_uuid =
            lengths == [8, 4, 4, 4, 12] && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if is_uuid { Ok(Self(id.to_lowercase())) } else { Err(EXPECTED) }
    }
}

impl FromStr for LogGroup {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        // CloudWatch Logs API reference, `logGroupName`. With `#`, a shell would see a comment after a space only.
        if consists_of(text, b"_-/.#", 512) && !text.starts_with(['-', '#']) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected the name of a log group: letters, digits, _ - / . #")
        }
    }
}

impl FromStr for Index {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        if consists_of(text, b"_-.:*,", 256) && !text.starts_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a name or a pattern: letters, digits, _ - . : , and *")
        }
    }
}
