//! `xtask/mutants.txt`: the mutants that may survive, each with the reason why no test can or should notice it.
//!
//! A mutant is named as cargo-mutants names it, without line and column, so that the list outlives other changes of the
//! file: two mutants of one function with the same change have one line.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, ensure};

/// What is said behind the name of a mutant that no test reaches.
pub(super) const NOT_REACHED: &str = " (no test gets there)";

/// Reasons by mutant.
#[derive(Debug, Default)]
pub(super) struct Explained(BTreeMap<String, String>);

impl Explained {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or a mutant has no reason.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Lines of mutants that share the reason below them, which is indented; `#` begins a comment.
    fn parse(text: &str) -> Result<Self> {
        let mut reasons: BTreeMap<String, String> = BTreeMap::new();
        let mut waiting: Vec<&str> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.strip_prefix("    ") {
                None => waiting.push(line),
                Some(reason) => {
                    ensure!(!waiting.is_empty(), "line {number}: a reason without a mutant");
                    for mutant in waiting.drain(..) {
                        let former = reasons.insert(mutant.to_owned(), reason.to_owned());
                        ensure!(former.is_none(), "line {number}: {mutant} has two reasons");
                    }
                }
            }
        }
        ensure!(waiting.is_empty(), "without a reason: {}", waiting.join("; "));
        Ok(Self(reasons))
    }

    /// Whether a mutant, named with line and column, has a reason to survive.
    pub(super) fn has(&self, name: &str) -> bool {
        let name = name.trim_end_matches(NOT_REACHED);
        self.0.contains_key(&without_position(name))
    }

    /// Looks whether all that is explained exists.
    ///
    /// # Errors
    /// When something does not: its code has changed, and the reason says nothing any more.
    pub(super) fn require_known(&self, known: &BTreeSet<String>) -> Result<()> {
        let gone: Vec<&str> = self
            .0
            .keys()
            .filter(|name| !known.contains(*name))
            .map(String::as_str)
            .collect();
        ensure!(
            gone.is_empty(),
            "explained, but no mutant any more: {}",
            gone.join("; ")
        );
        Ok(())
    }
}

/// `a.rs:1:2: replace …` without `1:2`.
pub(super) fn without_position(name: &str) -> String {
    match name.split_once(": ") {
        Some((place, change)) => {
            let file = place.split(':').next().unwrap_or(place);
            format!("{file}: {change}")
        }
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Why.
a.rs: replace < with <= in f
a.rs: replace g -> bool with true
    both sides are equal there

b.rs: delete ! in h
    only faster
";

    #[test]
    fn a_mutant_is_known_wherever_it_stands() {
        let explained = Explained::parse(TEXT).unwrap();
        assert!(explained.has("a.rs:10:4: replace g -> bool with true"));
        assert!(explained.has("b.rs:1:1: delete ! in h"));
        assert!(!explained.has("b.rs:1:1: replace g -> bool with true"));
    }

    #[test]
    fn a_mutant_without_a_reason_is_refused() {
        let error = Explained::parse("a.rs: delete ! in f\n").unwrap_err();
        assert!(error.to_string().contains("a.rs: delete ! in f"), "{error}");
        assert!(Explained::parse("    a reason\n").is_err());
    }

    #[test]
    fn a_reason_for_what_is_gone_is_refused() {
        let explained = Explained::parse(TEXT).unwrap();
        let mut known: BTreeSet<String> = explained.0.keys().cloned().collect();
        explained.require_known(&known).unwrap();
        known.remove("b.rs: delete ! in h");
        assert!(explained.require_known(&known).is_err());
    }
}
