//! Deliveries at the same time.

use super::DEACTIVATE_CEILING;
use crate::support::deployment::{Deployment, TestKey};
use crate::support::runtime_api::{Function, Outcome};

/// Forty deliveries about four keys, to four functions: all of them end with a report.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_at_the_same_time_wait_for_each_other() {
    let world = Deployment::new().await;
    let functions: Vec<Function> = (0..4).map(|_| world.start(&DEACTIVATE_CEILING)).collect();
    let keys: Vec<_> = (1..=4).map(|number| TestKey::new(number, None).exists_in(&world.iam)).collect();
    for key in &keys {
        functions[0].invoke(&key.created()).response();
        world.iam.change(&key.id, |key| key.status = "Active");
    }
    std::thread::scope(|scope| {
        for function in functions {
            let keys = &keys;
            scope.spawn(move || {
                for number in 0..10 {
                    let key = &keys[number % keys.len()];
                    match function.invoke(&key.activated(key.age())) {
                        Outcome::Response(report) => assert_eq!(report["outcome"], "deactivated", "{report}"),
                        Outcome::Error(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(world.iam.keys().iter().all(|key| key.status == "Inactive"));
}
