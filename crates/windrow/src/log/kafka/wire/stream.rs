//! Stream: bytes to and from a broker, encrypted or not.
//!
//! **In** an address. **Out** a stream that is open. **Invariant:** nothing waits for an acknowledgement of what went before; what was
//! written is flushed by whoever wrote it. **Not here:** frames.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};

use super::CONNECT_MAX;
use crate::log::kafka::security::tls::explain;

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Opens one to `host:port`; an error is a sentence for people, with the address.
    pub(super) async fn open(address: &str, tls: Option<&Arc<ClientConfig>>) -> Result<Self, String> {
        let mute = |why: &str| format!("kafka at {address} does not answer: {why}");
        let late = |what: &str| mute(&format!("{what} within {} s", CONNECT_MAX.as_secs()));
        let stream = timeout_at(Instant::now() + CONNECT_MAX, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| late("no connection"))?.map_err(|error| mute(&error.to_string()))?;
        // A small request must not wait for the acknowledgement of the one before it.
        stream.set_nodelay(true).map_err(|error| mute(&error.to_string()))?;
        let Some(config) = tls else { return Ok(Self::Plain(stream)) };
        let host = host(address);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("kafka at {address}: {host} is no name that a certificate can be for"))?;
        let shaken = TlsConnector::from(config.clone()).connect(name, stream);
        match timeout_at(Instant::now() + CONNECT_MAX, shaken).await {
            Err(_) => Err(late("no TLS handshake")),
            Ok(Ok(stream)) => Ok(Self::Tls(Box::new(stream))),
            Ok(Err(error)) if is_cut(&error) => Err(format!(
                "kafka at {address} hung up in the middle of the TLS handshake; is the listener one for PLAINTEXT?"
            )),
            Ok(Err(error)) => Err(format!("kafka at {address}: {}", explain(&error))),
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Tells whether the other side went without a word.
pub(super) fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
