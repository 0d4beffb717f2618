//! Queries and filters in, plans and errors out.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;
use crate::{
    plan::{Shape, ViewPlan},
    spec::{Emit, Format, LatePolicy, OnBad, OnFull, TimeSpec, TimeUnit},
    topics::Topics,
};

mod bounds;
mod docs;
mod errors;
mod filters;
mod identity;
mod over;

pub(crate) fn stream(name: &str) -> StreamSpec {
    StreamSpec {
        name: name.into(),
        topics: Topics::One(format!("{name}_topic").into()),
        format: Format::Json,
        key_format: Format::Text,
        columns: Vec::new(),
        time: TimeSpec::Record,
        lateness_ms: 0,
        max_ahead_ms: 3_600_000,
        idle_ms: None,
        on_bad: OnBad::Skip,
        required: Vec::new(),
        keyed_by: Vec::new(),
        latest_by: Vec::new(),
        keep: 0,
        row_filter: None,
        until_end: false,
    }
}

pub(crate) fn view(name: &str, sql: &str) -> Arc<ViewSpec> {
    Arc::new(ViewSpec {
        name: name.into(),
        sql: sql.to_owned(),
        emit: Emit::Changes,
        grace_ms: 0,
        late: LatePolicy::Topic,
        retain_ms: None,
        topic: None,
        state_max_bytes: 1 << 30,
        on_full: OnFull::Stop,
    })
}

/// `clicks`, which declares nothing; `flights`, which declares some; `lines` of text.
pub(super) fn streams() -> Vec<Arc<StreamSpec>> {
    let mut flights = stream("flights");
    flights.columns = vec![
        ("origin".into(), ColumnType::Text),
        ("dep_delay".into(), ColumnType::Bigint),
        ("distance".into(), ColumnType::Double),
        ("user.id".into(), ColumnType::Text),
        ("payload".into(), ColumnType::Json),
        ("on_time".into(), ColumnType::Boolean),
    ];
    flights.time = TimeSpec::Column { column: "time_hour".into(), unit: TimeUnit::Rfc3339 };
    let mut lines = stream("lines");
    lines.format = Format::Text;
    vec![Arc::new(stream("clicks")), Arc::new(flights), Arc::new(lines)]
}

/// Compiles any expression over the columns of a row.
pub(crate) fn expression(text: &str, columns: &[(Arc<str>, Option<ColumnType>)]) -> Result<Expr, PlanError> {
    let mut columns = Columns::of_rows(columns);
    let tree = parse::condition(text)?;
    Ok(Expr::new(lower::Lower::new(&mut columns, None).lower(&tree)?.node))
}

/// Plans views named v0, v1, …, one per query.
pub(super) fn planned(queries: &[&str]) -> Result<Vec<StreamPlan>, Vec<PlanError>> {
    let views: Vec<_> = queries.iter().enumerate().map(|(i, sql)| view(&format!("v{i}"), sql)).collect();
    plan(&streams(), &views)
}

#[track_caller]
pub(super) fn check(queries: &[&str], want: Expect) {
    let text = match planned(queries) {
        Ok(plans) => plans.iter().filter(|p| !p.views.is_empty()).map(dump).collect(),
        Err(errors) => errors.iter().map(|e| format!("{e}\n")).collect::<String>(),
    };
    want.assert_eq(&text);
}

fn dump(plan: &StreamPlan) -> String {
    let ty = |ty: Option<ColumnType>| ty.map_or("any", ColumnType::name);
    let columns: Vec<String> = plan.columns.iter().map(|c| format!("{} {}", c.name, ty(c.ty))).collect();
    let mut out = format!("stream {}: {}\n", plan.spec.name, columns.join(", "));
    for view in &plan.views {
        dump_view(view, plan, &mut out).unwrap();
    }
    out
}

