//! What pods of proxies and storage have in common: the restricted profile, probes, environment, scheduling, overlay.

use std::collections::BTreeMap;

use freshet_operator_api::{HEALTH_PORT, METRICS_PORT};
use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath,
    LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::labels::{self, Labels};
use crate::names;
use crate::validate::{ValidatedCluster, ValidatedPods};

/// User and group of every process, as the images have them.
const USER: i64 = 65532;

const CONFIG_VOLUME: &str = "config";

/// What differs between the pods of the two components.
pub(super) struct PodParts<'a> {
    pub(super) pods: &'a ValidatedPods,
    pub(super) labels: Labels,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) service_account: String,
    pub(super) container: Container,
    /// Which file of the ConfigMap the container reads.
    pub(super) file: &'a str,
    pub(super) grace_s: i64,
    pub(super) security: PodSecurityContext,
    pub(super) spread: Vec<TopologySpreadConstraint>,
    /// Beside that of the configuration.
    pub(super) volumes: Vec<Volume>,
}

/// The template of a component's pods, with the user's overlay.
pub(super) fn template(cluster: &ValidatedCluster, parts: PodParts<'_>) -> PodTemplateSpec {
    let scheduling = &parts.pods.scheduling;
    let asked_spread = &scheduling.topology_spread_constraints;
    let pull_secrets = cluster.image_pull_secrets.iter();
    let mut annotations = parts.annotations;
    annotations.insert(labels::CLUSTER_UID.to_owned(), cluster.uid.clone());
    let mut template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(parts.labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(parts.service_account),
            automount_service_account_token: Some(false),
            // Environment variables for every Service of the namespace would change with each of them.
            enable_service_links: Some(false),
            image_pull_secrets: Some(
                pull_secrets
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
            )
            .filter(|secrets: &Vec<_>| !secrets.is_empty()),
            termination_grace_period_seconds: Some(parts.grace_s),
            security_context: Some(parts.security),
            node_selector: Some(scheduling.node_selector.clone()).filter(|selector| !selector.is_empty()),
            tolerations: Some(tolerations(parts.pods)),
            affinity: scheduling.affinity.clone(),
            priority_class_name: Some(scheduling.priority_class_name.clone()).filter(|name| !name.is_empty()),
            topology_spread_constraints: Some(if asked_spread.is_empty() {
                parts.spread
            } else {
                asked_spread.clone()
            }),
            volumes: Some(
                [config_volume(cluster, parts.file)]
                    .into_iter()
                    .chain(parts.volumes)
                    .collect(),
            ),
            containers: vec![parts.container],
            ..PodSpec::default()
        }),
    };
    template.merge_from(parts.pods.overlay.clone());
    template
}

/// A container with what both components have; the caller adds arguments and ports of its own.
pub(super) fn container(name: &str, pods: &ValidatedPods, command: &str, args: Vec<String>) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(pods.image.clone()),
        image_pull_policy: Some(pods.pull_policy.as_str().to_owned()),
        command: Some(vec![command.to_owned()]),
        args: Some(args),
        env: Some(vec![
            field_env("POD_NAME", "metadata.name"),
            field_env("POD_NAMESPACE", "metadata.namespace"),
            field_env("POD_UID", "metadata.uid"),
        ]),
        ports: Some(vec![
            container_port("health", HEALTH_PORT),
            container_port("metrics", METRICS_PORT),
        ]),
        resources: Some(ResourceRequirements {
            requests: Some(pods.resources.requests.clone()).filter(|requests| !requests.is_empty()),
            limits: Some(pods.resources.limits.clone()).filter(|limits| !limits.is_empty()),
            ..ResourceRequirements::default()
        }),
        // A process that is slow to start is not killed for it, one that hangs later is.
        startup_probe: Some(probe("/livez", 1, 60)),
        liveness_probe: Some(probe("/livez", 5, 6)),
        readiness_probe: Some(probe("/readyz", 1, 3)),
        // The last words of a process that ends at once reach the resource's condition.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: CONFIG_VOLUME.to_owned(),
            // The folder, not the file: a mount of a file would never be refreshed.
            mount_path: names::CONFIG_FOLDER.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

/// Arguments that both processes take.
pub(super) fn common_args(file: &str) -> Vec<String> {
    let folder = names::CONFIG_FOLDER;
    vec![
        "--config".to_owned(),
        format!("{folder}/{file}"),
        "--health-port".to_owned(),
        HEALTH_PORT.to_string(),
        "--metrics-port".to_owned(),
        METRICS_PORT.to_string(),
    ]
}

/// What the restricted profile asks of a pod.
pub(super) fn security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

pub(super) fn container_port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// A constraint over the pods of a component.
pub(super) fn spread(cluster: &str, component: &str, topology_key: &str, is_strict: bool) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: if is_strict { "DoNotSchedule" } else { "ScheduleAnyway" }.to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(labels::component_selector(cluster, component)),
            ..LabelSelector::default()
        }),
        node_taints_policy: Some("Honor".to_owned()),
        ..TopologySpreadConstraint::default()
    }
}

/// The user's tolerations, and how long a pod stays on a node that is gone, unless the user said so.
fn tolerations(pods: &ValidatedPods) -> Vec<Toleration> {
    let mut all = pods.scheduling.tolerations.clone();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if all.iter().any(|toleration| toleration.key.as_deref() == Some(key)) {
            continue;
        }
        all.push(Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some("NoExecute".to_owned()),
            toleration_seconds: Some(i64::try_from(pods.unreachable_after.as_secs()).unwrap_or(i64::MAX)),
            value: None,
        });
    }
    all
}

fn config_volume(cluster: &ValidatedCluster, file: &str) -> Volume {
    Volume {
        name: CONFIG_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::config_map(&cluster.name),
            items: Some(vec![KeyToPath {
                key: file.to_owned(),
                path: file.to_owned(),
                mode: None,
            }]),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn field_env(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn probe(path: &str, period_s: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(HEALTH_PORT)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_s),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
