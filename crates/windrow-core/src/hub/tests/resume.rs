//! Coming back to a table on a node that read it anew, from a topic that may have been compacted: what the client has in the end
//! is what a plain scan gives, and no key that it may never have had is named; or the answer is no. It may have been told more than its
//! position says, where the line was cut in the middle.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{
    super::*,
    model::{Client, FILTERS, Table, Unseen, name, options, rule, wants},
};
use crate::position::{Position, TopicPosition};

/// One record of a topic with two partitions: place, key, window, value (`None` = tombstone).
#[derive(Debug, Clone)]
struct Record {
    partition: i32,
    offset: i64,
    key: String,
    end_ms: i64,
    row: Option<Json>,
}

impl Record {
    /// Returns the row, or its key alone.
    fn state(&self) -> Json {
        let key: Json = serde_json::from_str(&self.key).unwrap();
        self.row.clone().unwrap_or_else(|| json!({"id": key[0], "window_start": key[1]}))
    }
}

/// The topic as it was written.
fn topic(changes: &[(u8, u8, Option<u8>)]) -> Vec<Record> {
    let mut next = [0_i64; 2];
    let record = |(seq, &(key, window, value)): (usize, &(u8, u8, Option<u8>))| {
        let (id, start, partition) = (format!("k{key}"), i64::from(window) * 10, usize::from(key % 2));
        let offset = next[partition];
        next[partition] += 1;
        let row = value.map(|v| json!({"id": id, "window_start": start, "v": v, "seq": seq}));
        let (partition, key) = (partition as i32, format!("[\"{id}\",{start}]"));
        Record { partition, offset, key, end_ms: start + 10, row }
    };
    changes.iter().enumerate().map(record).collect()
}

/// The newest states among the records.
fn state(records: &[Record]) -> Table {
    let mut table = Table::new();
    for record in records {
        match &record.row {
            Some(row) => drop(table.insert(record.key.clone(), row.clone())),
            None => drop(table.remove(&record.key)),
        }
    }
    table
}

/// Where a client stands that was told these records.
fn offsets(records: &[Record]) -> Vec<(i32, i64)> {
    let mut next = BTreeMap::new();
    for record in records {
        next.insert(record.partition, record.offset + 1);
    }
    next.into_iter().collect()
}

/// Keeps of each key the newest record alone, as compaction does.
fn compact(records: &[Record]) -> Vec<Record> {
    let is_newest =
        |(i, record): &(usize, &Record)| records[i + 1..].iter().all(|later| later.key != record.key);
    records.iter().enumerate().filter(is_newest).map(|(_, record)| record.clone()).collect()
}

fn feed(channel: &mut Channel, records: &[Record]) {
    for record in records {
        let json = record.row.as_ref().map(Json::to_string);
        let place = (record.partition, record.offset);
        let json = json.as_deref().map(str::as_bytes);
        channel.apply(place, record.key.as_bytes(), json, Some(record.end_ms)).unwrap();
        channel.commit();
    }
}

/// A node that reads the topic's first `live` records, of which the first `compacted` were compacted, and sees the rest come.
fn node(records: &[Record], compacted: usize, live: usize, ring_max_bytes: usize) -> Channel {
    let mut channel = Channel::new(options(ring_max_bytes));
    channel.begin(11, [(0, 0), (1, 0)]);
    feed(&mut channel, &compact(&records[..compacted]));
    feed(&mut channel, &records[compacted..live]);
    // The reader's position moves past holes at the end, too.
    offsets(&records[..live]).into_iter().for_each(|(partition, next)| channel.advance(partition, next));
    channel.commit();
    channel.go_live();
    feed(&mut channel, &records[live..]);
    channel
}

fn matching(filter: usize, table: Table) -> Table {
    table.into_iter().filter(|(_, row)| wants(filter, row)).collect()
}

/// Lets a client that was told the first `told` records come back; checks what it has in the end.
fn come_back(channel: &mut Channel, records: &[Record], told: usize, filter: usize) -> Resumed {
    come_back_with_more(channel, records, (told, told), filter, records.len())
}

