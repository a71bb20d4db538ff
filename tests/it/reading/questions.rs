//! Questions and their answers.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use bedrock_key_guard::ledger::Cost;
use bedrock_key_guard::ledger::query::{Actor, Filter, FoundKey, Position, Search};
use bedrock_key_guard::ledger::store::Ledger;
use chrono::TimeDelta;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::effect::{Cause, Change, HeardEvent};
use key_guard_core::lifecycle::state::{
    Contradiction, Deactivation, GoneEvidence, KeyState, Observation, Phase,
};
use key_guard_core::policy::{Policy, Verdict, Violation};
use key_guard_core::ports::KeyStore as _;
use key_guard_core::report::Outcome;
use serde_json::json;

use super::{
    CI_ROLE, KEYS, MARIA, TestKey, commit, commit_state, heard, line, now, open, put_dry_run, time, with_keys,
};
use crate::support::dynamodb::Place;
use crate::support::{Fault, OTHER, OWN};

fn filter(of: impl FnOnce(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    of(&mut filter);
    filter
}

async fn search(store: &Ledger, filter: Filter) -> (Vec<FoundKey>, Cost) {
    let mut search = Search::new(store, filter, None, 100, now()).unwrap();
    let mut found = Vec::new();
    while let Some(key) = search.next().await.unwrap() {
        found.push(key);
    }
    assert!(search.unreadable().is_empty());
    (found, search.cost())
}

/// A key by the last digit of its id, with `d` for a dry run.
fn describe(found: &FoundKey) -> String {
    let digit = &found.key.id.as_str()[20..];
    let of_view = |is_dry_run| if is_dry_run { format!("{digit}d") } else { digit.to_owned() };
    found.views.iter().map(|view| of_view(view.is_dry_run)).collect()
}

/// The keys found, and the cost.
async fn ask(store: &Ledger, filter: Filter) -> (String, Cost) {
    let (found, cost) = search(store, filter).await;
    (found.iter().map(describe).collect(), cost)
}

/// A question's name, the filter, its answer, newest first, and how many queries and reads of states it takes.
type Question = (&'static str, Filter, &'static str, [usize; 2]);

fn questions() -> Vec<Question> {
    [by_key_and_user(), by_actor(), by_time(), by_property(), by_account_and_combined()].concat()
}

fn other_account() -> AccountId {
    OTHER.parse().unwrap()
}

fn by_key_and_user() -> Vec<Question> {
    let key = || Some(KEYS[2].id.parse().unwrap());
    let own = || Some(OWN.parse().unwrap());
    let user = || Some("svc-chatbot".parse().unwrap());
    vec![
        ("key", filter(|f| f.key = key()), "3", [1, 0]),
        ("key of another account", filter(|f| (f.key, f.account) = (key(), own())), "", [1, 0]),
        ("user, in any case and account", filter(|f| f.user = user()), "532", [1, 1]),
        (
            "user of an account",
            filter(|f| (f.user, f.account) = (user(), Some(other_account()))),
            "3",
            [1, 1],
        ),
    ]
}

fn by_actor() -> Vec<Question> {
    const ROLE: &str = "AWSReservedSSO_DeveloperAccess_0123456789abcdef";
    const ROLE_ELSEWHERE: &str = "AWSReservedSSO_DeveloperAccess_fedcba9876543210";
    [
        ("actor by ARN", MARIA, "52", [1, 1]),
        ("actor by the role's ARN", CI_ROLE, "43", [2, 1]),
        ("actor by role", "ci-deploy", "43", [2, 1]),
        ("actor by permission set", "developeraccess", "52", [2, 1]),
        ("actor by the role of a permission set", ROLE, "52", [2, 1]),
        ("actor by the role of a permission set elsewhere", ROLE_ELSEWHERE, "", [2, 1]),
        ("actor by session", "deploy-4711", "43", [2, 1]),
        ("actor by e-mail", "Maria.Lopez@example.com", "52", [2, 1]),
        ("actor by what is before the @", "maria.lopez", "752", [2, 1]),
        ("actor by user name", "jan.kowalski", "1", [2, 1]),
        ("actor who is root", "root", "6", [2, 1]),
    ]
    .map(|(name, actor, answer, calls)| (name, filter(|f| f.actor = Some(Actor::from(actor))), answer, calls))
    .into()
}

fn by_time() -> Vec<Question> {
    let between = |since, until| filter(|f| (f.since, f.until) = (Some(time(since)), Some(time(until))));
    vec![
        ("a day", between("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"), "654", [4, 1]),
        ("a time is exact", between("2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z"), "4", [4, 1]),
        ("all without bounds: three years", filter(|_| ()), "7654321", [148, 1]),
    ]
}

/// What no index has: the keys of a time, and then those with the property.
fn by_property() -> Vec<Question> {
    let filter = |of: fn(&mut Filter)| Filter { since: Some(time("2026-11-01T00:00:00Z")), ..filter(of) };
    let address = "source address, in another spelling";
    vec![
        ("verdict", filter(|f| f.verdict = Some(Verdict::Noncompliant)), "7532", [4, 1]),
        ("violation", filter(|f| f.violation = Some(Violation::NeverExpires)), "72", [4, 1]),
        ("outcome", filter(|f| f.outcome = Some(Outcome::Deleted)), "2", [4, 1]),
        ("service", filter(|f| f.service = Some("logs.amazonaws.com".parse().unwrap())), "3", [4, 1]),
        (address, filter(|f| f.source_ip = Some("::FFFF:203.0.113.3".parse().unwrap())), "43", [4, 1]),
    ]
}

fn by_account_and_combined() -> Vec<Question> {
    let noncompliant_by_maria = filter(|f| {
        (f.actor, f.verdict) = (Some(Actor::from("maria.lopez")), Some(Verdict::Noncompliant));
        f.since = Some(time("2026-11-10T00:00:00Z"));
    });
    let nothing =
        filter(|f| (f.account, f.violation) = (Some(other_account()), Some(Violation::NeverExpires)));
    vec![
        ("account", filter(|f| f.account = Some(other_account())), "43", [8, 1]),
        ("pending", filter(|f| f.pending = true), "5", [4, 1]),
        ("combined", noncompliant_by_maria, "75", [2, 1]),
        ("combined with nothing left", nothing, "", [8, 1]),
    ]
}

#[tokio::test]
async fn ledger_answers_every_question_by_bounded_queries() {
    let (place, store) = with_keys("questions").await;
    for (name, filter, expected, calls) in questions() {
        if let Some(dynamo) = &place.embedded {
            dynamo.forget_calls();
        }
        let (found, cost) = ask(&store, filter).await;
        assert_eq!(found, expected, "{name}");
        assert_eq!(cost.calls, calls.iter().sum::<usize>() as u64, "{name}");
        if let Some(dynamo) = &place.embedded {
            let made = dynamo.calls();
            let count = |wanted| made.iter().filter(|call| *call == wanted).count();
            assert_eq!([count("Query"), count("BatchGetItem")], calls, "{name}: {made:?}");
            assert_eq!(made.len() as u64, cost.calls, "{name}: calls are counted");
        }
    }
}

/// The number of calls does not depend on what else is in the table.
#[tokio::test]
async fn ledger_questions_cost_the_same_in_a_larger_table() {
    let (_place, store) = with_keys("larger").await;
    let costs = async || {
        let mut costs = Vec::new();
        // The question without bounds finds the others, too.
        let bounded = questions().into_iter().filter(|(name, ..)| !name.starts_with("all"));
        for (name, filter, ..) in bounded {
            costs.push((name, ask(&store, filter).await));
        }
        costs
    };
    let before = costs().await;
    for n in 0..200 {
        let id: &'static str = Box::leak(format!("ACCAOTHERS{n:011}").into_boxed_str());
        let user: &'static str = Box::leak(format!("other-{n}").into_boxed_str());
        let others = TestKey {
            id,
            user,
            account: "777788889999",
            at: "2026-10-05T09:00:00Z",
            by: "arn:aws:iam::777788889999:user/other",
            ..KEYS[0]
        };
        others.write(&store).await;
    }
    assert_eq!(costs().await, before);
}

/// Reads an answer in pages.
async fn in_pages(store: &Ledger, filter: &Filter, size: usize) -> String {
    let (mut found, mut before): (String, Option<Position>) = (String::new(), None);
    loop {
        let mut search = Search::new(store, filter.clone(), before, size, now()).unwrap();
        let mut taken = 0;
        while taken < size
            && let Some(key) = search.next().await.unwrap()
        {
            found.push_str(&describe(&key));
            taken += 1;
        }
        before = search.position().map(|place| place.to_string().parse().unwrap());
        if taken < size {
            return found;
        }
        assert!(found.len() < 99, "pages go in circles: {found}");
    }
}

#[tokio::test]
async fn ledger_pages_hold_every_key_once_and_in_order() {
    let (_place, store) = with_keys("pages").await;
    for (name, filter, expected, _) in questions() {
        for size in 1..4 {
            assert_eq!(in_pages(&store, &filter, size).await, expected, "{name}, {size} a page");
        }
    }
}

/// Of a key with both, the state comes first, whatever the question, and no page ends between the two.
#[tokio::test]
async fn ledger_shows_a_state_and_a_dry_run_of_a_key_together() {
    let (_place, store) = with_keys("both").await;
    for key in [KEYS[1], KEYS[3], KEYS[4], KEYS[6]] {
        put_dry_run(&store, key.dry_run(&super::policy(), now())).await;
    }
    // Another policy has another verdict.
    put_dry_run(&store, KEYS[5].dry_run(&strict(), now())).await;
    let with_dry_runs = |expected: &str| -> String {
        let of_key = |digit: char| {
            if "24567".contains(digit) { format!("{digit}{digit}d") } else { digit.to_string() }
        };
        expected.chars().map(of_key).collect()
    };
    for (name, filter, expected, _) in questions() {
        let expected = match name {
            // A dry run has no pending response and deletes nothing, and was of another policy.
            "pending" => "5".to_owned(),
            "outcome" => "2".to_owned(),
            "verdict" => "77d6d55d322d".to_owned(),
            _ => with_dry_runs(expected),
        };
        assert_eq!(ask(&store, filter.clone()).await.0, expected, "{name}");
        for size in 1..4 {
            assert_eq!(in_pages(&store, &filter, size).await, expected, "{name}, {size} a page");
        }
    }
    let recorded = filter(|f| (f.account, f.outcome) = (Some(OWN.parse().unwrap()), Some(Outcome::Recorded)));
    assert_eq!(ask(&store, recorded).await.0, "7d66d5d2d1", "of a dry run nothing more became");
}

/// Nothing is allowed.
fn strict() -> Policy {
    let text = "[default]\nservices = \"*\"\nmax_lifetime_days = 0\nresponse = \"delete\"\n";
    Policy::parse(text, std::path::Path::new("strict.toml")).unwrap()
}

/// A role and a session may have the same name: the key is found once.
#[tokio::test]
async fn ledger_shows_a_key_once_however_it_was_found() {
    let (_place, store) = open("once").await;
    let by = "arn:aws:sts::111122223333:assumed-role/terraform/terraform";
    let key = TestKey { by, ..KEYS[1] };
    key.write(&store).await;
    put_dry_run(&store, key.dry_run(&super::policy(), now())).await;
    let filter = filter(|f| f.actor = Some(Actor::from("terraform")));
    assert_eq!(ask(&store, filter.clone()).await.0, "22d");
    assert_eq!(in_pages(&store, &filter, 1).await, "22d");
}

/// What has no pending response leaves the index of those that have: the question stays as small as its answer. A date of
/// deletion is no pending response.
#[tokio::test]
async fn ledger_index_of_pending_responses_holds_little_else() {
    let (place, store) = with_keys("pending").await;
    let quarantined = TestKey { id: "ACCALOOKUP00000000008", ..KEYS[2] };
    let mut record = quarantined.record();
    record.phase = Phase::Deactivated(Deactivation { at: now(), downgraded: None });
    record.delete_after = Some(now() + TimeDelta::days(14));
    commit(&store, 0, record, line(&quarantined, 4, Cause::Sweep, Change::Assessed)).await;
    let mut open = Vec::new();
    for shard in 0..4 {
        let query = place.client.query().table_name(&place.table).index_name("by_due");
        let query = query.key_condition_expression("due_key = :open");
        let value = AttributeValue::S(format!("OPEN#{shard}"));
        let answer = query.expression_attribute_values(":open", value).send().await.unwrap();
        open.extend(answer.items.unwrap().into_iter().map(|item| item["pk"].as_s().unwrap().clone()));
    }
    open.sort();
    assert_eq!(open, [KEYS[4].id, quarantined.id].map(|id| format!("KEY#{id}")));
    assert_eq!(ask(&store, filter(|f| f.pending = true)).await.0, "5");
}

/// The second key, whose user `svc-chatbot` is `svc-renamed` today.
async fn write_renamed(store: &Ledger) {
    let (mut record, change) = KEYS[1].ended().unwrap();
    record.facts.other_names = [record.facts.user.clone()].into();
    record.facts.user = "svc-renamed".parse().unwrap();
    commit(store, 0, record, line(&KEYS[1], 9, Cause::Sweep, change)).await;
}

#[tokio::test]
async fn ledger_finds_a_renamed_user_by_both_names() {
    let (_place, store) = open("renamed").await;
    write_renamed(&store).await;
    // A dry run knows the earlier name only.
    put_dry_run(&store, KEYS[1].dry_run(&super::policy(), now())).await;
    for (user, found, calls) in [("svc-chatbot", "22d", 2), ("svc-renamed", "2", 2), ("svc-other", "", 1)] {
        let filter = filter(|f| f.user = Some(user.parse().unwrap()));
        let (answer, cost) = ask(&store, filter.clone()).await;
        assert_eq!((answer.as_str(), cost.calls), (found, calls), "{user}");
        assert_eq!(in_pages(&store, &filter, 1).await, found, "{user}");
    }
}

/// Under its name of today, it is found once, although it had that name before, too, and its item says so.
#[tokio::test]
async fn ledger_finds_a_user_that_got_its_name_back_once() {
    let (_place, store) = open("name-back").await;
    write_renamed(&store).await;
    let (mut record, _) = KEYS[1].ended().unwrap();
    record.facts.other_names = ["svc-renamed".parse().unwrap()].into();
    // Its creation event has not arrived by then, and IAM's creation time is another one.
    record.creation = None;
    record.facts.created_at = KEYS[1].after(1);
    commit(&store, 1, record, line(&KEYS[1], 99, Cause::Sweep, Change::Learned)).await;
    for user in ["svc-chatbot", "svc-renamed"] {
        let filter = filter(|f| f.user = Some(user.parse().unwrap()));
        assert_eq!(ask(&store, filter.clone()).await.0, "2", "{user}");
        assert_eq!(in_pages(&store, &filter, 1).await, "2", "{user}");
    }
}

#[tokio::test]
async fn ledger_names_a_state_that_a_former_name_leads_to_and_that_cannot_be_read() {
    let (place, store) = open("former").await;
    write_renamed(&store).await;
    let key = [("pk", format!("KEY#{}", KEYS[1].id)), ("sk", format!("{OWN}#STATE"))];
    let key: HashMap<_, _> =
        key.into_iter().map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).collect();
    let item = place.client.get_item().table_name(&place.table).set_key(Some(key.clone())).send().await;
    let mut item = item.unwrap().item.unwrap();
    item.insert("v".to_owned(), AttributeValue::N("9".to_owned()));
    place.client.put_item().table_name(&place.table).set_item(Some(item)).send().await.unwrap();
    let filter = filter(|f| f.user = Some("svc-chatbot".parse().unwrap()));
    let mut search = Search::new(&store, filter, None, 100, now()).unwrap();
    assert_eq!(search.next().await.unwrap(), None);
    let unreadable = search.unreadable();
    assert!(unreadable[0].to_string().contains("its schema version is 9"), "{unreadable:?}");
}

