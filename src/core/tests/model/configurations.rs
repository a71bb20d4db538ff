//! Several small searches rather than one large one: each turns on what it is named after.

use std::path::Path;

use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::policy::Policy;

use super::search::{follow, search};
use super::world::{Configuration, Kind, Move};

const TOGGLE: &[Move] = &[Move::Activate, Move::Deactivate];
const ANYTHING: &[Move] = &[Move::Activate, Move::Deactivate, Move::Reset, Move::Delete, Move::Rename];
const HALF_A_DAY: i64 = 43_200;

/// One user is exempt: the one whose name a rename gives (R6). The quarantine is as short as can be.
fn policy(response: &str) -> Policy {
    let text = format!(
        r#"
[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 90
response = "{response}"
grace_days = 1

[[exemption]]
account = "111122223333"
user = "vendor"
reason = "SEC-1"
until = 2030-01-01
"#
    );
    Policy::parse(&text, Path::new("policy.toml")).unwrap()
}

/// Two workers, a key, its creation event, and two minutes in steps of 30 seconds: shorter than a lease (45 s) and
/// than IAM's delay (60 s). Both end within the bounds.
fn base(kind: Kind, response: &str) -> Configuration {
    Configuration {
        kind,
        policy: policy(response),
        ceiling: Ceiling::Delete,
        sweep_ceiling: Ceiling::Delete,
        tick: 30,
        ticks: 4,
        moves: 0,
        adversary: ANYTHING,
        ceiling_changes: 0,
        faults: 0,
        refusals: 0,
        deliveries: 1,
        resumes: 0,
        sweeps: 0,
        workers: 2,
        loses_events: false,
        own_events: false,
        confuses_keys: false,
        compares_histories: false,
    }
}

/// Searches within the bounds, or within larger ones where `KEY_GUARD_MODEL=large`.
fn check(name: &str, mut bounds: Configuration) {
    if std::env::var("KEY_GUARD_MODEL").is_ok_and(|size| size == "large") {
        bounds.ticks += 1;
        bounds.deliveries += 1;
        bounds.moves += u8::from(bounds.moves > 0);
    }
    let found = search(&bounds);
    eprintln!("{name:58} {:>9} states, {:>8} fair runs", found.states, found.fair_runs);
    let violations: Vec<_> =
        found.violations.iter().map(|(name, path)| format!("{name}:\n    {}", path.join("\n    "))).collect();
    assert!(violations.is_empty(), "{name}, {} states:\n{}", found.states, violations.join("\n"));
    assert!(found.states > 1_000 && found.fair_runs > 100, "{name}: the bounds leave nothing to search");
}

macro_rules! searches {
    ($($name:ident: $kind:expr, $response:literal, { $($bounds:tt)* };)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), Configuration { $($bounds)*, ..base($kind, $response) });
            }
        )*
    };
}

