//! One HTTP connection that publishes, one request at a time.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use anyhow::{Context, Result, bail};

use super::{Target, http};

/// A kept-alive connection.
#[derive(Debug)]
pub(super) struct Publisher {
    socket: TcpStream,
    head: String,
    busy: bool,
    answer: Vec<u8>,
}

impl Publisher {
    pub(super) fn connect(target: &Target) -> Result<Self> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, target.port)).context("connect a publisher")?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-ndjson\r\n",
            target.publish, target.port
        );
        Ok(Self { socket, head, busy: false, answer: Vec::new() })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Tells whether a request is under way.
    pub(super) fn busy(&self) -> bool {
        self.busy
    }

    /// Sends one request, small enough to fit the socket's buffer.
    pub(super) fn publish(&mut self, body: &str) -> Result<()> {
        let request = format!("{}Content-Length: {}\r\n\r\n{body}", self.head, body.len());
        self.socket.write_all(request.as_bytes()).context("publish")?;
        self.busy = true;
        Ok(())
    }

    /// Reads an answer; once it is whole the connection is free again.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.socket.read(buffer) {
            Ok(0) => bail!("the server closed a publisher's connection"),
            Ok(n) => self.answer.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("read as a publisher"),
        }
        if http::answer(&self.answer)?.is_none() {
            return Ok(());
        }
        self.answer.clear();
        self.busy = false;
        Ok(())
    }
}