fn dump_view(view: &ViewPlan, plan: &StreamPlan, out: &mut String) -> std::fmt::Result {
    let ty = |ty: Option<ColumnType>| ty.map_or("any", ColumnType::name);
    let source = |slot: usize| plan.columns[slot].name.to_string();
    let row = |slot: usize| match slot.checked_sub(view.keys.len() + view.aggregates.len()) {
        Some(0) => "window_start".to_owned(),
        Some(1) => "window_end".to_owned(),
        Some(over) if over - 2 < view.over.len() => format!("over {}", over - 2),
        Some(_) => panic!("slot {slot} is past the end of the row"),
        None => format!("#{slot}"),
    };
    writeln!(out, "{}: {:?}", view.spec.name, view.shape)?;
    if let Some(filter) = &view.filter {
        writeln!(out, "  where {}", filter.text(&source))?;
    }
    for (i, key) in view.keys.iter().enumerate() {
        writeln!(out, "  #{i} key {} {} = {}", key.name, ty(key.ty), key.expr.text(&source))?;
    }
    for (i, call) in view.aggregates.iter().enumerate() {
        writeln!(out, "  #{} {}", view.keys.len() + i, aggregate::call_text(call, &source))?;
    }
    for (i, call) in view.over.iter().enumerate() {
        writeln!(out, "  over {i} {}", aggregate::call_text(call, &row))?;
    }
    for output in &view.outputs {
        let text =
            if view.shape == Shape::Stateless { output.expr.text(&source) } else { output.expr.text(&row) };
        writeln!(out, "  {} {} = {text}", output.name, ty(output.ty))?;
    }
    if let Some(having) = &view.having {
        writeln!(out, "  having {}", having.text(&row))?;
    }
    writeln!(out, "  key ({})", view.key_names.join(", "))
}

