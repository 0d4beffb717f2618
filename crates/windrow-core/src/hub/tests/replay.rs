//! Coming back to a sequence: whatever of it the ring still holds, wherever the connection broke, the client's sequence is the
//! topic's.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::{
    super::*,
    model::{FILTERS, name, options, rule, wants},
};
use crate::position::Position;

const PARTITIONS: i32 = 2;

#[derive(Debug, Clone)]
enum Op {
    /// Records of one partition: partition, values.
    Write(i32, Vec<u8>),
    /// The node is replaced by one that reads from now on.
    Replace,
    /// The connection breaks after so many messages, and the client comes back.
    Pull(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..PARTITIONS, proptest::collection::vec(0..4_u8, 1..8)).prop_map(|(p, v)| Op::Write(p, v)),
        1 => Just(Op::Replace),
        3 => (0..6_usize).prop_map(Op::Pull),
    ];
    proptest::collection::vec(op, 1..50)
}

struct World {
    log: Vec<Vec<Row>>,
    channel: Channel,
    ring_max_bytes: usize,
}

fn row(partition: i32, offset: i64, v: u8) -> Row {
    // Large rows: a step takes few of them.
    let pad = "x".repeat(60_000);
    let json =
        format!("{{\"id\":\"k{}\",\"v\":{v},\"p\":{partition},\"o\":{offset},\"pad\":\"{pad}\"}}", v % 3);
    let key = format!("[{partition},{offset}]").into_bytes().into();
    Row { key, json: json.into_bytes().into(), window_end_ms: None, partition, offset, born: offset }
}

impl World {
    fn new(ring_max_bytes: usize) -> Self {
        let log = (0..PARTITIONS).map(|_| Vec::new()).collect();
        let mut world = Self { log, channel: Channel::new(options(0)), ring_max_bytes };
        world.replace();
        world
    }

    fn replace(&mut self) {
        let of = ChannelOptions { is_table: false, windowed: false, ..options(self.ring_max_bytes) };
        self.channel = Channel::new(of);
        self.channel.begin(11, (0..).zip(self.log.iter().map(|rows| rows.len() as i64)));
        self.channel.go_live();
    }

    fn write(&mut self, partition: i32, values: &[u8]) {
        let log = &mut self.log[partition as usize];
        for &v in values {
            let row = row(partition, log.len() as i64, v);
            self.channel.apply((partition, row.offset), &row.key, Some(&row.json), None).unwrap();
            log.push(row);
        }
        self.channel.commit();
    }

    /// Lets a client take up to `messages` messages from where it stands.
    fn pull(&mut self, client: &mut Client, messages: usize) {
        let mut watch = self.channel.watch(rule(client.filter), Tick::Now).unwrap();
        let Some(at) = &client.at else {
            client.at = self.channel.idle_position(&mut watch).map(|at| at.to_vec());
            return self.channel.unwatch(&watch);
        };
        let mut position = Position::decode(&name(at)).unwrap();
        let mut live = false;
        for _ in 0..messages {
            if !live {
                match self.channel.resume(&mut watch, &position) {
                    Resumed::Yes => live = true,
                    Resumed::Log(missing) => {
                        let (partition, from) = missing[0];
                        let log = &self.log[partition as usize];
                        // A chunk may begin before and end anywhere.
                        let begin = usize::try_from(from).unwrap().saturating_sub(1);
                        let end = log.len().min(begin + 7);
                        let next = (partition, end as i64);
                        let told = self.channel.replay(&watch, &mut position, next, &log[begin..end]);
                        client.hear(&told.members, told.at);
                        continue;
                    }
                    other => panic!("{other:?}"),
                }
            }
            match self.channel.pull(&mut watch) {
                Pulled::Step(step, at) => client.hear(&step.members, at),
                Pulled::Nothing => break,
                other => panic!("{other:?}"),
            }
        }
        self.channel.unwatch(&watch);
    }
}

struct Client {
    filter: usize,
    at: Option<Vec<u8>>,
    heard: Vec<Vec<i64>>,
}

impl Client {
    fn hear(&mut self, members: &[u8], at: Option<Bytes>) {
        self.at = at.map(|at| at.to_vec()).or(self.at.take());
        if members.is_empty() {
            return;
        }
        let message: Json = serde_json::from_str(&format!("{{{}}}", name(members))).unwrap();
        for row in message["rows"].as_array().unwrap() {
            self.heard[row["p"].as_u64().unwrap() as usize].push(row["o"].as_i64().unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_clients_sequence_is_the_topics(ops in ops(), filter in 0..FILTERS.len(), ring in prop_oneof![Just(200_000_usize), Just(8 << 20)]) {
        let mut world = World::new(ring);
        let mut client = Client { filter, at: None, heard: vec![Vec::new(); PARTITIONS as usize] };
        world.pull(&mut client, 1);
        for op in &ops {
            match op {
                Op::Write(partition, values) => world.write(*partition, values),
                Op::Replace => world.replace(),
                Op::Pull(messages) => world.pull(&mut client, *messages),
            }
        }
        world.pull(&mut client, 10_000);
        for (heard, log) in client.heard.iter().zip(&world.log) {
            let wanted = log.iter().filter(|row| wants(filter, &serde_json::from_slice(&row.json).unwrap()));
            prop_assert_eq!(heard, &wanted.map(|row| row.offset).collect::<Vec<_>>(), "filter {:?}", FILTERS[filter]);
        }
    }
}

#[test]
fn a_position_in_the_middle_never_falls_behind_what_the_client_has_of_another_partition() {
    let mut world = World::new(8 << 20);
    world.write(1, &[0; 8]);
    world.write(0, &[0; 8]);
    let mut watch = world.channel.watch(None, Tick::Now).unwrap();
    let mut position = Position::decode(&name(&world.channel.idle_position(&mut watch).unwrap())).unwrap();
    position.topics[0].offsets = vec![(0, 8), (1, 0)];
    assert_eq!(world.channel.resume(&mut watch, &position), Resumed::Yes);
    let Pulled::Step(step, Some(at)) = world.channel.pull(&mut watch) else { panic!("a step") };
    let at = Position::decode(&name(&at)).unwrap().topics[0].offsets.clone();
    assert_eq!(
        at,
        [(0, 8), (1, step.rows as i64)],
        "a part of partition 1, and all of partition 0 as before"
    );
    assert!(step.rows < 8);
}

#[test]
fn a_client_that_comes_back_and_does_not_read_makes_nobody_hold_what_it_missed() {
    let mut world = World::new(8 << 20);
    let mut watch = world.channel.watch(None, Tick::Now).unwrap();
    let position = Position::decode(&name(&world.channel.idle_position(&mut watch).unwrap())).unwrap();
    world.write(0, &[0; 40]);
    world.write(1, &[0; 40]);
    assert_eq!(world.channel.resume(&mut watch, &position), Resumed::Yes);
    let mut rows = 0;
    loop {
        assert!(watch.resuming.as_ref().is_none_or(|resuming| resuming.noted() <= missed::NOTED_MAX));
        match world.channel.pull(&mut watch) {
            Pulled::Step(step, _) => rows += step.rows,
            other => break assert!(matches!(other, Pulled::Nothing)),
        }
    }
    assert_eq!(rows, 80);
}
