//! Times at which more than `min` proxies serve: a cron expression in a time zone, each time for a while.
//!
//! Pure: zones are those compiled into this program, never those of the machine it runs on, and `now` is an argument. What
//! an expression means when clocks change is `croner`'s, which does as Vixie's cron does: a time of day that is skipped
//! begins when the clock has moved on, and one that comes twice begins at its first; `*` and steps go by the clock.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};
use thiserror::Error;

use crate::settings::Settings;

/// From here it is tried whether an expression ever comes: a leap year, with all that only such years have.
const SOME_LEAP_YEAR_S: i64 = 1_704_067_200;

/// Why an entry is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// The zone is none of the tz database.
    #[error("`{0}` is no time zone such as `Europe/Berlin` or `UTC`")]
    TimeZone(String),
    /// The expression is not of five fields, or one of them is out of bounds.
    #[error("`{cron}` is no cron expression of minute, hour, day of month, month and day of week: {problem}")]
    Cron {
        /// The expression.
        cron: String,
        /// What the parser says.
        problem: String,
    },
    /// Such a date does not exist, like the 31st of February.
    #[error("`{0}` never comes")]
    Never(String),
}

/// Times at which more than `min` are to serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduled {
    /// Name, in reasons.
    pub name: String,
    /// When it begins; proxies are asked for so much earlier that they serve by then.
    begins: Cron,
    zone: TimeZone,
    /// How long each lasts. Times of one entry that overlap are as one.
    pub lasts: Duration,
    /// Fewest proxies meanwhile; `max` holds nevertheless.
    pub min: u32,
}

/// One of the times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// When it begins, since the Unix epoch.
    pub from: Duration,
    /// When it is over.
    pub until: Duration,
}

impl Scheduled {
    /// Reads an entry. `cron` has five fields, or is one of `@hourly` to `@yearly`; `zone` is a name of the tz database.
    ///
    /// # Errors
    /// [`ScheduleError`] for what has no meaning, and for what never comes.
    pub fn read(name: &str, cron: &str, zone: &str, lasts: Duration, min: u32) -> Result<Self, ScheduleError> {
        let database = TimeZoneDatabase::bundled();
        let zone = database
            .get(zone)
            .map_err(|_| ScheduleError::TimeZone(zone.to_owned()))?;
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let begins = parser.parse(cron).map_err(|error| ScheduleError::Cron {
            cron: cron.to_owned(),
            problem: error.to_string(),
        })?;
        let scheduled = Self {
            name: name.to_owned(),
            begins,
            zone,
            lasts,
            min,
        };
        let ever = Timestamp::from_second(SOME_LEAP_YEAR_S)
            .ok()
            .and_then(|start| scheduled.begin_after(start));
        match ever {
            Some(_) => Ok(scheduled),
            None => Err(ScheduleError::Never(cron.to_owned())),
        }
    }

    /// The first one that begins after `now`.
    pub fn next_after(&self, now: Duration) -> Option<Occurrence> {
        self.occurrence(&self.begin_after(timestamp(now, Duration::ZERO)?)?)
    }

    /// The first one that is not over at `now`, whether or not it has begun.
    pub(crate) fn present_or_next(&self, now: Duration) -> Option<Occurrence> {
        self.occurrence(&self.begin_after(timestamp(now, self.lasts)?)?)
    }

    fn begin_after(&self, start: Timestamp) -> Option<Zoned> {
        let start = start.to_zoned(self.zone.clone());
        self.begins.find_next_occurrence(&start, false).ok()
    }

    fn occurrence(&self, begin: &Zoned) -> Option<Occurrence> {
        // What begins before 1970 has begun by any `now` that there is.
        let begin_ms = begin.timestamp().as_millisecond();
        let end_ms = begin_ms.checked_add(i64::try_from(self.lasts.as_millis()).ok()?)?;
        let since_epoch = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        Some(Occurrence {
            from: since_epoch(begin_ms),
            until: since_epoch(end_ms),
        })
    }
}

/// `before` a time since the Unix epoch. `None` beyond the year 9999.
fn timestamp(now: Duration, before: Duration) -> Option<Timestamp> {
    let ms = i64::try_from(now.as_millis()).ok()?;
    let before_ms = i64::try_from(before.as_millis()).ok()?;
    Timestamp::from_millisecond(ms.checked_sub(before_ms)?).ok()
}

impl Settings {
    /// The entry of the schedule that begins next, and when.
    pub fn next_scheduled(&self, now: Duration) -> Option<(&Scheduled, Occurrence)> {
        self.scheduled
            .iter()
            .filter_map(|scheduled| Some((scheduled, scheduled.next_after(now)?)))
            .min_by_key(|(_, occurrence)| occurrence.from)
    }
}

/// The present or next time of each entry, so that it is not searched for at each decision.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calendar {
    /// In the order of the entries.
    found: Vec<Option<Occurrence>>,
    /// When they were searched for; for earlier times they say nothing.
    at: Duration,
}

impl Calendar {
    /// Place of the entry with the most proxies, of those for which proxies must be there or on their way.
    pub(crate) fn in_force(&mut self, settings: &Settings, now: Duration) -> Option<usize> {
        if settings.scheduled.is_empty() {
            return None;
        }
        if self.found.len() != settings.scheduled.len() || now < self.at {
            self.found = settings.scheduled.iter().map(|s| s.present_or_next(now)).collect();
            self.at = now;
        }
        for (found, scheduled) in self.found.iter_mut().zip(&settings.scheduled) {
            if found.is_some_and(|occurrence| occurrence.until <= now) {
                *found = scheduled.present_or_next(now);
                self.at = now;
            }
        }
        let ahead = now + settings.capacity_delay;
        (0..)
            .zip(self.found.iter().zip(&settings.scheduled))
            .filter(|(_, (found, _))| found.is_some_and(|occurrence| occurrence.from <= ahead))
            .max_by_key(|(_, (_, scheduled))| scheduled.min)
            .map(|(place, _)| place)
    }
}

#[cfg(test)]
mod tests;
