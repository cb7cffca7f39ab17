//! Proxies: who serves, who hands over, who waits, and how many pods each revision has.
//!
//! - Proxies come up *warm*: started, connected to storage, with no client. As many as are asked for become active as soon
//!   as they are ready: role, Service label and deletion cost in one write ([`roles`]). What an active proxy reserves is raised
//!   beside that, and never before it.
//! - An active proxy that is lost is replaced by a warm one at once. The pool is refilled a few at a time ([`pool`]).
//! - Scale-in takes its victims out of the Service together; they give their clients away by order ([`super::moves`]). Where
//!   the pool is short, one that has done so waits in it and reserves again what it was born with ([`demotion`]); `replicas`
//!   is lowered for each of the others. Those have the lowest deletion cost, so that the pool stays. A victim that is needed
//!   again before becomes active again, with the clients that it still has.
//! - Proxies on a cordoned node are victims of one action, too: they leave together once as many others serve, or wait to.
//!   Where too few do, others are started for them.
//! - A new revision comes up beside the others, and as many of it serve as its [`Pace`] allows. When as many serve as are
//!   asked for, and have stayed ready, *all* proxies of the others leave the Service together, so that no client is moved
//!   twice; then their Deployments go to zero once they are empty, and are deleted when their last pod is gone.
//! - A revision that is neither asked for nor serves anybody is given up at once: it may hold the room the next one needs.

mod demotion;
mod orders;
mod pool;
mod roles;
mod room;

use std::collections::BTreeSet;

use freshet_config::MoveOrder;
use freshet_operator_api::RevisionPhase;

use super::moves::{Drain, MovesPlan, NO_MOVES, Rebalanced};
use crate::loss::Fault;
use crate::observe::{Observed, ProxyDeployment, ProxyPod, Role};
use crate::requests::Requests;
use crate::rollout::Pace;

use demotion::Demotion;
pub use pool::find_warm;
pub use roles::{ACTIVE_COST, DRAINED_COST, DRAINING_COST, FORMER_COST, WARM_COST};
pub use room::Rooms;
use room::{Fit, Room};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyTarget<'a> {
    /// Revision.
    pub revision: &'a str,
    /// Proxies that should serve.
    pub replicas: u32,
    /// Proxies that should wait beside them.
    pub warm: u32,
    /// Its Deployment is kept as it is: it is scaled and not applied.
    pub is_kept: bool,
    /// Hash of the file they should run with.
    pub config_hash: &'a str,
    /// What an active proxy of it reserves.
    pub active_requests: Requests,
    /// What is free on the nodes of those that wait, as far as it is known.
    pub rooms: &'a Rooms,
    /// Nodes that take no pods, as far as they are known: nobody comes back there to wait.
    pub closed_nodes: &'a BTreeSet<String>,
    /// Of these, those that are cordoned: who serves there leaves as soon as others can take over.
    pub cordoned_nodes: &'a BTreeSet<String>,
    /// What clients do next.
    pub moves: &'a MovesPlan,
    /// How far the target may go.
    pub pace: &'a Pace,
    /// The revision that served last: it is not given up while the target has not taken over, whatever becomes of its pods.
    pub served_last: Option<&'a str>,
}

/// The next steps of the proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPlan {
    /// In the order in which they are carried out; a step that fails leaves the later ones for the next plan.
    pub actions: Vec<ProxyAction>,
    /// `spec.replicas` of the target's Deployment from now on: active and warm ones.
    pub target_replicas: u32,
    /// What `spec.replicas` was, when the Deployment is there.
    pub target_replicas_were: Option<u32>,
    /// Proxies that should wait.
    pub warm: u32,
    /// Warm proxies of the target that could be active with all that an active one reserves.
    pub promotable: u32,
    /// Where the change of revision stands.
    pub phase: RevisionPhase,
    /// What clients do next.
    pub moves: MovesPlan,
    /// What it was held to.
    pub pace: Pace,
    /// Pods of the target on nodes that are cordoned: they leave for that, and for nothing else.
    pub on_cordoned: BTreeSet<String>,
    /// Pods that are cut off from storage: they leave for that, whatever else is asked for.
    pub cut_off: BTreeSet<String>,
}

