//! Restoring a partition: the group's stable offset, then every view's journal up to its high watermark, then the position.
//!
//! **In** a partition just assigned. **Out** a task whose memory is what the last commit left.
//! **Invariant:** the journal is read to its high watermark, not its last stable offset: a commit of the former owner whose
//! marker is still on its way is waited for. Journal and group must agree on the position, or this stops loudly; without
//! transactions the journal may be ahead of the group, and its views go on where it says.

use std::time::Duration;

use windrow_core::engine::{Task, TaskOptions};

use super::{Shared, owned::Owned};
use crate::{
    log::{From, Log, LogError, ReaderOptions, Result, Tp},
    topics::StreamWork,
};

/// Longest silence of the journal while restoring before the attempt is given up and started anew: above the transaction
/// time-out, after which a killed writer's open transaction is aborted by the broker.
const SILENCE_MAX: Duration = Duration::from_secs(15);

pub(super) async fn restore(shared: &Shared, work: &StreamWork, tp: &Tp) -> Result<Owned> {
    let log = &*shared.log;
    let committed = first(log.committed(&shared.app, std::slice::from_ref(tp)).await?)?;
    let options = TaskOptions { record_max_bytes: shared.record_max_bytes, ..TaskOptions::default() };
    let mut task = Task::new(work.plan.clone(), tp.topic.clone(), tp.partition, options)
        .map_err(|error| fatal(tp, &error.to_string()))?;
    for view in 0..work.plan.views.len() {
        if let Some(topic) = work.targets.journal(view) {
            read_journal(log, Tp::new(topic, tp.partition), view, &mut task).await?;
        }
    }
    let restored = task.restored().map_err(|error| fatal(tp, &error.to_string()))?;
    if shared.exactly_once {
        check_agreement(tp, committed, restored)?;
    }
    let begin = match committed.or(restored) {
        Some(stable) if !task.has_fresh_views() => stable,
        // The beginning of the stream; a view added later reads its own history while the others pass over what they have.
        _ => {
            let ends = first(log.ends(std::slice::from_ref(tp)).await?)?;
            if work.start_earliest { ends.earliest } else { ends.high_watermark }
        }
    };
    task.start(begin);
    let start = task.position();
    Ok(Owned::new(task, work.clone(), tp, start, &shared.stats))
}

async fn read_journal(log: &dyn Log, journal: Tp, view: usize, task: &mut Task) -> Result<()> {
    let ends = first(log.ends(std::slice::from_ref(&journal)).await?)?;
    let mut position = ends.earliest;
    if position >= ends.high_watermark {
        return Ok(());
    }
    let mut reader = log.reader(ReaderOptions::default()).await?;
    reader.assign(journal.clone(), From::Offset(position));
    while position < ends.high_watermark {
        let answers = tokio::time::timeout(SILENCE_MAX, advance(&mut *reader, position))
            .await
            .map_err(|_| LogError::Retry(format!("{journal} does not move past offset {position}")))??;
        for item in answers {
            if item.gap.is_some() {
                return Err(LogError::Retry(format!("{journal} was purged while it was read")));
            }
            for record in item.batches.iter().flat_map(|batch| batch.records_from(item.from)) {
                task.restore(view, record.key, record.value)
                    .map_err(|error| fatal(&journal, &error.to_string()))?;
            }
            position = item.next;
        }
    }
    Ok(())
}

/// Reads until the position moves: answers that show silence are passed over.
async fn advance(reader: &mut dyn crate::log::Reader, position: i64) -> Result<Vec<crate::log::Fetched>> {
    loop {
        let answers = reader.next().await?;
        if answers.iter().any(|item| item.next > position) {
            return Ok(answers);
        }
    }
}

/// Journal and group are written in the same transactions; when they differ, somebody else wrote one of them.
fn check_agreement(tp: &Tp, committed: Option<i64>, restored: Option<i64>) -> Result<()> {
    match (committed, restored) {
        (Some(group), Some(journal)) if group != journal => Err(fatal(
            tp,
            &format!(
                "the group's offset is {group} but the journal's is {journal}: somebody moved the group's offset or deleted a \
                 journal; put the offset back, or give the app another name to begin anew"
            ),
        )),
        _ => Ok(()),
    }
}

fn fatal(tp: &Tp, why: &str) -> LogError {
    LogError::Fatal(format!("{tp}: {why}"))
}

fn first<T>(answers: Vec<T>) -> Result<T> {
    answers.into_iter().next().ok_or_else(|| LogError::Retry("the log gave no answer".into()))
}
