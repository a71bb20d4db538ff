//! The built function in accounts with many keys.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::deployment::{Deployment, TestKey};
use crate::support::iam::Call;

const LIST: &str = "ListServiceSpecificCredentials";

/// What a sweep came to, over all its invocations.
struct Swept {
    invocations: u32,
    last: Value,
}

/// Sweeps until there is no rest. Each invocation has this much time, and makes progress.
fn sweep_in_pieces(world: &Deployment, time: Duration, keys: u64) -> Swept {
    let function =
        world.start(&[("KEY_GUARD_CEILING", "deactivate"), ("KEY_GUARD_SWEEP_CEILING", "deactivate")]);
    *function.time.lock().unwrap() = Some(time);
    let mut payload = json!({"sweep": {}});
    let (mut invocations, mut swept) = (0, 0);
    loop {
        let last = function.invoke(&payload).response();
        invocations += 1;
        payload.clone_from(&last["continue"]);
        if payload.is_null() {
            return Swept { invocations, last };
        }
        let so_far = last["sweep"]["keys"].as_u64().unwrap();
        assert!(so_far > swept || so_far == keys, "invocation {invocations} did nothing: {last}");
        assert!(invocations < 100, "there is no end to it");
        swept = so_far;
    }
}

fn bad_keys(world: &Deployment, count: u32) {
    for number in 0..count {
        TestKey { user: format!("user-{number}"), ..TestKey::new(number, None) }.exists_in(&world.iam);
    }
}

/// The time is checked between keys, not only between pages (R10).
#[tokio::test]
async fn a_page_of_300_slow_keys_is_swept_in_several_invocations() {
    let world = Deployment::new().await;
    bad_keys(&world, 300);
    world.iam.page(1_000, Duration::from_millis(100));
    // Nothing is begun in the last eleven seconds.
    let Swept { invocations, last } = sweep_in_pieces(&world, Duration::from_millis(11_700), 300);
    assert!(invocations > 2, "{last}");
    let counts = ["keys", "deactivated", "failed", "problems", "pages"]
        .map(|name| last["sweep"][name].as_u64().unwrap());
    assert_eq!(counts[..4], [300, 300, 0, 0], "{last}");
    assert_eq!(last["sweep"]["completed"], true, "{last}");
    assert!(world.iam.keys().iter().all(|key| key.status == "Inactive"));
}

/// However short an invocation is, it deals with one key, or with one page of the ledger. The list that is to be read
/// again is given up.
#[tokio::test]
async fn a_sweep_without_enough_time_for_anything_has_an_end() {
    for (time, failed, pages) in [(Duration::from_secs(10), 0, 3), (Duration::from_secs(5), 3, 1)] {
        let world = Deployment::new().await;
        bad_keys(&world, 3);
        let Swept { invocations, last } = sweep_in_pieces(&world, time, 3);
        // Three keys, and the pages of the ledger that have them, with the one that ends them.
        assert_eq!(invocations, 3 + pages, "{last}");
        let counts = ["keys", "failed", "problems"].map(|name| last["sweep"][name].as_u64().unwrap());
        assert_eq!(counts, [3, failed, 1 + failed], "{last}");
        assert_eq!(last["sweep"]["completed"], false, "{last}");
        let active = world.iam.keys().iter().filter(|key| key.status == "Active").count();
        assert_eq!(active as u64, failed, "{last}");
    }
}

/// IAM returns at most 1,000 keys with a page, so all of them are 35 pages.
#[tokio::test]
async fn a_deletion_among_35_000_keys_asks_for_the_user_first_and_for_all_keys_once() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    *function.time.lock().unwrap() = Some(Duration::from_secs(30));
    let key = TestKey::new(1, Some(30));
    for number in 0..35_000 {
        let id = format!("ACCAFILLER{number:011}");
        world.iam.put(&id, &format!("user-{}", number / 2), key.created, Some(30));
    }
    let key = key.exists_in(&world.iam);
    function.invoke(&key.created()).response();
    let deleted = key.deleted(key.age());
    let calls = || {
        let calls: Vec<Call> = world.iam.calls();
        assert!(calls.iter().all(|call| call.action == LIST && call.parameters["MaxItems"] == "1000"));
        calls
    };
    let is_of_the_user = |call: &Call| call.parameters.get("UserName") == Some(&key.user);
    let is_a_pass = |calls: &[Call]| {
        let markers = calls.iter().map(|call| call.parameters.get("Marker").cloned());
        let expected = (0..35).map(|page| (page > 0).then(|| (page * 1_000).to_string()));
        markers.eq(expected) && calls.iter().all(|call| call.parameters["AllUsers"] == "true")
    };

    // IAM is behind: one call finds the key.
    assert_eq!(function.invoke(&deleted).error()["errorType"], "KeyStillListed");
    let all = calls();
    assert!(all.len() == 1 && is_of_the_user(&all[0]), "{all:?}");

    // Its user may have been renamed.
    world.iam.remove(&key.id);
    assert_eq!(function.invoke(&deleted).response()["outcome"], "gone");
    assert_eq!(world.phase(&key.id), "gone");
    let all = calls();
    assert!(is_of_the_user(&all[1]) && is_a_pass(&all[2..]), "{} calls", all.len());

    // Nothing is known of this key, and the caller of IAM need not name its user.
    let mut unknown = TestKey::new(2, None).deleted(key.age());
    unknown["detail"]["requestParameters"].as_object_mut().unwrap().remove("userName");
    assert_eq!(function.invoke(&unknown).response()["outcome"], "gone");
    let all = calls();
    assert!(is_a_pass(&all[37..]), "{} calls", all.len());
}
