//! The policy in the ledger table: what the built function does at its start, and how it follows a push.

use bedrock_key_guard::config::PolicySource;
use bedrock_key_guard::lambda::policy::PolicyInUse;
use bedrock_key_guard::ledger::policy::CurrentPolicyError;
use bedrock_key_guard::ledger::store::Ledger;
use bedrock_key_guard::telemetry::chain;
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::policy::{BUILT_IN, Policy};
use serde_json::json;

use crate::support::deployment::{Deployment, TABLE, TestKey, policy, push};
use crate::support::runtime_api::start_and_fail;
use crate::support::{Fault, OWN};

const FROM_LEDGER: (&str, &str) = ("KEY_GUARD_POLICY", "ledger:");

/// Other policies than the built-in one.
fn limit(days: u32) -> String {
    BUILT_IN.replace("90", &days.to_string())
}

#[tokio::test]
async fn a_start_without_a_usable_version_fails_and_says_what_to_do() {
    let world = Deployment::new().await;
    let start = || {
        let ended = start_and_fail(&[
            ("KEY_GUARD_TABLE", TABLE),
            ("AWS_ENDPOINT_URL_DYNAMODB", world.dynamo.url()),
            ("AWS_ENDPOINT_URL_IAM", world.iam.url()),
            FROM_LEDGER,
        ]);
        assert!(!ended.success && ended.stdout.contains("KEY_GUARD_POLICY is ledger:"), "{}", ended.stdout);
        ended.stdout
    };
    let none = start();
    assert!(
        none.contains(
            "the ledger has no version of the policy; push one with: bedrock-key-guard policy push"
        ),
        "{none}"
    );
    push(&world, "[default]\nnew_field = 1\n").await;
    let invalid = start();
    assert!(
        invalid.contains("version 1 of the policy cannot be used") && invalid.contains("new_field"),
        "{invalid}"
    );
    push(&world, BUILT_IN).await;
    world.dynamo.change_items(TABLE, |item| drop(item.as_object_mut().unwrap().remove("toml")));
    let unreadable = start();
    assert!(
        unreadable.contains("the ledger item POLICY / 0000000002 cannot be read: missing field"),
        "{unreadable}"
    );
}

/// One call at the start; warm invocations within a minute make none. A policy in a file costs none at all.
#[tokio::test]
async fn a_policy_in_the_ledger_costs_a_call_at_the_start() {
    let file = policy(&limit(30));
    for (source, policy, at_start) in
        [(FROM_LEDGER.1, limit(20), &["Query"][..]), (file.path().to_str().unwrap(), limit(30), &[])]
    {
        let world = Deployment::new().await;
        let version = push(&world, &limit(20)).await;
        world.dynamo.forget_calls();
        let function = world.start(&[("KEY_GUARD_POLICY", source), ("KEY_GUARD_CEILING", "delete")]);
        let good = TestKey::new(1, Some(10)).exists_in(&world.iam);
        let report = function.invoke(&good.created()).response();
        assert_eq!(report["policy_sha256"], Policy::parse(&policy, file.path()).unwrap().sha256());
        assert_eq!(report["policy_sha256"] == version.sha256, source == FROM_LEDGER.1);
        let writes = |number| vec!["TransactWriteItems"; number];
        assert_eq!(world.dynamo.calls(), [at_start, &writes(1)].concat());
        let bad = TestKey { user: "svc-other".to_owned(), ..TestKey::new(2, None) }.exists_in(&world.iam);
        assert_eq!(function.invoke(&bad.created()).response()["outcome"], "deleted");
        // Four calls for this one: two of them are of IAM.
        assert_eq!(world.dynamo.calls(), [at_start, &writes(3)].concat());
        assert_eq!(world.iam.calls().len(), 2);
        assert_eq!(function.invoke(&json!({"resume": {}})).response()["resume"]["keys"], 0);
        let queries = world.dynamo.calls().iter().filter(|call| *call == "Query").count();
        // A resume looks for what is due at four places, and for the accounts that were heard.
        assert_eq!(queries, at_start.len() + 5);
        assert_eq!(good.account, OWN);
    }
}

