//! The schedules of sweeps and resumes: what they invoke, under which ceilings, and what they may do.

use bedrock_key_guard::config::{Config, VARIABLES};
use bedrock_key_guard::lambda::invocation::Invocation;
use serde_json::{Value, json};

use super::events::result;
use super::{ORGANIZATION, ledger_account, statements};
use crate::support::template::Template;
use crate::support::{OTHER, OWN};

/// What the schedule hands to the guard, and the rule after it.
#[test]
fn a_sweep_is_of_this_account_and_those_that_are_given_or_heard() {
    let swept = |parameters: &[(&str, &str)]| {
        let input =
            Template::load("template.yaml", parameters).resource("Sweep").unwrap()["Target"]["Input"].clone();
        serde_json::from_str::<Value>(input.as_str().unwrap()).unwrap()
    };
    assert_eq!(swept(&[]), json!({"sweep": {"accounts": [OWN]}}));
    assert_eq!(swept(&ORGANIZATION), json!({"sweep": {"accounts": "heard"}}));
    let others = format!("{OTHER},777788889999");
    let given = [&ORGANIZATION[..], &[("SweepAccounts", others.as_str())]].concat();
    assert_eq!(swept(&given), json!({"sweep": {"accounts": [OWN, OTHER, "777788889999"]}}));
    // An update keeps the value of a parameter that is not given, so there is a word to go back with.
    let heard = [&ORGANIZATION[..], &[("SweepAccounts", "heard")]].concat();
    assert_eq!(swept(&heard), json!({"sweep": {"accounts": "heard"}}));
    let mixed = [&ORGANIZATION[..], &[("SweepAccounts", "heard,444455556666")]].concat();
    let refuses = |parameters| !Template::load("template.yaml", parameters).refused_by().is_empty();
    assert!(!refuses(&heard) && refuses(&mixed) && refuses(&[("SweepAccounts", "heard")]));
    let target = &ledger_account("monitor").resource("SweepContinues").unwrap()["Targets"][0];
    let pointer = target["InputPath"].as_str().unwrap().replace('.', "/").replace('$', "");
    let payload = json!({"sweep": {"keys": 1}, "continue": swept(&given)});
    assert_eq!(result(&payload).pointer(&pointer), Some(&swept(&given)));
}

/// A finding is reported once, and the first sweep begins when its schedule is created.
#[test]
fn what_the_guard_reports_first_has_a_way_to_people() {
    let template = ledger_account("monitor");
    let handing_to = |target: &str| -> Vec<String> {
        let hands_on =
            |rule: &Value| rule["EventBusName"] == "<Reports>" && rule["Targets"][0]["Arn"] == target;
        let rules = template.of_kind("AWS::Events::Rule").into_iter().filter(|(_, rule)| hands_on(rule));
        rules.map(|(name, _)| name).collect()
    };
    // Sweeps, resumes and events all wait for the function.
    assert_eq!(template.depends_on("Guard"), handing_to("<Notifier>"));
    let continuing = handing_to("<Guard.Arn>");
    let permission = template.resource("GuardMayBeInvokedForTheRest").unwrap();
    assert_eq!(permission["SourceArn"], format!("<{}.Arn>", continuing[0]));
    assert!(template.resource("Guard").unwrap()["EventInvokeConfig"].is_object());
    let before = ["GuardMayBeInvokedForTheRest", "GuardEventInvokeConfig"].map(str::to_owned);
    assert_eq!(template.depends_on("Sweep"), [continuing, before.to_vec()].concat());
}

/// A ceiling of sweeps that is higher than that of everything would stop the function's start.
#[test]
fn the_function_starts_with_every_pair_of_ceilings() {
    let ceilings = ["monitor", "deactivate", "delete"];
    for (number, ceiling) in ceilings.iter().enumerate() {
        for (sweep_number, sweep_ceiling) in ceilings.iter().enumerate() {
            let parameters = [("Ceiling", *ceiling), ("SweepCeiling", *sweep_ceiling)];
            let guard = Template::load("template.yaml", &parameters).resource("Guard").unwrap();
            let variables = guard["Environment"]["Variables"].clone();
            let read = |name: &str| match name {
                "KEY_GUARD_TABLE" => Some("keys".to_owned()),
                "KEY_GUARD_REPORTS_BUS" => Some("reports".to_owned()),
                "KEY_GUARD_POLICY" => None,
                name => variables[name].as_str().map(str::to_owned),
            };
            let config = Config::read(read).unwrap();
            let lower = ceilings[number.min(sweep_number)];
            assert_eq!(
                (config.ceiling.to_string(), config.sweep_ceiling.to_string()),
                ((*ceiling).to_owned(), lower.to_owned())
            );
            assert_eq!(variables["KEY_GUARD_REPORTS_BUS"], "<Reports>");
            for name in variables.as_object().unwrap().keys() {
                assert!(VARIABLES.contains(&name.as_str()), "{name}");
            }
        }
    }
}

/// Silent accounts are noticed under every ceiling.
#[test]
fn a_resume_is_invoked_under_every_ceiling() {
    for ceiling in ["monitor", "deactivate", "delete"] {
        let resume = ledger_account(ceiling).resource("Resume").expect(ceiling);
        assert_eq!(resume["ScheduleExpression"], "rate(10 minutes)");
        let input = Invocation::parse(resume["Target"]["Input"].as_str().unwrap());
        assert!(matches!(input, Ok(Invocation::Resume)), "{ceiling}");
    }
}

#[test]
fn sweeps_can_be_disabled_and_elsewhere_need_the_role() {
    let template = Template::load("template.yaml", &[("SweepSchedule", "disabled")]);
    for absent in ["Sweep", "NoSweep"] {
        assert!(template.resource(absent).is_none(), "{absent}");
    }
    let refused = |parameters: &[(&str, &str)]| Template::load("template.yaml", parameters).refused_by();
    assert_eq!(refused(&[]), Vec::<String>::new());
    assert_eq!(refused(&[("SweepAccounts", OTHER)]), ["SweepsElsewhereNeedTheRole"]);
    assert!(refused(&[&ORGANIZATION[..], &[("SweepAccounts", OTHER)]].concat()).is_empty());
}

/// Whatever the parameters say, the schedules can do nothing but start what is to run.
#[test]
fn the_schedules_may_only_invoke_the_guard_and_recover() {
    let template = ledger_account("delete");
    let statements = statements(&template.resource("ScheduleRole").unwrap());
    let may: Vec<_> = statements.iter().map(|one| (&one["Action"], &one["Resource"])).collect();
    assert_eq!(
        may,
        [
            (&json!("lambda:InvokeFunction"), &json!("<Guard.Arn>")),
            (&json!("states:StartExecution"), &json!("<Recover>")),
            (&json!("sqs:SendMessage"), &json!("<Undelivered.Arn>")),
        ]
    );
}
