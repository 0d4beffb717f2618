//! Load: many clients and a publisher in one thread, cheap enough not to be what is measured.
//!
//! **In** a server to load, how many clients, how fast. **Out** how many messages arrived, and how late.
//! **Invariant:** a message's clock starts when it was due, not when there was time to send it; every delivery is counted by
//! the send time inside of it, so messages may share frames.
//! **Not here:** what the server spent (`meter`).
//!
//! | file | part |
//! |---|---|
//! | `client` | one client: `websocket` or `polling` carries it, `talk` is what it says |
//! | `publisher` | one HTTP connection that publishes |
//! | `http` | answers |

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    latency::Latencies,
    poll::{Poll, Ready},
};
use client::Client;
use publisher::Publisher;

mod client;
mod http;
mod polling;
mod publisher;
mod talk;
mod websocket;

pub(super) use talk::Talk;

/// Connections that publish; as many requests may be under way.
const PUBLISHERS: usize = 8;
/// Clients that connect at the same time: more would only wait in the listener's queue.
const CONNECTING_MAX: usize = 64;
/// Longest wait for one client to be let in.
const CONNECT_MAX: Duration = Duration::from_secs(20);
/// Longest wait for what is on its way.
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// The server's side of the talk.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) port: u16,
    pub(super) talk: Talk,
    /// What clients subscribe to.
    pub(super) channel: &'static str,
    /// Where messages are posted, one a line.
    pub(super) publish: &'static str,
}

/// How fast messages come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Publications a second.
    pub(super) per_second: f64,
    /// Messages of one publication.
    pub(super) burst: u32,
    pub(super) seconds: f64,
    /// Bytes of one message.
    pub(super) bytes: usize,
}

/// What arrived.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) deliveries: u64,
    /// Deliveries that never came.
    pub(super) missing: u64,
    pub(super) latencies: Latencies,
}

impl Arrived {
    /// Adds what arrived later.
    pub(super) fn add(&mut self, other: &Arrived) {
        self.deliveries += other.deliveries;
        self.missing += other.missing;
        self.latencies.merge(&other.latencies);
    }
}

/// All clients and publishers of one bench.
pub(super) struct Load {
    poll: Poll,
    clients: Vec<Client>,
    publishers: Vec<Publisher>,
    /// The publisher whose turn it was last.
    turn: usize,
    started: Instant,
    arrived: Arrived,
    sent: u64,
    /// Publications that are due and wait for a free connection.
    due: VecDeque<String>,
    ready: Ready,
    buffer: Vec<u8>,
}

impl Load {
    /// Connects the clients, some at a time, until all are subscribed.
    pub(super) fn connect(target: &Target, clients: usize) -> Result<Self> {
        let mut load = Self {
            poll: Poll::new()?,
            clients: Vec::with_capacity(clients),
            publishers: Vec::new(),
            turn: 0,
            started: Instant::now(),
            arrived: Arrived::default(),
            sent: 0,
            due: VecDeque::new(),
            ready: Ready::new(),
            buffer: vec![0; READ_BYTES],
        };
        load.admit(target, clients)?;
        for i in 0..PUBLISHERS {
            let publisher = Publisher::connect(target)?;
            load.poll.add(publisher.socket(), clients + i)?;
            load.publishers.push(publisher);
        }
        Ok(load)
    }

    fn admit(&mut self, target: &Target, clients: usize) -> Result<()> {
        let (mut admitted, mut last) = (0, Instant::now());
        while admitted < clients {
            while self.clients.len() < clients.min(admitted + CONNECTING_MAX) {
                let client = Client::begin(target)?;
                self.poll.add(client.socket(), self.clients.len())?;
                self.clients.push(client);
            }
            self.poll.wait(&mut self.ready, Some(Duration::from_millis(20)))?;
            for (token, _, _) in self.ready.tokens() {
                let client = &mut self.clients[token];
                let was_ready = client.is_ready();
                client.read(&mut self.buffer, |_| {})?;
                if client.is_ready() && !was_ready {
                    (admitted, last) = (admitted + 1, Instant::now());
                }
            }
            ensure!(last.elapsed() < CONNECT_MAX, "{admitted} of {clients} clients are let in, and no more");
        }
        Ok(())
    }

