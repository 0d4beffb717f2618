//! Random lives of a channel against a naive model: whatever happens, what a client was told, applied in order, is what a
//! plain scan of the table gives.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::*;
use crate::{position::Position, sql, value::ColumnType};

pub(super) const FILTERS: [Option<&str>; 6] = [
    None,
    Some("id = 'k1'"),
    Some("id IN ('k1', 'k2', 'k4')"),
    Some("v > 1"),
    Some("id = 'k3' AND v = 2"),
    Some("v = 1 OR id = 'k0'"),
];

#[derive(Debug, Clone)]
enum Op {
    /// Changes of one commit: key, window, value (`None` = tombstone).
    Commit(Vec<(u8, u8, Option<u8>)>),
    Tick(usize),
    Join(usize, usize),
    Pull(usize),
    Piece(usize),
    Refilter(usize, usize),
    Leave(usize),
    Return(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let change = (0..6_u8, 0..4_u8, proptest::option::weighted(0.7, 0..4_u8));
    let op = prop_oneof![
        6 => proptest::collection::vec(change, 1..6).prop_map(Op::Commit),
        2 => (1..3_usize).prop_map(Op::Tick),
        2 => (0..FILTERS.len(), 0..3_usize).prop_map(|(f, t)| Op::Join(f, t)),
        3 => any::<usize>().prop_map(Op::Pull),
        3 => any::<usize>().prop_map(Op::Piece),
        1 => (any::<usize>(), 0..FILTERS.len()).prop_map(|(c, f)| Op::Refilter(c, f)),
        1 => any::<usize>().prop_map(Op::Leave),
        1 => any::<usize>().prop_map(Op::Return),
    ];
    proptest::collection::vec(op, 1..60)
}

pub(super) type Table = BTreeMap<String, Json>;

/// A client as it would be written in a browser.
pub(super) struct Client {
    watch: Option<Watch>,
    filter: usize,
    pub(super) have: Table,
    at: Option<Bytes>,
    /// States that any row had by the time it was told its position.
    states_at: usize,
    reading: Option<(SnapshotCursor, Option<Bytes>)>,
    returned: Option<Returned>,
}

/// With what a client came back.
#[derive(Clone, Copy)]
struct Returned {
    /// It was cut off in the middle of a message.
    is_begun: bool,
    states_at: usize,
}

pub(super) struct World {
    pub(super) channel: Channel,
    offsets: [i64; 2],
    seq: i64,
    /// The table after the last commit, and at each tick's last end.
    tables: [Table; 3],
    /// Every state that any row ever had, tombstones too.
    states: Vec<Json>,
    clients: Vec<Client>,
    /// Whether the ring holds every change there ever was.
    is_all_in_ring: bool,
}

/// Whether a client may be told that a row is gone which it does not have.
pub(super) enum Unseen<'a> {
    /// It has been told exactly what came before.
    Never,
    /// It came back, and its filter matched one of the row's states, of the first so many of all; a tombstone has no `v`.
    Matched { states: &'a [Json], first: usize, filter: usize },
}

pub(super) fn name(key: &[u8]) -> String {
    String::from_utf8(key.to_vec()).unwrap()
}

pub(super) fn key_of(row: &Json) -> String {
    format!("[{},{}]", row["id"], row["window_start"])
}

pub(super) fn rule(filter: usize) -> Option<Arc<dyn Rule>> {
    let columns = columns();
    FILTERS[filter].map(|text| Arc::new(sql::filter(text, &columns).unwrap()) as Arc<dyn Rule>)
}

pub(super) fn wants(filter: usize, row: &Json) -> bool {
    let (id, v) = (row["id"].as_str().unwrap(), row["v"].as_i64().unwrap());
    match filter {
        0 => true,
        1 => id == "k1",
        2 => ["k1", "k2", "k4"].contains(&id),
        3 => v > 1,
        4 => id == "k3" && v == 2,
        _ => v == 1 || id == "k0",
    }
}

pub(super) fn columns() -> Vec<(Arc<str>, Option<ColumnType>)> {
    let columns =
        [("id", ColumnType::Text), ("v", ColumnType::Bigint), ("window_start", ColumnType::Timestamp)];
    columns.map(|(name, ty)| (name.into(), Some(ty))).to_vec()
}

pub(super) fn options(ring_max_bytes: usize) -> ChannelOptions {
    ChannelOptions {
        name: "likes".into(),
        fingerprint: 7,
        columns: columns(),
        key_names: vec!["id".into(), "window_start".into()],
        is_table: true,
        windowed: true,
        has_topics: false,
        keep_rows: 0,
        table_max_bytes: 1 << 20,
        ring_max_bytes,
        unindexed_filters_max: 10,
    }
}

impl World {
    pub(super) fn new(ring_max_bytes: usize) -> Self {
        let mut channel = Channel::new(options(ring_max_bytes));
        channel.begin(11, [(0, 0), (1, 0)]);
        channel.go_live();
        Self {
            channel,
            offsets: [0; 2],
            seq: 0,
            tables: Default::default(),
            states: Vec::new(),
            clients: Vec::new(),
            is_all_in_ring: ring_max_bytes > 1_000,
        }
    }

