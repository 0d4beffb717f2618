//! Groups: who owns which partition, decided here because all members live in this process.
//!
//! **In** joins, leaves, answers, topics, the time. **Out** events for members, and the check that fences transactions.
//! **Invariant:** a partition has one owner at a time, and moves only when its owner has answered, left, or let the
//! deadline pass; then a transaction that names it is refused, however late it comes.
//! **Not here:** waiting (`member`), offsets (`commit`).
//!
//! Source: KIP-429 for revoking before assigning; the sticky assignor for moving as few partitions as possible.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use self::assign::assign;
use crate::log::{GroupEvent, GroupOptions, LogError, Result, Roster, Topic, Tp};

mod assign;
#[cfg(test)]
mod tests;

/// A member's number, never used twice.
pub(super) type MemberId = u64;

/// How long a member may take to finish its transaction when partitions are asked back: the same as the longest commit
/// that Kafka is told to wait for, three times over.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Membership at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    member: MemberId,
    generation: u64,
}

/// What a member has to do now.
#[derive(Debug)]
pub(super) enum Poll {
    /// Hand this over.
    Event(GroupEvent),
    /// Wait for a change, at most until then.
    Wait(Option<Instant>),
    /// Another member joined with the same instance id.
    Replaced,
}

/// All groups. There are as many as apps on this directory: one, as a rule.
#[derive(Debug)]
pub(super) struct Groups {
    all: Mutex<All>,
    changed: watch::Sender<u64>,
    answer_max: Duration,
}

#[derive(Debug, Default)]
struct All {
    groups: BTreeMap<String, Group>,
    topics: BTreeMap<Topic, i32>,
    members: MemberId,
}

#[derive(Debug, Default)]
struct Group {
    members: BTreeMap<MemberId, Member>,
    owners: BTreeMap<Tp, Owner>,
    /// Grows with each change of an owner.
    generation: u64,
}

#[derive(Debug, Default)]
struct Member {
    instance_id: Option<String>,
    topics: BTreeSet<Topic>,
    /// Owned, but not told yet.
    assigned: BTreeSet<Tp>,
    /// To be asked back.
    revoked: BTreeSet<Tp>,
    /// Taken away.
    lost: BTreeSet<Tp>,
    /// Told, and the answer is due; with each partition's generation then.
    asked: Option<Vec<(Tp, u64)>>,
    replaced: bool,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    member: MemberId,
    /// The generation in which it became the owner.
    since: u64,
    /// Asked back until then.
    until: Option<Instant>,
}

impl Groups {
    pub(super) fn new(answer_max: Duration) -> Self {
        Self { all: Mutex::default(), changed: watch::Sender::default(), answer_max }
    }

    /// Wakes with each change of any group.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Learns of a topic, new or loaded.
    pub(super) fn topic(&self, name: Topic, partitions: i32, now: Instant) {
        let mut all = self.all.lock();
        all.topics.insert(name, partitions);
        let All { groups, topics, .. } = &mut *all;
        groups.values_mut().for_each(|group| group.rebalance(topics, now + self.answer_max));
        self.wake();
    }

    pub(super) fn join(&self, options: GroupOptions, now: Instant) -> MemberId {
        let mut all = self.all.lock();
        let All { groups, topics, members } = &mut *all;
        *members += 1;
        let group = groups.entry(options.group).or_default();
        group.join(*members, options.instance_id, options.topics);
        group.rebalance(topics, now + self.answer_max);
        self.wake();
        *members
    }

    pub(super) fn leave(&self, name: &str, id: MemberId, now: Instant) {
        let mut all = self.all.lock();
        let All { groups, topics, .. } = &mut *all;
        let Some(group) = groups.get_mut(name) else { return };
        group.members.remove(&id);
        group.owners.retain(|_, owner| owner.member != id);
        if group.members.is_empty() {
            groups.remove(name);
        } else {
            group.rebalance(topics, now + self.answer_max);
        }
        self.wake();
    }

    /// Tells a member what to do; what it is told counts as told.
    pub(super) fn poll(&self, name: &str, id: MemberId, now: Instant) -> Poll {
        let mut all = self.all.lock();
        let All { groups, topics, .. } = &mut *all;
        let Some(group) = groups.get_mut(name) else { return Poll::Replaced };
        if group.expire(now) {
            group.rebalance(topics, now + self.answer_max);
            self.wake();
        }
        let until = group.owners.values().filter_map(|owner| owner.until).min();
        let Group { members, owners, .. } = group;
        let Some(member) = members.get_mut(&id) else { return Poll::Replaced };
        member.event(owners).map_or_else(
            || if member.replaced && member.asked.is_none() { Poll::Replaced } else { Poll::Wait(until) },
            Poll::Event,
        )
    }

    pub(super) fn answer(&self, name: &str, id: MemberId, now: Instant) {
        let mut all = self.all.lock();
        let All { groups, topics, .. } = &mut *all;
        let Some(group) = groups.get_mut(name) else { return };
        let Some(asked) = group.members.get_mut(&id).and_then(|m| m.asked.take()) else { return };
        for (tp, since) in asked {
            if group.owners.get(&tp).is_some_and(|owner| owner.member == id && owner.since == since) {
                group.owners.remove(&tp);
            }
        }
        group.rebalance(topics, now + self.answer_max);
        self.wake();
    }

