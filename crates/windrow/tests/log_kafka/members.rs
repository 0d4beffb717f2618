//! Members that leave, vanish, are thrown out, or come twice.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use windrow::log::{GroupEvent, Log as _, LogError, Roster, WriterOptions};

use crate::{
    eventually::within,
    world::{address, assigned, event, log, log_with, options, topic, unique},
};

#[tokio::test]
async fn a_static_member_that_leaves_gives_its_partitions_away_at_once() {
    let log = log().await;
    let (topic, group) = (topic(&log, 2).await, unique("g"));
    let mut first = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *first, 2).await;
    first.leave().await.unwrap();
    // The session of `a` would hold them for 45 s.
    let begun = Instant::now();
    let mut second = log.group(options(&group, &topic, Some("b"))).await.unwrap();
    assigned(&mut *second, 2).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    second.leave().await.unwrap();
}

#[tokio::test]
async fn a_member_without_partitions_that_leaves_is_out_at_once() {
    let log = log_with(&[("session.timeout.ms", "60000")]).await;
    let (topic, group) = (topic(&log, 1).await, unique("g"));
    let mut first = log.group(options(&group, &topic, None)).await.unwrap();
    assigned(&mut *first, 1).await;
    let second = log.group(options(&group, &topic, None)).await.unwrap();
    let are = async |members| {
        let is = |roster: Roster| roster.is_settled && roster.members == members;
        while !log.roster(&group).await.is_ok_and(is) {
            tokio::task::yield_now().await;
        }
    };
    within("both are in", are(2)).await;
    second.leave().await.unwrap();
    // Its session would keep it for a minute, and the others waiting for it.
    let begun = Instant::now();
    within("one is out", are(1)).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    first.leave().await.unwrap();
}

#[tokio::test]
async fn a_static_member_that_vanished_reclaims_its_partitions() {
    let log = log().await;
    let (topic, group) = (topic(&log, 2).await, unique("g"));
    let mut first = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *first, 2).await;
    drop(first);
    let begun = Instant::now();
    let mut again = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *again, 2).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    again.leave().await.unwrap();
}

#[tokio::test]
async fn a_member_thrown_out_hears_of_the_loss_and_has_no_proof_until_it_is_back() {
    let log = log().await;
    let (topic, group) = (topic(&log, 2).await, unique("g"));
    let mut member = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *member, 2).await;
    let old = member.membership().unwrap();
    throw_out(&group, "a");
    let GroupEvent::Lost(tps) = event(&mut *member).await else { panic!("lost") };
    assert_eq!(tps.len(), 2);
    // Before the answer the member is not back, and may not look as if it were.
    assert!(matches!(member.membership(), Err(LogError::Fenced(_))));
    member.answer();
    assigned(&mut *member, 2).await;
    let new = member.membership().unwrap();
    let mut writer = log.writer(WriterOptions { transactional_id: Some(unique("w")) }).await.unwrap();
    for (proof, holds) in [(old, false), (new, true)] {
        writer.begin().await.unwrap();
        let sent = writer.send_offsets(&group, &[(tps[0].clone(), 5)], &proof).await;
        let done = if sent.is_ok() { writer.commit().await } else { sent };
        assert_eq!(done.is_ok(), holds, "{done:?}");
        if !holds {
            assert!(matches!(done, Err(LogError::Fenced(_))), "{done:?}");
            within("abort", writer.abort()).await.unwrap();
        }
    }
    assert_eq!(log.committed(&group, &tps[..1]).await.unwrap(), [Some(5)]);
    member.leave().await.unwrap();
}

#[tokio::test]
async fn the_former_of_two_members_with_one_instance_id_is_told() {
    let log = log().await;
    let (topic, group) = (topic(&log, 1).await, unique("g"));
    let mut first = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *first, 1).await;
    let mut second = log.group(options(&group, &topic, Some("a"))).await.unwrap();
    assigned(&mut *second, 1).await;
    let told = within("the first is told", async {
        loop {
            match first.next().await {
                Ok(GroupEvent::Lost(_)) => first.answer(),
                Ok(other) => panic!("{other:?}"),
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(matches!(told, LogError::Fenced(_)), "{told:?}");
    second.leave().await.unwrap();
}

/// What an administrator does: LeaveGroup version 3 in the member's name.
fn throw_out(group: &str, instance_id: &str) {
    let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
    let head = [13_i16.to_be_bytes(), 3_i16.to_be_bytes(), [0, 0], [0, 1], (-1_i16).to_be_bytes()].concat();
    let body = [head, text(group), 1_i32.to_be_bytes().to_vec(), text(""), text(instance_id)].concat();
    let mut socket = TcpStream::connect(address()).unwrap();
    socket.write_all(&(body.len() as i32).to_be_bytes()).unwrap();
    socket.write_all(&body).unwrap();
    // length, correlation, throttle time, error code
    let mut answer = [0; 14];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[12..], [0, 0], "the broker refused");
}
