//! `[console]`: figures on standard error while records come.

use super::{ConsoleConfig, reader::Reader};

/// A line in that many records is no line.
const EVERY_MAX: i64 = 1 << 50;
/// Views of one line: what a screen is wide.
const VIEWS_MAX: usize = 16;

/// Returns the settings, and the names in them with their offsets.
pub(super) fn read(console: Reader<'_>) -> (ConsoleConfig, Vec<(String, usize)>) {
    let every = console.number("every", 0..=EVERY_MAX).unwrap_or(0);
    let views = console.texts("views").unwrap_or_default();
    if views.len() > VIEWS_MAX {
        let message = format!("`views` of [console] has at most {VIEWS_MAX} names, not {}", views.len());
        console.wrong("views", message, None);
    }
    if !views.is_empty() && !console.has("every") {
        let hint = "write every = 100000".to_owned();
        console.wrong("views", "`views` of [console] needs `every`", Some(hint));
    }
    console.finish();
    let names = views.iter().map(|(name, _)| name.as_str().into()).collect();
    (ConsoleConfig { every: every.unsigned_abs(), views: names }, views)
}
