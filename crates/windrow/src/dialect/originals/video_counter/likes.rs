//! Likes over HTTP, and the list of videos, as the original's page asks for them.
//!
//! | call | answer |
//! |---|---|
//! | `POST /{stage}/videos/{video_id}/likes` | 200 `{"new video": "<id>"}` after the commit |
//! | `GET /{stage}/videos/metadata` | `[{"unique_identifier","title"}]`, the same at every call |
//!
//! **In** identifiers. **Out** records: the identifier alone, without a key. **Not here:** how they are written (`publish`).

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    dialect::http::{Refusal, refusal_of},
    publish::Publisher,
};

/// What the handlers share.
#[derive(Clone)]
struct Likes {
    stream: Arc<str>,
    publisher: Publisher,
    videos: Arc<Value>,
}

/// Returns the routes.
pub(super) fn routes(stream: &str, videos: &[(String, String)], publisher: Publisher) -> Router {
    let video = |(id, title): &(String, String)| json!({"unique_identifier": id, "title": title});
    let videos = Arc::new(videos.iter().map(video).collect());
    Router::new()
        .route("/{stage}/videos/{video_id}/likes", post(like))
        .route("/{stage}/videos/metadata", get(list))
        .with_state(Likes { stream: stream.into(), publisher, videos })
}

async fn like(
    State(likes): State<Likes>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let Path((_, video)) = path?;
    // An array, so that whatever the identifier holds it is one record.
    let body = json!([video]).to_string();
    let report = likes.publisher.publish(&likes.stream, None, None, body.into()).await;
    let report = report.map_err(|error| refusal_of(&error))?;
    match report.rejected.into_iter().next() {
        None => Ok(Json(json!({"new video": video}))),
        Some(rejected) => Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_video", rejected.reason)),
    }
}

async fn list(State(likes): State<Likes>) -> Json<Value> {
    Json(Value::clone(&likes.videos))
}
