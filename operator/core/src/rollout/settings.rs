//! `spec.proxy.rollout` as numbers.

use std::fmt;
use std::time::Duration;

use freshet_operator_api as api;

use crate::units::parse_duration;

/// How a new revision takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutSettings {
    /// 1 to 100.
    pub wave_percent: u32,
    /// How long the first wave is watched; zero: not at all.
    pub canary: Duration,
    /// 0 to 100.
    pub connect_failure_percent: u32,
    /// 0 and more.
    pub round_trip_rise_percent: u32,
    /// What a person wants.
    pub action: api::RolloutAction,
}

/// A field that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRollout {
    /// Path below `spec.proxy.rollout`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Default for RolloutSettings {
    /// Those of the resource.
    fn default() -> Self {
        Self {
            wave_percent: 25,
            canary: Duration::from_secs(30),
            connect_failure_percent: 2,
            round_trip_rise_percent: 100,
            action: api::RolloutAction::Continue,
        }
    }
}

/// Reads the settings.
///
/// # Errors
/// The first field that does not say what it should.
pub fn read_rollout(rollout: &api::Rollout) -> Result<RolloutSettings, InvalidRollout> {
    let wave = rollout.wave.strip_suffix('%').and_then(|number| number.parse().ok());
    let wave_percent = wave
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| InvalidRollout {
            field: "wave",
            problem: format!("`{}` is not a share from 1% to 100%", rollout.wave),
        })?;
    let canary = parse_duration(&rollout.canary.0).map_err(|error| InvalidRollout {
        field: "canary",
        problem: error.to_string(),
    })?;
    Ok(RolloutSettings {
        wave_percent,
        canary,
        connect_failure_percent: rollout.pause_on.connect_failure_percent.min(100),
        round_trip_rise_percent: rollout.pause_on.round_trip_rise_percent,
        action: rollout.action,
    })
}

impl RolloutSettings {
    /// How many new proxies beside `old` ones get at most the wave's share of the connections, which each gets as many of; one
    /// at least.
    pub(super) fn first_wave(&self, old: u32) -> u32 {
        let others_percent = 100_u32.saturating_sub(self.wave_percent);
        let beside = old
            .saturating_mul(self.wave_percent)
            .checked_div(others_percent)
            .unwrap_or(u32::MAX);
        beside.max(1)
    }

    /// How many more become active at once after the first wave.
    pub(super) fn next_wave(&self, replicas: u32) -> u32 {
        replicas.saturating_mul(self.wave_percent).div_ceil(100).max(1)
    }
}

/// What a verdict was made with: another text, and it is made anew.
impl fmt::Display for RolloutSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}% {}s {}% {}% {:?}",
            self.wave_percent,
            self.canary.as_secs(),
            self.connect_failure_percent,
            self.round_trip_rise_percent,
            self.action
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_resource_are_those_of_a_rollout() {
        assert_eq!(read_rollout(&api::Rollout::default()), Ok(RolloutSettings::default()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let field = |wave: &str, canary: &str| {
            let rollout = api::Rollout {
                wave: wave.to_owned(),
                canary: canary.into(),
                ..api::Rollout::default()
            };
            read_rollout(&rollout).map_err(|invalid| invalid.field)
        };
        for wave in ["", "25", "0%", "101%", "-1%"] {
            assert_eq!(field(wave, "30s"), Err("wave"), "{wave}");
        }
        assert_eq!(field("25%", "soon"), Err("canary"));
    }

    #[test]
    fn the_first_wave_gets_no_more_than_its_share_unless_one_proxy_does() {
        let of = |percent: u32, old: u32| {
            let settings = RolloutSettings {
                wave_percent: percent,
                ..RolloutSettings::default()
            };
            settings.first_wave(old)
        };
        assert_eq!((of(25, 1), of(25, 2), of(25, 3), of(25, 6), of(25, 8)), (1, 1, 1, 2, 2));
        assert_eq!((of(50, 4), of(1, 4), of(100, 4)), (4, 1, u32::MAX));
    }
}
