//! The example `frame-metrics`, as it stands, on both logs: frames in, two topics of figures out, and one of frames where that is
//! asked for.

use bytes::Bytes;
use serde_json::json;
use windrow::log::{Outgoing, WriterOptions};

use crate::{
    place::Place,
    process::{Windrow, given, root},
    topic::read_all,
};

/// First second of the frames here: 15 s before a minute of the clock ends.
const FIRST: i64 = 1_468_244_385;
const USERS: usize = 10;

/// One run, with names that no other test has.
struct Example {
    place: Place,
}

impl Example {
    async fn new(name: &str, kafka: Option<String>) -> Self {
        let example = Self { place: Place::new(name, kafka) };
        example.place.make_topic(&example.place.topic("in"), 1).await;
        example
    }

    /// The variables of the program that it replaces, and some of ours.
    fn variables(&self, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        let mut variables = self.place.variables();
        variables.extend([
            ("BOOTSTRAP_SERVERS", self.place.broker()),
            ("CONSUMER_GROUP_ID", self.place.app.clone()),
            ("INPUT_TOPIC", self.place.topic("in")),
            ("SEC_METRICS_OUTPUT_TOPIC", self.place.topic("seconds")),
            ("MIN_METRICS_OUTPUT_TOPIC", self.place.topic("minutes")),
            ("OUTPUT_STREAM", self.place.topic("out")),
            ("PRINT_INTERVAL", "100".to_owned()),
            ("PORT", self.place.port.to_string()),
        ]);
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        variables
    }

    fn config(file: &str) -> String {
        root().join("examples/frame-metrics").join(file).display().to_string()
    }

