//! What load is made of a seed, and what each policy makes of it, in figures: a change of these files is a change of what
//! `backtest` prints or of what clusters do, and belongs into the changelog.
//!
//! `UPDATE_GOLDEN=1 cargo test -p freshet-scaling` writes the files anew.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use freshet_scaling::backtest::{Backtest, Policy, replay};
use freshet_scaling::trace::{Kind, SIGNALS, Trace, TraceRow, generate};
use freshet_scaling::{Pool, Sample, Scaler, Scheduled, Settings, Signal};

const SEED: u64 = 7;
const AUTO: Pool = Pool {
    min: 1,
    max: 4,
    is_auto: true,
};

fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("write");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (is, was)) in (1..).zip(text.lines().zip(golden.lines())) {
        assert_eq!(
            is,
            was,
            "line {number} of {}; UPDATE_GOLDEN=1 if that is meant",
            path.display()
        );
    }
    assert!(text == golden, "{}: UPDATE_GOLDEN=1 if that is meant", path.display());
}

/// Mean and greatest value of some rows.
fn mean_and_peak(rows: &[TraceRow], of: impl Fn(&TraceRow) -> Option<f64>) -> (f64, f64) {
    let values: Vec<f64> = rows.iter().filter_map(of).collect();
    let peak = values.iter().copied().fold(0.0, f64::max);
    (values.iter().sum::<f64>() / values.len() as f64, peak)
}

#[test]
fn the_load_of_a_seed_is_what_it_was() {
    let mut text =
        "mean and greatest of connections, connects, publishes in, deliveries out and round trips\n".to_owned();
    for kind in Kind::ALL {
        let trace = generate(kind, SEED, 9, Duration::from_secs(60));
        let name = kind.name();
        writeln!(text, "{name}: {} rows, season {}", trace.rows.len(), kind.has_season()).unwrap();
        for (day, rows) in trace.rows.chunks(1440).enumerate() {
            write!(text, "day {day}").unwrap();
            let of_signals = SIGNALS.map(|signal| mean_and_peak(rows, |row| row.values[signal]));
            let of_round_trips = mean_and_peak(rows, |row| row.round_trip_p99_ms);
            for (mean, peak) in of_signals.into_iter().chain([of_round_trips]) {
                write!(text, "  {mean:.2} {peak:.2}").unwrap();
            }
            text.push('\n');
        }
    }
    assert_golden("traces", &text);
}

/// What all policies make of a trace.
fn write_scores(text: &mut String, name: &str, trace: &Trace, backtest: &Backtest) {
    for policy in Policy::ALL {
        let mut peak = (0, 0);
        let mut warm_rows = 0;
        let score = replay(trace, backtest, policy, |row| {
            peak = (peak.0.max(row.serving), peak.1.max(row.warm));
            warm_rows += u64::from(row.warm);
        });
        writeln!(
            text,
            "{name} {}: unserved {:.0} and {:.0}, {} bad minutes, {:.3} proxy-hours, {} changes, {} reversals, at most {} \
             serving and {} warm, {warm_rows} rows of a warm one",
            score.name,
            score.unserved_connection_seconds,
            score.unserved_publish_seconds,
            score.bad_minutes,
            score.proxy_hours,
            score.scale_actions,
            score.reversals,
            peak.0,
            peak.1
        )
        .unwrap();
    }
}

#[test]
fn each_policy_makes_of_a_trace_what_it_made() {
    let mut text = String::new();
    for (kind, delay_s) in Kind::ALL.into_iter().zip([180, 180, 180, 45, 45, 240, 180, 100, 10]) {
        let backtest = Backtest {
            settings: Settings {
                capacity_delay: Duration::from_secs(delay_s),
                ..Settings::default()
            },
            pool: AUTO,
            history: Duration::from_secs(86_400),
        };
        let trace = generate(kind, SEED, 4, Duration::from_secs(20));
        write_scores(&mut text, kind.name(), &trace, &backtest);
    }
    assert_golden("replays", &text);
}

/// A trace in which the load is twice as much, some of it is not measured, and clients connect all at once.
fn with_gaps(mut trace: Trace) -> Trace {
    for (index, row) in trace.rows.iter_mut().enumerate() {
        for signal in SIGNALS {
            row.values[signal] = row.values[signal].map(|value| value * 2.0);
        }
        match index % 50 {
            0..4 => row.values[Signal::Connections] = None,
            4..9 => row.values[Signal::PublishesInPerSecond] = None,
            _ => {}
        }
    }
    trace
}

