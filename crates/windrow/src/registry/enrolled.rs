//! Enrolled: a log for who writes, which is there once the registry has the schemas of what is written.
//!
//! **In** plans; a log. **Out** the same log, later: every schema has an id by then, so no row is ever written without one.
//! **Before** this file: `http`. **After** it: workers, which wait for this log as for one that is away.
//!
//! A subject is a topic's name and `-value`, as in Confluent's own serializers. What it has already is found and not entered again.
//!
//! **Invariant:** a registry that is away is waited for, and `/readyz` says so; one that refuses a schema, because the topic's readers
//! could not read it, is no trouble that passes: the process ends with its words.
//! **Not here:** what a schema says (`windrow_core::written`).
//!
//! Source: Confluent Schema Registry, "API reference".

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windrow_core::{plan::StreamPlan, registry::SchemaKind, spec::SchemaId, written::RowSchema};

use super::{
    Registry,
    http::{Asked, Http},
    schemas::escaped,
};
use crate::{
    log::{Log, LogError, deferred::Deferred},
    stats::Stats,
};

/// One schema that the registry must have.
#[derive(Debug, Clone)]
struct Entry {
    subject: String,
    kind: SchemaKind,
    text: Arc<str>,
    id: SchemaId,
}

#[derive(Serialize)]
struct Question<'q> {
    schema: &'q str,
    /// Avro is not named.
    #[serde(rename = "schemaType", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

#[derive(Deserialize)]
struct Entered {
    id: u32,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
}

/// Wraps the log of the engine; it stays as it is where no view needs a registry to write.
pub fn wrap(
    log: Arc<dyn Log>,
    registry: &Arc<Registry>,
    plans: &[Arc<StreamPlan>],
    stats: &Arc<Stats>,
) -> Arc<dyn Log> {
    let entries: Arc<[Entry]> = plans
        .iter()
        .flat_map(|plan| &plan.views)
        .filter_map(|view| {
            let topic = view.spec.topic.as_ref().filter(|topic| topic.format.is_registered())?;
            // A view without a schema is not planned.
            let schema = RowSchema::of(view).ok()??;
            let subject = format!("{}-value", topic.topic);
            Some(Entry {
                subject,
                kind: schema.kind(),
                text: schema.text().clone(),
                id: topic.schema_id.clone(),
            })
        })
        .collect();
    if entries.is_empty() {
        return log;
    }
    let registry = registry.clone();
    Deferred::connect(stats.clone(), "schemas", move || {
        let (log, registry, entries) = (log.clone(), registry.clone(), entries.clone());
        async move {
            for entry in entries.iter().filter(|entry| entry.id.get().is_none()) {
                let id = registry.enroll(entry.clone()).await?;
                tracing::info!(subject = %entry.subject, id, "the schema of a topic is registered");
                entry.id.set(id);
            }
            Ok(log)
        }
    })
}

impl Registry {
    async fn enroll(&self, entry: Entry) -> Result<u32, LogError> {
        let away = |why: String| LogError::Retry(format!("subject {}: {why}", entry.subject));
        let _turn = self.questions.acquire().await.map_err(|closed| away(closed.to_string()))?;
        let (http, question) = (self.http.clone(), entry.clone());
        let asked = tokio::task::spawn_blocking(move || question.ask(&http)).await;
        asked.unwrap_or_else(|panic| Err(away(panic.to_string())))
    }
}

impl Entry {
    fn ask(&self, http: &Http) -> Result<u32, LogError> {
        let (path, subject) = (format!("/subjects/{}/versions", escaped(&self.subject)), &self.subject);
        let away =
            |why: String| LogError::Retry(format!("the registry cannot be told of subject {subject}: {why}"));
        let kind = match self.kind {
            SchemaKind::Avro => None,
            SchemaKind::Json => Some("JSON"),
            SchemaKind::Protobuf => Some("PROTOBUF"),
        };
        let question = Question { schema: &self.text, kind };
        let body = serde_json::to_vec(&question).map_err(|error| away(error.to_string()))?;
        match http.post(&path, &body).map_err(away)? {
            Asked::Answered(body) => match serde_json::from_slice::<Entered>(&body) {
                Ok(entered) => Ok(entered.id),
                Err(error) => Err(away(format!("it does not answer as a registry does: {error}"))),
            },
            Asked::Refused(status, body) => {
                let why = serde_json::from_slice::<Refused>(&body)
                    .map_or_else(|_| String::new(), |refused| refused.message);
                Err(LogError::Fatal(format!(
                    "the registry refuses the schema of subject {subject} ({status}): {why}"
                )))
            }
        }
    }
}
