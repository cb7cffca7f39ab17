//! Applies children: each one by server-side apply, and only when there is something to apply.
//!
//! Whether there is, two things say: what is to be applied, and the fields that the API server records as ours. Whoever
//! changes or removes one of those takes it from us; whoever adds others does not concern us. Both are remembered as
//! they were after the last apply.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use freshet_operator_core::build::{build_disruption_budget, min_available};
use freshet_operator_core::observe::Observed;
use freshet_operator_core::status::Blocked;
use freshet_operator_core::volume::medium_mismatch;
use freshet_operator_core::{labels, names};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::act::scale_patch;
use super::memory::ClusterMemory;
use super::{ReconcileError, Reconciler, Work};
use crate::fault::FaultPoint;
use crate::watch::Newest;
use crate::write::WriteError;

/// What was applied of a child, and which fields were ours afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applied {
    desired: u64,
    owned: u64,
}

/// The reason of a child whose name is somebody else's.
pub(super) const NAME_TAKEN: &str = "NameTaken";

/// What applying the children came to.
pub(super) struct AppliedChildren {
    /// At least one is not what it was.
    pub(super) has_changed: bool,
    /// The first that the API server will not have.
    pub(super) blocked: Option<Blocked>,
}

/// A child that could not be applied.
pub(super) enum NotApplied {
    /// Nothing helps until somebody acts; the other children are applied all the same.
    Blocked(Blocked),
    /// The reconcile ends.
    Ended(ReconcileError),
}

impl From<ReconcileError> for NotApplied {
    fn from(error: ReconcileError) -> Self {
        Self::Ended(error)
    }
}

