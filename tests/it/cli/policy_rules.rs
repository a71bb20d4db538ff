//! `policy diff`, `policy show`, and what `policy check` says of exemptions and rules.

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::Days;
use key_guard_core::policy::BUILT_IN;
use serde_json::{Value, json};

use super::policy_versions::folder_with_keys;
use crate::support::cli::Folder;

/// Every kind of rule.
const ALL_RULES: &str = r#"# Agreed on 2026-11-02.
[default]
services = ["bedrock.amazonaws.com", "logs.amazonaws.com"]
max_lifetime_days = 90
response = "delete"
grace_days = 14
max_actions_per_hour = 5

[[override]]
accounts = ["111122223333", "444455556666"]
response = "quarantine"

[[override]]
services = ["logs.amazonaws.com"]
users = ["svc-*"]
max_lifetime_days = 365
response = "monitor"

[[override]] # production
accounts = ["777788889999"]
max_lifetime_days = 0
response = "deactivate"

[[exemption]]
account = "111122223333"
user = "vendor-integration"
reason = "SEC-1234: vendor cannot use STS"
until = 2099-03-31
"#;

#[test]
fn without_a_ledger_diff_shows_which_rules_differ() {
    let folder = Folder::new();
    folder.write("all.toml", ALL_RULES);
    folder.write("changed.toml", ALL_RULES.replace("= 365", "= 180").replace("SEC-1234", "SEC-1299"));
    let [first, rest] = ALL_RULES.split("[[override]] # production").collect::<Vec<_>>()[..] else {
        panic!()
    };
    let parts: Vec<_> = first.split("[[override]]").collect();
    let moved = format!("{}[[override]]{}[[override]]{}[[override]]{rest}", parts[0], parts[2], parts[1]);
    folder.write("moved.toml", moved);
    let diff = |old: &str, new: &str| {
        let ran = folder.run(&["policy", "diff", old, new]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        ran.stdout
    };
    insta::assert_snapshot!("diff-rules", diff("built-in", "all.toml"));
    insta::assert_snapshot!("diff-changed", diff("all.toml", "changed.toml"));
    insta::assert_snapshot!("diff-moved", diff("all.toml", "moved.toml"));
    assert_eq!(diff("all.toml", "all.toml"), "no rule differs\n");
    let lines = folder.run(&["policy", "diff", "all.toml", "changed.toml", "--format", "jsonl"]).json_lines();
    assert_eq!(
        lines[0],
        json!({
            "rule": "override for logs.amazonaws.com; users svc-*",
            "old": "at most 365 days, monitor", "new": "at most 180 days, monitor",
        })
    );
}

#[test]
fn with_a_ledger_diff_shows_whose_verdict_changes() {
    let folder = folder_with_keys();
    for file in ["built-in.toml", "strict.toml"] {
        assert_eq!(folder.run(&["policy", "push", file, "--yes"]).code, 0);
    }
    let diff = |arguments: &[&str]| {
        let ran = folder.run(&[&["policy", "diff", "--ledger", "file:key-guard.db"], arguments].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        ran
    };
    let by_file = diff(&["built-in.toml", "strict.toml"]);
    insta::assert_snapshot!("diff-keys", by_file.stdout);
    for versions in [["1", "2"], ["1", "ledger:"], ["built-in", "strict.toml"]] {
        assert_eq!(diff(&versions), by_file, "{versions:?}");
    }
    assert_eq!(diff(&["2", "strict.toml"]).stdout, "5 keys assessed: 0 change; 0 items unreadable\n");
    let lines = diff(&["1", "2", "--format", "jsonl"]);
    assert_eq!(lines.json_lines().len(), 4);
    assert!(lines.stderr.starts_with("5 keys assessed: 4 change"), "{}", lines.stderr);
}

#[test]
fn what_diff_and_show_cannot_read_is_named() {
    let folder = folder_with_keys();
    folder.write("invalid.toml", "[default]\nservices = []\n");
    let ledger = ["--ledger", "file:key-guard.db"];
    for (arguments, code, says) in [
        (&["diff", "1", "strict.toml"][..], 2, "name it with --ledger"),
        (&["show", "ledger:"], 2, "name it with --ledger"),
        (&["diff", "invalid.toml", "strict.toml"], 2, "error: invalid.toml:2:12: services is empty"),
        (&["show", "invalid.toml"], 2, "error: invalid.toml:2:12: services is empty"),
        (&["diff", "missing.toml", "strict.toml"], 1, "missing.toml: could not read the policy file"),
        (&["diff", "7", "strict.toml", ledger[0], ledger[1]], 1, "the ledger has no version 7"),
        (&["show", "ledger:", ledger[0], ledger[1]], 1, "the ledger has no version of the policy"),
        (&["diff", "built-in", "strict.toml", "--ledger", "file:none.db"], 1, "none.db"),
    ] {
        let ran = folder.run(&[&["policy"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    folder.ledger().change(|item| {
        if item["pk"] == "KEY#ACCAENDTOEND000000001" {
            item.remove("assessment").unwrap();
        }
    });
    let ran = folder.run(&["policy", "diff", "built-in", "strict.toml", ledger[0], ledger[1]]);
    assert!(ran.code == 4 && ran.stdout.contains("; 1 item unreadable"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn show_explains_each_service_and_account() {
    let folder = Folder::new();
    let all = folder.write("all.toml", ALL_RULES);
    let every = folder.write(
        "every.toml",
        "[default]\nservices = \"*\"\nmax_lifetime_days = 30\nresponse = \"monitor\"\n\n[[override]]\nservices = \
         [\"logs.amazonaws.com\"]\nmax_lifetime_days = 1\n",
    );
    let show = |arguments: &[&str]| {
        let ran = folder.run(&[&["policy", "show"], arguments].concat());
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
        ran.stdout
    };
    insta::assert_snapshot!("show-all", show(&[&all]));
    insta::assert_snapshot!("show-every-service", show(&[&every]));
    insta::assert_snapshot!("show-built-in", show(&[]));
    let mut shown: Value = serde_json::from_str(&show(&[&all, "--format", "json"])).unwrap();
    shown["exemptions"][0]["days_left"] = json!(26_000);
    insta::assert_json_snapshot!("show-json", shown);

    let folder = folder_with_keys();
    assert_eq!(folder.run(&["policy", "push", "built-in.toml", "--yes"]).code, 0);
    for version in ["1", "ledger:"] {
        let ran = folder.run(&["policy", "show", version, "--ledger", "file:key-guard.db"]);
        assert!(ran.stdout.starts_with("(policy version 1), sha256 "), "{}{}", ran.stdout, ran.stderr);
    }
}

/// The exemption of a user that ends so many days from now.
fn exemption(user: &str, days: u64) -> String {
    let until = SystemClock.now().date_naive() + Days::new(days);
    format!(
        "[[exemption]]\naccount = \"111122223333\"\nuser = \"{user}\"\nreason = \"SEC-1\"\nuntil = {until}\n"
    )
}

#[test]
fn check_lists_exemptions_and_warns_about_what_never_applies() {
    let folder = Folder::new();
    let [today, soon, later] =
        [("today", 0), ("soon", 30), ("later", 31)].map(|(user, days)| exemption(user, days));
    let over = "[[exemption]]\naccount = \"111122223333\"\nuser = \"over\"\nreason = \"SEC-2\"\nuntil = 2020-01-01\n";
    let shadowed = "[[override]]\nusers = [\"svc-a*\"]\nmax_lifetime_days = 7\n[[override]]\nusers = \
                    [\"svc-*\"]\nmax_lifetime_days = 9\n";
    let longer = exemption("SOON", 300);
    let file = folder.write("p.toml", format!("{BUILT_IN}{over}{later}{today}{shadowed}{soon}{longer}"));
    let ran = folder.run(&["policy", "check", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let table: Vec<_> = ran.stdout.lines().skip_while(|line| !line.starts_with("ACCOUNT")).take(6).collect();
    for (line, expected) in table.iter().zip([
        &["USER", "STATUS", "LINE", "REASON"][..],
        &["today", "ends today", "  15  ", "SEC-1"],
        &["soon", "ends in 30 days"],
        &["later", "valid"],
        &["SOON", "valid"],
        &["over", "2020-01-01", "ended ", " days ago", "  5  "],
    ]) {
        assert!(expected.iter().all(|text| line.contains(text)), "{line}: {expected:?}\n{}", ran.stdout);
    }
    assert!(ran.stdout.contains("\nexemptions that end within 30 days: 2\n"), "{}", ran.stdout);
    for says in [
        "warning: p.toml: override 1 applies to no key",
        "warning: p.toml: the exemption of over in 111122223333 ended on 2020-01-01",
        "warning: p.toml: soon in 111122223333 has several exemptions: the one until ",
    ] {
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
    assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
}
