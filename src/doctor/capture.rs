//! What the event of a key says that was created only to see it: its fields beside those that the parser reads, and the
//! key beside the one that IAM returned.
//!
//! Judges and never calls: `cli/doctor/capture.rs` makes the calls. Of the event, names and types of fields leave this
//! file, and never a value.

use chrono::TimeDelta;
use serde::Serialize;
use serde_json::Value;

use super::finding::{Check, Finding, Status};
use crate::shape::EventShape;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{CREATION_FIELDS, CreatedKey, EventKind, ParsedEvent, parse_record};
use key_guard_core::evidence::{Determination, ExpirationEvidence, Reading};
use key_guard_core::key::{Expiration, KeyRef, Service, UserName, describe_days};

/// The lifetime that is asked for, in days: the shortest that IAM has.
pub const LIFETIME_DAYS: i32 = 1;

/// Two dates that are this close mean the same end: AWS may round them separately.
const SAME_END: TimeDelta = TimeDelta::hours(1);

const REPORT_IT: &str = "report it with the fields below, which have no values: the parser has to learn them";

/// The key as IAM returned it, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnedKey {
    /// Which key.
    pub key: KeyRef,
    /// Its user.
    pub user: UserName,
    /// Its service.
    pub service: Service,
    /// When it was created.
    pub created_at: Time,
    /// When it expires, if IAM said so.
    pub expires_at: Option<Time>,
}

/// How a field of the event compares with what the parser expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldStatus {
    /// It is there, with a type that the parser reads.
    Present,
    /// The parser would read it, and it is absent or null.
    Absent,
    /// The parser would read it, and it has another type.
    OtherType,
    /// It is there, and the parser does not read it.
    NotRead,
}

impl FieldStatus {
    /// As written in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "absent",
            Self::OtherType => "other_type",
            Self::NotRead => "not_read",
        }
    }
}

/// A field of the request or the response, as expected and as found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedField {
    /// Its path.
    pub field: String,
    /// The types that the parser reads; `None`: it does not read this field.
    pub expected: Option<String>,
    /// The type that is there.
    pub found: Option<String>,
    /// How they compare.
    pub status: FieldStatus,
}

/// Compares the request and the response of a creation event with what the parser reads of them.
#[must_use]
pub fn compare_fields(shape: &EventShape) -> Vec<ComparedField> {
    let expected = CREATION_FIELDS.iter().map(|field| {
        let found = type_at(shape, field.path);
        ComparedField {
            field: field.path.to_owned(),
            expected: Some(field.types.join(" or ")),
            found: found.map(str::to_owned),
            status: match found {
                None | Some("null") => FieldStatus::Absent,
                Some(found) if field.types.contains(&found) => FieldStatus::Present,
                Some(_) => FieldStatus::OtherType,
            },
        }
    });
    let is_read = |path: &str| CREATION_FIELDS.iter().any(|field| path == field.path);
    let others = shape.fields().filter(|(path, _)| {
        ["requestParameters", "responseElements"].iter().any(|part| is_at_or_below(path, part))
            && !is_read(path)
    });
    let others = others.map(|(path, found)| ComparedField {
        field: path.to_owned(),
        expected: None,
        found: Some(found.to_owned()),
        status: FieldStatus::NotRead,
    });
    expected.chain(others).collect()
}

/// The type of the value at a path. Objects and arrays are told by what is in them.
fn type_at<'a>(shape: &'a EventShape, path: &str) -> Option<&'a str> {
    shape.fields().find_map(|(field, found)| match field.strip_prefix(path)?.as_bytes().first() {
        None => Some(found),
        Some(b'.') => Some("object"),
        Some(b'[') => Some("array"),
        Some(_) => None,
    })
}

fn is_at_or_below(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What the event shows of the parser, by checks.
#[must_use]
pub fn examine(event: &Value, fields: &[ComparedField], returned: &ReturnedKey) -> Vec<Finding> {
    let created = match parse_record(event) {
        Ok(ParsedEvent::Relevant(event)) => match event.kind {
            EventKind::Created(created) => Ok(created),
            EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_)
            | EventKind::Failed(_)
            | EventKind::UserChanged(_) => Err("the parser takes it for another call".to_owned()),
        },
        Ok(ParsedEvent::Irrelevant(_)) => Err("the parser takes it for an irrelevant event".to_owned()),
        Err(unreadable) => Err(format!("the parser cannot read it: {unreadable}")),
    };
    let (read, key) = match created {
        Ok(created) => {
            let read =
                finding(Check::CapturedEvent, Status::Ok, "the parser reads it as a created key", None);
            (read, key_finding(&created, returned))
        }
        Err(why) => (
            finding(Check::CapturedEvent, Status::Fail, why, Some(REPORT_IT)),
            finding(Check::CapturedKey, Status::Unknown, "the parser found no key", Some("fix that first")),
        ),
    };
    vec![read, fields_finding(fields), key]
}

