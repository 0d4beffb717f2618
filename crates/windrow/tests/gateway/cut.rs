//! A log that loses its end when told, as a broker does after an unclean election, or what is still to be read, as retention does;
//! or knows no topics for a while, as one does that was just started; behind it is the embedded log.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use windrow::log::{
    Ends, Fetched, From, Gap, Group, GroupOptions, Log, Reader, ReaderOptions, Result, Roster, TopicInfo,
    TopicSpec, Tp, Writer, WriterOptions,
};

/// Which partitions are to lose records, and where reading goes on then.
#[derive(Clone, Default)]
pub(crate) struct Cuts(Arc<Mutex<BTreeMap<Tp, (Loss, i64)>>>, Arc<AtomicUsize>);

#[derive(Clone, Copy, PartialEq)]
enum Loss {
    End,
    Beginning,
}

impl Cuts {
    /// Cuts a partition under whoever has read past `to`; what lies there afterwards counts as written anew.
    pub(crate) fn cut(&self, tp: Tp, to: i64) {
        self.0.lock().unwrap().insert(tp, (Loss::End, to));
    }

    /// Takes what lies before `to` from whoever has not read so far.
    pub(crate) fn take(&self, tp: Tp, to: i64) {
        self.0.lock().unwrap().insert(tp, (Loss::Beginning, to));
    }
}

impl Cuts {
    /// Lets so many lists of all topics be empty.
    pub(crate) fn hide(&self, lists: usize) {
        self.1.store(lists, SeqCst);
    }

    /// Returns how many of them are still to come.
    pub(crate) fn hidden(&self) -> usize {
        self.1.load(SeqCst)
    }
}

pub(crate) struct CutLog(pub(crate) Arc<dyn Log>, pub(crate) Cuts);

#[async_trait]
impl Log for CutLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<bool> {
        self.0.create_topic(spec).await
    }
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.0.topic(name).await
    }
    async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let is_hidden = self.1.1.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if is_hidden { Ok(Vec::new()) } else { self.0.topics().await }
    }
    async fn ends(&self, tps: &[Tp]) -> Result<Vec<Ends>> {
        self.0.ends(tps).await
    }
    async fn committed(&self, group: &str, tps: &[Tp]) -> Result<Vec<Option<i64>>> {
        self.0.committed(group, tps).await
    }
    async fn delete_records(&self, tp: &Tp, offset: i64) -> Result<()> {
        self.0.delete_records(tp, offset).await
    }
    async fn delete_topic(&self, name: &str) -> Result<bool> {
        self.0.delete_topic(name).await
    }
    async fn add_partitions(&self, name: &str, partitions: i32) -> Result<bool> {
        self.0.add_partitions(name, partitions).await
    }
    async fn record_max_bytes(&self, name: &str) -> Result<usize> {
        self.0.record_max_bytes(name).await
    }
    async fn roster(&self, group: &str) -> Result<Roster> {
        self.0.roster(group).await
    }
    async fn group(&self, options: GroupOptions) -> Result<Box<dyn Group>> {
        self.0.group(options).await
    }
    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>> {
        Ok(Box::new(CutReader(self.0.reader(options).await?, self.1.clone())))
    }
    async fn writer(&self, options: WriterOptions) -> Result<Box<dyn Writer>> {
        self.0.writer(options).await
    }
}

struct CutReader(Box<dyn Reader>, Cuts);

#[async_trait]
impl Reader for CutReader {
    fn assign(&mut self, tp: Tp, from: From) {
        self.0.assign(tp, from);
    }
    fn unassign(&mut self, tp: &Tp) {
        self.0.unassign(tp);
    }
    async fn next(&mut self) -> Result<Vec<Fetched>> {
        let mut answers = self.0.next().await?;
        for answer in &mut answers {
            let mut cuts = self.1.0.lock().unwrap();
            let is_hit = |(loss, to): &(Loss, i64)| match loss {
                Loss::End => *to < answer.from,
                Loss::Beginning => *to < answer.next,
            };
            if cuts.get(&answer.tp).is_some_and(is_hit) {
                let (from, (_, to)) = (answer.from, cuts.remove(&answer.tp).unwrap());
                answer.gap = Some(Gap { from, to });
                answer.batches.clear();
                answer.next = to;
                self.0.assign(answer.tp.clone(), From::Offset(to));
            }
        }
        Ok(answers)
    }
}
