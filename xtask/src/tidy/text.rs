//! Rules for every text: no stray white space, nothing that only exists on one machine.
//!
//! **In** path and text. **Out** breaches. **Not here:** what a language asks for (`rust`, `web`, `links`).

use super::Breach;

/// Folders of somebody's machine. Written in two pieces, so that this file keeps its own rule.
const FOLDERS: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

/// What git leaves where two changes met.
const MARKS: &[&str] = &["<<<<<<<", ">>>>>>>"];

/// How the addresses of package registries begin: clients know where theirs is, and mirrors differ.
const REGISTRIES: &[&str] = &["//registry.", "//index.", "//static.", "//files.", "//repo.", "//repo1."];

pub(super) fn check(path: &str, text: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.trim_end() != line {
            breaches.push(Breach::at(i, "white space at the end of the line"));
        }
        if MARKS.iter().any(|mark| line.starts_with(mark)) {
            breaches.push(Breach::at(i, "a merge that was not finished"));
        }
        if let Some(folder) = FOLDERS.iter().find(|folder| names_folder(line, folder)) {
            breaches.push(Breach::at(i, format!("a path of one machine: {folder}")));
        }
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(&format!(":{host}"))) {
            breaches.push(Breach::at(i, format!("a registry's address: {host}…")));
        }
        if path.ends_with("package-lock.json") && line.contains("\"resolved\": \"http") {
            breaches.push(Breach::at(
                i,
                "a download address; npm's omit-lockfile-registry-resolved leaves it out",
            ));
        }
        if path == "Cargo.lock"
            && line.starts_with("source = ")
            && !line.contains("registry+https://github.com/rust-lang/")
        {
            breaches.push(Breach::at(i, "a source that is not the registry"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        breaches.push(Breach::at(text.lines().count() - 1, "the last line has no line end"));
    }
    breaches
}

/// A path starts with its folder; `docs/home/` and `http://example.org/home/` are not such paths.
fn names_folder(line: &str, folder: &str) -> bool {
    let starts = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-*}$".contains(c));
    line.match_indices(folder).any(|(at, _)| starts(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<String> {
        check(path, text).into_iter().map(|b| format!("{} {}", b.line, b.rule)).collect()
    }

    #[test]
    fn stray_white_space_is_found() {
        assert_eq!(rules("a.md", "ok\nbad \n"), ["2 white space at the end of the line"]);
        assert_eq!(rules("a.md", "ok\nbad"), ["2 the last line has no line end"]);
        assert!(rules("a.md", "").is_empty());
    }

    #[test]
    fn an_unfinished_merge_is_found() {
        assert_eq!(rules("a.md", "<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n").len(), 2);
        assert!(rules("a.md", "    <<<<<<< in a listing\n===\n").is_empty());
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_url_is_not() {
        let path = concat!("see /ho", "me/ada/notes\n");
        assert_eq!(rules("a.md", path).len(), 1);
        assert!(rules("a.md", concat!("https://example.org/ho", "me/ada\n")).is_empty());
    }

    #[test]
    fn a_registry_s_address_is_found() {
        assert_eq!(rules("a.md", concat!("see https:", "//registry.example.org/x\n")).len(), 1);
        assert!(rules("a.md", "see https://example.org/registry\n").is_empty());
    }

    #[test]
    fn lock_files_name_no_address() {
        assert_eq!(rules("t/package-lock.json", "\"resolved\": \"https://x/y.tgz\",\n").len(), 1);
        assert_eq!(rules("Cargo.lock", "source = \"git+https://example.org/x\"\n").len(), 1);
    }
}
