//! Reads CloudTrail's event history as files are read: each event's text is a record.

use super::super::event_history::HistoryEvent;
use super::Gone;
use super::sink::Sink;
use super::value::{Expected, marked};

/// Hands on what is in the events, in their order, and counts them.
pub(super) fn read(history: &[HistoryEvent], sink: &mut Sink<'_>) -> Result<(), Gone> {
    for event in history {
        let id = event.id.as_deref().unwrap_or("without an EventId");
        let place = || format!("CloudTrail's event history: event {id}");
        match &event.record {
            Some(record) => marked(record.as_bytes(), Expected::Event, &place, sink)?,
            None => sink.problem(format!("{}: it has no CloudTrailEvent", place()))?,
        }
    }
    Ok(())
}
