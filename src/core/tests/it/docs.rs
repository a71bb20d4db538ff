//! `docs/lifecycle.md` says what the code does.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::table::{COLUMNS, ROWS, STEPS};
use key_guard_core::lifecycle::transition::step;
use key_guard_core::words::lifecycle::describe_step;

const BEGIN: &str = "<!-- table: begin -->\n";
const END: &str = "<!-- table: end -->";

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(package().join("../../docs/lifecycle.md")).unwrap()
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

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
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
    let mut files = Vec::new();
    sources(&package().join("tests"), &mut files);
    let tests: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
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
