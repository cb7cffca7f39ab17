//! The ConfigMap with `proxy.json` and `storage.json`: everything that running processes take up.

use std::collections::BTreeMap;

use freshet_config::{ProxyConfig, StorageConfig};
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;

use super::{metadata, short_hash};
use crate::labels;
use crate::names;
use crate::validate::{ValidatedCluster, millis};

pub(super) struct Config {
    pub(super) config_map: ConfigMap,
    pub(super) proxy_hash: String,
    pub(super) storage_hash: String,
}

pub(super) fn build(cluster: &ValidatedCluster) -> Config {
    let proxy = file(&proxy_config(cluster));
    let storage = file(&storage_config(cluster));
    let proxy_hash = short_hash(proxy.as_bytes());
    let storage_hash = short_hash(storage.as_bytes());
    let data = BTreeMap::from([
        (names::PROXY_FILE.to_owned(), proxy),
        (names::STORAGE_FILE.to_owned(), storage),
    ]);
    let config_map = ConfigMap {
        metadata: metadata(
            cluster,
            names::config_map(&cluster.name),
            labels::of_cluster(&cluster.name),
        ),
        data: Some(data),
        ..ConfigMap::default()
    };
    Config {
        config_map,
        proxy_hash,
        storage_hash,
    }
}

fn proxy_config(cluster: &ValidatedCluster) -> ProxyConfig {
    ProxyConfig {
        cluster_uid: cluster.storage_uid.clone(),
        storage_endpoints: names::storage_endpoints(&cluster.name, &cluster.namespace, cluster.storage.replicas),
        listeners: cluster.listeners.clone(),
        mqtt: cluster.mqtt.clone(),
        client_limits: cluster.client_limits.clone(),
        authorization: cluster.authorization.clone(),
        proxy_in_connack: cluster.proxy_in_connack,
        log_level: cluster.log_level.as_str().to_owned(),
        drain_linger_ms: millis(cluster.proxy.drain_linger),
        drain_timeout_ms: millis(cluster.proxy.drain_timeout),
        drain_moves_per_second: cluster.proxy.moves.drain_max_per_second,
    }
}

fn storage_config(cluster: &ValidatedCluster) -> StorageConfig {
    StorageConfig {
        cluster_uid: cluster.storage_uid.clone(),
        shards: cluster.storage.shards,
        placement_rules: cluster.storage.placement_rules.clone(),
        retained_limits: cluster.retained_limits.clone(),
        max_sessions: cluster.max_sessions,
        queue_limits: cluster.queue_limits,
        retention: cluster.storage.retention,
        disk: cluster.storage.disk,
        will_grace_on_move_ms: millis(cluster.will_grace_on_move),
        sys_interval_ms: millis(cluster.sys_interval),
        log_level: cluster.log_level.as_str().to_owned(),
    }
}

fn file(config: &impl Serialize) -> String {
    // Plain structs of texts and numbers: there is nothing in them that JSON cannot hold.
    serde_json::to_string_pretty(config).unwrap_or_default()
}
