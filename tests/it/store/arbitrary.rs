//! Any value that may be stored. Strategies are boxed where they are large: they would overflow the stack of a test.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{Actor, ActorContext, Correction, Provenance};
use key_guard_core::evidence::{
    Basis, EventEvidence, EventSource, EvidenceField, ExpirationEvidence, Found, ListedEvidence, Reading,
    Undetermined,
};
use key_guard_core::key::{
    AccountId, EventId, Expiration, KeyFacts, KeyRef, KeyStatus, Service, Status, UserName,
};
use key_guard_core::lifecycle::dry_run::DryRun;
use key_guard_core::lifecycle::effect::{Cause, Change, HeardEvent, LogEntry};
use key_guard_core::lifecycle::input::{Action, Trigger, TriggerKind, WorkerId};
use key_guard_core::lifecycle::standing::{Standing, StatusEvidence};
use key_guard_core::lifecycle::state::{
    Contradiction, Deactivation, Downgrade, GoneEvidence, InactiveCause, Intent, IntentId, KeyState,
    LastSeen, Lease, Observation, Phase, Record, UnknownFields,
};
use key_guard_core::policy::{Assessment, Response, Rule, Scope, VerdictDetail, Violation};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

fn time() -> BoxedStrategy<Time> {
    let nanoseconds =
        prop_oneof![Just(0), (0_u32..1_000).prop_map(|ms| ms * 1_000_000), 0_u32..1_000_000_000];
    (0_i64..253_402_300_800, nanoseconds).prop_map(|(s, ns)| Time::from_timestamp(s, ns).unwrap()).boxed()
}

fn date() -> impl Strategy<Value = NaiveDate> {
    time().prop_map(|time| time.date_naive())
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z ]{1,20}", ".{1,20}", "x{512}"].boxed()
}

fn account() -> impl Strategy<Value = AccountId> {
    "[0-9]{12}".prop_map(|text| text.parse().unwrap())
}

pub fn key() -> BoxedStrategy<KeyRef> {
    (account(), "ACCA[A-Z0-9_]{16,124}")
        .prop_filter_map("a secret", |(account, id)| Some(KeyRef { account, id: id.parse().ok()? }))
        .boxed()
}

fn user() -> BoxedStrategy<UserName> {
    "[A-Za-z0-9_+=,.@-]{1,128}".prop_map(|text| text.parse().unwrap()).boxed()
}

fn service() -> BoxedStrategy<Service> {
    let other = "[a-z]{3,20}\\.amazonaws\\.com".prop_map(|text| text.parse().unwrap());
    prop_oneof![proptest::sample::select(Service::KNOWN.to_vec()), other].boxed()
}

fn status() -> impl Strategy<Value = KeyStatus> {
    proptest::sample::select(vec![KeyStatus::Active, KeyStatus::Inactive, KeyStatus::Expired])
}

fn response() -> impl Strategy<Value = Response> {
    proptest::sample::select(vec![
        Response::None,
        Response::Monitor,
        Response::Deactivate,
        Response::Quarantine,
        Response::Delete,
    ])
}

fn event_id() -> impl Strategy<Value = EventId> {
    "[A-Za-z0-9_.-]{1,64}".prop_filter_map("a secret", |text| text.parse().ok())
}

pub fn provenance() -> BoxedStrategy<Provenance> {
    let optional = || option::of(text());
    let context = (optional(), optional(), optional(), optional(), optional(), optional()).prop_map(
        |(
            issuer_type,
            credentials_issued_to,
            source_arn,
            delegate_account,
            identity_center_user,
            identity_store,
        )| {
            ActorContext {
                issuer_type,
                credentials_issued_to,
                source_arn,
                delegate_account,
                identity_center_user,
                identity_store,
            }
        },
    );
    let actor = (optional(), optional(), optional(), option::of(any::<bool>()), any::<bool>(), context)
        .prop_map(|(kind, principal, session_issuer, mfa, console, context)| Actor {
            kind,
            principal,
            session_issuer,
            mfa,
            console,
            context,
        });
    let correction = (option::of(event_id()), optional(), optional())
        .prop_map(|(event_id, reason, updated_fields)| Correction { event_id, reason, updated_fields });
    let others = (optional(), optional(), option::of(correction), vec(text(), 0..3));
    (account(), event_id(), time(), actor, others)
        .prop_map(|(account, event_id, event_time, actor, others)| {
            let (source_ip, user_agent, corrects, unreadable) = others;
            Provenance { account, event_id, event_time, actor, source_ip, user_agent, corrects, unreadable }
        })
        .boxed()
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        Just(Found::Boolean),
        Just(Found::Number),
        any::<usize>().prop_map(Found::Text),
        any::<usize>().prop_map(Found::List),
        Just(Found::Object),
    ]
}

