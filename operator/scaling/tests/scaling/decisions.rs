//! Decisions and their reasons, as people read them.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use freshet_scaling::{Decision, Sample, Scaler, Scheduled, Settings, Signal};

const START: u64 = 1_767_571_200;

/// A cluster whose proxies serve at once.
struct Cluster {
    scaler: Scaler,
    now: u64,
    count: u32,
}

impl Cluster {
    fn new(settings: Settings) -> Self {
        Self {
            scaler: Scaler::new(settings),
            now: START,
            count: 2,
        }
    }

    /// A load for some seconds; the last change of the count, or else the last decision.
    fn load(&mut self, connections: f64, round_trip_ms: f64, seconds: u64) -> Decision {
        let mut shown: Option<Decision> = None;
        for _ in 0..seconds {
            self.now += 1;
            let at = Duration::from_secs(self.now);
            let mut sample = Sample {
                at,
                proxies: Some(self.count),
                round_trip_p99_ms: Some(round_trip_ms),
                ..Sample::default()
            };
            sample.values[Signal::Connections] = Some(connections);
            self.scaler.observe(&sample);
            let decision = self.scaler.decide(at, self.count);
            self.count = decision.to;
            if decision.to != decision.from || shown.as_ref().is_none_or(|shown| shown.from == shown.to) {
                shown = Some(decision);
            }
        }
        shown.expect("some seconds")
    }
}

#[test]
fn load_beyond_the_tolerance_adds_at_once_and_load_within_it_nothing() {
    let mut cluster = Cluster::new(Settings::default());
    let decision = cluster.load(21_500.0, 20.0, 300);
    assert_eq!(
        (decision.to, decision.reason.to_string().as_str()),
        (2, "connections is at 108 % of what is to be carried")
    );
    cluster.load(45_000.0, 20.0, 6);
    assert_eq!(cluster.count, 5);
}

/// Counts after each second of a rate, behind a minute of 500 a second on one proxy that is to carry 600.
fn counts_of_a_rise(per_second: &[f64]) -> Vec<u32> {
    let mut settings = Settings {
        min: 1,
        ..Settings::default()
    };
    settings.targets[Signal::PublishesInPerSecond] = Some(600.0);
    settings.predict.enabled = false;
    let mut scaler = Scaler::new(settings);
    let mut count = 1;
    let mut counts = Vec::new();
    let seconds = std::iter::repeat_n(500.0, 60).chain(per_second.iter().copied());
    for (second, publishes) in (START..).zip(seconds) {
        let at = Duration::from_secs(second);
        let mut sample = Sample {
            at,
            proxies: Some(count),
            ..Sample::default()
        };
        sample.values[Signal::PublishesInPerSecond] = Some(publishes);
        scaler.observe(&sample);
        count = scaler.decide(at, count).to;
        counts.push(count);
    }
    counts.split_off(60)
}

#[test]
fn a_rate_that_rises_at_once_gets_what_it_needs_as_soon_as_two_samples_say_so() {
    assert_eq!(counts_of_a_rise(&[2_000.0; 3]), [2, 4, 4]);
    // The rise comes within a sample.
    assert_eq!(counts_of_a_rise(&[1_250.0, 2_000.0, 2_000.0]), [1, 3, 4]);
}

#[test]
fn a_rate_that_flickers_gets_what_its_mean_needs() {
    assert_eq!(counts_of_a_rise(&[2_000.0, 500.0, 500.0]), [2, 2, 2]);
    let to_and_fro = [2_000.0, 0.0, 2_000.0, 0.0, 2_000.0, 0.0];
    assert_eq!(counts_of_a_rise(&to_and_fro).last(), Some(&2));
}

#[test]
fn fewer_are_believed_after_the_delay_and_go_step_by_step() {
    let mut cluster = Cluster::new(Settings::default());
    cluster.load(80_000.0, 20.0, 600);
    assert_eq!(cluster.count, 8);
    let decision = cluster.load(10_000.0, 20.0, 290);
    assert_eq!(cluster.count, 8);
    assert_eq!(
        decision.reason.to_string(),
        "1 would be enough now, but fewer have not been enough for the whole scaleInDelay"
    );
    cluster.load(10_000.0, 20.0, 80);
    assert!((4..=6).contains(&cluster.count), "{}", cluster.count);
    cluster.load(10_000.0, 20.0, 600);
    assert_eq!(cluster.count, 2);
}

#[test]
fn slow_publishes_name_the_capacity_that_was_learned() {
    let mut cluster = Cluster::new(Settings::default());
    cluster.load(19_000.0, 20.0, 120);
    let decision = cluster.load(19_000.0, 400.0, 60);
    assert!(cluster.count > 2);
    let reason = decision.reason.to_string();
    assert!(reason.ends_with("each, which was learned from round trips"), "{reason}");
}

#[test]
fn a_scheduled_minimum_is_there_when_it_begins_and_goes_like_load() {
    let mut cluster = Cluster::new(Settings {
        scheduled: vec![
            Scheduled::read("firmware-night", "16 0 5 1 *", "UTC", Duration::from_secs(600), 6).expect("an entry"),
        ],
        capacity_delay: Duration::from_secs(180),
        ..Settings::default()
    });
    cluster.load(15_000.0, 20.0, 779);
    assert_eq!(cluster.count, 2);
    let decision = cluster.load(15_000.0, 20.0, 1);
    assert_eq!(decision.to, 6);
    assert_eq!(
        decision.reason.to_string(),
        "the schedule `firmware-night` asks for 6 at least"
    );
    cluster.load(15_000.0, 20.0, 779 + 290);
    assert_eq!(cluster.count, 6);
    cluster.load(15_000.0, 20.0, 600);
    assert_eq!(cluster.count, 2);
}

#[test]
fn a_storm_of_each_hour_is_answered_before_it_comes() {
    let mut settings = Settings {
        capacity_delay: Duration::from_secs(180),
        ..Settings::default()
    };
    settings.predict.seasons = vec![Duration::from_secs(3600)];
    let mut cluster = Cluster::new(settings);
    for _ in 0..8 {
        cluster.load(50_000.0, 20.0, 300);
        cluster.load(15_000.0, 20.0, 3300 - 200);
        let before = cluster.count;
        let decision = cluster.load(15_000.0, 20.0, 200);
        if before == 2 && cluster.count >= 5 {
            let reason = decision.reason.to_string();
            assert!(reason.starts_with("connections forecast "), "{reason}");
            assert!(
                reason.contains("within 190 s, as it was 1 h before, needs 5 proxies at 11000 each"),
                "{reason}"
            );
            return;
        }
    }
    panic!("no storm was foreseen");
}
