//! Server-sent events: `/sse/{channel}` and `/sse?channel=a&channel=b`.
//!
//! **In** an HTTP request. **Out** an endless body of events: `snapshot`, `rows`, `dropped`, `fault`, `bye`; `id:` is the
//! position, so that a browser's `EventSource` resumes by itself.
//! **Before** this file: the listener. **After** it: `hub`.
//!
//! **Invariant:** an event is made when the connection takes it, never before. After a fault that trying again cannot mend,
//! the id says so, and the browser's next request is answered with 204, which ends it. What may pass is told to a browser with
//! 200 and an event: any other status would end it for good. **Not here:** the body (`events`).
//!
//! Source: the HTML standard, section 9.2.

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::{
        HeaderMap, HeaderValue, Response, StatusCode,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
    },
    routing::get,
};
use windrow_core::hub::Tick;

use self::events::{Events, TERMINAL_ID};
use super::Gateway;
use crate::{
    hub::{Fault, StartFrom},
    session::every_ms,
};

mod events;

/// Returns the routes of this dialect: `/sse/{channel}` and `/sse?channel=…`.
pub fn routes(gateway: Gateway) -> Router {
    Router::new().route("/sse", get(many)).route("/sse/{channel}", get(one)).with_state(gateway)
}

type Pairs = Vec<(String, String)>;

async fn one(
    State(gateway): State<Gateway>,
    Path(channel): Path<String>,
    Query(query): Query<Pairs>,
    headers: HeaderMap,
) -> Response<Body> {
    serve(gateway, Some(channel), query, &headers).await
}

async fn many(
    State(gateway): State<Gateway>,
    Query(query): Query<Pairs>,
    headers: HeaderMap,
) -> Response<Body> {
    serve(gateway, None, query, &headers).await
}

/// What a request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    channels: Vec<String>,
    filter: Option<String>,
    /// One per channel, in order, joined by dots; a channel without one begins with a snapshot.
    from: Option<String>,
    every: Option<String>,
}

impl Asked {
    fn read(channel: Option<String>, query: Pairs, headers: &HeaderMap) -> Result<Self, Fault> {
        let one = channel.is_some();
        let mut asked = Asked { channels: channel.into_iter().collect(), ..Self::default() };
        for (name, value) in query {
            match name.as_str() {
                "channel" if !one => asked.channels.push(value),
                "where" => asked.filter = Some(value),
                "from" => asked.from = Some(value),
                "every" => asked.every = Some(value),
                _ => {
                    let rule = format!("unknown parameter {name}: known are channel, where, from, every");
                    return Err(Fault::new("bad_request", rule));
                }
            }
        }
        if let Some(id) = headers.get("last-event-id").and_then(|id| id.to_str().ok()) {
            asked.from = Some(id.to_owned());
        }
        if asked.channels.is_empty() {
            return Err(Fault::new("bad_request", "name at least one channel: /sse?channel=…"));
        }
        Ok(asked)
    }

    /// Returns where each channel begins.
    fn starts(&self) -> Result<Vec<StartFrom>, Fault> {
        let Some(from) = self.from.as_deref().filter(|from| !from.is_empty()) else {
            return Ok(vec![StartFrom::Snapshot; self.channels.len()]);
        };
        if matches!(from, "snapshot" | "now") {
            return Ok(vec![StartFrom::parse(Some(from))?; self.channels.len()]);
        }
        let parts: Vec<&str> = from.split('.').collect();
        if parts.len() != self.channels.len() {
            let (have, want) = (parts.len(), self.channels.len());
            let rule = format!("this position is of {have} channels, the request names {want}");
            return Err(Fault::new("bad_position", rule));
        }
        parts.into_iter().map(|part| StartFrom::parse(Some(part).filter(|p| !p.is_empty()))).collect()
    }
}

async fn serve(
    gateway: Gateway,
    channel: Option<String>,
    query: Pairs,
    headers: &HeaderMap,
) -> Response<Body> {
    match open(&gateway, channel, query, headers).await {
        Ok(response) => response,
        Err(fault) if fault.passes() && is_event_source(headers) => {
            respond(Events::refused(&gateway, &fault))
        }
        Err(fault) => refuse(&fault),
    }
}

/// Tells whether an `EventSource` asks: it names what it takes, others read the status.
fn is_event_source(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("text/event-stream")
    })
}

async fn open(
    gateway: &Gateway,
    channel: Option<String>,
    query: Pairs,
    headers: &HeaderMap,
) -> Result<Response<Body>, Fault> {
    let asked = Asked::read(channel, query, headers)?;
    if asked.from.as_deref() == Some(TERMINAL_ID) {
        let mut over = Response::new(Body::empty());
        *over.status_mut() = StatusCode::NO_CONTENT;
        return Ok(over);
    }
    let max = gateway.limits.subscriptions_max;
    if asked.channels.len() > max {
        let rule = format!("a connection has at most {max} subscriptions");
        return Err(Fault::new("too_many_subscriptions", rule));
    }
    let tick = Tick::at_least(asked.every.as_deref().map_or(Ok(0), every_ms)?);
    let starts = asked.starts()?;
    let filter = asked.filter.as_deref();
    let requests: Vec<_> = asked
        .channels
        .iter()
        .zip(starts)
        .map(|(channel, from)| gateway.request(channel, filter, from, tick))
        .collect::<Result<_, _>>()?;
    let mut events = Events::new(gateway);
    for (channel, request) in asked.channels.iter().zip(&requests) {
        let subscription = gateway.hub.subscribe(request, &events.next_seat()).await?;
        events.add(channel, subscription);
    }
    Ok(respond(events))
}

fn respond(events: Events) -> Response<Body> {
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies of the nginx family would keep events back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn refuse(fault: &Fault) -> Response<Body> {
    let mut body = b"{\"error\":".to_vec();
    fault.write_json(&mut body);
    body.push(b'}');
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if matches!(fault.status(), 429 | 503) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_last_event_id_wins_over_from() {
        let headers: HeaderMap =
            [("last-event-id".parse().unwrap(), "abc".parse().unwrap())].into_iter().collect();
        let asked =
            Asked::read(Some("a".to_owned()), pairs(&[("from", "now"), ("where", "x = 1")]), &headers);
        let want = Asked {
            channels: vec!["a".to_owned()],
            filter: Some("x = 1".to_owned()),
            from: Some("abc".to_owned()),
            every: None,
        };
        assert_eq!(asked, Ok(want));
    }

    #[test]
    fn a_request_must_name_a_channel_and_only_what_is_known() {
        for (query, code) in
            [(pairs(&[]), "bad_request"), (pairs(&[("channel", "a"), ("wher", "x")]), "bad_request")]
        {
            let fault = Asked::read(None, query, &HeaderMap::new()).unwrap_err();
            assert_eq!(fault.code, code);
        }
    }

    #[test]
    fn positions_of_several_channels_come_in_their_order() {
        let asked = |from: &str| Asked {
            channels: vec!["a".to_owned(), "b".to_owned()],
            from: Some(from.to_owned()),
            ..Asked::default()
        };
        assert_eq!(asked("now").starts(), Ok(vec![StartFrom::Now, StartFrom::Now]));
        assert_eq!(asked(".").starts(), Ok(vec![StartFrom::Snapshot, StartFrom::Snapshot]));
        assert_eq!(asked("AQ").starts().unwrap_err().code, "bad_position");
        assert_eq!(asked("AQ.AQ").starts().unwrap_err().code, "bad_position");
    }
}
