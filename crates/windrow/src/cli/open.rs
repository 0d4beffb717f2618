//! Opening a log from the command line: `--kafka host:port` or `--directory folder`.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use clap::Args;

use super::failure::Failure;
use crate::{
    config::Sync,
    log::{Log, embedded::EmbeddedLog, kafka::KafkaLog},
};

/// Which log.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArgs {
    /// A Kafka cluster
    #[arg(long, value_name = "HOST:PORT", help_heading = "Log")]
    pub(super) kafka: Option<String>,
    /// A directory of the embedded log; no other process may have it open
    #[arg(long, value_name = "FOLDER", help_heading = "Log", conflicts_with = "kafka")]
    pub(super) directory: Option<PathBuf>,
    /// A property of librdkafka; may be given several times; others on this machine can see it
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Log", requires = "kafka")]
    pub(super) property: Vec<String>,
    /// A file of such properties, one a line, as other clients of Kafka have it: the place for passwords
    #[arg(long, value_name = "FILE", help_heading = "Log", requires = "kafka")]
    pub(super) properties: Option<PathBuf>,
}

impl LogArgs {
    pub(super) fn is_given(&self) -> bool {
        self.kafka.is_some() || self.directory.is_some()
    }

    /// Tells whether Windrow makes missing topics: its own log's, never Kafka's unless asked.
    pub(super) fn is_embedded(&self) -> bool {
        self.kafka.is_none()
    }

    /// Opens it.
    pub(super) async fn open(&self) -> Result<Arc<dyn Log>, Failure> {
        if let Some(servers) = &self.kafka {
            return Ok(KafkaLog::connect(std::slice::from_ref(servers), &self.properties()?).await?);
        }
        match &self.directory {
            Some(directory) => Ok(EmbeddedLog::open(directory, Sync::Commit)?),
            None => Err(Failure::usage("name a log: --kafka HOST:PORT or --directory FOLDER")),
        }
    }

    /// Reads the properties: those of the file, then those given one by one.
    fn properties(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut properties = BTreeMap::new();
        if let Some(path) = &self.properties {
            let wrong = |what: String| Failure::usage(format!("--properties: {}{what}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| wrong(format!(": {error}")))?;
            for (number, line) in text.lines().map(str::trim).enumerate() {
                let rule = |rule: &str| wrong(format!(":{}: {rule}", number + 1));
                match line.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
                    _ if line.is_empty() || line.starts_with(['#', '!']) => {}
                    None => return Err(rule("a line must be NAME=VALUE")),
                    Some(("bootstrap.servers", _)) => return Err(rule("--kafka names the brokers")),
                    Some((name, value)) => _ = properties.insert(name.to_owned(), value.to_owned()),
                }
            }
        }
        for property in &self.property {
            let Some((name, value)) = property.split_once('=') else {
                return Err(Failure::usage("--property must be NAME=VALUE"));
            };
            properties.insert(name.to_owned(), value.to_owned());
        }
        Ok(properties)
    }
}
