//! Flavors: whose ways are followed where the protocol leaves it to the server.
//!
//! | | reference, suite | Python |
//! |---|---|---|
//! | a wrong request | `{"code":…,"message":…}` | one JSON text |
//! | no `transport` | refused | polling |
//! | no `EIO` | 3; suite: refused | refused |
//! | open packet | with `maxPayload` | without |
//! | a namespace that is not there | `{"message":"Invalid namespace"}` | `"Unable to connect"` |
//! | what is no packet of Socket.IO | ends the session | is left out |
//!
//! **In** what a server would say. **Out** how that flavor says it. **Not here:** when it is said (`request`, `layer`).
//!
//! Source: the documents of the protocols; the answers of python-engineio 4.3, as the originals' clients know them.

use axum::{
    body::Body,
    http::{Method, Response, StatusCode},
};
use windrow_core::value::write_text;

use super::{engine::Revision, request::Wrong, typed};

/// Whose ways are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) enum Flavor {
    /// The reference server's.
    Reference,
    /// The same, for test suites that count a handshake without a version among the mistakes.
    Suite,
    /// Those of the servers in Python that the originals were.
    Python,
}

impl Flavor {
    /// Tells whether the open packet says how much a body may hold.
    pub(super) fn tells_max_payload(self) -> bool {
        self != Flavor::Python
    }

    /// Returns what a request without a transport asks for.
    pub(super) fn default_transport(self) -> Option<&'static str> {
        (self == Flavor::Python).then_some("polling")
    }

    /// Tells whether a handshake without a version is of version 3: the first clients did not say it.
    pub(super) fn unnamed_is_3(self) -> bool {
        self == Flavor::Reference
    }

    /// Tells whether a session goes on after what is no packet of Socket.IO.
    pub(super) fn forgives(self) -> bool {
        self == Flavor::Python
    }

    /// Writes why a namespace cannot be had.
    pub(super) fn write_refusal(self, revision: Revision, why: &str, out: &mut Vec<u8>) {
        match (self, revision) {
            (Flavor::Python, _) | (_, Revision::V3) => write_text(why, out),
            (_, Revision::V4) => {
                out.extend_from_slice(b"{\"message\":");
                write_text(why, out);
                out.push(b'}');
            }
        }
    }

    /// Tells whether [`Self::worded`] has anything to do.
    pub(super) fn has_words(self) -> bool {
        self == Flavor::Python
    }

    /// Says a refusal in its own words; other answers stay as they are.
    pub(super) fn worded(self, answer: Response<Body>, method: &Method, query: &str) -> Response<Body> {
        let Some(wrong) = answer.extensions().get::<Wrong>() else { return answer };
        if method == Method::OPTIONS {
            return typed("text/plain", "OK");
        }
        let mut text = Vec::new();
        write_text(&in_python(*wrong, query), &mut text);
        let mut answer = typed("text/plain", text);
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        answer
    }
}

fn in_python(wrong: Wrong, query: &str) -> String {
    let sid = query.split('&').find_map(|pair| pair.strip_prefix("sid=")).unwrap_or("None");
    match wrong {
        Wrong::Transport => "Invalid transport".to_owned(),
        Wrong::Version => {
            "The client is using an unsupported version of the Socket.IO or Engine.IO protocols".to_owned()
        }
        Wrong::Sid | Wrong::Method => format!("Invalid session {sid}"),
        Wrong::Request if query.split('&').any(|pair| pair == "transport=websocket") => {
            "Invalid websocket upgrade".to_owned()
        }
        Wrong::Request => "Bad Request".to_owned(),
    }
}
