//! A creation event: which key, whose, for which service, and what it says of the key's lifetime.

use serde_json::Value;

use super::date;
use super::event::{CreatedKey, MAX_AGE_DAYS, Provenance, Unreadable, UnreadableCreation};
use super::record::{at, describe, found, lenient, needed, optional};
use crate::evidence::{EventEvidence, Reading};
use crate::key::{KeyRef, Service, UserName};
use crate::time::Time;

pub(super) const RESPONSE: &str = "responseElements.serviceSpecificCredential";
const RESPONSE_ID: &str = "responseElements.serviceSpecificCredential.serviceSpecificCredentialId";
const RESPONSE_USER: &str = "responseElements.serviceSpecificCredential.userName";
const RESPONSE_SERVICE: &str = "responseElements.serviceSpecificCredential.serviceName";
const CREATE_DATE: &str = "responseElements.serviceSpecificCredential.createDate";
const EXPIRATION_DATE: &str = "responseElements.serviceSpecificCredential.expirationDate";
const REQUEST: &str = "requestParameters";
const REQUEST_USER: &str = "requestParameters.userName";
const REQUEST_SERVICE: &str = "requestParameters.serviceName";
const REQUEST_AGE: &str = "requestParameters.credentialAgeDays";

/// A field of a creation event that the parser reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreationField {
    /// Its dotted path in the record.
    pub path: &'static str,
    /// The JSON types that can be read, the expected one first.
    pub types: &'static [&'static str],
}

/// Everything that the parser reads of the request and the response of a creation event. No real record of one has been
/// published: others have used these paths.
pub const CREATION_FIELDS: [CreationField; 8] = [
    CreationField { path: REQUEST_USER, types: &["string"] },
    CreationField { path: REQUEST_SERVICE, types: &["string"] },
    CreationField { path: REQUEST_AGE, types: &["number", "string"] },
    CreationField { path: RESPONSE_ID, types: &["string"] },
    CreationField { path: RESPONSE_USER, types: &["string"] },
    CreationField { path: RESPONSE_SERVICE, types: &["string"] },
    CreationField { path: CREATE_DATE, types: &["string", "number"] },
    CreationField { path: EXPIRATION_DATE, types: &["string", "number"] },
];

/// Reads the creation of a key. An error says what could be read, so that IAM can be asked for the key.
pub(super) fn read(record: &Value, provenance: &Provenance) -> Result<CreatedKey, Unreadable> {
    read_key(record, provenance).map_err(|why| unreadable(record, provenance, why))
}

/// Why the creation of a key cannot be read, with what can be.
pub(super) fn unreadable(record: &Value, provenance: &Provenance, why: Unreadable) -> Unreadable {
    let user = match (lenient::<UserName>(record, RESPONSE_USER), lenient(record, REQUEST_USER)) {
        (Some(returned), Some(requested)) if !returned.is_same_user(&requested) => None,
        (Some(user), _) => Some(user),
        (None, requested) => requested,
    };
    let creation = UnreadableCreation { provenance: provenance.clone(), user };
    Unreadable { creation: Some(Box::new(creation)), ..why }
}

fn read_key(record: &Value, provenance: &Provenance) -> Result<CreatedKey, Unreadable> {
    match at(record, RESPONSE)? {
        Some(Value::Object(_)) => {}
        found => {
            return Err(Unreadable::new(
                RESPONSE,
                "the response to a successful call",
                found.map_or_else(|| "nothing".to_owned(), describe),
            ));
        }
    }
    let id = needed(record, RESPONSE_ID, "a service-specific credential id")?;
    Ok(CreatedKey {
        key: KeyRef { account: provenance.account.clone(), id },
        user: owner(record)?,
        service: service(record)?,
        evidence: evidence(record, provenance.event_time),
    })
}

/// The user that owns the key. Where the request names another than the response, neither is believed.
fn owner(record: &Value) -> Result<UserName, Unreadable> {
    let requested = optional::<UserName>(record, REQUEST_USER)?;
    match (optional::<UserName>(record, RESPONSE_USER)?, requested) {
        (Some(returned), Some(requested)) if !returned.is_same_user(&requested) => {
            Err(Unreadable::new(RESPONSE_USER, "the user of the request", "another user"))
        }
        (Some(user), _) | (None, Some(user)) => Ok(user),
        (None, None) => Err(Unreadable::new(RESPONSE_USER, "the IAM user that owns the key", "nothing")),
    }
}

