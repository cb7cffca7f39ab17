//! What one proxy carries, learned from the outside: when publishes take longer than they should, proxies carry less than
//! the targets say.
//!
//! A miss at some load per proxy shows that a proxy carries less than that, so the learned capacity falls below it. What is
//! missed at more load than the capacity that is known shows nothing new, and neither does what is missed for a while after
//! that: clients may still be on their way to other proxies, and what has piled up is worked off. The next miss must come at
//! less load to count, so a slow answer that is not the proxies' fault lowers it once. Where the load
//! was carried well just before and is missed by far, the proxies carry less than they did, and by how much one miss does not
//! say: when there is less load for each and they carry that, the capacity is taken to lie in the middle between the two. It
//! rises by a little each time the objective is met at nearly the learned load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::number::fraction;
use crate::recent::{Recent, mean, middle};
use crate::settings::Settings;
use crate::signal::{PerSignal, Signal};

/// Below this share of its target nothing is learned: more proxies than five times as many are no answer to slowness.
const LEAST_SHARE: f64 = 0.2;

/// How far below the load at which the objective was missed the capacity falls, beyond the tolerance. Less would change
/// no count.
const FALL: f64 = 0.97;

/// How much the capacity rises by one proof.
const RISE: f64 = 1.05;

/// Load of this share of the learned capacity, carried within the objective, is a proof.
const PROOF: f64 = 0.95;

/// A round trip of so many times the objective is missed by far.
const FAR: f64 = 2.0;

/// For how long after more load than a proxy is known to carry it may still be slow: clients are on their way to others, what
/// has piled up is worked off, and what is told of is of the last 3 s.
const SETTLES: Duration = Duration::from_secs(10);

/// What one proxy carries, as far as that was learned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LearnedCapacity {
    learned: PerSignal<Option<f64>>,
    fell_at: Option<Duration>,
    rose_at: Option<Duration>,
    /// What was carried within the objective last.
    #[serde(default)]
    met: Option<PerProxy>,
    /// What was missed by far though it had been carried.
    #[serde(default)]
    lost: Option<PerProxy>,
}

/// Load of one proxy at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct PerProxy {
    signal: Signal,
    load: f64,
    at: Duration,
}

impl LearnedCapacity {
    /// What one proxy carries of each signal: its target, or the less that was learned.
    pub(crate) fn carried(&self, settings: &Settings) -> PerSignal<Option<f64>> {
        PerSignal::of(|signal| {
            let target = settings.targets[signal]?;
            Some(self.carried_of(signal, target))
        })
    }

    /// Targets may have changed since something was learned, so it is held between their bounds.
    fn carried_of(&self, signal: Signal, target: f64) -> f64 {
        let learned = self.learned[signal].unwrap_or(target);
        learned.max(target * LEAST_SHARE).min(target)
    }

    /// Learns from the round trips of the last while.
    pub(crate) fn learn(&mut self, recent: &Recent, settings: &Settings, now: Duration) {
        let Some(objective) = settings.publish_round_trip_p99_ms else {
            *self = Self::default();
            return;
        };
        let window = (settings.windows.stable / 3).max(settings.windows.panic);
        let per_proxy = |signal| {
            mean(
                recent
                    .within(window, now)
                    .filter_map(|sample| sample.load_of_one(signal)),
            )
        };
        // The one that is nearest to what is carried is the one that a miss is put down to.
        let nearest = Signal::ALL
            .into_iter()
            .filter(|signal| signal.is_load())
            .filter_map(|signal| {
                let target = settings.targets[signal].filter(|target| *target > 0.0)?;
                let carried = self.carried_of(signal, target);
                Some((signal, target, carried, per_proxy(signal)?))
            })
            .max_by(|(.., a_carried, a_load), (.., b_carried, b_load)| {
                (a_load / a_carried).total_cmp(&(b_load / b_carried))
            });
        let Some((signal, target, carried, _)) = nearest else {
            return;
        };
        let tolerated = carried * (1.0 + fraction(settings.behavior.tolerance_percent));
        let evidence = Evidence::of(recent, window, now, signal, objective, tolerated);
        if evidence.is_badly_served {
            // What is carried badly proves nothing.
            self.rose_at = Some(now);
        }
        let Some((round_trip, load)) = evidence.says else {
            return;
        };
        let this = PerProxy { signal, load, at: now };
        if round_trip > objective {
            if has_passed(self.fell_at, window, now) {
                let was_met = self.met.is_some_and(|met| {
                    met.signal == signal
                        && met.load >= load * PROOF
                        && !has_passed(Some(met.at), settings.windows.stable * 2, now)
                });
                self.lost = (was_met && round_trip >= objective * FAR).then_some(this);
                let below = load * FALL / (1.0 + fraction(settings.behavior.tolerance_percent));
                if below < carried {
                    self.learned[signal] = Some(below.max(target * LEAST_SHARE));
                    self.fell_at = Some(now);
                }
            }
            return;
        }
        self.met = Some(this);
        // Not before what served and what came while it was missed is out of the window.
        if let Some(lost) = self.lost.take_if(|lost| has_passed(Some(lost.at), window * 2, now))
            && lost.signal == signal
            && !has_passed(Some(lost.at), settings.windows.stable * 2, now)
        {
            let middle = f64::midpoint(load.min(lost.load), lost.load);
            if middle < carried {
                self.learned[signal] = Some(middle.max(target * LEAST_SHARE));
                self.rose_at = Some(now);
            }
        } else if carried < target && load >= carried * PROOF && has_passed(self.rose_at, settings.windows.stable, now)
        {
            self.learned[signal] = Some(carried * RISE).filter(|risen| *risen < target);
            self.rose_at = Some(now);
        }
    }
}

