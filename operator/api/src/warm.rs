//! `spec.proxy.warm` as it will be: proxies that are started and wait. Read by `freshet-operator backtest`; the resource
//! gets the fields with the release that acts on them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Proxies that are started and wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct WarmPool {
    /// Fewest proxies that wait. Default 1; 0 to 1000. Live.
    #[schemars(range(min = 0, max = 1000))]
    pub min: u32,
}

impl Default for WarmPool {
    fn default() -> Self {
        Self { min: 1 }
    }
}