#[tokio::test]
async fn ledger_knows_keys_of_which_only_an_event_or_their_end_is_known() {
    let (_place, store) = open("events").await;
    let [ended, unconfirmed, only_heard, both] = [KEYS[0], KEYS[1], KEYS[2], KEYS[3]];
    let gone = GoneEvidence::DeletedBy { event: Box::new(ended.provenance()), at: ended.after(60) };
    let log = heard(&ended, 30, HeardEvent::Deleted, MARIA);
    commit_state(&store, 0, KeyState::Tombstone(gone), line(&ended, 60, log.cause, Change::Gone)).await;
    let observation = Observation { asked_at: unconfirmed.after(30), seen: Contradiction::Absent };
    let log = line(&unconfirmed, 30, Cause::Sweep, Change::Observed(Contradiction::Absent));
    commit_state(&store, 0, KeyState::Unconfirmed(observation), log).await;
    store.append(&heard(&only_heard, 3_600, HeardEvent::Deactivated, MARIA)).await.unwrap();
    both.write(&store).await;
    store.append(&heard(&both, 3_600, HeardEvent::Deactivated, MARIA)).await.unwrap();

    let by_id = |key: &TestKey| filter(|f| f.key = Some(key.id.parse().unwrap()));
    let views = async |filter| -> Option<Vec<(Outcome, bool)>> {
        let (mut found, cost) = search(&store, filter).await;
        assert!(found.len() < 2 && cost.calls == 1);
        let views = found.pop()?.views;
        Some(views.iter().map(|view| (view.report.outcome, view.creation.is_some())).collect())
    };
    assert_eq!(views(by_id(&ended)).await, Some(vec![(Outcome::Gone, false)]));
    assert_eq!(views(by_id(&unconfirmed)).await, Some(vec![(Outcome::Ignored, false)]));
    assert_eq!(views(by_id(&only_heard)).await, Some(Vec::new()));
    assert_eq!(views(by_id(&both)).await, Some(vec![(Outcome::Recorded, true)]));
    // A key whose state does not match is not found by its event, and nothing but its time and account are known.
    let later = |key: &TestKey| Filter { since: Some(key.after(1_800)), ..by_id(key) };
    assert_eq!(views(later(&only_heard)).await, Some(Vec::new()));
    assert_eq!(views(later(&both)).await, None);
    let other_account = Filter { account: Some(OWN.parse().unwrap()), ..by_id(&only_heard) };
    assert_eq!(views(other_account).await, None);
    let verdict = Filter { verdict: Some(Verdict::Noncompliant), ..by_id(&only_heard) };
    assert_eq!(views(verdict).await, None);
    let account = filter(|f| f.account = Some(OWN.parse().unwrap()));
    assert_eq!(ask(&store, account).await.0, "1", "a key that has only ended is found by its account");
}