#[test]
fn more_than_max_carries_and_a_load_of_which_not_all_is_known_are_scored_as_they_were() {
    let trace = with_gaps(generate(Kind::HourlyStorm, SEED, 2, Duration::from_secs(20)));
    let mut settings = Settings {
        max: 6,
        capacity_delay: Duration::from_secs(90),
        ..Settings::default()
    };
    settings.predict.seasons = vec![Duration::from_secs(3600)];
    settings.targets[Signal::PublishesInPerSecond] = Some(1_500.0);
    let mut text = String::new();
    for (name, pool) in [("auto", AUTO), ("fixed", Pool::fixed(2))] {
        let backtest = Backtest {
            settings: settings.clone(),
            pool,
            history: Duration::from_secs(6 * 3600),
        };
        write_scores(&mut text, name, &trace, &backtest);
    }
    assert_golden("overload", &text);
}

/// A cluster whose proxies carry less than they should for some hours, and of which not everything is always known.
fn sample(row: &TraceRow, count: u32, since_s: u64) -> Sample {
    let per_proxy = row.values[Signal::Connections].unwrap_or_default() / f64::from(count.max(1));
    let is_weak = (14_400..36_000).contains(&since_s);
    let mut sample = Sample {
        at: row.at,
        proxies: Some(count),
        is_partial: since_s % 7_200 < 60,
        values: row.values,
        round_trip_p99_ms: Some(if is_weak && per_proxy > 8_000.0 { 300.0 } else { 30.0 }),
        ..Sample::default()
    };
    sample.values[Signal::CpuPercent] = Some(per_proxy / 200.0 * f64::from(count));
    sample.values[Signal::MemoryPercent] = Some(per_proxy / 250.0 * f64::from(count));
    if since_s % 10_000 < 90 {
        sample.values = freshet_scaling::PerSignal::default();
    }
    sample
}

#[test]
fn the_decisions_of_two_days_and_their_reasons_are_what_they_were() {
    let mut settings = Settings {
        capacity_delay: Duration::from_secs(120),
        max: 12,
        ..Settings::default()
    };
    settings.predict.seasons = vec![Duration::from_secs(3600), Duration::from_secs(24 * 3600)];
    settings.scheduled = vec![
        Scheduled::read("morning", "30 5 * * *", "Europe/Berlin", Duration::from_secs(1800), 7).expect("an entry"),
    ];
    let trace = generate(Kind::HourlyStorm, SEED, 2, Duration::from_secs(10));
    let start = trace.rows[0].at;
    let mut scaler = Scaler::new(settings.clone());
    let (mut count, mut warm) = (3, 1);
    let (mut said, mut said_of_pool) = (String::new(), String::new());
    let mut text = String::new();
    for row in &trace.rows {
        let since_s = (row.at - start).as_secs();
        if since_s.is_multiple_of(50_000) {
            scaler = Scaler::restore(settings.clone(), &scaler.state()).expect("its own state");
        }
        scaler.observe(&sample(row, count, since_s));
        let decision = scaler.decide(row.at, count);
        let pool = scaler.decide_pool(row.at, AUTO, decision.to, warm);
        // Reasons with figures of each moment would be as many as there are rows.
        let reason = decision.reason.to_string();
        let kind: String = reason.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        if decision.to != decision.from || kind != said {
            writeln!(text, "{since_s} s: {} to {}: {reason}", decision.from, decision.to).unwrap();
            said = kind;
        }
        let of_pool = pool.reason.to_string();
        if pool.proxies != warm || of_pool != said_of_pool {
            writeln!(text, "{since_s} s: {} wait: {of_pool}", pool.proxies).unwrap();
            said_of_pool = of_pool;
        }
        if since_s % 7_200 == 3_600 {
            let view = scaler.view(row.at);
            writeln!(text, "{since_s} s: learned {:.1?}", view.learned).unwrap();
            if let Some(forecast) = view.forecast {
                writeln!(text, "{since_s} s: {forecast:.2?}").unwrap();
            }
        }
        (count, warm) = (decision.to, pool.proxies);
    }
    assert_golden("decisions", &text);
}

#[test]
fn a_target_of_nothing_is_none() {
    let trace = generate(Kind::HourlyStorm, SEED, 1, Duration::from_secs(60));
    let scores = |target: Option<f64>| {
        let mut settings = Settings::default();
        settings.targets[Signal::PublishesInPerSecond] = target;
        let backtest = Backtest {
            settings,
            pool: AUTO,
            history: Duration::ZERO,
        };
        [Policy::Hpa, Policy::Oracle].map(|policy| replay(&trace, &backtest, policy, |_| {}))
    };
    assert_eq!(scores(Some(0.0)), scores(None));
}
