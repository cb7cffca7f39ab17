//! Carries out plans. Every action is justified by what was observed and not by another action of the same plan, so one
//! that finds its object changed does not hold up the others; the next plan knows better.

use freshet_config::MoveOrder;
use freshet_operator_api::{MqttCluster, MqttClusterStatus};
use freshet_operator_core::build::proxy_deployment;
use freshet_operator_core::labels;
use freshet_operator_core::loss::Fault;
use freshet_operator_core::observe::{Observed, Role};
use freshet_operator_core::plan::{ProxyAction, ProxyPlan, StorageAction, keep_serving};
use freshet_operator_core::status::Blocked;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::apply::NotApplied;
use super::memory::ClusterMemory;
use super::{ReconcileError, Reconciler, Work};
use crate::fault::FaultPoint;
use crate::write::WriteError;

/// Writes to pods that are under way at once: all victims of a scale-in leave the Service within moments.
const PODS_AT_ONCE: usize = 16;

/// What carrying out the plans came to.
pub(super) struct ActedPlans {
    /// The plan of the proxies with what was done of it.
    pub(super) plan: ProxyPlan,
    /// Something is not what it was.
    pub(super) has_changed: bool,
    /// The first write that the API server will not have.
    pub(super) blocked: Option<Blocked>,
}

/// What became of one action.
enum Acted {
    Done,
    /// It was as it should be already.
    Unchanged,
    /// Its object has changed or is gone.
    Passed,
    Blocked(Blocked),
}

impl Reconciler {
    /// Carries out the plans of proxies and storage.
    pub(super) async fn act(&self, work: &Work, memory: &mut ClusterMemory) -> Result<ActedPlans, ReconcileError> {
        let namespace = work.cluster.namespace.as_str();
        let (roles, rest): (Vec<_>, Vec<_>) = work
            .proxies
            .actions
            .iter()
            .partition(|action| matches!(action, ProxyAction::SetRole { .. } | ProxyAction::SetOrder { .. }));
        let mut acted = self.set_roles(namespace, &work.proxies, &roles).await?;
        acted.has_changed |= self.resize(work, &rest, &mut memory.refusals).await?;
        for action in rest {
            let outcome = match action {
                ProxyAction::ApplyTarget => self.apply_target(work, memory).await?,
                ProxyAction::ScaleTarget {
                    deployment,
                    resource_version,
                } => {
                    let replicas = work.proxies.target_replicas;
                    self.scale_proxies(work, FaultPoint::ApplyProxies, deployment, resource_version, replicas)
                        .await?
                }
                ProxyAction::ScaleToZero {
                    deployment,
                    resource_version,
                } => {
                    self.scale_proxies(work, FaultPoint::ScaleOldProxies, deployment, resource_version, 0)
                        .await?
                }
                ProxyAction::Delete { deployment, uid } => self.delete_deployment(work, deployment, uid).await?,
                // Done above.
                ProxyAction::SetRole { .. } | ProxyAction::SetOrder { .. } | ProxyAction::Resize { .. } => {
                    Acted::Unchanged
                }
            };
            acted.take(outcome, Some(action));
        }
        acted.has_changed |= self.grow_volumes(work, &mut memory.refusals).await?;
        for action in &work.storage.actions {
            acted.take(self.act_on_storage(work, action).await?, None);
        }
        Ok(acted)
    }

    /// Carries out the plan for a cluster that cannot be built at the moment.
    pub(super) async fn keep_serving(
        &self,
        resource: &MqttCluster,
        observed: &Observed,
        previous: Option<&MqttClusterStatus>,
    ) -> Result<ProxyPlan, ReconcileError> {
        let plan = keep_serving(observed, previous.map(|status| status.proxy.desired));
        let roles: Vec<_> = plan.actions.iter().collect();
        let namespace = resource.namespace().unwrap_or_default();
        Ok(self.set_roles(&namespace, &plan, &roles).await?.plan)
    }

    async fn set_roles(
        &self,
        namespace: &str,
        plan: &ProxyPlan,
        roles: &[&ProxyAction],
    ) -> Result<ActedPlans, ReconcileError> {
        let mut acted = ActedPlans {
            plan: ProxyPlan {
                actions: Vec::new(),
                ..plan.clone()
            },
            has_changed: false,
            blocked: None,
        };
        let writes: Vec<_> = roles.iter().map(|action| self.set_role(namespace, action)).collect();
        let outcomes: Vec<_> = stream::iter(writes).buffered(PODS_AT_ONCE).collect().await;
        for (action, outcome) in roles.iter().zip(outcomes) {
            acted.take(outcome?, Some(action));
        }
        let is_promotion = |action: &&ProxyAction| {
            matches!(
                action,
                ProxyAction::SetRole {
                    role: Role::Active,
                    is_change: true,
                    ..
                }
            )
        };
        for action in &acted.plan.actions {
            if let ProxyAction::SetRole {
                is_change: true,
                mark: Some(fault),
                ..
            } = action
            {
                self.metrics.lost(*fault);
            }
        }
        self.metrics
            .promoted(acted.plan.actions.iter().filter(is_promotion).count() as u64);
        self.metrics.demoted(acted.plan.demoted().count() as u64);
        Ok(acted)
    }

