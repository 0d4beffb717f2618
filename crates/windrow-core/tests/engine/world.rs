//! One partition with its log and its journals in memory: folds, cuts, crashes and restores as a worker does.
//!
//! **Invariant:** what a cut did not hand over is lost at a restart; journals are purged as soon as the engine allows it.

use std::sync::Arc;

use bytes::Bytes;
use windrow_core::{
    batch::{Batch, BatchBuilder, Compression},
    engine::{Cut, SeriesEvent, StopReason, Task, TaskError, TaskOptions},
    journal::JournalError,
    ledger::SourceSet,
    out::{OutRecord, Target},
    plan::{Stage, StreamPlan},
    spec::{
        Emit, Format, LatePolicy, OnBad, OnFull, SchemaId, StreamSpec, TimeSpec, TimeUnit, TopicFormat,
        UserTopic, ViewSpec,
    },
    sql,
    topics::Topics,
};

pub(crate) fn stream() -> StreamSpec {
    StreamSpec {
        name: "s".into(),
        topics: Topics::One("t".into()),
        format: Format::Json,
        key_format: Format::Text,
        columns: Vec::new(),
        time: TimeSpec::Column { column: "t".into(), unit: TimeUnit::Millis },
        lateness_ms: 0,
        max_ahead_ms: 3_600_000,
        idle_ms: None,
        on_bad: OnBad::DeadLetter,
        required: Vec::new(),
        keyed_by: Vec::new(),
        latest_by: Vec::new(),
        keep: 0,
        row_filter: None,
        until_end: false,
    }
}

pub(crate) fn view(name: &str, sql: &str) -> ViewSpec {
    ViewSpec {
        name: name.into(),
        sql: sql.to_owned(),
        emit: Emit::Changes,
        grace_ms: 0,
        late: LatePolicy::Topic,
        retain_ms: None,
        topic: None,
        state_max_bytes: 1 << 30,
        on_full: OnFull::RefuseNewKeys,
    }
}

pub(crate) fn user_topic(emit: Emit, key: Option<Vec<Arc<str>>>) -> UserTopic {
    UserTopic {
        topic: "u".into(),
        emit,
        format: TopicFormat::Json,
        schema_id: SchemaId::default(),
        key,
        partitions: None,
        retention_ms: None,
    }
}

pub(crate) fn plan(stream: StreamSpec, views: Vec<ViewSpec>) -> Arc<StreamPlan> {
    let views: Vec<_> = views.into_iter().map(Arc::new).collect();
    let plans = sql::plan(&[Arc::new(stream)], &views).unwrap_or_else(|errors| panic!("{errors:#?}"));
    Arc::new(plans.into_iter().next().unwrap())
}

/// A task that aggregates everything where it is.
pub(crate) fn local(plan: &Arc<StreamPlan>, options: TaskOptions) -> Result<Task, TaskError> {
    Role::local(plan).task(plan, options)
}

/// A record on its way into the log.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) timestamp_ms: i64,
    pub(crate) value: Option<Vec<u8>>,
}

/// What the task of a world does.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    Source { stages: Vec<Stage>, targets: Vec<i32>, partition: i32 },
    Merge { view: usize, sources: SourceSet, partition: i32 },
}

impl Role {
    fn local(plan: &StreamPlan) -> Self {
        let stages = vec![Stage::Local; plan.views.len()];
        Role::Source { targets: vec![0; stages.len()], stages, partition: 0 }
    }

    fn task(&self, plan: &Arc<StreamPlan>, options: TaskOptions) -> Result<Task, TaskError> {
        match self {
            Role::Source { stages, targets, partition } => {
                Task::new(plan.clone(), stages, targets, "t".into(), *partition, options)
            }
            Role::Merge { view, sources, partition } => {
                Task::merge(plan.clone(), *view, sources.clone(), "partials".into(), *partition, options)
            }
        }
    }
}

pub(crate) struct World {
    pub(crate) task: Task,
    pub(crate) role: Role,
    pub(crate) now_ms: i64,
    plan: Arc<StreamPlan>,
    options: TaskOptions,
    batches: Vec<Batch>,
    pub(crate) next_offset: i64,
    /// Journal records by view, with the index at which each began series begins.
    journals: Vec<Vec<OutRecord>>,
    began: Vec<Option<(u64, usize)>>,
    /// Where the sources leave that are gone.
    pub(crate) leave_at: i64,
    ended: bool,
    /// The end is in the journal: nobody tells the task again.
    end_committed: bool,
}

