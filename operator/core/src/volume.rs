//! How the volumes of the storage nodes are, against what the resource asks for, and which of them are to grow.
//!
//! [`crate::status`] makes the phase and the condition `VolumeDegraded` of it, the reconciler adds [`plan_growth`] to what
//! is to be done. A volume grows by its claim: Kubernetes and its driver do the rest, beside the node that uses it. Leaves
//! out how full a volume is, which its node sees itself.

use std::time::Duration;

use freshet_operator_api::{StorageVolumeStatus, VolumePhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::labels;
use crate::names;
use crate::observe::{ClaimPhase, Growth, Observed, StorageClaim};
use crate::plan::StorageAction;
use crate::status::RefusedResizes;
use crate::trouble::{Trouble, shortened};
use crate::validate::{ValidatedCluster, ValidatedVolume};

/// How long a claim may be without a volume before somebody should look.
const PENDING_MAX: Duration = Duration::from_secs(60);
/// How long a volume, and then its file system, may take to grow before somebody should look.
const GROWTH_MAX: Duration = Duration::from_secs(600);

/// What volumes are judged from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VolumeInput<'a> {
    pub(crate) cluster: &'a ValidatedCluster,
    pub(crate) observed: &'a Observed,
    /// What the API server said to claims that were to grow.
    pub(crate) refused: &'a RefusedResizes,
    /// How they were.
    pub(crate) previous: Option<&'a StorageVolumeStatus>,
    pub(crate) now: Timestamp,
}

/// How the volumes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeVerdict {
    pub(crate) status: StorageVolumeStatus,
    /// Why somebody should look.
    pub(crate) trouble: Option<Trouble>,
}

/// How one volume is.
#[derive(Debug)]
struct Found {
    phase: VolumePhase,
    trouble: Option<Trouble>,
    /// What it is in when it has been so for too long.
    trouble_later: Option<Trouble>,
}

impl Found {
    fn fine(phase: VolumePhase) -> Self {
        Self {
            phase,
            trouble: None,
            trouble_later: None,
        }
    }

    fn bad(phase: VolumePhase, reason: &str, message: String) -> Self {
        Self {
            trouble: Some(trouble(reason, message)),
            ..Self::fine(phase)
        }
    }

    fn bad_later(phase: VolumePhase, reason: &str, message: String) -> Self {
        Self {
            trouble_later: Some(trouble(reason, message)),
            ..Self::fine(phase)
        }
    }
}

fn trouble(reason: &str, message: String) -> Trouble {
    Trouble {
        reason: reason.to_owned(),
        message,
    }
}

/// Judges the volumes of a cluster by the worst of them.
pub(crate) fn judge_volumes(input: &VolumeInput<'_>) -> VolumeVerdict {
    let since = |phase: VolumePhase| {
        let same = input.previous.filter(|previous| previous.phase == phase);
        same.and_then(|previous| previous.since.clone())
            .unwrap_or(Time(input.now))
    };
    let Some(volume) = &input.cluster.storage.volume else {
        let status = StorageVolumeStatus {
            phase: VolumePhase::Memory,
            since: Some(since(VolumePhase::Memory)),
            ..StorageVolumeStatus::default()
        };
        return VolumeVerdict { status, trouble: None };
    };
    let worst = nodes(input.cluster)
        .map(|pod| judge_volume(input, volume, &pod))
        // Of equal ones the first.
        .min_by_key(|found| std::cmp::Reverse(found.phase))
        .unwrap_or_else(|| Found::fine(VolumePhase::Pending));
    let smallest = claims(input.cluster, input.observed)
        .filter_map(|claim| claim.actual.as_ref())
        .min_by_key(|actual| actual.bytes);
    let status = StorageVolumeStatus {
        phase: worst.phase,
        requested: volume.size.clone(),
        actual: smallest.map(|actual| actual.text.clone()).unwrap_or_default(),
        since: Some(since(worst.phase)),
    };
    let is_late = left(&status, input.now).is_some_and(|left| left.is_zero());
    let trouble = worst.trouble.or(worst.trouble_later.filter(|_| is_late));
    VolumeVerdict { status, trouble }
}