#[tokio::test]
async fn a_throttled_start_is_retried() {
    let world = Deployment::new().await;
    push(&world, BUILT_IN).await;
    world.dynamo.fault("Query", Fault::Refused(400, "ThrottlingException"), 2);
    let function = world.start(&[FROM_LEDGER]);
    let key = TestKey::new(1, Some(10)).exists_in(&world.iam);
    assert_eq!(function.invoke(&key.created()).response()["verdict"], "compliant");
    assert!(world.dynamo.faults_are_over());
}

/// A function that is warm, at times of our choice.
struct Warm {
    world: Deployment,
    store: Ledger,
    in_use: PolicyInUse,
    started: DateTime<Utc>,
}

impl Warm {
    /// With a limit of a day.
    async fn new() -> Self {
        let world = Deployment::new().await;
        push(&world, &limit(1)).await;
        let store = Ledger::dynamodb(world.dynamo.client().await, TABLE);
        let started = "2026-11-01T12:00:00Z".parse().unwrap();
        let in_use = PolicyInUse::start(PolicySource::Ledger, &store, started).await.unwrap();
        world.dynamo.forget_calls();
        Self { world, store, in_use, started }
    }

    /// The limit that an invocation finds so many seconds after the start.
    async fn limit_after(&self, seconds: i64) -> Result<u32, CurrentPolicyError> {
        let now = self.started + TimeDelta::seconds(seconds);
        self.in_use.current(&self.store, now).await.map(|policy| policy.default_rule().0)
    }

    fn calls(&self) -> usize {
        self.world.dynamo.calls().len()
    }
}

#[tokio::test]
async fn a_push_is_used_within_a_minute() {
    let warm = Warm::new().await;
    push(&warm.world, &limit(2)).await;
    warm.world.dynamo.forget_calls();
    for (seconds, limit, calls) in
        [(0, 1, 0), (59, 1, 0), (60, 2, 1), (61, 2, 1), (119, 2, 1), (120, 2, 2), (-500, 2, 3)]
    {
        assert_eq!(warm.limit_after(seconds).await.unwrap(), limit, "{seconds}");
        assert_eq!(warm.calls(), calls, "{seconds}");
    }
}

/// What passes by itself keeps the last version, for ten minutes, and each invocation tries again.
#[tokio::test]
async fn a_read_that_fails_for_a_while_keeps_the_last_version() {
    let warm = Warm::new().await;
    push(&warm.world, &limit(2)).await;
    // Each call is tried three times.
    let throttled = Fault::Refused(400, "ThrottlingException");
    warm.world.dynamo.fault("Query", throttled, 9);
    assert_eq!(warm.limit_after(60).await.unwrap(), 1);
    assert_eq!(warm.limit_after(599).await.unwrap(), 1);
    let error = warm.limit_after(600).await.unwrap_err();
    assert!(matches!(error, CurrentPolicyError::Read(_)), "{error:?}");
    assert!(warm.world.dynamo.faults_are_over());
    assert_eq!(warm.limit_after(601).await.unwrap(), 2);
}

/// Nothing is judged by an old version while a newer one is there that cannot be used, or while the table may not be read.
#[tokio::test]
async fn a_newer_version_that_cannot_be_used_fails_the_invocation() {
    let warm = Warm::new().await;
    push(&warm.world, "not a policy").await;
    assert_eq!(warm.limit_after(59).await.unwrap(), 1);
    for seconds in [60, 61] {
        let error = warm.limit_after(seconds).await.unwrap_err();
        assert!(chain(&error).starts_with("version 2 of the policy cannot be used"), "{}", chain(&error));
    }
    push(&warm.world, &limit(3)).await;
    assert_eq!(warm.limit_after(62).await.unwrap(), 3);
    warm.world.dynamo.fault("Query", Fault::Refused(400, "AccessDeniedException"), 1);
    let error = warm.limit_after(200).await.unwrap_err();
    assert!(chain(&error).contains("access to the ledger table keys was denied"), "{}", chain(&error));
}
