//! The normative statements of the MQTT specifications, and what in this tree shows each of them.
//!
//! Called by `xtask verify`, which fails when a statement has neither a test nor a reason, and by `xtask generate`,
//! which makes `docs/statements.md`. What the statements are stands in `mqtt/statements/`; which tests show them is said
//! by the tests themselves. Leaves out whether a test does show what it names: that is for its reader.

mod catalogue;
mod claims;
mod rows;

use std::{collections::BTreeMap, fmt};

use crate::verify::SourceTree;

pub(crate) use catalogue::{How, Statement};

/// A test that names more than this shows none of them well.
const MAX_STATEMENTS_PER_TEST: usize = 5;

/// A version of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V311,
    V5,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V311, Self::V5];

    /// As tests and documents write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }
}

/// A statement's version and its number, such as `3.1.0-1` for `[MQTT-3.1.0-1]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StatementId {
    pub(crate) version: Version,
    pub(crate) number: String,
}

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.version.name(), self.number)
    }
}

/// What shows a statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Evidence {
    /// A test function.
    Test { file: String, name: String },
    /// A row of the table of malformed input, by its name.
    Row(String),
}

/// All statements, and what shows each.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) statements: Vec<Statement>,
    pub(crate) evidence: BTreeMap<StatementId, Vec<Evidence>>,
    /// One line for each thing to mend.
    pub(crate) findings: Vec<String>,
}

impl Coverage {
    /// Reads the statements, and asks each test and each row what it shows.
    pub(crate) fn of(tree: &SourceTree) -> Self {
        let mut coverage = Self::default();
        coverage.read_statements(tree);
        coverage.read_tests(tree);
        coverage.read_rows(tree);
        for evidence in coverage.evidence.values_mut() {
            evidence.sort();
        }
        coverage.compare();
        coverage
    }

    /// What shows this statement.
    pub(crate) fn evidence_of(&self, id: &StatementId) -> &[Evidence] {
        self.evidence.get(id).map_or(&[], Vec::as_slice)
    }

    /// How many statements of a version satisfy a condition.
    pub(crate) fn count(&self, version: Version, is_counted: impl Fn(&How) -> bool) -> usize {
        self.statements
            .iter()
            .filter(|statement| statement.id.version == version && is_counted(&statement.how))
            .count()
    }

    fn read_statements(&mut self, tree: &SourceTree) {
        for version in Version::ALL {
            match catalogue::read(tree, version) {
                Ok(statements) => self.statements.extend(statements),
                Err(findings) => self.findings.extend(findings),
            }
        }
    }

    fn read_tests(&mut self, tree: &SourceTree) {
        for (file, text) in tree.texts_ending(".rs") {
            // Parsing all files would take a second; few of them name a statement.
            if !text.contains(claims::WORD) {
                continue;
            }
            let found = match claims::find(text) {
                Ok(found) => found,
                Err(error) => {
                    self.findings.push(format!("{file}: {error}"));
                    continue;
                }
            };
            self.findings
                .extend(found.findings.into_iter().map(|finding| format!("{file}: {finding}")));
            for test in found.tests {
                let place = format!("{file}: `{}`", test.name);
                if test.statements.len() > MAX_STATEMENTS_PER_TEST {
                    let count = test.statements.len();
                    self.findings.push(format!(
                        "{place} names {count} statements, more than {MAX_STATEMENTS_PER_TEST}"
                    ));
                }
                let evidence = Evidence::Test {
                    file: file.to_owned(),
                    name: test.name,
                };
                for statement in test.statements {
                    self.add(&place, &statement, evidence.clone());
                }
            }
        }
    }

    fn read_rows(&mut self, tree: &SourceTree) {
        let Some(table) = tree.text(rows::PATH) else {
            self.findings.push(format!("{} is missing", rows::PATH));
            return;
        };
        for row in rows::read(table) {
            let place = format!("{}:{}", rows::PATH, row.line);
            self.add(&place, &row.statement, Evidence::Row(row.name));
        }
    }

    /// Notes that something shows the statement that is written `5.0:3.1.0-1`.
    fn add(&mut self, place: &str, written: &str, evidence: Evidence) {
        let id = written.split_once(':').and_then(|(version, number)| {
            Some(StatementId {
                version: Version::from_name(version)?,
                number: number.to_owned(),
            })
        });
        match id.filter(|id| self.statements.iter().any(|statement| statement.id == *id)) {
            Some(id) => self.evidence.entry(id).or_default().push(evidence),
            None => self
                .findings
                .push(format!("{place}: there is no statement `{written}`")),
        }
    }

    /// Each statement has either what shows it or a reason, never neither and never both.
    fn compare(&mut self) {
        for statement in &self.statements {
            let evidence = self.evidence_of(&statement.id);
            let finding = match (&statement.how, evidence.first()) {
                (How::Shown, None) => "no test names it".to_owned(),
                (How::Client | How::Absent(_), Some(evidence)) => {
                    format!("has a reason for no test, and {} shows it", evidence.place())
                }
                (How::Pending, Some(evidence)) => {
                    format!("is shown by {}, hence not pending any more", evidence.place())
                }
                _ => continue,
            };
            self.findings.push(format!("{} {finding}", statement.id));
        }
    }
}

impl Evidence {
    fn place(&self) -> String {
        match self {
            Self::Test { file, name } => format!("`{name}` of {file}"),
            Self::Row(name) => format!("the row `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests;
