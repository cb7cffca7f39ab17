//! A model of the Deployment controller and the kubelet beside the planner, and anything that can happen in between, the
//! operator's own death in the middle of a plan included. `simulation/courses.rs` runs whole courses.

use std::collections::{BTreeMap, BTreeSet};

use freshet_operator_api::RevisionPhase;
use proptest::prelude::*;

use super::proxies::{FORMER_COST, ProxyAction, ProxyTarget, Reservation, Rooms, plan_proxies};
use super::{Drain, DrainEnd, MovesPlan};
use crate::build::min_available;
use crate::keep::Record;
use crate::loss::{Fault, Loss};
use crate::observe::{Observed, PodFacts, ProxyDeployment, ProxyPod, Role, serving_revision};
use crate::requests::Requests;
use crate::rollout::Pace;

/// Pods of `a` are of an earlier operator's template: without a role at birth, and with all that an active one reserves.
const REVISIONS: [&str; 3] = ["a", "b", "bad"];

/// What an active proxy reserves.
const ACTIVE_REQUESTS: Requests = Requests {
    cpu_millis: 500,
    memory_bytes: 512,
};

/// What happens between two plans.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// The user asks for another revision.
    Revision(usize),
    /// The user scales.
    Replicas(u32),
    /// The user asks for another number of warm proxies.
    Warm(u32),
    /// The Deployment and ReplicaSet controllers act.
    Controllers,
    /// One starting pod becomes ready, unless its revision is bad.
    Ready(usize),
    /// A pod stops being ready.
    Blink(usize),
    /// Both witnesses say that a pod is dead, or cut off from storage.
    Lost(usize, Fault),
    /// The rollout lets so many of the target serve, and lets it take over or not.
    Pace(u32, bool),
    /// A proxy that hands over has done so, or is not waited for any longer.
    Drained(usize, bool),
    /// A node takes no pods any more, or does again.
    Node(usize, bool),
    /// A pod is deleted by somebody else.
    Deleted(usize),
    /// A pod of a cordoned node is evicted, if the disruption budget lets it go.
    Evicted(usize),
    /// A stopping pod is gone.
    Gone(usize),
    /// The operator plans, and dies after so many actions.
    Plan(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => (0..REVISIONS.len()).prop_map(Happening::Revision),
        1 => (0..6u32).prop_map(Happening::Replicas),
        1 => (0..4u32).prop_map(Happening::Warm),
        4 => Just(Happening::Controllers),
        4 => (0..8usize).prop_map(Happening::Ready),
        1 => (0..8usize).prop_map(Happening::Blink),
        1 => (0..8usize).prop_map(|index| Happening::Lost(index, Fault::Dead)),
        1 => (0..8usize).prop_map(|index| Happening::Lost(index, Fault::CutOff)),
        2 => (0..6u32, any::<bool>()).prop_map(|(allowed, may)| Happening::Pace(allowed, may)),
        3 => (0..8usize, any::<bool>()).prop_map(|(index, all)| Happening::Drained(index, all)),
        1 => (0..3usize, any::<bool>()).prop_map(|(node, closed)| Happening::Node(node, closed)),
        1 => (0..8usize).prop_map(Happening::Deleted),
        1 => (0..8usize).prop_map(Happening::Evicted),
        2 => (0..8usize).prop_map(Happening::Gone),
        6 => (0..12usize).prop_map(Happening::Plan),
    ]
}

/// What happens where nobody else does anything to the pods.
fn undisturbed() -> impl Strategy<Value = Happening> {
    prop_oneof![
        Just(Happening::Controllers),
        (0..8usize).prop_map(Happening::Ready),
        (0..8usize).prop_map(|index| Happening::Drained(index, true)),
        (0..8usize).prop_map(Happening::Gone),
        (0..12usize).prop_map(Happening::Plan),
    ]
}

#[derive(Debug, Default)]
struct World {
    observed: Observed,
    revision: &'static str,
    replicas: u32,
    warm: u32,
    rooms: Rooms,
    closed_nodes: BTreeSet<String>,
    /// How drains have ended, by the UID of the pod.
    ends: BTreeMap<String, DrainEnd>,
    served_last: Option<String>,
    pace: Option<Pace>,
    next_id: usize,
}

impl World {
    fn serving(&self) -> usize {
        self.observed.proxies.iter().filter(|proxy| proxy.serves()).count()
    }

