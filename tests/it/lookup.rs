//! What the ledger is asked, and what it answers: the questions, the history, and merging.
//!
//! The tests whose names begin with `ledger_` run against whatever DynamoDB `KEY_GUARD_TEST_DYNAMODB` names,
//! and against the embedded one otherwise.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::dynamodb::{Dynamo, MOST, Place, adopt};
use crate::support::{Fault, OTHER, OWN};
use aws_sdk_dynamodb::types::AttributeValue;
use bedrock_key_guard::enforce::{Key, Known, Ledger, Opened};
use bedrock_key_guard::ledger::Outcome;
use bedrock_key_guard::ledger::embedded;
use bedrock_key_guard::ledger::happening::Happening;
use bedrock_key_guard::ledger::merge::{Any, Merged, Record};
use bedrock_key_guard::ledger::search::{Actor, Cost, Filter, Position, Search};
use bedrock_key_guard::ledger::{
    Confirmation, DynamoLedger, Entry, Kind, LedgerError, NewLine, Source, Turn, Word,
};
use bedrock_key_guard::plan::{Hands, Plan, plan};
use chrono::{DateTime, TimeDelta, Utc};
use dynoxide::Database;
use key_guard_core::cloudtrail::{EventKind, ParsedEvent, parse_record};
use key_guard_core::key::KeyRef;
use key_guard_core::policy::{Policy, Response, Scope, Verdict, Violation};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    time("2026-11-24T12:00:00Z")
}

/// A key to be in the ledger.
#[derive(Clone, Copy)]
struct Made {
    id: &'static str,
    account: &'static str,
    user: &'static str,
    service: &'static str,
    at: &'static str,
    days: Option<i64>,
    by: &'static str,
    issuer: Option<&'static str>,
    from: &'static str,
    /// `None`: left open where it is noncompliant.
    outcome: Option<Outcome>,
}

const MARIA: &str = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_DeveloperAccess_0123456789abcdef/maria.lopez@example.com";
const MARIAS_ROLE: &str = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_DeveloperAccess_0123456789abcdef";
const CI: &str = "arn:aws:sts::444455556666:assumed-role/ci-deploy/deploy-4711";
const CI_ROLE: &str = "arn:aws:iam::444455556666:role/ci-deploy";
const JAN: &str = "arn:aws:iam::111122223333:user/staff/jan.kowalski";

/// Seven keys of two accounts over three months, oldest first.
const KEYS: [Made; 7] = [
    Made {
        id: "ACCALOOKUP00000000001",
        account: OWN,
        user: "svc-old",
        service: "bedrock.amazonaws.com",
        at: "2026-08-01T09:00:00Z",
        days: Some(30),
        by: JAN,
        issuer: None,
        from: "198.51.100.1",
        outcome: None,
    },
    Made {
        id: "ACCALOOKUP00000000002",
        account: OWN,
        user: "svc-chatbot",
        service: "bedrock.amazonaws.com",
        at: "2026-11-01T09:00:00Z",
        days: None,
        by: MARIA,
        issuer: Some(MARIAS_ROLE),
        from: "198.51.100.2",
        outcome: Some(Outcome::Deleted),
    },
    Made {
        id: "ACCALOOKUP00000000003",
        account: OTHER,
        user: "svc-chatbot",
        service: "logs.amazonaws.com",
        at: "2026-11-10T09:00:00Z",
        days: Some(365),
        by: CI,
        issuer: Some(CI_ROLE),
        from: "203.0.113.3",
        outcome: Some(Outcome::Deactivated),
    },
    Made {
        id: "ACCALOOKUP00000000004",
        account: OTHER,
        user: "svc-search",
        service: "bedrock.amazonaws.com",
        at: "2026-11-20T09:00:00Z",
        days: Some(90),
        by: CI,
        issuer: Some(CI_ROLE),
        from: "203.0.113.3",
        outcome: None,
    },
    Made {
        id: "ACCALOOKUP00000000005",
        account: OWN,
        user: "Svc-Chatbot",
        service: "bedrock.amazonaws.com",
        at: "2026-11-20T10:00:00Z",
        days: Some(91),
        by: MARIA,
        issuer: Some(MARIAS_ROLE),
        from: "198.51.100.2",
        outcome: None,
    },
    Made {
        id: "ACCALOOKUP00000000006",
        account: OWN,
        user: "svc-root",
        service: "bedrock.amazonaws.com",
        at: "2026-11-20T10:00:00Z",
        days: Some(10),
        by: "arn:aws:iam::111122223333:root",
        issuer: None,
        from: "198.51.100.1",
        outcome: None,
    },
    Made {
        id: "ACCALOOKUP00000000007",
        account: OWN,
        user: "svc-mail",
        service: "bedrock.amazonaws.com",
        at: "2026-11-23T09:00:00Z",
        days: None,
        by: "arn:aws:sts::111122223333:assumed-role/support/maria.lopez@partner.example",
        issuer: None,
        from: "198.51.100.2",
        outcome: Some(Outcome::AlreadyGone),
    },
];

impl Made {
    fn record(&self) -> Value {
        let created = time(self.at);
        let mut credential = json!({
            "serviceSpecificCredentialId": self.id, "userName": self.user, "serviceName": self.service,
            "createDate": created.to_rfc3339(),
        });
        if let Some(days) = self.days {
            credential["expirationDate"] = json!((created + TimeDelta::days(days)).to_rfc3339());
        }
        json!({
            "eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential",
            "eventTime": self.at, "eventID": format!("event-of-{}", self.id),
            "recipientAccountId": self.account, "sourceIPAddress": self.from, "userAgent": "aws-cli/2",
            "userIdentity": {
                "type": "AssumedRole", "arn": self.by,
                "sessionContext": {"sessionIssuer": {"arn": self.issuer}, "attributes": {"mfaAuthenticated": "true"}},
            },
            "responseElements": {"serviceSpecificCredential": credential},
        })
    }

    fn entry(&self, source: Source, hands: Hands, policy: &Policy) -> Entry {
        let ParsedEvent::Relevant(ours) = parse_record(&self.record()).unwrap() else { panic!() };
        let EventKind::Created(created) = &ours.kind else { panic!() };
        let key = Key::created(created);
        let Scope::InScope(judgement) = key.assess(policy, [], ours.provenance.event_time) else { panic!() };
        let (plan, response) = plan(&judgement, hands, Response::Delete);
        let recorded_at = ours.provenance.event_time + TimeDelta::seconds(4);
        Entry::new(
            &key,
            &ours.provenance,
            &judgement,
            policy.sha256(),
            plan,
            response,
            source,
            hands,
            recorded_at,
        )
    }

    async fn write(&self, ledger: &DynamoLedger) {
        let mut entry = self.entry(Source::Event, Hands::Free, &policy());
        ledger.open(&entry, MOST).await.unwrap();
        if let Some(outcome) = self.outcome {
            let at = entry.event_time + TimeDelta::seconds(6);
            entry.confirmed = Some(Confirmation { at, word: Word::Active });
            entry.acted_at = Some(at + TimeDelta::milliseconds(200));
            entry.outcome = outcome;
            ledger.settle(&entry, at + TimeDelta::seconds(1)).await.unwrap();
        }
    }
}

fn policy() -> Policy {
    let text = "[default]\nservices = [\"bedrock.amazonaws.com\", \"logs.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    Policy::parse(text, Path::new("policy.toml")).unwrap()
}

fn filter(of: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    of(&mut filter);
    filter
}

/// The keys found, by the last digit of their ids, and the cost.
async fn ask(ledger: &DynamoLedger, filter: Filter) -> (String, Cost) {
    let mut search = Search::new(ledger, filter, None, 100, now()).unwrap();
    let mut found = String::new();
    while let Some(entry) = search.next().await.unwrap() {
        found.push_str(&entry.key.id.as_str()[20..]);
    }
    assert!(search.unreadable().is_empty());
    (found, search.cost())
}

