//! Damaged, cut, spliced and wrapped events: nothing panics, takes long, is dropped silently, or repeats a secret.
//!
//! A few cases run with every `cargo test`. `KEY_GUARD_FUZZ_SECONDS` runs each test for so long, and `PROPTEST_CASES` for so
//! many cases; both print how many that were.

mod corpus;
mod damage;
mod parser;
mod splitter;
mod unwrapping;

use std::cell::Cell;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

/// No input that is as large as these may take longer, on a busy machine.
const LONGEST_CASE: Duration = Duration::from_secs(20);

/// Runs a property: a few times, for as many cases as are asked for, or for as long.
#[expect(clippy::disallowed_methods, reason = "tests are told from outside how long to run")]
fn check<S: Strategy>(name: &str, strategy: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    const FEW: u32 = 200;
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u32>().unwrap());
    let seconds = number("KEY_GUARD_FUZZ_SECONDS");
    let cases = number("PROPTEST_CASES").unwrap_or(FEW);
    let mut config =
        Config { cases, failure_persistence: None, max_shrink_iters: 5_000, ..Config::default() };
    let count = Cell::new(0_u64);
    let timed = |value| {
        let started = Instant::now();
        let result = property(value);
        count.set(count.get() + 1);
        let took = started.elapsed();
        if took > LONGEST_CASE { Err(TestCaseError::fail(format!("it took {took:?}"))) } else { result }
    };
    let started = Instant::now();
    loop {
        let seed = config.rng_seed;
        let result = TestRunner::new(config.clone()).run(strategy, timed);
        result.unwrap_or_else(|failed| panic!("PROPTEST_RNG_SEED={seed}: {failed}"));
        // Else the next runner would repeat these cases.
        if let RngSeed::Fixed(seed) = seed {
            config.rng_seed = RngSeed::Fixed(seed.wrapping_add(1));
        }
        if seconds.is_none_or(|seconds| started.elapsed().as_secs() >= seconds.into()) {
            break;
        }
    }
    eprintln!("{name}: {} cases in {:.0?}", count.get(), started.elapsed());
}

/// Fails where a part of the secrets in the corpus is in a text.
fn has_no_secret(text: &str) -> Result<(), TestCaseError> {
    let found = corpus::SECRETS.iter().find(|secret| {
        // The prefix stays where a secret is redacted.
        let body = secret.trim_start_matches("aws-external-anthropic-api-key-");
        let parts = body.as_bytes().windows(24).map(|part| std::str::from_utf8(part).unwrap());
        parts.into_iter().any(|part| text.contains(part))
    });
    found.map_or(Ok(()), |_| Err(TestCaseError::fail(format!("a secret is in: {text}"))))
}
