//! Events through the built function, over HTTP: what becomes of a key, and which calls that takes.

mod accounts;
mod breaker;
mod concurrent;
mod evidence;
mod faults;
mod identity;
mod observations;

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, TestKey};

const DELETE_CEILING: [(&str, &str); 1] = [("KEY_GUARD_CEILING", "delete")];
const DEACTIVATE_CEILING: [(&str, &str); 1] = [("KEY_GUARD_CEILING", "deactivate")];

const LIST: &str = "ListServiceSpecificCredentials";
const UPDATE: &str = "UpdateServiceSpecificCredential";
const DELETE: &str = "DeleteServiceSpecificCredential";
const WRITE: &str = "TransactWriteItems";

fn seconds(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}

fn created_with_unreadable_lifetime(key: &TestKey) -> Value {
    let mut event = key.created();
    event["detail"]["requestParameters"]["credentialAgeDays"] = json!("about 30");
    event["detail"]["responseElements"]["serviceSpecificCredential"]["expirationDate"] = json!("in a month");
    event
}

#[tokio::test]
async fn a_compliant_key_costs_one_call_and_a_deleted_one_four() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, Some(90)).exists_in(&world.iam);
    assert_eq!(function.invoke(&key.created()).response()["verdict"], "compliant");
    assert_eq!((world.dynamo.calls(), world.iam.actions()), (vec![WRITE.to_owned()], vec![]));

    world.dynamo.forget_calls();
    let key = TestKey::new(2, None).exists_in(&world.iam);
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    assert_eq!(
        (world.dynamo.calls(), world.iam.actions()),
        (vec![WRITE.to_owned(); 2], vec![LIST.to_owned(), DELETE.to_owned()])
    );
    // A redelivery is one more call, of the ledger.
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    assert_eq!((world.dynamo.calls().len(), world.iam.actions().len()), (3, 2));
}

#[tokio::test]
async fn every_call_names_the_user_and_the_key() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    function.invoke(&key.created()).response();
    let calls = world.iam.calls();
    for call in &calls {
        assert_eq!(call.parameters["UserName"], key.user, "{call:?}");
        assert!(!call.parameters.contains_key("AllUsers"), "{call:?}");
    }
    assert_eq!(calls[0].parameters["MaxItems"], "1000");
    assert_eq!(calls[1].parameters["ServiceSpecificCredentialId"], key.id);
}
