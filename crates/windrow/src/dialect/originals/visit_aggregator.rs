//! Visit aggregator: counts of visits by account and store, one frame for each window that closed, on a plain WebSocket.
//!
//! | a client says | it means |
//! |---|---|
//! | `{"type":"setFilter","filter":{"account":<id>}}` | from now on that account alone; `null`, `0` and their like: every account |
//! | `close` | goodbye: the server closes with 1000 |
//! | anything else | nothing; it is counted and logged |
//!
//! **In** these texts, rows of the configured channel. **Out** `{"account_id","store_id","ts_from","ts_to","count"}` (`tell`): the newest of
//! each group at first, then each as its window closes. `GET /ready` and `GET /` answer as the original's do.
//! **Invariant:** a client is a filter on a channel, and nothing is held for it. **Not here:** the socket (`websocket`), rows (`feed`).

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{Response, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use windrow_core::value::ColumnType;

use self::{said::Said, tell::Teller};
use super::{feed::Feed, left_out};
use crate::{
    config::VisitAggregator,
    dialect::{
        Gateway,
        websocket::{
            self,
            close::Codes,
            connection::{self, Terms},
            speaker::{Next, Speaker},
        },
    },
    hub::{Bell, Rung, Seat},
    session::{Outgoing, Verdict},
    stats::Counter,
};

mod said;
mod tell;

/// What the original takes from a client at once.
const MESSAGE_MAX_BYTES: usize = 4 << 20;

/// What the clients of a listener share.
#[derive(Debug)]
struct Visits {
    gateway: Gateway,
    config: VisitAggregator,
    teller: Teller,
    /// Whether accounts are texts or numbers; a value of the other kind is no account.
    account_type: Option<ColumnType>,
    not_understood: Arc<Counter>,
}

/// Returns the routes of this dialect: `/ws`, `/ready`, `/`.
pub fn routes(gateway: &Gateway) -> Router {
    let Some(config) = &gateway.listener.originals.visit_aggregator else { return Router::new() };
    let channel = gateway.hub.channels().into_iter().find(|channel| *channel.name == *config.channel);
    let columns = channel.map(|channel| channel.columns).unwrap_or_default();
    let account = columns.into_iter().find(|(name, _)| **name == *config.account);
    let visits = Visits {
        teller: Teller::new(config, gateway),
        account_type: account.and_then(|(_, ty)| ty),
        not_understood: left_out(gateway, "not_understood"),
        config: config.clone(),
        gateway: gateway.clone(),
    };
    Router::new()
        .route("/ws", get(upgrade))
        .route("/ready", get(ready))
        .route("/", get(|| async { Json(json!({"status": "OK"})) }))
        .with_state(Arc::new(visits))
}

async fn upgrade(State(visits): State<Arc<Visits>>, request: Request) -> Response<Body> {
    let terms =
        Terms { message_max_bytes: MESSAGE_MAX_BYTES, takes_binary: true, ..Terms::of(&visits.gateway) };
    let upgraded = websocket::upgrade_to(request, move |upgraded| {
        let gateway = visits.gateway.clone();
        connection::run(upgraded, gateway, terms, |bell| Visitor::new(visits, bell))
    });
    upgraded.unwrap_or_else(|fault| {
        let text = format!("{}\n", fault.message);
        (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
    })
}

/// Tells whether who connects here now is told what there is.
async fn ready(State(visits): State<Arc<Visits>>) -> (StatusCode, Json<Value>) {
    let gateway = &visits.gateway;
    match gateway.hub.is_live(&visits.config.channel) && gateway.stats.troubles().is_empty() {
        true => (StatusCode::OK, Json(json!({"status": "OK"}))),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "NOT READY"}))),
    }
}

impl Visits {
    /// Returns the filter of the rows of an account: a condition, or what says that there are none.
    fn filter(&self, account: Option<&Value>) -> Result<Option<String>, NoSuch> {
        let finals = self.config.finals.then_some("final");
        let account = account.map(|account| self.condition(account)).transpose()?;
        let both: Vec<&str> = account.as_deref().into_iter().chain(finals).collect();
        Ok((!both.is_empty()).then(|| both.join(" AND ")))
    }

