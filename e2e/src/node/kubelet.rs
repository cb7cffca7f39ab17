//! A node's kubelet and kube-proxy.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::addresses::Addresses;
use super::binaries::{Binaries, Program};
use super::containerd::Containerd;
use super::control_plane::flag;
use super::instance::{Instance, node_name, write_atomically};
use super::pki::{Pki, kubelet_file};
use super::process::Server;

/// Pods that a node takes: those of a large test, and the addresses of its range.
const MAX_PODS: u8 = 200;

/// Returns a node's kubelet and kube-proxy.
///
/// # Errors
/// When a file cannot be written.
pub fn servers(
    instance: &Instance,
    number: u8,
    addresses: Addresses,
    binaries: &Binaries,
    pki: &Pki,
    mount_namespace: &Path,
) -> anyhow::Result<Vec<Server>> {
    let node = instance.node_state(number);
    std::fs::create_dir_all(&node).with_context(|| format!("cannot make {}", node.display()))?;
    let config = node.join("kubelet.json");
    write_atomically(
        &config,
        &serde_json::to_vec_pretty(&kubelet_config(instance, number, addresses, pki))?,
    )?;
    let name = node_name(number);
    let server = |program: Program, arguments: Vec<String>| Server {
        name: format!("{}-{name}", program.name()),
        program: binaries.path(program),
        arguments,
        config_files: Vec::new(),
        network_namespace: instance.node_namespace(number),
        mount_namespace: Some(mount_namespace.to_path_buf()),
    };
    let kubelet = Server {
        config_files: vec![config.clone()],
        ..server(
            Program::Kubelet,
            vec![
                flag("config", config.display()),
                flag("kubeconfig", pki.kubeconfig(&kubelet_file(number)).display()),
                flag("root-dir", node.join("kubelet").display()),
                flag("cert-dir", node.join("kubelet/pki").display()),
                flag("hostname-override", &name),
                flag("node-ip", addresses.node(number)),
            ],
        )
    };
    let kube_proxy = server(
        Program::KubeProxy,
        vec![
            flag("kubeconfig", pki.kubeconfig("proxy").display()),
            flag("proxy-mode", "iptables"),
            flag("cluster-cidr", addresses.pods()),
            flag("hostname-override", &name),
            // For the machine, which measures how soon rules follow endpoints.
            flag("metrics-bind-address", format!("{}:10249", addresses.node(number))),
            // These limits are the machine's, and not a guest's to set.
            flag("conntrack-max-per-core", 0),
            flag("conntrack-tcp-timeout-established", "0s"),
            flag("conntrack-tcp-timeout-close-wait", "0s"),
        ],
    );
    Ok(vec![kubelet, kube_proxy])
}

fn kubelet_config(instance: &Instance, number: u8, addresses: Addresses, pki: &Pki) -> serde_json::Value {
    let node = instance.node_state(number);
    let serving = pki.files(&kubelet_file(number));
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", instance.node_cgroup(number)),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": ["pods"],
        "containerRuntimeEndpoint":
            format!("unix://{}", Containerd::of_node(instance, number).socket().display()),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.authority()},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": serving.certificate,
        "tlsPrivateKeyFile": serving.key,
        "clusterDNS": [addresses.dns_service()],
        "clusterDomain": "cluster.local",
        // The machine's resolvers are out of reach.
        "resolvConf": "",
        "failSwapOn": false,
        "evictionHard": {
            "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
        },
        // Nothing could be pulled again.
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": node.join("pod-logs"),
        "volumePluginDir": node.join("volume-plugins"),
        "registerNode": true,
        "maxPods": MAX_PODS,
        "serializeImagePulls": false,
    })
}
