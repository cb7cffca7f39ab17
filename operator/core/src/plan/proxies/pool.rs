//! How many pods the target's Deployment has: those that serve and those that wait.
//!
//! Called by `plan_proxies`. Raising `replicas` starts pods, lowering it removes some that the ReplicaSet controller chooses:
//! pods that are not ready first, then by deletion cost. So it is lowered only when whom it chooses does not serve.

use super::has_left;
use super::roles::Assigned;
use crate::observe::{ProxyDeployment, Role};

/// Part of the active proxies that is started at once to refill the pool, at least one: pods that start take CPU from those
/// that serve.
const REFILL_DIVISOR: u32 = 4;

/// Decides `spec.replicas` of the target's Deployment for `replicas` active and `warm` others.
///
/// While victims hand over, it is what stays without them, so that exactly they go. A pool that is short is refilled a quarter
/// of the active ones at a time, the next when those are ready; what is missing to serve is started at once.
pub(super) fn next_replicas(
    assigned: &[Assigned<'_>],
    deployment: Option<&ProxyDeployment>,
    replicas: u32,
    warm: u32,
) -> u32 {
    let wanted = replicas.saturating_add(warm);
    let Some(held) = deployment.map(|deployment| deployment.replicas) else {
        return wanted;
    };
    // Who is not to be active must have left the Service, and been seen to, before the ReplicaSet controller may choose.
    if assigned
        .iter()
        .any(|(proxy, role)| *role != Role::Active && !has_left(proxy))
    {
        return held;
    }
    let leaving = count(assigned.iter().filter(|(_, role)| *role == Role::Draining));
    if leaving > 0 {
        let staying = count(assigned.iter()).saturating_sub(leaving);
        return held.min(staying.max(replicas));
    }
    if held >= wanted {
        return wanted;
    }
    let serving = count(
        assigned
            .iter()
            .filter(|(proxy, role)| *role == Role::Active && proxy.pod.is_ready),
    );
    let there = count(
        assigned
            .iter()
            .filter(|(proxy, _)| proxy.pod.is_ready || proxy.is_active()),
    );
    let missing = replicas.saturating_sub(serving);
    let refill = replicas.div_ceil(REFILL_DIVISOR).max(1);
    wanted.min(there.saturating_add(missing.max(refill)).max(held))
}

fn count<'a>(proxies: impl Iterator<Item = &'a Assigned<'a>>) -> u32 {
    u32::try_from(proxies.count()).unwrap_or(u32::MAX)
}
