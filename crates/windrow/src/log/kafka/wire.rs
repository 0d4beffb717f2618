//! Wire: one connection to one broker; a request goes out, its answer comes back.
//!
//! **In** typed requests. **Out** typed answers, whose record bytes are slices of the bytes that came from the socket.
//! **Invariant:** one request at a time; an answer past [`ANSWER_MAX_BYTES`], past its deadline, stalled for
//! [`STALL_MAX`] or slower than [`RATE_MIN_BYTES_PER_S`] ends the connection, and a
//! connection that failed once is never used again (its stream may be out of step). Versions are negotiated, never assumed. A pause that a
//! broker asks for is made before the next request; credentials are shown again before they cease to hold.
//! **Not here:** which broker to ask (`cluster`), how to enter (`security`).
//!
//! Source: the Kafka protocol guide; KIP-482 (flexible versions), KIP-511 (ApiVersions), KIP-219 (throttling by the client).

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use hashbrown::HashMap;
use kafka_protocol::{
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, CreatePartitionsRequest, CreatePartitionsResponse,
        CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
        DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
        DescribeGroupsRequest, DescribeGroupsResponse, FetchRequest, FetchResponse, FindCoordinatorRequest,
        FindCoordinatorResponse, LeaveGroupRequest, LeaveGroupResponse, ListOffsetsRequest,
        ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse,
        RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
        SaslHandshakeRequest, SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout_at},
};

use self::stream::{Stream, is_cut};
use super::{access::Access, security::tls::explain};
use crate::log::{LogError, Result};

/// Longest answer taken: the largest fetch (8 MiB) and one batch of the largest size (64 MiB) that a broker may add to it.
const ANSWER_MAX_BYTES: usize = 80 << 20;
/// Buffers kept for reuse: one held by the caller, one waiting for it, one being filled.
const BUFFERS_MAX: usize = 3;
/// Buffers above this are given back after use: most answers are small, and every idle connection keeps its buffers.
const BUFFER_KEPT_MAX_BYTES: usize = 16 << 20;
/// A broker that is at work on an answer sends some of it in this time; one that sends nothing has gone without a word.
const STALL_MAX: Duration = Duration::from_secs(10);
/// Slowest line on which a large answer is waited for: less than this on the average, and it would never end.
const RATE_MIN_BYTES_PER_S: u64 = 16 << 10;
/// Time to open a connection, and again to shake hands in TLS, and to agree on versions.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Longest pause that a broker may ask for: its quotas are measured over 11 s by default, and no honest one asks for more.
const THROTTLE_MAX: Duration = Duration::from_secs(30);
/// A length that is none: how an alert of TLS begins, when it is read as one.
const TLS_ALERT: usize = 0x1503;

/// A request this client makes: its number, its answer, and the newest version whose meaning this client knows.
pub(super) trait Call: Encodable + HeaderVersion + Message {
    /// The API key.
    const KEY: i16;
    /// Newest version used here; fields of later ones are not filled in.
    const NEWEST: i16;
    /// What the broker answers.
    type Answer: Decodable + HeaderVersion;

    /// Tells for how long the broker wants to be left alone.
    fn throttle_ms(_answer: &Self::Answer) -> i32 {
        0
    }
}

macro_rules! calls {
    ($($request:ty => $answer:ty, $key:literal, $newest:literal $(, $throttle:ident)?;)*) => {$(
        impl Call for $request {
            const KEY: i16 = $key;
            const NEWEST: i16 = $newest;
            type Answer = $answer;

            $(fn throttle_ms(answer: &Self::Answer) -> i32 {
                answer.$throttle
            })?
        }
    )*};
}

calls! {
    FetchRequest => FetchResponse, 1, 16, throttle_time_ms;
    ListOffsetsRequest => ListOffsetsResponse, 2, 7, throttle_time_ms;
    MetadataRequest => MetadataResponse, 3, 12, throttle_time_ms;
    OffsetFetchRequest => OffsetFetchResponse, 9, 8, throttle_time_ms;
    FindCoordinatorRequest => FindCoordinatorResponse, 10, 3, throttle_time_ms;
    LeaveGroupRequest => LeaveGroupResponse, 13, 5, throttle_time_ms;
    ApiVersionsRequest => ApiVersionsResponse, 18, 0;
    SaslHandshakeRequest => SaslHandshakeResponse, 17, 1;
    SaslAuthenticateRequest => SaslAuthenticateResponse, 36, 2;
    CreateTopicsRequest => CreateTopicsResponse, 19, 7, throttle_time_ms;
    DeleteTopicsRequest => DeleteTopicsResponse, 20, 6, throttle_time_ms;
    DeleteRecordsRequest => DeleteRecordsResponse, 21, 2, throttle_time_ms;
    DescribeGroupsRequest => DescribeGroupsResponse, 15, 5, throttle_time_ms;
    DescribeConfigsRequest => DescribeConfigsResponse, 32, 4, throttle_time_ms;
    CreatePartitionsRequest => CreatePartitionsResponse, 37, 3, throttle_time_ms;
}

/// An open connection.
pub(super) struct Connection {
    address: String,
    access: Arc<Access>,
    stream: Stream,
    versions: HashMap<i16, (i16, i16)>,
    correlation: i32,
    buffers: Vec<BytesMut>,
    /// The broker wants to be left alone until then.
    quiet_until: Option<Instant>,
    /// Credentials have to be shown again from then on.
    stale_at: Option<Instant>,
}

