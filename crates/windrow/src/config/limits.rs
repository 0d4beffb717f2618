//! `[limits]`: every bound by name.

use std::time::Duration;

use super::{Limits, reader::Reader};

const COUNT_MAX: i64 = 10_000_000;
const BYTES_MAX: u64 = 1 << 40;

pub(super) fn read(limits: Reader<'_>) -> Limits {
    let d = Limits::default();
    let count = |key, default: usize| limits.number(key, 1..=COUNT_MAX).map_or(default, |n| n as usize);
    let size = |key, default: usize| limits.size(key, 1_024..=BYTES_MAX).map_or(default, |n| n as usize);
    let time = |key, default: Duration| {
        limits.duration(key, Duration::from_millis(100)..=Duration::from_secs(3_600)).unwrap_or(default)
    };
    let read = Limits {
        connections_max: count("connections_max", d.connections_max),
        connections_per_address_max: count("connections_per_address_max", d.connections_per_address_max),
        sessions_max: count("sessions_max", d.sessions_max),
        sessions_per_address_max: count("sessions_per_address_max", d.sessions_per_address_max),
        frame_max_bytes: size("frame_max", d.frame_max_bytes),
        subscriptions_max: count("subscriptions_max", d.subscriptions_max),
        publish_max_bytes: size("publish_max", d.publish_max_bytes),
        record_max_bytes: size("record_max", d.record_max_bytes),
        filter_max_bytes: size("filter_max", d.filter_max_bytes),
        unindexed_filters_max: count("unindexed_filters_max", d.unindexed_filters_max),
        outbox_max_bytes: size("outbox_max", d.outbox_max_bytes),
        table_max_bytes: size("table_max", d.table_max_bytes),
        ring_max_bytes: size("ring_max", d.ring_max_bytes),
        rows_max: count("rows_max", d.rows_max),
        handshake_timeout: time("handshake_timeout", d.handshake_timeout),
        messages_per_second_max: limits
            .number("messages_per_second_max", 1..=1_000_000)
            .map_or(d.messages_per_second_max, |n| n as u32),
        drain_timeout: time("drain_timeout", d.drain_timeout),
    };
    if read.record_max_bytes > read.publish_max_bytes {
        limits.wrong(
            "record_max",
            "`record_max` must not exceed `publish_max`: a request holds whole records",
            None,
        );
    }
    limits.finish();
    read
}
