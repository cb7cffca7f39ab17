//! Events: what people should read about, one per decision or loss, none per tick.
//!
//! Called once per reconcile with what was seen before and now. A notice that follows from the status (a condition that
//! changed, a storage node with another life) is found by an operator that has just started as well; one that needs the
//! former observation (a proxy that was lost) is not, and is left out then.

pub mod losses;
mod moves;
mod volumes;

use freshet_operator_api::{ConditionType, MqttClusterStatus, RevisionPhase, ScalingMode, StorageNodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::observe::{Observed, ProxyPod, Role};
use crate::plan::{ProxyAction, ProxyPlan};

/// Names that one notice lists at most.
const NAMES_MAX: usize = 8;

/// One Event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Whether somebody should look at it.
    pub is_warning: bool,
    /// One word, such as `ProxyLost`.
    pub reason: String,
    /// What the operator did, or `Observe`.
    pub action: &'static str,
    /// A sentence.
    pub note: String,
    /// The pod it is about, if it is one.
    pub pod: Option<String>,
}

impl Notice {
    fn normal(reason: &str, action: &'static str, note: String) -> Self {
        Self {
            is_warning: false,
            reason: reason.to_owned(),
            action,
            note,
            pod: None,
        }
    }

    fn warning(reason: &str, action: &'static str, note: String) -> Self {
        Self {
            is_warning: true,
            ..Self::normal(reason, action, note)
        }
    }

    fn about(self, pod: &str) -> Self {
        Self {
            pod: Some(pod.to_owned()),
            ..self
        }
    }
}

/// What was seen and known at the former reconcile.
#[derive(Debug, Clone, Copy)]
pub struct Former<'a> {
    /// What was read; nothing at the first reconcile of a process.
    pub observed: Option<&'a Observed>,
    /// The status that is stored.
    pub status: Option<&'a MqttClusterStatus>,
}

/// Finds what to tell. `plan` is the plan that is being carried out, when there is one.
pub fn find_notices(
    former: Former<'_>,
    observed: &Observed,
    status: &MqttClusterStatus,
    plan: Option<&ProxyPlan>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    if let Some(before) = former.observed {
        notices.extend(
            before
                .proxies
                .iter()
                .filter_map(|was| lost_or_back(was, &observed.proxies)),
        );
    }
    if let Some(plan) = plan {
        decisions(&mut notices, plan, former.status, status);
        moves::moves(&mut notices, plan);
    }
    revision_roll(&mut notices, former.status, status);
    scaling(&mut notices, former.status, status);
    let known = former.status.map_or(&[][..], |status| &status.storage.nodes);
    notices.extend(
        status
            .storage
            .nodes
            .iter()
            .filter_map(|node| storage_restart(node, known, observed)),
    );
    volumes::volumes(&mut notices, former.status, status);
    conditions(&mut notices, former.status, status);
    notices
}

/// A proxy that served and does not any more, without having been told to hand over; or one that is back.
fn lost_or_back(was: &ProxyPod, now: &[ProxyPod]) -> Option<Notice> {
    let name = &was.pod.name;
    let lost = |how: &str| Some(Notice::warning("ProxyLost", "Observe", format!("proxy {name} {how}")).about(name));
    let is = now.iter().find(|proxy| proxy.pod.uid == was.pod.uid);
    if !was.serves() {
        let is_back = was.is_active() && is.is_some_and(ProxyPod::serves);
        return is_back.then(|| {
            Notice::normal("ProxyBack", "Observe", format!("proxy {name} takes connections again")).about(name)
        });
    }
    match is {
        None => lost("is gone"),
        Some(is) if is.loss.is_dead() => lost("does not answer, and its lease at storage has run out"),
        Some(is) if is.loss.is_cut_off() => {
            lost("has lost storage, where its lease has run out: its clients are sent to others")
        }
        Some(is) if is.role != Some(Role::Active) => None,
        Some(is) if is.pod.is_deleting => lost("was told to stop by somebody else"),
        Some(is) if is.pod.restarts > was.pod.restarts => {
            let end = is.pod.last_end.as_deref().unwrap_or("nothing is known of its end");
            lost(&format!("started again: {end}"))
        }
        Some(is) if !is.pod.is_ready => match is
            .pod
            .last_end
            .as_deref()
            .filter(|_| is.pod.last_end != was.pod.last_end)
        {
            Some(end) => lost(&format!("ended: {end}")),
            None => lost("is not ready"),
        },
        Some(_) => None,
    }
}

/// Each decision of the scaler once: when it was written, or made by one that only looks.
fn scaling(notices: &mut Vec<Notice>, former: Option<&MqttClusterStatus>, status: &MqttClusterStatus) {
    let Some(scaling) = &status.scaling else { return };
    let told = former
        .and_then(|former| former.scaling.as_ref())
        .map_or(&[][..], |known| &known.decisions);
    for decision in &scaling.decisions {
        let (from, to, reason) = (decision.from, decision.to, &decision.reason);
        if told.contains(decision) {
            continue;
        }
        if decision.by_hand {
            let note = format!("{from} to {to} proxies: {reason}");
            notices.push(Notice::normal("ReplicasSet", "Observe", note));
        } else if decision.applied {
            let note = format!("{from} to {to} proxies: {reason}");
            notices.push(Notice::normal("ScalingDecided", "Scale", note));
        } else if scaling.mode == ScalingMode::Observe {
            let note = format!("would go from {from} to {to} proxies: {reason}");
            notices.push(Notice::normal("ScalingAdvised", "Observe", note));
        }
    }
}

