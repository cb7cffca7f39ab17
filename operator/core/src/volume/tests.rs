//! What is found of a volume in each situation, and which claims are to grow.

use freshet_operator_api::MqttCluster;
use serde_json::{Value, json};

use super::*;
use crate::observe::{ClaimSize, PodFacts, StoragePod, StorageSet};
use crate::validate::{DefaultImages, validate};

const POD: &str = "prod-storage-0";

fn cluster(spec: &Value) -> ValidatedCluster {
    let resource: MqttCluster = serde_json::from_value(json!({
        "apiVersion": "freshet.dev/v1alpha1",
        "kind": "MqttCluster",
        "metadata": {"name": "prod", "namespace": "iot", "uid": "u"},
        "spec": spec,
    }))
    .expect("a resource");
    let images = DefaultImages {
        proxy: "p:1".into(),
        storage: "s:1".into(),
    };
    validate(&resource, &images).expect("valid")
}

/// A cluster whose volumes are to have 20Gi.
fn twenty() -> ValidatedCluster {
    cluster(&json!({"storage": {"volume": {"size": "20Gi"}}}))
}

fn gib(gib: u64) -> Option<ClaimSize> {
    Some(ClaimSize {
        text: format!("{gib}Gi"),
        bytes: gib << 30,
    })
}

fn claim(asked: u64, actual: u64) -> StorageClaim {
    StorageClaim {
        name: "data-prod-storage-0".to_owned(),
        uid: "c".to_owned(),
        resource_version: "7".to_owned(),
        phase: ClaimPhase::Bound,
        is_deleting: false,
        class: Some("fast".to_owned()),
        asked: gib(asked),
        actual: gib(actual),
        growth: None,
    }
}

fn pending() -> StorageClaim {
    StorageClaim {
        phase: ClaimPhase::Pending,
        actual: None,
        ..claim(20, 0)
    }
}

