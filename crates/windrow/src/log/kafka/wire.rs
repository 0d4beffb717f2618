//! Wire: one connection to one broker; a request goes out, its answer comes back.
//!
//! **In** typed requests. **Out** typed answers, whose record bytes are slices of the bytes that came from the socket.
//! **Invariant:** one request at a time; an answer past [`ANSWER_MAX_BYTES`] or past its deadline ends the connection, and a
//! connection that failed once is never used again (its stream may be out of step). Versions are negotiated, never assumed.
//! **Not here:** which broker to ask (`cluster`), TLS and SASL (PLAINTEXT only so far).
//!
//! Source: the Kafka protocol guide; KIP-482 (flexible versions), KIP-511 (ApiVersions).

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use hashbrown::HashMap;
use kafka_protocol::{
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        DeleteRecordsRequest, DeleteRecordsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
        FindCoordinatorResponse, LeaveGroupRequest, LeaveGroupResponse, ListOffsetsRequest,
        ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse,
        RequestHeader, ResponseHeader,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use crate::log::{LogError, Result};

/// Longest answer taken: the largest fetch (8 MiB) and one batch of the largest size (64 MiB) that a broker may add to it.
const ANSWER_MAX_BYTES: usize = 80 << 20;
/// Buffers kept for reuse: one held by the caller, one waiting for it, one being filled.
const BUFFERS_MAX: usize = 3;
/// Buffers above this are given back after use: most answers are small, and every idle connection keeps its buffers.
const BUFFER_KEPT_MAX_BYTES: usize = 16 << 20;
/// Time to open a connection and agree on versions.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// A request this client makes: its number, its answer, and the newest version whose meaning this client knows.
pub(super) trait Call: Encodable + HeaderVersion + Message {
    /// The API key.
    const KEY: i16;
    /// Newest version used here; fields of later ones are not filled in.
    const NEWEST: i16;
    /// What the broker answers.
    type Answer: Decodable + HeaderVersion;
}

macro_rules! calls {
    ($($request:ty => $answer:ty, $key:literal, $newest:literal;)*) => {$(
        impl Call for $request {
            const KEY: i16 = $key;
            const NEWEST: i16 = $newest;
            type Answer = $answer;
        }
    )*};
}

calls! {
    FetchRequest => FetchResponse, 1, 16;
    ListOffsetsRequest => ListOffsetsResponse, 2, 7;
    MetadataRequest => MetadataResponse, 3, 12;
    OffsetFetchRequest => OffsetFetchResponse, 9, 8;
    FindCoordinatorRequest => FindCoordinatorResponse, 10, 3;
    LeaveGroupRequest => LeaveGroupResponse, 13, 5;
    ApiVersionsRequest => ApiVersionsResponse, 18, 0;
    CreateTopicsRequest => CreateTopicsResponse, 19, 7;
    DeleteRecordsRequest => DeleteRecordsResponse, 21, 2;
}

/// An open connection.
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    versions: HashMap<i16, (i16, i16)>,
    correlation: i32,
    buffers: Vec<BytesMut>,
}

