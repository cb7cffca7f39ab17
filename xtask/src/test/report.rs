//! The table at the end of a run: minutes and results of each part, and what went wrong.

use std::{fmt, time::Duration};

use crate::steps::Tally;

/// A cold run that takes longer is a defect of the tests.
const BUDGET: Duration = Duration::from_secs(60 * 60);

/// One part of the run.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) took: Duration,
    pub(super) tally: Tally,
    /// Steps that did not end well.
    pub(super) problems: Vec<String>,
    was_run: bool,
}

impl Row {
    /// A part that runs now.
    pub(super) fn of(name: &'static str) -> Self {
        Self {
            name,
            took: Duration::ZERO,
            tally: Tally::default(),
            problems: Vec::new(),
            was_run: true,
        }
    }

    /// A part that an earlier failure or an interrupt kept from running.
    pub(super) fn not_run(name: &'static str) -> Self {
        Self {
            was_run: false,
            ..Self::of(name)
        }
    }
}

/// All parts of the run.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<Row>,
    /// The whole; parts that ran at the same time make it less than their sum.
    pub(super) took: Duration,
}

impl Report {
    /// Adds a part.
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Whether a part failed, or was left out because of an interrupt.
    pub(super) fn has_failures(&self) -> bool {
        self.rows.iter().any(|row| row.tally.failed > 0 || !row.was_run)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut total = Tally::default();
        writeln!(
            f,
            "\n{:<12} {:>8} {:>8} {:>8} {:>8}",
            "part", "minutes", "passed", "failed", "ignored"
        )?;
        for row in &self.rows {
            if row.was_run {
                write_row(f, row.name, row.took, &row.tally)?;
            } else {
                writeln!(f, "{:<12} {:>8}", row.name, "not run")?;
            }
            total.add(&row.tally);
        }
        write_row(f, "total", self.took, &total)?;
        if self.took > BUDGET {
            writeln!(f, "took more than {} minutes", BUDGET.as_secs() / 60)?;
        }
        for failure in &total.failures {
            writeln!(f, "failed test: {failure}")?;
        }
        for problem in self.rows.iter().flat_map(|row| &row.problems) {
            writeln!(f, "failed: {problem}")?;
        }
        writeln!(f, "{} passed, {} failed", total.passed, total.failed)
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, name: &str, took: Duration, tally: &Tally) -> fmt::Result {
    let minutes = took.as_secs_f64() / 60.0;
    writeln!(
        f,
        "{name:<12} {minutes:>8.1} {:>8} {:>8} {:>8}",
        tally.passed, tally.failed, tally.ignored
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, passed: u64, failed: u64) -> Row {
        let mut row = Row::of(name);
        row.took = Duration::from_secs(90);
        row.tally.passed = passed;
        row.tally.failed = failed;
        row
    }

    #[test]
    fn the_last_line_sums_the_results() {
        let mut report = Report::default();
        report.add(row("a", 3, 0));
        report.add(row("b", 4, 1));
        report.add(Row::not_run("c"));
        report.took = Duration::from_secs(120);
        let text = report.to_string();
        assert!(text.ends_with("7 passed, 1 failed\n"), "{text}");
        assert!(text.contains("not run"));
        assert!(text.contains("total             2.0        7        1"), "{text}");
        assert!(report.has_failures());
    }

    #[test]
    fn a_run_that_passed_has_no_failures() {
        let mut report = Report::default();
        report.add(row("a", 3, 0));
        assert!(!report.has_failures());
    }
}