fn fields_finding(fields: &[ComparedField]) -> Finding {
    let odd: Vec<_> = fields
        .iter()
        .filter_map(|field| match (field.status, &field.found) {
            (FieldStatus::Present | FieldStatus::NotRead, _) => None,
            (FieldStatus::OtherType, Some(found)) => Some(format!("{} has the type {found}", field.field)),
            (FieldStatus::Absent | FieldStatus::OtherType, _) => Some(format!("{} is absent", field.field)),
        })
        .collect();
    if odd.is_empty() {
        let found = format!("all {} fields that the parser reads are there", CREATION_FIELDS.len());
        return finding(Check::CapturedFields, Status::Ok, found, None);
    }
    finding(Check::CapturedFields, Status::Warn, odd.join("; "), Some(REPORT_IT))
}

/// The key of the event beside the one that IAM returned.
fn key_finding(created: &CreatedKey, returned: &ReturnedKey) -> Finding {
    let mut differences = Vec::new();
    if created.key.account != returned.key.account {
        differences.push("another account".to_owned());
    }
    if created.key.id != returned.key.id {
        differences.push("another key id".to_owned());
    }
    if !created.user.is_same_user(&returned.user) {
        differences.push("another user".to_owned());
    }
    if created.service != returned.service {
        differences.push("another service".to_owned());
    }
    differences.extend(expiration_difference(created, returned));
    let evidence = &created.evidence;
    let readings = [
        reading("createDate", &evidence.created_at),
        reading("expirationDate", &evidence.response),
        reading("credentialAgeDays", &evidence.request),
    ]
    .join(", ");
    let check = Check::CapturedKey;
    if differences.is_empty() {
        let found = format!("the same key, user, service and expiration as in IAM's response ({readings})");
        return finding(check, Status::Ok, found, None);
    }
    let found = format!("other than in IAM's response: {} ({readings})", differences.join(", "));
    finding(check, Status::Fail, found, Some(REPORT_IT))
}

/// How the expiration that the event gives differs from what was asked for, and from what IAM returned.
fn expiration_difference(created: &CreatedKey, returned: &ReturnedKey) -> Option<String> {
    let evidence = ExpirationEvidence::from(created.evidence.clone());
    let end = match evidence.determine(&created.service) {
        Determination::Known { expiration: Expiration::At(end), .. } => end,
        Determination::Known { expiration: Expiration::Never, .. } => {
            return Some("no expiration".to_owned());
        }
        Determination::Undetermined(_) => return Some("no expiration that can be read".to_owned()),
    };
    let lifetime = end - returned.created_at;
    if (lifetime - TimeDelta::days(LIFETIME_DAYS.into())).abs() > SAME_END {
        return Some(format!("a lifetime of {} instead of {LIFETIME_DAYS} day", describe_days(lifetime)));
    }
    let is_other = returned.expires_at.is_some_and(|expires_at| (end - expires_at).abs() > SAME_END);
    is_other.then(|| "another expiration".to_owned())
}

fn reading<T>(field: &str, reading: &Reading<T>) -> String {
    match reading {
        Reading::Read(_) => format!("{field} read"),
        Reading::Missing => format!("{field} absent"),
        Reading::Unreadable(found) => format!("{field} unreadable: {found}"),
    }
}