fn reading<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Reading<T>> {
    prop_oneof![Just(Reading::Missing), found().prop_map(Reading::Unreadable), value.prop_map(Reading::Read)]
}

fn evidence() -> BoxedStrategy<ExpirationEvidence> {
    let event = (reading(time()), time(), reading(time()), reading(any::<u32>()), any::<bool>()).prop_map(
        |(created_at, event_time, response, request, request_present)| EventEvidence {
            created_at,
            event_time,
            response,
            request,
            request_present,
        },
    );
    let listed = (time(), option::of(time()))
        .prop_map(|(created_at, expires_at)| ListedEvidence { created_at, expires_at });
    (option::of(event), option::of(listed))
        .prop_map(|(event, listed)| ExpirationEvidence { event, listed })
        .boxed()
}

fn facts(key: KeyRef) -> BoxedStrategy<KeyFacts> {
    (user(), btree_set(user(), 0..4), service(), time())
        .prop_map(move |(user, other_names, service, created_at)| KeyFacts {
            key: key.clone(),
            user,
            other_names,
            service,
            created_at,
        })
        .boxed()
}

fn undetermined() -> BoxedStrategy<Undetermined> {
    let fields = [EvidenceField::CreateDate, EvidenceField::ExpirationDate, EvidenceField::CredentialAgeDays];
    prop_oneof![
        Just(Undetermined::NoEvidence),
        (proptest::sample::select(fields.to_vec()), found())
            .prop_map(|(field, found)| Undetermined::Unreadable { field, found }),
        (time(), time()).prop_map(|(created_at, event_time)| Undetermined::CreationFarFromEvent {
            created_at,
            event_time
        }),
        (time(), time())
            .prop_map(|(expires_at, created_at)| Undetermined::EndBeforeCreation { expires_at, created_at }),
        any::<u32>().prop_map(|days| Undetermined::EndOutOfRange { days }),
        Just(Undetermined::NoEndNamed),
        time().prop_map(|event| Undetermined::NotInList { event }),
    ]
    .boxed()
}

fn basis() -> BoxedStrategy<Basis> {
    let source = || {
        prop_oneof![
            Just(EventSource::Response),
            Just(EventSource::Request),
            (time(), time())
                .prop_map(|(response, request)| EventSource::ResponseAndRequest { response, request }),
            Just(EventSource::ResponseWithoutDate),
            Just(EventSource::RequestWithoutAge),
        ]
    };
    prop_oneof![
        (source(), any::<bool>())
            .prop_map(|(source, creation_assumed)| Basis::Event { source, creation_assumed }),
        source().prop_map(Basis::EventUnlisted),
        Just(Basis::Listed),
        (time(), time()).prop_map(|(listed, event)| Basis::ListedAndEvent { listed, event }),
        Just(Basis::NotListed),
    ]
    .boxed()
}

fn assessment() -> BoxedStrategy<Assessment> {
    let violations = [
        Violation::NeverExpires,
        Violation::LifetimeExceedsLimit,
        Violation::LongTermKeyForbidden,
        Violation::Reactivated,
    ];
    let verdict = prop_oneof![
        Just(VerdictDetail::Compliant),
        (text(), date()).prop_map(|(reason, until)| VerdictDetail::Exempt { reason, until }),
        proptest::sample::select(violations.to_vec()).prop_map(VerdictDetail::Noncompliant),
        undetermined().prop_map(VerdictDetail::Undetermined),
    ];
    let expiration = prop_oneof![Just(Expiration::Never), time().prop_map(Expiration::At)];
    let rule = prop_oneof![Just(Rule::Default), any::<usize>().prop_map(Rule::Override)];
    let limits = (any::<u32>(), response(), any::<u32>());
    let dates = (time(), option::of(expiration), option::of(basis()));
    (verdict, limits, dates, rule, option::of(user()), option::of(date()))
        .prop_map(
            |(
                verdict,
                (limit_days, response, grace_days),
                (created_at, expiration, basis),
                rule,
                decided_by,
                ended,
            )| {
                Assessment {
                    verdict,
                    limit_days,
                    response,
                    grace_days,
                    created_at,
                    expiration,
                    basis,
                    rule,
                    decided_by,
                    ended_exemption: ended,
                }
            },
        )
        .boxed()
}

