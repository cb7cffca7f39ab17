//! What was found: a rule that does not hold.

use std::fmt;

/// A rule that did not hold, and how that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Names the rule, the same however it is broken: a shorter sequence that breaks it is the same finding.
    pub rule: &'static str,
    /// What was seen.
    pub seen: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, seen: impl Into<String>) -> Self {
        Self {
            rule,
            seen: seen.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.seen)
    }
}
