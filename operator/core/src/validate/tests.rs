//! What becomes of a resource, and what is wrong with one.

use serde_json::{Value, json};

use super::*;

fn cluster(spec: Value) -> api::MqttCluster {
    let mut resource = json!({
        "apiVersion": "freshet.dev/v1alpha1",
        "kind": "MqttCluster",
        "metadata": {"name": "prod", "namespace": "iot", "uid": "u-1"},
    });
    resource["spec"] = spec;
    serde_json::from_value(resource).expect("a resource")
}

fn images() -> DefaultImages {
    DefaultImages {
        proxy: "freshet/proxy:1.0.0".into(),
        storage: "registry:5000/freshet/storage@sha256:aa".into(),
    }
}

fn valid(spec: Value) -> ValidatedCluster {
    validate(&cluster(spec), &images()).expect("valid")
}

fn problem(spec: Value) -> String {
    validate(&cluster(spec), &images()).expect_err("invalid").to_string()
}

#[test]
fn an_empty_spec_is_a_cluster_with_the_defaults_of_the_processes() {
    let cluster = valid(json!({}));
    assert_eq!(cluster.listeners, vec![ListenerConfig::default()]);
    assert_eq!(cluster.mqtt, MqttConfig::default());
    assert_eq!(cluster.client_limits, ClientLimits::default());
    assert_eq!(cluster.retained_limits, RetainedLimits::default());
    assert_eq!(cluster.authorization, AuthorizationConfig::default());
    assert_eq!((cluster.proxy.replicas, cluster.proxy.workers), (2, 2));
    assert_eq!((cluster.storage.replicas, cluster.storage.shards), (1, 8));
    assert_eq!(cluster.proxy.pods.image, "freshet/proxy:1.0.0");
    assert_eq!(cluster.storage.pods.image, "registry:5000/freshet/storage@sha256:aa");
}

#[test]
fn workers_follow_the_cpu_limit_rounded_up() {
    let workers = |cpu: &str| {
        valid(json!({"proxy": {"resources": {"limits": {"cpu": cpu}}}}))
            .proxy
            .workers
    };
    assert_eq!(
        [workers("200m"), workers("1"), workers("1001m"), workers("4")],
        [1, 1, 2, 4]
    );
    assert_eq!(workers("1000"), WORKERS_MAX);
    assert_eq!(
        valid(json!({"proxy": {"resources": {}}})).proxy.workers,
        DEFAULT_WORKERS
    );
}

#[test]
fn an_image_is_the_default_with_what_the_resource_says_in_its_place() {
    let image = |image: Value| valid(json!({"storage": {"image": image}})).storage.pods.image;
    assert_eq!(image(json!({"tag": "2"})), "registry:5000/freshet/storage:2");
    assert_eq!(image(json!({"repository": "other/storage"})), "other/storage");
    assert_eq!(
        image(json!({"repository": "other/storage", "tag": "2"})),
        "other/storage:2"
    );
    assert_eq!(
        image(json!({"tag": "2", "digest": "sha256:bb"})),
        "registry:5000/freshet/storage@sha256:bb"
    );
    let proxy = valid(json!({"proxy": {"image": {"repository": "other/proxy"}}}))
        .proxy
        .pods
        .image;
    assert_eq!(proxy, "other/proxy:1.0.0");
}

#[test]
fn keep_alives_shorter_than_a_second_are_not_none() {
    let keep_alive = |text: &str| {
        valid(json!({"limits": {"client": {"maxKeepAlive": text}}}))
            .client_limits
            .max_keep_alive_s
    };
    assert_eq!([keep_alive("0s"), keep_alive("500ms"), keep_alive("4m")], [0, 1, 240]);
}

#[test]
fn a_volume_is_there_unless_memory_is_asked_for() {
    let volume = |volume: Value| valid(json!({"storage": {"volume": volume}})).storage.volume;
    let volume_of = |size: &str, size_bytes: u64| ValidatedVolume {
        size: size.to_owned(),
        size_bytes,
        storage_class: None,
        expand: true,
    };
    assert_eq!(valid(json!({})).storage.volume, Some(volume_of("10Gi", 10 << 30)));
    assert_eq!(volume(json!({"size": "2G"})), Some(volume_of("2G", 2_000_000_000)));
    let named = volume(json!({"storageClassName": "fast", "expand": false})).expect("a volume");
    assert_eq!((named.storage_class.as_deref(), named.expand), (Some("fast"), false));
    assert_eq!(volume(json!({"medium": "Memory"})), None);
    assert!(
        problem(json!({"storage": {"volume": {"medium": "Memory", "size": "much"}}}))
            .contains("spec.storage.volume.size")
    );
}

#[test]
fn every_problem_is_named_with_its_field() {
    let problem = problem(json!({
        "proxy": {"drain": {"timeout": "soon"}, "podTemplate": {"spce": {}, "x": 1}},
        "storage": {"shards": 70000, "placement": {"rules": ["a/+"]}},
        "limits": {"client": {"maxPacket": "5Gi"}},
        "authorization": {"rules": [
            {"effect": "Deny", "actions": ["Publish"], "filters": ["a/#", "a/#/b"]},
            {"effect": "Deny", "actions": ["Publish"], "filters": ["$share/g/a"]},
        ]},
    }));
    for field in [
        "spec.proxy.drain.timeout",
        "spec.proxy.podTemplate",
        "spec.storage.shards",
        "spec.storage.placement",
        "spec.limits.client.maxPacket",
        "spec.authorization.rules[0].filters",
        "spec.authorization.rules[1].filters",
    ] {
        assert!(problem.contains(&format!("{field}: ")), "{field} in {problem}");
    }
}

#[test]
fn listeners_share_neither_ports_nor_names_and_leave_the_reserved_ports() {
    for listeners in [
        json!([{"name": "x", "port": 1}, {"name": "a", "port": 1}]),
        json!([{"name": "a", "port": 1}, {"name": "a", "port": 2}]),
        json!([{"name": "a", "port": 8080}]),
        json!([{"name": "a", "port": 0}]),
    ] {
        assert!(
            problem(json!({"listeners": listeners})).starts_with("spec.listeners[a]: "),
            "{listeners}"
        );
    }
}

#[test]
fn a_resource_that_no_server_has_stored_has_no_owner_to_give() {
    let mut cluster = cluster(json!({}));
    cluster.metadata.uid = None;
    assert!(
        validate(&cluster, &images())
            .expect_err("invalid")
            .to_string()
            .contains("metadata.uid")
    );
}

#[test]
fn problems_are_listed_with_their_fields() {
    let mut nameless = cluster(json!({"proxy": {"drain": {"timeout": "soon"}}}));
    nameless.metadata.name = Some(String::new());
    let invalid = validate(&nameless, &images()).expect_err("invalid");
    let fields: Vec<&str> = invalid.problems().iter().map(|(field, _)| field.as_str()).collect();
    assert!(fields.contains(&"metadata.name"), "{fields:?}");
    assert!(
        invalid
            .problems()
            .iter()
            .all(|(field, problem)| invalid.to_string().contains(&format!("{field}: {problem}"))),
        "{invalid}"
    );
    let named = |name: String| {
        let mut cluster = cluster(json!({}));
        cluster.metadata.name = Some(name);
        validate(&cluster, &images()).is_ok()
    };
    assert!(named("n".repeat(api::NAME_MAX_CHARS)) && !named("n".repeat(api::NAME_MAX_CHARS + 1)));
}
