//! Faults that seeds have found, each told on its own: a calm world, and just the steps that it takes.

use std::ops::AsyncFnOnce;

use windrow::log::Tp;
use windrow_core::engine::TaskOptions;

use crate::{
    broker::Knobs,
    scenario::{SOURCE, Scenario, View},
    world::World,
};

/// A world without faults of its own: one view in windows of 10 ms.
fn calm(partitions: i32) -> Scenario {
    let view = View {
        name: "v0".into(),
        size_ms: Some(10),
        grace_ms: 0,
        retain_ms: None,
        changes: true,
        user_topic: false,
    };
    Scenario {
        partitions,
        keyed: true,
        lateness_ms: 5,
        views: vec![view],
        views_at_first: 1,
        static_members: false,
        session_ms: 1500,
        answer_ms: 270_000,
        knobs: Knobs {
            slow_markers: 0,
            marker_max_ms: 1,
            failures: 0,
            lost_answers: 0,
            slow_calls: 0,
            call_max_ms: 1,
            transaction_ms: 5000,
        },
        bounds: TaskOptions::default(),
        steps: 0,
        loses_records: true,
    }
}

/// Runs the steps, then peace, in which everything must come right.
fn tell(scenario: Scenario, steps: impl AsyncFnOnce(&mut World) -> Result<(), String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let told = tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut world = World::new(1, scenario, false).await;
        steps(&mut world).await?;
        world.finish().await
    });
    told.unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn a_worker_that_slept_while_it_restored_does_not_call_that_a_disagreement() {
    for delay_ms in 0..12 {
        tell(calm(1), async |world| {
            world.start(None).await;
            world.pass(1000).await;
            world.produce();
            world.pass(1000).await;
            world.kill_nth(0);
            world.start(None).await;
            let generation = world.generation();
            while world.generation() == generation {
                world.pass(1).await;
            }
            world.pass(delay_ms).await;
            world.freeze_nth(0);
            world.start(None).await;
            for _ in 0..10 {
                world.produce();
                world.pass(500).await;
            }
            world.thaw();
            world.pass(3000).await;
            world.check(true).await
        });
    }
}

#[test]
fn what_retention_takes_between_the_start_position_and_the_first_journal_is_told() {
    tell(calm(1), async |world| {
        world.start(None).await;
        while world.committed(&Tp::new(SOURCE, 0)).is_none() {
            world.pass(1).await;
        }
        world.kill_nth(0);
        for _ in 0..5 {
            world.produce();
        }
        world.purge(&Tp::new(SOURCE, 0), 9);
        world.start(None).await;
        world.pass(5000).await;
        world.check(true).await
    });
}

#[test]
fn a_worker_whose_last_commit_is_refused_stops_in_good_order() {
    for delay_ms in (0..100).step_by(9) {
        tell(calm(1), async |world| {
            world.start(None).await;
            world.pass(1000).await;
            world.produce();
            world.pass(delay_ms).await;
            world.freeze_nth(0);
            world.start(None).await;
            world.pass(4000).await;
            world.stop_nth(0);
            world.thaw();
            world.pass(3000).await;
            world.check(true).await
        });
    }
}
