//! Proxies: who serves, who hands over, how many there are of each revision.
//!
//! - A ready proxy becomes active at once: role, Service label and deletion cost in one write. One too many (somebody
//!   restarts the Deployment by hand) waits until another one goes.
//! - Scale-in takes its victims out of the Service together, then lowers `replicas`; the pods' own drain does the rest.
//!   A victim that the ReplicaSet controller did not choose becomes active again.
//! - A new revision comes up beside the others. When as many of it serve as are asked for, and have stayed ready, *all*
//!   proxies of the others leave the Service together, so that no client is moved twice; then their Deployments go to
//!   zero, and are deleted when their last pod is gone.
//! - A revision that is neither asked for nor serves anybody is given up at once: it may hold the room the next one needs.

use std::collections::{BTreeMap, BTreeSet};

use freshet_operator_api::RevisionPhase;

use crate::observe::{Observed, ProxyDeployment, ProxyPod, Role};

/// `pod-deletion-cost` of a proxy that serves: the last to be removed.
pub const ACTIVE_COST: i32 = 1000;

/// `pod-deletion-cost` of a proxy that hands over its clients.
pub const DRAINING_COST: i32 = 100;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyTarget<'a> {
    /// Revision.
    pub revision: &'a str,
    /// Proxies that should serve.
    pub replicas: u32,
    /// Its Deployment is kept as it is: it is scaled and not applied.
    pub is_kept: bool,
    /// Hash of the file they should run with.
    pub config_hash: &'a str,
    /// The revision that served last: it is not given up while the target has not taken over, whatever becomes of its pods.
    pub served_last: Option<&'a str>,
}

/// The next steps of the proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPlan {
    /// In the order in which they are carried out; a step that fails leaves the later ones for the next plan.
    pub actions: Vec<ProxyAction>,
    /// `spec.replicas` of the target's Deployment from now on.
    pub target_replicas: u32,
    /// What `spec.replicas` was, when the Deployment is there.
    pub target_replicas_were: Option<u32>,
    /// Where the change of revision stands.
    pub phase: RevisionPhase,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyAction {
    /// Writes role, Service label, deletion cost and hash of the file of one pod.
    SetRole {
        /// The pod.
        pod: String,
        /// What the write must still find.
        resource_version: String,
        /// What it becomes.
        role: Role,
        /// Whether it was something else.
        is_change: bool,
        /// Hash of the file it runs with, where it is known.
        config_hash: Option<String>,
    },
    /// Applies the Deployment of the target revision with [`ProxyPlan::target_replicas`].
    ApplyTarget,
    /// Scales the Deployment of the target revision to [`ProxyPlan::target_replicas`], and leaves the rest of it as it is.
    ScaleTarget {
        /// The Deployment.
        deployment: String,
        /// What the write must still find.
        resource_version: String,
    },
    /// Takes the Deployment of another revision to zero.
    ScaleToZero {
        /// The Deployment.
        deployment: String,
        /// What the write must still find.
        resource_version: String,
    },
    /// Deletes the Deployment of another revision, which has no pod any more.
    Delete {
        /// The Deployment.
        deployment: String,
        /// The life of it that is meant.
        uid: String,
    },
}

