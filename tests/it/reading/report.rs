//! The HTML report. `.ci/check-report` looks at it in a browser.

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::Days;
use key_guard_core::lifecycle::effect::HeardEvent;
use key_guard_core::ports::KeyStore as _;
use serde_json::Value;

use super::{KEYS, MARIA, file, heard, in_runtime, now, policy, put_dry_run, replay, write_keys};
use crate::support::cli::Folder;
use crate::support::{OTHER, OWN};

/// A page, with what its script reads.
struct Page {
    html: String,
    keys: Value,
    details: Value,
}

impl Page {
    fn of(folder: &Folder, arguments: &[&str]) -> Self {
        let ran = folder.run(&[&["report", "--output", "-"], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let data = |id: &str| {
            let begin = format!("<script type=\"application/json\" id=\"{id}\">");
            let json = ran.stdout.split(&begin).nth(1).unwrap().split("</script>").next().unwrap();
            serde_json::from_str(json).unwrap()
        };
        Self { keys: data("keys"), details: data("details"), html: ran.stdout.clone() }
    }

    fn place(&self, id: &str) -> usize {
        let ids = self.keys["columns"]["id"].as_array().unwrap();
        ids.iter().position(|found| found == id).unwrap()
    }

    /// A text of a key's row.
    fn text(&self, column: &str, id: &str) -> &str {
        let column = &self.keys["columns"][column];
        let number = column["rows"][self.place(id)].as_u64().unwrap();
        column["texts"][usize::try_from(number).unwrap()].as_str().unwrap()
    }

    /// True if the tile with this bit shows a key.
    fn has_flag(&self, flag: u64, id: &str) -> bool {
        self.keys["columns"]["flags"][self.place(id)].as_u64().unwrap() & flag != 0
    }

    /// The texts of a list among a key's details.
    fn detail(&self, list: usize, id: &str) -> Vec<&str> {
        let numbers = self.details["rows"][self.place(id)][list].as_array().unwrap();
        let texts = self.details["texts"].as_array().unwrap();
        let number = |number: &Value| usize::try_from(number.as_u64()?).ok();
        numbers.iter().filter_map(number).filter_map(|number| texts.get(number)?.as_str()).collect()
    }

    /// What a tile counts.
    fn tile(&self, flag: u64) -> Option<&str> {
        let tile = self.html.split(&format!("class=\"tile\" data-flag=\"{flag}\"")).nth(1)?;
        tile.split("<b>").nth(1)?.split("</b>").next()
    }
}

const NONCOMPLIANT_WORKS: u64 = 1;
const NEVER_EXPIRES: u64 = 2;
const CRITICAL_USER: u64 = 8;
const EXEMPTION_ENDS: u64 = 16;

fn ledger() -> Folder {
    let folder = Folder::new();
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        write_keys(&store).await;
        store.append(&heard(&KEYS[1], 60, HeardEvent::Deactivated, MARIA)).await.unwrap();
    });
    folder
}

const ALL: [&str; 2] = ["--since", "2026-07-01"];

#[test]
fn how_a_key_stands_now_comes_from_its_end() {
    let page = Page::of(&ledger(), &ALL);
    let [expired, deleted, deactivated, works, pending, _, absent] = KEYS.map(|key| key.id);
    for (id, status, outcome) in [
        (expired, "Expired", "Recorded"),
        (deleted, "Deleted", "Deleted by the guard"),
        (deactivated, "Inactive", "Deactivated by the guard"),
        (pending, "Active", "Pending: delete"),
        (absent, "Gone", "Found gone"),
    ] {
        let is_over = status == "Active" && page.text("status", id) == "Expired";
        assert!(is_over || page.text("status", id) == status, "{id}: {}", page.text("status", id));
        assert_eq!(page.text("outcome", id), outcome, "{id}");
    }
    for id in [deleted, absent] {
        assert!(!page.has_flag(NONCOMPLIANT_WORKS | NEVER_EXPIRES, id), "{id} never looks live");
        assert_eq!(page.text("violation", id), "Never expires");
    }
    assert_eq!(page.text("lifetime", works), "90 days");
    assert!(!page.html.replace("findings/never_expires.md", "").contains("never_expires"));
}

