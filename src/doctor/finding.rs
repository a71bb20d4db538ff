//! What is checked, and what came of it.

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it has to be.
    Ok,
    /// The guard works, and something about it should be better.
    Warn,
    /// Keys will be missed, or events or the record may be lost.
    Fail,
    /// That could not be asked.
    Unknown,
}

impl Status {
    /// As written in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// What is checked. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The function can run.
    Function,
    /// Its environment is one that it starts with.
    Configuration,
    /// It has the time that its calls may take.
    Timeout,
    /// It is not disabled by a reserved concurrency of 0.
    Concurrency,
    /// It is where IAM's events arrive.
    Region,
    /// A trail logs management write events of IAM.
    Trail,
    /// A rule of the default bus targets the function, and is enabled.
    Rule,
    /// The rules pass every event of the guard's.
    EventPattern,
    /// The rules hand over whole events, and have a queue for those that cannot be delivered.
    Target,
    /// EventBridge may invoke the function.
    InvokePermission,
    /// The table is a ledger.
    Table,
    /// It cannot be deleted by mistake.
    TableProtection,
    /// It can be restored.
    TableRecovery,
    /// The function's role allows what the ceiling needs, and no more.
    Role,
    /// What the function could not deal with goes to a queue.
    OnFailure,
    /// Nothing is in that queue.
    OnFailureQueue,
    /// Nothing is in the rules' queues.
    DeadLetterQueue,
    /// Events come.
    LastEvent,
    /// Alarms watch the guard, and each tells somebody.
    Alarms,
    /// Somebody gets what the alarms say.
    Subscriptions,
    /// Sweeps are completed.
    LastSweep,
    /// Resumes are completed.
    LastResume,
    /// No event grows old without being dealt with.
    FailureAge,
    /// Each account that was ever heard is heard.
    SilentAccounts,
    /// The roles in other accounts let the guard in, as far as sweeps have tried.
    Responders,
    /// Pending responses are executed, and quarantines end.
    Overdue,
    /// The current version of the policy can be used, where the function judges by it.
    PolicyVersion,
    /// The event of a key that was created to see it came, and the parser reads it.
    CapturedEvent,
    /// It has the fields that the parser expects.
    CapturedFields,
    /// It says of the key what IAM returned.
    CapturedKey,
    /// That key and its user are removed.
    CaptureRemoval,
}

impl Check {
    /// As written in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Configuration => "configuration",
            Self::Timeout => "timeout",
            Self::Concurrency => "concurrency",
            Self::Region => "region",
            Self::Trail => "trail",
            Self::Rule => "rule",
            Self::EventPattern => "event_pattern",
            Self::Target => "target",
            Self::InvokePermission => "invoke_permission",
            Self::Table => "table",
            Self::TableProtection => "table_protection",
            Self::TableRecovery => "table_recovery",
            Self::Role => "role",
            Self::OnFailure => "on_failure",
            Self::OnFailureQueue => "on_failure_queue",
            Self::DeadLetterQueue => "dead_letter_queue",
            Self::LastEvent => "last_event",
            Self::Alarms => "alarms",
            Self::Subscriptions => "subscriptions",
            Self::LastSweep => "last_sweep",
            Self::LastResume => "last_resume",
            Self::FailureAge => "failure_age",
            Self::SilentAccounts => "silent_accounts",
            Self::Responders => "responders",
            Self::Overdue => "overdue",
            Self::PolicyVersion => "policy_version",
            Self::CapturedEvent => "captured_event",
            Self::CapturedFields => "captured_fields",
            Self::CapturedKey => "captured_key",
            Self::CaptureRemoval => "capture_removal",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// How it came out.
    pub status: Status,
    /// What is there, in words.
    pub found: String,
    /// What to do about it; `None` where it is as it has to be.
    pub fix: Option<String>,
}

/// AWS's answer to a question, or why there is none.
pub type Answer<T> = Result<T, Unavailable>;

/// Why something is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// It is known: AWS says that there is none.
    Absent,
    /// The caller may not ask: it lacks this IAM action.
    Denied(&'static str),
    /// The call failed.
    Failed {
        /// The call's IAM action.
        action: &'static str,
        /// AWS's error code, or why there was no answer.
        why: String,
    },
    /// It was not asked, for this reason.
    Unasked(String),
}
