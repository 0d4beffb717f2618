//! Group: librdkafka is the member, the worker decides; not one record is fetched through it.
//!
//! **In** a subscription. **Out** events; a revocation or a loss holds the member back until it was answered.
//!
//! ```text
//! broker ─► librdkafka ─► callback on the member's own thread ─► event ─► worker
//!                             waits, at most max.poll.interval.ms ◄─ answer ─┘
//! ```
//!
//! **Invariant:** a member rejoins only after its worker dropped what was lost. A membership is never handed out for a
//! loss that the worker has not heard of: it would hold no member id, and brokers do not fence such a commit.
//! **Not here:** reading (`fetcher`), offsets (`writer`, `admin`).
//!
//! Source: KIP-429 (cooperative rebalancing), KIP-345 (static membership), KIP-447 (fencing by generation).

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use kafka_protocol::{
    error::ResponseError,
    messages::{GroupId, LeaveGroupRequest, leave_group_request::MemberIdentity},
    protocol::StrBytes,
};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerGroupMetadata},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tokio::sync::{mpsc, oneshot};

use self::{
    callbacks::{Callbacks, Shared},
    identity::member_id,
};
use super::{
    cluster::{Cluster, Pause, SETTLE_MAX},
    security::token::Giver,
    set_default, trouble,
};
use crate::log::{Group, GroupEvent, GroupOptions, LogError, Membership, Result};

mod callbacks;
mod identity;

/// Events that may wait for the worker; the member is held back by each that needs an answer, so few are ever there.
const EVENTS_MAX: usize = 64;
/// Between two looks at whether to stop; events wake the member's thread at once.
const POLL: Duration = Duration::from_millis(100);
/// Time in which a member closes that is not in the middle of joining.
const CLOSE_SOON: Duration = Duration::from_millis(250);
/// Longest wait for a member that closes.
const CLOSE_MAX: Duration = Duration::from_secs(20);
/// A member that died without a word holds its partitions this long. Dynamic members cannot reclaim theirs, so it is short;
/// static ones come back as the same member, and their partitions should not move meanwhile.
const SESSION_DYNAMIC_MS: &str = "10000";
const SESSION_STATIC_MS: &str = "45000";
/// librdkafka's own default.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(300);

type Consumer = BaseConsumer<Callbacks>;

/// Proof of membership, as the writer reads it.
pub(super) struct Proof {
    pub(super) metadata: ConsumerGroupMetadata,
    consumer: Weak<Consumer>,
}

impl Proof {
    /// Commits offsets without a transaction: through the member itself, which the group fences by its generation. Blocks.
    pub(super) fn commit(&self, offsets: &TopicPartitionList) -> Result<()> {
        let consumer = self.consumer.upgrade();
        let consumer = consumer.ok_or_else(|| LogError::Fenced("the group was left".into()))?;
        if consumer.assignment_lost() {
            return Err(LogError::Fenced("the group gave the partitions to another member".into()));
        }
        consumer
            .commit(offsets, CommitMode::Sync)
            .map_err(|error| trouble::of_membership(&error, "committing source offsets"))
    }
}

/// A member of a consumer group.
pub(super) struct Member {
    cluster: Arc<Cluster>,
    options: GroupOptions,
    consumer: Option<Arc<Consumer>>,
    shared: Arc<Shared>,
    events: mpsc::Receiver<(u64, Result<GroupEvent>)>,
    /// The event that is out.
    unanswered: Option<u64>,
    closed: Option<oneshot::Receiver<()>>,
}

