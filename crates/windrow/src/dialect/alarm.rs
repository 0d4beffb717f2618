//! Alarm: wakes a connection when the next thing is due.
//!
//! **In** when something is due, asked anew at every turn. **Out** ready when a time has come; it may have moved on since.
//! **Invariant:** a time that moves away costs nothing: the timer is set again only for an earlier one.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep};

/// One connection's only timer.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Pin<Box<Sleep>>,
    set_to: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self { timer: Box::pin(tokio::time::sleep_until(Instant::now())), set_to: None }
    }

    /// Becomes ready at `due` at the latest; the task is woken for it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, due: Option<Instant>) -> Poll<()> {
        let Some(due) = due else { return Poll::Pending };
        if self.set_to.is_none_or(|at| due < at) {
            self.timer.as_mut().reset(due);
            self.set_to = Some(due);
        }
        ready!(self.timer.as_mut().poll(cx));
        self.set_to = None;
        Poll::Ready(())
    }
}
