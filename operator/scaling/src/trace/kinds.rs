//! The kinds of load that fleets of devices bring, each made from a seed: the same seed is the same trace.
//!
//! Sizes are for the default settings (10,000 clients for each proxy, at most 10 proxies). Every trace begins on a Monday,
//! at midnight UTC.

use std::time::Duration;

use super::load::{DAY, HOUR, Load, Noise, Outage, Swell};
use super::random::Random;
use super::{Trace, TraceRow};
use crate::number::count_down;
use crate::signal::Signal;

/// Monday, 5 January 2026, midnight UTC.
const START: Duration = Duration::from_secs(1_767_571_200);

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// More by day than by night.
    DailyWave,
    /// At the top of each hour many come for some minutes.
    HourlyStorm,
    /// 100,000 devices wake every 15 minutes, report and sleep.
    DeviceReports,
    /// Every few days new firmware goes out in waves.
    FirmwareCampaign,
    /// Now and then nobody can connect, and then all come back.
    Outage,
    /// Sites open in the morning of working days.
    Weekend,
    /// As `Weekend`, with days off in the week.
    Holiday,
    /// As `HourlyStorm`, and each day is larger than the last.
    Drift,
    /// A walk without aim: nothing repeats itself.
    Walk,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::DailyWave,
        Self::HourlyStorm,
        Self::DeviceReports,
        Self::FirmwareCampaign,
        Self::Outage,
        Self::Weekend,
        Self::Holiday,
        Self::Drift,
        Self::Walk,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::DailyWave => "daily-wave",
            Self::HourlyStorm => "hourly-storm",
            Self::DeviceReports => "device-reports",
            Self::FirmwareCampaign => "firmware-campaign",
            Self::Outage => "outage",
            Self::Weekend => "weekend",
            Self::Holiday => "holiday",
            Self::Drift => "drift",
            Self::Walk => "walk",
        }
    }

    /// Whether the load repeats itself, so that it can be foreseen.
    pub fn has_season(self) -> bool {
        !matches!(self, Self::FirmwareCampaign | Self::Outage | Self::Walk)
    }
}

/// Makes a trace of `days` days with a row each `step`.
pub fn generate(kind: Kind, seed: u64, days: u32, step: Duration) -> Trace {
    let step_s = step.as_secs_f64().max(1.0);
    let length = f64::from(days) * DAY;
    let load = load_of(kind, seed, days);
    let mut random = Random::new(seed, 100);
    let mut noises = [Noise::default(), Noise::default(), Noise::default()];
    let mut walk = 0.0_f64;
    let mut first_swell = 0;
    let mut before = None;
    let mut rows = Vec::new();
    for index in 0..count_down(length / step_s) {
        let time = f64::from(index) * step_s;
        while load.swells.get(first_swell).is_some_and(|swell| swell.end() <= time) {
            first_swell += 1;
        }
        let near = &load.swells[first_swell..];
        let near = &near[..near.partition_point(|swell| swell.start < time)];
        walk = (walk + load.walk * (step_s / 10.0).sqrt() * random.normal()) * (1.0 - 1e-4 * step_s / 10.0);
        let clients = load.clients(time, near) * walk.exp() * noises[0].next(load.noise, step_s, &mut random);
        let clients = clients.clamp(0.0, 98_000.0);
        let arriving = (clients - before.unwrap_or(clients)).max(0.0) / step_s;
        before = Some(clients);
        rows.push(row(time, clients, arriving, &mut noises, step_s, &mut random));
    }
    Trace { rows }
}

fn row(time: f64, clients: f64, arriving: f64, noises: &mut [Noise; 3], step_s: f64, random: &mut Random) -> TraceRow {
    // Each client publishes about every 8 s, and once when it arrives.
    let publishes = (clients * 0.125 + arriving) * noises[1].next(0.02, step_s, random);
    let deliveries = publishes * 1.5 * noises[2].next(0.02, step_s, random);
    let mut row = TraceRow {
        at: START + Duration::from_secs_f64(time),
        round_trip_p99_ms: Some(random.between(15.0, 40.0)),
        ..TraceRow::default()
    };
    row.values[Signal::Connections] = Some(clients.round());
    row.values[Signal::ConnectsPerSecond] = Some(arriving + clients / 3600.0);
    row.values[Signal::PublishesInPerSecond] = Some(publishes.max(0.0));
    row.values[Signal::DeliveriesOutPerSecond] = Some(deliveries.max(0.0));
    row
}

fn load_of(kind: Kind, seed: u64, days: u32) -> Load {
    let mut random = Random::new(seed, 1);
    let mut load = Load {
        night: random.between(15_000.0, 20_000.0),
        noon: random.between(30_000.0, 38_000.0),
        growth: 1.0,
        days: (0..=days).map(|_| 1.0 + 0.03 * random.normal()).collect(),
        noise: 0.006,
        ..Load::default()
    };
    match kind {
        Kind::DailyWave => load.noon = random.between(60_000.0, 80_000.0),
        Kind::HourlyStorm => load.swells = hourly_storms(days, 25_000.0, &mut random),
        Kind::DeviceReports => load.swells = device_reports(days, &mut random),
        Kind::FirmwareCampaign => load.swells = campaigns(days, &mut random),
        Kind::Outage => {
            load.night = random.between(35_000.0, 40_000.0);
            load.noon = random.between(60_000.0, 70_000.0);
            load.outages = outages(days, &mut random);
        }
        Kind::Weekend => load.swells = working_days(days, 0.0, &mut random),
        Kind::Holiday => load.swells = working_days(days, 0.15, &mut random),
        Kind::Drift => {
            load.growth = 1.0 + random.between(0.01, 0.025);
            load.swells = hourly_storms(days, 18_000.0, &mut random);
        }
        Kind::Walk => {
            load.noon = load.night * 2.0;
            load.night = load.noon;
            load.walk = 0.006;
        }
    }
    load.swells.sort_by(|a, b| a.start.total_cmp(&b.start));
    load
}

