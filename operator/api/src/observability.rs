//! `spec.observability`: what the processes tell.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::duration_zero_or_between;
use crate::text::DurationText;

/// What the processes tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(inline)]
pub struct Observability {
    /// `error`, `warn`, `info`, `debug` or `trace`, for proxies and storage. Default `info`. Live.
    pub log_level: LogLevel,
    /// Names the proxy in the user property `freshet-proxy` of MQTT 5.0 CONNACK. Default false. New connections.
    pub proxy_in_connack: bool,
    /// How often the topics below `$SYS` are published. Default `10s`; `0s`, which is never, or from `1s` to `1h`. Live.
    #[schemars(extend("x-kubernetes-validations" = duration_zero_or_between("observability.sysInterval", "1s", "1h")))]
    pub sys_interval: DurationText,
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            log_level: LogLevel::default(),
            proxy_in_connack: false,
            sys_interval: "10s".into(),
        }
    }
}

/// The least important lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// What may need somebody.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// What was decided, and why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word in the processes' configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
