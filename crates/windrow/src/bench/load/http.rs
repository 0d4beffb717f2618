//! HTTP as a load needs it: whole answers with a length.
//!
//! **Invariant:** what is not an answer of success ends the bench: nothing of a load may be refused.

use anyhow::{Context, Result, ensure};
use memchr::memmem;

const LENGTH: &[u8] = b"content-length: ";

/// Cuts an answer off the front: its body, and its bytes in all. `None` when it is not whole.
pub(super) fn answer(bytes: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let Some(head) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let told = || String::from_utf8_lossy(bytes);
    ensure!(bytes.starts_with(b"HTTP/1.1 2"), "refused: {}", told());
    let at = memmem::find(&bytes[..head], LENGTH).with_context(|| format!("no length: {}", told()))?;
    let digits = bytes[at + LENGTH.len()..].iter().take_while(|b| b.is_ascii_digit());
    let length = digits.fold(0, |n: usize, b| n.saturating_mul(10) + usize::from(b - b'0'));
    let from = head + 4;
    let end = from.saturating_add(length);
    Ok(bytes.get(from..end).map(|body| (body, end)))
}
