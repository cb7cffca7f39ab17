//! The tables of a run: medians with least and most, and ratios round by round. Pure.

use std::fmt::Write as _;

use freshet_bench_load::spread;

/// A figure of a measurement, by the name of its column.
pub(crate) type Figure = (&'static str, f64);

/// One measurement.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) round: u32,
    /// What was done; the heading of its table.
    pub(crate) work: &'static str,
    /// Who did it.
    pub(crate) broker: &'static str,
    pub(crate) figures: Vec<Figure>,
    /// What no column can say, in lines behind the table.
    pub(crate) details: String,
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "round {}  {}  {}:", self.round, self.work, self.broker)?;
        for (name, value) in &self.figures {
            write!(f, "  {name} {}", rounded(*value))?;
        }
        Ok(())
    }
}

/// What stands in tables besides samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    /// Columns of ratios: a name, and the broker whose first figure of the same round is divided by.
    pub(crate) ratios: &'a [(&'static str, &'static str)],
    /// Works with a sentence of what is asked of them.
    pub(crate) goals: &'a [(&'static str, &'static str)],
    /// Work, broker, and why it has no figure there.
    pub(crate) absent: &'a [(&'static str, &'static str, &'static str)],
}

/// A table per kind of work, a row per broker, both in the order in which they were first seen.
pub(crate) fn tables(samples: &[Sample], layout: Layout<'_>) -> String {
    let mut text = String::new();
    for work in in_order(samples.iter().map(|sample| sample.work)) {
        let of_work: Vec<&Sample> = samples.iter().filter(|sample| sample.work == work).collect();
        table(&mut text, work, &of_work, layout);
    }
    text
}

// Writing into a string cannot fail.
fn table(text: &mut String, work: &str, samples: &[&Sample], layout: Layout<'_>) {
    // A broker may have fewer figures than another one.
    let columns = in_order(samples.iter().flat_map(|s| s.figures.iter().map(|(name, _)| *name)));
    let ratios: Vec<&str> = layout.ratios.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(text, "\n### {work}\n");
    if let Some((_, goal)) = layout.goals.iter().find(|(of, _)| *of == work) {
        let _ = writeln!(text, "Asked for: {goal}\n");
    }
    let names: Vec<&str> = ratios.iter().chain(&columns).copied().collect();
    let _ = writeln!(text, "| broker | {} |", names.join(" | "));
    let _ = writeln!(text, "| --- |{}", " --- |".repeat(names.len()));
    for broker in in_order(samples.iter().map(|sample| sample.broker)) {
        let own: Vec<&Sample> = samples.iter().copied().filter(|s| s.broker == broker).collect();
        let to = |(_, other): &(&str, &'static str)| {
            if broker == *other {
                "1".to_owned()
            } else {
                spread(ratios_to(&own, samples, other), 3)
            }
        };
        let figure = |name: &&str| {
            let values = own.iter().filter_map(|sample| figure(sample, name));
            // A share of nothing, or a percentile of none, is no figure.
            let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
            let largest = values.iter().copied().fold(0.0, f64::max);
            spread(values, decimals(largest))
        };
        let cells: Vec<String> = layout.ratios.iter().map(to).chain(columns.iter().map(figure)).collect();
        let _ = writeln!(text, "| {broker} | {} |", cells.join(" | "));
    }
    for (_, broker, reason) in layout.absent.iter().filter(|(of, ..)| *of == work) {
        let _ = writeln!(
            text,
            "| {broker} | {reason} |{}",
            " |".repeat(names.len().saturating_sub(1))
        );
    }
    for sample in samples.iter().filter(|sample| !sample.details.is_empty()) {
        let _ = writeln!(
            text,
            "\n{}, round {}:\n\n{}",
            sample.broker, sample.round, sample.details
        );
    }
}

/// Each once, in the order of the first ones.
fn in_order(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

fn figure(sample: &Sample, name: &str) -> Option<f64> {
    let (_, value) = sample.figures.iter().find(|(of, _)| *of == name)?;
    Some(*value)
}

fn ratios_to(own: &[&Sample], all: &[&Sample], to: &str) -> Vec<f64> {
    let first = |sample: &Sample| sample.figures.first().copied();
    let ratio = |sample: &&Sample| {
        let (name, value) = first(sample)?;
        let beside = all
            .iter()
            .find(|other| other.broker == to && other.round == sample.round)?;
        Some(value / figure(beside, name)?)
    };
    own.iter().filter_map(ratio).collect()
}

fn decimals(largest: f64) -> usize {
    match largest {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    }
}

fn rounded(value: f64) -> String {
    let decimals = decimals(value);
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout<'_> = Layout {
        ratios: &[("ratio", "Mosquitto"), ("to floor", "floor")],
        goals: &[("pairs", "much.")],
        absent: &[("pairs", "Mochi", "not run: it has no disk")],
    };

    fn sample(round: u32, broker: &'static str, cpu_us: f64) -> Sample {
        Sample {
            round,
            work: "pairs",
            broker,
            figures: vec![("CPU us/message", cpu_us), ("messages/s", 1_000.0)],
            details: String::new(),
        }
    }

    #[test]
    fn a_ratio_is_taken_within_a_round_and_not_between_rounds() {
        // The machine was half as fast in the second round.
        let samples = [
            sample(1, "Freshet", 1.0),
            sample(1, "Mosquitto", 10.0),
            sample(2, "Mosquitto", 20.0),
            sample(2, "Freshet", 2.0),
        ];
        let text = tables(&samples, LAYOUT);
        assert!(
            text.contains("| Freshet | 0.100 [0.100, 0.100] | - | 1.50 [1.00, 2.00] |"),
            "{text}"
        );
        assert!(text.contains("| Mosquitto | 1 | - | 15.0 [10.0, 20.0] |"), "{text}");
    }

    #[test]
    fn a_figure_that_a_broker_does_not_have_is_a_dash_and_one_without_any_says_why() {
        let mut with_more = sample(1, "Freshet", 1.0);
        with_more.figures.insert(1, ("copies", 2.0));
        let text = tables(&[with_more, sample(1, "Mosquitto", 10.0)], LAYOUT);
        assert!(text.contains("Asked for: much."), "{text}");
        assert!(
            text.contains("| Freshet | 0.100 [0.100, 0.100] | - | 1.00 [1.00, 1.00] | 2.00 [2.00, 2.00] |"),
            "{text}"
        );
        assert!(
            text.contains("| Mosquitto | 1 | - | 10.0 [10.0, 10.0] | - | 1000 [1000, 1000] |"),
            "{text}"
        );
        assert!(text.contains("| Mochi | not run: it has no disk | | | | |"), "{text}");
    }

    #[test]
    fn work_that_was_not_done_has_no_table() {
        assert_eq!(tables(&[], LAYOUT), "");
    }
}
