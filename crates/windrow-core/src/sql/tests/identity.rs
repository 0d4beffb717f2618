//! What a plan is recognised by, and where it may run.

use std::{fmt::Write as _, sync::Arc};

use expect_test::expect;

use super::{super::plan, planned, stream, view};
use crate::spec::StreamSpec;

#[test]
fn the_fingerprint_changes_with_the_meaning_alone() {
    let of = |sql: &str| planned(&[sql]).unwrap()[0].views[0].fingerprint;
    let base = "SELECT a, count(*) AS n FROM clicks WHERE b > 1 GROUP BY a";
    let fixed = of(base);
    assert_eq!(
        fixed, 13_359_770_619_123_028_494,
        "a fingerprint must not change between versions: say so in the changelog when it has to"
    );
    for same in [
        "select  a , COUNT( * ) as n from clicks c where (c.b > 1.0) group by \"a\"",
        "SELECT a, count(*) AS n FROM clicks WHERE b > 0 + 1 AND TRUE GROUP BY 1;",
    ] {
        assert_eq!(of(same), fixed, "{same}");
    }
    for other in [
        "SELECT a, count(*) AS m FROM clicks WHERE b > 1 GROUP BY a",
        "SELECT a, count(b) AS n FROM clicks WHERE b > 1 GROUP BY a",
        "SELECT a, count(*) AS n FROM clicks WHERE b > 2 GROUP BY a",
        "SELECT a, count(*) AS n FROM clicks WHERE b > 1 GROUP BY a, tumble(interval '1 minute')",
        "SELECT a, count(*) AS n FROM clicks WHERE b > 1 GROUP BY a HAVING count(*) > 1",
    ] {
        assert_ne!(of(other), fixed, "{other}");
    }
}

#[test]
fn local_aggregation_needs_one_partition_or_a_key_inside_the_group() {
    let mut keyed = stream("clicks");
    keyed.keyed_by = vec!["video".into()];
    let by_video = "SELECT video AS v, country, count(*) AS n FROM clicks GROUP BY video, country";
    let by_country = "SELECT country, count(*) AS n FROM clicks GROUP BY country";
    let by_lower = "SELECT lower(video) AS video, count(*) AS n FROM clicks GROUP BY 1";
    let mut text = String::new();
    let mut tell = |stream: StreamSpec, sql: &str, partitions| {
        let plans = plan(&[Arc::new(stream)], &[view("v", sql)]).unwrap();
        let (stream, view) = (&plans[0], &plans[0].views[0]);
        let stage = crate::plan::stage(stream, view, partitions);
        writeln!(text, "{stage:?}: {}", crate::plan::stage_reason(stream, view, partitions)).unwrap();
    };
    tell(stream("clicks"), by_country, 1);
    tell(keyed.clone(), by_video, 4);
    tell(stream("clicks"), "SELECT video FROM clicks", 4);
    tell(stream("clicks"), by_video, 4);
    tell(keyed.clone(), by_country, 4);
    tell(keyed.clone(), by_lower, 4);
    tell(keyed, "SELECT count(*) FROM clicks", 4);
    expect![[r#"
        Local: stream clicks has one partition
        Local: stream clicks is keyed by (video), which the view groups by
        Local: it keeps no state
        Two: it groups by (v, country), but stream clicks has 4 partitions and does not say what its message key is: records of one group may be in several partitions; if the message key is among the group's columns, set keyed_by in [streams.clicks]
        Two: it groups by (country), but the 4 partitions of stream clicks are keyed by (video): records of one group may be in several partitions
        Two: it groups by (video), but the 4 partitions of stream clicks are keyed by (video): records of one group may be in several partitions
        Two: it groups by (), but the 4 partitions of stream clicks are keyed by (video): records of one group may be in several partitions
    "#]]
    .assert_eq(&text);
}
