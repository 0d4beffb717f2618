//! Numbers that are given once, whoever writes the entries.

use proptest::prelude::*;

use super::*;

fn take_all(ledger: &mut Ledger, entries: &[Entry]) {
    for entry in entries {
        ledger.take(Some(&entry.to_json())).unwrap();
    }
}

/// Looks as one process does: what is new is written, then what is lost.
fn settle(ledger: &mut Ledger, found: &[Found<'_>]) {
    let entries: Vec<_> =
        ledger.news(found.iter().copied()).into_iter().chain(ledger.losses(found.iter().copied())).collect();
    take_all(ledger, &entries);
    assert_eq!(ledger.news(found.iter().copied()), [], "all is said");
    assert_eq!(ledger.losses(found.iter().copied()), []);
}

#[test]
fn topics_that_come_grow_go_and_come_back_have_numbers_of_their_own() {
    let mut ledger = Ledger::default();
    settle(&mut ledger, &[("a", 1, 2), ("b", 2, 1)]);
    assert_eq!((ledger.numbers("a", 1), ledger.numbers("b", 2)), (&[0, 1][..], &[2][..]));
    assert!(!(0..3).any(|number| ledger.is_later(number)), "they were there at the start");

    settle(&mut ledger, &[("a", 1, 3), ("b", 2, 1), ("c", 3, 1)]);
    assert_eq!((ledger.numbers("a", 1), ledger.numbers("c", 3)), (&[0, 1, 3][..], &[4][..]));
    assert!(ledger.is_later(3) && ledger.is_later(4));
    assert_eq!(ledger.named(3).map(|(topic, partition)| (&**topic, partition)), Some(("a", 2)));

    // Gone, and made anew under the same name: another life, another number.
    settle(&mut ledger, &[("a", 1, 3), ("c", 3, 1)]);
    assert_eq!((ledger.living(), ledger.gone()), (vec![0, 1, 3, 4], vec![2]));
    settle(&mut ledger, &[("a", 1, 3), ("b", 9, 2), ("c", 3, 1)]);
    assert_eq!((ledger.numbers("b", 2), ledger.numbers("b", 9)), (&[2][..], &[5, 6][..]));
    assert_eq!(ledger.gone(), [2]);

    // Not found for a while, and back: the same life.
    settle(&mut ledger, &[("b", 9, 2)]);
    assert_eq!(ledger.living(), [5, 6]);
    settle(&mut ledger, &[("a", 1, 3), ("b", 9, 2)]);
    assert_eq!((ledger.living(), ledger.len()), (vec![0, 1, 3, 5, 6], 7));
    assert!(ledger.knows("c") && !ledger.knows("bb") && !ledger.knows(""));
    assert_eq!(ledger.named(7), None);
    assert_eq!(ledger.named(-1), None);
}

#[test]
fn what_has_no_number_left_is_left_out() {
    let mut ledger = Ledger::default();
    let most = SOURCES_MAX as i32;
    settle(&mut ledger, &[("a", 1, most - 1), ("b", 2, 3), ("c", 3, 1)]);
    assert_eq!(ledger.len(), SOURCES_MAX);
    assert_eq!((ledger.numbers("b", 2), ledger.numbers("c", 3)), (&[most - 1][..], &[][..]));
    let absurd = Entry { partitions: i32::MAX, ..ledger.losses([])[0].clone() };
    take_all(&mut ledger, &[absurd]);
    assert_eq!(ledger.len(), SOURCES_MAX);
}

#[test]
fn what_is_no_entry_is_told() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.take(None), Err("it has no value".into()));
    for (value, want) in [
        ("", "EOF"),
        ("{}", "missing field `topic`"),
        (r#"{"topic":"a","epoch":"xyz","partitions":1,"from":"start","gone":false}"#, "invalid digit"),
        (r#"{"topic":"a","epoch":"1","partitions":1,"from":"middle","gone":false}"#, "unknown variant"),
        (r#"{"topic":"a","epoch":"1","partitions":1,"from":"start","gone":false,"more":1}"#, "unknown field"),
    ] {
        let why = ledger.take(Some(value.as_bytes())).unwrap_err();
        assert!(why.contains(want), "{value}: {why}");
    }
    let below = r#"{"topic":"a","epoch":"1","partitions":-7,"from":"start","gone":false}"#;
    ledger.take(Some(below.as_bytes())).unwrap();
    assert!(ledger.is_empty());
}

/// One look of one of two processes: the topics it sees, and how many entries of the topic it has read before.
type Look = (bool, Vec<(u8, u8, i32)>);

fn looks() -> impl Strategy<Value = Vec<Look>> {
    let topic = (0..3_u8, 0..2_u8, 1..4_i32);
    prop::collection::vec((any::<bool>(), prop::collection::vec(topic, 0..4)), 1..12)
}

proptest! {
    /// Two processes write what they miss without hearing of each other in time: still all have the same numbers, each is of one
    /// partition of one life, and none ever changes.
    #[test]
    fn processes_that_write_at_the_same_time_agree(looks in looks()) {
        let mut topic: Vec<Entry> = Vec::new();
        let mut readers = [(Ledger::default(), 0), (Ledger::default(), 0)];
        for (who, found) in looks {
            let names = ["a", "b", "c"];
            let found: Vec<Found<'_>> =
                found.iter().map(|(name, epoch, count)| (names[usize::from(*name)], u128::from(*epoch) + 1, *count)).collect();
            // One of them lags behind: it writes from what it knew, and reads only then.
            let (ledger, read) = &mut readers[usize::from(who)];
            let mut entries = ledger.news(found.iter().copied());
            entries.extend(ledger.losses(found.iter().copied()));
            topic.extend(entries);
            let before = ledger.clone();
            take_all(ledger, &topic[*read..]);
            *read = topic.len();
            for number in 0..before.len() as i32 {
                prop_assert_eq!(before.named(number), ledger.named(number));
            }
        }
        let mut whole = Ledger::default();
        take_all(&mut whole, &topic);
        for (ledger, read) in &mut readers {
            take_all(ledger, &topic[*read..]);
            prop_assert_eq!(&ledger.lives.keys().collect::<Vec<_>>(), &whole.lives.keys().collect::<Vec<_>>());
            prop_assert_eq!(ledger.living(), whole.living());
        }
        let mut numbers: Vec<i32> = whole.living().into_iter().chain(whole.gone()).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..whole.len() as i32).collect::<Vec<_>>(), "each number is of one partition");
    }
}
