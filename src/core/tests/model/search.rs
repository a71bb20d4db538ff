//! Visits every state, breadth first.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::hash::fingerprint;
use super::invariants::{Violation, liveness, safety, usable_in_the_end};
use super::world::{Configuration, Move, World};

/// What a search found.
pub struct Found {
    pub states: usize,
    pub fair_runs: usize,
    pub violations: Vec<(Violation, Vec<String>)>,
}

#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("fingerprints only");
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

type Parents = HashMap<u64, u64, BuildHasherDefault<Identity>>;

/// Searches every state within the bounds.
pub fn search(c: &Configuration) -> Found {
    let first = World::new(c);
    let mut parents = Parents::default();
    parents.insert(fingerprint(&first), 0);
    let mut frontier = vec![first];
    let mut violations: BTreeMap<Violation, u64> = BTreeMap::new();
    let mut endings: HashMap<Vec<(i64, Move)>, bool> = HashMap::new();
    let mut fair_runs = 0;
    while !frontier.is_empty() {
        let mut next_frontier = Vec::new();
        for world in frontier.drain(..) {
            let at = fingerprint(&world);
            let mut broken = safety(&world);
            // A worker that is at work is a worker that may die: other states have that.
            if world.workers.is_empty() {
                fair_runs += 1;
                broken.extend(liveness(c, &world));
                if c.compares_histories {
                    let usable = usable_in_the_end(c, &world);
                    let known = *endings.entry(world.ghosts.history.clone()).or_insert(usable);
                    if known != usable {
                        broken.push("I3: the same history ends differently");
                    }
                }
            }
            for violation in broken {
                violations.entry(violation).or_insert(at);
            }
            for (_, next) in world.successors(c, false) {
                if let std::collections::hash_map::Entry::Vacant(entry) = parents.entry(fingerprint(&next)) {
                    entry.insert(at);
                    next_frontier.push(next);
                }
            }
        }
        frontier = next_frontier;
    }
    let states = parents.len();
    let found = violations.into_iter().map(|(violation, at)| (violation, path(c, &parents, at))).collect();
    Found { states, fair_runs, violations: found }
}

/// Follows a path: each move by the beginning of its name. Every state on the way is checked, and the end of the path as
/// the start of a fair run.
pub fn follow(c: &Configuration, moves: &[&str]) -> World {
    let mut world = World::new(c);
    for wanted in moves {
        let successors = world.successors(c, true);
        let names: Vec<_> = successors.iter().map(|(name, _)| name.clone()).collect();
        let found = successors.into_iter().find(|(name, _)| name.starts_with(wanted));
        world = found.unwrap_or_else(|| panic!("{wanted}: no such move among {names:#?}")).1;
        assert_eq!(safety(&world), [""; 0], "after {wanted}");
    }
    assert_eq!(liveness(c, &world), [""; 0]);
    world
}

/// The moves that lead to a state, from the first.
fn path(c: &Configuration, parents: &Parents, mut at: u64) -> Vec<String> {
    let mut chain = vec![at];
    while let Some(&parent) = parents.get(&at)
        && parent != 0
    {
        chain.push(parent);
        at = parent;
    }
    let mut world = World::new(c);
    let mut labels = Vec::new();
    for wanted in chain.into_iter().rev().skip(1) {
        let (label, next) = world
            .successors(c, true)
            .into_iter()
            .find(|(_, next)| fingerprint(next) == wanted)
            .expect("each state follows from its parent");
        labels.push(label);
        world = next;
    }
    labels
}
