//! `doctor --capture`: sees what a real creation event looks like.
//!
//! Makes an IAM user and a one-day key for it, looks for the key's event, and removes both whatever happens. The secret of
//! the key is dropped where the response is read.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_cloudtrail::types::{LookupAttribute, LookupAttributeKey};
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use comfy_table::{Attribute, Cell, Color};
use serde_json::Value;

use super::answer::{code, denies};
use super::output::{Format, end, print_findings};
use crate::cli::messages::say;
use crate::cli::output::stdout;
use crate::cli::output::{plain_table, wants_colour, write_table};
use crate::cli::progress::Progress;
use crate::cli::setup::home;
use crate::doctor::capture::{
    ComparedField, FieldStatus, LIFETIME_DAYS, ReturnedKey, compare_fields, examine,
};
use crate::doctor::{Check, Finding, Status, iam_event_region};
use crate::shape::EventShape;
use crate::telemetry::chain;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{CredentialCall, from_json};
use key_guard_core::key::{AccountId, KeyRef, UserName};

const SERVICE: &str = "bedrock.amazonaws.com";
const PATH: &str = "/bedrock-key-guard/";

/// `LookupEvents` takes four seconds on average in us-east-1, and at times half a minute.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);

/// IAM is eventually consistent: what was just created may be unknown to the next call.
const RETRY_DELAYS: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Seconds between two looks at CloudTrail: the next is twice as long, up to the longest.
const FIRST_PAUSE: u64 = 2;
const LONGEST_PAUSE: u64 = 15;

/// `LookupEvents` is limited to two calls a second in an account and region (CloudTrail API reference).
const BETWEEN_PAGES: Duration = Duration::from_secs(1);

/// 50 events each: an account creates no more keys in the minutes that matter.
const MAX_PAGES: usize = 20;

/// What came of looking for the event.
enum Looked {
    Found(Box<Value>),
    NotFound { last_error: Option<String> },
    Interrupted,
}

/// Captures an event, and prints what it shows.
///
/// # Errors
/// When a call failed that was needed. By then what was made is removed, or stderr has the commands that remove it.
pub(super) async fn run(longest_wait: Duration, format: Format) -> anyhow::Result<ExitCode> {
    let place = Place::find().await?;
    // What would come to nothing is not begun.
    place.look_once().await?;
    let user = user_name()?;
    announce(&place, &user, longest_wait);
    let interruption = interruption().context("could not listen for Ctrl-C")?;
    let mut throwaway = Throwaway::new(&place, user);
    let captured = throwaway.capture(longest_wait, interruption).await;
    let removal = throwaway.remove().await;
    if let Err(error) = &removal {
        say(&format!("error: {error:#}; remove what is left: {}", throwaway.removal_commands()));
    } else if throwaway.user_exists != Existence::No {
        say(&format!("removed the user {} and all of its keys", throwaway.user));
    }
    let (returned, looked) = captured?;
    let mut fields = Vec::new();
    let mut shape = None;
    let mut findings = match looked {
        Looked::Found(event) => {
            let shape = shape.insert(EventShape::of(&event));
            fields = compare_fields(shape);
            examine(&event, &fields, &returned)
        }
        Looked::NotFound { last_error } => vec![not_found(longest_wait, last_error)],
        Looked::Interrupted => vec![Finding {
            check: Check::CapturedEvent,
            status: Status::Fail,
            found: "interrupted before it came".to_owned(),
            fix: Some("run doctor --capture again".to_owned()),
        }],
    };
    findings.push(removal_finding(&removal, &throwaway));
    print(&findings, &fields, shape.as_ref(), format).context("could not write to stdout")?;
    Ok(end(&findings))
}

/// Where everything happens.
struct Place {
    account: AccountId,
    iam: aws_sdk_iam::Client,
    cloudtrail: aws_sdk_cloudtrail::Client,
    region: &'static str,
}

impl Place {
    async fn find() -> anyhow::Result<Self> {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let sdk =
            crate::cli::aws_options::sdk_config().await?.into_builder().timeout_config(timeouts).build();
        let home = home(&sdk).await?;
        let region = iam_event_region(&home.partition).with_context(|| {
            format!("where IAM's events arrive in partition {} is not known here", home.partition)
        })?;
        let there: SdkConfig = sdk.to_builder().region(Region::from_static(region)).build();
        Ok(Self {
            account: home.account,
            iam: aws_sdk_iam::Client::new(&sdk),
            cloudtrail: aws_sdk_cloudtrail::Client::new(&there),
            region,
        })
    }

