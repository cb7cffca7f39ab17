//! The status of a cluster: a pure function of what was read, what was planned and what the status was.
//!
//! Called at the end of every reconcile, also of one that could not build anything. [`conditions`] judges, [`writing`]
//! decides when a changed status is written.

mod conditions;
mod drains;
mod reservation;
mod rollout;
mod scaling;
mod volume;
mod writing;

use std::collections::BTreeMap;

use freshet_operator_api::{
    CeilingStatus, MqttClusterStatus, ProxyStatus, RevisionPhase, RevisionStatus, ScalingStatus, StorageNodeStatus,
    StorageStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::connections::ConnectionLimits;
use crate::disruption::{DrainTimes, pending_disruption};
use crate::keep::Keep;
use crate::labels;
use crate::observe::{Observed, ProxyPod, Role, endpoints, serving_revision};
use crate::plan::{ProxyPlan, StoragePlan};
use crate::rollout::Loads;
use crate::validate::ValidatedCluster;
use crate::volume::{VolumeInput, claim_of, judge_volumes};

pub use writing::{NUMBERS_EVERY, StatusWrite, decide_write};

/// Storage nodes that status lists at most.
const NODES_MAX: usize = 32;

/// What the API server said to resizes that it refused, by the UID of the pod or claim.
pub type RefusedResizes = BTreeMap<String, String>;

/// Everything a status is made from.
#[derive(Debug, Clone, Copy)]
pub struct StatusInput<'a> {
    /// Name of the resource.
    pub name: &'a str,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Version of the operator.
    pub version: &'a str,
    /// What was built, or why nothing could be.
    pub outcome: Outcome<'a>,
    /// What was read.
    pub observed: &'a Observed,
    /// What proxies have said of their limits.
    pub connection_limits: &'a ConnectionLimits,
    /// Why the API server does not let active proxies reserve what they should, or claims grow, by UID.
    pub refused_resizes: &'a RefusedResizes,
    /// What proxies have said of their load last.
    pub loads: &'a Loads,
    /// What decides how many proxies serve; nothing when the operator does not look.
    pub scaling: Option<&'a ScalingStatus>,
    /// The status as it is.
    pub previous: Option<&'a MqttClusterStatus>,
    /// For `lastTransitionTime`.
    pub now: Timestamp,
}

/// What a reconcile came to.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// Children were built and applied, and this is the plan.
    Planned {
        /// The resource.
        cluster: &'a ValidatedCluster,
        /// What is kept, and which revision to go for.
        keep: &'a Keep,
        /// The proxies.
        proxies: &'a ProxyPlan,
        /// The storage nodes.
        storage: &'a StoragePlan,
        /// This reconcile has changed something, whose effect was not observed yet.
        has_changed: bool,
    },
    /// Nothing goes on until somebody acts.
    Blocked(&'a Blocked),
}

/// Why nothing goes on until somebody acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// One word: `InvalidSpec`, `NameTaken`, `ChildRefused` …
    pub reason: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Builds the status.
pub fn build_status(input: &StatusInput<'_>) -> MqttClusterStatus {
    let observed = input.observed;
    let previous = input.previous.cloned().unwrap_or_default();
    let alive = || observed.proxies.iter().filter(|proxy| !proxy.pod.is_deleting);
    let (desired, promotable, revision, replicas, images, addresses) = match input.outcome {
        Outcome::Planned {
            cluster, keep, proxies, ..
        } => (
            cluster.proxy.replicas,
            proxies.promotable,
            RevisionStatus {
                current: current_revision(
                    observed,
                    &keep.proxy_revision,
                    proxies.phase,
                    &previous.proxy.revision.current,
                ),
                target: keep.proxy_revision.clone(),
                phase: proxies.phase,
                active_new: serving_of(observed, |revision| revision == keep.proxy_revision),
                active_old: serving_of(observed, |revision| revision != keep.proxy_revision),
                reason: proxies.pace.reason.clone(),
                canary_since: canary_since(proxies),
                judged_with: proxies.pace.judged_with.clone(),
            },
            cluster.storage.replicas,
            (cluster.proxy.pods.image.clone(), cluster.storage.pods.image.clone()),
            endpoints(
                &cluster.name,
                &cluster.namespace,
                &cluster.listeners,
                cluster.service.type_,
                observed,
            ),
        ),
        // What was decided last still holds.
        Outcome::Blocked(_) => (
            previous.proxy.desired,
            previous.proxy.promotable,
            previous.proxy.revision.clone(),
            previous.storage.replicas,
            (previous.proxy.image.clone(), previous.storage.image.clone()),
            previous.endpoints.clone(),
        ),
    };
    let (drains, drains_total) = match input.outcome {
        Outcome::Planned { keep, proxies, .. } => drains::drains(proxies, &keep.proxy_revision, &previous.proxy.drains),
        Outcome::Blocked(_) => (previous.proxy.drains.clone(), previous.proxy.drains_total),
    };
    let volume = match input.outcome {
        Outcome::Planned { cluster, .. } => Some(judge_volumes(&VolumeInput {
            cluster,
            observed,
            refused: input.refused_resizes,
            previous: previous.storage.volume.as_ref(),
            now: input.now,
        })),
        Outcome::Blocked(_) => None,
    };
    let mut status = MqttClusterStatus {
        observed_generation: input.generation,
        version: input.version.to_owned(),
        endpoints: addresses,
        conditions: Vec::new(),
        proxy: ProxyStatus {
            active: count(alive().filter(|proxy| proxy.serves())),
            desired,
            ready: count(alive().filter(|proxy| proxy.pod.is_ready)),
            warm: count(alive().filter(|proxy| proxy.is_warm() && proxy.pod.is_ready)),
            promotable,
            draining: count(
                observed
                    .proxies
                    .iter()
                    .filter(|proxy| proxy.role == Some(Role::Draining)),
            ),
            drains,
            drains_total,
            selector: labels::active_selector(input.name),
            image: images.0,
            revision,
        },
        pending_disruption: match input.outcome {
            Outcome::Planned {
                cluster, keep, proxies, ..
            } => {
                let times = DrainTimes {
                    linger: cluster.proxy.drain_linger,
                    timeout: cluster.proxy.drain_timeout,
                    max_per_second: cluster.proxy.moves.drain_max_per_second,
                };
                pending_disruption(observed, proxies, &keep.proxy_revision, input.loads, times)
            }
            Outcome::Blocked(_) => None,
        },
        scaling: None,
        storage: StorageStatus {
            ready: count(
                observed
                    .storage_pods
                    .iter()
                    .filter(|pod| pod.pod.is_ready && !pod.pod.is_deleting),
            ),
            replicas,
            image: images.1,
            volume: volume
                .as_ref()
                .map(|volume| volume.status.clone())
                .or_else(|| previous.storage.volume.clone()),
            nodes: storage_nodes(observed, &previous.storage.nodes),
        },
    };
    status.scaling = input.scaling.map(|scaling| ScalingStatus {
        ceiling: ceiling(input, &status.proxy),
        ..scaling.clone()
    });
    status.conditions = conditions::judge(input, &status, volume.as_ref());
    status
}

