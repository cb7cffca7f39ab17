//! The statements as `mqtt/statements/` lists them.

use super::{StatementId, Version};
use crate::verify::SourceTree;

/// Where the statements of a version are.
const fn path(version: Version) -> &'static str {
    match version {
        Version::V311 => "mqtt/statements/3.1.1.txt",
        Version::V5 => "mqtt/statements/5.0.txt",
    }
}

/// How many statements Appendix B of a version lists.
pub(super) const fn count(version: Version) -> usize {
    match version {
        Version::V311 => 141,
        Version::V5 => 251,
    }
}

/// A normative statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) id: StatementId,
    pub(crate) how: How,
    /// What it demands, in a sentence of ours.
    pub(crate) summary: String,
}

/// How it is known that a statement is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// A test or a row of malformed input shows it.
    Shown,
    /// It is for clients to keep.
    Client,
    /// It is about what is not offered; says how a client learns of that.
    Absent(String),
    /// It has to be shown yet.
    Pending,
}

/// Reads the statements of a version, in the order of the file.
///
/// # Errors
/// One line for each thing that is wrong with the file.
pub(super) fn read(tree: &SourceTree, version: Version) -> Result<Vec<Statement>, Vec<String>> {
    let path = path(version);
    let Some(text) = tree.text(path) else {
        return Err(vec![format!("{path} is missing")]);
    };
    let mut statements: Vec<Statement> = Vec::new();
    let mut findings = Vec::new();
    for (line, row) in (1..).zip(text.lines()) {
        if row.trim().is_empty() || row.starts_with('#') {
            continue;
        }
        match parse(row, version) {
            Err(error) => findings.push(format!("{path}:{line}: {error}")),
            Ok(statement) if statements.iter().any(|other| other.id == statement.id) => {
                findings.push(format!("{path}:{line}: {} is there twice", statement.id));
            }
            Ok(statement) => statements.push(statement),
        }
    }
    if statements.len() != count(version) {
        let (found, expected) = (statements.len(), count(version));
        findings.push(format!("{path}: {found} statements, Appendix B has {expected}"));
    }
    if findings.is_empty() {
        Ok(statements)
    } else {
        Err(findings)
    }
}

fn parse(row: &str, version: Version) -> Result<Statement, String> {
    let columns: Vec<&str> = row.split('|').map(str::trim).collect();
    let (number, how, summary) = match columns[..] {
        [number, "shown", summary] => (number, How::Shown, summary),
        [number, "client", summary] => (number, How::Client, summary),
        [number, "pending", summary] => (number, How::Pending, summary),
        [number, "absent", summary, announced] if !announced.is_empty() => {
            (number, How::Absent(announced.to_owned()), summary)
        }
        [_, "absent", ..] => return Err("`absent` does not say how a client learns of it".to_owned()),
        _ => return Err("is not `number | shown, client, absent or pending | summary`".to_owned()),
    };
    if summary.is_empty() || !is_number(number) {
        return Err(format!("`{number}` is no statement's number, or has no summary"));
    }
    Ok(Statement {
        id: StatementId {
            version,
            number: number.to_owned(),
        },
        how,
        summary: summary.to_owned(),
    })
}

/// Whether this has the form of `3.1.0-1`.
fn is_number(number: &str) -> bool {
    let is_decimal = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    number.split_once('-').is_some_and(|(section, index)| {
        is_decimal(index) && section.split('.').count() == 3 && section.split('.').all(is_decimal)
    })
}
