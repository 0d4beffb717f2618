//! Channels over several topics, which come and go.

use super::{
    super::*,
    model::{name, options},
};
use crate::position::Position;

/// Two topics, and what became of them.
struct World {
    channel: Channel,
    a: i32,
    b: i32,
}

const A: u64 = 100;
const B: u64 = 50;

impl World {
    fn new(is_table: bool, ring_max_bytes: usize) -> Self {
        let options = ChannelOptions {
            is_table,
            windowed: false,
            has_topics: true,
            key_names: vec!["id".into()],
            keep_rows: 10,
            ..options(ring_max_bytes)
        };
        let mut channel = Channel::new(options);
        let (a, b) = (channel.begin(A, [(0, 5)])[0], channel.begin(B, [(0, 0)])[0]);
        channel.go_live();
        Self { channel, a, b }
    }

    fn write(&mut self, place: i32, id: &str, v: Option<i64>) {
        let offset = self.channel.offsets().get(&place).copied().unwrap_or(1_000);
        let json = v.map(|v| format!("{{\"id\":\"{id}\",\"v\":{v}}}"));
        let key = format!("[\"{id}\"]");
        self.channel
            .apply((place, offset), key.as_bytes(), json.as_deref().map(str::as_bytes), None)
            .unwrap();
        self.channel.commit();
    }

    fn watch(&mut self) -> Watch {
        self.channel.watch(None, Tick::Now).unwrap()
    }

    fn at(&mut self) -> Position {
        let mut watch = self.watch();
        let at = self.channel.idle_position(&mut watch).unwrap();
        Position::decode(&name(&at)).unwrap()
    }

    fn snapshot(&mut self) -> String {
        let mut watch = self.watch();
        let (mut cursor, _) = self.channel.snapshot(&mut watch);
        name(&self.channel.piece(&watch, &mut cursor, 1 << 20, 100).unwrap().rows)
    }

    /// What somebody is told who comes back.
    fn resume(&mut self, position: &Position) -> Result<Vec<String>, Resumed> {
        let mut watch = self.watch();
        let resumed = self.channel.resume(&mut watch, position);
        if resumed != Resumed::Yes {
            return Err(resumed);
        }
        Ok(told(&mut self.channel, &mut watch))
    }
}

fn told(channel: &mut Channel, watch: &mut Watch) -> Vec<String> {
    let mut told = Vec::new();
    while let Pulled::Step(step, _) = channel.pull(watch) {
        told.extend(Some(name(&step.members)).filter(|members| !members.is_empty()));
    }
    told
}

#[test]
fn a_position_holds_every_topic_and_is_taken_up_over_all() {
    let mut world = World::new(true, 1 << 20);
    let before = world.at();
    assert_eq!(
        before.topics.iter().map(|t| (t.epoch, t.offsets[0])).collect::<Vec<_>>(),
        [(B, (0, 0)), (A, (0, 5))]
    );
    let (a, b) = (world.a, world.b);
    world.write(a, "x", Some(1));
    world.write(b, "y", Some(2));
    let (x, y) = (r#"{"id":"x","v":1}"#, r#"{"id":"y","v":2}"#);
    assert_eq!(world.resume(&before), Ok(vec![format!("\"rows\":[{x},{y}]")]));
    let mut half = world.at();
    assert_eq!(world.resume(&half), Ok(vec![]));
    *half.offset_mut((A, 0)) = 5;
    assert_eq!(world.resume(&half), Ok(vec![format!("\"rows\":[{x}]")]));
}

#[test]
fn a_topic_that_a_position_lacks_is_told_from_its_beginning() {
    let mut world = World::new(true, 1 << 20);
    let before = world.at();
    let c = world.channel.begin(7, [(0, 0)])[0];
    world.write(c, "z", Some(3));
    assert_eq!(world.resume(&before), Ok(vec![r#""rows":[{"id":"z","v":3}]"#.to_owned()]));
}

#[test]
fn the_rows_of_a_topic_leave_with_it_and_nothing_else_does() {
    let mut world = World::new(true, 1 << 20);
    let (a, b) = (world.a, world.b);
    let mut watch = world.watch();
    world.write(a, "x", Some(1));
    world.write(b, "y", Some(2));
    let with_both = world.at();
    assert_eq!(told(&mut world.channel, &mut watch).len(), 1);
    assert!(world.channel.forget(A));
    world.channel.commit();
    assert_eq!(told(&mut world.channel, &mut watch), [r#""rows":[],"gone":[{"id":"x"}]"#]);
    assert_eq!(world.snapshot(), r#"[{"id":"y","v":2}]"#);
    assert_eq!(world.resume(&with_both), Err(Resumed::Ahead(vec![((A, 0), 6)])));
    let without = world.at();
    assert_eq!(without.topics.len(), 1);
    world.write(a, "x", Some(9));
    world.write(b, "y", Some(3));
    let want = r#""rows":[{"id":"y","v":3}]"#.to_owned();
    assert_eq!(
        told(&mut world.channel, &mut watch),
        std::slice::from_ref(&want),
        "a topic that is gone tells nothing"
    );
    assert_eq!(world.resume(&without), Ok(vec![want]));
}

#[test]
fn a_topic_that_leaves_while_somebody_is_told_what_it_missed_is_not_passed_over() {
    let mut world = World::new(true, 1 << 20);
    let (a, b) = (world.a, world.b);
    world.write(a, "x", Some(1));
    let at = world.at();
    world.write(b, "y", Some(2));
    let mut watch = world.watch();
    assert_eq!(world.channel.resume(&mut watch, &at), Resumed::Yes);
    assert!(world.channel.forget(A));
    world.channel.commit();
    assert!(matches!(world.channel.pull(&mut watch), Pulled::Lost), "it has x, and must hear that x is gone");
}

#[test]
fn a_sequence_goes_on_without_a_topic_that_left_and_tells_nothing_of_it_again() {
    let mut world = World::new(false, 1 << 20);
    let (a, b) = (world.a, world.b);
    world.write(a, "x", Some(1));
    let mut position = world.at();
    world.write(b, "y", Some(2));
    assert!(world.channel.forget(A));
    world.channel.commit();
    assert!(world.channel.forget_unknown(&mut position));
    assert_eq!(world.resume(&position), Ok(vec![r#""rows":[{"id":"y","v":2}]"#.to_owned()]));
    assert_eq!(world.snapshot(), r#"[{"id":"y","v":2}]"#);
}

#[test]
fn where_topics_share_rows_the_loss_of_one_is_not_decided_here() {
    let mut world = World::new(true, 1 << 20);
    let (a, b) = (world.a, world.b);
    world.write(a, "x", Some(1));
    world.write(b, "x", Some(2));
    assert!(!world.channel.forget(B), "what x was in the other topic is not known any more");
    assert_eq!(world.snapshot(), r#"[{"id":"x","v":2}]"#);
}

#[test]
fn what_left_in_another_topic_than_it_was_told_from_is_in_doubt_where_the_ring_ends() {
    let mut world = World::new(true, 600);
    let (a, b) = (world.a, world.b);
    world.write(a, "x", Some(1));
    let mut only_a = world.at();
    only_a.topics.retain(|topic| topic.epoch == A);
    world.write(b, "x", None);
    for v in 0..20 {
        world.write(a, "other", Some(v));
    }
    assert_eq!(world.resume(&only_a), Err(Resumed::No(Lapse::History)));
}
