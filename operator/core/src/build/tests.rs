//! The rendered children of fixed resources. A change here is a change of what runs in every new cluster: it belongs into
//! the changelog. A changed pod template reaches clusters that run when they ask for it, and not before (`crate::keep`);
//! everything else reaches them at once, and must not move a client.
//!
//! `UPDATE_GOLDEN=1 cargo test -p freshet-operator-core` writes the files anew.

use std::fmt::Write as _;
use std::path::Path;

use freshet_operator_api::MqttCluster;
use serde_json::{Value, json};

use super::*;
use crate::names;
use crate::observe::{Observed, ProxyPod, StorageSet};
use crate::plan::keep_serving;
use crate::validate::{DefaultImages, validate};

fn cluster(resource: &str) -> ValidatedCluster {
    let resource: MqttCluster = serde_saphyr::from_str(resource).expect("a resource");
    let images = DefaultImages {
        proxy: "freshet/proxy:0.1.0".into(),
        storage: "freshet/storage:0.1.0".into(),
    };
    validate(&resource, &images).expect("a valid resource")
}

fn rendered(cluster: &ValidatedCluster) -> String {
    let children = build_children(cluster);
    let deployment = proxy_deployment(cluster, &children.proxy_revision, cluster.proxy.replicas);
    let serving = (0..cluster.proxy.replicas).map(|index| ProxyPod::serving(&index.to_string(), "a"));
    let observed = Observed {
        proxies: serving.collect(),
        ..Observed::default()
    };
    let plan = keep_serving(&observed, None);
    let budget = build_disruption_budget(cluster, min_available(&observed, &plan, cluster.proxy.replicas, true));
    let objects: [Value; 9] = [
        json!(children.proxy_account),
        json!(children.storage_account),
        json!(children.config_map),
        json!(children.client_service),
        json!(children.all_proxies_service),
        json!(children.storage_service),
        json!(children.storage),
        json!(deployment),
        json!(budget),
    ];
    let mut text = format!(
        "# proxy revision {}, hash of proxy.json {}, hash of storage.json {}\n",
        children.proxy_revision, children.proxy_config_hash, children.storage_config_hash
    );
    for object in &objects {
        let yaml = serde_saphyr::to_string(object).expect("YAML");
        write!(text, "---\n{yaml}").expect("a text grows");
    }
    text
}

fn assert_golden(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let resource = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).expect("the resource");
    let path = folder.join(format!("{name}.children.yaml"));
    let rendered = rendered(&cluster(&resource));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &rendered).expect("write");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        rendered == golden,
        "{} is not what is built now; if that is meant, run with UPDATE_GOLDEN=1, and say in the changelog what is new",
        path.display()
    );
}

#[test]
fn the_children_of_an_empty_spec_are_what_they_were() {
    assert_golden("empty");
}

#[test]
fn the_children_of_a_full_spec_are_what_they_were() {
    assert_golden("full");
}

const RESOURCE: &str = "
metadata: {name: prod, namespace: iot, uid: u-1}
spec: {}
";

fn with_spec(spec: &str) -> ValidatedCluster {
    cluster(&RESOURCE.replace("spec: {}", spec))
}

#[test]
fn what_processes_take_up_makes_no_new_revision() {
    let base = build_children(&cluster(RESOURCE)).proxy_revision;
    for spec in [
        "spec: {proxy: {replicas: 5}}",
        "spec: {proxy: {warm: {min: 5}}}",
        // Raised in place.
        "spec: {proxy: {resources: {requests: {cpu: 700m, memory: 600Mi}, limits: {cpu: 2, memory: 1Gi}}}}",
        "spec: {proxy: {drain: {linger: 1s}}}",
        "spec: {listeners: [{name: a, port: 80}]}",
        "spec: {service: {type: NodePort}}",
        "spec: {mqtt: {receiveMaximum: 1}}",
        "spec: {limits: {client: {maxPacket: 2Mi}}}",
        "spec: {observability: {logLevel: trace}}",
        "spec: {storage: {image: {tag: x}}}",
        "spec: {paused: true}",
    ] {
        assert_eq!(build_children(&with_spec(spec)).proxy_revision, base, "{spec}");
    }
}

