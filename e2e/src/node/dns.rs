//! The cluster's DNS: a CoreDNS on the first node, behind the usual Service `kube-dns`.

use anyhow::Context;
use serde_json::{Value, json};

use super::addresses::Addresses;
use super::binaries::{Binaries, Program};
use super::instance::{Instance, write_atomically};
use super::pki::{DNS_USER, Pki};
use super::process::Server;

/// How long a client may keep an answer, in seconds; tests wait for pods to come and go.
const TTL_SECONDS: u32 = 5;
/// Where it says on the first node that it has read the cluster.
pub const READY_PORT: u16 = 8181;

/// Writes the configuration, and returns the server.
///
/// # Errors
/// When a file cannot be written.
pub fn server(instance: &Instance, addresses: Addresses, binaries: &Binaries, pki: &Pki) -> anyhow::Result<Server> {
    let config = instance.folder("dns")?.join("Corefile");
    // No `forward`: names outside of the cluster are refused at once.
    let text = format!(
        ".:53 {{
    bind {node}
    ready {node}:{READY_PORT}
    errors
    cache {TTL_SECONDS}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl {TTL_SECONDS}
    }}
}}
",
        node = addresses.node(1),
        kubeconfig = pki.kubeconfig("dns").display(),
    );
    write_atomically(&config, text.as_bytes()).context("no configuration for DNS")?;
    Ok(Server {
        name: Program::Coredns.name().to_owned(),
        program: binaries.path(Program::Coredns),
        arguments: vec!["-conf".into(), config.display().to_string()],
        config_files: vec![config],
        network_namespace: instance.node_namespace(1),
        mount_namespace: None,
    })
}

/// What the API server must know of it: its Service with the first node as endpoint, and what it may read.
#[must_use]
pub fn manifests(addresses: Addresses) -> Vec<Value> {
    let ports =
        json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]);
    vec![
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"clusterIP": addresses.dns_service(), "ports": ports},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-node", "namespace": "kube-system",
                "labels": {
                    "kubernetes.io/service-name": "kube-dns",
                    "endpointslice.kubernetes.io/managed-by": "freshet-e2e",
                },
            },
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [addresses.node(1)], "conditions": {"ready": true}}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": DNS_USER},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        }),
        role_binding(DNS_USER),
    ]
}

/// Gives a user the ClusterRole of its name.
pub(super) fn role_binding(user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}
