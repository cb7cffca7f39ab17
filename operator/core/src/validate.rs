//! From an `MqttCluster` to a [`ValidatedCluster`]: every text parsed, every default applied, nothing left that cannot be built.
//!
//! The API server has refused most of what is wrong; what is left is what CEL cannot say, or what an older definition
//! let in. Called once per reconcile, and by the condition `Stalled` when it fails.

mod asked;
mod authorization;
mod image;
mod mqtt;
mod overlay;
mod storage;

use std::fmt;
use std::time::Duration;

use freshet_config::{
    AuthorizationConfig, ClientLimits, DiskConfig, ListenerConfig, ListenerProtocol, MqttConfig, QueueLimits,
    RetainedLimits, RetentionConfig,
};
use freshet_operator_api as api;
use freshet_storage_contract::{ClusterUid, Placement};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube_core::Resource;

use self::mqtt::{client_limits_of, mqtt_of, queue_limits_of};
use crate::keep::Record;
use crate::labels;
use crate::plan::MoveSettings;
use crate::rollout::{RolloutSettings, read_rollout};
use crate::scaling::read_scaling;
use crate::units::{UnitError, parse_cpu_millis, parse_duration, parse_memory_bytes, parse_size};

pub(crate) use image::image_reference;
pub use image::{DefaultImage, DefaultImages};
pub use storage::ValidatedVolume;

/// Workers of a proxy without a CPU limit.
const DEFAULT_WORKERS: u32 = 2;

/// More workers than this have not been shown to help, and each one costs memory.
const WORKERS_MAX: u32 = 64;

/// A cluster that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedCluster {
    /// Name of the resource.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID: processes of another cluster, of whatever name, are refused.
    pub uid: String,
    /// UID under which storage keeps what it has: the cluster's own, or that of a deleted one whose volumes it goes on with
    /// ([`crate::volume_origin`]).
    pub storage_uid: String,
    /// What children are owned by.
    pub owner: OwnerReference,
    /// No child is changed while true.
    pub paused: bool,
    /// Names of Secrets with registry credentials.
    pub image_pull_secrets: Vec<String>,
    /// At least one.
    pub listeners: Vec<ListenerConfig>,
    /// How clients reach the proxies.
    pub service: api::Service,
    /// The proxies.
    pub proxy: ValidatedProxy,
    /// The storage nodes.
    pub storage: ValidatedStorage,
    /// What the MQTT specifications leave to the server.
    pub mqtt: MqttConfig,
    /// Which topics clients may publish and subscribe to.
    pub authorization: AuthorizationConfig,
    /// Bounds per client.
    pub client_limits: ClientLimits,
    /// Bounds of retained messages.
    pub retained_limits: RetainedLimits,
    /// Sessions at once; 0 = no bound.
    pub max_sessions: u64,
    /// Bounds of what waits for sessions.
    pub queue_limits: QueueLimits,
    /// How long wills wait of clients that the server moved.
    pub will_grace_on_move: Duration,
    /// Log level of all processes.
    pub log_level: api::LogLevel,
    /// How often the topics below `$SYS` are published; 0: never.
    pub sys_interval: Duration,
    /// CONNACK names the proxy.
    pub proxy_in_connack: bool,
}

/// The proxies.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedProxy {
    /// How many serve.
    pub replicas: u32,
    /// How many wait beside them, and what they reserve.
    pub warm: api::Warm,
    /// Threads of each that own connections.
    pub workers: u32,
    /// What the buffers of each may take, in bytes; the proxy's own default when nothing bounds its memory.
    pub memory_budget_bytes: Option<u64>,
    /// The longest a drain takes.
    pub drain_timeout: Duration,
    /// How long a stopping proxy still accepts.
    pub drain_linger: Duration,
    /// How clients are moved.
    pub moves: MoveSettings,
    /// How a new revision takes over.
    pub rollout: RolloutSettings,
    /// Value of the annotation that asks for new pods.
    pub restart: Option<String>,
    /// Their pods.
    pub pods: ValidatedPods,
}