    pub(super) fn commit(&mut self, changes: &[(u8, u8, Option<u8>)]) {
        for &(key, window, value) in changes {
            let partition = usize::from(key % 2);
            let start = i64::from(window) * 10;
            let key = format!("[\"k{key}\",{start}]");
            self.seq += 1;
            let row = value.map(|v| {
                let id = &key[2..4];
                serde_json::json!({"id": id, "window_start": start, "v": v, "seq": self.seq})
            });
            let none = || serde_json::json!({"id": &key[2..4], "window_start": start});
            self.states.push(row.clone().unwrap_or_else(none));
            let json = row.as_ref().map(Json::to_string);
            let place = (partition as i32, self.offsets[partition]);
            self.offsets[partition] += 1;
            self.channel
                .apply(place, key.as_bytes(), json.as_deref().map(str::as_bytes), Some(start + 10))
                .unwrap();
            match row {
                Some(row) => drop(self.tables[0].insert(key, row)),
                None => drop(self.tables[0].remove(&key)),
            }
        }
        self.channel.commit();
    }

    fn join(&mut self, filter: usize, tick: usize) {
        let mut watch = self.channel.watch(rule(filter), Tick::ALL[tick].0).unwrap();
        let reading = Some(self.channel.snapshot(&mut watch));
        self.clients.push(Client {
            watch: Some(watch),
            filter,
            have: Table::new(),
            at: None,
            states_at: self.states.len(),
            reading,
            returned: None,
        });
    }

    fn client(&self, any: usize) -> Option<usize> {
        (!self.clients.is_empty()).then(|| any % self.clients.len())
    }

    /// Reads one small piece of a client's snapshot.
    fn piece(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let (Some(watch), Some((cursor, at))) = (&mut client.watch, &mut client.reading) else { return };
        match self.channel.piece(watch, cursor, 1 << 10, 2) {
            Ok(piece) => {
                let rows: Vec<Json> = serde_json::from_slice(&piece.rows).unwrap();
                assert_eq!(rows.len(), piece.count);
                for row in rows {
                    assert!(client.have.insert(key_of(&row), row).is_none(), "a snapshot names a row once");
                }
                if !piece.more {
                    (client.at, client.states_at) = (at.take(), self.states.len());
                    client.reading = None;
                }
            }
            Err(Lost) => {
                client.have.clear();
                client.reading = Some(self.channel.snapshot(watch));
            }
        }
    }

    /// Pulls one step. Returns whether there was one.
    fn pull(&mut self, index: usize) -> bool {
        if self.clients[index].reading.is_some() {
            self.piece(index);
            return true;
        }
        let client = &mut self.clients[index];
        let Some(watch) = &mut client.watch else { return false };
        match self.channel.pull(watch) {
            Pulled::Nothing => return false,
            Pulled::Step(step, at) => client.step(&step, at, (&self.states, self.is_all_in_ring)),
            Pulled::Lost | Pulled::Restarted => {
                client.have.clear();
                client.reading = Some(self.channel.snapshot(watch));
            }
        }
        true
    }

    fn settle(&mut self, index: usize) {
        while self.pull(index) {}
    }