/// The same of a client that was also told what came up to `shown`, but not the position of that. Only rows are named that matched
/// in the first `named` records.
fn come_back_with_more(
    channel: &mut Channel,
    records: &[Record],
    (told, shown): (usize, usize),
    filter: usize,
    named: usize,
) -> Resumed {
    let mut watch = channel.watch(rule(filter), Tick::Now).unwrap();
    let at = channel.idle_position(&mut watch).unwrap();
    let question = Position::decode(&name(&at)).unwrap().question;
    let topics = vec![TopicPosition { epoch: 11, offsets: offsets(&records[..told]) }];
    let resumed = channel.resume(&mut watch, &Position { question, topics, is_begun: shown > told });
    if resumed == Resumed::Yes {
        let mut client = Client::at(filter, matching(filter, state(&records[..shown])));
        let states: Vec<Json> = records.iter().map(Record::state).collect();
        let mut last = None;
        loop {
            match channel.pull(&mut watch) {
                Pulled::Step(step, at) => {
                    client.apply(&step.members, &Unseen::Matched { states: &states, first: named, filter });
                    last = at.or(last);
                }
                Pulled::Nothing => break,
                other => panic!("{other:?}"),
            }
        }
        let want = matching(filter, state(records));
        if client.have != want {
            let stale: Vec<_> = client.have.iter().filter(|(key, row)| want.get(*key) != Some(row)).collect();
            let missing: Vec<_> =
                want.iter().filter(|(key, row)| client.have.get(*key) != Some(row)).collect();
            panic!("filter {:?}, told {told}: stale {stale:?}, missing {missing:?}", FILTERS[filter]);
        }
        assert_eq!(last, Some(at), "in the end it stands where everybody does");
    }
    channel.unwatch(&watch);
    resumed
}