fn decisions(
    notices: &mut Vec<Notice>,
    plan: &ProxyPlan,
    former: Option<&MqttClusterStatus>,
    status: &MqttClusterStatus,
) {
    let changed_to = |wanted: Role| -> Vec<&str> {
        let name = |action: &'_ ProxyAction| match action {
            ProxyAction::SetRole {
                pod,
                role,
                is_change: true,
                ..
            } if *role == wanted => Some(pod.clone()),
            _ => None,
        };
        plan.actions
            .iter()
            .filter(|action| name(action).is_some())
            .filter_map(pod_name)
            .collect()
    };
    let promoted = changed_to(Role::Active);
    if !promoted.is_empty() {
        notices.push(Notice::normal(
            "ProxyPromoted",
            "Promote",
            format!("taking connections: {}", listed(&promoted)),
        ));
    }
    let draining = changed_to(Role::Draining);
    let (cut_off, others): (Vec<&str>, Vec<&str>) = draining.into_iter().partition(|pod| plan.cut_off.contains(*pod));
    let (of_nodes, others): (Vec<&str>, Vec<&str>) =
        others.into_iter().partition(|pod| plan.on_cordoned.contains(*pod));
    for (pods, why) in [
        (others, ""),
        (of_nodes, ", for their node is cordoned"),
        (cut_off, ", for they are cut off from storage"),
    ] {
        if !pods.is_empty() {
            let note = format!("handing over clients{why}: {}", listed(&pods));
            notices.push(Notice::normal("ProxyDraining", "Drain", note));
        }
    }
    let desired = status.proxy.desired;
    let asked_before = former.map(|former| former.proxy.desired);
    match (plan.target_replicas_were, asked_before) {
        (None, _) if status.proxy.revision.phase == RevisionPhase::Stable => {
            notices.push(Notice::normal("Created", "Create", format!("{desired} proxies")));
        }
        // Not the Deployment's number: that follows in steps, and has the warm ones in it.
        (Some(_), Some(before)) if before < desired => notices.push(Notice::normal(
            "ScaledOut",
            "Scale",
            format!("from {before} to {desired} proxies"),
        )),
        (Some(_), Some(before)) if before > desired => notices.push(Notice::normal(
            "ScaledIn",
            "Scale",
            format!("from {before} to {desired} proxies"),
        )),
        _ => {}
    }
}

fn pod_name(action: &ProxyAction) -> Option<&str> {
    match action {
        ProxyAction::SetRole { pod, .. } => Some(pod),
        _ => None,
    }
}

fn revision_roll(notices: &mut Vec<Notice>, former: Option<&MqttClusterStatus>, status: &MqttClusterStatus) {
    let Some(former) = former.map(|former| &former.proxy.revision) else {
        return;
    };
    let revision = &status.proxy.revision;
    let is_rolling = revision.phase != RevisionPhase::Stable;
    let was_rolling = former.phase != RevisionPhase::Stable;
    if !former.target.is_empty() && former.target != revision.target {
        let note = format!("revision {} replaces {}", revision.target, former.target);
        notices.push(Notice::normal("RevisionRollStarted", "Roll", note));
    }
    if was_rolling && !is_rolling {
        let note = format!("all proxies are of revision {}", revision.target);
        notices.push(Notice::normal("RevisionRollFinished", "Roll", note));
    }
}

fn storage_restart(node: &StorageNodeStatus, known: &[StorageNodeStatus], observed: &Observed) -> Option<Notice> {
    let before = known.iter().find(|before| before.pod == node.pod)?;
    let how = if before.uid != node.uid {
        "is a new pod".to_owned()
    } else if before.restarts < node.restarts {
        let pod = observed.storage_pods.iter().find(|pod| pod.pod.uid == node.uid);
        let end = pod
            .and_then(|pod| pod.pod.last_end.as_deref())
            .unwrap_or("nothing is known of its end");
        format!("started again ({end})")
    } else {
        return None;
    };
    let what = if observed.storage_set.as_ref().is_some_and(|set| set.has_volume) {
        "what it had acknowledged is on its volume"
    } else {
        "retained messages and sessions are gone, they were kept in its memory"
    };
    let note = format!("storage node {} {how}: {what}", node.pod);
    Some(Notice::warning("StorageRestarted", "Observe", note).about(&node.pod))
}

/// Conditions that somebody should know of, when they begin or begin anew for another reason, and when they end.
fn conditions(notices: &mut Vec<Notice>, former: Option<&MqttClusterStatus>, status: &MqttClusterStatus) {
    let of = |status: &MqttClusterStatus, type_: ConditionType| -> Option<Condition> {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_.as_str())
            .cloned()
    };
    let mut told: Option<String> = None;
    for type_ in [
        ConditionType::Stalled,
        ConditionType::Degraded,
        ConditionType::ResizeDeferred,
        ConditionType::VolumeDegraded,
    ] {
        let Some(is) = of(status, type_) else { continue };
        let was = former.and_then(|former| of(former, type_));
        let was_true = was.as_ref().is_some_and(|was| was.status == "True");
        if is.status == "True" {
            let is_news = !was_true || was.is_some_and(|was| was.reason != is.reason);
            // Both conditions say the same of an image that cannot be pulled: one Event is enough.
            if is_news && told.as_ref() != Some(&is.reason) {
                notices.push(Notice::warning(&is.reason, "Observe", is.message.clone()));
            }
            told = Some(is.reason);
        } else if was_true && type_ == ConditionType::Degraded {
            notices.push(Notice::normal(
                "Recovered",
                "Observe",
                "nothing is missing any more".to_owned(),
            ));
        }
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