/// Whether the object's controller has this UID.
pub(super) fn is_owned_by<K: Resource>(object: &K, uid: &str) -> bool {
    object
        .owner_references()
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

impl Reconciler {
    /// Applies all children but the Deployment of the proxies, which is part of the plan.
    pub(super) async fn apply_children(
        &self,
        work: &Work,
        observed: &Observed,
        memory: &mut ClusterMemory,
    ) -> Result<AppliedChildren, ReconcileError> {
        let Work { cluster, children, .. } = work;
        let knows_cordons = self.stores.cordons.known().is_some();
        let min_available = min_available(observed, &work.proxies, cluster.proxy.replicas, knows_cordons);
        let budget = build_disruption_budget(cluster, min_available);
        let stores = &self.stores;
        let accounts = &stores.service_accounts;
        let services = &stores.services;
        use FaultPoint as At;
        let outcomes = [
            self.ensure(
                At::ApplyProxyServiceAccount,
                &children.proxy_account,
                accounts,
                work,
                memory,
            )
            .await,
            self.ensure(
                At::ApplyStorageServiceAccount,
                &children.storage_account,
                accounts,
                work,
                memory,
            )
            .await,
            self.ensure(
                At::ApplyConfigMap,
                &children.config_map,
                &stores.config_maps,
                work,
                memory,
            )
            .await,
            self.ensure(At::ApplyClientService, &children.client_service, services, work, memory)
                .await,
            self.ensure(
                At::ApplyAllProxiesService,
                &children.all_proxies_service,
                services,
                work,
                memory,
            )
            .await,
            self.ensure(
                At::ApplyStorageService,
                &children.storage_service,
                services,
                work,
                memory,
            )
            .await,
            self.ensure_storage(work, observed, memory).await,
            self.ensure(At::ApplyDisruptionBudget, &budget, &stores.budgets, work, memory)
                .await,
        ];
        let mut all = AppliedChildren {
            has_changed: false,
            blocked: None,
        };
        for outcome in outcomes {
            match outcome {
                Ok(has_changed) => all.has_changed |= has_changed,
                Err(NotApplied::Blocked(blocked)) => all.blocked = all.blocked.or(Some(blocked)),
                Err(NotApplied::Ended(error)) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Applies the StatefulSet; one that is kept as it is only gets its number of replicas.
    async fn ensure_storage(
        &self,
        work: &Work,
        observed: &Observed,
        memory: &mut ClusterMemory,
    ) -> Result<bool, NotApplied> {
        if let Some(message) = medium_mismatch(&work.cluster, observed) {
            return Err(NotApplied::Blocked(Blocked {
                reason: "MediumMismatch".to_owned(),
                message,
            }));
        }
        let sets = &self.stores.stateful_sets;
        let point = FaultPoint::ApplyStorage;
        let Some(kept) = observed.storage_set.as_ref().filter(|_| work.keep.keeps_storage) else {
            return self.ensure(point, &work.children.storage, sets, work, memory).await;
        };
        let replicas = work.cluster.storage.replicas;
        if kept.replicas == replicas {
            return Ok(false);
        }
        let (namespace, name) = (&work.cluster.namespace, names::storage_stateful_set(&work.cluster.name));
        let patch = scale_patch(&kept.resource_version, replicas);
        let written = self
            .writer
            .merge::<StatefulSet>(point, namespace, &name, labels::MANAGER, &patch)
            .await;
        match written {
            Ok(written) => sets.wrote(written),
            Err(WriteError::Refused { message, .. }) => return Err(refused(&format!("StatefulSet {name}"), &message)),
            Err(error) => return Err(NotApplied::Ended(error.into())),
        }
        Ok(true)
    }

    /// Applies one child unless it is as it should be. Returns whether it has changed by that.
    pub(super) async fn ensure<K>(
        &self,
        point: FaultPoint,
        desired: &K,
        newest: &Newest<K>,
        work: &Work,
        memory: &mut ClusterMemory,
    ) -> Result<bool, NotApplied>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Serialize
            + Debug
            + 'static,
    {
        let (namespace, uid) = (work.cluster.namespace.as_str(), work.cluster.uid.as_str());
        let name = desired.name_any();
        let key = format!("{} {name}", K::kind(&()));
        let desired_hash = hash(&serde_json::to_vec(desired).unwrap_or_default());
        let current = newest.get(namespace, &name);
        match &current {
            Some(current) if is_owned_by(current.as_ref(), uid) => {
                let now = Applied {
                    desired: desired_hash,
                    owned: owned_fields(current.as_ref()),
                };
                if memory.applied.get(&key) == Some(&now) {
                    return Ok(false);
                }
            }
            // The watch only knows what has our labels; somebody else's object has not.
            _ => self.check_name_is_free::<K>(namespace, &name, uid).await?,
        }
        match self.writer.apply(point, namespace, &name, desired).await {
            Ok(applied) => {
                let before = current.and_then(|current| current.resource_version());
                let has_changed = before != applied.resource_version();
                if has_changed {
                    tracing::info!(%point, name, namespace, "applied");
                }
                memory.applied.insert(
                    key,
                    Applied {
                        desired: desired_hash,
                        owned: owned_fields(&applied),
                    },
                );
                newest.wrote(applied);
                Ok(has_changed)
            }
            Err(WriteError::Refused { message, .. }) => Err(refused(&key, &message)),
            Err(error) => Err(NotApplied::Ended(error.into())),
        }
    }

    /// Looks whether somebody else has an object of this name: applying over it would take it from them.
    async fn check_name_is_free<K>(&self, namespace: &str, name: &str, uid: &str) -> Result<(), NotApplied>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let kind = K::kind(&());
        let api: Api<K> = Api::namespaced(self.writer.client().clone(), namespace);
        let found = api
            .get_metadata_opt(name)
            .await
            .map_err(|source| ReconcileError::Read {
                what: format!("{kind} {name}"),
                source: Box::new(source),
            })?;
        let Some(found) = found else { return Ok(()) };
        if is_owned_by(&found, uid) {
            return Ok(());
        }
        let is_former = found
            .labels()
            .get(labels::MANAGED_BY)
            .is_some_and(|manager| manager == labels::MANAGER)
            && found
                .owner_references()
                .iter()
                .any(|owner| owner.kind == "MqttCluster" && name.starts_with(&owner.name));
        let former = format!("{kind} {name}");
        if is_former
            && found
                .owner_references()
                .iter()
                .all(|owner| !self.exists(namespace, owner.uid.as_str()))
        {
            return Err(ReconcileError::FormerCluster(former).into());
        }
        Err(NotApplied::Blocked(Blocked {
            reason: NAME_TAKEN.to_owned(),
            message: format!(
                "{kind} {name} belongs to somebody else: remove it, or create this MqttCluster under another name"
            ),
        }))
    }

    fn exists(&self, namespace: &str, uid: &str) -> bool {
        let is_it = |cluster: &freshet_operator_api::MqttCluster| {
            cluster.namespace().as_deref() == Some(namespace) && cluster.metadata.uid.as_deref() == Some(uid)
        };
        self.stores.clusters.find(is_it).is_some()
    }
}

fn refused(child: &str, message: &str) -> NotApplied {
    NotApplied::Blocked(Blocked {
        reason: "ChildRefused".to_owned(),
        message: format!("the API server refuses {child}: {message}"),
    })
}

/// Leaves a hash of the fields that the API server records as applied by this operator, in their place: as a tree they are
/// the largest part of most children, and nobody asks which they are.
pub(crate) fn shorten_managed_fields<K: Resource>(child: &mut K) {
    let entries = child.managed_fields_mut();
    entries.retain(is_applied_here);
    entries.shrink_to_fit();
    for fields in entries.iter_mut().filter_map(|entry| entry.fields_v1.as_mut()) {
        fields.0 = hash_of(fields).into();
    }
}

/// A hash of the fields that the API server records as applied by this operator, of an object that is shortened or not; 0
/// when there are none.
fn owned_fields<K: Resource>(object: &K) -> u64 {
    let mut entries = object.managed_fields().iter();
    let ours = entries.find(|entry| is_applied_here(entry));
    ours.and_then(|entry| entry.fields_v1.as_ref()).map_or(0, hash_of)
}

fn is_applied_here(entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(labels::MANAGER)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

fn hash_of(fields: &FieldsV1) -> u64 {
    fields.0.as_u64().unwrap_or_else(|| hash(&fields.0.to_string()))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, json};

    fn object(managed_fields: &Value) -> ConfigMap {
        let object = json!({"metadata": {"name": "a", "managedFields": managed_fields}});
        let object: ConfigMap = serde_json::from_value(object).expect("an object");
        let mut kept = object.clone();
        shorten_managed_fields(&mut kept);
        assert_eq!(owned_fields(&kept), owned_fields(&object));
        kept
    }

    fn entry(manager: &str, operation: &str, time: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-01-02T00:00:00Z";

    #[test]
    fn a_field_that_somebody_took_is_noticed() {
        let ours = object(&json!([entry(
            labels::MANAGER,
            "Apply",
            EARLY,
            &json!({"f:data": {"f:a": {}, "f:b": {}}})
        )]));
        let taken = object(&json!([
            entry(labels::MANAGER, "Apply", EARLY, &json!({"f:data": {"f:a": {}}})),
            entry("kubectl-edit", "Update", LATE, &json!({"f:data": {"f:b": {}}})),
        ]));
        assert_ne!(owned_fields(&ours), owned_fields(&taken));
        let nothing = object(&json!([entry(
            "kubectl-edit",
            "Update",
            LATE,
            &json!({"f:data": {"f:b": {}}})
        )]));
        assert_eq!((owned_fields(&nothing), nothing.managed_fields().len()), (0, 0));
    }

    #[test]
    fn fields_of_others_and_times_say_nothing() {
        let fields = json!({"f:data": {"f:a": {}}});
        let ours = object(&json!([entry(labels::MANAGER, "Apply", EARLY, &fields)]));
        let with_others = object(&json!([
            entry("kubectl-edit", "Update", LATE, &json!({"f:data": {"f:c": {}}})),
            entry(labels::MANAGER, "Apply", LATE, &fields),
        ]));
        assert_eq!(owned_fields(&ours), owned_fields(&with_others));
    }

    #[test]
    fn an_object_belongs_to_the_cluster_that_controls_it() {
        let owned = |uid: &str, controller: bool| -> ConfigMap {
            serde_json::from_value(json!({"metadata": {"ownerReferences": [
                {"apiVersion": "freshet.dev/v1alpha1", "kind": "MqttCluster", "name": "a", "uid": uid, "controller": controller},
            ]}}))
            .expect("an object")
        };
        assert!(is_owned_by(&owned("u", true), "u"));
        assert!(!is_owned_by(&owned("v", true), "u"));
        assert!(!is_owned_by(&owned("u", false), "u"));
    }
}