/// A sweep has found the key, and only a dry run knows its creation event.
#[tokio::test]
async fn ledger_finds_a_key_once_whose_state_and_dry_run_have_different_times() {
    let (place, store) = open("apart").await;
    let mut record = KEYS[3].record();
    (record.creation, record.facts.created_at) = (None, KEYS[3].after(60));
    commit(&store, 0, record, line(&KEYS[3], 90, Cause::Sweep, Change::Assessed)).await;
    put_dry_run(&store, KEYS[3].dry_run(&super::policy(), now())).await;
    let account = filter(|f| f.account = Some(KEYS[3].account.parse().unwrap()));
    assert_eq!(ask(&store, account.clone()).await.0, "44d");
    assert_eq!(in_pages(&store, &account, 1).await, "44d");
    // Only the dry run has a caller.
    let actor = filter(|f| f.actor = Some(Actor::from("deploy-4711")));
    assert_eq!(ask(&store, actor).await.0, "4d");
    // A state that cannot be read hides no dry run, and is named once.
    let Some(dynamo) = &place.embedded else { return };
    dynamo.change_items(&place.table, |item| {
        if item["kind"]["S"] == "record" {
            item["v"] = json!({"N": "9"});
        }
    });
    // Each place is read for itself.
    let mut search = Search::new(&store, account, None, 0, now()).unwrap();
    assert_eq!(describe(&search.next().await.unwrap().unwrap()), "4d");
    assert_eq!(search.next().await.unwrap(), None);
    assert_eq!(search.unreadable().len(), 1);
}

