//! Clients that say exactly what a test wants, in both versions and on both transports.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use tokio_util::sync::{CancellationToken, DropGuard};
use windrow::{
    config::{Dialect, Limits, ListenerConfig, Originals, SocketioConfig, Sync},
    dialect::{Gateway, socketio},
    gateway,
    hub::Hub,
    log::embedded::EmbeddedLog,
    stats::Stats,
};

use crate::world::PATIENCE;

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The server of `windrow debug socketio-echo`.
pub(super) struct Echo {
    pub(super) address: SocketAddr,
    pub(super) stats: Arc<Stats>,
    _stop: DropGuard,
    _directory: tempfile::TempDir,
}

impl Echo {
    pub(super) async fn start() -> Self {
        Self::with(Limits::default(), |_| {}).await
    }

    pub(super) async fn with(limits: Limits, change: impl FnOnce(&mut SocketioConfig)) -> Self {
        let mut config =
            SocketioConfig { connect_timeout: Duration::from_secs(1), ..SocketioConfig::default() };
        change(&mut config);
        let directory = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(directory.path(), Sync::Never).unwrap();
        let stats = Arc::new(Stats::default());
        let hub = Hub::start(log, Vec::new(), &limits, stats.clone());
        let listener = ListenerConfig {
            name: "echo".to_owned(),
            bind: "127.0.0.1:0".parse().unwrap(),
            dialects: vec![Dialect::Socketio],
            channels: Some(Vec::new()),
            publish: None,
            origins: Vec::new(),
            socketio: config.clone(),
            originals: Originals::default(),
        };
        let gateway = Gateway::new(hub, Arc::new(listener), Arc::new(limits), stats.clone());
        let (router, stop) = (socketio::echo_routes(&gateway, &config), CancellationToken::new());
        let (address, served) = gateway::bind_alone(gateway, router, stop.clone()).await.unwrap();
        tokio::spawn(served);
        Self { address, stats, _stop: stop.drop_guard(), _directory: directory }
    }

    /// Waits until so many sessions that poll are open.
    pub(super) async fn sessions(&self, want: i64) {
        let sessions = self.stats.gauge(("listener", "echo".into(), None), "sessions");
        eventually(|| sessions.get() == want).await;
    }
}

/// Waits for a condition.
pub(super) async fn eventually(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(ms(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends bytes as they are and reads all that comes.
pub(super) async fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The server may have heard enough before the end.
    let _ = socket.write_all(request).await;
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..split].to_vec()).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[split + 4..].to_vec() }
}

/// One request; `headers` each with their line end.
pub(super) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat()).await
}

/// What the version writes around a packet in a body.
pub(super) fn payload(version: u8, packets: &[&str]) -> String {
    match version {
        3 => packets.iter().map(|p| format!("{}:{p}", p.encode_utf16().count())).collect(),
        _ => packets.join("\u{1e}"),
    }
}

/// Takes a body apart; the test's own, in the simplest way.
pub(super) fn packets(version: u8, body: &str) -> Vec<String> {
    if version == 4 {
        return body.split('\u{1e}').map(str::to_owned).collect();
    }
    let (mut units, mut packets): (Vec<u16>, _) = (body.encode_utf16().collect(), Vec::new());
    while !units.is_empty() {
        let colon = units.iter().position(|u| *u == u16::from(b':')).unwrap();
        let len: usize = String::from_utf16(&units[..colon]).unwrap().parse().unwrap();
        packets.push(String::from_utf16(&units[colon + 1..colon + 1 + len]).unwrap());
        units.drain(..colon + 1 + len);
    }
    packets
}

/// A client that polls.
#[derive(Debug, Clone)]
pub(super) struct Poller {
    pub(super) address: SocketAddr,
    pub(super) version: u8,
    pub(super) sid: String,
    path: String,
}

impl Poller {
    pub(super) async fn open(address: SocketAddr, version: u8) -> Self {
        Self::open_at(address, version, "/socket.io/").await
    }

