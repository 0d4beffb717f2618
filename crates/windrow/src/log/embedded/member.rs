//! A member of a group: waits for events, answers them, proves its membership.
//!
//! **Invariant:** a member that is dropped has left. **Not here:** the rules (`groups`).

use std::sync::Arc;

use async_trait::async_trait;
use tokio::{sync::watch, time::Instant};

use super::{
    State,
    groups::{MemberId, Poll},
};
use crate::log::{Group, GroupEvent, GroupOptions, LogError, Membership, Result};

/// Membership in a group of the embedded log.
pub(super) struct EmbeddedGroup {
    state: Arc<State>,
    name: String,
    id: MemberId,
    changed: watch::Receiver<u64>,
}

impl EmbeddedGroup {
    pub(super) fn join(state: Arc<State>, options: GroupOptions) -> Self {
        let changed = state.groups.subscribe();
        let name = options.group.clone();
        let id = state.groups.join(options, Instant::now());
        Self { state, name, id, changed }
    }
}

#[async_trait]
impl Group for EmbeddedGroup {
    async fn next(&mut self) -> Result<GroupEvent> {
        loop {
            self.changed.borrow_and_update();
            let until = match self.state.groups.poll(&self.name, self.id, Instant::now()) {
                Poll::Event(event) => return Ok(event),
                Poll::Wait(until) => until,
                Poll::Replaced => {
                    let text = format!("another member of group {} has the same instance id", self.name);
                    return Err(LogError::Fenced(text));
                }
            };
            let deadline = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender lives in `self.state`.
                _ = self.changed.changed() => {}
                () = deadline => {}
            }
        }
    }

    fn answer(&mut self) {
        self.state.groups.answer(&self.name, self.id, Instant::now());
    }

    fn membership(&self) -> Result<Membership> {
        Ok(Membership(Arc::new(self.state.groups.ticket(&self.name, self.id)?)))
    }

    async fn leave(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for EmbeddedGroup {
    fn drop(&mut self) {
        self.state.groups.leave(&self.name, self.id, Instant::now());
    }
}
