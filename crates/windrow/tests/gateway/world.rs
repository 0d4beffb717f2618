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
    config::{Config, Dialect, Limits, ListenerConfig, LogConfig, LogKind, Originals, SocketioConfig, Sync},
    dialect::Gateway,
    gateway::Gateways,
    hub::{ChannelKind, ChannelSpec, Hub, Source},
    log::{Log, Outgoing, TopicSpec, Writer, WriterOptions, embedded::EmbeddedLog},
    stats::Stats,
};
use windrow_core::{
    plan::StreamPlan,
    spec::{Format, OnBad, StreamSpec, TimeSpec},
    topics::Topics,
    value::ColumnType,
};

/// Longest wait for anything: generous, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct World {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) hub: Hub,
    pub(crate) stats: Arc<Stats>,
    address: SocketAddr,
    writer: Box<dyn Writer>,
    config: Config,
    channels: Vec<ChannelSpec>,
    _gateways: Gateways,
    _directory: tempfile::TempDir,
}

/// One record: partition, key, value.
pub(crate) type Bytewise<'a> = (i32, Option<&'a [u8]>, Option<&'a [u8]>);

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
        Self::on(limits, change, |log| log).await
    }

    /// A gateway on a log that may be wrapped.
    pub(crate) async fn on(
        limits: Limits,
        change: impl FnOnce(&mut Vec<ChannelSpec>),
        wrap: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>,
    ) -> Self {
        Self::of(limits, |_| {}, change, wrap).await
    }

    /// A gateway whose listener is configured by the test.
    pub(crate) async fn listening(limits: Limits, listener: impl FnMut(&mut ListenerConfig)) -> Self {
        Self::of(limits, listener, |_| {}, |log| log).await
    }

    pub(crate) async fn of(
        limits: Limits,
        listener: impl FnMut(&mut ListenerConfig),
        change: impl FnOnce(&mut Vec<ChannelSpec>),
        wrap: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = wrap(EmbeddedLog::open(directory.path(), Sync::Never).unwrap());
        for (name, compact) in [("app.likes", true), ("video_clicks", false)] {
            log.create_topic(&topic(name, compact)).await.unwrap();
        }
        let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
        writer.begin().await.unwrap();
        writer.commit().await.unwrap();
        let mut channels = channels();
        change(&mut channels);
        let mut config = config(limits, directory.path());
        config.listeners.values_mut().for_each(listener);
        let stats = Arc::new(Stats::default());
        let hub = Hub::start(log.clone(), channels.clone(), &config.limits, stats.clone());
        let gateways = Gateways::bind(&config, &[], &hub, &log, &stats).await.unwrap();
        let address = gateways.addresses()[0].1;
        Self {
            log,
            hub,
            stats,
            address,
            writer,
            config,
            channels,
            _gateways: gateways,
            _directory: directory,
        }
    }

    /// Replaces the node by another on the same log, which knows nothing.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// The same, of channels that the test changes.
    pub(crate) async fn restart_with(&mut self, change: impl FnOnce(&mut Vec<ChannelSpec>)) {
        change(&mut self.channels);
        let (config, channels) = (&self.config, self.channels.clone());
        self.hub = Hub::start(self.log.clone(), channels, &config.limits, self.stats.clone());
        self._gateways = Gateways::bind(config, &[], &self.hub, &self.log, &self.stats).await.unwrap();
        self.address = self._gateways.addresses()[0].1;
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

    /// Commits one row of the view as it stands.
    pub(crate) async fn row(&mut self, key: &str, row: &str) {
        self.row_to("app.likes", key, row).await;
    }

    pub(crate) async fn row_to(&mut self, topic: &str, key: &str, row: &str) {
        self.write(vec![Outgoing {
            topic: topic.into(),
            partition: 0,
            key: Some(key.to_owned().into()),
            value: Some(row.to_owned().into()),
            headers: vec![("window", format!("0/{}", 60_000).into())],
            timestamp_ms: now_ms(),
        }])
        .await;
    }

    /// Commits rows of the view at once, as they stand: key, row.
    pub(crate) async fn rows(&mut self, rows: &[(String, String)]) {
        let record = |(key, row): &(String, String)| Outgoing {
            topic: "app.likes".into(),
            partition: 0,
            key: Some(key.clone().into()),
            value: Some(row.clone().into()),
            headers: vec![("window", format!("0/{}", 60_000).into())],
            timestamp_ms: now_ms(),
        };
        let records = rows.iter().map(record).collect();
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

    /// Writes records as bytes: partition, key, value.
    pub(crate) async fn records(&mut self, topic: &str, records: &[Bytewise<'_>]) {
        let records = records.iter().map(|(partition, key, value)| Outgoing {
            topic: topic.into(),
            partition: *partition,
            key: key.map(|key| key.to_vec().into()),
            value: value.map(|value| value.to_vec().into()),
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
        topics: Topics::One("video_clicks".into()),
        format: Format::Json,
        key_format: Format::Text,
        columns: vec![("video".into(), ColumnType::Text)],
        time: TimeSpec::Record,
        lateness_ms: 0,
        max_ahead_ms: 3_600_000,
        idle_ms: None,
        on_bad: OnBad::Skip,
        required: Vec::new(),
        keyed_by: Vec::new(),
        latest_by: latest_by.iter().map(|name| (*name).into()).collect(),
        keep,
        row_filter: None,
        until_end: false,
    };
    StreamPlan { spec: Arc::new(spec), columns: Vec::new(), time_slot: None, views: Vec::new() }
}

fn config(limits: Limits, directory: &std::path::Path) -> Config {
    let listener = ListenerConfig {
        name: "main".to_owned(),
        bind: "127.0.0.1:0".parse().unwrap(),
        dialects: vec![Dialect::Websocket, Dialect::Sse, Dialect::Socketio],
        channels: Some(["likes", "clicks", "_clients"].map(str::to_owned).to_vec()),
        publish: None,
        origins: Vec::new(),
        socketio: SocketioConfig::default(),
        originals: Originals::default(),
    };
    Config {
        console: Default::default(),
        registry: None,
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