/// The storage nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedStorage {
    /// How many there are.
    pub replicas: u32,
    /// Parts of the key space.
    pub shards: u16,
    /// Disjoint placement rules.
    pub placement_rules: Vec<String>,
    /// The volume of each; none: memory has to do.
    pub volume: Option<ValidatedVolume>,
    /// What becomes of the volumes with the resource.
    pub deletion_policy: api::DeletionPolicy,
    /// What may wait in all queues of each.
    pub retention: RetentionConfig,
    /// What they do before their disks are full.
    pub disk: DiskConfig,
    /// Their pods.
    pub pods: ValidatedPods,
}

/// What is the same for the pods of both components.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedPods {
    /// Full reference of the image.
    pub image: String,
    /// What is remembered on the object that makes the pods.
    pub record: Record,
    /// When nodes fetch it.
    pub pull_policy: api::PullPolicy,
    /// Requests and limits.
    pub resources: api::Resources,
    /// On which nodes.
    pub scheduling: api::Scheduling,
    /// How long a pod stays on a node that does not answer.
    pub unreachable_after: Duration,
    /// Laid over the operator's template.
    pub overlay: PodTemplateSpec,
}

/// What is wrong with a resource: every problem with the field it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidResource {
    problems: Vec<(String, String)>,
}

impl InvalidResource {
    /// A resource with one problem.
    pub(crate) fn of(field: &str, problem: String) -> Self {
        Self {
            problems: vec![(field.to_owned(), problem)],
        }
    }

    /// Field and problem, in the order of the resource.
    pub fn problems(&self) -> &[(String, String)] {
        &self.problems
    }
}

impl fmt::Display for InvalidResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (field, problem)) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidResource {}

/// Validates a resource as it was read.
///
/// # Errors
/// [`InvalidResource`] with all problems, when there is one: nothing is built from it.
pub fn validate(cluster: &api::MqttCluster, images: &DefaultImages) -> Result<ValidatedCluster, InvalidResource> {
    let mut check = Check::default();
    let spec = &cluster.spec;
    let name = cluster.metadata.name.clone().unwrap_or_default();
    if name.is_empty() || name.len() > api::NAME_MAX_CHARS {
        check.problem(
            "metadata.name",
            format!("must have 1 to {} characters", api::NAME_MAX_CHARS),
        );
    }
    let owner = cluster.controller_owner_ref(&()).map(|owner| OwnerReference {
        block_owner_deletion: Some(true),
        ..owner
    });
    if owner.is_none() {
        check.problem(
            "metadata.uid",
            "is missing: the resource was not read from an API server".to_owned(),
        );
    }
    let workers = workers_of(&spec.proxy.resources, &mut check);
    let memory_budget_bytes = memory_budget_of(&spec.proxy.resources, &mut check);
    let restart = cluster
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(labels::RESTART).cloned());
    let shards = check.fits("spec.storage.shards", spec.storage.shards);
    let validated = ValidatedCluster {
        name,
        namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
        storage_uid: cluster.metadata.uid.clone().unwrap_or_default(),
        owner: owner.unwrap_or_default(),
        paused: spec.paused,
        image_pull_secrets: spec
            .image_pull_secrets
            .iter()
            .map(|secret| secret.name.clone())
            .collect(),
        listeners: listeners_of(&spec.listeners, &mut check),
        service: spec.service.clone(),
        proxy: ValidatedProxy {
            replicas: spec.proxy.replicas,
            warm: spec.proxy.warm.clone(),
            workers,
            memory_budget_bytes,
            drain_timeout: check.duration("spec.proxy.drain.timeout", &spec.proxy.drain.timeout),
            drain_linger: check.duration("spec.proxy.drain.linger", &spec.proxy.drain.linger),
            moves: moves_of(&spec.proxy, &mut check),
            rollout: read_rollout(&spec.proxy.rollout).unwrap_or_else(|invalid| {
                check.problem(&format!("spec.proxy.rollout.{}", invalid.field), invalid.problem);
                RolloutSettings::default()
            }),
            pods: pods_of(
                &pod_fields(
                    "spec.proxy",
                    &spec.proxy.image,
                    &spec.proxy.resources,
                    &spec.proxy.scheduling,
                ),
                &spec.proxy.pod_template,
                &images.proxy,
                |image| asked::of_proxies(spec, image, restart.as_deref(), images.proxy.upgrade.as_deref()),
                &mut check,
            ),
            restart,
        },
        storage: ValidatedStorage {
            replicas: spec.storage.replicas,
            shards,
            placement_rules: placement_of(cluster, shards, &mut check),
            volume: storage::volume_of(&spec.storage.volume, &mut check),
            deletion_policy: spec.storage.deletion_policy,
            retention: storage::retention_of(&spec.storage.retention, &mut check),
            disk: storage::disk_of(spec.storage.disk_full),
            pods: pods_of(
                &pod_fields(
                    "spec.storage",
                    &spec.storage.image,
                    &spec.storage.resources,
                    &spec.storage.scheduling,
                ),
                &spec.storage.pod_template,
                &images.storage,
                |image| asked::of_storage(spec, image, images.storage.upgrade.as_deref()),
                &mut check,
            ),
        },
        mqtt: mqtt_of(spec, &mut check),
        authorization: authorization::authorization_of(&spec.authorization, &mut check),
        client_limits: client_limits_of(&spec.limits.client, &mut check),
        retained_limits: RetainedLimits {
            messages: spec.limits.cluster.retained_messages,
            bytes: check.size("spec.limits.cluster.retainedBytes", &spec.limits.cluster.retained_bytes),
        },
        max_sessions: spec.limits.cluster.sessions,
        queue_limits: queue_limits_of(&spec.limits.session, &mut check),
        will_grace_on_move: check.duration("spec.mqtt.willGraceOnMove", &spec.mqtt.will_grace_on_move),
        log_level: spec.observability.log_level,
        sys_interval: check.duration("spec.observability.sysInterval", &spec.observability.sys_interval),
        proxy_in_connack: spec.observability.proxy_in_connack,
    };
    if let Err(invalid) = read_scaling(&spec.proxy.scaling, Duration::ZERO) {
        check.problem(&format!("spec.proxy.scaling.{}", invalid.field), invalid.problem);
    }
    check.finish(validated)
}

