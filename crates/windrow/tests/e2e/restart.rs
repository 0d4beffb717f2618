//! A restart repeats nothing: what was written before it is not written again.

use std::sync::Arc;

use windrow::{
    config::Sync,
    log::{Log, embedded::EmbeddedLog},
};

use crate::{process::Windrow, topic::read_all};

const CONFIG: &str = r#"
app = "restart"
[log]
directory = "${DATA}"
[streams.clicks]
topic = "clicks"
time = { column = "ts", unit = "ms" }
max_ahead = "30d"
until = "end"
[views.copied]
sql = "SELECT video AS v, ts FROM clicks WHERE video <> 'nobody'"
topic = "copies"
[views.counted]
sql = "SELECT video, count(*) AS n FROM clicks GROUP BY video"
topic = "counts"
topic_emit = "changes"
[listeners.main]
bind = "127.0.0.1:0"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_writes_only_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("windrow.toml"), folder.path().join("data"));
    std::fs::write(&config, CONFIG).unwrap();
    let (config, data) = (config.display().to_string(), data.display().to_string());
    let produce = |seed: &str| {
        let what = ["produce", "--directory", &data, "--topic", "clicks", "--count", "500", "--seed", seed];
        Windrow::run(&what, &[]);
    };
    let serve = || Windrow::run(&["serve", "--config", &config, "--until-end"], &[("DATA", data.clone())]);

    produce("1");
    serve();
    serve();
    assert_eq!(copies(&data).await, 500, "after a restart without news");
    produce("2");
    serve();
    assert_eq!(copies(&data).await, 1000, "after a restart with news");
}

async fn copies(data: &str) -> usize {
    let log: Arc<dyn Log> = EmbeddedLog::open(data.as_ref(), Sync::Commit).unwrap();
    read_all(&log, "copies").await.len()
}