fn worker() -> impl Strategy<Value = WorkerId> {
    "[a-z0-9-]{1,60}".prop_map(WorkerId)
}

fn intent_id() -> impl Strategy<Value = IntentId> {
    (worker(), time()).prop_map(|(opened_by, authorised_at)| IntentId { opened_by, authorised_at })
}

fn action() -> impl Strategy<Value = Action> {
    proptest::sample::select(vec![Action::Deactivate, Action::Delete])
}

fn trigger_kind() -> impl Strategy<Value = TriggerKind> {
    proptest::sample::select(vec![
        TriggerKind::Created,
        TriggerKind::Activated,
        TriggerKind::Reset,
        TriggerKind::ObservedActive,
        TriggerKind::QuarantineEnded,
    ])
}

fn downgrade() -> impl Strategy<Value = Option<Downgrade>> {
    option::of(proptest::sample::select(vec![Downgrade::Breaker, Downgrade::Ceiling]))
}

fn intent() -> BoxedStrategy<Intent> {
    let trigger = (trigger_kind(), time()).prop_map(|(kind, at)| Trigger { kind, at });
    let lease = (worker(), time()).prop_map(|(holder, until)| Lease { holder, until });
    (intent_id(), action(), trigger, downgrade(), option::of(lease))
        .prop_map(|(id, action, trigger, downgraded, lease)| Intent {
            id,
            action,
            trigger,
            downgraded,
            lease,
        })
        .boxed()
}

fn gone() -> BoxedStrategy<GoneEvidence> {
    prop_oneof![
        time().prop_map(|at| GoneEvidence::Absent { at }),
        (provenance(), time()).prop_map(|(event, at)| GoneEvidence::DeletedBy { event: Box::new(event), at }),
        time().prop_map(|at| GoneEvidence::DeletedByGuard { at }),
    ]
    .boxed()
}

fn phase() -> BoxedStrategy<Phase> {
    let causes = vec![InactiveCause::Deactivated, InactiveCause::Expired];
    prop_oneof![
        Just(Phase::Settled),
        intent().prop_map(Phase::Pending),
        (time(), downgrade())
            .prop_map(|(at, downgraded)| Phase::Deactivated(Deactivation { at, downgraded })),
        proptest::sample::select(causes).prop_map(Phase::Inactive),
        gone().prop_map(Phase::Gone),
    ]
    .boxed()
}

fn contradiction() -> impl Strategy<Value = Contradiction> {
    proptest::sample::select(vec![Contradiction::Absent, Contradiction::StillListed])
}

fn observation() -> impl Strategy<Value = Observation> {
    (time(), contradiction()).prop_map(|(asked_at, seen)| Observation { asked_at, seen })
}

/// What a later version may have stored.
fn unknown_fields() -> impl Strategy<Value = UnknownFields> {
    let value = prop_oneof![text().prop_map(Value::from), Just(json!({"since": 2, "names": ["a"]}))];
    proptest::collection::btree_map("later_[a-z]{1,4}", value, 0..3)
        .prop_map(|fields| UnknownFields(fields.into_iter().collect()))
}

