//! What a resource asks of the pods of a component, as one hash: while it stays, running pods are as they were asked for.
//!
//! The hash must come out the same in every version of the operator, or an upgrade would look like a wish of the user. So
//! only what differs from the *first* defaults goes into it, by path: a field that a later version adds goes in only where
//! somebody gives it another value than the default it came with. For that a new field needs its default in `first_…`
//! below, and a default that changes needs nothing. A test holds the hashes of fixed resources.

use std::collections::BTreeSet;

use freshet_operator_api as api;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::build::short_hash;

/// Hash of what the proxies' pods are asked to be; `image` in full.
pub(super) fn of_proxies(
    spec: &api::MqttClusterSpec,
    image: &str,
    restart: Option<&str>,
    upgrade: Option<&str>,
) -> String {
    let proxy = &spec.proxy;
    let asked = json!({
        "image": image,
        "imagePullSecrets": value(&spec.image_pull_secrets),
        "pullPolicy": value(&proxy.image.pull_policy),
        "resources": value(&proxy.resources),
        "warm": {"reserve": proxy.warm.reserve, "requests": value(&proxy.warm.requests)},
        "drainTimeout": value(&proxy.drain.timeout),
        "scheduling": value(&proxy.scheduling),
        "podTemplate": value(&proxy.pod_template),
        "restart": restart,
        "upgrade": upgrade,
    });
    hash(&asked, &first_of_proxies())
}

/// Hash of what the storage nodes' pods are asked to be; `image` in full.
pub(super) fn of_storage(spec: &api::MqttClusterSpec, image: &str, upgrade: Option<&str>) -> String {
    let storage = &spec.storage;
    let asked = json!({
        "image": image,
        "imagePullSecrets": value(&spec.image_pull_secrets),
        "pullPolicy": value(&storage.image.pull_policy),
        "resources": value(&storage.resources),
        "scheduling": value(&storage.scheduling),
        "podTemplate": value(&storage.pod_template),
        "volume": storage.volume.medium == api::StorageMedium::Disk,
        "upgrade": upgrade,
    });
    hash(&asked, &first_of_storage())
}

/// The defaults of version 0.1.0, and of every field added since.
fn first_of_proxies() -> Value {
    json!({
        "imagePullSecrets": [],
        "pullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
        "warm": {"reserve": false, "requests": {"cpu": "50m", "memory": "96Mi"}},
        "drainTimeout": "300s",
        "scheduling": first_of_scheduling(),
        "podTemplate": {},
    })
}

fn first_of_storage() -> Value {
    json!({
        "imagePullSecrets": [],
        "pullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "scheduling": first_of_scheduling(),
        "podTemplate": {},
        "volume": false,
    })
}

fn first_of_scheduling() -> Value {
    json!({"priorityClassName": "", "unreachableAfter": "30s"})
}

/// Parts of a resource are trees of texts and numbers: there is nothing in them that JSON cannot hold.
fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

fn hash(asked: &Value, first: &Value) -> String {
    short_hash(differences(asked, first).join("\n").as_bytes())
}

/// One line for each place where `asked` is not `first`: path and value. Null is nothing.
fn differences(asked: &Value, first: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    push_differences("", asked, first, &mut lines);
    lines
}