impl ProxyPlan {
    /// Drains that end with what was done: their pods are the next to go, or wait again.
    pub fn drained(&self) -> impl Iterator<Item = &Drain> {
        let ended = self.actions.iter().filter_map(|action| match action {
            ProxyAction::SetRole {
                pod,
                role: Role::Draining,
                is_change: false,
                deletion_cost: DRAINED_COST,
                ..
            } => Some(pod),
            _ => None,
        });
        let ended = ended.filter_map(|pod| self.drain_of(pod).filter(|drain| drain.end.is_some()));
        ended.chain(self.demoted()).filter(|drain| !drain.is_told)
    }

    /// Drains of proxies that wait again with what was done.
    pub fn demoted(&self) -> impl Iterator<Item = &Drain> {
        let waiting = self.actions.iter().filter_map(|action| match action {
            ProxyAction::SetRole {
                pod,
                role: Role::Warm,
                is_change: true,
                ..
            } => Some(pod),
            _ => None,
        });
        waiting.filter_map(|pod| self.drain_of(pod))
    }

    /// Proxies that are active once it is carried out.
    pub fn active_after<'a>(&self, observed: &'a Observed) -> Vec<&'a ProxyPod> {
        let next_role = |proxy: &ProxyPod| {
            self.actions.iter().find_map(|action| match action {
                ProxyAction::SetRole { pod, role, .. } if *pod == proxy.pod.name => Some(*role),
                _ => None,
            })
        };
        let is_active = |proxy: &&ProxyPod| match next_role(proxy) {
            Some(role) => role == Role::Active,
            None => proxy.is_active(),
        };
        observed.proxies.iter().filter(is_active).collect()
    }

    fn drain_of(&self, pod: &str) -> Option<&Drain> {
        self.moves.drains.iter().find(|drain| drain.pod == pod)
    }

    /// A rebalance that ends with what was done.
    pub fn rebalanced(&self) -> Option<Rebalanced> {
        self.moves.ends.filter(|_| self.has_ordered())
    }

    /// Clients that a rebalance moves which begins with what was done.
    pub fn rebalances(&self) -> Option<u64> {
        self.moves.begins.filter(|_| self.has_ordered())
    }

    fn has_ordered(&self) -> bool {
        let is_order = |action: &ProxyAction| matches!(action, ProxyAction::SetOrder { .. });
        self.actions.iter().any(is_order)
    }
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
        /// Whether it gets new connections.
        accepting: bool,
        /// When the ReplicaSet controller removes it: the lowest first.
        deletion_cost: i32,
        /// Whether it was something else.
        is_change: bool,
        /// Hash of the file it runs with, where it is known.
        config_hash: Option<String>,
        /// What it is marked as.
        mark: Option<Fault>,
        /// Its order about clients is withdrawn with it.
        ends_order: bool,
    },
    /// Gives a pod an order about its clients, changes or withdraws it.
    SetOrder {
        /// The pod.
        pod: String,
        /// What the write must still find.
        resource_version: String,
        /// The order; none: it is withdrawn.
        order: Option<MoveOrder>,
        /// Whether it gets new connections, where that is to be written with it.
        accepting: Option<bool>,
    },
    /// Changes what a pod reserves, in place.
    Resize {
        /// The pod.
        pod: String,
        /// The life of it that is meant.
        uid: String,
        /// What it reserves from then on.
        to: Reservation,
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

/// What a proxy reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// What an active one does.
    OfActive,
    /// What it was born with.
    OfBirth(Requests),
}