fn moves_of(proxy: &api::Proxy, check: &mut Check) -> MoveSettings {
    check.duration("spec.proxy.drain.connackP99Limit", &proxy.drain.connack_p99_limit);
    // What cannot be read was noted, here and before.
    MoveSettings::read(proxy).unwrap_or_default()
}

/// Collects problems, so that one look at the resource shows them all.
#[derive(Default)]
struct Check {
    problems: Vec<(String, String)>,
}

impl Check {
    fn problem(&mut self, field: &str, problem: String) {
        self.problems.push((field.to_owned(), problem));
    }

    fn take<T: Default>(&mut self, field: &str, result: Result<T, UnitError>) -> T {
        result.unwrap_or_else(|error| {
            self.problem(field, error.to_string());
            T::default()
        })
    }

    fn duration(&mut self, field: &str, text: &api::DurationText) -> Duration {
        self.take(field, parse_duration(&text.0))
    }

    fn size(&mut self, field: &str, text: &api::SizeText) -> u64 {
        self.take(field, parse_size(&text.0))
    }

    fn fits<N: TryFrom<u64> + Default>(&mut self, field: &str, number: impl Into<u64>) -> N {
        let number = number.into();
        N::try_from(number).unwrap_or_else(|_| {
            self.problem(field, format!("{number} is too large"));
            N::default()
        })
    }

    fn finish<T>(self, validated: T) -> Result<T, InvalidResource> {
        if self.problems.is_empty() {
            Ok(validated)
        } else {
            Err(InvalidResource {
                problems: self.problems,
            })
        }
    }
}

