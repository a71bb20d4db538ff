//! A damaged file. It is an error, or an item that cannot be read, and never fewer keys without a word.

use std::path::Path;

use bedrock_key_guard::ledger::error::LedgerError;
use bedrock_key_guard::ledger::portable::PortableItem;
use bedrock_key_guard::ledger::query::{Filter, Search};
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::key::KeyRef;

use super::{LEDGER, with_keys};
use crate::reading::in_runtime;
use crate::support::OWN;
use crate::support::cli::Folder;

const PAGE: usize = 4_096;

/// What a reader gets: every item, and the keys that each kind of question finds. `None`: an item cannot be read.
type Everything = Option<(Vec<PortableItem>, Vec<KeyRef>)>;

async fn scan(store: &Ledger) -> Result<Option<Vec<PortableItem>>, LedgerError> {
    let (mut scan, mut items) = (store.table_scan(), Vec::new());
    while let Some(page) = scan.next().await? {
        items.extend(page);
    }
    Ok(items.into_iter().collect::<Result<Vec<_>, _>>().ok())
}

async fn search(store: &Ledger, filter: Filter) -> Result<Option<Vec<KeyRef>>, LedgerError> {
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    let mut search = Search::new(store, filter, None, 1_000, now).unwrap();
    let mut found = Vec::new();
    while let Some(key) = search.next().await? {
        found.push(key.key);
    }
    Ok(search.unreadable().is_empty().then_some(found))
}

async fn read(path: &Path, keys: usize) -> Result<Everything, LedgerError> {
    let store = Ledger::read_file(path)?;
    let items = scan(&store).await?;
    let mut filters = vec![
        Filter { account: Some(OWN.parse().unwrap()), ..Filter::default() },
        Filter { actor: Some("maria.lopez@example.com".into()), ..Filter::default() },
        Filter { actor: Some("DeveloperAccess".into()), ..Filter::default() },
        Filter::default(),
    ];
    for number in 0..keys {
        filters.push(Filter { user: Some(format!("svc-{number}").parse().unwrap()), ..Filter::default() });
        filters.push(Filter { key: Some(super::id(number).parse().unwrap()), ..Filter::default() });
    }
    let mut found = Some(Vec::new());
    for filter in filters {
        found = found.zip(search(&store, filter).await?).map(|(found, more)| [found, more].concat());
    }
    Ok(items.zip(found))
}

/// A ledger that was closed, and what is in it.
fn whole() -> (Folder, Vec<u8>) {
    let folder = with_keys(0..60);
    let bytes = std::fs::read(folder.at(LEDGER)).unwrap();
    (folder, bytes)
}

/// Every page in turn, with what a disk or a bad copy leaves in its place.
#[test]
fn a_page_that_is_lost_is_noticed() {
    const KEYS: usize = 60;
    let (folder, bytes) = whole();
    let path = folder.at("damaged");
    std::fs::write(&path, &bytes).unwrap();
    let expected = in_runtime(read(&path, KEYS)).unwrap().unwrap();
    assert_eq!(expected.0.len(), KEYS);
    assert_eq!(expected.1.len(), 6 * KEYS, "each question finds all, or its one");
    let pages = bytes.len() / PAGE;
    assert!(pages > 20, "{pages}");
    let garbage: Vec<u8> = (0..PAGE).map(|at| u8::try_from((at * 7 + at / 13) % 251).unwrap()).collect();
    let (mut noticed, mut unread) = (0, 0);
    for (page, filling) in (0..pages)
        .flat_map(|page| [vec![0; PAGE], vec![0xff; PAGE], garbage.clone()].map(|filling| (page, filling)))
    {
        let mut damaged = bytes.clone();
        damaged[page * PAGE..(page + 1) * PAGE].copy_from_slice(&filling);
        std::fs::write(&path, &damaged).unwrap();
        match in_runtime(read(&path, KEYS)) {
            Err(_) | Ok(None) => noticed += 1,
            Ok(Some(found)) => {
                assert!(found == expected, "page {page} of {pages} was lost and is not missed");
                unread += 1;
            }
        }
    }
    assert!(noticed > 10 * unread, "{noticed} {unread}");
}

#[test]
fn commands_say_that_a_file_is_damaged() {
    let (folder, bytes) = whole();
    let pages = bytes.len() / PAGE;
    let mut damaged = vec![
        bytes[..bytes.len() / 2].to_vec(),
        bytes[..bytes.len() - 100].to_vec(),
        bytes[..PAGE].to_vec(),
        bytes[..50].to_vec(),
    ];
    for page in [0, 1, pages / 3, pages / 2, pages - 1] {
        let mut other = bytes.clone();
        // The first one begins with the header.
        other[page * PAGE + if page == 0 { 100 } else { 0 }..(page + 1) * PAGE].fill(0);
        damaged.push(other);
    }
    let whole = folder.run(&["export"]);
    for (number, bytes) in damaged.into_iter().enumerate() {
        std::fs::write(folder.at("damaged"), &bytes).unwrap();
        for command in [
            &["export"][..],
            &["lookup", "--account", OWN],
            &["report", "--output", "-"],
            &["replay", "events"],
        ] {
            let ran = folder.run(&[command, &["--ledger", "file:damaged"]].concat());
            if command[0] == "export" && ran.code == 0 {
                assert!(ran.stdout == whole.stdout, "{number}");
            }
            if ran.code != 0 {
                assert!([1, 4].contains(&ran.code), "{number} {command:?}: {}", ran.stderr);
                let is_named = ran.stderr.contains("damaged: the ledger file cannot be used: ")
                    || ran.stderr.contains("cannot be read");
                assert!(is_named, "{number} {command:?}: {}", ran.stderr);
            }
            // Too short, or the schema is lost.
            if [0, 2, 3, 4].contains(&number) {
                assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{number} {command:?}: {}", ran.stderr);
                assert!(ran.stderr.contains("is damaged: restore a copy"), "{number}: {}", ran.stderr);
                assert!(std::fs::read(folder.at("damaged")).unwrap() == bytes, "{number} {command:?}");
            }
        }
    }
}
