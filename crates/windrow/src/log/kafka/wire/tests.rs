//! A broker played by hand: it says which versions it speaks, then answers badly.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

/// Answers the version question with `apis` (key, min, max), then the next request with `answer`, and hangs up.
async fn broker(apis: &[(i16, i16, i16)], answer: impl Fn(i32) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // No error, then the list.
    let mut versions = [&[0, 0][..], &(apis.len() as i32).to_be_bytes()].concat();
    for (key, min, max) in apis {
        versions.extend([key.to_be_bytes(), min.to_be_bytes(), max.to_be_bytes()].concat());
    }
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let correlation = request(&mut socket).await;
        socket.write_all(&frame(correlation, &versions)).await.unwrap();
        let correlation = request(&mut socket).await;
        socket.write_all(&answer(correlation)).await.unwrap();
    });
    address
}

/// Takes one request off the socket and returns its correlation id.
async fn request(socket: &mut TcpStream) -> i32 {
    let length = socket.read_i32().await.unwrap_or(0);
    let mut body = vec![0; length as usize];
    socket.read_exact(&mut body).await.unwrap();
    body.get(4..8).map_or(0, |id| i32::from_be_bytes(id.try_into().unwrap()))
}

fn frame(correlation: i32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 4) as i32;
    [&length.to_be_bytes(), &correlation.to_be_bytes(), body].concat()
}

const METADATA_1: (i16, i16, i16) = (3, 0, 1);
const SOON: Duration = Duration::from_secs(5);

async fn metadata(answer: impl Fn(i32) -> Vec<u8> + Send + 'static) -> Result<MetadataResponse> {
    let address = broker(&[METADATA_1], answer).await;
    Connection::open(&address, &Arc::default()).await?.call(&MetadataRequest::default(), SOON).await
}

#[tokio::test]
async fn an_answer_is_read_in_the_version_both_speak() {
    // Version 1: brokers, controller, topics; one broker 7 at h:9 without a rack.
    let body = [&[0, 0, 0, 1, 0, 0, 0, 7, 0, 1, b'h', 0, 0, 0, 9][..], &[0xff; 2], &[0, 0, 0, 7, 0, 0, 0, 0]];
    let answer = metadata(move |id| frame(id, &body.concat())).await.unwrap();
    assert_eq!((answer.brokers[0].port, answer.controller_id.0), (9, 7));
}

#[tokio::test]
async fn bad_answers_end_the_connection_and_may_be_retried() {
    type Answer = fn(i32) -> Vec<u8>;
    let cases: [(&str, Answer); 5] = [
        ("an answer of", |_| i32::MAX.to_be_bytes().to_vec()),
        ("an answer to another request", |id| frame(id + 1, &[0; 12])),
        ("cut short", |id| frame(id, &[0, 0, 0, 9])),
        ("lost", |id| frame(id, &[0; 64])[..20].to_vec()),
        ("lost", |_| Vec::new()),
    ];
    for (why, answer) in cases {
        let told = metadata(answer).await;
        assert!(matches!(&told, Err(LogError::Retry(told)) if told.contains(why)), "{why}: {told:?}");
    }
}

#[tokio::test]
async fn a_broker_without_a_common_version_is_told_by_name() {
    for apis in [vec![], vec![(3, 90, 99)]] {
        let address = broker(&apis, |_| Vec::new()).await;
        let told = Connection::open(&address, &Arc::default()).await.unwrap().version::<MetadataRequest>();
        assert!(matches!(&told, Err(LogError::Fatal(why)) if why.contains("MetadataRequest")), "{told:?}");
    }
}

#[tokio::test]
async fn buffers_come_back_when_nobody_holds_their_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut connection = Connection::over("", &Arc::default(), Stream::Plain(stream));
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut held = Vec::new();
    let mut places = std::collections::BTreeSet::new();
    for round in 0..6_u8 {
        socket.write_all(&frame(0, &[round; 1000])).await.unwrap();
        let length = connection.ask(&[]).await.unwrap();
        let answer = connection.answer(length).await.unwrap();
        assert_eq!(answer[4..], [round; 1000]);
        places.insert(answer.as_ptr());
        held.push(answer);
        if held.len() > 1 {
            held.remove(0);
        }
    }
    // Two are held at once, so a third is never needed.
    assert!(places.len() <= 2, "{} buffers for six answers", places.len());
}

/// Two topics, an aborted transaction, records, a diverging epoch: everything that has a length.
fn fetch_answer(version: i16) -> Vec<u8> {
    use kafka_protocol::messages::{
        TopicName,
        fetch_response::{AbortedTransaction, EpochEndOffset, FetchableTopicResponse, PartitionData},
    };
    let mut data = PartitionData::default().with_records(Some(Bytes::from_static(&[7; 40])));
    data = data.with_aborted_transactions(Some(vec![AbortedTransaction::default().with_first_offset(9)]));
    if version >= 12 {
        data = data.with_diverging_epoch(EpochEndOffset::default().with_epoch(3).with_end_offset(5));
    }
    let topic = |data: Vec<PartitionData>| {
        let topic = FetchableTopicResponse::default().with_partitions(data);
        if version < 13 { topic.with_topic(TopicName(StrBytes::from_static_str("clicks"))) } else { topic }
    };
    let empty = PartitionData::default().with_aborted_transactions(None).with_records(None);
    let answer =
        FetchResponse::default().with_responses(vec![topic(vec![data, empty.clone()]), topic(vec![empty])]);
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

#[test]
fn a_fetch_answer_is_taken_whole_or_not_at_all() {
    for version in 4..=FetchRequest::NEWEST {
        let whole = fetch_answer(version);
        assert!(shape::is_fetch_answer(&whole, version), "version {version}");
        for length in 0..whole.len() {
            assert!(!shape::is_fetch_answer(&whole[..length], version), "version {version}, {length} bytes");
        }
        // Where the number of topics stands: more of them than there are bytes.
        let at = if version >= 7 { 10 } else { 4 };
        let mut noise = whole;
        if version >= 12 {
            noise.splice(at..=at, [0xff, 0xff, 0xff, 0x7f]);
        } else {
            noise[at..at + 4].copy_from_slice(&i32::MAX.to_be_bytes());
        }
        assert!(!shape::is_fetch_answer(&noise, version), "version {version}");
    }
}
