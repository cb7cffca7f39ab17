//! The mutants of the cores, some of them each time: part of `make soak`.

use std::time::Duration;

use anyhow::Result;

use super::parts::{Part, Step, this_program};

/// Installing the tool, and for each core compiling it and running its tests as they are.
const ALLOWANCE: Duration = Duration::from_secs(90 * 60);

/// Runs mutants for so long, or for `FRESHET_MUTANTS_MINUTES`.
///
/// # Errors
/// When nobody knows where this program is.
pub(crate) fn part(minutes: u64) -> Result<Part> {
    let said = std::env::var("FRESHET_MUTANTS_MINUTES")
        .ok()
        .and_then(|text| text.parse().ok());
    let minutes: u64 = said.unwrap_or(minutes);
    let mutants = this_program(&["mutants", "--minutes", &minutes.to_string()])?;
    Ok(Part {
        name: "mutants",
        what: "changes of the cores that a test should notice",
        steps: vec![Step::new(
            mutants,
            ALLOWANCE + Duration::from_secs(minutes.saturating_mul(60)),
        )],
        cleanup: Vec::new(),
        beside_next: false,
    })
}