#[test]
fn a_dry_run_is_labelled_with_what_it_would_do() {
    let folder = Folder::new();
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        put_dry_run(&store, KEYS[1].dry_run(&policy(), now())).await;
    });
    let page = Page::of(&folder, &ALL);
    assert!(page.html.contains("Dry run: nothing of this was done"));
    assert_eq!(page.text("outcome", KEYS[1].id), "Would delete");
    let stops = |list| page.detail(list, KEYS[1].id).join("\n").matches("--status Inactive").count();
    assert_eq!([stops(1), stops(2)], [1, 0], "no command is there twice");
    assert!(page.has_flag(NONCOMPLIANT_WORKS, KEYS[1].id) && page.has_flag(32, KEYS[1].id));
    assert!(page.html.contains("1 as of their latest event: nobody has asked IAM since."));
    assert_eq!([page.tile(NONCOMPLIANT_WORKS), page.tile(NEVER_EXPIRES)], [Some("1"), Some("1")]);
}

#[test]
fn a_row_opens_to_its_history_and_commands() {
    let page = Page::of(&ledger(), &ALL);
    let history = page.detail(4, KEYS[1].id);
    for line in ["The key was created.", "The key was deactivated.", "The guard deleted the key."] {
        assert!(history.contains(&line), "{line}: {history:?}");
    }
    let commands = page.detail(2, KEYS[1].id);
    // The id is in a column.
    assert_eq!(
        commands,
        ["Look it up: `bedrock-key-guard lookup --key \u{1} --ledger file:key-guard.db`"],
        "a deleted key cannot be stopped"
    );
    let stop = page.detail(2, KEYS[5].id);
    let is_over = page.text("status", KEYS[5].id) == "Expired";
    assert!(is_over || stop[0].contains("--status Inactive"), "{stop:?}");
    let advice = page.detail(1, KEYS[4].id);
    assert!(
        advice.iter().any(|sentence| sentence.contains("delete-service-specific-credential")),
        "{advice:?}"
    );
}

#[test]
fn the_exemptions_of_a_policy_that_end_soon_are_shown() {
    let folder = ledger();
    let today = SystemClock.now().date_naive();
    let exemption = |user: &str, account: &str, days| {
        let until = today + Days::new(days);
        format!(
            "[[exemption]]\naccount = \"{account}\"\nuser = \"{user}\"\nreason = \"SEC-1\"\nuntil = {until}\n"
        )
    };
    let default =
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    let policy = [
        default.to_owned(),
        exemption("SVC-chatbot", OWN, 30),
        exemption("svc-search", OTHER, 31),
        exemption("svc-mail", OTHER, 0),
    ];
    folder.write("policy.toml", policy.concat());
    let page = Page::of(&folder, &[&ALL[..], &["--policy", "policy.toml"]].concat());
    assert_eq!(page.tile(EXEMPTION_ENDS), Some("2"));
    // IAM compares names without their case, and accounts have their own.
    let flagged: Vec<_> = KEYS.iter().map(|key| page.has_flag(EXEMPTION_ENDS, key.id)).collect();
    assert_eq!(flagged, [false, true, false, false, true, false, false]);
    assert!(page.html.contains(&format!("<time>{today}</time> <strong>svc-mail</strong>")));
    assert_eq!(Page::of(&folder, &ALL).tile(EXEMPTION_ENDS), None, "without a policy nobody knows");
}

#[test]
fn critical_events_are_named_and_lead_to_the_keys_of_their_users() {
    let folder = Folder::new();
    in_runtime(async { replay(&file(&folder.at("key-guard.db"))).await });
    let page = Page::of(&folder, &ALL);
    assert_eq!(page.tile(CRITICAL_USER), Some("6"));
    let list = page.html.split("id=\"happenings\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(list.contains("BedrockAPIKey-") && list.contains("What to do"), "{list}");
    let ids = page.keys["columns"]["id"].as_array().unwrap();
    let of_user: Vec<_> =
        ids.iter().filter_map(Value::as_str).filter(|id| page.has_flag(CRITICAL_USER, id)).collect();
    let users: Vec<_> = of_user.iter().map(|id| page.text("user", id)).collect();
    assert!(users.iter().all(|user| user.starts_with("BedrockAPIKey-")), "{users:?}");
    for filter in [["--account", OTHER], ["--key", "ACCAEXAMPLEKEY0000016"]] {
        let other = Page::of(&folder, &filter);
        assert_eq!(other.tile(CRITICAL_USER), Some("0"), "{filter:?}");
        assert!(!other.html.contains("id=\"happenings\""), "no empty panel");
    }
}

#[test]
fn the_header_says_what_the_report_is_of() {
    let page = Page::of(&ledger(), &["--account", OWN, "--verdict", "noncompliant"]);
    for part in [
        format!("<dd>account {OWN}, noncompliant</dd>"),
        "<dd>file:key-guard.db</dd>".to_owned(),
        format!("<dd>{}</dd>", &policy().sha256()[..12]),
        format!("<dd>bedrock-key-guard {}</dd>", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(page.html.contains(&part), "{part}");
    }
}
