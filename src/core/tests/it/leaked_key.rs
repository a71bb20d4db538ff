//! What a leaked text says: every form of a key, in everything that a key is pasted with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use key_guard_core::key::{AccountId, Service, UserName};
use key_guard_core::leaked_key::{
    AccessKey, AccessKeyId, KeyAlias, KeyOwner, LeakedKey, LongTermKey, ShortTermKey, find,
};
use proptest::prelude::*;

const SECRET: &str = "pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5=";
/// The account 111122223333 in the form that access key ids have it.
const TEMPORARY: &str = "ASIARTX3GSDSQAAACI2F";

fn encoded(alias: &str) -> String {
    STANDARD.encode(format!("{alias}:{SECRET}"))
}

fn owner(user: &str, key_number: u8) -> KeyOwner {
    KeyOwner { user: user.parse().unwrap(), key_number }
}

fn account() -> AccountId {
    "111122223333".parse().unwrap()
}

fn long_term(service: Option<Service>, user: &str) -> LeakedKey {
    let alias = KeyAlias { account: account(), owner: owner(user, 1), other_reading: None };
    LeakedKey::LongTerm(LongTermKey { service, alias: Some(alias) })
}

fn short_term_text(service: &str) -> String {
    let url = format!(
        "{service}.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential={TEMPORARY}%2F20261120%2Feu-central-1%2F{service}%2Faws4_request\
         &X-Amz-Date=20261120T090711Z&X-Amz-Expires=43200&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEGkaCXVzLWVhc3QtMSJIMEYCIQ\
         &X-Amz-SignedHeaders=host&X-Amz-Signature={}&Version=1",
        "5f".repeat(32)
    );
    STANDARD.encode(url)
}

fn temporary() -> AccessKeyId {
    AccessKeyId { id: TEMPORARY.to_owned(), is_temporary: true, account: Some(account()) }
}

fn short_term(service: Service) -> LeakedKey {
    LeakedKey::ShortTerm(ShortTermKey {
        service,
        access_key: Some(temporary()),
        region: Some("eu-central-1".to_owned()),
        created_at: Some("2026-11-20T09:07:11Z".parse().unwrap()),
        ends_at: Some("2026-11-20T21:07:11Z".parse().unwrap()),
    })
}

#[test]
fn each_prefix_is_of_a_service() {
    let body = encoded("svc-chatbot-at-111122223333");
    for (prefix, service) in [
        ("ABSK", Some(Service::Bedrock)),
        ("ACWL", Some(Service::Logs)),
        ("APIAACWM", Some(Service::CloudWatch)),
        ("AEAA", Some(Service::ClaudePlatform)),
        ("AXRY", None),
        // Their second halves decode to characters of names, and one that is none.
        ("AXRYKEY1", None),
        ("APIA2XRY", None),
    ] {
        assert_eq!(find(&format!("{prefix}{body}")), [long_term(service, "svc-chatbot")], "{prefix}");
    }
}