/// Each question with its answer, newest first, and the calls that it takes.
fn questions() -> Vec<(&'static str, Filter, &'static str, u64)> {
    let id = |n: usize| KEYS[n - 1].id.parse().unwrap();
    let actor = |who: &str| Some(Actor::from(who));
    let since = |text: &str| Some(time(text));
    vec![
        ("key", filter(|f| f.key = Some(id(3))), "3", 1),
        (
            "key of another account",
            filter(|f| (f.key, f.account) = (Some(id(3)), Some(OWN.parse().unwrap()))),
            "",
            1,
        ),
        (
            "user, in any case and account",
            filter(|f| f.user = Some("svc-chatbot".parse().unwrap())),
            "532",
            1,
        ),
        (
            "user of an account",
            filter(|f| {
                (f.user, f.account) = (Some("svc-chatbot".parse().unwrap()), Some(OTHER.parse().unwrap()))
            }),
            "3",
            1,
        ),
        ("actor by ARN", filter(|f| f.actor = actor(MARIA)), "52", 1),
        ("actor by the role's ARN", filter(|f| f.actor = actor(CI_ROLE)), "43", 2),
        ("actor by role", filter(|f| f.actor = actor("ci-deploy")), "43", 2),
        ("actor by permission set", filter(|f| f.actor = actor("developeraccess")), "52", 2),
        (
            "actor by the role of a permission set",
            filter(|f| f.actor = actor("AWSReservedSSO_DeveloperAccess_0123456789abcdef")),
            "52",
            2,
        ),
        (
            "actor by the role of a permission set elsewhere",
            filter(|f| f.actor = actor("AWSReservedSSO_DeveloperAccess_fedcba9876543210")),
            "",
            2,
        ),
        ("actor by session", filter(|f| f.actor = actor("deploy-4711")), "43", 2),
        ("actor by e-mail", filter(|f| f.actor = actor("Maria.Lopez@example.com")), "52", 2),
        ("actor by what is before the @", filter(|f| f.actor = actor("maria.lopez")), "752", 2),
        ("actor by user name", filter(|f| f.actor = actor("jan.kowalski")), "1", 2),
        ("actor who is root", filter(|f| f.actor = actor("root")), "6", 2),
        ("account", filter(|f| f.account = Some(OTHER.parse().unwrap())), "43", 4),
        ("open", filter(|f| f.open = true), "5", 4),
        (
            "a day",
            filter(|f| (f.since, f.until) = (since("2026-11-20T00:00:00Z"), since("2026-11-21T00:00:00Z"))),
            "654",
            16,
        ),
        (
            "a time is exact",
            filter(|f| (f.since, f.until) = (since("2026-11-20T09:00:00Z"), since("2026-11-20T10:00:00Z"))),
            "4",
            16,
        ),
        (
            "verdict",
            filter(|f| (f.verdict, f.since) = (Some(Verdict::Noncompliant), since("2026-11-01T00:00:00Z"))),
            "7532",
            25 * 16,
        ),
        (
            "violation",
            filter(|f| {
                (f.violation, f.since) = (Some(Violation::NeverExpires), since("2026-11-01T00:00:00Z"))
            }),
            "72",
            25 * 16,
        ),
        (
            "outcome",
            filter(|f| (f.outcome, f.since) = (Some(Outcome::Deleted), since("2026-11-01T00:00:00Z"))),
            "2",
            25 * 16,
        ),
        (
            "service",
            filter(|f| {
                (f.service, f.since) =
                    (Some("logs.amazonaws.com".parse().unwrap()), since("2026-11-01T00:00:00Z"))
            }),
            "3",
            25 * 16,
        ),
        (
            "source address, in another spelling",
            filter(|f| {
                (f.source_ip, f.since) =
                    (Some("::FFFF:203.0.113.3".to_owned()), since("2026-11-01T00:00:00Z"))
            }),
            "43",
            25 * 16,
        ),
        ("all without bounds: 90 days", filter(|_| ()), "765432", 91 * 16 + 16),
        (
            "combined",
            filter(|f| {
                (f.actor, f.verdict, f.since) =
                    (actor("maria.lopez"), Some(Verdict::Noncompliant), since("2026-11-10T00:00:00Z"))
            }),
            "75",
            2,
        ),
        (
            "combined with nothing left",
            filter(|f| {
                (f.account, f.violation) = (Some(OTHER.parse().unwrap()), Some(Violation::NeverExpires))
            }),
            "",
            4,
        ),
    ]
}

/// One walk over many days is as good as another, and takes moto seconds.
fn questions_but_long_walks() -> Vec<(&'static str, Filter, &'static str, u64)> {
    questions().into_iter().filter(|(name, .., calls)| *calls < 100 || *name == "verdict").collect()
}

#[tokio::test]
async fn ledger_answers_every_question_by_bounded_queries() {
    let place = Place::new("questions").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    for (name, filter, expected, calls) in questions() {
        if let Some(dynamo) = &place.embedded {
            dynamo.forget_calls();
        }
        let (found, cost) = ask(&place.ledger, filter).await;
        assert_eq!(found, expected, "{name}");
        assert_eq!(cost.calls, calls, "{name}");
        if let Some(dynamo) = &place.embedded {
            let made = dynamo.calls();
            assert_eq!(made.len() as u64, cost.calls, "{name}: calls are counted");
            assert!(made.iter().all(|call| call == "Query"), "{name}: {made:?}");
        }
    }
}

/// A role and a session, or two lines of one key, may be of the same name: the key is one answer.
#[tokio::test]
async fn ledger_shows_a_key_once_however_it_was_found() {
    let place = Place::new("once").await;
    let by = "arn:aws:sts::111122223333:assumed-role/terraform/terraform";
    let key = Made { by, ..KEYS[1] };
    let mut entry = key.entry(Source::Event, Hands::Free, &policy());
    place.ledger.open(&entry, MOST).await.unwrap();
    entry.former_user = Some(entry.user.clone());
    entry.outcome = Outcome::Deleted;
    place.ledger.settle(&entry, now()).await.unwrap();
    for filter in [
        filter(|f| f.actor = Some(Actor::from("terraform"))),
        filter(|f| f.user = Some("svc-chatbot".parse().unwrap())),
    ] {
        assert_eq!(ask(&place.ledger, filter).await.0, "2");
    }
}

/// What was settled leaves the index of what is open: the question stays as small as its answer.
#[tokio::test]
async fn ledger_index_of_what_is_open_holds_nothing_else() {
    let place = Place::new("open").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    let mut open = Vec::new();
    for shard in 0..4 {
        let query = place.client.query().table_name(&place.table).index_name("by_open");
        let query = query.key_condition_expression("open_key = :open");
        let value = AttributeValue::S(format!("OPEN#{shard}"));
        let answer = query.expression_attribute_values(":open", value).send().await.unwrap();
        open.extend(
            answer.items.unwrap().into_iter().map(|item| item["credential_id"].as_s().unwrap().clone()),
        );
    }
    assert_eq!(open, [KEYS[4].id]);
}

/// The number of calls does not depend on what else is in the table.
#[tokio::test]
async fn ledger_questions_cost_the_same_in_a_larger_table() {
    let place = Place::new("larger").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    let costs = async || {
        let mut costs = Vec::new();
        for (name, filter, ..) in questions_but_long_walks() {
            costs.push((name, ask(&place.ledger, filter).await));
        }
        costs
    };
    let before = costs().await;
    for n in 0..200 {
        let id: &'static str = Box::leak(format!("ACCAOTHERS{n:011}").into_boxed_str());
        let user: &'static str = Box::leak(format!("other-{n}").into_boxed_str());
        let others = Made {
            id,
            user,
            account: "777788889999",
            at: "2026-10-05T09:00:00Z",
            by: "arn:aws:iam::777788889999:user/other",
            ..KEYS[0]
        };
        others.write(&place.ledger).await;
    }
    assert_eq!(costs().await, before);
}

#[tokio::test]
async fn ledger_pages_hold_every_key_once_and_in_order() {
    let place = Place::new("pages").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    for (name, filter, expected, _) in questions_but_long_walks() {
        for size in 1..4 {
            let (mut found, mut before): (String, Option<Position>) = (String::new(), None);
            loop {
                let mut search = Search::new(&place.ledger, filter.clone(), before, size, now()).unwrap();
                let mut taken = 0;
                while taken < size
                    && let Some(entry) = search.next().await.unwrap()
                {
                    found.push_str(&entry.key.id.as_str()[20..]);
                    taken += 1;
                }
                before = search.position().map(|place| place.to_string().parse().unwrap());
                if taken < size {
                    break;
                }
            }
            assert_eq!(found, expected, "{name}, {size} to a page");
        }
    }
}

/// The second key, whose user `svc-chatbot` was `svc-renamed` when the guard looked.
async fn write_renamed(ledger: &DynamoLedger) -> Entry {
    let mut entry = KEYS[1].entry(Source::Event, Hands::Free, &policy());
    ledger.open(&entry, MOST).await.unwrap();
    entry.former_user = Some(entry.user.clone());
    entry.user = "svc-renamed".parse().unwrap();
    entry.outcome = Outcome::Deleted;
    ledger.settle(&entry, entry.event_time + TimeDelta::seconds(9)).await.unwrap();
    entry
}

#[tokio::test]
async fn ledger_tells_a_renamed_user_by_both_names() {
    let place = Place::new("renamed").await;
    write_renamed(&place.ledger).await;
    for (user, calls) in [("svc-chatbot", 2), ("svc-renamed", 1)] {
        let (found, cost) = ask(&place.ledger, filter(|f| f.user = Some(user.parse().unwrap()))).await;
        assert_eq!((found.as_str(), cost.calls), ("2", calls), "{user}");
    }
}

/// Pages go on behind what was found, which a merged line and the state may have at different times.
#[tokio::test]
async fn ledger_pages_hold_what_a_former_name_leads_to() {
    let place = Place::new("former").await;
    write_renamed(&place.ledger).await;
    for key in [KEYS[0], KEYS[2]] {
        let mut entry = key.entry(Source::Event, Hands::Free, &policy());
        entry.user = "svc-chatbot".parse().unwrap();
        place.ledger.open(&entry, MOST).await.unwrap();
    }
    // Elsewhere, the second key's event came in with another time.
    let mut entry = KEYS[1].entry(Source::Event, Hands::Free, &policy());
    entry.former_user = Some(entry.user.clone());
    entry.event_time = time("2026-12-24T09:00:00Z");
    let line = Record::line(&entry, Kind::Settled, now(), "elsewhere".to_owned());
    import(&place.ledger, &[line]).await;
    let filter = filter(|f| f.user = Some("svc-chatbot".parse().unwrap()));
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let mut search = Search::new(&place.ledger, filter.clone(), before, 1, now()).unwrap();
        let Some(entry) = search.next().await.unwrap() else { break };
        found.push(entry.key.id.as_str()[20..].to_owned());
        before = search.position().cloned();
        assert!(found.len() < 9, "pages go in circles: {found:?}");
    }
    let distinct: BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), 3, "{found:?}");
}

