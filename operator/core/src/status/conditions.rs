//! The conditions, each from the facts that it is about. Reasons are single words that tools can compare, messages say
//! what is there and what to do.

use freshet_operator_api::{ConditionType, MqttClusterStatus, RevisionPhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Outcome, StatusInput, reservation, rollout, scaling, volume};
use crate::connections;
use crate::observe::{Observed, Role};
use crate::trouble::Trouble;
use crate::volume::VolumeVerdict;

/// What a condition says.
#[derive(Debug)]
pub(super) struct Verdict {
    holds: bool,
    reason: String,
    message: String,
}

impl Verdict {
    pub(super) fn yes(reason: &str, message: impl Into<String>) -> Self {
        Self {
            holds: true,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    pub(super) fn no(reason: &str, message: impl Into<String>) -> Self {
        Self {
            holds: false,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// Facts that several conditions need.
struct Facts<'a> {
    status: &'a MqttClusterStatus,
    /// Who is in trouble, and which.
    trouble: Option<(String, &'a Trouble)>,
    /// A change of the resource is being carried out.
    is_progressing: bool,
    /// What is missing is still to come, or is not to come.
    is_expected: bool,
}

/// Judges every condition. `volumes` is what was found of them, unless the resource cannot be built.
pub(super) fn judge(
    input: &StatusInput<'_>,
    status: &MqttClusterStatus,
    volumes: Option<&VolumeVerdict>,
) -> Vec<Condition> {
    let is_complete = is_complete(input, status);
    let is_paused = matches!(input.outcome, Outcome::Planned { cluster, .. } if cluster.paused);
    let was_complete = was_complete(input, status);
    let is_progressing = match input.outcome {
        Outcome::Planned { .. } => {
            let phase = status.proxy.revision.phase;
            let is_moving = phase != RevisionPhase::Stable || is_draining(input.observed);
            !is_paused && phase != RevisionPhase::Paused && (is_moving || !(is_complete || was_complete))
        }
        Outcome::Blocked(_) => false,
    };
    let is_held = status.proxy.revision.phase == RevisionPhase::Paused && status.proxy.active >= status.proxy.desired;
    let is_expected = is_progressing || is_complete || is_paused || is_held;
    let facts = Facts {
        status,
        trouble: worst_trouble(input.observed),
        is_progressing,
        is_expected,
    };
    ConditionType::ALL
        .into_iter()
        .map(|type_| {
            let verdict = match type_ {
                ConditionType::Ready => ready(input, &facts),
                ConditionType::ProxiesAvailable => proxies_available(&facts),
                ConditionType::StorageAvailable => storage_available(&facts),
                ConditionType::Progressing => progressing(&facts, is_paused),
                ConditionType::Degraded => degraded(&facts),
                ConditionType::Reconciling => reconciling(&facts),
                ConditionType::Stalled => stalled(input, &facts),
                ConditionType::UpgradeAvailable => upgrade_available(input),
                ConditionType::ConnectionsLimited => connections_limited(input),
                ConditionType::ResizeDeferred => resize_deferred(input),
                ConditionType::RolloutPaused => rollout::paused(status),
                ConditionType::ScalingActive => scaling::active(status),
                ConditionType::VolumeDegraded => volume::degraded(input, volumes),
            };
            condition(input, type_, verdict)
        })
        .collect()
}

fn condition(input: &StatusInput<'_>, type_: ConditionType, verdict: Verdict) -> Condition {
    let status = if verdict.holds { "True" } else { "False" };
    let previous = previous_condition(input, type_).filter(|previous| previous.status == status);
    Condition {
        type_: type_.as_str().to_owned(),
        status: status.to_owned(),
        reason: verdict.reason,
        message: verdict.message,
        observed_generation: input.generation,
        last_transition_time: previous.map_or(Time(input.now), |previous| previous.last_transition_time.clone()),
    }
}

fn previous_condition<'a>(input: &StatusInput<'a>, type_: ConditionType) -> Option<&'a Condition> {
    input
        .previous?
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// Whether the present resource, with the present images, was once carried out in full. From then on, what is missing was
/// lost, and is not still to come.
fn was_complete(input: &StatusInput<'_>, status: &MqttClusterStatus) -> bool {
    let same_target = input
        .previous
        .is_some_and(|was| was.proxy.revision.target == status.proxy.revision.target);
    same_target
        && previous_condition(input, ConditionType::Progressing).is_some_and(|progressing| {
            progressing.status == "False"
                && progressing.reason == COMPLETE
                && progressing.observed_generation == input.generation
        })
}

const COMPLETE: &str = "Complete";

fn is_complete(input: &StatusInput<'_>, status: &MqttClusterStatus) -> bool {
    match input.outcome {
        Outcome::Planned {
            proxies,
            storage,
            has_changed,
            ..
        } => {
            // The pool may be short for long, where nodes are full: what is asked for serves all the same.
            let desired = status.proxy.desired;
            let with_pool = desired.saturating_add(proxies.warm);
            !has_changed
                && status.proxy.active >= desired
                && proxies
                    .target_replicas_were
                    .is_some_and(|were| (desired..=with_pool).contains(&were))
                && status.storage.ready >= status.storage.replicas
                && storage.outdated == Some(0)
        }
        Outcome::Blocked(_) => false,
    }
}

fn is_draining(observed: &Observed) -> bool {
    observed.proxies.iter().any(|proxy| proxy.role == Some(Role::Draining))
}

/// The trouble that says most: one that needs somebody before one that may pass, by name.
fn worst_trouble(observed: &Observed) -> Option<(String, &Trouble)> {
    let proxies = observed.proxies.iter().map(|proxy| &proxy.pod);
    let storage = observed.storage_pods.iter().map(|pod| &pod.pod);
    let pods = proxies
        .chain(storage)
        .filter(|pod| !pod.is_deleting)
        .filter_map(|pod| Some((format!("pod {}", pod.name), pod.trouble.as_ref()?)));
    let deployments = observed
        .deployments
        .iter()
        .filter_map(|deployment| Some((format!("Deployment {}", deployment.name), deployment.trouble.as_ref()?)));
    pods.chain(deployments)
        .min_by_key(|(_, trouble)| !trouble.needs_somebody())
}

fn proxies_of(facts: &Facts<'_>) -> String {
    let proxy = &facts.status.proxy;
    format!("{} of {} proxies active", proxy.active, proxy.desired)
}

fn storage_of(facts: &Facts<'_>) -> String {
    let storage = &facts.status.storage;
    format!("{} of {} storage nodes ready", storage.ready, storage.replicas)
}

fn ready(input: &StatusInput<'_>, facts: &Facts<'_>) -> Verdict {
    if let Outcome::Blocked(blocked) = input.outcome {
        return Verdict::no(&blocked.reason, blocked.message.clone());
    }
    let (proxies, storage) = (proxies_of(facts), storage_of(facts));
    let counts = format!("{proxies}, {storage}");
    if facts.status.storage.ready < facts.status.storage.replicas {
        Verdict::no("StorageUnavailable", counts)
    } else if facts.status.proxy.desired == 0 {
        Verdict::no("ScaledToZero", "no proxy is asked for: set spec.proxy.replicas")
    } else if facts.status.proxy.active < facts.status.proxy.desired {
        Verdict::no("ProxiesMissing", counts)
    } else {
        Verdict::yes("AllServing", counts)
    }
}

fn proxies_available(facts: &Facts<'_>) -> Verdict {
    match facts.status.proxy.active {
        0 if facts.status.proxy.desired == 0 => Verdict::no("ScaledToZero", "no proxy is asked for"),
        0 => Verdict::no("NoneActive", proxies_of(facts)),
        _ => Verdict::yes("Serving", proxies_of(facts)),
    }
}

fn storage_available(facts: &Facts<'_>) -> Verdict {
    let storage = &facts.status.storage;
    if storage.replicas > 0 && storage.ready >= storage.replicas {
        Verdict::yes("AllReady", storage_of(facts))
    } else {
        Verdict::no(
            "NotReady",
            format!("{}; proxies hold what needs storage", storage_of(facts)),
        )
    }
}

fn progressing(facts: &Facts<'_>, is_paused: bool) -> Verdict {
    let revision = &facts.status.proxy.revision;
    if is_paused {
        return Verdict::no("Paused", "spec.paused is true: nothing is changed");
    }
    if revision.phase == RevisionPhase::Paused {
        return Verdict::no(
            "RolloutPaused",
            format!("revision {} goes no further: {}", revision.target, revision.reason),
        );
    }
    if !facts.is_progressing {
        return Verdict::no(COMPLETE, "what the resource asks for was carried out");
    }
    match revision.phase {
        RevisionPhase::Warming => Verdict::yes(
            "RevisionWarming",
            format!(
                "revision {} comes up, {} serves",
                revision.target,
                or_none(&revision.current)
            ),
        ),
        RevisionPhase::Canary | RevisionPhase::Paused => Verdict::yes(
            "RevisionCanary",
            format!(
                "revision {} is watched; proxies of it that serve: {}, of others: {}",
                revision.target, revision.active_new, revision.active_old
            ),
        ),
        RevisionPhase::RollingBack => Verdict::yes(
            "RevisionRollingBack",
            format!(
                "revision {} serves on; proxies of others that hand over their clients: {}",
                revision.target, facts.status.proxy.draining
            ),
        ),
        RevisionPhase::Draining => Verdict::yes(
            "RevisionDraining",
            format!(
                "revision {} serves; proxies of others that hand over their clients: {}",
                revision.target, facts.status.proxy.draining
            ),
        ),
        RevisionPhase::Stable if facts.status.proxy.draining > 0 => Verdict::yes(
            "ProxiesDraining",
            format!("proxies that hand over their clients: {}", facts.status.proxy.draining),
        ),
        RevisionPhase::Stable => Verdict::yes("ComingUp", format!("{}, {}", proxies_of(facts), storage_of(facts))),
    }
}

fn or_none(revision: &str) -> &str {
    if revision.is_empty() { "none" } else { revision }
}

fn degraded(facts: &Facts<'_>) -> Verdict {
    if let Some((who, trouble)) = &facts.trouble {
        return Verdict::yes(&trouble.reason, format!("{who}: {}", trouble.message));
    }
    let status = facts.status;
    if facts.is_expected {
        return Verdict::no("AsAsked", "nothing is missing that should be there by now");
    }
    if status.storage.ready < status.storage.replicas {
        Verdict::yes("StorageMissing", storage_of(facts))
    } else if status.proxy.active < status.proxy.desired {
        Verdict::yes("ProxiesMissing", proxies_of(facts))
    } else {
        Verdict::no("AsAsked", "nothing is missing that should be there by now")
    }
}

fn reconciling(facts: &Facts<'_>) -> Verdict {
    if facts.is_progressing {
        Verdict::yes("Progressing", "see condition Progressing")
    } else {
        Verdict::no("Settled", "nothing is being changed")
    }
}

fn stalled(input: &StatusInput<'_>, facts: &Facts<'_>) -> Verdict {
    if let Outcome::Blocked(blocked) = input.outcome {
        return Verdict::yes(&blocked.reason, blocked.message.clone());
    }
    match &facts.trouble {
        Some((who, trouble)) if facts.is_progressing && trouble.needs_somebody() => Verdict::yes(
            &trouble.reason,
            format!("{who}: {}; {}", trouble.message, what_to_do(&trouble.reason)),
        ),
        _ => rollout::stalled(facts.status).unwrap_or_else(|| Verdict::no("Working", "nobody needs to act")),
    }
}

fn upgrade_available(input: &StatusInput<'_>) -> Verdict {
    match input.outcome {
        Outcome::Planned { keep, .. } => match &keep.newer {
            Some(newer) => Verdict::yes("NewerOperator", newer.clone()),
            None => Verdict::no("Current", "the cluster runs what this operator brings"),
        },
        Outcome::Blocked(_) => as_before(input, ConditionType::UpgradeAvailable)
            .unwrap_or_else(|| Verdict::no("NotBuilt", "the resource cannot be built at the moment")),
    }
}

fn connections_limited(input: &StatusInput<'_>) -> Verdict {
    let found = match input.outcome {
        Outcome::Planned { cluster, .. } => {
            connections::judge(input.observed, input.connection_limits, &cluster.listeners)
        }
        Outcome::Blocked(_) => connections::Verdict::Unknown,
    };
    match found {
        connections::Verdict::Limited(message) => Verdict::yes("FileLimit", message),
        connections::Verdict::Enough => {
            Verdict::no("Enough", "proxies may have as many connections as maxConnections says")
        }
        connections::Verdict::Unknown => as_before(input, ConditionType::ConnectionsLimited)
            .unwrap_or_else(|| Verdict::no("NotKnown", "no proxy has said yet how many connections it may have")),
    }
}

fn resize_deferred(input: &StatusInput<'_>) -> Verdict {
    match reservation::find_missing(input) {
        Some((reason, message)) => Verdict::yes(&reason, message),
        None => Verdict::no("Reserved", "active proxies have reserved what they should"),
    }
}

/// What was found last, where nothing newer can be.
pub(super) fn as_before(input: &StatusInput<'_>, type_: ConditionType) -> Option<Verdict> {
    previous_condition(input, type_).map(|was| Verdict {
        holds: was.status == "True",
        reason: was.reason.clone(),
        message: was.message.clone(),
    })
}

fn what_to_do(reason: &str) -> &'static str {
    match reason {
        "CrashLoopBackOff" | "RunContainerError" => {
            "see the pod's log, then change the image or the pod template, or put the former back"
        }
        "CreateContainerConfigError" | "CreateContainerError" => {
            "put right what the pod template refers to, or put the former back"
        }
        _ => "put right the image or spec.imagePullSecrets, or put the former back",
    }
}