/// Plans the next steps of the proxies.
pub fn plan_proxies(observed: &Observed, target: ProxyTarget<'_>) -> ProxyPlan {
    let of_target: Vec<&ProxyPod> = alive(&observed.proxies)
        .filter(|p| p.revision == target.revision)
        .collect();
    let deployment = observed
        .deployments
        .iter()
        .find(|d| d.revision == target.revision && !d.is_deleting);
    let victims = choose_victims(&of_target, deployment, target.replicas);
    let mut actions = Vec::new();

    let held = deployment.map_or(0, |deployment| deployment.replicas);
    let mut places = places_left(&of_target, &victims, target.replicas.min(held));
    for proxy in &of_target {
        let role = if victims.contains(proxy.pod.uid.as_str()) {
            Role::Draining
        } else {
            Role::Active
        };
        push_role(&mut actions, proxy, role, &mut places, Some(target.config_hash));
    }

    // Victims must have left the Service, and been seen to, before the ReplicaSet controller may choose.
    let all_victims_left = of_target
        .iter()
        .filter(|p| victims.contains(p.pod.uid.as_str()))
        .all(|p| has_left(p));
    let target_replicas = match deployment {
        Some(deployment) if deployment.replicas > target.replicas && !all_victims_left => deployment.replicas,
        _ => target.replicas,
    };
    match deployment.filter(|_| target.is_kept) {
        Some(kept) if kept.replicas == target_replicas => {}
        Some(kept) => actions.push(ProxyAction::ScaleTarget {
            deployment: kept.name.clone(),
            resource_version: kept.resource_version.clone(),
        }),
        None => actions.push(ProxyAction::ApplyTarget),
    }

    let takes_over = target_takes_over(&of_target, deployment, target.replicas);
    let others: Vec<&ProxyDeployment> = observed
        .deployments
        .iter()
        .filter(|d| d.revision != target.revision)
        .collect();
    for other in &others {
        let proxies: Vec<&ProxyPod> = alive(&observed.proxies)
            .filter(|p| p.revision == other.revision)
            .collect();
        let role = if takes_over { Role::Draining } else { Role::Active };
        let mut places = places_left(&proxies, &BTreeSet::new(), other.replicas);
        for proxy in &proxies {
            push_role(&mut actions, proxy, role, &mut places, Some(target.config_hash));
        }
        let served_last = target.served_last == Some(other.revision.as_str());
        push_retirement(&mut actions, other, observed, takes_over, served_last);
    }

    let is_alone = others.is_empty() && observed.proxies.iter().all(|p| p.revision == target.revision);
    ProxyPlan {
        actions,
        target_replicas,
        target_replicas_were: deployment.map(|deployment| deployment.replicas),
        phase: match (is_alone, takes_over) {
            (true, _) => RevisionPhase::Stable,
            (false, false) => RevisionPhase::Warming,
            (false, true) => RevisionPhase::Draining,
        },
    }
}

/// Plans for a cluster that cannot be built at the moment: proxies that its Deployments replace serve in the place of those
/// that were lost, and nothing else is changed.
pub fn keep_serving(observed: &Observed) -> ProxyPlan {
    let mut actions = Vec::new();
    for deployment in observed.deployments.iter().filter(|deployment| !deployment.is_deleting) {
        let proxies: Vec<&ProxyPod> = alive(&observed.proxies)
            .filter(|proxy| proxy.revision == deployment.revision && proxy.role != Some(Role::Draining))
            .collect();
        let mut places = places_left(&proxies, &BTreeSet::new(), deployment.replicas);
        for proxy in &proxies {
            push_role(&mut actions, proxy, Role::Active, &mut places, None);
        }
    }
    let replicas = observed
        .deployments
        .iter()
        .map(|deployment| deployment.replicas)
        .max()
        .unwrap_or(0);
    ProxyPlan {
        actions,
        target_replicas: replicas,
        target_replicas_were: Some(replicas),
        phase: RevisionPhase::Stable,
    }
}

fn alive(proxies: &[ProxyPod]) -> impl Iterator<Item = &ProxyPod> {
    proxies.iter().filter(|proxy| !proxy.pod.is_deleting)
}

/// Whether no Service sends the proxy anything, and the ReplicaSet controller can tell it from those that serve.
fn has_left(proxy: &ProxyPod) -> bool {
    !proxy.is_accepting && proxy.role != Some(Role::Active)
}

/// Whether the target serves as much as is asked for, and has done so for `minReadySeconds`.
fn target_takes_over(of_target: &[&ProxyPod], deployment: Option<&ProxyDeployment>, replicas: u32) -> bool {
    let serving = of_target.iter().filter(|proxy| proxy.serves()).count();
    let available = deployment.map_or(0, |deployment| deployment.available);
    deployment.is_some() && serving >= replicas as usize && available >= replicas
}

/// How many proxies may still be promoted: one that the ReplicaSet controller is about to remove should not be.
fn places_left(proxies: &[&ProxyPod], victims: &BTreeSet<&str>, replicas: u32) -> usize {
    let serving = proxies
        .iter()
        .filter(|proxy| proxy.serves() && !victims.contains(proxy.pod.uid.as_str()))
        .count();
    (replicas as usize).saturating_sub(serving)
}

