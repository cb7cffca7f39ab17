//! `spec.proxy.scaling`: how many proxies serve. Read by `freshet-operator backtest`, too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rules::{duration_between, rule};
use crate::text::DurationText;

/// How many proxies serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline, extend("x-kubernetes-validations" = scaling_rules()))]
pub struct Scaling {
    /// Who decides: `Scale`, the operator, which writes `replicas`: leave that out of manifests then; `Observe`, whoever writes
    /// `replicas`, and `status.scaling` and Events say what the operator would do; `Off`, the same without a word. Default
    /// `Scale`. Live.
    pub mode: ScalingMode,
    /// Fewest proxies that serve. Default 2; 0 to 1000. Live.
    #[schemars(range(min = 0, max = 1000))]
    pub min: u32,
    /// Most proxies that serve, `min` or more. Default 10; 1 to 1000. Live.
    #[schemars(range(min = 1, max = 1000))]
    pub max: u32,
    /// What one proxy is to carry.
    pub targets: ScalingTargets,
    /// What clients are to notice.
    pub objective: ScalingObjective,
    /// Over how long load is averaged.
    pub windows: ScalingWindows,
    /// How fast the count changes.
    pub behavior: ScalingBehavior,
    /// Looking ahead.
    pub predict: ScalingPrediction,
    /// Times at which more proxies serve than `min`. Default none; at most 32. Live.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = json!(["name"]))
    )]
    pub schedule: Vec<ScheduledMinimum>,
}

fn scaling_rules() -> Value {
    json!([rule(
        "self.min <= self.max",
        "proxy.scaling.max must be proxy.scaling.min or more",
    )])
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            mode: ScalingMode::Scale,
            min: 2,
            max: 10,
            targets: ScalingTargets::default(),
            objective: ScalingObjective::default(),
            windows: ScalingWindows::default(),
            behavior: ScalingBehavior::default(),
            predict: ScalingPrediction::default(),
            schedule: Vec::new(),
        }
    }
}

/// Who decides how many proxies serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ScalingMode {
    /// Whoever writes `spec.proxy.replicas`.
    Off,
    /// The same, and status says what the operator would do.
    Observe,
    /// The operator, which writes `spec.proxy.replicas`.
    #[default]
    Scale,
}

/// What one proxy is to carry of each signal; 0 leaves a signal out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ScalingTargets {
    /// Clients connected. Default 10000. Live.
    pub connections: u32,
    /// Connections opened per second. Default 500. Live.
    pub connects_per_second: u32,
    /// Messages published by clients per second. Default 10000. Live.
    pub publishes_in_per_second: u32,
    /// Messages delivered to clients per second. Default 50000. Live.
    pub deliveries_out_per_second: u32,
    /// CPU in percent of the limit. Default 70; at most 100. Live.
    #[schemars(range(min = 0, max = 100))]
    pub cpu_percent: u32,
    /// Memory in percent of the limit. Default 75; at most 100. Live.
    #[schemars(range(min = 0, max = 100))]
    pub memory_percent: u32,
}

impl Default for ScalingTargets {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connects_per_second: 500,
            publishes_in_per_second: 10_000,
            deliveries_out_per_second: 50_000,
            cpu_percent: 70,
            memory_percent: 75,
        }
    }
}

/// What clients are to notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ScalingObjective {
    /// Time from a publish to its acknowledgement, P99. While it is missed, proxies are taken to carry less than their
    /// targets. Default `100ms`; from `0s`, which is none, to `60s`. Live.
    #[serde(rename = "publishRoundTripP99")]
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.scaling.objective.publishRoundTripP99", "0s", "60s")))]
    pub publish_round_trip_p99: DurationText,
}

impl Default for ScalingObjective {
    fn default() -> Self {
        Self {
            publish_round_trip_p99: "100ms".into(),
        }
    }
}