impl Connection {
    /// Opens a connection to `host:port`, asks which versions the broker speaks, and shows the credentials.
    ///
    /// - **Errors:** `Retry` with the broker's reason, also where it refuses us: then at once, while its pause lasts.
    pub(super) async fn open(address: &str, access: &Arc<Access>) -> Result<Self> {
        access.may_knock(address)?;
        let stream = Stream::open(address, access.entry.tls.as_ref()).await.map_err(LogError::Retry)?;
        let mut connection = Self::over(address, access, stream);
        let answer = connection.exchange(&ApiVersionsRequest::default(), CONNECT_MAX).await?;
        let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| {
            (api.api_key, (api.min_version, api.max_version))
        };
        connection.versions = answer.api_keys.iter().map(range).collect();
        connection.log_in().await?;
        Ok(connection)
    }

    fn over(address: &str, access: &Arc<Access>, stream: Stream) -> Self {
        Self {
            address: address.to_owned(),
            access: access.clone(),
            stream,
            versions: HashMap::from([(ApiVersionsRequest::KEY, (0, 0))]),
            correlation: 0,
            buffers: Vec::new(),
            quiet_until: None,
            stale_at: None,
        }
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

    /// Sends a request and waits for its answer: `wait` until it begins, then as long as it takes on a slow line. Before that the pause
    /// is made that the broker asked for last. Not cancel-safe: a connection whose call was dropped must be dropped too.
    pub(super) async fn call<C: Call>(&mut self, request: &C, wait: Duration) -> Result<C::Answer> {
        if let Some(until) = self.quiet_until.take() {
            tokio::time::sleep_until(until).await;
        }
        if self.stale_at.is_some_and(|at| at <= Instant::now()) {
            self.log_in().await?;
        }
        let answer = self.exchange(request, wait).await?;
        let throttle = Duration::from_millis(C::throttle_ms(&answer).max(0).unsigned_abs().into());
        self.quiet_until = (!throttle.is_zero()).then(|| Instant::now() + throttle.min(THROTTLE_MAX));
        Ok(answer)
    }

    async fn exchange<C: Call>(&mut self, request: &C, wait: Duration) -> Result<C::Answer> {
        let version = self.version::<C>()?;
        self.correlation = self.correlation.wrapping_add(1);
        let frame = encode(request, version, self.correlation, &self.access.client_id)?;
        let deadline = Instant::now() + wait;
        let length = match timeout_at(deadline, self.ask(&frame)).await {
            Ok(Ok(length)) => length,
            Ok(Err(error)) => return Err(self.lost(&self.reason(&error))),
            Err(_) => return Err(self.lost(&format!("no answer within {} ms", wait.as_millis()))),
        };
        let mut body = self.answer(length).await.map_err(|error| self.lost(&explain(&error)))?;
        let header = ResponseHeader::decode(&mut body, C::Answer::header_version(version))
            .map_err(|error| self.lost(&error.to_string()))?;
        if header.correlation_id != self.correlation {
            return Err(self.lost("an answer to another request"));
        }
        if C::KEY == FetchRequest::KEY && !shape::is_fetch_answer(&body, version) {
            return Err(self.lost("an answer that counts more than it holds"));
        }
        C::Answer::decode(&mut body, version)
            .map_err(|error| self.lost(&format!("an answer cut short: {error}")))
    }

    /// Why a connection broke before an answer began. Brokers say nothing to whom they do not understand: they hang up.
    fn reason(&self, error: &std::io::Error) -> String {
        let (tls, sasl) = (self.stream.is_encrypted(), self.access.entry.credentials.is_some());
        let guess = match self.correlation {
            _ if !is_cut(error) => "",
            1 if !tls => "; is the listener one for TLS (security.protocol)?",
            2 if !sasl => "; does the listener ask for SASL (security.protocol)?",
            _ => "",
        };
        format!("{}{guess}", explain(error))
    }

    fn lost(&self, why: &str) -> LogError {
        LogError::Retry(format!("connection to kafka at {} lost: {why}", self.address))
    }

    /// Sends a request; returns the length of its answer.
    async fn ask(&mut self, frame: &[u8]) -> std::io::Result<usize> {
        self.stream.write_all(frame).await?;
        self.stream.flush().await?;
        let length = self.stream.read_u32().await? as usize;
        if length >> 16 == TLS_ALERT {
            return Err(std::io::Error::other(
                "it speaks TLS; is the listener one for SSL (security.protocol)?",
            ));
        }
        if length > ANSWER_MAX_BYTES {
            return Err(std::io::Error::other(format!("an answer of {length} bytes")));
        }
        Ok(length)
    }

    async fn answer(&mut self, length: usize) -> std::io::Result<Bytes> {
        let slow = |what: String| std::io::Error::other(format!("{what} in the middle of an answer"));
        let end = Instant::now() + STALL_MAX + Duration::from_secs(length as u64 / RATE_MIN_BYTES_PER_S);
        let mut buffer = self.buffer(length);
        let mut body = (&mut self.stream).take(length as u64);
        while buffer.len() < length {
            let stalled = (Instant::now() + STALL_MAX).min(end);
            match timeout_at(stalled, body.read_buf(&mut buffer)).await {
                Ok(Ok(0)) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read?,
                Err(_) if Instant::now() >= end => {
                    return Err(slow(format!("less than {RATE_MIN_BYTES_PER_S} bytes a second")));
                }
                Err(_) => return Err(slow(format!("nothing for {} s", STALL_MAX.as_secs()))),
            };
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

fn encode<C: Call>(request: &C, version: i16, correlation: i32, client_id: &StrBytes) -> Result<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(C::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(client_id.clone()));
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

mod login;
mod shape;
mod stream;
#[cfg(test)]
mod tests;