fn record(key: KeyRef) -> BoxedStrategy<Record> {
    let scope = prop_oneof![Just(Scope::OutOfScope), assessment().prop_map(Scope::InScope)];
    let known = (facts(key), evidence(), option::of(provenance()), scope);
    let since = (any::<bool>(), option::of(time()), option::of(text()));
    let last_seen = (status(), time(), since).prop_map(|(status, at, (is_confirmed, since, by))| LastSeen {
        status,
        at,
        is_confirmed,
        since,
        by,
    });
    let dates = (option::of(time()), option::of(time()), option::of(observation()), option::of(last_seen));
    let report = (text(), time(), time(), any::<bool>());
    (known, dates, report, phase(), unknown_fields())
        .prop_map(
            |(
                (facts, evidence, creation, assessment),
                (handled_through, delete_after, observation, last_seen),
                (policy_sha256, first_assessed, changed_at, unreported),
                phase,
                unknown_fields,
            )| Record {
                facts,
                evidence,
                creation,
                assessment,
                handled_through,
                delete_after,
                observation,
                last_seen,
                policy_sha256,
                first_assessed,
                changed_at,
                unreported,
                phase,
                unknown_fields,
            },
        )
        .boxed()
}

/// A key, and something that may be stored of it.
pub fn state() -> impl Strategy<Value = (KeyRef, KeyState)> {
    key().prop_flat_map(|key| {
        let state = prop_oneof![
            1 => observation().prop_map(KeyState::Unconfirmed),
            1 => gone().prop_map(KeyState::Tombstone),
            6 => record(key.clone()).prop_map(|record| KeyState::Tracked(Box::new(record))),
        ];
        (Just(key), state)
    })
}

fn standing() -> impl Strategy<Value = Standing> {
    let status = prop_oneof![
        Just(Status::Active),
        Just(Status::Inactive),
        Just(Status::Expired),
        Just(Status::Gone),
        Just(Status::Unknown)
    ];
    let evidence =
        prop_oneof![Just(StatusEvidence::Iam), Just(StatusEvidence::Event), Just(StatusEvidence::SavedList)];
    (status, option::of(time()), option::of(text()), option::of(evidence), option::of(time()))
        .prop_map(|(status, since, by, evidence, seen_at)| Standing { status, since, by, evidence, seen_at })
}

pub fn dry_run() -> impl Strategy<Value = DryRun> {
    let known = (key().prop_flat_map(facts), evidence(), option::of(provenance()), standing());
    (known, time(), assessment(), response(), text(), time()).prop_map(
        |((facts, evidence, creation, standing), latest_trigger, assessment, response, policy_sha256, at)| {
            DryRun {
                facts,
                evidence,
                creation,
                standing,
                latest_trigger,
                assessment,
                response,
                policy_sha256,
                at,
            }
        },
    )
}

pub fn log_entry() -> impl Strategy<Value = LogEntry> {
    let heard = [
        HeardEvent::Created,
        HeardEvent::Activated,
        HeardEvent::Reset,
        HeardEvent::Deactivated,
        HeardEvent::Deleted,
    ];
    let change = prop_oneof![
        proptest::sample::select(heard.to_vec()).prop_map(Change::Heard),
        Just(Change::Assessed),
        (intent_id(), action(), trigger_kind()).prop_map(|(intent, action, trigger)| Change::Intended {
            intent,
            action,
            trigger
        }),
        (intent_id(), action()).prop_map(|(intent, action)| Change::Acted { intent, action }),
        contradiction().prop_map(Change::Observed),
        Just(Change::Gone),
        Just(Change::Inactive),
        Just(Change::Learned),
        Just(Change::Reported),
    ];
    let cause = prop_oneof![
        (proptest::sample::select(heard.to_vec()), provenance())
            .prop_map(|(heard, event)| Cause::Event { heard, provenance: Box::new(event) }),
        Just(Cause::Sweep),
        Just(Cause::Resume),
    ];
    let entry = (key(), time(), cause, change);
    // Only events are heard.
    entry.prop_map(|(key, at, cause, change)| {
        let change = match (&cause, change) {
            (Cause::Event { heard, .. }, Change::Heard(_)) => Change::Heard(*heard),
            (Cause::Sweep | Cause::Resume, Change::Heard(_)) => Change::Learned,
            (_, change) => change,
        };
        LogEntry { key, at, cause, change }
    })
}

/// Names of one user.
pub fn names(count: usize) -> BTreeSet<UserName> {
    (0..count).map(|number| format!("former-name-{number:03}").parse().unwrap()).collect()
}