/// A replay opens many entries in a call. Each gets the answer that it would have got alone, whatever of it was there,
/// and however often it is among them.
#[tokio::test]
async fn ledger_opens_many_entries_as_it_opens_each() {
    let (together, alone) = (Place::new("together").await, Place::new("alone").await);
    for place in [&together, &alone] {
        for key in [KEYS[2], KEYS[4]] {
            key.write(&place.ledger).await;
        }
    }
    // More than go into one transaction, each key twice, and two that are there.
    let many = (0..120).map(|n| {
        let mut entry = KEYS[n % 2].entry(Source::Replay, Hands::Tied, &policy());
        entry.key.id = format!("ACCAEXAMPLEMANY{:06}", n % 60).parse().unwrap();
        entry.event_id = Some(format!("event-{n}").parse().unwrap());
        entry.turn.id = format!("event-{n}");
        entry
    });
    let there = [KEYS[2], KEYS[4]].map(|key| key.entry(Source::Replay, Hands::Tied, &policy()));
    let mut entries: Vec<Entry> = many.collect();
    entries.insert(7, there[0].clone());
    entries.insert(70, there[1].clone());
    let told = |opened: &Result<Opened, LedgerError>| match opened.as_ref().unwrap() {
        Opened::New => "new".to_owned(),
        Opened::Existing(Known::Entry(stored)) => format!("{} by {}", stored.key, stored.turn),
        other @ (Opened::Existing(_) | Opened::Spent) => panic!("{other:?}"),
    };
    if let Some(dynamo) = &together.embedded {
        dynamo.forget_calls();
    }
    let at_once: Vec<_> = together.ledger.open_all(&entries).await.iter().map(told).collect();
    let mut one_by_one = Vec::new();
    for entry in &entries {
        one_by_one.push(told(&alone.ledger.open(entry, MOST).await));
    }
    assert_eq!(at_once, one_by_one);
    assert_eq!(at_once.iter().filter(|told| *told == "new").count(), 60);
    if let Some(dynamo) = &together.embedded {
        // 50 with one that is there, 49 without; 13 with one, 12 without; 50 and 11 that are there by now; none alone.
        assert!(dynamo.calls().len() <= 8, "{:?}", dynamo.calls());
    }
    let all = filter(|f| f.since = Some(time("2026-10-01T00:00:00Z")));
    assert_eq!(ask(&together.ledger, all.clone()).await.0, ask(&alone.ledger, all).await.0);
}

#[tokio::test]
async fn ledger_tells_the_history_of_a_key_in_order() {
    let place = Place::new("history").await;
    KEYS[1].write(&place.ledger).await;
    let key = KeyRef { account: OWN.parse().unwrap(), id: KEYS[1].id.parse().unwrap() };
    let history = place.ledger.history(&key).await.unwrap();
    assert_eq!(history.cost.calls, 1);
    let state = history.state.unwrap();
    assert_eq!((state.outcome, state.settled_at), (Outcome::Deleted, Some(time("2026-11-01T09:00:07Z"))));
    let lines: Vec<_> = history.lines.iter().map(|line| (line.kind, line.at, line.entry.source)).collect();
    assert_eq!(
        lines,
        [
            (Kind::Judged, time("2026-11-01T09:00:00Z"), Source::Event),
            (Kind::Settled, time("2026-11-01T09:00:07Z"), Source::Guard),
        ]
    );
    let opened = &history.lines[0].entry;
    assert_eq!((opened.outcome, opened.recorded_at), (Outcome::Open, time("2026-11-01T09:00:04Z")));
    assert_eq!((opened.actor.principal.as_deref(), opened.actor.mfa), (Some(MARIA), Some(true)));
}

