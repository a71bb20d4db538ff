//! `policy check`, and policy files that are wrong.

use crate::support::cli::Folder;
use crate::support::event;

#[test]
fn an_invalid_policy_exits_with_2_and_names_the_line() {
    let folder = Folder::new();
    let file = folder.write("p.toml", "[default]\nservices = [\"codecommit.amazonaws.com\"]\n");
    let key = folder.write("key.json", event("created-for-91-days").to_string());
    for arguments in [&["policy", "check", &file][..], &["replay", "--policy", &file, &key]] {
        let ran = folder.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: p.toml:2:12: "), "{}", ran.stderr);
    }
    assert_eq!(folder.run(&["policy", "check", "missing.toml"]).code, 1);
}

#[test]
fn policy_check_explains_an_example_key() {
    let folder = Folder::new();
    let file = folder.write(
        "p.toml",
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         [[exemption]]\naccount = \"111122223333\"\nuser = \"old\"\nreason = \"SEC-1\"\nuntil = 2020-01-01\n",
    );
    let ran = folder.run(&["policy", "check", &file]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("warning: p.toml: the exemption of old"), "{}", ran.stderr);
    for expected in ["sha256", "never expires", "91 days", "lifetime", "noncompliant", "delete", "compliant"]
    {
        assert!(ran.stdout.to_lowercase().contains(expected), "{expected}: {}", ran.stdout);
    }
    let ran =
        folder.run(&["policy", "check", &file, "--lifetime-days", "30", "--service", "logs.amazonaws.com"]);
    assert!(ran.stdout.contains("not ours"), "{}", ran.stdout);
}
