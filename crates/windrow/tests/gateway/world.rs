//! A gateway on the embedded log in a temporary directory, with a view `likes` and a stream `clicks`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use windrow::{
    config::{Config, Dialect, Limits, ListenerConfig, LogConfig, LogKind, Sync},
    dialect::Gateway,
    gateway::Gateways,
    hub::{ChannelKind, ChannelSpec, Hub, Source},
    log::{Log, Outgoing, TopicSpec, Writer, WriterOptions, embedded::EmbeddedLog},
    stats::Stats,
};
use windrow_core::{
    plan::StreamPlan,
    spec::{Format, OnBad, StreamSpec, TimeSpec},
    value::ColumnType,
};

/// Longest wait for anything: generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct World {
    log: Arc<dyn Log>,
    pub(crate) hub: Hub,
    pub(crate) stats: Arc<Stats>,
    address: SocketAddr,
    writer: Box<dyn Writer>,
    _gateways: Gateways,
    _directory: tempfile::TempDir,
}

/// One change of the view: id, window start, count (`None` = the row leaves).
pub(crate) type Change<'a> = (&'a str, i64, Option<i64>);

pub(crate) fn likes(id: &str, start: i64, count: i64) -> Json {
    json!({"id": id, "count": count, "window_start": start, "window_end": start + 60_000, "final": false, "seq": count})
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default(), |_| {}).await
    }

    pub(crate) async fn with(limits: Limits, change: impl FnOnce(&mut Vec<ChannelSpec>)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = EmbeddedLog::open(directory.path(), Sync::Never).unwrap();
        for (name, compact) in [("app.likes", true), ("video_clicks", false)] {
            log.create_topic(&topic(name, compact)).await.unwrap();
        }
        let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
        writer.begin().await.unwrap();
        writer.commit().await.unwrap();
        let mut channels = channels();
        change(&mut channels);
        let config = config(limits, directory.path());
        let stats = Arc::new(Stats::default());
        let hub = Hub::start(log.clone(), channels, &config.limits, stats.clone());
        let gateways = Gateways::bind(&config, &[], &hub, &log, &stats).await.unwrap();
        let address = gateways.addresses()[0].1;
        Self { log, hub, stats, address, writer, _gateways: gateways, _directory: directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a topic later.
    pub(crate) async fn create(&self, name: &str, compact: bool) {
        self.log.create_topic(&topic(name, compact)).await.unwrap();
    }

    /// The state that dialects share.
    pub(crate) fn gateway(&self) -> Gateway {
        let config = config(Limits::default(), self._directory.path());
        let listener = Arc::new(config.listeners["main"].clone());
        Gateway::new(self.hub.clone(), listener, Arc::new(config.limits), self.stats.clone())
    }

    pub(crate) async fn client(&self) -> Client {
        let (socket, _) = connect_async(format!("ws://{}/ws", self.address)).await.unwrap();
        Client { socket }
    }

    /// A client whose socket takes little, so that not reading is soon felt.
    pub(crate) async fn narrow_client(&self) -> Client {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let socket = MaybeTlsStream::Plain(socket.connect(self.address).await.unwrap());
        let url = format!("ws://{}/ws", self.address);
        let (socket, _) = tokio_tungstenite::client_async(url, socket).await.unwrap();
        Client { socket }
    }

    /// Commits changes of the view as the engine would.
    pub(crate) async fn commit(&mut self, changes: &[Change<'_>]) {
        let records = changes.iter().map(|(id, start, count)| {
            let window = format!("{start}/{}", start + 60_000);
            Outgoing {
                topic: "app.likes".into(),
                partition: i32::from(id.as_bytes()[0] % 2),
                key: Some(json!([id, start]).to_string().into()),
                value: count.map(|count| likes(id, *start, count).to_string().into()),
                headers: vec![("window", window.into())],
                timestamp_ms: now_ms(),
            }
        });
        let records = records.collect();
        self.write(records).await;
    }

    /// Writes records of the stream: key, value.
    pub(crate) async fn click(&mut self, clicks: &[(Option<&str>, Option<&str>)]) {
        self.click_to("video_clicks", clicks).await;
    }

    pub(crate) async fn click_to(&mut self, topic: &str, clicks: &[(Option<&str>, Option<&str>)]) {
        let records = clicks.iter().map(|(key, value)| Outgoing {
            topic: topic.into(),
            partition: 0,
            key: key.map(|key| key.to_owned().into()),
            value: value.map(|value| value.to_owned().into()),
            headers: Vec::new(),
            timestamp_ms: 1_700_000_000_000,
        });
        let records = records.collect();
        self.write(records).await;
    }

    async fn write(&mut self, records: Vec<Outgoing>) {
        self.writer.begin().await.unwrap();
        self.writer.send(records).await.unwrap();
        self.writer.commit().await.unwrap();
    }
}

fn topic(name: &str, compact: bool) -> TopicSpec {
    let name = name.into();
    TopicSpec { name, partitions: 2, replication: 1, compact, retention: None, retention_bytes: None }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn channels() -> Vec<ChannelSpec> {
    let likes = ChannelSpec {
        name: "likes".into(),
        kind: ChannelKind::View,
        source: Source::View { topic: "app.likes".into() },
        fingerprint: 1,
        columns: [
            ("id", ColumnType::Text),
            ("count", ColumnType::Bigint),
            ("window_start", ColumnType::Timestamp),
            ("window_end", ColumnType::Timestamp),
            ("final", ColumnType::Boolean),
            ("seq", ColumnType::Bigint),
        ]
        .map(|(name, ty)| (name.into(), Some(ty)))
        .to_vec(),
        key_names: vec!["id".into(), "window_start".into()],
        windowed: true,
        may_drop: false,
    };
    let clicks = ChannelSpec::stream(&stream_plan(&[], 0));
    vec![likes, clicks, ChannelSpec::local("_clients", &["listener"], &[("connected", ColumnType::Bigint)])]
}

pub(crate) fn stream_plan(latest_by: &[&str], keep: usize) -> StreamPlan {
    let spec = StreamSpec {
        name: "clicks".into(),
        topic: "video_clicks".into(),
        format: Format::Json,
        key_format: Format::Text,
        columns: vec![("video".into(), ColumnType::Text)],
        time: TimeSpec::Record,
        lateness_ms: 0,
        max_ahead_ms: 3_600_000,
        idle_ms: None,
        on_bad: OnBad::Skip,
        keyed_by: Vec::new(),
        latest_by: latest_by.iter().map(|name| (*name).into()).collect(),
        keep,
        until_end: false,
    };
    StreamPlan { spec: Arc::new(spec), columns: Vec::new(), time_slot: None, views: Vec::new() }
}

fn config(limits: Limits, directory: &std::path::Path) -> Config {
    let listener = ListenerConfig {
        name: "main".to_owned(),
        bind: "127.0.0.1:0".parse().unwrap(),
        dialects: vec![Dialect::Websocket, Dialect::Sse],
        channels: Some(["likes", "clicks", "_clients"].map(str::to_owned).to_vec()),
        publish: None,
        origins: Vec::new(),
    };
    Config {
        app: "app".to_owned(),
        log: LogConfig {
            kind: LogKind::Embedded { directory: directory.to_owned(), sync: Sync::Never },
            exactly_once: true,
            commit_interval: Duration::from_millis(100),
            instance_id: None,
        },
        streams: BTreeMap::new(),
        views: Vec::new(),
        listeners: [("main".to_owned(), listener)].into(),
        limits,
    }
}

/// A WebSocket client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(crate) async fn say(&mut self, message: Json) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Waits for the next message; a close is its code.
    pub(crate) async fn hear(&mut self) -> Json {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
        match next {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.unwrap();
                json!({"close": u16::from(frame.code), "reason": frame.reason.as_str()})
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn ask(&mut self, message: Json) -> Json {
        self.say(message).await;
        self.hear().await
    }

    /// Hears rows until the table is as wanted; the rows of one commit may come in one message or several.
    pub(crate) async fn hear_until(&mut self, table: &mut Table, want: &Table) -> Json {
        loop {
            let message = self.hear().await;
            table.apply(&message);
            if table == want {
                return message;
            }
        }
    }
}

/// What a client of the view has, by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table(pub(crate) BTreeMap<(String, i64), Json>);

impl Table {
    pub(crate) fn of(rows: &[(&str, i64, i64)]) -> Self {
        let row =
            |(id, start, count): &(&str, i64, i64)| (((*id).to_owned(), *start), likes(id, *start, *count));
        Self(rows.iter().map(row).collect())
    }

    pub(crate) fn apply(&mut self, message: &Json) {
        let key =
            |row: &Json| (row["id"].as_str().unwrap().to_owned(), row["window_start"].as_i64().unwrap());
        if message["reset"] == json!(true) {
            self.0.clear();
        }
        for gone in message["gone"].as_array().into_iter().flatten() {
            assert!(self.0.remove(&key(gone)).is_some(), "{gone} was never told");
        }
        if let Some(end) = message["retired"].as_i64() {
            self.0.retain(|_, row| row["window_end"].as_i64().unwrap() > end);
        }
        for member in ["snapshot", "rows"] {
            for row in message[member].as_array().into_iter().flatten() {
                self.0.insert(key(row), row.clone());
            }
        }
    }
}
