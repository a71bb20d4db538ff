//! Keys of other accounts, with and without the responder role.

use super::DELETE_CEILING;
use crate::support::deployment::{Deployment, TestKey};
use crate::support::{OTHER, OWN};

#[tokio::test]
async fn another_account_is_reached_through_the_responder_role_assumed_once() {
    let world = Deployment::new().await;
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_RESPONDER_ROLE", "key-guard-responder")]);
    for number in 1..=3 {
        let key = TestKey { account: OTHER, ..TestKey::new(number, None) }.exists_in(&world.iam);
        // A key with the same id in the own account is another one.
        world.iam.put(&key.id, &key.user, key.created, None);
        assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    }
    assert_eq!(world.iam.actions().iter().filter(|action| *action == "AssumeRole").count(), 1);
    let assumed = &world.iam.calls()[0].parameters;
    assert_eq!(assumed["RoleArn"], format!("arn:aws:iam::{OTHER}:role/key-guard-responder"));
    assert_eq!(assumed["RoleSessionName"], "bedrock-key-guard");
    let left: Vec<_> = world.iam.keys().into_iter().map(|key| key.account).collect();
    assert_eq!(left, [OWN; 3]);
}

#[tokio::test]
async fn another_account_without_a_role_is_recorded_and_fails_by_the_variables_name() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey { account: OTHER, ..TestKey::new(1, None) };
    let error = function.invoke(&key.created()).error();
    assert_eq!(error["errorType"], "ResponderRoleNotSet");
    assert!(error["errorMessage"].as_str().unwrap().contains("KEY_GUARD_RESPONDER_ROLE"), "{error}");
    assert_eq!((world.phase(&key.id), world.iam.calls()), ("pending", vec![]));
    // A compliant key needs nothing of IAM.
    let key = TestKey { account: OTHER, ..TestKey::new(2, Some(1)) };
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "recorded");
}