/// Writes what differs from the role a proxy should have. One that never served is left alone until it is ready and has a
/// place, or for good if it is not to serve: there is nothing to take from it.
fn push_role(
    actions: &mut Vec<ProxyAction>,
    proxy: &ProxyPod,
    role: Role,
    places: &mut usize,
    config_hash: Option<&str>,
) {
    let is_due = match role {
        Role::Active if proxy.is_active() => true,
        Role::Active if proxy.pod.is_ready && *places > 0 => {
            *places -= 1;
            true
        }
        Role::Active => false,
        Role::Draining => proxy.role.is_some() || proxy.is_accepting,
    };
    let (accepting, cost) = match role {
        Role::Active => (true, ACTIVE_COST),
        Role::Draining => (false, DRAINING_COST),
    };
    let is_change = proxy.role != Some(role);
    let differs = is_change
        || proxy.is_accepting != accepting
        || proxy.deletion_cost != Some(cost)
        || (config_hash.is_some() && proxy.pod.config_hash.as_deref() != config_hash);
    if is_due && differs {
        actions.push(ProxyAction::SetRole {
            pod: proxy.pod.name.clone(),
            resource_version: proxy.pod.resource_version.clone(),
            role,
            is_change,
            config_hash: config_hash.map(str::to_owned),
        });
    }
}

fn push_retirement(
    actions: &mut Vec<ProxyAction>,
    other: &ProxyDeployment,
    observed: &Observed,
    takes_over: bool,
    served_last: bool,
) {
    if other.is_deleting {
        return;
    }
    let pods = || observed.proxies.iter().filter(|proxy| proxy.revision == other.revision);
    if other.replicas > 0 {
        let alive = || pods().filter(|proxy| !proxy.pod.is_deleting);
        let is_empty_handed = alive().all(|proxy| proxy.role.is_none() && !proxy.is_accepting && !proxy.pod.is_ready);
        if (is_empty_handed && !served_last) || (takes_over && alive().all(has_left)) {
            actions.push(ProxyAction::ScaleToZero {
                deployment: other.name.clone(),
                resource_version: other.resource_version.clone(),
            });
        }
    } else if other.pods == 0 && pods().next().is_none() {
        actions.push(ProxyAction::Delete {
            deployment: other.name.clone(),
            uid: other.uid.clone(),
        });
    }
}

/// Chooses which proxies of the target hand over, by UID.
///
/// New ones only while `replicas` is to be lowered; those that were chosen before and are still there stay chosen as long
/// as there are more than enough.
fn choose_victims<'a>(
    of_target: &[&'a ProxyPod],
    deployment: Option<&ProxyDeployment>,
    replicas: u32,
) -> BTreeSet<&'a str> {
    let surplus = of_target.len().saturating_sub(replicas as usize);
    let is_scale_in = deployment.is_some_and(|deployment| deployment.replicas > replicas);
    let draining = of_target
        .iter()
        .filter(|proxy| proxy.role == Some(Role::Draining))
        .count();
    let count = if is_scale_in { surplus } else { surplus.min(draining) };

    let mut left: Vec<&ProxyPod> = of_target.to_vec();
    let mut per_node: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for proxy in &left {
        *per_node.entry(proxy.pod.node.as_deref()).or_default() += 1;
    }
    let mut victims = BTreeSet::new();
    for _ in 0..count {
        // Who hands over already, who does not serve, who never did, who shares a node, who is youngest.
        let worst = left.iter().enumerate().max_by_key(|(_, proxy)| {
            (
                proxy.role == Some(Role::Draining),
                !proxy.pod.is_ready,
                proxy.role.is_none(),
                per_node.get(&proxy.pod.node.as_deref()).copied(),
                proxy.pod.created_s,
                proxy.pod.name.as_str(),
            )
        });
        let Some((index, _)) = worst else { break };
        let victim = left.swap_remove(index);
        if let Some(on_node) = per_node.get_mut(&victim.pod.node.as_deref()) {
            *on_node = on_node.saturating_sub(1);
        }
        victims.insert(victim.pod.uid.as_str());
    }
    victims
}

#[cfg(test)]
mod tests;