fn with(claim: StorageClaim) -> Observed {
    Observed {
        storage_claims: vec![claim],
        ..Observed::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// What is found at second `now` of volumes that have been in a phase since second 0.
fn judged_later(cluster: &ValidatedCluster, observed: &Observed, refused: Option<&str>, now: i64) -> VolumeVerdict {
    let refused = refused.map(|said| ("c".to_owned(), said.to_owned()));
    let refused = RefusedResizes::from_iter(refused);
    let judge = |previous: Option<&StorageVolumeStatus>, now: i64| {
        judge_volumes(&VolumeInput {
            cluster,
            observed,
            refused: &refused,
            previous,
            now: at(now),
        })
    };
    let first = judge(None, 0);
    judge(Some(&first.status), now)
}

fn judged(cluster: &ValidatedCluster, observed: &Observed) -> VolumeVerdict {
    judged_later(cluster, observed, None, 0)
}

/// Phase and reason, after so many seconds.
fn found(cluster: &ValidatedCluster, claim: StorageClaim, after: i64) -> (VolumePhase, Option<String>) {
    let verdict = judged_later(cluster, &with(claim), None, after);
    (verdict.status.phase, verdict.trouble.map(|trouble| trouble.reason))
}

fn some(reason: &str) -> Option<String> {
    Some(reason.to_owned())
}

#[test]
fn without_a_word_about_it_a_node_has_a_volume_and_in_memory_it_has_none() {
    let bare = cluster(&json!({}));
    let verdict = judged(&bare, &with(claim(10, 10)));
    assert_eq!(verdict.status.phase, VolumePhase::Bound);
    assert_eq!(
        (verdict.status.requested.as_str(), verdict.status.actual.as_str()),
        ("10Gi", "10Gi")
    );
    let in_memory = cluster(&json!({"storage": {"volume": {"medium": "Memory"}}}));
    // Of an earlier cluster of the same name.
    let verdict = judged(&in_memory, &with(claim(10, 10)));
    assert_eq!(verdict.status.phase, VolumePhase::Memory);
    assert_eq!((verdict.status.requested.as_str(), verdict.trouble), ("", None));
    assert_eq!(plan_growth(&in_memory, &with(claim(1, 1))), []);
}

#[test]
fn a_claim_without_a_volume_is_told_after_a_minute_with_its_class_and_what_the_scheduler_says() {
    assert_eq!(found(&twenty(), pending(), 59), (VolumePhase::Pending, None));
    let mut node = PodFacts::ready(POD);
    node.is_ready = false;
    node.trouble = Some(trouble("Unschedulable", "no node has room".to_owned()));
    let observed = Observed {
        storage_pods: vec![StoragePod {
            pod: node,
            revision: String::new(),
        }],
        ..with(pending())
    };
    let told = judged_later(&twenty(), &observed, None, 60)
        .trouble
        .expect("it is told");
    assert_eq!(told.reason, "ClaimPending");
    for part in [
        "data-prod-storage-0",
        "StorageClass fast",
        "pod prod-storage-0: Unschedulable: no node has room",
    ] {
        assert!(told.message.contains(part), "{}", told.message);
    }
}

#[test]
fn a_claim_that_is_not_seen_is_told_after_a_minute_with_the_labels_it_should_have() {
    let told = judged_later(&twenty(), &Observed::default(), None, 60);
    assert_eq!(told.status.phase, VolumePhase::Pending);
    let told = told.trouble.expect("it is told");
    assert_eq!(told.reason, "ClaimMissing");
    assert!(
        told.message.contains("app.kubernetes.io/managed-by=freshet-operator"),
        "{}",
        told.message
    );
    // One of an ordinal that is not asked for is another one's.
    let mut other = claim(20, 20);
    other.name = "data-prod-storage-1".to_owned();
    assert_eq!(
        found(&twenty(), other, 60),
        (VolumePhase::Pending, some("ClaimMissing"))
    );
}

#[test]
fn a_kubernetes_without_a_default_storage_class_is_told_at_once() {
    let classless = StorageClaim {
        class: None,
        ..pending()
    };
    assert_eq!(
        found(&twenty(), classless, 0),
        (VolumePhase::Pending, some("NoStorageClass"))
    );
}

#[test]
fn a_lost_volume_and_a_deleted_claim_are_told_at_once() {
    let lost = StorageClaim {
        phase: ClaimPhase::Lost,
        ..claim(20, 20)
    };
    assert_eq!(found(&twenty(), lost, 0), (VolumePhase::Lost, some("ClaimLost")));
    let deleted = StorageClaim {
        is_deleting: true,
        ..claim(10, 10)
    };
    assert_eq!(
        found(&twenty(), deleted.clone(), 0),
        (VolumePhase::Deleting, some("ClaimDeleted"))
    );
    assert_eq!(plan_growth(&twenty(), &with(deleted)), []);
}

#[test]
fn a_claim_that_asks_for_too_little_is_to_grow_once_it_has_a_volume() {
    let grow = StorageAction::Grow {
        claim: "data-prod-storage-0".to_owned(),
        uid: "c".to_owned(),
        resource_version: "7".to_owned(),
        size: "20Gi".to_owned(),
    };
    assert_eq!(plan_growth(&twenty(), &with(claim(10, 10))), [grow]);
    assert_eq!(found(&twenty(), claim(10, 10), 0), (VolumePhase::Expanding, None));
    let small = StorageClaim {
        asked: gib(10),
        ..pending()
    };
    assert_eq!(plan_growth(&twenty(), &with(small)), []);
    // Asked for already; asked for more by hand; bound to a volume that is larger anyway.
    for enough in [claim(20, 10), claim(30, 30), claim(10, 50)] {
        assert_eq!(plan_growth(&twenty(), &with(enough.clone())), [], "{enough:?}");
    }
    assert_eq!(found(&twenty(), claim(10, 50), 0), (VolumePhase::Bound, None));
}

#[test]
fn a_size_in_other_words_is_the_same_size() {
    let cluster = cluster(&json!({"storage": {"volume": {"size": "20480Mi"}}}));
    assert_eq!(plan_growth(&cluster, &with(claim(20, 20))), []);
    assert_eq!(found(&cluster, claim(20, 20), 0), (VolumePhase::Bound, None));
}

#[test]
fn a_growth_that_takes_long_is_told_and_so_is_a_file_system_that_stays_small() {
    assert_eq!(found(&twenty(), claim(20, 10), 599), (VolumePhase::Expanding, None));
    assert_eq!(
        found(&twenty(), claim(20, 10), 600),
        (VolumePhase::Expanding, some("ExpansionSlow"))
    );
    let waits = StorageClaim {
        growth: Some(Growth::FileSystemPending),
        ..claim(20, 10)
    };
    assert_eq!(
        found(&twenty(), waits.clone(), 599),
        (VolumePhase::FileSystemPending, None)
    );
    let told = judged_later(&twenty(), &with(waits), None, 600)
        .trouble
        .expect("it is told");
    assert_eq!(told.reason, "FileSystemNotGrown");
    assert!(told.message.contains("delete pod prod-storage-0"), "{}", told.message);
}

#[test]
fn what_refuses_more_is_quoted_the_api_server_and_the_driver() {
    let observed = with(claim(10, 10));
    let verdict = judged_later(&twenty(), &observed, Some("exceeded quota: disks"), 0);
    assert_eq!(verdict.status.phase, VolumePhase::ExpansionRefused);
    let told = verdict.trouble.expect("it is told");
    assert_eq!(told.reason, "ExpansionRefused");
    assert!(
        told.message.ends_with("from 10Gi to 20Gi: exceeded quota: disks"),
        "{}",
        told.message
    );
    // What was said before it was let grow says nothing any more.
    let verdict = judged_later(&twenty(), &with(claim(20, 10)), Some("exceeded quota: disks"), 0);
    assert_eq!((verdict.status.phase, verdict.trouble), (VolumePhase::Expanding, None));

    let failed = StorageClaim {
        growth: Some(Growth::Failed("the disk is too old".to_owned())),
        ..claim(20, 10)
    };
    let told = judged(&twenty(), &with(failed)).trouble.expect("it is told");
    assert_eq!(told.reason, "ExpansionFailed");
    assert!(told.message.ends_with("the disk is too old"), "{}", told.message);
}

#[test]
fn where_the_operator_may_not_somebody_else_has_to_and_is_told_which_claim() {
    let by_hand = cluster(&json!({"storage": {"volume": {"size": "20Gi", "expand": false}}}));
    assert_eq!(plan_growth(&by_hand, &with(claim(10, 10))), []);
    let verdict = judged(&by_hand, &with(claim(10, 10)));
    assert_eq!(verdict.status.phase, VolumePhase::TooSmall);
    let told = verdict.trouble.expect("it is told");
    assert_eq!(told.reason, "ExpansionOff");
    assert!(
        told.message.starts_with("claim data-prod-storage-0 asks for 10Gi"),
        "{}",
        told.message
    );
    // Somebody did.
    assert_eq!(found(&by_hand, claim(20, 10), 0), (VolumePhase::Expanding, None));
}

#[test]
fn a_paused_cluster_has_small_volumes_for_as_long_and_nobody_is_told() {
    let paused = cluster(&json!({"paused": true, "storage": {"volume": {"size": "20Gi"}}}));
    assert_eq!(found(&paused, claim(10, 10), 9999), (VolumePhase::TooSmall, None));
}

#[test]
fn a_phase_lasts_from_its_beginning_and_is_looked_at_again_when_it_has_lasted_too_long() {
    let began = judged(&twenty(), &with(pending())).status;
    assert_eq!(began.since, Some(Time(at(0))));
    let later = judged_later(&twenty(), &with(pending()), None, 20).status;
    assert_eq!(later, began);
    assert_eq!(look_again_after(Some(&later), at(20)), Some(Duration::from_secs(40)));
    assert_eq!(look_again_after(Some(&later), at(60)), None);
    assert_eq!(look_again_after(None, at(0)), None);
    let bound = judge_volumes(&VolumeInput {
        cluster: &twenty(),
        observed: &with(claim(20, 20)),
        refused: &RefusedResizes::new(),
        previous: Some(&later),
        now: at(30),
    });
    assert_eq!(bound.status.since, Some(Time(at(30))));
    assert_eq!(look_again_after(Some(&bound.status), at(30)), None);
}

#[test]
fn a_clock_that_went_back_makes_nothing_late() {
    assert_eq!(found(&twenty(), pending(), -1000), (VolumePhase::Pending, None));
}

#[test]
fn a_stateful_set_that_was_made_for_another_medium_is_to_be_deleted_by_somebody() {
    let there = |has_volume: bool| Observed {
        storage_set: Some(StorageSet {
            has_volume,
            ..StorageSet::default()
        }),
        ..Observed::default()
    };
    let said = medium_mismatch(&twenty(), &there(false)).expect("it does not fit");
    assert!(
        said.contains("StatefulSet prod-storage was made without volumes"),
        "{said}"
    );
    assert!(said.contains("what is in the memory of its pods is lost"), "{said}");
    assert_eq!(medium_mismatch(&twenty(), &there(true)), None);
    assert_eq!(medium_mismatch(&twenty(), &Observed::default()), None);
    let in_memory = cluster(&json!({"storage": {"volume": {"medium": "Memory"}}}));
    assert_eq!(medium_mismatch(&in_memory, &there(false)), None);
    let said = medium_mismatch(&in_memory, &there(true)).expect("it does not fit");
    assert!(said.contains("was made with volumes"), "{said}");
}
