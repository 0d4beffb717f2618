//! Rules for Markdown: every relative link leads to a file of the repository, every anchor to a heading.
//!
//! **In** path, text, all files. **Out** breaches. **Not here:** addresses of the web, which nobody should need to build.

use std::collections::BTreeMap;

use super::Breach;

pub(super) fn check(path: &str, text: &str, files: &BTreeMap<String, String>) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (i, line) in prose(text) {
        for target in targets(line) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
            let folder = format!("{}/", file.trim_end_matches('/'));
            let lead = files.get(&file);
            if lead.is_none() && !files.keys().any(|name| name.starts_with(&folder)) {
                breaches.push(Breach::at(i, format!("the link leads nowhere: {target}")));
            } else if !anchor.is_empty()
                && lead.is_some_and(|text| file.ends_with(".md") && !has_heading(text, anchor))
            {
                breaches.push(Breach::at(i, format!("there is no such heading: {target}")));
            }
        }
    }
    breaches
}

/// Lines outside fenced code.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` and `![text](target)`, but not inside `code`.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("](") {
        let code = line[..at].matches('`').count() % 2 == 1;
        let rest = &line[at + 2..];
        if let Some(end) = rest.find([')', ' ']).filter(|_| !code) {
            found.push(&rest[..end]);
        }
    }
    found
}

pub(super) fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn has_heading(text: &str, anchor: &str) -> bool {
    prose(text).any(|(_, line)| line.starts_with('#') && slug(line.trim_start_matches('#')) == anchor)
}

/// As the usual renderers do it: lower case, spaces to `-`, other punctuation gone.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<String> {
        let files = BTreeMap::from([
            ("docs/A.md".to_owned(), text.to_owned()),
            ("docs/SQL.md".to_owned(), "# SQL\n## Time & windows\n".to_owned()),
            ("web/app.js".to_owned(), String::new()),
        ]);
        check("docs/A.md", text, &files).into_iter().map(|b| b.rule).collect()
    }

    #[test]
    fn links_lead_to_files_folders_and_headings() {
        for good in [
            "[a](SQL.md)",
            "[a](SQL.md#time--windows)",
            "[a](../web/app.js)",
            "[a](../web)",
            "[a](https://example.org)",
            "`[a](nowhere)`",
            "```\n[a](nowhere)\n```",
            "# Here\n[a](#here)",
        ] {
            assert!(rules(good).is_empty(), "{good}: {:?}", rules(good));
        }
        assert_eq!(rules("[a](nowhere.md)"), ["the link leads nowhere: nowhere.md"]);
        assert_eq!(rules("[a](SQL.md#joins)"), ["there is no such heading: SQL.md#joins"]);
    }
}
