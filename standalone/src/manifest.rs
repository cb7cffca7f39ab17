//! An `MqttCluster` manifest as the configuration of one process.
//!
//! Goes the operator's own way (its types, its validation, its files), so that a setting means the same here and there.
//! Beforehand the manifest is held against the schema of the resource definition, as the API server would. Leaves out
//! what says how pods are made.

mod schema;

use std::path::Path;

use anyhow::{Context as _, bail};
use freshet_config::{ProxyConfig, StorageConfig};
use freshet_operator_api::{MqttCluster, mqtt_cluster_crd};
use freshet_operator_core::build::build_children;
use freshet_operator_core::{DefaultImages, validate};
use serde_json::Value;

/// A manifest larger than this is no manifest.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the manifest and returns the files that the operator would have written for it.
///
/// # Errors
/// File, field and what is wrong with it.
pub(crate) fn read(file: &Path) -> anyhow::Result<(ProxyConfig, StorageConfig)> {
    let name = file.display();
    let bytes = std::fs::metadata(file)
        .with_context(|| format!("{name} cannot be read"))?
        .len();
    if bytes > MAX_BYTES {
        bail!("{name}: {bytes} bytes are no manifest");
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("{name} cannot be read"))?;
    parse(&text).with_context(|| format!("{name} is not taken"))
}

fn parse(text: &str) -> anyhow::Result<(ProxyConfig, StorageConfig)> {
    let value: Value = serde_saphyr::from_str(text).context("it is neither YAML nor JSON")?;
    let expected = [("apiVersion", "freshet.dev/v1alpha1"), ("kind", "MqttCluster")];
    for (field, expected) in expected {
        let found = value.get(field).and_then(Value::as_str).unwrap_or("nothing");
        if found != expected {
            bail!("{field}: must be {expected}, found {found}");
        }
    }
    let problems = schema::problems(&value, &mqtt_cluster_crd());
    if !problems.is_empty() {
        bail!(problems.join("; "));
    }
    let mut cluster: MqttCluster = serde_json::from_value(value).context("it is not an MqttCluster")?;
    cluster.metadata.name.get_or_insert_with(|| "standalone".to_owned());
    // What an API server would have given it.
    cluster.metadata.uid.get_or_insert_with(|| "standalone".to_owned());
    let images = DefaultImages {
        proxy: "unused".into(),
        storage: "unused".into(),
    };
    let validated = validate(&cluster, &images)?;
    let files = build_children(&validated).config_map.data.unwrap_or_default();
    let file = |name: &str| {
        files
            .get(name)
            .with_context(|| format!("the operator's core wrote no {name}"))
    };
    let proxy = serde_json::from_str(file("proxy.json")?).context("proxy.json")?;
    let storage = serde_json::from_str(file("storage.json")?).context("storage.json")?;
    Ok((proxy, storage))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: freshet.dev/v1alpha1\nkind: MqttCluster\nmetadata: {name: test}\n";

    fn parsed(spec: &str) -> (ProxyConfig, StorageConfig) {
        parse(&format!("{HEAD}spec: {spec}\n")).unwrap()
    }

    fn refusal(manifest: &str) -> String {
        format!("{:#}", parse(manifest).unwrap_err())
    }

    #[test]
    fn an_empty_spec_is_what_the_defaults_say() {
        let (proxy, storage) = parsed("{}");
        assert_eq!(proxy.listeners.len(), 1);
        assert_eq!((proxy.listeners[0].port, storage.shards), (1883, 8));
    }

    #[test]
    fn settings_mean_what_they_mean_to_the_operator() {
        let (proxy, storage) = parsed(
            "{listeners: [{name: other, port: 2883, maxConnections: 7}], limits: {client: {maxPacket: 2Mi}}, \
             authorization: {rules: [{effect: Deny, actions: [Subscribe], filters: [a/b]}]}, \
             mqtt: {publishHold: 5s, slowConsumer: Disconnect}, storage: {shards: 3, placement: {rules: ['dev/{key}/#']}}}",
        );
        assert_eq!((proxy.listeners[0].port, proxy.listeners[0].max_connections), (2883, 7));
        assert_eq!(
            (proxy.client_limits.max_packet_bytes, proxy.mqtt.publish_hold_ms),
            (2 << 20, 5_000)
        );
        assert_eq!(proxy.authorization.rules[0].filters, ["a/b"]);
        assert_eq!(
            (storage.shards, storage.placement_rules.as_slice()),
            (3, &["dev/{key}/#".to_owned()][..])
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let with = |spec: &str| refusal(&format!("{HEAD}spec: {spec}\n"));
        for (spec, field) in [
            ("{listners: []}", "spec.listners"),
            ("{mqtt: {publishHold: soon}}", "spec.mqtt.publishHold"),
            ("{mqtt: {receiveMaximum: 0}}", "spec.mqtt.receiveMaximum"),
            ("{listeners: [{name: a, port: 0}]}", "spec.listeners"),
            (
                "{listeners: [{name: a, protocol: quic, port: 1}]}",
                "spec.listeners[0].protocol",
            ),
            (
                "{authorization: {rules: [{effect: Deny, actions: [Publish], filters: ['a/#/b']}]}}",
                "spec.authorization.rules[0].filters",
            ),
            (
                "{storage: {placement: {rules: ['a/{key}', '{key}/b']}}}",
                "spec.storage.placement",
            ),
        ] {
            let error = with(spec);
            assert!(error.contains(field), "{spec}: {error}");
        }
        assert!(refusal("kind: Pod\napiVersion: v1").contains("apiVersion"));
        assert!(refusal("a: [").contains("YAML"));
    }
}