    /// Lists members that were not replaced, and what belongs to them.
    pub(super) fn roster(&self, name: &str) -> Roster {
        let all = self.all.lock();
        let Some(group) = all.groups.get(name) else { return Roster::default() };
        Roster {
            members: group.members.values().filter(|member| !member.replaced).count(),
            is_settled: group.owners.values().all(|owner| owner.until.is_none()),
            owned: group.owners.keys().cloned().collect(),
        }
    }

    pub(super) fn ticket(&self, name: &str, id: MemberId) -> Result<Ticket> {
        let all = self.all.lock();
        let group = all.groups.get(name).filter(|g| g.members.get(&id).is_some_and(|m| !m.replaced));
        let group = group.ok_or_else(|| LogError::Fenced(format!("no longer a member of group {name}")))?;
        Ok(Ticket { member: id, generation: group.generation })
    }

    /// Refuses a ticket whose member is gone, or that names a partition it does not own since before the ticket.
    pub(super) fn check<'a>(
        &self,
        name: &str,
        ticket: &Ticket,
        tps: impl Iterator<Item = &'a Tp>,
    ) -> Result<()> {
        let all = self.all.lock();
        let group =
            all.groups.get(name).filter(|g| g.members.get(&ticket.member).is_some_and(|m| !m.replaced));
        let group = group.ok_or_else(|| LogError::Fenced(format!("no longer a member of group {name}")))?;
        for tp in tps {
            let owner = group.owners.get(tp);
            if owner.is_none_or(|o| o.member != ticket.member || o.since > ticket.generation) {
                return Err(LogError::Fenced(format!("{tp} is no longer this member's in group {name}")));
            }
        }
        Ok(())
    }

    fn wake(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}

impl Group {
    fn join(&mut self, id: MemberId, instance_id: Option<String>, topics: Vec<Topic>) {
        if instance_id.is_some() {
            let former = self.members.iter_mut().find(|(_, m)| m.instance_id == instance_id && !m.replaced);
            if let Some((&former, _)) = former {
                self.replace(former);
            }
        }
        let topics = topics.into_iter().collect();
        self.members.insert(id, Member { instance_id, topics, ..Member::default() });
    }

    /// Takes everything from a member whose instance id has come again.
    fn replace(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let owned = self.owners.extract_if(.., |_, owner| owner.member == id).map(|(tp, _)| tp);
        member.lost.extend(owned.filter(|tp| !member.assigned.contains(tp)));
        member.assigned.clear();
        member.revoked.clear();
        member.replaced = true;
    }

    /// Takes partitions whose answer is overdue.
    fn expire(&mut self, now: Instant) -> bool {
        let overdue = self.owners.extract_if(.., |_, owner| owner.until.is_some_and(|until| until <= now));
        let overdue: Vec<_> = overdue.collect();
        for (tp, owner) in &overdue {
            if let Some(member) = self.members.get_mut(&owner.member) {
                member.revoked.remove(tp);
                member.lost.insert(tp.clone());
            }
        }
        !overdue.is_empty()
    }

    fn rebalance(&mut self, topics: &BTreeMap<Topic, i32>, until: Instant) {
        let wanted = assign(&self.members, &self.owners, topics);
        let owned: Vec<Tp> = self.owners.keys().cloned().collect();
        for tp in owned {
            self.give_back(&tp, wanted.get(&tp).copied(), until);
        }
        for (tp, id) in wanted {
            if !self.owners.contains_key(&tp)
                && let Some(member) = self.members.get_mut(&id)
            {
                self.generation += 1;
                self.owners.insert(tp.clone(), Owner { member: id, since: self.generation, until: None });
                member.assigned.insert(tp);
            }
        }
    }

    /// Asks a partition back from its owner when another shall have it, or takes the question back.
    fn give_back(&mut self, tp: &Tp, wanted: Option<MemberId>, until: Instant) {
        let Some(owner) = self.owners.get_mut(tp) else { return };
        let Some(member) = self.members.get_mut(&owner.member) else { return };
        if wanted == Some(owner.member) {
            if member.revoked.remove(tp) {
                owner.until = None;
            }
        } else if member.assigned.remove(tp) {
            self.owners.remove(tp);
        } else if owner.until.is_none() {
            member.revoked.insert(tp.clone());
            owner.until = Some(until);
        }
    }
}

impl Member {
    /// Takes the next event: what was lost first, what is new last.
    fn event(&mut self, owners: &BTreeMap<Tp, Owner>) -> Option<GroupEvent> {
        if self.asked.is_some() {
            return None;
        }
        let list = |tps: &mut BTreeSet<Tp>| std::mem::take(tps).into_iter().collect::<Vec<_>>();
        if !self.lost.is_empty() {
            self.asked = Some(Vec::new());
            return Some(GroupEvent::Lost(list(&mut self.lost)));
        }
        if !self.revoked.is_empty() {
            let tps = list(&mut self.revoked);
            let since = |tp: &Tp| owners.get(tp).map(|owner| (tp.clone(), owner.since));
            self.asked = Some(tps.iter().filter_map(since).collect());
            return Some(GroupEvent::Revoked(tps));
        }
        (!self.assigned.is_empty()).then(|| GroupEvent::Assigned(list(&mut self.assigned)))
    }
}
