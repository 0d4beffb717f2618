//! A token endpoint: checks what it is asked, and gives out tokens that the broker's unsecured validator takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "client-secret";

/// What it gives out.
#[derive(Clone, Copy)]
pub(crate) struct Gives {
    /// `expires_in`.
    pub(crate) life_s: u64,
    /// How long the token itself lives, beginning before or after now.
    pub(crate) token_life_s: i64,
}

pub(crate) struct Endpoint {
    pub(crate) url: String,
    given: Arc<AtomicUsize>,
    knows_us: Arc<AtomicBool>,
}

impl Endpoint {
    /// Serves on the test's runtime.
    pub(crate) async fn start(gives: Gives) -> Self {
        let given = Arc::new(AtomicUsize::new(0));
        let knows_us = Arc::new(AtomicBool::new(true));
        let state = (gives, given.clone(), knows_us.clone());
        let router = Router::new().route("/token", post(token)).with_state(state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, given, knows_us }
    }

    /// Whether it knows us: one that does not says that the secret is wrong.
    pub(crate) fn knows_us(&self, knows: bool) {
        self.knows_us.store(knows, Relaxed);
    }

    /// Tokens given out so far.
    pub(crate) fn given(&self) -> usize {
        self.given.load(Relaxed)
    }
}

async fn token(
    State((gives, given, knows_us)): State<(Gives, Arc<AtomicUsize>, Arc<AtomicBool>)>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let basic = format!("Basic {}", STANDARD.encode(format!("windrow:{SECRET}")));
    let is_right = headers.get("authorization").is_some_and(|told| told.as_bytes() == basic.as_bytes());
    if !is_right || !knows_us.load(Relaxed) {
        let error =
            json!({"error": "invalid_client", "error_description": "no such client, or another secret"});
        return (StatusCode::UNAUTHORIZED, Json(error));
    }
    if body != "grant_type=client_credentials&scope=kafka" {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_request", "error_description": body})),
        );
    }
    given.fetch_add(1, Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims =
        json!({"sub": "windrow", "iat": now - 60, "exp": now + gives.token_life_s, "scope": "kafka"});
    let token = format!("{}.{}.", part(json!({"alg": "none"})), part(claims));
    let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": gives.life_s});
    (StatusCode::OK, Json(answer))
}
