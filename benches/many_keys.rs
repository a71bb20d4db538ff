//! Makes a file ledger of many keys with three history lines each, for `benches/lookup`.
//!
//! `many-keys PATH KEYS PER_DAY`: the newest key is of the end of 2026-11-20, and `PER_DAY` keys are made a day.
#![allow(clippy::expect_used, clippy::panic, reason = "a defect here is a defect of the benchmark")]

use std::path::Path;

use bedrock_key_guard::enforce::Key;
use bedrock_key_guard::ledger::Outcome;
use bedrock_key_guard::ledger::merge::Record;
use bedrock_key_guard::ledger::{Confirmation, Entry, Kind, Source, Word, embedded};
use bedrock_key_guard::plan::{Hands, plan};
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::cloudtrail::{Actor, Provenance};
use key_guard_core::evidence::ListedEvidence;
use key_guard_core::key::{KeyRef, Service};
use key_guard_core::policy::{Policy, Response, Scope};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [path, keys, per_day] = arguments.as_slice() else {
        panic!("usage: many-keys PATH KEYS PER_DAY");
    };
    let (keys, per_day) = (keys.parse::<i64>().expect("KEYS"), per_day.parse::<i64>().expect("PER_DAY"));
    let policy = Policy::built_in().expect("the built-in policy is valid");
    let end: DateTime<Utc> = "2026-11-21T00:00:00Z".parse().expect("a time");
    let records = (0..keys).flat_map(|number| {
        let at = end - TimeDelta::milliseconds((keys - number) * 86_400_000 / per_day);
        lines(number, at, &policy)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(embedded::load(Path::new(path), records)).expect("the ledger can be written");
}

fn lines(number: i64, at: DateTime<Utc>, policy: &Policy) -> [Record; 4] {
    let account = format!("{:012}", 111_111_111_111 + number % 200).parse().expect("an account");
    let actor = number % 5_000;
    // One key in a hundred never ends.
    let expires_at = (number % 100 != 0).then(|| at + TimeDelta::days(30 + number % 60));
    let key = Key {
        key: KeyRef { account, id: format!("ACCABENCH{number:012}").parse().expect("an id") },
        user: format!("svc-{}", number / 2).parse().expect("a user"),
        service: Service::Bedrock,
        created_at: at,
        evidence: ListedEvidence { created_at: at, expires_at }.into(),
        is_remembered: false,
    };
    let event = Provenance {
        account: key.key.account.clone(),
        event_id: format!("5d1c0001-7b1e-4c3a-9f00-{number:012}").parse().expect("an event id"),
        event_time: at,
        actor: Actor {
            kind: Some("AssumedRole".to_owned()),
            principal: Some(format!(
                "arn:aws:sts::111122223333:assumed-role/role-{}/person-{actor}@example.com",
                actor / 50
            )),
            session_issuer: Some(format!("arn:aws:iam::111122223333:role/role-{}", actor / 50)),
            mfa: Some(true),
            console: false,
        },
        source_ip: Some(format!("198.51.100.{}", number % 250)),
        user_agent: Some(format!(
            "aws-cli/2.32.{} os/linux lang/python#3.13.9 md/command#iam.create",
            number % 40
        )),
        unreadable: Vec::new(),
    };
    let Scope::InScope(judgement) = key.assess(policy, [], at) else {
        panic!("the built-in policy judges Bedrock")
    };
    let (plan, response) = plan(&judgement, Hands::Free, Response::Delete);
    let after = |seconds| at + TimeDelta::seconds(seconds);
    let recorded_at = after(3 + number % 20);
    let mut entry = Entry::new(
        &key,
        &event,
        &judgement,
        policy.sha256(),
        plan,
        response,
        Source::Event,
        Hands::Free,
        recorded_at,
    );
    let judged = Record::line(&entry, Kind::Judged, at, event.event_id.to_string());
    entry.confirmed = Some(Confirmation { at: after(24), word: Word::Active });
    let confirmed = Record::line(&entry, Kind::Confirmed, after(24), format!("{}.confirmed", event.event_id));
    if entry.outcome == Outcome::Open {
        entry.outcome = Outcome::Deleted;
        entry.acted_at = Some(after(25));
        entry.settled_at = Some(after(26));
    }
    let settled = Record::line(&entry, Kind::Settled, after(26), format!("{}.settled", event.event_id));
    [judged, confirmed, settled, Record::state(&entry)]
}
