//! Both dialects by the library that their clients are written with: Python's `websockets`.
//!
//! It comes from the package index at the first run and stays below `target/`; without Python or the network the tests fail and say what to
//! install.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::OnceCell,
};

use super::{realtime_events, visit_aggregator};
use crate::world::{PATIENCE, World};

const PACKAGE: &str = "websockets==15.0.1";

/// Installs the library into a folder of its own, once; it appears whole or not at all.
async fn library() -> &'static PathBuf {
    static HOME: OnceCell<PathBuf> = OnceCell::const_new();
    HOME.get_or_init(install).await
}

async fn install() -> PathBuf {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    if home.exists() {
        return home;
    }
    let part = home.with_extension(format!("part{}", std::process::id()));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target"]);
    let output = pip.arg(&part).arg(PACKAGE).output().await;
    let output = output.expect("python3 does not start; install it: apt-get install -y python3 python3-pip");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{PACKAGE} is needed, and `python3 -m pip install {PACKAGE}` failed:\n{told}"
    );
    // Whoever was first may have won.
    if std::fs::rename(&part, &home).is_err() {
        let _ = std::fs::remove_dir_all(&part);
    }
    home
}

struct Python {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Python {
    async fn start(scenario: &str, world: &World) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/originals/clients.py");
        let mut python = Command::new("python3");
        python.arg(script).arg(scenario).arg(world.address().to_string());
        python.env("PYTHONPATH", library().await).env("PYTHONNOUSERSITE", "1").stdout(Stdio::piped());
        let mut child = python.kill_on_drop(true).spawn().expect("python3 starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { lines, _child: child }
    }

    /// The next line; nothing when it has ended.
    async fn says(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time").unwrap()
    }

    async fn must_say(&mut self, want: &[&str]) {
        for want in want {
            assert_eq!(self.says().await.as_deref(), Some(*want));
        }
    }
}

#[tokio::test]
async fn websockets_hears_frames_sets_a_filter_and_closes() {
    let mut world = visit_aggregator::world().await;
    let mut python = Python::start("visits", &world).await;
    python.must_say(&["ready"]).await;
    visit_aggregator::row(&mut world, 1, Some("us"), 0, 5, true).await;
    python.must_say(&[&visit_aggregator::frame(1, Some("us"), 0, 5), "ready"]).await;
    visit_aggregator::row(&mut world, 1, None, 0, 6, true).await;
    visit_aggregator::row(&mut world, 2, None, 0, 7, true).await;
    python.must_say(&[&visit_aggregator::frame(2, None, 0, 7), "closed 1000"]).await;
    assert_eq!(python.says().await, None);
}

#[tokio::test]
async fn websockets_is_refused_or_hears_pings_and_events() {
    let mut world = realtime_events::world().await;
    let mut python = Python::start("events", &world).await;
    let refused = "refused 403 text/plain 0";
    python.must_say(&[refused, refused, refused, "True", "ready"]).await;
    realtime_events::until(|| world.hub.is_live("clicks")).await;
    realtime_events::records(&mut world, "video_clicks", &[2, 1]).await;
    python.must_say(&["True"]).await;
    assert_eq!(python.says().await, None);
}
