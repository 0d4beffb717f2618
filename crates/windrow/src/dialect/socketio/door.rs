//! Door: where HTTP requests meet the task that owns their session.
//!
//! **In** polls, bodies and sockets, from any task. **Out** each of them, to the one task that owns the session; its answers.
//! **Invariant:** one slot each: a second poll or a second body while the first waits is a breach that ends the session, so
//! nothing can pile up here. What was shut stays shut, and whoever waits is told. **Not here:** what bodies mean (`connection`).

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::upgrade::Upgraded;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// One session's door.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// The client said in its handshake that it takes text alone; its polls do not repeat it.
    is_text_only: bool,
    slots: Mutex<Slots>,
    waker: AtomicWaker,
}

#[derive(Debug, Default)]
struct Slots {
    mode: Mode,
    poll: Option<Waiting>,
    is_posting: bool,
    post: Option<Post>,
    socket: Option<Upgraded>,
    is_probing: bool,
    breach: Option<Breach>,
    rang: bool,
}

#[derive(Debug)]
struct Waiting {
    takes_binary: bool,
    answer: oneshot::Sender<Payload>,
}

/// What carries the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// Requests.
    #[default]
    Polling,
    /// A WebSocket: requests are refused.
    Socket,
    /// Nothing any more.
    Shut,
}

/// The body of an answered poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) bytes: Vec<u8>,
    pub(super) is_binary: bool,
}

/// A body and who waits until it is taken.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) body: Bytes,
    pub(super) taken: oneshot::Sender<Taken>,
}

/// What became of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Every packet was taken.
    Whole,
    /// It is not a payload.
    Malformed,
}

/// Why a request ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breach {
    /// A second poll, or a second body, while the first waits.
    Overlap,
    /// A body past the bound.
    TooLarge,
    /// A body that did not come.
    Cut,
    /// A poll that its client gave up: it cannot be known what was on its way.
    GivenUp,
}

/// What came through the door since it was last looked at.
#[derive(Debug)]
pub(super) struct Knocked {
    pub(super) post: Option<Post>,
    pub(super) socket: Option<Upgraded>,
    pub(super) breach: Option<Breach>,
}

/// The request cannot be taken now, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

impl Door {
    pub(super) fn new(is_text_only: bool) -> Self {
        Self { is_text_only, ..Self::default() }
    }

    fn knock(&self, change: impl FnOnce(&mut Slots)) {
        let mut slots = self.slots.lock();
        change(&mut slots);
        slots.rang = true;
        drop(slots);
        self.waker.wake();
    }

    /// Enters a poll; the answer comes when there is something to say.
    pub(super) fn poll(&self, takes_binary: bool) -> Result<oneshot::Receiver<Payload>, Refused> {
        let (answer, answered) = oneshot::channel();
        let mut is_refused = true;
        self.knock(|slots| {
            if slots.mode != Mode::Polling {
                return;
            }
            if slots.poll.as_ref().is_some_and(|waiting| !waiting.answer.is_closed()) {
                slots.breach = Some(Breach::Overlap);
                return;
            }
            let takes_binary = takes_binary && !self.is_text_only;
            slots.poll = Some(Waiting { takes_binary, answer });
            is_refused = false;
        });
        if is_refused { Err(Refused) } else { Ok(answered) }
    }

    /// Waits for the answer to a poll; `None`: the session ended. Dropped before, which is how a client hangs up, it ends the session.
    pub(super) async fn answered(&self, answer: oneshot::Receiver<Payload>) -> Option<Payload> {
        let mut watch = Watch { door: self, is_over: false };
        let payload = answer.await.ok();
        watch.is_over = true;
        payload
    }

    /// Reserves the place of a body, before any of it is read.
    pub(super) fn post(self: &Arc<Self>) -> Result<Ticket, Refused> {
        let mut slots = self.slots.lock();
        if slots.mode != Mode::Polling {
            return Err(Refused);
        }
        if slots.is_posting {
            drop(slots);
            self.knock(|slots| slots.breach = Some(Breach::Overlap));
            return Err(Refused);
        }
        slots.is_posting = true;
        Ok(Ticket { door: self.clone(), is_over: false })
    }

    /// Reserves the place of a socket that wants to take over. False: the session does not poll, or another one tries already.
    pub(super) fn may_probe(&self) -> bool {
        let mut slots = self.slots.lock();
        let may = slots.mode == Mode::Polling && !slots.is_probing;
        slots.is_probing |= may;
        may
    }

    /// Hands the socket over, or word that it did not come.
    pub(super) fn probe(&self, socket: Option<Upgraded>) {
        self.knock(|slots| match socket {
            Some(socket) if slots.mode == Mode::Polling => slots.socket = Some(socket),
            _ => slots.is_probing = false,
        });
    }

    /// Says that the socket that tried to take over is gone.
    pub(super) fn probe_is_over(&self) {
        self.slots.lock().is_probing = false;
    }

    /// Takes what came; the owner's task is woken by the next.
    pub(super) fn look(&self, cx: &mut Context<'_>) -> Poll<Knocked> {
        self.waker.register(cx.waker());
        let mut slots = self.slots.lock();
        if !std::mem::take(&mut slots.rang) {
            return Poll::Pending;
        }
        let (post, socket) = (slots.post.take(), slots.socket.take());
        Poll::Ready(Knocked { post, socket, breach: slots.breach.take() })
    }

