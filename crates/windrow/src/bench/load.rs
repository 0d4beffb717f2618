//! Load: many WebSocket clients and a publisher in one thread, cheap enough not to be what is measured.
//!
//! **In** a server to load, how many clients, how fast. **Out** how many messages arrived, and how late.
//! **Invariant:** a message's clock starts when it was due, not when there was time to send it; every delivery is counted by
//! the send time inside of it, so messages may share frames.
//! **Not here:** what the server spent (`meter`).
//!
//! | file | part |
//! |---|---|
//! | `client` | one WebSocket client |
//! | `publisher` | one HTTP connection that publishes |

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
mod publisher;

/// Connections that publish; as many requests may be under way.
const PUBLISHERS: usize = 8;
/// Longest wait for what is on its way.
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// The server's side of the talk.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) port: u16,
    /// First message of a client; its answer says that the client is subscribed. `None` = the upgrade does.
    pub(super) subscribe: Option<&'static str>,
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
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) deliveries: u64,
    /// Deliveries that never came.
    pub(super) missing: u64,
    pub(super) latencies: Latencies,
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
    /// Connects and subscribes the clients, one after the other.
    pub(super) fn connect(target: &Target, clients: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let mut buffer = vec![0; READ_BYTES];
        let clients = (0..clients)
            .map(|token| {
                let client = Client::connect(target, &mut buffer)?;
                poll.add(client.socket(), token)?;
                Ok(client)
            })
            .collect::<Result<Vec<_>>>()?;
        let publishers = (0..PUBLISHERS)
            .map(|i| {
                let publisher = Publisher::connect(target)?;
                poll.add(publisher.socket(), clients.len() + i)?;
                Ok(publisher)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            poll,
            clients,
            publishers,
            turn: 0,
            started: Instant::now(),
            arrived: Arrived { deliveries: 0, missing: 0, latencies: Latencies::new() },
            sent: 0,
            due: VecDeque::new(),
            ready: Ready::new(),
            buffer,
        })
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
        let none = Arrived { deliveries: 0, missing: 0, latencies: Latencies::new() };
        let arrived = std::mem::replace(&mut self.arrived, none);
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
    use crate::bench::{child::free_port, floor_push};

    #[test]
    fn every_message_of_the_floor_arrives_at_every_client() {
        let port = free_port().unwrap();
        std::thread::spawn(move || floor_push::run(&floor_push::FloorPushArgs { port }));
        let target = Target { port, subscribe: None, publish: "/" };
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut load = loop {
            match Load::connect(&target, 20) {
                Ok(load) => break load,
                Err(error) => assert!(Instant::now() < deadline, "{error:#}"),
            }
        };
        for (burst, bytes) in [(1, 100), (20, 100), (3, 20_000)] {
            let arrived = load.run(Pace { per_second: 200.0, burst, seconds: 0.1, bytes }).unwrap();
            assert_eq!((arrived.deliveries, arrived.missing), (20 * 20 * u64::from(burst), 0));
            assert!(arrived.latencies.quantile(1.0) > Duration::ZERO);
        }
    }
}
