//! What runs have shown, as a page of Markdown that is kept: what was done, how much happened, the verdicts.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write as _};

use crate::judge::Verdict;
use crate::mistakes::{Hunt, Mistake, Processes};

/// Rounds of kills, a row each.
#[derive(Debug, Default)]
pub struct KillReport {
    command: String,
    rows: Vec<[String; 13]>,
    sums: [usize; 11],
    fault_points: BTreeSet<String>,
    proven: usize,
}

const COLUMNS: [&str; 11] = [
    "kills",
    "at fault points",
    "terminations",
    "pauses",
    "takeovers",
    "sessions resumed",
    "QoS 2 interrupted",
    "publications acknowledged",
    "deliveries due",
    "retained read",
    "wills due",
];

impl KillReport {
    /// A report of what a command does.
    #[must_use]
    pub fn new(command: String) -> Self {
        Self {
            command,
            ..Self::default()
        }
    }

    /// Adds a round.
    pub fn add(&mut self, seed: u64, verdict: &Verdict) {
        let coverage = &verdict.coverage;
        let counts = [
            coverage.kills,
            coverage.at_fault_points,
            coverage.terminations,
            coverage.pauses,
            coverage.takeovers,
            coverage.resumes,
            coverage.interrupted,
            coverage.acknowledged,
            coverage.due,
            coverage.retained,
            coverage.wills,
        ];
        for (sum, count) in self.sums.iter_mut().zip(counts) {
            *sum += count;
        }
        self.fault_points.extend(coverage.fault_points.iter().cloned());
        self.proven += usize::from(verdict.is_proven());
        let verdict = match (verdict.is_refuted(), verdict.is_proven()) {
            (true, _) => "refuted",
            (false, true) => "proven",
            (false, false) => "too little happened",
        };
        let mut row: [String; 13] = std::array::from_fn(|_| String::new());
        row[0] = seed.to_string();
        for (cell, count) in row.iter_mut().skip(1).zip(counts) {
            *cell = count.to_string();
        }
        row[12] = verdict.to_owned();
        self.rows.push(row);
    }
}

impl Display for KillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# A broker that is killed\n")?;
        writeln!(
            f,
            "Clients at work while processes of the broker are killed at any time, and a judge of what they saw: nothing \
             acknowledged\nis lost, QoS 2 comes once, in order; sessions, retained messages, takeovers and wills are right. \
             Version {}.\n",
            env!("CARGO_PKG_VERSION")
        )?;
        writeln!(f, "```sh\n{}\n```\n", self.command)?;
        writeln!(f, "{} of {} rounds are proven.\n", self.proven, self.rows.len())?;
        let mut columns = vec!["seed"];
        columns.extend(COLUMNS);
        columns.push("verdict");
        table(f, &columns, self.rows.iter().map(|row| row.as_slice()))?;
        let sums: Vec<String> = self.sums.iter().map(usize::to_string).collect();
        writeln!(f, "| together | {} | |", sums.join(" | "))?;
        if self.fault_points.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\nThe programs are those of tests: what they have not flushed is gone with the process, as with the power. They \
             have ended\nat each of these places:\n"
        )?;
        for name in &self.fault_points {
            writeln!(f, "- `{name}`")?;
        }
        Ok(())
    }
}

/// Mistakes and what came of them, a row for each seed.
#[derive(Debug)]
pub struct MistakeReport {
    command: String,
    found: Vec<[String; 7]>,
    without: Vec<[String; 5]>,
}

impl MistakeReport {
    /// A report of what a command does.
    #[must_use]
    pub const fn new(command: String) -> Self {
        Self {
            command,
            found: Vec::new(),
            without: Vec::new(),
        }
    }

    /// Adds a hunt for a mistake.
    pub fn hunted(&mut self, mistake: &Mistake, seed: u64, hunt: &Hunt) {
        let mut broken = String::new();
        for rule in &hunt.broken {
            let comma = if broken.is_empty() { "" } else { ", " };
            let _ = write!(broken, "{comma}{rule:?}");
        }
        self.found.push([
            format!("`{}`", mistake.name),
            mistake.what.to_owned(),
            seed.to_string(),
            hunt.rounds.to_string(),
            hunt.kills.to_string(),
            broken,
            if hunt.is_right { "refuted" } else { "not found" }.to_owned(),
        ]);
    }

    /// Adds what the same rounds showed without a mistake.
    pub fn without(&mut self, processes: Processes, seed: u64, hunt: &Hunt) {
        self.without.push([
            processes.name().to_owned(),
            seed.to_string(),
            hunt.rounds.to_string(),
            hunt.kills.to_string(),
            if hunt.is_right { "proven" } else { "not proven" }.to_owned(),
        ]);
    }
}

impl Display for MistakeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Mistakes that the history checker finds\n")?;
        writeln!(
            f,
            "Programs of tests make a mistake on purpose, each a line at its place, and are killed. What they have not \
             flushed is gone\nwith the process, as with the power. Rounds are run until the judge refutes the broker by a \
             promise that the mistake breaks.\nVersion {}.\n",
            env!("CARGO_PKG_VERSION")
        )?;
        writeln!(f, "```sh\n{}\n```\n", self.command)?;
        let columns = ["mistake", "what", "seed", "rounds", "kills", "broken", "verdict"];
        table(f, &columns, self.found.iter().map(|row| row.as_slice()))?;
        writeln!(f, "\nThe same rounds without a mistake:\n")?;
        let columns = ["processes", "seed", "rounds", "kills", "verdict"];
        table(f, &columns, self.without.iter().map(|row| row.as_slice()))
    }
}

fn table<'a>(f: &mut fmt::Formatter<'_>, columns: &[&str], rows: impl Iterator<Item = &'a [String]>) -> fmt::Result {
    writeln!(f, "| {} |", columns.join(" | "))?;
    writeln!(f, "|{}", " --- |".repeat(columns.len()))?;
    for row in rows {
        writeln!(f, "| {} |", row.join(" | "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::History;
    use crate::judge::{Thresholds, judge};

    #[test]
    fn rounds_are_rows_and_are_added_up() {
        let nothing = judge(&History::default(), &Thresholds::default());
        let mut report = KillReport::new("freshet-checker run".to_owned());
        report.add(7, &nothing);
        report.add(8, &judge(&History::default(), &Thresholds::of_run(1, 1)));
        let text = report.to_string();
        assert!(text.contains("1 of 2 rounds are proven"), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines.iter().all(|line| line.matches('|').count() == 14), "{text}");
        assert!(
            lines[2].starts_with("| 7 | 0 |") && lines[2].ends_with("| proven |"),
            "{text}"
        );
        assert!(lines[3].ends_with("| too little happened |"), "{text}");
    }
}
