//! Brokers played by hand: what a cluster holds, who leads, and how each of its brokers misbehaves, as the test says at any moment.
//!
//! They speak ApiVersions, Metadata, ListOffsets and Fetch, which is all that a reader needs, and take any credentials or none.

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiVersionsResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
        MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, TopicName,
        api_versions_response::ApiVersion,
        fetch_response::{EpochEndOffset, FetchableTopicResponse, PartitionData},
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;
use windrow_core::batch::{BatchBuilder, Compression};

/// The one topic.
pub(crate) const TOPIC: &str = "t";
/// Where the replicas are that are near.
pub(crate) const RACK: &str = "r1";
/// How long a broker waits at the end of a partition before it says that nothing came.
const WAIT: Duration = Duration::from_millis(20);

const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const SASL_HANDSHAKE: i16 = 17;
const SASL_AUTHENTICATE: i16 = 36;

/// How a broker answers what is not a question for its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Fine,
    /// Takes requests and says nothing, for ever: also what a line looks like on which every packet is lost.
    Mute,
    /// Hangs up after so many bytes of each answer.
    Cuts(usize),
    /// Hands answers out in pieces of so many bytes.
    Pieces(usize),
    /// Asks for this pause with each fetch and each answer about topics.
    Throttles(i32),
    /// Answers with the right head and so many bytes of noise.
    Noise(usize),
    /// Says that each answer is this long.
    Length(u32),
    /// Flips a bit in each batch.
    Flips,
}

/// One partition: who leads it, and what it holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Partition {
    /// The replica that the leader sends those to who name [`RACK`], and how many records it has.
    pub(crate) near: Option<(usize, usize)>,
    /// Index of the leading broker; `None` = just now nobody.
    pub(crate) leader: Option<usize>,
    pub(crate) epoch: i32,
    pub(crate) earliest: i64,
    /// One record a batch: leader epoch and value; offsets are indices.
    pub(crate) records: Vec<(i32, String)>,
}

impl Partition {
    fn end(&self) -> i64 {
        self.records.len() as i64
    }

    pub(crate) fn push(&mut self, values: std::ops::Range<usize>) {
        let epoch = self.epoch;
        self.records.extend(values.map(|n| (epoch, n.to_string())));
    }

    /// Where the largest epoch up to this one ended.
    fn end_of_epoch(&self, epoch: i32) -> (i32, i64) {
        let last = self.records.iter().rposition(|(of, _)| *of <= epoch);
        last.map_or((-1, self.earliest), |last| (self.records[last].0, last as i64 + 1))
    }
}

pub(crate) struct State {
    pub(crate) id: Uuid,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) manners: Vec<Manner>,
    /// Requests taken, by broker.
    pub(crate) fetches: Vec<usize>,
    /// Questions about topics taken, by broker.
    pub(crate) questions: Vec<usize>,
    /// How often credentials were shown, taken or not; and on how many connections anything was asked.
    pub(crate) logins: usize,
    pub(crate) connections: usize,
    /// How long credentials hold; 0 = for ever.
    pub(crate) session_ms: i64,
    /// Why nobody is let in.
    pub(crate) refuses: Option<&'static str>,
    ports: Vec<u16>,
    newest_fetch: i16,
}