/// Over how long load is averaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ScalingWindows {
    /// Over how long load is averaged in quiet. Default `60s`; from `10s` to `1h`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.scaling.windows.stable", "10s", "1h")))]
    pub stable: DurationText,
    /// Over how long load is averaged to find a panic, and during one. Default `6s`; from `1s` to `1h`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.scaling.windows.panic", "1s", "1h")))]
    pub panic: DurationText,
    /// A panic begins when its window asks for this many percent of the proxies that serve. Default 200; 110 to 1000.
    /// Live.
    #[schemars(range(min = 110, max = 1000))]
    pub panic_threshold_percent: u32,
}

impl Default for ScalingWindows {
    fn default() -> Self {
        Self {
            stable: "60s".into(),
            panic: "6s".into(),
            panic_threshold_percent: 200,
        }
    }
}

/// How fast the count changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ScalingBehavior {
    /// Load this far from the targets changes nothing. Default 10; 0 to 50. Live.
    #[schemars(range(min = 0, max = 50))]
    pub tolerance_percent: u32,
    /// The most that the count grows within a stable window, such as `4x` or `1.5x`. Default `4x`. Live.
    #[schemars(length(max = 8), regex(pattern = "^[0-9]{1,3}([.][0-9]{1,2})?x$"))]
    pub max_step_up: String,
    /// The most that the count shrinks within a stable window; one proxy can always go. Default `25%`. Live.
    #[schemars(length(max = 4), regex(pattern = "^([1-9][0-9]?|100)%$"))]
    pub max_step_down: String,
    /// How long fewer proxies must have been enough; where a season foresees no more for as long, a stable window does. Default `300s`; from `0s` to `24h`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.scaling.behavior.scaleInDelay", "0s", "24h")))]
    pub scale_in_delay: DurationText,
}

impl Default for ScalingBehavior {
    fn default() -> Self {
        Self {
            tolerance_percent: 10,
            max_step_up: "4x".to_owned(),
            max_step_down: "25%".to_owned(),
            scale_in_delay: "300s".into(),
        }
    }
}

/// Looking ahead. A forecast adds proxies before they are needed, and never takes any away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ScalingPrediction {
    /// Whether to look ahead. Default true. Live.
    pub enabled: bool,
    /// How far: `Auto`, as long as a proxy takes to start, or a duration. Default `Auto`. Live.
    #[schemars(length(max = 20))]
    pub horizon: String,
    /// After how long load repeats itself. Default `[24h, 168h]`; at most 4, each from `1h` to `168h`. Live.
    #[schemars(length(max = 4))]
    pub seasons: Vec<DurationText>,
    /// Share of the outcomes that the forecast's interval is to hold. Default 90; 50 to 99. Live.
    #[schemars(range(min = 50, max = 99))]
    pub confidence_percent: u32,
}

impl Default for ScalingPrediction {
    fn default() -> Self {
        Self {
            enabled: true,
            horizon: "Auto".to_owned(),
            seasons: vec!["24h".into(), "168h".into()],
            confidence_percent: 90,
        }
    }
}

/// A time at which more proxies serve than `min`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ScheduledMinimum {
    /// Name, in status and reasons. Live.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// When it begins: minute, hour, day of month, month, day of week, as cron has them. A time of day that is skipped when
    /// clocks change begins when the clock has moved on; one that comes twice begins once. Live.
    #[schemars(length(max = 100))]
    pub cron: String,
    /// Time zone of `cron`, such as `Europe/Berlin`. Default `UTC`. Live.
    #[serde(default = "utc")]
    #[schemars(length(max = 64))]
    pub time_zone: String,
    /// How long it lasts. From `1m` to `168h`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_between("proxy.scaling.schedule.duration", "1m", "168h")))]
    pub duration: DurationText,
    /// Fewest proxies that serve meanwhile; 1 to 1000. Live.
    #[schemars(range(min = 1, max = 1000))]
    pub min: u32,
}

fn utc() -> String {
    "UTC".to_owned()
}
