//! What holds for every load: counts within their bounds, nothing taken away in the dark, and no flapping. Loads have
//! gaps, wrong numbers, clocks that jump, and restarts.

use std::time::Duration;

use freshet_scaling::{Sample, Scaler, Settings, Signal};
use proptest::prelude::*;

/// One step of a run.
#[derive(Debug, Clone)]
enum Step {
    /// Samples for some seconds, one each second: connections and publishes, each of which may be missing.
    Load {
        connections: Option<f64>,
        publishes: Option<f64>,
        seconds: u16,
    },
    /// No samples at all for some seconds; decisions go on.
    Silence { seconds: u16 },
    /// The clock jumps.
    ClockJump { seconds: i32 },
    /// Somebody else changes the count.
    SetCount { count: u32 },
}

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        6 => (0.0..150_000.0_f64).prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-5.0)].prop_map(Some),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (value(), value(), 1_u16..400).prop_map(|(connections, publishes, seconds)| Step::Load {
            connections, publishes, seconds
        }),
        1 => (1_u16..400).prop_map(|seconds| Step::Silence { seconds }),
        1 => (-100_000..100_000_i32).prop_map(|seconds| Step::ClockJump { seconds }),
        1 => (0_u32..30).prop_map(|count| Step::SetCount { count }),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    (0_u32..5, 0_u32..20, 10_u64..120, 0_u64..400).prop_map(|(min, more, stable, delay)| {
        let mut settings = Settings {
            min,
            max: min + more,
            ..Settings::default()
        };
        settings.windows.stable = Duration::from_secs(stable);
        settings.behavior.scale_in_delay = Duration::from_secs(delay);
        settings
    })
}

/// One second of a run as seen from outside.
struct Tick {
    now: Duration,
    from: u32,
    to: u32,
    /// When connections and publishes last had a usable value; `None` if never since the start.
    unknown: bool,
    /// Whether the clock jumped or somebody else set the count since the tick before.
    disturbed: bool,
}

/// Runs the steps and looks at each second.
fn run(settings: &Settings, steps: &[Step], mut look: impl FnMut(&Tick)) {
    let mut scaler = Scaler::new(settings.clone());
    let mut now = Duration::from_secs(1_000_000_000);
    let mut count = settings.min;
    let mut disturbed = false;
    let mut last_known = [None::<Duration>; 2];
    for step in steps {
        let (values, seconds) = match step {
            Step::Load {
                connections,
                publishes,
                seconds,
            } => (Some([*connections, *publishes]), *seconds),
            Step::Silence { seconds } => (None, *seconds),
            Step::ClockJump { seconds } => {
                let jump = Duration::from_secs(u64::from(seconds.unsigned_abs()));
                now = if *seconds < 0 { now - jump } else { now + jump };
                last_known = last_known.map(|known| known.map(|_| Duration::ZERO));
                disturbed = true;
                continue;
            }
            Step::SetCount { count: set } => {
                count = *set;
                disturbed = true;
                continue;
            }
        };
        for _ in 0..seconds {
            now += Duration::from_secs(1);
            if let Some([connections, publishes]) = values {
                let mut sample = Sample {
                    at: now,
                    proxies: Some(count),
                    ..Sample::default()
                };
                sample.values[Signal::Connections] = connections;
                sample.values[Signal::PublishesInPerSecond] = publishes;
                for (known, value) in last_known.iter_mut().zip([connections, publishes]) {
                    if value.is_some_and(|value| value.is_finite() && value >= 0.0) {
                        *known = Some(now);
                    }
                }
                scaler.observe(&sample);
            }
            let decision = scaler.decide(now, count);
            assert_eq!(decision.from, count);
            assert!(!decision.reason.to_string().is_empty());
            let measured = last_known.iter().flatten();
            let unknown = last_known.iter().all(Option::is_none)
                || measured.clone().any(|known| *known + Duration::from_secs(15) <= now);
            look(&Tick {
                now,
                from: count,
                to: decision.to,
                unknown,
                disturbed,
            });
            disturbed = false;
            count = decision.to;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_count_is_never_below_min_or_above_max(settings in settings(), steps in prop::collection::vec(step(), 1..12)) {
        run(&settings, &steps, |tick| {
            assert!((settings.min..=settings.max).contains(&tick.to), "{} at {:?}", tick.to, tick.now);
        });
    }

    #[test]
    fn nothing_is_taken_away_while_demand_is_unknown(settings in settings(), steps in prop::collection::vec(step(), 1..12)) {
        run(&settings, &steps, |tick| {
            if tick.unknown && tick.from <= settings.max {
                assert!(tick.to >= tick.from, "{} -> {} at {:?}", tick.from, tick.to, tick.now);
            }
        });
    }

    #[test]
    fn nothing_is_taken_away_while_some_proxies_are_not_measured(loads in prop::collection::vec(0.0..60_000.0_f64, 1..20)) {
        let mut scaler = Scaler::new(Settings::default());
        let mut count = 6;
        for second in 0..loads.len() * 100 {
            let mut sample = Sample {
                at: Duration::from_secs(1_000_000_000 + second as u64),
                proxies: Some(count),
                is_partial: true,
                ..Sample::default()
            };
            sample.values[Signal::Connections] = Some(loads[second / 100]);
            scaler.observe(&sample);
            let to = scaler.decide(sample.at, count).to;
            prop_assert!(to >= count, "{count} to {to} in second {second}");
            count = to;
        }
        let most = loads.iter().copied().fold(0.0, f64::max);
        prop_assert!(most <= f64::from(count) * 11_000.0 + 1e-6, "what is known still adds: {count} for {most}");
    }

    #[test]
    fn the_direction_is_reversed_at_most_once_in_a_stable_window(
        settings in settings(),
        steps in prop::collection::vec(step(), 1..12),
    ) {
        // A reversal is a change against the direction of one that is less than a stable window old.
        let mut reversed = None::<Duration>;
        let mut changed = None::<(Duration, bool)>;
        run(&settings, &steps, |tick| {
            if tick.disturbed {
                (reversed, changed) = (None, None);
            }
            if tick.to == tick.from || !(settings.min..=settings.max).contains(&tick.from) {
                return;
            }
            let grows = tick.to > tick.from;
            let recent = |at: Duration| tick.now < at + settings.windows.stable;
            if changed.is_some_and(|(at, grew)| grew != grows && recent(at)) {
                assert!(grows, "one added a moment ago is taken away");
                assert!(!reversed.is_some_and(recent), "{reversed:?} and {:?}", tick.now);
                reversed = Some(tick.now);
            }
            changed = Some((tick.now, grows));
        });
    }

    #[test]
    fn load_that_stays_is_served_in_the_end(connections in 0.0..90_000.0_f64, publishes in 0.0..90_000.0_f64) {
        let settings = Settings::default();
        let steps = [Step::Load { connections: Some(connections), publishes: Some(publishes), seconds: 1200 }];
        let mut last = 0;
        run(&settings, &steps, |tick| last = tick.to);
        let carried = f64::from(last) * 11_000.0 + 1e-6;
        prop_assert!(connections <= carried && publishes <= carried, "{last} proxies");
        // One beyond the need is within the tolerance.
        let need = (connections.max(publishes) / 10_000.0).ceil().max(2.0);
        prop_assert!(f64::from(last) <= need + 1.0, "{last} proxies for {need}");
    }
}
