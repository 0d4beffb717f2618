//! Whole: everything that a partition holds now, from its earliest offset to its high watermark.
//!
//! **In** a partition. **Out** its committed records, one after the other, in order.
//! **Invariant:** it is read to the high watermark, not the last stable offset: a transaction that is still open is waited for.
//! **Not here:** following what comes later (`reader`, `worker`).

use std::time::Duration;

use windrow_core::batch::Record;

use super::{Fetched, From, Log, LogError, Reader, ReaderOptions, Result, Tp};

/// Longest silence before the attempt is given up and started anew: above the transaction time-out, after which a killed writer's
/// open transaction is aborted by the broker.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Reads a partition up to the high watermark it has now.
///
/// - **Errors:** `Retry` when it does not move, or is purged meanwhile; what `take` answers.
pub async fn read_whole(
    log: &dyn Log,
    tp: &Tp,
    mut take: impl FnMut(&Record<'_>) -> Result<()> + Send,
) -> Result<()> {
    let ends = log.ends(std::slice::from_ref(tp)).await?.into_iter().next();
    let ends = ends.ok_or_else(|| LogError::Retry("the log gave no answer".into()))?;
    let mut position = ends.earliest;
    if position >= ends.high_watermark {
        return Ok(());
    }
    let mut reader = log.reader(ReaderOptions::default()).await?;
    reader.assign(tp.clone(), From::Offset(position));
    while position < ends.high_watermark {
        let answers = tokio::time::timeout(SILENCE_MAX, advance(&mut *reader, position))
            .await
            .map_err(|_| LogError::Retry(format!("{tp} does not move past offset {position}")))??;
        for item in answers {
            if item.gap.is_some() {
                return Err(LogError::Retry(format!("{tp} was purged while it was read")));
            }
            for record in item.batches.iter().flat_map(|batch| batch.records_from(item.from)) {
                take(&record)?;
            }
            position = item.next;
        }
    }
    Ok(())
}

/// Reads until the position moves: answers that show silence are passed over.
async fn advance(reader: &mut dyn Reader, position: i64) -> Result<Vec<Fetched>> {
    loop {
        let answers = reader.next().await?;
        if answers.iter().any(|item| item.next > position) {
            return Ok(answers);
        }
    }
}
