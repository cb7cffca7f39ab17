//! Links between documents lead somewhere: to a file of the repository and, with `#`, to a heading in it.
//!
//! Leaves out links into the web: a check that needs the net fails for reasons that are not ours.

use super::{Verdict, source_tree::SourceTree};

/// Checks all Markdown files.
pub(super) fn check_links(tree: &SourceTree) -> Verdict {
    let mut findings = Vec::new();
    let mut count = 0_usize;
    for (name, text) in tree.texts_ending(".md") {
        for (line, target) in links_of(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let Some(file) = resolve(name, path) else {
                findings.push(format!("{name}:{line}: `{target}` leads out of the repository"));
                continue;
            };
            if !tree.contains(&file) {
                findings.push(format!("{name}:{line}: `{target}` does not exist"));
            } else if !anchor.is_empty() && !tree.text(&file).is_some_and(|text| has_heading(text, anchor)) {
                findings.push(format!("{name}:{line}: `{file}` has no heading `#{anchor}`"));
            }
        }
    }
    Verdict::of(findings, format!("{count} links"))
}

/// Line numbers and targets of `[text](target)`, outside of code.
fn links_of(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose_lines(text) {
        let prose = without_code(line);
        for (at, _) in prose.match_indices("](") {
            if let Some((target, _)) = prose[at + 2..].split_once(')') {
                let target = target.split_whitespace().next().unwrap_or_default();
                links.push((number, target.to_owned()));
            }
        }
    }
    links
}

/// The line without what stands between back quotes. The text of a link may be code; the link around it is not.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Numbered lines outside of fenced blocks.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_fence = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_fence ^= is_fence;
        !in_fence && !is_fence
    })
}

/// The path that a link in `from` means, relative to the root. `None` when it climbs out.
fn resolve(from: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn has_heading(text: &str, anchor: &str) -> bool {
    prose_lines(text)
        .filter_map(|(_, line)| line.strip_prefix('#'))
        .any(|heading| anchor_of(heading.trim_start_matches('#')) == anchor)
}

/// The anchor that GitHub makes of a heading: lower case, spaces to hyphens, punctuation dropped.
fn anchor_of(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        match check_links(&SourceTree::of(files)) {
            Verdict::Findings(findings) => findings,
            _ => Vec::new(),
        }
    }

    #[test]
    fn files_folders_and_headings_are_found() {
        let found = findings(&[
            (
                "README.md",
                "[a](docs/a.md) [b](docs) [c](docs/a.md#what-it-is) [d](#top)\n# Top\n",
            ),
            ("docs/a.md", "[up](../README.md)\n## What it is\n"),
        ]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn a_missing_file_a_missing_heading_and_a_way_out_are_named() {
        let found = findings(&[("docs/a.md", "[x](b.md)\n[y](#no)\n[`z`](c.md)\n[w](../../etc/passwd)\n")]);
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn links_in_code_and_into_the_web_are_passed_over() {
        let found = findings(&[("a.md", "```\n[x](y.md)\n```\n`[x](y.md)` [z](https://example.org/)\n")]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn anchors_are_made_as_the_web_pages_make_them() {
        assert_eq!(anchor_of(" Break-glass: by `label`"), "break-glass-by-label");
    }
}
