//! What a message costs the cores, against what is checked in.

use std::fs;

use anyhow::{Context, Result};

use super::Verdict;
use crate::{
    instructions::{FIGURES, Figures, WRITE_COMMAND, made_with, measure, path},
    steps::Interrupt,
};

/// More than this above what is checked in is too much, in percent.
const MAX_RISE_PERCENT: u64 = 3;

/// Counts, and compares.
pub(super) async fn check_instructions(interrupt: &mut Interrupt) -> Result<Verdict> {
    let text = fs::read_to_string(path()).with_context(|| format!("reading {FIGURES}"))?;
    let known = Figures::parse(&text)?;
    let here = made_with(interrupt).await?;
    if here != known.made_with {
        let with = known.made_with;
        return Ok(Verdict::Skipped(format!(
            "the figures are of {with}, and here is {here}"
        )));
    }
    let now = measure(interrupt).await?;
    Ok(Verdict::of(
        compare(&known, &now),
        format!("{} pieces of work", now.of.len()),
    ))
}

/// What costs too much, and what only one of the two has.
fn compare(known: &Figures, now: &Figures) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, count) in &now.of {
        match known.of.iter().find(|(of, _)| of == name) {
            None => findings.push(format!("{name} is not in {FIGURES}: `{WRITE_COMMAND}`")),
            Some((_, before)) if count * 100 > before * (100 + MAX_RISE_PERCENT) => findings.push(format!(
                "{name}: {count} instructions, {before} are checked in. If it is worth it: `{WRITE_COMMAND}`"
            )),
            Some(_) => {}
        }
    }
    let gone = known
        .of
        .iter()
        .filter(|(name, _)| now.of.iter().all(|(of, _)| of != name));
    findings.extend(gone.map(|(name, _)| format!("{FIGURES} names {name}, which there is not")));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(of: &[(&str, u64)]) -> Figures {
        Figures {
            made_with: String::new(),
            of: of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        }
    }

    #[test]
    fn a_rise_of_more_than_three_percent_is_found() {
        let known = figures(&[("a", 1_000), ("gone", 1)]);
        let found = |count| compare(&known, &figures(&[("a", count), ("new", 5)])).join("; ");
        assert!(!found(1_030).contains("instructions,"), "{}", found(1_030));
        assert!(found(1_031).contains("a: 1031 instructions, 1000"), "{}", found(1_031));
        assert!(found(1).contains("new is not in") && found(1).contains("names gone"));
    }
}
