//! Events about the volumes of the storage nodes: that they are there, that they grow, that they have grown, and that one
//! was replaced. What is wrong with one is told as the condition `VolumeDegraded` begins.

use freshet_operator_api::{MqttClusterStatus, VolumePhase};

use super::Notice;

/// Adds what has become of volumes since the former status.
pub(super) fn volumes(notices: &mut Vec<Notice>, former: Option<&MqttClusterStatus>, status: &MqttClusterStatus) {
    let Some(former) = former else { return };
    for node in &status.storage.nodes {
        let was = former.storage.nodes.iter().find(|was| was.pod == node.pod);
        let is_another = was.is_some_and(|was| !was.claim.is_empty() && was.claim != node.claim);
        if is_another {
            let note = format!(
                "storage node {} has another volume: what it had acknowledged is on the former one",
                node.pod
            );
            notices.push(Notice::warning("VolumeReplaced", "Observe", note).about(&node.pod));
        }
    }
    let (Some(was), Some(is)) = (&former.storage.volume, &status.storage.volume) else {
        return;
    };
    let told = match (was.phase, is.phase) {
        (was, is) if was == is => None,
        (VolumePhase::Pending, VolumePhase::Bound) => Some((
            "VolumeBound",
            "Observe",
            format!("storage nodes have volumes of {}", is.actual),
        )),
        (
            VolumePhase::Expanding
            | VolumePhase::FileSystemPending
            | VolumePhase::TooSmall
            | VolumePhase::ExpansionRefused,
            VolumePhase::Bound,
        ) => Some((
            "VolumeExpanded",
            "Observe",
            format!("volumes of storage nodes have grown to {}", is.actual),
        )),
        (_, VolumePhase::Expanding) => Some((
            "VolumeExpanding",
            "Expand",
            format!("volumes of storage nodes grow from {} to {}", is.actual, is.requested),
        )),
        _ => None,
    };
    notices.extend(told.map(|(reason, action, note)| Notice::normal(reason, action, note)));
}

#[cfg(test)]
mod tests {
    use freshet_operator_api::{StorageNodeStatus, StorageVolumeStatus};

    use super::*;

    fn status(phase: VolumePhase, actual: &str, claim: &str) -> MqttClusterStatus {
        let mut status = MqttClusterStatus::default();
        status.storage.volume = Some(StorageVolumeStatus {
            phase,
            requested: "20Gi".to_owned(),
            actual: actual.to_owned(),
            since: None,
        });
        status.storage.nodes = vec![StorageNodeStatus {
            pod: "s-0".to_owned(),
            claim: claim.to_owned(),
            ..StorageNodeStatus::default()
        }];
        status
    }

    fn told(former: Option<&MqttClusterStatus>, status: &MqttClusterStatus) -> Vec<(String, String)> {
        let mut notices = Vec::new();
        volumes(&mut notices, former, status);
        notices.into_iter().map(|notice| (notice.reason, notice.note)).collect()
    }

    fn change(was: VolumePhase, is: VolumePhase) -> Vec<String> {
        let former = status(was, "10Gi", "c");
        let told = told(Some(&former), &status(is, "10Gi", "c"));
        told.into_iter().map(|(reason, _)| reason).collect()
    }

    #[test]
    fn a_volume_is_told_once_when_it_is_there_when_it_grows_and_when_it_has_grown() {
        use VolumePhase::{Bound, Expanding, ExpansionRefused, FileSystemPending, Pending, TooSmall};
        assert_eq!(change(Pending, Bound), ["VolumeBound"]);
        for from in [Bound, TooSmall, ExpansionRefused] {
            assert_eq!(change(from, Expanding), ["VolumeExpanding"], "{from:?}");
        }
        for from in [Expanding, FileSystemPending, TooSmall, ExpansionRefused] {
            assert_eq!(change(from, Bound), ["VolumeExpanded"], "{from:?}");
        }
        for same in [Pending, Bound, Expanding, ExpansionRefused] {
            assert!(change(same, same).is_empty(), "{same:?}");
        }
        assert!(change(Expanding, FileSystemPending).is_empty());
        assert!(told(None, &status(Expanding, "10Gi", "c")).is_empty());
    }

    #[test]
    fn a_growth_is_told_with_both_sizes() {
        let bound = status(VolumePhase::Bound, "10Gi", "c");
        let grows = told(Some(&bound), &status(VolumePhase::Expanding, "10Gi", "c"));
        assert_eq!(grows[0].1, "volumes of storage nodes grow from 10Gi to 20Gi");
    }

    #[test]
    fn a_node_with_another_claim_has_another_volume() {
        let bound = |claim: &str| status(VolumePhase::Bound, "20Gi", claim);
        let told = |was: &str, is: &str| told(Some(&bound(was)), &bound(is));
        let replaced = told("c1", "c2");
        assert_eq!(replaced[0].0, "VolumeReplaced");
        assert!(
            replaced[0].1.starts_with("storage node s-0 has another volume"),
            "{replaced:?}"
        );
        assert!(told("c1", "c1").is_empty());
        assert!(told("", "c1").is_empty());
    }
}