/// Why fewer proxies serve than are asked for, if somebody says so.
fn ceiling(input: &StatusInput<'_>, proxies: &ProxyStatus) -> Option<CeilingStatus> {
    if proxies.active >= proxies.desired {
        return None;
    }
    let pods = input.observed.proxies.iter().filter(|proxy| !proxy.pod.is_deleting);
    let mut said = input
        .observed
        .deployments
        .iter()
        .filter_map(|deployment| deployment.trouble.as_ref())
        .chain(pods.filter_map(|proxy| proxy.pod.trouble.as_ref()));
    said.next().map(|trouble| CeilingStatus {
        active: proxies.active,
        reason: format!("{}: {}", trouble.reason, trouble.message),
    })
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

fn serving_of(observed: &Observed, is_it: impl Fn(&str) -> bool) -> u32 {
    let serves = |proxy: &&ProxyPod| !proxy.pod.is_deleting && proxy.serves() && is_it(&proxy.revision);
    count(observed.proxies.iter().filter(serves))
}

/// Since when the target is watched, as long as it is.
fn canary_since(proxies: &ProxyPlan) -> Option<Time> {
    let since_s = proxies
        .pace
        .since_s
        .filter(|_| proxies.phase == RevisionPhase::Canary)?;
    Timestamp::from_second(since_s).ok().map(Time)
}

/// The revision that serves: the target once it took over, else the one with most active proxies, else what it was. As long as
/// a target is watched, the one before: that is where it would go back to, however many of the target serve.
fn current_revision(observed: &Observed, target: &str, phase: RevisionPhase, previous: &str) -> String {
    match phase {
        RevisionPhase::Draining | RevisionPhase::RollingBack => target.to_owned(),
        RevisionPhase::Canary | RevisionPhase::Paused
            if previous != target && observed.deployments.iter().any(|of| of.revision == previous) =>
        {
            previous.to_owned()
        }
        RevisionPhase::Stable | RevisionPhase::Warming | RevisionPhase::Canary | RevisionPhase::Paused => {
            serving_revision(&observed.proxies).unwrap_or(previous).to_owned()
        }
    }
}

/// The lives of the storage nodes that were seen. A node that is away keeps its entry: its next life must be told from it.
fn storage_nodes(observed: &Observed, previous: &[StorageNodeStatus]) -> Vec<StorageNodeStatus> {
    let mut nodes: Vec<StorageNodeStatus> = previous.to_vec();
    let has_volume = observed.storage_set.as_ref().is_some_and(|set| set.has_volume);
    for pod in &observed.storage_pods {
        let name = &pod.pod.name;
        let known = previous.iter().find(|node| node.pod == *name);
        let claim = claim_of(observed, name).filter(|_| has_volume);
        let seen = StorageNodeStatus {
            pod: name.clone(),
            uid: pod.pod.uid.clone(),
            restarts: pod.pod.restarts,
            claim: claim
                .map(|claim| claim.uid.clone())
                .or_else(|| known.map(|known| known.claim.clone()))
                .unwrap_or_default(),
        };
        match nodes.iter_mut().find(|node| node.pod == seen.pod) {
            Some(node) => *node = seen,
            None => nodes.push(seen),
        }
    }
    nodes.truncate(NODES_MAX);
    nodes
}

#[cfg(test)]
mod tests;