#[tokio::test]
async fn ledger_items_of_others_are_named_and_passed_over() {
    let place = Place::new("others").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    let pk = AttributeValue::S(format!("KEY#{OWN}#{}", KEYS[4].id));
    let key = || {
        HashMap::from([
            ("pk".to_owned(), pk.clone()),
            ("sk".to_owned(), AttributeValue::S("STATE".to_owned())),
        ])
    };
    let stored = place.client.get_item().table_name(&place.table).set_key(Some(key())).send().await.unwrap();
    for (attribute, value, says) in [
        ("v", Some(AttributeValue::N("9".to_owned())), "its schema version is 9; this build reads 2"),
        ("v", None, "no schema version"),
        ("verdict", Some(AttributeValue::S("fine".to_owned())), "unknown variant `fine`"),
        ("outcome", None, "missing field `outcome`"),
    ] {
        let mut item = stored.item.clone().unwrap();
        match value {
            Some(value) => item.insert(attribute.to_owned(), value),
            None => item.remove(attribute),
        };
        place.client.put_item().table_name(&place.table).set_item(Some(item)).send().await.unwrap();
        for filter in [
            filter(|f| f.account = Some(OWN.parse().unwrap())),
            filter(|f| f.actor = Some(Actor::from("maria.lopez"))),
            filter(|f| f.key = Some(KEYS[4].id.parse().unwrap())),
        ] {
            let mut search = Search::new(&place.ledger, filter, None, 100, now()).unwrap();
            while let Some(entry) = search.next().await.unwrap() {
                assert_ne!(entry.key.id.as_str(), KEYS[4].id);
            }
            let unreadable = search.unreadable();
            assert_eq!(unreadable.len(), 1, "{unreadable:?}");
            let message = unreadable[0].to_string();
            assert!(
                message.contains(KEYS[4].id) && message.contains("STATE") && message.contains(says),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn a_denied_call_names_the_action_that_is_missing() {
    let dynamo = Dynamo::start();
    let ledger = dynamo.ledger("denied").await;
    write_renamed(&ledger).await;
    let denied = Fault::Refused(400, "AccessDeniedException");
    for (call, action) in [
        ("Query", "dynamodb:Query on the table and its indexes"),
        ("BatchGetItem", "dynamodb:BatchGetItem on the table"),
        ("TransactWriteItems", "dynamodb:PutItem on the table"),
    ] {
        dynamo.fault(call, denied, 1);
        let error: LedgerError = if call == "TransactWriteItems" {
            ledger.open(&KEYS[2].entry(Source::Event, Hands::Free, &policy()), MOST).await.unwrap_err()
        } else {
            let filter = filter(|f| f.user = Some("svc-chatbot".parse().unwrap()));
            Search::new(&ledger, filter, None, 1, now()).unwrap().next().await.unwrap_err()
        };
        assert_eq!(error.error_type(), "LedgerCallFailed");
        let message = error.to_string();
        assert!(message.contains("ledger table denied") && message.contains(action), "{message}");
    }
}

#[tokio::test]
async fn a_walk_over_too_many_days_is_refused() {
    let ledger = Dynamo::start().ledger("days").await;
    let filter = filter(|f| f.since = Some(time("2016-01-01T00:00:00Z")));
    let error = Search::new(&ledger, filter, None, 100, now()).unwrap_err();
    assert!(error.to_string().contains("--since"), "{error}");
}

// ---- history is append-only ----

/// A ledger in memory, and the database under it.
async fn memory() -> (DynamoLedger, Database) {
    let database = Database::memory().unwrap();
    (embedded::on(database.clone()).await.unwrap(), database)
}

/// Every item of a ledger, by its keys.
fn items(database: &Database) -> BTreeMap<String, Value> {
    let request = serde_json::from_value(json!({"TableName": embedded::TABLE})).unwrap();
    let answer = serde_json::to_value(database.scan(request).unwrap()).unwrap();
    let key =
        |item: &Value| format!("{} {}", item["pk"]["S"].as_str().unwrap(), item["sk"]["S"].as_str().unwrap());
    // How often a state was written depends on who came first.
    let without_rev = |item: &Value| {
        let mut item = item.clone();
        item.as_object_mut().unwrap().remove("rev");
        item
    };
    let items = answer["Items"].as_array().unwrap().iter().map(|item| (key(item), without_rev(item)));
    items.filter(|(key, _)| !key.starts_with("HOUR#")).collect()
}

async fn exported(ledger: &DynamoLedger) -> Vec<Record> {
    let (mut everything, mut records) = (ledger.everything(), Vec::new());
    while let Some(page) = everything.next().await.unwrap() {
        records.extend(page.into_iter().map(|item| match item.unwrap() {
            Any::Key(record) => *record,
            other @ Any::Happening(_) => panic!("{other:?}"),
        }));
    }
    records
}

/// As `import` does: through JSON, by key.
async fn import(ledger: &DynamoLedger, records: &[Record]) {
    for record in records {
        let record = Record::from_json(&record.to_json().unwrap()).unwrap();
        ledger.merge(&record.key(), &[record]).await.unwrap();
    }
}

#[tokio::test]
async fn history_is_append_only_through_every_door() {
    let (ledger, database) = memory().await;
    let strict = Policy::built_in().unwrap();
    let rehearsed = KEYS[1].entry(Source::Replay, Hands::Tied, &policy());
    let real = KEYS[1].entry(Source::Event, Hands::Free, &strict);
    let mut settled = real.clone();
    settled.confirmed = Some(Confirmation { at: now(), word: Word::Active });
    let (elsewhere, _) = memory().await;
    elsewhere.open(&KEYS[1].entry(Source::Event, Hands::Free, &policy()), MOST).await.unwrap();
    let foreign = exported(&elsewhere).await;

    let later = |recorded_at| Entry {
        event_id: Some("later".parse().unwrap()),
        event_time: now(),
        recorded_at,
        ..real.clone()
    };

    let mut before: BTreeMap<String, Value> = BTreeMap::new();
    let mut at = now();
    let mut doors: Vec<&str> = vec![
        "open",
        "open",
        "open real",
        "adopt",
        "adopt",
        "open",
        "merge",
        "merge",
        "confirmed",
        "recorded",
        "monitored",
        "already_inactive",
        "already_gone",
        "deactivated",
        "deleted",
        "merge",
        "open",
        "open real",
        "adopt",
    ];
    doors.extend(["same second", "same second", "later", "later", "merge later", "later"]);
    for door in doors {
        at += TimeDelta::seconds(1);
        match door {
            "open" => drop(ledger.open(&rehearsed, MOST).await.unwrap()),
            "open real" => drop(ledger.open(&real, MOST).await.unwrap()),
            "adopt" => drop(adopt(&ledger, &real, at).await),
            "merge" => import(&ledger, &foreign).await,
            "later" => {
                let line = NewLine { kind: Kind::Deleted, at: now(), id: "later".to_owned() };
                ledger.note(&later(now()), line).await.unwrap();
            }
            "merge later" => {
                let line = Record::line(&later(at), Kind::Deleted, now(), "later".to_owned());
                import(&ledger, &[line]).await;
            }
            "same second" => {
                settled.outcome = Outcome::Deleted;
                ledger.settle(&settled, now()).await.unwrap();
            }
            outcome => {
                settled.outcome = serde_json::from_value(json!(outcome)).unwrap();
                ledger.settle(&settled, at).await.unwrap();
            }
        }
        let after = items(&database);
        for (key, line) in before.iter().filter(|(key, _)| !key.ends_with(" STATE")) {
            assert_eq!(after.get(key), Some(line), "{door} changed {key}");
        }
        before = after;
    }
    // Two doors in, one merged, seven settled, one of later and one of that merged, and the state.
    assert_eq!(before.len(), 1 + 2 + 1 + 7 + 2, "{:#?}", before.keys());
    // What one table tells is read back the same by another.
    let (copy, copied) = memory().await;
    import(&copy, &exported(&ledger).await).await;
    let texts = async |ledger: &DynamoLedger| -> BTreeSet<String> {
        exported(ledger).await.iter().map(|record| record.to_json().unwrap()).collect()
    };
    assert_eq!(texts(&copy).await, texts(&ledger).await);
    assert_eq!(items(&copied).len(), before.len());
}

/// Whoever takes the state away does not get the line overwritten.
#[tokio::test]
async fn a_line_whose_state_is_gone_is_not_written_again() {
    let (ledger, database) = memory().await;
    let entry = write_renamed(&ledger).await;
    let key = json!({"TableName": embedded::TABLE, "Key": {
        "pk": {"S": format!("KEY#{OWN}#{}", KEYS[1].id)}, "sk": {"S": "STATE"},
    }});
    database.delete_item(serde_json::from_value(key).unwrap()).unwrap();
    let before = items(&database);
    // It is reported by whoever looks for it.
    let filter = filter(|f| f.user = Some("svc-chatbot".parse().unwrap()));
    let mut search = Search::new(&ledger, filter, None, 100, now()).unwrap();
    assert!(search.next().await.unwrap().is_none());
    let unreadable = search.unreadable();
    assert!(unreadable[0].to_string().contains("its history is there"), "{unreadable:?}");
    let other = Entry { reason: "another".to_owned(), ..entry };
    assert!(matches!(ledger.open(&other, MOST).await.unwrap(), Opened::New));
    let lines = |items: BTreeMap<String, Value>| -> Vec<_> {
        items.into_iter().filter(|(key, _)| !key.ends_with(" STATE")).collect()
    };
    assert_eq!(lines(items(&database)), lines(before));
}

// ---- merging ----

/// What happens to a key in some ledger.
#[derive(Debug, Clone, Copy)]
struct Told {
    key: usize,
    rehearsal: bool,
    strict: bool,
    outcomes: [Outcome; 2],
    seconds: i64,
}

fn told() -> impl Strategy<Value = Told> {
    let outcome = || {
        prop_oneof![
            Just(Outcome::Open),
            Just(Outcome::Confirmed),
            Just(Outcome::Monitored),
            Just(Outcome::AlreadyGone),
            Just(Outcome::Deleted),
        ]
    };
    (0..2_usize, any::<bool>(), any::<bool>(), outcome(), outcome(), 1..4_i64).prop_map(
        |(key, rehearsal, strict, first, second, seconds)| Told {
            key: [1, 4][key],
            rehearsal,
            strict,
            outcomes: [first, second],
            seconds,
        },
    )
}

/// An export of a ledger in which this happened.
async fn export_of(told: &[Told]) -> Vec<Record> {
    let (ledger, _) = memory().await;
    for told in told {
        let policy = if told.strict { Policy::built_in().unwrap() } else { policy() };
        let (source, hands) =
            if told.rehearsal { (Source::Replay, Hands::Tied) } else { (Source::Event, Hands::Free) };
        let mut entry = KEYS[told.key].entry(source, hands, &policy);
        entry.recorded_at += TimeDelta::seconds(told.seconds);
        ledger.open(&entry, MOST).await.unwrap();
        if !told.rehearsal {
            adopt(&ledger, &entry, entry.recorded_at).await;
            for outcome in told.outcomes.into_iter().filter(|outcome| *outcome != Outcome::Open) {
                entry.outcome = outcome;
                ledger.settle(&entry, now() + TimeDelta::seconds(told.seconds)).await.unwrap();
            }
        }
    }
    exported(&ledger).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Merging is idempotent, commutative and associative, and overlapping exports are no exception.
    #[test]
    fn merging_in_any_order_and_any_number_of_times_gives_the_same_ledger(
        ledgers in proptest::collection::vec(proptest::collection::vec(told(), 1..3), 2..4),
        order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
        cut in 0..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut exports = Vec::new();
            for told in &ledgers {
                exports.push(export_of(told).await);
            }
            let (straight, expected) = memory().await;
            for export in &exports {
                import(&straight, export).await;
            }
            let expected = items(&expected);
            // Each export twice, the second time in part and backwards, all in another order.
            let (shuffled, found) = memory().await;
            for index in order {
                let Some(export) = exports.get(index % 3) else { continue };
                if index < 3 {
                    import(&shuffled, export).await;
                } else {
                    let part: Vec<_> = export.iter().rev().take(cut).cloned().collect();
                    import(&shuffled, &part).await;
                }
            }
            assert_eq!(items(&found), expected);
            // What was merged, exported and merged again is the same.
            let (again, found) = memory().await;
            import(&again, &exported(&straight).await).await;
            assert_eq!(items(&found), expected);
            import(&straight, &exported(&again).await).await;
            assert_eq!(items(&found), expected);
        });
    }
}

#[tokio::test]
async fn ledger_merges_what_another_tells_and_keeps_its_own() {
    let place = Place::new("merge").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    let (laptop, _) = memory().await;
    // The table knows better than a rehearsal; a key of its own is new; an outcome that is higher stands.
    laptop.open(&KEYS[1].entry(Source::Replay, Hands::Tied, &policy()), MOST).await.unwrap();
    let unknown =
        Made { id: "ACCALOOKUP00000000008", user: "svc-new", at: "2026-11-23T10:00:00Z", ..KEYS[1] };
    unknown.write(&laptop).await;
    let gone = Made { outcome: Some(Outcome::Deleted), ..KEYS[6] };
    gone.write(&laptop).await;
    // What the guard has only begun stands above what was rehearsed to its end.
    laptop.open(&KEYS[4].entry(Source::Replay, Hands::Tied, &policy()), MOST).await.unwrap();
    for turn in 0..2 {
        let records = exported(&laptop).await;
        let mut merged = (0, 0);
        for record in &records {
            let one = place.ledger.merge(&record.key(), std::slice::from_ref(record)).await.unwrap();
            let Merged { lines, states, .. } = one;
            merged = (merged.0 + lines, merged.1 + states);
        }
        // The lines of the rehearsals differ, those of the new key are new, and so is one more settling.
        assert_eq!(merged, if turn == 0 { (5, 2) } else { (0, 0) });
    }
    let (found, _) = ask(&place.ledger, filter(|f| f.account = Some(OWN.parse().unwrap()))).await;
    assert_eq!(found, "8765".to_owned() + "21");
    for (id, outcome) in [
        (KEYS[4].id, Outcome::Open),
        (KEYS[1].id, Outcome::Deleted),
        (KEYS[6].id, Outcome::Deleted),
        (unknown.id, Outcome::Deleted),
    ] {
        let key = KeyRef { account: OWN.parse().unwrap(), id: id.parse().unwrap() };
        let state = place.ledger.history(&key).await.unwrap().state.unwrap();
        assert_eq!((state.outcome, state.rehearsal), (outcome, false), "{id}");
    }
}

/// Deactivated by the guard in both ledgers, and only one has heard of who set its status since.
#[tokio::test]
async fn merging_takes_a_key_out_of_its_quarantine_that_somebody_else_has_touched() {
    let mut left = KEYS[4].entry(Source::Event, Hands::Free, &policy());
    left.outcome = Outcome::Deactivated;
    (left.deactivated_at, left.as_left) = (Some(now()), true);
    left.delete_after = Some(now() + TimeDelta::days(7));
    // What was recorded first stands.
    let mut touched = left.clone();
    touched.recorded_at += TimeDelta::seconds(1);
    touched.touch(Some(now() + TimeDelta::hours(1)));
    let mut earlier = left.clone();
    earlier.touch(Some(now() - TimeDelta::hours(1)));
    // A sweep that only looked has seen that it works: what was known before it stands, but for that.
    let mut seen = touched.clone();
    (seen.outcome, seen.plan) = (Outcome::Monitored, Plan::Record(Outcome::Monitored));
    seen.turn = Turn::sweep(now() + TimeDelta::hours(1));
    for (ours, theirs, stays) in [
        (&left, &touched, false),
        (&touched, &left, false),
        (&left, &seen, false),
        (&seen, &left, false),
        (&left, &earlier, true),
        (&left, &left, true),
    ] {
        let ((here, _), (there, _)) = (memory().await, memory().await);
        here.open(ours, MOST).await.unwrap();
        there.open(theirs, MOST).await.unwrap();
        import(&here, &exported(&there).await).await;
        let state = here.history(&left.key).await.unwrap().state.unwrap();
        assert_eq!((state.as_left, state.delete_after.is_some()), (stays, stays));
        assert_eq!(state.touched_at, ours.touched_at.max(theirs.touched_at));
    }
    // The version before had no words of its own for it.
    let ((here, _), (there, _)) = (memory().await, memory().await);
    here.open(&touched, MOST).await.unwrap();
    left.acted_at = left.deactivated_at;
    there.open(&left, MOST).await.unwrap();
    let of_version_2 = |record: &Record| {
        let mut json: Value = serde_json::from_str(&record.to_json().unwrap()).unwrap();
        json["v"] = json!(2);
        for name in ["turn", "deactivated_at", "as_left", "delete_after"] {
            json.as_object_mut().unwrap().remove(name);
        }
        Record::from_json(&json.to_string()).unwrap()
    };
    let old: Vec<_> = exported(&there).await.iter().map(of_version_2).collect();
    let (alone, _) = memory().await;
    import(&alone, &old).await;
    assert!(alone.history(&left.key).await.unwrap().state.unwrap().as_left);
    import(&here, &old).await;
    assert!(!here.history(&left.key).await.unwrap().state.unwrap().as_left);
}

/// One ledger knows the key, and another one only what happened to it since: the order in which they come does not matter.
#[test]
fn an_import_brings_a_key_and_what_happened_to_it_together() {
    let folder = tempfile::tempdir().unwrap();
    let off = |by: &str, at: &str| {
        let mut event = crate::support::world::later("UpdateServiceSpecificCredential", Some("Inactive"), at);
        event["userIdentity"]["arn"] = json!(format!("arn:aws:iam::{OWN}:user/{by}"));
        crate::support::world::read(&event)
    };
    let key = KeyRef { account: OWN.parse().unwrap(), id: crate::support::world::ID.parse().unwrap() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut entry = KEYS[4].entry(Source::Event, Hands::Free, &policy());
        entry.key = key.clone();
        entry.outcome = Outcome::Deactivated;
        entry.deactivated_at = Some("2026-11-20T10:00:00.5Z".parse().unwrap());
        entry.as_left = true;
        entry.deactivated_as = Some("user/ops".to_owned());
        let mut rehearsed = KEYS[4].entry(Source::Replay, Hands::Tied, &policy());
        rehearsed.key = key.clone();
        for (name, entry) in [("key", entry), ("rehearsed", rehearsed)] {
            let (knows, _) = memory().await;
            knows.open(&entry, MOST).await.unwrap();
            let mut text = String::new();
            for record in exported(&knows).await {
                text = text + &record.to_json().unwrap() + "\n";
            }
            std::fs::write(folder.path().join(format!("{name}.jsonl")), text).unwrap();
        }
    });
    let others = off("maria", "2026-11-20T12:00:00Z");
    let own = off("ops", "2026-11-20T10:00:00Z");
    for (name, inbound, is_touched) in [("others", &others, true), ("own", &own, false)] {
        let ParsedEvent::Relevant(ours) = inbound else { panic!() };
        let happening = Happening {
            credential_id: Some(key.id.clone()),
            ..Happening::of(
                &ours.provenance,
                Kind::SwitchedOff,
                "switched off".to_owned(),
                Source::Event,
                now(),
            )
        };
        runtime.block_on(async {
            let (heard, _) = memory().await;
            heard.remember(&happening, false).await.unwrap();
            let item = heard.everything().next().await.unwrap().unwrap().remove(0).unwrap();
            std::fs::write(folder.path().join("heard.jsonl"), item.to_json().unwrap() + "\n").unwrap();
            // The same where a rehearsal knows the key.
            let (laptop, _) = memory().await;
            let mut rehearsed = KEYS[4].entry(Source::Replay, Hands::Tied, &policy());
            rehearsed.key = key.clone();
            laptop.open(&rehearsed, MOST).await.unwrap();
            rehearsed.told_by(&ours.provenance);
            let (at, id) = (ours.provenance.event_time, ours.provenance.event_id.to_string());
            laptop.note(&rehearsed, NewLine { kind: Kind::SwitchedOff, at, id }).await.unwrap();
            let lines: Vec<_> =
                exported(&laptop).await.iter().map(|record| record.to_json().unwrap()).collect();
            std::fs::write(folder.path().join("laptop.jsonl"), lines.join("\n")).unwrap();
        });
        let (key, heard, rehearsed) = ("key.jsonl", "heard.jsonl", "rehearsed.jsonl");
        let laptop = "laptop.jsonl";
        for (order, files) in [
            (1, &[key, heard][..]),
            (2, &[heard, key]),
            (3, &[heard, heard]),
            // A laptop may know it from a rehearsal, which knows nobody's name.
            (4, &[heard, rehearsed, key]),
            (5, &[rehearsed, heard, key]),
            (6, &[key, rehearsed, heard]),
            (7, &[laptop, key]),
            (8, &[key, laptop]),
        ] {
            let ledger = format!("file:{name}-{order}.db");
            for file in files {
                let ran = run(folder.path(), &["import", "--ledger", &ledger, file], &[]);
                assert_eq!(ran.code, 0, "{}", ran.stderr);
                assert!(!ran.stderr.contains("no state"), "{}", ran.stderr);
            }
            let ran = run(folder.path(), &["export", "--ledger", &ledger], &[]);
            let items: Vec<Value> =
                ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let state = items.iter().find(|item| item["kind"] == "state");
            assert_eq!(state.is_some(), order != 3);
            let touched = state.is_some_and(|state| state.get("touched_at").is_some());
            assert_eq!(touched, is_touched && order != 3, "{name} {order}: {items:?}");
        }
    }
}

#[test]
fn a_line_of_an_export_that_is_wrong_says_what_is_wrong() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let records = runtime.block_on(async {
        let (ledger, _) = memory().await;
        KEYS[1].write(&ledger).await;
        exported(&ledger).await
    });
    let state: Value = serde_json::from_str(
        &records.iter().find(|record| record.kind() == Kind::State).unwrap().to_json().unwrap(),
    )
    .unwrap();
    let with = |name: &str, value: Value| {
        let mut changed = state.clone();
        changed[name] = value;
        Record::from_json(&changed.to_string())
    };
    for (name, value, says) in [
        ("v", json!(4), "its schema version is 4; this build reads 2 to 3"),
        ("turn", json!("yesterday"), "expected <time>#<trigger>#<id>"),
        ("v", json!(null), "no schema version"),
        ("account", json!("42"), "an AWS account id of 12 digits"),
        ("verdict", json!("fine"), "unknown variant `fine`"),
        ("sk", json!("AT#2026-11-20T09:00:00Z#x"), "contradict"),
        ("sk", json!("STATE2"), "contradict"),
        ("outcome_rank", json!(99), "contradict"),
        ("expires_at", json!("2026-11-20T09:00:00Z"), "contradict"),
        ("policy_sha256", json!("abc"), "no SHA-256"),
        ("confirmed_at", json!(null), "contradict"),
    ] {
        let error = with(name, value.clone()).unwrap_err();
        assert!(error.contains(says), "{name} {value}: {error}");
    }
    assert!(Record::from_json("{").unwrap_err().contains("EOF"));
    // Nothing that was refused at the front door comes in at the back.
    let secret = "curl ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl\u{1b}[31m";
    for name in ["user_agent", "reason", "actor", "source_ip", "session_issuer", "actor_type"] {
        let text = with(name, json!(secret)).unwrap().to_json().unwrap();
        assert!(
            !text.contains("Qm") && !text.contains("\\u001b") && text.contains("ABSK(redacted)"),
            "{text}"
        );
    }
}

