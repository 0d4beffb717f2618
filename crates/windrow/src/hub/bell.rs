//! Bells: how a channel tells a session that there is news, without queueing anything.
//!
//! **In** rings, from any thread. **Out** which of the session's seats have news since it last asked.
//! **Invariant:** a ring is never lost; many rings before the session looks are one. **Not here:** the news.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

/// Seats share 63 bits; a session asks all seats of a bit. The last bit is the goodbye.
const SEAT_BITS: usize = 63;
const GOODBYE: u64 = 1 << 63;

/// One session's bell.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicU64,
    waker: AtomicWaker,
}

/// The seats that rang.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rung(u64);

impl Bell {
    /// Rings for one seat.
    pub fn ring(&self, seat: usize) {
        self.set(1 << (seat % SEAT_BITS));
    }

    /// Tells the session to say goodbye.
    pub fn goodbye(&self) {
        self.set(GOODBYE);
    }

    fn set(&self, bit: u64) {
        if self.rung.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.waker.wake();
        }
    }

    /// Takes what rang; the task is woken by the next ring.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Rung> {
        self.waker.register(cx.waker());
        match self.rung.swap(0, Ordering::AcqRel) {
            0 => Poll::Pending,
            rung => Poll::Ready(Rung(rung)),
        }
    }
}

impl Rung {
    /// Tells whether the seat may have news.
    pub fn has(self, seat: usize) -> bool {
        self.0 & (1 << (seat % SEAT_BITS)) != 0
    }

    /// Marks a seat.
    pub fn add(&mut self, seat: usize) {
        self.0 |= 1 << (seat % SEAT_BITS);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: Rung) {
        self.0 |= other.0;
    }

    /// Tells whether it is time to go.
    pub fn is_goodbye(self) -> bool {
        self.0 & GOODBYE != 0
    }

    /// Tells whether any seat rang.
    pub fn any_seat(self) -> bool {
        self.0 & !GOODBYE != 0
    }
}

/// A bell and the seat to ring it for.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The session's bell.
    pub bell: Arc<Bell>,
    /// Which of its subscriptions.
    pub number: u32,
}

impl Seat {
    /// Rings.
    pub fn ring(&self) {
        self.bell.ring(self.number as usize);
    }
}
