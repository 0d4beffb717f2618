//! A topic as read_committed sees it, from its beginning to its end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use windrow::log::{From, Log, ReaderOptions, Tp};

/// One record: key and value.
pub(crate) type Pair = (Option<Bytes>, Option<Bytes>);

/// Reads every partition of `topic`, each up to the end it has now.
pub(crate) async fn read_all(log: &Arc<dyn Log>, topic: &str) -> Vec<Pair> {
    let info = log.topic(topic).await.unwrap().unwrap_or_else(|| panic!("there is no topic {topic}"));
    let tps: Vec<Tp> = (0..info.partitions).map(|p| Tp::new(topic, p)).collect();
    let ends = log.ends(&tps).await.unwrap();
    let mut pairs = Vec::new();
    for (tp, end) in tps.into_iter().zip(ends) {
        let mut reader = log.reader(ReaderOptions::default()).await.unwrap();
        reader.assign(tp.clone(), From::Offset(end.earliest));
        let mut position = end.earliest;
        while position < end.high_watermark {
            let answers = tokio::time::timeout(Duration::from_secs(30), reader.next()).await;
            for item in answers.unwrap_or_else(|_| panic!("{tp} stands still at {position}")).unwrap() {
                for record in item.batches.iter().flat_map(|batch| batch.records_from(item.from)) {
                    pairs.push((
                        record.key.map(Bytes::copy_from_slice),
                        record.value.map(Bytes::copy_from_slice),
                    ));
                }
                position = item.next;
            }
        }
    }
    pairs
}

/// Waits until the group has committed at least `offset` of partition 0.
pub(crate) async fn until(
    log: &Arc<dyn Log>,
    group: &str,
    topic: &str,
    offset: i64,
    said: impl Fn() -> String,
) {
    let deadline = tokio::time::Instant::now() + crate::process::DEADLINE;
    let tp = [Tp::new(topic, 0)];
    while log.committed(group, &tp).await.unwrap()[0].unwrap_or(0) < offset {
        assert!(tokio::time::Instant::now() < deadline, "offset {offset} was never committed:\n{}", said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
