//! Upgrades of the operator, one situation each: what is kept, what is taken, and what is said.

use serde_json::{Value, json};

use super::*;
use crate::build::build_children;
use crate::observe::{PodFacts, ProxyPod};
use crate::requests::Requests;
use crate::trouble::Trouble;
use crate::validate::validate;

/// An operator: its images, and a mark that stands for how it builds pod templates.
struct Operator {
    images: DefaultImages,
    template: &'static str,
}

fn operator(version: &str) -> Operator {
    Operator {
        images: DefaultImages {
            proxy: format!("proxy:{version}").as_str().into(),
            storage: format!("storage:{version}").as_str().into(),
        },
        template: "",
    }
}

fn resource(annotations: Value, spec: Value) -> MqttCluster {
    let mut resource = json!({
        "apiVersion": "freshet.dev/v1alpha1",
        "kind": "MqttCluster",
        "metadata": {"name": "prod", "namespace": "iot", "uid": "u"},
    });
    resource["metadata"]["annotations"] = annotations;
    resource["spec"] = spec;
    serde_json::from_value(resource).expect("a resource")
}

/// What an operator would run, and what it decides to keep of what is there.
struct Decided {
    cluster: ValidatedCluster,
    children: Children,
    keep: Keep,
}

fn decide(operator: &Operator, resource: &MqttCluster, observed: &Observed) -> Decided {
    let defaults = choose_defaults(resource, observed, None, &operator.images);
    let cluster = validate(resource, &defaults).expect("valid");
    let mut children = build_children(&cluster);
    children.proxy_revision.push_str(operator.template);
    children.storage_revision.push_str(operator.template);
    let keep = decide_keep(&KeepInput {
        resource,
        cluster: &cluster,
        children: &children,
        observed,
        served_last: None,
        offered: &operator.images,
        version: "2",
    });
    Decided {
        cluster,
        children,
        keep,
    }
}

/// The children as they are once they were applied, and a proxy of the revision serves.
fn applied(decided: &Decided) -> Observed {
    let revision = decided.keep.proxy_revision.clone();
    let cluster = &decided.cluster;
    Observed {
        proxies: vec![ProxyPod::serving("p", &revision)],
        deployments: vec![ProxyDeployment {
            name: format!("prod-proxy-{revision}"),
            uid: "d".to_owned(),
            resource_version: "1".to_owned(),
            revision,
            record: cluster.proxy.pods.record.clone(),
            created_s: 0,
            replicas: 1,
            available: 1,
            pods: 1,
            birth_requests: Requests::default(),
            is_deleting: false,
            trouble: None,
        }],
        storage_pods: vec![StoragePod {
            pod: PodFacts::ready("s"),
            revision: "s1".to_owned(),
        }],
        storage_set: Some(StorageSet {
            revision: decided.children.storage_revision.clone(),
            record: cluster.storage.pods.record.clone(),
            replicas: 1,
            ..StorageSet::default()
        }),
        ..Observed::default()
    }
}

/// A cluster that an operator of version 1 has made from `spec`.
fn running(spec: Value) -> (MqttCluster, Observed) {
    let resource = resource(Value::Null, spec);
    let observed = applied(&decide(&operator("1"), &resource, &Observed::default()));
    (resource, observed)
}

fn images(decided: &Decided) -> [&str; 2] {
    [&decided.cluster.proxy.pods.image, &decided.cluster.storage.pods.image]
}

#[test]
fn a_new_cluster_takes_the_images_of_the_operator_and_misses_nothing() {
    let decided = decide(&operator("1"), &resource(Value::Null, json!({})), &Observed::default());
    assert_eq!(images(&decided), ["proxy:1", "storage:1"]);
    assert_eq!(decided.keep.proxy_revision, decided.children.proxy_revision);
    assert!(!decided.keep.keeps_proxies && !decided.keep.keeps_storage);
    assert_eq!(decided.keep.newer, None);
}

#[test]
fn an_operator_with_other_images_changes_nothing_and_says_what_it_has() {
    let (resource, observed) = running(json!({}));
    let before = &observed.deployments[0].revision;
    let decided = decide(&operator("2"), &resource, &observed);
    assert_eq!(images(&decided), ["proxy:1", "storage:1"]);
    assert_eq!(decided.keep.proxy_revision, *before);
    assert!(!decided.keep.keeps_proxies, "it would build the very same");
    let newer = decided.keep.newer.expect("something is newer");
    for part in [
        "proxies: proxy:1, this operator brings proxy:2",
        "storage: storage:1, this operator brings storage:2",
        "kubectl annotate mqc/prod freshet.dev/upgrade=2 --overwrite",
        "every client reconnects once",
        "and the storage node restarts",
    ] {
        assert!(newer.contains(part), "{newer}");
    }
    assert!(!newer.contains("loses"), "{newer}");
}

#[test]
fn what_an_upgrade_takes_from_a_node_in_memory_is_said() {
    let (resource, observed) = running(json!({"storage": {"volume": {"medium": "Memory"}}}));
    let newer = decide(&operator("2"), &resource, &observed)
        .keep
        .newer
        .expect("something is newer");
    assert!(
        newer.contains("restarts, which loses retained messages and sessions"),
        "{newer}"
    );
}

