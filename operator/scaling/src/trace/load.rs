//! What traces are put together from: a wave that each day repeats, swells that come and go, outages, and noise.

use std::f64::consts::TAU;

use super::random::Random;

pub(super) const HOUR: f64 = 3600.0;
pub(super) const DAY: f64 = 24.0 * HOUR;

/// Clients that come, stay and go: a trapezoid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swell {
    pub(super) start: f64,
    pub(super) rise: f64,
    pub(super) hold: f64,
    pub(super) fall: f64,
    pub(super) height: f64,
}

impl Swell {
    pub(super) fn end(&self) -> f64 {
        self.start + self.rise + self.hold + self.fall
    }

    fn at(&self, time: f64) -> f64 {
        let since = time - self.start;
        let left = self.end() - time;
        if since <= 0.0 || left <= 0.0 {
            return 0.0;
        }
        self.height * (since / self.rise.max(1.0)).min(left / self.fall.max(1.0)).min(1.0)
    }
}

/// A time in which nearly no client can connect; then they all come back, and some of them twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    pub(super) start: f64,
    pub(super) length: f64,
    /// How long the return takes.
    pub(super) back: f64,
}

impl Outage {
    /// The share of the clients that is there.
    fn share(&self, time: f64) -> f64 {
        let since = time - self.start;
        if since < 0.0 || since > self.length + self.back + 900.0 {
            1.0
        } else if since < self.length {
            // Keep-alives run out within half a minute.
            (1.0 - since / 30.0).max(0.05)
        } else {
            let returned = (since - self.length) / self.back;
            let settled = ((since - self.length - self.back) / 900.0).clamp(0.0, 1.0);
            (0.05 + returned).min(1.08 - 0.08 * settled)
        }
    }
}

/// The load of a cluster, as clients that are connected over time.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    /// Clients at the lowest and the highest point of each day.
    pub(super) night: f64,
    pub(super) noon: f64,
    /// Growth from day to day, as a factor.
    pub(super) growth: f64,
    /// For each day, what its wave and swells are multiplied by.
    pub(super) days: Vec<f64>,
    /// In order of their start.
    pub(super) swells: Vec<Swell>,
    pub(super) outages: Vec<Outage>,
    /// Standard deviation of the noise, as a share.
    pub(super) noise: f64,
    /// Standard deviation of a walk without aim, as a share for each step of 10 s.
    pub(super) walk: f64,
}

impl Load {
    /// Clients at `time` seconds after the start, without noise.
    pub(super) fn clients(&self, time: f64, swells: &[Swell]) -> f64 {
        let day = time / DAY;
        let wave = 0.5 - 0.5 * (TAU * (day - 4.0 / 24.0)).cos();
        let base = self.night + (self.noon - self.night) * wave;
        let swelling: f64 = swells.iter().map(|swell| swell.at(time)).sum();
        let share: f64 = self.outages.iter().map(|outage| outage.share(time)).product();
        (base * self.day_factor(day) + swelling) * self.growth.max(f64::MIN_POSITIVE).powf(day) * share
    }

    /// One day's factor goes over into the next within the hours around midnight.
    fn day_factor(&self, day: f64) -> f64 {
        let centre = (day - 0.5).max(0.0);
        let (index, part) = (crate::number::count_down(centre) as usize, centre.fract());
        let of = |index: usize| self.days.get(index).or(self.days.last()).copied().unwrap_or(1.0);
        let part = ((part - 0.5) * 4.0 + 0.5).clamp(0.0, 1.0);
        of(index) * (1.0 - part) + of(index + 1) * part
    }
}

/// Noise that takes about a minute to change its mind, as measurements of many clients have.
#[derive(Debug, Clone, Default)]
pub(super) struct Noise(f64);

impl Noise {
    pub(super) fn next(&mut self, deviation: f64, step: f64, random: &mut Random) -> f64 {
        let memory = (-step / 60.0).exp();
        self.0 = self.0 * memory + deviation * (1.0 - memory * memory).sqrt() * random.normal();
        1.0 + self.0
    }
}
