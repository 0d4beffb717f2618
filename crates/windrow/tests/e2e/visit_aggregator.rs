//! The example `visit-aggregator`, as it stands, on both logs: visits in, a topic of counts and live frames out; with the producer of
//! visits, and a second process that joins.

use std::collections::BTreeSet;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::{
    client::get_until,
    place::Place,
    process::{DEADLINE, Windrow, free_port, given, root},
    topic::read_all,
};

const MINUTE: i64 = 60;

/// One example, with names that no other test has.
struct Example {
    place: Place,
}

/// One process of it.
struct Process {
    windrow: Windrow,
    port: u16,
    inside: u16,
}

impl Example {
    fn new(name: &str, kafka: Option<String>) -> Self {
        Self { place: Place::new(name, kafka) }
    }

    fn visits(&self) -> String {
        self.place.topic("visits")
    }

    fn counts(&self) -> String {
        self.place.topic("counts")
    }

    /// Starts it with the variables of the program that it replaces.
    async fn serve(&self, more: &[(&str, &str)]) -> Process {
        let file = root().join("examples/visit-aggregator/windrow.toml").display().to_string();
        let (port, inside) = (free_port(), free_port());
        let broker = self.place.broker();
        let mut variables = self.place.variables();
        variables.extend([
            ("WINDROW_APP", self.place.app.clone()),
            ("KAFKA_BROKER", format!("kafka://{broker}")),
            ("STORE", "rocksdb://".to_owned()),
            ("VISITS_TOPIC", self.visits()),
            ("ACTIVE_VISITORS_TOPIC", self.counts()),
            ("BIND", "127.0.0.1".to_owned()),
            ("F_WEB_PORT", port.to_string()),
            ("INSIDE_PORT", inside.to_string()),
        ]);
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let windrow = Windrow::start(&["serve", "--config", &file], &variables);
        get_until(port, "/ready", |status, body| status == 200 && body == r#"{"status":"OK"}"#).await;
        Process { windrow, port, inside }
    }

    /// The records of the topic of counts: all without a key, in one partition.
    async fn records(&self) -> Vec<String> {
        let (log, topic) = (self.place.log().await, self.counts());
        assert_eq!(log.topic(&topic).await.unwrap().unwrap().partitions, 1);
        let text = |(key, value): crate::topic::Pair| {
            assert_eq!(key, None);
            String::from_utf8(value.unwrap().to_vec()).unwrap()
        };
        read_all(&log, &topic).await.into_iter().map(text).collect()
    }
}

impl Process {
    async fn client(&self) -> Client {
        let (socket, _) = connect_async(format!("ws://127.0.0.1:{}/ws", self.port)).await.unwrap();
        Client { socket }
    }
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Client {
    async fn hear(&mut self) -> String {
        let next = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("a frame in time");
        next.expect("an open socket").unwrap().into_text().unwrap().to_string()
    }

    /// Hears frames until their counts make so many visits; one group of a window comes once.
    async fn until(&mut self, visits: u64) -> BTreeSet<String> {
        let (mut sum, mut frames) = (0, BTreeSet::new());
        while sum < visits {
            let text = self.hear().await;
            let frame: Value = serde_json::from_str(&text).unwrap();
            sum += frame["count"].as_u64().unwrap();
            assert!(frames.insert(text.clone()), "{text} came twice");
        }
        assert_eq!(sum, visits);
        frames
    }
}

async fn visits_become_counts(kafka: Option<String>) {
    let example = Example::new("visits", kafka);
    example.place.make_topic(&example.visits(), 4).await;
    let minute = jiff::Timestamp::now().as_second() / MINUTE * MINUTE - 5 * MINUTE;
    let visit = |id: &str, account: i64, store: Option<&str>, second: f64| {
        let timestamp = minute as f64 + second;
        json!({"id": id, "account_id": account, "store_id": store, "timestamp": timestamp,
            "__faust": {"ns": "visit_aggregator.models.Visit"}})
    };
    let values = [
        visit("a", 1, Some("us"), 0.0),
        visit("b", 1, Some("us"), 59.999),
        // Told twice: it counts once, whatever partition it is in.
        visit("a", 1, Some("us"), 30.25),
        visit("c", 1, None, 1.5),
        visit("d", 3, Some("uk"), 2.0),
        json!("no visit"),
        json!({"id": null, "account_id": 9, "store_id": "us", "timestamp": minute as f64}),
        visit("a", 1, Some("us"), 60.0),
        // It does not close everything early.
        visit("e", 3, Some("uk"), 400_000_000.0),
        visit("f", 3, Some("uk"), 3.0),
        // Its minute stays open, and what came before is closed.
        visit("z", 7, None, 132.0),
    ];
    example.place.write(&example.visits(), 0..4, &values).await;
    let process = example.serve(&[]).await;
    let mut client = process.client().await;
    let frame = |account: i64, store: Option<&str>, minutes: i64, count: u8| {
        let (from, store) = (minute + minutes * MINUTE, json!(store));
        format!(
            r#"{{"account_id":{account},"store_id":{store},"ts_from":{from}.0,"ts_to":{}.0,"count":{count}}}"#,
            from + MINUTE
        )
    };
    let want = BTreeSet::from([
        frame(1, Some("us"), 0, 2),
        frame(1, None, 0, 1),
        frame(3, Some("uk"), 0, 2),
        frame(1, Some("us"), 1, 1),
    ]);
    assert_eq!(client.until(6).await, want);
    // Who comes later has the newest of each group, and then what it asks for.
    let mut later = process.client().await;
    later.until(4).await;
    later.socket.send(Message::text(r#"{"type": "setFilter", "filter": {"account": 3}}"#)).await.unwrap();
    later.socket.send(Message::text(r#"{"type": "setFilter", "filter": {"account": 1}}"#)).await.unwrap();
    let of_one = later.until(2).await;
    assert!(of_one.iter().all(|frame| frame.starts_with(r#"{"account_id":1,"#)), "{of_one:?}");
    later.socket.send(Message::text("close")).await.unwrap();
    match later.socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1000),
        other => panic!("{other:?}"),
    }
    get_until(process.inside, "/metrics", |_, text| text.contains("windrow_partition_bad_total")).await;
    example.place.end(process.windrow);
    let record = |account: i64, store: Option<&str>, minutes: i64, count: u8| {
        let (from, store) = (minute + minutes * MINUTE, json!(store));
        let window = format!("[{from}.0,{}.0]", from + MINUTE);
        format!(r#"{{"account_id":{account},"store_id":{store},"window":{window},"count":{count}}}"#)
    };
    let mut want = vec![
        record(1, Some("us"), 0, 2),
        record(1, None, 0, 1),
        record(3, Some("uk"), 0, 2),
        record(1, Some("us"), 1, 1),
    ];
    let mut got = example.records().await;
    got.sort();
    want.sort();
    assert_eq!(got, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_become_counts_on_the_embedded_log() {
    visits_become_counts(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_become_counts_on_kafka() {
    visits_become_counts(Some(given("WINDROW_TEST_KAFKA"))).await;
}

/// Runs the producer to its end, and checks what it says.
async fn produce(arguments: &[&str], messages: usize) {
    let arguments: Vec<String> = ["produce", "--preset", "visits"]
        .iter()
        .chain(arguments)
        .map(|argument| (*argument).to_owned())
        .collect();
    let said = tokio::task::spawn_blocking(move || Windrow::run(&arguments, &[])).await.unwrap();
    assert_eq!(said.matches("Message sent.\n").count(), messages, "{said}");
    assert!(said.contains(&format!("{messages} accepted, 0 rejected")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_producer_sends_is_counted_to_the_last_visit_when_it_stops() {
    let example = Example::new("stopped", None);
    let process = example.serve(&[("WINDOW_SIZE", "1"), ("WINDOW_EXPIRES", "5")]).await;
    let mut client = process.client().await;
    let url = format!("http://127.0.0.1:{}", process.inside);
    let options = ["--frequency", "100", "--max-messages", "150", "--account-id", "1", "--account-id", "2"];
    produce(&[["--url", &url, "--stream", "visits"].as_slice(), &options].concat(), 150).await;
    let frames = client.until(150).await;
    // Every pair of the accounts, and of no store and the usual one.
    for group in [("1", "null"), ("1", "\"default\""), ("2", "null"), ("2", "\"default\"")]
        .map(|(account, store)| format!(r#"{{"account_id":{account},"store_id":{store},"#))
    {
        assert!(frames.iter().any(|frame| frame.starts_with(&group)), "{group}: {frames:?}");
    }
    example.place.end(process.windrow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_joins_and_both_tell_every_client_everything() {
    let kafka = given("WINDROW_TEST_KAFKA");
    let example = Example::new("joined", Some(kafka.clone()));
    example.place.make_topic(&example.visits(), 4).await;
    let settings = [("WINDOW_SIZE", "1"), ("WINDOW_EXPIRES", "5")];
    let first = example.serve(&settings).await;
    let mut clients = vec![first.client().await];
    let visits = example.visits();
    let log = ["--kafka", &kafka, "--topic", &visits];
    produce(&[log.as_slice(), &["--max-messages", "40", "--frequency", "200"]].concat(), 40).await;
    let before = clients[0].until(40).await;
    let second = example.serve(&settings).await;
    clients.push(second.client().await);
    let stores = ["--store-id", "us", "--store-id", "uk", "--account-id", "5"];
    let paced = ["--max-messages", "200", "--frequency", "100"];
    produce(&[log.as_slice(), &stores, &paced].concat(), 200).await;
    let mut told = Vec::new();
    for client in &mut clients {
        let (mut sum, mut frames) = (0, BTreeSet::new());
        while sum < 200 {
            let text = client.hear().await;
            if text.starts_with(r#"{"account_id":5,"#) {
                sum += serde_json::from_str::<Value>(&text).unwrap()["count"].as_u64().unwrap();
                assert!(frames.insert(text.clone()), "{text} came twice");
            }
        }
        assert_eq!(sum, 200);
        told.push(frames);
    }
    assert_eq!(told[0], told[1]);
    example.place.end(second.windrow);
    example.place.end(first.windrow);
    let records = example.records().await;
    assert_eq!(records.len(), before.len() + told[0].len(), "each once");
}

#[test]
fn the_producer_refuses_what_makes_no_sense() {
    for (arguments, want) in [
        (&["--preset", "visits", "--frequency", "0"][..], "a frequency is from 0.001 to 10000000 messages"),
        (&["--preset", "visits", "--frequency", "-1"], "a frequency is from 0.001"),
        (&["--preset", "visits", "--frequency", "nan"], "a frequency is from 0.001"),
        (&["--preset", "visits", "--frequency", "1", "--rate", "1"], "cannot be used with"),
        (
            &["--preset", "clicks", "--directory", "data", "--topic", "t", "--account-id", "1"],
            "--account-id belongs to --preset visits",
        ),
    ] {
        let mut child = Windrow::start(&[&["produce"], arguments].concat(), &[]);
        assert_eq!(child.wait().code(), Some(2), "{arguments:?}");
        let end = std::time::Instant::now() + DEADLINE;
        while !child.said().contains(want) {
            assert!(std::time::Instant::now() < end, "{arguments:?}: {}", child.said());
            std::thread::yield_now();
        }
    }
}
