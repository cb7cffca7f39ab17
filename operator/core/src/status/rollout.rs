//! What conditions say of a rollout that is paused.

use freshet_operator_api::{MqttClusterStatus, RevisionPhase};

use super::conditions::Verdict;

/// Reason of a pause that a person has asked for.
const ASKED_FOR: &str = "AskedFor";
/// Reason of a pause for what was measured.
const DOES_WORSE: &str = "DoesWorse";

/// Condition `RolloutPaused`.
pub(super) fn paused(status: &MqttClusterStatus) -> Verdict {
    match reason(status) {
        Some(reason) => Verdict::yes(reason, status.proxy.revision.reason.clone()),
        None => Verdict::no("NotPaused", "nothing holds up a new revision"),
    }
}

/// Condition `Stalled`, where a rollout has paused by itself.
pub(super) fn stalled(status: &MqttClusterStatus) -> Option<Verdict> {
    reason(status).filter(|reason| *reason == DOES_WORSE).map(|_| {
        let revision = &status.proxy.revision;
        let message = format!(
            "revision {} is paused: {}; set proxy.rollout.action to Rollback, put right what the resource asks for, or \
             allow for more in proxy.rollout.pauseOn",
            revision.target, revision.reason
        );
        Verdict::yes("RolloutPaused", message)
    })
}

fn reason(status: &MqttClusterStatus) -> Option<&'static str> {
    let revision = &status.proxy.revision;
    let is_asked_for = revision.judged_with.ends_with("Pause");
    (revision.phase == RevisionPhase::Paused).then_some(if is_asked_for { ASKED_FOR } else { DOES_WORSE })
}