fn listeners_of(listeners: &[api::Listener], check: &mut Check) -> Vec<ListenerConfig> {
    let default = [api::Listener::plain_mqtt()];
    let listeners = if listeners.is_empty() { &default } else { listeners };
    for (index, listener) in listeners.iter().enumerate() {
        let field = format!("spec.listeners[{}]", listener.name);
        if listener.port == 0 || api::RESERVED_PORTS.contains(&listener.port) {
            check.problem(&field, format!("port {} cannot be listened on", listener.port));
        }
        let before = &listeners[..index];
        if before
            .iter()
            .any(|other| other.port == listener.port || other.name == listener.name)
        {
            check.problem(&field, "another listener has the same port or name".to_owned());
        }
    }
    let config = |listener: &api::Listener| ListenerConfig {
        name: listener.name.clone(),
        protocol: match listener.protocol {
            api::ListenerProtocol::Mqtt => ListenerProtocol::Mqtt,
        },
        port: listener.port,
        max_connections: listener.max_connections,
    };
    listeners.iter().map(config).collect()
}

fn workers_of(resources: &api::Resources, check: &mut Check) -> u32 {
    let Some(limit) = resources.limits.get("cpu") else {
        return DEFAULT_WORKERS;
    };
    let millis = check.take("spec.proxy.resources.limits.cpu", parse_cpu_millis(&limit.0));
    u32::try_from(millis.div_ceil(1000))
        .unwrap_or(WORKERS_MAX)
        .clamp(1, WORKERS_MAX)
}

/// Half of what a proxy may use: the rest is for connections' fixed state, filters and the allocator's own. Without a limit
/// the request counts, which a node has for sure.
fn memory_budget_of(resources: &api::Resources, check: &mut Check) -> Option<u64> {
    let (field, quantity) = [("limits", &resources.limits), ("requests", &resources.requests)]
        .into_iter()
        .find_map(|(field, quantities)| Some((field, quantities.get("memory")?)))?;
    let field = format!("spec.proxy.resources.{field}.memory");
    Some(check.take(&field, parse_memory_bytes(&quantity.0)) / 2)
}

/// The rules, checked by the very code that proxies and storage place topics with.
fn placement_of(cluster: &api::MqttCluster, shards: u16, check: &mut Check) -> Vec<String> {
    let rules = &cluster.spec.storage.placement.rules;
    let uid = ClusterUid(cluster.metadata.uid.clone().unwrap_or_default());
    if let Err(error) = Placement::new(&uid, shards, rules) {
        check.problem("spec.storage.placement", error.to_string());
    }
    rules.clone()
}

/// The parts of a component's section that say something about pods.
struct PodFields<'a> {
    section: &'a str,
    image: &'a api::Image,
    resources: &'a api::Resources,
    scheduling: &'a api::Scheduling,
}

fn pod_fields<'a>(
    section: &'a str,
    image: &'a api::Image,
    resources: &'a api::Resources,
    scheduling: &'a api::Scheduling,
) -> PodFields<'a> {
    PodFields {
        section,
        image,
        resources,
        scheduling,
    }
}

fn pods_of(
    fields: &PodFields<'_>,
    pod_template: &api::PodTemplateOverlay,
    default_image: &DefaultImage,
    asked: impl FnOnce(&str) -> String,
    check: &mut Check,
) -> ValidatedPods {
    let section = fields.section;
    let overlay = overlay::parse(pod_template).unwrap_or_else(|problem| {
        check.problem(&format!("{section}.podTemplate"), problem);
        PodTemplateSpec::default()
    });
    let image = image_reference(fields.image, &default_image.reference);
    ValidatedPods {
        record: Record {
            asked: asked(&image),
            default_image: default_image.reference.clone(),
            upgrade: default_image.upgrade.clone(),
        },
        image,
        pull_policy: fields.image.pull_policy,
        resources: fields.resources.clone(),
        scheduling: fields.scheduling.clone(),
        unreachable_after: check.duration(
            &format!("{section}.scheduling.unreachableAfter"),
            &fields.scheduling.unreachable_after,
        ),
        overlay,
    }
}

/// Milliseconds, as the processes' files have them.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
