//! A process that is killed at any moment.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::{LEDGER, id, integrity, recorded, reported};
use crate::support::cli::Folder;

/// Anything below `bound`: another number each time.
fn random(bound: u64) -> u64 {
    RandomState::new().hash_one(bound) % bound
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_killed_replay_has_reported_is_recorded() {
    const EVENTS: usize = 3_000;
    let folder = Folder::new();
    let path = folder.at(LEDGER);
    let (mut before, mut cut, mut recovered) = (BTreeSet::new(), 0, 0);
    for round in 0..8 {
        let numbers = round * EVENTS..(round + 1) * EVENTS;
        let events = folder.write_events("events", numbers.clone());
        let mut command = folder.command(&["replay", "--format", "jsonl", &events]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (wanted, pause) = (random(2_000_000), Duration::from_micros(random(3_000)));
        let mut stdout = child.stdout.take().unwrap();
        let mut seen = Vec::new();
        stdout.by_ref().take(wanted).read_to_end(&mut seen).unwrap();
        std::thread::sleep(pause);
        kill(child);
        stdout.read_to_end(&mut seen).unwrap();
        recovered += usize::from(folder.at("key-guard.db-wal").metadata().is_ok_and(|log| log.len() > 0));

        if !path.exists() {
            assert!(seen.is_empty());
            continue;
        }
        let ran = folder.run(&["lookup", "--limit", "1", "--since", "2026-11-01", "--until", "2026-11-30"]);
        assert_eq!(ran.code, 0, "round {round}: {}", ran.stderr);
        assert_eq!(integrity(&path), "ok");
        let reported = reported(&String::from_utf8(seen).unwrap());
        let recorded = recorded(&path);
        assert!(recorded.is_superset(&reported), "round {round}: reported and not recorded");
        assert!(recorded.is_superset(&before), "round {round}: lost");
        let new: BTreeSet<_> = recorded.difference(&before).cloned().collect();
        // What is recorded is the beginning of what was read.
        assert_eq!(new, (numbers.start..numbers.start + new.len()).map(id).collect());
        cut += usize::from(!new.is_empty() && new.len() < EVENTS);
        before = recorded;
    }
    assert!(cut > 1, "{cut} replays were killed in the middle");
    assert!(recovered > 1, "{recovered} left something to recover");
}

/// The file is there only when it is whole, or can be made one.
#[test]
fn a_process_that_is_killed_while_it_makes_the_file_is_in_nobody_s_way() {
    let folder = Folder::new();
    let events = folder.write_events("events", 0..3);
    for round in 0..16 {
        let ledger = format!("ledger-{round}");
        // SQLite makes a ledger of an empty file in the file itself.
        if round % 2 == 0 {
            std::fs::write(folder.at(&ledger), "").unwrap();
        }
        let place = format!("file:{ledger}");
        let arguments = ["replay", "--ledger", &place, &events];
        let mut command = folder.command(&arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random(40_000)));
        kill(child);
        let ran = folder.run(&arguments);
        assert_eq!(ran.code, 0, "round {round}: {}", ran.stderr);
        assert_eq!(recorded(&folder.at(&ledger)).len(), 3);
        assert_eq!(integrity(&folder.at(&ledger)), "ok");
    }
}
