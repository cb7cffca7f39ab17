//! `status.scaling`: what decides how many proxies serve, and what was decided last.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::scaling::ScalingMode;

/// What decides how many proxies serve and wait, and what was decided last. Missing with `mode: Off`, unless `proxy.warm.size`
/// is `Auto`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct ScalingStatus {
    /// `spec.proxy.scaling.mode`; `Observe` while the resource is paused.
    pub mode: ScalingMode,
    /// Proxies that the operator asks for; with `Observe`, that it would; with `Off`, `spec.proxy.replicas`.
    pub desired: u32,
    /// Each signal that has a target. Numbers are rounded to two digits.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = json!(["name"])))]
    pub signals: Vec<SignalStatus>,
    /// What one proxy was learned to carry, where that is less than its target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learned_capacity: Option<LearnedCapacityStatus>,
    /// What the next minutes need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastStatus>,
    /// The last of `decisions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<DecisionStatus>,
    /// The last five decisions, the newest last.
    pub decisions: Vec<DecisionStatus>,
    /// How many proxies are to wait, with `proxy.warm.size: Auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm: Option<WarmStatus>,
    /// When the schedule asks for more the next time, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_scheduled: Option<NextScheduledStatus>,
    /// Why fewer proxies serve than are asked for, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<CeilingStatus>,
}

/// One signal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SignalStatus {
    /// As in `targets`, or `publishRoundTripP99`.
    pub name: String,
    /// Over all proxies; missing when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Of each proxy that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_proxy: Option<String>,
    /// What one proxy is to carry, or the objective.
    pub target: String,
    /// Proxies that it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<u32>,
    /// Whether it is known.
    pub valid: bool,
}

/// What one proxy was learned to carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct LearnedCapacityStatus {
    /// Clients connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Connections opened per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connects_per_second: Option<u32>,
    /// Messages published by clients per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publishes_in_per_second: Option<u32>,
    /// Messages delivered to clients per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliveries_out_per_second: Option<u32>,
    /// Since when it is this.
    pub as_of: Time,
}

/// What the next minutes need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ForecastStatus {
    /// Until when, as it was first foreseen.
    pub at: Time,
    /// The signal that will need the most.
    pub signal: String,
    /// Its expected peak.
    pub value: u64,
    /// Lower end of its interval.
    pub low: u64,
    /// Upper end of its interval, by which is decided.
    pub high: u64,
    /// Proxies that carry the upper end.
    pub desired: u32,
    /// How it was foreseen: `season-24h`, `rise`, `as-now`.
    pub method: String,
    /// Mean absolute error of that method so far.
    pub mape_percent: u32,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct DecisionStatus {
    /// When.
    pub at: Time,
    /// Proxies asked for before.
    pub from: u32,
    /// Proxies asked for since.
    pub to: u32,
    /// Whether the operator has written it to `spec.proxy.replicas`.
    pub applied: bool,
    /// Why, in one sentence.
    pub reason: String,
    /// Somebody else has set `spec.proxy.replicas`, and the operator goes on from there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_hand: bool,
}

// As serde asks for it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// How many proxies are to wait.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct WarmStatus {
    /// Proxies that should wait.
    pub desired: u32,
    /// Why, in one sentence.
    pub reason: String,
}

/// A time at which the schedule asks for more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NextScheduledStatus {
    /// Name of the entry.
    pub name: String,
    /// When it begins.
    pub at: Time,
    /// Fewest proxies that serve meanwhile.
    pub min: u32,
}

/// Why fewer proxies serve than are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct CeilingStatus {
    /// Proxies that serve.
    pub active: u32,
    /// What the API server, a quota or the scheduler says.
    pub reason: String,
}