// ---- the command line ----

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_bedrock-key-guard"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a ledger of what is in `events/`.
fn replayed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let events = root().join("events");
    assert_eq!(run(folder.path(), &["replay", events.to_str().unwrap()], &[]).code, 0);
    folder
}

/// Times at which a test runs, as one word: an example's are others.
fn timeless(text: &str) -> String {
    let is_time = |word: &str| word.len() == 20 && DateTime::parse_from_rfc3339(word).is_ok();
    let of_the_run = |word: &str| is_time(word) && !word.starts_with("2026-11-20");
    let line = |line: &str| {
        let words = line.split(' ').map(|word| if of_the_run(word) { "2026-11-24T12:00:00Z" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_readme_shows_a_real_investigation() {
    let folder = replayed();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let session = readme.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let mut commands = 0;
    for part in session.split("$ bedrock-key-guard ").skip(1) {
        let (command, expected) = part.split_once('\n').unwrap();
        let ran = run(folder.path(), &command.split(' ').collect::<Vec<_>>(), &[]);
        assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
        assert_eq!(
            timeless(expected.trim_end()),
            timeless(ran.stdout.trim_end()),
            "{command}\n{}",
            ran.stdout
        );
        commands += 1;
    }
    assert_eq!(commands, 4);
}

/// Each later event is told, once, with who did it; the key's state stays that of its creation. What happened to a key
/// that the ledger does not know is kept, and found by the key's id.
#[test]
fn what_happened_to_a_key_later_is_in_its_history() {
    let folder = replayed();
    let ran = run(folder.path(), &["lookup", "--key", "ACCAEXAMPLEKEY0000003", "--format", "jsonl"], &[]);
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        [text("line"), text("at"), text("source"), text("event_id")]
    };
    let mut lines: Vec<_> = rows.iter().map(told).collect();
    // When the replay ran.
    let judged = lines.iter_mut().find(|line| line[0] == "judged").unwrap();
    "then".clone_into(&mut judged[1]);
    let line = |what: &str, at: &str, event: &str| [what, at, "replay", event].map(str::to_owned);
    assert_eq!(
        lines[1..],
        [
            line("created", "2026-11-20T09:21:33Z", "5d1c000b-7b1e-4c3a-9f00-abc00000000b"),
            line("switched_off", "2026-11-20T12:21:08Z", "5d1c006c-7b1e-4c3a-9f00-abc00000006c"),
            line("switched_on", "2026-11-20T12:28:19Z", "5d1c006f-7b1e-4c3a-9f00-abc00000006f"),
            line("secret_reset", "2026-11-20T12:35:30Z", "5d1c0072-7b1e-4c3a-9f00-abc000000072"),
            line("deleted", "2026-11-20T12:42:41Z", "5d1c0075-7b1e-4c3a-9f00-abc000000075"),
            line("judged", "then", "5d1c000b-7b1e-4c3a-9f00-abc00000000b"),
        ]
    );
    assert_eq!(lines[0][3], "5d1c000b-7b1e-4c3a-9f00-abc00000000b", "the state is the creation's");
    let again = root().join("events/deleted.json");
    let ran = run(folder.path(), &["replay", "--format", "jsonl", again.to_str().unwrap()], &[]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["reason"], "A key was deleted. It is written into the key's history.");
    let ran = run(folder.path(), &["lookup", "--key", "ACCAEXAMPLEKEY0000003", "--format", "jsonl"], &[]);
    assert_eq!(ran.stdout.lines().count(), rows.len(), "once");

    let all = run(folder.path(), &["export", "--output", "all.jsonl"], &[]);
    assert_eq!(all.code, 0);
    for arguments in [
        ["import", "--ledger", "file:merged.db", "all.jsonl"],
        ["replay", "--ledger", "file:merged.db", root().join("events").to_str().unwrap()],
    ] {
        run(folder.path(), &arguments, &[]);
    }
    let ran = run(
        folder.path(),
        &["lookup", "--ledger", "file:merged.db", "--key", "ACCAEXAMPLEKEY0000003", "--format", "jsonl"],
        &[],
    );
    assert_eq!(ran.stdout.lines().count(), rows.len(), "once, although another ledger told it, too");

    let elsewhere = tempfile::tempdir().unwrap();
    let ran = run(elsewhere.path(), &["replay", "--format", "jsonl", again.to_str().unwrap()], &[]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        report["reason"],
        "A key was deleted. There is no record of this key. The event is kept for when its creation event arrives."
    );
    let lookup = |more: &[&str]| {
        let arguments = [&["lookup", "--key", "ACCAEXAMPLEKEY0000003"], more].concat();
        let ran = run(elsewhere.path(), &arguments, &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    let ran = lookup(&["--format", "jsonl", "--account", OWN]);
    let early: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        [&early["kind"], &early["at"], &early["credential_id"], &early["actor"]],
        ["deleted", "2026-11-20T12:42:41Z", "ACCAEXAMPLEKEY0000003", MARIA]
    );
    assert!(ran.stderr.starts_with("the ledger has no entry of this key, only what happened to it"));
    assert_eq!(lookup(&["--format", "csv"]).stdout.lines().count(), 2);
    assert_eq!(lookup(&["--format", "ocsf"]).stdout, "[]\n");
    assert!(lookup(&["--absolute"]).stdout.contains("A key was deleted"));
    for other in [
        &["--account", OTHER][..],
        &["--verdict", "noncompliant"],
        &["--until", "2026-11-19"],
        &["--user", "jan"],
    ] {
        let ran = lookup(other);
        assert_eq!(ran.stdout, "", "{other:?}");
        assert!(ran.stderr.starts_with("this key is not in the ledger, or"), "{other:?}: {}", ran.stderr);
    }
    // As soon as there is an entry, it is part of its history; and it goes where the ledger goes.
    let exported =
        run(elsewhere.path(), &["export", "--key", "ACCAEXAMPLEKEY0000003", "--output", "key.jsonl"], &[]);
    assert!(exported.stderr.starts_with("1 items"), "{}", exported.stderr);
    run(elsewhere.path(), &["import", "--ledger", "file:other.db", "key.jsonl"], &[]);
    assert!(lookup(&["--ledger", "file:other.db"]).stdout.contains("A key was deleted"));
    run(elsewhere.path(), &["replay", root().join("events").to_str().unwrap()], &[]);
    let ran = lookup(&["--format", "jsonl"]);
    assert_eq!(ran.stdout.lines().count(), rows.len(), "{}", ran.stdout);
    // Then a filter passes both over.
    let since = ["--since", "2026-11-20T12:30:00Z"];
    let ran = lookup(&since);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.starts_with("this key is not in the ledger, or"), "{}", ran.stderr);
    let arguments = [&["export", "--key", "ACCAEXAMPLEKEY0000003"], &since[..]].concat();
    assert_eq!(run(elsewhere.path(), &arguments, &[]).stdout, "");
}

#[test]
fn what_is_asked_wrongly_is_answered_with_what_is_right() {
    let folder = replayed();
    for (arguments, says) in [
        (&["--verdict", "bad"][..], "compliant, exempt, noncompliant, undetermined"),
        (&["--violation", "bad"], "never_expires, lifetime_exceeds_limit, long_term_key_forbidden"),
        (&["--outcome", "bad"], "already_inactive"),
        (&["--service", "s3.example.com"], "bedrock.amazonaws.com"),
        (
            &["--since", "yesterday"],
            "2026-11-20T09:00:00Z, a date like 2026-11-20 (UTC), or how long ago: 30m, 12h, 7d",
        ),
        (&["--since", "2026-11-20", "--until", "2026-11-19"], "--until is not after --since"),
        (&["--since", "2016-01-01"], "narrow it with --since and --until"),
        (&["--key", "ACCA"], "20 to 128"),
        (&["--page", "2"], "like 2026-11-20T09:07:00Z/ACCAEXAMPLEKEY0000001"),
        (&["--stats", "--format", "asff"], "table, jsonl or csv"),
        (&["--limit", "0"], "from 1 up, or all"),
        (&["--actor", " "], "an ARN or a name"),
    ] {
        let ran = run(folder.path(), &[&["lookup"], arguments].concat(), &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    for format in ["table", "jsonl", "csv", "ocsf", "asff"] {
        let ran = run(folder.path(), &["lookup", "--user", "nobody", "--format", format], &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("no keys match; "), "{}", ran.stderr);
        assert!(format == "csv" || ran.stdout.trim().is_empty() || ran.stdout == "[]\n", "{}", ran.stdout);
    }
}

#[test]
fn a_ledger_that_is_missing_is_named_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["lookup", "export", "report"] {
        let ran = run(folder.path(), &[command, "--ledger", "file:nowhere.db"], &[]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.contains("nowhere.db") && ran.stderr.contains("no such file"), "{}", ran.stderr);
        assert!(!folder.path().join("nowhere.db").exists());
    }
    let dynamo = Dynamo::start();
    let aws = |arguments: &[&str]| {
        let variables = [
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        run(folder.path(), arguments, &variables)
    };
    let ran = aws(&["lookup", "--ledger", "dynamodb:no-such-table", "--open"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("no-such-table does not exist"), "{}", ran.stderr);
    dynamo.fault("Query", Fault::Refused(400, "AccessDeniedException"), 4);
    let ran = aws(&["lookup", "--ledger", "dynamodb:keys", "--open"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("needs the IAM action dynamodb:Query on the table and its indexes"),
        "{}",
        ran.stderr
    );
    dynamo.fault("Scan", Fault::Refused(400, "AccessDeniedException"), 1);
    let ran = aws(&["export", "--ledger", "dynamodb:keys"]);
    assert!(ran.stderr.contains("dynamodb:Scan"), "{}", ran.stderr);
}

#[test]
fn a_file_that_is_no_ledger_is_named_with_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("text"), "no database").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    // A database without the table.
    drop(Database::new(at("other").to_str().unwrap()).unwrap());
    rusqlite::Connection::open(at("foreign")).unwrap().execute_batch("CREATE TABLE bookmarks (url)").unwrap();
    let foreign = std::fs::read(at("foreign")).unwrap();
    for (name, says) in [
        ("text", "no ledger file"),
        ("folder", "is a directory"),
        ("other", "without a ledger in it"),
        ("nothing", "no such file"),
        ("foreign", "is a database of another program"),
    ] {
        for command in ["lookup", "report", "export"] {
            let ran = run(folder.path(), &[command, "--ledger", &format!("file:{name}")], &[]);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{command} {name}");
            assert!(ran.stderr.contains(&format!("error: {name}: ")), "{}", ran.stderr);
            assert!(ran.stderr.contains(says), "{command} {name}: {}", ran.stderr);
        }
    }
    assert_eq!(std::fs::read(at("text")).unwrap(), b"no database");
    let events = root().join("events");
    let ran = run(folder.path(), &["replay", "--ledger", "file:foreign", events.to_str().unwrap()], &[]);
    assert!(ran.code == 1 && ran.stderr.contains("another program"), "{}", ran.stderr);
    assert_eq!(std::fs::read(at("foreign")).unwrap(), foreign);
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["folder", "foreign", "other", "text"]);
}

/// One file that cannot be read hides none of the others; what cannot be written leaves nothing half done.
#[test]
fn a_file_that_cannot_be_read_or_written_is_named_and_the_rest_goes_on() {
    let folder = replayed();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let ran = run(folder.path(), &["export", "--output", "all.jsonl"], &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = run(folder.path(), &["import", "--ledger", "file:copy.db", "folder", "all.jsonl"], &[]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("warning: folder: after line 0: could not be read"), "{}", ran.stderr);
    assert!(ran.stderr.contains("45 items read"), "{}", ran.stderr);
    for (command, output, says) in [
        ("export", "folder", "folder: is a directory; --output takes a file"),
        ("report", "folder", "folder: is a directory; --output takes a file"),
        ("export", "nowhere/all.jsonl", "nowhere/all.jsonl: could not make a file there"),
        ("export", "key-guard.db", "key-guard.db: is the ledger; --output would overwrite it"),
        ("report", "./folder/../key-guard.db", "is the ledger; --output would overwrite it"),
    ] {
        let ran = run(folder.path(), &[command, "--output", output], &[]);
        assert_eq!(ran.code, 1, "{command} {output}");
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    let mut left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["all.jsonl", "copy.db", "folder", "key-guard.db"]);
    assert_eq!(run(folder.path(), &["lookup", "--account", OWN], &[]).code, 0, "the ledger is whole");
}

/// A link stays one, and what is no regular file, too.
#[cfg(unix)]
#[test]
fn output_goes_to_what_the_path_leads_to() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = replayed();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("target"), "old").unwrap();
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(at("target"), private).unwrap();
    std::os::unix::fs::symlink("target", at("link")).unwrap();
    std::os::unix::fs::symlink("/dev/null", at("null")).unwrap();
    for output in ["link", "null", "new"] {
        let ran = run(folder.path(), &["export", "--output", output], &[]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert!(at("link").is_symlink() && at("null").is_symlink());
    assert!(!Path::new("/dev/null").is_file());
    let [target, new] = ["target", "new"].map(|name| std::fs::read_to_string(at(name)).unwrap());
    assert_eq!(target, new);
    assert_eq!(target.lines().count(), 45);
    let mode = |name: &str| std::fs::metadata(at(name)).unwrap().permissions().mode();
    assert_eq!(mode("target") & 0o777, 0o600, "what was private stays it");
    let mode = mode("new");
    assert_eq!(mode & 0o400, 0o400);
    assert_eq!(mode & 0o111, 0);
}

/// A key's history without its state is kept, and whoever imports it is told that it is not found. What no table
/// would take, or find again, is refused.
#[test]
fn what_would_be_hidden_or_refused_is_told_when_it_is_imported() {
    let folder = replayed();
    let text = run(folder.path(), &["export", "--key", "ACCAEXAMPLEKEY0000003"], &[]).stdout;
    let (lines, states): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.contains("\"AT#"));
    let import = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        run(folder.path(), &["import", "--ledger", "file:copy.db", name], &[])
    };
    let ran = import("lines", &lines.join("\n"));
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("key ACCAEXAMPLEKEY0000003 in account 111122223333 has history and no state"),
        "{}",
        ran.stderr
    );
    let late = states[0].replace("\"event_time\":\"2026-", "\"event_time\":\"+12026-");
    let ran = import("late", &late);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("late: line 1: a time is before 1970 or after 9999"), "{}", ran.stderr);
    let large =
        states[0].replace("\"user_agent\":\"", &format!("\"user_agent\":\"{}", "x".repeat(400 << 10)));
    let ran = import("large", &format!("{large}\n{}\n", states[0]));
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("large: line 1: it is longer than 390 KiB"), "{}", ran.stderr);
    let ran =
        run(folder.path(), &["lookup", "--ledger", "file:copy.db", "--key", "ACCAEXAMPLEKEY0000003"], &[]);
    assert!(ran.stdout.contains("secret_reset"), "the history is there again: {}", ran.stdout);
}

