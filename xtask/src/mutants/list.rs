//! Which mutants there are: what cargo-mutants lists, with the places in the sources.

use std::{ops::Range, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{explained::without_position, one_by_one::of_core};
use crate::steps::{Interrupt, output_of};

/// How long it takes to say which mutants there are.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// One change of the sources.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Mutant {
    /// With file, line and column.
    pub(super) name: String,
    /// From the root of the repository.
    pub(super) file: String,
    /// What is changed: text that `replacement` takes the place of.
    pub(super) span: Span,
    pub(super) replacement: String,
    pub(super) genre: Genre,
}

/// What kind of place a mutant changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Genre {
    /// The body of a function becomes a value.
    FnValue,
    BinaryOperator,
    UnaryOperator,
    /// A match arm goes.
    MatchArm,
    /// The condition of a match arm becomes `true` or `false`.
    MatchArmGuard,
    /// A field of a struct expression that ends in `..base` goes.
    StructField,
}

/// Where text begins, and where it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Span {
    start: LineColumn,
    end: LineColumn,
}

/// Both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct LineColumn {
    line: usize,
    column: usize,
}

impl Mutant {
    /// As `xtask/mutants.txt` names it.
    pub(super) fn without_position(&self) -> String {
        without_position(&self.name)
    }
}

impl Span {
    /// The same in bytes of the file's text.
    ///
    /// # Errors
    /// When the text has no such place: it is not the text that was listed.
    pub(super) fn bytes(&self, text: &str) -> Result<Range<usize>> {
        let bytes = self.start.byte(text)?..self.end.byte(text)?;
        ensure!(bytes.start <= bytes.end, "a span ends before it begins");
        Ok(bytes)
    }
}

impl LineColumn {
    fn byte(self, text: &str) -> Result<usize> {
        let line = self.line.checked_sub(1).context("lines count from 1")?;
        let start = match line.checked_sub(1) {
            None => 0,
            Some(before) => text.match_indices('\n').nth(before).context("the file is shorter")?.0 + 1,
        };
        let rest = text.get(start..).context("no start of a line")?;
        let column = self.column.checked_sub(1).context("columns count from 1")?;
        let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
        Ok(start + ends.nth(column).context("the line is shorter")?)
    }
}

/// Lists the mutants of a core.
///
/// # Errors
/// When cargo-mutants fails, or says something else than expected.
pub(super) async fn of(program: &Path, core: &str, interrupt: &mut Interrupt) -> Result<Vec<Mutant>> {
    let json = output_of(&of_core(program, core).args(["--list", "--json"]), TIMEOUT, interrupt).await?;
    serde_json::from_str(&json).with_context(|| format!("reading the list of mutants of {core}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: (usize, usize), end: (usize, usize)) -> Span {
        let at = |(line, column)| LineColumn { line, column };
        Span {
            start: at(start),
            end: at(end),
        }
    }

    #[test]
    fn columns_count_characters() {
        let text = "ä = b;\nc == d";
        assert_eq!(&text[span((1, 5), (1, 6)).bytes(text).unwrap()], "b");
        assert_eq!(&text[span((2, 3), (2, 5)).bytes(text).unwrap()], "==");
        assert_eq!(&text[span((1, 5), (2, 7)).bytes(text).unwrap()], "b;\nc == d");
    }

    #[test]
    fn another_text_is_an_error() {
        assert!(span((3, 1), (3, 2)).bytes("a\nb").is_err());
        assert!(span((1, 1), (1, 9)).bytes("a").is_err());
    }
}
