//! A year of real flights, against an independent computation: on both logs, killed on the way, moved on the way.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use windrow::{
    config::Sync,
    log::{Log, embedded::EmbeddedLog, kafka::KafkaLog},
};

use crate::{
    process::{Windrow, given, root},
    topic::read_all,
};

/// One row: its columns.
type Row = BTreeMap<String, Value>;

const VIEWS: [&str; 2] = ["hourly", "daily"];

/// A place for one run of the example: which log, and names that no other test has.
struct Place {
    folder: tempfile::TempDir,
    config: PathBuf,
    prefix: String,
    partitions: u32,
    kafka: Option<String>,
}

impl Place {
    /// With several partitions the groups are spread over them, because nothing says what the message key is: two stages.
    fn new(name: &str, partitions: u32, kafka: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let prefix = format!("{name}-{}", std::process::id());
        let text = std::fs::read_to_string(root().join("examples/flights/windrow.toml")).unwrap();
        let text = text
            .replace("app = \"flights\"", &format!("app = \"{prefix}\""))
            .replace("topic = \"", &format!("topic = \"{prefix}-"))
            .replace("partitions = 1", &format!("partitions = {partitions}"));
        let config = folder.path().join("windrow.toml");
        std::fs::write(&config, text).unwrap();
        Self { folder, config, prefix, partitions, kafka }
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables =
            vec![("WINDROW_DATA", self.directory().display().to_string()), ("PORT", "0".to_owned())];
        if let Some(kafka) = &self.kafka {
            variables.extend([("WINDROW_LOG", "kafka".to_owned()), ("KAFKA", kafka.clone())]);
        }
        variables
    }

    fn produce(&self) {
        let directory = self.directory().display().to_string();
        let to = match &self.kafka {
            Some(kafka) => ["--kafka", kafka.as_str()],
            None => ["--directory", directory.as_str()],
        };
        let (file, topic) = (given("WINDROW_TEST_FLIGHTS"), format!("{}-flights", self.prefix));
        let partitions = self.partitions.to_string();
        let what =
            ["produce", "--file", &file, "--null", "NA", "--topic", &topic, "--partitions", &partitions];
        Windrow::run(&[&what[..], &to[..]].concat(), &[]);
    }

    /// Starts the engine as `instance`: one that was killed and comes back under its name has its partition at once.
    fn serve(&self, instance: &str) -> Windrow {
        let config = self.config.display().to_string();
        let mut variables = self.variables();
        variables.push(("INSTANCE", instance.to_owned()));
        Windrow::start(&["serve", "--config", &config, "--until-end"], &variables)
    }

    async fn log(&self) -> Arc<dyn Log> {
        match &self.kafka {
            Some(kafka) => KafkaLog::connect(std::slice::from_ref(kafka), &BTreeMap::new()).await.unwrap(),
            None => EmbeddedLog::open(&self.directory(), Sync::Commit).unwrap(),
        }
    }

    /// The user's topics must hold each expected row exactly once, and nothing else.
    async fn check(&self) {
        let log = self.log().await;
        for view in VIEWS {
            let topic = format!("{}-{view}_delays", self.prefix);
            let values =
                read_all(&log, &topic).await.into_iter().map(|(_, value)| value.expect("no tombstone"));
            let mut found: Vec<String> = values.map(|v| canonical(&v)).collect();
            found.sort();
            let wanted = expected(view);
            assert_eq!(found.len(), wanted.len(), "rows of {view}");
            for (found, wanted) in found.iter().zip(&wanted) {
                assert_eq!(found, wanted);
            }
        }
    }
}

/// Python writes a mean of 4 as `4.0`, Windrow as `4`: the same number, so one spelling for both.
fn canonical(row: &[u8]) -> String {
    let mut row: Row = serde_json::from_slice(row).expect("a row is an object");
    for value in row.values_mut() {
        if let Some(whole) = value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 2f64.powi(53)) {
            *value = Value::from(whole as i64);
        }
    }
    serde_json::to_string(&row).unwrap()
}

/// The independent computation: Python's standard library, which knows nothing of Windrow.
fn expected(view: &str) -> Vec<String> {
    let script = root().join("examples/flights/expected.py");
    let output = Command::new("python3")
        .args([&script, Path::new(&given("WINDROW_TEST_FLIGHTS"))])
        .arg(view)
        .output()
        .expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut rows: Vec<String> =
        output.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(canonical).collect();
    rows.sort();
    rows
}

async fn runs_to_the_end(place: Place) {
    place.produce();
    let status = place.serve("one").wait();
    assert!(status.success(), "{status}");
    place.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_equal_an_independent_computation_on_the_embedded_log() {
    runs_to_the_end(Place::new("flights-embedded", 1, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_equal_an_independent_computation_on_kafka() {
    runs_to_the_end(Place::new("flights-kafka", 1, Some(given("WINDROW_TEST_KAFKA")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_same_in_two_stages_on_the_embedded_log() {
    runs_to_the_end(Place::new("flights-two-embedded", 4, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_same_in_two_stages_on_kafka() {
    runs_to_the_end(Place::new("flights-two-kafka", 4, Some(given("WINDROW_TEST_KAFKA")))).await;
}

/// Kills it five times at moments drawn from the seed, then lets it come to its end.
async fn survives_five_kills(place: Place) {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(fresh_seed);
    println!("replay with SEED={seed} cargo xtask test rust");
    place.produce();
    let (mut random, mut cut_short) = (seed, 0);
    for _ in 0..5 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut process = place.serve("one");
        match process.lives_for(Duration::from_millis(200 + (random >> 33) % 1500)) {
            Some(status) => assert!(status.success(), "{status}:\n{}", process.said()),
            None => cut_short += 1,
        }
        process.kill();
    }
    assert!(cut_short > 0, "it was done before the first kill: give it more records");
    let mut last = place.serve("one");
    let status = last.wait();
    assert!(status.success(), "{status}:\n{}", last.said());
    place.check().await;
}

fn fresh_seed() -> u64 {
    jiff::Timestamp::now().as_microsecond().cast_unsigned()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_exact_after_five_kills_on_the_embedded_log() {
    survives_five_kills(Place::new("flights-kills-embedded", 1, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_exact_after_five_kills_on_kafka() {
    survives_five_kills(Place::new("flights-kills-kafka", 1, Some(given("WINDROW_TEST_KAFKA")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_two_stages_are_exact_after_five_kills_on_the_embedded_log() {
    survives_five_kills(Place::new("flights-two-kills-embedded", 4, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_two_stages_are_exact_after_five_kills_on_kafka() {
    survives_five_kills(Place::new("flights-two-kills-kafka", 4, Some(given("WINDROW_TEST_KAFKA")))).await;
}

/// Another process joins half-way; then the first leaves.
async fn moves_half_way(place: Place) {
    place.produce();
    let log = place.log().await;
    let mut first = place.serve("one");
    let (topic, offset) = (format!("{}-flights", place.prefix), 50_000 / i64::from(place.partitions));
    crate::topic::until(&log, &place.prefix, &topic, offset, || first.said()).await;
    let mut second = place.serve("two");
    first.terminate();
    assert!(first.wait().success(), "{}", first.said());
    assert!(second.wait().success(), "{}", second.said());
    place.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_exact_when_a_second_process_takes_over_half_way() {
    moves_half_way(Place::new("flights-moved", 1, Some(given("WINDROW_TEST_KAFKA")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_two_stages_are_exact_when_a_second_process_takes_over_half_way() {
    moves_half_way(Place::new("flights-two-moved", 4, Some(given("WINDROW_TEST_KAFKA")))).await;
}