/// When to look at volumes again though nothing has changed: when they will have been for too long what they are.
pub fn look_again_after(volume: Option<&StorageVolumeStatus>, now: Timestamp) -> Option<Duration> {
    left(volume?, now).filter(|left| !left.is_zero())
}

/// How much longer volumes may stay in a phase that passes.
fn left(status: &StorageVolumeStatus, now: Timestamp) -> Option<Duration> {
    let longest = match status.phase {
        VolumePhase::Pending => PENDING_MAX,
        VolumePhase::Expanding | VolumePhase::FileSystemPending => GROWTH_MAX,
        VolumePhase::Memory
        | VolumePhase::Bound
        | VolumePhase::TooSmall
        | VolumePhase::ExpansionRefused
        | VolumePhase::Deleting
        | VolumePhase::Lost => return None,
    };
    let lasted_s = now.as_second().saturating_sub(status.since.as_ref()?.0.as_second());
    let lasted = Duration::from_secs(u64::try_from(lasted_s).unwrap_or(0));
    Some(longest.saturating_sub(lasted))
}

/// Plans which claims ask for more. A claim without a volume cannot: it does as soon as it has one.
pub fn plan_growth(cluster: &ValidatedCluster, observed: &Observed) -> Vec<StorageAction> {
    let Some(volume) = cluster.storage.volume.as_ref().filter(|volume| volume.expand) else {
        return Vec::new();
    };
    claims(cluster, observed)
        .filter(|claim| claim.phase == ClaimPhase::Bound && !claim.is_deleting && asks_for_too_little(claim, volume))
        .map(|claim| StorageAction::Grow {
            claim: claim.name.clone(),
            uid: claim.uid.clone(),
            resource_version: claim.resource_version.clone(),
            size: volume.size.clone(),
        })
        .collect()
}

/// Says what is wrong when the StatefulSet that is there was made for another medium, which no write can change: as by an
/// operator to which no `volume` meant memory.
pub fn medium_mismatch(cluster: &ValidatedCluster, observed: &Observed) -> Option<String> {
    let set = observed.storage_set.as_ref()?;
    let (was, will_be) = match (set.has_volume, cluster.storage.volume.is_some()) {
        (false, true) => (
            "without volumes",
            "with volumes; what is in the memory of its pods is lost with them",
        ),
        (true, false) => ("with volumes", "without them"),
        _ => return None,
    };
    let name = names::storage_stateful_set(&cluster.name);
    Some(format!(
        "StatefulSet {name} was made {was}, and stays as it is: delete it, and the operator makes it anew {will_be}"
    ))
}

/// Pods of the storage nodes, in the order of their ordinals.
fn nodes(cluster: &ValidatedCluster) -> impl Iterator<Item = String> {
    (0..cluster.storage.replicas).map(|ordinal| names::storage_pod(&cluster.name, ordinal))
}

/// Claims of the storage nodes that there are to be. Others are left of a larger number, and nobody uses them.
fn claims<'a>(cluster: &ValidatedCluster, observed: &'a Observed) -> impl Iterator<Item = &'a StorageClaim> {
    nodes(cluster).filter_map(|pod| claim_of(observed, &pod))
}

/// The claim of the volume of a storage node with this pod.
pub(crate) fn claim_of<'a>(observed: &'a Observed, pod: &str) -> Option<&'a StorageClaim> {
    let name = names::storage_claim(pod);
    observed.storage_claims.iter().find(|claim| claim.name == name)
}

/// It asks for less than it should, and has not more than that anyway.
fn asks_for_too_little(claim: &StorageClaim, volume: &ValidatedVolume) -> bool {
    let asked = claim.asked.as_ref();
    asked.is_some_and(|asked| asked.bytes < volume.size_bytes) && is_too_small(claim, volume)
}

fn is_too_small(claim: &StorageClaim, volume: &ValidatedVolume) -> bool {
    let actual = claim.actual.as_ref();
    actual.is_some_and(|actual| actual.bytes < volume.size_bytes)
}