fn push_differences(path: &str, asked: &Value, first: &Value, lines: &mut Vec<String>) {
    if asked == first {
        return;
    }
    let none = Map::new();
    match (asked, first) {
        (Value::Object(asked), Value::Object(_) | Value::Null) if !asked.is_empty() => {
            let first = first.as_object().unwrap_or(&none);
            let keys: BTreeSet<&String> = asked.keys().chain(first.keys()).collect();
            for key in keys {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                // As JSON, so that no key can be taken for two.
                let path = format!("{path}/{}", json!(key));
                push_differences(&path, &of(asked), &of(first), lines);
            }
        }
        _ => lines.push(format!("{path}={asked}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(spec: Value) -> api::MqttClusterSpec {
        serde_json::from_value(spec).expect("a spec")
    }

    /// These hashes stand in the annotations of running clusters: a version that computes others replaces their pods.
    #[test]
    fn hashes_are_what_they_were_in_every_version() {
        let empty = spec(json!({}));
        assert_eq!(of_proxies(&empty, "freshet/proxy:0.1.0", None, None), "60da0b51");
        assert_eq!(of_storage(&empty, "freshet/storage:0.1.0", None), "4ce545dd");
        let in_memory = spec(json!({"storage": {"volume": {"medium": "Memory"}}}));
        assert_eq!(of_storage(&in_memory, "freshet/storage:0.1.0", None), "f2f7c29c");
        let full = spec(json!({
            "imagePullSecrets": [{"name": "s"}],
            "proxy": {
                "image": {"pullPolicy": "Always"},
                "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1.5", "memory": "1Gi"}},
                "drain": {"timeout": "1m30s"},
                "scheduling": {"nodeSelector": {"a": "b"}, "unreachableAfter": "0s"},
                "podTemplate": {"metadata": {"annotations": {"a": "b"}}},
            },
            "storage": {"resources": {}, "volume": {"medium": "Memory"}, "podTemplate": {"spec": {"runtimeClassName": "gvisor"}}},
        }));
        assert_eq!(of_proxies(&full, "p@sha256:ab", Some("now"), Some("0.2.0")), "dca3b300");
        assert_eq!(of_storage(&full, "s@sha256:ab", Some("0.2.0")), "d5db7fe0");
    }

    #[test]
    fn a_field_with_the_default_it_came_with_is_not_part_of_it() {
        let api::MqttClusterSpec { proxy, storage, .. } = spec(json!({}));
        for (name, scheduling) in [("proxy", proxy.scheduling), ("storage", storage.scheduling)] {
            assert!(
                differences(&value(&scheduling), &first_of_scheduling()).is_empty(),
                "{name}"
            );
        }
        let first = first_of_proxies();
        assert!(differences(&value(&proxy.resources), &first["resources"]).is_empty());
        assert!(differences(&value(&proxy.warm.requests), &first["warm"]["requests"]).is_empty());
        assert_eq!(json!(proxy.warm.reserve), first["warm"]["reserve"]);
        assert!(differences(&value(&proxy.drain.timeout), &first["drainTimeout"]).is_empty());
        assert!(differences(&value(&storage.resources), &first_of_storage()["resources"]).is_empty());
    }

    #[test]
    fn whatever_is_asked_otherwise_is_another_hash() {
        let empty = spec(json!({}));
        let base = of_proxies(&empty, "p:1", None, None);
        assert_ne!(of_proxies(&empty, "p:2", None, None), base);
        assert_ne!(of_proxies(&empty, "p:1", Some("x"), None), base);
        assert_ne!(of_proxies(&empty, "p:1", None, Some("x")), base);
        for changed in [
            json!({"imagePullSecrets": [{"name": "x"}]}),
            json!({"proxy": {"image": {"pullPolicy": "Never"}}}),
            json!({"proxy": {"resources": {}}}),
            json!({"proxy": {"resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "memory": "1Gi"}}}}),
            json!({"proxy": {"drain": {"timeout": "1s"}}}),
            json!({"proxy": {"warm": {"reserve": true}}}),
            json!({"proxy": {"warm": {"requests": {"cpu": "10m"}}}}),
            json!({"proxy": {"scheduling": {"priorityClassName": "high"}}}),
            json!({"proxy": {"podTemplate": {"spec": {"hostNetwork": true}}}}),
        ] {
            assert_ne!(of_proxies(&spec(changed.clone()), "p:1", None, None), base, "{changed}");
        }
    }

    #[test]
    fn what_running_pods_take_up_is_not_part_of_it() {
        let base = of_proxies(&spec(json!({})), "p:1", None, None);
        let live = json!({"proxy": {"replicas": 5, "warm": {"min": 3}, "drain": {"linger": "1s"}}, "listeners": [{"name": "a", "port": 80}]});
        assert_eq!(of_proxies(&spec(live), "p:1", None, None), base);
    }

    #[test]
    fn a_key_with_a_slash_is_not_two_keys() {
        let lines = |value: Value| differences(&value, &Value::Null);
        assert_ne!(lines(json!({"a/b": 1})), lines(json!({"a": {"b": 1}})));
        assert_eq!(lines(json!({"b": 1, "a": {}})), ["/\"a\"={}", "/\"b\"=1"]);
    }
}