fn hourly_storms(days: u32, height: f64, random: &mut Random) -> Vec<Swell> {
    let height = height * random.between(0.85, 1.15);
    let (rise, hold) = (random.between(40.0, 120.0), random.between(300.0, 600.0));
    (0..days * 24)
        .map(|hour| Swell {
            start: f64::from(hour) * HOUR + 20.0 * random.normal(),
            rise,
            hold: hold * random.between(0.9, 1.1),
            fall: 240.0,
            height: height * (1.0 + 0.05 * random.normal()),
        })
        .collect()
}

fn device_reports(days: u32, random: &mut Random) -> Vec<Swell> {
    // 100,000 devices spread over some minutes; each stays for a while, so this many are there at once.
    let (spread, stay) = (random.between(150.0, 210.0), random.between(60.0, 100.0));
    (0..days * 96)
        .map(|quarter| Swell {
            start: f64::from(quarter) * 900.0 + 5.0 * random.normal(),
            rise: stay,
            hold: spread - stay,
            fall: stay,
            height: 100_000.0 * stay / spread * (1.0 + 0.02 * random.normal()),
        })
        .collect()
}

fn campaigns(days: u32, random: &mut Random) -> Vec<Swell> {
    let mut swells = Vec::new();
    let mut day = random.between(1.0, 4.0);
    while day < f64::from(days) {
        let start = day.floor() * DAY + random.between(8.0, 20.0) * HOUR;
        for wave in 0..8 {
            swells.push(Swell {
                start: start + f64::from(wave) * 1800.0 + random.between(0.0, 300.0),
                rise: random.between(240.0, 900.0),
                hold: 600.0,
                fall: 600.0,
                height: random.between(15_000.0, 35_000.0),
            });
        }
        day += random.between(2.0, 5.0);
    }
    swells
}

fn outages(days: u32, random: &mut Random) -> Vec<Outage> {
    let mut outages = Vec::new();
    let mut start = random.between(0.5, 2.0) * DAY;
    while start < f64::from(days) * DAY {
        outages.push(Outage {
            start,
            length: random.between(600.0, 2400.0),
            back: random.between(60.0, 240.0),
        });
        start += random.between(0.5, 2.0) * DAY;
    }
    outages
}

/// Sites that open within minutes of 7:00, have a break at noon, and close; on Saturday and Sunday they do not.
fn working_days(days: u32, day_off: f64, random: &mut Random) -> Vec<Swell> {
    let mut swells = Vec::new();
    let height = random.between(25_000.0, 40_000.0);
    for day in 0..days {
        let is_off = random.unit() < day_off;
        if day % 7 >= 5 || is_off {
            continue;
        }
        // Shifts begin at 7:00, 11:00, 13:00, 17:00 and 21:00; each is as large as its plant.
        for (hour, share, hours) in [
            (7.0, 1.0, 3.0),
            (11.0, 0.8, 1.5),
            (13.0, 1.0, 3.5),
            (17.0, 0.9, 3.5),
            (21.0, 0.7, 2.0),
        ] {
            swells.push(Swell {
                start: f64::from(day) * DAY + hour * HOUR + 30.0 * random.normal(),
                rise: random.between(120.0, 300.0),
                hold: hours * HOUR,
                fall: 600.0,
                height: height * share * (1.0 + 0.04 * random.normal()),
            });
        }
    }
    swells
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(10);

    #[test]
    fn the_same_seed_is_the_same_trace_and_another_one_is_another() {
        for kind in Kind::ALL {
            let trace = generate(kind, 7, 2, STEP);
            assert_eq!(trace.rows.len(), 17_280, "{}", kind.name());
            assert_eq!(trace, generate(kind, 7, 2, STEP));
            assert_ne!(trace, generate(kind, 8, 2, STEP));
        }
    }

    #[test]
    fn every_trace_fits_ten_proxies_and_moves() {
        for kind in Kind::ALL {
            let trace = generate(kind, 3, 7, STEP);
            let clients = trace.rows.iter().filter_map(|row| row.values[Signal::Connections]);
            let (low, high) = clients.fold((f64::MAX, 0.0_f64), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            assert!(
                high <= 100_000.0 && high > low * 1.2,
                "{}: {low} to {high}",
                kind.name()
            );
        }
    }

    #[test]
    fn the_sites_are_closed_at_the_weekend() {
        let trace = generate(Kind::Weekend, 5, 7, STEP);
        let at = |day: usize, hour: usize| trace.rows[(day * 24 + hour) * 360].values[Signal::Connections];
        assert!(
            at(2, 9) > at(5, 9).map(|saturday| saturday * 1.5),
            "{:?}, {:?}",
            at(2, 9),
            at(5, 9)
        );
    }
}