fn changes() -> impl Strategy<Value = Vec<(u8, u8, Option<u8>)>> {
    let change = (0..6_u8, 0..4_u8, proptest::option::weighted(0.7, 0..4_u8));
    proptest::collection::vec(change, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn what_a_client_has_that_came_back_is_what_matches(
        changes in changes(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 4),
        ring in prop_oneof![Just(900_usize), Just(1 << 20)],
    ) {
        let records = topic(&changes);
        let cut = |i: usize| cuts[i].index(records.len() + 1);
        let (told, live) = (cut(0), cut(1).max(cut(2)));
        let mut channel = node(&records, cut(1).min(cut(2)), live, ring);
        for filter in 0..FILTERS.len() {
            // Whoever was told a part of something has the position of a snapshot, which names all partitions.
            let shown = if offsets(&records[..told]).len() == 2 { cut(3).max(told) } else { told };
            // What compaction took before the node was there may have been anything.
            let named = if shown > told || told < live { records.len() } else { told };
            let resumed = come_back_with_more(&mut channel, &records, (told, shown), filter, named);
            prop_assert!(matches!(resumed, Resumed::Yes | Resumed::No(Lapse::History)), "{:?}", resumed);
            if told >= live && ring > 1_000 {
                prop_assert_eq!(resumed, Resumed::Yes, "nothing was compacted since the node is live");
            }
        }
    }
}

const FILTER_NONE: usize = 0;
const FILTER_KEY: usize = 2;
const FILTER_VALUE: usize = 3;

/// Tells what becomes of a client that was told the first `told` changes, for each of three filters.
fn outcomes(changes: &[(u8, u8, Option<u8>)], told: usize, compacted: usize, ring: usize) -> [bool; 3] {
    let records = topic(changes);
    let mut channel = node(&records, compacted, records.len(), ring);
    [FILTER_NONE, FILTER_KEY, FILTER_VALUE]
        .map(|filter| come_back(&mut channel, &records, told, filter) == Resumed::Yes)
}

#[test]
fn a_node_that_read_everything_anew_takes_up_what_the_topic_still_proves() {
    let (a1, a2, b1, b3) = ((1, 0, Some(1)), (1, 0, Some(2)), (2, 0, Some(1)), (2, 0, Some(3)));
    let (a_gone, keeper) = ((1, 0, None), (5, 0, Some(3)));
    let large = 1 << 20;
    for (what, changes, told, compacted, ring, want) in [
        ("updates, all still there", vec![a1, b1, a2, b3], 2, 0, large, [true, true, true]),
        (
            "updates that match, the former states compacted",
            vec![a1, b1, a2, b3],
            2,
            4,
            large,
            [true, true, true],
        ),
        ("one may have matched before", vec![b3, keeper, b1], 2, 3, large, [true, true, false]),
        ("one left, its states still there", vec![keeper, a1, a2, a_gone], 2, 0, large, [true, true, true]),
        (
            "one left, and may never have been told",
            vec![keeper, a1, a2, a_gone],
            1,
            4,
            large,
            [false, false, false],
        ),
        ("past the ring, no filter or one on the key", vec![a1, b1, a2, b3], 2, 0, 1, [true, true, false]),
    ] {
        assert_eq!(outcomes(&changes, told, compacted, ring), want, "{what}");
    }
}

#[test]
fn a_position_from_before_tombstones_may_have_vanished_is_history() {
    let records = topic(&[(0, 0, Some(1)), (0, 0, Some(2)), (0, 0, Some(3))]);
    let mut channel = Channel::new(options(1 << 20));
    channel.begin(11, [(0, 0), (1, 0)]);
    feed(&mut channel, &records);
    channel.aged(0, 0, TOMBSTONES_KEPT_MS);
    channel.go_live();
    assert_eq!(come_back(&mut channel, &records, 1, FILTER_NONE), Resumed::Yes);
    channel.aged(0, 1, TOMBSTONES_KEPT_MS + 1);
    assert_eq!(come_back(&mut channel, &records, 1, FILTER_NONE), Resumed::No(Lapse::History));
    assert_eq!(come_back(&mut channel, &records, 2, FILTER_NONE), Resumed::Yes);
    assert_eq!(come_back(&mut channel, &records, 0, FILTER_NONE), Resumed::Yes, "it never saw the partition");
}

#[test]
fn after_a_restart_all_watchers_begin_anew_and_old_positions_are_of_another_epoch() {
    let records = topic(&[(0, 0, Some(1)), (2, 0, Some(2))]);
    let mut channel = node(&records, 0, 2, 1 << 20);
    let mut watch = channel.watch(None, Tick::Second).unwrap();
    let (mut cursor, _) = channel.snapshot(&mut watch);
    channel.restart();
    assert_eq!(channel.piece(&watch, &mut cursor, 1000, 10), Err(Lost));
    assert!(matches!(channel.pull(&mut watch), Pulled::Restarted));
    channel.begin(12, [(0, 0)]);
    feed(&mut channel, &records[..1]);
    channel.go_live();
    assert!(matches!(channel.pull(&mut watch), Pulled::Restarted));
    assert_eq!(channel.idle_position(&mut watch), None);
    let (mut cursor, at) = channel.snapshot(&mut watch);
    assert_eq!(channel.piece(&watch, &mut cursor, 1000, 10).unwrap().count, 1);
    assert_eq!(Position::decode(&name(&at.unwrap())).unwrap().topics[0].epoch, 12);
    assert!(matches!(channel.pull(&mut watch), Pulled::Nothing));
    assert_eq!(come_back(&mut channel, &records, 1, FILTER_NONE), Resumed::No(Lapse::Epoch));
}

#[test]
fn a_window_that_left_altogether_and_came_again_is_history_to_who_knew_it_before() {
    let records = topic(&[(4, 1, Some(0)), (4, 1, None), (0, 0, Some(0))]);
    let mut channel = node(&records, 2, 2, 1 << 20);
    assert_eq!(come_back(&mut channel, &records, 1, FILTER_NONE), Resumed::No(Lapse::History));
    assert_eq!(come_back(&mut channel, &records, 2, FILTER_NONE), Resumed::Yes);
}

/// Its tombstone was read from a compacted topic, so nobody knows what it was like; the client does.
#[test]
fn a_row_that_left_unseen_and_came_back_unlike_is_history_to_who_may_have_known_it() {
    let (known, gone, unlike, like) = ((5, 2, Some(2)), (5, 2, None), (5, 2, Some(0)), (5, 2, Some(3)));
    for (back, want) in [(unlike, Resumed::No(Lapse::History)), (like, Resumed::Yes)] {
        let records = topic(&[known, (3, 0, Some(0)), gone, back]);
        let mut channel = node(&records, 3, 3, 900);
        assert_eq!(come_back(&mut channel, &records, 2, FILTER_VALUE), want, "{back:?}");
        assert_eq!(come_back(&mut channel, &records, 2, FILTER_NONE), Resumed::Yes, "it is replaced");
    }
}
