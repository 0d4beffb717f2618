//! A Kafka for the length of a task.
//!
//! **In** nothing. **Out** its address. **Invariant:** what ran before goes on after; what was started here is stopped here, also when
//! the task fails. **Not here:** how it starts and stops (`kafka`).

use anyhow::Result;

/// A Kafka that runs at least as long as this value lives.
pub(crate) struct Running {
    /// Its `host:port`.
    pub(crate) address: String,
    ours: bool,
}

impl Running {
    /// Takes the one that runs, or starts one.
    pub(crate) fn start() -> Result<Self> {
        if let Ok(address) = super::status() {
            return Ok(Self { address, ours: false });
        }
        Ok(Self { address: super::start(None)?, ours: true })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(error) = self.ours.then(super::stop).and_then(Result::err) {
            println!("kafka did not stop: {error:#}");
        }
    }
}
