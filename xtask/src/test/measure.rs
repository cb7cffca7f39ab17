//! The measurements on a Kubernetes, as a part: one test program whose cases are ignored otherwise.
//!
//! Part of `make soak`, and what `xtask measure` runs. Leaves out what is measured: that is `e2e/tests/measure`.

use std::time::Duration;

use anyhow::Result;

use super::parts::{Part, Step, cargo_test, no_kubernetes, programs};

const TEST: &str = "measure";

/// What is measured, by the names of the test program's modules.
const ROWS: [&str; 10] = [
    "promotions",
    "handovers",
    "rise",
    "storm",
    "slow_connacks",
    "many",
    "capacity",
    "absences",
    "deaths",
    "faulty_image",
];

/// Programs, images, a Kubernetes, and all rows.
const TIMEOUT: Duration = Duration::from_secs(3 * 60 * 60);

/// Measures these rows, all if none is named.
///
/// # Errors
/// When one is named that there is not, or nobody knows where this program is.
pub(crate) fn part(rows: &[String]) -> Result<Part> {
    if let Some(unknown) = rows.iter().find(|row| !ROWS.contains(&row.as_str())) {
        anyhow::bail!("there is no row `{unknown}`; there are {}", ROWS.join(", "));
    }
    let filters = rows.iter().map(|row| format!("{row}::"));
    let measure = cargo_test(&["--test", TEST, "--", "--ignored", "--nocapture", "--test-threads=1"]).args(filters);
    Ok(Part {
        name: "measure",
        what: "promotions, hand-overs and load on a Kubernetes, in figures",
        steps: vec![programs(), Step::new(measure, TIMEOUT)],
        cleanup: vec![no_kubernetes()?],
        beside_next: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_there_is_not_is_refused_and_named() {
        let error = part(&["promotion".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`promotion`") && error.contains("promotions"), "{error}");
    }
}
