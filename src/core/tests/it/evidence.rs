//! R4: what the creation event and IAM say of a key's expiration is joined; none overrules the other.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::evidence::{
    Basis, Determination, EventEvidence, EventSource, EvidenceField, ExpirationEvidence, Found,
    ListedEvidence, Reading, Undetermined,
};
use key_guard_core::key::{Expiration, KeyFacts, KeyRef, Service};
use key_guard_core::policy::{BUILT_IN, Policy, Scope, Verdict};
use key_guard_core::words;
use proptest::prelude::*;

fn created() -> Time {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn after(days: i64) -> Time {
    created() + TimeDelta::days(days)
}

/// An event that shows its request, and names no end.
fn event() -> EventEvidence {
    EventEvidence {
        created_at: Reading::Read(created()),
        event_time: created(),
        response: Reading::Missing,
        request: Reading::Missing,
        request_present: true,
    }
}

const UNREADABLE: Found = Found::Text(7);

fn with_response(days: i64) -> EventEvidence {
    EventEvidence { response: Reading::Read(after(days)), ..event() }
}

fn with_age(days: u32) -> EventEvidence {
    EventEvidence { request: Reading::Read(days), ..event() }
}

fn with_both(response: i64, request: u32) -> EventEvidence {
    EventEvidence { request: Reading::Read(request), ..with_response(response) }
}

fn without_request() -> EventEvidence {
    EventEvidence { request_present: false, ..event() }
}

fn unreadable_response() -> EventEvidence {
    EventEvidence { response: Reading::Unreadable(UNREADABLE), ..event() }
}

fn unreadable_age() -> EventEvidence {
    EventEvidence { request: Reading::Unreadable(UNREADABLE), ..event() }
}

fn listed(days: Option<i64>) -> ListedEvidence {
    ListedEvidence { created_at: created(), expires_at: days.map(after) }
}

/// What a case is about: days until the end, never, or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    After(i64),
    Never,
    Unknown,
}
use Ends::{After, Never, Unknown};

fn ends(evidence: &ExpirationEvidence, service: &Service) -> Ends {
    match evidence.determine(service) {
        Determination::Known { expiration: Expiration::Never, .. } => Never,
        Determination::Known { expiration: Expiration::At(end), .. } => After((end - created()).num_days()),
        Determination::Undetermined(_) => Unknown,
    }
}

/// Services whose keys' dates IAM's lists show, and one for which they do not.
const SHOWN: [Service; 2] = [Service::Bedrock, Service::Logs];
const NOT_SHOWN: [Service; 3] = [Service::ClaudePlatform, Service::CloudWatch, Service::XRay];

fn check(event: Option<EventEvidence>, listed: Option<ListedEvidence>, shown: Ends, not_shown: Ends) {
    let evidence = ExpirationEvidence { event, listed };
    for (services, expected) in [(&SHOWN[..], shown), (&NOT_SHOWN[..], not_shown)] {
        for service in services {
            assert_eq!(ends(&evidence, service), expected, "{service}: {evidence:?}");
        }
    }
}

#[test]
fn r4_before_iam_is_asked_the_event_decides() {
    check(None, None, Unknown, Unknown);
    check(Some(with_response(30)), None, After(30), After(30));
    check(Some(with_age(30)), None, After(30), After(30));
    // The later, where they are more than a day apart.
    check(Some(with_both(30, 31)), None, After(30), After(30));
    check(Some(with_both(30, 32)), None, After(32), After(32));
    check(Some(with_both(400, 30)), None, After(400), After(400));
    // Neither: never where the service shows dates, or the request asks for no age.
    check(Some(event()), None, Never, Never);
    check(Some(without_request()), None, Never, Unknown);
}

#[test]
fn r4_what_cannot_be_read_counts_as_missing_and_never_as_absent() {
    check(Some(unreadable_response()), None, Unknown, Unknown);
    check(Some(unreadable_age()), None, Unknown, Unknown);
    check(
        Some(EventEvidence { request: Reading::Read(30), ..unreadable_response() }),
        None,
        After(30),
        After(30),
    );
    check(
        Some(EventEvidence { response: Reading::Read(after(30)), ..unreadable_age() }),
        None,
        After(30),
        After(30),
    );
    // IAM's answer replaces what could not be read, where its silence means something.
    check(Some(unreadable_response()), Some(listed(Some(30))), After(30), After(30));
    check(Some(unreadable_response()), Some(listed(None)), Never, Unknown);
    check(Some(unreadable_age()), Some(listed(None)), Never, Unknown);
}