/// What the round trips of a while say of the load of one proxy.
struct Evidence {
    /// The objective was missed for half of the time, whatever the load.
    is_badly_served: bool,
    /// What was missed, or else met, for half of the time, in a way that says something: the middle one of the round trips, in
    /// milliseconds, and the mean of the load. One slow answer is no proof.
    says: Option<(f64, f64)>,
}

impl Evidence {
    /// Of the samples in the window before `now`. What is missed at more than `tolerated` says nothing, and neither does what is
    /// missed for [`SETTLES`] after that without having been met in between.
    fn of(recent: &Recent, window: Duration, now: Duration, signal: Signal, objective: f64, tolerated: f64) -> Self {
        let mut known_until = Duration::ZERO;
        let (mut samples, mut all) = (Vec::new(), Vec::new());
        for sample in recent.within(window + SETTLES, now) {
            let load = sample.load_of_one(signal);
            if load.is_some_and(|load| load > tolerated) {
                known_until = sample.at + SETTLES;
            }
            let Some(round_trip) = sample.round_trip_p99_ms else {
                continue;
            };
            let says_something = round_trip <= objective || sample.at > known_until;
            if round_trip <= objective {
                known_until = Duration::ZERO;
            }
            if sample.at + window > now {
                all.push(round_trip);
                samples.extend(load.filter(|_| says_something).map(|load| (round_trip, load)));
            }
        }
        let is_miss = |round_trip: f64| round_trip > objective;
        let count = all.len();
        let misses = samples.iter().filter(|(round_trip, _)| is_miss(*round_trip)).count();
        let is_missed = misses * 2 >= count;
        if is_missed || (samples.len() - misses) * 2 > count {
            samples.retain(|(round_trip, _)| is_miss(*round_trip) == is_missed);
        } else {
            samples.clear();
        }
        Self {
            is_badly_served: middle(all).is_some_and(is_miss),
            says: middle(samples.iter().map(|(round_trip, _)| *round_trip).collect())
                .zip(mean(samples.iter().map(|(_, load)| *load))),
        }
    }
}

