//! Fences: who was killed holds nobody back for long, who slept changes nothing, and who only saw the group move may go on.

use std::time::{Duration, Instant};

use windrow::log::{GroupEvent, Log as _, LogError, Tp};

use crate::{
    eventually::within,
    other::{Other, Role},
    world::{assigned, event, log, log_with, options, put, read, record, topic, unique, writer},
};

/// The shortest session the test broker grants is 1 s.
const SESSION_MS: &str = "1500";

/// A transaction of a killed process is aborted by the broker; until then no read_committed reader of the same partition gets on.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_with_an_open_transaction_holds_nobody_back_for_more_than_15_s() {
    let log = log().await;
    let (input, output) = (topic(&log, 1).await, Tp::new(topic(&log, 1).await, 0));
    let group = unique("g");
    let mut other = Other::start(&Role {
        group: &group,
        topic: &input,
        partitions: 1,
        instance_id: "",
        output: &output.topic,
        session_ms: SESSION_MS,
    });
    assert_eq!(other.does("begin"), "Ok");
    within("its records arrive", async {
        while log.ends(std::slice::from_ref(&output)).await.unwrap()[0].high_watermark == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    other.kill();
    let killed = Instant::now();
    put(&log, &output, "after").await;
    let ends = log.ends(std::slice::from_ref(&output)).await.unwrap()[0];
    assert_eq!(ends.last_stable, 0, "the open transaction holds readers back: {ends:?}");
    assert_eq!(read(&log, &output, 1).await, ["after"]);
    let held = killed.elapsed();
    println!("readers were held back for {held:?}");
    assert!(held < Duration::from_secs(15), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_static_member_reclaims_its_partitions_at_once() {
    let log = log().await;
    let (input, group) = (topic(&log, 2).await, unique("g"));
    let mut other = Other::start(&Role {
        group: &group,
        topic: &input,
        partitions: 2,
        instance_id: "a",
        output: &input,
        session_ms: "45000",
    });
    other.kill();
    let killed = Instant::now();
    let mut again = log.group(options(&group, &input, Some("a"))).await.unwrap();
    assigned(&mut *again, 2).await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}, and its session lasts 45 s");
    again.leave().await.unwrap();
}

/// It sleeps past its session with a transaction open, its partitions go to another member; then it wakes and wants to commit positions that did
/// not move.
async fn a_sleeper_is_fenced(instance_id: &str, order: &str) {
    let log = log().await;
    let (input, output) = (topic(&log, 2).await, Tp::new(topic(&log, 1).await, 0));
    let group = unique("g");
    let mut other = Other::start(&Role {
        group: &group,
        topic: &input,
        partitions: 2,
        instance_id,
        output: &output.topic,
        session_ms: SESSION_MS,
    });
    assert_eq!(other.does("begin"), "Ok");
    other.signal(libc::SIGSTOP);
    let heir_id = (!instance_id.is_empty()).then_some("heir");
    let mut heir = log.group(options(&group, &input, heir_id)).await.unwrap();
    assigned(&mut *heir, 2).await;
    let tps = [Tp::new(input.clone(), 0), Tp::new(input, 1)];
    let mut of_heir = writer(&log, &unique("w")).await;
    of_heir.begin().await.unwrap();
    let positions = [(tps[0].clone(), 7), (tps[1].clone(), 8)];
    of_heir.send_offsets(&group, &positions, &heir.membership().unwrap()).await.unwrap();
    within("the heir commits", of_heir.commit()).await.unwrap();
    // The order is there before it wakes, so nothing warns it.
    other.order(order);
    other.signal(libc::SIGCONT);
    assert_eq!(other.answer(), "Fenced");
    let _ = other.does("abort");
    assert_eq!(log.committed(&group, &tps).await.unwrap(), [Some(7), Some(8)]);
    put(&log, &output, "after").await;
    assert_eq!(read(&log, &output, 1).await, ["after"], "what the sleeper wrote is not to be seen");
    heir.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeper_with_its_old_membership_is_fenced_at_unmoved_positions() {
    a_sleeper_is_fenced("", "commit with the old membership").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeper_that_takes_its_membership_anew_is_fenced() {
    a_sleeper_is_fenced("", "commit with a new membership").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_sleeper_is_fenced() {
    a_sleeper_is_fenced("sleeper", "commit with the old membership").await;
}

#[tokio::test]
async fn a_group_that_moved_asks_for_the_membership_anew_and_takes_it() {
    let log = log().await;
    let (input, group) = (topic(&log, 2).await, unique("g"));
    let mut first = log.group(options(&group, &input, None)).await.unwrap();
    assigned(&mut *first, 2).await;
    let old = first.membership().unwrap();
    let mut second = log.group(options(&group, &input, None)).await.unwrap();
    // The generation has moved when the first is asked to give one back. It finishes what it has, then answers.
    let GroupEvent::Revoked(given) = event(&mut *first).await else { panic!("revoked") };
    let kept = Tp::new(input.clone(), 1 - given[0].partition);
    let positions = [(kept.clone(), 3), (given[0].clone(), 4)];
    let mut writer = writer(&log, &unique("w")).await;
    writer.begin().await.unwrap();
    let told = writer.send_offsets(&group, &positions, &old).await;
    assert!(matches!(told, Err(LogError::Rebalancing(_))), "{told:?}");
    within("abort", writer.abort()).await.unwrap();
    writer.begin().await.unwrap();
    writer.send_offsets(&group, &positions, &first.membership().unwrap()).await.unwrap();
    within("commit", writer.commit()).await.unwrap();
    first.answer();
    assigned(&mut *second, 1).await;
    // Once more: what is kept is committed by whoever keeps it.
    let anew = within("the first is back", async {
        loop {
            tokio::select! {
                _ = first.next() => first.answer(),
                () = tokio::task::yield_now() => {}
            }
            writer.begin().await.unwrap();
            let positions = [(kept.clone(), 5)];
            let sent = writer.send_offsets(&group, &positions, &first.membership().unwrap()).await;
            match sent {
                Ok(()) => return writer.commit().await,
                Err(LogError::Rebalancing(_)) => writer.abort().await.unwrap(),
                Err(error) => return Err(error),
            }
        }
    });
    anew.await.unwrap();
    let committed = log.committed(&group, &[kept, given[0].clone()]).await.unwrap();
    assert_eq!(committed, [Some(5), Some(4)]);
    first.leave().await.unwrap();
    second.leave().await.unwrap();
}

/// The group gives partitions away when their worker takes too long; the member is in the new generation then, and only its own side knows that
/// the worker has not heard of it.
#[tokio::test]
async fn a_worker_that_does_not_answer_in_time_gets_no_membership() {
    let log = log_with(&[("session.timeout.ms", "1000"), ("max.poll.interval.ms", "2000")]).await;
    let (input, group) = (topic(&log, 2).await, unique("g"));
    let mut first = log.group(options(&group, &input, None)).await.unwrap();
    assigned(&mut *first, 2).await;
    let mut second = log.group(options(&group, &input, None)).await.unwrap();
    let GroupEvent::Revoked(given) = event(&mut *first).await else { panic!("revoked") };
    assert!(first.membership().is_ok(), "it may finish its transaction");
    let GroupEvent::Assigned(taken) = event(&mut *second).await else { panic!("assigned") };
    assert_eq!(taken, given, "the group did not wait for the answer");
    let refused = first.membership();
    assert!(matches!(refused, Err(LogError::Fenced(_))), "{refused:?}");
    first.answer();
    assert!(first.membership().is_ok(), "it has let go, and keeps the other one");
    first.leave().await.unwrap();
    second.leave().await.unwrap();
}

#[tokio::test]
async fn a_member_closes_at_once_while_memberships_of_it_live() {
    let log = log().await;
    let (input, group) = (topic(&log, 1).await, unique("g"));
    let mut member = log.group(options(&group, &input, None)).await.unwrap();
    assigned(&mut *member, 1).await;
    let proof = member.membership().unwrap();
    let begun = Instant::now();
    member.leave().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
    let mut writer = writer(&log, &unique("w")).await;
    writer.begin().await.unwrap();
    writer.send(vec![record(&Tp::new(input.clone(), 0), "x")]).await.unwrap();
    let told = writer.send_offsets(&group, &[(Tp::new(input, 0), 0)], &proof).await;
    assert!(matches!(told, Err(LogError::Fenced(_))), "{told:?}");
    within("abort", writer.abort()).await.unwrap();
}
