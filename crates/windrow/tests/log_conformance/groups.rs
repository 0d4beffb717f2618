//! Groups: every partition has one owner, and moves only when that one has answered.

use std::{collections::BTreeSet, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use windrow::log::{Group, GroupEvent, Membership, Topic, Tp};

use crate::{
    bed::{Bed, QUIET, unique},
    eventually::within,
    transactions::{next_event, options},
};

/// A member that answers by itself, driven by a task.
pub(crate) struct Member {
    owned: watch::Receiver<BTreeSet<Tp>>,
    proofs: mpsc::UnboundedSender<oneshot::Sender<Membership>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Member {
    pub(crate) async fn join(
        bed: &Bed,
        group: &str,
        topic: &Topic,
        instance_id: Option<String>,
    ) -> Arc<Self> {
        let group = within("join", bed.log.group(options(group, topic, instance_id))).await.unwrap();
        let (tell, owned) = watch::channel(BTreeSet::new());
        let (proofs, asked) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(drive(group, tell, asked, stopped));
        Arc::new(Self { owned, proofs, stop, task })
    }

    /// Waits until it owns so many.
    pub(crate) async fn owns(&self, count: usize) {
        let mut owned = self.owned.clone();
        within(&format!("own {count}"), owned.wait_for(|owned| owned.len() == count)).await.unwrap();
    }

    pub(crate) fn owned(&self) -> BTreeSet<Tp> {
        self.owned.borrow().clone()
    }

    pub(crate) fn membership(&self) -> Membership {
        let (answer, mut answered) = oneshot::channel();
        self.proofs.send(answer).unwrap();
        tokio::task::block_in_place(|| {
            loop {
                match answered.try_recv() {
                    Ok(proof) => return proof,
                    Err(oneshot::error::TryRecvError::Empty) => std::thread::yield_now(),
                    Err(e) => panic!("the member is gone: {e}"),
                }
            }
        })
    }

    pub(crate) async fn leave(self: Arc<Self>) {
        let Some(this) = Arc::into_inner(self) else { panic!("somebody holds the member") };
        this.stop.send(()).unwrap();
        within("leave", this.task).await.unwrap();
    }
}

async fn drive(
    mut group: Box<dyn Group>,
    tell: watch::Sender<BTreeSet<Tp>>,
    mut asked: mpsc::UnboundedReceiver<oneshot::Sender<Membership>>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        tokio::select! {
            event = group.next() => {
                tell.send_modify(|owned| match event.unwrap() {
                    GroupEvent::Assigned(tps) => owned.extend(tps),
                    GroupEvent::Revoked(tps) | GroupEvent::Lost(tps) => owned.retain(|tp| !tps.contains(tp)),
                });
                group.answer();
            }
            Some(answer) = asked.recv() => drop(answer.send(group.membership().unwrap())),
            _ = &mut stopped => break,
        }
    }
    group.leave().await.unwrap();
}

pub(crate) async fn partitions_move_after_the_answer(bed: Bed) {
    let topic = bed.topic(2).await;
    let group = unique("g");
    let mut first = within("join", bed.log.group(options(&group, &topic, None))).await.unwrap();
    let GroupEvent::Assigned(all) = next_event(&mut *first).await else { panic!("assigned first") };
    assert_eq!(all.len(), 2);
    first.answer();
    let second = Member::join(&bed, &group, &topic, None).await;
    let asked = loop {
        match next_event(&mut *first).await {
            GroupEvent::Revoked(tps) if !tps.is_empty() => break tps,
            GroupEvent::Assigned(tps) if tps.is_empty() => first.answer(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked.len(), 1);
    let early = tokio::time::timeout(QUIET, second.owns(1)).await;
    assert!(early.is_err(), "owned before the answer");
    first.answer();
    // Some logs need both to be driven until it settles.
    within("the partition moves", async {
        tokio::select! {
            () = second.owns(1) => {}
            event = async { loop {
                match first.next().await.unwrap() {
                    GroupEvent::Assigned(tps) if tps.is_empty() => first.answer(),
                    other => return other,
                }
            }} => panic!("{event:?}"),
        }
    })
    .await;
    assert_eq!(second.owned().into_iter().collect::<Vec<_>>(), asked);
    first.leave().await.unwrap();
    second.owns(2).await;
    second.leave().await;
}

pub(crate) async fn three_members_share_and_take_over(bed: Bed) {
    let topic = bed.topic(6).await;
    let group = unique("g");
    let mut members = Vec::new();
    for share in [6, 3, 2] {
        members.push(Member::join(&bed, &group, &topic, None).await);
        for member in &members {
            member.owns(share).await;
        }
    }
    let union: BTreeSet<Tp> = members.iter().flat_map(|m| m.owned()).collect();
    assert_eq!(union.len(), 6, "each partition has one owner");
    members.remove(1).leave().await;
    for member in &members {
        member.owns(3).await;
    }
    for member in members {
        member.leave().await;
    }
}
