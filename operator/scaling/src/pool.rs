//! How many proxies wait in the warm pool: enough for the steepest rise that was seen or is foreseen while a cold one starts.
//! What load needs is known by its mean over the panic window, which takes that long to follow a step: a rise is looked for
//! within both times together, or a step that a short start falls into would count as a part of itself.
//!
//! [`crate::Scaler::decide`] notes here what load needs; [`crate::Scaler::decide_pool`] is asked how many are to wait. Leaves
//! out how many serve, and who becomes one of them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// How large the pool may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Fewest that wait.
    pub min: u32,
    /// Most that wait.
    pub max: u32,
    /// Whether load decides between the two; otherwise `min` wait.
    pub is_auto: bool,
}

impl Pool {
    /// A pool of always as many.
    pub const fn fixed(proxies: u32) -> Self {
        Self {
            min: proxies,
            max: proxies,
            is_auto: false,
        }
    }

    /// The count nearest to `proxies` that the pool may have.
    pub fn bounded(self, proxies: u32) -> u32 {
        if self.is_auto {
            proxies.clamp(self.min, self.max.max(self.min))
        } else {
            self.min
        }
    }
}

/// What was decided of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolDecision {
    /// Proxies that are to wait.
    pub proxies: u32,
    /// Why.
    pub reason: PoolReason,
}

/// Why so many wait. `Display` is one sentence for people, without its full stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolReason {
    /// Nothing else is asked for.
    Fixed,
    /// The load of now is not known.
    Unknown,
    /// No rise asks for more than `min`.
    Quiet {
        /// The time that counts.
        within: Duration,
    },
    /// Load has risen by so much before.
    Rise {
        /// Proxies that were needed in addition.
        proxies: u32,
        /// Within how long.
        within: Duration,
        /// What keeps the count from being that.
        held: Option<PoolHeld>,
    },
    /// Load is foreseen to rise.
    Forecast {
        /// Proxies that it will need.
        needs: u32,
        /// Proxies that are asked for.
        active: u32,
        /// Within how long.
        within: Duration,
        /// What keeps the count from being the difference.
        held: Option<PoolHeld>,
    },
    /// Fewer would be enough, and go one at a time.
    Kept {
        /// How many would be.
        needs: u32,
        /// The pause after each.
        delay: Duration,
    },
}

/// What keeps a pool from being what load asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolHeld {
    /// `max` of the pool.
    Max,
    /// No more could be promoted: `max` of those that serve.
    Promotable,
}

impl fmt::Display for PoolReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = match self {
            Self::Fixed => return f.write_str("warm.size is Fixed: min wait"),
            Self::Unknown => return f.write_str("the load is not known, so what waits stays"),
            Self::Quiet { within } => {
                return write!(
                    f,
                    "no rise within {} s is known that needs more than min",
                    within.as_secs()
                );
            }
            Self::Kept { needs, delay } => {
                return write!(
                    f,
                    "{needs} would be enough, and one goes after each {} s in which it was",
                    delay.as_secs()
                );
            }
            Self::Rise { proxies, within, held } => {
                write!(f, "load has risen by {proxies} proxies within {} s", within.as_secs())?;
                held
            }
            Self::Forecast {
                needs,
                active,
                within,
                held,
            } => {
                write!(
                    f,
                    "the next {} s are foreseen to need {needs} proxies, and {active} are asked for",
                    within.as_secs()
                )?;
                held
            }
        };
        match held {
            Some(PoolHeld::Max) => f.write_str(": warm.max holds"),
            Some(PoolHeld::Promotable) => f.write_str(": no more may serve than scaling.max"),
            None => Ok(()),
        }
    }
}

/// Rises that are told apart: so many proxies, or more.
const RISES_MAX: usize = 128;
/// Needs of the last moments that are told apart.
const NEEDS_MAX: usize = 1_024;
/// What is close together counts as one moment.
const SLOT: Duration = Duration::from_secs(5);

/// What is remembered of the needs of the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Needs {
    /// Slot and need, of the time within which a rise counts: each is less than those behind it, so that the first is the least.
    lows: VecDeque<(u64, u32)>,
    /// Slot and rise, of the longest season and a day: each is less than those before it, so that the first is the steepest.
    rises: VecDeque<(u64, u32)>,
    /// When the need was known last, and what was foreseen then.
    known: Option<(Duration, u32)>,
    /// When as many as there were last needed, or one went.
    needed_at: Option<Duration>,
}