/// A state that cannot be read hides neither the key's history nor the other keys, and stops no replay.
#[test]
fn a_state_that_cannot_be_read_hides_nothing_else() {
    let folder = replayed();
    let path = folder.path().join("key-guard.db");
    let database = Database::new(path.to_str().unwrap()).unwrap();
    let key = json!({"pk": {"S": "KEY#111122223333#ACCAEXAMPLEKEY0000003"}, "sk": {"S": "STATE"}});
    let request = json!({"TableName": embedded::TABLE, "Key": key});
    let answer = database.get_item(serde_json::from_value(request).unwrap()).unwrap();
    let mut item = serde_json::to_value(answer).unwrap()["Item"].clone();
    item.as_object_mut().unwrap().remove("outcome");
    let request = json!({"TableName": embedded::TABLE, "Item": item});
    database.put_item(serde_json::from_value(request).unwrap()).unwrap();
    drop(database);
    let bad = "ACCAEXAMPLEKEY0000003 / STATE cannot be read: missing field `outcome`";
    for (arguments, lines) in [
        (&["lookup", "--key", "ACCAEXAMPLEKEY0000003", "--format", "jsonl"][..], 6),
        (&["export", "--key", "ACCAEXAMPLEKEY0000003"], 5),
    ] {
        let ran = run(folder.path(), arguments, &[]);
        assert_eq!((ran.code, ran.stdout.lines().count()), (4, lines), "{arguments:?}: {}", ran.stdout);
        assert_eq!(ran.stderr.matches(bad).count(), 1, "{}", ran.stderr);
    }
    let ran = run(folder.path(), &["lookup", "--key", "ACCAEXAMPLEKEY0000003"], &[]);
    assert!(ran.stdout.starts_with("WHEN") && ran.stdout.contains("secret_reset"), "{}", ran.stdout);
    let events = root().join("events");
    let ran = run(folder.path(), &["replay", "--format", "jsonl", events.to_str().unwrap()], &[]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains(bad), "{}", ran.stderr);
    assert!(ran.stderr.contains("31 events read: 18 judged"), "{}", ran.stderr);
}