    /// Whether looking is allowed.
    async fn look_once(&self) -> anyhow::Result<()> {
        let looked =
            self.cloudtrail.lookup_events().lookup_attributes(creations()?).max_results(1).send().await;
        looked.map(drop).map_err(|error| failed("cloudtrail:LookupEvents", &error))
    }

    /// The event of a key, if CloudTrail has it by now.
    ///
    /// It is told by the name of its user, which no other has, wherever that is in the event. A call that failed may have
    /// been ours too: IAM did not know the user yet.
    async fn look_for(&self, key: &ReturnedKey) -> anyhow::Result<Option<Value>> {
        let from = key.created_at.timestamp() - 300;
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let call = self.cloudtrail.lookup_events().lookup_attributes(creations()?);
            let call = call.start_time(aws_sdk_cloudtrail::primitives::DateTime::from_secs(from));
            let page = call.set_next_token(next).send().await;
            let page = page.map_err(|error| failed("cloudtrail:LookupEvents", &error))?;
            let texts = page.events().iter().filter_map(|event| event.cloud_trail_event());
            let ours =
                texts.filter(|text| text.contains(key.user.as_str()) || text.contains(key.key.id.as_str()));
            let mut events = ours.filter_map(|text| from_json(text.as_bytes()).ok());
            if let Some(event) = events.find(|event| event.get("errorCode").is_none_or(Value::is_null)) {
                return Ok(Some(event));
            }
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
            tokio::time::sleep(BETWEEN_PAGES).await;
        }
        Ok(None)
    }
}

/// Not by resource: whether CloudTrail names one for this call is not documented.
fn creations() -> anyhow::Result<LookupAttribute> {
    let attribute = LookupAttribute::builder()
        .attribute_key(LookupAttributeKey::EventName)
        .attribute_value(CredentialCall::Create.as_str());
    Ok(attribute.build()?)
}

/// A name that nobody has.
fn user_name() -> anyhow::Result<UserName> {
    let random = getrandom::u64().context("the system has no random numbers")?;
    format!("bedrock-key-guard-capture-{random:016x}").parse().map_err(anyhow::Error::new)
}

fn announce(place: &Place, user: &UserName, longest_wait: Duration) {
    say(&format!(
        "in account {}: creates the IAM user {user} (path {PATH}, no policy) and an API key of {SERVICE} for it that \
         expires after {LIFETIME_DAYS} day, waits up to {} minutes for the key's creation event in CloudTrail ({}), \
         then removes the key and the user. The key's secret is dropped unseen. A guard that is deployed here hears of \
         the key, too. Ctrl-C ends the wait, and removes both.",
        place.account,
        longest_wait.as_secs() / 60,
        place.region,
    ));
}

/// Whether something was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existence {
    No,
    /// The call got no usable response.
    Maybe,
    Yes,
}

/// The user, and its key. Nothing else is ever removed.
struct Throwaway<'a> {
    place: &'a Place,
    user: UserName,
    user_exists: Existence,
    key_exists: Existence,
    /// The key's id as IAM returned it.
    key_id: Option<String>,
}

impl<'a> Throwaway<'a> {
    fn new(place: &'a Place, user: UserName) -> Self {
        Self { place, user, user_exists: Existence::No, key_exists: Existence::No, key_id: None }
    }

    async fn capture(
        &mut self,
        longest_wait: Duration,
        interruption: impl Future<Output = ()>,
    ) -> anyhow::Result<(ReturnedKey, Looked)> {
        self.create_user().await?;
        let returned = self.create_key().await?;
        // Calls that create are not interrupted: it would not be known whether they did.
        let looked = tokio::select! {
            biased;
            () = interruption => Ok(Looked::Interrupted),
            looked = self.wait(&returned, longest_wait) => looked,
        };
        Ok((returned, looked?))
    }

    async fn create_user(&mut self) -> anyhow::Result<()> {
        let call = self.place.iam.create_user().user_name(self.user.as_str()).path(PATH);
        let result = call.customize().config_override(once()).send().await;
        self.user_exists = existence(&result);
        result.map(drop).map_err(|error| failed("iam:CreateUser", &error))
    }