#[test]
fn a_windowed_count_has_its_keys_first_and_its_aggregates_next() {
    check(
        &["SELECT video AS id, count(*) AS count FROM clicks WHERE country <> 'test' \
           GROUP BY video, tumble(interval '1 minute')"],
        expect![[r#"
            stream clicks: video any, country text
            v0: Tumbling { size_ms: 60000 }
              where (country <> 'test')
              #0 key id any = video
              #1 count(*)
              id any = #0
              count bigint = #1
              key (id, window_start)
        "#]],
    );
}

#[test]
fn keys_and_aggregates_mix_in_expressions() {
    check(
        &["SELECT upper(origin) AS airport, round(avg(dep_delay), 2) AS d, max(dep_delay) - min(dep_delay) AS spread,
             count(*) FILTER (WHERE on_time) * 100 / count(*) AS percent, window_start AS at, window_start, window_end,
             upper(origin) || ' airport' AS label
           FROM flights f WHERE f.distance BETWEEN 100 AND 1e3 GROUP BY upper(origin), tumble(interval '1' hour)
           HAVING count(*) > 1 AND window_end - window_start = interval '1 hour'"],
        expect![[r#"
            stream flights: time_hour text, origin text, distance double, dep_delay bigint, on_time boolean
            v0: Tumbling { size_ms: 3600000 }
              where between(distance, 100, 1000)
              #0 key airport text = upper(origin)
              #1 avg(dep_delay)
              #2 max(dep_delay)
              #3 min(dep_delay)
              #4 count(*) filter on_time
              #5 count(*)
              airport text = #0
              d double = round(#1, 2)
              spread bigint = (#2 - #3)
              percent number = ((#4 * 100) / #5)
              at timestamp = window_start
              window_start timestamp = window_start
              window_end timestamp = window_end
              label text = (#0 || ' airport')
              having ((#5 > 1) AND ((window_end - window_start) = 3600000))
              key (airport, window_start)
        "#]],
    );
}

#[test]
fn groups_may_be_named_by_output_or_number() {
    check(
        &[
            "SELECT lower(video) AS v, country, count(DISTINCT user.id) AS users FROM clicks GROUP BY v, 2",
            "SELECT count(*), sum(amount) FROM clicks",
            "SELECT video, video AS again, count(*) AS n FROM clicks GROUP BY clicks.video",
        ],
        expect![[r#"
            stream clicks: video text, country any, user.id any, amount number
            v0: Running
              #0 key v text = lower(video)
              #1 key country any = country
              #2 count_distinct(user.id)
              v text = #0
              country any = #1
              users bigint = #2
              key (v, country)
            v1: Running
              #0 count(*)
              #1 sum(amount)
              count bigint = #0
              sum number = #1
              key ()
            v2: Running
              #0 key video text = video
              #1 count(*)
              video text = #0
              again text = #0
              n bigint = #1
              key (video)
        "#]],
    );
}

#[test]
fn having_may_name_outputs() {
    check(
        &[
            "SELECT a, max(price) AS price, count(*) AS n FROM clicks GROUP BY a HAVING n > 1 AND price > max(price) - 1",
            "SELECT lower(b) AS a, count(*) AS b FROM clicks GROUP BY a HAVING a = 'x' AND b > 1",
        ],
        expect![[r#"
            stream clicks: a any, price number, b text
            v0: Running
              #0 key a any = a
              #1 max(price)
              #2 count(*)
              a any = #0
              price number = #1
              n bigint = #2
              having ((#2 > 1) AND (#1 > (#1 - 1)))
              key (a)
            v1: Running
              #0 key a text = lower(b)
              #1 count(*)
              a text = #0
              b bigint = #1
              having ((#0 = 'x') AND (#1 > 1))
              key (a)
        "#]],
    );
}

#[test]
fn a_query_without_groups_keeps_no_state() {
    check(
        &[
            "SELECT * FROM flights WHERE payload->'tags'->>0 = 'late'",
            "SELECT *, length(_value) AS n FROM lines WHERE _value ~ '^ERROR' AND _timestamp > '2026-01-01T00:00:00Z'",
            "SELECT a, b + 1 AS c, json_object('x': a, 'y', b) AS j FROM clicks WHERE d IS NOT NULL",
        ],
        expect![[r#"
            stream clicks: d any, a any, b number
            v2: Stateless
              where not(is_null(d))
              a any = a
              c number = (b + 1)
              j json = jsonobject('x', a, 'y', b)
              key (_topic, _partition, _offset)
            stream flights: time_hour text, payload json, origin text, dep_delay bigint, distance double, user.id text, on_time boolean
            v0: Stateless
              where (((payload->'tags')->>0) = 'late')
              origin text = origin
              dep_delay bigint = dep_delay
              distance double = distance
              user.id text = user.id
              payload json = payload
              on_time boolean = on_time
              key (_topic, _partition, _offset)
            stream lines: _value text, _timestamp timestamp
            v1: Stateless
              where (regex(_value, '^ERROR') AND (_timestamp > timestamp 1767225600000))
              _value text = _value
              n bigint = length(_value)
              key (_topic, _partition, _offset)
        "#]],
    );
}

#[test]
fn a_type_is_learned_from_any_view() {
    check(
        &[
            "SELECT a, min(b) AS least, count(c) AS n FROM clicks GROUP BY a",
            "SELECT a, max(f) - min(f) AS spread FROM clicks GROUP BY a",
            "SELECT a FROM clicks WHERE a LIKE 'x%' AND b > 1.5 AND (c OR coalesce(d, 'none') = e)",
        ],
        expect![[r#"
            stream clicks: a text, b number, c boolean, f number, d text, e text
            v0: Running
              #0 key a text = a
              #1 min(b)
              #2 count(c)
              a text = #0
              least number = #1
              n bigint = #2
              key (a)
            v1: Running
              #0 key a text = a
              #1 max(f)
              #2 min(f)
              a text = #0
              spread number = (#1 - #2)
              key (a)
            v2: Stateless
              where (like(a, 'x%') AND (b > 1.5) AND (c OR (coalesce(d, 'none') = e)))
              a text = a
              key (_topic, _partition, _offset)
        "#]],
    );
}

#[test]
fn one_aggregate_is_computed_once() {
    check(
        &["SELECT a, count(*) AS n, count(*) * 2 AS twice, COUNT(*) FILTER (WHERE b = 1 OR b = 2) AS some \
           FROM clicks GROUP BY a HAVING count(*) FILTER (WHERE b IN (2, 1)) > 0"],
        expect![[r#"
            stream clicks: a any, b number
            v0: Running
              #0 key a any = a
              #1 count(*)
              #2 count(*) filter in(b; 1, 2)
              a any = #0
              n bigint = #1
              twice bigint = (#1 * 2)
              some bigint = #2
              having (#2 > 0)
              key (a)
        "#]],
    );
}

#[test]
fn intervals_have_many_spellings() {
    for (spelling, want_ms) in [
        ("interval '1 minute'", 60_000),
        ("interval '1' minute", 60_000),
        ("interval '90' second", 90_000),
        ("interval '2 weeks'", 1_209_600_000),
        ("INTERVAL '1 hour 30 minutes'", 5_400_000),
        ("interval '10s'", 10_000),
        ("interval '250 milliseconds'", 250),
        ("interval '1' day", 86_400_000),
    ] {
        let sql = format!("SELECT count(*) AS n FROM clicks GROUP BY tumble({spelling})");
        let plans = planned(&[&sql]).unwrap_or_else(|e| panic!("{spelling}: {}", e[0]));
        assert_eq!(plans[0].views[0].shape, Shape::Tumbling { size_ms: want_ms }, "{spelling}");
    }
}