#[test]
fn r4_a_creation_that_cannot_be_right_is_undetermined_until_iam_answers() {
    for created_at in [Reading::Unreadable(UNREADABLE), Reading::Read(after(1)), Reading::Read(after(-1))] {
        let odd = EventEvidence { created_at, ..with_both(30, 30) };
        check(Some(odd.clone()), None, Unknown, Unknown);
        check(Some(odd), Some(listed(Some(30))), After(30), After(30));
    }
    let almost =
        EventEvidence { created_at: Reading::Read(after(1) - TimeDelta::seconds(1)), ..with_response(30) };
    check(Some(almost), None, After(30), After(30));
    let missing = EventEvidence { created_at: Reading::Missing, ..with_age(30) };
    check(Some(missing.clone()), None, After(30), After(30));
    assert_eq!(
        ExpirationEvidence::from(missing).determine(&Service::Bedrock),
        Determination::Known {
            expiration: Expiration::At(after(30)),
            basis: Basis::Event { source: EventSource::Request, creation_assumed: true },
        }
    );
}

#[test]
fn r4_a_date_that_iam_names_is_used_or_a_much_later_one_of_the_event() {
    check(None, Some(listed(Some(30))), After(30), After(30));
    check(Some(event()), Some(listed(Some(30))), After(30), After(30));
    check(Some(with_response(31)), Some(listed(Some(30))), After(30), After(30));
    check(Some(with_response(32)), Some(listed(Some(30))), After(32), After(32));
    check(Some(with_age(90)), Some(listed(Some(30))), After(90), After(90));
    check(Some(with_age(30)), Some(listed(Some(90))), After(90), After(90));
}

#[test]
fn r4_iam_without_a_date_means_never_for_some_services_and_nothing_for_the_others() {
    check(None, Some(listed(None)), Never, Unknown);
    check(Some(event()), Some(listed(None)), Never, Never);
    check(Some(without_request()), Some(listed(None)), Never, Unknown);
    // Only the event names a date: a contradiction where IAM shows dates.
    check(Some(with_response(30)), Some(listed(None)), Unknown, After(30));
    check(Some(with_age(30)), Some(listed(None)), Unknown, After(30));
    let evidence = ExpirationEvidence { event: Some(with_age(30)), listed: Some(listed(None)) };
    assert_eq!(
        evidence.determine(&Service::Logs),
        Determination::Undetermined(Undetermined::NotInList { event: after(30) })
    );
}

#[test]
fn r4_an_end_before_the_creation_is_unreadable() {
    check(Some(with_response(-2)), None, Unknown, Unknown);
    check(Some(with_both(-2, 30)), None, After(30), After(30));
    check(None, Some(listed(Some(-2))), Unknown, Unknown);
    check(Some(with_response(30)), Some(listed(Some(-2))), Unknown, After(30));
    check(Some(event()), Some(listed(Some(-2))), Unknown, Unknown);
    let evidence = ExpirationEvidence::from(with_response(-2));
    let Determination::Undetermined(why) = evidence.determine(&Service::Bedrock) else { panic!() };
    assert_eq!(why, Undetermined::EndBeforeCreation { expires_at: after(-2), created_at: created() });
}

#[test]
fn r4_the_age_counts_from_the_creation_that_iam_names() {
    let later = created() + TimeDelta::hours(5);
    let evidence = ExpirationEvidence {
        event: Some(with_age(30)),
        listed: Some(ListedEvidence { created_at: later, expires_at: None }),
    };
    let Determination::Known { expiration, .. } = evidence.determine(&Service::CloudWatch) else { panic!() };
    assert_eq!(expiration, Expiration::At(later + TimeDelta::days(30)));
    assert_eq!(evidence.created_at(), Some(later));
    assert_eq!(ExpirationEvidence::from(with_age(30)).created_at(), Some(created()));
    assert_eq!(ExpirationEvidence::default().created_at(), None);
}

fn facts(service: Service) -> KeyFacts {
    KeyFacts {
        key: KeyRef {
            account: "111122223333".parse().unwrap(),
            id: "ACCAEXAMPLEKEY0000001".parse().unwrap(),
        },
        user: "svc-chatbot".parse().unwrap(),
        other_names: BTreeSet::new(),
        service,
        created_at: created(),
    }
}

fn verdict(evidence: &ExpirationEvidence, service: Service) -> (Verdict, String) {
    let policy = BUILT_IN.replace("[\"bedrock.amazonaws.com\"]", "\"*\"");
    let policy = Policy::parse(&policy, Path::new("policy.toml")).unwrap();
    match policy.assess(&facts(service), evidence, created()) {
        Scope::InScope(assessment) => (assessment.verdict(), words::reason(&assessment)),
        Scope::OutOfScope => panic!("not judged"),
    }
}

