//! Storage nodes: tell them of their file, and replace those of an earlier revision, one at a time. Which volumes grow says
//! [`crate::volume`].

use crate::observe::{Observed, StoragePod};

/// The next steps of the storage nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoragePlan {
    /// In the order in which they are carried out.
    pub actions: Vec<StorageAction>,
    /// Pods of an earlier revision that are still there; unknown until the controller has seen the present spec.
    pub outdated: Option<u32>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageAction {
    /// Writes the hash of the file into the pod's annotations, so that the kubelet refreshes the volume.
    Announce {
        /// The pod.
        pod: String,
        /// What the write must still find.
        resource_version: String,
        /// The hash.
        config_hash: String,
    },
    /// Deletes a pod of an earlier revision; the StatefulSet makes a new one.
    Replace {
        /// The pod.
        pod: String,
        /// The life of it that is meant.
        uid: String,
    },
    /// Lets the claim of a volume ask for more.
    Grow {
        /// The claim.
        claim: String,
        /// By which a refusal is remembered.
        uid: String,
        /// What the write must still find.
        resource_version: String,
        /// The size.
        size: String,
    },
}

/// Plans the next steps of the storage nodes.
pub fn plan_storage(observed: &Observed, config_hash: &str) -> StoragePlan {
    let update_revision = observed
        .storage_set
        .as_ref()
        .and_then(|set| set.update_revision.as_deref());
    let is_outdated = |pod: &&StoragePod| update_revision.is_some_and(|revision| pod.revision != revision);
    let outdated: Vec<_> = observed.storage_pods.iter().filter(is_outdated).collect();
    let mut actions: Vec<_> = observed
        .storage_pods
        .iter()
        .filter(|pod| pod.pod.is_ready && !pod.pod.is_deleting && pod.pod.config_hash.as_deref() != Some(config_hash))
        .map(|pod| StorageAction::Announce {
            pod: pod.pod.name.clone(),
            resource_version: pod.pod.resource_version.clone(),
            config_hash: config_hash.to_owned(),
        })
        .collect();
    let is_one_going = observed.storage_pods.iter().any(|pod| pod.pod.is_deleting);
    // One that serves nobody first: a pod stuck on a bad revision must not wait for the others.
    let next = outdated.iter().min_by_key(|pod| pod.pod.is_ready);
    if let Some(next) = next.filter(|_| !is_one_going) {
        let others_are_ready = observed
            .storage_pods
            .iter()
            .all(|pod| pod.pod.is_ready || pod.pod.uid == next.pod.uid);
        if others_are_ready || !next.pod.is_ready {
            actions.push(StorageAction::Replace {
                pod: next.pod.name.clone(),
                uid: next.pod.uid.clone(),
            });
        }
    }
    StoragePlan {
        actions,
        outdated: update_revision.map(|_| u32::try_from(outdated.len()).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{PodFacts, StorageSet};

    fn pod(name: &str, revision: &str, is_ready: bool) -> StoragePod {
        StoragePod {
            pod: PodFacts {
                name: name.to_owned(),
                uid: format!("uid-{name}"),
                resource_version: "7".to_owned(),
                node: None,
                host_ip: None,
                ip: None,
                is_ready,
                is_deleting: false,
                restarts: 0,
                last_end: None,
                config_hash: Some("h".to_owned()),
                created_s: 0,
                trouble: None,
            },
            revision: revision.to_owned(),
        }
    }

    fn observed(pods: Vec<StoragePod>, update_revision: Option<&str>) -> Observed {
        Observed {
            storage_pods: pods,
            storage_set: Some(StorageSet {
                update_revision: update_revision.map(str::to_owned),
                ..StorageSet::default()
            }),
            ..Observed::default()
        }
    }

    fn replaced(observed: &Observed) -> Vec<String> {
        let replaced = |action| match action {
            StorageAction::Replace { pod, .. } => Some(pod),
            _ => None,
        };
        plan_storage(observed, "h")
            .actions
            .into_iter()
            .filter_map(replaced)
            .collect()
    }

    #[test]
    fn nothing_is_done_to_pods_of_the_present_revision() {
        assert_eq!(
            plan_storage(&observed(vec![pod("s-0", "r1", true)], Some("r1")), "h"),
            StoragePlan {
                actions: Vec::new(),
                outdated: Some(0)
            }
        );
    }

    #[test]
    fn a_pod_of_an_earlier_revision_is_replaced_by_its_uid() {
        let plan = plan_storage(&observed(vec![pod("s-0", "r1", true)], Some("r2")), "h");
        let replace = StorageAction::Replace {
            pod: "s-0".to_owned(),
            uid: "uid-s-0".to_owned(),
        };
        assert_eq!(
            plan,
            StoragePlan {
                actions: vec![replace],
                outdated: Some(1)
            }
        );
    }

    #[test]
    fn nothing_is_replaced_before_the_controller_has_seen_the_spec() {
        assert!(replaced(&observed(vec![pod("s-0", "r1", true)], None)).is_empty());
    }

    #[test]
    fn one_at_a_time_is_replaced_and_the_next_when_all_are_ready() {
        let mut two = observed(vec![pod("s-0", "r1", true), pod("s-1", "r1", true)], Some("r2"));
        assert_eq!(replaced(&two), ["s-0"]);
        two.storage_pods[0].pod.is_deleting = true;
        assert!(replaced(&two).is_empty());
        two.storage_pods[0] = pod("s-0", "r2", false);
        assert!(replaced(&two).is_empty());
        two.storage_pods[0] = pod("s-0", "r2", true);
        assert_eq!(replaced(&two), ["s-1"]);
    }

    #[test]
    fn a_pod_stuck_on_a_bad_revision_is_replaced_at_once() {
        let stuck = observed(vec![pod("s-0", "bad", false), pod("s-1", "good", false)], Some("good"));
        assert_eq!(replaced(&stuck), ["s-0"]);
    }

    #[test]
    fn ready_pods_are_told_of_a_changed_file() {
        let plan = plan_storage(
            &observed(vec![pod("s-0", "r1", true), pod("s-1", "r1", false)], Some("r1")),
            "new",
        );
        let announce = StorageAction::Announce {
            pod: "s-0".to_owned(),
            resource_version: "7".to_owned(),
            config_hash: "new".to_owned(),
        };
        assert_eq!(plan.actions, [announce]);
    }
}