    fn refilter(&mut self, index: usize, filter: usize) {
        let client = &mut self.clients[index];
        let Some(mut watch) = client.watch.take() else { return };
        if client.reading.is_none() {
            while let Pulled::Step(step, at) = self.channel.pull_now(&mut watch) {
                client.step(&step, at, (&self.states, self.is_all_in_ring));
            }
        }
        let told = self.channel.refilter(&mut watch, rule(filter)).unwrap();
        client.filter = filter;
        match told.members.filter(|_| client.reading.is_none()) {
            Some(members) => {
                client.apply(&members, &client.unseen(&self.states, self.is_all_in_ring));
                (client.at, client.states_at) = (told.at, self.states.len());
            }
            None => {
                client.have.clear();
                client.reading = Some(self.channel.snapshot(&mut watch));
            }
        }
        client.watch = Some(watch);
    }

    fn leave(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(watch) = client.watch.take() {
            self.channel.unwatch(&watch);
            if client.reading.take().is_some() {
                client.at = None;
            }
        }
    }

    /// Comes back with the last position. Returns whether it was taken up.
    fn come_back(&mut self, index: usize) -> Option<bool> {
        let client = &mut self.clients[index];
        if client.watch.is_some() {
            return None;
        }
        let mut watch = self.channel.watch(rule(client.filter), Tick::Now).unwrap();
        let position = client.at.as_ref().map(|at| Position::decode(&name(at)).unwrap());
        let resumed = position.as_ref().map(|position| self.channel.resume(&mut watch, position));
        let is_begun = position.as_ref().is_some_and(|position| position.is_begun);
        let returned = Returned { is_begun, states_at: client.states_at };
        client.returned = (resumed == Some(Resumed::Yes)).then_some(returned);
        if client.returned.is_none() {
            client.have.clear();
            client.reading = Some(self.channel.snapshot(&mut watch));
        }
        client.watch = Some(watch);
        position.map(|_| resumed == Some(Resumed::Yes))
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Commit(changes) => self.commit(changes),
            Op::Tick(tick) => {
                self.tables[*tick] = self.tables[0].clone();
                self.channel.tick(Tick::ALL[*tick].0);
            }
            Op::Join(filter, tick) => self.join(*filter, *tick),
            Op::Pull(any) => drop(self.client(*any).map(|c| self.pull(c))),
            Op::Piece(any) => drop(self.client(*any).map(|c| self.piece(c))),
            Op::Refilter(any, filter) => drop(self.client(*any).map(|c| self.refilter(c, *filter))),
            Op::Leave(any) => drop(self.client(*any).map(|c| self.leave(c))),
            Op::Return(any) => drop(self.client(*any).map(|c| self.come_back(c))),
        }
    }

    /// Ends all ticks and lets everybody pull: all must have exactly what matches.
    fn check(&mut self) {
        for (tick, _) in &Tick::ALL[1..3] {
            self.channel.tick(*tick);
        }
        for index in 0..self.clients.len() {
            self.settle(index);
            let client = &self.clients[index];
            if client.watch.is_none() {
                continue;
            }
            let want = self.tables[0].iter().filter(|(_, row)| wants(client.filter, row));
            let want: Table = want.map(|(k, row)| (k.clone(), row.clone())).collect();
            assert_eq!(client.have, want, "client {index}, filter {:?}", FILTERS[client.filter]);
        }
    }
}

impl Unseen<'_> {
    fn holds(&self, key: &str) -> bool {
        match self {
            Unseen::Never => false,
            Unseen::Matched { states, first, filter } => {
                let mut of_row = states[..*first].iter().filter(|state| key_of(state) == key);
                // What was before a tombstone is not known.
                of_row.any(|state| state["v"].is_null() || wants(*filter, state))
            }
        }
    }
}

impl Client {
    /// A client without a connection that has these rows.
    pub(super) fn at(filter: usize, have: Table) -> Self {
        Self { watch: None, filter, have, at: None, states_at: 0, reading: None, returned: None }
    }

