//! How many pods the target's Deployment has: those that serve and those that wait.
//!
//! Called by `plan_proxies`, and for what that is asked ([`find_warm`]). Raising `replicas` starts pods, lowering it removes
//! some that the ReplicaSet controller chooses: pods that are not ready first, then by deletion cost. So it is lowered only
//! when whom it chooses does not serve.

use std::collections::BTreeSet;

use freshet_scaling::Pool;

use super::demotion::Demotion;
use super::has_left;
use super::roles::{Assigned, DRAINED_COST, is_on};
use crate::observe::{Observed, ProxyDeployment, ProxyPod, Role};

/// Part of the active proxies that is started at once to refill the pool, at least one: pods that start take CPU from those
/// that serve.
const REFILL_DIVISOR: u32 = 4;

/// How many proxies there are to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Active ones.
    pub(super) replicas: u32,
    /// Those that wait beside them.
    pub(super) warm: u32,
    /// Nodes on which nobody counts as active who is to stay it.
    pub(super) cordoned: &'a BTreeSet<String>,
}

/// Decides `spec.replicas` of the target's Deployment for what is `asked`.
///
/// Who serves on a cordoned node is there in addition: others are started in its place.
///
/// Victims that hand over stay beside the others; when one has, it is what stays without it, so that exactly it goes. Where
/// the pool is short, they are to wait in it afterwards: meanwhile they can serve again at once, and nobody is started for
/// their places. A pool that is short all the same is refilled a quarter of the active ones at a time, the next when those
/// are ready; what is missing to serve is started at once.
pub(super) fn next_replicas(
    assigned: &[Assigned<'_>],
    deployment: Option<&ProxyDeployment>,
    asked: Asked<'_>,
    demotion: Demotion<'_>,
) -> u32 {
    let Asked { replicas, warm, .. } = asked;
    let has_handed_over = |proxy: &ProxyPod| {
        proxy.role == Some(Role::Draining)
            && proxy.deletion_cost == Some(DRAINED_COST)
            && demotion.moves.may_go(&proxy.pod.uid)
    };
    let of_role = |wanted: Role| assigned.iter().filter(move |(_, role)| *role == wanted);
    let leaving = || of_role(Role::Draining);
    let gone = count(leaving().filter(|(proxy, _)| has_handed_over(proxy)));
    let handing_over = count(leaving()).saturating_sub(gone);
    // What becomes of one whose end is not written yet shows with the next plan.
    let may_return = |proxy: &ProxyPod| {
        !has_handed_over(proxy) && (demotion.may_come(proxy) || demotion.moves.may_go(&proxy.pod.uid))
    };
    let to_return = count(leaving().filter(|(proxy, _)| may_return(proxy)));
    let coming_back = to_return.min(warm.saturating_sub(count(of_role(Role::Warm))));
    let is_cordoned = |proxy: &ProxyPod| is_on(proxy, asked.cordoned);
    let on_cordoned = |role: Role| count(of_role(role).filter(|(proxy, _)| is_cordoned(proxy)));
    // What waits beside them takes nobody's place.
    let to_be_replaced = match on_cordoned(Role::Active) {
        0 => 0,
        active => active.saturating_add(on_cordoned(Role::Warm)),
    };
    let wanted = replicas
        .saturating_add(warm)
        .saturating_add(to_be_replaced)
        .saturating_add(handing_over)
        .saturating_sub(coming_back);
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
    if gone > 0 {
        let staying = count(assigned.iter()).saturating_sub(gone);
        return held.min(staying.max(replicas));
    }
    if held >= wanted {
        return wanted;
    }
    let serving = count(
        assigned
            .iter()
            .filter(|(proxy, role)| *role == Role::Active && proxy.pod.is_ready && !is_cordoned(proxy)),
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

/// How many proxies of a revision are to wait: what was `decided`, or what is there beyond those that are asked to serve, as
/// long as nothing was.
pub fn find_warm(pool: Pool, decided: Option<u32>, observed: &Observed, revision: &str, replicas: u32) -> u32 {
    let is_there =
        |proxy: &&ProxyPod| proxy.revision == revision && !proxy.pod.is_deleting && proxy.role != Some(Role::Draining);
    let there = observed.proxies.iter().filter(is_there).count();
    let beyond = u32::try_from(there).unwrap_or(u32::MAX).saturating_sub(replicas);
    pool.bounded(decided.unwrap_or(beyond))
}

fn count<'a>(proxies: impl Iterator<Item = &'a Assigned<'a>>) -> u32 {
    u32::try_from(proxies.count()).unwrap_or(u32::MAX)
}
