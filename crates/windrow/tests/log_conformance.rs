//! One suite for both logs: what `log.rs` promises holds on the embedded log and on Kafka.
//!
//! The Kafka half needs `WINDROW_TEST_KAFKA=host:port`; without it, it fails and says so.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

#[path = "log_conformance/bed.rs"]
mod bed;
#[path = "log_conformance/bounds.rs"]
mod bounds;
#[path = "log_conformance/embedded.rs"]
mod embedded_only;
#[path = "common/eventually.rs"]
mod eventually;
#[path = "log_conformance/groups.rs"]
mod groups;
#[path = "log_conformance/records.rs"]
mod records;
#[path = "log_conformance/settings.rs"]
mod settings;
#[path = "log_conformance/topics.rs"]
mod topics;
#[path = "log_conformance/transactions.rs"]
mod transactions;

macro_rules! on_both_logs {
    ($($room:ident::$case:ident,)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$room::$case(crate::bed::Bed::embedded()).await;
            })*
        }
        mod kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$room::$case(crate::bed::Bed::kafka().await).await;
            })*
        }
    };
}

on_both_logs! {
    records::topics_are_made_once_and_described,
    records::records_keep_their_order_and_get_growing_offsets,
    records::nulls_headers_and_timestamps_come_back,
    records::every_compression_is_read,
    records::a_reader_starts_where_it_is_told,
    records::an_unassigned_partition_is_silent,
    records::a_record_that_is_too_large_is_refused,
    transactions::nothing_is_seen_before_the_commit,
    transactions::an_aborted_transaction_is_passed_over,
    transactions::output_and_offsets_commit_together,
    transactions::a_transaction_without_positions_is_refused,
    transactions::a_zombie_writer_is_fenced,
    transactions::a_membership_that_was_left_is_fenced,
    transactions::a_membership_from_before_a_move_is_fenced,
    transactions::a_writer_without_transactions_writes_too,
    groups::partitions_move_after_the_answer,
    groups::three_members_share_and_take_over,
    bounds::a_purged_position_is_told_as_a_gap,
    bounds::a_reader_at_the_end_hears_silence,
    topics::a_deleted_topic_is_gone_with_its_records_and_positions,
    topics::a_reader_is_told_of_a_topic_made_anew_and_reads_it_when_asked,
    topics::topics_that_come_and_go_are_listed_and_disturb_no_other,
    settings::a_topic_grows_under_its_writer_and_its_member,
    settings::the_largest_record_is_taken_and_a_larger_one_is_not,
}
