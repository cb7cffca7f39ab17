//! How many proxies of a cluster are to serve.
//!
//! Here the texts of `spec.proxy.scaling` and `.warm` become the settings of the scaler (`freshet_scaling`). [`fleet`] adds up what the
//! proxies say of their load, [`cluster`] decides once a second and remembers what was decided, [`shown`] tells people.

pub mod cluster;
pub mod fleet;
mod shown;

use std::time::Duration;

use freshet_operator_api as api;
use freshet_scaling::{Behavior, PerSignal, Pool, Predict, ScheduleError, Scheduled, Settings, Signal, Windows};
use thiserror::Error;

use crate::units::{UnitError, parse_duration};

/// A field that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("spec.proxy.scaling.{field}: {problem}")]
pub struct InvalidScaling {
    /// Path below `spec.proxy.scaling`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads the settings. `capacity_delay` is measured: how long a proxy takes to start when none is warm.
///
/// # Errors
/// The first field that does not say what it should.
pub fn read_scaling(scaling: &api::Scaling, capacity_delay: Duration) -> Result<Settings, InvalidScaling> {
    if scaling.max < scaling.min.max(1) {
        let problem = format!("{} is less than min, {}, or than 1", scaling.max, scaling.min);
        return Err(invalid("max", problem));
    }
    let objective = duration(
        "objective.publishRoundTripP99",
        &scaling.objective.publish_round_trip_p99.0,
        Duration::ZERO,
    )?;
    let behavior = &scaling.behavior;
    Ok(Settings {
        min: scaling.min,
        max: scaling.max,
        targets: targets(&scaling.targets),
        publish_round_trip_p99_ms: Some(objective.as_secs_f64() * 1000.0).filter(|ms| *ms > 0.0),
        windows: Windows {
            stable: duration("windows.stable", &scaling.windows.stable.0, Duration::from_secs(1))?,
            panic: duration("windows.panic", &scaling.windows.panic.0, Duration::from_secs(1))?,
            panic_threshold_percent: f64::from(scaling.windows.panic_threshold_percent.max(101)),
        },
        behavior: Behavior {
            tolerance_percent: f64::from(behavior.tolerance_percent),
            max_step_up: number("behavior.maxStepUp", &behavior.max_step_up, "x", 1.01..=1000.0)?,
            max_step_down_percent: number("behavior.maxStepDown", &behavior.max_step_down, "%", 1.0..=100.0)?,
            scale_in_delay: duration("behavior.scaleInDelay", &behavior.scale_in_delay.0, Duration::ZERO)?,
        },
        predict: predict(&scaling.predict)?,
        scheduled: schedule(&scaling.schedule)?,
        capacity_delay,
    })
}

/// Reads how large the warm pool may be.
pub fn read_pool(warm: &api::Warm) -> Pool {
    Pool {
        min: warm.min,
        max: warm.max,
        is_auto: warm.size == api::WarmSize::Auto,
    }
}

fn invalid(field: &str, problem: impl Into<String>) -> InvalidScaling {
    InvalidScaling {
        field: field.to_owned(),
        problem: problem.into(),
    }
}

fn targets(targets: &api::ScalingTargets) -> PerSignal<Option<f64>> {
    PerSignal::of(|signal| {
        let target = match signal {
            Signal::Connections => targets.connections,
            Signal::ConnectsPerSecond => targets.connects_per_second,
            Signal::PublishesInPerSecond => targets.publishes_in_per_second,
            Signal::DeliveriesOutPerSecond => targets.deliveries_out_per_second,
            Signal::CpuPercent => targets.cpu_percent,
            Signal::MemoryPercent => targets.memory_percent,
        };
        (target > 0).then(|| f64::from(target))
    })
}

fn predict(predict: &api::ScalingPrediction) -> Result<Predict, InvalidScaling> {
    const HOUR: Duration = Duration::from_secs(3600);
    let horizon = match predict.horizon.as_str() {
        "Auto" => None,
        text => Some(duration("predict.horizon", text, Duration::ZERO)?),
    };
    let mut seasons = Vec::new();
    for (index, season) in predict.seasons.iter().enumerate() {
        let field = format!("predict.seasons[{index}]");
        let season = duration(&field, &season.0, HOUR)?;
        if season > HOUR * 168 || season.as_secs() % 60 != 0 {
            return Err(invalid(&field, "a season is a whole number of minutes from 1h to 168h"));
        }
        seasons.push(season);
    }
    if seasons.len() > 4 {
        return Err(invalid("predict.seasons", "at most 4 seasons are told apart"));
    }
    if !(50..=99).contains(&predict.confidence_percent) {
        return Err(invalid("predict.confidencePercent", "a share from 50 to 99 percent"));
    }
    Ok(Predict {
        enabled: predict.enabled,
        horizon,
        seasons,
        confidence_percent: f64::from(predict.confidence_percent),
    })
}

/// Shorter times are over before anybody connects; longer ones are a `min`.
const SCHEDULED_FOR: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(168 * 3600);

fn schedule(entries: &[api::ScheduledMinimum]) -> Result<Vec<Scheduled>, InvalidScaling> {
    const MOST: usize = 32;
    if entries.len() > MOST {
        return Err(invalid("schedule", format!("at most {MOST} entries")));
    }
    let mut schedule = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let field = |name| format!("schedule[{index}].{name}");
        let named = |other: &api::ScheduledMinimum| other.name == entry.name;
        if entries.iter().take(index).any(named) {
            return Err(invalid(&field("name"), format!("`{}` is there twice", entry.name)));
        }
        let lasts = duration(&field("duration"), &entry.duration.0, *SCHEDULED_FOR.start())?;
        if !SCHEDULED_FOR.contains(&lasts) {
            return Err(invalid(&field("duration"), "at most 168h"));
        }
        let read = Scheduled::read(&entry.name, &entry.cron, &entry.time_zone, lasts, entry.min);
        schedule.push(read.map_err(|error| {
            let name = match error {
                ScheduleError::TimeZone(_) => "timeZone",
                ScheduleError::Cron { .. } | ScheduleError::Never(_) => "cron",
            };
            invalid(&field(name), error.to_string())
        })?);
    }
    Ok(schedule)
}

