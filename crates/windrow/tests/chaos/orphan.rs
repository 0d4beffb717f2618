//! Orphans: a process that dies in the middle of a commit holds its readers back for no more than [`HELD_MAX`], and its partitions
//! only until it comes back.
//!
//! It is frozen until it is caught with its transaction open, then killed. What it holds back is a record that somebody else
//! writes behind that transaction: a read_committed reader sees it only when the transaction is settled.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::{
    dice::Dice,
    process::DEADLINE,
    world::{Shape, World, client},
};

/// The design's bound.
const HELD_MAX: Duration = Duration::from_secs(15);
/// Far below the session time-out of 45 s, which whoever is not recognised waits for.
const BACK_MAX: Duration = Duration::from_secs(15);
/// Markers of a transaction that is already decided arrive by then.
const DECIDED: Duration = Duration::from_millis(300);

/// The end of a partition, as a reader of this isolation has it.
fn ends(address: &str, topic: &str, partition: i32, isolation: &str) -> i64 {
    let consumer: BaseConsumer = client(address).set("isolation.level", isolation).create().unwrap();
    consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).unwrap().1
}

fn is_open(address: &str, topic: &str, partition: i32) -> bool {
    ends(address, topic, partition, "read_committed") < ends(address, topic, partition, "read_uncommitted")
}

/// Freezes the engine until it is caught with a transaction open; tells in which partition.
fn catch(world: &mut World, engine: usize, dice: &mut Dice) -> i32 {
    let (address, topic) = (world.broker.address(), world.topic("-copies"));
    let open = || (0..world.feed.partitions()).find(|partition| is_open(&address, &topic, *partition));
    let engine = world.engines[engine].as_ref().expect("it runs");
    let end = Instant::now() + DEADLINE;
    loop {
        engine.signal(libc::SIGSTOP);
        if open().is_some() {
            std::thread::sleep(DECIDED);
            if let Some(partition) = open() {
                return partition;
            }
        }
        engine.signal(libc::SIGCONT);
        assert!(Instant::now() < end, "it was never caught in the middle of a commit");
        std::thread::sleep(Duration::from_millis(20 + dice.below(60)));
    }
}

/// See [`self`].
pub(crate) async fn run(seed: u64, replay: String) {
    let mut dice = Dice(seed);
    let mut world = World::start("orphan", Shape::Local, Duration::from_secs(45), dice.next(), replay).await;
    world.settle();
    let partition = catch(&mut world, 0, &mut dice);
    world.note(format!("engine 0 dies with a transaction open in partition {partition}"));
    let topic = world.topic("-copies");
    world.send_sentinel(&topic, partition);
    let killed = Instant::now();
    world.engine(0).kill();
    world.wait("the record behind the open transaction", |ledger| {
        ledger.sentinels.contains(&(topic.clone(), partition))
    });
    let held = killed.elapsed();
    println!("readers were held back for {held:?}");
    if held > HELD_MAX {
        world.fail(&format!("readers were held back for {held:?}, more than {HELD_MAX:?}"));
    }
    let back = Instant::now();
    world.start_engine(0);
    world.settle();
    println!("its partitions were folded again after {:?}", back.elapsed());
    if back.elapsed() > BACK_MAX {
        world.fail(&format!("its partitions were not folded for {:?}", back.elapsed()));
    }
    world.finish();
}
