//! Load that comes and goes by the clock, and how soon proxies go after it.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use freshet_scaling::{Sample, Scaler, Settings, Signal};

/// A Monday at midnight.
const START: u64 = 1_767_571_200;
const STEP: u64 = 10;
const STORM: u64 = 120;

/// Hours in which a storm came by the clock, before the one that is looked at.
const HOURS: u64 = 30;

struct Cluster {
    scaler: Scaler,
    count: u32,
    reason: String,
}

impl Cluster {
    /// One that has had a storm half past every hour.
    fn new(settings: Settings) -> Self {
        let mut cluster = Self {
            scaler: Scaler::new(settings),
            count: 2,
            reason: String::new(),
        };
        cluster.run(0, HOURS * 3600, &|second| is_half_past(second));
        cluster
    }

    /// Lets load come while `storms`, and returns how long after the end of the last storm the first proxy has gone.
    fn run(&mut self, from: u64, until: u64, storms: &dyn Fn(u64) -> bool) -> Option<u64> {
        let (mut ended, mut gone) = (None, None);
        for second in (from..until).step_by(usize::try_from(STEP).unwrap()) {
            let at = Duration::from_secs(START + second);
            let mut sample = Sample {
                at,
                proxies: Some(self.count),
                ..Sample::default()
            };
            sample.values[Signal::Connections] = Some(if storms(second) { 60_000.0 } else { 9_000.0 });
            self.scaler.observe(&sample);
            let decision = self.scaler.decide(at, self.count);
            if storms(second) {
                (ended, gone) = (Some(second + STEP), None);
            } else if let Some(ended) = ended
                && decision.to < decision.from
                && gone.is_none()
            {
                gone = Some(second - ended);
                self.reason = decision.reason.to_string();
            }
            self.count = decision.to;
        }
        gone
    }
}

fn is_half_past(second: u64) -> bool {
    (1800..1800 + STORM).contains(&(second % 3600))
}

fn settings() -> Settings {
    let mut settings = Settings {
        capacity_delay: Duration::from_secs(120),
        ..Settings::default()
    };
    settings.predict.seasons = vec![Duration::from_secs(3600)];
    settings
}

const NEXT: u64 = HOURS * 3600;

#[test]
fn after_a_storm_that_came_by_the_clock_proxies_go_within_two_stable_windows() {
    let mut cluster = Cluster::new(settings());
    let gone = cluster
        .run(NEXT, NEXT + 3600, &is_half_past)
        .expect("proxies have gone");
    assert!(gone <= 120, "{gone} s after the storm");
    assert!(
        cluster
            .reason
            .contains("and no more are foreseen to be needed for as long as scaleInDelay"),
        "{}",
        cluster.reason
    );
    assert_eq!(cluster.count, 2);
}

#[test]
fn after_one_that_nobody_has_foreseen_the_delay_holds() {
    let mut cluster = Cluster::new(settings());
    let unforeseen = |second: u64| (300..300 + STORM).contains(&(second - NEXT));
    let gone = cluster.run(NEXT, NEXT + 1500, &unforeseen).expect("proxies have gone");
    assert!(gone >= 290, "{gone} s after the storm");
}

#[test]
fn without_a_forecast_the_delay_holds() {
    let mut settings = settings();
    settings.predict.enabled = false;
    let gone = Cluster::new(settings).run(NEXT, NEXT + 3600, &is_half_past);
    assert!(gone.is_some_and(|gone| gone >= 290), "{gone:?}");
}

#[test]
fn proxies_that_the_next_storm_needs_again_before_the_delay_is_over_stay() {
    // Two storms in each hour, five minutes apart.
    let twice = |second: u64| is_half_past(second) || (2220..2220 + STORM).contains(&(second % 3600));
    let mut cluster = Cluster::new(settings());
    cluster.run(NEXT, NEXT + HOURS * 3600, &twice);
    let between = 2 * NEXT + 1800 + STORM;
    cluster.run(2 * NEXT, between, &twice);
    let count = cluster.count;
    cluster.run(between, 2 * NEXT + 2220, &twice);
    assert_eq!(cluster.count, count, "{}", cluster.reason);
}