/// A creation event that ends in 30 days, of a service whose dates IAM does not show: it was deleted as
/// `never_expires`.
#[test]
fn r4_a_key_whose_date_only_its_event_names_is_not_taken_for_one_that_never_expires() {
    let mut evidence = ExpirationEvidence::from(with_response(30));
    evidence.merge(&listed(None).into());
    let (verdict, reason) = verdict(&evidence, Service::CloudWatch);
    assert_eq!(verdict, Verdict::Compliant);
    assert_eq!(
        reason,
        "The key lives 30 days, until 2026-12-20T09:00:00Z. That is within the limit of 90 days. The event's \
         expirationDate says so; IAM shows no expiration for this service."
    );
}

/// IAM's two timestamps of a 90-day key differ by a second: it was deleted as over the limit.
#[test]
fn r5_two_timestamps_that_aws_rounds_separately_do_not_exceed_the_limit() {
    let rounded =
        ListedEvidence { created_at: created(), expires_at: Some(after(90) + TimeDelta::seconds(1)) };
    assert_eq!(verdict(&rounded.into(), Service::Bedrock).0, Verdict::Compliant);
    let over =
        ListedEvidence { created_at: created(), expires_at: Some(after(90) + TimeDelta::seconds(3_601)) };
    assert_eq!(verdict(&over.into(), Service::Bedrock).0, Verdict::Noncompliant);
}

#[test]
fn an_undetermined_key_says_which_field_and_never_its_value() {
    let (verdict, reason) = verdict(&unreadable_response().into(), Service::Bedrock);
    assert_eq!(verdict, Verdict::Undetermined);
    assert_eq!(
        reason,
        "It is not known when the key expires: field responseElements.serviceSpecificCredential.expirationDate: \
         expected a date, found a text of 7 characters."
    );
    let why = Undetermined::Unreadable { field: EvidenceField::CredentialAgeDays, found: Found::Boolean };
    assert_eq!(
        why.to_string(),
        "field requestParameters.credentialAgeDays: expected 1 to 36600 days, found a boolean"
    );
}

fn reading<T: std::fmt::Debug + Clone + 'static>(
    values: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Reading<T>> {
    prop_oneof![Just(Reading::Missing), Just(Reading::Unreadable(UNREADABLE)), values.prop_map(Reading::Read)]
}

fn any_evidence() -> impl Strategy<Value = ExpirationEvidence> {
    let time = || (-3_i64..100).prop_map(after);
    let event = (reading((-1_i64..2).prop_map(after)), reading(time()), reading(1_u32..100), any::<bool>())
        .prop_map(|(created_at, response, request, request_present)| EventEvidence {
            created_at,
            event_time: created(),
            response,
            request,
            request_present,
        });
    let listed = (0_i64..2, prop::option::of(time()))
        .prop_map(|(day, expires_at)| ListedEvidence { created_at: after(day), expires_at });
    (prop::option::of(event), prop::option::of(listed))
        .prop_map(|(event, listed)| ExpirationEvidence { event, listed })
}

fn merged(one: &ExpirationEvidence, other: &ExpirationEvidence) -> ExpirationEvidence {
    let mut merged = one.clone();
    merged.merge(other);
    merged
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in any_evidence(), b in any_evidence(), c in any_evidence(),
    ) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert_eq!(merged(&a, &ExpirationEvidence::default()), a);
    }

    /// I4: "never" needs a source that means it.
    #[test]
    fn never_is_only_concluded_from_a_readable_source(evidence in any_evidence()) {
        for service in SHOWN.into_iter().chain(NOT_SHOWN) {
            if ends(&evidence, &service) == Never {
                let asked_for_none = evidence.event.as_ref().is_some_and(|event| {
                    event.request_present
                        && event.request == Reading::Missing
                        && event.response == Reading::Missing
                });
                prop_assert!(asked_for_none || service.lists_expiration());
                prop_assert!(evidence.listed.is_none_or(|listed| listed.expires_at.is_none()));
            }
        }
    }
}

/// RFC 3339 has years of four digits, and a report has no other.
#[test]
fn an_end_behind_the_year_9999_is_undetermined() {
    let created_at: Time = "9950-01-01T00:00:00Z".parse().unwrap();
    let event = EventEvidence {
        created_at: Reading::Read(created_at),
        event_time: created_at,
        response: Reading::Missing,
        request: Reading::Read(36_600),
        request_present: true,
    };
    let determined = ExpirationEvidence::from(event).determine(&Service::Logs);
    assert_eq!(determined, Determination::Undetermined(Undetermined::EndOutOfRange { days: 36_600 }));
}