searches! {
    delete_while_the_owner_toggles_the_key: Kind::NeverExpires, "delete", { moves: 2, adversary: TOGGLE };
    delete_whatever_the_owner_does_once: Kind::NeverExpires, "delete", { moves: 1, compares_histories: true };
    delete_and_hear_of_the_guards_own_deletion: Kind::NeverExpires, "delete", { moves: 1, own_events: true, ticks: 3 };
    delete_beside_a_sweep: Kind::NeverExpires, "delete", { moves: 1, adversary: TOGGLE, sweeps: 1 };
    deactivate_beside_a_sweep: Kind::NeverExpires, "deactivate", { moves: 1, adversary: TOGGLE, sweeps: 1, ticks: 3 };
    deactivate_beside_a_sweep_that_only_monitors: Kind::NeverExpires, "deactivate", { moves: 1, adversary: TOGGLE, sweeps: 1, ticks: 3, sweep_ceiling: Ceiling::Monitor };
    delete_with_a_fault_and_a_redelivery: Kind::NeverExpires, "delete", { faults: 1, deliveries: 2, resumes: 1, ticks: 3 };
    delete_with_two_faults: Kind::NeverExpires, "delete", { faults: 2, resumes: 1, ticks: 3 };
    deactivate_with_a_fault_while_the_owner_toggles: Kind::NeverExpires, "deactivate", { moves: 1, adversary: TOGGLE, faults: 1, ticks: 3 };
    deactivate_with_a_fault_beside_a_sweep: Kind::NeverExpires, "deactivate", { faults: 1, sweeps: 1 };
    delete_with_a_fault_beside_a_sweep_that_only_monitors: Kind::NeverExpires, "delete", { faults: 1, sweeps: 1, resumes: 1, ticks: 2, sweep_ceiling: Ceiling::Monitor };
    delete_when_every_event_is_lost: Kind::NeverExpires, "delete",
        { loses_events: true, faults: 1, sweeps: 2, resumes: 1, ticks: 3 };
    delete_while_the_ceiling_changes: Kind::NeverExpires, "delete", { ceiling_changes: 2, resumes: 1 };
    delete_with_a_spent_breaker_beside_a_sweep: Kind::NeverExpires, "delete", { refusals: 1, sweeps: 1 };
    delete_with_a_spent_breaker_while_the_owner_toggles: Kind::NeverExpires, "delete", { refusals: 1, moves: 1, adversary: TOGGLE };
    delete_when_iam_answers_with_another_key: Kind::NeverExpires, "delete", { moves: 1, adversary: TOGGLE, confuses_keys: true };
    a_contradictory_key: Kind::Contradictory, "delete", { moves: 1 };
    a_key_that_iam_says_is_compliant: Kind::CompliantByList, "delete", { moves: 1 };
    a_key_that_iam_says_is_noncompliant: Kind::NoncompliantByList, "delete", { moves: 1, ticks: 3 };
    a_key_whose_event_is_corrected_to_noncompliant: Kind::CorrectedToNeverExpires, "delete", { moves: 1, ticks: 3, compares_histories: true };
    a_key_whose_event_is_corrected_beside_a_sweep_and_a_redelivery: Kind::CorrectedToNeverExpires, "deactivate", { sweeps: 1, deliveries: 2, ticks: 2 };
    a_key_whose_event_is_corrected_while_the_ceiling_changes: Kind::CorrectedToNeverExpires, "delete", { ceiling_changes: 1, resumes: 1, ticks: 3 };
    a_key_whose_event_is_corrected_to_compliant: Kind::CorrectedToCompliant, "delete", { moves: 1, ticks: 2 };
    a_compliant_key: Kind::Compliant, "delete", { moves: 1, sweeps: 1 };
    quarantine_and_resume: Kind::NeverExpires, "quarantine", { moves: 1, adversary: TOGGLE, resumes: 1, tick: HALF_A_DAY, ticks: 3 };
    quarantine_beside_a_sweep: Kind::NeverExpires, "quarantine", { moves: 1, adversary: TOGGLE, sweeps: 1, tick: HALF_A_DAY, ticks: 2 };
    quarantine_while_the_ceiling_changes: Kind::NeverExpires, "quarantine", { ceiling_changes: 1, sweeps: 1, resumes: 1, tick: HALF_A_DAY, ticks: 2 };
}

/// Paths that were violations once, in the model of the rules or in the product before it had this core.
mod paths {
    use super::*;

    #[test]
    fn a_key_that_is_deactivated_before_the_guard_arrives_is_deleted_all_the_same() {
        let bounds = Configuration { moves: 2, adversary: TOGGLE, ..base(Kind::NeverExpires, "delete") };
        let end = follow(
            &bounds,
            &[
                "owner: Deactivate",
                "deliver 0 Created",
                "event 0.1: commit Pending Delete",
                "event 0.1: find the user's → Inactive",
                "event 0.1: Delete",
                "event 0.1: commit Gone",
            ],
        );
        assert_eq!(end.iam.status, None);
    }

    #[test]
    fn a_late_list_does_not_hide_a_reactivation() {
        let bounds = Configuration { moves: 1, adversary: TOGGLE, ..base(Kind::NeverExpires, "deactivate") };
        let end = follow(
            &bounds,
            &[
                "deliver 0 Created",
                "event 0.1: commit Pending Deactivate",
                "event 0.1: find the user's → Active",
                "event 0.1: Deactivate",
                "event 0.1: commit Deactivated",
                "30 s",
                "owner: Activate",
                "deliver 1 Activated",
                "event 1.1: commit Pending Deactivate",
                "event 1.1: find the user's → Inactive",
                "event 1.1: Deactivate",
                "event 1.1: commit Deactivated",
            ],
        );
        assert_eq!(end.iam.status, Some(KeyStatus::Inactive));
    }

    #[test]
    fn a_worker_that_dies_after_its_commit_leaves_the_key_to_a_resume() {
        let bounds = Configuration { faults: 1, resumes: 1, ..base(Kind::NeverExpires, "delete") };
        let end = follow(
            &bounds,
            &[
                "deliver 0 Created",
                "event 0.1: commit Pending Delete, leased by event 0.1 → done, and dies",
                "30 s",
                "60 s",
                "resume starts",
                "resume 0.60: commit Pending Delete, leased by resume 0.60",
                "resume 0.60: find the user's → Active",
                "resume 0.60: Delete",
                "resume 0.60: commit Gone",
            ],
        );
        assert_eq!(end.iam.status, None);
    }

    #[test]
    fn one_late_answer_does_not_make_a_key_gone() {
        let end = follow(
            &base(Kind::NeverExpires, "delete"),
            &[
                "deliver 0 Created",
                "event 0.1: commit Pending Delete",
                "event 0.1: find the user's → absent",
                "event 0.1: find the account's → absent",
                "event 0.1: commit Pending Delete, leased by nobody, Absent observed",
            ],
        );
        assert_eq!(end.iam.status, Some(KeyStatus::Active), "the retry of the delivery deletes it");
    }
}