    /// Names of the proxies with a role that were not told to stop.
    fn of_role(&self, role: Role) -> Vec<String> {
        let pods = self.observed.proxies.iter();
        let has_it = |proxy: &&ProxyPod| proxy.role == Some(role) && !proxy.pod.is_deleting;
        pods.filter(has_it).map(|proxy| proxy.pod.name.clone()).collect()
    }

    /// UIDs of those that hand over.
    fn leaving(&self) -> Vec<String> {
        let pods = self.observed.proxies.iter();
        let leaves = pods.filter(|proxy| proxy.role == Some(Role::Draining));
        leaves.map(|proxy| proxy.pod.uid.clone()).collect()
    }

    /// Names of the active proxies on nodes that are cordoned.
    fn active_on_cordoned(&self) -> Vec<String> {
        let on_cordoned = |proxy: &&ProxyPod| {
            let node = proxy.pod.node.as_ref();
            proxy.is_active() && node.is_some_and(|node| self.closed_nodes.contains(node))
        };
        let active = self.observed.proxies.iter().filter(on_cordoned);
        active.map(|proxy| proxy.pod.name.clone()).collect()
    }

    fn active(&self) -> Vec<String> {
        self.of_role(Role::Active)
    }

    fn happen(&mut self, happening: Happening) {
        let pods = &mut self.observed.proxies;
        match happening {
            Happening::Revision(index) => self.revision = REVISIONS[index],
            Happening::Replicas(replicas) => self.replicas = replicas,
            Happening::Warm(warm) => self.warm = warm,
            Happening::Controllers => self.controllers(),
            Happening::Ready(index) => {
                let startable = |p: &&mut ProxyPod| !p.pod.is_ready && !p.pod.is_deleting && p.revision != "bad";
                if let Some(pod) = pods.iter_mut().filter(startable).nth(index) {
                    pod.pod.is_ready = true;
                    pod.loss.fault = None;
                }
            }
            Happening::Blink(index) => {
                if let Some(pod) = pods.get_mut(index) {
                    pod.pod.is_ready = false;
                }
            }
            Happening::Pace(allowed, may_take_over) => {
                self.pace = Some(Pace {
                    allowed,
                    may_take_over,
                    phase: RevisionPhase::Canary,
                    ..Pace::free()
                });
            }
            Happening::Lost(index, fault) => {
                if let Some(pod) = pods.get_mut(index) {
                    pod.loss.fault = Some(fault);
                    pod.pod.is_ready = false;
                }
            }
            Happening::Drained(index, all) => {
                let drains = pods.iter().filter(|pod| pod.role == Some(Role::Draining));
                if let Some(pod) = drains.into_iter().nth(index) {
                    let end = if all { DrainEnd::Drained } else { DrainEnd::Deadline };
                    self.ends.entry(pod.pod.uid.clone()).or_insert(end);
                }
            }
            Happening::Node(node, closed) => {
                let node = format!("node-{node}");
                if closed {
                    self.closed_nodes.insert(node);
                } else {
                    self.closed_nodes.remove(&node);
                }
            }
            Happening::Deleted(index) => {
                if let Some(pod) = pods.get_mut(index) {
                    pod.pod.is_deleting = true;
                }
            }
            Happening::Evicted(index) => self.evict(index),
            Happening::Gone(index) => {
                let going = pods
                    .iter()
                    .enumerate()
                    .filter(|(_, p)| p.pod.is_deleting)
                    .map(|(i, _)| i)
                    .nth(index);
                if let Some(going) = going {
                    pods.remove(going);
                }
            }
            Happening::Plan(actions) => {
                self.plan(actions);
            }
        }
    }

    /// Evicts a pod of a cordoned node, as `kubectl drain` does: active proxies only as far as the budget lets them go.
    fn evict(&mut self, index: usize) {
        let is_healthy = |proxy: &ProxyPod| proxy.is_active() && proxy.pod.is_ready;
        let healthy = self.observed.proxies.iter().filter(|proxy| is_healthy(proxy)).count();
        let may_go = healthy > self.observed.min_available.unwrap_or(0) as usize;
        let nodes = &self.closed_nodes;
        let is_on_cordoned = |proxy: &&mut ProxyPod| {
            let node = proxy.pod.node.as_ref();
            !proxy.pod.is_deleting && node.is_some_and(|node| nodes.contains(node))
        };
        let next = self.observed.proxies.iter_mut().filter(is_on_cordoned).nth(index);
        if let Some(proxy) = next.filter(|proxy| may_go || !is_healthy(proxy)) {
            proxy.pod.is_deleting = true;
        }
    }