fn finding(check: Check, status: Status, found: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding { check, status, found: found.into(), fix: fix.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        let event: Value = serde_json::from_str(include_str!("../../events/created-for-1-day.json")).unwrap();
        event["detail"].clone()
    }

    fn returned() -> ReturnedKey {
        ReturnedKey {
            key: KeyRef {
                account: "111122223333".parse().unwrap(),
                id: "ACCAEXAMPLEKEY0000006".parse().unwrap(),
            },
            user: "svc-nightly".parse().unwrap(),
            service: "bedrock.amazonaws.com".parse().unwrap(),
            created_at: "2026-11-20T09:43:06Z".parse().unwrap(),
            expires_at: Some("2026-11-21T09:43:06Z".parse().unwrap()),
        }
    }

    fn fields(event: &Value) -> Vec<ComparedField> {
        compare_fields(&EventShape::of(event))
    }

    /// Statuses and texts, in the order of the checks.
    fn examined(event: &Value, returned: &ReturnedKey) -> Vec<(Status, String)> {
        let findings = examine(event, &fields(event), returned);
        assert!(findings.iter().all(|finding| finding.fix.is_none() == (finding.status == Status::Ok)));
        findings.into_iter().map(|finding| (finding.status, finding.found)).collect()
    }

    fn field<'a>(fields: &'a [ComparedField], path: &str) -> (FieldStatus, Option<&'a str>) {
        let field = fields.iter().find(|field| field.field == path).unwrap();
        (field.status, field.found.as_deref())
    }

    #[test]
    fn an_event_as_expected_is_ok() {
        let fields = fields(&event());
        let with = |status| fields.iter().filter(|field| field.status == status).count();
        assert_eq!(with(FieldStatus::Present), CREATION_FIELDS.len());
        assert_eq!(with(FieldStatus::NotRead), 2, "alias and status: {fields:?}");
        assert_eq!(fields.len(), CREATION_FIELDS.len() + 2);
        assert_eq!(fields[2].expected.as_deref(), Some("number or string"));
        let examined = examined(&event(), &returned());
        assert!(examined.iter().all(|(status, _)| *status == Status::Ok), "{examined:?}");
    }

    #[test]
    fn a_field_is_absent_or_of_another_type_or_not_read() {
        let mut event = event();
        event["requestParameters"]["credentialAgeDays"] = json!({"days": 1});
        event["requestParameters"]["serviceName"] = json!(null);
        event["requestParameters"]["userName"] = json!(["x"]);
        let credential = event["responseElements"]["serviceSpecificCredential"].as_object_mut().unwrap();
        credential.remove("expirationDate").unwrap();
        credential.insert("expirationDateTime".to_owned(), json!("2026-11-21T09:43:06Z"));
        let fields = fields(&event);
        let response = |name: &str| format!("responseElements.serviceSpecificCredential.{name}");
        for (path, expected) in [
            ("requestParameters.credentialAgeDays".to_owned(), (FieldStatus::OtherType, Some("object"))),
            ("requestParameters.credentialAgeDays.days".to_owned(), (FieldStatus::NotRead, Some("number"))),
            ("requestParameters.serviceName".to_owned(), (FieldStatus::Absent, Some("null"))),
            ("requestParameters.userName".to_owned(), (FieldStatus::OtherType, Some("array"))),
            (response("expirationDate"), (FieldStatus::Absent, None)),
            (response("expirationDateTime"), (FieldStatus::NotRead, Some("string"))),
            (response("createDate"), (FieldStatus::Present, Some("string"))),
        ] {
            assert_eq!(field(&fields, &path), expected, "{path}");
        }
        let found = fields_finding(&fields).found;
        assert!(found.contains("credentialAgeDays has the type object; "), "{found}");
        assert!(found.contains("expirationDate is absent"), "{found}");
    }

    #[test]
    fn an_event_in_another_shape_fails_and_has_no_value_in_it() {
        let mut masked = event();
        masked["responseElements"] = json!("HIDDEN_DUE_TO_SECURITY_REASONS");
        let mut flat = event();
        flat["responseElements"] = flat["responseElements"]["serviceSpecificCredential"].take();
        for event in [masked, flat] {
            let examined = examined(&event, &returned());
            let statuses: Vec<_> = examined.iter().map(|(status, _)| *status).collect();
            assert_eq!(statuses, [Status::Fail, Status::Warn, Status::Unknown], "{examined:?}");
            let text = format!("{examined:?}{:?}", fields(&event));
            for value in ["HIDDEN", "svc-nightly", "ACCAEXAMPLE", "bedrock.amazonaws", "2026"] {
                assert!(!text.contains(value), "{text}");
            }
        }
        let mut failed = event();
        failed["errorCode"] = json!("NoSuchEntityException");
        failed["responseElements"] = json!(null);
        assert!(examined(&failed, &returned())[0].1.contains("another call"));
        let mut other = event();
        other["eventSource"] = json!("sts.amazonaws.com");
        assert!(examined(&other, &returned())[0].1.contains("eventSource"));
        other["eventName"] = json!("GetSessionToken");
        assert!(examined(&other, &returned())[0].1.contains("irrelevant"));
    }

    #[test]
    fn a_key_other_than_the_returned_one_fails_and_says_how() {
        type Change = fn(&mut ReturnedKey);
        let changes: [(Change, &str); 6] = [
            (|key| key.key.account = "444455556666".parse().unwrap(), "another account"),
            (|key| key.key.id = "ACCAEXAMPLEKEY0000007".parse().unwrap(), "another key id"),
            (|key| key.user = "svc-daily".parse().unwrap(), "another user"),
            (|key| key.service = "logs.amazonaws.com".parse().unwrap(), "another service"),
            (|key| key.created_at -= TimeDelta::days(1), "a lifetime of 2 days instead of 1 day"),
            (|key| key.expires_at = Some(key.created_at + TimeDelta::days(2)), "another expiration"),
        ];
        for (change, expected) in changes {
            let mut returned = returned();
            change(&mut returned);
            let (status, found) = examined(&event(), &returned).remove(2);
            assert_eq!(status, Status::Fail);
            assert!(found.contains(&format!(": {expected} (")), "{found}");
        }
        let mut silent = returned();
        silent.expires_at = None;
        assert_eq!(examined(&event(), &silent)[2].0, Status::Ok, "IAM does not have to name a date");
        let mut unreadable = event();
        unreadable["responseElements"]["serviceSpecificCredential"]["expirationDate"] = json!("soon");
        unreadable["requestParameters"]["credentialAgeDays"] = json!(null);
        let (status, found) = examined(&unreadable, &returned()).remove(2);
        assert_eq!(status, Status::Fail);
        assert!(found.contains("no expiration that can be read"), "{found}");
        assert!(
            found.contains("expirationDate unreadable: a text of 4 characters, credentialAgeDays absent"),
            "{found}"
        );
    }
}