/// Whether that long has passed; what lies ahead was written by a clock since set back.
fn has_passed(since: Option<Duration>, long: Duration, now: Duration) -> bool {
    since.is_none_or(|since| since + long <= now || since > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    /// Serves publishes with proxies of a true capacity for a while: beyond it publishes are slow.
    fn serve(capacity: &mut LearnedCapacity, truth: f64, load: impl Fn(f64) -> f64, from_s: u64, seconds: u64) -> f64 {
        let settings = Settings::default();
        let mut recent = Recent::default();
        let mut learned = 10_000.0;
        for second in from_s..from_s + seconds {
            let now = Duration::from_secs(second);
            let publishes = load(learned);
            let mut sample = Sample {
                at: now,
                proxies: Some(1),
                round_trip_p99_ms: Some(if publishes > truth { 900.0 } else { 20.0 }),
                ..Sample::default()
            };
            sample.values[Signal::PublishesInPerSecond] = Some(publishes);
            recent.push(sample, settings.windows.stable);
            capacity.learn(&recent, &settings, now);
            learned = capacity.carried(&settings)[Signal::PublishesInPerSecond].unwrap_or_default();
        }
        learned
    }

    #[test]
    fn half_the_capacity_is_learned_within_three_minutes() {
        for truth in [3_000.0, 5_000.0, 8_000.0] {
            // Proxies are added at once, so each carries what it is believed to.
            let learned = serve(&mut LearnedCapacity::default(), truth, |learned| learned, 0, 180);
            assert!((learned / truth - 1.0).abs() <= 0.2, "{learned} for {truth}");
        }
    }

    /// Serves with as many proxies as one that carries what was learned needs, of which each then carries `truth`.
    fn serve_with_enough(capacity: &mut LearnedCapacity, truth: f64, load: f64, beyond_ms: f64, from_s: u64) -> f64 {
        let settings = Settings::default();
        let mut recent = Recent::default();
        let mut learned = capacity.carried(&settings)[Signal::PublishesInPerSecond].unwrap();
        for second in from_s..from_s + 180 {
            let now = Duration::from_secs(second);
            let proxies = (1..10).find(|count| load / f64::from(*count) <= learned * 1.1).unwrap();
            let mut sample = Sample {
                at: now,
                proxies: Some(proxies),
                round_trip_p99_ms: Some(if load / f64::from(proxies) > truth {
                    beyond_ms
                } else {
                    20.0
                }),
                ..Sample::default()
            };
            sample.values[Signal::PublishesInPerSecond] = Some(load);
            recent.push(sample, settings.windows.stable);
            capacity.learn(&recent, &settings, now);
            learned = capacity.carried(&settings)[Signal::PublishesInPerSecond].unwrap();
        }
        learned
    }

    #[test]
    fn what_proxies_have_lost_lies_between_what_they_carry_then_and_what_they_carried() {
        for (truth, learned) in [(5_000.0, 5_250.0), (4_000.0, 5_250.0), (6_500.0, 5_250.0)] {
            let mut capacity = LearnedCapacity::default();
            assert_eq!(serve_with_enough(&mut capacity, 10_000.0, 7_000.0, 900.0, 0), 10_000.0);
            assert_eq!(
                serve_with_enough(&mut capacity, truth, 7_000.0, 900.0, 180),
                learned,
                "{truth}"
            );
        }
        // Nearly carried: it is not far below.
        let mut capacity = LearnedCapacity::default();
        serve_with_enough(&mut capacity, 10_000.0, 7_000.0, 900.0, 0);
        let learned = serve_with_enough(&mut capacity, 6_900.0, 7_000.0, 199.0, 180);
        assert!((learned - 7_000.0 * FALL / 1.1).abs() < 1.0, "{learned}");
        // Nothing was carried before.
        let learned = serve_with_enough(&mut LearnedCapacity::default(), 5_000.0, 7_000.0, 900.0, 0);
        assert!((learned - 7_000.0 * FALL / 1.1).abs() < 1.0, "{learned}");
    }

    /// One proxy that carries 4,800 has had 6,000 for two minutes; then another one serves as well, and takes one client
    /// after the other within so many seconds. What waits at the first one takes 3 s to be worked off, and its P99 is over
    /// the last 3 s.
    fn learned_while_clients_move(moves_s: u32, tells_of_slowest: bool) -> f64 {
        let settings = Settings::default();
        let (mut capacity, mut recent) = (LearnedCapacity::default(), Recent::default());
        let mut last_slow = None;
        for second in 0_u32..240 {
            let moved = if second < 130 {
                0.0
            } else {
                (f64::from(second - 130) / f64::from(moves_s)).min(1.0)
            };
            let of_first = 6_000.0 - 3_000.0 * moved;
            // The CPU is halved at 100 s.
            if second >= 100 && of_first > 4_800.0 {
                last_slow = Some(second);
            }
            let is_slow = last_slow.is_some_and(|last| second < last + 6);
            let mut sample = Sample {
                at: Duration::from_secs(u64::from(second)),
                proxies: Some(if second < 130 { 1 } else { 2 }),
                round_trip_p99_ms: Some(if is_slow { 600.0 } else { 20.0 }),
                ..Sample::default()
            };
            sample.values[Signal::PublishesInPerSecond] = Some(6_000.0);
            if tells_of_slowest {
                sample.slowest[Signal::PublishesInPerSecond] = Some(of_first);
            }
            recent.push(sample, settings.windows.stable);
            capacity.learn(&recent, &settings, Duration::from_secs(u64::from(second)));
        }
        capacity.carried(&settings)[Signal::PublishesInPerSecond].unwrap()
    }

    #[test]
    fn what_is_missed_while_clients_move_says_nothing_new() {
        for moves_s in [1, 5, 15, 30, 60] {
            let learned = learned_while_clients_move(moves_s, true);
            assert!((learned / 4_800.0 - 1.0).abs() <= 0.2, "{learned} after {moves_s} s");
        }
        // With an even share, the first one seems to be slow with what it does not have.
        let learned = learned_while_clients_move(60, false);
        assert!(learned < 3_000.0, "{learned}");
    }

    #[test]
    fn a_capacity_that_came_back_is_believed_slowly_and_by_proof_only() {
        let mut capacity = LearnedCapacity::default();
        let low = serve(&mut capacity, 5_000.0, |learned| learned, 0, 300);
        // Without load there is no proof.
        assert_eq!(serve(&mut capacity, 10_000.0, |_| 100.0, 300, 3600), low);
        let risen = serve(&mut capacity, 10_000.0, |learned| learned, 3900, 120);
        assert!(risen > low && risen < low * 1.2, "{low} to {risen}");
        assert_eq!(serve(&mut capacity, 10_000.0, |learned| learned, 4020, 7200), 10_000.0);
    }

    #[test]
    fn slowness_at_no_load_costs_no_more_than_five_times_the_proxies() {
        let learned = serve(&mut LearnedCapacity::default(), 0.0, |_| 10.0, 0, 3600);
        assert_eq!(learned, 2_000.0);
    }

    /// Learns from two minutes with so many connections and publishes for each proxy.
    fn after(connections: f64, publishes: f64, round_trip_ms: f64, targets: [f64; 2]) -> [Option<f64>; 2] {
        let signals = [Signal::Connections, Signal::PublishesInPerSecond];
        let mut settings = Settings::default();
        for (signal, target) in signals.into_iter().zip(targets) {
            settings.targets[signal] = Some(target);
        }
        let (mut capacity, mut recent) = (LearnedCapacity::default(), Recent::default());
        for second in 1..=120 {
            let now = Duration::from_secs(second);
            let mut sample = Sample {
                at: now,
                proxies: Some(2),
                round_trip_p99_ms: Some(round_trip_ms),
                ..Sample::default()
            };
            sample.values[Signal::Connections] = Some(connections * 2.0);
            sample.values[Signal::PublishesInPerSecond] = Some(publishes * 2.0);
            recent.push(sample, settings.windows.stable);
            capacity.learn(&recent, &settings, now);
        }
        let carried = capacity.carried(&settings);
        signals.map(|signal| carried[signal])
    }

    #[test]
    fn a_miss_is_put_down_to_the_signal_that_is_nearest_to_what_is_carried() {
        let [connections, publishes] = after(5_000.0, 950.0, 900.0, [10_000.0, 1_000.0]);
        assert_eq!(connections, Some(10_000.0));
        assert!(
            publishes.is_some_and(|publishes| (publishes - 837.7).abs() < 0.1),
            "{publishes:?}"
        );
        // One without a target carries nothing that could be learned.
        let [_, publishes] = after(5_000.0, 950.0, 900.0, [0.0, 1_000.0]);
        assert!(publishes.is_some_and(|publishes| publishes < 1_000.0), "{publishes:?}");
    }

    #[test]
    fn a_round_trip_as_long_as_the_objective_is_no_miss() {
        assert_eq!(after(100.0, 950.0, 100.0, [10_000.0, 1_000.0])[1], Some(1_000.0));
        assert_ne!(after(100.0, 950.0, 100.1, [10_000.0, 1_000.0])[1], Some(1_000.0));
    }

    #[test]
    fn a_while_has_passed_at_its_end_and_when_the_clock_was_set_back() {
        let passed = |now: u64| {
            has_passed(
                Some(Duration::from_secs(100)),
                Duration::from_secs(10),
                Duration::from_secs(now),
            )
        };
        assert_eq!([50, 99, 100, 109, 110].map(passed), [true, true, false, false, true]);
        assert!(has_passed(None, Duration::MAX, Duration::ZERO));
    }
}
