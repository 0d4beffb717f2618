//! Trouble: what the broker's and librdkafka's error codes mean for the caller.
//!
//! **In** codes. **Out** a [`LogError`] that says whether to retry, to give up the partitions, or to give up.
//! **Invariant:** a code nobody foresaw is fatal, never retried for ever in silence. **Not here:** the retries.

use kafka_protocol::error::ResponseError;
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};

use crate::log::{LogError, Topic};

/// Sorts an error code of a broker; `what` was asked, for instance `ends of clicks[0]`.
pub(super) fn of_code(code: i16, what: &str) -> LogError {
    let Some(error) = ResponseError::try_from_code(code) else {
        return LogError::Fatal(format!("{what}: error 0"));
    };
    let why = format!("{what}: {error}");
    match error {
        _ if error.is_retriable() || is_moved(error) => LogError::Retry(why),
        ResponseError::FencedInstanceId
        | ResponseError::IllegalGeneration
        | ResponseError::UnknownMemberId
        | ResponseError::ProducerFenced
        | ResponseError::InvalidProducerEpoch => LogError::Fenced(why),
        _ => LogError::Fatal(why),
    }
}

/// Tells whether the partition is led by another broker than the one asked: ask for the metadata anew.
pub(super) fn is_moved(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::NotLeaderOrFollower
            | ResponseError::LeaderNotAvailable
            | ResponseError::ReplicaNotAvailable
            | ResponseError::FencedLeaderEpoch
            | ResponseError::UnknownLeaderEpoch
            | ResponseError::OffsetNotAvailable
            | ResponseError::KafkaStorageError
            | ResponseError::InconsistentTopicId
    )
}

/// Sorts an error of librdkafka in whatever carries a membership.
///
/// Brokers (4.1) take the offsets of a transaction while members are still joining. Once all have joined the generation is another one, and a
/// membership from before gets `IllegalGeneration`, at once and for ever, though its member is in the group and may own the same
/// partitions as before. A member that is out gets `UnknownMemberId`, one whose instance id has come again `FencedInstanceId`. Without
/// transactions there is `RebalanceInProgress` besides, until the leader has said who gets what. librdkafka
/// passes all of them on as they are, each of which ends the transaction but not the producer.
pub(super) fn of_membership(error: &KafkaError, what: &str) -> LogError {
    use RDKafkaErrorCode as Code;
    let code = match error {
        KafkaError::Transaction(native) => Some(native.code()),
        other => other.rdkafka_error_code(),
    };
    match code {
        Some(Code::IllegalGeneration | Code::RebalanceInProgress) => {
            LogError::Rebalancing(format!("{what}: {error}"))
        }
        _ => of_librdkafka(error, what),
    }
}

/// Sorts an error of librdkafka.
pub(super) fn of_librdkafka(error: &KafkaError, what: &str) -> LogError {
    let why = format!("{what}: {error}");
    if let KafkaError::Transaction(native) = error {
        let code = native.code();
        if is_hopeless(code) {
            return LogError::Fatal(format!("{what}: {} ({code:?})", native.string()));
        }
        if !native.is_fatal() && is_rebalance(code) {
            return LogError::Rebalancing(format!("{what}: {}", native.string()));
        }
        if native.is_fatal() || is_fenced(code) {
            return LogError::Fenced(format!("{what}: {} ({code:?})", native.string()));
        }
        if native.is_retriable() || native.txn_requires_abort() || is_passing(code) {
            return LogError::Retry(format!("{what}: {}", native.string()));
        }
        return LogError::Fatal(format!("{what}: {} ({code:?})", native.string()));
    }
    match error.rdkafka_error_code() {
        Some(code) if is_rebalance(code) => LogError::Rebalancing(why),
        Some(code) if is_fenced(code) => LogError::Fenced(why),
        Some(code) if is_passing(code) => LogError::Retry(why),
        _ => LogError::Fatal(why),
    }
}

/// The group has a newer generation, or is about to: the member is still one, and may still own what it had.
fn is_rebalance(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::RebalanceInProgress)
}

/// Sorts the reason why a record could not be written.
pub(super) fn of_record(topic: &str, code: Option<RDKafkaErrorCode>, why: &str) -> LogError {
    use RDKafkaErrorCode as Code;
    match code {
        Some(
            Code::MessageSizeTooLarge
            | Code::InvalidMessage
            | Code::InvalidTimestamp
            | Code::InvalidRecord
            | Code::TopicAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidMessageSize,
        ) => LogError::Refused { topic: Topic::from(topic), reason: why.to_owned() },
        Some(code) if is_fenced(code) => LogError::Fenced(format!("writing to {topic}: {why}")),
        _ => LogError::Retry(format!("writing to {topic}: {why}")),
    }
}

/// Wrong configuration or missing rights: a new writer would meet the same.
fn is_hopeless(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::UnsupportedFeature
            | Code::UnsupportedVersion
            | Code::InvalidArgument
            | Code::InvalidConfig
            | Code::InvalidTransactionTimeout
    )
}

fn is_fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Fenced
            | Code::Fatal
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::AssignmentLost
    )
}

fn is_passing(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        // Passwords and tokens are renewed, certificates too: whoever refuses us may let us in again.
        Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::SSL
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::Resolve
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::ConcurrentTransactions
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::UnstableOffsetCommit
            | Code::QueueFull
            | Code::PurgeQueue
            | Code::PurgeInflight
            | Code::PreviousInProgress
            | Code::InProgress
    )
}
