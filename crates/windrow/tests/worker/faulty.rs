//! A log that writes down what it is asked and fails where it is told; behind it is the embedded log.
//!
//! **Invariant:** what is written down is in the order in which it was asked and answered.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use windrow::log::{
    Ends, Fetched, From, Gap, Group, GroupEvent, GroupOptions, Log, LogError, Membership, Outgoing, Reader,
    ReaderOptions, Result, Roster, TopicInfo, TopicSpec, Tp, Writer, WriterOptions,
};

/// What was asked or answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did {
    /// A membership was handed out, with this number.
    Membership(u64),
    Begin,
    /// Records went to these partitions.
    Send(Vec<Tp>),
    /// Positions, with the number of the membership.
    Offsets(Vec<(Tp, i64)>, u64),
    Commit,
    Committed,
    Abort,
    /// A journal is read from its beginning.
    Restore(Tp),
    Revoked,
    Lost,
    Answer,
    /// A purge below an offset; and what the app's group had committed there.
    Purge(Tp, i64, Option<i64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Send,
    Offsets,
    Commit,
    /// Reading sources: what is told is told by a panic.
    Read,
}

pub(crate) type Fault = Box<dyn Fn() -> LogError + Send>;

pub(crate) struct Script {
    pub(crate) inner: Arc<dyn Log>,
    app: String,
    did: watch::Sender<Vec<Did>>,
    faults: Mutex<VecDeque<(At, Fault)>>,
    /// Commits wait while this is true.
    hold: watch::Sender<bool>,
    members: Mutex<Vec<mpsc::UnboundedSender<GroupEvent>>>,
    memberships: AtomicU64,
    /// The next read of a source tells of this.
    cut: Mutex<Option<(Tp, Gap)>>,
}

pub(crate) struct Faulty(pub(crate) Arc<Script>);

impl Script {
    pub(crate) fn new(inner: Arc<dyn Log>, app: &str) -> Arc<Self> {
        Arc::new(Self {
            inner,
            app: app.to_owned(),
            did: watch::Sender::default(),
            faults: Mutex::default(),
            hold: watch::Sender::default(),
            members: Mutex::default(),
            memberships: AtomicU64::new(0),
            cut: Mutex::default(),
        })
    }

    /// The next `times` calls there fail.
    pub(crate) fn fail(&self, at: At, times: usize, fault: impl Fn() -> LogError + Send + Clone + 'static) {
        let fault = |_| (at, Box::new(fault.clone()) as Fault);
        self.faults.lock().unwrap().extend((0..times).map(fault));
    }

    pub(crate) fn hold_commits(&self, hold: bool) {
        self.hold.send_replace(hold);
    }

    /// Tells the member that these are another's already.
    pub(crate) fn lose(&self, tps: Vec<Tp>) {
        self.members.lock().unwrap().last().unwrap().send(GroupEvent::Lost(tps)).unwrap();
    }

    pub(crate) fn revoke(&self, tps: Vec<Tp>) {
        self.members.lock().unwrap().last().unwrap().send(GroupEvent::Revoked(tps)).unwrap();
    }

    /// The log was cut at its end, and has the same records there again.
    pub(crate) fn cut(&self, tp: Tp, gap: Gap) {
        *self.cut.lock().unwrap() = Some((tp, gap));
    }

    pub(crate) fn did(&self) -> Vec<Did> {
        self.did.borrow().clone()
    }

    pub(crate) fn count(&self, is: impl Fn(&Did) -> bool) -> usize {
        self.did.borrow().iter().filter(|did| is(did)).count()
    }

    /// Waits until what was written down pleases.
    pub(crate) async fn until(&self, what: &str, is_there: impl Fn(&[Did]) -> bool) {
        let mut did = self.did.subscribe();
        let waited = did.wait_for(|did| is_there(did));
        if tokio::time::timeout(crate::eventually::DEADLINE, waited).await.is_err() {
            panic!("not within the deadline: {what}; it did {:?}", self.did());
        }
    }

    fn note(&self, did: Did) {
        self.did.send_modify(|all| all.push(did));
    }

    fn fault(&self, at: At) -> Result<()> {
        let mut faults = self.faults.lock().unwrap();
        match faults.front() {
            Some((of, _)) if *of == at => Err((faults.pop_front().unwrap().1)()),
            _ => Ok(()),
        }
    }
}

/// A membership with its number.
struct Numbered(u64, Membership);

