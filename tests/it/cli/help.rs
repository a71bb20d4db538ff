//! Help, completions and manual pages, for every command.

use std::fmt::Write as _;
use std::path::Path;

use bedrock_key_guard::cli::command;
use clap::Command;

use crate::support::cli::Folder;

/// Each command with all before it, as `policy push`.
fn commands() -> Vec<(String, Command)> {
    fn walk(command: &Command, before: &str, found: &mut Vec<(String, Command)>) {
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = format!("{before}{}", command.get_name());
            found.push((name.clone(), command.clone()));
            walk(command, &format!("{name} "), found);
        }
    }
    let mut all = command().term_width(100);
    all.build();
    let mut found = Vec::new();
    walk(&all, "", &mut found);
    found
}

/// What `docs/reference/cli.md` has to be.
fn reference() -> String {
    let mut text = "\
# Commands

What `--help` says of each command. A test writes this page with `KEY_GUARD_UPDATE_DOCS=1 cargo test --test it -- cli::help`, and fails
where it is not what the commands say. [Exit codes](exit-codes.md), [environment](environment.md), and the pages of the commands have
more.
"
    .to_owned();
    for (name, mut command) in commands() {
        let help = command.render_long_help().to_string();
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim());
    }
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the page is written when it is asked for")]
fn the_reference_says_what_help_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/cli.md");
    if std::env::var_os("KEY_GUARD_UPDATE_DOCS").is_some() {
        std::fs::write(&page, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap();
    assert!(
        written == reference(),
        "docs/reference/cli.md is not what --help says: KEY_GUARD_UPDATE_DOCS=1 cargo test --test it -- cli::help"
    );
}

#[test]
fn each_help_names_its_page_and_has_three_examples() {
    let all = [("the program".to_owned(), command())].into_iter().chain(commands());
    for (name, mut command) in all {
        let help = command.render_long_help().to_string();
        assert_eq!(help.matches("More: ").count(), 1, "{help}");
        let page = help
            .lines()
            .find_map(|line| line.strip_prefix("More: https://github.com/OWNER/bedrock-key-guard/blob/main/"))
            .unwrap_or_default();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(page).is_file(), "{name}: {page}");
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
        let count = examples.lines().filter(|line| line.contains("bedrock-key-guard ")).count();
        assert!(count >= 3, "{name} has {count} examples");
    }
}

#[test]
fn completions_and_manual_pages_are_there_for_each_command() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = folder.run(&["completions", shell]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("event-pattern"), "{shell}");
    }
    let ran = folder.run(&["man", "policy", "push"]);
    let header = concat!(
        ".TH bedrock-key-guard 1 \"\" \"bedrock-key-guard ",
        env!("CARGO_PKG_VERSION"),
        "\" \"policy push\""
    );
    let found = ran.stdout.lines().find(|line| line.starts_with(".TH"));
    assert_eq!((ran.code, found), (0, Some(header)), "{}", ran.stderr);
    assert_eq!(folder.run(&["man", "--output", "share/man1"]).code, 0);
    for (name, _) in commands() {
        let page = format!("share/man1/bedrock-key-guard-{}.1", name.replace(' ', "-"));
        assert!(folder.path().join(&page).is_file(), "{page}");
    }
    let ran = folder.run(&["man", "policy", "push", "now"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("`bedrock-key-guard policy push` has no command \"now\""),
        "{}",
        ran.stderr
    );
    let ran = folder.run(&["man", "nope"]);
    assert!(ran.stderr.contains("`bedrock-key-guard` has no command \"nope\""), "{}", ran.stderr);
    let file = folder.write("file", "");
    let ran = folder.run(&["man", "--output", &file]);
    assert!(ran.code == 1 && ran.stderr.contains("file: could not write the pages there"), "{}", ran.stderr);
    #[cfg(target_os = "linux")]
    for arguments in [&["man"][..], &["completions", "bash"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = crate::support::cli::CliOutput::of(
            folder.command(arguments).stdout(full).stderr(std::process::Stdio::piped()),
        );
        assert!(
            ran.code == 1 && ran.stderr.starts_with("error: could not write to stdout"),
            "{}",
            ran.stderr
        );
    }
}
