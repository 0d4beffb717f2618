//! Sources: lines out of a file, or made up, in chunks.
//!
//! **Invariant:** one chunk is held at a time; a line is never cut.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use anyhow::Context;
use bytes::Bytes;

use super::{FileFormat, ProduceArgs, chunk, csv::CsvLines, made::Made};
use crate::cli::failure::Failure;

/// Lines and bytes of one chunk: a commit each, so large enough that its cost is small, small enough to see it move.
const CHUNK_LINES: usize = 10_000;
const CHUNK_BYTES: usize = 4 << 20;

/// A file's line may be as long as a request; the target says what it thinks of it.
const LINE_MAX_BYTES: u64 = 16 << 20;

/// Some lines, ready to be sent.
pub(super) struct Chunk {
    pub(super) body: Bytes,
    pub(super) first_line: usize,
    pub(super) lines: usize,
    pub(super) read_bytes: u64,
}

/// Where lines come from.
pub(super) struct Source {
    lines: Lines,
    next_line: usize,
    total_bytes: Option<u64>,
    is_text: bool,
}

enum Lines {
    Plain(BufReader<Box<dyn Read + Send>>),
    Csv(Box<CsvLines>),
    Made(Made),
}

impl Source {
    pub(super) fn open(args: &ProduceArgs) -> Result<Self, Failure> {
        let Some(path) = &args.file else {
            let lines = Lines::Made(Made::new(args)?);
            return Ok(Self { lines, next_line: 1, total_bytes: None, is_text: false });
        };
        let format = args.format.unwrap_or_else(|| by_name(path));
        let (reader, total_bytes): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            let bytes = file.metadata().ok().map(|m| m.len()).filter(|n| *n > 0);
            (Box::new(file), bytes)
        };
        let lines = match format {
            FileFormat::Csv => Lines::Csv(Box::new(CsvLines::new(reader, args.null.clone())?)),
            FileFormat::Ndjson | FileFormat::Text => Lines::Plain(BufReader::new(reader)),
        };
        Ok(Self { lines, next_line: 1, total_bytes, is_text: format == FileFormat::Text })
    }

    /// Tells whether lines are text rather than JSON.
    pub(super) fn is_text(&self) -> bool {
        self.is_text
    }

    pub(super) fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    pub(super) fn total_records(&self) -> Option<u64> {
        match &self.lines {
            Lines::Made(made) => made.left(),
            _ => None,
        }
    }

    /// Reads the next chunk: a tenth of a second at the given rate, else as much as is good for a commit.
    pub(super) fn next(&mut self, rate: Option<f64>) -> Result<Option<Chunk>, Failure> {
        let most = rate.map_or(CHUNK_LINES, |r| ((r / 10.0) as usize).clamp(1, CHUNK_LINES));
        let (mut body, mut lines, mut read_bytes) = (Vec::new(), 0, 0);
        while lines < most && body.len() < CHUNK_BYTES {
            match self.lines.push(&mut body)? {
                0 => break,
                read => read_bytes += read,
            }
            lines += 1;
        }
        let first = self.next_line;
        self.next_line += lines;
        Ok((lines > 0).then(|| chunk(body, first, lines, read_bytes)))
    }
}

impl Lines {
    /// Appends a line with its end; returns how many bytes were read for it, 0 at the end.
    fn push(&mut self, out: &mut Vec<u8>) -> Result<u64, Failure> {
        match self {
            Lines::Plain(reader) => {
                let read = reader
                    .by_ref()
                    .take(LINE_MAX_BYTES)
                    .read_until(b'\n', out)
                    .context("cannot read the input")?;
                if read > 0 && out.last() != Some(&b'\n') {
                    if read as u64 == LINE_MAX_BYTES {
                        return Err(Failure::failed(anyhow::anyhow!(
                            "a line is longer than {LINE_MAX_BYTES} bytes"
                        )));
                    }
                    out.push(b'\n');
                }
                Ok(read as u64)
            }
            Lines::Csv(csv) => csv.push(out),
            Lines::Made(made) => Ok(made.push(out)),
        }
    }
}

fn by_name(path: &Path) -> FileFormat {
    match path.extension().and_then(|e| e.to_str()) {
        Some("csv") => FileFormat::Csv,
        Some("txt" | "log") => FileFormat::Text,
        _ => FileFormat::Ndjson,
    }
}
