//! Another process: a member and a writer that can be stopped, woken and killed like a worker.
//!
//! It is this test program, started anew with one test that only obeys: an order a line on its standard input, an answer a line on its output.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use windrow::log::{Group, Log as _, Membership, Result, Tp, Writer};

use crate::world::{assigned, log_with, options, record, writer};

/// How it is started.
pub(crate) struct Role<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partitions: usize,
    pub(crate) instance_id: &'a str,
    pub(crate) output: &'a str,
    pub(crate) session_ms: &'a str,
}

/// A running one; killed when dropped.
pub(crate) struct Other {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts it and waits until it owns its partitions.
    pub(crate) fn start(role: &Role<'_>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "other::obeys", "--ignored", "--nocapture"]);
        command.env("GROUP", role.group).env("TOPIC", role.topic).env("INSTANCE", role.instance_id);
        command.env("PARTITIONS", role.partitions.to_string()).env("OUTPUT", role.output);
        command.env("SESSION_MS", role.session_ms);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut other = Self { child, orders, answers };
        assert_eq!(other.answer(), "owns");
        other
    }

    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    /// The next line that is an answer; the test runner has its own.
    pub(crate) fn answer(&mut self) -> String {
        loop {
            let line = self.answers.next().expect("it still runs").unwrap();
            if let Some((_, answer)) = line.split_once("answer: ") {
                return answer.to_owned();
            }
        }
    }

    pub(crate) fn does(&mut self, order: &str) -> String {
        self.order(order);
        self.answer()
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: plain system call on our own child, which is not reaped yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other process of the tests in `fences`"]
async fn obeys() {
    let given = |name: &str| std::env::var(name).unwrap();
    let log = log_with(&[("session.timeout.ms", &given("SESSION_MS"))]).await;
    let (group, topic, instance_id) = (given("GROUP"), given("TOPIC").into(), given("INSTANCE"));
    let instance_id = (!instance_id.is_empty()).then_some(&*instance_id);
    let partitions: usize = given("PARTITIONS").parse().unwrap();
    let mut member = log.group(options(&group, &topic, instance_id)).await.unwrap();
    assigned(&mut *member, partitions).await;
    let old = member.membership().unwrap();
    let mut writer = writer(&log, &format!("{group}-other")).await;
    println!("answer: owns");
    let unmoved: Vec<(Tp, i64)> = (0..partitions).map(|n| (Tp::new(topic.clone(), n as i32), 0)).collect();
    let output = Tp::new(given("OUTPUT"), 0);
    for order in std::io::stdin().lines() {
        let done = match order.unwrap().as_str() {
            "begin" => begin(&mut *writer, &output).await,
            "commit with the old membership" => commit(&mut *writer, &group, &unmoved, &old).await,
            "commit with a new membership" => anew(&mut *writer, &group, &unmoved, &*member).await,
            "abort" => writer.abort().await,
            other => panic!("no such order: {other}"),
        };
        // The kind is what counts: `Fenced("…")`.
        let kind = format!("{done:?}");
        eprintln!("the other process: {kind}");
        println!("answer: {}", kind.trim_start_matches("Err(").split(['(', ' ']).next().unwrap());
    }
}

async fn begin(writer: &mut dyn Writer, output: &Tp) -> Result<()> {
    writer.begin().await?;
    // More than one batch holds, so that some of it is surely at the broker before the commit.
    writer.send((0..3).map(|_| record(output, &"z".repeat(900_000))).collect()).await
}

async fn commit(
    writer: &mut dyn Writer,
    group: &str,
    positions: &[(Tp, i64)],
    member: &Membership,
) -> Result<()> {
    writer.send_offsets(group, positions, member).await?;
    writer.commit().await
}

async fn anew(
    writer: &mut dyn Writer,
    group: &str,
    positions: &[(Tp, i64)],
    member: &dyn Group,
) -> Result<()> {
    let member = member.membership()?;
    commit(writer, group, positions, &member).await
}
