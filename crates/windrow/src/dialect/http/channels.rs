//! Channels over HTTP: which there are, and what they hold now.

use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use windrow_core::value::write_text;

use super::{Api, Refusal};
use crate::{
    dialect::Gateway,
    hub::{ChannelInfo, Fault},
};

/// Rows of an answer when no limit is asked for.
const LIMIT_DEFAULT: usize = 1_000;

/// Query of a snapshot.
#[derive(Debug, Deserialize)]
pub(super) struct Ask {
    r#where: Option<String>,
    limit: Option<String>,
}

/// `GET /api/channels`.
pub(super) async fn list(State(api): State<Api>) -> Response {
    let mut body = b"[".to_vec();
    for channel in api.gateway.hub.channels().iter().filter(|c| api.gateway.serves(&c.name)) {
        if body.len() > 1 {
            body.push(b',');
        }
        write_channel(channel, &mut body);
    }
    body.extend_from_slice(b"]\n");
    json(body)
}

/// `GET /api/channels/{channel}?where=…&limit=…`.
pub(super) async fn rows(
    State(api): State<Api>,
    channel: Result<Path<String>, PathRejection>,
    ask: Result<Query<Ask>, QueryRejection>,
) -> Result<Response, Refusal> {
    let (Path(channel), Query(ask)) = (channel?, ask?);
    let limit = match &ask.limit {
        None => LIMIT_DEFAULT,
        Some(text) => text.parse::<usize>().or_else(|_| too_many_digits(text))?,
    };
    if !api.gateway.serves(&channel) {
        return Err(unserved(&api.gateway, &channel));
    }
    let limit = limit.min(api.gateway.limits.rows_max);
    let snapshot = api.gateway.hub.snapshot(&channel, ask.r#where.as_deref(), limit).await?;
    let mut body = b"{\"rows\":".to_vec();
    body.extend_from_slice(&snapshot.rows);
    body.extend_from_slice(if snapshot.more { b",\"more\":true" } else { b",\"more\":false" });
    if let Some(at) = &snapshot.at {
        body.extend_from_slice(b",\"at\":");
        write_text(at, &mut body);
    }
    body.extend_from_slice(b"}\n");
    Ok(json(body))
}

/// `GET /api/stats`: what `_stats` holds.
pub(super) async fn stats(state: State<Api>) -> Result<Response, Refusal> {
    let ask = Ask { r#where: None, limit: Some(usize::MAX.to_string()) };
    rows(state, Ok(Path("_stats".to_owned())), Ok(Query(ask))).await
}

/// A limit past 64 bits is only large; anything else is no number.
fn too_many_digits(text: &str) -> Result<usize, Refusal> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(usize::MAX);
    }
    let message = format!("`limit` must be a whole number, not {text:?}");
    Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_limit", message))
}

/// A channel that this listener does not serve is told like one that is not there: its name is nobody's business.
fn unserved(gateway: &Gateway, channel: &str) -> Refusal {
    let channels = gateway.hub.channels();
    let served = channels.iter().map(|c| &*c.name).filter(|name| gateway.serves(name));
    let mut fault = Fault::new("unknown_channel", format!("there is no channel {channel:?}"));
    fault.hint =
        windrow_core::suggest::closest(channel, served).map(|close| format!("did you mean `{close}`?"));
    fault.into()
}

fn write_channel(channel: &ChannelInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"name\":");
    write_text(&channel.name, out);
    out.extend_from_slice(b",\"kind\":");
    write_text(channel.kind.name(), out);
    out.extend_from_slice(b",\"columns\":[");
    for (i, (name, ty)) in channel.columns.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"{\"name\":" } else { b",{\"name\":" });
        write_text(name, out);
        out.extend_from_slice(b",\"type\":");
        match ty {
            Some(ty) => write_text(ty.name(), out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"key\":[");
    for (i, name) in channel.key.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(name, out);
    }
    out.extend_from_slice(if channel.resumable {
        b"],\"resumable\":true}"
    } else {
        b"],\"resumable\":false}"
    });
}

/// An answer that no cache keeps.
pub(super) fn json(body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}
