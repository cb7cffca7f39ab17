//! What is said of the volumes of the storage nodes.

use freshet_operator_api::VolumePhase;

use super::*;

fn with_volume(phase: ClaimPhase) -> Observed {
    let mut observed = settled();
    observed.storage_claims[0].phase = phase;
    observed
}

fn phase(status: &MqttClusterStatus) -> Option<VolumePhase> {
    status.storage.volume.as_ref().map(|volume| volume.phase)
}

#[test]
fn a_bound_volume_is_as_asked_for_and_its_claim_is_remembered() {
    let status = status_of(json!({}), REVISION, &with_volume(ClaimPhase::Bound), None, 0);
    assert_eq!(said(&status, ConditionType::VolumeDegraded), ("False", "AsAsked"));
    assert_eq!(phase(&status), Some(VolumePhase::Bound));
    assert_eq!(status.storage.nodes[0].claim, "c");
    // While the claim is not seen, what was seen of it holds: the next one must be told from it.
    let mut away = with_volume(ClaimPhase::Bound);
    away.storage_claims.clear();
    let status = status_of(json!({}), REVISION, &away, Some(&status), 1);
    assert_eq!(status.storage.nodes[0].claim, "c");
}

#[test]
fn a_claim_that_waits_is_in_progress_for_a_minute_and_degraded_from_then_on() {
    let observed = with_volume(ClaimPhase::Pending);
    let began = status_of(json!({}), REVISION, &observed, None, 0);
    assert_eq!(said(&began, ConditionType::VolumeDegraded), ("False", "InProgress"));
    let later = status_of(json!({}), REVISION, &observed, Some(&began), 60);
    assert_eq!(said(&later, ConditionType::VolumeDegraded), ("True", "ClaimPending"));
}

#[test]
fn a_refused_growth_is_told_and_the_cluster_serves_on() {
    let observed = with_volume(ClaimPhase::Bound);
    let given = Given {
        refused_resizes: RefusedResizes::from([("c".to_owned(), "exceeded quota: disks".to_owned())]),
        ..Given::of(REVISION, &observed)
    };
    let status = given.status(json!({"storage": {"volume": {"size": "20Gi"}}}));
    assert_eq!(
        said(&status, ConditionType::VolumeDegraded),
        ("True", "ExpansionRefused")
    );
    assert_eq!(said(&status, ConditionType::Ready), ("True", "AllServing"));
    assert_eq!(said(&status, ConditionType::Degraded), ("False", "AsAsked"));
}

#[test]
fn storage_in_memory_says_so() {
    let spec = json!({"storage": {"volume": {"medium": "Memory"}}});
    // A claim of an earlier cluster of the same name is nobody's.
    let observed = Observed {
        storage_set: Some(StorageSet::default()),
        ..settled()
    };
    let status = status_of(spec, REVISION, &observed, None, 0);
    assert_eq!(said(&status, ConditionType::VolumeDegraded), ("False", "InMemory"));
    assert_eq!(phase(&status), Some(VolumePhase::Memory));
    assert_eq!(status.storage.nodes[0].claim, "");
}

#[test]
fn what_was_found_of_volumes_holds_while_the_resource_cannot_be_built() {
    let lost = status_of(json!({}), REVISION, &with_volume(ClaimPhase::Lost), None, 0);
    let why = "StatefulSet prod-storage was made without volumes";
    let status = blocked("MediumMismatch", why, &settled(), Some(&lost));
    assert_eq!(said(&status, ConditionType::VolumeDegraded), ("True", "ClaimLost"));
    assert_eq!(phase(&status), Some(VolumePhase::Lost));
    assert_eq!(said(&status, ConditionType::Stalled), ("True", "MediumMismatch"));
}
