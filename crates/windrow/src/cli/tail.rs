//! `windrow tail`: a channel in the terminal, through the public WebSocket protocol.
//!
//! **Out** one JSON object a line on standard output: rows as they come; `{"gone":…}`, `{"retired":…}`, `{"dropped":…}` and
//! `{"reset":true}` when the protocol says so.
//! **Invariant:** a lost connection is resumed from the last position; nothing is printed twice and nothing is left out, or
//! `{"reset":true}` says that a snapshot follows.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use super::failure::Failure;

/// First and longest pause before connecting again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Close codes from here to 4999 mean: do not come back.
const DO_NOT_COME_BACK: std::ops::Range<u16> = 4500..5000;

const EXAMPLES: &str = "\
Examples:
  windrow tail likes_1m
  windrow tail likes_1m --where \"id = 'a' AND final\" --snapshot
  windrow tail _stats --url http://127.0.0.1:9000 --count 10 | jq .

Exit codes: 0 stopped or --count reached, 1 refused or gone, 2 asked wrongly.";

/// Arguments of `windrow tail`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TailArgs {
    /// A view, a stream, _stats or _clients
    channel: String,
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Only rows for which this holds
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// Begin with the rows that are there
    #[arg(long)]
    snapshot: bool,
    /// Stop after this many rows
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

