//! The mutants of the cores, all of them: part of `make soak`.

use std::time::Duration;

use anyhow::Result;

use super::parts::{Part, Step, this_program};

/// Installing the tool, compiling the cores with all their mutants, and running each.
const ALLOWANCE: Duration = Duration::from_secs(4 * 60 * 60);

/// Runs all mutants.
///
/// # Errors
/// When nobody knows where this program is.
pub(crate) fn part() -> Result<Part> {
    Ok(Part {
        name: "mutants",
        what: "changes of the cores that a test should notice",
        steps: vec![Step::new(this_program(&["mutants"])?, ALLOWANCE)],
        cleanup: Vec::new(),
        beside_next: false,
    })
}
