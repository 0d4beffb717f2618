//! Two thousand reconnects at random moments, over WebSocket and server-sent events, while two gateways are killed, drained and
//! started again under load. Streams: each client's sequence is the topic's. Views: `seq` never goes back and the last states are
//! the topic's. Every position that is not taken up has its reason, and the reason holds.
//!
//! The seed is printed; `WINDROW_TEST_SEED=… cargo test -p windrow --test e2e reconnects` makes the same choices again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_tungstenite::{connect_async, tungstenite::Message};
use windrow::log::{From, Log, Outgoing, ReaderOptions, TopicSpec, Tp, WriterOptions, kafka::KafkaLog};

use windrow_core::position::Position;

use crate::process::{DEADLINE, Windrow, free_port, given};

const RECONNECTS: usize = 2_000;
const CLIENTS: usize = 48;
const VIDEOS: u64 = 40;
const PARTITIONS: i32 = 2;
/// Records a commit, and time between two.
const LOAD: (u64, Duration) = (40, Duration::from_millis(100));

/// A small generator: the same seed, the same choices.
struct Dice(u64);

impl Dice {
    /// SplitMix64.
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn seed() -> u64 {
    let given = std::env::var("WINDROW_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64 % 1_000_000
    })
}

fn config(app: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let text = format!(
        r#"
app = "{app}"
[log]
kind = "kafka"
bootstrap_servers = "${{KAFKA}}"
[streams.clicks]
topic = "{app}.clicks"
format = "json"
keyed_by = ["video"]
columns = {{ n = "bigint" }}
[views.likes]
sql = "SELECT video, count(*) AS likes FROM clicks GROUP BY video"
[listeners.main]
bind = "127.0.0.1:${{PORT}}"
channels = ["likes", "clicks"]
"#
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

/// What all tasks share.
struct Run {
    seed: u64,
    ports: [u16; 2],
    reconnects: AtomicUsize,
    lapses: Mutex<BTreeMap<String, usize>>,
}

/// What a client looks at.
#[derive(Debug, Clone, Copy)]
struct Look {
    is_sse: bool,
    is_view: bool,
    filter: Option<&'static str>,
}

const FILTERS: [(bool, Option<&str>); 6] = [
    (false, None),
    (false, Some("video = 'v3'")),
    (false, Some("n % 2 = 0")),
    (true, None),
    (true, Some("video = 'v3'")),
    (true, Some("likes % 2 = 0")),
];

impl Look {
    fn of(number: usize) -> Self {
        let (is_view, filter) = FILTERS[number / 2 % FILTERS.len()];
        Self { is_sse: number.is_multiple_of(2), is_view, filter }
    }

    fn channel(self) -> &'static str {
        if self.is_view { "likes" } else { "clicks" }
    }

    fn wants(self, row: &Value) -> bool {
        match self.filter {
            None => true,
            Some("video = 'v3'") => row["video"] == "v3",
            Some("n % 2 = 0") => row["n"].as_u64().unwrap().is_multiple_of(2),
            Some(_) => row["likes"].as_u64().unwrap().is_multiple_of(2),
        }
    }
}

/// One client as it would be written in a browser, and what it must never see.
struct Client {
    look: Look,
    at: Option<String>,
    /// The position that its last visit began with.
    returned_with: Option<Position>,
    /// Streams: what was heard of each partition.
    heard: BTreeMap<i64, Vec<i64>>,
    /// Streams: where the first position stood.
    began: Option<String>,
    /// Views: the rows.
    table: BTreeMap<String, Value>,
    /// Views: the highest `seq` ever seen of each row.
    seqs: BTreeMap<String, u64>,
}

impl Client {
    fn take(&mut self, frame: &Value, run: &Run) {
        let about = || format!("seed {}, {:?}: {frame}", run.seed, self.look);
        if let Some(reason) = frame["reason"].as_str() {
            assert!(self.look.is_view, "a stream's log was all there: {}", about());
            assert_eq!(reason, "history", "nothing else happened to the topic: {}", about());
            *run.lapses.lock().unwrap().entry(format!("{:?}", self.look.filter)).or_default() += 1;
        } else if frame["recovered"] == json!(false) || frame["reset"] == json!(true) {
            assert!(self.at.is_none(), "a position that is not taken up has a reason: {}", about());
        }
        if frame.get("snapshot").is_some()
            && (frame.get("subscribed").is_some() || frame["reset"] == json!(true))
        {
            self.table.clear();
            self.at = None;
        }
        for row in ["snapshot", "rows"].iter().flat_map(|list| frame[list].as_array().into_iter().flatten()) {
            if self.look.is_view {
                let key = row["video"].to_string();
                let (seq, seen) = (row["seq"].as_u64().unwrap(), self.seqs.entry(key.clone()).or_default());
                assert!(seq >= *seen, "seq went back from {seen}: {}", about());
                *seen = seq;
                self.table.insert(key, row.clone());
            } else {
                let heard = self.heard.entry(row["_partition"].as_i64().unwrap()).or_default();
                let offset = row["_offset"].as_i64().unwrap();
                assert!(heard.last().is_none_or(|last| *last < offset), "out of order or twice: {}", about());
                heard.push(offset);
            }
        }
        for row in frame["gone"].as_array().into_iter().flatten() {
            let gone = self.table.remove(&row["video"].to_string());
            let is_begun = self.returned_with.as_ref().is_some_and(|position| position.is_begun);
            assert!(gone.is_some() || is_begun, "named a row that was never shown: {}", about());
        }
    }

    fn stand(&mut self, at: &str) {
        self.began.get_or_insert_with(|| at.to_owned());
        self.at = Some(at.to_owned());
    }

    /// Comes back and hears until `until`; an error is a gateway that is away.
    async fn visit(&mut self, run: &Run, port: u16, until: Instant) -> Result<(), String> {
        self.returned_with = self.at.as_deref().map(|at| Position::decode(at).unwrap());
        let visit = async {
            if self.look.is_sse { self.events(run, port).await } else { self.socket(run, port).await }
        };
        tokio::time::timeout_at(until.into(), visit).await.unwrap_or(Ok(()))
    }

    async fn socket(&mut self, run: &Run, port: u16) -> Result<(), String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let (mut socket, _) =
            connect_async(format!("ws://127.0.0.1:{port}/ws")).await.map_err(|e| text(&e))?;
        let asked =
            json!({"subscribe": self.look.channel(), "as": 1, "where": self.look.filter, "from": self.at});
        socket.send(Message::text(asked.to_string())).await.map_err(|e| text(&e))?;
        while let Some(message) = socket.next().await {
            let Message::Text(message) = message.map_err(|e| text(&e))? else { continue };
            let frame: Value = serde_json::from_str(&message).unwrap();
            if let Some(error) = frame.get("error") {
                assert!(["not_ready", "draining"].contains(&error["code"].as_str().unwrap()), "{frame}");
                return Err(error.to_string());
            }
            if frame.get("subscribed").is_some() && self.at.is_some() {
                run.reconnects.fetch_add(1, Ordering::Relaxed);
            }
            self.take(&frame, run);
            if let Some(at) = frame["at"].as_str() {
                self.stand(at);
            }
        }
        Err("the end".to_owned())
    }

    async fn events(&mut self, run: &Run, port: u16) -> Result<(), String> {
        let text = |e: std::io::Error| e.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(text)?;
        let filter = self.look.filter.map_or(String::new(), |filter| {
            format!("?where={}", filter.replace('%', "%25").replace(' ', "%20").replace('\'', "%27"))
        });
        let id = self.at.as_ref().map_or(String::new(), |at| format!("last-event-id: {at}\r\n"));
        let path = format!("/sse/{}{filter}", self.look.channel());
        // HTTP/1.0 has no chunks: the body is the events and nothing else.
        let request = format!("GET {path} HTTP/1.0\r\nhost: 127.0.0.1:{port}\r\n{id}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(text)?;
        let mut lines = BufReader::new(stream).lines();
        let status = lines.next_line().await.map_err(text)?.unwrap_or_default();
        if !status.contains(" 200 ") {
            assert!(status.is_empty() || status.contains(" 503 "), "{status}, {path}");
            return Err(status);
        }
        if self.at.is_some() {
            run.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        let (mut id, mut data) = (None, None);
        while let Some(line) = lines.next_line().await.map_err(text)? {
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.to_owned());
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str::<Value>(text).unwrap());
            } else if line.is_empty() {
                if let Some(frame) = data.take().filter(|frame| frame.get("reconnect_after_ms").is_none()) {
                    assert!(frame.get("error").is_none(), "{frame}");
                    self.take(&frame, run);
                }
                if let Some(at) = id.take() {
                    self.stand(&at);
                }
            }
        }
        Err("the end".to_owned())
    }

    /// Tells whether the client has what the topic has; what is wrong otherwise.
    fn check(&self, truth: &Truth) -> Result<(), String> {
        if self.look.is_view {
            let want = truth.likes.iter().filter(|(_, row)| self.look.wants(row));
            let want: BTreeMap<_, _> = want.map(|(key, row)| (key.clone(), row.clone())).collect();
            return if self.table == want {
                Ok(())
            } else {
                Err(format!("has {:?}, not {want:?}", self.table))
            };
        }
        let began = Position::decode(self.began.as_ref().unwrap()).unwrap();
        for (partition, rows) in &truth.clicks {
            let place = began.topics[0].offsets.iter().find(|(p, _)| i64::from(*p) == *partition);
            let from = place.map_or(0, |(_, offset)| *offset);
            let want = rows.iter().filter(|(offset, row)| *offset >= from && self.look.wants(row));
            let want: Vec<i64> = want.map(|(offset, _)| *offset).collect();
            let heard = self.heard.get(partition).cloned().unwrap_or_default();
            if heard != want {
                let first = heard.iter().zip(&want).find(|(a, b)| a != b);
                return Err(format!(
                    "heard {} of {} in partition {partition}, first difference {first:?}",
                    heard.len(),
                    want.len()
                ));
            }
        }
        Ok(())
    }
}