#[test]
fn what_needs_new_pods_makes_a_new_revision() {
    let base = build_children(&cluster(RESOURCE)).proxy_revision;
    for spec in [
        "spec: {proxy: {image: {tag: x}}}",
        "spec: {proxy: {image: {pullPolicy: Always}}}",
        "spec: {proxy: {resources: {limits: {cpu: 3}}}}",
        "spec: {proxy: {warm: {reserve: true}}}",
        "spec: {proxy: {warm: {requests: {cpu: 10m, memory: 96Mi}}}}",
        "spec: {proxy: {drain: {timeout: 1s}}}",
        "spec: {proxy: {scheduling: {unreachableAfter: 1s}}}",
        "spec: {proxy: {podTemplate: {metadata: {annotations: {a: b}}}}}",
        "spec: {imagePullSecrets: [{name: x}]}",
    ] {
        assert_ne!(build_children(&with_spec(spec)).proxy_revision, base, "{spec}");
    }
    let restarted = RESOURCE.replace("uid: u-1", "uid: u-1, annotations: {freshet.dev/restart: now}");
    assert_ne!(build_children(&cluster(&restarted)).proxy_revision, base);
}

#[test]
fn a_proxy_that_waits_has_the_arguments_and_limits_of_one_that_serves() {
    let container = |spec: &str| {
        let cluster = with_spec(spec);
        let children = build_children(&cluster);
        let deployment = proxy_deployment(&cluster, &children.proxy_revision, 1);
        let spec = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
        (
            spec.containers.into_iter().next().expect("a container"),
            children.active_requests,
        )
    };
    let (mut waits, active) = container("spec: {}");
    let (serves, of_reserved) = container("spec: {proxy: {warm: {reserve: true}}}");
    assert_eq!(active, of_reserved);
    let resources = waits.resources.as_mut().expect("resources");
    assert_eq!(
        resources
            .requests
            .as_ref()
            .and_then(|all| all.get("cpu"))
            .expect("a request")
            .0,
        "50m"
    );
    resources.requests = Some(active);
    assert_eq!(waits, serves);
}

#[test]
fn files_are_told_apart_by_their_hashes() {
    let base = build_children(&cluster(RESOURCE));
    let changed = build_children(&with_spec("spec: {limits: {cluster: {retainedMessages: 1}}}"));
    assert_ne!(changed.storage_config_hash, base.storage_config_hash);
    assert_eq!(changed.proxy_config_hash, base.proxy_config_hash);
}

#[test]
fn a_stateful_set_that_is_there_keeps_the_size_of_its_claims() {
    let built = |size: &str| {
        let spec = format!("spec: {{storage: {{volume: {{size: {size}}}}}}}");
        build_children(&with_spec(&spec)).storage
    };
    let there = StorageSet {
        claim_size: Some("10Gi".to_owned()),
        ..StorageSet::default()
    };
    let mut set = built("20Gi");
    keep_claim_size(&mut set, None);
    assert_eq!(set, built("20Gi"));
    keep_claim_size(&mut set, Some(&there));
    assert_eq!(set, built("10Gi"));
}

#[test]
fn a_node_in_memory_has_neither_a_claim_nor_a_folder() {
    let set = build_children(&with_spec("spec: {storage: {volume: {medium: Memory}}}")).storage;
    let rendered = json!(set).to_string();
    for absent in [
        "volumeClaimTemplates",
        "persistentVolumeClaimRetentionPolicy",
        "--data-dir",
        names::DATA_MOUNT,
    ] {
        assert!(!rendered.contains(absent), "{absent} in {rendered}");
    }
}

