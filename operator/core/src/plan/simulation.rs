//! Whole courses: a model of the Deployment controller and the kubelet beside the planner, and anything that can happen
//! in between, the operator's own death in the middle of a plan included.

use proptest::prelude::*;

use super::proxies::{ACTIVE_COST, DRAINING_COST, ProxyAction, ProxyTarget, plan_proxies};
use crate::keep::Record;
use crate::observe::{Observed, PodFacts, ProxyDeployment, ProxyPod, Role, serving_revision};

const REVISIONS: [&str; 3] = ["a", "b", "bad"];

/// What happens between two plans.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// The user asks for another revision.
    Revision(usize),
    /// The user scales.
    Replicas(u32),
    /// The Deployment and ReplicaSet controllers act.
    Controllers,
    /// One starting pod becomes ready, unless its revision is bad.
    Ready(usize),
    /// A pod stops being ready.
    Blink(usize),
    /// A pod is deleted by somebody else.
    Deleted(usize),
    /// A stopping pod is gone.
    Gone(usize),
    /// The operator plans, and dies after so many actions.
    Plan(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => (0..REVISIONS.len()).prop_map(Happening::Revision),
        1 => (0..6u32).prop_map(Happening::Replicas),
        4 => Just(Happening::Controllers),
        4 => (0..8usize).prop_map(Happening::Ready),
        1 => (0..8usize).prop_map(Happening::Blink),
        1 => (0..8usize).prop_map(Happening::Deleted),
        2 => (0..8usize).prop_map(Happening::Gone),
        6 => (0..12usize).prop_map(Happening::Plan),
    ]
}

#[derive(Debug, Default)]
struct World {
    observed: Observed,
    revision: &'static str,
    replicas: u32,
    served_last: Option<String>,
    next_id: usize,
}

impl World {
    fn serving(&self) -> usize {
        self.observed.proxies.iter().filter(|proxy| proxy.serves()).count()
    }

    fn happen(&mut self, happening: Happening) {
        let pods = &mut self.observed.proxies;
        match happening {
            Happening::Revision(index) => self.revision = REVISIONS[index],
            Happening::Replicas(replicas) => self.replicas = replicas,
            Happening::Controllers => self.controllers(),
            Happening::Ready(index) => {
                let startable = |p: &&mut ProxyPod| !p.pod.is_ready && !p.pod.is_deleting && p.revision != "bad";
                if let Some(pod) = pods.iter_mut().filter(startable).nth(index) {
                    pod.pod.is_ready = true;
                }
            }
            Happening::Blink(index) => {
                if let Some(pod) = pods.get_mut(index) {
                    pod.pod.is_ready = false;
                }
            }
            Happening::Deleted(index) => {
                if let Some(pod) = pods.get_mut(index) {
                    pod.pod.is_deleting = true;
                }
            }
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

    /// Creates what is missing, removes what is too much in the order of the ReplicaSet controller, counts.
    fn controllers(&mut self) {
        for deployment in &mut self.observed.deployments {
            let pods = &mut self.observed.proxies;
            let alive = |p: &ProxyPod| p.revision == deployment.revision && !p.pod.is_deleting;
            let mut count = pods.iter().filter(|p| alive(p)).count();
            while count < deployment.replicas as usize {
                self.next_id += 1;
                pods.push(new_pod(self.next_id, &deployment.revision));
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

    /// Plans once and carries out the first `actions` steps. Returns whether anything changed.
    fn plan(&mut self, actions: usize) -> bool {
        if let Some(serving) = serving_revision(&self.observed.proxies) {
            self.served_last = Some(serving.to_owned());
        }
        let target = ProxyTarget {
            revision: self.revision,
            replicas: self.replicas,
            is_kept: false,
            config_hash: "h",
            served_last: self.served_last.as_deref(),
        };
        let plan = plan_proxies(&self.observed, target);
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

    fn carry_out(&mut self, action: &ProxyAction, target_replicas: u32) -> bool {
        let deployments = &mut self.observed.deployments;
        match action {
            ProxyAction::SetRole {
                pod, role, config_hash, ..
            } => {
                let pod = self
                    .observed
                    .proxies
                    .iter_mut()
                    .find(|p| p.pod.name == *pod)
                    .expect("planned from it");
                pod.role = Some(*role);
                pod.is_accepting = *role == Role::Active;
                pod.deletion_cost = Some(if *role == Role::Active {
                    ACTIVE_COST
                } else {
                    DRAINING_COST
                });
                pod.pod.config_hash.clone_from(config_hash);
                true
            }
            ProxyAction::ApplyTarget => match deployments.iter_mut().find(|d| d.revision == self.revision) {
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
                    deployments.push(ProxyDeployment {
                        name: self.revision.to_owned(),
                        uid: self.revision.to_owned(),
                        resource_version: String::new(),
                        revision: self.revision.to_owned(),
                        record: Record::default(),
                        created_s: 0,
                        replicas: target_replicas,
                        available: 0,
                        pods: 0,
                        is_deleting: false,
                        trouble: None,
                    });
                    true
                }
            },
            ProxyAction::ScaleTarget { .. } => unreachable!("nothing is kept here"),
            ProxyAction::ScaleToZero { deployment, .. } => {
                let deployment = deployments
                    .iter_mut()
                    .find(|d| d.name == *deployment)
                    .expect("planned from it");
                deployment.replicas = 0;
                true
            }
            ProxyAction::Delete { deployment, .. } => {
                deployments.retain(|d| d.name != *deployment);
                true
            }
        }
    }

    /// Lets everything go its way until nothing changes. Panics if that does not come to pass.
    fn settle(&mut self) {
        for _ in 0..40 {
            let changed = self.plan(usize::MAX);
            let before = self.observed.clone();
            self.controllers();
            self.observed.proxies.retain(|proxy| !proxy.pod.is_deleting);
            for proxy in &mut self.observed.proxies {
                proxy.pod.is_ready = proxy.revision != "bad";
            }
            if !changed && before == self.observed {
                return;
            }
        }
        panic!("it does not settle: {self:#?}");
    }
}

fn new_pod(id: usize, revision: &str) -> ProxyPod {
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
        role: None,
        is_accepting: false,
        deletion_cost: None,
    }
}

/// At least so many cases; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(2_000),
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_no_plan_takes_away_what_serves_and_all_settles(
        happenings in proptest::collection::vec(happening(), 0..120),
        revision in 0..2usize,
        replicas in 0..6u32,
    ) {
        let mut world = World { revision: "a", replicas: 2, ..World::default() };
        for happening in happenings {
            world.happen(happening);
        }
        world.revision = REVISIONS[revision];
        world.replicas = replicas;
        world.settle();
        prop_assert_eq!(world.serving(), replicas as usize);
        prop_assert_eq!(world.observed.proxies.len(), replicas as usize);
        prop_assert_eq!(world.observed.deployments.len(), 1);
        prop_assert_eq!(&world.observed.deployments[0].revision, REVISIONS[revision]);
    }

    #[test]
    fn a_bad_revision_never_takes_the_place_of_one_that_serves(
        happenings in proptest::collection::vec(happening(), 0..60),
        replicas in 1..6u32,
    ) {
        let mut world = World { revision: "a", replicas, ..World::default() };
        world.settle();
        world.revision = "bad";
        for happening in happenings {
            if !matches!(happening, Happening::Revision(_) | Happening::Replicas(_)) {
                world.happen(happening);
            }
        }
        world.settle();
        prop_assert_eq!(world.serving(), replicas as usize, "the old revision serves on");
    }
}
