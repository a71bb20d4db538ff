//! `replay --cloudtrail`: the events of the caller's account, from CloudTrail's event history.

use crate::cli::event_history::{EventHistory, FREQUENT_CALLS, HISTORY_DAYS, RARE_CALLS};
use crate::cli::filters::whole_number;
use crate::cli::input::{Input, Inputs};
use crate::cli::messages::{counted, say};
use crate::cli::progress::Progress;
use crate::cli::setup::home;
use crate::clock::SystemClock;

/// Which part of the event history is read.
#[derive(Debug, clap::Args)]
pub struct HistoryOptions {
    /// Read CloudTrail's event history of the account of your credentials, in place of files
    #[arg(long)]
    cloudtrail: bool,

    /// How many days back [default: 90, which is as far as the event history goes]
    #[arg(
        long,
        requires = "cloudtrail",
        conflicts_with = "paths",
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = whole_number(1..=HISTORY_DAYS)
    )]
    days: Option<u16>,

    /// Also ask for calls that accounts make often: `AttachUserPolicy`, `PutUserPolicy` and `AddUserToGroup`
    #[arg(long, requires = "cloudtrail", conflicts_with = "paths")]
    frequent_calls: bool,
}

impl HistoryOptions {
    /// Whether it is read.
    pub const fn is_wanted(&self) -> bool {
        self.cloudtrail
    }

    /// Reads it, the oldest event first.
    ///
    /// # Errors
    /// When a part of it could not be read.
    pub async fn read(&self) -> anyhow::Result<Inputs> {
        let sdk = crate::cli::aws_options::sdk_config().await?;
        let mut history = EventHistory::new(&sdk, &home(&sdk).await?, &SystemClock)?;
        let frequent: &[_] = if self.frequent_calls { &FREQUENT_CALLS } else { &[] };
        let calls: Vec<_> = RARE_CALLS.iter().chain(frequent).copied().collect();
        let days = self.days.unwrap_or(HISTORY_DAYS);
        let progress = Progress::of_history(u64::from(days) * calls.len() as u64);
        let events = history.read_calls(&calls, days, |days| progress.advance(days)).await?;
        drop(progress);
        say(&format!(
            "CloudTrail's event history of account {} in {}, the last {}: {} of {} calls",
            history.account(),
            history.region(),
            counted(days.into(), "day", "days"),
            counted(events.len() as u64, "event", "events"),
            calls.len(),
        ));
        let records = events.iter().filter_map(|event| event.record.as_ref());
        let size = records.map(|record| record.len() as u64).sum();
        Ok(Inputs { inputs: vec![Input::History { events, size }], ..Inputs::default() })
    }
}
