//! A client of a plain WebSocket at any path, which hears texts as they come.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream as Std},
};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, handshake::client::Request},
};

use crate::world::PATIENCE;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Text(String),
    Pong,
    Close(u16),
}

pub(super) struct Client {
    pub(super) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(super) async fn open(address: SocketAddr, path: &str) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}{path}")).await.unwrap();
        Self { socket }
    }

    /// One whose socket takes little, so that not reading is soon felt.
    pub(super) async fn narrow(address: SocketAddr, path: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let socket = MaybeTlsStream::Plain(socket.connect(address).await.unwrap());
        let (socket, _) = client_async(format!("ws://{address}{path}"), socket).await.unwrap();
        Self { socket }
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(super) async fn next(&mut self) -> Heard {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a message in time");
            return match next {
                Some(Ok(Message::Text(text))) => Heard::Text(text.to_string()),
                Some(Ok(Message::Pong(_))) => Heard::Pong,
                // The socket answers by itself.
                Some(Ok(Message::Ping(_))) => continue,
                Some(Ok(Message::Close(frame))) => Heard::Close(frame.unwrap().code.into()),
                other => panic!("unexpected {other:?}"),
            };
        }
    }

    pub(super) async fn hear(&mut self) -> String {
        match self.next().await {
            Heard::Text(text) => text,
            other => panic!("no text but {other:?}"),
        }
    }

    /// Makes sure that all said so far was heard; returns what came meanwhile.
    pub(super) async fn settle(&mut self) -> Vec<String> {
        self.socket.send(Message::Ping(b"?".to_vec().into())).await.unwrap();
        let mut texts = Vec::new();
        loop {
            match self.next().await {
                Heard::Text(text) => texts.push(text),
                Heard::Pong => return texts,
                closed => panic!("{closed:?} after {texts:?}"),
            }
        }
    }
}

/// Why a handshake was refused: status, type of the body, body.
pub(super) async fn refusal(address: SocketAddr, path: &str, token: Option<&str>) -> (u16, String, String) {
    match connect_async(asking(address, path, token)).await {
        Err(tungstenite::Error::Http(answer)) => {
            let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap());
            let body = answer.body().clone().unwrap_or_default();
            (answer.status().as_u16(), kind.to_owned(), String::from_utf8(body).unwrap())
        }
        other => panic!("{path}: {other:?}"),
    }
}

/// A handshake, with a token in its header or without.
pub(super) fn asking(address: SocketAddr, path: &str, token: Option<&str>) -> Request {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// One plain request: status, head in small letters, body.
pub(super) async fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let asked = move || {
        let mut stream = Std::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    };
    tokio::task::spawn_blocking(asked).await.unwrap()
}
