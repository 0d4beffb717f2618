//! The example `realtime-events`, as it stands: keys of Avro from a registry in, word to every client of an organization out; and, as its
//! README says, without Kafka and registry.

use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use windrow::log::{Outgoing, WriterOptions};

use crate::{
    client::get_until,
    double::Double,
    place::Place,
    process::{DEADLINE, Windrow, free_port, given, root},
};

/// Guests and payments have a long, reservations an int.
const LONG: &str = r#"{"type":"record","name":"record","fields":[{"name":"organization_id","type":"long"}]}"#;
const INT: &str = r#"{"type":"record","name":"record","fields":[{"name":"organization_id","type":"int"}]}"#;
const VALUE: &str = r#"{"type":"record","name":"record","fields":[{"name":"reservation_id","type":["null","string"],"default":null}]}"#;

const CHANNELS: [&str; 3] = ["payment", "guest", "reservation"];

struct Example {
    place: Place,
    registry: Double,
    keys: [u32; 3],
    value: u32,
}

struct Process {
    windrow: Windrow,
    port: u16,
    inside: u16,
}

impl Example {
    async fn new(name: &str, kafka: Option<String>) -> Self {
        let registry = Double::start().await;
        let keys = [LONG, LONG, INT].map(|schema| registry.avro("events-key", schema));
        let value = registry.avro("events-value", VALUE);
        registry.demand("Basic a2V5OnNlY3JldA==");
        let place = Place::new(name, kafka);
        for channel in CHANNELS {
            place.make_topic(&place.topic(channel), 2).await;
        }
        Self { place, registry, keys, value }
    }

