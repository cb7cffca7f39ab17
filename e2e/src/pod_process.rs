//! The process behind a container, as this machine sees it: so that a test can `kill -9` what has no shell.

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use crate::Cluster;
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

/// Ends a container's first process at once, as the kernel would when memory is short; returns its process id.
///
/// # Errors
/// When the container does not run.
pub async fn kill_container(cluster: &Cluster, namespace: &str, pod: &str, container: &str) -> anyhow::Result<u32> {
    let pid = container_pid(cluster, namespace, pod, container).await?;
    process::kill(pid).await?;
    Ok(pid)
}