    /// Tells whether a poll waits, and whether it takes bytes as they are.
    pub(super) fn waits(&self) -> Option<bool> {
        let slots = self.slots.lock();
        slots.poll.as_ref().filter(|waiting| !waiting.answer.is_closed()).map(|waiting| waiting.takes_binary)
    }

    /// Answers the poll that waits. False: its client is gone, and nothing was said.
    pub(super) fn answer(&self, payload: Payload) -> bool {
        let waiting = self.slots.lock().poll.take();
        waiting.is_some_and(|waiting| waiting.answer.send(payload).is_ok())
    }

    /// Lets the next body in.
    pub(super) fn post_is_over(&self) {
        self.slots.lock().is_posting = false;
    }

    /// Changes what carries the session; who waits for a body to be taken learns that from its owner.
    pub(super) fn set(&self, mode: Mode) {
        let mut slots = self.slots.lock();
        slots.mode = mode;
        if mode == Mode::Shut {
            let (poll, post, socket) = (slots.poll.take(), slots.post.take(), slots.socket.take());
            drop(slots);
            drop((poll, post, socket));
        }
    }
}

/// Watches over a poll that waits.
struct Watch<'a> {
    door: &'a Door,
    is_over: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.door.knock(|slots| {
                if slots.mode == Mode::Polling {
                    slots.breach = Some(Breach::GivenUp);
                }
            });
        }
    }
}

/// The place of one body.
#[derive(Debug)]
pub(super) struct Ticket {
    door: Arc<Door>,
    is_over: bool,
}

impl Ticket {
    /// Hands the whole body over. The answer comes when all its packets were taken; an error: the session ended.
    pub(super) fn deliver(mut self, body: Bytes) -> oneshot::Receiver<Taken> {
        self.is_over = true;
        let (taken, waits) = oneshot::channel();
        self.door.knock(|slots| {
            if slots.mode == Mode::Polling {
                slots.post = Some(Post { body, taken });
            }
        });
        waits
    }

    /// Ends the session.
    pub(super) fn breach(mut self, breach: Breach) {
        self.is_over = true;
        self.door.knock(|slots| slots.breach = Some(breach));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The client hung up with its body half said.
        if !self.is_over {
            self.door.knock(|slots| slots.breach = Some(Breach::Cut));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(door: &Door) -> Option<Knocked> {
        match door.look(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(knocked) => Some(knocked),
            Poll::Pending => None,
        }
    }

    fn payload() -> Payload {
        Payload { bytes: b"6".to_vec(), is_binary: false }
    }

    #[test]
    fn a_second_poll_while_one_waits_is_a_breach_and_one_whose_client_is_gone_is_none() {
        let door = Door::default();
        let first = door.poll(true).unwrap();
        assert_eq!(door.waits(), Some(true));
        assert!(look(&door).is_some_and(|knocked| knocked.breach.is_none()));
        assert!(look(&door).is_none());
        assert_eq!(door.poll(true).err(), Some(Refused));
        assert_eq!(look(&door).and_then(|knocked| knocked.breach), Some(Breach::Overlap));
        drop(first);
        assert_eq!(door.waits(), None);
        assert!(!door.answer(payload()), "nobody is told, so nothing may be lost");
        let mut second = door.poll(false).unwrap();
        assert!(door.answer(payload()));
        assert_eq!(second.try_recv(), Ok(payload()));
    }

    #[tokio::test]
    async fn a_poll_that_is_given_up_is_a_breach_and_one_that_was_answered_is_none() {
        let door = Door::default();
        let mut waits = Box::pin(door.answered(door.poll(true).unwrap()));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(waits);
        assert_eq!(look(&door).and_then(|knocked| knocked.breach), Some(Breach::GivenUp));
        let answer = door.poll(true).unwrap();
        assert!(door.answer(payload()));
        assert_eq!(door.answered(answer).await, Some(payload()));
        assert_eq!(look(&door).and_then(|knocked| knocked.breach), None);
    }

    #[test]
    fn a_client_that_takes_text_alone_is_known_by_its_handshake() {
        let door = Door::new(true);
        let _poll = door.poll(true).unwrap();
        assert_eq!(door.waits(), Some(false));
    }

    #[test]
    fn one_body_at_a_time_and_one_that_is_cut_is_a_breach() {
        let door = Arc::new(Door::default());
        let ticket = door.post().unwrap();
        assert!(door.post().is_err());
        assert_eq!(look(&door).and_then(|knocked| knocked.breach), Some(Breach::Overlap));
        let mut taken = ticket.deliver(Bytes::from_static(b"4a"));
        assert!(door.post().is_err(), "the first is not taken yet");
        look(&door).and_then(|knocked| knocked.post).unwrap().taken.send(Taken::Whole).unwrap();
        assert_eq!(taken.try_recv(), Ok(Taken::Whole));
        door.post_is_over();
        drop(door.post().unwrap());
        assert_eq!(look(&door).and_then(|knocked| knocked.breach), Some(Breach::Cut));
    }

    #[test]
    fn what_is_shut_lets_nobody_in_and_tells_who_waits() {
        let door = Arc::new(Door::default());
        let mut poll = door.poll(true).unwrap();
        let mut body = door.post().unwrap().deliver(Bytes::new());
        door.set(Mode::Shut);
        assert!(poll.try_recv().is_err() && body.try_recv().is_err());
        assert!(door.poll(true).is_err() && door.post().is_err() && !door.may_probe());
    }
}
