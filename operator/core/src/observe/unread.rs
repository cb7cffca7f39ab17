//! What nobody reads of a pod: most of it, and there are thousands.
//!
//! Called by the watch of pods before it keeps one. Whoever reads something else of a watched pod keeps it here.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

/// Takes away what is not read of a watched pod: its volumes, the environment and probes of its containers, their images …
pub fn drop_unread(pod: &mut Pod) {
    if let Some(spec) = pod.spec.as_mut() {
        let containers = spec.containers.drain(..).map(|container| Container {
            name: container.name,
            resources: container.resources,
            ..Container::default()
        });
        *spec = PodSpec {
            containers: containers.collect(),
            node_name: spec.node_name.take(),
            ..PodSpec::default()
        };
    }
    let Some(status) = pod.status.as_mut() else { return };
    for statuses in [&mut status.init_container_statuses, &mut status.container_statuses] {
        for of_one in statuses.iter_mut().flatten() {
            *of_one = ContainerStatus {
                name: std::mem::take(&mut of_one.name),
                restart_count: of_one.restart_count,
                state: of_one.state.take(),
                last_state: of_one.last_state.take(),
                ..ContainerStatus::default()
            };
        }
    }
    (status.host_ips, status.pod_ips) = (None, None);
}
