//! The example `video-counter`, as it stands, on both logs: raw identifiers in, three topics and live rooms out; and its second
//! configuration, which only forwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use windrow::log::{Outgoing, WriterOptions};

use crate::{
    client::get_until,
    place::Place,
    process::{DEADLINE, Windrow, free_port, given, root},
    topic::{Pair, read_all},
};

const MINUTE_MS: i64 = 60_000;
const MINUTES: [(&str, &str); 3] = [("1", "one"), ("5", "five"), ("10", "ten")];

/// One example, with names that no other test has.
struct Example {
    place: Place,
    ports: [u16; 3],
}

impl Example {
    fn new(name: &str, kafka: Option<String>) -> Self {
        let place = Place::new(name, kafka);
        Self { place, ports: [(); 3].map(|()| free_port()) }
    }

    fn aggregate(&self, minutes: &str) -> String {
        self.place.topic(&format!("{minutes}_minute_aggregation_topic"))
    }

    /// Starts it with the variables of the two programs that it replaces.
    fn serve(&self, file: &str) -> Windrow {
        let file = root().join("examples/video-counter").join(file).display().to_string();
        let mut variables = self.place.variables();
        variables.extend([
            // As the worker's file has it.
            ("KAFKA_BROKER_URL", format!("kafka://{}", self.place.broker())),
            ("KAFKA_GROUP_ID_FOR_WORKDER", self.place.app.clone()),
            ("KAFKA_GROUP_ID_FOR_CONSUMER", self.place.app.clone()),
            ("VIDEO_EVENTS_INGESTION_TOPIC_NAME", self.place.topic("clicks")),
            ("BIND", "127.0.0.1".to_owned()),
            ("PORT", self.ports[0].to_string()),
            ("LIKES_PORT", self.ports[1].to_string()),
            ("INSIDE_PORT", self.ports[2].to_string()),
        ]);
        let names = ["LIKES_1_MIN_", "LIKES_5_MIN_", "LIKES_10_MIN_"]
            .map(|name| format!("{name}AGGREGATION_TOPIC_NAME"));
        for (name, (_, minutes)) in names.iter().zip(MINUTES) {
            variables.push((name, self.aggregate(minutes)));
        }
        Windrow::start(&["serve", "--config", &file], &variables)
    }

    /// Writes values without keys, each with its partition and time.
    async fn write(&self, topic: &str, values: &[(i32, i64, &str)]) {
        let log = self.place.log().await;
        let record = |(partition, timestamp_ms, value): &(i32, i64, &str)| Outgoing {
            topic: topic.into(),
            partition: *partition,
            key: None,
            value: Some(Bytes::from((*value).to_owned())),
            headers: Vec::new(),
            timestamp_ms: *timestamp_ms,
        };
        let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
        writer.begin().await.unwrap();
        writer.send(values.iter().map(record).collect()).await.unwrap();
        writer.commit().await.unwrap();
    }

    async fn client(&self) -> Client {
        get_until(self.ports[2], "/healthz", |status, _| status == 200).await;
        let url = format!("ws://127.0.0.1:{}/socket.io/?EIO=4&transport=websocket", self.ports[0]);
        let (socket, _) = connect_async(url).await.unwrap();
        let mut client = Client { socket, newest: BTreeMap::new() };
        assert!(client.hear().await.starts_with("0{"));
        client.say("40").await;
        assert!(client.hear().await.starts_with("40{"));
        client
    }
}

/// A client as the original's is.
struct Client {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    /// What a page would show: by event and video.
    newest: BTreeMap<(String, String), i64>,
}

impl Client {
    async fn say(&mut self, packet: &str) {
        self.socket.send(Message::text(packet)).await.unwrap();
    }

    async fn hear(&mut self) -> String {
        let next = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a message in time");
        next.expect("an open socket").unwrap().into_text().unwrap().to_string()
    }

    /// As the page does it: first the topics, then the rooms.
    async fn begin(&mut self, rooms: &[&str]) {
        for (minutes, _) in MINUTES {
            self.say(&format!("42[\"consume_{minutes}_min_aggregations\",{{}}]")).await;
        }
        self.say(&format!("42{}", json!(["register_room", {"rooms": rooms}]))).await;
    }

    /// Hears events until the page shows all of these: minutes, video, count.
    async fn until(&mut self, want: &[(u8, &str, i64)]) {
        loop {
            let shown = |(minutes, id, count): &(u8, &str, i64)| {
                let key = (format!("live_aggregations_{minutes}"), (*id).to_owned());
                self.newest.get(&key) == Some(count)
            };
            if want.iter().all(shown) {
                return;
            }
            let packet = self.hear().await;
            if packet == "2" {
                self.say("3").await;
                continue;
            }
            let event: Value = serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
            let (id, count) = (event[1]["id"].as_str().unwrap(), event[1]["count"].as_i64().unwrap());
            assert_eq!(event[1], json!({"id": id, "count": count}), "nothing else");
            self.newest.insert((event[0].as_str().unwrap().to_owned(), id.to_owned()), count);
        }
    }
}

/// One request on a connection of its own: status and body.
async fn http(port: u16, method: &'static str, path: String, body: String) -> (u16, Value) {
    let asked = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    };
    tokio::task::spawn_blocking(asked).await.unwrap()
}

async fn like(example: &Example, path: &str, video: &str) {
    let path = format!("/dev/videos/{path}/likes");
    let answer = http(example.ports[1], "POST", path, String::new()).await;
    assert_eq!(answer, (200, json!({"new video": video})));
}

