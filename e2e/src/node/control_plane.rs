//! The first node's control plane: etcd, API server, controller manager, scheduler.

use anyhow::Context;

use super::addresses::{API_SERVER_PORT, Addresses};
use super::binaries::{Binaries, Program};
use super::instance::Instance;
use super::pki::Pki;
use super::process::Server;

/// Where etcd listens, on loopback inside the first node's namespace.
const ETCD: &str = "http://127.0.0.1:2379";

/// Returns the servers of the control plane in the order in which they are started.
///
/// # Errors
/// When a folder cannot be made.
pub fn servers(
    instance: &Instance,
    addresses: Addresses,
    binaries: &Binaries,
    pki: &Pki,
) -> anyhow::Result<Vec<Server>> {
    let namespace = instance.node_namespace(1);
    let server = |program: Program, arguments: Vec<String>| Server {
        name: program.name().to_owned(),
        program: binaries.path(program),
        arguments,
        config_files: Vec::new(),
        network_namespace: namespace.clone(),
        mount_namespace: None,
    };
    Ok(vec![
        server(Program::Etcd, etcd(instance)?),
        server(Program::KubeApiserver, api_server(addresses, pki)),
        server(Program::KubeControllerManager, controller_manager(addresses, pki)),
        server(Program::KubeScheduler, scheduler(pki)),
    ])
}

fn etcd(instance: &Instance) -> anyhow::Result<Vec<String>> {
    let data = instance.folder("etcd").context("no folder for etcd")?;
    Ok(vec![
        flag("data-dir", data.display()),
        // What it keeps goes with the cluster: waiting for the disk would only slow tests down.
        "--unsafe-no-fsync".into(),
        flag("listen-client-urls", ETCD),
        flag("advertise-client-urls", ETCD),
        flag("listen-peer-urls", "http://127.0.0.1:2380"),
    ])
}

fn api_server(addresses: Addresses, pki: &Pki) -> Vec<String> {
    let (serving, client) = (pki.files("apiserver"), pki.files("apiserver-client"));
    vec![
        flag("etcd-servers", ETCD),
        flag("service-cluster-ip-range", addresses.services()),
        flag("secure-port", API_SERVER_PORT),
        flag("advertise-address", addresses.node(1)),
        flag("tls-cert-file", serving.certificate.display()),
        flag("tls-private-key-file", serving.key.display()),
        flag("client-ca-file", pki.authority().display()),
        flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        flag("service-account-key-file", pki.service_account_public_key().display()),
        flag("service-account-signing-key-file", pki.service_account_key().display()),
        flag("kubelet-client-certificate", client.certificate.display()),
        flag("kubelet-client-key", client.key.display()),
        flag("kubelet-certificate-authority", pki.authority().display()),
        // Or logs and exec look the node's name up, which nobody resolves.
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("allow-privileged", true),
    ]
}

fn controller_manager(addresses: Addresses, pki: &Pki) -> Vec<String> {
    let authority = pki.files("ca");
    vec![
        flag("kubeconfig", pki.kubeconfig("controller-manager").display()),
        flag("service-account-private-key-file", pki.service_account_key().display()),
        flag("root-ca-file", pki.authority().display()),
        flag("cluster-signing-cert-file", authority.certificate.display()),
        flag("cluster-signing-key-file", authority.key.display()),
        flag("use-service-account-credentials", true),
        flag("cluster-cidr", addresses.pods()),
        flag("service-cluster-ip-range", addresses.services()),
        flag("allocate-node-cidrs", false),
        flag("leader-elect", false),
    ]
}

fn scheduler(pki: &Pki) -> Vec<String> {
    vec![
        flag("kubeconfig", pki.kubeconfig("scheduler").display()),
        flag("leader-elect", false),
    ]
}

/// Writes a flag as all of these servers take it.
pub(super) fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}