    async fn set_role(&self, namespace: &str, action: &ProxyAction) -> Result<Acted, ReconcileError> {
        let (pod, patch) = match action {
            ProxyAction::SetRole {
                pod,
                resource_version,
                role,
                accepting,
                deletion_cost,
                config_hash,
                mark,
                ends_order,
                ..
            } => {
                let config_hash = config_hash.as_deref();
                let patch = role_patch(
                    resource_version,
                    *role,
                    *accepting,
                    *deletion_cost,
                    config_hash,
                    *mark,
                    *ends_order,
                );
                (pod, patch)
            }
            ProxyAction::SetOrder {
                pod,
                resource_version,
                order,
                accepting,
            } => (pod, order_patch(resource_version, order.as_ref(), *accepting)),
            _ => return Ok(Acted::Unchanged),
        };
        let point = FaultPoint::PatchProxyPod;
        let written = self
            .writer
            .merge::<Pod>(point, namespace, pod, labels::ROLES_MANAGER, &patch)
            .await;
        sort(written.map(|written| {
            tell_written(namespace, action);
            self.stores.pods.wrote(written);
        }))
    }

    async fn apply_target(&self, work: &Work, memory: &mut ClusterMemory) -> Result<Acted, ReconcileError> {
        let deployment = proxy_deployment(
            &work.cluster,
            &work.children.proxy_revision,
            work.proxies.target_replicas,
        );
        match self
            .ensure(
                FaultPoint::ApplyProxies,
                &deployment,
                &self.stores.deployments,
                work,
                memory,
            )
            .await
        {
            Ok(true) => Ok(Acted::Done),
            Ok(false) => Ok(Acted::Unchanged),
            Err(NotApplied::Blocked(blocked)) => Ok(Acted::Blocked(blocked)),
            Err(NotApplied::Ended(error)) => Err(error),
        }
    }

    /// Scales a Deployment, and leaves the rest of it as it is.
    async fn scale_proxies(
        &self,
        work: &Work,
        point: FaultPoint,
        deployment: &str,
        resource_version: &str,
        replicas: u32,
    ) -> Result<Acted, ReconcileError> {
        let patch = scale_patch(resource_version, replicas);
        let namespace = &work.cluster.namespace;
        let written = self
            .writer
            .merge::<Deployment>(point, namespace, deployment, labels::MANAGER, &patch)
            .await;
        sort(written.map(|written| {
            tracing::info!(deployment, namespace, replicas, "scaled");
            self.stores.deployments.wrote(written);
        }))
    }

    async fn delete_deployment(&self, work: &Work, deployment: &str, uid: &str) -> Result<Acted, ReconcileError> {
        let namespace = &work.cluster.namespace;
        let deleted = self
            .writer
            .delete::<Deployment>(FaultPoint::DeleteOldProxies, namespace, deployment, uid)
            .await;
        sort(deleted.map(|()| {
            tracing::info!(deployment, namespace, "deleted");
            self.stores.deployments.deleted(namespace, deployment);
        }))
    }

    async fn act_on_storage(&self, work: &Work, action: &StorageAction) -> Result<Acted, ReconcileError> {
        let namespace = &work.cluster.namespace;
        match action {
            StorageAction::Announce {
                pod,
                resource_version,
                config_hash,
            } => {
                let patch = json!({"metadata": {
                    "resourceVersion": resource_version,
                    "annotations": {(labels::CONFIG_HASH): config_hash},
                }});
                let point = FaultPoint::PatchStoragePod;
                let written = self
                    .writer
                    .merge::<Pod>(point, namespace, pod, labels::ROLES_MANAGER, &patch)
                    .await;
                sort(written.map(|written| self.stores.pods.wrote(written)))
            }
            StorageAction::Replace { pod, uid } => {
                let deleted = self
                    .writer
                    .delete::<Pod>(FaultPoint::DeleteStoragePod, namespace, pod, uid)
                    .await;
                sort(deleted.map(|()| {
                    tracing::info!(pod, namespace, "storage node of an earlier revision replaced");
                    self.stores.pods.deleted(namespace, pod);
                }))
            }
            // Done above.
            StorageAction::Grow { .. } => Ok(Acted::Unchanged),
        }
    }
}