    /// Creates the key, and drops its secret.
    async fn create_key(&mut self) -> anyhow::Result<ReturnedKey> {
        const ACTION: &str = "iam:CreateServiceSpecificCredential";
        let call = self
            .place
            .iam
            .create_service_specific_credential()
            .user_name(self.user.as_str())
            .service_name(SERVICE)
            .credential_age_days(LIFETIME_DAYS);
        let mut delays = RETRY_DELAYS.iter();
        let result = loop {
            let result = call.clone().customize().config_override(once()).send().await;
            match (result.as_ref().err().and_then(code), delays.next()) {
                (Some("NoSuchEntity"), Some(delay)) => tokio::time::sleep(*delay).await,
                _ => break result,
            }
        };
        self.key_exists = existence(&result);
        let response = result.map_err(|error| failed(ACTION, &error))?;
        let returned = response.service_specific_credential().context("IAM's response has no key")?;
        self.key_id = Some(returned.service_specific_credential_id().to_owned()).filter(|id| !id.is_empty());
        returned_key(&self.place.account, returned).context("IAM returned a key that cannot be read")
    }

    async fn wait(&self, returned: &ReturnedKey, longest: Duration) -> anyhow::Result<Looked> {
        let progress = Progress::of_waiting(longest);
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let last_error = match self.place.look_for(returned).await {
                Ok(Some(event)) => return Ok(Looked::Found(Box::new(event))),
                Ok(None) => None,
                Err(error) => Some(format!("{error:#}")),
            };
            if began.elapsed() >= longest {
                return Ok(Looked::NotFound { last_error });
            }
            for _ in 0..pause {
                tokio::time::sleep(Duration::from_secs(1)).await;
                progress.advance(1);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Removes what was made: the key first, since a user with a key cannot be deleted. That the user is deleted proves that
    /// no key is left; that IAM does not know the key proves nothing.
    async fn remove(&self) -> anyhow::Result<()> {
        if self.user_exists == Existence::No {
            return Ok(());
        }
        let mut delays = RETRY_DELAYS.iter();
        loop {
            if let Some(id) = &self.key_id {
                self.delete_key(id).await?;
            }
            let call = self.place.iam.delete_user().user_name(self.user.as_str());
            let Err(error) = call.send().await else { return Ok(()) };
            let Some(delay) = delays.next() else {
                return match (code(&error), self.user_exists) {
                    (Some("NoSuchEntity"), Existence::Maybe) => Ok(()),
                    _ => Err(failed("iam:DeleteUser", &error)),
                };
            };
            match code(&error) {
                Some("NoSuchEntity") => {}
                // A key whose creation got no response, or one that IAM did not know a moment ago.
                Some("DeleteConflict") => self.delete_listed_keys().await?,
                _ => return Err(failed("iam:DeleteUser", &error)),
            }
            tokio::time::sleep(*delay).await;
        }
    }

    async fn delete_key(&self, id: &str) -> anyhow::Result<()> {
        let call = self.place.iam.delete_service_specific_credential();
        // Without a user name, IAM would take the caller's.
        let call = call.user_name(self.user.as_str()).service_specific_credential_id(id);
        match call.send().await {
            Err(error) if code(&error) != Some("NoSuchEntity") => {
                Err(failed("iam:DeleteServiceSpecificCredential", &error))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Every key of our user is ours.
    async fn delete_listed_keys(&self) -> anyhow::Result<()> {
        let call = self.place.iam.list_service_specific_credentials().user_name(self.user.as_str());
        let listed = call.send().await;
        let listed = listed.map_err(|error| failed("iam:ListServiceSpecificCredentials", &error))?;
        for key in listed.service_specific_credentials() {
            self.delete_key(key.service_specific_credential_id()).await?;
        }
        Ok(())
    }

    fn removal_commands(&self) -> String {
        let user = &self.user;
        let delete = format!(
            "aws iam delete-service-specific-credential --user-name {user} --service-specific-credential-id"
        );
        let keys = match (&self.key_id, self.key_exists) {
            (Some(id), _) => format!("{delete} {id}, then "),
            (None, Existence::No) => String::new(),
            (None, Existence::Maybe | Existence::Yes) => format!(
                "aws iam list-service-specific-credentials --user-name {user}, for each key {delete} KEY, then "
            ),
        };
        format!("{keys}aws iam delete-user --user-name {user}")
    }
}

/// Without retries: after a retry it is not known how much was created.
fn once() -> aws_sdk_iam::config::Builder {
    aws_sdk_iam::Config::builder().retry_config(RetryConfig::disabled())
}

/// Whether a call that creates has created something.
fn existence<T, E: ProvideErrorMetadata>(result: &Result<T, SdkError<E>>) -> Existence {
    match result {
        Ok(_) => Existence::Yes,
        Err(SdkError::ServiceError(refused)) if refused.raw().status().is_client_error() => Existence::No,
        Err(_) => Existence::Maybe,
    }
}

/// The key without its secret.
fn returned_key(
    account: &AccountId,
    returned: &aws_sdk_iam::types::ServiceSpecificCredential,
) -> anyhow::Result<ReturnedKey> {
    let time =
        |date: &aws_sdk_iam::primitives::DateTime| Time::from_timestamp(date.secs(), date.subsec_nanos());
    Ok(ReturnedKey {
        key: KeyRef { account: account.clone(), id: returned.service_specific_credential_id().parse()? },
        user: returned.user_name().parse()?,
        service: returned.service_name().parse()?,
        created_at: time(returned.create_date()).context("its CreateDate is out of range")?,
        expires_at: returned.expiration_date().and_then(time),
    })
}

/// Why a call failed. What a response has that cannot be read is not repeated: it may be a secret.
fn failed<E>(action: &'static str, error: &SdkError<E>) -> anyhow::Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match (code(error), error) {
        (Some(code), _) if denies(code) => anyhow!(
            "{action} was denied: the caller needs it, and no service control policy or permissions boundary may deny it"
        ),
        (Some(code), _) => anyhow!("{action} failed: {code}"),
        (None, SdkError::ServiceError(_) | SdkError::ResponseError(_)) => {
            anyhow!("{action} got a response that cannot be read")
        }
        (None, error) => anyhow!("{action} failed: {}", chain(error)),
    }
}

/// Ends with Ctrl-C, or with what else ends a process in good order. From now on these end nothing else.
#[cfg(unix)]
fn interruption() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn interruption() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move { _ = interrupt.recv().await })
}

fn not_found(longest_wait: Duration, last_error: Option<String>) -> Finding {
    let minutes = longest_wait.as_secs() / 60;
    let why = last_error.map(|error| format!("; the last look at CloudTrail failed: {error}"));
    Finding {
        check: Check::CapturedEvent,
        status: Status::Fail,
        found: format!("it did not come within {minutes} minutes{}", why.unwrap_or_default()),
        fix: Some("run doctor --capture again with a longer --capture-wait".to_owned()),
    }
}

fn removal_finding(removal: &anyhow::Result<()>, throwaway: &Throwaway<'_>) -> Finding {
    let check = Check::CaptureRemoval;
    match removal {
        Ok(()) => Finding {
            check,
            status: Status::Ok,
            found: "the key and the user are deleted".to_owned(),
            fix: None,
        },
        Err(error) => Finding {
            check,
            status: Status::Fail,
            found: format!("{error:#}"),
            fix: Some(throwaway.removal_commands()),
        },
    }
}

fn print(
    findings: &[Finding],
    fields: &[ComparedField],
    shape: Option<&EventShape>,
    format: Format,
) -> io::Result<()> {
    print_findings(findings, format)?;
    let Some(shape) = shape else { return Ok(()) };
    let mut out = stdout();
    match format {
        Format::Table => {
            writeln!(out)?;
            write_table(&mut out, fields_table(fields))?;
            writeln!(out, "\nshape {} of the event, without values:", shape.fingerprint())?;
            for (field, type_name) in shape.fields() {
                writeln!(out, "{field}: {type_name}")?;
            }
        }
        Format::Jsonl => {
            for field in fields {
                serde_json::to_writer(&mut out, field)?;
                out.write_all(b"\n")?;
            }
            let line = serde_json::json!({"fingerprint": shape.fingerprint(), "shape": shape.to_string()});
            writeln!(out, "{line}")?;
        }
    }
    out.flush()
}

fn fields_table(fields: &[ComparedField]) -> comfy_table::Table {
    let mut table = plain_table(wants_colour());
    let titles = ["FIELD", "STATUS", "EXPECTED", "FOUND"];
    table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    for field in fields {
        let colour = match field.status {
            FieldStatus::Present => Color::Green,
            FieldStatus::Absent | FieldStatus::OtherType => Color::Yellow,
            FieldStatus::NotRead => Color::Cyan,
        };
        let text = |text: &Option<String>| Cell::new(text.as_deref().unwrap_or("-"));
        table.add_row([
            Cell::new(&field.field),
            Cell::new(field.status.as_str()).fg(colour),
            text(&field.expected),
            text(&field.found),
        ]);
    }
    table
}
