//! The table of a run: medians with least and most, and ratios round by round. Pure.

use std::fmt::Write as _;

use freshet_bench_load::spread;

use crate::brokers::Kind;
use crate::work::{Figure, Work};

/// One measurement.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) round: u32,
    pub(crate) work: Work,
    pub(crate) broker: Kind,
    pub(crate) figures: Vec<Figure>,
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "round {}  {:?}  {:?}:", self.round, self.work, self.broker)?;
        for (name, value) in &self.figures {
            write!(f, "  {name} {}", rounded(*value))?;
        }
        Ok(())
    }
}

/// A table per kind of work, a row per broker. `ratio` and `to floor` are the first figure over
/// that of Mosquitto and of the floor in the same round.
pub(crate) fn tables(samples: &[Sample]) -> String {
    let mut text = String::new();
    for work in Work::ALL {
        let of_work: Vec<&Sample> = samples.iter().filter(|sample| sample.work == work).collect();
        let Some(first) = of_work.first() else { continue };
        let columns: Vec<&str> = first.figures.iter().map(|(name, _)| *name).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "\n### {}\n\n| broker | ratio | to floor | {} |",
            work.title(),
            columns.join(" | ")
        );
        let _ = writeln!(text, "| --- |{}", " --- |".repeat(columns.len() + 2));
        let mut brokers: Vec<Kind> = of_work.iter().map(|sample| sample.broker).collect();
        brokers.sort_unstable();
        brokers.dedup();
        for broker in brokers {
            let own: Vec<&Sample> = of_work.iter().copied().filter(|s| s.broker == broker).collect();
            let cells = (0..columns.len()).map(|at| {
                let values: Vec<f64> = own.iter().filter_map(|s| Some(s.figures.get(at)?.1)).collect();
                let largest = values.iter().copied().fold(0.0, f64::max);
                spread(values, decimals(largest))
            });
            let cells: Vec<String> = cells.collect();
            let to = |other: Kind| {
                if broker == other {
                    "1".to_owned()
                } else {
                    spread(ratios(&own, &of_work, other), 3)
                }
            };
            let (ratio, to_floor) = (to(Kind::Mosquitto), to(Kind::Floor));
            let _ = writeln!(
                text,
                "| {} | {ratio} | {to_floor} | {} |",
                broker.title(),
                cells.join(" | ")
            );
        }
    }
    text
}

fn ratios(own: &[&Sample], all: &[&Sample], to: Kind) -> Vec<f64> {
    let first = |sample: &Sample| sample.figures.first().map(|(_, value)| *value);
    let ratio = |sample: &&Sample| {
        let beside = all
            .iter()
            .find(|other| other.broker == to && other.round == sample.round)?;
        Some(first(sample)? / first(beside)?)
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

    fn sample(round: u32, broker: Kind, cpu_us: f64) -> Sample {
        Sample {
            round,
            work: Work::Pairs1,
            broker,
            figures: vec![("CPU us/message", cpu_us), ("messages/s", 1_000.0)],
        }
    }

    #[test]
    fn a_ratio_is_taken_within_a_round_and_not_between_rounds() {
        // The machine was half as fast in the second round.
        let samples = [
            sample(1, Kind::Freshet, 1.0),
            sample(1, Kind::Mosquitto, 10.0),
            sample(2, Kind::Mosquitto, 20.0),
            sample(2, Kind::Freshet, 2.0),
        ];
        let text = tables(&samples);
        assert!(
            text.contains("| Freshet | 0.100 [0.100, 0.100] | - | 1.50 [1.00, 2.00] |"),
            "{text}"
        );
        assert!(text.contains("| Mosquitto | 1 | - | 15.0 [10.0, 20.0] |"), "{text}");
    }

    #[test]
    fn work_that_was_not_done_has_no_table() {
        assert_eq!(tables(&[]), "");
    }
}
