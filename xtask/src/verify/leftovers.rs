//! Nothing in the tree was left for later: no notes to self, no macros that panic in place of an answer.

use super::{Verdict, source_tree::SourceTree};

/// Words, each split so that this file does not name itself.
const LEFTOVERS: [(&str, &str); 7] = [
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X:"),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("dbg", "!("),
    ("<<<<", "<<< "),
];

/// Files that people do not write, or in which these letters mean something else.
const EXEMPT_ENDINGS: [&str; 5] = [".lock", ".sum", "LICENSE", "deny.toml", ".csv"];

/// Checks all text files.
pub(super) fn check_leftovers(tree: &SourceTree) -> Verdict {
    let words: Vec<String> = LEFTOVERS.iter().map(|(start, end)| format!("{start}{end}")).collect();
    let mut findings = Vec::new();
    let mut count = 0_usize;
    for (name, text) in tree.texts() {
        if EXEMPT_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        count += 1;
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(word) = words.iter().find(|word| contains_word(line, word)) {
                findings.push(format!("{name}:{number}: `{word}`"));
            }
        }
    }
    Verdict::of(findings, format!("{count} files"))
}

/// Whether the word stands in the line, not as the end of a longer one (`AUTO` + `DO`).
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let goes_on = word.ends_with(char::is_alphanumeric) && joins(after);
        !(joins(before) || goes_on)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leftover_is_found_with_its_line() {
        for (start, end) in LEFTOVERS {
            let tree = SourceTree::of(&[("a.rs", &format!("//! A.\n    {start}{end} later\n"))]);
            let Verdict::Findings(findings) = check_leftovers(&tree) else {
                panic!("{start}{end} was not found");
            };
            assert!(findings[0].starts_with("a.rs:2"), "{findings:?}");
        }
    }

    #[test]
    fn a_longer_word_is_another_word() {
        assert!(!contains_word("METODO", concat!("TO", "DO")));
        assert!(!contains_word("a_dbg!(x)", concat!("dbg", "!(")));
    }
}
