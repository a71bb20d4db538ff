//! The breaker of deletions.

use super::{DELETE_CEILING, created_with_unreadable_lifetime};
use crate::support::deployment::{Deployment, TestKey, policy};

/// It counts deletions, and each of its budgets apart (R11).
#[tokio::test]
async fn the_breaker_counts_deletions_only_and_saves_no_reactivated_key() {
    let world = Deployment::new().await;
    let policy = policy(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         max_actions_per_hour = 1\n",
    );
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_POLICY", policy.path().to_str().unwrap())]);
    // Keys whose dates cannot be read, and that IAM says are compliant, spend nothing.
    for number in 1..=3 {
        let good = TestKey::new(number, Some(30)).exists_in(&world.iam);
        let event = created_with_unreadable_lifetime(&good);
        assert_eq!(function.invoke(&event).response()["verdict"], "compliant");
    }
    let bad = |number| TestKey::new(number, None).exists_in(&world.iam);
    assert_eq!(function.invoke(&bad(11).created()).response()["outcome"], "deleted");
    let held = bad(12);
    let report = function.invoke(&held.created()).response();
    assert_eq!(report["outcome"], "deactivated", "{report}");
    // A redelivery is no new trigger.
    assert_eq!(function.invoke(&held.created()).response()["outcome"], "deactivated");
    world.iam.change(&held.id, |key| key.status = "Active");
    let report = function.invoke(&held.activated(held.age())).response();
    assert_eq!(report["outcome"], "deleted", "{report}");
    assert!(function.end().contains("\"HeldBack\":1"));
}
