//! Aggregates over finals: what they may be, and what is said about everything else.

use expect_test::expect;

use super::{check, planned, streams, view};
use crate::{
    spec::{LatePolicy, ViewSpec},
    sql::plan,
};

#[test]
fn calls_over_finals_come_last_and_each_is_computed_once() {
    check(
        &[
            "SELECT video AS id, count(*) AS n, ceil(avg(count(*)) OVER (ORDER BY window_start)) AS mean, \
             avg(count(*)) OVER (PARTITION BY video ORDER BY window_start ASC) - 1 AS less, \
             max(length(video) + count(DISTINCT user)) OVER (ORDER BY window_start) AS most, \
             count(*) OVER (ORDER BY window_start) AS windows, max(window_end) OVER (ORDER BY window_start) AS newest, \
             avg(count(*)) OVER (ORDER BY window_start) AS again \
             FROM clicks GROUP BY video, tumble(interval '1 minute') HAVING n > 3",
            "SELECT sum(count(_value)) OVER (ORDER BY window_start) FROM lines GROUP BY tumble(interval '1 day')",
        ],
        expect![[r#"
            stream clicks: video text, user any
            v0: Tumbling { size_ms: 60000 }
              #0 key id text = video
              #1 count(*)
              #2 count_distinct(user)
              over 0 avg(#1)
              over 1 max((length(#0) + #2))
              over 2 count(*)
              over 3 max(window_end)
              id text = #0
              n bigint = #1
              mean double = ceil(over 0)
              less double = (over 0 - 1)
              most bigint = over 1
              windows bigint = over 2
              newest timestamp = over 3
              again double = over 0
              having (#1 > 3)
              key (id, window_start)
            stream lines: _value text
            v1: Tumbling { size_ms: 86400000 }
              #0 count(_value)
              over 0 sum(#0)
              sum bigint = over 0
              key (window_start)
        "#]],
    );
}

#[test]
fn what_over_cannot_be_is_said_with_a_way_out() {
    let windowed = |call: &str| {
        format!(
            "SELECT video, {call} AS x, count(*) AS n FROM clicks GROUP BY video, tumble(interval '1 minute')"
        )
    };
    let mut queries: Vec<String> = [
        "avg(count(*)) OVER ()",
        "avg(count(*)) OVER w",
        "avg(count(*)) OVER (ORDER BY window_start DESC)",
        "avg(count(*)) OVER (ORDER BY window_start NULLS FIRST)",
        "avg(count(*)) OVER (ORDER BY video)",
        "avg(count(*)) OVER (ORDER BY window_start, video)",
        "avg(count(*)) OVER (ORDER BY window_start ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
        "avg(count(*)) OVER (PARTITION BY country ORDER BY window_start)",
        "avg(count(*)) OVER (PARTITION BY video, lower(video) ORDER BY window_start)",
        "avg(price) OVER (ORDER BY window_start)",
        "avg(*) OVER (ORDER BY window_start)",
        "sum(DISTINCT count(*)) OVER (ORDER BY window_start)",
        "avg(count(*)) FILTER (WHERE video = 'a') OVER (ORDER BY window_start)",
        "max(avg(count(*)) OVER (ORDER BY window_start)) OVER (ORDER BY window_start)",
        "max(avg(count(*)) OVER (ORDER BY window_start))",
        "avg(upper(video)) OVER (ORDER BY window_start)",
        "lower(video) OVER (ORDER BY window_start)",
        "row_number() OVER (ORDER BY window_start)",
        "count(*) - count(*) OVER",
    ]
    .map(windowed)
    .into();
    queries.extend(
        [
            "SELECT video, avg(count(*)) OVER (ORDER BY window_start) AS x FROM clicks GROUP BY video",
            "SELECT avg(price) OVER (ORDER BY window_start) AS x FROM clicks",
            "SELECT video FROM clicks WHERE avg(count(*)) OVER (ORDER BY window_start) > 1",
            "SELECT avg(count(*)) OVER (PARTITION BY video ORDER BY window_start) AS x FROM clicks GROUP BY tumble(interval '1 day')",
            "SELECT count(*) AS n, avg(count(*)) OVER (ORDER BY window_start) AS x FROM clicks \
             GROUP BY tumble(interval '1 day') HAVING x > 1",
        ]
        .map(str::to_owned),
    );
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    check(
        &queries,
        expect![[r#"
        view v0, line 1, column 15: OVER needs the order of windows (write avg(count(*)) OVER (ORDER BY window_start))
        view v1, line 1, column 15: OVER takes its window in brackets, not by a name (write avg(count(*)) OVER (ORDER BY window_start))
        view v2, line 1, column 44: OVER is ordered by window_start, ascending: finals come in that order (write avg(count(*)) OVER (ORDER BY window_start))
        view v3, line 1, column 44: OVER is ordered by window_start, ascending: finals come in that order (write avg(count(*)) OVER (ORDER BY window_start))
        view v4, line 1, column 44: OVER is ordered by window_start, ascending: finals come in that order (write avg(count(*)) OVER (ORDER BY window_start))
        view v5, line 1, column 15: OVER is ordered by window_start alone: a key has one row per window (write avg(count(*)) OVER (ORDER BY window_start))
        view v6, line 1, column 15: OVER has no frame: it goes from the first final of the key to this row (write avg(count(*)) OVER (ORDER BY window_start))
        view v7, line 1, column 15: PARTITION BY `country` are not the groups of the view; they are `video` (leave PARTITION BY out: OVER goes over the finals of the row's own groups)
        view v8, line 1, column 15: PARTITION BY `video`, `lower(video)` are not the groups of the view; they are `video` (leave PARTITION BY out: OVER goes over the finals of the row's own groups)
        view v9, line 1, column 19: column `price` is neither grouped by nor inside an aggregate (add price to GROUP BY, or write max(price))
        view v10, line 1, column 15: avg takes one argument (write avg(count(*)) OVER (ORDER BY window_start))
        view v11, line 1, column 15: an aggregate with OVER takes no DISTINCT, ALL or FILTER (they belong to the aggregate inside: sum(count(DISTINCT x)) OVER (ORDER BY window_start))
        view v12, line 1, column 15: an aggregate with OVER takes no DISTINCT, ALL or FILTER (they belong to the aggregate inside: sum(count(DISTINCT x)) OVER (ORDER BY window_start))
        view v13, line 1, column 19: avg() OVER cannot be used here: it does not nest
        view v14, line 1, column 19: avg() OVER cannot be used here: aggregates do not nest; a call with OVER is an output, or part of one
        view v15, line 1, column 19: avg needs a number, but `upper(video)` is text
        view v16, line 1, column 15: OVER is for count, sum, min, max, avg
        view v17, line 1, column 15: there is no function `row_number` (OVER is for count, sum, min, max, avg)
        view v18, line 1, column 26: OVER takes its window in brackets, not by a name (write avg(count(*)) OVER (ORDER BY window_start))
        view v19, line 1, column 15: OVER goes over windows, and this view has none (add tumble(interval '1 minute') to GROUP BY)
        view v20, line 1, column 8: OVER goes over windows, and this view has none (add tumble(interval '1 minute') to GROUP BY)
        view v21, line 1, column 32: avg() OVER cannot be used here: it is for the views' SELECT
        view v22, line 1, column 8: PARTITION BY `video` are not the groups of the view; there are none (leave PARTITION BY out: OVER goes over the finals of the row's own groups)
        view v23, line 1, column 23: avg() OVER cannot be used here: HAVING comes before it
    "#]],
    );
}

#[test]
fn finals_that_late_records_change_cannot_be_gone_over() {
    let sql =
        "SELECT avg(count(*)) OVER (ORDER BY window_start) AS x FROM lines GROUP BY tumble(interval '1 day')";
    let late = ViewSpec { late: LatePolicy::Update, ..ViewSpec::clone(&view("v", sql)) };
    let errors = plan(&streams(), &[late.into()]).unwrap_err();
    expect![[r#"
        view v, line 1, column 8: OVER needs finals that stay: late = "update" changes them afterwards (set late = "topic" or "drop", with a grace that late records fit into)
    "#]].assert_eq(&errors.iter().map(|error| format!("{error}\n")).collect::<String>());
}

#[test]
fn the_fingerprint_says_what_goes_over_finals() {
    let of = |over: &str| {
        let sql = format!("SELECT count(*) AS n, {over} AS x FROM lines GROUP BY tumble(interval '1 day')");
        planned(&[&sql]).unwrap()[2].views[0].fingerprint
    };
    let base = of("avg(count(*)) OVER (ORDER BY window_start)");
    assert_eq!(base, of("AVG( count(*) ) over (order by window_start asc)"));
    assert_ne!(base, of("sum(count(*)) OVER (ORDER BY window_start)"));
    assert_ne!(base, of("avg(count(*) + 1) OVER (ORDER BY window_start)"));
    assert_ne!(base, of("count(*) OVER (ORDER BY window_start)"));
}

#[test]
fn times_are_written_in_a_zone() {
    check(
        &[
            "SELECT format_time(_timestamp, '%Y') AS a, format_time(1468244385000, '%Y-%m-%d %H:%M:%S') AS utc, \
             format_time(timestamp '2016-07-11T13:39:45Z', '%F %T %z', 'Europe/Berlin') AS berlin, \
             format_time(timestamp '2016-12-11T13:39:45.120Z', '%d.%m.%y %H:%M:%S%.3f', 'America/New_York') AS york, \
             format_time(NULL, '%Y') AS missing, div(1468244385999, 1000) AS seconds FROM lines",
        ],
        expect![[r#"
            stream lines: _timestamp timestamp
            v0: Stateless
              a text = format_time(_timestamp, '%Y', 'UTC')
              utc text = '2016-07-11 13:39:45'
              berlin text = '2016-07-11 15:39:45 +0200'
              york text = '11.12.16 08:39:45.120'
              missing text = NULL
              seconds bigint = 1468244385
              key (_topic, _partition, _offset)
        "#]],
    );
    check(
        &[
            "SELECT format_time(_timestamp, '%Y', 'Europe/Berln') AS x FROM lines",
            "SELECT format_time(_timestamp, '%E') AS x FROM lines",
            "SELECT format_time(_timestamp, _value) AS x FROM lines",
            "SELECT format_time(_value, '%Y') AS x FROM lines",
            "SELECT format_time(_timestamp) AS x FROM lines",
        ],
        expect![[r#"
            view v0, line 1, column 32: there is no time zone 'Europe/Berln' (did you mean 'Europe/Berlin'?)
            view v1, line 1, column 32: '%E' is not a format of times: strftime formatting failed: found unrecognized specifier directive `E` (for example '%Y-%m-%d %H:%M:%S')
            view v2, line 1, column 32: the format must be a text constant
            view v3, line 1, column 20: column `_value` is text (it is declared so), but is used as a time here (a column has one type; CAST makes another)
            view v4, line 1, column 8: format_time does not take 1 arguments
        "#]],
    );
}
