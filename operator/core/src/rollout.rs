//! How a new revision of the proxies takes over: canary, waves, hand-over; pause and rollback.
//!
//! [`next_pace`] is called once per reconcile and says how many proxies of the target revision may be active, and whether the
//! others may hand over; [`crate::plan`] does the rest. [`judge`] compares the revisions by what their proxies say of their
//! load, [`roll_back`] turns round which of them is the target. All that has to outlive the operator stands in
//! `status.proxy.revision`: one that was killed anywhere goes on from there. Where the status had not been written yet, the
//! canary is watched from anew, which costs time only.

mod judge;
mod settings;

use std::time::Duration;

use freshet_operator_api::{RevisionPhase, RevisionStatus, RolloutAction};

use crate::keep::Keep;
use crate::observe::{Observed, ProxyPod, Role};
pub use judge::{Judgement, Loads, RolloutMemory, judge};
pub use settings::{InvalidRollout, RolloutSettings, read_rollout};

/// What a rollout allows for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Proxies of the target revision that may be active. Those that are stay it.
    pub allowed: u32,
    /// The others may hand over, once the target serves as many as are asked for.
    pub may_take_over: bool,
    /// What status says as long as the target has not taken over.
    pub phase: RevisionPhase,
    /// What goes back: status says so when the others hand over.
    pub is_rollback: bool,
    /// Why it is paused, with the figure.
    pub reason: String,
    /// Since when the canary is watched, in seconds since the epoch.
    pub since_s: Option<i64>,
    /// The settings by which it was judged.
    pub judged_with: String,
}

impl Pace {
    /// Nothing holds it up.
    pub const fn free() -> Self {
        Self {
            allowed: u32::MAX,
            may_take_over: true,
            phase: RevisionPhase::Warming,
            is_rollback: false,
            reason: String::new(),
            since_s: None,
            judged_with: String::new(),
        }
    }
}

/// What is decided from.
#[derive(Debug, Clone, Copy)]
pub struct PaceInput<'a> {
    /// As the resource has them.
    pub settings: &'a RolloutSettings,
    /// The revision to go for.
    pub target: &'a str,
    /// It is the one from before: the resource asks for another.
    pub is_rollback: bool,
    /// Proxies that should serve.
    pub replicas: u32,
    /// What was read.
    pub observed: &'a Observed,
    /// The status as it is.
    pub previous: Option<&'a RevisionStatus>,
    /// How the target does, compared with the others.
    pub judgement: &'a Judgement,
    /// Seconds since the epoch.
    pub now_s: i64,
}

/// Decides how far the target revision may go.
pub fn next_pace(input: &PaceInput<'_>) -> Pace {
    let settings = input.settings;
    let serving = |is_target: bool| {
        let is_it = |proxy: &&ProxyPod| (proxy.revision == input.target) == is_target && proxy.serves();
        u32::try_from(input.observed.proxies.iter().filter(is_it).count()).unwrap_or(u32::MAX)
    };
    let (new, old) = (serving(true), serving(false));
    let previous = input.previous.filter(|previous| previous.target == input.target);
    let phase = previous.map_or(RevisionPhase::Stable, |previous| previous.phase);
    if input.is_rollback {
        return Pace {
            is_rollback: true,
            ..Pace::free()
        };
    }
    // What hands over already goes on: half of the clients would be moved twice otherwise.
    if old == 0 || phase == RevisionPhase::Draining {
        return Pace::free();
    }
    // What is asked for beyond what the others are serves, unless the new revision is known to do worse.
    let uncovered = input.replicas.saturating_sub(old);
    let judged_with = settings.to_string();
    let held = |reason: String, allowed: u32| Pace {
        allowed,
        may_take_over: false,
        phase: RevisionPhase::Paused,
        is_rollback: false,
        reason,
        since_s: None,
        judged_with: judged_with.clone(),
    };
    if settings.action == RolloutAction::Pause {
        return held("spec.proxy.rollout.action is Pause".to_owned(), new.max(uncovered));
    }
    if let Some(paused) = previous.filter(|_| phase == RevisionPhase::Paused)
        && paused.judged_with == judged_with
    {
        return held(paused.reason.clone(), new);
    }
    if settings.canary.is_zero() {
        return Pace::free();
    }
    let first = settings.first_wave(old).max(uncovered).min(input.replicas);
    let going = |allowed: u32, phase: RevisionPhase, since_s: Option<i64>, may_take_over: bool| Pace {
        allowed,
        may_take_over,
        phase,
        is_rollback: false,
        reason: String::new(),
        since_s,
        judged_with: String::new(),
    };
    if new == 0 {
        return going(first, RevisionPhase::Warming, None, false);
    }
    let since_s = previous
        .filter(|_| phase == RevisionPhase::Canary)
        .and_then(|previous| Some(previous.canary_since.as_ref()?.0.as_second()))
        .unwrap_or(input.now_s);
    let watched = Duration::from_secs(u64::try_from(input.now_s.saturating_sub(since_s)).unwrap_or(0));
    let is_over = match input.judgement {
        Judgement::Worse(figure) => return held(figure.clone(), new),
        Judgement::AsGood => watched >= settings.canary,
        Judgement::NotEnoughData => watched >= settings.canary.saturating_mul(2),
    };
    let allowed = if is_over {
        new.saturating_add(settings.next_wave(input.replicas))
    } else {
        first.max(new)
    };
    going(
        allowed.min(input.replicas).max(new),
        RevisionPhase::Canary,
        Some(since_s),
        is_over,
    )
}

/// Turns round which revision is the target, if a person wants that and the one that served still has its Deployment.
/// Returns whether it does. Nothing that has begun to hand over to the new one is turned round.
pub fn roll_back(keep: &mut Keep, settings: &RolloutSettings, observed: &Observed, served_last: Option<&str>) -> bool {
    let Some(served_last) = served_last.filter(|served| *served != keep.proxy_revision) else {
        return false;
    };
    let is_there = observed
        .deployments
        .iter()
        .any(|deployment| deployment.revision == served_last && !deployment.is_deleting && deployment.replicas > 0);
    // All leave together, and their Deployment goes to zero only when their clients have gone.
    let has = |role: Role| {
        let is_it =
            |proxy: &ProxyPod| proxy.revision == served_last && !proxy.pod.is_deleting && proxy.role == Some(role);
        observed.proxies.iter().any(is_it)
    };
    let has_handed_over = has(Role::Draining) && !has(Role::Active);
    if settings.action != RolloutAction::Rollback || !is_there || has_handed_over {
        return false;
    }
    served_last.clone_into(&mut keep.proxy_revision);
    keep.keeps_proxies = true;
    true
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::proxy as proxy_for_tests;
