//! Access: what each connection of ours to a cluster needs to know.
//!
//! **In** how to enter, and the names that we go by. **Out** verdicts on whether to knock now. **Invariant:** who refused us is left alone
//! for a pause that doubles up to [`REFUSED_MAX`], over all connections of this process: a wrong password must not lock an account. Meanwhile
//! its reason is the answer. **Not here:** connecting (`wire`).

use std::time::Duration;

use hashbrown::HashMap;
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::security::Entry;
use crate::log::{LogError, Result};

/// First pause after a refusal, and the longest.
const REFUSED_MIN: Duration = Duration::from_secs(1);
const REFUSED_MAX: Duration = Duration::from_secs(30);
/// Addresses remembered; brokers are far fewer, but what a mad one tells must not grow for ever.
const ADDRESSES_MAX: usize = 1_024;

/// See the module.
#[derive(Default)]
pub(super) struct Access {
    /// How to enter.
    pub(super) entry: Entry,
    /// `client.id`: quotas go by it.
    pub(super) client_id: StrBytes,
    /// `client.rack`: leaders send us to a replica that stands there.
    pub(super) rack: StrBytes,
    refused: Mutex<HashMap<String, Refused>>,
}

struct Refused {
    until: Instant,
    pause: Duration,
    why: String,
}

impl Access {
    pub(super) fn new(entry: Entry, client_id: &str, rack: &str) -> Self {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        Self { entry, client_id: text(client_id), rack: text(rack), refused: Mutex::default() }
    }

    /// Tells whether a broker may be asked to let us in.
    ///
    /// - **Errors:** `Retry` with its last reason, while its pause lasts.
    pub(super) fn may_knock(&self, address: &str) -> Result<()> {
        match self.refused.lock().get(address) {
            Some(refused) if Instant::now() < refused.until => Err(LogError::Retry(refused.why.clone())),
            _ => Ok(()),
        }
    }

    /// A broker let us in.
    pub(super) fn entered(&self, address: &str) {
        self.refused.lock().remove(address);
    }

    /// A broker refused us; several connections that did not know of each other count as one.
    pub(super) fn refused(&self, address: &str, why: &str) -> LogError {
        let now = Instant::now();
        let mut refused = self.refused.lock();
        if refused.len() >= ADDRESSES_MAX {
            refused.clear();
        }
        let known = refused.entry_ref(address).or_insert_with(|| Refused {
            until: now,
            pause: REFUSED_MIN / 2,
            why: String::new(),
        });
        if known.until <= now {
            known.pause = (known.pause * 2).min(REFUSED_MAX);
            known.until = now + known.pause;
            tracing::warn!(broker = address, pause = ?known.pause, why, "refused; knocking again after a pause");
        }
        why.clone_into(&mut known.why);
        LogError::Retry(why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_refused_is_left_alone_longer_each_time_and_its_reason_is_told_meanwhile() {
        let access = Access::default();
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert!(access.may_knock("b:1").is_ok());
            let _ = access.refused("b:1", "wrong password");
            let _ = access.refused("b:1", "wrong password"); // another connection, at the same time
            tokio::time::advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            let told = access.may_knock("b:1");
            assert!(matches!(&told, Err(LogError::Retry(why)) if why == "wrong password"), "{told:?}");
            assert!(access.may_knock("b:2").is_ok(), "another broker may think otherwise");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        access.entered("b:1");
        let _ = access.refused("b:1", "wrong password");
        tokio::time::advance(REFUSED_MIN).await;
        assert!(access.may_knock("b:1").is_ok(), "once let in, it begins from the shortest pause");
    }
}