    fn condition(&self, account: &Value) -> Result<String, NoSuch> {
        use ColumnType::{Bigint, Double, Number, Text};
        let literal = match (account, self.account_type) {
            (Value::Number(number), None | Some(Bigint | Double | Number)) => number.to_string(),
            (Value::String(text), None | Some(Text)) => format!("'{}'", text.replace('\'', "''")),
            _ => return Err(NoSuch),
        };
        Ok(format!("\"{}\" = {literal}", self.config.account.replace('"', "\"\"")))
    }
}

/// No row can have this account.
#[derive(Debug, PartialEq, Eq)]
struct NoSuch;

/// One client.
struct Visitor {
    visits: Arc<Visits>,
    feed: Feed,
    /// Whether the feed was asked for anything yet.
    has_begun: bool,
    news: Rung,
}

impl Visitor {
    fn new(visits: Arc<Visits>, bell: Arc<Bell>) -> Self {
        let seat = Seat { bell, number: 0 };
        let feed = Feed::new(visits.gateway.hub.clone(), visits.config.channel.as_str().into(), seat);
        let feed = if visits.config.snapshot { feed } else { feed.live_only() };
        let mut news = Rung::default();
        news.add(0);
        Self { visits, feed, has_begun: false, news }
    }

    /// Watches an account, or all.
    fn watch(&mut self, account: Option<&Value>, out: &mut Vec<Outgoing>) -> Verdict {
        self.has_begun = true;
        self.news.add(0);
        let Ok(filter) = self.visits.filter(account) else {
            self.feed.stop();
            return Verdict::Fine;
        };
        let (teller, bytes_max) = (&self.visits.teller, self.visits.gateway.limits.outbox_max_bytes);
        let watched = self.feed.watch(filter.as_deref(), bytes_max, |rows| _ = teller.tell(&rows, out));
        match watched {
            Ok(()) => Verdict::Fine,
            // Nobody could have found such an account: a number out of all bounds, a text longer than a filter.
            Err(fault) if fault.code == "bad_filter" && account.is_some() => {
                tracing::debug!(%fault, "no such account");
                self.feed.stop();
                Verdict::Fine
            }
            Err(fault) => Verdict::Close(fault),
        }
    }

    fn ignore(&self, why: &str) {
        self.visits.not_understood.add(1);
        tracing::debug!(listener = self.visits.gateway.listener.name, why, "a message is ignored");
    }
}

impl Speaker for Visitor {
    const CODES: Codes = Codes::Rfc;

    fn on_text(&mut self, text: &str, out: &mut Vec<Outgoing>) -> Next {
        let verdict = match Said::read(text) {
            Ok(Said::Close) => return Next::Leave,
            Ok(Said::Filter(account)) => self.watch(account.as_ref(), out),
            Err(why) => {
                self.ignore(&why);
                Verdict::Fine
            }
        };
        match verdict {
            Verdict::Fine => Next::Stay,
            Verdict::Close(fault) => Next::Close(fault),
        }
    }

    fn on_binary(&mut self) {
        self.ignore("binary messages have no meaning here");
    }

    fn rang(&mut self, rung: Rung) {
        self.news.merge(rung);
    }

    fn has_news(&self) -> bool {
        self.news.any_seat()
    }

    fn pull(&mut self, bytes_max: usize, out: &mut Vec<Outgoing>) -> Verdict {
        let mut bytes = 0;
        if !self.has_begun {
            let verdict = self.watch(None, out);
            if verdict != Verdict::Fine {
                return verdict;
            }
        }
        while bytes < bytes_max {
            match self.feed.next() {
                Ok(Some(rows)) => bytes += self.visits.teller.tell(&rows, out),
                Ok(None) => {
                    self.news = Rung::default();
                    break;
                }
                Err(fault) => return Verdict::Close(fault),
            }
        }
        Verdict::Fine
    }

    fn blocked(&mut self, now: Instant) -> Verdict {
        self.feed.blocked(now)
    }
}
