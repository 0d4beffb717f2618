//! Broker: one connection to one broker, one fetch at a time, the next while the caller folds.
//!
//! **In** the partitions this broker leads. **Out** deliveries. **Invariant:** a fetch is sent only when the answer before it was
//! taken by the caller; a broken connection is opened anew after a pause with jitter; an outage is told once it lasts
//! [`TOLD_AFTER`], then at each try. **Not here:** who leads what (`keeper`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hashbrown::HashMap;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        FetchRequest, FetchResponse, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
        fetch_response::PartitionData,
    },
    protocol::StrBytes,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::Instant,
};
use uuid::Uuid;

use super::{
    Delivery, Of, Trouble, answer,
    table::{Part, Start, Table},
};
use crate::log::{
    Fetched, LogError, ReaderOptions, Result, Tp,
    kafka::{
        cluster::{ANSWER_MAX, Cluster, Pause},
        trouble,
        wire::Connection,
    },
};

/// Shorter outages (a closed idle connection, a leader that moves) are nobody's business.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// Brokers wait before a request is repeated that they could not serve.
const MOVED_PAUSE: Duration = Duration::from_millis(50);
/// From this version on topics are named by id.
const BY_ID: i16 = 13;
/// From this version on a rack may be named, and leaders send those who do to a replica that is near.
const WITH_RACK: i16 = 11;
/// From this version on the epoch of the last batch may be sent.
const WITH_LAST_EPOCH: i16 = 12;

/// One broker's task.
pub(super) struct Broker {
    pub(super) node: i32,
    pub(super) cluster: Arc<Cluster>,
    pub(super) table: Arc<Table>,
    pub(super) options: ReaderOptions,
    pub(super) sender: mpsc::Sender<Delivery>,
    /// Wakes this task when the keeper gave it partitions.
    pub(super) woken: Arc<Notify>,
}

/// The partitions of one request.
type Asked = Vec<(Tp, Part)>;

impl Broker {
    /// Fetches until the reader is dropped.
    pub(super) async fn run(self) {
        let turns = Arc::new(Semaphore::new(1));
        let mut connection = None;
        let mut pause = Pause::endless();
        let mut down_since: Option<Instant> = None;
        while let Ok(turn) = turns.clone().acquire_owned().await {
            let asked = self.wait_for_work().await;
            let token = self.table.newest_token();
            match self.fetch(&mut connection, &asked).await {
                Ok(answer) => {
                    down_since = None;
                    pause.reset();
                    let (mut delivery, moved) = self.read(&asked, answer);
                    delivery._turn = Some(turn);
                    if self.sender.send(delivery).await.is_err() {
                        return;
                    }
                    if moved {
                        tokio::time::sleep(MOVED_PAUSE).await;
                    }
                }
                Err(error) => {
                    connection = None;
                    self.table.forget_leader(self.node);
                    let since = *down_since.get_or_insert_with(Instant::now);
                    tracing::debug!(broker = self.node, %error, "fetch failed");
                    if since.elapsed() >= TOLD_AFTER || !matches!(error, LogError::Retry(_)) {
                        // When the caller has not taken the last one, it knows enough.
                        let _ = self.sender.try_send(Delivery::trouble(token, error));
                    }
                    pause.again().await;
                }
            }
        }
    }

    async fn wait_for_work(&self) -> Asked {
        loop {
            let asked = self.table.of_broker(self.node);
            if !asked.is_empty() {
                return asked;
            }
            self.woken.notified().await;
        }
    }

    async fn fetch(&self, connection: &mut Option<Connection>, asked: &Asked) -> Result<FetchResponse> {
        let open = match connection {
            Some(open) => open,
            None => {
                let address = self.cluster.address(self.node);
                let address =
                    address.ok_or_else(|| LogError::Retry(format!("broker {} is not there", self.node)))?;
                connection.insert(self.cluster.connect(&address).await?)
            }
        };
        let version = open.version::<FetchRequest>()?;
        let request = request(asked, version, &self.options).with_rack_id(self.rack(asked, version));
        let answer = open.call(&request, self.options.wait_max + ANSWER_MAX).await?;
        if answer.error_code != 0 {
            return Err(trouble::of_code(answer.error_code, &format!("fetch from broker {}", self.node)));
        }
        Ok(answer)
    }

    fn rack(&self, asked: &Asked, version: i16) -> StrBytes {
        let serves_itself = version < WITH_RACK || asked.iter().any(|(_, part)| part.near.is_shunned());
        if serves_itself { StrBytes::default() } else { self.cluster.access().rack.clone() }
    }