    /// Takes a step as a session tells it: the position of the last whole one, until there is another.
    fn step(&mut self, step: &Step, at: Option<Bytes>, (states, is_all_in_ring): (&[Json], bool)) {
        self.apply(&step.members, &self.unseen(states, is_all_in_ring));
        if let Some(at) = at {
            (self.at, self.states_at) = (Some(at), states.len());
        } else if !step.members.is_empty() {
            self.cut();
        }
    }

    /// Makes its position that of a client which was told a part of what followed.
    fn cut(&mut self) {
        let at = self.at.take().map(|at| Position::decode(&name(&at)).unwrap());
        self.at = at.map(|at| Position { is_begun: true, ..at }.encode().unwrap().into());
    }

    fn unseen<'a>(&self, states: &'a [Json], is_all_in_ring: bool) -> Unseen<'a> {
        match self.returned {
            None => Unseen::Never,
            Some(Returned { is_begun: false, .. }) if is_all_in_ring => Unseen::Never,
            Some(Returned { is_begun, states_at }) => {
                let first = if is_begun { states.len() } else { states_at };
                Unseen::Matched { states, first, filter: self.filter }
            }
        }
    }

    pub(super) fn apply(&mut self, members: &[u8], unseen: &Unseen<'_>) {
        if members.is_empty() {
            return;
        }
        let message: Json = serde_json::from_str(&format!("{{{}}}", name(members))).unwrap();
        for gone in message["gone"].as_array().into_iter().flatten() {
            if self.have.remove(&key_of(gone)).is_none() {
                assert!(unseen.holds(&key_of(gone)), "{gone} was never visible");
            }
        }
        if let Some(end) = message["retired"].as_i64() {
            self.have.retain(|_, row| row["window_start"].as_i64().unwrap() + 10 > end);
        }
        for row in message["rows"].as_array().unwrap() {
            if let Some(old) = self.have.insert(key_of(row), row.clone()) {
                assert!(old["seq"].as_i64() <= row["seq"].as_i64(), "{row} is older than {old}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_client_has_exactly_what_matches(ops in ops()) {
        let mut world = World::new(1 << 20);
        for op in &ops {
            world.step(op);
        }
        world.check();
    }

    #[test]
    fn clients_that_the_ring_has_passed_begin_anew_and_have_the_same(ops in ops()) {
        let mut world = World::new(900);
        for op in &ops {
            world.step(op);
        }
        world.check();
    }

    #[test]
    fn a_position_is_taken_up_whenever_the_ring_holds_it(before in ops(), after in ops(), filter in 0..FILTERS.len()) {
        let mut world = World::new(1 << 20);
        before.iter().filter(|op| matches!(op, Op::Commit(_))).for_each(|op| world.step(op));
        world.join(filter, 0);
        world.settle(0);
        world.leave(0);
        after.iter().filter(|op| matches!(op, Op::Commit(_))).for_each(|op| world.step(op));
        prop_assert_eq!(world.come_back(0), Some(true));
        world.check();
    }
}

/// A client that was cut off in the middle of what it missed has a part of it, and still its old position.
#[test]
fn a_row_that_came_and_left_is_named_to_who_may_have_been_told_half() {
    let (k0, k3) = ((0, 0, Some(0)), (3, 3, Some(1)));
    let mut world = World::new(1 << 20);
    world.commit(&[k3]);
    world.join(0, 0);
    world.settle(0);
    world.leave(0);
    world.commit(&[k0]);
    assert_eq!(world.come_back(0), Some(true));
    let at = world.clients[0].at.clone();
    world.settle(0);
    world.leave(0);
    // The rows came through, the position after them did not.
    world.clients[0].at = at;
    world.clients[0].cut();
    world.commit(&[(0, 0, None), (2, 0, Some(1))]);
    assert_eq!(world.come_back(0), Some(true));
    world.check();
}

/// It came, went and never matched where a client stood that has all that its position says.
#[test]
fn a_row_that_a_client_never_had_is_not_named_to_it() {
    let mut world = World::new(1 << 20);
    world.commit(&[(0, 0, Some(0)), (1, 0, Some(1))]);
    world.join(3, 0);
    world.settle(0);
    world.leave(0);
    for v in [2, 0] {
        world.commit(&[(0, 0, Some(v)), (2, 0, Some(v))]);
    }
    assert_eq!(world.come_back(0), Some(true));
    world.check();
}
