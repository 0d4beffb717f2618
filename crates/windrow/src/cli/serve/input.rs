//! Standard input into a stream.
//!
//! lines → a thread (reading blocks) → at most a few chunks waiting → published, each chunk one commit
//! **Invariant:** what is there is published at once, so `tail -f | windrow serve --stdin` is live; what waits is bounded.

use std::io::{BufRead, BufReader, Read};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{cli::failure::Failure, publish::Publisher};

/// Most bytes of one commit.
const CHUNK_BYTES: usize = 4 << 20;

/// Longest line; a longer one is cut off by the record limit anyway.
const LINE_MAX_BYTES: u64 = 16 << 20;

/// Chunks waiting; with those being read and written about 20 MiB.
const WAITING_MAX: usize = 4;

/// The running reader.
pub(super) struct Input(JoinHandle<Result<(), Failure>>);

impl Input {
    pub(super) fn start(publisher: Publisher, stream: String) -> Self {
        let (sender, chunks) = mpsc::channel(WAITING_MAX);
        std::thread::spawn(move || read(&sender));
        Self(tokio::spawn(publish(publisher, stream, chunks)))
    }

    /// Waits until the input is over and written. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Result<(), Failure> {
        (&mut self.0).await.unwrap_or_else(|error| Err(Failure::failed(error)))
    }
}

/// Reads until the end, or until nobody listens.
fn read(sender: &mpsc::Sender<std::io::Result<Vec<u8>>>) {
    let mut reader = BufReader::with_capacity(1 << 20, std::io::stdin());
    let mut chunk = Vec::new();
    loop {
        match reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut chunk) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                // Nobody listening means that the process is ending anyway.
                let _ = sender.blocking_send(Err(error));
                return;
            }
        }
        // Nothing more is there at the moment, or it is enough: let it go.
        let enough = chunk.len() >= CHUNK_BYTES || !reader.buffer().contains(&b'\n');
        if enough
            && chunk.last() == Some(&b'\n')
            && sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err()
        {
            return;
        }
    }
    if !chunk.is_empty() {
        let _ = sender.blocking_send(Ok(chunk));
    }
}

async fn publish(
    publisher: Publisher,
    stream: String,
    mut chunks: mpsc::Receiver<std::io::Result<Vec<u8>>>,
) -> Result<(), Failure> {
    let (mut accepted, mut rejected) = (0_usize, 0_usize);
    while let Some(chunk) = chunks.recv().await {
        let mut body = chunk?;
        while body.len() < CHUNK_BYTES
            && let Ok(more) = chunks.try_recv()
        {
            body.extend(more?);
        }
        let report = publisher.publish(&stream, None, None, Bytes::from(body)).await?;
        accepted += report.accepted;
        rejected += report.rejected.len() + report.rejected_more;
        for rejection in report.rejected.iter().take(3) {
            tracing::warn!(stream, reason = rejection.reason, "a line of standard input was rejected");
        }
    }
    tracing::info!(stream, accepted, rejected, "standard input is over");
    Ok(())
}
