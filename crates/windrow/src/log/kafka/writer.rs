//! Writer: a producer of librdkafka on a thread of its own; every call is a command to it.
//!
//! **In** records, source offsets, a membership. **Out** one transaction, whole or not at all.
//! **Invariant:** `commit` returns `Ok` only when every record was taken and the transaction was committed. `Fenced` means that this
//! writer is of no more use: open another of the same name, which settles what is open. After any other error: abort.
//! **Not here:** what is written.
//!
//! Source: KIP-98 (transactions), KIP-447 (offsets with group metadata), librdkafka's INTRODUCTION.md (transactional producer).

use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use self::producer::Producer;
use super::{group::Proof, security::token::Giver, set_default};
use crate::log::{LogError, Membership, Outgoing, Result, Tp, Writer, WriterOptions, refuse_no_positions};

mod producer;

/// A killed process leaves its transaction open, and every read_committed reader of the same partitions waits until it is aborted.
/// Brokers look for transactions past their time each 10 s (`transaction.abort.timed.out.transaction.cleanup.interval.ms`), so
/// nobody waits for more than 15 s. A commit takes milliseconds; one that takes longer than this is aborted and folded again. See
/// docs/adr/0008.
const TRANSACTION_MAX_MS: &str = "4500";
/// Without transactions nothing is held back, but a caller waits.
const MESSAGE_MAX_MS: &str = "30000";
/// Batches fill while many rows are sent; a lone row waits no longer than this.
const LINGER_MS: &str = "1";
/// Rows waiting in librdkafka: the largest epoch (64 MiB) once; past it `send` waits.
const QUEUE_MAX_KBYTES: &str = "65536";

enum Command {
    Begin,
    Send(Arc<Vec<Outgoing>>),
    Offsets(Vec<(Tp, i64)>, Membership),
    Commit,
    Abort,
}

type Order = (Command, oneshot::Sender<Result<()>>);

/// A writer to Kafka.
pub(super) struct KafkaWriter {
    orders: mpsc::Sender<Order>,
}

impl KafkaWriter {
    /// Starts the producer; with a transactional id, fences the former owner and settles its open transaction.
    pub(super) async fn open(base: &ClientConfig, giver: Giver, options: WriterOptions) -> Result<Self> {
        let config = config(base, options.transactional_id.as_deref());
        let (orders, mut received) = mpsc::channel::<Order>(1);
        let (opened, open) = oneshot::channel();
        let thread = std::thread::Builder::new().name("kafka-writer".into());
        let runtime = Handle::current();
        let spawned = thread.spawn(move || {
            let mut producer = match Producer::open(&config, giver, options.transactional_id.is_some()) {
                Ok(producer) => {
                    let _ = opened.send(Ok(()));
                    producer
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            loop {
                let order = if producer.wants_tokens() {
                    // A token that ends while nothing is written would end the connection, and the next commit with it.
                    match runtime.block_on(async { tokio::time::timeout(Giver::TICK, received.recv()).await })
                    {
                        Ok(order) => order,
                        Err(_) => {
                            producer.take_token();
                            continue;
                        }
                    }
                } else {
                    received.blocking_recv()
                };
                let Some((command, reply)) = order else { break };
                let _ = reply.send(producer.run(command));
            }
            producer.close();
        });
        spawned.map_err(|error| LogError::Fatal(format!("no thread for the writer: {error}")))?;
        open.await.map_err(|_| gone())??;
        Ok(Self { orders })
    }

    async fn order(&mut self, command: Command) -> Result<()> {
        let (reply, result) = oneshot::channel();
        self.orders.send((command, reply)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

fn gone() -> LogError {
    LogError::Fenced("the writer's thread ended early".into())
}

fn config(base: &ClientConfig, transactional_id: Option<&str>) -> ClientConfig {
    let mut config = base.clone();
    config.set("enable.idempotence", "true").set("delivery.report.only.error", "true");
    set_default(&mut config, &["linger.ms", "queue.buffering.max.ms"], LINGER_MS);
    set_default(&mut config, &["compression.codec", "compression.type"], "lz4");
    set_default(&mut config, &["queue.buffering.max.kbytes"], QUEUE_MAX_KBYTES);
    match transactional_id {
        Some(id) => {
            config.set("transactional.id", id);
            set_default(&mut config, &["transaction.timeout.ms"], TRANSACTION_MAX_MS);
        }
        None => set_default(&mut config, &["message.timeout.ms", "delivery.timeout.ms"], MESSAGE_MAX_MS),
    }
    config
}

/// Reads the proof that [`super::group::Member`] gave.
fn proof(member: &Membership) -> Result<&Proof> {
    member.0.downcast_ref().ok_or_else(|| LogError::Fatal("a membership of another log".into()))
}

#[async_trait]
impl Writer for KafkaWriter {
    async fn begin(&mut self) -> Result<()> {
        self.order(Command::Begin).await
    }

    async fn send(&mut self, records: Vec<Outgoing>) -> Result<()> {
        self.order(Command::Send(Arc::new(records))).await
    }

    async fn send_kept(&mut self, records: &Arc<Vec<Outgoing>>) -> Result<()> {
        self.order(Command::Send(records.clone())).await
    }

    async fn send_offsets(&mut self, _group: &str, offsets: &[(Tp, i64)], member: &Membership) -> Result<()> {
        refuse_no_positions(offsets)?;
        // The membership names the group.
        self.order(Command::Offsets(offsets.to_vec(), member.clone())).await
    }

    async fn commit(&mut self) -> Result<()> {
        self.order(Command::Commit).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.order(Command::Abort).await
    }
}
