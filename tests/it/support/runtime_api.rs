//! AWS Lambda's Runtime API, with the built Lambda binary behind it.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::OWN;
use super::http::{Reply, Request, serve};

/// What the function made of an invocation.
#[derive(Debug)]
pub enum Outcome {
    Response(Value),
    Error(Value),
}

impl Outcome {
    pub fn response(self) -> Value {
        match self {
            Self::Response(report) => report,
            Self::Error(error) => panic!("an error: {error}"),
        }
    }

    pub fn error(self) -> Value {
        match self {
            Self::Error(error) => error,
            Self::Response(report) => panic!("a response: {report}"),
        }
    }
}

/// The function, running.
pub struct Function {
    /// How long an invocation may take; for ever, unless it is said.
    pub time: Arc<Mutex<Option<Duration>>>,
    process: Child,
    /// Reads what it writes: a full pipe would stop it.
    stdout: Option<JoinHandle<String>>,
    events: Option<Sender<String>>,
    outcomes: Receiver<Outcome>,
}

/// How a process ended, and what it wrote.
pub struct Ended {
    pub success: bool,
    pub stdout: String,
}

const PATIENCE: Duration = Duration::from_secs(40);

/// The binary with nothing of this process's environment, and these variables.
pub fn command(runtime_api: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-key-guard-lambda"));
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api.trim_start_matches("http://"))
        .env("AWS_LAMBDA_FUNCTION_NAME", "guard")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/guard")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped());
    command
}

impl Function {
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let (events, queue) = channel::<String>();
        let (post, outcomes) = channel();
        let (queue, post) = (Arc::new(Mutex::new(queue)), Arc::new(Mutex::new(post)));
        let time: Arc<Mutex<Option<Duration>>> = Arc::default();
        let url = {
            let time = Arc::clone(&time);
            serve(move |request| api(&request, &queue.lock().unwrap(), &post.lock().unwrap(), &time))
        };
        let mut process = command(&url, variables).spawn().unwrap();
        let mut written = process.stdout.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            written.read_to_string(&mut text).unwrap();
            text
        });
        Self { time, process, stdout: Some(stdout), events: Some(events), outcomes }
    }

    pub fn invoke(&self, event: &Value) -> Outcome {
        self.invoke_text(event.to_string())
    }

    /// Begins an invocation, and does not wait for its end.
    pub fn begin(&self, event: &Value) {
        self.events.as_ref().unwrap().send(event.to_string()).unwrap();
    }

    pub fn invoke_text(&self, event: String) -> Outcome {
        self.events.as_ref().unwrap().send(event).unwrap();
        self.outcomes.recv_timeout(PATIENCE).expect("an answer to the invocation")
    }

    /// The most memory that the process has ever had, in KiB (proc(5), `VmHWM`).
    #[cfg(target_os = "linux")]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Kills the function, also in the middle of an invocation, and answers with what it wrote.
    pub fn end(mut self) -> String {
        self.process.kill().unwrap();
        self.stdout.take().unwrap().join().unwrap()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the binary where it is expected to end before it asks for an invocation.
pub fn start_and_fail(variables: &[(&str, &str)]) -> Ended {
    let asked = Arc::new(Mutex::new(false));
    let url = {
        let asked = Arc::clone(&asked);
        serve(move |request| {
            if request.path.ends_with("/next") {
                *asked.lock().unwrap() = true;
                return Reply::Hang;
            }
            Reply::answer(202, "{}")
        })
    };
    let output = command(&url, variables).stderr(Stdio::piped()).output().unwrap();
    assert!(!*asked.lock().unwrap(), "it asked for an invocation");
    Ended { success: output.status.success(), stdout: String::from_utf8(output.stdout).unwrap() }
}

fn api(
    request: &Request,
    events: &Receiver<String>,
    post: &Sender<Outcome>,
    time: &Mutex<Option<Duration>>,
) -> Reply {
    let body = || serde_json::from_slice(&request.body).unwrap_or(json!(null));
    match request.path.rsplit('/').next().unwrap() {
        "next" => match events.recv() {
            Ok(event) => Reply::Answer {
                status: 200,
                headers: vec![
                    ("lambda-runtime-aws-request-id", "request".to_owned()),
                    ("lambda-runtime-deadline-ms", deadline(*time.lock().unwrap())),
                    (
                        "lambda-runtime-invoked-function-arn",
                        format!("arn:aws:lambda:us-east-1:{OWN}:function:guard"),
                    ),
                ],
                body: event,
            },
            Err(_) => Reply::Hang,
        },
        "response" => {
            let _ = post.send(Outcome::Response(body()));
            Reply::answer(202, "{}")
        }
        _ => {
            let _ = post.send(Outcome::Error(body()));
            Reply::answer(202, "{}")
        }
    }
}

fn deadline(time: Option<Duration>) -> String {
    use bedrock_key_guard::clock::{Clock as _, SystemClock};
    time.map_or_else(
        || "4102444800000".to_owned(),
        |time| (SystemClock.now() + time).timestamp_millis().to_string(),
    )
}
