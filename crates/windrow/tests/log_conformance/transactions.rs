//! Transactions: all or nothing, and nobody writes who may not.

use windrow::log::{From, GroupEvent, GroupOptions, LogError, Membership, Tp, WriterOptions};

use crate::{
    bed::{Bed, QUIET, expect_end, numbered, records, take, unique, values},
    eventually::within,
    groups::Member,
};

pub(crate) async fn nothing_is_seen_before_the_commit(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let mut reader = bed.reader(std::slice::from_ref(&tp), From::Earliest).await;
    let mut writer = bed.writer(&unique("w")).await;
    writer.begin().await.unwrap();
    writer.send(numbered(&tp, 0..20)).await.unwrap();
    let early = tokio::time::timeout(QUIET, async {
        loop {
            for answer in reader.next().await.unwrap() {
                assert!(records(&answer).is_empty(), "{answer:?}");
                assert_eq!(answer.last_stable, 0, "the open transaction holds the stable end");
            }
        }
    });
    assert!(early.await.is_err());
    within("commit", writer.commit()).await.unwrap();
    assert_eq!(take(&mut *reader, 20).await.len(), 20);
}

pub(crate) async fn an_aborted_transaction_is_passed_over(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let mut writer = bed.writer(&unique("w")).await;
    for (range, keep) in [(0..10, true), (10..20, false), (20..25, true), (25..40, false)] {
        within("transaction", async {
            writer.begin().await.unwrap();
            writer.send(numbered(&tp, range)).await.unwrap();
            if keep { writer.commit().await.unwrap() } else { writer.abort().await.unwrap() }
        })
        .await;
    }
    let mut reader = bed.reader(std::slice::from_ref(&tp), From::Earliest).await;
    let got = take(&mut *reader, 15).await;
    assert_eq!(values(&got), (0..10).chain(20..25).map(|n| n.to_string()).collect::<Vec<_>>());
    // The position moves past what was aborted and past the markers.
    expect_end(&mut *reader).await;
    // A reader that starts inside what was aborted gets on, too.
    let mut reader = bed.reader(&[tp], From::Offset(got[14].offset + 1)).await;
    expect_end(&mut *reader).await;
}

pub(crate) async fn output_and_offsets_commit_together(bed: Bed) {
    let input = Tp::new(bed.topic(1).await, 0);
    let output = Tp::new(bed.topic(1).await, 0);
    let group = unique("g");
    let member = Member::join(&bed, &group, &input.topic, None).await;
    member.owns(1).await;
    let mut writer = bed.writer(&unique("w")).await;
    for (keep, offset) in [(false, 7), (true, 8), (false, 9), (true, 10)] {
        let proof = member.membership();
        within("transaction", async {
            writer.begin().await.unwrap();
            writer.send(numbered(&output, offset..offset + 1)).await.unwrap();
            writer.send_offsets(&group, &[(input.clone(), offset as i64)], &proof).await.unwrap();
            if keep { writer.commit().await.unwrap() } else { writer.abort().await.unwrap() }
        })
        .await;
        let committed =
            within("committed", bed.log.committed(&group, std::slice::from_ref(&input))).await.unwrap();
        let expected = [None, Some(8), Some(8), Some(10)][offset - 7];
        assert_eq!(committed, [expected], "after {offset}");
    }
    assert_eq!(values(&bed.read(&[output], 2).await), ["8", "10"]);
    member.leave().await;
    // Offsets outlive the members.
    assert_eq!(bed.log.committed(&group, &[input]).await.unwrap(), [Some(10)]);
}

pub(crate) async fn a_zombie_writer_is_fenced(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let id = unique("w");
    let mut zombie = bed.writer(&id).await;
    zombie.begin().await.unwrap();
    zombie.send(numbered(&tp, 0..5)).await.unwrap();
    let mut heir = bed.writer(&id).await;
    within("the heir writes", async {
        heir.begin().await.unwrap();
        heir.send(numbered(&tp, 5..10)).await.unwrap();
        heir.commit().await.unwrap();
    })
    .await;
    let late = within("the zombie hears of it", async {
        match zombie.send(numbered(&tp, 10..12)).await {
            Ok(()) => zombie.commit().await,
            Err(e) => Err(e),
        }
    })
    .await;
    assert!(matches!(late, Err(LogError::Fenced(_))), "{late:?}");
    let mut reader = bed.reader(&[tp], From::Earliest).await;
    assert_eq!(values(&take(&mut *reader, 5).await), ["5", "6", "7", "8", "9"]);
    expect_end(&mut *reader).await;
}

