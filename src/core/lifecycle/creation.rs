//! What the creation events of a key say, joined (R4). A key has one, its redeliveries, and CloudTrail's corrections of it.

use std::cmp::Ordering;

use crate::cloudtrail::{CreatedKey, Provenance};
use crate::evidence::{EventEvidence, ExpirationEvidence};

/// How much a creation event counts. Ordered: what a higher one says replaces what a lower one said, in whatever order they
/// arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Authority {
    /// The event could not be read, and was only assumed to be this key's (R9).
    Assumed,
    /// The event as it was first delivered.
    Original,
    /// CloudTrail says what the event should have said.
    Correction,
}

impl Authority {
    fn of(evidence: &EventEvidence, provenance: &Provenance) -> Self {
        if evidence.says_nothing() {
            Self::Assumed
        } else if provenance.corrects.is_some() {
            Self::Correction
        } else {
            Self::Original
        }
    }
}

/// Adds what a creation event says to what is known of a key. Returns how much it counts beside what was known:
/// [`Ordering::Greater`] has replaced it, and [`Ordering::Less`] has added nothing.
pub(super) fn add(
    creation: &mut Option<Provenance>,
    evidence: &mut ExpirationEvidence,
    created: &CreatedKey,
    provenance: &Provenance,
) -> Ordering {
    let known = evidence.event.as_ref().zip(creation.as_ref());
    let known = known.map(|(evidence, provenance)| Authority::of(evidence, provenance));
    let counts = Some(Authority::of(&created.evidence, provenance)).cmp(&known);
    match counts {
        Ordering::Greater => {
            *creation = Some(provenance.clone());
            evidence.event = Some(created.evidence.clone());
        }
        Ordering::Equal => evidence.merge(&created.evidence.clone().into()),
        Ordering::Less => {}
    }
    counts
}
