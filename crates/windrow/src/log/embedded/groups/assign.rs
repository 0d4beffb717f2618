//! Who shall own what: balanced, and as few moves as possible.
//!
//! **In** members with their subscriptions, present owners, topics. **Out** one member per partition.
//! **Invariant:** no member has two partitions more than another that could take one of them.

use std::collections::BTreeMap;

use super::{Member, MemberId, Owner};
use crate::log::{Topic, Tp};

/// Returns the wanted owner of each partition that some member subscribed to.
pub(super) fn assign(
    members: &BTreeMap<MemberId, Member>,
    owners: &BTreeMap<Tp, Owner>,
    topics: &BTreeMap<Topic, i32>,
) -> BTreeMap<Tp, MemberId> {
    let takes = |id: MemberId, topic: &Topic| {
        members.get(&id).is_some_and(|member| !member.replaced && member.topics.contains(topic))
    };
    let mut held: BTreeMap<MemberId, Vec<Tp>> =
        members.iter().filter(|(_, m)| !m.replaced).map(|(id, _)| (*id, Vec::new())).collect();
    let mut free = Vec::new();
    for (topic, partitions) in topics {
        for tp in (0..*partitions).map(|n| Tp::new(topic.clone(), n)) {
            match owners.get(&tp) {
                Some(owner) if takes(owner.member, topic) => held.entry(owner.member).or_default().push(tp),
                _ => free.push(tp),
            }
        }
    }
    for tp in free {
        let fewest =
            held.iter_mut().filter(|(id, _)| takes(**id, &tp.topic)).min_by_key(|(_, tps)| tps.len());
        if let Some((_, tps)) = fewest {
            tps.push(tp);
        }
    }
    while let Some((from, at, to)) = unbalanced(&held, takes) {
        let moved = held.get_mut(&from).map(|tps| tps.remove(at));
        held.entry(to).or_default().extend(moved);
    }
    held.into_iter().flat_map(|(id, tps)| tps.into_iter().map(move |tp| (tp, id))).collect()
}

/// Finds a partition that makes things more equal when it moves: each such move lowers the sum of squares, so they end.
fn unbalanced(
    held: &BTreeMap<MemberId, Vec<Tp>>,
    takes: impl Fn(MemberId, &Topic) -> bool,
) -> Option<(MemberId, usize, MemberId)> {
    let mut by_count: Vec<_> = held.iter().collect();
    by_count.sort_by_key(|(_, tps)| tps.len());
    for (from, tps) in by_count.iter().rev() {
        for (to, fewer) in &by_count {
            if fewer.len() + 2 > tps.len() {
                break;
            }
            if let Some(at) = tps.iter().rposition(|tp| takes(**to, &tp.topic)) {
                return Some((**from, at, **to));
            }
        }
    }
    None
}