impl Connection {
    /// Opens a connection to `host:port` and asks which versions the broker speaks.
    pub(super) async fn open(address: &str) -> Result<Self> {
        let deadline = Instant::now() + CONNECT_MAX;
        let away = |why: String| LogError::Retry(format!("kafka at {address} does not answer: {why}"));
        let stream = match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(away(error.to_string())),
            Err(_) => return Err(away(format!("no connection within {} s", CONNECT_MAX.as_secs()))),
        };
        // A small request must not wait for the acknowledgement of the one before it.
        stream.set_nodelay(true).map_err(|error| away(error.to_string()))?;
        let versions = HashMap::from([(ApiVersionsRequest::KEY, (0, 0))]);
        let mut connection =
            Self { address: address.to_owned(), stream, versions, correlation: 0, buffers: Vec::new() };
        let answer = connection.call(&ApiVersionsRequest::default(), CONNECT_MAX).await?;
        let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| {
            (api.api_key, (api.min_version, api.max_version))
        };
        connection.versions = answer.api_keys.iter().map(range).collect();
        Ok(connection)
    }

    /// Returns the `host:port` this leads to.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the version in which a request will be sent.
    ///
    /// - **Errors:** `Fatal` when broker and client have none in common.
    pub(super) fn version<C: Call>(&self) -> Result<i16> {
        let name = std::any::type_name::<C>().rsplit("::").next().unwrap_or_default();
        let Some(&(min, max)) = self.versions.get(&C::KEY) else {
            return Err(LogError::Fatal(format!("the broker at {} does not know {name}", self.address)));
        };
        let version = max.min(C::NEWEST).min(C::VERSIONS.max);
        if version < min.max(C::VERSIONS.min) {
            return Err(LogError::Fatal(format!(
                "the broker at {} speaks versions {min} to {max} of {name}, this client {} to {}",
                self.address,
                C::VERSIONS.min,
                C::NEWEST
            )));
        }
        Ok(version)
    }

    /// Sends a request and waits for its answer. Not cancel-safe: a connection whose call was dropped must be dropped too.
    pub(super) async fn call<C: Call>(&mut self, request: &C, wait: Duration) -> Result<C::Answer> {
        let version = self.version::<C>()?;
        self.correlation = self.correlation.wrapping_add(1);
        let frame = encode(request, version, self.correlation)?;
        let deadline = Instant::now() + wait;
        let mut body = match timeout_at(deadline, self.exchange(&frame)).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Err(self.lost(&error.to_string())),
            Err(_) => return Err(self.lost(&format!("no answer within {} ms", wait.as_millis()))),
        };
        let header = ResponseHeader::decode(&mut body, C::Answer::header_version(version))
            .map_err(|error| self.lost(&error.to_string()))?;
        if header.correlation_id != self.correlation {
            return Err(self.lost("an answer to another request"));
        }
        C::Answer::decode(&mut body, version)
            .map_err(|error| self.lost(&format!("an answer cut short: {error}")))
    }

    fn lost(&self, why: &str) -> LogError {
        LogError::Retry(format!("connection to kafka at {} lost: {why}", self.address))
    }

    async fn exchange(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        self.stream.write_all(frame).await?;
        let length = self.stream.read_u32().await? as usize;
        if length > ANSWER_MAX_BYTES {
            return Err(std::io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut buffer = self.buffer(length);
        let mut body = (&mut self.stream).take(length as u64);
        while buffer.len() < length {
            if body.read_buf(&mut buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let answer = buffer.split().freeze();
        if self.buffers.len() < BUFFERS_MAX && length <= BUFFER_KEPT_MAX_BYTES {
            self.buffers.push(buffer);
        }
        Ok(answer)
    }

    /// Takes a buffer whose former content nobody holds any more, so that large answers do not map new pages each time.
    fn buffer(&mut self, length: usize) -> BytesMut {
        let free = self.buffers.iter_mut().position(|buffer| buffer.try_reclaim(length));
        match free {
            Some(index) => self.buffers.swap_remove(index),
            None => {
                if self.buffers.len() >= BUFFERS_MAX {
                    self.buffers.remove(0);
                }
                BytesMut::with_capacity(length)
            }
        }
    }
}

fn encode<C: Call>(request: &C, version: i16, correlation: i32) -> Result<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(C::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("windrow")));
    let mut frame = BytesMut::with_capacity(256);
    frame.put_i32(0);
    let encoded = header
        .encode(&mut frame, C::header_version(version))
        .and_then(|()| request.encode(&mut frame, version));
    encoded.map_err(|error| LogError::Fatal(format!("a request cannot be encoded: {error}")))?;
    let length =
        i32::try_from(frame.len() - 4).map_err(|_| LogError::Fatal("a request is too long".into()))?;
    (&mut frame[..4]).put_i32(length);
    debug_assert_eq!((&frame[..4]).get_i32(), length, "the length stands at the front");
    Ok(frame)
}

#[cfg(test)]
mod tests;
