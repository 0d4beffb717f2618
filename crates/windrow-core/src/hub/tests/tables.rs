//! Tables and sequences, one rule at a time.

use std::sync::Arc;

use super::{
    super::*,
    model::{World, columns, name, options, rule},
};
use crate::{position::Position, sql};

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
fn who_asks_for_each_state_of_a_table_is_told_each_in_order_beside_those_who_do_not() {
    let mut world = World::new(1 << 20);
    let mut newest = world.channel.watch(None, Tick::Now).unwrap();
    let mut each = world.channel.watch(None, Tick::Now).unwrap().each();
    let mut some = world.channel.watch(rule(3), Tick::Now).unwrap().each();
    world.commit(&[(0, 0, Some(1)), (0, 0, Some(2)), (1, 0, Some(3)), (0, 0, Some(3)), (1, 0, Some(1))]);
    world.commit(&[(0, 0, None), (0, 0, Some(0))]);
    let told = |channel: &mut Channel, watch: &mut Watch| {
        let Pulled::Step(step, at) = channel.pull(watch) else { panic!("a step") };
        assert!(at.is_some());
        let told: serde_json::Value = serde_json::from_str(&format!("{{{}}}", name(&step.members))).unwrap();
        let row = |row: &serde_json::Value| format!("{}={}", row["id"].as_str().unwrap(), row["v"]);
        assert!(told.get("gone").is_none());
        told["rows"].as_array().unwrap().iter().map(row).collect::<Vec<_>>().join(" ")
    };
    for _ in 0..2 {
        let mut other = Watch { ..world.channel.watch(None, Tick::Now).unwrap().each() };
        other.no = each.no;
        assert_eq!(told(&mut world.channel, &mut other), "k0=1 k0=2 k1=3 k0=3 k1=1 k0=0");
    }
    assert_eq!(told(&mut world.channel, &mut newest), "k0=0 k1=1");
    assert_eq!(told(&mut world.channel, &mut each), "k0=1 k0=2 k1=3 k0=3 k1=1 k0=0");
    // What no longer matches is not told, and what left neither.
    assert_eq!(told(&mut world.channel, &mut some), "k0=2 k1=3 k0=3");
    world.channel.refilter(&mut each, rule(1)).unwrap();
    world.commit(&[(1, 0, Some(2)), (1, 0, Some(3)), (0, 0, Some(3))]);
    assert_eq!(told(&mut world.channel, &mut each), "k1=2 k1=3", "as it was, through another filter");
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
    assert_eq!(try_with(&|p| p.question += 1), Resumed::No(Lapse::Question));
    assert_eq!(try_with(&|p| p.topics[0].epoch += 1), Resumed::No(Lapse::Epoch));
    assert_eq!(try_with(&|p| p.topics.clear()), Resumed::No(Lapse::Question));
    assert_eq!(try_with(&|p| p.topics[0].offsets[0].1 += 1), Resumed::Ahead(vec![((11, 0), 2)]));
    assert_eq!(try_with(&|p| p.topics[0].offsets.push((7, 1))), Resumed::Ahead(vec![((11, 7), 1)]));
    assert_eq!(
        try_with(&|p| p.topics[0].offsets.clear()),
        Resumed::Yes,
        "a partition not in it: from its start"
    );
}
