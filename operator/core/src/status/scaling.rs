//! Condition `ScalingActive`: whether the operator has what it needs to decide how many proxies are to serve.

use freshet_operator_api::{MqttClusterStatus, ScalingMode};

use super::conditions::Verdict;

/// Judges by what the scaler shows; nothing is shown where it is off.
pub(super) fn active(status: &MqttClusterStatus) -> Verdict {
    let Some(scaling) = &status.scaling else {
        return Verdict::no(
            "NotLookedAt",
            "proxy.scaling.mode is Off, or the operator has just begun to look",
        );
    };
    if scaling.mode == ScalingMode::Off {
        return Verdict::no(
            "NotLookedAt",
            "proxy.scaling.mode is Off: load decides how many proxies wait, and not how many serve",
        );
    }
    if !scaling.signals.iter().any(|signal| signal.valid) {
        return Verdict::no(
            "LoadUnknown",
            "no proxy that serves says what it carries: their number stays",
        );
    }
    match scaling.mode {
        ScalingMode::Scale => Verdict::yes("Scales", "the number of proxies follows their load"),
        ScalingMode::Observe | ScalingMode::Off => {
            Verdict::yes("Observes", "status.scaling says what would be done, and nothing is")
        }
    }
}