/// What the topics hold.
struct Truth {
    clicks: BTreeMap<i64, Vec<(i64, Value)>>,
    likes: BTreeMap<String, Value>,
}

impl Truth {
    async fn read(log: &Arc<dyn Log>, app: &str) -> Self {
        let clicks = read(log, &format!("{app}.clicks")).await;
        let likes = read(log, &format!("{app}.likes")).await;
        let newest = likes.values().flatten().map(|(_, row)| (row["video"].to_string(), row.clone()));
        Self { clicks, likes: newest.collect() }
    }

    fn is_counted(&self) -> bool {
        let likes: u64 = self.likes.values().map(|row| row["likes"].as_u64().unwrap()).sum();
        likes == self.clicks.values().map(|rows| rows.len() as u64).sum::<u64>()
    }
}

/// Reads a topic to its end.
async fn read(log: &Arc<dyn Log>, topic: &str) -> BTreeMap<i64, Vec<(i64, Value)>> {
    let mut all: BTreeMap<i64, Vec<(i64, Value)>> = BTreeMap::new();
    let Some(info) = log.topic(topic).await.unwrap() else { return all };
    for partition in 0..info.partitions {
        let tp = Tp::new(topic, partition);
        let end = log.ends(std::slice::from_ref(&tp)).await.unwrap()[0].last_stable;
        let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
        reader.assign(tp, From::Earliest);
        let mut next = 0;
        while next < end {
            for fetched in reader.next().await.unwrap() {
                for record in fetched.batches.iter().flat_map(|batch| batch.records_from(fetched.from)) {
                    let row = record.value.map(|value| serde_json::from_slice(value).unwrap());
                    all.entry(partition.into()).or_default().push((record.offset, row.unwrap()));
                }
                next = fetched.next;
            }
        }
    }
    all
}