    /// Creates what is missing, removes what is too much in the order of the ReplicaSet controller, counts.
    fn controllers(&mut self) {
        for deployment in &mut self.observed.deployments {
            let pods = &mut self.observed.proxies;
            let alive = |p: &ProxyPod| p.revision == deployment.revision && !p.pod.is_deleting;
            let mut count = pods.iter().filter(|p| alive(p)).count();
            while count < deployment.replicas as usize {
                self.next_id += 1;
                let mut pod = new_pod(self.next_id, &deployment.revision);
                // The scheduler passes over nodes that are cordoned.
                let nodes = (0..3).map(|node| format!("node-{}", (self.next_id + node) % 3));
                pod.pod.node = nodes.into_iter().find(|node| !self.closed_nodes.contains(node));
                pods.push(pod);
                count += 1;
            }
            while count > deployment.replicas as usize {
                let next = pods.iter_mut().filter(|p| alive(p)).min_by_key(|p| {
                    (
                        p.pod.is_ready,
                        p.deletion_cost.unwrap_or(0),
                        std::cmp::Reverse(p.pod.created_s),
                    )
                });
                let next = next.expect("there is one too many");
                let (name, was_serving) = (next.pod.name.clone(), next.serves());
                next.pod.is_deleting = true;
                let left = pods.iter().filter(|p| alive(p) && p.serves()).count();
                assert!(
                    !was_serving || left >= deployment.replicas as usize,
                    "the ReplicaSet controller was let loose on {name}, which serves, and leaves {left}"
                );
                count -= 1;
            }
            let available = pods.iter().filter(|p| alive(p) && p.pod.is_ready).count();
            deployment.available = u32::try_from(available).expect("few");
            let all = pods.iter().filter(|p| p.revision == deployment.revision).count();
            deployment.pods = u32::try_from(all).expect("few");
        }
    }

    /// What is known of those that hand over.
    fn moves(&self) -> MovesPlan {
        let draining = self.observed.proxies.iter();
        let drains = draining.filter(|proxy| proxy.role == Some(Role::Draining) && !proxy.pod.is_deleting);
        let drain = |proxy: &ProxyPod| Drain {
            uid: proxy.pod.uid.clone(),
            pod: proxy.pod.name.clone(),
            revision: proxy.revision.clone(),
            started_ms: 1,
            clients_left: None,
            finishing: 0,
            at_risk: 0,
            per_second: 1,
            end: self.ends.get(&proxy.pod.uid).copied(),
            is_told: false,
        };
        MovesPlan {
            drains: drains.map(drain).collect(),
            ..MovesPlan::default()
        }
    }

    /// Plans once and carries out the first `actions` steps. Returns whether anything changed.
    fn plan(&mut self, actions: usize) -> bool {
        if let Some(serving) = serving_revision(&self.observed.proxies) {
            self.served_last = Some(serving.to_owned());
        }
        // Where nobody else serves, nothing is held up (`next_pace`).
        let others_serve = self
            .observed
            .proxies
            .iter()
            .any(|p| p.revision != self.revision && p.serves());
        let pace = self.pace.clone().filter(|_| others_serve).unwrap_or_else(Pace::free);
        let moves = self.moves();
        let target = ProxyTarget {
            pace: &pace,
            revision: self.revision,
            replicas: self.replicas,
            warm: self.warm,
            is_kept: false,
            config_hash: "h",
            active_requests: ACTIVE_REQUESTS,
            rooms: &self.rooms,
            closed_nodes: &self.closed_nodes,
            cordoned_nodes: &self.closed_nodes,
            moves: &moves,
            served_last: self.served_last.as_deref(),
        };
        let plan = plan_proxies(&self.observed, target);
        self.observed.min_available = Some(min_available(&self.observed, &plan, self.replicas, true));
        let before = self.serving();
        let mut changed = false;
        for action in plan.actions.iter().take(actions) {
            changed |= self.carry_out(action, plan.target_replicas);
            assert!(
                self.serving() >= before.min(self.replicas as usize),
                "{action:?} left {} of {before} serving, {} are asked for",
                self.serving(),
                self.replicas
            );
        }
        changed
    }

    fn pod_mut(&mut self, name: &str) -> &mut ProxyPod {
        let mut pods = self.observed.proxies.iter_mut();
        pods.find(|pod| pod.pod.name == name).expect("planned from it")
    }