#[test]
fn a_second_key_may_also_be_the_first_of_a_user_with_a_plus() {
    let key = |name: &str| match &find(&format!("ABSK{}", encoded(&format!("{name}-at-111122223333"))))[..] {
        [LeakedKey::LongTerm(LongTermKey { alias: Some(alias), .. })] => {
            (alias.owner.clone(), alias.other_reading.clone())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(key("ana+1"), (owner("ana", 2), Some(owner("ana+1", 1))));
    assert_eq!(key("ana+1+1"), (owner("ana+1", 2), Some(owner("ana+1+1", 1))));
    assert_eq!(key("+1"), (owner("+1", 1), None));
    assert_eq!(key("ana+2"), (owner("ana+2", 1), None));
    // A user may be called like an alias: the last account counts.
    assert_eq!(key("x-at-444455556666"), (owner("x-at-444455556666", 1), None));
}

#[test]
fn short_term_keys_say_who_signed_them_where_and_until_when() {
    let bedrock = format!("bedrock-api-key-{}", short_term_text("bedrock"));
    assert_eq!(find(&bedrock), [short_term(Service::Bedrock)]);
    let claude = format!("aws-external-anthropic-api-key-{}", short_term_text("aws-external-anthropic"));
    assert_eq!(find(&claude), [short_term(Service::ClaudePlatform)]);
    // What is cut off says what is left of it.
    let [LeakedKey::ShortTerm(cut)] = &find(&bedrock[..240])[..] else { panic!() };
    assert_eq!((cut.access_key.as_ref(), cut.ends_at), (Some(&temporary()), None));
}

/// A field that is cut off is another one: 43 seconds are no 12 hours.
#[test]
fn a_short_term_key_that_is_cut_off_anywhere_says_nothing_wrong() {
    let whole = format!("bedrock-api-key-{}", short_term_text("bedrock"));
    let mut known = [0; 4];
    for end in 60..whole.len() {
        let [LeakedKey::ShortTerm(key)] = &find(&whole[..end])[..] else { panic!("{end}") };
        let LeakedKey::ShortTerm(all) = short_term(Service::Bedrock) else { panic!() };
        for (place, (is_known, is_right)) in [
            (key.access_key.is_some(), key.access_key == all.access_key),
            (key.region.is_some(), key.region == all.region),
            (key.created_at.is_some(), key.created_at == all.created_at),
            (key.ends_at.is_some(), key.ends_at == all.ends_at),
        ]
        .into_iter()
        .enumerate()
        {
            assert!(is_right || !is_known, "{end}: {key:?}");
            known[place] += usize::from(is_known);
        }
    }
    assert!(known.into_iter().all(|times| times > 0), "{known:?}");
}

#[test]
fn a_key_is_found_in_its_decoded_form_and_across_what_nobody_sees() {
    let key = format!("ABSK{}", encoded("svc-chatbot-at-111122223333"));
    let bedrock = [long_term(Some(Service::Bedrock), "svc-chatbot")];
    for between in ["\u{200b}", "\u{ad}", " ", "\t", "\u{a0}", "\\u200b", "\0"] {
        for at in [8, 20, 30, 50] {
            assert_eq!(find(&format!("{}{between}{}", &key[..at], &key[at..])), bedrock, "{between:?} {at}");
        }
    }
    let nuls = |first: &str, text: &str| {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        format!("{first}{}", String::from_utf8_lossy(&units))
    };
    for mark in ["", "\u{fffd}\u{fffd}"] {
        assert_eq!(find(&nuls(mark, &format!("key={key}\r\n"))), bedrock);
    }
    let decoded = format!("key=svc-chatbot-at-111122223333:{SECRET}");
    assert_eq!(find(&decoded), [long_term(None, "svc-chatbot")]);
    let escaped = key.bytes().map(|byte| format!("\\\\u{byte:04x}")).collect::<Vec<_>>().concat();
    assert_eq!(find(&escaped), bedrock);
}

#[test]
fn keys_are_found_in_whatever_they_are_pasted_with() {
    let key = format!("ABSK{}", encoded("svc-chatbot-at-111122223333"));
    let in_url = key.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let twice = in_url.replace('%', "%25");
    let in_json = key.replace('/', "\\/").replace('=', "\\u003d");
    for text in [
        key.clone(),
        format!("export AWS_BEARER_TOKEN_BEDROCK={key}\n"),
        format!("export AWS_BEARER_TOKEN_BEDROCK='{key}'; aws bedrock-runtime converse"),
        format!("2026-11-20T09:07:11Z DEBUG headers={{\"authorization\": \"Bearer {key}\"}} status=200"),
        format!(r#"{{"config":"{{\"token\":\"{in_json}\"}}"}}"#),
        format!("GET /?key={in_url}&model=x HTTP/1.1"),
        format!("redirect=https%3A%2F%2Fexample.com%3Fkey%3D{twice}%26x%3D1"),
        format!("AWS_SECRET_KEY={key}"),
        format!("session_token: {key}"),
        format!("  token: {}\n", STANDARD.encode(&key)),
        format!("-----\r\n> {key}\r\n-----"),
        STANDARD.encode(STANDARD.encode(&key)),
        format!("> {}\r\n> {}\r\nRegards", &key[..40], &key[40..]),
        format!("Key: {}\n{}", &key[..12], &key[12..]),
        format!(r#"{{"text":"{}\n{}\n"}}"#, &key[..60], &key[60..]),
    ] {
        assert_eq!(find(&text), [long_term(Some(Service::Bedrock), "svc-chatbot")], "{text}");
    }
}

#[test]
fn each_key_of_a_text_is_found_once() {
    let one = format!("ABSK{}", encoded("ana-at-111122223333"));
    let other = format!("ACWL{}", encoded("ben-at-111122223333"));
    let short = format!("bedrock-api-key-{}", short_term_text("bedrock"));
    let expected = [
        long_term(Some(Service::Bedrock), "ana"),
        long_term(Some(Service::Logs), "ben"),
        short_term(Service::Bedrock),
    ];
    assert_eq!(find(&format!("{one} {other}, {one}\n{short}")), expected);
    let glued = format!("a={one}&b={other}&c={short}").replace('&', "%26").replace('=', "%3D");
    assert_eq!(find(&glued), expected);
}

#[test]
fn a_key_that_is_cut_off_or_masked_is_a_key_without_an_owner() {
    let without_owner = |service| LeakedKey::LongTerm(LongTermKey { service: Some(service), alias: None });
    assert_eq!(find("ABSKQmVkcm9ja0FQSUtleS1l"), [without_owner(Service::Bedrock)]);
    let name = "x".repeat(64);
    let cut = format!("AEAA{}", &encoded(&format!("{name}-at-111122223333"))[..60]);
    assert_eq!(find(&cut), [without_owner(Service::ClaudePlatform)]);
    // Cut behind the alias: nothing is missing of that.
    let cut = format!("ABSK{}", &encoded("ana1-at-111122223333")[..28]);
    assert_eq!(find(&cut), [long_term(Some(Service::Bedrock), "ana1")]);
}

#[test]
fn access_keys_of_aws_are_told_from_api_keys() {
    let access_key = |id: &str, account: Option<&str>, has_secret| {
        let account = account.map(|account| account.parse().unwrap());
        let id = AccessKeyId { id: id.to_owned(), is_temporary: id.starts_with("ASIA"), account };
        LeakedKey::AccessKey(AccessKey { id, has_secret })
    };
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    // The two ids of the articles that describe the form.
    assert_eq!(
        find("ASIAY34FZKBOKMUTVV7A"),
        [access_key("ASIAY34FZKBOKMUTVV7A", Some("609629065308"), false)]
    );
    assert_eq!(
        find("x ASIAQNZGKIQY56JQ7WML"),
        [access_key("ASIAQNZGKIQY56JQ7WML", Some("029608264753"), false)]
    );
    assert_eq!(
        find("id%3DASIAY34FZKBOKMUTVV7A%26x"),
        [access_key("ASIAY34FZKBOKMUTVV7A", Some("609629065308"), false)]
    );
    // Ids of before 2019 have no account in them, and some examples are no Base32.
    assert_eq!(find("AKIAIOSFODNN7EXAMPLE"), [access_key("AKIAIOSFODNN7EXAMPLE", None, false)]);
    assert_eq!(find("AKIAEXAMPLE0189EXAMP"), [access_key("AKIAEXAMPLE0189EXAMP", None, false)]);
    let credentials = format!(
        "aws_access_key_id = {TEMPORARY}\naws_secret_access_key = {secret}\naws_session_token = {}",
        "IQoJb3JpZ2luX2VjEGkaCXVzLWVhc3QtMSJIMEYCIQDaaaaaaaaaaaaaaaaaaaaaaaaaaa=="
    );
    assert_eq!(find(&credentials), [access_key(TEMPORARY, Some("111122223333"), true)]);
    assert_eq!(find(&format!("AWS_SECRET_ACCESS_KEY={secret}")), [LeakedKey::SecretAccessKey]);
    assert_eq!(find(&format!("user 17: {secret}")), [LeakedKey::LikelySecretAccessKey]);
    assert_eq!(
        find(&format!("{TEMPORARY}\npassword\n{secret}")),
        [access_key(TEMPORARY, Some("111122223333"), true)]
    );
    assert_eq!(
        find("IQoJb3JpZ2luX2VjEGkaCXVzLWVhc3QtMSJIMEYCIQDaaaaaaaaaaaaaaaaa"),
        [LeakedKey::SessionToken]
    );
}

#[test]
fn what_is_no_key_is_none() {
    for text in [
        "",
        "hello",
        "ABSK",
        "ACCAEXAMPLEKEY0000001",
        "arn:aws:iam::111122223333:user/svc-chatbot",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "sk-ant-api03-something-else-entirely",
        "ABSKQmVk****************",
        "AKIAEXAMPLE",
        "%",
        "\\u00",
        "ünïcode \u{1f511}",
    ] {
        assert_eq!(find(text), [], "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whose_a_key_is_is_read_from_any_text_around_it(
        before in "([ -~é\n]{0,40}[ \"'=:&?/>\n])?",
        after in "([ \"'&<\n;,][ -~é\n]{0,40})?",
        user in "[A-Za-z0-9_=,.@-]{1,64}",
        is_second in any::<bool>(),
        account in "[0-9]{12}",
        secret in "[A-Za-z0-9+/=]{24,64}",
        service in prop::sample::select(vec![("ABSK", Service::Bedrock), ("AEAA", Service::ClaudePlatform)]),
    ) {
        let (prefix, service) = service;
        let plus = if is_second { "+1" } else { "" };
        let body = STANDARD.encode(format!("{user}{plus}-at-{account}:{secret}"));
        let text = format!("{before}{prefix}{body}{after}");
        let found = find(&text);
        let owned: Vec<_> = found
            .iter()
            .filter_map(|key| match key {
                LeakedKey::LongTerm(LongTermKey { service: Some(found), alias: Some(alias) }) if *found == service => Some(alias),
                _ => None,
            })
            .collect();
        let [alias] = &owned[..] else { return Err(TestCaseError::fail(format!("{found:?}"))) };
        prop_assert_eq!(alias.account.as_str(), account);
        prop_assert_eq!(&alias.owner.user, &user.parse::<UserName>().unwrap());
        prop_assert_eq!(alias.owner.key_number, if is_second { 2 } else { 1 });
        let shown = format!("{found:?}");
        prop_assert!(!shown.contains(&secret));
    }

    #[test]
    fn no_text_panics_and_nothing_of_a_secret_is_in_what_is_found(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = find(&text);
        let _ = find(&String::from_utf8_lossy(&bytes));
        let found = find(&format!("ABSK{}", STANDARD.encode(&bytes)));
        for key in found {
            prop_assert!(matches!(key, LeakedKey::LongTerm(_) | LeakedKey::AccessKey(_)), "{key:?}");
        }
    }
}
