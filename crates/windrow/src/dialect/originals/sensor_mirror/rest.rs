//! The newest values over HTTP, as the mirror's two sister services answered.
//!
//! | call | answer, always 200 |
//! |---|---|
//! | `GET /topics` | `{topic: {"timestamp","data"}}`, or `{"error": "no topic available"}`, `{"error": "no cached messages available"}` |
//! | `GET /topic/{topic}`, `GET /topics/{topic}` | `{"timestamp","topic","data"}`, or `{"error": "topic not available"}`, `{"error": "no cached message available"}` |
//!
//! **In** the newest rows of a channel. **Out** JSON; bytes in it are text in base64.
//! **Invariant:** nothing is held here: each call reads the channel's table. **Not here:** how a row is told (`tell`).

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    super::left_out,
    choice::Choice,
    tell::{Teller, Values, text},
};
use crate::{config::SensorMirror, dialect::Gateway, hub::Fault};

/// What the handlers share.
#[derive(Debug)]
struct Rest {
    gateway: Gateway,
    channel: Box<str>,
    topic: Box<str>,
    teller: Teller,
}

/// Returns the routes.
pub(super) fn routes(config: &SensorMirror, channel: &str, gateway: &Gateway) -> Router {
    let rest = Rest {
        teller: Teller::new(config, left_out(gateway, "incomplete")),
        channel: channel.into(),
        topic: config.topic.as_str().into(),
        gateway: gateway.clone(),
    };
    Router::new()
        .route("/topics", get(all))
        .route("/topic/{topic}", get(one))
        .route("/topics/{topic}", get(one))
        .with_state(Arc::new(rest))
}

impl Rest {
    async fn values(&self, filter: Option<&str>) -> Result<Vec<Values>, Fault> {
        let rows_max = self.gateway.limits.rows_max;
        let snapshot = self.gateway.hub.snapshot(&self.channel, filter, rows_max).await?;
        if snapshot.more {
            tracing::warn!(
                channel = &*self.channel,
                rows_max,
                "/topics leaves topics out: `rows_max` is too small"
            );
        }
        Ok(self.teller.values(&snapshot.rows))
    }

    fn knows(&self, topic: Option<&str>) -> bool {
        let topics = self.gateway.hub.topics(&self.channel);
        topics.iter().any(|known| topic.is_none_or(|topic| **known == *topic))
    }
}

async fn all(State(rest): State<Arc<Rest>>) -> Response {
    match rest.values(None).await {
        Ok(all) if all.is_empty() && rest.knows(None) => error("no cached messages available"),
        Ok(all) if all.is_empty() => error("no topic available"),
        Ok(all) => {
            let member = |values: &Values| format!("{}:{}", text(&values.topic), values.answer(false));
            let members: Vec<String> = all.iter().map(member).collect();
            json(format!("{{{}}}", members.join(",")))
        }
        Err(fault) => error(&fault.message),
    }
}

async fn one(State(rest): State<Arc<Rest>>, Path(topic): Path<String>) -> Response {
    let filter = Choice::one(&topic).filter(&rest.topic);
    match rest.values(filter.as_deref()).await {
        Ok(found) => match found.first() {
            Some(values) => json(values.answer(true)),
            None if rest.knows(Some(&topic)) => error("no cached message available"),
            None => error("topic not available"),
        },
        Err(fault) => error(&fault.message),
    }
}

fn error(message: &str) -> Response {
    json(format!("{{\"error\":{}}}", text(message)))
}

fn json(body: String) -> Response {
    let mut answer = body.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
