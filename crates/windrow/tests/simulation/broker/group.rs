//! The group's coordinator: generations, cooperative assignment, sessions, and the fence of transactional offset commits.
//!
//! **Invariant:** a partition that a member still claims is given to nobody else before that member rejoined without it, or is
//! gone. A commit that names a member is refused when the member or its generation is not the present one; one that names none
//! is let through, as Kafka does (KIP-447).
//! Source: KIP-429 (cooperative rebalancing), KIP-345 (static membership).

use std::collections::{BTreeMap, BTreeSet};

use windrow::log::{LogError, Tp};

use crate::rng::Rng;

/// A member's number, never used twice.
pub(crate) type MemberId = u64;

/// The member's place in the group is gone: it owns nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    Fine,
    Rebalance,
    Unknown,
}

#[derive(Debug)]
struct Member {
    instance: Option<String>,
    /// The session ends then, unless the member waits in a join.
    deadline_ms: i64,
    claims: BTreeSet<Tp>,
    joined: bool,
    assigned: BTreeSet<Tp>,
}

#[derive(Debug)]
pub(crate) struct Group {
    session_ms: i64,
    rebalance_ms: i64,
    /// Partitions of all subscribed topics.
    pub(crate) partitions: BTreeSet<Tp>,
    generation: i32,
    members: BTreeMap<MemberId, Member>,
    last_id: MemberId,
    /// When a rebalance under way goes on without those who did not join; `None` = stable.
    preparing: Option<i64>,
    rng: Rng,
}

impl Group {
    pub(crate) fn new(session_ms: i64, rebalance_ms: i64, rng: Rng) -> Self {
        Self {
            session_ms,
            rebalance_ms,
            partitions: BTreeSet::new(),
            generation: 0,
            members: BTreeMap::new(),
            last_id: 0,
            preparing: None,
            rng,
        }
    }

    /// Joins, or joins again with what the member still holds; [`Group::settled`] tells when the others have as well.
    pub(crate) fn join(
        &mut self,
        id: Option<MemberId>,
        instance: Option<&str>,
        claims: BTreeSet<Tp>,
        now_ms: i64,
    ) -> Result<MemberId, Unknown> {
        let deadline_ms = now_ms + self.session_ms;
        let id = match id {
            Some(id) if !self.members.contains_key(&id) => return Err(Unknown),
            Some(id) => id,
            None => {
                self.last_id += 1;
                let twin = instance.and_then(|name| {
                    let found = self.members.iter().find(|(_, m)| m.instance.as_deref() == Some(name));
                    found.map(|(id, _)| *id)
                });
                if let Some(twin) = twin.and_then(|twin| self.members.remove(&twin)) {
                    // A static member comes back as itself, without a rebalance; its former incarnation is a stranger.
                    let stable = self.preparing.is_none();
                    self.members.insert(self.last_id, Member { deadline_ms, joined: !stable, ..twin });
                    if !stable {
                        self.members.get_mut(&self.last_id).expect("just inserted").claims.clear();
                        self.try_complete(now_ms);
                    }
                    return Ok(self.last_id);
                }
                self.last_id
            }
        };
        let instance = instance.map(str::to_owned);
        let assigned = BTreeSet::new();
        self.members.insert(id, Member { instance, deadline_ms, claims, joined: true, assigned });
        self.prepare(now_ms);
        self.try_complete(now_ms);
        Ok(id)
    }

    /// Tells generation and assignment once all have joined.
    pub(crate) fn settled(&self, id: MemberId) -> Result<Option<(i32, BTreeSet<Tp>)>, Unknown> {
        let member = self.members.get(&id).ok_or(Unknown)?;
        Ok(self.preparing.is_none().then(|| (self.generation, member.assigned.clone())))
    }

    pub(crate) fn heartbeat(&mut self, id: MemberId, generation: i32, now_ms: i64) -> Beat {
        let Some(member) = self.members.get_mut(&id) else { return Beat::Unknown };
        member.deadline_ms = now_ms + self.session_ms;
        match (self.preparing, generation == self.generation) {
            (Some(_), _) => Beat::Rebalance,
            (None, true) => Beat::Fine,
            (None, false) => Beat::Unknown,
        }
    }

    pub(crate) fn leave(&mut self, id: MemberId, now_ms: i64) {
        if self.members.remove(&id).is_some() {
            self.prepare(now_ms);
            self.try_complete(now_ms);
        }
    }

    /// New partitions, or a subscription that changed: everybody is asked to join again.
    pub(crate) fn set_partitions(&mut self, partitions: BTreeSet<Tp>, now_ms: i64) {
        if self.partitions != partitions {
            self.partitions = partitions;
            self.prepare(now_ms);
        }
    }

    /// Ends sessions and rebalances whose time is over.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        let over = |m: &Member| !m.joined && m.deadline_ms < now_ms;
        let before = self.members.len();
        self.members.retain(|_, member| !over(member));
        if self.members.len() != before {
            self.prepare(now_ms);
        }
        if self.preparing.is_some_and(|deadline_ms| deadline_ms < now_ms) {
            self.members.retain(|_, member| member.joined);
        }
        self.try_complete(now_ms);
    }

    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The fence of a commit.
    pub(crate) fn fence(&self, member: Option<(MemberId, i32)>) -> Result<(), LogError> {
        let Some((id, generation)) = member else { return Ok(()) };
        if !self.members.contains_key(&id) {
            return Err(LogError::Fenced(format!("member {id} is out of the group")));
        }
        if generation != self.generation {
            return Err(LogError::Rebalancing(format!(
                "generation {generation} was followed by {}",
                self.generation
            )));
        }
        Ok(())
    }

    fn prepare(&mut self, now_ms: i64) {
        self.preparing.get_or_insert(now_ms + self.rebalance_ms);
    }

    fn try_complete(&mut self, now_ms: i64) {
        if self.preparing.is_none() || self.members.is_empty() || self.members.values().any(|m| !m.joined) {
            return;
        }
        self.generation += 1;
        self.preparing = None;
        self.assign();
        for member in self.members.values_mut() {
            member.joined = false;
            member.deadline_ms = now_ms + self.session_ms;
        }
    }

    /// Cooperative: what one member claims and another should have goes to nobody this time.
    fn assign(&mut self) {
        let ids: Vec<MemberId> = self.members.keys().copied().collect();
        // Members and partitions are many enough to differ, and any assignor is legal: now and then all is dealt anew.
        let anew = self.rng.per_mille(250);
        let quota = self.partitions.len().div_ceil(ids.len());
        let mut held: BTreeMap<MemberId, usize> = BTreeMap::new();
        let mut owner: BTreeMap<Tp, MemberId> = BTreeMap::new();
        for (id, member) in &mut self.members {
            member.assigned.clear();
            owner.extend(member.claims.iter().map(|tp| (tp.clone(), *id)));
        }
        for tp in self.partitions.clone() {
            let claimed = owner.get(&tp).copied();
            let stays = claimed.filter(|id| !anew && held.get(id).copied().unwrap_or(0) < quota);
            let wanted = stays.unwrap_or_else(|| {
                let least = ids.iter().map(|id| held.get(id).copied().unwrap_or(0)).min().unwrap_or(0);
                let free: Vec<_> =
                    ids.iter().copied().filter(|id| held.get(id).copied().unwrap_or(0) == least).collect();
                self.rng.pick(&free)
            });
            *held.entry(wanted).or_default() += 1;
            if claimed.is_none_or(|id| id == wanted)
                && let Some(member) = self.members.get_mut(&wanted)
            {
                member.assigned.insert(tp);
            }
        }
    }
}
