//! Each normative statement of the specifications has a test that shows it, or a reason why there is none.

use super::{Verdict, source_tree::SourceTree};
use crate::statements::{Coverage, How, Version};

/// Compares the statements with what the tests name.
pub(super) fn check_statements(tree: &SourceTree) -> Verdict {
    let coverage = Coverage::of(tree);
    let pending: Vec<String> = coverage
        .statements
        .iter()
        .filter(|statement| statement.how == How::Pending)
        .map(|statement| statement.id.to_string())
        .collect();
    let sum = |is_counted: fn(&How) -> bool| -> usize {
        Version::ALL
            .into_iter()
            .map(|version| coverage.count(version, is_counted))
            .sum()
    };
    let mut detail = format!(
        "{} statements: {} shown, {} for clients, {} of what is not offered",
        coverage.statements.len(),
        sum(|how| *how == How::Shown),
        sum(|how| *how == How::Client),
        sum(|how| matches!(how, How::Absent(_))),
    );
    if !pending.is_empty() {
        detail = format!("{detail}, {} pending: {}", pending.len(), pending.join(" "));
    }
    Verdict::of(coverage.findings, detail)
}
