//! Topics: the names of everything Windrow owns in the log, and how each is made.
//!
//! | file | job |
//! |---|---|
//! | `sources` | which topics a stream reads now, under which numbers |
//! | `ledger` | the numbers of a stream over several topics |
//! | `ensure` | makes them, with the counts that the state asks for |
//! | `targets` | which record goes where |
//! | `work` | all that a worker needs to know of one topic it reads |
//!
//! **Invariant:** names are a function of app, stream and view. **Not here:** what goes into the topics (`windrow_core::engine`).

use windrow_core::plan::{Shape, ViewPlan};

use crate::log::Topic;
pub use ensure::{ensure_topic, ensure_watermarks, ensure_work};
pub use sources::{Sources, look};
pub use targets::Targets;
pub use work::{Kind, StreamWork};

mod ensure;
mod ledger;
mod sources;
mod targets;
mod work;

/// Returns the channel topic of a view: compacted, the only one that gateways read.
pub fn channel(app: &str, view: &str) -> Topic {
    format!("{app}.{view}").into()
}

/// Returns the journal topic of a view.
pub fn journal(app: &str, view: &str) -> Topic {
    format!("{app}.{view}.journal").into()
}

/// Returns the topic between the two stages of a view: what each source partition brings to each group.
pub fn partials(app: &str, view: &str) -> Topic {
    format!("{app}.{view}.partials").into()
}

/// Returns the journal topic of a view's first stage, when it has two.
pub fn sources(app: &str, view: &str) -> Topic {
    format!("{app}.{view}.sources").into()
}

/// Returns the topic of a view's late records.
pub fn late(app: &str, view: &str) -> Topic {
    format!("{app}.{view}.late").into()
}

/// Returns the topic of a stream's bad records.
pub fn bad(app: &str, stream: &str) -> Topic {
    format!("{app}.{stream}.bad").into()
}

/// Returns the ledger of a stream over several topics.
pub fn ledger(app: &str, stream: &str) -> Topic {
    format!("{app}.{stream}.topics").into()
}

/// Returns the topic of publish requests that carried a key. No view or stream can have this name.
pub fn published(app: &str) -> Topic {
    format!("{app}._published").into()
}

/// Returns the topic in which processes tell each other how far their partitions are.
pub fn watermarks(app: &str) -> Topic {
    format!("{app}.watermarks").into()
}

/// Tells whether a view keeps state and therefore has a channel topic.
pub fn has_state(view: &ViewPlan) -> bool {
    view.shape != Shape::Stateless
}

/// Tells whether a view runs in the engine: it keeps state, or it writes a topic. Such a view has a journal, if only for its
/// position; any other is served straight from the source.
pub fn runs_in_engine(view: &ViewPlan) -> bool {
    has_state(view) || view.spec.topic.is_some()
}
