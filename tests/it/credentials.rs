//! IAM behind the core's port, with the real SDK over real HTTP.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use aws_sdk_iam::config::Region;
use bedrock_key_guard::aws::credentials::{IamCredentials, OrphanedUser};
use bedrock_key_guard::telemetry::chain;
use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::key::{AccountId, KeyRef, KeyStatus, Service};
use key_guard_core::lifecycle::ACTION_MARGIN;
use key_guard_core::lifecycle::effect::{
    ActResult, CallError, ConfirmedAction, Effect, FindScope, Reply, Retry,
};
use key_guard_core::lifecycle::input::{Ceiling, Env, Input, ListedKey, WorkerId};
use key_guard_core::lifecycle::result::Next;
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::{StoredState, Version};
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, ServiceFilter};
use key_guard_core::policy::Policy;
use key_guard_core::ports::CredentialApi as _;

use crate::support::http::{Reply as HttpReply, serve};
use crate::support::iam::{Iam, StoredKey};
use crate::support::{Fault, OTHER, OWN};

const ID: &str = "ACCAEXAMPLEKEY0000001";
const NEIGHBOUR: &str = "ACCANEIGHBOUR00000001";
const USER: &str = "svc-chatbot";
const LIST: &str = "ListServiceSpecificCredentials";
const UPDATE: &str = "UpdateServiceSpecificCredential";
const DELETE: &str = "DeleteServiceSpecificCredential";
const ASSUME_ROLE: &str = "AssumeRole";

