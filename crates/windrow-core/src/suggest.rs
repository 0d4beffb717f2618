//! Suggestions: the known word that a mistyped one most likely stands for.
//!
//! **In** a word and the words that would have been right. **Out** the closest, when it is close enough to be meant.
//! **Invariant:** ties go to the first candidate, so messages are stable.

/// Longest word looked at: the distance costs the product of both lengths.
const WORD_MAX: usize = 64;

/// Returns the candidate within a third of the word's length in edits (case counts half), closest first.
///
/// - **Limits:** words of one character, or more than 64, have no suggestion.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if !(2..=WORD_MAX).contains(&length) {
        return None;
    }
    let reach = 2 * (length / 3).max(1);
    candidates
        .into_iter()
        .filter(|c| *c != word && c.chars().count() <= WORD_MAX)
        .map(|c| (distance(word, c), c))
        .filter(|(d, _)| *d <= reach)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edits that make `b` of `a`, counted double so that a change of case is one: insertion, deletion, replacement, and
/// the swap of two neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).map(|j| 2 * j).collect();
    for i in 1..=a.len() {
        let mut row = vec![2 * i; b.len() + 1];
        for j in 1..=b.len() {
            let (x, y) = (a[i - 1], b[j - 1]);
            row[j] = (last[j] + 2).min(row[j - 1] + 2).min(last[j - 1] + replacement(x, y));
            if i > 1 && j > 1 && x == b[j - 2] && a[i - 2] == y {
                row[j] = row[j].min(before[j - 2] + 2);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

fn replacement(x: char, y: char) -> usize {
    if x == y {
        0
    } else if x.to_lowercase().eq(y.to_lowercase()) {
        1
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_found_when_it_is_close() {
        let words = ["clicks", "click_rates", "flights", "avg", "count"];
        for (word, want) in [
            ("clics", Some("clicks")),
            ("Clicks", Some("clicks")),
            ("clikcs", Some("clicks")),
            ("flihgts", Some("flights")),
            ("cuont", Some("count")),
            ("agv", Some("avg")),
            ("orders", None),
            ("c", None),
            ("", None),
            ("clicks", None),
        ] {
            assert_eq!(closest(word, words), want, "{word}");
        }
    }
}
