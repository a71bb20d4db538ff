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
    for (arguments, says) in [
        (&["usage"][..], "<PATH|--cloudtrail>"),
        (&["usage", "--cloudtrail", "logs"], "cannot be used with"),
        (&["lookup", "--width", "abc"], "expected a whole number from 40 to 65535"),
        (&["lookup", "--width", "-1"], "expected a whole number from 40 to 65535"),
        (&["hunt", "athena", "--days", "abc"], "expected a whole number from 1 to 3660"),
        (&["policy", "check", "--lifetime-days", "-1"], "expected a whole number from 1 to 36600"),
        (&["policy", "check", "p.toml", "--lifetime-days", "-1"], "expected a whole number from 1 to 36600"),
    ] {
        let ran = folder.run(arguments);
        assert!(ran.code == 2 && ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
}
