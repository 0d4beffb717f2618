//! Restoring a partition: the group's stable offset, then every view's journal up to its high watermark, then the position.
//!
//! **In** a partition just assigned. **Out** a task whose memory is what the last commit left.
//! **Invariant:** the journal is read to its high watermark, not its last stable offset: a commit of the former owner whose
//! marker is still on its way is waited for. Journal and group must agree on the position, or this stops loudly; without
//! transactions the journal may be ahead of the group, and its views go on where it says. A journal of another life of the
//! topic is not restored (`source`).

use windrow_core::engine::Task;

use super::{Shared, owned::Owned, source::Source};
use crate::{
    log::{Log, LogError, Result, Tp, read_whole},
    topics::StreamWork,
};

pub(super) async fn restore(shared: &Shared, work: &StreamWork, tp: &Tp) -> Result<Owned> {
    let log = &*shared.log;
    let source = Source::of(log, tp).await?;
    if work.epoch.is_some_and(|epoch| !source.is_of(epoch)) {
        return Err(LogError::Recreated(tp.topic.clone()));
    }
    let committed = first(log.committed(&shared.app, std::slice::from_ref(tp)).await?)?;
    let mut task = work.task(tp, shared.task.clone()).map_err(|error| fatal(tp, &error.to_string()))?;
    for view in work.views() {
        if let Some(journal) = work.journal(view, tp) {
            read_journal(log, journal, Some(&source), view, &mut task).await?;
        }
    }
    let restored = task.restored().map_err(|error| fatal(tp, &error.to_string()))?;
    if shared.exactly_once
        && let Err(error) = check_agreement(tp, committed, restored, &task, &source)
    {
        // Who is out of the group and has not heard of it restores what is another's now, and that one goes on committing.
        let moved = first(log.committed(&shared.app, std::slice::from_ref(tp)).await?)? != committed;
        return Err(if moved { LogError::Retry(format!("{tp} is committed by another")) } else { error });
    }
    let earliest = async || Ok::<_, LogError>(first(log.ends(std::slice::from_ref(tp)).await?)?.earliest);
    let begin = match committed.or(restored) {
        // Nothing of it was folded: wherever a group of that name stood in a former topic.
        _ if work.is_later(tp.partition) && restored.is_none() => earliest().await?,
        Some(stable) if !task.has_fresh_views() => stable,
        Some(stable) if work.merges() => begin_of_partials(log, tp, stable).await?,
        // A view added later reads its own history while the others pass over what they have. What retention took between a start position and the first journal is told as a gap, never passed over.
        Some(stable) if work.start_earliest => stable.min(earliest().await?),
        // The start position was committed at assignment: where the group stands is where the view begins.
        Some(stable) => stable,
        None => {
            let ends = first(log.ends(std::slice::from_ref(tp)).await?)?;
            if work.start_earliest { ends.earliest } else { ends.high_watermark }
        }
    };
    task.start(begin);
    if work.merges() {
        // What those that are gone sent before they went lies below the end.
        task.leave_at(first(log.ends(std::slice::from_ref(tp)).await?)?.high_watermark);
    }
    for (view, why) in work.stopped() {
        task.stop_view(view, why);
    }
    let start = task.position();
    Ok(Owned::new(task, work.clone(), (tp, source), start, &shared.stats))
}

/// Where a second stage begins that has nothing in its journal: at the first of its partials, all of which it needs. A reset purges
/// them past what the group had committed; where some are left below that, they were merged into a journal that is gone.
async fn begin_of_partials(log: &dyn Log, tp: &Tp, committed: i64) -> Result<i64> {
    let earliest = first(log.ends(std::slice::from_ref(tp)).await?)?.earliest;
    if earliest < committed {
        return Err(fatal(
            tp,
            &format!(
                "the group's offset is {committed}, but the journal of the view that merges these partials is empty: somebody deleted \
                 it; start once with --reset and the view's name to build it anew from the stream's history"
            ),
        ));
    }
    Ok(earliest)
}

/// Applies a view's journal, up to the high watermark it has now.
///
/// - **Errors:** `Recreated` when it was written from a former life of the source.
pub(crate) async fn read_journal(
    log: &dyn Log,
    journal: Tp,
    source: Option<&Source>,
    view: usize,
    task: &mut Task,
) -> Result<()> {
    read_whole(log, &journal, |record| {
        source.map_or(Ok(()), |source| source.check(record))?;
        task.restore(view, record.key, record.value).map_err(|error| fatal(&journal, &error.to_string()))
    })
    .await
}

/// Journal and group are written in the same transactions; when they differ, somebody else wrote one of them. Only a view that
/// has nothing in its journal yet, or stopped before it had, holds the group back alone.
fn check_agreement(
    tp: &Tp,
    committed: Option<i64>,
    restored: Option<i64>,
    task: &Task,
    source: &Source,
) -> Result<()> {
    match (committed, restored) {
        (Some(group), Some(journal)) if group < journal && task.has_fresh_views() => Ok(()),
        (Some(group), Some(journal)) if group != journal => Err(fatal(
            tp,
            &format!(
                "the group's offset is {group} but the journal's is {journal}: somebody moved the group's offset or deleted a \
                 journal; put the offset back, or give the app another name to begin anew"
            ),
        )),
        // The start position is committed before anything is journalled, and goes with its topic; where the journal is surely of
        // this topic, the group's offsets have only expired.
        (None, Some(journal)) if !source.is_known() => Err(fatal(
            tp,
            &format!(
                "the group has no offset but the journal's is {journal}: the topic was deleted and made anew, or the group's offsets \
                 were deleted or have expired; reset the views (`--reset VIEW`), give the app another name to begin anew, or put \
                 the offset back"
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
