//! The journal: a view's state as records of its own topic, enough to restore it exactly.
//!
//! **In** what was touched since the last cut. **Out** records; and on restoring, the state.
//! **Invariant:** every block names the commit, the plan's fingerprint and the view's own position; blocks apply in order,
//! and a block that does not fit what came before is an error, never a guess.
//! **Not here:** the topic, its purge, and reading it (the worker).

use std::sync::Arc;

/// Why a journal cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A record that this version cannot read.
    #[error(
        "journal of view {view}: format version {version} is not known; it was written by another version of windrow"
    )]
    Version {
        /// Name of the view.
        view: Arc<str>,
        /// The version found.
        version: u8,
    },
    /// The bytes are not what was written.
    #[error("journal of view {view} is damaged: {why}")]
    Corrupt {
        /// Name of the view.
        view: Arc<str>,
        /// What is wrong.
        why: &'static str,
    },
    /// The view's meaning changed since the journal was written.
    #[error(
        "view {view} is not the one its journal was written by (plan {found:016x} then, {expected:016x} now): its state \
         means something else; take the change back, give the view a new name, or reset it"
    )]
    OtherPlan {
        /// Name of the view.
        view: Arc<str>,
        /// Fingerprint of today's plan.
        expected: u64,
        /// Fingerprint in the journal.
        found: u64,
    },
    /// Records are missing at the front, in the middle or at the end.
    #[error("journal of view {view} has a hole: {why}")]
    Hole {
        /// Name of the view.
        view: Arc<str>,
        /// What is missing.
        why: &'static str,
    },
}
