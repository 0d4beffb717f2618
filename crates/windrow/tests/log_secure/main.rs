//! Kafka for real: TLS, client certificates, each mechanism of SASL, on a broker of this test's own with a listener for each; what holds for
//! the log in the clear holds there, and each way not to be let in is told by its name.
//!
//! Needs Java and Kafka's jars, which `cargo xtask kafka start` fetches.

#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]
#![allow(dead_code, reason = "not every case of the suite for both logs runs here")]

#[path = "../log_conformance/bed.rs"]
mod bed;
mod broker;
mod certificates;
#[path = "../e2e/client.rs"]
mod client;
mod endpoint;
#[path = "../common/eventually.rs"]
mod eventually;
#[path = "../log_conformance/groups.rs"]
mod groups;
#[path = "../e2e/process.rs"]
mod process;
#[path = "../log_conformance/records.rs"]
mod records;
mod refusals;
mod sessions;
#[path = "../log_conformance/settings.rs"]
mod settings;
#[path = "../log_conformance/topics.rs"]
mod topics;
#[path = "../log_conformance/transactions.rs"]
mod transactions;
mod ways;
mod whole;

/// The suite for both logs, over the listener that most clusters on the net have.
mod over_sasl_ssl {
    macro_rules! cases {
        ($($room:ident::$case:ident,)*) => {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (address, properties) = crate::ways::scram();
                crate::$room::$case(crate::bed::Bed::kafka_with(&address, properties).await).await;
            })*
        };
    }

    cases! {
        records::records_keep_their_order_and_get_growing_offsets,
        records::every_compression_is_read,
        transactions::an_aborted_transaction_is_passed_over,
        transactions::output_and_offsets_commit_together,
        transactions::a_zombie_writer_is_fenced,
        transactions::a_membership_from_before_a_move_is_fenced,
        groups::three_members_share_and_take_over,
        topics::a_deleted_topic_is_gone_with_its_records_and_positions,
        settings::a_topic_grows_under_its_writer_and_its_member,
    }
}
