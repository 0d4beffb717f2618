//! Frames: the bytes of RFC 6455, server side.
//!
//! **In** bytes from a client. **Out** whole messages and control frames; headers for what is sent.
//! **Invariant:** strict and bounded: a frame past its bound is refused by its header alone, before a byte of it is kept;
//! nothing a client sends makes this panic. No extensions. **Not here:** sockets, what messages mean (`websocket`).
//!
//! Source: RFC 6455, sections 5 and 7.

/// Most bytes of a control frame's payload (section 5.5).
const CONTROL_MAX_BYTES: u64 = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole text message.
    Text(String),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// A ping with what to answer.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// The end, with the client's code if it gave one.
    Close(Option<u16>),
}

/// What a client may not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Binary messages have no meaning here.
    #[error("binary messages are not part of this protocol")]
    Binary,
    /// Past the bound.
    #[error("a message has at most {max} bytes")]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// Not RFC 6455.
    #[error("{0}")]
    Protocol(&'static str),
}

/// Reads frames; holds bytes only while a frame or a message is incomplete.
#[derive(Debug)]
pub struct Decoder {
    message_max_bytes: usize,
    /// Bytes not yet used up.
    inbox: Vec<u8>,
    /// Fragments of a message so far, and whether it is text.
    partial: Option<(bool, Vec<u8>)>,
    takes_binary: bool,
    deaf: bool,
}

struct Header {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    len_bytes: usize,
    payload_bytes: usize,
}

impl Decoder {
    /// Makes a decoder that takes text messages up to this size.
    pub fn new(message_max_bytes: usize) -> Self {
        Self { message_max_bytes, inbox: Vec::new(), partial: None, takes_binary: false, deaf: false }
    }

    /// Takes binary messages too.
    pub fn with_binary(self) -> Self {
        Self { takes_binary: true, ..self }
    }

    /// Adds bytes from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        if !self.deaf {
            self.inbox.extend_from_slice(bytes);
        }
    }

    /// Stops making sense of what comes: it is dropped unread from now on.
    pub fn deafen(&mut self) {
        *self = Self { deaf: true, ..Self::new(self.message_max_bytes) };
    }

    /// Takes the next event, or `None` when more bytes are needed.
    pub fn next_event(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let whole = header.len_bytes + header.payload_bytes;
            if self.inbox.len() < whole {
                return Ok(None);
            }
            let mut payload = self.inbox[header.len_bytes..whole].to_vec();
            self.consume(whole);
            for (byte, mask) in payload.iter_mut().zip(header.mask.iter().cycle()) {
                *byte ^= mask;
            }
            if let Some(event) = self.event(&header, payload)? {
                return Ok(Some(event));
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.inbox.drain(..bytes);
        if self.inbox.is_empty() {
            // An idle client holds no buffer.
            self.inbox = Vec::new();
        }
    }

    fn header(&self) -> Result<Option<Header>, Violation> {
        let [first, second, rest @ ..] = self.inbox.as_slice() else { return Ok(None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("reserved bits are set, but no extension was agreed on"));
        }
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("a client must mask its frames"));
        }
        let (extended, payload) = match second & 0x7f {
            126 => (2, rest.first_chunk::<2>().map(|b| u64::from(u16::from_be_bytes(*b)))),
            127 => (8, rest.first_chunk::<8>().map(|b| u64::from_be_bytes(*b))),
            short => (0, Some(u64::from(short))),
        };
        let Some(payload) = payload else { return Ok(None) };
        self.check(fin, opcode, payload)?;
        let Some(mask) = rest.get(extended..).and_then(|r| r.first_chunk::<4>()) else { return Ok(None) };
        let payload_bytes = usize::try_from(payload).unwrap_or(usize::MAX);
        Ok(Some(Header { fin, opcode, mask: *mask, len_bytes: 2 + extended + 4, payload_bytes }))
    }

    fn check(&self, fin: bool, opcode: u8, payload: u64) -> Result<(), Violation> {
        match opcode {
            BINARY if !self.takes_binary => return Err(Violation::Binary),
            CLOSE | PING | PONG if !fin => {
                return Err(Violation::Protocol("a control frame has no fragments"));
            }
            CLOSE | PING | PONG if payload > CONTROL_MAX_BYTES => {
                return Err(Violation::Protocol("a control frame has at most 125 bytes"));
            }
            CLOSE | PING | PONG => return Ok(()),
            TEXT | BINARY if self.partial.is_some() => {
                return Err(Violation::Protocol("a message begins inside another"));
            }
            CONTINUATION if self.partial.is_none() => {
                return Err(Violation::Protocol("a continuation without a message"));
            }
            TEXT | BINARY | CONTINUATION => {}
            _ => return Err(Violation::Protocol("unknown opcode")),
        }
        let before = self.partial.as_ref().map_or(0, |(_, bytes)| bytes.len()) as u64;
        if payload.saturating_add(before) > self.message_max_bytes as u64 {
            return Err(Violation::TooLarge { max: self.message_max_bytes });
        }
        Ok(())
    }

    fn event(&mut self, header: &Header, payload: Vec<u8>) -> Result<Option<Event>, Violation> {
        match header.opcode {
            PING => return Ok(Some(Event::Ping(payload))),
            PONG => return Ok(Some(Event::Pong)),
            CLOSE => return close(&payload).map(Some),
            _ => {}
        }
        let (is_text, message) = match self.partial.take() {
            None => (header.opcode == TEXT, payload),
            Some((is_text, mut partial)) => {
                partial.extend_from_slice(&payload);
                (is_text, partial)
            }
        };
        if !header.fin {
            self.partial = Some((is_text, message));
            return Ok(None);
        }
        if !is_text {
            return Ok(Some(Event::Binary(message)));
        }
        let text = String::from_utf8(message).map_err(|_| Violation::Protocol("text must be UTF-8"))?;
        Ok(Some(Event::Text(text)))
    }
}

