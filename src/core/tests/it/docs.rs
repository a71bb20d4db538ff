//! `docs/lifecycle.md` says what the code does, and each policy in `docs/` can be used.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::table::{COLUMNS, ROWS, STEPS};
use key_guard_core::Time;
use key_guard_core::lifecycle::transition::step;
use key_guard_core::policy::{BUILT_IN, Policy};
use key_guard_core::words::lifecycle::describe_step;

const BEGIN: &str = "<!-- table: begin -->\n";
const END: &str = "<!-- table: end -->";

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn docs() -> PathBuf {
    package().join("../../docs")
}

fn page() -> String {
    fs::read_to_string(docs().join("lifecycle.md")).unwrap()
}

/// The table and its legend, in Markdown.
fn table() -> String {
    let mut lines = vec![std::iter::once("state ＼ input".to_owned()).collect::<Vec<_>>()];
    lines.first_mut().unwrap().extend(COLUMNS.iter().map(ToString::to_string));
    for row in ROWS {
        let cells = COLUMNS.iter().map(|column| step(row, *column).to_string());
        lines.push(std::iter::once(row.to_string()).chain(cells).collect());
    }
    let rule = vec!["---".to_owned(); COLUMNS.len() + 1];
    lines.insert(1, rule);
    let mut text = String::new();
    for line in lines {
        writeln!(text, "| {} |", line.join(" | ")).unwrap();
    }
    text.push_str("\n| cell | what it means |\n| --- | --- |\n");
    for step in STEPS {
        writeln!(text, "| {step} | {} |", describe_step(step)).unwrap();
    }
    text
}

#[test]
fn the_printed_table_is_the_table() {
    let page = page();
    let (_, rest) = page.split_once(BEGIN).expect("the table has a begin");
    let (printed, _) = rest.split_once(END).expect("the table has an end");
    let expected = table();
    assert!(printed == expected, "docs/lifecycle.md has another table. The right one is:\n\n{expected}");
}

/// The files in a folder, and in those below it, whose names end like this.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

/// The policies that a page shows.
fn shown_policies(page: &str) -> impl Iterator<Item = &str> {
    page.split("```toml\n").skip(1).filter_map(|block| block.split("```").next())
}

#[test]
fn each_rule_and_invariant_is_on_the_page() {
    let page = page();
    for (letter, count) in [("R", 15), ("I", 11)] {
        for number in 1..=count {
            let row = format!("\n| {letter}{number} | ");
            assert_eq!(page.matches(&row).count(), 1, "{letter}{number}");
        }
    }
}

#[test]
fn each_rule_has_a_test_that_is_named_after_it() {
    let sources = files(&package().join("tests"), "rs");
    let tests: String = sources.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for number in 1..=15 {
        assert!(tests.contains(&format!("fn r{number}_")), "R{number}");
    }
}

#[test]
fn the_files_that_the_page_names_exist() {
    for file in ["lifecycle/transition.rs", "lifecycle/session.rs"] {
        assert!(page().contains(file.rsplit('/').next().unwrap()), "{file}");
        assert!(package().join(file).is_file(), "{file}");
    }
}

/// A warning is as bad as an error here: a reader copies what is shown.
#[test]
fn each_policy_in_the_docs_can_be_used() {
    let now: Time = "2026-11-20T00:00:00Z".parse().unwrap();
    let is_good = |path: &Path, text: &str| {
        let policy = Policy::parse(text, path).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(policy.warnings(now), [], "{}\n{text}", path.display());
    };
    let examples = files(&docs(), "toml");
    assert!(examples.len() >= 4, "{examples:?}");
    for path in &examples {
        is_good(path, &fs::read_to_string(path).unwrap());
    }
    let mut shown = 0;
    for path in files(&docs(), "md") {
        for text in shown_policies(&fs::read_to_string(&path).unwrap()) {
            is_good(&path, text);
            shown += 1;
        }
    }
    assert!(shown >= 7, "only {shown} policies are shown");
}

#[test]
fn the_built_in_policy_is_that_of_the_docs() {
    let page = fs::read_to_string(docs().join("reference/policy.md")).unwrap();
    assert!(shown_policies(&page).any(|text| text == BUILT_IN), "docs/reference/policy.md has another one");
}

#[test]
fn the_page_about_policies_names_each_example() {
    let page = fs::read_to_string(docs().join("reference/policy.md")).unwrap();
    for path in files(&docs(), "toml") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(page.contains(&format!("`docs/examples/{name}`")), "{name}");
    }
}
