//! How much memory the built function takes for a sweep of an organisation.

use std::time::Duration;

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use bedrock_key_guard::ledger::audit::AuditEvent;
use bedrock_key_guard::ledger::audit::heard::Heartbeat;
use bedrock_key_guard::ledger::store::Ledger;
use chrono::{SubsecRound as _, TimeDelta};
use serde_json::{Value, json};

use crate::support::OWN;
use crate::support::deployment::{Deployment, TABLE};
use crate::support::iam::StoredKey;

/// What a sweep of many accounts came to.
struct Swept {
    invocations: u32,
    last: Value,
    peak_kib: u64,
    longest_payload: usize,
}

/// Sweeps accounts that were heard, one key each, and the function's own with this many keys.
async fn sweep_organisation(accounts: u64, keys: u32, time: Duration) -> Swept {
    let world = Deployment::new().await;
    let created = (SystemClock.now() - TimeDelta::days(1)).trunc_subsecs(0);
    let put = |account: &str, id: String, user: String| {
        world.iam.put_key(StoredKey {
            account: account.to_owned(),
            id,
            user,
            service: "bedrock.amazonaws.com".to_owned(),
            created,
            expires: Some(created + TimeDelta::days(30)),
            status: "Active",
            hidden: 0,
            lacks: None,
        });
    };
    for number in 0..keys {
        put(OWN, format!("ACCAOWN{number:014}"), format!("user-{}", number / 2));
    }
    let names: Vec<_> = (0..accounts).map(|number| format!("{:012}", 200_000_000_000 + number)).collect();
    for account in &names {
        put(account, format!("ACCAOTHER{account}"), "user".to_owned());
    }
    let heartbeat = |account: &String| {
        AuditEvent::Heartbeat(Heartbeat { account: account.parse().unwrap(), at: SystemClock.now() })
    };
    let heartbeats: Vec<_> = names.iter().map(heartbeat).collect();
    let ledger = Ledger::dynamodb(world.dynamo.client().await, TABLE);
    for heard in ledger.record_audit_events(&heartbeats).await {
        heard.unwrap();
    }

    let function = world.start(&[("KEY_GUARD_RESPONDER_ROLE", "responder")]);
    *function.time.lock().unwrap() = Some(time);
    let mut payload = json!({"sweep": {"accounts": "heard"}});
    let (mut invocations, mut longest_payload) = (0, 0);
    loop {
        let last = function.invoke(&payload).response();
        invocations += 1;
        payload.clone_from(&last["continue"]);
        longest_payload = longest_payload.max(payload.to_string().len());
        if payload.is_null() {
            return Swept { invocations, last, peak_kib: function.peak_memory(), longest_payload };
        }
    }
}

fn check(swept: &Swept, accounts: u64, keys: u64) {
    let Swept { invocations, last, peak_kib, longest_payload } = swept;
    eprintln!(
        "{accounts} accounts and {keys} keys: {invocations} invocations, {} MiB, payloads of up to {longest_payload} bytes",
        peak_kib / 1_024
    );
    let counts = ["accounts", "accounts_completed", "keys", "failed", "problems"]
        .map(|name| last["sweep"][name].as_u64().unwrap());
    assert_eq!(counts, [accounts + 1, accounts + 1, accounts + keys, 0, 0], "{last}");
    assert_eq!(last["sweep"]["completed"], true, "{last}");
    assert!(*invocations > 1, "{invocations}");
    assert!(*peak_kib < 256 * 1_024, "{peak_kib} KiB");
    // Request and response go to the destination together.
    assert!(longest_payload + last.to_string().len() < 256 * 1_024, "{longest_payload}");
}

#[tokio::test]
async fn fifty_accounts_and_2_000_keys_are_swept_in_little_memory() {
    check(&sweep_organisation(50, 2_000, Duration::from_millis(11_800)).await, 50, 2_000);
}

/// The memory that the templates give to the function suffices for an organisation.
#[tokio::test]
#[ignore = "takes minutes: docs/benchmarks.md says how to run it"]
async fn a_thousand_accounts_and_100_000_keys_are_swept_in_256_mb() {
    check(&sweep_organisation(1_000, 100_000, Duration::from_secs(35)).await, 1_000, 100_000);
}