#[tokio::test]
async fn ledger_items_of_others_are_named_and_passed_over() {
    let (place, store) = with_keys("others").await;
    let pk = AttributeValue::S(format!("KEY#{}", KEYS[4].id));
    let sk = AttributeValue::S(format!("{OWN}#STATE"));
    let key = HashMap::from([("pk".to_owned(), pk), ("sk".to_owned(), sk)]);
    let stored = place.client.get_item().table_name(&place.table).set_key(Some(key)).send().await.unwrap();
    for (attribute, value, says) in [
        ("v", Some(AttributeValue::N("9".to_owned())), "its schema version is 9; this build reads 4"),
        ("v", None, "no schema version"),
        ("kind", Some(AttributeValue::S("other".to_owned())), "its kind, other, is not known here"),
        ("phase", Some(AttributeValue::S("fine".to_owned())), "unknown variant `fine`"),
        ("user", None, "missing field `user`"),
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
            let mut search = Search::new(&store, filter, None, 100, now()).unwrap();
            while let Some(found) = search.next().await.unwrap() {
                assert_ne!(found.key.id.as_str(), KEYS[4].id);
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
async fn a_denied_read_names_the_action_that_is_missing() {
    let place = Place::new("reading-denied").await;
    let store = Ledger::dynamodb(place.client.clone(), &place.table);
    let Some(dynamo) = &place.embedded else { return };
    write_renamed(&store).await;
    let denied = Fault::Refused(400, "AccessDeniedException");
    for (call, action) in [
        ("Query", "dynamodb:Query on the table and its indexes"),
        ("BatchGetItem", "dynamodb:BatchGetItem on the table"),
    ] {
        dynamo.fault(call, denied, 1);
        let filter = filter(|f| f.user = Some("svc-chatbot".parse().unwrap()));
        let mut search = Search::new(&store, filter, None, 1, now()).unwrap();
        let error = search.next().await.unwrap_err();
        assert_eq!(error.error_type(), "LedgerCallFailed");
        let message = error.to_string();
        assert!(message.contains(&place.table) && message.contains(action), "{message}");
    }
}

#[tokio::test]
async fn a_question_about_too_many_days_is_refused() {
    let (_place, store) = open("days").await;
    let filter = filter(|f| f.since = Some(time("2016-01-01T00:00:00Z")));
    let error = Search::new(&store, filter, None, 100, now()).unwrap_err();
    assert!(error.to_string().contains("--since"), "{error}");
}
