//! Identity: under which member id did the partitions come that this member holds?
//!
//! **In** partitions that come and go, the id that the group knows the member by now. **Out** whether it is still the one that they
//! came under. **Invariant:** partitions are held under one id. A member that the group forgot joins anew, under another id, and
//! librdkafka keeps its partitions through that when it hears of it in the answer to a join, where it does not call them lost. Meanwhile
//! they were another's, and a membership of the new id would commit over what that one did.
//!
//! **Not here:** what follows (`group`).

use std::{collections::BTreeSet, ffi::CStr};

use rdkafka::{
    bindings::{rd_kafka_mem_free, rd_kafka_memberid},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
};

use crate::log::Tp;

/// The partitions that a member holds.
#[derive(Debug, Default)]
pub(super) struct Identity {
    id: String,
    held: BTreeSet<Tp>,
}

impl Identity {
    /// Partitions came while the member had this id.
    pub(super) fn came(&mut self, tps: &[Tp], id: String) {
        if self.held.is_empty() {
            self.id = id;
        }
        self.held.extend(tps.iter().cloned());
    }

    pub(super) fn went(&mut self, tps: &[Tp]) {
        tps.iter().for_each(|tp| _ = self.held.remove(tp));
    }

    /// Tells whether the member is another one now than the one that its partitions came to. Between two memberships it has
    /// no id, and nothing can be said yet.
    pub(super) fn is_renamed(&self, id: &str) -> bool {
        !self.held.is_empty() && !id.is_empty() && self.id != id
    }
}

/// Asks librdkafka for the id by which the group knows the member; empty when it is none.
pub(super) fn member_id<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> String {
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives as long as `consumer`; the text is a copy that is ours to give back, and ends with a zero.
    unsafe {
        let text = rd_kafka_memberid(client);
        if text.is_null() {
            return String::new();
        }
        let id = CStr::from_ptr(text).to_string_lossy().into_owned();
        rd_kafka_mem_free(client, text.cast());
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_under_another_id_holds_nothing_that_came_under_the_old_one() {
        let (a, b) = (Tp::new("t", 0), Tp::new("t", 1));
        let mut identity = Identity::default();
        assert!(!identity.is_renamed("one"), "who holds nothing may be anybody");
        identity.came(std::slice::from_ref(&a), "one".into());
        identity.came(std::slice::from_ref(&b), "one".into());
        assert!(!identity.is_renamed("one"));
        assert!(!identity.is_renamed(""), "between two memberships");
        assert!(identity.is_renamed("two"));
        identity.came(&[], "two".into());
        assert!(identity.is_renamed("two"), "more partitions make the old ones no truer");
        identity.went(&[a, b]);
        identity.came(&[Tp::new("t", 2)], "two".into());
        assert!(!identity.is_renamed("two"));
    }
}