#[async_trait]
impl Log for Faulty {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<bool> {
        self.0.inner.create_topic(spec).await
    }
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.0.inner.topic(name).await
    }
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.0.inner.topics().await
    }
    async fn ends(&self, tps: &[Tp]) -> Result<Vec<Ends>> {
        self.0.inner.ends(tps).await
    }
    async fn committed(&self, group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>> {
        self.0.inner.committed(group, tps).await
    }
    async fn delete_records(&self, tp: &Tp, offset: i64) -> Result<()> {
        let committed = self.0.inner.committed(&self.0.app, std::slice::from_ref(tp)).await?;
        self.0.note(Did::Purge(tp.clone(), offset, committed[0]));
        self.0.inner.delete_records(tp, offset).await
    }
    async fn add_partitions(&self, name: &str, partitions: i32) -> Result<bool> {
        self.0.inner.add_partitions(name, partitions).await
    }
    async fn delete_topic(&self, name: &str) -> Result<bool> {
        self.0.inner.delete_topic(name).await
    }
    async fn record_max_bytes(&self, name: &str) -> Result<usize> {
        self.0.inner.record_max_bytes(name).await
    }
    async fn roster(&self, group: &str) -> Result<Roster> {
        self.0.inner.roster(group).await
    }
    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>> {
        let (sender, injected) = mpsc::unbounded_channel();
        self.0.members.lock().unwrap().push(sender);
        let inner = self.0.inner.group(options).await?;
        Ok(Box::new(Member { inner, script: self.0.clone(), injected, out: Vec::new() }))
    }
    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>> {
        Ok(Box::new(Reads(self.0.inner.reader(options).await?, self.0.clone())))
    }
    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Writes(self.0.inner.writer(options).await?, self.0.clone())))
    }
}

struct Member {
    inner: Box<dyn Group>,
    script: Arc<Script>,
    injected: mpsc::UnboundedReceiver<GroupEvent>,
    /// What was taken away without the group's knowledge: it comes back with the answer.
    out: Vec<Tp>,
}

#[async_trait]
impl Group for Member {
    async fn next(&mut self) -> Result<GroupEvent> {
        let event = tokio::select! {
            event = self.inner.next() => event?,
            Some(event) = self.injected.recv() => {
                if let GroupEvent::Lost(tps) | GroupEvent::Revoked(tps) = &event {
                    self.out.clone_from(tps);
                }
                event
            }
        };
        match &event {
            GroupEvent::Assigned(_) => {}
            GroupEvent::Revoked(_) => self.script.note(Did::Revoked),
            GroupEvent::Lost(_) => self.script.note(Did::Lost),
        }
        Ok(event)
    }

    fn answer(&mut self) {
        self.script.note(Did::Answer);
        if self.out.is_empty() {
            return self.inner.answer();
        }
        let back = GroupEvent::Assigned(std::mem::take(&mut self.out));
        let _ = self.script.members.lock().unwrap().last().unwrap().send(back);
    }

    fn membership(&self) -> Result<Membership> {
        let number = self.script.memberships.fetch_add(1, Relaxed);
        self.script.note(Did::Membership(number));
        Ok(Membership(Arc::new(Numbered(number, self.inner.membership()?))))
    }

    async fn leave(self: Box<Self>) -> Result<()> {
        self.inner.leave().await
    }
}

struct Reads(Box<dyn Reader>, Arc<Script>);

#[async_trait]
impl Reader for Reads {
    fn assign(&mut self, tp: Tp, from: From) {
        if tp.topic.ends_with(".journal") || tp.topic.ends_with(".sources") {
            self.1.note(Did::Restore(tp.clone()));
        }
        self.0.assign(tp, from);
    }
    fn unassign(&mut self, tp: &Tp) {
        self.0.unassign(tp);
    }
    async fn next(&mut self) -> Result<Vec<Fetched>> {
        let answers = self.0.next().await?;
        let mut cut = self.1.cut.lock().unwrap();
        if let Some((tp, gap)) = cut.take_if(|(tp, _)| answers.iter().any(|answer| answer.tp == *tp)) {
            self.0.assign(tp.clone(), From::Offset(gap.to));
            let (next, end) = (gap.to, gap.from);
            let (batches, gap) = (Vec::new(), Some(gap));
            return Ok(vec![Fetched {
                tp,
                batches,
                from: end,
                next,
                high_watermark: end,
                last_stable: end,
                gap,
            }]);
        }
        drop(cut);
        if answers.iter().any(|answer| !answer.batches.is_empty())
            && let Err(error) = self.1.fault(At::Read)
        {
            panic!("{error}");
        }
        Ok(answers)
    }
}

struct Writes(Box<dyn Writer>, Arc<Script>);

#[async_trait]
impl Writer for Writes {
    async fn begin(&mut self) -> Result<()> {
        self.1.note(Did::Begin);
        self.0.begin().await
    }
    async fn send(&mut self, records: Vec<Outgoing>) -> Result<()> {
        let mut tps: Vec<Tp> = records.iter().map(|r| Tp::new(r.topic.clone(), r.partition)).collect();
        tps.sort();
        tps.dedup();
        self.1.note(Did::Send(tps));
        self.1.fault(At::Send)?;
        self.0.send(records).await
    }
    async fn send_offsets(&mut self, group: &str, offsets: &[(Tp, i64)], member: &Membership) -> Result<()> {
        let Numbered(number, member) = member.0.downcast_ref().unwrap();
        self.1.note(Did::Offsets(offsets.to_vec(), *number));
        self.1.fault(At::Offsets)?;
        self.0.send_offsets(group, offsets, member).await
    }
    async fn commit(&mut self) -> Result<()> {
        self.1.note(Did::Commit);
        let _ = self.1.hold.subscribe().wait_for(|hold| !hold).await;
        self.1.fault(At::Commit)?;
        self.0.commit().await?;
        self.1.note(Did::Committed);
        Ok(())
    }
    async fn abort(&mut self) -> Result<()> {
        self.1.note(Did::Abort);
        self.0.abort().await
    }
}