/// The cluster. Its brokers end with the test's runtime.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// Starts brokers and spreads partitions over them.
    pub(crate) async fn start(brokers: usize, partitions: usize) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..brokers {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let partition = |n| Partition { leader: Some(n % brokers), epoch: 1, ..Partition::default() };
        let state = State {
            id: Uuid::from_u128(1),
            partitions: (0..partitions).map(partition).collect(),
            manners: vec![Manner::Fine; brokers],
            fetches: vec![0; brokers],
            questions: vec![0; brokers],
            logins: 0,
            connections: 0,
            session_ms: 0,
            refuses: None,
            ports: listeners.iter().map(|l| l.local_addr().unwrap().port()).collect(),
            newest_fetch: 16,
        };
        let fake = Self(Arc::new(Mutex::new(state)));
        for (node, listener) in listeners.into_iter().enumerate() {
            let fake = fake.clone();
            tokio::spawn(async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let fake = fake.clone();
                    tokio::spawn(async move { fake.serve(node, socket).await });
                }
            });
        }
        fake
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.0.lock().ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Changes the world between two requests.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock());
    }

    pub(crate) fn fetches(&self, node: usize) -> usize {
        self.0.lock().fetches[node]
    }

    pub(crate) fn questions(&self, node: usize) -> usize {
        self.0.lock().questions[node]
    }

    /// Times that credentials were shown, and connections.
    pub(crate) fn logins(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.logins, state.connections)
    }

    async fn serve(&self, node: usize, mut socket: TcpStream) -> Option<()> {
        self.0.lock().connections += 1;
        loop {
            let length = socket.read_u32().await.ok()?;
            let mut request = vec![0; length as usize];
            socket.read_exact(&mut request).await.ok()?;
            let mut request = Bytes::from(request);
            let (mut head, api, version) =
                (request.clone(), request.slice(..2).get_i16(), request.slice(2..4).get_i16());
            let correlation = head.split_off(4).get_i32();
            let header_version = match api {
                FETCH => FetchRequest::header_version(version),
                LIST_OFFSETS => ListOffsetsRequest::header_version(version),
                METADATA => MetadataRequest::header_version(version),
                SASL_HANDSHAKE => SaslHandshakeRequest::header_version(version),
                SASL_AUTHENTICATE => SaslAuthenticateRequest::header_version(version),
                _ => 1,
            };
            RequestHeader::decode(&mut request, header_version).ok()?;
            let answer = match api {
                FETCH => {
                    let request = FetchRequest::decode(&mut request, version).ok()?;
                    let answer = self.fetch(node, &request, version);
                    if answer.responses.iter().flat_map(|t| &t.partitions).all(|p| p.records.is_none()) {
                        tokio::time::sleep(WAIT).await;
                    }
                    encode(correlation, &answer, version)
                }
                LIST_OFFSETS => {
                    let request = ListOffsetsRequest::decode(&mut request, version).ok()?;
                    encode(correlation, &self.offsets(node, &request), version)
                }
                METADATA => encode(correlation, &self.metadata(node), version),
                API_VERSIONS => encode(correlation, &self.versions(), 0),
                SASL_HANDSHAKE => encode(correlation, &SaslHandshakeResponse::default(), version),
                SASL_AUTHENTICATE => encode(correlation, &self.login(), version),
                _ => return None,
            };
            let manner = self.0.lock().manners[node];
            let manner = if api == API_VERSIONS { Manner::Fine } else { manner };
            answer_in(manner, &mut socket, answer).await?;
        }
    }

    fn versions(&self) -> ApiVersionsResponse {
        let newest_fetch = self.0.lock().newest_fetch;
        let api = |(key, max): (i16, i16)| {
            ApiVersion::default().with_api_key(key).with_min_version(1).with_max_version(max)
        };
        let sasl = [(SASL_HANDSHAKE, 1), (SASL_AUTHENTICATE, 2)];
        let known = [(FETCH, newest_fetch), (LIST_OFFSETS, 7), (METADATA, 12), (API_VERSIONS, 3)];
        ApiVersionsResponse::default().with_api_keys(known.into_iter().chain(sasl).map(api).collect())
    }

    fn login(&self) -> SaslAuthenticateResponse {
        let mut state = self.0.lock();
        state.logins += 1;
        let answer = SaslAuthenticateResponse::default();
        match state.refuses {
            None => answer.with_session_lifetime_ms(state.session_ms),
            Some(why) => answer.with_error_code(58).with_error_message(Some(StrBytes::from_static_str(why))),
        }
    }

    fn metadata(&self, node: usize) -> MetadataResponse {
        let mut state = self.0.lock();
        state.questions[node] += 1;
        let throttle = throttle(state.manners[node]);
        let broker = |(node, port): (usize, &u16)| {
            MetadataResponseBroker::default()
                .with_node_id((node as i32).into())
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(*port))
        };
        let partition = |(n, partition): (usize, &Partition)| {
            MetadataResponsePartition::default()
                .with_partition_index(n as i32)
                .with_error_code(if partition.leader.is_some() { 0 } else { 5 })
                .with_leader_id(partition.leader.map_or(-1, |node| node as i32).into())
                .with_leader_epoch(partition.epoch)
        };
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
            .with_topic_id(state.id)
            .with_partitions(state.partitions.iter().enumerate().map(partition).collect());
        MetadataResponse::default()
            .with_throttle_time_ms(throttle)
            .with_brokers(state.ports.iter().enumerate().map(broker).collect())
            .with_topics(vec![topic])
    }

    fn offsets(&self, node: usize, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let state = self.0.lock();
        let answers = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let held = &state.partitions[asked.partition_index as usize];
                let code = if held.leader == Some(node) { 0 } else { 6 };
                let offset = if asked.timestamp == -2 { held.earliest } else { held.end() };
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_error_code(code)
                    .with_offset(offset)
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(answers.collect())
    }

    fn fetch(&self, node: usize, request: &FetchRequest, version: i16) -> FetchResponse {
        let mut state = self.0.lock();
        state.fetches[node] += 1;
        let throttle = throttle(state.manners[node]);
        let mut answers = Vec::new();
        for topic in &request.topics {
            let known = version < 13 || topic.topic_id == state.id;
            let partitions = topic.partitions.iter().map(|asked| {
                let held = &state.partitions[asked.partition as usize];
                let data = PartitionData::default()
                    .with_partition_index(asked.partition)
                    .with_high_watermark(held.end())
                    .with_last_stable_offset(held.end())
                    .with_aborted_transactions(None)
                    .with_records(None);
                if !known {
                    return data.with_error_code(100);
                }
                let near = held.near.filter(|(replica, _)| *replica == node);
                if held.leader != Some(node) && near.is_none() {
                    return data.with_error_code(6);
                }
                // A leader names a replica only when that has what is asked for.
                let sends = held.near.filter(|(_, has)| asked.fetch_offset <= *has as i64);
                if let (Some((replica, _)), true) = (sends, near.is_none() && &*request.rack_id == RACK) {
                    return data.with_preferred_read_replica((replica as i32).into());
                }
                let end = near.map_or(held.end(), |(_, has)| has as i64);
                if asked.current_leader_epoch >= 0 && asked.current_leader_epoch != held.epoch {
                    return data.with_error_code(if asked.current_leader_epoch < held.epoch {
                        74
                    } else {
                        75
                    });
                }
                let from = asked.fetch_offset;
                if asked.last_fetched_epoch >= 0 {
                    let (epoch, end) = held.end_of_epoch(asked.last_fetched_epoch);
                    if end < from || epoch < asked.last_fetched_epoch {
                        let diverging = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
                        return data.with_diverging_epoch(diverging);
                    }
                }
                if from < held.earliest || from > end {
                    return data.with_error_code(1);
                }
                let batches = held.records[from as usize..end as usize].iter().zip(from..);
                let mut records = BytesMut::new();
                for ((epoch, value), offset) in batches {
                    records.put(&batch(offset, *epoch, value)[..]);
                }
                if let (Manner::Flips, Some(byte)) = (state.manners[node], records.last_mut()) {
                    *byte ^= 1;
                }
                data.with_records((!records.is_empty()).then(|| records.freeze()))
            });
            let answer = FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect());
            answers.push(answer);
        }
        FetchResponse::default().with_throttle_time_ms(throttle).with_responses(answers)
    }
}

