//! Random lives of a channel against a naive model: whatever happens, what a client was told, applied in order, is what a
//! plain scan of the table gives.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::{sql, value::ColumnType};

const FILTERS: [Option<&str>; 6] = [
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

type Table = BTreeMap<String, Json>;

/// A client as it would be written in a browser.
struct Client {
    watch: Option<Watch>,
    filter: usize,
    have: Table,
    at: Option<Bytes>,
    reading: Option<(SnapshotCursor, Option<Bytes>)>,
}

struct World {
    channel: Channel,
    offsets: [i64; 2],
    seq: i64,
    /// The table after the last commit, and at each tick's last end.
    tables: [Table; 3],
    clients: Vec<Client>,
}

fn name(key: &[u8]) -> String {
    String::from_utf8(key.to_vec()).unwrap()
}

fn key_of(row: &Json) -> String {
    format!("[{},{}]", row["id"], row["window_start"])
}

fn rule(filter: usize) -> Option<Arc<dyn Rule>> {
    let columns = columns();
    FILTERS[filter].map(|text| Arc::new(sql::filter(text, &columns).unwrap()) as Arc<dyn Rule>)
}

fn wants(filter: usize, row: &Json) -> bool {
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

fn columns() -> Vec<(Arc<str>, Option<ColumnType>)> {
    let columns =
        [("id", ColumnType::Text), ("v", ColumnType::Bigint), ("window_start", ColumnType::Timestamp)];
    columns.map(|(name, ty)| (name.into(), Some(ty))).to_vec()
}

fn options(ring_max_bytes: usize) -> ChannelOptions {
    ChannelOptions {
        name: "likes".into(),
        fingerprint: 7,
        columns: columns(),
        key_names: vec!["id".into(), "window_start".into()],
        is_table: true,
        windowed: true,
        keep_rows: 0,
        table_max_bytes: 1 << 20,
        ring_max_bytes,
        unindexed_filters_max: 10,
    }
}

impl World {
    fn new(ring_max_bytes: usize) -> Self {
        let mut channel = Channel::new(options(ring_max_bytes));
        channel.begin(11, [(0, 0), (1, 0)]);
        channel.go_live();
        Self { channel, offsets: [0; 2], seq: 0, tables: Default::default(), clients: Vec::new() }
    }

    fn commit(&mut self, changes: &[(u8, u8, Option<u8>)]) {
        for &(key, window, value) in changes {
            let partition = usize::from(key % 2);
            let start = i64::from(window) * 10;
            let key = format!("[\"k{key}\",{start}]");
            self.seq += 1;
            let row = value.map(|v| {
                let id = &key[2..4];
                serde_json::json!({"id": id, "window_start": start, "v": v, "seq": self.seq})
            });
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
        self.clients.push(Client { watch: Some(watch), filter, have: Table::new(), at: None, reading });
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
                    client.at = at.take();
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
            Pulled::Step(step, at) => {
                client.apply(&step.members);
                client.at = at.or(client.at.take());
            }
            Pulled::Lost => {
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
                client.apply(&step.members);
                client.at = at.or(client.at.take());
            }
        }
        let told = self.channel.refilter(&mut watch, rule(filter)).unwrap();
        client.filter = filter;
        match told.members.filter(|_| client.reading.is_none()) {
            Some(members) => {
                client.apply(&members);
                client.at = told.at;
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
        if resumed != Some(Resumed::Yes) {
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

impl Client {
    fn apply(&mut self, members: &[u8]) {
        if members.is_empty() {
            return;
        }
        let message: Json = serde_json::from_str(&format!("{{{}}}", name(members))).unwrap();
        for gone in message["gone"].as_array().into_iter().flatten() {
            assert!(self.have.remove(&key_of(gone)).is_some(), "{gone} was never visible");
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

fn step_text(channel: &mut Channel, watch: &mut Watch) -> String {
    match channel.pull(watch) {
        Pulled::Step(step, _) => name(&step.members),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_window_that_left_is_told_in_one_number_and_a_single_row_by_its_name() {
    let mut world = World::new(1 << 20);
    world.commit(&[(0, 0, Some(1)), (1, 0, Some(1)), (2, 1, Some(1)), (3, 1, Some(1))]);
    let mut watch = world.channel.watch(None, Tick::Now).unwrap();
    world.commit(&[(2, 1, None)]);
    assert_eq!(
        step_text(&mut world.channel, &mut watch),
        r#""rows":[],"gone":[{"id":"k2","window_start":10}]"#
    );
    world.commit(&[(0, 0, None)]);
    assert_eq!(
        step_text(&mut world.channel, &mut watch),
        r#""rows":[],"gone":[{"id":"k0","window_start":0}]"#
    );
    world.commit(&[(1, 0, None)]);
    assert_eq!(step_text(&mut world.channel, &mut watch), r#""rows":[],"retired":10"#);
    world.commit(&[(3, 1, None)]);
    assert_eq!(step_text(&mut world.channel, &mut watch), r#""rows":[],"retired":20"#);
    world.commit(&[(3, 1, None)]);
    assert_eq!(step_text(&mut world.channel, &mut watch), "Nothing");
}

#[test]
fn changes_of_one_row_are_conflated_and_one_that_came_and_went_is_not_told() {
    let mut world = World::new(1 << 20);
    let mut watch = world.channel.watch(None, Tick::Now).unwrap();
    world.commit(&[(0, 0, Some(1)), (0, 0, Some(2)), (1, 0, Some(3)), (0, 0, Some(3)), (2, 0, Some(1))]);
    world.commit(&[(2, 0, None)]);
    let Pulled::Step(step, _) = world.channel.pull(&mut watch) else { panic!("a step") };
    assert_eq!(
        name(&step.members),
        r#""rows":[{"id":"k0","seq":4,"v":3,"window_start":0},{"id":"k1","seq":3,"v":3,"window_start":0}]"#
    );
    assert_eq!((step.rows, step.conflated), (2, 3));
}

#[test]
fn clients_of_one_filter_share_one_step() {
    let mut world = World::new(1 << 20);
    let mut one = world.channel.watch(rule(1), Tick::Now).unwrap();
    let mut two = world.channel.watch(rule(1), Tick::Now).unwrap();
    world.commit(&[(1, 0, Some(1)), (2, 0, Some(1))]);
    let (Pulled::Step(a, _), Pulled::Step(b, _)) =
        (world.channel.pull(&mut one), world.channel.pull(&mut two))
    else {
        panic!("two steps")
    };
    assert!(Arc::ptr_eq(&a, &b));
    assert_eq!(world.channel.size().filters, 1);
}

#[test]
fn a_change_wakes_the_filters_that_it_concerns_and_no_others() {
    let mut world = World::new(1 << 20);
    let one = world.channel.watch(rule(1), Tick::Now).unwrap();
    let two = world.channel.watch(rule(4), Tick::Now).unwrap();
    let slow = world.channel.watch(rule(1), Tick::Second).unwrap();
    world.channel.apply((0, 0), b"[\"k1\",0]", Some(br#"{"id":"k1","v":1}"#), None).unwrap();
    assert_eq!(world.channel.commit(), [one.filter]);
    assert_eq!(one.filter, slow.filter);
    assert_eq!(world.channel.tick(Tick::Second), [slow.filter]);
    world.channel.apply((0, 1), b"[\"k3\",0]", Some(br#"{"id":"k3","v":2}"#), None).unwrap();
    assert_eq!(world.channel.commit(), [two.filter]);
    world.channel.apply((0, 2), b"[\"k3\",0]", Some(br#"{"id":"k3","v":3}"#), None).unwrap();
    assert_eq!(world.channel.commit(), [two.filter], "it no longer matches, and is told so");
    world.channel.apply((0, 3), b"[\"k3\",0]", Some(br#"{"id":"k3","v":4}"#), None).unwrap();
    assert_eq!(world.channel.commit(), []);
}

#[test]
fn a_hundred_thousand_clients_with_an_equality_cost_one_lookup_a_row() {
    let mut world = World::new(1 << 20);
    let filters = 100_000;
    let columns = columns();
    for i in 0..filters {
        let filter = sql::filter(&format!("id = 'k{i}'"), &columns).unwrap();
        world.channel.watch(Some(Arc::new(filter)), Tick::Now).unwrap();
    }
    let began = std::time::Instant::now();
    for offset in 0..5_000 {
        let row = format!("{{\"id\":\"k{}\",\"v\":1}}", offset % filters);
        world
            .channel
            .apply((0, offset), format!("[\"k{offset}\",0]").as_bytes(), Some(row.as_bytes()), None)
            .unwrap();
    }
    assert_eq!(world.channel.commit().len(), 5_000);
    // 5,000 rows × 100,000 evaluations would take minutes.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn filters_without_an_equality_are_bounded_by_name_and_shared_ones_are_free() {
    let mut world = World::new(1 << 20);
    let columns = columns();
    let watch = |world: &mut World, text: &str| {
        world.channel.watch(Some(Arc::new(sql::filter(text, &columns).unwrap())), Tick::Now)
    };
    let mut all: Vec<_> = (0..10).map(|i| watch(&mut world, &format!("v > {i}")).unwrap()).collect();
    assert_eq!(watch(&mut world, "v > 10").unwrap_err(), TooManyFilters { max: 10 });
    all.push(watch(&mut world, "v > 3").unwrap());
    all.push(watch(&mut world, "id = 'x'").unwrap());
    for one in all.drain(..) {
        world.channel.unwatch(&one);
    }
    assert_eq!(world.channel.size().filters, 0);
    watch(&mut world, "v > 10").unwrap();
}

#[test]
fn a_sequence_keeps_order_and_its_last_rows() {
    let mut channel =
        Channel::new(ChannelOptions { is_table: false, windowed: false, keep_rows: 2, ..options(1 << 20) });
    channel.begin(1, [(0, 5)]);
    channel.go_live();
    let mut early = channel.watch(None, Tick::Now).unwrap();
    for offset in 5..9 {
        let row = format!("{{\"v\":{offset}}}");
        channel.apply((0, offset), b"[1]", Some(row.as_bytes()), None).unwrap();
    }
    channel.apply((0, 6), b"[1]", Some(b"{}"), None).unwrap();
    channel.commit();
    assert_eq!(step_text(&mut channel, &mut early), r#""rows":[{"v":5},{"v":6},{"v":7},{"v":8}]"#);
    let mut late = channel.watch(None, Tick::Now).unwrap();
    let (mut cursor, _) = channel.snapshot(&mut late);
    let piece = channel.piece(&late, &mut cursor, 1000, 1).unwrap();
    assert_eq!((name(&piece.rows), piece.more), ("[{\"v\":7}]".to_owned(), true));
    let piece = channel.piece(&late, &mut cursor, 1000, 10).unwrap();
    assert_eq!((name(&piece.rows), piece.more), ("[{\"v\":8}]".to_owned(), false));
}

#[test]
fn a_piece_says_more_only_when_there_is_more_and_a_large_row_comes_alone() {
    let mut world = World::new(1 << 20);
    world.commit(&[(0, 0, Some(1)), (1, 0, Some(1)), (2, 0, Some(3)), (3, 0, Some(1)), (4, 0, Some(3))]);
    let mut watch = world.channel.watch(rule(3), Tick::Now).unwrap();
    let mut pieces = |bytes_max: usize, rows_max: usize| {
        let (mut cursor, _) = world.channel.snapshot(&mut watch);
        let mut all = Vec::new();
        loop {
            let piece = world.channel.piece(&watch, &mut cursor, bytes_max, rows_max).unwrap();
            all.push((piece.count, piece.more));
            if !piece.more {
                return all;
            }
        }
    };
    assert_eq!(pieces(1_000, 2), [(2, false)], "rows that do not match are not more");
    assert_eq!(pieces(1_000, 1), [(1, true), (1, false)]);
    assert_eq!(pieces(10, 10), [(1, true), (1, false)], "each is larger than a piece");
}

#[test]
fn a_watcher_that_was_passed_is_lost_and_can_be_told_how_much_it_missed() {
    let mut channel = Channel::new(ChannelOptions { is_table: false, windowed: false, ..options(1_000) });
    channel.begin(1, [(0, 0)]);
    channel.go_live();
    let mut watch = channel.watch(None, Tick::Now).unwrap();
    for offset in 0..50 {
        channel.apply((0, offset), b"[1]", Some(b"{\"v\":1}"), None).unwrap();
    }
    channel.commit();
    assert_eq!(channel.waiting_bytes(&watch), 50 * 7);
    assert!(matches!(channel.pull(&mut watch), Pulled::Lost));
    channel.tick(Tick::Second);
    assert!(matches!(channel.pull(&mut watch), Pulled::Lost));
    let (missed, at) = channel.skip(&mut watch);
    assert_eq!(missed, 50);
    assert!(at.is_some());
    assert!(matches!(channel.pull(&mut watch), Pulled::Nothing));
}

#[test]
fn a_position_of_another_question_or_topic_is_not_taken_up_and_one_ahead_waits() {
    let mut world = World::new(1 << 20);
    world.commit(&[(0, 0, Some(1))]);
    let mut watch = world.channel.watch(None, Tick::Now).unwrap();
    let at = world.channel.idle_position(&mut watch).unwrap();
    let good = Position::decode(&name(&at)).unwrap();
    let mut try_with = |change: &dyn Fn(&mut Position)| {
        let mut position = good.clone();
        change(&mut position);
        world.channel.resume(&mut watch, &position)
    };
    assert_eq!(try_with(&|_| {}), Resumed::Yes);
    assert_eq!(try_with(&|p| p.question += 1), Resumed::No);
    assert_eq!(try_with(&|p| p.topics[0].epoch += 1), Resumed::No);
    assert_eq!(try_with(&|p| p.topics.clear()), Resumed::No);
    assert_eq!(try_with(&|p| p.topics[0].offsets[0].1 += 1), Resumed::Ahead);
    assert_eq!(try_with(&|p| p.topics[0].offsets.push((7, 1))), Resumed::Ahead);
    assert_eq!(
        try_with(&|p| p.topics[0].offsets.clear()),
        Resumed::Yes,
        "a partition not in it: from its start"
    );
}
