//! `spec.proxy.rollout`: how a new revision of the proxies takes over.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::duration_zero_or_between;
use crate::text::DurationText;

/// How a new revision of the proxies takes over: first a few of its proxies take new connections beside the others, then the
/// rest in waves, then all proxies of the others hand over their clients together. It pauses by itself when the new revision
/// does worse than the one before; changing anything here has it judged anew, from the first wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Rollout {
    /// The most of all new connections that the first proxies of a new revision take, as far as one proxy takes no more; and
    /// how many of the asked for proxies become active with each further wave. Default `25%`; from `1%` to `100%`. Live.
    #[schemars(length(max = 4), regex(pattern = "^([1-9][0-9]?|100)%$"))]
    pub wave: String,
    /// How long the first wave is watched. Where it gets too few connections to judge by, twice as long. `0s`: nothing is
    /// watched, and the whole revision becomes active at once. Default `30s`; `0s`, or from `1s` to `1h`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_zero_or_between("proxy.rollout.canary", "1s", "1h")))]
    pub canary: DurationText,
    /// When it pauses by itself.
    pub pause_on: PauseOn,
    /// What a person wants done: `Continue`; `Pause`, nobody more becomes active and nobody hands over; `Rollback`, the
    /// revision that served goes on serving, and the clients of the new one are handed back to it. Default `Continue`. Live.
    pub action: RolloutAction,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            wave: "25%".to_owned(),
            canary: "30s".into(),
            pause_on: PauseOn::default(),
            action: RolloutAction::default(),
        }
    }
}

/// When a rollout pauses by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct PauseOn {
    /// By how many percent of its connections more of the new revision end without an accepted CONNECT than of the others.
    /// 100 never pauses. Default 2; 0 to 100. Live.
    #[schemars(range(min = 0, max = 100))]
    pub connect_failure_percent: u32,
    /// By how many percent the P99 of the round trip of a publish at QoS 1 or 2 is longer at the new revision, and by 10 ms at
    /// least. Default 100; 0 to 10000. Live.
    #[schemars(range(min = 0, max = 10000))]
    pub round_trip_rise_percent: u32,
}

impl Default for PauseOn {
    fn default() -> Self {
        Self {
            connect_failure_percent: 2,
            round_trip_rise_percent: 100,
        }
    }
}

/// What a person wants done with a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum RolloutAction {
    /// It goes on.
    #[default]
    Continue,
    /// It stays where it is.
    Pause,
    /// It goes back.
    Rollback,
}