    /// Feeds lines to standard input, to their end; returns what was said.
    fn feed(&self, lines: &[String], more: &[(&'static str, &str)]) -> String {
        let config = Self::config("windrow.toml");
        let arguments = ["serve", "--config", &config, "--stdin", "frames", "--until-end"];
        let mut process = Windrow::fed(&arguments, &self.variables(more), lines.join("\n"));
        let status = process.wait();
        assert!(status.success(), "{}", process.said());
        process.said()
    }

    fn serve(&self, file: &str, more: &[(&'static str, &str)]) -> Windrow {
        Windrow::start(&["serve", "--config", &Self::config(file)], &self.variables(more))
    }

    /// Writes values without keys.
    async fn write(&self, values: &[&str]) {
        let log = self.place.log().await;
        let record = |value: &&str| Outgoing {
            topic: self.place.topic("in").into(),
            partition: 0,
            key: None,
            value: Some(Bytes::from((*value).to_owned())),
            headers: Vec::new(),
            timestamp_ms: jiff::Timestamp::now().as_millisecond(),
        };
        let mut writer = log.writer(WriterOptions { transactional_id: None }).await.unwrap();
        writer.begin().await.unwrap();
        writer.send(values.iter().map(record).collect()).await.unwrap();
        writer.commit().await.unwrap();
    }

    /// Reads a topic: values as they are, all without a key.
    async fn read(&self, topic: &str) -> Vec<String> {
        let records = read_all(&self.place.log().await, &self.place.topic(topic)).await.into_iter();
        let text = |(key, value): (Option<Bytes>, Option<Bytes>)| {
            assert_eq!(key, None);
            String::from_utf8(value.unwrap().to_vec()).unwrap()
        };
        records.map(text).collect()
    }
}

fn frame(ts: i64, user: usize) -> String {
    json!({"ts": ts, "uid": format!("user-{user}"), "more": [ts, {"ts": 1, "uid": "inner"}]}).to_string()
}

/// Frames of the same users in each of these seconds.
fn frames(seconds: impl Iterator<Item = i64>) -> Vec<String> {
    seconds.flat_map(|ts| (0..USERS).map(move |user| frame(ts, user))).collect()
}

fn second(ts: i64, frames: usize, average: usize) -> String {
    let time = jiff::Timestamp::from_second(ts).unwrap().strftime("%Y-%m-%d %H:%M:%S");
    format!(
        r#"{{"timestamp":{ts},"datetime":"{time}","num_of_frames":{frames},"avg_num_of_frames":{average}}}"#
    )
}

fn minute(ts: i64, users: usize, average: usize) -> String {
    let time = jiff::Timestamp::from_second(ts).unwrap().strftime("%Y-%m-%d %H:%M:%S");
    format!(
        r#"{{"timestamp":{ts},"datetime":"{time}","unique_users":{users},"avg_users_per_minute":{average}}}"#
    )
}

async fn ten_users_in_each_second_are_ten_on_average(kafka: Option<String>) {
    let example = Example::new("frames", kafka).await;
    let said = example.feed(&frames(FIRST..FIRST + 181), &[("LATENESS", "0s")]);
    assert!(said.contains("frames: 1810 records in ") && said.contains(", 0 late, 0 bad\n"), "{said}");
    let seconds: Vec<String> = (FIRST..FIRST + 181).map(|ts| second(ts, USERS, USERS)).collect();
    assert_eq!(
        seconds[0],
        r#"{"timestamp":1468244385,"datetime":"2016-07-11 13:39:45","num_of_frames":10,"avg_num_of_frames":10}"#
    );
    assert_eq!(example.read("seconds").await, seconds);
    let minutes = [340, 400, 460, 520].map(|ts| minute(1_468_244_000 + ts, USERS, USERS));
    assert_eq!(example.read("minutes").await, minutes, "minutes are those of the clock");
    for (view, last) in [("seconds", &seconds[180]), ("minutes", &minutes[3])] {
        let line = said.lines().rfind(|line| line.starts_with(&format!("  {view} "))).unwrap_or_default();
        let row = last.trim_end_matches('}');
        assert!(line.contains(row), "the last line is of the last window {row}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_users_in_each_second_are_ten_on_average_on_the_embedded_log() {
    ten_users_in_each_second_are_ten_on_average(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_users_in_each_second_are_ten_on_average_on_kafka() {
    ten_users_in_each_second_are_ten_on_average(Some(given("WINDROW_TEST_KAFKA"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_that_is_missing_merges_no_minutes() {
    let example = Example::new("frames-gap", None).await;
    // In another zone, and out of order by as much as is allowed for.
    let mut lines = frames((FIRST..FIRST + 181).filter(|ts| *ts != FIRST + 60));
    lines.chunks_mut(50).for_each(|chunk| chunk.reverse());
    example.feed(&lines, &[("TIME_ZONE", "Europe/Berlin")]);
    let seconds = example.read("seconds").await;
    assert_eq!(seconds.len(), 180);
    assert_eq!(seconds[0], second(FIRST, USERS, USERS).replace("13:39:45", "15:39:45"));
    let minutes = example.read("minutes").await;
    assert_eq!(minutes.len(), 4, "{minutes:?}");
    assert!(
        minutes.iter().all(|row| row.ends_with(r#""unique_users":10,"avg_users_per_minute":10}"#)),
        "{minutes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_frame_and_one_of_the_far_future_are_dropped_and_nothing_else() {
    let lines = [100, 101, 100, 102, 5_000_000_000, 103].map(|ts| frame(ts, 0));
    let strict = Example::new("frames-late", None).await;
    let said = strict.feed(&lines, &[("LATENESS", "0s")]);
    assert_eq!(strict.read("seconds").await, [100, 101, 102, 103].map(|ts| second(ts, 1, 1)));
    assert!(said.contains(", 1 late, 1 bad\n"), "{said}");
    let patient = Example::new("frames-patient", None).await;
    patient.feed(&lines, &[]);
    let want = [second(100, 2, 2), second(101, 1, 2), second(102, 1, 2), second(103, 1, 2)];
    assert_eq!(patient.read("seconds").await, want, "5 s late is not late");
    assert_eq!(patient.read("minutes").await, [minute(60, 1, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_s_time_may_have_the_name_that_was_documented() {
    let example = Example::new("frames-named", None).await;
    let mut lines: Vec<String> =
        frames(FIRST..FIRST + 2).iter().map(|frame| frame.replace("\"ts\"", "\"timestamp\"")).collect();
    lines.push(frame(FIRST + 2, 0));
    let said = example.feed(&lines, &[("TIME_FIELD", "timestamp")]);
    assert_eq!(example.read("seconds").await, [FIRST, FIRST + 1].map(|ts| second(ts, USERS, USERS)));
    assert!(said.contains(", 0 late, 1 bad\n"), "{said}");
}

/// What the original stopped at, or took.
const NO_FRAMES: [&str; 8] = [
    "not JSON",
    "",
    "[1]",
    r#"{"ts":true,"uid":"a"}"#,
    r#"{"ts":"1468244385","uid":"a"}"#,
    r#"{"ts":1468244385.5,"uid":"a"}"#,
    r#"{"ts":1468244385}"#,
    r#"{"ts":1468244385,"uid":7}"#,
];

async fn what_is_no_frame_is_counted_and_the_averages_survive_a_kill(kafka: Option<String>) {
    let example = Example::new("frames-live", kafka).await;
    let (first, second_half) = (frames(FIRST..FIRST + 100), frames(FIRST + 100..FIRST + 200));
    let mut values: Vec<&str> = first.iter().map(String::as_str).collect();
    NO_FRAMES.iter().enumerate().for_each(|(i, value)| values.insert(i * 100, value));
    // Spacing is nobody's business but the frame's.
    let spaced = r#"{ "uid" : "a", "ts":1468244385 , "more":"é\u00e9" }"#;
    values.insert(1, spaced);
    example.write(&values).await;
    let mut process = example.serve("with-echo.toml", &[("IDLE", "never")]);
    let window = format!("/api/channels/seconds?where=final%20AND%20timestamp%3D{}", FIRST + 90);
    let is_final = |status, body: &str| status == 200 && body.contains("\"final\":true");
    crate::client::get_until(example.place.port, &window, is_final).await;
    process.kill();
    let values: Vec<&str> = second_half.iter().map(String::as_str).collect();
    example.write(&values).await;
    let process = example.serve("with-echo.toml", &[("IDLE", "never")]);
    let window = format!("/api/channels/seconds?where=final%20AND%20timestamp%3D{}", FIRST + 190);
    crate::client::get_until(example.place.port, &window, is_final).await;
    let minutes = |status, body: &str| status == 200 && body.contains("\"unique_users\":10");
    crate::client::get_until(example.place.port, "/api/channels/minutes", minutes).await;
    example.place.end(process);

    let seconds = example.read("seconds").await;
    let want = (FIRST..FIRST + 195).map(|ts| second(ts, USERS + usize::from(ts == FIRST), 11));
    assert_eq!(
        seconds[..190],
        want.collect::<Vec<_>>()[..190],
        "11 frames, then 10 each: a bit more than 10"
    );
    let minutes = example.read("minutes").await;
    assert_eq!(
        minutes[..2],
        [minute(1_468_244_340, USERS + 1, USERS + 1), minute(1_468_244_400, USERS, USERS + 1)]
    );
    let mut echoed = example.read("out").await;
    assert_eq!(echoed.remove(0), spaced);
    assert_eq!(echoed, [first, second_half].concat(), "each once, in order");
    let bad = read_all(&example.place.log().await, &format!("{}.frames.bad", example.place.app)).await;
    assert_eq!(bad.len(), NO_FRAMES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_is_counted_and_the_averages_survive_a_kill_on_the_embedded_log() {
    what_is_no_frame_is_counted_and_the_averages_survive_a_kill(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_is_counted_and_the_averages_survive_a_kill_on_kafka() {
    what_is_no_frame_is_counted_and_the_averages_survive_a_kill(Some(given("WINDROW_TEST_KAFKA"))).await;
}
