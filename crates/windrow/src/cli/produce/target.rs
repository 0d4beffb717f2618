//! Targets: a server's HTTP, or a log.
//!
//! **Invariant:** a chunk sent again after a lost answer is not counted twice by a server (`Idempotency-Key`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use serde::Deserialize;

use super::ProduceArgs;
use crate::{
    cli::failure::Failure,
    config::{self, Limits, StreamConfig, Variables},
    log::TopicSpec,
    publish::{Publisher, Rejection, Report, Setup},
    stats::Stats,
};

/// Attempts per chunk, with pauses that double from the first: about six seconds in all.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);

/// Longest wait for one answer: the server's own wait for a commit, and some.
const ANSWER_WAIT: Duration = Duration::from_secs(40);

/// Where chunks go.
pub(super) enum Target {
    Server { agent: ureq::Agent, url: String },
    Log { publisher: Publisher, stream: String, key: Option<String> },
}

impl Target {
    pub(super) async fn open(args: &ProduceArgs, is_text: bool) -> Result<Self, Failure> {
        match (&args.url, args.log.is_given()) {
            (Some(_), true) => Err(Failure::usage("--url cannot stand beside --kafka or --directory")),
            (Some(url), false) => server(url, args),
            (None, true) => log(args, is_text).await,
            (None, false) => Err(Failure::usage(
                "say where to: --url URL --stream NAME, --kafka HOST:PORT --topic NAME or --directory FOLDER --topic NAME",
            )),
        }
    }

    /// Sends a chunk and waits for its commit.
    pub(super) async fn send(&self, body: Bytes) -> Result<Report, Failure> {
        match self {
            Target::Log { publisher, stream, key } => {
                Ok(publisher.publish(stream, key.as_deref(), None, body).await?)
            }
            Target::Server { agent, url } => {
                let (agent, url) = (agent.clone(), url.clone());
                let sent = tokio::task::spawn_blocking(move || send(&agent, &url, &body));
                Ok(sent.await.context("the sender failed")??)
            }
        }
    }
}

fn server(url: &str, args: &ProduceArgs) -> Result<Target, Failure> {
    if !url.starts_with("http://") {
        return Err(Failure::usage("--url must begin with http://"));
    }
    let Some(stream) = args.stream() else { return Err(Failure::usage("--url needs --stream NAME")) };
    let mut url = format!("{}/api/streams/{}", url.trim_end_matches('/'), escaped(stream));
    if let Some(key) = &args.key {
        url.push_str(&format!("?key={}", escaped(key)));
    }
    let config =
        ureq::Agent::config_builder().timeout_global(Some(ANSWER_WAIT)).http_status_as_error(false).build();
    Ok(Target::Server { agent: config.into(), url })
}

/// A log target is a stream of its own: the same splitting, checks and partitions as behind HTTP.
async fn log(args: &ProduceArgs, is_text: bool) -> Result<Target, Failure> {
    let Some(topic) = args.topic() else {
        return Err(Failure::usage("--kafka and --directory need --topic NAME"));
    };
    let stream = stream(topic, is_text, args.partitions())?;
    let log = args.log.open().await?;
    if log.topic(topic).await?.is_none() {
        let spec = TopicSpec {
            name: topic.into(),
            partitions: args.partitions(),
            replication: -1,
            compact: false,
            retention: if args.log.is_embedded() { None } else { stream.retention },
            retention_bytes: None,
        };
        log.create_topic(&spec).await?;
    }
    let name = stream.spec.name.to_string();
    let streams = BTreeMap::from([(name.clone(), stream)]);
    let publisher = Publisher::start(Setup {
        log,
        // Nothing is sent with a key: the ledger is never made.
        app: "produce".into(),
        exactly_once: false,
        streams,
        may_create: true,
        limits: Arc::new(Limits::default()),
        stats: Arc::new(Stats::default()),
    });
    Ok(Target::Log { publisher, stream: name, key: args.key.clone() })
}

fn stream(topic: &str, is_text: bool, partitions: i32) -> Result<StreamConfig, Failure> {
    let format = if is_text { "text" } else { "json" };
    let variables: Variables = [("TOPIC", topic)].into_iter().collect();
    let text = format!(
        "[streams.input]\ntopic = \"${{TOPIC}}\"\nformat = \"{format}\"\npartitions = {partitions}\n"
    );
    let config = config::parse(&text, "--topic", &variables)
        .map_err(|errors| Failure::usage(format!("--topic: {}", errors[0].message)))?;
    config.streams.into_values().next().context("no stream").map_err(Failure::Failed)
}

/// The server's answer, or its refusal.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    accepted: usize,
    #[serde(default)]
    rejected: Vec<Refused>,
    #[serde(default)]
    rejected_more: usize,
    error: Option<Told>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    line: usize,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Told {
    message: String,
    hint: Option<String>,
}

fn send(agent: &ureq::Agent, url: &str, body: &[u8]) -> anyhow::Result<Report> {
    let once = format!("{:x}-{:x}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
    let mut pause = PAUSE;
    for attempt in 1.. {
        let trouble = match send_once(agent, url, &once, body) {
            Ok(Ok(report)) => return Ok(report),
            Ok(Err(trouble)) => trouble,
            Err(refused) => return Err(refused),
        };
        if attempt == ATTEMPTS {
            return Err(trouble);
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
    bail!("no attempt was made")
}

/// One attempt: a report, a trouble that may pass, or a refusal.
fn send_once(
    agent: &ureq::Agent,
    url: &str,
    once: &str,
    body: &[u8],
) -> anyhow::Result<Result<Report, anyhow::Error>> {
    let sent = agent
        .post(url)
        .header("content-type", "application/x-ndjson")
        .header("idempotency-key", once)
        .send(body);
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => return Ok(Err(anyhow!("{url}: {error}"))),
    };
    let status = response.status().as_u16();
    let text = match response.body_mut().read_to_string() {
        Ok(text) => text,
        Err(error) => return Ok(Err(anyhow!("{url}: {error}"))),
    };
    let Ok(answer) = serde_json::from_str::<Answer>(&text) else {
        bail!("{url} answered {status}, and not as a Windrow does");
    };
    if let Some(told) = answer.error {
        let hint = told.hint.map(|h| format!(" ({h})")).unwrap_or_default();
        let error = anyhow!("{url} answered {status}: {}{hint}", told.message);
        return if matches!(status, 429 | 503) { Ok(Err(error)) } else { Err(error) };
    }
    let rejected =
        answer.rejected.into_iter().map(|r| Rejection { line: r.line, reason: r.reason }).collect();
    Ok(Ok(Report { accepted: answer.accepted, rejected, rejected_more: answer.rejected_more }))
}

/// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
