//! The engine role on a log that fails where it is told: fences, aborts, rebalances, poison, panics, purges.
//!
//! Each test says a rule; the log behind is the embedded one, so exactness is checked on what was really committed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::{collections::BTreeSet, time::Duration};

use windrow::log::{Gap, LogError, Tp};

use crate::{
    bed::Bed,
    eventually::within,
    faulty::{At, Did},
};

mod bed;
#[path = "../common/eventually.rs"]
mod eventually;
mod faulty;

fn clicks(partition: i32) -> Tp {
    Tp::new("clicks", partition)
}

fn has(did: &[Did], wanted: &Did) -> bool {
    did.contains(wanted)
}

fn position(did: &[Did], wanted: impl Fn(&Did) -> bool) -> usize {
    did.iter().position(wanted).unwrap_or_else(|| panic!("it is not there: {did:?}"))
}

async fn settled(count_each: usize) -> Bed {
    let bed = Bed::start().await;
    bed.write(0, count_each).await;
    bed.write(1, count_each).await;
    let sum = 2 * count_each as u64;
    bed.until_sum("by_video", sum).await;
    bed.until_sum("by_country", sum).await;
    bed
}

/// Partitions of each transaction's positions, by the worker that owns them; the source's and the partials'.
#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_carries_the_positions_of_all_partitions_it_touches_also_unmoved_ones() {
    let bed = settled(10).await;
    let before = bed.script.did().len();
    bed.write(0, 10).await;
    bed.until_sum("by_country", 30).await;
    bed.workers.drain().await.unwrap();
    let did = bed.script.did();
    let mut owned: BTreeSet<Tp> = BTreeSet::new();
    for pair in did[before..].windows(2) {
        let (Did::Send(sent), Did::Offsets(offsets, _)) = (&pair[0], &pair[1]) else { continue };
        let offsets: BTreeSet<Tp> = offsets.iter().map(|(tp, _)| tp.clone()).collect();
        for journal in
            sent.iter().filter(|tp| tp.topic.ends_with(".journal") || tp.topic.ends_with(".sources"))
        {
            let source = match &*journal.topic {
                "app.by_country.journal" => Tp::new("app.by_country.partials", journal.partition),
                _ => clicks(journal.partition),
            };
            assert!(offsets.contains(&source), "{journal} without {source}: {pair:?}");
        }
        owned.extend(offsets);
    }
    // Partition 1 never moved, yet its worker's transactions name it.
    assert!(owned.contains(&clicks(1)) || threads() > 1, "{owned:?}");
    assert!(owned.contains(&clicks(0)), "{owned:?}");
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_is_taken_at_the_cut_and_serves_one_transaction() {
    let bed = settled(10).await;
    bed.workers.drain().await.unwrap();
    let did = bed.script.did();
    let mut used = BTreeSet::new();
    for (at, step) in did.iter().enumerate() {
        let Did::Offsets(_, number) = step else { continue };
        assert!(used.insert(*number), "membership {number} was used twice: {did:?}");
        let taken = position(&did, |did| *did == Did::Membership(*number));
        assert!(taken < at, "{did:?}");
        // Nothing of its transaction was sent before it was taken.
        let begun = did[..at].iter().filter(|did| **did == Did::Begin).count();
        let begun_before = did[..taken].iter().filter(|did| **did == Did::Begin).count();
        assert!(begun > begun_before, "membership {number} came after its transaction began: {did:?}");
    }
    assert!(used.len() > 2, "{did:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_a_rebalance_cut_short_is_sent_again_without_restoring() {
    let bed = settled(10).await;
    let restores = |bed: &Bed| bed.script.count(|did| matches!(did, Did::Restore(_)));
    let before = restores(&bed);
    bed.script.fail(At::Offsets, 3, || LogError::Rebalancing("another generation".into()));
    bed.write(0, 10).await;
    bed.until_sum("by_video", 30).await;
    bed.until_sum("by_country", 30).await;
    assert_eq!(bed.script.count(|did| *did == Did::Abort), 3);
    assert_eq!(restores(&bed), before, "{:?}", bed.script.did());
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_drops_the_state_of_all_tasks_and_restores_it() {
    for at in [At::Send, At::Offsets, At::Commit] {
        let bed = settled(10).await;
        bed.script.fail(at, 1, || LogError::Retry("chance".into()));
        let restores = || bed.script.count(|did| matches!(did, Did::Restore(_)));
        let before = restores();
        bed.write(0, 10).await;
        bed.write(1, 10).await;
        bed.until_sum("by_video", 40).await;
        bed.until_sum("by_country", 40).await;
        assert!(restores() > before, "{:?}", bed.script.did());
        assert_eq!(bed.records("copies").await.len(), 40);
        bed.workers.drain().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_is_in_flight_while_the_next_epoch_folds() {
    let bed = settled(10).await;
    bed.script.hold_commits(true);
    let commits = |did: &[Did]| did.iter().filter(|did| **did == Did::Commit).count();
    let before = commits(&bed.script.did());
    bed.write(0, 10).await;
    bed.script.until("a commit is in flight", |did| commits(did) > before).await;
    bed.write(0, 10).await;
    // It goes on reading meanwhile: the position shows with the next cut.
    bed.script.hold_commits(false);
    bed.until_sum("by_country", 40).await;
    bed.workers.drain().await.unwrap();
    let did = bed.script.did();
    // Per worker: a transaction ends before the next begins. With several workers their steps interleave.
    let open = did.iter().fold((0_i64, 0_i64), |(open, most), did| match did {
        Did::Begin => (open + 1, most.max(open + 1)),
        Did::Committed | Did::Abort => (open - 1, most),
        _ => (open, most),
    });
    assert!(open.1 <= i64::try_from(threads()).unwrap(), "{did:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_answered_after_the_verdict_on_what_is_in_flight_and_its_state_is_dropped() {
    let bed = settled(10).await;
    bed.script.hold_commits(true);
    let before = bed.script.did().len();
    bed.write(0, 10).await;
    bed.write(1, 10).await;
    bed.script.until("a commit is in flight", |did| has(&did[before..], &Did::Commit)).await;
    bed.script.fail(At::Commit, 1, || LogError::Fenced("another owns it".into()));
    bed.script.lose(vec![clicks(0), clicks(1)]);
    bed.script.until("the loss is heard of", |did| has(&did[before..], &Did::Lost)).await;
    let early = tokio::time::timeout(
        Duration::from_millis(300),
        bed.script.until("an answer", |did| has(&did[before..], &Did::Answer)),
    );
    assert!(early.await.is_err(), "answered while a commit was in flight: {:?}", bed.script.did());
    bed.script.hold_commits(false);
    bed.until_sum("by_video", 40).await;
    bed.until_sum("by_country", 40).await;
    assert_eq!(bed.records("copies").await.len(), 40);
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_answered_after_its_partitions_are_committed() {
    let bed = settled(10).await;
    bed.script.hold_commits(true);
    let before = bed.script.did().len();
    bed.write(0, 10).await;
    bed.write(1, 10).await;
    bed.script.until("a commit is in flight", |did| has(&did[before..], &Did::Commit)).await;
    bed.script.revoke(vec![clicks(0), clicks(1)]);
    bed.script.until("the revocation is heard of", |did| has(&did[before..], &Did::Revoked)).await;
    bed.script.hold_commits(false);
    bed.script.until("an answer", |did| has(&did[before..], &Did::Answer)).await;
    let did = bed.script.did()[before..].to_vec();
    let (revoked, answer) =
        (position(&did, |did| *did == Did::Revoked), position(&did, |did| *did == Did::Answer));
    assert!(did[revoked..answer].contains(&Did::Committed), "{did:?}");
    bed.until_sum("by_video", 40).await;
    bed.until_sum("by_country", 40).await;
    assert_eq!(bed.records("copies").await.len(), 40);
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_gone_stops_its_view_and_no_other() {
    let bed = settled(10).await;
    bed.script.fail(At::Send, 2, || LogError::UnknownTopic("copies".into()));
    bed.write(0, 10).await;
    bed.until_sum("by_video", 30).await;
    bed.until_sum("by_country", 30).await;
    within("it is told", async {
        while !bed
            .stats
            .troubles()
            .get("view copied")
            .is_some_and(|why| why.contains("topic copies does not exist"))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(bed.records("copies").await.len(), 20);
    assert!(!bed.stats.troubles().contains_key("view by_video"), "{:?}", bed.stats.troubles());
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_was_chance_stops_no_view() {
    let bed = settled(10).await;
    bed.script.fail(At::Send, 1, || LogError::UnknownTopic("copies".into()));
    bed.write(0, 10).await;
    bed.until_sum("by_video", 30).await;
    within("all copies", async {
        while bed.records("copies").await.len() != 30 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(bed.stats.troubles().is_empty(), "{:?}", bed.stats.troubles());
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_costs_its_memory_and_not_the_process() {
    let bed = settled(10).await;
    bed.script.fail(At::Read, 2, || LogError::Retry("a bug".into()));
    bed.write(0, 10).await;
    bed.write(1, 10).await;
    bed.until_sum("by_video", 40).await;
    bed.until_sum("by_country", 40).await;
    assert_eq!(bed.records("copies").await.len(), 40);
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_again_and_again_ends_with_a_reason() {
    let mut bed = settled(10).await;
    bed.script.fail(At::Read, 100, || LogError::Retry("a bug".into()));
    bed.write(0, 10).await;
    let failed = within("it gives up", bed.workers.failed()).await;
    assert!(failed.as_ref().is_err_and(|error| error.to_string().contains("panicked")), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_at_its_end_is_read_from_there_again_and_told_of_in_a_letter() {
    let bed = settled(10).await;
    bed.script.cut(clicks(0), Gap { from: 10, to: 4 });
    // Not `by_country`: its second stage takes these offsets for partials that came twice, and passes over them.
    bed.until_sum("by_video", 26).await;
    assert_eq!(bed.records("copies").await.len(), 26);
    let letters = bed.headers("app.clicks.bad").await;
    let told = [
        ("reason", "gap"),
        ("cause", "the log was cut at its end"),
        ("source_topic", "clicks"),
        ("source_partition", "0"),
        ("source_offset", "4"),
        ("source_end", "10"),
        ("count", "6"),
    ];
    assert_eq!(letters, [told.map(|(name, value)| (name.to_owned(), value.to_owned()))]);
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_ends_the_workers_with_its_range_where_on_gap_says_stop() {
    let mut bed = Bed::start_with("on_gap = \"stop\"").await;
    bed.write(0, 10).await;
    bed.until_sum("by_video", 10).await;
    bed.script.cut(clicks(0), Gap { from: 10, to: 14 });
    bed.write(0, 10).await;
    let failed = within("it ends", bed.workers.failed()).await.unwrap_err().to_string();
    for part in ["clicks[0]", "retention overtook the position", "10 to 14", "on_gap"] {
        assert!(failed.contains(part), "{failed}");
    }
    assert_eq!(bed.sum("by_video").await, 10, "nothing past the gap is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_made_anew_ends_the_workers_with_the_way_out() {
    let mut bed = settled(10).await;
    let log = bed.script.inner.clone();
    assert!(log.delete_topic("clicks").await.unwrap());
    assert!(log.create_topic(&bed::spec("clicks", 2)).await.unwrap());
    bed.write(0, 5).await;
    let failed = within("it ends", bed.workers.failed()).await.unwrap_err().to_string();
    assert!(failed.contains("made anew") && failed.contains("--reset"), "{failed}");
    assert_eq!(bed.sum("by_video").await, 20, "nothing of the new one is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn partials_are_purged_up_to_what_was_committed_and_no_further() {
    let bed = settled(10).await;
    let is_purge = |did: &Did| matches!(did, Did::Purge(tp, ..) if tp.topic.ends_with(".partials"));
    let purged = bed.script.until("a purge", |did| did.iter().any(is_purge));
    let written = async {
        loop {
            bed.write(0, 1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = purged => {}
        () = written => {}
    }
    for did in bed.script.did() {
        if let Did::Purge(tp, offset, committed) = &did
            && tp.topic.ends_with(".partials")
        {
            assert!(committed.is_some_and(|committed| *offset <= committed), "{did:?}");
        }
    }
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_in_two_stages_that_is_reset_reads_its_history_and_misses_nothing() {
    let bed = settled(10).await;
    let unmerged = [0, 1].map(|p| Tp::new("app.by_country.partials", p));
    let bed = bed.restart(&["by_country".to_owned()], &unmerged).await;
    bed.write(0, 10).await;
    bed.until_sum("by_country", 30).await;
    bed.until_sum("by_video", 30).await;
    assert_eq!(bed.gaps(), 0, "{:?}", bed.stats.snapshot());
    bed.workers.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_somebody_emptied_is_told_where_its_partials_were_purged_or_merged() {
    let bed = settled(10).await;
    let mut bed = bed.restart_without("app.by_country.journal").await;
    let failed = within("it stops", bed.workers.failed()).await;
    assert!(failed.as_ref().is_err_and(|error| error.to_string().contains("--reset")), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_a_second_stage_stay_when_the_first_stage_of_that_partition_leaves() {
    let bed = settled(10).await;
    let before = bed.script.did().len();
    bed.script.revoke(vec![clicks(0), clicks(1)]);
    bed.script.until("an answer", |did| has(&did[before..], &Did::Answer)).await;
    bed.write(0, 10).await;
    bed.until_sum("by_country", 30).await;
    for partition in [0, 1] {
        let all = bed.stats.snapshot().remove(&("view", "by_country".into(), Some(partition)));
        assert!(all.is_some_and(|all| all.contains_key(&("keys", ""))), "of partition {partition}");
    }
    bed.workers.drain().await.unwrap();
}