/// Plans the next steps of the proxies.
pub fn plan_proxies(observed: &Observed, target: ProxyTarget<'_>) -> ProxyPlan {
    let of_target = alive_of(observed, target.revision);
    let deployment = observed
        .deployments
        .iter()
        .find(|d| d.revision == target.revision && !d.is_deleting);
    let config_hash = Some(target.config_hash);
    let mut actions = Vec::new();

    let mut room = Room::new(target.rooms, target.active_requests);
    let promotable = promotable(&of_target, room.clone());
    // Who is active stays it: a rollout that pauses moves nobody.
    let active = u32::try_from(of_target.iter().filter(|proxy| proxy.is_active()).count()).unwrap_or(u32::MAX);
    let places = target.replicas.min(target.pace.allowed.max(active));
    let demotion = Demotion {
        closed_nodes: target.closed_nodes,
        moves: target.moves,
    };
    let cordoned = target.cordoned_nodes;
    let assigned = roles::assign(&of_target, places, target.warm, &mut room, demotion, cordoned);
    for &(proxy, role) in &assigned {
        roles::push(&mut actions, proxy, role, config_hash, target.moves);
    }
    actions.extend(resizes(&assigned, target.active_requests, deployment));
    let asked = pool::Asked {
        replicas: target.replicas,
        warm: target.warm,
        cordoned,
    };
    let target_replicas = pool::next_replicas(&assigned, deployment, asked, demotion);
    match deployment.filter(|_| target.is_kept) {
        Some(kept) if kept.replicas == target_replicas => {}
        Some(kept) => actions.push(ProxyAction::ScaleTarget {
            deployment: kept.name.clone(),
            resource_version: kept.resource_version.clone(),
        }),
        None => actions.push(ProxyAction::ApplyTarget),
    }

    let takes_over = target.pace.may_take_over && target_takes_over(&of_target, deployment, target.replicas);
    let others: Vec<&ProxyDeployment> = observed
        .deployments
        .iter()
        .filter(|d| d.revision != target.revision)
        .collect();
    for other in &others {
        let proxies = alive_of(observed, &other.revision);
        let served_last = target.served_last == Some(other.revision.as_str());
        let hands_over = takes_over || (target.served_last.is_some() && !served_last && has_left_together(&proxies));
        let assigned = if hands_over {
            roles::hand_over(&proxies)
        } else {
            roles::serve_on(&proxies, target.replicas.min(other.replicas), &mut room)
        };
        for (proxy, role) in assigned {
            roles::push(&mut actions, proxy, role, config_hash, target.moves);
        }
        push_retirement(&mut actions, other, observed, hands_over, served_last, target.moves);
    }
    orders::push(&mut actions, observed, target.moves);

    let is_alone = others.is_empty() && observed.proxies.iter().all(|p| p.revision == target.revision);
    ProxyPlan {
        actions,
        target_replicas,
        target_replicas_were: deployment.map(|deployment| deployment.replicas),
        warm: target.warm,
        promotable,
        phase: match (is_alone, takes_over) {
            (true, _) => RevisionPhase::Stable,
            (false, _) if target.pace.is_rollback => RevisionPhase::RollingBack,
            (false, false) => target.pace.phase,
            (false, true) => RevisionPhase::Draining,
        },
        moves: target.moves.clone(),
        pace: target.pace.clone(),
        on_cordoned: on_cordoned(observed, target.revision, cordoned),
        cut_off: cut_off(observed),
    }
}

/// Plans for a cluster that cannot be built at the moment: proxies that its Deployments replace serve in the place of those
/// that were lost, and nothing else is changed. `replicas` is how many should serve by the last resource that could be built;
/// without one, all do.
pub fn keep_serving(observed: &Observed, replicas: Option<u32>) -> ProxyPlan {
    let mut actions = Vec::new();
    for deployment in observed.deployments.iter().filter(|deployment| !deployment.is_deleting) {
        let proxies: Vec<&ProxyPod> = alive_of(observed, &deployment.revision)
            .into_iter()
            .filter(|proxy| proxy.role != Some(Role::Draining))
            .collect();
        let places = replicas.unwrap_or(u32::MAX).min(deployment.replicas);
        for (proxy, role) in roles::serve_on(&proxies, places, &mut Room::unknown()) {
            roles::push(&mut actions, proxy, role, None, &NO_MOVES);
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
        warm: 0,
        promotable: 0,
        phase: RevisionPhase::Stable,
        moves: NO_MOVES.clone(),
        pace: Pace::free(),
        on_cordoned: BTreeSet::new(),
        cut_off: cut_off(observed),
    }
}

fn alive_of<'a>(observed: &'a Observed, revision: &str) -> Vec<&'a ProxyPod> {
    let is_alive = |proxy: &&ProxyPod| proxy.revision == revision && !proxy.pod.is_deleting;
    observed.proxies.iter().filter(is_alive).collect()
}

