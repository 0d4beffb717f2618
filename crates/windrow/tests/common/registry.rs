//! A schema registry's double: the public REST API over real sockets, with all that can be wrong with one.
//!
//! **In** schemas, from the test or posted by a client. **Out** answers as a registry gives them, and how often it was asked.
//! **Invariant:** ids count up from 1; equal schemas have one id, whatever their subject.
//! Source: Confluent Schema Registry, "API reference".

#![allow(dead_code, reason = "each test uses what it needs")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State as Given},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

#[derive(Clone)]
pub(crate) struct Double {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

#[derive(Default)]
struct State {
    /// As they were registered, from id 1.
    schemas: Vec<Value>,
    /// Ids of each subject's versions, from 1.
    subjects: BTreeMap<String, Vec<usize>>,
    /// What everything is answered with.
    failing: Option<u16>,
    authorization: Option<String>,
    asked: Vec<String>,
}

type Shared = Given<Arc<Mutex<State>>>;

impl Double {
    /// Starts one on a port of its own. It lives as long as the runtime.
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/schemas/ids/{id}", get(by_id))
            .route("/subjects/{subject}/versions/{version}", get(version))
            .route("/subjects/{subject}/versions", post(register))
            .route("/subjects/{subject}", post(look_up))
            .fallback(|| async { refusal(404, 404, "HTTP 404 Not Found") })
            .layer(from_fn_with_state(state.clone(), gate))
            .with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { state, address }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Registers a schema of Avro; returns its id.
    pub(crate) fn avro(&self, subject: &str, schema: &str) -> u32 {
        self.lock().register(subject, json!({"schema": schema}))
    }

    /// Registers whatever a client would post; returns its id.
    pub(crate) fn register(&self, subject: &str, body: Value) -> u32 {
        self.lock().register(subject, body)
    }

    /// From now on everything is answered with this status, or as it should be.
    pub(crate) fn fail(&self, status: Option<u16>) {
        self.lock().failing = status;
    }

    /// From now on only whoever says this is answered.
    pub(crate) fn demand(&self, authorization: &str) {
        self.lock().authorization = Some(authorization.to_owned());
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.lock().asked.iter().filter(|asked| *asked == path).count()
    }
}

impl State {
    fn register(&mut self, subject: &str, body: Value) -> u32 {
        let known = self.schemas.iter().position(|known| *known == body);
        let at = known.unwrap_or_else(|| {
            self.schemas.push(body);
            self.schemas.len() - 1
        });
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        if !versions.contains(&at) {
            versions.push(at);
        }
        u32::try_from(at).unwrap() + 1
    }

    fn version(&self, subject: &str, at: usize) -> Value {
        let versions = &self.subjects[subject];
        let mut body = self.schemas[at].clone();
        body["id"] = json!(at + 1);
        body["subject"] = json!(subject);
        body["version"] = json!(versions.iter().position(|known| *known == at).unwrap() + 1);
        body
    }
}

async fn gate(Given(state): Shared, request: Request, next: Next) -> Response {
    let refused = {
        let mut state = state.lock().unwrap();
        state.asked.push(request.uri().path().to_owned());
        let said = request.headers().get(AUTHORIZATION).and_then(|said| said.to_str().ok());
        match (&state.authorization, state.failing) {
            (_, Some(status)) => Some(status),
            (Some(demanded), _) if said != Some(demanded) => Some(401),
            _ => None,
        }
    };
    match refused {
        Some(status) => refusal(status, i64::from(status) * 100 + 1, "as the test wants it"),
        None => next.run(request).await,
    }
}

fn refusal(status: u16, code: i64, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, Json(json!({"error_code": code, "message": message}))).into_response()
}

async fn by_id(Given(state): Shared, Path(id): Path<usize>) -> Response {
    match state.lock().unwrap().schemas.get(id.wrapping_sub(1)) {
        Some(schema) => Json(schema).into_response(),
        None => refusal(404, 40403, "Schema not found"),
    }
}

async fn version(Given(state): Shared, Path((subject, version)): Path<(String, usize)>) -> Response {
    let state = state.lock().unwrap();
    let Some(versions) = state.subjects.get(&subject) else {
        return refusal(404, 40401, "Subject not found");
    };
    match versions.get(version.wrapping_sub(1)) {
        Some(at) => Json(state.version(&subject, *at)).into_response(),
        None => refusal(404, 40402, "Version not found"),
    }
}

/// Clients post more than a schema: what is not part of it is left out.
fn posted(body: &[u8]) -> Value {
    let mut body: Value = serde_json::from_slice(body).unwrap();
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, value| {
            matches!(&**name, "schema" | "schemaType" | "references") && !value.is_null()
        });
        if members.get("schemaType") == Some(&json!("AVRO")) {
            members.remove("schemaType");
        }
        if members.get("references") == Some(&json!([])) {
            members.remove("references");
        }
    }
    body
}

async fn register(Given(state): Shared, Path(subject): Path<String>, body: Bytes) -> Response {
    let mut state = state.lock().unwrap();
    let id = state.register(&subject, posted(&body));
    Json(state.version(&subject, id as usize - 1)).into_response()
}

async fn look_up(Given(state): Shared, Path(subject): Path<String>, body: Bytes) -> Response {
    let state = state.lock().unwrap();
    let body = posted(&body);
    match state.schemas.iter().position(|known| *known == body) {
        Some(at) if state.subjects.get(&subject).is_some_and(|known| known.contains(&at)) => {
            Json(state.version(&subject, at)).into_response()
        }
        _ => refusal(404, 40403, "Schema not found"),
    }
}
