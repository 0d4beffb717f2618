//! Topics go under their readers: gone, made anew.

use windrow::log::{From, LogError, ReaderOptions, Tp};

use crate::{
    bed::{Bed, expect_end, numbered, spec, take, unique, values},
    eventually::within,
    groups::Member,
};

pub(crate) async fn a_deleted_topic_is_gone_with_its_records_and_positions(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let group = unique("g");
    let member = Member::join(&bed, &group, &tp.topic, None).await;
    member.owns(1).await;
    let before = bed.log.topic(&tp.topic).await.unwrap().unwrap();
    let mut writer = bed.writer(&unique("w")).await;
    within("write", async {
        writer.begin().await.unwrap();
        writer.send(numbered(&tp, 0..10)).await.unwrap();
        writer.send_offsets(&group, &[(tp.clone(), 10)], &member.membership()).await.unwrap();
        writer.commit().await.unwrap();
    })
    .await;
    member.leave().await;
    assert!(within("delete", bed.log.delete_topic(&tp.topic)).await.unwrap());
    assert!(bed.log.topic(&tp.topic).await.unwrap().is_none());
    assert!(!within("delete again", bed.log.delete_topic(&tp.topic)).await.unwrap());

    within("make it anew", bed.log.create_topic(&spec(&tp.topic, 1))).await.unwrap();
    assert_ne!(bed.log.topic(&tp.topic).await.unwrap().unwrap().epoch, before.epoch);
    let ends = bed.log.ends(std::slice::from_ref(&tp)).await.unwrap()[0];
    assert_eq!((ends.earliest, ends.high_watermark), (0, 0));
    within("the position is gone", async {
        while bed.log.committed(&group, std::slice::from_ref(&tp)).await.unwrap() != [None] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bed.write(numbered(&tp, 20..22)).await;
    assert_eq!(values(&bed.read(&[tp], 2).await), ["20", "21"]);
}

pub(crate) async fn a_reader_is_told_of_a_topic_made_anew_and_reads_it_when_asked(bed: Bed) {
    let (tp, other) = (Tp::new(bed.topic(1).await, 0), Tp::new(bed.topic(1).await, 0));
    bed.write(numbered(&tp, 0..10)).await;
    let mut reader = within("open a reader", bed.log.reader(ReaderOptions::default())).await.unwrap();
    for tp in [&tp, &other] {
        reader.assign(tp.clone(), From::Earliest);
    }
    take(&mut *reader, 10).await;
    within("delete", bed.log.delete_topic(&tp.topic)).await.unwrap();
    within("make it anew", bed.log.create_topic(&spec(&tp.topic, 1))).await.unwrap();
    // As many as before, and more: the old position would be held again.
    bed.write(numbered(&tp, 100..120)).await;
    let told = within("told", async {
        loop {
            match reader.next().await {
                Ok(answers) => assert!(answers.iter().all(|a| a.batches.is_empty()), "{answers:?}"),
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(matches!(&told, LogError::Recreated(topic) if *topic == tp.topic), "{told:?}");
    // The others are read on, and it stands still until it is assigned anew.
    bed.write(numbered(&other, 10..12)).await;
    assert_eq!(values(&take(&mut *reader, 2).await), ["10", "11"]);
    reader.assign(tp.clone(), From::Earliest);
    assert_eq!(take(&mut *reader, 20).await[0].value.as_deref(), Some("100"));
    expect_end(&mut *reader).await;
}

pub(crate) async fn topics_that_come_and_go_are_listed_and_disturb_no_other(bed: Bed) {
    let listed = async |name: &str| {
        let all = within("list", bed.log.topics()).await.unwrap();
        all.into_iter().find(|info| *info.name == *name)
    };
    let stays = Tp::new(bed.topic(1).await, 0);
    let mut reader = within("open a reader", bed.log.reader(ReaderOptions::default())).await.unwrap();
    reader.assign(stays.clone(), From::Earliest);
    bed.write(numbered(&stays, 0..2)).await;
    take(&mut *reader, 2).await;
    let goes = Tp::new(bed.topic(2).await, 1);
    let found = within("it is listed", async {
        loop {
            if let Some(info) = listed(&goes.topic).await {
                return info;
            }
        }
    })
    .await;
    assert_eq!(Some(&found), bed.log.topic(&goes.topic).await.unwrap().as_ref());
    assert_eq!(found.partitions, 2);
    reader.assign(goes.clone(), From::Earliest);
    bed.write(numbered(&goes, 10..12)).await;
    assert_eq!(values(&take(&mut *reader, 2).await), ["10", "11"]);
    within("delete", bed.log.delete_topic(&goes.topic)).await.unwrap();
    within("it is listed no longer", async { while listed(&goes.topic).await.is_some() {} }).await;
    bed.write(numbered(&stays, 2..4)).await;
    // The one that is gone may be told before or after.
    let mut got = 0;
    within("the other is read on", async {
        while got < 2 {
            match reader.next().await {
                Ok(answers) => {
                    let batches =
                        answers.iter().flat_map(|a| a.batches.iter().flat_map(|b| b.records_from(a.from)));
                    got += batches.count();
                }
                Err(LogError::UnknownTopic(topic)) => assert_eq!(topic, goes.topic),
                Err(LogError::Retry(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(listed(&stays.topic).await.is_some());
}