/// The records of an aggregate topic: all without a key, in one partition.
async fn finals(example: &Example, minutes: &str) -> BTreeSet<String> {
    let (log, topic) = (example.place.log().await, example.aggregate(minutes));
    assert_eq!(log.topic(&topic).await.unwrap().unwrap().partitions, 1);
    let text = |(key, value): Pair| {
        assert_eq!(key, None);
        String::from_utf8(value.unwrap().to_vec()).unwrap()
    };
    let records: Vec<String> = read_all(&log, &topic).await.into_iter().map(text).collect();
    let distinct: BTreeSet<String> = records.iter().cloned().collect();
    assert_eq!(distinct.len(), records.len(), "one is there twice: {records:?}");
    distinct
}

async fn likes_become_live_counts_and_records(kafka: Option<String>) {
    let example = Example::new("counter", kafka);
    let clicks = example.place.topic("clicks");
    example.place.make_topic(&clicks, 3).await;
    // The ten minutes before these, so that all windows of then can close.
    let ten = jiff::Timestamp::now().as_millisecond() / (10 * MINUTE_MS) * 10 * MINUTE_MS - 10 * MINUTE_MS;
    let (a, b, c) = ("93f98662-8907-4f43-bb4c-280501481046", "69e7266c-753e-4ed3-b7fc-9035133a293f", "c d/é");
    let then = [
        (0, ten, a),
        (1, ten + 10_000, a),
        (2, ten + MINUTE_MS - 1, a),
        (0, ten + 10_000, b),
        (0, ten + MINUTE_MS, a),
        (1, ten + MINUTE_MS + 5_000, a),
    ];
    example.write(&clicks, &then).await;
    let process = example.serve("windrow.toml");
    let mut client = example.client().await;
    client.begin(&[a, b]).await;
    // At once, while nothing is final yet: time stands in the past.
    client.until(&[(1, a, 2), (1, b, 1), (5, a, 5), (5, b, 1), (10, a, 5), (10, b, 1)]).await;

    let (status, videos) =
        http(example.ports[1], "GET", "/dev/videos/metadata".to_owned(), String::new()).await;
    let again = http(example.ports[1], "GET", "/dev/videos/metadata".to_owned(), String::new()).await;
    assert_eq!((status, videos.as_array().map(Vec::len)), (200, Some(3)));
    assert_eq!(again.1, videos, "a page that is loaded anew finds its videos again");
    assert!(videos[0]["unique_identifier"].is_string() && videos[0]["title"].is_string(), "{videos}");

    like(&example, a, a).await;
    like(&example, "c%20d%2F%C3%A9", c).await;
    client.until(&[(1, a, 1), (5, a, 1), (10, a, 1)]).await;
    // Who loads the page anew has its numbers.
    let mut reloaded = example.client().await;
    reloaded.begin(&[c, a]).await;
    reloaded.until(&[(1, c, 1), (10, c, 1), (10, a, 1)]).await;

    let window = format!("/api/channels/likes_10m?where=final%20AND%20window_start%3D{ten}");
    let both = |status, body: &str| status == 200 && body.matches("\"final\":true").count() == 2;
    get_until(example.ports[2], &window, both).await;
    example.place.end(process);
    let want = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<_>>();
    let row = |minutes: &str, id: &str, count: u8| {
        format!(r#"{{"type":"{minutes}min","video_uid":"{id}","count":{count}}}"#)
    };
    let minutes = finals(&example, "one").await;
    assert!(minutes.is_superset(&want(&[row("1", a, 3), row("1", a, 2), row("1", b, 1)])), "{minutes:?}");
    for (minutes, name) in [("5", "five"), ("10", "ten")] {
        let got = finals(&example, name).await;
        assert!(got.is_superset(&want(&[row(minutes, a, 5), row(minutes, b, 1)])), "{got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn likes_become_live_counts_and_records_on_the_embedded_log() {
    likes_become_live_counts_and_records(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn likes_become_live_counts_and_records_on_kafka() {
    likes_become_live_counts_and_records(Some(given("WINDROW_TEST_KAFKA"))).await;
}

async fn counts_of_another_worker_are_forwarded(kafka: Option<String>) {
    let example = Example::new("forward", kafka);
    let now = jiff::Timestamp::now().as_millisecond();
    for (minutes, name) in MINUTES {
        let topic = example.aggregate(name);
        example.place.make_topic(&topic, 1).await;
        let record = |count: u8| {
            format!(
                r#"{{"type":"{minutes}min","video_uid":"a","count":{count},"__faust":{{"ns":"src.models.VideoAggregation"}}}}"#
            )
        };
        let (first, second) = (record(2), record(3));
        // What stopped the original stops nobody.
        let values = [first.as_str(), "not JSON", r#"{"count":5}"#, r#"{"video_uid":"b"}"#, "7", &second];
        example.write(&topic, &values.map(|value| (0, now, value))).await;
    }
    let process = example.serve("forward.toml");
    let mut client = example.client().await;
    client.begin(&["a", "b"]).await;
    client.until(&[(1, "a", 3), (5, "a", 3), (10, "a", 3)]).await;
    for (count, stream) in [(4, "likes_1m"), (5, "likes_10m")] {
        let record = json!({"type": "", "video_uid": "b", "count": count}).to_string();
        let answer = http(example.ports[2], "POST", format!("/api/streams/{stream}"), record).await;
        assert_eq!(answer, (200, json!({"accepted": 1, "rejected": []})));
    }
    client.until(&[(1, "b", 4), (10, "b", 5)]).await;
    example.place.end(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_another_worker_are_forwarded_on_the_embedded_log() {
    counts_of_another_worker_are_forwarded(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_another_worker_are_forwarded_on_kafka() {
    counts_of_another_worker_are_forwarded(Some(given("WINDROW_TEST_KAFKA"))).await;
}
