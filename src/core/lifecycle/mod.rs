//! The life of a key: what the guard knows of it, and what it does next.
//!
//! | | |
//! | --- | --- |
//! | [`state`] | what is stored of a key |
//! | [`input`] | what happens to it: an event, a list entry, a resume |
//! | [`transition`] | **the table**: state × input → what follows |
//! | [`steps`] | finds the cell of the table, and does what it says |
//! | `creation` | what the creation events of a key say: the original, and its corrections |
//! | `assess` | what a trigger requires under the policy and the ceiling |
//! | `enforce` | what IAM's answer means for an intent, and what is stored after an action |
//! | [`session`] | the protocol: one decision at a time, one effect at a time |
//! | [`effect`] | effects and replies as data, and the proofs that an action needs |
//! | [`result`](mod@result) | what a session returns: the next effect, or a result and the report of it |
//! | [`lookup`] | which keys an unreadable creation event may be about |
//! | [`summary`] | what is new since the last sweep, and what has to be published |
//! | [`standing`] | how a key stands, who brought that about, and how that is known |
//! | [`sweep`] | IAM's lists, page by page, turned into sessions; and the keys that they do not have |
//! | [`dry_run`] | what would follow, without doing it |
//!
//! Everything here is pure. An executor performs the [`effect::Effect`]s and feeds the [`effect::Reply`]s back:
//!
//! ```text
//! Session::advance(Reply::Start) ─▶ Perform(Commit) ─▶ advance(Committed) ─▶ Perform(Find) ─▶ … ─▶ Finished
//! ```
//!
//! `docs/lifecycle.md` has the rules R1 to R15 and the invariants I1 to I11 that the comments here cite.

mod assess;
mod creation;
pub mod dry_run;
pub mod effect;
mod enforce;
pub mod input;
pub mod lookup;
pub mod result;
pub mod session;
pub mod standing;
pub mod state;
pub mod steps;
pub mod summary;
pub mod sweep;
pub mod transition;

use chrono::TimeDelta;

/// How long IAM's answers may be behind: a change that is older than this is in every answer (R1, R3).
pub const CONSISTENCY_WINDOW: TimeDelta = TimeDelta::seconds(60);

/// How long a worker may hold a key before others may take over.
pub const LEASE: TimeDelta = TimeDelta::seconds(45);

/// A worker starts no action in the last seconds of its lease.
pub const ACTION_MARGIN: TimeDelta = TimeDelta::seconds(10);

/// A worker retries no failed call in the last seconds of its lease or of its invocation (R7).
pub const RETRY_MARGIN: TimeDelta = TimeDelta::seconds(5);

/// An event from further ahead than this is an error: the clocks disagree.
pub const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// How often a sweep or a dry run retries a call, which takes about 6 seconds with [`backoff`]: one account must not take
/// the time of all others.
pub const MAX_RETRIES: u32 = 6;

/// How long to wait before a failed call is retried, after so many failures in a row (R7).
#[must_use]
pub fn backoff(failures: u32) -> TimeDelta {
    const FIRST: TimeDelta = TimeDelta::milliseconds(100);
    const LONGEST: TimeDelta = TimeDelta::seconds(5);
    (FIRST * 2_i32.saturating_pow(failures.min(10))).min(LONGEST)
}
