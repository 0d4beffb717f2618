//! Every mistake has its place and, where we can tell, a way out.

use expect_test::expect;

use super::check;

#[test]
fn typos_are_met_with_the_word_that_was_meant() {
    check(
        &[
            "SELCT a FROM clicks",
            "SELECT a FORM clicks",
            "SELECT a FROM clicks WEHRE a = 1",
            "SELECT a, count(*) FROM clicks GROPU BY a",
            "SELECT a FROM clics",
            "SELECT orign FROM flights",
            "SELECT lowr(origin) AS o FROM flights",
            "SELECT cuont(*) AS n FROM flights",
            "SELECT count(*) AS n FROM clicks GROUP BY tumble(interval '1 minite')",
            "SELECT count(*) AS n FROM clicks GROUP BY tumbel(interval '1 minute')",
        ],
        expect![[r#"
            view v0, line 1, column 1: a view is one SELECT … FROM a stream (did you mean `SELECT`?)
            view v1, line 1, column 15: expected the end of the text, found clicks (did you mean `FROM`?)
            view v2, line 1, column 28: expected the end of the text, found a (did you mean `WHERE`?)
            view v3, line 1, column 38: expected the end of the text, found BY (did you mean `GROUP`?)
            view v4, line 1, column 15: there is no stream `clics` (did you mean `clicks`?)
            view v5, line 1, column 8: stream flights has no column `orign` (did you mean `origin`?)
            view v6, line 1, column 8: there is no function `lowr` (did you mean `lower`?)
            view v7, line 1, column 8: there is no function `cuont` (did you mean `count`?)
            view v8, line 1, column 43: there is no unit `minite` (did you mean `minute`?)
            view v9, line 1, column 43: there is no function `tumbel` (did you mean `tumble`?)
        "#]],
    );
}

#[test]
fn what_is_not_built_is_said_so() {
    check(
        &[
            "SELECT count(*) AS n FROM clicks GROUP BY hop(interval '1 minute', interval '1 hour')",
            "SELECT a, count(*) AS n FROM clicks GROUP BY a, session(interval '1 minute')",
            "SELECT count(*) AS n FROM clicks GROUP BY tumble(interval '1 month')",
            "SELECT count(*) AS n FROM clicks GROUP BY tumble(interval '1 day', 'Europe/Berlin')",
            "SELECT top_k(a, 3) AS t FROM clicks",
            "SELECT sum(DISTINCT a) AS t FROM clicks",
            "SELECT a FROM clicks JOIN flights ON true",
            "SELECT a FROM (SELECT a FROM clicks) AS c",
            "SELECT a FROM clicks ORDER BY a",
            "SELECT a FROM clicks LIMIT 5",
            "SELECT DISTINCT a FROM clicks",
            "SELECT a FROM clicks UNION ALL SELECT a FROM clicks",
            "WITH c AS (SELECT 1) SELECT a FROM c",
            "SELECT a FROM v0",
            "INSERT INTO clicks VALUES (1)",
            "SELECT now() AS t FROM clicks",
            "SELECT CAST(a AS decimal(10, 2)) AS t FROM clicks",
        ],
        expect![[r#"
            view v0, line 1, column 43: hop windows are not built yet (tumble(interval '1 minute') is)
            view v1, line 1, column 49: session windows are not built yet (tumble(interval '1 minute') is)
            view v2, line 1, column 43: intervals of a month are not built yet (a month has no fixed length; days and weeks do)
            view v3, line 1, column 43: windows in a time zone are not built yet (tumble(interval '1 day') is aligned to UTC)
            view v4, line 1, column 8: `top_k` is not built yet (built so far: count, sum, min, max, avg, tumble)
            view v5, line 1, column 21: sum(DISTINCT …) is not built yet
            view v6, line 1, column 1: a view reads one stream; joins are not built yet
            view v7, line 1, column 1: subqueries are not part of this language
            view v8, line 1, column 31: ORDER BY is not part of this language (rows change all the time; clients sort what they show)
            view v9, line 1, column 28: LIMIT is not part of this language (snapshots over HTTP take ?limit=)
            view v10, line 1, column 1: SELECT DISTINCT is not part of this language (GROUP BY the columns instead)
            view v11, line 1, column 1: UNION is not part of this language (make one view for each SELECT)
            view v12, line 1, column 1: a view is one SELECT … FROM a stream
            view v13, line 1, column 15: `v0` is a view; views over views are not built yet
            view v14, line 1, column 1: a view is one SELECT … FROM a stream
            view v15, line 1, column 8: there is no function `now` (a view depends on its records alone; their time is _timestamp)
            view v16, line 1, column 13: there is no cast to decimal(10,2); the types are text, bigint, double, number, boolean, timestamp, json
        "#]],
    );
}

#[test]
fn groups_and_outputs_must_fit() {
    check(
        &[
            "SELECT count(*) AS n FROM clicks GROUP BY a, tumble(interval '1 minute')",
            "SELECT a, b, count(*) AS n FROM clicks GROUP BY a",
            "SELECT a, count(*) AS n FROM clicks GROUP BY a HAVING b > 1",
            "SELECT a FROM clicks WHERE count(*) > 1",
            "SELECT a FROM clicks HAVING a > 1",
            "SELECT a, sum(max(b)) AS s FROM clicks GROUP BY a",
            "SELECT a, a FROM clicks",
            "SELECT a AS seq, b AS final FROM clicks",
            "SELECT a AS window_start FROM clicks",
            "SELECT _topic, a AS _offset FROM clicks",
            "SELECT a + 1 FROM clicks",
            "SELECT * FROM clicks",
            "SELECT *, count(*) AS n FROM flights",
            "SELECT a, count(*) AS n FROM clicks GROUP BY a, 'x'",
            "SELECT a, count(*) AS n FROM clicks GROUP BY 3",
            "SELECT a, count(*) AS n FROM clicks WHERE window_start > 5 GROUP BY a, tumble(interval '1 minute')",
            "SELECT a FROM clicks GROUP BY a, tumble(interval '1 minute'), tumble(interval '1 hour')",
            "SELECT a FROM clicks GROUP BY a, tumble('1 minute')",
            "SELECT a FROM clicks GROUP BY a, tumble(interval '0 minutes')",
        ],
        expect![[r#"
            view v0, line 1, column 43: GROUP BY `a` is not selected, and it is part of the row's key (add `a` to SELECT)
            view v1, line 1, column 11: column `b` is neither grouped by nor inside an aggregate (add b to GROUP BY, or write max(b))
            view v2, line 1, column 55: column `b` is neither grouped by nor inside an aggregate (add b to GROUP BY, or write max(b))
            view v3, line 1, column 28: count() cannot be used here: a condition on aggregates belongs in HAVING
            view v4, line 1, column 29: HAVING needs GROUP BY or an aggregate (a condition on columns belongs in WHERE)
            view v5, line 1, column 15: max() cannot be used here: aggregates do not nest
            view v6, line 1, column 11: two outputs are named `a` (write … AS another_name)
            view v7, line 1, column 13: `seq` is a name that rows carry by themselves (write … AS another_name)
            view v7, line 1, column 23: `final` is a name that rows carry by themselves (write … AS another_name)
            view v8, line 1, column 13: `window_start` is a name that rows carry by themselves (write … AS another_name)
            view v9, line 1, column 21: `_offset` is a name that rows carry by themselves (write … AS another_name)
            view v10, line 1, column 8: this expression needs a name (write … AS name)
            view v11, line 1, column 8: * needs to know the columns of stream clicks (declare columns in [streams.clicks], or select _value for the whole record)
            view v12, line 1, column 8: * stands for all columns, and a row of a group has its keys only (name the columns that are grouped by)
            view v13, line 1, column 49: GROUP BY 'x' is not the number of an output
            view v14, line 1, column 46: GROUP BY 3 is not the number of an output
            view v15, line 1, column 43: window_start can be used in SELECT and HAVING only (write "window_start" when the stream has a column of that name)
            view v16, line 1, column 63: a view has one window (make a second view)
            view v17, line 1, column 34: tumble takes one interval (write tumble(interval '1 minute'))
            view v18, line 1, column 34: a window is 1 ms to 100 years long, this one 0 ms
        "#]],
    );
}

#[test]
fn types_must_agree() {
    check(
        &[
            "SELECT a FROM clicks WHERE a = 1",
            "SELECT a FROM clicks WHERE lower(a) = 'x'",
            "SELECT sum(origin) AS s FROM flights",
            "SELECT origin FROM flights WHERE origin = 5 AND dep_delay > 1",
            "SELECT origin FROM flights WHERE dep_delay = '5'",
            "SELECT origin FROM flights WHERE payload = 'x'",
            "SELECT origin FROM flights WHERE dep_delay",
            "SELECT origin FROM flights WHERE origin LIKE distance",
            "SELECT CASE WHEN on_time THEN 'yes' ELSE 0 END AS t FROM flights",
            "SELECT coalesce(dep_delay, 'none') AS t FROM flights",
            "SELECT origin FROM flights WHERE _timestamp > 'yesterday'",
            "SELECT origin FROM flights WHERE origin ~ '(unclosed'",
            "SELECT origin FROM flights WHERE origin = \"EWR\"",
            "SELECT replace(origin) AS t FROM flights",
            "SELECT origin FROM flights WHERE time_hour > 5",
            "SELECT video FROM lines",
        ],
        expect![[r#"
            view v1, line 1, column 34: column `a` is a number (by its use at line 1, column 28 of view v0), but is used as text here (a column has one type; CAST makes another)
            view v2, line 1, column 12: column `origin` is text (it is declared so), but is used as a number here (a column has one type; CAST makes another)
            view v3, line 1, column 43: `origin` is text and `5` is a number: they never compare (write '5')
            view v4, line 1, column 46: `dep_delay` is a number and `'5'` is text: they never compare (write 5 without quotes)
            view v5, line 1, column 44: `payload` is JSON and `'x'` is text: they never compare (`->>` takes text out of JSON)
            view v6, line 1, column 34: column `dep_delay` is a number (it is declared so), but is used as a condition here (a column has one type; CAST makes another)
            view v7, line 1, column 46: a LIKE pattern must be a text constant
            view v8, line 1, column 42: the branches of CASE are text and a number: they must be of one type
            view v9, line 1, column 28: the arguments of coalesce are a number and text: they must be of one type
            view v10, line 1, column 47: 'yesterday' is not a time (times are written '2026-01-31T12:00:00Z')
            view v11, line 1, column 43: the pattern is not a regular expression: unclosed group
            view v12, line 1, column 43: stream flights has no column `EWR` (double quotes are for names; text is written 'EWR')
            view v13, line 1, column 8: replace takes 3 arguments, not 1
            view v14, line 1, column 46: `time_hour` is text and `5` is a number: they never compare (write '5')
            view v15, line 1, column 8: stream lines has no column `video` (the columns are _topic, _partition, _offset, _timestamp, _key, _value, _headers)
        "#]],
    );
}

#[test]
fn all_errors_of_one_query_are_told_at_once() {
    check(
        &[
            "SELECT orign, count(*) AS seq\nFROM flights\nWHERE dep_dely > 5\nGROUP BY origin, distnace,\n  hop(interval '1 m')",
        ],
        expect![[r#"
            view v0, line 1, column 8: stream flights has no column `orign` (did you mean `origin`?)
            view v0, line 1, column 27: `seq` is a name that rows carry by themselves (write … AS another_name)
            view v0, line 3, column 7: stream flights has no column `dep_dely` (did you mean `dep_delay`?)
            view v0, line 4, column 10: GROUP BY `origin` is not selected, and it is part of the row's key (add `origin` to SELECT)
            view v0, line 4, column 18: stream flights has no column `distnace` (did you mean `distance`?)
            view v0, line 5, column 3: hop windows are not built yet (tumble(interval '1 minute') is)
        "#]],
    );
}
