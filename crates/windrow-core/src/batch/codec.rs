//! Compression of batches: the four codecs of Kafka, within a bound.
//!
//! **In** the stored bytes of a batch's records. **Out** the records' bytes, at most as many as the caller allows.
//! **Invariant:** a bomb is refused while it unfolds, not after. **Not here:** which codec a topic uses.
//!
//! Source: Snappy comes in two shapes: xerial's framing (Java) and one raw block (librdkafka); both are read.

use std::{
    cell::RefCell,
    io::{self, Read, Write},
};

use bytes::Bytes;

/// How a batch's records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy; written in xerial's framing, as Java does.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

/// Why bytes did not unfold.
#[derive(Debug)]
pub(super) enum Trouble {
    TooLarge,
    Bad(&'static str),
}

const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Magic, then two version numbers of four bytes.
const XERIAL_HEADER_BYTES: usize = 16;
/// No Snappy block unfolds to more than this times its size.
const SNAPPY_RATIO_MAX: usize = 22;
/// xerial's default block; blocks compress alone.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

thread_local! {
    // A zstd context takes 100 KiB and more: one a thread, not one a batch.
    static ZSTD: RefCell<zstd::zstd_safe::DCtx<'static>> = RefCell::new(zstd::zstd_safe::DCtx::create());
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Finds the codec of a number in a batch's attributes.
    pub fn from_id(id: i16) -> Option<Self> {
        usize::try_from(id).ok().and_then(|id| Self::ALL.get(id).copied())
    }

    /// Returns the number in a batch's attributes.
    pub fn id(self) -> i16 {
        self as i16
    }

    pub(super) fn decompress(self, stored: Bytes, max: usize) -> Result<Bytes, Trouble> {
        let input = &stored[..];
        match self {
            Self::None => Ok(stored),
            Self::Gzip => read_all(flate2::read::MultiGzDecoder::new(input), input, max, "bad gzip"),
            Self::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(input), input, max, "bad lz4"),
            Self::Snappy => unsnap(input, max),
            Self::Zstd => ZSTD.with_borrow_mut(|context| {
                let fresh = context.reset(zstd::zstd_safe::ResetDirective::SessionOnly);
                fresh.map_err(|_| Trouble::Bad("zstd context broken"))?;
                read_all(zstd::stream::read::Decoder::with_context(input, context), input, max, "bad zstd")
            }),
        }
    }

    /// Appends the compressed `records` to `out`.
    pub(super) fn compress(self, records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::None => out.extend_from_slice(records),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(records)?;
                encoder.finish()?;
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
                encoder.write_all(records)?;
                encoder.finish()?;
            }
            Self::Snappy => {
                out.extend_from_slice(XERIAL_MAGIC);
                out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
                let mut encoder = snap::raw::Encoder::new();
                for block in records.chunks(XERIAL_BLOCK_BYTES) {
                    let packed = encoder.compress_vec(block)?;
                    out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                    out.extend_from_slice(&packed);
                }
            }
            Self::Zstd => zstd::stream::copy_encode(records, out, zstd::DEFAULT_COMPRESSION_LEVEL)?,
        }
        Ok(())
    }
}

/// Reads to the end, or to one byte past `max`.
fn read_all(decoder: impl Read, input: &[u8], max: usize, bad: &'static str) -> Result<Bytes, Trouble> {
    let mut out = Vec::with_capacity(input.len().saturating_mul(4).min(max));
    decoder.take(max as u64 + 1).read_to_end(&mut out).map_err(|_| Trouble::Bad(bad))?;
    if out.len() > max { Err(Trouble::TooLarge) } else { Ok(out.into()) }
}

fn unsnap(input: &[u8], max: usize) -> Result<Bytes, Trouble> {
    let mut out = Vec::new();
    if !input.starts_with(XERIAL_MAGIC) {
        unsnap_block(input, max, &mut out)?;
        return Ok(out.into());
    }
    let mut rest = input.get(XERIAL_HEADER_BYTES..).ok_or(Trouble::Bad("bad snappy"))?;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or(Trouble::Bad("bad snappy"))?;
        unsnap_block(block, max, &mut out)?;
        rest = after;
    }
    if rest.is_empty() { Ok(out.into()) } else { Err(Trouble::Bad("bad snappy")) }
}

fn unsnap_block(block: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Trouble> {
    let bad = |_| Trouble::Bad("bad snappy");
    let length = snap::raw::decompress_len(block).map_err(bad)?;
    let start = out.len();
    if length > max - start {
        return Err(Trouble::TooLarge);
    }
    // Three bytes copy 64 at most: a false length must not make much memory zero.
    if length / SNAPPY_RATIO_MAX > block.len() {
        return Err(Trouble::Bad("bad snappy"));
    }
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(bad)?;
    if written == length { Ok(()) } else { Err(Trouble::Bad("bad snappy")) }
}