/// Names of the pods of a revision on cordoned nodes, of those that were told to stop, too: they have clients for a while.
fn on_cordoned(observed: &Observed, revision: &str, cordoned: &BTreeSet<String>) -> BTreeSet<String> {
    let of_revision = observed.proxies.iter().filter(|proxy| proxy.revision == revision);
    let on_cordoned = of_revision.filter(|proxy| roles::is_on(proxy, cordoned));
    on_cordoned.map(|proxy| proxy.pod.name.clone()).collect()
}

/// Names of the pods that are cut off from storage, or were when they were told to leave.
fn cut_off(observed: &Observed) -> BTreeSet<String> {
    let is_it = |proxy: &&ProxyPod| [proxy.loss.fault, proxy.loss.mark].contains(&Some(Fault::CutOff));
    let cut_off = observed.proxies.iter().filter(is_it);
    cut_off.map(|proxy| proxy.pod.name.clone()).collect()
}

/// Whether no Service sends the proxy anything, and the ReplicaSet controller can tell it from those that serve.
fn has_left(proxy: &ProxyPod) -> bool {
    !proxy.is_accepting && proxy.role != Some(Role::Active)
}

/// Active proxies that stay it and reserve less than they should, and those that wait again and reserve more than at their
/// birth. Nothing comes before the label: one that was not seen to have its role is not resized.
fn resizes(
    assigned: &[(&ProxyPod, Role)],
    active_requests: Requests,
    deployment: Option<&ProxyDeployment>,
) -> Vec<ProxyAction> {
    let born = deployment.map(|deployment| deployment.birth_requests);
    let reservation = |proxy: &ProxyPod, role: Role| match role {
        Role::Active if proxy.is_active() && !proxy.requests.covers(active_requests) => Some(Reservation::OfActive),
        // Of one with another cost nobody knows that it has no client.
        Role::Warm
            if proxy.role == Some(Role::Warm) && proxy.deletion_cost == Some(WARM_COST) && proxy.pod.is_ready =>
        {
            born.filter(|born| !born.covers(proxy.requests))
                .map(Reservation::OfBirth)
        }
        _ => None,
    };
    assigned
        .iter()
        .filter_map(|(proxy, role)| {
            Some(ProxyAction::Resize {
                pod: proxy.pod.name.clone(),
                uid: proxy.pod.uid.clone(),
                to: reservation(proxy, *role)?,
            })
        })
        .collect()
}

/// How many of those that wait could be promoted together with all that they should reserve.
fn promotable(of_target: &[&ProxyPod], mut room: Room) -> u32 {
    let mut count = 0;
    for proxy in of_target.iter().filter(|proxy| proxy.is_warm() && proxy.pod.is_ready) {
        if room.fit(proxy) == Fit::Fits {
            room.take(proxy);
            count += 1;
        }
    }
    count
}

/// Whether the target serves as much as is asked for, and has done so for `minReadySeconds`.
fn target_takes_over(of_target: &[&ProxyPod], deployment: Option<&ProxyDeployment>, replicas: u32) -> bool {
    let serving = of_target.iter().filter(|proxy| proxy.serves()).count();
    let available = deployment.map_or(0, |deployment| deployment.available);
    deployment.is_some() && serving >= replicas as usize && available >= replicas
}

/// Whether all proxies of a revision have left the Service together. One that another has taken over from goes on with that,
/// whatever is asked for since.
fn has_left_together(proxies: &[&ProxyPod]) -> bool {
    let has = |role: Role| proxies.iter().any(|proxy| proxy.role == Some(role));
    has(Role::Draining) && !has(Role::Active)
}

fn push_retirement(
    actions: &mut Vec<ProxyAction>,
    other: &ProxyDeployment,
    observed: &Observed,
    hands_over: bool,
    served_last: bool,
    moves: &MovesPlan,
) {
    if other.is_deleting {
        return;
    }
    let pods = || observed.proxies.iter().filter(|proxy| proxy.revision == other.revision);
    if other.replicas > 0 {
        let alive = || pods().filter(|proxy| !proxy.pod.is_deleting);
        let is_empty_handed = alive().all(|proxy| proxy.is_warm() && !proxy.is_accepting && !proxy.pod.is_ready);
        if (is_empty_handed && !served_last)
            || (hands_over && alive().all(|proxy| has_left(proxy) && moves.may_go(&proxy.pod.uid)))
        {
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

#[cfg(test)]
mod tests;
