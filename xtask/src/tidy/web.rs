//! Rules for the dashboard: a header, nothing inline, nothing from elsewhere, no text that becomes markup.
//!
//! **In** path and text of `.js`, `.mjs`, `.css`, `.html`. **Out** breaches. **Not here:** how it looks; Chromium's tests see to it.

use super::Breach;

/// Doors through which text becomes markup or code.
const DOORS: &[&str] = &[
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "new Function",
    "setAttribute(\"style\"",
];

/// A file's hard limit, as for Rust.
const LINES_MAX: usize = 500;

pub(super) fn check(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let opens = ["/*", "//", "<!doctype html>", "#!"].iter().any(|start| text.starts_with(start));
    if !opens {
        breaches.push(Breach::at(0, "the file opens with a comment: what comes in, what goes out"));
    }
    if text.lines().count() > LINES_MAX {
        breaches.push(Breach::at(LINES_MAX, format!("at most {LINES_MAX} lines")));
    }
    if !path.starts_with("web/") {
        return breaches;
    }
    for (i, line) in text.lines().enumerate() {
        let svg = line.replace("http://www.w3.org/2000/svg", "");
        if svg.contains("http://") || svg.contains("https://") {
            breaches.push(Breach::at(i, "the dashboard loads and names nothing from elsewhere"));
        }
        if let Some(door) = DOORS.iter().find(|door| line.contains(*door)) {
            breaches.push(Breach::at(i, format!("text goes in by textContent, not by {door}")));
        }
        if path.ends_with(".html") && inline(line) {
            breaches
                .push(Breach::at(i, "no inline script, style or handler: the content policy forbids them"));
        }
    }
    breaches
}

fn inline(line: &str) -> bool {
    let script = line.contains("<script") && !line.contains(" src=");
    let handler = line.match_indices(" on").any(|(at, _)| {
        let rest = &line[at + 3..];
        let name = rest.chars().take_while(char::is_ascii_lowercase).count();
        name > 0 && rest[name..].starts_with('=')
    });
    script || handler || line.contains("<style") || line.contains(" style=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<usize> {
        check(path, text).into_iter().map(|b| b.line).collect()
    }

    #[test]
    fn the_dashboard_has_no_door_for_markup() {
        assert_eq!(rules("web/a.js", "// A.\na.innerHTML = b;\n"), [2]);
        assert_eq!(
            rules("web/a.html", "<!doctype html>\n<p style=\"x\">\n<b onclick=\"x\">\n<script>\n"),
            [2, 3, 4]
        );
        assert!(
            rules("web/a.html", "<!doctype html>\n<script type=\"module\" src=\"app.js\"></script>\n")
                .is_empty()
        );
        assert_eq!(rules("web/a.css", "a {}\n"), [1]);
        assert_eq!(rules("web/a.js", "// A.\nimport \"https://example.org/a.js\";\n"), [2]);
    }
}
