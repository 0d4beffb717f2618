//! Clients as users write them: plain HTTP, a WebSocket, an event stream. Every wait has a deadline.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::process::DEADLINE;

/// Asks until the connection is taken and the answer pleases; returns status and body.
pub(crate) async fn get_until(port: u16, path: &str, pleases: impl Fn(u16, &str) -> bool) -> (u16, String) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = tokio::task::spawn_blocking({
            let path = path.to_owned();
            move || get(port, &path)
        });
        let last = match answer.await.unwrap() {
            Ok((status, body)) if pleases(status, &body) => return (status, body),
            Ok((status, body)) => format!("{status} {body}"),
            Err(error) => error.to_string(),
        };
        assert!(Instant::now() < deadline, "GET {path} never pleased: {last}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text)?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// Publishes one record over HTTP, which must be accepted.
pub(crate) async fn publish(port: u16, stream: &str, record: String) {
    let head = format!("POST /api/streams/{stream}");
    let send = move || answer(ask(port, &head, &record, record.len()));
    let answer = tokio::task::spawn_blocking(send).await.unwrap();
    assert!(answer.contains("\"accepted\":1"), "{answer}");
}

/// Sends a request, method and path before its body, of which it promises so many bytes.
pub(crate) fn ask(port: u16, head: &str, body: &str, promised: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!("{head} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close");
    write!(stream, "{head}\r\ncontent-length: {promised}\r\n\r\n{body}").unwrap();
    stream
}

/// Reads the whole answer.
pub(crate) fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer
}

/// What a client of a view knows: its rows by key, as the protocol told them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    keys: Vec<String>,
    pub(crate) rows: BTreeMap<String, Value>,
}

impl Table {
    fn key(&self, row: &Value) -> String {
        self.keys.iter().map(|name| row[name].to_string()).collect::<Vec<_>>().join(",")
    }

    /// Applies one frame; `seq` of a row must never go back.
    pub(crate) fn apply(&mut self, frame: &Value) {
        if let Some(keys) = frame["key"].as_array() {
            self.keys = keys.iter().map(|k| k.as_str().unwrap().to_owned()).collect();
        }
        if frame["reset"] == json!(true) {
            self.rows.clear();
        }
        for list in ["snapshot", "rows"] {
            for row in frame[list].as_array().into_iter().flatten() {
                let before = self.rows.insert(self.key(row), row.clone());
                let before = before.as_ref().and_then(|b| b["seq"].as_u64()).unwrap_or(0);
                assert!(row["seq"].as_u64().unwrap_or(0) >= before, "seq went back: {row}");
            }
        }
        for row in frame["gone"].as_array().into_iter().flatten() {
            self.rows.remove(&self.key(row));
        }
        if let Some(retired) = frame["retired"].as_i64() {
            self.rows.retain(|_, row| row["window_end"].as_i64().is_none_or(|end| end > retired));
        }
    }
}

/// A WebSocket client of one view.
pub(crate) struct Socket {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    pub(crate) table: Table,
    pub(crate) snapshots: usize,
}

impl Socket {
    pub(crate) async fn subscribe(port: u16, channel: &str) -> Self {
        let (mut socket, _) = connect_async(format!("ws://127.0.0.1:{port}/ws")).await.unwrap();
        let text = json!({"subscribe": channel, "as": 1}).to_string();
        socket.send(Message::text(text)).await.unwrap();
        Self { socket, table: Table::default(), snapshots: 0 }
    }

    /// Reads frames until the table pleases.
    pub(crate) async fn until(&mut self, what: &str, pleases: impl Fn(&Table) -> bool) {
        let read = async {
            while !(self.snapshots > 0 && pleases(&self.table)) {
                let Message::Text(text) = self.socket.next().await.expect("an open socket").unwrap() else {
                    continue;
                };
                let frame: Value = serde_json::from_str(&text).unwrap();
                assert!(frame.get("error").is_none(), "{frame}");
                self.snapshots += usize::from(frame.get("snapshot").is_some());
                self.table.apply(&frame);
            }
        };
        if tokio::time::timeout(DEADLINE, read).await.is_err() {
            panic!("{what} never came; {} rows", self.table.rows.len());
        }
    }
}

/// An event-stream client of one view: reads until the table pleases and returns it.
pub(crate) async fn event_stream(
    port: u16,
    channel: &str,
    pleases: impl Fn(&Table) -> bool + Send + 'static,
) -> Table {
    let path = format!("/sse/{channel}");
    let read = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // HTTP/1.0 has no chunks: the body is the events and nothing else.
        write!(stream, "GET {path} HTTP/1.0\r\nhost: 127.0.0.1:{port}\r\naccept: text/event-stream\r\n\r\n")
            .unwrap();
        let mut table = Table::default();
        for line in BufReader::new(stream).lines() {
            if let Some(data) = line.expect("events until the table pleases").strip_prefix("data:") {
                table.apply(&serde_json::from_str(data.trim()).unwrap_or(Value::Null));
            }
            if pleases(&table) {
                return table;
            }
        }
        panic!("the event stream ended early with {} rows", table.rows.len());
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}
