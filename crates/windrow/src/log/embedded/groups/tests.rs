//! Groups as scripts: one line per step, time moved by hand.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// Steps: `topic NAME N`, `join NAME TOPIC… [as INSTANCE]`, `leave NAME`, `poll NAME`, `answer NAME`, `ticket NAME`,
/// `check NAME TP…`, `+SECONDS`.
fn check(script: &str, expected: Expect) {
    let groups = Groups::new(LIMIT);
    let mut now = Instant::now();
    let mut ids = BTreeMap::new();
    let mut tickets = BTreeMap::new();
    let mut out = String::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["topic", name, n] => groups.topic(name.into(), n.parse().unwrap(), now),
            ["join", name, ref rest @ ..] => {
                let (topics, instance) = match rest.iter().position(|w| *w == "as") {
                    Some(at) => (&rest[..at], Some(rest[at + 1].to_owned())),
                    None => (rest, None),
                };
                let topics = topics.iter().map(|t| Topic::from(*t)).collect();
                let options = GroupOptions { group: "g".to_owned(), instance_id: instance, topics };
                ids.insert(name, groups.join(options, now));
            }
            ["leave", name] => groups.leave("g", ids[name], now),
            ["answer", name] => groups.answer("g", ids[name], now),
            ["ticket", name] => drop(tickets.insert(name, groups.ticket("g", ids[name]).unwrap())),
            ["poll", name] => writeln!(out, "{name} {}", render(groups.poll("g", ids[name], now))).unwrap(),
            ["check", name, ref tps @ ..] => {
                let tps: Vec<Tp> = tps.iter().map(|tp| Tp::new("t", tp.parse().unwrap())).collect();
                let result = groups.check("g", &tickets[name], tps.iter());
                writeln!(out, "{name} {}", result.map_or_else(|e| e.to_string(), |()| "ok".to_owned()))
                    .unwrap();
            }
            [seconds] => now += Duration::from_secs(seconds[1..].parse().unwrap()),
            _ => panic!("no such step: {line}"),
        }
    }
    expected.assert_eq(&out);
}

fn render(poll: Poll) -> String {
    let list = |tps: Vec<Tp>| tps.iter().map(|tp| format!(" {tp}")).collect::<String>();
    match poll {
        Poll::Event(GroupEvent::Assigned(tps)) => format!("assigned{}", list(tps)),
        Poll::Event(GroupEvent::Revoked(tps)) => format!("revoked{}", list(tps)),
        Poll::Event(GroupEvent::Lost(tps)) => format!("lost{}", list(tps)),
        Poll::Wait(_) => "-".to_owned(),
        Poll::Replaced => "replaced".to_owned(),
    }
}

#[test]
fn a_second_member_gets_half_after_the_answer() {
    check(
        "topic t 4
         join a t
         poll a
         join b t
         poll b
         poll a
         poll b
         answer a
         poll b
         poll a",
        expect![[r#"
            a assigned t[0] t[1] t[2] t[3]
            b -
            a revoked t[2] t[3]
            b -
            b assigned t[2] t[3]
            a -
        "#]],
    );
}

#[test]
fn few_partitions_move_when_a_third_comes_and_goes() {
    check(
        "topic t 6
         join a t
         join b t
         poll a
         poll b
         join c t
         poll a
         answer a
         poll b
         answer b
         poll c
         leave c
         poll a
         poll b",
        expect![[r#"
            a assigned t[0] t[1] t[2]
            b assigned t[3] t[4] t[5]
            a revoked t[2]
            b revoked t[5]
            c assigned t[2] t[5]
            a assigned t[2]
            b assigned t[5]
        "#]],
    );
}

#[test]
fn a_question_is_taken_back_when_the_reason_is_gone() {
    check(
        "topic t 2
         join a t
         poll a
         join b t
         leave b
         poll a",
        expect![[r#"
            a assigned t[0] t[1]
            a -
        "#]],
    );
}

#[test]
fn an_overdue_answer_loses_the_partitions_and_fences() {
    check(
        "topic t 2
         join a t
         poll a
         ticket a
         join b t
         poll a
         check a 0 1
         +29
         poll b
         +2
         poll b
         check a 0
         check a 1
         answer a
         poll a
         ticket a
         check a 1
         check a 0",
        expect![[r#"
            a assigned t[0] t[1]
            a revoked t[1]
            a ok
            b -
            b assigned t[1]
            a ok
            a fenced: t[1] is no longer this member's in group g
            a lost t[1]
            a fenced: t[1] is no longer this member's in group g
            a ok
        "#]],
    );
}

#[test]
fn a_ticket_from_before_does_not_hold_when_a_partition_comes_back() {
    check(
        "topic t 2
         join a t
         poll a
         ticket a
         join b t
         poll a
         answer a
         leave b
         poll a
         check a 0
         check a 1",
        expect![[r#"
            a assigned t[0] t[1]
            a revoked t[1]
            a assigned t[1]
            a ok
            a fenced: t[1] is no longer this member's in group g
        "#]],
    );
}

#[test]
fn an_instance_that_comes_again_replaces_the_former_at_once() {
    check(
        "topic t 2
         join a t as x
         poll a
         ticket a
         join b t as x
         poll b
         check a 0
         poll a
         answer a
         poll a",
        expect![[r#"
            a assigned t[0] t[1]
            b assigned t[0] t[1]
            a fenced: no longer a member of group g
            a lost t[0] t[1]
            a replaced
        "#]],
    );
}

#[test]
fn a_topic_made_later_and_different_subscriptions_are_served() {
    check(
        "join a t u
         join b t
         poll a
         topic u 3
         topic t 2
         poll a
         poll b",
        expect![[r#"
            a -
            a assigned u[0] u[1] u[2]
            b assigned t[0] t[1]
        "#]],
    );
}