impl World {
    pub(crate) fn new(plan: Arc<StreamPlan>, options: TaskOptions) -> Self {
        let role = Role::local(&plan);
        Self::with(plan, role, options)
    }

    pub(crate) fn with(plan: Arc<StreamPlan>, role: Role, options: TaskOptions) -> Self {
        let mut task = role.task(&plan, options.clone()).unwrap();
        task.start(0);
        Self {
            task,
            role,
            now_ms: 1 << 40,
            journals: plan.views.iter().map(|_| Vec::new()).collect(),
            began: vec![None; plan.views.len()],
            plan,
            options,
            batches: Vec::new(),
            next_offset: 0,
            leave_at: 0,
            ended: false,
            end_committed: false,
        }
    }

    /// Appends the records to the log as one batch and folds it.
    pub(crate) fn fold(&mut self, inputs: &[Input]) -> Result<(), StopReason> {
        let mut builder = BatchBuilder::new(Compression::None);
        let no_headers = std::iter::empty::<(&str, Option<&[u8]>)>;
        for input in inputs {
            builder.push(input.timestamp_ms, None, input.value.as_deref(), no_headers()).unwrap();
        }
        let bytes: Bytes = builder.build(self.next_offset, -1, -1, -1, false);
        let (batch, _) = Batch::parse(&bytes).unwrap();
        self.next_offset = batch.last_offset() + 1;
        self.batches.push(batch.clone());
        self.task.fold(&batch, self.now_ms)
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.task.end();
    }

    /// The journal is lost, and with it the watermark; the position is not.
    pub(crate) fn forget(&mut self) {
        self.journals.iter_mut().for_each(Vec::clear);
        self.began.fill(None);
        self.task = self.role.task(&self.plan, self.options.clone()).unwrap();
        self.task.start(self.next_offset);
    }

    /// Cuts and commits: journals take their records, the rest is returned.
    pub(crate) fn cut(&mut self) -> (Vec<OutRecord>, Cut) {
        let mut out = Vec::new();
        let cut = self.task.cut(self.now_ms, &mut out);
        self.end_committed = self.ended;
        let lengths: Vec<usize> = self.journals.iter().map(Vec::len).collect();
        let (journal, rest): (Vec<_>, Vec<_>) =
            out.into_iter().partition(|record| matches!(record.target, Target::Journal(_)));
        for record in journal {
            let Target::Journal(view) = record.target else { unreachable!() };
            self.journals[view].push(record);
        }
        for event in &cut.series {
            match *event {
                SeriesEvent::Began { view, series } => self.began[view] = Some((series, lengths[view])),
                SeriesEvent::Completed { view, series } => {
                    let Some((_, from)) = self.began[view].filter(|(began, _)| *began == series) else {
                        continue;
                    };
                    self.journals[view].drain(..from);
                    self.began[view] = Some((series, 0));
                }
            }
        }
        (rest, cut)
    }

    /// The process dies and another one takes over from what is committed.
    pub(crate) fn restart(&mut self) {
        self.try_restart(self.plan.clone()).unwrap();
    }

    pub(crate) fn try_restart(&mut self, plan: Arc<StreamPlan>) -> Result<(), JournalError> {
        if self.plan.views.len() != plan.views.len() {
            self.role = Role::local(&plan);
        }
        let mut task = self.role.task(&plan, self.options.clone()).unwrap();
        self.journals.resize_with(plan.views.len(), Vec::new);
        self.began = vec![None; plan.views.len()];
        for (view, journal) in self.journals.iter().enumerate() {
            for record in journal {
                task.restore(view, record.key.as_deref(), record.value.as_deref())?;
            }
        }
        task.restored()?;
        task.start(0);
        task.leave_at(self.leave_at);
        self.plan = plan;
        self.task = task;
        let position = self.task.position();
        for batch in self.batches.iter().filter(|batch| batch.last_offset() >= position) {
            self.task.fold(batch, self.now_ms).unwrap();
        }
        if self.ended && !self.end_committed {
            self.task.end();
        }
        Ok(())
    }

    pub(crate) fn journal_mut(&mut self, view: usize) -> &mut Vec<OutRecord> {
        &mut self.journals[view]
    }
}