impl Needs {
    /// Notes what the load of now needs, which is known of all proxies, and what is foreseen. In proxies.
    pub(crate) fn note(&mut self, needs: u32, foreseen: u32, settings: &Settings, now: Duration) {
        let slot = slot_of(now);
        // The clock was set back: how fast anything rose is not known.
        if self.known.is_some_and(|(at, _)| now < at) {
            self.lows.clear();
            self.rises.iter_mut().for_each(|(at, _)| *at = (*at).min(slot));
        }
        self.known = Some((now, foreseen.min(settings.max)));
        // As many as `min` serve in any case, and more than `max` never.
        let needs = needs.max(settings.min).min(settings.max);
        let begin = slot_of(now.saturating_sub(rise_within(settings)));
        while self.lows.front().is_some_and(|(at, _)| *at < begin) {
            self.lows.pop_front();
        }
        while self.lows.back().is_some_and(|(_, low)| *low >= needs) {
            self.lows.pop_back();
        }
        self.lows.push_back((slot, needs));
        if self.lows.len() > NEEDS_MAX {
            self.lows.pop_front();
        }
        let oldest = slot_of(now.saturating_sub(remembered(settings)));
        while self.rises.front().is_some_and(|(at, _)| *at < oldest) {
            self.rises.pop_front();
        }
        let rise = self.lows.front().map_or(0, |(_, low)| needs.saturating_sub(*low));
        if rise > 0 {
            while self.rises.back().is_some_and(|(_, other)| *other <= rise) {
                self.rises.pop_back();
            }
            // The least of many is the first to be forgotten.
            if self.rises.len() < RISES_MAX {
                self.rises.push_back((slot, rise));
            }
        }
    }

    /// Decides how many are to wait, when `current` do and `active` are asked for to serve.
    pub(crate) fn decide(
        &mut self,
        pool: Pool,
        settings: &Settings,
        active: u32,
        current: u32,
        now: Duration,
    ) -> PoolDecision {
        let there = pool.bounded(current);
        let of = |proxies, reason| PoolDecision { proxies, reason };
        if !pool.is_auto {
            return of(there, PoolReason::Fixed);
        }
        let Some((_, foreseen)) = self.known.filter(|(at, _)| *at == now) else {
            return of(there, PoolReason::Unknown);
        };
        let (asked, reason) = self.find_need(pool, settings, active, foreseen);
        // What lies ahead was written by a clock since set back.
        let needed_at = self.needed_at.filter(|at| *at <= now);
        if asked >= there {
            self.needed_at = Some(now);
            return of(asked, reason);
        }
        let delay = settings.behavior.scale_in_delay;
        if needed_at.is_some_and(|at| at + delay <= now) {
            self.needed_at = Some(now);
            let proxies = there - 1;
            let reason = if proxies == asked {
                reason
            } else {
                PoolReason::Kept { needs: asked, delay }
            };
            return of(proxies, reason);
        }
        self.needed_at = needed_at.or(Some(now));
        of(there, PoolReason::Kept { needs: asked, delay })
    }

    fn find_need(&self, pool: Pool, settings: &Settings, active: u32, foreseen: u32) -> (u32, PoolReason) {
        let within = rise_within(settings);
        let rise = self.rises.front().map_or(0, |(_, rise)| *rise);
        let ahead = foreseen.saturating_sub(active);
        let wanted = rise.max(ahead);
        if wanted <= pool.min {
            return (pool.bounded(0), PoolReason::Quiet { within });
        }
        // Who may not be promoted need not wait.
        let promotable = wanted.min(settings.max.saturating_sub(active));
        let proxies = pool.bounded(promotable);
        let held = if proxies < promotable {
            Some(PoolHeld::Max)
        } else {
            (promotable < wanted).then_some(PoolHeld::Promotable)
        };
        let reason = if rise >= ahead {
            PoolReason::Rise {
                proxies: rise,
                within,
                held,
            }
        } else {
            PoolReason::Forecast {
                needs: foreseen,
                active,
                within: settings.capacity_delay,
                held,
            }
        };
        (proxies, reason)
    }
}

/// The time within which load that rises counts as one rise.
fn rise_within(settings: &Settings) -> Duration {
    settings.capacity_delay.saturating_add(settings.windows.panic)
}

/// As long as the forecast remembers.
fn remembered(settings: &Settings) -> Duration {
    let longest = settings.predict.seasons.iter().max().copied().unwrap_or_default();
    longest.saturating_add(Duration::from_secs(86_400))
}

fn slot_of(at: Duration) -> u64 {
    at.as_secs() / SLOT.as_secs()
}

#[cfg(test)]
mod tests;
