//! What the ledger is asked, and what it answers: the questions, the history, and merging.
//!
//! The tests whose names begin with `ledger_` run against whatever DynamoDB `KEY_GUARD_TEST_DYNAMODB` names,
//! and against the embedded one otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::semicolon_if_nothing_returned,
    reason = "tests fail by panicking, and their tables are terse"
)]

mod support;

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use bedrock_key_guard::enforce::Ledger;
use bedrock_key_guard::event::{Inbound, What, parse};
use bedrock_key_guard::key::KeyRef;
use bedrock_key_guard::ledger::search::{Actor, Cost, Filter, Position, Search};
use bedrock_key_guard::ledger::{Confirmation, DynamoLedger, Entry, Kind, LedgerError, Source, Word};
use bedrock_key_guard::plan::{Hands, plan};
use bedrock_key_guard::policy::{Policy, Response, Ruling, Standing, Violation};
use bedrock_key_guard::report::Outcome;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use support::dynamodb::{self, Dynamo};
use support::{Fault, OTHER, OWN};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    time("2026-11-24T12:00:00Z")
}

/// A ledger in a table of its own, on whatever DynamoDB there is.
struct Place {
    client: Client,
    ledger: DynamoLedger,
    table: String,
    embedded: Option<Dynamo>,
}