    /// Publishes at a pace, waits for the last answer and delivery, and tells what arrived since the last call.
    pub(super) fn run(&mut self, pace: Pace) -> Result<Arrived> {
        let from = self.now_ns();
        let step = 1e9 / pace.per_second;
        let publications = (pace.seconds * pace.per_second) as u64;
        for i in 0..publications {
            let due = from + (i as f64 * step) as u64;
            while let left @ 1.. = due.saturating_sub(self.now_ns()) {
                self.round(Duration::from_nanos(left).min(Duration::from_millis(20)))?;
            }
            self.due.push_back(body(due, self.sent, pace));
            self.sent += u64::from(pace.burst);
            self.round(Duration::ZERO)?;
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<Arrived> {
        let wanted = self.sent * self.clients.len() as u64;
        let deadline = Instant::now() + DRAIN_MAX;
        let busy = |load: &Self| !load.due.is_empty() || load.publishers.iter().any(Publisher::busy);
        while (busy(self) || self.arrived.deliveries < wanted) && Instant::now() < deadline {
            self.round(Duration::from_millis(20))?;
        }
        self.sent = 0;
        let arrived = std::mem::take(&mut self.arrived);
        Ok(Arrived { missing: wanted.saturating_sub(arrived.deliveries), ..arrived })
    }

    /// Sends what is due and takes what arrived.
    fn round(&mut self, longest: Duration) -> Result<()> {
        // In turn, so that no connection is idle so long that the server hangs up.
        for _ in 0..PUBLISHERS {
            self.turn = (self.turn + 1) % PUBLISHERS;
            let publisher = &mut self.publishers[self.turn];
            if publisher.busy() {
                continue;
            }
            match self.due.pop_front() {
                Some(body) => publisher.publish(&body)?,
                None => break,
            }
        }
        self.poll.wait(&mut self.ready, Some(longest))?;
        for (token, _, _) in self.ready.tokens() {
            match token.checked_sub(self.clients.len()) {
                Some(publisher) => self.publishers[publisher].read(&mut self.buffer)?,
                None => {
                    let now = u64::try_from(self.started.elapsed().as_nanos())?;
                    let arrived = &mut self.arrived;
                    self.clients[token].read(&mut self.buffer, |sent_ns| {
                        arrived.deliveries += 1;
                        arrived.latencies.add(now.saturating_sub(sent_ns));
                    })?;
                }
            }
        }
        ensure!(self.due.len() < 100_000, "the server takes publications slower than they come");
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Makes the messages of one publication, each with its send time as `t`.
fn body(due_ns: u64, first: u64, pace: Pace) -> String {
    let mut out = String::new();
    for i in 0..u64::from(pace.burst) {
        let head = format!(r#"{{"id":"m{:08}","t":{due_ns},"pad":""#, first + i);
        let pad = pace.bytes.saturating_sub(head.len() + 2);
        out.push_str(&head);
        out.extend(std::iter::repeat_n('y', pad));
        out.push_str("\"}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{child::free_port, fanout::Over, floor_push};

    fn connect(target: &Target, clients: usize) -> Load {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match Load::connect(target, clients) {
                Ok(load) => return load,
                Err(error) => assert!(Instant::now() < deadline, "{error:#}"),
            }
        }
    }

    #[test]
    fn every_message_of_the_floor_arrives_at_every_client_of_every_talk() {
        for (over, talk) in
            [(Over::Websocket, Talk::Bare), (Over::Socketio, Talk::SocketIo), (Over::Polling, Talk::Polling)]
        {
            let port = free_port().unwrap();
            std::thread::spawn(move || floor_push::run(&floor_push::FloorPushArgs { port, over }));
            let mut load = connect(&Target { port, talk, channel: "ticks", publish: "/" }, 100);
            for (burst, bytes) in [(1, 100), (20, 100), (3, 15_000)] {
                let arrived = load.run(Pace { per_second: 200.0, burst, seconds: 0.1, bytes }).unwrap();
                let want = 100 * 20 * u64::from(burst);
                assert_eq!((arrived.deliveries, arrived.missing), (want, 0), "{talk:?}");
                assert!(arrived.latencies.quantile(1.0) > Duration::ZERO);
            }
        }
    }
}
