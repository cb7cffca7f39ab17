//! `FRESHET_PLANTED_FAULT`: the mistake that a program of tests is to make. Only with the feature `planted-faults`, which
//! no product turns on.

use anyhow::{Context as _, ensure};

/// `PART:NAME`, as in `storage:CursorNotWritten`.
const VARIABLE: &str = "FRESHET_PLANTED_FAULT";

/// Makes the mistake of a name on all threads, as long as the process lives. False: there is none.
pub type Plant = fn(&str) -> bool;

/// Makes the mistake that was asked for if it is one of these parts', each with what plants a mistake by its name. Another
/// part's is for another process to make.
///
/// # Errors
/// A mistake that there is not: a test must not take it for one that nobody notices.
pub fn plant(parts: &[(&str, Plant)]) -> anyhow::Result<()> {
    let Ok(asked) = std::env::var(VARIABLE) else {
        return Ok(());
    };
    let (part, name) = asked
        .split_once(':')
        .with_context(|| format!("{VARIABLE} is PART:NAME, not {asked}"))?;
    if let Some((_, plant)) = parts.iter().find(|(known, _)| *known == part) {
        ensure!(plant(name), "{VARIABLE}={asked}: there is no such mistake");
        eprintln!("this program makes a mistake, as a test has asked for: {asked}");
    }
    Ok(())
}