fn judge_volume(input: &VolumeInput<'_>, volume: &ValidatedVolume, pod: &str) -> Found {
    let name = names::storage_claim(pod);
    let Some(claim) = claim_of(input.observed, pod) else {
        let labels = labels::managed_selector();
        let message = format!(
            "claim {name} is not there, or has not the labels {labels}{}",
            said_of(input, pod)
        );
        return Found::bad_later(VolumePhase::Pending, "ClaimMissing", message);
    };
    if claim.phase == ClaimPhase::Lost {
        let message = format!(
            "claim {name} has lost its volume: give it back, or delete the claim and pod {pod} to begin with an empty one"
        );
        return Found::bad(VolumePhase::Lost, "ClaimLost", message);
    }
    if claim.is_deleting {
        let message = format!(
            "claim {name} was deleted, and goes with pod {pod}: what is stored is lost then, unless the reclaim policy of its \
             PersistentVolume is Retain"
        );
        return Found::bad(VolumePhase::Deleting, "ClaimDeleted", message);
    }
    if claim.phase == ClaimPhase::Pending {
        return judge_pending(input, claim, pod);
    }
    if is_too_small(claim, volume) {
        return judge_growth(input, volume, claim, pod);
    }
    Found::fine(VolumePhase::Bound)
}

fn judge_pending(input: &VolumeInput<'_>, claim: &StorageClaim, pod: &str) -> Found {
    let name = &claim.name;
    let Some(class) = &claim.class else {
        let message = format!(
            "claim {name} has no StorageClass: make one the default of this Kubernetes, or name one in \
             storage.volume.storageClassName of another MqttCluster"
        );
        return Found::bad(VolumePhase::Pending, "NoStorageClass", message);
    };
    let message = format!(
        "claim {name} has no volume of StorageClass {class} yet{}; kubectl describe pvc {name} says more",
        said_of(input, pod)
    );
    Found::bad_later(VolumePhase::Pending, "ClaimPending", message)
}

/// What the scheduler or the kubelet says of a pod.
fn said_of(input: &VolumeInput<'_>, pod: &str) -> String {
    let mut pods = input.observed.storage_pods.iter().map(|node| &node.pod);
    let trouble = pods
        .find(|facts| facts.name == pod)
        .and_then(|facts| facts.trouble.as_ref());
    trouble.map_or_else(String::new, |trouble| {
        format!("; pod {pod}: {}: {}", trouble.reason, trouble.message)
    })
}

fn judge_growth(input: &VolumeInput<'_>, volume: &ValidatedVolume, claim: &StorageClaim, pod: &str) -> Found {
    let (name, size) = (&claim.name, &volume.size);
    let text = |size: Option<&crate::observe::ClaimSize>| size.map_or_else(String::new, |size| size.text.clone());
    let (asked, actual) = (text(claim.asked.as_ref()), text(claim.actual.as_ref()));
    if asks_for_too_little(claim, volume) {
        if !volume.expand {
            let message = format!(
                "claim {name} asks for {asked} and storage.volume.size is {size}: grow the claim, or set storage.volume.expand"
            );
            return Found::bad(VolumePhase::TooSmall, "ExpansionOff", message);
        }
        if input.cluster.paused {
            return Found::fine(VolumePhase::TooSmall);
        }
        if let Some(said) = input.refused.get(&claim.uid) {
            let said = shortened(said);
            let message = format!("the API server does not let claim {name} grow from {asked} to {size}: {said}");
            return Found::bad(VolumePhase::ExpansionRefused, "ExpansionRefused", message);
        }
    }
    match &claim.growth {
        Some(Growth::Failed(said)) => {
            let message = format!("the volume of claim {name} does not grow from {actual} to {size}: {said}");
            Found::bad(VolumePhase::ExpansionRefused, "ExpansionFailed", message)
        }
        Some(Growth::FileSystemPending) => {
            let message = format!(
                "the volume of claim {name} has grown, and its file system has not: some drivers see to it only when the volume \
                 is mounted anew, so delete pod {pod}"
            );
            Found::bad_later(VolumePhase::FileSystemPending, "FileSystemNotGrown", message)
        }
        None => {
            let message = format!(
                "the volume of claim {name} was to grow from {actual} to {size} and has not yet; kubectl describe pvc {name} \
                 says more"
            );
            Found::bad_later(VolumePhase::Expanding, "ExpansionSlow", message)
        }
    }
}

#[cfg(test)]
mod tests;
