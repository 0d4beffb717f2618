//! `cargo xtask kafka start|stop`: a real Apache Kafka from its Maven Central jars.

use anyhow::{Result, bail};

/// Starts Kafka if it does not run and returns its `host:port`.
pub(crate) fn start() -> Result<String> {
    bail!("kafka cannot be started yet")
}

/// Stops it.
pub(crate) fn stop() -> Result<()> {
    Ok(())
}