fn duration(field: &str, text: &str, least: Duration) -> Result<Duration, InvalidScaling> {
    let duration = parse_duration(text).map_err(|error: UnitError| invalid(field, error.to_string()))?;
    if duration < least || duration > Duration::from_secs(366 * 86_400) {
        return Err(invalid(field, format!("`{text}` is too short or too long")));
    }
    Ok(duration)
}

/// A number with a unit behind it.
fn number(field: &str, text: &str, unit: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, InvalidScaling> {
    text.strip_suffix(unit)
        .and_then(|number| number.parse().ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (low, high) = range.into_inner();
            invalid(
                field,
                format!("`{text}` is not a number from {low} to {high} with `{unit}` behind it"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(45);

    #[test]
    fn the_defaults_of_the_resource_are_those_of_the_scaler() {
        assert_eq!(read_scaling(&api::Scaling::default(), DELAY), Ok(Settings::default()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let read = |change: fn(&mut api::Scaling)| {
            let mut scaling = api::Scaling::default();
            change(&mut scaling);
            read_scaling(&scaling, DELAY).expect_err("a wrong field").field
        };
        assert_eq!(read(|s| s.max = 1), "max");
        assert_eq!(read(|s| s.behavior.max_step_up = "4".into()), "behavior.maxStepUp");
        assert_eq!(read(|s| s.behavior.max_step_up = "1x".into()), "behavior.maxStepUp");
        assert_eq!(
            read(|s| s.behavior.max_step_down = "NaN%".into()),
            "behavior.maxStepDown"
        );
        assert_eq!(read(|s| s.windows.stable = "0s".into()), "windows.stable");
        assert_eq!(read(|s| s.predict.seasons = vec!["30m".into()]), "predict.seasons[0]");
        assert_eq!(read(|s| s.predict.horizon = "auto".into()), "predict.horizon");
        assert_eq!(
            read(|s| s.predict.confidence_percent = 100),
            "predict.confidencePercent"
        );
    }

    fn scheduled(cron: &str, zone: &str, duration: &str) -> api::Scaling {
        api::Scaling {
            schedule: vec![api::ScheduledMinimum {
                name: "firmware-night".to_owned(),
                cron: cron.to_owned(),
                time_zone: zone.to_owned(),
                duration: duration.into(),
                min: 8,
            }],
            ..api::Scaling::default()
        }
    }

    #[test]
    fn a_schedule_is_read_in_its_time_zone() {
        let scaling = scheduled("0 2 * * TUE", "Europe/Berlin", "90m");
        let settings = read_scaling(&scaling, DELAY).expect("settings");
        // The first Tuesday of 1970, at two in Berlin.
        let (entry, occurrence) = settings.next_scheduled(Duration::ZERO).expect("a next time");
        assert_eq!((entry.name.as_str(), entry.min), ("firmware-night", 8));
        let begin = Duration::from_secs(5 * 86_400 + 3600);
        assert_eq!(
            (occurrence.from, occurrence.until),
            (begin, begin + Duration::from_secs(90 * 60))
        );
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_named_with_its_field() {
        let field = |scaling: &api::Scaling| read_scaling(scaling, DELAY).expect_err("a wrong field").field;
        for (cron, zone, duration, expected) in [
            ("0 2 * *", "UTC", "1h", "schedule[0].cron"),
            ("0 2 31 2 *", "UTC", "1h", "schedule[0].cron"),
            ("0 2 * * *", "Berlin", "1h", "schedule[0].timeZone"),
            ("0 2 * * *", "UTC", "59s", "schedule[0].duration"),
            ("0 2 * * *", "UTC", "169h", "schedule[0].duration"),
        ] {
            assert_eq!(
                field(&scheduled(cron, zone, duration)),
                expected,
                "{cron} {zone} {duration}"
            );
        }
        let mut twice = scheduled("0 2 * * *", "UTC", "1h");
        twice.schedule.push(twice.schedule[0].clone());
        assert_eq!(field(&twice), "schedule[1].name");
        let mut many = scheduled("0 2 * * *", "UTC", "1h");
        many.schedule = vec![many.schedule[0].clone(); 33];
        assert_eq!(field(&many), "schedule");
    }

    #[test]
    fn a_target_of_nothing_leaves_the_signal_out() {
        let mut scaling = api::Scaling::default();
        scaling.targets.cpu_percent = 0;
        let settings = read_scaling(&scaling, DELAY).expect("settings");
        assert_eq!(settings.targets[Signal::CpuPercent], None);
    }

    #[test]
    fn what_lies_at_a_bound_is_taken_and_what_lies_beyond_it_is_not() {
        let read = |change: fn(&mut api::Scaling)| {
            let mut scaling = api::Scaling::default();
            change(&mut scaling);
            read_scaling(&scaling, DELAY).map_err(|error| error.field)
        };
        let counts = read(|s| (s.min, s.max) = (3, 3)).expect("settings");
        assert_eq!((counts.min, counts.max), (3, 3));
        assert!(read(|s| (s.min, s.max) = (0, 1)).is_ok());
        assert_eq!(read(|s| (s.min, s.max) = (0, 0)), Err("max".to_owned()));
        let objective = read(|s| s.objective.publish_round_trip_p99 = "0s".into()).expect("settings");
        assert_eq!(objective.publish_round_trip_p99_ms, None);
        let stable = read(|s| s.windows.stable = "1s".into()).expect("settings");
        assert_eq!(stable.windows.stable, Duration::from_secs(1));
        assert!(read(|s| s.behavior.scale_in_delay = "8784h".into()).is_ok());
        let delay = Err("behavior.scaleInDelay".to_owned());
        assert_eq!(read(|s| s.behavior.scale_in_delay = "8784h1ms".into()), delay);
        assert_eq!(read(|s| s.behavior.scale_in_delay = "9000h".into()), delay);
        let season = Err("predict.seasons[0]".to_owned());
        assert!(read(|s| s.predict.seasons = vec!["168h".into(), "1h".into(), "2h".into(), "3h".into()]).is_ok());
        assert_eq!(read(|s| s.predict.seasons = vec!["169h".into()]), season);
        assert_eq!(read(|s| s.predict.seasons = vec!["3601s".into()]), season);
        let seasons = Err("predict.seasons".to_owned());
        assert_eq!(read(|s| s.predict.seasons = vec!["2h".into(); 5]), seasons);
        assert_eq!(read(|s| s.predict.seasons = vec!["2h".into(); 6]), seasons);
        let mut many = scheduled("0 2 * * *", "UTC", "1m");
        many.schedule = (0..32)
            .map(|index| api::ScheduledMinimum {
                name: index.to_string(),
                ..many.schedule[0].clone()
            })
            .collect();
        assert_eq!(
            read_scaling(&many, DELAY).map(|settings| settings.scheduled.len()),
            Ok(32)
        );
    }

    #[test]
    fn a_pool_is_sized_by_load_when_that_is_asked_for() {
        let pool = |size| {
            read_pool(&api::Warm {
                size,
                ..api::Warm::default()
            })
        };
        assert!(pool(api::WarmSize::Auto).is_auto && !pool(api::WarmSize::Fixed).is_auto);
    }
}
