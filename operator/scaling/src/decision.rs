//! What was decided, and why, in one sentence.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::Method;
use crate::signal::Signal;

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// When, since the Unix epoch.
    pub at: Duration,
    /// Proxies asked for before.
    pub from: u32,
    /// Proxies asked for from now on; `from` when nothing changes.
    pub to: u32,
    /// Why.
    pub reason: Reason,
}

/// Why a count is what it is. `Display` is one sentence for people, without its full stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    /// Nothing that has a target has a value.
    NotEnoughData,
    /// Something that has a target has no value of now, so nothing is taken away.
    PartlyUnknown,
    /// The count was outside of what is allowed.
    Bounds {
        /// Fewest allowed.
        min: u32,
        /// Most allowed.
        max: u32,
    },
    /// The schedule asks for more.
    Scheduled {
        /// Name of the entry.
        name: String,
        /// Fewest that it asks for.
        min: u32,
    },
    /// The load of now fits.
    Fits {
        /// The signal that needs the most.
        signal: Signal,
        /// Its load in percent of what the proxies are to carry.
        percent: u32,
    },
    /// The load of now decides.
    Load {
        /// The signal that needs the most.
        signal: Signal,
        /// Its value over all proxies.
        value: f64,
        /// Proxies that it needs.
        needs: u32,
        /// What each carries.
        capacity: f64,
        /// Whether that was learned from round trips rather than set.
        is_learned: bool,
        /// Proxies go before `scaleInDelay` is over, since no more are needed for as long.
        #[serde(default)]
        is_foreseen: bool,
        /// What keeps the count from being that.
        held: Option<Held>,
    },
    /// The load of the next minutes decides.
    Forecast {
        /// The signal that will need the most.
        signal: Signal,
        /// Upper end of its interval, over all proxies.
        high: f64,
        /// Share of the outcomes within the interval, in percent.
        confidence_percent: f64,
        /// How far ahead.
        within: Duration,
        /// Proxies that it needs.
        needs: u32,
        /// What each carries at most.
        capacity: f64,
        /// How that was foreseen.
        method: Method,
        /// What keeps the count from being that.
        held: Option<Held>,
    },
    /// Fewer would be enough, but something keeps them.
    Kept {
        /// Proxies that the load of now needs.
        needs: u32,
        /// What keeps the rest.
        by: Held,
    },
}

/// What keeps a count from being what load needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// The greatest step.
    Step,
    /// `min`.
    Min,
    /// `max`.
    Max,
    /// Fewer have not been enough for long enough.
    ScaleInDelay,
    /// Proxies were added a moment ago, or there is a panic.
    JustGrown,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Step => "the step is bounded",
            Self::Min => "min holds",
            Self::Max => "max holds",
            Self::ScaleInDelay => "fewer have not been enough for the whole scaleInDelay",
            Self::JustGrown => "load rose within the last stable window",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnoughData => f.write_str("no signal with a target has a value, so what is there stays"),
            Self::PartlyUnknown => f.write_str("a signal has no value of now, so nothing is taken away"),
            Self::Bounds { min, max } => write!(f, "scaling.min and scaling.max allow {min} to {max}"),
            Self::Scheduled { name, min } => write!(f, "the schedule `{name}` asks for {min} at least"),
            Self::Fits { signal, percent } => {
                write!(f, "{} is at {percent} % of what is to be carried", signal.name())
            }
            Self::Load {
                signal,
                value,
                needs,
                capacity,
                is_learned,
                is_foreseen,
                held,
            } => {
                let learned = if *is_learned {
                    ", which was learned from round trips"
                } else {
                    ""
                };
                write!(
                    f,
                    "{} {value:.0} needs {needs} proxies at {capacity:.0} each{learned}",
                    signal.name()
                )?;
                if *is_foreseen {
                    f.write_str(", and no more are foreseen to be needed for as long as scaleInDelay")?;
                }
                held.map_or(Ok(()), |held| write!(f, "; {held}"))
            }
            Self::Forecast {
                signal,
                high,
                confidence_percent,
                within,
                needs,
                capacity,
                method,
                held,
            } => {
                write!(
                    f,
                    "{} forecast {high:.0} ({confidence_percent:.0} %) within {} s, ",
                    signal.name(),
                    within.as_secs()
                )?;
                match method {
                    Method::Season { minutes } => write!(f, "as it was {} h before", minutes / 60)?,
                    Method::Trend => f.write_str("as it rises")?,
                    Method::Present => f.write_str("as it sways")?,
                }
                write!(f, ", needs {needs} proxies at {capacity:.0} each")?;
                held.map_or(Ok(()), |held| write!(f, "; {held}"))
            }
            Self::Kept { needs, by } => write!(f, "{needs} would be enough now, but {by}"),
        }
    }
}