/// A number of replicas, for an object that is still what it was.
pub(super) fn scale_patch(resource_version: &str, replicas: u32) -> Value {
    json!({"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}})
}

/// Role, Service label, deletion cost, hash of the file, mark of a loss, and the end of an order, in one write.
fn role_patch(
    resource_version: &str,
    role: Role,
    accepting: bool,
    deletion_cost: i32,
    config_hash: Option<&str>,
    mark: Option<Fault>,
    ends_order: bool,
) -> Value {
    let word = match role {
        Role::Active => labels::ACTIVE,
        Role::Warm => labels::WARM,
        Role::Draining => labels::DRAINING,
    };
    let accepting = accepting_label(accepting);
    // Null removes what is there.
    let mut annotations = json!({
        (labels::DELETION_COST): deletion_cost.to_string(),
        (labels::LOST): mark.map(Fault::mark),
    });
    if let Some(config_hash) = config_hash {
        annotations[labels::CONFIG_HASH] = json!(config_hash);
    }
    if ends_order {
        annotations[labels::MOVES] = Value::Null;
    }
    json!({"metadata": {
        "resourceVersion": resource_version,
        "labels": {(labels::ROLE): word, (labels::ACCEPTING): accepting},
        "annotations": annotations,
    }})
}

/// An order about clients, and whether the pod gets new ones, in one write.
fn order_patch(resource_version: &str, order: Option<&MoveOrder>, accepting: Option<bool>) -> Value {
    // A plain struct of texts and numbers: there is nothing in it that JSON cannot hold.
    let order = order.map(|order| serde_json::to_string(order).unwrap_or_default());
    let mut patch = json!({"metadata": {
        "resourceVersion": resource_version,
        "annotations": {(labels::MOVES): order},
    }});
    if let Some(accepting) = accepting {
        patch["metadata"]["labels"] = json!({(labels::ACCEPTING): accepting_label(accepting)});
    }
    patch
}

/// Null removes the label.
fn accepting_label(accepting: bool) -> Value {
    if accepting { json!(labels::TRUE) } else { Value::Null }
}

fn tell_written(namespace: &str, action: &ProxyAction) {
    match action {
        ProxyAction::SetRole { pod, role, .. } => tracing::info!(pod, namespace, ?role, "role written"),
        ProxyAction::SetOrder {
            pod,
            order: Some(order),
            ..
        } => tracing::info!(
            pod,
            namespace,
            reason = ?order.reason,
            keep = order.keep,
            clients_per_second = order.clients_per_second,
            "order about clients written"
        ),
        ProxyAction::SetOrder { pod, .. } => tracing::info!(pod, namespace, "order about clients withdrawn"),
        _ => {}
    }
}

impl ActedPlans {
    fn take(&mut self, outcome: Acted, action: Option<&ProxyAction>) {
        match outcome {
            Acted::Done => {
                self.has_changed = true;
                self.plan.actions.extend(action.cloned());
            }
            Acted::Unchanged => {}
            // Somebody else has changed it.
            Acted::Passed => self.has_changed = true,
            Acted::Blocked(by) => {
                self.blocked.get_or_insert(by);
            }
        }
    }
}

fn sort(outcome: Result<(), WriteError>) -> Result<Acted, ReconcileError> {
    match outcome {
        Ok(()) => Ok(Acted::Done),
        // The watch brings what it is now, and with it the next reconcile.
        Err(WriteError::Stale(_) | WriteError::Gone(_)) => Ok(Acted::Passed),
        Err(WriteError::Refused { point, message }) => Ok(Acted::Blocked(Blocked {
            reason: "WriteRefused".to_owned(),
            message: format!("the API server refuses {point}: {message}"),
        })),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_is_one_patch_and_draining_removes_the_service_label() {
        assert_eq!(
            role_patch("7", Role::Active, true, 1000, Some("h"), None, false),
            json!({"metadata": {
                "resourceVersion": "7",
                "labels": {"freshet.dev/role": "active", "freshet.dev/accepting": "true"},
                "annotations": {
                    "controller.kubernetes.io/pod-deletion-cost": "1000",
                    "freshet.dev/config-hash": "h",
                    "freshet.dev/lost": null,
                },
            }})
        );
        let draining = role_patch("7", Role::Draining, false, 100, None, None, false);
        assert_eq!(
            draining["metadata"]["labels"],
            json!({"freshet.dev/role": "draining", "freshet.dev/accepting": null})
        );
        let lost = role_patch("7", Role::Warm, false, 100, None, Some(Fault::Dead), false);
        assert_eq!(lost["metadata"]["labels"]["freshet.dev/accepting"], Value::Null);
        assert_eq!(lost["metadata"]["annotations"]["freshet.dev/lost"], "true");
        let cut_off = role_patch("7", Role::Draining, false, 100, None, Some(Fault::CutOff), false);
        assert_eq!(cut_off["metadata"]["annotations"]["freshet.dev/lost"], "cut-off");
    }

    #[test]
    fn who_waits_again_loses_its_order_with_its_role() {
        let demoted = role_patch("7", Role::Warm, false, 0, None, None, true);
        assert_eq!(demoted["metadata"]["labels"]["freshet.dev/role"], "warm");
        let annotations = demoted["metadata"]["annotations"].as_object().expect("annotations");
        assert_eq!(annotations.get("freshet.dev/moves"), Some(&Value::Null));
        let promoted = role_patch("7", Role::Active, true, 1000, None, None, false);
        let annotations = promoted["metadata"]["annotations"].as_object().expect("annotations");
        assert!(
            !annotations.contains_key("freshet.dev/moves"),
            "an order that stays is left alone"
        );
    }
}
