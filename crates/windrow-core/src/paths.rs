//! Paths: what wanted columns mean below one name of a nested value.
//!
//! **In** paths with the slot of each. **Out** the slot of the whole, and the paths that go on.
//! **Not here:** where a path is split (the formats: a dot, or a key of a map).

/// Finds what the paths want behind one name.
pub(crate) fn behind<'p>(
    name: &str,
    paths: &[(&'p str, usize)],
    split: impl Fn(&'p str) -> (&'p str, Option<&'p str>),
) -> (Option<usize>, Vec<(&'p str, usize)>) {
    let (mut slot, mut rests) = (None, Vec::new());
    for (path, index) in paths {
        match split(path) {
            (head, Some(rest)) if head == name => rests.push((rest, *index)),
            (head, None) if head == name => slot = Some(*index),
            _ => {}
        }
    }
    (slot, rests)
}

/// Lists the names that the paths begin with, each once.
pub(crate) fn heads<'p>(
    paths: &[(&'p str, usize)],
    split: impl Fn(&'p str) -> (&'p str, Option<&'p str>),
) -> Vec<&'p str> {
    let mut heads = Vec::new();
    for (path, _) in paths {
        let (head, _) = split(path);
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
    heads
}
