//! What came out, as tables for people and as CSV.

use std::io::{self, Write};
use std::time::Duration;

use freshet_scaling::backtest::Score;

use crate::run::{Outcome, Replays};

/// With fewer bad minutes than this there is no gap to speak of.
const MIN_BAD_MINUTES: u64 = 30;

/// Prints a table for each delay, with the means over the seeds: share of the gap closed, and proxy-hours beyond
/// `reactive`; then what fits cost.
pub(crate) fn print(outcomes: &[Outcome], delays_s: &[u64]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut kinds: Vec<&str> = outcomes.iter().map(|outcome| outcome.case.kind.name()).collect();
    kinds.dedup();
    for (index, delay_s) in delays_s.iter().enumerate() {
        writeln!(
            out,
            "Capacity delay {delay_s} s\n\n| forecast | {} |",
            kinds.join(" | ")
        )?;
        writeln!(out, "|{}", " --- |".repeat(kinds.len() + 1))?;
        let replays_of = |kind: &str| -> Vec<&Replays> {
            let of_kind = outcomes.iter().filter(|outcome| outcome.case.kind.name() == kind);
            of_kind.filter_map(|outcome| outcome.replays.get(index)).collect()
        };
        let names = outcomes
            .first()
            .map_or(&[][..], |outcome| outcome.replays[index].foreseen.as_slice());
        for (place, name) in names.iter().map(|score| &score.name).enumerate() {
            write!(out, "| {name} |")?;
            for kind in &kinds {
                write!(out, " {} |", cell(&replays_of(kind), place))?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
    }
    print_cpu(&mut out, outcomes)
}

fn cell(replays: &[&Replays], place: usize) -> String {
    let closed: Vec<f64> = replays
        .iter()
        .filter_map(|replays| closed(replays, &replays.foreseen[place], |score| score.bad_minutes as f64))
        .collect();
    let more: Vec<f64> = replays
        .iter()
        .map(|replays| more_percent(replays, &replays.foreseen[place]))
        .collect();
    let closed = if closed.is_empty() {
        "-".to_owned()
    } else {
        format!("{:.0} %", mean(&closed))
    };
    format!("{closed}, {:+.1} %", mean(&more))
}

fn print_cpu(out: &mut impl Write, outcomes: &[Outcome]) -> io::Result<()> {
    writeln!(
        out,
        "| forecast | CPU of one fit, ms | with the longest series, ms |\n| --- | --- | --- |"
    )?;
    let methods = outcomes.first().map_or(&[][..], |outcome| outcome.fits.as_slice());
    for (place, (name, ..)) in methods.iter().enumerate() {
        let of = |pick: fn(&(&'static str, Duration, Duration)) -> Duration| {
            mean(
                &outcomes
                    .iter()
                    .map(|outcome| milliseconds(pick(&outcome.fits[place])))
                    .collect::<Vec<_>>(),
            )
        };
        writeln!(out, "| {name} | {:.1} | {:.1} |", of(|fit| fit.1), of(|fit| fit.2))?;
    }
    let own: Vec<f64> = outcomes
        .iter()
        .map(|outcome| milliseconds(outcome.own_cpu_of_a_day))
        .collect();
    writeln!(
        out,
        "\nThe scaler's own forecast, a day of load, four signals: {:.1} ms",
        mean(&own)
    )
}

/// Writes a row for each replay.
pub(crate) fn write_csv(outcomes: &[Outcome], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "trace,seed,days,history_days,capacity_delay_s,forecast,bad_minutes,unserved_connection_seconds,proxy_hours,\
         gap_closed_percent,unserved_gap_closed_percent,proxy_hours_beyond_reactive_percent"
    )?;
    for Outcome { case, replays, .. } in outcomes {
        for replays in replays {
            for score in [&replays.reactive, &replays.oracle]
                .into_iter()
                .chain(&replays.foreseen)
            {
                let percent = |share: Option<f64>| share.map_or_else(String::new, |share| format!("{share:.1}"));
                writeln!(
                    out,
                    "{},{},{},{},{},\"{}\",{},{:.0},{:.1},{},{},{:.2}",
                    case.kind.name(),
                    case.seed,
                    case.days,
                    case.history_days,
                    replays.delay_s,
                    score.name,
                    score.bad_minutes,
                    score.unserved_connection_seconds,
                    score.proxy_hours,
                    percent(closed(replays, score, |score| score.bad_minutes as f64)),
                    percent(closed(replays, score, |score| score.unserved_connection_seconds)),
                    more_percent(replays, score)
                )?;
            }
        }
    }
    Ok(())
}

/// Percent of the gap from `reactive` to `oracle` that is closed; `None` where there is none to speak of.
fn closed(replays: &Replays, score: &Score, measure: fn(&Score) -> f64) -> Option<f64> {
    let gap = measure(&replays.reactive) - measure(&replays.oracle);
    (replays.reactive.bad_minutes >= MIN_BAD_MINUTES && gap > 0.0)
        .then(|| (measure(&replays.reactive) - measure(score)) / gap * 100.0)
}

fn more_percent(replays: &Replays, score: &Score) -> f64 {
    (score.proxy_hours / replays.reactive.proxy_hours - 1.0) * 100.0
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