    /// Starts it with the variables of the program that it replaces.
    async fn serve(&self, more: &[(&str, &str)]) -> Process {
        let file = root().join("examples/realtime-events/windrow.toml").display().to_string();
        let (port, inside) = (free_port(), free_port());
        let topic = |channel| self.place.topic(channel);
        let mut variables = self.place.variables();
        variables.extend([
            ("KAFKA_BOOTSTRAP_SERVER", self.place.broker()),
            ("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT".to_owned()),
            ("KAFKA_SASL_MECHANISMS", String::new()),
            ("KAFKA_GROUP_ID", self.place.app.clone()),
            ("KAFKA_SCHEMA_REGISTRY_URL", self.registry.url()),
            ("KAFKA_SCHEMA_REGISTRY_USER", "key:secret".to_owned()),
            ("PAYMENT_TOPIC", topic("payment")),
            ("GUEST_TOPIC", topic("guest")),
            ("RESERVATION_TOPIC", topic("reservation")),
            ("BIND", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("INSIDE_PORT", inside.to_string()),
        ]);
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let windrow = Windrow::start(&["serve", "--config", &file], &variables);
        for channel in CHANNELS {
            get_until(inside, &format!("/api/channels/{channel}?limit=1"), |status, _| status == 200).await;
        }
        Process { windrow, port, inside }
    }

    /// A key of that channel: a number of Avro is twice itself where it is not negative.
    fn key(&self, channel: usize, organization: u8) -> Option<Bytes> {
        Some([&[0][..], &self.keys[channel].to_be_bytes(), &[organization * 2]].concat().into())
    }

    /// Writes records, round about over the partitions.
    async fn write(&self, channel: usize, records: Vec<(Option<Bytes>, Option<Bytes>)>) {
        let topic = format!("{}-{}", self.place.app, CHANNELS[channel]);
        let log = self.place.log().await;
        let record = |(partition, (key, value)): (i32, (Option<Bytes>, Option<Bytes>))| Outgoing {
            topic: topic.as_str().into(),
            partition,
            key,
            value,
            headers: Vec::new(),
            timestamp_ms: jiff::Timestamp::now().as_millisecond(),
        };
        let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
        writer.begin().await.unwrap();
        writer.send((0..2).cycle().zip(records).map(record).collect()).await.unwrap();
        writer.commit().await.unwrap();
    }
}

impl Process {
    /// A client that has heard its first ping.
    async fn client(&self, query: &str) -> Client {
        let url = format!("ws://127.0.0.1:{}/getEvents/{query}", self.port);
        let (socket, _) = connect_async(url).await.unwrap();
        let mut client = Client { socket };
        assert_eq!(client.hear().await["type"], "ping");
        client
    }
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Client {
    async fn hear(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a frame in time");
            if let Message::Text(text) = next.expect("an open socket").unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn event(&mut self) -> Value {
        loop {
            let frame = self.hear().await;
            if frame["type"] != "ping" {
                return frame;
            }
        }
    }
}

fn event(channel: &str) -> Value {
    json!({"type": "event", "channel": channel})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_hears_of_its_organization_on_any_node() {
    let example = Example::new("events", Some(given("WINDROW_TEST_KAFKA"))).await;
    let first = example.serve(&[]).await;
    let second =
        example.serve(&[("VALUE_FORMAT", "avro-registry"), ("EVENT_COLUMNS", "_value AS value")]).await;
    let mut ones = [
        first.client("payment?organization_id=1&user_id=1").await,
        first.client("payment?organization_id=1&user_id=2").await,
        second.client("payment?organization_id=1&user_id=1").await,
    ];
    let mut other = first.client("payment?organization_id=2&user_id=1").await;
    let mut all = second.client("guest?organization_id=1&user_id=1&channel=reservation&data=true").await;
    let value = Some(Bytes::from([&[0][..], &example.value.to_be_bytes(), &[2, 4, b'r', b'1']].concat()));
    let stranger = Some(Bytes::from_static(b"no Avro"));
    let unknown = Some(Bytes::from_static(b"\0\0\0\x03\xe7\x02"));
    // Neither a null key nor one that cannot be read sends anybody away; a value is not looked at.
    let records = vec![
        (example.key(0, 1), value.clone()),
        (None, value.clone()),
        (stranger, value.clone()),
        (unknown, value.clone()),
        (example.key(0, 2), value.clone()),
        (example.key(0, 1), value.clone()),
    ];
    example.write(0, records).await;
    for one in &mut ones {
        for _ in 0..2 {
            assert_eq!(one.event().await, event("payment"));
        }
    }
    assert_eq!(other.event().await, event("payment"));
    // The wishes: several channels, with what is in them.
    example.write(2, vec![(example.key(2, 2), value.clone()), (example.key(2, 1), value.clone())]).await;
    let heard = all.event().await;
    assert_eq!(
        (&heard["channel"], &heard["data"]["value"]),
        (&json!("reservation"), &json!({"reservation_id": "r1"}))
    );
    example.write(1, vec![(example.key(1, 1), value)]).await;
    let heard = all.event().await;
    assert_eq!((&heard["channel"], &heard["data"]["organization_id"]), (&json!("guest"), &json!(1)));
    let bad = |_, text: &str| {
        let counted = |line: &str| {
            line.starts_with("windrow_channel_bad_total{")
                && line.contains("\"payment\"")
                && line.ends_with(" 3")
        };
        text.lines().any(counted)
    };
    get_until(first.inside, "/metrics", bad).await;
    example.place.end(second.windrow);
    example.place.end(first.windrow);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_hears_what_it_missed_from_another_node() {
    let example = Example::new("resumed", Some(given("WINDROW_TEST_KAFKA"))).await;
    let first = example.serve(&[("HEART_BEAT_INTERVAL", "3"), ("PING_INTERVAL", "1")]).await;
    let mut client = first.client("guest?organization_id=1&user_id=1&resume=true").await;
    example.write(1, vec![(example.key(1, 1), None)]).await;
    let heard = client.event().await;
    assert_eq!(heard["channel"], "guest", "a record without a value is one, too");
    let at = heard["at"].as_str().unwrap().to_owned();
    drop(client);
    example
        .write(1, vec![(example.key(1, 1), None), (example.key(1, 2), None), (example.key(1, 1), None)])
        .await;
    let second = example.serve(&[]).await;
    let mut client = second.client(&format!("guest?organization_id=1&user_id=1&from=guest:{at}")).await;
    for _ in 0..2 {
        assert_eq!(client.event().await["channel"], "guest");
    }
    example.write(1, vec![(example.key(1, 1), None)]).await;
    assert_eq!(client.event().await["channel"], "guest");
    example.place.end(second.windrow);
    example.place.end(first.windrow);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_moves_without_kafka_and_registry_too() {
    let example = Example::new("alone", None).await;
    let process = example.serve(&[("KEY_FORMAT", "json"), ("VALUE_FORMAT", "json")]).await;
    let mut one = process.client("payment?organization_id=1&user_id=1").await;
    let mut two = process.client("payment?organization_id=2&user_id=1").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payments.ndjson");
    let who = |organization: Value| json!({"who": {"organization_id": organization}});
    let lines = [who(json!(1)), who(json!("1")), json!({"who": null}), who(json!(2)), who(json!(1.0))];
    std::fs::write(&file, lines.map(|line| format!("{line}\n")).concat()).unwrap();
    let url = format!("http://127.0.0.1:{}", process.inside);
    let arguments = [
        "produce",
        "--url",
        &url,
        "--stream",
        "payments",
        "--key",
        "who",
        "--file",
        &file.display().to_string(),
    ]
    .map(str::to_owned);
    tokio::task::spawn_blocking(move || Windrow::run(&arguments, &[])).await.unwrap();
    // Numbers compare by value, text is none.
    for client in [&mut one, &mut two] {
        assert_eq!(client.event().await, event("payment"));
    }
    assert_eq!(one.event().await, event("payment"));
    example.place.end(process.windrow);
}
