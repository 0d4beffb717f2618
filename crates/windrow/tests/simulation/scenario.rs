//! What one seed decides before anything runs: the stream, the views, the bounds, and how hostile the world is.

use std::sync::Arc;

use windrow_core::{
    engine::TaskOptions,
    plan::StreamPlan,
    spec::{
        Emit, Format, LatePolicy, OnBad, OnFull, SchemaId, StreamSpec, TimeSpec, TimeUnit, TopicFormat,
        UserTopic, ViewSpec,
    },
    sql,
    topics::Topics,
};

use crate::{broker::Knobs, rng::Rng};

pub(crate) const APP: &str = "app";
pub(crate) const SOURCE: &str = "source";

/// One view, as the oracle knows it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) name: String,
    /// `None` = a running table.
    pub(crate) size_ms: Option<i64>,
    pub(crate) grace_ms: i64,
    pub(crate) retain_ms: Option<i64>,
    pub(crate) changes: bool,
    /// Finals also go to a topic of the user.
    pub(crate) user_topic: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) partitions: i32,
    /// Whether the message key is the group key: views are local then.
    pub(crate) keyed: bool,
    pub(crate) lateness_ms: i64,
    pub(crate) views: Vec<View>,
    /// Views there are from the beginning; the others are added later.
    pub(crate) views_at_first: usize,
    pub(crate) static_members: bool,
    pub(crate) session_ms: i64,
    /// How long a member may take to answer.
    pub(crate) answer_ms: i64,
    pub(crate) knobs: Knobs,
    pub(crate) bounds: TaskOptions,
    pub(crate) steps: usize,
    /// Retention may overtake what was committed.
    pub(crate) loses_records: bool,
}

impl Scenario {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let views: Vec<View> = (0..1 + rng.below(3)).map(|i| View::draw(i, rng)).collect();
        let adds_views = views.len() > 1 && rng.per_mille(250);
        let knobs = Knobs {
            slow_markers: rng.pick(&[0, 50, 300]),
            marker_max_ms: rng.pick(&[300, 3000, 8000]),
            failures: rng.pick(&[0, 2, 20]),
            lost_answers: rng.pick(&[0, 2, 10]),
            slow_calls: rng.pick(&[5, 50]),
            call_max_ms: rng.pick(&[20, 300, 2000]),
            transaction_ms: rng.pick(&[2000, 5000, 10_000]),
        };
        let bounds = TaskOptions {
            journal_block_max_bytes: rng.pick(&[60, 300, 1 << 20]),
            snapshot_slice_max_bytes: rng.pick(&[1, 100, 1 << 20]),
            snapshot_every_bytes: rng.pick(&[0, 300, 3000]),
            ..TaskOptions::default()
        };
        Self {
            partitions: rng.within(1..5) as i32,
            lateness_ms: rng.pick(&[0, 5, 40]),
            views_at_first: if adds_views { 1 + rng.below(views.len() - 1) } else { views.len() },
            views,
            static_members: rng.per_mille(250),
            session_ms: rng.pick(&[1500, 4000]),
            answer_ms: rng.pick(&[270_000, 5000]),
            keyed: rng.per_mille(400),
            knobs,
            bounds,
            steps: 25 + rng.below(50),
            loses_records: !adds_views && rng.per_mille(200),
        }
    }

    /// Tells whether views run in two stages.
    pub(crate) fn two_stages(&self) -> bool {
        !self.keyed && self.partitions > 1
    }

    pub(crate) fn stream(&self) -> StreamSpec {
        StreamSpec {
            name: "s".into(),
            topics: Topics::One(SOURCE.into()),
            format: Format::Json,
            key_format: Format::Text,
            columns: Vec::new(),
            time: TimeSpec::Column { column: "t".into(), unit: TimeUnit::Millis },
            lateness_ms: self.lateness_ms,
            max_ahead_ms: 1 << 40,
            idle_ms: None,
            on_bad: OnBad::DeadLetter,
            required: Vec::new(),
            keyed_by: if self.keyed { vec!["k".into()] } else { Vec::new() },
            latest_by: Vec::new(),
            keep: 0,
            row_filter: None,
            until_end: false,
        }
    }

    /// Plans the first `views` views.
    pub(crate) fn plan(&self, views: usize) -> Arc<StreamPlan> {
        let stream = self.stream();
        let specs: Vec<_> = self.views[..views].iter().map(|view| Arc::new(view.spec())).collect();
        let plans = sql::plan(&[Arc::new(stream)], &specs).unwrap_or_else(|errors| panic!("{errors:#?}"));
        Arc::new(plans.into_iter().next().expect("one stream, one plan"))
    }
}

impl View {
    fn draw(index: usize, rng: &mut Rng) -> Self {
        let size_ms = rng.per_mille(800).then(|| rng.pick(&[10, 64, 1000]));
        Self {
            name: format!("v{index}"),
            size_ms,
            grace_ms: rng.pick(&[0, 0, 7, 20]),
            retain_ms: rng.pick(&[None, Some(0), Some(50), Some(2000)]),
            changes: rng.per_mille(600),
            user_topic: rng.per_mille(400),
        }
    }

    fn spec(&self) -> ViewSpec {
        let aggregates = "count(*) AS n, sum(v) AS sum, max(v) AS max, count(DISTINCT v) AS d";
        let sql = match self.size_ms {
            Some(size) => format!(
                "SELECT k, window_start, {aggregates} FROM s GROUP BY k, tumble(interval '{size} milliseconds')"
            ),
            None => format!("SELECT k, {aggregates} FROM s GROUP BY k"),
        };
        let user = UserTopic {
            format: TopicFormat::Json,
            schema_id: SchemaId::default(),
            topic: format!("{}.user", self.name).into(),
            emit: Emit::Final,
            key: None,
            partitions: None,
            retention_ms: None,
        };
        ViewSpec {
            name: self.name.as_str().into(),
            sql,
            emit: if self.changes { Emit::Changes } else { Emit::Final },
            grace_ms: self.grace_ms,
            late: LatePolicy::Topic,
            retain_ms: self.retain_ms,
            topic: (self.user_topic && self.size_ms.is_some()).then_some(user),
            state_max_bytes: 1 << 30,
            on_full: OnFull::RefuseNewKeys,
        }
    }
}