/// A laptop that only looked on does not settle what the guard has yet to do; what is known of the key does. In any
/// order.
#[tokio::test]
async fn merging_leaves_open_what_the_guard_has_yet_to_do() {
    let monitor = Policy::parse(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"monitor\"\n",
        Path::new("policy.toml"),
    )
    .unwrap();
    let (guard, _) = memory().await;
    guard.open(&KEYS[1].entry(Source::Event, Hands::Free, &policy()), MOST).await.unwrap();
    let (laptop, _) = memory().await;
    laptop.open(&KEYS[1].entry(Source::Replay, Hands::Free, &monitor), MOST).await.unwrap();
    let (other, _) = memory().await;
    let mut gone = KEYS[1].entry(Source::Replay, Hands::Free, &policy());
    other.open(&gone, MOST).await.unwrap();
    gone.outcome = Outcome::Deleted;
    other.settle(&gone, now()).await.unwrap();
    // A laptop's sweep, which looked later and does not know who made the key.
    let (swept, _) = memory().await;
    let mut only_looked = KEYS[1].entry(Source::Sweep, Hands::Free, &monitor);
    only_looked.turn = Turn::sweep(now());
    (only_looked.event_id, only_looked.actor) = (None, <_>::default());
    swept.open(&only_looked, MOST).await.unwrap();
    let (guard, laptop, other) = (exported(&guard).await, exported(&laptop).await, exported(&other).await);
    let swept = exported(&swept).await;
    for (exports, outcome) in [
        (vec![&guard, &swept], Outcome::Open),
        (vec![&swept, &guard], Outcome::Open),
        (vec![&swept, &other], Outcome::Deleted),
        (vec![&guard, &laptop], Outcome::Open),
        (vec![&laptop, &guard], Outcome::Open),
        (vec![&guard, &other, &laptop], Outcome::Deleted),
        (vec![&laptop, &other, &guard], Outcome::Deleted),
        (vec![&other, &guard, &laptop], Outcome::Deleted),
    ] {
        let (merged, _) = memory().await;
        for export in exports {
            import(&merged, export).await;
        }
        let key = KeyRef { account: OWN.parse().unwrap(), id: KEYS[1].id.parse().unwrap() };
        let state = merged.history(&key).await.unwrap().state.unwrap();
        assert_eq!(state.outcome, outcome);
        assert!(state.event_id.is_some() && state.actor.principal.is_some(), "who made it is known");
    }
}

