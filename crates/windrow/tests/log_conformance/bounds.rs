//! Where a log ends: at the front by purging, at the back by silence.

use windrow::log::{From, Gap, Tp};

use crate::{
    bed::{Bed, numbered, records, values},
    eventually::within,
};

pub(crate) async fn a_purged_position_is_told_as_a_gap(bed: Bed) {
    let tp = Tp::new(bed.topic(1).await, 0);
    bed.write(numbered(&tp, 0..10)).await;
    bed.write(numbered(&tp, 10..20)).await;
    within("purge", bed.log.delete_records(&tp, 5)).await.unwrap();
    let ends = bed.log.ends(std::slice::from_ref(&tp)).await.unwrap();
    assert_eq!(ends[0].earliest, 5);
    let mut reader = bed.reader(std::slice::from_ref(&tp), From::Offset(2)).await;
    let (mut gaps, mut got) = (Vec::new(), Vec::new());
    within("read past the gap", async {
        while got.len() < 15 {
            for answer in reader.next().await.unwrap() {
                gaps.extend(answer.gap);
                got.extend(records(&answer));
            }
        }
    })
    .await;
    assert_eq!(gaps, [Gap { from: 2, to: 5 }]);
    assert_eq!(values(&got), (5..20).map(|n| n.to_string()).collect::<Vec<_>>());
    // What is held is read without a gap, and purging below it changes nothing.
    within("purge again", bed.log.delete_records(&tp, 3)).await.unwrap();
    assert_eq!(values(&bed.read(&[tp], 15).await)[0], "5");
}

pub(crate) async fn a_reader_at_the_end_hears_silence(bed: Bed) {
    let topic = bed.topic(2).await;
    let tps = [Tp::new(topic.clone(), 0), Tp::new(topic, 1)];
    bed.write(numbered(&tps[0], 0..3)).await;
    let mut reader = bed.reader(&tps, From::Earliest).await;
    let mut silent = [0, 0];
    within("silence on both", async {
        while silent.iter().any(|n| *n < 3) {
            for answer in reader.next().await.unwrap() {
                if answer.batches.is_empty() && answer.next == answer.high_watermark {
                    silent[answer.tp.partition as usize] += 1;
                }
            }
        }
    })
    .await;
}