/// The service that the key is for. Where the request names another than the response, neither is believed.
fn service(record: &Value) -> Result<Service, Unreadable> {
    let requested = optional::<Service>(record, REQUEST_SERVICE)?;
    match (optional::<Service>(record, RESPONSE_SERVICE)?, requested) {
        (Some(returned), Some(requested)) if returned != requested => {
            Err(Unreadable::new(RESPONSE_SERVICE, "the service of the request", "another service"))
        }
        (Some(service), _) | (None, Some(service)) => Ok(service),
        (None, None) => Err(Unreadable::new(RESPONSE_SERVICE, "the service that the key is for", "nothing")),
    }
}

fn evidence(record: &Value, event_time: Time) -> EventEvidence {
    EventEvidence {
        created_at: reading(record, CREATE_DATE, date::read),
        event_time,
        response: reading(record, EXPIRATION_DATE, date::read),
        request: reading(record, REQUEST_AGE, age_days),
        request_present: matches!(at(record, REQUEST), Ok(Some(Value::Object(_)))),
    }
}

/// The value at `path`, as `read` understands it.
fn reading<T>(record: &Value, path: &str, read: impl Fn(&Value) -> Option<T>) -> Reading<T> {
    // The objects on the way were read before, so only the field itself can be odd.
    let Some(value) = at(record, path).ok().flatten() else { return Reading::Missing };
    match (read(value), found(value)) {
        (Some(value), _) => Reading::Read(value),
        (None, Some(found)) => Reading::Unreadable(found),
        (None, None) => Reading::Missing,
    }
}

