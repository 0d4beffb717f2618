//! What a topic takes, how it grows, and who is in a group.

use std::collections::BTreeSet;

use windrow::log::{LogError, Roster, Tp, Writer};

use crate::{
    bed::{Bed, numbered, outgoing, unique, values},
    eventually::within,
    groups::Member,
};

pub(crate) async fn a_topic_grows_under_its_writer_and_its_member(bed: Bed) {
    let topic = bed.topic(1).await;
    let group = unique("g");
    assert_eq!(bed.log.roster(&group).await.unwrap(), Roster::default());
    let member = Member::join(&bed, &group, &topic, None).await;
    member.owns(1).await;
    let roster = bed.log.roster(&group).await.unwrap();
    assert_eq!((roster.members, roster.is_settled), (1, true));
    assert_eq!(roster.owned, BTreeSet::from([Tp::new(topic.clone(), 0)]));
    let mut writer = bed.writer(&unique("w")).await;
    let [first, third] = [0, 2].map(|p| Tp::new(topic.clone(), p));
    write(&mut *writer, &first).await;

    assert!(within("grow", bed.log.add_partitions(&topic, 3)).await.unwrap());
    assert!(!within("grow again", bed.log.add_partitions(&topic, 3)).await.unwrap());
    assert!(!within("shrink", bed.log.add_partitions(&topic, 2)).await.unwrap());
    assert_eq!(bed.log.topic(&topic).await.unwrap().unwrap().partitions, 3);
    let missing = bed.log.add_partitions(&unique("none"), 3).await;
    assert!(matches!(missing, Err(LogError::UnknownTopic(_))), "{missing:?}");

    // A producer of librdkafka hears of new partitions with its next look at the topic.
    let mut writer = bed.writer(&unique("w")).await;
    write(&mut *writer, &third).await;
    assert_eq!(values(&bed.read(&[first], 1).await), ["0"]);
    assert_eq!(values(&bed.read(&[third], 1).await), ["0"]);
    member.owns(3).await;
    member.leave().await;
}

async fn write(writer: &mut dyn Writer, tp: &Tp) {
    within("write", async {
        writer.begin().await.unwrap();
        writer.send(numbered(tp, 0..1)).await.unwrap();
        writer.commit().await.unwrap();
    })
    .await;
}

pub(crate) async fn the_largest_record_is_taken_and_a_larger_one_is_not(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    let most = within("ask", bed.log.record_max_bytes(&tp.topic)).await.unwrap();
    bed.write(vec![outgoing(&tp, None, Some(&"x".repeat(most)), 1_000)]).await;
    let mut writer = bed.writer(&unique("w")).await;
    writer.begin().await.unwrap();
    // What a batch adds around the record is at most this.
    let large = vec![outgoing(&tp, None, Some(&"x".repeat(most + 256)), 1_000)];
    let sent = within("refuse", async {
        match writer.send(large).await {
            Ok(()) => writer.commit().await,
            Err(e) => Err(e),
        }
    })
    .await;
    assert!(matches!(&sent, Err(LogError::Refused { .. })), "{sent:?}");
}