/// Whoever closes the pipe early has what they wanted.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = replayed();
    for arguments in [
        ["lookup", "--account", OWN, "--format", "jsonl"],
        ["lookup", "--account", OWN, "--format", "csv"],
        ["export", "--account", OWN, "--format", "jsonl"],
        ["report", "--account", OWN, "--output", "-"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-key-guard"));
        command.args(arguments).current_dir(folder.path()).env_clear();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_half_written_item_is_reported_and_the_rest_is_shown() {
    let folder = replayed();
    let path = folder.path().join("key-guard.db");
    let database = Database::new(path.to_str().unwrap()).unwrap();
    let item = json!({"TableName": embedded::TABLE, "Item": {
        "pk": {"S": "KEY#111122223333#\u{1b}[31mhalf"}, "sk": {"S": "STATE"}, "v": {"N": "2"},
        "day_key": {"S": "DAY#2026-11-20#0"}, "account_key": {"S": "ACCOUNT#111122223333#0"},
        "at_key": {"S": "2026-11-20T09:00:00Z#half"},
    }});
    database.put_item(serde_json::from_value(item).unwrap()).unwrap();
    drop(database);
    let days = ["--since", "2026-11-20", "--until", "2026-11-20"];
    for arguments in [
        &[&["lookup", "--format", "jsonl"], &days[..]].concat()[..],
        &["lookup", "--account", "111122223333", "--format", "jsonl"],
        &["lookup", "--account", "111122223333", "--stats"],
        &["report", "--account", "111122223333", "--output", "-"],
        &["export"],
    ] {
        let ran = run(folder.path(), arguments, &[]);
        assert_eq!(ran.code, 4, "{arguments:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("half / STATE cannot be read: missing field"),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert!(!ran.stderr.contains('\u{1b}'));
        assert!(ran.stdout.contains("svc-chatbot") || ran.stdout.contains("19"), "{}", ran.stdout);
    }
}

#[test]
fn pages_go_on_where_they_ended() {
    let folder = replayed();
    let (mut found, mut page) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["lookup", "--account", "111122223333", "--limit", "4", "--format", "csv"];
        if let Some(page) = &page {
            arguments.extend(["--page", page]);
        }
        let ran = run(folder.path(), &arguments, &[]);
        let rows: Vec<_> = ran.stdout.lines().skip(1).map(str::to_owned).collect();
        assert!(rows.len() <= 4);
        found.extend(rows);
        page = ran.stderr.split("go on with --page ").nth(1).map(|page| page.trim().to_owned());
        if page.is_none() {
            break;
        }
    }
    let all = run(folder.path(), &["lookup", "--account", "111122223333", "--format", "csv"], &[]);
    assert_eq!(found, all.stdout.lines().skip(1).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(found.len(), 19);
}

/// Whatever has to be left out or wrapped, the table keeps to its width, and what is copied from it is whole.
#[test]
fn the_table_fits_its_width() {
    let folder = replayed();
    for (width, columns) in [("80", 6), ("140", 7), ("220", 10)] {
        let question = ["lookup", "--account", OWN, "--limit", "all", "--width", width];
        let Ran { stdout, .. } = run(folder.path(), &question, &[]);
        let lines: Vec<_> = stdout.lines().collect();
        let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width.parse().unwrap(), "{width}: {widest}\n{stdout}");
        assert_eq!(lines[0].split("  ").filter(|title| !title.is_empty()).count(), columns, "{}", lines[0]);
        assert_eq!(lines[0].split_whitespace().last(), Some(if columns == 10 { "FROM" } else { "BY" }));
        for id in ["ACCAEXAMPLEKEY0000001", "ACCAEXAMPLEKEY0000016"] {
            assert!(stdout.contains(id), "{width}: {id}");
        }
    }
}

#[test]
fn scripts_find_the_same_columns_whatever_was_asked() {
    let folder = replayed();
    let header = |arguments: &[&str]| {
        let ran = run(folder.path(), &[&["lookup", "--format", "csv"], arguments].concat(), &[]);
        ran.stdout.lines().next().unwrap().to_owned()
    };
    let expected = "\"line\",\"at\",\"source\",\"account\",\"service\",\"user\",\"credential_id\",\"created_at\",\
        \"expires_at\",\"lifetime_days\",\"limit_days\",\"verdict\",\"violation\",\"severity\",\"status\",\"response\",\"outcome\",\"reason\",\
        \"remediation\",\"actor\",\"source_ip\",\"user_agent\",\"event_id\",\"event_time\",\"policy_sha256\",\"former_user\",\
        \"actor_type\",\"session_issuer\",\"mfa\",\"console\",\"rehearsal\",\"recorded_at\",\"iam_says\",\
        \"confirmed_at\",\"acted_at\",\"settled_at\"";
    for arguments in [&["--open"][..], &["--key", "ACCAEXAMPLEKEY0000001"], &["--account", "111122223333"]] {
        assert_eq!(header(arguments), expected);
    }
    let ran = run(folder.path(), &["lookup", "--key", "ACCAEXAMPLEKEY0000001", "--format", "jsonl"], &[]);
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<_> = rows.iter().map(|row| row["line"].as_str().unwrap()).collect();
    assert_eq!(lines, ["state", "created", "judged"]);
    assert!(rows.iter().all(|row| row.as_object().unwrap().len() == 36 && row["source"] == "replay"));
    let count = |arguments: &[&str]| {
        run(folder.path(), &[&["lookup", "--stats", "--format", "jsonl"], arguments].concat(), &[])
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|row| row["by"] == "verdict")
            .map(|row| (row["value"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let counts = count(&["--account", "111122223333"]);
    assert_eq!(
        counts,
        [("compliant".to_owned(), 9), ("noncompliant".to_owned(), 9), ("undetermined".to_owned(), 1)]
    );
}

#[test]
fn stats_tell_the_median_and_the_worst() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = folder.path().join("key-guard.db");
        let ledger = embedded::open(&path, embedded::Durability::Soon).await.unwrap();
        for key in KEYS {
            key.write(&ledger).await;
        }
        // A replay that acts comes weeks after the event: it tells nothing of how fast the guard is.
        let late = Made { id: "ACCALOOKUP00000000009", ..KEYS[3] };
        ledger.open(&late.entry(Source::Replay, Hands::Free, &policy()), MOST).await.unwrap();
    });
    let ran = run(folder.path(), &["lookup", "--stats", "--since", "2026-08-01", "--format", "jsonl"], &[]);
    let seconds: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|row| !row["seconds"].is_null())
        .map(|row| (row["value"].clone(), row["count"].clone(), row["seconds"].clone()))
        .collect();
    assert_eq!(seconds, [(json!("median"), json!(6), json!(5)), (json!("worst"), json!(6), json!(7))]);
    let ran = run(folder.path(), &["lookup", "--key", KEYS[1].id, "--format", "jsonl"], &[]);
    let steps: Vec<_> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| format!("{} {} {}", row["line"], row["source"], row["at"]).replace('"', ""))
        .collect();
    assert_eq!(
        steps,
        [
            "state event 2026-11-01T09:00:07Z",
            "created event 2026-11-01T09:00:00Z",
            "judged event 2026-11-01T09:00:04Z",
            "confirmed guard 2026-11-01T09:00:06Z",
            "acted guard 2026-11-01T09:00:06.200Z",
            "settled guard 2026-11-01T09:00:07Z",
        ]
    );
    let ran = run(folder.path(), &["lookup", "--open", "--absolute"], &[]);
    assert!(
        ran.stdout.contains("OPEN SINCE") && ran.stdout.contains("2026-11-20T10:00:04Z"),
        "{}",
        ran.stdout
    );
}

/// User names are harmless by their alphabet; everything else in an event is an attacker's to choose. What is in
/// the table may have been put there past the guard.
#[test]
fn hostile_text_is_inert_wherever_it_is_shown() {
    const HOSTILE: &str = "=HYPERLINK(\"x\")</script><script>alert(1)</script>\u{1b}]0;owned\u{7}\u{202e}";
    let folder = replayed();
    let path = folder.path().join("key-guard.db");
    let database = Database::new(path.to_str().unwrap()).unwrap();
    for (key, mut item) in items(&database) {
        for name in ["user_agent", "source_ip", "actor", "session_issuer", "reason"] {
            item[name] = json!({"S": HOSTILE});
        }
        let put = json!({"TableName": embedded::TABLE, "Item": item});
        database.put_item(serde_json::from_value(put).unwrap()).expect(&key);
    }
    drop(database);
    let id = "ACCAEXAMPLEKEY0000001";
    let account = ["--account", "111122223333"];
    for arguments in [
        &[&["lookup"], &account[..]].concat()[..],
        &["lookup", "--key", id],
        &["lookup", "--key", id, "--width", "80"],
        &["lookup", "--key", id, "--format", "csv"],
        &["lookup", "--key", id, "--format", "jsonl"],
        &[&["lookup", "--stats"], &account[..]].concat(),
        &[&["lookup", "--format", "ocsf"], &account[..]].concat(),
        &[&["lookup", "--format", "asff"], &account[..]].concat(),
        &[&["report", "--output", "-"], &account[..]].concat(),
    ] {
        let ran = run(folder.path(), arguments, &[]);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        for steers in ['\u{1b}', '\u{7}', '\u{202e}'] {
            let shown = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!shown.contains(steers), "{arguments:?}: {steers:?} in {shown:?}");
        }
        if arguments.contains(&"csv") {
            assert!(
                ran.stdout.contains("\"'=HYPERLINK(") && !ran.stdout.contains("\"=HYPERLINK("),
                "{}",
                ran.stdout
            );
        }
        if arguments.contains(&"report") {
            assert_eq!(ran.stdout.matches("<script").count(), 2, "the data and the page's own");
            assert!(!ran.stdout.contains("<script>alert"), "{}", ran.stdout);
        }
    }
}

#[test]
fn what_was_exported_comes_back_the_same() {
    let folder = replayed();
    let run = |arguments: &[&str]| run(folder.path(), arguments, &[]);
    assert_eq!(run(&["export", "--output", "all.jsonl"]).code, 0);
    assert_eq!(
        run(&["export", "--violation", "never_expires", "--since", "2026-11-01", "--output", "some.jsonl"])
            .code,
        0
    );
    let some = std::fs::read_to_string(folder.path().join("some.jsonl")).unwrap();
    let users: BTreeSet<String> = some
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["user"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        users.into_iter().collect::<Vec<_>>(),
        ["BedrockAPIKey-k3qz", "svc-chatbot", "svc-legacy", "svc-shouting"]
    );
    for (ledger, files) in [
        ("a", ["all.jsonl", "some.jsonl"]),
        ("b", ["some.jsonl", "all.jsonl"]),
        ("c", ["all.jsonl", "all.jsonl"]),
    ] {
        let place = format!("file:{ledger}.db");
        let ran = run(&["import", "--ledger", &place, files[0], files[1]]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let again = run(&["export", "--ledger", &place]);
        assert_eq!(again.stdout, std::fs::read_to_string(folder.path().join("all.jsonl")).unwrap());
    }
    let text = std::fs::read_to_string(folder.path().join("all.jsonl")).unwrap();
    let broken = format!("{text}oops\n\n{{\"v\": 7}}\n");
    std::fs::write(folder.path().join("broken.jsonl"), broken).unwrap();
    let ran = run(&["import", "--ledger", "file:d.db", "broken.jsonl"]);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("broken.jsonl: line 46: expected value; passed over"), "{}", ran.stderr);
    assert!(ran.stderr.contains("line 48: its schema version is 7; this build reads 2"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("45 items read: 26 history lines were new, 19 keys were new"),
        "{}",
        ran.stderr
    );
    assert_eq!(run(&["import", "no-such-file"]).code, 1);
}
