//! Every source file says at its head what it is, and is short enough to be read in one sitting.

use super::{
    Verdict,
    source_tree::{SourceTree, is_generated},
};

/// Past this the check fails: there is a second subject inside.
const MAX_LINES: usize = 800;
/// Past this a file is named in the report.
const LONG_LINES: usize = 500;

/// Checks all Rust files that people wrote.
pub(super) fn check_heads(tree: &SourceTree) -> Verdict {
    let mut findings = Vec::new();
    let mut long = Vec::new();
    let mut count = 0_usize;
    for (name, text) in tree.texts_ending(".rs").filter(|(_, text)| !is_generated(text)) {
        count += 1;
        if !has_head(text) {
            findings.push(format!("{name}: no `//!` at its head says what it is"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            findings.push(format!("{name}: {lines} lines, more than {MAX_LINES}"));
        } else if lines > LONG_LINES {
            long.push(format!("{name} ({lines})"));
        }
    }
    let mut detail = format!("{count} files");
    if !long.is_empty() {
        detail = format!("{detail}; over {LONG_LINES} lines: {}", long.join(", "));
    }
    Verdict::of(findings, detail)
}

/// Whether `//!` comes before the first item. Attributes of the file, such as `#![no_main]`, may come first.
fn has_head(text: &str) -> bool {
    for line in text.lines().map(str::trim) {
        if let Some(head) = line.strip_prefix("//!") {
            return !head.trim().is_empty();
        }
        if !(line.is_empty() || line.starts_with("#![") || line.starts_with("//")) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_head_is_named() {
        let tree = SourceTree::of(&[
            ("a.rs", "//! A.\n"),
            ("b.rs", "use std::fs;\n//! Late.\n"),
            ("c.rs", ""),
        ]);
        let Verdict::Findings(findings) = check_heads(&tree) else {
            panic!("nothing was found");
        };
        assert_eq!(findings.len(), 2);
        assert!(findings[0].starts_with("b.rs") && findings[1].starts_with("c.rs"));
    }

    #[test]
    fn attributes_of_the_file_may_come_first() {
        assert!(has_head("#![no_main]\n\n//! Fuzzes.\n"));
    }

    #[test]
    fn generated_code_needs_no_head() {
        let tree = SourceTree::of(&[("a.rs", "// @generated\npub struct A;\n")]);
        assert!(matches!(check_heads(&tree), Verdict::Clean(_)));
    }

    #[test]
    fn a_file_that_grew_too_long_is_named() {
        let text = format!("//! A.\n{}", "\n".repeat(MAX_LINES));
        assert!(matches!(
            check_heads(&SourceTree::of(&[("a.rs", &text)])),
            Verdict::Findings(_)
        ));
    }
}