fn throttle(manner: Manner) -> i32 {
    match manner {
        Manner::Throttles(ms) => ms,
        _ => 0,
    }
}

fn batch(offset: i64, epoch: i32, value: &str) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1_000, None, Some(value.as_bytes()), []).unwrap();
    let mut batch = builder.build(offset, -1, -1, -1, false).to_vec();
    // The leader's epoch stands outside what the checksum covers: leaders fill it in.
    batch[12..16].copy_from_slice(&epoch.to_be_bytes());
    batch
}

fn encode<A: Encodable + HeaderVersion>(correlation: i32, answer: &A, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(&mut bytes, A::header_version(version)).unwrap();
    answer.encode(&mut bytes, version).unwrap();
    bytes.freeze()
}

async fn answer_in(manner: Manner, socket: &mut TcpStream, answer: Bytes) -> Option<()> {
    let mut frame = (answer.len() as u32).to_be_bytes().to_vec();
    frame.extend(&answer);
    match manner {
        Manner::Mute => std::future::pending().await,
        Manner::Cuts(bytes) => {
            socket.write_all(&frame[..bytes.min(frame.len() - 1)]).await.ok()?;
            None
        }
        Manner::Pieces(bytes) => {
            for piece in frame.chunks(bytes) {
                socket.write_all(piece).await.ok()?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Some(())
        }
        Manner::Noise(bytes) => {
            let noise = (0..bytes).map(|n| (n as u8).wrapping_mul(31) | 0x40);
            let body: Vec<u8> = answer[..4].iter().copied().chain(noise).collect();
            socket.write_all(&(body.len() as u32).to_be_bytes()).await.ok()?;
            socket.write_all(&body).await.ok()
        }
        Manner::Length(length) => {
            socket.write_all(&length.to_be_bytes()).await.ok()?;
            socket.write_all(&answer).await.ok()?;
            std::future::pending().await
        }
        Manner::Fine | Manner::Throttles(_) | Manner::Flips => socket.write_all(&frame).await.ok(),
    }
}