/// Writes clicks at a steady pace until enough clients came back.
async fn load(log: Arc<dyn Log>, topic: String, run: Arc<Run>) {
    let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    let (mut n, mut dice) = (0, Dice(run.seed));
    let began = Instant::now();
    let mut every = tokio::time::interval(LOAD.1);
    while run.reconnects.load(Ordering::Relaxed) < RECONNECTS {
        assert!(began.elapsed() < 2 * DEADLINE, "seed {}: too few came back", run.seed);
        every.tick().await;
        let records = (0..LOAD.0).map(|_| {
            n += 1;
            let video = dice.next(VIDEOS);
            Outgoing {
                topic: topic.as_str().into(),
                partition: (video % PARTITIONS as u64) as i32,
                key: Some(format!("v{video}").into()),
                value: Some(json!({"video": format!("v{video}"), "n": n}).to_string().into()),
                headers: Vec::new(),
                timestamp_ms: 1_700_000_000_000,
            }
        });
        let records = records.collect();
        writer.begin().await.unwrap();
        writer.send(records).await.unwrap();
        writer.commit().await.unwrap();
    }
}

/// Kills and drains gateways in turn, and starts them again.
fn unrest(mut gateways: [Windrow; 2], start: impl Fn(u16) -> Windrow, run: &Run) -> (usize, [Windrow; 2]) {
    let (mut dice, mut rounds) = (Dice(run.seed ^ 1), 0);
    while run.reconnects.load(Ordering::Relaxed) < RECONNECTS {
        let which = dice.next(2) as usize;
        let ended = gateways[which].lives_for(Duration::from_millis(500 + dice.next(2_000)));
        assert!(ended.is_none(), "seed {}: a gateway ended by itself: {}", run.seed, gateways[which].said());
        if dice.next(2) == 0 {
            gateways[which].kill();
        } else {
            gateways[which].terminate();
            gateways[which].wait();
        }
        gateways[which] = start(run.ports[which]);
        rounds += 1;
    }
    (rounds, gateways)
}

