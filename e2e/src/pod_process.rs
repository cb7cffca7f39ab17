//! The process behind a container, as this machine sees it: so that a test can `kill -9` what has no shell, or cut its
//! network.

use std::net::IpAddr;
use std::process::{Command, Output};

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use crate::Cluster;
use crate::node::packages::find_program;
use crate::node::process::{self, Frozen};

/// Returns the process id of a container's first process.
///
/// # Errors
/// When the container does not run.
pub async fn container_pid(cluster: &Cluster, namespace: &str, pod: &str, container: &str) -> anyhow::Result<u32> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    let found = pods.get(pod).await?;
    let node = found
        .spec
        .and_then(|spec| spec.node_name)
        .with_context(|| format!("{pod} is on no node"))?;
    let statuses = found
        .status
        .and_then(|status| status.container_statuses)
        .unwrap_or_default();
    let status = statuses.into_iter().find(|status| status.name == container);
    let id = status
        .and_then(|status| status.container_id)
        .with_context(|| format!("{pod} has no {container}"))?;
    let id = id
        .strip_prefix("containerd://")
        .with_context(|| format!("{id} is not containerd's"))?;
    let node = cluster
        .nodes()
        .into_iter()
        .find(|known| known.name == node)
        .context("on a node of another cluster")?;
    let tasks = cluster.containerd(node.number).tasks().await?;
    let Some(task) = tasks.into_iter().find(|task| task.container == id) else {
        bail!("container {container} of {pod} does not run");
    };
    Ok(task.pid)
}

/// Stops a container's first process where it is, until what is returned is dropped.
///
/// # Errors
/// When the container does not run.
pub async fn freeze_container(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
) -> anyhow::Result<Frozen> {
    process::freeze(container_pid(cluster, namespace, pod, container).await?)
}

/// A pod's way to an address that is gone until this is dropped.
#[derive(Debug)]
pub struct Cut {
    pid: u32,
    address: IpAddr,
}

impl Cut {
    /// Says something of the route to the address, in the network of the pod.
    fn route(&self, verb: &str) -> anyhow::Result<Output> {
        let mut command = Command::new(find_program("nsenter")?);
        command.args(["--target", &self.pid.to_string(), "--net", "--"]);
        command.arg(find_program("ip")?);
        command.args(["route", verb, "blackhole", &self.address.to_string()]);
        Ok(command.output()?)
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // The pod may be gone, and its network with it.
        let _ = self.route("delete");
    }
}

/// Lets nothing go from a container's pod to an address, until what is returned is dropped.
///
/// # Errors
/// When the container does not run, or its network cannot be changed.
pub async fn cut_container(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
    address: IpAddr,
) -> anyhow::Result<Cut> {
    let pid = container_pid(cluster, namespace, pod, container).await?;
    let cut = Cut { pid, address };
    let done = cut.route("add")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "the way to {address} cannot be cut: {said}");
    Ok(cut)
}

/// Ends a container's first process at once, as the kernel would when memory is short; returns its process id.
///
/// # Errors
/// When the container does not run.
pub async fn kill_container(cluster: &Cluster, namespace: &str, pod: &str, container: &str) -> anyhow::Result<u32> {
    let pid = container_pid(cluster, namespace, pod, container).await?;
    process::kill(pid).await?;
    Ok(pid)
}
