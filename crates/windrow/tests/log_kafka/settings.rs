//! What a topic is made with, and what is seen of one that somebody else made.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use windrow::log::{Log as _, TOMBSTONES_KEPT, TopicSpec};

use crate::world::{address, log, spec, unique};

#[tokio::test]
async fn tombstones_are_kept_as_long_as_pinned_and_another_setting_is_seen() {
    let log = log().await;
    let ours = TopicSpec { compact: true, ..spec(&unique("ours"), 1) };
    log.create_topic(&ours).await.unwrap();
    assert_eq!(log.tombstones_kept(&ours.name).await.unwrap(), Some(TOMBSTONES_KEPT));
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address()).create().unwrap();
    let name = unique("theirs");
    let theirs = NewTopic::new(&name, 1, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact")
        .set("delete.retention.ms", "60000");
    admin.create_topics([&theirs], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    assert_eq!(log.tombstones_kept(&name).await.unwrap(), Some(Duration::from_secs(60)));
}
