//! Which key: under renamed users and exempt names, beside keys of other services, and on the last page of a list.

use serde_json::json;

use super::{DELETE, DELETE_CEILING, LIST};
use crate::support::OWN;
use crate::support::deployment::{Deployment, TestKey, policy};
use crate::support::iam::StoredKey;

#[tokio::test]
async fn a_renamed_user_is_found_and_a_new_user_with_the_old_name_is_left_alone() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.rename_user(OWN, &key.user, "svc-renamed");
    let bystander = TestKey::new(2, None).exists_in(&world.iam);
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["outcome"], &report["user"]), (&json!("deleted"), &json!("svc-renamed")));
    let left: Vec<_> = world.iam.keys().into_iter().map(|key| key.id).collect();
    assert_eq!(left, [bystander.id]);
}

/// A user that was renamed for the moment of confirmation gains nothing (R6).
#[tokio::test]
async fn a_name_that_the_policy_exempts_does_not_save_the_key_of_another_name() {
    let world = Deployment::new().await;
    let policy = policy(&format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         [[exemption]]\naccount = \"{OWN}\"\nuser = \"vendor\"\nreason = \"SEC-1\"\nuntil = 2099-01-01\n"
    ));
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_POLICY", policy.path().to_str().unwrap())]);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.rename_user(OWN, &key.user, "vendor");
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");

    let exempt = TestKey { user: "vendor".to_owned(), ..TestKey::new(2, None) }.exists_in(&world.iam);
    assert_eq!(function.invoke(&exempt.created()).response()["verdict"], "exempt");
    assert!(world.iam.key(&exempt.id).is_some());
}

#[tokio::test]
async fn a_key_of_another_service_of_the_same_user_is_left_alone() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let neighbour = StoredKey {
        id: "ACCABYSTANDER00000001".to_owned(),
        service: "codecommit.amazonaws.com".to_owned(),
        ..world.iam.key(&key.id).unwrap()
    };
    world.iam.put_key(neighbour.clone());
    function.invoke(&key.created()).response();
    assert_eq!(world.iam.keys(), [neighbour]);
}

#[tokio::test]
async fn a_key_that_iam_lists_for_another_service_is_left_alone() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.change(&key.id, |key| "codecommit.amazonaws.com".clone_into(&mut key.service));
    let report = function.invoke(&key.created()).response();
    assert_eq!(
        (&report["service"], &report["outcome"]),
        (&json!("codecommit.amazonaws.com"), &json!("ignored"))
    );
    assert_eq!(world.iam.actions(), [LIST]);
}

#[tokio::test]
async fn the_list_of_all_users_is_read_to_its_last_page() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    for number in 0..2_500 {
        let filler = TestKey { user: format!("user-{number}"), ..TestKey::new(number, Some(1)) };
        filler.exists_in(&world.iam);
    }
    let key = TestKey { user: "svc-renamed".to_owned(), ..TestKey::new(9_999, None) }.exists_in(&world.iam);
    let event = TestKey { user: "svc-chatbot".to_owned(), ..key }.created();
    assert_eq!(function.invoke(&event).response()["outcome"], "deleted");
    assert_eq!(world.iam.actions(), [LIST, LIST, LIST, LIST, DELETE]);
    assert_eq!(world.iam.keys().len(), 2_500);
}
