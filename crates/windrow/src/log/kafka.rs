//! The Kafka log.