fn created() -> Time {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn account(id: &str) -> AccountId {
    id.parse().unwrap()
}

fn key_in(account_id: &str, id: &str) -> KeyRef {
    KeyRef { account: account(account_id), id: id.parse().unwrap() }
}

fn key() -> KeyRef {
    key_in(OWN, ID)
}

fn user(name: &str) -> FindScope {
    FindScope::User(name.parse().unwrap())
}

fn only(service: &str) -> ServiceFilter {
    ServiceFilter::Only(service.parse().unwrap())
}

async fn api(iam: &Iam) -> IamCredentials {
    api_with(iam, Some("key-guard-responder")).await
}

/// In a region of its own: all clients of a region share the SDK's budget of retries.
async fn api_with(iam: &Iam, responder_role: Option<&str>) -> IamCredentials {
    static REGIONS: AtomicU32 = AtomicU32::new(0);
    let region = Region::new(format!("us-east-{}", 100 + REGIONS.fetch_add(1, Ordering::Relaxed)));
    let sdk = iam.sdk().await.into_builder().region(region).build();
    let home = format!("arn:aws-us-gov:lambda:us-gov-west-1:{OWN}:function:guard").parse().unwrap();
    IamCredentials::new(sdk, home, responder_role.map(|role| role.parse().unwrap()))
}

/// An IAM with the key, and with another key of the same user before it.
fn iam_with_key() -> Iam {
    let iam = Iam::start();
    iam.put(NEIGHBOUR, USER, created(), Some(30));
    iam.put(ID, USER, created(), None);
    iam
}

fn stored_key(account: &str, id: &str) -> StoredKey {
    StoredKey {
        account: account.to_owned(),
        id: id.to_owned(),
        user: USER.to_owned(),
        service: "bedrock.amazonaws.com".to_owned(),
        created: created(),
        expires: None,
        status: "Active",
        hidden: 0,
        lacks: None,
    }
}

/// How the stand-in lists the key of [`stored_key`].
fn listed_key(key: KeyRef) -> ListedKey {
    ListedKey {
        key,
        user: USER.parse().unwrap(),
        service: Service::Bedrock,
        created_at: created(),
        expires_at: None,
        status: KeyStatus::Active,
    }
}

/// Only a session makes one: it deals with a key that never expires, under this policy.
fn confirmed(listed: &ListedKey, response: &str) -> ConfirmedAction {
    let policy = format!("[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"{response}\"\n");
    let policy = Policy::parse(&policy, Path::new("policy.toml")).unwrap();
    let (now, worker) = (created(), WorkerId("worker".to_owned()));
    let deadline = now + TimeDelta::minutes(5);
    let env = Env { policy: &policy, ceiling: Ceiling::Delete, now, deadline, worker: &worker };
    let input = Input::Listed { listed: Box::new(listed.clone()), asked_at: now };
    let mut session = Session::with_state(listed.key.clone(), input, StoredState::ABSENT);
    let mut reply = Reply::Start;
    loop {
        reply = match session.advance(reply, &env) {
            Next::Perform(Effect::Act(action)) => return action,
            Next::Perform(Effect::Commit(_)) => Reply::Committed(Version(1)),
            Next::Perform(Effect::Find { .. }) => Reply::Found(Some(listed.clone())),
            other => panic!("{other:?}"),
        };
    }
}

#[track_caller]
fn assert_permanent(error: &CallError, says: &str) {
    assert_eq!(error.retry, Retry::Permanent, "{}", chain(error));
    assert!(chain(error).contains(says), "{says:?} is not in {:?}", chain(error));
}

// ---- find ----

#[tokio::test]
async fn a_key_is_found_with_all_that_iam_says_of_it() {
    for (status, expected) in
        [("Active", KeyStatus::Active), ("Inactive", KeyStatus::Inactive), ("Expired", KeyStatus::Expired)]
    {
        let iam = Iam::start();
        let expires_at = created() + TimeDelta::days(30);
        iam.put_key(StoredKey {
            service: "logs.amazonaws.com".to_owned(),
            expires: Some(expires_at),
            status,
            ..stored_key(OWN, ID)
        });
        for scope in [user(USER), FindScope::Account] {
            let found = api(&iam).await.find(&key(), &scope).await.unwrap();
            let expected = ListedKey {
                service: Service::Logs,
                expires_at: Some(expires_at),
                status: expected,
                ..listed_key(key())
            };
            assert_eq!(found, Some(expected));
        }
        let [by_user, by_account] = iam.calls().try_into().unwrap();
        let names = |call: &crate::support::iam::Call| -> BTreeSet<String> {
            call.parameters.keys().filter(|name| *name != "Action" && *name != "Version").cloned().collect()
        };
        assert_eq!(names(&by_user), ["MaxItems", "UserName"].map(str::to_owned).into());
        assert_eq!(names(&by_account), ["AllUsers", "MaxItems"].map(str::to_owned).into());
        assert_eq!(by_user.parameters["UserName"], USER);
        assert_eq!(by_account.parameters["AllUsers"], "true");
        assert_eq!(by_account.parameters["MaxItems"], "1000");
    }
}

#[tokio::test]
async fn a_user_that_does_not_exist_has_no_keys() {
    let iam = iam_with_key();
    let api = api(&iam).await;
    assert_eq!(api.find(&key(), &user("nobody")).await.unwrap(), None);
    assert_eq!(api.list(&account(OWN), &user("nobody")).await.unwrap(), []);
    // An account always exists.
    iam.fault(LIST, Fault::Refused(404, "NoSuchEntity"), 1);
    let error = api.find(&key(), &FindScope::Account).await.unwrap_err();
    assert_permanent(&error, "NoSuchEntity");
}

#[tokio::test]
async fn a_key_of_a_renamed_user_is_found_in_the_account() {
    let iam = iam_with_key();
    iam.rename_user(OWN, USER, "svc-renamed");
    let api = api(&iam).await;
    assert_eq!(api.find(&key(), &user(USER)).await.unwrap(), None);
    let found = api.find(&key(), &FindScope::Account).await.unwrap().unwrap();
    assert_eq!(found.user.as_str(), "svc-renamed");
}

#[tokio::test]
async fn a_search_reads_every_page_and_stops_where_the_key_is() {
    let iam = Iam::start();
    iam.page(2, std::time::Duration::ZERO);
    for number in 0..9 {
        iam.put(&format!("ACCAFILLER{number:011}"), &format!("user-{number}"), created(), None);
    }
    let api = api(&iam).await;
    for (id, pages) in [("ACCAFILLER00000000003", 2), ("ACCAFILLER00000000008", 5), (ID, 5)] {
        let before = iam.calls().len();
        let found = api.find(&key_in(OWN, id), &FindScope::Account).await.unwrap();
        assert_eq!(found.is_some(), id != ID, "{id}");
        assert_eq!(iam.calls().len() - before, pages, "{id}");
    }
    assert_eq!(api.list(&account(OWN), &FindScope::Account).await.unwrap().len(), 9);
}

#[tokio::test]
async fn a_list_that_does_not_end_is_an_error() {
    for (markers, says, calls) in [
        (&["a"][..], "does not end", 2),
        (&["a", "b", "c"][..], "does not end", 4),
        (&[][..], "no Marker", 1),
    ] {
        let iam = iam_with_key();
        iam.never_end(markers);
        let api = api(&iam).await;
        // What is on the first page is there.
        assert!(api.find(&key(), &FindScope::Account).await.unwrap().is_some(), "{markers:?}");
        assert_eq!(iam.calls().len(), 1);
        for scope in [user(USER), FindScope::Account] {
            let before = iam.calls().len();
            let error = api.find(&key_in(OWN, "ACCAEXAMPLEKEY0000002"), &scope).await.unwrap_err();
            assert_permanent(&error, says);
            assert_eq!(iam.calls().len() - before, calls, "{markers:?}");
            assert_permanent(&api.list(&account(OWN), &scope).await.unwrap_err(), says);
        }
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_an_error_that_names_the_field() {
    for lacks in ["CreateDate", "ServiceName", "UserName", "Status"] {
        let iam = iam_with_key();
        iam.change(ID, |key| key.lacks = Some(lacks));
        let error = api(&iam).await.find(&key(), &FindScope::Account).await.unwrap_err();
        assert_permanent(&error, &format!("{ID} in account {OWN} without a usable {lacks}"));
    }
    let iam = iam_with_key();
    iam.change(ID, |key| key.status = "Suspended");
    let error = api(&iam).await.find(&key(), &user(USER)).await.unwrap_err();
    assert_permanent(&error, "without a usable Status");
    let iam = iam_with_key();
    iam.change(ID, |key| key.expires = Some(Time::UNIX_EPOCH));
    let error = api(&iam).await.find(&key(), &user(USER)).await.unwrap_err();
    assert_permanent(&error, "without a usable ExpirationDate");
}

#[tokio::test]
async fn another_key_that_cannot_be_read_hides_nothing() {
    for lacks in ["CreateDate", "ServiceName", "UserName", "Status", "ServiceSpecificCredentialId"] {
        let iam = iam_with_key();
        iam.change(NEIGHBOUR, |key| key.lacks = Some(lacks));
        let found = api(&iam).await.find(&key(), &user(USER)).await.unwrap();
        assert_eq!(found, Some(listed_key(key())), "{lacks}");
        // All keys are wanted here, and it may be one of them.
        let error = api(&iam).await.list(&account(OWN), &FindScope::Account).await.unwrap_err();
        assert_permanent(&error, &format!("1 keys in IAM's list for account {OWN} could not be read"));
    }
}

#[tokio::test]
async fn an_entry_without_id_may_be_the_key_so_its_absence_is_not_proved() {
    let iam = iam_with_key();
    iam.page(1, std::time::Duration::ZERO);
    iam.change(NEIGHBOUR, |key| key.lacks = Some("ServiceSpecificCredentialId"));
    iam.remove(ID);
    iam.put("ACCAEXAMPLEKEY0000003", USER, created(), None);
    let api = api(&iam).await;
    for scope in [user(USER), FindScope::Account] {
        let error = api.find(&key(), &scope).await.unwrap_err();
        assert_permanent(&error, "1 of its entries have no usable ServiceSpecificCredentialId");
    }
    // Another id is another key, whatever else is missing.
    iam.change(NEIGHBOUR, |key| key.lacks = Some("CreateDate"));
    assert_eq!(api.find(&key(), &FindScope::Account).await.unwrap(), None);
}

// ---- pages ----

#[tokio::test]
async fn pages_lead_through_the_whole_account_and_count_what_cannot_be_read() {
    let iam = Iam::start();
    iam.page(2, std::time::Duration::ZERO);
    for number in 0..5 {
        iam.put(&format!("ACCAFILLER{number:011}"), &format!("user-{number}"), created(), None);
    }
    iam.put_key(StoredKey { service: "logs.amazonaws.com".to_owned(), ..stored_key(OWN, ID) });
    iam.change("ACCAFILLER00000000001", |key| key.lacks = Some("ServiceSpecificCredentialId"));
    iam.change("ACCAFILLER00000000002", |key| key.status = "Suspended");
    iam.change("ACCAFILLER00000000003", |key| key.lacks = Some("CreateDate"));
    let api = api(&iam).await;
    for (service, expected) in [
        (ServiceFilter::All, vec![(1, 1), (0, 2), (2, 0)]),
        (only("bedrock.amazonaws.com"), vec![(1, 1), (0, 2), (1, 0)]),
        (only("logs.amazonaws.com"), vec![(1, 0)]),
        (only("xray.amazonaws.com"), vec![(0, 0)]),
    ] {
        let (mut counts, mut cursor) = (Vec::new(), None);
        loop {
            let page = api.list_page(&account(OWN), &service, cursor.as_ref()).await.unwrap();
            counts.push((page.keys.len(), page.unreadable));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(counts, expected, "{service}");
        let call = iam.calls().pop().unwrap().parameters;
        assert_eq!((call["AllUsers"].as_str(), call.get("UserName")), ("true", None));
        assert_eq!(call.get("ServiceName").map_or("every service", String::as_str), service.to_string());
    }
}

#[tokio::test]
async fn a_page_that_is_truncated_without_marker_is_an_error() {
    let iam = iam_with_key();
    iam.never_end(&[]);
    let error = api(&iam).await.list_page(&account(OWN), &ServiceFilter::All, None).await.unwrap_err();
    assert_permanent(&error, "no Marker");
    // The sweep notices what goes in circles.
    iam.never_end(&["a"]);
    let page = api(&iam).await.list_page(&account(OWN), &ServiceFilter::All, None).await.unwrap();
    assert_eq!(page.next, Some(KeyCursor("a".to_owned())));
}

/// IAM does not know the service here. Were this an empty page, its known keys would be called absent.
#[tokio::test]
async fn the_keys_of_a_service_that_iam_does_not_support_are_looked_for_among_all() {
    for code in ["NotSupportedService", "NoSuchEntity"] {
        let iam = iam_with_key();
        let logs = StoredKey {
            service: "logs.amazonaws.com".to_owned(),
            ..stored_key(OWN, "ACCALOGSKEY0000000001")
        };
        iam.put_key(logs);
        iam.page(2, std::time::Duration::ZERO);
        iam.does_not_support("logs.amazonaws.com", code);
        iam.does_not_support("xray.amazonaws.com", code);
        let api = api(&iam).await;
        let (own, logs, xray) = (account(OWN), only("logs.amazonaws.com"), only("xray.amazonaws.com"));
        let first = api.list_page(&own, &logs, None).await.unwrap();
        assert_eq!((first.keys.len(), first.unreadable), (0, 0));
        let second = api.list_page(&own, &logs, first.next.as_ref()).await.unwrap();
        let ids: Vec<_> = second.keys.iter().map(|listed| listed.key.id.as_str()).collect();
        assert_eq!((ids.as_slice(), &second.next), (&["ACCALOGSKEY0000000001"][..], &None));
        let last = api.list_page(&own, &xray, first.next.as_ref()).await.unwrap();
        assert_eq!(last, KeyPage { keys: Vec::new(), unreadable: 0, next: None });
    }
    // Without a service there is nothing that could be unsupported.
    let iam = iam_with_key();
    iam.fault(LIST, Fault::Refused(404, "NotSupportedService"), 1);
    let error = api(&iam).await.list_page(&account(OWN), &ServiceFilter::All, None).await.unwrap_err();
    assert_permanent(&error, "NotSupportedService");
}

// ---- act ----

#[tokio::test]
async fn an_action_changes_this_key_only_and_always_names_its_user() {
    for (response, operation) in [("deactivate", UPDATE), ("delete", DELETE)] {
        let iam = iam_with_key();
        let api = api(&iam).await;
        let listed = api.find(&key(), &user(USER)).await.unwrap().unwrap();
        let before = iam.key(NEIGHBOUR);
        assert_eq!(api.act(&confirmed(&listed, response)).await.unwrap(), ActResult::Done);
        let status = iam.key(ID).map(|key| key.status);
        assert_eq!(status, (operation == UPDATE).then_some("Inactive"));
        assert_eq!(iam.key(NEIGHBOUR), before);
        let call = iam.calls().pop().unwrap();
        assert_eq!((call.action.as_str(), call.parameters["UserName"].as_str()), (operation, USER));
    }
}

#[tokio::test]
async fn a_key_that_this_user_does_not_have_is_not_there() {
    for response in ["deactivate", "delete"] {
        let action = confirmed(&listed_key(key()), response);
        let renamed = iam_with_key();
        renamed.rename_user(OWN, USER, "svc-renamed");
        let gone = iam_with_key();
        gone.remove(ID);
        // There is a user of that name again, and the key is another user's.
        let of_another_user = iam_with_key();
        of_another_user.rename_user(OWN, USER, "svc-renamed");
        of_another_user.add_user(OWN, USER);
        for iam in [renamed, gone, of_another_user] {
            let before = iam.keys();
            assert_eq!(api(&iam).await.act(&action).await.unwrap(), ActResult::NotThere);
            assert_eq!(iam.keys(), before);
        }
    }
}

#[tokio::test]
async fn a_delete_whose_reply_is_lost_ends_as_not_there() {
    let iam = iam_with_key();
    iam.fault(DELETE, Fault::ReplyLost, 1);
    let result = api(&iam).await.act(&confirmed(&listed_key(key()), "delete")).await;
    assert_eq!(result.unwrap(), ActResult::NotThere);
    assert_eq!((iam.key(ID), iam.actions()), (None, [DELETE, DELETE].map(str::to_owned).to_vec()));
}

// ---- failures ----

#[tokio::test]
async fn every_failure_says_whether_to_retry_and_what_is_missing() {
    let transient = [
        (Fault::Refused(400, "Throttling"), "(Throttling)"),
        (Fault::Refused(429, "TooManyRequestsException"), "(TooManyRequestsException)"),
        (Fault::Refused(500, "InternalFailure"), "(InternalFailure)"),
        (Fault::Refused(503, "ServiceUnavailable"), "(ServiceUnavailable)"),
        (Fault::Cut, "failed"),
    ];
    let permanent = [
        (Fault::Refused(403, "AccessDenied"), "the caller needs "),
        (Fault::Refused(403, "InvalidClientTokenId"), "(InvalidClientTokenId)"),
        (Fault::Refused(409, "LimitExceeded"), "(LimitExceeded)"),
    ];
    let cases = transient.map(|case| (case, Retry::Transient)).into_iter();
    let cases: Vec<_> = cases.chain(permanent.map(|case| (case, Retry::Permanent))).collect();
    for (operation, service) in [(LIST, "iam"), (UPDATE, "iam"), (DELETE, "iam"), (ASSUME_ROLE, "sts")] {
        for ((fault, says), retry) in &cases {
            let name = format!("{operation} {fault:?}");
            let iam = iam_with_key();
            iam.put_key(stored_key(OTHER, ID));
            // The SDK tries three times.
            iam.fault(operation, *fault, 3);
            let api = api(&iam).await;
            let other = listed_key(key_in(OTHER, ID));
            let error = match operation {
                UPDATE => api.act(&confirmed(&other, "deactivate")).await.map(drop),
                DELETE => api.act(&confirmed(&other, "delete")).await.map(drop),
                _ => api.find(&other.key, &user(USER)).await.map(drop),
            }
            .expect_err(&name);
            let text = chain(&error);
            assert_eq!(error.retry, *retry, "{name}: {text}");
            assert!(text.contains(&format!("{operation} in account {OTHER}")), "{name}: {text}");
            assert!(text.contains(says), "{name}: {text}");
            if says.starts_with("the caller") {
                assert!(text.contains(&format!("{says}{service}:{operation}")), "{name}: {text}");
            }
            assert_eq!(iam.key(ID).unwrap().status, "Active", "{name}");
            let tries = iam.actions().iter().filter(|action| *action == operation).count();
            assert_eq!(tries, if *retry == Retry::Transient { 3 } else { 1 }, "{name}");
        }
    }
}

#[tokio::test]
async fn what_fails_twice_is_retried_within_the_call() {
    for fault in [Fault::Refused(400, "Throttling"), Fault::Refused(500, "InternalFailure"), Fault::Cut] {
        let iam = iam_with_key();
        iam.put_key(stored_key(OTHER, ID));
        iam.fault(ASSUME_ROLE, fault, 2);
        iam.fault(LIST, fault, 2);
        let found = api(&iam).await.find(&key_in(OTHER, ID), &user(USER)).await.unwrap();
        assert_eq!(found, Some(listed_key(key_in(OTHER, ID))), "{fault:?}");
    }
}

#[tokio::test]
async fn an_action_that_hangs_ends_before_the_lease_does() {
    let hangs = async |operation: &str| {
        let iam = iam_with_key();
        iam.put_key(stored_key(OTHER, ID));
        iam.fault(operation, Fault::Hangs, 9);
        let api = api(&iam).await;
        let action = confirmed(&listed_key(key_in(OTHER, ID)), "delete");
        let began = Instant::now();
        let error = api.act(&action).await.unwrap_err();
        assert!(began.elapsed() < ACTION_MARGIN.to_std().unwrap(), "{operation}: {:?}", began.elapsed());
        assert_eq!(error.retry, Retry::Transient, "{operation}: {}", chain(&error));
    };
    tokio::join!(hangs(DELETE), hangs(ASSUME_ROLE));
}

#[tokio::test]
async fn no_error_has_a_secret_in_it() {
    const SECRET: &str = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";
    let url = serve(|_| {
        HttpReply::answer(
            200,
            format!(
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
                 <SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{SECRET}</SessionToken>\
                 <Expiration>soon</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
            ),
        )
    });
    let sdk = Iam::start().sdk().await.into_builder().endpoint_url(url).build();
    let home = format!("arn:aws:iam::{OWN}:user/operator").parse().unwrap();
    let api = IamCredentials::new(sdk, home, Some("key-guard-responder".parse().unwrap()));
    let error = api.find(&key_in(OTHER, ID), &FindScope::Account).await.unwrap_err();
    assert_permanent(&error, "AssumeRole in account");
    assert!(!format!("{error:?} {}", chain(&error)).contains(SECRET), "{error:?}");
    assert!(!format!("{api:?}").contains(SECRET));
}

// ---- accounts ----

#[tokio::test]
async fn another_account_is_reached_through_its_role_which_is_assumed_once() {
    let iam = iam_with_key();
    iam.put_key(stored_key(OTHER, ID));
    let api = api(&iam).await;
    let other = key_in(OTHER, ID);
    let scope = user(USER);
    let (one, two) = tokio::join!(api.find(&other, &scope), api.find(&other, &scope));
    assert_eq!(one.unwrap(), two.unwrap());
    let action = confirmed(&listed_key(other), "delete");
    assert_eq!(api.act(&action).await.unwrap(), ActResult::Done);
    assert_eq!(iam.actions().iter().filter(|action| *action == ASSUME_ROLE).count(), 1);
    let assumed = &iam.calls()[0].parameters;
    assert_eq!(assumed["RoleArn"], format!("arn:aws-us-gov:iam::{OTHER}:role/key-guard-responder"));
    assert_eq!((&*assumed["RoleSessionName"], &*assumed["DurationSeconds"]), ("bedrock-key-guard", "900"));
    assert_eq!(iam.key(ID).unwrap().account, OWN, "the same id in the own account is another key");
}

#[tokio::test]
async fn the_oldest_role_session_is_dropped_when_there_are_many() {
    let iam = Iam::start();
    let api = api(&iam).await;
    let accounts: Vec<_> = (0..65).map(|number| format!("{:012}", 444_455_550_000_u64 + number)).collect();
    let list = async |id: &str| {
        let before = iam.calls().len();
        api.list_page(&account(id), &ServiceFilter::All, None).await.unwrap();
        iam.calls().len() - before
    };
    for id in &accounts {
        assert_eq!(list(id).await, 2);
    }
    for id in &accounts[1..] {
        assert_eq!(list(id).await, 1, "{id}");
    }
    assert_eq!(list(&accounts[0]).await, 2);
}

#[tokio::test]
async fn without_a_role_other_accounts_fail_by_the_name_of_the_variable() {
    let iam = iam_with_key();
    let api = api_with(&iam, None).await;
    let error = api.find(&key_in(OTHER, ID), &FindScope::Account).await.unwrap_err();
    assert_permanent(&error, "KEY_GUARD_RESPONDER_ROLE (--responder-role) is not set");
    assert_eq!(iam.calls(), []);
    assert!(api.find(&key(), &FindScope::Account).await.unwrap().is_some());
}

// ---- orphaned users ----

#[tokio::test]
async fn what_is_left_of_a_user_is_its_policies_and_access_keys() {
    const POLICY: &str = "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess";
    let iam = Iam::start();
    let api = api(&iam).await;
    let (own, name) = (account(OWN), "BedrockAPIKey-x7f2".parse().unwrap());
    assert_eq!(api.orphaned_user(&own, &name).await.unwrap(), None);
    iam.add_user(OWN, "BedrockAPIKey-x7f2");
    assert_eq!(api.orphaned_user(&own, &name).await.unwrap(), Some(OrphanedUser::default()));
    iam.attach("BedrockAPIKey-x7f2", POLICY);
    iam.add_access_key("BedrockAPIKey-x7f2", "AKIAEXAMPLE");
    let left =
        OrphanedUser { policies: vec![POLICY.to_owned()], access_keys: vec!["AKIAEXAMPLE".to_owned()] };
    assert_eq!(api.orphaned_user(&own, &name).await.unwrap(), Some(left));
    for operation in ["ListAttachedUserPolicies", "ListAccessKeys"] {
        iam.fault(operation, Fault::Refused(403, "AccessDenied"), 1);
        let error = api.orphaned_user(&own, &name).await.unwrap_err();
        assert_permanent(&error, &format!("the caller needs iam:{operation}"));
        // Deleted in between.
        iam.fault(operation, Fault::Refused(404, "NoSuchEntity"), 1);
        assert_eq!(api.orphaned_user(&own, &name).await.unwrap(), None);
    }
}
