//! What is logged of a panic.

use std::process::Command;

use serde_json::Value;

/// Is set in the process that panics.
const PANICS: &str = "KEY_GUARD_TEST_PANICS";

/// In the form of a key's secret.
const MESSAGE: &str = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==";

/// The hook is of a whole process, so this runs again in one of its own, and panics there.
#[test]
#[expect(clippy::disallowed_methods, reason = "it is told from outside that it is the one that panics")]
fn a_panic_is_logged_with_its_place_and_without_its_message() {
    let here = "telemetry::a_panic_is_logged_with_its_place_and_without_its_message";
    if std::env::var_os(PANICS).is_some() {
        bedrock_key_guard::telemetry::init(tracing::Level::TRACE);
        let panicked = std::thread::spawn(|| panic!("{MESSAGE}")).join();
        assert!(panicked.is_err());
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args([here, "--exact", "--nocapture"]).env(PANICS, "1").output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(!format!("{stdout}{stderr}").contains("ABSK"), "{stdout}{stderr}");

    let lines: Vec<Value> = stdout
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [metric, log] = lines.as_slice() else { panic!("{stdout}") };
    assert_eq!((&metric["Outcome"], &metric["Keys"]), (&"failed".into(), &1.into()));
    assert_eq!((&log["level"], &log["error.type"]), (&"ERROR".into(), &"Panicked".into()));
    let place = log["error.place"].as_str().unwrap();
    let line = place.strip_prefix(&format!("{}:", file!())).expect(place);
    assert!(line.split(':').next().unwrap().parse::<u32>().unwrap() > 0, "{place}");
}
