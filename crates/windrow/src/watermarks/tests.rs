//! The table and its topic on the embedded log.

use windrow_core::watermark::NEVER_MS;

use super::*;
use crate::{
    config::{self, Sync},
    log::{Writer, WriterOptions, embedded::EmbeddedLog},
};

/// Longest wait for what takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(30);

fn known(watermark_ms: i64, idle: bool) -> Known {
    Known { watermark_ms, idle }
}

/// The plan of one stream with one view, as the configuration makes them.
fn plan_of(stream: &str, sql: &str) -> StreamPlan {
    let text = format!("[streams.s]\n{stream}\n[views.v]\nsql = \"{sql}\"\n");
    let config = config::parse(&text, "w.toml", &config::Variables::from_iter([("", "")])).unwrap();
    let plans = config::plan(&config, "w.toml", &text).unwrap();
    StreamPlan::clone(&plans[0])
}

#[test]
fn time_flows_where_windows_wait_and_what_is_merged_waits_for_no_empty_partition() {
    let windows = "SELECT k, count(*) AS n FROM s GROUP BY k, tumble(interval '1 minute')";
    let running = "SELECT k, count(*) AS n FROM s GROUP BY k";
    let table = [
        ("", windows, false, true),
        ("", windows, true, true),
        ("", running, true, false),
        ("idle = \"never\"", windows, false, false),
        ("idle = \"never\"", windows, true, true),
        // Its partials are there from a time when nothing told what the stream is keyed by.
        ("idle = \"never\"\nkeyed_by = [\"k\"]", windows, true, true),
        ("until = \"end\"", windows, true, false),
    ];
    for (stream, sql, is_merged, want) in table {
        let plan = plan_of(stream, sql);
        assert_eq!(flows(&plan, |view| view == 0 && is_merged), want, "{stream} {sql} {is_merged}");
    }
}

struct Bed {
    _folder: tempfile::TempDir,
    log: Arc<dyn Log>,
    stats: Arc<Stats>,
    stop: CancellationToken,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path(), Sync::Never).unwrap();
        Self { _folder: folder, log, stats: Arc::default(), stop: CancellationToken::new() }
    }

    async fn start(&self) -> Arc<Watermarks> {
        let streams = ["s".into()].into_iter();
        Watermarks::start(&self.log, "app", streams, &self.stats, self.stop.clone()).await.unwrap()
    }

    async fn writer(&self) -> Box<dyn Writer> {
        self.log.writer(WriterOptions { transactional_id: Some("w".into()) }).await.unwrap()
    }

    async fn write(&self, records: Vec<Outgoing>) {
        let mut writer = self.writer().await;
        writer.begin().await.unwrap();
        writer.send(records).await.unwrap();
        writer.commit().await.unwrap();
    }
}

async fn until(what: &str, pleases: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while !pleases() {
        assert!(std::time::Instant::now() < deadline, "{what} never came");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_hears_what_was_committed_since_it_lives_and_nothing_else() {
    let bed = Bed::new();
    let first = bed.start().await;
    bed.write(vec![first.record("s", 0, known(1, false), 0)]).await;
    until("the first word", || first.known("s", &[0])[0].is_some()).await;

    let second = bed.start().await;
    let strange =
        |key: &'static str| Outgoing { key: Some(key.into()), ..first.record("s", 0, known(9, true), 0) };
    let records = vec![
        strange("s/-1"),
        strange("s/10000"),
        strange("s"),
        strange("other/0"),
        Outgoing { value: Some("{}".into()), ..strange("s/0") },
        first.record("s", 1, known(NEVER_MS, true), 0),
        first.record("s", 2, known(6, false), 0),
        first.record("s", 2, known(7, true), 0),
    ];
    bed.write(records).await;
    let mut aborted = bed.writer().await;
    aborted.begin().await.unwrap();
    aborted.send(vec![first.record("s", 1, known(5, true), 0)]).await.unwrap();
    aborted.abort().await.unwrap();
    bed.write(vec![first.record("s", 3, known(8, true), 0)]).await;

    until("the last word", || second.known("s", &[0, 1, 2, 3])[3].is_some()).await;
    let later = [Some(known(NEVER_MS, true)), Some(known(7, true)), Some(known(8, true))];
    assert_eq!(second.known("s", &[0, 1, 2, 3]), [&[None], &later[..]].concat());
    until("the same for the first", || first.known("s", &[0, 1, 2, 3])[3].is_some()).await;
    assert_eq!(first.known("s", &[0, 1, 2, 3]), [&[Some(known(1, false))], &later[..]].concat());
    assert_eq!(first.known("other", &[0, 1]), [None, None]);
    assert!(bed.stats.counter(("node", "node".into(), None), "watermarks_unreadable", "").get() >= 4);
    bed.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn who_is_not_heard_of_becomes_unknown_and_what_is_old_is_purged() {
    let bed = Bed::new();
    let watermarks = bed.start().await;
    let tp = [Tp::new("app.watermarks", 0)];
    let began = Instant::now();
    // Time is tokio's and passes only here: the same word each second, for a minute and a half.
    for second in 0..90_i64 {
        bed.write(vec![watermarks.record("s", 0, known(second, false), 0)]).await;
        until("the word", || watermarks.known("s", &[0]) == [Some(known(second, false))]).await;
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let low = || async { bed.log.ends(&tp).await.unwrap()[0].earliest };
    let deadline = std::time::Instant::now() + DEADLINE;
    while low().await == 0 {
        assert!(std::time::Instant::now() < deadline, "nothing was purged");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let age = i64::try_from(began.elapsed().as_secs()).unwrap();
    let kept = 90 - low().await;
    assert!(low().await <= age - 60, "{kept} are left after {age} s: one of the last minute went");

    assert!(
        watermarks.known("s", &[0])[0].is_some() || began.elapsed() > Duration::from_secs(90) + HEARD_MAX
    );
    tokio::time::advance(HEARD_MAX + MARK_EVERY).await;
    assert_eq!(watermarks.known("s", &[0]), [None]);
    bed.stop.cancel();
}
