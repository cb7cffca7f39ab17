//! Values that users write as text with a unit. Checked by CEL at apply time, parsed by `operator/core`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A duration such as `500ms`, `30s`, `5m` or `1h30m`: whole numbers with `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct DurationText(#[schemars(length(max = 20))] pub String);

impl From<&str> for DurationText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A number of bytes such as `4096`, `64Ki`, `1Mi` or `1G`: a whole number with `Ki`, `Mi`, `Gi`, `Ti` (powers of 1,024),
/// `k`, `M`, `G`, `T` (powers of 1,000) or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct SizeText(#[schemars(length(max = 20))] pub String);

impl From<&str> for SizeText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