/// 1 to 36600 days, as a number or as a text of digits. Tables of some tools make 90.0 of it.
fn age_days(value: &Value) -> Option<u32> {
    let days = match value {
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => {
            let digits = text.strip_suffix(".0").unwrap_or(text);
            digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }?;
    u32::try_from(days).ok().filter(|_| (1..=MAX_AGE_DAYS).contains(&days))
}

/// A number without a fraction.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "float casts saturate, and the range is checked")]
    (number.fract() == 0.0).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::cloudtrail::event::EventKind;
    use crate::cloudtrail::{ParsedEvent, from_json, parse_record};

    fn event() -> Value {
        json!({
            "eventSource": "iam.amazonaws.com",
            "eventName": "CreateServiceSpecificCredential",
            "eventTime": "2026-11-20T09:43:06Z",
            "eventID": "5d1c0017-7b1e-4c3a-9f00-abc000000017",
            "recipientAccountId": "111122223333",
            "requestParameters": {
                "userName": "svc-nightly", "serviceName": "bedrock.amazonaws.com", "credentialAgeDays": 1,
            },
            "responseElements": {"serviceSpecificCredential": {
                "createDate": "2026-11-20T09:43:06Z",
                "serviceName": "bedrock.amazonaws.com",
                "serviceCredentialAlias": "svc-nightly-at-111122223333",
                "serviceUserName": "svc-nightly-at-111122223333",
                "serviceSpecificCredentialId": "ACCAEXAMPLEKEY0000006",
                "userName": "svc-nightly",
                "status": "Active",
                "expirationDate": "2026-11-21T09:43:06Z",
            }},
        })
    }

    fn with(path: &str, value: Value) -> Result<ParsedEvent, Unreadable> {
        let mut event = event();
        *event.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = value;
        parse_record(&event)
    }

    /// The paths of what is not an object.
    fn leaves(value: &Value, path: &str, to: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| leaves(value, &format!("{path}.{name}"), to));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                to.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn the_listed_fields_are_those_that_the_parser_reads_of_request_and_response() {
        let whole = parse_record(&event());
        assert!(matches!(&whole, Ok(ParsedEvent::Relevant(_))), "{whole:?}");
        let mut paths = BTreeSet::new();
        for part in ["requestParameters", "responseElements"] {
            leaves(&event()[part], part, &mut paths);
        }
        let read: BTreeSet<_> = paths.into_iter().filter(|path| with(path, json!([])) != whole).collect();
        assert_eq!(read, CREATION_FIELDS.map(|field| field.path.to_owned()).into());
    }

    /// Nobody knows which of two fields is meant. IAM is asked for the key, or for its expiration.
    #[test]
    fn a_listed_field_that_is_there_twice_is_unreadable() {
        for CreationField { path, .. } in CREATION_FIELDS {
            let mut event = event();
            let pointer = format!("/{}", path.replace('.', "/"));
            let value = std::mem::replace(event.pointer_mut(&pointer).unwrap(), json!("twice"));
            let name = path.rsplit('.').next().unwrap();
            let twice = event.to_string().replace("\"twice\"", &format!("{value},\"{name}\":{value}"));
            let read = parse_record(&from_json(twice.as_bytes()).unwrap());
            match (path, read) {
                (REQUEST_AGE | CREATE_DATE | EXPIRATION_DATE, Ok(ParsedEvent::Relevant(read))) => {
                    let EventKind::Created(CreatedKey { evidence, .. }) = read.kind else { panic!("{path}") };
                    let is_unreadable = [
                        matches!(evidence.request, Reading::Unreadable(_)),
                        matches!(evidence.created_at, Reading::Unreadable(_)),
                        matches!(evidence.response, Reading::Unreadable(_)),
                    ];
                    assert_eq!(
                        is_unreadable,
                        [REQUEST_AGE, CREATE_DATE, EXPIRATION_DATE].map(|one| one == path)
                    );
                }
                (_, Err(why)) => {
                    assert_eq!(
                        (why.field.as_str(), why.found.as_str()),
                        (path, "more than one field of this name")
                    );
                    assert!(why.creation.is_some(), "{path}");
                }
                (_, read) => panic!("{path}: {read:?}"),
            }
        }
    }

    #[test]
    fn a_call_with_a_response_has_not_failed() {
        for code in ["", "-", "NULL", "\\N", "None", "[NULL]", "nan", "null", "\"\"", "N/A", "Success"] {
            let mut created = event();
            created["errorCode"] = json!(code);
            assert_eq!(parse_record(&created), parse_record(&event()), "{code}");
        }
        let mut odd = event();
        odd["errorCode"] = json!("LimitExceededException");
        let why = parse_record(&odd).unwrap_err();
        assert_eq!(
            (why.field.as_str(), why.creation.unwrap().user.unwrap().as_str()),
            ("errorCode", "svc-nightly")
        );
        odd["responseElements"] = json!(null);
        assert!(matches!(parse_record(&odd), Ok(ParsedEvent::Relevant(_))));
    }

    #[test]
    fn an_age_is_read_with_a_fraction_of_nothing_and_with_no_other() {
        for age in [json!(1.0), json!("1.0"), json!("1")] {
            assert_eq!(with(REQUEST_AGE, age.clone()), parse_record(&event()), "{age}");
        }
        for age in [
            json!(1.5),
            json!(0.0),
            json!(-1.0),
            json!(36_601.0),
            json!(1e300),
            json!("1.5"),
            json!("1.0.0"),
            json!(".0"),
            json!("+1"),
            json!("1e0"),
            json!(""),
        ] {
            let Ok(ParsedEvent::Relevant(read)) = with(REQUEST_AGE, age.clone()) else { panic!("{age}") };
            let EventKind::Created(CreatedKey { evidence, .. }) = read.kind else { panic!("{age}") };
            assert!(matches!(evidence.request, Reading::Unreadable(_)), "{age}");
        }
    }

    #[test]
    fn each_listed_type_can_be_read_and_no_other() {
        let whole = parse_record(&event());
        for CreationField { path, types } in CREATION_FIELDS {
            let number = match path {
                CREATE_DATE => json!(1_795_167_786),
                EXPIRATION_DATE => json!(1_795_254_186),
                _ => json!(1),
            };
            let text = match path {
                REQUEST_AGE => json!("1"),
                _ => event().pointer(&format!("/{}", path.replace('.', "/"))).unwrap().clone(),
            };
            for (name, value) in [
                ("number", number),
                ("string", text),
                ("boolean", json!(true)),
                ("object", json!({})),
                ("array", json!([])),
            ] {
                assert_eq!(with(path, value) == whole, types.contains(&name), "{path} as {name}");
            }
        }
    }
}