impl Member {
    /// Subscribes; the first event comes when the group has settled.
    pub(super) fn join(cluster: Arc<Cluster>, base: &ClientConfig, options: GroupOptions) -> Result<Self> {
        let config = config(base, &options);
        let poll_max = config.get("max.poll.interval.ms").and_then(|text| text.parse().ok());
        let poll_max = poll_max.map_or(POLL_INTERVAL_MAX, Duration::from_millis);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        // Answered or not, the member must be polled again before the group gives it up.
        let shared = Arc::new(Shared::new(sender, poll_max.mul_f64(0.9)));
        let fatal = |error: KafkaError| LogError::Fatal(format!("group {}: {error}", options.group));
        let consumer: Consumer = config.create_with_context(Callbacks(shared.clone())).map_err(fatal)?;
        let mut giver = Giver::new(cluster.access().entry.tokens());
        // SAFETY: the client lives as long as `consumer`.
        unsafe { giver.give(consumer.client().native_ptr()) }?;
        let topics: Vec<&str> = options.topics.iter().map(|topic| &**topic).collect();
        consumer.subscribe(&topics).map_err(fatal)?;
        let consumer = Arc::new(consumer);
        let (done, closed) = oneshot::channel();
        let polled = (consumer.clone(), shared.clone());
        let thread = std::thread::Builder::new().name("kafka-member".into());
        let spawned = thread.spawn(move || {
            let (consumer, shared) = polled;
            poll(&consumer, &shared, giver);
            drop(consumer); // closes the member, unless the other half still holds it
            let _ = done.send(());
        });
        spawned.map_err(|error| LogError::Fatal(format!("no thread for the group's member: {error}")))?;
        Ok(Self {
            cluster,
            options,
            consumer: Some(consumer),
            shared,
            events,
            unanswered: None,
            closed: Some(closed),
        })
    }

    /// Closes the consumer on its own thread. A dynamic member leaves its group by that, a static one does not.
    fn close(&mut self) -> Option<oneshot::Receiver<()>> {
        // In this order: whoever drops it last closes the consumer, which blocks, and that must be its own thread.
        self.consumer = None;
        self.shared.close();
        self.closed.take()
    }

    /// Tells the group by ourselves that a member is gone.
    async fn remove(&self, identity: MemberIdentity) -> Result<()> {
        let who = identity.group_instance_id.clone().unwrap_or_else(|| identity.member_id.clone());
        let request = LeaveGroupRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(self.options.group.clone())))
            .with_members(vec![identity]);
        let mut pause = Pause::new(SETTLE_MAX);
        loop {
            let tried = async {
                let coordinator = self.cluster.coordinator(&self.options.group).await?;
                let answer = self.cluster.ask(&coordinator, &request).await?;
                let of_member = answer.members.first().map_or(0, |member| member.error_code);
                Ok(if answer.error_code == 0 { of_member } else { answer.error_code })
            };
            let what = format!("{who} leaving group {}", self.options.group);
            let error = match tried.await {
                Ok(0) => return Ok(()),
                // The session ended before: nothing is left to leave.
                Ok(code) if code == ResponseError::UnknownMemberId.code() => return Ok(()),
                Ok(code) => trouble::of_code(code, &what),
                Err(error) => error,
            };
            if !matches!(error, LogError::Retry(_)) || !pause.again().await {
                return Err(error);
            }
        }
    }
}

fn config(base: &ClientConfig, options: &GroupOptions) -> ClientConfig {
    let mut config = base.clone();
    config
        .set("group.id", &options.group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    // Members hear of a rebalance in the answer to a heartbeat: with the usual 3 s each hand-over would take that long.
    set_default(&mut config, &["heartbeat.interval.ms"], "500");
    // New partitions and topics are seen this soon.
    set_default(&mut config, &["topic.metadata.refresh.interval.ms", "metadata.max.age.ms"], "10000");
    let session = if let Some(instance_id) = &options.instance_id {
        config.set("group.instance.id", instance_id);
        SESSION_STATIC_MS
    } else {
        SESSION_DYNAMIC_MS
    };
    set_default(&mut config, &["session.timeout.ms"], session);
    config
}

/// Keeps the member alive and runs its callbacks, until it is closed: also a member that failed is closed on this thread.
fn poll(consumer: &Consumer, shared: &Shared, mut giver: Giver) {
    let mut failed = false;
    while !shared.is_closing() {
        // SAFETY: the client lives as long as `consumer`.
        if let Err(error) = unsafe { giver.give(consumer.client().native_ptr()) } {
            tracing::debug!(%error, "no new token for the group's member");
        }
        match consumer.poll(POLL) {
            _ if failed => std::thread::sleep(POLL),
            None => {}
            Some(Ok(_)) => tracing::error!("the group's member fetched a record; it should be paused"),
            Some(Err(error)) if is_final(&error) => {
                shared.fail(end_of_member(&error));
                failed = true;
            }
            Some(Err(error)) => tracing::warn!(%error, "the group's member"),
        }
        if !failed && shared.is_renamed(&member_id(consumer)) {
            let why = "the group forgot this member and took it for a new one: its partitions were another's meanwhile";
            shared.fail(LogError::Fenced(why.into()));
            failed = true;
        }
    }
}

/// Whoever joins under the same name ends this member. It may also be its own former self: a broker that dies while a member
/// comes back forgets the new one and remembers the old. Joining again settles both.
fn end_of_member(error: &KafkaError) -> LogError {
    let why = format!("the group's member stopped: {error}");
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::FencedInstanceId) => LogError::Fenced(why),
        _ => LogError::Fatal(why),
    }
}

fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed | Code::InvalidGroupId)
        )
}

#[async_trait]
impl Group for Member {
    async fn next(&mut self) -> Result<GroupEvent> {
        if self.unanswered.is_some() {
            return std::future::pending().await;
        }
        let Some((number, event)) = self.events.recv().await else {
            return Err(LogError::Fatal("the group's member ended early".into()));
        };
        if event.is_ok() {
            self.unanswered = Some(number);
        }
        event
    }

    fn answer(&mut self) {
        if let Some(number) = self.unanswered.take() {
            self.shared.answer(number);
        }
    }

    fn membership(&self) -> Result<Membership> {
        let Some(consumer) = &self.consumer else {
            return Err(LogError::Fenced("the group was left".into()));
        };
        let metadata = consumer.group_metadata();
        // In this order: both are done by the same thread, so metadata of after a loss is always seen as lost.
        let id = member_id(consumer);
        let is_member = !id.is_empty() && !self.shared.is_renamed(&id);
        if consumer.assignment_lost() || !self.shared.owns() || !is_member {
            return Err(LogError::Fenced("the group gave the partitions to another member".into()));
        }
        let metadata = metadata.ok_or_else(|| LogError::Fatal("the consumer has no group".into()))?;
        Ok(Membership(Arc::new(Proof { metadata, consumer: Arc::downgrade(consumer) })))
    }

    async fn leave(mut self: Box<Self>) -> Result<()> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let member = self.consumer.as_deref().map(member_id).filter(|id| !id.is_empty());
        let identity = match (&self.options.instance_id, member) {
            (Some(id), _) => Some(MemberIdentity::default().with_group_instance_id(Some(text(id)))),
            (None, id) => id.map(|id| MemberIdentity::default().with_member_id(text(&id))),
        };
        let Some(mut closed) = self.close() else { return Ok(()) };
        let is_closed = tokio::time::timeout(CLOSE_SOON, &mut closed).await.is_ok();
        // A static member leaves by this alone. Of others librdkafka tells the group, but not always: one without partitions is closed
        // before its word is sent, and that of one in the middle of joining waits in line behind its join.
        if let Some(identity) = identity {
            self.remove(identity).await?;
        }
        if !is_closed && tokio::time::timeout(CLOSE_MAX, closed).await.is_err() {
            tracing::warn!(group = %self.options.group, "the member does not close");
        }
        Ok(())
    }
}

impl Drop for Member {
    /// Without [`Group::leave`] a static member keeps its partitions for its return; a dynamic one leaves.
    fn drop(&mut self) {
        let _ = self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_short_for_members_that_cannot_come_back_and_the_user_wins() {
        let options = |instance_id: Option<&str>| GroupOptions {
            group: "app".into(),
            instance_id: instance_id.map(str::to_owned),
            topics: Vec::new(),
        };
        let session = |base: &ClientConfig, id| {
            config(base, &options(id)).get("session.timeout.ms").map(str::to_owned).unwrap_or_default()
        };
        let mut base = ClientConfig::new();
        assert_eq!(session(&base, None), SESSION_DYNAMIC_MS);
        assert_eq!(session(&base, Some("a-0")), SESSION_STATIC_MS);
        base.set("session.timeout.ms", "7000");
        assert_eq!(session(&base, None), "7000");
    }
}