#[test]
fn an_operator_that_builds_other_templates_leaves_those_that_run() {
    let (resource, observed) = running(json!({}));
    let other = Operator {
        template: "-other",
        ..operator("1")
    };
    let decided = decide(&other, &resource, &observed);
    assert_eq!(decided.keep.proxy_revision, observed.deployments[0].revision);
    assert!(decided.keep.keeps_proxies && decided.keep.keeps_storage);
    let newer = decided.keep.newer.expect("something is newer");
    assert!(newer.contains("proxies: another operator's pod template"), "{newer}");

    // What needs new pods anyway takes the new template, for its component alone.
    let mut changed = resource.clone();
    changed.spec.proxy.drain.timeout = "1s".into();
    let decided = decide(&other, &changed, &observed);
    assert!(!decided.keep.keeps_proxies && decided.keep.keeps_storage);
    assert!(decided.keep.proxy_revision.ends_with("-other"));
    assert_eq!(images(&decided), ["proxy:1", "storage:1"], "the images stay");

    // And a change that is taken back finds what served.
    let decided = decide(&other, &resource, &observed);
    assert_eq!(decided.keep.proxy_revision, observed.deployments[0].revision);
}

#[test]
fn a_value_of_the_annotation_takes_what_there_is_and_keeps_that_from_then_on() {
    let (mut resource, observed) = running(json!({}));
    let asked = (labels::UPGRADE.to_owned(), "2".to_owned());
    resource.metadata.annotations = Some(BTreeMap::from([asked]));
    let asked = decide(&operator("2"), &resource, &observed);
    assert_eq!(images(&asked), ["proxy:2", "storage:2"]);
    assert_ne!(asked.keep.proxy_revision, observed.deployments[0].revision);
    assert_eq!(asked.keep.newer, None);

    let upgraded = applied(&asked);
    let later = decide(&operator("3"), &resource, &upgraded);
    assert_eq!(images(&later), ["proxy:2", "storage:2"]);
    assert_eq!(later.keep.proxy_revision, upgraded.deployments[0].revision);
    let newer = later.keep.newer.expect("something is newer");
    assert!(newer.contains("freshet.dev/upgrade=2-"), "another value: {newer}");

    resource.metadata.annotations = None;
    let removed = decide(&operator("3"), &resource, &upgraded);
    assert_eq!(images(&removed), ["proxy:2", "storage:2"]);
    assert_eq!(removed.keep.proxy_revision, upgraded.deployments[0].revision);
}

#[test]
fn an_upgrade_that_brings_nothing_new_replaces_nothing() {
    let (mut resource, observed) = running(json!({}));
    resource.metadata.annotations = Some(BTreeMap::from([(labels::UPGRADE.to_owned(), "x".to_owned())]));
    let decided = decide(&operator("1"), &resource, &observed);
    assert_eq!(decided.keep.proxy_revision, observed.deployments[0].revision);
    let storage = observed.storage_set.expect("a set");
    assert_eq!(decided.children.storage_revision, storage.revision);
}

#[test]
fn an_image_that_the_resource_names_is_taken_at_once_and_is_never_outdated() {
    let (mut resource, observed) = running(json!({}));
    resource.spec.proxy.image.tag = "9".to_owned();
    resource.spec.storage.image.tag = "9".to_owned();
    let decided = decide(&operator("2"), &resource, &observed);
    assert_eq!(images(&decided), ["proxy:9", "storage:9"]);
    assert_ne!(decided.keep.proxy_revision, observed.deployments[0].revision);
    assert_eq!(decided.keep.newer, None);
}

#[test]
fn a_default_that_never_ran_is_put_right_by_the_next() {
    let (resource, mut observed) = running(json!({}));
    let stuck = Some(Trouble {
        reason: "ImagePullBackOff".to_owned(),
        message: "no such image".to_owned(),
    });
    let proxy = &mut observed.proxies[0];
    (proxy.role, proxy.is_accepting, proxy.pod.is_ready) = (None, false, false);
    proxy.pod.trouble.clone_from(&stuck);
    observed.storage_pods[0].pod.is_ready = false;
    observed.storage_pods[0].pod.trouble = stuck;
    let decided = decide(&operator("2"), &resource, &observed);
    assert_eq!(images(&decided), ["proxy:2", "storage:2"]);

    // A storage node that has run before may be stuck for another reason.
    let image = |change: fn(&mut PodFacts)| {
        let mut observed = observed.clone();
        change(&mut observed.storage_pods[0].pod);
        images(&decide(&operator("2"), &resource, &observed))[1].to_owned()
    };
    assert_eq!(image(|pod| pod.restarts = 3), "storage:1");
    assert_eq!(
        image(|pod| pod.last_end = Some("exit code 1 (Error)".to_owned())),
        "storage:1"
    );
    assert_eq!(image(|pod| pod.is_ready = true), "storage:1");
    assert_eq!(image(|pod| pod.trouble = None), "storage:1");
}

#[test]
fn proxies_that_are_away_are_remembered_by_the_revision_that_served_last() {
    let (resource, mut observed) = running(json!({}));
    observed.proxies.clear();
    let served = observed.deployments[0].revision.clone();
    let chosen = choose_defaults(&resource, &observed, Some(&served), &operator("2").images);
    assert_eq!(chosen.proxy.reference, "proxy:1");
    let chosen = choose_defaults(&resource, &observed, None, &operator("2").images);
    assert_eq!(chosen.proxy.reference, "proxy:2");
}

#[test]
fn a_record_comes_back_from_the_annotations_it_was_written_to() {
    for upgrade in [None, Some("2".to_owned())] {
        let record = Record {
            asked: "ab".to_owned(),
            default_image: "proxy:1".to_owned(),
            upgrade,
        };
        let metadata = ObjectMeta {
            annotations: Some(record.annotations()),
            ..ObjectMeta::default()
        };
        assert_eq!(Record::read(&metadata), record);
    }
    assert_eq!(Record::read(&ObjectMeta::default()), Record::default());
}
