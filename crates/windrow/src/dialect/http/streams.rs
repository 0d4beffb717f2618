//! Publishing over HTTP: `POST /api/streams/{stream}`.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use windrow_core::{suggest::closest, value::write_text};

use super::{Api, Refusal, channels::json};
use crate::publish::{PublishError, Report};

/// Longest time for a body to come: 16 MiB at 2 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest `Idempotency-Key`: a UUID has 36 characters.
const ONCE_MAX_BYTES: usize = 256;

/// Query of a publish call.
#[derive(Debug, Deserialize)]
pub(super) struct Ask {
    /// Which of its topics, when the stream has several.
    topic: Option<String>,
    key: Option<String>,
}

/// Answers after the commit.
pub(super) async fn publish(
    State(api): State<Api>,
    stream: Result<Path<String>, PathRejection>,
    ask: Result<Query<Ask>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (Path(stream), Query(ask)) = (stream?, ask?);
    check_allowed(&api, &stream)?;
    let once = idempotency_key(&headers)?;
    let body = read(body, api.gateway.limits.publish_max_bytes).await?;
    let to = (stream.as_str(), ask.topic.as_deref());
    match api.publisher.publish_to(to, ask.key.as_deref(), once, body).await {
        Ok(report) => Ok(answer(&report)),
        Err(error) => Err(refusal_of(&error)),
    }
}

/// The listed streams; by default every stream on a loopback bind, none elsewhere.
fn check_allowed(api: &Api, stream: &str) -> Result<(), Refusal> {
    if !api.publisher.streams().any(|name| name == stream) {
        let message = PublishError::UnknownStream(stream.to_owned()).to_string();
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "unknown_stream", message);
        return Err(match closest(stream, api.publisher.streams()) {
            Some(close) => refusal.with_hint(format!("did you mean `{close}`?")),
            None => refusal,
        });
    }
    let listener = &api.gateway.listener;
    let allowed = match &listener.publish {
        Some(names) => names.iter().any(|name| name == stream),
        None => listener.bind.ip().is_loopback(),
    };
    if allowed {
        return Ok(());
    }
    let message = format!("stream {stream:?} takes no records on this listener");
    Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message)
        .with_hint(format!("add it to `publish` of [listeners.{}]", listener.name)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= ONCE_MAX_BYTES => Ok(Some(key)),
        _ => {
            let message = format!("Idempotency-Key must be 1 to {ONCE_MAX_BYTES} visible characters");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_idempotency_key", message))
        }
    }
}

async fn read(body: Body, most: usize) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await;
    let Ok(collected) = collected else {
        let message = format!("the body did not come within {BODY_TIMEOUT:?}");
        return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow_body", message));
    };
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("a body must be at most {most} bytes");
            let refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message);
            Err(refusal.with_hint("send it in parts, or raise limits.publish_max"))
        }
        Err(error) => {
            let message = format!("the body cannot be read: {error}");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_body", message))
        }
    }
}

fn answer(report: &Report) -> Response {
    let mut body = format!("{{\"accepted\":{},\"rejected\":[", report.accepted).into_bytes();
    for (i, rejection) in report.rejected.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        body.extend_from_slice(format!("{{\"line\":{},\"reason\":", rejection.line).as_bytes());
        write_text(&rejection.reason, &mut body);
        body.push(b'}');
    }
    body.push(b']');
    if report.rejected_more > 0 {
        body.extend_from_slice(format!(",\"rejected_more\":{}", report.rejected_more).as_bytes());
    }
    body.extend_from_slice(b"}\n");
    json(body)
}

/// Makes the answer to what could not be written.
pub fn refusal_of(error: &PublishError) -> Refusal {
    let (status, code) = match error {
        PublishError::UnknownStream(_) => (StatusCode::NOT_FOUND, "unknown_stream"),
        PublishError::BadKey(_) => (StatusCode::BAD_REQUEST, "bad_key"),
        PublishError::BadTopic(_) => (StatusCode::BAD_REQUEST, "bad_topic"),
        PublishError::BadFormat(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_format"),
        PublishError::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused"),
        PublishError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        PublishError::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
    };
    Refusal::new(status, code, error.to_string())
}
