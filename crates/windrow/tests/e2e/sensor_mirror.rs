//! The example `sensor-mirror`, as it stands, on Kafka: topics by a pattern, one that comes late, records that cannot be read; and
//! its second configuration, with a registry.

use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};
use windrow::log::{Outgoing, WriterOptions};

use crate::{
    client::get_until,
    double::Double,
    place::Place,
    process::{DEADLINE, Windrow, free_port, given, root},
    sensors::{Value, long, record},
};

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

    /// Starts it with the settings of the originals.
    fn serve(&self, file: &str, settings: &[(&'static str, String)]) -> Windrow {
        let file = root().join("examples/sensor-mirror").join(file).display().to_string();
        let mut variables = self.place.variables();
        variables.extend([
            ("KAFKA_HOSTS", self.place.broker()),
            // Another than the names of the topics begin with, which would be its own.
            ("CONSUMER_GROUP", format!("mirror-of-{}", self.place.app)),
            ("BIND", "127.0.0.1".to_owned()),
            ("PORT", self.ports[0].to_string()),
            ("REST_PORT", self.ports[1].to_string()),
            ("INSIDE_PORT", self.ports[2].to_string()),
        ]);
        variables.extend(settings.iter().cloned());
        Windrow::start(&["serve", "--config", &file], &variables)
    }

    /// Writes to a topic: key, value.
    async fn write(&self, topic: &str, records: &[(Option<Vec<u8>>, Vec<u8>)]) {
        let log = self.place.log().await;
        let record = |(key, value): &(Option<Vec<u8>>, Vec<u8>)| Outgoing {
            topic: topic.into(),
            partition: 0,
            key: key.clone().map(Into::into),
            value: Some(value.clone().into()),
            headers: Vec::new(),
            timestamp_ms: jiff::Timestamp::now().as_millisecond(),
        };
        let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
        writer.begin().await.unwrap();
        writer.send(records.iter().map(record).collect()).await.unwrap();
        writer.commit().await.unwrap();
    }

    async fn numbers(&self, topic: &str, numbers: std::ops::RangeInclusive<i64>) {
        let number = |n| (None, record(n as f64 + 0.5, &[("n", Value::Long(n))]));
        self.write(topic, &numbers.map(number).collect::<Vec<_>>()).await;
    }

    async fn client(&self) -> Client {
        get_until(self.ports[2], "/healthz", |status, _| status == 200).await;
        let url = format!("ws://127.0.0.1:{}/socket.io/?EIO=3&transport=websocket", self.ports[0]);
        let (socket, _) = connect_async(url).await.unwrap();
        let mut client = Client { socket };
        assert!(client.hear().await.starts_with("0{"));
        assert_eq!(client.hear().await, "40");
        let (name, first) = client.event().await;
        assert_eq!((name.as_str(), first), ("connected_clients", json!(1)));
        client
    }

    async fn rest(&self, path: &str) -> Json {
        let (_, body) = get_until(self.ports[1], path, |status, _| status == 200).await;
        serde_json::from_str(&body).unwrap()
    }
}

/// A client as the original's page is.
struct Client {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Client {
    async fn hear(&mut self) -> String {
        let next = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a message in time");
        match next.expect("an open socket").unwrap() {
            Message::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    async fn event(&mut self) -> (String, Json) {
        let packet = self.hear().await;
        let event: Json = serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
        (event[0].as_str().unwrap().to_owned(), event[1].clone())
    }

    /// Hears values until a topic has told this number; what others told meanwhile is returned with it.
    async fn until(&mut self, topic: &str, n: i64) -> Vec<(String, String, i64)> {
        let mut told = Vec::new();
        loop {
            let (name, values) = self.event().await;
            let (of, number) = (values["topic"].as_str().unwrap(), values["data"]["n"].as_i64().unwrap());
            assert_eq!(values, json!({"topic": of, "timestamp": number as f64 + 0.5, "data": {"n": number}}));
            told.push((name, of.to_owned(), number));
            if of == topic && number == n {
                return told;
            }
        }
    }
}

async fn a_mirror_shows_every_topic(name: &str, setting: &'static str) {
    let example = Example::new(name, Some(given("WINDROW_TEST_KAFKA")));
    let [roof, cellar, junk, late] = ["roof", "cellar", "junk", "late"].map(|name| example.place.topic(name));
    for topic in [&roof, &cellar, &junk] {
        example.place.make_topic(topic, 1).await;
    }
    example.numbers(&roof, 1..=7).await;
    example.numbers(&cellar, 1..=3).await;
    example.write(&cellar, &[(None, record(9.0, &[])), (None, b"no record".to_vec())]).await;
    example.write(&junk, &[(None, br#"{"some":"JSON"}"#.to_vec())]).await;
    let process = example.serve("windrow.toml", &[(setting, format!("{}-", example.place.app))]);
    let mut client = example.client().await;
    // The cache is in the order of names, and holds none of history.
    let cached = [("cellar", 3), ("roof", 7)]
        .map(|(name, n)| ("sensor_values_cache".to_owned(), example.place.topic(name), n));
    assert_eq!(client.until(&roof, 7).await, cached);

    example.numbers(&roof, 8..=57).await;
    let told = client.until(&roof, 57).await;
    assert_eq!(told, (8..=57).map(|n| ("sensor_values".to_owned(), roof.clone(), n)).collect::<Vec<_>>());

    // A topic that was not there is found, and read from its first record on.
    example.place.make_topic(&late, 1).await;
    example.numbers(&late, 1..=4).await;
    let told = client.until(&late, 4).await;
    let want = (1..=4).map(|n| ("sensor_values".to_owned(), late.clone(), n));
    assert_eq!(told, want.collect::<Vec<_>>(), "{}", process.said());

    let of = |n: i64| json!({"timestamp": n as f64 + 0.5, "data": {"n": n}});
    let want = json!({roof.as_str(): of(57), cellar.as_str(): of(3), late.as_str(): of(4)});
    assert_eq!(example.rest("/topics").await, want);
    let want = json!({"timestamp": 57.5, "topic": roof, "data": {"n": 57}});
    assert_eq!(example.rest(&format!("/topic/{roof}")).await, want);
    assert_eq!(
        example.rest(&format!("/topics/{junk}")).await,
        json!({"error": "no cached message available"})
    );
    assert_eq!(example.rest("/topics/other").await, json!({"error": "topic not available"}));
    example.place.end(process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_shows_every_topic_on_kafka_by_the_name_that_was_documented() {
    a_mirror_shows_every_topic("documented", "ALLOWED_TOPICS_REGEX").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_shows_every_topic_on_kafka_by_the_name_that_was_read() {
    a_mirror_shows_every_topic("read", "ALLOWED_TOPIC_REGEX").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_successor_s_records_have_their_schema_in_a_registry_and_their_time_in_the_key() {
    let example = Example::new("successor", Some(given("WINDROW_TEST_KAFKA")));
    let registry = Double::start().await;
    let key = std::fs::read_to_string(root().join("examples/sensor-mirror/key.avsc")).unwrap();
    let key = registry.avro("roof-key", &key);
    let value = r#"{"type": "record", "name": "Roof", "fields": [
        {"name": "radiation", "type": "float"}, {"name": "day", "type": ["null", "boolean"]}
    ]}"#;
    let value = registry.avro("roof-value", value);
    let framed = |id: u32, datum: &[u8]| [&[0], &id.to_be_bytes()[..], datum].concat();
    let of = |time_ms: i64, radiation: f32| {
        let (mut of_key, mut of_value) = (Vec::new(), radiation.to_le_bytes().to_vec());
        long(time_ms, &mut of_key);
        of_value.extend_from_slice(&[2, 1]);
        (Some(framed(key, &of_key)), framed(value, &of_value))
    };
    let topic = example.place.topic("prod.roof");
    example.place.make_topic(&topic, 1).await;
    example.write(&topic, &[of(1_491_000_000_000, 1.5), of(1_491_000_000_123, 23.1)]).await;
    let settings =
        [("SCHEMA_REGISTRY_URL", registry.url()), ("TOPIC_PREFIX", format!("{}-prod.", example.place.app))];
    let process = example.serve("successor.toml", &settings);
    let mut client = example.client().await;
    let event = |timestamp: f64, radiation: f32| {
        let data = json!({"radiation": f64::from(radiation), "day": true});
        json!({"topic": topic, "timestamp": timestamp, "data": data})
    };
    assert_eq!(client.event().await, ("sensor_values_cache".to_owned(), event(1_491_000_000.123, 23.1)));
    example.write(&topic, &[of(1_491_000_001_000, 0.1)]).await;
    assert_eq!(client.event().await, ("sensor_values".to_owned(), event(1_491_000_001.0, 0.1)));
    assert_eq!(example.rest(&format!("/topics/{topic}")).await, event(1_491_000_001.0, 0.1));
    example.place.end(process);
}