    pub(super) async fn open_at(address: SocketAddr, version: u8, path: &str) -> Self {
        let path = format!("{path}?EIO={version}&transport=polling");
        let answer = request(address, "GET", &path, "", b"").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let open = packets(version, answer.text()).remove(0);
        let open: Json = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        let sid = open["sid"].as_str().unwrap().to_owned();
        Self { address, version, path: format!("{path}&sid={sid}"), sid }
    }

    pub(super) async fn get(&self) -> Answer {
        request(self.address, "GET", &self.path, "", b"").await
    }

    pub(super) async fn get_with(&self, query: &str) -> Answer {
        request(self.address, "GET", &format!("{}{query}", self.path), "", b"").await
    }

    pub(super) async fn post_bytes(&self, body: &[u8]) -> Answer {
        request(self.address, "POST", &self.path, "", body).await
    }

    pub(super) async fn post(&self, said: &[&str]) -> Answer {
        self.post_bytes(payload(self.version, said).as_bytes()).await
    }

    pub(super) async fn say(&self, said: &[&str]) {
        let answer = self.post(said).await;
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{said:?}");
    }

    /// The packets of one poll.
    pub(super) async fn hear(&self) -> Vec<String> {
        let answer = self.get().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        packets(self.version, answer.text())
    }
}

/// A client on a WebSocket.
pub(super) struct Socket {
    pub(super) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Longer where a test lets time jump.
    pub(super) patience: Duration,
}

impl Socket {
    pub(super) async fn connect(address: SocketAddr, path: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}{path}")).await.unwrap();
        Self { socket, patience: PATIENCE }
    }

    /// A session of its own, with the open packet heard.
    pub(super) async fn open(address: SocketAddr, version: u8) -> Self {
        let mut socket =
            Self::connect(address, &format!("/socket.io/?EIO={version}&transport=websocket")).await;
        let open = socket.hear().await;
        assert!(open.starts_with("0{\"sid\":\""), "{open}");
        socket
    }

    /// A session in namespace `/`.
    pub(super) async fn join(address: SocketAddr, version: u8) -> Self {
        let mut socket = Self::open(address, version).await;
        if version == 4 {
            socket.say("40").await;
        }
        assert!(socket.hear().await.starts_with("40"));
        socket
    }

    /// The socket of a session that polls.
    pub(super) async fn beside(poller: &Poller) -> Self {
        let path = poller.path.replace("transport=polling", "transport=websocket");
        Self::connect(poller.address, &path).await
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(super) async fn say_bytes(&mut self, bytes: &[u8]) {
        self.socket.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    /// The next message but pings; bytes as `bytes [1, 2]`, the end as `close 4500`.
    pub(super) async fn hear(&mut self) -> String {
        loop {
            let next =
                tokio::time::timeout(self.patience, self.socket.next()).await.expect("a message in time");
            match next {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.say("3").await,
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Binary(bytes))) => return format!("bytes {:?}", &bytes[..]),
                Some(Ok(Message::Close(frame))) => {
                    return format!("close {}", frame.map_or(0, |f| u16::from(f.code)));
                }
                Some(Ok(_)) => {}
                None | Some(Err(_)) => return "close 0".to_owned(),
            }
        }
    }

    /// Lets time jump to the next message, while nothing else goes on.
    pub(super) async fn hear_late(&mut self) -> String {
        self.patience = Duration::from_secs(3_600);
        tokio::time::pause();
        let heard = self.hear().await;
        tokio::time::resume();
        self.patience = PATIENCE;
        heard
    }

    /// Waits for the end, whatever comes before it.
    pub(super) async fn end(&mut self) -> String {
        loop {
            let heard = self.hear().await;
            if heard.starts_with("close ") {
                return heard;
            }
        }
    }
}

/// Takes an event or an ack apart: `42["likes",{…}]` is `("2", ["likes",{…}])`.
pub(super) fn said(packet: &str) -> (String, Json) {
    let packet = packet.strip_prefix('4').unwrap_or_else(|| panic!("a message: {packet}"));
    let at = packet.find('[').unwrap_or(packet.len());
    (packet[..at].to_owned(), serde_json::from_str(&packet[at..]).unwrap_or(json!(null)))
}