fn close(payload: &[u8]) -> Result<Event, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(Event::Close(None)),
            _ => Err(Violation::Protocol("a close code has two bytes")),
        };
    };
    let code = u16::from_be_bytes(*code);
    let known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !known || std::str::from_utf8(reason).is_err() {
        return Err(Violation::Protocol("a close frame needs a sendable code and a UTF-8 reason"));
    }
    Ok(Event::Close(Some(code)))
}

/// Appends the header of an unmasked text message of that many bytes.
pub fn text_header(payload_bytes: usize, out: &mut Vec<u8>) {
    header(TEXT, payload_bytes, out);
}

/// Appends the header of an unmasked binary message of that many bytes.
pub fn binary_header(payload_bytes: usize, out: &mut Vec<u8>) {
    header(BINARY, payload_bytes, out);
}

/// Appends a whole ping without a payload.
pub fn ping(out: &mut Vec<u8>) {
    header(PING, 0, out);
}

/// Appends a whole pong.
pub fn pong(payload: &[u8], out: &mut Vec<u8>) {
    header(PONG, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a whole close frame; the reason is cut to what fits.
pub fn close_frame(code: Option<u16>, reason: &str, out: &mut Vec<u8>) {
    let Some(code) = code else { return header(CLOSE, 0, out) };
    let reason = &reason[..reason.floor_char_boundary(CONTROL_MAX_BYTES as usize - 2)];
    header(CLOSE, 2 + reason.len(), out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Returns the length of a header of ours before that many bytes.
pub fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

fn header(opcode: u8, payload_bytes: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload_bytes {
        0..=125 => out.push(payload_bytes as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Makes a client's frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        header(0, payload.len(), &mut out);
        out[0] = first;
        out[1] |= 0x80;
        let mask = [1, 2, 3, 4];
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        out
    }

    fn all(bytes: &[u8], step: usize) -> Result<Vec<Event>, Violation> {
        let (mut decoder, mut events) = (Decoder::new(70_000), Vec::new());
        for chunk in bytes.chunks(step.max(1)) {
            decoder.feed(chunk);
            while let Some(event) = decoder.next_event()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    #[test]
    fn fragments_are_joined_and_control_frames_may_stand_between() {
        let mut bytes = frame(0x01, b"he");
        bytes.extend(frame(0x89, b"?"));
        bytes.extend(frame(0x00, b"l"));
        bytes.extend(frame(0x80, b"lo"));
        bytes.extend(frame(0x88, &[0x03, 0xe8]));
        let want =
            vec![Event::Ping(b"?".to_vec()), Event::Text("hello".to_owned()), Event::Close(Some(1000))];
        for step in [1, 3, 1000] {
            assert_eq!(all(&bytes, step), Ok(want.clone()));
        }
    }

    #[test]
    fn binary_is_taken_where_it_has_a_meaning() {
        let mut decoder = Decoder::new(4).with_binary();
        decoder.feed(&[frame(0x02, b"\xff\x00"), frame(0x80, b"\x01"), frame(0x81, b"a")].concat());
        assert_eq!(decoder.next_event(), Ok(Some(Event::Binary(vec![255, 0, 1]))));
        assert_eq!(decoder.next_event(), Ok(Some(Event::Text("a".to_owned()))));
        decoder.feed(&[frame(0x02, b"ab"), frame(0x80, b"cde")].concat());
        assert_eq!(decoder.next_event(), Err(Violation::TooLarge { max: 4 }));
    }

    #[test]
    fn every_breach_is_refused() {
        let mut unmasked = Vec::new();
        text_header(1, &mut unmasked);
        for (bytes, want) in [
            (frame(0x82, b"x"), Violation::Binary),
            (frame(0x81, &vec![b'x'; 70_001]), Violation::TooLarge { max: 70_000 }),
            (unmasked, Violation::Protocol("a client must mask its frames")),
            (frame(0xc1, b"x"), Violation::Protocol("reserved bits are set, but no extension was agreed on")),
            (frame(0x80, b"x"), Violation::Protocol("a continuation without a message")),
            (
                [frame(0x01, b"x"), frame(0x81, b"y")].concat(),
                Violation::Protocol("a message begins inside another"),
            ),
            (frame(0x09, b"x"), Violation::Protocol("a control frame has no fragments")),
            (frame(0x89, &[0; 126]), Violation::Protocol("a control frame has at most 125 bytes")),
            (frame(0x83, b"x"), Violation::Protocol("unknown opcode")),
            (frame(0x81, b"\xff"), Violation::Protocol("text must be UTF-8")),
            (frame(0x88, b"x"), Violation::Protocol("a close code has two bytes")),
            (
                frame(0x88, &[0, 1]),
                Violation::Protocol("a close frame needs a sendable code and a UTF-8 reason"),
            ),
        ] {
            assert_eq!(all(&bytes, 1000), Err(want));
        }
    }

    #[test]
    fn a_header_is_as_long_as_it_is_said_to_be() {
        for payload_bytes in [0, 125, 126, 0xffff, 0x1_0000] {
            let mut out = Vec::new();
            text_header(payload_bytes, &mut out);
            assert_eq!(out.len(), header_bytes(payload_bytes), "{payload_bytes}");
        }
    }

    #[test]
    fn a_frame_past_the_bound_is_refused_by_its_header_alone() {
        let mut decoder = Decoder::new(1000);
        decoder.feed(&frame(0x81, &[b'x'; 100_000])[..10]);
        assert_eq!(decoder.next_event(), Err(Violation::TooLarge { max: 1000 }));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1..20_usize) {
            let _ = all(&bytes, step);
        }

        #[test]
        fn any_text_comes_through_in_any_pieces(text in ".{0,200}", repeat in 1..400_usize, step in 1..500_usize) {
            let text = text.repeat(repeat);
            prop_assume!(text.len() <= 70_000);
            prop_assert_eq!(all(&frame(0x81, text.as_bytes()), step), Ok(vec![Event::Text(text)]));
        }
    }
}
