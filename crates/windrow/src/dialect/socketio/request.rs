//! Requests: what the query of a request says, and the JSON that a wrong one is answered with.
//!
//! **In** method and query. **Out** what is asked for, or a [`Wrong`]. **Invariant:** pure; checked in the order of the reference server, so
//! that a client's tests find the code that they expect. **Not here:** sessions.
//!
//! Source: the Engine.IO protocol documents, revisions 3 and 4; the codes of the reference server.

use axum::{
    Json,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{engine::Revision, flavor::Flavor};
use crate::config::SocketioConfig;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// No such transport, or one that the listener does not offer.
    Transport,
    /// No such session.
    Sid,
    /// A handshake is a GET.
    Method,
    /// Anything else.
    Request,
    /// A revision that the listener does not offer.
    Version,
}

impl Wrong {
    fn told(self) -> (u8, &'static str) {
        match self {
            Wrong::Transport => (0, "Transport unknown"),
            Wrong::Sid => (1, "Session ID unknown"),
            Wrong::Method => (2, "Bad handshake method"),
            Wrong::Request => (3, "Bad request"),
            Wrong::Version => (5, "Unsupported protocol version"),
        }
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let (code, message) = self.told();
        let mut answer =
            (StatusCode::BAD_REQUEST, Json(json!({"code": code, "message": message}))).into_response();
        // Other flavors have words of their own.
        answer.extensions_mut().insert(self);
        answer
    }
}

/// What carries a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Polling,
    Websocket,
}

/// A request that may be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) transport: Transport,
    /// Whose it is; none for a handshake.
    pub(super) sid: Option<String>,
    /// Of a handshake.
    pub(super) revision: Option<Revision>,
    /// The client takes text alone: `b64`.
    pub(super) is_text_only: bool,
    /// The client polls with scripts and forms: `j`, with its number.
    pub(super) jsonp: Option<u32>,
}

impl Asked {
    /// Reads the query of a request; `is_upgrade` says whether it wants to become a WebSocket.
    pub(super) fn read(
        config: &SocketioConfig,
        method: &Method,
        query: &str,
        is_upgrade: bool,
        flavor: Flavor,
    ) -> Result<Self, Wrong> {
        let of = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let transport = match of("transport").or(flavor.default_transport()) {
            Some("polling") if config.polling => Transport::Polling,
            Some("websocket") if config.websocket => Transport::Websocket,
            _ => return Err(Wrong::Transport),
        };
        let sid = of("sid").filter(|sid| !sid.is_empty()).map(str::to_owned);
        if sid.is_none() && method != Method::GET {
            return Err(Wrong::Method);
        }
        if is_upgrade != (transport == Transport::Websocket) || !matches!(*method, Method::GET | Method::POST)
        {
            return Err(Wrong::Request);
        }
        let revision = match of("EIO") {
            _ if sid.is_some() => None,
            Some("4") if config.versions.contains(&4) => Some(Revision::V4),
            Some("3") if config.versions.contains(&3) => Some(Revision::V3),
            // The first clients did not say it.
            None if flavor.unnamed_is_3() && config.versions.contains(&3) => Some(Revision::V3),
            _ => return Err(Wrong::Version),
        };
        let jsonp = match of("j") {
            None => None,
            Some(number) => Some(number.parse().map_err(|_| Wrong::Request)?),
        };
        let is_text_only = of("b64").is_some_and(|value| !value.is_empty());
        Ok(Self { transport, sid, revision, is_text_only, jsonp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &SocketioConfig, method: &str, query: &str, is_upgrade: bool) -> Result<Asked, Wrong> {
        Asked::read(
            config,
            &Method::from_bytes(method.as_bytes()).unwrap(),
            query,
            is_upgrade,
            Flavor::Reference,
        )
    }

    #[test]
    fn a_wrong_request_is_told_what_the_reference_server_tells() {
        let all = SocketioConfig::default();
        let four = SocketioConfig { versions: vec![4], ..SocketioConfig::default() };
        let polling = SocketioConfig { websocket: false, ..SocketioConfig::default() };
        for (config, method, query, is_upgrade, want) in [
            (&all, "GET", "EIO=4", false, Wrong::Transport),
            (&all, "GET", "EIO=4&transport=abc", false, Wrong::Transport),
            (&all, "GET", "EIO=4&transport=constructor&sid=x", false, Wrong::Transport),
            (&polling, "GET", "EIO=4&transport=websocket", true, Wrong::Transport),
            (&all, "POST", "EIO=4&transport=polling", false, Wrong::Method),
            (&all, "PUT", "EIO=4&transport=polling", false, Wrong::Method),
            (&all, "PUT", "EIO=4&transport=polling&sid=x", false, Wrong::Request),
            (&all, "GET", "EIO=4&transport=websocket", false, Wrong::Request),
            (&all, "GET", "EIO=4&transport=polling", true, Wrong::Request),
            (&all, "GET", "EIO=abc&transport=polling", false, Wrong::Version),
            (&all, "GET", "EIO=5&transport=polling", false, Wrong::Version),
            (&four, "GET", "EIO=3&transport=polling", false, Wrong::Version),
            (&four, "GET", "transport=polling", false, Wrong::Version),
            (&all, "GET", "EIO=3&transport=polling&j=x", false, Wrong::Request),
        ] {
            assert_eq!(read(config, method, query, is_upgrade), Err(want), "{method} {query}");
        }
    }

    #[test]
    fn a_handshake_without_a_version_is_of_the_third() {
        let all = SocketioConfig::default();
        let revision = |query| read(&all, "GET", query, false).map(|asked| asked.revision);
        assert_eq!(revision("transport=polling"), Ok(Some(Revision::V3)));
        assert_eq!(revision("EIO=4&transport=polling&t=abc"), Ok(Some(Revision::V4)));
        assert_eq!(revision("EIO=4&transport=polling&sid=abc"), Ok(None));
    }
}