    /// Reads an answer and moves the positions; also tells whether some partition has to look for its leader.
    fn read(&self, asked: &Asked, answer: FetchResponse) -> (Delivery, bool) {
        let find = |part: &Part, tp: &Tp| (part.topic_id.unwrap_or_default(), tp.partition);
        let by_id: HashMap<(Uuid, i32), usize> =
            asked.iter().enumerate().map(|(index, (tp, part))| (find(part, tp), index)).collect();
        let by_name = |name: &TopicName, number: i32| {
            asked.iter().position(|(tp, _)| tp.partition == number && *tp.topic == *name.as_str())
        };
        let mut delivery = Delivery::empty();
        let mut moved = false;
        for topic in answer.responses {
            let (id, name) = (topic.topic_id, topic.topic);
            for data in topic.partitions {
                let number = data.partition_index;
                let index =
                    if id.is_nil() { by_name(&name, number) } else { by_id.get(&(id, number)).copied() };
                let Some((tp, part)) = index.map(|index| &asked[index]) else { continue };
                match ResponseError::try_from_code(data.error_code) {
                    None => {
                        let item = self.accept(tp, part, data, &mut delivery.trouble);
                        delivery.items.push((part.token, item));
                    }
                    Some(error) => moved |= self.refuse(tp, part, error, &mut delivery.trouble),
                }
            }
        }
        (delivery, moved)
    }

    fn accept(&self, tp: &Tp, part: &Part, data: PartitionData, trouble: &mut Option<Trouble>) -> Fetched {
        let near = data.preferred_read_replica.0;
        let reading = answer::read(tp, part.position, data);
        let next = reading.fetched.next;
        let epoch = reading.epoch.unwrap_or(part.epoch);
        let parked = reading.broken.is_some();
        if let Some(error) = reading.broken {
            *trouble = Some(Trouble { of: Of::Part(tp.clone(), part.token), error });
        }
        self.table.update(tp, part.token, |part| {
            part.position = next;
            part.epoch = epoch;
            part.parked = parked;
            let is_sent = near >= 0 && near != self.node;
            if is_sent {
                part.near.follow(near);
            }
            if is_sent || part.near.is_over() {
                part.leader = None;
            }
            part.missing_since = None;
        });
        if next != part.position {
            self.table.served(tp, part.token);
        }
        reading.fetched
    }

    fn refuse(&self, tp: &Tp, part: &Part, error: ResponseError, trouble: &mut Option<Trouble>) -> bool {
        let is_missing =
            matches!(error, ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId);
        let mut fatal = None;
        self.table.update(tp, part.token, |part| {
            let was_near = part.near.shun();
            match trouble::of_code(error.code(), &format!("fetch of {tp}")) {
                // A replica may lack what its leader has.
                _ if error == ResponseError::OffsetOutOfRange && was_near => part.leader = None,
                _ if error == ResponseError::OffsetOutOfRange => part.start = Start::OutOfRange,
                _ if is_missing => {
                    part.leader = None;
                    part.missing_since.get_or_insert_with(Instant::now);
                }
                LogError::Retry(_) => part.leader = None,
                error => {
                    part.parked = true;
                    fatal = Some(error);
                }
            }
        });
        if let Some(error) = fatal {
            *trouble = Some(Trouble { of: Of::Part(tp.clone(), part.token), error });
        }
        error != ResponseError::OffsetOutOfRange
    }
}

fn request(asked: &Asked, version: i16, options: &ReaderOptions) -> FetchRequest {
    let int = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    // Partitions of a topic stand together, topics in the order of their longest waiting partition.
    let mut order: BTreeMap<&str, usize> = BTreeMap::new();
    let mut topics: Vec<FetchTopic> = Vec::new();
    for (tp, part) in asked {
        let last_epoch = if version >= WITH_LAST_EPOCH { part.epoch } else { -1 };
        let partition = FetchPartition::default()
            .with_partition(tp.partition)
            .with_current_leader_epoch(part.leader.map_or(-1, |leader| leader.epoch))
            .with_fetch_offset(part.position)
            .with_last_fetched_epoch(last_epoch)
            .with_partition_max_bytes(int(options.partition_max_bytes));
        let index = *order.entry(&tp.topic).or_insert_with(|| {
            let topic = FetchTopic::default();
            topics.push(if version >= BY_ID {
                topic.with_topic_id(part.topic_id.unwrap_or_default())
            } else {
                topic.with_topic(TopicName(StrBytes::from_string(tp.topic.to_string())))
            });
            topics.len() - 1
        });
        topics[index].partitions.push(partition);
    }
    FetchRequest::default()
        .with_max_wait_ms(i32::try_from(options.wait_max.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(1)
        .with_max_bytes(int(options.fetch_max_bytes))
        .with_isolation_level(1)
        .with_topics(topics)
}

impl Delivery {
    pub(super) fn empty() -> Self {
        Self { items: Vec::new(), trouble: None, _turn: None }
    }

    pub(super) fn trouble(token: u64, error: LogError) -> Self {
        Self { trouble: Some(Trouble { of: Of::All(token), error }), ..Self::empty() }
    }
}
