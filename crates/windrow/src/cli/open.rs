//! Opening a log from the command line: `--kafka host:port` or `--directory folder`.

use std::{path::PathBuf, sync::Arc};

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
    /// A property of librdkafka; may be given several times
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Log", requires = "kafka")]
    pub(super) property: Vec<String>,
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
            let servers: Vec<String> = servers
                .split(',')
                .map(|s| s.trim().trim_start_matches("kafka://").to_owned())
                .filter(|s| !s.is_empty())
                .collect();
            let mut properties = std::collections::BTreeMap::new();
            for property in &self.property {
                let Some((name, value)) = property.split_once('=') else {
                    return Err(Failure::usage("--property must be NAME=VALUE"));
                };
                properties.insert(name.to_owned(), value.to_owned());
            }
            return Ok(KafkaLog::connect(&servers, &properties).await?);
        }
        match &self.directory {
            Some(directory) => Ok(EmbeddedLog::open(directory, Sync::Commit)?),
            None => Err(Failure::usage("name a log: --kafka HOST:PORT or --directory FOLDER")),
        }
    }
}