pub(super) async fn run(args: TailArgs) -> Result<(), Failure> {
    let url = socket_url(&args.url)?;
    let mut tail = Tail {
        url,
        from: if args.snapshot { "snapshot" } else { "now" }.to_owned(),
        left: args.count,
        channel: args.channel,
        filter: args.filter,
        held: Vec::new(),
    };
    tokio::select! {
        ended = tail.run() => ended.map_err(Failure::Failed),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Accepts the page's address as well as the socket's.
fn socket_url(url: &str) -> Result<String, Failure> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let scheme = match scheme {
        "http" | "ws" => "ws",
        "https" | "wss" => {
            return Err(Failure::usage("--url: TLS is not available yet; use http:// or ws://"));
        }
        _ => return Err(Failure::usage("--url must begin with http:// or ws://")),
    };
    let rest = rest.trim_end_matches('/');
    let path = if rest.contains('/') { "" } else { "/ws" };
    Ok(format!("{scheme}://{rest}{path}"))
}

struct Tail {
    url: String,
    channel: String,
    filter: Option<String>,
    from: String,
    left: Option<u64>,
    /// Rows of a snapshot whose last piece has not come: they are printed with their position.
    held: Vec<u8>,
}

/// What ended one connection.
enum Ended {
    /// As many rows as were wanted.
    Enough,
    /// Come back, after this pause if one was told.
    Again(Option<Duration>, anyhow::Error),
    /// Do not.
    Never(anyhow::Error),
}

impl Tail {
    async fn run(&mut self) -> anyhow::Result<()> {
        let (mut pause, longest) = PAUSES;
        let mut was_connected = false;
        loop {
            let before = self.from.clone();
            let (told, why) = match self.connection(&mut was_connected).await {
                Ended::Enough => return Ok(()),
                Ended::Never(error) => return Err(error),
                // A server that was never there is a wrong address rather than a lost line.
                Ended::Again(_, error) if !was_connected => return Err(error),
                Ended::Again(told, error) => (told, error),
            };
            if self.from != before {
                pause = PAUSES.0;
            }
            eprintln!("{why:#}; connecting again");
            tokio::time::sleep(told.unwrap_or(pause)).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn connection(&mut self, was_connected: &mut bool) -> Ended {
        let connected =
            connect_async(&self.url).await.map_err(|e| anyhow!("cannot connect to {}: {e}", self.url));
        let mut socket = match connected {
            Ok((socket, _)) => socket,
            Err(error) => return Ended::Again(None, error),
        };
        *was_connected = true;
        let mut ask = json!({"subscribe": self.channel, "as": 1, "from": self.from});
        if let Some(filter) = &self.filter {
            ask["where"] = json!(filter);
        }
        if let Err(error) = socket.send(Message::text(ask.to_string())).await {
            return Ended::Again(None, error.into());
        }
        self.held.clear();
        while let Some(message) = socket.next().await {
            let text = match message {
                Ok(Message::Text(text)) => text,
                Ok(Message::Close(frame)) => {
                    return closed(frame.map(|f| (u16::from(f.code), f.reason.to_string())));
                }
                Ok(_) => continue,
                Err(error) => return Ended::Again(None, anyhow!(error).context("the connection is lost")),
            };
            match self.frame(&text) {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(error) => return Ended::Never(error),
            }
        }
        Ended::Again(None, anyhow!("the connection has ended"))
    }

    /// Prints one frame; tells when it ends the connection.
    fn frame(&mut self, text: &str) -> anyhow::Result<Option<Ended>> {
        let frame: Frame<'_> = serde_json::from_str(text).with_context(|| format!("not a frame: {text}"))?;
        if let Some(error) = frame.error {
            let hint = error.hint.map(|h| format!(" ({h})")).unwrap_or_default();
            bail!("{}: {}{hint}", error.code, error.message);
        }
        if let Some(bye) = frame.bye {
            let pause = bye.reconnect_after_ms.map(Duration::from_millis);
            return Ok(Some(Ended::Again(pause, anyhow!("the server says goodbye: {}", bye.code))));
        }
        let mut out = std::mem::take(&mut self.held);
        let restarted = self.from != "snapshot" && self.from != "now" && frame.snapshot.is_some();
        if frame.reset || (restarted && frame.subscribed.is_some()) {
            out.extend_from_slice(b"{\"reset\":true}\n");
        }
        let rows = frame.snapshot.iter().chain(&frame.rows).flatten();
        let enough = self.print_rows(rows, &mut out);
        for key in frame.gone.iter().flatten() {
            out.extend_from_slice(format!("{{\"gone\":{key}}}\n").as_bytes());
        }
        for (name, number) in [("retired", frame.retired), ("dropped", frame.dropped)] {
            if let Some(number) = number {
                out.extend_from_slice(format!("{{\"{name}\":{number}}}\n").as_bytes());
            }
        }
        if frame.more && !enough {
            self.held = out;
            return Ok(None);
        }
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(&out).and_then(|()| stdout.flush()) {
            // `tail … | head` closes the pipe: that is an end, not a failure.
            return if error.kind() == io::ErrorKind::BrokenPipe {
                Ok(Some(Ended::Enough))
            } else {
                Err(error.into())
            };
        }
        if let Some(at) = frame.at {
            self.from = at;
        }
        Ok(enough.then_some(Ended::Enough))
    }

    /// Tells whether that were enough.
    fn print_rows<'r>(&mut self, rows: impl Iterator<Item = &'r &'r RawValue>, out: &mut Vec<u8>) -> bool {
        for row in rows {
            if self.left == Some(0) {
                return true;
            }
            out.extend_from_slice(row.get().as_bytes());
            out.push(b'\n');
            self.left = self.left.map(|n| n - 1);
        }
        self.left == Some(0)
    }
}

fn closed(frame: Option<(u16, String)>) -> Ended {
    match frame {
        Some((code, reason)) if DO_NOT_COME_BACK.contains(&code) => {
            Ended::Never(anyhow!("the server closed the connection: {code} {reason}"))
        }
        Some((code, reason)) => {
            Ended::Again(None, anyhow!("the server closed the connection: {code} {reason}"))
        }
        None => Ended::Again(None, anyhow!("the server closed the connection")),
    }
}

/// One frame of protocol v1, as far as it is printed.
#[derive(Debug, Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    subscribed: Option<&'a RawValue>,
    #[serde(borrow)]
    snapshot: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    rows: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    gone: Option<Vec<&'a RawValue>>,
    retired: Option<i64>,
    dropped: Option<i64>,
    #[serde(default)]
    reset: bool,
    #[serde(default)]
    more: bool,
    at: Option<String>,
    error: Option<Told>,
    bye: Option<Bye>,
}

#[derive(Debug, Deserialize)]
struct Told {
    code: String,
    message: String,
    hint: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Bye {
    code: String,
    reconnect_after_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_pages_and_sockets_are_taken() {
        for (url, want) in [
            ("http://127.0.0.1:8080", Some("ws://127.0.0.1:8080/ws")),
            ("http://h:1/", Some("ws://h:1/ws")),
            ("ws://h/ws", Some("ws://h/ws")),
            ("h:8080", Some("ws://h:8080/ws")),
            ("https://h", None),
            ("ftp://h", None),
        ] {
            assert_eq!(socket_url(url).ok().as_deref(), want, "{url}");
        }
    }
}
