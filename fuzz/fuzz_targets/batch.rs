//! Any bytes as a record batch: an error, or records that can all be walked.
//!
//! The CRC is made right first where the length allows: otherwise it would keep the fuzzer out of everything behind it.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use windrow_core::batch::Batch;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    if bytes.len() > 61 {
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    for bytes in [Bytes::from(bytes), Bytes::copy_from_slice(input)] {
        if let Ok((batch, size)) = Batch::parse(&bytes) {
            assert!(size <= bytes.len());
            assert_eq!(batch.records().count(), batch.len());
            for record in batch.records() {
                assert!(record.offset <= batch.last_offset());
                record.headers.for_each(drop);
            }
            let _ = batch.control_type();
        }
    }
});