#[expect(clippy::disallowed_methods, reason = "tests are told from outside which DynamoDB to use")]
async fn place(table: &str) -> Place {
    let table = format!("{table}-{}", std::process::id());
    if let Ok(url) = std::env::var("KEY_GUARD_TEST_DYNAMODB") {
        let sdk = bedrock_key_guard::aws::sdk_config().await;
        let client = dynamodb::client(&sdk, &url);
        let ledger = DynamoLedger::new(client.clone(), &table);
        ledger.make_table().await.unwrap();
        return Place { client, ledger, table, embedded: None };
    }
    let dynamo = Dynamo::start();
    let ledger = dynamo.ledger(&table).await;
    Place { client: dynamo.client().await, ledger, table, embedded: Some(dynamo) }
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
        let Inbound::Ours(ours) = parse(self.record()).unwrap() else { panic!() };
        let What::Created(key) = &ours.what else { panic!() };
        let Ruling::Judged(judgement) = policy.judge(key, ours.event.event_time) else { panic!() };
        let (plan, response) = plan(&judgement, hands, Response::Delete);
        let recorded_at = ours.event.event_time + TimeDelta::seconds(4);
        Entry::new(key, &ours.event, &judgement, policy.sha256(), plan, response, source, hands, recorded_at)
    }

    async fn write(&self, ledger: &DynamoLedger) {
        let mut entry = self.entry(Source::Event, Hands::Free, &policy());
        ledger.open(&entry).await.unwrap();
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
    Policy::parse(text, std::path::Path::new("policy.toml")).unwrap()
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
            2,
        ),
        (
            "user of an account",
            filter(|f| {
                (f.user, f.account) = (Some("svc-chatbot".parse().unwrap()), Some(OTHER.parse().unwrap()))
            }),
            "3",
            2,
        ),
        ("actor by ARN", filter(|f| f.actor = actor(MARIA)), "52", 1),
        ("actor by the role's ARN", filter(|f| f.actor = actor(CI_ROLE)), "43", 2),
        ("actor by role", filter(|f| f.actor = actor("ci-deploy")), "43", 3),
        ("actor by permission set", filter(|f| f.actor = actor("developeraccess")), "52", 3),
        (
            "actor by the role of a permission set",
            filter(|f| f.actor = actor("AWSReservedSSO_DeveloperAccess_0123456789abcdef")),
            "52",
            3,
        ),
        (
            "actor by the role of a permission set elsewhere",
            filter(|f| f.actor = actor("AWSReservedSSO_DeveloperAccess_fedcba9876543210")),
            "",
            3,
        ),
        ("actor by session", filter(|f| f.actor = actor("deploy-4711")), "43", 3),
        ("actor by e-mail", filter(|f| f.actor = actor("Maria.Lopez@example.com")), "52", 3),
        ("actor by what is before the @", filter(|f| f.actor = actor("maria.lopez")), "752", 3),
        ("actor by user name", filter(|f| f.actor = actor("jan.kowalski")), "1", 3),
        ("actor who is root", filter(|f| f.actor = actor("root")), "6", 3),
        ("account", filter(|f| f.account = Some(OTHER.parse().unwrap())), "43", 4),
        ("open", filter(|f| f.open = true), "5", 4),
        (
            "a day",
            filter(|f| (f.since, f.until) = (since("2026-11-20T00:00:00Z"), since("2026-11-21T00:00:00Z"))),
            "654",
            32,
        ),
        (
            "a time is exact",
            filter(|f| (f.since, f.until) = (since("2026-11-20T09:00:00Z"), since("2026-11-20T10:00:00Z"))),
            "4",
            16,
        ),
        (
            "verdict",
            filter(|f| (f.verdict, f.since) = (Some(Standing::Noncompliant), since("2026-11-01T00:00:00Z"))),
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
            "source address",
            filter(|f| {
                (f.source_ip, f.since) = (Some("203.0.113.3".to_owned()), since("2026-11-01T00:00:00Z"))
            }),
            "43",
            25 * 16,
        ),
        ("all without bounds: 90 days", filter(|_| ()), "765432", 91 * 16 + 16),
        (
            "combined",
            filter(|f| {
                (f.actor, f.verdict, f.since) =
                    (actor("maria.lopez"), Some(Standing::Noncompliant), since("2026-11-10T00:00:00Z"))
            }),
            "75",
            3,
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

#[tokio::test]
async fn ledger_answers_every_question_by_bounded_queries() {
    let place = place("questions").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    for (name, filter, expected, calls) in questions() {
        if let Some(dynamo) = &place.embedded {
            dynamo.forget_calls();
        }
        let (found, cost) = ask(&place.ledger, filter).await;
        assert_eq!(found, expected, "{name}");
        // A question that finds nothing through names need not fetch anything.
        assert!(
            cost.calls == calls || (found.is_empty() && cost.calls < calls),
            "{name}: {} calls",
            cost.calls
        );
        if let Some(dynamo) = &place.embedded {
            let made = dynamo.calls();
            assert_eq!(made.len() as u64, cost.calls, "{name}: calls are counted");
            assert!(made.iter().all(|call| call == "Query" || call == "BatchGetItem"), "{name}: {made:?}");
        }
    }
}

/// The number of calls does not depend on what else is in the table.
#[tokio::test]
async fn ledger_questions_cost_the_same_in_a_larger_table() {
    let place = place("larger").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    let costs = async || {
        let mut costs = Vec::new();
        for (name, filter, ..) in questions()
            .into_iter()
            .filter(|(name, ..)| !name.contains("source address") && !name.contains("bounds"))
        {
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
    let place = place("pages").await;
    for key in KEYS {
        key.write(&place.ledger).await;
    }
    for (name, filter, expected, _) in questions() {
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

#[tokio::test]
async fn ledger_tells_a_renamed_user_by_both_names() {
    let place = place("renamed").await;
    let mut entry = KEYS[1].entry(Source::Event, Hands::Free, &policy());
    place.ledger.open(&entry).await.unwrap();
    entry.former_user = Some(entry.user.clone());
    entry.user = "svc-renamed".parse().unwrap();
    entry.outcome = Outcome::Deleted;
    place.ledger.settle(&entry, entry.event_time + TimeDelta::seconds(9)).await.unwrap();
    for user in ["svc-chatbot", "svc-renamed"] {
        let (found, _) = ask(&place.ledger, filter(|f| f.user = Some(user.parse().unwrap()))).await;
        assert_eq!(found, "2", "{user}");
    }
}

#[tokio::test]
async fn ledger_tells_the_history_of_a_key_in_order() {
    let place = place("history").await;
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
    let place = place("others").await;
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
    KEYS[1].write(&ledger).await;
    let denied = Fault::Refused(400, "AccessDeniedException");
    for (call, action) in [
        ("Query", "dynamodb:Query on the table and its indexes"),
        ("BatchGetItem", "dynamodb:BatchGetItem on the table"),
        ("TransactWriteItems", "dynamodb:PutItem on the table"),
    ] {
        dynamo.fault(call, denied, 1);
        let error: LedgerError = if call == "TransactWriteItems" {
            ledger.open(&KEYS[2].entry(Source::Event, Hands::Free, &policy())).await.unwrap_err()
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
