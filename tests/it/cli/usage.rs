//! Help, and arguments that are wrong.

use crate::support::cli::Folder;

#[test]
fn help_has_examples_and_wrong_usage_exits_with_2() {
    let folder = Folder::new();
    for arguments in [&["--help"][..], &["replay", "--help"], &["policy", "check", "--help"]] {
        let ran = folder.run(arguments);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("Examples:"), "{}", ran.stdout);
    }
    for arguments in [&[][..], &["replay"], &["replay", "--ceiling", "none", "x"], &["replay", "--frmt", "x"]]
    {
        assert_eq!(folder.run(arguments).code, 2, "{arguments:?}");
    }
}