    fn carry_out(&mut self, action: &ProxyAction, target_replicas: u32) -> bool {
        match action {
            ProxyAction::SetRole {
                pod,
                role,
                accepting,
                deletion_cost,
                config_hash,
                mark,
                ..
            } => {
                let uid = self.pod_mut(pod).pod.uid.clone();
                let was = self.pod_mut(pod).role;
                if was == Some(Role::Draining) && *role == Role::Warm {
                    assert_eq!(self.ends.get(&uid), Some(&DrainEnd::Drained), "{pod} has clients");
                }
                if *role == Role::Active {
                    // It has clients from now on.
                    self.ends.remove(&uid);
                }
                let pod = self.pod_mut(pod);
                pod.role = Some(*role);
                pod.is_accepting = *accepting;
                pod.loss.mark = *mark;
                assert!(
                    !(mark.is_some() && pod.is_accepting),
                    "{} is {mark:?} and in the Service",
                    pod.pod.name
                );
                pod.deletion_cost = Some(*deletion_cost);
                pod.pod.config_hash.clone_from(config_hash);
                true
            }
            ProxyAction::Resize { pod, to, .. } => {
                let pod = self.pod_mut(pod);
                pod.requests = match to {
                    Reservation::OfActive => {
                        assert!(pod.is_active(), "{} is resized before it has its label", pod.pod.name);
                        ACTIVE_REQUESTS
                    }
                    Reservation::OfBirth(requests) => {
                        assert!(pod.is_warm(), "{} gives back what it needs", pod.pod.name);
                        *requests
                    }
                };
                true
            }
            ProxyAction::ApplyTarget => match self
                .observed
                .deployments
                .iter_mut()
                .find(|d| d.revision == self.revision)
            {
                Some(deployment) => {
                    let changed = deployment.replicas != target_replicas;
                    if changed {
                        // The controller has not seen the new spec: its count says nothing.
                        deployment.available = 0;
                    }
                    deployment.replicas = target_replicas;
                    changed
                }
                None => {
                    self.observed.deployments.push(ProxyDeployment {
                        name: self.revision.to_owned(),
                        uid: self.revision.to_owned(),
                        resource_version: String::new(),
                        revision: self.revision.to_owned(),
                        record: Record::default(),
                        created_s: 0,
                        replicas: target_replicas,
                        available: 0,
                        pods: 0,
                        birth_requests: birth_requests(self.revision),
                        is_deleting: false,
                        trouble: None,
                    });
                    true
                }
            },
            ProxyAction::ScaleTarget { .. } => unreachable!("nothing is kept here"),
            ProxyAction::SetOrder { .. } => unreachable!("no client is moved here"),
            ProxyAction::ScaleToZero { deployment, .. } => {
                let deployment = self
                    .observed
                    .deployments
                    .iter_mut()
                    .find(|d| d.name == *deployment)
                    .expect("planned from it");
                deployment.replicas = 0;
                true
            }
            ProxyAction::Delete { deployment, .. } => {
                self.observed.deployments.retain(|d| d.name != *deployment);
                true
            }
        }
    }

    /// Lets everything go its way until nothing changes. Panics if that does not come to pass.
    fn settle(&mut self) {
        self.pace = None;
        for _ in 0..40 {
            for uid in self.leaving() {
                self.ends.entry(uid).or_insert(DrainEnd::Drained);
            }
            let changed = self.plan(usize::MAX);
            let before = self.observed.clone();
            self.controllers();
            self.observed.proxies.retain(|proxy| !proxy.pod.is_deleting);
            for proxy in &mut self.observed.proxies {
                proxy.pod.is_ready = proxy.revision != "bad";
                proxy.loss.fault = None;
            }
            if !changed && before == self.observed {
                return;
            }
        }
        panic!("it does not settle: {self:#?}");
    }
}

/// What pods of a revision reserve from birth.
fn birth_requests(revision: &str) -> Requests {
    if revision == "a" {
        ACTIVE_REQUESTS
    } else {
        Requests::default()
    }
}

fn new_pod(id: usize, revision: &str) -> ProxyPod {
    let is_former = revision == "a";
    ProxyPod {
        pod: PodFacts {
            name: format!("{revision}-{id}"),
            uid: format!("uid-{id}"),
            resource_version: String::new(),
            node: Some(format!("node-{}", id % 3)),
            host_ip: None,
            ip: None,
            is_ready: false,
            is_deleting: false,
            restarts: 0,
            last_end: None,
            config_hash: None,
            created_s: i64::try_from(id).expect("few"),
            trouble: None,
        },
        revision: revision.to_owned(),
        role: (!is_former).then_some(Role::Warm),
        is_accepting: false,
        deletion_cost: None,
        requests: birth_requests(revision),
        resize: None,
        order: None,
        loss: Loss::default(),
    }
}

mod courses;