#[test]
fn services_select_by_role_and_deployments_never_do() {
    let cluster = cluster(RESOURCE);
    let children = build_children(&cluster);
    let deployment = proxy_deployment(&cluster, &children.proxy_revision, 2);
    let deployment = deployment.spec.expect("a spec");
    let pod_labels = deployment
        .template
        .metadata
        .and_then(|meta| meta.labels)
        .expect("labels");
    let selector = deployment.selector.match_labels.expect("labels");
    assert!(selector.iter().all(|(key, value)| pod_labels.get(key) == Some(value)));
    assert!(!selector.contains_key(crate::labels::ROLE) && !selector.contains_key(crate::labels::ACCEPTING));
    let selector_of = |service: Service| service.spec.and_then(|spec| spec.selector).expect("a selector");
    assert!(selector_of(children.client_service).contains_key(crate::labels::ACCEPTING));
    let all = selector_of(children.all_proxies_service);
    assert!(
        all.iter().all(|(key, value)| pod_labels.get(key) == Some(value)),
        "it selects every proxy"
    );
}

#[test]
fn names_of_children_and_of_what_kubernetes_makes_of_them_stay_within_63_characters() {
    let name = "a".repeat(freshet_operator_api::NAME_MAX_CHARS);
    let cluster = cluster(&RESOURCE.replace("name: prod", &format!("name: {name}")));
    let children = build_children(&cluster);
    let deployment = proxy_deployment(&cluster, &children.proxy_revision, 2);
    let set = children.storage.metadata.name.expect("a name");
    // A StatefulSet's pods carry `<set>-<hash of ten>` as a label.
    assert!(set.len() + 11 <= 63);
    assert!(deployment.metadata.name.expect("a name").len() <= 63);
    assert!(children.storage_service.metadata.name.expect("a name").len() <= 63);
    assert!(children.all_proxies_service.metadata.name.expect("a name").len() <= 63);
}

#[test]
fn an_overlay_is_laid_over_the_template_and_keeps_the_rest() {
    let cluster = with_spec(
        "spec: {proxy: {podTemplate: {spec: {runtimeClassName: gvisor, containers: [
            {name: proxy, env: [{name: RUST_BACKTRACE, value: '1'}]}, {name: sidecar, image: x}]}}}}",
    );
    let deployment = proxy_deployment(&cluster, "r", 1);
    let spec = deployment.spec.and_then(|spec| spec.template.spec).expect("a pod");
    assert_eq!(spec.runtime_class_name.as_deref(), Some("gvisor"));
    let names: Vec<&str> = spec
        .containers
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    assert_eq!(names, ["proxy", "sidecar"]);
    let env: Vec<&str> = spec.containers[0]
        .env
        .iter()
        .flatten()
        .map(|env| env.name.as_str())
        .collect();
    assert_eq!(env, ["POD_NAME", "POD_NAMESPACE", "POD_UID", "RUST_BACKTRACE"]);
    assert_eq!(spec.containers[0].image.as_deref(), Some("freshet/proxy:0.1.0"));
}

#[test]
fn what_a_load_balancer_is_told_is_told_to_nothing_else() {
    let told = |type_: &str, class: &str, ranges: &str| {
        let resource = format!(
            "{{apiVersion: freshet.dev/v1alpha1, kind: MqttCluster, metadata: {{name: prod, namespace: iot, uid: u}}, \
             spec: {{service: {{type: {type_}, loadBalancerClass: '{class}', loadBalancerSourceRanges: [{ranges}]}}}}}}"
        );
        let spec = build_children(&cluster(&resource)).client_service.spec.expect("a spec");
        (spec.load_balancer_class, spec.load_balancer_source_ranges)
    };
    let range = || vec!["192.0.2.0/24".to_owned()];
    assert_eq!(
        told("LoadBalancer", "example.org/lb", "192.0.2.0/24"),
        (Some("example.org/lb".to_owned()), Some(range()))
    );
    assert_eq!(told("LoadBalancer", "", ""), (None, None));
    assert_eq!(told("NodePort", "example.org/lb", "192.0.2.0/24"), (None, None));
}