pub(crate) async fn a_membership_that_was_left_is_fenced(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let group = unique("g");
    let member = Member::join(&bed, &group, &tp.topic, None).await;
    member.owns(1).await;
    let proof = member.membership();
    member.leave().await;
    expect_fenced(&bed, &group, &tp, &proof).await;
    assert_eq!(bed.log.committed(&group, &[tp]).await.unwrap(), [None]);
}

pub(crate) async fn a_membership_from_before_a_move_is_fenced(bed: Bed) {
    let topic = bed.topic(2).await;
    let group = unique("g");
    let first = Member::join(&bed, &group, &topic, None).await;
    first.owns(2).await;
    let proof = first.membership();
    let second = Member::join(&bed, &group, &topic, None).await;
    first.owns(1).await;
    second.owns(1).await;
    let moved = second.owned().into_iter().next().unwrap();
    expect_fenced(&bed, &group, &moved, &proof).await;
    // The new owner may.
    let proof = second.membership();
    let mut writer = bed.writer(&unique("w")).await;
    within("the owner commits", async {
        writer.begin().await.unwrap();
        writer.send_offsets(&group, &[(moved.clone(), 3)], &proof).await.unwrap();
        writer.commit().await.unwrap();
    })
    .await;
    assert_eq!(bed.log.committed(&group, &[moved]).await.unwrap(), [Some(3)]);
    first.leave().await;
    second.leave().await;
}

async fn expect_fenced(bed: &Bed, group: &str, tp: &Tp, proof: &Membership) {
    let mut writer = bed.writer(&unique("w")).await;
    let result = within("be refused", async {
        writer.begin().await?;
        writer.send_offsets(group, &[(tp.clone(), 99)], proof).await?;
        writer.commit().await
    })
    .await;
    // Kafka knows members and generations, not who owns what: a member that is still there is told to ask anew.
    assert!(matches!(result, Err(LogError::Fenced(_) | LogError::Rebalancing(_))), "{result:?}");
    within("abort", writer.abort()).await.unwrap();
}

pub(crate) async fn a_writer_without_transactions_writes_too(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let mut writer = bed.log.writer(WriterOptions { transactional_id: None }).await.unwrap();
    within("write twice", async {
        for range in [0..10, 10..20] {
            writer.begin().await.unwrap();
            writer.send(numbered(&tp, range)).await.unwrap();
            writer.commit().await.unwrap();
        }
    })
    .await;
    let got = bed.read(&[tp], 20).await;
    assert_eq!(got.iter().map(|g| g.offset).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

/// What a member does by hand, for tests that look at each step.
pub(crate) async fn next_event(group: &mut dyn windrow::log::Group) -> GroupEvent {
    within("an event of the group", group.next()).await.unwrap()
}

pub(crate) fn options(group: &str, topic: &windrow::log::Topic, instance_id: Option<String>) -> GroupOptions {
    GroupOptions { group: group.to_owned(), instance_id, topics: vec![topic.clone()] }
}

pub(crate) async fn a_transaction_without_positions_is_refused(bed: Bed) {
    let topic = bed.topic(1).await;
    let group = unique("g");
    let member = Member::join(&bed, &group, &topic, None).await;
    member.owns(1).await;
    let mut writer = bed.writer(&unique("w")).await;
    writer.begin().await.unwrap();
    let told = writer.send_offsets(&group, &[], &member.membership()).await;
    assert!(matches!(told, Err(LogError::Fatal(_))), "{told:?}");
    within("abort", writer.abort()).await.unwrap();
    member.leave().await;
}