async fn live(number: usize, run: Arc<Run>, truth: tokio::sync::watch::Receiver<Option<Arc<Truth>>>) {
    let mut dice = Dice(run.seed ^ (number as u64) << 20);
    let look = Look::of(number);
    let mut client = Client {
        look,
        at: None,
        returned_with: None,
        heard: BTreeMap::new(),
        began: None,
        table: BTreeMap::new(),
        seqs: BTreeMap::new(),
    };
    let mut deadline = None;
    loop {
        let truth = truth.borrow().clone();
        let stay_ms = if truth.is_some() { 500 } else { dice.next(1_500) };
        let port = run.ports[dice.next(2) as usize];
        if client.visit(&run, port, Instant::now() + Duration::from_millis(stay_ms)).await.is_err() {
            // Nobody there: not a reconnect. It is asked again soon.
            tokio::time::sleep(Duration::from_millis(20 + dice.next(50))).await;
        }
        let Some(truth) = truth else { continue };
        match client.check(&truth) {
            Ok(()) => return,
            Err(wrong) => {
                let deadline = *deadline.get_or_insert(Instant::now() + DEADLINE);
                assert!(Instant::now() < deadline, "seed {}, client {number} {look:?}: {wrong}", run.seed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_never_hide_a_hole() {
    let (kafka, seed) = (given("WINDROW_TEST_KAFKA"), seed());
    println!("seed {seed}: WINDROW_TEST_SEED={seed} cargo test -p windrow --test e2e reconnects");
    let app = format!("reconnects-{}", std::process::id());
    let config = config(&app);
    let (topic, path) = (format!("{app}.clicks"), config.path().display().to_string());
    let log: Arc<dyn Log> = KafkaLog::connect(std::slice::from_ref(&kafka), &BTreeMap::new()).await.unwrap();
    let spec = TopicSpec {
        name: topic.as_str().into(),
        partitions: PARTITIONS,
        replication: 1,
        compact: false,
        retention: None,
        retention_bytes: None,
    };
    log.create_topic(&spec).await.unwrap();
    let start = move |role: &str, port: u16| {
        let variables = [("KAFKA", kafka.clone()), ("PORT", port.to_string())];
        Windrow::start(&["serve", "--config", &path, "--role", role], &variables)
    };
    let run = Arc::new(Run {
        seed,
        ports: [free_port(), free_port()],
        reconnects: AtomicUsize::new(0),
        lapses: Mutex::default(),
    });
    let _engine = start("engine", 0);
    let gateways = run.ports.map(|port| start("gateway", port));
    let (tell, truth) = tokio::sync::watch::channel(None);
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| tokio::spawn(live(number, run.clone(), truth.clone()))).collect();
    let unrest = tokio::task::spawn_blocking({
        let run = run.clone();
        move || unrest(gateways, |port| start("gateway", port), &run)
    });
    load(log.clone(), topic, run.clone()).await;
    let (rounds, _gateways) = unrest.await.unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let truth = Truth::read(&log, &app).await;
        if truth.is_counted() {
            tell.send(Some(Arc::new(truth))).unwrap();
            break;
        }
        assert!(Instant::now() < deadline, "seed {seed}: the engine never counted all");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    let lapses = run.lapses.lock().unwrap();
    let lapsed: usize = lapses.values().sum();
    println!(
        "{} reconnects, {rounds} restarts, begun anew by filter: {lapses:?}",
        run.reconnects.load(Ordering::Relaxed)
    );
    assert!(rounds >= 6, "seed {seed}: too calm");
    // Recent positions are provable: only where a filter on another column meets a compacted topic is there doubt.
    assert!(lapsed * 20 < RECONNECTS, "seed {seed}: {lapsed} of {RECONNECTS} began anew");
}
